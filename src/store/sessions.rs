//! Sessions: one row for each part of a session that belongs to one commit, subagents included.

pub mod elsewhere;
mod ids;

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::index::TurnIndex;
use super::{ChangeKind, Result, Transaction, gone, id_column, json_list, to_json_list, told};
use crate::model::{Agent, ContentsAt, Id, Millis, SectionSize, Session, Tokens};
pub use ids::{Placed, for_each_id, for_each_placed_id};

const COLUMNS: &str = "row, id, agent, native_id, part, dir_name, commit_row, parent_row, subagent_kind, title, cwd,
    git_branch, agent_version, models, started_at, ended_at, turns, prompts, tool_calls, images, tokens_input,
    tokens_output, tokens_cache_read, tokens_cache_write, section_bytes, section_turn_links, section_visual_links,
    raw_bytes, raw_records, updated_at, render_version, contents, page_bytes, page_links";

fn read(row: &Row<'_>) -> rusqlite::Result<Session> {
    let agent: String = row.get(2)?;
    let models: String = row.get(13)?;
    Ok(Session {
        row: row.get(0)?,
        id: id_column(row, 1)?,
        agent: Agent::parse(&agent).ok_or(rusqlite::Error::InvalidQuery)?,
        native_id: row.get(3)?,
        part: row.get(4)?,
        dir_name: row.get(5)?,
        commit_row: row.get(6)?,
        parent_row: row.get(7)?,
        subagent_kind: row.get(8)?,
        title: row.get(9)?,
        cwd: row.get(10)?,
        git_branch: row.get(11)?,
        agent_version: row.get(12)?,
        models: json_list(&models),
        started_at: Millis(row.get(14)?),
        ended_at: Millis(row.get(15)?),
        turns: row.get(16)?,
        prompts: row.get(17)?,
        tool_calls: row.get(18)?,
        images: row.get(19)?,
        tokens: tokens_at(row, 20)?,
        sections: SectionSize {
            bytes: row.get(24)?,
            turn_links: row.get(25)?,
            visual_links: row.get(26)?,
            page_bytes: row.get(32)?,
            page_links: row.get(33)?,
        },
        raw_bytes: row.get(27)?,
        raw_records: row.get(28)?,
        updated_at: Millis(row.get(29)?),
        render_version: row.get(30)?,
        contents: ContentsAt::from_u8(row.get(31)?).unwrap_or_default(),
    })
}

/// A session by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Session>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE row = ?1"))?;
    Ok(query.query_row([row], read).optional()?)
}

/// The session that started a subagent; `None` for a session of its own.
///
/// # Errors
/// When SQLite cannot read.
pub fn parent(conn: &Connection, row: i64) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT parent_row FROM sessions WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.flatten())
}

/// The newest part of a session, of those that were imported here.
///
/// # Errors
/// When SQLite cannot read.
pub fn last_part(conn: &Connection, agent: Agent, native_id: &str) -> Result<Option<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE agent = ?1 AND native_id = ?2 AND contents = 0 ORDER BY part DESC LIMIT 1"
    ))?;
    Ok(query.query_row(params![agent.as_str(), native_id], read).optional()?)
}

/// All parts of a session, in order.
///
/// # Errors
/// When SQLite cannot read.
pub fn parts(conn: &Connection, agent: Agent, native_id: &str) -> Result<Vec<Session>> {
    let mut query = conn
        .prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE agent = ?1 AND native_id = ?2 ORDER BY part"))?;
    Ok(query.query_map(params![agent.as_str(), native_id], read)?.collect::<rusqlite::Result<_>>()?)
}

/// A commit's sessions that are not deleted (not their subagents), in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE commit_row = ?1 AND parent_row IS NULL AND deleted_at IS NULL
         ORDER BY ordinal, row"
    ))?;
    Ok(query.query_map([commit_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Of [`of_commit`], the ids of those whose contents are elsewhere.
///
/// # Errors
/// When SQLite cannot read.
pub fn shown_elsewhere(conn: &Connection, commit_row: i64) -> Result<Vec<Id>> {
    let mut query = conn.prepare_cached(
        "SELECT id FROM sessions
         WHERE commit_row = ?1 AND parent_row IS NULL AND deleted_at IS NULL AND contents = 1 ORDER BY ordinal, row",
    )?;
    Ok(query.query_map([commit_row], |r| id_column(r, 0))?.collect::<rusqlite::Result<_>>()?)
}

/// All of a commit's sessions (not their subagents), in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE commit_row = ?1 AND parent_row IS NULL ORDER BY ordinal, row"
    ))?;
    Ok(query.query_map([commit_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The rows of a commit's sessions and their subagents.
///
/// # Errors
/// When SQLite cannot read.
pub fn rows_of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM sessions WHERE commit_row = ?1")?;
    Ok(query.query_map([commit_row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// The subagents that a session started and that are not deleted, in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn subagents(conn: &Connection, parent_row: i64) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE parent_row = ?1 AND deleted_at IS NULL ORDER BY ordinal, row"
    ))?;
    Ok(query.query_map([parent_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The subagents that a session started, deleted ones included.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_subagents(conn: &Connection, parent_row: i64) -> Result<Vec<Session>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE parent_row = ?1 ORDER BY ordinal, row"))?;
    Ok(query.query_map([parent_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Whether a session started subagents, deleted ones included.
///
/// # Errors
/// When SQLite cannot read.
pub fn ever_had_subagents(conn: &Connection, parent_row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM sessions WHERE parent_row = ?1 LIMIT 1")?;
    Ok(query.exists([parent_row])?)
}

/// A session's packed turn index.
///
/// # Errors
/// When SQLite cannot read.
pub fn turn_index(conn: &Connection, row: i64) -> Result<Option<TurnIndex>> {
    let mut query =
        conn.prepare_cached("SELECT turn_index, tool_names, render_version FROM sessions WHERE row = ?1")?;
    let found = query
        .query_row([row], |r| {
            let names: String = r.get(1)?;
            Ok(TurnIndex { packed: r.get(0)?, tool_names: json_list(&names), render_version: r.get(2)? })
        })
        .optional()?;
    Ok(found)
}

/// The fields of a session row that `model::Session` does not show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    pub ordinal: u32,
    pub parent_native: Option<String>,
    pub title_rank: u8,
    pub git_remote: Option<String>,
    /// SHA-256 of the folder, where the log says no more of it.
    pub project_hash: Option<String>,
    /// A git commit ended this part.
    pub closed: bool,
    /// A husk: see [`super::forget`].
    pub forgotten: bool,
    /// Of its turns, those that are forgotten.
    pub forgotten_turns: u32,
}

/// Reads the fields of a session row that `model::Session` does not show.
///
/// # Errors
/// When SQLite cannot read.
pub fn hidden(conn: &Connection, row: i64) -> Result<Hidden> {
    let mut query = conn.prepare_cached(
        "SELECT ordinal, parent_native, title_rank, git_remote, closed, project_hash, forgotten, forgotten_turns
         FROM sessions WHERE row = ?1",
    )?;
    Ok(query.query_row([row], |r| {
        Ok(Hidden {
            ordinal: r.get(0)?,
            parent_native: r.get(1)?,
            title_rank: r.get(2)?,
            git_remote: r.get(3)?,
            closed: r.get(4)?,
            project_hash: r.get(5)?,
            forgotten: r.get(6)?,
            forgotten_turns: r.get(7)?,
        })
    })?)
}

/// Whether a part is forgotten. One that has a place in the tree is not.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_forgotten(conn: &Connection, session: &Session) -> Result<bool> {
    if session.commit_row.is_some() {
        return Ok(false);
    }
    is_husk(conn, session.row)
}

/// The parts of a session whose contents are not of this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn parts_of_others(conn: &Connection, agent: Agent, native_id: &str) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE agent = ?1 AND native_id = ?2 AND contents <> 0 ORDER BY part"
    ))?;
    Ok(query.query_map(params![agent.as_str(), native_id], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Empties a part of a session whose contents were elsewhere: a log of this machine brings them. Its row, id and place stay; `None`
/// when there is no such part.
fn take_over(conn: &Connection, id: &Id, at: Millis, render_version: u32) -> Result<Option<i64>> {
    let row: Option<i64> = conn
        .prepare_cached("SELECT row FROM sessions WHERE id = ?1 AND contents <> 0")?
        .query_row([id.0], |r| r.get(0))
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    conn.prepare_cached(
        "UPDATE sessions SET contents = 0, title = NULL, title_rank = 0, cwd = NULL, git_branch = NULL, git_remote = NULL,
             agent_version = NULL, models = '[]', closed = 0, started_at = ?2, ended_at = ?2, turns = 0, prompts = 0,
             tool_calls = 0, images = 0, tokens_input = 0, tokens_output = 0, tokens_cache_read = 0, tokens_cache_write = 0,
             section_bytes = 0, section_turn_links = 0, section_visual_links = 0, page_bytes = 0, page_links = 0, raw_bytes = 0, raw_records = 0,
             render_version = ?3, tool_names = '[]', turn_index = x'', forgotten_turns = 0, updated_at = ?4
         WHERE row = ?1",
    )?
    .execute(params![row, at.0, render_version, Millis::now().0])?;
    Ok(Some(row))
}

/// Makes an empty part of a session, read on a machine, and returns its row; that of one whose contents were elsewhere, if there is.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(
    conn: &Connection,
    agent: Agent,
    native_id: &str,
    part: u32,
    at: Millis,
    machine_row: i64,
    render_version: u32,
) -> Result<(i64, Id)> {
    let id = Id::derive(&[b"session", agent.as_str().as_bytes(), native_id.as_bytes(), &part.to_le_bytes()]);
    if let Some(row) = take_over(conn, &id, at, render_version)? {
        return Ok((row, id));
    }
    let forgotten = gone::fate(conn, &id)? == Some(gone::Fate::Forgotten);
    conn.prepare_cached(
        "INSERT INTO sessions(id, agent, native_id, part, started_at, ended_at, updated_at, machine_row, render_version,
             forgotten)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        id.0,
        agent.as_str(),
        native_id,
        part,
        at.0,
        Millis::now().0,
        machine_row,
        render_version,
        forgotten
    ])?;
    Ok((conn.last_insert_rowid(), id))
}

/// A session by its id.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id(conn: &Connection, id: &Id) -> Result<Option<Session>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE id = ?1"))?;
    Ok(query.query_row([id.0], read).optional()?)
}

/// Whether a session was started by another, or by one that was.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_below(conn: &Connection, id: &Id, other: &Id) -> Result<bool> {
    let mut next = by_id(conn, id)?;
    for _ in 0..64 {
        let Some(session) = next else { return Ok(false) };
        if session.id == *other {
            return Ok(true);
        }
        next = session.parent_row.map(|row| get(conn, row)).transpose()?.flatten();
    }
    Ok(true)
}

/// Makes a part of a session whose contents are elsewhere, and returns its row.
///
/// # Errors
/// When SQLite cannot write.
pub fn create_elsewhere(
    conn: &Connection,
    id: &Id,
    agent: Agent,
    native_id: &str,
    part: u32,
    machine_row: i64,
) -> Result<i64> {
    conn.prepare_cached(
        "INSERT INTO sessions(id, agent, native_id, part, started_at, ended_at, updated_at, machine_row, contents)
         VALUES (?1, ?2, ?3, ?4, 0, 0, 0, ?5, 1)",
    )?
    .execute(params![id.0, agent.as_str(), native_id, part, machine_row])?;
    Ok(conn.last_insert_rowid())
}

/// Says where the contents of a session are.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_contents(conn: &Connection, row: i64, contents: ContentsAt) -> Result<()> {
    conn.prepare_cached("UPDATE sessions SET contents = ?2 WHERE row = ?1")?.execute(params![row, contents as u8])?;
    Ok(())
}

/// Whether the contents of a session are elsewhere.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_elsewhere(conn: &Connection, row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sessions WHERE row = ?1 AND contents = 1")?.exists([row])?)
}

/// The id of a session whose contents are elsewhere.
///
/// # Errors
/// When SQLite cannot read.
pub fn id_elsewhere(conn: &Connection, row: i64) -> Result<Option<Id>> {
    let mut query = conn.prepare_cached("SELECT id FROM sessions WHERE row = ?1 AND contents = 1")?;
    Ok(query.query_row([row], |r| id_column(r, 0)).optional()?)
}

/// The ids of a commit's sessions whose contents are elsewhere, subagents too.
///
/// # Errors
/// When SQLite cannot read.
pub fn elsewhere_of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Id>> {
    let mut query =
        conn.prepare_cached("SELECT id FROM sessions WHERE commit_row = ?1 AND contents = 1 ORDER BY row")?;
    Ok(query.query_map([commit_row], |r| id_column(r, 0))?.collect::<rusqlite::Result<_>>()?)
}

/// Removes what the messages of a session cost, of which the contents are a copy.
///
/// # Errors
/// When SQLite cannot write.
pub fn give_away_usage(conn: &Connection, row: i64) -> Result<()> {
    for table in ["usage_new", "usage_sorted"] {
        conn.prepare_cached(&format!(
            "DELETE FROM {table} WHERE session_row = ?1 AND key IN (SELECT key FROM unsent_usage WHERE session_row = ?1)"
        ))?
        .execute([row])?;
    }
    conn.prepare_cached("DELETE FROM unsent_usage WHERE session_row = ?1")?.execute([row])?;
    Ok(())
}

/// Writes a session row whole.
///
/// # Errors
/// When SQLite cannot write.
pub fn save(conn: &Connection, session: &Session, hidden: &Hidden, index: &TurnIndex) -> Result<()> {
    conn.prepare_cached(
        "UPDATE sessions SET commit_row = ?2, parent_row = ?3, parent_native = ?4, subagent_kind = ?5, ordinal = ?6,
             dir_name = ?7, title = ?8, title_rank = ?9, cwd = ?10, git_branch = ?11, git_remote = ?12,
             agent_version = ?13, models = ?14, closed = ?15, started_at = ?16, ended_at = ?17, turns = ?18,
             prompts = ?19, tool_calls = ?20, images = ?21, section_bytes = ?22, section_turn_links = ?23,
             section_visual_links = ?24, raw_bytes = ?25, raw_records = ?26, updated_at = ?27, tool_names = ?28,
             turn_index = ?29, render_version = ?30, project_hash = ?31, forgotten_turns = ?32, page_bytes = ?33,
             page_links = ?34 WHERE row = ?1",
    )?
    .execute(params![
        session.row,
        session.commit_row,
        session.parent_row,
        hidden.parent_native,
        session.subagent_kind,
        hidden.ordinal,
        session.dir_name,
        session.title,
        hidden.title_rank,
        session.cwd,
        session.git_branch,
        hidden.git_remote,
        session.agent_version,
        to_json_list(&session.models),
        hidden.closed,
        session.started_at.0,
        session.ended_at.0,
        session.turns,
        session.prompts,
        session.tool_calls,
        session.images,
        session.sections.bytes,
        session.sections.turn_links,
        session.sections.visual_links,
        session.raw_bytes,
        session.raw_records,
        Millis::now().0,
        to_json_list(&index.tool_names),
        index.packed,
        index.render_version,
        hidden.project_hash,
        hidden.forgotten_turns,
        session.sections.page_bytes,
        session.sections.page_links,
    ])?;
    Ok(())
}

/// Writes a session's rendered lengths alone. `updated_at` stays: no document changes by it.
///
/// # Errors
/// When SQLite cannot write.
pub fn save_lengths(conn: &Connection, row: i64, sections: &SectionSize, index: &TurnIndex) -> Result<()> {
    conn.prepare_cached(
        "UPDATE sessions SET section_bytes = ?2, section_turn_links = ?3, section_visual_links = ?4, tool_names = ?5,
             turn_index = ?6, render_version = ?7, page_bytes = ?8, page_links = ?9 WHERE row = ?1",
    )?
    .execute(params![
        row,
        sections.bytes,
        sections.turn_links,
        sections.visual_links,
        to_json_list(&index.tool_names),
        index.packed,
        index.render_version,
        sections.page_bytes,
        sections.page_links,
    ])?;
    Ok(())
}

/// Writes what is counted of a session's turns, pictures and records.
///
/// # Errors
/// When SQLite cannot write.
pub fn save_counters(conn: &Connection, session: &Session) -> Result<()> {
    conn.prepare_cached(
        "UPDATE sessions SET models = ?2, started_at = ?3, ended_at = ?4, turns = ?5, prompts = ?6, tool_calls = ?7,
             images = ?8, raw_bytes = ?9, raw_records = ?10, updated_at = ?11 WHERE row = ?1",
    )?
    .execute(params![
        session.row,
        to_json_list(&session.models),
        session.started_at.0,
        session.ended_at.0,
        session.turns,
        session.prompts,
        session.tool_calls,
        session.images,
        session.raw_bytes,
        session.raw_records,
        Millis::now().0,
    ])?;
    Ok(())
}

/// Writes how many of a session's turns are forgotten.
///
/// # Errors
/// When SQLite cannot write.
pub fn save_forgotten_turns(conn: &Connection, row: i64, turns: u32) -> Result<()> {
    conn.prepare_cached("UPDATE sessions SET forgotten_turns = ?2 WHERE row = ?1")?.execute(params![row, turns])?;
    Ok(())
}

/// The rows of all sessions.
///
/// # Errors
/// When SQLite cannot read.
pub fn rows(conn: &Connection) -> Result<Vec<i64>> {
    let mut query = conn.prepare("SELECT row FROM sessions ORDER BY row")?;
    Ok(query.query_map([], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// The sessions whose lengths another version of the renderer made. What is elsewhere cannot be measured.
///
/// # Errors
/// When SQLite cannot read.
pub fn outdated(conn: &Connection, render_version: u32) -> Result<Vec<i64>> {
    // Two ranges of sessions_by_render_version: nothing is scanned when all are current.
    let mut query = conn.prepare_cached(
        "SELECT row FROM sessions WHERE render_version < ?1 AND contents <> 1 UNION ALL
         SELECT row FROM sessions WHERE render_version > ?1 AND contents <> 1 ORDER BY row",
    )?;
    Ok(query.query_map([render_version], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// How many sessions [`outdated`] gives.
///
/// # Errors
/// When SQLite cannot read.
pub fn outdated_count(conn: &Connection, render_version: u32) -> Result<u64> {
    let mut query = conn.prepare_cached(
        "SELECT (SELECT count(*) FROM sessions WHERE render_version < ?1 AND contents <> 1) +
                (SELECT count(*) FROM sessions WHERE render_version > ?1 AND contents <> 1)",
    )?;
    Ok(query.query_row([render_version], |r| r.get(0))?)
}

/// Sessions whose tokens are not the sum of what their messages cost, with that sum. What was imported elsewhere is as it was
/// there: the same message may be another session's here.
///
/// # Errors
/// When SQLite cannot read.
pub fn wrong_tokens(conn: &Connection) -> Result<Vec<(i64, Tokens)>> {
    let mut query = conn.prepare(
        "SELECT s.row, coalesce(u.i, 0), coalesce(u.o, 0), coalesce(u.r, 0), coalesce(u.w, 0)
         FROM sessions s LEFT JOIN (
             SELECT session_row, sum(input) AS i, sum(output) AS o, sum(cache_read) AS r, sum(cache_write) AS w
             FROM message_usage GROUP BY session_row) u ON u.session_row = s.row
         WHERE s.contents = 0 AND (s.tokens_input <> coalesce(u.i, 0) OR s.tokens_output <> coalesce(u.o, 0)
            OR s.tokens_cache_read <> coalesce(u.r, 0) OR s.tokens_cache_write <> coalesce(u.w, 0))",
    )?;
    let rows = query.query_map([], |r| Ok((r.get(0)?, tokens_at(r, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Writes a session's tokens.
///
/// # Errors
/// When SQLite cannot write.
pub fn save_tokens(conn: &Connection, row: i64, tokens: &Tokens) -> Result<()> {
    conn.prepare_cached(
        "UPDATE sessions SET tokens_input = ?2, tokens_output = ?3, tokens_cache_read = ?4, tokens_cache_write = ?5,
             updated_at = ?6 WHERE row = ?1",
    )?
    .execute(params![row, tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, Millis::now().0])?;
    Ok(())
}

/// What one message can cost at most: a damaged number must not make the sums overflow.
const MOST_TOKENS: Tokens = Tokens { input: 1 << 40, output: 1 << 40, cache_read: 1 << 40, cache_write: 1 << 40 };

/// What a message cost, and the session part that has it.
#[derive(Debug, Clone)]
pub struct Usage {
    pub session_row: i64,
    pub model: Option<String>,
    pub tokens: Tokens,
}

impl Usage {
    /// Of several records of one message the largest numbers hold.
    pub fn add(&mut self, tokens: &Tokens) {
        self.tokens = self.tokens.max(&tokens.min(&MOST_TOKENS));
    }
}

/// Notes what messages cost and adds what is new of it to their sessions; the rows of those. The session that had a message
/// first keeps it.
///
/// # Errors
/// When SQLite cannot write.
pub fn add_usage(conn: &Connection, usage: &[(Id, Usage)]) -> Result<Vec<i64>> {
    // Nearly all are new: one statement for these, and one row each, of which SQLite keeps no journal to take it back by.
    let mut add_unknown = conn.prepare_cached(
        "INSERT OR IGNORE INTO usage_new(key, session_row, model, input, output, cache_read, cache_write)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let any_sorted = conn.prepare_cached("SELECT 1 FROM usage_sorted LIMIT 1")?.exists([])?;
    let mut is_sorted = conn.prepare_cached("SELECT 1 FROM usage_sorted WHERE key = ?1")?;
    let mut find = conn.prepare_cached(
        "SELECT session_row, input, output, cache_read, cache_write, 0 FROM usage_new WHERE key = ?1
         UNION ALL SELECT session_row, input, output, cache_read, cache_write, 1 FROM usage_sorted WHERE key = ?1",
    )?;
    let mut add_new = conn.prepare_cached(
        "INSERT INTO usage_new(key, session_row, model, input, output, cache_read, cache_write)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT(key) DO UPDATE SET input = ?4, output = ?5, cache_read = ?6, cache_write = ?7",
    )?;
    let mut change = conn.prepare_cached(
        "UPDATE usage_sorted SET input = ?2, output = ?3, cache_read = ?4, cache_write = ?5 WHERE key = ?1",
    )?;
    let mut tell = conn.prepare_cached("INSERT OR IGNORE INTO unsent_usage(session_row, key) VALUES (?1, ?2)")?;
    let mut new: BTreeMap<i64, Tokens> = BTreeMap::new();
    for (key, Usage { session_row, model, tokens }) in usage {
        let Tokens { input, output, cache_read, cache_write } = *tokens;
        let is_known = any_sorted && is_sorted.exists([key.0])?;
        if !is_known
            && add_unknown.execute(params![key.0, session_row, model, input, output, cache_read, cache_write])? > 0
        {
            *new.entry(*session_row).or_default() += *tokens;
            tell.execute(params![session_row, key.0])?;
            continue;
        }
        let known: Option<(i64, Tokens, bool)> =
            find.query_row([key.0], |r| Ok((r.get(0)?, tokens_at(r, 1)?, r.get(5)?))).optional()?;
        let (owner, before, sorted) = known.unwrap_or((*session_row, Tokens::default(), false));
        let after = before.max(tokens);
        if known.is_some() && (after == before || is_husk(conn, owner)?) {
            continue;
        }
        let Tokens { input, output, cache_read, cache_write } = after;
        if sorted {
            change.execute(params![key.0, input, output, cache_read, cache_write])?;
        } else {
            add_new.execute(params![key.0, owner, model, input, output, cache_read, cache_write])?;
        }
        tell.execute(params![owner, key.0])?;
        *new.entry(owner).or_default() += after.since(&before);
    }
    let mut add = conn.prepare_cached(
        "UPDATE sessions SET tokens_input = tokens_input + ?2, tokens_output = tokens_output + ?3,
             tokens_cache_read = tokens_cache_read + ?4, tokens_cache_write = tokens_cache_write + ?5
         WHERE row = ?1",
    )?;
    for (row, tokens) in &new {
        add.execute(params![row, tokens.input, tokens.output, tokens.cache_read, tokens.cache_write])?;
    }
    Ok(new.into_keys().collect())
}

/// Whether a row is a forgotten session's: what its messages cost is forgotten too.
fn is_husk(conn: &Connection, row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sessions WHERE row = ?1 AND forgotten = 1")?.exists([row])?)
}

fn tokens_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Tokens> {
    Ok(Tokens {
        input: row.get(column)?,
        output: row.get(column + 1)?,
        cache_read: row.get(column + 2)?,
        cache_write: row.get(column + 3)?,
    })
}

/// The session that a message was first seen in.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_message(conn: &Connection, key: &Id) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT session_row FROM message_usage WHERE key = ?1")?;
    Ok(query.query_row([key.0], |r| r.get(0)).optional()?)
}

/// Subagents whose parent was not found yet and for which something can be done now: they stand nowhere, or the parent is
/// there. Row and the parent's native id. Those that stand alone for good cost a look at the index `sessions_unlinked` and
/// two by key: this is asked at the end of every import, however small.
///
/// # Errors
/// When SQLite cannot read.
pub fn unlinked(conn: &Connection) -> Result<Vec<(i64, String)>> {
    let mut query = conn.prepare_cached(
        "SELECT row, parent_native FROM sessions AS s INDEXED BY sessions_unlinked
         WHERE parent_native IS NOT NULL AND parent_row IS NULL AND turns > 0 AND (
             commit_row IS NULL
             OR EXISTS (SELECT 1 FROM sessions AS p WHERE p.agent = s.agent AND p.native_id = s.parent_native
                            AND p.commit_row IS NOT NULL AND p.row <> s.row)
             OR EXISTS (SELECT 1 FROM subagent_links AS l WHERE l.agent = s.agent AND l.native_id = s.native_id))
         ORDER BY row",
    )?;
    Ok(query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
}

/// Remembers which part of a session started a subagent.
///
/// # Errors
/// When SQLite cannot write.
pub fn link_subagent(conn: &Connection, agent: Agent, native_id: &str, parent_row: i64) -> Result<()> {
    conn.prepare_cached("INSERT OR IGNORE INTO subagent_links(agent, native_id, parent_row) VALUES (?1, ?2, ?3)")?
        .execute(params![agent.as_str(), native_id, parent_row])?;
    Ok(())
}

/// The part of a session that started a subagent, where the log said so.
///
/// # Errors
/// When SQLite cannot read.
pub fn linked_parent(conn: &Connection, agent: Agent, native_id: &str) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT parent_row FROM subagent_links WHERE agent = ?1 AND native_id = ?2")?;
    Ok(query.query_row(params![agent.as_str(), native_id], |r| r.get(0)).optional()?)
}

/// Numbers the sessions of a commit by their times, so that every machine that knows them comes to the same names, whichever of
/// them it imported and in whatever order they came.
///
/// # Errors
/// When SQLite cannot write.
pub fn number_by_time(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let all: Vec<(i64, u32, String, bool)> = tx
        .prepare_cached(
            "SELECT row, ordinal, dir_name, contents = 0 FROM sessions
             WHERE commit_row = ?1 AND parent_row IS NULL ORDER BY started_at, id",
        )?
        .query_map([commit_row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (ordinal, (row, known, dir_name, is_own)) in (1..).zip(all) {
        let rest = dir_name.split_once('_').map_or(dir_name.as_str(), |(_, rest)| rest);
        let name = format!("{ordinal:02}_{rest}");
        if (known, &dir_name) == (ordinal, &name) {
            continue;
        }
        tx.prepare_cached("UPDATE sessions SET ordinal = ?2, dir_name = ?3 WHERE row = ?1")?
            .execute(params![row, ordinal, name])?;
        tx.changes.add(ChangeKind::Session, row);
        tx.changes.add_full(ChangeKind::CommitSessions, commit_row, 0, Some(dir_name));
        if is_own {
            told::changed(tx, told::Facts::Session, row)?;
        }
    }
    Ok(())
}

/// The number the next session of a commit, or the next subagent of a session, gets.
///
/// # Errors
/// When SQLite cannot read.
pub fn next_ordinal(conn: &Connection, commit_row: i64, parent_row: Option<i64>) -> Result<u32> {
    let mut query = match parent_row {
        Some(_) => conn.prepare_cached("SELECT coalesce(max(ordinal), 0) + 1 FROM sessions WHERE parent_row = ?1")?,
        None => conn.prepare_cached(
            "SELECT coalesce(max(ordinal), 0) + 1 FROM sessions WHERE commit_row = ?1 AND parent_row IS NULL",
        )?,
    };
    Ok(query.query_row([parent_row.unwrap_or(commit_row)], |r| r.get(0))?)
}

/// None of the sessions above a subagent `s` is deleted.
const NO_DELETED_ABOVE: &str = "(s.parent_row IS NULL OR NOT EXISTS (
    WITH RECURSIVE above(row) AS (
        SELECT s.parent_row UNION SELECT p.parent_row FROM above JOIN sessions p ON p.row = above.row)
    SELECT 1 FROM above JOIN sessions d ON d.row = above.row WHERE d.deleted_at IS NOT NULL))";

/// Sessions that are shown whose ids lie in a range: at most two, which tells an ambiguous one.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16]) -> Result<Vec<(Id, i64)>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT s.id, s.row FROM sessions s CROSS JOIN cognitive_commits c ON c.row = s.commit_row
         WHERE s.id >= ?1 AND s.id <= ?2 AND s.deleted_at IS NULL AND c.deleted_at IS NULL AND {NO_DELETED_ABOVE}
         ORDER BY s.id LIMIT 2"
    ))?;
    let rows = query.query_map(params![low, high], |r| Ok((id_column(r, 0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Sessions that have a place whose ids lie in a range, deleted ones too.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16], limit: usize) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE id >= ?1 AND id <= ?2 AND commit_row IS NOT NULL ORDER BY id LIMIT ?3"
    ))?;
    Ok(query.query_map(params![low, high, limit], read)?.collect::<rusqlite::Result<_>>()?)
}

/// When a session was deleted.
///
/// # Errors
/// When SQLite cannot read.
pub fn deleted_at(conn: &Connection, row: i64) -> Result<Option<Millis>> {
    let mut query = conn.prepare_cached("SELECT deleted_at FROM sessions WHERE row = ?1")?;
    let at: Option<i64> = query.query_row([row], |r| r.get(0)).optional()?.flatten();
    Ok(at.map(Millis))
}

/// Marks a session as deleted, or takes that back.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_deleted(tx: &mut Transaction<'_>, session: &Session, at: Option<Millis>) -> Result<()> {
    tx.prepare_cached(
        "UPDATE sessions SET deleted_at = ?2, updated_at = ?3, local_version = local_version + 1 WHERE row = ?1",
    )?
    .execute(params![session.row, at.map(|at| at.0), Millis::now().0])?;
    tx.changes.add(ChangeKind::Session, session.row);
    announce_id(tx, session.row)?;
    for below in descendants(tx, session.row)? {
        // Where its subagents lie is in the links to them.
        tx.changes.add(ChangeKind::Session, below);
        announce_id(tx, below)?;
    }
    match (session.parent_row, session.commit_row) {
        (Some(parent), _) => {
            tx.changes.add_full(ChangeKind::SessionSubagents, parent, 0, Some(session.dir_name.clone()));
        }
        (None, Some(commit)) => {
            tx.changes.add_full(ChangeKind::CommitSessions, commit, 0, Some(session.dir_name.clone()));
            tx.changes.add(ChangeKind::Commit, commit);
        }
        (None, None) => {}
    }
    Ok(())
}

/// The subagents of a session, theirs included, whether they are deleted or not.
///
/// # Errors
/// When SQLite cannot read.
pub fn descendants(conn: &Connection, row: i64) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached(
        "WITH RECURSIVE below(row) AS (
             SELECT row FROM sessions WHERE parent_row = ?1
             UNION SELECT s.row FROM below JOIN sessions s ON s.parent_row = below.row)
         SELECT row FROM below",
    )?;
    Ok(query.query_map([row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Tells that a session's id names something else now, or nothing.
///
/// # Errors
/// When SQLite cannot read.
pub fn announce_id(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    if let Some(session) = get(tx, row)? {
        tx.changes.add_full(ChangeKind::Id, 0, 0, Some(session.id.to_string()));
    }
    Ok(())
}

/// A session's version in the cloud.
///
/// # Errors
/// When SQLite cannot read.
pub fn cloud_version(conn: &Connection, row: i64) -> Result<i64> {
    let mut query = conn.prepare_cached("SELECT cloud_version FROM sessions WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// Notes a session's version in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_cloud_version(tx: &Transaction<'_>, row: i64, version: i64) -> Result<()> {
    tx.prepare_cached("UPDATE sessions SET cloud_version = ?2 WHERE row = ?1")?.execute(params![row, version])?;
    Ok(())
}
