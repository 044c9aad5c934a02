//! Titles out of prompts. Pure.

/// Characters of a title at the most: a line of a listing.
const MAX_CHARS: usize = 80;

/// The first sentence of a prompt; `None` when there is none to take.
#[must_use]
pub fn first_sentence(prompt: &str) -> Option<String> {
    let text = without_leading_tags(prompt);
    let line = text.lines().map(str::trim).find(|l| l.chars().any(char::is_alphanumeric))?;
    // Markdown's marks for headings, lists and quotes are no part of a sentence.
    let line = line.trim_start_matches(['#', '>', '*', '-', ' ']);
    let sentence = sentence_end(line).map_or(line, |end| &line[..end]);
    Some(shorten(sentence.trim_end_matches(['.', ':', ' '])))
}

/// Where the first sentence ends: at a stop that white space follows, so that `v1.2` and `main.rs` stay whole.
fn sentence_end(line: &str) -> Option<usize> {
    let mut chars = line.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let ends = matches!(c, '.' | '?' | '!') && chars.peek().is_some_and(|(_, next)| next.is_whitespace());
        // "e.g. this" and "1. that" are no sentences.
        if ends && line[..at].chars().filter(|c| c.is_alphanumeric()).count() > 3 {
            return Some(at + c.len_utf8());
        }
        if matches!(c, '。' | '！' | '？') {
            return Some(at + c.len_utf8());
        }
    }
    None
}

/// Cuts at a word's end and says so.
#[must_use]
pub fn shorten(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= MAX_CHARS {
        return text;
    }
    let cut: String = text.chars().take(MAX_CHARS - 1).collect();
    let end = cut.rfind(' ').filter(|end| *end > MAX_CHARS / 2).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end())
}

/// An editor's notes stand before the prompt in tags: `<ide_opened_file>…</ide_opened_file>fix this`.
fn without_leading_tags(text: &str) -> &str {
    let mut rest = text.trim_start();
    while let Some(after) = rest.strip_prefix('<') {
        let Some(name_end) = after.find(['>', ' ', '\n']) else { break };
        let close = format!("</{}>", &after[..name_end]);
        let Some(at) = rest.find(&close) else { break };
        let next = rest[at + close.len()..].trim_start();
        if next.is_empty() {
            break;
        }
        rest = next;
    }
    rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_sentence_is_taken() {
        for (prompt, title) in [
            ("Fix the login redirect. It loops.", "Fix the login redirect"),
            ("why does main.rs v1.2 crash? thanks", "why does main.rs v1.2 crash?"),
            ("\n\n# Plan\nfirst do x", "Plan"),
            ("1. do this\n2. do that", "1. do this"),
            ("<ide_opened_file>a.rs</ide_opened_file>explain it", "explain it"),
            ("ログインを直して。あとで", "ログインを直して。"),
        ] {
            assert_eq!(first_sentence(prompt).as_deref(), Some(title), "{prompt:?}");
        }
    }

    #[test]
    fn a_prompt_without_words_has_no_title() {
        assert_eq!(first_sentence(" \n--- !!\n"), None);
    }

    proptest! {
        #[test]
        fn a_title_is_one_short_line(prompt in "(?s).{0,300}") {
            if let Some(title) = first_sentence(&prompt) {
                prop_assert!(title.chars().count() <= MAX_CHARS);
                prop_assert!(!title.contains('\n'));
            }
        }
    }
}
