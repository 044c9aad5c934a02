//! Searches that a user keeps: directories of `search/` that are listed and stay.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{ChangeKind, Result, Transaction};
use crate::model::Millis;

/// A search that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub row: i64,
    /// As it was typed.
    pub query: String,
    pub kept_at: Millis,
}

const KEPT: &str = "SELECT row, query, kept_at FROM searches";

fn read(row: &Row<'_>) -> rusqlite::Result<Kept> {
    Ok(Kept { row: row.get(0)?, query: row.get(1)?, kept_at: Millis(row.get(2)?) })
}

/// Those behind a row, in the order they were kept.
///
/// # Errors
/// When SQLite cannot read.
pub fn after(conn: &Connection, row: i64) -> Result<Vec<Kept>> {
    let mut query = conn.prepare_cached(&format!("{KEPT} WHERE row > ?1 ORDER BY row"))?;
    Ok(query.query_map([row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// One by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Kept>> {
    Ok(conn.prepare_cached(&format!("{KEPT} WHERE row = ?1"))?.query_row([row], read).optional()?)
}

/// One by what is searched for.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_query(conn: &Connection, text: &str) -> Result<Option<Kept>> {
    Ok(conn.prepare_cached(&format!("{KEPT} WHERE query = ?1"))?.query_row([text], read).optional()?)
}

/// Keeps a search; false when it is kept already.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep(tx: &mut Transaction<'_>, text: &str, at: Millis) -> Result<bool> {
    let added = tx
        .prepare_cached("INSERT OR IGNORE INTO searches(query, kept_at) VALUES (?1, ?2)")?
        .execute(params![text, at.0])?;
    if added > 0 {
        tx.changes.add_full(ChangeKind::Searches, 0, 0, Some(text.to_owned()));
    }
    Ok(added > 0)
}

/// Drops a search; false when it was not kept.
///
/// # Errors
/// When SQLite cannot write.
pub fn drop(tx: &mut Transaction<'_>, text: &str) -> Result<bool> {
    let Some(kept) = by_query(tx, text)? else { return Ok(false) };
    tx.prepare_cached("DELETE FROM searches WHERE row = ?1")?.execute([kept.row])?;
    tx.changes.add_full(ChangeKind::Searches, kept.row, 0, Some(kept.query));
    Ok(true)
}
