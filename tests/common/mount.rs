//! A mount that is gone when the test is: unmounted in the ordinary way, or by force where that fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{World, wait_until};

/// How long a mount may take to appear, vanish or answer on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Requests that the kernel sends of its own accord, or that it can never answer itself. `statfs` has no cache in the
/// kernel (`fuse_statfs` always asks), and programs that walk trees ask once for the type of the filesystem.
const NOT_ABOUT_THE_TREE: [&str; 6] = ["forget", "batch_forget", "interrupt", "init", "destroy", "statfs"];

/// A mounted world.
pub struct Mount<'w> {
    world: &'w World,
    dir: PathBuf,
    request_log: PathBuf,
}

impl<'w> Mount<'w> {
    /// Mounts on a directory of the world's own.
    #[track_caller]
    pub fn new(world: &'w World) -> Self {
        Self::with(world, &world.root().join("mnt"), &[])
    }

    /// Mounts on `dir` with more arguments.
    #[track_caller]
    pub fn with(world: &'w World, dir: &Path, args: &[&str]) -> Self {
        let request_log = world.root().join("requests.json");
        let mount = Self { world, dir: dir.to_owned(), request_log };
        let mut command = world.cogfs(&["mount"]);
        command.arg(dir).args(args).env("COGFS_REQUEST_LOG", &mount.request_log);
        // A background process that kept our pipes open would make `output` wait for ever: that is part of the check.
        let output = command.output().unwrap();
        assert!(output.status.success(), "cogfs mount: {}", String::from_utf8_lossy(&output.stderr));
        assert!(is_mounted(dir), "cogfs mount returned, but nothing is mounted on {}", dir.display());
        mount
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// The processes that serve this mount.
    pub fn pids(&self) -> Vec<i32> {
        server_pids(&self.dir)
    }

    /// What was asked of the mount so far, by kind, without what is not about the tree. Waits until the counters rest.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        let mut last = self.read_requests();
        let mut since = Instant::now();
        wait_until(PATIENCE, "the request counters come to rest", || {
            let now = self.read_requests();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            // The file is at most 0.2 s behind; as long again for the requests of a store ahead.
            last.is_some() && since.elapsed() > Duration::from_millis(500)
        });
        let mut counts = last.unwrap();
        counts.retain(|kind, _| !NOT_ABOUT_THE_TREE.contains(&kind.as_str()));
        counts
    }

    fn read_requests(&self) -> Option<BTreeMap<String, u64>> {
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&self.request_log).ok()?).ok()?;
        let counts = value.as_object()?.iter().filter_map(|(k, v)| Some((k.to_lowercase(), v.as_u64()?)));
        Some(counts.collect())
    }

    /// Runs `work` and says what was asked of the mount meanwhile.
    pub fn requests_of(&self, work: impl FnOnce()) -> BTreeMap<String, u64> {
        let before = self.requests();
        work();
        let mut after = self.requests();
        for (kind, count) in &mut after {
            *count -= before.get(kind).copied().unwrap_or(0);
        }
        // What is stored ahead is no request.
        after.retain(|kind, count| *count > 0 && kind != "stored");
        after
    }

    /// Unmounts in the ordinary way; fails when that fails.
    #[track_caller]
    pub fn unmount(self) {
        self.world.run(&["unmount".as_ref(), self.dir.as_os_str()]).exits(0);
        assert!(!is_mounted(&self.dir), "cogfs unmount returned, but {} is still mounted", self.dir.display());
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        if is_mounted(&self.dir) {
            self.world.run(&["unmount".as_ref(), self.dir.as_os_str()]);
        }
        clear(&self.dir);
    }
}

/// Takes away whatever is left of mounts on `dir`, by force.
pub fn clear(dir: &Path) {
    for pid in server_pids(dir) {
        kill(pid);
    }
    while is_mounted(dir) {
        let root = super::is_root();
        let mut command = Command::new(if root { "umount" } else { "fusermount3" });
        let done = command.arg(if root { "-l" } else { "-uz" }).arg(dir).status().is_ok_and(|s| s.success());
        if !done {
            eprintln!("could not unmount {}", dir.display());
            return;
        }
    }
}

/// Kills a process at once, as a crash would.
pub fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may be gone already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Whether a filesystem is mounted on exactly this directory. Never touches the directory: the mount may be dead.
pub fn is_mounted(dir: &Path) -> bool {
    mount_line(dir).is_some()
}

/// The line of `/proc/self/mountinfo` for this directory; the last one, if several lie over each other.
pub fn mount_line(dir: &Path) -> Option<String> {
    let wanted = dir.to_str().unwrap();
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().rfind(|line| line.split(' ').nth(4) == Some(wanted)).map(str::to_owned)
}

/// The processes of our program that have this directory among their arguments.
pub fn server_pids(dir: &Path) -> Vec<i32> {
    let binary = fs::canonicalize(env!("CARGO_BIN_EXE_cogfs")).unwrap();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == binary);
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if ours && line.split(|b| *b == 0).any(|arg| arg == dir.as_os_str().as_encoded_bytes()) {
            found.push(pid);
        }
    }
    found
}
