//! Text into HTML: nothing of a transcript is markup of its page.

use super::super::out::Out;

/// Writes text as text, in an element or in an attribute between double quotes.
pub(super) fn put_text<O: Out>(out: &mut O, mut text: &str) {
    while let Some(at) = first_mark(text.as_bytes()) {
        out.put(&text[..at]);
        out.put(match text.as_bytes()[at] {
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'&' => "&amp;",
            _ => "&quot;",
        });
        text = &text[at + 1..];
    }
    out.put(text);
}

/// Where the first character is that means something in HTML. In pieces without a way out, which are looked at many bytes at a time.
fn first_mark(text: &[u8]) -> Option<usize> {
    let is_mark = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | b'"');
    let mut before = 0;
    for piece in text.chunks(32) {
        if piece.iter().fold(false, |found, byte| found | is_mark(byte)) {
            return piece.iter().position(is_mark).map(|at| before + at);
        }
        before += piece.len();
    }
    None
}

/// Writes what a program printed: its colours (ECMA-48, 5.4: ESC, `[`, parameters, a final letter) would be noise here. The turn's
/// own file has them.
pub(super) fn put_printed<O: Out>(out: &mut O, mut text: &str) {
    while let Some(at) = text.find("\u{1b}[") {
        put_text(out, &text[..at]);
        let behind = &text[at + 2..];
        let parameters = behind.bytes().take_while(|byte| matches!(byte, 0x20..=0x3f)).count();
        let is_whole = behind.as_bytes().get(parameters).is_some_and(|byte| matches!(byte, 0x40..=0x7e));
        text = &behind[parameters + usize::from(is_whole)..];
    }
    put_text(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_markup_is_made_of_is_spelled_out() {
        let mut out = String::new();
        put_text(&mut out, "a<b>&\"é\"'</script>");
        assert_eq!(out, "a&lt;b&gt;&amp;&quot;é&quot;'&lt;/script&gt;");
    }

    #[test]
    fn colours_are_left_out_and_all_else_stays() {
        let mut out = String::new();
        put_printed(&mut out, "\u{1b}[1;31mred\u{1b}[0m <é> \u{1b}[");
        assert_eq!(out, "red &lt;é&gt; ");
    }
}
