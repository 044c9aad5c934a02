//! Three machines and a cloud whose wire is bad: whatever they do, in whatever order, and wherever they die, they come to the same;
//! no edit is lost without being kept as a conflict, nothing deleted comes back but by an edit, nothing forgotten comes back at all.
//!
//! A run is told by its seed. `COGFS_SEED=17 cargo test --test simulation` runs one, `COGFS_SEEDS=0..5000` many.

#[path = "../common/mod.rs"]
mod common;
#[path = "../memory_cloud/mod.rs"]
mod memory_cloud;

mod checks;
mod engine;
mod machine;
mod random;
mod run;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Mutex;

fn seeds(default: Range<u64>) -> Vec<u64> {
    if let Ok(seed) = std::env::var("COGFS_SEED") {
        return vec![seed.parse().expect("COGFS_SEED is a number")];
    }
    let Ok(range) = std::env::var("COGFS_SEEDS") else { return default.collect() };
    let (from, to) = range.split_once("..").expect("COGFS_SEEDS is a range as 0..1000");
    (from.parse().expect("a number")..to.parse().expect("a number")).collect()
}

#[test]
fn three_machines_converge_and_nothing_is_lost() {
    let seeds = seeds(0..200);
    let several = seeds.len() > 1;
    let left = Mutex::new(seeds.into_iter().collect::<VecDeque<u64>>());
    let logs = run::Logs::new();
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let Some(seed) = left.lock().unwrap().pop_front() else { break };
                if let Err(panic) = std::panic::catch_unwind(|| run::run(seed, &logs, !several)) {
                    eprintln!("COGFS_SEED={seed} cargo test --test simulation");
                    left.lock().unwrap().clear();
                    std::panic::resume_unwind(panic);
                }
            }
        };
        let threads: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
