//! The least a mount can do, to measure `cogfs mount` against: one file of 13 bytes, served by one thread with fuser's
//! defaults, as fuser's own example `hello` does (that one cannot be installed by name).
//!
//! `hello_mount DIRECTORY` prints `mounted` and serves until it is unmounted. Used by `scripts/bench`; must not use the
//! library.

use std::error::Error;
use std::ffi::OsStr;
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, MountOption, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
};

const TTL: Duration = Duration::from_secs(1);
const FILE: INodeNo = INodeNo(2);
const NAME: &str = "hello.txt";
const CONTENT: &[u8] = b"Hello World!\n";

struct Hello;

fn attr(ino: INodeNo) -> FileAttr {
    let is_file = ino == FILE;
    FileAttr {
        ino,
        size: if is_file { CONTENT.len() as u64 } else { 0 },
        blocks: u64::from(is_file),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if is_file { FileType::RegularFile } else { FileType::Directory },
        perm: if is_file { 0o644 } else { 0o755 },
        nlink: if is_file { 1 } else { 2 },
        uid: 501,
        gid: 20,
        rdev: 0,
        blksize: 512,
        flags: 0,
    }
}

impl Filesystem for Hello {
    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == NAME {
            reply.entry(&TTL, &attr(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        if ino == INodeNo::ROOT || ino == FILE {
            reply.attr(&TTL, &attr(ino));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        _size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(CONTENT.len());
        if ino == FILE {
            reply.data(&CONTENT[from..]);
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn readdir(&self, _req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOENT);
        }
        let entries =
            [(ino, FileType::Directory, "."), (ino, FileType::Directory, ".."), (FILE, FileType::RegularFile, NAME)];
        for ((ino, kind, name), next) in entries.into_iter().zip(1..) {
            if next > offset && reply.add(ino, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let dir = std::env::args_os().nth(1).ok_or("usage: hello_mount DIRECTORY")?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::FSName("hello".to_owned())];
    let session = fuser::spawn_mount(Hello, &dir, &config)?;
    println!("mounted");
    std::io::stdout().flush()?;
    Ok(session.join()?)
}
