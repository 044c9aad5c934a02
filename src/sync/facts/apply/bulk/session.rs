//! Sessions of which nothing is known here.

use super::{Bulk, Open};
use crate::cloud::wire::{Kind, Row, SessionFacts};
use crate::model::{Agent, Id, SectionSize, Tokens};
use crate::render;
use crate::store::facets::{FacetKind, Place};
use crate::store::sessions::elsewhere::{self, Beside, NewElsewhere};
use crate::store::{ChangeKind, Result, Transaction, sessions};
use crate::sync::facts::apply::session as one;
use crate::sync::facts::checks::safe_name;

impl Bulk {
    pub(super) fn session(
        &mut self,
        tx: &mut Transaction<'_>,
        row: &Row,
        (facts, agent): (&SessionFacts, Agent),
        hash: &Id,
    ) -> Result<bool> {
        let Some(machine_row) = self.machine(tx, &facts.machine)? else { return Ok(false) };
        if elsewhere::is_known(tx, &row.id)? || !self.open(tx, &facts.commit)? {
            return Ok(false);
        }
        let parent_row = match facts.parent {
            None => None,
            Some(parent) if parent == row.id || sessions::is_below(tx, &parent, &row.id)? => return Ok(false),
            Some(parent) => match sessions::by_id(tx, &parent)? {
                Some(parent) => Some(parent.row),
                None => return Ok(false),
            },
        };
        let (Some(dir_name), Some(Some(open))) = (safe_name(&facts.dir_name), self.commits.get_mut(&facts.commit))
        else {
            return Ok(false);
        };
        let beside = Beside {
            id: row.id,
            parent_row,
            ordinal: facts.ordinal,
            dir_name: dir_name.to_owned(),
            started_at: facts.started_at,
            ended_at: facts.ended_at,
        };
        if !open.has_room_for(&beside) {
            return Ok(false);
        }
        open.sessions.push(beside);
        let session_row = insert(tx, row, (facts, agent), dir_name, (machine_row, open.row, parent_row))?;
        let (commit_row, project_row) = (open.row, open.project_row);
        let (is_in_step, has_times) = (open.is_in_step(), open.of_its_own().next().is_some());
        one::pictures(tx, session_row, commit_row, facts)?;
        self.file(tx, (facts, agent), project_row)?;
        tx.changes.add(ChangeKind::Session, session_row);
        match parent_row {
            Some(parent) => tx.changes.add(ChangeKind::SessionSubagents, parent),
            None => tx.changes.add(ChangeKind::CommitSessions, commit_row),
        }
        if has_times {
            tx.changes.add(ChangeKind::Commit, commit_row);
        }
        self.note(Kind::Session, session_row, hash);
        if is_in_step {
            self.place(tx, &facts.commit, &Place::of(FacetKind::Status, "remote".to_owned()))?;
        } else {
            // The commit is of other times than it said.
            self.facets.write(tx)?;
            one::refresh(tx, commit_row)?;
            self.commits.remove(&facts.commit);
        }
        Ok(true)
    }

    /// Puts the commit where the session is to be found.
    fn file(
        &mut self,
        tx: &mut Transaction<'_>,
        (facts, agent): (&SessionFacts, Agent),
        project_row: i64,
    ) -> Result<()> {
        self.place(tx, &facts.commit, &Place::of(FacetKind::Agent, agent.slug().to_owned()))?;
        if let Some((_, Some(place))) = self.machines.get(&facts.machine) {
            let place = place.clone();
            self.place(tx, &facts.commit, &place)?;
        }
        for model in &facts.models {
            self.named(tx, &facts.commit, FacetKind::Model, model)?;
        }
        for tool in &facts.tool_names {
            self.named(tx, &facts.commit, FacetKind::Tool, tool)?;
        }
        for path in &facts.files {
            let parts: Option<Vec<String>> = path.split('/').map(render::path_part_name).collect();
            if let Some(parts) = parts.filter(|parts| parts.len() <= one::DEEPEST) {
                self.place(tx, &facts.commit, &Place::file(project_row, parts))?;
            }
        }
        Ok(())
    }

    fn named(&mut self, tx: &mut Transaction<'_>, commit: &Id, kind: FacetKind, name: &str) -> Result<()> {
        let known = self.places.entry(kind).or_default();
        if !known.contains_key(name) {
            let dir_name = match kind {
                FacetKind::Model => render::model_dir_name(name),
                _ => render::tool_slug(name),
            };
            known.insert(name.to_owned(), Place::of(kind, dir_name));
        }
        if let (Some(place), Some(Some(open))) = (known.get(name), self.commits.get_mut(commit)) {
            self.facets.add(tx, open.row, &mut open.stands_in, place)?;
        }
        Ok(())
    }

    fn place(&mut self, tx: &mut Transaction<'_>, commit: &Id, place: &Place) -> Result<()> {
        match self.commits.get_mut(commit) {
            Some(Some(open)) => self.facets.add(tx, open.row, &mut open.stands_in, place),
            _ => Ok(()),
        }
    }
}

impl Open {
    /// Whether a session can be added as it is called, and the others stay as they are called.
    fn has_room_for(&self, new: &Beside) -> bool {
        let mut like = self.sessions.iter().filter(|known| known.parent_row == new.parent_row);
        if like.any(|known| known.dir_name == new.dir_name || known.ordinal == new.ordinal) {
            return false;
        }
        // Subagents keep the numbers that they came with.
        new.parent_row.is_some()
            || (self.of_its_own().all(|known| (known.started_at, known.id) < (new.started_at, new.id))
                && is_number(new, self.of_its_own().count() + 1))
    }

    /// The sessions that no other one started.
    fn of_its_own(&self) -> impl Iterator<Item = &Beside> {
        self.sessions.iter().filter(|known| known.parent_row.is_none())
    }

    /// Whether the sessions are numbered by their times, and the commit's times are theirs: see [`sessions::number_by_time`] and
    /// `commits::refresh`.
    pub(super) fn is_in_step(&self) -> bool {
        let mut parallel = false;
        let mut last: Option<&Beside> = None;
        for (nth, session) in self.of_its_own().enumerate() {
            if let Some(last) = last {
                if (last.started_at, last.id) > (session.started_at, session.id) {
                    return false;
                }
                parallel |= session.started_at < last.ended_at;
            }
            if !is_number(session, nth + 1) {
                return false;
            }
            last = Some(session);
        }
        let started = self.of_its_own().map(|session| session.started_at).min();
        let ended = self.of_its_own().map(|session| session.ended_at).max();
        match (started, ended) {
            (Some(started), Some(ended)) => {
                (started, ended, parallel) == (self.started_at, self.closed_at, self.parallel)
            }
            _ => true,
        }
    }
}

/// Whether a session has this number, and its name says so.
fn is_number(session: &Beside, number: usize) -> bool {
    let digits = session.dir_name.split_once('_').map(|(digits, _)| digits);
    session.ordinal as usize == number && digits == Some(format!("{number:02}").as_str())
}

fn insert(
    tx: &Transaction<'_>,
    row: &Row,
    (facts, agent): (&SessionFacts, Agent),
    dir_name: &str,
    (machine_row, commit_row, parent_row): (i64, i64, Option<i64>),
) -> Result<i64> {
    let mut turn_index = facts.turn_index.0.clone();
    // What is deleted is said by the turns themselves.
    crate::store::index::set_none_deleted(&mut turn_index);
    let [input, output, cache_read, cache_write] = facts.tokens;
    let [bytes, turn_links, visual_links, page_bytes, page_links] = facts.sections;
    let new = NewElsewhere {
        id: row.id,
        agent,
        native_id: &facts.native_id,
        machine_row,
        part: facts.part,
        commit_row,
        parent_row,
        subagent_kind: facts.subagent_kind.as_deref(),
        ordinal: facts.ordinal,
        dir_name,
        title: facts.title.as_deref(),
        title_rank: facts.title_rank,
        cwd: facts.cwd.as_deref(),
        git_branch: facts.git_branch.as_deref(),
        git_remote: facts.git_remote.as_deref(),
        agent_version: facts.agent_version.as_deref(),
        models: &facts.models,
        closed: facts.closed,
        started_at: facts.started_at,
        ended_at: facts.ended_at,
        updated_at: facts.updated_at,
        turns: facts.turns,
        prompts: facts.prompts,
        tool_calls: facts.tool_calls,
        images: facts.images,
        tokens: Tokens { input, output, cache_read, cache_write },
        sections: SectionSize { bytes, turn_links, visual_links, page_bytes, page_links },
        raw_bytes: facts.raw_bytes,
        raw_records: facts.raw_records,
        render_version: facts.render_version,
        tool_names: &facts.tool_names,
        turn_index: &turn_index,
    };
    elsewhere::insert(tx, &new)
}
