//! Records of which nothing is known here, as in a first pull: written by few statements, with what many of them share looked up once.
//!
//! What comes of it is what [`super::apply`] makes of the same records one after the other, row for row: a record that would take
//! more than being added is left to that. What is remembered from record to record holds as long as nothing else writes: whoever
//! does ends it before ([`Bulk::end`]).

mod commit;
mod session;

use std::collections::{HashMap, HashSet};

use super::{of_kind, read};
use crate::cloud::wire::{CommitFacts, Kind, Row, SessionFacts};
use crate::model::{Agent, Id, Millis};
use crate::store::facets::{self, FacetKind, Place};
use crate::store::sessions::elsewhere::Beside;
use crate::store::told::{self, Facts};
use crate::store::{Result, Transaction, gone, machines, marks, projects};
use crate::sync::facts::checks;

/// Commits that are remembered at the most.
const REMEMBERED: usize = 50_000;

/// Facts as they were read and checked, where that needs no database: by whoever asked for them, while others are written.
#[derive(Debug)]
pub struct Ready(Checked);

#[derive(Debug)]
enum Checked {
    Commit(Box<CommitFacts>, Id),
    Session(Box<SessionFacts>, Agent, Id),
    /// It is left to [`super::apply`].
    Other,
}

impl Ready {
    /// Reads the facts of a record.
    #[must_use]
    pub fn read(row: &Row) -> Self {
        Self(facts(row).unwrap_or(Checked::Other))
    }
}

fn facts(row: &Row) -> Option<Checked> {
    if row.forgotten || row.merged_into.is_some() || row.facts.is_none() {
        return None;
    }
    match row.kind {
        Kind::Commit => {
            let (facts, hash): (CommitFacts, Id) = read(row).ok()?;
            checks::commit(&facts).ok()?;
            Some(Checked::Commit(Box::new(facts), hash))
        }
        Kind::Session => {
            let (facts, hash): (SessionFacts, Id) = read(row).ok()?;
            let agent = checks::session(&row.id, &facts).ok()?;
            Some(Checked::Session(Box::new(facts), agent, hash))
        }
        Kind::Machine | Kind::Project | Kind::Turn => None,
    }
}

/// A commit that sessions can be added to without anything else changing.
#[derive(Debug)]
struct Open {
    row: i64,
    project_row: i64,
    started_at: Millis,
    closed_at: Millis,
    parallel: bool,
    /// Directories of views.
    stands_in: HashSet<i64>,
    sessions: Vec<Beside>,
}

/// What is remembered, and what is still to be written.
#[derive(Debug, Default)]
pub struct Bulk {
    /// What SQLite counted other connections' changes by when it was remembered (`PRAGMA data_version`).
    as_of: Option<i64>,
    /// Something was written and is to be ended.
    begun: bool,
    /// Whether anything is known of ids that name no record.
    marked: Option<bool>,
    machines: HashMap<Id, (i64, Option<Place>)>,
    projects: HashMap<Id, i64>,
    commits: HashMap<Id, Option<Open>>,
    /// Directories of views by what the facts call them.
    places: HashMap<FacetKind, HashMap<String, Place>>,
    facets: facets::Bulk,
    told: Vec<(Facts, i64, Id)>,
}

impl Bulk {
    /// To be called when a transaction has begun: somebody else may have written since the last one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn begin(&mut self, tx: &Transaction<'_>) -> Result<()> {
        let now = Some(tx.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))?);
        if self.as_of != now {
            *self = Self { as_of: now, ..Self::default() };
        }
        Ok(())
    }

    /// Writes the facts of a record of which nothing is known here; false when it is to be written by [`super::apply`], behind
    /// [`Self::end`].
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn add(&mut self, tx: &mut Transaction<'_>, row: &Row, ready: &Ready) -> Result<bool> {
        if matches!(ready.0, Checked::Other) || self.is_marked(tx, row)? {
            return Ok(false);
        }
        if !self.begun {
            told::pause(tx)?;
            self.begun = true;
        }
        match &ready.0 {
            Checked::Commit(facts, hash) => self.commit(tx, row, facts, hash),
            Checked::Session(facts, agent, hash) => self.session(tx, row, (facts, *agent), hash),
            Checked::Other => Ok(false),
        }
    }

    /// Writes what is still to be written. What is remembered holds on, until somebody else writes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn write(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        self.facets.write(tx)?;
        told::pulled_many(tx, &self.told)?;
        self.told.clear();
        if self.begun {
            told::resume(tx)?;
            self.begun = false;
        }
        if self.commits.len() > REMEMBERED {
            self.commits.clear();
        }
        Ok(())
    }

    /// Writes what is still to be written, and remembers nothing: somebody else is going to write.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn end(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        self.write(tx)?;
        *self = Self { as_of: self.as_of, ..Self::default() };
        Ok(())
    }

    /// Whether anything is known of the record.
    fn is_marked(&mut self, tx: &Transaction<'_>, row: &Row) -> Result<bool> {
        Ok(self.any_marks(tx)? && marks::has(tx, row.kind as i64, &row.id)?)
    }

    fn any_marks(&mut self, tx: &Transaction<'_>) -> Result<bool> {
        if let Some(marked) = self.marked {
            return Ok(marked);
        }
        Ok(*self.marked.insert(marks::any(tx)?))
    }

    /// Whether a record that another refers to is no more.
    fn is_gone(&mut self, tx: &Transaction<'_>, id: &Id) -> Result<bool> {
        Ok(self.any_marks(tx)? && gone::fate(tx, id)?.is_some())
    }

    fn project(&mut self, tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>> {
        if let Some(row) = self.projects.get(id) {
            return Ok(Some(*row));
        }
        if self.is_gone(tx, id)? {
            return Ok(None);
        }
        let row = projects::by_id(tx, id)?.map(|project| project.row);
        self.projects.extend(row.map(|row| (*id, row)));
        Ok(row)
    }

    fn machine(&mut self, tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>> {
        if let Some((row, _)) = self.machines.get(id) {
            return Ok(Some(*row));
        }
        let Some(row) = machines::by_id(tx, id)? else { return Ok(None) };
        let place = machines::dir_name(tx, row)?.map(|name| Place::of(FacetKind::Machine, name));
        self.machines.insert(*id, (row, place));
        Ok(Some(row))
    }

    fn note(&mut self, kind: Kind, row: i64, hash: &Id) {
        self.told.push((of_kind(kind), row, *hash));
    }
}
