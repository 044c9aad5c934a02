//! The machines that sessions were imported on. This one is known from its first session on.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Result, Transaction, set_state, state};
use crate::model::Id;

/// The key in `state` of this machine's row.
const LOCAL: &str = "machine";

/// The row of this machine, once it is known.
///
/// # Errors
/// When SQLite cannot read.
pub fn local(conn: &Connection) -> Result<Option<i64>> {
    Ok(state(conn, LOCAL)?.and_then(|row| row.parse().ok()))
}

/// The name of this machine; empty while nothing was imported on it.
///
/// # Errors
/// When SQLite cannot read.
pub fn local_name(conn: &Connection) -> Result<String> {
    let Some(row) = local(conn)? else { return Ok(String::new()) };
    let mut query = conn.prepare_cached("SELECT name FROM machines WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// The id of this machine, once it is known.
///
/// # Errors
/// When SQLite cannot read.
pub fn local_id(conn: &Connection) -> Result<Option<Id>> {
    let Some(row) = local(conn)? else { return Ok(None) };
    let mut query = conn.prepare_cached("SELECT id FROM machines WHERE row = ?1")?;
    Ok(query.query_row([row], |r| super::id_column(r, 0)).optional()?)
}

/// The name of a machine; empty when it is not known here.
///
/// # Errors
/// When SQLite cannot read.
pub fn name_of(conn: &Connection, id: &Id) -> Result<String> {
    let mut query = conn.prepare_cached("SELECT name FROM machines WHERE id = ?1")?;
    Ok(query.query_row([id.0], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// Makes this machine known. `name` is the host's, `dir_name` what its directory in `by/machine/` is called.
///
/// # Errors
/// When SQLite cannot write.
pub fn create_local(tx: &Transaction<'_>, name: &str, dir_name: &str) -> Result<i64> {
    let id: [u8; 16] = tx.query_row("SELECT randomblob(16)", [], |r| r.get(0))?;
    let taken = tx.prepare("SELECT 1 FROM machines WHERE dir_name = ?1")?.exists([dir_name])?;
    let dir_name = if taken { format!("{dir_name}_{}", Id(id).short()) } else { dir_name.to_owned() };
    tx.execute("INSERT INTO machines(id, name, dir_name) VALUES (?1, ?2, ?3)", params![id, name, dir_name])?;
    let row = tx.last_insert_rowid();
    set_state(tx, LOCAL, &row.to_string())?;
    Ok(row)
}

/// Makes a machine known that is not this one; its row. Its directory is called `wanted`, with the id behind where another's is.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(tx: &Transaction<'_>, id: &Id, name: &str, wanted: &str) -> Result<i64> {
    let taken = tx.prepare_cached("SELECT 1 FROM machines WHERE dir_name = ?1")?.exists([wanted])?;
    let dir_name = if taken { super::cut_name(wanted, &format!("_{}", id.short())) } else { wanted.to_owned() };
    tx.execute("INSERT INTO machines(id, name, dir_name) VALUES (?1, ?2, ?3)", params![id.0, name, dir_name])?;
    Ok(tx.last_insert_rowid())
}

/// The row of a machine by its id.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id(conn: &Connection, id: &Id) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM machines WHERE id = ?1")?;
    Ok(query.query_row([id.0], |r| r.get(0)).optional()?)
}

/// What a machine's directory in `by/machine/` is called.
///
/// # Errors
/// When SQLite cannot read.
pub fn dir_name(conn: &Connection, row: i64) -> Result<Option<String>> {
    let mut query = conn.prepare_cached("SELECT dir_name FROM machines WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?)
}

/// The id of a machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn id(conn: &Connection, row: i64) -> Result<Option<Id>> {
    let mut query = conn.prepare_cached("SELECT id FROM machines WHERE row = ?1")?;
    Ok(query.query_row([row], |r| super::id_column(r, 0)).optional()?)
}

/// The name of the machine that a session was imported on; empty when it is not known here.
///
/// # Errors
/// When SQLite cannot read.
pub fn name_of_session(conn: &Connection, session_row: i64) -> Result<String> {
    let mut query =
        conn.prepare_cached("SELECT m.name FROM sessions s JOIN machines m ON m.row = s.machine_row WHERE s.row = ?1")?;
    Ok(query.query_row([session_row], |r| r.get(0)).optional()?.unwrap_or_default())
}

/// The directory's name of the machine that a session was imported on.
///
/// # Errors
/// When SQLite cannot read.
pub fn dir_name_of_session(conn: &Connection, session_row: i64) -> Result<Option<String>> {
    let mut query = conn.prepare_cached(
        "SELECT m.dir_name FROM sessions s JOIN machines m ON m.row = s.machine_row WHERE s.row = ?1",
    )?;
    Ok(query.query_row([session_row], |r| r.get(0)).optional()?)
}
