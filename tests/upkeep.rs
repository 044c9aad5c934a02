//! What is computed and stored is put right when it is wrong, and is right in a mount at every moment, also when another
//! version of the program measured it.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cogfs::ingest::{self, Options};
use cogfs::store::{Layout, Writer};
use cogfs::upkeep::lengths;
use cogfs::upkeep::repair::{self, Mode};
use common::{ClaudeLog, Mount, World, wait_until};
use rusqlite::Connection;

const PATIENCE: Duration = Duration::from_secs(60);

/// Lengths that are wrong, of a version of the renderer that is none.
const OUTDATED: &str = "UPDATE sessions SET render_version = 4000000, section_bytes = section_bytes + 7, section_turn_links = 7, page_bytes = 7";

fn database(world: &World) -> Connection {
    let conn = Connection::open(world.home().join("data/cogfs.db")).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn
}

/// Makes every session one of another renderer's, with lengths that are all wrong.
fn outdate(conn: &Connection) -> i64 {
    conn.execute_batch(OUTDATED).unwrap();
    let indexes: Vec<(i64, Vec<u8>)> = conn
        .prepare("SELECT row, turn_index FROM sessions")
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (row, mut index) in indexes {
        // The length of every turn's file: bytes 4 to 7 of its entry.
        index.chunks_mut(16).for_each(|entry| entry[4] = entry[4].wrapping_add(13));
        conn.execute("UPDATE sessions SET turn_index = ?2 WHERE row = ?1", rusqlite::params![row, index]).unwrap();
    }
    conn.query_row("SELECT count(*) FROM sessions", [], |r| r.get(0)).unwrap()
}

fn outdated(conn: &Connection) -> i64 {
    conn.query_row("SELECT count(*) FROM sessions WHERE render_version = 4000000", [], |r| r.get(0)).unwrap()
}

/// Everything computed, one line a row.
fn computed(conn: &Connection) -> Vec<String> {
    let sql = "SELECT 's', row, section_bytes, section_turn_links, section_visual_links + 7 * page_bytes + page_links, hex(turn_index), tool_names,
            turns, prompts, tool_calls, images, models, started_at, ended_at, raw_bytes, raw_records, tokens_input,
            tokens_output, tokens_cache_read, tokens_cache_write, render_version FROM sessions
        UNION ALL SELECT 'c', row, started_at, closed_at, parallel, '', '', 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 0
            FROM cognitive_commits
        UNION ALL SELECT 'r', row, start, length, 0, '', '', 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM raw_chunks
        UNION ALL SELECT 't', row, images, 0, 0, '', '', 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM turns";
    let mut query = conn.prepare(sql).unwrap();
    let columns = query.column_count();
    let rows = query.query_map([], |row| {
        (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i)).collect::<rusqlite::Result<Vec<_>>>()
    });
    rows.unwrap().map(|row| format!("{:?}", row.unwrap())).collect()
}

/// What `stat` says of every file is what reading it gives.
#[track_caller]
fn assert_sizes_are_exact(mount: &Path) {
    let mut seen = 0;
    for path in common::files(mount) {
        // Follows the background's progress: its size is of the moment it is asked in.
        if path.ends_with(".cogfs/status.json") {
            continue;
        }
        let size = fs::metadata(&path).unwrap().len();
        assert_eq!(size, fs::read(&path).unwrap().len() as u64, "{}", path.display());
        seen += 1;
    }
    assert!(seen > 20, "only {seen} files");
}

#[test]
fn what_another_version_measured_is_measured_again_behind_a_mount_whose_sizes_are_always_exact() {
    needs_fuse!();
    let world = World::with_samples();
    let before = computed(&database(&world));
    outdate(&database(&world));
    assert_ne!(computed(&database(&world)), before);
    let mount = Mount::new(&world);
    assert_sizes_are_exact(mount.dir());
    wait_until(PATIENCE, "all sessions are measured again", || {
        common::json(&mount.path(".cogfs/status.json"))["outdated_sessions"] == 0
    });
    assert_sizes_are_exact(mount.dir());
    assert_eq!(computed(&database(&world)), before, "as an import leaves it");
    // From here on nothing is current for this mount, nor comes to be: another program changed all of it.
    outdate(&database(&world));
    world.run(&["unmount".as_ref(), mount.dir().as_os_str()]).exits(0);
    let again = Mount::new(&world);
    assert_sizes_are_exact(again.dir());
    wait_until(PATIENCE, "a next mount goes on", || outdated(&database(&world)) == 0);
}

#[test]
fn an_import_goes_on_with_sessions_that_another_version_measured() {
    let world = World::new();
    let mut log = ClaudeLog::new("shop", 1);
    log.user("one").bash("ls", &"a line\n".repeat(500)).assistant("two");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    outdate(&database(&world));
    let first = log.lines.len();
    log.bash("cat x", "y").user("three");
    log.append(&world.logs(), first);
    // The library's import alone: the command measures what is left at its end.
    let options = Options { places: vec![world.logs()], dry_run: false };
    ingest::import(&Layout::new(world.home().join("data")), &options, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(outdated(&database(&world)), 0, "the session was measured as it was written");
    world.assert_consistent();

    outdate(&database(&world));
    world.import(&[&world.logs()]);
    assert_eq!(outdated(&database(&world)), 0, "the import measures what it has nothing new for");
}

#[test]
fn stopped_or_killed_in_the_middle_the_next_run_goes_on() {
    let world = World::new();
    let big = "All work and no play makes a dull log.\n".repeat(30_000);
    for n in 1..=24 {
        ClaudeLog::new("shop", n).user("go").bash("cat big", &big).write(&world.logs());
    }
    world.import(&[&world.logs()]);
    let before = computed(&database(&world));
    let all = outdate(&database(&world));
    let stop = AtomicBool::new(false);
    let mut writer = Writer::open(&Layout::new(world.home().join("data"))).unwrap();
    lengths::update(&mut writer, &stop, &mut |_, _| stop.store(true, Ordering::Relaxed)).unwrap();
    let left = outdated(&database(&world));
    assert!(0 < left && left < all, "{left} of {all} are left: it stopped behind its first transaction");
    if common::fuse_available() {
        let mount = Mount::new(&world);
        wait_until(PATIENCE, "the mount goes on", || outdated(&database(&world)) < left);
        mount.pids().into_iter().for_each(common::mount::kill);
        drop(mount);
    }
    world.import(&[&world.logs()]);
    assert_eq!(outdated(&database(&world)), 0);
    assert_eq!(computed(&database(&world)), before);

    database(&world).execute_batch("UPDATE sessions SET section_bytes = 1").unwrap();
    let stop = AtomicBool::new(false);
    let report = repair::run(&mut writer, Mode::Mend, &stop, &mut |_| stop.store(true, Ordering::Relaxed)).unwrap();
    assert!(report.interrupted && 0 < report.lengths && report.lengths < 24, "{report:?}");
    let told = world.run(&["doctor", "--repair", "--json"]).exits(0).json();
    assert_eq!(told["report"]["lengths"], 24 - report.lengths, "what was repaired stayed");
    assert_eq!(computed(&database(&world)), before);
}

fn report(world: &World, arguments: &[&str], code: i32) -> serde_json::Value {
    let all: Vec<&str> = ["doctor", "--json"].iter().chain(arguments).copied().collect();
    world.run(&all).exits(code).json()["report"].clone()
}

const DAMAGE: &[&str] = &[
    "UPDATE sessions SET section_bytes = section_bytes + 1 WHERE row = 1",
    "UPDATE sessions SET turn_index = x'' WHERE row = 2",
    "UPDATE sessions SET tool_names = '[]' WHERE tool_names <> '[]' AND row > 2",
    "UPDATE sessions SET turns = turns + 1, prompts = 0, models = '[\"m\"]', raw_records = 0 WHERE row = 3",
    "UPDATE sessions SET tokens_output = tokens_output + 1 WHERE row = 1",
    "UPDATE sessions SET images = 9 WHERE row = 4",
    "UPDATE cognitive_commits SET closed_at = closed_at - 5, parallel = 1 - parallel WHERE row = 1",
    "UPDATE raw_chunks SET start = 99 WHERE row = (SELECT max(row) FROM raw_chunks)",
    "DELETE FROM turn_ids_new WHERE row = (SELECT min(row) FROM turn_ids_new)",
    "UPDATE turns SET images = images + 1 WHERE row = (SELECT max(turn_row) FROM visuals)",
    "UPDATE sessions SET page_bytes = page_bytes + 1 WHERE row = 1",
];

#[test]
fn every_damage_is_told_by_a_full_look_and_put_right_by_a_repair() {
    for damage in DAMAGE {
        let world = World::with_samples();
        let before = computed(&database(&world));
        assert!(database(&world).execute(damage, []).unwrap() > 0, "{damage}");
        let looked = report(&world, &["--full"], 1);
        let repaired = report(&world, &["--repair"], 0);
        let plain = |value: &serde_json::Value| {
            let mut value = value.clone();
            value.as_object_mut().unwrap().remove("outdated");
            value
        };
        assert_eq!(plain(&looked), plain(&repaired), "{damage}");
        assert_eq!(computed(&database(&world)), before, "{damage}");
        let after = report(&world, &["--full"], 0);
        assert_eq!(after["lengths"], 0, "{damage}");
    }
}

#[test]
fn doctor_without_flags_tells_what_it_sees_at_a_glance() {
    let world = World::with_samples();
    let told = |world: &World| {
        let found = world.run(&["doctor", "--json"]).json();
        let all = found["findings"].as_array().unwrap().clone();
        all.iter().any(|f| f["level"] == "problem" && f["fix"].as_str().is_some_and(|fix| fix.contains("--repair")))
    };
    assert!(!told(&world));
    for damage in [DAMAGE[1], DAMAGE[4], DAMAGE[6], DAMAGE[7]] {
        database(&world).execute(damage, []).unwrap();
        assert!(told(&world), "{damage}");
        world.run(&["doctor", "--repair"]).exits(0);
        assert!(!told(&world), "{damage}");
    }
}

#[test]
fn a_repair_shows_at_once_in_a_mount() {
    needs_fuse!();
    let world = World::with_samples();
    for damage in DAMAGE {
        database(&world).execute(damage, []).unwrap();
    }
    let mount = Mount::new(&world);
    // The kernel remembers what it is told here, wrong as it is.
    for entry in walkdir::WalkDir::new(mount.dir()) {
        let _ = entry.map(|e| e.metadata().map(|m| m.len()));
    }
    world.run(&["doctor", "--repair"]).exits(0);
    let right = Mount::with(&world, &world.root().join("right"), &[]);
    let list = |dir: &Path| -> Vec<(String, u64)> {
        let files = walkdir::WalkDir::new(dir.join("projects")).sort_by_file_name().into_iter();
        files
            .filter_map(Result::ok)
            .map(|e| (e.path().strip_prefix(dir).unwrap().display().to_string(), e.metadata().map_or(0, |m| m.len())))
            .collect()
    };
    wait_until(PATIENCE, "the mount shows what a new one shows", || list(mount.dir()) == list(right.dir()));
    assert_sizes_are_exact(mount.dir());
}

#[test]
fn lost_pictures_come_back_from_the_raw_records_and_strangers_are_left_alone() {
    let world = World::new();
    // An export of ChatGPT has its pictures beside its records.
    let records = common::fixtures();
    world.import(&[&common::demo_logs(), &records.join("claude_code"), &records.join("codex")]);
    let blobs = common::files(&world.home().join("data/blobs"));
    assert!(blobs.len() > 1, "the samples hold pictures");
    let bytes = fs::read(&blobs[0]).unwrap();
    fs::remove_file(&blobs[0]).unwrap();
    // As long as before, and another picture.
    let other = fs::read(&blobs[1]).unwrap();
    fs::write(&blobs[1], vec![0; other.len()]).unwrap();
    let stranger = blobs[0].with_file_name("note.txt");
    fs::write(&stranger, "mine").unwrap();
    assert_eq!(report(&world, &["--full"], 1)["pictures_missing"].as_array().unwrap().len(), 2);
    let repaired = report(&world, &["--repair"], 0);
    assert_eq!(repaired["pictures_restored"], 2, "{repaired:#}");
    assert_eq!(repaired["unreferenced"], serde_json::json!([stranger.display().to_string()]));
    assert_eq!((fs::read(&blobs[0]).unwrap(), fs::read(&blobs[1]).unwrap()), (bytes, other));
    assert!(stranger.exists());
}

fn search_index(world: &World) -> Connection {
    Connection::open(world.home().join("data/search.db")).unwrap()
}

#[test]
fn a_search_index_that_is_damaged_or_lacks_turns_is_built_anew() {
    for damage in [
        "UPDATE turns_fts_data SET block = x'00ff00ff' WHERE id > 10",
        "DELETE FROM turns_fts WHERE rowid = (SELECT min(rowid) FROM turns_fts)",
    ] {
        let world = World::with_samples();
        search_index(&world).execute_batch(damage).unwrap();
        world.run(&["doctor", "--full"]).exits(1);
        let shown = world.run(&["doctor", "--repair"]).exits(0).stdout;
        assert!(shown.contains("search index"), "{shown}");
        world.run(&["doctor", "--full"]).exits(0);
    }
}

#[test]
fn a_search_index_that_is_gone_no_database_or_of_another_one_is_made_again() {
    let world = World::with_samples();
    let turns = |world: &World| {
        let count = "SELECT count(*) FROM turns_fts_docsize";
        search_index(world).query_row(count, [], |r| r.get::<_, i64>(0)).unwrap()
    };
    let whole = turns(&world);
    let path = world.home().join("data/search.db");
    fs::remove_file(&path).unwrap();
    world.import(&[&world.logs()]);
    assert_eq!(turns(&world), whole, "the index was gone");
    fs::write(&path, b"this is no database at all, and long enough for SQLite to see that it is none".repeat(100))
        .unwrap();
    world.import(&[&world.logs()]);
    assert_eq!(turns(&world), whole, "the index was no database");
    search_index(&world).execute_batch("UPDATE progress SET database = 'another'").unwrap();
    world.import(&[&world.logs()]);
    assert_eq!(turns(&world), whole, "the index was another database's");
    world.run(&["doctor", "--full"]).exits(0);
}

#[test]
fn a_database_that_sqlite_cannot_read_is_told_of_and_left_alone() {
    let world = World::with_samples();
    let path = world.home().join("data/cogfs.db");
    database(&world).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // Pages in the middle: the header and the schema stay.
    let (from, to) = (bytes.len() / 3, bytes.len() / 2);
    bytes[from..to].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    for arguments in [&["doctor", "--repair"][..], &["doctor"]] {
        let ran = world.run(arguments).exits(1);
        assert!(ran.all().contains("import the logs again"), "{}", ran.all());
    }
    assert_eq!(fs::read(&path).unwrap(), bytes, "not a byte was changed");
    world.is_left_damaged();
}
