//! Nodes and their inode numbers: computed, not allocated. 7 bits say which file of which kind of entity (bits 56 to 62),
//! 56 bits the entity's row. Nothing grows with what was visited, and a number means the same after a remount or a move.

use crate::store::facets::FacetKind;

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    Root,
    Readme,
    Ignore,
    ControlDir,
    Status,
    ProjectsDir,
    ByDir,
    /// `by/date/`, `by/agent/`, ...
    ViewDir(FacetKind),
    ByGitDir,
    ByIdDir,
    /// `.cogfs/trash/`: what was deleted.
    TrashDir,
    Errors,
    Queue,
    Control,
    /// `.cogfs/drafts/`: what was written to a `meta.md` and has not become the record.
    DraftsDir,
    /// `.cogfs/conflicts/`: what two machines changed at once.
    ConflictsDir,
    /// A file manager's Trash for this mount, with its two directories.
    ManagerTrash,
    ManagerTrashFiles,
    ManagerTrashInfo,
    /// Where GNOME's programs move what they empty out of the Trash, before they remove it: it is gone with that.
    ManagerTrashExpunged,
    Project(i64),
    ProjectJson(i64),
    ProjectLatest(i64),
    Commit(i64),
    CommitMetaMd(i64),
    CommitMetaJson(i64),
    CommitTranscript(i64),
    /// `transcript.html`.
    CommitPage(i64),
    SessionsDir(i64),
    VisualsDir(i64),
    Visual(i64),
    Session(i64),
    SessionTranscript(i64),
    SessionMetaJson(i64),
    SessionRaw(i64),
    /// `resume.sh`.
    SessionResume(i64),
    TurnsDir(i64),
    SubagentsDir(i64),
    /// Row of the turn: session row << 16 | number.
    Turn(i64),
    /// A directory of a view: a day, a model, a part of a file's path.
    Facet(i64),
    /// A commit in one.
    FacetLink(i64),
    /// A project in `by/file/`.
    ProjectFiles(i64),
    GitLink(i64),
    IdCommit(i64),
    IdSession(i64),
    /// `hidden/` in a project.
    HiddenDir(i64),
    /// A name that a commit had: a link to the one it has.
    Former(i64),
    /// A file that a program made beside a writable one. The filesystem's, not the tree's.
    Scratch(i64),
    /// The draft of a commit's `meta.md`.
    Draft(i64),
    /// What two machines made of one field.
    Conflict(i64),
    /// `search/`: a directory for each search that is kept, and for any that is asked for.
    SearchDir,
    /// The turns that a search found. Rows from [`Node::FIRST_PASSING_SEARCH`] on are of searches that are not kept.
    Search(i64),
    /// A link to a turn that a search found: the same in every search.
    Hit(i64),
}

const ROW_BITS: u32 = 56;
const ROW_MASK: u64 = (1 << ROW_BITS) - 1;

/// The views' directories stand behind this number among the fixed nodes.
const VIEWS: i64 = 32;

impl Node {
    /// What is asked for and not kept has rows from here on, in memory alone.
    pub const FIRST_PASSING_SEARCH: i64 = 1 << 40;

    /// The inode number.
    #[must_use]
    pub fn ino(self) -> u64 {
        let (kind, row): (u64, i64) = match self {
            // Numbers of the first kind are the fixed nodes; the kernel wants 1 for the root.
            Self::Root => (0, 1),
            Self::Readme => (0, 2),
            Self::Ignore => (0, 3),
            Self::ControlDir => (0, 4),
            Self::Status => (0, 5),
            Self::ProjectsDir => (0, 6),
            Self::ByDir => (0, 7),
            Self::ByGitDir => (0, 8),
            Self::ByIdDir => (0, 10),
            Self::TrashDir => (0, 11),
            Self::Errors => (0, 12),
            Self::Queue => (0, 13),
            Self::Control => (0, 14),
            Self::DraftsDir => (0, 15),
            Self::ManagerTrash => (0, 16),
            Self::ManagerTrashFiles => (0, 17),
            Self::ManagerTrashInfo => (0, 18),
            Self::ManagerTrashExpunged => (0, 19),
            Self::ConflictsDir => (0, 20),
            Self::SearchDir => (0, 21),
            Self::ViewDir(kind) => (0, VIEWS + kind as i64),
            Self::Project(row) => (1, row),
            Self::ProjectJson(row) => (2, row),
            Self::ProjectLatest(row) => (3, row),
            Self::Commit(row) => (4, row),
            Self::CommitMetaMd(row) => (5, row),
            Self::CommitMetaJson(row) => (6, row),
            Self::CommitTranscript(row) => (7, row),
            Self::SessionsDir(row) => (8, row),
            Self::VisualsDir(row) => (9, row),
            Self::Visual(row) => (10, row),
            Self::Session(row) => (11, row),
            Self::SessionTranscript(row) => (12, row),
            Self::SessionMetaJson(row) => (13, row),
            Self::SessionRaw(row) => (14, row),
            Self::TurnsDir(row) => (15, row),
            Self::SubagentsDir(row) => (16, row),
            Self::Turn(row) => (17, row),
            Self::Facet(row) => (18, row),
            Self::FacetLink(row) => (19, row),
            Self::ProjectFiles(row) => (20, row),
            Self::GitLink(row) => (21, row),
            Self::IdCommit(row) => (22, row),
            Self::IdSession(row) => (23, row),
            Self::HiddenDir(row) => (24, row),
            Self::Former(row) => (25, row),
            Self::Scratch(row) => (26, row),
            Self::Draft(row) => (27, row),
            Self::Conflict(row) => (28, row),
            Self::CommitPage(row) => (29, row),
            Self::SessionResume(row) => (30, row),
            Self::Search(row) => (31, row),
            Self::Hit(row) => (32, row),
        };
        kind << ROW_BITS | (row.cast_unsigned() & ROW_MASK)
    }

    /// Whether it is a directory. A scratch file may be one: the filesystem knows.
    #[must_use]
    pub fn is_directory(self) -> bool {
        match self {
            Self::Root
            | Self::ControlDir
            | Self::ProjectsDir
            | Self::ByDir
            | Self::ViewDir(_)
            | Self::ByGitDir
            | Self::ByIdDir
            | Self::TrashDir
            | Self::DraftsDir
            | Self::ConflictsDir
            | Self::ManagerTrash
            | Self::ManagerTrashFiles
            | Self::ManagerTrashInfo
            | Self::ManagerTrashExpunged
            | Self::Project(_)
            | Self::Commit(_)
            | Self::SessionsDir(_)
            | Self::VisualsDir(_)
            | Self::Session(_)
            | Self::TurnsDir(_)
            | Self::SubagentsDir(_)
            | Self::Facet(_)
            | Self::ProjectFiles(_)
            | Self::HiddenDir(_)
            | Self::SearchDir
            | Self::Search(_) => true,
            Self::Readme
            | Self::Ignore
            | Self::Status
            | Self::Errors
            | Self::Queue
            | Self::Control
            | Self::ProjectJson(_)
            | Self::ProjectLatest(_)
            | Self::CommitMetaMd(_)
            | Self::CommitMetaJson(_)
            | Self::CommitTranscript(_)
            | Self::CommitPage(_)
            | Self::Visual(_)
            | Self::SessionTranscript(_)
            | Self::SessionMetaJson(_)
            | Self::SessionRaw(_)
            | Self::SessionResume(_)
            | Self::Turn(_)
            | Self::FacetLink(_)
            | Self::GitLink(_)
            | Self::IdCommit(_)
            | Self::IdSession(_)
            | Self::Former(_)
            | Self::Scratch(_)
            | Self::Draft(_)
            | Self::Conflict(_)
            | Self::Hit(_) => false,
        }
    }

    /// The node of an inode number; `None` when no node has it. Whether the entity exists is the store's to say.
    #[must_use]
    pub fn from_ino(ino: u64) -> Option<Self> {
        let row = (ino & ROW_MASK).cast_signed();
        Some(match ino >> ROW_BITS {
            0 => match row {
                1 => Self::Root,
                2 => Self::Readme,
                3 => Self::Ignore,
                4 => Self::ControlDir,
                5 => Self::Status,
                6 => Self::ProjectsDir,
                7 => Self::ByDir,
                8 => Self::ByGitDir,
                10 => Self::ByIdDir,
                11 => Self::TrashDir,
                12 => Self::Errors,
                13 => Self::Queue,
                14 => Self::Control,
                15 => Self::DraftsDir,
                16 => Self::ManagerTrash,
                17 => Self::ManagerTrashFiles,
                18 => Self::ManagerTrashInfo,
                19 => Self::ManagerTrashExpunged,
                20 => Self::ConflictsDir,
                21 => Self::SearchDir,
                other => Self::ViewDir(FacetKind::from_i64(other - VIEWS)?),
            },
            1 => Self::Project(row),
            2 => Self::ProjectJson(row),
            3 => Self::ProjectLatest(row),
            4 => Self::Commit(row),
            5 => Self::CommitMetaMd(row),
            6 => Self::CommitMetaJson(row),
            7 => Self::CommitTranscript(row),
            8 => Self::SessionsDir(row),
            9 => Self::VisualsDir(row),
            10 => Self::Visual(row),
            11 => Self::Session(row),
            12 => Self::SessionTranscript(row),
            13 => Self::SessionMetaJson(row),
            14 => Self::SessionRaw(row),
            15 => Self::TurnsDir(row),
            16 => Self::SubagentsDir(row),
            17 => Self::Turn(row),
            18 => Self::Facet(row),
            19 => Self::FacetLink(row),
            20 => Self::ProjectFiles(row),
            21 => Self::GitLink(row),
            22 => Self::IdCommit(row),
            23 => Self::IdSession(row),
            24 => Self::HiddenDir(row),
            25 => Self::Former(row),
            26 => Self::Scratch(row),
            27 => Self::Draft(row),
            28 => Self::Conflict(row),
            29 => Self::CommitPage(row),
            30 => Self::SessionResume(row),
            31 => Self::Search(row),
            32 => Self::Hit(row),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_node_has_a_number_of_its_own_and_is_found_by_it() {
        let row = (1 << 40) - 1;
        let nodes = [
            Node::Root,
            Node::Readme,
            Node::Ignore,
            Node::ControlDir,
            Node::Status,
            Node::ProjectsDir,
            Node::ByDir,
            Node::ByGitDir,
            Node::ByIdDir,
            Node::TrashDir,
            Node::Errors,
            Node::Queue,
            Node::Control,
            Node::DraftsDir,
            Node::ManagerTrash,
            Node::ManagerTrashFiles,
            Node::ManagerTrashInfo,
            Node::ManagerTrashExpunged,
            Node::ConflictsDir,
            Node::Project(row),
            Node::ProjectJson(row),
            Node::ProjectLatest(row),
            Node::Commit(row),
            Node::CommitMetaMd(row),
            Node::CommitMetaJson(row),
            Node::CommitTranscript(row),
            Node::SessionsDir(row),
            Node::VisualsDir(row),
            Node::Visual(row),
            Node::Session(row),
            Node::SessionTranscript(row),
            Node::SessionMetaJson(row),
            Node::SessionRaw(row),
            Node::TurnsDir(row),
            Node::SubagentsDir(row),
            Node::Turn(row << 16 | 65_535),
            Node::Facet(row),
            Node::FacetLink(row),
            Node::ProjectFiles(row),
            Node::GitLink(row),
            Node::IdCommit(row),
            Node::IdSession(row),
            Node::HiddenDir(row),
            Node::Former(row),
            Node::Scratch(row),
            Node::Draft(row),
            Node::Conflict(row),
            Node::CommitPage(row),
            Node::SessionResume(row),
            Node::SearchDir,
            Node::Search(row),
            Node::Hit(row << 16 | 65_535),
        ];
        let nodes: Vec<Node> = nodes.into_iter().chain(FacetKind::ALL.map(Node::ViewDir)).collect();
        let numbers: HashSet<u64> = nodes.iter().map(|n| n.ino()).collect();
        assert_eq!(numbers.len(), nodes.len(), "no two nodes share a number");
        for node in nodes {
            assert_eq!(Node::from_ino(node.ino()), Some(node));
            assert!(node.ino() < 1 << 63, "{node:?}: the kernel's numbers are signed in places");
        }
        assert_eq!(Node::Root.ino(), 1);
    }

    #[test]
    fn a_number_that_is_no_node_is_refused() {
        for ino in [0, 9, 22, 33 << 56, VIEWS.cast_unsigned(), u64::MAX] {
            assert_eq!(Node::from_ino(ino), None, "{ino}");
        }
    }
}
