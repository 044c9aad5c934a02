//! Which files to read: the agents' usual places, or what the user names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::opencode::{database, tree};

/// A file to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub path: PathBuf,
    pub size: u64,
    pub modified: SystemTime,
    /// The user named this very file: that it is no log is worth telling.
    pub named: bool,
}

/// A place that could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub path: PathBuf,
    pub reason: String,
}

/// The folders that agents keep their logs in, where they exist.
#[must_use]
pub fn usual_places() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let of = |variable: &str, folder: &str| {
        env::var_os(variable)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
            .or_else(|| home.as_ref().map(|home| home.join(folder)))
    };
    let claude = of("CLAUDE_CONFIG_DIR", ".claude").map(|d| vec![d.join("projects")]).unwrap_or_default();
    let codex =
        of("CODEX_HOME", ".codex").map(|d| vec![d.join("sessions"), d.join("archived_sessions")]).unwrap_or_default();
    // On every system, macOS too.
    let opencode = of("XDG_DATA_HOME", ".local/share").map(|d| d.join("opencode"));
    // GEMINI_CLI_HOME stands for the home folder, not for `.gemini` itself (Gemini CLI's reference of its configuration).
    let gemini = of("GEMINI_CLI_HOME", "").map(|d| vec![d.join(".gemini/tmp")]).unwrap_or_default();
    let copilot = of("COPILOT_HOME", ".copilot").map(|d| vec![d.join("session-state")]).unwrap_or_default();
    claude.into_iter().chain(codex).chain(opencode).chain(gemini).chain(copilot).filter(|d| d.is_dir()).collect()
}

/// The files below the given places, in the order they are to be read: sessions before their subagents, older files before
/// younger ones, so that an original comes before its copies.
#[must_use]
pub fn candidates(places: &[PathBuf]) -> (Vec<Candidate>, Vec<Unreadable>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for place in places {
        match fs::metadata(place) {
            Ok(meta) if meta.is_file() => found.push(candidate(place, &meta, true)),
            Ok(_) => walk(place, &mut found, &mut unreadable),
            Err(e) => unreadable.push(Unreadable { path: place.clone(), reason: e.to_string() }),
        }
    }
    found.sort_by_cached_key(|c| (rank(&c.path), c.modified, c.path.clone()));
    found.dedup_by(|a, b| a.path == b.path);
    (found, unreadable)
}

fn walk(place: &Path, found: &mut Vec<Candidate>, unreadable: &mut Vec<Unreadable>) {
    // Links are not followed: a loop or a way out of the folder is never walked.
    let entries = WalkDir::new(place).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|e| !(e.file_type().is_dir() && tree::is_aside(e.path()))) {
        match entry {
            Ok(entry) if entry.file_type().is_file() && looks_like_log(entry.path()) => match entry.metadata() {
                Ok(meta) => found.push(candidate(entry.path(), &meta, false)),
                Err(e) => unreadable.push(Unreadable { path: entry.path().to_owned(), reason: e.to_string() }),
            },
            Ok(_) => {}
            Err(e) => unreadable.push(Unreadable {
                path: e.path().unwrap_or(place).to_owned(),
                reason: e.io_error().map_or_else(|| e.to_string(), ToString::to_string),
            }),
        }
    }
}

fn candidate(path: &Path, meta: &fs::Metadata, named: bool) -> Candidate {
    Candidate {
        // One file has one path, however it was named.
        path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        size: meta.len(),
        modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        named,
    }
}

/// In a folder only these are opened; what they hold decides. Compressed logs stand aside for the plain file beside them.
fn looks_like_log(path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if let Some(plain) = name.strip_suffix(".zst") {
        return plain.ends_with(".jsonl") && !path.with_file_name(plain).exists();
    }
    (name.ends_with(".jsonl") || name.ends_with(".json")) && !name.ends_with(".meta.json")
        || database::is_named_so(path)
}

/// Logs, then subagents, then sessions of a folder tree that a database may have taken over, then their subagents.
fn rank(path: &Path) -> u8 {
    match tree::Session::at(path) {
        Some(session) => 2 + u8::from(session.is_child()),
        None => u8::from(is_subagent(path)),
    }
}

/// Only the order depends on it: a subagent that comes first finds its parent at the end of the import.
fn is_subagent(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("agent-"))
        || path.components().any(|c| c.as_os_str() == "subagents")
        // Gemini CLI: `chats/<session>/<subagent>.jsonl`.
        || path.ancestors().nth(2).is_some_and(|dir| dir.ends_with("chats"))
}
