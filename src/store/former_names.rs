//! Directory names of commits that a new title took away: each leads on to the commit, so that a path which an editor or a
//! shell holds goes on working. A name that `mv` took away is not kept: it must be free at once.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Transaction};

/// Notes a name that a commit had in a project.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, project_row: i64, name: &str, commit_row: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO former_names(project_row, name, commit_row) VALUES (?1, ?2, ?3)
         ON CONFLICT(project_row, name) DO UPDATE SET commit_row = ?3",
    )?
    .execute(params![project_row, name, commit_row])?;
    Ok(())
}

/// Forgets a name: something else has it, or it was removed.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &Transaction<'_>, project_row: i64, name: &str) -> Result<()> {
    tx.prepare_cached("DELETE FROM former_names WHERE project_row = ?1 AND name = ?2")?
        .execute(params![project_row, name])?;
    Ok(())
}

/// The row of a former name.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_name(conn: &Connection, project_row: i64, name: &str) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM former_names WHERE project_row = ?1 AND name = ?2")?;
    Ok(query.query_row(params![project_row, name], |r| r.get(0)).optional()?)
}

/// The commit that a former name leads to.
///
/// # Errors
/// When SQLite cannot read.
pub fn commit_of(conn: &Connection, row: i64) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT commit_row FROM former_names WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?)
}
