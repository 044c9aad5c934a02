//! One run: random work, then quiet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cogfs::curation::{Edit, Entity, Title, TrashName};
use cogfs::model::Id;
use cogfs::store::commits::curated;
use cogfs::store::{Layout, Writer, commits, projects, sessions};
use serde_json::{Value, json};

use crate::checks;
use crate::common::ClaudeLog;
use crate::machine::Machine;
use crate::memory_cloud::{Fault, MemoryCloud};
use crate::random::Random;

/// Sessions that the machines may have the logs of, each in several lengths.
const SESSIONS: u32 = 4;
const LENGTHS: usize = 3;

/// The logs, and an empty database to begin with: made once.
pub struct Logs {
    dir: tempfile::TempDir,
}

/// An empty database in a folder.
pub fn template(dir: &Path) -> PathBuf {
    let layout = Layout::new(dir.join("template"));
    drop(Writer::open(&layout).unwrap());
    layout.database()
}

impl Logs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        template(dir.path());
        for number in 0..SESSIONS {
            for length in 0..LENGTHS {
                let mut log = ClaudeLog::new(if number % 2 == 0 { "boats" } else { "trains" }, number + 1);
                log.user(&format!("Question {number}")).assistant("An answer.");
                for more in 0..length {
                    log.user(&format!("More {more}")).assistant("Another answer.");
                }
                log.write(&Self::place(dir.path(), number, length));
            }
        }
        Self { dir }
    }

    fn place(dir: &Path, number: u32, length: usize) -> PathBuf {
        dir.join(format!("{number}-{length}"))
    }

    fn log(&self, number: u32, length: usize) -> PathBuf {
        Self::place(self.dir.path(), number, length)
    }

    fn template(&self) -> PathBuf {
        Layout::new(self.dir.path().join("template")).database()
    }
}

/// What was done to a commit, for the checks.
#[derive(Debug, Clone, PartialEq)]
pub enum Did {
    /// A field got a value in place of another.
    Edited {
        field: &'static str,
        before: Value,
        after: Value,
    },
    Deleted,
    Restored,
    Forgot,
}

#[derive(Debug, Clone)]
pub struct Event {
    pub machine: usize,
    pub commit: Id,
    pub did: Did,
}

pub struct World {
    pub machines: Vec<Machine>,
    pub cloud: MemoryCloud,
    pub events: Vec<Event>,
    pub forgotten_sessions: BTreeSet<Id>,
    random: Random,
    told: bool,
    value: u64,
}

impl World {
    fn say(&self, what: &str) {
        if self.told {
            eprintln!("{what}");
        }
    }

    fn step(&mut self, logs: &Logs) {
        let who = self.random.below(self.machines.len());
        match self.random.below(20) {
            0..=2 => self.import(logs, who),
            3..=9 => self.edit(who),
            10..=12 => self.delete_or_restore(who),
            13 if self.random.one_in(3) => self.forget(who),
            _ => self.sync(who),
        }
    }

    fn import(&mut self, logs: &Logs, who: usize) {
        let number = u32::try_from(self.random.below(SESSIONS as usize)).unwrap();
        // The log of one session may be longer on another machine.
        let least = (who + number as usize) % 2;
        let log = logs.log(number, least + self.random.below(LENGTHS - least));
        self.say(&format!("{who} imports {}", log.file_name().unwrap().to_string_lossy()));
        self.machines[who].import(&log);
    }

    fn commit(&mut self, who: usize) -> Option<cogfs::model::Commit> {
        let conn = self.machines[who].writer.conn();
        let ids = commits::all_by_id_range(conn, &[0; 16], &[255; 16], 100).unwrap();
        self.random.pick(&ids).cloned()
    }

    fn fresh(&mut self, what: &str) -> String {
        self.value += 1;
        format!("{what} {}", self.value)
    }

    fn edit(&mut self, who: usize) {
        let Some(commit) = self.commit(who) else { return };
        let row = commit.row;
        let (field, before, after, edit) = match self.random.below(7) {
            0 | 1 => {
                let title = self.fresh("Title");
                let before = match curated::title(self.machines[who].writer.conn(), &commit).unwrap() {
                    Title::Found => Value::Null,
                    Title::User(text) => json!(text),
                };
                (("title"), before, json!(title), Edit::Retitle { commit: row, title: Title::User(title), name: None })
            }
            2 | 3 => {
                let note = self.fresh("Note");
                ("note", json!(commit.note), json!(note), Edit::SetNote { commit: row, note })
            }
            4 => {
                let mut tags = commit.tags.clone();
                match self.random.below(2) {
                    0 if !tags.is_empty() => drop(tags.remove(0)),
                    _ => tags.push(self.fresh("tag")),
                }
                ("tags", json!(commit.tags), json!(tags), Edit::SetTags { commit: row, tags })
            }
            5 => (
                "hidden",
                json!(commit.hidden),
                json!(!commit.hidden),
                Edit::SetHidden { commit: row, hidden: !commit.hidden },
            ),
            _ => {
                let all = projects::all(self.machines[who].writer.conn()).unwrap();
                let Some(project) = self.random.pick(&all) else { return };
                (
                    "project",
                    Value::Null,
                    Value::Null,
                    Edit::MoveToProject { commit: row, project: project.row, name: None },
                )
            }
        };
        if self.machines[who].edit(&edit) {
            self.say(&format!("{who} edits {}: {field} = {after}", commit.id));
            let did = Did::Edited { field, before, after };
            self.events.push(Event { machine: who, commit: commit.id, did });
        }
    }

    fn delete_or_restore(&mut self, who: usize) {
        let Some(commit) = self.commit(who) else { return };
        let mut entity = Entity::commit(commit.row);
        if self.random.one_in(3) {
            let of_commit = sessions::rows_of_commit(self.machines[who].writer.conn(), commit.row).unwrap();
            let Some(session) = self.random.pick(&of_commit) else { return };
            entity = Entity::session(*session);
        } else if self.random.one_in(4) {
            let sql = format!(
                "SELECT coalesce(min(t.row), 0) FROM turns t JOIN sessions s ON s.row = t.row >> 16 WHERE s.commit_row = {} AND t.role <> 0 AND s.contents <> 1",
                commit.row
            );
            match self.machines[who].number(&sql) {
                0 => return,
                row => entity = Entity::turn(row),
            }
        }
        let deleted = self.machines[who].edit(&Edit::Delete { entity, name: TrashName::Own });
        let restored = !deleted && self.machines[who].edit(&Edit::Restore { entity });
        if deleted || restored {
            let did = if deleted { Did::Deleted } else { Did::Restored };
            self.say(&format!("{who} {did:?} {:?} of {}", entity.kind, commit.id));
            if entity.kind == cogfs::store::EntityKind::Commit {
                self.events.push(Event { machine: who, commit: commit.id, did });
            }
        }
    }

    fn forget(&mut self, who: usize) {
        let Some(commit) = self.commit(who) else { return };
        let ids = sessions::all_of_commit(self.machines[who].writer.conn(), commit.row).unwrap();
        self.forgotten_sessions.extend(ids.iter().map(|session| session.id));
        self.say(&format!("{who} forgets {}", commit.id));
        self.machines[who].forget(commit.id);
        self.events.push(Event { machine: who, commit: commit.id, did: Did::Forgot });
    }

    fn sync(&mut self, who: usize) {
        let faults = [Fault::LostRequest, Fault::LostAnswer, Fault::Doubled, Fault::Late, Fault::Busy];
        let mut plan = Vec::new();
        for _ in 0..self.random.below(12) {
            plan.push(if self.random.one_in(4) { faults[self.random.below(faults.len())] } else { Fault::Doubled });
        }
        if self.random.one_in(2) {
            plan.clear();
        }
        let dies_at = self.random.one_in(3).then(|| self.random.below(14));
        self.say(&format!("{who} syncs: {plan:?}, dies at {dies_at:?}"));
        self.cloud.fail_next(&plan);
        let done = self.machines[who].sync(dies_at);
        self.cloud.heal();
        self.say(&format!(
            "   {}",
            match &done {
                Ok(summary) => format!("{summary:?}"),
                Err(error) => error.to_string(),
            }
        ));
    }
}

pub fn run(seed: u64, logs: &Logs, told: bool) {
    let mut random = Random::new(seed);
    let cloud = MemoryCloud::new();
    cloud.set_clock(cogfs::model::Millis::now().0);
    let skews = [0, random.below(100_000) as i64 - 50_000, random.below(7_200_000) as i64 - 3_600_000];
    let machines = ["a", "b", "c"]
        .iter()
        .zip(skews)
        .map(|(name, skew)| Machine::new(name.chars().next().unwrap(), &logs.template(), &cloud, skew));
    let mut world = World {
        machines: machines.collect(),
        cloud,
        events: Vec::new(),
        forgotten_sessions: BTreeSet::new(),
        random,
        told,
        value: 0,
    };
    world.import(logs, 0);
    world.import(logs, 1);
    for _ in 0..10 + world.random.below(30) {
        world.step(logs);
    }
    world.say("quiet");
    world.cloud.deliver();
    for _ in 0..3 {
        for machine in &mut world.machines {
            machine.sync(None).unwrap_or_else(|error| panic!("{}: {error}", machine.name));
        }
    }
    if told {
        checks::tell(&world);
    }
    checks::all(&mut world);
}
