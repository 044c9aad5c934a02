//! How long to go on, with which seeds, and how a finding is told.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds of each test that says nothing else.
const SECONDS: u64 = 10;

/// Longer than this, and a log of a megabyte is not read in linear time.
const SLOW: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });

/// Then nothing more is waited for.
const HANGS: Duration = Duration::from_secs(90);

/// Memory that none of these logs may need, in KiB.
const MEMORY: u64 = 1024 * 1024;

/// Runs seeds 0 to `fixed`, then random ones until the time is up. Each fails by a panic.
pub fn fuzz(fixed: u64, each: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok().map(|v| v.parse().unwrap_or_else(|_| panic!("{name}: {v}")));
    let limit = Duration::from_secs(number("COGFS_FUZZ_SECONDS").unwrap_or(SECONDS));
    let one: Option<u64> = number("COGFS_FUZZ_SEED");
    let began = Instant::now();
    let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 ^ u64::from(std::process::id());
    let (running, mut done, mut slowest) = (AtomicU64::new(0), 0, (Duration::ZERO, 0));
    SLOWEST.store(0, Ordering::Relaxed);
    std::thread::scope(|scope| {
        let (alive, gone) = std::sync::mpsc::channel::<()>();
        let running = &running;
        scope.spawn(move || watch(running, &gone));
        loop {
            let seed = one.unwrap_or(if done < fixed { done } else { base.wrapping_add(done) });
            running.store(seed, Ordering::Relaxed);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| each(seed))) {
                told(seed);
                drop(alive);
                resume_unwind(panic);
            }
            slowest = slowest.max((Duration::from_micros(SLOWEST.swap(0, Ordering::Relaxed)), seed));
            done += 1;
            if one.is_some() || done >= fixed && began.elapsed() >= limit {
                break;
            }
        }
        drop(alive);
    });
    println!(
        "{done} inputs in {:?}, the slowest {:?} (seed {}), {} MiB",
        began.elapsed(),
        slowest.0,
        slowest.1,
        peak() / 1024
    );
    assert!(peak() < MEMORY, "{} MiB of memory were needed", peak() / 1024);
}

/// Microseconds of the longest piece of work on the seed at hand.
static SLOWEST: AtomicU64 = AtomicU64::new(0);

/// Does what must not take long, whatever the input.
pub fn in_time<T>(work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    let took = start.elapsed();
    assert!(took < SLOW, "one input took {took:?}");
    SLOWEST.fetch_max(u64::try_from(took.as_micros()).unwrap(), Ordering::Relaxed);
    done
}

fn told(seed: u64) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("found by: COGFS_FUZZ_SEED={seed} cargo test --test fuzz {name}");
}

/// Ends the program, with the seed told, when one takes for ever.
fn watch(running: &AtomicU64, gone: &std::sync::mpsc::Receiver<()>) {
    let mut last = (running.load(Ordering::Relaxed), Instant::now());
    while gone.recv_timeout(Duration::from_secs(1)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
        let now = running.load(Ordering::Relaxed);
        if now != last.0 || std::env::var_os("COGFS_FUZZ_SEED").is_some() {
            last = (now, Instant::now());
        }
        if last.1.elapsed() > HANGS {
            eprintln!("seed {now} does not end");
            std::process::abort();
        }
    }
}

/// The most memory that this process ever used, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
