//! Directory names of commits that a new title took away: each leads on to the commit, so that a path which an editor or a
//! shell holds goes on working. A name that `mv` took away is not kept: it must be free at once.

use rusqlite::{Connection, OptionalExtension, params};

use super::{ChangeKind, Result, Transaction};

/// Notes a name that a commit had in a project.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &mut Transaction<'_>, project_row: i64, name: &str, commit_row: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO former_names(project_row, name, commit_row) VALUES (?1, ?2, ?3)
         ON CONFLICT(project_row, name) DO UPDATE SET commit_row = ?3",
    )?
    .execute(params![project_row, name, commit_row])?;
    tx.changes.add_full(ChangeKind::ProjectCommits, commit_row, project_row, Some(name.to_owned()));
    Ok(())
}

/// Forgets a name: something else has it, or it was removed.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &mut Transaction<'_>, project_row: i64, name: &str) -> Result<()> {
    let removed = tx
        .prepare_cached("DELETE FROM former_names WHERE project_row = ?1 AND name = ?2")?
        .execute(params![project_row, name])?;
    if removed > 0 {
        tx.changes.add_full(ChangeKind::ProjectCommits, 0, project_row, Some(name.to_owned()));
    }
    Ok(())
}

/// Forgets all names of a commit that is no more.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove_of(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    for (_, project_row, name) in of_commit(tx, commit_row)? {
        remove(tx, project_row, &name)?;
    }
    Ok(())
}

/// The former names of a commit: row, project and name.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<(i64, i64, String)>> {
    let mut query = conn.prepare_cached("SELECT row, project_row, name FROM former_names WHERE commit_row = ?1")?;
    Ok(query.query_map([commit_row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<rusqlite::Result<_>>()?)
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
