//! What is written to a `meta.md`, from the first byte to the record.
//!
//! There is no close: the kernel stopped asking. So a save has two levels. A *draft*: whenever what was written is a whole
//! document it is kept in the database before the write returns, as a crash must not cost it; it may be the first piece of a
//! longer one. A *revision*: at an fsync, at a rename onto `meta.md`, or when nothing was written for a moment, the document
//! becomes the record. What is no valid document is never the record: it stays to be seen for a while, and in the drafts.

use std::time::{Duration, Instant};

use super::overlay::{Buffer, Holder, Overlay};
use super::reading::slice;
use super::write::Writing;
use super::{CogFs, FsError, Invalidation, Result, lock};
use crate::curation::{self, Editor, Origin, Outcome, Shown, front_matter};
use crate::model::Millis;
use crate::store::drafts::{self, Draft, Kept, Saved};
use crate::store::{Survives, Transaction, commits};
use crate::tree::{self, Node};

/// A longer document is refused with EFBIG.
pub(super) const MOST_BYTES: u64 = 1024 * 1024;

/// When nothing was written for so long, a valid document becomes the record.
const QUIET: Duration = Duration::from_millis(200);

/// When nothing was written for so long, one that is not valid is told: until then its writer may only be slow.
const QUIET_INVALID: Duration = Duration::from_secs(2);

/// How long one that is not valid is shown in place of the record.
const SHOWN_INVALID: Duration = Duration::from_secs(10 * 60);

/// A `meta.md` that was moved away and has no successor after so long is shown again.
const DETACHED: Duration = Duration::from_secs(5);

/// The operation whose save nobody waits for.
const QUIETLY: &str = "write";

/// The time that a document has after a save of the very bytes that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Written,
    /// Its former one. An editor that was refused puts back what was there; vim asks before it writes again, unless the time
    /// is what it was when vim read the file.
    Kept,
}

/// Puts bytes into others, at an offset.
pub(super) fn splice(bytes: &mut Vec<u8>, offset: u64, new: &[u8]) -> Result<()> {
    let end = offset.checked_add(new.len() as u64).filter(|end| *end <= MOST_BYTES).ok_or(FsError::TooLarge)?;
    let (start, end) = (usize::try_from(offset).unwrap_or(usize::MAX), usize::try_from(end).unwrap_or(usize::MAX));
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(new);
    Ok(())
}

pub(super) fn resize(bytes: &mut Vec<u8>, size: u64) -> Result<()> {
    if size > MOST_BYTES {
        return Err(FsError::TooLarge);
    }
    bytes.resize(usize::try_from(size).unwrap_or(usize::MAX), 0);
    Ok(())
}

impl CogFs {
    /// The bytes of a document as it is seen now.
    pub(super) fn document_bytes(&self, row: i64) -> Result<Vec<u8>> {
        let writing = self.writing()?;
        let buffer =
            lock(&writing.overlay).documents.get(&row).and_then(|d| d.buffer.as_ref()).map(|b| b.bytes.clone());
        match buffer {
            Some(bytes) => Ok(bytes),
            None => Ok(self.query(|conn| tree::meta_md(conn, row))?.ok_or(FsError::NotFound)?.text),
        }
    }

    pub(super) fn read_document(&self, row: i64, offset: u64, size: u32, thread: u32) -> Result<Vec<u8>> {
        let writing = self.writing()?;
        let buffer = lock(&writing.overlay)
            .documents
            .get(&row)
            .and_then(|d| d.buffer.as_ref())
            .map(|buffer| slice(&buffer.bytes, offset, size).to_vec());
        if let Some(part) = buffer {
            return Ok(part);
        }
        let found = self.query(|conn| Ok(tree::meta_md(conn, row)?.zip(Shown::now(conn, row)?)))?;
        let (meta, mut shown) = found.ok_or(FsError::NotFound)?;
        // What a save left as it was typed may say less than the record.
        if let Ok(document) = front_matter::parse(&meta.text) {
            shown = shown.as_read(&document);
        }
        let mut overlay = lock(&writing.overlay);
        overlay.note_reading(row, process_of(thread), shown);
        overlay.note_read(row, &meta.text);
        drop(overlay);
        Ok(slice(&meta.text, offset, size).to_vec())
    }

    /// Makes the node of a new `meta.md`, where an editor moved the former one away.
    pub(super) fn begin_document(&self, row: i64, thread: u32) -> u64 {
        let Ok(writing) = self.writing() else { return Node::CommitMetaMd(row).ino() };
        let process = process_of(thread);
        let mut overlay = lock(&writing.overlay);
        let ino = overlay.new_document_ino();
        overlay.set_role(ino, super::overlay::Role::Meta(row));
        let document = overlay.documents.entry(row).or_default();
        document.holder = Holder::Other(ino);
        document.detached = None;
        document.buffer = Some(buffer(Vec::new(), process));
        ino
    }

    pub(super) fn write_document(&self, row: i64, offset: u64, bytes: &[u8], thread: u32) -> Result<()> {
        let process = process_of(thread);
        if offset == 0 {
            self.end_save_of_another(row, process);
        }
        let written =
            self.change_document(row, process, |old| splice(old, offset, bytes)).and_then(|()| self.keep_draft(row));
        self.note_quiet(row);
        written
    }

    /// Truncating alone is never kept: it is the first half of a save.
    pub(super) fn truncate_document(&self, row: i64, size: u64, thread: u32) -> Result<()> {
        let process = process_of(thread);
        if size == 0 {
            self.end_save_of_another(row, process);
        }
        let changed = self.change_document(row, process, |old| resize(old, size));
        let kept = changed.and_then(|()| if size > 0 { self.keep_draft(row) } else { Ok(()) });
        self.note_quiet(row);
        kept
    }

    /// A write returns: from now on its writer is quiet, as far as is known.
    fn note_quiet(&self, row: i64) {
        let Ok(writing) = self.writing() else { return };
        if let Some(buffer) =
            lock(&writing.overlay).documents.get_mut(&row).and_then(|document| document.buffer.as_mut())
        {
            (buffer.under_way, buffer.written) = (false, Instant::now());
        }
    }

    /// A process begins a save while that of another is not the record yet: both count, so the other's becomes it now.
    fn end_save_of_another(&self, row: i64, process: u32) {
        let Some(buffer) = self.snapshot(row) else { return };
        if process == 0 || buffer.writer == 0 || process == buffer.writer {
            return;
        }
        if front_matter::parse(&buffer.bytes).is_ok() {
            self.end_save(row);
        }
    }

    /// Makes what was written the record before something else takes its place, or tells that it cannot be and keeps it as a
    /// draft: there is no later moment for it.
    fn end_save(&self, row: i64) {
        if let Err(error) = self.publish(row, QUIETLY) {
            tracing::warn!(%error, "a document that another save replaces was not taken; it is a draft");
        }
    }

    /// Takes a whole file of an editor for the document. The record stays when it is refused.
    pub(super) fn save_whole(
        &self,
        row: i64,
        bytes: &[u8],
        thread: u32,
        then: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        // A file that is only truncated is the beginning of a save.
        if self.snapshot(row).is_some_and(|buffer| !buffer.bytes.is_empty()) {
            self.end_save(row);
        }
        let _one = lock(&self.writing()?.publishing);
        self.save(row, bytes, (Millis::now(), Time::Kept), process_of(thread))?;
        then()?;
        self.tell_if_other(row, bytes);
        Ok(())
    }

    fn change_document(&self, row: i64, process: u32, change: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let writing = self.writing()?;
        let is_new = lock(&writing.overlay).documents.get(&row).is_none_or(|d| d.buffer.is_none());
        let stored = if is_new { Some(self.document_bytes(row)?) } else { None };
        let mut overlay = lock(&writing.overlay);
        // What is refused leaves no trace: not that of being written to either.
        let written = overlay.documents.get_mut(&row).and_then(|document| document.buffer.take());
        let mut next = written.unwrap_or_else(|| buffer(stored.unwrap_or_default(), process));
        let changed = change(&mut next.bytes);
        if changed.is_err() && is_new {
            return changed;
        }
        next.cut = match &changed {
            Err(error) => Some(error.to_string()),
            // Begun anew.
            Ok(()) if next.bytes.is_empty() => None,
            Ok(()) => next.cut.take(),
        };
        let buffer = overlay.documents.entry(row).or_default().buffer.insert(next);
        (buffer.written, buffer.mtime) = (Instant::now(), Millis::now());
        buffer.version += 1;
        buffer.refused = None;
        buffer.under_way = true;
        // A mapped page that the kernel writes back has no process.
        if process != 0 {
            buffer.writer = process;
        }
        drop(overlay);
        self.wake();
        changed
    }

    fn snapshot(&self, row: i64) -> Option<Buffer> {
        let writing = self.writing().ok()?;
        lock(&writing.overlay).documents.get(&row)?.buffer.clone()
    }

    /// Keeps what was written if it is a whole document.
    fn keep_draft(&self, row: i64) -> Result<()> {
        let Some(buffer) = self.snapshot(row) else { return Ok(()) };
        if front_matter::parse(&buffer.bytes).is_err() {
            return Ok(());
        }
        let draft = Draft { commit_row: row, text: buffer.bytes, written_at: buffer.mtime, refusal: None };
        // As safe as what is written to a file before its fsync.
        let kept = self.write_down(Survives::Process, |tx| Ok(drafts::keep(tx, &draft)?));
        if let Err(error) = &kept
            && let Some(buffer) =
                lock(&self.writing()?.overlay).documents.get_mut(&row).and_then(|document| document.buffer.as_mut())
        {
            buffer.cut = Some(error.to_string());
        }
        kept
    }

    /// Makes what was written the record.
    ///
    /// # Errors
    /// When it is no valid document, which is logged, or cannot be stored: it is then still what is seen.
    pub(super) fn publish(&self, row: i64, operation: &'static str) -> Result<()> {
        let _one = lock(&self.writing()?.publishing);
        self.publish_locked(row, operation)
    }

    /// The same, for who holds `Writing::publishing`: what was written first must not become the record last.
    fn publish_locked(&self, row: i64, operation: &'static str) -> Result<()> {
        let Some(buffer) = self.snapshot(row) else { return Ok(()) };
        // In a quiet moment its writer has seen the time of the write already.
        let time = if operation == QUIETLY { Time::Written } else { Time::Kept };
        let saved = match &buffer.cut {
            Some(error) => Err(FsError::Refused { reason: format!("a part of it could not be written: {error}") }),
            None => self.save(row, &buffer.bytes, (buffer.mtime, time), buffer.writer),
        };
        match saved {
            Ok(()) => {
                self.drop_buffer(row, Some(buffer.version));
                self.tell_if_other(row, &buffer.bytes);
                Ok(())
            }
            Err(FsError::Refused { reason }) => {
                self.refused(row, operation, &buffer, &reason);
                Err(FsError::Refused { reason })
            }
            Err(error) => Err(error),
        }
    }

    /// Logs that a document is not valid, once for what was written, and keeps it as a draft.
    fn refused(&self, row: i64, operation: &'static str, buffer: &Buffer, reason: &str) {
        let Ok(writing) = self.writing() else { return };
        let mut overlay = lock(&writing.overlay);
        let current = overlay.documents.get_mut(&row).and_then(|d| d.buffer.as_mut());
        let Some(current) = current.filter(|b| b.version == buffer.version) else { return };
        if current.refused.as_deref() == Some(reason) {
            return;
        }
        current.refused = Some(reason.to_owned());
        drop(overlay);
        let path = self.path_of_document(row);
        let what_to_do = "correct the document and save it again; what was written is in .cogfs/drafts/";
        self.log_refusal(operation, path, "EIO", reason.to_owned(), what_to_do, Some(&buffer.bytes));
        let refusal = Some(reason.to_owned());
        // Nothing that anybody wrote: a save that stopped after truncating.
        if buffer.bytes.is_empty() {
            return;
        }
        let draft = Draft { commit_row: row, text: buffer.bytes.clone(), written_at: buffer.mtime, refusal };
        if let Err(error) = self.edit(|tx| Ok(drafts::keep(tx, &draft)?)) {
            tracing::error!(%error, "a draft could not be kept; it is shown while the mount lasts");
        }
    }

    /// Makes a document the record: the fields that differ from what its writer was shown, and the bytes to be served back.
    /// For who holds `Writing::publishing`.
    fn save(&self, row: i64, bytes: &[u8], (mtime, time): (Millis, Time), process: u32) -> Result<()> {
        let document =
            front_matter::parse(bytes).map_err(|refusal| FsError::Refused { reason: refusal.to_string() })?;
        let shown = self.shown_to(row, process)?;
        // Before it is committed: the notifier may look as soon as it is.
        lock(&self.writing()?.overlay).note_saved(row, bytes);
        let mut known = None;
        let outcome = self.edit(|tx| {
            let plan = curation::plan(tx, row, &document, &shown)?;
            if let Outcome::Edits(edits) = &plan {
                let made = Editor::new(tx, Origin::Mount).apply_all(edits)?;
                let agree = curation::says_the_record(tx, row, &document)?;
                if agree {
                    serve_back(tx, row, bytes, mtime, time)?;
                } else {
                    // A field that was changed meanwhile is to be seen.
                    drafts::remove_saved(tx, row)?;
                }
                // An editor that was refused puts back what was there: what it could not save is still all there is of it.
                drafts::remove_written_until(tx, row, mtime, if made.is_empty() { Kept::Refused } else { Kept::None })?;
                known = Shown::now(tx, row)?.map(|now| now.as_read(&document));
            }
            Ok(plan)
        });
        match outcome {
            Ok(Outcome::Edits(_)) => {
                // The next save of the same process is compared with this one.
                if let Some(known) = known.filter(|_| process != 0) {
                    lock(&self.writing()?.overlay).note_reading(row, process, known);
                }
                Ok(())
            }
            Ok(Outcome::Refused(refusal)) => Err(FsError::Refused { reason: refusal.to_string() }),
            // What the record cannot take: a name that is taken in the other project, ...
            Err(FsError::NotPermitted { reason }) => Err(FsError::Refused { reason }),
            Err(FsError::NotEmpty) => {
                Err(FsError::Refused { reason: "another commit of that project has its name".to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    /// The states in which the writer of a document may have read it: the one, where the same process did.
    fn shown_to(&self, row: i64, process: u32) -> Result<Vec<Shown>> {
        let readings = lock(&self.writing()?.overlay).shown(row);
        if let Some((_, shown)) = readings.iter().rev().find(|(reader, _)| *reader == process && process != 0) {
            return Ok(vec![shown.clone()]);
        }
        let mut states = self.query(|conn| Shown::history(conn, row))?;
        states.extend(readings.into_iter().map(|(_, shown)| shown));
        states.extend(self.query(|conn| Shown::now(conn, row))?);
        // One alone would count as known.
        if states.len() == 1 {
            states.extend(states.first().cloned());
        }
        Ok(states)
    }

    /// Drops what was being written, if it is still this version: the record is seen again.
    fn drop_buffer(&self, row: i64, version: Option<u64>) {
        let Ok(writing) = self.writing() else { return };
        let mut overlay = lock(&writing.overlay);
        if let Some(document) = overlay.documents.get_mut(&row)
            && document.buffer.as_ref().is_some_and(|b| version.is_none_or(|version| b.version == version))
        {
            document.buffer = None;
        }
        overlay.tidy(row);
    }

    /// Gives the name `meta.md` to a node, with these bytes as the record. The node that had it keeps what it showed.
    pub(super) fn take_over(&self, row: i64, ino: u64, former: Vec<u8>) {
        let Ok(writing) = self.writing() else { return };
        let mut overlay = lock(&writing.overlay);
        if let Some(holder) = overlay.holder(row).filter(|holder| *holder != ino) {
            overlay.orphan(holder, former);
        }
        overlay.set_role(ino, super::overlay::Role::Meta(row));
        let document = overlay.documents.entry(row).or_default();
        let own = ino == Node::CommitMetaMd(row).ino();
        document.holder = if own { Holder::Own } else { Holder::Other(ino) };
        (document.buffer, document.detached) = (None, None);
    }

    /// Takes the name `meta.md` from its node: an editor moves it away, or removes it, before it makes a new one. The number
    /// of the node, which is the caller's to give another role.
    pub(super) fn detach(&self, row: i64) -> Result<u64> {
        // What was written before must not be lost by it.
        if let Err(error) = self.publish(row, "rename") {
            tracing::debug!(%error, "a document that is not valid is moved away");
        }
        let mut overlay = lock(&self.writing()?.overlay);
        let ino = overlay.holder(row).ok_or(FsError::NotFound)?;
        let document = overlay.documents.entry(row).or_default();
        document.holder = Holder::Nothing;
        document.buffer = None;
        document.detached = Some(Instant::now());
        drop(overlay);
        self.wake();
        Ok(ino)
    }

    /// Brings documents to rest that nobody has written to for a moment.
    pub(super) fn settle_documents(&self, now: Instant) {
        let Some(writing) = &self.writing else { return };
        // Not in the head of the loop, which would hold the lock all through it.
        let due = due(&lock(&writing.overlay), now);
        for due in due {
            match due {
                Due::Publish(row) => {
                    if let Err(error) = self.publish(row, QUIETLY) {
                        tracing::info!(%error, "a document was not taken");
                    }
                }
                Due::ShowRecord(row) => {
                    self.drop_buffer(row, None);
                    self.tell_document(row);
                }
                Due::Reattach(row) => self.reattach(writing, row),
            }
        }
    }

    fn reattach(&self, writing: &Writing, row: i64) {
        let mut overlay = lock(&writing.overlay);
        if overlay.documents.get(&row).is_some_and(|document| document.holder == Holder::Nothing) {
            overlay.come_to_rest(row);
        }
        drop(overlay);
        self.tell(Invalidation::Name { parent: Node::Commit(row).ino(), name: "meta.md".into() });
        self.tell(Invalidation::Node(Node::Commit(row).ino()));
    }

    /// Tells of a document that does not say what was saved, which is what the kernel has of it: the change was told while that was
    /// still what is seen, and cost the kernel the attributes alone.
    fn tell_if_other(&self, row: i64, saved: &[u8]) {
        let written_again = self.writing().is_ok_and(|writing| lock(&writing.overlay).is_being_written(row));
        // What cannot be read now may be anything.
        if !written_again && !self.document_bytes(row).is_ok_and(|bytes| bytes == saved) {
            self.tell_document(row);
        }
    }

    fn tell_document(&self, row: i64) {
        let Ok(writing) = self.writing() else { return };
        let others = lock(&writing.overlay).others_of(row);
        for ino in others.into_iter().chain([Node::CommitMetaMd(row).ino()]) {
            self.tell(Invalidation::Node(ino));
        }
    }

    /// Makes valid documents the record at the end of a mount; what is not valid stays a draft.
    pub(super) fn finish_documents(&self) {
        let Some(writing) = &self.writing else { return };
        let rows: Vec<i64> = lock(&writing.overlay).documents.keys().copied().collect();
        for row in rows {
            if let Err(error) = self.publish(row, "unmount") {
                tracing::warn!(%error, "a document is left as a draft");
            }
        }
    }

    /// Tells of the drafts that a crash left, once, when a mount begins.
    pub fn tell_of_drafts(&self) {
        let Ok(left) = self.query(|conn| {
            let mut left = Vec::new();
            for draft in drafts::all(conn)? {
                if let Some(commit) = commits::get(conn, draft.commit_row)? {
                    left.push((draft, commit));
                }
            }
            Ok(left)
        }) else {
            return;
        };
        for (draft, commit) in left.into_iter().filter(|(draft, _)| draft.refusal.is_none()) {
            let path = self.path_of_document(draft.commit_row);
            let reason = "the mount ended before this was saved: it is a draft, and the record is as it was".to_owned();
            let what_to_do =
                format!("compare .cogfs/drafts/{}.md with meta.md; copy it over to save it, or remove it", commit.id);
            self.log_refusal("write", path, "EIO", reason, &what_to_do, None);
        }
    }
}

/// What is to be done with a document.
enum Due {
    Publish(i64),
    ShowRecord(i64),
    Reattach(i64),
}

fn due(overlay: &Overlay, now: Instant) -> Vec<Due> {
    let mut found = Vec::new();
    for (row, document) in &overlay.documents {
        if let Some(buffer) = &document.buffer {
            let quiet = now.saturating_duration_since(buffer.written);
            match &buffer.refused {
                _ if buffer.under_way => {}
                Some(_) if quiet >= SHOWN_INVALID => found.push(Due::ShowRecord(*row)),
                Some(_) => {}
                None if quiet >= QUIET_INVALID => found.push(Due::Publish(*row)),
                None if quiet >= QUIET && front_matter::parse(&buffer.bytes).is_ok() => found.push(Due::Publish(*row)),
                None => {}
            }
        } else if document.detached.is_some_and(|since| now.saturating_duration_since(since) >= DETACHED) {
            found.push(Due::Reattach(*row));
        }
    }
    found
}

fn buffer(bytes: Vec<u8>, writer: u32) -> Buffer {
    let (written, mtime) = (Instant::now(), Millis::now());
    Buffer { bytes, written, mtime, under_way: false, version: 0, writer, refused: None, cut: None }
}

/// Keeps the bytes of a save with what the record is rendered as now.
fn serve_back(tx: &mut Transaction<'_>, row: i64, bytes: &[u8], mtime: Millis, time: Time) -> curation::Result<()> {
    if time == Time::Kept && tree::meta_md(tx, row)?.is_some_and(|meta| meta.text == bytes) {
        return Ok(());
    }
    if let Some(rendering) = tree::meta_md_rendering(tx, row)? {
        let saved = Saved { text: bytes.to_vec(), saved_at: mtime, rendering: drafts::rendering_hash(&rendering) };
        drafts::set_saved(tx, row, &saved)?;
    }
    Ok(())
}

/// The process that a thread belongs to, told while it waits for its answer: later it may be gone. Requests name threads, and
/// editors read and write from several.
fn process_of(thread: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let group = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok());
    group.unwrap_or(thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_not_at_rest_while_a_write_of_it_has_not_returned() {
        let mut overlay = Overlay::default();
        overlay.documents.entry(1).or_default().buffer = Some(buffer(b"---\n---\n".to_vec(), 7));
        let later = Instant::now() + QUIET * 2;
        assert!(matches!(due(&overlay, later).as_slice(), [Due::Publish(1)]));
        let written = overlay.documents.get_mut(&1).and_then(|document| document.buffer.as_mut());
        written.expect("it is being written").under_way = true;
        assert!(due(&overlay, later).is_empty());
    }
}
