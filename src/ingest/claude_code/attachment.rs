//! `attachment` records, since about 2.1.100: what hooks said, and prompts typed while the agent was at work. Pure.

use serde_json::{Value, json};

use super::content::{Content, is_blank};
use super::{Place, human, ignored, is_true, str_at, system, user};
use crate::ingest::record::Item;
use crate::model::{Millis, Role};

/// Kinds that are bookkeeping, or text for the model alone.
const SILENT: [&str; 8] = [
    "deferred_tools_delta",
    "skill_listing",
    "agent_listing_delta",
    "mcp_instructions_delta",
    "task_reminder",
    "total_tokens_reminder",
    "read_truncation_notice",
    "command_permissions",
];

/// Translates an `attachment` record.
pub fn read(record: &Value, place: &Place<'_>, out: &mut Vec<Item>) {
    let attachment = record.get("attachment").unwrap_or(&Value::Null);
    let kind = str_at(attachment, "type").unwrap_or_default();
    let item = match kind {
        "queued_command" => queued(record, attachment, place),
        _ if kind.starts_with("hook_") => hook_text(attachment).map(|text| system::turn("hook", text, place)),
        _ => None,
    };
    out.push(item.unwrap_or_else(|| {
        let known = kind == "queued_command" || kind.starts_with("hook_") || SILENT.contains(&kind);
        ignored(format!("attachment/{kind}"), known)
    }));
}

/// A prompt typed during a tool call. This is the only record of it.
fn queued(record: &Value, attachment: &Value, place: &Place<'_>) -> Option<Item> {
    let said = Content::said(attachment.get("prompt"));
    let kind = human::origin(attachment).or_else(|| human::origin(record));
    let notified = str_at(attachment, "commandMode") == Some("task-notification") || kind == Some("task-notification");
    // The marks may be on the record or on what it carries.
    let marks = json!({ "isMeta": is_true(record, "isMeta") || is_true(attachment, "isMeta") });
    let at = place.at.or_else(|| str_at(attachment, "timestamp").and_then(Millis::parse));
    let place = Place { uuid: place.uuid, at, stream: place.stream.clone() };
    let mut item = user::turn(&marks, said, &place)?;
    if let Item::Turn(turn) = &mut item
        && notified
    {
        turn.role = Role::System;
        turn.label = Some("notification".to_owned());
    }
    Some(item)
}

/// What a hook said, to the model or to the user.
fn hook_text(attachment: &Value) -> Option<String> {
    let content = || {
        let texts = Content::said(attachment.get("content")).texts;
        Some(texts.join("\n")).filter(|text| !is_blank(text))
    };
    let field = |value: &Value, key: &str| str_at(value, key).filter(|text| !is_blank(text)).map(str::to_owned);
    content()
        .or_else(|| field(attachment.get("blockingError")?, "blockingError"))
        .or_else(|| field(attachment, "stderr"))
        .or_else(|| field(attachment, "stdout"))
}
