//! Bytes as a log that is imported twice: what is stored agrees with itself, every file has its length, and the second import
//! changes nothing.

#![no_main]
#![allow(dead_code)] // The tests use more of these.

#[path = "../../tests/fuzz/home.rs"]
mod home;
#[path = "../../tests/fuzz/mutate.rs"]
mod mutate;

use std::fs;

use home::Home;
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mutate::Random;

fuzz_target!(|bytes: &[u8]| {
    let home = Home::new();
    fs::write(home.logs().join("log.jsonl"), bytes).unwrap();
    home.import(&home.logs());
    home.check();
    let before = home.dump(true);
    home.import(&home.logs());
    assert!(home.dump(true) == before, "a second import changed something");
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let new = mutate::log(&data[..size], &mut Random::new(seed.into()), max_size);
    data[..new.len()].copy_from_slice(&new);
    new.len()
});
