//! Sessions of other machines.

use rusqlite::{OptionalExtension, params};

use super::super::checks::{self, safe_name};
use super::super::export::rank;
use super::{Applied, WRITTEN, read, refused, waits};
use crate::cloud::wire::{Row, SessionFacts};
use crate::model::{Agent, ContentsAt, Id, SectionSize, Session, Tokens};
use crate::store::commits::{self, curated};
use crate::store::facets::{self, FacetKind, Place};
use crate::store::index::{self, TurnIndex};
use crate::store::told::{self, Facts};
use crate::store::visuals::{self, NewVisual};
use crate::store::{ChangeKind, Result, Transaction, gone, machines, sessions, turns};
use crate::sync::contents;
use crate::upkeep::repair;
use crate::{derived, render};

/// Parts of the longest path of a file that a commit is found by.
pub(super) const DEEPEST: usize = 64;

/// What a session is put beside, as rows.
struct Around {
    machine: i64,
    commit: i64,
    parent: Option<i64>,
}

pub(super) fn apply(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    let (facts, hash): (SessionFacts, Id) = match read(row) {
        Ok(read) => read,
        Err(refused) => return Ok(refused),
    };
    let agent = match checks::session(&row.id, &facts) {
        Ok(agent) => agent,
        Err(why) => return Ok(refused(row, &why)),
    };
    let around = match around(tx, row, &facts)? {
        Ok(around) => around,
        Err(parent) => return waits(tx, row, parent),
    };
    let known = sessions::by_id(tx, &row.id)?;
    if let Some(known) = &known {
        if sessions::is_forgotten(tx, known)? || told::is_last_pulled(tx, Facts::Session, known.row, &hash)? {
            return Ok(Applied::Unchanged);
        }
        let index = sessions::turn_index(tx, known.row)?.unwrap_or_default();
        let own = rank(index.len(), known.raw_records);
        // What is here was read from the log itself.
        if known.contents == ContentsAt::Here && row.rank.min(rank(facts.last_turn, facts.raw_records)) <= own {
            told::met(tx, Facts::Session, known.row, &hash)?;
            if row.rank < own {
                send_again(tx, known.row)?;
            }
            return Ok(Applied::Unchanged);
        }
    }
    let session_row = match &known {
        Some(known) => known.row,
        None => sessions::create_elsewhere(tx, &row.id, agent, &facts.native_id, facts.part, around.machine)?,
    };
    write(tx, session_row, known.as_ref(), agent, &around, &facts)?;
    told::pulled(tx, Facts::Session, session_row, &hash)?;
    Ok(WRITTEN)
}

/// The cloud has less than it was sent: it had removed that, and another machine sent what a shorter log says.
fn send_again(tx: &Transaction<'_>, row: i64) -> Result<()> {
    let (version, sent) = told::version(tx, Facts::Session, row)?;
    if version == sent {
        told::unknown(tx, Facts::Session, row)?;
        told::no_contents(tx, row)?;
    }
    Ok(())
}

/// The rows that a session refers to, or the id of one that did not come yet.
fn around(tx: &Transaction<'_>, row: &Row, facts: &SessionFacts) -> Result<std::result::Result<Around, Id>> {
    let Some(machine) = machines::by_id(tx, &facts.machine)? else { return Ok(Err(facts.machine)) };
    let commit_id = gone::now(tx, &facts.commit)?;
    let Some(commit) = commits::by_id(tx, &commit_id)? else { return Ok(Err(commit_id)) };
    let parent = match facts.parent {
        // Two sessions that started each other would never be shown.
        Some(parent) if parent == row.id || sessions::is_below(tx, &parent, &row.id)? => None,
        Some(parent) => match sessions::by_id(tx, &parent)? {
            Some(parent) => Some(parent.row),
            None => return Ok(Err(parent)),
        },
        None => None,
    };
    Ok(Ok(Around { machine, commit: commit.row, parent }))
}

fn write(
    tx: &mut Transaction<'_>,
    row: i64,
    known: Option<&Session>,
    agent: Agent,
    around: &Around,
    facts: &SessionFacts,
) -> Result<()> {
    let before = sessions::turn_index(tx, row)?.unwrap_or_default();
    let mut index = TurnIndex {
        packed: facts.turn_index.0.clone(),
        tool_names: facts.tool_names.clone(),
        render_version: facts.render_version,
    };
    index::set_none_deleted(&mut index.packed);
    let contents = contents_at(tx, known, &before, &index, facts)?;
    let (ordinal, dir_name) = name(tx, row, agent, around, facts)?;
    set_columns(tx, row, agent, around, facts, (ordinal, &dir_name))?;
    let Some(mut session) = sessions::get(tx, row)? else { return Ok(()) };
    if contents == ContentsAt::Fetched {
        // What is deleted is said by the turns themselves.
        (session, index) = derived::session(tx, &session)?;
    } else {
        contents::leave_out_deleted(tx, &mut session, &mut index)?;
    }
    sessions::save_lengths(tx, row, &session.sections, &index)?;
    sessions::save_counters(tx, &session)?;
    sessions::set_contents(tx, row, contents)?;
    tx.prepare_cached("UPDATE sessions SET updated_at = ?2 WHERE row = ?1")?
        .execute(params![row, facts.updated_at.0])?;
    sessions::number_by_time(tx, around.commit)?;
    pictures(tx, row, around.commit, facts)?;
    file(tx, around, agent, facts)?;
    // Of one that is new nobody was told anything yet.
    if known.is_some() {
        repair::announce(tx, row, &before, &index);
    }
    announce(tx, row, known, around);
    refresh(tx, around.commit)?;
    if let Some(former) = known.and_then(|known| known.commit_row).filter(|former| *former != around.commit) {
        refresh(tx, former)?;
        leave_empty(tx, former, around.commit)?;
    }
    Ok(())
}

/// A commit whose last session turned out to lie in an earlier one is a part of that; so is one that the cloud was never told of, of
/// which nobody else will say it.
fn leave_empty(tx: &mut Transaction<'_>, former: i64, into: i64) -> Result<()> {
    if !sessions::all_of_commit(tx, former)?.is_empty() {
        return Ok(());
    }
    let (Some(from), Some(into)) = (commits::get(tx, former)?, commits::get(tx, into)?) else { return Ok(()) };
    let is_later = (from.started_at, from.id) > (into.started_at, into.id);
    if is_later || !told::is_known(tx, Facts::Commit, from.row)? {
        commits::merge_under(tx, &from, &into, false)?;
        sessions::number_by_time(tx, into.row)?;
    }
    Ok(())
}

/// Contents that are here stay, if they are those that the facts tell of.
fn contents_at(
    tx: &mut Transaction<'_>,
    known: Option<&Session>,
    before: &TurnIndex,
    index: &TurnIndex,
    facts: &SessionFacts,
) -> Result<ContentsAt> {
    let Some(known) = known.filter(|known| known.contents != ContentsAt::Elsewhere) else {
        return Ok(ContentsAt::Elsewhere);
    };
    let mut shown = before.clone();
    for number in 1..=shown.len() {
        shown.set_deleted(number, false);
    }
    let is_same = (&shown.packed, known.raw_bytes) == (&index.packed, facts.raw_bytes);
    if is_same && known.contents == ContentsAt::Fetched {
        return Ok(ContentsAt::Fetched);
    }
    match known.contents {
        ContentsAt::Here => contents::superseded(tx, known)?,
        _ => contents::deleted_there(tx, known.row)?,
    }
    Ok(ContentsAt::Elsewhere)
}

/// The number and the directory's name: as they were sent, where both are free beside its like.
fn name(tx: &Transaction<'_>, row: i64, agent: Agent, around: &Around, facts: &SessionFacts) -> Result<(u32, String)> {
    let short = || Id::derive(&[b"native", agent.as_str().as_bytes(), facts.native_id.as_bytes()]).short();
    let made = |ordinal| match around.parent {
        Some(_) => render::subagent_dir_name(ordinal, facts.subagent_kind.as_deref(), &short()),
        None => render::session_dir_name(ordinal, agent, &short()),
    };
    let name = safe_name(&facts.dir_name).map_or_else(|| made(facts.ordinal), str::to_owned);
    let taken = tx
        .prepare_cached(
            "SELECT 1 FROM sessions WHERE commit_row = ?1 AND parent_row IS ?2 AND (dir_name = ?3 OR ordinal = ?4) AND row <> ?5",
        )?
        .exists(params![around.commit, around.parent, name, facts.ordinal, row])?;
    if !taken {
        return Ok((facts.ordinal, name));
    }
    let ordinal = sessions::next_ordinal(tx, around.commit, around.parent)?;
    Ok((ordinal, made(ordinal)))
}

fn set_columns(
    tx: &Transaction<'_>,
    row: i64,
    agent: Agent,
    around: &Around,
    facts: &SessionFacts,
    (ordinal, dir_name): (u32, &str),
) -> Result<()> {
    let hidden = sessions::Hidden {
        ordinal,
        title_rank: facts.title_rank,
        git_remote: facts.git_remote.clone(),
        closed: facts.closed,
        ..sessions::hidden(tx, row)?
    };
    let Some(stored) = sessions::get(tx, row)? else { return Ok(()) };
    let tokens = facts.tokens;
    let session = Session {
        agent,
        dir_name: dir_name.to_owned(),
        commit_row: Some(around.commit),
        parent_row: around.parent,
        subagent_kind: facts.subagent_kind.clone(),
        title: facts.title.clone(),
        cwd: facts.cwd.clone(),
        git_branch: facts.git_branch.clone(),
        agent_version: facts.agent_version.clone(),
        models: facts.models.clone(),
        started_at: facts.started_at,
        ended_at: facts.ended_at,
        turns: facts.turns,
        prompts: facts.prompts,
        tool_calls: facts.tool_calls,
        images: facts.images,
        tokens: Tokens { input: tokens[0], output: tokens[1], cache_read: tokens[2], cache_write: tokens[3] },
        sections: SectionSize {
            bytes: facts.sections[0],
            turn_links: facts.sections[1],
            visual_links: facts.sections[2],
            page_bytes: facts.sections[3],
            page_links: facts.sections[4],
        },
        render_version: facts.render_version,
        raw_bytes: facts.raw_bytes,
        raw_records: facts.raw_records,
        ..stored
    };
    sessions::save(tx, &session, &hidden, &TurnIndex::default())?;
    sessions::save_tokens(tx, row, &session.tokens)?;
    tx.prepare_cached("UPDATE sessions SET machine_row = ?2 WHERE row = ?1")?.execute([row, around.machine])?;
    Ok(())
}

pub(super) fn pictures(tx: &mut Transaction<'_>, row: i64, commit_row: i64, facts: &SessionFacts) -> Result<()> {
    for visual in &facts.visuals {
        let turn_row = turns::row_of(row, visual.turn);
        let made = |ordinal| {
            let extension = render::mime_extension(&visual.mime);
            render::visual_file_name(ordinal, visual.captured_at, extension)
        };
        let name = safe_name(&visual.file_name).map_or_else(|| made(visual.ordinal), str::to_owned);
        let taken = tx
            .prepare_cached(
                "SELECT 1 FROM visuals WHERE commit_row = ?1 AND (file_name = ?2 OR ordinal = ?3) AND id <> ?4",
            )?
            .exists(params![commit_row, name, visual.ordinal, visual.id.0])?;
        let (ordinal, file_name) = match taken {
            false => (visual.ordinal, name),
            true => {
                let ordinal = visuals::next_ordinal(tx, Some(commit_row))?;
                (ordinal, made(ordinal))
            }
        };
        let known: Option<(i64, u32, String)> = tx
            .prepare_cached("SELECT commit_row, ordinal, file_name FROM visuals WHERE id = ?1 AND turn_row >> 16 = ?2")?
            .query_row(params![visual.id.0, row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
            .optional()?;
        match known {
            Some(known) if known == (commit_row, ordinal, file_name.clone()) => {}
            Some(_) => visuals::rename(tx, &visual.id, commit_row, ordinal, &file_name)?,
            None => {
                let new = NewVisual {
                    id: visual.id,
                    commit_row: Some(commit_row),
                    turn_row,
                    ordinal,
                    file_name: &file_name,
                    sha256: &visual.sha256,
                    mime: &visual.mime,
                    bytes: visual.bytes,
                    captured_at: visual.captured_at,
                };
                visuals::create(tx, &new)?;
            }
        }
    }
    Ok(())
}

/// Puts the commit where the session is to be found.
fn file(tx: &mut Transaction<'_>, around: &Around, agent: Agent, facts: &SessionFacts) -> Result<()> {
    let Some(commit) = commits::get(tx, around.commit)? else { return Ok(()) };
    let mut places = vec![Place::of(FacetKind::Agent, agent.slug().to_owned())];
    places.extend(machines::dir_name(tx, around.machine)?.map(|name| Place::of(FacetKind::Machine, name)));
    places.extend(facts.models.iter().map(|name| Place::of(FacetKind::Model, render::model_dir_name(name))));
    places.extend(facts.tool_names.iter().map(|name| Place::of(FacetKind::Tool, render::tool_slug(name))));
    for path in facts.files.iter() {
        let parts: Option<Vec<String>> = path.split('/').map(render::path_part_name).collect();
        places.extend(parts.filter(|parts| parts.len() <= DEEPEST).map(|parts| Place::file(commit.project_row, parts)));
    }
    facets::add(tx, around.commit, &places)
}

fn announce(tx: &mut Transaction<'_>, row: i64, known: Option<&Session>, around: &Around) {
    tx.changes.add(ChangeKind::Session, row);
    let former = known.map(|known| known.dir_name.clone()).filter(|name| !name.is_empty());
    match known {
        Some(Session { parent_row: Some(parent), .. }) => {
            tx.changes.add_full(ChangeKind::SessionSubagents, *parent, 0, former);
        }
        Some(Session { commit_row: Some(commit), .. }) => {
            tx.changes.add_full(ChangeKind::CommitSessions, *commit, 0, former);
        }
        _ => {}
    }
    match around.parent {
        Some(parent) => tx.changes.add(ChangeKind::SessionSubagents, parent),
        None => tx.changes.add(ChangeKind::CommitSessions, around.commit),
    }
}

/// A commit's times follow from its sessions; that of its last change is not now.
pub(super) fn refresh(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let Some(before) = commits::get(tx, commit_row)? else { return Ok(()) };
    commits::refresh(tx, commit_row)?;
    tx.prepare_cached("UPDATE cognitive_commits SET updated_at = ?2 WHERE row = ?1")?
        .execute(params![commit_row, before.updated_at.0])?;
    curated::set_status(tx, commit_row)
}
