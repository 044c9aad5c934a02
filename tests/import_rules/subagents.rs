//! Subagents and titles find the session they belong to, whichever file comes first.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::common::ClaudeLog;
use super::{Home, fixture};

const PARENT_OF: &str = "SELECT p.native_id || ' ' || p.part FROM sessions s JOIN sessions p ON p.row = s.parent_row
    WHERE s.commit_row = p.commit_row ORDER BY s.native_id";
const IDS: &str =
    "SELECT hex(id) FROM cognitive_commits UNION SELECT hex(id) FROM sessions UNION SELECT hex(id) FROM turns";
const COMMITS: &str = "SELECT count(*) FROM cognitive_commits";

fn subagent_files(dir: &str) -> (PathBuf, Vec<PathBuf>) {
    let mut files = super::common::files_named(&fixture(dir), |name| name.ends_with(".jsonl"));
    let parent = files.iter().position(|f| !f.to_string_lossy().contains("agent-")).unwrap();
    (files.remove(parent), files)
}

#[test]
fn subagents_stand_under_their_parent_whatever_comes_first() {
    for dir in ["claude_code/subagents", "claude_code/flat"] {
        let (parent, agents) = subagent_files(dir);
        let first = Home::with(&[&parent]);
        let last = Home::new();
        for agent in &agents {
            first.import(agent);
            last.import(agent);
        }
        let shown = last.count(COMMITS);
        assert!(shown > 0, "{dir}: a subagent alone has a commit of its own");
        last.import(&parent);
        assert_eq!(last.texts(PARENT_OF), first.texts(PARENT_OF), "{dir}");
        assert!(!last.texts(PARENT_OF).is_empty(), "{dir}");
        assert_eq!(last.texts(IDS), first.texts(IDS), "{dir}");
        assert_eq!((first.count(COMMITS), last.count(COMMITS)), (1, 1), "{dir}");
    }
}

#[test]
fn subagents_inside_the_file_stand_under_its_session() {
    let home = Home::with(&[&fixture("claude_code/inline")]);
    let parents = home.texts(PARENT_OF);
    assert!(parents.len() >= 2, "{parents:?}");
    assert!(parents.iter().all(|p| p == "10000000-0000-4000-8000-000000000001 1"), "{parents:?}");
    assert_eq!(home.count(COMMITS), 1);
}

/// A subagent's log beside its parent's, as 2.1.x writes it.
fn agent_log(parent: &ClaudeLog, logs: &Path, id: &str, number: u32, work: impl FnOnce(&mut ClaudeLog)) -> PathBuf {
    let mut log = ClaudeLog::new("boats", number);
    work(&mut log);
    let lines = log.lines.iter().map(|line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        (record["isSidechain"], record["agentId"], record["sessionId"]) =
            (true.into(), id.into(), parent.session().into());
        record.to_string()
    });
    let path = parent.path(logs).with_extension("").join("subagents").join(format!("agent-{id}.jsonl"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, lines.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    path
}

fn starts(log: &mut ClaudeLog, agent: &str) {
    let call = format!("toolu_task_{agent}");
    let block = json!({"type": "tool_use", "id": call, "name": "Task", "input": {"prompt": "look"}});
    log.record(
        "assistant",
        &json!({"message": {"id": format!("msg_{call}"), "role": "assistant",
        "model": "claude-opus-4-5-20251101", "content": [block], "usage": {"input_tokens": 1, "output_tokens": 1}}}),
    );
    let result = json!({"type": "tool_result", "tool_use_id": call, "content": "seen"});
    log.record("user", &json!({"message": {"role": "user", "content": [result]}, "toolUseResult": {"agentId": agent}}));
}

#[test]
fn a_subagent_hangs_under_the_part_that_called_it_with_its_own_subagents_and_git_commits() {
    let orders: [[usize; 3]; 4] = [[0, 1, 2], [1, 2, 0], [2, 1, 0], [1, 0, 2]];
    let mut seen: Vec<(Vec<String>, Vec<String>, Vec<String>)> = Vec::new();
    for order in orders {
        let home = Home::new();
        let mut parent = ClaudeLog::new("boats", 1);
        parent.user("One.").git_commit("1a1a1a1", "One").user("Two.");
        starts(&mut parent, "aa11");
        parent.git_commit("2b2b2b2", "Two").user("Three.").assistant("Done.");
        let files = [
            parent.write(&home.logs()),
            agent_log(&parent, &home.logs(), "aa11", 0, |log| {
                log.user("Look.").git_commit("abcd123", "By the subagent");
                starts(log, "bb22");
            }),
            agent_log(&parent, &home.logs(), "bb22", 2, |log| {
                log.user("Look closer.").assistant("Closer.");
            }),
        ];
        for file in order {
            home.import(&files[file]);
        }
        let git = "SELECT s.part || ' ' || g.hash FROM git_commits g JOIN sessions s ON s.commit_row = g.commit_row
            WHERE s.parent_row IS NULL ORDER BY g.hash";
        seen.push((home.texts(PARENT_OF), home.texts(git), home.texts(IDS)));
        assert_eq!(home.count(COMMITS), 3, "{order:?}");
    }
    let (parents, git, _) = &seen[0];
    assert_eq!(parents.first().map(String::as_str), Some("00000001-0000-4000-8000-000000000001 2"));
    assert_eq!(git, &["1 1a1a1a1", "2 2b2b2b2", "2 abcd123"]);
    for (other, order) in seen.iter().zip(orders).skip(1) {
        assert_eq!(other.1, *git, "git commits, read in the order {order:?}");
        assert_eq!(other.2, seen[0].2, "ids, read in the order {order:?}");
        assert_eq!(other.0.first(), parents.first(), "the parent, read in the order {order:?}");
    }
}

#[test]
fn a_title_finds_the_session_of_its_leaf_in_another_file_before_or_after_it() {
    let (summary, fork) = (fixture("claude_code/summary"), fixture("claude_code/fork"));
    for places in [[&summary, &fork], [&fork, &summary]] {
        let home = Home::with(&[places[0], places[1]]);
        let titled = home.texts("SELECT native_id FROM sessions WHERE title = 'Choice of a dial colour'");
        assert_eq!(titled, ["20000000-0000-4000-8000-000000000002"], "{places:?}");
        assert_eq!(home.count("SELECT count(*) FROM cognitive_commits WHERE title = 'Choice of a dial colour'"), 1);
        assert_eq!(home.texts("SELECT title FROM pending_titles"), ["High-water alarm"]);
    }
}
