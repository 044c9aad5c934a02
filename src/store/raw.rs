//! The source's own records, byte for byte: compressed chunks in the order of the source.

use std::cell::RefCell;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use rusqlite::{Connection, OptionalExtension, Row, params};
use zstd::bulk::Decompressor;

use super::{Result, StoreError, Transaction};

/// Uncompressed bytes after which a chunk is written.
pub const CHUNK_BYTES: usize = 256 * 1024;

/// A longer chunk was never written: a chunk ends with the record, or the piece of one, that makes it long enough.
const LONGEST_CHUNK: usize = 256 * 1024 * 1024;

/// Fast enough to keep up with parsing; JSON shrinks to a fifth.
const ZSTD_LEVEL: i32 = 1;

/// A chunk with its place in the session's `raw.jsonl`.
#[derive(Debug, Clone)]
pub struct Chunk {
    pub start: u64,
    pub bytes: Vec<u8>,
}

/// Compresses chunks on a thread of its own, in the order they come: a third of what an import does with its records.
pub(super) struct Packer {
    jobs: Option<SyncSender<Job>>,
    packed: Receiver<Packed>,
    thread: Option<JoinHandle<()>>,
    /// Chunks sent and not come back.
    away: usize,
    /// Buffers of those that came back, to be filled again: memory that is new costs a fault a page.
    spare: Vec<Vec<u8>>,
}

/// A chunk to be compressed.
struct Job {
    session_row: i64,
    start: u64,
    bytes: Vec<u8>,
}

/// A compressed chunk.
struct Packed {
    session_row: i64,
    start: u64,
    length: usize,
    data: std::io::Result<Vec<u8>>,
    /// It was in it; empty where that was large.
    buffer: Vec<u8>,
}

impl Packer {
    /// Starts the thread.
    pub(super) fn start() -> Self {
        let (jobs, waiting) = sync_channel::<Job>(AWAY);
        let (done, packed) = sync_channel(AWAY + 1);
        let thread = thread::spawn(move || {
            let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL);
            while let Ok(Job { session_row, start, bytes }) = waiting.recv() {
                let data = match &mut compressor {
                    Ok(compressor) => compressor.compress(&bytes),
                    Err(error) => Err(std::io::Error::other(error.to_string())),
                };
                let length = bytes.len();
                // That of a large record is given back here, not held until the writer asks.
                let buffer = if bytes.capacity() <= 2 * CHUNK_BYTES { bytes } else { Vec::new() };
                let packed = Packed { session_row, start, length, data, buffer };
                if done.send(packed).is_err() {
                    return;
                }
            }
        });
        Self { jobs: Some(jobs), packed, thread: Some(thread), away: 0, spare: Vec::new() }
    }

    /// Keeps a buffer, unless there are enough.
    fn keep(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() >= CHUNK_BYTES && self.spare.len() < AWAY {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// False when the thread is gone: the chunk would be lost.
    fn send(&mut self, job: Job) -> bool {
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        self.away += usize::from(sent);
        sent
    }

    fn next(&mut self) -> Option<Packed> {
        self.away = self.away.checked_sub(1)?;
        self.packed.recv().ok()
    }

    /// Throws away what is being compressed: the transaction it belongs to is rolled back.
    pub(super) fn forget(&mut self) {
        while self.next().is_some() {}
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.forget();
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Chunks that are compressed while others are written.
const AWAY: usize = 4;

/// An empty buffer for a chunk, with room for all of one: grown step by step, each byte would be copied twice.
#[must_use]
pub fn buffer(tx: &Transaction<'_>) -> Vec<u8> {
    tx.packer.borrow_mut().spare.pop().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES))
}

/// Appends bytes to a session's records. They are compressed meanwhile, and written by [`settle`] at the latest.
///
/// # Errors
/// When SQLite cannot write an earlier chunk.
pub fn append(tx: &Transaction<'_>, session_row: i64, start: u64, bytes: Vec<u8>) -> Result<()> {
    let mut packer = tx.packer.borrow_mut();
    while packer.away >= AWAY {
        write_next(tx, &mut packer)?;
    }
    if packer.send(Job { session_row, start, bytes }) { Ok(()) } else { Err(not_compressed()) }
}

/// Writes the chunks that were still being compressed.
///
/// # Errors
/// When SQLite cannot write.
pub fn settle(tx: &Transaction<'_>) -> Result<()> {
    let mut packer = tx.packer.borrow_mut();
    while packer.away > 0 {
        write_next(tx, &mut packer)?;
    }
    Ok(())
}

/// The import ends with it and is rolled back: raw records are never left out.
fn not_compressed() -> StoreError {
    StoreError::Damaged { what: "compression of raw records".to_owned() }
}

fn write_next(conn: &Connection, packer: &mut Packer) -> Result<()> {
    let Packed { session_row, start, length, data, buffer } = packer.next().ok_or_else(not_compressed)?;
    packer.keep(buffer);
    let data = data.map_err(|e| StoreError::Damaged { what: format!("compression of raw records ({e})") })?;
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(row) FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535")?
        .query_row([session_row], |r| r.get(0))?;
    let row = last.map_or(session_row << 16, |last| last + 1);
    if row >> 16 != session_row {
        return Err(StoreError::Damaged { what: format!("session {session_row} has too many raw chunks, it") });
    }
    conn.prepare_cached("INSERT INTO raw_chunks(row, session_row, start, length, data) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row, session_row, start, length, data])?;
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
        each(&decompress(session_row, row.get(0)?, blob(row, 1)?)?);
    }
    Ok(())
}

/// All records of a session: for one of which it is known that they are few.
///
/// # Errors
/// When SQLite cannot read or a chunk does not decompress.
pub fn whole(conn: &Connection, session_row: i64) -> Result<Vec<u8>> {
    let mut query = conn.prepare_cached(
        "SELECT length, data FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535 ORDER BY row",
    )?;
    let (mut rows, mut whole) = (query.query([session_row])?, Vec::new());
    while let Some(row) = rows.next()? {
        let chunk = decompress(session_row, row.get(0)?, blob(row, 1)?)?;
        // Most have but one, which is not copied.
        if whole.is_empty() {
            whole = chunk;
        } else {
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(whole)
}

/// A column that holds bytes, as they lie in SQLite's memory.
fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8]> {
    Ok(row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?)
}

/// Gives every record of a session to `each`, in order, without its newline.
///
/// # Errors
/// When SQLite cannot read or a chunk does not decompress.
pub fn for_each_record(conn: &Connection, session_row: i64, mut each: impl FnMut(&[u8])) -> Result<()> {
    // A large record may begin in one chunk and end in another.
    let mut rest: Vec<u8> = Vec::new();
    for_each_chunk(conn, session_row, |chunk| {
        rest.extend_from_slice(chunk);
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        rest[..whole].split(|b| *b == b'\n').filter(|line| !line.is_empty()).for_each(&mut each);
        rest.drain(..whole);
    })
}

/// A compressed chunk and its length before.
pub type Compressed = (usize, Vec<u8>);

/// Compresses a chunk here and now.
///
/// # Errors
/// When it cannot be compressed.
pub fn pack(bytes: &[u8]) -> Result<Compressed> {
    let damaged = |e| StoreError::Damaged { what: format!("compression of raw records ({e})") };
    Ok((bytes.len(), zstd::bulk::compress(bytes, ZSTD_LEVEL).map_err(damaged)?))
}

/// Writes these chunks in the place of all that a session has.
///
/// # Errors
/// When SQLite cannot write.
pub fn replace(tx: &Transaction<'_>, session_row: i64, chunks: &[Compressed]) -> Result<()> {
    settle(tx)?;
    super::told::raw_replaced(tx, session_row)?;
    tx.prepare_cached("DELETE FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535")?
        .execute([session_row])?;
    let mut insert =
        tx.prepare_cached("INSERT INTO raw_chunks(row, session_row, start, length, data) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    let mut start = 0;
    for (row, (length, data)) in (session_row << 16..).zip(chunks) {
        insert.execute(params![row, session_row, start, length, data])?;
        start += length;
    }
    Ok(())
}

/// How many chunks a session has.
///
/// # Errors
/// When SQLite cannot read.
pub fn count(conn: &Connection, session_row: i64) -> Result<u32> {
    // They are numbered without gaps.
    let last: Option<i64> = conn
        .prepare_cached("SELECT max(row) FROM raw_chunks WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535")?
        .query_row([session_row], |r| r.get(0))?;
    Ok(last.map_or(0, |last| (last & 0xffff) as u32 + 1))
}

/// Gives the chunks of a session from a number on to `each`, compressed, with their numbers, until that returns false.
///
/// # Errors
/// When SQLite cannot read, and those of `each`.
pub fn for_each_compressed(
    conn: &Connection,
    session_row: i64,
    from: u32,
    mut each: impl FnMut(u32, Compressed) -> Result<bool>,
) -> Result<()> {
    let mut query = conn
        .prepare_cached("SELECT row & 65535, length, data FROM raw_chunks WHERE row BETWEEN ?1 AND ?2 ORDER BY row")?;
    let mut rows = query.query([(session_row << 16) + i64::from(from), (session_row << 16) + 65_535])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, (row.get(1)?, row.get(2)?))? {
            break;
        }
    }
    Ok(())
}

/// The bytes of a compressed chunk.
///
/// # Errors
/// When it does not decompress to what it says.
pub fn unpack(session_row: i64, (length, data): &Compressed) -> Result<Vec<u8>> {
    decompress(session_row, *length as u64, data)
}

/// The beginning of the record that goes on in a chunk.
///
/// # Errors
/// When SQLite cannot read or a chunk does not decompress.
pub fn unfinished(conn: &Connection, session_row: i64, chunk: u32) -> Result<Vec<u8>> {
    let mut begun = Vec::new();
    for number in (0..chunk).rev() {
        let mut bytes = Vec::new();
        for_each_compressed(conn, session_row, number, |_, found| {
            bytes = unpack(session_row, &found)?;
            Ok(false)
        })?;
        let end = bytes.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
        begun.splice(..0, bytes.split_off(end.unwrap_or(0)));
        if end.is_some() {
            break;
        }
    }
    Ok(begun)
}

/// Writes a chunk that came from elsewhere, checked, in the place of one of its number; one of no length has none. Where it starts
/// is [`put_in_place`]'s.
///
/// # Errors
/// When SQLite cannot write or it does not decompress.
pub fn put(tx: &Transaction<'_>, session_row: i64, number: u32, start: u64, chunk: &Compressed) -> Result<()> {
    let row = (session_row << 16) + i64::from(number & 0xffff);
    if chunk.0 == 0 {
        tx.prepare_cached("DELETE FROM raw_chunks WHERE row = ?1")?.execute([row])?;
        return Ok(());
    }
    unpack(session_row, chunk)?;
    tx.prepare_cached(
        "INSERT OR REPLACE INTO raw_chunks(row, session_row, start, length, data) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![row, session_row, start, chunk.0, chunk.1])?;
    Ok(())
}

/// Bytes and records of a session.
///
/// # Errors
/// When SQLite cannot read or a chunk does not decompress.
pub fn measure(conn: &Connection, session_row: i64) -> Result<(u64, u64)> {
    let (mut bytes, mut records) = (0, 0);
    for_each_chunk(conn, session_row, |chunk| {
        bytes += chunk.len() as u64;
        // Every record ends in a newline and holds none.
        records += chunk.iter().filter(|b| **b == b'\n').count() as u64;
    })?;
    Ok((bytes, records))
}

/// Chunks that do not begin where the one before ends.
const MISPLACED: &str = "SELECT session_row FROM (
        SELECT session_row, start, coalesce(sum(length) OVER (
            PARTITION BY session_row ORDER BY row ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS place
        FROM raw_chunks WHERE row BETWEEN ?1 AND ?2)
    WHERE start <> place";

/// The sessions whose chunks are not at their places.
///
/// # Errors
/// When SQLite cannot read.
pub fn misplaced(conn: &Connection) -> Result<Vec<i64>> {
    let mut query = conn.prepare(&format!("SELECT DISTINCT session_row FROM ({MISPLACED})"))?;
    Ok(query.query_map([i64::MIN, i64::MAX], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Whether a session's chunks are not at their places.
///
/// # Errors
/// When SQLite cannot read.
pub fn misplaced_in(conn: &Connection, session_row: i64) -> Result<bool> {
    Ok(conn.prepare_cached(MISPLACED)?.exists([session_row << 16, (session_row << 16) + 65_535])?)
}

/// Puts a session's chunks one behind the other.
///
/// # Errors
/// When SQLite cannot write.
pub fn put_in_place(conn: &Connection, session_row: i64) -> Result<()> {
    conn.prepare_cached(
        "UPDATE raw_chunks SET start = (SELECT coalesce(sum(length), 0) FROM raw_chunks AS before
             WHERE before.row < raw_chunks.row AND before.row >= ?1)
         WHERE row BETWEEN ?1 AND ?2",
    )?
    .execute([session_row << 16, (session_row << 16) + 65_535])?;
    Ok(())
}

fn decompress(session_row: i64, length: u64, data: &[u8]) -> Result<Vec<u8>> {
    thread_local! {
        /// Made once a thread: that takes as long as decompressing a small chunk.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let damaged = || StoreError::Damaged { what: format!("the raw records of session {session_row}") };
    let capacity = usize::try_from(length).ok().filter(|length| *length <= LONGEST_CHUNK).ok_or_else(damaged)?;
    let bytes = DECOMPRESSOR.with_borrow_mut(|kept| {
        let mut decompressor = kept.take().map_or_else(Decompressor::new, Ok)?;
        let bytes = decompressor.decompress(data, capacity);
        *kept = Some(decompressor);
        bytes
    });
    bytes.ok().filter(|bytes| bytes.len() == capacity).ok_or_else(damaged)
}
