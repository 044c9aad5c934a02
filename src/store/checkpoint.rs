//! Checkpoints beside the writing: what is in the write-ahead log is copied into the database by a thread of its own, so that a
//! long import does not wait for the disk at each commit.
//!
//! SQLite by itself does this in the COMMIT that makes the log longer than 4 MB, and waits for two fsyncs in it.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;

/// The log is copied when it is longer: the size at which SQLite does so by itself. It is cut to it when it begins anew, or every
/// commit behind a large one would be taken for large.
pub(super) const LONG: u64 = 4 * 1024 * 1024;

/// A log longer than this is waited for: else it would grow for as long as an import writes faster than the disk.
const TOO_LONG: u64 = 256 * 1024 * 1024;

/// The write-ahead log of a database.
#[must_use]
pub fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Copies the log of one database.
pub(super) struct Checkpointer {
    database: PathBuf,
    log: PathBuf,
    /// Its length when it was last had copied.
    copied_at: u64,
    work: Option<SyncSender<SyncSender<()>>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    /// For a database whose connections leave checkpoints to this one. The thread is started when there is something to do.
    pub(super) fn new(database: &Path) -> Self {
        Self { database: database.to_owned(), log: log_of(database), copied_at: 0, work: None, thread: None }
    }

    /// To be called behind each commit, outside of a transaction.
    pub(super) fn committed(&mut self) {
        let length = std::fs::metadata(&self.log).map_or(0, |meta| meta.len());
        if length < self.copied_at {
            self.copied_at = 0;
        }
        // A log that a reader keeps from beginning anew stays long: copied at each commit, each would cost two fsyncs more.
        if length <= self.copied_at + LONG {
            return;
        }
        let (done, wait) = sync_channel(1);
        let work = match &self.work {
            Some(work) => work,
            None => self.start(),
        };
        if length > TOO_LONG {
            // A thread that is gone has closed its side: nothing is waited for.
            let _ = work.send(done).map(|()| wait.recv());
            self.copied_at = length;
        } else {
            // If it is at it already the next commit asks again.
            if work.try_send(done).is_ok() {
                self.copied_at = length;
            }
        }
    }

    fn start(&mut self) -> &SyncSender<SyncSender<()>> {
        let database = self.database.clone();
        let (work, wanted) = sync_channel(1);
        self.thread = Some(thread::spawn(move || copy(&database, &wanted)));
        self.work.insert(work)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn copy(database: &Path, wanted: &Receiver<SyncSender<()>>) {
    let conn = Connection::open(database);
    while let Ok(done) = wanted.recv() {
        let copied = conn.as_ref().map_err(ToString::to_string).and_then(|conn| {
            // PASSIVE waits for nobody: neither for readers nor for the writer.
            conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(|e| e.to_string())
        });
        if let Err(error) = copied {
            // Nothing is lost: the log stays, and the last connection to close copies it.
            tracing::debug!(error, "checkpoint");
        }
        let _ = done.send(());
    }
}
