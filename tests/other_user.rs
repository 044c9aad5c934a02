//! Users apart: an ordinary user can import and mount, and another one sees neither the mount nor the database.
//!
//! Needs root, to be several users; puts back what it changes.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{ClaudeLog, must, stdout_of};

const OWNER: &str = "cogfs-test-a";
const OTHER: &str = "cogfs-test-b";

/// `/dev/fuse` open to all, as distributions have it, until the end of the test.
struct OpenDevice {
    mode: u32,
}

impl OpenDevice {
    fn new() -> Self {
        let mode = fs::metadata("/dev/fuse").unwrap().permissions().mode() & 0o7777;
        set_mode(Path::new("/dev/fuse"), 0o666);
        Self { mode }
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        set_mode(Path::new("/dev/fuse"), self.mode);
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The owner's mount, unmounted by force when the test fails.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        common::mount::clear(&self.0);
    }
}

/// A user of this machine, gone at the end of the test if it was added for it.
struct User {
    name: &'static str,
    added: bool,
}

impl User {
    fn new(name: &'static str) -> Self {
        let known = Command::new("id").arg(name).output().unwrap().status.success();
        if !known {
            must(Command::new("useradd").args(["--no-create-home", "--shell", "/bin/sh", name]));
        }
        Self { name, added: !known }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if self.added {
            // `--force`: a process of the user's that is just ending must not keep the user.
            let _ = Command::new("userdel").args(["--force", self.name]).output();
        }
    }
}

/// Runs a program as a user, in a clean environment.
fn as_user(user: &str, home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--", "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin"]);
    command.arg(format!("COGFS_HOME={}", home.display())).args(args);
    command.current_dir("/").output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn fusermount_is_setuid() -> bool {
    ["/usr/bin/fusermount3", "/bin/fusermount3", "/usr/local/bin/fusermount3"]
        .iter()
        .any(|path| fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o4000 != 0))
}

#[test]
fn one_user_mounts_and_another_sees_nothing() {
    needs_fuse!();
    skip_unless!(common::is_root(), "needs root, to be several users");
    skip_unless!(fusermount_is_setuid(), "no setuid fusermount3");
    skip_unless!(common::has_program("runuser"), "no runuser");
    let _users = [OWNER, OTHER].map(User::new);
    let _device = OpenDevice::new();

    // All may pass through here: what keeps the other user out must be the work of the program.
    let root = tempfile::Builder::new().prefix("cogfs-users-").tempdir_in("/tmp").unwrap();
    set_mode(root.path(), 0o755);
    let binary = root.path().join("cogfs");
    fs::copy(env!("CARGO_BIN_EXE_cogfs"), &binary).unwrap();
    set_mode(&binary, 0o755);
    let own = root.path().join("own");
    let logs = own.join("logs");
    fs::create_dir(&own).unwrap();
    ClaudeLog::new("boats", 1).user("A secret question.").assistant("A secret answer.").write(&logs);
    must(Command::new("chown").args(["-R", OWNER]).arg(&own));
    must(Command::new("chmod").args(["-R", "a+rX"]).arg(&own));
    let (home, mount) = (own.join("home"), own.join("mnt"));
    let mounted = Mounted(mount.clone());
    let (program, dir) = (binary.to_str().unwrap(), mount.to_str().unwrap());

    let owner = |args: &[&str]| {
        let output = as_user(OWNER, &home, args);
        assert!(output.status.success(), "{args:?} as {OWNER}: {}", text(&output));
        text(&output)
    };
    owner(&[program, "import", "--json", logs.to_str().unwrap()]);
    owner(&[program, "mount", dir]);
    let found = owner(&["grep", "-rlF", "A secret answer.", dir]);
    assert!(found.contains("transcript.md"), "{found}");
    let uid = stdout_of(Command::new("id").args(["-u", OWNER]));
    assert_eq!(owner(&["stat", "-c", "%u", &format!("{dir}/README.md")]).trim(), uid.trim());

    let denied = |args: &[&str]| {
        let output = as_user(OTHER, &home, args);
        assert!(!output.status.success(), "{args:?} as {OTHER} should fail: {}", text(&output));
        assert!(text(&output).contains("ermission denied"), "{args:?} as {OTHER}: {}", text(&output));
    };
    denied(&["ls", dir]);
    denied(&["cat", &format!("{dir}/README.md")]);
    denied(&["ls", home.to_str().unwrap()]);
    for path in common::world::databases(&home) {
        denied(&["cat", path.to_str().unwrap()]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o7777, 0o700);

    owner(&[program, "unmount", dir]);
    assert!(!common::mount::is_mounted(&mount));
    drop(mounted);
}
