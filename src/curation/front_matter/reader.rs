//! YAML as far as a `meta.md` has it: scalars, lists and mappings with their lines. Nothing is built and nothing recurses, so
//! nested input costs no stack; the parser itself stops at 255 open brackets.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::Refusal;

pub enum Item<'a> {
    Scalar(Scalar<'a>),
    /// Its items follow, and `End`.
    List(usize),
    /// Its keys and values follow, and `End`.
    Mapping(usize),
    /// The end of a list or a mapping.
    End,
}

pub struct Scalar<'a> {
    pub text: Cow<'a, str>,
    pub line: usize,
    /// Written without quotes, not as a block: `true`, `null` and numbers mean what they say.
    pub plain: bool,
    /// A comment follows on the line: for a plain text, perhaps a piece that was meant to belong to it.
    pub comment: bool,
}

impl Scalar<'_> {
    /// Null as YAML's core schema has it (YAML 1.2.2, section 10.3.2).
    pub fn is_null(&self) -> bool {
        self.plain && matches!(&*self.text, "" | "~" | "null" | "Null" | "NULL")
    }
}

pub struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    source: &'a str,
    /// A place in `source`, in characters and in bytes: the end of the last event. The parser counts characters.
    chars: usize,
    bytes: usize,
}

impl<'a> Reader<'a> {
    /// Reads up to the document's first item. `source` begins with the line `---`.
    pub fn new(source: &'a str) -> Result<Reader<'a>, Refusal> {
        let mut reader = Reader { events: Parser::new_from_str(source), source, chars: 0, bytes: 0 };
        reader.event()?;
        reader.event()?;
        Ok(reader)
    }

    pub fn item(&mut self) -> Result<Item<'a>, Refusal> {
        let (event, span) = self.event()?;
        let line = span.start.line();
        match event {
            Event::Alias(_) => Err(special(line)),
            Event::Scalar(_, _, anchor, ref tag)
            | Event::SequenceStart(anchor, ref tag)
            | Event::MappingStart(anchor, ref tag)
                if anchor != 0 || tag.is_some() =>
            {
                Err(special(line))
            }
            Event::Scalar(text, style, ..) => {
                let plain = style == ScalarStyle::Plain;
                let behind = if text.is_empty() { self.line_start(span) } else { self.advance(span) };
                let comment = plain && comment_follows(&self.source[behind..]);
                self.advance(span);
                Ok(Item::Scalar(Scalar { text, line, plain, comment }))
            }
            Event::SequenceStart(..) => Ok(Item::List(line)),
            Event::MappingStart(..) => Ok(Item::Mapping(line)),
            _ => Ok(Item::End),
        }
    }

    /// Reads the document's end.
    pub fn end(&mut self) -> Result<(), Refusal> {
        self.event()?;
        let (event, span) = self.event()?;
        if event == Event::StreamEnd {
            return Ok(());
        }
        Err(Refusal::new(
            span.start.line(),
            "a second YAML document begins here: the fields stand in one, and the line that closes it is `---` alone",
        ))
    }

    fn event(&mut self) -> Result<(Event<'a>, Span), Refusal> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(broken(&error, self.source)),
            None => Err(Refusal::new(1, "the front matter ends too early: write one `key: value` a line")),
        }
    }

    /// Goes on to the end of an event and says where that is, in bytes. Events end one behind the other, so that the whole way
    /// is gone once.
    fn advance(&mut self, span: Span) -> usize {
        let rest = &self.source[self.bytes..];
        let wanted = span.end.index().saturating_sub(self.chars);
        let (chars, bytes) = match rest.char_indices().nth(wanted) {
            Some((bytes, _)) => (wanted, bytes),
            None => (rest.chars().count(), rest.len()),
        };
        self.chars += chars;
        self.bytes += bytes;
        self.bytes
    }

    /// Where the line of an event without text begins, or the last event ends on it. The parser places a missing item of a list
    /// behind its comment.
    fn line_start(&mut self, span: Span) -> usize {
        let before = self.bytes;
        let at = self.advance(span);
        self.source[before..at].rfind('\n').map_or(before, |newline| before + newline + 1)
    }
}

/// Whether the line goes on with a comment, be there indicators in between.
fn comment_follows(behind: &str) -> bool {
    behind.trim_start_matches([' ', '\t', ',', ':', '-', '?']).starts_with('#')
}

fn special(line: usize) -> Refusal {
    Refusal::new(
        line,
        "`&`, `*` and `!` in front of a value are YAML's anchors, aliases and tags, which meta.md does not take: put the value in double quotes",
    )
}

fn broken(error: &ScanError, source: &str) -> Refusal {
    // `title: *very* much` names an anchor that is nowhere, `!a!b` a tag.
    if matches!(source.chars().nth(error.marker().index()), Some('&' | '*' | '!')) {
        return special(error.marker().line());
    }
    let last = source.lines().count().max(1);
    Refusal::new(
        error.marker().line().clamp(1, last),
        format!(
            "this is no valid YAML ({}): write one `key: value` a line, and put a value with `: `, ` #`, quotes, brackets or other signs in it in double quotes",
            error.info()
        ),
    )
}
