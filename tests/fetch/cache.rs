//! Copies give way, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cogfs::model::Millis;
use cogfs::store::{Layout, Writer};
use cogfs::sync::cache::{self, Given, Limits};
use serde_json::json;

use crate::common::{Mount, World, files_named, turn_files, wait_until};
use crate::needs_fuse;
use crate::stage::{PATIENCE, Stage, log};

const DAY: i64 = 86_400_000;

fn make_room(world: &World, limits: Limits, days: i64) -> Given {
    let mut writer = Writer::open(&Layout::new(world.home().join("data"))).unwrap();
    cache::make_room(&mut writer, &limits, Millis(Millis::now().0 + days * DAY)).unwrap()
}

fn nothing_fits() -> Limits {
    Limits { max_bytes: 0, ttl: None, ..Limits::default() }
}

fn sizes(mount: &Path) -> BTreeMap<PathBuf, u64> {
    let files =
        turn_files(mount).into_iter().chain(files_named(&mount.join("projects"), |name| name.ends_with(".png")));
    files.map(|file| (file.clone(), fs::metadata(&file).unwrap().len())).collect()
}

#[test]
fn copies_give_way_and_come_again_and_what_is_nowhere_else_stays() {
    needs_fuse!();
    let stage = Stage::with(3);
    log(7, 2).write(&stage.b.logs());
    // One picture is in a log of this machine too.
    let mut own = log(8, 0);
    own.lines.extend(log(1, 1).lines.into_iter().rev().take(2).rev().map(|line| line.replace("00000001", "00000008")));
    own.write(&stage.b.logs());
    stage.b.import(&[&stage.b.logs()]);
    let blobs = || files_named(&stage.b.home().join("data/blobs"), |_| true).len();
    assert_eq!(blobs(), 3);
    stage.b.run(&["fetch", "--all", "--images"]).exits(0);
    assert_eq!(blobs(), 5);
    assert_eq!(make_room(&stage.b, nothing_fits(), 0), Given::default(), "somebody may be reading it");
    let mount = Mount::new(&stage.b);
    let before = sizes(mount.dir());
    let given = make_room(&stage.b, nothing_fits(), 1);
    assert_eq!((given.sessions, given.pictures), (3, 2));
    assert_eq!(blobs(), 3);
    wait_until(PATIENCE, "the mount is told", || {
        fs::read_dir(mount.path("by/status")).unwrap().flatten().any(|entry| entry.file_name() == "remote")
    });
    assert_eq!(sizes(mount.dir()), before);
    stage.b.assert_consistent();
    assert_eq!(make_room(&stage.b, nothing_fits(), 2), Given::default());
    let pushed = stage.b.run(&["push", "--json"]).exits(0).json();
    assert_eq!(pushed["pictures"]["sent"], json!(3), "its own, and no copy");
    let fetches = stage.fetches();
    for (file, size) in &before {
        assert_eq!(fs::read(file).unwrap().len() as u64, *size, "{}", file.display());
    }
    assert_eq!(stage.fetches(), fetches + 2, "one, and the two that follow");
}

#[test]
fn what_was_used_last_gives_way_last_and_what_nobody_used_goes() {
    let stage = Stage::with(4);
    stage.b.run(&["fetch", "--all"]).exits(0);
    let writer = Writer::open(&Layout::new(stage.b.home().join("data"))).unwrap();
    writer
        .conn()
        .execute_batch("UPDATE fetched_sessions SET bytes = 100, used_at = used_at - session_row * 86400000")
        .unwrap();
    let last: i64 = writer.conn().query_row("SELECT min(session_row) FROM fetched_sessions", [], |r| r.get(0)).unwrap();
    drop(writer);
    let given = make_room(&stage.b, Limits { max_bytes: 250, ttl: None, ..Limits::default() }, 0);
    assert_eq!((given.sessions, given.bytes), (2, 200));
    let ttl = Some(Duration::from_secs(86_400 * (u64::try_from(last).unwrap() + 2)));
    let given = make_room(&stage.b, Limits { ttl, ..Limits::default() }, 0);
    assert_eq!(given.sessions, 0);
    let ttl = Some(Duration::from_secs(60));
    assert_eq!(make_room(&stage.b, Limits { ttl, ..Limits::default() }, 0).sessions, 2);
    stage.b.assert_consistent();
}

#[test]
fn a_session_with_an_edit_that_waits_stays_and_one_whose_turn_was_deleted_says_so_afterwards() {
    needs_fuse!();
    let stage = Stage::with(2);
    stage.b.run(&["fetch", "--all"]).exits(0);
    let mount = Mount::new(&stage.b);
    let turns = turn_files(mount.dir());
    fs::remove_file(&turns[0]).unwrap();
    let waits = || stage.b.run(&["push", "--dry-run", "--json"]).exits(0).json()["edits"] == 1;
    wait_until(PATIENCE, "the edit is made", waits);
    assert_eq!(make_room(&stage.b, nothing_fits(), 1).sessions, 1);
    stage.b.run(&["push"]).exits(0);
    assert_eq!(make_room(&stage.b, nothing_fits(), 1).sessions, 1);
    wait_until(PATIENCE, "it is not listed", || turn_files(mount.dir()).len() == turns.len() - 1);
    stage.b.assert_consistent();
    assert!(!fs::read(&turns[1]).unwrap().is_empty());
    assert_eq!(turn_files(mount.dir()).len(), turns.len() - 1);
    stage.b.assert_consistent();
}

#[test]
fn a_mount_makes_room_by_itself_and_nothing_goes_that_is_nowhere_else() {
    needs_fuse!();
    let mut stage = Stage::with(2);
    log(7, 1).write(&stage.b.logs());
    stage.b.import(&[&stage.b.logs()]);
    stage.b.run(&["fetch", "--all"]).exits(0);
    let writer = Writer::open(&Layout::new(stage.b.home().join("data"))).unwrap();
    writer.conn().execute_batch("UPDATE fetched_sessions SET used_at = used_at - 2 * 86400000").unwrap();
    let count = |which: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM sessions WHERE contents = {which}");
        writer.conn().query_row(&sql, [], |r| r.get(0)).unwrap()
    };
    stage.b.set_variable("COGFS_CACHE_TTL", "1d");
    let mount = Mount::new(&stage.b);
    wait_until(PATIENCE, "what nobody used gives way", || (count("1"), count("2")) == (2, 0));
    assert_eq!(count("0"), 1, "what a log of this machine brought stays");
    stage.is_gone();
    let own = turn_files(mount.dir()).into_iter().filter(|file| fs::read(file).is_ok()).count();
    assert_eq!(own, 12);
}

#[test]
fn after_a_cloud_was_lost_nothing_that_was_fetched_gives_way() {
    let stage = Stage::with(2);
    stage.b.run(&["fetch", "--all", "--images"]).exits(0);
    stage.b.run(&["sync", "reset"]).exits(0);
    assert_eq!(make_room(&stage.b, nothing_fits(), 400), Given::default());
}
