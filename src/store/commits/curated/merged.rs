//! What becomes of users' edits of a commit that an import finds to be a part of another. Nothing that a user did is dropped,
//! and nothing deleted comes to light: it is deleted still, piece by piece.

use rusqlite::{OptionalExtension, params};
use serde_json::{Value as Json, json};

use super::{Commit, Title, Value, fields, get, set, set_status, set_title, title, untouched, versions};
use crate::model::{Id, Millis};
use crate::store::conflicts::{self, Conflict, Side};
use crate::store::outbox::{self, FieldChange, Rest};
use crate::store::told::{self, Facts};
use crate::store::{EntityKind, Result, Transaction, facets, former_names, projects, sessions, trash};

/// The field that says when a record was deleted.
const DELETED_AT: &str = "deleted_at";

/// Gives what users made of a commit to the one that it is merged with, where that has nothing of its own. To be called while
/// both have their sessions.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: &Commit, into: &Commit, id_of_from: bool) -> Result<()> {
    delete_pieces(tx, from, into)?;
    keep_move(tx, from, into, id_of_from)?;
    if from.curated_at.is_some() {
        merge_titles(tx, from, into, id_of_from)?;
        merge_words(tx, from, into.row)?;
        if from.published && !into.published {
            change(tx, into.row, &Value::Published(true))?;
        }
        if from.hidden && !into.hidden && into.curated_at.is_none() {
            change(tx, into.row, &Value::Hidden(true))?;
        }
        if from.display_order != 0 && into.display_order == 0 {
            change(tx, into.row, &Value::Order(from.display_order))?;
        }
    }
    hand_over(tx, from.row, into.row)
}

/// Gives the tags and the note of a commit that was a subagent's alone to that of the session which started it.
///
/// # Errors
/// When SQLite cannot write.
pub fn dissolve(tx: &mut Transaction<'_>, from: &Commit, into: i64) -> Result<()> {
    let Some(target) = get(tx, into)? else { return Ok(()) };
    delete_pieces(tx, from, &target)?;
    merge_words(tx, from, into)?;
    hand_over(tx, from.row, into)
}

/// Ends a merge: the record that is left has all links now.
///
/// # Errors
/// When SQLite cannot write.
pub fn settle(tx: &mut Transaction<'_>, into: i64) -> Result<()> {
    let Some(commit) = get(tx, into)? else { return Ok(()) };
    if commit.curated_at.is_some() {
        set_status(tx, into)?;
    }
    if commit.deleted_at.is_some() {
        facets::refresh(tx, into, &commit.link_name)?;
    }
    if !is_touched(tx, into)? {
        return Ok(());
    }
    for sql in [
        "UPDATE sync_queue SET entity_id = ?2 WHERE kind = 2 AND entity_row = ?1 AND entity_id <> ?2",
        "UPDATE edits SET entity_id = ?2 WHERE kind = 2 AND entity_row = ?1 AND entity_id <> ?2",
        "UPDATE conflicts SET entity_id = ?2 WHERE kind = 2 AND entity_row = ?1 AND entity_id <> ?2",
    ] {
        tx.prepare_cached(sql)?.execute(params![into, commit.id.0])?;
    }
    Ok(())
}

/// Of two titles that users gave, that of the commit whose id holds; the other one is kept as a conflict.
fn merge_titles(tx: &mut Transaction<'_>, from: &Commit, into: &Commit, id_of_from: bool) -> Result<()> {
    let Title::User(text) = title(tx, from)? else { return Ok(()) };
    let held = match title(tx, into)? {
        Title::User(held) if held == text => return Ok(()),
        Title::User(held) => held,
        Title::Found => {
            set_title(tx, into, &Title::User(text.clone()), None)?;
            return queue(tx, into, "title", (Json::Null, json!(text)));
        }
    };
    let conflict = Conflict {
        row: 0,
        kind: EntityKind::Commit,
        entity_row: into.row,
        entity_id: if id_of_from { from.id } else { into.id },
        field: "title".to_owned(),
        base: Json::Null,
        local: json!(held),
        cloud: json!(text),
        kept: if id_of_from { Side::Cloud } else { Side::Local },
        machine: String::new(),
        name: into.dir_name.clone(),
        at: Millis::now(),
    };
    conflicts::add(tx, &conflict)?;
    if id_of_from {
        set_title(tx, into, &Title::User(text.clone()), None)?;
        queue(tx, into, "title", (json!(held), json!(text)))?;
    }
    Ok(())
}

/// Of two that lie in different projects the place of the one that is left holds; where a user moved the other one is kept as a
/// conflict.
fn keep_move(tx: &mut Transaction<'_>, from: &Commit, into: &Commit, id_of_from: bool) -> Result<()> {
    if from.project_row == into.project_row {
        return Ok(());
    }
    let Some((found, wanted)) = moved(tx, from.row)? else { return Ok(()) };
    let place = projects::get(tx, into.project_row)?.map(|project| json!(project.id.to_string()));
    let conflict = Conflict {
        row: 0,
        kind: EntityKind::Commit,
        entity_row: into.row,
        entity_id: if id_of_from { from.id } else { into.id },
        field: "project".to_owned(),
        base: found,
        local: place.unwrap_or_default(),
        cloud: wanted,
        kept: Side::Local,
        machine: String::new(),
        name: into.dir_name.clone(),
        at: Millis::now(),
    };
    conflicts::add(tx, &conflict)
}

/// What the cloud has of a commit, as far as it is known here.
pub struct Known {
    id: Id,
    version: i64,
    fields: serde_json::Map<String, Json>,
    /// Fields of a request of which it is not known what became.
    sent: Vec<String>,
    is_nothing: bool,
}

impl Known {
    /// Of the one whose id holds, before it is merged with another.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn of(tx: &Transaction<'_>, commit: &Commit) -> Result<Self> {
        let mut known = Self { is_nothing: false, ..Self::nothing(commit.id, Vec::new()) };
        if told::is_known(tx, Facts::Commit, commit.row)? {
            known.version = versions(tx, commit.row)?.map_or(0, |(cloud, _)| cloud);
            known.fields = fields(tx, commit)?;
        }
        if let Some(waiting) = outbox::find(tx, EntityKind::Commit, commit.row)? {
            if waiting.sent {
                known.sent = waiting.fields.keys().cloned().collect();
            }
            known.version = waiting.base_version;
            known.fields.extend(waiting.base);
        }
        Ok(known)
    }

    /// Of one of which it knows nothing. `sent`: fields that are told whatever they say.
    #[must_use]
    pub fn nothing(id: Id, sent: Vec<String>) -> Self {
        Self { id, version: 0, fields: untouched(), sent, is_nothing: true }
    }
}

/// Puts into the queue what a commit that became one of two says otherwise than the cloud does of the one whose id holds: the
/// other one is no more, and what was set on it would stay here alone.
///
/// # Errors
/// When SQLite cannot write.
pub fn tell(tx: &mut Transaction<'_>, row: i64, known: &Known) -> Result<()> {
    let Some(commit) = get(tx, row)? else { return Ok(()) };
    if !is_touched(tx, row)? && known.fields == untouched() && commit.curated_at.is_none() {
        return Ok(());
    }
    let waiting = outbox::find(tx, EntityKind::Commit, row)?;
    let mut rest = Rest { base_version: known.version, edits: 1, ..Rest::default() };
    // What the cloud has of a field that is not one of these, as the project a commit is in, is told as it was.
    if let Some(waiting) = waiting {
        rest.edits = waiting.edits;
        rest.fields = waiting.fields.into_iter().filter(|(field, _)| !known.fields.contains_key(field)).collect();
        rest.base = waiting.base.into_iter().filter(|(field, _)| rest.fields.contains_key(field)).collect();
    }
    for (field, now) in fields(tx, &commit)? {
        let there = known.fields.get(&field).cloned().unwrap_or_default();
        let is_same = now == there || (field == DELETED_AT && !now.is_null() && !there.is_null());
        if !is_same || known.sent.contains(&field) {
            rest.base.insert(field.clone(), there);
            rest.fields.insert(field, now);
        }
    }
    if known.is_nothing
        && let Some((before, now)) = moved(tx, row)?
    {
        rest.base.insert("project".to_owned(), before);
        rest.fields.insert("project".to_owned(), now);
    }
    super::set_cloud_version(tx, row, known.version)?;
    outbox::replace(tx, EntityKind::Commit, row, known.id, &rest)?;
    set_status(tx, row)
}

/// The project that a commit was found in and the one that its user moved it to, if so.
///
/// # Errors
/// When SQLite cannot read.
pub fn moved(tx: &Transaction<'_>, row: i64) -> Result<Option<(Json, Json)>> {
    let mut query = tx.prepare_cached(
        "SELECT f.id, p.id FROM cognitive_commits c JOIN projects f ON f.row = c.found_project
             JOIN projects p ON p.row = c.project_row
         WHERE c.row = ?1 AND c.found_project <> c.project_row",
    )?;
    let id = |id: [u8; 16]| json!(Id(id).to_string());
    Ok(query.query_row([row], |r| Ok((id(r.get(0)?), id(r.get(1)?)))).optional()?)
}

fn merge_words(tx: &mut Transaction<'_>, from: &Commit, into: i64) -> Result<()> {
    let Some(target) = get(tx, into)? else { return Ok(()) };
    let mut tags = target.tags.clone();
    tags.extend(from.tags.iter().filter(|tag| !target.tags.contains(tag)).cloned());
    if tags != target.tags {
        change(tx, into, &Value::Tags(tags))?;
    }
    if !from.note.is_empty() && from.note != target.note {
        let notes = [target.note.as_str(), from.note.as_str()].into_iter().filter(|note| !note.is_empty());
        change(tx, into, &Value::Note(notes.collect::<Vec<_>>().join("\n\n")))?;
    }
    Ok(())
}

/// Sets a field as [`set`] does, and queues it for the cloud: the other record, which it was queued of, is no more.
fn change(tx: &mut Transaction<'_>, row: i64, value: &Value) -> Result<()> {
    let Some(before) = get(tx, row)? else { return Ok(()) };
    set(tx, &before, value)?;
    let (field, before_and_after) = match value {
        Value::Hidden(hidden) => ("hidden", (json!(before.hidden), json!(hidden))),
        Value::Published(published) => ("published", (json!(before.published), json!(published))),
        Value::Order(order) => ("order", (json!(before.display_order), json!(order))),
        Value::Note(note) => ("note", (json!(before.note), json!(note))),
        Value::Tags(tags) => ("tags", (json!(before.tags), json!(tags))),
    };
    queue(tx, &before, field, before_and_after)
}

fn queue(tx: &Transaction<'_>, commit: &Commit, field: &'static str, (before, after): (Json, Json)) -> Result<()> {
    let base_version = versions(tx, commit.row)?.map_or(0, |(cloud, _)| cloud);
    let changes = [FieldChange { field, before, after }];
    outbox::add(tx, EntityKind::Commit, commit.row, commit.id, base_version, &changes)
}

/// Of two commits of which one alone is deleted, the sessions of that are deleted one by one, and the whole is not.
fn delete_pieces(tx: &mut Transaction<'_>, from: &Commit, into: &Commit) -> Result<()> {
    let (deleted, at) = match (from.deleted_at, into.deleted_at) {
        (Some(at), None) => (from, at),
        (None, Some(at)) => (into, at),
        _ => return Ok(()),
    };
    for session in sessions::all_of_commit(tx, deleted.row)? {
        if sessions::deleted_at(tx, session.row)?.is_some() {
            continue;
        }
        sessions::set_deleted(tx, &session, Some(at))?;
        let name = format!("{}__{}", deleted.dir_name, session.dir_name);
        trash::add(
            tx,
            EntityKind::Session,
            session.row,
            &session.id,
            trash::Name { wanted: &name, by_manager: false },
        )?;
        let version = sessions::cloud_version(tx, session.row)?;
        let changes = [FieldChange { field: "deleted_at", before: Json::Null, after: json!(at.0) }];
        outbox::add(tx, EntityKind::Session, session.row, session.id, version, &changes)?;
    }
    trash::remove(tx, EntityKind::Commit, deleted.row)?;
    if deleted.row == into.row {
        revive(tx, into, at)?;
    }
    Ok(())
}

fn revive(tx: &mut Transaction<'_>, commit: &Commit, at: Millis) -> Result<()> {
    super::make_room(tx, commit)?;
    let Some(commit) = get(tx, commit.row)? else { return Ok(()) };
    super::set_deleted(tx, &commit, None)?;
    queue(tx, &commit, "deleted_at", (json!(at.0), Json::Null))
}

/// Gives the log of a commit's edits, its draft and its former names to another.
fn hand_over(tx: &Transaction<'_>, from: i64, into: i64) -> Result<()> {
    if !is_touched(tx, from)? {
        return Ok(());
    }
    for sql in [
        "UPDATE edits SET entity_row = ?2 WHERE kind = 2 AND entity_row = ?1",
        "UPDATE conflicts SET entity_row = ?2 WHERE kind = 2 AND entity_row = ?1",
        "UPDATE OR IGNORE drafts SET commit_row = ?2 WHERE commit_row = ?1",
        "UPDATE former_names SET commit_row = ?2 WHERE commit_row = ?1",
    ] {
        tx.prepare_cached(sql)?.execute([from, into])?;
    }
    Ok(())
}

/// Removes what is kept beside a commit that is no more.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    if !is_touched(tx, row)? {
        return Ok(());
    }
    former_names::remove_of(tx, row)?;
    trash::remove(tx, EntityKind::Commit, row)?;
    outbox::remove(tx, EntityKind::Commit, row)?;
    tx.prepare_cached("DELETE FROM saved_documents WHERE commit_row = ?1")?.execute([row])?;
    Ok(())
}

/// Whether anything is kept beside a commit: of most that are merged there is nothing, and one look takes less than a dozen
/// statements that change nothing.
fn is_touched(tx: &Transaction<'_>, row: i64) -> Result<bool> {
    let mut query = tx.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM edits WHERE kind = 2 AND entity_row = ?1)
             OR EXISTS (SELECT 1 FROM conflicts WHERE kind = 2 AND entity_row = ?1)
             OR EXISTS (SELECT 1 FROM sync_queue WHERE kind = 2 AND entity_row = ?1)
             OR EXISTS (SELECT 1 FROM trash WHERE kind = 2 AND entity_row = ?1)
             OR EXISTS (SELECT 1 FROM former_names WHERE commit_row = ?1)
             OR EXISTS (SELECT 1 FROM drafts WHERE commit_row = ?1)
             OR EXISTS (SELECT 1 FROM saved_documents WHERE commit_row = ?1)",
    )?;
    Ok(query.query_row([row], |r| r.get(0))?)
}
