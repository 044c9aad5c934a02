//! What follows from a session's turns, pictures and raw records: lengths, counters, the packed index. An import keeps them
//! up as it writes (`ingest::part`); here they are computed from what is stored, all at once: for a repair, for lengths that
//! another version of the renderer left, and for tests, which hold that both ways agree.
//!
//! Only reads. Writing what differs is `upkeep`'s.

use rusqlite::Connection;

use crate::model::{ContentsAt, Role, SectionSize, Session, Turn};
use crate::render;
use crate::store::index::{Entry, TurnIndex};
use crate::store::{Result, raw, turns, visuals};

/// Rendered lengths of a session, by this program's renderer.
#[derive(Debug, Clone, Default)]
pub struct Lengths {
    pub index: TurnIndex,
    pub sections: SectionSize,
}

/// Whether stored lengths are those of this program's renderer. Another version's are as wrong when it is newer.
#[must_use]
pub fn is_current(render_version: u32) -> bool {
    render_version == render::VERSION
}

/// Enters a turn into an index, with the length of its file and the links to visuals in it ([`render::turn_len`]).
pub fn enter(index: &mut TurnIndex, turn: &Turn, (bytes, visual_links): (u64, u64)) {
    let tool_name = turn.tool.as_ref().map_or(0, |t| index.name_number(&t.name));
    let entry = Entry {
        role: turn.role,
        visual_links: u8::try_from(visual_links).unwrap_or(u8::MAX),
        tool_name,
        bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
        at: turn.at,
    };
    index.set(turn.number, &entry);
}

/// The lengths of a session.
///
/// # Errors
/// When the database cannot be read.
pub fn lengths(conn: &Connection, row: i64) -> Result<Lengths> {
    let mut lengths =
        Lengths { index: TurnIndex { render_version: render::VERSION, ..TurnIndex::default() }, ..Lengths::default() };
    turns::for_each_stored(conn, row, |turn, deleted| {
        let (section, file) = render::turn_sizes(&turn);
        enter(&mut lengths.index, &turn, file);
        lengths.index.set_deleted(turn.number, deleted);
        if !deleted {
            lengths.sections += section;
        }
    })?;
    lengths.index.grow_to(turns::last(conn, row)?.unwrap_or(0));
    Ok(lengths)
}

/// The size of a session's turns in its transcript: stored where this program's renderer made it, else computed.
///
/// # Errors
/// When the database cannot be read.
pub fn sections(conn: &Connection, session: &Session) -> Result<SectionSize> {
    // What is elsewhere cannot be measured: what was said of it holds until it is here.
    if is_current(session.render_version) || session.contents == ContentsAt::Elsewhere {
        return Ok(session.sections);
    }
    let mut size = SectionSize::default();
    turns::for_each(conn, session.row, |turn| size += render::section_size(&turn))?;
    Ok(size)
}

/// A session's row as it should be, with its index. What does not follow from its turns is taken over; tokens are summed up
/// elsewhere, for all sessions at once (`store::sessions::wrong_tokens`).
///
/// # Errors
/// When the database cannot be read, or its raw records do not decompress.
pub fn session(conn: &Connection, stored: &Session) -> Result<(Session, TurnIndex)> {
    let mut new = Session {
        turns: 0,
        prompts: 0,
        tool_calls: 0,
        models: Vec::new(),
        sections: SectionSize::default(),
        render_version: render::VERSION,
        ..stored.clone()
    };
    let mut index = TurnIndex { render_version: render::VERSION, ..TurnIndex::default() };
    turns::for_each_stored(conn, stored.row, |turn, deleted| {
        note(&mut new, &turn, index.is_empty());
        let (section, file) = render::turn_sizes(&turn);
        enter(&mut index, &turn, file);
        new.sections += section;
        if deleted {
            index.set_deleted(turn.number, true);
            leave_out(&mut new, &turn);
        }
    })?;
    // Forgotten turns keep their numbers.
    index.grow_to(turns::last(conn, stored.row)?.unwrap_or(0));
    new.images = visuals::of_session(conn, stored.row)?;
    (new.raw_bytes, new.raw_records) = raw::measure(conn, stored.row)?;
    Ok((new, index))
}

/// Counts a turn that is new to a session, and takes its time and model.
pub fn note(session: &mut Session, turn: &Turn, is_first: bool) {
    session.turns += 1;
    match turn.role {
        Role::User => session.prompts += 1,
        Role::Tool => session.tool_calls += 1,
        Role::Assistant | Role::Thinking | Role::System => {}
    }
    if is_first {
        (session.started_at, session.ended_at) = (turn.at, turn.at);
    }
    session.started_at = session.started_at.min(turn.at);
    session.ended_at = session.ended_at.max(turn.at);
    if let Some(model) = &turn.model
        && !session.models.contains(model)
    {
        session.models.push(model.clone());
    }
}

/// Takes a deleted turn out of what is counted and shown of a session. Its times and models stay.
pub fn leave_out(session: &mut Session, turn: &Turn) {
    session.turns = session.turns.saturating_sub(1);
    match turn.role {
        Role::User => session.prompts = session.prompts.saturating_sub(1),
        Role::Tool => session.tool_calls = session.tool_calls.saturating_sub(1),
        Role::Assistant | Role::Thinking | Role::System => {}
    }
    session.sections -= render::section_size(turn);
}

/// Takes back [`leave_out`].
pub fn bring_back(session: &mut Session, turn: &Turn) {
    session.turns += 1;
    match turn.role {
        Role::User => session.prompts += 1,
        Role::Tool => session.tool_calls += 1,
        Role::Assistant | Role::Thinking | Role::System => {}
    }
    session.sections += render::section_size(turn);
}
