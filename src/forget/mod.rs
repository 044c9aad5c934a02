//! `cogfs forget`: what is meant by an id, a project or a text, and everything that follows from its removal.
//!
//! One transaction takes the rows away (`store::forget`) and puts right what is computed of the rest: lengths, counters, times,
//! titles, views. The files are cleaned behind it (`store::forget::erase`).

mod needle;

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde::Serialize;

use crate::derived;
use crate::ingest;
use crate::model::Commit;
use crate::store::forget::{self, Removed, records};
use crate::store::told::{self, Facts};
use crate::store::{ChangeKind, StoreError, Transaction, Writer, commits, facets, projects, sessions, turns};
use crate::tree::{self, IdRange};
use crate::upkeep::repair;
use needle::{Needle, Traces};

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A commit, a session (or the part of one), a subagent or a turn, by its id or the beginning of that.
    Id(String),
    /// A project, by its directory's name.
    Project(String),
    /// Every turn and record that holds a text.
    Match(String),
}

/// Why nothing was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} is no id: it takes six or more of its hex digits, as by/id/ has them")]
    NoId(String),
    #[error("nothing has an id that begins with {0} (by/id/ and `meta.json` have the ids)")]
    Unknown(String),
    #[error("{0} begins more than one id: give more of its digits")]
    Ambiguous(String),
    #[error("there is no project {0} (`ls projects/` in a mount, or `cogfs stats`, names them)")]
    NoProject(String),
    #[error("--match takes a text: an empty one is in everything")]
    EmptyMatch,
}

type Result<T> = std::result::Result<T, ForgetError>;

/// What was forgotten, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Where it stood, from the mount's root; the first ones.
    pub paths: Vec<String>,
    /// It was forgotten before.
    pub already: bool,
    #[serde(flatten)]
    pub removed: Removed,
}

/// Paths that are told.
const TOLD: usize = 20;

/// What the database has under an id.
enum Found {
    Commit(i64),
    Session(i64),
    Turn(i64),
    Already,
}

/// Forgets, or computes what would be. The caller holds the lock of imports and erases behind it what is left in the files
/// ([`crate::store::forget::erase`]).
///
/// # Errors
/// When there is no such thing, or the database cannot be used. Nothing is changed then.
pub fn run(writer: &mut Writer, target: &Target, dry_run: bool) -> Result<Report> {
    // What is deleted is overwritten, in this connection from here on.
    writer.conn().pragma_update(None, "secure_delete", true).map_err(StoreError::from)?;
    let mut tx = writer.begin()?;
    let mut report = Report::default();
    match target {
        Target::Id(text) => by_id(&mut tx, text, &mut report)?,
        Target::Project(name) => by_project(&mut tx, name, &mut report)?,
        Target::Match(text) if text.is_empty() => return Err(ForgetError::EmptyMatch),
        Target::Match(text) => by_match(&mut tx, &Needle::new(text), &mut report)?,
    }
    if dry_run || report.removed.is_nothing() {
        return Ok(report);
    }
    forget::usage(&tx)?;
    forget::begin(&tx)?;
    tx.commit()?;
    Ok(report)
}

fn by_id(tx: &mut Transaction<'_>, text: &str, report: &mut Report) -> Result<()> {
    let range = tree::id_range(text).ok_or_else(|| ForgetError::NoId(text.to_owned()))?;
    match find(tx, text, &range)? {
        Found::Already => report.already = true,
        Found::Commit(row) => {
            report.paths.extend(tree::path_of_commit(tx, row)?);
            let Some(commit) = commits::get(tx, row)? else { return Ok(()) };
            whole_commit(tx, &commit, &mut report.removed)?;
        }
        Found::Session(row) => {
            let Some(session) = sessions::get(tx, row)? else { return Ok(()) };
            report.paths.extend(tree::path_of_session(tx, &session)?);
            let commit = session.commit_row.map(|row| commits::get(tx, row)).transpose()?.flatten();
            forget::session(tx, row, &mut report.removed)?;
            if let Some(commit) = commit {
                renew(tx, &commit, &mut report.removed)?;
            }
        }
        Found::Turn(row) => single_turn(tx, row, report)?,
    }
    Ok(())
}

fn find(conn: &Connection, text: &str, (low, high): &IdRange) -> Result<Found> {
    let mut found: Vec<Found> = Vec::new();
    found.extend(commits::all_by_id_range(conn, low, high, 2)?.into_iter().map(|c| Found::Commit(c.row)));
    found.extend(sessions::all_by_id_range(conn, low, high, 2)?.into_iter().map(|s| Found::Session(s.row)));
    let mut husk = forget::has_forgotten(conn, low, high)?;
    for row in turns::by_id_range(conn, low, high)? {
        match turns::get(conn, row)? {
            Some(_) => found.push(Found::Turn(row)),
            None => husk = true,
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(ForgetError::Ambiguous(text.to_owned())),
        (None, _) if husk => Ok(Found::Already),
        (None, _) => Err(ForgetError::Unknown(text.to_owned())),
    }
}

fn by_project(tx: &mut Transaction<'_>, name: &str, report: &mut Report) -> Result<()> {
    let dir = name.trim_end_matches('/');
    let dir = dir.strip_prefix("projects/").unwrap_or(dir);
    let project = projects::by_dir_name(tx, dir)?.ok_or_else(|| ForgetError::NoProject(name.to_owned()))?;
    report.paths.push(format!("projects/{}", project.dir_name));
    for row in commits::rows_of_project(tx, project.row)? {
        if let Some(commit) = commits::get(tx, row)? {
            whole_commit(tx, &commit, &mut report.removed)?;
        }
    }
    // One that never had a commit, or lost it to another project.
    if projects::get(tx, project.row)?.is_some() {
        projects::remove(tx, &project)?;
        report.removed.projects += 1;
    }
    Ok(())
}

fn whole_commit(tx: &mut Transaction<'_>, commit: &Commit, removed: &mut Removed) -> Result<()> {
    for row in sessions::rows_of_commit(tx, commit.row)? {
        forget::session(tx, row, removed)?;
    }
    Ok(forget::leave_commit(tx, commit, removed).map(drop)?)
}

/// Puts right what is said of a commit that lost something; removes it when nothing is left of it.
pub(crate) fn renew(tx: &mut Transaction<'_>, commit: &Commit, removed: &mut Removed) -> crate::store::Result<()> {
    if forget::leave_commit(tx, commit, removed)? {
        return Ok(());
    }
    let mut places = Vec::new();
    for row in sessions::rows_of_commit(tx, commit.row)? {
        if let Some(session) = sessions::get(tx, row)? {
            places.extend(ingest::views_of(tx, &session)?);
        }
    }
    facets::keep(tx, commit, &places)?;
    // A machine that never knew what is forgotten counts without it.
    sessions::number_by_time(tx, commit.row)?;
    commits::refresh(tx, commit.row)?;
    ingest::rename_commit(tx, commit.row)?;
    // What those said whose turns are elsewhere could not be looked at.
    if commits::is_elsewhere(tx, commit.row)? {
        told::wanted_again(tx, Facts::Commit, commit.row)?;
    }
    tx.changes.add(ChangeKind::Commit, commit.row);
    tx.changes.add(ChangeKind::Project, commit.project_row);
    Ok(())
}

/// Forgets a turn out of the middle of its session, with the records that say it.
fn single_turn(tx: &mut Transaction<'_>, row: i64, report: &mut Report) -> Result<()> {
    let session_row = turns::parts_of(row).0;
    let (Some(turn), Some(session)) = (turns::get(tx, row)?, sessions::get(tx, session_row)?) else { return Ok(()) };
    let traces = Traces::of(&turn, turns::call_id(tx, row)?);
    turns_of(tx, session_row, &[row], report)?;
    for part in sessions::parts(tx, session.agent, &session.native_id)? {
        let gone = records::forget_lines(tx, part.row, &mut report.removed, &mut |line| traces.are_in(line))?;
        if gone > 0 {
            tx.changes.add(ChangeKind::Session, part.row);
        }
    }
    renew_commits_of(tx, &BTreeSet::from([session_row]), &BTreeSet::new(), &mut report.removed)
}

fn turns_of(tx: &mut Transaction<'_>, session_row: i64, rows: &[i64], report: &mut Report) -> Result<()> {
    for row in rows.iter().take(TOLD.saturating_sub(report.paths.len())) {
        report.paths.extend(tree::path_of_turn(tx, *row)?);
    }
    let before = sessions::turn_index(tx, session_row)?.unwrap_or_default();
    for row in rows {
        forget::turn(tx, *row, &mut report.removed)?;
    }
    let Some(stored) = sessions::get(tx, session_row)? else { return Ok(()) };
    let (right, index) = derived::session(tx, &stored)?;
    sessions::save_lengths(tx, session_row, &right.sections, &index)?;
    sessions::save_counters(tx, &right)?;
    repair::announce(tx, session_row, &before, &index);
    Ok(forget::sources(tx, &stored)?)
}

fn renew_commits_of(
    tx: &mut Transaction<'_>,
    touched: &BTreeSet<i64>,
    more: &BTreeSet<i64>,
    removed: &mut Removed,
) -> Result<()> {
    let mut rows = more.clone();
    for row in touched {
        rows.extend(sessions::get(tx, *row)?.and_then(|s| s.commit_row));
    }
    for row in rows {
        if let Some(commit) = commits::get(tx, row)? {
            renew(tx, &commit, removed)?;
        }
    }
    Ok(())
}

fn by_match(tx: &mut Transaction<'_>, needle: &Needle, report: &mut Report) -> Result<()> {
    let mut by_session: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    turns::for_each_text(tx, &mut |row, text| {
        if needle.is_in(text) {
            let rows = by_session.entry(turns::parts_of(row).0).or_default();
            if rows.last() != Some(&row) {
                rows.push(row);
            }
        }
    })?;
    let mut touched: BTreeSet<i64> = by_session.keys().copied().collect();
    for (session, rows) in by_session {
        turns_of(tx, session, &rows, report)?;
    }
    for row in sessions::rows(tx)? {
        let gone = records::forget_lines(tx, row, &mut report.removed, &mut |line| needle.is_in_record(line))?;
        if gone > 0 {
            touched.insert(row);
            tx.changes.add(ChangeKind::Session, row);
            if let Some(session) = sessions::get(tx, row)? {
                forget::sources(tx, &session)?;
            }
        }
    }
    let titles = forget::small_places(tx, &|text| needle.is_in_title(text))?;
    touched.extend(titles.sessions);
    renew_commits_of(tx, &touched, &titles.commits.into_iter().collect(), &mut report.removed)
}
