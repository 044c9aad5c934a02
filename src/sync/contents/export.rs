//! What of a session's contents the cloud does not have, in pieces that can be sent.

use rusqlite::Connection;

use super::Batch;
use crate::cloud::wire::{Bytes, Change, RawChunk, TurnContents, UsageContents};
use crate::model::{Id, Role, Session};
use crate::store::raw::{self, Compressed};
use crate::store::told::{self, Sent};
use crate::store::turns::{self, Whole};
use crate::store::{Result, sessions};
use crate::sync::facts::{Receipt, Redact, project_of};

/// Rows of one piece at the most.
const MOST_ROWS: usize = 500;

/// Bytes of one piece, unless a single row is larger.
const PIECE_BYTES: usize = 2 << 20;

/// Bytes that a row takes beside its texts, roughly.
const ROW_BYTES: usize = 200;

/// Whether something of a session's contents is to be sent.
///
/// # Errors
/// When the database cannot be read.
pub fn is_pending(conn: &Connection, session_row: i64) -> Result<bool> {
    let sent = told::contents(conn, session_row)?;
    Ok(turns::last(conn, session_row)?.unwrap_or(0) > sent.turns
        || raw::count(conn, session_row)? != sent.chunks
        || sent.most_chunks > sent.chunks
        || !told::unsent_usage(conn, session_row, 1)?.is_empty())
}

/// What of a session's contents is to be sent next, in order, about so many bytes of it, and at least one piece where there is
/// something. Empty: that was all, and the session's facts may follow.
///
/// # Errors
/// When the database cannot be read, or raw records do not decompress.
pub fn pending(conn: &Connection, session_row: i64, max_bytes: usize, redact: &dyn Redact) -> Result<Vec<Batch>> {
    Ok(pending_part(conn, session_row, max_bytes, redact)?.0)
}

/// The same. If that is all: the bytes that the session's raw records have in the cloud then.
pub(crate) fn pending_part(
    conn: &Connection,
    session_row: i64,
    max_bytes: usize,
    redact: &dyn Redact,
) -> Result<(Vec<Batch>, Option<u64>)> {
    let Some(session) = sessions::get(conn, session_row)? else { return Ok((Vec::new(), None)) };
    let Some(project) = project_of(conn, &session)? else { return Ok((Vec::new(), None)) };
    let sent = told::contents(conn, session_row)?;
    let (left, batches) = (max_bytes, Vec::new());
    let mut export = Export { conn, session: &session, project, redact, sent, left, is_all: true, batches };
    export.turns()?;
    export.chunks()?;
    export.usage()?;
    let raw_bytes = export.is_all.then_some(export.sent.raw_bytes);
    Ok((export.batches, raw_bytes))
}

struct Export<'a> {
    conn: &'a Connection,
    session: &'a Session,
    project: Id,
    redact: &'a dyn Redact,
    sent: Sent,
    left: usize,
    /// As far as it was looked.
    is_all: bool,
    batches: Vec<Batch>,
}

impl Export<'_> {
    fn has_room(&self) -> bool {
        self.left > 0 || self.batches.is_empty()
    }

    fn push(&mut self, bytes: usize, change: Change, receipt: Receipt) {
        self.left = self.left.saturating_sub(bytes);
        self.batches.push(Batch { change, receipt });
    }

    fn turns(&mut self) -> Result<()> {
        let mut after = self.sent.turns;
        let (mut piece, mut bytes, mut left) = (Vec::new(), 0, self.left);
        let mut pieces = Vec::new();
        let most_turns = self.sent.most_turns;
        turns::for_each_whole(self.conn, self.session.row, after + 1, |turn| {
            let number = turn.number;
            // A forgotten turn that the cloud may have is overwritten there; of another one it knows nothing.
            if Role::from_u8(turn.role).is_some() || number <= most_turns {
                let (contents, size) = self.contents_of(turn);
                bytes += size;
                piece.push(contents);
            }
            if piece.len() >= MOST_ROWS || bytes >= PIECE_BYTES.min(left) {
                left = left.saturating_sub(bytes);
                pieces.push((std::mem::take(&mut piece), number, std::mem::take(&mut bytes)));
            }
            left > 0
        })?;
        let last = piece.last().map(|turn| turn.number);
        let end = if left > 0 || pieces.is_empty() { turns::last(self.conn, self.session.row)? } else { None };
        if last.is_some() || end.is_some_and(|end| end > pieces.last().map_or(after, |(_, number, _)| *number)) {
            pieces.push((piece, end.or(last).unwrap_or(after), bytes));
        }
        for (turns, last, bytes) in pieces {
            let change = Change::Turns { session: self.session.id, turns };
            self.push(bytes.max(1), change, Receipt::turns(self.session.row, after, last));
            after = last;
        }
        self.is_all &= end.is_some();
        Ok(())
    }

    fn contents_of(&self, turn: Whole) -> (TurnContents, usize) {
        let clean = |text: String| match self.redact.is_identity() {
            true => text,
            false => self.redact.text(&self.project, &text).into_owned(),
        };
        let (text, input, output) = (clean(turn.text), turn.tool_input.map(clean), turn.tool_output.map(clean));
        let size = text.len() + [&input, &output].into_iter().flatten().map(String::len).sum::<usize>() + ROW_BYTES;
        let contents = TurnContents {
            number: turn.number,
            id: turn.id,
            role: turn.role,
            at: turn.at,
            model: turn.model,
            label: turn.label,
            images: turn.images,
            tool_name: turn.tool_name,
            tool_call_id: turn.tool_call_id,
            tool_status: turn.tool_status,
            text,
            tool_input: input,
            tool_output: output,
        };
        (contents, size)
    }

    fn chunks(&mut self) -> Result<()> {
        let row = self.session.row;
        let mut after = self.sent.chunks;
        while self.has_room() {
            let (chunks, bytes) = self.next_chunks(after)?;
            let Ok(count) = u32::try_from(chunks.len()) else { break };
            if count == 0 {
                return self.cut(after);
            }
            let length = chunks.iter().map(|chunk| chunk.length).sum();
            let change = Change::Raw { session: self.session.id, chunks };
            self.push(bytes, change, Receipt::chunks(row, after, count, length));
            self.sent.raw_bytes += length;
            after += count;
        }
        self.is_all = false;
        Ok(())
    }

    /// The chunks behind those that were sent, as far as one piece holds them.
    fn next_chunks(&self, after: u32) -> Result<(Vec<RawChunk>, usize)> {
        let (row, last) = (self.session.row, raw::count(self.conn, self.session.row)?);
        let mut start = self.sent.raw_bytes;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let mut rest = if self.redact.is_identity() { Vec::new() } else { raw::unfinished(self.conn, row, after)? };
        raw::for_each_compressed(self.conn, row, after, |number, (length, data)| {
            let (length, data) = match self.redact.is_identity() {
                true => (length, data),
                false => self.clean_chunk(&mut rest, number + 1 == last, &(length, data))?,
            };
            bytes += data.len() + ROW_BYTES;
            chunks.push(RawChunk { number, start, length: length as u64, data: Bytes(data) });
            start += length as u64;
            Ok(chunks.len() < MOST_ROWS && bytes < PIECE_BYTES)
        })?;
        Ok((chunks, bytes))
    }

    /// The whole records up to the end of a chunk, without secrets: a record may begin in one chunk and end in the next.
    fn clean_chunk(&self, rest: &mut Vec<u8>, is_last: bool, chunk: &Compressed) -> Result<Compressed> {
        rest.extend(raw::unpack(self.session.row, chunk)?);
        let whole = match is_last {
            true => rest.len(),
            false => rest.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1),
        };
        let mut clean = Vec::with_capacity(whole);
        for line in rest[..whole].split_inclusive(|b| *b == b'\n') {
            match std::str::from_utf8(line) {
                Ok(text) => clean.extend_from_slice(self.redact.record(&self.project, text).as_bytes()),
                // What is no text is looked at as text, and left as it is if there is nothing in it.
                Err(_) => {
                    let text = String::from_utf8_lossy(line);
                    match self.redact.record(&self.project, &text) {
                        std::borrow::Cow::Borrowed(_) => clean.extend_from_slice(line),
                        std::borrow::Cow::Owned(text) => clean.extend_from_slice(text.as_bytes()),
                    }
                }
            }
        }
        rest.drain(..whole);
        raw::pack(&clean)
    }

    /// Something of the records was forgotten, and there are fewer chunks: those that are too many are emptied.
    fn cut(&mut self, count: u32) -> Result<()> {
        if self.sent.most_chunks <= count {
            return Ok(());
        }
        self.is_all = false;
        let (_, data) = raw::pack(&[])?;
        let start = self.sent.raw_bytes;
        let empty = |number| RawChunk { number, start, length: 0, data: Bytes(data.clone()) };
        let last = self.sent.most_chunks.min(count.saturating_add(u32::try_from(MOST_ROWS).unwrap_or(u32::MAX)));
        // From behind: what is left is still too many, should this be the last piece that is sent.
        let first = self.sent.most_chunks - (last - count);
        let chunks = (first..self.sent.most_chunks).map(empty).collect();
        let change = Change::Raw { session: self.session.id, chunks };
        self.push(ROW_BYTES, change, Receipt::cut(self.session.row, first));
        Ok(())
    }

    fn usage(&mut self) -> Result<()> {
        if !self.has_room() {
            self.is_all = false;
            return Ok(());
        }
        let costs = told::unsent_usage(self.conn, self.session.row, 2 * MOST_ROWS as u32)?;
        self.is_all &= costs.len() < 2 * MOST_ROWS;
        if costs.is_empty() {
            return Ok(());
        }
        let usage = costs.iter().map(|cost| UsageContents {
            key: cost.key,
            model: cost.model.clone(),
            tokens: [cost.tokens.input, cost.tokens.output, cost.tokens.cache_read, cost.tokens.cache_write],
        });
        let change = Change::Usage { session: self.session.id, usage: usage.collect() };
        self.push(costs.len() * ROW_BYTES, change, Receipt::usage(self.session.row, costs));
        Ok(())
    }
}
