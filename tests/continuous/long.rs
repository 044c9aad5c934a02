//! A long time of it: what is simulated is the clock, not the work.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cogfs::cloud::CloudError;
use cogfs::store::{Layout, Writer};
use cogfs::sync::continuous::schedule::{Ended, Schedule};
use cogfs::sync::engine::{Engine, Options};
use cogfs::sync::secrets::Secrets;

use super::memory_cloud::{Fault, MemoryCloud};
use super::{World, write_sessions};

/// Numbers that look like none.
struct Dice(u64);

impl Dice {
    fn next(&mut self, below: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % below
    }
}

/// Ten minutes in which the socket floods, is cut and joined again, the network flaps and requests fail: no storm.
#[test]
fn ten_minutes_of_a_bad_network_cost_few_requests() {
    for seed in 1..=20 {
        let (mut dice, mut now) = (Dice(seed), Duration::ZERO);
        let mut schedule = Schedule::new(Duration::from_secs(10), now);
        let (mut cycles, mut failed_at, mut pauses) = (0_u32, None, Vec::new());
        while now < Duration::from_secs(600) {
            now += Duration::from_millis(dice.next(40));
            match dice.next(60) {
                0..=30 => schedule.rang(),
                31..=40 => schedule.changed(now),
                41 if dice.next(50) == 0 => schedule.network_changed(now),
                _ => {}
            }
            if schedule.next().is_some_and(|due| due <= now) {
                schedule.began(now);
                cycles += 1;
                if let Some(at) = failed_at.take() {
                    pauses.push(now.saturating_sub(at));
                }
                now += Duration::from_millis(dice.next(300));
                // Each minute there are twenty seconds without the cloud.
                let is_up = now.as_secs() % 60 < 40;
                let ended = if is_up { Ended::Well } else { Ended::Cloud(CloudError::Unreachable("cut".to_owned())) };
                schedule.ended(now, &ended, 0.5);
                failed_at = (!is_up).then_some(now);
            }
        }
        assert!((200..=700).contains(&cycles), "seed {seed}: {cycles} cycles in ten minutes");
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(740)), "seed {seed}: {pauses:?}");
    }
}

struct Machine {
    world: World,
    writer: Writer,
    engine: Engine,
}

impl Machine {
    fn new() -> Self {
        let world = World::new();
        world.run(&["stats"]).exits(0);
        let writer = Writer::open(&Layout::new(world.home().join("data"))).unwrap();
        Self { world, writer, engine: Engine::new() }
    }

    fn cycle(&mut self, cloud: &MemoryCloud) {
        let stop = AtomicBool::new(false);
        let secrets = Secrets::new(false);
        // What goes wrong is tried again in the next cycle.
        let _ = self.engine.cycle(&mut self.writer, cloud, &secrets, &Options::default(), (&stop, &mut |_| ()));
    }

    /// The rows of each table that is not the data itself: what people did is data (the log of their edits, what lost), and the
    /// feed of changes is cut at a length.
    fn rows(&self) -> BTreeMap<String, u64> {
        let conn = self.writer.conn();
        let tables: Vec<String> = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap()
            .query_map([], |r| r.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let count = |table: &String| -> u64 {
            conn.query_row(&format!("SELECT count(*) FROM \"{table}\""), [], |r| r.get(0)).unwrap()
        };
        let is_data =
            |table: &str| ["edits", "conflicts", "former_names", "saved_documents", "changes"].contains(&table);
        tables.iter().filter(|table| !is_data(table)).map(|table| (table.clone(), count(table))).collect()
    }
}

/// The memory that is this process's own, in bytes.
fn memory() -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// `COGFS_HOURS=24` makes it a day: 8,640 cycles of each machine.
#[test]
fn hours_of_three_machines_grow_nothing_but_the_data() {
    let hours: u64 = std::env::var("COGFS_HOURS").map_or(2, |text| text.parse().unwrap());
    let cloud = MemoryCloud::new();
    let mut machines: Vec<Machine> = (0..3).map(|_| Machine::new()).collect();
    write_sessions(&machines[0].world, 1..=5);
    machines[0].world.import(&[&machines[0].world.logs()]);
    let mut dice = Dice(7);
    let mut warm = None;
    let cycles = hours * 360;
    for cycle in 0..cycles {
        for (number, machine) in machines.iter_mut().enumerate() {
            if dice.next(20) == 0 {
                let faults = [Fault::LostRequest, Fault::LostAnswer, Fault::Doubled, Fault::Busy];
                cloud.fail_next(&[faults[dice.next(4) as usize]]);
            }
            if dice.next(40) == 0 {
                // An edit in the database itself, as the engine sees those of other processes; the same titles again and again.
                let title = format!("Harbour {}", (cycle + number as u64) % 3);
                let ids = super::commit_ids(&machine.world);
                if let Some(commit) = ids.get(dice.next(5) as usize) {
                    machine.world.run(&["edit", &commit[..12], "--title", &title]).exits(0);
                }
            }
            machine.cycle(&cloud);
            cloud.heal();
        }
        cloud.requests();
        if cycle == cycles / 4 {
            warm = Some((memory(), descriptors(), machines.iter().map(Machine::rows).collect::<Vec<_>>()));
        }
    }
    let (memory_before, descriptors_before, rows_before) = warm.unwrap();
    for machine in &mut machines {
        machine.cycle(&cloud);
    }
    for (machine, before) in machines.iter().zip(&rows_before) {
        for (table, rows) in machine.rows() {
            assert!(rows <= before[&table] + before[&table] / 10 + 3, "{table}: {} rows, then {rows}", before[&table]);
        }
    }
    // The lock that lets an edit go first is opened when it is needed first, once.
    let (now, most) = (descriptors(), descriptors_before + machines.len());
    assert!(now <= most, "{descriptors_before} descriptors, then {now}");
    // A tenth; and of these few megabytes, what an allocator keeps back by chance.
    let (memory_now, most) = (memory(), memory_before + memory_before / 10 + (1 << 20));
    assert!(memory_now <= most, "{memory_before} bytes grew to {memory_now}");
    let titles = |machine: &Machine| -> Vec<String> {
        let mut query = machine.writer.conn().prepare("SELECT title FROM cognitive_commits ORDER BY id").unwrap();
        query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for machine in &mut machines {
        machine.cycle(&cloud);
    }
    let first = titles(&machines[0]);
    assert_eq!(first.len(), 5);
    assert!(machines.iter().all(|machine| titles(machine) == first), "they agree");
}
