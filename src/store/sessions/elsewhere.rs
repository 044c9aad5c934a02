//! Sessions whose contents are elsewhere, of which nothing is known here yet: written by one statement.

use rusqlite::{Connection, params};

use super::to_json_list;
use crate::model::{Agent, ContentsAt, Id, Millis, SectionSize, Tokens};
use crate::store::Result;

/// A part of a session to be.
#[derive(Debug)]
pub struct NewElsewhere<'a> {
    pub id: Id,
    pub agent: Agent,
    pub native_id: &'a str,
    pub machine_row: i64,
    pub part: u32,
    pub commit_row: i64,
    pub parent_row: Option<i64>,
    pub subagent_kind: Option<&'a str>,
    pub ordinal: u32,
    pub dir_name: &'a str,
    pub title: Option<&'a str>,
    pub title_rank: u8,
    pub cwd: Option<&'a str>,
    pub git_branch: Option<&'a str>,
    pub git_remote: Option<&'a str>,
    pub agent_version: Option<&'a str>,
    pub models: &'a [String],
    pub closed: bool,
    pub started_at: Millis,
    pub ended_at: Millis,
    pub updated_at: Millis,
    pub turns: u32,
    pub prompts: u32,
    pub tool_calls: u32,
    pub images: u32,
    pub tokens: Tokens,
    pub sections: SectionSize,
    pub raw_bytes: u64,
    pub raw_records: u64,
    pub render_version: u32,
    pub tool_names: &'a [String],
    /// See `store::index`.
    pub turn_index: &'a [u8],
}

/// Makes a part of a session whose contents are elsewhere, and returns its row.
///
/// # Errors
/// When SQLite cannot write.
pub fn insert(conn: &Connection, new: &NewElsewhere<'_>) -> Result<i64> {
    conn.prepare_cached(
        "INSERT INTO sessions(id, agent, native_id, machine_row, part, commit_row, parent_row, subagent_kind, ordinal, dir_name,
             title, title_rank, cwd, git_branch, git_remote, agent_version, models, closed, started_at, ended_at, updated_at,
             turns, prompts, tool_calls, images, tokens_input, tokens_output, tokens_cache_read, tokens_cache_write,
             section_bytes, section_turn_links, section_visual_links, page_bytes, page_links, raw_bytes, raw_records,
             render_version, tool_names, turn_index, contents)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24,
             ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, ?39, ?40)",
    )?
    .execute(params![
        new.id.0,
        new.agent.as_str(),
        new.native_id,
        new.machine_row,
        new.part,
        new.commit_row,
        new.parent_row,
        new.subagent_kind,
        new.ordinal,
        new.dir_name,
        new.title,
        new.title_rank,
        new.cwd,
        new.git_branch,
        new.git_remote,
        new.agent_version,
        to_json_list(new.models),
        new.closed,
        new.started_at.0,
        new.ended_at.0,
        new.updated_at.0,
        new.turns,
        new.prompts,
        new.tool_calls,
        new.images,
        new.tokens.input,
        new.tokens.output,
        new.tokens.cache_read,
        new.tokens.cache_write,
        new.sections.bytes,
        new.sections.turn_links,
        new.sections.visual_links,
        new.sections.page_bytes,
        new.sections.page_links,
        new.raw_bytes,
        new.raw_records,
        new.render_version,
        to_json_list(new.tool_names),
        new.turn_index,
        ContentsAt::Elsewhere as u8,
    ])?;
    Ok(conn.last_insert_rowid())
}

/// Whether a part of a session is here, shown or not.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_known(conn: &Connection, id: &Id) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sessions WHERE id = ?1")?.exists([id.0])?)
}

/// What a commit's sessions are told apart by.
#[derive(Debug)]
pub struct Beside {
    pub id: Id,
    pub parent_row: Option<i64>,
    pub ordinal: u32,
    pub dir_name: String,
    pub started_at: Millis,
    pub ended_at: Millis,
}

/// The sessions of a commit, subagents too, in the order of their numbers.
///
/// # Errors
/// When SQLite cannot read.
pub fn beside(conn: &Connection, commit_row: i64) -> Result<Vec<Beside>> {
    let mut query = conn.prepare_cached(
        "SELECT id, parent_row, ordinal, dir_name, started_at, ended_at FROM sessions WHERE commit_row = ?1 ORDER BY ordinal, row",
    )?;
    let rows = query.query_map([commit_row], |r| {
        Ok(Beside {
            id: crate::store::id_column(r, 0)?,
            parent_row: r.get(1)?,
            ordinal: r.get(2)?,
            dir_name: r.get(3)?,
            started_at: Millis(r.get(4)?),
            ended_at: Millis(r.get(5)?),
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
