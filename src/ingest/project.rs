//! Which project a session belongs to: the git remote where one is known, else the folder.
//!
//! A remote comes from the log (Codex writes it) or from the repository in the session's folder, when that is on this
//! machine. Worktrees and moved folders of one remote are one project; a folder whose remote becomes known later is folded
//! into the remote's project.
//!
//! Gemini CLI logs of some versions name their folder by its SHA-256 alone: of the folders of known projects the one that has
//! it is meant. Where none has, the project is called after the hash, until an import brings the folder.
//!
//! What was said on the web has no folder: a service is a project, and so is each of the projects that the service itself has.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::record::NamedProject;
use crate::render;
use crate::store::{self, Transaction, commits, projects, visuals};

/// Finds projects, each folder looked at once a run.
#[derive(Default)]
pub struct Resolver {
    repositories: HashMap<String, Option<Repository>>,
    reflogs: HashMap<PathBuf, Reflog>,
}

/// What a session says of where it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    pub cwd: Option<&'a str>,
    pub logged_remote: Option<&'a str>,
    /// SHA-256 of the folder, where the log says no more of it.
    pub folder_hash: Option<&'a str>,
    /// The project, where it is no folder.
    pub named: Option<&'a NamedProject>,
}

/// The commits that a worktree's HEAD was at.
#[derive(Default)]
struct Reflog {
    bytes: u64,
    hashes: Vec<String>,
}

/// A longer reflog is not read: git forgets after 90 days.
const MAX_REFLOG: u64 = 16 * 1024 * 1024;

/// No folder has a longer path (`PATH_MAX` of Linux). A damaged log may name one of a megabyte, with as many folders above it
/// that would be looked at.
const LONGEST_PATH: usize = 4096;

/// What the disk says of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Repository {
    /// The main worktree's folder.
    root: String,
    remote: Option<String>,
    /// The folder of git's own files of this worktree.
    git: PathBuf,
}

impl Resolver {
    /// The row of the project of a session.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn resolve(&mut self, tx: &mut Transaction<'_>, place: &Place<'_>) -> store::Result<i64> {
        let cwd = place.cwd.map(|c| c.trim_end_matches('/')).filter(|c| !c.is_empty());
        if let (None, None, Some(hash)) = (cwd, place.logged_remote, place.folder_hash) {
            return by_hash(tx, hash);
        }
        let cwd = match (cwd, place.named) {
            (None, Some(named)) => match &named.folder {
                Some(folder) => Some(folder.trim_end_matches('/')),
                None => return by_name(tx, named),
            },
            (cwd, _) => cwd,
        };
        let row = self.by_folder_or_remote(tx, cwd, place.logged_remote)?;
        for folder in cwd.iter().copied().chain(projects::paths(tx, row)?.iter().map(String::as_str)) {
            fold_hashed(tx, row, folder)?;
        }
        Ok(row)
    }

    fn by_folder_or_remote(
        &mut self,
        tx: &mut Transaction<'_>,
        cwd: Option<&str>,
        logged_remote: Option<&str>,
    ) -> store::Result<i64> {
        let repository = cwd.and_then(|cwd| self.repository(cwd));
        let remote = logged_remote
            .and_then(normalize_remote)
            .or_else(|| repository.as_ref().and_then(|r| r.remote.as_deref()).and_then(normalize_remote));
        let folder = repository.map(|r| r.root).or_else(|| cwd.map(|c| main_worktree(c).to_owned()));
        match remote {
            Some(remote) => by_remote(tx, &remote, folder.as_deref()),
            None => by_folder(tx, folder.as_deref()),
        }
    }

    /// The whole hash of a git commit that was made in a folder, where its repository is on this machine and remembers it.
    pub fn whole_hash(&mut self, cwd: &str, beginning: &str) -> Option<String> {
        let path = self.repository(cwd.trim_end_matches('/'))?.git.join("logs/HEAD");
        let found = fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() <= MAX_REFLOG)?;
        let reflog = self.reflogs.entry(path.clone()).or_default();
        if reflog.bytes != found.len() {
            let bytes = fs::read(&path).ok()?;
            *reflog = Reflog { bytes: found.len(), hashes: new_hashes(&String::from_utf8_lossy(&bytes)) };
        }
        let mut hashes = reflog.hashes.iter().filter(|hash| hash.starts_with(beginning));
        let first = hashes.next()?;
        hashes.all(|other| other == first).then(|| first.clone())
    }

    fn repository(&mut self, cwd: &str) -> Option<Repository> {
        if let Some(known) = self.repositories.get(cwd) {
            return known.clone();
        }
        let found = find_repository(Path::new(cwd));
        self.repositories.insert(cwd.to_owned(), found.clone());
        found
    }
}

fn by_remote(tx: &mut Transaction<'_>, remote: &str, folder: Option<&str>) -> store::Result<i64> {
    let identity = format!("git:{remote}");
    let name = remote.rsplit('/').next().unwrap_or(remote);
    // A folder that was known by its path alone turns out to be this remote's.
    let by_path = folder.map(|f| projects::by_path(tx, f)).transpose()?.flatten().filter(|p| p.remote.is_none());
    let row = match (projects::by_identity(tx, &identity)?, by_path) {
        (Some(project), Some(old)) => {
            projects::fold(tx, &old, project.row)?;
            commits::merge_equal(tx, project.row)?;
            project.row
        }
        (Some(project), None) => project.row,
        // Same row, same directory: only its identity is better known.
        (None, Some(old)) => {
            projects::identify(tx, old.row, &identity, name, remote)?;
            old.row
        }
        (None, None) => projects::create(tx, &identity, name, &render::project_dir_name(name), Some(remote))?,
    };
    if let Some(folder) = folder {
        projects::add_path(tx, row, folder)?;
    }
    Ok(row)
}

fn by_folder(tx: &mut Transaction<'_>, folder: Option<&str>) -> store::Result<i64> {
    let Some(folder) = folder else {
        return match projects::by_identity(tx, "path:")? {
            Some(project) => Ok(project.row),
            None => projects::create(tx, "path:", "unknown", "unknown", None),
        };
    };
    if let Some(project) = projects::by_path(tx, folder)? {
        return Ok(project.row);
    }
    let identity = format!("path:{folder}");
    let name = folder.rsplit(['/', '\\']).find(|part| !part.is_empty()).unwrap_or(folder);
    let row = match projects::by_identity(tx, &identity)? {
        Some(project) => project.row,
        None => projects::create(tx, &identity, name, &render::project_dir_name(name), None)?,
    };
    projects::add_path(tx, row, folder)?;
    Ok(row)
}

/// A project that is no folder.
fn by_name(tx: &mut Transaction<'_>, named: &NamedProject) -> store::Result<i64> {
    let identity = format!("service:{}", named.key);
    match projects::by_identity(tx, &identity)? {
        Some(project) => Ok(project.row),
        None => projects::create(tx, &identity, &named.name, &render::project_dir_name(&named.name), None),
    }
}

/// The project of the folder that has a hash, else one that is called after it.
fn by_hash(tx: &mut Transaction<'_>, hash: &str) -> store::Result<i64> {
    let identity = hash_identity(hash);
    if let Some(project) = projects::by_identity(tx, &identity)? {
        return Ok(project.row);
    }
    let folders = projects::all_paths(tx)?;
    if let Some((_, row)) = folders.into_iter().find(|(folder, _)| folder_hash(folder) == hash) {
        return Ok(row);
    }
    let name = format!("gemini-{}", hash.chars().filter(char::is_ascii_hexdigit).take(8).collect::<String>());
    projects::create(tx, &identity, &name, &render::project_dir_name(&name), None)
}

/// A folder that was known by its hash alone turns out to be this project's.
fn fold_hashed(tx: &mut Transaction<'_>, row: i64, folder: &str) -> store::Result<()> {
    match projects::by_identity(tx, &hash_identity(&folder_hash(folder)))? {
        Some(old) if old.row != row => {
            projects::fold(tx, &old, row)?;
            commits::merge_equal(tx, row)
        }
        _ => Ok(()),
    }
}

fn hash_identity(hash: &str) -> String {
    format!("hash:{hash}")
}

/// The SHA-256 of a folder's path, as Gemini CLI makes it (`getProjectHash` in its `utils/paths.ts`).
#[must_use]
pub fn folder_hash(folder: &str) -> String {
    visuals::digest(folder.as_bytes())
}

/// Claude Code keeps its worktrees inside the repository: `<repository>/.claude/worktrees/<name>`.
fn main_worktree(folder: &str) -> &str {
    folder.find("/.claude/worktrees/").map_or(folder, |at| &folder[..at])
}

/// `github.com/owner/name` out of any form of a remote's URL; `None` for a local path.
#[must_use]
pub fn normalize_remote(url: &str) -> Option<String> {
    let url = url.trim();
    let rest = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.to_owned(),
        // scp's form: user@host:path. A colon behind a slash belongs to a path.
        None => match url.split_once(':') {
            Some((host, path)) if !host.contains('/') && host.len() > 1 => {
                format!("{host}/{}", path.trim_start_matches('/'))
            }
            _ => return None,
        },
    };
    let (host, path) = rest.split_once('/')?;
    let host = host.rsplit('@').next()?;
    // ssh://host:22/path and host without a port are one.
    let host = host.split(':').next()?.to_lowercase();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    (!host.is_empty() && !path.is_empty()).then(|| format!("{host}/{path}"))
}

/// The repository around a folder, read from its files: a log's folder must not make us run a program in it.
fn find_repository(folder: &Path) -> Option<Repository> {
    if !folder.is_absolute() || folder.as_os_str().len() > LONGEST_PATH {
        return None;
    }
    let (root, git) = folder.ancestors().map(|dir| (dir, dir.join(".git"))).find(|(_, git)| git.exists())?;
    if git.is_dir() {
        return Some(Repository { root: text(root)?, remote: origin(&git.join("config")), git });
    }
    // A worktree: `.git` is a file that names its folder in the main repository, which names the common one.
    let link = fs::read_to_string(&git).ok()?;
    let own = resolve(root, link.trim().strip_prefix("gitdir:")?.trim());
    let common = match fs::read_to_string(own.join("commondir")) {
        Ok(common) => resolve(&own, common.trim()),
        Err(_) => own.clone(),
    };
    let main = common.parent().filter(|_| common.ends_with(".git")).unwrap_or(root);
    Some(Repository { root: text(main)?, remote: origin(&common.join("config")), git: own })
}

/// The second column of a reflog: where HEAD went. `<old> <new> <name> <mail> <time> <zone>\t<what was done>`.
fn new_hashes(reflog: &str) -> Vec<String> {
    let hash = |line: &str| line.split(' ').nth(1).filter(|h| is_whole_hash(h)).map(str::to_owned);
    reflog.lines().filter_map(hash).collect()
}

/// SHA-1 or SHA-256, in lower-case hex.
fn is_whole_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn text(path: &Path) -> Option<String> {
    path.to_str().map(str::to_owned)
}

/// Joins and takes `..` out, so that one folder has one name.
fn resolve(base: &Path, path: &str) -> PathBuf {
    let joined = base.join(path);
    fs::canonicalize(&joined).unwrap_or(joined)
}

/// The URL of `origin`, else of the first remote, in a git configuration.
fn origin(config: &Path) -> Option<String> {
    let text = fs::read_to_string(config).ok()?;
    let (mut remote, mut first) = (None, None);
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            remote = line.strip_prefix("[remote \"").and_then(|l| l.strip_suffix("\"]"));
        } else if let (Some(name), Some((key, value))) = (remote, line.split_once('='))
            && key.trim() == "url"
        {
            let value = value.trim().to_owned();
            if name == "origin" {
                return Some(value);
            }
            first.get_or_insert(value);
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_remote_are_one() {
        for url in [
            "https://github.com/Owner/app.git",
            "https://user:token@github.com/Owner/app",
            "git@github.com:Owner/app.git",
            "ssh://git@github.com:22/Owner/app.git",
            "ssh://git@GitHub.com/Owner/app/",
        ] {
            assert_eq!(normalize_remote(url).as_deref(), Some("github.com/Owner/app"), "{url}");
        }
    }

    #[test]
    fn a_local_path_is_no_remote() {
        for url in ["/srv/git/app.git", "../app", "file:///srv/app", "C:\\repos\\app", ""] {
            assert_eq!(normalize_remote(url), None, "{url}");
        }
    }

    #[test]
    fn a_worktree_belongs_to_its_main_repository() {
        let dir = tempfile::tempdir().unwrap();
        let main = dir.path().join("app");
        let own = main.join(".git/worktrees/w");
        fs::create_dir_all(&own).unwrap();
        fs::write(
            main.join(".git/config"),
            "[core]\n[remote \"up\"]\n url = https://a.b/x/y\n[remote \"origin\"]\n\turl = git@a.b:o/app.git\n",
        )
        .unwrap();
        fs::write(own.join("commondir"), "../..\n").unwrap();
        let tree = dir.path().join("w/sub");
        fs::create_dir_all(&tree).unwrap();
        fs::write(dir.path().join("w/.git"), format!("gitdir: {}\n", own.display())).unwrap();
        let found = find_repository(&tree).unwrap();
        assert_eq!(found.remote.as_deref(), Some("git@a.b:o/app.git"));
        assert_eq!(Some(found.root), fs::canonicalize(&main).unwrap().to_str().map(str::to_owned));
        assert_eq!(main_worktree("/r/app/.claude/worktrees/fix"), "/r/app");
    }

    #[test]
    fn the_whole_hash_of_a_commit_is_what_its_repository_remembers() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join(".git/logs");
        fs::create_dir_all(&logs).unwrap();
        let (old, new) = ("0".repeat(40), format!("4be91d7{}", "a".repeat(33)));
        let line = |hash: &str| format!("{old} {hash} Mira <m@x> 1787148202 +0200\tcommit: Add it\n");
        fs::write(logs.join("HEAD"), line(&new) + "4be91d7 no line\n").unwrap();
        let cwd = dir.path().to_str().unwrap();
        let mut resolver = Resolver::default();
        assert_eq!(resolver.whole_hash(cwd, "4be91d7").as_deref(), Some(new.as_str()));
        assert_eq!(resolver.whole_hash(cwd, "5be91d7"), None);
        let other = format!("4be91d7{}", "b".repeat(33));
        fs::write(logs.join("HEAD"), line(&new) + &line(&new) + &line(&other)).unwrap();
        assert_eq!(resolver.whole_hash(cwd, "4be91d7"), None, "two begin so");
        assert_eq!(resolver.whole_hash(cwd, "4be91d7b").as_deref(), Some(other.as_str()));
        assert_eq!(resolver.whole_hash("/nowhere/at/all", "4be91d7"), None);
    }
}
