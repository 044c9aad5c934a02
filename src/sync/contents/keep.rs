//! Fetched contents into the store: a session is here as a whole, or not at all.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::cloud::wire::FetchedSession;
use crate::derived;
use crate::model::{ContentsAt, Id, Millis, Role, Session, ToolStatus};
use crate::store::index::{MAX_TURNS, TurnIndex};
use crate::store::turns::{self, Whole};
use crate::store::{ChangeKind, Result, Transaction, commits::curated, fetched, raw, sessions, sources, told, visuals};
use crate::sync::facts;
use crate::upkeep::repair;

/// What became of fetched contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// They are here.
    Done,
    /// Nothing was to be done: they are here from a log of this machine, or the session has no place here.
    NotWanted,
    /// They are not what the session's facts tell, or damaged: nothing was stored.
    Refused { reason: String },
}

/// Stores the contents of a session, all of them, with its row. Lengths that turn out otherwise than the facts say are computed
/// anew and announced.
///
/// # Errors
/// When the database cannot be written. What is wrong with the contents is no error.
pub fn store(tx: &mut Transaction<'_>, fetched: &FetchedSession) -> Result<Stored> {
    if let facts::Applied::Refused { reason } = facts::apply(tx, &fetched.row)? {
        return Ok(Stored::Refused { reason });
    }
    let Some(session) = sessions::by_id(tx, &fetched.row.id)?.filter(|session| session.commit_row.is_some()) else {
        return Ok(Stored::NotWanted);
    };
    if session.contents == ContentsAt::Here {
        return Ok(Stored::NotWanted);
    }
    let index = sessions::turn_index(tx, session.row)?.unwrap_or_default();
    if let Err(reason) = check(&session, &index, fetched) {
        return Ok(Stored::Refused { reason });
    }
    told::pause(tx)?;
    let done = write(tx, &session, &index, fetched);
    told::resume(tx)?;
    done.map(|()| Stored::Done)
}

/// Whether all is there that the facts tell of, and is what it says.
fn check(session: &Session, index: &TurnIndex, fetched: &FetchedSession) -> std::result::Result<(), String> {
    let mut numbers = BTreeSet::new();
    for turn in &fetched.turns {
        if !(1..=MAX_TURNS).contains(&turn.number) || !numbers.insert(turn.number) {
            return Err(format!("turn {} of session {} is given twice or is none", turn.number, session.id));
        }
        if turn.role != 0 && Role::from_u8(turn.role).is_none() || ToolStatus::from_u8(turn.tool_status).is_none() {
            return Err(format!("turn {} of session {} is of an unknown kind", turn.number, session.id));
        }
    }
    let listed = |number: &u32| index.get(*number).is_some() || index.is_deleted(*number);
    let missing = (1..=index.len()).filter(listed).filter(|number| !numbers.contains(number)).count();
    if missing > 0 {
        return Err(format!("{missing} turns of session {} are not there (yet)", session.id));
    }
    let (mut bytes, mut chunks) = (0_u64, BTreeSet::new());
    for chunk in &fetched.raw {
        let length = usize::try_from(chunk.length).unwrap_or(usize::MAX);
        if chunk.number > MAX_TURNS || !chunks.insert(chunk.number) {
            return Err(format!("chunk {} of session {} is given twice or is none", chunk.number, session.id));
        }
        if length > 0 && raw::unpack(session.row, &(length, chunk.data.0.clone())).is_err() {
            return Err(format!("chunk {} of session {} is damaged", chunk.number, session.id));
        }
        bytes += chunk.length;
    }
    if bytes < session.raw_bytes {
        return Err(format!("{} bytes of session {} are not there (yet)", session.raw_bytes - bytes, session.id));
    }
    Ok(())
}

fn write(tx: &mut Transaction<'_>, session: &Session, before: &TurnIndex, fetched: &FetchedSession) -> Result<()> {
    give_away(tx, session.row)?;
    for turn in &fetched.turns {
        let turn = turn.clone();
        let whole = Whole {
            number: turn.number,
            id: turn.id,
            role: turn.role,
            at: turn.at,
            model: turn.model,
            label: turn.label,
            images: turn.images,
            tool_name: turn.tool_name,
            tool_call_id: turn.tool_call_id,
            tool_status: turn.tool_status,
            text: turn.text,
            tool_input: turn.tool_input,
            tool_output: turn.tool_output,
        };
        turns::put(tx, session.row, &whole)?;
    }
    let mut chunks: Vec<_> = fetched.raw.iter().filter(|chunk| chunk.length > 0).collect();
    chunks.sort_unstable_by_key(|chunk| chunk.number);
    let mut start = 0;
    for (number, chunk) in (0..).zip(chunks) {
        let length = usize::try_from(chunk.length).unwrap_or(usize::MAX);
        raw::put(tx, session.row, number, start, &(length, chunk.data.0.clone()))?;
        start += chunk.length;
    }
    for cost in &fetched.usage {
        keep_cost(tx, session.row, cost)?;
    }
    tx.execute(
        "UPDATE turns SET deleted_at = (SELECT d.deleted_at FROM deleted_elsewhere d WHERE d.turn_row = turns.row)
         WHERE row IN (SELECT turn_row FROM deleted_elsewhere WHERE turn_row BETWEEN ?1 AND ?2)",
        [session.row << 16, (session.row << 16) + 65_535],
    )?;
    tx.execute(
        "DELETE FROM deleted_elsewhere WHERE turn_row BETWEEN ?1 AND ?2",
        [session.row << 16, (session.row << 16) + 65_535],
    )?;
    visuals::recount(tx, session.row)?;
    sessions::set_contents(tx, session.row, ContentsAt::Fetched)?;
    settle(tx, session, before)?;
    tx.changes.add(ChangeKind::Session, session.row);
    session.commit_row.map_or(Ok(()), |commit| curated::set_status(tx, commit))
}

/// The lengths and counters that follow from what is here now.
fn settle(tx: &mut Transaction<'_>, session: &Session, before: &TurnIndex) -> Result<()> {
    let (right, index) = derived::session(tx, session)?;
    if (right.sections, &index) != (session.sections, before) {
        sessions::save_lengths(tx, session.row, &right.sections, &index)?;
        repair::announce(tx, session.row, before, &index);
    }
    if repair::counters(&right) != repair::counters(session) {
        sessions::save_counters(tx, &right)?;
    }
    let husks = u32::try_from(turns::forgotten(tx, session.row)?.len()).unwrap_or(u32::MAX);
    sessions::save_forgotten_turns(tx, session.row, husks)
}

fn keep_cost(tx: &Transaction<'_>, session_row: i64, cost: &crate::cloud::wire::UsageContents) -> Result<()> {
    let tokens = cost.tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX).min(1 << 40));
    let added = tx
        .prepare_cached(
            "INSERT OR IGNORE INTO usage_new(key, session_row, model, input, output, cache_read, cache_write)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE NOT EXISTS (SELECT 1 FROM usage_sorted WHERE key = ?1)",
        )?
        .execute(params![cost.key.0, session_row, cost.model, tokens[0], tokens[1], tokens[2], tokens[3]])?;
    if added > 0 {
        // Of a copy nothing is sent: this says which costs are its, for when it goes.
        tx.prepare_cached("INSERT OR IGNORE INTO unsent_usage(session_row, key) VALUES (?1, ?2)")?
            .execute(params![session_row, cost.key.0])?;
    }
    Ok(())
}

/// Removes contents that are a copy of what is elsewhere. What is known of the session stays.
fn give_away(tx: &mut Transaction<'_>, session_row: i64) -> Result<()> {
    turns::give_away(tx, session_row)?;
    raw::replace(tx, session_row, &[])?;
    sessions::give_away_usage(tx, session_row)
}

/// Gives the contents of a session back that were fetched: they are elsewhere again.
///
/// # Errors
/// When SQLite cannot write.
pub fn give_back(tx: &mut Transaction<'_>, session: &Session) -> Result<()> {
    told::pause(tx)?;
    give_away(tx, session.row)?;
    sessions::set_contents(tx, session.row, ContentsAt::Elsewhere)?;
    fetched::remove(tx, session.row)?;
    tx.changes.add(ChangeKind::Session, session.row);
    if let Some(commit) = session.commit_row {
        curated::set_status(tx, commit)?;
    }
    told::resume(tx)
}

/// Gives the contents of a session up that a log of this machine brought: the cloud's are all that there is from here on. Once its log
/// grows, it brings them again.
///
/// # Errors
/// When SQLite cannot write.
pub fn give_up(tx: &mut Transaction<'_>, session: &Session) -> Result<()> {
    told::pause(tx)?;
    superseded(tx, session)?;
    told::resume(tx)?;
    give_back(tx, session)
}

/// The contents of a session of this machine's are those that the cloud has: what is here is a copy of a part of them.
pub(crate) fn superseded(tx: &mut Transaction<'_>, session: &Session) -> Result<()> {
    deleted_there(tx, session.row)?;
    told::superseded(tx, session.row)?;
    let log = session.native_id.split_once("/inline-").map_or(session.native_id.as_str(), |(log, _)| log);
    sources::read_anew(tx, session.agent, log)
}

/// Turns that are deleted stay that while the session's contents are elsewhere.
pub(crate) fn deleted_there(tx: &mut Transaction<'_>, session_row: i64) -> Result<()> {
    for (row, at) in turns::deleted(tx, session_row)? {
        tx.prepare_cached(
            "INSERT OR REPLACE INTO deleted_elsewhere(turn_row, deleted_at, turn_id)
             SELECT row, ?2, id FROM turns WHERE row = ?1",
        )?
        .execute([row, at.0])?;
        // One place says it: an edit would change this one alone.
        turns::set_deleted(tx, row, None)?;
    }
    Ok(())
}

/// A log of this machine brings a session of which the contents are elsewhere, or copies of them here: it takes them over. Its parts
/// are empty from here on, until the log fills them; those that it does not bring stay elsewhere.
///
/// # Errors
/// When SQLite cannot write.
pub fn take_over(tx: &mut Transaction<'_>, parts: &[Session]) -> Result<()> {
    for part in parts {
        // The log may be shorter than another machine's: then that one's facts come again, with the answer to this one's.
        told::forget_pulled(tx, told::Facts::Session, part.row)?;
        // What a shorter log brought before another machine's longer one superseded it is brought again.
        if part.contents == ContentsAt::Elsewhere && turns::last(tx, part.row)?.is_none() {
            continue;
        }
        give_away(tx, part.row)?;
        sessions::set_contents(tx, part.row, ContentsAt::Elsewhere)?;
        tx.changes.add(ChangeKind::Session, part.row);
    }
    Ok(())
}

/// Marks a turn whose contents are elsewhere as deleted, or takes that back; false when there is no such turn. One that is here is
/// the curation's.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_turn_deleted(
    tx: &mut Transaction<'_>,
    session_row: i64,
    (number, id): (u32, Id),
    at: Option<Millis>,
) -> Result<bool> {
    let Some(mut session) = sessions::get(tx, session_row)? else { return Ok(false) };
    let Some(mut index) = sessions::turn_index(tx, session_row)? else { return Ok(false) };
    let before = index.clone();
    let row = turns::row_of(session_row, number);
    match at {
        Some(at) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO deleted_elsewhere(turn_row, deleted_at, turn_id) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![row, at.0, id.0])?,
        None => tx.prepare_cached("DELETE FROM deleted_elsewhere WHERE turn_row = ?1")?.execute([row])?,
    };
    if index.is_deleted(number) == at.is_some() {
        return Ok(true);
    }
    if at.is_some() {
        leave_out(&mut session, &index, number);
    }
    index.set_deleted(number, at.is_some());
    if at.is_none() {
        bring_back(&mut session, &index, number);
    }
    sessions::save_lengths(tx, session_row, &session.sections, &index)?;
    sessions::save_counters(tx, &session)?;
    repair::announce(tx, session_row, &before, &index);
    Ok(true)
}

/// Takes what is deleted of a session, whose contents are elsewhere, out of its index and counters.
pub(crate) fn leave_out_deleted(conn: &Connection, session: &mut Session, index: &mut TurnIndex) -> Result<()> {
    let rows: Vec<i64> = conn
        .prepare_cached("SELECT turn_row FROM deleted_elsewhere WHERE turn_row BETWEEN ?1 AND ?2")?
        .query_map([session.row << 16, (session.row << 16) + 65_535], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for row in rows {
        let number = turns::parts_of(row).1;
        leave_out(session, index, number);
        index.set_deleted(number, true);
    }
    Ok(())
}

fn leave_out(session: &mut Session, index: &TurnIndex, number: u32) {
    let Some(entry) = index.get(number) else { return };
    session.turns = session.turns.saturating_sub(1);
    session.prompts = session.prompts.saturating_sub(u32::from(entry.role == Role::User));
    session.tool_calls = session.tool_calls.saturating_sub(u32::from(entry.role == Role::Tool));
}

fn bring_back(session: &mut Session, index: &TurnIndex, number: u32) {
    let Some(entry) = index.get(number) else { return };
    session.turns += 1;
    session.prompts += u32::from(entry.role == Role::User);
    session.tool_calls += u32::from(entry.role == Role::Tool);
}

/// The session of an id, where its contents are elsewhere: what there is to fetch.
///
/// # Errors
/// When SQLite cannot read.
pub fn elsewhere(conn: &Connection, id: &Id) -> Result<Option<i64>> {
    Ok(sessions::by_id(conn, id)?
        .filter(|session| session.contents == ContentsAt::Elsewhere)
        .map(|session| session.row))
}
