//! Damaged logs of every format: no panic, no hang, no memory without bound, and a database that agrees with itself.
//!
//! Some seconds of it are part of every run of the tests: a fixed set of seeds, then random ones until the time is up.
//! `COGFS_FUZZ_SECONDS` gives each test more time, `COGFS_FUZZ_SEED` runs one seed alone. See `fuzz/README.md`.

#[path = "../common/mod.rs"]
mod common;

mod budget;
mod home;
mod logs;
mod mutate;
mod parse;

use std::path::Path;

use budget::{fuzz, in_time};
use home::Home;
use logs::Set;
use mutate::Random;

/// Bytes of a log that is made large.
const MOST: usize = 1 << 20;

#[test]
fn no_log_however_damaged_harms_a_parser() {
    let sets = Set::all();
    fuzz(400, |seed| {
        let mut random = Random::new(seed);
        let set = random.pick(&sets);
        let (name, bytes) = random.pick(&set.files);
        let damaged = mutate::log(bytes, &mut random, MOST);
        in_time(|| parse::check(Path::new(name), &damaged, &mut random));
    });
}

#[test]
fn an_import_of_damaged_logs_leaves_a_database_that_agrees_with_itself() {
    let sets = Set::all();
    fuzz(30, |seed| {
        let mut random = Random::new(seed);
        let set = random.pick(&sets);
        let most = if random.one_in(10) { MOST } else { 60_000 };
        let damaged = set.damaged(&mut random, most);
        imported(|home| {
            damaged.write(&home.logs());
            in_time(|| home.import(&home.logs()));
            in_time(|| home.check());
            let before = home.dump(true);
            home.import(&home.logs());
            assert_same(&home.dump(true), &before, "a second import");
        });
    });
}

#[test]
fn a_log_that_repeats_itself_is_imported_in_linear_time() {
    let sets = Set::all();
    fuzz(6, |seed| {
        let mut random = Random::new(seed);
        let mut set = random.pick(&sets).clone();
        let one = random.below(set.files.len());
        mutate::grow(&mut set.files[one].1, &mut random, MOST);
        imported(|home| {
            set.write(&home.logs());
            in_time(|| home.import(&home.logs()));
            in_time(|| home.check());
        });
    });
}

#[test]
fn a_copy_of_a_damaged_log_adds_nothing() {
    let sets = Set::all();
    fuzz(20, |seed| {
        let mut random = Random::new(seed);
        let damaged = random.pick(&sets).damaged(&mut random, 60_000);
        imported(|home| {
            damaged.write(&home.logs().join("first"));
            home.import(&home.logs());
            let before = home.dump(false);
            damaged.write(&home.logs().join("second"));
            in_time(|| home.import(&home.logs()));
            in_time(|| home.check());
            assert_same(&home.dump(false), &before, "the same log at another path");
        });
    });
}

#[test]
fn a_compressed_log_damaged_anywhere_costs_itself_alone() {
    let sets = Set::of_lines();
    fuzz(30, |seed| {
        let mut random = Random::new(seed);
        let mut set = random.pick(&sets).clone();
        if random.one_in(3) {
            set = set.damaged(&mut random, 60_000);
        }
        for (name, bytes) in &mut set.files {
            if !name.ends_with(".jsonl") {
                continue;
            }
            let half = random.below(bytes.len());
            let mut packed = zstd::encode_all(&bytes[..half], 1).unwrap();
            packed.extend(zstd::encode_all(&bytes[half..], 19).unwrap());
            mutate::bytes_of(&mut packed, &mut random);
            name.push_str(".zst");
            *bytes = packed;
        }
        imported(|home| {
            set.write(&home.logs());
            in_time(|| home.import(&home.logs()));
            in_time(|| home.check());
            let before = home.dump(false);
            home.import(&home.logs());
            assert_same(&home.dump(false), &before, "a second import");
        });
    });
}

#[test]
fn a_database_of_opencode_with_odd_rows_costs_its_odd_rows() {
    fuzz(30, |seed| {
        let mut random = Random::new(seed);
        imported(|home| {
            logs::opencode_database(&home.logs().join("opencode.db"), &mut random);
            in_time(|| home.import(&home.logs()));
            in_time(|| home.check());
            let before = home.dump(false);
            home.import(&home.logs());
            assert_same(&home.dump(false), &before, "a second import");
        });
    });
}

#[test]
fn every_number_of_a_log_may_be_any_number() {
    for number in ["18446744073709551615", "9223372036854775807", "-9223372036854775808", "1e308", "-1", "0"] {
        let value: serde_json::Value = serde_json::from_str(number).unwrap();
        for set in Set::all() {
            let set = set.with(|place| {
                if place.is_number() {
                    *place = value.clone();
                }
            });
            imported(|home| {
                set.write(&home.logs());
                home.import(&home.logs());
                home.check();
            });
        }
    }
}

/// Runs a check in a home of its own, which stays when the check fails.
fn imported(check: impl FnOnce(&Home)) {
    let mut home = Home::new();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&home)));
    if let Err(panic) = outcome {
        eprintln!("what was imported stays in {}", home.keep().display());
        std::panic::resume_unwind(panic);
    }
}

fn assert_same(now: &[String], before: &[String], what: &str) {
    let short = |line: &String| line.chars().take(600).collect::<String>();
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|l| b.binary_search(l).is_err()).take(4).map(short).collect::<Vec<_>>()
    };
    assert!(now == before, "{what} changed something\nnow: {:#?}\nbefore: {:#?}", only(now, before), only(before, now));
}
