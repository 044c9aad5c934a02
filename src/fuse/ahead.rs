//! Store ahead: who reads the turns of a session one after the other is given the rest of them before asking.
//!
//! The second such read makes a thread push the following turns into the page cache (FUSE_NOTIFY_STORE): one write and no
//! wake-up for each, where a read is two switches between processes. It serves no requests itself, as storing waits for
//! pages that running reads hold; and it holds a request's guard for a few turns at a time, so that what it stores is never
//! older than what the notifier tells the kernel to forget.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::{array, io};

use fuser::{INodeNo, Notifier};

use super::requests::{Counters, Kind};
use crate::fs::CogFs;

/// Bytes pushed for one trigger at the most.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// Turns pushed under one guard.
const STEP: u32 = 32;
/// A larger file is read in large pieces anyway.
const LARGEST_FILE: usize = 128 * 1024;
/// Sessions that may wait to be pushed; more are left to ordinary reads.
const WAITING: usize = 32;
/// Readers told apart: `rg` reads several sessions at once.
const READERS: usize = 16;
/// How far a reader may skip and still be reading on.
const STRIDE: u32 = 4;

/// A place in a session: its row and a turn's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    session_row: i64,
    number: u32,
}

/// Notices reads that follow each other.
struct Watch {
    /// The latest place in each of the sessions read last, the oldest to be overwritten next.
    recent: [Option<(Place, bool)>; READERS],
    next: usize,
}

impl Default for Watch {
    fn default() -> Self {
        Self { recent: array::from_fn(|_| None), next: 0 }
    }
}

impl Watch {
    /// Notes a read; true when it is the second of a sequence that was not pushed yet.
    fn note(&mut self, at: Place) -> bool {
        let known = self.recent.iter_mut().flatten().find(|(place, _)| place.session_row == at.session_row);
        let Some((place, pushed)) = known else {
            self.recent[self.next] = Some((at, false));
            self.next = (self.next + 1) % READERS;
            return false;
        };
        let follows = (1..=STRIDE).contains(&at.number.wrapping_sub(place.number));
        // Reading again from an earlier turn on is a new sequence: the pages may have been dropped since. The same turn again is
        // the next piece of a large one.
        *pushed &= at.number >= place.number;
        *place = at;
        let trigger = follows && !*pushed;
        *pushed |= trigger;
        trigger
    }
}

/// What request threads tell of their reads. Never waits.
pub(super) struct Ahead {
    watch: Mutex<Watch>,
    jobs: SyncSender<Place>,
}

/// A pair of the ear at the requests and the receiver for the thread.
pub(super) fn channel() -> (Ahead, Jobs) {
    let (jobs, receiver) = sync_channel(WAITING);
    (Ahead { watch: Mutex::default(), jobs }, Jobs(receiver))
}

/// The sessions to be pushed.
pub(super) struct Jobs(Receiver<Place>);

impl Ahead {
    /// Tells of a read of a turn.
    pub(super) fn read(&self, session_row: i64, number: u32) {
        let at = Place { session_row, number };
        let trigger = self.watch.lock().unwrap_or_else(PoisonError::into_inner).note(at);
        if trigger {
            // A full queue means that the thread is busy: the reads are served one by one, as without it.
            // The reader asks for the next turn itself before the thread is awake.
            let _ = self.jobs.try_send(Place { number: number + 2, ..at });
        }
    }
}

impl Jobs {
    /// Starts the thread. It ends when the [`Ahead`] of its channel is dropped, and nobody waits for it: what it pushes into a
    /// mount that is gone is refused by the kernel.
    pub(super) fn start(self, fs: Arc<CogFs>, kernel: Notifier, counters: Arc<Counters>) -> io::Result<()> {
        let run = move || {
            while let Ok(job) = self.0.recv() {
                if catch_unwind(AssertUnwindSafe(|| push(&fs, &kernel, &counters, job))).is_err() {
                    tracing::error!(?job, "storing ahead panicked; reads are served one by one");
                }
            }
        };
        thread::Builder::new().name("cogfs-ahead".to_owned()).spawn(run).map(drop)
    }
}

/// Pushes the turns from a place on.
fn push(fs: &CogFs, kernel: &Notifier, counters: &Counters, from: Place) {
    let (mut bytes, mut number, mut refused) = (0, from.number, None);
    while bytes < MOST_BYTES && refused.is_none() {
        let _guard = fs.begin();
        let given = fs.turns(from.session_row, number, STEP, &mut |turn| {
            number = turn.number + 1;
            bytes += turn.bytes.len() as u64;
            if turn.bytes.len() > LARGEST_FILE || refused.is_some() {
                return;
            }
            match kernel.store(INodeNo(turn.ino), 0, turn.bytes) {
                Ok(()) => counters.count(Kind::Stored),
                // Not listed yet, or dropped: the kernel has no place for it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => refused = Some(error),
            }
        });
        match given {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => return tracing::debug!(%error, "turns to store ahead"),
        }
    }
    if let Some(error) = refused {
        tracing::debug!(%error, "storing ahead");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(watch: &mut Watch, session_row: i64, number: u32) -> bool {
        watch.note(Place { session_row, number })
    }

    #[test]
    fn the_second_read_of_a_sequence_triggers_once() {
        let mut watch = Watch::default();
        assert!(!note(&mut watch, 1, 1));
        assert!(note(&mut watch, 1, 2));
        assert!(!note(&mut watch, 1, 3), "pushed already");
        assert!(!note(&mut watch, 1, 3), "the next piece of a large turn");
        assert!(!note(&mut watch, 1, 4), "pushed already");
        assert!(!note(&mut watch, 1, 1), "from the start again");
        assert!(note(&mut watch, 1, 2), "the pages may be gone");
    }

    #[test]
    fn scattered_reads_trigger_nothing() {
        let mut watch = Watch::default();
        for number in [10, 400, 3, 90, 20] {
            assert!(!note(&mut watch, 1, number), "turn {number}");
        }
    }

    #[test]
    fn readers_of_different_sessions_are_told_apart() {
        let mut watch = Watch::default();
        assert!(!note(&mut watch, 1, 1));
        assert!(!note(&mut watch, 2, 1));
        assert!(note(&mut watch, 1, 2));
        assert!(note(&mut watch, 2, 2));
    }
}
