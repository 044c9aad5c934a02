//! Forgetting: the one operation that removes something from the archive, row by row, in the transaction of its caller.
//!
//! What is forgotten leaves husks. A part of a session keeps its row (agent, native id, times, whether a git commit ended it),
//! a turn its row (id and time): both tell an import that a log brings what is not to come back. Records leave their hashes
//! ([`records`]), and the costs of messages their keys.
//!
//! Owns what a husk is. What follows from the rest (lengths, titles, views) is `crate::forget`'s, what is left in the files is
//! [`erase`]'s.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::told::{self, Facts};
use super::{
    ChangeKind, EntityKind, Result, Transaction, commits, conflicts, drafts, facets, git, gone, projects, sessions,
    set_state, state, turns,
};
use crate::model::{Agent, Commit, Id, Millis, Session};

pub mod erase;
pub mod records;

/// The key in `state` that says that something was forgotten once: what importing looks at first.
const FORGOTTEN: &str = "forgotten";

/// What was removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub projects: u64,
    pub commits: u64,
    /// Parts of sessions, subagents included.
    pub sessions: u64,
    pub turns: u64,
    pub records: u64,
    pub pictures: u64,
    /// Of the records and pictures.
    pub bytes: u64,
}

impl Removed {
    /// Whether nothing was.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, more: Self) {
        self.projects += more.projects;
        self.commits += more.commits;
        self.sessions += more.sessions;
        self.turns += more.turns;
        self.records += more.records;
        self.pictures += more.pictures;
        self.bytes += more.bytes;
    }
}

/// Whether anything was ever forgotten in this database.
///
/// # Errors
/// When SQLite cannot read.
pub fn any(conn: &Connection) -> Result<bool> {
    Ok(state(conn, FORGOTTEN)?.is_some())
}

/// Begins to forget: what is deleted from here on is overwritten, and what is left in the files is to be erased behind it.
///
/// # Errors
/// When SQLite cannot write.
pub fn begin(tx: &Transaction<'_>) -> Result<()> {
    set_state(tx, FORGOTTEN, "1")?;
    erase::demand(tx)
}

/// Forgets a part of a session with the subagents that it started. Its commit is left to [`leave_commit`].
///
/// # Errors
/// When SQLite cannot read or write.
pub fn session(tx: &mut Transaction<'_>, row: i64, removed: &mut Removed) -> Result<()> {
    let Some(session) = sessions::get(tx, row)? else { return Ok(()) };
    if sessions::hidden(tx, row)?.forgotten {
        return Ok(());
    }
    let is_known = told::is_known(tx, Facts::Session, row)?;
    gone::forget(tx, Facts::Session, &session.id, is_known)?;
    // The row first: a damaged database may say that two sessions started each other.
    empty_row(tx, &session)?;
    for subagent in sessions::all_subagents(tx, row)? {
        self::session(tx, subagent.row, removed)?;
    }
    pictures(tx, row << 16, (row << 16) + 65_535, removed)?;
    empty_turns(tx, &session)?;
    removed.sessions += 1;
    removed.turns += u64::from(session.turns);
    records::forget_all(tx, &session, removed)?;
    sources(tx, &session)?;
    edits_of(tx, EntityKind::Session, row, row)?;
    edits_of(tx, EntityKind::Turn, row << 16, (row << 16) + 65_535)?;
    announce(tx, &session)
}

/// Forgets what users made of records: edits, what waits for the cloud, names in the trash.
fn edits_of(tx: &mut Transaction<'_>, kind: EntityKind, first: i64, last: i64) -> Result<()> {
    let names: Vec<String> = tx
        .prepare_cached("SELECT name FROM trash WHERE kind = ?1 AND entity_row BETWEEN ?2 AND ?3")?
        .query_map([kind as i64, first, last], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for name in names {
        tx.changes.add_full(ChangeKind::Trash, 0, 0, Some(name));
    }
    for conflict in conflicts::of(tx, kind, first, last)? {
        tx.changes.add_full(ChangeKind::Conflicts, conflict.row, 0, Some(conflict.file_name()));
    }
    for table in ["trash", "edits", "sync_queue", "conflicts"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE kind = ?1 AND entity_row BETWEEN ?2 AND ?3"))?
            .execute([kind as i64, first, last])?;
    }
    Ok(())
}

fn empty_row(tx: &Transaction<'_>, session: &Session) -> Result<()> {
    let turns = i64::from(turns::last(tx, session.row)?.unwrap_or(0));
    tx.prepare_cached(
        "UPDATE sessions SET forgotten = 1, commit_row = NULL, parent_row = NULL, subagent_kind = NULL, ordinal = 0,
             dir_name = '', title = NULL, title_rank = 0, cwd = NULL, git_branch = NULL, git_remote = NULL,
             project_hash = NULL, agent_version = NULL, models = '[]', turns = 0, prompts = 0, tool_calls = 0, images = 0,
             tokens_input = 0, tokens_output = 0, tokens_cache_read = 0, tokens_cache_write = 0, section_bytes = 0,
             section_turn_links = 0, section_visual_links = 0, page_bytes = 0, page_links = 0, tool_names = '[]', turn_index = zeroblob(16 * ?2),
             forgotten_turns = (SELECT count(*) FROM turns WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535),
             updated_at = ?3
         WHERE row = ?1",
    )?
    .execute(params![session.row, turns, Millis::now().0])?;
    Ok(())
}

/// What a husk of a turn has in place of what it had.
const EMPTY_TURN: &str = "UPDATE turns SET role = 0, model = NULL, label = NULL, images = 0, tool_name = NULL,
    tool_call_id = NULL, tool_status = 0, text = '', tool_input = NULL, tool_output = NULL";

fn empty_turns(tx: &mut Transaction<'_>, session: &Session) -> Result<()> {
    let (first, last) = (session.row << 16, (session.row << 16) + 65_535);
    let rows: Vec<i64> = tx
        .prepare_cached("SELECT row FROM turns WHERE row BETWEEN ?1 AND ?2 AND role <> 0")?
        .query_map([first, last], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    tx.prepare_cached(&format!("{EMPTY_TURN} WHERE row BETWEEN ?1 AND ?2 AND role <> 0"))?.execute([first, last])?;
    for row in &rows {
        tx.changes.add(ChangeKind::Turn, *row);
    }
    tx.written_turns.extend(rows);
    Ok(())
}

/// Forgets one turn with its pictures. What its session says of it is left to the caller.
///
/// # Errors
/// When SQLite cannot write.
pub fn turn(tx: &mut Transaction<'_>, row: i64, removed: &mut Removed) -> Result<()> {
    pictures(tx, row, row, removed)?;
    edits_of(tx, EntityKind::Turn, row, row)?;
    let emptied = tx.prepare_cached(&format!("{EMPTY_TURN} WHERE row = ?1 AND role <> 0"))?.execute([row])?;
    if emptied > 0 {
        let session = turns::parts_of(row).0;
        tx.prepare_cached("UPDATE sessions SET forgotten_turns = forgotten_turns + 1 WHERE row = ?1")?
            .execute([session])?;
        tx.changes.add(ChangeKind::Turn, row);
        tx.written_turns.push(row);
        removed.turns += 1;
    }
    Ok(())
}

/// Forgets the pictures of a run of turns. Their files are removed once that is certain: by [`erase`].
fn pictures(tx: &mut Transaction<'_>, first: i64, last: i64, removed: &mut Removed) -> Result<()> {
    let found: Vec<(i64, Option<i64>, String, String, u64)> = tx
        .prepare_cached(
            "SELECT row, commit_row, file_name, sha256, bytes FROM visuals WHERE turn_row BETWEEN ?1 AND ?2",
        )?
        .query_map([first, last], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, commit_row, name, sha256, bytes) in found {
        tx.prepare_cached("DELETE FROM visuals WHERE row = ?1")?.execute([row])?;
        // The cloud removes it, unless something else shows it: that is found out again.
        super::objects::remove(tx, &sha256)?;
        tx.prepare_cached("INSERT OR IGNORE INTO forgotten_blobs(sha256) VALUES (?1)")?.execute([sha256])?;
        if let Some(commit_row) = commit_row {
            tx.changes.add_full(ChangeKind::CommitVisuals, commit_row, row, Some(name));
        }
        removed.pictures += 1;
        removed.bytes += bytes;
    }
    Ok(())
}

/// Tells of a session that is gone.
fn announce(tx: &mut Transaction<'_>, session: &Session) -> Result<()> {
    tx.changes.add(ChangeKind::Session, session.row);
    tx.changes.add_full(ChangeKind::Id, 0, 0, Some(session.id.to_string()));
    match (session.parent_row, session.commit_row) {
        (Some(parent), _) => {
            tx.changes.add_full(ChangeKind::SessionSubagents, parent, 0, Some(session.dir_name.clone()));
        }
        (None, Some(commit)) => {
            tx.changes.add_full(ChangeKind::CommitSessions, commit, 0, Some(session.dir_name.clone()));
        }
        (None, None) => {}
    }
    Ok(())
}

/// What is remembered of the files that a session was read from may hold what it says: they are read from their start again.
///
/// # Errors
/// When SQLite cannot write.
pub fn sources(tx: &Transaction<'_>, session: &Session) -> Result<()> {
    let agent = session.agent.as_str();
    let log = session.native_id.split_once("/inline-").map_or(session.native_id.as_str(), |(log, _)| log);
    tx.prepare_cached(
        "UPDATE unknown_kinds SET example = '' WHERE EXISTS (SELECT 1 FROM sources s
             WHERE s.agent = ?1 AND s.native_id = ?2 AND substr(example, 1, length(s.path) + 1) = s.path || ':')",
    )?
    .execute([agent, log])?;
    tx.prepare_cached("DELETE FROM sources WHERE agent = ?1 AND native_id = ?2")?.execute([agent, log])?;
    Ok(())
}

/// Empties what is known of what the messages of forgotten sessions cost. Once for all of them: there is no index by session.
///
/// # Errors
/// When SQLite cannot write.
pub fn usage(tx: &Transaction<'_>) -> Result<()> {
    for table in ["usage_new", "usage_sorted"] {
        tx.execute(
            &format!(
                "UPDATE {table} SET model = NULL, input = 0, output = 0, cache_read = 0, cache_write = 0
                 WHERE session_row IN (SELECT row FROM sessions WHERE forgotten = 1)
                   AND (model IS NOT NULL OR input + output + cache_read + cache_write > 0)"
            ),
            [],
        )?;
    }
    Ok(())
}

/// Removes a commit that has no sessions left, and its project when that was the last; true when it did.
///
/// # Errors
/// When SQLite cannot write.
pub fn leave_commit(tx: &mut Transaction<'_>, commit: &Commit, removed: &mut Removed) -> Result<bool> {
    if !sessions::rows_of_commit(tx, commit.row)?.is_empty() {
        return Ok(false);
    }
    // A picture without a session has lost its turn before: it goes with the commit.
    let orphans: Vec<i64> = tx
        .prepare_cached("SELECT turn_row FROM visuals WHERE commit_row = ?1")?
        .query_map([commit.row], |r| r.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for turn in orphans {
        pictures(tx, turn, turn, removed)?;
    }
    facets::keep(tx, commit, &[])?;
    git::forget(tx, commit.row)?;
    edits_of(tx, EntityKind::Commit, commit.row, commit.row)?;
    drafts::remove(tx, commit.row)?;
    tx.changes.add(ChangeKind::Commit, commit.row);
    let is_known = told::is_known(tx, Facts::Commit, commit.row)?;
    gone::forget(tx, Facts::Commit, &commit.id, is_known)?;
    commits::remove(tx, commit)?;
    removed.commits += 1;
    let Some(project) = projects::get(tx, commit.project_row)? else { return Ok(true) };
    // One that a user moved was found there still.
    let is_named =
        tx.prepare_cached("SELECT 1 FROM cognitive_commits WHERE found_project = ?1 LIMIT 1")?.exists([project.row])?;
    if !is_named && commits::rows_of_project(tx, project.row)?.is_empty() {
        projects::remove(tx, &project)?;
        removed.projects += 1;
    }
    Ok(true)
}

/// The forgotten sessions whose ids, or whose commits' ids, lie in a range: what is forgotten already.
///
/// # Errors
/// When SQLite cannot read.
pub fn has_forgotten(conn: &Connection, low: &[u8; 16], high: &[u8; 16]) -> Result<bool> {
    let within = |id: &Id| (low..=high).contains(&&id.0);
    let mut query = conn.prepare("SELECT id FROM sessions WHERE forgotten = 1")?;
    let mut ids = query.query_map([], |r| super::id_column(r, 0))?;
    while let Some(id) = ids.next().transpose()? {
        if within(&id) || within(&commits::id_of_first(&id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The titles that told something that is forgotten.
#[derive(Debug, Default)]
pub struct Titled {
    pub sessions: BTreeSet<i64>,
    pub commits: BTreeSet<i64>,
}

/// Takes a text out of the small places that repeat what was said: titles, subjects of git commits, what is remembered of
/// files. The sessions and commits concerned are to be named anew.
///
/// # Errors
/// When SQLite cannot read or write.
pub fn small_places(tx: &mut Transaction<'_>, holds: &dyn Fn(&str) -> bool) -> Result<Titled> {
    let mut titled = Titled::default();
    for (agent, leaf, title) in three(tx, "SELECT agent, leaf, title FROM pending_titles")? {
        if holds(&title) {
            tx.execute("DELETE FROM pending_titles WHERE agent = ?1 AND leaf = ?2", [agent, leaf])?;
        }
    }
    for (path, _, state) in three(tx, "SELECT path, agent, state FROM sources")? {
        if holds(&state) {
            tx.execute("DELETE FROM sources WHERE path = ?1", [path])?;
        }
    }
    for (agent, version, kind) in three(tx, "SELECT agent, agent_version, kind FROM unknown_kinds")? {
        if holds(&kind) {
            let which = "agent = ?1 AND agent_version = ?2 AND kind = ?3";
            tx.execute(&format!("DELETE FROM unknown_kinds WHERE {which}"), [agent, version, kind])?;
        }
    }
    for (row, commit_row, subject) in texts(tx, "SELECT row, commit_row, subject FROM git_commits")? {
        if holds(&subject) {
            tx.execute("UPDATE git_commits SET subject = '' WHERE row = ?1", [row])?;
            titled.commits.insert(commit_row);
        }
    }
    for (row, _, title) in texts(tx, "SELECT row, row, title FROM sessions WHERE title IS NOT NULL")? {
        if holds(&title) {
            tx.execute("UPDATE sessions SET title = NULL WHERE row = ?1", [row])?;
            tx.changes.add(ChangeKind::Session, row);
            titled.sessions.insert(row);
        }
    }
    let subjects = "SELECT row, row, git_subject FROM cognitive_commits WHERE git_subject IS NOT NULL";
    for (row, _, subject) in texts(tx, subjects)? {
        if holds(&subject) {
            tx.execute("UPDATE cognitive_commits SET git_subject = NULL WHERE row = ?1", [row])?;
            titled.commits.insert(row);
        }
    }
    for (row, _, title) in texts(tx, "SELECT row, row, title FROM cognitive_commits")? {
        if holds(&title) {
            titled.commits.insert(row);
        }
    }
    Ok(titled)
}

fn three(conn: &Connection, sql: &str) -> Result<Vec<(String, String, String)>> {
    let mut query = conn.prepare(sql)?;
    let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn texts(conn: &Connection, sql: &str) -> Result<Vec<(i64, i64, String)>> {
    let mut query = conn.prepare(sql)?;
    let rows = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether anything of a log's session is forgotten: what a parser remembers of the log may be of that.
///
/// # Errors
/// When SQLite cannot read.
pub fn has_lost(conn: &Connection, agent: Agent, native_id: &str) -> Result<bool> {
    Ok(conn
        .prepare_cached(
            "SELECT 1 FROM sessions s WHERE agent = ?1 AND native_id = ?2 AND (forgotten_turns > 0 OR forgotten = 1
                 OR EXISTS (SELECT 1 FROM forgotten_records r WHERE r.session_row = s.row))",
        )?
        .exists([agent.as_str(), native_id])?)
}

/// Whether the last part of a log's session is forgotten: what the log brings next is, too.
///
/// # Errors
/// When SQLite cannot read.
pub fn goes_on_forgotten(conn: &Connection, agent: Agent, native_id: &str) -> Result<bool> {
    Ok(conn
        .prepare_cached(
            "SELECT forgotten FROM sessions WHERE agent = ?1 AND native_id = ?2 ORDER BY part DESC LIMIT 1",
        )?
        .query_row(params![agent.as_str(), native_id], |r| r.get(0))
        .optional()?
        .unwrap_or(false))
}
