//! Records that are no more: a part of another, or forgotten. What the cloud says of them later is of those, or of nothing.

use rusqlite::{Connection, OptionalExtension, params};

use super::told::Facts;
use super::{Result, id_column};
use crate::model::Id;

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Merged(Id),
    Forgotten,
}

/// Notes that a record is a part of another now. `tell`: the cloud knows it, and is to be told.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(conn: &Connection, kind: Facts, id: &Id, into: &Id, tell: bool) -> Result<()> {
    if id == into {
        return Ok(());
    }
    // One that comes back under its own id is no part of another.
    conn.prepare_cached("DELETE FROM gone WHERE id = ?1 AND into_id IS NOT NULL")?.execute([into.0])?;
    conn.prepare_cached(
        "INSERT INTO gone(id, kind, into_id, unsent) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(id) DO UPDATE SET into_id = ?3, unsent = max(unsent, ?4) WHERE into_id IS NOT NULL",
    )?
    .execute(params![id.0, kind as u8, into.0, tell])?;
    conn.prepare_cached("UPDATE gone SET into_id = ?2 WHERE into_id = ?1")?.execute([id.0, into.0])?;
    Ok(())
}

/// Notes that a record was forgotten.
///
/// # Errors
/// When SQLite cannot write.
pub fn forget(conn: &Connection, kind: Facts, id: &Id, tell: bool) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO gone(id, kind, into_id, unsent) VALUES (?1, ?2, NULL, ?3)
         ON CONFLICT(id) DO UPDATE SET into_id = NULL, unsent = max(unsent, ?3)",
    )?
    .execute(params![id.0, kind as u8, tell])?;
    Ok(())
}

/// What became of a record, if it is no more.
///
/// # Errors
/// When SQLite cannot read.
pub fn fate(conn: &Connection, id: &Id) -> Result<Option<Fate>> {
    let mut query = conn.prepare_cached("SELECT into_id FROM gone WHERE id = ?1")?;
    let found: Option<Option<[u8; 16]>> = query.query_row([id.0], |r| r.get(0)).optional()?;
    Ok(found.map(|into| into.map_or(Fate::Forgotten, |into| Fate::Merged(Id(into)))))
}

/// The id that a record has now: its own, or that of the one it is a part of.
///
/// # Errors
/// When SQLite cannot read.
pub fn now(conn: &Connection, id: &Id) -> Result<Id> {
    Ok(match fate(conn, id)? {
        Some(Fate::Merged(into)) => into,
        Some(Fate::Forgotten) | None => *id,
    })
}

/// What the cloud is to be told: kind, id, and what it is a part of.
///
/// # Errors
/// When SQLite cannot read.
pub fn unsent(conn: &Connection, limit: usize) -> Result<Vec<(u8, Id, Option<Id>)>> {
    let mut query =
        conn.prepare_cached("SELECT kind, id, into_id FROM gone WHERE unsent = 1 ORDER BY kind, id LIMIT ?1")?;
    let rows = query.query_map([limit], |r| {
        let into: Option<[u8; 16]> = r.get(2)?;
        Ok((r.get(0)?, id_column(r, 1)?, into.map(Id)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Marks it as told, unless it became something else meanwhile.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent(conn: &Connection, id: &Id, into: Option<&Id>) -> Result<()> {
    conn.prepare_cached("UPDATE gone SET unsent = 0 WHERE id = ?1 AND into_id IS ?2")?
        .execute(params![id.0, into.map(|id| id.0)])?;
    Ok(())
}
