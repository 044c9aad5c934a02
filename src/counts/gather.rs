//! Reads what was done in some weeks. Numbers of turns come from the packed indexes, which are here of all sessions; which calls
//! failed and which models spoke is in the turns themselves.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use super::Week;
use crate::model::{Agent, Role};
use crate::store::Result;
use crate::store::weeks::{self, Part, Said};

/// What a session, or a part of it, did in one week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bit {
    pub week: Week,
    /// The same for all parts of a session and for its subagents.
    pub conversation: i64,
    pub agent: Agent,
    pub commit_row: i64,
    /// Not kept on this machine by its user.
    pub may_leave: bool,
    pub prompts: u64,
    pub turns: u64,
    pub tool_calls: u64,
    pub failed_calls: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
}

/// How often a tool was called.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub calls: u64,
    pub failed: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Gathered {
    pub bits: Vec<Bit>,
    pub tools: BTreeMap<String, Calls>,
    /// What each model said and called.
    pub models: BTreeMap<String, u64>,
    /// Parts of sessions whose contents are on other machines: their failed calls and models are not known here.
    pub elsewhere: u64,
}

/// What was done from one week up to another, that one with it.
///
/// # Errors
/// When SQLite cannot read.
pub fn gather(conn: &Connection, first: Week, last: Week) -> Result<Gathered> {
    let (from, to) = (first.start(), last.next().start());
    let mut found = Gathered::default();
    let mut conversations = HashMap::new();
    for part in weeks::parts(conn, from, to)? {
        // A newer program's agent.
        let Some(agent) = Agent::parse(&part.agent) else { continue };
        let conversation = match conversations.get(&part.row) {
            Some(known) => *known,
            None => *conversations.entry(part.row).or_insert(weeks::conversation(conn, part.row)?),
        };
        let mut bits = of_part(&part, (first, last), &mut found.tools);
        if part.is_here {
            weeks::said(conn, part.row, &mut |said| note(&part, &said, &mut bits, &mut found))?;
        } else if !bits.is_empty() {
            found.elsewhere += 1;
        }
        found.bits.extend(bits.into_values().map(|bit| Bit { conversation, agent, ..bit }));
    }
    Ok(found)
}

fn empty(week: Week, part: &Part) -> Bit {
    Bit {
        week,
        conversation: 0,
        agent: Agent::ClaudeCode,
        commit_row: part.commit_row,
        may_leave: part.may_leave,
        prompts: 0,
        turns: 0,
        tool_calls: 0,
        failed_calls: 0,
        tokens_input: 0,
        tokens_output: 0,
    }
}

/// By the index, a bit for each week. Tokens have no time: they are of the week that the part began in.
fn of_part(part: &Part, (first, last): (Week, Week), tools: &mut BTreeMap<String, Calls>) -> BTreeMap<Week, Bit> {
    let mut bits = BTreeMap::new();
    for number in 1..=part.index.len() {
        let Some(entry) = part.index.get(number) else { continue };
        let week = Week::of(entry.at);
        if !(first..=last).contains(&week) {
            continue;
        }
        let bit: &mut Bit = bits.entry(week).or_insert_with(|| empty(week, part));
        bit.turns += 1;
        bit.prompts += u64::from(entry.role == Role::User);
        if let Some(name) = part.index.tool_name(&entry) {
            bit.tool_calls += 1;
            tools.entry(name.to_owned()).or_default().calls += 1;
        }
    }
    let began = Week::of(part.started_at);
    if (first..=last).contains(&began) && part.tokens_input + part.tokens_output > 0 {
        let bit = bits.entry(began).or_insert_with(|| empty(began, part));
        (bit.tokens_input, bit.tokens_output) = (part.tokens_input, part.tokens_output);
    }
    bits
}

/// What only the turn itself says.
fn note(part: &Part, said: &Said, bits: &mut BTreeMap<Week, Bit>, found: &mut Gathered) {
    // What the index does not list is deleted.
    let Some(entry) = part.index.get(said.number) else { return };
    let Some(bit) = bits.get_mut(&Week::of(entry.at)) else { return };
    if let (true, Some(name)) = (said.failed, part.index.tool_name(&entry)) {
        bit.failed_calls += 1;
        found.tools.entry(name.to_owned()).or_default().failed += 1;
    }
    let model = said.model.as_deref().unwrap_or("unknown");
    match found.models.get_mut(model) {
        Some(turns) => *turns += 1,
        None => drop(found.models.insert(model.to_owned(), 1)),
    }
}
