//! What the cloud has of pictures' bytes, as far as this machine knows.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Transaction};

/// What is known of a picture's bytes in the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// They were stored there from here.
    Uploaded = 0,
    /// They came from there.
    Fetched = 1,
    /// The cloud does not take them.
    Refused = 2,
    /// They are to be there, and are not here.
    Missing = 3,
}

impl State {
    fn from_u8(value: u8) -> Option<Self> {
        [Self::Uploaded, Self::Fetched, Self::Refused, Self::Missing].into_iter().find(|state| *state as u8 == value)
    }
}

/// A picture's bytes, as the cloud names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    pub sha256: String,
    pub mime: String,
}

/// What is known of an object; `None`: nothing.
///
/// # Errors
/// When SQLite cannot read.
pub fn state(conn: &Connection, object: &Object) -> Result<Option<State>> {
    let mut query = conn.prepare_cached("SELECT state FROM objects WHERE sha256 = ?1 AND mime = ?2")?;
    let found: Option<u8> = query.query_row([&object.sha256, &object.mime], |r| r.get(0)).optional()?;
    Ok(found.and_then(State::from_u8))
}

/// Says what is known of an object.
///
/// # Errors
/// When SQLite cannot write.
pub fn set(tx: &Transaction<'_>, object: &Object, state: State) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO objects(sha256, mime, state) VALUES (?1, ?2, ?3) ON CONFLICT(sha256, mime) DO UPDATE SET state = ?3",
    )?
    .execute(params![object.sha256, object.mime, state as u8])?;
    Ok(())
}

/// Nothing is known of a picture's bytes any more.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &Transaction<'_>, sha256: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM objects WHERE sha256 = ?1")?.execute([sha256])?;
    Ok(())
}

/// Has those tried again that the cloud did not take, and those that were missing.
///
/// # Errors
/// When SQLite cannot write.
pub fn retry(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("DELETE FROM objects WHERE state IN (2, 3)", [])?;
    Ok(())
}

/// Pictures of sessions that were told to the cloud, of which it is not known whether it has them, with their projects' rows. Those
/// of projects that may not leave are left out.
///
/// # Errors
/// When SQLite cannot read.
pub fn untold(conn: &Connection, limit: usize) -> Result<Vec<(Object, i64)>> {
    let mut query = conn.prepare_cached(
        "SELECT DISTINCT v.sha256, v.mime, c.project_row FROM visuals v
             JOIN sessions s ON s.row = v.turn_row >> 16
             JOIN cognitive_commits c ON c.row = s.commit_row
             JOIN projects p ON p.row = c.project_row JOIN projects o ON o.row = coalesce(c.found_project, c.project_row)
         WHERE s.contents = 0 AND s.forgotten = 0 AND p.sync > p.ignored AND o.sync > o.ignored
           AND NOT EXISTS (SELECT 1 FROM kept_sessions k WHERE k.session_row = s.row)
           AND EXISTS (SELECT 1 FROM sent_facts f WHERE f.kind = 3 AND f.entity_row = s.row AND f.sent > 0)
           AND NOT EXISTS (SELECT 1 FROM objects b WHERE b.sha256 = v.sha256 AND b.mime = v.mime)
         LIMIT ?1",
    )?;
    let rows = query.query_map([limit], |r| Ok((Object { sha256: r.get(0)?, mime: r.get(1)? }, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether a picture is of a session whose contents are here from a log of this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_own(conn: &Connection, sha256: &str) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM visuals v JOIN sessions s ON s.row = v.turn_row >> 16 WHERE v.sha256 = ?1 AND s.contents = 0",
    )?;
    Ok(query.exists([sha256])?)
}

/// The pictures that were fetched and are of no log of this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn fetched(conn: &Connection) -> Result<Vec<String>> {
    let mut query = conn.prepare_cached(
        "SELECT DISTINCT sha256 FROM objects b WHERE state = 1 AND NOT EXISTS (
             SELECT 1 FROM visuals v JOIN sessions s ON s.row = v.turn_row >> 16
             WHERE v.sha256 = b.sha256 AND s.contents = 0)",
    )?;
    Ok(query.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}
