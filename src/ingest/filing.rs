//! Which views a part of a session puts its commit in: its agent, machine, models, tools and the files it wrote.
//!
//! Written when the part is saved, and only what is new since. A subagent's are its commit's like any session's.

use std::collections::BTreeSet;

use rusqlite::Connection;

use super::files;
use crate::model::Session;
use crate::render;
use crate::store::facets::{self, FacetKind, Place};
use crate::store::index::TurnIndex;
use crate::store::{Result, Transaction, commits, machines, projects, sessions, turns};

/// What the views have of a part, and what they are to get.
#[derive(Default)]
pub struct Filing {
    /// The commit it was filed with.
    commit_row: Option<i64>,
    /// How many of its models and tools are filed.
    models: usize,
    tools: usize,
    /// Turns were stored before it had a commit, and what they wrote was not filed.
    unread: bool,
    /// Files written and not filed yet, absolute as far as that is known.
    pub files: BTreeSet<String>,
}

impl Filing {
    /// Of a part as it is stored.
    pub fn of(session: &Session, index: &TurnIndex) -> Self {
        let filed = session.commit_row.is_some();
        Self {
            commit_row: session.commit_row,
            models: if filed { session.models.len() } else { 0 },
            tools: if filed { index.tool_names.len() } else { 0 },
            unread: !filed && !index.is_empty(),
            files: BTreeSet::new(),
        }
    }

    /// Files the part with its commit; without one it waits.
    pub fn file(&mut self, tx: &mut Transaction<'_>, session: &Session, index: &TurnIndex) -> Result<()> {
        let Some(commit_row) = session.commit_row else { return Ok(()) };
        if std::mem::take(&mut self.unread) {
            self.files.extend(written_before(tx, session, index)?);
        }
        let places = self.places(tx, session, commit_row, index)?;
        facets::add(tx, commit_row, &places)?;
        (self.commit_row, self.models, self.tools) = (Some(commit_row), session.models.len(), index.tool_names.len());
        Ok(())
    }

    fn places(
        &mut self,
        tx: &Transaction<'_>,
        session: &Session,
        commit_row: i64,
        index: &TurnIndex,
    ) -> Result<Vec<Place>> {
        let mut places = Vec::new();
        if self.commit_row != Some(commit_row) {
            (self.models, self.tools) = (0, 0);
            places.push(Place::of(FacetKind::Agent, session.agent.slug().to_owned()));
            let machine = machines::dir_name_of_session(tx, session.row)?;
            places.extend(machine.map(|name| Place::of(FacetKind::Machine, name)));
        }
        let models = session.models.get(self.models..).unwrap_or_default();
        places.extend(models.iter().map(|name| Place::of(FacetKind::Model, render::model_dir_name(name))));
        let tools = index.tool_names.get(self.tools..).unwrap_or_default();
        places.extend(tools.iter().map(|name| Place::of(FacetKind::Tool, render::tool_slug(name))));
        if !self.files.is_empty() {
            self.place_files(tx, session, commit_row, &mut places)?;
        }
        Ok(places)
    }

    fn place_files(
        &mut self,
        tx: &Transaction<'_>,
        session: &Session,
        commit_row: i64,
        places: &mut Vec<Place>,
    ) -> Result<()> {
        let Some(commit) = commits::get(tx, commit_row)? else { return Ok(()) };
        let mut folders = projects::paths(tx, commit.project_row)?;
        folders.extend(session.cwd.clone());
        for file in std::mem::take(&mut self.files) {
            let path = files::in_project(&file, &folders);
            places.extend(path.map(|path| Place::file(commit.project_row, path)));
        }
        Ok(())
    }
}

/// Everything that a stored part of a session puts its commit in.
///
/// # Errors
/// When the database cannot be read.
pub fn places(tx: &Transaction<'_>, session: &Session) -> Result<Vec<Place>> {
    let (Some(commit_row), Some(index)) = (session.commit_row, sessions::turn_index(tx, session.row)?) else {
        return Ok(Vec::new());
    };
    let files = written_before(tx, session, &index)?.into_iter().collect();
    Filing { files, ..Filing::default() }.places(tx, session, commit_row, &index)
}

/// The files that a stored part wrote, as the parts of their paths in its project.
///
/// # Errors
/// When the database cannot be read.
pub fn files(conn: &Connection, session: &Session) -> Result<Vec<Vec<String>>> {
    let (Some(commit_row), Some(index)) = (session.commit_row, sessions::turn_index(conn, session.row)?) else {
        return Ok(Vec::new());
    };
    let Some(commit) = commits::get(conn, commit_row)? else { return Ok(Vec::new()) };
    let mut folders = projects::paths(conn, commit.project_row)?;
    folders.extend(session.cwd.clone());
    let written: BTreeSet<String> = written_before(conn, session, &index)?.into_iter().collect();
    let found: BTreeSet<Vec<String>> = written.iter().filter_map(|file| files::in_project(file, &folders)).collect();
    Ok(found.into_iter().collect())
}

/// The files that stored turns wrote: for a part that was written before it had a commit.
fn written_before(tx: &Connection, session: &Session, index: &TurnIndex) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for number in 1..=index.len() {
        let writes = index.get(number).is_some_and(|e| index.tool_name(&e).is_some_and(files::may_write));
        if writes && let Some(turn) = turns::get(tx, turns::row_of(session.row, number))? {
            found.extend(files::written_by(&turn, session.cwd.as_deref()));
        }
    }
    Ok(found)
}

/// The row of this machine; made known with the first session.
pub fn this_machine(tx: &Transaction<'_>) -> Result<i64> {
    if let Some(row) = machines::local(tx)? {
        return Ok(row);
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    machines::create_local(tx, host, &render::machine_dir_name(host))
}
