//! Markdown of a model as HTML. HTML in it is shown as the text it is; links lead to the web or nowhere; pictures are links, since
//! a page that loads them tells their server that it is read.

use std::fmt::{self, Write};

use pulldown_cmark::{Alignment, CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::super::out::Out;
use super::escape::put_text;

/// Longer texts are shown as they are written: a parsed text takes many times its length of memory, and nobody wrote it for people.
const MOST_BYTES: usize = 256 * 1024;

/// Writes the text.
pub(super) fn put_prose<O: Out>(out: &mut O, text: &str) {
    if text.len() > MOST_BYTES {
        out.put("<div class=\"said\" dir=\"auto\">");
        put_text(out, text);
        out.put("</div>\n");
        return;
    }
    out.put("<div class=\"prose\" dir=\"auto\">\n");
    put_markdown(out, text);
    out.put("</div>\n");
}

/// Writes the text without an element around it.
pub(super) fn put_markdown<O: Out>(out: &mut O, text: &str) {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut open = Vec::new();
    let events = Parser::new_ext(text, options).map(|event| inert(event, &mut open));
    // Writing fails where the sink does, and this one does not.
    let _ = html::write_html_fmt(Sink(out), events);
}

struct Sink<'o, O: Out>(&'o mut O);

impl<O: Out> Write for Sink<'_, O> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text);
        Ok(())
    }
}

/// How a link that is open ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Link,
    Span,
}

fn inert<'t>(event: Event<'t>, open: &mut Vec<Open>) -> Event<'t> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::HtmlBlock) => Event::Html("<div class=\"raw\">".into()),
        Event::End(TagEnd::HtmlBlock) => Event::Html("</div>\n".into()),
        Event::Start(Tag::Heading { level, .. }) => {
            Event::Start(Tag::Heading { level: below(level), id: None, classes: Vec::new(), attrs: Vec::new() })
        }
        Event::End(TagEnd::Heading(level)) => Event::End(TagEnd::Heading(below(level))),
        // Alignment would be a style of its own, which the page allows none.
        Event::Start(Tag::Table(columns)) => Event::Start(Tag::Table(vec![Alignment::None; columns.len()])),
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => begin_link(dest_url, open),
        Event::End(TagEnd::Link | TagEnd::Image) => match open.pop() {
            Some(Open::Link) => Event::End(TagEnd::Link),
            _ => Event::InlineHtml("</span>".into()),
        },
        other => other,
    }
}

fn begin_link<'t>(to: CowStr<'t>, open: &mut Vec<Open>) -> Event<'t> {
    // A picture in a link is a link in a link, which HTML has none of.
    if leads_to_the_web(&to) && !open.contains(&Open::Link) {
        open.push(Open::Link);
        let (title, id) = (CowStr::from(""), CowStr::from(""));
        return Event::Start(Tag::Link { link_type: pulldown_cmark::LinkType::Inline, dest_url: to, title, id });
    }
    open.push(Open::Span);
    let mut span = "<span title=\"".to_owned();
    put_text(&mut span, &to);
    span.push_str("\">");
    Event::InlineHtml(span.into())
}

fn leads_to_the_web(address: &str) -> bool {
    let begins = |scheme: &str| address.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    ["https://", "http://", "mailto:"].into_iter().any(begins)
}

/// The headings of a turn stand below the page's own.
fn below(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 => HeadingLevel::H4,
        HeadingLevel::H2 => HeadingLevel::H5,
        _ => HeadingLevel::H6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        let mut out = String::new();
        put_markdown(&mut out, text);
        out
    }

    #[test]
    fn markdown_becomes_html() {
        assert_eq!(html("# One\n\nA *b* `c<d`."), "<h4>One</h4>\n<p>A <em>b</em> <code>c&lt;d</code>.</p>\n");
        assert_eq!(html("```rs\nx<y\n```"), "<pre><code class=\"language-rs\">x&lt;y\n</code></pre>\n");
        let table = html("|a|b|\n|:-:|-|\n|1|2|\n");
        assert!(table.contains("<td>1</td>") && !table.contains("style"), "{table}");
        assert!(html("[site](https://example.org/?a=1&b=\"2\")").contains("<a href=\"https://example.org/?a=1&amp;b="));
    }

    #[test]
    fn nothing_of_it_runs_or_loads() {
        for text in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "<div onclick='x()'>\n\n**b**</div>",
            "</style><style>*{}</style>",
            "<!-- c --><iframe src=https://example.org></iframe>",
            "<svg/onload=alert(1)>",
            "```\"><script>alert(1)</script>\nx\n```",
        ] {
            let html = html(text);
            for tag in ["<script", "<img", "<iframe", "<style", "<svg", "<div on", "</style"] {
                assert!(!html.contains(tag), "{text:?} became {html:?}");
            }
        }
    }

    #[test]
    fn links_lead_to_the_web_or_nowhere() {
        for to in [
            "javascript:alert(1)",
            "JaVaScript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
            "src/a.rs",
            "#x",
        ] {
            let linked = html(&format!("[text](<{to}>) ![alt](<{to}>)"));
            assert!(!linked.contains("<a ") && !linked.contains("<img"), "{to}: {linked}");
            assert!(linked.contains("text") && linked.contains("alt"), "{linked}");
        }
        let picture = html("![alt](https://example.org/p.png)");
        assert_eq!(picture, "<p><a href=\"https://example.org/p.png\">alt</a></p>\n");
        let both = html("[![alt](https://a.example/p.png)](https://b.example)");
        assert_eq!(both.matches("<a ").count(), 1, "{both}");
        assert_eq!(both.matches("</a>").count(), 1, "{both}");
    }
}
