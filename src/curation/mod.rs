//! What a user makes of the conversations: typed edits, each with its inverse.
//!
//! A rename on the mount, a saved `meta.md`, a command: each becomes edits here, and nothing else changes a record for a user.
//! An edit, its line in the log and its entry in the outbox are written in the caller's transaction, or none of them is.
//! Must not know of inodes, errnos or the command line.

mod apply;
pub mod front_matter;
pub mod names;
mod save;
mod undo;

use crate::store::StoreError;

pub use crate::store::EntityKind;
pub use crate::store::commits::curated::Title;
pub use crate::store::edits::Origin;
pub use apply::{Editor, Elsewhere, Entity};
pub use save::{Outcome, Shown, plan, says_the_record};
pub use undo::undo;

/// One edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Another title, or the one that was found. `name`: the directory's name as it was typed; else one is made of the title.
    Retitle {
        commit: i64,
        title: Title,
        name: Option<String>,
    },
    SetHidden {
        commit: i64,
        hidden: bool,
    },
    SetPublished {
        commit: i64,
        published: bool,
    },
    Reorder {
        commit: i64,
        order: i64,
    },
    SetNote {
        commit: i64,
        note: String,
    },
    SetTags {
        commit: i64,
        tags: Vec<String>,
    },
    /// Into another project. `name`: as in [`Edit::Retitle`], but the title stays; else the commit keeps its name.
    MoveToProject {
        commit: i64,
        project: i64,
        name: Option<String>,
    },
    RenameProject {
        project: i64,
        name: String,
    },
    /// Into the trash.
    Delete {
        entity: Entity,
        name: TrashName,
    },
    /// Out of the trash.
    Restore {
        entity: Entity,
    },
}

/// What something is called in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrashName {
    /// As it was called.
    Own,
    /// As a user called it.
    Typed(String),
    /// As a file manager calls it, whose Trash lists it.
    ByManager(String),
}

/// Why an edit was refused. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum CurationError {
    #[error("there is no such {}", kind.as_str())]
    NotFound { kind: EntityKind },
    #[error("{name:?} is taken: choose another name")]
    NameTaken { name: String },
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("it is not deleted")]
    NotDeleted,
    #[error("it is deleted already: `cogfs restore {id}` brings it back")]
    Deleted { id: String },
    #[error("there is no edit {seq}: `cogfs log` lists them")]
    NoSuchEdit { seq: i64 },
    #[error("edit {seq} was taken back already, by edit {by}")]
    UndoneAlready { seq: i64, by: i64 },
    #[error("what edit {seq} changed has been changed again by edit {by}: take that back first")]
    ChangedSince { seq: i64, by: i64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for CurationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A shorthand for this module's results.
pub type Result<T> = std::result::Result<T, CurationError>;
