//! `user` records: prompts, tool results, and what the program says in the user's name. Pure.

use serde_json::Value;

use super::content::{self, Content};
use super::{Place, head, human, ignored, is_true, str_at};
use crate::ingest::record::{Item, NewTurn, ToolResult, joined};
use crate::model::{Role, ToolStatus};

/// Block kinds of the API that hold neither text nor a picture; they stay in the raw record.
const SILENT_BLOCKS: [&str; 2] = ["document", "image"];

/// Translates a `user` record; `root` is the session whose folder holds the subagents.
pub fn read(record: &Value, place: &Place<'_>, root: &str, out: &mut Vec<Item>) {
    let content = record.get("message").and_then(|message| message.get("content"));
    let before = out.len();
    results(record, content, place, root, out);
    let said = Content::said(content);
    for kind in &said.others {
        out.push(ignored(format!("user/{kind}"), SILENT_BLOCKS.contains(&kind.as_str())));
    }
    out.extend(turn(record, said, place));
    if out.len() == before {
        out.push(ignored("user/empty", true));
    }
}

/// What was said in a record, by a human or in its name; `None` when nothing was.
pub fn turn(record: &Value, said: Content, place: &Place<'_>) -> Option<Item> {
    let text = joined(said.texts, "\n\n");
    if content::is_blank(&text) && said.images.is_empty() {
        return None;
    }
    let label = human::label(record, &text);
    Some(Item::Turn(NewTurn {
        native: place.native(0),
        message_key: None,
        stream: place.stream.clone(),
        role: if label.is_some() { Role::System } else { Role::User },
        at: place.at,
        model: None,
        text,
        label: label.map(str::to_owned),
        images: said.images,
        call: None,
        revises: false,
    }))
}

fn results(record: &Value, content: Option<&Value>, place: &Place<'_>, root: &str, out: &mut Vec<Item>) {
    for block in content.and_then(Value::as_array).into_iter().flatten() {
        if str_at(block, "type") != Some("tool_result") {
            continue;
        }
        let Some(call_id) = str_at(block, "tool_use_id") else {
            out.push(ignored("user/tool_result", false));
            continue;
        };
        let (output, images) = content::output(block.get("content"));
        out.push(Item::Result(ToolResult {
            call_id: call_id.to_owned(),
            stream: place.stream.clone(),
            at: place.at,
            output,
            status: if is_true(block, "is_error") { ToolStatus::Error } else { ToolStatus::Ok },
            images,
            // `toolUseResult` tells of one result; all records seen hold one.
            subagent: head::started_agent(record, block, root),
        }));
    }
}
