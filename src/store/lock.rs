//! Advisory locks among the processes that use one data folder: files that are locked, never written. The kernel gives a lock
//! free when its process ends, however it ends.

use std::cell::OnceCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, flock};

use super::{Layout, Result, StoreError, private_dir};

/// What is to be done by one process at a time. The files stay behind: to remove one would let two hold "the" lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Importing. Between the transactions of a large file its end is in memory alone: a second import would read it again.
    Import,
    /// Writing what a person waits for.
    Edit,
    /// Speaking with the cloud.
    Sync,
    /// Keeping in step with the cloud all the time.
    Engine,
    /// Following the agents' usual places.
    Follow,
    /// Following places that were named; the hex digits of their hash.
    FollowNamed(String),
}

impl Purpose {
    fn file_name(&self) -> String {
        match self {
            Self::Import => "import.lock".to_owned(),
            Self::Edit => "edit.lock".to_owned(),
            Self::Sync => "sync.lock".to_owned(),
            Self::Engine => "engine.lock".to_owned(),
            Self::Follow => "follow.lock".to_owned(),
            Self::FollowNamed(hash) => format!("follow-{hash}.lock"),
        }
    }
}

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; `None` when another process (or this one) holds it.
    ///
    /// # Errors
    /// When its file cannot be made or locked.
    pub fn try_take(layout: &Layout, purpose: &Purpose) -> Result<Option<Self>> {
        let (path, file) = open(layout, purpose)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(StoreError::Io { path, source: errno.into() }),
        }
    }

    /// Takes the lock, however long another process holds it.
    ///
    /// # Errors
    /// When its file cannot be made or locked.
    pub fn take(layout: &Layout, purpose: &Purpose) -> Result<Self> {
        let (path, file) = open(layout, purpose)?;
        flock(&file, FlockOperation::LockExclusive)
            .map_err(|errno| StoreError::Io { path, source: io::Error::from(errno) })?;
        Ok(Self { _file: file })
    }
}

/// Who waits to write. SQLite lets waiters try again after pauses, in which an import that writes step after step would never
/// be seen idle: an edit says that it waits, and the import lets it go first.
pub struct Waiting {
    layout: Layout,
    /// The lock's file, from the first time on that this one asks.
    file: OnceCell<File>,
}

/// Says that an edit waits, until it is dropped.
pub struct Asking<'a>(&'a File);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        // Only a descriptor that is none makes it fail.
        let _ = flock(self.0, FlockOperation::Unlock);
    }
}

impl Waiting {
    /// Of a data folder.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), file: OnceCell::new() }
    }

    /// Says that an edit waits, until the answer is dropped.
    ///
    /// # Errors
    /// When the lock's file cannot be made.
    pub fn ask(&self) -> Result<Asking<'_>> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let (_, opened) = open(&self.layout, &Purpose::Edit)?;
                self.file.get_or_init(|| opened)
            }
        };
        flock(file, FlockOperation::LockExclusive).map_err(|errno| StoreError::Io {
            path: self.layout.dir().join(Purpose::Edit.file_name()),
            source: io::Error::from(errno),
        })?;
        Ok(Asking(file))
    }

    /// Whether an edit waits.
    #[must_use]
    pub fn is_anybody(&self) -> bool {
        matches!(Lock::try_take(&self.layout, &Purpose::Edit), Ok(None))
    }

    /// Lets the edits that wait go first.
    pub fn give_way(&self) {
        if self.is_anybody()
            && let Err(error) = self.ask()
        {
            tracing::debug!(%error, "the edits that wait cannot be known");
        }
    }
}

fn open(layout: &Layout, purpose: &Purpose) -> Result<(PathBuf, File)> {
    private_dir(layout.dir())?;
    let path = layout.dir().join(purpose.file_name());
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    match opened {
        Ok(file) => Ok((path, file)),
        Err(source) => Err(StoreError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_until_it_is_dropped_and_each_purpose_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let held = Lock::try_take(&layout, &Purpose::Follow).unwrap();
        assert!(held.is_some());
        assert!(Lock::try_take(&layout, &Purpose::Follow).unwrap().is_none());
        assert!(Lock::try_take(&layout, &Purpose::Import).unwrap().is_some());
        assert!(Lock::try_take(&layout, &Purpose::FollowNamed("0a".to_owned())).unwrap().is_some());
        drop(held);
        assert!(Lock::try_take(&layout, &Purpose::Follow).unwrap().is_some());
    }
}
