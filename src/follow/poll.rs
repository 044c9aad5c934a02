//! Looking in place of inotify, at a bounded cost: every second at the directories and files that changed last, and once a
//! minute at everything.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Directories, and files, looked at every second.
const MOST_LOOKED_AT: usize = 256;

/// How often everything is looked at.
const WALK_EVERY: Duration = Duration::from_secs(60);

/// A directory that changed this short a time before it was listed may change again without a new time: clocks of
/// filesystems tick every few milliseconds.
const TOO_FRESH_NS: i128 = 100_000_000;

/// What is known of one polled place.
pub struct Poller {
    /// Each directory and its time when it was listed; 0 where that says nothing.
    dirs: HashMap<PathBuf, i128>,
    looked_at_dirs: Vec<PathBuf>,
    looked_at_files: Vec<PathBuf>,
    walk_at: Instant,
}

/// What a look every second found worth a closer look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// Directories to list again.
    pub dirs: Vec<PathBuf>,
    /// Files to take the stamp of.
    pub files: Vec<PathBuf>,
    /// Calls of `stat` it took.
    pub stats: u64,
}

impl Poller {
    pub fn new() -> Self {
        Self { dirs: HashMap::new(), looked_at_dirs: Vec::new(), looked_at_files: Vec::new(), walk_at: Instant::now() }
    }

    /// To be called before a directory is listed.
    pub fn listing(&mut self, dir: &Path) {
        let time = fs::metadata(dir).map_or(0, |meta| settled(changed_at(&meta)));
        if self.dirs.insert(dir.to_owned(), time).is_none() {
            // A new one is where something happens.
            self.looked_at_dirs.insert(0, dir.to_owned());
            self.looked_at_dirs.truncate(MOST_LOOKED_AT);
        }
    }

    /// Whether a directory was listed before.
    pub fn knows(&self, dir: &Path) -> bool {
        self.dirs.contains_key(dir)
    }

    /// Begins a look at everything.
    pub fn begin_walk(&mut self) {
        self.dirs.clear();
    }

    /// Chooses what to look at every second: `files` are all there are, with their times.
    pub fn end_walk<'a>(&mut self, files: impl Iterator<Item = (i64, &'a Path)>) {
        self.walk_at = Instant::now() + WALK_EVERY;
        self.looked_at_files = latest(files);
        self.looked_at_dirs =
            latest(self.dirs.iter().map(|(dir, time)| (if *time == 0 { i128::MAX } else { *time }, dir.as_path())));
    }

    /// A file changed: it is looked at from now on.
    pub fn changed(&mut self, file: &Path) {
        if !self.looked_at_files.iter().any(|known| known == file) {
            self.looked_at_files.insert(0, file.to_owned());
            self.looked_at_files.truncate(MOST_LOOKED_AT);
        }
    }

    /// Whether it is time to look at everything.
    pub fn walk_is_due(&self) -> bool {
        Instant::now() >= self.walk_at
    }

    /// The look of every second.
    pub fn look(&self) -> Worth {
        let changed = |dir: &&PathBuf| {
            let known = self.dirs.get(*dir).copied().unwrap_or(0);
            known == 0 || fs::metadata(dir).map_or(true, |meta| changed_at(&meta) != known)
        };
        Worth {
            dirs: self.looked_at_dirs.iter().filter(changed).cloned().collect(),
            files: self.looked_at_files.clone(),
            stats: self.looked_at_dirs.len() as u64,
        }
    }
}

/// The latest of them, the latest first.
fn latest<'a, T: Ord>(all: impl Iterator<Item = (T, &'a Path)>) -> Vec<PathBuf> {
    let mut all: Vec<(T, &Path)> = all.collect();
    all.sort_by(|a, b| b.cmp(a));
    all.into_iter().take(MOST_LOOKED_AT).map(|(_, path)| path.to_owned()).collect()
}

fn changed_at(meta: &fs::Metadata) -> i128 {
    i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())
}

fn settled(time: i128) -> i128 {
    let now =
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(0));
    if now - time > TOO_FRESH_NS { time } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_listed_again_when_it_changed_or_may_have() {
        let dir = tempfile::tempdir().unwrap();
        let mut poller = Poller::new();
        poller.listing(dir.path());
        assert_eq!(poller.look().dirs, [dir.path()], "it was made just now");
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::open(dir.path()).unwrap().set_modified(old).unwrap();
        poller.listing(dir.path());
        assert_eq!(poller.look().dirs, Vec::<PathBuf>::new());
        fs::write(dir.path().join("new"), "").unwrap();
        assert_eq!(poller.look().dirs, [dir.path()]);
    }

    #[test]
    fn a_look_costs_the_same_however_many_files_there_are() {
        let mut poller = Poller::new();
        let files: Vec<(i64, PathBuf)> = (0..20_000).map(|n| (n, PathBuf::from(format!("{n}.jsonl")))).collect();
        poller.end_walk(files.iter().map(|(time, path)| (*time, path.as_path())));
        let worth = poller.look();
        assert_eq!(worth.files.len(), MOST_LOOKED_AT);
        assert_eq!(worth.files[0], Path::new("19999.jsonl"), "the latest are looked at");
        poller.changed(Path::new("7.jsonl"));
        assert_eq!(poller.look().files[0], Path::new("7.jsonl"));
        assert_eq!(poller.look().files.len(), MOST_LOOKED_AT);
    }
}
