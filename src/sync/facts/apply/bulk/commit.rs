//! Commits of which nothing is known here.

use std::collections::HashSet;

use super::{Bulk, Open};
use crate::cloud::wire::{CommitFacts, Kind, Row};
use crate::model::{ClosedBy, Id};
use crate::store::commits;
use crate::store::commits::found::{self, Found};
use crate::store::facets::{FacetKind, Place, links_to, statuses_of};
use crate::store::{ChangeKind, EntityKind, Result, Transaction, outbox, sessions};
use crate::sync::facts::apply::commit as one;

impl Bulk {
    pub(super) fn commit(
        &mut self,
        tx: &mut Transaction<'_>,
        row: &Row,
        facts: &CommitFacts,
        hash: &Id,
    ) -> Result<bool> {
        let Some(project_row) = self.project(tx, &facts.project)? else { return Ok(false) };
        if found::is_known(tx, &row.id)? {
            return Ok(false);
        }
        let dir_name = one::dir_name(tx, &row.id, project_row, facts)?;
        let new = one::new(&row.id, project_row, &dir_name, facts);
        let found = Found {
            git_hash: facts.git_hash.as_deref(),
            git_subject: facts.git_subject.as_deref(),
            closed_by: ClosedBy::parse(&facts.closed_by).unwrap_or(ClosedBy::SessionEnd),
            closed_at: facts.closed_at,
            parallel: facts.parallel,
            updated_at: facts.updated_at,
        };
        let commit_row = found::insert(tx, &new, &found)?;
        tx.changes.add_full(ChangeKind::ProjectCommits, commit_row, project_row, None);
        tx.changes.add(ChangeKind::Commit, commit_row);
        let mut open = Open {
            row: commit_row,
            project_row,
            started_at: facts.started_at,
            closed_at: facts.closed_at,
            parallel: facts.parallel,
            stands_in: HashSet::new(),
            sessions: Vec::new(),
        };
        let day = Place::of(FacetKind::Date, facts.started_at.date());
        self.facets.add(tx, commit_row, &mut open.stands_in, &day)?;
        one::git_commits(tx, commit_row, facts)?;
        self.note(Kind::Commit, commit_row, hash);
        self.commits.insert(row.id, Some(open));
        Ok(true)
    }

    /// Whether another commit of the project was closed by the same git commit as one that was just added: the two are one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_twice(&self, tx: &Transaction<'_>, row: &Row) -> Result<bool> {
        let hash = row.facts.as_ref().and_then(|facts| facts["git_hash"].as_str());
        let Some(hash) = hash.filter(|_| row.kind == Kind::Commit) else { return Ok(false) };
        let Some(Some(open)) = self.commits.get(&row.id) else { return Ok(true) };
        Ok(commits::by_git_hash_but(tx, open.project_row, hash, open.row)?.is_some())
    }

    /// Remembers a commit of the database, if sessions can be added to it without anything else changing.
    pub(super) fn open(&mut self, tx: &Transaction<'_>, id: &Id) -> Result<bool> {
        if let Some(known) = self.commits.get(id) {
            return Ok(known.is_some());
        }
        let open = if self.is_gone(tx, id)? { None } else { load(tx, id)? };
        let is_open = open.is_some();
        // One that is not here yet may come.
        if is_open || found::is_known(tx, id)? {
            self.commits.insert(*id, open);
        }
        Ok(is_open)
    }
}

fn load(tx: &Transaction<'_>, id: &Id) -> Result<Option<Open>> {
    let Some(commit) = found::plain(tx, id)? else { return Ok(None) };
    let is_marked = statuses_of(tx, commit.row)?.iter().any(|name| name != "remote");
    if is_marked || outbox::waits(tx, EntityKind::Commit, commit.row)? {
        return Ok(None);
    }
    let open = Open {
        row: commit.row,
        project_row: commit.project_row,
        started_at: commit.started_at,
        closed_at: commit.closed_at,
        parallel: commit.parallel,
        stands_in: links_to(tx, commit.row)?.into_iter().map(|(facet, _)| facet).collect(),
        sessions: sessions::elsewhere::beside(tx, commit.row)?,
    };
    Ok(open.is_in_step().then_some(open))
}
