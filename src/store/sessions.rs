//! Sessions: one row for each part of a session that belongs to one commit, subagents included.

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::index::TurnIndex;
use super::{Result, id_column, json_list, to_json_list};
use crate::model::{Agent, Id, Millis, SectionSize, Session, Tokens};

const COLUMNS: &str = "row, id, agent, native_id, part, dir_name, commit_row, parent_row, subagent_kind, title, cwd,
    git_branch, agent_version, models, started_at, ended_at, turns, prompts, tool_calls, images, tokens_input,
    tokens_output, tokens_cache_read, tokens_cache_write, section_bytes, section_turn_links, section_visual_links,
    raw_bytes, raw_records, updated_at";

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
        tokens: Tokens {
            input: row.get(20)?,
            output: row.get(21)?,
            cache_read: row.get(22)?,
            cache_write: row.get(23)?,
        },
        sections: SectionSize { bytes: row.get(24)?, turn_links: row.get(25)?, visual_links: row.get(26)? },
        raw_bytes: row.get(27)?,
        raw_records: row.get(28)?,
        updated_at: Millis(row.get(29)?),
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

/// The newest part of a session.
///
/// # Errors
/// When SQLite cannot read.
pub fn last_part(conn: &Connection, agent: Agent, native_id: &str) -> Result<Option<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE agent = ?1 AND native_id = ?2 ORDER BY part DESC LIMIT 1"
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

/// A commit's sessions (not their subagents), in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_commit(conn: &Connection, commit_row: i64) -> Result<Vec<Session>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM sessions WHERE commit_row = ?1 AND parent_row IS NULL ORDER BY ordinal, row"
    ))?;
    Ok(query.query_map([commit_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The subagents that a session started, in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn subagents(conn: &Connection, parent_row: i64) -> Result<Vec<Session>> {
    let mut query =
        conn.prepare_cached(&format!("SELECT {COLUMNS} FROM sessions WHERE parent_row = ?1 ORDER BY ordinal, row"))?;
    Ok(query.query_map([parent_row], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Whether a session started subagents.
///
/// # Errors
/// When SQLite cannot read.
pub fn has_subagents(conn: &Connection, parent_row: i64) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sessions WHERE parent_row = ?1 LIMIT 1")?.exists([parent_row])?)
}

/// A session's packed turn index.
///
/// # Errors
/// When SQLite cannot read.
pub fn turn_index(conn: &Connection, row: i64) -> Result<Option<TurnIndex>> {
    let mut query = conn.prepare_cached("SELECT turn_index, tool_names FROM sessions WHERE row = ?1")?;
    let found = query
        .query_row([row], |r| {
            let names: String = r.get(1)?;
            Ok(TurnIndex { packed: r.get(0)?, tool_names: json_list(&names) })
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
    /// A git commit ended this part.
    pub closed: bool,
}

/// Reads the fields of a session row that `model::Session` does not show.
///
/// # Errors
/// When SQLite cannot read.
pub fn hidden(conn: &Connection, row: i64) -> Result<Hidden> {
    let mut query = conn
        .prepare_cached("SELECT ordinal, parent_native, title_rank, git_remote, closed FROM sessions WHERE row = ?1")?;
    Ok(query.query_row([row], |r| {
        Ok(Hidden {
            ordinal: r.get(0)?,
            parent_native: r.get(1)?,
            title_rank: r.get(2)?,
            git_remote: r.get(3)?,
            closed: r.get(4)?,
        })
    })?)
}

/// Makes an empty part of a session and returns its row.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(conn: &Connection, agent: Agent, native_id: &str, part: u32, at: Millis) -> Result<(i64, Id)> {
    let id = Id::derive(&[b"session", agent.as_str().as_bytes(), native_id.as_bytes(), &part.to_le_bytes()]);
    conn.prepare_cached(
        "INSERT INTO sessions(id, agent, native_id, part, started_at, ended_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)",
    )?
    .execute(params![id.0, agent.as_str(), native_id, part, at.0, Millis::now().0])?;
    Ok((conn.last_insert_rowid(), id))
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
             turn_index = ?29
         WHERE row = ?1",
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
    ])?;
    Ok(())
}

/// Notes what a message cost and adds what is new of it to its session. Of several records of one message the largest
/// numbers hold, and the session that had it first keeps it.
///
/// # Errors
/// When SQLite cannot write.
pub fn add_usage(conn: &Connection, row: i64, key: &Id, model: Option<&str>, tokens: &Tokens) -> Result<bool> {
    let known: Option<(i64, Tokens)> = conn
        .prepare_cached("SELECT session_row, input, output, cache_read, cache_write FROM message_usage WHERE key = ?1")?
        .query_row([key.0], |r| {
            let tokens = Tokens { input: r.get(1)?, output: r.get(2)?, cache_read: r.get(3)?, cache_write: r.get(4)? };
            Ok((r.get(0)?, tokens))
        })
        .optional()?;
    let (owner, before) = known.unwrap_or((row, Tokens::default()));
    let after = Tokens {
        input: before.input.max(tokens.input),
        output: before.output.max(tokens.output),
        cache_read: before.cache_read.max(tokens.cache_read),
        cache_write: before.cache_write.max(tokens.cache_write),
    };
    if known.is_some() && after == before {
        return Ok(false);
    }
    conn.prepare_cached(
        "INSERT INTO message_usage(key, session_row, model, input, output, cache_read, cache_write)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT(key) DO UPDATE SET input = ?4, output = ?5, cache_read = ?6, cache_write = ?7",
    )?
    .execute(params![key.0, owner, model, after.input, after.output, after.cache_read, after.cache_write])?;
    conn.prepare_cached(
        "UPDATE sessions SET tokens_input = tokens_input + ?2, tokens_output = tokens_output + ?3,
             tokens_cache_read = tokens_cache_read + ?4, tokens_cache_write = tokens_cache_write + ?5
         WHERE row = ?1",
    )?
    .execute(params![
        owner,
        after.input - before.input,
        after.output - before.output,
        after.cache_read - before.cache_read,
        after.cache_write - before.cache_write
    ])?;
    Ok(true)
}

/// The session that a message was first seen in.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_message(conn: &Connection, key: &Id) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached("SELECT session_row FROM message_usage WHERE key = ?1")?;
    Ok(query.query_row([key.0], |r| r.get(0)).optional()?)
}

/// Subagents whose parent was not found yet: row and the parent's native id.
///
/// # Errors
/// When SQLite cannot read.
pub fn unlinked(conn: &Connection) -> Result<Vec<(i64, String)>> {
    let mut query = conn.prepare_cached(
        "SELECT row, parent_native FROM sessions WHERE parent_native IS NOT NULL AND parent_row IS NULL ORDER BY row",
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

/// All sessions that are shown, with their ids, after a row.
///
/// # Errors
/// When SQLite cannot read.
pub fn ids_after(conn: &Connection, after: i64, limit: usize) -> Result<Vec<(Id, i64)>> {
    let mut query = conn.prepare_cached(
        "SELECT id, row FROM sessions WHERE row > ?1 AND commit_row IS NOT NULL ORDER BY row LIMIT ?2",
    )?;
    let rows = query.query_map(params![after, limit], |r| Ok((id_column(r, 0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Sessions that are shown whose ids lie in a range: at most two, which tells an ambiguous one.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16]) -> Result<Vec<(Id, i64)>> {
    let mut query = conn.prepare_cached(
        "SELECT id, row FROM sessions WHERE id >= ?1 AND id <= ?2 AND commit_row IS NOT NULL ORDER BY id LIMIT 2",
    )?;
    let rows = query.query_map(params![low, high], |r| Ok((id_column(r, 0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
