//! Calls, results and pictures out of Copilot CLI's events. Pure.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ingest::record::{Call, Image, Stream, ToolResult, decode_base64};
use crate::model::ToolStatus;

/// The tools that run a command line; `powershell` on Windows.
const SHELLS: [&str; 3] = ["bash", "powershell", "shell"];

/// A string field that holds something.
pub(super) fn str_of<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// Tells texts apart; short, since it is stored.
pub(super) fn digest(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A call, as a message asks for it or as its start tells it.
pub(super) fn call(request: &Value, name_key: &str) -> Option<Call> {
    let call_id = str_of(request, "toolCallId")?.to_owned();
    let name = str_of(request, name_key).unwrap_or("unknown").to_owned();
    let arguments = request.get("arguments").filter(|arguments| !arguments.is_null());
    let shell = arguments.filter(|_| SHELLS.contains(&name.as_str())).and_then(|a| str_of(a, "command"));
    let shell = shell.map(str::to_owned);
    let input = match arguments {
        None => String::new(),
        // Tools of the kind `custom` take plain text.
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    Some(Call { call_id, name, input, shell })
}

/// The result of a call, its id and time left to the caller. `content` is what the model was given; `detailedContent` is the
/// same for the eye, as a difference for one.
pub(super) fn result(data: &Value) -> ToolResult {
    let result = data.get("result").unwrap_or(&Value::Null);
    let error = data.get("error").unwrap_or(&Value::Null);
    let output = str_of(result, "content")
        .or_else(|| str_of(result, "detailedContent"))
        .or_else(|| str_of(error, "message"))
        .or_else(|| error.as_str())
        .or_else(|| result.as_str())
        .unwrap_or_default()
        .to_owned();
    let failed = data.get("success").and_then(Value::as_bool) == Some(false) || exit_code(&output) > 0;
    let status = if failed { ToolStatus::Error } else { ToolStatus::Ok };
    let blocks = result.get("contents").and_then(Value::as_array).into_iter().flatten();
    let images = blocks.filter_map(image).collect();
    ToolResult { call_id: String::new(), stream: Stream::Main, at: None, output, status, images, subagent: None }
}

/// A shell's output ends in `<shellId: 0 completed with exit code 0>`.
fn exit_code(output: &str) -> u64 {
    let last = output.trim_end().rsplit('\n').next().unwrap_or_default();
    let code = last.strip_prefix("<shellId: ").and_then(|rest| rest.split_once(" completed with exit code "));
    code.and_then(|(_, code)| code.trim_end_matches('>').parse().ok()).unwrap_or_default()
}

/// The pictures given with a prompt. Files are attached by their path alone.
pub(super) fn attachments(data: &Value) -> Vec<Image> {
    let given = data.get("attachments").and_then(Value::as_array).into_iter().flatten();
    given.filter_map(image).collect()
}

fn image(block: &Value) -> Option<Image> {
    let mime = str_of(block, "mimeType").filter(|mime| mime.starts_with("image/"))?;
    Some(Image { mime: mime.to_owned(), bytes: decode_base64(str_of(block, "data")?)? })
}
