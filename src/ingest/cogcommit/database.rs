//! The rows of a database of CogCommit's, whatever version of it made them.
//!
//! Owns how it is read. What columns there are is looked up: CogCommit's own record of its version is wrong in every database
//! that was upgraded once, and it cannot open those itself. The database is another program's: nothing is written to it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};

use super::{Curated, Session, head, str_of, time};
use crate::ingest::collection::{Collection, Entry, Format, Found, stamp};
use crate::ingest::exports::assets::mime_of;
use crate::ingest::foreign::{self, Opened, columns, failed};
use crate::ingest::record::{Image, NamedProject};
use crate::ingest::source::Stamp;
use crate::model::{Agent, Millis};

/// A larger file is no screenshot.
const LARGEST_IMAGE: u64 = 64 * 1024 * 1024;

/// Columns about CogCommit's own cloud: they say nothing of the conversation, and differ between copies of it.
const OF_ITS_CLOUD: [&str; 7] =
    ["cloud_id", "sync_status", "cloud_version", "local_version", "last_synced_at", "cloud_url", "public_slug"];

/// Whether the tables of a database are CogCommit's.
///
/// # Errors
/// When they cannot be looked up.
pub fn is_one(has: &dyn Fn(&str, &[&str]) -> io::Result<bool>) -> io::Result<bool> {
    // The database of this program has tables of the same names.
    Ok(has("cognitive_commits", &["id", "started_at", "closed_at", "closed_by"])?
        && has("sessions", &["id", "commit_id"])?
        && has("turns", &["id", "session_id", "role", "content", "timestamp"])?)
}

/// A database of CogCommit's.
pub struct Database {
    path: PathBuf,
}

impl Database {
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Collection for Database {
    fn format(&self) -> Format {
        Format::CogCommit
    }

    fn read(&mut self, known: &HashSet<u64>, give: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
        let opened = Opened::open(&self.path)?;
        // One view of it, however long that takes.
        let view = opened.conn().unchecked_transaction().map_err(failed)?;
        let mut reading = Reading::new(&view, &self.path, known, give)?;
        reading.all().map_err(failed)?;
        drop(view);
        opened.check()
    }
}

/// Columns of a row by their names; those that hold nothing are left out, and so are those about CogCommit's cloud.
type Row = Map<String, Value>;

struct Reading<'a> {
    conn: &'a Connection,
    path: &'a Path,
    stamp: Stamp,
    known: &'a HashSet<u64>,
    give: &'a mut dyn FnMut(Found) -> bool,
    commits: Vec<Row>,
    /// Sessions by the commit that CogCommit has them in.
    sessions: Vec<Row>,
    visuals: Vec<Row>,
    closings: HashMap<Millis, String>,
}

impl<'a> Reading<'a> {
    fn new(
        conn: &'a Connection,
        path: &'a Path,
        known: &'a HashSet<u64>,
        give: &'a mut dyn FnMut(Found) -> bool,
    ) -> io::Result<Self> {
        let (commits, sessions, visuals, closings) = (Vec::new(), Vec::new(), Vec::new(), HashMap::new());
        let stamp = foreign::stamp(path)?;
        Ok(Self { conn, path, stamp, known, give, commits, sessions, visuals, closings })
    }

    fn all(&mut self) -> rusqlite::Result<()> {
        self.commits = self.rows("cognitive_commits", "")?;
        self.sessions = self.rows("sessions", "")?;
        self.visuals = self.rows("visuals", "")?;
        for commit in &self.commits {
            if let (Some(hash), Some(at)) = (text(commit, "git_hash"), moment(commit, "closed_at")) {
                self.closings.insert(at, hash.to_owned());
            }
        }
        for (id, row) in self.ids()? {
            if !self.session(&id, row)? {
                return Ok(());
            }
        }
        self.curated()
    }

    /// The sessions, in the order they began: those with a row, and those that only turns tell of.
    fn ids(&mut self) -> rusqlite::Result<Vec<(String, Row)>> {
        let mut found: BTreeMap<String, Row> = BTreeMap::new();
        for (nth, row) in std::mem::take(&mut self.sessions).into_iter().enumerate() {
            match text(&row, "id").map(str::to_owned) {
                Some(id) => {
                    found.insert(id, row);
                }
                None => {
                    (self.give)(Found::Skipped(format!("sessions, row {}", nth + 1), "it has no id".to_owned()));
                }
            }
        }
        let of_turns: Vec<String> = self
            .conn
            .prepare("SELECT DISTINCT session_id FROM turns WHERE session_id IS NOT NULL")?
            .query_map([], |row| foreign::text(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        for id in of_turns {
            found.entry(id.clone()).or_insert_with(|| Row::from_iter([("id".to_owned(), json!(id))]));
        }
        let mut found: Vec<(String, Row)> = found.into_iter().collect();
        found.sort_by_key(|(_, row)| moment(row, "started_at"));
        self.sessions = found.iter().map(|(_, row)| row.clone()).collect();
        Ok(found)
    }

    /// All rows of a table, those that cannot be read told of; none where there is no such table.
    fn rows(&mut self, table: &str, condition: &str) -> rusqlite::Result<Vec<Row>> {
        self.rows_of(table, condition, &[])
    }

    fn rows_of(&mut self, table: &str, condition: &str, values: &[&str]) -> rusqlite::Result<Vec<Row>> {
        let names = columns(self.conn, table)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let quoted: Vec<String> = names.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
        let sql = format!("SELECT {} FROM {table} {condition} ORDER BY rowid", quoted.join(", "));
        let mut query = self.conn.prepare_cached(&sql)?;
        let mut rows = query.query(rusqlite::params_from_iter(values))?;
        let mut found = Vec::new();
        loop {
            match rows.next() {
                Ok(Some(row)) => {
                    let mut fields = Row::new();
                    for (at, name) in names.iter().enumerate() {
                        let value = cell(row.get_ref(at)?);
                        let empty = value.is_null() || value == json!(0) || value == json!("");
                        if !empty && !OF_ITS_CLOUD.contains(&name.as_str()) {
                            fields.insert(name.clone(), value);
                        }
                    }
                    found.push(fields);
                }
                Ok(None) => return Ok(found),
                // A damaged page: what is behind it cannot be reached this way.
                Err(e) => {
                    let place = format!("{table}, behind row {}", found.len());
                    (self.give)(Found::Skipped(place, failed(e).to_string()));
                    return Ok(found);
                }
            }
        }
    }

    /// Gives a session; false when the taker has enough.
    fn session(&mut self, id: &str, row: Row) -> rusqlite::Result<bool> {
        let turns = self.rows_of("turns", "WHERE session_id = ?1", &[id])?;
        let mut problems = Vec::new();
        let mut said: Vec<(Millis, Row)> = Vec::new();
        let mut last = Millis(i64::MIN);
        for (nth, turn) in turns.into_iter().enumerate() {
            let name = text(&turn, "id").map_or_else(|| format!("turn {}", nth + 1), |id| format!("turn {id}"));
            problems.extend(problem(&turn).map(|problem| format!("{name}: {problem}")));
            last = moment(&turn, "timestamp").unwrap_or(last);
            said.push((last, turn));
        }
        said.sort_by_key(|(at, _)| *at);
        let first = said.iter().find_map(|(_, turn)| text(turn, "id").map(str::to_owned));
        let turns: Vec<Value> = said.into_iter().map(|(_, turn)| Value::Object(turn)).collect();
        let commits = self.commits_of(&row, id);
        let agent = commits.iter().find_map(|commit| text(commit, "source")).and_then(Agent::parse);
        let (visuals, images) = self.visuals_of(&commits);
        let project = self.project(&commits);
        // A daemon that was stopped early called all its sessions so.
        let id = if id == "unknown" { format!("unknown-{}", first.unwrap_or_default()) } else { id.to_owned() };
        let written = moment(&row, "ended_at");
        let document = json!({ "session": row, "commits": commits, "turns": turns, "visuals": visuals });
        let bytes = document.to_string();
        let stamp = stamp(&[bytes.as_bytes()], written, self.stamp);
        if self.known.contains(&stamp.size) {
            return Ok((self.give)(Found::Unchanged(bytes.len() as u64)));
        }
        let parser = Session { written, project, closings: self.closings.clone(), images };
        Ok((self.give)(Found::Conversation(Box::new(Entry {
            head: head(agent.unwrap_or(Agent::ClaudeCode), &id),
            id,
            stamp,
            parser: Box::new(parser),
            document,
            problems,
            bytes: bytes.len() as u64,
        }))))
    }

    /// The commits of a session: the one that has it, and those before that lost it.
    fn commits_of(&self, session: &Row, _id: &str) -> Vec<Row> {
        let own = text(session, "commit_id");
        let (began, ended) = (moment(session, "started_at"), moment(session, "ended_at"));
        let has = |commit: &&Row| {
            let at = moment(commit, "closed_at");
            let within = began.zip(ended).zip(at).is_some_and(|((began, ended), at)| began <= at && at <= ended);
            let id = text(commit, "id");
            // One that another session has is that one's.
            let of_other = self.sessions.iter().any(|other| text(other, "commit_id") == id && id != own);
            (id.is_some() && id == own) || (within && !of_other && text(commit, "git_hash").is_some())
        };
        self.commits.iter().filter(has).cloned().collect()
    }

    /// The screenshots of some commits, and those of them that are still beside the database.
    fn visuals_of(&self, commits: &[Row]) -> (Vec<Row>, HashMap<String, Image>) {
        let of_them = |row: &&Row| {
            let commit = text(row, "commit_id");
            commit.is_some() && commits.iter().any(|c| text(c, "id") == commit)
        };
        let rows: Vec<Row> = self.visuals.iter().filter(of_them).cloned().collect();
        let images = rows.iter().filter_map(|row| Some((text(row, "id")?.to_owned(), self.screenshot(row)?))).collect();
        (rows, images)
    }

    /// A screenshot, looked for where CogCommit keeps them: of the path in the row no more than its last part is taken.
    fn screenshot(&self, row: &Row) -> Option<Image> {
        let name = text(row, "path")?.rsplit(['/', '\\']).next()?;
        let folder = self.path.parent()?.join("screenshots");
        let found = fs::read_dir(folder).ok()?.flatten().find(|entry| entry.file_name() == name)?;
        let meta = found.metadata().ok()?;
        if !meta.is_file() || meta.len() > LARGEST_IMAGE {
            return None;
        }
        let bytes = fs::read(found.path()).ok()?;
        Some(Image { mime: mime_of(&bytes)?.to_owned(), bytes })
    }

    /// CogCommit kept no folder. It is that above the files that were changed, up to the part that has the project's name.
    fn project(&self, commits: &[Row]) -> NamedProject {
        let name = commits.iter().find_map(|commit| text(commit, "project_name"));
        let of_them = |key: &str| -> Vec<String> {
            // A database of one project has its name nowhere: all of its files tell.
            let all = if name.is_some() { commits } else { &self.commits };
            all.iter().filter_map(|commit| text(commit, key)).flat_map(paths).collect()
        };
        let mut files = of_them("files_changed");
        if files.is_empty() {
            files = of_them("files_read");
        }
        let folder = match name {
            Some(name) => files.iter().find_map(|file| above(file, name)),
            None => common(&files),
        };
        let era = self.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map_or_else(|| format!("cogcommit-{era}"), str::to_owned);
        NamedProject { key: format!("cogcommit/{name}"), name, folder }
    }

    /// Gives what people made of commits.
    fn curated(&mut self) -> rusqlite::Result<()> {
        for (nth, commit) in self.commits.iter().enumerate() {
            let id = text(commit, "id");
            let sessions = self.sessions.iter().filter(|session| id.is_some() && text(session, "commit_id") == id);
            let sessions: Vec<String> = sessions.filter_map(|session| text(session, "id").map(str::to_owned)).collect();
            let found = match Curated::of(commit, sessions) {
                Ok(None) => continue,
                Ok(Some(curated)) => Found::Curated(Box::new(curated)),
                Err(reason) => {
                    let name = id.map_or_else(|| format!("row {}", nth + 1), str::to_owned);
                    Found::Skipped(format!("cognitive_commits, {name}"), reason)
                }
            };
            if !(self.give)(found) {
                break;
            }
        }
        Ok(())
    }
}

/// What is wrong with a turn.
fn problem(turn: &Row) -> Option<String> {
    let value = Value::Object(turn.clone());
    if time(&value, "timestamp").is_none() {
        return Some(format!("{:?} is no time", text(turn, "timestamp").unwrap_or_default()));
    }
    let calls = str_of(&value, "tool_calls")?;
    match serde_json::from_str::<Value>(calls) {
        Ok(Value::Array(_) | Value::Null) => None,
        Ok(_) => Some("its tool calls are no list".to_owned()),
        Err(e) => Some(format!("its tool calls: {e}")),
    }
}

fn text<'r>(row: &'r Row, key: &str) -> Option<&'r str> {
    row.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn moment(row: &Row, key: &str) -> Option<Millis> {
    text(row, key).and_then(Millis::parse)
}

fn cell(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => json!(String::from_utf8_lossy(bytes)),
    }
}

/// A list of absolute paths, in JSON.
fn paths(list: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(list).unwrap_or_default();
    list.iter().filter_map(Value::as_str).filter(|path| path.starts_with('/')).map(str::to_owned).collect()
}

/// The folder above a file that has a name.
fn above(file: &str, name: &str) -> Option<String> {
    let folder = Path::new(file).ancestors().skip(1).find(|dir| dir.file_name().is_some_and(|n| n == name))?;
    folder.to_str().map(str::to_owned)
}

/// The folder that all files are in; `None` when that is no more than a home.
fn common(files: &[String]) -> Option<String> {
    let mut folders = files.iter().filter_map(|file| Path::new(file).parent());
    let mut all = folders.next()?.to_owned();
    for folder in folders {
        while !folder.starts_with(&all) {
            all = all.parent()?.to_owned();
        }
    }
    // `/home/mira` is nobody's project.
    (all.components().count() > 3).then(|| all.to_string_lossy().into_owned())
}
