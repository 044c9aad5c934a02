//! What a `.cogfsignore` keeps on this machine: projects by their folders, and conversations by the folder they were in or the file of
//! their log.
//!
//! A `.cogfsignore` has the lines of a `.gitignore` and says which folders and files below it are meant; `*` says that its own is too.
//! The file `cogfsignore` among the settings speaks of all of the machine. A project stays here if one of its folders is meant, a
//! conversation if its folder or its log is, or the conversation that started it stays.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::store::kept::{self, Candidate};
use crate::store::{Result, Writer, projects};

/// In any folder above what is meant, or in it.
const FILE: &str = ".cogfsignore";

/// Lines that mean the folder in which they stand.
const ITSELF: [&str; 5] = ["*", "/", ".", "**", "/*"];

/// A line that cannot be read, for who runs a command.
pub type Complaint = String;

/// Reads the files anew and notes which projects and conversations they name; what in them cannot be read.
///
/// # Errors
/// When the database cannot be used.
pub fn refresh(writer: &mut Writer, settings: &Path) -> Result<Vec<Complaint>> {
    let mut rules = Rules::new(settings);
    let mut changed = Vec::new();
    for project in projects::all(writer.conn())? {
        let is_named = project.paths.iter().any(|path| rules.keep_folder(Path::new(path)));
        if is_named != projects::is_ignored(writer.conn(), project.row)? {
            changed.push((project.row, is_named));
        }
    }
    let named = named_sessions(&kept::candidates(writer.conn())?, &mut rules);
    let is_other = named != kept::all(writer.conn())?;
    if is_other || !changed.is_empty() {
        let tx = writer.begin()?;
        for (row, ignored) in changed {
            projects::set_ignored(&tx, row, ignored)?;
        }
        if is_other {
            kept::replace(&tx, &named)?;
        }
        tx.commit()?;
    }
    Ok(rules.complaints)
}

/// The rows of the sessions that are meant, and of those that they started.
fn named_sessions(candidates: &[Candidate], rules: &mut Rules) -> BTreeSet<i64> {
    let mut named = BTreeSet::new();
    let mut parents = BTreeMap::new();
    for candidate in candidates {
        parents.extend(candidate.parent.map(|parent| (candidate.row, parent)));
        let folder = candidate.cwd.as_deref().is_some_and(|cwd| rules.keep_folder(Path::new(cwd)));
        // Of a database with many sessions the part behind the name is no file's.
        let log = candidate.log.as_deref().map(|log| log.split_once('#').map_or(log, |(file, _)| file));
        if folder || log.is_some_and(|log| rules.keep_file(Path::new(log))) {
            named.insert(candidate.row);
        }
    }
    let is_below_one = |row: &i64| {
        let above = std::iter::successors(Some(*row), |row| parents.get(row).copied());
        // A damaged database must not make a loop of it.
        above.take(64).any(|row| named.contains(&row))
    };
    candidates.iter().map(|candidate| candidate.row).filter(is_below_one).collect()
}

/// What a folder's file says.
struct Said {
    patterns: Gitignore,
    names_itself: bool,
}

/// The files that were read, each once.
struct Rules {
    everywhere: Gitignore,
    said: HashMap<PathBuf, Option<Said>>,
    folders: HashMap<PathBuf, bool>,
    complaints: Vec<Complaint>,
}

impl Rules {
    fn new(settings: &Path) -> Self {
        let mut complaints = Vec::new();
        let everywhere = patterns(settings, Path::new("/"), &mut complaints);
        Self { everywhere, said: HashMap::new(), folders: HashMap::new(), complaints }
    }

    fn keep_folder(&mut self, folder: &Path) -> bool {
        if let Some(known) = self.folders.get(folder) {
            return *known;
        }
        let keep =
            folder.is_absolute() && (self.of(folder).is_some_and(|said| said.names_itself) || self.keep(folder, true));
        self.folders.insert(folder.to_owned(), keep);
        keep
    }

    fn keep_file(&mut self, file: &Path) -> bool {
        file.is_absolute() && self.keep(file, false)
    }

    fn keep(&mut self, path: &Path, is_dir: bool) -> bool {
        if self.everywhere.matched_path_or_any_parents(path, is_dir).is_ignore() {
            return true;
        }
        // The nearest file that speaks of it decides, as with git.
        for above in path.ancestors().skip(1) {
            let Some(said) = self.of(above) else { continue };
            match said.patterns.matched_path_or_any_parents(path, is_dir) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }

    fn of(&mut self, folder: &Path) -> Option<&Said> {
        let (said, complaints) = (&mut self.said, &mut self.complaints);
        if !said.contains_key(folder) {
            let file = folder.join(FILE);
            let read = fs::read_to_string(&file).ok().map(|text| Said {
                patterns: patterns(&file, folder, complaints),
                names_itself: text.lines().any(|line| ITSELF.contains(&line.trim())),
            });
            said.insert(folder.to_owned(), read);
        }
        said.get(folder).and_then(Option::as_ref)
    }
}

/// The patterns of a file, of folders below `root`; none without it.
fn patterns(file: &Path, root: &Path, complaints: &mut Vec<Complaint>) -> Gitignore {
    let mut builder = GitignoreBuilder::new(root);
    match fs::read_to_string(file) {
        Ok(text) => {
            for (number, line) in text.lines().enumerate() {
                if let Err(error) = builder.add_line(Some(PathBuf::from(file)), line) {
                    complaints.push(format!("{}:{}: {error}", file.display(), number + 1));
                }
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => complaints.push(format!("{}: {error}", file.display())),
    }
    builder.build().unwrap_or_else(|error| {
        complaints.push(format!("{}: {error}", file.display()));
        Gitignore::empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(root: &Path, settings: &str, folder: &str) -> bool {
        let file = root.join("settings");
        fs::write(&file, settings).unwrap();
        Rules::new(&file).keep_folder(&root.join(folder))
    }

    #[test]
    fn a_folder_is_named_by_the_settings_by_files_above_it_and_by_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("work/secret/deep")).unwrap();
        fs::create_dir_all(root.join("work/open")).unwrap();
        assert!(!named(root, "", "work/secret"));
        assert!(named(root, "secret", "work/secret"));
        assert!(named(root, "secret", "work/secret/deep"));
        assert!(!named(root, "# secret\n", "work/secret"));
        fs::write(root.join("work").join(FILE), "/secret/\n").unwrap();
        assert!(named(root, "", "work/secret/deep"));
        assert!(!named(root, "", "work/open"));
        fs::write(root.join("work/secret").join(FILE), "!deep\n").unwrap();
        assert!(!named(root, "", "work/secret/deep"));
        fs::write(root.join("work/open").join(FILE), "node_modules\n").unwrap();
        assert!(!named(root, "", "work/open"));
        fs::write(root.join("work/open").join(FILE), "*\n").unwrap();
        assert!(named(root, "", "work/open"));
    }

    #[test]
    fn a_line_that_is_no_pattern_is_told_with_its_place_and_the_others_hold() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("settings");
        fs::write(&file, "a{b\nsecret\n").unwrap();
        let mut complaints = Vec::new();
        let said = patterns(&file, Path::new("/"), &mut complaints);
        assert!(said.matched_path_or_any_parents("/x/secret", true).is_ignore());
        assert_eq!(complaints.len(), 1);
        assert!(complaints[0].starts_with(&format!("{}:1: ", file.display())), "{complaints:?}");
    }

    #[test]
    fn conversations_are_named_by_their_folder_or_their_log_and_subagents_by_who_started_them() {
        let dir = tempfile::tempdir().unwrap();
        let (root, settings) = (dir.path(), dir.path().join("settings"));
        fs::write(&settings, "/logs-of-one/*.jsonl\n").unwrap();
        fs::create_dir_all(root.join("w/deep")).unwrap();
        fs::write(root.join("w").join(FILE), "deep/\n*.pem\n!deep/open\n").unwrap();
        let session = |row, parent, cwd: &str, log: &str| Candidate {
            row,
            parent,
            cwd: (!cwd.is_empty()).then(|| root.join(cwd).display().to_string()),
            log: (!log.is_empty()).then(|| log.to_owned()),
        };
        let named = named_sessions(
            &[
                session(1, None, "w", "/logs/1.jsonl"),
                session(2, None, "w/deep", "/logs/2.jsonl"),
                session(3, Some(2), "w", ""),
                session(4, Some(3), "", ""),
                session(5, None, "w", "/logs-of-one/5.jsonl"),
                session(6, None, "w/deep/open", ""),
                session(7, None, "", &format!("{}/w/deep/opencode.db#ses_1", root.display())),
                session(8, None, "relative", "relative.jsonl"),
            ],
            &mut Rules::new(&settings),
        );
        assert_eq!(named.into_iter().collect::<Vec<_>>(), [2, 3, 4, 5, 7], "`!` takes one out again");
    }
}
