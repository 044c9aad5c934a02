//! Claude Code's transcripts: one JSON record a line, `~/.claude/projects/<slug>/<session>.jsonl`.
//!
//! Owns what the record types mean, for versions 1.0.24 to 2.1.x. There is no published schema: what is said here of a
//! version was measured on real files. Reads nothing but the records it is given and a subagent's `meta.json`; must not
//! know of turns, commits or the store.

mod assistant;
mod attachment;
mod content;
mod head;
mod human;
mod queue;
mod sidechain;
mod system;
mod user;

#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::queue::Queue;
use self::sidechain::Sidechains;
use super::record::{Context, Item, Parser, SessionHead, Stream, Title};
use crate::model::Millis;

/// Recognises a Claude Code transcript by its first records, and opens its parser.
#[must_use]
pub fn open(path: &Path, head: &[Value]) -> Option<(SessionHead, Box<dyn Parser>)> {
    if !head::recognises(head) {
        return None;
    }
    let subagent = head::subagent_id(path, head);
    let session = match &subagent {
        Some(agent_id) => head::subagent(path, head, agent_id),
        None => head::root(path, head),
    };
    // Agents of agents lie beside their parent, in the root session's folder.
    let root = session.parent.clone().unwrap_or_else(|| session.native_id.clone());
    let parser = Transcript { is_subagent: subagent.is_some(), root, memory: Memory::default() };
    Some((session, Box::new(parser)))
}

/// The label of a text that stands under the user's name and is none of theirs, as far as the text alone tells.
pub(super) fn label_of_prompt(text: &str) -> Option<&'static str> {
    human::label(&Value::Null, text)
}

/// The output of a tool's result, with its pictures.
pub(super) fn output_of(content: Option<&Value>) -> (String, Vec<super::record::Image>) {
    content::output(content)
}

/// Record types that hold no turn: undo data, progress bars, the state of the program's own window.
const SILENT: [&str; 10] = [
    "progress",
    "file-history-snapshot",
    "file-history-delta",
    "pr-link",
    "last-prompt",
    "mode",
    "permission-mode",
    "atis-latch",
    "agent-name",
    "agent-setting",
];

/// The parser of one file.
struct Transcript {
    /// The file is a subagent's own: all its records are the session itself.
    is_subagent: bool,
    /// The session whose folder holds the subagents.
    root: String,
    memory: Memory,
}

/// What is remembered between records.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Memory {
    cwd: Option<String>,
    git_branch: Option<String>,
    version: Option<String>,
    started: bool,
    /// The user named the session: the names the agent finds later do not replace it.
    named_by_user: bool,
    sidechains: Sidechains,
    queue: Queue,
}

/// What all items of one record share.
struct Place<'a> {
    uuid: Option<&'a str>,
    at: Option<Millis>,
    stream: Stream,
}

impl Place<'_> {
    /// The id of one block of the record.
    fn native(&self, block: usize) -> Option<String> {
        self.uuid.map(|uuid| format!("{uuid}#{block}"))
    }
}

impl Parser for Transcript {
    fn record(&mut self, record: &Value, out: &mut Vec<Item>) {
        if !record.is_object() {
            return out.push(ignored("not an object", false));
        }
        let at = str_at(record, "timestamp").and_then(Millis::parse);
        self.context(record, at, out);
        // Every record of a sidechain is followed, also one without a turn: chains run through all of them.
        let place = Place { uuid: str_at(record, "uuid"), at, stream: self.stream(record) };
        match str_at(record, "type").unwrap_or_default() {
            "user" => user::read(record, &place, &self.root_of(record), out),
            "assistant" => assistant::read(record, &place, out),
            "system" => system::read(record, &place, out),
            "attachment" => attachment::read(record, &place, out),
            kind @ ("summary" | "ai-title" | "custom-title") => self.title(kind, record, out),
            "queue-operation" => {
                let taken = self.memory.queue.follow(record, self.memory.version.as_deref(), &place);
                out.push(taken.unwrap_or_else(|| ignored("queue-operation", true)));
            }
            "" => out.push(ignored("no type", false)),
            kind => out.push(ignored(kind, SILENT.contains(&kind))),
        }
    }

    fn state(&self) -> Value {
        // Strings and lists only: this conversion has nothing to fail on.
        serde_json::to_value(&self.memory).unwrap_or_default()
    }

    fn restore(&mut self, state: &Value) {
        self.memory = Memory::deserialize(state).unwrap_or_default();
    }
}

impl Transcript {
    /// Says what changed of the session's surroundings since the record before.
    fn context(&mut self, record: &Value, at: Option<Millis>, out: &mut Vec<Item>) {
        let memory = &mut self.memory;
        let context = Context {
            cwd: changed(&mut memory.cwd, str_at(record, "cwd")),
            // Absent before 1.0.55, empty outside of a repository.
            git_branch: changed(&mut memory.git_branch, str_at(record, "gitBranch")),
            git_remote: None,
            project_hash: None,
            collection: None,
            agent_version: changed(&mut memory.version, str_at(record, "version")),
            started_at: at.filter(|_| !memory.started),
        };
        memory.started |= at.is_some();
        if context != Context::default() {
            out.push(Item::Context(context));
        }
    }

    /// The stream of a record: up to 1.0.x subagents were logged inside their parent's file.
    fn stream(&mut self, record: &Value) -> Stream {
        if self.is_subagent || !is_true(record, "isSidechain") {
            return Stream::Main;
        }
        Stream::Inline(self.memory.sidechains.follow(str_at(record, "uuid"), str_at(record, "parentUuid")))
    }

    /// The session in whose folder the subagents of a record lie. A fork copies records of another session, and some
    /// versions leave that session's id in them.
    fn root_of(&self, record: &Value) -> String {
        match str_at(record, "sessionId") {
            Some(session) if !self.is_subagent => session.to_owned(),
            _ => self.root.clone(),
        }
    }

    /// A record that names a session: `summary` (up to 2.0.x, maybe another session's), `ai-title`, `custom-title`.
    fn title(&mut self, kind: &str, record: &Value, out: &mut Vec<Item>) {
        let (field, leaf) = match kind {
            "summary" => ("summary", str_at(record, "leafUuid")),
            "ai-title" => ("aiTitle", None),
            _ => ("customTitle", None),
        };
        let text = str_at(record, field).map(str::trim).filter(|text| !text.is_empty());
        let outranked = kind == "ai-title" && self.memory.named_by_user;
        match text {
            Some(text) if !outranked => {
                self.memory.named_by_user |= kind == "custom-title";
                out.push(Item::Title(Title { text: text.to_owned(), leaf: leaf.map(str::to_owned) }));
            }
            _ => out.push(ignored(kind, true)),
        }
    }
}

/// The new value, when there is one and it differs from what was known, which it then replaces.
fn changed(known: &mut Option<String>, now: Option<&str>) -> Option<String> {
    let now = now.filter(|now| !now.is_empty() && known.as_deref() != Some(now))?;
    *known = Some(now.to_owned());
    known.clone()
}

fn ignored(kind: impl Into<String>, known: bool) -> Item {
    Item::Ignored { kind: kind.into(), known }
}

fn str_at<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}

fn is_true(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool).unwrap_or(false)
}
