//! When to try again what failed. Pure but for [`dice`]: the caller has the clock and the waiting.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use super::CloudError;

/// The pauses after the first failures, in seconds.
const PAUSES: [u64; 5] = [1, 2, 4, 8, 16];

/// How often it is tried while offline.
const OFFLINE: Duration = Duration::from_mins(1);

/// The longest pause that a server is obeyed in: a wrong header must not stop the sync for a day.
const LONGEST: Duration = Duration::from_hours(1);

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Try again after a pause.
    After(Duration),
    /// Count as offline, and try again after a pause.
    Offline(Duration),
    /// The user has to log in.
    Login,
    /// Trying again does not help.
    Never,
}

/// The failures since the last success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retry {
    failures: usize,
}

impl Retry {
    /// It went well: the next failure is the first.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It failed. `dice` is a number of 0 to 1, anew each time: machines that lost the server together must not come back
    /// together.
    pub fn failed(&mut self, error: &CloudError, dice: f64) -> Next {
        match error {
            CloudError::LoginNeeded => Next::Login,
            CloudError::Refused { .. } | CloudError::Gone | CloudError::Protocol(_) => Next::Never,
            // As told, and a little later than the others who were told the same.
            CloudError::Busy { wait: Some(wait) } => {
                Next::After((*wait).min(LONGEST) + between(Duration::ZERO, 1.0, dice))
            }
            CloudError::Busy { wait: None } => match self.pause() {
                Some(pause) => Next::After(jittered(pause, dice)),
                // The server is there.
                None => Next::After(jittered(OFFLINE, dice)),
            },
            CloudError::Unreachable(_) | CloudError::Garbled(_) => match self.pause() {
                Some(pause) => Next::After(jittered(pause, dice)),
                None => Next::Offline(jittered(OFFLINE, dice)),
            },
        }
    }

    fn pause(&mut self) -> Option<Duration> {
        let pause = PAUSES.get(self.failures).copied().map(Duration::from_secs);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// A number of 0 to 1, anew each time: the keys of a hash map are random.
#[must_use]
pub fn dice() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    #[allow(clippy::cast_precision_loss)] // 32 bits.
    let part = bits as f64 / f64::from(u32::MAX);
    part
}

/// Three quarters to five quarters of a pause.
pub(super) fn jittered(pause: Duration, dice: f64) -> Duration {
    between(pause.mul_f64(0.75), pause.as_secs_f64() * 0.5, dice)
}

fn between(least: Duration, seconds: f64, dice: f64) -> Duration {
    least + Duration::from_secs_f64(seconds * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(next: Next) -> f64 {
        match next {
            Next::After(pause) | Next::Offline(pause) => pause.as_secs_f64(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pauses_double_five_times_and_then_it_is_offline_until_it_succeeds() {
        let lost = CloudError::Unreachable("x".to_owned());
        let mut retry = Retry::default();
        let pauses: Vec<f64> = (0..5).map(|_| retry.failed(&lost, 0.5)).map(seconds).collect();
        assert_eq!(pauses, [1.0, 2.0, 4.0, 8.0, 16.0]);
        assert_eq!(retry.failed(&lost, 0.5), Next::Offline(OFFLINE));
        assert_eq!(retry.failed(&CloudError::Garbled("x".to_owned()), 0.5), Next::Offline(OFFLINE));
        retry.succeeded();
        assert_eq!(retry.failed(&lost, 0.5), Next::After(Duration::from_secs(1)));
    }

    #[test]
    fn a_pause_is_off_by_a_quarter_at_the_most() {
        let lost = CloudError::Unreachable("x".to_owned());
        for dice in [-1.0, 0.0, 0.3, 1.0, 7.0, f64::NAN.max(0.0)] {
            let pause = seconds(Retry::default().failed(&lost, dice));
            assert!((0.75..=1.25).contains(&pause), "{dice}: {pause}");
        }
    }

    #[test]
    fn a_busy_server_is_obeyed_within_reason_and_is_never_offline() {
        let told = |seconds| CloudError::Busy { wait: Some(Duration::from_secs(seconds)) };
        let mut retry = Retry::default();
        assert_eq!(retry.failed(&told(30), 0.0), Next::After(Duration::from_secs(30)));
        assert_eq!(retry.failed(&told(1_000_000), 0.0), Next::After(LONGEST));
        for _ in 0..9 {
            assert!(matches!(retry.failed(&CloudError::Busy { wait: None }, 0.5), Next::After(_)));
        }
    }

    #[test]
    fn what_trying_again_cannot_help_is_not_tried_again() {
        let mut retry = Retry::default();
        let refused = CloudError::Refused { code: "42501".to_owned(), message: String::new() };
        for error in [refused, CloudError::Gone, CloudError::Protocol(String::new())] {
            assert_eq!(retry.failed(&error, 0.5), Next::Never);
        }
        assert_eq!(retry.failed(&CloudError::LoginNeeded, 0.5), Next::Login);
        assert_eq!(retry, Retry::default());
    }
}
