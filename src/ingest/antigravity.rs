//! Antigravity's conversations, as far as they can be read.
//!
//! Owns which files of its folder are a conversation's, and what they say: the plans and walkthroughs it wrote (`brain/*.md`),
//! the prompts in its history, and of a conversation's database what looks like text. There is no published schema, and no real
//! conversation could be looked at: a step of the database is kept as it is, and what is shown of it is a guess. Conversations of
//! earlier versions (`*.pb`) are encrypted, and are told of. Must not know the store.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use walkdir::WalkDir;

use self::steps::Step;
use super::collection::{Collection, Entry, Format, Found, stamp as stamp_of};
use super::foreign::{self, Opened, failed};
use super::record::{Context, Item, NamedProject, NewTurn, Parser, SessionHead, Stream, Title};
use super::source::Stamp;
use crate::model::{Agent, Millis, Role};

mod steps;

/// A longer plan or history line is none.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A folder of Antigravity's, or one conversation of it.
pub struct Folder {
    root: PathBuf,
    only: Option<String>,
    /// A database that does not lie in such a folder.
    database: Option<PathBuf>,
}

impl Folder {
    /// The folder that holds `conversations/` or `brain/`; `None` when a folder is none.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        is_root(path).then(|| Self { root: path.to_owned(), only: None, database: None })
    }

    /// The conversation that a database is of.
    #[must_use]
    pub fn of_database(path: &Path) -> Self {
        let root = path.parent().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let only = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Self { root, only, database: Some(path.to_owned()) }
    }
}

/// Whether a folder is one of Antigravity's.
#[must_use]
pub fn is_root(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("antigravity"))
        && ["conversations", "brain"].iter().any(|name| path.join(name).is_dir())
}

/// Changes whenever a file of the folder does.
///
/// # Errors
/// When it is gone.
pub fn stamp(path: &Path) -> io::Result<Stamp> {
    let mut all = Stamp::of(&fs::metadata(path)?);
    for entry in WalkDir::new(path).max_depth(3).into_iter().flatten() {
        if let Ok(meta) = entry.metadata() {
            let one = Stamp::of(&meta);
            all = Stamp {
                size: all.size.saturating_add(one.size).saturating_add(1),
                mtime_ns: all.mtime_ns.max(one.mtime_ns),
            };
        }
    }
    Ok(all)
}

impl Collection for Folder {
    fn format(&self) -> Format {
        Format::Antigravity
    }

    fn read(&mut self, known: &HashSet<u64>, give: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
        let mut history = history(&self.root);
        for (id, files) in self.conversations(&history)? {
            let said = history.remove(&id).unwrap_or_default();
            match self.conversation(&id, &files, said) {
                Ok(None) => {}
                Ok(Some(entry)) if known.contains(&entry.stamp.size) => {
                    if !give(Found::Unchanged(entry.bytes)) {
                        return Ok(());
                    }
                }
                Ok(Some(entry)) => {
                    if !give(Found::Conversation(Box::new(entry))) {
                        return Ok(());
                    }
                }
                Err(e) => {
                    if !give(Found::Skipped(id, e.to_string())) {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// The files of one conversation.
#[derive(Debug, Default)]
struct Files {
    database: Option<PathBuf>,
    encrypted: Option<PathBuf>,
    brain: Option<PathBuf>,
}

impl Folder {
    /// The conversations of the folder, by id.
    fn conversations(&self, history: &BTreeMap<String, Vec<Value>>) -> io::Result<BTreeMap<String, Files>> {
        let mut found: BTreeMap<String, Files> = BTreeMap::new();
        if let (Some(path), Some(id)) = (&self.database, &self.only) {
            found.entry(id.clone()).or_default().database = Some(path.clone());
        }
        for path in children(&self.root.join("conversations"))? {
            let Some(id) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
            match path.extension().and_then(|e| e.to_str()) {
                Some("db") => found.entry(id).or_default().database = Some(path),
                Some("pb") => found.entry(id).or_default().encrypted = Some(path),
                _ => {}
            }
        }
        for path in children(&self.root.join("brain"))?.into_iter().filter(|path| path.is_dir()) {
            let Some(id) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
            found.entry(id).or_default().brain = Some(path);
        }
        for id in history.keys() {
            found.entry(id.clone()).or_default();
        }
        if let Some(only) = &self.only {
            found.retain(|id, _| id == only);
        }
        Ok(found)
    }

    fn conversation(&self, id: &str, files: &Files, prompts: Vec<Value>) -> io::Result<Option<Entry>> {
        let mut problems = Vec::new();
        let mut records = Vec::new();
        let mut times = Vec::new();
        if let Some(path) = &files.database {
            times.push(modified(path));
            match steps(path) {
                Ok(steps) => records.extend(steps),
                Err(e) => problems.push(format!("{}: {e}", path.display())),
            }
        }
        if let Some(path) = files.encrypted.as_ref().filter(|_| files.database.is_none()) {
            times.push(modified(path));
            problems.push(format!("{}: it is encrypted: its prompts and plans alone were read", path.display()));
        }
        let workspace = prompts.iter().find_map(|row| str_of(row, "workspace")).map(folder_of);
        records.extend(prompts.into_iter().map(|row| json!({ "history": row })));
        if let Some(path) = &files.brain {
            records.extend(brain(path, &mut problems)?);
            times.push(modified(path));
        }
        if records.is_empty() && problems.is_empty() {
            return Ok(None);
        }
        let written = records.iter().filter_map(time_of).chain(times.into_iter().flatten()).max();
        let document = json!({ "id": id, "records": in_time(records) });
        let text = document.to_string();
        let bytes = text.len() as u64;
        let otherwise = Stamp { size: 0, mtime_ns: 1 };
        let stamp = stamp_of(&[text.as_bytes()], written, otherwise);
        let parser = Box::new(Conversation { id: id.to_owned(), workspace, prompts: BTreeSet::new() });
        Ok(Some(Entry { id: id.to_owned(), stamp, head: head(id), parser, document, problems, bytes }))
    }
}

/// Records in the order of their times; those without one stay behind the one before them.
fn in_time(records: Vec<Value>) -> Vec<Value> {
    let mut last = Millis(i64::MIN);
    let mut timed: Vec<(Millis, Value)> = records
        .into_iter()
        .map(|record| {
            if record.get("artifact").is_some() || record.get("history").is_some() {
                last = Millis(i64::MIN);
            }
            last = time_of(&record).unwrap_or(last);
            (last, record)
        })
        .collect();
    timed.sort_by_key(|(at, _)| *at);
    timed.into_iter().map(|(_, record)| record).collect()
}

fn time_of(record: &Value) -> Option<Millis> {
    if let Some(row) = record.get("history") {
        return row.get("timestamp").and_then(Value::as_i64).filter(|at| *at > 0).map(Millis);
    }
    if record.get("artifact").is_some() {
        let meta = record.get("metadata").unwrap_or(&Value::Null);
        return ["createdAt", "updatedAt"].iter().find_map(|key| str_of(meta, key).and_then(Millis::parse));
    }
    Step::of(record).and_then(|step| step.at)
}

fn head(id: &str) -> SessionHead {
    SessionHead {
        agent: Agent::Antigravity,
        native_id: id.to_owned(),
        parent: None,
        subagent_kind: None,
        description: None,
    }
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            found.sort();
            Ok(found)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn modified(path: &Path) -> Option<Millis> {
    let stamp = if foreign::is_one(path) { foreign::stamp(path) } else { fs::metadata(path).map(|m| Stamp::of(&m)) };
    stamp.ok().map(|stamp| Millis(stamp.mtime_ns / 1_000_000))
}

/// The rows of a conversation's database, as they are.
fn steps(path: &Path) -> io::Result<Vec<Value>> {
    use base64::Engine as _;
    let opened = Opened::open(path)?;
    let read = || -> rusqlite::Result<Vec<Value>> {
        let mut query = opened.conn().prepare("SELECT idx, step_type, step_payload FROM steps ORDER BY idx")?;
        let rows = query.query_map([], |row| {
            let payload = match row.get_ref(2)? {
                rusqlite::types::ValueRef::Blob(bytes) | rusqlite::types::ValueRef::Text(bytes) => bytes.to_vec(),
                _ => Vec::new(),
            };
            let number = |at| row.get_ref(at).map(|cell| cell.as_i64().unwrap_or_default());
            let payload = base64::engine::general_purpose::STANDARD.encode(payload);
            Ok(json!({ "step": number(0)?, "step_type": number(1)?, "step_payload": payload }))
        })?;
        rows.collect()
    };
    let steps = read().map_err(failed)?;
    opened.check()?;
    Ok(steps)
}

/// What it wrote for its user to read, with what it noted of each.
fn brain(dir: &Path, problems: &mut Vec<String>) -> io::Result<Vec<Value>> {
    let mut found = Vec::new();
    for path in children(dir)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "md") && path.is_file())
    {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { continue };
        let mut bytes = Vec::new();
        if let Err(e) = File::open(&path).and_then(|file| file.take(LONGEST).read_to_end(&mut bytes)) {
            problems.push(format!("{}: {e}", path.display()));
            continue;
        }
        let about = fs::read(path.with_file_name(format!("{name}.metadata.json"))).unwrap_or_default();
        let about: Value = serde_json::from_slice(&about).unwrap_or_default();
        let mut record = json!({ "artifact": name, "text": String::from_utf8_lossy(&bytes), "metadata": about });
        if record["metadata"].is_null() {
            record["metadata"] = modified(&path).map_or(Value::Null, |at| json!({ "updatedAt": at.iso() }));
        }
        found.push(record);
    }
    Ok(found)
}

/// The prompts by conversation: `{display, timestamp, workspace, conversationId}` a line.
fn history(root: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let Ok(file) = File::open(root.join("history.jsonl")) else { return found };
    for line in BufReader::new(file.take(LONGEST * 16)).split(b'\n').map_while(Result::ok) {
        // A last line that is being written is read next time.
        let Ok(row) = serde_json::from_slice::<Value>(&line) else { continue };
        if let Some(id) = str_of(&row, "conversationId").map(str::to_owned) {
            found.entry(id).or_default().push(row);
        }
    }
    found
}

/// A folder, which may be an address.
fn folder_of(workspace: &str) -> String {
    workspace.strip_prefix("file://").unwrap_or(workspace).to_owned()
}

/// The parser of one conversation.
struct Conversation {
    id: String,
    workspace: Option<String>,
    /// Prompts that were told, without blanks: the history has those of the database too.
    prompts: BTreeSet<String>,
}

impl Parser for Conversation {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let before = out.len();
        if record.get("records").is_some() || record.get("id").is_some() {
            self.header(out);
        } else if let Some(name) = str_of(record, "artifact") {
            self.artifact(name, record, out);
        } else if let Some(row) = record.get("history") {
            let text = str_of(row, "display").unwrap_or_default().to_owned();
            let at = time_of(record);
            let native = format!("history/{}", at.unwrap_or_default().0);
            out.extend(self.prompt(text, native, at));
        } else if let Some(step) = Step::of(record) {
            self.step(&step, out);
        } else {
            out.push(Item::Ignored { kind: "no step".to_owned(), known: false });
        }
        if out.len() == before {
            out.push(Item::Ignored { kind: "without text".to_owned(), known: true });
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut header) = document else { return vec![document] };
        match header.remove("records") {
            Some(Value::Array(records)) => std::iter::once(Value::Object(header)).chain(records).collect(),
            _ => vec![Value::Object(header)],
        }
    }

    fn state(&self) -> Value {
        json!({ "prompts": self.prompts })
    }

    fn restore(&mut self, state: &Value) {
        let prompts = state.get("prompts").and_then(Value::as_array).into_iter().flatten();
        self.prompts = prompts.filter_map(|text| text.as_str().map(str::to_owned)).collect();
    }
}

impl Conversation {
    fn header(&self, out: &mut Vec<Item>) {
        let named = NamedProject {
            key: "antigravity.google/Antigravity".to_owned(),
            name: "Antigravity".to_owned(),
            folder: None,
        };
        out.push(Item::Context(Context { cwd: self.workspace.clone(), collection: Some(named), ..Context::default() }));
    }

    fn prompt(&mut self, text: String, native: String, at: Option<Millis>) -> Option<Item> {
        let plain: String = text.split_whitespace().collect();
        if plain.is_empty() || !self.prompts.insert(plain) {
            return None;
        }
        Some(Item::Turn(NewTurn { text, ..self.turn(Role::User, &native, at) }))
    }

    fn artifact(&self, name: &str, record: &Value, out: &mut Vec<Item>) {
        let meta = record.get("metadata").unwrap_or(&Value::Null);
        let summary = str_of(meta, "summary").map(|summary| format!("{summary}\n\n")).unwrap_or_default();
        let text = format!("{name}\n\n{summary}{}", str_of(record, "text").unwrap_or_default());
        let label = Some("artifact".to_owned());
        out.push(Item::Turn(NewTurn {
            text,
            label,
            ..self.turn(Role::System, &format!("brain/{name}"), time_of(record))
        }));
    }

    fn step(&mut self, step: &Step, out: &mut Vec<Item>) {
        let native = format!("step-{}", step.number);
        match step.kind {
            steps::USER_INPUT => {
                let text = step.prompt().unwrap_or_default().to_owned();
                out.extend(self.prompt(text, native, step.at));
            }
            kind => {
                let text = step.texts().join("\n\n");
                if text.trim().is_empty() {
                    return;
                }
                let (role, label) = match kind {
                    steps::PLANNER_RESPONSE => (Role::Assistant, None),
                    _ => (Role::System, Some("step".to_owned())),
                };
                out.push(Item::Turn(NewTurn { text, label, ..self.turn(role, &native, step.at) }));
            }
        }
    }

    fn turn(&self, role: Role, native: &str, at: Option<Millis>) -> NewTurn {
        NewTurn {
            native: Some(format!("{}/{native}", self.id)),
            message_key: None,
            stream: Stream::Main,
            role,
            at,
            model: None,
            text: String::new(),
            label: None,
            images: Vec::new(),
            call: None,
            revises: true,
        }
    }
}

/// Opens a conversation that was taken out of Antigravity's language server as Markdown: `{cascadeId, title, markdown, ...}`.
#[must_use]
pub fn open(_path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    let [document] = head else { return None };
    let id = str_of(document, "cascadeId").filter(|_| document.get("markdown").is_some_and(Value::is_string))?;
    Some((self::head(id), Box::new(Markdown { id: id.to_owned() })))
}

/// The parser of such a document.
struct Markdown {
    id: String,
}

impl Parser for Markdown {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let name = str_of(record, "workspaceName").unwrap_or("Antigravity").to_owned();
        let collection = Some(NamedProject { key: format!("antigravity.google/{name}"), name, folder: None });
        let at = str_of(record, "lastModifiedTime").and_then(Millis::parse);
        out.push(Item::Context(Context { collection, started_at: at, ..Context::default() }));
        if let Some(title) = str_of(record, "title") {
            out.push(Item::Title(Title { text: title.to_owned(), leaf: None }));
        }
        let all = Conversation { id: self.id.clone(), workspace: None, prompts: BTreeSet::new() };
        for (n, (heading, text)) in sections(str_of(record, "markdown").unwrap_or_default()).into_iter().enumerate() {
            let (role, label) = match heading {
                "User Input" => (Role::User, None),
                "Planner Response" => (Role::Assistant, None),
                other => (Role::System, Some(if other.is_empty() { "step" } else { other }.to_lowercase())),
            };
            let turn = all.turn(role, &format!("markdown/{n}"), at);
            out.push(Item::Turn(NewTurn { text: text.to_owned(), label, ..turn }));
        }
    }
}

/// What stands under each heading of the third level, those with nothing under them left out.
fn sections(markdown: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = markdown;
    let mut heading = "";
    loop {
        let next = if rest.starts_with("### ") { Some(0) } else { rest.find("\n### ").map(|at| at + 1) };
        let text = rest[..next.unwrap_or(rest.len())].trim();
        if !text.is_empty() {
            found.push((heading, text));
        }
        let Some(at) = next else { return found };
        let line = rest[at..].lines().next().unwrap_or_default();
        heading = line.trim_start_matches('#').trim();
        rest = &rest[at + line.len()..];
    }
}

fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}
