//! What a request of facts and contents is made of. Only reads, but for what is to stay here: what was read is marked when it was
//! taken.

use std::collections::VecDeque;

use serde_json::Value;

use super::super::{Options, Result};
use super::{After, BYTES, Batch, of};
use crate::cloud::wire::{Change, Kind};
use crate::model::{Id, Millis};
use crate::store::{Writer, commits, projects, refused, sessions};
use crate::sync::facts::{self, Cursor, Redact};
use crate::sync::{contents, ignored};

/// Records that are looked up at once to be sent.
pub(super) const LISTED: usize = 10_000;

/// What facts are left to be sent.
#[derive(Default)]
pub(super) struct Left {
    cursor: Cursor,
    page: VecDeque<facts::Unsent>,
    /// Sessions whose contents are being sent, and whose facts follow.
    pub open: VecDeque<i64>,
    is_end: bool,
    /// What the database was when it was listed: see [`version`].
    seen: Option<i64>,
}

impl Left {
    /// Takes back what a request was made of that is not sent.
    pub fn give_back(&mut self, batch: Batch) {
        self.cursor = batch.from;
        for unsent in batch.listed.into_iter().rev() {
            self.page.push_front(unsent);
        }
        for row in batch.opened.into_iter().rev() {
            self.open.push_front(row);
        }
    }

    /// Somebody may have written since it was listed: what is to stay here now is on the list. What is gone is gone.
    fn is_as_of(&mut self, seen: i64) {
        if self.seen.replace(seen) != Some(seen) && !self.cursor.is_of_gone() {
            self.page.clear();
            self.is_end = false;
        }
    }
}

/// What requests are made of.
pub(super) struct Reader<'a> {
    pub writer: &'a mut Writer,
    pub redact: &'a dyn Redact,
    pub options: &'a Options,
    pub ignored_at: &'a mut Option<i64>,
}

/// What SQLite counts other connections' changes by.
pub(super) fn version(writer: &Writer) -> Result<i64> {
    Ok(writer.conn().pragma_query_value(None, "data_version", |r| r.get(0))?)
}

impl Reader<'_> {
    /// The next request of facts and contents, read in one state of the database.
    pub fn next(self, left: &mut Left, as_of: Millis) -> Result<Batch> {
        self.writer.conn().execute_batch("BEGIN")?;
        // What was imported since it was read what stays here may have to stay, too.
        while let Some(path) = &self.options.ignored {
            let seen = version(self.writer)?;
            if self.ignored_at.replace(seen) == Some(seen) {
                break;
            }
            self.writer.conn().execute_batch("COMMIT")?;
            // What in them cannot be read was told before the cycle.
            ignored::refresh(self.writer, path)?;
            self.writer.conn().execute_batch("BEGIN")?;
        }
        let read = version(self.writer).and_then(|seen| {
            left.is_as_of(seen);
            Ok(Batch { seen, ..self.read_facts(left, as_of)? })
        });
        self.writer.conn().execute_batch("COMMIT")?;
        read
    }

    fn read_facts(&self, left: &mut Left, as_of: Millis) -> Result<Batch> {
        let conn = self.writer.conn();
        let mut batch = Batch { as_of, from: left.cursor, ..Batch::default() };
        // Sessions whose contents arrived: more contents, or the facts.
        for _ in 0..left.open.len() {
            let Some(row) = left.open.pop_front() else { break };
            if !batch.has_room() {
                left.open.push_back(row);
                continue;
            }
            batch.opened.push(row);
            match facts::session(conn, row, self.redact)? {
                Some(pending) => {
                    batch.records += 1;
                    batch.add(pending.change, After::Mark(pending.receipt));
                }
                None => drop(self.add_contents(&mut batch, row)?),
            }
        }
        while batch.has_room() {
            if left.page.is_empty() && !left.is_end {
                left.page = facts::unsent(conn, &left.cursor, LISTED)?.into();
                left.is_end = left.page.len() < LISTED;
            }
            let Some(unsent) = left.page.pop_front() else { break };
            left.cursor = unsent.cursor();
            batch.listed.push(unsent.clone());
            let Some(pending) = facts::read(conn, unsent, self.redact)? else { continue };
            if !self.is_wanted(&pending.change)? {
                continue;
            }
            match pending.session_row {
                Some(row) if contents::is_pending(conn, row)? => {
                    let Some(stub) = contents::stub(conn, row)? else { continue };
                    batch.add(stub, After::Nothing);
                    // Of small sessions everything goes at once: the cloud takes no facts without the contents before them.
                    let raw_bytes = self.add_contents(&mut batch, row)?;
                    let facts = raw_bytes.map(|bytes| facts::behind_contents(conn, pending, bytes)).transpose()?;
                    if let Some(pending) = facts.flatten() {
                        batch.sessions.pop();
                        batch.records += 1;
                        batch.add(pending.change, After::Mark(pending.receipt));
                    }
                }
                _ => {
                    batch.records += 1;
                    batch.add(pending.change, After::Mark(pending.receipt));
                }
            }
        }
        Ok(batch)
    }

    /// Adds what there is room for; if that is all, the bytes that the session's records have in the cloud then.
    fn add_contents(&self, batch: &mut Batch, row: i64) -> Result<Option<u64>> {
        let conn = self.writer.conn();
        let Some(session) = sessions::get(conn, row)? else { return Ok(None) };
        let room = BYTES.saturating_sub(batch.bytes).max(1);
        let (pieces, raw_bytes) = contents::pending_part(conn, row, room, self.redact)?;
        for piece in pieces {
            batch.add(piece.change, After::Mark(piece.receipt));
        }
        batch.sessions.push((row, session.id));
        Ok(raw_bytes)
    }

    /// Whether a change is to be sent now: its record was not refused, and is of a project that is meant.
    fn is_wanted(&self, change: &Change) -> Result<bool> {
        let conn = self.writer.conn();
        let (kind, id) = of(change);
        if refused::is_refused(conn, kind as i64, &id)? {
            return Ok(false);
        }
        let Change::Facts { facts: Some(facts), .. } = change else {
            return Ok(self.options.projects.is_none() || kind == Kind::Machine);
        };
        let named = |key: &str| facts.get(key).and_then(Value::as_str).and_then(Id::parse);
        // What is in a refused one could only be refused, with all its contents.
        let above = match kind {
            Kind::Commit => named("project").map(|id| (Kind::Project, id)),
            Kind::Session => named("commit").map(|id| (Kind::Commit, id)),
            Kind::Machine | Kind::Project | Kind::Turn => None,
        };
        if let Some((kind, id)) = above
            && refused::is_refused(conn, kind as i64, &id)?
        {
            return Ok(false);
        }
        let Some(meant) = &self.options.projects else { return Ok(true) };
        let commit = match kind {
            Kind::Machine => return Ok(true),
            Kind::Project => return Ok(projects::by_id(conn, &id)?.is_some_and(|project| meant.contains(&project.row))),
            Kind::Commit => Some(id),
            Kind::Session | Kind::Turn => named("commit"),
        };
        let commit = commit.map(|id| commits::by_id(conn, &id)).transpose()?.flatten();
        Ok(commit.is_some_and(|commit| meant.contains(&commit.project_row)))
    }
}
