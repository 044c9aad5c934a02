//! The namespace: which names there are, what they stand for, how large they are and where links lead.
//!
//! Reads the store and renders; keeps nothing between calls. Must not know of errnos, handles or kernels.

mod changes;
mod documents;
mod listing;
mod names;
mod node;

use rusqlite::Connection;

use crate::derived;
use crate::model::{Millis, Session};
use crate::render::Following;
use crate::store::commits::Listed;
use crate::store::{self, Result, commits, facets, git, projects, sessions, stats, turns, visuals};

pub use changes::{Stale, everything, fixed, following, stale};
pub use documents::{Contents, contents, directory_of_document, documents_beside, turn_files};
pub use listing::{Entry, list};
pub use names::{Found, lookup};
pub use node::Node;

/// Where the tree is seen, and by what process: what its README and its status say.
#[derive(Debug, Clone)]
pub struct View {
    /// The mountpoint as its user knows it.
    pub mountpoint: String,
    pub following: Following,
}

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File,
    Symlink,
}

/// What `stat` says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    pub size: u64,
    pub mtime: Millis,
    pub ctime: Millis,
}

impl Facts {
    fn directory(mtime: Millis, ctime: Millis) -> Self {
        Self { kind: Kind::Directory, size: 4096, mtime, ctime }
    }

    fn file(size: u64, mtime: Millis, ctime: Millis) -> Self {
        Self { kind: Kind::File, size, mtime, ctime }
    }

    fn link(target: &str, mtime: Millis, ctime: Millis) -> Self {
        Self { kind: Kind::Symlink, size: target.len() as u64, mtime, ctime }
    }
}

/// What `stat` says of a node; `None` when there is no such entity.
///
/// # Errors
/// When the database cannot be read.
pub fn facts(conn: &Connection, view: &View, node: Node) -> Result<Option<Facts>> {
    Ok(match node {
        Node::Root
        | Node::ControlDir
        | Node::ProjectsDir
        | Node::ByDir
        | Node::ViewDir(_)
        | Node::ByGitDir
        | Node::ByIdDir => {
            let at = last_change(conn)?;
            Some(Facts::directory(at, at))
        }
        Node::Readme | Node::Ignore | Node::Status => {
            let at = last_change(conn)?;
            documents::size(conn, view, node)?.map(|size| Facts::file(size, at, at))
        }
        Node::ProjectFiles(row) if !facets::any_file(conn, row)? => None,
        Node::Project(row) | Node::ProjectFiles(row) => {
            let mtime = commits::latest(conn, row)?.map(|c| c.closed_at);
            projects::get(conn, row)?.map(|p| Facts::directory(mtime.unwrap_or(p.created_at), p.updated_at))
        }
        Node::ProjectJson(row) => match projects::get(conn, row)? {
            Some(project) => {
                documents::size(conn, view, node)?.map(|size| Facts::file(size, project.updated_at, project.updated_at))
            }
            None => None,
        },
        Node::ProjectLatest(row) => {
            commits::latest(conn, row)?.map(|c| Facts::link(&c.dir_name, c.closed_at, c.updated_at))
        }
        Node::Commit(row) | Node::SessionsDir(row) => {
            commits::listed(conn, row)?.map(|c| Facts::directory(c.closed_at, c.updated_at))
        }
        Node::VisualsDir(row) if visuals::any_of_commit(conn, row)? => {
            commits::listed(conn, row)?.map(|c| Facts::directory(c.closed_at, c.updated_at))
        }
        Node::VisualsDir(_) => None,
        Node::CommitMetaMd(row) | Node::CommitMetaJson(row) | Node::CommitTranscript(row) => {
            match commits::listed(conn, row)? {
                Some(commit) => documents::size(conn, view, node)?
                    .map(|size| Facts::file(size, commit.closed_at, commit.updated_at)),
                None => None,
            }
        }
        Node::Visual(row) => visuals::get(conn, row)?.map(|v| Facts::file(v.bytes, v.captured_at, v.captured_at)),
        Node::Session(row) | Node::TurnsDir(row) => {
            shown(conn, row)?.map(|s| Facts::directory(s.ended_at, s.updated_at))
        }
        Node::SubagentsDir(row) if sessions::has_subagents(conn, row)? => {
            shown(conn, row)?.map(|s| Facts::directory(s.ended_at, s.updated_at))
        }
        Node::SubagentsDir(_) => None,
        Node::SessionTranscript(row) | Node::SessionMetaJson(row) | Node::SessionRaw(row) => match shown(conn, row)? {
            Some(session) => {
                documents::size(conn, view, node)?.map(|size| Facts::file(size, session.ended_at, session.updated_at))
            }
            None => None,
        },
        Node::Turn(row) => turn_facts(conn, row)?,
        Node::Facet(row) => facets::get(conn, row)?.map(|f| Facts::directory(f.closed_at, f.updated_at)),
        Node::FacetLink(_) | Node::GitLink(_) | Node::IdCommit(_) => {
            linked(conn, node)?.map(|(commit, up)| link_facts(&commit, up))
        }
        Node::IdSession(row) => match shown(conn, row)? {
            Some(session) => {
                link_target(conn, node)?.map(|target| Facts::link(&target, session.ended_at, session.updated_at))
            }
            None => None,
        },
    })
}

/// The commit that a link in a view leads to, and how many directories lie between the link and the root.
fn linked(conn: &Connection, node: Node) -> Result<Option<(Listed, u32)>> {
    let (commit_row, up) = match node {
        Node::FacetLink(row) => {
            let Some((facet_row, commit_row)) = facets::link(conn, row)? else { return Ok(None) };
            let Some(facet) = facets::get(conn, facet_row)? else { return Ok(None) };
            (commit_row, above_links(&facet))
        }
        Node::GitLink(row) => match git::get(conn, row)? {
            Some(git) => (git.commit_row, 2),
            None => return Ok(None),
        },
        Node::IdCommit(row) => (row, 2),
        _ => return Ok(None),
    };
    Ok(commits::listed(conn, commit_row)?.map(|commit| (commit, up)))
}

/// How many directories lie between the links of a facet and the root.
fn above_links(facet: &facets::Facet) -> u32 {
    3 + facet.depth
}

fn target(commit: &Listed, up: u32) -> String {
    format!("{}projects/{}/{}", "../".repeat(up as usize), commit.project_dir, commit.dir_name)
}

fn link_facts(commit: &Listed, up: u32) -> Facts {
    Facts::link(&target(commit, up), commit.closed_at, commit.updated_at)
}

/// A session that has a place in the tree.
fn shown(conn: &Connection, row: i64) -> Result<Option<Session>> {
    Ok(sessions::get(conn, row)?.filter(|s| s.commit_row.is_some()))
}

fn turn_facts(conn: &Connection, row: i64) -> Result<Option<Facts>> {
    let (session_row, number) = turns::parts_of(row);
    let Some(index) = sessions::turn_index(conn, session_row)? else { return Ok(None) };
    let Some(entry) = index.get(number) else { return Ok(None) };
    let current = derived::is_current(index.render_version);
    let depth = if !current || entry.visual_links > 0 { depth(conn, session_row)? } else { 0 };
    let size = if current { turn_size(conn, row, &entry, depth)? } else { measured_turn_size(conn, row, depth)? };
    Ok(Some(Facts::file(size, entry.at, entry.at)))
}

/// The size of a turn's file: its length without prefixes is in the index, with how many links to visuals it has.
fn turn_size(conn: &Connection, row: i64, entry: &store::index::Entry, depth: usize) -> Result<u64> {
    match entry.visual_links {
        0 => Ok(u64::from(entry.bytes)),
        // More links than the index counts.
        u8::MAX => measured_turn_size(conn, row, depth),
        links => Ok(u64::from(entry.bytes) + u64::from(links) * turn_visual_prefix(depth).len() as u64),
    }
}

/// The size of a turn's file by rendering it: where the index does not say it, or another version of the renderer does.
fn measured_turn_size(conn: &Connection, row: i64, depth: usize) -> Result<u64> {
    Ok(turns::get(conn, row)?.map_or(0, |turn| {
        let (bytes, links) = crate::render::turn_len(&turn);
        bytes + links * turn_visual_prefix(depth).len() as u64
    }))
}

/// How many subagents deep a session lies: 0 for one of its own.
fn depth(conn: &Connection, row: i64) -> Result<usize> {
    let (mut depth, mut at) = (0, sessions::parent(conn, row)?);
    // A damaged database must not make a loop of it.
    while let Some(row) = at.filter(|_| depth < 64) {
        depth += 1;
        at = sessions::parent(conn, row)?;
    }
    Ok(depth)
}

/// From a session's transcript to the commit's visuals.
fn visual_prefix(depth: usize) -> String {
    format!("{}visuals/", "../".repeat(2 + 2 * depth))
}

/// From a turn's file to the commit's visuals.
fn turn_visual_prefix(depth: usize) -> String {
    format!("../{}", visual_prefix(depth))
}

/// From a session's transcript to its turns.
const TURN_PREFIX: &str = "turns/";

/// When the database last changed: the time of the fixed nodes.
fn last_change(conn: &Connection) -> Result<Millis> {
    let known = match store::state(conn, "last_import")? {
        Some(at) => Some(at),
        None => store::state(conn, "created_at")?,
    };
    Ok(Millis(known.and_then(|at| at.parse().ok()).unwrap_or_default()))
}

/// A session's directory, from the mount's root.
fn session_path(conn: &Connection, session: &Session) -> Result<Option<String>> {
    match (session.parent_row, session.commit_row) {
        (Some(parent), _) => {
            let Some(parent) = sessions::get(conn, parent)? else { return Ok(None) };
            Ok(session_path(conn, &parent)?.map(|path| format!("{path}/subagents/{}", session.dir_name)))
        }
        (None, Some(commit)) => {
            Ok(commit_path(conn, commit)?.map(|path| format!("{path}/sessions/{}", session.dir_name)))
        }
        (None, None) => Ok(None),
    }
}

fn commit_path(conn: &Connection, row: i64) -> Result<Option<String>> {
    Ok(commits::listed(conn, row)?.map(|c| format!("projects/{}/{}", c.project_dir, c.dir_name)))
}

/// Where a symbolic link leads, relative to its directory; `None` when the node is no link or leads nowhere.
///
/// # Errors
/// When the database cannot be read.
pub fn link_target(conn: &Connection, node: Node) -> Result<Option<String>> {
    Ok(match node {
        Node::ProjectLatest(row) => commits::latest(conn, row)?.map(|c| c.dir_name),
        Node::FacetLink(_) | Node::GitLink(_) | Node::IdCommit(_) => {
            linked(conn, node)?.map(|(commit, up)| target(&commit, up))
        }
        Node::IdSession(row) => match shown(conn, row)? {
            Some(session) => session_path(conn, &session)?.map(|path| format!("../../{path}")),
            None => None,
        },
        _ => None,
    })
}

/// Totals of the whole tree.
///
/// # Errors
/// When the database cannot be read.
pub fn totals(conn: &Connection) -> Result<stats::Totals> {
    stats::totals(conn)
}
