//! The time of a run: it passes when the run says so, and each machine's clock is as wrong as the run says.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use cogfs::clock;
use cogfs::model::Millis;

use crate::random::Random;

/// When every run begins.
const START: i64 = 1_800_000_000_000;

struct Now {
    /// Any moment: only differences are told.
    began: Instant,
    /// Milliseconds since the run began.
    passed: u64,
    /// What the clock that is looked at is ahead, in milliseconds.
    skew: i64,
    random: Random,
}

impl Now {
    fn hold(&self) {
        let passed = i64::try_from(self.passed).unwrap();
        clock::hold(Millis(START + passed + self.skew), self.began + Duration::from_millis(self.passed));
    }
}

thread_local! {
    static NOW: RefCell<Now> =
        RefCell::new(Now { began: Instant::now(), passed: 0, skew: 0, random: Random::new(0) });
}

fn set(change: impl FnOnce(&mut Now)) {
    NOW.with_borrow_mut(|now| {
        change(now);
        now.hold();
    });
}

/// A run begins.
pub fn begin(seed: u64) {
    set(|now| (now.passed, now.skew, now.random) = (0, 0, Random::new(seed)));
}

/// What happens from here on happens where the clock is ahead by so much.
pub fn is_ahead(skew: i64) {
    set(|now| now.skew = skew);
}

pub fn pass(millis: u64) {
    set(|now| now.passed += millis);
}

/// Lets some time pass, and less than so much.
pub fn pass_up_to(millis: usize) {
    set(|now| now.passed += now.random.below(millis) as u64);
}
