//! Edits that wait for the cloud: one row a record, in the order of the first edit. Later edits of a record are merged into
//! its row while it waits, so that the queue grows with the records edited and not with the edits.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::{EntityKind, Result, StoreError, Transaction, id_column};
use crate::model::{Id, Millis};

/// What waits of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub seq: i64,
    pub kind: EntityKind,
    pub entity_row: i64,
    pub entity_id: Id,
    /// The new value of each field that changed.
    pub fields: Map<String, Value>,
    /// Their values before.
    pub base: Map<String, Value>,
    /// The record's version in the cloud when the first of the edits was made.
    pub base_version: i64,
    pub first_at: Millis,
    pub last_at: Millis,
}

/// A field that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    pub field: &'static str,
    pub before: Value,
    pub after: Value,
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        seq: row.get(0)?,
        kind: EntityKind::from_i64(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?,
        entity_row: row.get(2)?,
        entity_id: id_column(row, 3)?,
        fields: object(&row.get::<_, String>(4)?),
        base: object(&row.get::<_, String>(5)?),
        base_version: row.get(6)?,
        first_at: Millis(row.get(7)?),
        last_at: Millis(row.get(8)?),
    })
}

const COLUMNS: &str = "seq, kind, entity_row, entity_id, fields, base, base_version, first_at, last_at";

/// Puts an edit into the queue. A field that is back at the value it had before the first edit no longer waits.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(
    tx: &Transaction<'_>,
    kind: EntityKind,
    entity_row: i64,
    entity_id: Id,
    base_version: i64,
    changes: &[FieldChange],
) -> Result<()> {
    let waiting = find(tx, kind, entity_row)?;
    let (mut fields, mut base) = waiting.as_ref().map_or_else(Default::default, |w| (w.fields.clone(), w.base.clone()));
    for change in changes {
        let before = base.entry(change.field).or_insert_with(|| change.before.clone());
        if *before == change.after {
            base.remove(change.field);
            fields.remove(change.field);
        } else {
            fields.insert(change.field.to_owned(), change.after.clone());
        }
    }
    if fields.is_empty() {
        return remove(tx, kind, entity_row);
    }
    let text = |map: &Map<String, Value>| serde_json::to_string(map).map_err(|e| StoreError::Source(e.into()));
    tx.prepare_cached(
        "INSERT INTO sync_queue(kind, entity_row, entity_id, fields, base, base_version, first_at, last_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         ON CONFLICT(kind, entity_row) DO UPDATE SET fields = ?4, base = ?5, last_at = ?7",
    )?
    .execute(params![
        kind as i64,
        entity_row,
        entity_id.0,
        text(&fields)?,
        text(&base)?,
        base_version,
        Millis::now().0
    ])?;
    Ok(())
}

/// Takes what waits of a record out of the queue.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &Transaction<'_>, kind: EntityKind, entity_row: i64) -> Result<()> {
    tx.prepare_cached("DELETE FROM sync_queue WHERE kind = ?1 AND entity_row = ?2")?
        .execute(params![kind as i64, entity_row])?;
    Ok(())
}

/// What waits of a record.
///
/// # Errors
/// When SQLite cannot read.
pub fn find(conn: &Connection, kind: EntityKind, entity_row: i64) -> Result<Option<Waiting>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sync_queue WHERE kind = ?1 AND entity_row = ?2"))?;
    Ok(query.query_row(params![kind as i64, entity_row], read).optional()?)
}

/// Whether something of a record waits.
///
/// # Errors
/// When SQLite cannot read.
pub fn waits(conn: &Connection, kind: EntityKind, entity_row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM sync_queue WHERE kind = ?1 AND entity_row = ?2")?;
    Ok(query.exists(params![kind as i64, entity_row])?)
}

/// Everything that waits, in the order in which it is to be sent.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Waiting>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sync_queue ORDER BY seq"))?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// How many records wait.
///
/// # Errors
/// When SQLite cannot read.
pub fn count(conn: &Connection) -> Result<u64> {
    Ok(conn.prepare_cached("SELECT count(*) FROM sync_queue")?.query_row([], |r| r.get(0))?)
}
