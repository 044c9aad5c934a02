//! OpenCode's sessions: a session's record, its messages, and their parts, wherever they are kept.
//!
//! Owns what these records mean, for 1.0 to 1.2 (schema: `message-v2.ts` of the open source). They come from three containers
//! that say the same: the database (`database`), the folder tree of versions before 1.2 (`tree`), and what `opencode export`
//! prints. Each record is an object with its ids inside, as the export has it, so that a session has the same records whatever
//! it was read from. The parser must not read files or know the store.
//!
//! Records are rewritten in place: a text grows, a running tool completes. Turns therefore revise the stored one of their id.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::record::{Kind, millis, str_of};
use super::record::{Context, Item, NewTurn, Parser, SessionHead, Stream, Title};
use crate::model::{Agent, Millis, Role, Tokens};

pub mod database;
mod part;
mod record;
pub mod tree;

#[cfg(test)]
mod tests;

/// Opens what `opencode export` prints: one document `{info, messages: [{info, parts}]}`.
#[must_use]
pub fn open(_path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    let [document] = head else { return None };
    if record::kind(document.get("info")?) != Kind::Session || !document.get("messages")?.is_array() {
        return None;
    }
    Some(open_document(document, None))
}

/// Opens a whole session, whose ids may have been taken out as secrets: those that stand for several parts are none.
fn open_document(document: &Value, folder: Option<String>) -> (SessionHead, Box<dyn Parser>) {
    let info = document.get("info").unwrap_or(&Value::Null);
    let mut seen = HashSet::new();
    let mut memory = Memory { newest: record::newest(info), ..Memory::default() };
    let mut repeated = HashSet::new();
    for record in record::split(document.clone()) {
        memory.newest = memory.newest.max(record::newest(&record));
        if let Some(id) = str_of(&record, "id").filter(|id| !seen.insert((*id).to_owned())) {
            repeated.insert(id.to_owned());
        }
    }
    let head = record::head(info);
    let parser = OpenCode { session: head.native_id.clone(), folder, repeated, memory };
    (head, Box::new(parser))
}

/// Opens a session whose records come one by one.
fn open_session(info: &Value, folder: Option<String>) -> (SessionHead, Box<dyn Parser>) {
    let head = record::head(info);
    let (session, repeated, memory) = (head.native_id.clone(), HashSet::new(), Memory::default());
    let parser = OpenCode { session, folder, repeated, memory };
    (head, Box::new(parser))
}

/// The parser of one session.
struct OpenCode {
    session: String,
    /// The project's folder, for a session that names none.
    folder: Option<String>,
    /// Ids that several records of the document have.
    repeated: HashSet<String>,
    memory: Memory,
}

/// What is remembered between records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    /// The latest time that any record tells: of two copies of a session, which one is the later.
    newest: i64,
    cwd: Option<String>,
    version: Option<String>,
    started: bool,
    title: Option<String>,
    message: Message,
    /// The record of an assistant's message whose parts are being read: what it cost and how it failed is said behind them.
    owed: Option<Value>,
}

/// The message that parts belong to.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Message {
    id: String,
    by_assistant: bool,
    /// The assistant sums up what was said, for a shorter context.
    summary: bool,
    at: Option<i64>,
    model: Option<String>,
    /// What the human said in it, to which its pictures belong: native id and text.
    said: Option<(String, String)>,
}

impl Parser for OpenCode {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let before = out.len();
        self.memory.newest = self.memory.newest.max(record::newest(record));
        let kind = match record::kind(record) {
            Kind::Session => self.session(record, out),
            Kind::Message => self.message(record, out),
            Kind::Part => self.part(record, out),
            Kind::Other => Some(("record".to_owned(), false)),
        };
        if out.len() == before {
            let (kind, known) = kind.unwrap_or_else(|| ("record".to_owned(), true));
            out.push(Item::Ignored { kind, known });
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        record::split(document)
    }

    fn finish(&mut self, out: &mut Vec<Item>) {
        self.settle(out);
    }

    fn state(&self) -> Value {
        // Strings, numbers and JSON values alone: this conversion has nothing to fail on.
        serde_json::to_value(&self.memory).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) {
        self.memory = Memory::deserialize(state).unwrap_or_default();
    }
}

/// The kind of a record that makes no item, and whether it is known.
type Silent = Option<(String, bool)>;

impl OpenCode {
    fn session(&mut self, info: &Value, out: &mut Vec<Item>) -> Silent {
        self.settle(out);
        let memory = &mut self.memory;
        let started_at = millis(info, &["time", "created"]).filter(|_| !memory.started);
        memory.started |= started_at.is_some();
        let context = Context {
            cwd: changed(&mut memory.cwd, str_of(info, "directory").or(self.folder.as_deref())),
            agent_version: changed(&mut memory.version, str_of(info, "version")),
            started_at: started_at.map(Millis),
            ..Context::default()
        };
        if context != Context::default() {
            out.push(Item::Context(context));
        }
        if let Some(title) = record::title(info).filter(|title| memory.title.as_deref() != Some(title)) {
            memory.title = Some(title.to_owned());
            out.push(Item::Title(Title { text: title.to_owned(), leaf: None }));
        }
        Some(("session".to_owned(), true))
    }

    fn message(&mut self, info: &Value, out: &mut Vec<Item>) -> Silent {
        self.settle(out);
        let by_assistant = str_of(info, "role") == Some("assistant");
        self.memory.message = Message {
            id: str_of(info, "id").unwrap_or_default().to_owned(),
            by_assistant,
            summary: info.get("summary").and_then(Value::as_bool).unwrap_or(false),
            at: millis(info, &["time", "created"]),
            model: str_of(info, "modelID").filter(|_| by_assistant).map(str::to_owned),
            said: None,
        };
        if by_assistant {
            let owed = ["id", "modelID", "time", "tokens", "error"];
            let owed = owed.into_iter().filter_map(|key| Some((key.to_owned(), info.get(key)?.clone())));
            self.memory.owed = Some(Value::Object(owed.collect()));
        }
        let cwd = info.get("path").and_then(|path| str_of(path, "cwd"));
        if let Some(cwd) = changed(&mut self.memory.cwd, cwd) {
            out.push(Item::Context(Context { cwd: Some(cwd), ..Context::default() }));
        }
        Some(("message".to_owned(), true))
    }

    /// Says what the message that ended cost, and how it failed: behind its parts, so that it counts for what they belong to.
    fn settle(&mut self, out: &mut Vec<Item>) {
        let Some(message) = self.memory.owed.take() else { return };
        let id = str_of(&message, "id").unwrap_or_default();
        let model = str_of(&message, "modelID").map(str::to_owned);
        if let Some(tokens) = message.get("tokens").map(tokens).filter(|t| *t != Tokens::default()) {
            let time = millis(&message, &["time", "created"]).filter(|_| self.repeated.contains(id));
            let key = format!("{}/{id}/{}", self.session, time.unwrap_or_default());
            out.push(Item::Usage { key, model: model.clone(), tokens });
        }
        let Some(error) = message.get("error").and_then(error_text) else { return };
        let at = millis(&message, &["time", "completed"]).or_else(|| millis(&message, &["time", "created"]));
        let native = self.native(id).map(|native| format!("{native}/error"));
        out.push(Item::Turn(NewTurn {
            revises: native.is_some(),
            native,
            at: at.map(Millis),
            model,
            label: Some("error".to_owned()),
            ..turn(Role::System, error)
        }));
    }

    /// The id of a record's turn; `None` for an id that stands for several.
    fn native(&self, id: &str) -> Option<String> {
        (!id.is_empty() && !self.repeated.contains(id)).then(|| format!("{}/{id}", self.session))
    }
}

/// A turn of this text; what it leaves open is the caller's.
fn turn(role: Role, text: String) -> NewTurn {
    NewTurn {
        native: None,
        message_key: None,
        stream: Stream::Main,
        role,
        at: None,
        model: None,
        text,
        label: None,
        images: Vec::new(),
        call: None,
        revises: true,
    }
}

/// `{name, data: {message}}`.
fn error_text(error: &Value) -> Option<String> {
    let said = error.get("data").and_then(|data| str_of(data, "message")).or_else(|| str_of(error, "message"));
    match (str_of(error, "name"), said) {
        (Some(name), Some(said)) => Some(format!("{name}: {said}")),
        (Some(only), None) | (None, Some(only)) => Some(only.to_owned()),
        (None, None) => error.as_str().map(str::to_owned),
    }
}

/// What was read from the cache is no input here. Whether reasoning is part of the output differs with the version; where the
/// total is told, it says.
fn tokens(told: &Value) -> Tokens {
    let count = |path: &[&str]| millis(told, path).and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
    let mut tokens = Tokens {
        input: count(&["input"]),
        output: count(&["output"]),
        cache_read: count(&["cache", "read"]),
        cache_write: count(&["cache", "write"]),
    };
    let reasoning = count(&["reasoning"]);
    let counts = [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write, reasoning];
    if reasoning > 0 && count(&["total"]) == counts.into_iter().fold(0, u64::saturating_add) {
        tokens.output = tokens.output.saturating_add(reasoning);
    }
    tokens
}

/// The new value, when there is one and it differs from what was known, which it then replaces.
fn changed(known: &mut Option<String>, now: Option<&str>) -> Option<String> {
    let now = now.filter(|now| known.as_deref() != Some(now))?;
    *known = Some(now.to_owned());
    known.clone()
}

/// The agent of all sessions read here.
const AGENT: Agent = Agent::OpenCode;

/// A record whose JSON is damaged: kept as text, under its ids.
fn damaged(ids: &[(&str, &str)], text: &str) -> Value {
    let mut record = json!({ "damaged": text });
    for (key, id) in ids {
        record[*key] = Value::from(*id);
    }
    record
}
