//! One place to follow: a folder, or a file, that is there or not, and may be another one the next time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::poll::Poller;

/// A place as it was named, and what was found there.
pub struct Place {
    wanted: PathBuf,
    there: Option<There>,
    /// Set where inotify is of no use: then the place is looked at.
    pub poller: Option<Poller>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct There {
    /// Without links: what is below has one path, as in an import.
    root: PathBuf,
    is_file: bool,
    device: u64,
    inode: u64,
}

/// Something else is at a place than before.
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    pub from: Option<PathBuf>,
    pub to: Option<PathBuf>,
}

impl Place {
    pub fn new(wanted: PathBuf) -> Self {
        Self { wanted, there: None, poller: None }
    }

    /// Where its files lie, if it is there.
    pub fn root(&self) -> Option<&Path> {
        self.there.as_ref().map(|there| there.root.as_path())
    }

    /// Whether it is a single file: the directory it lies in tells of it.
    pub fn is_file(&self) -> bool {
        self.there.as_ref().is_some_and(|there| there.is_file)
    }

    /// Whether a path belongs to it.
    pub fn holds(&self, path: &Path) -> bool {
        self.root().is_some_and(|root| path.starts_with(root))
    }

    /// Looks what is there: one call of `stat` when nothing changed.
    pub fn look(&mut self) -> Option<Moved> {
        let found = fs::metadata(&self.wanted).ok();
        let same = match (&self.there, &found) {
            (None, None) => true,
            (Some(there), Some(meta)) => (there.device, there.inode) == (meta.dev(), meta.ino()),
            _ => false,
        };
        if same {
            return None;
        }
        let now = found.and_then(|meta| {
            let root = fs::canonicalize(&self.wanted).ok()?;
            Some(There { root, is_file: meta.is_file(), device: meta.dev(), inode: meta.ino() })
        });
        let moved =
            Moved { from: self.there.take().map(|there| there.root), to: now.as_ref().map(|there| there.root.clone()) };
        self.there = now;
        self.poller = None;
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_found_when_it_appears_and_again_when_another_takes_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let wanted = root.join("a/logs");
        let mut place = Place::new(wanted.clone());
        assert_eq!(place.look(), None);
        fs::create_dir_all(&wanted).unwrap();
        assert_eq!(place.look(), Some(Moved { from: None, to: Some(wanted.clone()) }));
        assert_eq!(place.look(), None);
        // The folder above it is renamed: nothing that is watched tells.
        fs::rename(root.join("a"), root.join("b")).unwrap();
        fs::create_dir_all(&wanted).unwrap();
        assert_eq!(place.look(), Some(Moved { from: Some(wanted.clone()), to: Some(wanted.clone()) }));
        fs::remove_dir(&wanted).unwrap();
        assert_eq!(place.look(), Some(Moved { from: Some(wanted), to: None }));
    }

    #[test]
    fn a_place_behind_a_link_is_where_the_link_leads() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink(root.join("real"), root.join("link")).unwrap();
        let mut place = Place::new(root.join("link"));
        place.look();
        assert_eq!(place.root(), Some(root.join("real").as_path()));
        assert!(place.holds(&root.join("real/x.jsonl")) && !place.holds(&root.join("link/x.jsonl")));
    }
}
