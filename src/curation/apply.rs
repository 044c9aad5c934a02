//! Writes edits: the record, the log and the outbox together.

use serde_json::{Value, json};

use super::{CurationError, Edit, EntityKind, Origin, Result, Title, TrashName, names};
use crate::derived;
use crate::model::{Commit, Id, Millis, Project, Session, Turn};
use crate::render;
use crate::store::commits::curated;
use crate::store::edits::{self, NewEdit};
use crate::store::outbox::{self, FieldChange};
use crate::store::trash::{self, Trashed};
use crate::store::{ChangeKind, Transaction, commits, projects, sessions, turns};

/// What a deletion of its parts is taken for the beginning of, in milliseconds: `rm -r` deletes turn by turn, then the session,
/// then the commit. What was deleted longer before stays deleted when the whole is restored.
const ONE_SWEEP: i64 = 60 * 60 * 1000;

/// Something that can be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entity {
    pub kind: EntityKind,
    pub row: i64,
}

impl Entity {
    #[must_use]
    pub fn commit(row: i64) -> Self {
        Self { kind: EntityKind::Commit, row }
    }

    #[must_use]
    pub fn session(row: i64) -> Self {
        Self { kind: EntityKind::Session, row }
    }

    #[must_use]
    pub fn turn(row: i64) -> Self {
        Self { kind: EntityKind::Turn, row }
    }
}

/// Makes edits of one origin in a transaction.
pub struct Editor<'a, 'conn> {
    tx: &'a mut Transaction<'conn>,
    origin: Origin,
    /// The edit that these take back.
    undoes: Option<i64>,
    /// Where they were made, if that was not here.
    elsewhere: Option<Elsewhere>,
    /// When they were made, if that is known and was not now.
    at: Option<Millis>,
}

/// Where and when an edit was made that came by way of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The machine's name; empty: not known.
    pub machine: String,
}

/// What is written of an edit beside the record.
struct Written<'a> {
    entity: (EntityKind, i64, Id),
    base_version: i64,
    action: &'a str,
    before: Value,
    after: Value,
    fields: Vec<FieldChange>,
}

impl<'a, 'conn> Editor<'a, 'conn> {
    pub fn new(tx: &'a mut Transaction<'conn>, origin: Origin) -> Self {
        Self { tx, origin, undoes: None, elsewhere: None, at: None }
    }

    /// Makes edits that were made elsewhere: they are logged, and not queued for the cloud, which they come from. A deletion is
    /// that of its record alone: what it makes of the parts was decided where it was made.
    pub fn of_cloud(tx: &'a mut Transaction<'conn>, elsewhere: Elsewhere) -> Self {
        Self { tx, origin: Origin::Sync, undoes: None, elsewhere: Some(elsewhere), at: None }
    }

    /// Makes edits that were made in another program, at a time that it may have noted: they are this user's, and are queued
    /// for the cloud like those made here.
    pub fn of_import(tx: &'a mut Transaction<'conn>, at: Option<Millis>) -> Self {
        Self { tx, origin: Origin::Import, undoes: None, elsewhere: None, at }
    }

    pub(super) fn undoing(tx: &'a mut Transaction<'conn>, origin: Origin, seq: i64) -> Self {
        Self { tx, origin, undoes: Some(seq), elsewhere: None, at: None }
    }

    /// Makes an edit; its number in the log, or `None` when the record is so already.
    ///
    /// # Errors
    /// When the edit is refused or cannot be written: the transaction is then to be dropped.
    pub fn apply(&mut self, edit: &Edit) -> Result<Option<i64>> {
        match edit {
            Edit::Retitle { commit, title, name } => self.retitle(*commit, title, name.as_deref()),
            Edit::SetHidden { commit, hidden } => self.set(*commit, &curated::Value::Hidden(*hidden)),
            Edit::SetPublished { commit, published } => self.set(*commit, &curated::Value::Published(*published)),
            Edit::Reorder { commit, order } => self.set(*commit, &curated::Value::Order(*order)),
            Edit::SetNote { commit, note } => self.set(*commit, &curated::Value::Note(note.clone())),
            Edit::SetTags { commit, tags } => self.set(*commit, &curated::Value::Tags(tags.clone())),
            Edit::MoveToProject { commit, project, name } => self.move_commit(*commit, *project, name.as_deref()),
            Edit::RenameProject { project, name } => self.rename_project(*project, name, name),
            Edit::Delete { entity, name } => self.delete(*entity, name),
            Edit::Restore { entity } => self.restore(*entity),
        }
    }

    /// Makes several edits; the numbers of those that changed something.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_all(&mut self, edits: &[Edit]) -> Result<Vec<i64>> {
        let mut made = Vec::new();
        for edit in edits {
            made.extend(self.apply(edit)?);
        }
        Ok(made)
    }

    fn note(&mut self, written: Written<'_>) -> Result<Option<i64>> {
        let Written { entity: (kind, row, id), base_version, action, before, after, fields } = written;
        if self.elsewhere.is_none() {
            outbox::add(self.tx, kind, row, id, base_version, &fields)?;
        }
        if kind == EntityKind::Commit {
            curated::set_status(self.tx, row)?;
        }
        let (origin, undoes) = (self.origin, self.undoes);
        let machine = self.elsewhere.as_ref().map(|elsewhere| elsewhere.machine.as_str());
        let new = NewEdit {
            origin,
            machine,
            kind,
            entity_row: row,
            entity_id: id,
            action,
            before,
            after,
            undoes,
            at: self.at,
        };
        Ok(Some(edits::add(self.tx, &new)?))
    }

    fn note_commit(
        &mut self,
        commit: &Commit,
        action: &str,
        (before, after): (Value, Value),
        fields: Vec<FieldChange>,
    ) -> Result<Option<i64>> {
        let base_version = curated::versions(self.tx, commit.row)?.map_or(0, |(cloud, _)| cloud);
        let entity = (EntityKind::Commit, commit.row, commit.id);
        self.note(Written { entity, base_version, action, before, after, fields })
    }

    fn commit(&self, row: i64) -> Result<Commit> {
        commits::get(self.tx, row)?.ok_or(CurationError::NotFound { kind: EntityKind::Commit })
    }

    fn project(&self, row: i64) -> Result<Project> {
        projects::get(self.tx, row)?.ok_or(CurationError::NotFound { kind: EntityKind::Project })
    }

    fn session(&self, row: i64) -> Result<Session> {
        sessions::get(self.tx, row)?.ok_or(CurationError::NotFound { kind: EntityKind::Session })
    }

    /// Holds that no other commit has a name in a project.
    fn check_free(&self, project: i64, name: &str, but: i64) -> Result<()> {
        names::check(name)?;
        match commits::by_dir_name(self.tx, project, name)? {
            Some(other) if other.row != but => Err(CurationError::NameTaken { name: name.to_owned() }),
            _ => Ok(()),
        }
    }

    fn retitle(&mut self, row: i64, title: &Title, name: Option<&str>) -> Result<Option<i64>> {
        let commit = self.commit(row)?;
        let before = curated::title(self.tx, &commit)?;
        if before == *title && name.is_none_or(|name| name == commit.dir_name) {
            return Ok(None);
        }
        if let Some(name) = name {
            self.check_free(commit.project_row, name, row)?;
        }
        curated::set_title(self.tx, &commit, title, name)?;
        let new_name = self.commit(row)?.dir_name;
        // The title that was found tells, when this is taken back, whether an import has found another.
        let found = curated::found_title(self.tx, &commit)?.0;
        let json = |title: &Title, name: &str| json!({ "title": title_json(title), "found": found, "name": name });
        let log = (json(&before, &commit.dir_name), json(title, &new_name));
        let fields = if before == *title {
            Vec::new()
        } else {
            vec![FieldChange { field: "title", before: title_json(&before), after: title_json(title) }]
        };
        self.note_commit(&commit, "retitle", log, fields)
    }

    fn set(&mut self, row: i64, value: &curated::Value) -> Result<Option<i64>> {
        use curated::Value::{Hidden, Note, Order, Published, Tags};
        let commit = self.commit(row)?;
        let (field, before, after) = match value {
            Hidden(hidden) => ("hidden", json!(commit.hidden), json!(hidden)),
            Published(published) => ("published", json!(commit.published), json!(published)),
            Order(order) => ("order", json!(commit.display_order), json!(order)),
            Note(note) => ("note", json!(commit.note), json!(note)),
            Tags(tags) => ("tags", json!(commit.tags), json!(tags)),
        };
        if before == after {
            return Ok(None);
        }
        curated::set(self.tx, &commit, value)?;
        let fields = vec![FieldChange { field, before: before.clone(), after: after.clone() }];
        self.note_commit(&commit, field, (before, after), fields)
    }

    fn move_commit(&mut self, row: i64, project: i64, name: Option<&str>) -> Result<Option<i64>> {
        let commit = self.commit(row)?;
        let name = name.unwrap_or(&commit.dir_name);
        if (project, name) == (commit.project_row, commit.dir_name.as_str()) {
            return Ok(None);
        }
        let (from, into) = (self.project(commit.project_row)?, self.project(project)?);
        if name != commit.dir_name || commits::by_dir_name(self.tx, project, name)?.is_some() {
            self.check_free(project, name, row)?;
        }
        curated::place(self.tx, &commit, project, name)?;
        for session in sessions::rows_of_commit(self.tx, row)? {
            self.tx.changes.add(ChangeKind::Session, session);
        }
        let json = |project: &Project, name: &str| json!({ "project": project.id.to_string(), "project_row": project.row, "project_name": project.name, "name": name });
        let log = (json(&from, &commit.dir_name), json(&into, name));
        let fields = if from.row == into.row {
            Vec::new()
        } else {
            let (before, after) = (json!(from.id.to_string()), json!(into.id.to_string()));
            vec![FieldChange { field: "project", before, after }]
        };
        self.note_commit(&commit, "move", log, fields)
    }

    /// Gives a project a name and its directory another.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn rename_project(&mut self, row: i64, name: &str, dir_name: &str) -> Result<Option<i64>> {
        let project = self.project(row)?;
        if (project.name.as_str(), project.dir_name.as_str()) == (name, dir_name) {
            return Ok(None);
        }
        names::check(dir_name)?;
        if projects::by_dir_name(self.tx, dir_name)?.is_some_and(|other| other.row != row) {
            return Err(CurationError::NameTaken { name: dir_name.to_owned() });
        }
        projects::rename(self.tx, &project, name, dir_name)?;
        let json = |name: &str, dir_name: &str| json!({ "name": name, "directory": dir_name });
        let (before, after) = (json(&project.name, &project.dir_name), json(name, dir_name));
        let fields = vec![FieldChange { field: "name", before: json!(project.name), after: json!(name) }];
        let base_version = projects::cloud_version(self.tx, row)?;
        let entity = (EntityKind::Project, row, project.id);
        self.note(Written { entity, base_version, action: "rename", before, after, fields })
    }

    fn delete(&mut self, entity: Entity, name: &TrashName) -> Result<Option<i64>> {
        self.delete_at(entity, name, Millis::now())
    }

    /// Deletes something at a time: the one that the machine which deleted it noted.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn delete_at(&mut self, entity: Entity, name: &TrashName, now: Millis) -> Result<Option<i64>> {
        if let Some(trashed) = trash::find(self.tx, entity.kind, entity.row)? {
            return Err(CurationError::Deleted { id: trashed.name });
        }
        let (id, own) = match entity.kind {
            EntityKind::Commit => self.delete_commit(entity.row, now)?,
            EntityKind::Session => self.delete_session(entity.row, now)?,
            EntityKind::Turn => self.delete_turn(entity.row, now)?,
            EntityKind::Project => {
                let reason = "a project is not deleted as a whole: delete its commits, or `cogfs forget` it".to_owned();
                return Err(CurationError::Invalid { reason });
            }
        };
        let name = match name {
            TrashName::Own => trash::Name { wanted: &own, by_manager: false },
            TrashName::Typed(name) => trash::Name { wanted: name, by_manager: false },
            TrashName::ByManager(name) => trash::Name { wanted: name, by_manager: true },
        };
        trash::add(self.tx, entity.kind, entity.row, &id, name)?;
        self.note_deletion(entity, id, "delete", (Value::Null, json!(now.0)))
    }

    fn note_deletion(
        &mut self,
        entity: Entity,
        id: Id,
        action: &str,
        (before, after): (Value, Value),
    ) -> Result<Option<i64>> {
        let base_version = self.base_version(entity)?;
        let fields = vec![FieldChange { field: "deleted_at", before: before.clone(), after: after.clone() }];
        let entity = (entity.kind, entity.row, id);
        self.note(Written { entity, base_version, action, before, after, fields })
    }

    /// The version of a record in the cloud.
    fn base_version(&self, entity: Entity) -> Result<i64> {
        Ok(match entity.kind {
            EntityKind::Commit => curated::versions(self.tx, entity.row)?.map_or(0, |(cloud, _)| cloud),
            EntityKind::Session => sessions::cloud_version(self.tx, entity.row)?,
            EntityKind::Turn => turns::cloud_version(self.tx, entity.row)?,
            EntityKind::Project => projects::cloud_version(self.tx, entity.row)?,
        })
    }

    fn delete_commit(&mut self, row: i64, now: Millis) -> Result<(Id, String)> {
        let commit = self.commit(row)?;
        if self.elsewhere.is_none() {
            for session in sessions::rows_of_commit(self.tx, row)? {
                self.absorb(session, now)?;
            }
        }
        let commit_now = self.commit(row)?;
        curated::set_deleted(self.tx, &commit_now, Some(now))?;
        Ok((commit.id, commit.dir_name))
    }

    fn delete_session(&mut self, row: i64, now: Millis) -> Result<(Id, String)> {
        let session = self.session(row)?;
        if self.elsewhere.is_none() {
            for turn in sweep_of(turns::deleted(self.tx, row)?, now) {
                self.take_back(Entity::turn(turn))?;
            }
            for subagent in sessions::descendants(self.tx, row)? {
                self.absorb(subagent, now)?;
            }
        }
        sessions::set_deleted(self.tx, &session, Some(now))?;
        let commit = session.commit_row.map(|commit| self.commit(commit)).transpose()?;
        let front = commit.map(|commit| format!("{}__", commit.dir_name)).unwrap_or_default();
        Ok((session.id, format!("{front}{}", session.dir_name)))
    }

    /// Takes back that a session or turns of it were deleted a moment ago: the whole that they are of is deleted now.
    fn absorb(&mut self, session: i64, now: Millis) -> Result<()> {
        for turn in sweep_of(turns::deleted(self.tx, session)?, now) {
            self.take_back(Entity::turn(turn))?;
        }
        if sessions::deleted_at(self.tx, session)?.is_some_and(|at| at.0 > now.0 - ONE_SWEEP) {
            self.take_back(Entity::session(session))?;
        }
        Ok(())
    }

    fn delete_turn(&mut self, row: i64, now: Millis) -> Result<(Id, String)> {
        let not_found = || CurationError::NotFound { kind: EntityKind::Turn };
        let id = turns::id(self.tx, row)?.ok_or_else(not_found)?;
        let turn = turns::get(self.tx, row)?.ok_or_else(not_found)?;
        turns::set_deleted(self.tx, row, Some(now))?;
        let file = turn_name(&turn);
        self.recount(row, &turn, Some(&file))?;
        let session = self.session(turns::parts_of(row).0)?;
        Ok((id, format!("{}__{file}", session.dir_name)))
    }

    /// Brings the lengths and counters of a turn's session in step with its being deleted or restored.
    fn recount(&mut self, row: i64, turn: &Turn, gone: Option<&String>) -> Result<()> {
        let (session_row, number) = turns::parts_of(row);
        let mut session = self.session(session_row)?;
        let mut index = sessions::turn_index(self.tx, session_row)?.unwrap_or_default();
        if !derived::is_current(session.render_version) {
            let lengths = derived::lengths(self.tx, session_row)?;
            (session.sections, index) = (lengths.sections, lengths.index);
            // Computed with the turn as it is now: put back to what the change below starts from.
            match gone {
                Some(_) => session.sections += render::section_size(turn),
                None => session.sections -= render::section_size(turn),
            }
        }
        match gone {
            Some(_) => derived::leave_out(&mut session, turn),
            None => derived::bring_back(&mut session, turn),
        }
        index.set_deleted(number, gone.is_some());
        sessions::save_lengths(self.tx, session_row, &session.sections, &index)?;
        sessions::save_counters(self.tx, &session)?;
        self.tx.changes.add(ChangeKind::Session, session_row);
        self.tx.changes.add_full(ChangeKind::TurnName, session_row, 0, Some(turn_name(turn)));
        Ok(())
    }

    fn restore(&mut self, entity: Entity) -> Result<Option<i64>> {
        let trashed = trash::find(self.tx, entity.kind, entity.row)?.ok_or(CurationError::NotDeleted)?;
        let id = self.bring_back(entity, &trashed)?;
        self.note_deletion(entity, id, "restore", (json!(trashed.deleted_at.0), Value::Null))
    }

    /// Takes a deletion back without a trace of it: it was a part of a larger one.
    fn take_back(&mut self, entity: Entity) -> Result<()> {
        let Some(trashed) = trash::find(self.tx, entity.kind, entity.row)? else { return Ok(()) };
        let id = self.bring_back(entity, &trashed)?;
        // If the cloud knows of it already it is to be told.
        let (before, after) = (json!(trashed.deleted_at.0), Value::Null);
        let change = FieldChange { field: "deleted_at", before, after };
        outbox::add(self.tx, entity.kind, entity.row, id, self.base_version(entity)?, &[change])?;
        Ok(edits::forget_deletion(self.tx, entity.kind, entity.row)?)
    }

    fn bring_back(&mut self, entity: Entity, trashed: &Trashed) -> Result<Id> {
        let id = match entity.kind {
            EntityKind::Commit => self.bring_commit_back(entity.row)?,
            EntityKind::Session => {
                let session = self.session(entity.row)?;
                sessions::set_deleted(self.tx, &session, None)?;
                session.id
            }
            EntityKind::Turn => {
                let not_found = || CurationError::NotFound { kind: EntityKind::Turn };
                let turn = turns::get(self.tx, entity.row)?.ok_or_else(not_found)?;
                turns::set_deleted(self.tx, entity.row, None)?;
                self.recount(entity.row, &turn, None)?;
                turns::id(self.tx, entity.row)?.ok_or_else(not_found)?
            }
            EntityKind::Project => return Err(CurationError::NotDeleted),
        };
        trash::remove(self.tx, trashed.kind, trashed.entity_row)?;
        Ok(id)
    }

    fn bring_commit_back(&mut self, row: i64) -> Result<Id> {
        let commit = self.commit(row)?;
        curated::make_room(self.tx, &commit)?;
        let commit = self.commit(row)?;
        curated::set_deleted(self.tx, &commit, None)?;
        Ok(commit.id)
    }
}

/// Of deleted turns those that went in the sweep that takes the whole now.
fn sweep_of(deleted: Vec<(i64, Millis)>, now: Millis) -> Vec<i64> {
    deleted.into_iter().filter(|(_, at)| at.0 > now.0 - ONE_SWEEP).map(|(row, _)| row).collect()
}

fn turn_name(turn: &Turn) -> String {
    let slug = turn.tool.as_ref().map(|tool| render::tool_slug(&tool.name));
    render::turn_file_name(turn.number, turn.role, slug.as_deref())
}

/// A title in the log and on the wire: `null` is the one that was found.
pub(super) fn title_json(title: &Title) -> Value {
    match title {
        Title::Found => Value::Null,
        Title::User(text) => json!(text),
    }
}
