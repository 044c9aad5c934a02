//! A machine: a store of its own, a clock of its own, a way to the cloud.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cogfs::cloud::wire::{Change, Fetched, Mark, Outcome, Pulled, Status};
use cogfs::cloud::{Cloud, Result};
use cogfs::curation::{CurationError, Edit, Editor, Origin};
use cogfs::forget::{self, Target};
use cogfs::ingest::{self, discover};
use cogfs::model::{Id, Millis, Session};
use cogfs::store::fetched::{self, Fetched as Kept};
use cogfs::store::{Layout, Writer, sessions};
use cogfs::sync::contents::{self, Stored};
use cogfs::sync::engine::{Engine, Options, Progress, Summary, SyncError};
use cogfs::sync::facts::Nothing;

use crate::memory_cloud::MemoryCloud;
use crate::{time, wire};

/// Milliseconds that a request takes on its way.
const SLOWEST: usize = 30;

/// So that a pull has several pages.
const SMALL_PAGE: u32 = 7;

/// The cloud as a machine sees it whose clock is ahead of the others' by so much.
struct Skewed {
    cloud: MemoryCloud,
    skew: i64,
    /// Records of a page at the most.
    page: u32,
}

impl Cloud for Skewed {
    fn url(&self) -> &str {
        self.cloud.url()
    }
    fn user(&self) -> Option<Id> {
        self.cloud.user()
    }
    fn status(&self) -> Result<Status> {
        self.cloud.status()
    }
    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        time::pass_up_to(SLOWEST);
        let answer = self.cloud.push(machine, as_of, changes);
        wire::tell_pushed(changes, &answer);
        time::pass_up_to(SLOWEST);
        answer
    }
    fn pull(&self, since: i64, max: u32) -> Result<Pulled> {
        time::pass_up_to(SLOWEST);
        let page = self.cloud.pull(since, max.min(self.page));
        wire::tell_pulled(&page);
        page
    }
    fn fetch(&self, sessions: &[Id], after: Option<&Mark>) -> Result<Fetched> {
        self.cloud.fetch(sessions, after)
    }
    fn upload(&self, sha256: &str, mime: &str, bytes: &[u8]) -> Result<()> {
        self.cloud.upload(sha256, mime, bytes)
    }
    fn download(&self, sha256: &str, mime: &str) -> Result<Vec<u8>> {
        self.cloud.download(sha256, mime)
    }
    fn remove(&self, objects: &[String]) -> Result<()> {
        self.cloud.remove(objects)
    }
    fn share_counts(&self, document: &str) -> Result<()> {
        self.cloud.share_counts(document)
    }
    fn unshare_counts(&self) -> Result<u64> {
        self.cloud.unshare_counts()
    }
}

fn open(layout: &Layout) -> Writer {
    let writer = Writer::open(layout).unwrap();
    writer.conn().pragma_update(None, "synchronous", "OFF").unwrap();
    // All there are: to prepare one takes longer than to run it.
    writer.conn().set_prepared_statement_cache_capacity(1000);
    writer
}

pub struct Machine {
    pub name: char,
    dir: PathBuf,
    pub writer: Writer,
    engine: Engine,
    cloud: Skewed,
}

impl Machine {
    /// A machine with an empty database, a copy of `template`, in a folder of its own in `dir`.
    pub fn new((name, id): (char, Id), dir: &Path, template: &Path, cloud: &MemoryCloud, skew: i64) -> Self {
        let dir = dir.join(name.to_string());
        std::fs::create_dir(&dir).unwrap();
        std::fs::copy(template, dir.join("cogfs.db")).unwrap();
        let writer = open(&Layout::new(&dir));
        let (name_of, conn) = (name.to_string(), writer.conn());
        conn.execute("INSERT INTO machines(id, name, dir_name) VALUES (?1, ?2, ?2)", (id.0, name_of)).unwrap();
        conn.execute("INSERT INTO state(key, value) VALUES ('machine', last_insert_rowid())", []).unwrap();
        let cloud = Skewed { cloud: cloud.clone(), skew, page: SMALL_PAGE };
        Self { name, dir, writer, engine: Engine::new(), cloud }
    }

    /// Its clock is the one that is looked at.
    fn looks_at_its_clock(&self) {
        time::is_ahead(self.cloud.skew);
    }

    pub fn last_sync(&self) -> Option<Millis> {
        self.engine.last_sync()
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.dir)
    }

    /// The process dies: what was not committed is gone.
    pub fn dies(&mut self) {
        self.writer = open(&self.layout());
        self.engine = Engine::new();
    }

    /// Brings a session's contents here, as a read of them does; or dies before they are stored. What became of them.
    pub fn fetch(&mut self, id: Id, dies: bool) -> Option<Stored> {
        self.looks_at_its_clock();
        let fetched = self.cloud.fetch(&[id], None).ok()?.sessions.pop()?;
        let mut tx = self.writer.begin().unwrap();
        let stored = contents::store(&mut tx, &fetched).unwrap();
        if let Some(session) = sessions::by_id(&tx, &id).unwrap().filter(|_| stored == Stored::Done) {
            fetched::add(&tx, &Kept { session_row: session.row, bytes: 1, used_at: Millis::now() }).unwrap();
        }
        if dies {
            return None;
        }
        tx.commit().unwrap();
        Some(stored)
    }

    /// Gives a session's contents away that were fetched.
    pub fn give_back(&mut self, session: &Session) {
        self.looks_at_its_clock();
        let mut tx = self.writer.begin().unwrap();
        contents::give_back(&mut tx, session).unwrap();
        tx.commit().unwrap();
    }

    pub fn rename_project(&mut self, row: i64, name: &str) -> bool {
        self.looks_at_its_clock();
        let mut tx = self.writer.begin().unwrap();
        match Editor::new(&mut tx, Origin::Command).rename_project(row, name, name) {
            Ok(made) => {
                tx.commit().unwrap();
                made.is_some()
            }
            Err(CurationError::Store(error)) => panic!("{error}"),
            Err(_) => false,
        }
    }

    pub fn import(&mut self, log: &Path) {
        self.looks_at_its_clock();
        let (found, _) = discover::candidates(&[log.to_owned()]);
        let stop = AtomicBool::new(false);
        let summary = ingest::import_files(&mut self.writer, &found, &stop, &mut |_| {}).unwrap();
        assert_eq!(summary.skipped.len(), 0, "{summary:?}");
    }

    /// Makes an edit; false when it is refused.
    pub fn edit(&mut self, edit: &Edit) -> bool {
        self.looks_at_its_clock();
        let mut tx = self.writer.begin().unwrap();
        match Editor::new(&mut tx, Origin::Command).apply(edit) {
            Ok(made) => {
                tx.commit().unwrap();
                made.is_some()
            }
            Err(CurationError::Store(error)) => panic!("{error}"),
            Err(_) => false,
        }
    }

    pub fn forget(&mut self, id: Id) {
        self.looks_at_its_clock();
        forget::run(&mut self.writer, &Target::Id(id.to_string().replace('-', "")), false).unwrap();
    }

    /// A cycle with pages as large as it wants them.
    pub fn sync_in_large_pages(&mut self) -> std::result::Result<Summary, SyncError> {
        self.cloud.page = u32::MAX;
        let done = self.sync(None);
        self.cloud.page = SMALL_PAGE;
        done
    }

    /// A cycle that dies at a step, if it comes so far.
    pub fn sync(&mut self, dies_at: Option<usize>) -> std::result::Result<Summary, SyncError> {
        self.looks_at_its_clock();
        let stop = AtomicBool::new(false);
        let mut steps = 0;
        let mut progress = |progress: Progress| {
            if progress == Progress::Step {
                stop.store(dies_at.is_some_and(|at| steps >= at), Ordering::Relaxed);
                steps += 1;
            }
        };
        let options = Options::default();
        let done = self.engine.cycle(&mut self.writer, &self.cloud, &Nothing, &options, (&stop, &mut progress));
        if dies_at.is_some() {
            self.dies();
        }
        done
    }

    /// A number that a query gives.
    pub fn number(&self, sql: &str) -> i64 {
        self.writer.conn().query_row(sql, [], |r| r.get(0)).unwrap()
    }
}
