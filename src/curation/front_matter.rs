//! What a person saved as a commit's `meta.md`: the bytes to a [`Document`], or the line and the reason why not. Pure; the
//! counterpart of `render::meta_md`, whose every output it reads back. Which of the fields differ from the record, and whether
//! the project exists, is for the caller to find out.
//!
//! Nothing a person typed is dropped in silence: what YAML would swallow (`title: Fix #42` ends before the `#`) is refused.
//!
//! The file is a line `---`, a YAML mapping, a line `---` or `...`, and the note. A line of `---` or `...` ends the YAML wherever
//! it stands, in a quoted text too: that is how YAML 1.2.2 has it (section 9.1.2), so cutting the file at lines is exact.

mod fields;
mod reader;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod tests;

/// What a saved `meta.md` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    pub title: Field<String>,
    pub tags: Field<Vec<String>>,
    pub hidden: Field<bool>,
    pub published: Field<bool>,
    pub order: Field<i64>,
    /// The directory name of a project; `None` where the key is absent.
    pub project: Option<String>,
    /// The text below the front matter, without the blank line in front and the line ends behind.
    pub note: String,
}

/// One field of the front matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Field<T> {
    /// The key is not there: the record's value is left alone.
    #[default]
    Absent,
    /// `null`, `~` or nothing behind the key: back to what it is without curation.
    Cleared,
    Set(T),
}

/// Why a file is not taken for a `meta.md`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct Refusal {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what to write instead, in one sentence.
    pub reason: String,
}

impl Refusal {
    fn new(line: usize, reason: impl Into<String>) -> Refusal {
        Refusal { line, reason: reason.into() }
    }
}

/// Reads a `meta.md`. The time it takes and the memory it needs grow with the length alone: the caller sets the limit.
///
/// # Errors
/// If the bytes are no whole and valid `meta.md`.
pub fn parse(bytes: &[u8]) -> Result<Document, Refusal> {
    let parts = split(text(bytes)?)?;
    let mut document = fields::read(parts.yaml)?;
    document.note = note(parts.below, parts.line_ends);
    Ok(document)
}

/// The bytes as text, without a byte order mark. What interrupted saves leave (nothing, NUL bytes, half a character) is refused.
fn text(bytes: &[u8]) -> Result<&str, Refusal> {
    let line_of = |at: usize| 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    if bytes.is_empty() {
        return Err(Refusal::new(
            1,
            "the file is empty: begin it with a line `---`, the fields, and another line `---`",
        ));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(Refusal::new(
            line_of(at),
            "there is a NUL byte, as a save that was cut off leaves it: save the text again",
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Refusal::new(line_of(error.valid_up_to()), "this is not UTF-8: save the file in that encoding")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnds {
    Lf,
    CrLf,
}

struct Parts<'a> {
    /// The line `---` and all up to the closing line, so that YAML's lines are the file's.
    yaml: &'a str,
    /// What follows the closing line.
    below: &'a str,
    /// The first line's, which an editor gives to all of them.
    line_ends: LineEnds,
}

fn split(text: &str) -> Result<Parts<'_>, Refusal> {
    let mut lines = text.split_inclusive('\n');
    let first = lines.next().unwrap_or_default();
    if without_blanks(first) != "---" {
        return Err(Refusal::new(
            1,
            "there is no front matter: the first line is `---`, then come the fields, another `---`, and the note",
        ));
    }
    let line_ends = if first.ends_with("\r\n") { LineEnds::CrLf } else { LineEnds::Lf };
    let mut end = first.len();
    for line in lines {
        if matches!(without_blanks(line), "---" | "...") {
            let yaml = &text[..end];
            printable(yaml)?;
            return Ok(Parts { yaml, below: &text[end + line.len()..], line_ends });
        }
        end += line.len();
    }
    Err(Refusal::new(
        1,
        "the front matter that begins here is not closed: write a line `---` between the fields and the note",
    ))
}

/// An editor's leftover blanks behind a marker are no part of it.
fn without_blanks(line: &str) -> &str {
    line.trim_end_matches([' ', '\t', '\r', '\n'])
}

/// Refuses what YAML does not take as it is (YAML 1.2.2, section 5.1; the parser lets it pass), and a carriage return that ends
/// no line: YAML takes it for a line end, and no editor of today does.
fn printable(yaml: &str) -> Result<(), Refusal> {
    let unprintable =
        |c: &char| c.is_control() && !matches!(c, '\t' | '\u{85}') || matches!(c, '\u{fffe}' | '\u{ffff}');
    for (index, line) in yaml.split('\n').enumerate() {
        if let Some(c) = line.strip_suffix('\r').unwrap_or(line).chars().find(unprintable) {
            let reason = format!("there is a control character (U+{:04X}) in the line: delete it", u32::from(c));
            return Err(Refusal::new(index + 1, reason));
        }
    }
    Ok(())
}

/// The note as it is stored: what `render::meta_md` puts around it is taken off.
fn note(below: &str, line_ends: LineEnds) -> String {
    let below = match line_ends {
        LineEnds::Lf => below.to_owned(),
        LineEnds::CrLf => below.replace("\r\n", "\n"),
    };
    let note = below.strip_prefix('\n').or_else(|| below.strip_prefix("\r\n")).unwrap_or(&below);
    note.trim_end_matches(['\r', '\n']).to_owned()
}
