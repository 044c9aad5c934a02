//! Opening another program's database without leaving a trace.
//!
//! A read-only connection sees what a writer has put into the write-ahead log, as long as the log's two files are there. Where
//! they are not, SQLite would make them: a database that nobody has open is read as one that cannot change instead, and what
//! stands in a log that cannot be opened where it is, is read from a copy.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::failed;
use crate::ingest::source::Stamp;

/// How long a lock of the writer is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// How often a copy is made of a database that is written to meanwhile.
const COPIES: usize = 3;

/// `opencode.db`, and `opencode-<channel>.db` of other builds.
#[must_use]
pub fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".db").unwrap_or_default();
    stem == "opencode" || stem.strip_prefix("opencode-").is_some_and(|channel| !channel.is_empty())
}

/// Whether a file is a SQLite database, by its first bytes. Files with the names of JSON logs are not opened for it.
#[must_use]
pub fn is_one(path: &Path) -> bool {
    let is_json = path.extension().is_some_and(|e| ["json", "jsonl", "zst"].iter().any(|json| e == *json));
    !is_json && header(path).is_some_and(|header| header.starts_with(b"SQLite format 3\0"))
}

fn header(path: &Path) -> Option<[u8; 20]> {
    let mut header = [0; 20];
    File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok().map(|()| header)
}

/// Size and time of a database and its log: while both stay, nothing was written.
///
/// # Errors
/// When the database is gone.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let mut stamp = Stamp::of(&fs::metadata(path)?);
    if let Ok(log) = fs::metadata(beside(path, "-wal")) {
        let log = Stamp::of(&log);
        stamp = Stamp { size: stamp.size.saturating_add(log.size), mtime_ns: stamp.mtime_ns.max(log.mtime_ns) };
    }
    Ok(stamp)
}

/// A connection, and how it was made.
pub(super) struct Opened {
    path: PathBuf,
    conn: Connection,
    /// The file's stamp, when it is read as one that does not change.
    frozen: Option<Stamp>,
    /// Holds the copy that is read.
    _copy: Option<TempDir>,
}

impl Opened {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let logged = header(path).is_some_and(|header| header[18] == 2 || header[19] == 2);
        let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
        if logged && !log.exists() {
            let frozen = Some(Stamp::of(&fs::metadata(path)?));
            let conn = connect(path, "immutable=1").map_err(failed)?;
            return Ok(Self { path: path.to_owned(), conn, frozen, _copy: None });
        }
        if !logged || index.exists() {
            match connect(path, "mode=ro") {
                Ok(conn) => return Ok(Self { path: path.to_owned(), conn, frozen: None, _copy: None }),
                Err(e) if !is_about_files(&e) => return Err(failed(e)),
                Err(_) => {}
            }
        }
        let (copy, path_of_copy) = copy(path)?;
        // The copy is ours: its log is taken in like after a crash.
        let conn = connect(&path_of_copy, "mode=rw").map_err(failed)?;
        Ok(Self { path: path.to_owned(), conn, frozen: None, _copy: Some(copy) })
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Connects again when a writer came to a database that nobody had open.
    pub(super) fn refresh(&mut self) -> io::Result<()> {
        if self.frozen.is_some() && beside(&self.path, "-wal").exists() {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    /// Says whether what was just read was one state of the database.
    pub(super) fn check(&self) -> io::Result<()> {
        match self.frozen {
            Some(stamp) if Stamp::of(&fs::metadata(&self.path)?) != stamp => {
                Err(io::Error::other("it was written to while it was read: import again"))
            }
            _ => Ok(()),
        }
    }
}

fn connect(path: &Path, how: &str) -> rusqlite::Result<Connection> {
    let uri = format!("file:{}?{how}", quoted(path));
    let access = if how == "mode=rw" { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let flags = access | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(uri, flags)?;
    conn.busy_timeout(BUSY)?;
    // The schema is another's: nothing in it is run.
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(conn)
}

/// Whether SQLite could not use the files beside the database.
fn is_about_files(e: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, PermissionDenied, ReadOnly, SystemIoFailure};
    matches!(e.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly | SystemIoFailure))
}

/// Copies a database and its log to a folder of our own.
fn copy(path: &Path) -> io::Result<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let to = dir.path().join("copy.db");
    for _ in 0..COPIES {
        let before = stamp(path)?;
        fs::copy(path, &to)?;
        for end in ["-wal", "-journal"] {
            match fs::copy(beside(path, end), beside(&to, end)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        if stamp(path)? == before {
            return Ok((dir, to));
        }
    }
    Err(io::Error::other("it is written to all the time and cannot be read where it is: import again later"))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// A path as a part of a URI.
fn quoted(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}
