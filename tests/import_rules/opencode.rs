//! OpenCode's sessions: the same from the database, the folder tree and the export; rewritten in place, they are followed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cogfs::ingest::{self, Options, Progress};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{Home, assert_same, fixture};

/// The layout of 1.2, as far as it is read.
const SCHEMA: &str = "
    CREATE TABLE project (id text PRIMARY KEY, worktree text NOT NULL, time_created integer, time_updated integer);
    CREATE TABLE session (id text PRIMARY KEY, project_id text NOT NULL, parent_id text, slug text NOT NULL,
        directory text NOT NULL, title text NOT NULL, version text NOT NULL, share_url text, summary_additions integer,
        summary_deletions integer, summary_files integer, summary_diffs text, revert text, permission text,
        time_created integer NOT NULL, time_updated integer NOT NULL, time_compacting integer, time_archived integer);
    CREATE TABLE message (id text PRIMARY KEY, session_id text NOT NULL, time_created integer NOT NULL,
        time_updated integer NOT NULL, data text NOT NULL);
    CREATE TABLE part (id text PRIMARY KEY, message_id text NOT NULL, session_id text NOT NULL,
        time_created integer NOT NULL, time_updated integer NOT NULL, data text NOT NULL);
    CREATE INDEX part_session_idx ON part(session_id);
    CREATE INDEX part_message_id_id_idx ON part(message_id, id);";

const PARENT: &str = "ses_3aharbourParent";
const CHILD: &str = "ses_39harbourChild";

/// OpenCode at work: a database with a writer that stays connected.
struct Writer {
    path: PathBuf,
    conn: Connection,
    /// The clock of `time_updated`.
    now: i64,
}

impl Writer {
    fn new(dir: &Path) -> Self {
        fs::create_dir_all(dir).unwrap();
        let path = dir.join("opencode.db");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        conn.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        conn.execute_batch(SCHEMA).unwrap();
        conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        Self { path, conn, now: 1_772_500_000_000 }
    }

    /// A database with the sessions of the fixture.
    fn with_fixture(dir: &Path) -> Self {
        let mut writer = Self::new(dir);
        for name in ["lanterns.json", "timer.json"] {
            writer.put(&document(name));
        }
        writer
    }

    fn tick(&mut self) -> i64 {
        // More than what is looked at again, so that tests see what is left alone too.
        self.now += 60_000;
        self.now
    }

    fn put(&mut self, document: &Value) {
        let info = &document["info"];
        let at = |path: &str| info.pointer(path).cloned().unwrap_or(Value::Null);
        self.conn
            .execute(
                "INSERT INTO session(id, project_id, parent_id, slug, directory, title, version, summary_additions,
                     summary_deletions, summary_files, time_created, time_updated)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                rusqlite::params![
                    at("/id").as_str(),
                    at("/projectID").as_str(),
                    at("/parentID").as_str(),
                    at("/slug").as_str(),
                    at("/directory").as_str(),
                    at("/title").as_str(),
                    at("/version").as_str(),
                    at("/summary/additions").as_i64(),
                    at("/summary/deletions").as_i64(),
                    at("/summary/files").as_i64(),
                    at("/time/created").as_i64(),
                    at("/time/updated").as_i64(),
                ],
            )
            .unwrap();
        for message in document["messages"].as_array().unwrap() {
            self.message(&message["info"]);
            for part in message["parts"].as_array().unwrap() {
                self.part(part);
            }
        }
    }

    fn message(&mut self, info: &Value) {
        let now = self.tick();
        let created = info["time"]["created"].as_i64().unwrap();
        let mut data = info.clone();
        for key in ["id", "sessionID"] {
            data.as_object_mut().unwrap().remove(key);
        }
        let sql = "INSERT INTO message VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT(id) DO UPDATE SET time_updated = ?4, data = ?5";
        let values = (info["id"].as_str(), info["sessionID"].as_str(), created, now, data.to_string());
        self.conn.execute(sql, values).unwrap();
    }

    /// Writes a part, or writes it again.
    fn part(&mut self, part: &Value) {
        let mut data = part.clone();
        for key in ["id", "messageID", "sessionID"] {
            data.as_object_mut().unwrap().remove(key);
        }
        self.part_data(part, &data.to_string());
    }

    fn part_data(&mut self, part: &Value, data: &str) {
        let now = self.tick();
        let sql = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)
            ON CONFLICT(id) DO UPDATE SET time_updated = ?4, data = ?5";
        let ids = (part["id"].as_str(), part["messageID"].as_str(), part["sessionID"].as_str(), now, data);
        self.conn.execute(sql, ids).unwrap();
    }
}

fn document(name: &str) -> Value {
    let path = fixture("opencode/export").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A document of one session, with parts after a prompt.
fn session(parts: &[Value]) -> Value {
    let user = json!({"id": "msg_1", "sessionID": "ses_1", "role": "user", "time": {"created": 1_772_000_000_000_i64}});
    let prompt =
        json!({"id": "prt_1", "messageID": "msg_1", "sessionID": "ses_1", "type": "text", "text": "Ring the bell."});
    let info = json!({"id": "msg_2", "sessionID": "ses_1", "role": "assistant", "modelID": "m", "providerID": "p",
        "time": {"created": 1_772_000_001_000_i64}, "path": {"cwd": "/w/bell", "root": "/w/bell"}});
    json!({
        "info": {"id": "ses_1", "projectID": "global", "slug": "s", "directory": "/w/bell", "title": "The bell",
            "version": "1.2.24", "time": {"created": 1_772_000_000_000_i64, "updated": 1_772_000_000_000_i64}},
        "messages": [{"info": user, "parts": [prompt]}, {"info": info, "parts": parts}],
    })
}

fn part(id: &str, mut fields: Value) -> Value {
    for (key, value) in [("id", id), ("messageID", "msg_2"), ("sessionID", "ses_1")] {
        fields[key] = json!(value);
    }
    fields
}

fn said(id: &str, text: &str) -> Value {
    part(id, json!({"type": "text", "text": text, "time": {"start": 1_772_000_002_000_i64}}))
}

fn bash(id: &str, state: Value) -> Value {
    part(id, json!({"type": "tool", "tool": "bash", "callID": "call_0", "state": state}))
}

const TURNS: &str =
    "SELECT role || ' ' || ifnull(tool_name, '') || ' ' || text || ' ' || ifnull(tool_output, '') || ' '
    || tool_status FROM turns ORDER BY row";

#[test]
fn a_session_is_the_same_from_the_database_the_tree_and_the_export() {
    let home = Home::new();
    let writer = Writer::with_fixture(&home.logs());
    let containers = [writer.path.clone(), fixture("opencode/data"), fixture("opencode/export")];
    let dumps: Vec<Vec<String>> = containers.iter().map(|place| Home::with(&[place]).dump()).collect();
    assert_same(&dumps[0], &dumps[1], "the database and the tree");
    assert_same(&dumps[0], &dumps[2], "the database and the export");
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
        let home = Home::new();
        for (nth, at) in order.into_iter().enumerate() {
            let summary = home.import(&containers[at]);
            assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
            assert!(nth == 0 || summary.new_turns == 0, "{order:?}: {} turns came twice", summary.new_turns);
            assert_same(&home.dump(), &dumps[0], &format!("{order:?} after {nth}"));
        }
    }
}

#[test]
fn what_a_session_says_becomes_turns_pictures_commits_and_a_subagent() {
    let home = Home::with(&[&fixture("opencode/export")]);
    let count = |sql: &str| home.count(sql);
    assert_eq!(count("SELECT count(*) FROM sessions WHERE native_id = 'ses_3aharbourParent'"), 2, "a git commit cuts");
    assert_eq!(home.texts("SELECT hash || ' ' || subject FROM git_commits"), ["5c6d7e8 Lanterns burn until dawn"]);
    assert_eq!(
        count("SELECT count(*) FROM sessions c JOIN sessions p ON p.row = c.parent_row WHERE c.native_id = 'ses_39harbourChild'
            AND c.subagent_kind = 'general' AND p.native_id = 'ses_3aharbourParent' AND p.part = 1"),
        1,
        "the child stands below the part whose `task` started it"
    );
    // The pictures: the human's, with what was said, and the tool's.
    assert_eq!(
        home.texts("SELECT t.role || ' ' || substr(t.text, 1, 12) FROM visuals v JOIN turns t ON t.row = v.turn_row ORDER BY t.row"),
        ["1 The lanterns", "4 "]
    );
    assert_eq!(
        home.texts("SELECT label || ': ' || text FROM turns WHERE label <> 'meta' ORDER BY row"),
        [
            "error: MessageAbortedError: The operation was aborted.",
            "compaction: So far: the lanterns burn until dawn; the bell was asked about."
        ]
    );
    assert_eq!(
        count("SELECT sum(prompts) FROM sessions WHERE parent_row IS NULL"),
        2,
        "only what was typed is a prompt"
    );
    assert_eq!(home.texts("SELECT DISTINCT title FROM sessions WHERE part = 2"), ["Lanterns for the pier"]);
    assert_eq!(home.texts("SELECT DISTINCT agent_version || cwd FROM sessions"), ["1.2.24/w/harbour"]);
    let tokens =
        "SELECT input || ' ' || output || ' ' || cache_read || ' ' || cache_write || ' ' || model FROM message_usage
        WHERE cache_read > 0";
    assert_eq!(home.texts(tokens), ["120 60 1000 30 claude-sonnet-4-5"]);
    // The commit's own message counts for the part it closed.
    assert_eq!(
        home.texts("SELECT part || ' ' || tokens_output FROM sessions WHERE native_id LIKE '%Parent' ORDER BY part"),
        ["1 150", "2 45"]
    );
}

#[test]
fn rows_that_stand_in_the_log_of_a_connected_writer_are_read_and_nothing_is_written() {
    let home = Home::new();
    let writer = Writer::with_fixture(&home.logs());
    let main_file = fs::read(&writer.path).unwrap();
    let log = fs::read(home.logs().join("opencode.db-wal")).unwrap();
    assert!(!log.is_empty() && main_file.len() < log.len(), "the rows stand in the log alone");
    let summary = home.import(&home.logs());
    assert_eq!((summary.sessions, summary.subagents), (1, 1));
    assert_eq!(fs::read(&writer.path).unwrap(), main_file, "the database was written to");
    assert_eq!(fs::read(home.logs().join("opencode.db-wal")).unwrap(), log, "the log was written to");
    let turns = home.count("SELECT count(*) FROM turns");
    drop(writer);
    // Closed, its log is gone: nothing is put beside it.
    let again = home.import(&home.logs());
    assert_eq!(again.new_turns, 0);
    assert_eq!(home.count("SELECT count(*) FROM turns"), turns);
    let names: Vec<_> = fs::read_dir(home.logs()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["opencode.db"]);
}

#[test]
fn a_log_without_its_index_is_read_from_a_copy() {
    let home = Home::new();
    let from = home.logs().join("from");
    let writer = Writer::with_fixture(&from);
    let to = home.logs().join("to");
    fs::create_dir(&to).unwrap();
    for name in ["opencode.db", "opencode.db-wal"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    let summary = home.import(&to);
    assert_eq!((summary.sessions, summary.subagents), (1, 1));
    assert_eq!(fs::read_dir(&to).unwrap().count(), 2, "something was put beside the database");
    drop(writer);
}

#[test]
fn importing_a_database_twice_changes_nothing() {
    let home = Home::new();
    let writer = Writer::with_fixture(&home.logs());
    home.import(&writer.path);
    let everything = |home: &Home| (home.dump(), home.count("SELECT max(seq) FROM changes"));
    let before = everything(&home);
    let again = home.import(&writer.path);
    assert_eq!((again.new_turns, again.records, again.files_read), (0, 0, 0));
    assert_eq!(everything(&home), before);
}

#[test]
fn a_row_written_again_revises_its_turn_and_costs_its_session_alone() {
    let home = Home::new();
    let mut writer = Writer::with_fixture(&home.logs());
    writer.put(&session(&[said("prt_2", "I"), said("prt_3", "Done.")]));
    home.import(&writer.path);
    let of_session = |what: &str| {
        format!(
            "SELECT {what} FROM turns t JOIN sessions s ON s.row = t.row >> 16 WHERE native_id = 'ses_1' ORDER BY t.row"
        )
    };
    let ids = home.texts(&of_session("hex(t.id)"));
    writer.part(&said("prt_2", "I will ring it."));
    writer.part(&said("prt_4", "Bye."));
    let summary = home.import(&writer.path);
    assert_eq!((summary.new_turns, summary.records), (1, 2), "the two rows that changed");
    let texts = home.texts(&of_session("text"));
    assert_eq!(texts, ["Ring the bell.", "I will ring it.", "Done.", "Bye."]);
    assert_eq!(home.texts(&of_session("hex(t.id)"))[..ids.len()], ids[..], "ids and places stay");
    let raw = home.raw("ses_1");
    assert!(raw.contains(r#""text":"I""#) && raw.contains("I will ring it."), "both versions are kept: {raw}");
    assert_eq!(raw.matches("Done.").count(), 1, "what did not change is not repeated");
    assert_eq!(home.import(&writer.path).records, 0);
}

#[test]
fn a_running_tool_gets_its_result_when_it_completes_and_its_git_commit_closes_the_part() {
    let input = json!({"command": "git commit -m Bell"});
    let running = bash("prt_2", json!({"status": "running", "input": input, "time": {"start": 1_772_000_002_000_i64}}));
    let done = bash(
        "prt_2",
        json!({"status": "completed", "input": input, "output": "[main 1a2b3c4] Bell\n", "title": "", "metadata": {"exit": 0},
            "time": {"start": 1_772_000_002_000_i64, "end": 1_772_000_003_000_i64}}),
    );
    let pending = bash("prt_2", json!({"status": "pending", "input": {}, "raw": ""}));
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&[pending]));
    home.import(&writer.path);
    writer.part(&running);
    home.import(&writer.path);
    assert_eq!(home.texts("SELECT tool_status || tool_input FROM turns WHERE role = 4"), [format!("0{input}")]);
    writer.part(&done);
    home.import(&writer.path);
    assert_eq!(home.texts("SELECT tool_output FROM turns WHERE role = 4"), ["[main 1a2b3c4] Bell\n"]);
    assert_eq!(home.count("SELECT closed FROM sessions"), 1);
    let once = Home::new();
    let mut other = Writer::new(&once.logs());
    other.put(&session(&[done]));
    once.import(&other.path);
    assert_eq!(home.texts(TURNS), once.texts(TURNS), "as if it had been read at its end");
}

#[test]
fn what_a_revert_deletes_stays_and_does_not_double() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&[said("prt_2", "Wrong."), said("prt_3", "Right.")]));
    home.import(&writer.path);
    let before = home.raw("ses_1");
    writer.conn.execute("DELETE FROM part WHERE id = 'prt_2'", []).unwrap();
    assert_eq!(home.import(&writer.path).new_turns, 0);
    assert_eq!(home.raw("ses_1"), before);
    writer.part(&said("prt_4", "Again."));
    home.import(&writer.path);
    assert_eq!(home.texts("SELECT text FROM turns ORDER BY row"), ["Ring the bell.", "Wrong.", "Right.", "Again."]);
    assert_eq!(home.raw("ses_1").lines().count(), before.lines().count() + 1);
}

#[test]
fn an_older_export_read_after_the_database_takes_nothing_back() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    let mut late = session(&[said("prt_2", "All of it.")]);
    late["info"]["time"]["updated"] = json!(1_772_000_009_000_i64);
    late["info"]["title"] = json!("The late title");
    writer.put(&late);
    home.import(&writer.path);
    let export = home.logs().join("early.json");
    let early = session(&[said("prt_2", "All"), said("prt_0", "Deleted since.")]);
    fs::write(&export, early.to_string()).unwrap();
    home.import(&export);
    let mut texts = home.texts("SELECT text FROM turns");
    texts.sort();
    assert_eq!(texts, ["All of it.", "Deleted since.", "Ring the bell."]);
    assert_eq!(home.texts("SELECT title FROM sessions"), ["The late title"]);
}

#[test]
fn an_interrupted_import_of_a_session_is_finished_by_the_next() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    let long = |n: usize| said(&format!("prt_{n:03}"), &format!("{n} {}", "boats and sails ".repeat(20_000)));
    let document = session(&(2..30).map(long).collect::<Vec<_>>());
    writer.put(&document);
    let stop = AtomicBool::new(false);
    let options = Options { places: vec![writer.path.clone()], dry_run: false };
    let summary = ingest::import(&home.layout(), &options, &stop, &mut |progress| {
        if matches!(progress, Progress::Reading { done, .. } if done > 0) {
            stop.store(true, Ordering::Relaxed);
        }
    })
    .unwrap();
    let part = home.count("SELECT count(*) FROM turns");
    assert!(summary.interrupted && part > 0 && part < 29, "{part} turns");
    home.import(&writer.path);
    let once = Home::with(&[&writer.path]);
    assert_same(&home.dump(), &once.dump(), "interrupted, and at once");
}

#[test]
fn a_dry_run_says_what_would_come_and_writes_nothing() {
    let home = Home::new();
    let writer = Writer::with_fixture(&home.logs());
    let options = Options { places: vec![writer.path.clone()], dry_run: true };
    let summary = ingest::import(&home.layout(), &options, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!((summary.sessions, summary.subagents), (1, 1));
    assert!(!home.layout().database().exists());
}

#[test]
fn one_damaged_row_costs_that_row_and_is_named() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&[said("prt_2", "Good."), said("prt_4", "Good too.")]));
    writer.part_data(&said("prt_3", ""), "{\"type\":\"text\",\n\"text\":\"cut o");
    let summary = home.import(&writer.path);
    let [skipped] = &summary.skipped[..] else { panic!("{:?}", summary.skipped) };
    assert!(skipped.file.ends_with("opencode.db#ses_1") && skipped.reason.starts_with("prt_3: "), "{skipped:?}");
    assert_eq!(home.texts("SELECT text FROM turns ORDER BY row"), ["Ring the bell.", "Good.", "Good too."]);
    assert!(home.raw("ses_1").contains("cut o"), "the damaged row is kept");
}

#[test]
fn columns_of_another_type_than_expected_cost_no_other_row() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&[said("prt_2", "Two."), said("prt_3", "Three."), said("prt_4", "Four.")]));
    let damage = "UPDATE part SET time_updated = 'yesterday' WHERE id = 'prt_2';
        UPDATE part SET time_created = x'ff', time_updated = 1e300 WHERE id = 'prt_3';
        UPDATE session SET time_updated = 'now', title = x'fffe';
        INSERT INTO message VALUES (x'ff', x'fe', 'x', 'y', 'z');
        INSERT INTO part SELECT NULL, message_id, session_id, 1, 1, data FROM part LIMIT 1";
    writer.conn.execute_batch(damage).unwrap();
    let summary = home.import(&writer.path);
    assert_eq!(summary.skipped.len(), 0, "{:?}", summary.skipped);
    let said = home.texts("SELECT text FROM turns ORDER BY row");
    assert!(
        ["Ring the bell.", "Two.", "Three.", "Four."].iter().all(|text| said.contains(&(*text).to_owned())),
        "{said:?}"
    );
}

#[test]
fn an_unknown_kind_of_message_counts_once_however_often_the_session_grows() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    let mut document = session(&[said("prt_2", "Two.")]);
    document["messages"][1]["info"].as_object_mut().unwrap().remove("role");
    writer.put(&document);
    for n in 3..6 {
        home.import(&writer.path);
        assert_eq!(home.count("SELECT sum(count) FROM unknown_kinds"), 1, "before part {n}");
        writer.part(&said(&format!("prt_{n}"), "More."));
    }
}

#[test]
fn a_revision_that_takes_the_last_turn_of_a_model_away_takes_the_model_too() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    let mut document = session(&[said("prt_2", "Two."), said("prt_3", "Thr")]);
    writer.put(&document);
    home.import(&writer.path);
    document["messages"][1]["info"]["modelID"] = json!("another");
    document["messages"][1]["parts"][1]["text"] = json!("Three.");
    writer.message(&document["messages"][1]["info"]);
    for part in document["messages"][1]["parts"].as_array().unwrap() {
        writer.part(part);
    }
    // That what is stored of the models agrees with the turns is what every import here is checked for.
    home.import(&writer.path);
    assert_eq!(home.texts("SELECT models FROM sessions"), [r#"["another"]"#]);
}

#[test]
fn sessions_that_say_they_started_each_other_are_both_shown() {
    for own in [false, true] {
        let home = Home::new();
        let mut writer = Writer::new(&home.logs());
        for (id, parent, text) in [("ses_1", "ses_2", "One."), ("ses_2", "ses_1", "Two.")] {
            let mut document = session(&[said("prt_2", text)]);
            document = serde_json::from_str(&renamed(&document, id)).unwrap();
            document["info"]["parentID"] = json!(if own { id } else { parent });
            writer.put(&document);
        }
        let summary = home.import(&writer.path);
        assert!(summary.skipped.is_empty(), "{:?}", summary.skipped);
        assert_eq!(home.texts("SELECT text FROM turns WHERE text IN ('One.', 'Two.') ORDER BY 1"), ["One.", "Two."]);
        assert!(home.count("SELECT count(*) FROM sessions WHERE parent_row IS NULL") > 0, "none of them is shown");
    }
}

/// A document whose ids are of another session.
fn renamed(document: &Value, session: &str) -> String {
    let text = document.to_string().replace("ses_1\"", &format!("{session}\""));
    text.replace("msg_", &format!("{session}_msg_")).replace("prt_", &format!("{session}_prt_"))
}

#[test]
fn a_database_that_is_damaged_or_another_programs_is_named_and_the_rest_goes_on() {
    let home = Home::new();
    let writer = Writer::with_fixture(&home.logs());
    let other = home.logs().join("opencode-dev.db");
    Connection::open(&other).unwrap().execute_batch("CREATE TABLE session(id)").unwrap();
    let broken = home.logs().join("opencode-beta.db");
    fs::write(&broken, [&b"SQLite format 3\0"[..], &[7; 5000]].concat()).unwrap();
    let summary = home.import(&home.logs());
    let mut named: Vec<&str> = summary.skipped.iter().map(|s| s.file.rsplit('/').next().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, ["opencode-beta.db", "opencode-dev.db"], "{:?}", summary.skipped);
    assert_eq!((summary.sessions, summary.subagents), (1, 1));
    drop(writer);
}

#[test]
fn the_tree_that_a_database_took_over_is_left_alone() {
    let home = Home::new();
    let mut writer = Writer::with_fixture(&home.logs());
    let tree = home.logs().join("storage");
    for file in super::common::files(&fixture("opencode/data/storage")) {
        let to = tree.join(file.strip_prefix(fixture("opencode/data/storage")).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&file, to).unwrap();
    }
    let summary = home.import(&home.logs());
    assert_eq!(summary.files_read, 1, "the database alone is read");
    assert_eq!(summary.other_files, 0, "messages, parts and todos are no candidates");
    let sources = "SELECT count(*) FROM sources WHERE path LIKE '%/storage/%'";
    assert_eq!(home.count(sources), 0);
    // A session that the database does not hold is read from the tree.
    writer.conn.execute("DELETE FROM session WHERE id = ?1", [CHILD]).unwrap();
    let other = Home::new();
    other.import(&home.logs());
    assert_eq!(other.count(sources), 1);
    assert_eq!(other.count("SELECT count(*) FROM sessions WHERE parent_row IS NOT NULL"), 1);
    assert_eq!(other.count(&format!("SELECT count(*) FROM sessions WHERE native_id = '{PARENT}'")), 2);
    writer.tick();
}

#[test]
fn a_session_whose_rows_all_have_one_time_is_followed_too() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&(2..1200).map(|n| said(&format!("prt_{n:04}"), &format!("Boat {n}."))).collect::<Vec<_>>()));
    writer.conn.execute("UPDATE part SET time_updated = ?1", [writer.now]).unwrap();
    home.import(&writer.path);
    writer.part(&said("prt_0007", "Ship 7."));
    let summary = home.import(&writer.path);
    assert_eq!(summary.new_turns, 0);
    assert_eq!(home.count("SELECT count(*) FROM turns WHERE text = 'Ship 7.'"), 1);
    assert_eq!(home.raw("ses_1").lines().count(), 1 + 2 + 1199 + 1, "the new version alone is appended");
}

#[test]
fn rows_of_the_same_moment_as_the_last_one_read_are_not_missed() {
    let home = Home::new();
    let mut writer = Writer::new(&home.logs());
    writer.put(&session(&[said("prt_2", "One.")]));
    home.import(&writer.path);
    let now = writer.now;
    for (id, text) in [("prt_2", "One and a half."), ("prt_3", "Two.")] {
        writer.now = now - 60_000;
        writer.part(&said(id, text));
    }
    // Inserted, so that the count tells that something came.
    home.import(&writer.path);
    assert_eq!(home.texts("SELECT text FROM turns ORDER BY row"), ["Ring the bell.", "One and a half.", "Two."]);
    assert_eq!(home.import(&writer.path).records, 0);
}
