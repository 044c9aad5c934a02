//! The filesystem, free of FUSE: every operation returns its result or an error that carries its errno.
//!
//! Reads the store through `tree`; must not know of `fuser`.

use std::ffi::{OsStr, OsString};

use crate::model::Millis;

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    Directory,
    File,
    Symlink,
}

/// A node's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub kind: NodeKind,
    pub size: u64,
    pub mtime: Millis,
    pub ctime: Millis,
    /// Permission bits.
    pub mode: u16,
    pub nlink: u32,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Found(Attr),
    /// There is no such name. `for_good`: no such name will ever appear, so the kernel may remember it.
    Absent {
        for_good: bool,
    },
}

/// One name of a directory. `attr` is there when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub ino: u64,
    pub kind: NodeKind,
    pub name: OsString,
    /// Where a listing that stops here goes on.
    pub next_offset: u64,
    pub attr: Option<Attr>,
}

/// Something the kernel remembers and must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// Attributes and contents of a node; for a directory, its listing.
    Node(u64),
    /// A name that means something else now, or nothing.
    Name { parent: u64, name: OsString },
}

/// Totals for `statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub bytes: u64,
    pub free_bytes: u64,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    #[error("no such file or directory")]
    NotFound,
    #[error("not a directory")]
    NotADirectory,
    #[error("is a directory")]
    IsADirectory,
    #[error("not a symbolic link")]
    NotASymlink,
    #[error("the database could not be read: {0}")]
    Store(String),
}

impl FsError {
    /// The errno the caller sees.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotFound => libc::ENOENT,
            Self::NotADirectory => libc::ENOTDIR,
            Self::IsADirectory => libc::EISDIR,
            Self::NotASymlink => libc::EINVAL,
            Self::Store(_) => libc::EIO,
        }
    }
}

/// The mounted tree.
pub struct CogFs {}

/// Held by a request from before it reads until its reply is sent: see [`CogFs::changes`].
pub struct RequestGuard<'a>(std::marker::PhantomData<&'a ()>);

impl CogFs {
    /// To be called first by every request; the guard is dropped after the reply was sent.
    pub fn begin(&self) -> RequestGuard<'_> {
        RequestGuard(std::marker::PhantomData)
    }

    pub fn lookup(&self, _parent: u64, _name: &OsStr) -> Result<Lookup, FsError> {
        Err(FsError::NotFound)
    }

    pub fn getattr(&self, _ino: u64) -> Result<Attr, FsError> {
        Err(FsError::NotFound)
    }

    pub fn readlink(&self, _ino: u64) -> Result<Vec<u8>, FsError> {
        Err(FsError::NotASymlink)
    }

    /// Lists a directory from `offset` on ("." and ".." included), giving each entry to `sink` until that returns false.
    pub fn readdir(
        &self,
        _ino: u64,
        _offset: u64,
        _with_attr: bool,
        _sink: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<(), FsError> {
        Err(FsError::NotADirectory)
    }

    pub fn read(&self, _ino: u64, _offset: u64, _size: u32) -> Result<Vec<u8>, FsError> {
        Err(FsError::NotFound)
    }

    pub fn statfs(&self) -> Result<Totals, FsError> {
        Ok(Totals { files: 0, bytes: 0, free_bytes: 0 })
    }

    /// What changed since the last call, by whatever process. To be called from the notifier thread alone, without a guard:
    /// it publishes the new state, waits for the requests that still saw the old one, and returns what the kernel must forget.
    /// Cheap when nothing changed; ends read transactions that have been idle for 100 ms.
    pub fn changes(&self) -> Result<Vec<Invalidation>, FsError> {
        Ok(Vec::new())
    }
}
