//! Three machines and a cloud whose wire is bad: whatever they do, in whatever order, and wherever they die, they come to the same;
//! no edit is lost without being kept as a conflict, nothing deleted comes back but by an edit, nothing forgotten comes back at all.
//!
//! A run is told by its seed. `COGFS_SEED=17 cargo test --test simulation three_machines` runs one, `COGFS_SEEDS=0..5000` many.

#[path = "../common/mod.rs"]
mod common;
#[path = "../memory_cloud/mod.rs"]
mod memory_cloud;

mod checks;
mod engine;
mod machine;
mod random;
mod run;

use std::ops::Range;

fn seeds(default: Range<u64>) -> Vec<u64> {
    if let Ok(seed) = std::env::var("COGFS_SEED") {
        return vec![seed.parse().expect("COGFS_SEED is a number")];
    }
    let Ok(range) = std::env::var("COGFS_SEEDS") else { return default.collect() };
    let (from, to) = range.split_once("..").expect("COGFS_SEEDS is a range as 0..1000");
    (from.parse().expect("a number")..to.parse().expect("a number")).collect()
}

/// Runs seeds one after the other; `COGFS_SEED` and `COGFS_SEEDS` are shared out among the parts.
fn part(nth: u64) {
    let all = seeds(0..PARTS * SEEDS);
    let several = all.len() > 1;
    let logs = run::Logs::new();
    let mut failed = Vec::new();
    for seed in all.into_iter().filter(|seed| seed % PARTS == nth && !(several && OPEN.contains(seed))) {
        if std::panic::catch_unwind(|| run::run(seed, &logs, !several)).is_err() {
            eprintln!("COGFS_SEED={seed} cargo test --test simulation three_machines");
            failed.push(seed);
        }
    }
    assert_eq!(failed, Vec::<u64>::new(), "seeds that failed, each told of above");
}

/// Seeds that are known to fail, and are run when they are named alone: sessions of commits that became one are numbered otherwise on
/// one machine (17, 261); a turn whose deletion was taken back is counted twice where its contents were fetched (294).
const OPEN: [u64; 3] = [17, 261, 294];

/// Each part is a test of its own, so that they run beside each other.
const PARTS: u64 = 4;
/// What a run of all tests has time for; `scripts/soak` runs more.
const SEEDS: u64 = 75;

#[test]
fn three_machines_converge_and_nothing_is_lost_1() {
    part(0);
}

#[test]
fn three_machines_converge_and_nothing_is_lost_2() {
    part(1);
}

#[test]
fn three_machines_converge_and_nothing_is_lost_3() {
    part(2);
}

#[test]
fn three_machines_converge_and_nothing_is_lost_4() {
    part(3);
}
