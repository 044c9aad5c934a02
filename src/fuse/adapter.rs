//! `fuser`'s callbacks onto [`CogFs`]: converts types, counts, answers. Decides nothing about the tree.
//!
//! `open`, `opendir`, `flush` and the xattr calls (without `--xattr`) are answered ENOSYS: the kernel then stops sending them, which is what makes
//! a warm pass over the tree free of requests. There is no handle and no close, so no state is kept for either.

use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::ahead::Ahead;
use super::requests::{Counters, Kind};
use crate::fs::{
    Attr, CogFs, DirEntry, FsError, Lookup, Missing, NAME_MAX, NodeKind, Piece, RenameMode, SetAttr, Totals,
};
use crate::model::Millis;

/// For ever: the kernel is told of every change. 136 years, as the kernel adds it to its clock and must not overflow.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// What programs take as their buffer size; 64 KiB halves the pieces that stdio reads.
const BLOCK_SIZE: u32 = 64 * 1024;
/// The unit of `st_blocks`, whatever the block size.
const STAT_BLOCK: u64 = 512;
/// The unit of `statfs`.
const STATFS_BLOCK: u32 = 4096;
/// Readaheads the kernel may have under way at once.
const MAX_BACKGROUND: u16 = 64;
/// A longer link target is refused by the kernel, and a refused reply is as none at all.
const LINK_MAX: usize = libc::PATH_MAX as usize - 1;

/// Wanted of the kernel where it has them; an older one does without. Left out on purpose: `AUTO_INVAL_DATA` (drops pages when
/// an mtime moves), the writeback cache, `ATOMIC_O_TRUNC`. `ASYNC_READ` is one of fuser's defaults.
const CAPABILITIES: [InitFlags; 8] = [
    InitFlags::FUSE_NO_OPEN_SUPPORT,
    InitFlags::FUSE_NO_OPENDIR_SUPPORT,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_ASYNC_READ,
    InitFlags::FUSE_CACHE_SYMLINKS,
];

/// What a mount's owner is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The kernel has ended the connection: unmounted, and the last user gone.
    Ended,
    /// This process was asked to end, by this signal.
    Signal(i32),
}

/// Serves one mount. Its drop is the end of the session, and says so.
pub(super) struct Adapter {
    fs: Arc<CogFs>,
    counters: Arc<Counters>,
    ahead: Ahead,
    events: Sender<Event>,
    uid: u32,
    gid: u32,
    has_xattr: bool,
}

impl Adapter {
    pub(super) fn new(
        fs: Arc<CogFs>,
        counters: Arc<Counters>,
        ahead: Ahead,
        events: Sender<Event>,
        has_xattr: bool,
    ) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        Self { fs, counters, ahead, events, uid, gid, has_xattr }
    }

    /// Runs a handler under a guard that outlives its reply. A handler that panics drops its reply, which sends EIO; the
    /// thread that would have died with it goes on serving.
    fn answer(&self, kind: Kind, handler: impl FnOnce(&CogFs)) {
        self.counters.count(kind);
        let guarded = || {
            let _guard = self.fs.begin();
            handler(&self.fs);
        };
        if catch_unwind(AssertUnwindSafe(guarded)).is_err() {
            tracing::error!(?kind, "a request panicked; its caller got an I/O error");
        }
    }

    fn file_attr(&self, attr: &Attr) -> FileAttr {
        let mtime = system_time(attr.mtime);
        FileAttr {
            ino: INodeNo(attr.ino),
            size: attr.size,
            blocks: attr.size.div_ceil(STAT_BLOCK),
            atime: mtime,
            mtime,
            ctime: system_time(attr.ctime),
            crtime: mtime,
            kind: file_type(attr.kind),
            perm: attr.mode & 0o7777,
            nlink: attr.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }

    fn send_entry(&self, attr: &Attr, reply: ReplyEntry) {
        reply.entry(&FOR_EVER, &self.file_attr(attr), Generation(attr.generation));
    }

    fn send_empty(result: Result<(), FsError>, reply: ReplyEmpty) {
        match result {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(errno(&error)),
        }
    }

    /// Inode 0: "no such name", which the kernel remembers for as long as the entry lives.
    fn no_entry(&self) -> FileAttr {
        let epoch = Millis(0);
        let (kind, mode) = (NodeKind::File, 0);
        self.file_attr(&Attr { ino: 0, kind, size: 0, mtime: epoch, ctime: epoch, mode, nlink: 0, generation: 0 })
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // The owner may have stopped listening.
        let _ = self.events.send(Event::Ended);
    }
}

fn system_time(time: Millis) -> SystemTime {
    let distance = Duration::from_millis(time.0.unsigned_abs());
    let moved = if time.0 >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) };
    moved.unwrap_or(UNIX_EPOCH)
}

fn file_type(kind: NodeKind) -> FileType {
    match kind {
        NodeKind::Directory => FileType::Directory,
        NodeKind::File => FileType::RegularFile,
        NodeKind::Symlink => FileType::Symlink,
    }
}

/// The errno as the kernel takes it. Of 512 and up it refuses the reply, which locks the page for good; EINTR and EAGAIN make
/// readers try again for ever (`cat`) or fail oddly (Python): EINTR is for whom a signal waits.
fn errno(error: &FsError) -> Errno {
    tracing::debug!(%error, "request failed");
    match error.errno() {
        libc::EINTR if matches!(error, FsError::Interrupted) => Errno::EINTR,
        libc::EINTR | libc::EAGAIN => Errno::EIO,
        code @ 1..512 => Errno::from_i32(code),
        _ => Errno::EIO,
    }
}

/// "." and ".." need no true attributes: the kernel takes the inode number and the kind, and drops the rest.
fn dot_attr(entry: &DirEntry) -> Option<Attr> {
    let (ino, kind, epoch) = (entry.ino, entry.kind, Millis(0));
    let is_dot = entry.name == "." || entry.name == "..";
    is_dot.then_some(Attr { ino, kind, size: 0, mtime: epoch, ctime: epoch, mode: 0o500, nlink: 1, generation: 0 })
}

/// Sizes in units of `unit`, rounded up.
fn units(bytes: u64, unit: u32) -> u64 {
    bytes.div_ceil(u64::from(unit))
}

fn send_data(read: Result<Piece, FsError>, size: u32, reply: ReplyData) {
    match read {
        // More than was asked for would be refused by the kernel, leaving the page locked.
        Ok(data) => reply.data(&data[..data.len().min(size as usize)]),
        Err(error) => reply.error(errno(&error)),
    }
}

/// A read that waits.
struct Read {
    thread: u32,
    ino: u64,
    offset: u64,
    size: u32,
}

/// Answers a read of what is elsewhere once it is here, from a thread that serves no requests. A panic drops the reply, which sends
/// EIO.
fn read_elsewhere(fs: &Arc<CogFs>, read: Read, missing: Vec<Missing>, reply: ReplyData) {
    let Read { thread, ino, offset, size } = read;
    let own = Arc::clone(fs);
    let then = move |fetched: Result<(), FsError>| {
        // Held until the reply is sent, and not while it waits.
        let _guard = own.begin();
        send_data(fetched.and_then(|()| own.read_here(thread, ino, offset, size)), size, reply);
    };
    fs.when_here(ino, thread, missing, Box::new(then));
}

/// Makes a change that needs what is elsewhere once it is here, as [`read_elsewhere`] reads. Where that cannot be had nothing changes.
fn change_elsewhere(
    fs: &Arc<CogFs>,
    (thread, dir): (u32, u64),
    missing: Vec<Missing>,
    reply: ReplyEmpty,
    change: impl FnOnce(&CogFs) -> Result<(), FsError> + Send + 'static,
) {
    let own = Arc::clone(fs);
    let then = move |fetched: Result<(), FsError>| {
        let _guard = own.begin();
        Adapter::send_empty(fetched.and_then(|()| change(&own)), reply);
    };
    fs.when_here(dir, thread, missing, Box::new(then));
}

/// Size 0 asks for the length (getxattr(2)).
fn send_xattr(bytes: &[u8], size: u32, reply: ReplyXattr) {
    match u32::try_from(bytes.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(bytes),
        _ => reply.error(Errno::ERANGE),
    }
}

fn send_totals(totals: &Totals, reply: ReplyStatfs) {
    let free = totals.free_bytes / u64::from(STATFS_BLOCK);
    let blocks = units(totals.bytes, STATFS_BLOCK) + free;
    reply.statfs(blocks, free, free, totals.files, 0, STATFS_BLOCK, NAME_MAX as u32, STATFS_BLOCK);
}

impl Filesystem for Adapter {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for capability in CAPABILITIES {
            if let Err(missing) = config.add_capabilities(capability) {
                tracing::info!(?missing, "this kernel does not have it; going on without");
            }
        }
        // Fails only for 0. The readahead stays at the kernel's maximum, which is fuser's default.
        let _ = config.set_max_background(MAX_BACKGROUND);
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.answer(Kind::Lookup, |fs| match fs.lookup_for(req.pid(), parent.0, name) {
            Ok(Lookup::Found(attr)) if !CogFs::is_passing(attr.ino) => self.send_entry(&attr, reply),
            Ok(Lookup::Found(attr)) => {
                reply.entry(&Duration::ZERO, &self.file_attr(&attr), Generation(attr.generation));
            }
            Ok(Lookup::Absent { for_good: true }) => reply.entry(&FOR_EVER, &self.no_entry(), Generation(0)),
            Ok(Lookup::Absent { for_good: false }) => reply.error(Errno::ENOENT),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.answer(Kind::Getattr, |fs| match fs.getattr(ino.0) {
            Ok(attr) => reply.attr(&FOR_EVER, &self.file_attr(&attr)),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        self.answer(Kind::Readlink, |fs| match fs.readlink(ino.0) {
            Ok(target) if target.len() > LINK_MAX => reply.error(Errno::ENAMETOOLONG),
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        self.answer(Kind::Readdir, |fs| {
            let (mut behind, mut count, mut is_full, mut is_end) = (0, 0, false, true);
            let mut add = |e: DirEntry| {
                is_end = false;
                is_full = reply.add(INodeNo(e.ino), e.next_offset, file_type(e.kind), &e.name);
                if !is_full {
                    (behind, count) = (e.next_offset, count + 1);
                }
                !is_full
            };
            match fs.readdir(ino.0, offset, false, &mut add) {
                Ok(()) if is_full && count > 0 => fs.send_and_list_ahead(ino.0, behind, count, || reply.ok()),
                Ok(()) => {
                    if is_end {
                        self.ahead.listed(fs, ino.0);
                    }
                    reply.ok();
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn readdirplus(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        self.answer(Kind::Readdirplus, |fs| {
            let (mut without_attr, mut is_end) = (false, true);
            let mut add = |e: DirEntry| {
                is_end = false;
                let Some(attr) = e.attr.or_else(|| dot_attr(&e)) else {
                    without_attr = true;
                    return false;
                };
                let (generation, attr) = (Generation(attr.generation), self.file_attr(&attr));
                !reply.add(attr.ino, e.next_offset, &e.name, &FOR_EVER, &attr, generation)
            };
            match fs.readdir(ino.0, offset, true, &mut add) {
                // fuser takes the kind from the attributes, so an entry cannot be sent without them.
                Ok(()) if without_attr => {
                    tracing::error!(ino = ino.0, "a listing with attributes lacks some");
                    reply.error(Errno::EIO);
                }
                Ok(()) => {
                    if is_end {
                        self.ahead.listed(fs, ino.0);
                    }
                    reply.ok();
                }
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        // Before the answer: once the reader has it, another thread may already tell of its next read.
        self.ahead.read(&self.fs, ino.0);
        self.answer(Kind::Read, |fs| match fs.read_for(req.pid(), ino.0, offset, size) {
            Err(FsError::Elsewhere { missing }) => {
                let read = Read { thread: req.pid(), ino: ino.0, offset, size };
                read_elsewhere(&self.fs, read, missing, reply);
            }
            read => send_data(read, size, reply),
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        self.answer(Kind::Statfs, |fs| match fs.statfs() {
            Ok(totals) => send_totals(&totals, reply),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.counters.count(Kind::Forget);
        self.fs.forget(ino.0, nlookup);
    }

    // Asked once a mount, then never again.

    fn open(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Kind::Open);
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.counters.count(Kind::Opendir);
        reply.error(Errno::ENOSYS);
    }

    fn flush(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _lock_owner: LockOwner, reply: ReplyEmpty) {
        self.counters.count(Kind::Flush);
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.has_xattr {
            self.counters.count(Kind::Getxattr);
            return reply.error(Errno::ENOSYS);
        }
        self.answer(Kind::Getxattr, |fs| match fs.getxattr(ino.0, name) {
            Ok(Some(value)) => send_xattr(&value, size, reply),
            Ok(None) => reply.error(Errno::ENODATA),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.has_xattr {
            self.counters.count(Kind::Other);
            return reply.error(Errno::ENOSYS);
        }
        self.answer(Kind::Getxattr, |fs| match fs.listxattr(ino.0) {
            Ok(names) => send_xattr(&names, size, reply),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn setxattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _req: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer(Kind::Fsync, |fs| Self::send_empty(fs.fsync(ino.0), reply));
    }

    fn fsyncdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.answer(Kind::Fsync, |fs| Self::send_empty(fs.fsyncdir(ino.0), reply));
    }

    fn lseek(&self, _req: &Request, _ino: INodeNo, _fh: FileHandle, _offset: i64, _whence: i32, reply: ReplyLseek) {
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _handle: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        _command: u32,
        _input: &[u8],
        _output_size: u32,
        reply: ReplyIoctl,
    ) {
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOTTY);
    }

    // What changes the tree. A mount made with `--read-only` is refused most of these by the kernel itself.

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.answer(Kind::Setattr, |fs| {
            // Everything is the owner's, and stays so; a program that keeps a file's owner sets what it is.
            if uid.is_some_and(|uid| uid != self.uid) || gid.is_some_and(|gid| gid != self.gid) {
                return reply.error(Errno::EPERM);
            }
            let mtime = mtime.map(|time| match time {
                TimeOrNow::SpecificTime(time) => time,
                TimeOrNow::Now => SystemTime::now(),
            });
            let mode = mode.map(|mode| (mode & 0o7777) as u16);
            match fs.setattr(ino.0, &SetAttr { size, mode, mtime, thread: req.pid() }) {
                Ok(attr) => reply.attr(&FOR_EVER, &self.file_attr(&attr)),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        self.answer(Kind::Create, |fs| {
            if mode & libc::S_IFMT != libc::S_IFREG {
                return reply.error(Errno::EPERM);
            }
            match fs.create(parent.0, name, (mode & 0o7777) as u16, true, req.pid()) {
                Ok(attr) => self.send_entry(&attr, reply),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn mkdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        self.answer(Kind::Create, |fs| match fs.mkdir(parent.0, name, (mode & 0o7777) as u16) {
            Ok(attr) => self.send_entry(&attr, reply),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer(Kind::Unlink, |fs| match fs.unlink(parent.0, name) {
            Err(FsError::Elsewhere { missing }) => {
                let name = name.to_owned();
                change_elsewhere(&self.fs, (req.pid(), parent.0), missing, reply, move |fs| fs.unlink(parent.0, &name));
            }
            done => Self::send_empty(done, reply),
        });
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.answer(Kind::Unlink, |fs| Self::send_empty(fs.rmdir(parent.0, name), reply));
    }

    fn symlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        self.answer(Kind::Create, |fs| match fs.symlink(parent.0, name, target) {
            Ok(attr) => self.send_entry(&attr, reply),
            Err(error) => reply.error(errno(&error)),
        });
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.answer(Kind::Rename, |fs| {
            let mode = match flags {
                flags if flags.is_empty() => RenameMode::Replace,
                RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
                RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
                // WHITEOUT reaches the server too: what is not understood must not be taken for a plain rename.
                _ => return reply.error(Errno::EINVAL),
            };
            let thread = req.pid();
            match fs.rename((parent.0, name), (new_parent.0, new_name), mode, thread) {
                Err(FsError::Elsewhere { missing }) => {
                    let (name, new_name) = (name.to_owned(), new_name.to_owned());
                    change_elsewhere(&self.fs, (thread, parent.0), missing, reply, move |fs| {
                        fs.rename((parent.0, &name), (new_parent.0, &new_name), mode, thread)
                    });
                }
                done => Self::send_empty(done, reply),
            }
        });
    }

    fn link(&self, _req: &Request, _ino: INodeNo, _new_parent: INodeNo, _new_name: &OsStr, reply: ReplyEntry) {
        self.counters.count(Kind::Other);
        reply.error(Errno::EPERM);
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.answer(Kind::Write, |fs| {
            // Pages of a mapping that the kernel writes back are nobody's.
            let thread = if write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) { 0 } else { req.pid() };
            match fs.write(ino.0, offset, data, thread) {
                Ok(written) => reply.written(written),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.answer(Kind::Create, |fs| {
            let exclusive = flags & libc::O_EXCL != 0;
            match fs.create(parent.0, name, (mode & 0o7777) as u16, exclusive, req.pid()) {
                // No handle: there is no release, and so no end of one.
                Ok(attr) => reply.created(
                    &FOR_EVER,
                    &self.file_attr(&attr),
                    Generation(attr.generation),
                    FileHandle(0),
                    FopenFlags::FOPEN_KEEP_CACHE,
                ),
                Err(error) => reply.error(errno(&error)),
            }
        });
    }

    fn fallocate(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.answer(Kind::Other, |fs| {
            if mode != 0 {
                return reply.error(Errno::EOPNOTSUPP);
            }
            Self::send_empty(fs.fallocate(ino.0, offset.saturating_add(length)), reply);
        });
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        _fh_in: FileHandle,
        _offset_in: u64,
        _ino_out: INodeNo,
        _fh_out: FileHandle,
        _offset_out: u64,
        _len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        // The kernel copies by itself then.
        self.counters.count(Kind::Other);
        reply.error(Errno::ENOSYS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_outside_the_clock_are_taken() {
        assert_eq!(system_time(Millis(1_500)), UNIX_EPOCH + Duration::from_millis(1_500));
        assert_eq!(system_time(Millis(-1_500)), UNIX_EPOCH - Duration::from_millis(1_500));
        // Must not panic, whatever a log says.
        let _ = (system_time(Millis(i64::MAX)), system_time(Millis(i64::MIN)));
    }

    #[test]
    fn errors_reach_the_caller_as_their_errno() {
        assert_eq!(errno(&FsError::NotFound), Errno::ENOENT);
        assert_eq!(errno(&FsError::NotASymlink), Errno::EINVAL);
        assert_eq!(errno(&FsError::Store(crate::store::StoreError::Damaged { what: "it".to_owned() })), Errno::EIO);
    }

    #[test]
    fn sizes_are_rounded_up_to_blocks() {
        assert_eq!(units(0, 4096), 0);
        assert_eq!(units(1, 4096), 1);
        assert_eq!(units(4097, 4096), 2);
    }
}
