//! What files hold, and how large they are without making them.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Kept, Node, TURN_PREFIX, View, above, depth, shown, turn_visual_prefix, visual_prefix};
use crate::derived;
use crate::model::{Commit, Id, Millis, Project, Session};
use crate::render::{self, Out, PageLinks, Resumed, RootState};
use crate::store::conflicts::{self, Conflict, Side};
use crate::store::{self, Result, commits, drafts, machines, outbox, projects, sessions, stats, turns, visuals};

/// What a file holds.
pub enum Contents {
    /// All of it.
    Bytes(Vec<u8>),
    /// The records of a session, stored in chunks.
    Raw { session_row: i64 },
    /// A content-addressed file.
    Blob {
        sha256: String,
        /// Of a picture of another machine, whose file may not be here yet: its type.
        from_elsewhere: Option<String>,
    },
}

/// The contents of a file; `None` when there is no such entity or it is no file.
///
/// # Errors
/// When the database cannot be read.
pub fn contents(conn: &Connection, view: &View, node: Node) -> Result<Option<Contents>> {
    let text = |text: Option<String>| text.map(|t| Contents::Bytes(t.into_bytes()));
    Ok(match node {
        Node::SessionTranscript(row) => session_transcript(conn, &view.kept, row)?.map(Contents::Bytes),
        Node::CommitTranscript(row) => commit_transcript(conn, &view.kept, row)?.map(Contents::Bytes),
        Node::CommitPage(row) => commit_page(conn, &view.kept, row)?.map(Contents::Bytes),
        Node::Turn(row) => turn_file(conn, row)?.map(Contents::Bytes),
        Node::SessionRaw(row) => shown(conn, row)?.map(|_| Contents::Raw { session_row: row }),
        Node::Visual(row) => visual(conn, row)?,
        Node::CommitMetaMd(row) => meta_md(conn, row)?.map(|meta| Contents::Bytes(meta.text)),
        Node::Draft(row) => drafts::get(conn, row)?.map(|draft| Contents::Bytes(draft.text)),
        // Whoever keeps the log serves what is in it.
        Node::Errors => (view.errors.0 == 0).then(|| Contents::Bytes(Vec::new())),
        // Made for its length when the directory was listed.
        other @ (Node::SessionMetaJson(_) | Node::SessionResume(_) | Node::CommitMetaJson(_)) => {
            match view.kept.made(conn, other)? {
                Some(made) => Some(Contents::Bytes(made.into_bytes())),
                None => text(small(conn, view, other)?),
            }
        }
        other => text(small(conn, view, other)?),
    })
}

fn visual(conn: &Connection, row: i64) -> Result<Option<Contents>> {
    let Some(visual) = visuals::get(conn, row)? else { return Ok(None) };
    let from_elsewhere = visuals::is_of_another_machine(conn, row)?.then_some(visual.mime);
    Ok(Some(Contents::Blob { sha256: visual.sha256, from_elsewhere }))
}

/// The sessions whose contents a file needs and that are elsewhere. All else of the tree is always here.
///
/// # Errors
/// When the database cannot be read.
pub fn elsewhere(conn: &Connection, node: Node) -> Result<Vec<Id>> {
    let session = match node {
        Node::SessionTranscript(row) | Node::SessionRaw(row) => row,
        Node::Turn(row) => turns::parts_of(row).0,
        Node::CommitTranscript(row) | Node::CommitPage(row) => {
            return sessions::shown_elsewhere(conn, row);
        }
        _ => return Ok(Vec::new()),
    };
    Ok(sessions::id_elsewhere(conn, session)?.into_iter().collect())
}

/// The size of a file that is not a turn or a visual.
pub(super) fn size(conn: &Connection, view: &View, node: Node) -> Result<Option<u64>> {
    Ok(match node {
        Node::SessionTranscript(row) => session_transcript_size(conn, row)?,
        Node::CommitTranscript(row) => commit_transcript_size(conn, row)?,
        Node::CommitPage(row) => commit_page_size(conn, row)?,
        Node::SessionRaw(row) => shown(conn, row)?.map(|s| s.raw_bytes),
        other => small(conn, view, other)?.map(|text| text.len() as u64),
    })
}

/// The directory that a document lies in beside others; `None` for any other file.
#[must_use]
pub fn directory_of_document(node: Node) -> Option<Node> {
    match node {
        Node::SessionTranscript(row)
        | Node::SessionMetaJson(row)
        | Node::SessionRaw(row)
        | Node::SessionResume(row) => Some(Node::Session(row)),
        Node::CommitMetaMd(row) | Node::CommitMetaJson(row) | Node::CommitTranscript(row) | Node::CommitPage(row) => {
            Some(Node::Commit(row))
        }
        _ => None,
    }
}

/// The other documents of a document's directory, those of at most `largest` bytes.
///
/// # Errors
/// When the database cannot be read.
pub fn documents_beside(conn: &Connection, view: &View, node: Node, largest: u64) -> Result<Vec<Node>> {
    let sizes = directory_of_document(node).map(|dir| sizes(conn, view, dir)).transpose()?.flatten();
    let found = sizes.iter().flat_map(|sizes| sizes.documents);
    Ok(found.filter(|(other, size)| *other != node && *size <= largest).map(|(other, _)| other).collect())
}

/// What a listing was told of a directory's documents, without what may change beside the change feed.
#[derive(Debug)]
pub(super) struct Listed {
    sizes: Sizes,
    /// Of a commit's directory, whose `meta.md` is the user's.
    of: Option<(Commit, Project)>,
    /// Documents that were made for their length.
    made: Vec<(Node, String)>,
}

impl Listed {
    /// A document that was made.
    pub(super) fn made(&self, node: Node) -> Option<&str> {
        self.made.iter().find(|(made, _)| *made == node).map(|(_, text)| text.as_str())
    }
}

/// What a listing tells of a session's or a commit's directory, from records that are read once for all of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub mtime: Millis,
    pub ctime: Millis,
    /// The documents, in the order they are listed.
    pub documents: [(Node, u64); 4],
    /// Whether there is something in the last, optional directory.
    pub has_more: bool,
}

/// The sizes of the documents of a session's or a commit's directory.
pub(super) fn sizes(conn: &Connection, view: &View, dir: Node) -> Result<Option<Sizes>> {
    let listed = match view.kept.listed(conn, dir)? {
        Some(listed) => listed,
        None => {
            let found = match dir {
                Node::Session(row) => session_sizes(conn, view, row)?,
                Node::Commit(row) => commit_sizes(conn, row)?,
                _ => None,
            };
            let Some(found) = found.map(Arc::new) else { return Ok(None) };
            view.kept.keep_listed(conn, dir, Arc::clone(&found))?;
            found
        }
    };
    let mut sizes = listed.sizes;
    if let Some((commit, project)) = &listed.of {
        sizes.documents[0].1 = meta_md_of(conn, commit, project)?.text.len() as u64;
    }
    Ok(Some(sizes))
}

fn session_sizes(conn: &Connection, view: &View, row: i64) -> Result<Option<Listed>> {
    let Some(mut session) = shown(conn, row)? else { return Ok(None) };
    session.sections = derived::sections(conn, &session)?;
    let Some(commit_row) = session.commit_row else { return Ok(None) };
    // Who comes down through the tree has listed the commit's directory just now.
    let listed = view.kept.listed(conn, Node::Commit(commit_row))?;
    let read = if listed.is_some() { None } else { commit_and_project(conn, commit_row)? };
    let found = listed.as_ref().and_then(|listed| listed.of.as_ref()).or(read.as_ref());
    let Some((commit, project)) = found else { return Ok(None) };
    let subagents: Vec<String> = sessions::subagents(conn, row)?.into_iter().map(|s| s.dir_name).collect();
    let meta = render::session_meta_json(&session, project, Some(commit), &subagents);
    let (raw, mtime, ctime) = (session.raw_bytes, session.ended_at, session.updated_at);
    let resume = resume(conn, &session)?;
    let prefix = visual_prefix(depth(conn, row)?);
    let transcript = render::session_transcript_len(&titled(session, commit), &project.name, TURN_PREFIX, &prefix);
    let documents = [
        (Node::SessionTranscript(row), transcript),
        (Node::SessionMetaJson(row), meta.len() as u64),
        (Node::SessionRaw(row), raw),
        (Node::SessionResume(row), resume.len() as u64),
    ];
    let made = vec![(Node::SessionMetaJson(row), meta), (Node::SessionResume(row), resume)];
    let sizes = Sizes { mtime, ctime, documents, has_more: !subagents.is_empty() };
    Ok(Some(Listed { sizes, of: None, made }))
}

fn commit_sizes(conn: &Connection, row: i64) -> Result<Option<Listed>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    let (sessions, visuals) = (sessions::of_commit(conn, row)?, visuals::of_commit(conn, row)?);
    let json = render::commit_meta_json(&commit, &project, &sessions, &visuals);
    let sessions: Vec<Session> = sessions.into_iter().map(|s| titled(s, &commit)).collect();
    let measured = measured(conn, sessions)?;
    let documents = [
        // Asked for each time.
        (Node::CommitMetaMd(row), 0),
        (Node::CommitMetaJson(row), json.len() as u64),
        (Node::CommitTranscript(row), transcript_len(&commit, &project, &measured)),
        (Node::CommitPage(row), page_len(&commit, &project, &measured)),
    ];
    let (mtime, ctime) = (commit.curated_at.unwrap_or(commit.closed_at), commit.updated_at);
    let sizes = Sizes { mtime, ctime, documents, has_more: !visuals.is_empty() };
    Ok(Some(Listed { sizes, of: Some((commit, project)), made: vec![(Node::CommitMetaJson(row), json)] }))
}

/// The edits that wait for the cloud.
fn queue(conn: &Connection) -> Result<String> {
    let line = |w: outbox::Waiting| {
        serde_json::json!({
            "kind": w.kind.as_str(),
            "id": w.entity_id.to_string(),
            "fields": w.fields,
            "base": w.base,
            "base_version": w.base_version,
            "first_at": w.first_at.iso(),
            "last_at": w.last_at.iso(),
        })
    };
    Ok(render::json_lines(&outbox::all(conn)?.into_iter().map(line).collect::<Vec<_>>()))
}

/// A commit's `meta.md`.
pub struct MetaMd {
    pub text: Vec<u8>,
    pub mtime: Millis,
    pub ctime: Millis,
}

/// A commit's `meta.md`: the bytes of the last save while the record says what it said then, else as it is rendered.
///
/// # Errors
/// When the database cannot be read.
pub fn meta_md(conn: &Connection, row: i64) -> Result<Option<MetaMd>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    meta_md_of(conn, &commit, &project).map(Some)
}

/// A commit's `meta.md` as it is rendered.
///
/// # Errors
/// When the database cannot be read.
pub fn meta_md_rendering(conn: &Connection, row: i64) -> Result<Option<String>> {
    let found = commit_and_project(conn, row)?;
    Ok(found.map(|(commit, project)| render::meta_md(&commit, &project.dir_name)))
}

fn meta_md_of(conn: &Connection, commit: &Commit, project: &Project) -> Result<MetaMd> {
    let rendering = render::meta_md(commit, &project.dir_name);
    let ctime = commit.updated_at;
    if let Some(saved) = drafts::saved(conn, commit.row)?
        && saved.rendering == drafts::rendering_hash(&rendering)
    {
        return Ok(MetaMd { text: saved.text, mtime: saved.saved_at, ctime });
    }
    let mtime = commit.curated_at.unwrap_or(commit.closed_at);
    Ok(MetaMd { text: rendering.into_bytes(), mtime, ctime })
}

/// What `.cogfs/ctl` says when it is read.
const CONTROL_HELP: &str = "\
# Write one command a line:
#   refresh        look for changes now
#   restore ID     take back a deletion
#   undo N         take back an edit (numbers: `cogfs log`)
#   fetch ID       get what another machine has of a commit or session
#   sync now       bring this machine and the cloud in step
";

/// Documents that are as quickly made as measured.
fn small(conn: &Connection, view: &View, node: Node) -> Result<Option<String>> {
    Ok(match node {
        Node::Readme => {
            let state = match stats::projects_filled(conn)? {
                Some(projects) => RootState::Filled { projects },
                None => RootState::Empty,
            };
            Some(render::root_readme(state, &view.mountpoint))
        }
        Node::Ignore => Some(render::IGNORE_FILE.to_owned()),
        Node::Status => Some(render::status_json(&status(conn, view)?)),
        Node::ProjectJson(row) => match project_with_paths(conn, row)? {
            Some(project) => Some(render::project_json(&project, &project_counts(conn, row)?)),
            None => None,
        },
        Node::Queue => Some(queue(conn)?),
        Node::Control => Some(CONTROL_HELP.to_owned()),
        Node::Conflict(row) => conflicts::get(conn, row)?.map(|conflict| conflict_md(&conflict)),
        Node::CommitMetaJson(row) => match commit_and_project(conn, row)? {
            Some((commit, project)) => Some(render::commit_meta_json(
                &commit,
                &project,
                &sessions::of_commit(conn, row)?,
                &visuals::of_commit(conn, row)?,
            )),
            None => None,
        },
        Node::SessionMetaJson(row) => session_meta(conn, row)?,
        Node::SessionResume(row) => match shown(conn, row)? {
            Some(session) => Some(resume(conn, &session)?),
            None => None,
        },
        _ => None,
    })
}

fn conflict_md(conflict: &Conflict) -> String {
    render::conflict_md(&render::ConflictPage {
        number: conflict.row,
        kind: conflict.kind.as_str(),
        id: conflict.entity_id,
        name: &conflict.name,
        field: &conflict.field,
        base: &conflict.base,
        local: &conflict.local,
        cloud: &conflict.cloud,
        local_holds: conflict.kept == Side::Local,
        machine: &conflict.machine,
        at: conflict.at,
    })
}

/// What `.cogfs/status.json` and `cogfs status` say.
fn status(conn: &Connection, view: &View) -> Result<render::Status> {
    let totals = stats::totals(conn)?;
    let last_import = store::state(conn, "last_import")?.and_then(|at| at.parse().ok()).map(crate::model::Millis);
    Ok(render::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        schema_version: u32::try_from(store::SCHEMA_VERSION).unwrap_or(u32::MAX),
        database: conn.path().unwrap_or_default().to_owned(),
        // Pages of this very state of the database: the file itself grows and shrinks beside it.
        database_bytes: database_bytes(conn)?,
        projects: totals.projects,
        commits: totals.commits,
        sessions: totals.sessions,
        subagents: totals.subagents,
        turns: totals.turns,
        visuals: totals.visuals,
        sources: totals.sources,
        last_import,
        outdated_sessions: sessions::outdated_count(conn, render::VERSION)?,
        following: view.following.clone(),
        sync: view.sync.clone(),
        waiting: outbox::count(conn)?,
        drafts: drafts::all(conn)?.len() as u64,
        problems: Vec::new(),
    })
}

fn database_bytes(conn: &Connection) -> Result<u64> {
    let pages: u64 = conn.pragma_query_value(None, "page_count", |r| r.get(0))?;
    let page: u64 = conn.pragma_query_value(None, "page_size", |r| r.get(0))?;
    Ok(pages * page)
}

fn project_with_paths(conn: &Connection, row: i64) -> Result<Option<Project>> {
    let Some(mut project) = projects::get(conn, row)? else { return Ok(None) };
    project.paths = projects::paths(conn, row)?;
    Ok(Some(project))
}

fn project_counts(conn: &Connection, row: i64) -> Result<render::ProjectCounts> {
    let counts = stats::of_project(conn, row)?;
    Ok(render::ProjectCounts {
        commits: counts.commits,
        sessions: counts.sessions,
        subagents: counts.subagents,
        turns: counts.turns,
        visuals: counts.visuals,
    })
}

fn commit_and_project(conn: &Connection, row: i64) -> Result<Option<(Commit, Project)>> {
    let Some(commit) = commits::get(conn, row)? else { return Ok(None) };
    Ok(projects::get(conn, commit.project_row)?.map(|project| (commit, project)))
}

fn session_meta(conn: &Connection, row: i64) -> Result<Option<String>> {
    let Some(session) = shown(conn, row)? else { return Ok(None) };
    let Some((commit, project)) = session.commit_row.map(|c| commit_and_project(conn, c)).transpose()?.flatten() else {
        return Ok(None);
    };
    let subagents: Vec<String> = sessions::subagents(conn, row)?.into_iter().map(|s| s.dir_name).collect();
    Ok(Some(render::session_meta_json(&session, &project, Some(&commit), &subagents)))
}

/// A session without a title of its own is called after its commit, on its pages.
fn titled(mut session: Session, commit: &Commit) -> Session {
    session.title = session.title.or_else(|| Some(commit.title.clone())).filter(|title| !title.is_empty());
    session
}

fn sessions_of(conn: &Connection, commit: &Commit) -> Result<Vec<Session>> {
    Ok(sessions::of_commit(conn, commit.row)?.into_iter().map(|s| titled(s, commit)).collect())
}

/// A session with what its page's header says of it.
fn page(conn: &Connection, row: i64) -> Result<Option<(Session, String)>> {
    let Some(session) = shown(conn, row)? else { return Ok(None) };
    let found = session.commit_row.map(|row| commit_and_project(conn, row)).transpose()?.flatten();
    Ok(found.map(|(commit, project)| (titled(session, &commit), project.name)))
}

fn session_transcript_size(conn: &Connection, row: i64) -> Result<Option<u64>> {
    let Some((mut session, project)) = page(conn, row)? else { return Ok(None) };
    session.sections = derived::sections(conn, &session)?;
    let prefix = visual_prefix(depth(conn, row)?);
    Ok(Some(render::session_transcript_len(&session, &project, TURN_PREFIX, &prefix)))
}

fn session_transcript(conn: &Connection, kept: &Kept, row: i64) -> Result<Option<Vec<u8>>> {
    let Some((session, project)) = page(conn, row)? else { return Ok(None) };
    let prefix = visual_prefix(depth(conn, row)?);
    let mut out = room_for(render::session_transcript_len(&session, &project, TURN_PREFIX, &prefix));
    render::session_header(&mut out, &session, &project);
    kept.sections(conn, &mut out, row, TURN_PREFIX, &prefix)?;
    Ok(Some(out))
}

fn commit_transcript_size(conn: &Connection, row: i64) -> Result<Option<u64>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    Ok(Some(transcript_len(&commit, &project, &measured(conn, sessions_of(conn, &commit)?)?)))
}

/// Sessions with lengths that are this renderer's.
fn measured(conn: &Connection, mut sessions: Vec<Session>) -> Result<Vec<Session>> {
    for session in &mut sessions {
        session.sections = derived::sections(conn, session)?;
    }
    Ok(sessions)
}

fn transcript_len(commit: &Commit, project: &Project, sessions: &[Session]) -> u64 {
    let mut size = render::commit_header_len(commit, sessions, project);
    for (session, ordinal) in sessions.iter().zip(1..) {
        size += render::commit_session_heading_len(session, ordinal);
        size += session.sections.total(&turns_from_commit(session), VISUALS_FROM_COMMIT);
    }
    size
}

fn commit_page_size(conn: &Connection, row: i64) -> Result<Option<u64>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    Ok(Some(page_len(&commit, &project, &measured(conn, sessions_of(conn, &commit)?)?)))
}

fn page_len(commit: &Commit, project: &Project, sessions: &[Session]) -> u64 {
    let sized = sessions.iter().map(|session| (session, session.sections.page_total(&turns_from_commit(session))));
    render::page_len(commit, project, &sized.collect::<Vec<_>>())
}

fn commit_page(conn: &Connection, kept: &Kept, row: i64) -> Result<Option<Vec<u8>>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    let sessions = measured(conn, sessions_of(conn, &commit)?)?;
    let length = page_len(&commit, &project, &sessions);
    let mut page = room_for(length);
    render::page_start(&mut page, &commit, &project);
    let (mut index, of) = (Vec::new(), u32::try_from(sessions.len()).unwrap_or(u32::MAX));
    let mut main = room_for(length);
    for (session, ordinal) in sessions.iter().zip(1..) {
        let (key, prefix) = (render::page_key(session), turns_from_commit(session));
        let links = PageLinks::beside(&key, &prefix);
        render::page_index_session(&mut index, session, ordinal, of);
        render::page_session(&mut main, session, ordinal, of);
        kept.for_each(conn, session.row, |turn| {
            render::page_index_entry(&mut index, turn, &key);
            render::page_turn(&mut main, turn, &links);
        })?;
        index.put(render::PAGE_INDEX_SESSION_END);
        main.put(render::PAGE_SESSION_END);
    }
    page.append(&mut index);
    page.put(render::PAGE_INDEX_END);
    page.append(&mut main);
    page.put(render::PAGE_END);
    Ok(Some(page))
}

/// A session's `resume.sh`.
fn resume(conn: &Connection, session: &Session) -> Result<String> {
    let above = above(conn, session.row)?;
    let first = above.last().map(|row| sessions::get(conn, *row)).transpose()?.flatten();
    let machine = machines::name_of_session(conn, session.row)?;
    let mut out = String::new();
    let resumed =
        Resumed { session: first.as_ref().unwrap_or(session), machine: &machine, is_subagents: first.is_some() };
    render::resume_sh(&mut out, resumed);
    Ok(out)
}

fn commit_transcript(conn: &Connection, kept: &Kept, row: i64) -> Result<Option<Vec<u8>>> {
    let Some((commit, project)) = commit_and_project(conn, row)? else { return Ok(None) };
    let sessions = sessions_of(conn, &commit)?;
    let mut out = room_for(transcript_len(&commit, &project, &sessions));
    render::commit_header(&mut out, &commit, &sessions, &project);
    for (session, ordinal) in sessions.iter().zip(1..) {
        render::commit_session_heading(&mut out, session, ordinal);
        kept.sections(conn, &mut out, session.row, &turns_from_commit(session), VISUALS_FROM_COMMIT)?;
    }
    Ok(Some(out))
}

/// An empty buffer for a document whose length is known: it need not be moved as it grows. More than any document has is not
/// believed.
fn room_for(length: u64) -> Vec<u8> {
    const MOST: usize = 64 * 1024 * 1024;
    Vec::with_capacity(usize::try_from(length).map_or(MOST, |length| length.min(MOST)))
}

/// From a commit's pages to its pictures.
pub const VISUALS_FROM_COMMIT: &str = "visuals/";

/// From a commit's pages to the turns of a session.
#[must_use]
pub fn turns_from_commit(session: &Session) -> String {
    format!("sessions/{}/{TURN_PREFIX}", session.dir_name)
}

/// Gives some of a session's turn files to `each`, with their numbers, from one number on.
///
/// # Errors
/// When the database cannot be read.
pub fn turn_files(
    conn: &Connection,
    kept: &Kept,
    session_row: i64,
    from: u32,
    count: u32,
    each: &mut dyn FnMut(u32, &[u8]),
) -> Result<()> {
    if sessions::is_elsewhere(conn, session_row)? {
        return Ok(());
    }
    let prefix = turn_visual_prefix(depth(conn, session_row)?);
    let mut out = Vec::new();
    kept.for_some(conn, session_row, from, count, |turn| {
        out.clear();
        render::turn_file(&mut out, turn, &prefix);
        each(turn.number, &out);
    })
}

fn turn_file(conn: &Connection, row: i64) -> Result<Option<Vec<u8>>> {
    let Some(turn) = turns::get(conn, row)? else { return Ok(None) };
    let depth = if turn.visuals.is_empty() { 0 } else { depth(conn, turns::parts_of(row).0)? };
    let mut out = Vec::new();
    render::turn_file(&mut out, &turn, &turn_visual_prefix(depth));
    Ok(Some(out))
}
