//! What is written to a `meta.md`, and what of it becomes the record.

use std::time::Instant;

use cogfs::curation::front_matter::{self, Document as Parsed, Field};
use libc::{EEXIST, EFBIG, EIO, ENOENT, EPERM, EXDEV};

use super::{Buffer, Commit, Handle, Held, MOST_BYTES, Model, Node, Place, Result, Scratch, Shown, Subject, splice};
use crate::ops::{How, Mode};

impl Model {
    pub(super) fn save_by_rename(&mut self, from: (Place, String), commit: usize, mode: Mode) -> Result<()> {
        let Scratch::File(held) = self.scratch[&from] else { return Err(EPERM) };
        if from.0 != Some(commit) {
            return Err(EXDEV);
        }
        let bytes = self.bytes_of(held);
        if bytes.len() > MOST_BYTES {
            return Err(EFBIG);
        }
        // What was written before is a save of its own.
        let _ = self.publish(commit);
        let former = self.text(commit);
        self.save(commit, &bytes)?;
        let holder = self.commits[commit].holder;
        self.held[held] = Held::Meta(commit);
        if let Some(holder) = holder {
            self.held[holder] = Held::Bytes(former);
        }
        match (mode, holder) {
            (Mode::Exchange, Some(holder)) => drop(self.scratch.insert(from, Scratch::File(holder))),
            _ => drop(self.scratch.remove(&from)),
        }
        let c = &mut self.commits[commit];
        (c.holder, c.buffer, c.detached) = (Some(held), None, None);
        Ok(())
    }

    pub(super) fn write(&mut self, handle: Handle, offset: usize, new: &[u8], now: Instant) -> Result<()> {
        let Handle::Held(held) = handle else { return Err(EPERM) };
        match &mut self.held[held] {
            Held::Bytes(bytes) => splice(bytes, offset, new),
            Held::Meta(commit) => {
                let commit = *commit;
                if offset + new.len() > MOST_BYTES {
                    return self.refuse_write(commit, now);
                }
                let mut bytes = self.text(commit);
                splice(&mut bytes, offset, new);
                self.buffer(commit, bytes, now);
            }
        }
        Ok(())
    }

    pub(super) fn truncate(&mut self, handle: Handle, size: usize, now: Instant) -> Result<()> {
        let Handle::Held(held) = handle else { return Err(EPERM) };
        match &mut self.held[held] {
            Held::Bytes(bytes) => bytes.resize(size, 0),
            Held::Meta(commit) => {
                let commit = *commit;
                if size > MOST_BYTES {
                    return self.refuse_write(commit, now);
                }
                let mut bytes = self.text(commit);
                bytes.resize(size, 0);
                self.buffer(commit, bytes, now);
            }
        }
        Ok(())
    }

    pub(super) fn buffer(&mut self, commit: usize, bytes: Vec<u8>, now: Instant) {
        if front_matter::parse(&bytes).is_ok() {
            (self.commits[commit].draft, self.commits[commit].is_refused) = (Some(bytes.clone()), false);
        }
        // What is empty is begun anew.
        let cut = self.commits[commit].buffer.as_ref().is_some_and(|b| b.cut) && !bytes.is_empty();
        self.commits[commit].buffer = Some(Buffer { bytes, written: now, refused: false, cut });
    }

    fn refuse_write(&mut self, commit: usize, now: Instant) -> Result<()> {
        if let Some(buffer) = &mut self.commits[commit].buffer {
            (buffer.written, buffer.refused, buffer.cut) = (now, false, true);
        }
        Err(EFBIG)
    }

    pub(super) fn publish(&mut self, commit: usize) -> Result<()> {
        let Some(buffer) = self.commits[commit].buffer.clone() else { return Ok(()) };
        let saved = if buffer.cut { Err(EIO) } else { self.save(commit, &buffer.bytes) };
        match saved {
            Ok(()) => {
                self.commits[commit].buffer = None;
                Ok(())
            }
            Err(errno) => {
                let c = &mut self.commits[commit];
                if let Some(buffer) = &mut c.buffer {
                    buffer.refused = true;
                }
                if !buffer.bytes.is_empty() {
                    (c.draft, c.is_refused) = (Some(buffer.bytes), true);
                }
                Err(errno)
            }
        }
    }

    pub(super) fn detach(&mut self, commit: usize, now: Instant) -> Result<usize> {
        let _ = self.publish(commit);
        let c = &mut self.commits[commit];
        (c.buffer, c.detached) = (None, Some(now));
        c.holder.take().ok_or(ENOENT)
    }

    pub(super) fn save(&mut self, commit: usize, bytes: &[u8]) -> Result<()> {
        let parsed = front_matter::parse(bytes).map_err(|_| EIO)?;
        let base = self.readings[&commit].clone();
        let mut next = self.commits[commit].clone();
        let project = match &parsed.project {
            Some(name) if *name != base.project => self.projects.iter().position(|p| p == name).ok_or(EIO)?,
            _ => next.project,
        };
        // What is typed is compared with what was shown: what differs from it is an edit.
        let mut named = None;
        if let Some(title) = edited(&parsed.title, &base.title) {
            let title = (!matches!(parsed.title, Field::Cleared)).then_some(title);
            if title != next.title {
                named = Some(title.clone().unwrap_or_else(|| next.found.clone()));
                next.title = title;
            }
        }
        next.tags = edited(&parsed.tags, &base.tags).unwrap_or(next.tags);
        next.hidden = edited(&parsed.hidden, &base.hidden).unwrap_or(next.hidden);
        next.published = edited(&parsed.published, &base.published).unwrap_or(next.published);
        next.order = edited(&parsed.order, &base.order).unwrap_or(next.order);
        if parsed.note != base.note {
            next.note = parsed.note.clone();
        }
        let name = named.map_or_else(|| next.name.clone(), |title| self.free_name(commit, &title));
        let taken =
            |(at, c): (usize, &Commit)| at != commit && c.project == project && c.name == name && !self.is_deleted(at);
        if project != next.project && self.commits.iter().enumerate().any(taken) {
            return Err(EIO);
        }
        let (old_project, old_name) = (next.project, next.name.clone());
        let now = &self.commits[commit];
        let changed: Vec<&str> = [
            ("retitle", next.title != now.title),
            ("tags", next.tags != now.tags),
            ("hidden", next.hidden != now.hidden),
            ("published", next.published != now.published),
            ("order", next.order != now.order),
            ("note", next.note != now.note),
            ("move", project != old_project),
        ]
        .into_iter()
        .filter_map(|(action, differs)| differs.then_some(action))
        .collect();
        for action in &changed {
            self.note(Subject::Commit(commit), action);
        }
        self.commits[commit] = next;
        if name != old_name {
            self.former.insert((old_project, old_name), commit);
            self.place(commit, old_project, &name);
        }
        if project != old_project {
            self.place(commit, project, &name);
        }
        let rendering = self.rendering(commit);
        // A field that was changed meanwhile is to be seen: then the record is shown, not what was written.
        let now = self.shown(commit);
        let agrees = (edited(&parsed.title, &now.title).is_none()
            || parsed.title == Field::Cleared && self.commits[commit].title.is_none())
            && edited(&parsed.tags, &now.tags).is_none()
            && edited(&parsed.hidden, &now.hidden).is_none()
            && edited(&parsed.published, &now.published).is_none()
            && edited(&parsed.order, &now.order).is_none()
            && parsed.project.as_ref().is_none_or(|project| *project == now.project)
            && parsed.note == now.note;
        self.commits[commit].saved = agrees.then(|| (bytes.to_vec(), rendering));
        if !changed.is_empty() || !self.commits[commit].is_refused {
            self.commits[commit].draft = None;
        }
        // Who saved knows what the document says now.
        let said = said(&parsed, now);
        self.readings.insert(commit, said);
        Ok(())
    }

    /// The bytes of a save are read as they were typed, and may say less than the record.
    pub(super) fn read_by_editor(&mut self, commit: usize) {
        let shown = self.shown(commit);
        let read = front_matter::parse(&self.text(commit)).map(|parsed| said(&parsed, shown.clone()));
        self.readings.insert(commit, read.unwrap_or(shown));
    }

    pub(super) fn save_as(
        &mut self,
        dir: &str,
        how: How,
        text: &[u8],
        fresh: bool,
        sync: bool,
        now: Instant,
    ) -> Result<()> {
        let path = format!("{dir}/meta.md");
        if fresh {
            match self.resolve(&path)? {
                Node::Meta(commit) if self.commits[commit].buffer.is_none() => self.read_by_editor(commit),
                Node::Meta(_) => {}
                _ => return Err(ENOENT),
            }
        }
        let half = text.len() / 2;
        let new = format!("{dir}/meta.md.new");
        let held = match how {
            How::InPlace => {
                let held = self.open(&path)?;
                self.truncate(held.clone(), 0, now)?;
                self.write(held.clone(), 0, &text[..half], now)?;
                self.write(held.clone(), half, &text[half..], now)?;
                held
            }
            How::WithoutTruncating => {
                let held = self.open(&path)?;
                self.write(held.clone(), 0, text, now)?;
                self.truncate(held.clone(), text.len(), now)?;
                held
            }
            How::Rename => {
                self.create(&new, false, now)?;
                let held = self.open(&new)?;
                self.truncate(held.clone(), 0, now)?;
                self.write(held, 0, text, now)?;
                return self.rename(&new, &path, Mode::Replace, now);
            }
            How::Backup => {
                self.rename(&path, &format!("{path}~"), Mode::Replace, now)?;
                let held = self.create(&path, false, now)?.map(Handle::Held).ok_or(EEXIST)?;
                self.write(held.clone(), 0, text, now)?;
                held
            }
            How::Remove => {
                self.unlink(&path, now)?;
                let held = self.create(&path, true, now)?.map(Handle::Held).ok_or(EEXIST)?;
                self.write(held.clone(), 0, text, now)?;
                held
            }
        };
        match held {
            Handle::Held(held) if sync => match self.held[held] {
                Held::Meta(commit) => self.publish(commit),
                Held::Bytes(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

/// The value that a field is set to, when it says something else than was shown.
fn edited<T: Clone + Default + PartialEq>(field: &Field<T>, shown: &T) -> Option<T> {
    let value = match field {
        Field::Absent => return None,
        Field::Cleared => T::default(),
        Field::Set(value) => value.clone(),
    };
    (value != *shown).then_some(value)
}

/// What who saved a document takes its fields to be.
fn said(parsed: &Parsed, now: Shown) -> Shown {
    fn or<T: Clone + Default>(field: &Field<T>, now: T) -> T {
        match field {
            Field::Absent => now,
            Field::Cleared => T::default(),
            Field::Set(value) => value.clone(),
        }
    }
    Shown {
        title: or(&parsed.title, now.title),
        tags: or(&parsed.tags, now.tags),
        hidden: or(&parsed.hidden, now.hidden),
        published: or(&parsed.published, now.published),
        order: or(&parsed.order, now.order),
        project: parsed.project.clone().unwrap_or(now.project),
        note: parsed.note.clone(),
    }
}
