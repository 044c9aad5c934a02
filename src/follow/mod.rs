//! Following the agents' logs: what is written to them is imported a moment later, for as long as a [`Follower`] lives.
//!
//! Owns the question which files changed: by inotify, one watch a directory, and where that cannot be had by looking. What is
//! in them is `ingest`'s. Must hold no lock of the database between imports, and must never end its process: whatever goes
//! wrong is told, logged and tried again.

mod inbox;
mod place;
mod poll;
mod watches;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, io};

use crate::ingest::{FileRead, discover};
use crate::model::Id;
use crate::store::lock::Purpose;
use crate::store::{self, Layout};
use inbox::Inbox;
use worker::Worker;

/// Set to `poll`: never inotify. For filesystems that tell of nothing, such as those of another machine.
const MODE_VARIABLE: &str = "COGFS_WATCH";

/// The database may be told by its maker that nobody's logs belong in it (the demo's): a key of the table `state`.
const STATE_KEY: &str = "follow";
const STATE_NEVER: &str = "never";

/// How long a follower that panicked rests before it begins anew.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// What to follow, and how.
#[derive(Debug, Clone)]
pub struct Options {
    pub layout: Layout,
    /// Files and folders, which need not be there yet; empty for the agents' usual places.
    pub places: Vec<PathBuf>,
    /// Look at the files every second in place of waiting for inotify.
    pub poll: bool,
    /// How long the first look at the places waits.
    pub begin_after: Duration,
    after_panic: Duration,
}

impl Options {
    /// Follows `places` for a database, in the way the environment says.
    #[must_use]
    pub fn new(layout: Layout, places: Vec<PathBuf>) -> Self {
        let poll = env::var_os(MODE_VARIABLE).is_some_and(|mode| mode == "poll");
        Self { layout, places, poll, begin_after: Duration::ZERO, after_panic: AFTER_PANIC }
    }

    fn wanted(&self) -> Vec<PathBuf> {
        if self.places.is_empty() { discover::agent_places() } else { self.places.clone() }
    }

    /// One process at a time follows the same places for the same database.
    fn purpose(&self) -> Purpose {
        if self.places.is_empty() {
            return Purpose::Follow;
        }
        let mut names: Vec<Vec<u8>> = self
            .places
            .iter()
            .map(|place| {
                std::path::absolute(place).unwrap_or_else(|_| place.clone()).into_os_string().into_encoded_bytes()
            })
            .collect();
        names.sort();
        let parts: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        Purpose::FollowNamed(Id::derive(&parts).to_string())
    }
}

/// What a follower tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Another process follows the same places for this database; this one takes over when that ends.
    Waiting,
    /// Everything that was there is imported, and what comes is followed.
    Following { places: Vec<PathBuf>, files: u64 },
    /// So much of a longer import is done.
    Importing { done_bytes: u64, total_bytes: u64 },
    /// These files had something new in them, which shows now.
    Imported(Vec<FileRead>),
    /// Something is wrong, in words; it is tried again.
    Problem(String),
}

/// Called by the follower's thread; should be quick.
pub type Told = Arc<dyn Fn(News) + Send + Sync>;

/// Whether the maker of a database wants nobody's logs in it.
///
/// # Errors
/// When the database cannot be read.
pub fn is_unwanted(conn: &rusqlite::Connection) -> store::Result<bool> {
    Ok(store::state(conn, STATE_KEY)?.as_deref() == Some(STATE_NEVER))
}

/// Makes a database one that nobody's logs are followed into.
///
/// # Errors
/// When the database cannot be written.
pub fn set_unwanted(conn: &rusqlite::Connection) -> store::Result<()> {
    if is_unwanted(conn)? { Ok(()) } else { store::set_state(conn, STATE_KEY, STATE_NEVER) }
}

/// Follows until it is dropped.
pub struct Follower {
    stop: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins to follow. Whether another process does already is told before this returns.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(options: Options, told: Told) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let inbox = Arc::new(Inbox::default());
        let mut worker = Worker::new(options.clone(), Arc::clone(&stop), Arc::clone(&inbox), Arc::clone(&told));
        worker.try_to_begin();
        let (for_thread, inbox_of_thread) = (Arc::clone(&stop), Arc::clone(&inbox));
        let thread = thread::Builder::new().name("cogfs-follow".to_owned()).spawn(move || {
            if !inbox_of_thread.rest(options.begin_after) {
                keep_going(worker, &options, &for_thread, &inbox_of_thread, &told);
            }
        })?;
        Ok(Self { stop, inbox, thread: Some(thread) })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.inbox.stop();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// A worker that panics gives its lock and its watches back; a new one begins with nothing of what it knew.
fn keep_going(mut worker: Worker, options: &Options, stop: &Arc<AtomicBool>, inbox: &Arc<Inbox>, told: &Told) {
    loop {
        if catch_unwind(AssertUnwindSafe(|| worker.run())).is_ok() {
            return;
        }
        drop(worker);
        let seconds = options.after_panic.as_secs();
        tracing::error!(
            "following the logs panicked; it begins anew in {seconds} s, and what is mounted is not affected"
        );
        // Whoever is told may be what panicked.
        let problem = format!("following the logs failed (a fault in cogfs); it begins anew in {seconds} s");
        let _ = catch_unwind(AssertUnwindSafe(|| told(News::Problem(problem))));
        if inbox.rest(options.after_panic) {
            return;
        }
        worker = Worker::new(options.clone(), Arc::clone(stop), Arc::clone(inbox), Arc::clone(told));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::{Receiver, channel};
    use std::sync::{Mutex, PoisonError};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn follow(options: Options, panics_at: Option<fn(&News) -> bool>) -> (Follower, Receiver<News>) {
        let (send, receive) = channel();
        let (send, panicked) = (Mutex::new(send), AtomicBool::new(false));
        let told = move |news: News| {
            let panics = panics_at.is_some_and(|at| at(&news)) && !panicked.swap(true, Ordering::Relaxed);
            // A receiver that is gone hears nothing.
            let _ = send.lock().unwrap_or_else(PoisonError::into_inner).send(news);
            assert!(!panics, "a panic of the follower's thread, made by a test");
        };
        (Follower::start(options, Arc::new(told)).unwrap(), receive)
    }

    fn wait_for(news: &Receiver<News>, wanted: fn(&News) -> bool) -> News {
        loop {
            let found = news.recv_timeout(PATIENCE).expect("some news");
            if wanted(&found) {
                return found;
            }
        }
    }

    #[test]
    fn a_follower_that_panics_says_so_and_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let mut options = Options::new(Layout::new(dir.path().join("data")), vec![logs]);
        options.after_panic = Duration::from_millis(10);
        let (follower, news) = follow(options, Some(|news| matches!(news, News::Following { .. })));
        let problem = wait_for(&news, |news| matches!(news, News::Problem(_)));
        assert!(matches!(&problem, News::Problem(text) if text.contains("a fault in cogfs")), "{problem:?}");
        wait_for(&news, |news| matches!(news, News::Following { .. }));
        drop(follower);
    }

    #[test]
    fn the_second_follower_of_the_same_places_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        let options = |place: &str| Options::new(layout.clone(), vec![dir.path().join(place)]);
        let (first, news_of_first) = follow(options("a"), None);
        wait_for(&news_of_first, |news| matches!(news, News::Following { .. }));
        let (_other, news_of_other) = follow(options("b"), None);
        wait_for(&news_of_other, |news| matches!(news, News::Following { .. }));
        let (_second, news_of_second) = follow(options("a"), None);
        assert_eq!(news_of_second.recv_timeout(PATIENCE), Ok(News::Waiting));
        drop(first);
        wait_for(&news_of_second, |news| matches!(news, News::Following { .. }));
    }
}
