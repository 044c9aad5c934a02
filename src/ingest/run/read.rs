//! The reader's side of an import: a log to batches of records, each parsed.
//!
//! Owns how much is in memory at once. Runs on a thread of its own; must not touch the database.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use serde_json::Value;

use super::ahead::Begun;
use super::database::Session;
use crate::ingest::lines::{self, Line, Lines, Records};
use crate::ingest::raw_record::RawRecord;
use crate::ingest::record::{Item, Parser};

/// Bytes after which the writer saves what it holds in memory.
pub(super) const BATCH_BYTES: u64 = 1024 * 1024;

/// Bytes of lines handed to the writer at once: few, so that it has something to do as soon as a file is begun.
const PIECE_BYTES: u64 = 128 * 1024;

/// A longer line is not read into memory but parsed from its file, and its bytes stay there until they are stored.
const HELD_LINE: u64 = 4 * 1024 * 1024;

/// Where the records of a log are.
pub(super) enum Input<'d> {
    Lines(Box<dyn Parser>),
    Document(Box<dyn Parser>, Value),
    Session(Box<dyn Parser>, Session<'d>),
    /// They come already.
    Begun(Begun),
}

impl Input<'_> {
    /// What the parser knows before the first record.
    pub(super) fn parser_state(&self) -> Value {
        match self {
            Self::Lines(parser) | Self::Document(parser, _) | Self::Session(parser, _) => parser.state(),
            Self::Begun(begun) => begun.parser_state.clone(),
        }
    }

    /// Goes on where a state was taken. What has begun has begun at its start.
    pub(super) fn restore(&mut self, state: &Value) {
        match self {
            Self::Lines(parser) | Self::Document(parser, _) | Self::Session(parser, _) => parser.restore(state),
            Self::Begun(_) => {}
        }
    }
}

/// A record on its way from the reader to the writer.
pub(super) struct Parsed {
    pub(super) line: u64,
    pub(super) raw: RawRecord,
    pub(super) items: Vec<Item>,
    pub(super) problems: Vec<String>,
}

/// Some records, and where the reader is behind them.
pub(super) struct Batch {
    pub(super) records: Vec<Parsed>,
    /// Where the reader is stands below, so that the writer can save how far it is. Others are only handed on.
    pub(super) may_save: bool,
    pub(super) offset: u64,
    pub(super) line: u64,
    pub(super) parser: Value,
    /// Where the reader of a database is behind the last record.
    pub(super) reader: Value,
    /// The last line is not complete; the reason it could not be taken.
    pub(super) unfinished: Option<(u64, String)>,
    pub(super) error: Option<io::Error>,
    /// The file ends here.
    pub(super) last: bool,
    /// Dropped with the batch: tells the reader that the writer is done with it.
    _taken: Option<SyncSender<()>>,
}

impl Batch {
    pub(super) fn new(offset: u64, line: u64) -> Self {
        let (records, parser, reader) = (Vec::new(), Value::Null, Value::Null);
        let may_save = true;
        Self {
            records,
            may_save,
            offset,
            line,
            parser,
            reader,
            unfinished: None,
            error: None,
            last: false,
            _taken: None,
        }
    }
}

pub(super) fn document(document: Value, mut parser: Box<dyn Parser>, send: &SyncSender<Batch>) {
    let mut batch = Batch::new(0, 1);
    let mut bytes = 0;
    for record in parser.split(document) {
        let mut items = Vec::new();
        read_record(&record, parser.as_mut(), &mut items);
        let raw = RawRecord::Bytes(record.to_string().into_bytes());
        bytes += raw.len();
        batch.records.push(Parsed { line: 1, raw, items, problems: Vec::new() });
        if bytes >= BATCH_BYTES {
            bytes = 0;
            // The writer is gone when it failed: there is nobody to tell.
            if send.send(std::mem::replace(&mut batch, Batch::new(0, 1))).is_err() {
                return;
            }
        }
    }
    end(&mut batch, parser.as_mut());
    let _ = send.send(batch);
}

/// Ends a reader's last batch: with what the parser held back, which is of no record.
pub(super) fn end(batch: &mut Batch, parser: &mut dyn Parser) {
    let mut items = Vec::new();
    parser.finish(&mut items);
    if !items.is_empty() {
        batch.records.push(Parsed { line: 0, raw: RawRecord::Bytes(Vec::new()), items, problems: Vec::new() });
    }
    batch.parser = parser.state();
    batch.last = true;
}

pub(super) fn lines(path: &Path, offset: u64, line: u64, mut parser: Box<dyn Parser>, send: &SyncSender<Batch>) {
    let mut batch = Batch::new(offset, line);
    if let Err(e) = read_batches(path, parser.as_mut(), &mut batch, send) {
        batch.error = Some(e);
    }
    end(&mut batch, parser.as_mut());
    let _ = send.send(batch);
}

fn read_batches(path: &Path, parser: &mut dyn Parser, batch: &mut Batch, send: &SyncSender<Batch>) -> io::Result<()> {
    let mut lines = Lines::open(path, batch.offset, batch.line)?;
    let held = if lines.is_compressed() { lines::LONGEST_LINE } else { HELD_LINE };
    lines = lines.with_longest(held);
    let (mut bytes, mut unsaved) = (0, 0);
    while let Some(line) = lines.next()? {
        if line.bytes.trim_ascii().is_empty() && !line.too_long {
            (batch.offset, batch.line) = (line.end, line.number + 1);
            continue;
        }
        let length = line.end - line.start;
        let unfinished = if line.too_long && held == HELD_LINE {
            large_line(path, &line, parser, &mut batch.records)?
        } else {
            held_line(&line, parser, &mut batch.records)
        };
        if let Some(reason) = unfinished {
            batch.unfinished = Some((line.number, reason));
            return Ok(());
        }
        bytes += length;
        // What is appended to a line without its newline is still that line.
        (batch.offset, batch.line) = (line.end, line.number + u64::from(line.terminated));
        if bytes >= PIECE_BYTES {
            unsaved += bytes;
            batch.may_save = unsaved >= BATCH_BYTES;
            if batch.may_save {
                batch.parser = parser.state();
                unsaved = 0;
            }
            let mut full = std::mem::replace(batch, Batch::new(line.end, batch.line));
            let taken = (bytes > HELD_LINE).then(|| sync_channel(0));
            let wait = taken.map(|(alive, gone)| {
                full._taken = Some(alive);
                gone
            });
            if send.send(full).is_err() {
                return Ok(());
            }
            // One large record at a time: the next is read when this one is stored. Nothing is ever sent; the end is told.
            if let Some(gone) = wait {
                let _ = gone.recv();
            }
            bytes = 0;
        }
    }
    Ok(())
}

pub(super) fn read_record(value: &Value, parser: &mut dyn Parser, out: &mut Vec<Item>) {
    let before = out.len();
    parser.record(value, out);
    out[before..].iter_mut().for_each(Item::bound);
}

/// Parses a line that is held in memory. A last line that is not complete gives the reason.
fn held_line(line: &Line<'_>, parser: &mut dyn Parser, out: &mut Vec<Parsed>) -> Option<String> {
    let found = lines::records(line.bytes);
    let complete = found.errors.is_empty() && !found.values.is_empty();
    if !line.terminated && !complete && !line.too_long {
        return Some(found.errors.into_iter().next().unwrap_or_else(|| "no record".to_owned()));
    }
    parse_line(line, found, parser, out);
    None
}

/// Parses a line from its file: what is held is what was read of it, not its bytes as well.
fn large_line(
    path: &Path,
    line: &Line<'_>,
    parser: &mut dyn Parser,
    out: &mut Vec<Parsed>,
) -> io::Result<Option<String>> {
    let length = line.end - line.start - u64::from(line.terminated);
    let mut problems = Vec::new();
    let mut items = Vec::new();
    if length > lines::LONGEST_LINE {
        problems.push(format!("longer than {} MiB: kept in raw.jsonl alone", lines::LONGEST_LINE >> 20));
    } else {
        match serde_json::from_reader::<_, Value>(RawRecord::reader(path, line.start, length)?) {
            Ok(value @ Value::Object(_)) => read_record(&value, parser, &mut items),
            // Damaged: the repair needs all of it.
            _ => {
                let mut bytes = Vec::new();
                RawRecord::reader(path, line.start, length)?.read_to_end(&mut bytes)?;
                return Ok(held_line(&Line { bytes: &bytes, too_long: false, ..*line }, parser, out));
            }
        }
    }
    let raw = RawRecord::in_file(path.to_owned(), line.start, length)?;
    out.push(Parsed { line: line.number, raw, items, problems });
    Ok(None)
}

/// The records of a line: one in nearly all, two where a writer died before its newline.
fn parse_line(line: &Line<'_>, found: Records, parser: &mut dyn Parser, out: &mut Vec<Parsed>) {
    let parts = lines::split(line.bytes, &found);
    let mut problems = found.errors;
    if line.too_long {
        problems = vec!["longer than 128 MiB".to_owned()];
    } else if found.values.is_empty() && problems.is_empty() {
        problems = vec!["no record in it".to_owned()];
    }
    let taken_apart = parts.len() == found.values.len();
    let mut parsed: Vec<Parsed> = parts
        .into_iter()
        .map(|raw| Parsed {
            line: line.number,
            raw: RawRecord::Bytes(raw.to_vec()),
            items: Vec::new(),
            problems: Vec::new(),
        })
        .collect();
    for (at, value) in found.values.iter().enumerate() {
        if let Some(record) = parsed.get_mut(if taken_apart { at } else { 0 }) {
            read_record(value, parser, &mut record.items);
        }
    }
    if let Some(first) = parsed.first_mut() {
        first.problems = problems;
    }
    out.append(&mut parsed);
}
