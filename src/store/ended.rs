//! Records that are no more: a part of another now, or forgotten. The cloud is told of them, and their ids lead on.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{EntityKind, Result, Transaction, id_column};
use crate::model::Id;

/// A record that is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub seq: i64,
    pub kind: EntityKind,
    pub id: Id,
    /// What it is a part of; `None`: it was forgotten.
    pub into: Option<Id>,
}

/// Who knows of the end of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// This machine alone: the cloud is to be told.
    Here,
    /// The cloud, which told it.
    Everywhere,
}

/// Notes the end of a record. That it was forgotten holds for ever.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, kind: EntityKind, id: &Id, into: Option<&Id>, known: Known) -> Result<()> {
    if into == Some(id) {
        return Ok(());
    }
    let told = known == Known::Everywhere;
    tx.prepare_cached(
        "INSERT INTO ended(kind, id, into_id, told) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(kind, id) DO UPDATE SET into_id = ?3, told = ?4 WHERE into_id IS NOT NULL",
    )?
    .execute(params![kind as i64, id.0, into.map(|id| id.0), told])?;
    if let Some(into) = into {
        // What led to a record leads on, and no record is a part of itself.
        tx.prepare_cached("UPDATE ended SET into_id = ?3 WHERE kind = ?1 AND into_id = ?2 AND id <> ?3")?
            .execute(params![kind as i64, id.0, into.0])?;
        tx.prepare_cached("DELETE FROM ended WHERE kind = ?1 AND id = ?2 AND into_id IS NOT NULL")?
            .execute(params![kind as i64, into.0])?;
    }
    Ok(())
}

/// Notes that the cloud knows of an end.
///
/// # Errors
/// When SQLite cannot write.
pub fn told(tx: &Transaction<'_>, kind: EntityKind, id: &Id) -> Result<()> {
    tx.prepare_cached("UPDATE ended SET told = 1 WHERE kind = ?1 AND id = ?2")?.execute(params![kind as i64, id.0])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Ended> {
    let into: Option<[u8; 16]> = row.get(3)?;
    Ok(Ended {
        seq: row.get(0)?,
        kind: EntityKind::from_i64(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?,
        id: id_column(row, 2)?,
        into: into.map(Id),
    })
}

/// What the cloud is to be told, behind a place.
///
/// # Errors
/// When SQLite cannot read.
pub fn untold(conn: &Connection, after: i64, limit: usize) -> Result<Vec<Ended>> {
    let mut query = conn.prepare_cached(
        "SELECT seq, kind, id, into_id FROM ended WHERE told = 0 AND seq > ?1
             AND NOT EXISTS (SELECT 1 FROM refused r WHERE r.kind = ended.kind AND r.id = ended.id)
         ORDER BY seq LIMIT ?2",
    )?;
    Ok(query.query_map(params![after, limit], read)?.collect::<rusqlite::Result<_>>()?)
}

/// How a record ended; `None`: it did not, as far as is known.
///
/// # Errors
/// When SQLite cannot read.
pub fn find(conn: &Connection, kind: EntityKind, id: &Id) -> Result<Option<Ended>> {
    let mut query = conn.prepare_cached("SELECT seq, kind, id, into_id FROM ended WHERE kind = ?1 AND id = ?2")?;
    Ok(query.query_row(params![kind as i64, id.0], read).optional()?)
}

/// Where an id leads: to itself, unless the record is a part of another now.
///
/// # Errors
/// When SQLite cannot read.
pub fn leads_to(conn: &Connection, kind: EntityKind, id: &Id) -> Result<Id> {
    Ok(find(conn, kind, id)?.and_then(|ended| ended.into).unwrap_or(*id))
}
