//! Facts of the store as the wire has them.

use rusqlite::{Connection, OptionalExtension};
use serde::Serialize;
use serde_json::Value;

use super::redact::Redact;
use crate::cloud::wire::{
    Bytes, Change, CommitFacts, GitFacts, Kind, MachineFacts, ProjectFacts, SessionFacts, VisualFacts,
};
use crate::model::{Commit, Id, Millis, Session};
use crate::store::commits::{self, curated};
use crate::store::index::{ENTRY_BYTES, TurnIndex};
use crate::store::{Result, StoreError, machines, projects, sessions, told, turns, visuals};
use crate::{derived, ingest, render};

fn change(kind: Kind, id: Id, rank: i64, facts: &impl Serialize) -> Result<Option<Change>> {
    let facts = serde_json::to_value(facts).map_err(|e| StoreError::Source(e.into()))?;
    Ok(Some(Change::Facts { kind, id, rank, facts: Some(facts), parent: None }))
}

pub(super) fn machine(conn: &Connection, row: i64) -> Result<Option<Change>> {
    let found = conn
        .prepare_cached("SELECT id, name, dir_name FROM machines WHERE row = ?1")?
        .query_row([row], |r| Ok((Id(r.get(0)?), MachineFacts { name: r.get(1)?, dir_name: r.get(2)? })))
        .optional()?;
    let is_local = machines::local(conn)? == Some(row);
    found.map_or(Ok(None), |(id, mut facts)| {
        // Where two have one name, the other one is called otherwise here: that is no news to itself.
        if !is_local {
            facts.dir_name = render::machine_dir_name(&facts.name);
        }
        change(Kind::Machine, id, 0, &facts)
    })
}

/// The name that follows from a project's identity, which a user may have changed.
fn found_name(identity: &str) -> &str {
    let rest = identity.split_once(':').map_or(identity, |(_, rest)| rest);
    rest.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(rest)
}

pub(super) fn project(conn: &Connection, row: i64) -> Result<Option<Change>> {
    let Some(project) = projects::get(conn, row)? else { return Ok(None) };
    let (identity, curated): (String, bool) = conn
        .prepare_cached("SELECT identity, curated_at IS NOT NULL FROM projects WHERE row = ?1")?
        .query_row([row], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let (name, dir_name) = match curated {
        false => (project.name, project.dir_name),
        true => (found_name(&identity).to_owned(), render::project_dir_name(found_name(&identity))),
    };
    let paths = projects::paths(conn, row)?;
    let rank = i64::try_from(paths.len()).unwrap_or(i64::MAX);
    let (created_at, updated_at) = (project.created_at, project.updated_at);
    let facts = ProjectFacts { identity, name, dir_name, remote: project.remote, paths, created_at, updated_at };
    change(Kind::Project, project.id, rank, &facts)
}

pub(super) fn commit(conn: &Connection, row: i64, redact: &dyn Redact) -> Result<Option<Change>> {
    let Some(commit) = commits::get(conn, row)? else { return Ok(None) };
    let Some(project) = found_in(conn, &commit)? else { return Ok(None) };
    let (title, title_rank) = curated::found_title(conn, &commit)?;
    let sent_title = redact.text(&project, &title).into_owned();
    // The name that goes with a user's title is the user's, and one that was made of a title tells it.
    let is_found = curated::title(conn, &commit)? == curated::Title::Found;
    let dir_name = match is_found && sent_title == title {
        true => commit.dir_name.clone(),
        false => render::commit_dir_name(commit.started_at, &sent_title, &commit.id.short()),
    };
    let facts = CommitFacts {
        project,
        dir_name,
        title: sent_title,
        title_rank,
        git_hash: commit.git_hash.clone(),
        git_subject: commit.git_subject.as_deref().map(|subject| redact.text(&project, subject).into_owned()),
        closed_by: commit.closed_by.as_str().to_owned(),
        started_at: commit.started_at,
        closed_at: commit.closed_at,
        parallel: commit.parallel,
        git_commits: git_commits(conn, row, &project, redact)?,
        updated_at: commit.updated_at,
    };
    change(Kind::Commit, commit.id, commit.closed_at.0, &facts)
}

/// The project that a commit was found in.
pub(super) fn found_in(conn: &Connection, commit: &Commit) -> Result<Option<Id>> {
    let mut query = conn.prepare_cached(
        "SELECT p.id FROM cognitive_commits c JOIN projects p ON p.row = coalesce(c.found_project, c.project_row)
         WHERE c.row = ?1",
    )?;
    Ok(query.query_row([commit.row], |r| Ok(Id(r.get(0)?))).optional()?)
}

fn git_commits(conn: &Connection, row: i64, project: &Id, redact: &dyn Redact) -> Result<Vec<GitFacts>> {
    let mut query = conn
        .prepare_cached("SELECT hash, name, branch, subject, at FROM git_commits WHERE commit_row = ?1 ORDER BY row")?;
    let rows = query.query_map([row], |r| {
        let subject: String = r.get(3)?;
        let subject = redact.text(project, &subject).into_owned();
        Ok(GitFacts { hash: r.get(0)?, name: r.get(1)?, branch: r.get(2)?, subject, at: Millis(r.get(4)?) })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The project whose rules for what may leave hold for a session.
pub(crate) fn project_of(conn: &Connection, session: &Session) -> Result<Option<Id>> {
    let commit = session.commit_row.map(|row| commits::get(conn, row)).transpose()?.flatten();
    commit.map_or(Ok(None), |commit| found_in(conn, &commit))
}

/// How much a session has: its turns and records. More is newer.
pub(crate) fn rank(last_turn: u32, raw_records: u64) -> i64 {
    i64::from(last_turn).saturating_add(i64::try_from(raw_records).unwrap_or(i64::MAX))
}

pub(super) fn session(conn: &Connection, row: i64, redact: &dyn Redact) -> Result<Option<Change>> {
    let Some(mut session) = sessions::get(conn, row)? else { return Ok(None) };
    let commit = session.commit_row.map(|row| commits::get(conn, row)).transpose()?.flatten();
    let (Some(commit), Some(index)) = (commit, sessions::turn_index(conn, row)?) else { return Ok(None) };
    let Some(project) = found_in(conn, &commit)? else { return Ok(None) };
    let hidden = sessions::hidden(conn, row)?;
    let index = shown_to_others(conn, &mut session, index, &project, redact)?;
    let parent = session.parent_row.map(|row| sessions::get(conn, row)).transpose()?.flatten().map(|parent| parent.id);
    let raw_bytes = if redact.is_identity() { session.raw_bytes } else { told::contents(conn, row)?.raw_bytes };
    let files = ingest::files_of(conn, &session)?.into_iter().map(|parts| parts.join("/")).collect();
    let (tokens, sections) = (session.tokens, session.sections);
    let clean = |text: &str| redact.text(&project, text).into_owned();
    let facts = SessionFacts {
        agent: session.agent.as_str().to_owned(),
        native_id: session.native_id.clone(),
        machine: machine_of(conn, row)?,
        part: session.part,
        commit: commit.id,
        parent,
        subagent_kind: session.subagent_kind.clone(),
        ordinal: hidden.ordinal,
        dir_name: session.dir_name.clone(),
        title: session.title.as_deref().map(clean),
        title_rank: hidden.title_rank,
        cwd: session.cwd.clone(),
        git_branch: session.git_branch.as_deref().map(clean),
        // An address may hold the password that goes with it.
        git_remote: hidden.git_remote.as_deref().map(clean),
        agent_version: session.agent_version.clone(),
        models: session.models.clone(),
        closed: hidden.closed,
        started_at: session.started_at,
        ended_at: session.ended_at,
        updated_at: session.updated_at,
        last_turn: index.len(),
        turns: session.turns,
        prompts: session.prompts,
        tool_calls: session.tool_calls,
        images: session.images,
        tokens: [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write],
        sections: [
            sections.bytes,
            sections.turn_links,
            sections.visual_links,
            sections.page_bytes,
            sections.page_links,
        ],
        raw_bytes,
        raw_records: session.raw_records,
        render_version: index.render_version,
        tool_names: index.tool_names,
        turn_index: Bytes(index.packed),
        files,
        visuals: visuals_of(conn, row)?,
    };
    change(Kind::Session, session.id, rank(facts.last_turn, facts.raw_records), &facts)
}

/// The index and the counters as others have them: lengths of what leaves, by this program's renderer; deleted turns counted like
/// the others, for that they are deleted is a field of theirs. The transcript's size is that of what is shown here.
fn shown_to_others(
    conn: &Connection,
    session: &mut Session,
    stored: TurnIndex,
    project: &Id,
    redact: &dyn Redact,
) -> Result<TurnIndex> {
    let measure = !redact.is_identity() || !derived::is_current(session.render_version);
    let mut index = if measure {
        let mut new = TurnIndex { render_version: render::VERSION, ..TurnIndex::default() };
        session.sections = crate::model::SectionSize::default();
        turns::for_each_stored(conn, session.row, |mut turn, deleted| {
            redacted(&mut turn, project, redact);
            let (section, file) = render::turn_sizes(&turn);
            derived::enter(&mut new, &turn, file);
            if !deleted {
                session.sections += section;
            }
        })?;
        new.grow_to(turns::last(conn, session.row)?.unwrap_or(0));
        new
    } else {
        stored
    };
    for (row, _) in turns::deleted(conn, session.row)? {
        let Some(turn) = turns::get(conn, row)? else { continue };
        index.set_deleted(turn.number, false);
        let sections = session.sections;
        derived::bring_back(session, &turn);
        session.sections = sections;
    }
    debug_assert_eq!(index.packed.len() % ENTRY_BYTES, 0);
    Ok(index)
}

/// Takes secrets out of a turn.
pub(crate) fn redacted(turn: &mut crate::model::Turn, project: &Id, redact: &dyn Redact) {
    if redact.is_identity() {
        return;
    }
    let clean = |text: &mut String| *text = redact.text(project, text).into_owned();
    clean(&mut turn.text);
    if let Some(tool) = &mut turn.tool {
        clean(&mut tool.input);
        clean(&mut tool.output);
    }
}

fn machine_of(conn: &Connection, row: i64) -> Result<Id> {
    let mut query =
        conn.prepare_cached("SELECT m.id FROM sessions s JOIN machines m ON m.row = s.machine_row WHERE s.row = ?1")?;
    query
        .query_row([row], |r| Ok(Id(r.get(0)?)))
        .optional()?
        .ok_or_else(|| StoreError::Damaged { what: format!("the machine of session {row}") })
}

fn visuals_of(conn: &Connection, row: i64) -> Result<Vec<VisualFacts>> {
    let found = visuals::all_of_session(conn, row)?;
    let visual = |(id, turn_row, ordinal, visual): (Id, i64, u32, crate::model::Visual)| VisualFacts {
        id,
        turn: turns::parts_of(turn_row).1,
        ordinal,
        file_name: visual.file_name,
        sha256: visual.sha256,
        mime: visual.mime,
        bytes: visual.bytes,
        captured_at: visual.captured_at,
    };
    Ok(found.into_iter().map(visual).collect())
}

/// A session's facts that are to be known before its contents are sent: none, and the commit it is in.
/// By its rank the cloud says whether it has more already.
pub(crate) fn stub(session: &Session, commit: Id, rank: i64) -> Change {
    Change::Facts { kind: Kind::Session, id: session.id, rank, facts: None, parent: Some(commit) }
}

/// Tells facts from others.
pub(crate) fn hash(facts: &Value) -> Id {
    // Sorted by key: `serde_json` without `preserve_order`. Plain data into memory: it cannot fail.
    Id::derive(&[b"facts", &serde_json::to_vec(facts).unwrap_or_default()])
}
