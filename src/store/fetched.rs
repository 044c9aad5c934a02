//! Sessions whose contents were fetched: what they take, and when they were used last.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Transaction, id_column};
use crate::model::{Id, Millis};

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

/// Whether an edit of a session, or of a turn of it, waits to be sent.
///
/// # Errors
/// When SQLite cannot read.
pub fn edit_waits(conn: &Connection, session_row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM sync_queue WHERE kind = 3 AND entity_row = ?1
             OR kind = 4 AND entity_row BETWEEN ?1 << 16 AND (?1 << 16) + 65535",
    )?;
    Ok(query.exists([session_row])?)
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

/// A session that is elsewhere, and about what its contents take on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub id: Id,
    pub bytes: u64,
}

/// Which way to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Later,
    Earlier,
}

/// What a session takes on the wire: records are compressed, some five to one.
const BYTES: &str = "s.section_bytes + s.raw_bytes / 5";

fn neighbour(row: &rusqlite::Row<'_>) -> rusqlite::Result<Neighbour> {
    Ok(Neighbour { id: id_column(row, 0)?, bytes: row.get::<_, i64>(1)?.max(0).cast_unsigned() })
}

/// A session that is elsewhere.
///
/// # Errors
/// When SQLite cannot read.
pub fn sized(conn: &Connection, id: &Id) -> Result<Option<Neighbour>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT s.id, {BYTES} FROM sessions s WHERE s.id = ?1 AND s.contents = 1"))?;
    Ok(query.query_row([id.0], neighbour).optional()?)
}

/// The sessions of a session's project that are elsewhere, from that one on in the order of their commits.
///
/// # Errors
/// When SQLite cannot read.
pub fn neighbours(conn: &Connection, id: &Id, way: Way, limit: usize) -> Result<Vec<Neighbour>> {
    let (behind, order) = match way {
        Way::Later => (">", "ASC"),
        Way::Earlier => ("<", "DESC"),
    };
    let mut query = conn.prepare_cached(&format!(
        "SELECT s.id, {BYTES}
         FROM sessions o JOIN cognitive_commits p ON p.row = o.commit_row
             JOIN cognitive_commits c ON c.project_row = p.project_row JOIN sessions s ON s.commit_row = c.row
         WHERE o.id = ?1 AND c.deleted_at IS NULL AND s.contents = 1
             AND (c.started_at, c.row, s.ordinal, s.row) {behind} (p.started_at, p.row, o.ordinal, o.row)
         ORDER BY c.started_at {order}, c.row {order}, s.ordinal {order}, s.row {order} LIMIT ?2"
    ))?;
    Ok(query.query_map(params![id.0, limit], neighbour)?.collect::<rusqlite::Result<_>>()?)
}
