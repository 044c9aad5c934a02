//! One part of a session while it is written: its row, its turn index and the raw records not stored yet.

use std::collections::HashMap;

use crate::derived;
use crate::model::{Agent, ContentsAt, Id, Millis, Session, Turn};
use crate::render;
use crate::store::forget::records;
use crate::store::index::{MAX_TURNS, TurnIndex};
use crate::store::sessions::{self, Hidden};
use crate::store::{ChangeKind, Result, StoreError, Transaction, raw, turns, visuals};

use super::filing::{self, Filing};
use super::project::Place;
use super::raw_record::RawRecord;
use super::record::Image;

/// A part that is being written.
pub struct Part {
    pub session: Session,
    pub hidden: Hidden,
    index: TurnIndex,
    raw: Vec<u8>,
    dirty: bool,
    filing: Filing,
    /// Its place in the tree was looked for; a subagent whose parent is not there yet waits for the end of the import.
    pub place_tried: bool,
}

impl Part {
    /// Makes the part of a session with this number.
    pub fn create(tx: &mut Transaction<'_>, agent: Agent, native_id: &str, part: u32, at: Millis) -> Result<Self> {
        let machine = filing::this_machine(tx)?;
        let (row, _) = sessions::create(tx, agent, native_id, part, at, machine, render::VERSION)?;
        Self::load(tx, row)
    }

    /// Reads a part to go on with it.
    pub fn load(tx: &Transaction<'_>, row: i64) -> Result<Self> {
        let missing = || StoreError::Damaged { what: format!("session {row}") };
        let mut session = sessions::get(tx, row)?.ok_or_else(missing)?;
        let mut index = sessions::turn_index(tx, row)?.ok_or_else(missing)?;
        if !derived::is_current(session.render_version) && session.contents != ContentsAt::Elsewhere {
            // Lengths of two renderers must not be added up. All its turns are stored: none is held at a place where another
            // process could have written the row.
            let lengths = derived::lengths(tx, row)?;
            (session.sections, session.render_version) = (lengths.sections, lengths.index.render_version);
            index = lengths.index;
        }
        let hidden = sessions::hidden(tx, row)?;
        // One that was elsewhere has its place already, and was filed by what was said of it.
        let filing = if index.is_empty() { Filing::default() } else { Filing::of(&session, &index) };
        Ok(Self { session, hidden, index, raw: Vec::new(), dirty: false, filing, place_tried: false })
    }

    /// What is known of where it was.
    pub fn place(&self) -> Place<'_> {
        Place {
            cwd: self.session.cwd.as_deref(),
            logged_remote: self.hidden.git_remote.as_deref(),
            folder_hash: self.hidden.project_hash.as_deref(),
            named: None,
        }
    }

    /// The number the next turn gets.
    pub fn next_number(&self) -> u32 {
        self.index.len() + 1
    }

    /// The row of one of its turns.
    pub fn turn_row(&self, number: u32) -> i64 {
        turns::row_of(self.session.row, number)
    }

    /// Says that the row must be written.
    pub fn touch(&mut self) {
        self.dirty = true;
    }

    /// Gives a turn its place before its contents are complete: a tool call whose result is not read yet. It is measured when it
    /// is written, which is before the transaction ends.
    pub fn reserve(&mut self, turn: &Turn) {
        self.enter(turn, (0, 0));
    }

    /// Writes a turn and counts it.
    pub fn write(
        &mut self,
        tx: &mut Transaction<'_>,
        id: &Id,
        turn: &mut Turn,
        call_id: Option<&str>,
        images: &[Image],
    ) -> Result<()> {
        let row = self.turn_row(turn.number);
        self.add_images(tx, row, turn, images)?;
        turns::create(tx, row, id, turn, call_id, count(images))?;
        let (section, file) = render::turn_sizes(turn);
        self.session.sections += section;
        self.enter(turn, file);
        Ok(())
    }

    /// Writes a turn of a forgotten part: as its id alone.
    pub fn write_forgotten(&mut self, tx: &Transaction<'_>, id: &Id, at: Millis) -> Result<i64> {
        let number = self.next_number().min(MAX_TURNS);
        let row = self.turn_row(number);
        if self.index.len() < MAX_TURNS {
            turns::create_forgotten(tx, row, id, at)?;
            self.index.grow_to(number);
            self.hidden.forgotten_turns += 1;
            self.dirty = true;
        }
        Ok(row)
    }

    /// Drops a record of what is forgotten, for good.
    pub fn forget_raw(&self, tx: &Transaction<'_>, record: &RawRecord) -> Result<()> {
        records::note(tx, self.session.row, &record.hash())
    }

    /// Writes the result of a call whose turn was stored without one.
    pub fn complete(
        &mut self,
        tx: &mut Transaction<'_>,
        before: &Turn,
        after: &mut Turn,
        images: &[Image],
    ) -> Result<()> {
        let row = self.turn_row(after.number);
        self.add_images(tx, row, after, images)?;
        if let Some(tool) = &after.tool {
            turns::set_result(tx, row, &tool.output, tool.status, count(images))?;
        }
        self.replaced(tx, before, after);
        Ok(())
    }

    /// Takes the files that a call wrote.
    pub fn wrote(&mut self, files: impl IntoIterator<Item = String>) {
        self.filing.files.extend(files);
    }

    /// Writes what a turn that is stored says anew, with the pictures that it did not have.
    pub fn revise(
        &mut self,
        tx: &mut Transaction<'_>,
        before: &Turn,
        after: &mut Turn,
        images: &[Image],
    ) -> Result<()> {
        let row = self.turn_row(after.number);
        self.add_images(tx, row, after, images)?;
        turns::set_contents(tx, row, after, count(images))?;
        self.replaced(tx, before, after);
        Ok(())
    }

    /// Measures a stored turn that is written anew, and tells of it.
    fn replaced(&mut self, tx: &mut Transaction<'_>, before: &Turn, after: &Turn) {
        let (section, file) = render::turn_sizes(after);
        // A deleted turn is written anew too, and stays deleted.
        if !self.index.is_deleted(after.number) {
            self.session.sections -= render::section_size(before);
            self.session.sections += section;
        }
        self.enter(after, file);
        tx.changes.add(ChangeKind::Turn, self.turn_row(after.number));
    }

    /// Takes the models from the turns anew, in the order of their first: a revision may take the last turn of a model away.
    /// `held` are those of turns that are not written yet, by their numbers.
    pub fn name_models(&mut self, tx: &Transaction<'_>, held: Vec<(u32, String)>) -> Result<()> {
        let mut all = turns::models(tx, self.session.row)?;
        all.extend(held);
        all.sort_unstable_by_key(|(number, _)| *number);
        self.session.models.clear();
        for (_, model) in all {
            if !self.session.models.contains(&model) {
                self.session.models.push(model);
            }
        }
        self.dirty = true;
        Ok(())
    }

    /// Counts a turn once, and enters what is known of it by now.
    fn enter(&mut self, turn: &Turn, file: (u64, u64)) {
        if turn.number > self.index.len() {
            derived::note(&mut self.session, turn, self.index.is_empty());
        }
        derived::enter(&mut self.index, turn, file);
        self.dirty = true;
    }

    fn add_images(&mut self, tx: &mut Transaction<'_>, turn_row: i64, turn: &mut Turn, images: &[Image]) -> Result<()> {
        for image in images {
            let sha256 = visuals::digest(&image.bytes);
            visuals::write_blob(tx.layout(), &sha256, &image.bytes)?;
            let ordinal = visuals::next_ordinal(tx, self.session.commit_row)?;
            let file_name = render::visual_file_name(ordinal, turn.at, render::mime_extension(&image.mime));
            let nth = (turn.visuals.len() as u64).to_le_bytes();
            let visual = visuals::NewVisual {
                id: Id::derive(&[b"visual", &self.session.id.0, &u64::from(turn.number).to_le_bytes(), &nth]),
                commit_row: self.session.commit_row,
                turn_row,
                ordinal,
                file_name: &file_name,
                sha256: &sha256,
                mime: &image.mime,
                bytes: image.bytes.len() as u64,
                captured_at: turn.at,
            };
            visuals::create(tx, &visual)?;
            turn.visuals.push(file_name);
            self.session.images += 1;
        }
        Ok(())
    }

    /// Appends a record of the source.
    pub fn append_raw(&mut self, tx: &Transaction<'_>, record: &RawRecord) -> Result<()> {
        if self.raw.capacity() == 0 {
            self.raw = raw::buffer(tx);
        }
        record.pieces(|piece| {
            self.raw.extend_from_slice(piece);
            if self.raw.len() >= raw::CHUNK_BYTES { self.store_raw(tx) } else { Ok(()) }
        })?;
        self.raw.push(b'\n');
        self.session.raw_records += 1;
        self.dirty = true;
        Ok(())
    }

    fn store_raw(&mut self, tx: &Transaction<'_>) -> Result<()> {
        if !self.raw.is_empty() {
            let bytes = std::mem::take(&mut self.raw);
            let start = self.session.raw_bytes;
            self.session.raw_bytes += bytes.len() as u64;
            raw::append(tx, self.session.row, start, bytes)?;
        }
        Ok(())
    }

    /// Whether something is not stored yet.
    pub fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Writes everything that is not stored yet.
    pub fn save(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        if !self.dirty {
            return Ok(());
        }
        self.store_raw(tx)?;
        sessions::save(tx, &self.session, &self.hidden, &self.index)?;
        self.filing.file(tx, &self.session, &self.index)?;
        tx.changes.add(ChangeKind::Session, self.session.row);
        self.dirty = false;
        Ok(())
    }
}

fn count(images: &[Image]) -> u32 {
    u32::try_from(images.len()).unwrap_or(u32::MAX)
}

/// How often each record of a session is stored already: a log that repeats another file of the same session adds only what
/// is new. Forgotten ones count as stored.
#[derive(Default)]
pub struct KnownRecords(HashMap<Id, u32>);

impl KnownRecords {
    /// Reads the records of all parts of a session.
    pub fn load(tx: &Transaction<'_>, agent: Agent, native_id: &str) -> Result<Self> {
        raw::settle(tx)?;
        let mut known = Self::default();
        for part in sessions::parts(tx, agent, native_id)? {
            raw::for_each_record(tx, part.row, |line| *known.0.entry(Id::derive(&[line])).or_default() += 1)?;
            records::for_each(tx, part.row, |hash, count| *known.0.entry(hash).or_default() += count)?;
        }
        Ok(known)
    }

    /// Whether a record is stored already; each stored copy stands for one.
    pub fn take(&mut self, record: &RawRecord) -> bool {
        if self.0.is_empty() {
            return false;
        }
        match self.0.get_mut(&record.hash()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}
