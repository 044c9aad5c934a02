//! Databases of CogCommit: of all its names and versions, with what people made of their conversations.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::common::{ClaudeLog, World};

/// The tables as the first version made them, and what each later one added.
const V1: &str = "
    CREATE TABLE cognitive_commits (id TEXT PRIMARY KEY, git_hash TEXT, started_at TEXT NOT NULL, closed_at TEXT NOT NULL,
        closed_by TEXT NOT NULL, parallel INTEGER DEFAULT 0, files_read TEXT, files_changed TEXT);
    CREATE TABLE sessions (id TEXT PRIMARY KEY, commit_id TEXT REFERENCES cognitive_commits(id), started_at TEXT NOT NULL,
        ended_at TEXT NOT NULL);
    CREATE TABLE turns (id TEXT PRIMARY KEY, session_id TEXT REFERENCES sessions(id), role TEXT NOT NULL, content TEXT,
        timestamp TEXT NOT NULL, tool_calls TEXT, triggers_visual INTEGER DEFAULT 0);
    CREATE TABLE visuals (id TEXT PRIMARY KEY, commit_id TEXT REFERENCES cognitive_commits(id), type TEXT NOT NULL,
        path TEXT NOT NULL, captured_at TEXT NOT NULL, caption TEXT);
    CREATE TABLE daemon_state (key TEXT PRIMARY KEY, value TEXT);
    CREATE TABLE schema_version (version INTEGER PRIMARY KEY);";
const V2: &str = "
    ALTER TABLE cognitive_commits ADD COLUMN published INTEGER DEFAULT 0;
    ALTER TABLE cognitive_commits ADD COLUMN hidden INTEGER DEFAULT 0;
    ALTER TABLE cognitive_commits ADD COLUMN display_order INTEGER DEFAULT 0;
    ALTER TABLE cognitive_commits ADD COLUMN title TEXT;";
const V6: &str = "
    ALTER TABLE cognitive_commits ADD COLUMN project_name TEXT;
    ALTER TABLE turns ADD COLUMN model TEXT;
    ALTER TABLE cognitive_commits ADD COLUMN source TEXT DEFAULT 'claude_code';
    ALTER TABLE cognitive_commits ADD COLUMN cloud_id TEXT;
    ALTER TABLE cognitive_commits ADD COLUMN sync_status TEXT DEFAULT 'pending';
    ALTER TABLE cognitive_commits ADD COLUMN cloud_version INTEGER DEFAULT 0;
    ALTER TABLE cognitive_commits ADD COLUMN local_version INTEGER DEFAULT 1;
    ALTER TABLE turns ADD COLUMN sync_status TEXT DEFAULT 'pending';";
const V10: &str = "
    ALTER TABLE cognitive_commits ADD COLUMN prompt_count INTEGER DEFAULT 0;
    ALTER TABLE cognitive_commits ADD COLUMN public_slug TEXT;
    ALTER TABLE cognitive_commits ADD COLUMN published_at TEXT;
    ALTER TABLE cognitive_commits ADD COLUMN sentiment_label TEXT;
    ALTER TABLE turns ADD COLUMN has_rejection INTEGER DEFAULT 0;
    ALTER TABLE turns ADD COLUMN char_count INTEGER DEFAULT 0;";

const SESSION: &str = "ab000000-0000-4000-8000-00000000c09c";

/// A database with one session of two git commits: all its turns hang on the last commit, as in every one that CogCommit made.
struct Database {
    path: PathBuf,
    conn: Connection,
}

impl Database {
    fn new(path: &Path, versions: &[&str]) -> Self {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "journal_mode", "wal").unwrap();
        for version in versions {
            conn.execute_batch(version).unwrap();
        }
        Self { path: path.to_owned(), conn }
    }

    fn commit(&self, id: &str, hash: Option<&str>, from: &str, to: &str) -> &Self {
        let by = if hash.is_some() { "git_commit" } else { "session_end" };
        let files = json!(["/w/harbour/src/boats.rs", "/w/harbour/docs/boats.md"]).to_string();
        let sql = "INSERT INTO cognitive_commits(id, git_hash, started_at, closed_at, closed_by, files_changed)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        self.conn.execute(sql, (id, hash, at(from), at(to), by, files)).unwrap();
        self
    }

    fn turn(&self, id: &str, role: &str, time: &str, text: &str, calls: Option<Value>) -> &Self {
        let sql =
            "INSERT INTO turns(id, session_id, role, content, timestamp, tool_calls) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let calls = calls.map(|calls| calls.to_string());
        self.conn.execute(sql, (id, SESSION, role, text, at(time), calls)).unwrap();
        self
    }

    fn set(&self, sql: &str) -> &Self {
        self.conn.execute_batch(sql).unwrap();
        self
    }

    /// The session, whose commits are `one`, closed by the git commit 1a1a1a1, `two` by 2b2b2b2, and `rest`.
    fn harbour(self) -> Self {
        let commit = |id: &str| json!([{"id": id, "name": "Bash", "input": {"command": "git commit -m x"}}]);
        self.commit("one", Some("1a1a1a1"), "10:00:00", "10:02:00")
            .commit("two", Some("2b2b2b2"), "10:02:00", "10:04:00")
            .commit("rest", None, "10:04:00", "10:05:00");
        let sql = "INSERT INTO sessions VALUES (?1, 'rest', ?2, ?3)";
        self.conn.execute(sql, (SESSION, at("10:00:00"), at("10:05:00"))).unwrap();
        let edit = json!([{"id": "toolu_e", "name": "Edit", "input": {"file_path": "/w/harbour/src/boats.rs"},
            "result": "The file was updated.", "isError": false}]);
        self.turn("u1", "user", "10:00:00", "Count the boats.", None)
            .turn("u2", "assistant", "10:01:00", "I count them.", Some(edit))
            .turn("u3", "assistant", "10:02:00", "", Some(commit("toolu_1")))
            .turn("u4", "user", "10:03:00", "Now sort them.", None)
            .turn("u5", "assistant", "10:04:00", "", Some(commit("toolu_2")))
            .turn("u6", "user", "10:05:00", "And paint them.", None);
        self
    }
}

fn at(time: &str) -> String {
    format!("2026-09-05T{time}.000Z")
}

fn import(world: &World, code: i32) -> Value {
    world.run(&["import", "--from", "cogcommit", "--json"]).exits(code).json()
}

fn query(world: &World, sql: &str) -> Vec<String> {
    let conn = Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut query = conn.prepare(sql).unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

const COMMITS: &str =
    "SELECT printf('%s|%s|%d|%d|%d', coalesce(git_hash, '-'), title, hidden, published, display_order)
    FROM cognitive_commits ORDER BY started_at";

#[test]
fn a_session_that_lost_all_but_its_last_commit_has_them_again_with_what_was_made_of_each() {
    let world = World::new();
    let database = Database::new(&world.user().join(".tuhnr/global/data.db"), &[V1, V2, V6, V10]).harbour();
    database.set(
        "UPDATE cognitive_commits SET project_name = 'harbour';
         UPDATE cognitive_commits SET title = 'All boats, counted', published = 1, published_at = '2026-09-06T08:00:00.000Z'
             WHERE id = 'one';
         UPDATE cognitive_commits SET hidden = 1, display_order = 7, cloud_id = 'x', sync_status = 'synced' WHERE id = 'two';
         UPDATE turns SET model = 'claude-opus-4-6' WHERE role = 'assistant';
         INSERT INTO visuals VALUES ('v1', 'rest', 'screenshot', '/tmp/../../etc/shot.png', '2026-09-05T10:02:30.000Z', 'The quay');",
    );
    let shots = database.path.parent().unwrap().join("screenshots");
    fs::create_dir(&shots).unwrap();
    let picture = super::fixture("chatgpt/file-B0a7Picture01-harbour.png");
    fs::copy(picture, shots.join("shot.png")).unwrap();
    let summary = import(&world, 0);
    assert_eq!((&summary["sessions"], &summary["commits"]), (&json!(1), &json!(3)), "{summary}");
    assert_eq!(summary["edits"], 4, "{summary}");
    assert_eq!(
        query(&world, COMMITS),
        ["1a1a1a1|All boats, counted|0|1|0", "2b2b2b2|Now sort them|1|0|7", "-|And paint them|0|0|0"]
    );
    assert_eq!(query(&world, "SELECT name FROM projects"), ["harbour"]);
    assert_eq!(query(&world, "SELECT path FROM project_paths"), ["/w/harbour"]);
    assert_eq!(query(&world, "SELECT sha256 FROM visuals").len(), 1, "the screenshot, from CogCommit's own folder");
    assert_eq!(query(&world, "SELECT DISTINCT model FROM turns WHERE model IS NOT NULL"), ["claude-opus-4-6"]);

    // An edit whose time is known is as old as it is.
    let log = world.run(&["log", "--json", "--days", "9999"]).exits(0).json();
    let edits: Vec<&Value> = log["edits"].as_array().or(log.as_array()).unwrap().iter().collect();
    assert_eq!(edits.len(), 4, "{log:#}");
    assert!(edits.iter().all(|edit| edit["origin"] == "import"), "{log:#}");
    assert!(log.to_string().contains("2026-09-06T08:00:00"), "when it was published is known: {log:#}");
    assert_eq!(query(&world, "SELECT count(*) || '' FROM sync_queue"), ["2"], "they wait for the cloud");

    let before = world.dump();
    import(&world, 0);
    assert_eq!(world.dump(), before, "a second import");
    // Touched, and read again.
    database.set("UPDATE cognitive_commits SET cloud_version = 9");
    import(&world, 0);
    let changed = |line: &String| !before.contains(line) && !line.starts_with("sources") && !line.starts_with("state");
    assert_eq!(world.dump().into_iter().filter(changed).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_title_that_was_edited_here_stays_and_one_that_was_changed_there_comes() {
    let world = World::new();
    let database = Database::new(&world.user().join(".tuhnr/global/data.db"), &[V1, V2]).harbour();
    database.set("UPDATE cognitive_commits SET title = 'Theirs ' || id WHERE id IN ('one', 'two')");
    import(&world, 0);
    let id = query(&world, "SELECT lower(hex(id)) FROM cognitive_commits ORDER BY started_at LIMIT 1").remove(0);
    world.run(&["edit", &id, "--title", "Mine"]).exits(0);
    database.set("UPDATE cognitive_commits SET title = 'Changed ' || id WHERE id IN ('one', 'two')");
    import(&world, 0);
    let titles = query(&world, "SELECT title FROM cognitive_commits ORDER BY started_at LIMIT 2");
    assert_eq!(titles, ["Mine", "Changed two"]);
    // What was taken back here is not made again.
    let log = world.run(&["log", "--json"]).exits(0).json();
    let last = log["edits"].as_array().or(log.as_array()).unwrap()[0]["edit"].to_string();
    world.run(&["undo", &last]).exits(0);
    database.set("UPDATE cognitive_commits SET title = 'Once more' WHERE id = 'two'");
    import(&world, 0);
    let titles = query(&world, "SELECT title FROM cognitive_commits ORDER BY started_at LIMIT 2");
    assert!(titles[0] == "Mine" && titles[1] != "Once more", "{titles:?}");
}

#[test]
fn all_names_and_versions_of_cogcommit_are_read_even_what_it_cannot_open_itself() {
    let world = World::new();
    for (name, versions) in [
        (".shipchronicle", &[V1][..]),
        (".agentlogs", &[V1, V2]),
        (".cogcommit", &[V1, V2, V6]),
        (".tuhnr", &[V1, V2, V6, V10]),
    ] {
        let place = if name == ".cogcommit" { "0123456789ab" } else { "global" };
        let path = world.user().join(name).join(place).join("data.db");
        let database = Database::new(&path, versions).harbour();
        // Each era began with an empty store: other sessions, with ids of their own.
        database.set(&format!(
            "PRAGMA foreign_keys = OFF;
             UPDATE turns SET id = '{name}-' || id, session_id = '{name}-session';
             UPDATE sessions SET id = '{name}-session';"
        ));
        if name == ".cogcommit" {
            // Upgraded once: its next start ends with `duplicate column name: prompt_count`.
            database.set(V10);
            database.set("INSERT INTO schema_version VALUES (6), (10)");
        }
    }
    let summary = import(&world, 0);
    assert_eq!((&summary["files"], &summary["sessions"]), (&json!(4), &json!(4)), "{summary}");
    // Of one project, and of the same hashes: the same commits.
    assert_eq!(query(&world, "SELECT DISTINCT hash FROM git_commits ORDER BY hash"), ["1a1a1a1", "2b2b2b2"]);
    assert!(
        world.run(&["doctor", "--formats", "--json"]).exits(0).json()["unknown_kinds"].as_array().unwrap().is_empty()
    );
}

#[test]
fn a_session_that_has_its_own_log_gets_no_more_than_what_was_made_of_it() {
    let world = World::new();
    let mut log = ClaudeLog::new("harbour", 1);
    log.user("Count the boats.")
        .assistant("I count them.")
        .git_commit("1a1a1a1", "count")
        .user("And now?")
        .assistant("Rest.");
    let path = log.write(&world.claude());
    let records: Vec<Value> = log.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let session = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let time = |at: usize| records[at]["timestamp"].as_str().unwrap().to_owned();
    let called = records.iter().position(|r| r.to_string().contains("git commit")).unwrap();
    let database = Database::new(&world.user().join(".tuhnr/global/data.db"), &[V1, V2, V6]);
    let sql = "INSERT INTO cognitive_commits(id, git_hash, started_at, closed_at, closed_by, title)
        VALUES ('one', '1a1a1a1', ?1, ?2, 'git_commit', 'Counted')";
    database.conn.execute(sql, (time(0), time(called))).unwrap();
    let sql = "INSERT INTO sessions VALUES (?1, 'one', ?2, ?3)";
    database.conn.execute(sql, (&session, time(0), time(records.len() - 1))).unwrap();
    let first = records[0]["uuid"].as_str().unwrap();
    let sql =
        "INSERT INTO turns(id, session_id, role, content, timestamp) VALUES (?1, ?2, 'user', 'Count the boats.', ?3)";
    database.conn.execute(sql, (first, &session, time(0))).unwrap();

    // Asked for CogCommit alone: the log that is still there is read all the same, for it says more.
    import(&world, 0);
    let told = query(&world, "SELECT t.text FROM turns t WHERE t.text <> '' ORDER BY t.row");
    assert_eq!(told, ["Count the boats.", "I count them.", "And now?", "Rest."]);
    assert_eq!(query(&world, "SELECT title FROM cognitive_commits ORDER BY started_at LIMIT 1"), ["Counted"]);
    let before = world.dump();
    world.run(&["import", "--json"]).exits(0);
    assert_eq!(world.dump(), before, "the log is here already");
}

#[test]
fn a_log_that_comes_after_its_rows_meets_the_same_turns() {
    let world = World::new();
    let mut log = ClaudeLog::new("harbour", 1);
    log.user("Count the boats.").assistant("I count them.").user("Thanks.");
    let path = log.write(&world.logs());
    let records: Vec<Value> = log.lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let session = path.file_stem().unwrap().to_str().unwrap();
    let database = Database::new(&world.user().join(".tuhnr/global/data.db"), &[V1, V2, V6]);
    for record in &records {
        let content = &record["message"]["content"];
        let text = content.as_str().or_else(|| content[0]["text"].as_str()).unwrap();
        let sql = "INSERT INTO turns(id, session_id, role, content, timestamp) VALUES (?1, ?2, ?3, ?4, ?5)";
        database.set("PRAGMA foreign_keys = OFF");
        let [id, role, at] = [&record["uuid"], &record["type"], &record["timestamp"]].map(|v| v.as_str().unwrap());
        database.conn.execute(sql, (id, session, role, text, at)).unwrap();
    }
    import(&world, 0);
    assert_eq!(query(&world, "SELECT text FROM turns ORDER BY row").len(), 3, "a session that only turns tell of");
    world.import(&[&world.logs()]);
    assert_eq!(query(&world, "SELECT text FROM turns ORDER BY row"), ["Count the boats.", "I count them.", "Thanks."]);
}

#[test]
fn each_row_that_cannot_be_read_is_named_and_the_rest_goes_on() {
    let world = World::new();
    let database = Database::new(&world.user().join(".tuhnr/global/data.db"), &[V1, V2]).harbour();
    database.set(
        "UPDATE turns SET timestamp = 'yesterday' WHERE id = 'u4';
         UPDATE turns SET tool_calls = '[{broken' WHERE id = 'u2';
         UPDATE turns SET content = CAST(x'ff00fe' AS TEXT) WHERE id = 'u6';
         INSERT INTO cognitive_commits(id, started_at, closed_at, closed_by, title) VALUES ('odd', 'x', 'y', 'explicit', 'T');
         INSERT INTO cognitive_commits(id, started_at, closed_at, closed_by, title)
             VALUES ('lost', '2020-01-01T00:00:00Z', '2020-01-01T01:00:00Z', 'session_end', 'A title of nothing');",
    );
    let summary = import(&world, 3);
    let told = summary["skipped"].to_string();
    for wanted in ["turn u4", "yesterday", "turn u2", "cognitive_commits, odd", "commit lost", "A title of nothing"] {
        assert!(told.contains(wanted), "{wanted} is not named: {told}");
    }
    let turns = query(&world, "SELECT text FROM turns WHERE text <> '' ORDER BY row");
    assert!(turns.len() >= 4 && turns.contains(&"Now sort them.".to_owned()), "{turns:?}");
    let damaged = world.user().join(".agentlogs/global/data.db");
    fs::create_dir_all(damaged.parent().unwrap()).unwrap();
    database.set("PRAGMA wal_checkpoint(TRUNCATE)");
    let mut bytes = fs::read(&database.path).unwrap();
    // The rows' pages are gone, that of the tables' names is there.
    let rows = bytes.iter_mut().skip(4096);
    rows.for_each(|byte| *byte = 0xff);
    fs::write(&damaged, &bytes).unwrap();
    let summary = import(&world, 3);
    assert!(summary["skipped"].to_string().contains("agentlogs"), "{summary}");
}

#[test]
fn without_a_database_it_says_where_one_was_looked_for() {
    let world = World::new();
    let ran = world.run(&["import", "--from", "cogcommit"]).exits(1);
    assert!(ran.stderr.contains(".tuhnr") && ran.stderr.contains("--from cogcommit PATH"), "{}", ran.stderr);
    let ran = world.run(&["import", "--from", "chatgpt"]).exits(1);
    assert!(ran.stderr.contains("Export data"), "{}", ran.stderr);
    world.run(&["import", "--from", "nonsense"]).exits(2);
}
