//! What lost where two machines changed the same field of a record: kept with what won, so that a user can take it back.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::{ChangeKind, EntityKind, Result, StoreError, Transaction, id_column};
use crate::model::{Id, Millis};

/// Whose value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That of this machine.
    Local,
    /// That of another one.
    Cloud,
}

impl Side {
    /// The word in the database, in JSON and in commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cloud => "cloud",
        }
    }

    /// Reads the word back.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Cloud].into_iter().find(|side| side.as_str() == text)
    }
}

/// A field that two machines changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// What commands call it.
    pub row: i64,
    pub kind: EntityKind,
    pub entity_row: i64,
    pub entity_id: Id,
    pub field: String,
    /// The value before both changes.
    pub base: Value,
    pub local: Value,
    pub cloud: Value,
    /// Whose value the record got.
    pub kept: Side,
    /// The name of the other machine; empty: not known.
    pub machine: String,
    /// What its file is called behind the number: as the record was then. A later rename leaves it.
    pub name: String,
    pub at: Millis,
}

/// The longest name of a file.
const LONGEST: usize = 255;

impl Conflict {
    /// What its file in `.cogfs/conflicts/` is called.
    #[must_use]
    pub fn file_name(&self) -> String {
        let room = LONGEST - format!("{}_.md", self.row).len();
        format!("{}_{}.md", self.row, &self.name[..self.name.floor_char_boundary(room)])
    }
}

const COLUMNS: &str = "row, kind, entity_row, entity_id, field, base, local, cloud, kept, machine, name, at";

fn read(row: &Row<'_>) -> rusqlite::Result<Conflict> {
    let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Conflict {
        row: row.get(0)?,
        kind: EntityKind::from_i64(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?,
        entity_row: row.get(2)?,
        entity_id: id_column(row, 3)?,
        field: row.get(4)?,
        base: json(row.get(5)?),
        local: json(row.get(6)?),
        cloud: json(row.get(7)?),
        kept: Side::parse(&row.get::<_, String>(8)?).unwrap_or(Side::Cloud),
        machine: row.get(9)?,
        name: row.get(10)?,
        at: Millis(row.get(11)?),
    })
}

/// Keeps a conflict; `row` of it is not looked at. The same one is kept once.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &mut Transaction<'_>, new: &Conflict) -> Result<()> {
    let json = |value: &Value| serde_json::to_string(value).map_err(|e| StoreError::Source(e.into()));
    let added = tx
        .prepare_cached(
            "INSERT INTO conflicts(kind, entity_row, entity_id, field, base, local, cloud, kept, machine, name, at)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11
         WHERE NOT EXISTS (SELECT 1 FROM conflicts WHERE kind = ?1 AND entity_row = ?2 AND field = ?4 AND local = ?6
             AND cloud = ?7 AND resolution IS NULL)",
        )?
        .execute(params![
            new.kind as i64,
            new.entity_row,
            new.entity_id.0,
            new.field,
            json(&new.base)?,
            json(&new.local)?,
            json(&new.cloud)?,
            new.kept.as_str(),
            new.machine,
            new.name,
            new.at.0,
        ])?;
    if added > 0 {
        let row = tx.last_insert_rowid();
        tx.changes.add(ChangeKind::Conflicts, row);
    }
    Ok(())
}

/// The conflicts that are open, the latest first.
///
/// # Errors
/// When SQLite cannot read.
pub fn open(conn: &Connection) -> Result<Vec<Conflict>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM conflicts WHERE resolution IS NULL ORDER BY row DESC"))?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The conflicts that are open, behind a number, in their order.
///
/// # Errors
/// When SQLite cannot read.
pub fn open_after(conn: &Connection, row: i64) -> Result<Vec<Conflict>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM conflicts WHERE row > ?1 AND resolution IS NULL ORDER BY row"
    ))?;
    Ok(query.query_map([row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The conflicts that are open, of records of a kind.
///
/// # Errors
/// When SQLite cannot read.
pub(super) fn of(conn: &Connection, kind: EntityKind, first: i64, last: i64) -> Result<Vec<Conflict>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM conflicts WHERE kind = ?1 AND entity_row BETWEEN ?2 AND ?3 AND resolution IS NULL"
    ))?;
    Ok(query.query_map(params![kind as i64, first, last], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Those that were found behind one, open ones and others, the first found first.
///
/// # Errors
/// When SQLite cannot read.
pub fn behind(conn: &Connection, row: i64) -> Result<Vec<Conflict>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM conflicts WHERE row > ?1 ORDER BY row"))?;
    Ok(query.query_map([row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The number of the last that was found; 0: none was.
///
/// # Errors
/// When SQLite cannot read.
pub fn last(conn: &Connection) -> Result<i64> {
    let mut query = conn.prepare_cached("SELECT coalesce(max(row), 0) FROM conflicts")?;
    Ok(query.query_row([], |r| r.get(0))?)
}

/// How many are open.
///
/// # Errors
/// When SQLite cannot read.
pub fn count(conn: &Connection) -> Result<u64> {
    let mut query = conn.prepare_cached("SELECT count(*) FROM conflicts WHERE resolution IS NULL")?;
    Ok(query.query_row([], |r| r.get(0))?)
}

/// How many were found since a time, open ones and others.
///
/// # Errors
/// When SQLite cannot read.
pub fn since(conn: &Connection, at: Millis) -> Result<u64> {
    let mut query = conn.prepare_cached("SELECT count(*) FROM conflicts WHERE at >= ?1")?;
    Ok(query.query_row([at.0], |r| r.get(0))?)
}

/// An open conflict by its number.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Conflict>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM conflicts WHERE row = ?1 AND resolution IS NULL"))?;
    Ok(query.query_row([row], read).optional()?)
}

/// Closes a conflict: a user took one side.
///
/// # Errors
/// When SQLite cannot write.
pub fn resolve(tx: &mut Transaction<'_>, row: i64, side: Side) -> Result<()> {
    let Some(conflict) = get(tx, row)? else { return Ok(()) };
    tx.prepare_cached("UPDATE conflicts SET resolution = ?2 WHERE row = ?1")?.execute(params![row, side.as_str()])?;
    tx.changes.add_full(ChangeKind::Conflicts, row, 0, Some(conflict.file_name()));
    Ok(())
}
