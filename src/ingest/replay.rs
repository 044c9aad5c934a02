//! Copied histories whose records got new ids.
//!
//! Claude Code up to 1.0.x resumed a session by writing its history into a new file, some versions with new record ids. The
//! ids of the API's messages stay: from a file's beginning on, a message known from another session is a copy, and so is
//! what was said before it, as far as that session says it too. Prompts prove nothing by themselves ("continue" is said in
//! every session): they wait for the message that follows them. The first message that nobody knows is the file's own, and
//! so is everything behind it. Copies with the same record ids need none of this.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::assemble::{content, distinct, usage_key};
use super::record::NewTurn;
use crate::model::{Agent, Id, Millis, Role, Tool, Turn};
use crate::store::{Result, Transaction, sessions, turns};

/// Prompts held back until the next message of the model tells whose they are.
const MAX_HELD: usize = 64;

/// What must be remembered to go on in the middle of a file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// No message of the file's own was read yet.
    copying: bool,
    /// Row of the last turn that was copied.
    last_row: Option<i64>,
}

/// What becomes of a turn.
pub enum Admitted {
    /// To be written, unless its id is known.
    Own(Box<NewTurn>, Id),
    /// The copy of a stored turn.
    Copy { turn: Box<NewTurn>, id: Id, row: i64 },
}

impl Admitted {
    /// The id that the turn was given with.
    pub fn id(&self) -> &Id {
        match self {
            Self::Own(_, id) | Self::Copy { id, .. } => id,
        }
    }
}

/// Decides which turns of a file are new.
pub struct Replay {
    agent: Agent,
    native_id: String,
    memory: Memory,
    held: Vec<(NewTurn, Id)>,
    original: Option<Original>,
}

impl Replay {
    /// Begins a file, or goes on with one.
    pub fn new(agent: Agent, native_id: &str, memory: Option<Memory>) -> Self {
        let memory = memory.unwrap_or(Memory { copying: agent == Agent::ClaudeCode, last_row: None });
        Self { agent, native_id: native_id.to_owned(), memory, held: Vec::new(), original: None }
    }

    /// What must be remembered to go on here later.
    pub fn memory(&self) -> Memory {
        self.memory.clone()
    }

    /// Whether a turn waits.
    pub fn is_holding(&self) -> bool {
        !self.held.is_empty()
    }

    /// Gives back the turns to go on with: none (it waits), this one, or those that waited and this one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn admit(&mut self, tx: &Transaction<'_>, new: NewTurn, id: Id) -> Result<Vec<Admitted>> {
        if !self.memory.copying {
            return Ok(vec![Admitted::Own(Box::new(new), id)]);
        }
        let key = new.message_key.clone().filter(|_| new.role != Role::User);
        if key.is_none() && self.held.len() >= MAX_HELD {
            let mut admitted = self.finish(tx)?;
            admitted.push(Admitted::Own(Box::new(new), id));
            return Ok(admitted);
        }
        self.held.push((new, id));
        let Some(key) = key else { return Ok(Vec::new()) };
        if !self.find_original(tx, &key)? {
            let admitted = self.finish(tx)?;
            (self.memory, self.original) = (Memory::default(), None);
            return Ok(admitted);
        }
        let mut admitted = Vec::new();
        for (new, id) in std::mem::take(&mut self.held) {
            let row = self.original.as_mut().and_then(|original| original.take(&said_by(&new), new.at));
            admitted.push(self.as_copy(tx, new, id, row)?);
        }
        Ok(admitted)
    }

    /// Lets go of what still waits: the copy's last words where they are the original's next ones, at the same time; else the
    /// file's own.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn finish(&mut self, tx: &Transaction<'_>) -> Result<Vec<Admitted>> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty()
            && self.original.is_none()
            && let Some(row) = self.memory.last_row
        {
            self.original = Original::load(tx, turns::parts_of(row).0, Some(row))?;
        }
        let mut admitted = Vec::new();
        for (new, id) in held {
            let row = self.original.as_mut().and_then(|original| original.take_next(&said_by(&new), new.at));
            admitted.push(self.as_copy(tx, new, id, row)?);
        }
        Ok(admitted)
    }

    fn as_copy(&mut self, tx: &Transaction<'_>, new: NewTurn, id: Id, row: Option<i64>) -> Result<Admitted> {
        self.memory.last_row = row.or(self.memory.last_row);
        Ok(match row {
            // A turn that kept its id is left to the ordinary comparison.
            Some(row) if !is_stored(tx, &id, &said_by(&new))? => Admitted::Copy { turn: Box::new(new), id, row },
            _ => Admitted::Own(Box::new(new), id),
        })
    }

    /// Makes the session at hand that a message is known from; false when it is known from none but this.
    fn find_original(&mut self, tx: &Transaction<'_>, message_key: &str) -> Result<bool> {
        let Some(row) = sessions::of_message(tx, &usage_key(self.agent, message_key))? else { return Ok(false) };
        let Some(session) = sessions::get(tx, row)?.filter(|s| s.native_id != self.native_id) else { return Ok(false) };
        // A copy of a copy goes through several originals, one after the other.
        if self.original.as_ref().is_none_or(|original| original.native_id != session.native_id) {
            self.original = Original::load(tx, row, self.memory.last_row)?;
        }
        if let Some(original) = &mut self.original {
            original.husk = if sessions::is_forgotten(tx, &session)? { Some(turns::row_of(row, 1)) } else { None };
        }
        Ok(true)
    }
}

/// What another session says, as far as it is not copied yet.
struct Original {
    native_id: String,
    said: Vec<(Id, Millis, i64)>,
    by_content: HashMap<Id, VecDeque<usize>>,
    next: usize,
    /// Rows of the turns that are forgotten, by their times: all that is left to know a copy of one by.
    forgotten: HashMap<Millis, i64>,
    /// One of them, where the part that the message at hand is from is forgotten as a whole: what stands before the message, too.
    husk: Option<i64>,
}

impl Original {
    /// Reads the session that a part belongs to, from behind `after` on when that is one of its turns.
    fn load(tx: &Transaction<'_>, part_row: i64, after: Option<i64>) -> Result<Option<Self>> {
        let Some(session) = sessions::get(tx, part_row)? else { return Ok(None) };
        let (mut said, mut forgotten) = (Vec::new(), HashMap::new());
        for part in sessions::parts(tx, session.agent, &session.native_id)? {
            turns::for_each(tx, part.row, |turn| {
                let row = turns::row_of(part.row, turn.number);
                if Some(row) == after {
                    said.clear();
                } else {
                    said.push((content(&turn), turn.at, row));
                }
            })?;
            forgotten.extend(turns::forgotten(tx, part.row)?.into_iter().map(|(row, at)| (at, row)));
        }
        let mut by_content: HashMap<Id, VecDeque<usize>> = HashMap::new();
        for (at, (content, _, _)) in said.iter().enumerate() {
            by_content.entry(*content).or_default().push_back(at);
        }
        Ok(Some(Self { native_id: session.native_id, said, by_content, next: 0, forgotten, husk: None }))
    }

    /// The first turn that says this and was not taken yet: of equal ones each is copied once. Else a forgotten one of that time.
    fn take(&mut self, content: &Id, time: Option<Millis>) -> Option<i64> {
        let Some(at) = self.by_content.get_mut(content).and_then(VecDeque::pop_front) else {
            return time.and_then(|time| self.forgotten.get(&time).copied()).or(self.husk);
        };
        self.next = self.next.max(at + 1);
        self.said.get(at).map(|(_, _, row)| *row)
    }

    /// The turn behind the last one taken, if it says this at this time.
    fn take_next(&mut self, content: &Id, at: Option<Millis>) -> Option<i64> {
        if let Some(row) = at.and_then(|at| self.forgotten.get(&at)) {
            return Some(*row);
        }
        let (next, time, _) = self.said.get(self.next)?;
        if next == content && at.is_none_or(|at| at == *time) { self.take(content, at) } else { None }
    }
}

/// Whether a turn is stored under the id it was given with, or under the one that it has where another turn has that.
fn is_stored(tx: &Transaction<'_>, id: &Id, content_id: &Id) -> Result<bool> {
    let is_same = |turn: Option<Turn>| turn.is_none_or(|turn| content(&turn) == *content_id);
    Ok(match turns::row_by_id(tx, id)? {
        None => false,
        Some(row) => is_same(turns::get(tx, row)?) || turns::row_by_id(tx, &distinct(id, content_id))?.is_some(),
    })
}

fn said_by(new: &NewTurn) -> Id {
    let tool = new.call.as_ref().map(|c| Tool { name: c.name.clone(), input: c.input.clone(), ..Tool::default() });
    content(&Turn {
        number: 0,
        role: new.role,
        at: Millis::default(),
        model: None,
        text: new.text.clone(),
        label: None,
        tool,
        visuals: Vec::new(),
    })
}
