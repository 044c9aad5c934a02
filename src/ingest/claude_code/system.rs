//! `system` records: notices of the program. Pure.

use serde_json::Value;

use super::content::is_blank;
use super::{Place, ignored, str_at};
use crate::ingest::record::{Item, NewTurn};
use crate::model::Role;

/// Subtypes that are shown when they carry text.
const SHOWN: [&str; 4] = ["compact_boundary", "api_error", "local_command", "away_summary"];
/// Subtypes that are bookkeeping.
const SILENT: [&str; 3] = ["stop_hook_summary", "turn_duration", "microcompact_boundary"];

/// Translates a `system` record. Up to 1.0.x it has no subtype.
pub fn read(record: &Value, place: &Place<'_>, out: &mut Vec<Item>) {
    let subtype = str_at(record, "subtype");
    let shown = subtype.is_none_or(|subtype| SHOWN.contains(&subtype));
    let text = str_at(record, "content").filter(|text| !is_blank(text));
    out.push(match text {
        Some(text) if shown => turn(subtype.unwrap_or("notice"), text.to_owned(), place),
        _ => {
            let known = shown || subtype.is_some_and(|subtype| SILENT.contains(&subtype));
            ignored(format!("system/{}", subtype.unwrap_or("notice")), known)
        }
    });
}

/// A turn in which the program speaks.
pub fn turn(label: &str, text: String, place: &Place<'_>) -> Item {
    Item::Turn(NewTurn {
        native: place.native(0),
        message_key: None,
        stream: place.stream.clone(),
        role: Role::System,
        at: place.at,
        model: None,
        text,
        label: Some(label.to_owned()),
        images: Vec::new(),
        call: None,
        revises: false,
    })
}
