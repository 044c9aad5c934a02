//! GitHub Copilot CLI's logs: `session-state/<id>/events.jsonl`, one event a line, appended.
//!
//! Owns what an event means and what must be remembered between events. Must not read files or know the store.
//!
//! An event is `{id, parentId, timestamp, type, data}`; the kinds are those of the Copilot SDK's reference of session events
//! (`docs/features/streaming-events.md` there), of which the log holds the persisted ones. A subagent's events stand among its
//! session's: they say `agentId`, older ones the call that started it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::content::{digest, str_of};
use super::record::{Call, Context, Image, Item, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use crate::model::{Agent, Millis, Role, Tokens};

mod content;

#[cfg(test)]
mod tests;

/// Kinds that make no turn: the frame of what others say, or questions whose answer is a result.
const SILENT: [&str; 26] = [
    "assistant.intent",
    "assistant.turn_end",
    "assistant.turn_start",
    "command.completed",
    "command.queued",
    "elicitation.completed",
    "elicitation.requested",
    "external_tool.completed",
    "external_tool.requested",
    "hook.end",
    "hook.start",
    "permission.completed",
    "permission.requested",
    "session.compaction_start",
    "session.idle",
    "session.mode_changed",
    "session.session_limits_changed",
    "session.usage_checkpoint",
    "session.usage_info",
    "subagent.completed",
    "subagent.deselected",
    "subagent.selected",
    "tool.execution_partial_result",
    "tool.execution_progress",
    "user_input.completed",
    "user_input.requested",
];

/// Kinds that are told by `data` being there and this name.
const SPOKEN: [&str; 12] = [
    "session.start",
    "session.resume",
    "user.message",
    "assistant.message",
    "assistant.reasoning",
    "tool.execution_start",
    "tool.execution_complete",
    "system.message",
    "session.info",
    "session.model_change",
    "session.shutdown",
    "subagent.started",
];

/// Opens a log of Copilot CLI; `None` when the first records are not its events.
#[must_use]
pub fn open(path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    if !head.iter().any(is_event) {
        return None;
    }
    let start = head.iter().find(|r| str_of(r, "type") == Some("session.start"));
    let native_id = start.and_then(|s| str_of(s.get("data")?, "sessionId")).map_or_else(|| id_of(path), str::to_owned);
    let copilot = Copilot { session: native_id.clone(), state: State::default() };
    let head = SessionHead { agent: Agent::Copilot, native_id, parent: None, subagent_kind: None, description: None };
    Some((head, Box::new(copilot)))
}

fn is_event(record: &Value) -> bool {
    record.get("data").is_some_and(Value::is_object)
        && str_of(record, "id").is_some()
        && str_of(record, "type").is_some_and(|kind| SPOKEN.contains(&kind) || SILENT.contains(&kind))
}

/// The folder's name, else that of a file that was copied elsewhere (`<id>.events.jsonl`).
fn id_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split(".jsonl").next().unwrap_or_default().trim_end_matches(".events");
    let folder = path.parent().and_then(Path::file_name).filter(|_| stem == "events");
    folder.map_or_else(|| stem.to_owned(), |folder| folder.to_string_lossy().into_owned())
}

/// The parser of one log.
struct Copilot {
    session: String,
    state: State,
}

/// What is remembered between events.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// Calls that a message asked for: their start is no second call.
    requested: BTreeSet<String>,
    /// Subagents by the call that started them.
    subagents: BTreeMap<String, String>,
    /// The instructions the model was given last: most turns repeat them.
    instructions: Option<u64>,
    /// The reasoning that came as an event of its own, which the message repeats.
    reasoning: Option<u64>,
    /// Output tokens of the messages so far, by model.
    output: BTreeMap<String, u64>,
}

/// What all items of one event share.
struct Event<'a> {
    id: Option<&'a str>,
    at: Option<Millis>,
    stream: Stream,
    data: &'a Value,
}

impl Parser for Copilot {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let before = out.len();
        let kind = str_of(record, "type").unwrap_or("no type");
        let data = record.get("data").unwrap_or(&Value::Null);
        let at = str_of(record, "timestamp").and_then(Millis::parse);
        let event = Event { id: str_of(record, "id"), at, stream: stream(record, data), data };
        let known = self.event(kind, &event, out);
        if out.len() == before {
            out.push(Item::Ignored { kind: kind.to_owned(), known });
        }
    }

    fn state(&self) -> Value {
        // Strings, numbers and maps with string keys alone: cannot fail; `Null` would start afresh.
        serde_json::to_value(&self.state).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) {
        self.state = State::deserialize(state).unwrap_or_default();
    }
}

/// `agentId` names a subagent; before there was one, the call that started it did.
fn stream(record: &Value, data: &Value) -> Stream {
    let key = str_of(record, "agentId").or_else(|| str_of(data, "parentToolCallId"));
    key.map_or(Stream::Main, |key| Stream::Inline(key.to_owned()))
}

impl Copilot {
    /// Translates an event; whether its kind is known.
    fn event(&mut self, kind: &str, event: &Event<'_>, out: &mut Vec<Item>) -> bool {
        let data = event.data;
        match kind {
            "session.start" | "session.resume" | "session.context_changed" => context(event, out),
            "session.title_changed" => title(data, out),
            "session.shutdown" => self.usage(data, out),
            "user.message" => user(event, out),
            "assistant.message" => self.message(event, out),
            "assistant.reasoning" => self.reasoning(str_of(data, "content"), event, out),
            "tool.execution_start" | "tool.user_requested" => {
                let requested = str_of(data, "toolCallId").is_some_and(|id| self.state.requested.contains(id));
                if !requested && let Some(call) = content::call(data, "toolName") {
                    out.push(made(call, 0, event));
                }
            }
            "tool.execution_complete" => self.complete(event, out),
            "subagent.started" => self.started(event),
            "system.message" => self.instructions(event, out),
            "session.model_change" => notice("model", str_of(data, "newModel"), event, out),
            "session.info" => notice("info", str_of(data, "message"), event, out),
            "session.warning" => notice("warning", str_of(data, "message"), event, out),
            "session.error" => notice("error", str_of(data, "message"), event, out),
            "session.compaction_complete" => notice("compaction", str_of(data, "summaryContent"), event, out),
            "session.task_complete" => notice("task", str_of(data, "summary"), event, out),
            "subagent.failed" => notice("subagent", str_of(data, "error"), event, out),
            "skill.invoked" => notice("skill", str_of(data, "content"), event, out),
            "abort" => notice("abort", str_of(data, "reason"), event, out),
            _ => return SILENT.contains(&kind),
        }
        true
    }

    /// An answer: what the model thought, said and asked for.
    fn message(&mut self, event: &Event<'_>, out: &mut Vec<Item>) {
        let data = event.data;
        let model = str_of(data, "model");
        self.reasoning(str_of(data, "reasoningText"), event, out);
        self.state.reasoning = None;
        if let Some(text) = str_of(data, "content") {
            out.push(Item::Turn(turn(Role::Assistant, text, "text", event)));
        }
        let requests = data.get("toolRequests").and_then(Value::as_array).into_iter().flatten();
        for (n, request) in requests.enumerate() {
            if let Some(call) = content::call(request, "name") {
                self.state.requested.insert(call.call_id.clone());
                out.push(made(call, n, event));
            }
        }
        // The log has no more of a message's cost than this; `session.shutdown` has the rest.
        if let Some(output) = data.get("outputTokens").and_then(Value::as_u64).filter(|n| *n > 0) {
            let key = str_of(data, "messageId").or(event.id).unwrap_or_default();
            let told = self.state.output.entry(model.unwrap_or_default().to_owned()).or_default();
            *told = told.saturating_add(output);
            let tokens = Tokens { output, ..Tokens::default() };
            out.push(Item::Usage { key: key.to_owned(), model: model.map(str::to_owned), tokens });
        }
    }

    fn reasoning(&mut self, text: Option<&str>, event: &Event<'_>, out: &mut Vec<Item>) {
        let Some(text) = text else { return };
        if self.state.reasoning.replace(digest(text)) != Some(digest(text)) {
            out.push(Item::Turn(turn(Role::Thinking, text, "reasoning", event)));
        }
    }

    fn complete(&mut self, event: &Event<'_>, out: &mut Vec<Item>) {
        let Some(call_id) = str_of(event.data, "toolCallId") else { return };
        self.state.requested.remove(call_id);
        let key = self.state.subagents.remove(call_id);
        let result = content::result(event.data);
        out.push(Item::Result(ToolResult {
            call_id: call_id.to_owned(),
            stream: event.stream.clone(),
            at: event.at,
            // The native id of a subagent that is logged inside its session's file.
            subagent: key.map(|key| format!("{}/inline-{key}", self.session)),
            ..result
        }));
    }

    /// Its own events follow, under the id that is noted here.
    fn started(&mut self, event: &Event<'_>) {
        let Some(call_id) = str_of(event.data, "toolCallId") else { return };
        let key = match &event.stream {
            Stream::Inline(key) => key.clone(),
            Stream::Main => call_id.to_owned(),
        };
        self.state.subagents.insert(call_id.to_owned(), key);
    }

    fn instructions(&mut self, event: &Event<'_>, out: &mut Vec<Item>) {
        let Some(text) = str_of(event.data, "content") else { return };
        if self.state.instructions.replace(digest(text)) != Some(digest(text)) {
            notice("instructions", Some(text), event, out);
        }
    }

    /// What the session cost by model, without what its messages said already. A resumed session counts on from there, so
    /// that the largest number is the last. `inputTokens` is taken for the whole prompt, as in OpenAI's API.
    fn usage(&self, data: &Value, out: &mut Vec<Item>) {
        for (model, metrics) in data.get("modelMetrics").and_then(Value::as_object).into_iter().flatten() {
            let Some(usage) = metrics.get("usage") else { continue };
            let count = |key| usage.get(key).and_then(Value::as_u64).unwrap_or_default();
            let (cache_read, cache_write) = (count("cacheReadTokens"), count("cacheWriteTokens"));
            let told = self.state.output.get(model).copied().unwrap_or_default();
            let tokens = Tokens {
                input: count("inputTokens").saturating_sub(cache_read).saturating_sub(cache_write),
                output: count("outputTokens").saturating_sub(told),
                cache_read,
                cache_write,
            };
            out.push(Item::Usage { key: format!("{}/{model}", self.session), model: Some(model.clone()), tokens });
        }
    }
}

fn context(event: &Event<'_>, out: &mut Vec<Item>) {
    let data = event.data;
    let place = data.get("context").unwrap_or(data);
    let text = |key| str_of(place, key).map(str::to_owned);
    let host = str_of(place, "repositoryHost")
        .or_else(|| str_of(place, "hostType").filter(|kind| *kind == "github").map(|_| "github.com"));
    let context = Context {
        cwd: text("cwd"),
        git_branch: text("branch"),
        git_remote: host.zip(str_of(place, "repository")).map(|(host, name)| format!("https://{host}/{name}")),
        project_hash: None,
        collection: None,
        agent_version: str_of(data, "copilotVersion").map(str::to_owned),
        started_at: str_of(data, "startTime").and_then(Millis::parse),
    };
    if context != Context::default() {
        out.push(Item::Context(context));
    }
}

fn title(data: &Value, out: &mut Vec<Item>) {
    if let Some(text) = str_of(data, "title").map(str::trim).filter(|text| !text.is_empty()) {
        out.push(Item::Title(Title { text: text.to_owned(), leaf: None }));
    }
}

/// `content` is what was typed; `transformedContent`, with the time and reminders added, is what the model was given.
fn user(event: &Event<'_>, out: &mut Vec<Item>) {
    let text = str_of(event.data, "content").unwrap_or_default();
    let images = content::attachments(event.data);
    if text.trim().is_empty() && images.is_empty() {
        return;
    }
    // Skills, plans and the like put messages of their own under the human's role, and say who they are.
    let source = str_of(event.data, "source").filter(|source| *source != "user");
    let role = if source.is_some() { Role::System } else { Role::User };
    let label = source.map(|_| "context".to_owned());
    out.push(Item::Turn(NewTurn { images, label, ..turn(role, text, "text", event) }));
}

fn notice(label: &str, text: Option<&str>, event: &Event<'_>, out: &mut Vec<Item>) {
    if let Some(text) = text.filter(|text| !text.trim().is_empty()) {
        let said = turn(Role::System, text, "text", event);
        out.push(Item::Turn(NewTurn { label: Some(label.to_owned()), ..said }));
    }
}

fn made(call: Call, n: usize, event: &Event<'_>) -> Item {
    Item::Turn(NewTurn { call: Some(call), ..turn(Role::Tool, "", &format!("call/{n}"), event) })
}

fn turn(role: Role, text: &str, piece: &str, event: &Event<'_>) -> NewTurn {
    let spoken = matches!(role, Role::Assistant | Role::Thinking | Role::Tool);
    NewTurn {
        native: event.id.map(|id| format!("{id}#{piece}")),
        message_key: None,
        stream: event.stream.clone(),
        role,
        at: event.at,
        model: str_of(event.data, "model").filter(|_| spoken).map(str::to_owned),
        text: text.to_owned(),
        label: None,
        images: Vec::<Image>::new(),
        call: None,
        revises: false,
    }
}
