//! The search index as a whole: whether it holds what it should, and building it anew. What an import adds to it is `turns`'.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;

use super::{Result, Writer, set_state, state, turns};

/// Bytes of text that are indexed in one transaction.
const STEP_BYTES: u64 = 16 * 1024 * 1024;

/// Set in `state` while a rebuild is not at its end.
const REBUILDING: &str = "search_rebuild";

/// Turns that the index lacks, or has though they are not there; counts alone are compared.
///
/// # Errors
/// When SQLite cannot read.
pub fn difference(conn: &Connection) -> Result<u64> {
    let (turns, indexed): (i64, i64) = conn
        .prepare("SELECT (SELECT count(*) FROM turns), (SELECT count(*) FROM turns_fts_docsize)")?
        .query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(turns.abs_diff(indexed))
}

/// Whether a rebuild was begun and not ended.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_half_built(conn: &Connection) -> Result<bool> {
    Ok(state(conn, REBUILDING)?.is_some())
}

/// Whether the index holds every word of every turn and no other. Reads all of both; holds the write lock meanwhile, as
/// FTS5 has this check behind an INSERT.
///
/// # Errors
/// When another process keeps the database locked.
pub fn is_sound(writer: &mut Writer) -> Result<bool> {
    let tx = writer.begin()?;
    // A rank other than 0 compares with the content table too (https://sqlite.org/fts5.html, section 6.5).
    let checked = tx.execute_batch("INSERT INTO turns_fts(turns_fts, rank) VALUES ('integrity-check', 1)");
    match checked {
        Ok(()) => Ok(true),
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseCorrupt) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Builds the index anew, in transactions of a bounded size. Stopped in between it is not whole: imports go on adding to it,
/// and the next call goes on with what is missing. No import may run meanwhile.
///
/// # Errors
/// When SQLite cannot write.
pub fn rebuild(writer: &mut Writer, stop: &AtomicBool, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
    if !is_half_built(writer.conn())? {
        let tx = writer.begin()?;
        tx.execute_batch("INSERT INTO turns_fts(turns_fts) VALUES ('delete-all')")?;
        set_state(&tx, REBUILDING, "1")?;
        tx.commit()?;
    }
    let total: u64 = writer.conn().query_row("SELECT count(*) FROM turns", [], |r| r.get(0))?;
    let (mut after, mut done) = (i64::MIN, 0);
    while !stop.load(Ordering::Relaxed) {
        let tx = writer.begin()?;
        let rows = missing_after(&tx, after)?;
        let Some(last) = rows.last().copied() else {
            tx.execute("DELETE FROM state WHERE key = ?1", [REBUILDING])?;
            tx.commit()?;
            break;
        };
        done += rows.len() as u64;
        turns::index(&tx, rows)?;
        tx.commit()?;
        after = last;
        progress(done, total);
    }
    Ok(())
}

/// The next turns that are not in the index, as many as one transaction takes.
fn missing_after(conn: &Connection, after: i64) -> Result<Vec<i64>> {
    // octet_length reads no text: it is in the row's header.
    let mut query = conn.prepare_cached(
        "SELECT row, octet_length(text) + coalesce(octet_length(tool_input), 0) + coalesce(octet_length(tool_output), 0)
         FROM turns WHERE row > ?1 AND NOT EXISTS (SELECT 1 FROM turns_fts_docsize WHERE id = turns.row) ORDER BY row",
    )?;
    let mut found = query.query([after])?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        rows.push(row.get(0)?);
        bytes += row.get::<_, u64>(1)? + 100;
        if bytes >= STEP_BYTES {
            break;
        }
    }
    Ok(rows)
}
