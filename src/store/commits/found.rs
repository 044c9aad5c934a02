//! New commits, written by one statement: those that an import begins, and those that another machine found.

use rusqlite::{Connection, OptionalExtension, params};

use super::NewCommit;
use crate::model::{ClosedBy, Id, Millis};
use crate::store::Result;

/// What was found of a commit, beside what every new one has.
#[derive(Debug)]
pub struct Found<'a> {
    pub git_hash: Option<&'a str>,
    pub git_subject: Option<&'a str>,
    pub closed_by: ClosedBy,
    pub closed_at: Millis,
    pub parallel: bool,
    pub updated_at: Millis,
}

/// Makes a commit, in no view yet; its row. It announces nothing.
///
/// # Errors
/// When SQLite cannot write.
pub fn insert(conn: &Connection, new: &NewCommit<'_>, found: &Found<'_>) -> Result<i64> {
    conn.prepare_cached(
        "INSERT INTO cognitive_commits(id, project_row, dir_name, link_name, title, title_rank, git_hash, git_subject, closed_by,
             started_at, closed_at, parallel, updated_at)
         VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        new.id.0,
        new.project_row,
        new.dir_name,
        new.title,
        new.title_rank as i64,
        found.git_hash,
        found.git_subject,
        found.closed_by.as_str(),
        new.started_at.0,
        found.closed_at.0,
        found.parallel,
        found.updated_at.0,
    ])?;
    Ok(conn.last_insert_rowid())
}

/// Whether a commit is here, deleted or not.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_known(conn: &Connection, id: &Id) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM cognitive_commits WHERE id = ?1")?.exists([id.0])?)
}

/// Where a commit lies that nobody hid, published or deleted, and its times.
#[derive(Debug, Clone, Copy)]
pub struct Plain {
    pub row: i64,
    pub project_row: i64,
    pub started_at: Millis,
    pub closed_at: Millis,
    pub parallel: bool,
}

/// A commit by its id; `None` when there is none, or somebody hid, published or deleted it.
///
/// # Errors
/// When SQLite cannot read.
pub fn plain(conn: &Connection, id: &Id) -> Result<Option<Plain>> {
    let mut query = conn.prepare_cached(
        "SELECT row, project_row, started_at, closed_at, parallel FROM cognitive_commits
         WHERE id = ?1 AND home = 0 AND published = 0",
    )?;
    let read = |r: &rusqlite::Row<'_>| {
        Ok(Plain {
            row: r.get(0)?,
            project_row: r.get(1)?,
            started_at: Millis(r.get(2)?),
            closed_at: Millis(r.get(3)?),
            parallel: r.get(4)?,
        })
    };
    Ok(query.query_row([id.0], read).optional()?)
}
