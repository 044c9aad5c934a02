//! What the cloud was told: of each record which version of its facts, of each session's contents how far.
//!
//! Triggers count the versions (`migrations/local`); what is sent is marked with the version that was read. What comes from the
//! cloud marks nothing: it is written between [`pause`] and [`resume`].

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, ToSql, params};

use super::{Result, Transaction, many, set_state};
use crate::model::{Id, Tokens};

/// The key in `state` while what the cloud says is written.
const PULLING: &str = "pulling";

/// The key in `state` that says that everything is to be pulled once more.
pub const AGAIN: &str = "sync_again";

/// Whose facts. As `EntityKind`, and machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Facts {
    Machine = 0,
    Project = 1,
    Commit = 2,
    Session = 3,
}

/// What is written from here on is the cloud's.
///
/// # Errors
/// When SQLite cannot write.
pub fn pause(tx: &Transaction<'_>) -> Result<()> {
    set_state(tx, PULLING, "1")
}

/// Ends [`pause`].
///
/// # Errors
/// When SQLite cannot write.
pub fn resume(tx: &Transaction<'_>) -> Result<()> {
    tx.prepare_cached("DELETE FROM state WHERE key = ?1")?.execute([PULLING])?;
    Ok(())
}

/// Marks facts of this version as sent; newer ones stay unsent.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent(conn: &Connection, kind: Facts, row: i64, version: i64) -> Result<()> {
    conn.prepare_cached("UPDATE sent_facts SET sent = max(sent, ?3) WHERE kind = ?1 AND entity_row = ?2")?
        .execute(params![kind as u8, row, version])?;
    Ok(())
}

/// The version of a record's facts, and the one that was sent.
///
/// # Errors
/// When SQLite cannot read.
pub fn version(conn: &Connection, kind: Facts, row: i64) -> Result<(i64, i64)> {
    let mut query = conn.prepare_cached("SELECT version, sent FROM sent_facts WHERE kind = ?1 AND entity_row = ?2")?;
    Ok(query.query_row(params![kind as u8, row], |r| Ok((r.get(0)?, r.get(1)?))).optional()?.unwrap_or((0, 0)))
}

/// Whether the cloud was told of a record, or told of it.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_known(conn: &Connection, kind: Facts, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached(
        "SELECT 1 FROM sent_facts WHERE kind = ?1 AND entity_row = ?2 AND (sent > 0 OR pulled IS NOT NULL)",
    )?;
    Ok(query.exists(params![kind as u8, row])?)
}

/// Says that a record's facts are those of the cloud. `hash` tells them from others.
///
/// # Errors
/// When SQLite cannot write.
pub fn pulled(conn: &Connection, kind: Facts, row: i64, hash: &Id) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sent_facts(kind, entity_row, version, sent, pulled) VALUES (?1, ?2, 1, 1, ?3)
         ON CONFLICT(kind, entity_row) DO UPDATE SET sent = version, pulled = ?3",
    )?
    .execute(params![kind as u8, row, hash.0])?;
    Ok(())
}

/// [`pulled`] of many records.
///
/// # Errors
/// When SQLite cannot write.
pub fn pulled_many(conn: &Connection, records: &[(Facts, i64, Id)]) -> Result<()> {
    let rows: Vec<(u8, i64, [u8; 16])> = records.iter().map(|(kind, row, hash)| (*kind as u8, *row, hash.0)).collect();
    let values: Vec<&dyn ToSql> =
        rows.iter().flat_map(|(kind, row, hash)| [kind as &dyn ToSql, row, &1, &1, hash]).collect();
    let again = "ON CONFLICT(kind, entity_row) DO UPDATE SET sent = version, pulled = excluded.pulled";
    many::insert(conn, "INSERT INTO sent_facts(kind, entity_row, version, sent, pulled)", again, 5, &values)
}

/// Notes the facts that came from the cloud for a record that has its own.
///
/// # Errors
/// When SQLite cannot write.
pub fn met(conn: &Connection, kind: Facts, row: i64, hash: &Id) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sent_facts(kind, entity_row, version, sent, pulled) VALUES (?1, ?2, 1, 0, ?3)
         ON CONFLICT(kind, entity_row) DO UPDATE SET pulled = ?3",
    )?
    .execute(params![kind as u8, row, hash.0])?;
    Ok(())
}

/// The cloud does not have a record any more.
///
/// # Errors
/// When SQLite cannot write.
pub fn unknown(conn: &Connection, kind: Facts, row: i64) -> Result<()> {
    conn.prepare_cached("UPDATE sent_facts SET sent = 0, pulled = NULL WHERE kind = ?1 AND entity_row = ?2")?
        .execute(params![kind as u8, row])?;
    Ok(())
}

/// The cloud does not have a record any more, and is to have it again though nothing of its contents is here.
///
/// # Errors
/// When SQLite cannot write.
pub fn wanted(conn: &Connection, kind: Facts, row: i64) -> Result<()> {
    conn.prepare_cached("UPDATE sent_facts SET sent = -1, pulled = NULL WHERE kind = ?1 AND entity_row = ?2")?
        .execute(params![kind as u8, row])?;
    Ok(())
}

/// The cloud removed a record, long after it was deleted.
///
/// # Errors
/// When SQLite cannot write.
pub fn removed_there(conn: &Connection, id: &Id) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO removed_there(id) VALUES (?1)")?.execute([id.0])?;
    Ok(())
}

/// Whether the cloud had removed a record that it has now: said once.
///
/// # Errors
/// When SQLite cannot write.
pub fn was_removed_there(conn: &Connection, id: &Id) -> Result<bool> {
    Ok(conn.prepare_cached("DELETE FROM removed_there WHERE id = ?1")?.execute([id.0])? > 0)
}

/// Has facts taken again that came from the cloud once: what is here is not made of them any more.
///
/// # Errors
/// When SQLite cannot write.
pub fn forget_pulled(conn: &Connection, kind: Facts, row: i64) -> Result<()> {
    conn.prepare_cached("UPDATE sent_facts SET pulled = NULL WHERE kind = ?1 AND entity_row = ?2")?
        .execute(params![kind as u8, row])?;
    Ok(())
}

/// Has facts come again and taken, though nothing about them changes in the cloud: everything is pulled once more.
///
/// # Errors
/// When SQLite cannot write.
pub fn wanted_again(conn: &Connection, kind: Facts, row: i64) -> Result<()> {
    forget_pulled(conn, kind, row)?;
    conn.prepare_cached("INSERT OR IGNORE INTO state(key, value) VALUES (?1, '1')")?.execute([AGAIN])?;
    Ok(())
}

/// Whether these are the facts that came from the cloud last.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_last_pulled(conn: &Connection, kind: Facts, row: i64, hash: &Id) -> Result<bool> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM sent_facts WHERE kind = ?1 AND entity_row = ?2 AND pulled = ?3")?;
    Ok(query.exists(params![kind as u8, row, hash.0])?)
}

/// Has a record's facts sent (again).
///
/// # Errors
/// When SQLite cannot write.
pub fn changed(conn: &Connection, kind: Facts, row: i64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sent_facts(kind, entity_row, version) VALUES (?1, ?2, 1)
         ON CONFLICT(kind, entity_row) DO UPDATE SET version = version + 1",
    )?
    .execute(params![kind as u8, row])?;
    Ok(())
}

/// Forgets what the cloud was told, as for another account: everything is sent anew.
///
/// # Errors
/// When SQLite cannot write.
pub fn nothing(tx: &Transaction<'_>) -> Result<()> {
    tx.execute_batch(
        "UPDATE sent_facts SET sent = 0, pulled = NULL;
         DELETE FROM removed_there;
         DELETE FROM sent_contents;
         DELETE FROM objects WHERE state <> 1;
         DELETE FROM unsent_usage;
         INSERT INTO unsent_usage(session_row, key) SELECT session_row, key FROM message_usage;",
    )?;
    Ok(())
}

/// How far the cloud has a session's contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// All turns up to this number.
    pub turns: u32,
    /// So many chunks.
    pub chunks: u32,
    /// Bytes of those chunks, as they were sent.
    pub raw_bytes: u64,
    /// Turns and chunks ever sent.
    pub most_turns: u32,
    pub most_chunks: u32,
}

/// How far the cloud has a session's contents.
///
/// # Errors
/// When SQLite cannot read.
pub fn contents(conn: &Connection, session_row: i64) -> Result<Sent> {
    let mut query = conn.prepare_cached(
        "SELECT turns, chunks, raw_bytes, most_turns, most_chunks FROM sent_contents WHERE session_row = ?1",
    )?;
    let read = |r: &rusqlite::Row<'_>| {
        Ok(Sent {
            turns: r.get(0)?,
            chunks: r.get(1)?,
            raw_bytes: r.get(2)?,
            most_turns: r.get(3)?,
            most_chunks: r.get(4)?,
        })
    };
    Ok(query.query_row([session_row], read).optional()?.unwrap_or_default())
}

/// Marks turns as sent: those behind `after`, up to `last`. If an earlier one was written meanwhile they are sent again with it.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent_turns(conn: &Connection, session_row: i64, after: u32, last: u32) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sent_contents(session_row, turns, most_turns) VALUES (?1, iif(?2 = 0, ?3, 0), ?3)
         ON CONFLICT(session_row) DO UPDATE SET turns = iif(turns = ?2, ?3, turns), most_turns = max(most_turns, ?3)",
    )?
    .execute(params![session_row, after, last])?;
    Ok(())
}

/// Marks chunks as sent: so many behind `after`, with their bytes as they were sent.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent_chunks(conn: &Connection, session_row: i64, after: u32, count: u32, bytes: u64) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO sent_contents(session_row, chunks, raw_bytes, most_chunks)
             VALUES (?1, iif(?2 = 0, ?2 + ?3, 0), iif(?2 = 0, ?4, 0), ?2 + ?3)
         ON CONFLICT(session_row) DO UPDATE SET raw_bytes = iif(chunks = ?2, raw_bytes + ?4, raw_bytes),
             chunks = iif(chunks = ?2, ?2 + ?3, chunks), most_chunks = max(most_chunks, ?2 + ?3)",
    )?
    .execute(params![session_row, after, count, bytes])?;
    Ok(())
}

/// Chunks from this number on are empty in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn cut_chunks(conn: &Connection, session_row: i64, chunks: u32) -> Result<()> {
    conn.prepare_cached("UPDATE sent_contents SET most_chunks = max(chunks, ?2) WHERE session_row = ?1")?
        .execute(params![session_row, chunks])?;
    Ok(())
}

/// Turns of these rows were written: of their sessions, what comes from there on is to be sent (again).
pub(super) fn turns_written(conn: &Connection, rows: &[i64]) -> Result<()> {
    let mut first: BTreeMap<i64, i64> = BTreeMap::new();
    for row in rows {
        let number = row & 0xffff;
        first.entry(row >> 16).and_modify(|n| *n = number.min(*n)).or_insert(number);
    }
    let mut lower = conn.prepare_cached("UPDATE sent_contents SET turns = ?2 WHERE session_row = ?1 AND turns > ?2")?;
    for (session, number) in first {
        lower.execute([session, (number - 1).max(0)])?;
    }
    Ok(())
}

/// A session's records were replaced: they are to be sent again.
///
/// # Errors
/// When SQLite cannot write.
pub fn raw_replaced(conn: &Connection, session_row: i64) -> Result<()> {
    conn.prepare_cached("UPDATE sent_contents SET chunks = 0, raw_bytes = 0 WHERE session_row = ?1")?
        .execute([session_row])?;
    Ok(())
}

/// A session's contents are those of another machine from here on: what is here is a copy of a part of them.
///
/// # Errors
/// When SQLite cannot write.
pub fn superseded(conn: &Connection, session_row: i64) -> Result<()> {
    conn.prepare_cached("DELETE FROM sent_contents WHERE session_row = ?1")?.execute([session_row])?;
    conn.prepare_cached(
        "INSERT OR IGNORE INTO unsent_usage(session_row, key) SELECT session_row, key FROM message_usage WHERE session_row = ?1",
    )?
    .execute([session_row])?;
    Ok(())
}

/// A session's contents are to be sent whole.
///
/// # Errors
/// When SQLite cannot write.
pub fn no_contents(conn: &Connection, session_row: i64) -> Result<()> {
    superseded(conn, session_row)
}

/// What a message cost, by its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    pub key: Id,
    pub model: Option<String>,
    pub tokens: Tokens,
}

/// What messages of a session cost, as far as the cloud was not told.
///
/// # Errors
/// When SQLite cannot read.
pub fn unsent_usage(conn: &Connection, session_row: i64, limit: u32) -> Result<Vec<Cost>> {
    let mut query = conn.prepare_cached(
        // Each of both tables by its key: a join with `message_usage` would make a table of all of it, for every session.
        "SELECT m.key, m.model, m.input, m.output, m.cache_read, m.cache_write
             FROM unsent_usage u CROSS JOIN usage_new m ON m.key = u.key WHERE u.session_row = ?1
         UNION ALL
         SELECT m.key, m.model, m.input, m.output, m.cache_read, m.cache_write
             FROM unsent_usage u CROSS JOIN usage_sorted m ON m.key = u.key WHERE u.session_row = ?1
         ORDER BY 1 LIMIT ?2",
    )?;
    let rows = query.query_map(params![session_row, limit], |r| {
        let tokens = Tokens { input: r.get(2)?, output: r.get(3)?, cache_read: r.get(4)?, cache_write: r.get(5)? };
        Ok(Cost { key: super::id_column(r, 0)?, model: r.get(1)?, tokens })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Marks what messages cost as sent, unless it changed meanwhile.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent_usage(conn: &Connection, session_row: i64, costs: &[Cost]) -> Result<()> {
    let mut delete = conn.prepare_cached(
        "DELETE FROM unsent_usage WHERE session_row = ?1 AND key = ?2 AND NOT EXISTS (
             SELECT 1 FROM message_usage m WHERE m.key = ?2
                 AND (m.input, m.output, m.cache_read, m.cache_write) <> (?3, ?4, ?5, ?6))",
    )?;
    for Cost { key, tokens, .. } in costs {
        let Tokens { input, output, cache_read, cache_write } = tokens;
        delete.execute(params![session_row, key.0, input, output, cache_read, cache_write])?;
    }
    Ok(())
}
