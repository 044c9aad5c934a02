//! What is imported while mounted shows within a second, though the kernel was told to remember everything for ever.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use common::{ClaudeLog, Mount, SHOWS_WITHIN, World, wait_until};

/// Looks at everything, so that the kernel remembers all of it.
fn look_at_all(dir: &Path) -> BTreeSet<PathBuf> {
    let paths: BTreeSet<PathBuf> = common::walk(dir).into_iter().map(walkdir::DirEntry::into_path).collect();
    for path in paths.iter().filter(|path| path.symlink_metadata().is_ok_and(|m| m.is_file())) {
        fs::read(path).unwrap();
    }
    paths
}

fn transcripts_hold(mount: &Mount, text: &str) -> bool {
    common::stands_in(&common::files_named(&mount.path("projects"), |name| name == "transcript.md"), text)
}

/// Every file has as many bytes as `stat` says: what a stale size would break.
fn assert_sizes(mount: &Mount) {
    for path in common::files(&mount.path("projects")) {
        let size = fs::symlink_metadata(&path).unwrap().len();
        assert_eq!(size, fs::read(&path).unwrap().len() as u64, "{}", path.display());
    }
}

/// The same tree, mounted afresh: nothing of it can be stale.
fn assert_nothing_stale(world: &World, mount: &Mount) {
    let fresh = Mount::with(world, &world.root().join("fresh"), &[]);
    let shown = |mount: &Mount| -> BTreeMap<PathBuf, Vec<u8>> {
        common::files(&mount.path("projects"))
            .into_iter()
            .map(|path| (path.strip_prefix(mount.dir()).unwrap().to_owned(), fs::read(&path).unwrap()))
            .collect()
    };
    let differing = || {
        let (old, new) = (shown(mount), shown(&fresh));
        let of_either = old.keys().chain(new.keys()).collect::<BTreeSet<_>>();
        of_either.into_iter().filter(|path| old.get(*path) != new.get(*path)).cloned().collect::<Vec<_>>()
    };
    // What is merely late comes within the limit; what is stale never does.
    let start = Instant::now();
    let mut stale = differing();
    while !stale.is_empty() && start.elapsed() < SHOWS_WITHIN {
        stale = differing();
    }
    assert!(stale.is_empty(), "stale, missing or left over: {stale:?}");
}

#[test]
fn a_new_session_shows_in_a_mounted_tree() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let before = look_at_all(mount.dir());
    let status = fs::read(mount.path(".cogfs/status.json")).unwrap();
    let mut log = ClaudeLog::new("harbour", 1);
    log.user("Is the lighthouse on?").assistant("It is, since dusk.").write_file("/w/harbour/.log/tonight.md");
    log.git_commit("5ea11fe", "Light it");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    wait_until(SHOWS_WITHIN, "the new session's transcript", || transcripts_hold(&mount, "It is, since dusk."));
    wait_until(SHOWS_WITHIN, "a changed status.json", || fs::read(mount.path(".cogfs/status.json")).unwrap() != status);
    let after = look_at_all(mount.dir());
    assert!(before.is_subset(&after), "names vanished: {:?}", before.difference(&after).collect::<Vec<_>>());
    let appeared: Vec<&PathBuf> = after.difference(&before).collect();
    for part in ["projects", "by/date", "by/agent", "by/id", "by/model", "by/machine", "by/tool", "by/file", "by/git"] {
        let part = mount.path(part);
        assert!(appeared.iter().any(|path| path.starts_with(&part)), "nothing new in {}", part.display());
    }
    assert_sizes(&mount);
    assert_nothing_stale(&world, &mount);
}

#[test]
fn a_new_project_shows_in_an_empty_tree() {
    needs_fuse!();
    let world = World::new();
    let mount = Mount::new(&world);
    look_at_all(mount.dir());
    assert_eq!(fs::read_dir(mount.path("projects")).unwrap().count(), 0);
    ClaudeLog::new("boats", 1).user("Hello there.").assistant("Hello.").write(&world.logs());
    world.import(&[&world.logs()]);
    wait_until(SHOWS_WITHIN, "the first project", || fs::read_dir(mount.path("projects")).unwrap().count() == 1);
    wait_until(SHOWS_WITHIN, "the prompt", || transcripts_hold(&mount, "Hello there."));
    assert_nothing_stale(&world, &mount);
}

#[test]
fn a_growing_log_grows_its_turns_and_its_transcript() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Count the boats.").assistant("Seven.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let mount = Mount::new(&world);
    for round in 0..5 {
        look_at_all(mount.dir());
        let turns = common::turn_files(mount.dir()).len();
        let written = log.lines.len();
        log.user(&format!("Question {round}?")).assistant(&format!("Answer {round}."));
        log.append(&world.logs(), written);
        let summary = world.import(&[&world.logs()]);
        assert_eq!(summary["new_turns"], 2, "{summary}");
        wait_until(SHOWS_WITHIN, "two more turns", || common::turn_files(mount.dir()).len() == turns + 2);
        wait_until(SHOWS_WITHIN, "the new answer", || transcripts_hold(&mount, &format!("Answer {round}.")));
        assert!(transcripts_hold(&mount, "Count the boats."), "the beginning is gone");
        assert_sizes(&mount);
    }
    assert_nothing_stale(&world, &mount);
}

#[test]
fn a_commit_made_later_moves_the_open_turns_into_it() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Paint the boats.").assistant("Painting.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let mount = Mount::new(&world);
    look_at_all(mount.dir());
    let written = log.lines.len();
    log.git_commit("4d4d4d4", "Paint the boats").assistant("Committed.");
    log.append(&world.logs(), written);
    world.import(&[&world.logs()]);
    wait_until(SHOWS_WITHIN, "the commit's hash", || {
        common::stands_in(&common::files_named(&mount.path("projects"), |name| name == "meta.json"), "4d4d4d4")
    });
    wait_until(SHOWS_WITHIN, "the last words", || transcripts_hold(&mount, "Committed."));
    assert_nothing_stale(&world, &mount);
}
