//! The folder tree of OpenCode before 1.2: a file for each session, message and part, below `storage/`.
//!
//! Owns which files make a session. Their ids are those of their paths: earlier versions moved files without rewriting them.
//! Reads below the `storage/` that a session's file lies in, and nothing else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::{self, str_of, with_ids};
use super::{damaged, open_document};
use crate::ingest::record::{Parser, SessionHead};
use crate::ingest::source::Stamp;

/// Folders of a tree that hold no session: there may be hundreds of thousands of files in them.
const ASIDE: [&str; 8] =
    ["message", "migration", "part", "permission", "project", "session_diff", "session_share", "todo"];

/// Whether a folder is one that a walk for sessions passes by.
#[must_use]
pub fn is_aside(dir: &Path) -> bool {
    let in_tree = |storage: &Path| storage.join("session").is_dir() && storage.join("message").is_dir();
    dir.file_name().and_then(|n| n.to_str()).is_some_and(|name| ASIDE.contains(&name))
        && dir.parent().is_some_and(in_tree)
}

/// A session of a tree.
pub struct Session {
    storage: PathBuf,
    file: PathBuf,
    project: String,
    id: String,
}

/// A session read whole.
pub struct Document {
    pub head: SessionHead,
    pub parser: Box<dyn Parser>,
    pub document: Value,
    /// Files that could not be taken, each with the reason.
    pub problems: Vec<String>,
}

impl Session {
    /// The session of a file `storage/session/<project>/<session>.json`; `None` for any other file.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let id = path.file_name()?.to_str()?.strip_suffix(".json")?;
        let folder = path.parent()?;
        let sessions = folder.parent().filter(|dir| dir.file_name().is_some_and(|name| name == "session"))?;
        let storage = sessions.parent()?;
        storage.join("message").is_dir().then(|| Self {
            storage: storage.to_owned(),
            file: path.to_owned(),
            project: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            id: id.to_owned(),
        })
    }

    /// The session's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The folder that a database of a later version lies in.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.storage.parent().unwrap_or(&self.storage)
    }

    /// Whether another session started it. Only the order of an import depends on it.
    #[must_use]
    pub fn is_child(&self) -> bool {
        let info = fs::read(&self.file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        info.is_some_and(|info| str_of(&info, "parentID").is_some())
    }

    /// The bytes of all files of the session, and the latest of their times.
    ///
    /// # Errors
    /// When one of them cannot be looked at.
    pub fn stamp(&self) -> io::Result<Stamp> {
        let mut sum = Stamp::of(&fs::metadata(&self.file)?);
        let mut add = |path: &Path| {
            let stamp = Stamp::of(&fs::metadata(path)?);
            sum.size = sum.size.saturating_add(stamp.size);
            sum.mtime_ns = sum.mtime_ns.max(stamp.mtime_ns);
            io::Result::Ok(())
        };
        for (id, message) in self.messages()? {
            add(&message)?;
            for (_, part) in self.parts(&id)? {
                add(&part)?;
            }
        }
        Ok(sum)
    }

    /// Reads the session as the document that `opencode export` would print; `None` when its file holds none.
    ///
    /// # Errors
    /// When a folder or the session's own file cannot be read.
    pub fn read(&self) -> io::Result<Option<Document>> {
        let Ok(info) = serde_json::from_slice::<Value>(&fs::read(&self.file)?) else { return Ok(None) };
        let ids = [("id", self.id.as_str()), ("projectID", self.project.as_str())];
        let Some(info) = with_ids(info, &ids).filter(|info| record::kind(info) == record::Kind::Session) else {
            return Ok(None);
        };
        let (mut messages, mut problems) = (Vec::new(), Vec::new());
        for (id, path) in self.messages()? {
            let info = one(&path, &[("id", &id), ("sessionID", &self.id)], &mut problems);
            let parts = self.parts(&id)?;
            let parts: Vec<Value> = parts
                .into_iter()
                .filter_map(|(part, path)| {
                    one(&path, &[("id", &part), ("messageID", &id), ("sessionID", &self.id)], &mut problems)
                })
                .collect();
            messages.push(json!({ "info": info, "parts": parts }));
        }
        let document = json!({ "info": info, "messages": messages });
        let (head, parser) = open_document(&document, self.folder());
        Ok(Some(Document { head, parser, document, problems }))
    }

    /// The project's folder. Sessions outside of a repository are of the project `global`, whose folder is `/`.
    fn folder(&self) -> Option<String> {
        let path = self.storage.join("project").join(format!("{}.json", self.project));
        let project: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        str_of(&project, "worktree").filter(|folder| *folder != "/").map(str::to_owned)
    }

    fn messages(&self) -> io::Result<Vec<(String, PathBuf)>> {
        files(&self.storage.join("message").join(&self.id))
    }

    fn parts(&self, message: &str) -> io::Result<Vec<(String, PathBuf)>> {
        files(&self.storage.join("part").join(message))
    }
}

/// The JSON files of a folder by the ids they are named after; none where there is no folder.
fn files(dir: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let Some(id) = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".json")) {
            found.push((id.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads one record; what is damaged is told, and kept as text.
fn one(path: &Path, ids: &[(&str, &str)], problems: &mut Vec<String>) -> Option<Value> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) => {
            problems.push(format!("{}: {e}", path.display()));
            return None;
        }
    };
    let reason = match serde_json::from_slice(&bytes) {
        Ok(value) => match with_ids(value, ids) {
            Some(record) => return Some(record),
            None => "no JSON object".to_owned(),
        },
        Err(e) => e.to_string(),
    };
    problems.push(format!("{}: {reason}", path.display()));
    Some(damaged(ids, &String::from_utf8_lossy(&bytes)))
}
