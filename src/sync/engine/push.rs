//! Pushing: facts and contents first, in the order in which the cloud can take them, then what people changed.
//!
//! A request has a hundred records, and no more bytes than a few megabytes. A session's contents go before its facts: in one
//! request where there is room for all of it; else the facts are read again once the contents have arrived.
//!
//! While the server takes a request the next one is read. It is sent as it was read if all of the former one was taken and nobody else
//! wrote meanwhile; else what follows may be another, and it is read again.

mod reading;

use std::collections::BTreeMap;
use std::{io, panic, thread};

use serde_json::Value;

use super::pull::Pen;
use super::{Cycle, Progress, Result, Step, pictures};
use crate::cloud::wire::{Change, Kind, Outcome};
use crate::model::{Id, Millis};
use crate::store::outbox::{self, Waiting};
use crate::store::{self, EntityKind, Transaction, commits, objects, refused, sessions, turns};
use crate::sync::facts::{self, Cursor, Receipt};
use crate::sync::fields::{self, record};
use reading::{Left, Reader, version};

/// Records of a request.
const RECORDS: usize = 100;

/// Changes of a request, with the pieces of contents: of small sessions there are several to each record.
const CHANGES: usize = 5 * RECORDS;

/// Bytes of a request, unless a single change is larger.
const BYTES: usize = 4 << 20;

/// How often fields are sent again that met another machine's: each time on what the cloud said it has.
const ROUNDS: usize = 5;

/// The key in `state` of pictures that nothing refers to any more, and that are still to be removed: a list, as JSON.
const UNUSED: &str = "unused_objects";

/// What is to be done with the answer to a change.
enum After {
    Nothing,
    Mark(Receipt),
    Fields(Box<Waiting>),
}

/// A request in the making.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    after: Vec<After>,
    /// Bytes of the changes.
    bytes: usize,
    records: usize,
    /// Sessions of which contents are in it.
    sessions: Vec<(i64, Id)>,
    /// When it was read here, by the server's clock, or a moment before.
    as_of: Millis,
    /// What the database was when it was read: see [`version`].
    seen: i64,
    /// What was taken from the lists of what is left, and the place behind which.
    from: Cursor,
    listed: Vec<facts::Unsent>,
    opened: Vec<i64>,
}

impl Batch {
    fn add(&mut self, change: Change, after: After) {
        self.bytes += length(&change);
        self.changes.push(change);
        self.after.push(after);
    }

    fn has_room(&self) -> bool {
        self.records < RECORDS && self.bytes < BYTES && self.changes.len() < CHANGES
    }
}

/// The length of a change as JSON.
fn length(change: &Change) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Plain data into a counter: neither can fail.
    if serde_json::to_writer(&mut count, change).is_err() {
        return 0;
    }
    count.0
}

/// What became of a request.
struct Taken {
    /// Sessions of which contents arrived.
    sessions: Vec<i64>,
    /// Nothing was refused, merged, forgotten, or met something else.
    is_all: bool,
}

impl Cycle<'_> {
    /// Sends everything that waits.
    pub(super) fn push(&mut self) -> Step {
        let mut left = Left::default();
        let as_of = self.now_there();
        let mut next = self.reader().next(&mut left, as_of)?;
        while !next.changes.is_empty() {
            if self.upload_named(&next.changes)?.is_none() {
                return Ok(None);
            }
            let Some(ahead) = self.send_and_read(next, &mut left)? else { return Ok(None) };
            next = match ahead {
                Some(ahead) => ahead,
                None => {
                    let as_of = self.now_there();
                    self.reader().next(&mut left, as_of)?
                }
            };
        }
        for _ in 0..ROUNDS {
            match self.push_fields()? {
                None => return Ok(None),
                Some(0) => break,
                Some(_) => {}
            }
        }
        if self.upload_rest()?.is_none() {
            return Ok(None);
        }
        self.remove_unused();
        Ok(Some(()))
    }

    fn reader(&mut self) -> Reader<'_> {
        let Self { writer, redact, options, ignored_at, .. } = self;
        Reader { writer, redact: *redact, options, ignored_at }
    }

    /// Makes a request, and reads the next one meanwhile, if what it is does not depend on the answer. `None`: it was ended.
    fn send_and_read(&mut self, batch: Batch, left: &mut Left) -> Result<Option<Option<Batch>>> {
        // What is taken may make room for what was refused.
        if refused::any(self.writer.conn())? {
            let Some(taken) = self.send(batch)? else { return Ok(None) };
            left.open.extend(taken.sessions);
            return Ok(Some(None));
        }
        if self.is_over() {
            return Ok(None);
        }
        self.summary.requests += 1;
        let (cloud, machine, as_of) = (self.cloud, self.here.machine, self.now_there());
        let reader = self.reader();
        let (outcomes, ahead) = thread::scope(|scope| {
            let ahead = scope.spawn(|| reader.next(left, as_of));
            let outcomes = cloud.push(machine, batch.as_of, &batch.changes);
            (outcomes, ahead.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
        });
        let Some(taken) = self.taken(&batch, &outcomes?)? else { return Ok(None) };
        let ahead = ahead?;
        left.open.extend(taken.sessions);
        // What is to follow what was just sent goes into the next request, if that has room for it.
        let is_current = taken.is_all && version(self.writer)? == ahead.seen;
        if is_current && (left.open.is_empty() || (!ahead.has_room() && !ahead.changes.is_empty())) {
            return Ok(Some(Some(ahead)));
        }
        left.give_back(ahead);
        Ok(Some(None))
    }

    /// Makes a request and takes its answers. `None`: it was ended.
    fn send(&mut self, batch: Batch) -> Result<Option<Taken>> {
        if self.is_over() {
            return Ok(None);
        }
        self.summary.requests += 1;
        let outcomes = self.cloud.push(self.here.machine, batch.as_of, &batch.changes)?;
        self.taken(&batch, &outcomes)
    }

    /// Takes the answers to a request. `None`: it was ended.
    fn taken(&mut self, batch: &Batch, outcomes: &[Outcome]) -> Result<Option<Taken>> {
        if outcomes.len() != batch.changes.len() {
            let what = format!("{} answers to {} changes", outcomes.len(), batch.changes.len());
            return Err(crate::cloud::CloudError::Garbled(what).into());
        }
        if self.is_over() {
            return Ok(None);
        }
        let taken = self.take_answers(batch, outcomes)?;
        self.summary.bytes += batch.bytes as u64;
        (self.progress)(Progress::Pushed { records: self.summary.pushed, bytes: self.summary.bytes });
        Ok(Some(taken))
    }

    fn take_answers(&mut self, batch: &Batch, outcomes: &[Outcome]) -> Result<Taken> {
        let mut tx = self.writer.begin()?;
        let mut pen = Pen { here: self.here, summary: &mut self.summary };
        let mut stopped: BTreeMap<Id, ()> = BTreeMap::new();
        for ((change, after), outcome) in batch.changes.iter().zip(&batch.after).zip(outcomes) {
            let (kind, id) = of(change);
            match outcome {
                Outcome::Applied { unused, .. } => {
                    if let After::Mark(receipt) = after {
                        facts::sent(&tx, receipt)?;
                    }
                    if let Change::Facts { facts: Some(_), .. } = change {
                        refused::clear_orphans(&tx)?;
                    }
                    note_unused(&tx, unused)?;
                    pen.summary.pushed += u64::from(is_record(change));
                }
                Outcome::Merged { into } => pen.ended(&mut tx, kind, id, Some(*into))?,
                Outcome::Forgotten => {
                    if let (Change::Forget { .. } | Change::Merged { .. }, After::Mark(receipt)) = (change, after) {
                        facts::sent(&tx, receipt)?;
                    }
                    pen.ended(&mut tx, kind, id, None)?;
                }
                Outcome::Refused { code, message } if !matches!(after, After::Fields(_)) => {
                    refused::add(&tx, kind as i64, &id, code, message)?;
                    if kind == Kind::Session && code == refused::UNKNOWN_PARENT {
                        fields::send_commit_of(&tx, &id)?;
                    }
                    if let Change::Merged { kind: Kind::Commit, into, .. } = change
                        && code == refused::UNKNOWN_PARENT
                    {
                        fields::send_again_if_known(&tx, into)?;
                    }
                    // What belongs to a refused record follows from that.
                    pen.summary.refused += u64::from(is_record(change) && code != refused::UNKNOWN_PARENT);
                }
                Outcome::Refused { .. } => pen.summary.refused += 1,
                // Of a record's facts there are better ones: a machine knew of them before it read a shorter log, or they are on their
                // way to it. That it has others is told.
                Outcome::Conflict { row } => {
                    if let (Change::Facts { .. }, After::Mark(receipt)) = (change, after) {
                        facts::sent(&tx, receipt)?;
                        pen.take(&mut tx, row)?;
                    }
                }
            }
            if let After::Fields(sent) = after
                && let fields::Applied::Done(taken) = fields::settle(&mut tx, pen.here, sent, outcome)?
            {
                pen.count(taken);
            }
            if !matches!(outcome, Outcome::Applied { .. }) {
                stopped.insert(id, ());
            }
        }
        tx.commit()?;
        let sessions = batch.sessions.iter().filter(|(_, id)| !stopped.contains_key(id)).map(|(row, _)| *row).collect();
        Ok(Taken { sessions, is_all: stopped.is_empty() })
    }

    /// Sends what people changed; how many of them met a change of another machine, and wait again.
    fn push_fields(&mut self) -> Result<Option<usize>> {
        let (mut place, mut met) = (0, 0);
        loop {
            let (waiting, next) = fields::pending(self.writer.conn(), place, RECORDS)?;
            if waiting.is_empty() {
                return Ok(Some(met));
            }
            place = next;
            let mut meant = Vec::new();
            for waiting in waiting {
                if self.is_meant(&waiting)? {
                    meant.push(waiting);
                }
            }
            // Parents before children, each in the order of the edits.
            meant.sort_by_key(|waiting| (waiting.kind, waiting.seq));
            if meant.is_empty() {
                continue;
            }
            if self.is_over() {
                return Ok(None);
            }
            let batch = self.fields_batch(meant)?;
            let Some((_, conflicts)) = self.send_fields(batch)? else { return Ok(None) };
            met += conflicts;
        }
    }

    fn fields_batch(&mut self, waiting: Vec<Waiting>) -> Result<Batch> {
        let mut batch = Batch { as_of: self.now_there(), ..Batch::default() };
        let tx = self.writer.begin()?;
        for waiting in waiting {
            batch.records += 1;
            batch.add(fields::change(&tx, &waiting, self.redact)?, After::Nothing);
            // From here on it is not known what the cloud has of it.
            outbox::set_sent(&tx, waiting.seq, true)?;
            if let Some(after) = batch.after.last_mut() {
                *after = After::Fields(Box::new(waiting));
            }
        }
        tx.commit()?;
        Ok(batch)
    }

    fn send_fields(&mut self, batch: Batch) -> Result<Option<(u64, usize)>> {
        let seqs: Vec<(EntityKind, i64)> = batch
            .after
            .iter()
            .filter_map(|after| match after {
                After::Fields(waiting) => Some((waiting.kind, waiting.entity_row)),
                _ => None,
            })
            .collect();
        if self.send(batch)?.is_none() {
            return Ok(None);
        }
        // What still waits and is not sent met something.
        let mut met = 0;
        for (kind, row) in seqs {
            let waiting = outbox::find(self.writer.conn(), kind, row)?;
            met += usize::from(waiting.is_some_and(|waiting| !waiting.sent));
        }
        Ok(Some((0, met)))
    }

    fn is_meant(&self, waiting: &Waiting) -> Result<bool> {
        let Some(meant) = &self.options.projects else { return Ok(true) };
        let conn = self.writer.conn();
        Ok(project_of(conn, waiting.kind, waiting.entity_row)?.is_some_and(|row| meant.contains(&row)))
    }

    /// Removes pictures that nothing refers to. What cannot be removed now is tried again behind the next push.
    fn remove_unused(&mut self) {
        let unused = store::state(self.writer.conn(), UNUSED).ok().flatten();
        let Some(mut names) = unused.and_then(|json| serde_json::from_str::<Vec<String>>(&json).ok()) else { return };
        // A session that was imported since may show it.
        names.retain(|name| !objects::is_own(self.writer.conn(), pictures::sha256_of(name)).unwrap_or(true));
        if self.is_over() {
            return;
        }
        let removed = self.forget_objects(&names).and_then(|()| {
            if !names.is_empty() {
                self.summary.requests += 1;
                self.cloud.remove(&names)?;
            }
            let tx = self.writer.begin()?;
            tx.execute("DELETE FROM state WHERE key = ?1", [UNUSED])?;
            Ok(tx.commit()?)
        });
        if let Err(error) = removed {
            tracing::info!(%error, "pictures that nothing refers to are not removed yet");
        }
    }
}

fn note_unused(tx: &Transaction<'_>, unused: &[String]) -> store::Result<()> {
    if unused.is_empty() {
        return Ok(());
    }
    let known = store::state(tx, UNUSED)?.and_then(|json| serde_json::from_str(&json).ok());
    let mut names: Vec<String> = known.unwrap_or_default();
    names.extend(unused.iter().cloned());
    store::set_state(tx, UNUSED, &Value::from(names).to_string())
}

/// Whose a change is.
fn of(change: &Change) -> (Kind, Id) {
    match change {
        Change::Facts { kind, id, .. }
        | Change::Fields { kind, id, .. }
        | Change::Merged { kind, id, .. }
        | Change::Forget { kind, id } => (*kind, *id),
        Change::Turns { session, .. } | Change::Raw { session, .. } | Change::Usage { session, .. } => {
            (Kind::Session, *session)
        }
    }
}

/// Whether a change is what is counted: not a stub, and no piece of contents.
fn is_record(change: &Change) -> bool {
    match change {
        Change::Facts { facts, .. } => facts.is_some(),
        Change::Fields { .. } | Change::Merged { .. } | Change::Forget { .. } => true,
        Change::Turns { .. } | Change::Raw { .. } | Change::Usage { .. } => false,
    }
}

/// The project that a record is in.
///
/// # Errors
/// When SQLite cannot read.
pub fn project_of(conn: &rusqlite::Connection, kind: EntityKind, row: i64) -> store::Result<Option<i64>> {
    let commit = match kind {
        EntityKind::Project => return Ok(Some(row)),
        EntityKind::Commit => Some(row),
        EntityKind::Session => sessions::get(conn, row)?.and_then(|session| session.commit_row),
        EntityKind::Turn => sessions::get(conn, turns::parts_of(row).0)?.and_then(|session| session.commit_row),
    };
    Ok(commit.map(|row| commits::get(conn, row)).transpose()?.flatten().map(|commit| commit.project_row))
}

/// What a push would send: records with new facts, sessions with new contents, edits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Unsent {
    pub records: u64,
    pub edits: u64,
    pub bytes: u64,
}

/// Counts what a push would send, without asking the cloud.
///
/// # Errors
/// When the database cannot be read.
pub fn unsent(
    conn: &rusqlite::Connection,
    redact: &dyn facts::Redact,
    meant: Option<&std::collections::BTreeSet<i64>>,
) -> store::Result<Unsent> {
    let mut unsent = Unsent::default();
    let mut cursor = Cursor::default();
    loop {
        let page = facts::unsent(conn, &cursor, reading::LISTED)?;
        let Some(last) = page.last() else { break };
        cursor = last.cursor();
        for unsent_one in page {
            let Some(pending) = facts::read(conn, unsent_one, redact)? else { continue };
            let (kind, id) = of(&pending.change);
            let row = record::entity_kind(kind)
                .map(|kind| record::by_id(conn, kind, &id).map(|row| row.map(|row| (kind, row))));
            let of_project =
                row.transpose()?.flatten().map(|(kind, row)| project_of(conn, kind, row)).transpose()?.flatten();
            if meant.is_some_and(|meant| !of_project.is_some_and(|row| meant.contains(&row))) {
                continue;
            }
            unsent.records += 1;
            unsent.bytes += length(&pending.change) as u64;
        }
    }
    let mut place = 0;
    loop {
        let (waiting, next) = fields::pending(conn, place, RECORDS)?;
        if waiting.is_empty() {
            return Ok(unsent);
        }
        place = next;
        for waiting in waiting {
            let project = project_of(conn, waiting.kind, waiting.entity_row)?;
            let is_meant = meant.is_none_or(|meant| project.is_some_and(|row| meant.contains(&row)));
            unsent.edits += u64::from(is_meant);
        }
    }
}
