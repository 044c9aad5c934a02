//! Takes an edit of the log back, as a new edit.

use serde_json::Value;

use super::{CurationError, Edit, Editor, Entity, EntityKind, Origin, Result, Title, TrashName};
use crate::store::edits::{self, Logged};
use crate::store::{Transaction, projects};

/// Takes an edit back; the number of the edit that does so.
///
/// # Errors
/// When there is no such edit, it was taken back already, what it changed has been changed since, or it cannot be written.
pub fn undo(tx: &mut Transaction<'_>, origin: Origin, seq: i64) -> Result<Option<i64>> {
    let logged = edits::get(tx, seq)?.ok_or(CurationError::NoSuchEdit { seq })?;
    if let Some(by) = logged.undone_by {
        return Err(CurationError::UndoneAlready { seq, by });
    }
    if let Some(by) = changed_since(tx, &logged)? {
        return Err(CurationError::ChangedSince { seq, by });
    }
    let edit = inverse(tx, &logged)?;
    Editor::undoing(tx, origin, seq).apply(&edit)
}

/// The latest edit of what an edit changed that came after it and still holds.
fn changed_since(tx: &Transaction<'_>, logged: &Logged) -> Result<Option<i64>> {
    let group = |action: &str| match action {
        "delete" | "restore" => "delete".to_owned(),
        other => other.to_owned(),
    };
    let later = edits::since(tx, logged.at, Some((logged.kind, logged.entity_row)))?;
    let same = later.into_iter().filter(|e| e.seq > logged.seq && group(&e.action) == group(&logged.action));
    // An edit and what took it back cancel each other out.
    Ok(same.filter(|e| e.undone_by.is_none() && e.undoes.is_none()).map(|e| e.seq).next())
}

/// The edit that leads back to what was before.
fn inverse(tx: &Transaction<'_>, logged: &Logged) -> Result<Edit> {
    let row = logged.entity_row;
    let entity = Entity { kind: logged.kind, row };
    let before = &logged.before;
    let text = |key: &str| before.get(key).and_then(Value::as_str).map(str::to_owned);
    let damaged = || CurationError::Invalid { reason: format!("edit {} cannot be read", logged.seq) };
    Ok(match (logged.kind, logged.action.as_str()) {
        (_, "delete") => Edit::Restore { entity },
        (_, "restore") => Edit::Delete { entity, name: TrashName::Own },
        (EntityKind::Project, "rename") => {
            Edit::RenameProject { project: row, name: before.as_str().ok_or_else(damaged)?.to_owned() }
        }
        (EntityKind::Commit, "retitle") => {
            let title = text("title").map_or(Title::Found, Title::User);
            Edit::Retitle { commit: row, title, name: text("name") }
        }
        (EntityKind::Commit, "move") => {
            let id = text("project").ok_or_else(damaged)?;
            let project = projects::all(tx)?.into_iter().find(|p| p.id.to_string() == id);
            let project = project.ok_or(CurationError::NotFound { kind: EntityKind::Project })?.row;
            Edit::MoveToProject { commit: row, project, name: text("name") }
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
    })
}
