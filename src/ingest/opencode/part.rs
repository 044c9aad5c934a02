//! Parts of messages: what was said, thought, called and attached.

use serde_json::Value;

use super::record::{millis, str_of};
use super::{OpenCode, Silent, turn};
use crate::ingest::record::{Call, Image, Item, NewTurn, Stream, ToolResult, decode_base64};
use crate::model::{Millis, Role, ToolStatus};

/// Parts that hold no turn. What a `subtask` asks stands in the session it starts and in the call that starts it; a `patch`
/// and a `snapshot` name states of the files; a `compaction` is followed by the message that sums up.
const SILENT: [&str; 8] = ["agent", "compaction", "patch", "retry", "snapshot", "step-finish", "step-start", "subtask"];

impl OpenCode {
    pub(super) fn part(&mut self, part: &Value, out: &mut Vec<Item>) -> Silent {
        let kind = str_of(part, "type").unwrap_or_default();
        match kind {
            "text" => self.text(part, out),
            "reasoning" => self.reasoning(part, out),
            "tool" => self.tool(part, out),
            "file" => self.file(part, out),
            _ => {}
        }
        let known = SILENT.contains(&kind) || ["text", "reasoning", "tool", "file"].contains(&kind);
        Some((format!("part/{kind}"), known))
    }

    fn text(&mut self, part: &Value, out: &mut Vec<Item>) {
        let text = str_of(part, "text").unwrap_or_default();
        if text.trim().is_empty() {
            return;
        }
        let is = |flag| part.get(flag).and_then(Value::as_bool).unwrap_or(false);
        let message = &self.memory.message;
        let (role, label) = match message.by_assistant {
            true if message.summary => (Role::System, Some("compaction")),
            true => (Role::Assistant, None),
            // Written by the program in the user's name: what a mentioned file holds, reminders, requests to go on.
            false if is("synthetic") => (Role::System, Some("meta")),
            // Shown to the user alone, by a plugin.
            false if is("ignored") => (Role::System, Some("notice")),
            false => (Role::User, None),
        };
        let mut turn = self.said(part, role, text);
        turn.label = label.map(str::to_owned);
        if role == Role::User {
            self.memory.message.said = turn.native.clone().map(|native| (native, text.to_owned()));
        }
        out.push(Item::Turn(turn));
    }

    fn reasoning(&self, part: &Value, out: &mut Vec<Item>) {
        let text = str_of(part, "text").unwrap_or_default();
        // Some providers give the encrypted form alone.
        if !text.trim().is_empty() {
            out.push(Item::Turn(self.said(part, Role::Thinking, text)));
        }
    }

    /// A call and its result are one record: first the one, then both.
    fn tool(&self, part: &Value, out: &mut Vec<Item>) {
        let state = part.get("state").unwrap_or(&Value::Null);
        let name = str_of(part, "tool").unwrap_or("tool");
        let mut turn = self.said(part, Role::Tool, "");
        // The provider's call id may be used again later; the part's own never is.
        let call_id = turn.native.clone().unwrap_or_else(|| str_of(part, "callID").unwrap_or_default().to_owned());
        let input = state.get("input").filter(|input| !input.is_null());
        let shell = input.and_then(|input| str_of(input, "command")).filter(|_| name == "bash");
        turn.call = Some(Call {
            call_id: call_id.clone(),
            name: name.to_owned(),
            input: input.map(Value::to_string).unwrap_or_default(),
            shell: shell.map(str::to_owned),
        });
        out.push(Item::Turn(turn));
        out.extend(result(state, call_id).map(Item::Result));
    }

    /// A picture belongs to what was said with it. Other files stay in the record: a mentioned file's contents follow as text
    /// of their own, and paths that a log names are never read.
    fn file(&mut self, part: &Value, out: &mut Vec<Item>) {
        let Some(image) = image(part) else { return };
        let mut turn = match self.memory.message.by_assistant {
            true => self.said(part, Role::Assistant, ""),
            false => self.said(part, Role::User, ""),
        };
        if let Some((native, text)) = &self.memory.message.said {
            (turn.native, turn.text) = (Some(native.clone()), text.clone());
        } else if turn.role == Role::User {
            // What comes before any text is a turn of its own, and so is the text.
            turn.text = str_of(part, "filename").unwrap_or_default().to_owned();
        }
        turn.images = vec![image];
        out.push(Item::Turn(turn));
    }

    fn said(&self, part: &Value, role: Role, text: &str) -> NewTurn {
        let message = &self.memory.message;
        let at = millis(part, &["time", "start"]).or_else(|| millis(part, &["state", "time", "start"]));
        let native = self.native(str_of(part, "id").unwrap_or_default());
        NewTurn {
            revises: native.is_some(),
            native,
            at: at.or(message.at).map(Millis),
            model: message.model.clone(),
            ..turn(role, text.to_owned())
        }
    }
}

/// The result of a call that ended.
fn result(state: &Value, call_id: String) -> Option<ToolResult> {
    let metadata = state.get("metadata").unwrap_or(&Value::Null);
    let (status, output) = match str_of(state, "status")? {
        "completed" if millis(metadata, &["exit"]).is_some_and(|exit| exit != 0) => (ToolStatus::Error, "output"),
        "completed" => (ToolStatus::Ok, "output"),
        "error" => (ToolStatus::Error, "error"),
        _ => return None,
    };
    let output = match state.get(output) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    };
    let attached = state.get("attachments").and_then(Value::as_array).into_iter().flatten();
    Some(ToolResult {
        call_id,
        stream: Stream::Main,
        at: millis(state, &["time", "end"]).map(Millis),
        output,
        status,
        images: attached.filter_map(image).collect(),
        // Only `task` starts a session, and tells which.
        subagent: ["sessionId", "sessionID"].into_iter().find_map(|key| str_of(metadata, key)).map(str::to_owned),
    })
}

/// The picture of a `file` part: `{mime, url: "data:image/png;base64,..."}`.
fn image(part: &Value) -> Option<Image> {
    let (kind, data) = str_of(part, "url")?.strip_prefix("data:")?.split_once(',')?;
    let told = kind.strip_suffix(";base64")?.split(';').next().unwrap_or_default();
    let mime = str_of(part, "mime").unwrap_or(told);
    let bytes = decode_base64(data).filter(|bytes| mime.starts_with("image/") && !bytes.is_empty())?;
    Some(Image { mime: mime.to_owned(), bytes })
}
