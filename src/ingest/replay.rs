//! Copied histories whose records got new ids.
//!
//! Claude Code up to 1.0.x resumed a session by writing its history into a new file, some versions with new record ids. The
//! ids of the API's messages stay: a file whose first assistant message is known from another session is such a copy, and
//! for as long as its records say what that session says, they are the same records. Copies with the same record ids need
//! none of this.

use std::collections::HashMap;

use super::assemble::{content, usage_key};
use super::record::NewTurn;
use crate::model::{Agent, Id, Millis, Role, Tool, Turn};
use crate::store::{Result, Transaction, sessions, turns};

/// Prompts held back at a file's beginning until its first assistant message tells what it is.
const MAX_HELD: usize = 64;

enum Mode {
    /// No assistant message yet: these turns wait.
    Undecided(Vec<(NewTurn, Id)>),
    /// A copy of what these turns say: content and row.
    Copy(HashMap<Id, i64>),
    /// A history of its own from here on.
    Own,
}

/// What becomes of a turn.
pub enum Admitted {
    /// To be written, unless its id is known.
    Own(Box<NewTurn>, Id),
    /// The copy of a stored turn.
    Copy { turn: Box<NewTurn>, row: i64 },
}

/// Decides which turns of a file are new.
pub struct Replay {
    agent: Agent,
    native_id: String,
    mode: Mode,
}

impl Replay {
    /// `from_start` is false when an import goes on in the middle of a file.
    pub fn new(agent: Agent, native_id: &str, from_start: bool) -> Self {
        let mode = if from_start && agent == Agent::ClaudeCode { Mode::Undecided(Vec::new()) } else { Mode::Own };
        Self { agent, native_id: native_id.to_owned(), mode }
    }

    /// Gives back the turns to go on with: none (it waits), this one, or those that waited and this one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn admit(&mut self, tx: &Transaction<'_>, new: NewTurn, id: Id) -> Result<Vec<Admitted>> {
        match &mut self.mode {
            Mode::Own => Ok(vec![Admitted::Own(Box::new(new), id)]),
            Mode::Copy(said) => {
                let copied = said.get(&said_by(&new)).copied();
                if copied.is_none() {
                    self.mode = Mode::Own;
                }
                // A turn that kept its id is left to the ordinary comparison.
                Ok(vec![match copied {
                    Some(row) if turns::row_by_id(tx, &id)?.is_none() => Admitted::Copy { turn: Box::new(new), row },
                    _ => Admitted::Own(Box::new(new), id),
                }])
            }
            Mode::Undecided(held) => {
                let key = new.message_key.clone().filter(|_| new.role != Role::User);
                held.push((new, id));
                let Some(key) = key else {
                    return Ok(if held.len() > MAX_HELD { self.finish() } else { Vec::new() });
                };
                let waiting = std::mem::take(held);
                self.mode = self.original(tx, &key)?.map_or(Mode::Own, Mode::Copy);
                let mut admitted = Vec::new();
                for (new, id) in waiting {
                    admitted.extend(self.admit(tx, new, id)?);
                }
                Ok(admitted)
            }
        }
    }

    /// What still waits is the file's own.
    pub fn finish(&mut self) -> Vec<Admitted> {
        match std::mem::replace(&mut self.mode, Mode::Own) {
            Mode::Undecided(held) => held.into_iter().map(|(new, id)| Admitted::Own(Box::new(new), id)).collect(),
            // A copy goes on being one: an import may be saved in its middle.
            copy @ Mode::Copy(_) => {
                self.mode = copy;
                Vec::new()
            }
            Mode::Own => Vec::new(),
        }
    }

    /// What the other session says that a message is known from; `None` when it is known from none.
    fn original(&self, tx: &Transaction<'_>, message_key: &str) -> Result<Option<HashMap<Id, i64>>> {
        let Some(row) = sessions::of_message(tx, &usage_key(self.agent, message_key))? else { return Ok(None) };
        let Some(session) = sessions::get(tx, row)? else { return Ok(None) };
        if session.native_id == self.native_id {
            return Ok(None);
        }
        let mut said = HashMap::new();
        for part in sessions::parts(tx, self.agent, &session.native_id)? {
            turns::for_each(tx, part.row, |turn| {
                said.insert(content(&turn), turns::row_of(part.row, turn.number));
            })?;
        }
        Ok(Some(said))
    }
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
