//! Names: finding, listing, making, removing and moving them.
//!
//! All of it is done under the table lock, disk included: a name is changed in both or in neither, and of two who make the
//! same name one wins.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use rustix::fs::{AtFlags, OFlags, RenameFlags, mkdirat, readlinkat, renameat, renameat_with, symlinkat, unlinkat};
use rustix::io::Errno;

use super::table::{Body, Kept, Table};
use super::{
    Dir, Entry, MOST_DEEP, NAME_MAX, Result, Scratch, ScratchError, ScratchId, contents::timestamps, disk, disk::NEW,
};
use crate::fs::{NodeKind, lock};

/// What a rename does with the name it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replaces what is there.
    Replace,
    /// Fails when something is there.
    NoReplace,
    /// Both change places.
    Exchange,
}

/// The kernel sends none of these; what is joined to a path is checked all the same.
fn check(name: &OsStr) -> Result<()> {
    match name.as_bytes() {
        b"" | b"." | b".." => Err(ScratchError::InvalidName),
        bytes if bytes.len() > NAME_MAX => Err(ScratchError::NameTooLong),
        bytes if bytes.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(ScratchError::InvalidName),
        _ => Ok(()),
    }
}

impl Scratch {
    /// Finds a name.
    ///
    /// # Errors
    /// When `dir` is no directory, the name cannot be one, or the disk cannot be read.
    pub fn lookup(&self, dir: &Dir, name: &OsStr) -> Result<Option<ScratchId>> {
        check(name)?;
        let mut table = self.table();
        match table.child(*dir, name)? {
            Some(id) => self.is_there(&mut table, *dir, name, id).map(|there| there.then_some(id)),
            None => Ok(None),
        }
    }

    /// Looks whether what the table has is on the disk, and takes over its size and times.
    fn is_there(&self, table: &mut Table, dir: Dir, name: &OsStr, id: ScratchId) -> Result<bool> {
        let found = match self.open_dir(table, dir) {
            Ok(fd) => disk::stat(&fd, name),
            // The directory went, and this with it.
            Err(ScratchError::NotFound) => return Ok(false),
            Err(error) => return Err(error),
        };
        match found {
            Ok(Some(attr)) if attr.kind == table.kind(id)? => {
                table.set_attr(id, attr);
                Ok(true)
            }
            Ok(_) | Err(Errno::NOENT) => {
                table.remove_tree(id);
                Ok(false)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// The node of a name, if it is on the disk as well.
    fn present(&self, table: &mut Table, dir: Dir, name: &OsStr) -> Result<Option<ScratchId>> {
        let Some(id) = table.child(dir, name)? else { return Ok(None) };
        Ok(self.is_there(table, dir, name, id)?.then_some(id))
    }

    /// The names of a directory whose numbers are greater than `behind`, in the order of their numbers: a listing goes on
    /// where it stopped, whatever was made or removed meanwhile. 0 is in front of all.
    ///
    /// # Errors
    /// When `dir` is no directory.
    pub fn list(&self, dir: &Dir, behind: ScratchId) -> Result<Vec<Entry>> {
        self.table().list(*dir, behind)
    }

    /// Makes an empty file, unless the name is there: then it is left as it is, which the answer's second part says.
    /// `exclusive` wants it new.
    ///
    /// # Errors
    /// When the name is there and `exclusive`, or not a file; when there is no room, or the disk refuses.
    pub fn create(&self, dir: &Dir, name: &OsStr, mode: u16, exclusive: bool) -> Result<(ScratchId, bool)> {
        check(name)?;
        let mut table = self.table();
        if let Some(id) = self.present(&mut table, *dir, name)? {
            return there(&table, id, exclusive);
        }
        table.room_for_one(&self.limits)?;
        let fd = self.open_dir_to_add(&mut table, *dir)?;
        match disk::create_file(&fd, name, mode) {
            Ok(_) => Ok((add(&mut table, *dir, &fd, name, Some(mode))?, false)),
            // Another mount made it.
            Err(Errno::EXIST) => {
                let id = add(&mut table, *dir, &fd, name, None)?;
                there(&table, id, exclusive)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// When the name is there, there is no room, the directories are too deep within each other, or the disk refuses.
    pub fn mkdir(&self, dir: &Dir, name: &OsStr, mode: u16) -> Result<ScratchId> {
        check(name)?;
        let mut table = self.table();
        if self.present(&mut table, *dir, name)?.is_some() {
            return Err(ScratchError::Exists);
        }
        table.room_for_one(&self.limits)?;
        if table.path(*dir)?.1.len() >= MOST_DEEP {
            return Err(ScratchError::TooDeep);
        }
        let fd = self.open_dir_to_add(&mut table, *dir)?;
        made(&mut table, *dir, &fd, name, mkdirat(&fd, name, disk::directory_mode(mode)))?;
        add(&mut table, *dir, &fd, name, Some(mode))
    }

    /// Makes a symbolic link. Where it leads is for the kernel to follow; here it is text.
    ///
    /// # Errors
    /// When the name is there, there is no room, or the disk refuses.
    pub fn symlink(&self, dir: &Dir, name: &OsStr, target: &OsStr) -> Result<ScratchId> {
        check(name)?;
        let mut table = self.table();
        if self.present(&mut table, *dir, name)?.is_some() {
            return Err(ScratchError::Exists);
        }
        table.room_for_one(&self.limits)?;
        let fd = self.open_dir_to_add(&mut table, *dir)?;
        made(&mut table, *dir, &fd, name, symlinkat(target, &fd, name))?;
        add(&mut table, *dir, &fd, name, Some(0o777))
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// When it is none, or the disk cannot be read.
    pub fn readlink(&self, id: ScratchId) -> Result<Vec<u8>> {
        let mut table = self.table();
        let node = table.node(id)?;
        let Body::Symlink { kept } = &node.body else { return Err(ScratchError::NotASymlink) };
        if let Some(target) = kept {
            return Ok(target.clone());
        }
        let (dir, name) = node.at.clone().ok_or(ScratchError::NotFound)?;
        let fd = self.open_dir(&mut table, dir)?;
        table.or_vanished(id, readlinkat(&fd, &name, Vec::new())).map(std::ffi::CString::into_bytes)
    }

    /// Removes a file or link. While the kernel holds it, it can be read and written on.
    ///
    /// # Errors
    /// When there is no such name, it is a directory, or the disk refuses.
    pub fn unlink(&self, dir: &Dir, name: &OsStr) -> Result<()> {
        check(name)?;
        let mut table = self.table();
        let id = self.present(&mut table, *dir, name)?.ok_or(ScratchError::NotFound)?;
        if table.kind(id)? == NodeKind::Directory {
            return Err(ScratchError::IsADirectory);
        }
        self.unlink_node(&mut table, *dir, name, id)
    }

    fn unlink_node(&self, table: &mut Table, dir: Dir, name: &OsStr, id: ScratchId) -> Result<()> {
        let fd = self.open_dir(table, dir)?;
        let kept = remains(table, &fd, name, id)?;
        unlinkat(&fd, name, AtFlags::empty())?;
        table.unlink(id, kept);
        changed(table, dir, &fd);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// When there is no such name, it is no directory or not empty, or the disk refuses.
    pub fn rmdir(&self, dir: &Dir, name: &OsStr) -> Result<()> {
        check(name)?;
        let mut table = self.table();
        let id = self.present(&mut table, *dir, name)?.ok_or(ScratchError::NotFound)?;
        if !table.is_empty(Dir::Node(id))? {
            return Err(ScratchError::NotEmpty);
        }
        let fd = self.open_dir(&mut table, *dir)?;
        unlinkat(&fd, name, AtFlags::REMOVEDIR)?;
        table.unlink(id, Kept::Nothing);
        changed(&mut table, *dir, &fd);
        Ok(())
    }

    /// Moves a name within its place. Numbers follow what they stand for.
    ///
    /// # Errors
    /// Those of rename(2); [`ScratchError::OtherPlace`] between two places.
    pub fn rename(&self, from: &Dir, name: &OsStr, to: &Dir, new_name: &OsStr, mode: RenameMode) -> Result<()> {
        check(name)?;
        check(new_name)?;
        let mut table = self.table();
        if table.path(*from)?.0 != table.path(*to)?.0 {
            return Err(ScratchError::OtherPlace);
        }
        let source = self.present(&mut table, *from, name)?.ok_or(ScratchError::NotFound)?;
        let target = self.present(&mut table, *to, new_name)?;
        allowed(&table, (source, *from), (target, *to), mode)?;
        if target == Some(source) {
            return Ok(());
        }
        let (from_fd, to_fd) = (self.open_dir(&mut table, *from)?, self.open_dir(&mut table, *to)?);
        match (mode, target) {
            (RenameMode::Exchange, Some(target)) => {
                renameat_with(&from_fd, name, &to_fd, new_name, RenameFlags::EXCHANGE)?;
                table.detach(source);
                table.detach(target);
                table.attach(target, *from, name.to_owned());
                refresh(&mut table, &from_fd, name, target);
            }
            (_, target) => {
                let kept = match target {
                    Some(target) => remains(&table, &to_fd, new_name, target)?,
                    None => Kept::Nothing,
                };
                renameat(&from_fd, name, &to_fd, new_name)?;
                if let Some(target) = target {
                    table.unlink(target, kept);
                }
                table.detach(source);
            }
        }
        table.attach(source, *to, new_name.to_owned());
        refresh(&mut table, &to_fd, new_name, source);
        changed(&mut table, *from, &from_fd);
        changed(&mut table, *to, &to_fd);
        Ok(())
    }

    /// Takes in a document that was no scratch file and was moved here (`meta.md` to `meta.md~`), with its mode and time. A
    /// file or link of that name is replaced, at once or not at all.
    ///
    /// # Errors
    /// When a directory has the name, there is no room, or the disk refuses: then nothing has changed.
    pub fn adopt(&self, dir: &Dir, name: &OsStr, bytes: &[u8], mode: u16, mtime: SystemTime) -> Result<ScratchId> {
        check(name)?;
        let mut table = self.table();
        let target = self.present(&mut table, *dir, name)?;
        if let Some(target) = target
            && table.kind(target)? == NodeKind::Directory
        {
            return Err(ScratchError::IsADirectory);
        }
        table.room_for(bytes.len() as u64, &self.limits)?;
        let fd = self.open_dir_to_add(&mut table, *dir)?;
        let kept = match target {
            Some(target) => remains(&table, &fd, name, target)?,
            None => Kept::Nothing,
        };
        let root = self.disk.root()?;
        let temporary = self.temporary_name(NEW);
        let placed = (|| {
            let mut file = disk::create_file(&root, &temporary, mode)?;
            file.write_all(bytes)?;
            rustix::fs::futimens(&file, &timestamps(mtime))?;
            Ok(renameat(&root, &temporary, &fd, name)?)
        })();
        if placed.is_err() {
            // It may not be there; if it stays, a sweep removes it.
            let _ = unlinkat(&root, &temporary, AtFlags::empty());
            return placed.map(|()| ScratchId(0));
        }
        if let Some(target) = target {
            table.unlink(target, kept);
        }
        add(&mut table, *dir, &fd, name, Some(mode))
    }

    /// The opposite of [`Self::adopt`]: a scratch file becomes something else (it was renamed onto `meta.md`). Its name is
    /// removed and its bytes are returned. While the kernel holds the number, the file remains behind it as if unlinked, with
    /// its attributes and bytes; [`Self::forget`] tells when it is gone.
    ///
    /// # Errors
    /// When it is no file, or the disk cannot be read: then it is where it was.
    pub fn release(&self, id: ScratchId) -> Result<Vec<u8>> {
        let gate = self.gate(id)?;
        // No write comes between the reading and the unlinking.
        let _gate = lock(&gate);
        let file = self.reader(id)?;
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let mut table = self.table();
        if let Some((dir, name)) = table.node(id)?.at.clone() {
            self.unlink_node(&mut table, dir, &name, id)?;
        }
        Ok(bytes)
    }

    /// A name for something in the root, in this process and beside others.
    pub(super) fn temporary_name(&self, prefix: &str) -> OsString {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        // The time, since process numbers come again.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        format!("{prefix}{}-{since}-{number}", std::process::id()).into()
    }
}

/// What `create` answers when the name is there.
fn there(table: &Table, id: ScratchId, exclusive: bool) -> Result<(ScratchId, bool)> {
    match table.kind(id)? {
        _ if exclusive => Err(ScratchError::Exists),
        NodeKind::File => Ok((id, true)),
        NodeKind::Directory => Err(ScratchError::IsADirectory),
        NodeKind::Symlink => Err(ScratchError::Exists),
    }
}

/// Passes on what making a name gave; one that another mount made is taken in.
fn made(table: &mut Table, dir: Dir, fd: &OwnedFd, name: &OsStr, result: std::result::Result<(), Errno>) -> Result<()> {
    if result == Err(Errno::EXIST) {
        add(table, dir, fd, name, None)?;
    }
    Ok(result?)
}

/// Takes into the table what stands on the disk. Without `mode`, what the disk says.
fn add(table: &mut Table, dir: Dir, fd: &OwnedFd, name: &OsStr, mode: Option<u16>) -> Result<ScratchId> {
    let mut attr = disk::stat(fd, name)?.ok_or(ScratchError::Exists)?;
    if let Some(mode) = mode {
        attr.mode = mode & 0o777;
    }
    let id = table.insert(dir, name.to_owned(), Body::new(attr.kind), attr);
    changed(table, dir, fd);
    Ok(id)
}

/// What is to be kept of something that is about to lose its name.
fn remains(table: &Table, fd: &OwnedFd, name: &OsStr, id: ScratchId) -> Result<Kept> {
    if !table.is_held(id) {
        return Ok(Kept::Nothing);
    }
    Ok(match table.kind(id)? {
        NodeKind::File => Kept::File(disk::open_file(fd, name, OFlags::RDWR)?),
        NodeKind::Symlink => Kept::Target(readlinkat(fd, name, Vec::new())?.into_bytes()),
        NodeKind::Directory => Kept::Nothing,
    })
}

/// Takes over a directory's times after a change in it.
fn changed(table: &mut Table, dir: Dir, fd: &OwnedFd) {
    if let (Dir::Node(id), Ok(Some(attr))) = (dir, disk::fstat(fd)) {
        table.set_attr(id, attr);
    }
}

/// Takes over the time of a change of name.
fn refresh(table: &mut Table, fd: &OwnedFd, name: &OsStr, id: ScratchId) {
    if let Ok(Some(attr)) = disk::stat(fd, name) {
        table.set_attr(id, attr);
    }
}

/// The rules of rename(2), in Linux's order.
fn allowed(
    table: &Table,
    (source, from): (ScratchId, Dir),
    (target, to): (Option<ScratchId>, Dir),
    mode: RenameMode,
) -> Result<()> {
    match (mode, target) {
        (RenameMode::NoReplace, Some(_)) => return Err(ScratchError::Exists),
        (RenameMode::Exchange, None) => return Err(ScratchError::NotFound),
        _ => {}
    }
    if table.is_within(to, source) {
        return Err(ScratchError::IntoItself);
    }
    let directory = |id| table.kind(id).map(|kind| kind == NodeKind::Directory);
    let deep = |id, dir| Ok::<_, ScratchError>(table.path(dir)?.1.len() + table.height(id) > MOST_DEEP);
    if deep(source, to)? {
        return Err(ScratchError::TooDeep);
    }
    let Some(target) = target.filter(|target| *target != source) else { return Ok(()) };
    if mode == RenameMode::Exchange {
        return match () {
            () if table.is_within(from, target) => Err(ScratchError::IntoItself),
            () if deep(target, from)? => Err(ScratchError::TooDeep),
            () => Ok(()),
        };
    }
    match (directory(source)?, directory(target)?) {
        _ if table.is_within(from, target) => Err(ScratchError::NotEmpty),
        (true, false) => Err(ScratchError::NotADirectory),
        (false, true) => Err(ScratchError::IsADirectory),
        (true, true) if !table.is_empty(Dir::Node(target))? => Err(ScratchError::NotEmpty),
        _ => Ok(()),
    }
}
