//! Takes an edit of the log back, as a new edit.

use serde_json::json;

use super::{CurationError, Edit, Editor, Entity, EntityKind, Origin, Result, Title, TrashName};
use crate::model::Commit;
use crate::render;
use crate::store::commits::curated;
use crate::store::edits::{self, Logged};
use crate::store::{Transaction, commits, projects, trash};

/// Takes an edit back; the number of the edit that does so.
///
/// # Errors
/// When there is no such edit, it was taken back already, what it changed has been changed since, or it cannot be written.
pub fn undo(tx: &mut Transaction<'_>, origin: Origin, seq: i64) -> Result<Option<i64>> {
    let logged = edits::get(tx, seq)?.ok_or(CurationError::NoSuchEdit { seq })?;
    if let Some(by) = logged.undone_by {
        return Err(CurationError::UndoneAlready { seq, by });
    }
    if !holds(tx, &logged)? {
        return Err(changed_since(tx, &logged)?);
    }
    let edit = inverse(tx, &logged)?;
    let mut editor = Editor::undoing(tx, origin, seq);
    match edit {
        Inverse::Edit(edit) => editor.apply(&edit),
        Inverse::RenameProject { name, dir_name } => editor.rename_project(logged.entity_row, &name, &dir_name),
    }
}

/// Whether the record says what it said after the edit.
fn holds(tx: &Transaction<'_>, logged: &Logged) -> Result<bool> {
    let (row, after) = (logged.entity_row, &logged.after);
    if let "delete" | "restore" = logged.action.as_str() {
        return Ok(trash::find(tx, logged.kind, row)?.is_some() == (logged.action == "delete"));
    }
    if logged.kind == EntityKind::Project {
        let project = projects::get(tx, row)?.ok_or(CurationError::NotFound { kind: logged.kind })?;
        return Ok(after["name"] == project.name && after["directory"] == project.dir_name);
    }
    let commit = commit(tx, row)?;
    let is_name_alone = |key: &str| logged.before[key] == after[key];
    Ok(match logged.action.as_str() {
        "retitle" => {
            let title = super::apply::title_json(&curated::title(tx, &commit)?);
            after["title"] == title && (!is_name_alone("title") || after["name"] == commit.dir_name)
        }
        "move" => {
            after["project_row"] == commit.project_row
                && (!is_name_alone("project_row") || after["name"] == commit.dir_name)
        }
        "hidden" => *after == commit.hidden,
        "published" => *after == commit.published,
        "order" => *after == commit.display_order,
        "note" => *after == commit.note,
        "tags" => *after == json!(commit.tags),
        _ => false,
    })
}

fn commit(tx: &Transaction<'_>, row: i64) -> Result<Commit> {
    commits::get(tx, row)?.ok_or(CurationError::NotFound { kind: EntityKind::Commit })
}

/// Says what changed it: the latest edit of the same field, else an import.
fn changed_since(tx: &Transaction<'_>, logged: &Logged) -> Result<CurationError> {
    let field = |action: &str| match action {
        "restore" => "delete".to_owned(),
        other => other.to_owned(),
    };
    let mut later = edits::later(tx, logged)?.into_iter();
    Ok(match later.find(|edit| field(&edit.action) == field(&logged.action)) {
        Some(edit) => CurationError::ChangedSince { seq: logged.seq, by: edit.seq },
        None => CurationError::Invalid {
            reason: format!("what edit {} changed has been changed since: make the edit anew", logged.seq),
        },
    })
}

/// What leads back.
enum Inverse {
    Edit(Edit),
    /// With the directory's name that it had, which need not be the project's name.
    RenameProject {
        name: String,
        dir_name: String,
    },
}

/// The edit that leads back to what was before.
fn inverse(tx: &Transaction<'_>, logged: &Logged) -> Result<Inverse> {
    let row = logged.entity_row;
    let entity = Entity { kind: logged.kind, row };
    let before = &logged.before;
    let damaged = || CurationError::Invalid { reason: format!("edit {} cannot be read", logged.seq) };
    let text = |key: &str| before[key].as_str().map(str::to_owned).ok_or_else(damaged);
    Ok(Inverse::Edit(match (logged.kind, logged.action.as_str()) {
        (_, "delete") => Edit::Restore { entity },
        (_, "restore") => Edit::Delete { entity, name: TrashName::Own },
        (EntityKind::Project, "rename") => {
            return Ok(Inverse::RenameProject { name: text("name")?, dir_name: text("directory")? });
        }
        (EntityKind::Commit, "retitle") => {
            let commit = commit(tx, row)?;
            let title = before["title"].as_str().map_or(Title::Found, |text| Title::User(text.to_owned()));
            // An import may have found a better title meanwhile: then its name goes with it.
            let found = curated::found_title(tx, &commit)?.0;
            let is_other = title == Title::Found && before["found"].as_str().is_some_and(|then| then != found);
            let name = name_before(logged, &commit)?;
            let is_made = curated::is_made(&name, &commit.id);
            let is_free = is_free(tx, commit.project_row, &name, &commit)?;
            Edit::Retitle { commit: row, title, name: Some(name).filter(|_| is_free && !(is_other && is_made)) }
        }
        (EntityKind::Commit, "move") => {
            let commit = commit(tx, row)?;
            let project = before["project_row"].as_i64().ok_or_else(damaged)?;
            let mut name = name_before(logged, &commit)?;
            if !is_free(tx, project, &name, &commit)? {
                let wanted = render::commit_dir_name(commit.started_at, &commit.title, &commit.id.short());
                name = curated::free_name_in(tx, project, &wanted, &commit)?;
            }
            Edit::MoveToProject { commit: row, project, name: Some(name) }
        }
        (EntityKind::Commit, "hidden") => {
            Edit::SetHidden { commit: row, hidden: before.as_bool().ok_or_else(damaged)? }
        }
        (EntityKind::Commit, "published") => {
            Edit::SetPublished { commit: row, published: before.as_bool().ok_or_else(damaged)? }
        }
        (EntityKind::Commit, "order") => Edit::Reorder { commit: row, order: before.as_i64().ok_or_else(damaged)? },
        (EntityKind::Commit, "note") => {
            Edit::SetNote { commit: row, note: before.as_str().ok_or_else(damaged)?.to_owned() }
        }
        (EntityKind::Commit, "tags") => {
            let tags = serde_json::from_value(before.clone()).map_err(|_| damaged())?;
            Edit::SetTags { commit: row, tags }
        }
        _ => return Err(damaged()),
    }))
}

/// The directory's name from before an edit; where it was changed again since, the one it has.
fn name_before(logged: &Logged, commit: &Commit) -> Result<String> {
    if logged.after["name"] != commit.dir_name {
        return Ok(commit.dir_name.clone());
    }
    let damaged = || CurationError::Invalid { reason: format!("edit {} cannot be read", logged.seq) };
    Ok(logged.before["name"].as_str().ok_or_else(damaged)?.to_owned())
}

fn is_free(tx: &Transaction<'_>, project: i64, name: &str, commit: &Commit) -> Result<bool> {
    Ok(commits::by_dir_name(tx, project, name)?.is_none_or(|other| other.row == commit.row))
}
