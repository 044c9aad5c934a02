//! CogCommit's databases (`data.db`), of all its names: shipchronicle, agentlogs, cogcommit and tuhnr.
//!
//! Owns what its rows mean. It kept of Claude Code's logs what people and models said and the calls of tools; a session with
//! several git commits lost all but the last of their bounds, which are found again here by their times. Its row ids are those
//! of the logs, so that a session that is imported from its log too is the same session. Which rows are read is `database`'s,
//! what people made of them `curation`'s. Must not read files or know the store.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::claude_code;
use super::record::{Call, Context, Image, Item, NamedProject, NewTurn, Parser, SessionHead, Stream, ToolResult};
use crate::model::{Agent, Millis, Role, ToolStatus};
use crate::store::commits::GitCommit;

pub mod curation;
mod database;

pub use curation::Curated;
pub use database::{Database, is_one};

/// What stands in a record of it, that tells its kinds apart.
const KIND: &str = "cogcommit";

/// What a parser of these sessions says of itself: other sources of a session are the agent's own.
#[must_use]
pub fn is_state(parser: &Value) -> bool {
    parser.get(KIND).is_some()
}

fn head(agent: Agent, id: &str) -> SessionHead {
    SessionHead { agent, native_id: id.to_owned(), parent: None, subagent_kind: None, description: None }
}

/// The parser of one session: `{session, commits, turns, visuals}`.
struct Session {
    written: Option<Millis>,
    project: NamedProject,
    /// Git commits by the time of the call that made them.
    closings: HashMap<Millis, String>,
    /// Screenshots that are still there, by their ids.
    images: HashMap<String, Image>,
}

impl Parser for Session {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        match str_of(record, KIND).unwrap_or_default() {
            "session" => out.push(Item::Context(Context {
                collection: Some(self.project.clone()),
                started_at: time(record, "started_at"),
                ..Context::default()
            })),
            "turn" => self.turn(record, out),
            "visual" => self.visual(record, out),
            "commit" => out.push(Item::Ignored { kind: "commit".to_owned(), known: true }),
            other => out.push(Item::Ignored { kind: format!("row/{other}"), known: false }),
        }
    }

    /// The session's row and those of its commits, then its turns and screenshots as they were.
    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut fields) = document else { return vec![document] };
        let mut rows = |key: &str, kind: &str| -> Vec<Value> {
            let rows = match fields.remove(key) {
                Some(Value::Array(rows)) => rows,
                Some(row @ Value::Object(_)) => vec![row],
                _ => Vec::new(),
            };
            rows.into_iter()
                .map(|mut row| {
                    row[KIND] = json!(kind);
                    row
                })
                .collect()
        };
        let (mut records, commits) = (rows("session", "session"), rows("commits", "commit"));
        let mut said = rows("turns", "turn");
        let shown = rows("visuals", "visual");
        records.extend(commits);
        if !shown.is_empty() {
            let mut last = Millis(i64::MIN);
            let mut timed: Vec<(Millis, Value)> = said
                .into_iter()
                .map(|turn| {
                    last = time(&turn, "timestamp").unwrap_or(last).max(last);
                    (last, turn)
                })
                .chain(shown.into_iter().map(|row| (time(&row, "captured_at").unwrap_or(Millis(i64::MAX)), row)))
                .collect();
            timed.sort_by_key(|(at, _)| *at);
            said = timed.into_iter().map(|(_, row)| row).collect();
        }
        records.extend(said);
        records
    }

    fn state(&self) -> Value {
        json!({ KIND: true, "newest": self.written.unwrap_or_default().0 })
    }
}

impl Session {
    fn turn(&self, row: &Value, out: &mut Vec<Item>) {
        let id = str_of(row, "id");
        let at = time(row, "timestamp");
        let text = str_of(row, "content").unwrap_or_default();
        let before = out.len();
        // The blocks of a record were numbered in its log: of those that are kept, the text came first.
        let mut block = 0;
        let mut next = || {
            let native = id.map(|id| format!("{id}#{block}"));
            block += 1;
            native
        };
        if !text.trim().is_empty() {
            let (role, label) = role_of(row, text, out);
            let model = str_of(row, "model").filter(|model| *model != "<synthetic>" && role == Role::Assistant);
            let turn = turn(role, next(), at, model);
            out.push(Item::Turn(NewTurn { text: text.to_owned(), label: label.map(str::to_owned), ..turn }));
        }
        // Damaged ones are told when the row is read.
        let calls: Value =
            str_of(row, "tool_calls").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        for (n, made) in calls.as_array().into_iter().flatten().enumerate() {
            let native = next();
            call(made, n, native.as_deref(), row, at, out);
            // The result that told of the commit was never kept.
            if let (Some(hash), Some(native)) = (at.and_then(|at| self.closings.get(&at)), native)
                && made.pointer("/input/command").and_then(Value::as_str).is_some_and(|c| c.contains("commit"))
            {
                let made = GitCommit { hash: hash.clone(), branch: None, subject: String::new() };
                out.push(Item::Committed { native, made });
            }
        }
        if out.len() == before {
            out.push(Item::Ignored { kind: "turn/empty".to_owned(), known: true });
        }
    }

    /// A screenshot: a turn of its own, where it was taken.
    fn visual(&self, row: &Value, out: &mut Vec<Item>) {
        let Some(id) = str_of(row, "id") else {
            return out.push(Item::Ignored { kind: "visual/no id".to_owned(), known: false });
        };
        let images: Vec<Image> = self.images.get(id).cloned().into_iter().collect();
        let caption = str_of(row, "caption").unwrap_or_default();
        let text = if images.is_empty() {
            format!("{caption}\n\n[the picture is gone]").trim().to_owned()
        } else {
            caption.to_owned()
        };
        let label = str_of(row, "type").unwrap_or("screenshot").to_owned();
        let turn = turn(Role::System, Some(format!("visual/{id}")), time(row, "captured_at"), None);
        out.push(Item::Turn(NewTurn { text, label: Some(label), images, ..turn }));
    }
}

/// Who speaks: among what stands under the user's name is what Claude Code put there.
fn role_of(row: &Value, text: &str, out: &mut Vec<Item>) -> (Role, Option<&'static str>) {
    match str_of(row, "role").unwrap_or_default() {
        "user" => match claude_code::label_of_prompt(text) {
            Some(label) => (Role::System, Some(label)),
            None => (Role::User, None),
        },
        "assistant" => (Role::Assistant, None),
        other => {
            out.push(Item::Ignored { kind: format!("role/{other}"), known: false });
            (Role::System, Some("unknown"))
        }
    }
}

/// A call with its result, where it has one: the same as in the log.
fn call(made: &Value, n: usize, native: Option<&str>, row: &Value, at: Option<Millis>, out: &mut Vec<Item>) {
    let call_id =
        str_of(made, "id").map_or_else(|| native.unwrap_or("call").to_owned() + &format!("/{n}"), str::to_owned);
    let name = str_of(made, "name").unwrap_or_default().to_owned();
    let input = made.get("input").filter(|input| !input.is_null());
    let shell = input.and_then(|input| str_of(input, "command")).filter(|_| name == "Bash").map(str::to_owned);
    let input = input.map_or_else(String::new, Value::to_string);
    let call = Call { call_id: call_id.clone(), name, input, shell };
    let turn = turn(Role::Tool, native.map(str::to_owned), at, str_of(row, "model"));
    out.push(Item::Turn(NewTurn { call: Some(call), ..turn }));
    if made.get("result").is_none() && made.get("isError").is_none() {
        return;
    }
    let (output, images) = claude_code::output_of(made.get("result"));
    let failed = made.get("isError").and_then(Value::as_bool) == Some(true);
    let status = if failed { ToolStatus::Error } else { ToolStatus::Ok };
    out.push(Item::Result(ToolResult { call_id, stream: Stream::Main, at, output, status, images, subagent: None }));
}

fn turn(role: Role, native: Option<String>, at: Option<Millis>, model: Option<&str>) -> NewTurn {
    NewTurn {
        native,
        message_key: None,
        stream: Stream::Main,
        role,
        at,
        model: model.map(str::to_owned),
        text: String::new(),
        label: None,
        images: Vec::new(),
        call: None,
        revises: false,
    }
}

fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn time(value: &Value, key: &str) -> Option<Millis> {
    str_of(value, key).and_then(Millis::parse)
}
