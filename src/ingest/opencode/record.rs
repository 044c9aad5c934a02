//! The records as all containers give them: told apart, brought into one form, taken out of a document. Pure.

use serde_json::{Map, Value};

use super::AGENT;
use crate::ingest::record::SessionHead;

/// What a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Session,
    Message,
    Part,
    Other,
}

/// Tells records apart by their fields: ids differ from version to version.
pub(super) fn kind(record: &Value) -> Kind {
    let has = |key| str_of(record, key).is_some();
    if has("messageID") && has("type") {
        Kind::Part
    } else if has("sessionID") && has("role") {
        Kind::Message
    } else if has("id") && record.get("title").is_some() && record.get("time").is_some_and(Value::is_object) {
        Kind::Session
    } else {
        Kind::Other
    }
}

/// A string field that holds something.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// A whole number at a path. JavaScript may have written it with a fraction.
pub(super) fn millis(value: &Value, path: &[&str]) -> Option<i64> {
    let found = path.iter().try_fold(value, |value, key| value.get(key))?;
    #[allow(clippy::cast_possible_truncation, reason = "a time or a count; beyond the range it is cut to the largest")]
    found.as_i64().or_else(|| found.as_f64().map(|number| number as i64))
}

/// The latest time in a record.
pub(super) fn newest(record: &Value) -> i64 {
    const PATHS: [&[&str]; 7] = [
        &["time", "created"],
        &["time", "updated"],
        &["time", "completed"],
        &["time", "start"],
        &["time", "end"],
        &["state", "time", "start"],
        &["state", "time", "end"],
    ];
    PATHS.iter().filter_map(|path| millis(record, path)).max().unwrap_or_default()
}

/// Whose session it is.
pub(super) fn head(info: &Value) -> SessionHead {
    let parent = str_of(info, "parentID").map(str::to_owned);
    let kind = parent.as_ref().and_then(|_| subagent_kind(info));
    SessionHead {
        agent: AGENT,
        native_id: str_of(info, "id").unwrap_or_default().to_owned(),
        parent,
        subagent_kind: kind,
        description: None,
    }
}

/// The name of the agent that runs a child session: `task` writes it into the title, `Review the plan (@general subagent)`.
fn subagent_kind(info: &Value) -> Option<String> {
    let in_title = |title: &str| {
        let (_, kind) = title.strip_suffix(" subagent)")?.rsplit_once("(@")?;
        Some(kind.to_owned())
    };
    str_of(info, "title").and_then(in_title).or_else(|| str_of(info, "agent").map(str::to_owned))
}

/// A session's title, unless it is the one that OpenCode gives all (`New session - 2026-03-01T10:00:00.000Z`).
pub(super) fn title(info: &Value) -> Option<&str> {
    const DEFAULTS: [&str; 2] = ["New session - ", "Child session - "];
    let title = str_of(info, "title")?.trim();
    let is_default = DEFAULTS
        .iter()
        .filter_map(|start| title.strip_prefix(start))
        .any(|rest| rest.len() == 24 && rest.ends_with('Z') && rest.starts_with(|c: char| c.is_ascii_digit()));
    (!is_default && !title.is_empty()).then_some(title)
}

/// Takes a document apart: the session's record, then each message's and those of its parts, in the order they were made.
pub(super) fn split(mut document: Value) -> Vec<Value> {
    let messages = match document.get_mut("messages").map(Value::take) {
        Some(Value::Array(messages)) => messages,
        _ => Vec::new(),
    };
    let mut records: Vec<Value> = document.get_mut("info").map(Value::take).map(without_nulls).into_iter().collect();
    let mut messages: Vec<(Value, Vec<Value>)> = messages.into_iter().map(message).collect();
    messages.sort_by_cached_key(|(info, _)| order(info));
    for (info, mut parts) in messages {
        parts.sort_by_cached_key(|part| str_of(part, "id").unwrap_or_default().to_owned());
        records.push(info);
        records.append(&mut parts);
    }
    records
}

/// Messages stand in the order of their time, then of their ids, which grow with time too.
pub(super) fn order(info: &Value) -> (i64, String) {
    (millis(info, &["time", "created"]).unwrap_or_default(), str_of(info, "id").unwrap_or_default().to_owned())
}

fn message(mut message: Value) -> (Value, Vec<Value>) {
    let parts = match message.get_mut("parts").map(Value::take) {
        Some(Value::Array(parts)) => parts,
        _ => Vec::new(),
    };
    (message.get_mut("info").map(Value::take).unwrap_or(message), parts)
}

/// A database has a column for each field, and a null in those that a document leaves out.
pub(super) fn without_nulls(mut record: Value) -> Value {
    if let Value::Object(fields) = &mut record {
        fields.retain(|_, value| !value.is_null());
    }
    record
}

/// Puts ids into a record that has none, or those of another place: files were moved without being rewritten.
pub(super) fn with_ids(record: Value, ids: &[(&str, &str)]) -> Option<Value> {
    let Value::Object(mut fields) = record else { return None };
    for (key, id) in ids {
        fields.insert((*key).to_owned(), Value::from(*id));
    }
    Some(Value::Object(fields))
}

/// A session's record of its columns, in the form that a document has: `Session.fromRow` of the source.
pub(super) fn session_of_columns(columns: Map<String, Value>) -> Value {
    let mut info = Map::new();
    for (column, value) in columns {
        if value.is_null() {
            continue;
        }
        let (group, name) = match column.as_str() {
            "share_url" => (Some("share"), "url"),
            "project_id" => (None, "projectID"),
            "workspace_id" => (None, "workspaceID"),
            "parent_id" => (None, "parentID"),
            "tokens_cache_read" | "tokens_cache_write" => {
                let tokens = inner(&mut info, "tokens");
                inner(tokens, "cache").insert(column["tokens_cache_".len()..].to_owned(), value);
                continue;
            }
            other => match other.split_once('_') {
                Some((group @ ("time" | "summary" | "tokens"), name)) => (Some(group), name),
                _ => (None, other),
            },
        };
        let fields = match group {
            Some(group) => inner(&mut info, group),
            None => &mut info,
        };
        fields.insert(name.to_owned(), value);
    }
    Value::Object(info)
}

fn inner<'a>(fields: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = fields.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(fields) => fields,
        _ => unreachable!("made an object above"),
    }
}
