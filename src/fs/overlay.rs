//! What the mount knows beside the database: which node has the role of a `meta.md` at the moment, what is being written to
//! it, and what was removed and is not settled yet. Plain data behind one lock, which is never held during I/O.
//!
//! Why roles: an editor renames `meta.md` away and makes a new one, or renames its own file onto it. The kernel then knows the
//! document under another number, and goes on writing to files by the numbers it has (facts: docs/SEMANTICS.md, "Writing").

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use super::scratch::ScratchId;
use crate::curation::Shown;
use crate::model::{Id, Millis};
use crate::tree::Node;

/// Numbers of nodes made for documents, among those of scratch files, which count up from 1.
const FIRST_DOCUMENT: u64 = 1 << 40;

/// Readings of documents that are remembered, and of one process: `grep` reads them all, an editor those it has open.
const MOST_READINGS: usize = 512;
const MOST_OF_ONE: usize = 32;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What its number says.
    Tree(Node),
    /// The `meta.md` of a commit.
    Meta(i64),
    Scratch(ScratchId),
    /// A document whose name something else has now: who has it open reads and writes bytes that are nobody's.
    Orphan,
}

/// What has the name `meta.md` in a commit's directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holder {
    /// The document's own node.
    #[default]
    Own,
    /// A node that took the role.
    Other(u64),
    /// Nothing: an editor moved it away a moment ago.
    Nothing,
}

/// A document as it is being written.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub bytes: Vec<u8>,
    pub written: Instant,
    pub mtime: Millis,
    /// A write of it has not returned: its writer is not quiet, however long that takes.
    pub under_way: bool,
    /// Counts the changes, to tell whether what was published is still all.
    pub version: u64,
    /// The process that wrote last; 0 where the kernel wrote back the pages of a mapping.
    pub writer: u32,
    /// It was found to be no valid document, and that was told.
    pub refused: Option<String>,
    /// A write of it was refused: what is here is not all that its writer has.
    pub cut: Option<String>,
}

/// A commit's document, while it is not simply the record.
#[derive(Debug, Default)]
pub struct Document {
    pub holder: Holder,
    pub buffer: Option<Buffer>,
    pub detached: Option<Instant>,
}

/// Who was shown what.
#[derive(Debug, Clone)]
struct Reading {
    commit_row: i64,
    process: u32,
    shown: Shown,
}

#[derive(Default)]
pub struct Overlay {
    roles: HashMap<u64, Role>,
    seen_as: HashMap<ScratchId, u64>,
    orphans: HashMap<u64, Vec<u8>>,
    pub documents: HashMap<i64, Document>,
    readings: VecDeque<Reading>,
    /// Nodes that were removed, with their place: those of an entity that is then removed itself, or each for itself.
    pub removed: HashMap<u64, Removed>,
    /// When the last was.
    pub removed_at: Option<Instant>,
    /// The hashes of what was saved here last.
    saved: HashMap<i64, Id>,
    generations: HashMap<u64, u64>,
    next_document: u64,
}

/// A name that was removed and is not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    pub parent: u64,
    pub name: String,
}

impl Overlay {
    /// What a node is now.
    pub fn role(&self, ino: u64) -> Option<Role> {
        if let Some(role) = self.roles.get(&ino) {
            return Some(*role);
        }
        Some(match Node::from_ino(ino)? {
            Node::CommitMetaMd(row) => Role::Meta(row),
            Node::Scratch(id) if id.cast_unsigned() < FIRST_DOCUMENT => Role::Scratch(ScratchId(id.cast_unsigned())),
            Node::Scratch(_) => return None,
            node => Role::Tree(node),
        })
    }

    pub fn set_role(&mut self, ino: u64, role: Role) {
        if let Some(Role::Scratch(id)) = self.roles.insert(ino, role) {
            self.seen_as.remove(&id);
        }
        if let Role::Scratch(id) = role {
            self.seen_as.insert(id, ino);
        }
        if role != Role::Orphan {
            self.orphans.remove(&ino);
        }
    }

    /// Makes a node whose name is taken from it.
    pub fn orphan(&mut self, ino: u64, bytes: Vec<u8>) {
        self.set_role(ino, Role::Orphan);
        self.orphans.insert(ino, bytes);
    }

    pub fn orphan_bytes(&mut self, ino: u64) -> Option<&mut Vec<u8>> {
        self.orphans.get_mut(&ino)
    }

    /// The number a scratch file is seen under.
    pub fn ino_of_scratch(&self, id: ScratchId) -> u64 {
        self.seen_as.get(&id).copied().unwrap_or_else(|| Node::Scratch(id.0.cast_signed()).ino())
    }

    /// A number for a new document.
    pub fn new_document_ino(&mut self) -> u64 {
        self.next_document += 1;
        Node::Scratch((FIRST_DOCUMENT + self.next_document).cast_signed()).ino()
    }

    /// The number that has the name `meta.md` in a commit's directory.
    pub fn holder(&self, commit_row: i64) -> Option<u64> {
        match self.documents.get(&commit_row).map(|d| d.holder).unwrap_or_default() {
            Holder::Own => Some(Node::CommitMetaMd(commit_row).ino()),
            Holder::Other(ino) => Some(ino),
            Holder::Nothing => None,
        }
    }

    /// The nodes beside its own that a commit's document is known under.
    pub fn others_of(&self, commit_row: i64) -> Vec<u64> {
        self.roles.iter().filter(|(_, role)| **role == Role::Meta(commit_row)).map(|(ino, _)| *ino).collect()
    }

    /// Forgets what is known of a node that the kernel has forgotten.
    pub fn forget(&mut self, ino: u64) {
        self.generations.remove(&ino);
        let holds = self.documents.values().any(|document| document.holder == Holder::Other(ino));
        if !holds && let Some(role) = self.roles.get(&ino) {
            // A scratch file that has a name goes on being seen under the number it has.
            if !matches!(role, Role::Scratch(_)) {
                self.roles.remove(&ino);
            }
        }
        self.orphans.remove(&ino);
    }

    /// Drops the roles of a scratch file that is gone.
    pub fn forget_scratch(&mut self, id: ScratchId) {
        if let Some(ino) = self.seen_as.remove(&id) {
            self.roles.remove(&ino);
        }
    }

    /// Notes what was saved.
    pub fn note_saved(&mut self, commit_row: i64, bytes: &[u8]) {
        // What is forgotten here is only told once more than needed.
        if self.saved.len() >= MOST_READINGS {
            self.saved.clear();
        }
        self.saved.insert(commit_row, Id::derive(&[bytes]));
    }

    /// Notes what was read of the record: where that is something else, the kernel has what was saved no more.
    pub fn note_read(&mut self, commit_row: i64, bytes: &[u8]) {
        if !self.was_saved(commit_row, bytes) {
            self.saved.remove(&commit_row);
        }
    }

    /// Whether these bytes are what was saved last, and the kernel has them since.
    pub fn was_saved(&self, commit_row: i64, bytes: &[u8]) -> bool {
        self.saved.get(&commit_row) == Some(&Id::derive(&[bytes]))
    }

    /// Whether something was written that is not the record yet.
    pub fn is_being_written(&self, commit_row: i64) -> bool {
        self.documents.get(&commit_row).is_some_and(|document| document.buffer.is_some())
    }

    /// Drops what is kept of a document that is again what the record says.
    pub fn tidy(&mut self, commit_row: i64) {
        if let Some(document) = self.documents.get(&commit_row)
            && document.holder == Holder::Own
            && document.buffer.is_none()
        {
            self.documents.remove(&commit_row);
        }
    }

    /// Gives the name `meta.md` back to the record, whatever became of what had it: under the document's own number, or under a
    /// new one where that is a backup's by now, or of a file that is open and has no name.
    pub fn come_to_rest(&mut self, commit_row: i64) {
        self.documents.remove(&commit_row);
        if !matches!(self.role(Node::CommitMetaMd(commit_row).ino()), Some(Role::Meta(_))) {
            let ino = self.new_document_ino();
            self.set_role(ino, Role::Meta(commit_row));
            self.documents.entry(commit_row).or_default().holder = Holder::Other(ino);
        }
    }

    /// Notes that a process was shown a document.
    pub fn note_reading(&mut self, commit_row: i64, process: u32, shown: Shown) {
        self.readings.retain(|r| !(r.process == process && r.commit_row == commit_row));
        let of_one = self.readings.iter().filter(|r| r.process == process).count();
        if of_one >= MOST_OF_ONE
            && let Some(oldest) = self.readings.iter().position(|r| r.process == process)
        {
            self.readings.remove(oldest);
        }
        if self.readings.len() >= MOST_READINGS {
            self.readings.pop_front();
        }
        self.readings.push_back(Reading { commit_row, process, shown });
    }

    /// What was shown of a document, the latest last, with the process that read it.
    pub fn shown(&self, commit_row: i64) -> Vec<(u32, Shown)> {
        let of_commit = self.readings.iter().filter(|r| r.commit_row == commit_row);
        of_commit.map(|r| (r.process, r.shown.clone())).collect()
    }

    /// Notes that a directory was removed: should its number be seen again, the kernel must not take it for the one it holds
    /// for dead.
    pub fn removed_directory(&mut self, ino: u64) {
        *self.generations.entry(ino).or_default() += 1;
    }

    pub fn generation(&self, ino: u64) -> u64 {
        self.generations.get(&ino).copied().unwrap_or(0)
    }
}
