//! What was deleted: its names in `.cogfs/trash/`. The records stay where they are, marked as deleted.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{ChangeKind, EntityKind, Result, Transaction, cut_name, edits};
use crate::model::{Id, Millis};

/// How long something deleted is listed in the trash.
pub const LISTED_DAYS: i64 = 30;

/// Something deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trashed {
    pub row: i64,
    pub kind: EntityKind,
    pub entity_row: i64,
    pub name: String,
    pub deleted_at: Millis,
    /// It was moved to a file manager's Trash, which lists it.
    pub by_manager: bool,
}

const COLUMNS: &str = "row, kind, entity_row, name, deleted_at, by_manager";

fn read(row: &Row<'_>) -> rusqlite::Result<Trashed> {
    Ok(Trashed {
        row: row.get(0)?,
        kind: EntityKind::from_i64(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?,
        entity_row: row.get(2)?,
        name: row.get(3)?,
        deleted_at: Millis(row.get(4)?),
        by_manager: row.get(5)?,
    })
}

fn oldest() -> i64 {
    Millis::now().0 - LISTED_DAYS * 24 * 60 * 60 * 1000
}

/// A name to be deleted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    pub wanted: &'a str,
    /// A user typed it, or a file manager made it.
    pub by_manager: bool,
}

/// Notes that a record was deleted. Its name there has the id behind where another has it.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &mut Transaction<'_>, kind: EntityKind, entity_row: i64, id: &Id, name: Name<'_>) -> Result<()> {
    if name.by_manager {
        give_way(tx, name)?;
    }
    let free = free_name(tx, name.wanted, id)?;
    tx.prepare_cached("INSERT INTO trash(kind, entity_row, name, deleted_at, by_manager) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![kind as i64, entity_row, free, Millis::now().0, name.by_manager])?;
    // The name that was typed, if another has it.
    tx.changes.add_full(ChangeKind::Trash, 0, 0, (free != name.wanted).then(|| name.wanted.to_owned()));
    Ok(())
}

/// Renames what has a name unseen by who gives it to something else: what is not listed any more, and for a file manager, which
/// notes the name beside, also what is listed in `.cogfs/trash/` alone.
fn give_way(tx: &mut Transaction<'_>, name: Name<'_>) -> Result<()> {
    let Name { wanted: name, by_manager } = name;
    let unseen: Option<i64> = tx
        .prepare_cached(
            "SELECT row FROM trash WHERE name = ?1 AND NOT (listed AND deleted_at >= ?2 AND (by_manager OR NOT ?3))",
        )?
        .query_row(params![name, oldest(), by_manager], |r| r.get(0))
        .optional()?;
    let Some(row) = unseen else { return Ok(()) };
    let (mut free, mut more) = (cut_name(name, &format!("_{row}")), 0);
    while is_taken(tx, &free)? {
        more += 1;
        free = cut_name(name, &format!("_{row}.{more}"));
    }
    tx.prepare_cached("UPDATE trash SET name = ?2 WHERE row = ?1")?.execute(params![row, free])?;
    tx.changes.add_full(ChangeKind::Trash, 0, 0, Some(name.to_owned()));
    Ok(())
}

/// A name that nothing has in the trash: that or, with the id behind, another.
fn free_name(conn: &Connection, wanted: &str, id: &Id) -> Result<String> {
    let mut free = cut_name(wanted, "");
    for suffix in [format!("_{}", id.short()), format!("_{id}")] {
        if !is_taken(conn, &free)? {
            break;
        }
        free = cut_name(wanted, &suffix);
    }
    Ok(free)
}

/// The id of something deleted.
fn id_of(conn: &Connection, trashed: &Trashed) -> Result<Id> {
    let row = trashed.entity_row;
    let id = match trashed.kind {
        EntityKind::Project => super::projects::get(conn, row)?.map(|project| project.id),
        EntityKind::Commit => super::commits::get(conn, row)?.map(|commit| commit.id),
        EntityKind::Session => super::sessions::get(conn, row)?.map(|session| session.id),
        EntityKind::Turn => super::turns::id(conn, row)?,
    };
    Ok(id.unwrap_or_else(|| Id::derive(&[b"trash", &row.to_be_bytes()])))
}

fn is_taken(conn: &Connection, name: &str) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM trash WHERE name = ?1")?.exists([name])?)
}

/// Notes that a record is no longer deleted.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &mut Transaction<'_>, kind: EntityKind, entity_row: i64) -> Result<()> {
    if let Some(trashed) = find(tx, kind, entity_row)? {
        tx.prepare_cached("DELETE FROM trash WHERE row = ?1")?.execute([trashed.row])?;
        tx.changes.add_full(ChangeKind::Trash, 0, 0, Some(trashed.name));
    }
    Ok(())
}

/// Takes something out of the trash's lists without restoring it. It can still be restored by its id.
///
/// # Errors
/// When SQLite cannot write.
pub fn empty(tx: &mut Transaction<'_>, trashed: &Trashed) -> Result<()> {
    // No name has a slash in it: another may have this one's now.
    tx.prepare_cached("UPDATE trash SET listed = 0, name = row || '/' || name WHERE row = ?1")?
        .execute([trashed.row])?;
    edits::note_time(tx)?;
    tx.changes.add_full(ChangeKind::Trash, 0, 0, Some(trashed.name.clone()));
    Ok(())
}

/// Gives something in the trash another name there.
///
/// # Errors
/// When SQLite cannot write.
pub fn rename(tx: &mut Transaction<'_>, trashed: &Trashed, name: Name<'_>) -> Result<()> {
    if name.wanted != trashed.name {
        give_way(tx, name)?;
    }
    let id = id_of(tx, trashed)?;
    let free = if name.wanted == trashed.name { trashed.name.clone() } else { free_name(tx, name.wanted, &id)? };
    tx.prepare_cached("UPDATE trash SET name = ?2, by_manager = ?3 WHERE row = ?1")?.execute(params![
        trashed.row,
        free,
        name.by_manager
    ])?;
    edits::note_time(tx)?;
    // The name that was typed, if another has it: one that this directory does not list.
    tx.changes.add_full(ChangeKind::Trash, 0, 0, (free != name.wanted).then(|| name.wanted.to_owned()));
    tx.changes.add_full(ChangeKind::Trash, 0, 0, Some(trashed.name.clone()));
    Ok(())
}

/// A deleted record.
///
/// # Errors
/// When SQLite cannot read.
pub fn find(conn: &Connection, kind: EntityKind, entity_row: i64) -> Result<Option<Trashed>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM trash WHERE kind = ?1 AND entity_row = ?2"))?;
    Ok(query.query_row(params![kind as i64, entity_row], read).optional()?)
}

/// Something that the trash lists, by its name.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_name(conn: &Connection, name: &str) -> Result<Option<Trashed>> {
    let mut query = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM trash WHERE name = ?1 AND listed = 1 AND deleted_at >= ?2"))?;
    Ok(query.query_row(params![name, oldest()], read).optional()?)
}

/// All that is deleted, the latest first; also what the trash lists no more.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Trashed>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM trash ORDER BY deleted_at DESC, row DESC"))?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// What the trash lists, behind a row.
///
/// # Errors
/// When SQLite cannot read.
pub fn listed(conn: &Connection, after: i64) -> Result<Vec<Trashed>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM trash WHERE row > ?1 AND listed = 1 AND deleted_at >= ?2 ORDER BY row"
    ))?;
    Ok(query.query_map(params![after, oldest()], read)?.collect::<rusqlite::Result<_>>()?)
}
