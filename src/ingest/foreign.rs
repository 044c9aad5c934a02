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

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::source::Stamp;

/// How long a lock of the writer is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// How often a copy is made of a database that is written to meanwhile.
const COPIES: usize = 3;

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

/// Whether what cannot be read in its place may be read from a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MayCopy {
    Yes,
    No,
}

/// A connection, and how it was made.
pub struct Opened {
    path: PathBuf,
    conn: Connection,
    /// The file's stamp, when it is read as one that does not change.
    frozen: Option<Stamp>,
    /// Holds the copy that is read.
    _copy: Option<TempDir>,
    /// Bytes of its log that could not be read, because no copy was to be made.
    unread: u64,
}

impl Opened {
    /// Opens a database for reading; from a copy where it cannot be read in its place.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path, MayCopy::Yes)
    }

    /// Opens a database that holds secrets, of which no copy is made: what a crashed writer left in its log is then not read
    /// ([`Opened::unread`]).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open_in_place(path: &Path) -> io::Result<Self> {
        Self::open_as(path, MayCopy::No)
    }

    fn open_as(path: &Path, may_copy: MayCopy) -> io::Result<Self> {
        let logged = header(path).is_some_and(|header| header[18] == 2 || header[19] == 2);
        let (log, index) = (beside(path, "-wal"), beside(path, "-shm"));
        if logged && !log.exists() {
            let frozen = Some(Stamp::of(&fs::metadata(path)?));
            let conn = connect(path, "immutable=1").map_err(failed)?;
            return Ok(Self { path: path.to_owned(), conn, frozen, _copy: None, unread: 0 });
        }
        if !logged || index.exists() {
            match connect(path, "mode=ro") {
                Ok(conn) => return Ok(Self { path: path.to_owned(), conn, frozen: None, _copy: None, unread: 0 }),
                Err(e) if !is_about_files(&e) => return Err(failed(e)),
                Err(_) => {}
            }
        }
        if may_copy == MayCopy::No {
            let frozen = Some(Stamp::of(&fs::metadata(path)?));
            let conn = connect(path, "immutable=1").map_err(failed)?;
            let unread = fs::metadata(&log).map_or(0, |log| log.len());
            return Ok(Self { path: path.to_owned(), conn, frozen, _copy: None, unread });
        }
        let (copy, path_of_copy) = copy(path)?;
        // The copy is ours: its log is taken in like after a crash.
        let conn = connect(&path_of_copy, "mode=rw").map_err(failed)?;
        Ok(Self { path: path.to_owned(), conn, frozen: None, _copy: Some(copy), unread: 0 })
    }

    /// The connection.
    #[must_use]
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Bytes of its log that were not read.
    #[must_use]
    pub fn unread(&self) -> u64 {
        self.unread
    }

    /// Connects again when a writer came to a database that nobody had open.
    ///
    /// # Errors
    /// When it cannot be read any more.
    pub fn refresh(&mut self) -> io::Result<()> {
        if self.frozen.is_some() && self.unread == 0 && beside(&self.path, "-wal").exists() {
            *self = Self::open(&self.path)?;
        }
        Ok(())
    }

    /// Says whether what was just read was one state of the database.
    ///
    /// # Errors
    /// When it was not.
    pub fn check(&self) -> io::Result<()> {
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

/// The columns of a table; none where there is no such table.
pub(super) fn columns(conn: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut query = conn.prepare("SELECT name FROM pragma_table_info(?1)")?;
    query.query_map([table], |r| r.get(0))?.collect()
}

/// A cell that should hold a text.
pub(super) fn text(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(at)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Null => String::new(),
    })
}

/// What SQLite says, for people.
pub(super) fn failed(e: rusqlite::Error) -> io::Error {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DatabaseLocked, NotADatabase};
    match e.sqlite_error_code() {
        Some(DatabaseBusy | DatabaseLocked) => {
            io::Error::other(format!("the database is in use by another program ({e}): import again later"))
        }
        Some(DatabaseCorrupt | NotADatabase) => io::Error::other(format!("the database is damaged: {e}")),
        _ => io::Error::other(e.to_string()),
    }
}
