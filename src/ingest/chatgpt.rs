//! Conversations of ChatGPT, as its export has them: trees of messages, in all branches that were tried.
//!
//! Owns what a message means. There is no published schema: what is said here was measured on an export of 2023, and read in
//! descriptions of later ones. A record is a node of the tree (`{id, parent, children, message}`), behind one with what is said
//! of the conversation. Must not read files, but for the pictures that a message names (`exports::assets`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use self::content::{Said, seconds, str_of};
use super::branches::{self, Node};
use super::exports::assets::Assets;
use super::exports::{Opened, Shared};
use super::record::{Call, Context, Item, NamedProject, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use crate::model::{Agent, Millis, Role, ToolStatus};

mod content;

/// Whether an element of a list is a conversation of ChatGPT.
#[must_use]
pub fn is_conversation(element: &Value) -> bool {
    let has = |key| str_of(element, key).is_some();
    element.get("mapping").is_some_and(Value::is_object) && (has("conversation_id") || has("id") || has("current_node"))
}

/// Opens a conversation; `None` when it has no id.
#[must_use]
pub fn open(conversation: &Value, shared: &Shared) -> Option<Opened> {
    let id = str_of(conversation, "conversation_id").or_else(|| str_of(conversation, "id"))?;
    let written = seconds(conversation, "update_time").or_else(|| seconds(conversation, "create_time"));
    let head = SessionHead {
        agent: Agent::ChatGpt,
        native_id: id.to_owned(),
        parent: None,
        subagent_kind: None,
        description: None,
    };
    let tree = Tree::of(conversation);
    let parser = ChatGpt { conversation: id.to_owned(), tree, assets: Arc::clone(&shared.assets), written };
    Some(Opened { id: id.to_owned(), written, head, parser: Box::new(parser) })
}

/// What must be known of the whole tree to read one message.
struct Tree {
    order: HashMap<String, usize>,
    branches: HashMap<String, Option<String>>,
    /// The calls that tools' messages answer, by the ids of their nodes.
    answers: HashMap<String, String>,
}

impl Tree {
    fn of(conversation: &Value) -> Self {
        let none = Map::new();
        let mapping = conversation.get("mapping").and_then(Value::as_object).unwrap_or(&none);
        let nodes: Vec<Node> = mapping
            .iter()
            .map(|(id, node)| {
                let message = node.get("message").filter(|message| message.is_object());
                Node {
                    id: id.clone(),
                    parent: str_of(node, "parent").map(str::to_owned),
                    at: message.and_then(|message| seconds(message, "create_time")),
                    says: message.filter(|m| !content::is_hidden(m)).map(content::shown).unwrap_or_default(),
                }
            })
            .collect();
        let branches::Order { order, branches } = branches::order(&nodes);
        let order = order.iter().enumerate().filter_map(|(nth, at)| Some((nodes.get(*at)?.id.clone(), nth))).collect();
        let mut tree = Self { order, branches, answers: HashMap::new() };
        tree.pair(mapping);
        tree
    }

    /// Pairs each tool's message with the call above it. A call has one answer; what a tool says more stands by itself.
    fn pair(&mut self, mapping: &Map<String, Value>) {
        let mut tools: Vec<&String> =
            mapping.iter().filter(|(_, n)| content::role(n) == "tool").map(|(id, _)| id).collect();
        tools.sort_by_key(|id| self.order.get(*id));
        let mut answered = HashSet::new();
        for id in tools {
            let mut above = mapping.get(id).and_then(|node| str_of(node, "parent"));
            // Results of one call follow each other.
            while let Some(node) = above.and_then(|id| mapping.get(id)).filter(|node| content::role(node) == "tool") {
                above = str_of(node, "parent").filter(|parent| Some(*parent) != above);
            }
            if let Some((id_of_call, call)) = above.and_then(|id| Some((id, mapping.get(id)?)))
                && call.get("message").is_some_and(content::is_call)
                && answered.insert(id_of_call)
            {
                self.answers.insert(id.clone(), id_of_call.to_owned());
            }
        }
    }
}

/// The parser of one conversation.
struct ChatGpt {
    conversation: String,
    tree: Tree,
    assets: Arc<Assets>,
    written: Option<Millis>,
}

impl Parser for ChatGpt {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        if record.get("message").is_none() {
            return header(record, out);
        }
        match record.get("message").filter(|message| message.is_object()) {
            Some(message) => self.message(str_of(record, "id").unwrap_or_default(), message, out),
            None => out.push(Item::Ignored { kind: "root".to_owned(), known: true }),
        }
    }

    /// What is said of the conversation, then its nodes in the order they are told.
    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut header) = document else { return vec![document] };
        let Some(Value::Object(mapping)) = header.remove("mapping") else { return vec![Value::Object(header)] };
        let mut nodes: Vec<(usize, Value)> = mapping
            .into_iter()
            .map(|(id, mut node)| {
                let nth = self.tree.order.get(&id).copied().unwrap_or(usize::MAX);
                // Some damaged exports have them under an id alone.
                if let Some(fields) = node.as_object_mut() {
                    fields.entry("id").or_insert_with(|| json!(id));
                    fields.entry("message").or_insert(Value::Null);
                }
                (nth, node)
            })
            .collect();
        nodes.sort_by_key(|(nth, _)| *nth);
        std::iter::once(Value::Object(header)).chain(nodes.into_iter().map(|(_, node)| node)).collect()
    }

    /// How late the export is: of two with the same conversation, the later one's title holds.
    fn state(&self) -> Value {
        json!({ "newest": self.written.unwrap_or_default().0 })
    }
}

/// What is said of the conversation.
fn header(record: &Value, out: &mut Vec<Item>) {
    out.push(Item::Context(Context {
        collection: Some(project(record)),
        started_at: seconds(record, "create_time"),
        ..Context::default()
    }));
    if let Some(title) = str_of(record, "title").map(str::trim).filter(|title| !title.is_empty()) {
        out.push(Item::Title(Title { text: title.to_owned(), leaf: None }));
    }
}

/// ChatGPT's projects are `gizmos` whose ids begin with `g-p-`; other gizmos are custom GPTs, which are no projects.
fn project(record: &Value) -> NamedProject {
    let id = ["gizmo_id", "conversation_template_id"].into_iter().filter_map(|key| str_of(record, key));
    match id.into_iter().find(|id| id.starts_with("g-p-")) {
        Some(id) => {
            let short: String = id.chars().skip(4).take(8).collect();
            let name = str_of(record, "project_title").map_or_else(|| format!("ChatGPT {short}"), str::to_owned);
            NamedProject { key: format!("chatgpt.com/{id}"), name, folder: None }
        }
        None => NamedProject { key: "chatgpt.com/ChatGPT".to_owned(), name: "ChatGPT".to_owned(), folder: None },
    }
}

/// What the turns of one message share.
struct Place<'a> {
    node: &'a str,
    native: String,
    at: Option<Millis>,
    model: Option<&'a str>,
}

impl ChatGpt {
    fn message(&self, node: &str, message: &Value, out: &mut Vec<Item>) {
        let id = str_of(message, "id").unwrap_or(node);
        let metadata = message.get("metadata").unwrap_or(&Value::Null);
        let place = Place {
            node,
            // Random ids; a conversation that was shared and gone on with has copies of another's.
            native: format!("{}/{id}", self.conversation),
            at: seconds(message, "create_time"),
            model: str_of(metadata, "model_slug"),
        };
        let before = out.len();
        if let Some(from) = self.tree.branches.get(node) {
            out.push(Item::Turn(branches::marker(format!("{}#branch", place.native), place.at, from.as_deref())));
        }
        let said = Said::of(message, &self.assets);
        for kind in &said.unknown {
            out.push(Item::Ignored { kind: kind.clone(), known: false });
        }
        self.attachments(metadata, &place, out);
        let role = message.pointer("/author/role").and_then(Value::as_str).unwrap_or_default();
        match role {
            "tool" => self.answer(message, said, &place, out),
            "assistant" if content::is_call(message) => out.push(self.call(message, said.text, &place)),
            _ => self.say(role, message, said, &place, out),
        }
        if out.len() == before {
            out.push(Item::Ignored { kind: format!("{role}/empty"), known: true });
        }
    }

    fn say(&self, role: &str, message: &Value, said: Said, place: &Place<'_>, out: &mut Vec<Item>) {
        if said.text.trim().is_empty() && said.images.is_empty() {
            return;
        }
        let hidden = content::is_hidden(message).then_some("hidden");
        let (role, label) = match role {
            "user" => (Role::User, said.label.or(hidden)),
            "assistant" if said.thought => (Role::Thinking, None),
            "assistant" => (Role::Assistant, said.label),
            "system" => (Role::System, said.label.or(Some("system"))),
            _ => {
                out.push(Item::Ignored { kind: format!("author/{role}"), known: false });
                (Role::System, Some("unknown"))
            }
        };
        let role = if label.is_some() { Role::System } else { role };
        let turn = NewTurn {
            text: said.text,
            images: said.images,
            label: label.map(str::to_owned),
            ..turn(role, "text", place)
        };
        out.push(Item::Turn(turn));
    }

    /// A message to a tool.
    fn call(&self, message: &Value, text: String, place: &Place<'_>) -> Item {
        let name = str_of(message, "recipient").unwrap_or("tool").to_owned();
        let call_id = self.call_id(place.node);
        Item::Turn(NewTurn {
            call: Some(Call { call_id, name, input: text, shell: None }),
            ..turn(Role::Tool, "call", place)
        })
    }

    fn call_id(&self, node: &str) -> String {
        format!("{}/{node}", self.conversation)
    }

    /// A tool's message: the answer to the call above it, or one without a call.
    fn answer(&self, message: &Value, said: Said, place: &Place<'_>, out: &mut Vec<Item>) {
        let status = if content::failed(message) { ToolStatus::Error } else { ToolStatus::Ok };
        let call_id = match self.tree.answers.get(place.node) {
            Some(call) => self.call_id(call),
            None => {
                let name = message.pointer("/author/name").and_then(Value::as_str).unwrap_or("tool").to_owned();
                let call_id = self.call_id(place.node);
                let call = Call { call_id: call_id.clone(), name, input: String::new(), shell: None };
                out.push(Item::Turn(NewTurn { call: Some(call), ..turn(Role::Tool, "call", place) }));
                call_id
            }
        };
        let (output, images) = (said.text, said.images);
        let stream = Stream::Main;
        out.push(Item::Result(ToolResult { call_id, stream, at: place.at, output, status, images, subagent: None }));
    }

    /// Files that were given with a prompt: the export has their names, and of pictures more than that.
    fn attachments(&self, metadata: &Value, place: &Place<'_>, out: &mut Vec<Item>) {
        let files = metadata.get("attachments").and_then(Value::as_array).into_iter().flatten();
        for (n, file) in files.enumerate() {
            let mime = str_of(file, "mime_type").or_else(|| str_of(file, "mimeType")).unwrap_or_default();
            // Pictures are parts of the message too.
            if mime.starts_with("image/") {
                continue;
            }
            if let Some(name) = str_of(file, "name") {
                let kind = if mime.is_empty() { String::new() } else { format!(" ({mime})") };
                let turn = turn(Role::System, &format!("attachment/{n}"), place);
                let (text, label) = (format!("{name}{kind}"), Some("attachment".to_owned()));
                out.push(Item::Turn(NewTurn { text, label, model: None, ..turn }));
            }
        }
    }
}

fn turn(role: Role, piece: &str, place: &Place<'_>) -> NewTurn {
    NewTurn {
        native: Some(format!("{}#{piece}", place.native)),
        message_key: None,
        stream: Stream::Main,
        role,
        at: place.at,
        model: place.model.filter(|_| matches!(role, Role::Assistant | Role::Thinking | Role::Tool)).map(str::to_owned),
        text: String::new(),
        label: None,
        images: Vec::new(),
        call: None,
        revises: true,
    }
}
