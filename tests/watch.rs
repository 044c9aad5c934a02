//! What the agents write shows in a mount within two seconds, whatever they do to their files; `cogfs watch` does it without a
//! mount. Most of it holds with inotify and without.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::mount::{PATIENCE, kill};
use common::{ClaudeLog, Mount, World, wait_until};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

/// How soon a line that an agent wrote is to be in the mount.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// Whether a text is in some transcript. Of a tree that changes meanwhile: what vanishes is not there.
fn shows(mount: &Mount, text: &str) -> bool {
    common::files_of(&mount.path("projects"))
        .filter(|path| path.file_name().is_some_and(|name| name == "transcript.md"))
        .any(|path| fs::read_to_string(path).is_ok_and(|transcript| transcript.contains(text)))
}

#[track_caller]
fn wait_for(mount: &Mount, text: &str) {
    wait_until(PATIENCE, text, || shows(mount, text));
}

fn following(mount: &Mount) -> Value {
    common::json(&mount.path(".cogfs/status.json"))["following"]["state"].clone()
}

fn append(path: &Path, bytes: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(bytes.as_bytes()).unwrap();
}

/// A world with one session in it, which a mount has imported by itself.
fn with_a_session(world: &World) -> (ClaudeLog, PathBuf) {
    let log = ClaudeLog::new("boats", 1).user("Count the boats.").assistant("Seven.").clone();
    let path = log.write(&world.claude());
    (log, path)
}

fn an_appended_line_shows_within_two_seconds(world: &World) {
    let (mut log, _) = with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    let mut took = Vec::new();
    for round in 0..5 {
        let text = format!("Answer {round}.");
        let written = log.lines.len();
        log.assistant(&text);
        log.append(&world.claude(), written);
        let began = Instant::now();
        wait_for(&mount, &text);
        took.push(began.elapsed());
    }
    eprintln!("an appended line showed after {took:?}");
    // The machine may be busy with other tests for a while, not for each of them.
    assert!(took.iter().min().is_some_and(|least| *least < SHOWS_WITHIN), "{took:?}");
    assert_eq!(world.stats()["turns"], 7);
}

fn a_new_session_and_a_new_project_show(world: &World) {
    with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    ClaudeLog::new("boats", 2).user("And the second session?").write(&world.claude());
    wait_for(&mount, "And the second session?");
    ClaudeLog::new("harbour", 3).user("A folder that was not there.").write(&world.claude());
    wait_for(&mount, "A folder that was not there.");
}

fn an_agent_that_is_installed_later_is_followed(world: &World) {
    let mount = Mount::new(world);
    let (mut log, _) = with_a_session(world);
    wait_for(&mount, "Seven.");
    let written = log.lines.len();
    log.assistant("Written to a folder that was not there at first.");
    log.append(&world.claude(), written);
    wait_for(&mount, "Written to a folder that was not there at first.");
    let found = common::files(&common::demo_logs());
    let codex = found.iter().find(|path| path.to_string_lossy().contains("rollout-")).expect("a log of Codex");
    let dir = world.user().join(".codex/sessions/2026/08/22");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(codex, dir.join(codex.file_name().unwrap())).unwrap();
    let agents = mount.path("by/agent/codex");
    wait_until(PATIENCE, "a session of Codex", || fs::read_dir(&agents).is_ok_and(|links| links.count() > 0));
}

fn a_log_that_is_written_anew_shorter_loses_nothing(world: &World) {
    let (_, path) = with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    let other = ClaudeLog::new("boats", 2).user("Short.").clone();
    fs::write(&path, other.lines.join("\n") + "\n").unwrap();
    wait_for(&mount, "Short.");
    assert!(shows(&mount, "Seven."), "what the log lost is kept");
}

fn a_log_that_is_replaced_by_renaming_shows(world: &World) {
    let (log, path) = with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    let new = log.clone().assistant("Eight, in fact.").clone();
    let beside = path.with_extension("tmp");
    fs::write(&beside, new.lines.join("\n") + "\n").unwrap();
    fs::rename(&beside, &path).unwrap();
    wait_for(&mount, "Eight, in fact.");
    assert_eq!(world.stats()["turns"], 3, "no turn is there twice");
}

fn a_log_that_is_rotated_goes_on_under_its_name(world: &World) {
    let (_, path) = with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    fs::rename(&path, path.with_file_name("old.jsonl")).unwrap();
    let new = ClaudeLog::new("boats", 2).user("After the rotation.").clone();
    fs::write(&path, new.lines.join("\n") + "\n").unwrap();
    wait_for(&mount, "After the rotation.");
    assert_eq!(world.stats()["turns"], 3, "no turn is there twice");
}

fn a_line_shows_when_it_is_whole(world: &World) {
    let (mut log, path) = with_a_session(world);
    let mount = Mount::new(world);
    wait_for(&mount, "Seven.");
    log.assistant("Written in two halves.");
    let line = format!("{}\n", log.lines.last().unwrap());
    let (one, two) = line.split_at(line.len() / 2);
    append(&path, one);
    // What is written after it is imported: so was the half, if it ever is.
    ClaudeLog::new("boats", 2).user("Something else.").write(&world.claude());
    wait_for(&mount, "Something else.");
    assert!(!shows(&mount, "Written in two halves."));
    append(&path, two);
    wait_for(&mount, "Written in two halves.");
    assert_eq!(world.stats()["turns"], 4);
}

fn a_place_behind_a_link_is_followed_and_links_in_it_are_not(world: &World) {
    let real = world.root().join("elsewhere");
    fs::create_dir_all(real.join("projects")).unwrap();
    std::os::unix::fs::symlink(&real, world.claude()).unwrap();
    let mount = Mount::new(world);
    let outside = ClaudeLog::new("secret", 7).user("Not to be followed.").write(&world.logs());
    std::os::unix::fs::symlink(outside.parent().unwrap(), real.join("projects/out")).unwrap();
    with_a_session(world);
    wait_for(&mount, "Seven.");
    append(&outside, &(ClaudeLog::new("secret", 7).assistant("Nor this.").lines.join("\n") + "\n"));
    ClaudeLog::new("boats", 2).user("Later.").write(&world.claude());
    wait_for(&mount, "Later.");
    assert!(!shows(&mount, "Not to be followed."));
}

/// Each of these with inotify, and where it is not to be had.
macro_rules! both_ways {
    ($($name:ident),* $(,)?) => {
        mod by_inotify {
            $(#[test] fn $name() { crate::needs_fuse!(); super::$name(&super::World::new()); })*
        }
        mod by_looking {
            $(#[test] fn $name() {
                crate::needs_fuse!();
                let mut world = super::World::new();
                world.set_variable("COGFS_WATCH", "poll");
                super::$name(&world);
            })*
        }
    };
}

both_ways!(
    an_appended_line_shows_within_two_seconds,
    a_new_session_and_a_new_project_show,
    an_agent_that_is_installed_later_is_followed,
    a_log_that_is_written_anew_shorter_loses_nothing,
    a_log_that_is_replaced_by_renaming_shows,
    a_log_that_is_rotated_goes_on_under_its_name,
    a_line_shows_when_it_is_whole,
    a_place_behind_a_link_is_followed_and_links_in_it_are_not,
);

/// A process that is gone when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn tail_f_prints_what_is_appended() {
    needs_fuse!();
    let world = World::new();
    let (mut log, _) = with_a_session(&world);
    let mount = Mount::new(&world);
    wait_for(&mount, "Seven.");
    let transcript = common::files_named(&mount.path("projects"), |name| name == "transcript.md").remove(0);
    for option in ["-f", "-F"] {
        let output = world.root().join(format!("tail{option}"));
        let mut tail = Command::new("tail");
        let command = tail.args([option, "-n", "+1"]).arg(&transcript);
        let _tail = Running(command.stdout(File::create(&output).unwrap()).spawn().unwrap());
        let printed = |text: &str| fs::read_to_string(&output).unwrap().contains(text);
        wait_until(PATIENCE, "what is there already", || printed("Seven."));
        for round in 0..2 {
            let text = format!("Said while tail {option} ran, {round}.");
            let written = log.lines.len();
            log.assistant(&text);
            log.append(&world.claude(), written);
            wait_until(PATIENCE, &text, || printed(&text));
        }
    }
}

#[test]
fn of_two_mounts_one_follows_and_the_other_takes_over_when_it_dies() {
    needs_fuse!();
    let world = World::new();
    let (mut log, _) = with_a_session(&world);
    let first = Mount::with(&world, &world.root().join("first"), &[]);
    assert_eq!(following(&first), "following");
    let second = Mount::with(&world, &world.root().join("second"), &[]);
    assert_eq!(following(&second), "waiting");
    wait_for(&second, "Seven.");
    first.pids().into_iter().for_each(kill);
    wait_until(PATIENCE, "the other takes over", || following(&second) == "following");
    let written = log.lines.len();
    log.assistant("Said after the first died.");
    log.append(&world.claude(), written);
    wait_for(&second, "Said after the first died.");
    assert_eq!(world.stats()["turns"], 3);
}

#[test]
fn imports_beside_a_mount_lose_and_repeat_nothing() {
    needs_fuse!();
    let world = World::new();
    let (mut log, _) = with_a_session(&world);
    let mount = Mount::new(&world);
    for round in 0..10 {
        let written = log.lines.len();
        log.user(&format!("Question {round}?")).assistant(&format!("Answer {round}."));
        log.append(&world.claude(), written);
        world.run(&["import", "--quiet"]).exits(0);
    }
    wait_for(&mount, "Answer 9.");
    assert_eq!(world.stats()["turns"], 22);
    let before = world.dump();
    world.run(&["import", "--quiet"]).exits(0);
    assert_eq!(before, world.dump());
}

#[test]
fn a_database_that_is_locked_for_long_is_waited_for() {
    needs_fuse!();
    let world = World::new();
    let (mut log, _) = with_a_session(&world);
    let mount = Mount::new(&world);
    wait_for(&mount, "Seven.");
    let other = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let written = log.lines.len();
    log.assistant("Said while it was locked.");
    log.append(&world.claude(), written);
    let importing = || {
        let lock = File::open(world.home().join("data/import.lock")).unwrap();
        flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
    };
    wait_until(PATIENCE, "the follower tries", importing);
    wait_until(PATIENCE, "the follower gives up for now", || !importing());
    other.execute_batch("ROLLBACK").unwrap();
    wait_for(&mount, "Said while it was locked.");
}

#[test]
fn a_mount_of_what_is_known_writes_nothing() {
    needs_fuse!();
    let world = World::new();
    with_a_session(&world);
    let mount = Mount::new(&world);
    wait_for(&mount, "Seven.");
    mount.unmount();
    let before = world.dump();
    let mount = Mount::new(&world);
    // Imported after what was there was looked at.
    let other = ClaudeLog::new("boats", 2).user("New.").write(&world.claude());
    wait_for(&mount, "New.");
    let added: Vec<String> = world.dump().into_iter().filter(|line| !before.contains(line)).collect();
    let old = with_a_session(&world).1;
    let old = old.to_string_lossy();
    assert!(added.iter().any(|line| line.contains(&*other.to_string_lossy())), "{added:?}");
    assert!(!added.iter().any(|line| line.contains(&*old)), "the old log was imported again: {added:?}");
}

#[test]
fn a_mount_that_is_told_not_to_follows_nothing_and_so_does_the_demo() {
    needs_fuse!();
    let world = World::new();
    with_a_session(&world);
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--no-watch"]);
    assert_eq!(following(&mount), "off");
    mount.unmount();
    world.run(&["demo"]).exits(0);
    let home = world.home().join("demo");
    let dir = world.root().join("demo");
    let ran = world.cogfs_at(&home, &["mount"]).arg(&dir).output().unwrap();
    assert!(ran.status.success());
    let state = common::json(&dir.join(".cogfs/status.json"))["following"]["state"].clone();
    world.run(&["unmount".as_ref(), dir.as_os_str()]).exits(0);
    assert_eq!(state, "off");
}

/// `cogfs watch --json` and what it prints.
struct Watch {
    running: Running,
    events: std::sync::mpsc::Receiver<Value>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, events) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let _ = send.send(serde_json::from_str(&line.unwrap()).expect("one JSON object a line"));
            }
        });
        Self { running: Running(child), events }
    }

    /// The next event of a kind.
    #[track_caller]
    fn next(&self, kind: &str) -> Value {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|e| panic!("no event '{kind}': {e}"));
            if event["event"] == kind {
                return event;
            }
        }
    }

    /// Ends it by a signal; its exit status and its messages.
    fn end(mut self, signal: rustix::process::Signal) -> (Option<i32>, String) {
        let child = &mut self.running.0;
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
        let mut messages = String::new();
        child.stderr.take().unwrap().read_to_string(&mut messages).unwrap();
        (child.wait().unwrap().code(), messages)
    }
}

#[test]
fn watch_alone_imports_tells_each_change_and_ends_when_asked() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let world = World::new();
        let (mut log, path) = with_a_session(&world);
        let watch = Watch::start(world.cogfs(&["watch", "--json"]));
        let first = watch.next("imported");
        assert_eq!((&first["agent"], &first["new_turns"]), (&"claude_code".into(), &2.into()), "{first}");
        assert_eq!(watch.next("following")["files"], 1);
        let written = log.lines.len();
        log.git_commit("4d4d4d4", "Paint the boats");
        log.append(&world.claude(), written);
        let second = watch.next("imported");
        assert_eq!(second["file"], fs::canonicalize(path).unwrap().to_str().unwrap());
        assert_eq!(second["git_commits"], 1, "{second}");
        assert_eq!(watch.end(signal), (Some(0), String::new()));
    }
}

#[test]
fn watch_follows_the_places_it_is_given_in_place_of_the_usual_ones() {
    let world = World::new();
    with_a_session(&world);
    let named = ClaudeLog::new("other", 2).user("Elsewhere.").write(&world.logs());
    let mut command = world.cogfs(&["watch", "--json"]);
    command.arg(&named);
    let watch = Watch::start(command);
    assert_eq!(watch.next("imported")["new_turns"], 1);
    watch.next("following");
    append(&named, &(ClaudeLog::new("other", 2).assistant("More.").lines.join("\n") + "\n"));
    assert_eq!(watch.next("imported")["file"], fs::canonicalize(&named).unwrap().to_str().unwrap());
    assert_eq!(world.stats()["sessions"], 1);
    let missing = world.root().join("missing");
    let ran = world.run(&["watch".as_ref(), missing.as_os_str()]).exits(1);
    assert!(ran.stderr.contains(missing.to_str().unwrap()), "{}", ran.stderr);
}

/// A shell in a namespace of its own, where the limits of inotify can be lowered for this test alone.
fn with_limit(limit: &str, world: &World) -> Option<Command> {
    let shell = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_cogfs")]);
        command
    };
    let lower = format!("echo 1 > /proc/sys/user/{limit}");
    if !shell(&lower).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        return None;
    }
    let mut command = shell(&format!("{lower} && exec \"$1\" watch --json"));
    for (name, value) in world.cogfs::<&str>(&[]).get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Some(command)
}

#[test]
fn a_place_that_inotify_has_no_watches_left_for_is_looked_at() {
    let world = World::new();
    let (mut log, _) = with_a_session(&world);
    let Some(command) = with_limit("max_inotify_watches", &world) else {
        return common::skipped("no user namespaces");
    };
    let watch = Watch::start(command);
    watch.next("imported");
    watch.next("following");
    let written = log.lines.len();
    log.assistant("Noticed all the same.");
    log.append(&world.claude(), written);
    assert_eq!(watch.next("imported")["new_turns"], 1);
    ClaudeLog::new("harbour", 3).user("In a new folder.").write(&world.claude());
    assert_eq!(watch.next("imported")["new_turns"], 1);
    let (code, messages) = watch.end(rustix::process::Signal::TERM);
    assert_eq!(code, Some(0));
    assert!(messages.contains("max_user_watches"), "it is told why: {messages}");
}
