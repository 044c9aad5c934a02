//! Store ahead: who walks through the tree reading is given the next files before asking.
//!
//! The second of two reads of neighbouring turns shows a walk: a thread pushes the turns that follow, in the direction of the
//! reader (`grep` and `tar` go up, `rg` goes down), into the page cache (FUSE_NOTIFY_STORE): one write and no wake-up for
//! each, where a read is two switches between processes. As long as the walk goes on, the first read in a directory is enough,
//! and the small documents beside a transcript are pushed too. The thread serves no requests itself, as storing waits for
//! pages that running reads hold; and it holds a request's guard for a few turns at a time, so that what it stores is never
//! older than what the notifier tells the kernel to forget.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::{array, io};

use fuser::{INodeNo, Notifier};

use super::requests::{Counters, Kind};
use crate::fs::{CogFs, FsError, ReadAt, ReadyFile};

/// Bytes pushed for one trigger at the most.
const MOST_BYTES: u64 = 16 * 1024 * 1024;
/// Turns pushed under one guard.
const STEP: u32 = 16;
/// A larger file is read in large pieces anyway.
const LARGEST_FILE: usize = 128 * 1024;
/// Jobs that may wait; more are left to ordinary reads.
const WAITING: usize = 32;
/// Readers told apart: `rg` reads several sessions at once.
const READERS: usize = 16;
/// How far a reader may skip and still be reading on.
const STRIDE: u32 = 4;
/// So many sessions entered elsewhere than at an end, one after the other, end a walk: a thread of `rg` that takes work from
/// another enters in the middle, too.
const STRAYS: u8 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// What to push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    /// The turns of a session behind this one, in the reader's direction. `entered`: it is the first read of the session, and
    /// a walk if it begins at an end.
    Turns { session_row: i64, number: u32, direction: Direction, entered: bool },
    /// The other documents of the directory that this file lies in.
    Beside(u64),
}

/// The latest reads in a session's turns, and at which one pushing began, and which way.
#[derive(Debug, Clone, Copy)]
struct Seen {
    session_row: i64,
    /// Where its readers are, the latest in front: two threads of `rg` share a directory.
    places: [u32; 2],
    pushed: Option<(Direction, u32)>,
}

impl Seen {
    /// Notes a read; the direction in which it follows an earlier one. Outside of a walk only the very next turn follows, and
    /// only on the latest read: among scattered reads some come near each other by chance.
    fn follow(&mut self, number: u32, in_walk: bool) -> Option<Direction> {
        let stride = if in_walk { STRIDE } else { 1 };
        let direction = |before: u32| match (number.wrapping_sub(before), before.wrapping_sub(number)) {
            (up, _) if (1..=stride).contains(&up) => Some(Direction::Up),
            (_, down) if (1..=stride).contains(&down) => Some(Direction::Down),
            _ => None,
        };
        let [latest, other] = self.places;
        // The reader that came from there is here now.
        let (found, stays) = match direction(latest) {
            Some(found) => (Some(found), other),
            None => (direction(other).filter(|_| in_walk), latest),
        };
        self.places = [number, stays];
        found
    }

    /// Whether a reader at this turn was given what follows. Before the place where pushing began it reads again: the pages may
    /// be gone.
    fn is_given(&self, number: u32) -> bool {
        match self.pushed {
            Some((Direction::Up, from)) => number > from,
            Some((Direction::Down, from)) => number < from,
            None => false,
        }
    }
}

/// The last few of some numbers.
#[derive(Default)]
struct Recent {
    numbers: [Option<u64>; READERS],
    next: usize,
}

impl Recent {
    fn holds(&self, number: u64) -> bool {
        self.numbers.contains(&Some(number))
    }

    /// Adds a number; false when it was there.
    fn add(&mut self, number: u64) -> bool {
        let is_new = !self.holds(number);
        if is_new {
            self.numbers[self.next] = Some(number);
            self.next = (self.next + 1) % READERS;
        }
        is_new
    }
}

/// Notices reads that follow each other.
struct Watch {
    /// The sessions read last, the oldest to be overwritten next.
    recent: [Option<Seen>; READERS],
    next: usize,
    /// The directories whose documents were pushed last.
    beside: Recent,
    /// The documents read last.
    documents: Recent,
    /// The direction of the walk that goes on, if one does.
    walk: Option<Direction>,
    /// Sessions entered elsewhere than at an end since a sequence was seen.
    strays: u8,
}

impl Default for Watch {
    fn default() -> Self {
        let recent = array::from_fn(|_| None);
        Self { recent, next: 0, beside: Recent::default(), documents: Recent::default(), walk: None, strays: 0 }
    }
}

impl Watch {
    /// Notes a read; what to push if it shows that a walk goes on which was not given its next files yet.
    fn note(&mut self, ino: u64, at: ReadAt) -> Option<Job> {
        match at {
            ReadAt::Turn { session_row, number } => self.note_turn(session_row, number),
            ReadAt::Document { dir } => self.note_document(ino, dir),
        }
    }

    fn note_turn(&mut self, session_row: i64, number: u32) -> Option<Job> {
        let Some(seen) = self.recent.iter_mut().flatten().find(|seen| seen.session_row == session_row) else {
            let pushed = self.enter(number);
            let begun = pushed.map(|direction| (direction, number));
            self.recent[self.next] = Some(Seen { session_row, places: [number; 2], pushed: begun });
            self.next = (self.next + 1) % READERS;
            return pushed.map(|direction| Job::Turns { session_row, number, direction, entered: true });
        };
        // The next piece of a large turn is no other turn.
        if seen.places.contains(&number) {
            return None;
        }
        let follows = seen.follow(number, self.walk.is_some());
        if seen.is_given(number) {
            return None;
        }
        seen.pushed = None;
        let Some(direction) = follows else {
            self.stray();
            return None;
        };
        (seen.pushed, self.walk, self.strays) = (Some((direction, number)), Some(direction), 0);
        Some(Job::Turns { session_row, number, direction, entered: false })
    }

    /// The first read in a session's turns. A walk enters at an end: at the first turn, or at the last, whose number the thread
    /// looks up.
    fn enter(&mut self, number: u32) -> Option<Direction> {
        if self.walk == Some(Direction::Up) && number > 1 {
            self.stray();
            return None;
        }
        self.walk
    }

    /// Notes a session entered elsewhere than at an end.
    fn stray(&mut self) {
        self.strays += 1;
        if self.strays >= STRAYS {
            (self.walk, self.strays) = (None, 0);
        }
    }

    /// The thread pushed nothing for this session: its next reads are looked at as if they were the first.
    fn stray_in(&mut self, session_row: i64) {
        if let Some(seen) = self.recent.iter_mut().flatten().find(|seen| seen.session_row == session_row) {
            seen.pushed = None;
        }
        self.stray();
    }

    /// The end of a listing of a session's turns. Who goes up through the tree and has read the session's documents reads its
    /// turns now, unless it only lists.
    fn note_listed(&mut self, session_row: i64, session_dir: u64) -> Option<Job> {
        let is_new = !self.recent.iter().flatten().any(|seen| seen.session_row == session_row);
        let is_due = self.walk == Some(Direction::Up) && is_new && self.beside.holds(session_dir);
        is_due.then(|| {
            let (direction, number) = (Direction::Up, 0);
            self.recent[self.next] = Some(Seen { session_row, places: [0; 2], pushed: Some((direction, number)) });
            self.next = (self.next + 1) % READERS;
            Job::Turns { session_row, number, direction, entered: false }
        })
    }

    fn note_document(&mut self, ino: u64, dir: u64) -> Option<Job> {
        self.documents.add(ino);
        let wanted = self.walk.is_some() && self.beside.add(dir);
        wanted.then_some(Job::Beside(ino))
    }

    /// Where the latest reader of a session's turns is by now.
    fn place_in(&self, session_row: i64) -> Option<u32> {
        self.recent.iter().flatten().find(|seen| seen.session_row == session_row).map(|seen| seen.places[0])
    }
}

/// What request threads tell of their reads. Never waits.
pub(super) struct Ahead {
    watch: Arc<Mutex<Watch>>,
    jobs: SyncSender<Job>,
}

/// A pair of the ear at the requests and the receiver for the thread.
pub(super) fn channel() -> (Ahead, Jobs) {
    let (jobs, receiver) = sync_channel(WAITING);
    let watch = Arc::<Mutex<Watch>>::default();
    (Ahead { watch: Arc::clone(&watch), jobs }, Jobs { jobs: receiver, watch })
}

/// What is to be pushed.
pub(super) struct Jobs {
    jobs: Receiver<Job>,
    watch: Arc<Mutex<Watch>>,
}

impl Ahead {
    /// Tells of the end of a listing, before its reader knows of it.
    pub(super) fn listed(&self, ino: u64) {
        let Some((session_row, dir)) = CogFs::turns_listed(ino) else { return };
        let job = lock(&self.watch).note_listed(session_row, dir);
        if let Some(job) = job {
            let _ = self.jobs.try_send(job);
        }
    }

    /// Tells of a read of a file.
    pub(super) fn read(&self, ino: u64) {
        let Some(at) = CogFs::read_at(ino) else { return };
        let job = lock(&self.watch).note(ino, at);
        if let Some(job) = job {
            // A full queue means that the thread is busy: the reads are served one by one, as without it.
            let _ = self.jobs.try_send(job);
        }
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Jobs {
    /// Starts the thread. It ends when the [`Ahead`] of its channel is dropped, and nobody waits for it: what it pushes into a
    /// mount that is gone is refused by the kernel.
    pub(super) fn start(self, fs: Arc<CogFs>, kernel: Notifier, counters: Arc<Counters>) -> io::Result<()> {
        let run = move || {
            while let Ok(job) = self.jobs.recv() {
                let (fs, kernel, counters, watch) = (&*fs, &kernel, &*counters, &*self.watch);
                let mut push = Push { fs, kernel, counters, watch, bytes: 0, refused: None };
                if catch_unwind(AssertUnwindSafe(|| push.run(job))).is_err() {
                    tracing::error!(?job, "storing ahead panicked; reads are served one by one");
                }
            }
        };
        thread::Builder::new().name("cogfs-ahead".to_owned()).spawn(run).map(drop)
    }
}

/// One job under way.
struct Push<'a> {
    fs: &'a CogFs,
    kernel: &'a Notifier,
    counters: &'a Counters,
    watch: &'a Mutex<Watch>,
    bytes: u64,
    refused: Option<io::Error>,
}

impl Push<'_> {
    fn run(&mut self, job: Job) {
        let done = match job {
            // The reader asks for the next turn itself before this thread is awake.
            Job::Turns { session_row, number, direction: Direction::Up, .. } => self.up(session_row, number + 2),
            Job::Turns { session_row, number, direction: Direction::Down, entered } => {
                self.down(session_row, number, entered)
            }
            Job::Beside(ino) => self.beside(ino),
        };
        if let Err(error) = done {
            tracing::debug!(%error, "files to store ahead");
        }
        if let Some(error) = self.refused.take() {
            tracing::debug!(%error, "storing ahead");
        }
    }

    fn up(&mut self, session_row: i64, from: u32) -> Result<(), FsError> {
        let mut next = from;
        while let Some(last) = self.turns(session_row, next, STEP, true)? {
            // A reader who is faster has asked itself.
            next = last.max(self.reader_in(session_row)) + 1;
        }
        Ok(())
    }

    /// The turns below a number, in steps from the top; then those above, which another thread of the reader may have taken.
    fn down(&mut self, session_row: i64, below: u32, entered: bool) -> Result<(), FsError> {
        let Some(last) = self.fs.last_turn(session_row)? else { return Ok(()) };
        if entered && below + STRIDE < last {
            lock(self.watch).stray_in(session_row);
            return Ok(());
        }
        self.down_to(session_row, below, 1)?;
        self.down_to(session_row, last + 1, below + 2)
    }

    fn down_to(&mut self, session_row: i64, below: u32, lowest: u32) -> Result<(), FsError> {
        let mut end = below;
        while end > lowest {
            let first = end.saturating_sub(STEP).max(lowest);
            if self.turns(session_row, first, end - first, false)?.is_none() {
                break;
            }
            end = first;
        }
        Ok(())
    }

    fn reader_in(&self, session_row: i64) -> u32 {
        lock(self.watch).place_in(session_row).unwrap_or(0)
    }

    /// Pushes some turns, going up without those that the reader has asked for meanwhile: to wait for its pages would be to fall in
    /// step with it. The number of the last of them, or `None` when there were none or the job is at its end.
    fn turns(&mut self, session_row: i64, from: u32, count: u32, up: bool) -> Result<Option<u32>, FsError> {
        let (fs, mut last) = (self.fs, None);
        let _guard = fs.begin();
        fs.turns(session_row, from, count, &mut |number, file| {
            last = Some(number);
            if !up || number > self.reader_in(session_row) {
                self.put(&file);
            }
        })?;
        Ok(last.filter(|_| self.bytes < MOST_BYTES && self.refused.is_none()))
    }

    fn beside(&mut self, ino: u64) -> Result<(), FsError> {
        let fs = self.fs;
        let _guard = fs.begin();
        let watch = self.watch;
        // A reader who is faster has asked itself.
        let is_wanted = |other: u64| !lock(watch).documents.holds(other);
        fs.beside(ino, LARGEST_FILE as u64, &is_wanted, &mut |file| self.put(&file))
    }

    /// Pushes one file. What the kernel has not listed yet, or has dropped, it has no place for: `fuser` takes that for success.
    fn put(&mut self, file: &ReadyFile<'_>) {
        self.bytes += file.bytes.len() as u64;
        if file.bytes.len() > LARGEST_FILE || self.refused.is_some() {
            return;
        }
        match self.kernel.store(INodeNo(file.ino), 0, file.bytes) {
            Ok(()) => self.counters.count(Kind::Stored),
            Err(error) => self.refused = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(watch: &mut Watch, session_row: i64, number: u32) -> Option<Direction> {
        match watch.note(0, ReadAt::Turn { session_row, number }) {
            Some(Job::Turns { direction, .. }) => Some(direction),
            _ => None,
        }
    }

    const UP: Option<Direction> = Some(Direction::Up);
    const DOWN: Option<Direction> = Some(Direction::Down);

    #[test]
    fn the_second_read_of_a_sequence_triggers_once() {
        let mut watch = Watch::default();
        assert_eq!(note(&mut watch, 1, 1), None);
        assert_eq!(note(&mut watch, 1, 2), UP);
        assert_eq!(note(&mut watch, 1, 3), None, "pushed already");
        assert_eq!(note(&mut watch, 1, 3), None, "the next piece of a large turn");
        assert_eq!(note(&mut watch, 1, 20), None, "pushed already");
        assert_eq!(note(&mut watch, 1, 40), None, "pushed already");
        assert_eq!(note(&mut watch, 1, 1), None, "from the start again");
        assert_eq!(note(&mut watch, 1, 2), UP, "the pages may be gone");
    }

    #[test]
    fn a_reader_that_comes_from_the_end_is_given_the_turns_before() {
        let mut watch = Watch::default();
        assert_eq!(note(&mut watch, 1, 80), None);
        assert_eq!(note(&mut watch, 1, 79), DOWN);
        assert_eq!(note(&mut watch, 1, 60), None, "pushed already");
        assert_eq!(note(&mut watch, 2, 30), DOWN, "the walk goes on");
    }

    #[test]
    fn while_a_walk_goes_on_the_first_read_of_a_directory_is_enough() {
        let mut watch = Watch::default();
        assert_eq!(watch.note(7, ReadAt::Document { dir: 70 }), None, "nobody walks yet");
        note(&mut watch, 1, 1);
        assert_eq!(note(&mut watch, 1, 2), UP);
        assert_eq!(watch.note(7, ReadAt::Document { dir: 70 }), Some(Job::Beside(7)));
        assert_eq!(watch.note(8, ReadAt::Document { dir: 70 }), None, "pushed already");
        assert_eq!(note(&mut watch, 2, 1), UP);
        for session in 3..3 + i64::from(STRAYS) {
            assert_eq!(note(&mut watch, session, 50), None, "in the middle: somebody else, or another matter");
        }
        assert_eq!(note(&mut watch, 90, 1), None, "the walk is over");
        assert_eq!(watch.note(9, ReadAt::Document { dir: 90 }), None);
    }

    #[test]
    fn who_walks_on_is_given_turns_as_soon_as_they_are_listed() {
        let (mut watch, dir) = (Watch::default(), 70);
        assert_eq!(watch.note_listed(2, dir), None, "nobody walks");
        note(&mut watch, 1, 1);
        assert_eq!(note(&mut watch, 1, 2), UP);
        assert_eq!(watch.note_listed(2, dir), None, "who reads no document may only list");
        assert_eq!(watch.note(7, ReadAt::Document { dir }), Some(Job::Beside(7)));
        let job = Job::Turns { session_row: 2, number: 0, direction: Direction::Up, entered: false };
        assert_eq!(watch.note_listed(2, dir), Some(job));
        assert_eq!(watch.note_listed(2, dir), None, "pushed already");
        assert_eq!(note(&mut watch, 2, 1), None, "pushed already");
    }

    #[test]
    fn two_readers_of_one_session_are_both_followed() {
        let mut watch = Watch::default();
        assert_eq!(note(&mut watch, 1, 80), None);
        assert_eq!(note(&mut watch, 1, 79), DOWN);
        assert_eq!(note(&mut watch, 2, 80), DOWN);
        watch.stray_in(2);
        assert_eq!(note(&mut watch, 2, 40), None, "the second reader's first");
        assert_eq!(note(&mut watch, 2, 78), DOWN);
        assert_eq!(note(&mut watch, 2, 39), None, "pushed already");
    }

    #[test]
    fn scattered_reads_trigger_nothing() {
        let mut watch = Watch::default();
        for number in [10, 400, 3, 90, 88, 20] {
            assert_eq!(note(&mut watch, 1, number), None, "turn {number}");
        }
    }

    #[test]
    fn readers_of_different_sessions_are_told_apart() {
        let mut watch = Watch::default();
        assert_eq!(note(&mut watch, 1, 11), None);
        assert_eq!(note(&mut watch, 2, 11), None);
        assert_eq!(note(&mut watch, 1, 12), UP);
        assert_eq!(note(&mut watch, 2, 12), UP);
    }
}
