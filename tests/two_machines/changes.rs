//! What people change on one machine is changed on the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Pair, commit_ids, local, sync};
use crate::common::{Mount, World, wait_until};
use crate::{needs_fuse, needs_stack};

/// For what a mount is told of by another process.
const PATIENCE: Duration = Duration::from_secs(10);

/// The documents that people edit, and the names they see: all that they changed is in it.
fn seen(world: &World) -> Vec<String> {
    let mount = Mount::new(world);
    let mut lines = Vec::new();
    for entry in crate::common::walk(&mount.path("projects")) {
        let path = entry.path();
        lines.push(path.strip_prefix(mount.dir()).unwrap().display().to_string());
        if path.file_name().unwrap() == "meta.md" {
            lines.push(fs::read_to_string(path).unwrap());
        }
    }
    let trash = crate::common::walk(&mount.path(".cogfs/trash"));
    lines.extend(trash.iter().map(|entry| entry.path().strip_prefix(mount.dir()).unwrap().display().to_string()));
    lines.sort();
    lines
}

#[track_caller]
fn assert_both_see_the_same(pair: &Pair) -> String {
    let (a, b) = (seen(&pair.a), seen(&pair.b));
    let only = |these: &[String], those: &[String]| {
        these.iter().filter(|line| !those.contains(line)).take(8).cloned().collect::<Vec<_>>()
    };
    assert!(a == b, "only on a: {:#?}\nonly on b: {:#?}", only(&a, &b), only(&b, &a));
    a.join("\n")
}

fn commit_dir(mount: &Path, id: &str) -> PathBuf {
    let short = &id[..6];
    let dirs = crate::common::walk(&mount.join("projects"));
    let found = dirs.iter().find(|entry| {
        entry.file_type().is_dir() && entry.depth() < 4 && entry.file_name().to_str().unwrap().ends_with(short)
    });
    found.unwrap_or_else(|| panic!("no directory of {short}")).path().to_owned()
}

#[test]
fn edits_by_commands_reach_the_other_machine_both_ways() {
    needs_fuse!();
    let pair = Pair::with(needs_stack!(), 8);
    let ids = commit_ids(&pair.a);
    for (number, (here, there)) in [(&pair.a, &pair.b), (&pair.b, &pair.a)].into_iter().enumerate() {
        let run = |id: &str, what: &[&str]| here.run(&[&["edit", id], what].concat()).exits(0);
        let of = |offset: usize| ids[number * 4 + offset].as_str();
        let (title, note) = (format!("Title {number}"), format!("Note {number}\nof two lines"));
        run(of(0), &["--title", &title, "--note", &note, "--tag", "one", "--tag", "two", "--order", "7"]);
        run(of(1), &["--hidden", "true"]);
        run(of(2), &["--published", "true"]);
        here.run(&["trash", of(3)]).exits(0);
        sync(here);
        sync(there);
        let all = assert_both_see_the_same(&pair);
        assert!(all.contains(&title) && all.contains("of two lines"), "{all}");
        here.run(&["restore", of(3)]).exits(0);
        run(of(0), &["--no-title", "--tag", ""]);
        run(of(1), &["--hidden", "false"]);
        sync(here);
        sync(there);
        assert!(!assert_both_see_the_same(&pair).contains(&title));
    }
    // What is undone on the one is undone on the other.
    pair.a.run(&["edit", &ids[0], "--title", "A slip"]).exits(0);
    pair.sync();
    let logged = pair.a.run(&["log", "--json"]).exits(0).json();
    let last = logged.as_array().unwrap().iter().filter_map(|edit| edit["edit"].as_i64()).max().unwrap();
    pair.a.run(&["undo", &last.to_string()]).exits(0);
    pair.sync();
    assert!(!assert_both_see_the_same(&pair).contains("A slip"));
}

#[test]
fn edits_on_a_mount_reach_the_other_machine() {
    needs_fuse!();
    let pair = Pair::with(needs_stack!(), 3);
    let ids = commit_ids(&pair.a);
    {
        let mount = Mount::new(&pair.b);
        let renamed = commit_dir(mount.dir(), &ids[0]);
        let name = renamed.file_name().unwrap().to_str().unwrap();
        let (time, id) = (&name[..20], &name[name.len() - 6..]);
        fs::rename(&renamed, renamed.with_file_name(format!("{time}_boats-that-were-counted_{id}"))).unwrap();
        let meta = commit_dir(mount.dir(), &ids[1]).join("meta.md");
        let text = fs::read_to_string(&meta).unwrap();
        fs::write(&meta, text.trim_end().to_owned() + "\n\nWritten with an editor.\n").unwrap();
        fs::File::options().append(true).open(&meta).unwrap().sync_all().unwrap();
        fs::remove_dir_all(commit_dir(mount.dir(), &ids[2])).unwrap();
        let project = fs::read_dir(mount.path("projects")).unwrap().map(|e| e.unwrap().path()).find(|p| p.is_dir());
        fs::rename(project.unwrap(), mount.path("projects/ships")).unwrap();
        mount.unmount();
    }
    sync(&pair.b);
    sync(&pair.a);
    let all = assert_both_see_the_same(&pair);
    for wanted in ["projects/ships/", "boats-that-were-counted", "Written with an editor."] {
        assert!(all.contains(wanted), "{wanted} is not in {all}");
    }
    assert!(!all.contains(&format!("projects/ships/{}", &ids[2][..6])));
    assert_eq!(local(&pair.a, "SELECT count(*) FROM cognitive_commits WHERE deleted_at IS NOT NULL"), "1");
}

#[test]
fn a_turn_of_what_is_on_the_other_machine_can_be_deleted_in_the_mount_by_moving_it_and_by_a_command() {
    needs_fuse!();
    let pair = Pair::with(needs_stack!(), 3);
    let mount = Mount::new(&pair.b);
    let mut turns = Vec::new();
    for dir in crate::common::session_dirs(mount.dir()) {
        let mut files: Vec<PathBuf> = crate::common::files_of(&dir.join("turns")).collect();
        files.sort();
        turns.push(files.remove(0));
    }
    assert_eq!(local(&pair.b, "SELECT count(*) FROM sessions WHERE contents = 1"), "3");
    fs::remove_file(&turns[0]).unwrap();
    fs::rename(&turns[1], mount.path(".cogfs/trash/slip")).unwrap();
    let done = pair.b.run(&["trash", turns[2].to_str().unwrap(), "--json"]).exits(0).json();
    assert_eq!((&done[0]["kind"], done.as_array().unwrap().len()), (&serde_json::json!("turn"), 1), "{done}");
    let deleted = "SELECT count(*) FROM turns WHERE deleted_at IS NOT NULL";
    wait_until(PATIENCE, "what was removed is deleted", || local(&pair.b, deleted) == "3");
    mount.unmount();
    sync(&pair.b);
    sync(&pair.a);
    assert_eq!(local(&pair.a, deleted), "3");
    let mount = Mount::new(&pair.a);
    assert!(turns.iter().all(|turn| !turn.exists()));
    assert_eq!(crate::common::turn_files(mount.dir()).len(), 6, "the other turns of three sessions");
}

#[test]
fn what_is_forgotten_on_one_machine_is_nowhere_any_more() {
    let pair = Pair::with(needs_stack!(), 3);
    let ids = commit_ids(&pair.a);
    pair.b.run(&["forget", &ids[0], "--yes"]).exits(0);
    sync(&pair.b);
    assert!(sync(&pair.a)["forgotten"].as_u64().unwrap() > 0);
    for world in pair.both() {
        assert_eq!(commit_ids(world), ids[1..], "the forgotten one is gone");
    }
    assert_eq!(pair.stack.count(&pair.user, "turns", "text like '%harbour 1?%'"), 0);
    assert_eq!(pair.stack.count(&pair.user, "sessions", "facts::text like '%harbour 1?%'"), 0);
    // The log is still there, and brings nothing back.
    pair.a.import(&[&pair.a.logs()]);
    pair.sync();
    assert_eq!((commit_ids(&pair.a).len(), commit_ids(&pair.b).len()), (2, 2));
    assert_eq!(pair.stack.count(&pair.user, "turns", "text like '%harbour 1?%'"), 0);
}

#[test]
fn of_two_edits_of_one_field_one_wins_on_both_machines_and_the_other_is_kept() {
    needs_fuse!();
    let pair = Pair::with(needs_stack!(), 1);
    let id = &commit_ids(&pair.a)[0];
    pair.a.run(&["edit", id, "--title", "From a", "--tag", "a"]).exits(0);
    pair.b.run(&["edit", id, "--title", "From b", "--note", "b"]).exits(0);
    sync(&pair.a);
    let mount = Mount::new(&pair.b);
    let files = || -> Vec<PathBuf> {
        fs::read_dir(mount.path(".cogfs/conflicts")).unwrap().map(|e| e.unwrap().path()).collect()
    };
    assert!(files().is_empty());
    assert_eq!(sync(&pair.b)["conflicts"], 1);
    wait_until(PATIENCE, "a mount of another process lists it", || files().len() == 1);
    let file = files().remove(0);
    let page = fs::read_to_string(&file).unwrap();
    assert_eq!(page.len() as u64, fs::metadata(&file).unwrap().len());
    assert!(page.contains("From a") && page.contains("From b") && page.contains("sync conflicts take"), "{page}");
    assert!(file.to_str().unwrap().contains(&id[..6]), "{}", file.display());
    assert!(fs::remove_file(&file).is_err(), "a command closes it");
    pair.sync();
    let titles = pair.both().map(|world| local(world, "SELECT title FROM cognitive_commits"));
    assert_eq!(titles[0], titles[1]);
    let notes = pair.both().map(|world| local(world, "SELECT note FROM cognitive_commits"));
    assert_eq!(notes, ["b", "b"], "what only one machine changed is there");
    let told = pair.b.run(&["sync", "conflicts", "--json"]).exits(0).json();
    let told = told.as_array().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!((&told[0]["field"], told[0].to_string().contains("From a")), (&"title".into(), true), "{told:?}");
    let other = if titles[0] == "From a" { "local" } else { "cloud" };
    let number = told[0]["conflict"].as_i64().unwrap().to_string();
    pair.b.run(&["sync", "conflicts", "take", &number, other]).exits(0);
    wait_until(PATIENCE, "it is not listed any more", || files().is_empty() && !file.exists());
    mount.unmount();
    pair.b.run(&["push"]).exits(0);
    sync(&pair.a);
    let taken = pair.both().map(|world| local(world, "SELECT title FROM cognitive_commits"));
    assert!(taken[0] == taken[1] && taken[0] != titles[0], "{taken:?}");
}
