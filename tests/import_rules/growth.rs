//! A log that is imported while it grows.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::common::ClaudeLog;
use super::{Home, assert_same, fixture};

/// A pixel, as agents log it.
const PICTURE: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

fn says(log: &mut ClaudeLog, message: &str, block: &Value, output_tokens: u32) {
    log.record(
        "assistant",
        &json!({"requestId": format!("req_{message}"), "message": {"id": message, "type": "message",
            "role": "assistant", "model": "claude-opus-4-5-20251101", "content": [block], "stop_reason": null,
            "usage": {"input_tokens": 5, "output_tokens": output_tokens}}}),
    );
}

fn calls(log: &mut ClaudeLog, message: &str, call: &str, command: &str) {
    says(log, message, &json!({"type": "tool_use", "id": call, "name": "Bash", "input": {"command": command}}), 3);
}

fn returns(log: &mut ClaudeLog, call: &str, content: &Value) {
    let result = json!({"type": "tool_result", "tool_use_id": call, "content": content});
    log.record("user", &json!({"message": {"role": "user", "content": [result]}}));
}

/// A bit of all that a session holds.
pub fn log() -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", 7);
    log.user("Count the boats. All of them.");
    says(&mut log, "msg_a", &json!({"type": "thinking", "thinking": "How many?", "signature": "c2ln"}), 1);
    says(&mut log, "msg_a", &json!({"type": "text", "text": "I will look."}), 9);
    // Two calls at once, answered in the other order, one with a picture.
    calls(&mut log, "msg_b", "toolu_one", "ls");
    calls(&mut log, "msg_b", "toolu_two", "ls -l");
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}});
    returns(&mut log, "toolu_two", &json!([{"type": "text", "text": "seven boats"}, image]));
    returns(&mut log, "toolu_one", &json!("boat"));
    log.record("ai-title", &json!({"aiTitle": "Boats and sails", "timestamp": null}));
    // Ids taken out as secrets: two calls of one id.
    for command in ["echo first", "echo second"] {
        calls(&mut log, "msg_c", "REDACTED", command);
    }
    returns(&mut log, "REDACTED", &json!("first"));
    returns(&mut log, "REDACTED", &json!("second"));
    log.git_commit("1a1a1a1", "Count boats");
    log.record("progress", &json!({"cwd": "/w/boats/sails", "gitBranch": "sails", "version": "2.1.40"}));
    log.record("user", &json!({"timestamp": null, "message": {"role": "user", "content": "Now the sails."}}));
    log.assistant("The sails.");
    // A later line with an earlier time.
    log.record(
        "system",
        &json!({"subtype": "informational", "content": "Hm.", "timestamp": "2026-01-01T00:00:00.000Z"}),
    );
    // A subagent inside the file.
    log.record(
        "user",
        &json!({"isSidechain": true, "parentUuid": null,
        "message": {"role": "user", "content": "Look at the mast."}}),
    );
    log.record(
        "assistant",
        &json!({"isSidechain": true, "message": {"id": "msg_side", "role": "assistant",
        "model": "claude-opus-4-5-20251101", "content": [{"type": "text", "text": "A tall mast."}],
        "usage": {"input_tokens": 2, "output_tokens": 4}}}),
    );
    log.git_commit("2b2b2b2", "Sails");
    let twice = log.lines.last().unwrap().clone();
    log.line(&twice);
    log.record("custom-title", &json!({"customTitle": "Sails"}));
    log.user("Thanks.").assistant("You are welcome.");
    log
}

/// Imports the first bytes of a log, at each of the lengths, then all of it.
fn grown(logs: &Home, path: &Path, whole: &[u8], cuts: &[usize]) -> Vec<String> {
    for cut in cuts {
        fs::write(path, &whole[..*cut]).unwrap();
        logs.import(path);
    }
    fs::write(path, whole).unwrap();
    logs.import(path);
    logs.dump()
}

fn at_once(name: &str, whole: &[u8]) -> Vec<String> {
    let home = Home::new();
    grown(&home, &home.logs().join(name), whole, &[])
}

pub fn assert_growth_is_nothing_new(name: &str, whole: &[u8], cuts: &[usize]) {
    let home = Home::new();
    let dump = grown(&home, &home.logs().join(name), whole, cuts);
    assert_same(&dump, &at_once(name, whole), &format!("imported at {cuts:?} and at once"));
}

pub fn lengths(whole: &[u8]) -> Vec<usize> {
    whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect()
}

#[test]
fn a_log_imported_after_every_record_is_the_log_imported_at_once() {
    let log = log();
    let whole = (log.lines.join("\n") + "\n").into_bytes();
    assert_growth_is_nothing_new(&format!("{}.jsonl", log.session()), &whole, &lengths(&whole));
}

#[test]
fn a_log_imported_at_one_length_is_the_log_imported_at_once() {
    let log = log();
    let whole = (log.lines.join("\n") + "\n").into_bytes();
    let name = format!("{}.jsonl", log.session());
    let expected = at_once(&name, &whole);
    for cut in lengths(&whole) {
        let home = Home::new();
        let dump = grown(&home, &home.logs().join(&name), &whole, &[cut]);
        let last = String::from_utf8_lossy(&whole[..cut]).lines().last().unwrap_or_default().to_owned();
        assert_same(&dump, &expected, &format!("cut behind {last}"));
    }
}

#[test]
fn a_codex_log_imported_after_every_record_is_the_log_imported_at_once() {
    for name in [
        "rollout-2026-06-18T05-00-00-019ed000-0000-7000-8000-000000000142.jsonl",
        "rollout-2025-10-31T19-02-58-11111111-aaaa-4aaa-8aaa-000000000034.jsonl",
        "images.jsonl",
    ] {
        let whole = fs::read(fixture("codex").join(name)).unwrap();
        assert_growth_is_nothing_new(name, &whole, &lengths(&whole));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_log_imported_at_any_lengths_is_the_log_imported_at_once(
        places in proptest::collection::btree_set(0usize..1_000_000, 1..5),
    ) {
        let log = log();
        let whole = (log.lines.join("\n") + "\n").into_bytes();
        let cuts: Vec<usize> = places.iter().map(|place| place * whole.len() / 1_000_000).collect();
        assert_growth_is_nothing_new(&format!("{}.jsonl", log.session()), &whole, &cuts);
    }
}
