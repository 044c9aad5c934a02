//! What time does: what is due, the end of a mount, its death.

use std::time::Instant;

use cogfs::curation::front_matter;

use super::{DETACHED, MadeKind, Model, QUIET_INVALID, QUIET_REMOVED, QUIET_VALID, SHOWN_INVALID};

use crate::ops::{How, Op, Text};

impl Model {
    /// The instants at which something is due, for a driver that must not settle just then.
    pub fn due(&self) -> Vec<Instant> {
        let mut all: Vec<Instant> = self.removed_at.iter().map(|at| *at + QUIET_REMOVED).collect();
        for c in &self.commits {
            let written = c.buffer.iter().map(|b| b.written);
            all.extend(written.flat_map(|at| [QUIET_VALID, QUIET_INVALID, SHOWN_INVALID].map(|quiet| at + quiet)));
            all.extend(c.detached.map(|at| at + DETACHED));
        }
        all
    }

    /// What is due first, with an operation that has it now; of a document that was refused none has.
    pub fn first_due(&self) -> Option<(Instant, Option<Op>)> {
        let removed =
            self.removed_at.iter().map(|at| (*at + QUIET_REMOVED, Some(Op::FsyncDir { path: "projects".into() })));
        let mut all: Vec<(Instant, Option<Op>)> = removed.collect();
        for dir in self.commit_dirs() {
            let Some(commit) = self.commit_at(&dir) else { continue };
            let c = &self.commits[commit];
            if let Some(buffer) = &c.buffer {
                let valid = front_matter::parse(&buffer.bytes).is_ok();
                all.push(match (buffer.refused, valid) {
                    (true, _) => (buffer.written + SHOWN_INVALID, None),
                    (false, true) => (buffer.written + QUIET_VALID, Some(Op::Fsync { path: format!("{dir}/meta.md") })),
                    (false, false) => {
                        (buffer.written + QUIET_INVALID, Some(Op::Fsync { path: format!("{dir}/meta.md") }))
                    }
                });
            } else if let Some(at) = c.detached {
                let text = Text(self.rendering(commit).into_bytes());
                let save = Op::Save { dir, how: How::Rename, text, fresh: false, sync: false };
                all.push((at + DETACHED, Some(save)));
            }
        }
        all.into_iter().min_by_key(|(at, _)| *at)
    }

    pub fn settle(&mut self, now: Instant) {
        for commit in 0..self.commits.len() {
            let c = &self.commits[commit];
            if let Some(buffer) = &c.buffer {
                let quiet = now.saturating_duration_since(buffer.written);
                let valid = front_matter::parse(&buffer.bytes).is_ok();
                match buffer.refused {
                    true if quiet >= SHOWN_INVALID => self.commits[commit].buffer = None,
                    false if quiet >= QUIET_INVALID || (valid && quiet >= QUIET_VALID) => drop(self.publish(commit)),
                    _ => {}
                }
            } else if c.detached.is_some_and(|at| now.saturating_duration_since(at) >= DETACHED) {
                self.come_to_rest(commit);
            }
        }
        if self.removed_at.is_some_and(|at| now.saturating_duration_since(at) >= QUIET_REMOVED) {
            self.settle_removed();
        }
    }

    pub(super) fn settle_removed(&mut self) {
        let gone: Vec<usize> = (0..self.made.len()).filter(|made| self.made[*made].gone).collect();
        for made in gone {
            self.made[made].gone = false;
            if self.made[made].kind == MadeKind::Turn && !self.in_trash(made) {
                self.delete(made, None, false);
            }
        }
        self.removed_at = None;
    }

    pub(super) fn finish(&mut self) {
        for commit in 0..self.commits.len() {
            let _ = self.publish(commit);
        }
        self.settle_removed();
    }

    pub(super) fn lose(&mut self) {
        self.made.iter_mut().for_each(|made| made.gone = false);
        self.removed_at = None;
    }

    pub(super) fn reopened(&mut self) {
        self.handles.clear();
        for commit in 0..self.commits.len() {
            self.come_to_rest(commit);
            self.read_by_editor(commit);
        }
    }
}
