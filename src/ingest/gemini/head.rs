//! Whose recording it is, and of which folder. Reads Gemini CLI's own notes of that beside the recording; nothing else.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::content::str_of;
use crate::ingest::project::folder_hash;
use crate::ingest::record::SessionHead;
use crate::model::Agent;

/// More than any of the notes seen: one line for each project.
const NOTE_LIMIT: u64 = 4 * 1024 * 1024;

/// Tells a recording by its first records, and reads whose it is.
pub(super) fn recognise(path: &Path, head: &[Value]) -> Option<SessionHead> {
    let header = head.iter().find(|r| is_header(r));
    if header.is_none() && !head.iter().any(is_own) {
        return None;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.split(".json").next().unwrap_or_default();
    let session = header.and_then(|h| str_of(h, "sessionId")).unwrap_or(stem);
    let parent = header.filter(|h| str_of(h, "kind") == Some("subagent")).and_then(|_| parent_folder(path));
    let native_id = parent.map_or_else(|| session.to_owned(), |parent| subagent_native(parent, session));
    let parent = parent.map(str::to_owned);
    Some(SessionHead { agent: Agent::Gemini, native_id, parent, subagent_kind: None, description: None })
}

/// Codex's and Claude Code's records have a type.
fn is_header(record: &Value) -> bool {
    str_of(record, "sessionId").is_some() && str_of(record, "projectHash").is_some() && record.get("type").is_none()
}

/// What no other agent writes, in a recording whose header is lost.
fn is_own(record: &Value) -> bool {
    let answer = str_of(record, "type") == Some("gemini")
        && str_of(record, "id").is_some()
        && ["content", "toolCalls"].iter().any(|key| record.get(*key).is_some());
    answer || record.get("$set").is_some_and(Value::is_object) || str_of(record, "$rewindTo").is_some()
}

/// The native id of a subagent.
pub(super) fn subagent_native(parent: &str, id: &str) -> String {
    format!("{parent}/agent-{id}")
}

/// A subagent's recording lies in a folder with the name of its parent's session: `chats/<session>/<id>.jsonl`.
fn parent_folder(path: &Path) -> Option<&str> {
    let folder = path.parent()?;
    if !folder.parent()?.ends_with("chats") {
        return None;
    }
    folder.file_name()?.to_str()
}

/// The folders that the notes beside a recording name.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// The folder that the recording's own is for: `.project_root` in it, or its name in `projects.json`.
    own: Option<String>,
    all: Vec<String>,
}

impl Folders {
    /// The folder of a project by its hash; where that is not known, the one that the recording lies under.
    pub(super) fn of(&self, hash: Option<&str>) -> Option<String> {
        let known = self.own.iter().chain(&self.all);
        let of_hash = hash.and_then(|hash| known.into_iter().find(|folder| folder_hash(folder) == hash));
        of_hash.or(self.own.as_ref()).cloned()
    }
}

/// Reads the notes: `<.gemini>/projects.json` and `<.gemini>/tmp/<project>/.project_root` (since early 2026,
/// `packages/core/src/config/projectRegistry.ts` of Gemini CLI). Folders named by a hash have none.
pub(super) fn folders(path: &Path) -> Folders {
    let Some(own) = path.ancestors().find(|dir| dir.ends_with("chats")).and_then(Path::parent) else {
        return Folders::default();
    };
    let root = note(&own.join(".project_root")).map(|text| text.trim().to_owned()).filter(|root| !root.is_empty());
    let registry = own.ancestors().nth(2).and_then(|dir| note(&dir.join("projects.json")));
    let registry: Value = registry.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let none = Map::new();
    let projects = registry.get("projects").and_then(Value::as_object).unwrap_or(&none);
    let name = own.file_name().and_then(|name| name.to_str());
    let named = projects.iter().find(|(_, short)| short.as_str() == name).map(|(folder, _)| folder.clone());
    Folders { own: root.or(named), all: projects.keys().cloned().collect() }
}

fn note(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(NOTE_LIMIT).read_to_string(&mut text).ok()?;
    Some(text)
}
