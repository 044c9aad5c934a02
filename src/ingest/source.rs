//! One log file: what it is, how far it was read, and its records from there on.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::Value;

use super::collection::{self, Collection, Kind};
use super::foreign;
use super::lines::{self, Lines};
use super::opencode::tree;
use super::record::{Open, Parser, SessionHead};
use crate::model::Id;

/// The formats, each recognised by content.
const FORMATS: &[Open] = &[
    super::claude_code::open,
    super::codex::open,
    super::opencode::open,
    super::gemini::open,
    super::copilot::open,
    super::antigravity::open,
];

/// Records looked at to recognise a format.
const HEAD_RECORDS: usize = 50;

/// Bytes looked at to recognise a format: a screenshot makes a line of a megabyte. Longer lines are passed over.
const HEAD_BYTES: u64 = 4 * 1024 * 1024;

/// Lines looked at when none of them holds a record.
const HEAD_LINES: u64 = 1000;

/// Bytes hashed at the file's start and before the offset, to tell a file that grew from one that was replaced.
const PRINT_BYTES: u64 = 4096;

/// The largest document that is one JSON value over many lines.
const LARGEST_DOCUMENT: u64 = 128 * 1024 * 1024;

/// What a file turned out to be.
pub enum Recognised {
    /// A log, to be read line by line.
    Lines(SessionHead, Box<dyn Parser>),
    /// A log that is one JSON document.
    Document(SessionHead, Box<dyn Parser>, Value),
    /// A log in many small files, read as one document; what is wrong with some of them.
    Tree(SessionHead, Box<dyn Parser>, Value, Vec<String>),
    /// Many logs in one database.
    Database,
    /// Many conversations in one file, or folder.
    Collection(Box<dyn Collection>),
    /// Nothing in it (yet).
    Empty,
    /// No log of a known format.
    Other,
}

/// Looks at the beginning of a file.
///
/// # Errors
/// When the file cannot be read.
pub fn recognise(path: &Path) -> io::Result<Recognised> {
    if let Some(session) = tree::Session::at(path) {
        return Ok(session
            .read()?
            .map_or(Recognised::Other, |read| Recognised::Tree(read.head, read.parser, read.document, read.problems)));
    }
    if foreign::is_one(path) {
        return Ok(match collection::of_database(path)? {
            Kind::OpenCode => Recognised::Database,
            Kind::Other(collection) => Recognised::Collection(collection),
        });
    }
    if path.is_dir() || collection::is_zip(path) || begins_with(path, b"[")? {
        return Ok(of_collection(path)?.unwrap_or(Recognised::Other));
    }
    let head = head(path)?;
    if head.records.is_empty() && head.blank {
        return Ok(Recognised::Empty);
    }
    for open in FORMATS {
        if let Some((session, parser)) = open(path, &head.records) {
            return Ok(match <[Value; 1]>::try_from(head.records) {
                // A document of many records that stands on one line.
                Ok([document]) if parser.split(document.clone()).len() > 1 => {
                    Recognised::Document(session, parser, document)
                }
                _ => Recognised::Lines(session, parser),
            });
        }
    }
    if head.records.is_empty()
        && head.starts_object
        && let found @ (Recognised::Lines(..) | Recognised::Document(..)) = recognise_document(path)?
    {
        return Ok(found);
    }
    // One conversation of an export, by itself.
    let alone = head.starts_object && head.records.len() < 2;
    Ok(if alone { of_collection(path)? } else { None }.unwrap_or(Recognised::Other))
}

fn of_collection(path: &Path) -> io::Result<Option<Recognised>> {
    Ok(collection::of_file(path)?.map(Recognised::Collection))
}

fn recognise_document(path: &Path) -> io::Result<Recognised> {
    if std::fs::metadata(path)?.len() > LARGEST_DOCUMENT {
        return Ok(Recognised::Other);
    }
    let Ok(document) = serde_json::from_slice::<Value>(&std::fs::read(path)?) else { return Ok(Recognised::Other) };
    let head = [document];
    for open in FORMATS {
        if let Some((session, parser)) = open(path, &head) {
            let [document] = head;
            return Ok(Recognised::Document(session, parser, document));
        }
    }
    Ok(Recognised::Other)
}

struct Head {
    records: Vec<Value>,
    blank: bool,
    starts_object: bool,
}

fn head(path: &Path) -> io::Result<Head> {
    let mut head = Head { records: Vec::new(), blank: true, starts_object: false };
    let mut lines = Lines::open(path, 0, 1)?.with_longest(HEAD_BYTES);
    let mut bytes = 0;
    while let Some(line) = lines.next()? {
        let text = line.bytes.trim_ascii();
        if head.blank && (!text.is_empty() || line.too_long) {
            head.blank = false;
            head.starts_object = if line.too_long { begins_with(path, b"{")? } else { text.starts_with(b"{") };
        }
        bytes += text.len() as u64;
        head.records.extend(lines::records(line.bytes).values);
        // A file that begins with bytes that are no text is no log; a long file without a record is none either.
        let hopeless = head.records.is_empty() && line.number > HEAD_LINES;
        if head.records.len() >= HEAD_RECORDS || bytes > HEAD_BYTES || hopeless {
            break;
        }
    }
    Ok(head)
}

fn begins_with(path: &Path, wanted: &[u8]) -> io::Result<bool> {
    let mut beginning = Vec::new();
    lines::Source::new(File::open(path)?)?.take(64).read_to_end(&mut beginning)?;
    // Behind the mark that some editors put in front of a file.
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&beginning);
    Ok(text.trim_ascii_start().starts_with(wanted))
}

/// Size and time of a file, of all the files that a log is kept in, or of a log in a database: when both are what they were,
/// nothing in it is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    pub mtime_ns: i64,
}

impl Stamp {
    /// The stamp of a file that was looked at.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        let mtime_ns = meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec());
        Self { size: meta.len(), mtime_ns }
    }
}

/// Takes the stamp of what a file is or stands for.
///
/// # Errors
/// When the file is gone.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    match tree::Session::at(path) {
        Some(session) => session.stamp(),
        None => collection::stamp_of(path),
    }
}

/// A fingerprint of what stands before an offset: its first and its last bytes.
///
/// # Errors
/// When the file cannot be read.
pub fn fingerprint(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut first = Vec::new();
    (&mut file).take(PRINT_BYTES.min(offset)).read_to_end(&mut first)?;
    file.seek(SeekFrom::Start(offset.saturating_sub(PRINT_BYTES)))?;
    let mut last = Vec::new();
    (&mut file).take(PRINT_BYTES.min(offset)).read_to_end(&mut last)?;
    Ok(Id::derive(&[&first, &last]).0.to_vec())
}
