//! The notes of a file manager's Trash: `.Trash-$UID/info/NAME.trashinfo` says where `files/NAME` was and when it was deleted,
//! which is how a file manager brings it back to its place (freedesktop.org's Trash specification). Managers write and remove
//! them as they move things; here they are brought in step with the trash after changes of other ways: `cogfs restore`, a
//! deletion that took in an earlier one, another mount, thirty days.
//!
//! They are scratch files, in a place of their own that no sweep touches.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant, SystemTime};

use super::scratch::{Dir, ScratchId};
use super::write::trash_info_place;
use super::{CogFs, Invalidation, NAME_MAX, Result, lock};
use crate::model::Millis;
use crate::store::trash::{self, Trashed};
use crate::tree::{self, Node};

const SUFFIX: &str = ".trashinfo";

/// A manager writes the note first, then moves what it is of: a note of nothing is left alone for so long.
const BEFORE_THE_MOVE: Duration = Duration::from_secs(10);

impl CogFs {
    /// Has the notes looked through soon.
    pub(super) fn trash_changed(&self) {
        if let Some(writing) = &self.writing {
            *lock(&writing.trash_info_at) = Some(Instant::now());
            self.wake();
        }
    }

    /// Brings the notes in step with the trash, if that is due. True when it is to be tried again.
    pub(super) fn settle_trash_info(&self, now: Instant) -> bool {
        let Some(writing) = &self.writing else { return false };
        match *lock(&writing.trash_info_at) {
            None => return false,
            Some(at) if at > now => return true,
            Some(_) => {}
        }
        *lock(&writing.trash_info_at) = None;
        let at = Millis(Millis::now().0 + millis(now.saturating_duration_since(Instant::now())));
        let again = self.write_trash_info(at).unwrap_or_else(|error| {
            tracing::warn!(%error, "the notes of the trash could not be brought in step with it; trying again");
            true
        });
        if again {
            lock(&writing.trash_info_at).get_or_insert(now + BEFORE_THE_MOVE);
        }
        again
    }

    /// Writes the notes that are missing and removes those of nothing. True when one may be of something that is about to be
    /// moved.
    fn write_trash_info(&self, now: Millis) -> Result<bool> {
        let (writing, dir) = (self.writing()?, Dir::Place(trash_info_place()));
        let mut missing = self.query(|conn| {
            let mut found = Vec::new();
            for trashed in trash::listed(conn, 0)?.into_iter().filter(|trashed| trashed.by_manager) {
                let path = tree::former_path(conn, &trashed)?;
                found.push((OsString::from(format!("{}{SUFFIX}", trashed.name)), path, trashed));
            }
            Ok(found)
        })?;
        let mut again = false;
        for entry in writing.scratch.list(&dir, ScratchId(0))? {
            if let Some(known) = missing.iter().position(|(name, ..)| *name == entry.name) {
                missing.swap_remove(known);
            } else if entry.name.as_bytes().ends_with(SUFFIX.as_bytes()) {
                let changed = writing.scratch.attr(entry.id)?.ctime;
                if now.0 - changed.0 < millis(BEFORE_THE_MOVE) {
                    again = true;
                    continue;
                }
                writing.scratch.unlink(&dir, &entry.name)?;
                self.tell_of_note(entry.name);
            }
        }
        for (name, path, trashed) in missing {
            // The longest names leave no room for the ending: their notes cannot be, for any program.
            if let Some(path) = path.filter(|_| name.len() <= NAME_MAX) {
                let note = note(&path, &trashed);
                writing.scratch.adopt(&dir, &name, note.as_bytes(), 0o600, SystemTime::now())?;
                self.tell_of_note(name);
            }
        }
        Ok(again)
    }

    fn tell_of_note(&self, name: OsString) {
        let parent = Node::ManagerTrashInfo.ino();
        self.tell(Invalidation::Name { parent, name });
        self.tell(Invalidation::Node(parent));
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// What a note says. The path is from the mount's root, in percent-encoding; the time is local, which is not known here: UTC.
fn note(path: &str, trashed: &Trashed) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            // Writing to a string cannot fail.
            byte => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    let at = chrono::DateTime::from_timestamp_millis(trashed.deleted_at.0).unwrap_or_default();
    format!("[Trash Info]\nPath={encoded}\nDeletionDate={}\n", at.format("%Y-%m-%dT%H:%M:%S"))
}
