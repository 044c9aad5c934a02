//! Projects and the folders they were seen in.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::outbox::{self, FieldChange};
use super::told::{self, Facts};
use super::{ChangeKind, EntityKind, Result, Transaction, gone, id_column};
use crate::model::{Id, Millis, Project};

const COLUMNS: &str = "row, id, name, dir_name, remote, created_at, updated_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Project> {
    Ok(Project {
        row: row.get(0)?,
        id: id_column(row, 1)?,
        name: row.get(2)?,
        dir_name: row.get(3)?,
        remote: row.get(4)?,
        paths: Vec::new(),
        created_at: Millis(row.get(5)?),
        updated_at: Millis(row.get(6)?),
    })
}

/// All projects, by name.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Project>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM projects ORDER BY dir_name"))?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// A project by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Project>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM projects WHERE row = ?1"))?;
    Ok(query.query_row([row], read).optional()?)
}

/// A project by its directory's name.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_dir_name(conn: &Connection, name: &str) -> Result<Option<Project>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM projects WHERE dir_name = ?1"))?;
    Ok(query.query_row([name], read).optional()?)
}

/// A project by what identifies it (`git:…` or `path:…`).
///
/// # Errors
/// When SQLite cannot read.
pub fn by_identity(conn: &Connection, identity: &str) -> Result<Option<Project>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM projects WHERE identity = ?1"))?;
    Ok(query.query_row([identity], read).optional()?)
}

/// The project that a folder belongs to.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_path(conn: &Connection, path: &str) -> Result<Option<Project>> {
    let row: Option<i64> = conn
        .prepare_cached("SELECT project_row FROM project_paths WHERE path = ?1")?
        .query_row([path], |r| r.get(0))
        .optional()?;
    row.map_or(Ok(None), |row| get(conn, row))
}

/// The folders a project was seen in, oldest first.
///
/// # Errors
/// When SQLite cannot read.
pub fn paths(conn: &Connection, project_row: i64) -> Result<Vec<String>> {
    let mut query =
        conn.prepare_cached("SELECT path FROM project_paths WHERE project_row = ?1 ORDER BY first_seen, path")?;
    Ok(query.query_map([project_row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Every folder that a project was seen in, with its project's row.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_paths(conn: &Connection) -> Result<Vec<(String, i64)>> {
    let mut query = conn.prepare_cached("SELECT path, project_row FROM project_paths ORDER BY first_seen, path")?;
    Ok(query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
}

/// Makes a project. Its directory is called `wanted`, with the id behind where that name is taken.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(tx: &mut Transaction<'_>, identity: &str, name: &str, wanted: &str, remote: Option<&str>) -> Result<i64> {
    let id = Id::derive(&[b"project", identity.as_bytes()]);
    let taken = by_dir_name(tx, wanted)?.is_some();
    let dir_name = if taken { format!("{wanted}_{}", id.short()) } else { wanted.to_owned() };
    let now = Millis::now().0;
    tx.prepare_cached(
        "INSERT INTO projects(id, identity, name, dir_name, remote, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
    )?
    .execute(params![id.0, identity, name, dir_name, remote, now])?;
    let row = tx.last_insert_rowid();
    tx.changes.add(ChangeKind::Projects, 0);
    Ok(row)
}

/// A project by its id.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id(conn: &Connection, id: &Id) -> Result<Option<Project>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM projects WHERE id = ?1"))?;
    Ok(query.query_row([id.0], read).optional()?)
}

/// Remembers that a project was seen in a folder on another machine. A folder of another project stays that.
///
/// # Errors
/// When SQLite cannot write.
pub fn add_path_seen(conn: &Connection, project_row: i64, path: &str, at: i64) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO project_paths(path, project_row, first_seen) VALUES (?1, ?2, ?3)")?
        .execute(params![path, project_row, at])?;
    Ok(())
}

/// Remembers that a project was seen in a folder.
///
/// # Errors
/// When SQLite cannot write.
pub fn add_path(tx: &mut Transaction<'_>, project_row: i64, path: &str) -> Result<()> {
    let added = tx
        .prepare_cached("INSERT OR IGNORE INTO project_paths(path, project_row, first_seen) VALUES (?1, ?2, ?3)")?
        .execute(params![path, project_row, Millis::now().0])?;
    if added > 0 {
        touch(tx, project_row)?;
    }
    Ok(())
}

fn touch(tx: &mut Transaction<'_>, project_row: i64) -> Result<()> {
    tx.prepare_cached("UPDATE projects SET updated_at = ?2 WHERE row = ?1")?
        .execute(params![project_row, Millis::now().0])?;
    tx.changes.add(ChangeKind::Project, project_row);
    Ok(())
}

/// Moves everything of one project into another and removes it: a folder whose remote became known.
///
/// # Errors
/// When SQLite cannot write.
pub fn fold(tx: &mut Transaction<'_>, from: &Project, into: i64) -> Result<()> {
    let commits: Vec<(i64, String, String, Id)> = tx
        .prepare_cached("SELECT row, dir_name, link_name, id FROM cognitive_commits WHERE project_row = ?1")?
        .query_map([from.row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, id_column(r, 3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, dir_name, link_name, id) in commits {
        // Names that users typed may meet.
        if super::commits::by_dir_name(tx, into, &dir_name)?.is_some() {
            let name = super::cut_name(&dir_name, &format!("_{}", id.to_string().replace('-', "")));
            tx.execute("UPDATE cognitive_commits SET dir_name = ?2 WHERE row = ?1", params![row, name])?;
        }
        tx.changes.add_full(ChangeKind::ProjectCommits, row, from.row, Some(dir_name.clone()));
        tx.changes.add_full(ChangeKind::ProjectCommits, row, into, None);
        // Its links have the same names and lead elsewhere.
        tx.changes.add_full(ChangeKind::Views, row, 0, Some(link_name));
        tx.changes.add(ChangeKind::Commit, row);
        // Their pages and the links to them have the project's name in them.
        let sessions: Vec<i64> = tx
            .prepare_cached("SELECT row FROM sessions WHERE commit_row = ?1")?
            .query_map([row], |r| r.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for session in sessions {
            tx.changes.add(ChangeKind::Session, session);
        }
    }
    tx.execute("UPDATE cognitive_commits SET project_row = ?2 WHERE project_row = ?1", [from.row, into])?;
    tx.execute("UPDATE cognitive_commits SET found_project = ?2 WHERE found_project = ?1", [from.row, into])?;
    super::facets::fold_files(tx, from.row, into)?;
    tx.execute("UPDATE project_paths SET project_row = ?2 WHERE project_row = ?1", [from.row, into])?;
    tx.execute("DELETE FROM former_names WHERE project_row = ?1", [from.row])?;
    let (was_curated, is_curated) = (is_curated(tx, from.row)?, is_curated(tx, into)?);
    // What must not leave this machine does not leave it as a part of another project.
    tx.execute(
        "UPDATE projects SET sync = min(sync, (SELECT sync FROM projects WHERE row = ?1)) WHERE row = ?2",
        [from.row, into],
    )?;
    if let Some(target) = get(tx, into)? {
        let is_known = told::is_known(tx, Facts::Project, from.row)?;
        gone::merge(tx, Facts::Project, &from.id, &target.id, is_known)?;
    }
    tx.execute("DELETE FROM projects WHERE row = ?1", [from.row])?;
    tx.changes.add_full(ChangeKind::Projects, from.row, 0, Some(from.dir_name.clone()));
    for table in ["edits", "conflicts"] {
        tx.execute(
            &format!("UPDATE {table} SET entity_row = ?2 WHERE kind = 1 AND entity_row = ?1"),
            [from.row, into],
        )?;
    }
    outbox::remove(tx, EntityKind::Project, from.row)?;
    if let (true, false, Some(project)) = (was_curated, is_curated, get(tx, into)?) {
        // Its user named it: the two are one now, which has no name of a user's yet.
        rename(tx, &project, &from.name, &from.dir_name)?;
        let change = FieldChange { field: "name", before: project.name.into(), after: from.name.clone().into() };
        outbox::add(tx, EntityKind::Project, into, project.id, cloud_version(tx, into)?, &[change])?;
    }
    settle_id(tx, into)?;
    touch(tx, into)
}

/// Removes a project that has no commits, with the folders it was seen in.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &mut Transaction<'_>, project: &Project) -> Result<()> {
    tx.execute("DELETE FROM project_paths WHERE project_row = ?1", [project.row])?;
    tx.execute("UPDATE cognitive_commits SET found_project = NULL WHERE found_project = ?1", [project.row])?;
    tx.execute("DELETE FROM projects WHERE row = ?1", [project.row])?;
    // A name that it was given would wait for ever.
    super::outbox::remove(tx, super::EntityKind::Project, project.row)?;
    tx.changes.add_full(ChangeKind::Projects, project.row, 0, Some(project.dir_name.clone()));
    tx.changes.add(ChangeKind::Project, project.row);
    Ok(())
}

/// Whether a user changed a project.
fn is_curated(conn: &Connection, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM projects WHERE row = ?1 AND curated_at IS NOT NULL")?;
    Ok(query.exists([row])?)
}

/// The log and the queue know a project by the id it has now.
fn settle_id(tx: &Transaction<'_>, row: i64) -> Result<()> {
    for table in ["edits", "sync_queue", "conflicts"] {
        tx.execute(
            &format!(
                "UPDATE {table} SET entity_id = (SELECT id FROM projects WHERE row = ?1) WHERE kind = 1 AND entity_row = ?1"
            ),
            [row],
        )?;
    }
    Ok(())
}

/// A project known by its folder turns out to have a remote: the row and the directory stay.
///
/// # Errors
/// When SQLite cannot write.
pub fn identify(tx: &mut Transaction<'_>, row: i64, identity: &str, name: &str, remote: &str) -> Result<()> {
    let id = Id::derive(&[b"project", identity.as_bytes()]);
    if let Some(before) = get(tx, row)? {
        let is_known = told::is_known(tx, Facts::Project, row)?;
        gone::merge(tx, Facts::Project, &before.id, &id, is_known)?;
    }
    // A name that is a user's stays.
    tx.prepare_cached(
        "UPDATE projects SET id = ?2, identity = ?3, name = iif(curated_at IS NULL, ?4, name), remote = ?5 WHERE row = ?1",
    )?
        .execute(params![row, id.0, identity, name, remote])?;
    settle_id(tx, row)?;
    touch(tx, row)
}

/// Gives a project the name that its user typed, which is its directory's too.
///
/// # Errors
/// When SQLite cannot write, as when another has the name.
pub fn rename(tx: &mut Transaction<'_>, project: &Project, name: &str, dir_name: &str) -> Result<()> {
    tx.prepare_cached(
        "UPDATE projects SET name = ?2, dir_name = ?3, curated_at = ?4, updated_at = ?4, local_version = local_version + 1
         WHERE row = ?1",
    )?
    .execute(params![project.row, name, dir_name, Millis::now().0])?;
    tx.changes.add_full(ChangeKind::Projects, project.row, 0, Some(project.dir_name.clone()));
    tx.changes.add(ChangeKind::Project, project.row);
    // The name stands in their pages and in the links to them.
    let mut query = tx.prepare_cached(
        "SELECT c.row, s.row FROM cognitive_commits c LEFT JOIN sessions s ON s.commit_row = c.row
            WHERE c.project_row = ?1",
    )?;
    let rows: Vec<(i64, Option<i64>)> =
        query.query_map([project.row], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    drop(query);
    for (commit, session) in rows {
        tx.changes.add(ChangeKind::Commit, commit);
        if let Some(session) = session {
            tx.changes.add(ChangeKind::Session, session);
        }
    }
    Ok(())
}

/// A project's version in the cloud.
///
/// # Errors
/// When SQLite cannot read.
pub fn cloud_version(conn: &Connection, row: i64) -> Result<i64> {
    let mut query = conn.prepare_cached("SELECT cloud_version FROM projects WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// Notes a project's version in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_cloud_version(tx: &Transaction<'_>, row: i64, version: i64) -> Result<()> {
    tx.prepare_cached("UPDATE projects SET cloud_version = ?2 WHERE row = ?1")?.execute(params![row, version])?;
    Ok(())
}

/// Whether a project may leave this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn syncs(conn: &Connection, row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM projects WHERE row = ?1 AND sync > ignored")?.exists([row])?)
}

/// Whether a `.cogfsignore` keeps a project here.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_ignored(conn: &Connection, row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM projects WHERE row = ?1 AND ignored = 1")?.exists([row])?)
}

/// Notes what the `.cogfsignore` files say of a project.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_ignored(tx: &Transaction<'_>, row: i64, ignored: bool) -> Result<()> {
    tx.prepare_cached("UPDATE projects SET ignored = ?2 WHERE row = ?1")?.execute(params![row, ignored])?;
    Ok(())
}

/// Says whether a project may leave this machine.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_syncs(tx: &Transaction<'_>, row: i64, syncs: bool) -> Result<()> {
    tx.prepare_cached("UPDATE projects SET sync = ?2 WHERE row = ?1")?.execute(params![row, syncs])?;
    Ok(())
}
