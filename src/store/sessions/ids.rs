//! The sessions that `by/id/` lists.

use rusqlite::Connection;

use super::NO_DELETED_ABOVE;
use crate::model::{Id, Millis};
use crate::store::commits::{LISTED_COLUMNS, LISTED_WIDTH, Listed, read_listed};
use crate::store::{Result, id_column};

/// Gives the sessions after a row that are shown to `each`, with their ids, in the order of their rows, until that returns false.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_id(conn: &Connection, after: i64, each: &mut dyn FnMut(Id, i64) -> bool) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT s.id, s.row FROM sessions s CROSS JOIN cognitive_commits c ON c.row = s.commit_row
         WHERE s.row > ?1 AND s.deleted_at IS NULL AND c.deleted_at IS NULL AND {NO_DELETED_ABOVE} ORDER BY s.row"
    ))?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(id_column(row, 0)?, row.get(1)?) {
            break;
        }
    }
    Ok(())
}

/// Where a session lies that no other one started, and its times.
#[derive(Debug, Clone)]
pub struct Placed {
    pub dir_name: String,
    pub commit: Listed,
    pub ended_at: Millis,
    pub updated_at: Millis,
}

/// The same with where they lie; `None` for subagents.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_placed_id(
    conn: &Connection,
    after: i64,
    each: &mut dyn FnMut(Id, i64, Option<Placed>) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}, s.id, s.row, s.dir_name, s.parent_row IS NULL, s.ended_at, s.updated_at
         FROM sessions s CROSS JOIN cognitive_commits c ON c.row = s.commit_row
             CROSS JOIN projects p ON p.row = c.project_row
         WHERE s.row > ?1 AND s.deleted_at IS NULL AND c.deleted_at IS NULL AND {NO_DELETED_ABOVE} ORDER BY s.row"
    ))?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        let at = |column: usize| LISTED_WIDTH + column;
        let placed = match row.get(at(3))? {
            true => Some(Placed {
                dir_name: row.get(at(2))?,
                commit: read_listed(row)?,
                ended_at: Millis(row.get(at(4))?),
                updated_at: Millis(row.get(at(5))?),
            }),
            false => None,
        };
        if !each(id_column(row, at(0))?, row.get(at(1))?, placed) {
            break;
        }
    }
    Ok(())
}
