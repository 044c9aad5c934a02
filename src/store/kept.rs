//! Conversations that a `.cogfsignore` keeps on this machine.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::{Result, Transaction};

/// A session that could leave, with what it may be named by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub row: i64,
    pub parent: Option<i64>,
    /// The folder it was in.
    pub cwd: Option<String>,
    /// One of the files that it was read from; a session may be there once for each.
    pub log: Option<String>,
}

/// The sessions that were read from a log of this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn candidates(conn: &Connection) -> Result<Vec<Candidate>> {
    let mut query = conn.prepare_cached(
        "SELECT s.row, s.parent_row, s.cwd, f.path FROM sessions s
             LEFT JOIN sources f ON f.agent = s.agent AND f.native_id = s.native_id
         WHERE s.contents = 0 AND s.forgotten = 0",
    )?;
    let rows =
        query.query_map([], |r| Ok(Candidate { row: r.get(0)?, parent: r.get(1)?, cwd: r.get(2)?, log: r.get(3)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The rows of those that stay.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<BTreeSet<i64>> {
    let mut query = conn.prepare_cached("SELECT session_row FROM kept_sessions")?;
    Ok(query.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Whether a session stays.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_kept(conn: &Connection, session_row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM kept_sessions WHERE session_row = ?1")?.exists([session_row])?)
}

/// Says which stay from now on.
///
/// # Errors
/// When SQLite cannot write.
pub fn replace(tx: &Transaction<'_>, rows: &BTreeSet<i64>) -> Result<()> {
    tx.execute("DELETE FROM kept_sessions", [])?;
    let mut insert = tx.prepare_cached("INSERT INTO kept_sessions(session_row) VALUES (?1)")?;
    for row in rows {
        insert.execute([row])?;
    }
    Ok(())
}
