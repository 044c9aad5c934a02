//! The files read, and how far: what makes a second import cost nothing and a grown log cost only what is new.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension, params};

use super::Result;
use crate::model::{Agent, Millis};

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub path: String,
    pub agent: Agent,
    pub native_id: String,
    pub size: u64,
    pub mtime_ns: i64,
    /// Everything before it was read.
    pub offset: u64,
    pub line: u64,
    pub prefix_hash: Vec<u8>,
    /// JSON: what the parser and the assembler must remember.
    pub state: String,
    /// Records skipped in it so far.
    pub skipped: u64,
}

/// Finds a file.
///
/// # Errors
/// When SQLite cannot read.
pub fn find(conn: &Connection, path: &str) -> Result<Option<Source>> {
    let mut query = conn.prepare_cached(
        "SELECT path, agent, native_id, size, mtime_ns, offset, line, prefix_hash, state, skipped
         FROM sources WHERE path = ?1",
    )?;
    let source = query
        .query_row([path], |r| {
            let agent: String = r.get(1)?;
            Ok(Source {
                path: r.get(0)?,
                // An agent that only a newer program knows: its files are not ours to read.
                agent: Agent::parse(&agent).ok_or(rusqlite::Error::InvalidQuery)?,
                native_id: r.get(2)?,
                size: r.get(3)?,
                mtime_ns: r.get(4)?,
                offset: r.get(5)?,
                line: r.get(6)?,
                prefix_hash: r.get(7)?,
                state: r.get(8)?,
                skipped: r.get(9)?,
            })
        })
        .optional()?;
    Ok(source)
}

/// Size and time of every file as it was read last.
///
/// # Errors
/// When SQLite cannot read.
pub fn stamps(conn: &Connection) -> Result<HashMap<PathBuf, (u64, i64)>> {
    let mut query = conn.prepare("SELECT path, size, mtime_ns FROM sources")?;
    let found = query.query_map([], |r| Ok((PathBuf::from(r.get::<_, String>(0)?), (r.get(1)?, r.get(2)?))))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Whether a session was read from another file too. Uses `sources_by_session`.
///
/// # Errors
/// When SQLite cannot read.
pub fn has_other(conn: &Connection, agent: Agent, native_id: &str, path: &str) -> Result<bool> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM sources WHERE agent = ?1 AND native_id = ?2 AND path <> ?3 LIMIT 1")?;
    Ok(query.exists(params![agent.as_str(), native_id, path])?)
}

/// What is known of the other files that a session was read from: their paths and states.
///
/// # Errors
/// When SQLite cannot read.
pub fn others(conn: &Connection, agent: Agent, native_id: &str, path: &str) -> Result<Vec<(String, String)>> {
    // Index: sources_by_session.
    let mut query =
        conn.prepare_cached("SELECT path, state FROM sources WHERE agent = ?1 AND native_id = ?2 AND path <> ?3")?;
    let found = query.query_map(params![agent.as_str(), native_id, path], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// The sizes of what was read whole of an agent's sessions: of one in a collection, the hash of what it says.
///
/// # Errors
/// When SQLite cannot read.
pub fn sizes_of(conn: &Connection, agent: Agent) -> Result<HashSet<u64>> {
    // Index: sources_by_session.
    let mut query = conn.prepare("SELECT size FROM sources WHERE agent = ?1 AND mtime_ns <> 0")?;
    let found = query.query_map([agent.as_str()], |r| r.get(0))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Writes what is known of a file.
///
/// # Errors
/// When SQLite cannot write.
pub fn save(conn: &Connection, source: &Source) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sources(path, agent, native_id, size, mtime_ns, offset, line, prefix_hash, state, skipped, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT(path) DO UPDATE SET agent = ?2, native_id = ?3, size = ?4, mtime_ns = ?5, offset = ?6, line = ?7,
             prefix_hash = ?8, state = ?9, skipped = ?10, updated_at = ?11",
    )?
    .execute(params![
        source.path,
        source.agent.as_str(),
        source.native_id,
        source.size,
        source.mtime_ns,
        source.offset,
        source.line,
        source.prefix_hash,
        source.state,
        source.skipped,
        Millis::now().0,
    ])?;
    Ok(())
}

/// Has a log read from its start once it grows: what was read of it is not what its session is made of any more.
///
/// # Errors
/// When SQLite cannot write.
pub fn read_anew(conn: &Connection, agent: Agent, native_id: &str) -> Result<()> {
    conn.prepare_cached("UPDATE sources SET prefix_hash = x'' WHERE agent = ?1 AND native_id = ?2")?
        .execute([agent.as_str(), native_id])?;
    Ok(())
}
