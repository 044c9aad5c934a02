//! The program killed at any moment of an import (or of a `cogfs forget`, which has then forgotten all or nothing): the database opens, the next import completes it, nothing is doubled.
//!
//! The moments are spread over the whole of an undisturbed run, search index and all. `COGFS_KILLS` says how many there are.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::mount::{PATIENCE, clear, kill, server_pids};
use common::world::assert_integrity;
use common::{ClaudeLog, Mount, World, wait_until};
use serde_json::json;

/// Moments of an import, and of a mount that follows, where nothing else is said.
const KILLS: u32 = 12;
const MOUNTS: u32 = 3;

fn kills() -> Option<u32> {
    std::env::var("COGFS_KILLS").ok().map(|n| n.parse().unwrap_or_else(|_| panic!("COGFS_KILLS={n}")))
}

/// Logs of several sessions that take several transactions, and some moments even of a fast machine; a database among them.
fn write_logs(logs: &Path) {
    for number in 1..=4 {
        let mut log = ClaudeLog::new("boats", number);
        for step in 0..60 {
            let output = format!("boat {step} of {number}\n").repeat(4000);
            log.user(&format!("Do {step} of {number}.")).bash(&format!("cat boat{step}"), &output);
            if step % 20 == 10 {
                log.git_commit(&format!("{number:03x}{step:04x}"), &format!("Step {step}"));
            }
            log.assistant("Done.");
        }
        log.write(&logs.join("projects"));
    }
    for place in [common::demo_logs(), common::fixtures()] {
        let to = logs.join(place.file_name().unwrap());
        for file in common::files(&place) {
            let copy = to.join(file.strip_prefix(&place).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(&file, copy).unwrap();
        }
    }
}

/// What the same logs always come to: everything but rows, times of the import and the order of the reading.
fn contents(world: &World) -> Vec<String> {
    let tables = [
        "SELECT hex(id), identity, name, dir_name FROM projects",
        "SELECT hex(id), dir_name, title, git_hash, closed_by, started_at, closed_at FROM cognitive_commits",
        "SELECT hex(s.id), hex(c.id), hex(p.id), s.dir_name, s.title, s.turns, s.prompts, s.tool_calls, s.images,
             s.tokens_input, s.tokens_output, s.section_bytes, s.raw_bytes, s.raw_records, hex(s.turn_index)
             FROM sessions s LEFT JOIN cognitive_commits c ON c.row = s.commit_row LEFT JOIN sessions p ON p.row = s.parent_row",
        "SELECT hex(t.id), hex(s.id), t.row & 65535, t.role, t.at, t.label, t.tool_name, t.tool_status, t.text, t.tool_input,
             t.tool_output FROM turns t JOIN sessions s ON s.row = t.row >> 16",
        "SELECT hex(id), file_name, sha256, bytes FROM visuals",
        "SELECT hex(key), model, input, output, cache_read, cache_write FROM message_usage",
        "SELECT agent, agent_version, kind, count FROM unknown_kinds",
        "SELECT path, size, offset, line, skipped FROM sources",
    ];
    let conn = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut lines = Vec::new();
    for sql in tables {
        let mut statement = conn.prepare(sql).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<_> = (0..columns).map(|i| row.get::<_, rusqlite::types::Value>(i).unwrap()).collect();
            lines.push(format!("{cells:?}"));
        }
    }
    lines.sort();
    lines
}

fn assert_same(now: &[String], whole: &[String], when: &str) {
    let short = |line: &&String| line.chars().take(300).collect::<String>();
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|l| b.binary_search(l).is_err()).take(3).map(|l| short(&l)).collect::<Vec<_>>()
    };
    assert!(now == whole, "{when}\ncame to {:#?}\nelse {:#?}", only(now, whole), only(whole, now));
}

fn start(world: &World, logs: &Path) -> Child {
    let mut command = world.cogfs(&["import", "--quiet"]);
    command.arg(logs).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Kills a program some time after its start, unless it ended before.
fn kill_after(child: &mut Child, began: Instant, moment: Duration) -> bool {
    // The moment itself is what is waited for.
    thread::sleep(moment.saturating_sub(began.elapsed()));
    let running = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    running
}

/// What must hold of what a killed program left, and of what the next import makes of it.
fn check(world: &World, logs: &Path, whole: &[String], when: &str) {
    // Killed before the first page was written, it leaves an empty file.
    if !common::world::databases(&world.home()).is_empty() {
        assert_integrity(&world.home());
    }
    world.import(&[logs]);
    assert_same(&contents(world), whole, when);
    let again = world.import(&[logs]);
    assert_eq!((&again["new_turns"], &again["records"]), (&0.into(), &0.into()), "{when}: {again}");
    // Lengths, counters, tokens and the search index are compared when the world ends.
}

#[test]
fn an_import_killed_at_any_moment_is_completed_by_the_next_and_nothing_is_doubled() {
    let world = World::new();
    write_logs(&world.logs());
    let began = Instant::now();
    assert!(start(&world, &world.logs()).wait().unwrap().success());
    let first = began.elapsed();
    let whole = contents(&world);
    let turns = count(&world, "SELECT count(*) FROM turns");
    assert!(turns > 700, "{turns} turns: the logs are not there");
    let other = World::new();
    let began = Instant::now();
    assert!(start(&other, &world.logs()).wait().unwrap().success());
    let length = began.elapsed().min(first);
    assert_same(&contents(&other), &whole, "an undisturbed import, once more");
    let (kills, mut hit, mut stages) = (kills().unwrap_or(KILLS), 0, [0; 3]);
    for n in 0..kills {
        let other = World::new();
        // The middle of each of as many equal spans.
        let moment = length * (2 * n + 1) / (2 * kills);
        let began = Instant::now();
        let mut child = start(&other, &world.logs());
        if kill_after(&mut child, began, moment) {
            hit += 1;
            let stored = count(&other, "SELECT count(*) FROM turns");
            stages[usize::from(stored > 0) + usize::from(stored == turns)] += 1;
        }
        check(&other, &world.logs(), &whole, &format!("killed after {moment:?} of {length:?}"));
    }
    println!(
        "{hit} of {kills} imports of {length:?} were killed: with nothing stored, some, all but words: {stages:?}"
    );
    assert!(hit * 2 >= kills, "only {hit} of {kills} imports were killed before they ended");
}

/// A number from the database; 0 when there is none yet.
fn count(world: &World, sql: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let conn = rusqlite::Connection::open_with_flags(world.home().join("data/cogfs.db"), flags);
    conn.and_then(|conn| conn.query_row(sql, [], |r| r.get(0))).unwrap_or(0)
}

#[test]
fn a_mount_killed_in_its_first_import_leaves_what_the_next_one_completes() {
    needs_fuse!();
    let original = World::new();
    let place = original.claude().join("projects");
    let mut log = ClaudeLog::new("boats", 1);
    for step in 0..400 {
        log.user(&format!("Do {step}.")).bash("cat boat", &format!("boat {step}\n").repeat(4000)).assistant("Done.");
    }
    log.write(&original.claude());
    original.import(&[&place]);
    let turns = |world: &World| world.stats()["turns"].clone();
    let kills = kills().map_or(MOUNTS, |kills| kills.div_ceil(10));
    for n in 0..kills {
        let world = World::new();
        log.write(&world.claude());
        let dir = world.root().join("mnt");
        world.run(&["mount".as_ref(), dir.as_os_str()]).exits(0);
        thread::sleep(Duration::from_millis(u64::from(n) * 1500 / u64::from(kills)));
        server_pids(&dir).into_iter().for_each(kill);
        wait_until(PATIENCE, "the killed process is gone", || server_pids(&dir).is_empty());
        clear(&dir);
        assert_integrity(&world.home());
        let mount = Mount::with(&world, &dir, &[]);
        wait_until(PATIENCE * 3, "the next mount imports the rest", || turns(&world) == turns(&original));
        mount.unmount();
        let again = world.import(&[&world.claude().join("projects")]);
        assert_eq!(again["new_turns"], 0, "{again}");
        assert_eq!(again["turns"], turns(&original), "{again}");
    }
}

#[test]
fn a_forget_that_is_killed_has_forgotten_all_or_nothing_and_the_next_one_ends_it() {
    const TURNS: u64 = 40;
    let garden = || {
        let world = World::new();
        for (project, number) in [("beds", 1), ("paths", 2)] {
            let mut log = ClaudeLog::new(project, number);
            for step in 0..TURNS / 2 {
                let picture = json!({"type": "image", "source": {"type": "base64", "media_type": "image/png",
                    "data": format!("iVBORw0KGgo{number:04}{step:04}AAAA=")}});
                log.record("user", &json!({"message": {"role": "user", "content": [picture]}}));
                log.assistant(&format!("{project} {step} ").repeat(500));
            }
            log.write(&world.logs());
        }
        world.import(&[&world.logs()]);
        world
    };
    let begin = |world: &World| {
        let mut command = world.cogfs(&["forget", "--yes", "--project", "beds"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let (world, began) = (garden(), Instant::now());
    assert!(begin(&world).wait().unwrap().success());
    let whole = began.elapsed();
    let (mut before, mut after) = (0, 0);
    let count = kills().unwrap_or(KILLS);
    for n in 0..count {
        let world = garden();
        let mut child = begin(&world);
        // Closer to each other at the start, where the transaction is.
        kill_after(&mut child, Instant::now(), whole * (n * n) / (count * count));
        assert_integrity(&world.home());
        match world.stats()["turns"].as_u64() {
            Some(turns) if turns == 2 * TURNS => before += 1,
            Some(TURNS) => after += 1,
            turns => panic!("{turns:?} turns are left"),
        }
        world.assert_consistent();
        // It may be gone already: what is left in the files is erased all the same.
        world.run(&["forget", "--yes", "--project", "beds"]);
        assert_eq!(world.stats()["turns"], TURNS);
        let files: Vec<_> = common::files_of(&world.home()).collect();
        assert!(!common::stands_in(&files, "beds 7 beds"));
        assert_eq!(common::files(&world.home().join("data/blobs")).len(), TURNS as usize / 2);
    }
    eprintln!("{before} killed before, {after} behind the transaction");
}
