//! From a change of the store to the nodes and names that are stale by it.

use rusqlite::Connection;

use super::Node;
use super::listing::draft_name;
use crate::store::facets::{self, FacetKind};
use crate::store::{Change, ChangeKind, Result, commits, former_names, git, projects, sessions};

/// Something that is remembered elsewhere and no longer true.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stale {
    /// Attributes and contents of a node; for a directory, what it lists.
    Node(u64),
    /// A name that means something else now, or nothing.
    Name { parent: u64, name: String },
}

/// What a change makes stale.
///
/// # Errors
/// When the database cannot be read.
pub fn stale(conn: &Connection, change: &Change, out: &mut Vec<Stale>) -> Result<()> {
    let mut nodes = |nodes: &[Node]| out.extend(nodes.iter().map(|n| Stale::Node(n.ino())));
    match change.kind {
        ChangeKind::Projects => {
            nodes(&[Node::ProjectsDir]);
            push_name(out, Node::ProjectsDir, change.name.as_ref());
            push_name(out, Node::ViewDir(FacetKind::File), change.name.as_ref());
        }
        ChangeKind::Project => project(change.row, out),
        ChangeKind::ProjectCommits => {
            project(change.parent, out);
            out.push(Stale::Node(Node::HiddenDir(change.parent).ino()));
            push_name(out, Node::Project(change.parent), change.name.as_ref());
            push_name(out, Node::HiddenDir(change.parent), change.name.as_ref());
        }
        ChangeKind::Commit => {
            let row = change.row;
            nodes(&[
                Node::Commit(row),
                Node::CommitMetaMd(row),
                Node::CommitMetaJson(row),
                Node::CommitTranscript(row),
                Node::CommitPage(row),
                Node::SessionsDir(row),
                Node::VisualsDir(row),
            ]);
            if let Some(commit) = commits::get(conn, row)? {
                project(commit.project_row, out);
            }
            // Their pages name it, and its path is in theirs.
            for session in sessions::rows_of_commit(conn, row)? {
                let pages =
                    [Node::SessionMetaJson(session), Node::SessionTranscript(session), Node::IdSession(session)];
                out.extend(pages.iter().map(|n| Stale::Node(n.ino())));
            }
            // The names it had lead to where it lies, or nowhere: a link's target is cached with the name.
            for (former, project, name) in former_names::of_commit(conn, row)? {
                out.push(Stale::Node(Node::Former(former).ino()));
                push_name(out, Node::Project(project), Some(&name));
            }
            views(conn, row, None, out)?;
        }
        ChangeKind::CommitSessions => {
            nodes(&[
                Node::SessionsDir(change.row),
                Node::Commit(change.row),
                Node::CommitTranscript(change.row),
                Node::CommitPage(change.row),
            ]);
            push_name(out, Node::SessionsDir(change.row), change.name.as_ref());
        }
        ChangeKind::Session => session(conn, change.row, out)?,
        ChangeKind::SessionSubagents => {
            nodes(&[Node::Session(change.row), Node::SubagentsDir(change.row), Node::SessionMetaJson(change.row)]);
            push_name(out, Node::SubagentsDir(change.row), change.name.as_ref());
            // The directory goes with the last.
            push_name(out, Node::Session(change.row), change.name.as_ref().and(Some(&"subagents".to_owned())));
        }
        ChangeKind::Turn => nodes(&[Node::Turn(change.row)]),
        ChangeKind::CommitVisuals => {
            nodes(&[Node::Commit(change.row), Node::VisualsDir(change.row), Node::CommitMetaJson(change.row)]);
            if change.name.is_some() {
                nodes(&[Node::Visual(change.parent)]);
                push_name(out, Node::VisualsDir(change.row), change.name.as_ref());
                push_name(out, Node::Commit(change.row), Some(&"visuals".to_owned()));
            }
        }
        ChangeKind::Views => views(conn, change.row, change.name.as_ref(), out)?,
        ChangeKind::Facet => {
            nodes(&[Node::Facet(change.row)]);
            push_name(out, Node::Facet(change.row), change.name.as_ref());
            emptied_facet(conn, change.row, out)?;
        }
        ChangeKind::Git => {
            nodes(&[Node::GitLink(change.row)]);
            push_name(out, Node::ByGitDir, change.name.as_ref());
        }
        ChangeKind::FacetGone => {
            let parent = match (change.row, FacetKind::from_i64(change.parent)) {
                (0, Some(kind)) => Node::ViewDir(kind),
                (row @ 1.., _) => Node::Facet(row),
                (row, _) => Node::ProjectFiles(-row),
            };
            nodes(&[parent]);
            push_name(out, parent, change.name.as_ref());
        }
        ChangeKind::Id => push_name(out, Node::ByIdDir, change.name.as_ref()),
        ChangeKind::Trash => {
            nodes(&[Node::TrashDir, Node::ManagerTrashFiles]);
            push_name(out, Node::TrashDir, change.name.as_ref());
            push_name(out, Node::ManagerTrashFiles, change.name.as_ref());
        }
        ChangeKind::Drafts => {
            nodes(&[Node::DraftsDir, Node::Draft(change.row)]);
            if let Some(commit) = commits::get(conn, change.row)? {
                push_name(out, Node::DraftsDir, Some(&draft_name(&commit.id)));
            }
        }
        ChangeKind::Conflicts => {
            nodes(&[Node::ConflictsDir, Node::Conflict(change.row)]);
            push_name(out, Node::ConflictsDir, change.name.as_ref());
        }
        ChangeKind::Searches => {
            nodes(&[Node::SearchDir, Node::Search(change.row)]);
            push_name(out, Node::SearchDir, change.name.as_ref());
        }
        ChangeKind::TurnName => push_name(out, Node::TurnsDir(change.row), change.name.as_ref()),
    }
    Ok(())
}

/// The nodes of no entity: their time is that of the last change, and the README and the status count everything.
pub fn fixed(out: &mut Vec<Stale>) {
    let fixed = [
        Node::Root,
        Node::Readme,
        Node::Ignore,
        Node::ControlDir,
        Node::Status,
        Node::Queue,
        Node::Control,
        Node::TrashDir,
        Node::DraftsDir,
        Node::ConflictsDir,
        Node::ManagerTrash,
        Node::ManagerTrashFiles,
        Node::ManagerTrashInfo,
        Node::ManagerTrashExpunged,
        Node::ProjectsDir,
        Node::ByDir,
        Node::ByGitDir,
        Node::ByIdDir,
        Node::SearchDir,
    ];
    out.extend(fixed.into_iter().chain(FacetKind::ALL.map(Node::ViewDir)).map(|n| Stale::Node(n.ino())));
}

/// The log of refused writes.
pub fn errors(out: &mut Vec<Stale>) {
    out.push(Stale::Node(Node::Errors.ino()));
}

/// What says how the logs are followed.
pub fn following(out: &mut Vec<Stale>) {
    out.push(Stale::Node(Node::Status.ino()));
}

/// Everything: the names at the root of what changes. The kernel forgets what lies below a name with it.
///
/// # Errors
/// When the database cannot be read.
pub fn everything(conn: &Connection, out: &mut Vec<Stale>) -> Result<()> {
    for project in projects::all(conn)? {
        push_name(out, Node::ProjectsDir, Some(&project.dir_name));
        out.push(Stale::Node(Node::Project(project.row).ino()));
    }
    for (dir, name) in [
        (Node::Root, "projects"),
        (Node::Root, "by"),
        (Node::Root, "search"),
        (Node::ByDir, "id"),
        (Node::ByDir, "git"),
    ] {
        push_name(out, dir, Some(&name.to_owned()));
    }
    for kind in FacetKind::ALL {
        push_name(out, Node::ByDir, Some(&kind.as_str().to_owned()));
    }
    out.push(Stale::Node(Node::ProjectsDir.ino()));
    Ok(())
}

/// Everything in the views that leads to a commit: its links have its times, and the directories around them have those of the
/// commit that came last.
fn views(conn: &Connection, commit_row: i64, gone: Option<&String>, out: &mut Vec<Stale>) -> Result<()> {
    out.extend([Node::ByIdDir, Node::IdCommit(commit_row)].map(|n| Stale::Node(n.ino())));
    for (facet_row, link_row) in facets::links_to(conn, commit_row)? {
        out.push(Stale::Node(Node::FacetLink(link_row).ino()));
        push_name(out, Node::Facet(facet_row), gone);
    }
    out.extend(facets::around(conn, commit_row)?.into_iter().map(|row| Stale::Node(Node::Facet(row).ino())));
    for git in git::of_commit(conn, commit_row)? {
        out.push(Stale::Node(Node::GitLink(git.row).ino()));
        // It leads elsewhere by the same name.
        push_name(out, Node::ByGitDir, gone.and(Some(&git.name)));
    }
    if let Some(commit) = commits::get(conn, commit_row)? {
        out.push(Stale::Node(Node::ProjectFiles(commit.project_row).ino()));
    }
    Ok(())
}

/// A directory of a view with nothing in it any more: a day that nothing started on, a file that nobody wrote.
fn emptied_facet(conn: &Connection, row: i64, out: &mut Vec<Stale>) -> Result<()> {
    match facets::emptied(conn, row)? {
        Some((FacetKind::File, parent @ 1.., name)) => {
            push_name(out, Node::Facet(parent), Some(&name));
            out.push(Stale::Node(Node::Facet(parent).ino()));
        }
        Some((FacetKind::File, top, name)) => {
            let project = facets::project_of_files(top);
            push_name(out, Node::ProjectFiles(project), Some(&name));
            out.push(Stale::Node(Node::ProjectFiles(project).ino()));
            if !facets::any_file(conn, project)?
                && let Some(project) = projects::get(conn, project)?
            {
                push_name(out, Node::ViewDir(FacetKind::File), Some(&project.dir_name));
            }
        }
        Some((kind, _, name)) => push_name(out, Node::ViewDir(kind), Some(&name)),
        None => {}
    }
    Ok(())
}

fn session(conn: &Connection, row: i64, out: &mut Vec<Stale>) -> Result<()> {
    let own = [
        Node::Session(row),
        Node::SessionTranscript(row),
        Node::SessionMetaJson(row),
        Node::SessionRaw(row),
        Node::SessionResume(row),
        Node::TurnsDir(row),
        Node::SubagentsDir(row),
        Node::IdSession(row),
        Node::ByIdDir,
    ];
    out.extend(own.iter().map(|n| Stale::Node(n.ino())));
    // Its commit's pages tell of it.
    if let Some(commit) = sessions::get(conn, row)?.and_then(|s| s.commit_row) {
        let pages = [
            Node::Commit(commit),
            Node::CommitMetaJson(commit),
            Node::CommitTranscript(commit),
            Node::CommitPage(commit),
            Node::SessionsDir(commit),
        ];
        out.extend(pages.iter().map(|n| Stale::Node(n.ino())));
        if let Some(commit) = commits::get(conn, commit)? {
            project(commit.project_row, out);
        }
    }
    Ok(())
}

/// A project's own page counts what it holds, its times are those of its commits, and `latest` leads elsewhere: its target
/// is cached with the name.
fn project(row: i64, out: &mut Vec<Stale>) {
    let nodes = [Node::Project(row), Node::ProjectFiles(row), Node::ProjectJson(row), Node::ProjectLatest(row)];
    out.extend(nodes.iter().map(|n| Stale::Node(n.ino())));
    push_name(out, Node::Project(row), Some(&"latest".to_owned()));
}

fn push_name(out: &mut Vec<Stale>, parent: Node, name: Option<&String>) {
    if let Some(name) = name {
        out.push(Stale::Name { parent: parent.ino(), name: name.clone() });
    }
}
