//! Git commits that were made during cognitive commits, by their hashes.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::commits::{GitCommit, LISTED_COLUMNS, LISTED_WIDTH};
use super::{ChangeKind, Result, Transaction, commits};
use crate::model::Millis;

/// Digits of the shortest abbreviation of a hash that git prints.
pub const SHORTEST_HASH: usize = 4;

/// A link in `by/git/`.
#[derive(Debug, Clone)]
pub struct Named {
    pub row: i64,
    pub name: String,
    pub commit_row: i64,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Named> {
    Ok(Named { row: row.get(0)?, name: row.get(1)?, commit_row: row.get(2)? })
}

/// Notes a git commit made during a cognitive commit. It is called as its hash, the whole one where that is known, or by that
/// and the commit's id where another cognitive commit has the hash: a repository seen as two projects.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(
    tx: &mut Transaction<'_>,
    commit_row: i64,
    git: &GitCommit,
    whole_hash: Option<&str>,
    at: Millis,
) -> Result<()> {
    let mut known = tx.prepare_cached("SELECT 1 FROM git_commits WHERE commit_row = ?1 AND hash = ?2")?;
    let Some(commit) = commits::get(tx, commit_row)? else { return Ok(()) };
    if known.exists(params![commit_row, git.hash])? {
        return Ok(());
    }
    drop(known);
    let hash = whole_hash.unwrap_or(&git.hash);
    let mut name = hash.to_owned();
    for id in [commit.id.short(), commit.id.to_string()] {
        if by_name(tx, &name)?.is_some() {
            name = format!("{hash}-{id}");
        }
    }
    tx.prepare_cached(
        "INSERT INTO git_commits(commit_row, hash, name, branch, subject, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![commit_row, git.hash, name, git.branch, git.subject, at.0])?;
    tx.changes.add(ChangeKind::Views, commit_row);
    Ok(())
}

/// Notes a git commit as another machine tells of it, under the name it has there where that is free; true when it was not known.
///
/// # Errors
/// When SQLite cannot write.
pub fn put(tx: &mut Transaction<'_>, commit_row: i64, git: &GitCommit, name: Option<&str>, at: Millis) -> Result<bool> {
    if let Some(known) = self::at(tx, commit_row, &git.hash)? {
        // Two sessions may tell of it: it was made when the first of them did.
        tx.prepare_cached("UPDATE git_commits SET at = ?3 WHERE commit_row = ?1 AND hash = ?2 AND at > ?3")?
            .execute(params![commit_row, git.hash, at.0])?;
        return Ok(known > at);
    }
    let Some(name) = name else { return add(tx, commit_row, git, None, at).map(|()| true) };
    if by_name(tx, name)?.is_some() {
        let hash = name.split('-').next().filter(|hash| hash.len() >= SHORTEST_HASH);
        return add(tx, commit_row, git, hash, at).map(|()| true);
    }
    tx.prepare_cached(
        "INSERT INTO git_commits(commit_row, hash, name, branch, subject, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![commit_row, git.hash, name, git.branch, git.subject, at.0])?;
    tx.changes.add(ChangeKind::Views, commit_row);
    Ok(true)
}

/// When a git commit was made, as far as a commit tells of it.
///
/// # Errors
/// When SQLite cannot read.
pub fn at(conn: &Connection, commit_row: i64, hash: &str) -> Result<Option<Millis>> {
    let mut query = conn.prepare_cached("SELECT at FROM git_commits WHERE commit_row = ?1 AND hash = ?2")?;
    Ok(query.query_row(params![commit_row, hash], |r| r.get(0)).optional()?.map(Millis))
}

/// Gives the git commits of a commit to the one it is merged with. Of two links of one hash the one with the plain name stays.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: i64, into: i64) -> Result<()> {
    let both: Vec<(i64, String, i64, String)> = tx
        .prepare_cached(
            "SELECT a.row, a.name, b.row, b.name FROM git_commits a JOIN git_commits b ON b.commit_row = ?2 AND b.hash = a.hash
             WHERE a.commit_row = ?1",
        )?
        .query_map([from, into], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (a, a_name, b, b_name) in both {
        let (gone, gone_name, kept) = if a_name.len() < b_name.len() { (b, b_name, a) } else { (a, a_name, b) };
        tx.prepare_cached(
            "UPDATE git_commits SET at = min(at, (SELECT at FROM git_commits WHERE row = ?1)) WHERE row = ?2",
        )?
        .execute([gone, kept])?;
        tx.prepare_cached("DELETE FROM git_commits WHERE row = ?1")?.execute([gone])?;
        tx.changes.add_full(ChangeKind::Git, gone, 0, Some(gone_name));
    }
    tx.prepare_cached("UPDATE git_commits SET commit_row = ?2 WHERE commit_row = ?1")?.execute([from, into])?;
    Ok(())
}

/// Removes the git commits of a commit.
///
/// # Errors
/// When SQLite cannot write.
pub fn forget(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    for git in of_commit(tx, commit_row)? {
        tx.prepare_cached("DELETE FROM git_commits WHERE row = ?1")?.execute([git.row])?;
        tx.changes.add_full(ChangeKind::Git, git.row, 0, Some(git.name));
    }
    Ok(())
}

/// A git commit by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Named>> {
    let mut query = conn.prepare_cached("SELECT row, name, commit_row FROM git_commits WHERE row = ?1")?;
    Ok(query.query_row([row], read).optional()?)
}

/// A git commit by its name.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_name(conn: &Connection, name: &str) -> Result<Option<Named>> {
    let mut query = conn.prepare_cached("SELECT row, name, commit_row FROM git_commits WHERE name = ?1")?;
    Ok(query.query_row([name], read).optional()?)
}

/// The git commits of a commit.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Named>> {
    let mut query = conn.prepare_cached("SELECT row, name, commit_row FROM git_commits WHERE commit_row = ?1")?;
    Ok(query.query_map([commit_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The git commits whose hash begins with these digits, or is their beginning: the whole hash finds what a log abbreviates.
/// Those that stand under the plain hash.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_hash(conn: &Connection, digits: &str) -> Result<Vec<Named>> {
    let Some(stem) = digits.get(..SHORTEST_HASH) else { return Ok(Vec::new()) };
    let mut query = conn.prepare_cached(
        "SELECT row, name, commit_row FROM git_commits WHERE hash >= ?1 AND hash < ?1 || 'g' AND instr(name, '-') = 0",
    )?;
    let found: Vec<Named> = query.query_map([stem], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(found.into_iter().filter(|g| g.name.starts_with(digits) || digits.starts_with(&g.name)).collect())
}

/// A git commit as a log tells of it.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Whole where that is known.
    pub hash: String,
    pub subject: String,
    pub at: Millis,
    pub commit_row: i64,
}

/// All git commits, the earliest first.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_told(conn: &Connection) -> Result<Vec<Logged>> {
    let mut query = conn.prepare("SELECT hash, name, subject, at, commit_row FROM git_commits ORDER BY at, row")?;
    let rows = query.query_map([], |r| {
        let (hash, name): (String, String) = (r.get(0)?, r.get(1)?);
        let longer = name.split('-').next().filter(|whole| whole.len() > hash.len() && whole.starts_with(&hash));
        Ok(Logged {
            hash: longer.map_or_else(|| hash.clone(), str::to_owned),
            subject: r.get(2)?,
            at: Millis(r.get(3)?),
            commit_row: r.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Gives the git commits behind a row to `each`, in the order of their rows, with what a listing shows of their commits, until
/// that returns false.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each(
    conn: &Connection,
    after: i64,
    each: &mut dyn FnMut(i64, String, commits::Listed) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}, g.row, g.name
         FROM git_commits g CROSS JOIN cognitive_commits c ON c.row = g.commit_row AND c.home < 2
             CROSS JOIN projects p ON p.row = c.project_row
         WHERE g.row > ?1 ORDER BY g.row"
    ))?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(LISTED_WIDTH)?, row.get(LISTED_WIDTH + 1)?, commits::read_listed(row)?) {
            break;
        }
    }
    Ok(())
}

/// The same with the names alone.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_name(conn: &Connection, after: i64, each: &mut dyn FnMut(i64, String) -> bool) -> Result<()> {
    let mut query = conn.prepare_cached(
        "SELECT g.row, g.name
         FROM git_commits g CROSS JOIN cognitive_commits c ON c.row = g.commit_row AND c.deleted_at IS NULL
         WHERE g.row > ?1 ORDER BY g.row",
    )?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, row.get(1)?) {
            break;
        }
    }
    Ok(())
}
