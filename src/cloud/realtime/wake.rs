//! Waiting that another thread can end: for a socket, for a time, or for neither.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woke {
    /// The socket is ready, or broken: the next call says which.
    Ready,
    /// The time is over.
    Late,
    /// Somebody called: look at [`Wake::stopped`] and [`Wake::take_retry`].
    Called,
}

/// Wakes the thread, wherever it waits.
#[derive(Debug)]
pub struct Wake {
    called: OwnedFd,
    stop: AtomicBool,
    retry: AtomicBool,
}

impl Wake {
    pub fn new() -> io::Result<Self> {
        let called = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { called, stop: AtomicBool::new(false), retry: AtomicBool::new(false) })
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.call();
    }

    pub fn retry(&self) {
        self.retry.store(true, Ordering::SeqCst);
        self.call();
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn take_retry(&self) -> bool {
        self.retry.swap(false, Ordering::SeqCst)
    }

    fn call(&self) {
        // Full: it was called before, and nobody looked yet.
        let _ = rustix::io::write(&self.called, &1u64.to_ne_bytes());
    }

    /// Waits for a socket; `None`: for a call or the time alone.
    pub fn wait(&self, socket: Option<(BorrowedFd<'_>, PollFlags)>, until: Option<Instant>) -> Woke {
        let timeout = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
        let mut fds = vec![PollFd::new(&self.called, PollFlags::IN)];
        fds.extend(socket.as_ref().map(|(fd, flags)| PollFd::new(fd, *flags)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) => Woke::Late,
            Ok(_) if fds[0].revents().is_empty() => Woke::Ready,
            Ok(_) => {
                let mut count = [0; 8];
                let _ = rustix::io::read(&self.called, &mut count);
                Woke::Called
            }
            // A signal, or no memory: the caller looks, and waits again.
            Err(_) => Woke::Called,
        }
    }
}

fn timespec(wait: Duration) -> Timespec {
    // Rounded up: a wait must not end before its time, or the thread would spin until it.
    let wait = wait + Duration::from_micros(1);
    Timespec { tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX), tv_nsec: i64::from(wait.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_by_a_call_before_or_within_it_and_by_its_time() {
        let wake = Wake::new().unwrap();
        assert_eq!(wake.wait(None, Some(Instant::now() + Duration::from_millis(5))), Woke::Late);
        wake.retry();
        wake.retry();
        assert_eq!(wake.wait(None, None), Woke::Called);
        assert!(wake.take_retry() && !wake.take_retry() && !wake.stopped());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| wake.wait(None, None));
            wake.stop();
            assert_eq!(waits.join().unwrap(), Woke::Called);
        });
        assert!(wake.stopped());
    }
}
