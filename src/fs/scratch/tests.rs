//! Scratch files by themselves, in a folder of their own.

mod caps;
mod lifetimes;
mod model;
mod names;
mod outside;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

use super::*;

/// A folder for scratch files, and those in it.
struct World {
    scratch: Scratch,
    dir: TempDir,
}

impl World {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        let dir = TempDir::new().unwrap();
        Self { scratch: Scratch::open(root(dir.path()), limits).unwrap(), dir }
    }

    /// As after a restart.
    fn reopened(self) -> Self {
        let limits = self.scratch.limits;
        Self { scratch: Scratch::open(root(self.dir.path()), limits).unwrap(), dir: self.dir }
    }

    fn root(&self) -> PathBuf {
        root(self.dir.path())
    }

    /// Where a file of the first place lies.
    fn path(&self, name: &str) -> PathBuf {
        self.root().join(disk::folder(place(1))).join(name)
    }

    fn file(&self, dir: Dir, name: &str, bytes: &[u8]) -> ScratchId {
        let (id, _) = self.scratch.create(&dir, OsStr::new(name), 0o644, true).unwrap();
        self.scratch.write(id, 0, bytes).unwrap();
        id
    }

    fn mkdir(&self, dir: Dir, name: &str) -> ScratchId {
        self.scratch.mkdir(&dir, OsStr::new(name), 0o755).unwrap()
    }

    fn find(&self, dir: Dir, name: &str) -> Option<ScratchId> {
        self.scratch.lookup(&dir, OsStr::new(name)).unwrap()
    }

    fn bytes(&self, id: ScratchId) -> Vec<u8> {
        self.scratch.read(id, 0, u32::MAX).unwrap()
    }

    fn names(&self, dir: Dir) -> Vec<String> {
        let list = self.scratch.list(&dir, ScratchId(0)).unwrap();
        list.into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
    }

    fn rename(&self, from: (Dir, &str), to: (Dir, &str), mode: RenameMode) -> Result<()> {
        self.scratch.rename(&from.0, OsStr::new(from.1), &to.0, OsStr::new(to.1), mode)
    }
}

fn root(dir: &Path) -> PathBuf {
    dir.join("cache/scratch")
}

fn place(n: u8) -> Id {
    Id([n; 16])
}

const HERE: Dir = Dir::Place(Id([1; 16]));
const THERE: Dir = Dir::Place(Id([2; 16]));

/// The errno of what must have failed.
fn errno<T>(result: Result<T>) -> i32 {
    match result {
        Ok(_) => panic!("it should have failed"),
        Err(error) => error.errno(),
    }
}

fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 60 * 60)
}
