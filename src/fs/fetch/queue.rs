//! The fetches under way: each is made once for all who wait for it, by a few threads. Who waits takes no thread.

use std::collections::{HashMap, HashSet, VecDeque, hash_map};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{FetchError, Fetcher, LIMIT, Missing, Outcome, Used, WORK_LIMIT, reader};
use crate::fs::gate::Gate;
use crate::fs::lock;
use crate::model::Id;

/// Threads that fetch, at the most.
const FETCHERS: usize = 8;

/// A failure is the answer to who asks again within this time: the kernel does, page by page, when it is told of one.
const AGAIN: Duration = Duration::from_secs(1);

/// How soon it is seen that a reader was sent a signal.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Failures that are remembered.
const FAILURES: usize = 4096;

/// Sessions and commits that are remembered as read.
const USED: usize = 4096;

/// Called once, with how it ended.
pub(in crate::fs) type Then = Box<dyn FnOnce(Outcome) + Send>;

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs) enum Who {
    /// A thread that reads, as the kernel calls it; 0: it is not known.
    Reader(u32),
    /// Nobody: it comes when it comes.
    Nobody,
}

/// Somebody who waits, for one thing or several.
struct Wait {
    left: AtomicUsize,
    then: Mutex<Option<Then>>,
}

impl Wait {
    fn arrived(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.end(Ok(()));
        }
    }

    fn end(&self, outcome: Outcome) {
        let then = lock(&self.then).take();
        // Others wait behind it.
        if let Some(then) = then
            && catch_unwind(AssertUnwindSafe(|| then(outcome))).is_err()
        {
            tracing::error!("an answer to a read of what is elsewhere panicked");
        }
    }

    fn is_over(&self) -> bool {
        lock(&self.then).is_none()
    }
}

/// A fetch that waits for a thread, or is made.
struct Entry {
    since: Instant,
    waits: Vec<Arc<Wait>>,
}

/// Somebody who does not wait for ever.
struct Timed {
    until: Instant,
    thread: u32,
    wait: Arc<Wait>,
}

/// What a thread fetches at once.
enum Work {
    Sessions(Vec<Id>),
    Blob { sha256: String, mime: String },
}

#[derive(Default)]
struct State {
    entries: HashMap<Missing, Entry>,
    queue: VecDeque<Missing>,
    threads: usize,
    failures: HashMap<Missing, (Instant, FetchError)>,
    /// Who waits until when.
    until: Vec<Timed>,
    is_timed: bool,
    is_tidying: bool,
}

#[derive(Default)]
struct Shared {
    gate: Arc<Gate>,
    fetcher: OnceLock<Arc<dyn Fetcher>>,
    limit: OnceLock<Duration>,
    state: Mutex<State>,
    /// There is somebody to be timed.
    timed: Condvar,
    used: Mutex<HashSet<Used>>,
}

/// The fetches under way.
#[derive(Default, Clone)]
pub(in crate::fs) struct Fetching(Arc<Shared>);

impl Fetching {
    /// For requests that come through this gate.
    pub fn new(gate: Arc<Gate>) -> Self {
        Self(Arc::new(Shared { gate, ..Shared::default() }))
    }

    pub fn fetch_with(&self, fetcher: Arc<dyn Fetcher>) {
        let _ = self.0.fetcher.set(fetcher);
    }

    pub fn wait_at_most(&self, limit: Duration) {
        let _ = self.0.limit.set(limit);
    }

    pub fn has_fetcher(&self) -> bool {
        self.0.fetcher.get().is_some()
    }

    /// Notes what is read, so that it is not given back.
    pub fn used(&self, what: Used) {
        if self.has_fetcher() {
            let mut used = lock(&self.0.used);
            if used.len() < USED {
                used.insert(what);
            }
        }
    }

    /// Calls `then` once all of it is here, or cannot be had: for a reader within the limit, and no later than a signal.
    pub fn wait(&self, missing: &[Missing], who: Who, then: Then) {
        let shared = &self.0;
        let wait = Arc::new(Wait { left: AtomicUsize::new(missing.len()), then: Mutex::new(Some(then)) });
        if !self.has_fetcher() {
            let why = "it is on another machine, and this mount is not connected to the cloud".to_owned();
            return wait.end(Err(FetchError::Unreachable(why)));
        }
        // Told that it is interrupted, the kernel asks again at once.
        if let Who::Reader(thread) = who
            && reader::is_interrupted(thread)
        {
            return wait.end(Err(FetchError::Interrupted));
        }
        let limit = shared.limit.get().copied().unwrap_or(LIMIT);
        let now = Instant::now();
        let mut until = now + limit;
        let mut state = lock(&shared.state);
        for missing in missing {
            if let Some((at, error)) = state.failures.get(missing)
                && now.duration_since(*at) < AGAIN
            {
                let error = error.clone();
                drop(state);
                return wait.end(Err(error));
            }
            let is_new = !state.entries.contains_key(missing);
            let entry = state.entries.entry(missing.clone()).or_insert_with(|| Entry { since: now, waits: Vec::new() });
            entry.waits.push(Arc::clone(&wait));
            // Told that it took too long, the kernel asks again at once: its reader has waited already.
            let end = entry.since + limit;
            if end + AGAIN > now {
                until = until.min(end);
            }
            if is_new {
                state.queue.push_back(missing.clone());
            }
        }
        if let Who::Reader(thread) = who {
            state.until.push(Timed { until, thread, wait: Arc::clone(&wait) });
        }
        shared.start_threads(&mut state);
        drop(state);
        shared.timed.notify_all();
        if missing.is_empty() {
            wait.end(Ok(()));
        }
    }

    /// Has what was read noted, and room made.
    pub fn tidy(&self) {
        self.0.tidy();
    }
}

impl Shared {
    fn start_threads(self: &Arc<Self>, state: &mut State) {
        while state.threads < FETCHERS.min(state.entries.len()) && !state.queue.is_empty() {
            let shared = Arc::clone(self);
            state.threads += 1;
            if let Err(error) = thread::Builder::new().name("cogfs-fetch".to_owned()).spawn(move || shared.work()) {
                state.threads -= 1;
                tracing::error!(%error, "no thread to fetch with");
                break;
            }
        }
        if !state.until.is_empty() && !state.is_timed {
            let shared = Arc::clone(self);
            state.is_timed = thread::Builder::new().name("cogfs-wait".to_owned()).spawn(move || shared.time()).is_ok();
        }
    }

    /// Fetches until nothing is left to be fetched.
    fn work(self: &Arc<Self>) {
        let Some(fetcher) = self.fetcher.get() else { return };
        while let Some(work) = self.next(fetcher.as_ref()) {
            let deadline = Instant::now() + WORK_LIMIT;
            let panicked = |_| Err(FetchError::Unreachable("the fetch failed".to_owned()));
            match work {
                Work::Sessions(sessions) => {
                    let mut left = sessions.clone();
                    let mut came = |id: Id, outcome: Outcome| {
                        if let Some(at) = left.iter().position(|other| *other == id) {
                            self.end(&Missing::Session(left.swap_remove(at)), &outcome);
                        }
                    };
                    let fetch = AssertUnwindSafe(|| fetcher.fetch(&sessions, deadline, &mut came));
                    let outcome = catch_unwind(fetch).unwrap_or_else(panicked);
                    for id in left {
                        self.end(&Missing::Session(id), &outcome);
                    }
                }
                Work::Blob { sha256, mime } => {
                    let fetch = AssertUnwindSafe(|| fetcher.blob(&sha256, &mime, deadline));
                    let outcome = catch_unwind(fetch).unwrap_or_else(panicked);
                    self.end(&Missing::Blob { sha256, mime }, &outcome);
                }
            }
        }
    }

    fn end(&self, missing: &Missing, outcome: &Outcome) {
        if outcome.is_ok() {
            // Requests from here on see what came, whether anybody still waits for it or not.
            self.gate.advance();
        }
        for wait in self.ended(missing, outcome) {
            match outcome {
                Ok(()) => wait.arrived(),
                Err(error) => wait.end(Err(error.clone())),
            }
        }
    }

    /// The next thing to fetch that somebody still waits for, with what goes into the same request. Without one the thread ends; the last
    /// one tidies up, as none of those that are counted, so that nothing waits for that.
    fn next(self: &Arc<Self>, fetcher: &dyn Fetcher) -> Option<Work> {
        let mut state = lock(&self.state);
        let is_awaited = |state: &State, missing: &Missing| {
            state.entries.get(missing).is_some_and(|entry| entry.waits.iter().any(|wait| !wait.is_over()))
        };
        while let Some(missing) = state.queue.pop_front() {
            if !is_awaited(&state, &missing) {
                state.entries.remove(&missing);
                continue;
            }
            let session = match missing {
                Missing::Session(session) => session,
                Missing::Blob { sha256, mime } => return Some(Work::Blob { sha256, mime }),
            };
            // Held until it is known which go with it: another thread would fetch the next one alone.
            let held: VecDeque<Missing> = std::mem::take(&mut state.queue);
            let (sessions, blobs): (VecDeque<_>, VecDeque<_>) =
                held.into_iter().partition(|other| matches!(other, Missing::Session(_)));
            state.queue = blobs;
            let waiting: Vec<Id> =
                sessions.iter().filter(|other| is_awaited(&state, other)).filter_map(session_of).collect();
            drop(state);
            let chosen = AssertUnwindSafe(|| fetcher.together(session, &waiting));
            let beside = catch_unwind(chosen).unwrap_or_default();
            return Some(Work::Sessions(self.claim(session, &beside, sessions)));
        }
        state.threads -= 1;
        let is_last = state.threads == 0;
        drop(state);
        if is_last {
            self.tidy();
        }
        None
    }

    /// A session with those beside it that no other thread fetches. From here on they are under way: who asks for one waits for this.
    /// The rest of what was held waits on.
    fn claim(self: &Arc<Self>, session: Id, beside: &[Id], mut held: VecDeque<Missing>) -> Vec<Id> {
        let mut state = lock(&self.state);
        let mut claimed = vec![session];
        for id in beside {
            let missing = Missing::Session(*id);
            if let Some(at) = held.iter().position(|other| *other == missing) {
                held.remove(at);
            } else if let Some(at) = state.queue.iter().position(|other| *other == missing) {
                state.queue.remove(at);
            } else if let hash_map::Entry::Vacant(free) = state.entries.entry(missing) {
                free.insert(Entry { since: Instant::now(), waits: Vec::new() });
            } else {
                continue;
            }
            claimed.push(*id);
        }
        held.append(&mut state.queue);
        state.queue = held;
        self.start_threads(&mut state);
        claimed
    }

    fn tidy(&self) {
        if std::mem::replace(&mut lock(&self.state).is_tidying, true) {
            return;
        }
        let used: Vec<Used> = lock(&self.used).drain().collect();
        if let Some(fetcher) = self.fetcher.get()
            && catch_unwind(AssertUnwindSafe(|| fetcher.behind(&used))).is_err()
        {
            tracing::error!("tidying up what was fetched panicked");
        }
        lock(&self.state).is_tidying = false;
    }

    fn ended(&self, missing: &Missing, outcome: &Outcome) -> Vec<Arc<Wait>> {
        let mut state = lock(&self.state);
        let waits = state.entries.remove(missing).map(|entry| entry.waits).unwrap_or_default();
        match outcome {
            Ok(()) => drop(state.failures.remove(missing)),
            // Nobody asked for it.
            Err(_) if waits.is_empty() => {}
            Err(error) => {
                if state.failures.len() >= FAILURES {
                    state.failures.clear();
                }
                state.failures.insert(missing.clone(), (Instant::now(), error.clone()));
            }
        }
        waits
    }

    /// Tells those whose time is over or who were sent a signal, until nobody waits.
    fn time(&self) {
        let mut looked = Instant::now();
        let mut state = lock(&self.state);
        loop {
            state.until.retain(|timed| !timed.wait.is_over());
            let Some(next) = state.until.iter().map(|timed| timed.until).min() else {
                state.is_timed = false;
                return;
            };
            let now = Instant::now();
            let until = next.min(looked + LOOK_AGAIN);
            if until > now {
                let waited = self.timed.wait_timeout(state, until - now);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let waiting: Vec<(Instant, u32, Arc<Wait>)> =
                state.until.iter().map(|timed| (timed.until, timed.thread, Arc::clone(&timed.wait))).collect();
            drop(state);
            let is_time_to_look = looked + LOOK_AGAIN <= now;
            for (until, thread, wait) in waiting {
                if until <= now {
                    wait.end(Err(FetchError::TimedOut));
                } else if is_time_to_look && reader::is_interrupted(thread) {
                    wait.end(Err(FetchError::Interrupted));
                }
            }
            if is_time_to_look {
                looked = now;
            }
            state = lock(&self.state);
        }
    }
}

fn session_of(missing: &Missing) -> Option<Id> {
    match missing {
        Missing::Session(session) => Some(*session),
        Missing::Blob { .. } => None,
    }
}

#[cfg(test)]
mod tests;
