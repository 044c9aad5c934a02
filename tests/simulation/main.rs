//! Three machines and a cloud whose wire is bad: whatever they do, in whatever order, and wherever they die, they come to the same;
//! no edit is lost without being kept as a conflict, nothing deleted comes back but by an edit, nothing forgotten comes back at all.
//!
//! A run is told by its seed, and repeats exactly. `COGFS_SEED=17 cargo test --test simulation three_machines` runs one and says what
//! happens in it, with `COGFS_WIRE=1` also what goes over the wire; `COGFS_SEEDS=0..5000` runs many.

#[path = "../common/mod.rs"]
mod common;
#[path = "../memory_cloud/mod.rs"]
mod memory_cloud;

mod ahead;
mod checks;
mod engine;
mod logs;
mod machine;
mod random;
mod run;
mod time;
mod wire;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The seeds that the environment names.
fn named() -> Option<Vec<u64>> {
    if let Ok(seed) = std::env::var("COGFS_SEED") {
        return Some(vec![seed.parse().expect("COGFS_SEED is a number")]);
    }
    let range = std::env::var("COGFS_SEEDS").ok()?;
    let (from, to) = range.split_once("..").expect("COGFS_SEEDS is a range as 0..1000");
    Some((from.parse().expect("a number")..to.parse().expect("a number")).collect())
}

/// Runs seeds one after the other; those that the environment names instead are shared out among the parts.
fn part(nth: u64) {
    let all = named().unwrap_or_else(|| SEEDS.collect());
    let told = all.len() == 1;
    hold(all.into_iter().filter(|seed| seed % PARTS == nth), told);
}

/// Every seed is run, whatever becomes of the others.
fn hold(seeds: impl Iterator<Item = u64>, told: bool) {
    let logs = logs::Logs::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let story = run::Story::default();
        if catch_unwind(AssertUnwindSafe(|| run::run(seed, &logs, told, &story))).is_err() {
            eprintln!("seed {seed} failed; COGFS_SEED={seed} cargo test --test simulation three_machines");
            failed.push(seed);
        }
    }
    assert_eq!(failed, Vec::<u64>::new(), "seeds that failed, each told of above");
}

/// Each part is a test of its own, so that they run beside each other.
const PARTS: u64 = 8;
/// What a run of all tests has time for: a minute of two cores. `scripts/soak` runs more.
const SEEDS: Range<u64> = 0..900;

/// Seeds that failed once, each by another fault: they are run whatever the environment names.
const FAILED_ONCE: [u64; 19] =
    [17, 41, 261, 294, 309, 326, 441, 464, 482, 519, 526, 528, 534, 561, 641, 657, 725, 820, 840];

#[test]
fn seeds_that_failed_once_hold() {
    hold(FAILED_ONCE.into_iter(), false);
}

#[test]
fn a_seed_repeats_exactly() {
    let logs = logs::Logs::new();
    for seed in 0..3 {
        let told = || {
            let story = run::Story::default();
            let world = run::run(seed, &logs, false, &story);
            let all: Vec<String> = world.machines.iter().map(checks::everything).collect();
            (story.take(), all)
        };
        let (first, second) = (told(), told());
        assert_eq!(first.0, second.0, "what happens in seed {seed}");
        for (one, other) in first.1.iter().zip(&second.1) {
            assert!(one == other, "what is stored in seed {seed}:\n{}", first_difference(one, other));
        }
    }
}

fn first_difference(one: &str, other: &str) -> String {
    let differing = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    differing.map_or_else(String::new, |(one, other)| format!("{one}\n{other}"))
}

/// A test for each part.
macro_rules! parts {
    ($($name:ident: $nth:literal),*) => {
        $(#[test]
        fn $name() {
            part($nth);
        })*
    };
}

parts! {
    three_machines_converge_and_nothing_is_lost_1: 0,
    three_machines_converge_and_nothing_is_lost_2: 1,
    three_machines_converge_and_nothing_is_lost_3: 2,
    three_machines_converge_and_nothing_is_lost_4: 3,
    three_machines_converge_and_nothing_is_lost_5: 4,
    three_machines_converge_and_nothing_is_lost_6: 5,
    three_machines_converge_and_nothing_is_lost_7: 6,
    three_machines_converge_and_nothing_is_lost_8: 7
}
