//! Histories that stand in several files: forks, resumed copies, renamed copies, replaced files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::common::ClaudeLog;
use super::{Home, assert_same, fixture};

const DUPLICATES: &str =
    "SELECT count(*) FROM (SELECT 1 FROM turns GROUP BY text, tool_input, tool_output HAVING count(*) > 1)";
const ORPHANS: &str = "SELECT count(*) FROM turns WHERE tool_name = 'result'";

/// The lines of a log in another session's file, with other record ids if wanted.
fn copied(lines: &[String], from: &ClaudeLog, into: &ClaudeLog, new_ids: bool) -> Vec<String> {
    let rewrite = |line: &String| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["sessionId"] = into.session().into();
        let text = record.to_string();
        if new_ids { text.replace(&from.session()[..23], &into.session()[..23]) } else { text }
    };
    lines.iter().map(rewrite).collect()
}

/// A log whose first records are those of another.
fn copy_of(original: &ClaudeLog, number: u32, new_ids: bool) -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", number);
    let lines = copied(&original.lines, original, &log, new_ids);
    for line in lines {
        log.line(&line);
    }
    log
}

fn original() -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Count the boats.").bash("ls", "one").user("continue").bash("ls", "two");
    log.git_commit("1a1a1a1", "Count boats").user("continue").assistant("Counted.");
    log
}

fn written(home: &Home, log: &ClaudeLog) -> PathBuf {
    log.write(&home.logs())
}

fn both_orders(first: &ClaudeLog, second: &ClaudeLog, check: impl Fn(&Home)) {
    for logs in [[first, second], [second, first]] {
        let home = Home::new();
        for log in logs {
            let path = written(&home, log);
            home.import(&path);
        }
        check(&home);
        for log in logs {
            assert_eq!(
                home.raw(log.session()).lines().collect::<Vec<_>>(),
                log.lines,
                "the records of {}",
                log.session()
            );
        }
    }
}

#[test]
fn a_fork_and_its_original_hold_each_turn_once_whatever_comes_first() {
    let (one, two) = ("20000000-0000-4000-8000-000000000002", "21000000-0000-4000-8000-000000000002");
    for names in [[one, two], [two, one]] {
        let home = Home::new();
        for name in names {
            let path = fixture("claude_code/fork").join(format!("{name}.jsonl"));
            home.import(&path);
            assert_eq!(home.raw(name).trim_end(), fs::read_to_string(&path).unwrap().trim_end());
        }
        assert_eq!(home.count("SELECT count(*) FROM turns"), 9);
        assert_eq!(home.count(DUPLICATES), 0);
        assert_eq!(home.count("SELECT sum(n) FROM (SELECT count(*) n FROM message_usage)"), 4);
    }
}

#[test]
fn a_git_commit_in_a_forked_history_makes_one_commit() {
    let original = original();
    let mut fork = copy_of(&original, 2, false);
    fork.user("Paint them.").assistant("Painted.");
    both_orders(&original, &fork, |home| {
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits WHERE git_hash IS NOT NULL"), 1);
        assert_eq!(home.count("SELECT count(*) FROM git_commits"), 1);
        assert_eq!(home.count("SELECT count(*) FROM turns"), 9);
        assert_eq!(home.count(ORPHANS), 0);
        assert_eq!(home.count("SELECT sum(tokens_output) FROM sessions"), 5 * 7);
    });
}

#[test]
fn a_prompt_of_a_fork_is_kept_though_the_original_says_the_same_elsewhere() {
    let original = original();
    // The fork leaves the original behind its first answer, and goes on with words that both use.
    let mut early = original.clone();
    early.lines.truncate(3);
    for new_ids in [false, true] {
        let mut fork = copy_of(&early, 2, new_ids);
        fork.user("continue").assistant("Something else.").user("continue").assistant("And more.");
        let home = Home::new();
        for log in [&original, &fork] {
            home.import(&written(&home, log));
        }
        let prompts = "SELECT count(*) FROM turns WHERE text = 'continue'";
        assert_eq!(home.count(prompts), 4, "two of the original, two of the fork (new ids: {new_ids})");
        assert_eq!(home.count("SELECT count(*) FROM turns"), 7 + 4);
    }
}

#[test]
fn a_resumed_copy_with_new_ids_adds_only_what_is_new_whatever_comes_first() {
    let (one, two) = ("40000000-0000-4000-8000-000000000004", "41000000-0000-4000-8000-000000000004");
    for names in [[one, two], [two, one]] {
        let home = Home::new();
        for name in names {
            home.import(&fixture("claude_code/resume-new-uuids").join(format!("{name}.jsonl")));
        }
        assert_eq!(home.count(DUPLICATES), 0);
        assert_eq!(home.count(ORPHANS), 0);
        let said = home.texts("SELECT text FROM turns WHERE text <> '' ORDER BY at");
        assert_eq!(said, ["Draw the dial.", "Drawn.", "Make it rounder.", "Rounder now."]);
    }
}

#[test]
fn equal_calls_of_a_resumed_copy_keep_their_own_results() {
    let original = original();
    let mut copy = copy_of(&original, 2, true);
    copy.user("continue").assistant("Done.");
    both_orders(&original, &copy, |home| {
        assert_eq!(home.count(ORPHANS), 0);
        assert_eq!(home.count("SELECT count(*) FROM turns"), 7 + 2);
        assert_eq!(
            home.texts("SELECT tool_output FROM turns WHERE tool_input LIKE '%ls%' ORDER BY at"),
            ["one", "two"]
        );
    });
}

#[test]
fn a_copy_of_a_copy_adds_only_what_is_new() {
    let first = original();
    let mut second = copy_of(&first, 2, true);
    second.user("Paint them.").assistant("Painted.");
    let mut third = copy_of(&second, 3, true);
    third.user("Sell them.").assistant("Sold.");
    let home = Home::new();
    for log in [&first, &second, &third] {
        home.import(&written(&home, log));
    }
    assert_eq!(home.count("SELECT count(*) FROM turns"), 7 + 2 + 2);
    assert_eq!(home.count("SELECT count(*) FROM turns WHERE text = 'Paint them.'"), 1);
}

#[test]
fn a_copy_imported_while_it_is_written_adds_only_what_is_new() {
    let original = original();
    for new_ids in [false, true] {
        let mut copy = copy_of(&original, 2, new_ids);
        copy.user("Paint them.").bash("ls", "three");
        // Behind its first prompt alone, a copy may still be a session of its own.
        for cut in if new_ids { 2 } else { 1 }..copy.lines.len() {
            let home = Home::new();
            home.import(&written(&home, &original));
            let mut begun = copy.clone();
            begun.lines.truncate(cut);
            home.import(&written(&home, &begun));
            home.import(&written(&home, &copy));
            assert_eq!(home.count(ORPHANS), 0, "cut at {cut}, new ids: {new_ids}");
            assert_eq!(home.count("SELECT count(*) FROM turns"), 7 + 2, "cut at {cut}, new ids: {new_ids}");
        }
    }
}

fn write(home: &Home, name: &str, lines: &[String]) -> PathBuf {
    let path = home.logs().join(name);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

#[test]
fn two_copies_of_a_session_are_their_union() {
    let log = super::growth::log();
    let alone = Home::new();
    let expected_from = write(&alone, "whole.jsonl", &log.lines);
    alone.import(&expected_from);
    let expected = alone.dump();
    for half in [5, 12, 17, log.lines.len() - 2] {
        let home = Home::new();
        let short = write(&home, "2026-01-01-copy.jsonl", &log.lines[..half]);
        let long = write(&home, "2026-01-02-copy.jsonl", &log.lines);
        home.import(&short);
        home.import(&long);
        assert_same(&home.dump(), &expected, &format!("{half} records, then all"));
        let other = Home::new();
        other.import(&long);
        let before = other.dump();
        other.import(&short);
        assert_same(&other.dump(), &before, &format!("all, then {half} records again"));
        // The shorter one grows too.
        write(&home, "2026-01-01-copy.jsonl", &log.lines[..half + 2]);
        home.import(&short);
        assert_same(&home.dump(), &expected, &format!("the shorter copy grew from {half} records"));
    }
}

#[test]
fn importing_twice_changes_nothing() {
    for place in ["claude_code", "codex"] {
        let home = Home::with(&[&fixture(place)]);
        let before = home.dump();
        // As if they were new: the files are known no more.
        let conn = rusqlite::Connection::open(home.layout().database()).unwrap();
        conn.execute("DELETE FROM sources", []).unwrap();
        drop(conn);
        let again = home.import(&fixture(place));
        assert_eq!(again.new_turns, 0, "{place}");
        assert_same(&home.dump(), &before, place);
    }
}

/// A call whose record is there twice, once with its id damaged: the result is that of the call, in the first import as in any other.
#[test]
fn a_call_that_comes_again_under_another_id_has_its_result_at_once() {
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Count the boats.").bash("ls", "one two");
    let call = log.lines.iter().position(|line| line.contains("tool_use\"")).unwrap();
    let mut damaged: Value = serde_json::from_str(&log.lines[call]).unwrap();
    damaged["message"]["content"][0]["id"] = json!(["damaged"]);
    log.lines.insert(call, damaged.to_string());
    let home = Home::new();
    home.import(&written(&home, &log));
    assert_eq!(home.count("SELECT count(*) FROM turns WHERE tool_output = 'one two'"), 1);
    assert_eq!(home.count(ORPHANS), 0);
    let before = home.dump();
    home.import(&write(&home, "copy.jsonl", &log.lines));
    assert_same(&home.dump(), &before, "the same log at another path");
}

/// A prompt of a copied history that has the id of the answer behind it, by damage: a copy it stays when the file is read again.
#[test]
fn a_copied_prompt_with_the_id_of_another_record_is_no_new_one_the_second_time() {
    let mut original = ClaudeLog::new("boats", 1);
    original.user("Choose a colour.").assistant("Blue.").user("Why?").assistant("The sea.");
    let mut fork = copy_of(&original, 2, false);
    fork.user("No, green.").assistant("Green.");
    let uuid = |line: &String| serde_json::from_str::<Value>(line).unwrap()["uuid"].as_str().unwrap().to_owned();
    let (prompt, answer) = (uuid(&fork.lines[2]), uuid(&fork.lines[3]));
    fork.lines[2] = fork.lines[2].replace(&prompt, &answer);
    // The answer stands in the fork alone.
    original.lines.truncate(3);
    let home = Home::new();
    home.import(&written(&home, &original));
    home.import(&written(&home, &fork));
    let before = home.dump();
    home.import(&write(&home, "copy.jsonl", &fork.lines));
    assert_same(&home.dump(), &before, "the same log at another path");
    assert!(["Why?", "The sea.", "Green."].into_iter().all(|text| has(&home, text)));
}

fn has(home: &Home, text: &str) -> bool {
    home.count(&format!("SELECT count(*) FROM turns WHERE text = '{text}'")) == 1
}

#[test]
fn a_replaced_or_truncated_file_loses_nothing() {
    let mut log = ClaudeLog::new("boats", 1);
    log.user("First.").assistant("One.").user("Second.").assistant("Two.");
    let home = Home::new();
    let path = written(&home, &log);
    home.import(&path);
    let before = home.dump();
    // Truncated.
    fs::write(&path, log.lines[..2].join("\n") + "\n").unwrap();
    home.import(&path);
    assert_same(&home.dump(), &before, "truncated");
    // Replaced by the same session with another end.
    let mut other = log.clone();
    other.lines.truncate(2);
    other.record(
        "user",
        &json!({"uuid": "eeeeeeee-0000-4000-8000-000000000001",
        "message": {"role": "user", "content": "Instead."}}),
    );
    fs::write(&path, other.lines.join("\n") + "\n").unwrap();
    home.import(&path);
    assert!(["First.", "One.", "Second.", "Two.", "Instead."].into_iter().all(|text| has(&home, text)));
    // Gone.
    fs::remove_file(&path).unwrap();
    let dir: &Path = &home.logs();
    home.import(dir);
    assert!(has(&home, "Second."));
}
