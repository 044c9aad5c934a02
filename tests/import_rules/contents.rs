//! What is counted, kept once and found: tokens, pictures, words, results, turns by the ten thousand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use super::common::world::databases;
use super::common::{ClaudeLog, World, files, wait_until};
use super::{Home, assert_same, fixture};

const TOKENS: &str =
    "SELECT sum(tokens_input) || ' ' || sum(tokens_output) || ' ' || sum(tokens_cache_read) FROM sessions";

#[test]
fn a_message_is_counted_once_with_its_largest_numbers() {
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Count.");
    for (input, output) in [(5, 1), (5, 9), (4, 8)] {
        log.record(
            "assistant",
            &json!({"requestId": "req_1", "message": {"id": "msg_1", "role": "assistant",
            "model": "claude-opus-4-5-20251101", "content": [{"type": "text", "text": format!("{output} boats")}],
            "usage": {"input_tokens": input, "output_tokens": output, "cache_read_input_tokens": 100}}}),
        );
    }
    let home = Home::new();
    let path = log.write(&home.logs());
    home.import(&path);
    assert_eq!(home.texts(TOKENS), ["5 9 100"]);
    // Once more, from another file.
    let copy = home.logs().join("copy.jsonl");
    fs::copy(&path, &copy).unwrap();
    home.import(&copy);
    assert_eq!(home.texts(TOKENS), ["5 9 100"]);
}

#[test]
fn codex_totals_count_up_and_hold_once() {
    let id = "019ed000-0000-7000-8000-00000000beef";
    let mut text = json!({"timestamp": "2026-06-18T05:00:00.000Z", "type": "session_meta",
        "payload": {"id": id, "timestamp": "2026-06-18T05:00:00.000Z", "cwd": "/w/app", "originator": "codex-tui",
        "cli_version": "0.142.3", "source": "cli"}})
    .to_string();
    for (second, input, cached, output) in [(1, 100, 40, 10), (2, 100, 40, 10), (3, 350, 240, 25)] {
        let time = format!("2026-06-18T05:00:0{second}.000Z");
        let usage = json!({"input_tokens": input, "cached_input_tokens": cached, "output_tokens": output,
            "reasoning_output_tokens": 0, "total_tokens": input + output});
        let said = json!({"timestamp": time, "type": "response_item", "payload": {"type": "message",
            "role": "assistant", "content": [{"type": "output_text", "text": format!("Step {second}.")}]}});
        let count = json!({"timestamp": time, "type": "event_msg", "payload": {"type": "token_count",
            "info": {"total_token_usage": usage, "last_token_usage": usage}}});
        write!(text, "\n{said}\n{count}").unwrap();
    }
    let home = Home::new();
    let path = home.logs().join(format!("rollout-2026-06-18T05-00-00-{id}.jsonl"));
    fs::write(&path, text + "\n").unwrap();
    home.import(&path);
    // Codex counts cached input as input; here each token is counted in one place.
    assert_eq!(home.texts(TOKENS), ["110 25 240"]);
}

#[test]
fn a_picture_shown_twice_is_one_private_file() {
    let picture = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}});
    let mut log = ClaudeLog::new("boats", 1);
    for text in ["Look at this.", "Look again."] {
        log.record("user", &json!({"message": {"role": "user", "content": [{"type": "text", "text": text}, image]}}));
    }
    let home = Home::new();
    home.import(&log.write(&home.logs()));
    assert_eq!(home.count("SELECT count(*) FROM visuals"), 2);
    assert_eq!(home.count("SELECT count(DISTINCT file_name) FROM visuals"), 2);
    let blobs = files(&home.layout().blobs());
    assert_eq!(blobs.len(), 1, "{blobs:?}");
    assert_eq!(fs::metadata(&blobs[0]).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(home.layout().database()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(home.count("SELECT count(*) FROM visuals WHERE sha256 = (SELECT min(sha256) FROM visuals)"), 2);
    let home = Home::with(&[&fixture("claude_code/images")]);
    assert!(home.count("SELECT count(*) FROM visuals") > 0);
}

#[test]
fn a_session_of_more_turns_than_a_part_holds_goes_on_in_the_next() {
    const TURNS: usize = 66_000;
    let session = "00000001-0000-4000-8000-000000000001";
    let mut text = String::new();
    for n in 0..TURNS {
        let second = n % 60;
        writeln!(
            text,
            r#"{{"type":"user","sessionId":"{session}","cwd":"/w/a","uuid":"{n:08x}-1111-4000-8000-000000000001","timestamp":"2026-05-01T10:00:{second:02}.000Z","message":{{"role":"user","content":"word{n}"}}}}"#
        )
        .unwrap();
    }
    let home = Home::new();
    let path = home.logs().join(format!("{session}.jsonl"));
    fs::write(&path, &text).unwrap();
    home.import(&path);
    assert_eq!(home.texts("SELECT part || ' ' || turns FROM sessions ORDER BY part"), ["1 65535", "2 465"]);
    for n in [0, 65_534, 65_535, TURNS - 1] {
        assert_eq!(home.count(&format!("SELECT count(*) FROM turns WHERE text = 'word{n}'")), 1, "word{n}");
    }
    assert_eq!(home.raw(session), text);
}

#[test]
fn calls_that_share_one_id_keep_all_their_results() {
    let mut log = ClaudeLog::new("boats", 1);
    let call = |log: &mut ClaudeLog, n: u32| {
        let block =
            json!({"type": "tool_use", "id": "REDACTED", "name": "Bash", "input": {"command": format!("run {n}")}});
        log.record("assistant", &json!({"message": {"id": format!("msg_{n}"), "role": "assistant",
            "model": "claude-opus-4-5-20251101", "content": [block], "usage": {"input_tokens": 1, "output_tokens": 1}}}));
    };
    let result = |log: &mut ClaudeLog, output: &str| {
        let block = json!({"type": "tool_result", "tool_use_id": "REDACTED", "content": output});
        log.record("user", &json!({"message": {"role": "user", "content": [block]}}));
    };
    call(&mut log, 1);
    result(&mut log, "out 1");
    call(&mut log, 2);
    call(&mut log, 3);
    result(&mut log, "out 2");
    result(&mut log, "out 3");
    call(&mut log, 4);
    result(&mut log, "out 3");
    // One more than there are calls.
    result(&mut log, "out 5");
    let home = Home::new();
    let path = log.write(&home.logs());
    home.import(&path);
    let pairs = home.texts("SELECT tool_input || ' ' || tool_output FROM turns WHERE tool_name = 'Bash' ORDER BY row");
    let wanted = [(1, "out 1"), (2, "out 2"), (3, "out 3"), (4, "out 3")];
    assert_eq!(pairs, wanted.map(|(n, out)| format!(r#"{{"command":"run {n}"}} {out}"#)));
    assert_eq!(home.texts("SELECT tool_output FROM turns WHERE tool_name = 'result'"), ["out 5"]);
}

#[test]
fn every_word_is_found_also_of_a_result_that_came_later() {
    let mut log = super::growth::log();
    log.bash("echo", "zebrafish Überfahrt");
    let home = Home::new();
    let mut begun = log.clone();
    begun.lines.truncate(log.lines.len() - 1);
    let path = begun.write(&home.logs());
    home.import(&path);
    let found = |word: &str| home.found(&format!("\"{word}\""));
    assert_eq!(found("zebrafish"), 0);
    log.write(&home.logs());
    home.import(&path);
    assert_eq!((found("zebrafish"), found("uberfahrt")), (1, 1));
    let all =
        home.texts("SELECT text || ' ' || coalesce(tool_input, '') || ' ' || coalesce(tool_output, '') FROM turns");
    let words: BTreeSet<String> = all
        .iter()
        .flat_map(|t| t.split(|c: char| !c.is_alphanumeric()))
        .filter(|w| !w.is_empty())
        .map(str::to_owned)
        .collect();
    assert!(words.len() > 30, "{words:?}");
    for word in words {
        assert!(found(&word) > 0, "{word:?} is not found");
    }
}

/// A log of some 40 MB, with git commits, results and prompts.
fn large_log() -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", 1);
    let filler = "The tide table says otherwise. ".repeat(2_000);
    for n in 0..300 {
        log.user(&format!("Prompt {n}.")).bash(&format!("cat {n}"), &format!("{n} {filler}")).assistant("Read.");
        if n % 50 == 49 {
            log.git_commit(&format!("{n:07x}"), &format!("Step {n}"));
        }
    }
    log
}

#[test]
fn an_import_that_was_killed_is_finished_by_the_next() {
    let log = large_log();
    let logs = Home::new();
    let path = log.write(&logs.logs());
    assert!(fs::metadata(&path).unwrap().len() > 36_000_000);
    let whole = "SELECT count(*) FROM sources WHERE size > 0";
    // On a busy machine the import may be done before the signal: then once more.
    let killed = (0..5).map(|_| killed_import(&path)).find(|home| home.count(whole) == 0);
    let home = killed.expect("no import was killed in its middle");
    let begun = home.count("SELECT count(*) FROM turns");
    home.import(&path);
    assert_eq!(home.count(whole), 1);
    assert!(home.count("SELECT count(*) FROM turns") > begun && begun > 0, "{begun} turns were there already");
    assert_same(&home.dump(), &Home::with(&[&path]).dump(), "killed and finished, and at once");
}

/// What is left of an import that was killed as soon as its first transaction was committed.
fn killed_import(path: &Path) -> Home {
    let world = World::new();
    let mut child = world.cogfs(&["import"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut reader = None;
    wait_until(Duration::from_secs(60), "the database is made", || {
        reader = databases(&world.home()).first().map(|db| rusqlite::Connection::open(db).unwrap());
        reader.as_ref().is_some_and(|conn| conn.prepare("SELECT count(*) FROM sources").is_ok())
    });
    let reader = reader.unwrap();
    let sources = || reader.query_row("SELECT count(*) FROM sources", [], |r| r.get::<_, i64>(0)).unwrap_or(0);
    // Without a pause: the second half is imported in a moment.
    while sources() == 0 && child.try_wait().unwrap().is_none() {}
    child.kill().unwrap();
    child.wait().unwrap();
    drop(reader);
    let home = Home::new();
    fs::rename(databases(&world.home())[0].parent().unwrap(), home.layout().dir()).unwrap();
    home
}
