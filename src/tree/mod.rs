//! The namespace: which names there are, what they stand for, how large they are and where links lead.
//!
//! Reads the store and renders; keeps nothing between calls. Must not know of errnos, handles or kernels.

mod attributes;
mod changes;
mod documents;
mod hits;
mod kept;
mod listing;
mod names;
mod node;

use std::sync::Arc;

use rusqlite::Connection;

use crate::derived;
use crate::model::{Millis, Session};
use crate::render::{self, Following, SyncStatus};
use crate::store::commits::{Home, Listed};
use crate::store::sessions::Placed;
use crate::store::trash::Trashed;
use crate::store::{
    self, EntityKind, Result, commits, conflicts, drafts, facets, former_names, git, projects, searches, sessions,
    stats, trash, turns, visuals,
};

pub use attributes::{Attribute, attributes};
pub use changes::{Stale, errors, everything, fixed, following, stale};
pub use documents::{
    Contents, MetaMd, VISUALS_FROM_COMMIT, contents, directory_of_document, documents_beside, elsewhere, meta_md,
    meta_md_rendering, turn_files, turns_from_commit,
};
pub use hits::{HitLink, hit_links};
pub use kept::Kept;
pub use listing::{Entry, list};
pub use names::{Found, IdRange, id_range, lookup};
pub use node::Node;

/// Where the tree is seen, and by what process: what its README and its status say.
#[derive(Debug, Clone)]
pub struct View {
    /// The mountpoint as its user knows it.
    pub mountpoint: String,
    pub following: Following,
    pub sync: SyncStatus,
    /// Whose Trash a file manager looks for.
    pub uid: u32,
    /// Bytes of the log of refused writes, and when the last was.
    pub errors: (u64, Millis),
    /// What was read last.
    pub kept: Arc<Kept>,
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
        | Node::ByIdDir
        | Node::SearchDir
        | Node::TrashDir
        | Node::DraftsDir
        | Node::ConflictsDir
        | Node::ManagerTrash
        | Node::ManagerTrashFiles
        | Node::ManagerTrashInfo
        | Node::ManagerTrashExpunged => {
            let at = last_change(conn)?;
            Some(Facts::directory(at, at))
        }
        Node::Errors => Some(Facts::file(view.errors.0, view.errors.1, view.errors.1)),
        Node::Readme | Node::Ignore | Node::Status | Node::Queue | Node::Control => {
            let at = last_change(conn)?;
            documents::size(conn, view, node)?.map(|size| Facts::file(size, at, at))
        }
        Node::ProjectFiles(row) if !facets::any_file(conn, row)? => None,
        Node::Project(row) | Node::ProjectFiles(row) => {
            let mtime = commits::latest(conn, row)?.map(|c| c.mtime);
            projects::get(conn, row)?.map(|p| Facts::directory(mtime.unwrap_or(p.created_at), p.updated_at))
        }
        Node::ProjectJson(row) => match projects::get(conn, row)? {
            Some(project) => {
                documents::size(conn, view, node)?.map(|size| Facts::file(size, project.updated_at, project.updated_at))
            }
            None => None,
        },
        Node::ProjectLatest(row) => {
            commits::latest(conn, row)?.map(|c| Facts::link(&c.dir_name, c.mtime, c.updated_at))
        }
        Node::Commit(row) | Node::SessionsDir(row) => {
            commits::listed(conn, row)?.map(|c| Facts::directory(c.mtime, c.updated_at))
        }
        Node::VisualsDir(row) if visuals::any_of_commit(conn, row)? => {
            commits::listed(conn, row)?.map(|c| Facts::directory(c.mtime, c.updated_at))
        }
        Node::VisualsDir(_) => None,
        Node::CommitMetaMd(row) => {
            documents::meta_md(conn, row)?.map(|meta| Facts::file(meta.text.len() as u64, meta.mtime, meta.ctime))
        }
        Node::CommitMetaJson(row) | Node::CommitTranscript(row) | Node::CommitPage(row) => {
            match commits::listed(conn, row)? {
                Some(commit) => {
                    documents::size(conn, view, node)?.map(|size| Facts::file(size, commit.mtime, commit.updated_at))
                }
                None => None,
            }
        }
        Node::HiddenDir(row) => projects::get(conn, row)?.map(|p| Facts::directory(p.updated_at, p.updated_at)),
        Node::Draft(row) => {
            drafts::get(conn, row)?.map(|d| Facts::file(d.text.len() as u64, d.written_at, d.written_at))
        }
        Node::Conflict(row) => match conflicts::get(conn, row)? {
            Some(conflict) => {
                documents::size(conn, view, node)?.map(|size| Facts::file(size, conflict.at, conflict.at))
            }
            None => None,
        },
        Node::Former(row) => match (link_target(conn, node)?, former_names::commit_of(conn, row)?) {
            (Some(target), Some(commit)) => {
                commits::listed(conn, commit)?.map(|commit| Facts::link(&target, commit.mtime, commit.updated_at))
            }
            _ => None,
        },
        Node::Scratch(_) => None,
        Node::Visual(row) => visuals::get(conn, row)?.map(|v| Facts::file(v.bytes, v.captured_at, v.captured_at)),
        Node::Session(row) | Node::TurnsDir(row) => {
            shown(conn, row)?.map(|s| Facts::directory(s.ended_at, s.updated_at))
        }
        // `rm -r` deletes the last subagent before it removes the directory: that is found, and listed no more.
        Node::SubagentsDir(row) if sessions::ever_had_subagents(conn, row)? => {
            shown(conn, row)?.map(|s| Facts::directory(s.ended_at, s.updated_at))
        }
        Node::SubagentsDir(_) => None,
        Node::SessionTranscript(row)
        | Node::SessionMetaJson(row)
        | Node::SessionRaw(row)
        | Node::SessionResume(row) => match shown(conn, row)? {
            Some(session) => {
                documents::size(conn, view, node)?.map(|size| Facts::file(size, session.ended_at, session.updated_at))
            }
            None => None,
        },
        Node::Turn(row) => turn_facts(conn, row)?,
        Node::Facet(row) => facets::get(conn, row)?.map(|f| Facts::directory(f.mtime, f.updated_at)),
        Node::FacetLink(_) | Node::GitLink(_) | Node::IdCommit(_) => {
            linked(conn, node)?.map(|(commit, up)| link_facts(&commit, up))
        }
        Node::Search(row) => match searches::get(conn, row)? {
            Some(_) => {
                let at = last_change(conn)?;
                Some(Facts::directory(at, at))
            }
            None => None,
        },
        Node::Hit(row) => match (link_target(conn, node)?, turns::at(conn, row)?) {
            (Some(target), Some(at)) => Some(Facts::link(&target, at, at)),
            _ => None,
        },
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
    Ok(commits::listed(conn, commit_row)?.filter(|c| c.home != Home::Trash).map(|commit| (commit, up)))
}

/// How many directories lie between the links of a facet and the root.
fn above_links(facet: &facets::Facet) -> u32 {
    3 + facet.depth
}

fn target(commit: &Listed, up: u32) -> String {
    format!("{}{}", "../".repeat(up as usize), home_path(commit))
}

/// The directory of a commit that is not deleted, from the mount's root.
fn home_path(commit: &Listed) -> String {
    let hidden = if commit.home == Home::Hidden { "hidden/" } else { "" };
    format!("projects/{}/{hidden}{}", commit.project_dir, commit.dir_name)
}

fn link_facts(commit: &Listed, up: u32) -> Facts {
    Facts::link(&target(commit, up), commit.mtime, commit.updated_at)
}

/// Of the link in `by/id/` to a session that no other one started.
fn placed_facts(placed: &Placed) -> Facts {
    let target = format!("{}/sessions/{}", target(&placed.commit, 2), placed.dir_name);
    Facts::link(&target, placed.ended_at, placed.updated_at)
}

/// A session that has a place in the tree.
fn shown(conn: &Connection, row: i64) -> Result<Option<Session>> {
    Ok(sessions::get(conn, row)?.filter(|s| s.commit_row.is_some()))
}

fn turn_facts(conn: &Connection, row: i64) -> Result<Option<Facts>> {
    let (session_row, number) = turns::parts_of(row);
    let Some(index) = sessions::turn_index(conn, session_row)? else { return Ok(None) };
    let Some(entry) = index.get(number) else { return deleted_turn_facts(conn, row, session_row) };
    let current = derived::is_current(index.render_version) || sessions::is_elsewhere(conn, session_row)?;
    let depth = if !current || entry.visual_links > 0 { depth(conn, session_row)? } else { 0 };
    let size = if current { turn_size(conn, row, &entry, depth)? } else { measured_turn_size(conn, row, depth)? };
    Ok(Some(Facts::file(size, entry.at, entry.at)))
}

/// A deleted turn is in no index.
fn deleted_turn_facts(conn: &Connection, row: i64, session_row: i64) -> Result<Option<Facts>> {
    let Some(turn) = turns::get(conn, row)?.filter(|_| turns::is_deleted(conn, row).unwrap_or(false)) else {
        return Ok(None);
    };
    Ok(Some(Facts::file(measured_turn_size(conn, row, depth(conn, session_row)?)?, turn.at, turn.at)))
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
    Ok(above(conn, row)?.len())
}

/// How many subagents deep a session lies: 0 for one of its own.
///
/// # Errors
/// When the database cannot be read.
pub fn depth_of_session(conn: &Connection, row: i64) -> Result<usize> {
    depth(conn, row)
}

/// The sessions that a subagent lies in, the one that started it first.
fn above(conn: &Connection, row: i64) -> Result<Vec<i64>> {
    let (mut above, mut at) = (Vec::new(), sessions::parent(conn, row)?);
    // A damaged database must not make a loop of it.
    while let Some(row) = at.filter(|_| above.len() < 64) {
        above.push(row);
        at = sessions::parent(conn, row)?;
    }
    Ok(above)
}

/// From a session's transcript to the commit's visuals.
#[must_use]
pub fn visual_prefix(depth: usize) -> String {
    format!("{}visuals/", "../".repeat(2 + 2 * depth))
}

/// From a turn's file to the commit's visuals.
#[must_use]
pub fn turn_visual_prefix(depth: usize) -> String {
    format!("../{}", visual_prefix(depth))
}

/// From `search/QUERY/` to the root.
const UP_FROM_HIT: &str = "../../";

/// From a session's transcript to its turns.
pub const TURN_PREFIX: &str = "turns/";

/// When the database last changed: the time of the fixed nodes. Who looks for news by a directory's time alone must see it move
/// with every edit: GNOME's Trash does not list one again otherwise.
fn last_change(conn: &Connection) -> Result<Millis> {
    let at =
        |key| Ok::<i64, store::StoreError>(store::state(conn, key)?.and_then(|at| at.parse().ok()).unwrap_or_default());
    let found = match at("last_import")? {
        0 => at("created_at")?,
        import => import,
    };
    Ok(Millis(found.max(at(store::edits::LAST_EDIT)?)))
}

/// A session's directory, from the mount's root; `None` where it has no place.
///
/// # Errors
/// When the database cannot be read.
pub fn path_of_session(conn: &Connection, session: &Session) -> Result<Option<String>> {
    session_path(conn, session)
}

/// A commit's directory, from the mount's root.
///
/// # Errors
/// When the database cannot be read.
pub fn path_of_commit(conn: &Connection, row: i64) -> Result<Option<String>> {
    commit_path(conn, row)
}

/// A turn's file, from the mount's root.
///
/// # Errors
/// When the database cannot be read.
pub fn path_of_turn(conn: &Connection, row: i64) -> Result<Option<String>> {
    let (session_row, number) = turns::parts_of(row);
    let Some(session) = shown(conn, session_row)? else { return Ok(None) };
    let Some(index) = sessions::turn_index(conn, session_row)? else { return Ok(None) };
    let Some(entry) = index.get(number) else { return Ok(None) };
    let slug = index.tool_name(&entry).map(crate::render::tool_slug);
    let name = crate::render::turn_file_name(number, entry.role, slug.as_deref());
    Ok(session_path(conn, &session)?.map(|path| format!("{path}/turns/{name}")))
}

/// A session's directory, from the mount's root.
fn session_path(conn: &Connection, session: &Session) -> Result<Option<String>> {
    if sessions::deleted_at(conn, session.row)?.is_some() {
        let trashed = trash::find(conn, EntityKind::Session, session.row)?;
        return Ok(trashed.map(|trashed| format!(".cogfs/trash/{}", trashed.name)));
    }
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
    let Some(commit) = commits::listed(conn, row)? else { return Ok(None) };
    if commit.home != Home::Trash {
        return Ok(Some(home_path(&commit)));
    }
    Ok(trash::find(conn, EntityKind::Commit, row)?.map(|trashed| format!(".cogfs/trash/{}", trashed.name)))
}

/// The path of a directory or document from the mount's root, for messages; `None` for what has no one path.
///
/// # Errors
/// When the database cannot be read.
pub fn path(conn: &Connection, node: Node) -> Result<Option<String>> {
    let below = |path: Option<String>, name: &str| path.map(|path| format!("{path}/{name}"));
    Ok(match node {
        Node::Root => Some(String::new()),
        Node::ControlDir => Some(".cogfs".to_owned()),
        Node::TrashDir => Some(".cogfs/trash".to_owned()),
        Node::DraftsDir => Some(".cogfs/drafts".to_owned()),
        Node::ConflictsDir => Some(".cogfs/conflicts".to_owned()),
        Node::Conflict(row) => {
            conflicts::get(conn, row)?.map(|conflict| format!(".cogfs/conflicts/{}", conflict.file_name()))
        }
        Node::ProjectsDir => Some("projects".to_owned()),
        Node::ByDir => Some("by".to_owned()),
        Node::SearchDir => Some("search".to_owned()),
        Node::Search(row) => searches::get(conn, row)?.map(|kept| format!("search/{}", kept.query)),
        Node::Project(row) => projects::get(conn, row)?.map(|p| format!("projects/{}", p.dir_name)),
        Node::HiddenDir(row) => projects::get(conn, row)?.map(|p| format!("projects/{}/hidden", p.dir_name)),
        Node::Commit(row) => commit_path(conn, row)?,
        Node::CommitMetaMd(row) => below(commit_path(conn, row)?, "meta.md"),
        Node::CommitMetaJson(row) => below(commit_path(conn, row)?, "meta.json"),
        Node::CommitTranscript(row) => below(commit_path(conn, row)?, "transcript.md"),
        Node::CommitPage(row) => below(commit_path(conn, row)?, "transcript.html"),
        Node::SessionsDir(row) => below(commit_path(conn, row)?, "sessions"),
        Node::VisualsDir(row) => below(commit_path(conn, row)?, "visuals"),
        Node::Session(row) => sessions::get(conn, row)?.map(|s| session_path(conn, &s)).transpose()?.flatten(),
        Node::TurnsDir(row) => below(path(conn, Node::Session(row))?, "turns"),
        Node::SubagentsDir(row) => below(path(conn, Node::Session(row))?, "subagents"),
        Node::SessionTranscript(row) => below(path(conn, Node::Session(row))?, "transcript.md"),
        Node::SessionMetaJson(row) => below(path(conn, Node::Session(row))?, "meta.json"),
        Node::SessionRaw(row) => below(path(conn, Node::Session(row))?, "raw.jsonl"),
        Node::SessionResume(row) => below(path(conn, Node::Session(row))?, "resume.sh"),
        Node::Turn(row) => {
            below(path(conn, Node::TurnsDir(turns::parts_of(row).0))?, &format!("{:04}-…", turns::parts_of(row).1))
        }
        _ => None,
    })
}

/// Where something in the trash was, and would be restored to, from the mount's root.
///
/// # Errors
/// When the database cannot be read.
pub fn former_path(conn: &Connection, trashed: &Trashed) -> Result<Option<String>> {
    let row = trashed.entity_row;
    Ok(match trashed.kind {
        EntityKind::Project => None,
        EntityKind::Commit => {
            let hidden = commits::get(conn, row)?.is_some_and(|commit| commit.hidden);
            let home = if hidden { "hidden/" } else { "" };
            commits::listed(conn, row)?.map(|c| format!("projects/{}/{home}{}", c.project_dir, c.dir_name))
        }
        EntityKind::Session => {
            let Some(session) = sessions::get(conn, row)? else { return Ok(None) };
            let (parent, below) = match (session.parent_row, session.commit_row) {
                (Some(parent), _) => (path(conn, Node::Session(parent))?, "subagents"),
                (None, Some(commit)) => (commit_path(conn, commit)?, "sessions"),
                (None, None) => (None, ""),
            };
            parent.map(|parent| format!("{parent}/{below}/{}", session.dir_name))
        }
        EntityKind::Turn => {
            let dir = path(conn, Node::TurnsDir(turns::parts_of(row).0))?;
            let name = turns::get(conn, row)?.map(|turn| {
                let slug = turn.tool.as_ref().map(|tool| render::tool_slug(&tool.name));
                render::turn_file_name(turn.number, turn.role, slug.as_deref())
            });
            dir.zip(name).map(|(dir, name)| format!("{dir}/{name}"))
        }
    })
}

/// Whether a node is a commit, session or turn, or something in it.
///
/// # Errors
/// When the database cannot be read.
pub fn lies_in(conn: &Connection, node: Node, kind: EntityKind, row: i64) -> Result<bool> {
    let session = match node {
        Node::Turn(turn) if (kind, row) == (EntityKind::Turn, turn) => return Ok(true),
        Node::Turn(turn) => turns::parts_of(turn).0,
        Node::Session(session)
        | Node::SessionTranscript(session)
        | Node::SessionMetaJson(session)
        | Node::SessionRaw(session)
        | Node::SessionResume(session)
        | Node::TurnsDir(session)
        | Node::SubagentsDir(session) => session,
        Node::Visual(visual) => {
            return Ok(visuals::get(conn, visual)?.is_none_or(|v| (kind, row) == (EntityKind::Commit, v.commit_row)));
        }
        Node::Commit(commit)
        | Node::CommitMetaMd(commit)
        | Node::CommitMetaJson(commit)
        | Node::CommitTranscript(commit)
        | Node::CommitPage(commit)
        | Node::SessionsDir(commit)
        | Node::VisualsDir(commit) => return Ok((kind, row) == (EntityKind::Commit, commit)),
        _ => return Ok(false),
    };
    Ok(match kind {
        EntityKind::Commit => sessions::get(conn, session)?.and_then(|s| s.commit_row) == Some(row),
        EntityKind::Session => session == row || above(conn, session)?.contains(&row),
        EntityKind::Turn | EntityKind::Project => false,
    })
}

/// The directory of a session or a turn, whether it is deleted or not.
///
/// # Errors
/// When the database cannot be read.
pub fn home(conn: &Connection, node: Node) -> Result<Option<Node>> {
    Ok(match node {
        Node::Turn(turn) => Some(Node::TurnsDir(turns::parts_of(turn).0)),
        Node::Session(row) => sessions::get(conn, row)?.and_then(|session| match session.parent_row {
            Some(parent) => Some(Node::SubagentsDir(parent)),
            None => session.commit_row.map(Node::SessionsDir),
        }),
        _ => None,
    })
}

/// Whether a commit, session or turn was deleted, or is a part of one that was.
///
/// # Errors
/// When the database cannot be read.
pub fn lies_in_trash(conn: &Connection, node: Node) -> Result<bool> {
    let session = match node {
        Node::Turn(turn) if turns::is_deleted(conn, turn)? => return Ok(true),
        Node::Turn(turn) => turns::parts_of(turn).0,
        Node::Session(session) => session,
        Node::Commit(commit) => return Ok(commits::get(conn, commit)?.is_some_and(|c| c.deleted_at.is_some())),
        _ => return Ok(false),
    };
    for session in [session].into_iter().chain(above(conn, session)?) {
        if sessions::deleted_at(conn, session)?.is_some() {
            return Ok(true);
        }
    }
    match sessions::get(conn, session)?.and_then(|s| s.commit_row) {
        Some(commit) => lies_in_trash(conn, Node::Commit(commit)),
        None => Ok(false),
    }
}

/// Whether a node is a symbolic link, if it is there.
#[must_use]
pub fn is_link(node: Node) -> bool {
    matches!(
        node,
        Node::ProjectLatest(_)
            | Node::FacetLink(_)
            | Node::GitLink(_)
            | Node::IdCommit(_)
            | Node::IdSession(_)
            | Node::Hit(_)
            | Node::Former(_)
    )
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
        Node::Hit(row) => path_of_turn(conn, row)?.map(|path| format!("{UP_FROM_HIT}{path}")),
        Node::Former(row) => match former_names::commit_of(conn, row)?.map(|c| commits::listed(conn, c)).transpose()? {
            Some(Some(commit)) if commit.home == Home::Project => Some(commit.dir_name),
            Some(Some(commit)) if commit.home == Home::Hidden => Some(format!("hidden/{}", commit.dir_name)),
            _ => None,
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
