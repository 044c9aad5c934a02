//! A tool call's input as blocks a person can read: a command as a command, an edit as a diff, all else as JSON with its long
//! texts beside it.

use serde_json::{Map, Value};

use super::markdown::{code, floor, one_line};
use crate::model::Turn;

/// What a call was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Input {
    /// The one string that tells what the call is about: the command, the path, the pattern. May be empty.
    pub subject: String,
    /// What the agent says it is for.
    pub purpose: Option<String>,
    /// The subject is all there is, apart from minor blocks.
    pub is_subject_alone: bool,
    pub blocks: Vec<Block>,
}

/// One fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// The line above it.
    pub caption: Option<String>,
    /// The info string of its fence.
    pub info: String,
    pub text: String,
    /// Beside the point: shown in the turn's own file only.
    pub minor: bool,
}

impl Block {
    fn new(info: &str, text: impl Into<String>) -> Self {
        Self { caption: None, info: info.to_owned(), text: text.into(), minor: false }
    }

    fn captioned(mut self, caption: String) -> Self {
        self.caption = Some(caption);
        self
    }
}

/// The longest summary, in bytes.
const SUMMARY_BYTES: usize = 100;
/// The longest string that is shown inside JSON.
const INLINE_BYTES: usize = 200;

impl Input {
    /// Reads the input of a turn's call, if it is one.
    pub fn of(turn: &Turn) -> Option<Self> {
        turn.tool.as_ref().map(|tool| Self::read(&tool.name, &tool.input))
    }

    /// Reads the input of a call of the tool `name`.
    pub fn read(name: &str, input: &str) -> Self {
        let kind = Kind::of(name);
        if input.trim().is_empty() {
            return Self::default();
        }
        match serde_json::from_str::<Value>(input) {
            Ok(Value::Object(fields)) => Self::of_fields(kind, fields),
            Ok(value) if kind == Kind::Other => Self::of_json(&value),
            _ => Self::of_text(kind, input),
        }
    }

    /// The subject's first line, shortened; `None` when there is none.
    pub fn summary(&self) -> Option<String> {
        let first = one_line(self.subject.trim().lines().next()?);
        if first.len() > SUMMARY_BYTES {
            return Some(format!("{}…", &first[..floor(&first, SUMMARY_BYTES)]));
        }
        let more = self.subject.trim().lines().nth(1).is_some();
        (!first.is_empty()).then(|| if more { format!("{first} …") } else { first })
    }

    /// Whether the summary shows everything worth seeing, so that a block would repeat it.
    pub fn is_told_by_summary(&self) -> bool {
        self.is_subject_alone && self.summary().is_none_or(|summary| summary == self.subject)
    }

    fn of_text(kind: Kind, text: &str) -> Self {
        let info = match kind {
            Kind::Shell => "bash",
            Kind::Patch => "diff",
            _ => "text",
        };
        let subject = if kind == Kind::Patch { patched_file(text) } else { text };
        let is_subject_alone = kind != Kind::Patch;
        Self { subject: subject.to_owned(), purpose: None, is_subject_alone, blocks: vec![Block::new(info, text)] }
    }

    fn of_json(value: &Value) -> Self {
        Self { blocks: vec![Block::new("json", json(value))], ..Self::default() }
    }

    fn of_fields(kind: Kind, mut fields: Map<String, Value>) -> Self {
        let mut common = common_names(kind, &fields);
        let read = match kind {
            Kind::Shell => shell(&mut fields),
            Kind::Edit => edit(common.as_mut().unwrap_or(&mut fields)),
            Kind::Write => write(common.as_mut().unwrap_or(&mut fields)),
            Kind::Patch => patch(common.as_mut().unwrap_or(&mut fields)),
            Kind::Other => None,
        };
        let Some(mut input) = read else { return other(fields) };
        let mut fields = common.unwrap_or(fields);
        fields.retain(|name, value| !is_trivial(name, value));
        input.blocks.extend(rest(fields, true));
        input
    }
}

/// What a tool does, as far as its input is shown in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shell,
    Edit,
    Write,
    Patch,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "bash" | "shell" | "shell_command" | "exec_command" | "local_shell" | "local_shell_call"
            | "container.exec" | "run_shell_command" | "powershell" => Self::Shell,
            "edit" | "multiedit" | "replace" => Self::Edit,
            "write" | "write_file" | "create" => Self::Write,
            "apply_patch" => Self::Patch,
            _ => Self::Other,
        }
    }
}

/// What OpenCode and Copilot CLI call fields that most agents call otherwise.
const OTHER_NAMES: [(&str, &str); 8] = [
    ("filePath", "file_path"),
    ("path", "file_path"),
    ("oldString", "old_string"),
    ("old_str", "old_string"),
    ("newString", "new_string"),
    ("new_str", "new_string"),
    ("file_text", "content"),
    ("patchText", "patch"),
];

/// The fields of a call that writes files, by their common names; `None` when they have these already.
fn common_names(kind: Kind, fields: &Map<String, Value>) -> Option<Map<String, Value>> {
    let writes = matches!(kind, Kind::Edit | Kind::Write | Kind::Patch);
    if !writes || !OTHER_NAMES.iter().any(|(name, _)| fields.contains_key(*name)) {
        return None;
    }
    let mut common = fields.clone();
    for (name, common_name) in OTHER_NAMES {
        if !common.contains_key(common_name)
            && let Some(value) = common.remove(name)
        {
            common.insert(common_name.to_owned(), value);
        }
    }
    Some(common)
}

fn shell(fields: &mut Map<String, Value>) -> Option<Input> {
    let key = ["command", "cmd"].into_iter().find(|key| fields.get(*key).is_some_and(|v| command(v).is_some()))?;
    let command = command(&fields.remove(key)?)?;
    let purpose = text(fields, "description").filter(|text| !text.trim().is_empty());
    if purpose.is_some() {
        fields.remove("description");
    }
    let block = match &command {
        Command::Line(line) => Block::new("bash", line.as_str()),
        Command::Patch(patch) => Block::new("diff", patch.as_str()),
    };
    let subject = match &command {
        Command::Line(line) => line.clone(),
        Command::Patch(patch) => patched_file(patch).to_owned(),
    };
    let is_subject_alone = matches!(command, Command::Line(_));
    Some(Input { subject, purpose, is_subject_alone, blocks: vec![block] })
}

enum Command {
    Line(String),
    /// Codex before its `apply_patch` tool: the patch as the argument of a program that does not exist.
    Patch(String),
}

/// The command line of a string, or of the argument vector that Codex logs.
fn command(value: &Value) -> Option<Command> {
    if let Value::String(line) = value {
        return Some(Command::Line(line.clone()));
    }
    let words: Vec<&str> = value.as_array()?.iter().map(Value::as_str).collect::<Option<_>>()?;
    match words[..] {
        ["apply_patch", patch] => Some(Command::Patch(patch.to_owned())),
        [shell, "-c" | "-lc" | "-ic", line] if is_shell(shell) => Some(Command::Line(line.to_owned())),
        _ => Some(Command::Line(words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))),
    }
}

fn is_shell(path: &str) -> bool {
    matches!(path.rsplit('/').next(), Some("bash" | "sh" | "zsh" | "dash" | "fish"))
}

/// The word as a shell would have to read it.
fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(safe) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn edit(fields: &mut Map<String, Value>) -> Option<Input> {
    let path = text(fields, "file_path")?;
    let edits = match fields.get("edits").and_then(Value::as_array) {
        Some(edits) => edits.iter().map(replacement).collect::<Option<Vec<_>>>()?,
        None => vec![replacement_of(fields)?],
    };
    for key in ["file_path", "old_string", "new_string", "edits"] {
        fields.remove(key);
    }
    let mut blocks: Vec<_> = edits.iter().map(|(old, new)| Block::new("diff", diff(old, new))).collect();
    if let Some(first) = blocks.first_mut() {
        first.caption = Some(code(&one_line(&path)));
    }
    Some(Input { subject: path, blocks, ..Input::default() })
}

fn replacement(edit: &Value) -> Option<(String, String)> {
    let edit = edit.as_object()?;
    // `replace_all` of one of several edits has no place in a diff: such a call is shown as JSON.
    if edit.iter().any(|(key, value)| !matches!(key.as_str(), "old_string" | "new_string") && !is_trivial(key, value)) {
        return None;
    }
    replacement_of(edit)
}

fn replacement_of(edit: &Map<String, Value>) -> Option<(String, String)> {
    Some((text(edit, "old_string")?, text(edit, "new_string")?))
}

/// The lines that go and the lines that come, with those that both have at their start and end as context.
fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut text = String::new();
    let mut put = |mark: char, lines: &[&str]| {
        for line in lines {
            text.push(mark);
            text.push_str(line);
            text.push('\n');
        }
    };
    put(' ', &old[..start]);
    put('-', &old_rest[..old_rest.len() - end]);
    put('+', &new_rest[..new_rest.len() - end]);
    put(' ', &old_rest[old_rest.len() - end..]);
    text
}

fn write(fields: &mut Map<String, Value>) -> Option<Input> {
    let (path, content) = (text(fields, "file_path")?, text(fields, "content")?);
    fields.remove("file_path");
    fields.remove("content");
    let block = Block::new(language(&path), content).captioned(code(&one_line(&path)));
    Some(Input { subject: path, blocks: vec![block], ..Input::default() })
}

/// The extension as a fence's language.
fn language(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let known = !extension.is_empty() && extension.len() <= 12 && extension.bytes().all(|b| b.is_ascii_alphanumeric());
    if known { extension } else { "text" }
}

fn patch(fields: &mut Map<String, Value>) -> Option<Input> {
    let key = ["input", "patch"].into_iter().find(|key| fields.get(*key).is_some_and(Value::is_string))?;
    let patch = text(fields, key)?;
    fields.remove(key);
    let subject = patched_file(&patch).to_owned();
    Some(Input { subject, blocks: vec![Block::new("diff", patch)], ..Input::default() })
}

/// The first file that a patch of Codex's format names.
fn patched_file(patch: &str) -> &str {
    let named = |line| {
        ["*** Update File: ", "*** Add File: ", "*** Delete File: "].iter().find_map(|p| str::strip_prefix(line, p))
    };
    patch.lines().find_map(named).unwrap_or_default()
}

/// Any tool: its short fields as JSON, each long one as its own block.
fn other(fields: Map<String, Value>) -> Input {
    const SUBJECTS: [&str; 13] = [
        "file_path",
        "filePath",
        "path",
        "notebook_path",
        "pattern",
        "query",
        "url",
        "skill",
        "description",
        "subject",
        "command",
        "chars",
        "name",
    ];
    let subject = SUBJECTS.iter().find_map(|key| text(&fields, key).filter(|t| !t.trim().is_empty()));
    let telling = fields.iter().filter(|(name, value)| !is_trivial(name, value)).count();
    Input {
        is_subject_alone: telling == usize::from(subject.is_some()),
        subject: subject.unwrap_or_default(),
        purpose: None,
        blocks: rest(fields, false),
    }
}

fn rest(fields: Map<String, Value>, minor: bool) -> Vec<Block> {
    let long = |v: &Value| v.as_str().is_some_and(|t| t.len() > INLINE_BYTES || t.contains(['\n', '\r']));
    let (long, short): (Map<_, _>, Map<_, _>) = fields.into_iter().partition(|(_, value)| long(value));
    let mut blocks = Vec::new();
    if !short.is_empty() {
        blocks.push(Block { minor, ..Block::new("json", json(&Value::Object(short))) });
    }
    for (key, value) in long {
        let block = Block::new("text", value.as_str().unwrap_or_default()).captioned(code(&one_line(&key)));
        blocks.push(Block { minor, ..block });
    }
    blocks
}

/// Whether a field says nothing about what was done: an empty one, or how long to wait and how much to print.
fn is_trivial(name: &str, value: &Value) -> bool {
    let limit = matches!(name, "timeout" | "timeout_ms" | "yield_time_ms" | "max_output_tokens") && value.is_number();
    limit || matches!(value, Value::Null | Value::Bool(false)) || value.as_str() == Some("")
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    fields.get(key)?.as_str().map(str::to_owned)
}

/// Pretty, with sorted keys: `Map` is a sorted map here, which a test of `json` holds.
fn json(value: &Value) -> String {
    // Writing a `Value` to a string fails for no value: its keys are strings, and memory is all it needs.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(name: &str, input: &str) -> Vec<(String, String, bool)> {
        Input::read(name, input).blocks.into_iter().map(|b| (b.info, b.text, b.minor)).collect()
    }

    fn block(info: &str, text: &str) -> (String, String, bool) {
        (info.to_owned(), text.to_owned(), false)
    }

    #[test]
    fn writing_calls_read_the_same_whatever_an_agent_calls_their_fields() {
        let read = |name: &str, input: serde_json::Value| Input::read(name, &input.to_string());
        let edit = read("Edit", serde_json::json!({"file_path": "/a.rs", "old_string": "x", "new_string": "y"}));
        assert_eq!(edit.subject, "/a.rs");
        for input in [
            serde_json::json!({"filePath": "/a.rs", "oldString": "x", "newString": "y"}),
            serde_json::json!({"path": "/a.rs", "old_str": "x", "new_str": "y"}),
        ] {
            assert_eq!(read("edit", input), edit);
        }
        let written = read("Write", serde_json::json!({"file_path": "/a.rs", "content": "x"}));
        assert_eq!(read("create", serde_json::json!({"path": "/a.rs", "file_text": "x"})), written);
        let patch = "*** Begin Patch\n*** Add File: /a.rs\n+x\n*** End Patch";
        assert_eq!(read("apply_patch", serde_json::json!({"patchText": patch})).subject, "/a.rs");
        // What cannot be read so is shown as it is.
        let odd = read("edit", serde_json::json!({"path": "/a.rs", "old_str": 7}));
        assert!(odd.blocks[0].text.contains("old_str"), "{odd:?}");
    }

    #[test]
    fn every_shells_command_is_shown_itself() {
        for (name, input) in [
            ("Bash", r#"{"command":"git status\nls"}"#),
            ("shell", r#"{"command":["bash","-lc","git status\nls"]}"#),
            ("shell", r#"{"command":["/bin/zsh","-c","git status\nls"],"timeout_ms":1000}"#),
            ("exec_command", r#"{"cmd":"git status\nls","yield_time_ms":1000,"max_output_tokens":12000}"#),
            ("shell_command", r#"{"command":"git status\nls","login":false}"#),
        ] {
            assert_eq!(blocks(name, input), [block("bash", "git status\nls")], "{input}");
        }
    }

    #[test]
    fn an_argument_vector_is_quoted_and_a_patch_in_it_is_a_diff() {
        assert_eq!(blocks("shell", r#"{"command":["rg","-n","it's a"]}"#), [block("bash", r"rg -n 'it'\''s a'")]);
        let input = Input::read("shell", r#"{"command":["apply_patch","*** Begin Patch\n*** Add File: a.rs\n+x\n"]}"#);
        assert_eq!(input.blocks[0].info, "diff");
        assert_eq!(input.summary().as_deref(), Some("a.rs"));
    }

    #[test]
    fn what_else_a_command_was_given_follows_as_a_minor_block() {
        let input = Input::read("Bash", r#"{"command":"make","description":"Build","run_in_background":true}"#);
        assert_eq!(input.purpose.as_deref(), Some("Build"));
        assert!(input.is_told_by_summary());
        assert_eq!(input.blocks[1].text, "{\n  \"run_in_background\": true\n}");
        assert!(input.blocks[1].minor);
    }

    #[test]
    fn an_edit_is_a_diff_with_the_common_lines_as_context() {
        let input =
            r#"{"file_path":"/a.rs","old_string":"fn a() {\n    1\n}","new_string":"fn a() {\n    2\n    3\n}"}"#;
        assert_eq!(blocks("Edit", input), [block("diff", " fn a() {\n-    1\n+    2\n+    3\n }\n")]);
        let input =
            r#"{"file_path":"/a.rs","edits":[{"old_string":"a","new_string":"b"},{"old_string":"","new_string":"c"}]}"#;
        assert_eq!(blocks("MultiEdit", input), [block("diff", "-a\n+b\n"), block("diff", "+c\n")]);
    }

    #[test]
    fn a_written_file_is_fenced_in_its_language() {
        let input = Input::read("Write", r##"{"file_path":"/x/y.md","content":"# a\n"}"##);
        assert_eq!(input.blocks, [Block::new("md", "# a\n").captioned("`/x/y.md`".to_owned())]);
        assert_eq!(language("/x/Makefile"), "text");
        assert_eq!(language("/x.d/.env"), "env");
    }

    #[test]
    fn any_other_input_is_sorted_json_with_long_texts_beside_it() {
        let input = r#"{"subagent_type":"Explore","prompt":"Find it.\nThen stop.","description":"Find"}"#;
        let json = "{\n  \"description\": \"Find\",\n  \"subagent_type\": \"Explore\"\n}";
        assert_eq!(blocks("Task", input), [block("json", json), block("text", "Find it.\nThen stop.")]);
        assert_eq!(blocks("Odd", "[2, 1]"), [block("json", "[\n  2,\n  1\n]")]);
    }

    #[test]
    fn what_is_no_json_is_shown_as_it_is() {
        assert_eq!(blocks("apply_patch", "*** Begin Patch\n"), [block("diff", "*** Begin Patch\n")]);
        assert_eq!(blocks("Bash", "{\"command\": \"cut o"), [block("bash", "{\"command\": \"cut o")]);
        assert_eq!(blocks("Odd", "plain"), [block("text", "plain")]);
        assert_eq!(blocks("Odd", ""), []);
    }

    #[test]
    fn a_summary_is_one_short_line() {
        let summary = |name, input: &str| Input::read(name, input).summary();
        assert_eq!(summary("Bash", r#"{"command":"a\nb"}"#).as_deref(), Some("a …"));
        assert_eq!(summary("Grep", r#"{"pattern":"x|y","glob":"*.rs"}"#).as_deref(), Some("x|y"));
        assert_eq!(summary("TodoWrite", r#"{"todos":[]}"#), None);
        let long = format!(r#"{{"command":"{}"}}"#, "é".repeat(200));
        assert!(summary("Bash", &long).is_some_and(|s| s.len() <= SUMMARY_BYTES + '…'.len_utf8()));
    }

    #[test]
    fn a_block_that_only_repeats_the_summary_is_known() {
        for (name, input, told) in [
            ("Bash", r#"{"command":"ls"}"#, true),
            ("Bash", r#"{"command":"ls\npwd"}"#, false),
            ("Read", r#"{"file_path":"/a"}"#, true),
            ("Read", r#"{"file_path":"/a","offset":3}"#, false),
            ("Write", r#"{"file_path":"/a","content":"x"}"#, false),
        ] {
            assert_eq!(Input::read(name, input).is_told_by_summary(), told, "{name} {input}");
        }
    }
}
