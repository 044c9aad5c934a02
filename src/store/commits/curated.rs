//! What users make of commits: titles, names, marks, notes, tags, places. Every change counts up the record's version and
//! announces itself; none is made without the caller having found that it is one. What becomes of it when two commits turn out
//! to be one is in [`merged`].

pub(super) mod merged;
pub use merged::moved;

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Map, Value as Json, json};

use super::{Commit, TitleRank, by_dir_name, former_names, free_dir_name, get, with_whole_id};
use crate::model::{Id, Millis};
use crate::render;
use crate::store::facets::{self, FacetKind};
use crate::store::{ChangeKind, Result, Transaction, sessions, to_json_list};

/// A title as a user left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Title {
    /// What an import found.
    Found,
    User(String),
}

/// The title of a commit, and whose it is.
///
/// # Errors
/// When SQLite cannot read.
pub fn title(conn: &Connection, commit: &Commit) -> Result<Title> {
    let rank = super::title_rank(conn, commit.row)?;
    Ok(if rank == TitleRank::User as u8 { Title::User(commit.title.clone()) } else { Title::Found })
}

/// The title that a commit has without its user's, and its rank.
///
/// # Errors
/// When SQLite cannot read.
pub fn found_title(conn: &Connection, commit: &Commit) -> Result<(String, u8)> {
    let mut query = conn.prepare_cached(
        "SELECT iif(title_rank = 5, coalesce(found_title, ''), title), iif(title_rank = 5, coalesce(found_rank, 0), title_rank)
         FROM cognitive_commits WHERE row = ?1",
    )?;
    Ok(query.query_row([commit.row], |r| Ok((r.get(0)?, r.get(1)?)))?)
}

/// The title that a commit has without its user's.
///
/// # Errors
/// When SQLite cannot read.
pub fn title_without_users(conn: &Connection, commit: &Commit) -> Result<String> {
    Ok(found_title(conn, commit)?.0)
}

/// Gives a commit a title, and the directory name that goes with it: the one its user typed, or one made of the title, which
/// the former one leads on to.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_title(tx: &mut Transaction<'_>, commit: &Commit, title: &Title, typed_name: Option<&str>) -> Result<()> {
    let (found, found_rank) = found_title(tx, commit)?;
    let (text, rank, kept) = match title {
        Title::User(text) => (text.clone(), TitleRank::User as u8, Some((found, found_rank))),
        Title::Found => (found, found_rank, None),
    };
    let dir_name = match typed_name {
        Some(name) => name.to_owned(),
        None => {
            let wanted = render::commit_dir_name(commit.started_at, &text, &commit.id.short());
            free_name_in(tx, commit.project_row, &wanted, commit)?
        }
    };
    let (kept_title, kept_rank) = kept.unzip();
    tx.prepare_cached(
        "UPDATE cognitive_commits SET title = ?2, title_rank = ?3, found_title = ?4, found_rank = ?5 WHERE row = ?1",
    )?
    .execute(params![commit.row, text, rank, kept_title, kept_rank])?;
    if dir_name != commit.dir_name && typed_name.is_none() {
        former_names::add(tx, commit.project_row, &commit.dir_name, commit.row)?;
    }
    place(tx, commit, commit.project_row, &dir_name)
}

/// A directory name for a commit that is made and not typed: free in all views, and in a project.
///
/// # Errors
/// When SQLite cannot read.
pub fn free_name_in(conn: &Connection, project_row: i64, wanted: &str, commit: &Commit) -> Result<String> {
    let name = free_dir_name(conn, wanted, &commit.id)?;
    // Somebody may have typed just this name; links to that are called otherwise, if this one's were called so first.
    Ok(match by_dir_name(conn, project_row, &name)? {
        Some(other) if other.row != commit.row => with_whole_id(wanted, &commit.id),
        _ => name,
    })
}

/// Whether a directory name was made of the title, and not typed.
#[must_use]
pub fn is_made(dir_name: &str, id: &Id) -> bool {
    let whole = id.to_string().replace('-', "");
    dir_name.rsplit_once('_').is_some_and(|(_, last)| last == id.short() || last == whole)
}

/// Puts a commit into a project under a name. Its links are called so too, with the id behind where another's are.
///
/// # Errors
/// When SQLite cannot write, as when the name is taken.
pub fn place(tx: &mut Transaction<'_>, commit: &Commit, project_row: i64, dir_name: &str) -> Result<()> {
    let link_name = free_link_name(tx, dir_name, &commit.id)?;
    let moved = project_row != commit.project_row;
    if moved {
        tx.prepare_cached(
            "UPDATE cognitive_commits SET project_row = ?2, dir_name = ?3, link_name = ?4,
                 found_project = coalesce(found_project, project_row) WHERE row = ?1",
        )?
        .execute(params![commit.row, project_row, dir_name, link_name])?;
    } else {
        // To name the project too would write every index that it is in.
        tx.prepare_cached("UPDATE cognitive_commits SET dir_name = ?2, link_name = ?3 WHERE row = ?1")?
            .execute(params![commit.row, dir_name, link_name])?;
    }
    former_names::remove(tx, project_row, dir_name)?;
    if moved {
        facets::move_files(tx, commit.row, &commit.link_name, commit.project_row, project_row)?;
        tx.changes.add_full(ChangeKind::ProjectCommits, commit.row, project_row, None);
    }
    let gone = (moved || dir_name != commit.dir_name).then(|| commit.dir_name.clone());
    let gone_link = (moved || link_name != commit.link_name).then(|| commit.link_name.clone());
    tx.changes.add_full(ChangeKind::ProjectCommits, commit.row, commit.project_row, gone);
    // A view may lose its link before the feed is read: which ones have it is known now.
    if gone_link.is_some() {
        for (facet_row, _) in facets::links_to(tx, commit.row)? {
            tx.changes.add_full(ChangeKind::Facet, facet_row, 0, gone_link.clone());
        }
    }
    tx.changes.add_full(ChangeKind::Views, commit.row, 0, gone_link);
    touch(tx, commit.row)
}

/// What links to a commit of this name are called.
fn free_link_name(conn: &Connection, dir_name: &str, id: &Id) -> Result<String> {
    let mut taken = conn.prepare_cached("SELECT 1 FROM cognitive_commits WHERE link_name = ?1 AND id <> ?2")?;
    for suffix in [String::new(), format!("_{}", id.short()), format!("_{}", id.to_string().replace('-', ""))] {
        let name = crate::store::cut_name(dir_name, &suffix);
        if !taken.exists(params![name, id.0])? {
            return Ok(name);
        }
    }
    Ok(id.to_string())
}

/// What a commit says of each field that users set, but for the project it is in: as the cloud has them.
///
/// # Errors
/// When SQLite cannot read.
pub fn fields(conn: &Connection, commit: &Commit) -> Result<Map<String, Json>> {
    let title = match title(conn, commit)? {
        Title::Found => Json::Null,
        Title::User(text) => json!(text),
    };
    let mut fields = untouched();
    fields.insert("title".to_owned(), title);
    fields.insert("hidden".to_owned(), json!(commit.hidden));
    fields.insert("published".to_owned(), json!(commit.published));
    fields.insert("order".to_owned(), json!(commit.display_order));
    fields.insert("tags".to_owned(), json!(commit.tags));
    fields.insert("note".to_owned(), json!(commit.note));
    fields.insert("deleted_at".to_owned(), commit.deleted_at.map_or(Json::Null, |at| json!(at.0)));
    Ok(fields)
}

/// What [`fields`] are of a commit that nobody touched.
#[must_use]
pub fn untouched() -> Map<String, Json> {
    let value = json!({
        "title": null, "hidden": false, "published": false, "order": 0, "tags": [], "note": "", "deleted_at": null,
    });
    value.as_object().cloned().unwrap_or_default()
}

/// A mark, a number or a text of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Hidden(bool),
    Published(bool),
    Order(i64),
    Note(String),
    Tags(Vec<String>),
}

/// Sets a field of a commit. Its place in `by/status/` is [`set_status`]'s, once the edit is in the queue.
///
/// # Errors
/// When SQLite cannot write.
pub fn set(tx: &mut Transaction<'_>, commit: &Commit, value: &Value) -> Result<()> {
    let row = commit.row;
    match value {
        Value::Hidden(hidden) => {
            tx.prepare_cached("UPDATE cognitive_commits SET hidden = ?2 WHERE row = ?1")?
                .execute(params![row, hidden])?;
            // It lies in another directory, and its links lead there.
            tx.changes.add_full(ChangeKind::ProjectCommits, row, commit.project_row, Some(commit.dir_name.clone()));
            tx.changes.add_full(ChangeKind::Views, row, 0, Some(commit.link_name.clone()));
            for session in sessions::rows_of_commit(tx, row)? {
                tx.changes.add(ChangeKind::Session, session);
            }
        }
        Value::Published(published) => {
            tx.prepare_cached("UPDATE cognitive_commits SET published = ?2 WHERE row = ?1")?
                .execute(params![row, published])?;
        }
        Value::Order(order) => {
            tx.prepare_cached("UPDATE cognitive_commits SET display_order = ?2 WHERE row = ?1")?
                .execute(params![row, order])?;
        }
        Value::Note(note) => {
            tx.prepare_cached("UPDATE cognitive_commits SET note = ?2 WHERE row = ?1")?.execute(params![row, note])?;
        }
        Value::Tags(tags) => {
            tx.prepare_cached("UPDATE cognitive_commits SET tags = ?2 WHERE row = ?1")?
                .execute(params![row, to_json_list(tags)])?;
            let names: Vec<String> = tags.iter().map(|tag| render::tag_dir_name(tag)).collect();
            facets::set(tx, row, &commit.link_name, FacetKind::Tag, &names)?;
        }
    }
    touch(tx, row)
}

/// Gives a deleted commit another directory name where its own was taken meanwhile.
///
/// # Errors
/// When SQLite cannot write.
pub fn make_room(tx: &mut Transaction<'_>, commit: &Commit) -> Result<()> {
    if by_dir_name(tx, commit.project_row, &commit.dir_name)?.is_none_or(|other| other.row == commit.row) {
        return Ok(());
    }
    let wanted = render::commit_dir_name(commit.started_at, &commit.title, &commit.id.short());
    let name = free_name_in(tx, commit.project_row, &wanted, commit)?;
    place(tx, commit, commit.project_row, &name)
}

/// Deletes a commit, or takes that back.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_deleted(tx: &mut Transaction<'_>, commit: &Commit, at: Option<Millis>) -> Result<()> {
    tx.prepare_cached("UPDATE cognitive_commits SET deleted_at = ?2 WHERE row = ?1")?
        .execute(params![commit.row, at.map(|at| at.0)])?;
    tx.changes.add_full(ChangeKind::ProjectCommits, commit.row, commit.project_row, Some(commit.dir_name.clone()));
    tx.changes.add_full(ChangeKind::Id, 0, 0, Some(commit.id.to_string()));
    for session in sessions::rows_of_commit(tx, commit.row)? {
        tx.changes.add(ChangeKind::Session, session);
        sessions::announce_id(tx, session)?;
    }
    for git in crate::store::git::of_commit(tx, commit.row)? {
        tx.changes.add_full(ChangeKind::Git, git.row, 0, Some(git.name));
    }
    facets::refresh(tx, commit.row, &commit.link_name)?;
    touch(tx, commit.row)
}

/// Puts a commit into the directories of `by/status/` that it belongs in.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_status(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    let Some(commit) = get(tx, row)? else { return Ok(()) };
    let waits = crate::store::outbox::waits(tx, crate::store::EntityKind::Commit, row)?;
    let elsewhere = super::is_elsewhere(tx, row)?;
    let marks =
        [(commit.hidden, "hidden"), (commit.published, "published"), (waits, "unsynced"), (elsewhere, "remote")];
    let names: Vec<String> = marks.into_iter().filter(|(is, _)| *is).map(|(_, name)| name.to_owned()).collect();
    facets::set(tx, row, &commit.link_name, FacetKind::Status, &names)
}

/// Counts an edit.
fn touch(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE cognitive_commits SET curated_at = ?2, updated_at = ?2, local_version = local_version + 1 WHERE row = ?1",
    )?
    .execute(params![row, Millis::now().0])?;
    tx.changes.add(ChangeKind::Commit, row);
    Ok(())
}

/// The commit's version in the cloud, and the one here.
///
/// # Errors
/// When SQLite cannot read.
pub fn versions(conn: &Connection, row: i64) -> Result<Option<(i64, i64)>> {
    let mut query = conn.prepare_cached("SELECT cloud_version, local_version FROM cognitive_commits WHERE row = ?1")?;
    Ok(query.query_row([row], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
}

/// Notes a commit's version in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_cloud_version(tx: &Transaction<'_>, row: i64, version: i64) -> Result<()> {
    tx.prepare_cached("UPDATE cognitive_commits SET cloud_version = ?2 WHERE row = ?1")?
        .execute(params![row, version])?;
    Ok(())
}
