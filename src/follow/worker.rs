//! The follower's thread: waits, finds out which files changed, has them imported, and tells.

mod import;
mod walk;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Woken};
use super::place::Place;
use super::watches::Watches;
use super::{News, Options, Told};
use crate::ingest::Stamp;
use crate::store::lock::Lock;
use crate::store::{self, Writer, sources};

/// How often the places themselves are looked at (one `stat` each), and a lock that another process holds is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often everything is looked at, whatever inotify tells: its queue may overflow, and some filesystems tell only a part.
const RESCAN_EVERY: Duration = Duration::from_secs(300);

/// How long after a look at everything the next one begins at the earliest when events were lost.
const RESCAN_AT_MOST_EVERY: Duration = Duration::from_secs(5);

/// How long to wait for another import to end before it is asked again.
const IMPORT_AGAIN: Duration = Duration::from_millis(100);

/// How long SQLite waits for another process's transaction; an unmount may have to wait for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A database that others keep locked for longer is worth a word.
const LOCKED_FOR_LONG: Duration = Duration::from_secs(60);

/// After a failure it is tried again in this time, then in twice that, at the latest in the second.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_AT_THE_LATEST: Duration = Duration::from_secs(60);

/// A writer that was not used for this long is closed, with the memory it holds.
const WRITER_IDLE: Duration = Duration::from_secs(10);

/// A longer import says every so often how far it is.
const TELL_PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How long new words may wait: FTS5 writes a run of its own for each time.
const INDEX_AFTER: Duration = Duration::from_secs(10);

/// What the follower did so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Files and directories whose stamp was taken.
    pub stats: u64,
    /// Directories listed.
    pub listings: u64,
    /// Imports begun.
    pub imports: u64,
}

/// A file as it was when it was imported last.
struct Seen {
    stamp: Stamp,
    /// The last walk that saw it.
    walk: u64,
}

/// What went wrong and is tried again.
#[derive(Default)]
struct Trouble {
    since: Option<Instant>,
    told: Option<String>,
    delay: Duration,
}

/// All that the thread knows.
pub struct Worker {
    options: Options,
    stop: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
    told: Told,
    lock: Option<Lock>,
    waiting_told: bool,
    places: Vec<Place>,
    watches: Watches,
    seen: HashMap<PathBuf, Seen>,
    /// Changed, and not imported yet.
    pending: HashMap<PathBuf, Stamp>,
    /// Files that could not be read, with the reason: tried again when something happens to them, and at each rescan.
    failed: HashMap<PathBuf, String>,
    unreadable: HashSet<PathBuf>,
    walk: u64,
    look_at: Instant,
    rescan_at: Instant,
    rescanned: Instant,
    import_at: Instant,
    /// When to bring the new words into the search index; `None` when there are none.
    index_at: Option<Instant>,
    writer: Option<Writer>,
    writer_used: Instant,
    trouble: Trouble,
    following_told: bool,
    counts: Counts,
}

impl Worker {
    pub fn new(options: Options, stop: Arc<AtomicBool>, inbox: Arc<Inbox>, told: Told) -> Self {
        let now = Instant::now();
        Self {
            options,
            stop,
            inbox,
            told,
            lock: None,
            waiting_told: false,
            places: Vec::new(),
            watches: Watches::default(),
            seen: HashMap::new(),
            pending: HashMap::new(),
            failed: HashMap::new(),
            unreadable: HashSet::new(),
            walk: 0,
            look_at: now,
            rescan_at: now + RESCAN_EVERY,
            rescanned: now,
            import_at: now,
            // An import may have been killed before it came to that.
            index_at: Some(now + INDEX_AFTER),
            writer: None,
            writer_used: now,
            trouble: Trouble::default(),
            following_told: false,
            counts: Counts::default(),
        }
    }

    fn tell(&self, news: News) {
        (self.told)(news);
    }

    /// Takes the lock if no other process has it.
    pub fn try_to_begin(&mut self) {
        if self.lock.is_some() {
            return;
        }
        match Lock::try_take(&self.options.layout, &self.options.purpose()) {
            Ok(Some(lock)) => self.lock = Some(lock),
            Ok(None) if self.waiting_told => {}
            Ok(None) => {
                self.waiting_told = true;
                self.tell(News::Waiting);
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Follows until it is told to stop.
    pub fn run(&mut self) {
        self.try_to_begin();
        while self.lock.is_none() {
            if self.inbox.rest(LOOK_EVERY) {
                return;
            }
            self.try_to_begin();
        }
        self.begin();
        while self.step() {}
    }

    /// What there is at the beginning: files that are in the database as they are need no import.
    fn begin(&mut self) {
        let known = store::open_reader(&self.options.layout).and_then(|conn| sources::stamps(&conn));
        match known {
            Ok(known) => {
                let seen = |(size, mtime_ns)| Seen { stamp: Stamp { size, mtime_ns }, walk: 0 };
                self.seen = known.into_iter().map(|(path, stamp)| (path, seen(stamp))).collect();
            }
            // Then every file is handed to the import, which knows better.
            Err(error) => tracing::debug!(%error, "what was imported before is not known"),
        }
        self.places = self.options.wanted().into_iter().map(Place::new).collect();
        self.rescan();
    }

    /// One round; `false` when it is to end.
    fn step(&mut self) -> bool {
        if !self.pending.is_empty() && Instant::now() >= self.import_at {
            self.import();
        }
        if self.pending.is_empty() && !self.following_told {
            self.tell_following();
        }
        match self.inbox.wait(self.next_due()) {
            Woken::Stop => return false,
            Woken::Events { paths, lost } => {
                paths.iter().for_each(|path| self.heard(path));
                if lost {
                    self.rescan_at = self.rescan_at.min(self.rescanned + RESCAN_AT_MOST_EVERY);
                }
            }
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look();
        }
        if now >= self.rescan_at {
            self.rescan();
        }
        if self.index_at.is_some_and(|at| now >= at) {
            self.index_words();
        }
        if self.writer.is_some() && now >= self.writer_used + WRITER_IDLE {
            self.writer = None;
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn next_due(&self) -> Instant {
        let next = self.look_at.min(self.rescan_at);
        if self.pending.is_empty() { next } else { next.min(self.import_at) }
    }

    fn tell_following(&mut self) {
        self.following_told = true;
        let places = self.places.iter().filter_map(Place::root).map(Path::to_owned).collect();
        let files = self.seen.keys().filter(|file| self.place_of(file).is_some()).count() as u64;
        tracing::debug!(files, watches = self.watches.len(), counts = ?self.counts, "following");
        self.tell(News::Following { places, files });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ingest::Summary;
    use crate::store::Layout;

    const DIRECTORIES: usize = 100;
    const FILES: usize = 20_000;

    /// A worker that knows all files of a folder with many of them.
    fn at_rest(dir: &Path, poll: bool) -> Worker {
        let logs = dir.join("logs");
        for n in 0..FILES {
            let folder = logs.join((n % DIRECTORIES).to_string());
            if n < DIRECTORIES {
                fs::create_dir_all(&folder).unwrap();
            }
            fs::write(folder.join(format!("{n}.jsonl")), "{}\n").unwrap();
        }
        let mut options = Options::new(Layout::new(dir.join("data")), vec![logs]);
        options.poll = poll;
        let mut worker = Worker::new(options, Arc::default(), Arc::default(), Arc::new(|_| {}));
        worker.try_to_begin();
        worker.begin();
        assert_eq!(worker.pending.len(), FILES);
        worker.imported(Summary::default());
        worker
    }

    /// What ten of the looks of every second cost.
    fn ten_looks(worker: &mut Worker) -> Counts {
        let before = worker.counts;
        (0..10).for_each(|_| worker.look());
        let after = worker.counts;
        assert!(worker.pending.is_empty());
        Counts {
            stats: after.stats - before.stats,
            listings: after.listings - before.listings,
            imports: after.imports - before.imports,
        }
    }

    #[test]
    fn twenty_thousand_files_take_a_watch_a_directory_and_nothing_while_nothing_happens() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = at_rest(dir.path(), false);
        assert_eq!(worker.watches.len(), DIRECTORIES + 1);
        assert_eq!(ten_looks(&mut worker), Counts { stats: 10, listings: 0, imports: 0 });
        let (imports, stats) = (worker.counts.imports, worker.counts.stats);
        worker.rescan();
        assert!(worker.pending.is_empty(), "a look at everything imports nothing that is known");
        assert_eq!(worker.counts, Counts { imports, stats: stats + FILES as u64, ..worker.counts });
    }

    #[test]
    fn twenty_thousand_files_are_looked_at_a_few_at_a_time_without_inotify() {
        let dir = tempfile::tempdir().unwrap();
        let mut worker = at_rest(dir.path(), true);
        assert_eq!(worker.watches.len(), 0);
        // All directories were made just now: they count as fresh until they are listed once more.
        worker.rescan();
        let cost = ten_looks(&mut worker);
        assert!(cost.stats <= 10 * (1 + 256 + 256), "{cost:?}");
        assert_eq!((cost.listings, cost.imports), (0, 0));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_told_once_and_read_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs");
        fs::create_dir(&logs).unwrap();
        let told = Arc::new(std::sync::Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let told_by_worker: Told = Arc::new(move |news| telling.lock().unwrap().push(news));
        let options = Options::new(Layout::new(dir.path().join("data")), vec![logs.clone()]);
        let mut worker = Worker::new(options, Arc::default(), Arc::default(), told_by_worker);
        worker.try_to_begin();
        worker.begin();
        // Compressed by its first bytes alone: as unreadable to root as to anyone.
        let file = logs.join("a.jsonl.zst");
        fs::write(&file, b"\x28\xb5\x2f\xfd, and then no zstd at all").unwrap();
        let problems = || told.lock().unwrap().iter().filter(|news| matches!(news, News::Problem(_))).count();
        for _ in 0..3 {
            worker.rescan();
            worker.import();
            assert_eq!(problems(), 1);
        }
        fs::write(&file, zstd::encode_all(&b"{}\n"[..], 0).unwrap()).unwrap();
        worker.heard(&file);
        worker.import();
        assert!(worker.failed.is_empty());
    }
}
