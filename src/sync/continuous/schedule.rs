//! When the next cycle is due. Pure: the caller has the clock, which begins anywhere, the dice and the waiting.
//!
//! | what happens | when a cycle is due |
//! |---|---|
//! | something changed here | after 500 ms in which nothing more did, 1 s at the most |
//! | the doorbell rang | at once, but a second after the last cycle that it caused began |
//! | nothing | an interval after the last cycle ended |
//! | the network came or went | after 2 s in which it did neither |
//! | somebody asks for it | at once |
//! | a cycle failed | after 1, 2, 4, 8, 16 s, then every minute; or as the server said |
//!
//! While a pause after a failure lasts, changes and the doorbell wait for its end: a server that is down is not asked more often
//! because somebody works. Of all that falls into a cycle's time there is one more cycle behind it.

use std::time::Duration;

use crate::cloud::CloudError;
use crate::cloud::retry::{Next, Retry};

/// How long nothing more must have changed here.
pub const QUIET: Duration = Duration::from_millis(500);
/// How long a change waits at the most while others follow.
const LONGEST_QUIET: Duration = Duration::from_secs(1);
/// How long the network must have been as it is.
const FLAP: Duration = Duration::from_secs(2);
/// Between two cycles that the doorbell causes.
const BETWEEN_RINGS: Duration = Duration::from_secs(1);
/// What failed for a reason that is not the network's is tried again so late.
const AFTER_FAULT: Duration = Duration::from_secs(60);
/// Another process is at it: its command will be over soon.
const AFTER_OTHER: Duration = Duration::from_secs(1);

/// How a cycle ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Well,
    /// The cloud did not do it.
    Cloud(CloudError),
    /// Another process was syncing.
    Running,
    /// The database, or what it has to do with the cloud.
    Fault,
}

/// What there is to be waited for after a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// All is well.
    Synced,
    /// It is tried again soon.
    Again,
    /// The cloud has not been reached for a while.
    Offline,
    /// Nothing is tried until somebody logs in.
    LoginNeeded,
    /// Something is wrong that trying again may not help.
    Failed,
}

/// When the next cycle is due.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    retry: Retry,
    /// Regularly, or behind a pause.
    due: Option<Duration>,
    /// No cycle begins before, unless somebody asks.
    not_before: Duration,
    /// The first and the last change here that no cycle saw.
    changed: Option<(Duration, Duration)>,
    rang: bool,
    last_ring: Option<Duration>,
    network: Option<Duration>,
    outlook: Outlook,
}

impl Schedule {
    /// The first cycle is due at once.
    #[must_use]
    pub fn new(interval: Duration, now: Duration) -> Self {
        Self {
            interval,
            retry: Retry::default(),
            due: Some(now),
            not_before: now,
            changed: None,
            rang: false,
            last_ring: None,
            network: None,
            outlook: Outlook::Again,
        }
    }

    /// Something changed here.
    pub fn changed(&mut self, now: Duration) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
    }

    /// The doorbell rang, or was joined: what happened before was not told.
    pub fn rang(&mut self) {
        self.rang = true;
    }

    /// The network came, went or changed; or the machine slept.
    pub fn network_changed(&mut self, now: Duration) {
        self.network = Some(now);
    }

    /// When the first change that no cycle saw was made.
    #[must_use]
    pub fn waits_since(&self) -> Option<Duration> {
        self.changed.map(|(first, _)| first)
    }

    /// What the last cycle left to be expected.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        self.outlook
    }

    /// When the next cycle is due; `None`: when something happens.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        if self.outlook == Outlook::LoginNeeded {
            return None;
        }
        let changed = self.changed.map(|(first, last)| (last + QUIET).min(first + LONGEST_QUIET));
        let rang = self.rang.then(|| self.last_ring.map_or(Duration::ZERO, |at| at + BETWEEN_RINGS));
        let soonest = [self.due, changed, rang].into_iter().flatten().min().map(|at| at.max(self.not_before));
        // A network that is back ends a pause.
        let network = self.network.map(|at| at + FLAP);
        [soonest, network].into_iter().flatten().min()
    }

    /// A cycle begins. Whatever happened until now, it will see.
    pub fn began(&mut self, now: Duration) {
        if self.rang {
            self.last_ring = Some(now);
        }
        (self.changed, self.rang, self.network, self.due) = (None, false, None, None);
    }

    /// The cycle that began ended. `dice` is a number of 0 to 1, anew each time.
    pub fn ended(&mut self, now: Duration, ended: &Ended, dice: f64) {
        let (outlook, pause) = match ended {
            Ended::Well => {
                self.retry.succeeded();
                self.due = Some(now + self.interval);
                self.not_before = now;
                self.outlook = Outlook::Synced;
                return;
            }
            Ended::Running => (self.outlook, AFTER_OTHER),
            Ended::Fault => (Outlook::Failed, AFTER_FAULT),
            Ended::Cloud(error) => match self.retry.failed(error, dice) {
                Next::After(pause) => (Outlook::Again, pause),
                Next::Offline(pause) => (Outlook::Offline, pause),
                Next::Login => (Outlook::LoginNeeded, Duration::ZERO),
                Next::Never => (Outlook::Failed, AFTER_FAULT),
            },
        };
        // Offline until it succeeds: a pause that is shorter again, as after a `Busy`, does not say that it is back.
        self.outlook = outlook;
        self.not_before = now + pause;
        self.due = Some(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One that has had its first cycle, which ended at 0.
    fn synced() -> Schedule {
        let mut schedule = Schedule::new(TEN, ms(0));
        assert_eq!(schedule.next(), Some(ms(0)), "the first is due at once");
        schedule.began(ms(0));
        schedule.ended(ms(0), &Ended::Well, 0.5);
        schedule
    }

    fn lost() -> Ended {
        Ended::Cloud(CloudError::Unreachable("x".to_owned()))
    }

    #[test]
    fn nothing_happens_for_an_interval() {
        assert_eq!(synced().next(), Some(TEN));
    }

    #[test]
    fn changes_wait_for_quiet_but_for_a_second_at_the_most() {
        let mut schedule = synced();
        schedule.changed(ms(1_000));
        assert_eq!(schedule.next(), Some(ms(1_500)));
        schedule.changed(ms(1_400));
        assert_eq!(schedule.next(), Some(ms(1_900)));
        schedule.changed(ms(1_850));
        assert_eq!(schedule.next(), Some(ms(2_000)));
        schedule.began(ms(2_000));
        schedule.changed(ms(2_100));
        schedule.ended(ms(2_200), &Ended::Well, 0.5);
        assert_eq!(schedule.next(), Some(ms(2_600)), "what changed during the cycle has one behind it");
    }

    #[test]
    fn the_doorbell_is_answered_at_once_and_a_flood_of_it_once_a_second() {
        let mut schedule = synced();
        let mut cycles = 0;
        for at in (5_000..9_000).map(ms) {
            schedule.rang();
            if schedule.next().is_some_and(|due| due <= at) {
                schedule.began(at);
                schedule.ended(at, &Ended::Well, 0.5);
                cycles += 1;
            }
        }
        assert_eq!(cycles, 4);
    }

    #[test]
    fn neither_changes_nor_the_doorbell_end_a_pause_but_the_network_does() {
        let mut schedule = synced();
        let mut now = ms(10_000);
        for seconds in [1, 2, 4, 8, 16, 60, 60] {
            schedule.began(now);
            schedule.ended(now, &lost(), 0.5);
            schedule.changed(now);
            schedule.rang();
            assert_eq!(schedule.next(), Some(now + Duration::from_secs(seconds)));
            now += Duration::from_secs(seconds);
        }
        assert_eq!(schedule.outlook(), Outlook::Offline);
        schedule.began(now);
        schedule.ended(now, &lost(), 0.5);
        schedule.network_changed(now + ms(1_000));
        schedule.network_changed(now + ms(2_000));
        assert_eq!(schedule.next(), Some(now + ms(4_000)), "2 s after it last came or went");
        schedule.began(now + ms(4_000));
        schedule.ended(now + ms(4_100), &Ended::Well, 0.5);
        assert_eq!((schedule.outlook(), schedule.next()), (Outlook::Synced, Some(now + ms(14_100))));
    }

    #[test]
    fn a_server_that_names_a_time_is_obeyed() {
        let mut schedule = synced();
        schedule.began(TEN);
        schedule.ended(TEN, &Ended::Cloud(CloudError::Busy { wait: Some(Duration::from_secs(30)) }), 0.0);
        schedule.changed(TEN);
        assert_eq!(schedule.next(), Some(Duration::from_secs(40)));
    }

    #[test]
    fn without_a_login_nothing_is_tried_whatever_happens() {
        let mut schedule = synced();
        schedule.began(TEN);
        schedule.ended(TEN, &Ended::Cloud(CloudError::LoginNeeded), 0.5);
        schedule.changed(TEN);
        schedule.rang();
        schedule.network_changed(TEN);
        assert_eq!((schedule.outlook(), schedule.next()), (Outlook::LoginNeeded, None));
        assert_eq!(schedule.waits_since(), Some(TEN), "what waits is not forgotten");
    }

    #[test]
    fn who_waits_for_another_process_is_as_well_as_before() {
        let mut schedule = synced();
        schedule.began(TEN);
        schedule.ended(TEN, &Ended::Running, 0.5);
        assert_eq!((schedule.outlook(), schedule.next()), (Outlook::Synced, Some(ms(11_000))));
    }
}
