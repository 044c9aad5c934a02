//! `.cogfs/ctl`: one command a line. A line that is none, or that fails, is EINVAL to its writer and a line in the log.

use super::{CogFs, FsError, Result};
use crate::curation::{self, Edit, Editor, Entity, Origin};
use crate::store::trash;

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
            ["sync", ..] | ["fetch", ..] => Err(bad("there is no account to sync with")),
            _ => Err(bad("no such command; reading .cogfs/ctl lists them")),
        }
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
