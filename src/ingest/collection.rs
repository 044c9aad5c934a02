//! Files that hold many conversations: exports of a service, databases of another program, folders of one.
//!
//! Owns how such a file is recognised and what all of them have in common: each gives its conversations one after the other, as
//! documents, and no more than one at a time. Each is a source of its own (`conversations.json#<id>`), whose stamp is a hash of
//! what it says. What a conversation means is its format's (`chatgpt`, `claude_ai`, `cursor`, `antigravity`, `cogcommit`). Must
//! not touch the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::Value;

use super::cogcommit::Curated;
use super::foreign::{self, Opened, columns, failed};
use super::record::{Parser, SessionHead};
use super::source::Stamp;
use super::{antigravity, cogcommit, cursor, exports, opencode};
use crate::model::{Agent, Id, Millis};

/// A format that is asked for by name (`--from`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    CogCommit,
    ChatGpt,
    ClaudeAi,
    Cursor,
    Antigravity,
}

impl Format {
    /// The name for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::CogCommit => "CogCommit",
            Self::ChatGpt => Agent::ChatGpt.title(),
            Self::ClaudeAi => Agent::ClaudeAi.title(),
            Self::Cursor => Agent::Cursor.title(),
            Self::Antigravity => Agent::Antigravity.title(),
        }
    }

    /// Whose conversations it holds. CogCommit's are Claude Code's: nothing it ever wrote was another agent's.
    #[must_use]
    pub fn agent(self) -> Agent {
        match self {
            Self::CogCommit => Agent::ClaudeCode,
            Self::ChatGpt => Agent::ChatGpt,
            Self::ClaudeAi => Agent::ClaudeAi,
            Self::Cursor => Agent::Cursor,
            Self::Antigravity => Agent::Antigravity,
        }
    }
}

/// A conversation on its way out.
pub struct Entry {
    /// Its id in the collection.
    pub id: String,
    /// The hash of what it says, and when it was last written to.
    pub stamp: Stamp,
    pub head: SessionHead,
    pub parser: Box<dyn Parser>,
    pub document: Value,
    /// What could not be read of it.
    pub problems: Vec<String>,
    /// Bytes it takes in its file.
    pub bytes: u64,
}

/// What a collection gives.
pub enum Found {
    Conversation(Box<Entry>),
    /// It says what it said when it was read last; with its bytes.
    Unchanged(u64),
    /// Something that could not be read: where, and why.
    Skipped(String, String),
    /// What people made of a conversation that was given before.
    Curated(Box<Curated>),
}

/// A file of many conversations.
pub trait Collection: Send {
    /// The format of a collection.
    fn format(&self) -> Format;

    /// Gives the conversations, those with a stamp in `known` as unchanged, until `give` says that it is enough.
    ///
    /// # Errors
    /// When the rest cannot be read.
    fn read(&mut self, known: &HashSet<u64>, give: &mut dyn FnMut(Found) -> bool) -> io::Result<()>;
}

/// The stamp of a conversation: what it says, as a number, and when it was written. What had no time gets the file's.
#[must_use]
pub fn stamp(said: &[&[u8]], written: Option<Millis>, otherwise: Stamp) -> Stamp {
    let hash = Id::derive(said);
    let (number, _) = hash.0.split_at(8);
    // SQLite's numbers have a sign.
    let size = number.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) >> 1;
    let written = written.map(|at| at.0.saturating_mul(1_000_000)).filter(|at| *at > 0);
    Stamp { size, mtime_ns: written.unwrap_or(otherwise.mtime_ns).max(1) }
}

/// What holds many conversations, if it does.
pub enum Kind {
    /// A database of OpenCode's, or one of an unknown layout.
    OpenCode,
    Other(Box<dyn Collection>),
}

/// Opens a database by the tables in it.
///
/// # Errors
/// When it cannot be read.
pub fn of_database(path: &Path) -> io::Result<Kind> {
    if opencode::database::is_named_so(path) {
        return Ok(Kind::OpenCode);
    }
    // In its place: it may be Cursor's, which holds tokens.
    let mut opened = Opened::open_in_place(path)?;
    if opened.unread() > 0 && !cursor::is_named_so(path) {
        opened = Opened::open(path)?;
    }
    let has = |table: &str, wanted: &[&str]| -> io::Result<bool> {
        let found = columns(opened.conn(), table).map_err(failed)?;
        Ok(wanted.iter().all(|column| found.iter().any(|f| f == column)))
    };
    if cogcommit::is_one(&has)? {
        return Ok(Kind::Other(Box::new(cogcommit::Database::at(path))));
    }
    if has("ItemTable", &["key", "value"])? || has("cursorDiskKV", &["key", "value"])? {
        return Ok(Kind::Other(Box::new(cursor::Database::at(path))));
    }
    if has("steps", &["idx", "step_payload"])? {
        return Ok(Kind::Other(Box::new(antigravity::Folder::of_database(path))));
    }
    Ok(Kind::OpenCode)
}

/// Opens a file that is no database, or a folder.
///
/// # Errors
/// When it cannot be read.
pub fn of_file(path: &Path) -> io::Result<Option<Box<dyn Collection>>> {
    if path.is_dir() {
        return Ok(antigravity::Folder::at(path).map(|folder| Box::new(folder) as Box<dyn Collection>));
    }
    exports::open(path)
}

/// Whether a file is an archive, by its first bytes.
#[must_use]
pub fn is_zip(path: &Path) -> bool {
    let mut first = [0; 4];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && &first == b"PK\x03\x04"
}

/// The stamp of a collection as a whole.
///
/// # Errors
/// When it is gone.
pub fn stamp_of(path: &Path) -> io::Result<Stamp> {
    if path.is_dir() {
        return antigravity::stamp(path);
    }
    if foreign::is_one(path) { foreign::stamp(path) } else { Ok(Stamp::of(&std::fs::metadata(path)?)) }
}
