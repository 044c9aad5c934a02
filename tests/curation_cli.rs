//! The commands that edit: what they print, what they leave behind, and how they refuse.

mod common;

use std::fs;
use std::io::Write;
use std::process::Stdio;

use common::{ClaudeLog, Mount, Ran, World};
use serde_json::{Value, json};

/// A world with two sessions of one project, and the ids of their commits.
fn world() -> (World, [String; 2]) {
    let world = World::new();
    for number in [1, 2] {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("Build part {number}.")).assistant("On it.").write_file("/w/boats/a.rs");
        log.write(&world.logs());
    }
    world.import(&[&world.logs()]);
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut query = db.prepare("SELECT lower(hex(id)) FROM cognitive_commits ORDER BY started_at").unwrap();
    let ids: Vec<String> = query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    drop(query);
    (world, ids.try_into().unwrap())
}

fn json_of(world: &World, args: &[&str]) -> Value {
    world.run(&[args, &["--json"]].concat()).exits(0).json()
}

#[track_caller]
fn refused(ran: Ran, words: &[&str]) {
    let ran = ran.exits(1);
    assert!(ran.stdout.is_empty(), "{}", ran.stdout);
    assert!(ran.stderr.starts_with("cogfs: ") && ran.stderr.trim_end().lines().count() >= 1, "{}", ran.stderr);
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not in {}", ran.stderr);
    }
}

#[test]
fn an_edit_changes_what_is_named_and_says_what_and_where() {
    let (world, [id, _]) = world();
    let ran = world
        .run(&[
            "edit",
            &id[..8],
            "--title",
            "  Ships ",
            "--tag",
            "b",
            "--tag",
            "a",
            "--order",
            "-3",
            "--hidden",
            "true",
        ])
        .exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines[0], "1  title: \"Build part 1\" (found) → \"Ships\"");
    assert_eq!(lines[1], "2  tags: [] → [\"b\",\"a\"]");
    assert_eq!(lines.last(), Some(&format!("boats/hidden/2026-05-28T21-26-41Z_ships_{}", &id[..6]).as_str()));
    let again =
        json_of(&world, &["edit", &id, "--title", "Ships", "--add-tag", "c", "--remove-tag", "b", "--order", "-3"]);
    assert_eq!(again["edits"].as_array().unwrap().len(), 1, "what is so already is no edit: {again}");
    assert_eq!(again["edits"][0]["after"], json!(["a", "c"]));
    assert_eq!(again["id"].as_str().unwrap().replace('-', ""), id);
    let ran = world.run(&["edit", &id, "--order", "-3"]).exits(0);
    assert!(ran.stdout.starts_with("Nothing to change"), "{}", ran.stdout);
    let cleared = json_of(&world, &["edit", &id, "--no-title", "--tag", "", "--hidden", "false"]);
    assert_eq!(cleared["path"], format!("boats/2026-05-28T21-26-41Z_build-part-1_{}", &id[..6]));
}

#[test]
fn a_note_comes_from_an_argument_a_file_or_the_standard_input() {
    let (world, [id, _]) = world();
    let note = |edit: &Value| edit["edits"][0]["after"].clone();
    assert_eq!(note(&json_of(&world, &["edit", &id, "--note", "One."])), "One.");
    let file = world.root().join("note.md");
    fs::write(&file, "Two\n\nlines.\n").unwrap();
    assert_eq!(note(&json_of(&world, &["edit", &id, "--note-file", file.to_str().unwrap()])), "Two\n\nlines.");
    let mut command = world.cogfs(&["edit", &id, "--note-file", "-", "--json"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"Three.\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(note(&serde_json::from_slice(&output.stdout).unwrap()), "Three.");
    fs::write(&file, b"\xff\xfe").unwrap();
    refused(world.run(&["edit", &id, "--note-file", file.to_str().unwrap()]), &["UTF-8"]);
    refused(world.run(&["edit", &id, "--note-file", "/nowhere/x"]), &["/nowhere/x"]);
}

#[test]
fn refused_edits_change_nothing_and_say_what_to_do() {
    let (world, [id, other]) = world();
    let before = world.dump();
    refused(world.run(&["edit", "abcdef", "--order", "1"]), &["no commit \"abcdef\"", "by/id"]);
    refused(world.run(&["edit", &id[..4], "--order", "1"]), &["too short"]);
    refused(world.run(&["edit", &id, "--order", "1", "--project", "nowhere"]), &["nowhere", "projects/"]);
    refused(world.run(&["edit", &id, "--order", "1", "--title", "a\nb"]), &["one line"]);
    refused(world.run(&["edit", &id, "--title", " "]), &["--no-title"]);
    refused(world.run(&["edit", &id, "--add-tag", &"x".repeat(101)]), &["100"]);
    refused(world.run(&["undo", "7"]), &["no edit 7", "cogfs log"]);
    refused(world.run(&["restore", &other]), &["not deleted"]);
    refused(world.run(&["trash", &id, "abcdef"]), &["abcdef"]);
    refused(world.run(&["log", "abcdef"]), &["abcdef"]);
    for usage in
        [&["edit", &id][..], &["edit"], &["undo"], &["undo", "x"], &["restore"], &["edit", &id, "--hidden", "maybe"]]
    {
        world.run(usage).exits(2);
    }
    world.run(&["edit", &id, "--tag", "a", "--add-tag", "b"]).exits(2);
    assert_eq!(world.dump(), before);
    let empty = World::new();
    refused(empty.run(&["edit", "abcdef", "--order", "1"]), &["cogfs import"]);
}

#[test]
fn several_that_could_be_meant_are_named() {
    let (world, ids) = world();
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    for (id, last) in ids.iter().zip(["01", "02"]) {
        let sql = format!(
            "UPDATE cognitive_commits SET id = x'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{last}' WHERE hex(id) = upper('{id}')"
        );
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
    }
    drop(db);
    refused(world.run(&["edit", "aaaaaaaa", "--order", "1"]), &["give more of it", "aaaa01", "aaaa02", "boats/"]);
    world.run(&["edit", "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaa02", "--order", "1"]).exits(0);
}

#[test]
fn names_and_paths_mean_what_ids_mean() {
    let (world, [id, other]) = world();
    let path = |edit: &Value| edit["path"].as_str().unwrap().to_owned();
    let first = path(&json_of(&world, &["edit", &id, "--order", "1"]));
    let name = first.rsplit('/').next().unwrap();
    for (text, order) in [
        (name.to_owned(), "2"),
        (first.clone(), "3"),
        (format!("/x/projects/{first}/"), "4"),
        (format!("projects/{first}/meta.md"), "5"),
        (format!("anything_{}", &id[..7]), "6"),
    ] {
        assert_eq!(path(&json_of(&world, &["edit", &text, "--order", order])), first, "{text}");
    }
    let deleted = json_of(
        &world,
        &[
            "trash",
            &format!("projects/{first}/sessions/01_claude-code_{}/turns/0002-assistant.md", session_digits(&world)),
        ],
    );
    assert_eq!(
        (&deleted[0]["kind"], deleted[0]["path"].as_str().unwrap().ends_with("/turns/0002-assistant.md")),
        (&json!("turn"), true)
    );
    refused(
        world.run(&["edit", deleted[0]["id"].as_str().unwrap(), "--order", "9"]),
        &["a turn", "a commit is wanted"],
    );
    let name = deleted[0]["name"].as_str().unwrap();
    assert_eq!(json_of(&world, &["restore", name])[0]["kind"], "turn");
    assert_ne!(id, other);
}

fn session_digits(world: &World) -> String {
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let name: String =
        db.query_row("SELECT dir_name FROM sessions ORDER BY started_at LIMIT 1", [], |r| r.get(0)).unwrap();
    name.rsplit_once('_').unwrap().1.to_owned()
}

#[test]
fn what_is_deleted_is_listed_and_restored_by_id_name_and_after_any_time() {
    let (world, [id, other]) = world();
    assert_eq!(world.run(&["trash"]).exits(0).stdout, "Nothing is deleted.\n");
    assert_eq!(json_of(&world, &["trash"]), json!([]));
    let ran = world.run(&["trash", &id[..6], &other]).exits(0);
    assert!(ran.stdout.contains(&id[..8]) && ran.stdout.contains("cogfs restore"), "{}", ran.stdout);
    refused(world.run(&["trash", &id]), &["deleted already", "cogfs restore"]);
    refused(world.run(&["edit", &id, "--order", "1"]), &["is deleted", "cogfs restore"]);
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    db.execute("UPDATE trash SET deleted_at = 0", []).unwrap();
    drop(db);
    let listed = json_of(&world, &["trash"]);
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!((&listed[0]["listed"], &listed[0]["kind"]), (&json!(false), &json!("commit")));
    let restored =
        json_of(&world, &["restore", listed[0]["name"].as_str().unwrap(), listed[1]["id"].as_str().unwrap()]);
    assert_eq!(restored.as_array().unwrap().len(), 2);
    assert_eq!(json_of(&world, &["trash"]), json!([]));
}

#[test]
fn a_part_of_something_deleted_is_restored_with_a_word_about_the_whole() {
    let (world, [id, _]) = world();
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let sql = "SELECT lower(hex(id)) FROM sessions ORDER BY started_at LIMIT 1";
    let session: String = db.query_row(sql, [], |r| r.get(0)).unwrap();
    world.run(&["trash", &session]).exits(0);
    // Longer ago than what `rm -r` deletes in one sweep.
    for table in ["trash", "sessions"] {
        db.execute(&format!("UPDATE {table} SET deleted_at = 1 WHERE deleted_at IS NOT NULL"), []).unwrap();
    }
    drop(db);
    world.run(&["trash", &id]).exits(0);
    assert_eq!(json_of(&world, &["trash"]).as_array().unwrap().len(), 2);
    let ran = world.run(&["restore", &session]).exits(0);
    assert!(ran.stdout.contains("deleted itself: `cogfs restore "), "{}", ran.stdout);
}

#[test]
fn the_log_tells_every_edit_and_an_undo_takes_one_back() {
    let (world, [id, other]) = world();
    assert!(world.run(&["log"]).exits(0).stdout.starts_with("No edits in the last 30 days"));
    world.run(&["edit", &id, "--title", "Ships"]).exits(0);
    world.run(&["edit", &other, "--published", "true"]).exits(0);
    let log = json_of(&world, &["log"]);
    let actions: Vec<_> = log.as_array().unwrap().iter().map(|e| e["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["published", "retitle"], "the latest first");
    assert_eq!(json_of(&world, &["log", &id]).as_array().unwrap().len(), 1);
    assert_eq!((&log[1]["after"]["title"], &log[1]["origin"]), (&json!("Ships"), &json!("command")));
    let undone = json_of(&world, &["undo", "1"]);
    assert_eq!((&undone["undoes"], &undone["edit"]), (&json!(1), &json!(3)));
    refused(world.run(&["undo", "1"]), &["taken back already", "edit 3"]);
    let text = world.run(&["log"]).exits(0).stdout;
    assert!(text.contains("(undone by 3)") && text.contains("(undoes 1)"), "{text}");
    assert!(!text.contains('\u{1b}'), "no colour when piped");
    assert_eq!(json_of(&world, &["log", "--days", "0"]), json!([]));
    world.run(&["edit", &other, "--published", "false"]).exits(0);
    refused(world.run(&["undo", "2"]), &["changed again by edit 4"]);
}

#[test]
fn titles_cannot_steer_the_terminal() {
    let (world, [id, _]) = world();
    world.run(&["edit", &id, "--title", "a\u{202e}b"]).exits(0);
    let text = world.run(&["log"]).exits(0).stdout;
    assert!(!text.contains('\u{202e}') && text.contains("\\u{202e}"), "{text}");
}

#[test]
fn the_status_tells_what_is_there_what_waits_and_drafts() {
    let (world, [id, _]) = world();
    let status = json_of(&world, &["status"]);
    assert_eq!(
        (&status["commits"], &status["waiting_edits"], &status["account"]),
        (&json!(2), &json!(0), &Value::Null)
    );
    assert_eq!((&status["following"], &status["drafts"]), (&json!(false), &json!([])));
    world.run(&["edit", &id, "--order", "4"]).exits(0);
    world.run(&["trash", &id]).exits(0);
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let sql = "INSERT INTO drafts(commit_row, text, written_at, refusal) SELECT row, x'2d', 5000, 'line 1: broken'
        FROM cognitive_commits ORDER BY started_at LIMIT 1";
    db.execute(sql, []).unwrap();
    drop(db);
    let status = json_of(&world, &["status"]);
    assert_eq!((&status["commits"], &status["deleted"], &status["waiting_edits"]), (&json!(1), &json!(1), &json!(1)));
    assert!(status["oldest_waiting"].is_string());
    let file = status["drafts"][0]["file"].as_str().unwrap();
    assert_eq!(file.replace('-', ""), format!(".cogfs/drafts/{id}.md"));
    let text = world.run(&["status"]).exits(0).stdout;
    for words in ["none (local only)", "1 record waiting", file, "line 1: broken", "copy it over meta.md"] {
        assert!(text.contains(words), "{words:?} is not in\n{text}");
    }
}

#[test]
fn an_edit_by_command_shows_in_a_mount_and_paths_of_the_mount_name_records() {
    needs_fuse!();
    let (world, [id, _]) = world();
    let mount = Mount::new(&world);
    let dir = mount.path("projects/boats/latest");
    let edited = json_of(&world, &["edit", dir.to_str().unwrap(), "--title", "Seen at once"]);
    assert_ne!(edited["id"].as_str().unwrap().replace('-', ""), id, "the latest is the other");
    let path = mount.path(&format!("projects/{}/transcript.md", edited["path"].as_str().unwrap()));
    common::wait_until(common::SHOWS_WITHIN * 5, "the new name shows", || {
        fs::read_to_string(&path).is_ok_and(|text| text.contains("Seen at once"))
    });
    let status = json_of(&world, &["status"]);
    let mounts: Vec<_> =
        status["mounts"].as_array().unwrap().iter().map(|m| m["dir"].as_str().unwrap().to_owned()).collect();
    assert!(mounts.contains(&mount.path("").to_str().unwrap().trim_end_matches('/').to_owned()), "{mounts:?}");
}
