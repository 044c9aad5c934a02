//! Machines, projects, and what is no more.

use rusqlite::params;

use super::super::checks::{self, safe_name};
use super::super::export;
use super::{Applied, WRITTEN, of_kind, read, refused};
use crate::cloud::wire::{Change, Kind, MachineFacts, ProjectFacts, Row};
use crate::curation::{Edit, Editor, Elsewhere, Entity};
use crate::model::{Commit, Id, Project};
use crate::store::forget::{self, Removed};
use crate::store::told::{self, Facts};
use crate::store::{
    ChangeKind, EntityKind, Result, Transaction, commits, gone, machines, outbox, projects, sessions, trash,
};
use crate::{forget as forgetting, render};

pub(super) fn machine(tx: &Transaction<'_>, row: &Row) -> Result<Applied> {
    let (facts, hash): (MachineFacts, Id) = match read(row) {
        Ok(read) => read,
        Err(refused) => return Ok(refused),
    };
    if let Err(why) = checks::machine(&facts) {
        return Ok(refused(row, &why));
    }
    let known = machines::by_id(tx, &row.id)?;
    if known.is_some() && known == machines::local(tx)? {
        return Ok(Applied::Unchanged);
    }
    let wanted = safe_name(&facts.dir_name).map_or_else(|| render::machine_dir_name(&facts.name), str::to_owned);
    let row = match known {
        Some(row) if told::is_last_pulled(tx, Facts::Machine, row, &hash)? => return Ok(Applied::Unchanged),
        // Its directory keeps the name it has: links lead there.
        Some(row) => {
            tx.execute("UPDATE machines SET name = ?2 WHERE row = ?1", params![row, facts.name])?;
            row
        }
        None => machines::create(tx, &row.id, &facts.name, &wanted)?,
    };
    told::pulled(tx, Facts::Machine, row, &hash)?;
    Ok(WRITTEN)
}

pub(super) fn project(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    let (facts, hash): (ProjectFacts, Id) = match read(row) {
        Ok(read) => read,
        Err(refused) => return Ok(refused),
    };
    if let Err(why) = checks::project(&row.id, &facts) {
        return Ok(refused(row, &why));
    }
    let known = projects::by_id(tx, &row.id)?;
    let is_new = known.is_none();
    let project_row = match known {
        Some(project) if told::is_last_pulled(tx, Facts::Project, project.row, &hash)? => {
            return Ok(Applied::Unchanged);
        }
        Some(project) if is_as_sent(tx, project.row, &hash)? => {
            told::met(tx, Facts::Project, project.row, &hash)?;
            return Ok(Applied::Unchanged);
        }
        Some(project) => project.row,
        None => {
            let wanted =
                safe_name(&facts.dir_name).map_or_else(|| render::project_dir_name(&facts.name), str::to_owned);
            projects::create(tx, &facts.identity, &facts.name, &wanted, facts.remote.as_deref())?
        }
    };
    let has_own = told::version(tx, Facts::Project, project_row)?.0 > 0;
    let before = projects::get(tx, project_row)?;
    identify(tx, project_row, &facts)?;
    for (nth, path) in (0_i64..).zip(&facts.paths) {
        projects::add_path_seen(tx, project_row, path, facts.created_at.0 + nth)?;
    }
    // Nothing was done here: its times are those of where it was.
    let (created, updated) = match before.filter(|_| !is_new) {
        Some(before) if has_own => (before.created_at.min(facts.created_at), before.updated_at.max(facts.updated_at)),
        _ => (facts.created_at, facts.updated_at),
    };
    tx.execute(
        "UPDATE projects SET created_at = ?2, updated_at = ?3 WHERE row = ?1",
        params![project_row, created.0, updated.0],
    )?;
    tx.changes.add(ChangeKind::Project, project_row);
    match has_own && !is_new && told::version(tx, Facts::Project, project_row)?.1 == 0 {
        // Both have folders that the other does not know.
        true => told::met(tx, Facts::Project, project_row, &hash)?,
        false => settle(tx, project_row, &hash)?,
    }
    Ok(WRITTEN)
}

/// Whether these are the facts that this machine sends of a project.
fn is_as_sent(tx: &Transaction<'_>, row: i64, hash: &Id) -> Result<bool> {
    let own = export::project(tx, row)?;
    Ok(matches!(own, Some(Change::Facts { facts: Some(facts), .. }) if export::hash(&facts) == *hash))
}

/// What is unsent of a project's own stays unsent.
fn settle(tx: &Transaction<'_>, row: i64, hash: &Id) -> Result<()> {
    match told::version(tx, Facts::Project, row)? {
        (version, sent) if version != sent && version > 0 => told::met(tx, Facts::Project, row, hash),
        _ => told::pulled(tx, Facts::Project, row, hash),
    }
}

/// A project that got its id by another machine's word gets the identity that goes with it.
fn identify(tx: &Transaction<'_>, row: i64, facts: &ProjectFacts) -> Result<()> {
    tx.execute(
        "UPDATE projects SET identity = ?2, remote = ?3, name = iif(curated_at IS NULL, ?4, name) WHERE row = ?1
             AND (identity <> ?2 OR remote IS NOT ?3 OR (curated_at IS NULL AND name <> ?4))",
        params![row, facts.identity, facts.remote, facts.name],
    )?;
    Ok(())
}

/// A record that turned out to be a part of another.
pub(super) fn merged(tx: &mut Transaction<'_>, row: &Row, into: Id) -> Result<Applied> {
    let into = gone::now(tx, &into)?;
    let known = gone::fate(tx, &row.id)? == Some(gone::Fate::Merged(into));
    let here = match row.kind {
        Kind::Commit => merged_commit(tx, &row.id, &into)?,
        Kind::Project => merged_project(tx, &row.id, &into)?,
        Kind::Machine | Kind::Session | Kind::Turn => false,
    };
    // What the cloud says it knows.
    gone::merge(tx, of_kind(row.kind), &row.id, &into, false)?;
    gone::sent(tx, &row.id, Some(&into))?;
    Ok(if known && !here { Applied::Unchanged } else { WRITTEN })
}

fn merged_commit(tx: &mut Transaction<'_>, id: &Id, into: &Id) -> Result<bool> {
    let Some(from) = commits::by_id(tx, id)? else { return Ok(false) };
    match commits::by_id(tx, into)? {
        Some(target) => {
            commits::merge_under(tx, &from, &target, false)?;
            sessions::number_by_time(tx, target.row)?;
        }
        None => {
            // Of two one of which is deleted the whole is not: what is to be known of the other comes with it.
            if trash::find(tx, EntityKind::Commit, from.row)?.is_some()
                && !outbox::waits(tx, EntityKind::Commit, from.row)?
            {
                let mut editor = Editor::of_cloud(tx, Elsewhere { machine: String::new() });
                if let Err(error) = editor.apply(&Edit::Restore { entity: Entity::commit(from.row) }) {
                    tracing::warn!(%error, "a commit that is a part of another is still deleted");
                }
            }
            tx.changes.add_full(ChangeKind::Id, 0, 0, Some(id.to_string()));
        }
    }
    let is_renamed = commits::by_id(tx, into)?.is_none();
    // Whatever the times say here: the cloud says which id holds.
    for old in [*id, *into] {
        if let Some(commit) = commits::by_id(tx, &old)? {
            tx.execute("UPDATE cognitive_commits SET id = ?2 WHERE row = ?1", params![commit.row, into.0])?;
            for table in ["edits", "sync_queue"] {
                let sql = format!("UPDATE {table} SET entity_id = ?2 WHERE kind = 2 AND entity_row = ?1");
                tx.execute(&sql, params![commit.row, into.0])?;
            }
            tx.changes.add(ChangeKind::Commit, commit.row);
            if is_renamed {
                commits::tell_all(tx, commit.row, *into, Vec::new())?;
            }
        }
    }
    Ok(true)
}

fn merged_project(tx: &mut Transaction<'_>, id: &Id, into: &Id) -> Result<bool> {
    let Some(from) = projects::by_id(tx, id)? else { return Ok(false) };
    match projects::by_id(tx, into)? {
        Some(target) => {
            projects::fold(tx, &from, target.row)?;
            commits::merge_equal(tx, target.row)?;
        }
        // Its facts come with the identity.
        None => rename_id(tx, &from, into)?,
    }
    Ok(true)
}

fn rename_id(tx: &mut Transaction<'_>, project: &Project, into: &Id) -> Result<()> {
    tx.execute("UPDATE projects SET id = ?2 WHERE row = ?1", params![project.row, into.0])?;
    for table in ["edits", "sync_queue"] {
        let sql = format!("UPDATE {table} SET entity_id = ?2 WHERE kind = 1 AND entity_row = ?1");
        tx.execute(&sql, params![project.row, into.0])?;
    }
    tx.changes.add(ChangeKind::Project, project.row);
    Ok(())
}

/// A record that was forgotten on another machine is forgotten here, with what is in it.
pub(super) fn forgotten(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    let mut removed = Removed::default();
    let already = gone::fate(tx, &row.id)? == Some(gone::Fate::Forgotten);
    tx.pragma_update(None, "secure_delete", true)?;
    match row.kind {
        Kind::Project => {
            let project = projects::by_id(tx, &row.id)?;
            for commit in
                project.map(|project| commits::rows_of_project(tx, project.row)).transpose()?.unwrap_or_default()
            {
                if let Some(commit) = commits::get(tx, commit)? {
                    whole_commit(tx, &commit, &mut removed)?;
                }
            }
        }
        Kind::Commit => {
            if let Some(commit) = commits::by_id(tx, &row.id)? {
                whole_commit(tx, &commit, &mut removed)?;
            }
        }
        Kind::Session => {
            if let Some(session) = sessions::by_id(tx, &row.id)? {
                let commit = session.commit_row.map(|row| commits::get(tx, row)).transpose()?.flatten();
                forget::session(tx, session.row, &mut removed)?;
                if let Some(commit) = commit {
                    forgetting::renew(tx, &commit, &mut removed)?;
                }
            }
        }
        Kind::Machine | Kind::Turn => return Ok(Applied::Unchanged),
    }
    // A project's folder may have other work later, which is none of what was forgotten.
    if row.kind != Kind::Project {
        gone::forget(tx, of_kind(row.kind), &row.id, false)?;
        gone::sent(tx, &row.id, None)?;
    }
    forget::begin(tx)?;
    if !removed.is_nothing() {
        forget::usage(tx)?;
    }
    Ok(if already && removed.is_nothing() { Applied::Unchanged } else { WRITTEN })
}

fn whole_commit(tx: &mut Transaction<'_>, commit: &Commit, removed: &mut Removed) -> Result<()> {
    for row in sessions::rows_of_commit(tx, commit.row)? {
        forget::session(tx, row, removed)?;
    }
    forget::leave_commit(tx, commit, removed).map(drop)
}
