//! Cursor's conversations, out of the databases of its editor.
//!
//! Owns what a composer, a chat tab and their bubbles mean. There is no published schema: what is said here of 2024 was measured
//! on a database of that year, of 2025 it was read in descriptions. A record is a bubble, behind one with what is said of the
//! conversation. Must not read files or know the store; which rows are read is `database`'s.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::record::{Call, Context, Item, NamedProject, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use crate::model::{Agent, Millis, Role, Tokens, ToolStatus};

mod database;

pub use database::{Database, is_named_so};

/// The head of a conversation.
fn head(id: &str) -> SessionHead {
    SessionHead { agent: Agent::Cursor, native_id: id.to_owned(), parent: None, subagent_kind: None, description: None }
}

/// The parser of one conversation: `{conversation: {...}, bubbles: [...]}`.
struct Conversation {
    id: String,
    folder: Option<String>,
    written: Option<Millis>,
    /// Files that answers of 2024 wrote, by address: each version of each.
    written_files: BTreeMap<String, Vec<Value>>,
    model: Option<String>,
}

impl Conversation {
    fn open(id: &str, document: &Value, folder: Option<String>, written: Option<Millis>) -> Box<dyn Parser> {
        let conversation = document.get("conversation").unwrap_or(&Value::Null);
        let files = conversation.get("codeBlockData").and_then(Value::as_object).into_iter().flatten();
        let versions = |value: &Value| match value {
            Value::Array(versions) => versions.clone(),
            Value::Object(versions) => versions.values().cloned().collect(),
            _ => Vec::new(),
        };
        let model = conversation.pointer("/modelConfig/modelName").and_then(Value::as_str);
        Box::new(Self {
            id: id.to_owned(),
            folder,
            written,
            written_files: files.map(|(address, value)| (address.clone(), versions(value))).collect(),
            model: model.filter(|name| is_model(name)).map(str::to_owned),
        })
    }
}

impl Parser for Conversation {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        if record.get("type").is_none() {
            return self.header(record, out);
        }
        let before = out.len();
        self.bubble(record, out);
        if out.len() == before {
            out.push(Item::Ignored { kind: "bubble/empty".to_owned(), known: true });
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut fields) = document else { return vec![document] };
        let header = fields.remove("conversation").unwrap_or_default();
        let bubbles = match fields.remove("bubbles") {
            Some(Value::Array(bubbles)) => bubbles,
            _ => Vec::new(),
        };
        std::iter::once(header).chain(bubbles).collect()
    }

    fn state(&self) -> Value {
        json!({ "newest": self.written.unwrap_or_default().0 })
    }
}

impl Conversation {
    fn header(&self, record: &Value, out: &mut Vec<Item>) {
        let collection = NamedProject { key: "cursor.com/Cursor".to_owned(), name: "Cursor".to_owned(), folder: None };
        out.push(Item::Context(Context {
            cwd: self.folder.clone(),
            collection: Some(collection),
            git_branch: str_of(record, "createdOnBranch").map(str::to_owned),
            started_at: millis(record.get("createdAt")),
            ..Context::default()
        }));
        let title = str_of(record, "name").or_else(|| str_of(record, "chatTitle")).map(str::trim);
        if let Some(title) = title.filter(|title| !title.is_empty() && *title != "New Chat") {
            out.push(Item::Title(Title { text: title.to_owned(), leaf: None }));
        }
    }

    fn bubble(&self, bubble: &Value, out: &mut Vec<Item>) {
        let id = str_of(bubble, "bubbleId").or_else(|| str_of(bubble, "id"));
        let own =
            bubble.pointer("/modelInfo/modelName").and_then(Value::as_str).or_else(|| str_of(bubble, "modelType"));
        let place = Place {
            native: id.map(|id| format!("{}/{id}", self.id)),
            at: ["createdAt", "unixMs"].iter().find_map(|key| millis(bubble.get(*key))).or_else(|| timing(bubble)),
            model: own.filter(|name| is_model(name)).map(str::to_owned).or_else(|| self.model.clone()),
        };
        let human = match bubble.get("type") {
            Some(Value::String(kind)) if kind == "user" => true,
            Some(Value::String(kind)) if kind == "ai" => false,
            Some(kind) if kind.as_i64() == Some(1) => true,
            Some(kind) if kind.as_i64() == Some(2) => false,
            Some(kind) => return out.push(Item::Ignored { kind: format!("bubble/{kind}"), known: false }),
            None => return,
        };
        if human {
            let text = said(bubble, &["text", "delegate"]);
            return out.extend(place.say(Role::User, text, "text"));
        }
        if let Some(thinking) = bubble.get("thinking") {
            let text = thinking.as_str().or_else(|| str_of(thinking, "text")).unwrap_or_default().to_owned();
            out.extend(place.say(Role::Thinking, text, "thinking"));
        }
        let text = said(bubble, &["rawText", "text"]);
        out.extend(place.say(Role::Assistant, text.clone(), "text"));
        self.code(bubble, &text, &place, out);
        if let Some(tool) = bubble.get("toolFormerData").filter(|tool| tool.is_object()) {
            call(tool, &place, out);
        }
        out.extend(usage(bubble, &place));
    }

    /// Code that stands beside the text: files that an answer wrote, and blocks that the text does not have.
    fn code(&self, bubble: &Value, text: &str, place: &Place, out: &mut Vec<Item>) {
        let blocks = bubble.get("codeBlocks").and_then(Value::as_array).into_iter().flatten();
        for (n, block) in blocks.enumerate() {
            let address = block.get("uri").and_then(|uri| str_of(uri, "external").or_else(|| str_of(uri, "path")));
            let version = block.get("version").and_then(Value::as_u64).and_then(|v| usize::try_from(v).ok());
            let versions = address.and_then(|address| self.written_files.get(address));
            let file = versions.and_then(|versions| versions.get(version.unwrap_or_default()));
            let content = file.and_then(|file| str_of(file, "content")).or_else(|| str_of(block, "content"));
            let Some(content) = content.filter(|content| !text.contains(content.trim())) else { continue };
            let path = block.get("uri").and_then(|uri| str_of(uri, "fsPath").or_else(|| str_of(uri, "path")));
            match path {
                Some(path) => place.wrote(path, content, n, out),
                None => {
                    let language = str_of(block, "languageId").unwrap_or_default();
                    let fence = if content.contains("```") { "````" } else { "```" };
                    let text = format!("{fence}{language}\n{}\n{fence}", content.trim_end_matches('\n'));
                    out.extend(place.say(Role::Assistant, text, &format!("code/{n}")));
                }
            }
        }
    }
}

/// What the turns of one bubble share.
struct Place {
    native: Option<String>,
    at: Option<Millis>,
    model: Option<String>,
}

impl Place {
    fn turn(&self, role: Role, piece: &str) -> NewTurn {
        NewTurn {
            native: self.native.as_ref().map(|native| format!("{native}#{piece}")),
            message_key: None,
            stream: Stream::Main,
            role,
            at: self.at,
            model: self.model.clone().filter(|_| role != Role::User),
            text: String::new(),
            label: None,
            images: Vec::new(),
            call: None,
            revises: self.native.is_some(),
        }
    }

    fn say(&self, role: Role, text: String, piece: &str) -> Option<Item> {
        (!text.trim().is_empty()).then(|| Item::Turn(NewTurn { text, ..self.turn(role, piece) }))
    }

    /// A file that an answer wrote: as a call of an editing tool, which is what it became later.
    fn wrote(&self, path: &str, content: &str, n: usize, out: &mut Vec<Item>) {
        let call_id = format!("{}/code/{n}", self.native.as_deref().unwrap_or_default());
        let input = json!({ "target_file": path, "content": content }).to_string();
        let call = Call { call_id: call_id.clone(), name: "edit_file".to_owned(), input, shell: None };
        out.push(Item::Turn(NewTurn { call: Some(call), ..self.turn(Role::Tool, &format!("code/{n}")) }));
        out.push(Item::Result(outcome(call_id, self.at, String::new(), ToolStatus::Ok)));
    }
}

fn outcome(call_id: String, at: Option<Millis>, output: String, status: ToolStatus) -> ToolResult {
    ToolResult { call_id, stream: Stream::Main, at, output, status, images: Vec::new(), subagent: None }
}

/// A call with its result: both are JSON in texts.
fn call(tool: &Value, place: &Place, out: &mut Vec<Item>) {
    let call_id = str_of(tool, "toolCallId")
        .map_or_else(|| format!("{}/call", place.native.as_deref().unwrap_or_default()), str::to_owned);
    let name = str_of(tool, "name").unwrap_or("unknown").to_owned();
    let input = ["rawArgs", "params", "args"].iter().find_map(|key| text_of(tool.get(*key)?)).unwrap_or_default();
    let arguments: Value = serde_json::from_str(&input).unwrap_or_default();
    let shell = str_of(&arguments, "command").filter(|_| name.contains("terminal") || name.contains("shell"));
    let made = Call { call_id: call_id.clone(), name: name.clone(), shell: shell.map(str::to_owned), input };
    out.push(Item::Turn(NewTurn { call: Some(made), ..place.turn(Role::Tool, "call") }));
    let status = match str_of(tool, "status") {
        Some("completed" | "success") => ToolStatus::Ok,
        Some("error" | "cancelled" | "rejected") => ToolStatus::Error,
        _ => ToolStatus::Pending,
    };
    let result = tool.get("result").and_then(text_of).or_else(|| tool.get("error").and_then(text_of));
    if result.is_none() && status == ToolStatus::Pending {
        return;
    }
    let result = result.unwrap_or_default();
    // A shell's output is what it printed.
    let parsed: Value = serde_json::from_str(&result).unwrap_or_default();
    let output = str_of(&parsed, "output").map(str::to_owned).unwrap_or(result);
    let status = if status == ToolStatus::Pending { ToolStatus::Ok } else { status };
    out.push(Item::Result(outcome(call_id, place.at, output, status)));
}

fn usage(bubble: &Value, place: &Place) -> Option<Item> {
    let count = |key| bubble.pointer(&format!("/tokenCount/{key}")).and_then(Value::as_u64).unwrap_or_default();
    let tokens = Tokens { input: count("inputTokens"), output: count("outputTokens"), ..Tokens::default() };
    let key = place.native.clone().filter(|_| tokens != Tokens::default())?;
    Some(Item::Usage { key, model: place.model.clone(), tokens })
}

/// The first of some fields that says something; what was typed into an editor of rich text is taken out of that.
fn said(bubble: &Value, keys: &[&str]) -> String {
    let plain = keys.iter().find_map(|key| str_of(bubble, key)).filter(|text| !text.trim().is_empty());
    if let Some(text) = plain {
        return text.to_owned();
    }
    let rich = ["richText", "initText"].iter().find_map(|key| str_of(bubble, key));
    let rich: Value = rich.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut text = String::new();
    lexical(rich.get("root").unwrap_or(&Value::Null), &mut text);
    text
}

/// The text of a document of the editor Lexical. Not deeper than JSON itself is read.
fn lexical(node: &Value, out: &mut String) {
    match str_of(node, "type") {
        Some("linebreak") => out.push('\n'),
        _ => out.push_str(str_of(node, "text").unwrap_or_default()),
    }
    for child in node.get("children").and_then(Value::as_array).into_iter().flatten() {
        if str_of(child, "type") == Some("paragraph") && !out.is_empty() {
            out.push('\n');
        }
        lexical(child, out);
    }
}

/// A time in milliseconds, or as a text.
fn millis(value: Option<&Value>) -> Option<Millis> {
    match value? {
        Value::String(text) => Millis::parse(text),
        number => number.as_i64().filter(|at| (1..100_000_000_000_000).contains(at)).map(Millis),
    }
}

/// When a bubble's request was sent or answered, as its clocks have it: some of them count from the editor's start.
fn timing(bubble: &Value) -> Option<Millis> {
    const YEAR_2020: i64 = 1_577_836_800_000;
    let timing = bubble.get("timingInfo")?;
    let keys = ["clientRpcSendTime", "clientSettleTime", "clientEndTime"];
    keys.iter().find_map(|key| millis(timing.get(*key)).filter(|at| at.0 > YEAR_2020))
}

fn is_model(name: &str) -> bool {
    !name.is_empty() && name != "default"
}

/// A text, or a value as JSON.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// What is kept of what is said of a conversation: not its keys, and not what its bubbles say.
fn without_secrets(conversation: &mut Map<String, Value>) {
    conversation.retain(|key, _| {
        let key = key.to_ascii_lowercase();
        !["encryptionkey", "token", "secret", "password"].iter().any(|word| key.contains(word))
            // Counts of tokens are none.
            || key.contains("tokencount") || key.contains("tokenlimit")
    });
}
