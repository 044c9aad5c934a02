//! One part of a session while it is written: its row, its turn index and the raw records not stored yet.

use std::collections::HashMap;

use crate::model::{Agent, Id, Millis, Role, Session, Turn};
use crate::render;
use crate::store::index::{Entry, TurnIndex};
use crate::store::sessions::{self, Hidden};
use crate::store::{ChangeKind, Result, StoreError, Transaction, raw, turns, visuals};

use super::filing::{self, Filing};
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
        let (row, _) = sessions::create(tx, agent, native_id, part, at, filing::this_machine(tx)?)?;
        Self::load(tx, row)
    }

    /// Reads a part to go on with it.
    pub fn load(tx: &Transaction<'_>, row: i64) -> Result<Self> {
        let missing = || StoreError::Damaged { what: format!("session {row}") };
        let session = sessions::get(tx, row)?.ok_or_else(missing)?;
        let index = sessions::turn_index(tx, row)?.ok_or_else(missing)?;
        let hidden = sessions::hidden(tx, row)?;
        let filing = Filing::of(&session, &index);
        Ok(Self { session, hidden, index, raw: Vec::new(), dirty: false, filing, place_tried: false })
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

    /// Gives a turn its place before its contents are complete: a tool call whose result is not read yet.
    pub fn reserve(&mut self, turn: &Turn) {
        self.enter(turn);
        self.note(turn);
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
        self.session.sections += render::section_size(turn);
        self.enter(turn);
        self.note(turn);
        Ok(())
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
        self.session.sections -= render::section_size(before);
        self.session.sections += render::section_size(after);
        self.enter(after);
        self.dirty = true;
        tx.changes.add(ChangeKind::Turn, row);
        Ok(())
    }

    /// Takes the files that a call wrote.
    pub fn wrote(&mut self, files: impl IntoIterator<Item = String>) {
        self.filing.files.extend(files);
    }

    fn enter(&mut self, turn: &Turn) {
        let (bytes, visual_links) = render::turn_len(turn);
        let tool_name = turn.tool.as_ref().map_or(0, |t| self.index.name_number(&t.name));
        let entry = Entry {
            role: turn.role,
            visual_links: u8::try_from(visual_links).unwrap_or(u8::MAX),
            tool_name,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            at: turn.at,
        };
        if turn.number > self.index.len() {
            self.count(turn);
        }
        self.index.set(turn.number, &entry);
        self.dirty = true;
    }

    fn count(&mut self, turn: &Turn) {
        self.session.turns += 1;
        match turn.role {
            Role::User => self.session.prompts += 1,
            Role::Tool => self.session.tool_calls += 1,
            Role::Assistant | Role::Thinking | Role::System => {}
        }
    }

    /// Takes the times and the model of a turn.
    fn note(&mut self, turn: &Turn) {
        if self.session.turns <= 1 {
            (self.session.started_at, self.session.ended_at) = (turn.at, turn.at);
        }
        self.session.started_at = self.session.started_at.min(turn.at);
        self.session.ended_at = self.session.ended_at.max(turn.at);
        if let Some(model) = &turn.model
            && !self.session.models.contains(model)
        {
            self.session.models.push(model.clone());
        }
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
    pub fn append_raw(&mut self, tx: &Transaction<'_>, line: &[u8]) -> Result<()> {
        self.raw.extend_from_slice(line);
        self.raw.push(b'\n');
        self.session.raw_records += 1;
        self.dirty = true;
        if self.raw.len() >= raw::CHUNK_BYTES { self.store_raw(tx) } else { Ok(()) }
    }

    fn store_raw(&mut self, tx: &Transaction<'_>) -> Result<()> {
        if !self.raw.is_empty() {
            raw::append(tx, self.session.row, self.session.raw_bytes, &self.raw)?;
            self.session.raw_bytes += self.raw.len() as u64;
            self.raw.clear();
        }
        Ok(())
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
/// is new.
#[derive(Default)]
pub struct KnownRecords(HashMap<Id, u32>);

impl KnownRecords {
    /// Reads the records of all parts of a session.
    pub fn load(tx: &Transaction<'_>, agent: Agent, native_id: &str) -> Result<Self> {
        let mut known = Self::default();
        for part in sessions::parts(tx, agent, native_id)? {
            let mut rest: Vec<u8> = Vec::new();
            raw::for_each_chunk(tx, part.row, |chunk| {
                rest.extend_from_slice(chunk);
                // Chunks end where records end.
                for line in rest.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                    *known.0.entry(Id::derive(&[line])).or_default() += 1;
                }
                rest.clear();
            })?;
        }
        Ok(known)
    }

    /// Whether a record is stored already; each stored copy stands for one.
    pub fn take(&mut self, line: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        match self.0.get_mut(&Id::derive(&[line])) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }
}
