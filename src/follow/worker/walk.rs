//! Which files are there and which of them changed: what was heard of a path, what a look or a walk finds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{LOOK_EVERY, RESCAN_EVERY, Worker};
use crate::follow::poll::Poller;
use crate::follow::watches::NotWatched;
use crate::ingest::{self, discover};

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Into {
    /// Into every directory.
    All,
    /// Into directories that were not known.
    New,
}

impl Worker {
    pub(super) fn place_of(&self, path: &Path) -> Option<usize> {
        self.places.iter().position(|place| place.holds(path))
    }

    /// Something happened at a path.
    pub(super) fn heard(&mut self, path: &Path) {
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
    pub(super) fn consider(&mut self, file: &Path) {
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
    pub(super) fn look(&mut self) {
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

    pub(super) fn poll(&mut self, at: usize) {
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
    pub(super) fn rescan(&mut self) {
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

    pub(super) fn walk_place(&mut self, at: usize) {
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
    pub(super) fn walk_below(&mut self, at: usize, start: &Path) {
        let Err(reason) = self.walk(at, start, Into::All) else { return };
        let Some(root) = self.places[at].root().map(Path::to_owned) else { return };
        tracing::warn!(place = %root.display(), reason, "inotify does not tell of this place: looking at it every second");
        self.watches.forget(&root);
        self.places[at].poller = Some(Poller::new());
        self.walk_place(at);
    }

    /// Looks at the files of a directory, and at everything in those directories in it that are new.
    pub(super) fn walk_new(&mut self, at: usize, dir: &Path) {
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
    pub(super) fn watch(&mut self, at: usize, dir: &Path) -> Result<(), String> {
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
    pub(super) fn list(&mut self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
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
}
