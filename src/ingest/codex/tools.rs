//! Codex's tool calls and their results, over the names and forms they had.

use serde_json::Value;

use super::content::{Content, parts, str_of};
use crate::ingest::record::{Image, Stream, ToolResult, decode_base64, joined};
use crate::model::{Tokens, ToolStatus};

/// A call as the log has it, without its id.
pub(super) struct Read {
    pub name: String,
    pub input: String,
    pub shell: Option<String>,
    /// For tools that the provider runs: they have no output of their own in the log.
    pub result: Option<ToolResult>,
}

pub(super) fn is_output(kind: &str) -> bool {
    kind.ends_with("_output")
}

pub(super) fn is_call(kind: &str) -> bool {
    kind.ends_with("_call")
}

/// Reads a call of any kind.
pub(super) fn call(kind: &str, item: &Value) -> Read {
    match kind {
        "function_call" => function(item),
        "custom_tool_call" => {
            Read { name: name(item, kind), input: text_of(item.get("input")), shell: None, result: None }
        }
        "local_shell_call" => {
            let action = item.get("action");
            let shell = action.and_then(|a| a.get("command")).and_then(command_line);
            Read { name: "local_shell".to_owned(), input: text_of(action), shell, result: None }
        }
        "tool_search_call" => {
            Read { name: "tool_search".to_owned(), input: text_of(item.get("arguments")), shell: None, result: None }
        }
        _ => hosted(kind, item),
    }
}

fn function(item: &Value) -> Read {
    let name = name(item, "function");
    let input = text_of(item.get("arguments"));
    let shell = shell_of(&name, &input);
    Read { name, input, shell, result: None }
}

/// An MCP tool's name is cut in two where it has a namespace (since 0.140).
fn name(item: &Value, otherwise: &str) -> String {
    let name = str_of(item, "name").unwrap_or(otherwise);
    match str_of(item, "namespace").filter(|n| n.starts_with("mcp__")) {
        Some(namespace) if name.starts_with('_') || namespace.ends_with('_') => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
        None => name.to_owned(),
    }
}

/// The command line of the shell tools: `shell` takes an array, `shell_command` and `exec_command` take a line.
fn shell_of(name: &str, input: &str) -> Option<String> {
    let key = match name {
        "shell" | "shell_command" | "container.exec" | "local_shell" => "command",
        "exec_command" => "cmd",
        _ => return None,
    };
    command_line(serde_json::from_str::<Value>(input).ok()?.get(key)?)
}

fn command_line(command: &Value) -> Option<String> {
    if let Some(line) = command.as_str() {
        return Some(line.to_owned());
    }
    let words: Vec<&str> = command.as_array()?.iter().filter_map(Value::as_str).collect();
    if let [shell, flags @ .., line] = words.as_slice()
        && takes_a_line(shell, flags)
    {
        return Some((*line).to_owned());
    }
    Some(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

fn takes_a_line(shell: &str, flags: &[&str]) -> bool {
    let program = shell.rsplit(['/', '\\']).next().unwrap_or(shell).trim_end_matches(".exe");
    let Some(last) = flags.last() else { return false };
    match program {
        "bash" | "sh" | "zsh" | "dash" | "fish" => {
            last.starts_with('-') && !last.starts_with("--") && last.ends_with('c')
        }
        "powershell" | "pwsh" => last.eq_ignore_ascii_case("-Command") || last.eq_ignore_ascii_case("-c"),
        "cmd" => last.eq_ignore_ascii_case("/c"),
        _ => false,
    }
}

/// A word as a POSIX shell would have to be given it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// `web_search_call`, `image_generation_call` and the like.
fn hosted(kind: &str, item: &Value) -> Read {
    let input = ["action", "arguments", "input", "revised_prompt"].into_iter().find_map(|key| item.get(key));
    let image = str_of(item, "result").filter(|_| kind == "image_generation_call").and_then(picture);
    let status = match str_of(item, "status") {
        Some("completed") => Some(ToolStatus::Ok),
        Some("failed" | "incomplete") => Some(ToolStatus::Error),
        _ => image.as_ref().map(|_| ToolStatus::Ok),
    };
    let result = status.map(|status| result(String::new(), status, image.into_iter().collect()));
    let name = str_of(item, "name").unwrap_or_else(|| kind.trim_end_matches("_call")).to_owned();
    Read { name, input: text_of(input), shell: None, result }
}

/// A generated picture is base64 without a type; the API's default is PNG.
fn picture(data: &str) -> Option<Image> {
    let bytes = decode_base64(data)?;
    let mime = match bytes.as_slice() {
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/png",
    };
    Some(Image { mime: mime.to_owned(), bytes })
}

/// A string as it is, anything else as JSON.
fn text_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Reads a result; its call and time are the caller's to fill in.
pub(super) fn output(item: &Value) -> ToolResult {
    let failed = str_of(item, "status").is_some_and(|s| matches!(s, "failed" | "incomplete"));
    let mut read = match item.get("output").or_else(|| item.get("tools")) {
        Some(Value::String(text)) => text_output(text),
        Some(list @ Value::Array(items))
            if items.iter().any(|i| i.get("image_url").is_some() || i.get("text").is_some()) =>
        {
            list_output(list)
        }
        // Versions before 0.40: `{"content": "...", "success": true}`.
        Some(Value::Object(object)) if object.contains_key("content") => {
            let mut read = match object.get("content") {
                Some(Value::String(text)) => text_output(text),
                other => list_output(other.unwrap_or(&Value::Null)),
            };
            if object.get("success").and_then(Value::as_bool) == Some(false) {
                read.status = ToolStatus::Error;
            }
            read
        }
        other => result(text_of(other), ToolStatus::Ok, Vec::new()),
    };
    if failed {
        read.status = ToolStatus::Error;
    }
    read
}

fn list_output(list: &Value) -> ToolResult {
    let Content { texts, images } = parts(list);
    let text = joined(texts, "\n");
    let status = status_of(&text);
    result(text, status, images)
}

fn text_output(text: &str) -> ToolResult {
    if let Some((inner, code)) = wrapped(text) {
        let status =
            code.map_or_else(|| status_of(&inner), |code| if code == 0 { ToolStatus::Ok } else { ToolStatus::Error });
        return result(inner, status, Vec::new());
    }
    result(text.to_owned(), status_of(text), Vec::new())
}

/// Versions to about 0.50 wrap a shell's output: `{"output": "...", "metadata": {"exit_code": 0}}`.
fn wrapped(text: &str) -> Option<(String, Option<i64>)> {
    if !text.starts_with('{') {
        return None;
    }
    let value: Value = serde_json::from_str(text).ok()?;
    let metadata = value.get("metadata")?;
    Some((value.get("output")?.as_str()?.to_owned(), metadata.get("exit_code").and_then(Value::as_i64)))
}

/// How a call ended, by the lines in front of its output, or by Codex's own words where it did not run.
fn status_of(text: &str) -> ToolStatus {
    // Openings seen in logs of 0.34 to 0.142.
    const FAILURES: [&str; 9] = [
        "aborted",
        "aborted by user",
        "exec command rejected",
        "execution error",
        "failed in sandbox",
        "failed to parse function arguments",
        "error: ",
        "unsupported call",
        "write_stdin failed",
    ];
    let header = text.lines().take(8).take_while(|line| *line != "Output:");
    for line in header {
        let code = ["Process exited with code ", "Exit code: "].into_iter().find_map(|start| line.strip_prefix(start));
        if let Some(code) = code {
            return if code.trim() == "0" { ToolStatus::Ok } else { ToolStatus::Error };
        }
    }
    let failed = text == FAILURES[0] || FAILURES[1..].iter().any(|start| text.starts_with(start));
    if failed { ToolStatus::Error } else { ToolStatus::Ok }
}

fn result(output: String, status: ToolStatus, images: Vec<Image>) -> ToolResult {
    ToolResult { call_id: String::new(), stream: Stream::Main, at: None, output, status, images, subagent: None }
}

/// The session that `spawn_agent` started, from its result.
pub(super) fn spawned_agent(output: &str) -> Option<String> {
    let json = &output[output.find('{')?..];
    let value: Value = serde_json::from_str(json).ok()?;
    ["agent_id", "thread_id"].into_iter().find_map(|key| str_of(&value, key)).map(str::to_owned)
}

/// Codex counts what was read from the cache as input, and reasoning as output.
pub(super) fn tokens(usage: &Value) -> Tokens {
    let count = |key| usage.get(key).and_then(Value::as_u64).unwrap_or_default();
    let cache_read = count("cached_input_tokens");
    Tokens {
        input: count("input_tokens").saturating_sub(cache_read),
        output: count("output_tokens"),
        cache_read,
        cache_write: 0,
    }
}
