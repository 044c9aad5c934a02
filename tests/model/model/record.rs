//! What is written down of edits: a line of the log each, and what waits for the cloud.

use serde_json::{Map, Value, json};

use super::{Logged, MadeKind, Model, Subject};

impl Model {
    pub(super) fn note(&mut self, of: Subject, action: &'static str) {
        self.edits += 1;
        self.log.push(Logged { number: self.edits, of, action });
    }

    /// What is deleted or restored.
    pub(super) fn subject(&self, made: usize) -> Subject {
        match self.made[made].kind {
            MadeKind::Commit => Subject::Commit(self.made[made].commit),
            _ => Subject::Part(made),
        }
    }

    /// A deletion that was the beginning of a larger one is not told.
    pub(super) fn forget_deletion(&mut self, made: usize) {
        let of = self.subject(made);
        if let Some(last) = self.log.iter().rposition(|line| line.of == of && line.action == "delete") {
            self.log.remove(last);
        }
    }

    fn name_of(&self, of: Subject) -> String {
        match of {
            Subject::Commit(commit) => format!("commit {}", self.commits[commit].id),
            Subject::Project(_) => "project".to_owned(),
            // Their ids are not modelled.
            Subject::Part(made) if self.made[made].kind == MadeKind::Turn => "turn".to_owned(),
            Subject::Part(_) => "session".to_owned(),
        }
    }

    /// How many lines the log has, and those behind a number of edits, sorted.
    pub fn log_since(&self, number: u64) -> (usize, Vec<String>) {
        let new = self.log.iter().filter(|line| line.number > number);
        let mut new: Vec<String> = new.map(|line| format!("{} {}", self.name_of(line.of), line.action)).collect();
        new.sort();
        (self.log.len(), new)
    }

    pub fn edits(&self) -> u64 {
        self.edits
    }

    /// What waits for the cloud, a line a record, sorted: each field that is not what it was at first. Times and ids are not
    /// modelled: `true` stands for them.
    pub fn waiting(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (at, c) in self.commits.iter().enumerate() {
            let fields = [
                ("title", c.title.is_some(), json!(c.title)),
                ("tags", !c.tags.is_empty(), json!(c.tags)),
                ("hidden", c.hidden, json!(true)),
                ("published", c.published, json!(true)),
                ("order", c.order != 0, json!(c.order)),
                ("note", !c.note.is_empty(), json!(c.note)),
                ("project", c.project != self.first.1[at], json!(true)),
                ("deleted_at", self.is_deleted(at), json!(true)),
            ];
            let changed = fields.into_iter().filter(|(_, differs, _)| *differs);
            let fields: Map<String, Value> = changed.map(|(name, _, value)| (name.to_owned(), value)).collect();
            if !fields.is_empty() {
                lines.push(format!("{} {}", self.name_of(Subject::Commit(at)), Value::Object(fields)));
            }
        }
        for (at, (name, first)) in self.projects.iter().zip(&self.first.0).enumerate() {
            if name != first {
                lines.push(format!("{} {}", self.name_of(Subject::Project(at)), json!({ "name": name })));
            }
        }
        let deleted = |(_, made): &(usize, &super::Made)| made.deleted && made.kind != MadeKind::Commit;
        for (at, _) in self.made.iter().enumerate().filter(deleted) {
            lines.push(format!("{} {}", self.name_of(Subject::Part(at)), json!({ "deleted_at": true })));
        }
        lines.sort();
        lines
    }
}
