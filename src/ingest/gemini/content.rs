//! Texts, pictures and results out of Gemini CLI's records, which hold parts of the Gemini API's messages. Pure.

use serde_json::Value;

use super::status_of;
use crate::ingest::record::{Image, Stream, ToolResult, decode_base64};
use crate::model::ToolStatus;

/// A string field that holds something.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// What a list of parts says.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub text: String,
    /// Parts that are marked as thoughts.
    pub thoughts: String,
    pub images: Vec<Image>,
}

/// Reads a string, a part or a list of parts. Calls and responses among them are told by the message's `toolCalls` too.
pub(super) fn parts(value: Option<&Value>) -> Content {
    let mut content = Content::default();
    match value {
        Some(Value::Array(parts)) => parts.iter().for_each(|part| add(part, &mut content)),
        Some(part) => add(part, &mut content),
        None => {}
    }
    content
}

fn add(part: &Value, content: &mut Content) {
    if let Some(text) = part.as_str().or_else(|| str_of(part, "text")) {
        let thought = part.get("thought").and_then(Value::as_bool) == Some(true);
        // Parts are pieces of one text, cut where the stream was.
        if thought { content.thoughts.push_str(text) } else { content.text.push_str(text) }
    }
    content.images.extend(image(part));
    if let Some(uri) = part.get("fileData").and_then(|file| str_of(file, "fileUri")) {
        // A file elsewhere: its address is all there is to show.
        content.text.push_str(uri);
    }
}

fn image(part: &Value) -> Option<Image> {
    let data = part.get("inlineData")?;
    let mime = str_of(data, "mimeType").filter(|mime| mime.starts_with("image/"))?;
    Some(Image { mime: mime.to_owned(), bytes: decode_base64(str_of(data, "data")?)? })
}

/// `{subject, description}`: a heading and what is under it.
pub(super) fn thought(thought: &Value) -> String {
    let lines = ["subject", "description"].into_iter().filter_map(|key| str_of(thought, key));
    lines.collect::<Vec<_>>().join("\n\n")
}

/// What stands under the human's role and is not the human's; the label of its turn.
pub(super) fn injected_label(text: &str) -> Option<&'static str> {
    const STARTS: [(&str, &str); 3] =
        [("<state_snapshot>", "compaction"), ("<session_context>", "context"), ("<hook_context>", "hook")];
    STARTS.iter().find(|(start, _)| text.trim_start().starts_with(start)).map(|(_, label)| *label)
}

/// The result of a call, its id and time left to the caller; `None` while there is none.
pub(super) fn result(call: &Value) -> Option<ToolResult> {
    let status = status_of(call);
    let parts = call.get("result").filter(|result| !result.is_null());
    let display = call.get("resultDisplay").filter(|display| !display.is_null());
    if parts.is_none() && (status.is_none() || display.is_none()) {
        return status.filter(|s| *s == ToolStatus::Error).map(|status| made(String::new(), status, Vec::new()));
    }
    let mut read = Response::default();
    match parts {
        Some(Value::Array(parts)) => parts.iter().for_each(|part| read.add(part)),
        Some(part) => read.add(part),
        None => {}
    }
    if read.texts.is_empty() && read.images.is_empty() {
        read.texts.extend(display.map(shown).filter(|text| !text.is_empty()));
    }
    let status = status.unwrap_or(if read.failed { ToolStatus::Error } else { ToolStatus::Ok });
    Some(made(read.texts.join("\n"), status, read.images))
}

#[derive(Default)]
struct Response {
    texts: Vec<String>,
    images: Vec<Image>,
    failed: bool,
}

impl Response {
    fn add(&mut self, part: &Value) {
        let Some(response) = part.get("functionResponse") else {
            let said = parts(Some(part));
            self.texts.extend(Some(said.text).filter(|text| !text.is_empty()));
            self.images.extend(said.images);
            return;
        };
        // Pictures stand in the response since Gemini 3, beside it before.
        for part in response.get("parts").and_then(Value::as_array).into_iter().flatten() {
            self.images.extend(image(part));
        }
        let body = response.get("response").unwrap_or(&Value::Null);
        self.failed |= body.get("error").is_some();
        let text = match body.as_object() {
            // The text alone where there is no more than that.
            Some(fields) if fields.len() == 1 => ["output", "error"].into_iter().find_map(|key| str_of(body, key)),
            _ => None,
        };
        self.texts.extend(Some(text.map_or_else(|| pretty(body), str::to_owned)).filter(|text| !text.is_empty()));
    }
}

fn made(output: String, status: ToolStatus, images: Vec<Image>) -> ToolResult {
    ToolResult { call_id: String::new(), stream: Stream::Main, at: None, output, status, images, subagent: None }
}

/// What the terminal showed: a text, or an edit with its difference.
fn shown(display: &Value) -> String {
    display.as_str().or_else(|| str_of(display, "fileDiff")).map_or_else(|| pretty(display), str::to_owned)
}

fn pretty(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        Value::Object(fields) if fields.len() == 1 && fields.get("output").is_some_and(|o| o == "") => String::new(),
        // A value that was read from JSON can be written as such.
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    }
}
