//! Notes of git commits: which of a repository's commits are known here, and their conversations in `refs/notes/cogfs`.
//!
//! Speaks with the repository by way of the `git` program alone, and knows nothing of the store. Writes one ref of it, which no
//! `git push` sends by itself; touches neither the index nor the working tree, and no remote.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::model::Millis;

/// Where the notes are: `git log --notes=cogfs` shows them.
pub const REF: &str = "refs/notes/cogfs";

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Why a repository could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git could not be started: {0} (`apt install git`)")]
    NoGit(io::Error),
    #[error("{} is in no git repository", .0.display())]
    NoRepository(PathBuf),
    #[error("{0} is no commit of this repository")]
    NoCommit(String),
    #[error("git {what}: {reason}")]
    Failed { what: String, reason: String },
}

type Result<T> = std::result::Result<T, GitError>;

/// A git commit that a log tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whole, or its first digits.
    pub hash: String,
    pub subject: String,
    pub at: Millis,
}

/// A commit of the repository, whole hash, for one that was told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub hash: String,
    /// It has the changes of the one that was told of, which is on no branch any more: a rebase or an amended message.
    pub replaces: Option<String>,
}

/// A repository.
#[derive(Debug)]
pub struct Repo {
    dir: PathBuf,
}

impl Repo {
    /// The repository that a folder is in.
    ///
    /// # Errors
    /// When it is in none, or there is no git.
    pub fn open(dir: &Path) -> Result<Self> {
        let repo = Self { dir: dir.to_owned() };
        match repo.ask(&["rev-parse", "--git-dir"], b"") {
            Err(GitError::Failed { .. }) => Err(GitError::NoRepository(dir.to_owned())),
            done => done.map(|_| repo),
        }
    }

    /// The whole hash of a commit that a user names: `HEAD~2`, a branch, a hash.
    ///
    /// # Errors
    /// When there is no such commit.
    pub fn commit(&self, name: &str) -> Result<String> {
        let wanted = format!("{name}^{{commit}}");
        match self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted], b"") {
            Err(GitError::Failed { .. }) => Err(GitError::NoCommit(name.to_owned())),
            done => Ok(text(&done?).trim().to_owned()),
        }
    }

    /// The commits of this repository among those that were told of, in their order. A few digits may be another commit's: its
    /// subject has to be the same, too.
    ///
    /// # Errors
    /// When git cannot read the repository.
    pub fn find(&self, told: &[Told]) -> Result<Vec<Option<Found>>> {
        let wholes = self.whole_hashes(told)?;
        let subjects = self.subjects(wholes.iter().flatten())?;
        let is_it = |whole: &String, told: &Told| {
            subjects.get(whole).is_some_and(|subject| told.subject.is_empty() || *subject == told.subject)
        };
        let wholes: Vec<Option<String>> =
            wholes.into_iter().zip(told).map(|(whole, told)| whole.filter(|whole| is_it(whole, told))).collect();
        let on_branches = self.reachable(None)?;
        let lost: Vec<(&String, &Told)> = wholes
            .iter()
            .zip(told)
            .filter_map(|(whole, told)| Some((whole.as_ref().filter(|whole| !on_branches.contains(*whole))?, told)))
            .collect();
        let successors = self.successors(&lost)?;
        let found = |whole: Option<String>| {
            let whole = whole?;
            Some(match successors.get(&whole) {
                Some(new) => Found { hash: new.clone(), replaces: Some(whole) },
                None => Found { hash: whole, replaces: None },
            })
        };
        Ok(wholes.into_iter().map(found).collect())
    }

    fn whole_hashes(&self, told: &[Told]) -> Result<Vec<Option<String>>> {
        // A hash is digits: nothing else of a log is given to git as a name.
        let is_hash = |hash: &str| hash.len() >= 4 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let asked: Vec<bool> = told.iter().map(|told| is_hash(&told.hash)).collect();
        let names: String = told
            .iter()
            .zip(&asked)
            .filter(|(_, asked)| **asked)
            .map(|(told, _)| format!("{}^{{commit}}\n", told.hash))
            .collect();
        let out = self.ask(&["cat-file", "--batch-check=%(objectname) %(objecttype)"], names.as_bytes())?;
        let out = text(&out);
        // `HASH commit`, `NAME missing`, or `NAME ambiguous`.
        let mut answers = out.lines().map(|line| line.strip_suffix(" commit").map(str::to_owned));
        Ok(asked.into_iter().map(|asked| if asked { answers.next().flatten() } else { None }).collect())
    }

    fn subjects<'a>(&self, commits: impl Iterator<Item = &'a String>) -> Result<HashMap<String, String>> {
        let names: String = commits.map(|hash| format!("{hash}\n")).collect();
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let out = self.ask(&["log", "--no-walk=unsorted", "--stdin", "--format=%H %s"], names.as_bytes())?;
        Ok(text(&out)
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(h, s)| (h.to_owned(), s.to_owned()))
            .collect())
    }

    /// Everything that a branch, a tag or HEAD leads to; since a time, by the committers' clocks.
    fn reachable(&self, since: Option<Millis>) -> Result<HashSet<String>> {
        let since = since.map(|at| format!("--since={}", at.0 / 1000));
        let mut args = vec!["rev-list", "--exclude=refs/notes/*", "--exclude=refs/stash", "--all"];
        args.extend(since.as_deref());
        Ok(text(&self.ask(&args, b"")?).lines().map(str::to_owned).collect())
    }

    /// For commits that no branch has any more: the one on a branch with the same changes (`git patch-id`).
    fn successors(&self, lost: &[(&String, &Told)]) -> Result<HashMap<String, String>> {
        let Some(first) = lost.iter().map(|(_, told)| told.at).min() else { return Ok(HashMap::new()) };
        let ids = self.patch_ids(lost.iter().map(|(hash, _)| hash.as_str()))?;
        // What replaces a commit is committed after it; clocks differ.
        let later = self.reachable(Some(Millis(first.0 - DAY)))?;
        let mut by_id: BTreeMap<String, String> = BTreeMap::new();
        for (hash, id) in self.patch_ids(later.iter().map(String::as_str))? {
            by_id.entry(id).or_insert(hash);
        }
        Ok(ids.into_iter().filter_map(|(hash, id)| Some((hash, by_id.get(&id)?.clone()))).collect())
    }

    fn patch_ids<'a>(&self, commits: impl Iterator<Item = &'a str>) -> Result<Vec<(String, String)>> {
        let names: String = commits.map(|hash| format!("{hash}\n")).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let diffs = self.ask(&["diff-tree", "--stdin", "--root", "-p"], names.as_bytes())?;
        let ids = self.ask(&["patch-id", "--stable"], &diffs)?;
        let pair = |line: &str| line.split_once(' ').map(|(id, hash)| (hash.to_owned(), id.to_owned()));
        Ok(text(&ids).lines().filter_map(pair).collect())
    }

    /// The note of a commit.
    ///
    /// # Errors
    /// When git cannot read the repository.
    pub fn note(&self, hash: &str) -> Result<Option<Vec<u8>>> {
        match self.ask(&["notes", "--ref", REF, "show", hash], b"") {
            Err(GitError::Failed { .. }) => Ok(None),
            done => done.map(Some),
        }
    }

    /// Writes notes, all in one commit of [`REF`]; those that say what they said are left alone. How many were written.
    ///
    /// # Errors
    /// When git cannot write: nothing was written.
    pub fn write(&self, notes: &BTreeMap<String, Vec<u8>>) -> Result<usize> {
        let mut new = Vec::new();
        for (hash, note) in notes {
            if self.note(hash)?.as_ref() != Some(note) {
                new.push((hash, note));
            }
        }
        if new.is_empty() {
            return Ok(0);
        }
        let who = self.ask(&["var", "GIT_COMMITTER_IDENT"], b"").map(|who| text(&who).trim().to_owned());
        let who = who.unwrap_or_else(|_| format!("cogfs <cogfs@localhost> {} +0000", Millis::now().0 / 1000));
        let message = "Notes added by 'cogfs git-notes write'\n";
        let mut stream = format!("commit {REF}\ncommitter {who}\ndata {}\n{message}", message.len()).into_bytes();
        if self.ask(&["rev-parse", "--verify", "--quiet", REF], b"").is_ok() {
            stream.extend_from_slice(format!("from {REF}^0\n").as_bytes());
        }
        for (hash, note) in &new {
            stream.extend_from_slice(format!("N inline {hash}\ndata {}\n", note.len()).as_bytes());
            stream.extend_from_slice(note);
            stream.push(b'\n');
        }
        self.ask(&["fast-import", "--quiet", "--date-format=raw"], &stream)?;
        Ok(new.len())
    }

    /// What git prints, given an input.
    fn ask(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir).args(args).env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0");
        // It is this repository that is meant, also where git itself has called us (a hook).
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(GitError::NoGit)?;
        let stdin = child.stdin.take();
        let done = thread::scope(|scope| {
            // It writes while it reads. One that ends before it has read everything says why by its status.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
            child.wait_with_output()
        });
        let failed =
            |reason: String| GitError::Failed { what: args.first().copied().unwrap_or_default().to_owned(), reason };
        let done = done.map_err(|error| failed(error.to_string()))?;
        match done.status.success() {
            true => Ok(done.stdout),
            false => Err(failed(text(&done.stderr).trim().to_owned())),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(dir)
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null");
        for (name, value) in [("NAME", "Mira"), ("EMAIL", "mira@example.test")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        let done = command.output().unwrap();
        assert!(done.status.success(), "git {args:?}: {}", text(&done.stderr));
        text(&done.stdout).trim().to_owned()
    }

    fn commit(dir: &Path, file: &str, subject: &str) -> String {
        std::fs::write(dir.join(file), format!("{subject}\n")).unwrap();
        git(dir, &["add", file]);
        git(dir, &["commit", "-q", "-m", subject]);
        git(dir, &["rev-parse", "HEAD"])
    }

    fn told(hash: &str, subject: &str) -> Told {
        Told { hash: hash.to_owned(), subject: subject.to_owned(), at: Millis::now() }
    }

    /// A repository with a commit on its branch.
    fn repository() -> (tempfile::TempDir, Repo, String) {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q", "-b", "main"]);
        let first = commit(dir.path(), "boats", "Count the boats");
        let repo = Repo::open(dir.path()).unwrap();
        (dir, repo, first)
    }

    #[test]
    fn a_commit_is_found_by_its_first_digits_and_its_subject() {
        let (_dir, repo, first) = repository();
        let found = |hash: &str, subject: &str| repo.find(&[told(hash, subject)]).unwrap().remove(0);
        let whole = Some(Found { hash: first.clone(), replaces: None });
        assert_eq!(found(&first[..7], "Count the boats"), whole);
        assert_eq!(found(&first, ""), whole, "a log may tell of no subject");
        assert_eq!(found(&first[..7], "Paint the boats"), None, "another repository's");
        assert_eq!(found("0123456", "Count the boats"), None);
        assert_eq!(found("HEAD", "Count the boats"), None, "a log names commits by their hashes alone");
    }

    #[test]
    fn a_commit_that_a_rebase_replaced_is_found_by_its_changes() {
        let (dir, repo, first) = repository();
        git(dir.path(), &["checkout", "-q", "-b", "work"]);
        let old = commit(dir.path(), "oars", "Count the oars");
        git(dir.path(), &["checkout", "-q", "main"]);
        commit(dir.path(), "nets", "Mend the nets");
        git(dir.path(), &["rebase", "-q", "main", "work"]);
        let new = git(dir.path(), &["rev-parse", "work"]);
        assert_ne!(old, new);
        let found = repo.find(&[told(&old[..9], "Count the oars"), told(&first, "Count the boats")]).unwrap();
        assert_eq!(found[0], Some(Found { hash: new, replaces: Some(old) }));
        assert_eq!(found[1], Some(Found { hash: first, replaces: None }));
    }

    #[test]
    fn notes_are_written_once_and_git_shows_them_and_no_push_sends_them() {
        let (dir, repo, first) = repository();
        let note = |text: &str| BTreeMap::from([(first.clone(), text.as_bytes().to_vec())]);
        assert_eq!(repo.note(&first).unwrap(), None);
        assert_eq!(repo.write(&note("# Boats\n\nSeven — \u{1f6a4}.\n")).unwrap(), 1);
        assert_eq!(repo.write(&note("# Boats\n\nSeven — \u{1f6a4}.\n")).unwrap(), 0);
        let before = git(dir.path(), &["rev-parse", REF]);
        assert_eq!(repo.write(&note("# Boats\n\nEight.\n")).unwrap(), 1);
        assert_eq!(git(dir.path(), &["rev-parse", &format!("{REF}^")]), before, "what was there is in its history");
        assert!(git(dir.path(), &["log", "-1", "--notes=cogfs"]).contains("Eight."));
        assert!(!git(dir.path(), &["log", "-1"]).contains("Eight."), "shown to who asks for it");
        let remote = tempfile::tempdir().unwrap();
        git(remote.path(), &["init", "-q", "--bare"]);
        git(dir.path(), &["push", "-q", "--all", &remote.path().to_string_lossy()]);
        assert_eq!(git(remote.path(), &["for-each-ref", "--format=%(refname)"]), "refs/heads/main");
    }

    #[test]
    fn what_is_no_repository_or_commit_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Repo::open(dir.path()), Err(GitError::NoRepository(_))));
        let (_dir, repo, first) = repository();
        assert_eq!(repo.commit("HEAD").unwrap(), first);
        assert!(repo.commit("--all").unwrap_err().to_string().contains("--all is no commit"));
    }
}
