//! Sessions whose contents were fetched: what they take, and when they were used last.

use rusqlite::{Connection, params};

use super::{Result, Transaction};
use crate::model::Millis;

/// A session whose contents are a copy of what the cloud has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    pub session_row: i64,
    pub bytes: u64,
    pub used_at: Millis,
}

/// Notes that the contents of a session were fetched.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, fetched: &Fetched) -> Result<()> {
    tx.prepare_cached("INSERT OR REPLACE INTO fetched_sessions(session_row, bytes, used_at) VALUES (?1, ?2, ?3)")?
        .execute(params![fetched.session_row, fetched.bytes, fetched.used_at.0])?;
    Ok(())
}

/// Notes that sessions were read; what was not fetched is left out.
///
/// # Errors
/// When SQLite cannot write.
pub fn used(tx: &Transaction<'_>, sessions: &[i64], at: Millis) -> Result<()> {
    let mut update =
        tx.prepare_cached("UPDATE fetched_sessions SET used_at = max(used_at, ?2) WHERE session_row = ?1")?;
    for row in sessions {
        update.execute([*row, at.0])?;
    }
    Ok(())
}

/// What was fetched and can be given back: no edit of it waits.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Fetched>> {
    let mut query = conn.prepare_cached(
        "SELECT f.session_row, f.bytes, f.used_at FROM fetched_sessions f JOIN sessions s ON s.row = f.session_row
         WHERE s.contents = 2 AND NOT EXISTS (
             SELECT 1 FROM sync_queue q WHERE q.kind = 3 AND q.entity_row = s.row
                 OR q.kind = 4 AND q.entity_row BETWEEN s.row << 16 AND (s.row << 16) + 65535)",
    )?;
    let rows = query
        .query_map([], |r| Ok(Fetched { session_row: r.get(0)?, bytes: r.get(1)?, used_at: Millis(r.get(2)?) }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// What all copies take.
///
/// # Errors
/// When SQLite cannot read.
pub fn bytes(conn: &Connection) -> Result<u64> {
    let mut query = conn.prepare_cached("SELECT coalesce(sum(bytes), 0) FROM fetched_sessions")?;
    Ok(query.query_row([], |r| r.get(0))?)
}

/// Removes the note of a session.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &Transaction<'_>, session_row: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM fetched_sessions WHERE session_row = ?1")?.execute([session_row])?;
    Ok(())
}

/// Nothing that was fetched is given back from here on.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep_all(tx: &Transaction<'_>) -> Result<()> {
    Ok(tx.execute_batch("DELETE FROM fetched_sessions; DELETE FROM objects;")?)
}
