//! What a message of ChatGPT says, whatever kind of content it is.

use serde_json::Value;

use crate::ingest::exports::assets::Assets;
use crate::ingest::record::Image;
use crate::model::Millis;

/// A string field that holds something.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// A time in seconds, as a number with a fraction.
pub(super) fn seconds(value: &Value, key: &str) -> Option<Millis> {
    let seconds = value.get(key)?.as_f64().filter(|s| s.is_finite() && *s > 0.0 && *s < 1e11)?;
    // Bounded above: it fits.
    #[allow(clippy::cast_possible_truncation)]
    Some(Millis((seconds * 1000.0).round() as i64))
}

/// The role of a node's author.
pub(super) fn role(node: &Value) -> &str {
    node.pointer("/message/author/role").and_then(Value::as_str).unwrap_or_default()
}

/// Whether an assistant's message is for a tool.
pub(super) fn is_call(message: &Value) -> bool {
    message.pointer("/author/role").and_then(Value::as_str) == Some("assistant")
        && str_of(message, "recipient").is_some_and(|to| to != "all")
}

/// Whether ChatGPT shows a message to nobody.
pub(super) fn is_hidden(message: &Value) -> bool {
    let hidden = message.pointer("/metadata/is_visually_hidden_from_conversation").and_then(Value::as_bool);
    hidden == Some(true) || message.get("weight").and_then(Value::as_f64) == Some(0.0)
}

/// Whether a tool says that it failed.
pub(super) fn failed(message: &Value) -> bool {
    let outcome = message.pointer("/metadata/aggregate_result/status").and_then(Value::as_str).unwrap_or_default();
    message.pointer("/content/content_type").and_then(Value::as_str) == Some("system_error")
        || outcome.starts_with("failed")
}

/// The text of a message, for what only needs its beginning.
pub(super) fn shown(message: &Value) -> String {
    let role = message.pointer("/author/role").and_then(Value::as_str).unwrap_or_default();
    if role == "system" {
        return String::new();
    }
    let said = Said::of(message, &Assets::none()).text;
    let parts = message.pointer("/content/parts").and_then(Value::as_array).map(Vec::len).unwrap_or_default();
    if said.is_empty() && parts > 0 { "a picture".to_owned() } else { said }
}

/// What a message says.
#[derive(Default)]
pub(super) struct Said {
    pub text: String,
    pub images: Vec<Image>,
    /// It is the model's reasoning.
    pub thought: bool,
    /// It is neither said by a human nor by the model.
    pub label: Option<&'static str>,
    /// Kinds of contents and parts that are not known.
    pub unknown: Vec<String>,
}

impl Said {
    pub fn of(message: &Value, assets: &Assets) -> Self {
        let content = message.get("content").unwrap_or(&Value::Null);
        let mut said = Self::default();
        let text = |key| str_of(content, key).unwrap_or_default().to_owned();
        match str_of(content, "content_type").unwrap_or_default() {
            "text" | "multimodal_text" => said.parts(content, assets),
            // An answer that is code is shown as such; a call's text is taken as it stands.
            "code" | "execution_output" => said.text = text("text"),
            "thoughts" => {
                said.thought = true;
                said.text = thoughts(content);
            }
            "reasoning_recap" => {
                said.label = Some("recap");
                said.text = text("content");
            }
            "user_editable_context" => {
                said.label = Some("context");
                said.text = all(content, &["user_profile", "user_instructions"]);
            }
            "model_editable_context" => {
                said.label = Some("context");
                said.text = all(content, &["model_set_context", "repository", "repo_summary"]);
            }
            "tether_quote" | "sonic_webpage" => said.text = all(content, &["title", "url", "text"]),
            "tether_browsing_display" => said.text = all(content, &["summary", "result"]),
            "system_error" => said.text = all(content, &["name", "text"]),
            "computer_output" => {
                said.text = all(content, &["url", "text"]);
                said.picture(content.get("screenshot").unwrap_or(&Value::Null), assets);
            }
            "app_pairing_content" | "citable_code_output" => said.text = all(content, &["workspaces", "output_str"]),
            other => {
                let kind = if other.is_empty() { "none" } else { other };
                said.unknown.push(format!("content_type/{kind}"));
                said.text = text("text");
            }
        }
        // Some exports have the text of a kind among its parts, whatever the kind.
        if said.text.is_empty() && said.images.is_empty() {
            said.parts(content, assets);
        }
        said.made(message, assets);
        said
    }

    fn parts(&mut self, content: &Value, assets: &Assets) {
        let mut texts = Vec::new();
        for part in content.get("parts").and_then(Value::as_array).into_iter().flatten() {
            match part {
                Value::String(text) => texts.push(text.clone()),
                Value::Object(_) => texts.extend(self.part(part, assets)),
                Value::Null => {}
                other => texts.push(other.to_string()),
            }
        }
        texts.retain(|text| !text.is_empty());
        self.text = crate::ingest::record::joined(texts, "\n\n");
    }

    /// The text of a part that is an object.
    fn part(&mut self, part: &Value, assets: &Assets) -> Option<String> {
        match str_of(part, "content_type").unwrap_or_default() {
            "image_asset_pointer" => self.picture(part, assets),
            "audio_transcription" => str_of(part, "text").map(str::to_owned),
            // The sound itself is not kept, what was said in it stands beside it.
            "audio_asset_pointer" | "real_time_user_audio_video_asset_pointer" | "video_container_asset_pointer" => {
                Some(format!("[sound: {}]", str_of(part, "asset_pointer").map_or("without a name", id_of)))
            }
            kind => {
                self.unknown.push(format!("part/{}", if kind.is_empty() { "none" } else { kind }));
                str_of(part, "text").map(str::to_owned)
            }
        }
    }

    /// Takes a picture; what is said in its place when the export does not have it.
    fn picture(&mut self, part: &Value, assets: &Assets) -> Option<String> {
        let id = id_of(str_of(part, "asset_pointer")?);
        match assets.image(id) {
            Some(image) => {
                self.images.push(image);
                None
            }
            None if assets.is_none() => None,
            None => Some(format!("[picture {id}: not in the export]")),
        }
    }

    /// Pictures that code drew.
    fn made(&mut self, message: &Value, assets: &Assets) {
        let drawn = message.pointer("/metadata/aggregate_result/messages").and_then(Value::as_array);
        for url in drawn.into_iter().flatten().filter_map(|made| str_of(made, "image_url")) {
            self.images.extend(assets.image(id_of(url)));
        }
    }
}

/// `file-service://file-AbC`, `sediment://file_0123#p_0.png`: the name of the file.
fn id_of(pointer: &str) -> &str {
    let name = pointer.split_once("://").map_or(pointer, |(_, name)| name);
    name.split(['#', '?']).next().unwrap_or(name)
}

fn thoughts(content: &Value) -> String {
    let thoughts = content.get("thoughts").and_then(Value::as_array).into_iter().flatten();
    let texts = thoughts.map(|thought| match thought.as_str() {
        Some(text) => text.to_owned(),
        None => all(thought, &["summary", "content"]),
    });
    texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
}

/// Those of some fields that say something, as they stand.
fn all(content: &Value, keys: &[&str]) -> String {
    let texts = keys.iter().filter_map(|key| match content.get(*key)? {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Null => None,
        other => Some(other.to_string()),
    });
    texts.collect::<Vec<_>>().join("\n\n")
}
