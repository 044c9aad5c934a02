//! What Gemini CLI and Copilot CLI do that others do not: documents written anew, messages said again, folders by their hash.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::common::{self, ClaudeLog};
use super::growth::{assert_growth_is_nothing_new, lengths};
use super::{Home, assert_same, fixture};

const HARBOUR: &str = "b0a70001-0000-4000-8000-000000000001";
const FEED: &str = "SELECT coalesce(max(seq), 0) FROM changes";
const PROJECTS: &str = "SELECT name FROM projects ORDER BY name";

fn recording() -> PathBuf {
    fixture("gemini/tmp/harbour/chats/session-2026-09-01T09-00-b0a70001.jsonl")
}

fn events() -> PathBuf {
    fixture("copilot/session-state/0c0a0001-0000-4000-8000-000000000001/events.jsonl")
}

fn document() -> Value {
    let files = common::files_named(&fixture("gemini/tmp"), |name| name.ends_with("c0ffee01.json"));
    common::json(&files[0])
}

/// Writes a document as Gemini CLI does.
fn rewrite(path: &Path, document: &Value) {
    fs::write(path, serde_json::to_string_pretty(document).unwrap()).unwrap();
}

fn first_messages(document: &Value, count: usize) -> Value {
    let mut document = document.clone();
    document["messages"].as_array_mut().unwrap().truncate(count);
    document
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_log_imported_after_every_record_is_the_log_imported_at_once() {
    for path in [recording(), events()] {
        let whole = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_growth_is_nothing_new(name, &whole, &lengths(&whole));
        for cut in lengths(&whole) {
            assert_growth_is_nothing_new(name, &whole, &[cut]);
        }
    }
}

#[test]
fn a_second_import_changes_nothing() {
    for dir in ["gemini", "copilot"] {
        let home = Home::with(&[&fixture(dir)]);
        let (before, feed) = (home.dump(), home.count(FEED));
        home.import(&fixture(dir));
        // From elsewhere all of it is read again.
        for path in common::files_named(&fixture(dir), |name| name.ends_with(".jsonl") || name.starts_with("session-"))
        {
            let copy = home.logs().join(path.file_name().unwrap());
            fs::copy(&path, &copy).unwrap();
            if !path.to_string_lossy().contains("mast-1") {
                home.import(&copy);
            }
        }
        let without_paths = |dump: Vec<String>| dump.into_iter().filter(|l| !l.contains("'path'")).collect::<Vec<_>>();
        assert_same(&without_paths(home.dump()), &without_paths(before), dir);
        assert_eq!(home.count(FEED), feed, "{dir}: the feed");
    }
}

#[test]
fn a_message_that_is_said_again_is_one_turn_with_the_last_contents() {
    let home = Home::with(&[&recording()]);
    let looks = "SELECT count(*) FROM turns WHERE text = 'I will look at the moorings.'";
    assert_eq!(home.count(looks), 1);
    assert_eq!(home.texts("SELECT tool_output FROM turns WHERE tool_call_id = 'list-1'"), ["sloop\nketch\nyawl"]);
    assert_eq!(home.raw(HARBOUR).matches("I will look at the moorings.").count(), 4, "each record stays");
    let rewound = "SELECT count(*) FROM turns WHERE text LIKE '%yawl red%' OR label = 'rewind'";
    assert_eq!(home.count(rewound), 2, "what was rewound stays, and it is said");
}

#[test]
fn pictures_commits_and_costs_are_found() {
    let home = Home::with(&[&recording()]);
    assert_eq!(home.count("SELECT count(*) FROM visuals"), 2);
    assert_eq!(home.texts("SELECT git_hash FROM cognitive_commits WHERE git_hash IS NOT NULL"), ["5ea5ea1"]);
    assert_eq!(home.count("SELECT sum(tokens_cache_read) FROM sessions"), 400 + 1000 + 1100 + 1200);
    assert_eq!(home.texts(PROJECTS), ["harbour"]);
    let home = Home::with(&[&events()]);
    assert_eq!(home.count("SELECT count(*) FROM visuals"), 2);
    assert_eq!(home.texts("SELECT git_hash FROM cognitive_commits WHERE git_hash IS NOT NULL"), ["c0ffee1"]);
    assert_eq!(home.count("SELECT sum(tokens_output) FROM sessions"), 210 + 9 + 5);
    assert_eq!(home.texts(PROJECTS), ["bakery"]);
}

#[test]
fn subagents_stand_under_the_call_that_started_them() {
    let parent = "SELECT p.native_id FROM sessions s JOIN sessions p ON p.row = s.parent_row";
    let whole = Home::with(&[&fixture("gemini")]);
    assert_eq!(whole.texts(parent), [HARBOUR]);
    let mast = fixture("gemini/tmp/harbour/chats").join(HARBOUR).join("mast-1.jsonl");
    let child_first = Home::with(&[&mast, &recording()]);
    assert_eq!(child_first.texts(parent), [HARBOUR]);
    assert_eq!(Home::with(&[&events()]).texts(parent), ["0c0a0001-0000-4000-8000-000000000001"]);
}

#[test]
fn a_document_that_is_written_anew_adds_what_is_new() {
    let document = document();
    let home = Home::new();
    let path = home.logs().join("session-2026-01-02T10-00-c0ffee01.json");
    for count in 1..=3 {
        rewrite(&path, &first_messages(&document, count));
        home.import(&path);
    }
    // Changed in place: its answer is longer now.
    let mut changed = document.clone();
    changed["messages"][2]["content"] = json!("It is lit, and has been all night.");
    changed["lastUpdated"] = json!("2026-01-02T10:02:00.000Z");
    rewrite(&path, &changed);
    let summary = home.import(&path);
    assert_eq!(summary.new_turns, 0);
    let said = home.texts("SELECT text FROM turns WHERE text <> '' ORDER BY row");
    assert_eq!(said, ["Is the lamp lit?", "I look.", "It is lit, and has been all night."]);
    assert_eq!(home.count("SELECT count(*) FROM turns"), 4);
    // A header for each writing whose facts differ, three messages, and the changed one.
    assert_eq!(home.raw("c0ffee01-0000-4000-8000-000000000002").lines().count(), 2 + 3 + 1);
    for word in ["\"all night\"", "lamp"] {
        assert_eq!(home.found(word), 1 + i64::from(word == "lamp"), "a search for {word}");
    }
    let (before, feed) = (home.dump(), home.count(FEED));
    rewrite(&path, &changed);
    home.import(&path);
    assert_same(&home.dump(), &before, "written anew and the same");
    assert_eq!(home.count(FEED), feed);
}

#[test]
fn a_session_in_a_document_and_in_lines_is_one() {
    let document = document();
    let home = Home::new();
    let path = home.logs().join("session-2026-01-02T10-00-c0ffee01.json");
    rewrite(&path, &document);
    home.import(&path);
    let turns = home.texts("SELECT hex(id) FROM turns ORDER BY row");
    let mut header = document.clone();
    header.as_object_mut().unwrap().remove("messages");
    let mut lines = vec![header];
    lines.extend(document["messages"].as_array().unwrap().iter().cloned());
    lines.push(json!({"id": "d4", "timestamp": "2026-01-03T08:00:00.000Z", "type": "user", "content": "Put it out."}));
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path.with_extension("jsonl"), text).unwrap();
    home.import(&home.logs());
    let after = home.texts("SELECT hex(id) FROM turns ORDER BY row");
    assert_eq!(after[..turns.len()], turns);
    assert_eq!((after.len(), home.count("SELECT count(*) FROM sessions")), (turns.len() + 1, 1));
}

#[test]
fn a_folder_that_is_known_by_its_hash_is_found_when_it_is_known() {
    let mut boats = ClaudeLog::new("boats", 1);
    boats.user("Count the boats.");
    let mut document = document();
    document["projectHash"] = json!(sha256("/w/boats"));
    let unknown = format!("gemini-{}", &sha256("/w/boats")[..8]);
    for folder_first in [true, false] {
        let home = Home::new();
        let path = home.logs().join("session-2026-01-02T10-00-c0ffee01.json");
        rewrite(&path, &document);
        if folder_first {
            home.import(&boats.write(&home.logs()));
            home.import(&path);
        } else {
            home.import(&path);
            assert_eq!(home.texts(PROJECTS), [unknown.as_str()]);
            home.import(&boats.write(&home.logs()));
        }
        assert_eq!(home.texts(PROJECTS), ["boats"], "the folder first: {folder_first}");
        assert_eq!(home.count("SELECT count(DISTINCT project_row) FROM cognitive_commits"), 1);
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), 2);
    }
}

#[test]
fn other_files_of_gemini_are_passed_by() {
    let summary = Home::new().import(&fixture("gemini"));
    assert_eq!((summary.files_read, summary.other_files), (3, 3), "projects.json, logs.json and a checkpoint");
    assert!(summary.skipped.is_empty() && summary.unknown.is_empty());
}
