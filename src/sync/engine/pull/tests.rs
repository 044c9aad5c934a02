//! The same pages taken in bulk and one by one: what is in the database then is the same, table by table and row by row.

use std::time::Instant;

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::super::RESYNC;
use super::*;
use crate::cloud::wire::{
    Bytes, CommitFacts, GitFacts, MachineFacts, ProjectFacts, Protocol, SessionFacts, VisualFacts,
};
use crate::curation::Origin;
use crate::model::{Agent, Role};
use crate::store::Layout;
use crate::store::index::Entry;

/// What decides, repeated exactly by its seed (Knuth's MMIX constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What other machines told the cloud.
struct Told {
    dice: Dice,
    rows: Vec<Row>,
    machines: Vec<Id>,
    projects: Vec<Id>,
    commits: Vec<(Id, CommitFacts)>,
    sessions: Vec<(Id, SessionFacts)>,
    minute: i64,
}

const BEGAN: i64 = 1_760_000_000_000;

impl Told {
    fn new(seed: u64) -> Self {
        let (rows, commits, sessions) = Default::default();
        let (machines, projects) = Default::default();
        let mut told = Self { dice: Dice(seed), rows, machines, projects, commits, sessions, minute: 0 };
        (0..2).for_each(|_| told.machine());
        (0..3).for_each(|_| told.project());
        told
    }

    fn tell(&mut self, kind: Kind, id: Id, facts: Option<Value>) -> &mut Row {
        self.rows.push(Row {
            facts,
            rank: 10,
            version: 1,
            facts_by: self.machines.first().copied(),
            ..Row::bare(kind, id)
        });
        self.rows.last_mut().expect("one was just pushed")
    }

    fn machine(&mut self) {
        let id = Id::derive(&[b"m", &self.machines.len().to_le_bytes()]);
        self.machines.push(id);
        let facts = MachineFacts { name: "host".to_owned(), dir_name: "host".to_owned() };
        self.tell(Kind::Machine, id, Some(json!(facts)));
    }

    fn project(&mut self) {
        let name = format!("p{}", self.projects.len());
        let identity = format!("path:/home/{name}");
        let id = Id::derive(&[b"project", identity.as_bytes()]);
        self.projects.push(id);
        let paths = vec![format!("/home/{name}")];
        let (created_at, updated_at) = (Millis(BEGAN), Millis(BEGAN));
        let facts =
            ProjectFacts { identity, dir_name: name.clone(), name, remote: None, paths, created_at, updated_at };
        self.tell(Kind::Project, id, Some(json!(facts)));
    }

    /// A commit and the sessions in it.
    fn commit(&mut self) {
        self.minute += 7;
        let id = Id::derive(&[b"c", &self.commits.len().to_le_bytes()]);
        let at = Millis(BEGAN + self.minute * 60_000);
        let project = *self.dice.one_of(&self.projects);
        let title = (*self.dice.one_of(&["Fix it", "Add a test", "Über ä", "x"])).to_owned();
        let dir_name = match self.dice.below(6) {
            0 => "same name".to_owned(),
            1 => "../evil".to_owned(),
            _ => crate::render::commit_dir_name(at, &title, &id.short()),
        };
        let hash = self.dice.once_in(3).then(|| format!("abc{}", self.dice.below(1 << 20) % 12 + 0x1000));
        let git_commits = hash.iter().map(|hash| GitFacts {
            hash: hash.clone(),
            name: hash.clone(),
            branch: None,
            subject: "Fix".to_owned(),
            at,
        });
        let facts = CommitFacts {
            project,
            dir_name,
            title,
            title_rank: self.dice.below(5) as u8,
            git_commits: git_commits.collect(),
            git_hash: hash,
            git_subject: None,
            closed_by: "session_end".to_owned(),
            started_at: at,
            closed_at: at,
            parallel: false,
            updated_at: Millis(at.0 + 5),
        };
        self.commits.push((id, facts));
        let nth = self.commits.len() - 1;
        let (before, count) = (self.rows.len(), *self.dice.one_of(&[1, 1, 1, 1, 2, 3, 0]));
        for _ in 0..count {
            self.session(nth, None);
        }
        self.close(nth);
        // Mostly as a machine tells of it: the commit first.
        let facts = json!(self.commits[nth].1);
        let row = Row {
            facts: Some(facts),
            rank: 10,
            version: 1,
            facts_by: self.machines.first().copied(),
            ..Row::bare(Kind::Commit, id)
        };
        let place = if self.dice.once_in(8) { self.rows.len() } else { before };
        self.rows.insert(place, row);
        if self.dice.once_in(4) {
            self.fields_of(Kind::Commit, id);
        }
    }

    /// The commit's times are those of its sessions, mostly.
    fn close(&mut self, nth: usize) {
        let id = self.commits[nth].0;
        let of_it = || self.sessions.iter().filter(|(_, s)| s.commit == id && s.parent.is_none());
        let (started, ended) = (of_it().map(|(_, s)| s.started_at).min(), of_it().map(|(_, s)| s.ended_at).max());
        let mut spans: Vec<_> = of_it().map(|(_, s)| (s.started_at, s.ended_at)).collect();
        spans.sort();
        if let (Some(started), Some(ended), false) = (started, ended, self.dice.once_in(6)) {
            let facts = &mut self.commits[nth].1;
            (facts.started_at, facts.closed_at) = (started, ended);
            facts.parallel = spans.windows(2).any(|two| two[1].0 < two[0].1);
        }
    }

    fn session(&mut self, commit: usize, parent: Option<Id>) {
        let native_id = format!("native-{}", self.sessions.len());
        let agent = Agent::ClaudeCode;
        let part = 1_u32;
        let id = Id::derive(&[b"session", agent.as_str().as_bytes(), native_id.as_bytes(), &part.to_le_bytes()]);
        let (commit_id, began) = (self.commits[commit].0, self.commits[commit].1.started_at);
        let beside = self.sessions.iter().filter(|(_, s)| s.commit == commit_id && s.parent == parent).count() as u32;
        let ordinal = if self.dice.once_in(8) { self.dice.below(4) as u32 } else { beside + 1 };
        let started_at = Millis(
            began.0 + (i64::from(beside) - i64::from(self.dice.once_in(9))) * 1000 * (self.dice.below(3) as i64),
        );
        let last_turn = self.dice.below(4) as u32;
        let mut packed = Vec::new();
        for n in 0..last_turn {
            let role = if n % 2 == 0 { Role::User } else { Role::Tool };
            packed.extend(Entry { role, visual_links: 0, tool_name: 0, bytes: 9, at: started_at }.pack());
        }
        if self.dice.once_in(9) && !packed.is_empty() {
            packed[0] |= 0x80;
        }
        let dir_name = match self.dice.below(9) {
            0 => format!("{ordinal:02}_same"),
            1 => "odd".to_owned(),
            2 => "a/b".to_owned(),
            _ => format!("{ordinal:02}_claude_{}", id.short()),
        };
        let visuals =
            if last_turn > 0 && self.dice.once_in(5) { vec![self.visual(&id, started_at)] } else { Vec::new() };
        let words = |dice: &mut Dice, all: &[&str]| -> Vec<String> {
            all.iter().filter(|_| dice.once_in(2)).map(|word| (*word).to_owned()).collect()
        };
        let facts = SessionFacts {
            agent: agent.as_str().to_owned(),
            native_id,
            part,
            commit: commit_id,
            parent,
            ordinal,
            dir_name,
            machine: *self.dice.one_of(&self.machines),
            subagent_kind: parent.map(|_| "explore".to_owned()),
            title: Some("T".to_owned()),
            title_rank: 3,
            cwd: Some("/home/p".to_owned()),
            git_branch: None,
            git_remote: None,
            agent_version: None,
            models: words(&mut self.dice, &["opus", "Sonnet 4", "sonnet-4"]),
            closed: self.dice.once_in(2),
            started_at,
            ended_at: Millis(started_at.0 + self.dice.below(3) as i64 * 700),
            updated_at: Millis(began.0 + 9),
            last_turn,
            turns: last_turn,
            prompts: last_turn.min(1),
            tool_calls: last_turn / 2,
            images: visuals.len() as u32,
            tokens: [1, 2, 3, 4],
            sections: [5, 6, 7, 8, 9],
            raw_bytes: 11,
            raw_records: 2,
            render_version: 3,
            tool_names: words(&mut self.dice, &["Bash", "bash", "Read"]),
            turn_index: Bytes(packed),
            files: words(&mut self.dice, &["src/a.rs", "src/b/c.rs", "../x", "src"]),
            visuals,
        };
        self.tell(Kind::Session, id, Some(json!(facts))).rank = 20;
        self.sessions.push((id, facts));
        if self.dice.once_in(12) {
            self.fields_of(Kind::Session, id);
        }
        if parent.is_none() && self.dice.once_in(4) {
            (0..=self.dice.below(2)).for_each(|_| self.session(commit, Some(id)));
        }
    }

    fn visual(&mut self, session: &Id, at: Millis) -> VisualFacts {
        let ordinal = 1 + self.dice.below(2) as u32;
        VisualFacts {
            id: Id::derive(&[b"v", &session.0]),
            turn: 1,
            ordinal,
            file_name: format!("{ordinal:03}.png"),
            sha256: "ab".repeat(32),
            mime: "image/png".to_owned(),
            bytes: 70,
            captured_at: at,
        }
    }

    /// What people made of it.
    fn fields_of(&mut self, kind: Kind, id: Id) {
        let by = self.machines.first().copied();
        let project = json!(*self.dice.one_of(&self.projects));
        let (field, value) = match self.dice.below(if kind == Kind::Commit { 7 } else { 1 }) {
            0 => ("deleted_at", json!(BEGAN)),
            1 => ("hidden", json!(true)),
            2 => ("title", json!("A better one")),
            3 => ("tags", json!(["one", "two"])),
            4 => ("project", project),
            5 => ("note", json!("n")),
            _ => ("unheard of", json!(1)),
        };
        if let Some(row) = self.rows.iter_mut().rev().find(|row| row.id == id) {
            row.fields.insert(field.to_owned(), value);
            (row.version, row.fields_at, row.fields_by) = (row.version + 1, Some(Millis(BEGAN)), by);
        }
    }

    /// Something about what was told before.
    fn again(&mut self) {
        let (Some(nth), Some(session)) = (
            (!self.commits.is_empty()).then(|| self.dice.below(self.commits.len() as u64) as usize),
            (!self.sessions.is_empty()).then(|| self.dice.below(self.sessions.len() as u64) as usize),
        ) else {
            return;
        };
        let (commit, other) =
            (self.commits[nth].0, self.commits[self.dice.below(self.commits.len() as u64) as usize].0);
        let (id, mut facts) = self.sessions[session].clone();
        match self.dice.below(12) {
            0 => self.tell(Kind::Commit, commit, None).forgotten = true,
            1 => self.tell(Kind::Session, id, None).forgotten = true,
            2 if commit != other => self.tell(Kind::Commit, commit, None).merged_into = Some(other),
            // The same once more, as after a request that was made twice.
            3 => self.tell(Kind::Session, id, Some(json!(facts))).rank = 20,
            4 => {
                facts.title = Some("Another".to_owned());
                facts.commit = *self.dice.one_of(&[facts.commit, other]);
                self.tell(Kind::Session, id, Some(json!(facts))).rank = 21;
            }
            5 => {
                self.commits[nth].1.title.push('!');
                let facts = json!(self.commits[nth].1);
                self.tell(Kind::Commit, commit, Some(facts)).rank = 11;
            }
            // Added to a commit that is known.
            6 | 7 => self.session(nth, None),
            8 => self.session(nth, Some(id)),
            9 => drop(self.tell(Kind::Session, Id::derive(&[b"none"]), Some(json!({ "agent": 1 })))),
            10 => {
                let row = self.tell(Kind::Turn, Id::derive(&[b"t", &id.0]), None);
                row.turn = Some((id, 1));
                row.fields.insert("deleted_at".to_owned(), json!(BEGAN));
            }
            _ => drop(self.tell(Kind::Commit, Id::derive(&[b"no facts"]), None)),
        }
    }

    /// The pages that a machine gets: some records behind those that refer to them, some numbers given twice.
    fn pages(mut self) -> Vec<Page> {
        for at in 1..self.rows.len() {
            if self.dice.once_in(10) {
                let to = at.saturating_sub(self.dice.below(12) as usize);
                self.rows.swap(at, to);
            }
        }
        let mut seq = 0;
        for row in &mut self.rows {
            seq += i64::from(!self.dice.once_in(15));
            row.seq = seq;
        }
        let mut pages = Vec::new();
        while !self.rows.is_empty() {
            let count = (1 + self.dice.below(40) as usize).min(self.rows.len());
            let rows: Vec<Row> = self.rows.drain(..count).collect();
            let next = rows.last().map_or(0, |row| row.seq);
            let (protocol, now) = (Protocol { min: 1, max: 1 }, Millis(BEGAN));
            pages.push(Page::of(Pulled { protocol, rows, next, head: seq, min_seq: 0, now }));
        }
        pages
    }
}

/// A machine that pulls, and another program that writes to its database.
struct Machine {
    _dir: tempfile::TempDir,
    writer: Writer,
    other: Writer,
    bulk: Bulk,
    summary: Summary,
    taking: Taking,
}

impl Machine {
    fn new(taking: Taking) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let (writer, other) = (Writer::open(&layout).unwrap(), Writer::open(&layout).unwrap());
        writer.conn().execute("UPDATE state SET value = '0' WHERE key = 'created_at'", []).unwrap();
        Self { _dir: dir, writer, other, bulk: Bulk::default(), summary: Summary::default(), taking }
    }

    fn take(&mut self, page: &Page, is_last: bool) {
        let here = Here { machine: Id::derive(&[b"this"]), ahead: 0 };
        let pen = Pen { here, summary: &mut self.summary };
        write(&mut self.writer, pen, (page, is_last), (&mut self.bulk, self.taking)).unwrap();
    }

    fn edit(&mut self, edit: &Edit) {
        let mut tx = self.other.begin().unwrap();
        // What is no more, or deleted, cannot be edited.
        drop(Editor::new(&mut tx, Origin::Command).apply(edit));
        tx.commit().unwrap();
    }

    /// Every row of every table.
    fn everything(&self) -> Vec<(String, Vec<Vec<Sql>>)> {
        let conn = self.writer.conn();
        let mut names = conn.prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").unwrap();
        let names: Vec<String> = names.query_map([], |r| r.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let all = |name: &String| {
            // Which table was written first is no content.
            let order = if name == "sqlite_sequence" { "ORDER BY name" } else { "" };
            let mut query = conn.prepare(&format!("SELECT * FROM {name} {order}")).unwrap();
            let width = query.column_count();
            let read = |r: &rusqlite::Row<'_>| (0..width).map(|n| r.get(n)).collect::<rusqlite::Result<Vec<Sql>>>();
            query.query_map([], read).unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap()
        };
        names.into_iter().map(|name| (name.clone(), all(&name))).collect()
    }
}

fn compare(seed: u64) -> usize {
    crate::clock::hold(Millis(BEGAN + 1_000_000_000), Instant::now());
    let mut told = Told::new(seed);
    for _ in 0..60 {
        if told.dice.once_in(3) { told.again() } else { told.commit() }
    }
    let mut dice = Dice(seed ^ 77);
    let pages = told.pages();
    let mut both = [Machine::new(Taking::Bulk), Machine::new(Taking::OneByOne)];
    if dice.once_in(4) {
        for machine in &mut both {
            let tx = machine.writer.begin().unwrap();
            store::set_state(&tx, RESYNC, "1").unwrap();
            tx.commit().unwrap();
        }
    }
    for (nth, page) in pages.iter().enumerate() {
        both.iter_mut().for_each(|machine| machine.take(page, nth + 1 == pages.len()));
        let commit = 1 + dice.below(60) as i64;
        let edits = [
            Edit::SetHidden { commit, hidden: true },
            Edit::SetNote { commit, note: "here".to_owned() },
            Edit::Delete { entity: Entity::commit(commit), name: TrashName::Own },
            Edit::MoveToProject { commit, project: 1, name: None },
        ];
        if dice.once_in(3) {
            let edit = dice.one_of(&edits);
            both.iter_mut().for_each(|machine| machine.edit(edit));
        }
        let [bulk, one] = [both[0].everything(), both[1].everything()];
        for ((name, bulk), (_, one)) in bulk.iter().zip(&one) {
            if let Some(at) = (0..bulk.len().max(one.len())).find(|at| bulk.get(*at) != one.get(*at)) {
                panic!("seed {seed}, page {nth}, {name}: in bulk {:?}, one by one {:?}", bulk.get(at), one.get(at));
            }
        }
        assert_eq!(both[0].summary, both[1].summary, "seed {seed}, page {nth}");
    }
    both[0].everything().iter().filter(|(name, _)| name == "sessions").map(|(_, rows)| rows.len()).sum()
}

#[test]
fn what_is_taken_in_bulk_is_what_is_taken_one_by_one() {
    // More: COGFS_PAGES_SEEDS=FIRST..END.
    let seeds = std::env::var("COGFS_PAGES_SEEDS").ok();
    let range = seeds.as_deref().and_then(|text| text.split_once("..")).unwrap_or(("0", "24"));
    let mut sessions = 0;
    for seed in range.0.parse().unwrap()..range.1.parse().unwrap() {
        sessions += compare(seed);
    }
    assert!(sessions > 100, "{sessions} sessions: too few to say anything");
}
