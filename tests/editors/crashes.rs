//! The mount killed during edits: what was saved is the record, what was only written is a draft, and nothing is cut off.
//!
//! `COGFS_KILLS` says how often it is killed at a random moment.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::mount::{PATIENCE, kill, mount_line};
use crate::common::{must, wait_until};
use crate::desk::{ALL, Desk, column, document, world};

#[test]
fn what_was_written_and_not_saved_when_the_mount_died_is_a_draft() {
    needs_fuse!();
    let world = world();
    let mut desk = Desk::new(&world);
    let before = desk.read();
    // Killed before a quiet moment makes it the record: the kill comes first but for a stall, which is tried again.
    let pids = desk.mount.pids();
    fs::write(desk.meta(), document("Storm")).unwrap();
    // Before a quiet moment of 0.2 s makes it the record.
    pids.into_iter().for_each(kill);
    desk = desk.crash();
    assert_eq!(desk.read(), before, "the record is as it was");
    let refusal = desk.refusal();
    assert!(refusal["reason"].as_str().unwrap().contains("draft"), "{refusal:#}");
    assert_eq!(desk.drafts(), [document("Storm")]);
    desk.holds_names(&[]);
    // It is saved as any document is, and then it is a draft no more.
    desk.run("cp ../../../.cogfs/drafts/*.md meta.md");
    desk.rest();
    assert_eq!(
        (desk.read(), desk.drafts(), desk.edits()),
        (document("Storm"), Vec::new(), ALL.map(str::to_owned).to_vec())
    );
}

#[test]
fn what_was_synced_when_the_mount_died_is_the_record() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let mut file = File::create(desk.meta()).unwrap();
    file.write_all(document("Storm").as_bytes()).unwrap();
    file.sync_all().unwrap();
    let before = fs::metadata(desk.meta()).unwrap().modified().unwrap();
    let desk = desk.crash();
    assert_eq!(fs::metadata(desk.meta()).unwrap().modified().unwrap(), before, "an editor compares it");
    desk.holds(&document("Storm"), &ALL, &[]);
}

#[test]
fn an_editor_that_moved_the_document_away_when_the_mount_died_costs_nothing() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    fs::rename(desk.meta(), desk.dir().join("meta.md~")).unwrap();
    let file = File::create(desk.meta()).unwrap();
    let desk = desk.crash();
    drop(file);
    assert_eq!(desk.read(), before);
    assert_eq!(fs::read_to_string(desk.dir().join("meta.md~")).unwrap(), before);
    fs::remove_file(desk.dir().join("meta.md~")).unwrap();
    desk.is_clean(&[], &[]);
}

#[test]
fn a_document_that_is_moved_away_and_has_no_successor_is_back() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    fs::rename(desk.meta(), desk.dir().join("gone.md")).unwrap();
    assert!(!desk.meta().exists());
    wait_until(PATIENCE, "it is back", || desk.meta().exists());
    desk.holds(&before, &[], &["gone.md"]);
}

/// Ends a connection that outlives its killed server: that happens where the server was just telling the kernel to forget pages
/// that a write has locked. Its thread waits for the write and holds the connection, and the write waits for an answer that
/// nobody gives any more. The kernel lets go of both when the connection is aborted, which `cogfs` could not do for itself.
fn free_who_waits(desk: &Desk<'_>, is_done: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_done() && start.elapsed() < Duration::from_secs(3) {
        thread::sleep(Duration::from_millis(5));
    }
    let Some(line) = mount_line(desk.mount.dir()).filter(|_| !is_done()) else { return };
    let connections = Path::new("/sys/fs/fuse/connections");
    if fs::read_dir(connections).unwrap().next().is_none() {
        must(Command::new("mount").args(["-t", "fusectl", "none"]).arg(connections));
    }
    let number = line.split(' ').nth(2).and_then(|device| device.split(':').nth(1)).unwrap().to_owned();
    fs::write(connections.join(number).join("abort"), "1").unwrap();
    eprintln!("a write was waiting for a server that was killed: its connection was aborted");
}

/// A save of the given number, in one of three ways; whether it was told that it is on the disk.
fn save(dir: &Path, number: u64) -> std::io::Result<()> {
    let text = text(number);
    let meta = dir.join("meta.md");
    match number % 3 {
        0 => {
            let mut file = File::create(&meta)?;
            // Two pieces, the first a whole document by itself.
            let (first, rest) = text.split_at(text.len() / 2);
            file.write_all(first.as_bytes())?;
            file.write_all(rest.as_bytes())?;
            file.sync_all()
        }
        1 => {
            let own = dir.join(format!("own-{number}"));
            fs::write(&own, &text)?;
            fs::rename(&own, &meta)
        }
        // As vim does.
        _ => {
            let backup = dir.join("meta.md~");
            fs::rename(&meta, &backup)?;
            let mut file = File::create(&meta)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::remove_file(&backup)
        }
    }
}

fn text(number: u64) -> String {
    let note: String = (0..200).map(|line| format!("Line {line} of save {number}.\n")).collect();
    format!("---\ntitle: Save {number}\ntags: [\"{number}\"]\n---\n\n{note}")
}

#[test]
fn a_mount_killed_at_any_moment_has_every_save_that_was_told_whole() {
    needs_fuse!();
    let kills: u32 = std::env::var("COGFS_KILLS").map_or(30, |kills| kills.parse().unwrap());
    let world = world();
    let mut desk = Desk::new(&world);
    let next = AtomicU64::new(1);
    for round in 0..kills {
        let (told, begun) = (AtomicU64::new(next.load(Ordering::SeqCst) - 1), AtomicU64::new(0));
        let (pids, dir) = (desk.mount.pids(), desk.dir());
        thread::scope(|threads| {
            let writing = threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    begun.store(number, Ordering::SeqCst);
                    if save(dir, number).is_err() {
                        break;
                    }
                    told.store(number, Ordering::SeqCst);
                }
            });
            let first = told.load(Ordering::SeqCst);
            wait_until(PATIENCE, "saves go on", || told.load(Ordering::SeqCst) > first);
            // The moment is what is tried: some part of a few saves later.
            let (start, moment) = (Instant::now(), Duration::from_micros(u64::from(round) * 7_919 % 12_000));
            thread::sleep(moment.saturating_sub(start.elapsed()));
            pids.into_iter().for_each(kill);
            free_who_waits(&desk, || writing.is_finished());
        });
        let (told, begun) = (told.into_inner(), begun.into_inner());
        desk = desk.crash();
        let read = desk.read();
        let saved: u64 = desk.record_title().strip_prefix("Save ").unwrap().parse().unwrap();
        assert!((told..=begun).contains(&saved), "round {round}: save {told} was told, {saved} is the record");
        assert_eq!(read, text(saved), "round {round}");
        let tags = column(&world, "SELECT tags FROM cognitive_commits WHERE row = 1");
        assert_eq!(tags, [format!("[\"{saved}\"]")], "round {round}");
        // A draft is of the save that was under way, or a beginning of it, never of one that was told.
        for draft in desk.drafts() {
            assert!(text(begun).starts_with(&draft) && begun > told, "round {round}: {draft}");
        }
        for name in fs::read_dir(desk.dir()).unwrap().map(|entry| entry.unwrap().path()) {
            if name.extension().is_none() && name.is_file() || name.ends_with("meta.md~") {
                fs::remove_file(name).unwrap();
            }
        }
    }
}
