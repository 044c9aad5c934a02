//! What a saved `meta.md` changes: compared with what its editor was shown, so that what was changed meanwhile stays.

use rusqlite::Connection;
use serde_json::Value;

use super::front_matter::{Document, Field, Refusal};
use super::{CurationError, Edit, EntityKind, Result, Title};
use crate::model::{Commit, Millis};
use crate::store::commits::curated;
use crate::store::{commits, edits, projects};

/// Former states that a save is compared with.
const MOST_STATES: usize = 32;

/// What a `meta.md` said when it was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub title: String,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: i64,
    /// The directory's name.
    pub project: String,
    pub note: String,
}

impl Shown {
    /// What a commit's says now; `None` when there is no such commit.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn now(conn: &Connection, commit_row: i64) -> crate::store::Result<Option<Self>> {
        let Some(commit) = commits::get(conn, commit_row)? else { return Ok(None) };
        Ok(projects::get(conn, commit.project_row)?.map(|project| Self::of(commit, project.dir_name)))
    }

    /// What it said before each edit of the last day, the latest last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn history(conn: &Connection, commit_row: i64) -> crate::store::Result<Vec<Self>> {
        let Some(mut state) = Self::now(conn, commit_row)? else { return Ok(Vec::new()) };
        let yesterday = Millis(Millis::now().0 - 24 * 60 * 60 * 1000);
        let mut states = Vec::new();
        for edit in edits::since(conn, yesterday, Some((EntityKind::Commit, commit_row)))?.into_iter().take(MOST_STATES)
        {
            state.step_back(&edit.action, &edit.before);
            if edit.action == "move"
                && let Some(row) = edit.before.get("project_row").and_then(Value::as_i64)
                && let Some(project) = projects::get(conn, row)?
            {
                state.project = project.dir_name;
            }
            states.push(state.clone());
        }
        states.reverse();
        Ok(states)
    }

    /// Puts a field back to what it was before an edit.
    fn step_back(&mut self, action: &str, before: &Value) {
        let texts = |value: &Value| serde_json::from_value::<Vec<String>>(value.clone()).ok();
        match action {
            "retitle" => {
                // Without a title of a user's it was called as it was found.
                if let Some(title) = before["title"].as_str().or(before["found"].as_str()) {
                    title.clone_into(&mut self.title);
                }
            }
            "hidden" => self.hidden = before.as_bool().unwrap_or(self.hidden),
            "published" => self.published = before.as_bool().unwrap_or(self.published),
            "order" => self.order = before.as_i64().unwrap_or(self.order),
            "note" => before.as_str().unwrap_or(&self.note.clone()).clone_into(&mut self.note),
            "tags" => self.tags = texts(before).unwrap_or_else(|| self.tags.clone()),
            _ => {}
        }
    }

    fn of(commit: Commit, project: String) -> Self {
        Self {
            // As it is read back from what is rendered.
            title: commit.title.trim().to_owned(),
            tags: commit.tags,
            hidden: commit.hidden,
            published: commit.published,
            order: commit.display_order,
            project,
            note: commit.note,
        }
    }

    /// What somebody knows who read this as a document: a field that it leaves empty was empty.
    #[must_use]
    pub fn as_read(self, document: &Document) -> Self {
        fn read<T: Clone + Default + PartialEq>(field: &Field<T>, now: T) -> T {
            if *field == Field::Absent { now } else { value(field) }
        }
        Self {
            title: read(&document.title, self.title),
            tags: read(&document.tags, self.tags),
            hidden: read(&document.hidden, self.hidden),
            published: read(&document.published, self.published),
            order: read(&document.order, self.order),
            project: document.project.clone().unwrap_or(self.project),
            note: document.note.clone(),
        }
    }

    /// In how many fields a document says something else.
    fn distance(&self, document: &Document) -> usize {
        [
            is_other(&document.title, &self.title),
            is_other(&document.tags, &self.tags),
            is_other(&document.hidden, &self.hidden),
            is_other(&document.published, &self.published),
            is_other(&document.order, &self.order),
            document.project.as_ref().is_some_and(|project| *project != self.project),
            document.note != self.note,
        ]
        .into_iter()
        .filter(|differs| *differs)
        .count()
    }
}

/// What came of a save.
#[derive(Debug)]
pub enum Outcome {
    Edits(Vec<Edit>),
    Refused(Refusal),
}

/// Whether a field says something else. A cleared one does, unless nothing is there.
fn is_other<T: PartialEq + Default>(field: &Field<T>, shown: &T) -> bool {
    match field {
        Field::Absent => false,
        Field::Cleared => *shown != T::default(),
        Field::Set(value) => value != shown,
    }
}

fn value<T: Clone + Default>(field: &Field<T>) -> T {
    match field {
        Field::Set(value) => value.clone(),
        Field::Absent | Field::Cleared => T::default(),
    }
}

/// Whether a document says what the record says. One that leaves the title to be found does, where it is.
///
/// # Errors
/// When the database cannot be read.
pub fn says_the_record(conn: &Connection, commit: i64, document: &Document) -> Result<bool> {
    let (Some(record), Some(now)) = (commits::get(conn, commit)?, Shown::now(conn, commit)?) else { return Ok(false) };
    let found = document.title == Field::Cleared && curated::title(conn, &record)? == Title::Found;
    let titles = usize::from(found && !now.title.is_empty());
    Ok(now.distance(document) == titles)
}

/// The edits that a saved document stands for. `shown` are the states in which its editor may have read it, the latest last;
/// one, where that is known. A field that says what was shown is left alone, whatever it is by now.
///
/// # Errors
/// When the database cannot be read, or there is no such commit.
pub fn plan(conn: &Connection, commit: i64, document: &Document, shown: &[Shown]) -> Result<Outcome> {
    let now = Shown::now(conn, commit)?.ok_or(CurationError::NotFound { kind: EntityKind::Commit })?;
    let base = base(document, shown, &now);
    let mut edits = Vec::new();
    if is_other(&document.title, &base.title) {
        let title = match &document.title {
            Field::Set(text) => Title::User(text.clone()),
            Field::Absent | Field::Cleared => Title::Found,
        };
        edits.push(Edit::Retitle { commit, title, name: None });
    }
    if is_other(&document.tags, &base.tags) {
        edits.push(Edit::SetTags { commit, tags: value(&document.tags) });
    }
    if is_other(&document.hidden, &base.hidden) {
        edits.push(Edit::SetHidden { commit, hidden: value(&document.hidden) });
    }
    if is_other(&document.published, &base.published) {
        edits.push(Edit::SetPublished { commit, published: value(&document.published) });
    }
    if is_other(&document.order, &base.order) {
        edits.push(Edit::Reorder { commit, order: value(&document.order) });
    }
    if document.note != base.note {
        edits.push(Edit::SetNote { commit, note: document.note.clone() });
    }
    if let Some(name) = document.project.as_ref().filter(|name| **name != base.project) {
        match projects::by_dir_name(conn, name)? {
            Some(project) => edits.push(Edit::MoveToProject { commit, project: project.row, name: None }),
            None => {
                let reason = format!("there is no project {name:?}: write the name of a directory in projects/");
                return Ok(Outcome::Refused(Refusal { line: 1, reason }));
            }
        }
    }
    Ok(Outcome::Edits(edits))
}

/// The state that an editor most likely read: the one the document differs from least, of equals the latest. A document that
/// says exactly what an older state said is taken for a wish to have that back.
fn base<'a>(document: &Document, shown: &'a [Shown], now: &'a Shown) -> &'a Shown {
    if let [only] = shown {
        return only;
    }
    let nearest = shown.iter().chain([now]).rev().min_by_key(|state| state.distance(document)).unwrap_or(now);
    if nearest.distance(document) == 0 { now } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(title: &str, tags: &[&str]) -> Shown {
        Shown {
            title: title.to_owned(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            hidden: false,
            published: false,
            order: 0,
            project: "p".to_owned(),
            note: String::new(),
        }
    }

    fn document(title: &str, tags: &[&str]) -> Document {
        Document {
            title: Field::Set(title.to_owned()),
            tags: Field::Set(tags.iter().map(|tag| (*tag).to_owned()).collect()),
            ..Document::default()
        }
    }

    #[test]
    fn an_editor_read_the_state_that_its_document_differs_from_least() {
        let (old, now) = (state("a", &[]), state("a", &["new"]));
        let shown = [old.clone(), now.clone()];
        assert_eq!(base(&document("b", &[]), &shown, &now), &old, "only the title is its own");
        assert_eq!(base(&document("b", &["new"]), &shown, &now), &now);
    }

    #[test]
    fn a_document_as_it_once_was_is_a_wish_to_have_that_back() {
        let (old, now) = (state("a", &[]), state("b", &[]));
        assert_eq!(base(&document("a", &[]), &[old.clone(), now.clone()], &now), &now);
        assert_eq!(
            base(&document("a", &[]), std::slice::from_ref(&old), &now),
            &old,
            "unless its editor is known to have read that"
        );
    }
}
