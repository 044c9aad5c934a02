//! The next log, begun while the one before it is still being written: recognised, and its first records parsed, so that the
//! writer neither does this itself nor waits for it.
//!
//! Only of small logs that were never read: of these nothing needs to be known from the database, and two of them are in
//! memory at once. Runs on a thread of its own; must not touch the database.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use super::BATCHES;
use super::read::{self, Batch};
use crate::ingest::discover::Candidate;
use crate::ingest::lines::Lines;
use crate::ingest::record::SessionHead;
use crate::ingest::source::{self, Recognised, Stamp};
use crate::store::sources;
use crate::store::{self, Transaction};

/// A larger log is begun when it is its turn, and none is begun beside it.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;

/// What a log turned out to be.
pub(super) enum Found {
    Begun(SessionHead, Begun),
    Other(io::Result<Recognised>),
}

/// What the reader says first.
enum Said {
    /// A log of lines: its records follow. With what its parser knows before the first of them.
    Lines(SessionHead, Value),
    Other(io::Result<Recognised>),
}

/// A log that was begun.
pub(super) struct Ahead {
    path: PathBuf,
    /// Of the file when it was begun.
    stamp: Stamp,
    said: Receiver<Said>,
    reader: Reader,
}

impl Ahead {
    /// Begins a log that was never read; `None` where that cannot be, or is not worth it.
    pub(super) fn begin(tx: &Transaction<'_>, candidate: &Candidate) -> store::Result<Option<Self>> {
        // What is wrong with it is told when it is its turn.
        let Ok(stamp) = source::stamp(&candidate.path) else { return Ok(None) };
        if stamp.size > LARGEST || sources::find(tx, &candidate.path.to_string_lossy())?.is_some() {
            return Ok(None);
        }
        let (tell, said) = sync_channel(1);
        let (send, batches) = sync_channel(BATCHES);
        let path = candidate.path.clone();
        let thread = thread::spawn(move || match source::recognise(&path) {
            // Of a compressed one a few bytes may be a very long line.
            Ok(Recognised::Lines(head, parser)) if is_plain(&path) => {
                // Nobody listens when the import was stopped.
                if tell.send(Said::Lines(head, parser.state())).is_ok() {
                    read::lines(&path, 0, 1, parser, &send);
                }
            }
            other => drop(tell.send(Said::Other(other))),
        });
        let reader = Reader { batches: Some(batches), thread: Some(thread) };
        Ok(Some(Self { path: candidate.path.clone(), stamp, said, reader }))
    }

    /// Whether this is the log at hand, as it is now.
    pub(super) fn is_of(&self, candidate: &Candidate, stamp: Stamp) -> bool {
        self.path == candidate.path && self.stamp == stamp
    }

    /// What the log is.
    pub(super) fn found(self) -> Found {
        match self.said.recv() {
            Ok(Said::Lines(head, parser_state)) => Found::Begun(head, Begun { parser_state, reader: self.reader }),
            Ok(Said::Other(recognised)) => Found::Other(recognised),
            // The reader is gone, and why is told when it is dropped.
            Err(gone) => Found::Other(Err(io::Error::other(gone))),
        }
    }
}

fn is_plain(path: &Path) -> bool {
    Lines::open(path, 0, 1).is_ok_and(|lines| !lines.is_compressed())
}

/// A log of lines whose records come already.
pub(super) struct Begun {
    pub(super) parser_state: Value,
    reader: Reader,
}

impl Begun {
    /// Its next records; `None` behind the last.
    pub(super) fn next(&self) -> Option<Batch> {
        self.reader.batches.as_ref().and_then(|batches| batches.recv().ok())
    }
}

/// A thread that reads, which ends with this.
struct Reader {
    batches: Option<Receiver<Batch>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It goes on only while somebody takes what it read.
        drop(self.batches.take());
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
