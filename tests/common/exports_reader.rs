//! The independent reader's part for what holds many conversations: exports of ChatGPT and Claude.ai, Cursor's databases, and
//! Antigravity's conversations as documents.
//!
//! Must not use the library, like all of the reader.

use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::reader::Source;

/// Reads every conversation under a folder, or of a file.
pub fn read_all(place: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    let named = |end: &str| match place.is_file() {
        true => vec![place.to_owned()].into_iter().filter(|p| p.to_str().unwrap().ends_with(end)).collect(),
        false => super::files_named(place, |name| name.ends_with(end)),
    };
    for path in named(".json") {
        let Ok(value) = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()) else { continue };
        let conversations = if value.is_array() { value.as_array().unwrap().clone() } else { vec![value] };
        found.extend(conversations.into_iter().filter_map(|conversation| conversation_of(&path, conversation)));
    }
    for path in named("state.vscdb") {
        found.extend(cursor(&path));
    }
    found
}

fn conversation_of(path: &Path, mut conversation: Value) -> Option<Source> {
    let mut source = Source { path: path.to_owned(), records: Vec::new(), texts: Vec::new() };
    if conversation["mapping"].is_object() {
        let mapping = conversation.as_object_mut().unwrap().remove("mapping").unwrap();
        for (_, node) in mapping.as_object().unwrap() {
            source.records.push(node.to_string());
            let content = &node["message"]["content"];
            let parts = content["parts"].as_array().into_iter().flatten();
            source.texts.extend(parts.filter_map(Value::as_str).map(str::to_owned));
            let fields = ["text", "result", "user_profile", "user_instructions"];
            source.texts.extend(fields.iter().filter_map(|key| content[*key].as_str()).map(str::to_owned));
        }
        source.records.push(conversation.to_string());
    } else if conversation["chat_messages"].is_array() {
        let messages = conversation.as_object_mut().unwrap().remove("chat_messages").unwrap();
        for message in messages.as_array().unwrap() {
            source.records.push(message.to_string());
            source.texts.extend(message["text"].as_str().map(str::to_owned));
            for block in message["content"].as_array().into_iter().flatten() {
                source
                    .texts
                    .extend(["text", "thinking"].iter().filter_map(|key| block[*key].as_str()).map(str::to_owned));
            }
            for file in message["attachments"].as_array().into_iter().flatten() {
                source.texts.extend(file["extracted_content"].as_str().map(str::to_owned));
            }
        }
        source.records.push(conversation.to_string());
    } else if conversation["docs"].is_array() && conversation["prompt_template"].is_string() {
        let docs = conversation.as_object_mut().unwrap().remove("docs").unwrap();
        for doc in docs.as_array().unwrap() {
            source.records.push(doc.to_string());
            source.texts.extend(doc["content"].as_str().map(str::to_owned));
        }
        source.texts.extend(conversation["prompt_template"].as_str().map(str::to_owned));
        source.records.push(conversation.to_string());
    } else if conversation["cascadeId"].is_string() {
        source.records.push(conversation.to_string());
        let sections = conversation["markdown"].as_str().unwrap().split("### ").skip(1);
        source.texts.extend(sections.filter_map(|s| s.split_once('\n')).map(|(_, text)| text.trim().to_owned()));
    } else {
        return None;
    }
    // A tool's call is shown in pieces: what its input holds is looked for in the records.
    source.texts.retain(|text| !text.trim().is_empty() && !text.trim_start().starts_with('{'));
    Some(source)
}

/// The chats and composers of a workspace, and the prompts beside them.
fn cursor(path: &Path) -> Vec<Source> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let value = |key: &str| -> Value {
        let bytes: Vec<u8> = db
            .query_row("SELECT CAST(value AS BLOB) FROM ItemTable WHERE key = ?1", [key], |row| row.get(0))
            .unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    };
    let mut found = Vec::new();
    let mut add = |bubbles: &Value, keys: &[&str]| {
        let mut source = Source { path: path.to_owned(), records: Vec::new(), texts: Vec::new() };
        for bubble in bubbles.as_array().into_iter().flatten() {
            source.records.push(bubble.to_string());
            let text = keys.iter().find_map(|key| bubble[*key].as_str().filter(|text| !text.trim().is_empty()));
            source.texts.extend(text.map(str::to_owned));
        }
        found.push(source);
    };
    for tab in value("workbench.panel.aichat.view.aichat.chatdata")["tabs"].as_array().into_iter().flatten() {
        add(&tab["bubbles"], &["rawText", "text"]);
    }
    for composer in value("composer.composerData")["allComposers"].as_array().into_iter().flatten() {
        add(&composer["conversation"], &["text"]);
    }
    let prompts = value("aiService.prompts");
    let said = prompts.as_array().into_iter().flatten().filter_map(|prompt| prompt["text"].as_str());
    let texts: Vec<String> = said.filter(|text| !text.trim().is_empty()).map(str::to_owned).collect();
    if let Some(first) = found.first_mut() {
        first.texts.extend(texts);
    }
    found.retain(|source| !source.records.is_empty());
    found
}
