//! What ties sessions together once their files are read: subagents to the session that started them, titles to the session
//! they are about, names to commits.

use rusqlite::params;

use super::assemble::{give_commit, native_turn_id, prompt_title, session_short};
use super::part::Part;
use super::project::Resolver;
use super::record::Title;
use super::title;
use crate::model::{Agent, Commit, Millis, Role, Session};
use crate::render;
use crate::store::commits::{self, TitleRank};
use crate::store::forget::{self, Removed};
use crate::store::{ChangeKind, Result, Transaction, raw, sessions, turns, visuals};

/// Blocks of a record that a title may point at.
const MAX_BLOCKS: usize = 8;

/// Puts a subagent under the part of its parent that started it. Leaves it alone when the parent is not there (yet).
///
/// # Errors
/// When the database cannot be read or written.
pub fn attach(tx: &mut Transaction<'_>, part: &mut Part, parent_native: &str, at: Millis) -> Result<()> {
    let session = &mut part.session;
    let Some(parent) = parent_of(tx, session, parent_native, at)? else { return Ok(()) };
    if sessions::is_forgotten(tx, &parent)? {
        return forget_too(tx, part);
    }
    let Some(commit_row) = parent.commit_row else { return Ok(()) };
    let ordinal = sessions::next_ordinal(tx, commit_row, Some(parent.row))?;
    session.parent_row = Some(parent.row);
    session.commit_row = Some(commit_row);
    session.dir_name = render::subagent_dir_name(ordinal, session.subagent_kind.as_deref(), &session_short(session));
    if session.images > 0 {
        visuals::move_session(tx, session.row, commit_row)?;
    }
    part.hidden.ordinal = ordinal;
    part.touch();
    // At once, so that the next one gets the next number.
    part.save(tx)?;
    tx.changes.add(ChangeKind::SessionSubagents, parent.row);
    Ok(())
}

/// Forgets a subagent whose session is forgotten.
fn forget_too(tx: &mut Transaction<'_>, part: &mut Part) -> Result<()> {
    part.save(tx)?;
    raw::settle(tx)?;
    let (row, alone) = (part.session.row, part.session.commit_row);
    let mut removed = Removed::default();
    forget::begin(tx)?;
    forget::session(tx, row, &mut removed)?;
    forget::usage(tx)?;
    if let Some(commit) = alone.map(|row| commits::get(tx, row)).transpose()?.flatten() {
        forget::leave_commit(tx, &commit, &mut removed)?;
    }
    *part = Part::load(tx, row)?;
    part.place_tried = true;
    Ok(())
}

fn parent_of(tx: &Transaction<'_>, session: &Session, parent_native: &str, at: Millis) -> Result<Option<Session>> {
    let found = match sessions::linked_parent(tx, session.agent, &session.native_id)? {
        Some(row) => sessions::get(tx, row)?,
        None => {
            // The log does not say which call started it: the part that was going on then.
            let mut parts = sessions::parts(tx, session.agent, parent_native)?;
            let mut shown = Vec::with_capacity(parts.len());
            for p in parts.drain(..).filter(|p| p.row != session.row) {
                if p.commit_row.is_some() || sessions::is_forgotten(tx, &p)? {
                    shown.push(p);
                }
            }
            parts = shown;
            let going_on = parts.iter().rposition(|p| p.started_at <= at).unwrap_or(0);
            if parts.is_empty() { None } else { Some(parts.swap_remove(going_on)) }
        }
    };
    match found {
        Some(parent) if is_of(tx, &parent, session)? => Ok(None),
        found => Ok(found),
    }
}

/// Whether a session is another, or was started by it: a damaged log may say that two sessions started each other, or one
/// itself.
fn is_of(tx: &Transaction<'_>, session: &Session, other: &Session) -> Result<bool> {
    let mut next = Some(session.clone());
    while let Some(session) = next {
        if (session.agent, &session.native_id) == (other.agent, &other.native_id) {
            return Ok(true);
        }
        next = session.parent_row.map(|row| sessions::get(tx, row)).transpose()?.flatten();
    }
    Ok(false)
}

/// Ends an import: subagents whose parent came later find it, those without one get a commit of their own, and titles find
/// the sessions they are about.
///
/// # Errors
/// When the database cannot be read or written.
pub fn link_all(tx: &mut Transaction<'_>, projects: &mut Resolver) -> Result<()> {
    for (row, parent_native) in sessions::unlinked(tx)? {
        let mut part = Part::load(tx, row)?;
        if part.session.turns == 0 {
            continue;
        }
        let alone = part.session.commit_row;
        let started_at = part.session.started_at;
        attach(tx, &mut part, &parent_native, started_at)?;
        if part.hidden.forgotten {
            continue;
        }
        if part.session.parent_row.is_some() {
            let alone = alone.map(|row| commits::get(tx, row)).transpose()?.flatten();
            if let (Some(commit), Some(into)) = (alone, part.session.commit_row) {
                commits::dissolve(tx, &commit, into)?;
            }
        } else if alone.is_none() {
            stand_alone(tx, projects, &mut part)?;
        }
    }
    let pending: Vec<(String, String, String)> = tx
        .prepare_cached("SELECT agent, leaf, title FROM pending_titles")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (agent, leaf, text) in pending {
        let Some(agent) = Agent::parse(&agent) else { continue };
        if let Some(session) = session_of_record(tx, agent, &leaf)? {
            give_title(tx, agent, &session.native_id, &text)?;
            tx.execute("DELETE FROM pending_titles WHERE agent = ?1 AND leaf = ?2", params![agent.as_str(), leaf])?;
        }
    }
    Ok(())
}

/// Gives a commit of its own to a subagent whose session is in no log that was imported.
///
/// # Errors
/// When the database cannot be read or written.
pub fn stand_alone(tx: &mut Transaction<'_>, projects: &mut Resolver, part: &mut Part) -> Result<()> {
    let project = projects.resolve(tx, &part.place())?;
    let at = part.session.started_at;
    give_commit(tx, part, project, "", TitleRank::None, at)?;
    part.save(tx)?;
    if let Some(commit_row) = part.session.commit_row {
        visuals::move_session(tx, part.session.row, commit_row)?;
        commits::refresh(tx, commit_row)?;
        name_commit(tx, commit_row)?;
    }
    Ok(())
}

/// Gives a session the agent's own title.
///
/// # Errors
/// When the database cannot be read or written.
pub fn apply_title(tx: &mut Transaction<'_>, agent: Agent, native_id: &str, title: &Title) -> Result<()> {
    let Some(leaf) = &title.leaf else { return give_title(tx, agent, native_id, &title.text) };
    match session_of_record(tx, agent, leaf)? {
        Some(session) => give_title(tx, agent, &session.native_id, &title.text),
        None => {
            tx.prepare_cached("INSERT OR REPLACE INTO pending_titles(agent, leaf, title) VALUES (?1, ?2, ?3)")?
                .execute(params![agent.as_str(), leaf, title.text])?;
            Ok(())
        }
    }
}

fn session_of_record(tx: &Transaction<'_>, agent: Agent, leaf: &str) -> Result<Option<Session>> {
    for block in 0..MAX_BLOCKS {
        if let Some(row) = turns::row_by_id(tx, &native_turn_id(agent, &format!("{leaf}#{block}")))? {
            return sessions::get(tx, turns::parts_of(row).0);
        }
    }
    Ok(None)
}

fn give_title(tx: &mut Transaction<'_>, agent: Agent, native_id: &str, text: &str) -> Result<()> {
    let text = title::shorten(text);
    if text.is_empty() {
        return Ok(());
    }
    for part in sessions::parts(tx, agent, native_id)? {
        if part.title.as_deref() == Some(text.as_str()) || sessions::is_forgotten(tx, &part)? {
            continue;
        }
        tx.prepare_cached("UPDATE sessions SET title = ?2, updated_at = ?3 WHERE row = ?1")?.execute(params![
            part.row,
            text,
            Millis::now().0
        ])?;
        tx.changes.add(ChangeKind::Session, part.row);
        if let Some(commit_row) = part.commit_row {
            name_commit(tx, commit_row)?;
        }
    }
    Ok(())
}

/// Names a commit after its first session: the agent's title for a session's first part; else the first prompt's first
/// sentence; else what git was told.
///
/// # Errors
/// When the database cannot be read or written.
pub fn name_commit(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let Some(commit) = commits::get(tx, commit_row)? else { return Ok(()) };
    // A user's title stays; what is found meanwhile is kept for when it is taken away.
    let (known_title, known) = commits::curated::found_title(tx, &commit)?;
    let found = find_title(tx, &commit, known)?;
    let Some((text, rank)) = found.filter(|(text, _)| !text.is_empty()) else { return Ok(()) };
    if text == known_title && rank as u8 == known {
        return Ok(());
    }
    let dir_name = render::commit_dir_name(commit.started_at, &text, &commit.id.short());
    let dir_name = commits::free_dir_name(tx, &dir_name, &commit.id)?;
    commits::retitle(tx, &commit, &text, rank, &dir_name)
}

/// Names a commit of which something was forgotten as if it had no name yet.
///
/// # Errors
/// When the database cannot be read or written.
pub fn rename_commit(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let Some(commit) = commits::get(tx, commit_row)? else { return Ok(()) };
    let found = find_title(tx, &commit, TitleRank::None as u8)?.filter(|(text, _)| !text.is_empty());
    let (text, rank) = found.unwrap_or((String::new(), TitleRank::None));
    if text == commit.title {
        return Ok(());
    }
    let dir_name = render::commit_dir_name(commit.started_at, &text, &commit.id.short());
    let dir_name = commits::free_dir_name(tx, &dir_name, &commit.id)?;
    commits::set_title(tx, &commit, &text, rank, &dir_name)
}

fn find_title(tx: &Transaction<'_>, commit: &Commit, known: u8) -> Result<Option<(String, TitleRank)>> {
    let parts = sessions::all_of_commit(tx, commit.row)?;
    if let Some(title) = parts.first().filter(|p| p.part == 1).and_then(|p| p.title.clone()) {
        return Ok(Some((title, TitleRank::Agent)));
    }
    if known < TitleRank::Prompt as u8
        && let Some(title) = first_said(tx, &parts, Role::User)?
    {
        return Ok(Some((title, TitleRank::Prompt)));
    }
    if known < TitleRank::GitSubject as u8
        && let Some(subject) = &commit.git_subject
    {
        return Ok(Some((title::shorten(subject), TitleRank::GitSubject)));
    }
    if known == TitleRank::None as u8
        && let Some(title) = first_said(tx, &parts, Role::Assistant)?
    {
        return Ok(Some((title, TitleRank::Answer)));
    }
    Ok(None)
}

/// The first sentence of the first turn of a role that has one.
fn first_said(tx: &Transaction<'_>, parts: &[Session], role: Role) -> Result<Option<String>> {
    for part in parts {
        let Some(index) = sessions::turn_index(tx, part.row)? else { continue };
        for number in (1..=index.len()).filter(|n| index.get(*n).is_some_and(|e| e.role == role)) {
            let turn = turns::get(tx, turns::row_of(part.row, number))?;
            if let Some(title) = turn.as_ref().and_then(prompt_title) {
                return Ok(Some(title));
            }
        }
    }
    Ok(None)
}
