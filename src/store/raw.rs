//! The source's own records, byte for byte: compressed chunks in the order of the source.

use std::cell::RefCell;

use rusqlite::{Connection, OptionalExtension, params};
use zstd::bulk::Decompressor;

use super::{Result, StoreError};

/// Uncompressed bytes after which a chunk is written.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// Fast enough to keep up with parsing; JSON shrinks to a fifth.
const ZSTD_LEVEL: i32 = 1;

/// A chunk with its place in the session's `raw.jsonl`.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub start: u64,
    pub bytes: Vec<u8>,
}

/// Appends bytes to a session's records.
///
/// # Errors
/// When SQLite cannot write.
pub fn append(conn: &Connection, session_row: i64, start: u64, bytes: &[u8]) -> Result<()> {
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(row) FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535")?
        .query_row([session_row], |r| r.get(0))?;
    let row = last.map_or(session_row << 16, |last| last + 1);
    if row >> 16 != session_row {
        return Err(StoreError::Damaged { what: format!("session {session_row} has too many raw chunks, it") });
    }
    let data = zstd::bulk::compress(bytes, ZSTD_LEVEL)
        .map_err(|e| StoreError::Damaged { what: format!("compression of raw records ({e})") })?;
    conn.prepare_cached("INSERT INTO raw_chunks(row, session_row, start, length, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row, session_row, start, bytes.len(), data])?;
    Ok(())
}

/// The chunk that holds an offset; `None` past the end.
///
/// # Errors
/// When SQLite cannot read or the chunk does not decompress.
pub fn chunk_at(conn: &Connection, session_row: i64, offset: u64) -> Result<Option<Chunk>> {
    // Uses raw_chunks_by_start.
    let found: Option<(u64, u64, Vec<u8>)> = conn
        .prepare_cached(
            "SELECT start, length, data FROM raw_chunks WHERE session_row = ?1 AND start <= ?2
             ORDER BY start DESC LIMIT 1",
        )?
        .query_row(params![session_row, offset], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .optional()?;
    let Some((start, length, data)) = found else { return Ok(None) };
    if offset >= start + length {
        return Ok(None);
    }
    Ok(Some(Chunk { start, bytes: decompress(session_row, length, &data)? }))
}

/// Gives every chunk of a session to `each`, in order.
///
/// # Errors
/// When SQLite cannot read or a chunk does not decompress.
pub fn for_each_chunk(conn: &Connection, session_row: i64, mut each: impl FnMut(&[u8])) -> Result<()> {
    let mut query = conn.prepare_cached(
        "SELECT length, data FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535 ORDER BY row",
    )?;
    let mut rows = query.query([session_row])?;
    while let Some(row) = rows.next()? {
        let data: Vec<u8> = row.get(1)?;
        each(&decompress(session_row, row.get(0)?, &data)?);
    }
    Ok(())
}

fn decompress(session_row: i64, length: u64, data: &[u8]) -> Result<Vec<u8>> {
    thread_local! {
        /// Made once a thread: that takes as long as decompressing a small chunk.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let damaged = || StoreError::Damaged { what: format!("the raw records of session {session_row}") };
    let capacity = usize::try_from(length).map_err(|_| damaged())?;
    let bytes = DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = kept.take().map_or_else(Decompressor::new, Ok)?;
        let bytes = decompressor.decompress(data, capacity);
        *kept = Some(decompressor);
        bytes
    });
    bytes.ok().filter(|bytes| bytes.len() == capacity).ok_or_else(damaged)
}
