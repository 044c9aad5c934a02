//! The search index: the words of all turns, in a database file of its own beside the main one.
//!
//! It is derived, so it may lag behind, and be deleted or lost: it is made again from the turns. A transaction that writes
//! turns notes them in the table `unsearched`; [`SearchIndex::catch_up`] brings them in afterwards. In a file of its own it
//! never holds the main database's lock, and its words never lie between the pages that a mount reads.
//!
//! The table keeps no text: what was found is read from the turns. Beside a turn's words it has words that say what it is
//! ([`marks`]).

pub mod marks;
mod reader;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::checkpoint::Checkpointer;
use super::{BUSY_TIMEOUT, Layout, Result, StoreError, create_private_file};
pub use reader::{Completeness, SearchReader};

/// Of the file's tables. A file of another version is made again.
const VERSION: i64 = 2;

/// Bytes of text brought in by one transaction: what a crash makes read again, and about the memory that it takes. FTS5
/// writes one sorted run a transaction and merges runs, so that many small ones cost more than few large ones.
const STEP_BYTES: usize = 24 * 1024 * 1024;

/// Entries of `unsearched` looked at by one transaction.
const STEP_RUNS: i64 = 4096;

/// Entries of `unsearched` that are kept. An index that is further behind is made again.
const KEPT: i64 = 65_536;

const SCHEMA: &str = r#"
    CREATE VIRTUAL TABLE turns_fts USING fts5(
        text, tool_input, tool_output, marks,
        content = '', contentless_delete = 1, tokenize = "unicode61 remove_diacritics 2"
    );
    -- Words are gathered in memory up to this many bytes before they are written as one sorted run.
    INSERT INTO turns_fts(turns_fts, rank) VALUES ('hashsize', 50331648);
    -- database: which one it is of (when that was made); swept: all turns up to this row are in, NULL when all are;
    -- followed: the last entry of `unsearched` that is in.
    CREATE TABLE progress (database TEXT NOT NULL, swept INTEGER, followed INTEGER NOT NULL);
"#;

/// The search index, open for writing.
pub struct SearchIndex {
    conn: Connection,
    checkpointer: Checkpointer,
}

/// How far the index is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    swept: Option<i64>,
    followed: i64,
}

impl SearchIndex {
    /// Opens the index; makes it, empty, where it is missing, of another version or damaged. `turns` is the main database.
    ///
    /// # Errors
    /// When the file cannot be made or opened.
    pub fn open(layout: &Layout, turns: &Connection) -> Result<Self> {
        let path = layout.search_index();
        match Self::open_at(&path, turns) {
            Err(StoreError::Sqlite(error) | StoreError::Open { source: error, .. }) if is_damage(&error) => {
                tracing::warn!(%error, "the search index is damaged: it is made again");
                remove(&path)?;
                Self::open_at(&path, turns)
            }
            opened => opened,
        }
    }

    fn open_at(path: &Path, turns: &Connection) -> Result<Self> {
        create_private_file(path)?;
        let mut conn = Connection::open(path).map_err(|source| StoreError::Open { path: path.to_owned(), source })?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "NORMAL")?;
        conn.pragma_update(None, "cache_size", -16_384)?;
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if !is_of(&tx, turns)? {
            begin_anew(&tx, turns)?;
        }
        tx.commit()?;
        Ok(Self { conn, checkpointer: Checkpointer::new(path) })
    }

    /// The connection, for searching.
    #[must_use]
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    /// Throws away what is in the index: the next [`Self::catch_up`] reads all turns.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn reset(&mut self, turns: &Connection) -> Result<()> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        begin_anew(&tx, turns)?;
        tx.commit()?;
        Ok(())
    }

    /// Whether turns wait to be brought in.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn is_behind(&self, turns: &Connection) -> Result<bool> {
        let place = place(&self.conn)?;
        Ok(place.swept.is_some() || last_noted(turns)? > place.followed)
    }

    /// Brings in the turns that are missing, a step a transaction. `progress` is told how much of how much is done; `stop`
    /// ends it after a step, with `false`, and the rest waits.
    ///
    /// # Errors
    /// When SQLite cannot read or write.
    pub fn catch_up(
        &mut self,
        turns: &Connection,
        stop: &AtomicBool,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<bool> {
        match self.steps(turns, stop, progress) {
            Err(StoreError::Sqlite(error)) if is_damage(&error) => {
                tracing::warn!(%error, "the search index is damaged: it is made again");
                self.reset(turns)?;
                self.steps(turns, stop, progress)
            }
            done => done,
        }
    }

    fn steps(&mut self, turns: &Connection, stop: &AtomicBool, progress: &mut dyn FnMut(u64, u64)) -> Result<bool> {
        loop {
            // Others may do the same at the same time: each step begins where the index is, under its lock.
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let before = place(&tx)?;
            let after = match before.swept {
                Some(swept) => Place { swept: sweep(&tx, turns, swept)?, ..before },
                None => Place { followed: follow(&tx, turns, before.followed)?, ..before },
            };
            if after == before {
                return Ok(true);
            }
            tx.prepare_cached("UPDATE progress SET swept = ?1, followed = ?2")?
                .execute(params![after.swept, after.followed])?;
            tx.commit()?;
            self.checkpointer.committed();
            report(turns, after, progress)?;
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
        }
    }

    /// Whether the index agrees with itself.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn is_sound(&self) -> Result<bool> {
        match self.conn.execute_batch("INSERT INTO turns_fts(turns_fts, rank) VALUES ('integrity-check', 0)") {
            Ok(()) => Ok(true),
            Err(e) if is_damage(&e) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Turns that the index lacks though nothing waits to be brought in, or has though they are not there; counts alone are
    /// compared. `at_a_glance` counts ids in place of turns, of which there are fewer pages.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn difference(&self, turns: &Connection, at_a_glance: bool) -> Result<u64> {
        if self.is_behind(turns)? {
            return Ok(0);
        }
        // Forgotten turns are not in it.
        let counted = if at_a_glance {
            "SELECT (SELECT count(*) FROM turn_ids) - (SELECT coalesce(sum(forgotten_turns), 0) FROM sessions)"
        } else {
            "SELECT count(*) FROM turns WHERE role <> 0"
        };
        let stored: u64 = turns.query_row(counted, [], |r| r.get(0))?;
        let indexed: u64 = self.conn.query_row("SELECT count(*) FROM turns_fts_docsize", [], |r| r.get(0))?;
        Ok(stored.abs_diff(indexed))
    }
}

/// Whether the file's tables are of this version, of this very database, and not too far behind it to follow.
fn is_of(tx: &Connection, turns: &Connection) -> Result<bool> {
    let version: i64 = tx.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version != VERSION {
        return Ok(false);
    }
    let (database, followed): (String, i64) =
        tx.query_row("SELECT database, followed FROM progress", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let oldest: Option<i64> =
        turns.query_row("SELECT seq FROM unsearched ORDER BY seq LIMIT 1", [], |r| r.get(0)).optional()?;
    let lost = oldest.is_some_and(|oldest| oldest > followed + 1);
    // A copy from before what was followed: an older state was put back.
    let older = last_noted(turns)? < followed;
    Ok(database == database_id(turns)? && !lost && !older)
}

fn begin_anew(tx: &Connection, turns: &Connection) -> Result<()> {
    tx.execute_batch("DROP TABLE IF EXISTS turns_fts; DROP TABLE IF EXISTS progress;")?;
    tx.execute_batch(SCHEMA)?;
    // What is noted from here on is followed; everything else is swept up.
    tx.execute("INSERT INTO progress VALUES (?1, 0, ?2)", params![database_id(turns)?, last_noted(turns)?])?;
    tx.pragma_update(None, "user_version", VERSION)?;
    Ok(())
}

fn database_id(turns: &Connection) -> Result<String> {
    Ok(super::state(turns, "created_at")?.unwrap_or_default())
}

/// Notes turns as written, in runs of following rows.
pub(super) fn note(conn: &Connection, mut rows: Vec<i64>) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    rows.sort_unstable();
    rows.dedup();
    let mut insert = conn.prepare_cached("INSERT INTO unsearched(first_row, last_row) VALUES (?1, ?2)")?;
    for run in rows.chunk_by(|a, b| *b == *a + 1) {
        if let (Some(first), Some(last)) = (run.first(), run.last()) {
            insert.execute([first, last])?;
        }
    }
    conn.prepare_cached("DELETE FROM unsearched WHERE seq <= (SELECT max(seq) FROM unsearched) - ?1")?
        .execute([KEPT])?;
    Ok(())
}

/// What is brought in. CROSS keeps the order of the join: the turns as they lie.
const TURNS: &str = "SELECT t.row, t.text, t.tool_input, t.tool_output, t.role, s.agent, t.tool_name, t.model
    FROM turns t CROSS JOIN sessions s ON s.row = t.row >> 16";

/// Brings in turns in the order of their rows, from behind one on: the row it came to, `None` at the end.
fn sweep(tx: &Connection, turns: &Connection, after: i64) -> Result<Option<i64>> {
    let mut query = turns.prepare_cached(&format!("{TURNS} WHERE t.row > ?1 AND t.role <> 0 ORDER BY t.row"))?;
    let mut insert = inserting(tx)?;
    let mut rows = query.query([after])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += add(&mut insert, row)?;
        if bytes >= STEP_BYTES {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Brings in the turns noted behind an entry, anew where they were in; those that are gone are taken out. The entry it came to.
fn follow(tx: &Connection, turns: &Connection, after: i64) -> Result<i64> {
    let mut notes =
        turns.prepare_cached("SELECT seq, first_row, last_row FROM unsearched WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut remove = tx.prepare_cached("DELETE FROM turns_fts WHERE rowid BETWEEN ?1 AND ?2")?;
    let mut query =
        turns.prepare_cached(&format!("{TURNS} WHERE t.row BETWEEN ?1 AND ?2 AND t.role <> 0 ORDER BY t.row"))?;
    let mut insert = inserting(tx)?;
    let mut noted = notes.query([after, STEP_RUNS])?;
    let (mut followed, mut bytes) = (after, 0);
    while let Some(note) = noted.next()? {
        let (first, last): (i64, i64) = (note.get(1)?, note.get(2)?);
        remove.execute([first, last])?;
        let mut rows = query.query([first, last])?;
        while let Some(row) = rows.next()? {
            bytes += add(&mut insert, row)?;
        }
        followed = note.get(0)?;
        if bytes >= STEP_BYTES {
            break;
        }
    }
    Ok(followed)
}

fn inserting(tx: &Connection) -> Result<rusqlite::CachedStatement<'_>> {
    Ok(tx.prepare_cached(
        "INSERT INTO turns_fts(rowid, text, tool_input, tool_output, marks) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?)
}

/// Adds a row of `turns`; how many bytes of text it has.
fn add(insert: &mut rusqlite::CachedStatement<'_>, row: &rusqlite::Row<'_>) -> Result<usize> {
    let column = |n| row.get_ref(n).map(ToSqlOutput::Borrowed);
    let mut bytes = 0;
    for n in 1..=3 {
        if let ValueRef::Text(text) = row.get_ref(n)? {
            bytes += text.len();
        }
    }
    let name = |n| -> rusqlite::Result<Option<&str>> { Ok(row.get_ref(n)?.as_str_or_null()?) };
    let marks = marks::of_turn(row.get(4)?, name(5)?.unwrap_or_default(), name(6)?, name(7)?);
    insert.execute(params![column(0)?, column(1)?, column(2)?, column(3)?, marks])?;
    Ok(bytes)
}

fn place(conn: &Connection) -> Result<Place> {
    let mut query = conn.prepare_cached("SELECT swept, followed FROM progress")?;
    Ok(query.query_row([], |r| Ok(Place { swept: r.get(0)?, followed: r.get(1)? }))?)
}

fn last_noted(turns: &Connection) -> Result<i64> {
    let mut query = turns.prepare_cached("SELECT seq FROM unsearched ORDER BY seq DESC LIMIT 1")?;
    Ok(query.query_row([], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// A sweep is as far as the session it is at; what follows it is short.
fn report(turns: &Connection, place: Place, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let Some(swept) = place.swept else { return Ok(()) };
    let last: Option<i64> = turns
        .prepare_cached("SELECT row FROM turns ORDER BY row DESC LIMIT 1")?
        .query_row([], |r| r.get(0))
        .optional()?;
    progress((swept >> 16).cast_unsigned(), (last.unwrap_or(swept) >> 16).cast_unsigned());
    Ok(())
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn remove(path: &Path) -> Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::Io { path: name.into(), source });
            }
            _ => {}
        }
    }
    Ok(())
}
