//! A turn on the page: prompts and answers to read, everything else folded.

use super::super::input::{Block, Input};
use super::super::markdown::{Excerpt, count, excerpt, floor, line_count, one_line, size};
use super::super::names::{tool_slug, turn_file_name};
use super::super::out::Out;
use super::super::section::{INPUT_BYTES, OUTPUT_BYTES, SYSTEM_BYTES, SYSTEM_LINES, is_repeated, is_short};
use super::KEY_DIGITS;
use super::escape::{put_printed, put_text};
use super::prose::{put_markdown, put_prose};
use crate::model::{Millis, Role, SectionSize, Tool, ToolStatus, Turn};

/// What is shown of a prompt in the index, in bytes.
const INDEX_BYTES: usize = 110;

/// Of a text on a page that has no files beside it.
const ALONE_BYTES: usize = 200_000;

/// Where the page of a turn leads to.
pub struct PageLinks<'a> {
    /// What its anchors begin with: [`super::page_key`].
    key: &'a str,
    /// To the session's turn files; `None`: there are none, and texts are whole up to 200 KB.
    turns: Option<&'a str>,
    /// The address of a picture; `None` where it cannot be had.
    picture: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> PageLinks<'a> {
    /// Of the page that lies in the commit's directory.
    #[must_use]
    pub fn beside(key: &'a str, turns: &'a str) -> Self {
        Self { key, turns: Some(turns), picture: &|name| Some(format!("visuals/{name}")) }
    }

    /// Of a page that has nothing beside it.
    #[must_use]
    pub fn alone(key: &'a str, picture: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { key, turns: None, picture }
    }
}

/// Counts a page's bytes, with the links to turn files apart.
#[derive(Default)]
struct PageSize {
    bytes: u64,
    links: u64,
}

impl Out for PageSize {
    fn put(&mut self, text: &str) {
        self.bytes += text.len() as u64;
    }

    fn turn_prefix(&mut self, _prefix: &str) {
        self.links += 1;
    }
}

/// What a turn takes of a page in its commit's directory, its entry in the index included.
#[cfg(test)]
pub(super) fn page_turn_size(turn: &Turn) -> SectionSize {
    size_of_page_turn(turn, Input::of(turn).as_ref())
}

/// What a turn whose input was read takes of a page in its commit's directory, its entry in the index included.
pub(in crate::render) fn size_of_page_turn(turn: &Turn, input: Option<&Input>) -> SectionSize {
    let key = [b'0'; KEY_DIGITS];
    let key = std::str::from_utf8(&key).unwrap_or_default();
    let mut page = PageSize::default();
    page_index_entry(&mut page, turn, key);
    put_turn(&mut page, turn, input, &PageLinks::beside(key, ""));
    SectionSize { page_bytes: page.bytes, page_links: page.links, ..SectionSize::default() }
}

/// Writes a turn's entry in the index: prompts have one.
pub fn page_index_entry<O: Out>(out: &mut O, turn: &Turn, key: &str) {
    if turn.role != Role::User {
        return;
    }
    out.put("<li><a href=\"#");
    put_anchor(out, key, turn);
    out.put("\">");
    let line = turn.text.lines().map(one_line).find(|line| !line.is_empty());
    match line {
        Some(line) if line.len() > INDEX_BYTES => {
            put_text(out, &line[..floor(&line, INDEX_BYTES)]);
            out.put("…");
        }
        Some(line) => put_text(out, &line),
        None => out.put(if turn.visuals.is_empty() { "(empty)" } else { "(picture)" }),
    }
    out.put(" ");
    put_time(out, turn.at, Millis::readable);
    out.put("</a></li>\n");
}

/// Writes a turn.
pub fn page_turn<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    put_turn(out, turn, Input::of(turn).as_ref(), links);
}

fn put_turn<O: Out>(out: &mut O, turn: &Turn, input: Option<&Input>, links: &PageLinks<'_>) {
    match (turn.role, &turn.tool, input) {
        (Role::User | Role::Assistant, ..) => put_said(out, turn, links),
        (Role::Thinking, ..) => put_thinking(out, turn, links),
        (_, Some(tool), Some(input)) => put_tool(out, turn, (tool, input), links),
        _ => put_system(out, turn, links),
    }
}

fn put_said<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    begin(out, "article", turn, "", links);
    out.put("<h3>");
    put_number(out, turn, links);
    out.put(" <b>");
    out.put(turn.role.as_str());
    out.put("</b>");
    if turn.role == Role::Assistant
        && let Some(model) = &turn.model
    {
        out.put(" · ");
        put_text(out, &one_line(model));
    }
    if turn.at != Millis::default() {
        out.put(" · ");
        put_time(out, turn.at, if turn.role == Role::User { Millis::readable } else { Millis::clock });
    }
    out.put("</h3>\n");
    if turn.role == Role::User {
        put_plain(out, &turn.text);
    } else if !turn.text.is_empty() {
        put_prose(out, &turn.text);
    }
    put_pictures(out, turn, links);
    out.put("</article>\n");
}

/// People write as they write: a pasted log is no Markdown.
fn put_plain<O: Out>(out: &mut O, text: &str) {
    if !text.is_empty() {
        out.put("<div class=\"said\" dir=\"auto\">");
        put_printed(out, text);
        out.put("</div>\n");
    }
}

fn put_thinking<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    begin(out, "details", turn, "", links);
    out.put("<summary>");
    put_number(out, turn, links);
    out.put(" <b>thinking</b> ");
    put_what(out, &first_words(&turn.text));
    put_time(out, turn.at, Millis::clock);
    out.put("</summary>\n<div class=\"inside\">\n");
    put_prose(out, &turn.text);
    put_pictures(out, turn, links);
    out.put("</div>\n</details>\n");
}

/// How a folded text begins, without marks that would be noise on a line.
fn first_words(text: &str) -> String {
    let line = text.lines().map(|line| one_line(line.trim_matches(['*', '#', ' ']))).find(|line| !line.is_empty());
    let line = line.unwrap_or_default();
    if line.len() > INDEX_BYTES { format!("{}…", &line[..floor(&line, INDEX_BYTES)]) } else { line }
}

fn put_system<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    let label = turn.label.as_deref().map_or_else(|| turn.role.as_str().to_owned(), one_line);
    let is_long = turn.text.len() > SYSTEM_BYTES || line_count(&turn.text) > SYSTEM_LINES;
    begin(out, if is_long { "details" } else { "div" }, turn, "", links);
    if is_long {
        out.put("<summary>");
    }
    put_number(out, turn, links);
    out.put(" <b>");
    put_text(out, &label);
    out.put("</b> ");
    if !is_long {
        put_plain(out, &turn.text);
        put_pictures(out, turn, links);
        out.put("</div>\n");
        return;
    }
    put_what(out, &size(turn.text.len()));
    put_time(out, turn.at, Millis::clock);
    out.put("</summary>\n<div class=\"inside\">\n");
    put_plain(out, &turn.text);
    put_pictures(out, turn, links);
    out.put("</div>\n</details>\n");
}

fn put_tool<O: Out>(out: &mut O, turn: &Turn, (tool, input): (&Tool, &Input), links: &PageLinks<'_>) {
    begin(out, "details", turn, tool.status.as_str(), links);
    out.put("<summary>");
    put_number(out, turn, links);
    out.put(" <b>");
    put_text(out, &one_line(&tool.name));
    out.put("</b> ");
    if let Some(summary) = input.summary() {
        out.put("<code>");
        put_text(out, &summary);
        out.put("</code> ");
    }
    if let Some(purpose) = &input.purpose {
        put_what(out, &one_line(purpose));
    }
    if tool.status != ToolStatus::Ok {
        out.put("<span class=\"state\">");
        out.put(if tool.status == ToolStatus::Error { "error" } else { "no result" });
        out.put("</span> ");
    }
    put_time(out, turn.at, Millis::clock);
    out.put("</summary>\n<div class=\"inside\">\n");
    if !turn.text.is_empty() {
        put_plain(out, &turn.text);
    }
    if !input.is_told_by_summary() {
        for block in input.blocks.iter().filter(|block| !block.minor) {
            put_block(out, input, block, (turn, tool), links);
        }
    }
    match (tool.status, tool.output.is_empty()) {
        (_, false) => {
            out.put("<p class=\"label\">output</p>\n");
            let info = if tool.output.starts_with("diff --git ") { "diff" } else { "text" };
            put_long(out, "output", info, &tool.output, OUTPUT_BYTES, (turn, tool), links);
        }
        (ToolStatus::Pending, true) => out.put("<p class=\"empty\">no result in the log</p>\n"),
        (_, true) => out.put("<p class=\"empty\">no output</p>\n"),
    }
    put_pictures(out, turn, links);
    out.put("</div>\n</details>\n");
}

fn put_block<O: Out>(out: &mut O, input: &Input, block: &Block, call: (&Turn, &Tool), links: &PageLinks<'_>) {
    if let Some(caption) = &block.caption
        && !is_repeated(input, block)
    {
        // It is a line of Markdown.
        out.put("<div class=\"prose\">");
        put_markdown(out, caption);
        out.put("</div>\n");
    }
    put_long(out, "input", &block.info, &block.text, INPUT_BYTES, call, links);
}

/// Writes a text, or its two ends with a link to all of it.
fn put_long<O: Out>(
    out: &mut O,
    what: &str,
    info: &str,
    text: &str,
    most: usize,
    (turn, tool): (&Turn, &Tool),
    links: &PageLinks<'_>,
) {
    out.put("<pre>");
    // A line end directly behind the tag is not shown.
    out.put("\n");
    let is_whole = is_short(text, most) || links.turns.is_none() && text.len() <= ALONE_BYTES;
    if is_whole {
        put_lines(out, info, text);
        out.put("</pre>\n");
        return;
    }
    let Excerpt { head, tail } = excerpt(text);
    put_lines(out, info, head);
    out.put("<span class=\"cut\">… ");
    out.put(&size(text.len() - head.len() - tail.len()));
    out.put(" left out …</span>");
    put_lines(out, info, tail);
    out.put("</pre>\n");
    let Some(prefix) = links.turns else { return };
    let name = turn_file_name(turn.number, turn.role, Some(&tool_slug(&tool.name)));
    out.put("<p class=\"full\">full ");
    out.put(what);
    out.put(", ");
    out.put(&size(text.len()));
    out.put(", ");
    out.put(&count(line_count(text) as u64, "line", "lines"));
    out.put(": <a href=\"");
    out.turn_prefix(prefix);
    put_text(out, &name);
    out.put("\">");
    put_text(out, &name);
    out.put("</a></p>\n");
}

/// Writes text line by line where it is a diff, with its colours.
fn put_lines<O: Out>(out: &mut O, info: &str, text: &str) {
    if info != "diff" {
        return put_printed(out, text);
    }
    for line in text.split_inclusive('\n') {
        let class = match line.as_bytes().first() {
            Some(b'+') => "add",
            Some(b'-') => "del",
            _ => {
                put_text(out, line);
                continue;
            }
        };
        out.put("<span class=\"");
        out.put(class);
        out.put("\">");
        put_text(out, line);
        out.put("</span>");
    }
}

fn begin<O: Out>(out: &mut O, element: &str, turn: &Turn, state: &str, links: &PageLinks<'_>) {
    out.put("<");
    out.put(element);
    out.put(" class=\"turn ");
    out.put(turn.role.as_str());
    if !state.is_empty() {
        out.put(" ");
        out.put(state);
    }
    out.put("\" id=\"");
    put_anchor(out, links.key, turn);
    out.put("\">\n");
}

fn put_anchor<O: Out>(out: &mut O, key: &str, turn: &Turn) {
    out.put(key);
    out.put("-");
    out.put(&turn.number.to_string());
}

fn put_number<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    out.put("<a class=\"num\" href=\"#");
    put_anchor(out, links.key, turn);
    out.put("\">");
    out.put(&turn.number.to_string());
    out.put("</a>");
}

fn put_what<O: Out>(out: &mut O, what: &str) {
    if !what.is_empty() {
        out.put("<span class=\"what\">");
        put_text(out, what);
        out.put("</span> ");
    }
}

fn put_time<O: Out>(out: &mut O, at: Millis, written: fn(Millis) -> String) {
    if at != Millis::default() {
        out.put("<time>");
        out.put(&written(at));
        out.put("</time>");
    }
}

fn put_pictures<O: Out>(out: &mut O, turn: &Turn, links: &PageLinks<'_>) {
    if turn.visuals.is_empty() {
        return;
    }
    out.put("<div class=\"pictures\">\n");
    for name in &turn.visuals {
        match (links.picture)(name) {
            Some(address) => {
                // A picture in the page itself is no place to go to.
                let leads_on = !address.starts_with("data:");
                if leads_on {
                    out.put("<a href=\"");
                    put_text(out, &address);
                    out.put("\">");
                }
                out.put("<img loading=\"lazy\" alt=\"");
                put_text(out, name);
                out.put("\" src=\"");
                put_text(out, &address);
                out.put("\">");
                out.put(if leads_on { "</a>\n" } else { "\n" });
            }
            None => {
                out.put("<p class=\"empty\">the picture ");
                put_text(out, name);
                out.put(" is not on this machine</p>\n");
            }
        }
    }
    out.put("</div>\n");
}
