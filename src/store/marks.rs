//! What is known of ids that name no record here: that it is gone, is waited for, or waits.

use rusqlite::{Connection, params};

use super::Result;
use crate::model::Id;

/// Whether anything is known of any.
///
/// # Errors
/// When SQLite cannot read.
pub fn any(conn: &Connection) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM gone) OR EXISTS (SELECT 1 FROM awaited) OR EXISTS (SELECT 1 FROM parked)
             OR EXISTS (SELECT 1 FROM removed_there)",
    )?;
    Ok(query.query_row([], |r| r.get(0))?)
}

/// Whether anything is known of one. `kind`: of the wire, in its order.
///
/// # Errors
/// When SQLite cannot read.
pub fn has(conn: &Connection, kind: i64, id: &Id) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM gone WHERE id = ?2) OR EXISTS (SELECT 1 FROM awaited WHERE id = ?2)
             OR EXISTS (SELECT 1 FROM awaited WHERE parent = ?2) OR EXISTS (SELECT 1 FROM parked WHERE kind = ?1 AND id = ?2)
             OR EXISTS (SELECT 1 FROM removed_there WHERE id = ?2)",
    )?;
    Ok(query.query_row(params![kind, id.0], |r| r.get(0))?)
}
