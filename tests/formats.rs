//! What the agents log that this version does not know: counted once, listed by `doctor --formats`, and in the logs we know of
//! nothing that is not expected.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cogfs::ingest::{self, Options};
use cogfs::store::{Layout, open_reader, unknown};
use common::{ClaudeLog, World};
use serde_json::json;

/// The kinds that the logs written for tests hold on purpose.
const EXPECTED: &[&str] = &[
    "claude_code: assistant/hum",
    "claude_code: assistant/no message",
    "claude_code: attachment/novelty",
    "claude_code: hologram",
    "claude_code: system/novelty",
    "claude_code: user/tool_result",
    "codex: event_msg/something_new",
    "codex: new_kind",
    "codex: response_item/untyped",
    "codex: unknown",
    "chatgpt: content_type/novelty",
    "claude_ai: content/novelty",
];

/// The kinds of real transcripts that no parser knows yet.
const EXPECTED_REAL: &[&str] = &[];

fn kinds_of(places: &[PathBuf]) -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let options = Options { places: places.to_vec(), dry_run: false };
    ingest::import(&layout, &options, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let kinds = unknown::all(&open_reader(&layout).unwrap()).unwrap();
    kinds.into_iter().map(|k| format!("{}: {}", k.agent, k.kind)).collect()
}

#[track_caller]
fn assert_expected(found: &BTreeSet<String>, expected: &[&str]) {
    let surprises: Vec<&String> = found.iter().filter(|kind| !expected.contains(&kind.as_str())).collect();
    assert!(surprises.is_empty(), "kinds of records that no parser knows: {surprises:#?}");
}

#[test]
fn every_record_of_the_logs_written_for_tests_is_of_a_known_kind_or_expected() {
    let damaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/damaged_logs");
    let found = kinds_of(&[common::demo_logs(), common::fixtures(), damaged]);
    assert_expected(&found, EXPECTED);
    for kind in EXPECTED {
        assert!(found.contains(*kind), "{kind} is expected, and in no log any more");
    }
}

#[test]
fn every_record_of_real_transcripts_is_of_a_known_kind_or_expected() {
    let data = std::env::var_os("COGFS_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let agents = ["claude-code", "codex", "chatgpt", "claude-ai", "cursor/cursor-history/state.vscdb", "antigravity"];
    let places: Vec<PathBuf> = agents.map(|agent| data.join(agent)).into_iter().filter(|p| p.exists()).collect();
    skip_unless!(!places.is_empty(), "no real transcripts (COGFS_TEST_DATA)");
    assert_expected(&kinds_of(&places), EXPECTED_REAL);
}

fn formats(world: &World) -> serde_json::Value {
    world.run(&["doctor", "--formats", "--json"]).exits(0).json()
}

#[test]
fn a_record_of_an_unknown_kind_is_counted_once_whatever_is_imported_again() {
    let world = World::new();
    let mut log = ClaudeLog::new("shop", 1);
    log.user("hello").record("hologram", &json!({})).assistant("hi").record("hologram", &json!({}));
    let path = log.write(&world.logs());
    world.import(&[&world.logs()]);
    let first = formats(&world);
    let kind = &first["unknown_kinds"][0];
    assert_eq!((&kind["kind"], &kind["count"]), (&json!("hologram"), &json!(2)), "{first:#}");
    assert_eq!((&kind["agent"], &kind["agent_version"]), (&json!("claude_code"), &json!("2.1.37")));
    assert_eq!(kind["example"], format!("{}:2", path.display()));

    world.import(&[&world.logs()]);
    assert_eq!(formats(&world), first, "imported again");
    // A copy elsewhere holds the same records.
    let copy = world.root().join("copy.jsonl");
    std::fs::copy(&path, &copy).unwrap();
    world.import(&[&copy]);
    assert_eq!(formats(&world), first, "a copy imported");

    log.user("more").record("hologram", &json!({"new": true}));
    log.append(&world.logs(), 4);
    world.import(&[&world.logs()]);
    assert_eq!(formats(&world)["unknown_kinds"][0]["count"], 3, "only the new record is added");
}

#[test]
fn what_a_log_calls_its_records_cannot_steer_the_terminal_and_is_no_damage() {
    let world = World::new();
    let mut log = ClaudeLog::new("shop", 1);
    log.user("hello").record("x\u{1b}[2Jy\nz", &json!({})).record(&"long".repeat(1000), &json!({}));
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let shown = world.run(&["doctor", "--formats"]).exits(0).stdout;
    assert!(shown.contains("x\\u{1b}[2Jy\\u{a}z") && !shown.contains('\u{1b}'), "{shown}");
    assert!(shown.contains("Claude Code 2.1.37") && shown.contains("raw.jsonl"), "{shown}");
    assert!(shown.lines().all(|line| line.len() < 400), "{shown}");
    let advice = world.run(&["doctor", "--json"]).json();
    let formats = advice["findings"].as_array().unwrap().iter().find(|f| f["check"] == "formats").expect("a finding");
    assert_eq!(formats["level"], "advice", "{formats}");
}

#[test]
fn logs_with_damaged_lines_are_listed() {
    let world = World::new();
    let mut log = ClaudeLog::new("shop", 1);
    log.user("hello").line("{\"type\": broken").user("there");
    let path = log.write(&world.logs());
    world.try_import(&[&world.logs()]).exits(3);
    let found = formats(&world);
    assert_eq!(found["damaged_files"][0]["path"], path.display().to_string(), "{found:#}");
    assert_eq!(found["damaged_files"][0]["skipped"], 1);
    assert!(world.run(&["doctor", "--formats"]).exits(0).stdout.contains(&path.display().to_string()));
}

#[test]
fn without_a_database_there_is_nothing_to_list() {
    let world = World::new();
    assert_eq!(formats(&world)["unknown_kinds"], json!([]));
    assert!(!world.home().exists(), "asking makes nothing");
}
