//! What users make of commits: titles, names, marks, notes, tags, places. Every change counts up the record's version and
//! announces itself; none is made without the caller having found that it is one.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Commit, TitleRank, former_names, free_dir_name, get};
use crate::model::{Id, Millis};
use crate::render;
use crate::store::facets::{self, FacetKind};
use crate::store::{ChangeKind, Result, Transaction, to_json_list};

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
fn found_title(conn: &Connection, commit: &Commit) -> Result<(String, u8)> {
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
            free_dir_name(tx, &wanted, &commit.id)?
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

/// Puts a commit into a project under a name. Its links are called so too, with the id behind where another's are.
///
/// # Errors
/// When SQLite cannot write, as when the name is taken.
pub fn place(tx: &mut Transaction<'_>, commit: &Commit, project_row: i64, dir_name: &str) -> Result<()> {
    let link_name = free_link_name(tx, dir_name, &commit.id)?;
    tx.prepare_cached("UPDATE cognitive_commits SET project_row = ?2, dir_name = ?3, link_name = ?4 WHERE row = ?1")?
        .execute(params![commit.row, project_row, dir_name, link_name])?;
    former_names::remove(tx, project_row, dir_name)?;
    let moved = project_row != commit.project_row;
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
        let room = super::super::NAME_BYTES - suffix.len();
        let end = (0..=room.min(dir_name.len())).rev().find(|at| dir_name.is_char_boundary(*at)).unwrap_or(0);
        let name = format!("{}{suffix}", &dir_name[..end]);
        if !taken.exists(params![name, id.0])? {
            return Ok(name);
        }
    }
    Ok(id.to_string())
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

/// Sets a field of a commit.
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
            for session in crate::store::sessions::rows_of_commit(tx, row)? {
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
    touch(tx, row)?;
    set_status(tx, row)
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
    for row in crate::store::sessions::rows_of_commit(tx, commit.row)? {
        tx.changes.add(ChangeKind::Session, row);
        if let Some(session) = crate::store::sessions::get(tx, row)? {
            tx.changes.add_full(ChangeKind::Id, 0, 0, Some(session.id.to_string()));
        }
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
    let marks = [(commit.hidden, "hidden"), (commit.published, "published"), (waits, "unsynced")];
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

/// Gives what users made of a commit to the one that it is merged with, where that has nothing of its own.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: &Commit, into: &Commit) -> Result<()> {
    if from.curated_at.is_none() {
        return Ok(());
    }
    if let (Title::User(text), Title::Found) = (title(tx, from)?, title(tx, into)?) {
        set_title(tx, into, &Title::User(text), None)?;
    }
    let mut tags = into.tags.clone();
    tags.extend(from.tags.iter().filter(|tag| !into.tags.contains(tag)).cloned());
    if tags != into.tags {
        set(tx, into, &Value::Tags(tags))?;
    }
    if !from.note.is_empty() && from.note != into.note {
        let note = [into.note.as_str(), from.note.as_str()].into_iter().filter(|n| !n.is_empty());
        set(tx, into, &Value::Note(note.collect::<Vec<_>>().join("\n\n")))?;
    }
    if from.published && !into.published {
        set(tx, into, &Value::Published(true))?;
    }
    if from.hidden && !into.hidden && into.curated_at.is_none() {
        set(tx, into, &Value::Hidden(true))?;
    }
    if from.display_order != 0 && into.display_order == 0 {
        set(tx, into, &Value::Order(from.display_order))?;
    }
    tx.execute("UPDATE edits SET entity_row = ?2 WHERE kind = 2 AND entity_row = ?1", [from.row, into.row])?;
    tx.execute("UPDATE OR IGNORE drafts SET commit_row = ?2 WHERE commit_row = ?1", [from.row, into.row])?;
    tx.execute("UPDATE former_names SET commit_row = ?2 WHERE commit_row = ?1", [from.row, into.row])?;
    Ok(())
}

/// Removes what is kept beside a commit that is no more.
pub(super) fn remove(tx: &Transaction<'_>, row: i64) -> Result<()> {
    for sql in [
        "DELETE FROM saved_documents WHERE commit_row = ?1",
        "DELETE FROM former_names WHERE commit_row = ?1",
        "DELETE FROM sync_queue WHERE kind = 2 AND entity_row = ?1",
        "DELETE FROM trash WHERE kind = 2 AND entity_row = ?1",
    ] {
        tx.prepare_cached(sql)?.execute([row])?;
    }
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
