//! Forgotten records: lines taken out of a session's `raw.jsonl`, with their hashes kept so that they do not come back.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use super::Removed;
use crate::model::{Id, Session};
use crate::store::{Result, Transaction, raw, sessions};

/// Notes a record of a session as forgotten.
///
/// # Errors
/// When SQLite cannot write.
pub fn note(conn: &Connection, session_row: i64, hash: &Id) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO forgotten_records(session_row, hash, count) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET count = count + 1",
    )?
    .execute(params![session_row, hash.0])?;
    Ok(())
}

/// Gives the hash of each forgotten record of a session part to `each`, with how many have it.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each(conn: &Connection, session_row: i64, mut each: impl FnMut(Id, u32)) -> Result<()> {
    let mut query = conn.prepare_cached("SELECT hash, count FROM forgotten_records WHERE session_row = ?1")?;
    let mut rows = query.query([session_row])?;
    while let Some(row) = rows.next()? {
        each(crate::store::id_column(row, 0)?, row.get(1)?);
    }
    Ok(())
}

/// Forgets all records of a part of a session.
pub(super) fn forget_all(tx: &mut Transaction<'_>, session: &Session, removed: &mut Removed) -> Result<()> {
    let pending: Vec<String> = tx
        .prepare_cached("SELECT leaf FROM pending_titles WHERE agent = ?1")?
        .query_map([session.agent.as_str()], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let (mut hashes, mut leaves) = (Vec::new(), Vec::new());
    raw::for_each_record(tx, session.row, |line| {
        hashes.push(Id::derive(&[line]));
        removed.bytes += line.len() as u64 + 1;
        if !pending.is_empty() {
            let text = String::from_utf8_lossy(line);
            leaves.extend(pending.iter().filter(|leaf| text.contains(leaf.as_str())).cloned());
        }
    })?;
    for hash in &hashes {
        note(tx, session.row, hash)?;
    }
    for leaf in leaves {
        tx.prepare_cached("DELETE FROM pending_titles WHERE agent = ?1 AND leaf = ?2")?
            .execute([session.agent.as_str(), &leaf])?;
    }
    removed.records += hashes.len() as u64;
    raw::replace(tx, session.row, &[])?;
    tx.prepare_cached("UPDATE sessions SET raw_bytes = 0, raw_records = 0 WHERE row = ?1")?.execute([session.row])?;
    logged_inside(tx, session, &hashes, removed)
}

/// The records of a subagent that was logged inside its session's file stand in the session's records too.
fn logged_inside(tx: &Transaction<'_>, session: &Session, hashes: &[Id], removed: &mut Removed) -> Result<()> {
    let Some((log, _)) = session.native_id.split_once("/inline-") else { return Ok(()) };
    let mut counts: HashMap<Id, u32> = HashMap::new();
    for hash in hashes {
        *counts.entry(*hash).or_default() += 1;
    }
    for part in sessions::parts(tx, session.agent, log)? {
        forget_lines(tx, part.row, removed, &mut |line| match counts.get_mut(&Id::derive(&[line])) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        })?;
    }
    Ok(())
}

/// Forgets the records of a session part that `goes` says, and counts what is left; how many there were.
///
/// # Errors
/// When SQLite cannot read or write.
pub fn forget_lines(
    tx: &Transaction<'_>,
    session_row: i64,
    removed: &mut Removed,
    goes: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<u64> {
    // Most sessions have none: they are looked at, not written.
    let (mut gone, mut place) = (HashMap::new(), 0_u64);
    raw::for_each_record(tx, session_row, |line| {
        if goes(line) {
            gone.insert(place, Id::derive(&[line]));
            removed.bytes += line.len() as u64 + 1;
        }
        place += 1;
    })?;
    if gone.is_empty() {
        return Ok(0);
    }
    let (mut rest, mut chunks, mut place) = (Vec::new(), Vec::new(), 0_u64);
    raw::for_each_record(tx, session_row, |line| {
        if !gone.contains_key(&place) {
            rest.extend_from_slice(line);
            rest.push(b'\n');
            if rest.len() >= raw::CHUNK_BYTES {
                chunks.push(raw::pack(&std::mem::take(&mut rest)));
            }
        }
        place += 1;
    })?;
    if !rest.is_empty() {
        chunks.push(raw::pack(&rest));
    }
    let chunks = chunks.into_iter().collect::<Result<Vec<_>>>()?;
    raw::replace(tx, session_row, &chunks)?;
    for hash in gone.values() {
        note(tx, session_row, hash)?;
    }
    let (bytes, records) = raw::measure(tx, session_row)?;
    tx.prepare_cached("UPDATE sessions SET raw_bytes = ?2, raw_records = ?3 WHERE row = ?1")?.execute(params![
        session_row,
        bytes,
        records
    ])?;
    removed.records += gone.len() as u64;
    Ok(gone.len() as u64)
}
