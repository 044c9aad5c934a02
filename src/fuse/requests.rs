//! Counts of the requests the kernel sent, by kind: what a warm pass over the tree costs is exactly these numbers.
//!
//! Owns the counters and the file they can be written to. Does no FUSE.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How many requests of each kind a mount has answered since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RequestCounts {
    pub lookup: u64,
    pub getattr: u64,
    pub readdir: u64,
    pub readdirplus: u64,
    pub read: u64,
    pub readlink: u64,
    pub open: u64,
    pub opendir: u64,
    pub flush: u64,
    pub statfs: u64,
    pub getxattr: u64,
    pub write: u64,
    pub setattr: u64,
    pub create: u64,
    pub unlink: u64,
    pub rename: u64,
    pub fsync: u64,
    pub other: u64,
    /// Nodes forgotten, not messages: the kernel forgets in batches. Nobody waits for these.
    pub forget: u64,
    /// Files pushed into the page cache ahead of their readers: no requests at all.
    pub stored: u64,
}

impl RequestCounts {
    /// Requests that a program waited for: all but `forget` and `stored`.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self {
            lookup,
            getattr,
            readdir,
            readdirplus,
            read,
            readlink,
            open,
            opendir,
            flush,
            statfs,
            getxattr,
            write,
            setattr,
            create,
            unlink,
            rename,
            fsync,
            other,
            forget: _,
            stored: _,
        } = *self;
        let reading = lookup + getattr + readdir + readdirplus + read + readlink + open + opendir + flush + statfs;
        reading + getxattr + write + setattr + create + unlink + rename + fsync + other
    }
}

/// The kind of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Lookup,
    Getattr,
    Readdir,
    Readdirplus,
    Read,
    Readlink,
    Open,
    Opendir,
    Flush,
    Statfs,
    Getxattr,
    Write,
    Setattr,
    /// Files, directories and links.
    Create,
    /// The same.
    Unlink,
    Rename,
    /// Files and directories.
    Fsync,
    Other,
    Forget,
    Stored,
}

const KINDS: usize = Kind::Stored as usize + 1;

/// The counters of one mount, shared by its threads.
#[derive(Debug, Default)]
pub(super) struct Counters([AtomicU64; KINDS]);

impl Counters {
    pub(super) fn count(&self, kind: Kind) {
        // Relaxed: the counters order nothing else.
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> RequestCounts {
        let get = |kind: Kind| self.0[kind as usize].load(Ordering::Relaxed);
        RequestCounts {
            lookup: get(Kind::Lookup),
            getattr: get(Kind::Getattr),
            readdir: get(Kind::Readdir),
            readdirplus: get(Kind::Readdirplus),
            read: get(Kind::Read),
            readlink: get(Kind::Readlink),
            open: get(Kind::Open),
            opendir: get(Kind::Opendir),
            flush: get(Kind::Flush),
            statfs: get(Kind::Statfs),
            getxattr: get(Kind::Getxattr),
            write: get(Kind::Write),
            setattr: get(Kind::Setattr),
            create: get(Kind::Create),
            unlink: get(Kind::Unlink),
            rename: get(Kind::Rename),
            fsync: get(Kind::Fsync),
            other: get(Kind::Other),
            forget: get(Kind::Forget),
            stored: get(Kind::Stored),
        }
    }
}

/// Replaces `path` by the counts as JSON, so that a reader never sees half a file.
pub(super) fn write(path: &Path, counts: &RequestCounts) -> io::Result<()> {
    let mut text = serde_json::to_vec(counts)?;
    text.push(b'\n');
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_counter_and_what_nobody_waits_for_is_not_in_the_total() {
        let counters = Counters::default();
        counters.count(Kind::Lookup);
        counters.count(Kind::Read);
        counters.count(Kind::Read);
        counters.count(Kind::Other);
        counters.count(Kind::Forget);
        counters.count(Kind::Stored);
        let counts = counters.snapshot();
        let expected = RequestCounts { lookup: 1, read: 2, other: 1, forget: 1, stored: 1, ..RequestCounts::default() };
        assert_eq!(counts, expected);
        assert_eq!(counts.total(), 4);
    }

    #[test]
    fn written_counts_replace_the_former_file_and_leave_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("requests.json");
        write(&path, &RequestCounts::default()).unwrap();
        write(&path, &RequestCounts { read: 7, ..RequestCounts::default() }).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["read"], 7);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
