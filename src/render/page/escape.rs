//! Text into HTML: nothing of a transcript is markup of its page.

use super::super::out::Out;

/// Writes text as text, in an element or in an attribute between double quotes.
pub(super) fn put_text<O: Out>(out: &mut O, mut text: &str) {
    while let Some(at) = text.bytes().position(|byte| matches!(byte, b'<' | b'>' | b'&' | b'"')) {
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
