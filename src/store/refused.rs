//! Records that the cloud refused: set aside until they are edited again, or until a user says to try again.

use rusqlite::{Connection, params};

use super::{Result, Transaction, id_column};
use crate::model::{Id, Millis};

/// A record that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub kind: i64,
    pub id: Id,
    pub code: String,
    pub message: String,
    pub at: Millis,
}

/// The code of a record whose parent the cloud does not know: it is tried again once a parent was taken.
pub const UNKNOWN_PARENT: &str = "unknown_parent";

/// Sets a record aside. `kind`: 0 is a machine, else the number of an [`EntityKind`].
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, kind: i64, id: &Id, code: &str, message: &str) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO refused(kind, id, code, message, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT(kind, id) DO UPDATE SET code = ?3, message = ?4, at = ?5",
    )?
    .execute(params![kind, id.0, code, message, Millis::now().0])?;
    Ok(())
}

/// Tries a record again, or gives it up: it is no more.
///
/// # Errors
/// When SQLite cannot write.
pub fn clear(tx: &Transaction<'_>, kind: i64, id: &Id) -> Result<()> {
    tx.prepare_cached("DELETE FROM refused WHERE kind = ?1 AND id = ?2")?.execute(params![kind, id.0])?;
    Ok(())
}

/// Tries all records again; how many there were.
///
/// # Errors
/// When SQLite cannot write.
pub fn clear_all(tx: &Transaction<'_>) -> Result<usize> {
    Ok(tx.execute("DELETE FROM refused", [])?)
}

/// Tries again what was refused for want of a parent.
///
/// # Errors
/// When SQLite cannot write.
pub fn clear_orphans(tx: &Transaction<'_>) -> Result<()> {
    tx.prepare_cached("DELETE FROM refused WHERE code = ?1")?.execute([UNKNOWN_PARENT])?;
    Ok(())
}

/// Whether a record is set aside.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_refused(conn: &Connection, kind: i64, id: &Id) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM refused WHERE kind = ?1 AND id = ?2")?.exists(params![kind, id.0])?)
}

/// Whether anything is set aside.
///
/// # Errors
/// When SQLite cannot read.
pub fn any(conn: &Connection) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM refused")?.exists([])?)
}

/// What is set aside, the latest first.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Refused>> {
    let mut query =
        conn.prepare_cached("SELECT kind, id, code, message, at FROM refused ORDER BY at DESC, kind, id")?;
    let rows = query.query_map([], |r| {
        Ok(Refused {
            kind: r.get(0)?,
            id: id_column(r, 1)?,
            code: r.get(2)?,
            message: r.get(3)?,
            at: Millis(r.get(4)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
