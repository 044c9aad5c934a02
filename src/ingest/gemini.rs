//! Gemini CLI's recordings of its conversations, of both generations.
//!
//! Owns what a record means and what must be remembered between records. Must not read files (`head` does) or know the store.
//!
//! Until about March 2026 a conversation is one document that is written anew with every message; since then it is lines: a
//! header, then messages, of which a later one with the same id takes the place of the earlier one, `{"$set": ...}` with new
//! facts, and `{"$rewindTo": id}` (`packages/core/src/services/chatRecordingService.ts` there). A document is taken apart into
//! the same records. A message holds all of an answer: thoughts, text, tool calls with their results.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::content::str_of;
use super::project::folder_hash;
use super::record::{Call, Context, Image, Item, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use crate::model::{Millis, Role, Tokens, ToolStatus};

mod content;
mod head;

#[cfg(test)]
mod tests;

/// The tool whose command line may hold a git commit.
const SHELL: &str = "run_shell_command";

/// Opens a recording of Gemini CLI; `None` when the first records are not its own.
#[must_use]
pub fn open(path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    let head = head::recognise(path, head)?;
    let parser = Gemini { session: head.native_id.clone(), folders: head::folders(path), state: State::default() };
    Some((head, Box::new(parser)))
}

/// The parser of one recording.
struct Gemini {
    session: String,
    folders: head::Folders,
    state: State,
}

/// What is remembered between records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The hash of the project's folder.
    project_hash: Option<String>,
    /// Ids of the messages read.
    seen: BTreeSet<String>,
}

/// What the turns of one message share.
struct Message<'a> {
    id: &'a str,
    at: Option<Millis>,
    model: Option<&'a str>,
}

impl Parser for Gemini {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let before = out.len();
        let kind = self.translate(record, out);
        if out.len() == before {
            let (kind, known) = kind.unwrap_or(("no type".to_owned(), false));
            out.push(Item::Ignored { kind, known });
        }
    }

    fn split(&self, document: Value) -> Vec<Value> {
        let Value::Object(mut header) = document else { return vec![document] };
        match header.remove("messages") {
            Some(Value::Array(messages)) => std::iter::once(Value::Object(header)).chain(messages).collect(),
            Some(other) => {
                header.insert("messages".to_owned(), other);
                vec![Value::Object(header)]
            }
            None => vec![Value::Object(header)],
        }
    }

    fn state(&self) -> Value {
        // Strings and a list alone: cannot fail; `Null` would start afresh.
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) {
        self.state = State::deserialize(state).unwrap_or_default();
    }
}

impl Gemini {
    /// Translates a record; its kind and whether that is known, for when it makes no item.
    fn translate(&mut self, record: &Value, out: &mut Vec<Item>) -> Option<(String, bool)> {
        if let Some(id) = str_of(record, "$rewindTo") {
            out.push(rewind(id));
            return None;
        }
        if let Some(Value::Object(facts)) = record.get("$set") {
            self.facts(facts, out);
            return Some(("$set".to_owned(), true));
        }
        let object = record.as_object()?;
        if object.contains_key("sessionId") && !object.contains_key("type") {
            self.facts(object, out);
            return Some(("header".to_owned(), true));
        }
        let kind = str_of(record, "type")?;
        Some((kind.to_owned(), self.message(kind, record, out)))
    }

    /// The header of a recording, or new facts about it.
    fn facts(&mut self, facts: &Map<String, Value>, out: &mut Vec<Item>) {
        let text = |key| facts.get(key).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
        if let Some(hash) = text("projectHash") {
            self.state.project_hash = Some(hash.to_owned());
        }
        let directories = facts.get("directories").and_then(Value::as_array);
        let directories = directories.into_iter().flatten().filter_map(Value::as_str);
        let cwd = self.folder(directories);
        let context = Context {
            project_hash: self.state.project_hash.clone().filter(|_| cwd.is_none()),
            cwd,
            started_at: text("startTime").and_then(Millis::parse),
            ..Context::default()
        };
        let tells = ["projectHash", "directories", "startTime"].iter().any(|key| facts.contains_key(*key));
        if tells && context != Context::default() {
            out.push(Item::Context(context));
        }
        if let Some(summary) = text("summary") {
            out.push(Item::Title(Title { text: summary.trim().to_owned(), leaf: None }));
        }
        // A history that was made shorter: old messages come back with their long outputs taken out, some are new (a summary
        // of those before). The archive keeps what it has.
        for message in facts.get("messages").and_then(Value::as_array).into_iter().flatten() {
            if let Some(kind) = str_of(message, "type")
                && str_of(message, "id").is_none_or(|id| !self.state.seen.contains(id))
            {
                self.message(kind, message, out);
            }
        }
    }

    /// The project's folder: the log has only its hash, and the folders that were added to the workspace.
    fn folder<'a>(&self, mut directories: impl Iterator<Item = &'a str>) -> Option<String> {
        let hash = self.state.project_hash.as_deref();
        let of_hash = directories.find(|folder| Some(folder_hash(folder).as_str()) == hash);
        of_hash.map(str::to_owned).or_else(|| self.folders.of(hash))
    }

    /// Whether the kind of message is known.
    fn message(&mut self, kind: &str, record: &Value, out: &mut Vec<Item>) -> bool {
        let id = str_of(record, "id").unwrap_or_default();
        if !id.is_empty() {
            self.state.seen.insert(id.to_owned());
        }
        let at = str_of(record, "timestamp").and_then(Millis::parse);
        let message = Message { id, at, model: str_of(record, "model") };
        match kind {
            "user" => self.user(record, &message, out),
            "gemini" => self.answer(record, &message, out),
            "info" | "error" | "warning" => {
                let said = content::parts(record.get("content"));
                self.say(Role::System, Some(kind), said.text, said.images, "text", &message, out);
            }
            _ => return false,
        }
        true
    }

    /// A prompt, as it was typed: what the model was given instead (files read in, say) is in the record.
    fn user(&self, record: &Value, message: &Message<'_>, out: &mut Vec<Item>) {
        let sent = content::parts(record.get("content"));
        let shown = content::parts(record.get("displayContent"));
        let images = if shown.images.is_empty() { sent.images } else { shown.images };
        let text = if shown.text.trim().is_empty() { sent.text } else { shown.text };
        let (role, label) = match content::injected_label(&text) {
            Some(label) => (Role::System, Some(label)),
            None => (Role::User, None),
        };
        self.say(role, label, text, images, "text", message, out);
    }

    fn answer(&self, record: &Value, message: &Message<'_>, out: &mut Vec<Item>) {
        let said = content::parts(record.get("content"));
        let thoughts = record.get("thoughts").and_then(Value::as_array).into_iter().flatten();
        for (n, thought) in thoughts.enumerate() {
            let at = str_of(thought, "timestamp").and_then(Millis::parse).or(message.at);
            let message = Message { at, ..*message };
            let text = content::thought(thought);
            self.say(Role::Thinking, None, text, Vec::new(), &format!("thought/{n}"), &message, out);
        }
        self.say(Role::Thinking, None, said.thoughts, Vec::new(), "thought", message, out);
        self.say(Role::Assistant, None, said.text, said.images, "text", message, out);
        let calls = record.get("toolCalls").and_then(Value::as_array).into_iter().flatten();
        for (n, call) in calls.enumerate() {
            self.call(call, n, message, out);
        }
        if let Some(tokens) = record.get("tokens").filter(|t| t.is_object()) {
            let key = format!("{}/{}", self.session, message.id);
            out.push(Item::Usage { key, model: message.model.map(str::to_owned), tokens: tokens_of(tokens) });
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is another fact of a turn")]
    fn say(
        &self,
        role: Role,
        label: Option<&str>,
        text: String,
        images: Vec<Image>,
        piece: &str,
        message: &Message<'_>,
        out: &mut Vec<Item>,
    ) {
        if text.trim().is_empty() && images.is_empty() {
            return;
        }
        let label = label.map(str::to_owned);
        out.push(Item::Turn(NewTurn { text, label, images, ..self.turn(role, piece, message) }));
    }

    fn turn(&self, role: Role, piece: &str, message: &Message<'_>) -> NewTurn {
        let named = !message.id.is_empty();
        NewTurn {
            // A message's id is random, but a recording that was copied by hand is another session's.
            native: named.then(|| format!("{}/{}#{piece}", self.session, message.id)),
            message_key: None,
            stream: Stream::Main,
            role,
            at: message.at,
            model: message.model.map(str::to_owned),
            text: String::new(),
            label: None,
            images: Vec::new(),
            call: None,
            revises: named,
        }
    }

    /// A call with its result, where it has one.
    fn call(&self, call: &Value, n: usize, message: &Message<'_>, out: &mut Vec<Item>) {
        let call_id = str_of(call, "id").map_or_else(|| format!("{}/{n}", message.id), str::to_owned);
        let name = str_of(call, "name").unwrap_or("unknown").to_owned();
        let args = call.get("args").filter(|args| !args.is_null());
        let shell = args.filter(|_| name == SHELL).and_then(|args| str_of(args, "command")).map(str::to_owned);
        let input = args.map_or_else(String::new, Value::to_string);
        let at = str_of(call, "timestamp").and_then(Millis::parse).or(message.at);
        let made = Call { call_id: call_id.clone(), name, input, shell };
        out.push(Item::Turn(NewTurn { call: Some(made), ..self.turn(Role::Tool, &call_id, message) }));
        let Some(result) = content::result(call) else { return };
        // Of a subagent the call says the id that its recording has.
        let subagent = str_of(call, "agentId").map(|id| head::subagent_native(&self.session, id));
        out.push(Item::Result(ToolResult { call_id, at, subagent, ..result }));
    }
}

/// Rewinding takes messages out of the conversation; here they stay, and this says so.
fn rewind(id: &str) -> Item {
    Item::Turn(NewTurn {
        native: None,
        message_key: None,
        stream: Stream::Main,
        role: Role::System,
        at: None,
        model: None,
        text: format!("Rewound to before message {id}: the model no longer knows what was said from there to here."),
        label: Some("rewind".to_owned()),
        images: Vec::new(),
        call: None,
        revises: false,
    })
}

/// `input` is the whole prompt with what was read from the cache; `thoughts` are not part of `output`, nor `tool` of `input`:
/// `total` is the sum of all but `cached` (Gemini API, `GenerateContentResponse.usageMetadata`; so in all data seen).
fn tokens_of(tokens: &Value) -> Tokens {
    let count = |key| tokens.get(key).and_then(Value::as_u64).unwrap_or_default();
    let cache_read = count("cached");
    Tokens {
        input: count("input").saturating_sub(cache_read).saturating_add(count("tool")),
        output: count("output").saturating_add(count("thoughts")),
        cache_read,
        cache_write: 0,
    }
}

/// How a call ended; `None` while it has not.
fn status_of(call: &Value) -> Option<ToolStatus> {
    match str_of(call, "status") {
        Some("success") => Some(ToolStatus::Ok),
        Some("error" | "cancelled") => Some(ToolStatus::Error),
        _ => None,
    }
}
