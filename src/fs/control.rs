//! `.cogfs/ctl`: one command a line. A line that is none, or that fails, is EINVAL to its writer and a line in the log.

use super::{CogFs, FsError, Result};
use crate::curation::{self, Edit, Editor, Entity, Origin};
use crate::model::Id;
use crate::store::{commits, sessions, trash};
use crate::tree;

/// Begins a sync in a thread of its own, or says why not.
pub type Syncer = Box<dyn Fn() -> std::result::Result<(), String> + Send + Sync>;

impl CogFs {
    /// Runs the commands of what was written.
    pub(super) fn command(&self, bytes: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(bytes);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Err(error) = self.run(line) {
                let reason = match error {
                    FsError::BadCommand { reason } | FsError::NotPermitted { reason } => reason,
                    other => other.to_string(),
                };
                let error = FsError::BadCommand { reason: format!("{line:?}: {reason}") };
                return Err(self.refuse("write", ".cogfs/ctl".to_owned(), error, None));
            }
        }
        Ok(())
    }

    fn run(&self, line: &str) -> Result<()> {
        // A name may have blanks in it.
        if let Some(("restore", name)) = line.split_once(char::is_whitespace) {
            return self.restore(name.trim());
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["refresh"] => {
                self.has_news();
                Ok(())
            }
            ["undo", number] => {
                let seq =
                    number.parse().map_err(|_| bad("undo takes the number of an edit: `cogfs log` lists them"))?;
                self.edit(|tx| curation::undo(tx, Origin::Control, seq).map(drop))
            }
            ["sync"] | ["sync", "now"] => match self.syncer.get() {
                Some(sync) => sync().map_err(|reason| FsError::BadCommand { reason }),
                None => Err(bad("this mount is not connected to the cloud")),
            },
            ["fetch", id] => self.fetch_by_id(id),
            _ => Err(bad("no such command; reading .cogfs/ctl lists them")),
        }
    }

    /// Has what is elsewhere of a commit or session fetched.
    fn fetch_by_id(&self, text: &str) -> Result<()> {
        if !self.fetching.has_fetcher() {
            return Err(bad("this mount is not connected to the cloud"));
        }
        let (low, high) = tree::id_range(text).ok_or_else(|| bad("fetch takes the id of a commit or session"))?;
        let found = self.query(|conn| {
            let mut found: Vec<Vec<Id>> = Vec::new();
            for commit in commits::all_by_id_range(conn, &low, &high, 2)? {
                found.push(sessions::elsewhere_of_commit(conn, commit.row)?);
            }
            for session in sessions::all_by_id_range(conn, &low, &high, 2)? {
                found.push(sessions::id_elsewhere(conn, session.row)?.into_iter().collect());
            }
            Ok(found)
        })?;
        match found.as_slice() {
            [] => Err(bad("there is no commit or session of that id")),
            [sessions] => {
                self.fetch_behind(sessions);
                Ok(())
            }
            _ => Err(bad("that could be several: give more of the id")),
        }
    }

    /// Says what `sync now` does: it must return at once. The first caller holds.
    pub fn sync_with(&self, syncer: Syncer) {
        let _ = self.syncer.set(syncer);
    }

    /// Tells of a sync that was asked for and failed.
    pub fn tell_of_sync(&self, reason: String) {
        let what_to_do = "`cogfs sync status` tells how things stand, `cogfs whoami` whether you are logged in.";
        self.log_refusal("sync", ".cogfs/ctl".to_owned(), "EIO", reason, what_to_do, None);
    }

    fn restore(&self, name: &str) -> Result<()> {
        let trashed = self.query(|conn| {
            let listed = trash::listed(conn, 0)?;
            // By its name, or by the digits behind one.
            let by_name = listed.iter().find(|trashed| trashed.name == name);
            let digits = format!("_{name}");
            Ok(by_name.or_else(|| listed.iter().find(|trashed| trashed.name.ends_with(&digits))).cloned())
        })?;
        let trashed = trashed.ok_or_else(|| bad("nothing of that name is in .cogfs/trash/"))?;
        let entity = Entity { kind: trashed.kind, row: trashed.entity_row };
        self.edit(|tx| Editor::new(tx, Origin::Control).apply(&Edit::Restore { entity }).map(drop))
    }
}

fn bad(reason: &str) -> FsError {
    FsError::BadCommand { reason: reason.to_owned() }
}
