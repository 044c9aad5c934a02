//! What the tests of the program share: a world of their own, a mount that cleans up, logs to import, conditions to wait for.
//!
//! Knows the program by its command line alone; must not use the library.

// Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod browser;
pub mod certificates;
pub mod chromium;
pub mod cloud;
pub mod exports_reader;
pub mod log;
pub mod mount;
pub mod opencode_reader;
pub mod reader;
pub mod stack;
pub mod world;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

pub use log::ClaudeLog;
pub use mount::Mount;
pub use world::{Ran, World};

/// The longest a change may take to show in a mount.
pub const SHOWS_WITHIN: Duration = Duration::from_secs(1);

/// Leaves the test, loudly, where it cannot run here. `scripts/test` counts the lines.
#[macro_export]
macro_rules! skip_unless {
    ($condition:expr, $why:expr) => {
        if !$condition {
            $crate::common::skipped($why);
            return;
        }
    };
}

/// Leaves the test where nothing can be mounted.
#[macro_export]
macro_rules! needs_fuse {
    () => {
        $crate::skip_unless!($crate::common::fuse_available(), "no /dev/fuse");
    };
}

/// Says that a test did not run, and why.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    eprintln!("SKIPPED: {why} ({name})");
    // Runners hide what a passing test prints: the file is what `scripts/test` counts.
    if let Some(path) = std::env::var_os("COGFS_SKIP_LOG") {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "SKIPPED: {why} ({name})").unwrap();
    }
}

/// Whether a filesystem can be mounted here.
pub fn fuse_available() -> bool {
    fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok() && (is_root() || has_program("fusermount3"))
}

/// Whether we run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program is there to be called.
pub fn has_program(name: &str) -> bool {
    std::env::var_os("PATH").is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(name).is_file()))
}

/// How often is looked at least, however much time has passed: a machine may stand still for a while, and its clock goes on.
pub const LOOKS: usize = 50;

/// Waits until `condition` holds; fails with `what` when it does not within `limit`.
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let (start, mut looks) = (Instant::now(), 1);
    while !condition() {
        assert!(looks < LOOKS || start.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
        looks += 1;
    }
}

/// Runs a program that must succeed; its output.
pub fn must(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The standard output of a program that must succeed.
pub fn stdout_of(command: &mut Command) -> String {
    String::from_utf8(must(command).stdout).expect("text")
}

/// The folder of the logs that `cogfs demo` imports.
pub fn demo_logs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/logs")
}

/// The folder of the logs that only tests import.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Every path under `dir`, itself left out, sorted; links are not followed.
pub fn walk(dir: &Path) -> Vec<walkdir::DirEntry> {
    walkdir::WalkDir::new(dir)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap_or_else(|e| panic!("walking {}: {e}", dir.display())))
        .collect()
}

/// Every regular file under `dir`.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    walk(dir).into_iter().filter(|e| e.file_type().is_file()).map(walkdir::DirEntry::into_path).collect()
}

/// The regular files under `dir` whose name satisfies `wanted`.
pub fn files_named(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    files(dir).into_iter().filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(&wanted)).collect()
}

/// The directories of all sessions, their parts and their subagents: what holds a `raw.jsonl`.
pub fn session_dirs(mount: &Path) -> Vec<PathBuf> {
    files_named(&mount.join("projects"), |name| name == "raw.jsonl")
        .into_iter()
        .map(|path| path.parent().unwrap().to_owned())
        .collect()
}

/// The files that show one turn each.
pub fn turn_files(mount: &Path) -> Vec<PathBuf> {
    files(&mount.join("projects"))
        .into_iter()
        .filter(|path| path.parent().and_then(Path::file_name).is_some_and(|dir| dir == "turns"))
        .collect()
}

/// Reads a JSON file.
pub fn json(path: &Path) -> serde_json::Value {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether `text` stands in one of the files.
pub fn stands_in(files: &[PathBuf], text: &str) -> bool {
    files.iter().any(|path| {
        let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        memchr::memmem::find(&bytes, text.as_bytes()).is_some()
    })
}

/// The files under a folder that another process may be writing just now: what vanishes meanwhile is left out.
pub fn files_of(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path)
}
