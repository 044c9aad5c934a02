//! What people made of their conversations in CogCommit: titles, notes, tags, marks, order.
//!
//! Owns which commit here is meant, and what is kept of it. It becomes edits like those of a user, so that it is logged, synced
//! and can be taken back; a field that was edited here is left alone, however often a database is imported.

use std::collections::BTreeMap;

use rusqlite::params;
use serde_json::{Map, Value};

use crate::curation::{CurationError, Edit, Editor, EntityKind, Origin, Title};
use crate::model::{Agent, Commit, Millis, Role};
use crate::store::commits::curated;
use crate::store::{self, Transaction, commits, edits, sessions, turns};

/// What people made of one of CogCommit's commits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curated {
    pub id: String,
    pub title: Option<String>,
    pub note: Option<String>,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: Option<i64>,
    /// The one time of an edit that it notes.
    pub published_at: Option<Millis>,
    git_hash: Option<String>,
    started_at: Option<Millis>,
    closed_at: Millis,
    /// The sessions it says are in it: of those it once had, none but the last import's.
    sessions: Vec<String>,
}

impl Curated {
    /// Reads a row; `None` when nobody made anything of it.
    pub(super) fn of(row: &Map<String, Value>, sessions: Vec<String>) -> Result<Option<Self>, String> {
        let text = |key: &str| row.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
        let time = |key: &str| text(key).and_then(Millis::parse);
        let is = |key: &str| row.get(key).and_then(Value::as_i64).is_some_and(|n| n != 0);
        let order = row.get("display_order").and_then(Value::as_i64).filter(|order| *order != 0);
        let curated = Self {
            id: text("id").unwrap_or_default().to_owned(),
            title: text("title").map(str::to_owned),
            // No version seen has notes or tags; where one does, they are the user's.
            note: text("note").or_else(|| text("notes")).map(str::to_owned),
            tags: text("tags").map(tags).unwrap_or_default(),
            hidden: is("hidden"),
            published: is("published"),
            order,
            published_at: time("published_at"),
            git_hash: text("git_hash").map(str::to_owned),
            started_at: time("started_at"),
            closed_at: time("closed_at").unwrap_or_default(),
            sessions,
        };
        if curated.is_empty() {
            return Ok(None);
        }
        if time("closed_at").is_none() {
            return Err(format!("{:?} is no time", text("closed_at").unwrap_or_default()));
        }
        Ok(Some(curated))
    }

    fn is_empty(&self) -> bool {
        self.title.is_none()
            && self.note.is_none()
            && self.tags.is_empty()
            && !self.hidden
            && !self.published
            && self.order.is_none()
    }

    /// What is lost when it finds no commit, for people.
    fn what(&self) -> String {
        let mut what = Vec::new();
        what.extend(self.title.as_ref().map(|title| format!("the title “{title}”")));
        what.extend(self.note.as_ref().map(|_| "a note".to_owned()));
        what.extend((!self.tags.is_empty()).then(|| "tags".to_owned()));
        what.extend(self.hidden.then(|| "that it is hidden".to_owned()));
        what.extend(self.published.then(|| "that it is published".to_owned()));
        what.extend(self.order.map(|_| "its order".to_owned()));
        what.join(", ")
    }

    /// Adds what another row says of the same commit. Each of CogCommit's imports made another row; marks are on the one that
    /// was there when they were set.
    fn add(&mut self, later: Self) {
        self.title = later.title.or(self.title.take());
        self.note = later.note.or(self.note.take());
        self.order = later.order.or(self.order);
        self.published_at = later.published_at.or(self.published_at);
        self.hidden |= later.hidden;
        self.published |= later.published;
        for tag in later.tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
    }
}

/// A list in JSON, or with commas.
fn tags(text: &str) -> Vec<String> {
    let list: Vec<String> = serde_json::from_str(text).unwrap_or_else(|_| text.split(',').map(str::to_owned).collect());
    list.into_iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}

/// What became of what people made.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Edits made.
    pub edits: u64,
    /// What found no commit, or was refused: the id of its row, and the reason.
    pub lost: Vec<(String, String)>,
}

/// Makes the edits.
///
/// # Errors
/// When the database cannot be written.
pub fn apply(tx: &mut Transaction<'_>, agent: Agent, all: Vec<Curated>) -> store::Result<Outcome> {
    let (mut edits, mut lost) = (0, Vec::new());
    let mut meant: BTreeMap<i64, Curated> = BTreeMap::new();
    for curated in all {
        let found = targets(tx, agent, &curated)?;
        let Some(closing) = found.closing else {
            let what = format!("its conversation is not here: {} could not be kept", curated.what());
            lost.push((curated.id, what));
            continue;
        };
        for row in found.before.into_iter().filter(|_| curated.hidden) {
            meant.entry(row).or_default().add(Curated { hidden: true, ..Curated::default() });
        }
        match meant.entry(closing) {
            std::collections::btree_map::Entry::Occupied(mut known) => known.get_mut().add(curated),
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(curated)),
        }
    }
    for (row, curated) in meant {
        let id = curated.id.clone();
        match edit(tx, row, curated) {
            Ok(made) => edits += made,
            Err(CurationError::Store(e)) => return Err(e),
            Err(e) => lost.push((id, e.to_string())),
        }
    }
    Ok(Outcome { edits, lost })
}

/// The commits here that one of CogCommit's is: it took several for one where it missed a git commit.
#[derive(Default)]
struct Targets {
    closing: Option<i64>,
    before: Vec<i64>,
}

/// A commit was closed at the time of its last turn, in whichever session that is.
fn targets(tx: &Transaction<'_>, agent: Agent, curated: &Curated) -> store::Result<Targets> {
    let parts: Vec<(i64, i64, String)> = tx
        .prepare_cached(
            "SELECT row, commit_row, native_id FROM sessions WHERE agent = ?1 AND started_at <= ?2 AND ended_at >= ?2
                 AND commit_row IS NOT NULL AND forgotten = 0 ORDER BY parent_row IS NOT NULL, row",
        )?
        .query_map(params![agent.as_str(), curated.closed_at.0], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = Vec::new();
    for (row, commit, native) in parts {
        let index = sessions::turn_index(tx, row)?.unwrap_or_default();
        if (1..=index.len()).any(|n| index.get(n).is_some_and(|entry| entry.at == curated.closed_at)) {
            found.push((commit, native));
        }
    }
    // Times are to the millisecond: that two sessions share one is rare, and then it is the one it names.
    let named = found.iter().find(|(_, native)| curated.sessions.iter().any(|id| is_session(native, id)));
    let mut closing = named.or(found.first()).cloned();
    if closing.is_none() {
        closing = by_hash(tx, curated)?;
    }
    if closing.is_none() {
        for id in &curated.sessions {
            let last = sessions::parts(tx, agent, id)?
                .into_iter()
                .rev()
                .find_map(|part| Some((part.commit_row?, part.native_id)));
            closing = closing.or(last);
        }
    }
    let Some((closing, native)) = closing else { return Ok(Targets::default()) };
    let within = |part: &crate::model::Session| {
        curated.started_at.is_some_and(|began| began <= part.started_at) && part.ended_at <= curated.closed_at
    };
    let parts = sessions::parts(tx, agent, &native)?.into_iter().filter(within);
    let before = parts.filter_map(|part| part.commit_row).filter(|row| *row != closing).collect();
    Ok(Targets { closing: Some(closing), before })
}

/// A subagent's id has its session's in front here.
fn is_session(native: &str, id: &str) -> bool {
    native == id || native.rsplit_once('/').is_some_and(|(_, last)| last == id)
}

/// The commit that a git commit closed, where that is one alone.
fn by_hash(tx: &Transaction<'_>, curated: &Curated) -> store::Result<Option<(i64, String)>> {
    let Some(hash) = &curated.git_hash else { return Ok(None) };
    let found: Vec<(i64, String)> = tx
        .prepare_cached(
            "SELECT g.commit_row, coalesce((SELECT native_id FROM sessions s WHERE s.commit_row = g.commit_row LIMIT 1), '')
             FROM git_commits g WHERE g.hash = ?1 LIMIT 2",
        )?
        .query_map([hash], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(<[(i64, String); 1]>::try_from(found).ok().map(|[one]| one))
}

fn edit(tx: &mut Transaction<'_>, row: i64, made_of_it: Curated) -> Result<u64, CurationError> {
    let Some(commit) = commits::get(tx, row)?.filter(|commit| commit.deleted_at.is_none()) else { return Ok(0) };
    let mut made: Vec<(Edit, Option<Millis>)> = Vec::new();
    if let Some(title) = made_of_it.title
        && may_set(tx, &commit, "retitle", curated::title(tx, &commit)? == Title::Found)?
        && !is_of_the_prompt(tx, &commit, &title)?
    {
        made.push((Edit::Retitle { commit: row, title: Title::User(title), name: None }, None));
    }
    if let Some(note) = made_of_it.note
        && may_set(tx, &commit, "note", commit.note.is_empty())?
    {
        made.push((Edit::SetNote { commit: row, note }, None));
    }
    if !made_of_it.tags.is_empty() && may_set(tx, &commit, "tags", commit.tags.is_empty())? {
        made.push((Edit::SetTags { commit: row, tags: made_of_it.tags }, None));
    }
    if made_of_it.hidden && may_set(tx, &commit, "hidden", !commit.hidden)? {
        made.push((Edit::SetHidden { commit: row, hidden: true }, None));
    }
    if made_of_it.published && may_set(tx, &commit, "published", !commit.published)? {
        made.push((Edit::SetPublished { commit: row, published: true }, made_of_it.published_at));
    }
    if let Some(order) = made_of_it.order
        && may_set(tx, &commit, "order", commit.display_order == 0)?
    {
        made.push((Edit::Reorder { commit: row, order }, None));
    }
    let mut edits = 0;
    for (edit, at) in made {
        edits += u64::from(Editor::of_import(tx, at).apply(&edit)?.is_some());
    }
    Ok(edits)
}

/// Whether a field is still as it was found, or as an import set it.
fn may_set(tx: &Transaction<'_>, commit: &Commit, action: &str, untouched: bool) -> store::Result<bool> {
    let log = edits::since(tx, Millis(i64::MIN), Some((EntityKind::Commit, commit.row)))?;
    Ok(match log.iter().find(|edit| edit.action == action) {
        Some(last) => last.origin == Origin::Import.as_str() && last.undone_by.is_none(),
        None => untouched,
    })
}

/// CogCommit made titles of first prompts when it sent them to its cloud, and took them for titles when they came back.
fn is_of_the_prompt(tx: &Transaction<'_>, commit: &Commit, title: &str) -> store::Result<bool> {
    let begins = title.strip_suffix('…').map(str::trim_end);
    for session in sessions::of_commit(tx, commit.row)? {
        let mut prompt: Option<String> = None;
        turns::for_some(tx, session.row, 1, 20, |turn| {
            if turn.role == Role::User && prompt.is_none() {
                prompt = Some(turn.text);
            }
        })?;
        let is_it = prompt.is_some_and(|prompt| match begins {
            Some(begins) => prompt.trim().starts_with(begins),
            None => prompt.trim() == title,
        });
        if is_it {
            return Ok(true);
        }
    }
    Ok(false)
}
