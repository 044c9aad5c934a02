//! Where inotify's thread leaves what it heard and the follower's thread picks it up, some moments later and all at once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A burst of events is over when there was none for this long ...
const QUIET: Duration = Duration::from_millis(100);

/// ... and is not waited for any longer after this.
const LONGEST: Duration = Duration::from_millis(400);

/// Paths beyond which looking at everything is less work.
const MOST_PATHS: usize = 10_000;

/// Events on their way.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    paths: HashSet<PathBuf>,
    /// Events were lost.
    lost: bool,
    /// When the first and the last of them came.
    came: Option<(Instant, Instant)>,
    stop: bool,
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub enum Woken {
    /// It is to end.
    Stop,
    /// Something happened at these paths; nothing may have, when the time was up.
    Events { paths: HashSet<PathBuf>, lost: bool },
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A set of paths is whole whatever panicked beside it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something happened at a path.
    pub fn put(&self, path: PathBuf) {
        let mut state = self.lock();
        state.paths.insert(path);
        if state.paths.len() > MOST_PATHS {
            state.paths.clear();
            state.lost = true;
        }
        self.came(state);
    }

    /// Events were lost: only looking at everything tells what changed.
    pub fn lost(&self) {
        let mut state = self.lock();
        state.lost = true;
        self.came(state);
    }

    fn came(&self, mut state: MutexGuard<'_, State>) {
        let now = Instant::now();
        let first = state.came.map(|(first, _)| first);
        state.came = Some((first.unwrap_or(now), now));
        drop(state);
        // Who waits is woken by the first event alone, and then looks at the clock.
        if first.is_none() {
            self.wake.notify_all();
        }
    }

    /// Ends every wait, now and later.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }

    /// Waits for a burst of events to be over, at the longest until `until`.
    pub fn wait(&self, until: Instant) -> Woken {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Woken::Stop;
            }
            let over = state.came.map(|(first, last)| (last + QUIET).min(first + LONGEST));
            let now = Instant::now();
            if over.is_some_and(|over| now >= over) {
                state.came = None;
                let (paths, lost) = (std::mem::take(&mut state.paths), std::mem::take(&mut state.lost));
                return Woken::Events { paths, lost };
            }
            if now >= until {
                return Woken::Events { paths: HashSet::new(), lost: false };
            }
            let due = over.map_or(until, |over| over.min(until));
            let waited = self.wake.wait_timeout(state, due - now);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lets time pass; `true` when it is to end.
    pub fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut state = self.lock();
        while !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_burst_is_given_out_once_and_whole() {
        let inbox = Inbox::default();
        let began = Instant::now();
        for name in ["a", "b", "a"] {
            inbox.put(name.into());
        }
        let Woken::Events { paths, lost } = inbox.wait(soon()) else { panic!("nobody stopped it") };
        assert_eq!((paths.len(), lost), (2, false));
        assert!(began.elapsed() >= QUIET, "it was not waited for the end of the burst");
        let nothing = Woken::Events { paths: HashSet::new(), lost: false };
        assert_eq!(inbox.wait(Instant::now()), nothing, "it was given out twice");
    }

    #[test]
    fn a_stream_without_end_is_not_waited_for() {
        let inbox = std::sync::Arc::new(Inbox::default());
        let (writer, stop) =
            (std::sync::Arc::clone(&inbox), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let stopped = std::sync::Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                writer.put("a".into());
                std::thread::yield_now();
            }
        });
        let woken = inbox.wait(soon());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        thread.join().unwrap();
        assert!(matches!(woken, Woken::Events { paths, .. } if paths.len() == 1));
    }

    #[test]
    fn more_paths_than_can_be_kept_are_told_as_lost() {
        let inbox = Inbox::default();
        (0..=MOST_PATHS).for_each(|n| inbox.put(n.to_string().into()));
        assert_eq!(inbox.wait(soon()), Woken::Events { paths: HashSet::new(), lost: true });
    }

    #[test]
    fn a_stop_ends_every_wait() {
        let inbox = Inbox::default();
        inbox.stop();
        assert_eq!(inbox.wait(soon()), Woken::Stop);
        assert!(inbox.rest(Duration::from_secs(60)));
    }
}
