//! What people changed: from the queue to the cloud, and from the cloud onto the records here.
//!
//! A change that comes is merged with what waits (`merge`) and made by way of `curation`, so that names, views and the log of
//! edits follow as from an edit made here; nothing that comes is queued again. A value that is none of its field's costs that
//! field alone. The version of a record in the cloud is taken from the records that come, never from the answer to a push: that
//! also says "applied" where another machine made the same change and one more.

mod purged;
pub mod record;
mod secrets;

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::cloud::wire::{self, Change, Outcome, Row};
use crate::curation::Entity;
use crate::model::{Id, Millis};
use crate::store::commits::curated;
use crate::store::conflicts::{self, Conflict, Side};
use crate::store::outbox::{self, Rest, Waiting};
use crate::store::told::{self, Facts};
use crate::store::{EntityKind, Result, Transaction, gone, kept, machines, projects, refused, sessions, turns};
use crate::sync::facts::Redact;
use crate::sync::merge::{self, Cloud, DELETED_AT, Fields, Local, Merged, Stamp};
pub(crate) use purged::{send_again_if_known, send_commit_of, tell_what_was_lost};
use record::{By, NotTaken, PROJECT};
pub(crate) use secrets::tell_anew;

/// Who merges, and by what clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Here {
    pub machine: Id,
    /// What the server's clock is ahead of this machine's, in milliseconds.
    pub ahead: i64,
}

/// What became of a record that came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// The record here says something else now.
    pub changed: bool,
    /// Fields of which a value lost against another.
    pub conflicts: u64,
    /// A deletion yielded to a change.
    pub restored: bool,
    /// Values that could not be taken, and why.
    pub skipped: Vec<String>,
}

/// What [`apply`] did with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    Done(Taken),
    /// It, or the project it is in, is not here yet.
    Later,
}

/// What waits and may be sent, behind a place of the queue: of records that the cloud knows, in projects that may leave. In the
/// order of the edits.
///
/// # Errors
/// When SQLite cannot read.
pub fn pending(conn: &Connection, after: i64, limit: usize) -> Result<(Vec<Waiting>, i64)> {
    let (mut found, mut place) = (Vec::new(), after);
    while found.len() < limit {
        let page = outbox::after(conn, place, limit)?;
        let Some(last) = page.last() else { break };
        place = last.seq;
        for waiting in page {
            if found.len() == limit {
                place = place.min(waiting.seq - 1);
            } else if may_leave(conn, &waiting)? {
                found.push(waiting);
            }
        }
    }
    Ok((found, place))
}

/// Whether the cloud knows a record, and its project may be known there.
fn may_leave(conn: &Connection, waiting: &Waiting) -> Result<bool> {
    let row = waiting.entity_row;
    Ok(match waiting.kind {
        EntityKind::Project => told::is_known(conn, Facts::Project, row)? && projects::syncs(conn, row)?,
        EntityKind::Commit => {
            let Some(commit) = crate::store::commits::get(conn, row)? else { return Ok(false) };
            told::is_known(conn, Facts::Commit, row)? && projects::syncs(conn, commit.project_row)?
        }
        EntityKind::Session => session_may_leave(conn, row)?,
        EntityKind::Turn => session_may_leave(conn, turns::parts_of(row).0)?,
    })
}

fn session_may_leave(conn: &Connection, row: i64) -> Result<bool> {
    let commit = sessions::get(conn, row)?.and_then(|session| session.commit_row);
    let commit = commit.map(|row| crate::store::commits::get(conn, row)).transpose()?.flatten();
    let Some(commit) = commit else { return Ok(false) };
    Ok(!kept::is_kept(conn, row)?
        && told::is_known(conn, Facts::Session, row)?
        && projects::syncs(conn, commit.project_row)?)
}

/// What waits as a change of the wire, without secrets.
///
/// # Errors
/// When SQLite cannot read.
pub fn change(conn: &Connection, waiting: &Waiting, redact: &dyn Redact) -> Result<Change> {
    let turn = match waiting.kind {
        EntityKind::Turn => {
            let (session, number) = turns::parts_of(waiting.entity_row);
            sessions::get(conn, session)?.map(|session| (session.id, number))
        }
        _ => None,
    };
    let project = record::project_id(conn, Entity { kind: waiting.kind, row: waiting.entity_row })?;
    let fields = with_present_ids(conn, &waiting.fields)?;
    Ok(Change::Fields {
        kind: record::wire_kind(waiting.kind),
        id: waiting.entity_id,
        base_version: waiting.base_version,
        fields: secrets::taken_out(fields, &project.unwrap_or(waiting.entity_id), redact),
        turn,
    })
}

/// Fields in which a project is called by the id it has now.
fn with_present_ids(conn: &Connection, fields: &Fields) -> Result<Fields> {
    let mut fields = fields.clone();
    if let Some(id) = fields.get(PROJECT).and_then(Value::as_str).and_then(Id::parse) {
        fields.insert(PROJECT.to_owned(), json!(gone::now(conn, &id)?.to_string()));
    }
    Ok(fields)
}

/// Takes the answer to what was sent. `Merged` and `Forgotten` tell of the record, and are for the caller to make known first.
///
/// # Errors
/// When SQLite cannot write.
pub fn settle(tx: &mut Transaction<'_>, here: Here, sent: &Waiting, outcome: &Outcome) -> Result<Applied> {
    match outcome {
        Outcome::Applied { .. } => applied(tx, sent)?,
        Outcome::Conflict { row } => return apply(tx, here, row),
        // The cloud had it, and has removed it since.
        Outcome::Refused { code, .. } if code == refused::UNKNOWN_PARENT => return purged::edited(tx, sent),
        Outcome::Refused { code, message } => {
            refused::add(tx, sent.kind as i64, &sent.entity_id, code, message)?;
            outbox::set_sent(tx, sent.seq, false)?;
        }
        Outcome::Merged { .. } | Outcome::Forgotten => {}
    }
    Ok(Applied::Done(Taken::default()))
}

/// The cloud has what was sent: what the record says otherwise by now waits on.
fn applied(tx: &mut Transaction<'_>, sent: &Waiting) -> Result<()> {
    let entity = Entity { kind: sent.kind, row: sent.entity_row };
    let Some(now) = record::values(tx, entity)? else { return Ok(()) };
    let waiting = outbox::find(tx, sent.kind, sent.entity_row)?;
    let mut rest = Rest { base_version: sent.base_version, edits: 1, ..Rest::default() };
    if let Some(waiting) = &waiting {
        rest.edits = (waiting.edits - sent.edits).max(1);
        rest.fields.clone_from(&waiting.fields);
        rest.base.clone_from(&waiting.base);
    }
    for (field, value) in &sent.fields {
        match now.get(field) {
            Some(here) if here != value => {
                rest.fields.insert(field.clone(), here.clone());
                rest.base.insert(field.clone(), value.clone());
            }
            _ => {
                rest.fields.remove(field);
                rest.base.remove(field);
            }
        }
    }
    outbox::replace(tx, sent.kind, sent.entity_row, sent.entity_id, &rest)?;
    if sent.kind == EntityKind::Commit {
        curated::set_status(tx, sent.entity_row)?;
    }
    Ok(())
}

/// Takes the fields of a record that came, merged with what waits of it.
///
/// # Errors
/// When SQLite cannot write.
pub fn apply(tx: &mut Transaction<'_>, here: Here, row: &Row) -> Result<Applied> {
    let Some(entity) = record::find(tx, row)? else {
        let is_awaited = record::entity_kind(row.kind).is_some() && !row.fields.is_empty() && !is_gone(tx, row)?;
        return Ok(if is_awaited { Applied::Later } else { Applied::Done(Taken::default()) });
    };
    let waiting = outbox::find(tx, entity.kind, entity.row)?;
    let Some(now) = record::values(tx, entity)? else { return Ok(Applied::Later) };
    let was_removed = told::was_removed_there(tx, &row.id)?;
    let is_back = waiting.is_none() && purged::is_back(entity, row, &now);
    if is_back && row.fields.is_empty() {
        return purged::delete_again(tx, entity, row, &now);
    }
    // A new record in place of one that was removed; after a restored backup its version may be lower.
    let known_version = record::version(tx, entity)?;
    let is_new =
        is_back || was_removed || row.version < known_version || wire::is_another_life(row.version, known_version);
    if row.fields.is_empty() && waiting.is_none() && !is_new {
        return Ok(Applied::Done(Taken::default()));
    }
    let mut cloud = secrets::put_back(with_present_ids(tx, &row.fields)?, |field| {
        // Of a field that waits, what the cloud has is likeliest what was before: if it is not, sending it again changes nothing.
        let waits = waiting.as_ref().map(|waiting| [waiting.base.get(field), waiting.fields.get(field)]);
        waits.into_iter().flatten().chain([now.get(field)]).flatten().collect()
    });
    if is_back {
        // An edit that was made without knowledge of the deletion.
        cloud.insert(DELETED_AT.to_owned(), Value::Null);
    }
    let mut merged = merged(tx, here, row, &cloud, waiting.as_ref(), &now)?;
    if !is_placed(tx, entity, &merged.take)? {
        return Ok(Applied::Later);
    }
    if is_new {
        let waits = |field: &str| waiting.as_ref().is_some_and(|waiting| waiting.fields.contains_key(field));
        merged
            .lost
            .extend(purged::overtaken(entity, &now, &merged.take).into_iter().filter(|lost| !waits(&lost.field)));
    }
    let mut taken = Taken { restored: merged.restored.is_some() || is_back, ..Taken::default() };
    let machine = row.fields_by.map(|id| machines::name_of(tx, &id)).transpose()?.unwrap_or_default();
    for (field, value) in in_order(&merged.take) {
        match record::set(tx, By::Machine(&machine), (entity, row.id), field, value) {
            Ok(()) => taken.changed = true,
            Err(NotTaken::Value(why)) => {
                taken.skipped.push(format!("{} {}: {field}: {why}", entity.kind.as_str(), row.id))
            }
            Err(NotTaken::Store(error)) => return Err(error),
        }
    }
    taken.conflicts = keep_lost(tx, entity, row.id, &merged, &machine)?;
    let edits = waiting.as_ref().map_or(1, |waiting| waiting.edits);
    let mut rest = Rest { fields: merged.send, base: merged.base, base_version: row.version, edits };
    if is_new {
        purged::tell_what_it_lacks(tx, entity, row, &mut rest)?;
    }
    let id = record::id(tx, entity)?.unwrap_or(row.id);
    let waited = waiting.is_some();
    if waited || !rest.fields.is_empty() {
        outbox::replace(tx, entity.kind, entity.row, id, &rest)?;
    }
    if is_new {
        purged::send_again(tx, entity)?;
    }
    record::set_version(tx, entity, row.version)?;
    if entity.kind == EntityKind::Commit && (waited || taken.changed) {
        curated::set_status(tx, entity.row)?;
    }
    Ok(Applied::Done(taken))
}

/// Whether a record, or the session that a turn is in, is no more.
fn is_gone(conn: &Connection, row: &Row) -> Result<bool> {
    let of_session = row.turn.map(|(session, _)| gone::fate(conn, &session)).transpose()?.flatten();
    Ok(of_session.is_some() || gone::fate(conn, &row.id)?.is_some())
}

fn merged(
    tx: &Transaction<'_>,
    here: Here,
    row: &Row,
    cloud: &Fields,
    waiting: Option<&Waiting>,
    now: &Fields,
) -> Result<Merged> {
    let (fields, base) = match waiting {
        Some(waiting) => (with_present_ids(tx, &waiting.fields)?, with_present_ids(tx, &waiting.base)?),
        None => Default::default(),
    };
    let ours = Stamp {
        version: waiting.map_or(0, |waiting| wire::changes_of(waiting.base_version) + waiting.edits),
        at: Millis(waiting.map_or(0, |waiting| waiting.last_at.0.saturating_add(here.ahead))),
        machine: Some(here.machine),
    };
    let theirs =
        Stamp { version: wire::changes_of(row.version), at: row.fields_at.unwrap_or_default(), machine: row.fields_by };
    let local = Local { fields: &fields, base: &base, stamp: ours };
    Ok(merge::merge(&local, &Cloud { fields: cloud, stamp: theirs }, now))
}

/// Whether what a change refers to is here: the project that a commit is moved to, a turn that is deleted.
fn is_placed(tx: &Transaction<'_>, entity: Entity, take: &Fields) -> Result<bool> {
    if entity.kind == EntityKind::Turn {
        let is_placed = turns::get(tx, entity.row)?.is_some() || record::is_elsewhere(tx, entity.row)?;
        return Ok(is_placed || take.is_empty());
    }
    match take.get(PROJECT).and_then(Value::as_str).and_then(Id::parse) {
        Some(id) => Ok(projects::by_id(tx, &id)?.is_some()),
        None => Ok(true),
    }
}

/// A restoring first, and a deletion last.
fn in_order(take: &Fields) -> impl Iterator<Item = (&String, &Value)> {
    let place = |(field, value): &(&String, &Value)| match (field.as_str() == DELETED_AT, value.is_null()) {
        (true, true) => 0,
        (false, _) => 1,
        (true, false) => 2,
    };
    let mut all: Vec<(&String, &Value)> = take.iter().collect();
    all.sort_by_key(place);
    all.into_iter()
}

/// Deletes the turns that were deleted while their contents were elsewhere, and that a log of this machine has brought since.
///
/// # Errors
/// When SQLite cannot write.
pub fn delete_what_came(tx: &mut Transaction<'_>) -> Result<()> {
    let came: Vec<(i64, i64)> = tx
        .prepare_cached(
            "SELECT d.turn_row, d.deleted_at FROM deleted_elsewhere d JOIN turns t ON t.row = d.turn_row
                 JOIN sessions s ON s.row = d.turn_row >> 16 WHERE s.contents <> 1 ORDER BY d.turn_row",
        )?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, at) in came {
        tx.prepare_cached("DELETE FROM deleted_elsewhere WHERE turn_row = ?1")?.execute([row])?;
        // One that is forgotten, or deleted already, needs no more.
        if turns::get(tx, row)?.is_none() || turns::deleted_at(tx, row)?.is_some() {
            continue;
        }
        let Some(id) = turns::id(tx, row)? else { continue };
        match record::set(tx, By::Machine(""), (Entity::turn(row), id), DELETED_AT, &json!(at)) {
            Ok(()) => {}
            Err(NotTaken::Value(why)) => tracing::warn!("turn {row} cannot be deleted: {why}"),
            Err(NotTaken::Store(error)) => return Err(error),
        }
    }
    Ok(())
}

fn keep_lost(tx: &mut Transaction<'_>, entity: Entity, id: Id, merged: &Merged, machine: &str) -> Result<u64> {
    for lost in &merged.lost {
        let name = record::place_name(tx, entity)?;
        let new = Conflict {
            row: 0,
            kind: entity.kind,
            entity_row: entity.row,
            entity_id: id,
            field: lost.field.clone(),
            base: lost.base.clone(),
            local: lost.local.clone(),
            cloud: lost.cloud.clone(),
            kept: lost.kept,
            machine: machine.to_owned(),
            name,
            at: Millis::now(),
        };
        conflicts::add(tx, &new)?;
    }
    Ok(merged.lost.len() as u64)
}

/// Gives a record the value of one side of a conflict, by an edit, and closes the conflict. False when it says so already.
///
/// # Errors
/// When the record is no more, it does not take the value, or SQLite cannot write.
pub fn take_side(
    tx: &mut Transaction<'_>,
    origin: crate::curation::Origin,
    conflict: &Conflict,
    side: Side,
) -> std::result::Result<bool, NotTaken> {
    let entity = Entity { kind: conflict.kind, row: conflict.entity_row };
    let gone = || NotTaken::Value(format!("the {} is no more", conflict.kind.as_str()));
    let now = record::values(tx, entity)?.ok_or_else(gone)?;
    let value = match side {
        Side::Local => &conflict.local,
        Side::Cloud => &conflict.cloud,
    };
    let is_so = now.get(&conflict.field) == Some(value);
    if !is_so {
        record::set(tx, By::User(origin), (entity, conflict.entity_id), &conflict.field, value)?;
    }
    conflicts::resolve(tx, conflict.row, side)?;
    Ok(!is_so)
}
