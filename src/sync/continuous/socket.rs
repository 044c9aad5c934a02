//! The socket at which commands ask the running engine: one line of JSON for the question, lines of JSON for the answers. For the
//! owner alone: it lies in a folder that nobody else may enter, and who asks is looked at too.
//!
//! A socket whose engine died answers nothing ("connection refused"): it is as if there were none, and the next engine puts its own
//! in its place.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{Event, Shared};
use crate::cloud::CloudError;
use crate::render::{SyncProgress, SyncStatus};
use crate::sync::engine::{Summary, SyncError, Way};

/// Who asks and says nothing for so long is not listened to.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a mirror is told that there is nothing new, so that either side sees when the other is gone.
const BREATH: Duration = Duration::from_secs(5);
/// Those who ask at the same time, at the most.
const MOST: usize = 64;
/// The longest question.
const LINE: u64 = 1 << 20;

/// A cycle that somebody asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub way: Way,
    /// Sends what belongs to these projects alone, by their rows.
    pub projects: Option<Vec<i64>>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Question {
    Cycle(Ask),
    Status,
    /// The status, and again whenever it changes.
    Mirror,
    /// The settings or the login changed.
    Look,
}

/// What is said of a cycle that was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Progress(SyncProgress),
    /// The cloud does not answer; it is tried again after so many seconds.
    Waits(String, f64),
    Done(Box<Done>),
    Failed(Failure),
    Status(Box<SyncStatus>),
}

/// A cycle that went well.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Done {
    pub summary: Summary,
    /// Secrets that were taken out, by kind.
    pub secrets: std::collections::BTreeMap<String, usize>,
    /// What a person should know.
    pub complaints: Vec<String>,
}

/// Why a cycle did not go well, as far as whoever asked acts differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// This engine does not sync: whoever asks does it himself.
    NotHere,
    LoginNeeded,
    Unreachable(String),
    Busy,
    Other(String),
}

impl From<&SyncError> for Failure {
    fn from(error: &SyncError) -> Self {
        match error {
            SyncError::Cloud(CloudError::LoginNeeded) => Self::LoginNeeded,
            SyncError::Cloud(CloudError::Unreachable(why)) => Self::Unreachable(why.clone()),
            SyncError::Cloud(CloudError::Busy { .. }) => Self::Busy,
            other => Self::Other(other.to_string()),
        }
    }
}

/// A path as short as the address of a socket has to be (108 bytes): by way of the open folder.
fn address(path: &Path) -> io::Result<(PathBuf, Option<std::os::fd::OwnedFd>)> {
    if path.as_os_str().len() < 100 {
        return Ok((path.to_owned(), None));
    }
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Err(io::ErrorKind::NotFound.into()) };
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&dir);
    Ok((Path::new("/proc/self/fd").join(number.to_string()).join(name), Some(dir)))
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let (short, _dir) = address(path)?;
    UnixStream::connect(short)
}

/// Answers until it is dropped.
pub(super) struct Server {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Puts the socket in its place. Only who has the engine's role may: what is there is a dead one's.
    pub(super) fn start(path: &Path, inbox: Sender<Event>, shared: Arc<Shared>) -> io::Result<Self> {
        if let Some(dir) = path.parent() {
            crate::store::private_dir(dir).map_err(io::Error::other)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (short, _dir) = address(path)?;
        let listener = UnixListener::bind(short)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new().name("cogfs-socket".to_owned()).spawn(move || {
            let open = Arc::new(AtomicUsize::new(0));
            for stream in listener.incoming() {
                if seen.load(Ordering::Relaxed) {
                    return;
                }
                match stream {
                    Ok(stream) => take(stream, &inbox, &shared, &open, &seen),
                    // Out of descriptors: those who are there now have to leave first.
                    Err(_) => thread::sleep(Duration::from_millis(100)),
                }
            }
        })?;
        Ok(Self { path: path.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It waits for somebody to come.
        let woken = connect(&self.path).is_ok();
        let _ = fs::remove_file(&self.path);
        if let (true, Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}

/// Answers one who asks, in a thread of his own.
fn take(
    stream: UnixStream,
    inbox: &Sender<Event>,
    shared: &Arc<Shared>,
    open: &Arc<AtomicUsize>,
    stop: &Arc<AtomicBool>,
) {
    let is_owner = rustix::net::sockopt::socket_peercred(&stream)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid() || peer.uid.is_root());
    if !is_owner || open.fetch_add(1, Ordering::Relaxed) >= MOST {
        if is_owner {
            open.fetch_sub(1, Ordering::Relaxed);
        }
        return;
    }
    let (inbox, shared, of_thread, stop) = (inbox.clone(), Arc::clone(shared), Arc::clone(open), Arc::clone(stop));
    let spawned = thread::Builder::new().name("cogfs-asked".to_owned()).spawn(move || {
        // Whoever asked may be gone: that is no failure of this side's.
        let _ = answer(&stream, &inbox, &shared, &stop);
        of_thread.fetch_sub(1, Ordering::Relaxed);
    });
    if spawned.is_err() {
        open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn answer(stream: &UnixStream, inbox: &Sender<Event>, shared: &Shared, stop: &AtomicBool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new(io::Read::take(stream, LINE)).read_line(&mut line)?;
    let question = match serde_json::from_str(&line) {
        Ok(question) => question,
        Err(error) => return say(stream, &Answer::Failed(Failure::Other(format!("not understood: {error}")))),
    };
    match question {
        Question::Status => say(stream, &Answer::Status(Box::new(shared.get().1))),
        Question::Look => {
            let _ = inbox.send(Event::Look);
            say(stream, &Answer::Status(Box::new(shared.get().1)))
        }
        Question::Mirror => {
            let (mut seen, mut status) = shared.get();
            while !stop.load(Ordering::Relaxed) {
                say(stream, &Answer::Status(Box::new(status)))?;
                (seen, status) = shared.wait(seen, BREATH);
            }
            Ok(())
        }
        Question::Cycle(ask) => {
            let (answers, given) = mpsc::channel();
            if inbox.send(Event::Ask(ask, answers)).is_err() {
                return say(stream, &Answer::Failed(Failure::NotHere));
            }
            // It ends with the cycle, or with the engine.
            for answer in given {
                say(stream, &answer)?;
            }
            Ok(())
        }
    }
}

fn say(mut stream: &UnixStream, answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn ask(path: &Path, question: &Question) -> io::Result<Answers> {
    let mut stream = connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    Ok(Answers { lines: BufReader::new(stream) })
}

/// What the engine says, until it has said all.
pub struct Answers {
    lines: BufReader<UnixStream>,
}

impl Iterator for Answers {
    type Item = io::Result<Answer>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).map_err(io::Error::from)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// Asks the running engine for a cycle; `None`: there is none.
#[must_use]
pub fn cycle(path: &Path, cycle: Ask) -> Option<Answers> {
    ask(path, &Question::Cycle(cycle)).ok()
}

/// How things stand, by the running engine; `None`: there is none, or it does not answer.
#[must_use]
pub fn status(path: &Path) -> Option<SyncStatus> {
    one(ask(path, &Question::Status))
}

/// Tells the running engine that the settings or the login changed. It would see it by itself a moment later.
pub fn look(path: &Path) {
    let _ = one(ask(path, &Question::Look));
}

/// The status of the running engine, again whenever it changes.
pub(super) fn mirror(path: &Path) -> io::Result<Answers> {
    let answers = ask(path, &Question::Mirror)?;
    answers.lines.get_ref().set_read_timeout(Some(2 * BREATH))?;
    Ok(answers)
}

fn one(answers: io::Result<Answers>) -> Option<SyncStatus> {
    let mut answers = answers.ok()?;
    answers.lines.get_ref().set_read_timeout(Some(PATIENCE)).ok()?;
    match answers.next() {
        Some(Ok(Answer::Status(status))) => Some(*status),
        _ => None,
    }
}
