//! Pictures: rows here, bytes in content-addressed files.

use std::fs;
use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::{ChangeKind, Layout, Result, StoreError, Transaction, private_dir};
use crate::model::{Id, Millis, Visual};

const COLUMNS: &str = "row, commit_row, file_name, sha256, mime, bytes, captured_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Visual> {
    Ok(Visual {
        row: row.get(0)?,
        commit_row: row.get::<_, Option<i64>>(1)?.unwrap_or(0),
        file_name: row.get(2)?,
        sha256: row.get(3)?,
        mime: row.get(4)?,
        bytes: row.get(5)?,
        captured_at: Millis(row.get(6)?),
    })
}

/// A picture by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Visual>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM visuals WHERE row = ?1"))?;
    Ok(query.query_row([row], read).optional()?)
}

/// Whether a picture is of a session that was not imported here.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_of_another_machine(conn: &Connection, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM visuals v JOIN sessions s ON s.row = v.turn_row >> 16 WHERE v.row = ?1 AND s.contents <> 0",
    )?;
    Ok(query.exists([row])?)
}

/// A commit's pictures, in order.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Visual>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM visuals WHERE commit_row = ?1 ORDER BY ordinal"))?;
    Ok(query.query_map([commit_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The file names of a turn's pictures, in order.
///
/// # Errors
/// When SQLite cannot read.
pub fn names_of_turn(conn: &Connection, turn_row: i64) -> Result<Vec<String>> {
    let mut query = conn.prepare_cached("SELECT file_name FROM visuals WHERE turn_row = ?1 ORDER BY row")?;
    Ok(query.query_map([turn_row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Whether a turn has a picture of these bytes.
///
/// # Errors
/// When SQLite cannot read.
pub fn turn_has(conn: &Connection, turn_row: i64, sha256: &str) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM visuals WHERE turn_row = ?1 AND sha256 = ?2")?;
    Ok(query.exists(params![turn_row, sha256])?)
}

/// The pictures of a session's turns: id, turn's row, number in the commit, and the rest.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_of_session(conn: &Connection, session_row: i64) -> Result<Vec<(Id, i64, u32, Visual)>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, id, turn_row, ordinal FROM visuals WHERE turn_row BETWEEN ?1 AND ?2 ORDER BY row"
    ))?;
    let rows = query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| {
        Ok((super::id_column(r, 7)?, r.get(8)?, r.get(9)?, read(r)?))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// How many pictures a session's turns have.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_session(conn: &Connection, session_row: i64) -> Result<u32> {
    let mut query = conn.prepare_cached("SELECT count(*) FROM visuals WHERE turn_row BETWEEN ?1 AND ?2")?;
    Ok(query.query_row([session_row << 16, (session_row << 16) + 65_535], |r| r.get(0))?)
}

/// A session's turns whose number of pictures is not that of their pictures.
///
/// # Errors
/// When SQLite cannot read.
pub fn miscounted_turns(conn: &Connection, session_row: i64) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached(
        "SELECT row FROM turns WHERE row BETWEEN ?1 AND ?2
           AND images <> (SELECT count(*) FROM visuals WHERE turn_row = turns.row)",
    )?;
    let rows = query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Counts the pictures of a session's turns anew.
///
/// # Errors
/// When SQLite cannot write.
pub fn recount(conn: &Connection, session_row: i64) -> Result<()> {
    conn.prepare_cached(
        "UPDATE turns SET images = (SELECT count(*) FROM visuals WHERE turn_row = turns.row)
         WHERE row BETWEEN ?1 AND ?2 AND images <> (SELECT count(*) FROM visuals WHERE turn_row = turns.row)",
    )?
    .execute([session_row << 16, (session_row << 16) + 65_535])?;
    Ok(())
}

/// Whether a commit has pictures.
///
/// # Errors
/// When SQLite cannot read.
pub fn any_of_commit(conn: &Connection, commit_row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM visuals WHERE commit_row = ?1 LIMIT 1")?;
    Ok(query.exists([commit_row])?)
}

/// The number the next picture of a commit gets.
///
/// # Errors
/// When SQLite cannot read.
pub fn next_ordinal(conn: &Connection, commit_row: Option<i64>) -> Result<u32> {
    let Some(commit_row) = commit_row else { return Ok(1) };
    let mut query = conn.prepare_cached("SELECT coalesce(max(ordinal), 0) + 1 FROM visuals WHERE commit_row = ?1")?;
    Ok(query.query_row([commit_row], |r| r.get(0))?)
}

/// A picture to be.
pub struct NewVisual<'a> {
    pub id: Id,
    pub commit_row: Option<i64>,
    pub turn_row: i64,
    pub ordinal: u32,
    pub file_name: &'a str,
    pub sha256: &'a str,
    pub mime: &'a str,
    pub bytes: u64,
    pub captured_at: Millis,
}

/// Adds a picture's row. A picture that is there already stays as it is.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(tx: &mut Transaction<'_>, new: &NewVisual<'_>) -> Result<()> {
    tx.prepare_cached(
        "INSERT OR IGNORE INTO visuals(id, commit_row, turn_row, ordinal, file_name, sha256, mime, bytes, captured_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        new.id.0,
        new.commit_row,
        new.turn_row,
        new.ordinal,
        new.file_name,
        new.sha256,
        new.mime,
        new.bytes,
        new.captured_at.0
    ])?;
    if let Some(commit_row) = new.commit_row {
        tx.changes.add(ChangeKind::CommitVisuals, commit_row);
    }
    Ok(())
}

/// Gives a picture another place: what another machine says of it.
///
/// # Errors
/// When SQLite cannot write.
pub fn rename(tx: &mut Transaction<'_>, id: &Id, commit_row: i64, ordinal: u32, file_name: &str) -> Result<()> {
    let known: Option<(i64, Option<i64>, i64, String)> = tx
        .prepare_cached("SELECT row, commit_row, turn_row, file_name FROM visuals WHERE id = ?1")?
        .query_row([id.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))
        .optional()?;
    let Some((row, former, turn_row, name)) = known else { return Ok(()) };
    tx.prepare_cached("UPDATE visuals SET commit_row = ?2, ordinal = ?3, file_name = ?4 WHERE row = ?1")?
        .execute(params![row, commit_row, ordinal, file_name])?;
    if let Some(former) = former {
        tx.changes.add_full(ChangeKind::CommitVisuals, former, row, Some(name));
    }
    tx.changes.add(ChangeKind::CommitVisuals, commit_row);
    tx.changes.add(ChangeKind::Turn, turn_row);
    Ok(())
}

/// Gives the pictures of one commit to another, numbered behind those it has.
///
/// # Errors
/// When SQLite cannot write.
pub fn move_to_commit(tx: &mut Transaction<'_>, from: i64, into: i64) -> Result<()> {
    let rows = rows_where(tx, "commit_row = ?1", from, 0)?;
    renumber(tx, &rows, into)
}

/// Gives the pictures of one session's turns to a commit, numbered behind those it has.
///
/// # Errors
/// When SQLite cannot write.
pub fn move_session(tx: &mut Transaction<'_>, session_row: i64, into: i64) -> Result<()> {
    let rows = rows_where(tx, "turn_row BETWEEN ?1 AND ?2", session_row << 16, (session_row << 16) + 65_535)?;
    renumber(tx, &rows, into)
}

fn rows_where(conn: &Connection, condition: &str, a: i64, b: i64) -> Result<Vec<(i64, i64, String)>> {
    // ?2 is named in every text so that both conditions take the same parameters.
    let mut query = conn.prepare_cached(&format!(
        "SELECT row, turn_row, file_name FROM visuals WHERE {condition} AND ?2 = ?2 ORDER BY row"
    ))?;
    let rows = query.query_map([a, b], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn renumber(tx: &mut Transaction<'_>, rows: &[(i64, i64, String)], into: i64) -> Result<()> {
    for (row, turn_row, file_name) in rows {
        let ordinal = next_ordinal(tx, Some(into))?;
        let rest = file_name.split_once('_').map_or(file_name.as_str(), |(_, rest)| rest);
        let name = format!("{ordinal:04}_{rest}");
        tx.prepare_cached("UPDATE visuals SET commit_row = ?2, ordinal = ?3, file_name = ?4 WHERE row = ?1")?
            .execute(params![row, into, ordinal, name])?;
        tx.changes.add(ChangeKind::Turn, *turn_row);
        tx.changes.add(ChangeKind::Session, turn_row >> 16);
    }
    if !rows.is_empty() {
        tx.changes.add(ChangeKind::CommitVisuals, into);
    }
    Ok(())
}

/// Hex SHA-256: the name of a blob.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a text is the name of a blob.
#[must_use]
pub fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Writes a blob that came from elsewhere; false when its bytes are not those of its name, and nothing is written.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_fetched_blob(layout: &Layout, sha256: &str, bytes: &[u8]) -> Result<bool> {
    if digest(bytes) != sha256 {
        return Ok(false);
    }
    write_blob(layout, sha256, bytes).map(|()| true)
}

/// Writes a blob unless it is there: whole or not at all, readable by the owner alone.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_blob(layout: &Layout, sha256: &str, bytes: &[u8]) -> Result<()> {
    if fs::metadata(layout.blob(sha256)).is_ok_and(|m| m.len() == bytes.len() as u64) {
        return Ok(());
    }
    replace_blob(layout, sha256, bytes)
}

/// Writes a blob in the place of whatever is there: a file of other bytes, or none.
///
/// # Errors
/// When the folder cannot be written.
pub fn replace_blob(layout: &Layout, sha256: &str, bytes: &[u8]) -> Result<()> {
    let path = layout.blob(sha256);
    let dir = path.parent().unwrap_or(Path::new("."));
    private_dir(dir)?;
    let io = |source| StoreError::Io { path: path.clone(), source };
    // tempfile makes its files 0600.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_data().map_err(io)?;
    file.persist(&path).map_err(|e| io(e.error))?;
    Ok(())
}
