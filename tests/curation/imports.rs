//! What imports make of edited records: they add what is new, and never take an edit back.

use cogfs::curation::{Edit, Entity, Title};
use cogfs::store::{EntityKind, sessions, trash, turns};
use serde_json::json;

use super::deletions::delete;
use super::{Lab, rename, retitle, session};
use crate::common::ClaudeLog;

fn title_line(log: &mut ClaudeLog, title: &str) {
    let line = json!({"type": "custom-title", "customTitle": title, "sessionId": log.session()});
    log.line(&line.to_string());
}

#[test]
fn a_better_title_waits_behind_a_user_s_and_is_the_one_that_comes_back() {
    let mut log = session("boats", 1);
    let lab = Lab::with(&[log.clone()]);
    let row = lab.commits()[0].row;
    let seq = lab.edit(retitle(row, "Mine"));
    title_line(&mut log, "The agent's");
    lab.import(&[log]);
    let commit = lab.commit(row);
    assert_eq!(commit.title, "Mine");
    assert!(commit.dir_name.contains("_mine_"), "{}", commit.dir_name);
    lab.undo(seq);
    let commit = lab.commit(row);
    assert_eq!(commit.title, "The agent's");
    assert!(commit.dir_name.contains("_the-agent-s_"), "{}", commit.dir_name);
    lab.edit(retitle(row, "Mine"));
    lab.edit(Edit::Retitle { commit: row, title: Title::Found, name: None });
    assert_eq!(lab.commit(row).title, "The agent's");
}

#[test]
fn a_first_prompt_that_comes_after_a_user_s_title_is_found_when_that_is_cleared() {
    let mut log = ClaudeLog::new("boats", 1);
    log.assistant("Hello there.");
    let lab = Lab::with(&[log.clone()]);
    let row = lab.commits()[0].row;
    lab.edit(retitle(row, "Mine"));
    log.user("Build it.");
    lab.import(&[log]);
    assert_eq!(lab.commit(row).title, "Mine");
    lab.edit(Edit::Retitle { commit: row, title: Title::Found, name: None });
    assert_eq!(lab.commit(row).title, "Build it");
}

#[test]
fn a_typed_name_stays_also_where_the_title_is_still_the_one_that_was_found() {
    let mut log = session("boats", 1);
    let lab = Lab::with(&[log.clone()]);
    let row = lab.commits()[0].row;
    lab.edit(Edit::Retitle { commit: row, title: Title::Found, name: Some("build-part-1".to_owned()) });
    title_line(&mut log, "Better");
    lab.import(&[log]);
    let commit = lab.commit(row);
    assert_eq!((commit.title.as_str(), commit.dir_name.as_str()), ("Better", "build-part-1"));
    assert_eq!(commit.link_name, "build-part-1");
}

#[test]
fn a_deleted_session_whose_log_grows_stays_deleted() {
    let mut log = session("boats", 1);
    let lab = Lab::with(&[log.clone(), session("boats", 2)]);
    let commit = lab.commits().remove(0);
    let row = lab.sessions(commit.row)[0];
    lab.edit(delete(Entity::session(row)));
    log.user("More of it.").assistant("More it is.");
    lab.import(&[log]);
    assert!(sessions::deleted_at(lab.writer().conn(), row).unwrap().is_some());
    let outside =
        |lab: &Lab| lab.seen().iter().any(|(path, t)| path.starts_with("/projects") && t.contains("More it is."));
    assert!(!outside(&lab));
    lab.world.assert_consistent();
    lab.edit(Edit::Restore { entity: Entity::session(row) });
    assert!(outside(&lab), "what was said meanwhile is there");
}

#[test]
fn a_deleted_commit_whose_session_grows_stays_deleted() {
    let mut log = session("boats", 1);
    let lab = Lab::with(&[log.clone()]);
    let commit = lab.commits().remove(0);
    lab.edit(delete(Entity::commit(commit.row)));
    log.user("More of it.")
        .write_file("/w/boats/new.rs")
        .git_commit("4be91d7", "Add it")
        .user("And now?")
        .assistant("Done.");
    lab.import(&[log]);
    let seen = lab.seen();
    let shown = |text: &str| {
        seen.iter().any(|(path, t)| path.starts_with("/projects") && path.ends_with("-user.md") && t.contains(text))
    };
    assert!(!shown("More of it."));
    assert!(shown("And now?"), "the next commit is another");
    lab.edit(Edit::Restore { entity: Entity::commit(commit.row) });
    assert!(lab.seen().keys().any(|path| path.starts_with("/by/file/boats/new.rs/")));
}

#[test]
fn a_deleted_turn_that_gets_its_result_later_stays_deleted_and_nothing_is_doubled() {
    let whole = session("boats", 1);
    let mut cut = whole.clone();
    cut.lines.truncate(3);
    let lab = Lab::with(&[cut]);
    let commit = lab.commits().remove(0);
    let turn = turns::row_of(lab.sessions(commit.row)[0], 3);
    lab.edit(delete(Entity::turn(turn)));
    lab.import(&[whole]);
    assert!(turns::is_deleted(lab.writer().conn(), turn).unwrap());
    lab.world.assert_consistent();
    let seen = lab.seen();
    assert!(!seen.keys().any(|path| path.starts_with("/projects") && path.ends_with("0003-tool-write.md")));
    lab.edit(Edit::Restore { entity: Entity::turn(turn) });
    let seen = lab.seen();
    let file = seen.iter().find(|(path, _)| path.ends_with("turns/0003-tool-write.md")).expect("it is back");
    assert!(file.1.contains("Done."), "with its result");
    assert_eq!(seen.keys().filter(|path| path.contains("/turns/")).count(), 4);
}

#[test]
fn an_import_once_more_changes_nothing_of_edited_records() {
    let logs = [session("boats", 1), session("boats", 2)];
    let lab = Lab::with(&logs);
    let commits = lab.commits();
    lab.edit(rename(&commits[0], "mine"));
    lab.edit(delete(Entity::commit(commits[1].row)));
    let turn = turns::row_of(lab.sessions(commits[0].row)[0], 1);
    lab.edit(delete(Entity::turn(turn)));
    // When the logs were written and read aside.
    let dump = || {
        let mut lines = lab.world.dump();
        lines.retain(|line| !line.starts_with("state: ") && !line.starts_with("sources: "));
        lines
    };
    let before = dump();
    lab.import(&logs);
    assert_eq!(dump(), before);
}

/// Two sessions of one project that end in two git commits, of which one turns out to be the other.
fn two_of_one_hash() -> (Lab, ClaudeLog) {
    let mut later = session("boats", 30);
    later.git_commit("4be91d7", "Add it");
    let mut first = session("boats", 1);
    let lab = Lab::with(&[later, first.clone()]);
    assert_eq!(lab.commits().len(), 2);
    first.git_commit("4be91d7", "Add it");
    (lab, first)
}

#[test]
fn commits_that_turn_out_to_be_one_keep_what_was_made_of_each() {
    let (lab, first) = two_of_one_hash();
    let commits = lab.commits();
    let tags = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    lab.edit(retitle(commits[0].row, "Mine"));
    lab.edit(Edit::SetTags { commit: commits[0].row, tags: tags(&["a", "b"]) });
    lab.edit(Edit::SetNote { commit: commits[0].row, note: "First.".to_owned() });
    lab.edit(Edit::Reorder { commit: commits[0].row, order: 3 });
    lab.edit(Edit::SetTags { commit: commits[1].row, tags: tags(&["b", "c"]) });
    lab.edit(Edit::SetNote { commit: commits[1].row, note: "Second.".to_owned() });
    lab.edit(Edit::SetPublished { commit: commits[1].row, published: true });
    lab.import(&[first]);
    let [one] = lab.commits().try_into().expect("they are one");
    assert_eq!(one.title, "Mine");
    let mut all = one.tags.clone();
    all.sort();
    assert_eq!(all, ["a", "b", "c"]);
    assert!(one.note.contains("First.") && one.note.contains("Second."), "{}", one.note);
    assert!(one.published);
    assert_eq!(one.display_order, 3);
    let waiting = lab.waiting(EntityKind::Commit, one.row).unwrap();
    assert_eq!(waiting.entity_id, one.id);
    for field in ["title", "tags", "note", "order", "published"] {
        assert!(waiting.fields.contains_key(field), "{field} waits for the cloud: {:?}", waiting.fields);
    }
    let seen = lab.seen();
    for place in ["tag/a", "tag/b", "tag/c", "status/published", "status/unsynced"] {
        let links = seen.keys().filter(|path| path.starts_with(&format!("/by/{place}/"))).count();
        assert_eq!(links, 1, "{place}");
    }
    lab.world.assert_consistent();
}

#[test]
fn nothing_deleted_comes_to_light_when_commits_turn_out_to_be_one() {
    for deleted in [0, 1] {
        let (lab, first) = two_of_one_hash();
        let commits = lab.commits();
        let words = ["Build part 1.", "Build part 30."];
        lab.edit(delete(Entity::commit(commits[deleted].row)));
        lab.import(&[first]);
        let [one] = lab.commits().try_into().expect("they are one");
        assert_eq!(one.deleted_at, None, "the other was not deleted");
        let seen = lab.seen();
        let shown = |text: &str| {
            seen.iter().any(|(path, t)| path.starts_with("/projects") && path.contains("/turns/") && t.contains(text))
        };
        assert!(!shown(words[deleted]) && shown(words[1 - deleted]), "deleted: {deleted}");
        let trashed = trash::listed(lab.writer().conn(), 0).unwrap();
        assert_eq!(trashed.iter().map(|t| t.kind).collect::<Vec<_>>(), [EntityKind::Session]);
        lab.edit(Edit::Restore { entity: Entity::session(trashed[0].entity_row) });
        assert!(lab.seen().iter().any(|(path, t)| path.starts_with("/projects") && t.contains(words[deleted])));
        lab.world.assert_consistent();
    }
}

#[test]
fn commits_that_were_both_deleted_stay_so_as_one() {
    let (lab, first) = two_of_one_hash();
    for commit in lab.commits() {
        lab.edit(delete(Entity::commit(commit.row)));
    }
    lab.import(&[first]);
    let [one] = lab.commits().try_into().expect("they are one");
    assert!(one.deleted_at.is_some());
    assert!(!lab.seen().keys().any(|path| path.starts_with("/by/agent/")));
    lab.edit(Edit::Restore { entity: Entity::commit(one.row) });
    assert_eq!(lab.paths("/sessions").len(), 1);
}

/// A session of Codex in a folder whose remote its log names.
fn codex(lab: &Lab, cwd: &str) {
    let id = "019ed000-0000-7000-8000-000000000001";
    let line = |second: u32, kind: &str, payload: serde_json::Value| {
        json!({"timestamp": format!("2026-06-18T05:00:{second:02}.000Z"), "type": kind, "payload": payload}).to_string()
    };
    let git = json!({"branch": "main", "repository_url": "git@github.com:ada/ships.git"});
    let meta = json!({"id": id, "timestamp": "2026-06-18T05:00:00.000Z", "cwd": cwd, "originator": "codex-tui",
        "cli_version": "0.142.3", "source": "cli", "git": git});
    let text = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Sail."}]});
    let lines = [line(0, "session_meta", meta), line(1, "response_item", text)];
    let path = lab.world.logs().join(format!("rollout-2026-06-18T05-00-00-{id}.jsonl"));
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
    lab.world.import(&[&lab.world.logs()]);
}

#[test]
fn a_folder_whose_remote_becomes_known_keeps_the_names_that_were_typed() {
    let lab = Lab::boats();
    let (commit, row) = (lab.commits().remove(0), lab.project("boats"));
    lab.edit(rename(&commit, "mine"));
    lab.edit(Edit::RenameProject { project: row, name: "My boats".to_owned() });
    codex(&lab, "/w/boats");
    assert_eq!(lab.project("My boats"), row);
    assert_eq!(lab.commit(commit.row).dir_name, "mine");
    lab.seen();
}

#[test]
fn a_folder_that_is_folded_into_its_remote_s_project_keeps_the_names_that_were_typed() {
    let lab = Lab::boats();
    codex(&lab, "/w/elsewhere");
    let commits = lab.commits();
    lab.edit(rename(&commits[0], "mine"));
    lab.edit(rename(&commits[1], "mine"));
    lab.edit(Edit::RenameProject { project: lab.project("boats"), name: "My boats".to_owned() });
    codex_again(&lab);
    let row = lab.project("My boats");
    assert_eq!(lab.waiting(EntityKind::Project, row).unwrap().fields["name"], "My boats");
    let names: Vec<_> = lab.commits().into_iter().filter(|c| c.project_row == row).map(|c| c.dir_name).collect();
    assert!(names.contains(&"mine".to_owned()), "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("mine")).count(), 2, "{names:?}");
    lab.seen();
}

/// Another session of Codex, in the folder that was known by its path alone.
fn codex_again(lab: &Lab) {
    let path = lab.world.logs().join("rollout-2026-06-18T05-00-00-019ed000-0000-7000-8000-000000000001.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.replace("000000000001", "000000000002").replace("/w/elsewhere", "/w/boats");
    let other = lab.world.logs().join("rollout-2026-06-18T05-00-00-019ed000-0000-7000-8000-000000000002.jsonl");
    std::fs::write(other, text).unwrap();
    lab.world.import(&[&lab.world.logs()]);
}
