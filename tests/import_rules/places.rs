//! Where sessions are put: cut by git commits, met by equal ones, in the project of their folder or remote.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::common::ClaudeLog;
use super::{Home, assert_same, fixture};

const IDS: &str =
    "SELECT hex(id) FROM projects UNION SELECT hex(id) FROM cognitive_commits UNION SELECT hex(id) FROM sessions
    UNION SELECT hex(id) FROM turns UNION SELECT hex(id) FROM visuals";

fn write(home: &Home, log: &ClaudeLog) -> PathBuf {
    log.write(&home.logs())
}

#[test]
fn three_git_commits_make_three_commits_and_what_follows_a_fourth() {
    let mut log = ClaudeLog::new("boats", 1);
    for hash in ["1a1a1a1", "2b2b2b2", "3c3c3c3"] {
        log.user("More.").git_commit(hash, "More");
    }
    for (more, commits) in [(false, 3_i64), (true, 4)] {
        if more {
            log.user("And then?").assistant("Nothing.");
        }
        let home = Home::new();
        home.import(&write(&home, &log));
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), commits);
        let hashes = home.texts("SELECT git_hash FROM cognitive_commits WHERE git_hash IS NOT NULL ORDER BY row");
        assert_eq!(hashes, ["1a1a1a1", "2b2b2b2", "3c3c3c3"]);
        assert_eq!(home.count("SELECT count(*) FROM sessions"), commits);
    }
}

/// A session that starts `minutes` after its hour, works for some, and prints a hash.
fn session(number: u32, start_minute: u32, minutes: u32, hash: &str) -> ClaudeLog {
    let mut log = ClaudeLog::new("boats", number);
    for (step, text) in [(0, "Begin."), (minutes, "End.")] {
        let time = format!("2026-05-01T10:{:02}:{:02}.000Z", start_minute + step, number);
        log.record(
            "user",
            &json!({"timestamp": time, "message": {"role": "user", "content": format!("{text} {number}")}}),
        );
    }
    log.git_commit(hash, "Together");
    for at in [2, 3] {
        let mut record: serde_json::Value = serde_json::from_str(&log.lines[at]).unwrap();
        record["timestamp"] = format!("2026-05-01T10:{:02}:{:02}.500Z", start_minute + minutes, number).into();
        log.lines[at] = record.to_string();
    }
    log
}

#[test]
fn sessions_that_print_one_hash_are_one_commit_whatever_the_order() {
    // The second and third overlap; abbreviations of a hash are that hash.
    let logs = [session(1, 0, 5, "abcdef1"), session(2, 10, 20, "abcdef12"), session(3, 15, 1, "abcdef1")];
    let mut seen: Vec<Vec<String>> = Vec::new();
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let home = Home::new();
        for at in order {
            home.import(&write(&home, &logs[at]));
        }
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), 1, "{order:?}");
        assert_eq!(home.count("SELECT count(DISTINCT native_id) FROM sessions WHERE commit_row IS NOT NULL"), 3);
        assert_eq!(home.count("SELECT parallel FROM cognitive_commits"), 1, "{order:?}");
        seen.push(home.texts(IDS));
    }
    assert!(seen.iter().all(|ids| *ids == seen[0]), "the ids depend on the order");
}

#[test]
fn sessions_of_one_hash_that_follow_each_other_are_not_parallel() {
    let home = Home::new();
    for log in [session(1, 0, 5, "abcdef1"), session(2, 10, 20, "abcdef1")] {
        home.import(&write(&home, &log));
    }
    assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), 1);
    assert_eq!(home.count("SELECT parallel FROM cognitive_commits"), 0);
}

/// A Codex log of a folder with a remote, with one git commit.
fn codex(home: &Home, number: u32, cwd: &str, hash: &str) -> PathBuf {
    let id = format!("019ed000-0000-7000-8000-{number:012x}");
    let time = |second: u32| format!("2026-06-18T05:00:{second:02}.000Z");
    let call = format!("call_{number:024x}");
    let lines = [
        json!({"timestamp": time(0), "type": "session_meta", "payload": {"id": id, "timestamp": time(0), "cwd": cwd,
            "originator": "codex-tui", "cli_version": "0.142.3", "source": "cli",
            "git": {"branch": "main", "repository_url": "git@github.com:ada/harbour.git"}}}),
        json!({"timestamp": time(1), "type": "response_item", "payload": {"type": "message", "role": "user",
            "content": [{"type": "input_text", "text": format!("Do it {number}.")}]}}),
        json!({"timestamp": time(1), "type": "response_item", "payload": {"type": "custom_tool_call", "name": "apply_patch",
            "input": format!("*** Begin Patch\n*** Add File: src/{number}.rs\n+x\n*** Update File: src/a.rs\n*** End Patch"),
            "call_id": format!("{call}_patch")}}),
        json!({"timestamp": time(1), "type": "response_item", "payload": {"type": "custom_tool_call_output",
            "call_id": format!("{call}_patch"), "output": "Done."}}),
        json!({"timestamp": time(2), "type": "response_item", "payload": {"type": "function_call",
            "name": "exec_command", "arguments": "{\"cmd\":\"git commit -m x\"}", "call_id": call}}),
        json!({"timestamp": time(3), "type": "response_item", "payload": {"type": "function_call_output",
            "call_id": call, "output": format!("[main {hash}] x\n 1 file changed")}}),
    ];
    let path = home.logs().join(format!("rollout-2026-06-18T05-00-00-{id}.jsonl"));
    std::fs::write(&path, lines.map(|l| l.to_string()).join("\n") + "\n").unwrap();
    path
}

/// The files of the one project, and how many commits lead to each.
const FILES: &str = "SELECT d.name || '/' || f.name || ' ' || count(*) FROM facet_links l JOIN facets f ON f.row = l.facet_row
    JOIN facets d ON d.row = f.parent JOIN projects p ON p.row = -d.parent JOIN cognitive_commits c ON c.row = l.commit_row
    WHERE f.kind = 6 GROUP BY f.row ORDER BY f.name";

#[test]
fn a_folder_and_its_remote_are_one_project_whatever_comes_first() {
    let mut claude = ClaudeLog::new("harbour", 1);
    claude.user("Hello.").write_file("/w/harbour/src/a.rs").git_commit("abcdef1", "Hello");
    let mut seen = Vec::new();
    for order in [[0, 1, 2], [1, 0, 2], [2, 0, 1], [2, 1, 0]] {
        let home = Home::new();
        // Another folder of the remote, so that both projects may be there before they turn out to be one.
        let files = [
            write(&home, &claude),
            codex(&home, 1, "/w/harbour", "2222222"),
            codex(&home, 2, "/w/elsewhere", "abcdef1"),
        ];
        for at in order {
            home.import(&files[at]);
        }
        assert_eq!(home.texts("SELECT identity FROM projects"), ["git:github.com/ada/harbour"], "{order:?}");
        assert_eq!(home.texts("SELECT path FROM project_paths ORDER BY path"), ["/w/elsewhere", "/w/harbour"]);
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits"), 2, "one a git hash, read as {order:?}");
        seen.push(home.texts(IDS));
        assert_eq!(home.texts(FILES), ["src/1.rs 1", "src/2.rs 1", "src/a.rs 2"], "read as {order:?}");
        assert_eq!(home.count("SELECT count(*) FROM facets WHERE kind = 6"), 4, "one tree of files, read as {order:?}");
    }
    assert!(seen.iter().all(|ids| *ids == seen[0]), "the ids depend on the order");
}

#[test]
fn a_worktree_is_its_repositorys_project() {
    let home = Home::new();
    let mut main = ClaudeLog::new("harbour", 1);
    main.user("Main.");
    let mut tree = ClaudeLog::new("harbour/.claude/worktrees/fix", 2);
    tree.user("Tree.");
    for log in [&tree, &main] {
        home.import(&write(&home, log));
    }
    assert_eq!(home.texts("SELECT identity FROM projects"), ["path:/w/harbour"]);
}

#[test]
fn folders_of_one_name_are_projects_with_names_of_their_own() {
    let home = Home::new();
    for (number, folder) in [(1, "north/app"), (2, "south/app")] {
        let mut log = ClaudeLog::new(folder, number);
        log.user("Hello.");
        home.import(&write(&home, &log));
    }
    assert_eq!(home.texts("SELECT name FROM projects"), ["app", "app"]);
    let dirs = home.texts("SELECT DISTINCT dir_name FROM projects ORDER BY dir_name");
    assert!(dirs.len() == 2 && dirs[0] == "app" && dirs[1].starts_with("app_"), "{dirs:?}");
}

#[test]
fn two_homes_that_import_the_same_come_to_the_same() {
    let fixtures: [&Path; 2] = [&fixture("claude_code"), &fixture("codex")];
    let (one, other) = (Home::with(&fixtures), Home::with(&fixtures));
    assert!(one.count("SELECT count(*) FROM visuals") > 0);
    assert_same(&one.dump(), &other.dump(), "two homes");
    let turned = Home::with(&[fixtures[1], fixtures[0]]);
    assert_eq!(turned.texts(IDS), one.texts(IDS));
}
