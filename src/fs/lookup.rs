//! Names: the tree's, what a search found, and what was made on the mount.

use std::ffi::OsStr;

use super::{CogFs, FsError, Lookup, NAME_MAX, Result, lock, overlay};
use crate::tree::{self, Found, Node};

impl CogFs {
    /// Finds a name in a directory.
    ///
    /// # Errors
    /// When `parent` is no directory, the name is too long for any, or the database cannot be read.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Lookup> {
        self.lookup_for(0, parent, name)
    }

    /// The same for a thread: who is about to make a directory finds no search that is not kept.
    ///
    /// # Errors
    /// As [`Self::lookup`]; when a search cannot be read.
    pub fn lookup_for(&self, thread: u32, parent: u64, name: &OsStr) -> Result<Lookup> {
        // Kernels let longer names through: before 6.14 up to 1,024 bytes, since then up to 4,095.
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        if self.writing.is_some()
            && let Some(found) = self.overlay_lookup(parent, name)?
        {
            return Ok(found);
        }
        let dir = Node::from_ino(parent).ok_or(FsError::NotFound)?;
        // All names are UTF-8: another one is never there.
        let Some(name) = name.to_str() else { return Ok(Lookup::Absent { for_good: true }) };
        let view = self.view();
        let found = match dir {
            Node::Search(_) => match self.find(dir, name)? {
                Found::Node(node) => Ok((node, self.query(|conn| tree::facts(conn, &view, node))?)),
                other => Err(other),
            },
            // The name and what it stands for are of one state.
            _ => self.query(|conn| {
                Ok(match tree::lookup(conn, &view, dir, name)? {
                    Found::Node(node) => Ok((node, tree::facts(conn, &view, node)?)),
                    other => Err(other),
                })
            })?,
        };
        match found {
            Ok((node, Some(facts))) => Ok(Lookup::Found(self.attr(node, &facts))),
            Ok((_, None)) => Ok(Lookup::Absent { for_good: false }),
            Err(_) if dir == Node::SearchDir => self.look_up_search(name, thread),
            Err(Found::Never) => Ok(Lookup::Absent { for_good: true }),
            Err(_) => Ok(Lookup::Absent { for_good: false }),
        }
    }

    /// Whether a name that was found is to be asked for again each time, as it may be another's, or nobody's.
    #[must_use]
    pub fn is_passing(ino: u64) -> bool {
        matches!(Node::from_ino(ino), Some(Node::Search(Node::FIRST_PASSING_SEARCH..)))
    }

    /// What a name of the tree stands for, or of what a search found.
    pub(super) fn find(&self, dir: Node, name: &str) -> Result<Found> {
        if let Node::Search(row) = dir {
            if name.starts_with('.') {
                return Ok(Found::Never);
            }
            // The place in the list is in front: who looks for another name makes no search run.
            if !name.starts_with(|c: char| c.is_ascii_digit()) {
                return Ok(Found::Absent);
            }
            let links = self.found(row)?;
            let link = links.iter().find(|link| link.name == name);
            return Ok(link.map_or(Found::Absent, |link| Found::Node(Node::Hit(link.turn_row))));
        }
        let view = self.view();
        self.query(|conn| tree::lookup(conn, &view, dir, name))
    }

    /// Finds a name that is not simply the tree's; `None` where the tree is to be asked.
    fn overlay_lookup(&self, parent: u64, name: &OsStr) -> Result<Option<Lookup>> {
        let Some(writing) = &self.writing else { return Ok(None) };
        let role = self.role(parent)?;
        let special = match role {
            overlay::Role::Tree(Node::Commit(_) | Node::ManagerTrashInfo) | overlay::Role::Scratch(_) => true,
            overlay::Role::Tree(Node::SearchDir) => false,
            overlay::Role::Tree(_) => !lock(&writing.overlay).removed.is_empty(),
            _ => return Err(FsError::NotADirectory),
        };
        if !special {
            return Ok(None);
        }
        let Some(ino) = self.child(parent, name)? else {
            // Names with a dot in front appear by the kernel's own doing alone, which it knows of.
            let dotted = name.to_str().is_some_and(|name| name.starts_with('.'));
            let for_good = dotted && matches!(role, overlay::Role::Tree(Node::Commit(_)));
            return Ok(Some(Lookup::Absent { for_good }));
        };
        match self.getattr(ino) {
            Ok(attr) => {
                self.remember(ino);
                Ok(Some(Lookup::Found(attr)))
            }
            Err(FsError::NotFound) => Ok(Some(Lookup::Absent { for_good: false })),
            Err(error) => Err(error),
        }
    }
}
