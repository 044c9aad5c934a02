//! The folder on the disk. Every step of a path is opened relative to the one before, and no symbolic link is followed below
//! the root: whatever lies there, nothing outside is read or written.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, mkdirat, open, openat, statat};
use rustix::io::Errno;

use super::table::{Body, Table};
use super::{Attr, Dir, MOST_DEEP};
use crate::fs::NodeKind;
use crate::model::{Id, Millis};

/// What a document's name begins with while it is written, before it gets its own.
pub(super) const NEW: &str = ".new-";

/// What the name of something begins with that is being removed.
pub(super) const GONE: &str = ".gone-";

type Result<T> = std::result::Result<T, Errno>;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The root itself may be reached through links: where a user's cache lies is the user's.
    pub(super) fn root(&self) -> Result<OwnedFd> {
        open(&self.root, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    }

    /// Opens a directory of a place.
    pub(super) fn dir(&self, place: Id, path: &[OsString]) -> Result<OwnedFd> {
        let mut at = openat(self.root()?, folder(place), DIRECTORY, Mode::empty())?;
        for name in path {
            at = openat(at, name, DIRECTORY, Mode::empty())?;
        }
        Ok(at)
    }

    /// Makes a place's folder, and the root with it.
    pub(super) fn make_place(&self, place: Id) -> io::Result<OwnedFd> {
        let root = self.make_root()?;
        match mkdirat(&root, folder(place), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(openat(root, folder(place), DIRECTORY, Mode::empty())?),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(super) fn make_root(&self) -> io::Result<OwnedFd> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        Ok(self.root()?)
    }

    /// Removes what stands in the root under a name of its own.
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        let path = self.root.join(name);
        if fs::symlink_metadata(&path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
    }

    /// Completes the removals that were begun.
    pub(super) fn remove_gone(&self) -> io::Result<()> {
        let root = match self.root() {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        for name in names(&root)? {
            // Another mount may be at it as well: what it took is gone.
            if name.as_bytes().starts_with(GONE.as_bytes())
                && let Err(error) = self.remove(&name)
            {
                tracing::warn!(name = %name.display(), %error, "what is left of removed scratch files stays");
            }
        }
        Ok(())
    }

    /// Takes in everything there is.
    pub(super) fn load(&self, table: &mut Table) -> io::Result<()> {
        let root = match self.root() {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        for name in names(&root)? {
            if let Some(place) = place(&name) {
                load(table, &root, &name, Dir::Place(place), 0);
            }
        }
        Ok(())
    }
}

/// Takes in a directory. What cannot be read costs that part alone.
fn load(table: &mut Table, parent: &OwnedFd, name: &OsStr, dir: Dir, depth: usize) {
    let listed = openat(parent, name, DIRECTORY, Mode::empty()).and_then(|fd| Ok((names(&fd)?, fd)));
    let (names, fd) = match listed {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(name = %name.display(), %error, "a folder of scratch files cannot be read");
            return;
        }
    };
    for name in names {
        let Ok(Some(attr)) = stat(&fd, &name) else { continue };
        let id = table.insert(dir, name.clone(), Body::new(attr.kind), attr);
        if attr.kind == NodeKind::Directory && depth < MOST_DEEP {
            load(table, &fd, &name, Dir::Node(id), depth + 1);
        }
    }
}

/// The names in a directory, in their order.
pub(super) fn names(dir: &OwnedFd) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// What stands under a name; nothing for what scratch files cannot be (a device, a socket).
pub(super) fn stat(dir: &OwnedFd, name: &OsStr) -> Result<Option<Attr>> {
    Ok(attr(&statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
}

/// The attributes of an open file or directory.
pub(super) fn fstat(fd: impl AsFd) -> Result<Option<Attr>> {
    Ok(attr(&rustix::fs::fstat(fd)?))
}

// The fields have other types on other processors.
#[allow(clippy::unnecessary_cast, clippy::cast_lossless, clippy::cast_possible_wrap)]
fn attr(stat: &rustix::fs::Stat) -> Option<Attr> {
    let kind = match FileType::from_raw_mode(stat.st_mode as RawMode) {
        FileType::RegularFile => NodeKind::File,
        FileType::Directory => NodeKind::Directory,
        FileType::Symlink => NodeKind::Symlink,
        _ => return None,
    };
    let size = if kind == NodeKind::Directory { 0 } else { u64::try_from(stat.st_size).unwrap_or(0) };
    let mode = u16::try_from(stat.st_mode & 0o777).unwrap_or(0);
    let mtime = Millis((stat.st_mtime as i64).saturating_mul(1000) + stat.st_mtime_nsec as i64 / 1_000_000);
    let ctime = Millis((stat.st_ctime as i64).saturating_mul(1000) + stat.st_ctime_nsec as i64 / 1_000_000);
    Some(Attr { kind, size, mtime, ctime, mode, nlink: 1 })
}

/// Opens a file that is there. Without `NONBLOCK`, a pipe that someone put there would hold the thread for ever.
pub(super) fn open_file(dir: &OwnedFd, name: &OsStr, access: OFlags) -> Result<File> {
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    match fstat(&fd)? {
        Some(attr) if attr.kind == NodeKind::File => Ok(fd.into()),
        _ => Err(Errno::IO),
    }
}

/// Makes a file that is not there, with exactly these permissions: the process's umask is not the user's.
pub(super) fn create_file(dir: &OwnedFd, name: &OsStr, asked: u16) -> Result<File> {
    let mode = file_mode(asked);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, mode)?;
    rustix::fs::fchmod(&fd, mode)?;
    Ok(fd.into())
}

/// The mode of a file on the disk: its owner is cogfs, who must always get at it.
pub(super) fn file_mode(asked: u16) -> Mode {
    Mode::from_raw_mode(RawMode::from(asked & 0o777 | 0o600))
}

/// The mode of a directory on the disk.
pub(super) fn directory_mode(asked: u16) -> Mode {
    Mode::from_raw_mode(RawMode::from(asked & 0o777 | 0o700))
}

/// The folder of a place: its id as 32 hex digits.
pub(super) fn folder(place: Id) -> String {
    use std::fmt::Write;
    place.0.iter().fold(String::with_capacity(32), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The place that a folder's name says.
pub(super) fn place(name: &OsStr) -> Option<Id> {
    let name = name.to_str().filter(|name| name.len() == 32 && name.is_ascii())?;
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&name[2 * i..2 * i + 2], 16).ok()?;
    }
    // `+1` and capitals are digits to the parser as well.
    Some(Id(bytes)).filter(|id| folder(*id) == name)
}
