//! One run: random work, then quiet.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::rc::Rc;

use cogfs::curation::{Edit, Entity, Title, TrashName};
use cogfs::model::{ContentsAt, Id};
use cogfs::store::commits::curated;
use cogfs::store::{commits, projects, sessions};
use serde_json::{Value, json};

use crate::checks;
use crate::logs::{LENGTHS, Logs, Place, SESSIONS};
use crate::machine::Machine;
use crate::memory_cloud::{Fault, MemoryCloud};
use crate::random::Random;
use crate::time;

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
    /// The longest log of each session that any machine imported.
    pub imported: BTreeMap<u32, usize>,
    pub purged: bool,
    place: Place,
    random: Random,
    /// Says what happens while it does.
    told: bool,
    story: Story,
    value: u64,
}

/// What happened, line by line.
pub type Story = Rc<RefCell<String>>;

impl World {
    fn say(&self, what: &str) {
        if self.told {
            eprintln!("{what}");
        }
        writeln!(self.story.borrow_mut(), "{what}").unwrap();
    }

    fn step(&mut self) {
        time::pass_up_to(60_000);
        let who = self.random.below(self.machines.len());
        match self.random.below(20) {
            0..=2 => self.import(who),
            3..=8 => self.edit(who),
            9..=11 => self.delete_or_restore(who),
            12 => match self.random.below(4) {
                0 => self.forget(who),
                1 => self.rename_project(who),
                2 => self.a_month_passes(),
                _ => self.place.trains_are_cloned(),
            },
            13 => self.fetch(who),
            _ => self.sync(who),
        }
    }

    fn import(&mut self, who: usize) {
        let number = u32::try_from(self.random.below(SESSIONS as usize)).unwrap();
        // A folder that becomes a repository does so on the machine that has it.
        let who = if number == 1 { 0 } else { who };
        // The log of one session may be longer on another machine.
        let least = (who + number as usize) % 2;
        let length = least + self.random.below(LENGTHS - least);
        let log = self.place.log(number, length);
        let longest = self.imported.entry(number).or_default();
        *longest = length.max(*longest);
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
                let before = all.iter().find(|project| project.row == commit.project_row).unwrap();
                (
                    "project",
                    json!(before.id.to_string()),
                    json!(project.id.to_string()),
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

    /// What was deleted long ago goes, also for a machine that did not hear of it.
    fn a_month_passes(&mut self) {
        self.say("31 days pass");
        time::pass(31 * 24 * 3600 * 1000);
        self.cloud.purge_tombstones();
        self.purged = true;
    }

    fn rename_project(&mut self, who: usize) {
        let all = projects::all(self.machines[who].writer.conn()).unwrap();
        let Some(project) = self.random.pick(&all) else { return };
        let (row, id) = (project.row, project.id);
        let name = self.fresh("project").replace(' ', "-");
        if self.machines[who].rename_project(row, &name) {
            self.say(&format!("{who} renames project {id}: {name}"));
        }
    }

    fn fetch(&mut self, who: usize) {
        let all = sessions::all_by_id_range(self.machines[who].writer.conn(), &[0; 16], &[255; 16], 100).unwrap();
        let Some(session) = self.random.pick(&all).cloned() else { return };
        if session.contents == ContentsAt::Fetched && self.random.one_in(2) {
            self.say(&format!("{who} gives {} back", session.id));
            return self.machines[who].give_back(&session);
        }
        let dies = self.random.one_in(3);
        self.cloud.fail_next(if self.random.one_in(3) { &[Fault::LostAnswer] } else { &[] });
        let became = self.machines[who].fetch(session.id, dies);
        self.cloud.heal();
        self.say(&format!("{who} fetches {}: {became:?}", session.id));
    }

    fn forget(&mut self, who: usize) {
        let Some(commit) = self.commit(who) else { return };
        let ids = sessions::all_of_commit(self.machines[who].writer.conn(), commit.row).unwrap();
        self.forgotten_sessions.extend(ids.iter().map(|session| session.id));
        self.say(&format!("{who} forgets {}", commit.id));
        self.machines[who].forget(commit.id);
        self.events.push(Event { machine: who, commit: commit.id, did: Did::Forgot });
    }

    fn comes_to_rest(&mut self) {
        for _ in 0..ROUNDS {
            let before = self.cloud.head();
            let mut is_quiet = true;
            for machine in &mut self.machines {
                let did = machine.sync(None).unwrap_or_else(|error| panic!("{}: {error}", machine.name));
                is_quiet &= did.pulled + did.pushed + did.refused == 0;
            }
            if is_quiet && self.cloud.head() == before {
                return;
            }
        }
        panic!("after {ROUNDS} rounds they still have something to say");
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

/// Rounds in which each machine syncs once, until none has anything to say. What was removed from the cloud and is sent anew by a
/// machine that never heard of that goes back and forth: deleted again, found to be a part of another, told of that.
const ROUNDS: usize = 8;

pub fn run(seed: u64, logs: &Logs, told: bool, story: &Story) -> World {
    let mut random = Random::new(seed);
    time::begin(seed);
    let place = Place::of(seed, logs);
    let cloud = MemoryCloud::new();
    let skews = [0, random.below(100_000) as i64 - 50_000, random.below(7_200_000) as i64 - 3_600_000];
    let machine = |(name, skew): (char, i64)| {
        let id = Id::derive(&[b"machine", &seed.to_le_bytes(), &[name as u8]]);
        Machine::new((name, id), place.dir(), &logs.template(), &cloud, skew)
    };
    let machines = ['a', 'b', 'c'].into_iter().zip(skews).map(machine).collect();
    let mut world = World {
        machines,
        cloud,
        events: Vec::new(),
        forgotten_sessions: BTreeSet::new(),
        imported: BTreeMap::new(),
        purged: false,
        place,
        random,
        told,
        story: Rc::clone(story),
        value: 0,
    };
    world.import(0);
    world.import(1);
    for _ in 0..8 + world.random.below(22) {
        world.step();
    }
    world.say("quiet");
    world.cloud.deliver();
    world.comes_to_rest();
    if told {
        checks::tell(&world);
    }
    checks::all(&mut world);
    world
}
