//! What becomes of users' edits of a commit that an import finds to be a part of another. Nothing that a user did is dropped,
//! and nothing deleted comes to light: it is deleted still, piece by piece.

use rusqlite::params;
use serde_json::{Value as Json, json};

use super::{Commit, Title, Value, get, set, set_status, set_title, title, versions};
use crate::model::Millis;
use crate::store::outbox::{self, FieldChange};
use crate::store::{EntityKind, Result, Transaction, facets, former_names, sessions, trash};

/// Gives what users made of a commit to the one that it is merged with, where that has nothing of its own. To be called while
/// both have their sessions.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: &Commit, into: &Commit) -> Result<()> {
    delete_pieces(tx, from, into)?;
    if from.curated_at.is_some() {
        if let (Title::User(text), Title::Found) = (title(tx, from)?, title(tx, into)?) {
            set_title(tx, into, &Title::User(text.clone()), None)?;
            queue(tx, into, "title", (Json::Null, json!(text)))?;
        }
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
