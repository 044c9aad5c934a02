//! A second, independent reader of the agents' logs: what people and models said, and the records themselves.
//!
//! Small and slow on purpose, so that it can be checked by reading it. Must not use the library: it is what the library is
//! measured against.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What a log file says.
pub struct Source {
    pub path: PathBuf,
    /// Each JSON object of the file, as its bytes stand there.
    pub records: Vec<String>,
    /// Prompts of humans and messages of models, verbatim.
    pub texts: Vec<String>,
}

/// Reads every `*.jsonl` under a folder, Gemini CLI's documents, what OpenCode keeps there, and exports.
pub fn read_all(dir: &Path) -> Vec<Source> {
    if dir.is_file() {
        return super::exports_reader::read_all(dir);
    }
    let document = |name: &str| name.starts_with("session-") && name.ends_with(".json");
    let files = super::files_named(dir, |name| name.ends_with(".jsonl") || document(name));
    let mut found: Vec<Source> = files
        .iter()
        .map(|path| if path.extension().is_some_and(|e| e == "json") { read_document(path) } else { read(path) })
        .collect();
    found.extend(super::opencode_reader::read_all(dir));
    found.extend(super::exports_reader::read_all(dir));
    found
}

/// A document of Gemini CLI: what it says of itself is one record, and so is each message.
fn read_document(path: &Path) -> Source {
    let mut source = Source { path: path.to_owned(), records: Vec::new(), texts: Vec::new() };
    let mut document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let messages = document["messages"].take();
    document.as_object_mut().unwrap().remove("messages");
    source.records.push(document.to_string());
    for message in messages.as_array().unwrap() {
        source.records.push(message.to_string());
        texts(message, &mut source.texts);
    }
    source.texts.retain(|text| !text.trim().is_empty());
    source
}

fn read(path: &Path) -> Source {
    let bytes = fs::read(path).unwrap();
    let mut source = Source { path: path.to_owned(), records: Vec::new(), texts: Vec::new() };
    for line in bytes.split(|b| *b == b'\n') {
        // Two objects may share a line: an earlier writer left no newline.
        let mut stream = serde_json::Deserializer::from_slice(line).into_iter::<Value>();
        let mut start = 0;
        while let Some(Ok(value)) = stream.next() {
            let end = stream.byte_offset();
            if value.is_object() {
                source.records.push(String::from_utf8_lossy(&line[start..end]).trim().to_owned());
                texts(&value, &mut source.texts);
            }
            start = end;
        }
    }
    source.texts.retain(|text| !text.trim().is_empty());
    source
}

fn texts(record: &Value, out: &mut Vec<String>) {
    match record["type"].as_str() {
        Some("user" | "gemini" | "info" | "warning" | "error") if !record["content"].is_null() => {
            gemini_message(record, out);
        }
        Some("user.message" | "assistant.message" | "tool.execution_complete") => copilot_event(&record["data"], out),
        Some("user") => claude_prompt(record, out),
        Some("assistant") => blocks(&record["message"]["content"], "text", out),
        // Notices of background tasks come as queued commands too; only a `prompt` was typed.
        Some("attachment")
            if record["attachment"]["type"] == "queued_command"
                && record["attachment"]["commandMode"].as_str().is_none_or(|mode| mode == "prompt") =>
        {
            out.extend(record["attachment"]["prompt"].as_str().filter(|text| is_human(text)).map(str::to_owned));
        }
        Some("response_item") => {
            let payload = &record["payload"];
            if payload["type"] == "message" && payload["role"] == "assistant" {
                blocks(&payload["content"], "output_text", out);
            }
        }
        Some("event_msg") if record["payload"]["type"] == "user_message" => {
            out.extend(record["payload"]["message"].as_str().filter(|text| is_human(text)).map(str::to_owned));
        }
        _ => {}
    }
}

/// What a message of Gemini CLI says, thinks and gets back from its tools.
fn gemini_message(message: &Value, out: &mut Vec<String>) {
    let said = if message["displayContent"].is_null() { &message["content"] } else { &message["displayContent"] };
    match said {
        Value::Array(parts) => out.push(parts.iter().filter_map(|part| part["text"].as_str()).collect()),
        said => out.extend(said.as_str().map(str::to_owned)),
    }
    for thought in message["thoughts"].as_array().into_iter().flatten() {
        out.extend([&thought["subject"], &thought["description"]].iter().filter_map(|t| t.as_str()).map(str::to_owned));
    }
    for call in message["toolCalls"].as_array().into_iter().flatten() {
        inputs(&call["args"], out);
        let responses = call["result"].as_array().into_iter().flatten();
        let outputs = responses.filter_map(|part| part["functionResponse"]["response"]["output"].as_str());
        out.extend(outputs.map(str::to_owned));
    }
}

/// What an event of Copilot CLI says, thinks, asks for and gets back.
fn copilot_event(data: &Value, out: &mut Vec<String>) {
    let said = [&data["content"], &data["reasoningText"], &data["result"]["content"], &data["error"]["message"]];
    out.extend(said.iter().filter_map(|text| text.as_str()).map(str::to_owned));
    for request in data["toolRequests"].as_array().into_iter().flatten() {
        inputs(&request["arguments"], out);
    }
}

/// The lines of a tool's input: of an edit, they stand apart in its difference.
fn inputs(arguments: &Value, out: &mut Vec<String>) {
    for text in arguments.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str()) {
        out.extend(text.lines().map(str::to_owned));
    }
}

fn claude_prompt(record: &Value, out: &mut Vec<String>) {
    let flagged = ["isMeta", "isCompactSummary", "isSidechain"].iter().any(|flag| record[flag] == true);
    let content = &record["message"]["content"];
    let result = content.as_array().is_some_and(|blocks| blocks.iter().any(|b| b["type"] == "tool_result"));
    if flagged || result {
        return;
    }
    let mut said = Vec::new();
    blocks(content, "text", &mut said);
    out.extend(said.into_iter().filter(|text| is_human(text)));
}

/// The texts of a message: of a string, or of the blocks of this kind.
fn blocks(content: &Value, kind: &str, out: &mut Vec<String>) {
    match content {
        Value::String(text) => out.push(text.clone()),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter(|b| b["type"] == kind).filter_map(|b| b["text"].as_str());
            out.extend(texts.map(str::to_owned));
        }
        _ => {}
    }
}

/// Whether a text with the role of the user was typed by one: agents put notices and context there too.
fn is_human(text: &str) -> bool {
    const ENVELOPES: [&str; 20] = [
        "<command-name>",
        "<command-message>",
        "<command-args>",
        "<local-command-",
        "Caveat: ",
        "<bash-",
        "<task-notification>",
        "<ide_",
        "[Request interrupted",
        "This session is being continued",
        "<environment_context>",
        "<user_instructions>",
        "# AGENTS.md",
        "<turn_aborted>",
        "<skill>",
        "<codex_internal_context",
        "<system-reminder>",
        "<user-prompt-submit-hook>",
        "<user-memory-input>",
        "<teammate-message",
    ];
    !ENVELOPES.iter().any(|start| text.trim_start().starts_with(start))
}
