//! A turn as a file of its own: everything it holds, in full.

use super::{
    input::{Block, Input},
    markdown::{plain, put_fenced, put_lines, put_visuals},
    out::Out,
    section::size_of_section,
};
use crate::model::{Millis, Role, SectionSize, Tool, ToolStatus, Turn};

/// Writes the file of a turn under `turns/`. `visual_prefix` leads to the commit's visuals (`../../../visuals/`); like every
/// prefix of a link it must hold neither spaces nor brackets, which generated names never do.
pub fn turn_file<O: Out>(out: &mut O, turn: &Turn, visual_prefix: &str) {
    put_turn(out, turn, Input::of(turn).as_ref(), visual_prefix);
}

/// Writes the file of a turn whose input was read.
fn put_turn<O: Out>(out: &mut O, turn: &Turn, input: Option<&Input>, visual_prefix: &str) {
    put_heading(out, turn);
    if !turn.text.is_empty() {
        out.put("\n");
        put_lines(out, &turn.text);
    }
    if let (Some(tool), Some(input)) = (&turn.tool, input) {
        put_tool(out, tool, input);
    }
    if !turn.visuals.is_empty() {
        out.put("\n");
        put_visuals(out, &turn.visuals, visual_prefix);
    }
}

/// The length of [`turn_file`] with an empty prefix, and how often it writes the prefix.
#[must_use]
pub fn turn_len(turn: &Turn) -> (u64, u64) {
    len(turn, Input::of(turn).as_ref())
}

fn len(turn: &Turn, input: Option<&Input>) -> (u64, u64) {
    let mut size = SectionSize::default();
    put_turn(&mut size, turn, input, "");
    (size.bytes, size.visual_links)
}

/// Both lengths of a turn: what [`super::section_size`] and [`turn_len`] give, with its input read once.
#[must_use]
pub fn turn_sizes(turn: &Turn) -> (SectionSize, (u64, u64)) {
    let input = Input::of(turn);
    (size_of_section(turn, input.as_ref()), len(turn, input.as_ref()))
}

/// The time in a heading; none when the log had none before this turn.
pub(super) fn readable(at: Millis) -> Option<String> {
    (at != Millis::default()).then(|| at.readable() + " UTC")
}

/// What tells a turn from the others of its role: the tool and its end, or the kind of system text.
pub(super) fn put_particulars<O: Out>(line: &mut Parts<'_, O>, turn: &Turn) {
    match (&turn.tool, &turn.label) {
        (Some(tool), _) => {
            line.put(&plain(&tool.name));
            line.put(tool.status.as_str());
        }
        (None, Some(label)) => line.put(&plain(label)),
        (None, None) => {}
    }
}

/// The model, where it is worth a word: a tool runs without one.
pub(super) fn model(turn: &Turn) -> Option<String> {
    turn.model.as_deref().filter(|_| matches!(turn.role, Role::Assistant | Role::Thinking)).map(plain)
}

/// A line of the parts that are there, `·` between them.
pub(super) struct Parts<'o, O: Out> {
    out: &'o mut O,
    gap: &'static str,
}

impl<'o, O: Out> Parts<'o, O> {
    pub(super) fn begin(out: &'o mut O, start: &str) -> Self {
        out.put(start);
        Self { out, gap: "" }
    }

    pub(super) fn put(&mut self, part: &str) {
        if !part.is_empty() {
            self.out.put(self.gap);
            self.out.put(part);
            self.gap = " · ";
        }
    }

    pub(super) fn put_if(&mut self, part: Option<String>) {
        self.put(part.as_deref().unwrap_or_default());
    }

    pub(super) fn end(self) {
        self.out.put("\n");
    }
}

fn put_heading<O: Out>(out: &mut O, turn: &Turn) {
    let mut line = Parts::begin(out, "# ");
    line.put(&turn.number.to_string());
    line.put(turn.role.as_str());
    put_particulars(&mut line, turn);
    line.put_if(readable(turn.at));
    line.put_if(model(turn));
    line.end();
}

fn put_tool<O: Out>(out: &mut O, tool: &Tool, input: &Input) {
    out.put("\n**Input**\n\n");
    if let Some(purpose) = &input.purpose {
        put_lines(out, purpose);
        out.put("\n");
    }
    if input.blocks.is_empty() {
        out.put("*none*\n\n");
    }
    for block in &input.blocks {
        put_caption(out, block);
        put_fenced(out, &block.info, &[&block.text]);
        out.put("\n");
    }
    out.put("**Output**\n\n");
    match no_output(tool) {
        Some(note) => out.put(note),
        None => put_fenced(out, "text", &[&tool.output]),
    }
}

pub(super) fn put_caption<O: Out>(out: &mut O, block: &Block) {
    if let Some(caption) = &block.caption {
        out.put(caption);
        out.put("\n\n");
    }
}

/// What stands where the output is missing.
pub(super) fn no_output(tool: &Tool) -> Option<&'static str> {
    match (tool.status, tool.output.is_empty()) {
        (_, false) => None,
        (ToolStatus::Pending, true) => Some("*no result in the log*\n"),
        (_, true) => Some("*empty*\n"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing, *};

    fn file(turn: &Turn) -> String {
        let mut out = String::new();
        turn_file(&mut out, turn, "../../../visuals/");
        out
    }

    #[test]
    fn turn_files_read_well() {
        let picture = Turn {
            visuals: vec!["0001_2026-08-19T14-05-10Z.png".to_owned()],
            model: None,
            ..testing::turn(7, Role::User, "")
        };
        let timeless = Turn { at: Millis(0), ..testing::turn(8, Role::User, "hello\n\n") };
        let turns = [
            testing::turn(1, Role::User, "Why does login lose the query?\n\n```\nGET /login?next=/cart"),
            testing::turn(2, Role::Assistant, "Let me look."),
            testing::tool_turn(
                3,
                "Bash",
                r#"{"command":"git status","description":"Show status","run_in_background":true}"#,
                "On branch main\n",
                ToolStatus::Ok,
            ),
            testing::tool_turn(
                4,
                "Edit",
                r#"{"file_path":"/shop/login.rs","old_string":"a\nb","new_string":"a\nc","replace_all":true}"#,
                "",
                ToolStatus::Pending,
            ),
            testing::tool_turn(
                5,
                "mcp__docs__ask",
                r#"{"question":"one\ntwo ``` three","limit":3}"#,
                "````",
                ToolStatus::Error,
            ),
            testing::system_turn(6, "compaction", "This session continues another."),
            picture,
            timeless,
        ];
        insta::assert_snapshot!(turns.iter().map(file).collect::<Vec<_>>().join("=====\n"));
    }

    #[test]
    fn a_turn_without_anything_is_its_heading() {
        assert_eq!(file(&testing::turn(1, Role::User, "")), "# 1 · user · 2026-08-19 14:03:22 UTC\n");
    }

    #[test]
    fn a_model_that_looks_like_a_tag_stays_visible() {
        let turn = Turn { model: Some("<synthetic>".to_owned()), ..testing::turn(1, Role::Assistant, "x") };
        assert!(file(&turn).contains(" · \\<synthetic>\n"), "{}", file(&turn));
    }

    proptest! {
        #[test]
        fn the_counted_length_is_the_length(turn in testing::any_turn(), prefix in "[a-z./]{0,20}") {
            let mut out = Vec::new();
            turn_file(&mut out, &turn, &prefix);
            let (bytes, links) = turn_len(&turn);
            prop_assert_eq!(out.len() as u64, bytes + links * prefix.len() as u64);
        }

        #[test]
        fn what_was_said_and_printed_is_there_byte_for_byte(turn in testing::any_turn()) {
            let file = file(&turn);
            prop_assert!(file.contains(&turn.text));
            prop_assert!(file.ends_with('\n'));
            if let Some(tool) = &turn.tool {
                prop_assert!(file.contains(&tool.output));
            }
        }

        #[test]
        fn a_command_is_there_byte_for_byte(command in testing::text(), vector in any::<bool>()) {
            let value = if vector { serde_json::json!(["bash", "-lc", command]) } else { serde_json::json!(command) };
            let input = serde_json::json!({ "command": value }).to_string();
            prop_assert!(file(&testing::tool_turn(1, "shell", &input, "", ToolStatus::Ok)).contains(&command));
        }

        #[test]
        fn a_long_field_of_any_tool_is_there_byte_for_byte(text in testing::text()) {
            let text = format!("{text}\n");
            let input = serde_json::json!({ "prompt": text }).to_string();
            prop_assert!(file(&testing::tool_turn(1, "Task", &input, "", ToolStatus::Ok)).contains(&text));
        }
    }
}
