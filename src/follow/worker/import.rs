//! What changed is imported; what fails is tried again, and told once.

use std::time::Instant;

use super::{
    IMPORT_AGAIN, INDEX_AFTER, LOCKED_FOR_LONG, PATIENCE, RETRY, RETRY_AT_THE_LATEST, Seen, TELL_PROGRESS_EVERY,
    Trouble, Worker,
};
use crate::follow::News;
use crate::ingest::{self, Progress, Summary, discover};
use crate::store::lock::{Lock, Purpose};
use crate::store::{self, StoreError, Writer};

impl Worker {
    pub(super) fn import(&mut self) {
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
    pub(super) fn index_words(&mut self) {
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

    pub(super) fn imported(&mut self, summary: Summary) {
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
    pub(super) fn retry(&mut self, error: &StoreError) {
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
    pub(super) fn complain(&mut self, problem: String) {
        if self.trouble.told.as_ref() != Some(&problem) {
            self.tell_of(&problem);
            self.trouble.told = Some(problem);
        }
    }

    pub(super) fn tell_of(&self, problem: &str) {
        tracing::warn!(problem, "following the logs: trying again");
        self.tell(News::Problem(problem.to_owned()));
    }
}
