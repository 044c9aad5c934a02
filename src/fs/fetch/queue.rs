//! The fetches under way: each is made once for all who wait for it, by a few threads. Who waits takes no thread.

use std::collections::{HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{FetchError, Fetcher, LIMIT, Missing, Outcome, Used, WORK_LIMIT};
use crate::fs::gate::Gate;
use crate::fs::lock;

/// Threads that fetch, at the most.
const FETCHERS: usize = 8;

/// A failure is the answer to who asks again within this time: the kernel does, page by page, when it is told of one.
const AGAIN: Duration = Duration::from_secs(1);

/// Failures that are remembered.
const FAILURES: usize = 4096;

/// Sessions and commits that are remembered as read.
const USED: usize = 4096;

/// Called once, with how it ended.
pub(in crate::fs) type Then = Box<dyn FnOnce(Outcome) + Send>;

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

#[derive(Default)]
struct State {
    entries: HashMap<Missing, Entry>,
    queue: VecDeque<Missing>,
    threads: usize,
    failures: HashMap<Missing, (Instant, FetchError)>,
    /// Who waits until when.
    until: Vec<(Instant, Arc<Wait>)>,
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

    /// Calls `then` once all of it is here, or cannot be had: within the limit, unless the caller is patient.
    pub fn wait(&self, missing: &[Missing], patient: bool, then: Then) {
        let shared = &self.0;
        let wait = Arc::new(Wait { left: AtomicUsize::new(missing.len()), then: Mutex::new(Some(then)) });
        if !self.has_fetcher() {
            let why = "it is on another machine, and this mount is not connected to the cloud".to_owned();
            return wait.end(Err(FetchError::Unreachable(why)));
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
        if !patient {
            state.until.push((until, Arc::clone(&wait)));
        }
        self.start_threads(&mut state);
        drop(state);
        shared.timed.notify_all();
        if missing.is_empty() {
            wait.end(Ok(()));
        }
    }

    fn start_threads(&self, state: &mut State) {
        while state.threads < FETCHERS.min(state.entries.len()) && !state.queue.is_empty() {
            let shared = Arc::clone(&self.0);
            state.threads += 1;
            if let Err(error) = thread::Builder::new().name("cogfs-fetch".to_owned()).spawn(move || shared.work()) {
                state.threads -= 1;
                tracing::error!(%error, "no thread to fetch with");
                break;
            }
        }
        if !state.until.is_empty() && !state.is_timed {
            let shared = Arc::clone(&self.0);
            state.is_timed = thread::Builder::new().name("cogfs-wait".to_owned()).spawn(move || shared.time()).is_ok();
        }
    }
}

impl Shared {
    /// Fetches until nothing is left to be fetched.
    fn work(&self) {
        let Some(fetcher) = self.fetcher.get() else { return };
        while let Some(missing) = self.next() {
            let deadline = Instant::now() + WORK_LIMIT;
            let fetch = || match &missing {
                Missing::Session(session) => fetcher.fetch(*session, deadline),
                Missing::Blob { sha256, mime } => fetcher.blob(sha256, mime, deadline),
            };
            let panicked = |_| Err(FetchError::Unreachable("the fetch failed".to_owned()));
            let outcome = catch_unwind(AssertUnwindSafe(fetch)).unwrap_or_else(panicked);
            if outcome.is_ok() {
                // Requests from here on see what came, whether anybody still waits for it or not.
                self.gate.advance();
            }
            for wait in self.ended(&missing, &outcome) {
                match &outcome {
                    Ok(()) => wait.arrived(),
                    Err(error) => wait.end(Err(error.clone())),
                }
            }
        }
    }

    /// The next thing to fetch that somebody still waits for. Without one the thread ends; the last one tidies up, as none of those
    /// that are counted, so that nothing waits for that.
    fn next(&self) -> Option<Missing> {
        let mut state = lock(&self.state);
        while let Some(missing) = state.queue.pop_front() {
            if state.entries.get(&missing).is_some_and(|entry| entry.waits.iter().any(|wait| !wait.is_over())) {
                return Some(missing);
            }
            state.entries.remove(&missing);
        }
        state.threads -= 1;
        if state.threads == 0 && !state.is_tidying {
            state.is_tidying = true;
            drop(state);
            self.tidy();
            lock(&self.state).is_tidying = false;
        }
        None
    }

    fn tidy(&self) {
        let used: Vec<Used> = lock(&self.used).drain().collect();
        if let Some(fetcher) = self.fetcher.get()
            && catch_unwind(AssertUnwindSafe(|| fetcher.behind(&used))).is_err()
        {
            tracing::error!("tidying up what was fetched panicked");
        }
    }

    fn ended(&self, missing: &Missing, outcome: &Outcome) -> Vec<Arc<Wait>> {
        let mut state = lock(&self.state);
        match outcome {
            Ok(()) => drop(state.failures.remove(missing)),
            Err(error) => {
                if state.failures.len() >= FAILURES {
                    state.failures.clear();
                }
                state.failures.insert(missing.clone(), (Instant::now(), error.clone()));
            }
        }
        state.entries.remove(missing).map(|entry| entry.waits).unwrap_or_default()
    }

    /// Tells those whose time is over, until nobody waits.
    fn time(&self) {
        let mut state = lock(&self.state);
        loop {
            state.until.retain(|(_, wait)| !wait.is_over());
            let Some(next) = state.until.iter().map(|(until, _)| *until).min() else {
                state.is_timed = false;
                return;
            };
            let now = Instant::now();
            if next > now {
                let waited = self.timed.wait_timeout(state, next - now);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let due: Vec<Arc<Wait>> =
                state.until.iter().filter(|(until, _)| *until <= now).map(|(_, wait)| Arc::clone(wait)).collect();
            drop(state);
            for wait in due {
                wait.end(Err(FetchError::TimedOut));
            }
            state = lock(&self.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::model::Id;

    /// Waits until it is let go.
    struct Gated {
        asked: AtomicUsize,
        most: AtomicUsize,
        now: AtomicUsize,
        open: (Mutex<bool>, Condvar),
        fails: bool,
    }

    impl Gated {
        fn new(fails: bool) -> Arc<Self> {
            let zero = AtomicUsize::default;
            Arc::new(Self { asked: zero(), most: zero(), now: zero(), open: Default::default(), fails })
        }

        fn let_go(&self) {
            *lock(&self.open.0) = true;
            self.open.1.notify_all();
        }
    }

    impl Fetcher for Gated {
        fn fetch(&self, _: Id, _: Instant) -> Outcome {
            self.asked.fetch_add(1, Ordering::SeqCst);
            let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            drop(self.open.1.wait_while(lock(&self.open.0), |open| !*open).unwrap());
            self.now.fetch_sub(1, Ordering::SeqCst);
            if self.fails { Err(FetchError::Unreachable("no".to_owned())) } else { Ok(()) }
        }

        fn blob(&self, _: &str, _: &str, _: Instant) -> Outcome {
            panic!("on purpose")
        }
    }

    fn session(number: u32) -> Missing {
        Missing::Session(Id::derive(&[&number.to_be_bytes()]))
    }

    fn ask(fetching: &Fetching, missing: &[Missing]) -> Receiver<Outcome> {
        let (send, receive) = channel();
        fetching.wait(missing, false, Box::new(move |outcome| drop(send.send(outcome))));
        receive
    }

    fn with(fetcher: &Arc<Gated>, limit: Duration) -> Fetching {
        let fetching = Fetching::default();
        fetching.fetch_with(fetcher.clone());
        fetching.wait_at_most(limit);
        fetching
    }

    #[test]
    fn many_wait_for_one_fetch_and_one_waits_for_many() {
        let gated = Gated::new(false);
        let fetching = with(&gated, LIMIT);
        let one: Vec<_> = (0..30).map(|_| ask(&fetching, &[session(1)])).collect();
        let many: Vec<Missing> = (1..=50).map(session).collect();
        let many = ask(&fetching, &many);
        gated.let_go();
        for waiting in one.into_iter().chain([many]) {
            assert_eq!(waiting.recv().unwrap(), Ok(()));
        }
        assert_eq!(gated.asked.load(Ordering::SeqCst), 50);
        assert!(gated.most.load(Ordering::SeqCst) <= FETCHERS);
    }

    #[test]
    fn nobody_waits_longer_than_the_limit_and_the_fetch_goes_on() {
        let gated = Gated::new(false);
        let fetching = with(&gated, Duration::from_millis(20));
        assert_eq!(ask(&fetching, &[session(1)]).recv().unwrap(), Err(FetchError::TimedOut));
        // As the kernel does.
        let began = Instant::now();
        assert_eq!(ask(&fetching, &[session(1)]).recv().unwrap(), Err(FetchError::TimedOut));
        assert!(began.elapsed() < LIMIT);
        gated.let_go();
        while lock(&fetching.0.state).entries.contains_key(&session(1)) {
            thread::yield_now();
        }
        assert_eq!(gated.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_not_begun() {
        let gated = Gated::new(false);
        let fetching = with(&gated, Duration::from_millis(20));
        let all: Vec<_> = (0..40).map(|n| ask(&fetching, &[session(n)])).collect();
        for waiting in all {
            assert_eq!(waiting.recv().unwrap(), Err(FetchError::TimedOut));
        }
        gated.let_go();
        while lock(&fetching.0.state).threads > 0 {
            thread::yield_now();
        }
        assert_eq!(gated.asked.load(Ordering::SeqCst), FETCHERS);
    }

    #[test]
    fn a_failure_is_the_answer_to_who_asks_again_at_once() {
        let gated = Gated::new(true);
        gated.let_go();
        let fetching = with(&gated, LIMIT);
        for _ in 0..5 {
            assert_eq!(ask(&fetching, &[session(1)]).recv().unwrap(), Err(FetchError::Unreachable("no".to_owned())));
        }
        assert_eq!(gated.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_fetcher_that_panics_brought_nothing_and_without_one_nothing_comes() {
        let blob = || Missing::Blob { sha256: "0".repeat(64), mime: String::new() };
        let fetching = with(&Gated::new(false), LIMIT);
        assert!(matches!(ask(&fetching, &[blob()]).recv().unwrap(), Err(FetchError::Unreachable(_))));
        let none = Fetching::default();
        assert!(matches!(ask(&none, &[blob()]).recv().unwrap(), Err(FetchError::Unreachable(_))));
    }
}
