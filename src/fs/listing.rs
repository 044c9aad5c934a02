//! Listings: the tree's, what a search found, and the scratch files beside them.

use super::next_page::Page;
use super::{CogFs, DirEntry, FsError, NodeKind, Result, kind, lock, overlay, scratch, write};
use crate::tree::{self, Node};

/// Offsets of a listing behind it are scratch files'.
const SCRATCH_PLACE: u64 = 1 << 60;

impl CogFs {
    /// Lists a directory from `offset` on ("." and ".." included), giving each entry to `sink` until that returns false.
    ///
    /// # Errors
    /// When the node is no directory or the database cannot be read.
    pub fn readdir(
        &self,
        ino: u64,
        offset: u64,
        with_attr: bool,
        sink: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        for (place, name) in [(1, "."), (2, "..")] {
            // The kernel knows both and takes neither's number from here.
            let entry = DirEntry { ino, kind: NodeKind::Directory, name: name.into(), next_offset: place, attr: None };
            if offset < place && !sink(entry) {
                return Ok(());
            }
        }
        if self.writing.is_some() {
            return self.overlay_readdir(ino, offset, with_attr, sink);
        }
        let dir = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        self.list_tree(dir, offset, with_attr, sink)
    }

    fn list_tree(&self, dir: Node, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        if let Node::Search(row) = dir {
            return self.list_found(row, offset, with_attr, sink);
        }
        if let (true, false) = (is_read_ahead(dir), with_attr)
            && let Some(entries) = self.next_page.take(dir.ino(), offset, self.gate.epoch())
        {
            for entry in entries {
                if !sink(entry) {
                    break;
                }
            }
            return Ok(());
        }
        self.list_here(dir, offset, with_attr, sink)
    }

    fn overlay_readdir(
        &self,
        ino: u64,
        offset: u64,
        with_attr: bool,
        sink: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let role = self.role(ino)?;
        let mut more = true;
        if let (overlay::Role::Tree(dir), true) = (role, offset < SCRATCH_PLACE) {
            let (is_commit, some_removed) = match dir {
                Node::Commit(row) => (Some(row), !lock(&writing.overlay).removed.is_empty()),
                _ => (None, !lock(&writing.overlay).removed.is_empty()),
            };
            self.list_tree(dir, offset, with_attr, &mut |mut entry| {
                if let (Some(row), true) = (is_commit, entry.name == "meta.md") {
                    let Some(holder) = lock(&writing.overlay).holder(row) else { return true };
                    entry.ino = holder;
                    if with_attr {
                        match self.overlay_attr(holder) {
                            Ok(attr) => entry.attr = attr.or(entry.attr),
                            Err(_) => return true,
                        }
                    }
                }
                if some_removed && lock(&writing.overlay).removed.contains_key(&entry.ino) {
                    return true;
                }
                more = sink(entry);
                more
            })?;
        }
        if !more || writing.scratch.used().files == 0 {
            return Ok(());
        }
        let Some(dir) = self.scratch_dir(role)? else { return Ok(()) };
        let behind = scratch::ScratchId(offset.saturating_sub(SCRATCH_PLACE));
        for entry in writing.scratch.list(&dir, behind)? {
            let ino = lock(&writing.overlay).ino_of_scratch(entry.id);
            let attr = if with_attr {
                match writing.scratch.attr(entry.id) {
                    Ok(attr) => Some(write::scratch_attr(ino, &attr)),
                    Err(_) => continue,
                }
            } else {
                None
            };
            let next_offset = SCRATCH_PLACE + entry.id.0;
            if !sink(DirEntry { ino, kind: entry.kind, name: entry.name, next_offset, attr }) {
                break;
            }
            if with_attr {
                writing.scratch.remember(entry.id);
            }
        }
        Ok(())
    }

    /// Sends a page of names that is full, and reads the next one while it is taken in. `behind` is the place behind the last of its
    /// `count` entries. To be called within the request.
    pub fn send_and_list_ahead(&self, ino: u64, behind: u64, count: usize, send: impl FnOnce()) {
        let Some(dir) = Node::from_ino(ino).filter(|dir| is_read_ahead(*dir)) else { return send() };
        // Taken before it is sent: the next request is to find that there will be a page.
        let mut page = self.next_page.begin();
        send();
        // Some more, for their names may be shorter: what is too much is read again.
        let (epoch, most) = (self.gate.epoch(), count + count / 16 + 8);
        let mut entries = Vec::with_capacity(most);
        let read = self.list_here(dir, behind, false, &mut |entry| {
            entries.push(entry);
            entries.len() < most
        });
        let is_of_use = read.is_ok() && !entries.is_empty();
        *page = is_of_use.then_some(Page { dir: ino, behind, epoch, entries });
    }

    fn list_here(&self, dir: Node, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let view = self.view();
        let is_directory = self.query(|conn| {
            let mut failure = None;
            let listed = tree::list(conn, &view, dir, offset.saturating_sub(2), with_attr, &mut |entry| {
                let facts = match (with_attr, entry.facts) {
                    (true, None) => tree::facts(conn, &view, entry.node),
                    (_, facts) => Ok(facts),
                };
                match facts {
                    // Listed a moment ago and gone: cannot be within one read transaction, and is left out.
                    Ok(None) if with_attr => true,
                    Ok(facts) => sink(DirEntry {
                        ino: entry.node.ino(),
                        kind: kind(entry.kind),
                        name: entry.name.into(),
                        next_offset: entry.next + 2,
                        attr: facts.filter(|_| with_attr).map(|f| self.attr(entry.node, &f)),
                    }),
                    Err(e) => {
                        failure = Some(e);
                        false
                    }
                }
            })?;
            failure.map_or(Ok(listed), Err)
        })?;
        if is_directory { Ok(()) } else { Err(FsError::NotADirectory) }
    }

    fn list_found(&self, row: i64, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let links = self.found(row)?;
        let behind = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        for (link, next_offset) in links.iter().zip(3..).skip(behind) {
            let (node, kind) = (Node::Hit(link.turn_row), NodeKind::Symlink);
            let attr = with_attr.then(|| self.attr(node, &link.facts));
            if !sink(DirEntry { ino: node.ino(), kind, name: link.name.clone().into(), next_offset, attr }) {
                break;
            }
        }
        Ok(())
    }
}

/// Whether a directory holds links, of which there may be as many as there are commits.
fn is_read_ahead(dir: Node) -> bool {
    matches!(dir, Node::Facet(_) | Node::ByGitDir | Node::ByIdDir)
}
