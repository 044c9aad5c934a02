//! The Markdown everything is built of: fences that hold any text, excerpts, folding, and guards that keep what a text
//! leaves open from swallowing what comes after it.

use super::out::Out;

/// Writes text verbatim and ends its last line.
pub(super) fn put_lines<O: Out>(out: &mut O, text: &str) {
    out.put(text);
    if !text.is_empty() && !text.ends_with('\n') {
        out.put("\n");
    }
}

/// Writes a fenced block that holds the texts verbatim, one after the other, whatever backticks they contain.
pub(super) fn put_fenced<O: Out>(out: &mut O, info: &str, texts: &[&str]) {
    let fence = "`".repeat(texts.iter().map(|t| longest_run(t, '`') + 1).max().unwrap_or(0).max(3));
    out.put(&fence);
    out.put(info);
    out.put("\n");
    for text in texts {
        put_lines(out, text);
    }
    out.put(&fence);
    out.put("\n");
}

/// Writes what a `<details>` opens with; the blank line makes Markdown render inside. Closed by [`DETAILS_END`].
pub(super) fn put_details<O: Out>(out: &mut O, summary: &str) {
    out.put("<details><summary>");
    out.put(&html_text(summary));
    out.put("</summary>\n\n");
}

/// Ends what [`put_details`] began.
pub(super) const DETAILS_END: &str = "</details>\n\n";

/// Writes the links to pictures, one a line.
pub(super) fn put_visuals<O: Out>(out: &mut O, names: &[String], visual_prefix: &str) {
    for name in names {
        out.put("![");
        out.put(name);
        out.put("](");
        out.visual_prefix(visual_prefix);
        out.put(name);
        out.put(")\n");
    }
}

/// The text as inline code, whatever backticks it contains. It must be one line.
pub(super) fn code(text: &str) -> String {
    let ticks = "`".repeat(if text.contains('`') { longest_run(text, '`') + 1 } else { 1 });
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    [&ticks, pad, text, pad, &ticks].concat()
}

/// The text on one line, safe inside a heading: Claude Code's model `<synthetic>` must not become an HTML tag.
pub(super) fn plain(text: &str) -> String {
    let line = one_line(text);
    if line.contains('<') { line.replace('<', "\\<") } else { line }
}

/// The text with each run of white space and control characters as one space.
pub(super) fn one_line(text: &str) -> String {
    if is_one_line(text) {
        return text.to_owned();
    }
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The text on one line, as text of a page; `default` where there is none.
pub(super) fn plain_or(text: &str, default: &str) -> String {
    let line = one_line(text);
    if line.is_empty() { default.to_owned() } else { line }
}

/// True of most names, and found out at a glance. What is not plain ASCII is looked at more closely.
fn is_one_line(text: &str) -> bool {
    let mut before = b' ';
    let fits = text.bytes().all(|byte| {
        let doubled = byte == b' ' && before == b' ';
        before = byte;
        matches!(byte, b' '..=b'~') && !doubled
    });
    fits && (text.is_empty() || before != b' ')
}

fn html_text(text: &str) -> String {
    one_line(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// How often the mark, an ASCII character, stands in a row at the most.
fn longest_run(text: &str, mark: char) -> usize {
    let (mut longest, mut rest) = (0, text);
    // A search for one character skips what is between in large steps.
    while let Some(at) = rest.find(mark) {
        let found = &rest[at..];
        rest = found.trim_start_matches(mark);
        longest = longest.max(found.len() - rest.len());
    }
    longest
}

/// `512 B`, `1.2 KB`, `3.4 MB`: in thousands, as file managers count.
pub(super) fn size(bytes: usize) -> String {
    // Tenths, in whole numbers: the same text on every machine.
    let scaled = |unit: usize| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", scaled(1_000)),
        _ => format!("{} MB", scaled(1_000_000)),
    }
}

/// `1 line`, `12 lines`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many lines the text has.
pub(super) fn line_count(text: &str) -> usize {
    let ended = text.bytes().filter(|b| *b == b'\n').count();
    ended + usize::from(!text.is_empty() && !text.ends_with('\n'))
}

/// The start and the end of a text too long to be shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Excerpt<'a> {
    pub head: &'a str,
    pub tail: &'a str,
}

const HEAD_LINES: usize = 20;
const HEAD_BYTES: usize = 1_500;
const TAIL_LINES: usize = 5;
const TAIL_BYTES: usize = 400;

/// The first 20 and the last 5 lines, fewer where they are long. The text must exceed both together.
pub(super) fn excerpt(text: &str) -> Excerpt<'_> {
    let head = prefix(text, HEAD_LINES, HEAD_BYTES);
    Excerpt { head, tail: suffix(&text[head.len()..], TAIL_LINES, TAIL_BYTES) }
}

/// Whole lines from the start within both limits; a first line too long for them is cut.
fn prefix(text: &str, lines: usize, bytes: usize) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n').take(lines) {
        if end + line.len() > bytes {
            return if end == 0 { &text[..floor(text, bytes)] } else { &text[..end] };
        }
        end += line.len();
    }
    &text[..end]
}

/// Whole lines at the end within both limits; a last line too long for them is cut.
fn suffix(text: &str, lines: usize, bytes: usize) -> &str {
    let mut start = text.len();
    for line in text.split_inclusive('\n').rev().take(lines) {
        if text.len() - start + line.len() > bytes {
            let cut = text.len() - bytes;
            return if start == text.len() { &text[ceil(text, cut)..] } else { &text[start..] };
        }
        start -= line.len();
    }
    &text[start..]
}

/// The last character boundary not after `index`.
pub(super) fn floor(text: &str, index: usize) -> usize {
    (0..=index.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0)
}

fn ceil(text: &str, index: usize) -> usize {
    (index..text.len()).find(|&i| text.is_char_boundary(i)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_is_longer_than_any_run_of_backticks_inside() {
        let mut out = String::new();
        put_fenced(&mut out, "text", &["a ```` b"]);
        assert_eq!(out, "`````text\na ```` b\n`````\n");
    }

    #[test]
    fn inline_code_holds_backticks() {
        assert_eq!(code("git status"), "`git status`");
        assert_eq!(code("echo `date`"), "`` echo `date` ``");
    }

    #[test]
    fn a_line_has_single_spaces_between_its_words() {
        for (text, line) in [
            ("", ""),
            (" ", ""),
            ("a b", "a b"),
            (" a b", "a b"),
            ("a b ", "a b"),
            ("a  b", "a b"),
            ("a\tb\x7fc", "a b c"),
            ("ü\u{a0}\u{2003}x\n", "ü x"),
        ] {
            assert_eq!(one_line(text), line, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(size(999), "999 B");
        assert_eq!(size(12_345), "12.3 KB");
        assert_eq!(size(3_400_000), "3.4 MB");
        assert_eq!(count(1, "line", "lines"), "1 line");
    }

    #[test]
    fn an_excerpt_takes_whole_lines_from_both_ends() {
        let text: String = (1..=100).map(|n| format!("{n}\n")).collect();
        let Excerpt { head, tail } = excerpt(&text);
        assert!(head.starts_with("1\n2\n") && head.ends_with("\n20\n"), "{head}");
        assert_eq!(tail, "96\n97\n98\n99\n100\n");
    }

    #[test]
    fn an_excerpt_of_one_long_line_is_cut_between_characters() {
        let text = "é".repeat(5_000);
        let Excerpt { head, tail } = excerpt(&text);
        assert_eq!((head.len(), tail.len()), (HEAD_BYTES, TAIL_BYTES));
        let text = format!("x{text}");
        let Excerpt { head, tail } = excerpt(&text);
        assert_eq!((head.len(), tail.len()), (HEAD_BYTES - 1, TAIL_BYTES));
    }
}
