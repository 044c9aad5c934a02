//! Whose file it is: recognised by content, named by path and content. Reads a subagent's `meta.json`; nothing else.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;

use super::{SILENT, is_true, str_at};
use crate::ingest::record::SessionHead;
use crate::model::Agent;

/// More than any `meta.json` seen (under 1 kB); what is longer is none.
const META_LIMIT: u64 = 64 * 1024;

/// Whether these are the first records of a Claude Code transcript.
pub fn recognises(head: &[Value]) -> bool {
    head.iter().any(is_ours)
}

fn is_ours(record: &Value) -> bool {
    // Codex writes `{timestamp, type, payload}`.
    if record.get("payload").is_some() {
        return false;
    }
    let has = |key| str_at(record, key).is_some();
    // `claude -p --output-format stream-json` prints the same types, with `session_id` alone.
    let logged = has("sessionId") || (has("uuid") && !has("session_id"));
    match str_at(record, "type").unwrap_or_default() {
        "user" | "assistant" => record.get("message").is_some_and(Value::is_object) && logged,
        "system" => has("uuid") && logged,
        "attachment" => record.get("attachment").is_some_and(Value::is_object),
        "summary" => has("summary") && has("leafUuid"),
        "ai-title" | "custom-title" => has("sessionId"),
        kind => SILENT.contains(&kind) && (has("sessionId") || has("uuid") || has("messageId")),
    }
}

/// The id of the subagent that wrote the file; `None` for a session of its own.
///
/// Since 2.0.28 a subagent has its own file, all of whose records say `isSidechain` and `agentId`. Before, sidechains were
/// part of their parent's file and had no id.
pub fn subagent_id(path: &Path, head: &[Value]) -> Option<String> {
    let sidechain = |wanted| move |r: &&Value| r.get("isSidechain").and_then(Value::as_bool) == Some(wanted);
    if head.iter().any(|r| sidechain(false)(&r)) {
        return None;
    }
    let inner = head.iter().filter(sidechain(true)).find_map(|r| str_at(r, "agentId"));
    let named = stem(path).strip_prefix("agent-").filter(|id| !id.is_empty());
    inner.or(named).map(|id| bare_agent(id).to_owned())
}

/// The native id of a subagent. Agent ids are short and not unique across sessions, so the parent's id is part of it.
pub fn agent_native(parent: &str, agent_id: &str) -> String {
    format!("{parent}/agent-{}", bare_agent(agent_id))
}

fn bare_agent(id: &str) -> &str {
    id.strip_prefix("agent-").unwrap_or(id)
}

/// The head of a subagent's file.
pub fn subagent(path: &Path, head: &[Value], agent_id: &str) -> SessionHead {
    let parent = folder_session(path).or_else(|| inner_session(head)).map(str::to_owned);
    let native_id = match &parent {
        Some(parent) => agent_native(parent, agent_id),
        None => format!("agent-{agent_id}"),
    };
    let meta = meta(path);
    let text = |key| str_at(&meta, key).filter(|text| !text.trim().is_empty()).map(str::to_owned);
    SessionHead {
        agent: Agent::ClaudeCode,
        native_id,
        parent,
        subagent_kind: text("agentType"),
        description: text("description"),
    }
}

/// The head of a session's own file. Its name is its id: the records of a fork may carry another session's.
pub fn root(path: &Path, head: &[Value]) -> SessionHead {
    let stem = stem(path);
    let native_id = if is_uuid(stem) {
        stem
    } else {
        // Copies are often named `<date>-<session>.jsonl`; the id is taken when the records know it too.
        let tail = stem.get(stem.len().saturating_sub(36)..).filter(|tail| is_uuid(tail));
        let known = tail.filter(|tail| head.iter().any(|r| str_at(r, "sessionId") == Some(tail)));
        known.or_else(|| inner_session(head)).unwrap_or(stem)
    };
    let native_id = native_id.to_owned();
    SessionHead { agent: Agent::ClaudeCode, native_id, parent: None, subagent_kind: None, description: None }
}

/// `<session>/subagents/.../agent-*.jsonl`: the session, since about 2.1.17.
fn folder_session(path: &Path) -> Option<&str> {
    let folder = path.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name == "subagents"))?;
    folder.parent()?.file_name()?.to_str().filter(|name| is_uuid(name))
}

fn inner_session(head: &[Value]) -> Option<&str> {
    head.iter().find_map(|r| str_at(r, "sessionId")).filter(|id| !id.is_empty())
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `agent-<id>.meta.json` beside the file; `Null` when there is none that can be read.
fn meta(path: &Path) -> Value {
    let read = || -> Option<Value> {
        let mut bytes = Vec::new();
        File::open(path.with_extension("meta.json")).ok()?.take(META_LIMIT).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    };
    read().unwrap_or_default()
}

/// The native id of the subagent that a tool's result names, in `toolUseResult` or, where that is missing, in a text block
/// of its own: `agentId: a2271d1 (...)`.
pub fn started_agent(record: &Value, result: &Value, root: &str) -> Option<String> {
    let told = record.get("toolUseResult").and_then(|told| str_at(told, "agentId"));
    // The output of other tools is a string, so that a printed transcript is not taken for a start.
    let said = || {
        let blocks = result.get("content")?.as_array()?.iter();
        blocks
            .filter_map(|block| str_at(block, "text")?.strip_prefix("agentId: ")?.split_whitespace().next())
            .next_back()
    };
    let id = told.or_else(said).filter(|id| !id.is_empty() && !id.contains('/'))?;
    Some(agent_native(root, id))
}

/// Whether the program itself put the record in.
pub fn is_meta(record: &Value) -> bool {
    is_true(record, "isMeta")
}
