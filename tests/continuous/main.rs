//! Sync that nobody types: the engine with a cloud in memory (here), and with mounts and the real server (`stack`).

#[path = "../common/mod.rs"]
mod common;
#[path = "../memory_cloud/mod.rs"]
mod memory_cloud;

mod engine;
mod long;
mod stack;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cogfs::cloud::Cloud;
use cogfs::cloud::realtime::Ring;
use cogfs::render::{SyncState, SyncStatus};
use cogfs::store::{Layout, Writer};
use cogfs::sync::continuous::{Account, Bell, Connection, Continuous, OnRing, Options, Surroundings};
use cogfs::sync::engine::Summary;
use cogfs::sync::secrets::Secrets;
use common::{ClaudeLog, World, wait_until};
use memory_cloud::MemoryCloud;

/// The longest that anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A doorbell that a test rings.
#[derive(Clone, Default)]
struct TestBell(Arc<Mutex<Option<OnRing>>>);

impl Bell for TestBell {
    fn retry_now(&self) {}
}

impl TestBell {
    fn ring(&self, ring: Ring) {
        wait_until(PATIENCE, "somebody listens", || self.0.lock().unwrap().is_some());
        let on_ring = self.0.lock().unwrap().clone().unwrap();
        on_ring(ring);
    }
}

/// What a test has around an engine.
struct Around {
    account: Arc<Mutex<Account>>,
    cloud: MemoryCloud,
    bell: TestBell,
    interval: Duration,
    shares: Arc<AtomicBool>,
}

impl Surroundings for Around {
    fn account(&mut self) -> Account {
        self.account.lock().unwrap().clone()
    }

    fn connect(&mut self) -> Result<Connection, String> {
        let (bell, kept) = (self.bell.clone(), self.bell.clone());
        let listen = move |on_ring: OnRing| {
            *bell.0.lock().unwrap() = Some(on_ring);
            Ok(Box::new(kept) as Box<dyn Bell>)
        };
        let cloud: Arc<dyn Cloud> = Arc::new(self.cloud.clone());
        Ok(Connection { cloud, listen: Some(Box::new(listen)), interval: self.interval })
    }

    fn prepare(&mut self, _: &mut Writer) -> Result<(Secrets, Vec<String>), String> {
        Ok((Secrets::new(false), Vec::new()))
    }

    fn finish(&mut self, _: &mut Writer, _: &Summary) -> Result<(), String> {
        Ok(())
    }

    fn shares_counts(&mut self) -> Option<bool> {
        Some(self.shares.load(Ordering::Relaxed))
    }
}

fn ready(login: &str) -> Account {
    Account::Ready { connection: "here".to_owned(), login: login.to_owned() }
}

/// A machine with an engine, in this process.
struct Machine {
    engine: Option<Continuous>,
    account: Arc<Mutex<Account>>,
    bell: TestBell,
    said: Arc<Mutex<Vec<SyncStatus>>>,
    /// The setting `analytics.share`.
    shares: Arc<AtomicBool>,
    world: World,
}

impl Machine {
    /// With so many sessions, none of which was sent.
    fn new(cloud: &MemoryCloud, sessions: u32, interval: Duration) -> Self {
        let world = World::new();
        write_sessions(&world, 1..=sessions);
        world.import(&[&world.logs()]);
        let (account, bell, said) = (Arc::new(Mutex::new(ready("1"))), TestBell::default(), Arc::default());
        let mut machine = Self { engine: None, account, bell, said, shares: Arc::default(), world };
        machine.start(cloud, interval);
        machine
    }

    fn start(&mut self, cloud: &MemoryCloud, interval: Duration) {
        let (account, shares) = (Arc::clone(&self.account), Arc::clone(&self.shares));
        let around = Around { account, cloud: cloud.clone(), bell: self.bell.clone(), interval, shares };
        let said = Arc::clone(&self.said);
        let told = move |status: &SyncStatus| said.lock().unwrap().push(status.clone());
        let engine = Continuous::start(self.options(), Box::new(around), Arc::new(told)).unwrap();
        self.engine = Some(engine);
    }

    fn options(&self) -> Options {
        Options { layout: self.layout(), socket: self.socket(), ignored: None, begin_after: Duration::ZERO }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.world.home().join("data"))
    }

    fn socket(&self) -> PathBuf {
        self.world.home().join("state/engine.sock")
    }

    fn status(&self) -> SyncStatus {
        self.said.lock().unwrap().last().cloned().unwrap_or_default()
    }

    fn waits_for(&self, state: SyncState) {
        wait_until(PATIENCE, &format!("it is {}", state.as_str()), || self.status().state == state);
    }

    fn commits(&self) -> Vec<String> {
        commit_ids(&self.world)
    }

    fn edit(&self, commit: &str, title: &str) {
        self.world.run(&["edit", &commit[..12], "--title", title]).exits(0);
    }

    /// The title of a commit.
    fn title(&self, commit: &str) -> String {
        let conn = rusqlite::Connection::open(self.layout().database()).unwrap();
        let found =
            conn.query_row("SELECT title FROM cognitive_commits WHERE lower(hex(id)) = ?1", [commit], |r| r.get(0));
        found.unwrap_or_default()
    }
}

/// The ids of a world's commits.
fn commit_ids(world: &World) -> Vec<String> {
    let database = Layout::new(world.home().join("data")).database();
    let conn = rusqlite::Connection::open(database).unwrap();
    let mut query = conn.prepare("SELECT lower(hex(id)) FROM cognitive_commits ORDER BY id").unwrap();
    query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
}

fn write_sessions(world: &World, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("How many boats are in harbour {number}?")).assistant("Seven.");
        log.write(&world.logs());
    }
}

/// Files of a folder with their lengths and times: what has been written shows.
fn written(dir: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let files = common::files(dir).into_iter().filter(|path| path.extension().is_none_or(|ext| ext != "db-shm"));
    let mut found: Vec<_> = files
        .map(|path| {
            let meta = path.metadata().unwrap();
            (path, meta.len(), meta.modified().unwrap())
        })
        .collect();
    found.sort();
    found
}
