//! Contents that are elsewhere: who reads them waits until they are here, once for all readers of a session and no longer than
//! a limit. Programs that look at every file on their own never cause a fetch.
//!
//! Where contents come from is not known here.

mod queue;
mod reader;

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::errors::Refused;
use super::{CogFs, FsError, Result, lock};
use crate::model::{Id, Millis};
use crate::store::turns;
use crate::tree::{self, Node};
pub(super) use queue::Fetching;
use queue::Who;

/// How long a reader waits, unless it was said otherwise.
const LIMIT: Duration = Duration::from_secs(10);

/// How long a fetch may take. Who reads again finds what did not come in time for who read first.
const WORK_LIMIT: Duration = Duration::from_secs(60);

/// A session is told of in the log of errors once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Sessions that are remembered as told of.
const TOLD: usize = 1024;

/// What an errno cannot say.
const WHAT_TO_DO: &str = "Connect (`cogfs whoami` tells whether you are logged in), then try it again. by/status/remote/ lists what \
                          is on other machines.";

/// Why contents could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// There is no way to where they are.
    #[error("{0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("it did not come in time")]
    TimedOut,
    /// Who waits was sent a signal.
    #[error("interrupted")]
    Interrupted,
}

/// How a fetch ended.
pub type Outcome = std::result::Result<(), FetchError>;

/// Brings contents here. Called from threads of their own, once at a time for one thing.
pub trait Fetcher: Send + Sync {
    /// Brings the contents of sessions into the store, in as few requests as hold them. `came` is told of each as soon as it is known
    /// what became of it.
    ///
    /// # Errors
    /// Why those did not come by the deadline of which `came` was not told.
    fn fetch(&self, sessions: &[Id], deadline: Instant, came: &mut dyn FnMut(Id, Outcome)) -> Outcome;

    /// What is fetched in one request with a session that somebody waits for: some of the others that are waited for, and what is likely
    /// to be read next.
    fn together(&self, _session: Id, waiting: &[Id]) -> Vec<Id> {
        waiting.to_vec()
    }

    /// Brings the bytes of a picture here.
    ///
    /// # Errors
    /// When they are not there by the deadline.
    fn blob(&self, sha256: &str, mime: &str, deadline: Instant) -> Outcome;

    /// Called when nothing is left to be fetched, with what was read since it was called last: where room is made.
    fn behind(&self, _used: &[Used]) {}
}

/// What a file needs that is not here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Missing {
    Session(Id),
    Blob { sha256: String, mime: String },
}

/// What was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Used {
    /// A session, by its row.
    Session(i64),
    /// All sessions of a commit, by its row.
    Commit(i64),
}

impl Used {
    /// What is used of sessions by who reads a file.
    pub(super) fn by_reading(node: Node) -> Option<Self> {
        match node {
            Node::SessionTranscript(row) | Node::SessionRaw(row) => Some(Self::Session(row)),
            Node::Turn(row) => Some(Self::Session(turns::parts_of(row).0)),
            Node::CommitTranscript(row) | Node::CommitPage(row) => Some(Self::Commit(row)),
            _ => None,
        }
    }
}

/// When something was told of last.
#[derive(Default)]
pub(super) struct Told(Mutex<HashMap<Missing, Instant>>);

impl Told {
    /// Whether it is time to tell of this.
    fn is_due(&self, missing: &Missing) -> bool {
        let (mut told, now) = (lock(&self.0), Instant::now());
        if told.get(missing).is_some_and(|at| now.duration_since(*at) < TOLD_AGAIN) {
            return false;
        }
        if told.len() >= TOLD {
            told.clear();
        }
        told.insert(missing.clone(), now);
        true
    }
}

impl CogFs {
    /// Says where contents that are elsewhere come from. The first caller holds; without one they cannot be read.
    pub fn fetch_with(&self, fetcher: Arc<dyn Fetcher>) {
        self.fetching.fetch_with(fetcher);
    }

    /// Says how long a reader waits. The first caller holds.
    pub fn wait_at_most(&self, limit: Duration) {
        self.fetching.wait_at_most(limit);
    }

    /// Waits until what a file needs is here. `thread` is the reader's.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn fetch(&self, ino: u64, thread: u32, missing: &[Missing]) -> Result<()> {
        refuse_indexers(thread)?;
        let (send, receive) = channel();
        self.fetching.wait(missing, Who::Reader(thread), Box::new(move |outcome| drop(send.send(outcome))));
        let lost = |_| Err(FetchError::Unreachable("the fetch failed".to_owned()));
        self.fetched(ino, missing, receive.recv().unwrap_or_else(lost))
    }

    /// The same for who must not wait: `then` is called by a thread that serves no requests, or at once where nothing is fetched.
    pub fn when_here(
        self: &Arc<Self>,
        ino: u64,
        thread: u32,
        missing: Vec<Missing>,
        then: Box<dyn FnOnce(Result<()>) + Send>,
    ) {
        if let Err(refused) = refuse_indexers(thread) {
            return then(Err(refused));
        }
        let (fs, things) = (Arc::clone(self), missing.clone());
        self.fetching.wait(
            &missing,
            Who::Reader(thread),
            Box::new(move |outcome| then(fs.fetched(ino, &things, outcome))),
        );
    }

    /// Has room made for what was fetched, as behind a fetch.
    pub fn tidy_fetched(&self) {
        self.fetching.tidy();
    }

    /// Has sessions fetched that nobody waits for. What cannot be had is told in the log of errors.
    pub(super) fn fetch_behind(&self, sessions: &[Id]) {
        for session in sessions {
            let (log, id) = (self.writing.as_ref().map(|writing| writing.errors.clone()), *session);
            let then = move |outcome: Outcome| {
                if let (Some(log), Err(error)) = (log, outcome) {
                    log.append(&Refused {
                        at: Millis::now(),
                        path: ".cogfs/ctl".to_owned(),
                        operation: "fetch",
                        errno: if error == FetchError::TimedOut { "ETIMEDOUT" } else { "ENETUNREACH" },
                        reason: format!("session {id}: {error}"),
                        what_to_do: WHAT_TO_DO.to_owned(),
                        text: None,
                    });
                }
            };
            self.fetching.wait(&[Missing::Session(id)], Who::Nobody, Box::new(then));
        }
    }

    fn fetched(&self, ino: u64, missing: &[Missing], outcome: Outcome) -> Result<()> {
        let failed = match outcome {
            Ok(()) => return Ok(()),
            Err(FetchError::TimedOut) => FsError::TimedOut,
            Err(FetchError::Interrupted) => return Err(FsError::Interrupted),
            Err(FetchError::Unreachable(reason)) => FsError::Unreachable { reason },
        };
        if missing.first().is_some_and(|missing| self.told_of.is_due(missing)) {
            self.tell_of_fetch(ino, &failed);
        }
        Err(failed)
    }

    fn tell_of_fetch(&self, ino: u64, failed: &FsError) {
        tracing::debug!(%failed, "contents that are elsewhere could not be had");
        let path = Node::from_ino(ino).map(|node| self.query(|conn| tree::path(conn, node)));
        let path = path.transpose().ok().flatten().flatten().unwrap_or_default();
        self.log_refusal("read", path, failed.errno_name(), failed.to_string(), WHAT_TO_DO, None);
    }
}

/// What a program that reads whatever it finds gets.
fn refuse_indexers(thread: u32) -> Result<()> {
    if reader::is_indexer(thread) {
        let reason = "it is on another machine, and not fetched for a program that looks at every file".to_owned();
        return Err(FsError::Unreachable { reason });
    }
    Ok(())
}
