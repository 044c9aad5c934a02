//! Conversations of Claude.ai, as its export has them, and the documents of its projects.
//!
//! Owns what a message means. There is no published schema, and no real export could be looked at: what is said here was read
//! in descriptions of them. A record is a message, behind one with what is said of the conversation. Pure.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::branches::{self, Node};
use super::exports::{Opened, Shared};
use super::record::{Call, Context, Item, NamedProject, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use super::title;
use crate::model::{Agent, Millis, Role, ToolStatus};

/// Whether an element of a list is a conversation of Claude.ai.
#[must_use]
pub fn is_conversation(element: &Value) -> bool {
    element.get("chat_messages").is_some_and(Value::is_array) && str_of(element, "uuid").is_some()
}

/// Whether it is a project of Claude.ai.
#[must_use]
pub fn is_project(element: &Value) -> bool {
    let has = |key| str_of(element, key).is_some();
    element.get("docs").is_some_and(Value::is_array) && has("uuid") && element.get("name").is_some_and(Value::is_string)
}

/// The id and the name of a project.
#[must_use]
pub fn project_name(project: &Value) -> Option<(String, String)> {
    Some((str_of(project, "uuid")?.to_owned(), str_of(project, "name")?.trim().to_owned()))
}

/// Opens a conversation; `None` when it has no id.
#[must_use]
pub fn open(conversation: &Value, shared: &Shared) -> Option<Opened> {
    let id = str_of(conversation, "uuid")?;
    let written = time(conversation, "updated_at").or_else(|| time(conversation, "created_at"));
    let parser = ClaudeAi {
        project: project_of(conversation, shared),
        model: str_of(conversation, "model").map(str::to_owned),
        tree: branches(conversation),
        written,
    };
    Some(Opened { id: id.to_owned(), written, head: head(id), parser: Box::new(parser) })
}

/// Opens a project: a session of its own, in which its instructions and documents are told.
#[must_use]
pub fn open_project(project: &Value) -> Option<Opened> {
    let (id, name) = project_name(project).or_else(|| Some((str_of(project, "uuid")?.to_owned(), String::new())))?;
    let written = time(project, "updated_at").or_else(|| time(project, "created_at"));
    let native = format!("project-{id}");
    let parser = Documents { project: named(&id, &name), id, written };
    Some(Opened { head: head(&native), id: native, written, parser: Box::new(parser) })
}

fn head(id: &str) -> SessionHead {
    SessionHead {
        agent: Agent::ClaudeAi,
        native_id: id.to_owned(),
        parent: None,
        subagent_kind: None,
        description: None,
    }
}

fn named(id: &str, name: &str) -> NamedProject {
    let name =
        if name.is_empty() { format!("Claude.ai {}", id.chars().take(8).collect::<String>()) } else { name.to_owned() };
    NamedProject { key: format!("claude.ai/{id}"), name, folder: None }
}

/// The project that a conversation says it is of. The official export does not say it; where one does, it is by id or in whole.
fn project_of(conversation: &Value, shared: &Shared) -> NamedProject {
    let project = conversation.get("project").unwrap_or(&Value::Null);
    let id = str_of(conversation, "project_uuid").or_else(|| str_of(project, "uuid")).or_else(|| project.as_str());
    match id {
        Some(id) => {
            let name = str_of(project, "name").or_else(|| shared.projects.get(id).map(String::as_str));
            named(id, name.unwrap_or_default())
        }
        None => NamedProject { key: "claude.ai/Claude.ai".to_owned(), name: "Claude.ai".to_owned(), folder: None },
    }
}

/// In which order messages are told. Exports before branches were told of are told as they stand.
fn branches(conversation: &Value) -> branches::Order {
    let messages = conversation.get("chat_messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if !messages.iter().any(|message| str_of(message, "parent_message_uuid").is_some()) {
        return branches::Order { order: (0..messages.len()).collect(), branches: HashMap::new() };
    }
    let nodes: Vec<Node> = messages
        .iter()
        .map(|message| Node {
            id: str_of(message, "uuid").unwrap_or_default().to_owned(),
            parent: str_of(message, "parent_message_uuid").map(str::to_owned),
            at: time(message, "created_at"),
            says: shown(message),
        })
        .collect();
    branches::order(&nodes)
}

/// What a message says, for its beginning.
fn shown(message: &Value) -> String {
    let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
    let said = blocks.filter(|block| str_of(block, "type") == Some("text")).find_map(|block| str_of(block, "text"));
    said.or_else(|| str_of(message, "text")).unwrap_or("…").to_owned()
}

/// The parser of one conversation.
struct ClaudeAi {
    project: NamedProject,
    model: Option<String>,
    tree: branches::Order,
    written: Option<Millis>,
}

impl Parser for ClaudeAi {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        if record.get("sender").is_some() {
            self.message(record, out);
        } else if record.get("uuid").is_some() {
            self.header(record, out);
        } else {
            out.push(Item::Ignored { kind: "message/no sender".to_owned(), known: false });
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut header) = document else { return vec![document] };
        let Some(Value::Array(messages)) = header.remove("chat_messages") else { return vec![Value::Object(header)] };
        let mut messages: Vec<Option<Value>> = messages.into_iter().map(Some).collect();
        let ordered = self.tree.order.iter().filter_map(|at| messages.get_mut(*at)?.take());
        std::iter::once(Value::Object(header)).chain(ordered.collect::<Vec<_>>()).collect()
    }

    /// How late the export is.
    fn state(&self) -> Value {
        json!({ "newest": self.written.unwrap_or_default().0 })
    }
}

impl ClaudeAi {
    fn header(&self, record: &Value, out: &mut Vec<Item>) {
        let started_at = time(record, "created_at");
        out.push(Item::Context(Context { collection: Some(self.project.clone()), started_at, ..Context::default() }));
        let name = str_of(record, "name").or_else(|| str_of(record, "title")).map(str::trim);
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            out.push(Item::Title(Title { text: name.to_owned(), leaf: None }));
        }
    }

    fn message(&self, message: &Value, out: &mut Vec<Item>) {
        let id = str_of(message, "uuid");
        let at = time(message, "created_at");
        let place = Place { id, at };
        let before = out.len();
        if let (Some(id), Some(from)) = (id, id.and_then(|id| self.tree.branches.get(id))) {
            out.push(Item::Turn(branches::marker(format!("{id}#branch"), at, from.as_deref())));
        }
        let role = match str_of(message, "sender").unwrap_or_default() {
            "human" | "user" => Role::User,
            "assistant" => Role::Assistant,
            other => {
                out.push(Item::Ignored { kind: format!("sender/{other}"), known: false });
                Role::System
            }
        };
        files(message, &place, out);
        let speaks = out.len();
        let blocks = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut calls: Vec<String> = Vec::new();
        for (n, block) in blocks.iter().enumerate() {
            self.block(role, block, n, &mut calls, &place, out);
        }
        // The flattened text stands for what has no blocks: in it, blocks that cannot be shown are named.
        if !out[speaks..].iter().any(|item| matches!(item, Item::Turn(_)))
            && let Some(text) = str_of(message, "text").filter(|text| !text.trim().is_empty())
        {
            out.push(self.said(role, text.to_owned(), "text", &place));
        }
        if out.len() == before {
            out.push(Item::Ignored { kind: "message/empty".to_owned(), known: true });
        }
    }

    fn said(&self, role: Role, text: String, piece: &str, place: &Place<'_>) -> Item {
        let model = self.model.clone().filter(|_| matches!(role, Role::Assistant | Role::Thinking));
        let label = (role == Role::System).then(|| "unknown".to_owned());
        Item::Turn(NewTurn { text, model, label, ..turn(role, piece, place) })
    }

    fn block(
        &self,
        role: Role,
        block: &Value,
        n: usize,
        calls: &mut Vec<String>,
        place: &Place<'_>,
        out: &mut Vec<Item>,
    ) {
        let text = |key| str_of(block, key).filter(|text| !text.trim().is_empty()).map(str::to_owned);
        let at = time(block, "start_timestamp").or(place.at);
        let place = &Place { at, ..*place };
        let piece = n.to_string();
        match str_of(block, "type").unwrap_or_default() {
            "text" => out.extend(text("text").map(|text| self.said(role, text, &piece, place))),
            "voice_note" => {
                let said = [text("title"), text("text")].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
                out.extend((!said.is_empty()).then(|| self.said(role, said, &piece, place)));
            }
            "thinking" => out.extend(text("thinking").map(|text| self.said(Role::Thinking, text, &piece, place))),
            "tool_use" => {
                let call_id = str_of(block, "id").map_or_else(|| native(place, &piece), str::to_owned);
                calls.push(call_id.clone());
                let input =
                    block.get("input").filter(|input| !input.is_null()).map_or_else(String::new, Value::to_string);
                let name = str_of(block, "name").unwrap_or("unknown").to_owned();
                let call = Call { call_id, name, input, shell: None };
                let turn = turn(Role::Tool, &piece, place);
                out.push(Item::Turn(NewTurn { call: Some(call), model: self.model.clone(), ..turn }));
            }
            "tool_result" => result(block, &piece, calls, place, out),
            "token_budget" | "redacted_thinking" => {
                out.push(Item::Ignored { kind: "content/without text".to_owned(), known: true });
            }
            kind => {
                let kind = if kind.is_empty() { "no type" } else { kind };
                out.push(Item::Ignored { kind: format!("content/{kind}"), known: false });
                out.extend(text("text").map(|text| self.said(role, text, &piece, place)));
            }
        }
    }
}

/// A result: of the call it names, else of the last one. One without a call is one by itself.
fn result(block: &Value, piece: &str, calls: &mut Vec<String>, place: &Place<'_>, out: &mut Vec<Item>) {
    let named = str_of(block, "tool_use_id").map(str::to_owned);
    let call_id = match named.or_else(|| calls.pop()) {
        Some(call_id) => call_id,
        None => {
            let call_id = native(place, piece);
            let name = str_of(block, "name").unwrap_or("unknown").to_owned();
            let call = Call { call_id: call_id.clone(), name, input: String::new(), shell: None };
            out.push(Item::Turn(NewTurn { call: Some(call), ..turn(Role::Tool, piece, place) }));
            call_id
        }
    };
    calls.retain(|open| *open != call_id);
    let failed = block.get("is_error").and_then(Value::as_bool) == Some(true);
    let status = if failed { ToolStatus::Error } else { ToolStatus::Ok };
    let output = output(block.get("content").unwrap_or(&Value::Null));
    let (stream, at) = (Stream::Main, time(block, "stop_timestamp").or(place.at));
    out.push(Item::Result(ToolResult { call_id, stream, at, output, status, images: Vec::new(), subagent: None }));
}

/// What a tool gave: texts as they stand, links with their titles, all else as JSON.
fn output(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().map(output).filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
        }
        Value::Object(_) if str_of(content, "text").is_some() => {
            let keys = ["title", "url", "text"];
            keys.iter().filter_map(|key| str_of(content, key)).collect::<Vec<_>>().join("\n")
        }
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}

/// What was given with a prompt: the text that was read out of a document, or the name of a file.
fn files(message: &Value, place: &Place<'_>, out: &mut Vec<Item>) {
    let list = |key| message.get(key).and_then(Value::as_array).into_iter().flatten();
    let attachments = list("attachments").map(|file| {
        let name = str_of(file, "file_name").unwrap_or("pasted text");
        match str_of(file, "extracted_content") {
            Some(content) => format!("{name}\n\n{content}"),
            None => name.to_owned(),
        }
    });
    let names = list("files").chain(list("files_v2")).filter_map(|file| str_of(file, "file_name").map(str::to_owned));
    let mut told: Vec<String> = Vec::new();
    for text in attachments.chain(names) {
        if told.contains(&text) {
            continue;
        }
        let turn = turn(Role::System, &format!("attachment/{}", told.len()), place);
        out.push(Item::Turn(NewTurn { text: text.clone(), label: Some("attachment".to_owned()), ..turn }));
        told.push(text);
    }
}

/// The parser of a project.
struct Documents {
    project: NamedProject,
    id: String,
    written: Option<Millis>,
}

impl Parser for Documents {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        if record.get("filename").is_some() || record.get("content").is_some() {
            let content = str_of(record, "content").unwrap_or_default();
            let text = format!("{}\n\n{content}", str_of(record, "filename").unwrap_or("document"));
            let label = Some("document".to_owned());
            let place = Place { id: str_of(record, "uuid"), at: time(record, "created_at") };
            return out.push(Item::Turn(NewTurn { text, label, ..turn(Role::System, "document", &place) }));
        }
        let at = time(record, "created_at");
        let collection = Some(self.project.clone());
        out.push(Item::Context(Context { collection, started_at: at, ..Context::default() }));
        let text = title::shorten(&format!("Project: {}", self.project.name));
        out.push(Item::Title(Title { text, leaf: None }));
        for (key, label) in [("description", "description"), ("prompt_template", "instructions")] {
            if let Some(text) = str_of(record, key).filter(|text| !text.trim().is_empty()) {
                let place = Place { id: Some(&self.id), at };
                let turn = turn(Role::System, label, &place);
                out.push(Item::Turn(NewTurn { text: text.to_owned(), label: Some(label.to_owned()), ..turn }));
            }
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut header) = document else { return vec![document] };
        match header.remove("docs") {
            Some(Value::Array(docs)) => std::iter::once(Value::Object(header)).chain(docs).collect(),
            _ => vec![Value::Object(header)],
        }
    }

    fn state(&self) -> Value {
        json!({ "newest": self.written.unwrap_or_default().0 })
    }
}

/// What the turns of one message share.
struct Place<'a> {
    id: Option<&'a str>,
    at: Option<Millis>,
}

fn native(place: &Place<'_>, piece: &str) -> String {
    format!("{}#{piece}", place.id.unwrap_or_default())
}

fn turn(role: Role, piece: &str, place: &Place<'_>) -> NewTurn {
    NewTurn {
        native: place.id.map(|_| native(place, piece)),
        message_key: None,
        stream: Stream::Main,
        role,
        at: place.at,
        model: None,
        text: String::new(),
        label: None,
        images: Vec::new(),
        call: None,
        revises: place.id.is_some(),
    }
}

fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

fn time(value: &Value, key: &str) -> Option<Millis> {
    str_of(value, key).and_then(Millis::parse)
}
