//! `assistant` records: what the model said, thought and called. One API message is spread over several, a block each. Pure.

use serde_json::Value;

use super::content::is_blank;
use super::{Place, ignored, str_at};
use crate::ingest::record::{Call, Item, NewTurn};
use crate::model::{Role, Tokens};

/// The model of placeholders that the program writes itself, for API errors.
const SYNTHETIC: &str = "<synthetic>";

/// Translates an `assistant` record.
pub fn read(record: &Value, place: &Place<'_>, out: &mut Vec<Item>) {
    let Some(message) = record.get("message") else {
        return out.push(ignored("assistant/no message", false));
    };
    let before = out.len();
    match message.get("content") {
        Some(Value::Array(blocks)) => {
            for (index, block) in blocks.iter().enumerate() {
                out.push(read_block(block, index, message, place));
            }
        }
        Some(Value::String(text)) => out.push(said(Role::Assistant, text, "text", 0, message, place)),
        _ => {}
    }
    if out.len() == before {
        out.push(ignored("assistant/empty", true));
    }
    out.extend(usage(record, message));
}

fn read_block(block: &Value, index: usize, message: &Value, place: &Place<'_>) -> Item {
    let kind = str_at(block, "type").unwrap_or_default();
    let text = |key| str_at(block, key).unwrap_or_default();
    match kind {
        "text" => said(Role::Assistant, text("text"), kind, index, message, place),
        "thinking" => said(Role::Thinking, text("thinking"), kind, index, message, place),
        "redacted_thinking" => ignored("assistant/redacted_thinking", true),
        "tool_use" => Item::Turn(NewTurn {
            call: Some(call(block, index, place)),
            revises: false,
            ..turn(Role::Tool, String::new(), index, message, place)
        }),
        _ => ignored(format!("assistant/{kind}"), false),
    }
}

/// A turn of text, verbatim; blank text is none (thinking often comes with its signature alone).
fn said(role: Role, text: &str, kind: &str, index: usize, message: &Value, place: &Place<'_>) -> Item {
    if is_blank(text) {
        return ignored(format!("assistant/{kind}"), true);
    }
    Item::Turn(turn(role, text.to_owned(), index, message, place))
}

fn turn(role: Role, text: String, index: usize, message: &Value, place: &Place<'_>) -> NewTurn {
    NewTurn {
        native: place.native(index),
        message_key: str_at(message, "id").map(str::to_owned),
        stream: place.stream.clone(),
        role,
        at: place.at,
        model: model(message).map(str::to_owned),
        text,
        label: None,
        images: Vec::new(),
        call: None,
        revises: false,
    }
}

fn call(block: &Value, index: usize, place: &Place<'_>) -> Call {
    let name = str_at(block, "name").unwrap_or_default();
    let input = block.get("input").unwrap_or(&Value::Null);
    let shell = str_at(input, "command").filter(|_| name == "Bash");
    Call {
        // A call without an id has no result that could find it; it is still a call of its own.
        call_id: str_at(block, "id").map_or_else(|| place.native(index).unwrap_or_default(), str::to_owned),
        name: name.to_owned(),
        input: if input.is_null() { String::new() } else { input.to_string() },
        shell: shell.map(str::to_owned),
    }
}

fn model(message: &Value) -> Option<&str> {
    str_at(message, "model").filter(|model| *model != SYNTHETIC && !model.is_empty())
}

/// What the message cost so far: each record of a message repeats it, in one of five it grows, the last is final.
fn usage(record: &Value, message: &Value) -> Option<Item> {
    let usage = message.get("usage").filter(|usage| usage.is_object())?;
    let count = |key| usage.get(key).and_then(Value::as_u64).unwrap_or(0);
    let tokens = Tokens {
        input: count("input_tokens"),
        output: count("output_tokens"),
        cache_read: count("cache_read_input_tokens"),
        cache_write: count("cache_creation_input_tokens"),
    };
    if model(message).is_none() && tokens == Tokens::default() {
        return None;
    }
    let id = str_at(message, "id").or_else(|| str_at(record, "uuid"))?;
    let request = str_at(record, "requestId").unwrap_or_default();
    Some(Item::Usage { key: format!("{id}:{request}"), model: model(message).map(str::to_owned), tokens })
}
