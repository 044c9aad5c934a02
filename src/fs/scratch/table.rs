//! What is known of the scratch files: numbers, names, attributes, sums. No I/O.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::{Attr, Dir, Entry, Limits, Result, ScratchError, ScratchId};
use crate::fs::NodeKind;
use crate::model::Id;

/// The names in a directory.
#[derive(Default)]
pub(super) struct Children {
    by_name: HashMap<OsString, ScratchId>,
    /// In the order they are listed.
    by_id: BTreeSet<ScratchId>,
}

pub(super) enum Body {
    File {
        /// Held by whoever changes the contents, so that growth is counted once.
        gate: Arc<Mutex<()>>,
        /// The contents, once there is no name to open them by.
        kept: Option<Arc<File>>,
    },
    Directory(Children),
    Symlink {
        /// The target, once there is no name to read it by.
        kept: Option<Vec<u8>>,
    },
}

impl Body {
    pub(super) fn new(kind: NodeKind) -> Self {
        match kind {
            NodeKind::File => Self::File { gate: Arc::default(), kept: None },
            NodeKind::Directory => Self::Directory(Children::default()),
            NodeKind::Symlink => Self::Symlink { kept: None },
        }
    }
}

/// What remains of something that lost its name while the kernel holds it.
pub(super) enum Kept {
    File(File),
    Target(Vec<u8>),
    Nothing,
}

pub(super) struct Node {
    pub(super) place: Id,
    /// Where it stands; nothing when it was unlinked.
    pub(super) at: Option<(Dir, OsString)>,
    pub(super) body: Body,
    pub(super) attr: Attr,
    /// Bytes it has of the sum: its size, or what a write under way will make of it.
    counted: u64,
    /// How often the kernel was told of it.
    remembered: u64,
}

#[derive(Default)]
pub(super) struct Table {
    last: u64,
    nodes: HashMap<ScratchId, Node>,
    /// Places that have or had something; all others are empty.
    places: HashMap<Id, Children>,
    bytes: u64,
}

impl Table {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    pub(super) fn node(&self, id: ScratchId) -> Result<&Node> {
        self.nodes.get(&id).ok_or(ScratchError::NotFound)
    }

    pub(super) fn node_mut(&mut self, id: ScratchId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or(ScratchError::NotFound)
    }

    pub(super) fn kind(&self, id: ScratchId) -> Result<NodeKind> {
        Ok(self.node(id)?.attr.kind)
    }

    fn children(&self, dir: Dir) -> Result<Option<&Children>> {
        match dir {
            Dir::Place(place) => Ok(self.places.get(&place)),
            Dir::Node(id) => match &self.node(id)?.body {
                Body::Directory(children) => Ok(Some(children)),
                _ => Err(ScratchError::NotADirectory),
            },
        }
    }

    fn children_mut(&mut self, dir: Dir) -> Option<&mut Children> {
        match dir {
            Dir::Place(place) => Some(self.places.entry(place).or_default()),
            Dir::Node(id) => match &mut self.nodes.get_mut(&id)?.body {
                Body::Directory(children) => Some(children),
                _ => None,
            },
        }
    }

    pub(super) fn child(&self, dir: Dir, name: &OsStr) -> Result<Option<ScratchId>> {
        Ok(self.children(dir)?.and_then(|children| children.by_name.get(name).copied()))
    }

    pub(super) fn is_empty(&self, dir: Dir) -> Result<bool> {
        Ok(self.children(dir)?.is_none_or(|children| children.by_id.is_empty()))
    }

    pub(super) fn list(&self, dir: Dir, behind: ScratchId) -> Result<Vec<Entry>> {
        let Some(children) = self.children(dir)? else { return Ok(Vec::new()) };
        let behind = (std::ops::Bound::Excluded(behind), std::ops::Bound::Unbounded);
        let entry = |id: &ScratchId| {
            let node = self.nodes.get(id)?;
            let (_, name) = node.at.clone()?;
            Some(Entry { id: *id, name, kind: node.attr.kind })
        };
        Ok(children.by_id.range(behind).filter_map(entry).collect())
    }

    /// The place of a directory that can be walked to, and the names on the way.
    pub(super) fn path(&self, dir: Dir) -> Result<(Id, Vec<OsString>)> {
        // Tells what is no directory.
        self.children(dir)?;
        let (mut at, mut path) = (dir, Vec::new());
        loop {
            match at {
                Dir::Place(place) => {
                    path.reverse();
                    return Ok((place, path));
                }
                Dir::Node(id) => {
                    let (parent, name) = self.node(id)?.at.as_ref().ok_or(ScratchError::NotFound)?;
                    path.push(name.clone());
                    at = *parent;
                }
            }
        }
    }

    /// Whether a directory is `id` or lies below it.
    pub(super) fn is_within(&self, dir: Dir, id: ScratchId) -> bool {
        let mut at = dir;
        while let Dir::Node(node) = at {
            if node == id {
                return true;
            }
            match self.nodes.get(&node).and_then(|node| node.at.as_ref()) {
                Some((parent, _)) => at = *parent,
                None => return false,
            }
        }
        false
    }

    /// How many directories lie within each other from `id` on, itself included.
    pub(super) fn height(&self, id: ScratchId) -> usize {
        match self.nodes.get(&id).map(|node| &node.body) {
            Some(Body::Directory(children)) => {
                1 + children.by_id.iter().map(|child| self.height(*child)).max().unwrap_or(0)
            }
            _ => 0,
        }
    }

    pub(super) fn insert(&mut self, dir: Dir, name: OsString, body: Body, attr: Attr) -> ScratchId {
        self.last += 1;
        let id = ScratchId(self.last);
        let place = match dir {
            Dir::Place(place) => place,
            Dir::Node(parent) => self.nodes.get(&parent).map_or(Id([0; 16]), |parent| parent.place),
        };
        let counted = if attr.kind == NodeKind::File { attr.size } else { 0 };
        self.nodes.insert(id, Node { place, at: None, body, attr, counted, remembered: 0 });
        self.bytes += counted;
        self.attach(id, dir, name);
        id
    }

    /// Gives a node its name.
    pub(super) fn attach(&mut self, id: ScratchId, dir: Dir, name: OsString) {
        if let Some(children) = self.children_mut(dir) {
            children.by_name.insert(name.clone(), id);
            children.by_id.insert(id);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.at = Some((dir, name));
        }
    }

    /// Takes a node's name.
    pub(super) fn detach(&mut self, id: ScratchId) {
        let Some((dir, name)) = self.nodes.get_mut(&id).and_then(|node| node.at.take()) else { return };
        if let Some(children) = self.children_mut(dir) {
            children.by_name.remove(&name);
            children.by_id.remove(&id);
        }
    }

    /// Takes a node's name for good. While the kernel holds the node it stays, with what was kept of it.
    pub(super) fn unlink(&mut self, id: ScratchId, remains: Kept) {
        self.detach(id);
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.remembered == 0 {
            self.drop_node(id);
            return;
        }
        node.attr.nlink = 0;
        match (&mut node.body, remains) {
            (Body::File { kept, .. }, Kept::File(file)) => *kept = Some(Arc::new(file)),
            (Body::Symlink { kept }, Kept::Target(target)) => *kept = Some(target),
            _ => {}
        }
    }

    fn drop_node(&mut self, id: ScratchId) {
        if let Some(node) = self.nodes.remove(&id) {
            self.bytes -= node.counted;
        }
    }

    /// Removes a node and what lies below it, held or not: their bytes are not there any more.
    pub(super) fn remove_tree(&mut self, id: ScratchId) {
        self.detach(id);
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            if let Some(Body::Directory(children)) = self.nodes.get(&id).map(|node| &node.body) {
                left.extend(children.by_id.iter().copied());
            }
            self.drop_node(id);
        }
    }

    /// A directory is not on the disk any more.
    pub(super) fn vanished(&mut self, dir: Dir) {
        match dir {
            Dir::Node(id) => self.remove_tree(id),
            Dir::Place(place) => {
                let children = self.places.get_mut(&place).map(std::mem::take).unwrap_or_default();
                children.by_id.into_iter().for_each(|id| self.remove_tree(id));
                self.drop_empty_place(place);
            }
        }
    }

    /// Passes on what an operation on a node's name gave; one that is not on the disk is not here either.
    pub(super) fn or_vanished<T>(&mut self, id: ScratchId, done: std::result::Result<T, Errno>) -> Result<T> {
        if matches!(done, Err(Errno::NOENT)) {
            self.remove_tree(id);
        }
        Ok(done?)
    }

    /// Removes everything of a place, unlinked files included.
    pub(super) fn remove_place(&mut self, place: Id) {
        self.places.remove(&place);
        let of_it: Vec<ScratchId> = self.nodes.iter().filter(|(_, n)| n.place == place).map(|(id, _)| *id).collect();
        of_it.into_iter().for_each(|id| self.drop_node(id));
    }

    /// Forgets that a place had something.
    pub(super) fn drop_empty_place(&mut self, place: Id) {
        if self.places.get(&place).is_some_and(|children| children.by_id.is_empty()) {
            self.places.remove(&place);
        }
    }

    /// Whether the kernel holds a node or something below it.
    pub(super) fn is_remembered(&self, id: ScratchId) -> bool {
        let Some(node) = self.nodes.get(&id) else { return false };
        node.remembered > 0
            || matches!(&node.body, Body::Directory(children) if children.by_id.iter().any(|id| self.is_remembered(*id)))
    }

    /// Whether the kernel holds this very node.
    pub(super) fn is_held(&self, id: ScratchId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.remembered > 0)
    }

    pub(super) fn remember(&mut self, id: ScratchId) -> bool {
        self.nodes.get_mut(&id).map(|node| node.remembered += 1).is_some()
    }

    pub(super) fn forget(&mut self, id: ScratchId, times: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else { return true };
        node.remembered = node.remembered.saturating_sub(times);
        if node.remembered > 0 || node.at.is_some() {
            return false;
        }
        self.drop_node(id);
        true
    }

    /// Takes over what the disk says. The mode stays: what was asked for is known here alone.
    pub(super) fn set_attr(&mut self, id: ScratchId, attr: Attr) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.attr = Attr { kind: node.attr.kind, mode: node.attr.mode, nlink: node.attr.nlink, ..attr };
        if node.attr.kind == NodeKind::File {
            self.bytes = self.bytes - node.counted + attr.size;
            node.counted = attr.size;
        }
    }

    /// Makes room for a file to grow to `size`.
    pub(super) fn reserve(&mut self, id: ScratchId, size: u64, limits: &Limits) -> Result<()> {
        let node = self.nodes.get_mut(&id).ok_or(ScratchError::NotFound)?;
        let Some(growth) = size.checked_sub(node.counted).filter(|growth| *growth > 0) else { return Ok(()) };
        if size > limits.file_bytes {
            return Err(ScratchError::FileTooLarge);
        }
        if self.bytes.saturating_add(growth) > limits.total_bytes {
            return Err(ScratchError::Full);
        }
        node.counted = size;
        self.bytes += growth;
        Ok(())
    }

    /// Whether a new file of so many bytes may be made.
    pub(super) fn room_for(&self, size: u64, limits: &Limits) -> Result<()> {
        if size > limits.file_bytes {
            return Err(ScratchError::FileTooLarge);
        }
        if self.bytes.saturating_add(size) > limits.total_bytes {
            return Err(ScratchError::Full);
        }
        self.room_for_one(limits)
    }

    /// Whether one more file may be made.
    pub(super) fn room_for_one(&self, limits: &Limits) -> Result<()> {
        if self.len() < limits.files { Ok(()) } else { Err(ScratchError::Full) }
    }
}
