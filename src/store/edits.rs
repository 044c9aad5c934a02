//! The log of users' edits: when, from where, what was before and after.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::{EntityKind, Result, StoreError, Transaction, id_column, machines, set_state};
use crate::model::{Id, Millis};

/// The key of the time when something was edited last, in the table `state`.
pub const LAST_EDIT: &str = "last_edit";

/// Notes that something was edited now.
///
/// # Errors
/// When SQLite cannot write.
pub fn note_time(tx: &Transaction<'_>) -> Result<()> {
    set_state(tx, LAST_EDIT, &Millis::now().0.to_string())
}

/// How an edit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// By a write on a mount.
    Mount,
    /// By a command.
    Command,
    /// By a command written to `.cogfs/ctl`.
    Control,
    /// On another machine.
    Sync,
    /// In another program, whose database was imported.
    Import,
}

impl Origin {
    /// The word in the log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Command => "command",
            Self::Control => "ctl",
            Self::Sync => "sync",
            Self::Import => "import",
        }
    }
}

/// One edit of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub seq: i64,
    pub at: Millis,
    pub origin: String,
    /// The name of the machine.
    pub machine: String,
    pub kind: EntityKind,
    pub entity_row: i64,
    pub entity_id: Id,
    pub action: String,
    pub before: Value,
    pub after: Value,
    /// The edit that it takes back.
    pub undoes: Option<i64>,
    /// The edit that took it back; `None`: it holds.
    pub undone_by: Option<i64>,
}

/// An edit to be logged.
#[derive(Debug, Clone)]
pub struct NewEdit<'a> {
    pub origin: Origin,
    /// The name of the machine it was made on; `None`: this one.
    pub machine: Option<&'a str>,
    pub kind: EntityKind,
    pub entity_row: i64,
    pub entity_id: Id,
    pub action: &'a str,
    pub before: Value,
    pub after: Value,
    pub undoes: Option<i64>,
    /// When it was made; `None`: now.
    pub at: Option<Millis>,
}

const COLUMNS: &str =
    "e.seq, e.at, e.origin, e.machine, e.kind, e.entity_row, e.entity_id, e.action, e.before, e.after,
    e.undoes, e.undone_by";

fn read(row: &Row<'_>) -> rusqlite::Result<Logged> {
    let json = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
    Ok(Logged {
        seq: row.get(0)?,
        at: Millis(row.get(1)?),
        origin: row.get(2)?,
        machine: row.get(3)?,
        kind: EntityKind::from_i64(row.get(4)?).ok_or(rusqlite::Error::InvalidQuery)?,
        entity_row: row.get(5)?,
        entity_id: id_column(row, 6)?,
        action: row.get(7)?,
        before: json(row.get(8)?),
        after: json(row.get(9)?),
        undoes: row.get(10)?,
        undone_by: row.get(11)?,
    })
}

/// Logs an edit; its number.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &Transaction<'_>, new: &NewEdit<'_>) -> Result<i64> {
    let json = |value: &Value| serde_json::to_string(value).map_err(|e| StoreError::Source(e.into()));
    note_time(tx)?;
    let machine = new.machine.map_or_else(|| machines::local_name(tx), |name| Ok(name.to_owned()))?;
    tx.prepare_cached(
        "INSERT INTO edits(at, origin, machine, kind, entity_row, entity_id, action, before, after, undoes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        new.at.unwrap_or_else(Millis::now).0,
        new.origin.as_str(),
        machine,
        new.kind as i64,
        new.entity_row,
        new.entity_id.0,
        new.action,
        json(&new.before)?,
        json(&new.after)?,
        new.undoes,
    ])?;
    let seq = tx.last_insert_rowid();
    if let Some(undone) = new.undoes {
        note_undone(tx, undone, seq)?;
    }
    Ok(seq)
}

/// Notes that an edit was taken back. What it had taken back itself holds again, and what that had taken back does not.
fn note_undone(tx: &Transaction<'_>, seq: i64, by: i64) -> Result<()> {
    let (mut undone, mut by) = (seq, Some(by));
    loop {
        tx.prepare_cached("UPDATE edits SET undone_by = ?2 WHERE seq = ?1")?.execute(params![undone, by])?;
        let mut query = tx.prepare_cached("SELECT undoes FROM edits WHERE seq = ?1")?;
        let Some(next) = query.query_row([undone], |r| r.get::<_, Option<i64>>(0)).optional()?.flatten() else {
            return Ok(());
        };
        by = if by.is_some() { None } else { Some(undone) };
        undone = next;
    }
}

/// Takes the last deletion of a record out of the log: it was the beginning of a larger one, which the log tells of.
///
/// # Errors
/// When SQLite cannot write.
pub fn forget_deletion(tx: &Transaction<'_>, kind: EntityKind, entity_row: i64) -> Result<()> {
    let last: Option<i64> = tx
        .prepare_cached("SELECT max(seq) FROM edits WHERE kind = ?1 AND entity_row = ?2 AND action = 'delete'")?
        .query_row(params![kind as i64, entity_row], |r| r.get(0))?;
    tx.prepare_cached("DELETE FROM edits WHERE seq = ?1")?.execute([last])?;
    tx.prepare_cached("UPDATE edits SET undone_by = NULL WHERE undone_by = ?1")?.execute([last])?;
    Ok(())
}

/// An edit by its number.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, seq: i64) -> Result<Option<Logged>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM edits e WHERE e.seq = ?1"))?;
    Ok(query.query_row([seq], read).optional()?)
}

/// The edits of a record that came after one and hold, the latest first.
///
/// # Errors
/// When SQLite cannot read.
pub fn later(conn: &Connection, than: &Logged) -> Result<Vec<Logged>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM edits e WHERE e.kind = ?1 AND e.entity_row = ?2 AND e.seq > ?3 AND e.undone_by IS NULL
         ORDER BY e.seq DESC"
    ))?;
    Ok(query.query_map(params![than.kind as i64, than.entity_row, than.seq], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The edits since a time, the latest first; of one record if that is named.
///
/// # Errors
/// When SQLite cannot read.
pub fn since(conn: &Connection, at: Millis, of: Option<(EntityKind, i64)>) -> Result<Vec<Logged>> {
    let (kind, row) = of.map_or((0, 0), |(kind, row)| (kind as i64, row));
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM edits e WHERE e.at >= ?1 AND (?2 = 0 OR e.kind = ?2 AND e.entity_row = ?3) ORDER BY e.seq DESC"
    ))?;
    Ok(query.query_map(params![at.0, kind, row], read)?.collect::<rusqlite::Result<_>>()?)
}
