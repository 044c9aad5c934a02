//! Mounting: checks first, so that a refusal says what to do; then the session, its notifier and its end.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::mem::ManuallyDrop;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption, Session, SessionACL};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::adapter::{Adapter, Event};
use super::ahead::Ahead;
use super::mountinfo::{self, Health};
use super::notifier::{NotifierThread, Work};
use super::requests::{Counters, RequestCounts};
use super::settler::Settler;
use super::unmount::{self, Unmounted};
use crate::fs::CogFs;

const DEVICE: &str = "/dev/fuse";
const FUSE_CONF: &str = "/etc/fuse.conf";
/// Names the file that the request counts are written to, for those who measure.
const REQUEST_LOG: &str = "COGFS_REQUEST_LOG";
/// How long the last replies may take after an unmount that was asked for.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// How to mount.
#[derive(Debug, Clone, Copy, Default)]
pub struct MountOptions {
    /// Refuse every change.
    pub read_only: bool,
    /// Let other users in, as far as the files' modes allow.
    pub allow_other: bool,
    /// Show extended attributes.
    pub xattr: bool,
}

/// Why something could not be mounted or unmounted, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    #[error("{} is not a directory: give an empty directory, or one that does not exist yet", dir.display())]
    NotADirectory { dir: PathBuf },
    #[error("{} is not empty: mounting would hide what is in it; give an empty directory", dir.display())]
    NotEmpty { dir: PathBuf },
    #[error(
        "{dir} is mounted already ({fs_type}): unmount it first (`{unmounter} {dir}`) or choose another directory",
        dir = dir.display(),
        unmounter = if fs_type == mountinfo::TYPE { "cogfs unmount" } else { "umount" }
    )]
    AlreadyMounted { dir: PathBuf, fs_type: String },
    #[error("{dir} is a cogfs mount that does not answer: `cogfs unmount {dir}` removes it", dir = dir.display())]
    Silent { dir: PathBuf },
    #[error(
        "there is no usable {DEVICE}: load it with `modprobe fuse`; a container must be started with `--device {DEVICE}`"
    )]
    NoDevice,
    #[error(
        "{DEVICE} may not be opened by this user: its mode should be 0666 (`chmod 666 {DEVICE}`); \
         a container must be started with `--device {DEVICE}`"
    )]
    DevicePermission,
    #[error("fusermount3 is missing, which users other than root need to mount: `apt install fuse3`")]
    NoFusermount,
    #[error("--allow-other needs the line `user_allow_other` in {FUSE_CONF}: root has to add it")]
    AllowOtherForbidden,
    #[error("{} could not be mounted: {reason}", dir.display())]
    Mount { dir: PathBuf, reason: String },
    #[error("no cogfs is mounted on {}: `findmnt -t fuse.cogfs` lists where one is", dir.display())]
    NotMounted { dir: PathBuf },
    #[error("{dir} holds a {fs_type} filesystem, not a cogfs: `umount {dir}` is for that", dir = dir.display())]
    NotCogfs { dir: PathBuf, fs_type: String },
    #[error("{} could not be unmounted: {reason}", dir.display())]
    Unmount { dir: PathBuf, reason: String },
    #[error("{dir} was unmounted, but the kernel still lists it: see `findmnt {dir}`", dir = dir.display())]
    StillMounted { dir: PathBuf },
    #[error("{}: {source}", dir.display())]
    Path { dir: PathBuf, source: io::Error },
    #[error("the list of mounts could not be read: {0}")]
    MountInfo(io::Error),
    #[error("a thread or signal handler of the mount could not be set up: {0}")]
    Setup(io::Error),
}

/// What had to be done before a directory could be mounted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The directory, absolute and without symlinks.
    pub dir: PathBuf,
    /// It did not exist, and was made for its owner alone.
    pub created: bool,
    /// A mount lay on it whose server had died.
    pub cleared_dead: bool,
}

/// How a mount ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// By `cogfs unmount`, `umount` or the like.
    Unmounted,
    /// By this signal to this process.
    Signal { signal: i32, how: Unmounted },
}

/// Signals to end by. Install them before mounting, so that none can kill the process while its mount stands.
pub struct StopSignals(Signals);

impl StopSignals {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install() -> Result<Self, MountError> {
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map(Self).map_err(MountError::Setup)
    }
}

/// A mounted tree. Dropping it unmounts.
pub struct Mounted {
    prepared: Prepared,
    /// The kernel's number of the mount: what else may come to lie on the directory is not ours to unmount.
    id: Option<u64>,
    /// Never dropped: fuser 0.18 unmounts by path on drop even when the mount is already gone, which would hit a mount that
    /// another process has made there since.
    _session: ManuallyDrop<BackgroundSession>,
    notifier: Option<NotifierThread>,
    /// For a tree that can be written to.
    settler: Option<Settler>,
    counters: Arc<Counters>,
    events: Receiver<Event>,
    to_self: Sender<Event>,
    ended: bool,
}

/// Makes sure that `dir` can be mounted on: makes it, or clears a dead mount from it, where that is all it takes.
///
/// # Errors
/// When it cannot be mounted on, with what to do.
pub fn prepare(dir: &Path, options: MountOptions) -> Result<Prepared, MountError> {
    check_device()?;
    check_helper()?;
    if options.allow_other {
        check_allow_other()?;
    }
    let created = unmount::mounted_as_typed(dir)?.is_none() && create_if_missing(dir)?;
    let dir = unmount::resolve(dir)?;
    let cleared_dead = clear_dead(&dir)?;
    check_empty_directory(&dir)?;
    Ok(Prepared { dir, created, cleared_dead })
}

/// Mounts `fs` on a directory that was prepared for it, and serves it from threads of its own until [`Mounted::wait`] returns
/// or the value is dropped.
///
/// # Errors
/// When the kernel or `fusermount3` refuses, with what to do.
pub fn mount(fs: Arc<CogFs>, prepared: Prepared, options: MountOptions) -> Result<Mounted, MountError> {
    let counters = Arc::new(Counters::default());
    let (to_self, events) = mpsc::channel();
    let kernel = Arc::default();
    let ahead = Ahead::new(Arc::clone(&kernel), Arc::clone(&counters));
    let adapter = Adapter::new(Arc::clone(&fs), Arc::clone(&counters), ahead, to_self.clone(), options.xattr);
    let refused = |error: io::Error| refusal(&prepared.dir, &error);
    let session = Session::new(adapter, &prepared.dir, &config(options)).map_err(refused)?;
    let session = session.spawn().map_err(MountError::Setup)?;
    // Nobody else sets it.
    let _ = kernel.set(session.notifier());
    let writable = fs.is_writable().then(|| Arc::clone(&fs));
    let work = Work {
        fs,
        kernel: session.notifier(),
        counters: Arc::clone(&counters),
        request_log: std::env::var_os(REQUEST_LOG).map(PathBuf::from),
    };
    let id = mountinfo::at(&prepared.dir).map_err(MountError::MountInfo)?.map(|mount| mount.id);
    let session = ManuallyDrop::new(session);
    let mut mounted = Mounted {
        prepared,
        id,
        _session: session,
        notifier: None,
        settler: None,
        counters,
        events,
        to_self,
        ended: false,
    };
    // From here on a failure drops `mounted`, which unmounts.
    mounted.notifier = Some(NotifierThread::start(work).map_err(MountError::Setup)?);
    mounted.settler = writable.map(Settler::start).transpose().map_err(MountError::Setup)?;
    Ok(mounted)
}

impl Mounted {
    /// What had to be done before mounting, and the directory.
    #[must_use]
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    /// The requests answered so far.
    #[must_use]
    pub fn requests(&self) -> RequestCounts {
        self.counters.snapshot()
    }

    /// Serves until somebody unmounts it or a signal asks to end, which unmounts it.
    ///
    /// # Errors
    /// When a signal came but it could not be unmounted.
    pub fn wait(mut self, signals: StopSignals) -> Result<Ended, MountError> {
        let mut signals = signals.0;
        let stop_listening = signals.handle();
        let to_self = self.to_self.clone();
        let listener = thread::Builder::new().name("cogfs-signals".to_owned());
        let listening = listener.spawn(move || {
            // The owner is gone only when the process is about to end.
            for signal in signals.forever() {
                let _ = to_self.send(Event::Signal(signal));
            }
        });
        listening.map_err(MountError::Setup)?;
        let ended = match self.events.recv() {
            Ok(Event::Signal(signal)) => self.take_down().map(|how| Ended::Signal { signal, how }),
            // No sender left: the session is over, too.
            Ok(Event::Ended) | Err(_) => {
                self.ended = true;
                Ok(Ended::Unmounted)
            }
        };
        stop_listening.close();
        ended
    }

    /// Unmounts, lazily when it is busy.
    ///
    /// # Errors
    /// When the kernel or `fusermount3` refuses.
    pub fn unmount(mut self) -> Result<Unmounted, MountError> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<Unmounted, MountError> {
        let on_top = mountinfo::at(&self.prepared.dir).map_err(MountError::MountInfo)?;
        let how = match on_top.filter(|mount| Some(mount.id) == self.id) {
            Some(mount) => unmount::take_down(&mount, Health::Alive)?,
            None => Unmounted::Clean,
        };
        self.ended = true;
        if how == Unmounted::Clean {
            self.wait_for_last_replies();
        }
        Ok(how)
    }

    fn wait_for_last_replies(&self) {
        while let Ok(event) = self.events.recv_timeout(LAST_REPLIES) {
            if event == Event::Ended {
                break;
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // The notifier first: it must not outlive what it notifies.
        self.notifier = None;
        if !self.ended
            && let Err(error) = self.take_down()
        {
            tracing::error!(%error, "the mount was left behind");
        }
        // When nobody writes any more, what was written last is settled.
        self.settler = None;
    }
}

fn config(options: MountOptions) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName("cogfs".to_owned()),
        // Not `MountOption::Subtype`: fuser 0.18 gives that to fusermount3 alone, and root's mounts would be plain "fuse".
        MountOption::CUSTOM("subtype=cogfs".to_owned()),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
        MountOption::NoSuid,
        MountOption::NoDev,
        if options.read_only { MountOption::RO } else { MountOption::RW },
    ];
    config.acl = if options.allow_other { SessionACL::All } else { SessionACL::Owner };
    // More do not help one client. One would let a slow request block the mount, and block for good where it stores ahead: another
    // has to serve the reads whose pages it waits for.
    config.n_threads = Some(thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 4)));
    config.clone_fd = true;
    config
}

fn refusal(dir: &Path, error: &io::Error) -> MountError {
    let mut reason = error.to_string().trim().to_owned();
    if reason.contains("user_allow_other") {
        return MountError::AllowOtherForbidden;
    }
    if reason.contains("not permitted") || reason.contains("EPERM") {
        reason.push_str(" (a container needs `--device /dev/fuse --cap-add SYS_ADMIN`)");
    }
    MountError::Mount { dir: dir.to_path_buf(), reason }
}

fn check_device() -> Result<(), MountError> {
    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(MountError::DevicePermission),
        // Missing, or there without the module behind it (ENODEV, ENXIO).
        Err(_) => Err(MountError::NoDevice),
    }
}

/// Root mounts by itself; others go through the set-uid helper.
fn check_helper() -> Result<(), MountError> {
    if rustix::process::geteuid().is_root() || unmount::find_fusermount().is_some() {
        Ok(())
    } else {
        Err(MountError::NoFusermount)
    }
}

fn check_allow_other() -> Result<(), MountError> {
    if rustix::process::geteuid().is_root() || fs::read_to_string(FUSE_CONF).is_ok_and(|conf| allows_other(&conf)) {
        Ok(())
    } else {
        Err(MountError::AllowOtherForbidden)
    }
}

fn allows_other(fuse_conf: &str) -> bool {
    fuse_conf.lines().any(|line| line.trim() == "user_allow_other")
}

/// Makes the directory, for its owner alone: conversations are private. `true` when it was not there.
fn create_if_missing(dir: &Path) -> Result<bool, MountError> {
    let failed = |source| MountError::Path { dir: dir.to_path_buf(), source };
    match fs::symlink_metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
            Ok(true)
        }
        // Whatever is wrong with it is found where it is resolved.
        _ => Ok(false),
    }
}

/// Refuses a directory that something is mounted on, except a cogfs whose server has died: that is cleared.
fn clear_dead(dir: &Path) -> Result<bool, MountError> {
    let Some(mount) = mountinfo::at(dir).map_err(MountError::MountInfo)? else { return Ok(false) };
    let dir = dir.to_path_buf();
    if mount.fs_type != mountinfo::TYPE {
        return Err(MountError::AlreadyMounted { dir, fs_type: mount.fs_type });
    }
    match mountinfo::health(&dir) {
        Health::Alive => Err(MountError::AlreadyMounted { dir, fs_type: mount.fs_type }),
        Health::Silent => Err(MountError::Silent { dir }),
        Health::Dead => unmount::take_down(&mount, Health::Dead).map(|_| true),
    }
}

fn check_empty_directory(dir: &Path) -> Result<(), MountError> {
    let failed = |source| MountError::Path { dir: dir.to_path_buf(), source };
    if !fs::metadata(dir).map_err(failed)?.is_dir() {
        return Err(MountError::NotADirectory { dir: dir.to_path_buf() });
    }
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        return Err(MountError::NotEmpty { dir: dir.to_path_buf() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        let error = check_empty_directory(dir.path()).unwrap_err();
        assert!(matches!(error, MountError::NotEmpty { .. }), "{error}");
        let error = check_empty_directory(&dir.path().join("mine")).unwrap_err();
        assert!(matches!(error, MountError::NotADirectory { .. }), "{error}");
    }

    #[test]
    fn a_missing_directory_is_made_for_its_owner_alone_and_an_existing_one_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let new = dir.path().join("a/b");
        assert!(create_if_missing(&new).unwrap());
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!create_if_missing(&new).unwrap());
        assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o755);
    }

    #[test]
    fn a_foreign_mount_is_refused_with_the_command_that_removes_it() {
        let error = clear_dead(Path::new("/proc")).unwrap_err();
        assert!(error.to_string().contains("`umount /proc`"), "{error}");
    }

    #[test]
    fn a_living_cogfs_is_refused_with_its_own_command() {
        let error = MountError::AlreadyMounted { dir: "/m".into(), fs_type: mountinfo::TYPE.to_owned() };
        assert!(error.to_string().contains("`cogfs unmount /m`"), "{error}");
    }

    #[test]
    fn only_an_uncommented_line_of_fuse_conf_lets_others_in() {
        assert!(allows_other("# hello\n user_allow_other \nmount_max = 5\n"));
        assert!(!allows_other("#user_allow_other\n"));
        assert!(!allows_other(""));
    }

    #[test]
    fn refusals_say_what_to_do() {
        let dir = Path::new("/m");
        let text = |reason: &str| refusal(dir, &io::Error::other(reason.to_owned())).to_string();
        assert!(text("fusermount3: option allow_other only allowed if 'user_allow_other' is set").contains(FUSE_CONF));
        assert!(text("fusermount3: mount failed: Operation not permitted\n").contains("--cap-add SYS_ADMIN"));
        for (error, hint) in [
            (MountError::NoDevice, "modprobe fuse"),
            (MountError::NoDevice, "--device /dev/fuse"),
            (MountError::DevicePermission, "chmod 666 /dev/fuse"),
            (MountError::NoFusermount, "apt install fuse3"),
            (MountError::AllowOtherForbidden, "user_allow_other"),
            (MountError::Silent { dir: dir.into() }, "cogfs unmount /m"),
            (MountError::NotMounted { dir: dir.into() }, "no cogfs is mounted on /m"),
        ] {
            assert!(error.to_string().contains(hint), "{error} should mention {hint}");
        }
    }
}
