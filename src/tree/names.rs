//! What a name in a directory stands for. More names are known than are listed: one that a new title took away leads on to
//! its commit, and in `by/id/` and `by/git/` the beginning of an id or a hash is enough.
//!
//! No two names of one directory stand for one directory: the kernel would take a rename of one to the other as done.

use rusqlite::Connection;

use super::listing::{HIDDEN, draft_name, fixed_entries, trashed_node};
use super::{Node, View};
use crate::model::Id;
use crate::render;
use crate::store::commits::Home;
use crate::store::facets::{self, FacetKind};
use crate::store::{
    Result, commits, conflicts, drafts, former_names, git, projects, searches, sessions, trash, turns, visuals,
};

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Node(Node),
    /// There is no such name now.
    Absent,
    /// There is no such name and never will be: generated names have no dot in front, but for the parts of files' paths.
    Never,
}

/// The first and the last id of a range.
pub type IdRange = ([u8; 16], [u8; 16]);

/// Hex digits of an id that name it at the least.
const SHORTEST_ID: usize = 6;

/// Finds a name in a directory.
///
/// # Errors
/// When the database cannot be read.
pub fn lookup(conn: &Connection, view: &View, dir: Node, name: &str) -> Result<Found> {
    let fixed = fixed_entries(conn, view, dir)?.into_iter().find(|(n, _, _)| *n == name).map(|(_, node, _)| node);
    let found = match fixed {
        Some(node) => Some(node),
        None => entity(conn, view, dir, name)?,
    };
    Ok(match found {
        Some(node) => Found::Node(node),
        // A path that is written may have a part with a dot in front.
        None if name.starts_with('.') && !matches!(dir, Node::ProjectFiles(_) | Node::Facet(_)) => Found::Never,
        None => Found::Absent,
    })
}

fn entity(conn: &Connection, view: &View, dir: Node, name: &str) -> Result<Option<Node>> {
    Ok(match dir {
        Node::ProjectsDir => projects::by_dir_name(conn, name)?.map(|p| Node::Project(p.row)),
        Node::Root if name.strip_prefix(".Trash-") == Some(&view.uid.to_string()) => Some(Node::ManagerTrash),
        Node::Project(row) if name == HIDDEN => Some(Node::HiddenDir(row)),
        Node::Project(row) => commit(conn, row, Home::Project, name)?,
        Node::HiddenDir(row) => commit(conn, row, Home::Hidden, name)?,
        Node::TrashDir => trash::by_name(conn, name)?.map(|trashed| trashed_node(&trashed).0),
        Node::ManagerTrashFiles => {
            trash::by_name(conn, name)?.filter(|trashed| trashed.by_manager).map(|trashed| trashed_node(&trashed).0)
        }
        Node::DraftsDir => draft(conn, name)?,
        Node::ConflictsDir => conflict(conn, name)?,
        Node::SessionsDir(row) => {
            sessions::of_commit(conn, row)?.into_iter().find(|s| s.dir_name == name).map(|s| Node::Session(s.row))
        }
        Node::SubagentsDir(row) => {
            sessions::subagents(conn, row)?.into_iter().find(|s| s.dir_name == name).map(|s| Node::Session(s.row))
        }
        Node::VisualsDir(row) => {
            visuals::of_commit(conn, row)?.into_iter().find(|v| v.file_name == name).map(|v| Node::Visual(v.row))
        }
        Node::TurnsDir(row) => turn(conn, row, name)?,
        Node::ViewDir(FacetKind::File) => match projects::by_dir_name(conn, name)? {
            Some(project) if facets::any_file(conn, project.row)? => Some(Node::ProjectFiles(project.row)),
            _ => None,
        },
        Node::ViewDir(kind) => facets::child(conn, kind, 0, name)?.map(|f| Node::Facet(f.row)),
        Node::ProjectFiles(row) => file(conn, facets::files_of_project(row), name)?,
        Node::Facet(row) => match file(conn, row, name)? {
            Some(below) => Some(below),
            None => facets::link_by_name(conn, row, name)?.map(Node::FacetLink),
        },
        Node::ByGitDir => by_git(conn, name)?,
        Node::ByIdDir => by_id(conn, name)?,
        Node::SearchDir => searches::by_query(conn, name)?.map(|kept| Node::Search(kept.row)),
        _ => None,
    })
}

/// A commit by its name, or a link to it by one that it had.
fn commit(conn: &Connection, project_row: i64, home: Home, name: &str) -> Result<Option<Node>> {
    if let Some(commit) = commits::by_dir_name(conn, project_row, name)?
        && commit.home() == home
    {
        return Ok(Some(Node::Commit(commit.row)));
    }
    if home != Home::Project {
        return Ok(None);
    }
    let Some(row) = former_names::by_name(conn, project_row, name)? else { return Ok(None) };
    let leads_here = former_names::commit_of(conn, row)?.map(|c| commits::get(conn, c)).transpose()?.flatten();
    Ok(leads_here.filter(|c| c.project_row == project_row && c.deleted_at.is_none()).map(|_| Node::Former(row)))
}

/// A draft. There are few, and that of a deleted commit is one too.
fn draft(conn: &Connection, name: &str) -> Result<Option<Node>> {
    for draft in drafts::all(conn)? {
        if commits::get(conn, draft.commit_row)?.is_some_and(|commit| draft_name(&commit.id) == name) {
            return Ok(Some(Node::Draft(draft.commit_row)));
        }
    }
    Ok(None)
}

fn conflict(conn: &Connection, name: &str) -> Result<Option<Node>> {
    let Some(row) = name.split_once('_').and_then(|(number, _)| number.parse().ok()) else { return Ok(None) };
    let found = conflicts::get(conn, row)?.filter(|conflict| conflict.file_name() == name);
    Ok(found.map(|conflict| Node::Conflict(conflict.row)))
}

fn turn(conn: &Connection, session_row: i64, name: &str) -> Result<Option<Node>> {
    let Some(number) = name.split_once('-').and_then(|(number, _)| number.parse().ok()) else { return Ok(None) };
    let Some(index) = sessions::turn_index(conn, session_row)? else { return Ok(None) };
    let Some(entry) = index.get(number) else { return Ok(None) };
    let slug = index.tool_name(&entry).map(render::tool_slug);
    let right = render::turn_file_name(number, entry.role, slug.as_deref()) == name;
    Ok(right.then(|| Node::Turn(turns::row_of(session_row, number))))
}

/// A part of a file's path below another. It comes before a link: both have a name only if a path is made to have it.
fn file(conn: &Connection, parent: i64, name: &str) -> Result<Option<Node>> {
    Ok(facets::child(conn, FacetKind::File, parent, name)?.map(|f| Node::Facet(f.row)))
}

/// A git commit by its name, by the beginning of its hash, or by its whole hash where the log has the beginning alone.
fn by_git(conn: &Connection, name: &str) -> Result<Option<Node>> {
    if let Some(named) = git::by_name(conn, name)? {
        return Ok(Some(Node::GitLink(named.row)));
    }
    let digits = name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    Ok(match git::by_hash(conn, name)?.as_slice() {
        [one] if digits => Some(Node::GitLink(one.row)),
        _ => None,
    })
}

fn by_id(conn: &Connection, name: &str) -> Result<Option<Node>> {
    let Some((low, high)) = id_range(name) else { return Ok(None) };
    let commits = commits::by_id_range(conn, &low, &high)?;
    let sessions = sessions::by_id_range(conn, &low, &high)?;
    Ok(match (commits.as_slice(), sessions.as_slice()) {
        ([(_, row)], []) => Some(Node::IdCommit(*row)),
        ([], [(_, row)]) => Some(Node::IdSession(*row)),
        _ => None,
    })
}

/// The ids that begin with these hex digits (dashes of a UUID left out).
#[must_use]
pub fn id_range(text: &str) -> Option<IdRange> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let hex = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok()).filter(|_| !b.is_ascii_uppercase());
    if !(SHORTEST_ID..=32).contains(&digits.len()) {
        return None;
    }
    let (mut low, mut high) = (Id([0; 16]).0, Id([0xff; 16]).0);
    for (at, byte) in digits.iter().enumerate() {
        let digit = hex(*byte)?;
        let shift = if at % 2 == 0 { 4 } else { 0 };
        let mask = 0x0f << shift;
        low[at / 2] = (low[at / 2] & !mask) | digit << shift;
        high[at / 2] = (high[at / 2] & !mask) | digit << shift;
    }
    Some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_names_all_that_begin_so() {
        let (low, high) = id_range("7f3a9c1").unwrap();
        assert_eq!(&low[..4], &[0x7f, 0x3a, 0x9c, 0x10]);
        assert_eq!(&high[..4], &[0x7f, 0x3a, 0x9c, 0x1f]);
        assert_eq!(high[15], 0xff);
        for bad in ["7f3a9", "7F3A9C", "zzzzzz", "", &"a".repeat(33)] {
            assert_eq!(id_range(bad), None, "{bad:?}");
        }
    }
}
