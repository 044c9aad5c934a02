//! A database that holds many sessions: each is a source of its own, with its own stamp and state, so that one session that
//! changed costs one session.

use std::io;
use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use super::read::{BATCH_BYTES, Batch, Input, Parsed, end, read_record};
use super::{COMMIT_BYTES, Job, Run};
use crate::ingest::discover::Candidate;
use crate::ingest::opencode::database::{self, Database, Log, Position, Row};
use crate::ingest::opencode::tree;
use crate::ingest::raw_record::RawRecord;
use crate::ingest::record::Parser;
use crate::ingest::source::Stamp;
use crate::model::Agent;
use crate::store::sources::{self, Source};
use crate::store::{self, Transaction, sessions};

/// A database last written to this lately may be written to again within the same tick of its file's clock.
const SETTLED: Duration = Duration::from_secs(2);

/// A session to be read.
pub(super) struct Session<'d> {
    database: &'d mut Database,
    id: String,
    since: Option<Position>,
}

impl Run<'_> {
    /// Reads the sessions of a database that are new or changed. What is wrong with one of them costs that one.
    pub(super) fn database<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        candidate: &Candidate,
        name: &str,
        stamp: Stamp,
        may_commit: bool,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        let opened = Database::open(&candidate.path).and_then(|mut database| Ok((database.logs()?, database)));
        let (logs, mut database) = match opened {
            Ok(opened) => opened,
            Err(e) => return Ok((tx, Err(e))),
        };
        self.summary.files += 1;
        let (mut whole, mut read, mut bytes) = (true, false, 0);
        for log in &logs {
            if self.stopped() {
                break;
            }
            let name = database::name(name, &log.id);
            let known = sources::find(&tx, &name)?;
            if known.as_ref().is_some_and(|k| (k.size, k.mtime_ns) == (log.stamp.size, log.stamp.mtime_ns)) {
                continue;
            }
            read = true;
            let before = self.summary.bytes;
            let outcome;
            (tx, outcome) = self.session(tx, candidate, &mut database, log, (&name, known), may_commit)?;
            if let Err(e) = outcome {
                whole = false;
                self.summary.skip(&name, 0, e.to_string());
            }
            bytes += self.summary.bytes - before;
            if may_commit && (bytes >= COMMIT_BYTES || tx.is_wanted()) {
                (tx, bytes) = (tx.commit_and_go_on()?, 0);
            }
        }
        self.summary.files_read += u64::from(read);
        let settled = candidate.modified.elapsed().is_ok_and(|age| age > SETTLED) && is_settled(stamp);
        if whole && settled && !self.stopped() {
            sources::save(&tx, &all_read(name, stamp))?;
        }
        Ok((tx, Ok(())))
    }

    fn session<'c>(
        &mut self,
        tx: Transaction<'c>,
        candidate: &Candidate,
        database: &mut Database,
        log: &Log,
        (name, known): (&str, Option<Source>),
        may_commit: bool,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        let (head, parser) = match database.parser(&log.id) {
            Ok(Some(opened)) => opened,
            // Deleted a moment ago.
            Ok(None) => return Ok((tx, Ok(()))),
            Err(e) => return Ok((tx, Err(e))),
        };
        let shared = sources::has_other(&tx, head.agent, &head.native_id, name)?
            || !sessions::parts_of_others(&tx, head.agent, &head.native_id)?.is_empty();
        let since = match known.as_ref().filter(|k| is_whole(k) && !shared).and_then(position) {
            Some(since) => match database.can_go_on(&log.id, &since) {
                Ok(can) => can.then_some(since),
                Err(e) => return Ok((tx, Err(e))),
            },
            None => None,
        };
        let job = Job {
            path: &candidate.path,
            name,
            head,
            stamp: log.stamp,
            size: candidate.size,
            modified: candidate.modified,
            grown: known.filter(|_| since.is_some()),
            may_commit,
        };
        self.take(tx, job, Input::Session(parser, Session { database, id: log.id.clone(), since }))
    }
}

/// Whether a file is a session of a folder tree that the database beside it brought: later versions of OpenCode take the tree
/// over and leave it there.
pub(super) fn is_taken_over(tx: &Transaction<'_>, path: &Path) -> store::Result<bool> {
    let Some(session) = tree::Session::at(path) else { return Ok(false) };
    let others = sources::others(tx, Agent::OpenCode, session.id(), &path.to_string_lossy())?;
    Ok(others.iter().any(|(other, _)| database::is_in(other, session.data_dir())))
}

/// Whether a later copy of the session at hand was read from another file. Parsers that can tell say how late theirs is.
pub(super) fn is_older_copy(tx: &Transaction<'_>, job: &Job<'_>, parser: &Value) -> store::Result<bool> {
    let Some(own) = newest(parser).filter(|newest| *newest > 0) else { return Ok(false) };
    let others = sources::others(tx, job.head.agent, &job.head.native_id, job.name)?;
    let parsers = others.iter().filter_map(|(_, state)| serde_json::from_str::<Value>(state).ok());
    Ok(parsers.filter_map(|mut state| newest(&state["parser"].take())).any(|other| other > own))
}

fn newest(parser: &Value) -> Option<i64> {
    parser.get("newest")?.as_i64()
}

/// Until a session is read to its end its stamp is noted as unknown.
fn is_whole(known: &Source) -> bool {
    known.mtime_ns != 0
}

fn position(known: &Source) -> Option<Position> {
    let state: Value = serde_json::from_str(&known.state).ok()?;
    let reader = state.get("reader").filter(|reader| reader.is_object())?;
    Position::deserialize(reader).ok()
}

fn is_settled(stamp: Stamp) -> bool {
    let written = u64::try_from(stamp.mtime_ns).unwrap_or_default();
    let written = SystemTime::UNIX_EPOCH + Duration::from_nanos(written);
    written.elapsed().is_ok_and(|age| age > SETTLED)
}

/// The database itself, as a file whose sessions were all read.
fn all_read(name: &str, stamp: Stamp) -> Source {
    Source {
        path: name.to_owned(),
        agent: Agent::OpenCode,
        native_id: String::new(),
        size: stamp.size,
        mtime_ns: stamp.mtime_ns,
        offset: 0,
        line: 0,
        prefix_hash: Vec::new(),
        state: Value::Null.to_string(),
        skipped: 0,
    }
}

/// The reader's side: rows to batches.
pub(super) fn read_session(session: Session<'_>, mut parser: Box<dyn Parser>, send: &SyncSender<Batch>) {
    let Session { database, id, since } = session;
    let mut batch = Batch::new(0, 1);
    let mut bytes = 0;
    let read = database.read(&id, since.as_ref(), &mut |row| {
        let parsed = parsed(row, parser.as_mut());
        bytes += parsed.raw.len();
        batch.records.push(parsed);
        if bytes < BATCH_BYTES {
            return true;
        }
        bytes = 0;
        // The writer is gone when it failed or was stopped.
        send.send(std::mem::replace(&mut batch, Batch::new(0, 1))).is_ok()
    });
    match read {
        Ok(position) => batch.reader = serde_json::to_value(position).unwrap_or_default(),
        Err(e) => batch.error = Some(e),
    }
    end(&mut batch, parser.as_mut());
    let _ = send.send(batch);
}

fn parsed(row: Row, parser: &mut dyn Parser) -> Parsed {
    let (record, kept, problems) = match row {
        Row::Record(record) => (record, true, Vec::new()),
        Row::Known(record) => (record, false, Vec::new()),
        Row::Damaged(record, problem) => (record, true, vec![problem]),
    };
    let mut items = Vec::new();
    read_record(&record, parser, &mut items);
    let raw = RawRecord::Bytes(if kept { record.to_string().into_bytes() } else { Vec::new() });
    Parsed { line: 0, raw, items, problems }
}
