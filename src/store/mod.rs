//! The SQLite database: connections, migrations, and one file of queries a table.
//!
//! Owns everything that is SQL. Knows the records of `model` and nothing of logs, trees or kernels. Writers go through
//! [`Writer`], one transaction at a time; readers through [`open_reader`], which never writes.

pub mod account;
pub mod awaited;
pub mod changes;
mod checkpoint;
pub mod commits;
pub mod conflicts;
pub mod drafts;
pub mod edits;
pub mod facets;
pub mod fetched;
pub mod forget;
pub mod former_names;
pub mod gathered;
pub mod git;
pub mod gone;
pub mod index;
pub mod kept;
mod known;
pub mod lock;
pub mod machines;
mod many;
pub mod marks;
pub mod objects;
pub mod outbox;
pub mod parked;
pub mod projects;
pub mod raw;
pub mod refused;
pub mod search;
pub mod searches;
pub mod sessions;
pub mod sources;
pub mod stats;
pub mod told;
pub mod trash;
pub mod turns;
pub mod unknown;
pub mod visuals;
pub mod weeks;

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rusqlite_migration::{M, Migrations};

use self::checkpoint::Checkpointer;
pub use self::checkpoint::log_of;
use self::known::Known;
use self::raw::Packer;

pub use changes::{Change, ChangeKind, ChangeSet};

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("a log could not be read again: {0}")]
    Source(#[from] io::Error),
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("database {}: {source}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("database {}: this version of cogfs cannot bring it up to date: {source}", path.display())]
    Migration { path: PathBuf, source: rusqlite_migration::Error },
    #[error(
        "database {} was made by a newer cogfs (its schema is version {found}, this program knows {known}): \
         install the newer cogfs, or use another COGFS_HOME",
        path.display()
    )]
    TooNew { path: PathBuf, found: usize, known: usize },
    #[error("another cogfs command has been writing to {} for more than a minute: wait for it or stop it", path.display())]
    Locked { path: PathBuf },
    #[error("database: {what} is damaged: run `cogfs doctor`")]
    Damaged { what: String },
}

/// A shorthand for this module's results.
pub type Result<T> = std::result::Result<T, StoreError>;

const MIGRATIONS: &[M<'static>] = &[M::up(include_str!("../../migrations/local/0001_initial.sql"))];

/// The schema version this program writes.
pub const SCHEMA_VERSION: usize = MIGRATIONS.len();

/// How long a writer waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a writer that a person waits for tries again.
const URGENT_PAUSE: Duration = Duration::from_millis(1);

/// A folder that holds a database and its blobs.
#[derive(Debug, Clone)]
pub struct Layout {
    data: PathBuf,
}

impl Layout {
    /// The layout of a data folder.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into() }
    }

    /// The data folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.data
    }

    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data.join("cogfs.db")
    }

    /// The search index, which is made again when it is missing.
    #[must_use]
    pub fn search_index(&self) -> PathBuf {
        self.data.join("search.db")
    }

    /// The folder of content-addressed files.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.data.join("blobs")
    }

    /// Where a blob lies. `sha256` is lower-case hex as [`visuals`] makes it, never text from outside.
    #[must_use]
    pub fn blob(&self, sha256: &str) -> PathBuf {
        let fan = sha256.get(..2).unwrap_or("00");
        self.blobs().join(fan).join(sha256)
    }
}

/// Creates a folder that only its owner may enter.
///
/// # Errors
/// When the folder can neither be made nor is there already.
pub fn private_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

/// The longest name of a file, in bytes.
const NAME_BYTES: usize = 255;

/// A name with a suffix, short enough for a name.
fn cut_name(text: &str, suffix: &str) -> String {
    let room = NAME_BYTES.saturating_sub(suffix.len());
    let end = (0..=room.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{suffix}", &text[..end])
}

/// What an edit is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EntityKind {
    Project = 1,
    Commit = 2,
    Session = 3,
    Turn = 4,
}

impl EntityKind {
    /// The word in messages and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Commit => "commit",
            Self::Session => "session",
            Self::Turn => "turn",
        }
    }

    /// Reads the number back.
    #[must_use]
    pub fn from_i64(value: i64) -> Option<Self> {
        [Self::Project, Self::Commit, Self::Session, Self::Turn].into_iter().find(|k| *k as i64 == value)
    }
}

/// The one connection of a process that writes.
pub struct Writer {
    conn: Connection,
    layout: Layout,
    packer: RefCell<Packer>,
    checkpointer: RefCell<Checkpointer>,
    /// See [`gathered`].
    gathered: Cell<Option<u64>>,
    known: RefCell<Known>,
    waiting: lock::Waiting,
}

impl Writer {
    /// Opens the database for writing; makes it, and brings it up to date, where needed.
    ///
    /// # Errors
    /// When the folder or file cannot be made or opened, or was made by a newer program.
    pub fn open(layout: &Layout) -> Result<Self> {
        private_dir(layout.dir())?;
        private_dir(&layout.blobs())?;
        let path = layout.database();
        create_private_file(&path)?;
        let mut conn = Connection::open(&path).map_err(|source| StoreError::Open { path: path.clone(), source })?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        // WAL lets mounts read while an import writes; NORMAL is safe against a crash of the process, and loses at most the
        // last imports (which can be repeated) when the machine itself dies.
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "foreign_keys", "ON")?;
        keep_plans(&conn)?;
        conn.pragma_update(None, "cache_size", -32_768)?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.pragma_update(None, "journal_size_limit", checkpoint::LONG)?;
        let checkpointer = RefCell::new(Checkpointer::new(&path));
        conn.set_prepared_statement_cache_capacity(128);
        migrate(&mut conn, &path)?;
        Ok(Self {
            conn,
            layout: layout.clone(),
            packer: RefCell::new(Packer::start()),
            checkpointer,
            gathered: Cell::new(None),
            known: RefCell::new(Known::default()),
            waiting: lock::Waiting::new(layout),
        })
    }

    /// Waits no longer than this for another process's transaction, in place of a minute.
    ///
    /// # Errors
    /// When SQLite refuses.
    pub fn set_patience(&mut self, patience: Duration) -> Result<()> {
        Ok(self.conn.busy_timeout(patience)?)
    }

    /// Where the database and its blobs lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The connection, for reading and for maintenance.
    #[must_use]
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Begins a write transaction. Dropping it rolls back.
    ///
    /// # Errors
    /// When another process keeps the database locked for longer than a minute.
    pub fn begin(&mut self) -> Result<Transaction<'_>> {
        let path = self.layout.database();
        let layout = self.layout.clone();
        self.waiting.give_way();
        begin_immediate(&self.conn).map_err(|e| locked(e, path))?;
        self.transaction(layout)
    }

    /// Begins a write transaction that a person waits for: a long import of another process or thread makes room for it.
    ///
    /// # Errors
    /// When another process keeps the database locked for longer than a minute.
    pub fn begin_urgent(&mut self, survives: Survives) -> Result<Transaction<'_>> {
        let (path, layout) = (self.layout.database(), self.layout.clone());
        self.conn.pragma_update(None, "synchronous", survives.synchronous())?;
        let _asking = self.waiting.ask()?;
        // The import ends its transaction within a step; SQLite's own waiting would sleep through that.
        self.conn.busy_handler(Some(|tried| {
            std::thread::sleep(URGENT_PAUSE);
            u128::from(tried.unsigned_abs()) * URGENT_PAUSE.as_millis() < BUSY_TIMEOUT.as_millis()
        }))?;
        let begun = begin_immediate(&self.conn).map_err(|e| locked(e, path));
        self.conn.busy_timeout(BUSY_TIMEOUT)?;
        begun?;
        self.transaction(layout)
    }

    fn transaction(&self, layout: Layout) -> Result<Transaction<'_>> {
        let tx = Transaction {
            conn: &self.conn,
            packer: &self.packer,
            checkpointer: &self.checkpointer,
            gathered: &self.gathered,
            known: &self.known,
            waiting: &self.waiting,
            layout,
            changes: ChangeSet::default(),
            written_turns: Vec::new(),
            insert_turn: turns::Insert::default(),
            open: true,
        };
        // Where this fails the transaction is dropped, and rolled back.
        tx.known.borrow_mut().begin(tx.conn)?;
        Ok(tx)
    }
}

fn begin_immediate(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch("BEGIN IMMEDIATE")
}

fn locked(e: rusqlite::Error, path: PathBuf) -> StoreError {
    if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) {
        StoreError::Locked { path }
    } else {
        StoreError::Sqlite(e)
    }
}

/// What a commit is safe from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    /// The end of this process, however it comes: as a `write` to a file.
    Process,
    /// That of the machine too: as an `fsync`.
    Machine,
}

impl Survives {
    fn synchronous(self) -> &'static str {
        match self {
            Self::Process => "NORMAL",
            Self::Machine => "FULL",
        }
    }
}

/// A write transaction: the changes it makes to the tree are announced in the feed when it commits.
pub struct Transaction<'conn> {
    conn: &'conn Connection,
    packer: &'conn RefCell<Packer>,
    checkpointer: &'conn RefCell<Checkpointer>,
    gathered: &'conn Cell<Option<u64>>,
    known: &'conn RefCell<Known>,
    waiting: &'conn lock::Waiting,
    layout: Layout,
    /// What a mount must be told.
    pub changes: ChangeSet,
    /// Rows of the turns written, for the search index.
    written_turns: Vec<i64>,
    /// See [`turns::create`].
    insert_turn: turns::Insert<'conn>,
    open: bool,
}

impl Transaction<'_> {
    /// Where the database and its blobs lie.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Puts blobs elsewhere: for a trial whose transaction is never committed.
    pub fn set_layout(&mut self, layout: Layout) {
        self.layout = layout;
    }

    /// Writes the change feed and commits.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn commit(mut self) -> Result<()> {
        self.finish()
    }

    /// Whether somebody waits to write: long work had better end this step.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.waiting.is_anybody()
    }

    /// Commits and begins the next one: the end of a step of long work.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn commit_and_go_on(mut self) -> Result<Self> {
        self.finish()?;
        self.waiting.give_way();
        begin_immediate(self.conn).map_err(|e| locked(e, self.layout.database()))?;
        self.open = true;
        self.known.borrow_mut().begin(self.conn)?;
        Ok(self)
    }

    fn finish(&mut self) -> Result<()> {
        raw::settle(self)?;
        gathered::move_when_many(self.conn, self.written_turns.len() as u64, self.gathered)?;
        told::turns_written(self.conn, &self.written_turns)?;
        search::note(self.conn, std::mem::take(&mut self.written_turns))?;
        self.changes.write(self.conn)?;
        self.conn.execute_batch("COMMIT")?;
        self.open = false;
        self.checkpointer.borrow_mut().committed();
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.open {
            self.packer.borrow_mut().forget();
            // A failure leaves the transaction to the closing of the connection, which rolls it back too.
            if let Err(error) = self.conn.execute_batch("ROLLBACK") {
                tracing::debug!(%error, "rollback");
            }
        }
    }
}

impl std::ops::Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.conn
    }
}

/// Opens the database for reading only. The file must be there and up to date.
///
/// # Errors
/// When it is missing, unreadable, or of another schema version.
pub fn open_reader(layout: &Layout) -> Result<Connection> {
    let path = layout.database();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn =
        Connection::open_with_flags(&path, flags).map_err(|source| StoreError::Open { path: path.clone(), source })?;
    conn.busy_timeout(Duration::from_secs(5))?;
    keep_plans(&conn)?;
    conn.pragma_update(None, "cache_size", -2048)?;
    conn.set_prepared_statement_cache_capacity(64);
    let found: usize = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { path, found, known: SCHEMA_VERSION });
    }
    Ok(conn)
}

/// Whether a database has the schema of this program. What a reader finds otherwise needs a [`Writer`] first.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_current(conn: &Connection) -> Result<bool> {
    let found: usize = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
    Ok(found == SCHEMA_VERSION)
}

/// Statements keep the plan they were prepared with. Otherwise SQLite prepares one again whenever a parameter it looked at (as
/// in `LIMIT ?3`) has another value, which took a fourteenth of the time of a walk over a mount.
fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn create_private_file(path: &Path) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map(drop).map_err(|source| StoreError::Io { path: path.to_owned(), source })
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<()> {
    let found: usize = conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if found > SCHEMA_VERSION {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known: SCHEMA_VERSION });
    }
    Migrations::from_slice(MIGRATIONS)
        .to_latest(conn)
        .map_err(|source| StoreError::Migration { path: path.to_owned(), source })
}

/// Reads a value of the `state` table.
///
/// # Errors
/// When SQLite cannot read.
pub fn state(conn: &Connection, key: &str) -> Result<Option<String>> {
    let mut query = conn.prepare_cached("SELECT value FROM state WHERE key = ?1")?;
    Ok(query.query_row([key], |r| r.get(0)).optional()?)
}

/// Writes a value of the `state` table.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_state(conn: &Connection, key: &str, value: &str) -> Result<()> {
    conn.prepare_cached("INSERT INTO state(key, value) VALUES (?1, ?2) ON CONFLICT(key) DO UPDATE SET value = ?2")?
        .execute(params![key, value])?;
    Ok(())
}

/// A list kept in one JSON column; a damaged one reads as empty.
fn json_list(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

fn to_json_list(list: &[String]) -> String {
    // Strings are always JSON.
    serde_json::to_string(list).unwrap_or_default()
}

/// Ids are stored as 16 bytes.
fn id_column(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<crate::model::Id> {
    let bytes: [u8; 16] = row.get(column)?;
    Ok(crate::model::Id(bytes))
}
