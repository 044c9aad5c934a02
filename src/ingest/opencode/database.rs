//! `opencode.db`: the sessions of OpenCode since 1.2, in a SQLite database that OpenCode may be writing to.
//!
//! Owns how it is opened, what of it is new, and how its rows become records. The database is another program's: nothing is
//! ever written to it or beside it. Rows are updated in place; a session is read again from the rows that changed on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Transaction;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::record::{session_of_columns, str_of, with_ids};
use super::{damaged, open_session};
use crate::ingest::foreign::{Opened, columns, failed, text};
use crate::ingest::record::{Parser, SessionHead};
use crate::ingest::source::Stamp;
use crate::model::Id;

/// `opencode.db`, and `opencode-<channel>.db` of other builds.
#[must_use]
pub fn is_named_so(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".db").unwrap_or_default();
    stem == "opencode" || stem.strip_prefix("opencode-").is_some_and(|channel| !channel.is_empty())
}

/// Rows updated in the last moments before the latest one are compared by content when a session is read on: a writer's
/// clock and the order of its transactions may differ by so much.
const WINDOW_MS: i64 = 10_000;

/// Rows that are remembered to be compared so. A migration gives all rows one time: such a session, once it changes, is read
/// whole.
const MAX_RECENT: usize = 1000;

/// When a row was written, as a number whatever stands there: SQLite holds no column to its type, and one odd row must not
/// cost the others.
const UPDATED: &str = "coalesce(CAST(time_updated AS INTEGER), 0)";
const CREATED: &str = "coalesce(CAST(time_created AS INTEGER), 0)";

/// A session of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub id: String,
    /// Changes whenever the session does: the number of its rows, and when one was last updated.
    pub stamp: Stamp,
}

/// How far a session was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Position {
    /// The latest update that was read.
    seen: i64,
    rows: u64,
    /// What the session's own row said.
    session: String,
    /// What the rows said that were updated shortly before `seen`.
    recent: BTreeMap<String, String>,
}

/// A row on its way out.
pub enum Row {
    /// A record to be kept.
    Record(Value),
    /// A record that is kept already, which others belong to.
    Known(Value),
    /// A record whose JSON is damaged, and what is wrong with it.
    Damaged(Value, String),
}

/// An open database.
pub struct Database {
    opened: Opened,
    session_columns: Vec<String>,
    has_projects: bool,
}

impl Database {
    /// Opens a database for reading.
    ///
    /// # Errors
    /// When it cannot be read, or is none of OpenCode's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let opened = Opened::open(path)?;
        let columns = |table: &str| columns(opened.conn(), table).map_err(failed);
        for (table, wanted) in [
            ("session", &["id", "time_created", "time_updated"][..]),
            ("message", &["id", "session_id", "time_created", "time_updated", "data"][..]),
            ("part", &["id", "message_id", "session_id", "time_created", "time_updated", "data"][..]),
        ] {
            let found = columns(table)?;
            if let Some(missing) = wanted.iter().find(|c| !found.iter().any(|f| f == *c)) {
                return Err(io::Error::other(format!(
                    "not a layout of OpenCode's that is known: no {table}.{missing}"
                )));
            }
        }
        let has_projects = columns("project")?.iter().any(|c| c == "worktree");
        Ok(Self { session_columns: columns("session")?, has_projects, opened })
    }

    /// The sessions, in the order to be read: those that people started first, older ones before younger ones.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn logs(&mut self) -> io::Result<Vec<Log>> {
        self.opened.refresh()?;
        let tx = self.opened.conn().unchecked_transaction().map_err(failed)?;
        let mut logs = list(&tx, self.session_columns.iter().any(|c| c == "parent_id")).map_err(failed)?;
        logs.retain(|log| !log.id.is_empty());
        drop(tx);
        self.opened.check()?;
        Ok(logs)
    }

    /// Opens the parser of a session; `None` when it is gone.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn parser(&self, id: &str) -> io::Result<Option<(SessionHead, Box<dyn Parser>)>> {
        let tx = self.opened.conn().unchecked_transaction().map_err(failed)?;
        let Some(info) = self.session(&tx, id).map_err(failed)? else { return Ok(None) };
        let folder = self.folder(&tx, &info).map_err(failed)?;
        Ok(Some(open_session(&info, folder)))
    }

    /// Whether what is new since a position can be told by the times of the rows alone. It cannot when rows vanished, or
    /// came with times of the past: then the whole session is compared.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn can_go_on(&self, id: &str, since: &Position) -> io::Result<bool> {
        let conn = self.opened.conn();
        let mut rows = 0;
        let mut new = 0;
        for table in ["message", "part"] {
            let count: u64 = conn
                .prepare_cached(&format!("SELECT count(*) FROM {table} WHERE session_id = ?1"))
                .and_then(|mut query| query.query_row([id], |r| r.get(0)))
                .map_err(failed)?;
            rows += count;
            let sql = format!("SELECT id FROM {table} WHERE session_id = ?1 AND {UPDATED} >= ?2 AND {CREATED} >= ?2");
            let mut query = conn.prepare_cached(&sql).map_err(failed)?;
            let ids = query.query_map((id, since.from()), |r| text(r, 0)).map_err(failed)?;
            for id in ids {
                new += u64::from(!since.recent.contains_key(&id.map_err(failed)?));
            }
        }
        Ok(since.rows + new == rows)
    }

    /// Gives the rows of a session in order, or those that changed since a position, until `give` says that it is enough; the
    /// position behind them.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(
        &mut self,
        id: &str,
        since: Option<&Position>,
        give: &mut dyn FnMut(Row) -> bool,
    ) -> io::Result<Position> {
        self.opened.refresh()?;
        // One view of the session, however long it takes to be written; a reader keeps no writer waiting.
        let tx = self.opened.conn().unchecked_transaction().map_err(failed)?;
        let position = self.read_in(&tx, id, since, give).map_err(failed)?;
        drop(tx);
        self.opened.check()?;
        Ok(position)
    }

    fn read_in(
        &self,
        tx: &Transaction<'_>,
        id: &str,
        since: Option<&Position>,
        give: &mut dyn FnMut(Row) -> bool,
    ) -> rusqlite::Result<Position> {
        let mut reading = Reading::new(tx, id, since)?;
        let Some(info) = self.session(tx, id)? else { return Ok(reading.position) };
        reading.position.session = hash(&info);
        let same = since.is_some_and(|since| since.session == reading.position.session);
        let mut more = give(if same { Row::Known(info) } else { Row::Record(info) });
        for message in reading.messages()? {
            if !more {
                break;
            }
            more = reading.message(&message, give)?;
        }
        if reading.position.recent.len() > MAX_RECENT {
            return Ok(Position { seen: i64::MAX, ..Position::default() });
        }
        Ok(reading.position)
    }

    fn session(&self, tx: &Transaction<'_>, id: &str) -> rusqlite::Result<Option<Value>> {
        let names: Vec<String> =
            self.session_columns.iter().map(|c| format!("\"{}\"", c.replace('"', "\"\""))).collect();
        let mut query = tx.prepare_cached(&format!("SELECT {} FROM session WHERE id = ?1", names.join(", ")))?;
        let mut rows = query.query([id])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let mut fields = Map::new();
        for (at, name) in self.session_columns.iter().enumerate() {
            fields.insert(name.clone(), cell(name, row.get_ref(at)?));
        }
        Ok(Some(session_of_columns(fields)))
    }

    fn folder(&self, tx: &Transaction<'_>, info: &Value) -> rusqlite::Result<Option<String>> {
        let Some(project) = str_of(info, "projectID").filter(|_| self.has_projects) else { return Ok(None) };
        let mut query = tx.prepare_cached("SELECT worktree FROM project WHERE id = ?1 AND worktree <> '/'")?;
        let mut rows = query.query([project])?;
        rows.next()?.map(|row| text(row, 0)).transpose()
    }
}

impl Position {
    /// Rows updated from here on are looked at again.
    fn from(&self) -> i64 {
        self.seen.saturating_sub(WINDOW_MS)
    }
}

/// Reads one session.
struct Reading<'a> {
    tx: &'a Transaction<'a>,
    id: &'a str,
    since: Option<&'a Position>,
    position: Position,
}

impl<'a> Reading<'a> {
    fn new(tx: &'a Transaction<'a>, id: &'a str, since: Option<&'a Position>) -> rusqlite::Result<Self> {
        let mut position = Position::default();
        for table in ["message", "part"] {
            let sql = format!("SELECT count(*), coalesce(max({UPDATED}), 0) FROM {table} WHERE session_id = ?1");
            let (rows, seen): (u64, i64) = tx.prepare_cached(&sql)?.query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
            position.rows += rows;
            position.seen = position.seen.max(seen);
        }
        Ok(Self { tx, id, since, position })
    }

    /// The earliest update that is read: all of them in a session that is new.
    fn from(&self) -> i64 {
        self.since.map_or(i64::MIN, Position::from)
    }

    /// The messages to read, in their order: those that changed, and those with parts that did.
    fn messages(&self) -> rusqlite::Result<Vec<String>> {
        let mut query = self.tx.prepare_cached(&format!(
            "SELECT wanted.id FROM (
                 SELECT id FROM message WHERE session_id = ?1 AND {UPDATED} >= ?2
                 UNION SELECT message_id FROM part WHERE session_id = ?1 AND {UPDATED} >= ?2
             ) wanted LEFT JOIN message m ON m.id = wanted.id ORDER BY m.time_created, wanted.id"
        ))?;
        query.query_map((self.id, self.from()), |r| text(r, 0))?.collect()
    }

    /// Gives a message and its parts that changed; false when the taker has enough.
    fn message(&mut self, message: &str, give: &mut dyn FnMut(Row) -> bool) -> rusqlite::Result<bool> {
        let sql = format!("SELECT id, {UPDATED}, data FROM message WHERE id = ?1");
        let mut query = self.tx.prepare_cached(&sql)?;
        let mut rows = query.query([message])?;
        if let Some(row) = rows.next()? {
            let (given, is_new) = self.record(row, &[("sessionID", self.id)])?;
            let given = match given {
                // What parts belong to is told again, for their sake.
                Row::Record(record) | Row::Damaged(record, _) if !is_new => Row::Known(record),
                given => given,
            };
            if !give(given) {
                return Ok(false);
            }
        }
        drop(rows);
        let mut query = self.tx.prepare_cached(&format!(
            "SELECT id, {UPDATED}, data FROM part WHERE message_id = ?1 AND {UPDATED} >= ?2 ORDER BY id"
        ))?;
        let mut rows = query.query((message, self.from()))?;
        while let Some(row) = rows.next()? {
            let (given, is_new) = self.record(row, &[("messageID", message), ("sessionID", self.id)])?;
            if is_new && !give(given) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The record of a row, and whether it was not read before.
    fn record(&mut self, row: &rusqlite::Row<'_>, ids: &[(&str, &str)]) -> rusqlite::Result<(Row, bool)> {
        let (id, updated): (String, i64) = (text(row, 0)?, row.get(1)?);
        let data = match row.get_ref(2)? {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
            _ => b"",
        };
        let mut all = vec![("id", id.as_str())];
        all.extend_from_slice(ids);
        let given = match serde_json::from_slice(data).map(|value| with_ids(value, &all)) {
            Ok(Some(record)) => Row::Record(record),
            Ok(None) => Row::Damaged(damaged(&all, &String::from_utf8_lossy(data)), format!("{id}: no JSON object")),
            Err(e) => Row::Damaged(damaged(&all, &String::from_utf8_lossy(data)), format!("{id}: {e}")),
        };
        let said = digest(data);
        let known = self
            .since
            .is_some_and(|since| updated < since.from() || since.recent.get(&id).is_some_and(|before| *before == said));
        if updated >= self.position.from() {
            self.position.recent.insert(id, said);
        }
        Ok((given, !known))
    }
}

/// All sessions with their stamps. Two passes over `message` and `part`, which need no more than the beginning of each row.
fn list(tx: &Transaction<'_>, has_parents: bool) -> rusqlite::Result<Vec<Log>> {
    let parent = if has_parents { "parent_id IS NOT NULL" } else { "0" };
    let mut query = tx.prepare(&format!("SELECT id, {UPDATED} FROM session ORDER BY {parent}, time_created, id"))?;
    let sessions: Vec<(String, i64)> =
        query.query_map([], |r| Ok((text(r, 0)?, r.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut rows: BTreeMap<String, (u64, i64)> = BTreeMap::new();
    for table in ["message", "part"] {
        let sql = format!("SELECT session_id, count(*), max({UPDATED}) FROM {table} GROUP BY session_id");
        let mut query = tx.prepare(&sql)?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let (id, count, updated): (String, u64, i64) = (text(row, 0)?, row.get(1)?, row.get(2)?);
            let sum = rows.entry(id).or_default();
            *sum = (sum.0 + count, sum.1.max(updated));
        }
    }
    let log = |(id, updated): (String, i64)| {
        let (count, latest) = rows.get(&id).copied().unwrap_or_default();
        // Milliseconds: a stamp's time is in nanoseconds.
        let mtime_ns = updated.max(latest).saturating_mul(1_000_000);
        Log { id, stamp: Stamp { size: count + 1, mtime_ns } }
    };
    Ok(sessions.into_iter().map(log).collect())
}

/// A cell of a session's row as a document would have it.
fn cell(column: &str, value: ValueRef<'_>) -> Value {
    const JSON: [&str; 6] = ["goal", "metadata", "model", "permission", "revert", "summary_diffs"];
    #[allow(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::from(number),
        // JavaScript writes a whole number without a fraction.
        ValueRef::Real(number) if number.fract() == 0.0 && number.abs() < 9e15 => Value::from(number as i64),
        ValueRef::Real(number) => Value::from(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let parsed = if JSON.contains(&column) { serde_json::from_str(&text).ok() } else { None };
            parsed.unwrap_or_else(|| Value::from(text.as_ref()))
        }
    }
}

fn hash(record: &Value) -> String {
    digest(record.to_string().as_bytes())
}

fn digest(bytes: &[u8]) -> String {
    let Id([a, b, c, d, e, f, g, h, ..]) = Id::derive(&[bytes]);
    format!("{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The path and id of a session, as `sources` and messages name it.
#[must_use]
pub fn name(database: &str, session: &str) -> String {
    format!("{database}#{session}")
}

/// Whether a name in `sources` is that of a session in a database of this folder.
#[must_use]
pub fn is_in(name: &str, dir: &Path) -> bool {
    let Some((path, _)) = name.rsplit_once('#') else { return false };
    let path = PathBuf::from(path);
    path.parent() == Some(dir) && is_named_so(&path)
}
