//! Which state of the database requests see: a new state is published, and the requests that saw the old one are waited for,
//! before the kernel is told. Otherwise an answer made from the old state could arrive behind the notice, and stay for good.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Counts the requests under way, those of the current state apart from those of the one before.
#[derive(Default)]
pub struct Gate {
    epoch: AtomicU64,
    under_way: [AtomicUsize; 2],
}

/// Held by a request from before it reads until its reply is sent.
pub struct RequestGuard<'a> {
    under_way: &'a AtomicUsize,
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    /// The number of the newest published state.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Begins a request.
    pub fn enter(&self) -> RequestGuard<'_> {
        loop {
            let epoch = self.epoch();
            let guard = RequestGuard { under_way: &self.under_way[(epoch & 1) as usize] };
            guard.under_way.fetch_add(1, Ordering::SeqCst);
            // A state published in between would not wait for this request: it must count with the new one.
            if self.epoch() == epoch {
                return guard;
            }
        }
    }

    /// Shows a new state to the requests that begin from now on. Those under way are waited for by the next
    /// [`Self::publish`], as the place they are counted in stays the same.
    pub fn advance(&self) {
        self.epoch.fetch_add(2, Ordering::SeqCst);
    }

    /// Publishes a new state and waits until no request sees the old one. Only one thread may call it. A request that takes
    /// longer than `patience` is not waited for: its caller would wait as long for any news.
    pub fn publish(&self, patience: Duration) {
        let old = self.epoch.fetch_add(1, Ordering::SeqCst);
        let under_way = &self.under_way[(old & 1) as usize];
        let began = Instant::now();
        while under_way.load(Ordering::SeqCst) > 0 {
            if began.elapsed() > patience {
                tracing::warn!("a request has been under way for {} s", patience.as_secs());
                return;
            }
            // Requests take microseconds; only a slow disk makes this a wait.
            thread::sleep(Duration::from_micros(200));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_new_state_waits_for_the_requests_that_saw_the_old_one_and_for_no_other() {
        let gate = Arc::new(Gate::default());
        let old = gate.enter();
        let (send, receive) = channel();
        let publisher = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || {
                gate.publish(Duration::from_secs(60));
                let _ = send.send(());
            })
        };
        while gate.epoch() == 0 {
            thread::yield_now();
        }
        let new = gate.enter();
        assert!(receive.try_recv().is_err(), "the old request is still under way");
        drop(old);
        receive.recv_timeout(Duration::from_secs(60)).expect("only the old request was waited for");
        drop(new);
        publisher.join().unwrap();
    }
}
