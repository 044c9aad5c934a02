//! What directories list. An offset is the place behind an entry and stays right whatever is added meanwhile: fixed entries
//! have small ones, entities have their row or number above [`FIRST_ENTITY`].

use rusqlite::Connection;

use super::{
    Facts, Kind, Node, View, above_links, depth, documents, facts, link_facts, measured_turn_size, placed_facts,
    turn_size,
};
use crate::derived;
use crate::model::{Id, Project};
use crate::render;
use crate::store::commits::Home;
use crate::store::facets::{self, FacetKind};
use crate::store::index::TurnIndex;
use crate::store::trash::{self, Trashed};
use crate::store::{EntityKind, Result, commits, conflicts, drafts, git, projects, searches, sessions, turns, visuals};

/// Offsets below it are the fixed entries of a directory.
const FIRST_ENTITY: u64 = 16;

/// What the directory of a project's hidden commits is called, and its place.
pub(super) const HIDDEN: &str = "hidden";
const HIDDEN_PLACE: u64 = 8;

/// Behind the first kind of entities of a directory: in `by/id/`, sessions behind commits; in a file's directory, links to
/// commits behind the directories below it.
const SECOND_KIND: u64 = 1 << 57;

/// One name of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub node: Node,
    pub kind: Kind,
    /// The place behind it.
    pub next: u64,
    /// Known without asking, where the listing's row holds it and it was asked for.
    pub facts: Option<Facts>,
}

/// Gives the entries of a directory behind `after` to `sink`, until that returns false. False when it is no directory. What is
/// known of entries comes with them where `with_facts` says that it is of use: the names alone of many links are read faster.
///
/// # Errors
/// When the database cannot be read.
pub fn list(
    conn: &Connection,
    view: &View,
    node: Node,
    after: u64,
    with_facts: bool,
    sink: &mut dyn FnMut(Entry) -> bool,
) -> Result<bool> {
    if let Node::Session(_) | Node::Commit(_) = node {
        return documents_dir(conn, view, node, after, sink).map(|()| true);
    }
    let fixed = fixed_entries(conn, view, node)?;
    for (entry, next) in fixed.into_iter().zip(1..) {
        let (name, node, kind) = entry;
        if next > after && !sink(Entry { name: name.to_owned(), node, kind, next, facts: None }) {
            return Ok(true);
        }
    }
    match node {
        Node::ProjectsDir => by_project(projects::all(conn)?, Node::Project, after, sink),
        Node::Project(row) => {
            // The directory of hidden commits is always there, and listed when something is in it.
            let is_due = after < HIDDEN_PLACE && commits::any_of_project(conn, row, Home::Hidden)?;
            let (node, kind) = (Node::HiddenDir(row), Kind::Directory);
            let entry = || Entry { name: HIDDEN.to_owned(), node, kind, next: HIDDEN_PLACE, facts: None };
            if !is_due || sink(entry()) {
                project_dir(conn, row, Home::Project, after, sink)?;
            }
        }
        Node::HiddenDir(row) => project_dir(conn, row, Home::Hidden, after, sink)?,
        Node::TrashDir => trashed(trash::listed(conn, row_of(after))?, sink),
        Node::ManagerTrashFiles => {
            let mut found = trash::listed(conn, row_of(after))?;
            found.retain(|trashed| trashed.by_manager);
            trashed(found, sink);
        }
        Node::DraftsDir => draft_files(conn, after, sink)?,
        Node::ConflictsDir => conflict_files(conn, after, sink)?,
        Node::SessionsDir(row) => {
            let found = sessions::of_commit(conn, row)?;
            numbered(found.into_iter().map(|s| (s.dir_name, Node::Session(s.row), Kind::Directory)), after, sink);
        }
        Node::SubagentsDir(row) => {
            let found = sessions::subagents(conn, row)?;
            numbered(found.into_iter().map(|s| (s.dir_name, Node::Session(s.row), Kind::Directory)), after, sink);
        }
        Node::VisualsDir(row) => {
            let found = visuals::of_commit(conn, row)?;
            numbered(found.into_iter().map(|v| (v.file_name, Node::Visual(v.row), Kind::File)), after, sink);
        }
        Node::TurnsDir(row) => turns_dir(conn, row, after, sink)?,
        Node::ViewDir(FacetKind::File) => {
            let mut found = Vec::new();
            for project in projects::all(conn)? {
                if facets::any_file(conn, project.row)? {
                    found.push(project);
                }
            }
            by_project(found, Node::ProjectFiles, after, sink);
        }
        Node::ViewDir(kind) => {
            children(conn, kind, 0, after, sink)?;
        }
        Node::ProjectFiles(row) => {
            children(conn, FacetKind::File, facets::files_of_project(row), after, sink)?;
        }
        Node::Facet(row) => facet(conn, row, after, with_facts, sink)?,
        Node::ByGitDir => by_git(conn, after, with_facts, sink)?,
        Node::ByIdDir => by_id(conn, after, with_facts, sink)?,
        Node::SearchDir => kept_searches(conn, after, sink)?,
        Node::Root
        | Node::ControlDir
        | Node::ByDir
        | Node::ManagerTrash
        | Node::ManagerTrashInfo
        | Node::ManagerTrashExpunged => {}
        _ => return Ok(false),
    }
    Ok(true)
}

type Fixed = (&'static str, Node, Kind);

/// The entries a directory always has, or has when there is something in them.
pub(super) fn fixed_entries(conn: &Connection, view: &View, node: Node) -> Result<Vec<Fixed>> {
    let mut entries = fixed_names(node);
    // These are there only when they hold something.
    let last = entries.last().map(|e| e.1);
    if let Some(last @ (Node::ProjectLatest(_) | Node::VisualsDir(_) | Node::SubagentsDir(_))) = last
        && facts(conn, view, last)?.is_none()
    {
        entries.pop();
    }
    Ok(entries)
}

fn fixed_names(node: Node) -> Vec<Fixed> {
    use Kind::{Directory, File, Symlink};
    match node {
        Node::Root => vec![
            ("README.md", Node::Readme, File),
            (".ignore", Node::Ignore, File),
            (".cogfs", Node::ControlDir, Directory),
            ("projects", Node::ProjectsDir, Directory),
            ("by", Node::ByDir, Directory),
            ("search", Node::SearchDir, Directory),
        ],
        Node::ControlDir => vec![
            ("status.json", Node::Status, File),
            ("ctl", Node::Control, File),
            ("errors.jsonl", Node::Errors, File),
            ("queue.jsonl", Node::Queue, File),
            ("conflicts", Node::ConflictsDir, Directory),
            ("drafts", Node::DraftsDir, Directory),
            ("trash", Node::TrashDir, Directory),
        ],
        Node::ManagerTrash => {
            vec![
                ("files", Node::ManagerTrashFiles, Directory),
                ("info", Node::ManagerTrashInfo, Directory),
                ("expunged", Node::ManagerTrashExpunged, Directory),
            ]
        }
        Node::ByDir => vec![
            ("date", Node::ViewDir(FacetKind::Date), Directory),
            ("agent", Node::ViewDir(FacetKind::Agent), Directory),
            ("id", Node::ByIdDir, Directory),
            ("model", Node::ViewDir(FacetKind::Model), Directory),
            ("machine", Node::ViewDir(FacetKind::Machine), Directory),
            ("tool", Node::ViewDir(FacetKind::Tool), Directory),
            ("file", Node::ViewDir(FacetKind::File), Directory),
            ("git", Node::ByGitDir, Directory),
            ("tag", Node::ViewDir(FacetKind::Tag), Directory),
            ("status", Node::ViewDir(FacetKind::Status), Directory),
        ],
        Node::Project(row) => {
            vec![("project.json", Node::ProjectJson(row), File), ("latest", Node::ProjectLatest(row), Symlink)]
        }
        Node::Commit(row) => vec![
            ("meta.md", Node::CommitMetaMd(row), File),
            ("meta.json", Node::CommitMetaJson(row), File),
            ("transcript.md", Node::CommitTranscript(row), File),
            ("transcript.html", Node::CommitPage(row), File),
            ("sessions", Node::SessionsDir(row), Directory),
            ("visuals", Node::VisualsDir(row), Directory),
        ],
        Node::Session(row) => vec![
            ("transcript.md", Node::SessionTranscript(row), File),
            ("meta.json", Node::SessionMetaJson(row), File),
            ("raw.jsonl", Node::SessionRaw(row), File),
            ("resume.sh", Node::SessionResume(row), File),
            ("turns", Node::TurnsDir(row), Directory),
            ("subagents", Node::SubagentsDir(row), Directory),
        ],
        _ => Vec::new(),
    }
}

/// The directory of a session or a commit: its documents, a directory, and one that is there only when it holds something.
fn documents_dir(
    conn: &Connection,
    view: &View,
    node: Node,
    after: u64,
    sink: &mut dyn FnMut(Entry) -> bool,
) -> Result<()> {
    let entries = fixed_names(node);
    let (Some(optional), true) = (entries.last(), after < entries.len() as u64) else { return Ok(()) };
    // A listing is asked for once more at its end: told without reading all the records.
    if after + 1 == entries.len() as u64 && facts(conn, view, optional.1)?.is_none() {
        return Ok(());
    }
    let Some(sizes) = documents::sizes(conn, view, node)? else { return Ok(()) };
    let optional = optional.1;
    for ((name, node, kind), next) in entries.into_iter().zip(1..) {
        let size = sizes.documents.iter().find(|(document, _)| *document == node).map(|(_, size)| *size);
        let facts = Some(match size {
            Some(size) => Facts::file(size, sizes.mtime, sizes.ctime),
            None => Facts::directory(sizes.mtime, sizes.ctime),
        });
        let is_there = node != optional || sizes.has_more;
        if next > after && is_there && !sink(Entry { name: name.to_owned(), node, kind, next, facts }) {
            break;
        }
    }
    Ok(())
}

fn numbered(entries: impl Iterator<Item = (String, Node, Kind)>, after: u64, sink: &mut dyn FnMut(Entry) -> bool) {
    for ((name, node, kind), next) in entries.zip(FIRST_ENTITY + 1..) {
        if next > after && !sink(Entry { name, node, kind, next, facts: None }) {
            return;
        }
    }
}

fn row_of(after: u64) -> i64 {
    i64::try_from(after.saturating_sub(FIRST_ENTITY)).unwrap_or(i64::MAX)
}

fn place_of(row: i64) -> u64 {
    row.cast_unsigned() + FIRST_ENTITY
}

fn by_project(mut found: Vec<Project>, node: fn(i64) -> Node, after: u64, sink: &mut dyn FnMut(Entry) -> bool) {
    found.sort_by_key(|p| p.row);
    for project in found.into_iter().filter(|p| place_of(p.row) > after) {
        let (node, next) = (node(project.row), place_of(project.row));
        if !sink(Entry { name: project.dir_name, node, kind: Kind::Directory, next, facts: None }) {
            break;
        }
    }
}

fn project_dir(conn: &Connection, row: i64, home: Home, after: u64, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    commits::for_each_of_project(conn, row, home, row_of(after), &mut |commit| {
        let facts = Some(Facts::directory(commit.mtime, commit.updated_at));
        let (node, next) = (Node::Commit(commit.row), place_of(commit.row));
        sink(Entry { name: commit.dir_name, node, kind: Kind::Directory, next, facts })
    })
}

/// The node of something deleted.
pub(super) fn trashed_node(trashed: &Trashed) -> (Node, Kind) {
    match trashed.kind {
        EntityKind::Project => (Node::Project(trashed.entity_row), Kind::Directory),
        EntityKind::Commit => (Node::Commit(trashed.entity_row), Kind::Directory),
        EntityKind::Session => (Node::Session(trashed.entity_row), Kind::Directory),
        EntityKind::Turn => (Node::Turn(trashed.entity_row), Kind::File),
    }
}

fn trashed(found: Vec<Trashed>, sink: &mut dyn FnMut(Entry) -> bool) {
    for trashed in found {
        let ((node, kind), next) = (trashed_node(&trashed), place_of(trashed.row));
        if !sink(Entry { name: trashed.name, node, kind, next, facts: None }) {
            return;
        }
    }
}

/// What the draft of a commit's document is called.
pub(super) fn draft_name(id: &Id) -> String {
    format!("{id}.md")
}

fn draft_files(conn: &Connection, after: u64, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    for draft in drafts::all(conn)?.into_iter().filter(|draft| place_of(draft.commit_row) > after) {
        let Some(commit) = commits::get(conn, draft.commit_row)? else { continue };
        let (node, next) = (Node::Draft(draft.commit_row), place_of(draft.commit_row));
        if !sink(Entry { name: draft_name(&commit.id), node, kind: Kind::File, next, facts: None }) {
            break;
        }
    }
    Ok(())
}

/// The directories of a view below one. False when the sink has enough.
fn children(
    conn: &Connection,
    kind: FacetKind,
    parent: i64,
    after: u64,
    sink: &mut dyn FnMut(Entry) -> bool,
) -> Result<bool> {
    facets::for_each_child(conn, kind, parent, row_of(after), &mut |facet| {
        let facts = Some(Facts::directory(facet.mtime, facet.updated_at));
        let (node, next) = (Node::Facet(facet.row), place_of(facet.row));
        sink(Entry { name: facet.name, node, kind: Kind::Directory, next, facts })
    })
}

/// The searches that are kept. What they find is not the tree's to know.
fn kept_searches(conn: &Connection, after: u64, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    for kept in searches::after(conn, row_of(after))? {
        let (node, next) = (Node::Search(kept.row), place_of(kept.row));
        if !sink(Entry { name: kept.query, node, kind: Kind::Directory, next, facts: None }) {
            break;
        }
    }
    Ok(())
}

fn conflict_files(conn: &Connection, after: u64, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    for conflict in conflicts::open_after(conn, row_of(after))? {
        let (node, next) = (Node::Conflict(conflict.row), place_of(conflict.row));
        if !sink(Entry { name: conflict.file_name(), node, kind: Kind::File, next, facts: None }) {
            break;
        }
    }
    Ok(())
}

/// A directory of a view: for files, the directories below it; then the links to commits.
fn facet(conn: &Connection, row: i64, after: u64, with_facts: bool, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    let Some(facet) = facets::get(conn, row)? else { return Ok(()) };
    let has_below = facet.kind == FacetKind::File && facets::any_child(conn, FacetKind::File, row)?;
    if has_below && after < SECOND_KIND && !children(conn, FacetKind::File, row, after, sink)? {
        return Ok(());
    }
    // A part of a path may be called as a commit is.
    let is_below = |name: &str| Ok(has_below && facets::child(conn, FacetKind::File, row, name)?.is_some());
    let mut failure = None;
    let mut give = |link_row, commit_row: i64, name: String, facts| match is_below(&name) {
        Ok(true) => true,
        Ok(false) => {
            let (node, next) = (Node::FacetLink(link_row), SECOND_KIND + commit_row.cast_unsigned());
            sink(Entry { name, node, kind: Kind::Symlink, next, facts })
        }
        Err(e) => {
            failure = Some(e);
            false
        }
    };
    let after = row_of(after.saturating_sub(SECOND_KIND) + FIRST_ENTITY);
    if with_facts {
        let up = above_links(&facet);
        facets::for_each_link(conn, row, after, &mut |link_row, commit| {
            let facts = Some(link_facts(&commit, up));
            give(link_row, commit.row, commit.link_name, facts)
        })?;
    } else {
        facets::for_each_link_name(conn, row, after, &mut |link_row, commit_row, name| {
            give(link_row, commit_row, name, None)
        })?;
    }
    failure.map_or(Ok(()), Err)
}

fn by_git(conn: &Connection, after: u64, with_facts: bool, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    let mut give = |row, name, facts| {
        sink(Entry { name, node: Node::GitLink(row), kind: Kind::Symlink, next: place_of(row), facts })
    };
    let after = row_of(after);
    if with_facts {
        git::for_each(conn, after, &mut |row, name, commit| give(row, name, Some(link_facts(&commit, 2))))
    } else {
        git::for_each_name(conn, after, &mut |row, name| give(row, name, None))
    }
}

fn by_id(conn: &Connection, after: u64, with_facts: bool, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    if after < SECOND_KIND {
        let mut give = |id: Id, row, facts| {
            let (node, next) = (Node::IdCommit(row), place_of(row));
            sink(Entry { name: id.to_string(), node, kind: Kind::Symlink, next, facts })
        };
        let behind = row_of(after);
        let all = if with_facts {
            commits::for_each_id(conn, behind, &mut |id, commit| give(id, commit.row, Some(link_facts(&commit, 2))))?
        } else {
            commits::for_each_bare_id(conn, behind, &mut |id, row| give(id, row, None))?
        };
        if !all {
            return Ok(());
        }
    }
    let mut give = |id: Id, row: i64, facts| {
        let (node, next) = (Node::IdSession(row), SECOND_KIND + row.cast_unsigned());
        sink(Entry { name: id.to_string(), node, kind: Kind::Symlink, next, facts })
    };
    let after = row_of(after.saturating_sub(SECOND_KIND) + FIRST_ENTITY);
    if with_facts {
        sessions::for_each_placed_id(conn, after, &mut |id, row, placed| {
            give(id, row, placed.map(|placed| placed_facts(&placed)))
        })
    } else {
        sessions::for_each_id(conn, after, &mut |id, row| give(id, row, None))
    }
}

fn turns_dir(conn: &Connection, row: i64, after: u64, sink: &mut dyn FnMut(Entry) -> bool) -> Result<()> {
    let Some(index) = sessions::turn_index(conn, row)? else { return Ok(()) };
    let first = u32::try_from(row_of(after)).unwrap_or(u32::MAX).saturating_add(1);
    if first > index.len() {
        return Ok(());
    }
    let slugs = tool_slugs(&index);
    let current = derived::is_current(index.render_version) || sessions::is_elsewhere(conn, row)?;
    let depth = depth(conn, row)?;
    for number in first..=index.len() {
        let Some(entry) = index.get(number) else { continue };
        let turn_row = turns::row_of(row, number);
        let size = if current {
            turn_size(conn, turn_row, &entry, depth)?
        } else {
            measured_turn_size(conn, turn_row, depth)?
        };
        let slug = slugs.get(entry.tool_name as usize).map(String::as_str);
        let name = render::turn_file_name(number, entry.role, slug.filter(|_| index.tool_name(&entry).is_some()));
        let facts = Some(Facts::file(size, entry.at, entry.at));
        let next = place_of(i64::from(number));
        if !sink(Entry { name, node: Node::Turn(turn_row), kind: Kind::File, next, facts }) {
            break;
        }
    }
    Ok(())
}

/// The names of a session's tools as file names have them: made once a listing, not once a turn.
fn tool_slugs(index: &TurnIndex) -> Vec<String> {
    index.tool_names.iter().map(|name| render::tool_slug(name)).collect()
}
