//! A file that holds many conversations: one is read while the one before it is written, and no more than these two are in memory.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::thread;

use serde_json::{Value, json};

use super::read::Input;
use super::{COMMIT_BYTES, Job, Run};
use crate::ingest::cogcommit::{self, Curated};
use crate::ingest::collection::{Collection, Entry, Format, Found};
use crate::ingest::discover::{self, Candidate};
use crate::ingest::source::Stamp;
use crate::model::Agent;
use crate::store::sources::{self, Source};
use crate::store::{self, Transaction, sessions};

/// What the reader says.
enum Said {
    Found(Found),
    End(io::Result<()>),
}

/// What is known of a collection while it is read.
struct Reading<'a> {
    candidate: &'a Candidate,
    name: &'a str,
    format: Format,
    may_commit: bool,
    /// Everything in it was read.
    whole: bool,
    read: bool,
    /// Bytes since the last commit.
    bytes: u64,
    curated: Vec<Curated>,
    /// The agent's own logs, looked for when one is wanted.
    logs: Option<HashMap<String, PathBuf>>,
}

impl Run<'_> {
    /// Reads the conversations that are new or changed. What is wrong with one of them costs that one.
    pub(super) fn collection<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        candidate: &Candidate,
        name: &str,
        stamp: Stamp,
        mut collection: Box<dyn Collection>,
        may_commit: bool,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        let format = collection.format();
        if let Some(from) = self.from.filter(|from| *from != format) {
            if candidate.named {
                let reason = format!("it is of {}: nothing of {} is in it", format.title(), from.title());
                self.summary.skip(name, 0, reason);
            } else {
                self.summary.other_files += 1;
            }
            return Ok((tx, Ok(())));
        }
        self.summary.files += 1;
        let known = sources::sizes_of(&tx, format.agent())?;
        let (whole, read, bytes, curated, logs) = (true, false, 0, Vec::new(), None);
        let mut reading = Reading { candidate, name, format, may_commit, whole, read, bytes, curated, logs };
        let outcome: store::Result<_> = thread::scope(|scope| {
            let (send, receive) = sync_channel(0);
            scope.spawn(move || {
                // Nobody listens when the import failed or was stopped.
                let outcome = collection.read(&known, &mut |found| send.send(Said::Found(found)).is_ok());
                let _ = send.send(Said::End(outcome));
            });
            while let Ok(said) = receive.recv() {
                match said {
                    Said::End(outcome) => return Ok((tx, outcome)),
                    Said::Found(found) => tx = self.found(tx, found, &mut reading)?,
                }
                if self.stopped() {
                    reading.whole = false;
                    break;
                }
            }
            Ok((tx, Ok(())))
        });
        let (mut tx, outcome): (Transaction<'c>, io::Result<()>) = outcome?;
        let Reading { whole, read, curated, .. } = reading;
        let mut whole = whole && outcome.is_ok();
        if !curated.is_empty() && !self.stopped() {
            // Subagents find the commits that they are in.
            crate::ingest::link::link_all(&mut tx, &mut self.projects)?;
            let outcome = cogcommit::curation::apply(&mut tx, format.agent(), curated)?;
            self.summary.edits += outcome.edits;
            for (id, reason) in outcome.lost {
                self.summary.skip(&format!("{name}#commit {id}"), 0, reason);
                // Its conversation may come yet.
                whole = false;
            }
        }
        self.summary.files_read += u64::from(read);
        if whole && !self.stopped() {
            sources::save(&tx, &all_read(name, format.agent(), stamp))?;
        }
        Ok((tx, outcome))
    }

    fn found<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        found: Found,
        reading: &mut Reading<'_>,
    ) -> store::Result<Transaction<'c>> {
        match found {
            Found::Unchanged(bytes) => self.done += bytes.min(reading.candidate.size),
            Found::Skipped(place, reason) => {
                let place =
                    if place.is_empty() { reading.name.to_owned() } else { format!("{}#{place}", reading.name) };
                self.summary.skip(&place, 0, reason);
            }
            Found::Curated(curated) => reading.curated.push(*curated),
            Found::Conversation(entry) => {
                let bytes = entry.bytes;
                tx = self.entry(tx, *entry, reading)?;
                reading.bytes += bytes;
                self.done += bytes.min(reading.candidate.size);
                if reading.may_commit && (reading.bytes >= COMMIT_BYTES || tx.is_wanted()) {
                    (tx, reading.bytes) = (tx.commit_and_go_on()?, 0);
                }
            }
        }
        Ok(tx)
    }

    fn entry<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        mut entry: Entry,
        reading: &mut Reading<'_>,
    ) -> store::Result<Transaction<'c>> {
        let name = format!("{}#{}", reading.name, entry.id);
        let known = sources::find(&tx, &name)?;
        if known.is_some_and(|k| (k.size, k.mtime_ns) == (entry.stamp.size, entry.stamp.mtime_ns)) {
            return Ok(tx);
        }
        for problem in std::mem::take(&mut entry.problems) {
            self.summary.skip(&name, 0, problem);
        }
        if reading.format == Format::CogCommit {
            tx = self.own_log(tx, &entry, reading)?;
            if has_own(&tx, entry.head.agent, &entry.head.native_id)? {
                // Its own log said more than was kept of it. Screenshots were never in that.
                let visuals = entry.document["visuals"].take();
                if visuals.as_array().is_none_or(Vec::is_empty) {
                    return Ok(tx);
                }
                entry.document = json!({ "visuals": visuals });
            }
        }
        reading.read = true;
        let candidate = reading.candidate;
        let job = Job {
            path: &candidate.path,
            name: &name,
            head: entry.head,
            stamp: entry.stamp,
            size: candidate.size,
            modified: candidate.modified,
            grown: None,
            may_commit: reading.may_commit,
        };
        let done = self.done;
        let (tx, outcome) = self.take(tx, job, Input::Document(entry.parser, entry.document))?;
        self.done = done;
        if let Err(e) = outcome {
            reading.whole = false;
            self.summary.skip(&name, 0, e.to_string());
        }
        Ok(tx)
    }

    /// Imports the agent's own log of a session first, where it is still there: so its turns are in order, and whole.
    fn own_log<'c>(
        &mut self,
        tx: Transaction<'c>,
        entry: &Entry,
        reading: &mut Reading<'_>,
    ) -> store::Result<Transaction<'c>> {
        if entry.head.agent != Agent::ClaudeCode || has_own(&tx, entry.head.agent, &entry.head.native_id)? {
            return Ok(tx);
        }
        let logs = reading.logs.get_or_insert_with(discover::claude_logs);
        let Some(Ok(log)) = logs.get(&entry.id).map(|path| discover::candidate_at(path)) else { return Ok(tx) };
        let (from, done) = (self.from.take(), self.done);
        let tx = self.file(tx, &log, reading.may_commit)?;
        (self.from, self.done) = (from, done);
        Ok(tx)
    }
}

/// Whether a session is here from its agent's own log, or from another machine that may have that.
fn has_own(tx: &Transaction<'_>, agent: Agent, id: &str) -> store::Result<bool> {
    let mut natives = vec![id.to_owned()];
    if id.starts_with("agent-") {
        // A subagent's id has its session's in front.
        let mut query =
            tx.prepare_cached("SELECT DISTINCT native_id FROM sessions WHERE agent = ?1 AND native_id LIKE ?2")?;
        let found = query.query_map((agent.as_str(), format!("%/{id}")), |row| row.get(0))?;
        natives.extend(found.collect::<rusqlite::Result<Vec<String>>>()?);
    }
    for native in natives {
        if !sessions::parts_of_others(tx, agent, &native)?.is_empty() {
            return Ok(true);
        }
        for (_, state) in sources::others(tx, agent, &native, "")? {
            let state: Value = serde_json::from_str(&state).unwrap_or_default();
            if !cogcommit::is_state(&state["parser"]) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The collection itself, as a file whose conversations were all read.
fn all_read(name: &str, agent: Agent, stamp: Stamp) -> Source {
    Source {
        path: name.to_owned(),
        agent,
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
