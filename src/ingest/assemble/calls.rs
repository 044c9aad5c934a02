//! Tool calls and their results, which come apart: in another order, in a later import, or from another copy of the log.
//!
//! Owns which call a result belongs to. Where turns go and what they are is the assembler's.

use std::collections::VecDeque;

use super::{Assembler, ToolResult};
use crate::ingest::project::Resolver;
use crate::ingest::{carve, files};
use crate::model::{Id, Role, Tool, ToolStatus, Turn};
use crate::store::{Result, Transaction, sessions, turns};

/// A call whose result was not read yet.
pub(super) struct Pending {
    pub(super) part: i64,
    pub(super) shell: Option<String>,
    /// A later result takes the place of the one it has.
    pub(super) revises: bool,
    pub(super) place: Place,
}

/// What a record says of a call that is stored.
pub(super) struct Repeated {
    pub(super) shell: Option<String>,
    pub(super) revises: bool,
}

/// The calls of one id, of which some writers make several (ids taken out as secrets): answered in the order they were made.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) waiting: VecDeque<Pending>,
    /// Rows of those whose result was read.
    pub(super) answered: Vec<i64>,
}

/// Answered calls of one id that a result which none waits for is compared with.
const COMPARED: usize = 16;

pub(super) enum Place {
    /// Its number is given, its turn is not written.
    Held { id: Id, turn: Box<Turn> },
    /// Its turn is stored without a result.
    Stored { number: u32 },
    /// Its turn and its result are stored: another copy of this log had them.
    Done { row: i64 },
    /// Its turn is forgotten, and so is its result.
    Forgotten { row: i64 },
}

impl Pending {
    fn stored_row(&self) -> Option<i64> {
        match self.place {
            Place::Held { .. } => None,
            Place::Stored { number } => Some(turns::row_of(self.part, number)),
            Place::Done { row } | Place::Forgotten { row } => Some(row),
        }
    }
}

impl Assembler {
    /// A call that another copy of this log brought: its result may still be missing there.
    pub(super) fn repeat_call(
        &mut self,
        tx: &Transaction<'_>,
        call_id: Option<String>,
        repeated: Repeated,
        row: i64,
    ) -> Result<()> {
        let Repeated { shell, revises } = repeated;
        let Some(stored) = turns::get(tx, row)? else { return self.forgotten_call(tx, call_id, shell, row) };
        self.met.live = true;
        let Some(call_id) = call_id else { return Ok(()) };
        let stored = stored.tool;
        let (part, number) = turns::parts_of(row);
        let waits = stored.is_some_and(|t| t.status == ToolStatus::Pending && t.output.is_empty());
        let place = if waits { Place::Stored { number } } else { Place::Done { row } };
        let calls = self.pending.entry(call_id).or_default();
        match calls.waiting.iter_mut().find(|p| p.stored_row() == Some(row)) {
            Some(waiting) if revises => (waiting.shell, waiting.revises) = (shell, true),
            Some(_) => {}
            None => calls.waiting.push_back(Pending { part, shell, revises, place }),
        }
        Ok(())
    }

    /// A turn that is forgotten, maybe a call whose result is still to come: that is dropped, too.
    pub(super) fn forgotten_call(
        &mut self,
        tx: &Transaction<'_>,
        call_id: Option<String>,
        shell: Option<String>,
        row: i64,
    ) -> Result<()> {
        self.meet_forgotten(tx, row)?;
        let Some(call_id) = call_id else { return Ok(()) };
        let waiting = &mut self.pending.entry(call_id).or_default().waiting;
        if !waiting.iter().any(|p| p.stored_row() == Some(row)) {
            let place = Place::Forgotten { row };
            waiting.push_back(Pending { part: turns::parts_of(row).0, shell, revises: false, place });
        }
        Ok(())
    }

    /// Takes the result of a forgotten call: of it, only the subagent and the git commit that ends a part are of use, to tell
    /// what else belongs to what is forgotten.
    fn forgotten_result(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        pending: Pending,
        row: i64,
        result: &ToolResult,
    ) -> Result<()> {
        self.meet_forgotten(tx, row)?;
        if let Some(subagent) = &result.subagent {
            sessions::link_subagent(tx, self.head.agent, subagent, pending.part)?;
        }
        self.pending.entry(result.call_id.clone()).or_default().answered.push(row);
        self.load(tx, pending.part)?;
        let forgotten = self.parts.get(&pending.part).is_some_and(|part| part.hidden.forgotten);
        match pending.shell {
            Some(shell) if forgotten && result.status != ToolStatus::Error => {
                let found = carve::git_commits(&shell, &result.output);
                self.git_commits(tx, projects, pending.part, &result.stream, &found)
            }
            _ => Ok(()),
        }
    }

    /// Notes a call whose result is to come.
    pub(super) fn wait(&mut self, call_id: String, pending: Pending) {
        self.pending.entry(call_id).or_default().waiting.push_back(pending);
    }

    /// Takes a result: the first call of its id that waits gets it.
    pub(super) fn result(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        result: ToolResult,
    ) -> Result<()> {
        self.last_at = result.at.unwrap_or(self.last_at);
        let calls = self.pending.entry(result.call_id.clone()).or_default();
        while let Some(pending) = calls.waiting.pop_front() {
            let row = match pending.place {
                Place::Done { row } => row,
                Place::Forgotten { row } => return self.forgotten_result(tx, projects, pending, row, &result),
                Place::Held { .. } | Place::Stored { .. } => return self.answer(tx, projects, pending, result),
            };
            calls.answered.push(row);
            // A record that is stored said it before; what it said may have been revised since.
            if has_output(tx, row, &result.output)? || (pending.revises && self.stored) {
                self.met.live = true;
                return match &result.subagent {
                    Some(subagent) => sessions::link_subagent(tx, self.head.agent, subagent, pending.part),
                    None => Ok(()),
                };
            }
            if pending.revises {
                let place = Place::Stored { number: turns::parts_of(row).1 };
                let images = self.unseen_images(tx, row, result.images)?;
                return self.answer(tx, projects, Pending { place, ..pending }, ToolResult { images, ..result });
            }
        }
        for row in calls.answered.iter().rev().take(COMPARED) {
            let row = *row;
            let Some(turn) = turns::get(tx, row)? else { return self.meet_forgotten(tx, row) };
            if turn.tool.is_some_and(|t| t.output == result.output) {
                self.met.live = true;
                return Ok(());
            }
        }
        if self.resumed && self.answered_before(tx, &result)? {
            return Ok(());
        }
        self.orphan(tx, projects, result)
    }

    /// Whether a call that was read by an earlier import has this result.
    fn answered_before(&self, tx: &Transaction<'_>, result: &ToolResult) -> Result<bool> {
        for part in sessions::parts(tx, self.head.agent, &self.track_native(&result.stream))? {
            for row in turns::rows_of_call(tx, part.row, &result.call_id)? {
                if has_output(tx, row, &result.output)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Gives a call its result.
    fn answer(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        pending: Pending,
        mut result: ToolResult,
    ) -> Result<()> {
        let row = pending.part;
        self.met.live = true;
        self.load(tx, row)?;
        let found = match &pending.shell {
            Some(shell) if result.status != ToolStatus::Error => carve::git_commits(shell, &result.output),
            _ => Vec::new(),
        };
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        if let Some(subagent) = &result.subagent {
            sessions::link_subagent(tx, self.head.agent, subagent, row)?;
        }
        let turn_row = match pending.place {
            Place::Held { id, mut turn } => {
                set_result(&mut turn, &mut result);
                part.wrote(files::written_by(&turn, self.context.cwd.as_deref()));
                self.held_ids.remove(&id);
                part.write(tx, &id, &mut turn, Some(&result.call_id), &result.images)?;
                part.turn_row(turn.number)
            }
            Place::Stored { number } => {
                let turn_row = part.turn_row(number);
                if let Some(before) = turns::get(tx, turn_row)? {
                    let mut after = before.clone();
                    set_result(&mut after, &mut result);
                    part.wrote(files::written_by(&after, self.context.cwd.as_deref()));
                    part.complete(tx, &before, &mut after, &result.images)?;
                }
                turn_row
            }
            Place::Done { row } | Place::Forgotten { row } => row,
        };
        self.pending.entry(result.call_id).or_default().answered.push(turn_row);
        self.git_commits(tx, projects, row, &result.stream, &found)
    }

    /// A result whose call is in no log: kept as a turn of its own.
    fn orphan(&mut self, tx: &mut Transaction<'_>, projects: &mut Resolver, result: ToolResult) -> Result<()> {
        let ToolResult { call_id, stream, at, output, status, images, .. } = result;
        let agent = self.head.agent.as_str().as_bytes();
        let id = Id::derive(&[agent, self.head.native_id.as_bytes(), b"result", call_id.as_bytes(), output.as_bytes()]);
        if let Some(row) = turns::row_by_id_in(tx, &id)? {
            return match turns::get(tx, row)? {
                Some(_) => Ok(()),
                None => self.meet_forgotten(tx, row),
            };
        }
        let tool = Tool { name: "result".to_owned(), input: String::new(), output, status };
        let at = at.unwrap_or_else(|| self.now());
        let mut turn = Turn {
            number: 0,
            role: Role::Tool,
            at,
            model: None,
            text: String::new(),
            label: None,
            tool: Some(tool),
            visuals: Vec::new(),
        };
        let row = self.part_for_turn(tx, projects, &stream, &turn)?;
        let Some(part) = self.parts.get_mut(&row) else { return Ok(()) };
        if part.hidden.forgotten {
            let row = part.write_forgotten(tx, &id, at)?;
            return self.meet_forgotten(tx, row);
        }
        self.met.live = true;
        turn.number = part.next_number();
        self.counts.new_turns += 1;
        part.write(tx, &id, &mut turn, Some(&call_id), &images)
    }

    /// Calls still without a result are stored as they are: nothing waits in memory at a commit.
    pub(super) fn store_pending(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        let mut held: Vec<(i64, u32, String, Id, Box<Turn>)> = Vec::new();
        for (call_id, calls) in &mut self.pending {
            for pending in &mut calls.waiting {
                if let Place::Held { id, turn } = &pending.place {
                    held.push((pending.part, turn.number, call_id.clone(), *id, turn.clone()));
                    pending.place = Place::Stored { number: turn.number };
                }
            }
        }
        held.sort_by_key(|(row, number, ..)| (*row, *number));
        for (row, _, call_id, id, mut turn) in held {
            self.load(tx, row)?;
            if let Some(part) = self.parts.get_mut(&row) {
                part.write(tx, &id, &mut turn, Some(&call_id), &[])?;
            }
        }
        self.held_ids.clear();
        Ok(())
    }
}

fn has_output(tx: &Transaction<'_>, row: i64, output: &str) -> Result<bool> {
    Ok(turns::get(tx, row)?.and_then(|t| t.tool).is_some_and(|t| t.output == output))
}

/// Gives a turn its result, whose output is the turn's from here on.
fn set_result(turn: &mut Turn, result: &mut ToolResult) {
    if let Some(tool) = &mut turn.tool {
        tool.output = std::mem::take(&mut result.output);
        tool.status = match result.status {
            // A result is there, so the call is not pending, whatever the log leaves unsaid.
            ToolStatus::Pending => ToolStatus::Ok,
            status => status,
        };
    }
}
