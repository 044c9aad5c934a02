//! One thread that settles what was written: a document becomes the record when nobody has written to it for a moment, names
//! that were removed are deleted. Sleeps while nothing is written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::fs::CogFs;

/// How often old scratch files are looked for, and how long after mounting the first time.
const SWEEP: Duration = Duration::from_secs(24 * 60 * 60);
const FIRST_SWEEP: Duration = Duration::from_secs(60);

/// The running thread; dropping it settles everything and ends it.
pub(super) struct Settler {
    fs: Arc<CogFs>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Settler {
    pub(super) fn start(fs: Arc<CogFs>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (seen, served) = (Arc::clone(&stop), Arc::clone(&fs));
        let thread = thread::Builder::new().name("cogfs-settle".to_owned()).spawn(move || run(&served, &seen))?;
        Ok(Self { fs, stop, thread: Some(thread) })
    }
}

impl Drop for Settler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.fs.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
        self.fs.finish();
    }
}

fn run(fs: &CogFs, stop: &AtomicBool) {
    let mut sweep_at = Instant::now() + FIRST_SWEEP;
    let mut pause = None;
    while !stop.load(Ordering::SeqCst) {
        let until_sweep = sweep_at.saturating_duration_since(Instant::now());
        match pause {
            // Woken by each write: a moment of quiet is what is waited for.
            Some(pause) => thread::sleep(pause),
            None => fs.wait_for_work(until_sweep),
        }
        let settled = catch_unwind(AssertUnwindSafe(|| fs.settle(Instant::now())));
        pause = settled.unwrap_or_else(|_| {
            tracing::error!("settling what was written panicked; it is tried again");
            Some(Duration::from_secs(1))
        });
        if Instant::now() >= sweep_at {
            fs.sweep();
            sweep_at = Instant::now() + SWEEP;
        }
    }
}
