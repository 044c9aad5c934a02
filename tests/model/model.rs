//! What the mount promises, as plain data in memory: written from docs/SEMANTICS.md, "Writing", and from rename(2) and its like,
//! not from the program. Every operation answers with the errno that is promised, and [`Model::dump`] says what is then there.

mod document;
mod moves;
mod names;
mod operations;
mod record;
mod seen;
mod time;
mod trash;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub type Result<T> = std::result::Result<T, i32>;

/// After so long without another the names that were removed are settled, and a valid document is the record.
pub const QUIET_REMOVED: Duration = Duration::from_millis(300);
pub const QUIET_VALID: Duration = Duration::from_millis(200);
/// After so long what is not valid is told; what was moved away is back; the record is shown again.
pub const QUIET_INVALID: Duration = Duration::from_secs(2);
pub const DETACHED: Duration = Duration::from_secs(5);
pub const SHOWN_INVALID: Duration = Duration::from_secs(600);

const MOST_BYTES: usize = 1024 * 1024;

/// What the mount says is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Dir,
    Link,
    /// Made from the conversation: its length is that of its contents.
    Made,
    Bytes(Vec<u8>),
}

/// How much is looked at.
#[derive(Debug, Clone)]
pub enum Look {
    /// Names of commits, and what is directly in these of their directories.
    Into(Vec<String>),
    /// The same of all of them.
    IntoAll,
    Deep,
}

impl Look {
    /// Whether to go into a directory.
    pub fn enters(&self, path: &str, is_commit: bool, is_part: bool) -> bool {
        match self {
            Look::Into(dirs) => !is_part && (!is_commit || dirs.iter().any(|dir| dir == path)),
            Look::IntoAll => !is_part,
            Look::Deep => true,
        }
    }
}

/// A thing made from the conversation: a directory or a file of a commit.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub parent: Option<usize>,
    pub commit: usize,
    pub kind: MadeKind,
    /// Removed a moment ago.
    pub gone: bool,
    pub deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeKind {
    Commit,
    Dir,
    Session,
    File,
    Turn,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub title: String,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: i64,
    pub project: String,
    pub note: String,
}

#[derive(Debug, Clone)]
struct Buffer {
    bytes: Vec<u8>,
    written: Instant,
    refused: bool,
    /// A write of it was refused: it is not all that its writer has, and never the record.
    cut: bool,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    /// The time in front of its name.
    pub start: String,
    pub found: String,
    pub title: Option<String>,
    pub project: usize,
    pub name: String,
    link: String,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: i64,
    pub note: String,
    root: usize,
    holder: Option<usize>,
    buffer: Option<Buffer>,
    detached: Option<Instant>,
    /// The bytes of the last save, and what the record was rendered as then.
    saved: Option<(Vec<u8>, String)>,
    draft: Option<Vec<u8>>,
    /// The draft is of a document that was refused: it stays when its editor puts the former one back.
    is_refused: bool,
}

#[derive(Debug, Clone)]
struct Trashed {
    /// Counts all that was ever deleted.
    number: usize,
    made: usize,
    name: String,
    listed: bool,
    by_manager: bool,
}

/// What an edit is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Commit(usize),
    Project(usize),
    /// A session or a turn.
    Part(usize),
}

/// A line of the log of edits.
#[derive(Debug, Clone)]
struct Logged {
    number: u64,
    of: Subject,
    action: &'static str,
}

/// What a program made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scratch {
    Dir,
    Link,
    File(usize),
}

/// What the kernel knows by a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Bytes(Vec<u8>),
    Meta(usize),
}

/// The place of scratch files: a commit, or the info directory of a file manager's trash.
type Place = Option<usize>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Fixed(&'static str),
    Project(usize),
    Hidden(usize),
    Made(usize),
    Meta(usize),
    Scratch(Place, String),
    Former(usize, String),
    Draft(usize),
    /// A link or file of the tree that nothing is done with.
    Other(bool),
}

#[derive(Debug, Clone)]
pub struct Model {
    pub projects: Vec<String>,
    pub commits: Vec<Commit>,
    pub made: Vec<Made>,
    trash: Vec<Trashed>,
    deletions: usize,
    log: Vec<Logged>,
    /// How many edits there ever were.
    edits: u64,
    /// What the projects were called at first, and where the commits lay.
    first: (Vec<String>, Vec<usize>),
    scratch: BTreeMap<(Place, String), Scratch>,
    held: Vec<Held>,
    pub handles: Vec<Option<Handle>>,
    former: BTreeMap<(usize, String), usize>,
    removed_at: Option<Instant>,
    /// What the editor was shown of a document last.
    readings: BTreeMap<usize, Shown>,
    manager_dir: String,
}

#[derive(Debug, Clone)]
pub enum Handle {
    Held(usize),
    Made,
}

/// A commit as a new world has it.
#[derive(Debug, Clone)]
pub struct Start {
    pub id: String,
    pub title: String,
    pub project: String,
    pub name: String,
    /// Paths below its directory, directories before what is in them.
    pub paths: Vec<(String, bool)>,
}

fn is_turn(path: &[&str]) -> bool {
    path.len() > 1 && path[path.len() - 2] == "turns"
}

fn is_session(path: &[&str]) -> bool {
    path.len() > 1 && matches!(path[path.len() - 2], "sessions" | "subagents")
}

fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn splice(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

impl Model {
    pub fn new(starts: Vec<Start>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let mut model = Self {
            projects: Vec::new(),
            commits: Vec::new(),
            made: Vec::new(),
            trash: Vec::new(),
            deletions: 0,
            log: Vec::new(),
            edits: 0,
            first: Default::default(),
            scratch: BTreeMap::new(),
            held: Vec::new(),
            handles: Vec::new(),
            former: BTreeMap::new(),
            removed_at: None,
            readings: BTreeMap::new(),
            manager_dir: format!(".Trash-{uid}"),
        };
        for start in starts {
            model.add(start);
        }
        model.first = (model.projects.clone(), model.commits.iter().map(|c| c.project).collect());
        model.reopened();
        model
    }

    fn add(&mut self, start: Start) {
        let project = match self.projects.iter().position(|name| *name == start.project) {
            Some(at) => at,
            None => {
                self.projects.push(start.project);
                self.projects.len() - 1
            }
        };
        let (commit, root) = (self.commits.len(), self.made.len());
        let made = |name: &str, parent, kind| Made {
            name: name.to_owned(),
            parent,
            commit,
            kind,
            gone: false,
            deleted: false,
        };
        self.made.push(made("", None, MadeKind::Commit));
        let mut known = BTreeMap::from([(String::new(), root)]);
        for (path, is_dir) in start.paths.iter().filter(|(path, _)| path != "meta.md") {
            let parts: Vec<&str> = path.split('/').collect();
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let kind = match (*is_dir, is_turn(&parts), is_session(&parts)) {
                (true, _, true) => MadeKind::Session,
                (true, ..) => MadeKind::Dir,
                (false, true, _) => MadeKind::Turn,
                (false, ..) => MadeKind::File,
            };
            known.insert(path.clone(), self.made.len());
            self.made.push(made(name, Some(known[above]), kind));
        }
        self.held.push(Held::Meta(commit));
        self.commits.push(Commit {
            start: start.name[..21].to_owned(),
            id: start.id,
            found: start.title,
            title: None,
            project,
            link: start.name.clone(),
            name: start.name,
            tags: Vec::new(),
            hidden: false,
            published: false,
            order: 0,
            note: String::new(),
            root,
            holder: Some(self.held.len() - 1),
            buffer: None,
            detached: None,
            saved: None,
            draft: None,
            is_refused: false,
        });
    }
}
