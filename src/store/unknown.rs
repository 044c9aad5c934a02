//! Records of kinds that no parser knew when they were imported: news of a format that moved on, not damage. The records
//! themselves are kept with their session, like all.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::Result;
use crate::model::{Agent, Millis};

/// Rows of one agent. Kinds and versions are text of the logs, and a log may hold anything.
const MOST_ROWS: i64 = 1000;

/// What the kinds beyond `MOST_ROWS` are counted under.
pub const OTHERS: &str = "…";

/// Bytes of a kind and of a version that are kept.
const KIND_BYTES: usize = 120;
const VERSION_BYTES: usize = 40;

/// A kind of record that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnknownKind {
    pub agent: String,
    /// Empty where the log does not say it.
    pub agent_version: String,
    pub kind: String,
    /// Records of it.
    pub count: u64,
    pub first_seen: Millis,
    /// `file:line` of the first one.
    pub example: String,
}

/// Counts records of a kind.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(conn: &Connection, agent: Agent, agent_version: &str, kind: &str, count: u64, example: &str) -> Result<()> {
    let (version, kind) = (shortened(agent_version, VERSION_BYTES), shortened(kind, KIND_BYTES));
    if !raise(conn, agent, version, kind, count)? {
        let rows: i64 = conn
            .prepare_cached("SELECT count(*) FROM unknown_kinds WHERE agent = ?1")?
            .query_row([agent.as_str()], |r| r.get(0))?;
        if rows < MOST_ROWS {
            create(conn, agent, version, kind, count, example)?;
        } else if !raise(conn, agent, "", OTHERS, count)? {
            create(conn, agent, "", OTHERS, count, example)?;
        }
    }
    Ok(())
}

fn raise(conn: &Connection, agent: Agent, version: &str, kind: &str, count: u64) -> Result<bool> {
    let changed = conn
        .prepare_cached(
            "UPDATE unknown_kinds SET count = count + ?4 WHERE agent = ?1 AND agent_version = ?2 AND kind = ?3",
        )?
        .execute(params![agent.as_str(), version, kind, count])?;
    Ok(changed > 0)
}

fn create(conn: &Connection, agent: Agent, version: &str, kind: &str, count: u64, example: &str) -> Result<()> {
    conn.prepare_cached(
        "INSERT INTO unknown_kinds(agent, agent_version, kind, count, first_seen, example) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![agent.as_str(), version, kind, count, Millis::now().0, example])?;
    Ok(())
}

/// All of them: by agent and version, the most frequent first.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<UnknownKind>> {
    let mut query = conn.prepare(
        "SELECT agent, agent_version, kind, count, first_seen, example FROM unknown_kinds
         ORDER BY agent, agent_version, count DESC, kind",
    )?;
    let rows = query.query_map([], |r| {
        Ok(UnknownKind {
            agent: r.get(0)?,
            agent_version: r.get(1)?,
            kind: r.get(2)?,
            count: r.get(3)?,
            first_seen: Millis(r.get(4)?),
            example: r.get(5)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Records not understood, and of how many kinds they are.
///
/// # Errors
/// When SQLite cannot read.
pub fn totals(conn: &Connection) -> Result<(u64, u64)> {
    let mut query =
        conn.prepare("SELECT coalesce(sum(count), 0), count(DISTINCT agent || ' ' || kind) FROM unknown_kinds")?;
    Ok(query.query_row([], |r| Ok((r.get(0)?, r.get(1)?)))?)
}

/// A file with lines that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DamagedFile {
    pub path: String,
    pub agent: String,
    pub skipped: u64,
}

/// The log files of which lines were skipped.
///
/// # Errors
/// When SQLite cannot read.
pub fn damaged_files(conn: &Connection) -> Result<Vec<DamagedFile>> {
    let mut query = conn.prepare("SELECT path, agent, skipped FROM sources WHERE skipped > 0 ORDER BY path")?;
    let rows = query.query_map([], |r| Ok(DamagedFile { path: r.get(0)?, agent: r.get(1)?, skipped: r.get(2)? }))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn shortened(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Layout, Writer};

    #[test]
    fn any_number_of_kinds_takes_a_bounded_number_of_rows_and_none_goes_uncounted() {
        let dir = tempfile::tempdir().unwrap();
        let writer = Writer::open(&Layout::new(dir.path())).unwrap();
        let kinds = MOST_ROWS.unsigned_abs() + 50;
        for n in 0..kinds {
            add(writer.conn(), Agent::Codex, "1.0", &format!("kind {n}"), 2, "a.jsonl:1").unwrap();
        }
        add(writer.conn(), Agent::ClaudeCode, &"é".repeat(500), &"ü".repeat(500), 1, "b.jsonl:1").unwrap();
        let all = all(writer.conn()).unwrap();
        assert_eq!(all.len() as u64, kinds - 50 + 2, "the cap, the rest in one row, and another agent's");
        let others = all.iter().find(|k| k.kind == OTHERS).expect("the rest is counted");
        assert_eq!((others.count, others.agent_version.as_str()), (100, ""));
        assert!(all.iter().all(|k| k.kind.len() <= KIND_BYTES && k.agent_version.len() <= VERSION_BYTES));
        assert_eq!(totals(writer.conn()).unwrap().0, 2 * kinds + 1);
    }
}
