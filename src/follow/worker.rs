//! The follower's thread: waits, finds out which files changed, has them imported, and tells.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::inbox::{Inbox, Woken};
use super::place::Place;
use super::poll::Poller;
use super::watches::{NotWatched, Watches};
use super::{News, Options, Told};
use crate::ingest::{self, Progress, Stamp, Summary, discover};
use crate::store::lock::{Lock, Purpose};
use crate::store::{self, StoreError, Writer, sources};

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

    fn place_of(&self, path: &Path) -> Option<usize> {
        self.places.iter().position(|place| place.holds(path))
    }

    /// Something happened at a path.
    fn heard(&mut self, path: &Path) {
        let Some(place) = self.place_of(path) else { return };
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() && discover::is_aside(path) => {}
            Ok(meta) if meta.is_dir() => self.walk_below(place, path),
            // Links are not followed.
            Ok(meta) if meta.is_symlink() => {}
            Ok(_) => {
                if let Some(log) = discover::candidate_of(path) {
                    self.consider(&log);
                }
            }
            Err(_) => {
                if self.watches.has(path) {
                    self.watches.forget(path);
                }
                self.seen.remove(path);
                self.pending.remove(path);
                // What takes its place may have been there already: a log that was compressed, a database's own log.
                for log in [discover::candidate_of(path), discover::compressed_of(path)].into_iter().flatten() {
                    self.consider(&log);
                }
            }
        }
    }

    /// Notes a file for the next import if it is not what it was.
    fn consider(&mut self, file: &Path) {
        self.counts.stats += 1;
        if !fs::symlink_metadata(file).is_ok_and(|meta| meta.is_file()) {
            return;
        }
        let Ok(stamp) = ingest::stamp(file) else { return };
        match self.seen.get_mut(file) {
            Some(seen) if seen.stamp == stamp && !self.failed.contains_key(file) => seen.walk = self.walk,
            _ => {
                self.pending.insert(file.to_owned(), stamp);
            }
        }
    }

    /// The look of every second: at the places themselves, and into those that inotify does not tell of.
    fn look(&mut self) {
        self.look_at = Instant::now() + LOOK_EVERY;
        for at in 0..self.places.len() {
            self.counts.stats += 1;
            if let Some(moved) = self.places[at].look() {
                if let Some(from) = moved.from.filter(|from| self.watches.has(from)) {
                    self.watches.forget(&from);
                }
                if moved.to.is_some() {
                    self.walk_place(at);
                    self.following_told = false;
                }
            }
            match &self.places[at].poller {
                Some(poller) if poller.walk_is_due() => self.walk_place(at),
                Some(_) => self.poll(at),
                None => {}
            }
        }
    }

    fn poll(&mut self, at: usize) {
        let Some(poller) = &self.places[at].poller else { return };
        let worth = poller.look();
        self.counts.stats += worth.stats;
        for file in worth.files.iter().filter(|file| !self.failed.contains_key(*file)).cloned().collect::<Vec<_>>() {
            self.consider(&file);
        }
        for dir in worth.dirs {
            self.walk_new(at, &dir);
        }
    }

    /// Looks at everything.
    fn rescan(&mut self) {
        self.walk += 1;
        for at in 0..self.places.len() {
            self.places[at].look();
            self.walk_place(at);
        }
        // Forgotten is what is gone; what could not be looked at is not known to be.
        if self.unreadable.is_empty() {
            let (walk, pending) = (self.walk, &self.pending);
            self.seen.retain(|file, seen| seen.walk == walk || pending.contains_key(file));
        }
        self.look_at = Instant::now() + LOOK_EVERY;
        self.rescanned = Instant::now();
        self.rescan_at = self.rescanned + RESCAN_EVERY;
    }

    fn walk_place(&mut self, at: usize) {
        let Some(root) = self.places[at].root().map(Path::to_owned) else { return };
        if self.options.poll && self.places[at].poller.is_none() {
            self.places[at].poller = Some(Poller::new());
        }
        if let Some(poller) = &mut self.places[at].poller {
            poller.begin_walk();
        }
        self.walk_below(at, &root);
        let Some(poller) = &mut self.places[at].poller else { return };
        let seen = self.seen.iter().map(|(file, seen)| (seen.stamp.mtime_ns, file));
        let pending = self.pending.iter().map(|(file, stamp)| (stamp.mtime_ns, file));
        poller.end_walk(
            pending.chain(seen).filter(|(_, file)| file.starts_with(&root)).map(|(time, file)| (time, file.as_path())),
        );
    }

    /// Looks at everything below a directory. Where inotify fails, the place is looked at from then on.
    fn walk_below(&mut self, at: usize, start: &Path) {
        let Err(reason) = self.walk(at, start, Into::All) else { return };
        let Some(root) = self.places[at].root().map(Path::to_owned) else { return };
        tracing::warn!(place = %root.display(), reason, "inotify does not tell of this place: looking at it every second");
        self.watches.forget(&root);
        self.places[at].poller = Some(Poller::new());
        self.walk_place(at);
    }

    /// Looks at the files of a directory, and at everything in those directories in it that are new.
    fn walk_new(&mut self, at: usize, dir: &Path) {
        // A polled place: nothing of it is watched.
        let _ = self.walk(at, dir, Into::New);
    }

    fn walk(&mut self, at: usize, start: &Path, into: Into) -> Result<(), String> {
        if self.places[at].is_file() {
            let parent = start.parent().unwrap_or(start);
            self.watch(at, parent)?;
            self.consider(start);
            return Ok(());
        }
        let mut dirs = vec![start.to_owned()];
        while let Some(dir) = dirs.pop() {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            self.watch(at, &dir)?;
            self.counts.listings += 1;
            match self.list(&dir) {
                Ok(below) => {
                    self.unreadable.remove(&dir);
                    let poller = self.places[at].poller.as_ref();
                    let known = |dir: &PathBuf| into == Into::New && poller.is_some_and(|poller| poller.knows(dir));
                    dirs.extend(below.into_iter().filter(|dir| !known(dir)));
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    if self.unreadable.insert(dir.clone()) {
                        self.tell_of(&format!("{}: {error}", dir.display()));
                    }
                }
            }
        }
        Ok(())
    }

    /// To be called before a directory is listed: what comes later is told.
    fn watch(&mut self, at: usize, dir: &Path) -> Result<(), String> {
        if let Some(poller) = &mut self.places[at].poller {
            poller.listing(dir);
            return Ok(());
        }
        match self.watches.add(dir, &self.inbox) {
            // Listing it will tell.
            Ok(()) | Err(NotWatched::This) => Ok(()),
            Err(NotWatched::Any(reason)) => Err(reason),
        }
    }

    /// Considers the logs of a directory and returns the directories in it.
    fn list(&mut self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        let mut below = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !discover::is_aside(&path) => below.push(path),
                Ok(kind) if kind.is_file() && discover::looks_like_log(&path) => self.consider(&path),
                _ => {}
            }
        }
        Ok(below)
    }

    fn import(&mut self) {
        let _lock = match Lock::try_take(&self.options.layout, &Purpose::Import) {
            Ok(Some(lock)) => lock,
            // Another import may be about these very files; then there will be nothing left to do.
            Ok(None) => return self.import_at = Instant::now() + IMPORT_AGAIN,
            Err(error) => return self.retry(&error),
        };
        self.pending.retain(|file, _| file.exists());
        let mut candidates: Vec<_> = self.pending.keys().filter_map(|file| discover::candidate_at(file).ok()).collect();
        discover::in_order(&mut candidates);
        self.counts.imports += 1;
        match self.import_files(&candidates) {
            Ok(summary) => self.imported(summary),
            Err(error) => self.retry(&error),
        }
    }

    fn import_files(&mut self, candidates: &[discover::Candidate]) -> store::Result<Summary> {
        self.writer_used = Instant::now();
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::open(&self.options.layout)?,
        };
        writer.set_patience(PATIENCE)?;
        let (mut told_at, mut progress_told) = (Instant::now(), false);
        let summary = ingest::import_files(&mut writer, candidates, &self.stop, &mut |progress| {
            if told_at.elapsed() >= TELL_PROGRESS_EVERY {
                (told_at, progress_told) = (Instant::now(), true);
                if let Progress::Reading { done, total, .. } = progress {
                    (self.told)(News::Importing { done_bytes: done, total_bytes: total });
                }
            }
        })?;
        self.following_told &= !progress_told;
        // Kept only when all went well: an error may be the connection's.
        self.writer = Some(writer);
        self.writer_used = Instant::now();
        Ok(summary)
    }

    /// Nobody waits for it: a search brings in what is missing by itself.
    fn index_words(&mut self) {
        self.index_at = None;
        let writer = self.writer.take().map_or_else(|| Writer::open(&self.options.layout), Ok);
        let indexed = writer.and_then(|writer| ingest::index_words(&writer, &self.stop, &mut |_| {}).map(|_| writer));
        match indexed {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => {
                self.index_at = Some(Instant::now() + RETRY_AT_THE_LATEST);
                self.complain(error.to_string());
            }
        }
    }

    fn imported(&mut self, summary: Summary) {
        let walk = self.walk;
        let before = self.failed.clone();
        if !summary.interrupted {
            for (file, stamp) in self.pending.drain() {
                self.failed.remove(&file);
                if let Some(poller) = self.places.iter_mut().find(|p| p.holds(&file)).and_then(|p| p.poller.as_mut()) {
                    poller.changed(&file);
                }
                self.seen.insert(file, Seen { stamp, walk });
            }
        }
        for skipped in summary.skipped.iter().filter(|skipped| skipped.line > 0) {
            tracing::warn!(file = skipped.file, line = skipped.line, reason = skipped.reason, "skipped");
        }
        for file in summary.failed {
            let name = file.to_string_lossy();
            let reason = summary.skipped.iter().find(|s| s.line == 0 && s.file == name).map(|s| s.reason.clone());
            let reason = reason.unwrap_or_else(|| "it could not be read".to_owned());
            if before.get(&file) != Some(&reason) {
                tracing::warn!(file = %name, reason, "could not be read: trying again later");
                self.tell(News::Problem(format!("{name}: {reason}")));
            }
            self.failed.insert(file, reason);
        }
        if self.trouble.since.is_some() {
            self.trouble = Trouble::default();
            self.following_told = false;
        }
        if !summary.read.is_empty() {
            self.index_at.get_or_insert_with(|| Instant::now() + INDEX_AFTER);
            self.tell(News::Imported(summary.read));
        }
    }

    /// The import as a whole failed: nothing is lost, it is tried again.
    fn retry(&mut self, error: &StoreError) {
        self.writer = None;
        let since = *self.trouble.since.get_or_insert_with(Instant::now);
        let locked = matches!(error, StoreError::Locked { .. });
        let delay = if locked { RETRY } else { (self.trouble.delay * 2).clamp(RETRY, RETRY_AT_THE_LATEST) };
        self.trouble.delay = delay;
        self.import_at = Instant::now() + delay;
        if !locked || since.elapsed() > LOCKED_FOR_LONG {
            self.complain(error.to_string());
        }
    }

    /// Tells of a trouble once.
    fn complain(&mut self, problem: String) {
        if self.trouble.told.as_ref() != Some(&problem) {
            self.tell_of(&problem);
            self.trouble.told = Some(problem);
        }
    }

    fn tell_of(&self, problem: &str) {
        tracing::warn!(problem, "following the logs: trying again");
        self.tell(News::Problem(problem.to_owned()));
    }
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Into {
    /// Into every directory.
    All,
    /// Into directories that were not known.
    New,
}

#[cfg(test)]
mod tests {
    use super::*;
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
