//! What `cogfs analytics` counts, and the documents of weeks that a user may share: made once each, so that asking again does not
//! average their noise away.

use rusqlite::{Connection, OptionalExtension};

use super::index::TurnIndex;
use super::{Result, Transaction};
use crate::model::{ContentsAt, Millis, Role, ToolStatus};

/// A part of a session, as far as it is counted.
#[derive(Debug, Clone)]
pub struct Part {
    pub row: i64,
    pub agent: String,
    pub commit_row: i64,
    pub started_at: Millis,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub index: TurnIndex,
    /// Its turns are on this machine.
    pub is_here: bool,
    /// Neither it nor its project is kept on this machine by its user.
    pub may_leave: bool,
}

/// The parts that were under way in a span of time and are shown, in no order.
///
/// # Errors
/// When SQLite cannot read.
pub fn parts(conn: &Connection, from: Millis, to: Millis) -> Result<Vec<Part>> {
    let mut query = conn.prepare_cached(
        "SELECT s.row, s.agent, s.commit_row, s.started_at, s.tokens_input, s.tokens_output, s.tool_names, s.turn_index,
                s.contents <> ?3, p.sync > p.ignored AND NOT EXISTS (SELECT 1 FROM kept_sessions k WHERE k.session_row = s.row)
         FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row JOIN projects p ON p.row = c.project_row
         WHERE s.ended_at >= ?1 AND s.started_at < ?2 AND s.deleted_at IS NULL AND c.deleted_at IS NULL AND s.forgotten = 0",
    )?;
    let rows = query.query_map((from.0, to.0, ContentsAt::Elsewhere as i64), |r| {
        let names: String = r.get(6)?;
        let index = TurnIndex {
            packed: r.get(7)?,
            tool_names: serde_json::from_str(&names).unwrap_or_default(),
            render_version: 0,
        };
        Ok(Part {
            row: r.get(0)?,
            agent: r.get(1)?,
            commit_row: r.get(2)?,
            started_at: Millis(r.get(3)?),
            tokens_input: r.get(4)?,
            tokens_output: r.get(5)?,
            index,
            is_here: r.get(8)?,
            may_leave: r.get(9)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The number of the conversation that a part is of: the row of the first part of the session that started it all.
///
/// # Errors
/// When SQLite cannot read.
pub fn conversation(conn: &Connection, row: i64) -> Result<i64> {
    Ok(conn
        .prepare_cached(
            "WITH RECURSIVE up(row, depth) AS (
                 SELECT ?1, 0 UNION
                 SELECT s.parent_row, depth + 1 FROM up JOIN sessions s USING (row)
                 WHERE s.parent_row IS NOT NULL AND depth < 100)
             SELECT min(f.row) FROM sessions f JOIN sessions s USING (agent, native_id)
             WHERE s.row = (SELECT row FROM up ORDER BY depth DESC LIMIT 1)",
        )?
        .query_row([row], |r| r.get::<_, Option<i64>>(0))?
        .unwrap_or(row))
}

/// Whether there is any session.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_something_here(conn: &Connection) -> Result<bool> {
    Ok(conn.prepare_cached("SELECT 1 FROM sessions WHERE commit_row IS NOT NULL LIMIT 1")?.exists([])?)
}

/// What a turn of a model says beyond the index.
#[derive(Debug, Clone)]
pub struct Said {
    pub number: u32,
    pub model: Option<String>,
    /// A call that failed.
    pub failed: bool,
}

/// The turns of a part that are a model's.
///
/// # Errors
/// When SQLite cannot read.
pub fn said(conn: &Connection, session_row: i64, each: &mut dyn FnMut(Said)) -> Result<()> {
    let mut query = conn.prepare_cached(
        "SELECT row & 65535, model, role = ?3 AND tool_status = ?4 FROM turns
         WHERE row BETWEEN ?1 << 16 AND (?1 << 16) + 65535 AND role IN (?2, ?5, ?3)",
    )?;
    let [assistant, tool, thinking] = [Role::Assistant, Role::Tool, Role::Thinking].map(|role| role as u8);
    let mut rows = query.query((session_row, assistant, tool, ToolStatus::Error as u8, thinking))?;
    while let Some(row) = rows.next()? {
        each(Said { number: row.get(0)?, model: row.get(1)?, failed: row.get(2)? });
    }
    Ok(())
}

/// Whether the cloud has a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Sent {
    No = 0,
    /// A request was made, and it is not known what became of it.
    Maybe = 1,
    Yes = 2,
}

/// A document that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The bytes that are shown and sent.
    pub text: String,
    pub sent: Sent,
}

/// The document of a week, by its Monday; `None`: none was made.
///
/// # Errors
/// When SQLite cannot read.
pub fn kept(conn: &Connection, week: &str) -> Result<Option<Kept>> {
    let mut query = conn.prepare_cached("SELECT document, sent FROM shared_counts WHERE week = ?1")?;
    let kept = query.query_row([week], |r| {
        let sent = match r.get(1)? {
            0 => Sent::No,
            2 => Sent::Yes,
            _ => Sent::Maybe,
        };
        Ok(Kept { text: r.get(0)?, sent })
    });
    Ok(kept.optional()?)
}

/// Keeps the document of a week, unless there is one.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep(tx: &Transaction<'_>, week: &str, text: &str) -> Result<()> {
    tx.execute("INSERT OR IGNORE INTO shared_counts(week, document) VALUES (?1, ?2)", (week, text))?;
    Ok(())
}

/// Notes whether the cloud has a week's.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_sent(tx: &Transaction<'_>, week: &str, sent: Sent) -> Result<()> {
    tx.execute("UPDATE shared_counts SET sent = ?2 WHERE week = ?1", (week, sent as u8))?;
    Ok(())
}

/// How many weeks the cloud may have from here.
///
/// # Errors
/// When SQLite cannot read.
pub fn there(conn: &Connection) -> Result<u64> {
    Ok(conn.prepare_cached("SELECT count(*) FROM shared_counts WHERE sent > 0")?.query_row([], |r| r.get(0))?)
}

/// The cloud has none any more.
///
/// # Errors
/// When SQLite cannot write.
pub fn none_is_there(tx: &Transaction<'_>) -> Result<()> {
    tx.execute("UPDATE shared_counts SET sent = 0 WHERE sent > 0", [])?;
    Ok(())
}
