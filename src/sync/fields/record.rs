//! The fields of a record in the store: read as the wire has them, and set by way of `curation`.

use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::cloud::wire::{Kind, Row};
use crate::curation::{self, CurationError, Edit, Editor, Elsewhere, Entity, Origin, TrashName};
use crate::model::{ContentsAt, Id, Millis};
use crate::render;
use crate::store::commits::curated::{self, Title};
use crate::store::{self, EntityKind, Result, Transaction, commits, gone, projects, sessions, trash, turns};
use crate::sync::contents;
use crate::sync::merge::{DELETED_AT, Fields, TAGS};

/// The field that says which project a commit is in.
pub const PROJECT: &str = "project";

/// What people edit, of the kinds of the wire.
#[must_use]
pub fn entity_kind(kind: Kind) -> Option<EntityKind> {
    EntityKind::from_i64(kind as i64)
}

/// The kind on the wire.
#[must_use]
pub fn wire_kind(kind: EntityKind) -> Kind {
    match kind {
        EntityKind::Project => Kind::Project,
        EntityKind::Commit => Kind::Commit,
        EntityKind::Session => Kind::Session,
        EntityKind::Turn => Kind::Turn,
    }
}

/// The record that a row of the cloud is about; `None` when it is not here.
///
/// # Errors
/// When SQLite cannot read.
pub fn find(conn: &Connection, row: &Row) -> Result<Option<Entity>> {
    let Some(kind) = entity_kind(row.kind) else { return Ok(None) };
    let found = match kind {
        EntityKind::Turn => turn(conn, row)?,
        _ => by_id(conn, kind, &row.id)?,
    };
    Ok(found.map(|row| Entity { kind, row }))
}

/// The row of a record by its id.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id(conn: &Connection, kind: EntityKind, id: &Id) -> Result<Option<i64>> {
    Ok(match kind {
        EntityKind::Project => projects::by_id(conn, id)?.map(|project| project.row),
        EntityKind::Commit => commits::by_id(conn, id)?.map(|commit| commit.row),
        EntityKind::Session => sessions::all_by_id_range(conn, &id.0, &id.0, 1)?.pop().map(|session| session.row),
        EntityKind::Turn => turns::row_by_id(conn, id)?,
    })
}

fn turn(conn: &Connection, row: &Row) -> Result<Option<i64>> {
    // Where another session has a turn of its id, it has another one here: its number names it.
    let Some((session, number)) = row.turn else { return turns::row_by_id(conn, &row.id) };
    let session = by_id(conn, EntityKind::Session, &session)?;
    Ok(session.map(|session| turns::row_of(session, number)))
}

/// The id of a record.
///
/// # Errors
/// When SQLite cannot read.
pub fn id(conn: &Connection, entity: Entity) -> Result<Option<Id>> {
    Ok(match entity.kind {
        EntityKind::Project => projects::get(conn, entity.row)?.map(|project| project.id),
        EntityKind::Commit => commits::get(conn, entity.row)?.map(|commit| commit.id),
        EntityKind::Session => sessions::get(conn, entity.row)?.map(|session| session.id),
        EntityKind::Turn => match turns::id(conn, entity.row)? {
            Some(id) => Some(id),
            None => deleted_elsewhere(conn, entity.row)?.map(|(_, id)| id),
        },
    })
}

/// The project that a record lies in.
///
/// # Errors
/// When SQLite cannot read.
pub(super) fn project_id(conn: &Connection, entity: Entity) -> Result<Option<Id>> {
    let row = crate::sync::engine::project_of(conn, entity.kind, entity.row)?;
    Ok(row.map(|row| projects::get(conn, row)).transpose()?.flatten().map(|project| project.id))
}

/// The name of the directory that people know a record by: of a commit or project its own, of all else its commit's.
///
/// # Errors
/// When SQLite cannot read.
pub fn place_name(conn: &Connection, entity: Entity) -> Result<String> {
    let commit = match entity.kind {
        EntityKind::Project => {
            return Ok(projects::get(conn, entity.row)?.map(|project| project.dir_name).unwrap_or_default());
        }
        EntityKind::Commit => Some(entity.row),
        EntityKind::Session => sessions::get(conn, entity.row)?.and_then(|session| session.commit_row),
        EntityKind::Turn => sessions::get(conn, turns::parts_of(entity.row).0)?.and_then(|session| session.commit_row),
    };
    let commit = commit.map(|row| commits::get(conn, row)).transpose()?.flatten();
    Ok(commit.map(|commit| commit.dir_name).unwrap_or_default())
}

/// Whether a turn's contents are elsewhere. The first turns of the session may be here nonetheless.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_elsewhere(conn: &Connection, row: i64) -> Result<bool> {
    let session = sessions::get(conn, turns::parts_of(row).0)?;
    Ok(session.is_some_and(|session| session.contents == ContentsAt::Elsewhere))
}

/// When a turn was deleted whose contents are elsewhere, and its id.
fn deleted_elsewhere(conn: &Connection, row: i64) -> Result<Option<(Millis, Id)>> {
    let mut query = conn.prepare_cached("SELECT deleted_at, turn_id FROM deleted_elsewhere WHERE turn_row = ?1")?;
    Ok(query.query_row([row], |r| Ok((Millis(r.get(0)?), Id(r.get(1)?)))).optional()?)
}

fn time(at: Option<Millis>) -> Value {
    at.map_or(Value::Null, |at| json!(at.0))
}

/// What a record says of each field it has; `None` when it is no more.
///
/// # Errors
/// When SQLite cannot read.
pub fn values(conn: &Connection, entity: Entity) -> Result<Option<Fields>> {
    let value = match entity.kind {
        EntityKind::Project => match projects::get(conn, entity.row)? {
            Some(project) => json!({ "name": project.name }),
            None => return Ok(None),
        },
        EntityKind::Commit => match commits::get(conn, entity.row)? {
            Some(commit) => {
                let mut fields = curated::fields(conn, &commit)?;
                let project = projects::get(conn, commit.project_row)?.map(|project| project.id.to_string());
                fields.insert(PROJECT.to_owned(), json!(project));
                Value::from(fields)
            }
            None => return Ok(None),
        },
        EntityKind::Session => match sessions::get(conn, entity.row)? {
            Some(_) => json!({ DELETED_AT: time(sessions::deleted_at(conn, entity.row)?) }),
            None => return Ok(None),
        },
        EntityKind::Turn => {
            let at = match is_elsewhere(conn, entity.row)? {
                true => deleted_elsewhere(conn, entity.row)?.map(|(at, _)| at),
                false => turns::deleted_at(conn, entity.row)?,
            };
            json!({ DELETED_AT: time(at) })
        }
    };
    Ok(value.as_object().cloned())
}

/// The record's version in the cloud, as it was seen here last.
///
/// # Errors
/// When SQLite cannot read.
pub fn version(conn: &Connection, entity: Entity) -> Result<i64> {
    match entity.kind {
        EntityKind::Project => projects::cloud_version(conn, entity.row),
        EntityKind::Commit => Ok(curated::versions(conn, entity.row)?.map_or(0, |(cloud, _)| cloud)),
        EntityKind::Session => sessions::cloud_version(conn, entity.row),
        EntityKind::Turn => turns::cloud_version(conn, entity.row),
    }
}

/// Notes the record's version in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_version(tx: &Transaction<'_>, entity: Entity, version: i64) -> Result<()> {
    if self::version(tx, entity)? == version {
        return Ok(());
    }
    match entity.kind {
        EntityKind::Project => projects::set_cloud_version(tx, entity.row, version),
        EntityKind::Commit => curated::set_cloud_version(tx, entity.row, version),
        EntityKind::Session => sessions::set_cloud_version(tx, entity.row, version),
        EntityKind::Turn => turns::set_cloud_version(tx, entity.row, version),
    }
}

/// Why a value of a field is not taken. The others of its record are.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("{0}")]
    Value(String),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

impl From<CurationError> for NotTaken {
    fn from(error: CurationError) -> Self {
        match error {
            CurationError::Store(error) => Self::Store(error),
            other => Self::Value(other.to_string()),
        }
    }
}

/// Whether a text fits where a line is shown.
fn line(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.trim().is_empty() && !text.chars().any(char::is_control))
}

/// The edit that gives a field a value; `None` when that is none of the field's.
fn edit(tx: &Transaction<'_>, commit: i64, field: &str, value: &Value) -> Result<Option<Edit>> {
    Ok(match field {
        "title" if value.is_null() => Some(Edit::Retitle { commit, title: Title::Found, name: None }),
        "title" => line(value).map(|text| Edit::Retitle { commit, title: Title::User(text.to_owned()), name: None }),
        "hidden" => value.as_bool().map(|hidden| Edit::SetHidden { commit, hidden }),
        "published" => value.as_bool().map(|published| Edit::SetPublished { commit, published }),
        "order" => value.as_i64().map(|order| Edit::Reorder { commit, order }),
        "note" => value.as_str().map(|note| Edit::SetNote { commit, note: note.replace('\0', "") }),
        TAGS => {
            let tags = value.as_array().map(|list| list.iter().map(|tag| line(tag).map(str::to_owned)).collect());
            tags.flatten().map(|tags| Edit::SetTags { commit, tags })
        }
        PROJECT => moved(tx, commit, value)?,
        _ => None,
    })
}

/// The move into a project, under a name that is free there.
fn moved(tx: &Transaction<'_>, row: i64, value: &Value) -> Result<Option<Edit>> {
    let id = value.as_str().and_then(Id::parse);
    let project =
        id.map(|id| gone::now(tx, &id)).transpose()?.map(|id| projects::by_id(tx, &id)).transpose()?.flatten();
    let (Some(project), Some(commit)) = (project, commits::get(tx, row)?) else { return Ok(None) };
    let taken = commits::by_dir_name(tx, project.row, &commit.dir_name)?.is_some_and(|other| other.row != row);
    let name = taken.then(|| render::commit_dir_name(commit.started_at, &commit.title, &commit.id.short()));
    let name = name.map(|wanted| curated::free_name_in(tx, project.row, &wanted, &commit)).transpose()?;
    Ok(Some(Edit::MoveToProject { commit: row, project: project.row, name }))
}

/// Who changes a record.
#[derive(Debug, Clone, Copy)]
pub enum By<'a> {
    /// Another machine, of this name; empty: it is not known.
    Machine(&'a str),
    /// The user of this one.
    User(Origin),
}

impl By<'_> {
    fn editor<'t, 'conn>(self, tx: &'t mut Transaction<'conn>) -> Editor<'t, 'conn> {
        match self {
            Self::Machine(name) => Editor::of_cloud(tx, Elsewhere { machine: name.to_owned() }),
            Self::User(origin) => Editor::new(tx, origin),
        }
    }
}

/// Sets a field of a record of this id.
///
/// # Errors
/// When the value is none of the field's, or SQLite cannot write.
pub fn set(
    tx: &mut Transaction<'_>,
    by: By<'_>,
    (entity, id): (Entity, Id),
    field: &str,
    value: &Value,
) -> std::result::Result<(), NotTaken> {
    let none = || NotTaken::Value(format!("{value} is no value of {field}"));
    match (entity.kind, field) {
        (_, DELETED_AT) => {
            let at = if value.is_null() { None } else { Some(Millis(value.as_i64().ok_or_else(none)?)) };
            return set_deleted(tx, by, (entity, id), at);
        }
        (EntityKind::Project, "name") => {
            let name = line(value).ok_or_else(none)?;
            let dir_name = project_dir(tx, entity.row, name)?;
            by.editor(tx).rename_project(entity.row, name, &dir_name)?;
        }
        (EntityKind::Commit, field) => {
            let edit = edit(tx, entity.row, field, value)?.ok_or_else(none)?;
            by.editor(tx).apply(&edit)?;
        }
        _ => return Err(none()),
    }
    Ok(())
}

/// Deletes a record, or takes that back.
fn set_deleted(
    tx: &mut Transaction<'_>,
    by: By<'_>,
    (entity, id): (Entity, Id),
    at: Option<Millis>,
) -> std::result::Result<(), NotTaken> {
    let Entity { kind, row } = entity;
    if kind == EntityKind::Turn && is_elsewhere(tx, row)? {
        let (session, number) = turns::parts_of(row);
        return match contents::set_turn_deleted(tx, session, (number, id), at)? {
            true => Ok(()),
            false => Err(NotTaken::Value("there is no such turn".to_owned())),
        };
    }
    match (at, trash::find(tx, kind, row)?.is_some()) {
        (Some(at), false) => {
            by.editor(tx).delete_at(entity, &TrashName::Own, at)?;
        }
        (None, true) => {
            by.editor(tx).apply(&Edit::Restore { entity })?;
        }
        // A turn that was deleted while its contents were elsewhere has no name in the trash.
        (None, false) => {
            let id = self::id(tx, entity)?.unwrap_or(id);
            trash::add(tx, kind, row, &id, trash::Name { wanted: &id.to_string(), by_manager: false })?;
            by.editor(tx).apply(&Edit::Restore { entity })?;
        }
        // It has its name in the trash, and the log brought it again.
        (Some(at), true) if kind == EntityKind::Turn && turns::deleted_at(tx, row)?.is_none() => {
            trash::remove(tx, kind, row)?;
            by.editor(tx).delete_at(entity, &TrashName::Own, at)?;
        }
        (Some(at), true) => set_time(tx, entity, at)?,
    }
    Ok(())
}

/// Gives a deleted record the time at which another machine deleted it.
fn set_time(tx: &mut Transaction<'_>, entity: Entity, at: Millis) -> Result<()> {
    match entity.kind {
        EntityKind::Commit => match commits::get(tx, entity.row)? {
            Some(commit) => curated::set_deleted(tx, &commit, Some(at)),
            None => Ok(()),
        },
        EntityKind::Session => match sessions::get(tx, entity.row)? {
            Some(session) => sessions::set_deleted(tx, &session, Some(at)),
            None => Ok(()),
        },
        EntityKind::Turn => turns::set_deleted(tx, entity.row, Some(at)),
        EntityKind::Project => Ok(()),
    }
}

/// What the directory of a project of this name is called: so, if it can be and no other is.
fn project_dir(tx: &Transaction<'_>, row: i64, name: &str) -> Result<String> {
    let made = render::project_dir_name(name);
    let short = projects::get(tx, row)?.map(|project| project.id.short()).unwrap_or_default();
    for wanted in [name, &made, &format!("{made}_{short}")] {
        let is_free = projects::by_dir_name(tx, wanted)?.is_none_or(|other| other.row == row);
        if is_free && curation::names::check(wanted).is_ok() {
            return Ok(wanted.to_owned());
        }
    }
    Ok(format!("{made}_{row}"))
}
