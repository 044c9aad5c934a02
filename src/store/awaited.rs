//! Records from the cloud that came before their parents.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, id_column};
use crate::model::Id;

/// Keeps a record until its parent comes; the newest of it.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep(conn: &Connection, id: &Id, parent: &Id, record: &str) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO awaited(id, parent, record) VALUES (?1, ?2, ?3)
         ON CONFLICT(id) DO UPDATE SET parent = ?2, record = ?3",
    )?
    .execute(params![id.0, parent.0, record])?;
    Ok(())
}

/// A record that waits.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, id: &Id) -> Result<Option<String>> {
    let mut query = conn.prepare_cached("SELECT record FROM awaited WHERE id = ?1")?;
    Ok(query.query_row([id.0], |r| r.get(0)).optional()?)
}

/// The records that wait for a parent, taken out.
///
/// # Errors
/// When SQLite cannot write.
pub fn take(conn: &Connection, parent: &Id) -> Result<Vec<String>> {
    let found: Vec<(Id, String)> = conn
        .prepare_cached("SELECT id, record FROM awaited WHERE parent = ?1 ORDER BY id")?
        .query_map([parent.0], |r| Ok((id_column(r, 0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, _) in &found {
        remove(conn, id)?;
    }
    Ok(found.into_iter().map(|(_, record)| record).collect())
}

/// A record waits no more.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(conn: &Connection, id: &Id) -> Result<()> {
    conn.prepare_cached("DELETE FROM awaited WHERE id = ?1")?.execute([id.0])?;
    Ok(())
}

/// How many wait.
///
/// # Errors
/// When SQLite cannot read.
pub fn count(conn: &Connection) -> Result<u64> {
    Ok(conn.prepare_cached("SELECT count(*) FROM awaited")?.query_row([], |r| r.get(0))?)
}
