//! What each operation answers and does, those that move something (`moves`) and the document (`document`) left out.

use std::time::{Duration, Instant};

use libc::{EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM};

use super::{Buffer, Handle, Held, Made, MadeKind, Model, Node, Result, Scratch, Seen};
use crate::ops::Op;

impl Model {
    pub fn apply(&mut self, op: &Op, now: Instant) -> Result<()> {
        match op {
            Op::Create { path, exclusive } => self.create(path, *exclusive, now).map(drop),
            Op::Mkdir { path } => self.make(path, Scratch::Dir),
            Op::Symlink { path } => self.make(path, Scratch::Link),
            Op::Unlink { path } => self.unlink(path, now),
            Op::Rmdir { path } => self.rmdir(path, now),
            Op::RemoveTree { path } => self.remove_tree(path, now),
            Op::Rename { from, to, mode } => self.rename(from, to, *mode, now),
            Op::Write { path, offset, bytes } => {
                let held = self.open(path)?;
                self.write(held, *offset, &bytes.0, now)
            }
            Op::Truncate { path, size } => {
                let held = self.open(path)?;
                self.truncate(held, *size, now)
            }
            Op::Fsync { path } => match self.resolve(path)? {
                Node::Meta(commit) => self.publish(commit),
                _ => Ok(()),
            },
            Op::FsyncDir { path } => {
                let node = self.resolve(path)?;
                if !self.is_dir(&node) {
                    return Err(ENOTDIR);
                }
                self.settle_removed();
                Ok(())
            }
            Op::Save { dir, how, text, fresh, sync } => self.save_as(dir, *how, &text.0, *fresh, *sync, now),
            Op::Open { path } => {
                let node = self.resolve(path)?;
                if self.is_dir(&node) || self.seen(&node) == Seen::Link {
                    return Err(EINVAL);
                }
                let handle = match self.open(path) {
                    Ok(Handle::Held(held)) => Handle::Held(held),
                    _ => Handle::Made,
                };
                self.handles.push(Some(handle));
                Ok(())
            }
            Op::WriteOpen { handle, offset, bytes } => match self.handles.get(*handle).cloned().flatten() {
                Some(held) => self.write(held, *offset, &bytes.0, now),
                None => Err(EINVAL),
            },
            Op::Close { handle } => self.handles.get_mut(*handle).ok_or(EINVAL)?.take().map(drop).ok_or(EINVAL),
            Op::Quiet { for_ms } => {
                self.settle(now + Duration::from_millis(*for_ms));
                Ok(())
            }
            Op::Remount => {
                self.finish();
                self.reopened();
                Ok(())
            }
            Op::Kill => {
                self.lose();
                self.reopened();
                Ok(())
            }
            Op::Control { line } => self.control(line),
            Op::Import { log } => {
                self.grow_log(*log);
                Ok(())
            }
            Op::Forget => Ok(()),
        }
    }

    /// What a handle reads; `None` for what is made from the conversation.
    pub fn read_open(&self, handle: usize) -> Option<Vec<u8>> {
        match self.handles.get(handle)?.as_ref()? {
            Handle::Held(held) => Some(self.bytes_of(*held)),
            Handle::Made => None,
        }
    }

    pub(super) fn open(&self, path: &str) -> Result<Handle> {
        let node = self.resolve(path)?;
        match node {
            Node::Meta(commit) => Ok(Handle::Held(self.commits[commit].holder.ok_or(ENOENT)?)),
            Node::Scratch(place, path) => match self.scratch[&(place, path)] {
                Scratch::File(held) => Ok(Handle::Held(held)),
                _ => Err(EISDIR),
            },
            // Links of the tree lead to directories.
            node if self.is_dir(&node) || self.seen(&node) == Seen::Link => Err(EISDIR),
            _ => Err(EPERM),
        }
    }

    pub(super) fn create(&mut self, path: &str, exclusive: bool, now: Instant) -> Result<Option<usize>> {
        let (dir, name, there) = self.end(path)?;
        if let Some(node) = there {
            return match (exclusive, self.is_dir(&node)) {
                (true, _) => Err(EEXIST),
                (false, true) => Err(EISDIR),
                (false, false) => Ok(None),
            };
        }
        let (place, front) = self.scratch_dir(&dir).ok_or(EPERM)?;
        if let (Some(commit), "", "meta.md") = (place, front.as_str(), name) {
            self.held.push(Held::Meta(commit));
            let c = &mut self.commits[commit];
            (c.holder, c.detached) = (Some(self.held.len() - 1), None);
            c.buffer = Some(Buffer { bytes: Vec::new(), written: now, refused: false, cut: false });
            return Ok(c.holder);
        }
        if self.is_made_name(&dir, name) {
            return Err(EPERM);
        }
        self.held.push(Held::Bytes(Vec::new()));
        let held = self.held.len() - 1;
        self.scratch.insert((place, format!("{front}{name}")), Scratch::File(held));
        Ok(Some(held))
    }

    pub(super) fn make(&mut self, path: &str, what: Scratch) -> Result<()> {
        let (dir, name, there) = self.end(path)?;
        if there.is_some() {
            return Err(EEXIST);
        }
        let (place, front) = self.scratch_dir(&dir).ok_or(EPERM)?;
        let is_document = place.is_some() && front.is_empty() && name == "meta.md";
        if is_document || self.is_made_name(&dir, name) {
            return Err(EPERM);
        }
        if what == Scratch::Dir && front.matches('/').count() >= 64 {
            return Err(ENAMETOOLONG);
        }
        self.scratch.insert((place, format!("{front}{name}")), what);
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &str, now: Instant) -> Result<()> {
        let (dir, _, there) = self.end(path)?;
        let node = there.ok_or(ENOENT)?;
        if self.is_dir(&node) {
            return Err(EISDIR);
        }
        match node {
            Node::Scratch(place, path) => {
                self.scratch.remove(&(place, path));
                Ok(())
            }
            Node::Meta(commit) => {
                let former = self.text(commit);
                let held = self.detach(commit, now)?;
                self.held[held] = Held::Bytes(former);
                self.removed_at = Some(now);
                Ok(())
            }
            Node::Draft(commit) => {
                self.commits[commit].draft = None;
                Ok(())
            }
            Node::Former(project, name) => {
                self.former.remove(&(project, name));
                Ok(())
            }
            Node::Made(made) if matches!(dir, Node::Fixed("trash" | "files")) => {
                self.empty(made);
                Ok(())
            }
            Node::Made(made) => {
                self.made[made].gone = true;
                self.removed_at = Some(now);
                Ok(())
            }
            _ => Err(EPERM),
        }
    }

    pub(super) fn rmdir(&mut self, path: &str, now: Instant) -> Result<()> {
        let (dir, _, there) = self.end(path)?;
        let node = there.ok_or(ENOENT)?;
        if !self.is_dir(&node) {
            return Err(ENOTDIR);
        }
        let empty = self.children(&node).is_empty();
        match node {
            Node::Scratch(..) | Node::Made(_) if !empty => Err(ENOTEMPTY),
            Node::Scratch(place, path) => {
                self.scratch.remove(&(place, path));
                Ok(())
            }
            Node::Made(made) if matches!(dir, Node::Fixed("trash" | "files")) => {
                self.empty(made);
                Ok(())
            }
            Node::Made(made) => {
                match self.made[made].kind {
                    MadeKind::Commit | MadeKind::Session if !self.in_trash(made) => self.delete(made, None, false),
                    _ => {
                        self.made[made].gone = true;
                        self.removed_at = Some(now);
                    }
                }
                Ok(())
            }
            _ => Err(EPERM),
        }
    }

    /// `rm -r`: everything that can go goes; the first refusal ends it.
    pub(super) fn remove_tree(&mut self, path: &str, now: Instant) -> Result<()> {
        let node = self.resolve(path)?;
        if !self.is_dir(&node) {
            return self.unlink(path, now);
        }
        let mut names: Vec<String> = self.children(&node).into_iter().map(|(name, _)| name).collect();
        names.sort();
        for name in names {
            match self.remove_tree(&format!("{path}/{name}"), now) {
                // A directory that went with the last thing in it.
                Err(ENOENT) => {}
                other => other?,
            }
        }
        match self.rmdir(path, now) {
            Err(ENOENT) => Ok(()),
            other => other,
        }
    }

    pub(super) fn control(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ') {
            None if line == "refresh" => Ok(()),
            Some(("restore", name)) => {
                let found = self.trash.iter().find(|t| t.listed && t.name == name).ok_or(EINVAL)?.made;
                match self.made[found].kind {
                    MadeKind::Commit => self.bring_back(self.made[found].commit),
                    _ => self.undelete(found),
                }
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    /// A log has a prompt more. The logs that grow are told by their first prompts, which are their commits' titles.
    pub(super) fn grow_log(&mut self, log: usize) {
        let found = format!("Paint the boat {}", log + 1);
        let commit = self.commits.iter().position(|c| c.found == found).unwrap();
        let parent = self.made.iter().position(|m| m.commit == commit && m.name == "turns").unwrap();
        let number = 1 + self.made.iter().filter(|m| m.parent == Some(parent)).count();
        let (name, kind, parent) = (format!("{number:04}-user.md"), MadeKind::Turn, Some(parent));
        self.made.push(Made { name, parent, commit, kind, gone: false, deleted: false });
    }
}
