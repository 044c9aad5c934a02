//! A cloud whose calls are tried again as long as that may help: for commands, at which somebody waits. Every call may be made
//! twice by the contract, so that it does not matter whether the first one arrived.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::retry::{Next, Retry, dice};
use super::wire::{Change, Fetched, Mark, Outcome, Pulled, Status};
use super::{Cloud, CloudError, Result};
use crate::model::{Id, Millis};

/// How often a call is tried again at the most, whatever the server asks for.
const MOST: u32 = 5;

/// A server that asks for more is not waited for: who called is told.
const LONGEST: Duration = Duration::from_mins(5);

/// How often it is looked whether the waiting is to end.
const LOOKS: Duration = Duration::from_millis(50);

/// For tests: the length of the first pause, in milliseconds, in place of a second; the others are in proportion.
const FIRST_PAUSE: &str = "COGFS_RETRY_MS";

/// Calls a cloud with patience.
pub struct Patient<'a> {
    cloud: &'a dyn Cloud,
    /// Ends the waiting.
    stop: &'a AtomicBool,
    /// Told before each pause.
    waits: &'a (dyn Fn(&CloudError, Duration) + Sync),
    scale: f64,
}

impl<'a> Patient<'a> {
    /// Until `stop`; `waits` hears why, and for how long.
    #[must_use]
    pub fn new(cloud: &'a dyn Cloud, stop: &'a AtomicBool, waits: &'a (dyn Fn(&CloudError, Duration) + Sync)) -> Self {
        let told = std::env::var(FIRST_PAUSE).ok().and_then(|text| text.parse::<u32>().ok());
        Self { cloud, stop, waits, scale: told.map_or(1.0, |millis| f64::from(millis) / 1000.0) }
    }

    fn call<T>(&self, make: impl Fn() -> Result<T>) -> Result<T> {
        let mut retry = Retry::default();
        let mut tried = 0;
        loop {
            let error = match make() {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let Next::After(pause) = retry.failed(&error, dice()) else { return Err(error) };
            tried += 1;
            if tried > MOST || pause > LONGEST {
                return Err(error);
            }
            let pause = pause.mul_f64(self.scale);
            (self.waits)(&error, pause);
            if !self.wait(pause) {
                return Err(error);
            }
        }
    }

    /// False when it was ended.
    fn wait(&self, pause: Duration) -> bool {
        let began = Instant::now();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let left = pause.saturating_sub(began.elapsed());
            if left.is_zero() {
                return true;
            }
            thread::sleep(left.min(LOOKS));
        }
    }
}

impl Cloud for Patient<'_> {
    fn url(&self) -> &str {
        self.cloud.url()
    }

    fn user(&self) -> Option<Id> {
        self.cloud.user()
    }

    fn status(&self) -> Result<Status> {
        self.call(|| self.cloud.status())
    }

    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        self.call(|| self.cloud.push(machine, as_of, changes))
    }

    fn pull(&self, since: i64, max: u32) -> Result<Pulled> {
        self.call(|| self.cloud.pull(since, max))
    }

    fn fetch(&self, sessions: &[Id], after: Option<&Mark>) -> Result<Fetched> {
        self.call(|| self.cloud.fetch(sessions, after))
    }

    fn upload(&self, sha256: &str, mime: &str, bytes: &[u8]) -> Result<()> {
        self.call(|| self.cloud.upload(sha256, mime, bytes))
    }

    fn download(&self, sha256: &str, mime: &str) -> Result<Vec<u8>> {
        self.call(|| self.cloud.download(sha256, mime))
    }

    fn remove(&self, objects: &[String]) -> Result<()> {
        self.call(|| self.cloud.remove(objects))
    }

    fn share_counts(&self, document: &str) -> Result<()> {
        self.call(|| self.cloud.share_counts(document))
    }

    fn unshare_counts(&self) -> Result<u64> {
        self.call(|| self.cloud.unshare_counts())
    }
}
