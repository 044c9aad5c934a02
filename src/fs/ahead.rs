//! What is likely to be read next, made before it is asked for.

use std::sync::Arc;

use super::{CogFs, Result};
use crate::store::{self, raw};
use crate::tree::{self, Contents, Node};

/// A file made before it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyFile<'a> {
    pub ino: u64,
    pub bytes: &'a [u8],
}

/// Where a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// In the turns of a session.
    Turn { session_row: i64, number: u32 },
    /// At a document beside others, in the directory of this number.
    Document { dir: u64 },
}

impl CogFs {
    /// Where the reader of a file is; `None` when nothing can be said of what is read next.
    #[must_use]
    pub fn read_at(ino: u64) -> Option<ReadAt> {
        let node = Node::from_ino(ino)?;
        if let Node::Turn(row) = node {
            let (session_row, number) = store::turns::parts_of(row);
            return Some(ReadAt::Turn { session_row, number });
        }
        tree::directory_of_document(node).map(|dir| ReadAt::Document { dir: dir.ino() })
    }

    /// The session whose turns a directory holds, with the session's own directory.
    #[must_use]
    pub fn turns_listed(ino: u64) -> Option<(i64, u64)> {
        let Node::TurnsDir(row) = Node::from_ino(ino)? else { return None };
        Some((row, Node::Session(row).ino()))
    }

    /// Gives some of a session's turn files to `each` with their numbers, from one number on: what is likely to be read next.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn turns(
        &self,
        session_row: i64,
        from: u32,
        count: u32,
        each: &mut dyn FnMut(u32, ReadyFile<'_>),
    ) -> Result<()> {
        let view = self.view();
        self.query(|conn| {
            tree::turn_files(conn, &view.kept, session_row, from, count, &mut |number, bytes| {
                let ino = Node::Turn(store::turns::row_of(session_row, number)).ino();
                each(number, ReadyFile { ino, bytes });
            })
        })
    }

    /// The number of a session's last turn; `None` when it has none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_turn(&self, session_row: i64) -> Result<Option<u32>> {
        self.query(|conn| store::turns::last(conn, session_row))
    }

    /// Gives the other documents of a document's directory to `each`, those of at most `largest` bytes that are wanted when it
    /// is their turn. No `meta.md` that can be written to: its number may be a backup's by now, and what the kernel is given
    /// would lie over what a program writes meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn beside(
        &self,
        ino: u64,
        largest: u64,
        is_wanted: &dyn Fn(u64) -> bool,
        each: &mut dyn FnMut(ReadyFile<'_>),
    ) -> Result<()> {
        let Some(node) = Node::from_ino(ino) else { return Ok(()) };
        let is_fixed = |node: Node| self.writing.is_none() || !matches!(node, Node::CommitMetaMd(_));
        let found = self.query(|conn| tree::documents_beside(conn, &self.view(), node, largest))?;
        for other in found.into_iter().filter(|other| is_fixed(*other)) {
            if is_wanted(other.ino())
                && let Some(document) = self.made_ahead(other)?
            {
                each(ReadyFile { ino: other.ino(), bytes: &document });
            }
        }
        Ok(())
    }

    /// A document that may be asked for at this very moment: it is kept before it is given away, so that who asks does not make it
    /// once more, and waits for no page that this one fills. `None` where that takes more than the database.
    fn made_ahead(&self, node: Node) -> Result<Option<Arc<Vec<u8>>>> {
        let (ino, epoch) = (node.ino(), self.gate.epoch());
        let _claim = self.documents.claim(ino);
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Some(document));
        }
        let made = self.query(|conn| {
            if !tree::elsewhere(conn, node)?.is_empty() {
                return Ok(None);
            }
            Ok(match tree::contents(conn, &self.view(), node)? {
                Some(Contents::Bytes(bytes)) => Some(bytes),
                Some(Contents::Raw { session_row }) => Some(raw::whole(conn, session_row)?),
                Some(Contents::Blob { .. }) | None => None,
            })
        })?;
        Ok(made.map(|bytes| {
            let document = Arc::new(bytes);
            self.documents.keep(ino, epoch, Arc::clone(&document));
            document
        }))
    }
}
