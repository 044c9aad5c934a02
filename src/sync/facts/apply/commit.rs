//! Commits of other machines.

use rusqlite::params;

use super::super::checks::{self, is_git_name, safe_name};
use super::{Applied, WRITTEN, read, refused, waits};
use crate::cloud::wire::{CommitFacts, GitFacts, Row};
use crate::model::{ClosedBy, Commit, Id};
use crate::render;
use crate::store::commits::{self, NewCommit, TitleRank, curated};
use crate::store::told::{self, Facts};
use crate::store::{ChangeKind, Result, Transaction, facets, git, gone, machines, projects, sessions};

pub(super) fn apply(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    let (facts, hash): (CommitFacts, Id) = match read(row) {
        Ok(read) => read,
        Err(refused) => return Ok(refused),
    };
    if let Err(why) = checks::commit(&facts) {
        return Ok(refused(row, &why));
    }
    let project = gone::now(tx, &facts.project)?;
    let Some(project) = projects::by_id(tx, &project)? else { return waits(tx, row, project) };
    let commit_row = match commits::by_id(tx, &row.id)? {
        Some(known) if told::is_last_pulled(tx, Facts::Commit, known.row, &hash)? => return Ok(Applied::Unchanged),
        Some(known) if commits::has_own_sessions(tx, known.row)? => {
            let is_own = row.facts_by.is_some() && row.facts_by == machines::local_id(tx)?;
            let changed = !is_own && meet(tx, &known, &facts)?;
            told::met(tx, Facts::Commit, known.row, &hash)?;
            // The cloud had more, and removed that before another machine sent what it knows.
            let (version, sent) = told::version(tx, Facts::Commit, known.row)?;
            if row.rank < known.closed_at.0 && version == sent {
                told::changed(tx, Facts::Commit, known.row)?;
            }
            return Ok(if changed { WRITTEN } else { Applied::Unchanged });
        }
        Some(known) => {
            replace(tx, &known, project.row, &facts)?;
            known.row
        }
        None => create(tx, row, project.row, &facts)?,
    };
    git_commits(tx, commit_row, &facts)?;
    // The facts may tell of a session that was forgotten since.
    commits::refresh(tx, commit_row)?;
    set_updated_at(tx, commit_row, &facts)?;
    told::pulled(tx, Facts::Commit, commit_row, &hash)?;
    Ok(WRITTEN)
}

/// The sent name, where it is one and free; else the usual one.
pub(super) fn dir_name(tx: &Transaction<'_>, id: &Id, project_row: i64, facts: &CommitFacts) -> Result<String> {
    let made = || render::commit_dir_name(facts.started_at, &facts.title, &id.short());
    let wanted = safe_name(&facts.dir_name).map_or_else(made, str::to_owned);
    let name = commits::free_dir_name(tx, &wanted, id)?;
    let is_free = |name: &str| {
        Ok::<_, crate::store::StoreError>(
            name.len() <= crate::fs::NAME_MAX
                && commits::by_dir_name(tx, project_row, name)?.is_none_or(|other| other.id == *id),
        )
    };
    if is_free(&name)? {
        return Ok(name);
    }
    Ok(render::commit_dir_name(facts.started_at, &facts.title, &id.to_string().replace('-', "")))
}

/// The commit that the facts tell of.
pub(super) fn new<'a>(id: &Id, project_row: i64, dir_name: &'a str, facts: &'a CommitFacts) -> NewCommit<'a> {
    let (title, title_rank) = (facts.title.as_str(), TitleRank::from_u8(facts.title_rank));
    NewCommit { id: *id, project_row, dir_name, title, title_rank, started_at: facts.started_at }
}

fn create(tx: &mut Transaction<'_>, row: &Row, project_row: i64, facts: &CommitFacts) -> Result<i64> {
    let dir_name = dir_name(tx, &row.id, project_row, facts)?;
    let commit_row = commits::create(tx, &new(&row.id, project_row, &dir_name, facts))?;
    set_facts(tx, commit_row, facts)?;
    Ok(commit_row)
}

fn set_facts(tx: &mut Transaction<'_>, row: i64, facts: &CommitFacts) -> Result<()> {
    let closed_by = ClosedBy::parse(&facts.closed_by).unwrap_or(ClosedBy::SessionEnd);
    tx.prepare_cached(
        "UPDATE cognitive_commits SET git_hash = ?2, git_subject = ?3, closed_by = ?4, started_at = ?5, closed_at = ?6,
             parallel = ?7 WHERE row = ?1",
    )?
    .execute(params![
        row,
        facts.git_hash,
        facts.git_subject,
        closed_by.as_str(),
        facts.started_at.0,
        facts.closed_at.0,
        facts.parallel
    ])?;
    tx.changes.add(ChangeKind::Commit, row);
    Ok(())
}

/// A commit of which nothing was imported here becomes what the facts say.
fn replace(tx: &mut Transaction<'_>, known: &Commit, project_row: i64, facts: &CommitFacts) -> Result<()> {
    set_facts(tx, known.row, facts)?;
    facets::set_day(tx, known.row, &known.link_name, facts.started_at)?;
    place(tx, known, project_row, facts)?;
    let Some(known) = commits::get(tx, known.row)? else { return Ok(()) };
    if curated::title(tx, &known)? != curated::Title::Found {
        tx.prepare_cached("UPDATE cognitive_commits SET found_title = ?2, found_rank = ?3 WHERE row = ?1")?
            .execute(params![known.row, facts.title, facts.title_rank])?;
        return Ok(());
    }
    let name = match curated::is_made(&known.dir_name, &known.id) {
        true => dir_name(tx, &known.id, known.project_row, facts)?,
        false => known.dir_name.clone(),
    };
    if (known.title.as_str(), known.dir_name.as_str()) != (facts.title.as_str(), name.as_str()) {
        commits::set_title(tx, &known, &facts.title, TitleRank::from_u8(facts.title_rank), &name)?;
    }
    Ok(())
}

/// Where a commit was found, unless a user moved it.
fn place(tx: &mut Transaction<'_>, known: &Commit, project_row: i64, facts: &CommitFacts) -> Result<()> {
    let moved = tx
        .prepare_cached("UPDATE cognitive_commits SET found_project = ?2 WHERE row = ?1 AND found_project IS NOT NULL")?
        .execute([known.row, project_row])?;
    if moved > 0 || known.project_row == project_row {
        return Ok(());
    }
    let name = dir_name(tx, &known.id, project_row, facts)?;
    facets::move_files(tx, known.row, &known.link_name, known.project_row, project_row)?;
    tx.prepare_cached("UPDATE cognitive_commits SET project_row = ?2, dir_name = ?3 WHERE row = ?1")?
        .execute(params![known.row, project_row, name])?;
    tx.changes.add_full(ChangeKind::ProjectCommits, known.row, known.project_row, Some(known.dir_name.clone()));
    tx.changes.add_full(ChangeKind::ProjectCommits, known.row, project_row, None);
    tx.changes.add_full(ChangeKind::Views, known.row, 0, Some(known.link_name.clone()));
    Ok(())
}

/// A commit that sessions of this machine are in, too: what is not known here is taken, no more. True when that was something.
fn meet(tx: &mut Transaction<'_>, known: &Commit, facts: &CommitFacts) -> Result<bool> {
    let mut changed = git_commits(tx, known.row, facts)?;
    if let (None, Some(hash)) = (&known.git_hash, &facts.git_hash) {
        let subject = facts.git_subject.clone().unwrap_or_default();
        commits::close(tx, known.row, &commits::GitCommit { hash: hash.clone(), branch: None, subject })?;
        changed = true;
    }
    // Of two commits that became one, the earlier one's title holds, and the first time that a git commit was told of. Where both
    // know of all that is in it they know the same time: then the title that sorts first does.
    let (found, found_rank) = curated::found_title(tx, known)?;
    let (theirs, ours) = ((facts.started_at, &facts.title), (known.started_at, &found));
    let is_earlier = facts.title_rank == found_rank && theirs < ours && facts.title != found;
    let knows_earlier =
        |made: &GitFacts| git::at(tx, known.row, &made.hash).map(|at| at.is_some_and(|at| at < made.at));
    let is_later = facts.title_rank == found_rank && theirs > ours && facts.title != found;
    if is_later || facts.git_commits.iter().map(knows_earlier).collect::<Result<Vec<_>>>()?.contains(&true) {
        told::changed(tx, Facts::Commit, known.row)?;
    }
    if facts.title_rank > found_rank || is_earlier {
        let name = dir_name(tx, &known.id, known.project_row, facts)?;
        commits::retitle(tx, known, &facts.title, TitleRank::from_u8(facts.title_rank), &name)?;
        changed = true;
    }
    Ok(changed)
}

pub(super) fn git_commits(tx: &mut Transaction<'_>, commit_row: i64, facts: &CommitFacts) -> Result<bool> {
    let mut changed = false;
    for made in &facts.git_commits {
        let git =
            commits::GitCommit { hash: made.hash.clone(), branch: made.branch.clone(), subject: made.subject.clone() };
        let name = Some(made.name.as_str()).filter(|name| is_git_name(name));
        changed |= git::put(tx, commit_row, &git, name, made.at)?;
    }
    Ok(changed)
}

/// Nothing was done here: the time of the last change is that of where it was.
fn set_updated_at(tx: &Transaction<'_>, row: i64, facts: &CommitFacts) -> Result<()> {
    tx.prepare_cached("UPDATE cognitive_commits SET updated_at = max(?2, coalesce(curated_at, ?2)) WHERE row = ?1")?
        .execute(params![row, facts.updated_at.0])?;
    Ok(())
}

/// Two commits that one git commit closed are one, whichever machines they are of: the cloud is told.
pub(super) fn unite(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    let Some(commit) = commits::get(tx, row)? else { return Ok(()) };
    let Some(hash) = &commit.git_hash else { return Ok(()) };
    let other = commits::by_git_hash_but(tx, commit.project_row, hash, row)?;
    let Some(other) = other.map(|row| commits::get(tx, row)).transpose()?.flatten() else { return Ok(()) };
    if commits::was_moved(tx, commit.row)? || commits::was_moved(tx, other.row)? {
        return Ok(());
    }
    // The same on every machine: the sessions of the earlier one keep their numbers.
    let is_earlier = (commit.started_at, commit.id) < (other.started_at, other.id);
    let (from, into) = if is_earlier { (other, commit) } else { (commit, other) };
    commits::merge(tx, &from, &into)?;
    sessions::number_by_time(tx, into.row)?;
    told::changed(tx, Facts::Commit, into.row)
}
