//! Records as they leave: as they are, or without secrets. Pictures are not looked through, and hashes and ids stay.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::{Commit, Project, Session, Turn};
use crate::redact::{Redactor, Report};

/// Takes secrets out of records, where that is wanted, and counts them.
#[derive(Debug, Default)]
pub struct Clean {
    redactor: Option<Redactor>,
    report: Report,
}

impl Clean {
    /// Takes secrets out if `redacts`.
    #[must_use]
    pub fn new(redacts: bool) -> Self {
        Self { redactor: redacts.then_some(Redactor), report: Report::default() }
    }

    /// Whether it takes secrets out.
    #[must_use]
    pub fn redacts(&self) -> bool {
        self.redactor.is_some()
    }

    /// How many of each kind were taken out.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.report.counts()
    }

    pub(super) fn text(&mut self, text: &mut String) {
        if let Some(redactor) = self.redactor
            && let Cow::Owned(clean) = redactor.text(text, &mut self.report)
        {
            *text = clean;
        }
    }

    fn maybe(&mut self, text: &mut Option<String>) {
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn each(&mut self, texts: &mut [String]) {
        for text in texts {
            self.text(text);
        }
    }

    /// A line of a log.
    pub(super) fn record<'r>(&mut self, record: &'r [u8]) -> Cow<'r, [u8]> {
        let Some(redactor) = self.redactor else { return Cow::Borrowed(record) };
        let text = String::from_utf8_lossy(record);
        match redactor.record(&text, &mut self.report) {
            Cow::Owned(clean) => Cow::Owned(clean.into_bytes()),
            Cow::Borrowed(_) => Cow::Borrowed(record),
        }
    }

    /// The input of a call: JSON mostly, a text of some tools.
    fn input(&mut self, input: &mut String) {
        if serde_json::from_str::<serde::de::IgnoredAny>(input).is_err() {
            return self.text(input);
        }
        if let Cow::Owned(clean) = self.record(input.as_bytes())
            && let Ok(clean) = String::from_utf8(clean)
        {
            *input = clean;
        }
    }

    pub(super) fn project(&mut self, project: &mut Project) {
        for text in [&mut project.name, &mut project.dir_name] {
            self.text(text);
        }
        self.maybe(&mut project.remote);
        self.each(&mut project.paths);
    }

    pub(super) fn commit(&mut self, commit: &mut Commit) {
        for text in [&mut commit.title, &mut commit.dir_name, &mut commit.note] {
            self.text(text);
        }
        self.maybe(&mut commit.git_subject);
        self.each(&mut commit.tags);
    }

    pub(super) fn session(&mut self, session: &mut Session) {
        for text in [&mut session.title, &mut session.cwd, &mut session.git_branch, &mut session.subagent_kind] {
            self.maybe(text);
        }
    }

    pub(super) fn turn(&mut self, turn: &mut Turn) {
        self.text(&mut turn.text);
        if let Some(tool) = &mut turn.tool {
            self.input(&mut tool.input);
            self.text(&mut tool.output);
        }
    }
}
