//! Who a Codex log is: which shape it has, whose session it holds.

use std::path::Path;

use serde_json::Value;

use super::content::str_of;
use crate::ingest::record::SessionHead;
use crate::model::{Agent, Millis};

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lines `{timestamp, type, payload}`.
    Envelope,
    /// Response items without envelope, in lines or in one document.
    Bare,
}

/// Tells a Codex log by its first records, and reads whose it is.
pub(super) fn recognise(path: &Path, head: &[Value]) -> Option<(Shape, SessionHead)> {
    if let Some(first) = head.iter().find(|r| is_envelope(r)) {
        let meta = head.iter().find(|r| is_envelope(r) && str_of(r, "type") == Some("session_meta"));
        let meta = meta.and_then(|m| m.get("payload")).unwrap_or(first);
        return Some((Shape::Envelope, session(path, meta, meta)));
    }
    let header = head.iter().find_map(bare_header)?;
    Some((Shape::Bare, session(path, header, &Value::Null)))
}

/// Claude Code's lines have a `type` too, but neither these nor a payload.
fn is_envelope(record: &Value) -> bool {
    const TYPES: [&str; 5] = ["session_meta", "turn_context", "response_item", "event_msg", "compacted"];
    record.get("payload").is_some_and(Value::is_object)
        && str_of(record, "timestamp").is_some()
        && str_of(record, "type").is_some_and(|t| TYPES.contains(&t))
}

fn bare_header(record: &Value) -> Option<&Value> {
    if let Some(session) = record.get("session") {
        return (record.get("items")?.is_array() && str_of(session, "id").is_some()).then_some(session);
    }
    if str_of(record, "record_type") == Some("state") {
        // The header itself was lost.
        return Some(&Value::Null);
    }
    let header = record.get("type").is_none()
        && str_of(record, "id").is_some()
        && str_of(record, "timestamp").is_some()
        && (record.get("instructions").is_some() || record.get("git").is_some());
    header.then_some(record)
}

fn session(path: &Path, named: &Value, meta: &Value) -> SessionHead {
    let native_id = str_of(named, "id").or_else(|| str_of(named, "session_id")).map(str::to_owned);
    let spawn = meta.get("source").and_then(|source| source.get("subagent"));
    let parent = str_of(meta, "parent_thread_id")
        .or_else(|| spawn?.get("thread_spawn").and_then(|s| str_of(s, "parent_thread_id")));
    // Versions differ in which of these they write.
    let subagent = spawn.is_some()
        || parent.is_some()
        || str_of(meta, "thread_source") == Some("subagent")
        || str_of(meta, "agent_role").is_some();
    // A subagent that starts with its parent's history is a fork of it; a fork alone is a session of its own.
    let parent = parent.or_else(|| str_of(meta, "forked_from_id").filter(|_| subagent));
    let kind = subagent.then(|| subagent_kind(meta, spawn.unwrap_or(&Value::Null)));
    SessionHead {
        agent: Agent::Codex,
        native_id: native_id.unwrap_or_else(|| id_in_name(path)),
        parent: parent.map(str::to_owned),
        subagent_kind: kind,
        description: None,
    }
}

/// `review`, `compact`, the role of a spawned agent, or the one key of `{"other": "guardian"}` taken apart.
fn subagent_kind(meta: &Value, spawn: &Value) -> String {
    let details = spawn.get("thread_spawn").unwrap_or(&Value::Null);
    let word = spawn
        .as_str()
        .or_else(|| str_of(details, "agent_role"))
        .or_else(|| str_of(details, "agent_type"))
        .or_else(|| str_of(meta, "agent_role"))
        .or_else(|| str_of(spawn, "other"))
        .or_else(|| spawn.as_object()?.keys().next().map(String::as_str));
    word.filter(|w| *w != "thread_spawn").unwrap_or("subagent").to_owned()
}

/// The UUID in `rollout-2026-06-18T05-00-00-<uuid>.jsonl.zst`, else the name without its endings.
fn id_in_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split(".json").next().unwrap_or_default();
    let uuid = stem.len().checked_sub(36).and_then(|at| stem.get(at..)).filter(|tail| is_uuid(tail));
    uuid.unwrap_or(stem).to_owned()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(i, b)| if matches!(i, 8 | 13 | 18 | 23) { b == b'-' } else { b.is_ascii_hexdigit() })
}

/// The time that a UUID of version 7 starts with (RFC 9562, 5.7).
pub(super) fn uuid_time(uuid: &str) -> Option<Millis> {
    if !is_uuid(uuid) || uuid.as_bytes().get(14) != Some(&b'7') {
        return None;
    }
    i64::from_str_radix(&format!("{}{}", &uuid[..8], &uuid[9..13]), 16).ok().map(Millis)
}
