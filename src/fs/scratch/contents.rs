//! Contents and attributes of scratch files. The table lock is held to find and open a file and to count; bytes move without
//! it, so that a slow disk holds up that file alone.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, fchmod, fsync, futimens, openat, utimensat};

use super::table::{Body, Table};
use super::{Attr, Dir, Result, Scratch, ScratchError, ScratchId, disk};
use crate::fs::{NodeKind, lock};

/// A node that lost its name, or where it stands.
enum Standing {
    Kept(Arc<File>),
    Named(OwnedFd, OsString),
    /// A directory or link that was unlinked: it has nothing on the disk.
    Nowhere,
}

impl Scratch {
    /// The attributes of a node.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn attr(&self, id: ScratchId) -> Result<Attr> {
        Ok(self.table().node(id)?.attr)
    }

    /// Reads a part of a file; less than `size` only at its end.
    ///
    /// # Errors
    /// When it is no file, or the disk cannot be read.
    pub fn read(&self, id: ScratchId, offset: u64, size: u32) -> Result<Vec<u8>> {
        let file = self.reader(id)?;
        // What is asked for may be far more than there is.
        let there = file.metadata()?.len().saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(there.min(u64::from(size))).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }

    /// Writes into a file. All of it or an error; of a write that the disk refused midway, the beginning may be there.
    ///
    /// # Errors
    /// When it is no file, it would get too long, there is no room, or the disk refuses.
    pub fn write(&self, id: ScratchId, offset: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return self.gate(id).map(drop);
        }
        let end = offset.checked_add(bytes.len() as u64).ok_or(ScratchError::FileTooLarge)?;
        self.change(id, |size| size.max(end), |file| file.write_all_at(bytes, offset))
    }

    /// Cuts a file or lengthens it with zeros.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn set_len(&self, id: ScratchId, size: u64) -> Result<()> {
        self.change(id, |_| size, |file| file.set_len(size))
    }

    /// Changes contents, with the room taken before and counted exactly after.
    fn change(
        &self,
        id: ScratchId,
        new_size: impl FnOnce(u64) -> u64,
        act: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<()> {
        let gate = self.gate(id)?;
        let _gate = lock(&gate);
        let file = {
            let mut table = self.table();
            let file = self.open_body(&mut table, id, OFlags::RDWR)?;
            let size = new_size(table.node(id)?.attr.size);
            table.reserve(id, size, &self.limits)?;
            file
        };
        let done = act(&file);
        // Whatever was written counts, also of a write that failed.
        if let Some(attr) = disk::fstat(&file)? {
            self.table().set_attr(id, attr);
        }
        Ok(done?)
    }

    /// Sets the permission bits. Others (set-user-id, sticky) are left out.
    ///
    /// # Errors
    /// For a symbolic link, as on Linux; when the disk refuses.
    pub fn set_mode(&self, id: ScratchId, mode: u16) -> Result<()> {
        let mut table = self.table();
        let attr = match (table.kind(id)?, self.standing(&mut table, id)?) {
            (NodeKind::Symlink, _) => return Err(ScratchError::NotSupported),
            (_, Standing::Kept(file)) => chmod(&*file, disk::file_mode(mode))?,
            (NodeKind::File, Standing::Named(dir, name)) => {
                let opened = disk::open_file(&dir, &name, OFlags::RDONLY);
                chmod(table.or_vanished(id, opened)?, disk::file_mode(mode))?
            }
            (NodeKind::Directory, Standing::Named(dir, name)) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let opened = openat(&dir, &name, flags, Mode::empty());
                chmod(table.or_vanished(id, opened)?, disk::directory_mode(mode))?
            }
            (_, Standing::Nowhere) => None,
        };
        table.node_mut(id)?.attr.mode = mode & 0o777;
        if let Some(attr) = attr {
            table.set_attr(id, attr);
        }
        Ok(())
    }

    /// Sets the time of the last change of the contents. When it was read last is not kept.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn set_mtime(&self, id: ScratchId, mtime: SystemTime) -> Result<()> {
        let mut table = self.table();
        let times = timestamps(mtime);
        let attr = match self.standing(&mut table, id)? {
            Standing::Kept(file) => {
                futimens(&file, &times)?;
                disk::fstat(&file)?
            }
            Standing::Named(dir, name) => {
                let set = utimensat(&dir, &name, &times, AtFlags::SYMLINK_NOFOLLOW);
                table.or_vanished(id, set)?;
                disk::stat(&dir, &name)?
            }
            Standing::Nowhere => None,
        };
        if let Some(attr) = attr {
            table.set_attr(id, attr);
        }
        Ok(())
    }

    /// Waits until a file, or a directory's names, are on the disk.
    ///
    /// # Errors
    /// When the disk cannot take them.
    pub fn sync(&self, id: ScratchId) -> Result<()> {
        if self.attr(id)?.kind == NodeKind::Directory {
            return self.sync_dir(&Dir::Node(id));
        }
        let file = self.reader(id)?;
        Ok(fsync(&file)?)
    }

    /// Waits until a directory's names are on the disk.
    ///
    /// # Errors
    /// When the disk cannot take them.
    pub fn sync_dir(&self, dir: &Dir) -> Result<()> {
        let opened = self.open_dir(&mut self.table(), *dir);
        match (dir, opened) {
            // A place without scratch files has nothing to be written.
            (Dir::Place(_), Err(ScratchError::NotFound)) => Ok(()),
            (_, opened) => Ok(fsync(opened?)?),
        }
    }

    /// What whoever changes a file's contents must hold.
    pub(super) fn gate(&self, id: ScratchId) -> Result<Arc<Mutex<()>>> {
        match &self.table().node(id)?.body {
            Body::File { gate, .. } => Ok(Arc::clone(gate)),
            Body::Directory(_) => Err(ScratchError::IsADirectory),
            Body::Symlink { .. } => Err(ScratchError::NotAFile),
        }
    }

    /// A file, open for reading.
    pub(super) fn reader(&self, id: ScratchId) -> Result<Arc<File>> {
        self.open_body(&mut self.table(), id, OFlags::RDONLY)
    }

    fn open_body(&self, table: &mut Table, id: ScratchId, access: OFlags) -> Result<Arc<File>> {
        match (table.kind(id)?, self.standing(table, id)?) {
            (NodeKind::Directory, _) => Err(ScratchError::IsADirectory),
            (NodeKind::Symlink, _) => Err(ScratchError::NotAFile),
            (NodeKind::File, Standing::Kept(file)) => Ok(file),
            (NodeKind::File, Standing::Named(dir, name)) => {
                let opened = disk::open_file(&dir, &name, access);
                table.or_vanished(id, opened).map(Arc::new)
            }
            (NodeKind::File, Standing::Nowhere) => Err(ScratchError::NotFound),
        }
    }

    fn standing(&self, table: &mut Table, id: ScratchId) -> Result<Standing> {
        let node = table.node(id)?;
        if let Body::File { kept: Some(file), .. } = &node.body {
            return Ok(Standing::Kept(Arc::clone(file)));
        }
        match node.at.clone() {
            Some((dir, name)) => Ok(Standing::Named(self.open_dir(table, dir)?, name)),
            None => Ok(Standing::Nowhere),
        }
    }
}

fn chmod(fd: impl AsFd, mode: Mode) -> Result<Option<Attr>> {
    fchmod(&fd, mode)?;
    Ok(disk::fstat(fd)?)
}

/// The time of a change as the disk takes it; the time of the last reading stays.
pub(super) fn timestamps(mtime: SystemTime) -> Timestamps {
    let whole = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    let (seconds, nanos) = match mtime.duration_since(UNIX_EPOCH) {
        Ok(since) => (whole(since), since.subsec_nanos()),
        // Before 1970: the whole second below, and what is above it.
        Err(before) => match (before.duration(), before.duration().subsec_nanos()) {
            (duration, 0) => (-whole(duration), 0),
            (duration, nanos) => (-whole(duration) - 1, 1_000_000_000 - nanos),
        },
    };
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    }
}
