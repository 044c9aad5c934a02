//! Store ahead: who walks through the tree reading is given the next files before asking.
//!
//! The second of two reads of neighbouring turns shows a walk: before it is answered, the turns that follow, in the direction of
//! the reader (`grep` and `tar` go up, `rg` goes down), are pushed into the page cache (FUSE_NOTIFY_STORE): one write and no
//! wake-up for each, where a read is two switches between processes. As long as the walk goes on, the first read in a directory
//! is enough, or the end of its listing, and the small documents beside a transcript are pushed too.
//!
//! It is the thread of the request that stores, for who asks runs on behind a thread of its own, and reads what that was about to
//! store. Storing waits for pages that running reads hold, so that one thread alone may store at a time: the others serve those
//! reads. It holds a request's guard while it stores, so that what it stores is never older than what the notifier tells the
//! kernel to forget.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError};
use std::{array, io};

use fuser::{INodeNo, Notifier};

use super::requests::{Counters, Kind};
use crate::fs::{CogFs, FsError, ReadAt, ReadyFile};

/// Turns pushed for one read at the most: its reader waits meanwhile.
const MOST_TURNS: u32 = 128;
/// Bytes pushed for one read, but for the last file.
const MOST_BYTES: u64 = 1024 * 1024;
/// Turns pushed under one guard.
const STEP: u32 = 16;
/// A larger file is read in few large pieces anyway.
const LARGEST_FILE: usize = 512 * 1024;
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

/// The turns behind `from`, up to `to` and with it, that were pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given {
    direction: Direction,
    from: u32,
    to: u32,
}

impl Given {
    /// Whether a reader at this turn was given it. At the place where pushing began it reads again: the pages may be gone.
    fn covers(&self, number: u32) -> bool {
        match self.direction {
            Direction::Up => self.from < number && number <= self.to,
            Direction::Down => self.to <= number && number < self.from,
        }
    }

    /// Whether a reader who has read what it was given is here now.
    fn leads_to(&self, number: u32) -> bool {
        let beyond = match self.direction {
            Direction::Up => number.checked_sub(self.to),
            Direction::Down => self.to.checked_sub(number),
        };
        beyond.is_some_and(|distance| (1..=STRIDE).contains(&distance))
    }
}

/// The latest reads in a session's turns, and what was pushed.
#[derive(Debug, Clone, Copy)]
struct Seen {
    session_row: i64,
    /// Where its readers are, the latest in front: two threads of `rg` share a directory.
    places: [u32; 2],
    given: Option<Given>,
}

impl Seen {
    /// Notes a read; the direction in which it follows an earlier one, or what was pushed. Outside of a walk only the very next turn
    /// follows, and only on the latest read: among scattered reads some come near each other by chance.
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
        self.given.filter(|given| given.leads_to(number)).map(|given| given.direction).or(found)
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
            self.remember(Seen { session_row, places: [number; 2], given: None });
            let direction = self.enter(number)?;
            return Some(Job::Turns { session_row, number, direction, entered: true });
        };
        // The next piece of a large turn is no other turn.
        if seen.places.contains(&number) {
            return None;
        }
        let follows = seen.follow(number, self.walk.is_some());
        if seen.given.is_some_and(|given| given.covers(number)) {
            return None;
        }
        let Some(direction) = follows else {
            self.stray();
            return None;
        };
        (self.walk, self.strays) = (Some(direction), 0);
        Some(Job::Turns { session_row, number, direction, entered: false })
    }

    fn remember(&mut self, seen: Seen) {
        self.recent[self.next] = Some(seen);
        self.next = (self.next + 1) % READERS;
    }

    /// The first read in a session's turns. A walk enters at an end: at the first turn, or at the last, whose number is looked up
    /// when it is pushed.
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

    /// Notes what was pushed of a session.
    fn give(&mut self, session_row: i64, given: Given) {
        if let Some(seen) = self.recent.iter_mut().flatten().find(|seen| seen.session_row == session_row) {
            seen.given = Some(given);
        }
    }

    /// The end of a listing of a session's turns. Who goes up through the tree and has read the session's documents reads its
    /// turns now, unless it only lists.
    fn note_listed(&mut self, session_row: i64, session_dir: u64) -> Option<Job> {
        let is_new = !self.recent.iter().flatten().any(|seen| seen.session_row == session_row);
        let is_due = self.walk == Some(Direction::Up) && is_new && self.beside.holds(session_dir);
        is_due.then(|| {
            self.remember(Seen { session_row, places: [0; 2], given: None });
            Job::Turns { session_row, number: 0, direction: Direction::Up, entered: false }
        })
    }

    fn note_document(&mut self, ino: u64, dir: u64) -> Option<Job> {
        self.documents.add(ino);
        let wanted = self.walk.is_some() && self.beside.add(dir);
        wanted.then_some(Job::Beside(ino))
    }
}

/// What request threads tell of their reads.
pub(super) struct Ahead {
    watch: Mutex<Watch>,
    /// Held by the one thread that stores.
    storing: Mutex<()>,
    /// There from the moment the kernel can be told something.
    kernel: Arc<OnceLock<Notifier>>,
    counters: Arc<Counters>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ahead {
    pub(super) fn new(kernel: Arc<OnceLock<Notifier>>, counters: Arc<Counters>) -> Self {
        Self { watch: Mutex::default(), storing: Mutex::default(), kernel, counters }
    }

    /// Tells of the end of a listing, before its reader knows of it.
    pub(super) fn listed(&self, fs: &CogFs, ino: u64) {
        let Some((session_row, dir)) = CogFs::turns_listed(ino) else { return };
        let job = lock(&self.watch).note_listed(session_row, dir);
        self.push(fs, job);
    }

    /// Tells of a read of a file, before it is answered.
    pub(super) fn read(&self, fs: &CogFs, ino: u64) {
        let Some(at) = CogFs::read_at(ino) else { return };
        let job = lock(&self.watch).note(ino, at);
        self.push(fs, job);
    }

    fn push(&self, fs: &CogFs, job: Option<Job>) {
        let (Some(job), Some(kernel)) = (job, self.kernel.get()) else { return };
        let _alone = match self.storing.try_lock() {
            Ok(alone) => alone,
            Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
            // This read is served by itself, and the next one may push.
            Err(TryLockError::WouldBlock) => return,
        };
        let mut push = Push { fs, kernel, ahead: self, bytes: 0, refused: None };
        if catch_unwind(AssertUnwindSafe(|| push.run(job))).is_err() {
            tracing::error!(?job, "storing ahead panicked; reads are served one by one");
        }
    }
}

/// One job under way.
struct Push<'a> {
    fs: &'a CogFs,
    kernel: &'a Notifier,
    ahead: &'a Ahead,
    bytes: u64,
    refused: Option<io::Error>,
}

impl Push<'_> {
    fn run(&mut self, job: Job) {
        let done = match job {
            Job::Turns { session_row, number, direction, entered } => {
                self.behind(session_row, number, direction, entered)
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

    fn behind(&mut self, session_row: i64, number: u32, direction: Direction, entered: bool) -> Result<(), FsError> {
        let to = match direction {
            Direction::Up => self.up(session_row, number)?,
            Direction::Down => {
                let Some(last) = self.fs.last_turn(session_row)? else { return Ok(()) };
                if entered && number + STRIDE < last {
                    lock(&self.ahead.watch).stray();
                    return Ok(());
                }
                self.down(session_row, number)?
            }
        };
        lock(&self.ahead.watch).give(session_row, Given { direction, from: number, to });
        Ok(())
    }

    /// Pushes turns above a number; returns the last.
    fn up(&mut self, session_row: i64, number: u32) -> Result<u32, FsError> {
        let mut to = number;
        while to - number < MOST_TURNS && self.may_go_on() {
            let Some(last) = self.turns(session_row, to + 1..u32::MAX)? else { break };
            to = last;
        }
        Ok(to)
    }

    /// Pushes turns below a number, in steps from the top; returns the lowest.
    fn down(&mut self, session_row: i64, number: u32) -> Result<u32, FsError> {
        let mut to = number;
        while to > 1 && number - to < MOST_TURNS && self.may_go_on() {
            let first = to.saturating_sub(STEP).max(1);
            self.turns(session_row, first..to)?;
            to = first;
        }
        Ok(to)
    }

    fn may_go_on(&self) -> bool {
        self.bytes < MOST_BYTES && self.refused.is_none()
    }

    /// Pushes at most [`STEP`] of these turns: never the one whose read waits for this. The number of the last of them, or `None`
    /// when there were none.
    fn turns(&mut self, session_row: i64, numbers: Range<u32>) -> Result<Option<u32>, FsError> {
        let (fs, mut last) = (self.fs, None);
        let _guard = fs.begin();
        fs.turns(session_row, numbers.start, STEP, &mut |number, file| {
            if numbers.contains(&number) {
                last = Some(number);
                self.put(&file);
            }
        })?;
        Ok(last)
    }

    fn beside(&mut self, ino: u64) -> Result<(), FsError> {
        let (fs, ahead) = (self.fs, self.ahead);
        let _guard = fs.begin();
        let is_wanted = |other: u64| !lock(&ahead.watch).documents.holds(other);
        fs.beside(ino, LARGEST_FILE as u64, &is_wanted, &mut |file| self.put(&file))
    }

    /// Pushes one file. What the kernel has not listed yet, or has dropped, it has no place for: `fuser` takes that for success.
    fn put(&mut self, file: &ReadyFile<'_>) {
        self.bytes += file.bytes.len() as u64;
        if file.bytes.len() > LARGEST_FILE || self.refused.is_some() {
            return;
        }
        match self.kernel.store(INodeNo(file.ino), 0, file.bytes) {
            Ok(()) => self.ahead.counters.count(Kind::Stored),
            Err(error) => self.refused = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes a read, and gives what it triggers: up to the end that is given here, or down to the first.
    fn note(watch: &mut Watch, session_row: i64, number: u32) -> Option<Direction> {
        let Some(Job::Turns { direction, .. }) = watch.note(0, ReadAt::Turn { session_row, number }) else {
            return None;
        };
        let to = if direction == Direction::Up { LAST } else { 1 };
        watch.give(session_row, Given { direction, from: number, to });
        Some(direction)
    }

    const LAST: u32 = 50;
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
        assert_eq!(note(&mut watch, 1, LAST), None, "pushed already");
        assert_eq!(note(&mut watch, 1, LAST + 1), UP, "behind what was pushed");
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
        watch.give(2, Given { direction: Direction::Up, from: 0, to: LAST });
        assert_eq!(watch.note_listed(2, dir), None, "pushed already");
        assert_eq!(note(&mut watch, 2, 1), None, "pushed already");
        assert_eq!(note(&mut watch, 2, LAST + 1), UP, "the first that it has to ask for");
    }

    #[test]
    fn what_could_not_be_pushed_is_tried_again_at_the_next_read() {
        let mut watch = Watch::default();
        let turn = |number| ReadAt::Turn { session_row: 1, number };
        assert_eq!(watch.note(0, turn(1)), None);
        assert!(watch.note(0, turn(2)).is_some(), "another thread stores at the moment");
        assert!(watch.note(0, turn(3)).is_some());
    }

    #[test]
    fn two_readers_of_one_session_are_both_followed() {
        let mut watch = Watch::default();
        assert_eq!(note(&mut watch, 1, 80), None);
        assert_eq!(note(&mut watch, 1, 79), DOWN);
        assert!(
            watch.note(0, ReadAt::Turn { session_row: 2, number: 80 }).is_some(),
            "not at an end: nothing is pushed"
        );
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
