//! Bytes through recognition, lines, repair and the parser of whatever format they turn out to be; the mutator knows JSON.

#![no_main]

#[path = "../../tests/fuzz/mutate.rs"]
mod mutate;
#[path = "../../tests/fuzz/parse.rs"]
mod parse;

use std::path::Path;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use mutate::Random;

/// A path for each format that looks at names.
const NAMES: [&str; 4] = ["chats/session-2026-09-01T09-00-b0a70001.json", "log.jsonl", "agent-a1b2c3.jsonl", "logs.json"];

fuzz_target!(|bytes: &[u8]| {
    let mut random = Random::new(bytes.len() as u64);
    let name = Path::new(NAMES[bytes.len() % NAMES.len()]);
    parse::check(name, bytes, &mut random);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let new = mutate::log(&data[..size], &mut Random::new(seed.into()), max_size);
    data[..new.len()].copy_from_slice(&new);
    new.len()
});
