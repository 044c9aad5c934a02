//! A turn inside a `transcript.md`: what was said in full, what tools printed in short, with a link to all of it.

use super::{
    guard::closing_line,
    input::{Block, Input},
    markdown::{
        DETAILS_END, Excerpt, code, count, excerpt, line_count, one_line, plain, put_details, put_fenced, put_lines,
        put_visuals, size,
    },
    names::{tool_slug, turn_file_name},
    out::Out,
    page::size_of_page_turn,
    turn::{Parts, model, no_output, put_caption, put_particulars, readable},
};
use crate::model::{Millis, Role, SectionSize, Tool, Turn};

/// The longest output, or input, that is shown as it is.
pub(super) const OUTPUT_BYTES: usize = 3_000;
pub(super) const INPUT_BYTES: usize = 2_000;
const SHOWN_LINES: usize = 40;
/// The longest system text that is not folded.
pub(super) const SYSTEM_BYTES: usize = 300;
pub(super) const SYSTEM_LINES: usize = 5;

/// Writes the turn's section of a transcript. The prefixes lead to the turn files (`turns/`) and to the commit's visuals.
pub fn section<O: Out>(out: &mut O, turn: &Turn, turn_prefix: &str, visual_prefix: &str) {
    put_section(out, turn, Input::of(turn).as_ref(), turn_prefix, visual_prefix);
}

/// Writes the section of a turn whose input was read.
fn put_section<O: Out>(out: &mut O, turn: &Turn, input: Option<&Input>, turn_prefix: &str, visual_prefix: &str) {
    put_heading(out, turn);
    match turn.role {
        Role::User | Role::Assistant => put_said(out, &turn.text),
        Role::Thinking => put_folded(out, "thinking", &turn.text),
        Role::Tool | Role::System => put_system(out, turn),
    }
    if let (Some(tool), Some(input)) = (&turn.tool, input) {
        put_tool(out, turn, (tool, input), turn_prefix);
    }
    if !turn.visuals.is_empty() {
        put_visuals(out, &turn.visuals, visual_prefix);
        out.put("\n");
    }
}

/// The size of [`section`] apart from its prefixes, for which [`SectionSize::total`] gives its length, and of the turn on the page.
#[must_use]
pub fn section_size(turn: &Turn) -> SectionSize {
    size_of_section(turn, Input::of(turn).as_ref())
}

/// The size of the section of a turn whose input was read.
pub(super) fn size_of_section(turn: &Turn, input: Option<&Input>) -> SectionSize {
    let mut size = SectionSize::default();
    put_section(&mut size, turn, input, "", "");
    size += size_of_page_turn(turn, input);
    size
}

/// A prompt's heading stands out and has the date; what follows from it has the time alone, at a lower level where it is
/// neither prompt nor answer, so that an outline shows the conversation.
fn put_heading<O: Out>(out: &mut O, turn: &Turn) {
    let start = if matches!(turn.role, Role::User | Role::Assistant) { "## " } else { "### " };
    let mut line = Parts::begin(out, start);
    line.put(&turn.number.to_string());
    match turn.role {
        Role::User => line.put(&format!("**{}**", turn.role.as_str())),
        _ => line.put(turn.role.as_str()),
    }
    put_particulars(&mut line, turn);
    line.put_if(if turn.role == Role::User { readable(turn.at) } else { time(turn.at) });
    line.put_if(model(turn).filter(|_| turn.role == Role::Assistant));
    line.end();
    out.put("\n");
}

fn time(at: Millis) -> Option<String> {
    (at != Millis::default()).then(|| at.clock())
}

/// Writes text verbatim, then closes what it leaves open.
fn put_said<O: Out>(out: &mut O, text: &str) {
    if text.is_empty() {
        return;
    }
    put_lines(out, text);
    if let Some(line) = closing_line(text) {
        out.put(&line);
        out.put("\n");
    }
    out.put("\n");
}

fn put_folded<O: Out>(out: &mut O, what: &str, text: &str) {
    if text.is_empty() {
        return;
    }
    put_details(out, &format!("{what}, {}", size(text.len())));
    put_said(out, text);
    out.put(DETAILS_END);
}

fn put_system<O: Out>(out: &mut O, turn: &Turn) {
    if turn.text.is_empty() {
        return;
    }
    let long = turn.text.len() > SYSTEM_BYTES || line_count(&turn.text) > SYSTEM_LINES;
    if long {
        let label = turn.label.as_deref().unwrap_or_else(|| turn.role.as_str());
        put_details(out, &format!("{label}, {}", size(turn.text.len())));
    }
    // Agents wrap what they put in into tags (`<system-reminder>`), which a page would swallow.
    if turn.text.trim_start().starts_with('<') {
        put_fenced(out, "text", &[&turn.text]);
        out.put("\n");
    } else {
        put_said(out, &turn.text);
    }
    if long {
        out.put(DETAILS_END);
    }
}

fn put_tool<O: Out>(out: &mut O, turn: &Turn, (tool, input): (&Tool, &Input), turn_prefix: &str) {
    let file = Link { turn, tool, prefix: turn_prefix };
    put_summary(out, tool, input);
    if !input.is_told_by_summary() {
        for block in input.blocks.iter().filter(|block| !block.minor) {
            put_input(out, input, block, &file);
        }
    }
    match no_output(tool) {
        Some(note) => out.put(note),
        None if is_short(&tool.output, OUTPUT_BYTES) => put_fenced(out, "text", &[&tool.output]),
        None => return put_excerpt(out, "output", "text", &tool.output, &file),
    }
    out.put("\n");
}

fn put_summary<O: Out>(out: &mut O, tool: &Tool, input: &Input) {
    out.put("**");
    out.put(&plain(&tool.name));
    out.put("**");
    if let Some(summary) = input.summary() {
        out.put(" ");
        out.put(&code(&summary));
    }
    if let Some(purpose) = &input.purpose {
        out.put(" · ");
        out.put(&plain(purpose));
    }
    out.put("\n\n");
}

fn put_input<O: Out>(out: &mut O, input: &Input, block: &Block, file: &Link<'_>) {
    if !is_repeated(input, block) {
        put_caption(out, block);
    }
    if is_short(&block.text, INPUT_BYTES) {
        put_fenced(out, &block.info, &[&block.text]);
        out.put("\n");
    } else {
        put_excerpt(out, "input", &block.info, &block.text, file);
    }
}

/// Whether a block's caption is the summary once more: the path above a diff, unless it was too long for it.
pub(super) fn is_repeated(input: &Input, block: &Block) -> bool {
    input.summary().is_some_and(|s| block.caption.as_ref() == Some(&code(&one_line(&s))))
}

pub(super) fn is_short(text: &str, bytes: usize) -> bool {
    text.len() <= bytes && line_count(text) <= SHOWN_LINES
}

/// A turn's own file.
struct Link<'a> {
    turn: &'a Turn,
    tool: &'a Tool,
    prefix: &'a str,
}

impl Link<'_> {
    /// Asked for by few turns only.
    fn file_name(&self) -> String {
        turn_file_name(self.turn.number, self.turn.role, Some(&tool_slug(&self.tool.name)))
    }
}

/// Writes a long text's two ends, folded, with a link to all of it.
fn put_excerpt<O: Out>(out: &mut O, what: &str, info: &str, text: &str, file: &Link<'_>) {
    let lines = line_count(text) as u64;
    put_details(out, &format!("{what}, {}, {}", size(text.len()), count(lines, "line", "lines")));
    let Excerpt { head, tail } = excerpt(text);
    let left_out = format!("… {} left out …", size(text.len() - head.len() - tail.len()));
    put_fenced(out, info, &[head, &left_out, tail]);
    out.put("\n");
    out.put(DETAILS_END);
    let name = file.file_name();
    out.put("full ");
    out.put(what);
    out.put(": [");
    out.put(&name);
    out.put("](");
    out.turn_prefix(file.prefix);
    out.put(&name);
    out.put(")\n\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Template, testing, turn_len, turn_sizes},
        *,
    };
    use crate::model::ToolStatus;

    const TURNS: &str = "turns/";
    const VISUALS: &str = "../../visuals/";

    fn page(turn: &Turn) -> String {
        let mut out = String::new();
        section(&mut out, turn, TURNS, VISUALS);
        out
    }

    fn numbered_lines(count: u32) -> String {
        (1..=count).map(|n| format!("line {n} of the output\n")).collect()
    }

    #[test]
    fn a_transcript_reads_well() {
        let picture = Turn {
            visuals: vec!["0001_2026-08-19T14-05-10Z.png".to_owned()],
            ..testing::turn(1, Role::User, "Why does login lose the query? The log:\n\n```\nGET /login?next=/cart")
        };
        let written = format!(r#"{{"file_path":"/shop/list.txt","content":{:?}}}"#, numbered_lines(60));
        let turns = [
            picture,
            testing::turn(2, Role::Thinking, "The cookie?\n\nOr the *query*."),
            testing::turn(3, Role::Assistant, "Let me look.\n\n- one\n- two"),
            testing::tool_turn(
                4,
                "Bash",
                r#"{"command":"git status","description":"Show status"}"#,
                "On branch main\n",
                ToolStatus::Ok,
            ),
            testing::tool_turn(5, "Bash", r#"{"command":"make \\\n  all"}"#, &numbered_lines(100), ToolStatus::Error),
            testing::tool_turn(6, "Write", &written, "File created", ToolStatus::Ok),
            testing::tool_turn(7, "Grep", r#"{"pattern":"x|`y`","glob":"*.rs"}"#, "", ToolStatus::Ok),
            testing::tool_turn(
                8,
                "Edit",
                r#"{"file_path":"/shop/login.rs","old_string":"a","new_string":"b","replace_all":false}"#,
                "",
                ToolStatus::Pending,
            ),
            testing::system_turn(9, "command", "/compact"),
            testing::system_turn(10, "compaction", &"This session continues another.\n".repeat(20)),
            testing::system_turn(11, "notice", "<system-reminder>Mind the gap.</system-reminder>"),
        ];
        insta::assert_snapshot!(turns.iter().map(page).collect::<String>());
    }

    #[test]
    fn a_long_output_is_linked_under_the_turns_file_name() {
        let page = page(&testing::tool_turn(12_345, "mcp__x__y", "{}", &numbered_lines(50), ToolStatus::Ok));
        assert!(page.contains("full output: [12345-tool-mcp-x-y.md](turns/12345-tool-mcp-x-y.md)\n"), "{page}");
        assert!(page.contains("line 20 of") && !page.contains("line 21 of") && page.contains("line 50 of"), "{page}");
    }

    #[test]
    fn one_endless_line_is_cut_too() {
        let page = page(&testing::tool_turn(1, "Bash", r#"{"command":"x"}"#, &"y".repeat(1_000_000), ToolStatus::Ok));
        assert!(page.len() < 3_000, "{}", page.len());
        assert!(page.contains("<summary>output, 1.0 MB, 1 line</summary>"), "{page}");
    }

    #[test]
    fn what_a_prompt_leaves_open_is_closed_before_the_next_turn() {
        assert!(page(&testing::turn(1, Role::User, "~~~~\nlog")).ends_with("\n~~~~\nlog\n~~~~\n\n"));
        assert!(page(&testing::turn(1, Role::Thinking, "<!-- hm")).contains("<!-- hm\n-->\n\n</details>\n"));
    }

    proptest! {
        #[test]
        fn both_lengths_taken_at_once_are_those_taken_one_by_one(turn in testing::any_turn()) {
            prop_assert_eq!(turn_sizes(&turn), (section_size(&turn), turn_len(&turn)));
        }

        #[test]
        fn the_counted_size_is_the_length_for_any_prefix(
            turn in testing::any_turn(),
            turns in "[a-z0-9./_-]{0,40}",
            visuals in "[a-z0-9./_-]{0,40}",
        ) {
            let mut out = Vec::new();
            section(&mut out, &turn, &turns, &visuals);
            prop_assert_eq!(out.len() as u64, section_size(&turn).total(&turns, &visuals));
            let (mut template, mut written) = (Template::default(), Vec::new());
            section(&mut template, &turn, "", "");
            template.write(&mut written, &turns, &visuals);
            prop_assert_eq!(written, out);
        }

        #[test]
        fn prompts_and_answers_are_there_byte_for_byte(turn in testing::any_turn()) {
            let page = page(&turn);
            prop_assert!(page.ends_with("\n\n"), "{page:?}");
            if turn.role != Role::Tool {
                prop_assert!(page.contains(&turn.text), "{page:?}");
            }
        }

        #[test]
        fn after_any_text_nothing_is_left_open(text in testing::text()) {
            let page = page(&testing::turn(1, Role::User, &text));
            prop_assert_eq!(closing_line(&page), None, "{:?}", page);
        }

        #[test]
        fn a_tools_section_stays_short(text in testing::text()) {
            let input = serde_json::json!({ "command": text }).to_string();
            let page = page(&testing::tool_turn(1, "Bash", &input, &text, ToolStatus::Ok));
            prop_assert!(page.len() < 12_000, "{}", page.len());
        }
    }
}
