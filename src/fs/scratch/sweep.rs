//! Removing what nobody uses any more.
//!
//! What stands directly in a place goes as a whole, with everything below it, once nothing in it was changed for the time
//! that is set: a `.git` in use must not lose the objects that have lain in it for a week. The time is that of the last
//! change by the disk's clock (ctime), not the mtime: vim gives its backup the times of the file it saves, which may be years
//! old. What the kernel holds stays, since a program may have it open.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;

use super::disk::{self, GONE, NEW};
use super::{Dir, MOST_DEEP, Scratch, ScratchId};
use crate::fs::NodeKind;
use crate::model::{Id, Millis};

/// Something that stood in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SweptName {
    pub place: Id,
    pub name: OsString,
    /// Its number, if it ever had one.
    pub id: Option<ScratchId>,
}

/// What a sweep did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// What is gone. The places' listings have changed.
    pub removed: Vec<SweptName>,
    /// What is old enough, but known to the kernel, which need not mean that it is in use. Told to invalidate these names, it
    /// forgets those that are not, and the next sweep removes them.
    pub held: Vec<SweptName>,
}

impl Scratch {
    /// Removes what was not changed for as long as [`super::Limits::age`] says, then the folders of places that are empty.
    /// Not for a request's thread: it reads the folder.
    ///
    /// # Errors
    /// When the root cannot be listed. What cannot be removed stays until the next time, with a warning.
    pub fn sweep(&self, now: SystemTime) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let root = match self.disk.root() {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(swept),
            Err(errno) => return Err(errno.into()),
        };
        let before = millis(now.checked_sub(self.limits.age).unwrap_or(SystemTime::UNIX_EPOCH));
        for name in disk::names(&root)? {
            let done = match disk::place(&name) {
                Some(place) if self.limits.kept == Some(place) => Ok(()),
                Some(place) => self.sweep_place(&root, place, before, &mut swept),
                None => self.sweep_left_over(&root, &name, before),
            };
            if let Err(error) = done {
                tracing::warn!(name = %name.display(), %error, "old scratch files could not be removed");
            }
        }
        Ok(swept)
    }

    fn sweep_place(&self, root: &OwnedFd, place: Id, before: Millis, swept: &mut Swept) -> io::Result<()> {
        let fd = self.disk.dir(place, &[])?;
        for name in disk::names(&fd)? {
            // Looked at without the lock, and again with it, if it is old.
            if is_old(&fd, &name, before) {
                self.sweep_name(root, &fd, place, name, before, swept)?;
            }
        }
        let mut table = self.table();
        match unlinkat(root, disk::folder(place), AtFlags::REMOVEDIR) {
            Ok(()) => table.drop_empty_place(place),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(())
    }

    fn sweep_name(
        &self,
        root: &OwnedFd,
        fd: &OwnedFd,
        place: Id,
        name: OsString,
        before: Millis,
        swept: &mut Swept,
    ) -> io::Result<()> {
        let mut table = self.table();
        let id = table.child(Dir::Place(place), &name).ok().flatten();
        if id.is_some_and(|id| table.is_remembered(id)) {
            swept.held.push(SweptName { place, name, id });
            return Ok(());
        }
        if !is_old(fd, &name, before) {
            return Ok(());
        }
        let gone = self.temporary_name(GONE);
        renameat(fd, &name, root, &gone)?;
        if let Some(id) = id {
            table.remove_tree(id);
        }
        drop(table);
        swept.removed.push(SweptName { place, name, id });
        self.disk.remove(&gone)
    }

    /// Something in the root that is no place: what an interrupted run left, of this process or another.
    fn sweep_left_over(&self, root: &OwnedFd, name: &OsStr, before: Millis) -> io::Result<()> {
        let bytes = name.as_bytes();
        let old = bytes.starts_with(NEW.as_bytes()) && is_old(root, name, before);
        if old || bytes.starts_with(GONE.as_bytes()) { self.disk.remove(name) } else { Ok(()) }
    }

    /// Removes everything of a place, also what the kernel holds: it cannot be read any more.
    ///
    /// # Errors
    /// When the disk refuses; what is left is removed when the folder is opened next.
    pub fn forget_place(&self, place: Id) -> io::Result<()> {
        let gone = self.temporary_name(GONE);
        {
            let mut table = self.table();
            let moved = match self.disk.root() {
                Ok(root) => renameat(&root, disk::folder(place), &root, &gone),
                Err(errno) => Err(errno),
            };
            match moved {
                Ok(()) => table.remove_place(place),
                Err(Errno::NOENT) => {
                    table.remove_place(place);
                    return Ok(());
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        self.disk.remove(&gone)
    }
}

/// Whether nothing was changed since, at a name and below it. What cannot be read is not old.
fn is_old(dir: &OwnedFd, name: &OsStr, before: Millis) -> bool {
    unchanged_since(dir, name, before, 0).unwrap_or(false)
}

fn unchanged_since(dir: &OwnedFd, name: &OsStr, before: Millis, depth: usize) -> Result<bool, Errno> {
    let Some(attr) = disk::stat(dir, name)? else { return Ok(false) };
    if attr.ctime > before || depth > MOST_DEEP {
        return Ok(false);
    }
    if attr.kind != NodeKind::Directory {
        return Ok(true);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(dir, name, flags, Mode::empty())?;
    for name in disk::names(&fd)? {
        if !unchanged_since(&fd, &name, before, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn millis(time: SystemTime) -> Millis {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
