//! Words of a text as the index has them (FTS5's `unicode61`: runs of letters and digits, without case and diacritics), and where
//! the phrases of a query stand in it. Pure.
//!
//! The index is asked which turns fit; this marks and weighs what was found, so that where Unicode's tables differ between the
//! two, a mark is missing and nothing else.

use std::borrow::Cow;
use std::ops::Range;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::query::Phrase;

/// Private characters, of which the index's own words are made (`store::search`): none comes in from a query.
#[must_use]
pub fn is_mark(c: char) -> bool {
    matches!(c, '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..='\u{10ffff}')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || (!c.is_ascii() && is_combining_mark(c))
}

/// Where the words of a text are.
pub fn spans(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = boundary(text, at, true)?;
        at = boundary(text, start, false).unwrap_or(text.len());
        Some(start..at)
    })
}

/// The first place from one on where a word is, or where none is. Looks at bytes as long as they are ASCII, which most are.
fn boundary(text: &str, mut at: usize, wants_word: bool) -> Option<usize> {
    let bytes = text.as_bytes();
    loop {
        let byte = *bytes.get(at)?;
        let (is_word, width) = if byte.is_ascii() {
            (byte.is_ascii_alphanumeric(), 1)
        } else {
            let c = text[at..].chars().next()?;
            (is_word(c), c.len_utf8())
        };
        if is_word == wants_word {
            return Some(at);
        }
        at += width;
    }
}

/// A word as it is compared.
#[must_use]
pub fn fold(word: &str) -> Cow<'_, str> {
    if word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Cow::Borrowed(word);
    }
    if word.is_ascii() {
        return Cow::Owned(word.to_ascii_lowercase());
    }
    Cow::Owned(word.nfd().filter(|c| !is_combining_mark(*c)).flat_map(char::to_lowercase).collect())
}

/// The words of a text as they are compared.
#[must_use]
pub fn folded(text: &str) -> Vec<String> {
    spans(text).map(|span| fold(&text[span]).into_owned()).collect()
}

/// A text with its words, to look for phrases in.
pub struct Text<'a> {
    text: &'a str,
    spans: Vec<Range<usize>>,
}

impl<'a> Text<'a> {
    /// Finds the words.
    #[must_use]
    pub fn new(text: &'a str) -> Self {
        Self { text, spans: spans(text).collect() }
    }

    /// How many words it has.
    #[must_use]
    pub fn words(&self) -> usize {
        self.spans.len()
    }

    /// How often each of the phrases stands in it.
    #[must_use]
    pub fn counts(&self, phrases: &[&Phrase]) -> Vec<u32> {
        let mut counts = vec![0; phrases.len()];
        self.each(phrases, &mut |phrase, _| counts[phrase] += 1);
        counts
    }

    /// Where phrases stand, in order and apart from each other.
    #[must_use]
    pub fn places(&self, phrases: &[&Phrase]) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        self.each(phrases, &mut |_, place| found.push(place));
        found.sort_by_key(|place: &Range<usize>| (place.start, place.end));
        let mut apart: Vec<Range<usize>> = Vec::with_capacity(found.len());
        for place in found {
            match apart.last_mut() {
                Some(last) if place.start <= last.end => last.end = last.end.max(place.end),
                _ => apart.push(place),
            }
        }
        apart
    }

    fn each(&self, phrases: &[&Phrase], found: &mut dyn FnMut(usize, Range<usize>)) {
        for (at, first) in self.spans.iter().enumerate() {
            let word = &self.text[first.clone()];
            for (number, phrase) in phrases.iter().enumerate() {
                let Some((beginning, rest)) = phrase.words.split_first() else { continue };
                if !fits(word, beginning, phrase.prefix && rest.is_empty()) {
                    continue;
                }
                let behind = self.spans.get(at + 1..at + phrase.words.len()).unwrap_or_default();
                let all_fit = behind.len() == rest.len()
                    && rest.iter().zip(behind).enumerate().all(|(n, (wanted, span))| {
                        fits(&self.text[span.clone()], wanted, phrase.prefix && n + 1 == rest.len())
                    });
                if all_fit {
                    found(number, first.start..behind.last().map_or(first.end, |last| last.end));
                }
            }
        }
    }
}

/// Whether a word of a text is what is wanted, which is folded.
fn fits(word: &str, wanted: &str, prefix: bool) -> bool {
    if !word.is_ascii() {
        let word = fold(word);
        return if prefix { word.starts_with(wanted) } else { word == wanted };
    }
    let same_length = if prefix { word.len() >= wanted.len() } else { word.len() == wanted.len() };
    same_length && word.as_bytes()[..wanted.len()].eq_ignore_ascii_case(wanted.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn the_words_of_any_text_lie_between_what_is_none(text in "(\\PC|a|é|日|\u{301}| ){0,60}") {
            let whole: String = spans(&text).map(|span| text[span].to_owned()).collect();
            let kept: String = text.chars().filter(|c| is_word(*c)).collect();
            proptest::prop_assert_eq!(whole, kept);
        }
    }

    fn phrase(text: &str, prefix: bool) -> Phrase {
        Phrase { text: text.to_owned(), words: folded(text), prefix }
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_without_case_and_accents() {
        assert_eq!(folded("read_file(Größe, 42) — Café's"), ["read", "file", "große", "42", "cafe", "s"]);
        assert_eq!(folded("e\u{301}te\u{301} 日本 -> \u{e000}x"), ["ete", "日本", "x"]);
        assert!(folded("-> () …").is_empty());
    }

    #[test]
    fn phrases_are_found_whole_and_beginnings_at_their_end_alone() {
        let text = "Open the open-redirect: OPEN REDIRECTS, opened redirect";
        let of = |text: &str| Text::new(text).words();
        assert_eq!(of(text), 8);
        let found = |p: &Phrase| -> Vec<&str> { Text::new(text).places(&[p]).into_iter().map(|r| &text[r]).collect() };
        assert_eq!(found(&phrase("open redirect", false)), ["open-redirect"]);
        assert_eq!(found(&phrase("open redirect", true)), ["open-redirect", "OPEN REDIRECTS"]);
        assert_eq!(found(&phrase("open", true)), ["Open", "open", "OPEN", "opened"]);
        let both = [&phrase("open", false), &phrase("open redirect", false)];
        assert_eq!(Text::new(text).counts(&both), [3, 1]);
        assert_eq!(Text::new(text).places(&both).len(), 3, "what lies over each other is one place");
    }
}
