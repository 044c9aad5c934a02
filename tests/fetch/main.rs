//! What another machine has comes when it is read: once, without holding anything else up, and never as an empty file.

#[path = "../common/mod.rs"]
mod common;
#[path = "../memory_cloud/mod.rs"]
mod memory_cloud;

mod cache;
mod command;
mod exits;
mod interrupts;
mod stage;
mod walks;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cogfs::model::Id;
use common::{ClaudeLog, Mount, turn_files, wait_until};
use stage::{PATIENCE, Stage, log, picture_bytes, session_file};

/// The id of a session, as `meta.json` has it.
fn id_of(session_dir: &Path) -> Id {
    Id::parse(common::json(&session_dir.join("meta.json"))["id"].as_str().unwrap()).unwrap()
}

/// The directory of the session that a turn is in.
fn session_of(turn: &Path) -> &Path {
    turn.parent().unwrap().parent().unwrap()
}

/// The files of turns, by sessions.
fn by_session(mount: &Path) -> Vec<Vec<PathBuf>> {
    let files = turn_files(mount);
    files.chunk_by(|a, b| a.parent() == b.parent()).map(<[PathBuf]>::to_vec).collect()
}

fn errno<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.expect_err("it cannot be had").raw_os_error().unwrap()
}

fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[test]
fn a_turn_of_another_machine_is_fetched_when_it_is_read_with_its_whole_session() {
    needs_fuse!();
    let stage = Stage::with(3);
    let (there, here) = (Mount::new(&stage.a), Mount::new(&stage.b));
    let files = turn_files(here.dir());
    assert_eq!(files.len(), 3 * 12);
    assert_eq!(stage.fetches(), 0, "a walk fetches nothing");
    let of_one: Vec<_> = files.iter().filter(|file| session_of(file) == session_of(&files[0])).collect();
    for file in &of_one {
        let size = fs::metadata(file).unwrap().len();
        let bytes = fs::read(file).unwrap();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(bytes, fs::read(there.path(file.strip_prefix(here.dir()).unwrap().to_str().unwrap())).unwrap());
    }
    assert_eq!((of_one.len(), stage.fetches()), (12, 1));
    for file in &files {
        fs::read(file).unwrap();
    }
    assert_eq!(stage.fetches(), 2, "who goes on with the next one is given what follows it too");
    wait_until(PATIENCE, "nothing is remote any more", || {
        fs::read_dir(here.path("by/status")).unwrap().flatten().all(|entry| entry.file_name() != "remote")
    });
}

#[test]
fn thirty_readers_of_a_session_make_one_request_and_hold_nothing_else_up() {
    needs_fuse!();
    let mut stage = Stage::with(4);
    log(9, 0).write(&stage.b.logs());
    stage.b.import(&[&stage.b.logs()]);
    stage.b.set_variable("COGFS_FETCH_TIMEOUT", "60s");
    let mount = Mount::new(&stage.b);
    let sessions = by_session(mount.dir());
    let local =
        sessions.iter().find(|files| common::json(&session_of(&files[0]).join("meta.json"))["contents"] == "local");
    let local = local.expect("one is of this machine").clone();
    let mut others = sessions.into_iter().filter(|files| *files != local);
    let (slow, other) = (others.next().unwrap(), others.next().unwrap());
    stage.hold_one(id_of(session_of(&slow[0])));
    let idle = threads(mount.pids()[0]);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..30)
            .map(|n| {
                let file = slow[n % slow.len()].clone();
                scope.spawn(move || (fs::metadata(&file).unwrap().len(), fs::read(&file)))
            })
            .collect();
        stage.wait_for_fetches(1);
        // What is here, what is only listed, and what is fetched meanwhile.
        let began = Instant::now();
        for file in &local {
            assert!(!fs::read(file).unwrap().is_empty());
        }
        assert!(!fs::read(&other[0]).unwrap().is_empty());
        assert!(fs::read_dir(mount.path("projects/boats")).unwrap().count() > 4);
        assert!(fs::metadata(&slow[0]).unwrap().len() > 0);
        assert!(!fs::read(mount.path("README.md")).unwrap().is_empty());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        let waiting = threads(mount.pids()[0]);
        assert!(waiting <= idle + 10, "{idle} threads became {waiting}");
        assert!(readers.iter().all(|reader| !reader.is_finished()));
        stage.let_go();
        for reader in readers {
            let (size, bytes) = reader.join().unwrap();
            assert_eq!(bytes.unwrap().len() as u64, size);
        }
    });
    assert_eq!(stage.fetches(), 2, "one for each session");
}

#[test]
fn a_reader_that_is_killed_leaves_nothing_behind() {
    needs_fuse!();
    let mut stage = Stage::with(2);
    stage.b.set_variable("COGFS_FETCH_TIMEOUT", "3s");
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    stage.hold();
    let mut reader = Command::new("cat").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    stage.wait_for_fetches(1);
    reader.kill().unwrap();
    reader.wait().unwrap();
    stage.let_go();
    assert!(fs::read_to_string(&file).unwrap().contains("Question"));
    for file in turn_files(mount.dir()) {
        assert!(!fs::read(file).unwrap().is_empty());
    }
    assert_eq!(stage.fetches(), 2);
    mount.unmount();
}

#[test]
fn what_does_not_come_in_time_is_etimedout_and_comes_to_who_reads_again() {
    needs_fuse!();
    let mut stage = Stage::with(1);
    stage.b.set_variable("COGFS_FETCH_TIMEOUT", "400ms");
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    stage.hold();
    let began = Instant::now();
    assert_eq!(errno(fs::read(&file)), libc::ETIMEDOUT);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(400) && took < Duration::from_secs(5), "{took:?}");
    stage.let_go();
    wait_until(PATIENCE, "it comes", || fs::read(&file).is_ok_and(|bytes| !bytes.is_empty()));
    assert_eq!(stage.fetches(), 1, "the fetch went on");
    told(&mount, "ETIMEDOUT");
    told(&mount, "projects/boats");
}

#[test]
fn offline_everything_is_enetunreach_at_once_and_nothing_reads_as_empty() {
    needs_fuse!();
    let stage = Stage::with(12);
    let mount = Mount::new(&stage.b);
    let files = turn_files(mount.dir());
    stage.is_gone();
    let (began, before) = (Instant::now(), stage.requests());
    for file in &files {
        assert_eq!(errno(fs::read(file)), libc::ENETUNREACH);
    }
    let (took, asked) = (began.elapsed(), stage.requests() - before);
    assert!(took < Duration::from_secs(10), "{} files took {took:?}", files.len());
    assert!(asked <= 2 + 2 * usize::try_from(took.as_secs()).unwrap(), "{asked} requests");
    told(&mount, "cannot be reached");
    stage.let_go();
    wait_until(PATIENCE, "it is reached again", || fs::read(&files[0]).is_ok());
}

#[test]
fn offline_a_turn_that_is_elsewhere_is_not_removed_and_a_whole_conversation_is() {
    needs_fuse!();
    let stage = Stage::with(2);
    let mount = Mount::new(&stage.b);
    let sessions = by_session(mount.dir());
    let (turn, other) = (&sessions[0][0], &sessions[1][0]);
    let named = |dir: &Path| fs::read_dir(dir).unwrap().count();
    let turns = named(turn.parent().unwrap());
    stage.is_gone();
    assert_eq!(errno(fs::remove_file(turn)), libc::ENETUNREACH);
    assert_eq!(errno(fs::rename(turn, mount.path(".cogfs/trash/slip"))), libc::ENETUNREACH);
    let refused = stage.b.run(&["trash", turn.to_str().unwrap()]).exits(5);
    assert!(refused.stderr.contains("cannot be reached"), "{}", refused.stderr);
    assert_eq!((named(turn.parent().unwrap()), named(&mount.path(".cogfs/trash"))), (turns, 0));
    // Nothing is fetched for what goes with its whole.
    let commit = session_of(other).parent().unwrap().parent().unwrap();
    let before = stage.fetches();
    fs::remove_dir_all(commit).unwrap();
    assert_eq!((named(&mount.path(".cogfs/trash")), stage.fetches()), (1, before));
    stage.let_go();
    wait_until(PATIENCE, "it is reached again", || fs::remove_file(turn).is_ok());
    assert_eq!(named(turn.parent().unwrap()), turns - 1);
    wait_until(PATIENCE, "it is deleted", || named(&mount.path(".cogfs/trash")) == 2);
}

/// The log of what was refused says something, as soon as the kernel knows that it has grown.
fn told(mount: &Mount<'_>, what: &str) {
    let log = mount.path(".cogfs/errors.jsonl");
    wait_until(PATIENCE, what, || fs::read_to_string(&log).unwrap().contains(what));
}

#[test]
fn without_a_login_or_a_server_a_read_says_what_to_do_and_asks_nobody() {
    needs_fuse!();
    let mut stage = Stage::with(1);
    fs::remove_file(session_file(&stage.b)).unwrap();
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    let before = stage.requests();
    assert_eq!(errno(fs::read(&file)), libc::ENETUNREACH);
    told(&mount, "cogfs login");
    mount.unmount();
    stage.b.set_variable("COGFS_SYNC_URL", "");
    let mount = Mount::new(&stage.b);
    assert_eq!(errno(fs::read(&file)), libc::ENETUNREACH);
    told(&mount, "no server is set");
    assert_eq!(stage.requests(), before);
}

#[test]
fn a_program_that_looks_at_every_file_causes_no_request() {
    needs_fuse!();
    let stage = Stage::with(1);
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    let picture = fs::read_dir(common::files_named(mount.dir(), |name| name.ends_with(".png"))[0].parent().unwrap());
    let picture = picture.unwrap().next().unwrap().unwrap().path();
    let before = stage.requests();
    for name in ["tracker-extract", "tumblerd", "ffmpegthumbnailer", "baloo_file_extractor"] {
        let program = stage.b.root().join(name);
        fs::copy("/bin/cat", &program).unwrap();
        for file in [&file, &picture] {
            let output = Command::new(&program).arg(file).env("LC_ALL", "C").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.contains("Network is unreachable") && output.stdout.is_empty(), "{name}: {said}");
        }
    }
    assert_eq!(stage.requests(), before);
    assert!(!fs::read(&file).unwrap().is_empty());
}

#[test]
fn a_picture_comes_when_it_is_opened_unless_that_is_not_wanted() {
    needs_fuse!();
    let mut stage = Stage::with(2);
    let pictures = |mount: &Mount<'_>| {
        let mut found = common::files_named(&mount.path("projects"), |name| name.ends_with(".png"));
        found.sort();
        found
    };
    stage.b.set_variable("COGFS_FETCH_IMAGES", "never");
    let mount = Mount::new(&stage.b);
    let found = pictures(&mount);
    assert_eq!(found.len(), 2);
    assert_eq!(errno(fs::read(&found[0])), libc::ENETUNREACH);
    mount.unmount();
    stage.b.set_variable("COGFS_FETCH_IMAGES", "on-open");
    let mount = Mount::new(&stage.b);
    let mut read: Vec<Vec<u8>> = found.iter().map(|file| fs::read(file).unwrap()).collect();
    read.sort();
    assert_eq!(read, [picture_bytes(1, 1), picture_bytes(2, 1)]);
    assert_eq!(stage.fetches(), 0, "a picture is not its session");
    mount.unmount();
    // With the contents of their session.
    log(3, 2).write(&stage.a.logs());
    stage.a.import(&[&stage.a.logs()]);
    stage.a.run(&["push"]).exits(0);
    stage.b.run(&["pull"]).exits(0);
    stage.b.set_variable("COGFS_FETCH_IMAGES", "always");
    let mount = Mount::new(&stage.b);
    let before = stage.double.count("/storage/");
    let turns = by_session(mount.dir());
    fs::read(&turns.iter().find(|files| files.len() == 14).expect("the new one")[0]).unwrap();
    wait_until(PATIENCE, "its pictures come", || stage.double.count("/storage/") == before + 2);
}

#[test]
fn a_picture_with_other_bytes_is_not_shown() {
    needs_fuse!();
    let stage = Stage::with(1);
    let mount = Mount::new(&stage.b);
    let picture = common::files_named(&mount.path("projects"), |name| name.ends_with(".png")).remove(0);
    let object = stage.cloud.objects().remove(0);
    stage.cloud.replace_object(&object, b"something else");
    assert_eq!(errno(fs::read(&picture)), libc::ENETUNREACH);
    told(&mount, "other bytes");
}

#[test]
fn the_control_file_fetches_and_syncs() {
    needs_fuse!();
    let stage = Stage::with(2);
    let mount = Mount::new(&stage.b);
    let control = mount.path(".cogfs/ctl");
    let session = session_of(&turn_files(mount.dir())[0]).to_owned();
    for wrong in ["fetch", "fetch nothing", "fetch ffffffffffff", "sync tomorrow"] {
        let refused = fs::write(&control, wrong).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL), "{wrong}");
    }
    fs::write(&control, format!("fetch {}\n", id_of(&session))).unwrap();
    wait_until(PATIENCE, "it is here", || common::json(&session.join("meta.json"))["contents"] == "local");
    assert_eq!(stage.fetches(), 1);
    log(5, 0).write(&stage.a.logs());
    stage.a.import(&[&stage.a.logs()]);
    stage.a.run(&["push"]).exits(0);
    assert_eq!(by_session(mount.dir()).len(), 2);
    fs::write(&control, "sync now").unwrap();
    wait_until(PATIENCE, "it is listed", || by_session(mount.dir()).len() == 3);
}

#[test]
fn a_transcript_of_many_sessions_waits_for_all_of_them() {
    needs_fuse!();
    let stage = Stage::with(1);
    // Two sessions in one commit: both end with the same git commit.
    for number in [5, 6] {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("Question of {number}")).assistant("Yes.").git_commit("4be91d7", "Float");
        log.write(&stage.a.logs());
    }
    stage.a.import(&[&stage.a.logs()]);
    stage.a.run(&["push"]).exits(0);
    stage.b.run(&["pull"]).exits(0);
    let mount = Mount::new(&stage.b);
    let commits = fs::read_dir(mount.path("projects/boats")).unwrap().flatten().map(|entry| entry.path());
    let both = commits.filter(|dir| fs::read_dir(dir.join("sessions")).is_ok_and(|sessions| sessions.count() == 2));
    let transcript = both.collect::<Vec<_>>().remove(0).join("transcript.md");
    let text = fs::read_to_string(&transcript).unwrap();
    assert_eq!(text.len() as u64, fs::metadata(&transcript).unwrap().len());
    assert!(text.contains("Question of 5") && text.contains("Question of 6"));
    assert_eq!(stage.fetches(), 1, "in one request");
}
