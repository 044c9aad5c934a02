//! Records that the cloud removed long after they were deleted, and that this machine still has.
//!
//! What knows of the deletion holds to it: where a machine that never heard of it sends the record anew, it is deleted again, by
//! whichever machine sees it first. An edit that was made without that knowledge takes the deletion back, as it does of a record that
//! was not removed yet: it is sent with what is known here, and the machines that have the contents send those.

use serde_json::{Value, json};

use super::{Applied, Taken, record};
use crate::cloud::wire::Row;
use crate::curation::Entity;
use crate::model::{ContentsAt, Id, Millis};
use crate::store::commits::curated;
use crate::store::conflicts::{self, Conflict, Side};
use crate::store::outbox::{self, FieldChange, Rest, Waiting};
use crate::store::told::{self, Facts};
use crate::store::{EntityKind, Result, StoreError, Transaction, commits, projects, sessions, turns};
use crate::sync::merge::{DELETED_AT, Fields, Lost};
use record::{By, NotTaken, PROJECT};

/// Whether the cloud has a record that is deleted here and that it knows no deletion of, though it was told once.
pub(super) fn is_back(entity: Entity, row: &Row, now: &Fields) -> bool {
    matches!(entity.kind, EntityKind::Commit | EntityKind::Session)
        && !row.fields.contains_key(DELETED_AT)
        && now.get(DELETED_AT).is_some_and(|at| !at.is_null())
}

/// Tells the cloud of a deletion again, and of those in it: who brings back what is in it does not bring those back.
pub(super) fn delete_again(tx: &mut Transaction<'_>, entity: Entity, row: &Row, now: &Fields) -> Result<Applied> {
    let mut rest = Rest { base_version: row.version, edits: 1, ..Rest::default() };
    rest.fields.insert(DELETED_AT.to_owned(), now.get(DELETED_AT).cloned().unwrap_or_default());
    rest.base.insert(DELETED_AT.to_owned(), Value::Null);
    tell_what_it_lacks(tx, entity, row, &mut rest)?;
    let id = record::id(tx, entity)?.unwrap_or(row.id);
    outbox::replace(tx, entity.kind, entity.row, id, &rest)?;
    record::set_version(tx, entity, row.version)?;
    match entity.kind {
        EntityKind::Commit => {
            for session in sessions::rows_of_commit(tx, entity.row)? {
                tell_deletions(tx, session)?;
            }
        }
        EntityKind::Session => tell_turns(tx, entity.row)?,
        EntityKind::Project | EntityKind::Turn => {}
    }
    Ok(Applied::Done(Taken { changed: true, ..Taken::default() }))
}

/// Has what this machine knows of a record sent again: of a commit its sessions, of a session its contents and its deleted turns.
pub(super) fn send_again(tx: &mut Transaction<'_>, entity: Entity) -> Result<()> {
    match entity.kind {
        EntityKind::Commit => {
            for session in sessions::rows_of_commit(tx, entity.row)? {
                send_session(tx, session)?;
            }
            Ok(())
        }
        EntityKind::Session => send_session(tx, entity.row),
        EntityKind::Project | EntityKind::Turn => Ok(()),
    }
}

/// What this machine knows of a commit and the record in place of the removed one does not say.
pub(super) fn tell_what_it_lacks(tx: &Transaction<'_>, entity: Entity, row: &Row, rest: &mut Rest) -> Result<()> {
    let commit = if entity.kind == EntityKind::Commit { commits::get(tx, entity.row)? } else { None };
    let Some(commit) = commit else { return Ok(()) };
    let before = curated::untouched();
    for (field, value) in curated::fields(tx, &commit)? {
        let base = before.get(&field).cloned().unwrap_or_default();
        if value != base && !row.fields.contains_key(&field) && !rest.fields.contains_key(&field) {
            rest.base.insert(field.clone(), base);
            rest.fields.insert(field, value);
        }
    }
    if let Some((found, project)) = curated::moved(tx, commit.row)?
        && !row.fields.contains_key(PROJECT)
        && !rest.fields.contains_key(PROJECT)
    {
        rest.base.insert(PROJECT.to_owned(), found);
        rest.fields.insert(PROJECT.to_owned(), project);
    }
    Ok(())
}

/// What people made of a commit before it was removed and yields to what was made of the one in its place, without knowledge of it:
/// kept as any value that lost. `now`: what it says here; `take`: what it is to say.
pub(super) fn overtaken(entity: Entity, now: &Fields, take: &Fields) -> Vec<Lost> {
    if entity.kind != EntityKind::Commit {
        return Vec::new();
    }
    let before = curated::untouched();
    let lost = |(field, theirs): (&String, &Value)| {
        let (base, ours) = (before.get(field)?, now.get(field)?);
        (field != DELETED_AT && ours != base && ours != theirs).then(|| Lost {
            field: field.clone(),
            base: base.clone(),
            local: ours.clone(),
            cloud: theirs.clone(),
            kept: Side::Cloud,
        })
    };
    take.iter().filter_map(lost).collect()
}

fn send_session(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    let Some(session) = sessions::get(tx, row)? else { return Ok(()) };
    if session.contents == ContentsAt::Here {
        told::unknown(tx, Facts::Session, row)?;
        told::no_contents(tx, row)?;
    }
    tell_deletions(tx, row)
}

/// Of a session that the cloud knows no more, or anew: that it is deleted, and which of its turns are.
fn tell_deletions(tx: &Transaction<'_>, row: i64) -> Result<()> {
    let Some(session) = sessions::get(tx, row)? else { return Ok(()) };
    if let Some(at) = sessions::deleted_at(tx, row)? {
        sessions::set_cloud_version(tx, row, 0)?;
        queue_deletion(tx, Entity::session(row), session.id, at)?;
    }
    tell_turns(tx, row)
}

fn tell_turns(tx: &Transaction<'_>, session: i64) -> Result<()> {
    for (turn, id, at) in turns::deleted_anywhere(tx, session)? {
        turns::set_cloud_version(tx, turn, 0)?;
        queue_deletion(tx, Entity::turn(turn), id, at)?;
    }
    Ok(())
}

fn queue_deletion(tx: &Transaction<'_>, entity: Entity, id: Id, at: Millis) -> Result<()> {
    let change = FieldChange { field: DELETED_AT, before: Value::Null, after: json!(at.0) };
    outbox::add(tx, entity.kind, entity.row, id, 0, &[change])
}

/// Tells what people made of the records that the cloud has no edits of, now that all it has was pulled: it lost them, or is another
/// one.
pub(crate) fn tell_what_was_lost(tx: &mut Transaction<'_>) -> Result<()> {
    let rows = |tx: &Transaction<'_>, sql: &str| -> Result<Vec<(i64, Id)>> {
        let mut query = tx.prepare(sql)?;
        let rows = query.query_map([], |r| Ok((r.get(0)?, Id(r.get(1)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    };
    for (row, id) in rows(tx, "SELECT row, id FROM projects WHERE curated_at IS NOT NULL AND cloud_version = 0")? {
        let Some(project) = projects::get(tx, row)? else { continue };
        let change = FieldChange { field: "name", before: Value::Null, after: json!(project.name) };
        outbox::add(tx, EntityKind::Project, row, id, 0, &[change])?;
    }
    for (row, id) in
        rows(tx, "SELECT row, id FROM cognitive_commits WHERE curated_at IS NOT NULL AND cloud_version = 0")?
    {
        // Of what is another machine's the cloud is told by that one.
        if commits::has_own_sessions(tx, row)? || told::is_known(tx, Facts::Commit, row)? {
            commits::tell_all(tx, row, id, Vec::new())?;
        }
    }
    let own = "SELECT row, id FROM sessions WHERE contents = 0 AND forgotten = 0 AND commit_row IS NOT NULL";
    for (row, id) in rows(tx, own)? {
        if let Some(at) = sessions::deleted_at(tx, row)?
            && sessions::cloud_version(tx, row)? == 0
        {
            queue_deletion(tx, Entity::session(row), id, at)?;
        }
        for (turn, id, at) in turns::deleted_anywhere(tx, row)? {
            if turns::cloud_version(tx, turn)? == 0 {
                queue_deletion(tx, Entity::turn(turn), id, at)?;
            }
        }
    }
    Ok(())
}

/// What becomes of an edit of a record that was removed.
pub(super) fn edited(tx: &mut Transaction<'_>, sent: &Waiting) -> Result<Applied> {
    outbox::set_sent(tx, sent.seq, false)?;
    let session = match sent.kind {
        EntityKind::Commit => {
            send_commit(tx, sent.entity_row)?;
            let fields = sent.fields.keys().cloned().collect();
            commits::tell_all(tx, sent.entity_row, sent.entity_id, fields)?;
            return Ok(Applied::Done(Taken::default()));
        }
        EntityKind::Session => sent.entity_row,
        EntityKind::Turn => turns::parts_of(sent.entity_row).0,
        EntityKind::Project => return Ok(Applied::Done(Taken::default())),
    };
    let Some(session) = sessions::get(tx, session)? else {
        outbox::remove(tx, sent.kind, sent.entity_row)?;
        return Ok(Applied::Done(Taken::default()));
    };
    if session.contents == ContentsAt::Here {
        if let Some(commit) = session.commit_row {
            told::wanted(tx, Facts::Commit, commit)?;
        }
        send_session(tx, session.row)?;
        return Ok(Applied::Done(Taken::default()));
    }
    give_up(tx, sent)
}

/// The cloud does not know what a session lies in, though it was told once: it is told again.
pub(crate) fn send_commit_of(tx: &Transaction<'_>, session: &Id) -> Result<()> {
    let commit = sessions::by_id(tx, session)?.and_then(|session| session.commit_row);
    match commit {
        Some(row) if told::is_known(tx, Facts::Commit, row)? => told::unknown(tx, Facts::Commit, row),
        _ => Ok(()),
    }
}

/// The cloud does not know the commit that another one is a part of, though it was told once: it is told again.
pub(crate) fn send_again_if_known(tx: &Transaction<'_>, commit: &Id) -> Result<()> {
    match commits::by_id(tx, commit)? {
        Some(commit) if told::is_known(tx, Facts::Commit, commit.row)? => told::wanted(tx, Facts::Commit, commit.row),
        _ => Ok(()),
    }
}

fn send_commit(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    told::wanted(tx, Facts::Commit, row)?;
    send_again(tx, Entity::commit(row))
}

/// Nothing is here that could be sent: what was deleted stays so, and what was brought back is deleted again and kept as a conflict.
fn give_up(tx: &mut Transaction<'_>, sent: &Waiting) -> Result<Applied> {
    outbox::remove(tx, sent.kind, sent.entity_row)?;
    let entity = Entity { kind: sent.kind, row: sent.entity_row };
    let mut taken = Taken::default();
    let now = record::values(tx, entity)?.unwrap_or_default();
    if now.get(DELETED_AT).is_none_or(|at| !at.is_null()) {
        return Ok(Applied::Done(taken));
    }
    let at = json!(sent.base.get(DELETED_AT).and_then(Value::as_i64).unwrap_or(sent.last_at.0));
    match record::set(tx, By::Machine(""), (entity, sent.entity_id), DELETED_AT, &at) {
        Ok(()) => taken.changed = true,
        Err(NotTaken::Value(why)) => taken.skipped.push(format!("{} {}: {why}", sent.kind.as_str(), sent.entity_id)),
        Err(NotTaken::Store(error)) => return Err::<_, StoreError>(error),
    }
    let conflict = Conflict {
        row: 0,
        kind: sent.kind,
        entity_row: sent.entity_row,
        entity_id: sent.entity_id,
        field: DELETED_AT.to_owned(),
        base: at.clone(),
        local: Value::Null,
        cloud: at,
        kept: Side::Cloud,
        machine: String::new(),
        name: record::place_name(tx, entity)?,
        at: Millis::now(),
    };
    conflicts::add(tx, &conflict)?;
    taken.conflicts = 1;
    Ok(Applied::Done(taken))
}
