//! Pulled records that cannot be placed yet, since one they belong to has not come: kept as they came, the latest of each.

use rusqlite::{Connection, params};

use super::{Result, Transaction};
use crate::model::Id;

/// Parks a record, as JSON.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, kind: i64, id: &Id, seq: i64, json: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO parked(kind, id, seq, row) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(kind, id) DO UPDATE SET seq = ?3, row = ?4 WHERE seq <= ?3",
    )?
    .execute(params![kind, id.0, seq, json])?;
    Ok(())
}

/// Takes a record out: it is placed, or is no more.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &Transaction<'_>, kind: i64, id: &Id) -> Result<()> {
    tx.prepare_cached("DELETE FROM parked WHERE kind = ?1 AND id = ?2")?.execute(params![kind, id.0])?;
    Ok(())
}

/// Every parked record, parents first.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<String>> {
    let mut query = conn.prepare_cached("SELECT row FROM parked ORDER BY kind, seq")?;
    Ok(query.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// How many there are.
///
/// # Errors
/// When SQLite cannot read.
pub fn count(conn: &Connection) -> Result<u64> {
    Ok(conn.prepare_cached("SELECT count(*) FROM parked")?.query_row([], |r| r.get(0))?)
}
