//! What a walk needs again: a session's turns are in its transcript, in its commit's transcript and page, and in files of their
//! own, and what a listing told of a directory's documents is asked again when they are read. The latest are kept here, for one
//! state of the database, as the change feed numbers it. Bounded; must not be asked while its lock is held elsewhere.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rusqlite::Connection;

use super::Node;
use super::documents::{Listed, directory_of_document};
use crate::model::Turn;
use crate::render::{Template, section};
use crate::store::{Result, changes, turns};

/// Bytes of turns and sections kept at the most. A longer session is read anew each time.
const MOST_BYTES: usize = 8 * 1024 * 1024;
/// Directories kept at the most: some KiB each.
const MOST_DIRECTORIES: usize = 32;
/// What a turn takes beside its texts, roughly.
const TURN_BYTES: usize = 256;

/// What was read last.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: i64,
    bytes: usize,
    /// The latest in front.
    sessions: VecDeque<Arc<Conversation>>,
    directories: VecDeque<(Node, Arc<Listed>)>,
}

/// The turns of a session that are not deleted, and their sections once they were wanted.
#[derive(Debug)]
struct Conversation {
    row: i64,
    turns: Vec<Turn>,
    sections: OnceLock<Template>,
    /// Of both: a section is no longer than the turn, but for what a page needs around it.
    bytes: usize,
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps nothing: there is another state.
    pub fn clear(&self) {
        *self.lock() = Inner::default();
    }

    fn conversation(&self, conn: &Connection, row: i64) -> Result<Option<Arc<Conversation>>> {
        if self.lock().sessions.is_empty() {
            return Ok(None);
        }
        let state = changes::head(conn)?;
        let kept = self.lock();
        Ok(kept.sessions.iter().find(|c| kept.state == state && c.row == row).map(Arc::clone))
    }

    /// Gives every turn of a session that is not deleted to `each`, in order.
    pub(super) fn for_each(&self, conn: &Connection, row: i64, mut each: impl FnMut(&Turn)) -> Result<()> {
        if let Some(kept) = self.conversation(conn, row)? {
            kept.turns.iter().for_each(each);
            return Ok(());
        }
        if let Some(read) = read(conn, row, &mut |turn, _| each(turn))? {
            self.keep(changes::head(conn)?, Arc::new(read));
        }
        Ok(())
    }

    /// Writes the sections of a session's turns.
    pub(super) fn sections(
        &self,
        conn: &Connection,
        out: &mut Vec<u8>,
        row: i64,
        turn_prefix: &str,
        visual_prefix: &str,
    ) -> Result<()> {
        let mut template = Template::default();
        if let Some(kept) = self.conversation(conn, row)? {
            let sections = kept.sections.get_or_init(|| {
                kept.turns.iter().for_each(|turn| section(&mut template, turn, "", ""));
                template
            });
            sections.write(out, turn_prefix, visual_prefix);
            return Ok(());
        }
        let read = read(conn, row, &mut |turn, is_kept| {
            if is_kept {
                return section(&mut template, turn, "", "");
            }
            std::mem::take(&mut template).write(out, turn_prefix, visual_prefix);
            section(out, turn, turn_prefix, visual_prefix);
        })?;
        template.write(out, turn_prefix, visual_prefix);
        if let Some(read) = read {
            let _ = read.sections.set(template);
            self.keep(changes::head(conn)?, Arc::new(read));
        }
        Ok(())
    }

    /// Gives at most `count` turns of a session that are not deleted to `each`, in order, from one number on.
    pub(super) fn for_some(
        &self,
        conn: &Connection,
        row: i64,
        from: u32,
        count: u32,
        mut each: impl FnMut(&Turn),
    ) -> Result<()> {
        let Some(kept) = self.conversation(conn, row)? else {
            return turns::for_some(conn, row, from, count, |turn| each(&turn));
        };
        let first = kept.turns.partition_point(|turn| turn.number < from);
        kept.turns[first..].iter().take(count as usize).for_each(each);
        Ok(())
    }

    fn keep(&self, state: i64, conversation: Arc<Conversation>) {
        let mut kept = self.lock();
        kept.see(state);
        if let Some(at) = kept.sessions.iter().position(|c| c.row == conversation.row)
            && let Some(old) = kept.sessions.remove(at)
        {
            kept.bytes -= old.bytes;
        }
        kept.bytes += conversation.bytes;
        kept.sessions.push_front(conversation);
        while kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.sessions.pop_back() else { break };
            kept.bytes -= oldest.bytes;
        }
    }

    /// What a listing of a directory told of its documents, in this very state.
    pub(super) fn listed(&self, conn: &Connection, dir: Node) -> Result<Option<Arc<Listed>>> {
        let state = changes::head(conn)?;
        let kept = self.lock();
        Ok(kept.directories.iter().find(|(node, _)| kept.state == state && *node == dir).map(|(_, d)| Arc::clone(d)))
    }

    /// A document that was made when its directory was listed, in this very state.
    pub(super) fn made(&self, conn: &Connection, node: Node) -> Result<Option<String>> {
        let Some(dir) = directory_of_document(node) else { return Ok(None) };
        Ok(self.listed(conn, dir)?.and_then(|listed| listed.made(node).map(str::to_owned)))
    }

    pub(super) fn keep_listed(&self, conn: &Connection, dir: Node, listed: Arc<Listed>) -> Result<()> {
        let state = changes::head(conn)?;
        let mut kept = self.lock();
        kept.see(state);
        kept.directories.retain(|(node, _)| *node != dir);
        kept.directories.push_front((dir, listed));
        kept.directories.truncate(MOST_DIRECTORIES);
        Ok(())
    }
}

impl Inner {
    /// What another state had is of no more use.
    fn see(&mut self, state: i64) {
        if state != self.state {
            *self = Self { state, ..Self::default() };
        }
    }
}

fn turn_size(turn: &Turn) -> usize {
    TURN_BYTES + turn.text.len() + turn.tool.as_ref().map_or(0, |tool| tool.input.len() + tool.output.len())
}

/// Reads a session's turns, giving each to `each` with whether it is among those to be kept: not once they are too much, and then
/// `None` is returned.
fn read(conn: &Connection, row: i64, each: &mut dyn FnMut(&Turn, bool)) -> Result<Option<Conversation>> {
    let (mut turns, mut bytes) = (Vec::new(), 0);
    turns::for_each(conn, row, |turn| {
        bytes += 2 * turn_size(&turn);
        let is_kept = bytes <= MOST_BYTES;
        each(&turn, is_kept);
        if is_kept {
            turns.push(turn);
        } else {
            turns = Vec::new();
        }
    })?;
    Ok((bytes <= MOST_BYTES).then_some(Conversation { row, turns, sections: OnceLock::new(), bytes }))
}
