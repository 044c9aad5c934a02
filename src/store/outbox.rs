//! Edits that wait for the cloud: one row a record, in the order of the first edit. Later edits of a record are merged into
//! its row while it waits, so that the queue grows with the records edited and not with the edits.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use super::{EntityKind, Result, StoreError, Transaction, id_column, refused};
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
    /// How many edits were merged into it since then.
    pub edits: i64,
    /// A request with it was made, and it is not known what became of that.
    pub sent: bool,
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
        edits: row.get(9)?,
        sent: row.get(10)?,
    })
}

const COLUMNS: &str = "seq, kind, entity_row, entity_id, fields, base, base_version, first_at, last_at, edits, sent";

/// Puts an edit into the queue. A field that is back at the value it had before the first edit no longer waits, unless the cloud
/// may know of what came between. An edit of a record that was refused is tried again.
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
    let sent = waiting.as_ref().is_some_and(|waiting| waiting.sent);
    let (mut fields, mut base) = waiting.as_ref().map_or_else(Default::default, |w| (w.fields.clone(), w.base.clone()));
    for change in changes {
        let before = base.entry(change.field).or_insert_with(|| change.before.clone());
        if *before == change.after && !sent {
            base.remove(change.field);
            fields.remove(change.field);
        } else {
            fields.insert(change.field.to_owned(), change.after.clone());
        }
    }
    if fields.is_empty() {
        return remove(tx, kind, entity_row);
    }
    refused::clear(tx, kind as i64, &entity_id)?;
    tx.prepare_cached(
        "INSERT INTO sync_queue(kind, entity_row, entity_id, fields, base, base_version, first_at, last_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)
         ON CONFLICT(kind, entity_row) DO UPDATE SET fields = ?4, base = ?5, last_at = ?7, edits = edits + 1",
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

fn text(map: &Map<String, Value>) -> Result<String> {
    serde_json::to_string(map).map_err(|e| StoreError::Source(e.into()))
}

/// What is left to be sent of a record, and what the cloud has in its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rest {
    pub fields: Map<String, Value>,
    pub base: Map<String, Value>,
    pub base_version: i64,
    pub edits: i64,
}

/// Puts what is left of a record in place of what waited of it.
///
/// # Errors
/// When SQLite cannot write.
pub fn replace(tx: &Transaction<'_>, kind: EntityKind, entity_row: i64, entity_id: Id, rest: &Rest) -> Result<()> {
    if rest.fields.is_empty() {
        return remove(tx, kind, entity_row);
    }
    tx.prepare_cached(
        "INSERT INTO sync_queue(kind, entity_row, entity_id, fields, base, base_version, first_at, last_at, edits)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8)
         ON CONFLICT(kind, entity_row) DO UPDATE
         SET entity_id = ?3, fields = ?4, base = ?5, base_version = ?6, edits = ?8, sent = 0",
    )?
    .execute(params![
        kind as i64,
        entity_row,
        entity_id.0,
        text(&rest.fields)?,
        text(&rest.base)?,
        rest.base_version,
        Millis::now().0,
        rest.edits,
    ])?;
    Ok(())
}

/// Notes that a request with what waits is about to be made, or that it is known to have done nothing.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_sent(tx: &Transaction<'_>, seq: i64, sent: bool) -> Result<()> {
    tx.prepare_cached("UPDATE sync_queue SET sent = ?2 WHERE seq = ?1")?.execute(params![seq, sent])?;
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

/// What waits behind a place of the queue, in the order in which it is to be sent; not what was refused.
///
/// # Errors
/// When SQLite cannot read.
pub fn after(conn: &Connection, seq: i64, limit: usize) -> Result<Vec<Waiting>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sync_queue q WHERE seq > ?1
             AND NOT EXISTS (SELECT 1 FROM refused r WHERE r.kind = q.kind AND r.id = q.entity_id)
         ORDER BY seq LIMIT ?2"
    ))?;
    Ok(query.query_map(params![seq, limit], read)?.collect::<rusqlite::Result<_>>()?)
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
