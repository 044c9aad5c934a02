//! Which files to read: the agents' usual places, or what the user names.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::WalkDir;

use super::antigravity;
use super::collection::{Format, is_zip};
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
    agent_places().into_iter().filter(|d| d.is_dir()).collect()
}

/// The folders that agents would keep their logs in, whether they exist or not: one may be made at any time.
#[must_use]
pub fn agent_places() -> Vec<PathBuf> {
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
    claude.into_iter().chain(codex).chain(opencode).chain(gemini).chain(copilot).collect()
}

/// The folders that programs keep what is asked for by name in, where they exist: of CogCommit, those of all its names.
#[must_use]
pub fn places_of(format: Format) -> Vec<PathBuf> {
    let Some(home) = env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from) else { return Vec::new() };
    let config =
        env::var_os("XDG_CONFIG_HOME").filter(|v| !v.is_empty()).map_or_else(|| home.join(".config"), PathBuf::from);
    let places = match format {
        // The oldest first: where two of them have a conversation, the later one's marks hold.
        Format::CogCommit => {
            [".shipchronicle", ".agentlogs", ".cogcommit", ".tuhnr"].map(|name| home.join(name)).to_vec()
        }
        Format::Cursor => vec![config.join("Cursor/User"), home.join("Library/Application Support/Cursor/User")],
        Format::Antigravity => ["antigravity", "antigravity-cli"].map(|name| home.join(".gemini").join(name)).to_vec(),
        // What was downloaded lies anywhere.
        Format::ChatGpt | Format::ClaudeAi => Vec::new(),
    };
    places.into_iter().filter(|dir| dir.is_dir()).collect()
}

/// The files of a format below the given places, in the order they are to be read.
#[must_use]
pub fn candidates_of(format: Format, places: &[PathBuf]) -> (Vec<Candidate>, Vec<Unreadable>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for place in places {
        match fs::metadata(place) {
            Ok(meta) if meta.is_file() || antigravity::is_root(place) => found.push(candidate(place, &meta, true)),
            Ok(_) => walk_for(format, place, &mut found, &mut unreadable),
            Err(e) => unreadable.push(Unreadable { path: place.clone(), reason: e.to_string() }),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|candidate: &Candidate| seen.insert(candidate.path.clone()));
    (found, unreadable)
}

fn walk_for(format: Format, place: &Path, found: &mut Vec<Candidate>, unreadable: &mut Vec<Unreadable>) {
    let mut entries = WalkDir::new(place).sort_by_file_name().into_iter();
    while let Some(entry) = entries.next() {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {
                if format == Format::Antigravity && antigravity::is_root(entry.path()) {
                    entries.skip_current_dir();
                    found.extend(entry.metadata().ok().map(|meta| candidate(entry.path(), &meta, false)));
                }
            }
            Ok(entry) if entry.file_type().is_file() && is_of(format, entry.path()) => match entry.metadata() {
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

/// Whether a file may hold what is asked for; what it holds decides.
fn is_of(format: Format, path: &Path) -> bool {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    match format {
        Format::CogCommit => name == "data.db",
        Format::Cursor => name == "state.vscdb",
        Format::ChatGpt | Format::ClaudeAi => name.ends_with(".json") || name.ends_with(".zip") && is_zip(path),
        Format::Antigravity => name.ends_with(".json") && !name.ends_with(".metadata.json"),
    }
}

/// The log of each session of Claude Code's that is still there, by the session's id.
#[must_use]
pub fn claude_logs() -> std::collections::HashMap<String, PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let place = env::var_os("CLAUDE_CONFIG_DIR").filter(|v| !v.is_empty()).map(PathBuf::from);
    let Some(place) = place.or_else(|| home.map(|home| home.join(".claude"))) else { return Default::default() };
    let logs = WalkDir::new(place.join("projects")).min_depth(2).max_depth(2).into_iter().flatten();
    let named = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    logs.filter(|entry| entry.file_type().is_file() && entry.path().extension().is_some_and(|e| e == "jsonl"))
        .filter_map(|entry| Some((named(entry.path())?, entry.into_path())))
        .collect()
}

/// The files below the given places, in the order they are to be read: sessions before their subagents, older files before
/// younger ones, so that an original comes before its copies.
#[must_use]
pub fn candidates(places: &[PathBuf]) -> (Vec<Candidate>, Vec<Unreadable>) {
    let (mut found, mut unreadable) = (Vec::new(), Vec::new());
    for place in places {
        match fs::metadata(place) {
            Ok(meta) if meta.is_file() || antigravity::is_root(place) => found.push(candidate(place, &meta, true)),
            Ok(_) => walk(place, &mut found, &mut unreadable),
            Err(e) => unreadable.push(Unreadable { path: place.clone(), reason: e.to_string() }),
        }
    }
    in_order(&mut found);
    (found, unreadable)
}

/// Puts candidates in the order they are to be read, each once.
pub fn in_order(found: &mut Vec<Candidate>) {
    found.sort_by_cached_key(|c| (rank(&c.path), c.modified, c.path.clone()));
    found.dedup_by(|a, b| a.path == b.path);
}

/// The file to import when something changed at `path`, which may be gone; `None` when no log depends on it. A format whose
/// records do not lie in the log itself (a database with a log of its own beside it, a folder of small files) says so here.
#[must_use]
pub fn candidate_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    // What kind of subagent it is stands in a file beside its log.
    if let Some(stem) = name.strip_suffix(".meta.json") {
        return Some(path.with_file_name(format!("{stem}.jsonl")));
    }
    if looks_like_log(path) {
        return Some(path.to_owned());
    }
    // What OpenCode writes comes to its database's own log first.
    if let Some(database) = name.strip_suffix("-wal").map(|name| path.with_file_name(name)) {
        return database::is_named_so(&database).then_some(database);
    }
    // The plain log that a compressed one stood aside for.
    name.strip_suffix(".zst").filter(|plain| plain.ends_with(".jsonl")).map(|plain| path.with_file_name(plain))
}

/// The compressed log that stood aside for a plain one, which is gone.
#[must_use]
pub fn compressed_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str().filter(|name| name.ends_with(".jsonl"))?;
    Some(path.with_file_name(format!("{name}.zst")))
}

/// A file that was found changed.
///
/// # Errors
/// When it is gone.
pub fn candidate_at(path: &Path) -> io::Result<Candidate> {
    Ok(candidate(path, &fs::metadata(path)?, false))
}

fn walk(place: &Path, found: &mut Vec<Candidate>, unreadable: &mut Vec<Unreadable>) {
    // Links are not followed: a loop or a way out of the folder is never walked.
    let entries = WalkDir::new(place).sort_by_file_name().into_iter();
    for entry in entries.filter_entry(|e| !(e.file_type().is_dir() && is_aside(e.path()))) {
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

/// A folder whose files are read with a log that stands elsewhere, which is written anew with each of them: OpenCode's messages
/// and parts.
pub(crate) fn is_aside(dir: &Path) -> bool {
    tree::is_aside(dir)
}

/// In a folder only these are opened; what they hold decides. Compressed logs stand aside for the plain file beside them.
pub(crate) fn looks_like_log(path: &Path) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_the_log_that_depends_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| candidate_of(&dir.path().join(name));
        let at = |name: &str| Some(dir.path().join(name));
        assert_eq!(of("a.jsonl"), at("a.jsonl"));
        assert_eq!(of("rollout.json"), at("rollout.json"));
        assert_eq!(of("agent-1.meta.json"), at("agent-1.jsonl"));
        assert_eq!(of("b.jsonl.zst"), at("b.jsonl.zst"));
        fs::write(dir.path().join("b.jsonl"), "").unwrap();
        assert_eq!(of("b.jsonl.zst"), at("b.jsonl"));
        assert_eq!(of("opencode.db-wal"), at("opencode.db"));
        for other in ["notes.txt", "picture.zst", "a.jsonl.lock", "other.db-wal", ".."] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
