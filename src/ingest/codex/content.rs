//! Texts and pictures out of Codex's records, and who speaks in them.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ingest::record::{Image, decode_base64};

/// A string field that holds something.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// What a record says: its texts in order, and its pictures.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub texts: Vec<String>,
    pub images: Vec<Image>,
}

impl Content {
    pub(super) fn text(text: Option<&str>) -> Self {
        Self { texts: text.into_iter().map(str::to_owned).collect(), images: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.iter().all(|t| t.trim().is_empty()) && self.images.is_empty()
    }
}

/// A `message`'s content. The tags around a picture (`<image name=[Image #1]>`) are Codex's own, and no text of anybody.
pub(super) fn message(item: &Value) -> Content {
    let mut content = parts(item.get("content").unwrap_or(&Value::Null));
    if !content.images.is_empty() {
        content.texts.retain(|t| !is_image_tag(t));
    }
    content
}

fn is_image_tag(text: &str) -> bool {
    let text = text.trim();
    text == "</image>"
        || ((text == "<image>" || text.starts_with("<image ")) && text.ends_with('>') && !text.contains('\n'))
}

/// Texts and pictures of a list of content items, or of a plain string.
pub(super) fn parts(value: &Value) -> Content {
    let mut content = Content::text(value.as_str());
    for part in value.as_array().into_iter().flatten() {
        if let Some(text) = ["text", "refusal"].into_iter().find_map(|key| str_of(part, key)) {
            content.texts.push(text.to_owned());
        }
        let url = part.get("image_url");
        let url = url.and_then(Value::as_str).or_else(|| str_of(url?, "url"));
        match url {
            Some(url) if url.starts_with("data:") => content.images.extend(data_url(url)),
            // A picture elsewhere: its address is all there is to show.
            Some(url) => content.texts.push(url.to_owned()),
            None => {}
        }
    }
    content
}

/// `data:image/png;base64,...`; `None` when it is damaged or not base64.
pub(super) fn data_url(url: &str) -> Option<Image> {
    let (kind, data) = url.strip_prefix("data:")?.split_once(',')?;
    let mime = kind.strip_suffix(";base64")?.split(';').next()?;
    Some(Image { mime: mime.to_owned(), bytes: decode_base64(data)? })
}

/// A `user_message` event: its pictures are data URLs; `local_images` are only paths.
pub(super) fn user_event(event: &Value) -> Content {
    let urls = event.get("images").and_then(Value::as_array).into_iter().flatten();
    let images = urls.filter_map(Value::as_str).filter_map(data_url).collect();
    Content { images, ..Content::text(str_of(event, "message")) }
}

/// The readable part of a `reasoning` item; most of it is encrypted.
pub(super) fn reasoning(item: &Value) -> Content {
    let mut content = parts(item.get("summary").unwrap_or(&Value::Null));
    content.texts.extend(parts(item.get("content").unwrap_or(&Value::Null)).texts);
    content
}

/// What is not the human's, though it stands under the human's role; the label of its turn.
pub(super) fn injected_label(text: &str) -> Option<&'static str> {
    const STARTS: [(&str, &str); 18] = [
        ("<environment_context", "environment_context"),
        ("<user_instructions", "instructions"),
        ("# AGENTS.md instructions", "instructions"),
        ("<INSTRUCTIONS>", "instructions"),
        ("<turn_aborted>", "turn_aborted"),
        ("<skill>", "skill"),
        ("<skills_instructions>", "developer"),
        ("<plugins_instructions>", "developer"),
        ("<apps_instructions>", "developer"),
        ("<permissions", "developer"),
        ("<collaboration_mode>", "developer"),
        ("<model_switch>", "developer"),
        ("<personality_spec>", "developer"),
        ("<codex_internal_context", "internal_context"),
        ("<user_shell_command>", "command"),
        ("<hook_prompt", "hook"),
        ("<subagent_notification>", "notice"),
        ("<user_action>", "notice"),
    ];
    let text = text.trim_start();
    STARTS.iter().find(|(start, _)| text.starts_with(start)).map(|(_, label)| *label)
}

/// The folder that an `<environment_context>` names: as a tag since September 2025, as a line before.
pub(super) fn environment_cwd(text: &str) -> Option<&str> {
    let text = text.trim_start().strip_prefix("<environment_context")?;
    let tagged = text.split_once("<cwd>").and_then(|(_, rest)| rest.split_once("</cwd>")).map(|(cwd, _)| cwd);
    let cwd = tagged.or_else(|| text.lines().find_map(|line| line.strip_prefix("Current working directory: ")))?;
    Some(cwd.trim()).filter(|cwd| !cwd.is_empty())
}

/// An event that tells the reader something no response item does: the label of its turn, and its text.
pub(super) fn notice<'a>(kind: &str, event: &'a Value) -> Option<(&'static str, Option<&'a str>)> {
    let (label, text) = match kind {
        "error" => ("error", str_of(event, "message")),
        "warning" | "guardian_warning" => ("warning", str_of(event, "message")),
        "stream_error" => ("error", str_of(event, "message")),
        "deprecation_notice" => ("warning", str_of(event, "summary")),
        "turn_aborted" => ("turn_aborted", str_of(event, "reason")),
        "thread_rolled_back" => ("rollback", str_of(event, "message")),
        "context_compacted" => ("compaction", str_of(event, "message")),
        "entered_review_mode" => ("review", str_of(event, "user_facing_hint").or_else(|| str_of(event, "prompt"))),
        "exited_review_mode" => {
            let review = event.get("review_output");
            ("review", review.and_then(|r| str_of(r, "overall_explanation")))
        }
        _ => return None,
    };
    Some((label, text))
}

/// A digest of a text without its white space, by which two streams join the same parts differently.
pub(super) fn digest(text: &str) -> u64 {
    let mut hash = Sha256::new();
    for word in text.split_whitespace() {
        hash.update(word.as_bytes());
    }
    let bytes = hash.finalize();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}
