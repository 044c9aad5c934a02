//! inotify: one watch a directory. Added one by one, each before its directory is listed, so that no file can come in between
//! unseen; a recursive watch of `notify` lists first.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{EventKind, ModifyKind};
use notify::{Config, ErrorKind, Event, INotifyWatcher, RecursiveMode, Watcher};

use super::inbox::Inbox;
use crate::ingest::discover;

/// Why a directory is not watched.
#[derive(Debug, PartialEq, Eq)]
pub enum NotWatched {
    /// It is gone, or closed to us: listing it tells.
    This,
    /// inotify has no watches left, or cannot be had at all: no other directory will be watched either. The reason.
    Any(String),
}

/// The watches of this process.
#[derive(Default)]
pub struct Watches {
    watcher: Option<INotifyWatcher>,
    watched: HashSet<PathBuf>,
}

impl Watches {
    /// Watches a directory, once more if it was watched: another may have taken its name.
    pub fn add(&mut self, dir: &Path, inbox: &Arc<Inbox>) -> Result<(), NotWatched> {
        if self.watcher.is_none() {
            let inbox = Arc::clone(inbox);
            let config = Config::default().with_follow_symlinks(false);
            let made = INotifyWatcher::new(move |event| hear(&inbox, event), config);
            self.watcher = Some(made.map_err(|error| NotWatched::Any(error.to_string()))?);
        }
        let Some(watcher) = &mut self.watcher else { return Err(NotWatched::This) };
        match watcher.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.watched.insert(dir.to_owned());
                Ok(())
            }
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                let reason = "inotify has no watches left (sysctl fs.inotify.max_user_watches)";
                Err(NotWatched::Any(reason.to_owned()))
            }
            Err(error) => {
                tracing::debug!(dir = %dir.display(), %error, "not watched");
                Err(NotWatched::This)
            }
        }
    }

    /// Whether a directory is watched.
    pub fn has(&self, dir: &Path) -> bool {
        self.watched.contains(dir)
    }

    /// How many directories are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// A directory is gone, or is not to be watched any more; what is below it neither.
    pub fn forget(&mut self, dir: &Path) {
        let Some(watcher) = &mut self.watcher else { return };
        let gone: Vec<PathBuf> = self.watched.iter().filter(|path| path.starts_with(dir)).cloned().collect();
        for path in gone {
            // The kernel takes the watch of a removed directory away by itself: then there is none.
            if let Err(error) = watcher.unwatch(&path) {
                tracing::trace!(dir = %path.display(), %error, "unwatch");
            }
            self.watched.remove(&path);
        }
    }
}

/// Runs in inotify's thread.
fn hear(inbox: &Inbox, event: notify::Result<Event>) {
    match event {
        Ok(event) if event.need_rescan() => inbox.lost(),
        Ok(event) => event.paths.iter().filter(|path| matters(event.kind, path)).for_each(|p| inbox.put(p.clone())),
        Err(error) => {
            tracing::warn!(%error, "inotify");
            inbox.lost();
        }
    }
}

/// Whether an event can be of a log, or of a directory that may hold some. Every look at a file is an event, ours too.
fn matters(kind: EventKind, path: &Path) -> bool {
    match kind {
        EventKind::Access(_) => false,
        // Only files are written to.
        EventKind::Modify(ModifyKind::Data(_)) => discover::candidate_of(path).is_some(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::super::inbox::Woken;
    use super::*;

    fn heard(inbox: &Inbox) -> HashSet<PathBuf> {
        match inbox.wait(Instant::now() + Duration::from_secs(20)) {
            Woken::Events { paths, lost: false } => paths,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn writes_to_logs_are_heard_reads_and_other_files_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let (log, other) = (dir.path().join("a.jsonl"), dir.path().join("a.txt"));
        fs::write(&log, "1").unwrap();
        fs::write(&other, "1").unwrap();
        let (mut watches, inbox) = (Watches::default(), Arc::new(Inbox::default()));
        watches.add(dir.path(), &inbox).unwrap();
        fs::read(&log).unwrap();
        fs::write(&other, "2").unwrap();
        fs::write(&log, "2").unwrap();
        assert_eq!(heard(&inbox), HashSet::from([log]));
        assert_eq!(watches.len(), 1);
    }

    #[test]
    fn a_directory_that_is_forgotten_is_not_heard_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        let (mut watches, inbox) = (Watches::default(), Arc::new(Inbox::default()));
        for dir in [&one, &two] {
            fs::create_dir(dir).unwrap();
            watches.add(dir, &inbox).unwrap();
        }
        watches.forget(&one);
        assert!(!watches.has(&one) && watches.has(&two));
        fs::write(one.join("a.jsonl"), "1").unwrap();
        fs::write(two.join("b.jsonl"), "1").unwrap();
        assert_eq!(heard(&inbox), HashSet::from([two.join("b.jsonl")]));
    }

    #[test]
    fn a_directory_that_is_not_there_says_so_of_itself_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut watches = Watches::default();
        assert_eq!(watches.add(&dir.path().join("no"), &Arc::new(Inbox::default())), Err(NotWatched::This));
    }
}
