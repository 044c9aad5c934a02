//! From what a user types to the record that is meant: an id or its beginning, or a path in a mount.
//!
//! Paths are read as text, but for links of a mount, which the kernel resolves.

use std::path::Path;

use rusqlite::Connection;

use super::mount::BoxError;
use super::output::printable;
use crate::curation::{Entity, EntityKind};
use crate::model::{Commit, Session};
use crate::render;
use crate::store::{self, commits, projects, sessions, trash, turns};

/// Hex digits of an id that name it at the least.
const SHORTEST_ID: usize = 6;

/// Candidates that are named where several could be meant.
const SHOWN: usize = 5;

/// Why nothing is meant, or too much.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error(
        "there is no {what} {text:?}: give an id or its beginning (`ls DIR/by/id` lists them), or a path of a mount"
    )]
    Unknown { what: &'static str, text: String },
    #[error("{text:?} could be any of these; give more of it:\n{candidates}")]
    Ambiguous { text: String, candidates: String },
    #[error("{text:?} is a {found}, and a commit is wanted here: `ls` shows the directory it lies in")]
    NotACommit { text: String, found: &'static str },
    #[error("{text:?} is too short for an id: give six digits or more")]
    TooShort { text: String },
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

type Result<T> = std::result::Result<T, ResolveError>;

/// The commit that is meant.
///
/// # Errors
/// When none is, or several could be.
pub fn commit(conn: &Connection, text: &str) -> Result<Commit> {
    let unknown = || ResolveError::Unknown { what: "commit", text: text.to_owned() };
    let found = all(conn, text)?;
    let commits: Vec<Entity> = found.iter().copied().filter(|entity| entity.kind == EntityKind::Commit).collect();
    match (one(conn, text, &commits)?, found.first()) {
        (Some(entity), _) => commits::get(conn, entity.row)?.ok_or_else(unknown),
        (None, Some(other)) => Err(ResolveError::NotACommit { text: text.to_owned(), found: other.kind.as_str() }),
        (None, None) => Err(unknown()),
    }
}

/// The commit, session or turn that is meant.
///
/// # Errors
/// When none is, or several could be.
pub fn entity(conn: &Connection, text: &str) -> Result<Entity> {
    let unknown = || ResolveError::Unknown { what: "commit, session or turn", text: text.to_owned() };
    one(conn, text, &all(conn, text)?)?.ok_or_else(unknown)
}

/// What is deleted and meant: by its name in the trash too.
///
/// # Errors
/// When nothing is, or several could be.
pub fn deleted(conn: &Connection, text: &str) -> Result<Entity> {
    let last = text.trim_end_matches('/').rsplit('/').next().unwrap_or(text);
    if let Some(trashed) = trash::all(conn)?.into_iter().find(|trashed| trashed.name == last) {
        return Ok(Entity { kind: trashed.kind, row: trashed.entity_row });
    }
    let mut found = all(conn, text)?;
    if found.len() > 1 {
        let mut deleted = Vec::new();
        for entity in found {
            if trash::find(conn, entity.kind, entity.row)?.is_some() {
                deleted.push(entity);
            }
        }
        found = deleted;
    }
    let unknown = || ResolveError::Unknown { what: "deleted commit, session or turn", text: text.to_owned() };
    one(conn, text, &found)?.ok_or_else(unknown)
}

/// The session, by its row, that a path to a turn leads into, where its contents are elsewhere: which turn that is is known with them.
///
/// # Errors
/// When the database cannot be read.
pub fn elsewhere(conn: &Connection, text: &str) -> Result<Option<i64>> {
    let real = Path::new(text).canonicalize().ok().and_then(|path| path.into_os_string().into_string().ok());
    let path = real.as_deref().unwrap_or(text);
    let Some((session, _)) = path.rsplit_once("/turns/") else { return Ok(None) };
    match by_path(conn, session)?[..] {
        [Entity { kind: EntityKind::Session, row }] if sessions::is_elsewhere(conn, row)? => Ok(Some(row)),
        _ => Ok(None),
    }
}

fn one(conn: &Connection, text: &str, found: &[Entity]) -> Result<Option<Entity>> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => {
            let mut lines = Vec::new();
            for entity in several.iter().take(SHOWN) {
                lines.push(format!("  {}  {}", id(conn, *entity)?, printable(&place(conn, *entity)?)));
            }
            if several.len() > SHOWN {
                lines.push("  ...".to_owned());
            }
            Err(ResolveError::Ambiguous { text: text.to_owned(), candidates: lines.join("\n") })
        }
    }
}

fn all(conn: &Connection, text: &str) -> Result<Vec<Entity>> {
    let by_path = by_path(conn, text)?;
    if !by_path.is_empty() {
        return Ok(by_path);
    }
    // A name ends with the beginning of the id.
    let digits = text.trim_end_matches('/').rsplit(['/', '_']).next().unwrap_or(text);
    by_id(conn, digits, text)
}

fn by_id(conn: &Connection, digits: &str, text: &str) -> Result<Vec<Entity>> {
    let digits: String = digits.chars().filter(|c| *c != '-').flat_map(char::to_lowercase).collect();
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    if digits.len() < SHORTEST_ID {
        return Err(ResolveError::TooShort { text: text.to_owned() });
    }
    let (Ok(low), Ok(high)) = (low_of(&digits), high_of(&digits)) else { return Ok(Vec::new()) };
    let mut found: Vec<Entity> = commits::all_by_id_range(conn, &low, &high, SHOWN + 1)?
        .into_iter()
        .map(|commit| Entity::commit(commit.row))
        .collect();
    found.extend(sessions::all_by_id_range(conn, &low, &high, SHOWN + 1)?.into_iter().map(|s| Entity::session(s.row)));
    if digits.len() == 32 {
        found.extend(turns::row_by_id(conn, &crate::model::Id(low))?.map(Entity::turn));
    }
    Ok(found)
}

fn low_of(digits: &str) -> std::result::Result<[u8; 16], std::num::ParseIntError> {
    Ok(u128::from_str_radix(&format!("{digits:0<32}"), 16)?.to_be_bytes())
}

fn high_of(digits: &str) -> std::result::Result<[u8; 16], std::num::ParseIntError> {
    Ok(u128::from_str_radix(&format!("{digits:f<32}"), 16)?.to_be_bytes())
}

/// What a path leads to: the commit of a name, and below it a session, a subagent or a turn.
fn by_path(conn: &Connection, text: &str) -> Result<Vec<Entity>> {
    // `latest` and what is in by/ lead to the directory itself.
    let real = Path::new(text).canonicalize().ok().and_then(|path| path.into_os_string().into_string().ok());
    let path = real.unwrap_or_else(|| text.to_owned());
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.iter().position(|part| *part == "sessions") {
        Some(at) => {
            let found = by_name(conn, parts.get(..at).unwrap_or_default())?;
            below(conn, &found, parts.get(at + 1..).unwrap_or_default())
        }
        None => {
            let found = by_name(conn, &parts)?;
            match (found.is_empty(), parts.split_last()) {
                // A document of the commit.
                (true, Some((_, front))) if parts.len() > 1 => by_name(conn, front),
                _ => Ok(found),
            }
        }
    }
}

fn by_name(conn: &Connection, parts: &[&str]) -> Result<Vec<Entity>> {
    let Some((name, front)) = parts.split_last() else { return Ok(Vec::new()) };
    if let [.., ".cogfs", "trash"] = front
        && let Some(trashed) = trash::by_name(conn, name)?
    {
        return Ok(vec![Entity { kind: trashed.kind, row: trashed.entity_row }]);
    }
    let project = front.iter().rev().find(|part| **part != "hidden");
    if let Some(project) = project.map(|name| projects::by_dir_name(conn, name)).transpose()?.flatten()
        && let Some(commit) = commits::by_dir_name(conn, project.row, name)?
    {
        return Ok(vec![Entity::commit(commit.row)]);
    }
    Ok(commits::by_any_name(conn, name)?.into_iter().map(|commit| Entity::commit(commit.row)).collect())
}

/// What lies in `sessions/` of one of the commits.
fn below(conn: &Connection, commits: &[Entity], parts: &[&str]) -> Result<Vec<Entity>> {
    let mut found = Vec::new();
    for commit in commits {
        let Some((name, mut rest)) = parts.split_first() else {
            found.push(*commit);
            continue;
        };
        let mut at = sessions::all_of_commit(conn, commit.row)?.into_iter().find(|s| s.dir_name == *name);
        while let (Some(session), ["subagents", name, more @ ..]) = (&at, rest) {
            at = subagents(conn, session.row)?.into_iter().find(|s| s.dir_name == *name);
            rest = more;
        }
        let Some(session) = at else { continue };
        match rest {
            ["turns", file, ..] => found.extend(turn(conn, session.row, file)?),
            _ => found.push(Entity::session(session.row)),
        }
    }
    Ok(found)
}

fn subagents(conn: &Connection, parent: i64) -> Result<Vec<Session>> {
    let mut found = Vec::new();
    for row in sessions::descendants(conn, parent)? {
        found.extend(sessions::get(conn, row)?.filter(|session| session.parent_row == Some(parent)));
    }
    Ok(found)
}

fn turn(conn: &Connection, session: i64, file: &str) -> Result<Option<Entity>> {
    let Some(number) = file.split_once('-').and_then(|(number, _)| number.parse().ok()) else { return Ok(None) };
    let row = turns::row_of(session, number);
    Ok(turns::get(conn, row)?.filter(|turn| turn_name(turn) == file).map(|_| Entity::turn(row)))
}

fn turn_name(turn: &crate::model::Turn) -> String {
    let slug = turn.tool.as_ref().map(|tool| render::tool_slug(&tool.name));
    render::turn_file_name(turn.number, turn.role, slug.as_deref())
}

/// Where something lies, as messages name it: below `projects/`, as if nothing were deleted.
///
/// # Errors
/// When the database cannot be read.
pub fn place(conn: &Connection, entity: Entity) -> store::Result<String> {
    let gone = || format!("{} {}", entity.kind.as_str(), entity.row);
    Ok(match entity.kind {
        EntityKind::Project => projects::get(conn, entity.row)?.map_or_else(gone, |project| project.dir_name),
        EntityKind::Commit => match commits::get(conn, entity.row)? {
            Some(commit) => {
                let hidden = if commit.hidden { "hidden/" } else { "" };
                let project = projects::get(conn, commit.project_row)?.map(|p| p.dir_name).unwrap_or_default();
                format!("{project}/{hidden}{}", commit.dir_name)
            }
            None => gone(),
        },
        EntityKind::Session => match sessions::get(conn, entity.row)? {
            Some(Session { parent_row: Some(parent), dir_name, .. }) => {
                format!("{}/subagents/{dir_name}", place(conn, Entity::session(parent))?)
            }
            Some(Session { commit_row: Some(commit), dir_name, .. }) => {
                format!("{}/sessions/{dir_name}", place(conn, Entity::commit(commit))?)
            }
            _ => gone(),
        },
        EntityKind::Turn => match turns::get(conn, entity.row)? {
            Some(turn) => {
                let session = place(conn, Entity::session(turns::parts_of(entity.row).0))?;
                format!("{session}/turns/{}", turn_name(&turn))
            }
            None => gone(),
        },
    })
}

/// The id of something; empty when it is no more.
///
/// # Errors
/// When the database cannot be read.
pub fn id(conn: &Connection, entity: Entity) -> store::Result<String> {
    let id = match entity.kind {
        EntityKind::Project => projects::get(conn, entity.row)?.map(|project| project.id),
        EntityKind::Commit => commits::get(conn, entity.row)?.map(|commit| commit.id),
        EntityKind::Session => sessions::get(conn, entity.row)?.map(|session| session.id),
        EntityKind::Turn => turns::id(conn, entity.row)?,
    };
    Ok(id.map(|id| id.to_string()).unwrap_or_default())
}

/// Says what to do where a database holds nothing yet.
///
/// # Errors
/// When it does, or cannot be read.
pub fn not_empty(conn: &Connection) -> std::result::Result<(), BoxError> {
    if store::stats::totals(conn)?.turns == 0 && trash::all(conn)?.is_empty() {
        return Err("nothing is imported yet: `cogfs import`, or `cogfs demo` to look around".into());
    }
    Ok(())
}
