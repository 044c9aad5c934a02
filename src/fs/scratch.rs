//! The files that programs make beside a writable one: vim's `.meta.md.swp` and `4913`, `meta.md~`, `sedXXXXXX`, the link
//! emacs locks with, a whole `.git`. Real files below a folder of the cache, `<root>/<place>/<names as typed>`, seen in the
//! place where they were made, never synced, bounded in size, gone after a week without a change.
//!
//! Owns that folder and the numbers of what lies in it. Must not know of FUSE, the store or the tree: a place is an id and
//! nothing more.
//!
//! What is there is read once, when it is opened, and kept in memory ([`Limits::files`] bounds it), so that a place without
//! scratch files, nearly every one, is answered without a system call. The disk has the last word: a file that someone
//! deleted from the cache is gone here too as soon as it is touched, and one that another mount made is taken in when its
//! name is made again.
//!
//! No descriptor is kept per file: 20,000 files would need 20,000. Only what is unlinked while the kernel still holds it
//! keeps its own, until it is forgotten; a program has that few files open.
//!
//! Lock order: the gate of a file (`Body::File`), then the table. Under the table lock nothing is done that moves contents.

mod contents;
mod disk;
mod error;
mod names;
mod sweep;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;

use super::{NodeKind, lock};
use crate::model::{Id, Millis};
use disk::Disk;
pub use error::ScratchError;
pub use names::RenameMode;
pub use sweep::{Swept, SweptName};
use table::Table;

/// The number of a scratch file: counts up from 1, never given twice while the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScratchId(pub u64);

/// A directory that scratch files lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dir {
    /// A directory of the tree, by the id of its record or one derived from it.
    Place(Id),
    /// A scratch directory.
    Node(ScratchId),
}

/// How much may lie there, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest file.
    pub file_bytes: u64,
    /// The lengths of all files together. Holes count: `truncate -s 64M` takes 64 MiB of it.
    pub total_bytes: u64,
    /// Files, directories and links together.
    pub files: u64,
    /// What was not changed for so long may be swept.
    pub age: Duration,
    /// A place whose files stay however old they are.
    pub kept: Option<Id>,
}

impl Default for Limits {
    fn default() -> Self {
        let age = Duration::from_secs(7 * 24 * 60 * 60);
        Self { file_bytes: 64 << 20, total_bytes: 1 << 30, files: 20_000, age, kept: None }
    }
}

/// What `stat` says of a scratch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub kind: NodeKind,
    pub size: u64,
    pub mtime: Millis,
    pub ctime: Millis,
    /// The permission bits that were asked for. On the disk the owner may always read and write, or cogfs would lock itself
    /// out: after a restart these two bits are set.
    pub mode: u16,
    pub nlink: u32,
}

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: ScratchId,
    pub name: OsString,
    pub kind: NodeKind,
}

/// How much lies there now, unlinked files that are still held included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    pub bytes: u64,
    pub files: u64,
}

/// The longest name, in bytes.
const NAME_MAX: usize = 255;

/// Directories within each other. A path is walked from its place at each operation, and the tree in recursions.
const MOST_DEEP: usize = 64;

type Result<T> = std::result::Result<T, ScratchError>;

/// All scratch files.
pub struct Scratch {
    disk: Disk,
    limits: Limits,
    table: Mutex<Table>,
    /// For names in the root that mean nothing: see [`disk::NEW`] and [`disk::GONE`].
    temporary: AtomicU64,
}

impl Scratch {
    /// Takes in what lies below `root`, of this run or an earlier one. The folder need not be there: it is made with the
    /// first scratch file, so that who only reads never has one.
    ///
    /// # Errors
    /// When the folder is there and cannot be read. A part of it that cannot be read is left out, with a warning.
    pub fn open(root: PathBuf, limits: Limits) -> io::Result<Self> {
        let disk = Disk::new(root);
        disk.remove_gone()?;
        let mut table = Table::default();
        disk.load(&mut table)?;
        Ok(Self { disk, limits, table: Mutex::new(table), temporary: AtomicU64::new(0) })
    }

    /// How much lies there.
    pub fn used(&self) -> Used {
        let table = self.table();
        Used { bytes: table.bytes(), files: table.len() }
    }

    /// Notes that the kernel was told this number once more. False when there is no such file any more: the answer is then
    /// that it was not found.
    pub fn remember(&self, id: ScratchId) -> bool {
        self.table().remember(id)
    }

    /// Notes that the kernel forgot the number so many times. True when there is nothing under this number any more; an
    /// unlinked file's bytes are freed with it. A file that has a name stays.
    pub fn forget(&self, id: ScratchId, times: u64) -> bool {
        self.table().forget(id, times)
    }

    /// The place that something lies in.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn place_of(&self, id: ScratchId) -> Result<Id> {
        Ok(self.table().path(Dir::Node(id))?.0)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Opens a directory that should be on the disk. When it is not, what the table has of it goes too.
    fn open_dir(&self, table: &mut Table, dir: Dir) -> Result<OwnedFd> {
        let (place, path) = table.path(dir)?;
        match self.disk.dir(place, &path) {
            Err(Errno::NOENT | Errno::NOTDIR) => {
                table.vanished(dir);
                Err(ScratchError::NotFound)
            }
            opened => Ok(opened?),
        }
    }

    /// The same for a directory that gets a name: a place's folder is made when it is needed.
    fn open_dir_to_add(&self, table: &mut Table, dir: Dir) -> Result<OwnedFd> {
        match (dir, self.open_dir(table, dir)) {
            (Dir::Place(place), Err(ScratchError::NotFound)) => Ok(self.disk.make_place(place)?),
            (_, opened) => opened,
        }
    }
}
