//! Taking a mount down: cleanly, lazily when it is busy, and when its server has died.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::mount::MountError;
use super::mountinfo::{self, Health, Mountpoint};

/// How long a mount may take to leave the list after the kernel agreed to unmount it.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
/// As many of the programs that keep a mount busy are named.
const MAX_USERS: usize = 8;

/// How a mount went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmounted {
    Clean,
    /// It was busy: the directory is free, the mount ends when the last of its users leaves. `users` are those that could be
    /// seen, as `name (pid)`.
    Lazy {
        users: Vec<String>,
    },
    /// Its server had died; what it left was cleared away.
    DeadCleared,
}

/// Unmounts the cogfs on `dir`.
///
/// # Errors
/// When no cogfs is mounted there, or the kernel or `fusermount3` refuses.
pub fn unmount(dir: &Path) -> Result<Unmounted, MountError> {
    let dir = resolve(dir)?;
    let mount = mountinfo::at(&dir).map_err(MountError::MountInfo)?;
    let Some(mount) = mount else {
        return Err(MountError::NotMounted { dir });
    };
    if mount.fs_type != mountinfo::TYPE {
        return Err(MountError::NotCogfs { dir, fs_type: mount.fs_type });
    }
    take_down(&mount, mountinfo::health(&mount.dir))
}

/// Unmounts `mount`, which is ours and of this health, and waits until the kernel no longer lists it.
pub(super) fn take_down(mount: &Mountpoint, health: Health) -> Result<Unmounted, MountError> {
    if health != Health::Alive {
        abort(mount);
    }
    let how = if health == Health::Dead {
        detach(&mount.dir, How::Lazily).map_err(|refused| refused.into_error(&mount.dir))?;
        Unmounted::DeadCleared
    } else {
        match detach(&mount.dir, How::Cleanly) {
            Ok(()) => Unmounted::Clean,
            Err(Refused::Busy) => {
                // Before it is detached: afterwards the links in /proc no longer name the directory.
                let users = users_of(&mount.dir);
                detach(&mount.dir, How::Lazily).map_err(|refused| refused.into_error(&mount.dir))?;
                Unmounted::Lazy { users }
            }
            Err(refused) => return Err(refused.into_error(&mount.dir)),
        }
    };
    wait_until_gone(mount)?;
    Ok(how)
}

/// Ends a connection that does not answer. A server that was killed may stay behind as a zombie which holds it open, its last
/// thread waiting for a page that a program's write holds, and that write for the server: only this frees both.
fn abort(mount: &Mountpoint) {
    let control = format!("/sys/fs/fuse/connections/{}/abort", mount.connection);
    // Not there where fusectl is not mounted: then it is as before, and most connections end by themselves.
    if let Err(error) = fs::write(&control, "1") {
        tracing::debug!(control, %error, "the connection could not be aborted");
    }
}

/// The directory's absolute path without symlinks, as mountinfo lists it. Asks nothing of a mount that lies on it: that may be
/// dead, or hang.
pub(super) fn resolve(dir: &Path) -> Result<PathBuf, MountError> {
    match mounted_as_typed(dir)? {
        Some(dir) => Ok(dir),
        None => fs::canonicalize(dir).map_err(|source| MountError::Path { dir: dir.to_path_buf(), source }),
    }
}

/// The directory, if its last name is a mountpoint and no symlink.
pub(super) fn mounted_as_typed(dir: &Path) -> Result<Option<PathBuf>, MountError> {
    let absolute = std::path::absolute(dir).map_err(|source| MountError::Path { dir: dir.to_path_buf(), source })?;
    let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) else { return Ok(None) };
    let Ok(parent) = fs::canonicalize(parent) else { return Ok(None) };
    let typed = parent.join(name);
    Ok(mountinfo::at(&typed).map_err(MountError::MountInfo)?.map(|_| typed))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Cleanly,
    Lazily,
}

enum Refused {
    Busy,
    Other(String),
    NoFusermount,
}

impl Refused {
    fn into_error(self, dir: &Path) -> MountError {
        let dir = dir.to_path_buf();
        match self {
            Self::Busy => MountError::Unmount { dir, reason: "it is busy".to_owned() },
            Self::Other(reason) => MountError::Unmount { dir, reason },
            Self::NoFusermount => MountError::NoFusermount,
        }
    }
}

fn detach(dir: &Path, how: How) -> Result<(), Refused> {
    if rustix::process::geteuid().is_root() {
        let lazily = if how == How::Lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
        match rustix::mount::unmount(dir, lazily | UnmountFlags::NOFOLLOW) {
            Ok(()) => return Ok(()),
            Err(Errno::BUSY) => return Err(Refused::Busy),
            // Root without CAP_SYS_ADMIN, as in a container: fusermount3 may be allowed to.
            Err(Errno::PERM) => {}
            Err(error) => return Err(Refused::Other(error.to_string())),
        }
    }
    fusermount(dir, how)
}

/// The way of ordinary users: a set-uid helper that unmounts what they mounted.
fn fusermount(dir: &Path, how: How) -> Result<(), Refused> {
    let program = find_fusermount().ok_or(Refused::NoFusermount)?;
    let mut command = Command::new(program);
    command.arg("-u");
    if how == How::Lazily {
        command.arg("-z");
    }
    // In English, for "busy" to be found below.
    let output = command.arg("--").arg(dir).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|error| Refused::Other(format!("fusermount3 could not be started: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if reason.contains("busy") { Err(Refused::Busy) } else { Err(Refused::Other(reason)) }
}

/// The set-uid mount helper, where one is installed: found as fuser finds it.
pub(super) fn find_fusermount() -> Option<PathBuf> {
    if let Some(path) = env::var_os("FUSERMOUNT_PATH") {
        return Some(PathBuf::from(path)).filter(|path| path.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin"));
    let dirs: Vec<PathBuf> = env::split_paths(&path).chain(["/usr/bin", "/bin", "/sbin"].map(PathBuf::from)).collect();
    let candidates = ["fusermount3", "fusermount"].into_iter().flat_map(|name| dirs.iter().map(move |d| d.join(name)));
    candidates.into_iter().find(|candidate| candidate.is_file())
}

/// The kernel drops an unmounted tree from the list a little later than it says so.
fn wait_until_gone(mount: &Mountpoint) -> Result<(), MountError> {
    let limit = Instant::now() + GONE_WITHIN;
    while is_listed(mount.id)? {
        if Instant::now() > limit {
            return Err(MountError::StillMounted { dir: mount.dir.clone() });
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn is_listed(id: u64) -> Result<bool, MountError> {
    let mounts = mountinfo::all().map_err(MountError::MountInfo)?;
    Ok(mounts.iter().any(|mount| mount.id == id))
}

/// The programs that have their working directory or an open file in `dir`, as far as this user may see. Reads links in /proc
/// only, which asks nothing of the mount.
fn users_of(dir: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = processes.flatten().filter(|e| e.file_name().as_bytes().iter().all(u8::is_ascii_digit));
    let own = std::process::id().to_string();
    let others = pids.filter(|e| e.file_name() != own.as_str());
    others.filter(|e| uses(&e.path(), dir)).map(|e| describe(&e.path())).take(MAX_USERS).collect()
}

fn uses(process: &Path, dir: &Path) -> bool {
    let inside = |link: PathBuf| fs::read_link(link).is_ok_and(|target| target.starts_with(dir));
    let mut open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    inside(process.join("cwd")) || open.any(|fd| inside(fd.path()))
}

fn describe(process: &Path) -> String {
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    let pid = process.file_name().unwrap_or_default().to_string_lossy();
    format!("{} ({pid})", name.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_mount_is_not_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = unmount(dir.path()).unwrap_err();
        assert!(matches!(error, MountError::NotMounted { .. }), "{error}");
    }

    #[test]
    fn another_filesystem_is_left_alone() {
        let error = unmount(Path::new("/proc")).unwrap_err();
        assert!(matches!(&error, MountError::NotCogfs { fs_type, .. } if fs_type == "proc"), "{error}");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = unmount(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn symlinks_on_the_way_to_a_mount_are_followed() {
        let dir = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(dir.path()).unwrap().join("real");
        fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, dir.path().join("link")).unwrap();
        assert_eq!(resolve(&dir.path().join("link/../real/.")).unwrap(), real);
        assert_eq!(resolve(&dir.path().join("link")).unwrap(), real);
    }
}
