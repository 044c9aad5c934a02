//! Codex's logs ("rollouts"), of the CLI, the IDE extension and the desktop app, from the first JSON document to today's lines.
//!
//! Owns what a record means and what must be remembered between records. Must not read files or know the store.
//!
//! Three shapes, told by content: lines `{timestamp, type, payload}` (since about 0.32); bare lines of response items under a
//! header (before); one document `{session, items}` (before spring 2025).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::content::{Content, digest, injected_label, str_of};
use self::head::Shape;
use self::twins::{Side, Twins};
use crate::ingest::record::{Call, Context, Image, Item, NewTurn, Parser, SessionHead, Stream, Title, ToolResult};
use crate::model::{Millis, Role, Tokens};

mod content;
mod head;
mod tools;
mod twins;

#[cfg(test)]
mod tests;

/// Opens a Codex log; `None` when the first records are not Codex's.
#[must_use]
pub fn open(path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    let (shape, head) = head::recognise(path, head)?;
    let codex = Codex { session: head.native_id.clone(), shape, state: State::default() };
    Some((head, Box::new(codex)))
}

/// The parser of one log.
struct Codex {
    session: String,
    shape: Shape,
    state: State,
}

/// What is remembered between records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct State {
    /// The session's own `session_meta` was read: those that follow are copies of another session's.
    meta_seen: bool,
    /// Before the envelope, the folder stands in the injected context alone.
    cwd_seen: bool,
    started_at: Option<Millis>,
    model: Option<String>,
    turn_id: Option<String>,
    /// The tokens that a copied history had already cost.
    inherited: Tokens,
    twins: Twins,
    /// How often each text was said in the current turn: tells a repeated text from its copy.
    said: BTreeMap<String, u32>,
    /// Calls that start a subagent and have no result yet.
    spawns: BTreeSet<String>,
    /// Calls so far that the log gives no id.
    nameless_calls: u64,
}

/// What a record's turns have in common.
struct At<'a> {
    time: Option<Millis>,
    /// The turn the record says it is of, else the current one.
    turn_id: Option<&'a str>,
    message_key: Option<&'a str>,
    side: Side,
}

impl Parser for Codex {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        let before = out.len();
        let kind = match self.shape {
            Shape::Envelope => self.envelope(record, out),
            Shape::Bare => self.bare(record, out),
        };
        if out.len() == before {
            let (kind, known) = kind.unwrap_or_else(|| ("unknown".to_owned(), false));
            out.push(Item::Ignored { kind, known });
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

/// The kind of a record and whether it is known, for when it makes no item.
type Kind = Option<(String, bool)>;

impl Codex {
    fn envelope(&mut self, record: &Value, out: &mut Vec<Item>) -> Kind {
        let kind = str_of(record, "type")?;
        let payload = record.get("payload")?;
        let time = str_of(record, "timestamp").and_then(Millis::parse);
        match kind {
            "session_meta" => self.session_meta(payload, time, out),
            "turn_context" => self.turn_context(payload, out),
            "response_item" => return self.response_item(payload, time, out),
            "event_msg" => return self.event(payload, time, out),
            "compacted" => self.notice("compaction", str_of(payload, "message"), time, out),
            _ => return Some((kind.to_owned(), false)),
        }
        Some((kind.to_owned(), true))
    }

    fn bare(&mut self, record: &Value, out: &mut Vec<Item>) -> Kind {
        if let (Some(session), Some(items)) = (record.get("session"), record.get("items").and_then(Value::as_array)) {
            self.session_meta(session, None, out);
            for item in items {
                let before = out.len();
                let kind = self.response_item(item, None, out);
                if let Some((kind, known)) = kind.filter(|_| out.len() == before) {
                    out.push(Item::Ignored { kind, known });
                }
            }
            return Some(("document".to_owned(), true));
        }
        if let Some(kind) = str_of(record, "record_type") {
            return Some((kind.to_owned(), kind == "state"));
        }
        if record.get("type").is_none() && record.get("id").is_some() {
            self.session_meta(record, None, out);
            return Some(("header".to_owned(), true));
        }
        let time = str_of(record, "timestamp").and_then(Millis::parse);
        self.response_item(record, time, out)
    }

    /// The first one is the session's; a copied history brings those of the sessions it comes from.
    fn session_meta(&mut self, meta: &Value, time: Option<Millis>, out: &mut Vec<Item>) {
        self.state.said.clear();
        if std::mem::replace(&mut self.state.meta_seen, true) {
            return;
        }
        let git = meta.get("git");
        let in_git = |key| git.and_then(|g| str_of(g, key)).map(str::to_owned);
        self.state.started_at = str_of(meta, "timestamp").and_then(Millis::parse).or(time);
        self.state.cwd_seen = str_of(meta, "cwd").is_some();
        out.push(Item::Context(Context {
            cwd: str_of(meta, "cwd").map(str::to_owned),
            git_branch: in_git("branch"),
            git_remote: in_git("repository_url"),
            project_hash: None,
            collection: None,
            agent_version: str_of(meta, "cli_version").map(str::to_owned),
            started_at: self.state.started_at,
        }));
    }

    fn turn_context(&mut self, context: &Value, out: &mut Vec<Item>) {
        self.enter_turn(context);
        if let Some(model) = str_of(context, "model") {
            self.state.model = Some(model.to_owned());
        }
        if let Some(cwd) = str_of(context, "cwd") {
            self.state.cwd_seen = true;
            out.push(Item::Context(Context { cwd: Some(cwd.to_owned()), ..Context::default() }));
        }
    }

    fn enter_turn(&mut self, record: &Value) {
        let turn_id = str_of(record, "turn_id");
        if turn_id.is_some() && turn_id != self.state.turn_id.as_deref() {
            self.state.turn_id = turn_id.map(str::to_owned);
            self.state.said.clear();
        }
    }

    fn response_item(&mut self, item: &Value, time: Option<Millis>, out: &mut Vec<Item>) -> Kind {
        let kind = str_of(item, "type").unwrap_or("untyped");
        // The name of this field changed between 0.141 and 0.142.
        let turn_id = ["internal_chat_message_metadata_passthrough", "metadata"]
            .into_iter()
            .find_map(|key| str_of(item.get(key)?, "turn_id"))
            .map(str::to_owned)
            .or_else(|| self.state.turn_id.clone());
        let message_key = str_of(item, "id");
        let at =
            At { time: time.or(self.state.started_at), turn_id: turn_id.as_deref(), message_key, side: Side::Item };
        match kind {
            "message" => self.message(item, &at, out),
            "reasoning" => self.say(Role::Thinking, None, &content::reasoning(item), &at, out),
            _ if tools::is_output(kind) => self.output(item, &at, out),
            _ if tools::is_call(kind) => self.call(kind, item, &at, out),
            _ => return Some((format!("response_item/{kind}"), KNOWN_ITEMS.contains(&kind))),
        }
        Some((format!("response_item/{kind}"), true))
    }

    fn message(&mut self, item: &Value, at: &At<'_>, out: &mut Vec<Item>) {
        let content = content::message(item);
        match str_of(item, "role") {
            Some("assistant") => self.say(Role::Assistant, None, &content, at, out),
            Some("user") => self.user(content, at, out),
            role => {
                let label = if role == Some("system") { "developer" } else { role.unwrap_or("developer") };
                self.say(Role::System, Some(label), &content, at, out);
            }
        }
    }

    /// What stands under the human's role is only in part the human's: instructions and notices are put there too.
    fn user(&mut self, content: Content, at: &At<'_>, out: &mut Vec<Item>) {
        let (mut human, mut injected) = (Content { images: content.images, ..Content::default() }, Content::default());
        let mut label = None;
        for text in content.texts {
            match injected_label(&text) {
                Some(found) => {
                    label.get_or_insert(found);
                    injected.texts.push(text);
                }
                None => human.texts.push(text),
            }
        }
        if label.is_some() {
            self.injected_cwd(&injected, out);
            if human.texts.is_empty() {
                injected.images = std::mem::take(&mut human.images);
            }
            self.say(Role::System, label, &injected, at, out);
        }
        self.say(Role::User, None, &human, at, out);
    }

    fn injected_cwd(&mut self, injected: &Content, out: &mut Vec<Item>) {
        if self.state.cwd_seen {
            return;
        }
        if let Some(cwd) = injected.texts.iter().find_map(|text| content::environment_cwd(text)) {
            self.state.cwd_seen = true;
            out.push(Item::Context(Context { cwd: Some(cwd.to_owned()), ..Context::default() }));
        }
    }

    /// Makes a turn of what was said, unless the other stream gave it already.
    fn say(&mut self, role: Role, label: Option<&str>, content: &Content, at: &At<'_>, out: &mut Vec<Item>) {
        if content.is_empty() {
            return;
        }
        let (texts, had_images) = self.state.twins.without_twins(role, at.side, content);
        let images = if had_images { Vec::new() } else { content.images.clone() };
        if texts.is_empty() && images.is_empty() {
            return;
        }
        // The pictures of a prompt that was given without them: no second prompt.
        let late = texts.is_empty() && !content.texts.is_empty();
        let (role, label) = if late { (Role::System, Some("attachment")) } else { (role, label) };
        let text = texts.join(if role == Role::Assistant { "" } else { "\n\n" });
        out.push(Item::Turn(self.turn(role, label, text, images, at)));
    }

    fn turn(&mut self, role: Role, label: Option<&str>, text: String, images: Vec<Image>, at: &At<'_>) -> NewTurn {
        let spoken = matches!(role, Role::Assistant | Role::Thinking | Role::Tool);
        NewTurn {
            native: self.native(role.as_str(), &text, at).or_else(|| at.message_key.map(str::to_owned)),
            message_key: at.message_key.map(str::to_owned),
            stream: Stream::Main,
            role,
            at: at.time,
            model: if spoken { self.state.model.clone() } else { None },
            text,
            label: label.map(str::to_owned),
            images,
            call: None,
            revises: false,
        }
    }

    /// `<turn id>/<role>/<digest of the text>`, with `/2` and so on where a text is said again in the same turn: the same in
    /// every copy of the history, from whichever stream it is read and whatever else the copy leaves out.
    fn native(&mut self, role: &str, text: &str, at: &At<'_>) -> Option<String> {
        let native = format!("{}/{role}/{:016x}", at.turn_id?, digest(text));
        let times = self.state.said.entry(native.clone()).or_default();
        *times += 1;
        Some(if *times == 1 { native } else { format!("{native}/{times}") })
    }

    fn call(&mut self, kind: &str, item: &Value, at: &At<'_>, out: &mut Vec<Item>) {
        let read = tools::call(kind, item);
        let given = str_of(item, "call_id").or(at.message_key).filter(|id| !id.is_empty());
        let (call_id, native) = match given {
            // OpenAI's ids are random; those of other providers may count from 0 in each answer.
            Some(id) if id.len() >= GLOBAL_ID => (id.to_owned(), id.to_owned()),
            Some(id) => (id.to_owned(), format!("{}/{id}", at.turn_id.unwrap_or(&self.session))),
            None => {
                let native = self.native(kind, &read.input, at).unwrap_or_else(|| self.nameless_call(kind));
                (native.clone(), native)
            }
        };
        if read.name.ends_with("spawn_agent") {
            self.state.spawns.insert(call_id.clone());
        }
        let call = Call { call_id: call_id.clone(), name: read.name, input: read.input, shell: read.shell };
        let mut turn = self.turn(Role::Tool, None, String::new(), Vec::new(), &At { turn_id: None, ..*at });
        turn.native = Some(native);
        turn.call = Some(call);
        out.push(Item::Turn(turn));
        if let Some(result) = read.result {
            out.push(Item::Result(ToolResult { call_id, at: at.time, ..result }));
        }
    }

    fn nameless_call(&mut self, kind: &str) -> String {
        self.state.nameless_calls += 1;
        format!("{}/{kind}/{}", self.session, self.state.nameless_calls)
    }

    fn output(&mut self, item: &Value, at: &At<'_>, out: &mut Vec<Item>) {
        let Some(call_id) = str_of(item, "call_id") else { return };
        let mut result = tools::output(item);
        if self.state.spawns.remove(call_id) {
            result.subagent = tools::spawned_agent(&result.output);
        }
        out.push(Item::Result(ToolResult { call_id: call_id.to_owned(), at: at.time, ..result }));
    }

    fn event(&mut self, event: &Value, time: Option<Millis>, out: &mut Vec<Item>) -> Kind {
        let kind = str_of(event, "type").unwrap_or("untyped");
        let turn_id = self.state.turn_id.clone();
        let at = At { time, turn_id: turn_id.as_deref(), message_key: None, side: Side::Event };
        match kind {
            "task_started" | "turn_started" => self.enter_turn(event),
            "user_message" => self.user(content::user_event(event), &at, out),
            "agent_message" => self.say(Role::Assistant, None, &Content::text(str_of(event, "message")), &at, out),
            "agent_reasoning" | "agent_reasoning_raw_content" => {
                self.say(Role::Thinking, None, &Content::text(str_of(event, "text")), &at, out);
            }
            "token_count" => self.usage(event, out),
            "thread_name_updated" => self.title(event, out),
            _ => {
                let Some((label, text)) = content::notice(kind, event) else {
                    return Some((format!("event_msg/{kind}"), KNOWN_EVENTS.contains(&kind)));
                };
                self.notice(label, text, time, out);
            }
        }
        Some((format!("event_msg/{kind}"), true))
    }

    fn notice(&mut self, label: &str, text: Option<&str>, time: Option<Millis>, out: &mut Vec<Item>) {
        let Some(text) = text.filter(|t| !t.trim().is_empty()) else { return };
        let turn_id = self.state.turn_id.clone();
        let at = At { time, turn_id: turn_id.as_deref(), message_key: None, side: Side::Event };
        let turn = self.turn(Role::System, Some(label), text.to_owned(), Vec::new(), &at);
        out.push(Item::Turn(turn));
    }

    /// Totals count on from those of a copied history, which the session that it comes from has counted.
    fn usage(&mut self, event: &Value, out: &mut Vec<Item>) {
        let Some(total) = event.get("info").and_then(|info| info.get("total_token_usage")) else { return };
        let tokens = tools::tokens(total);
        if self.in_copied_history() {
            self.state.inherited = tokens;
            return;
        }
        let sum = |t: Tokens| t.input.saturating_add(t.output).saturating_add(t.cache_read);
        if sum(tokens) < sum(self.state.inherited) {
            // This version counts from nothing after all.
            self.state.inherited = Tokens::default();
        }
        let inherited = self.state.inherited;
        out.push(Item::Usage {
            key: format!("{}:total", self.session),
            model: self.state.model.clone(),
            tokens: Tokens {
                input: tokens.input.saturating_sub(inherited.input),
                output: tokens.output.saturating_sub(inherited.output),
                cache_read: tokens.cache_read.saturating_sub(inherited.cache_read),
                cache_write: 0,
            },
        });
    }

    /// A turn id is a UUID of version 7, which starts with the time; a turn older than its session was copied into it.
    fn in_copied_history(&self) -> bool {
        let turn = self.state.turn_id.as_deref().and_then(head::uuid_time);
        matches!((turn, self.state.started_at), (Some(turn), Some(started)) if turn < started)
    }

    fn title(&mut self, event: &Value, out: &mut Vec<Item>) {
        let own = str_of(event, "thread_id").is_none_or(|id| id == self.session);
        if let Some(text) = str_of(event, "thread_name").filter(|_| own) {
            out.push(Item::Title(Title { text: text.to_owned(), leaf: None }));
        }
    }
}

/// From this length on an id is taken for random: `call_` and 24 characters, `ws_` and 50.
const GLOBAL_ID: usize = 20;

/// Response items that make no turn.
const KNOWN_ITEMS: [&str; 4] = ["compaction", "compaction_summary", "context_compaction", "ghost_snapshot"];

/// Events that repeat what a response item says, or say nothing to a reader.
const KNOWN_EVENTS: [&str; 47] = [
    "agent_message_delta",
    "agent_reasoning_delta",
    "agent_reasoning_section_break",
    "apply_patch_approval_request",
    "background_event",
    "collab_agent_interaction_begin",
    "collab_agent_interaction_end",
    "collab_agent_spawn_begin",
    "collab_agent_spawn_end",
    "collab_close_begin",
    "collab_close_end",
    "collab_resume_begin",
    "collab_resume_end",
    "collab_waiting_begin",
    "collab_waiting_end",
    "context_compacted",
    "dynamic_tool_call_request",
    "dynamic_tool_call_response",
    "elicitation_request",
    "entered_review_mode",
    "exec_approval_request",
    "exec_command_begin",
    "exec_command_end",
    "exec_command_output_delta",
    "exited_review_mode",
    "image_generation_begin",
    "image_generation_end",
    "item_completed",
    "item_started",
    "mcp_tool_call_begin",
    "mcp_tool_call_end",
    "patch_apply_begin",
    "patch_apply_end",
    "plan_update",
    "session_configured",
    "shutdown_complete",
    "sub_agent_activity",
    "task_complete",
    "terminal_interaction",
    "thread_rolled_back",
    "turn_aborted",
    "turn_complete",
    "turn_diff",
    "undo_completed",
    "view_image_tool_call",
    "web_search_begin",
    "web_search_end",
];
