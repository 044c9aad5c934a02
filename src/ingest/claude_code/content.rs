//! Content as Claude Code writes it: a string, or a list of blocks. Pure.

use serde_json::Value;

use super::str_at;
use crate::ingest::record::{Image, decode_base64, joined};

/// Text and pictures of a content.
#[derive(Debug, Default)]
pub struct Content {
    pub texts: Vec<String>,
    pub images: Vec<Image>,
    /// Kinds of the blocks that are neither.
    pub others: Vec<String>,
}

impl Content {
    /// Reads the blocks that make up what was said; tool results are not among them.
    pub fn said(content: Option<&Value>) -> Self {
        let mut said = Self::default();
        match content {
            Some(Value::String(text)) => said.texts.push(text.clone()),
            Some(Value::Array(blocks)) => blocks.iter().for_each(|block| said.block(block)),
            Some(Value::Null) | None => {}
            Some(_) => said.others.push("content".to_owned()),
        }
        said
    }

    fn block(&mut self, block: &Value) {
        if let Some(text) = block.as_str() {
            return self.texts.push(text.to_owned());
        }
        match (str_at(block, "type").unwrap_or_default(), str_at(block, "text"), image(block)) {
            ("text", Some(text), _) => self.texts.push(text.to_owned()),
            ("image", _, Some(image)) => self.images.push(image),
            ("tool_result", ..) => {}
            (kind, ..) => self.others.push(kind.to_owned()),
        }
    }
}

/// A tool's output as text, with its pictures.
pub fn output(content: Option<&Value>) -> (String, Vec<Image>) {
    let (mut texts, mut images) = (Vec::new(), Vec::new());
    match content {
        Some(Value::String(text)) => texts.push(text.clone()),
        Some(Value::Array(blocks)) => {
            for block in blocks {
                match image(block) {
                    Some(image) => images.push(image),
                    None => texts.push(output_text(block)),
                }
            }
        }
        Some(Value::Null) | None => {}
        Some(other) => texts.push(other.to_string()),
    }
    (joined(texts, "\n"), images)
}

fn output_text(block: &Value) -> String {
    let text = match str_at(block, "type").unwrap_or_default() {
        "text" => str_at(block, "text"),
        // The answer of a search for tools: their names.
        "tool_reference" => str_at(block, "tool_name"),
        // A damaged picture may be a megabyte of base64; it stays in the raw record.
        "image" => Some("[image]"),
        _ => None,
    };
    text.map_or_else(|| block.to_string(), str::to_owned)
}

/// The picture of an `image` block: `{source:{type:"base64", media_type, data}}`.
fn image(block: &Value) -> Option<Image> {
    if str_at(block, "type") != Some("image") {
        return None;
    }
    let source = block.get("source")?;
    let bytes = decode_base64(str_at(source, "data")?).filter(|bytes| !bytes.is_empty())?;
    let mime = str_at(source, "media_type").unwrap_or("application/octet-stream").to_owned();
    Some(Image { mime, bytes })
}

/// Whether there is anything to read.
pub fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}
