//! What extended attributes say of a project, a commit, a session or a turn, and of the documents in it: `user.cogfs.*`.

use rusqlite::Connection;

use super::{Node, shown};
use crate::model::{Commit, ContentsAt, Session};
use crate::store::{Result, commits, machines, projects, sessions, turns, visuals};

/// A name and what it says.
pub type Attribute = (&'static str, String);

/// What a node's attributes are, in the order they are listed; none of what is no entity's.
///
/// # Errors
/// When the database cannot be read.
pub fn attributes(conn: &Connection, node: Node) -> Result<Vec<Attribute>> {
    let mut found = match node {
        Node::Project(row) | Node::ProjectJson(row) => project(conn, row)?,
        Node::Commit(row)
        | Node::CommitMetaMd(row)
        | Node::CommitMetaJson(row)
        | Node::CommitTranscript(row)
        | Node::CommitPage(row) => commit(conn, row)?,
        Node::Session(row)
        | Node::SessionTranscript(row)
        | Node::SessionMetaJson(row)
        | Node::SessionRaw(row)
        | Node::SessionResume(row) => session(conn, row)?,
        Node::Turn(row) => turn(conn, row)?,
        Node::Visual(row) => visual(conn, row)?,
        _ => Vec::new(),
    };
    // What is not known has no attribute.
    found.retain(|(_, value)| !value.is_empty());
    Ok(found)
}

fn project(conn: &Connection, row: i64) -> Result<Vec<Attribute>> {
    let Some(project) = projects::get(conn, row)? else { return Ok(Vec::new()) };
    Ok(vec![
        ("user.cogfs.kind", "project".to_owned()),
        ("user.cogfs.id", project.id.to_string()),
        ("user.cogfs.name", project.name),
        ("user.cogfs.remote", project.remote.unwrap_or_default()),
    ])
}

fn commit(conn: &Connection, row: i64) -> Result<Vec<Attribute>> {
    let Some(commit) = commits::get(conn, row)? else { return Ok(Vec::new()) };
    let found = sessions::of_commit(conn, row)?;
    let mut machines = Vec::new();
    for session in &found {
        machines.push(machines::name_of_session(conn, session.row)?);
    }
    let states = found.iter().map(|session| session.contents);
    let is_elsewhere = states.clone().any(|contents| contents == ContentsAt::Elsewhere);
    let state = if is_elsewhere { ContentsAt::Elsewhere } else { ContentsAt::Here };
    let models = found.iter().flat_map(|session| session.models.iter().map(String::as_str));
    let mut all = vec![
        ("user.cogfs.kind", "commit".to_owned()),
        ("user.cogfs.id", commit.id.to_string()),
        ("user.cogfs.title", commit.title.clone()),
        ("user.cogfs.state", state.as_str().to_owned()),
        ("user.cogfs.status", status(&commit).to_owned()),
        ("user.cogfs.tags", commit.tags.join(",")),
        ("user.cogfs.git_hash", commit.git_hash.clone().unwrap_or_default()),
        ("user.cogfs.agent", list(found.iter().map(|session| session.agent.as_str()))),
        ("user.cogfs.model", list(models)),
        ("user.cogfs.machine", list(machines.iter().map(String::as_str))),
        ("user.cogfs.turns", found.iter().map(|session| u64::from(session.turns)).sum::<u64>().to_string()),
    ];
    all.extend(tokens(found.iter()));
    Ok(all)
}

fn session(conn: &Connection, row: i64) -> Result<Vec<Attribute>> {
    let Some(session) = shown(conn, row)? else { return Ok(Vec::new()) };
    let commit = session.commit_row.map(|row| commits::get(conn, row)).transpose()?.flatten();
    let mut all = vec![
        ("user.cogfs.kind", if session.parent_row.is_some() { "subagent" } else { "session" }.to_owned()),
        ("user.cogfs.id", session.id.to_string()),
        ("user.cogfs.title", session.title.clone().unwrap_or_default()),
        ("user.cogfs.state", session.contents.as_str().to_owned()),
        ("user.cogfs.git_hash", commit.and_then(|commit| commit.git_hash).unwrap_or_default()),
        ("user.cogfs.agent", session.agent.as_str().to_owned()),
        ("user.cogfs.agent_version", session.agent_version.clone().unwrap_or_default()),
        ("user.cogfs.native_id", session.native_id.clone()),
        ("user.cogfs.model", list(session.models.iter().map(String::as_str))),
        ("user.cogfs.machine", machines::name_of_session(conn, row)?),
        ("user.cogfs.folder", session.cwd.clone().unwrap_or_default()),
        ("user.cogfs.branch", session.git_branch.clone().unwrap_or_default()),
        ("user.cogfs.turns", session.turns.to_string()),
    ];
    all.extend(tokens(std::iter::once(&session)));
    Ok(all)
}

/// Known without a turn's text, which may be elsewhere, but for its model.
fn turn(conn: &Connection, row: i64) -> Result<Vec<Attribute>> {
    let (session_row, number) = turns::parts_of(row);
    let Some(session) = shown(conn, session_row)? else { return Ok(Vec::new()) };
    let Some(index) = sessions::turn_index(conn, session_row)? else { return Ok(Vec::new()) };
    let Some(entry) = index.get(number) else { return Ok(Vec::new()) };
    let stored = turns::get(conn, row)?;
    let status = stored.as_ref().and_then(|turn| Some(turn.tool.as_ref()?.status.as_str().to_owned()));
    Ok(vec![
        ("user.cogfs.kind", "turn".to_owned()),
        ("user.cogfs.id", turns::id(conn, row)?.map(|id| id.to_string()).unwrap_or_default()),
        ("user.cogfs.state", session.contents.as_str().to_owned()),
        ("user.cogfs.number", number.to_string()),
        ("user.cogfs.role", entry.role.as_str().to_owned()),
        ("user.cogfs.tool", index.tool_name(&entry).unwrap_or_default().to_owned()),
        ("user.cogfs.tool_status", status.unwrap_or_default()),
        ("user.cogfs.agent", session.agent.as_str().to_owned()),
        ("user.cogfs.model", stored.and_then(|turn| turn.model).unwrap_or_default()),
    ])
}

fn visual(conn: &Connection, row: i64) -> Result<Vec<Attribute>> {
    let Some(visual) = visuals::get(conn, row)? else { return Ok(Vec::new()) };
    Ok(vec![
        ("user.cogfs.kind", "visual".to_owned()),
        ("user.cogfs.mime", visual.mime),
        ("user.cogfs.sha256", visual.sha256),
    ])
}

fn status(commit: &Commit) -> &'static str {
    match (commit.deleted_at, commit.hidden, commit.published) {
        (Some(_), ..) => "deleted",
        (None, true, _) => "hidden",
        (None, false, true) => "published",
        (None, false, false) => "",
    }
}

/// Each once, in the order they come.
fn list<'a>(values: impl Iterator<Item = &'a str>) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for value in values.filter(|value| !value.is_empty()) {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen.join(",")
}

fn tokens<'a>(sessions: impl Iterator<Item = &'a Session>) -> [Attribute; 5] {
    let mut sum = crate::model::Tokens::default();
    for session in sessions {
        sum += session.tokens;
    }
    let all = [sum.input, sum.output, sum.cache_read, sum.cache_write].into_iter().fold(0, u64::saturating_add);
    [
        ("user.cogfs.tokens", all.to_string()),
        ("user.cogfs.tokens_input", sum.input.to_string()),
        ("user.cogfs.tokens_output", sum.output.to_string()),
        ("user.cogfs.tokens_cache_read", sum.cache_read.to_string()),
        ("user.cogfs.tokens_cache_write", sum.cache_write.to_string()),
    ]
}
