//! What a Markdown text leaves open at its end, so that it can be closed before the next turn begins.
//!
//! People paste half a log with one fence in it; without a guard the rest of the transcript would be shown as code. Follows
//! the block structure of CommonMark 0.31 (sections 4.5, 4.6, 5.1, 5.2) as far as it matters here: a fence inside a list item
//! or a quotation ends with it, so only what stands outside of them can swallow the text after.

/// The line that closes the fence or the HTML block that the text leaves open; `None` when it leaves none.
pub(super) fn closing_line(text: &str) -> Option<String> {
    // Nothing to find in most turns: spares them the walk.
    if !has_any_mark(text) {
        return None;
    }
    let has = |mark: char, run: &str| text.contains(mark) && text.contains(run);
    if !has('`', "```") && !has('~', "~~~") && !text.contains('<') {
        return None;
    }
    let mut open: Option<Open> = None;
    let mut items: Vec<usize> = Vec::new();
    for line in text.split(['\n', '\r']) {
        let Some(mut line) = Line::new(line) else { continue };
        // A line left of its list item ends the item, and the block with it.
        if let Some(block) = open.as_ref().filter(|block| line.indent >= block.column) {
            if block.ends_with(&line) {
                open = None;
            }
            continue;
        }
        while items.last().is_some_and(|column| line.indent < *column) {
            items.pop();
        }
        while let Some(item) = line.list_item(items.last().copied().unwrap_or(0)) {
            items.push(item.indent);
            line = item;
        }
        let column = items.last().copied().unwrap_or(0);
        open = Open::by(&line, column).filter(|block| block.html_is_open_after(line.rest));
    }
    open.filter(|block| block.column == 0).map(|block| block.closing_line())
}

/// Whether there is a mark that something could begin with. In pieces without a way out, which are looked at many bytes at a time.
fn has_any_mark(text: &str) -> bool {
    let is_mark = |byte: &u8| matches!(byte, b'`' | b'~' | b'<');
    text.as_bytes().chunks(64).any(|piece| piece.iter().fold(false, |found, byte| found | is_mark(byte)))
}

/// A line that is not blank, at the place where its text begins.
#[derive(Clone, Copy)]
struct Line<'a> {
    indent: usize,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn new(line: &'a str) -> Option<Self> {
        let rest = line.trim_start_matches([' ', '\t']);
        let blanks = &line[..line.len() - rest.len()];
        // A tab leads to the next multiple of four columns.
        let indent = blanks.bytes().fold(0, |column, byte| if byte == b'\t' { column / 4 * 4 + 4 } else { column + 1 });
        (!rest.is_empty()).then_some(Self { indent, rest })
    }

    /// What stands behind a list item's marker, if the line begins with one.
    fn list_item(&self, column: usize) -> Option<Self> {
        if self.indent >= column + 4 {
            return None;
        }
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let marker = match (digits, self.rest.as_bytes().get(digits)?) {
            (0, b'-' | b'*' | b'+') => 1,
            (1..=9, b'.' | b')') => digits + 1,
            _ => return None,
        };
        let behind = self.rest.get(marker..)?;
        let inner = Self::new(behind)?;
        match inner.indent {
            0 => None,
            // Five columns or more: code, one column behind the marker.
            5.. => Some(Self { indent: self.indent + marker + 1, rest: "" }),
            blanks => Some(Self { indent: self.indent + marker + blanks, rest: inner.rest }),
        }
    }
}

/// A block that goes on until a line ends it.
struct Open {
    kind: Kind,
    /// Where the text of the list item around it begins; 0 outside of lists.
    column: usize,
}

enum Kind {
    Fence {
        mark: char,
        length: usize,
    },
    /// HTML that ends with the first of these; closed by `close`.
    Html {
        ends: &'static [&'static str],
        close: String,
    },
}

const RAW_TAGS: [&str; 4] = ["script", "pre", "style", "textarea"];
const RAW_ENDS: &[&str] = &["</script>", "</pre>", "</style>", "</textarea>"];

impl Open {
    fn by(line: &Line<'_>, column: usize) -> Option<Self> {
        if line.indent >= column + 4 {
            return None;
        }
        let kind = Self::fence(line.rest).or_else(|| Self::html(line.rest))?;
        Some(Self { kind, column })
    }

    fn fence(rest: &str) -> Option<Kind> {
        let mark = rest.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = rest.trim_start_matches(mark);
        let length = rest.len() - info.len();
        (length >= 3 && !(mark == '`' && info.contains('`'))).then_some(Kind::Fence { mark, length })
    }

    fn html(rest: &str) -> Option<Kind> {
        let inner = rest.strip_prefix('<')?;
        let html = |ends, close: &str| Some(Kind::Html { ends, close: close.to_owned() });
        if inner.starts_with("!--") {
            return html(&["-->"], "-->");
        }
        if inner.starts_with('?') {
            return html(&["?>"], "?>");
        }
        if inner.starts_with("![CDATA[") {
            return html(&["]]>"], "]]>");
        }
        if inner.strip_prefix('!').is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic())) {
            return html(&[">"], ">");
        }
        let name: String = inner.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        let whole = inner[name.len()..].chars().next().is_none_or(|c| c == '>' || c.is_ascii_whitespace());
        if whole && RAW_TAGS.contains(&name.as_str()) { html(RAW_ENDS, &format!("</{name}>")) } else { None }
    }

    /// A fence is; HTML may end on the line it begins on.
    fn html_is_open_after(&self, rest: &str) -> bool {
        match &self.kind {
            Kind::Fence { .. } => true,
            Kind::Html { ends, .. } => !contains_any(rest, ends),
        }
    }

    fn ends_with(&self, line: &Line<'_>) -> bool {
        match &self.kind {
            Kind::Fence { mark, length } => {
                let behind = line.rest.trim_start_matches(*mark);
                line.indent < self.column + 4
                    && line.rest.len() - behind.len() >= *length
                    && behind.trim_matches([' ', '\t']).is_empty()
            }
            Kind::Html { ends, .. } => contains_any(line.rest, ends),
        }
    }

    fn closing_line(self) -> String {
        match self.kind {
            Kind::Fence { mark, length } => mark.to_string().repeat(length),
            Kind::Html { close, .. } => close,
        }
    }
}

fn contains_any(text: &str, ends: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    ends.iter().any(|end| text.contains(&end.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closes(text: &str) -> String {
        closing_line(text).unwrap_or_default()
    }

    #[test]
    fn an_open_fence_is_closed_by_its_own_kind() {
        assert_eq!(closes("look:\n```\nlog"), "```");
        assert_eq!(closes("`````md\n```\ninner\n```\n"), "`````");
        assert_eq!(closes("~~~\n```\n"), "~~~");
        assert_eq!(closes("\r```rust\rfn"), "```");
    }

    #[test]
    fn what_is_closed_or_never_opened_needs_nothing() {
        for text in ["", "```\na\n```", "```\na\n````  \n", "``` a ``` b", "    ```\n", "a ``` b", "a\n\n\t```\nb"] {
            assert_eq!(closing_line(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_fence_in_a_list_or_a_quotation_ends_with_it() {
        for text in [
            "- ```sh\n  ls\n  ```\n",
            "- ```sh\n  ls",
            "1. item\n\n   ```\n   code",
            "- a\n  - b\n    ```\n    code\n    ```\n",
            "> ```\n> quoted",
            "- ```\n  code\nend of the list",
        ] {
            assert_eq!(closing_line(text), None, "{text:?}");
        }
        assert_eq!(closes("- item\n\n```\nnot in the item"), "```");
    }

    #[test]
    fn html_that_reaches_to_the_end_of_the_page_is_closed() {
        assert_eq!(closes("<!-- a note"), "-->");
        assert_eq!(closes("<PRE>\n\nx"), "</pre>");
        assert_eq!(closes("<script src=x>\n"), "</script>");
        assert_eq!(closes("<?php\n\n"), "?>");
        for text in ["<!-- a -->", "<div>\n", "a < b", "<prefix>", "<pre>x</pre>", "text <!-- inline"] {
            assert_eq!(closing_line(text), None, "{text:?}");
        }
    }
}
