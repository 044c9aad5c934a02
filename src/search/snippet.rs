//! A line of a turn around what was found in it. Pure.

use std::ops::Range;

use super::query::Phrase;
use super::words::Text;

/// Bytes of text before the first mark, and in all, about.
const BEFORE: usize = 40;
const LENGTH: usize = 180;

/// A part of a snippet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    pub text: String,
    /// It is what was searched for.
    pub is_match: bool,
}

/// The line of some texts where most of the phrases stand; of the first text that has one of them. White space is one blank.
#[must_use]
pub fn snippet(texts: [&str; 3], phrases: &[&Phrase]) -> Vec<Piece> {
    let found = texts.into_iter().find_map(|text| {
        let places = Text::new(text).places(phrases);
        (!places.is_empty()).then_some((text, places))
    });
    let (text, places) = found.unwrap_or_else(|| {
        let first = texts.into_iter().find(|text| !text.trim().is_empty()).unwrap_or_default();
        (first, Vec::new())
    });
    let window = window(text, &places);
    pieces(text, &window, &places)
}

/// Where the most phrases are near each other.
fn window(text: &str, places: &[Range<usize>]) -> Range<usize> {
    let near =
        |(n, first): (usize, &Range<usize>)| places[n..].iter().take_while(|p| p.end <= first.start + LENGTH).count();
    let best = places.iter().enumerate().max_by_key(|(n, first)| (near((*n, first)), usize::MAX - n));
    let Some((_, first)) = best else {
        let start = text.len() - text.trim_start().len();
        return start..text.floor_char_boundary(start + LENGTH);
    };
    let start = text.floor_char_boundary(first.start.saturating_sub(BEFORE));
    // From the beginning of a word on.
    let start = match text[start..first.start].find(char::is_whitespace) {
        Some(blank) if start > 0 => start + blank,
        _ => start,
    };
    start..text.floor_char_boundary((start + LENGTH).max(first.end.min(start + 2 * LENGTH)))
}

fn pieces(text: &str, window: &Range<usize>, places: &[Range<usize>]) -> Vec<Piece> {
    let mut out: Vec<Piece> = Vec::new();
    let mut push = |part: &str, is_match: bool| {
        if part.is_empty() {
            return;
        }
        match out.last_mut() {
            Some(last) if last.is_match == is_match => last.text.push_str(part),
            _ => out.push(Piece { text: part.to_owned(), is_match }),
        }
    };
    if !text[..window.start].trim().is_empty() {
        push("…", false);
    }
    let mut at = window.start;
    for place in places.iter().filter(|p| p.end > window.start && p.start < window.end) {
        push(&blanks(&text[at..place.start.clamp(at, window.end)]), false);
        at = place.end.clamp(at, window.end);
        push(&blanks(&text[place.start.max(window.start)..at]), true);
    }
    push(&blanks(&text[at..window.end]), false);
    if !text[window.end..].trim().is_empty() {
        push("…", false);
    }
    if let Some(first) = out.first_mut() {
        first.text = first.text.trim_start().to_owned();
    }
    if let Some(last) = out.last_mut() {
        last.text = last.text.trim_end().to_owned();
    }
    out
}

/// White space as one blank.
fn blanks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !c.is_whitespace() => out.push(c),
            _ if out.ends_with(' ') => {}
            _ => out.push(' '),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Millis;
    use crate::search::parse;

    fn shown(query: &str, texts: [&str; 3]) -> String {
        let query = parse(query, Millis(0)).unwrap();
        let phrases = query.words.as_ref().map(crate::search::Words::wanted).unwrap_or_default();
        let mark = |p: Piece| if p.is_match { format!("[{}]", p.text) } else { p.text };
        snippet(texts, &phrases).into_iter().map(mark).collect()
    }

    #[test]
    fn a_snippet_is_the_line_around_what_was_found() {
        assert_eq!(shown("login", ["The\n\n  login page", "", ""]), "The [login] page");
        assert_eq!(shown("fix*", ["", "", "a fixed point"]), "a [fixed] point");
        let long = format!("{} the checkout forgets its login page {}", "word ".repeat(50), "more ".repeat(100));
        let line = shown("login checkout", [&long, "", ""]);
        assert!(line.starts_with("… word") && line.contains("[checkout] forgets its [login]"), "{line}");
        assert!(line.ends_with('…') && line.len() < 260, "{line}");
        assert_eq!(shown("role:user", ["  Hello\nthere", "", ""]), "Hello there");
    }

    proptest! {
        #[test]
        fn any_text_has_one(text in "(\\PC|\\s|é|日|login){0,120}", more in ".{0,400}") {
            let whole = format!("{text}login{more}");
            let line = shown("login OR log*", [&whole, &text, ""]);
            prop_assert!(!line.contains('\n'));
        }
    }
}
