//! One thread that tells the kernel what to forget.
//!
//! Must hold no lock while it does so, and no request may wait for it: an invalidation waits for the directory or page that a
//! running request holds, so a request that waited for an invalidation would hang the mount for good.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use fuser::{INodeNo, Notifier};
use notify::{Config, Event, INotifyWatcher, RecursiveMode, Watcher};

use super::requests::{self, Counters, RequestCounts};
use crate::fs::{CogFs, Invalidation};
use crate::tree::Node;

/// How often the filesystem is asked for changes while there are some.
const TICK: Duration = Duration::from_millis(100);

/// How often when nothing was written for a while: inotify tells when something is. Not all filesystems have it tell all.
const IDLE_TICK: Duration = Duration::from_millis(900);

/// How long after something was written there may be changes: they show when they are on the disk, which is later.
const BUSY: Duration = Duration::from_secs(2);

/// How often, and how long, when something is written after a while: most often that is one change, and soon there.
const FIRST_TICK: Duration = Duration::from_millis(20);
const FIRST: Duration = Duration::from_millis(200);

/// A name that no directory has.
const NO_NAME: &str = "\u{1}";

/// What the thread works on.
pub(super) struct Work {
    pub(super) fs: Arc<CogFs>,
    pub(super) kernel: Notifier,
    pub(super) counters: Arc<Counters>,
    /// Where the request counts are written whenever they changed, if anywhere.
    pub(super) request_log: Option<PathBuf>,
}

/// The running thread; dropping it stops the thread and waits for it.
pub(super) struct NotifierThread {
    /// Ends with it.
    _watch: Option<INotifyWatcher>,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<Asked>,
    wake: Condvar,
}

/// What the thread is asked to do.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    /// To look for changes now: something was done here.
    look: bool,
    /// To look often for a while: somebody writes to the database.
    written: bool,
    end: bool,
}

impl Stop {
    /// Waits so long, or until it is to look; what it was asked to do. That something is written wakes it when it is `idle` only:
    /// an import writes thousands of times a second.
    fn wait(&self, tick: Duration, idle: bool) -> Asked {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let sleeps = |asked: &mut Asked| !(asked.end || asked.look || asked.written && idle);
        let waited = self.wake.wait_timeout_while(asked, tick, sleeps);
        let (mut asked, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *asked)
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) {
        what(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_all();
    }
}

impl NotifierThread {
    pub(super) fn start(work: Work) -> io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let seen_by_thread = Arc::clone(&stop);
        let told_of_news = Arc::clone(&stop);
        work.fs.on_news(Box::new(move || told_of_news.ask(|asked| asked.look = true)));
        let watch = watch(work.fs.files_of_changes(), Arc::clone(&stop));
        // Who counts requests wants to see them soon.
        let idle = if watch.is_some() && work.request_log.is_none() { IDLE_TICK } else { TICK };
        let thread =
            thread::Builder::new().name("cogfs-notify".to_owned()).spawn(move || run(&work, &seen_by_thread, idle))?;
        Ok(Self { _watch: watch, stop, thread: Some(thread) })
    }
}

impl Drop for NotifierThread {
    fn drop(&mut self) {
        self.stop.ask(|asked| asked.end = true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Wakes the thread when one of these files is written to; `None` where inotify cannot be had.
fn watch(files: Vec<PathBuf>, stop: Arc<Stop>) -> Option<INotifyWatcher> {
    let dirs: HashSet<PathBuf> = files.iter().filter_map(|file| file.parent()).map(Path::to_owned).collect();
    let heard = move |event: notify::Result<Event>| {
        let written = |event: &Event| !event.kind.is_access() && event.paths.iter().any(|path| files.contains(path));
        // What was lost may have been anything.
        if event.map_or(true, |event| event.need_rescan() || written(&event)) {
            stop.ask(|asked| asked.written = true);
        }
    };
    let mut watcher = INotifyWatcher::new(heard, Config::default()).ok()?;
    for dir in dirs {
        if let Err(error) = watcher.watch(&dir, RecursiveMode::NonRecursive) {
            tracing::debug!(dir = %dir.display(), %error, "not watched: it is looked at ten times a second");
            return None;
        }
    }
    Some(watcher)
}

fn run(work: &Work, stop: &Stop, idle: Duration) {
    let mut logged = None;
    log_requests(work, &mut logged);
    let (mut busy_until, mut first_until) = (Instant::now() + BUSY, Instant::now());
    loop {
        let now = Instant::now();
        let is_idle = now >= busy_until;
        let tick = if is_idle { idle } else { TICK };
        let asked = stop.wait(if now < first_until { FIRST_TICK } else { tick }, is_idle);
        if asked.end {
            break;
        }
        if asked.written {
            let now = Instant::now();
            if is_idle {
                first_until = now + FIRST;
            }
            busy_until = now + BUSY;
        }
        if catch_unwind(AssertUnwindSafe(|| announce_changes(work))).is_err() {
            tracing::error!("looking for changes panicked; the mount goes on, what it shows may be old");
        }
        log_requests(work, &mut logged);
    }
    log_requests(work, &mut logged);
}

fn announce_changes(work: &Work) {
    match work.fs.changes() {
        Ok(changes) => announce_all(&work.kernel, &changes),
        Err(error) => tracing::warn!(%error, "could not look for changes; trying again"),
    }
}

/// Tells the kernel of all changes, names first.
///
/// A listing that was read from the old state may still be on its way into the kernel's cache when the cache is dropped: the reply
/// was sent, but the process that asked has to be scheduled to take it, which on a busy machine is much later. It would stay there
/// for good. That process holds the directory's lock, and telling of a name in it waits for that lock (`fuse_reverse_inval_entry`,
/// fs/fuse/dir.c), as telling of the directory itself does not.
fn announce_all(kernel: &Notifier, changes: &[Invalidation]) {
    let mut waited_for = HashSet::new();
    for change in changes {
        if let Invalidation::Name { parent, .. } = change {
            announce(kernel, change);
            waited_for.insert(*parent);
        }
    }
    for change in changes {
        match change {
            Invalidation::Name { .. } => continue,
            Invalidation::Node(ino) if is_directory(*ino) && !waited_for.contains(ino) => {
                announce(kernel, &Invalidation::Name { parent: *ino, name: NO_NAME.into() });
            }
            Invalidation::Node(_) | Invalidation::Attributes(_) => {}
        }
        announce(kernel, change);
    }
}

fn is_directory(ino: u64) -> bool {
    Node::from_ino(ino).is_some_and(Node::is_directory)
}

/// Tells the kernel of one change. What the kernel has not cached is no error: `fuser` takes ENOENT for success.
fn announce(kernel: &Notifier, change: &Invalidation) {
    let told = match change {
        // Offset 0, not -1: with attributes alone the old bytes would be shown at the new length.
        Invalidation::Node(ino) => kernel.inval_inode(INodeNo(*ino), 0, 0),
        Invalidation::Attributes(ino) => kernel.inval_inode(INodeNo(*ino), -1, 0),
        Invalidation::Name { parent, name } => kernel.inval_entry(INodeNo(*parent), name),
    };
    match told {
        Ok(()) => {}
        // The mount is being taken down: there is nothing left to forget.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOTCONN | libc::EPERM)) => {}
        Err(error) => tracing::warn!(?change, %error, "the kernel refused an invalidation"),
    }
}

fn log_requests(work: &Work, logged: &mut Option<RequestCounts>) {
    let Some(path) = &work.request_log else { return };
    let counts = work.counters.snapshot();
    if *logged == Some(counts) {
        return;
    }
    match requests::write(path, &counts) {
        Ok(()) => *logged = Some(counts),
        Err(error) => tracing::warn!(path = %path.display(), %error, "could not write the request counts"),
    }
}
