//! Mounting and unmounting: what is refused, what a crash leaves behind and how it is cleared.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::mount::{PATIENCE, clear, is_mounted, kill, mount_line, server_pids};
use common::world::Ran;
use common::{Mount, World, wait_until};

fn on(world: &World, verb: &str, dir: &Path) -> Ran {
    world.run(&[verb.as_ref(), dir.as_os_str()])
}

/// A directory whose mounts are gone at the end of the test, however it ends.
struct Cleared<'p>(&'p Path);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        clear(self.0);
    }
}

#[test]
fn a_missing_directory_is_created() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::with(&world, &world.root().join("not/there/yet"), &[]);
    assert!(mount.path("README.md").is_file());
    mount.unmount();
}

#[test]
fn the_type_of_the_mount_is_our_own() {
    needs_fuse!();
    let world = World::new();
    let mount = Mount::new(&world);
    let line = mount_line(mount.dir()).unwrap();
    assert!(line.contains(" fuse.cogfs "), "{line}");
}

#[test]
fn a_directory_with_files_in_it_is_refused() {
    needs_fuse!();
    let world = World::with_samples();
    let dir = world.root().join("mine");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("letter.txt"), "keep me").unwrap();
    let _cleared = Cleared(&dir);
    let ran = on(&world, "mount", &dir).exits(1);
    assert!(ran.stderr.contains("not empty"), "{}", ran.stderr);
    assert!(!is_mounted(&dir));
    assert_eq!(fs::read_to_string(dir.join("letter.txt")).unwrap(), "keep me");
}

#[test]
fn a_file_is_refused() {
    needs_fuse!();
    let world = World::new();
    let file = world.root().join("letter.txt");
    fs::write(&file, "keep me").unwrap();
    let ran = on(&world, "mount", &file).exits(1);
    assert!(ran.stderr.contains("not a directory"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), "keep me");
}

#[test]
fn a_second_mount_on_the_same_directory_is_refused() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let ran = on(&world, "mount", mount.dir()).exits(1);
    assert!(ran.stderr.contains("already"), "{}", ran.stderr);
    assert!(mount.path("README.md").is_file(), "the first mount suffered");
    mount.unmount();
}

#[test]
fn an_empty_database_mounts_and_says_how_to_import() {
    needs_fuse!();
    let world = World::new();
    let mount = Mount::new(&world);
    let readme = fs::read_to_string(mount.path("README.md")).unwrap();
    assert!(readme.contains("cogfs import"), "{readme}");
    assert_eq!(fs::read_dir(mount.path("projects")).unwrap().count(), 0);
}

#[test]
fn what_a_killed_mount_leaves_is_cleared_by_unmount() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let pids = mount.pids();
    assert!(!pids.is_empty(), "no process serves the mount");
    pids.into_iter().for_each(kill);
    wait_until(PATIENCE, "the mount to be dead", || {
        fs::read_dir(mount.dir()).is_err_and(|e| e.raw_os_error() == Some(libc::ENOTCONN))
    });
    mount.unmount();
}

#[test]
fn mounting_over_a_dead_mount_works() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    mount.pids().into_iter().for_each(kill);
    wait_until(PATIENCE, "the mount to be dead", || fs::read_dir(mount.dir()).is_err());
    on(&world, "mount", mount.dir()).exits(0);
    assert!(mount.path("README.md").is_file());
    mount.unmount();
}

#[test]
fn a_busy_mount_is_detached_and_said_to_be() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let busy = fs::File::open(mount.path("README.md")).unwrap();
    let ran = on(&world, "unmount", mount.dir()).exits(0);
    assert!(!is_mounted(mount.dir()));
    let said = ran.all().to_lowercase();
    assert!(["busy", "in use", "open"].iter().any(|word| said.contains(word)), "{said}");
    drop(busy);
    wait_until(PATIENCE, "the server ends when the last file is closed", || server_pids(mount.dir()).is_empty());
}

#[test]
fn an_ordinary_unmount_ends_the_server() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let dir = mount.dir().to_owned();
    mount.unmount();
    wait_until(PATIENCE, "the server ends", || server_pids(&dir).is_empty());
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn unmounting_what_is_no_mount_is_an_error_that_says_so() {
    let world = World::new();
    let plain = world.root().join("plain");
    fs::create_dir(&plain).unwrap();
    for (dir, why) in [(plain, "no cogfs is mounted"), (world.root().join("missing"), "No such file or directory")] {
        let ran = on(&world, "unmount", &dir).exits(1);
        assert!(ran.stderr.contains(why), "{}", ran.stderr);
        assert!(ran.stderr.contains(dir.to_str().unwrap()), "the directory is not named: {}", ran.stderr);
    }
}

#[test]
fn a_mount_of_another_filesystem_is_left_alone() {
    let world = World::new();
    // Every Linux has something mounted on /proc.
    let ran = on(&world, "unmount", Path::new("/proc")).exits(1);
    assert!(is_mounted(Path::new("/proc")), "/proc was unmounted");
    assert!(ran.stderr.contains("cogfs"), "{}", ran.stderr);
}

#[test]
fn the_mount_outlives_the_shell_that_made_it() {
    needs_fuse!();
    let world = World::with_samples();
    let dir = world.root().join("mnt");
    let _cleared = Cleared(&dir);
    let program = world.cogfs::<&str>(&[]);
    let mut shell = Command::new("setsid");
    shell
        .args(["--wait", "sh", "-c", "\"$1\" mount \"$2\" && kill -HUP 0", "sh", env!("CARGO_BIN_EXE_cogfs")])
        .arg(&dir);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    // The shell ends by the hangup it sends to its whole process group, as a closing terminal does.
    let status = shell.stdin(Stdio::null()).status().unwrap();
    assert!(!status.success(), "the shell should have been hung up");
    assert!(is_mounted(&dir));
    assert!(dir.join("README.md").is_file(), "the mount does not answer");
    on(&world, "unmount", &dir).exits(0);
}

#[test]
fn a_foreground_mount_unmounts_when_interrupted() {
    needs_fuse!();
    let world = World::with_samples();
    let dir = world.root().join("mnt");
    let _cleared = Cleared(&dir);
    let mut child = world.cogfs(&["mount", "-f"]).arg(&dir).stdout(Stdio::null()).spawn().unwrap();
    wait_until(PATIENCE, "the mount answers", || dir.join("README.md").is_file());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    wait_until(PATIENCE, "the mount ends", || child.try_wait().unwrap().is_some());
    assert!(!is_mounted(&dir));
}

#[test]
fn two_mounts_of_one_database_show_the_same() {
    needs_fuse!();
    let world = World::with_samples();
    let one = Mount::with(&world, &world.root().join("one"), &[]);
    let two = Mount::with(&world, &world.root().join("two"), &[]);
    let names = |mount: &Mount| -> Vec<_> {
        common::walk(mount.dir()).iter().map(|e| e.path().strip_prefix(mount.dir()).unwrap().to_owned()).collect()
    };
    assert_eq!(names(&one), names(&two));
}

/// Where the kernel lets connections be ended. Systems mount it at boot, containers often do not.
fn fusectl() -> bool {
    let connections = Path::new("/sys/fs/fuse/connections");
    let is_there = || fs::read_dir(connections).is_ok_and(|mut dir| dir.next().is_some());
    is_there() || Command::new("mount").args(["-t", "fusectl", "none"]).arg(connections).status().unwrap().success()
}

fn all_threads_are_stopped(process: rustix::process::Pid) -> bool {
    fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap().all(|thread| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
        stat.rsplit(')').next().is_some_and(|behind| behind.trim_start().starts_with('T'))
    })
}

#[test]
fn unmount_frees_a_program_that_waits_for_a_server_that_does_not_answer() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    skip_unless!(fusectl(), "fusectl cannot be mounted");
    let server = rustix::process::Pid::from_raw(mount.pids()[0]).unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    wait_until(PATIENCE, "all threads of the server stand still", || all_threads_are_stopped(server));
    // It cannot be killed while it waits for the answer to a mkdir.
    let waits = mount.path("projects/waits");
    let waiting = std::thread::spawn(move || fs::create_dir(waits));
    on(&world, "unmount", mount.dir()).exits(0);
    assert!(!is_mounted(mount.dir()));
    wait_until(PATIENCE, "the program goes on", || waiting.is_finished());
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::ECONNABORTED | libc::ENOTCONN)), "{error}");
    kill(server.as_raw_nonzero().get());
}
