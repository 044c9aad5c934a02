//! Totals: what `cogfs stats` prints and `.cogfs/status.json` shows.

use rusqlite::Connection;
use serde::Serialize;

use super::Result;

/// Rows of the whole database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub projects: u64,
    pub commits: u64,
    pub sessions: u64,
    pub subagents: u64,
    pub turns: u64,
    pub visuals: u64,
    pub sources: u64,
}

/// Counts everything that is shown.
///
/// # Errors
/// When SQLite cannot read.
pub fn totals(conn: &Connection) -> Result<Totals> {
    Ok(conn
        .prepare_cached(
            "SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM cognitive_commits WHERE deleted_at IS NULL),
                    (SELECT count(DISTINCT agent || native_id) FROM sessions
                     WHERE commit_row IS NOT NULL AND parent_row IS NULL AND deleted_at IS NULL),
                    (SELECT count(*) FROM sessions WHERE parent_row IS NOT NULL),
                    (SELECT coalesce(sum(turns), 0) FROM sessions WHERE commit_row IS NOT NULL),
                    (SELECT count(*) FROM visuals), (SELECT count(*) FROM sources)",
        )?
        .query_row([], |r| {
            Ok(Totals {
                projects: r.get(0)?,
                commits: r.get(1)?,
                sessions: r.get(2)?,
                subagents: r.get(3)?,
                turns: r.get(4)?,
                visuals: r.get(5)?,
                sources: r.get(6)?,
            })
        })?)
}

/// How many projects there are; `None` where no session shows. Takes no longer with more sessions, as the first `ls` of a mount waits
/// for it: the root's README says it.
///
/// # Errors
/// When SQLite cannot read.
pub fn projects_filled(conn: &Connection) -> Result<Option<u64>> {
    Ok(conn
        .prepare_cached(
            "SELECT CASE WHEN EXISTS (SELECT 1 FROM sessions WHERE commit_row IS NOT NULL) THEN (SELECT count(*) FROM projects) END",
        )?
        .query_row([], |r| r.get(0))?)
}

/// One line of a breakdown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    pub name: String,
    pub commits: u64,
    pub sessions: u64,
    pub turns: u64,
    pub prompts: u64,
    pub tool_calls: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
}

/// What a breakdown is by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    Project,
    Agent,
}

/// Sessions, turns and tokens by project or by agent, largest first. Subagents count with the session that started them.
///
/// # Errors
/// When SQLite cannot read.
pub fn grouped(conn: &Connection, by: By) -> Result<Vec<Group>> {
    let name = match by {
        By::Project => "p.dir_name",
        By::Agent => "s.agent",
    };
    let mut query = conn.prepare(&format!(
        "SELECT {name}, count(DISTINCT c.row),
                count(DISTINCT CASE WHEN s.parent_row IS NULL THEN s.agent || s.native_id END),
                sum(s.turns), sum(s.prompts), sum(s.tool_calls), sum(s.tokens_input), sum(s.tokens_output),
                sum(s.tokens_cache_read), sum(s.tokens_cache_write)
         FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row JOIN projects p ON p.row = c.project_row
         GROUP BY 1 ORDER BY sum(s.turns) DESC, 1"
    ))?;
    let rows = query.query_map([], |r| {
        Ok(Group {
            name: r.get(0)?,
            commits: r.get(1)?,
            sessions: r.get(2)?,
            turns: r.get(3)?,
            prompts: r.get(4)?,
            tool_calls: r.get(5)?,
            tokens_input: r.get(6)?,
            tokens_output: r.get(7)?,
            tokens_cache_read: r.get(8)?,
            tokens_cache_write: r.get(9)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// One line of the breakdown by model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelGroup {
    pub name: String,
    pub sessions: u64,
    pub turns: u64,
    pub tool_calls: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_write: u64,
}

/// What each model said, called and cost, the most used first. Tokens whose message names no model stand under `unknown`.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_model(conn: &Connection) -> Result<Vec<ModelGroup>> {
    let mut query = conn.prepare(
        "WITH said AS (
             SELECT coalesce(model, 'unknown') AS name, count(DISTINCT row >> 16) AS sessions, count(*) AS turns,
                    sum(role = 4) AS tool_calls
             FROM turns WHERE role IN (2, 3, 4) GROUP BY 1),
         cost AS (
             SELECT coalesce(model, 'unknown') AS name, sum(input) AS i, sum(output) AS o, sum(cache_read) AS r,
                    sum(cache_write) AS w
             FROM message_usage WHERE session_row NOT IN (SELECT row FROM sessions WHERE forgotten = 1) GROUP BY 1)
         SELECT name, coalesce(sessions, 0), coalesce(turns, 0), coalesce(tool_calls, 0), coalesce(i, 0), coalesce(o, 0),
                coalesce(r, 0), coalesce(w, 0)
         FROM said FULL JOIN cost USING (name) ORDER BY 3 DESC, 1",
    )?;
    let rows = query.query_map([], |r| {
        Ok(ModelGroup {
            name: r.get(0)?,
            sessions: r.get(1)?,
            turns: r.get(2)?,
            tool_calls: r.get(3)?,
            tokens_input: r.get(4)?,
            tokens_output: r.get(5)?,
            tokens_cache_read: r.get(6)?,
            tokens_cache_write: r.get(7)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Rows of one project.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectTotals {
    pub commits: u64,
    pub sessions: u64,
    pub subagents: u64,
    pub turns: u64,
    pub visuals: u64,
}

/// Counts what a project shows.
///
/// # Errors
/// When SQLite cannot read.
pub fn of_project(conn: &Connection, project_row: i64) -> Result<ProjectTotals> {
    Ok(conn
        .prepare_cached(
            "SELECT count(DISTINCT c.row),
                    count(DISTINCT CASE WHEN s.parent_row IS NULL THEN s.agent || s.native_id END),
                    count(s.parent_row), coalesce(sum(s.turns), 0), coalesce(sum(s.images), 0)
             FROM cognitive_commits c JOIN sessions s ON s.commit_row = c.row
             WHERE c.project_row = ?1 AND c.deleted_at IS NULL AND s.deleted_at IS NULL",
        )?
        .query_row([project_row], |r| {
            Ok(ProjectTotals {
                commits: r.get(0)?,
                sessions: r.get(1)?,
                subagents: r.get(2)?,
                turns: r.get(3)?,
                visuals: r.get(4)?,
            })
        })?)
}
