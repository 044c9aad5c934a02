use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::model::Id;

/// Waits until it is let go.
struct Gated {
    asked: AtomicUsize,
    sessions: Mutex<Vec<Id>>,
    /// Fetched with each.
    beside: Vec<Id>,
    most: AtomicUsize,
    now: AtomicUsize,
    open: (Mutex<bool>, Condvar),
    fails: bool,
}

impl Gated {
    fn new(fails: bool) -> Arc<Self> {
        Self::with_beside(fails, &[])
    }

    fn with_beside(fails: bool, beside: &[Id]) -> Arc<Self> {
        let (zero, beside) = (AtomicUsize::default, beside.to_vec());
        let (open, sessions) = (Default::default(), Mutex::default());
        Arc::new(Self { asked: zero(), sessions, beside, most: zero(), now: zero(), open, fails })
    }

    fn let_go(&self) {
        *lock(&self.open.0) = true;
        self.open.1.notify_all();
    }
}

impl Fetcher for Gated {
    fn fetch(&self, sessions: &[Id], _: Instant, _: &mut dyn FnMut(Id, Outcome)) -> Outcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        lock(&self.sessions).extend_from_slice(sessions);
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        drop(self.open.1.wait_while(lock(&self.open.0), |open| !*open).unwrap());
        self.now.fetch_sub(1, Ordering::SeqCst);
        if self.fails { Err(FetchError::Unreachable("no".to_owned())) } else { Ok(()) }
    }

    fn together(&self, _: Id, waiting: &[Id]) -> Vec<Id> {
        [&self.beside, &waiting[..waiting.len().min(2)]].concat()
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
    fetching.wait(missing, Who::Reader(0), Box::new(move |outcome| drop(send.send(outcome))));
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
    let mut sessions = lock(&gated.sessions).clone();
    sessions.sort();
    sessions.dedup();
    assert_eq!((sessions.len(), lock(&gated.sessions).len()), (50, 50), "each once");
    assert!(gated.asked.load(Ordering::SeqCst) < 25, "gathered");
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
    assert!(gated.asked.load(Ordering::SeqCst) <= FETCHERS);
    assert!(lock(&gated.sessions).len() < 40, "what nobody waits for any more");
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

#[test]
fn who_asks_for_what_is_fetched_beside_another_makes_no_request_of_its_own() {
    let Missing::Session(beside) = session(2) else { unreachable!() };
    let gated = Gated::with_beside(false, &[beside]);
    let fetching = with(&gated, LIMIT);
    let first = ask(&fetching, &[session(1)]);
    while lock(&gated.sessions).len() < 2 {
        thread::yield_now();
    }
    let second = ask(&fetching, &[session(2)]);
    gated.let_go();
    assert_eq!((first.recv().unwrap(), second.recv().unwrap()), (Ok(()), Ok(())));
    assert_eq!(gated.asked.load(Ordering::SeqCst), 1);
}

#[test]
fn what_was_fetched_beside_another_in_vain_is_fetched_again_when_it_is_asked_for() {
    let Missing::Session(beside) = session(2) else { unreachable!() };
    let gated = Gated::with_beside(true, &[beside]);
    gated.let_go();
    let fetching = with(&gated, LIMIT);
    assert!(ask(&fetching, &[session(1)]).recv().unwrap().is_err());
    while !lock(&fetching.0.state).entries.is_empty() {
        thread::yield_now();
    }
    assert!(ask(&fetching, &[session(2)]).recv().unwrap().is_err());
    assert_eq!(gated.asked.load(Ordering::SeqCst), 2);
}
