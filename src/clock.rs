//! What time it is: that of the calendar, which is written down and may jump, and a steady one for what has passed.
//!
//! A thread's clocks can be held, so that a simulation repeats exactly and each of its machines has a clock of its own. Nothing in
//! the program does: only tests call [`hold`].

use std::cell::Cell;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::Millis;

thread_local! {
    static HELD: Cell<Option<(Millis, Instant)>> = const { Cell::new(None) };
}

/// The time by the calendar.
#[must_use]
pub fn now() -> Millis {
    HELD.get().map_or_else(by_the_system, |(now, _)| now)
}

fn by_the_system() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A moment that only goes on.
#[must_use]
pub fn steady() -> Instant {
    HELD.get().map_or_else(Instant::now, |(_, moment)| moment)
}

/// Has this thread's clocks stand still at a time, until they are held at another.
#[doc(hidden)]
pub fn hold(now: Millis, steady: Instant) {
    HELD.set(Some((now, steady)));
}
