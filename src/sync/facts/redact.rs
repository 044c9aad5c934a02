//! Where secrets are taken out of what leaves. What is a secret is not decided here.

use std::borrow::Cow;

use crate::model::Id;

/// Takes secrets out of texts: of turns, of raw records, and of titles.
pub trait Redact: Sync {
    /// The text as it may leave. `project` is where it was found.
    fn text<'a>(&self, project: &Id, text: &'a str) -> Cow<'a, str>;

    /// The same of a raw record, a line of JSON: of its strings.
    fn record<'a>(&self, project: &Id, line: &'a str) -> Cow<'a, str> {
        self.text(project, line)
    }

    /// Whether it leaves every text as it is, so that stored lengths are those of what leaves.
    fn is_identity(&self) -> bool {
        false
    }
}

/// Takes nothing out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Redact for Nothing {
    fn text<'a>(&self, _: &Id, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }

    fn is_identity(&self) -> bool {
        true
    }
}
