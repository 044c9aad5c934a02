//! What an import did, for people and for `--json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::model::Agent;

/// Skipped records that are told one by one; the rest is counted.
const TOLD: usize = 1000;

/// A record, or a file, that could not be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    pub file: String,
    /// 1 for the first line; 0 when it is the file itself.
    pub line: u64,
    pub reason: String,
}

/// What a file that had something new in it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRead {
    pub path: PathBuf,
    pub agent: Agent,
    /// The agent's own id of the session.
    pub session: String,
    pub new_turns: u64,
    pub git_commits: u64,
}

/// Counts of one file's assembly.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub new_turns: u64,
    pub git_commits: u64,
    pub unknown: BTreeMap<String, u64>,
    pub ignored: BTreeMap<String, u64>,
}

impl Counts {
    /// Counts a record that made no turn.
    pub fn ignored(&mut self, kind: String, known: bool) {
        *if known { &mut self.ignored } else { &mut self.unknown }.entry(kind).or_default() += 1;
    }
}

/// What an import did. Totals are of the whole database after it, `new_…` and the rest of this run.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Summary {
    /// Log files looked at.
    pub files: u64,
    /// Of them, those with something new in them.
    pub files_read: u64,
    pub projects: u64,
    pub commits: u64,
    pub sessions: u64,
    pub subagents: u64,
    pub turns: u64,
    pub tool_calls: u64,
    pub images: u64,
    pub new_turns: u64,
    pub records: u64,
    pub bytes: u64,
    /// Git commits found in this run.
    pub git_commits: u64,
    /// Edits that came with the database of another program: titles, marks, order.
    pub edits: u64,
    pub skipped: Vec<Skipped>,
    /// Skipped records beyond those listed in `skipped`.
    pub skipped_more: u64,
    /// Files whose last line is not complete: it is taken when it is.
    pub unfinished: u64,
    /// Files in the folders that are no log of a known format.
    pub other_files: u64,
    pub unknown: BTreeMap<String, u64>,
    pub ignored: BTreeMap<String, u64>,
    pub interrupted: bool,
    pub dry_run: bool,
    /// Until everything was stored, and could be seen on a mount.
    pub seconds: f64,
    /// Behind that, to bring the words into the search index.
    pub index_seconds: f64,
    /// Ctrl-C came before the search index had all words: the next import brings in the rest.
    pub index_unfinished: bool,
    /// The files with something new in them, one by one.
    #[serde(skip)]
    pub read: Vec<FileRead>,
    /// The files that could not be read.
    #[serde(skip)]
    pub failed: Vec<PathBuf>,
}

impl Summary {
    /// Notes something that could not be taken.
    pub fn skip(&mut self, file: &str, line: u64, reason: impl Into<String>) {
        if self.skipped.len() < TOLD {
            self.skipped.push(Skipped { file: file.to_owned(), line, reason: reason.into() });
        } else {
            self.skipped_more += 1;
        }
    }

    /// Adds a file's counts.
    pub fn add(&mut self, counts: Counts) {
        self.new_turns += counts.new_turns;
        self.git_commits += counts.git_commits;
        for (kind, n) in counts.unknown {
            *self.unknown.entry(kind).or_default() += n;
        }
        for (kind, n) in counts.ignored {
            *self.ignored.entry(kind).or_default() += n;
        }
    }
}
