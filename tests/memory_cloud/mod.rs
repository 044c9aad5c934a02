//! A cloud in memory that does what the contract says, and whose wire can be bad: requests lost, answered in vain, made twice, or
//! late.

// Each test file compiles this module for itself and uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use cogfs::clock;
use cogfs::cloud::wire::{
    self, Change, Fetched, FetchedSession, Kind, Limits, Mark, Outcome, PROTOCOL, Protocol, Pulled, RawChunk, Row,
    Status, TurnContents, Usage, UsageContents,
};
use cogfs::cloud::{Cloud, CloudError, Result};
use cogfs::model::{Id, Millis};
use serde_json::{Map, Value, json};

/// What goes wrong with the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It never arrives.
    LostRequest,
    /// It is done, and nobody hears of it.
    LostAnswer,
    /// It arrives twice.
    Doubled,
    /// It arrives when the sender has long given up, behind some of the next requests.
    Late,
    Busy,
}

#[derive(Debug, Clone)]
struct Record {
    row: Row,
    turns: BTreeMap<u32, TurnContents>,
    raw: BTreeMap<u32, RawChunk>,
    usage: BTreeMap<Id, UsageContents>,
    /// Of a session without facts, its commit.
    parent: Option<Id>,
    /// When its facts were read.
    as_of: Millis,
    /// Of a turn: its contents were purged.
    is_emptied: bool,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<(Kind, Id), Record>,
    seq: i64,
    min_seq: i64,
    /// What its clock said when it was set.
    clock: (i64, Option<Instant>),
    /// By machine: when it read what it pushed last.
    pushed: BTreeMap<Id, Millis>,
    asks_whose: bool,
    faults: Vec<Fault>,
    late: Vec<Late>,
    /// How many requests the next late one lets go first.
    lateness: usize,
    requests: Vec<String>,
    objects: BTreeMap<String, Vec<u8>>,
    user: String,
    protocol: Option<Protocol>,
    /// Refuses what this says, with code and message.
    refuses: BTreeMap<Id, (String, String)>,
    refuses_pictures: bool,
    /// Documents of counts, by week.
    shared: BTreeMap<String, String>,
    refuses_counts: bool,
}

/// A request that comes when so many others were made.
#[derive(Debug)]
struct Late {
    behind: usize,
    machine: Id,
    as_of: Millis,
    changes: Vec<Change>,
}

/// A handle on it; clones are of the same cloud.
#[derive(Clone, Default)]
pub struct MemoryCloud(Arc<Mutex<State>>);

impl MemoryCloud {
    pub fn new() -> Self {
        let cloud = Self::default();
        cloud.state().user = Id([1; 16]).to_string();
        cloud.state().clock = (1_800_000_000_000, Some(clock::steady()));
        cloud
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The next requests go so; one each.
    pub fn fail_next(&self, faults: &[Fault]) {
        self.state().faults = faults.iter().rev().copied().collect();
    }

    pub fn heal(&self) {
        self.state().faults.clear();
    }

    pub fn set_clock(&self, millis: i64) {
        let mut state = self.state();
        state.clock = (state.now().0.max(millis), Some(clock::steady()));
    }

    /// Lets so many milliseconds pass.
    pub fn pass(&self, millis: i64) {
        let mut state = self.state();
        state.clock = (state.now().0 + millis, Some(clock::steady()));
    }

    pub fn set_user(&self, user: Id) {
        self.state().user = user.to_string();
    }

    /// Whose it is is known to who asks for it alone.
    pub fn asks_whose(&self) {
        self.state().asks_whose = true;
    }

    pub fn set_protocol(&self, min: u32, max: u32) {
        self.state().protocol = Some(Protocol { min, max });
    }

    pub fn refuse(&self, id: Id, code: &str, message: &str) {
        self.state().refuses.insert(id, (code.to_owned(), message.to_owned()));
    }

    pub fn refuse_nothing(&self) {
        self.state().refuses.clear();
    }

    /// It has no functions for counts, as one whose migrations are older.
    pub fn refuse_counts(&self, refuses: bool) {
        self.state().refuses_counts = refuses;
    }

    /// The documents of counts that it has, by week.
    pub fn shared(&self) -> BTreeMap<String, String> {
        self.state().shared.clone()
    }

    /// What was asked since the last call, in order.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    pub fn head(&self) -> i64 {
        self.state().seq
    }

    pub fn row(&self, kind: Kind, id: Id) -> Option<Row> {
        self.state().records.get(&(kind, id)).map(|record| record.row.clone())
    }

    /// The names of the pictures that are stored.
    pub fn objects(&self) -> Vec<String> {
        self.state().objects.keys().cloned().collect()
    }

    pub fn replace_object(&self, sha256: &str, bytes: &[u8]) {
        self.state().objects.insert(sha256.to_owned(), bytes.to_vec());
    }

    /// Takes no pictures from here on, or does again.
    pub fn refuse_pictures(&self, refuse: bool) {
        self.state().refuses_pictures = refuse;
    }

    pub fn rows(&self) -> Vec<Row> {
        self.state().records.values().map(|record| record.row.clone()).collect()
    }

    /// Removes a record, as a purge of tombstones does.
    pub fn purge(&self, kind: Kind, id: Id) {
        let mut state = self.state();
        state.records.remove(&(kind, id));
        state.min_seq = state.seq;
    }

    /// A restored backup, from before anything was sent.
    pub fn lose_everything(&self) {
        let mut state = self.state();
        state.records.clear();
        (state.seq, state.min_seq) = (0, 0);
    }

    /// Delivers what is late.
    pub fn deliver(&self) {
        let mut state = self.state();
        state.deliver(usize::MAX);
    }

    /// Removes what was deleted 30 days ago, as `purge_tombstones` does.
    pub fn purge_tombstones(&self) {
        let mut state = self.state();
        let old = Millis(state.now().0 - 30 * 24 * 3600 * 1000);
        let is_old = |record: &Record| {
            let row = &record.row;
            let is_deleted = row.fields.get("deleted_at").is_some_and(|at| !at.is_null());
            is_deleted && row.fields_at.is_some_and(|at| at < old) && !row.forgotten && row.merged_into.is_none()
        };
        let mut gone: Vec<(Kind, Id)> = Vec::new();
        for ((kind, id), record) in &state.records {
            if matches!(kind, Kind::Commit | Kind::Session) && is_old(record) {
                gone.push((*kind, *id));
                gone.extend(state.children(*kind, *id));
            }
        }
        let merged = |state: &State, gone: &[(Kind, Id)]| -> Vec<(Kind, Id)> {
            let is_of = |(kind, _): &(Kind, Id), into: Id| gone.contains(&(*kind, into));
            let parts = state.records.iter().filter(|(key, r)| r.row.merged_into.is_some_and(|into| is_of(key, into)));
            parts.map(|(key, _)| *key).collect()
        };
        gone.extend(merged(&state, &gone));
        for (_, record) in state.records.iter_mut().filter(|((kind, _), r)| *kind == Kind::Turn && is_old(r)) {
            record.is_emptied = true;
        }
        for key in gone {
            if state.records.get(&key).is_some_and(|record| !record.row.forgotten)
                && let Some(record) = state.records.remove(&key)
            {
                state.min_seq = state.min_seq.max(record.row.seq);
                let turns = |r: &Record| r.row.turn.is_none_or(|(session, _)| session != key.1);
                state.records.retain(|_, record| turns(record));
            }
        }
    }
}

impl State {
    fn next_seq(&mut self) -> i64 {
        self.seq += 1;
        self.seq
    }

    /// Makes the late requests that so many requests more were to come before.
    fn deliver(&mut self, requests: usize) {
        let (come, wait) = std::mem::take(&mut self.late).into_iter().partition(|late| late.behind <= requests);
        self.late = wait;
        for late in &mut self.late {
            late.behind -= requests;
        }
        for Late { machine, as_of, changes, .. } in come {
            let _ = self.push(machine, as_of, &changes);
        }
    }

    fn fault(&mut self, request: &str) -> Option<Fault> {
        self.deliver(1);
        self.requests.push(request.to_owned());
        self.faults.pop()
    }

    fn now(&self) -> Millis {
        let (set, at) = self.clock;
        Millis(
            set + at
                .map_or(0, |at| i64::try_from(clock::steady().saturating_duration_since(at).as_millis()).unwrap_or(0)),
        )
    }

    /// All changes, unless a later request of the machine came before.
    fn push(&mut self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        let as_of = as_of.min(self.now());
        let last = self.pushed.entry(machine).or_default();
        if as_of < *last {
            return Err(CloudError::Unreachable("a later push of this machine came before this one".to_owned()));
        }
        *last = as_of;
        let mut fuller: BTreeMap<Id, Outcome> = BTreeMap::new();
        let mut one = |change: &Change| match change {
            Change::Turns { session, .. } | Change::Raw { session, .. } | Change::Usage { session, .. }
                if fuller.contains_key(session) =>
            {
                fuller[session].clone()
            }
            _ => {
                let outcome = self.change(machine, as_of, change);
                if let (Change::Facts { id, .. }, Outcome::Conflict { .. }) = (change, &outcome) {
                    fuller.insert(*id, outcome.clone());
                }
                outcome
            }
        };
        Ok(changes.iter().map(&mut one).collect())
    }

    fn record(&mut self, kind: Kind, id: Id) -> &mut Record {
        // In place of one that was removed it has another life.
        let version = if matches!(kind, Kind::Commit | Kind::Session) { self.min_seq << wire::LIFE } else { 0 };
        self.records.entry((kind, id)).or_insert_with(|| Record {
            row: Row { version, ..Row::bare(kind, id) },
            turns: BTreeMap::new(),
            raw: BTreeMap::new(),
            usage: BTreeMap::new(),
            parent: None,
            as_of: Millis(0),
            is_emptied: false,
        })
    }

    fn ended(&self, kind: Kind, id: Id) -> Option<Outcome> {
        let row = &self.records.get(&(kind, id))?.row;
        if row.forgotten {
            return Some(Outcome::Forgotten);
        }
        row.merged_into.map(|into| Outcome::Merged { into })
    }

    fn applied(&self, kind: Kind, id: Id) -> Outcome {
        let (version, seq) =
            self.records.get(&(kind, id)).map_or((0, 0), |record| (record.row.version, record.row.seq));
        Outcome::Applied { version, seq, unused: Vec::new() }
    }

    /// Where a record went, if it is a part of another.
    fn target(&self, kind: Kind, mut id: Id) -> Id {
        while let Some(into) = self.records.get(&(kind, id)).and_then(|record| record.row.merged_into) {
            id = into;
        }
        id
    }

    fn change(&mut self, machine: Id, as_of: Millis, change: &Change) -> Outcome {
        let (kind, id) = match change {
            Change::Facts { kind, id, .. }
            | Change::Fields { kind, id, .. }
            | Change::Merged { kind, id, .. }
            | Change::Forget { kind, id } => (*kind, *id),
            Change::Turns { session, .. } | Change::Raw { session, .. } | Change::Usage { session, .. } => {
                (Kind::Session, *session)
            }
        };
        if let Some((code, message)) = self.refuses.get(&id) {
            return Outcome::Refused { code: code.clone(), message: message.clone() };
        }
        if let Some(ended) = self.ended(kind, id)
            && !matches!(change, Change::Forget { .. })
        {
            return match (change, ended) {
                (Change::Merged { .. }, Outcome::Merged { .. }) => self.applied(kind, id),
                (_, ended) => ended,
            };
        }
        match change {
            Change::Facts { rank, facts, parent, .. } => {
                self.facts((machine, as_of), (kind, id), *rank, facts.as_ref(), *parent)
            }
            Change::Fields { base_version, fields, turn, .. } => {
                self.fields(machine, (kind, id), *base_version, fields, *turn)
            }
            Change::Merged { into, .. } => self.merge(kind, id, *into),
            Change::Forget { .. } => self.forget(kind, id),
            Change::Turns { turns, .. } => self.contents(id, |record| {
                record.turns.extend(turns.iter().map(|turn| (turn.number, turn.clone())));
            }),
            Change::Raw { chunks, .. } => self.contents(id, |record| {
                record.raw.extend(chunks.iter().map(|chunk| (chunk.number, chunk.clone())));
            }),
            Change::Usage { usage, .. } => self.contents(id, |record| {
                record.usage.extend(usage.iter().map(|usage| (usage.key, usage.clone())));
            }),
        }
    }

    fn contents(&mut self, id: Id, put: impl FnOnce(&mut Record)) -> Outcome {
        match self.records.get_mut(&(Kind::Session, id)) {
            Some(record) => put(record),
            None => return unknown_parent(),
        }
        self.applied(Kind::Session, id)
    }

    fn facts(
        &mut self,
        (machine, as_of): (Id, Millis),
        (kind, id): (Kind, Id),
        rank: i64,
        facts: Option<&Value>,
        parent: Option<Id>,
    ) -> Outcome {
        let named = |key: &str| facts.and_then(|facts| facts[key].as_str()).and_then(Id::parse).or(parent);
        let above = match kind {
            Kind::Commit => named("project").map(|id| (Kind::Project, id)),
            Kind::Session => named("commit").map(|id| (Kind::Commit, id)),
            _ => None,
        };
        if let Some((kind, parent)) = above {
            let parent = self.target(kind, parent);
            match self.records.get(&(kind, parent)) {
                None => return unknown_parent(),
                Some(record) if record.row.forgotten => return Outcome::Forgotten,
                Some(_) => {}
            }
        }
        // A parent that was merged is followed.
        let parent = parent.map(|parent| above.map_or(parent, |(kind, _)| self.target(kind, parent)));
        let mut facts = facts.cloned();
        if let (Some(facts), Some((above_kind, id))) = (&mut facts, above) {
            facts[if above_kind == Kind::Project { "project" } else { "commit" }] =
                json!(self.target(above_kind, id).to_string());
        }
        let record = self.record(kind, id);
        record.parent = parent.or(record.parent);
        if record.row.facts.is_some() && rank < record.row.rank {
            return Outcome::Conflict { row: Box::new(record.row.clone()) };
        }
        if let Some(facts) = &facts {
            let is_new = record.row.facts.is_none();
            let is_other = record.row.facts.as_ref().map(without_time) != Some(without_time(facts));
            let is_newer = (rank, as_of) >= (record.row.rank, record.as_of);
            if is_new || is_newer {
                (record.row.rank, record.as_of) = (rank, as_of);
            }
            if is_other && (is_new || is_newer) {
                (record.row.facts, record.row.facts_by) = (Some(facts.clone()), Some(machine));
                let seq = self.next_seq();
                self.record(kind, id).row.seq = seq;
            }
        }
        self.applied(kind, id)
    }

    fn fields(
        &mut self,
        machine: Id,
        (kind, id): (Kind, Id),
        base_version: i64,
        fields: &Map<String, Value>,
        turn: Option<(Id, u32)>,
    ) -> Outcome {
        match (kind, turn) {
            (Kind::Turn, Some((session, _))) => {
                if let Some(Outcome::Forgotten) = self.ended(Kind::Session, session) {
                    return Outcome::Forgotten;
                }
                if !self.records.contains_key(&(Kind::Session, session)) {
                    return unknown_parent();
                }
                self.record(kind, id).row.turn = turn;
            }
            _ if !self.records.contains_key(&(kind, id)) => return unknown_parent(),
            _ => {}
        }
        let now = self.now();
        let row = &self.record(kind, id).row;
        if fields.iter().all(|(field, value)| row.fields.get(field) == Some(value)) {
            return self.applied(kind, id);
        }
        if row.version != base_version && !(base_version == 0 && row.fields.is_empty()) {
            return Outcome::Conflict { row: Box::new(row.clone()) };
        }
        let seq = self.next_seq();
        let row = &mut self.record(kind, id).row;
        row.fields.extend(fields.clone());
        (row.seq, row.version) = (seq, row.version + 1);
        (row.fields_at, row.fields_by) = (Some(now), Some(machine));
        self.applied(kind, id)
    }

    fn children(&self, kind: Kind, id: Id) -> Vec<(Kind, Id)> {
        let (below, key) = match kind {
            Kind::Project => (Kind::Commit, "project"),
            Kind::Commit => (Kind::Session, "commit"),
            _ => return Vec::new(),
        };
        let is_child = |record: &&Record| {
            let of_facts = record.row.facts.as_ref().and_then(|facts| facts[key].as_str()).and_then(Id::parse);
            record.row.kind == below && of_facts.or(record.parent) == Some(id)
        };
        self.records.values().filter(is_child).map(|record| (below, record.row.id)).collect()
    }

    fn merge(&mut self, kind: Kind, id: Id, into: Id) -> Outcome {
        let into = self.target(kind, into);
        if !self.records.contains_key(&(kind, into)) {
            return unknown_parent();
        }
        if into == id {
            return self.applied(kind, id);
        }
        let key = if kind == Kind::Project { "project" } else { "commit" };
        for (kind, child) in self.children(kind, id) {
            let seq = self.next_seq();
            let record = self.record(kind, child);
            if let Some(facts) = &mut record.row.facts {
                facts[key] = json!(into.to_string());
            }
            record.parent = Some(into);
            record.row.seq = seq;
        }
        if kind == Kind::Project {
            for record in self.records.values_mut().filter(|record| record.row.kind == Kind::Commit) {
                if record.row.fields.get("project").and_then(Value::as_str).and_then(Id::parse) == Some(id) {
                    record.row.fields.insert("project".to_owned(), json!(into.to_string()));
                }
            }
        }
        let (one, other) = (self.next_seq(), self.next_seq());
        let record = self.record(kind, id);
        (record.row.merged_into, record.row.seq) = (Some(into), one);
        (record.row.facts, record.row.fields) = (None, Map::new());
        self.record(kind, into).row.seq = other;
        self.applied(kind, id)
    }

    fn forget(&mut self, kind: Kind, id: Id) -> Outcome {
        if self.records.get(&(kind, id)).is_some_and(|record| record.row.forgotten) {
            return self.applied(kind, id);
        }
        for (kind, child) in self.children(kind, id) {
            self.forget(kind, child);
        }
        let seq = self.next_seq();
        let record = self.record(kind, id);
        (record.row.facts, record.row.fields, record.row.seq) = (None, Map::new(), seq);
        (record.row.forgotten, record.row.merged_into) = (true, None);
        (record.turns, record.raw, record.usage) = Default::default();
        if kind == Kind::Session {
            let of: Vec<Id> = self
                .records
                .values()
                .filter(|record| record.row.turn.is_some_and(|(session, _)| session == id))
                .map(|record| record.row.id)
                .collect();
            for turn in of {
                self.forget(Kind::Turn, turn);
            }
        }
        self.applied(kind, id)
    }

    /// A turn, or what a purge left of it.
    fn as_kept(&self, turn: &TurnContents) -> TurnContents {
        if self.records.get(&(Kind::Turn, turn.id)).is_none_or(|record| !record.is_emptied) {
            return turn.clone();
        }
        let (text, role) = (String::new(), 0);
        TurnContents {
            role,
            text,
            tool_input: None,
            tool_output: None,
            tool_name: None,
            tool_call_id: None,
            ..turn.clone()
        }
    }

    fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(Protocol { min: PROTOCOL, max: PROTOCOL })
    }
}

/// Facts without when a machine last wrote them down.
fn without_time(facts: &Value) -> Value {
    let mut facts = facts.clone();
    if let Some(facts) = facts.as_object_mut() {
        facts.remove("updated_at");
    }
    facts
}

fn unknown_parent() -> Outcome {
    Outcome::Refused { code: "unknown_parent".to_owned(), message: "what it belongs to is not here".to_owned() }
}

fn lost<T>() -> Result<T> {
    Err(CloudError::Unreachable("lost".to_owned()))
}

/// What a fault makes of a request that only reads.
fn read<T>(fault: Option<Fault>, answer: T) -> Result<T> {
    match fault {
        None | Some(Fault::Doubled) => Ok(answer),
        Some(Fault::Busy) => Err(CloudError::Busy { wait: None }),
        Some(_) => lost(),
    }
}

impl Cloud for MemoryCloud {
    fn url(&self) -> &'static str {
        "memory:"
    }

    fn user(&self) -> Option<Id> {
        let state = self.state();
        Id::parse(&state.user).filter(|_| !state.asks_whose)
    }

    fn status(&self) -> Result<Status> {
        let mut state = self.state();
        let fault = state.fault("status");
        let commits = state.records.keys().filter(|(kind, _)| *kind == Kind::Commit).count() as u64;
        let answer = Status {
            protocol: state.protocol(),
            user: state.user.clone(),
            plan: "free".to_owned(),
            head: state.seq,
            min_seq: state.min_seq,
            usage: Usage { commits, bytes: 0 },
            limits: Limits::default(),
            now: state.now(),
        };
        read(fault, answer)
    }

    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        let mut state = self.state();
        let fault = state.fault(&format!("push {}", changes.len()));
        match fault {
            Some(Fault::LostRequest) => return lost(),
            Some(Fault::Busy) => return Err(CloudError::Busy { wait: None }),
            Some(Fault::Late) => {
                state.lateness = (state.lateness + 3) % 8;
                let behind = state.lateness + 1;
                state.late.push(Late { behind, machine, as_of, changes: changes.to_vec() });
                return lost();
            }
            _ => {}
        }
        let outcomes = state.push(machine, as_of, changes)?;
        match fault {
            Some(Fault::LostAnswer) => lost(),
            Some(Fault::Doubled) => state.push(machine, as_of, changes),
            _ => Ok(outcomes),
        }
    }

    fn share_counts(&self, document: &str) -> Result<()> {
        let mut state = self.state();
        let fault = state.fault("share_counts");
        if matches!(fault, Some(Fault::LostRequest | Fault::Late | Fault::Busy)) {
            return lost();
        }
        if state.refuses_counts {
            return Err(CloudError::Refused { code: "PGRST202".to_owned(), message: "no such function".to_owned() });
        }
        let week = serde_json::from_str::<Value>(document).unwrap()["week"].as_str().unwrap().to_owned();
        state.shared.entry(week).or_insert_with(|| document.to_owned());
        if fault == Some(Fault::LostAnswer) { lost() } else { Ok(()) }
    }

    fn unshare_counts(&self) -> Result<u64> {
        let mut state = self.state();
        let fault = state.fault("unshare_counts");
        if matches!(fault, Some(Fault::LostRequest | Fault::Late | Fault::Busy)) {
            return lost();
        }
        let weeks = std::mem::take(&mut state.shared).len() as u64;
        if fault == Some(Fault::LostAnswer) { lost() } else { Ok(weeks) }
    }

    fn pull(&self, since: i64, max: u32) -> Result<Pulled> {
        let mut state = self.state();
        let fault = state.fault("pull");
        let is_shown =
            |row: &Row| row.kind != Kind::Session || row.facts.is_some() || row.forgotten || row.merged_into.is_some();
        let mut rows: Vec<Row> = state.records.values().map(|record| record.row.clone()).collect();
        rows.retain(|row| row.seq > since && is_shown(row));
        rows.sort_by_key(|row| row.seq);
        let is_more = rows.len() > max as usize;
        rows.truncate(max as usize);
        let next = rows.last().filter(|_| is_more).map_or(state.seq, |row| row.seq);
        let (protocol, now) = (state.protocol(), state.now());
        read(fault, Pulled { protocol, rows, next, head: state.seq, min_seq: state.min_seq, now })
    }

    fn fetch(&self, sessions: &[Id], _: Option<&Mark>) -> Result<Fetched> {
        let mut state = self.state();
        let fault = state.fault("fetch");
        let found = sessions.iter().filter_map(|id| state.records.get(&(Kind::Session, *id)));
        let fetched = found.filter(|record| record.row.facts.is_some()).map(|record| FetchedSession {
            row: record.row.clone(),
            turns: record.turns.values().map(|turn| state.as_kept(turn)).collect(),
            raw: record.raw.values().cloned().collect(),
            usage: record.usage.values().cloned().collect(),
        });
        let sessions = fetched.collect();
        read(fault, Fetched { sessions, next: None })
    }

    fn upload(&self, sha256: &str, _: &str, bytes: &[u8]) -> Result<()> {
        let mut state = self.state();
        let fault = state.fault("upload");
        if state.refuses_pictures {
            return Err(CloudError::Refused { code: "404".to_owned(), message: "Bucket not found".to_owned() });
        }
        if matches!(fault, Some(Fault::LostRequest | Fault::Late | Fault::Busy)) {
            return read(fault, ());
        }
        state.objects.entry(sha256.to_owned()).or_insert_with(|| bytes.to_vec());
        read(fault, ())
    }

    fn download(&self, sha256: &str, _: &str) -> Result<Vec<u8>> {
        let mut state = self.state();
        let fault = state.fault("download");
        let found = state.objects.get(sha256).cloned();
        read(fault, found)?.ok_or(CloudError::Gone)
    }

    fn remove(&self, objects: &[String]) -> Result<()> {
        let mut state = self.state();
        let fault = state.fault("remove");
        for object in objects {
            let name = object.rsplit('/').next().unwrap_or(object);
            state.objects.remove(name.split('.').next().unwrap_or(name));
        }
        read(fault, ())
    }
}
