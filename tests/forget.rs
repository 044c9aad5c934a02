//! What is forgotten is gone from every page, listing, search and file, and no import brings it back.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use common::{ClaudeLog, Mount, World, wait_until};
use rusqlite::Connection;
use serde_json::{Value, json};

/// What a change may take to show on a mount.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// A word of the log that is forgotten, of the one that stays.
const GONE: &str = "Quaggaberry";
const STAYS: &str = "Heliotrope";

/// The bytes of a picture, of which no other is.
fn picture() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(b"\x89PNG\r\n\x1a\n not much of a picture")
}

fn database(world: &World) -> Connection {
    let conn = Connection::open(world.home().join("data/cogfs.db")).unwrap();
    conn.busy_timeout(Duration::from_secs(60)).unwrap();
    conn
}

/// Where a word stands in the data folder, whatever part of whatever file; raw records are decompressed.
fn places_of(world: &World, word: &str) -> Vec<String> {
    let lower = word.to_lowercase();
    let holds = |bytes: &[u8]| {
        let found = |word: &str| memchr::memmem::find(bytes, word.as_bytes()).is_some();
        found(word) || found(&lower)
    };
    let mut places: Vec<String> = common::files_of(&world.home())
        .filter(|path| fs::read(path).is_ok_and(|bytes| holds(&bytes)) || holds(path.as_os_str().as_encoded_bytes()))
        .map(|path| path.display().to_string())
        .collect();
    let conn = database(world);
    let mut query = conn.prepare("SELECT session_row, data FROM raw_chunks").unwrap();
    let chunks = query.query_map([], |r| Ok((r.get::<_, i64>(0)?, r.get::<_, Vec<u8>>(1)?))).unwrap();
    for (session, data) in chunks.map(Result::unwrap) {
        if holds(&zstd::decode_all(&data[..]).unwrap()) {
            places.push(format!("records of session {session}"));
        }
    }
    places
}

#[track_caller]
fn assert_gone(world: &World, word: &str) {
    let places = places_of(world, word);
    assert!(places.is_empty(), "{word} stands in {places:#?}");
    let found = world.dump().into_iter().filter(|line| line.contains(word)).collect::<Vec<_>>();
    assert!(found.is_empty(), "{word} stands in {found:#?}");
    let index = Connection::open(world.home().join("data/search.db")).unwrap();
    let sql = "SELECT count(*) FROM turns_fts WHERE turns_fts MATCH ?1";
    let hits: i64 = index.query_row(sql, [word], |r| r.get(0)).unwrap();
    assert_eq!(hits, 0, "the search finds it");
}

/// A session that says a word in all the places a log has for one, and makes a git commit.
fn log_of(project: &str, number: u32, word: &str) -> ClaudeLog {
    let mut log = ClaudeLog::new(project, number);
    let session = log.session().to_owned();
    log.user(&format!("Plant the {word} hedge.")).assistant(&format!("The {word} is planted."));
    log.tool("Read", &json!({"file_path": format!("/w/{project}/{word}.md")}), false);
    log.write_file(&format!("/w/{project}/garden/{word}/plan.md"));
    let image = json!([{"type": "text", "text": word},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture()}}]);
    log.record("user", &json!({"message": {"role": "user", "content": image}}));
    log.line(
        &json!({"type": "custom-title", "customTitle": format!("{word} hedge"), "sessionId": session}).to_string(),
    );
    log.line(&json!({"type": "last-prompt", "lastPrompt": format!("plant {word}"), "sessionId": session}).to_string());
    log.line(&json!({"type": "odd-news", "sessionId": session, "x": word}).to_string());
    log.git_commit(&format!("4be9{number:03x}"), &format!("Plant {word}"));
    log
}

/// Two sessions of two projects, and one of both in one.
fn garden() -> (World, ClaudeLog, ClaudeLog) {
    let world = World::new();
    let (gone, stays) = (log_of("beds", 1, GONE), log_of("paths", 2, STAYS));
    for log in [&gone, &stays] {
        log.write(&world.logs());
    }
    world.import(&[&world.logs()]);
    assert!(!places_of(&world, GONE).is_empty());
    (world, gone, stays)
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} of {value}")).to_owned()
}

/// A column of one row of the main database.
fn one(world: &World, sql: &str) -> String {
    database(world).query_row(sql, [], |r| r.get(0)).unwrap()
}

fn commit_id(world: &World, project: &str) -> String {
    one(
        world,
        &format!(
            "SELECT lower(hex(c.id)) FROM cognitive_commits c JOIN projects p ON p.row = c.project_row
             WHERE p.dir_name = '{project}' ORDER BY c.row LIMIT 1"
        ),
    )
}

fn session_id(world: &World, native: &str, part: u32) -> String {
    one(world, &format!("SELECT lower(hex(id)) FROM sessions WHERE native_id = '{native}' AND part = {part}"))
}

fn forget(world: &World, arguments: &[&str]) -> Value {
    let all: Vec<&str> = ["forget", "--yes", "--json"].iter().chain(arguments).copied().collect();
    world.run(&all).exits(0).json()
}

/// What a mount shows below a directory, each file with its bytes; without counts of everything.
fn shown(world: &World, below: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mount = Mount::with(world, &world.root().join("look"), &["--no-watch"]);
    let dir = mount.path(below);
    let files = if dir.exists() { common::files(&dir) } else { Vec::new() };
    files.into_iter().map(|path| (path.strip_prefix(&dir).unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// The data folder after an import that brings nothing: what of it may differ is when a log was looked at.
fn rows(world: &World) -> Vec<String> {
    let mut rows = world.dump();
    rows.retain(|row| !row.starts_with("sources:") && !row.starts_with("state:") && !row.starts_with("changes:"));
    rows
}

/// An import of the logs as they are now, and one of everything from the start.
#[track_caller]
fn imports_bring_nothing(world: &World) {
    world.import(&[&world.logs()]);
    let once = rows(world);
    assert_gone(world, GONE);
    database(world).execute_batch("DELETE FROM sources").unwrap();
    world.import(&[&world.logs()]);
    assert_eq!(rows(world), once, "a second import");
    assert_gone(world, GONE);
}

#[test]
fn a_commit_goes_with_everything_and_nothing_else_is_touched() {
    let (world, _, _) = garden();
    let look = |world: &World| common::fuse_available().then(|| shown(world, "projects/paths"));
    let before = look(&world);
    let id = commit_id(&world, "beds");
    let outcome = forget(&world, &[&id[..8]]);
    assert_eq!((&outcome["commits"], &outcome["sessions"], &outcome["projects"]), (&json!(1), &json!(1), &json!(1)));
    assert!(outcome["turns"].as_u64() > Some(5) && outcome["records"].as_u64() > Some(9), "{outcome}");
    assert_eq!((&outcome["pictures"], &outcome["not_erased"]), (&json!(1), &json!([])));
    assert!(outcome["bytes"].as_u64() > Some(1000), "{outcome}");
    assert!(outcome["paths"][0].as_str().unwrap().starts_with("projects/beds/"), "{outcome}");
    assert_eq!(common::files(&world.home().join("data/blobs")).len(), 1, "the other has the same picture");
    assert_gone(&world, GONE);
    assert_eq!(look(&world), before);
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["projects"], 1);
    let again = forget(&world, &[&id[..8]]);
    assert_eq!((&again["already"], &again["turns"]), (&json!(true), &json!(0)));
    let said = world.run(&["forget", "--yes", &id]).exits(0).stdout;
    assert!(said.contains("already"), "{said}");
}

#[test]
fn a_picture_that_nobody_else_has_goes() {
    let world = World::new();
    log_of("beds", 1, GONE).write(&world.logs());
    world.import(&[&world.logs()]);
    forget(&world, &["--project", "projects/beds/"]);
    assert!(common::files(&world.home().join("data/blobs")).is_empty());
    assert_gone(&world, GONE);
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["projects"], 0);
    assert!(world.run(&["forget", "--yes", "--project", "beds"]).exits(1).stderr.contains("no project beds"));
}

#[test]
fn a_part_goes_and_what_follows_its_git_commit_stays_and_grows() {
    let world = World::new();
    let mut log = log_of("beds", 1, GONE);
    log.user(&format!("Now the {STAYS}.")).assistant(&format!("{STAYS} it is."));
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    // The title of a session is that of all its parts.
    let title = "UPDATE sessions SET title = NULL; UPDATE cognitive_commits SET title = '', dir_name = 'c' || row";
    database(&world).execute_batch(title).unwrap();
    forget(&world, &[&session_id(&world, log.session(), 1)]);
    assert_gone(&world, GONE);
    assert!(!places_of(&world, STAYS).is_empty());
    let first = log.lines.len();
    log.user("More of it.").assistant("There is more.");
    log.append(&world.logs(), first);
    world.import(&[&world.logs()]);
    let turns = "SELECT group_concat(text, '|') FROM (SELECT text FROM turns WHERE role <> 0 ORDER BY row)";
    assert_eq!(one(&world, turns), "Now the Heliotrope.|Heliotrope it is.|More of it.|There is more.");
    assert_gone(&world, &format!("Plant the {GONE}"));
}

#[test]
fn what_a_log_adds_to_a_forgotten_part_goes_too_until_a_git_commit_ends_it() {
    let world = World::new();
    let mut log = ClaudeLog::new("beds", 1);
    log.user(&format!("Plant the {GONE}.")).assistant("Yes.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    forget(&world, &[&session_id(&world, log.session(), 1)]);
    for step in 0..3 {
        let first = log.lines.len();
        log.user(&format!("And {GONE} {step}.")).bash("ls", GONE).assistant(GONE);
        log.line(&json!({"type": "queue-operation", "operation": "enqueue", "content": GONE}).to_string());
        log.append(&world.logs(), first);
        imports_bring_nothing(&world);
    }
    let first = log.lines.len();
    log.git_commit("4be91d7", &format!("Plant {GONE}")).assistant(&format!("{GONE} is in."));
    log.append(&world.logs(), first);
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["turns"], 0);
    let first = log.lines.len();
    log.user(&format!("Now the {STAYS}.")).assistant("Done.");
    log.append(&world.logs(), first);
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["turns"], 2);
    assert!(!places_of(&world, STAYS).is_empty());
}

#[test]
fn neither_a_copy_nor_a_log_with_more_lines_brings_anything_back() {
    let (world, mut gone, _) = garden();
    forget(&world, &["--project", "beds"]);
    let path = gone.path(&world.logs());
    fs::File::open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    imports_bring_nothing(&world);
    gone.assistant(&format!("One more {GONE}."));
    gone.write(&world.logs());
    imports_bring_nothing(&world);
    let copy = world.root().join("elsewhere").join(path.file_name().unwrap());
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(&path, &copy).unwrap();
    world.import(&[&copy]);
    imports_bring_nothing(&world);
}

/// The log of a session that goes on where another one was, as `--resume --fork-session` writes it.
fn fork(of: &ClaudeLog, new_ids: bool) -> ClaudeLog {
    let mut fork = ClaudeLog::new("beds", 77);
    let session = fork.session().to_owned();
    for line in &of.lines {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["sessionId"] = json!(session);
        if new_ids && record.get("uuid").is_some() {
            record["uuid"] = json!(text(&record, "uuid").replace("-0000-4000-8000-", "-1111-4000-8000-"));
        }
        fork.line(&record.to_string());
    }
    fork
}

#[test]
fn a_fork_brings_what_is_its_own_alone() {
    for new_ids in [false, true] {
        let world = World::new();
        let mut log = log_of("beds", 1, GONE);
        // No title and no second part: those of a fork would be its own.
        log.lines.retain(|line| !line.contains("custom-title"));
        log.write(&world.logs());
        world.import(&[&world.logs()]);
        forget(&world, &[&commit_id(&world, "beds")]);
        let mut fork = fork(&log, new_ids);
        fork.write(&world.logs());
        imports_bring_nothing(&world);
        assert_eq!(world.stats()["turns"], 0, "new ids: {new_ids}");
        let first = fork.lines.len();
        fork.user(&format!("Now the {STAYS}.")).assistant("Done.");
        fork.append(&world.logs(), first);
        imports_bring_nothing(&world);
        assert_eq!(world.stats()["turns"], 2, "new ids: {new_ids}");
    }
}

/// A session with a subagent in a file of its own.
fn with_subagent(world: &World) -> (ClaudeLog, PathBuf) {
    let mut log = ClaudeLog::new("beds", 1);
    log.user("Ask somebody.").assistant("I do.").user("Thanks.");
    let path = log.write(&world.logs());
    let mut helper = ClaudeLog::new("beds", 1);
    helper.user(&format!("Look for {GONE}.")).assistant(&format!("{GONE} is there."));
    let lines = helper.lines.iter().enumerate().map(|(n, line)| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record["agentId"] = json!("a2271d1");
        record["isSidechain"] = json!(true);
        record["uuid"] = json!(format!("99999999-0000-4000-8000-{n:012x}"));
        record.to_string() + "\n"
    });
    let dir = path.with_extension("").join("subagents");
    fs::create_dir_all(&dir).unwrap();
    let agent = dir.join("agent-a2271d1.jsonl");
    fs::write(&agent, lines.collect::<String>()).unwrap();
    (log, agent)
}

#[test]
fn a_subagent_goes_alone_or_with_its_session() {
    let world = World::new();
    let (log, _) = with_subagent(&world);
    world.import(&[&world.logs()]);
    assert_eq!(world.stats()["subagents"], 1);
    let subagent = one(&world, "SELECT lower(hex(id)) FROM sessions WHERE parent_row IS NOT NULL");
    let outcome = forget(&world, &[&subagent]);
    assert_eq!((&outcome["sessions"], &outcome["commits"]), (&json!(1), &json!(0)));
    assert_gone(&world, GONE);
    imports_bring_nothing(&world);
    assert_eq!((&world.stats()["subagents"], &world.stats()["turns"]), (&json!(0), &json!(3)));
    let outcome = forget(&world, &[&session_id(&world, log.session(), 1)]);
    assert_eq!((&outcome["sessions"], &outcome["commits"]), (&json!(1), &json!(1)));

    let world = World::new();
    let (log, _) = with_subagent(&world);
    world.import(&[&world.logs()]);
    let outcome = forget(&world, &[&session_id(&world, log.session(), 1)]);
    assert_eq!((&outcome["sessions"], &outcome["commits"]), (&json!(2), &json!(1)));
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["turns"], 0);
}

#[test]
fn a_subagent_that_comes_after_its_session_was_forgotten_is_forgotten() {
    let world = World::new();
    let (log, agent) = with_subagent(&world);
    let bytes = fs::read(&agent).unwrap();
    fs::remove_file(&agent).unwrap();
    world.import(&[&world.logs()]);
    forget(&world, &[&session_id(&world, log.session(), 1)]);
    fs::write(&agent, bytes).unwrap();
    imports_bring_nothing(&world);
    assert_eq!(world.stats()["turns"], 0);
}

#[test]
fn turns_and_records_with_a_text_go_and_the_rest_of_the_session_stays() {
    let world = World::new();
    let mut log = ClaudeLog::new("beds", 1);
    let secret = "Quaggaberry \"key\"\tü/1";
    log.user(&format!("Use {secret} for it. Then go on.")).assistant("I will not repeat it.");
    log.bash(&format!("login {secret}"), "Welcome.").bash("whoami", &format!("{secret}\n"));
    log.write_file("/w/beds/Quaggaberry \"key\"\tü/1/x.md").write_file("/w/beds/hedge.md");
    log.line(&json!({"type": "last-prompt", "lastPrompt": secret, "sessionId": log.session()}).to_string());
    log.user("Then the hedge.").assistant("It is done.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let number = "SELECT group_concat(row & 65535) FROM turns WHERE role <> 0";
    assert_eq!(one(&world, number), "1,2,3,4,5,6,7,8");
    let dry: Value = world.run(&["forget", "--dry-run", "--json", "--match", secret]).exits(0).json();
    let outcome = forget(&world, &["--match", secret]);
    assert_eq!((&dry["turns"], &dry["records"]), (&outcome["turns"], &outcome["records"]));
    assert_eq!((&outcome["turns"], &outcome["sessions"]), (&json!(4), &json!(0)));
    assert_gone(&world, GONE);
    assert_eq!(one(&world, number), "2,6,7,8", "others keep their numbers");
    assert_eq!(one(&world, "SELECT title FROM cognitive_commits"), "Then the hedge");
    assert_eq!(one(&world, "SELECT group_concat(name, '/') FROM facets WHERE kind = 6"), "hedge.md");
    world.assert_consistent();
    imports_bring_nothing(&world);
    assert_eq!(one(&world, number), "2,6,7,8");
    let first = log.lines.len();
    log.user("And water it.");
    log.append(&world.logs(), first);
    imports_bring_nothing(&world);
    assert_eq!(one(&world, number), "2,6,7,8,9", "the session goes on");
    assert!(world.run(&["forget", "--yes", "--match", secret]).exits(0).stdout.contains("Nothing holds it"));
    assert!(world.run(&["forget", "--yes", "--match", ""]).exits(1).stderr.contains("empty"));
}

#[test]
fn a_single_turn_goes_by_its_id() {
    let (world, _, _) = garden();
    let sql = format!("SELECT lower(hex(id)) FROM turns WHERE text = 'The {GONE} is planted.'");
    let id = one(&world, &sql);
    let outcome = forget(&world, &[&id]);
    assert_eq!((&outcome["turns"], &outcome["sessions"]), (&json!(1), &json!(0)));
    assert!(outcome["paths"][0].as_str().unwrap().ends_with("/turns/0002-assistant.md"), "{outcome}");
    let said = format!("The {GONE} is planted.");
    assert_eq!(places_of(&world, &said), Vec::<String>::new());
    let call = one(
        &world,
        &format!("SELECT lower(hex(id)) FROM turns WHERE tool_name = 'Read' AND tool_input LIKE '%{GONE}%'"),
    );
    let outcome = forget(&world, &[&call]);
    assert_eq!((&outcome["turns"], &outcome["records"]), (&json!(1), &json!(2)), "a call and its result");
    assert_eq!(places_of(&world, &format!("/w/beds/{GONE}.md")), Vec::<String>::new());
    world.import(&[&world.logs()]);
    assert_eq!(places_of(&world, &said), Vec::<String>::new());
    assert_eq!(places_of(&world, &format!("/w/beds/{GONE}.md")), Vec::<String>::new());
    let left = format!("SELECT CAST(count(*) AS TEXT) FROM turns WHERE text = 'The {GONE} is planted.'");
    assert_eq!(one(&world, &left), "0");
    assert_eq!(forget(&world, &[&id])["already"], true);
}

#[test]
fn nothing_is_removed_without_a_yes_and_what_is_no_id_is_told() {
    let (world, _, _) = garden();
    let before = world.dump();
    let id = commit_id(&world, "beds");
    let mut command = world.cogfs(&["forget", &id]);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--yes"));
    let said = world.run(&["forget", "--dry-run", &id]).exits(0).stdout;
    assert!(said.contains("Nothing was removed (--dry-run)") && said.contains("1 commit, 1 session"), "{said}");
    assert_eq!(world.run(&["forget", "--dry-run", "--yes", "--json", &id]).exits(0).json()["dry_run"], true);
    for (argument, said) in [("12345", "six or more"), ("hello-world", "is no id"), ("ffffffffffff", "nothing has")] {
        let ran = world.run(&["forget", "--yes", argument]).exits(1);
        assert!(ran.stderr.contains(said), "{}", ran.stderr);
    }
    world.run(&["forget", "--yes"]).exits(2);
    world.run(&["forget", "--yes", &id, "--project", "beds"]).exits(2);
    assert_eq!(world.dump(), before, "not a row");
}

#[test]
fn what_was_left_in_the_files_by_a_killed_run_is_erased_by_the_next_command() {
    let (world, _, _) = garden();
    let layout = cogfs::store::Layout::new(world.home().join("data"));
    let mut writer = cogfs::store::Writer::open(&layout).unwrap();
    let target = cogfs::forget::Target::Project("beds".to_owned());
    cogfs::forget::run(&mut writer, &target, false).unwrap();
    drop(writer);
    assert!(!places_of(&world, GONE).is_empty(), "the words are in the index still");
    let told = world.run(&["doctor", "--json"]).json().to_string();
    assert!(told.contains("not erased"), "{told}");
    world.import(&[&world.logs()]);
    assert_gone(&world, GONE);
}

#[test]
fn a_mount_shows_nothing_of_it_any_more() {
    needs_fuse!();
    let (world, _, _) = garden();
    let mount = Mount::new(&world);
    let turn =
        common::turn_files(mount.dir()).into_iter().find(|path| common::stands_in(std::slice::from_ref(path), GONE));
    let turn = turn.expect("a turn with the word");
    let mut open = fs::File::open(&turn).unwrap();
    let mut before = String::new();
    open.read_to_string(&mut before).unwrap();
    for path in common::files(mount.dir()) {
        fs::read(&path).unwrap();
    }
    let names = || {
        let walk = walkdir::WalkDir::new(mount.dir()).into_iter().filter_map(Result::ok);
        walk.map(|entry| entry.path().display().to_string()).filter(|path| path.contains("beds") || path.contains(GONE))
    };
    assert!(names().count() > 10);
    forget(&world, &["--project", "beds"]);
    wait_until(SHOWN_WITHIN, "its names are gone", || names().count() == 0);
    assert!(!turn.exists());
    let read = open.seek(SeekFrom::Start(0)).and_then(|_| open.read(&mut [0; 64]));
    assert!(read.is_err(), "an open file gives {read:?}");
    assert!(!common::stands_in(&common::files(mount.dir()), "beds"), "no page names it");
}
