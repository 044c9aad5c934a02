//! Which files a tool's call wrote, as far as its input says: the editing tools of the agents, and patches. Pure.
//!
//! What a shell command writes is not looked for, a patch given to `apply_patch` in one aside.

use serde::Deserialize;
use serde_json::Value;

use crate::model::{ToolStatus, Turn};
use crate::render;

/// Tools that write the one file they name. In lower case: agents differ in nothing else.
const EDITORS: [&str; 19] = [
    "create",
    "create_file",
    "delete_file",
    "edit",
    "edit_file",
    "edit_notebook",
    "insert_edit_into_file",
    "multiedit",
    "notebookedit",
    "replace",
    "replace_string_in_file",
    "search_replace",
    "str_replace_based_edit_tool",
    "str_replace_editor",
    "write",
    "write_file",
    "write_to_file",
    "replace_in_file",
    "edit_existing_file",
];

/// Tools that take a patch.
const PATCHERS: [&str; 2] = ["apply_patch", "patch"];

/// Shells, in which `apply_patch` is a command.
const SHELLS: [&str; 6] = ["shell", "shell_command", "exec_command", "container.exec", "local_shell", "bash"];

/// Where a project's files have what lies outside its folders.
const OUTSIDE: &str = "_outside";

/// More parts than this are no path that somebody wrote.
const MAX_PARTS: usize = 64;

/// The input of these tools, as far as files are concerned. Any value, so that an odd one costs itself alone.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    file_path: Option<Value>,
    #[serde(rename = "filePath")]
    file_path_camel: Option<Value>,
    notebook_path: Option<Value>,
    path: Option<Value>,
    target_file: Option<Value>,
    target_notebook: Option<Value>,
    absolute_path: Option<Value>,
    input: Option<Value>,
    patch: Option<Value>,
    #[serde(rename = "patchText")]
    patch_text: Option<Value>,
    command: Option<Value>,
    cmd: Option<Value>,
    workdir: Option<Value>,
}

/// Whether a tool of this name may write a file.
#[must_use]
pub fn may_write(tool: &str) -> bool {
    let tool = tool.to_ascii_lowercase();
    [&EDITORS[..], &PATCHERS, &SHELLS].iter().any(|names| names.contains(&tool.as_str()))
}

/// The files that a call of a tool with this input writes, as the input names them.
#[must_use]
pub fn files_written(tool: &str, input: &str) -> Vec<String> {
    let tool = tool.to_ascii_lowercase();
    let parsed = || serde_json::from_str::<Input>(input).ok();
    if EDITORS.contains(&tool.as_str()) {
        return parsed().map(edited).unwrap_or_default();
    }
    let shell = SHELLS.contains(&tool.as_str());
    // A cheap look first: nearly all commands hold no patch.
    if !(shell || PATCHERS.contains(&tool.as_str()))
        || !input.contains(BEGIN)
        || shell && !input.contains("apply_patch")
    {
        return Vec::new();
    }
    let Some(found) = parsed() else { return if shell { Vec::new() } else { patched(input) } };
    let folder = found.workdir.as_ref().and_then(Value::as_str);
    let texts = [found.input, found.patch, found.patch_text, found.command, found.cmd];
    let files = texts.iter().flatten().flat_map(|value| match value {
        Value::String(text) => patched(text),
        Value::Array(words) => words.iter().filter_map(Value::as_str).flat_map(patched).collect(),
        _ => Vec::new(),
    });
    files.map(|file| folder.map_or_else(|| file.clone(), |folder| join(folder, &file))).collect()
}

fn edited(input: Input) -> Vec<String> {
    // One editor both writes and shows.
    if input.command.as_ref().and_then(Value::as_str) == Some("view") {
        return Vec::new();
    }
    let named = [
        input.file_path,
        input.file_path_camel,
        input.notebook_path,
        input.path,
        input.target_file,
        input.target_notebook,
        input.absolute_path,
    ];
    let file = named.iter().flatten().filter_map(Value::as_str).find(|path| !path.is_empty());
    file.map(str::to_owned).into_iter().collect()
}

const BEGIN: &str = "*** Begin Patch";

/// The files of each patch in a text, old and new names alike.
fn patched(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim_end) {
        // A heredoc's patch may begin behind other words of its line, when it is quoted instead.
        if line.ends_with(BEGIN) || line.trim() == "*** End Patch" {
            inside = line.ends_with(BEGIN);
            continue;
        }
        let file = ["*** Add File: ", "*** Update File: ", "*** Delete File: ", "*** Move to: "]
            .into_iter()
            .find_map(|start| line.trim_start().strip_prefix(start));
        if let Some(file) = file.map(str::trim).filter(|file| inside && !file.is_empty())
            && !found.iter().any(|known| known == file)
        {
            found.push(file.to_owned());
        }
    }
    found
}

/// The files that a turn's call wrote, if it succeeded: absolute, where the folder it ran in is known.
pub(super) fn written_by(turn: &Turn, cwd: Option<&str>) -> Vec<String> {
    let Some(tool) = turn.tool.as_ref().filter(|tool| tool.status == ToolStatus::Ok) else { return Vec::new() };
    let files = files_written(&tool.name, &tool.input);
    files.into_iter().map(|file| cwd.map_or_else(|| file.clone(), |cwd| join(cwd, &file))).collect()
}

/// A path as seen from a folder.
fn join(folder: &str, path: &str) -> String {
    if is_absolute(path) || folder.is_empty() {
        path.to_owned()
    } else {
        format!("{}/{path}", folder.trim_end_matches('/'))
    }
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') || is_windows(path)
}

/// `C:\...`, `C:/...` or `\\server\...`.
fn is_windows(path: &str) -> bool {
    path.starts_with(r"\\") || matches!(path.as_bytes(), [drive, b':', b'\\' | b'/', ..] if drive.is_ascii_alphabetic())
}

/// The parts of a path with `.` and `..` taken out; `None` when it leads above where it begins.
fn parts(path: &str) -> Option<Vec<&str>> {
    let separators: &[char] = if is_windows(path) { &['/', '\\'] } else { &['/'] };
    let mut parts = Vec::new();
    for part in path.split(separators) {
        match part {
            "" | "." => {}
            // The root's parent is the root.
            ".." if parts.pop().is_none() && !is_absolute(path) => return None,
            ".." => {}
            part => parts.push(part),
        }
    }
    Some(parts)
}

/// The directories that show a file, from its project's on: its path inside the folders the project was seen in. `None` for
/// what names no file in any.
pub(super) fn in_project(path: &str, folders: &[String]) -> Option<Vec<String>> {
    let found = parts(path)?;
    let inside = |folder: &String| {
        let folder = parts(folder).filter(|f| !f.is_empty() && is_absolute(path))?;
        (found.len() > folder.len() && found.starts_with(&folder)).then_some(folder.len())
    };
    // The outermost folder, so that a file has one path, from wherever in the project the session was started.
    let names: Vec<&str> = match folders.iter().filter_map(inside).min() {
        Some(depth) => in_worktree(&found[depth..]).to_vec(),
        None if is_absolute(path) && !found.is_empty() => std::iter::once(OUTSIDE).chain(found).collect(),
        None => found,
    };
    if names.is_empty() || names.len() > MAX_PARTS {
        return None;
    }
    names.into_iter().map(render::path_part_name).collect()
}

/// Claude Code keeps its worktrees in `.claude/worktrees/<name>`: the file is the repository's.
fn in_worktree<'a, 'b>(parts: &'a [&'b str]) -> &'a [&'b str] {
    match parts {
        [".claude", "worktrees", _, rest @ ..] if !rest.is_empty() => rest,
        parts => parts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agents_editors_name_the_file_they_write() {
        for (tool, input, file) in [
            ("Edit", r#"{"file_path":"/p/a.rs","old_string":"x","new_string":"y"}"#, "/p/a.rs"),
            ("Write", r#"{"content":"x","file_path":"/p/ü b.rs"}"#, "/p/ü b.rs"),
            ("MultiEdit", r#"{"file_path":"/p/a.rs","edits":[]}"#, "/p/a.rs"),
            ("NotebookEdit", r#"{"notebook_path":"/p/n.ipynb","new_source":""}"#, "/p/n.ipynb"),
            ("edit", r#"{"filePath":"/p/a.ts","oldString":"x"}"#, "/p/a.ts"),
            ("write_file", r#"{"file_path":"src/a.ts","content":""}"#, "src/a.ts"),
            ("replace", r#"{"file_path":"src/a.ts"}"#, "src/a.ts"),
            ("create", r#"{"path":"/p/new","file_text":""}"#, "/p/new"),
            ("str_replace_editor", r#"{"command":"str_replace","path":"/p/a"}"#, "/p/a"),
            ("edit_file", r#"{"target_file":"a.py","file_path":7}"#, "a.py"),
        ] {
            assert_eq!(files_written(tool, input), [file], "{tool}");
            assert!(may_write(tool), "{tool}");
        }
    }

    #[test]
    fn what_only_reads_writes_nothing() {
        for (tool, input) in [
            ("Read", r#"{"file_path":"/p/a.rs"}"#),
            ("Grep", r#"{"path":"/p"}"#),
            ("str_replace_editor", r#"{"command":"view","path":"/p/a"}"#),
            ("Bash", r#"{"command":"echo x > /p/a"}"#),
            ("shell", r#"{"command":["grep","-r","*** Begin Patch","."]}"#),
            ("Edit", "no JSON"),
            ("Edit", "{}"),
            ("Edit", "[1]"),
            ("apply_patch", "*** Begin Patch\n*** End Patch"),
        ] {
            assert_eq!(files_written(tool, input), Vec::<String>::new(), "{tool} {input}");
        }
    }

    const PATCH: &str = "*** Begin Patch\n*** Update File: src/a.rs\n*** Move to: src/b.rs\n@@\n-x\n+*** no line\n\
                         *** Add File: docs/ü.md\n+hi\n*** Delete File: old\n*** End Patch\n*** Add File: not-in-it\n";
    const PATCHED: [&str; 4] = ["src/a.rs", "src/b.rs", "docs/ü.md", "old"];

    #[test]
    fn a_patch_names_its_files_in_whatever_it_is_wrapped() {
        let json = |value: Value| value.to_string();
        let heredoc = format!("apply_patch <<'EOF'\n{PATCH}EOF");
        for (tool, input) in [
            ("apply_patch", PATCH.to_owned()),
            ("apply_patch", json(serde_json::json!({ "input": PATCH }))),
            ("patch", json(serde_json::json!({ "patchText": PATCH }))),
            ("shell", json(serde_json::json!({ "command": ["bash", "-lc", heredoc] }))),
            ("shell", json(serde_json::json!({ "command": ["apply_patch", PATCH] }))),
            ("exec_command", json(serde_json::json!({ "cmd": heredoc }))),
            ("shell_command", json(serde_json::json!({ "command": format!("apply_patch '{PATCH}'") }))),
        ] {
            assert_eq!(files_written(tool, &input), PATCHED, "{tool} {input}");
        }
        let moved = json(serde_json::json!({ "command": ["apply_patch", PATCH], "workdir": "/p/sub" }));
        assert_eq!(files_written("shell", &moved)[0], "/p/sub/src/a.rs");
    }

    fn place(path: &str, folders: &[&str]) -> Option<String> {
        let folders: Vec<String> = folders.iter().map(|f| (*f).to_owned()).collect();
        in_project(path, &folders).map(|parts| parts.join("/"))
    }

    #[test]
    fn a_file_lies_where_its_project_has_it() {
        for (path, shown) in [
            ("/r/app/src/main.rs", Some("src/main.rs")),
            ("/r/app/./src/../.github/x.yml", Some(".github/x.yml")),
            ("/r/app/.claude/worktrees/fix/src/a.rs", Some("src/a.rs")),
            ("/r/app/.claude/settings.json", Some(".claude/settings.json")),
            ("/r/application/a", Some("_outside/r/application/a")),
            ("/tmp/../../x", Some("_outside/x")),
            ("src/a.rs", Some("src/a.rs")),
            ("../a.rs", None),
            ("/r/app", Some("_outside/r/app")),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(place(path, &["/r/app/sub", "/r/app/"]).as_deref(), shown, "{path}");
        }
        assert_eq!(place(r"C:\r\app\src\a.rs", &[r"C:\r\app"]).as_deref(), Some("src/a.rs"));
        assert_eq!(place(&"a/".repeat(65), &[]), None);
    }

    #[test]
    fn a_relative_path_begins_at_the_folder_of_the_session() {
        assert_eq!(join("/r/app", "src/a"), "/r/app/src/a");
        assert_eq!(join("/r/app/", "/etc/a"), "/etc/a");
        assert_eq!(join(r"C:\r", r"src\a"), r"C:\r/src\a");
    }
}
