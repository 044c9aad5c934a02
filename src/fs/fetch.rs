//! Contents that are elsewhere: who reads them waits until they are here, once for all readers of a session and no longer than
//! ten seconds. Programs that look at every file on their own never cause a fetch.
//!
//! Where contents come from is not known here.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{CogFs, FsError, Result, lock};
use crate::model::Id;
use crate::tree::{self, Node};

/// How long a reader waits.
pub const LIMIT: Duration = Duration::from_secs(10);

/// A session is told of in the log of errors once in this time.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// Sessions that are remembered as told of.
const TOLD: usize = 1024;

/// Programs that read whatever they find, by their names as `/proc` has them: cut after 15 bytes.
const INDEXERS: [&str; 8] = [
    "tracker-",
    "localsearch",
    "baloo",
    "tumblerd",
    "updatedb",
    "ffmpegthumbnail",
    "gnome-desktop-t",
    "plocate-updated",
];

/// Why contents could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// There is no way to where they are.
    #[error("{0}")]
    Unreachable(String),
    /// It takes too long.
    #[error("it took longer than {} seconds", LIMIT.as_secs())]
    TimedOut,
}

/// Brings contents here. Called from threads of their own, once at a time for one thing.
pub trait Fetcher: Send + Sync {
    /// Brings the contents of a session into the store.
    ///
    /// # Errors
    /// When they are not there by the deadline.
    fn fetch(&self, session: Id, deadline: Instant) -> std::result::Result<(), FetchError>;

    /// Brings the bytes of a picture here.
    ///
    /// # Errors
    /// When they are not there by the deadline.
    fn blob(&self, sha256: &str, mime: &str, deadline: Instant) -> std::result::Result<(), FetchError>;
}

/// What a file needs that is not here.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Missing {
    Session(Id),
    Blob { sha256: String, mime: String },
}

type Outcome = std::result::Result<(), FetchError>;

/// A fetch under way.
#[derive(Default)]
struct UnderWay {
    outcome: Mutex<Option<Outcome>>,
    done: Condvar,
}

/// The fetches under way.
#[derive(Default)]
pub(super) struct Fetching {
    fetcher: OnceLock<Arc<dyn Fetcher>>,
    under_way: Arc<Mutex<HashMap<Missing, Arc<UnderWay>>>>,
    told: Mutex<HashMap<Missing, Instant>>,
}

impl Fetching {
    /// Waits for a fetch that is under way, or begins one.
    fn get(&self, missing: &Missing, deadline: Instant) -> Outcome {
        let Some(fetcher) = self.fetcher.get() else {
            let why = "it is on another machine, and this mount is not connected to the cloud".to_owned();
            return Err(FetchError::Unreachable(why));
        };
        let (fetch, is_first) = {
            let mut all = lock(&self.under_way);
            let known = all.get(missing).cloned();
            let is_first = known.is_none();
            (known.unwrap_or_else(|| Arc::clone(all.entry(missing.clone()).or_default())), is_first)
        };
        if is_first {
            let work = Work {
                fetcher: Arc::clone(fetcher),
                missing: missing.clone(),
                under_way: Arc::clone(&self.under_way),
                fetch: Arc::clone(&fetch),
            };
            let run = move || work.run(deadline);
            if let Err(error) = thread::Builder::new().name("cogfs-fetch".to_owned()).spawn(run) {
                lock(&self.under_way).remove(missing);
                return Err(FetchError::Unreachable(format!("no thread could be started: {error}")));
            }
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let waited = fetch.done.wait_timeout_while(lock(&fetch.outcome), left, |outcome| outcome.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0.clone().unwrap_or(Err(FetchError::TimedOut))
    }

    /// Whether it is time to tell of this.
    fn is_to_be_told(&self, missing: &Missing) -> bool {
        let (mut told, now) = (lock(&self.told), Instant::now());
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

/// What the thread of a fetch does.
struct Work {
    fetcher: Arc<dyn Fetcher>,
    missing: Missing,
    under_way: Arc<Mutex<HashMap<Missing, Arc<UnderWay>>>>,
    fetch: Arc<UnderWay>,
}

impl Work {
    fn run(self, deadline: Instant) {
        let outcome = match &self.missing {
            Missing::Session(session) => self.fetcher.fetch(*session, deadline),
            Missing::Blob { sha256, mime } => self.fetcher.blob(sha256, mime, deadline),
        };
        *lock(&self.fetch.outcome) = Some(outcome);
        // The drop wakes who waits.
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        lock(&self.under_way).remove(&self.missing);
        // A fetcher that panicked brought nothing.
        let why = || Err(FetchError::Unreachable("the fetch failed".to_owned()));
        lock(&self.fetch.outcome).get_or_insert_with(why);
        self.fetch.done.notify_all();
    }
}

impl CogFs {
    /// Says where contents that are elsewhere come from. The first caller holds; without one they cannot be read.
    pub fn fetch_with(&self, fetcher: Arc<dyn Fetcher>) {
        let _ = self.fetching.fetcher.set(fetcher);
    }

    /// Waits until what a file needs is here; for a thread that serves no requests, without a guard. `thread` is the reader's.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn fetch(&self, ino: u64, thread: u32, missing: &[Missing]) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        for missing in missing {
            if is_indexer(thread) {
                let reason =
                    "it is on another machine, and not fetched for a program that looks at every file".to_owned();
                return Err(FsError::Unreachable { reason });
            }
            let failed = match self.fetching.get(missing, deadline) {
                Ok(()) => continue,
                Err(FetchError::TimedOut) => FsError::TimedOut,
                Err(FetchError::Unreachable(reason)) => FsError::Unreachable { reason },
            };
            if self.fetching.is_to_be_told(missing) {
                self.tell_of_fetch(ino, &failed);
            }
            return Err(failed);
        }
        // Requests from here on see what came.
        self.gate.advance();
        Ok(())
    }

    fn tell_of_fetch(&self, ino: u64, failed: &FsError) {
        tracing::debug!(%failed, "contents that are elsewhere could not be had");
        let path = Node::from_ino(ino).map(|node| self.query(|conn| tree::path(conn, node)));
        let path = path.transpose().ok().flatten().flatten().unwrap_or_default();
        let what_to_do = "Connect, then read it again. by/status/remote/ lists what is on other machines.";
        self.log_refusal("read", path, failed.errno_name(), failed.to_string(), what_to_do, None);
    }
}

/// Whether a thread belongs to a program that reads whatever it finds.
fn is_indexer(thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    let name = |id: u32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    // A thread may have a name of its own.
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")).and_then(|id| id.trim().parse().ok());
    [Some(thread), process].into_iter().flatten().any(|id| names_indexer(name(id).trim()))
}

fn names_indexer(comm: &str) -> bool {
    INDEXERS.iter().any(|name| comm.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_read_everything_are_known_by_the_names_that_proc_has() {
        for comm in
            ["tracker-extract", "tracker-miner-f", "localsearch-3", "baloo_file_extr", "tumblerd", "gnome-desktop-t"]
        {
            assert!(names_indexer(comm), "{comm}");
        }
        for comm in ["cat", "grep", "vim", "Thunar", "nautilus", ""] {
            assert!(!names_indexer(comm), "{comm}");
        }
    }

    struct Slow(std::sync::atomic::AtomicU32);

    impl Fetcher for Slow {
        fn fetch(&self, _: Id, _: Instant) -> Outcome {
            self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            thread::sleep(Duration::from_millis(50));
            Ok(())
        }

        fn blob(&self, _: &str, _: &str, deadline: Instant) -> Outcome {
            thread::sleep(deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(20));
            Ok(())
        }
    }

    #[test]
    fn readers_of_one_session_wait_for_one_fetch() {
        let (fetching, slow) = (Fetching::default(), Arc::new(Slow(0.into())));
        assert!(fetching.fetcher.set(slow.clone()).is_ok());
        let missing = Missing::Session(Id::derive(&[b"s"]));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert_eq!(fetching.get(&missing, Instant::now() + LIMIT), Ok(())));
            }
        });
        // Who comes behind the end of one begins another.
        assert!(slow.0.load(std::sync::atomic::Ordering::SeqCst) < 8);
        assert!(lock(&fetching.under_way).is_empty());
    }

    #[test]
    fn nobody_waits_longer_than_the_limit() {
        let fetching = Fetching::default();
        let missing = Missing::Blob { sha256: "0".repeat(64), mime: String::new() };
        assert!(matches!(fetching.get(&missing, Instant::now() + LIMIT), Err(FetchError::Unreachable(_))));
        assert!(fetching.fetcher.set(Arc::new(Slow(0.into()))).is_ok());
        let soon = Instant::now() + Duration::from_millis(10);
        assert_eq!(fetching.get(&missing, soon), Err(FetchError::TimedOut));
    }
}
