//! `state.vscdb`: the key-value databases of Cursor's editor, of a workspace and of all of them.
//!
//! Owns which rows are read: those whose keys are named here, and no others. The same tables hold login tokens: the database is
//! opened where it is, for reading alone, and never copied.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value, json};

use super::{Conversation, head, millis, said, str_of, without_secrets};
use crate::ingest::collection::{Collection, Entry, Format, Found, stamp};
use crate::ingest::foreign::{self, Opened, columns, failed, text};
use crate::ingest::source::Stamp;

/// Rows of `ItemTable` that are read, and of `cursorDiskKV`, the beginnings of their keys.
const TABS: &str = "workbench.panel.aichat.view.aichat.chatdata";
const COMPOSERS: &str = "composer.composerData";
const PROMPTS: &str = "aiService.prompts";
const GENERATIONS: &str = "aiService.generations";
const COMPOSER: &str = "composerData:";
const BUBBLE: &str = "bubbleId:";

/// A longer value is passed over, and told.
const LONGEST: i64 = 128 * 1024 * 1024;

/// `state.vscdb`, and the copy that the editor keeps of it.
#[must_use]
pub fn is_named_so(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("state.vscdb"))
}

/// A database of Cursor's.
pub struct Database {
    path: PathBuf,
}

impl Database {
    #[must_use]
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

impl Collection for Database {
    fn format(&self) -> Format {
        Format::Cursor
    }

    fn read(&mut self, known: &HashSet<u64>, give: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
        let opened = Opened::open_in_place(&self.path)?;
        let stamp = foreign::stamp(&self.path)?;
        if opened.unread() > 0 {
            let reason = format!(
                "{} bytes of its write-ahead log were not read, which Cursor left when it ended: start and quit it, then import again",
                opened.unread()
            );
            if !give(Found::Skipped(String::new(), reason)) {
                return Ok(());
            }
        }
        let folders = folders(&self.path);
        let mut reading =
            Reading { conn: opened.conn(), path: &self.path, stamp, known, folders, said: HashSet::new(), give };
        reading.all().map_err(failed)?;
        opened.check()
    }
}

struct Reading<'a> {
    conn: &'a Connection,
    path: &'a Path,
    stamp: Stamp,
    known: &'a HashSet<u64>,
    folders: Folders,
    /// Hashes of the prompts that were given.
    said: HashSet<String>,
    give: &'a mut dyn FnMut(Found) -> bool,
}

impl Reading<'_> {
    fn all(&mut self) -> rusqlite::Result<()> {
        let has =
            |table| columns(self.conn, table).map(|c| c.iter().any(|c| c == "key") && c.iter().any(|c| c == "value"));
        let (items, pairs) = (has("ItemTable")?, has("cursorDiskKV")?);
        if items && !(self.tabs()? && self.composers()?) {
            return Ok(());
        }
        if pairs && !self.rows()? {
            return Ok(());
        }
        if items {
            self.prompts()?;
        }
        Ok(())
    }

    /// A value by its key, as JSON; what is wrong with it is told.
    fn value(&mut self, table: &str, key: &str) -> rusqlite::Result<Option<Value>> {
        let sql = format!("SELECT value, length(value) FROM {table} WHERE key = ?1");
        let found = self
            .conn
            .prepare_cached(&sql)?
            .query_row([key], |row| {
                let length: i64 = row.get::<_, Option<i64>>(1)?.unwrap_or_default();
                let bytes = match row.get_ref(0)? {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) if length <= LONGEST => bytes,
                    _ => b"",
                };
                Ok((length, serde_json::from_slice(bytes).map_err(|e| e.to_string())))
            })
            .optional()?;
        match found {
            None | Some((0, _)) => Ok(None),
            Some((_, Ok(value))) => Ok(Some(value)),
            Some((length, _)) if length > LONGEST => {
                (self.give)(Found::Skipped(key.to_owned(), format!("longer than {} MiB", LONGEST >> 20)));
                Ok(None)
            }
            Some((_, Err(reason))) => {
                (self.give)(Found::Skipped(key.to_owned(), reason));
                Ok(None)
            }
        }
    }

    /// The chats of 2024.
    fn tabs(&mut self) -> rusqlite::Result<bool> {
        let Some(mut data) = self.value("ItemTable", TABS)? else { return Ok(true) };
        for mut tab in list(data.get_mut("tabs")) {
            let id = str_of(&tab, "tabId").unwrap_or_default().to_owned();
            let bubbles = list(tab.get_mut("bubbles"));
            if !self.conversation(&id, tab, bubbles, "lastSendTime") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The composers of a workspace: whole ones in 2024, names for those of the other database later.
    fn composers(&mut self) -> rusqlite::Result<bool> {
        let Some(mut data) = self.value("ItemTable", COMPOSERS)? else { return Ok(true) };
        for mut composer in list(data.get_mut("allComposers")) {
            let id = str_of(&composer, "composerId").unwrap_or_default().to_owned();
            let bubbles = list(composer.get_mut("conversation"));
            if !bubbles.is_empty() && !self.conversation(&id, composer, bubbles, "lastUpdatedAt") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The composers since 2025, each with its bubbles.
    fn rows(&mut self) -> rusqlite::Result<bool> {
        // Keys alone: each value is read when it is its turn.
        let keys: Vec<String> = self
            .conn
            .prepare("SELECT key FROM cursorDiskKV WHERE key >= ?1 AND key < ?2 ORDER BY key")?
            .query_map([COMPOSER, "composerData;"], |row| text(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        for key in keys {
            let Some(mut composer) = self.value("cursorDiskKV", &key)? else { continue };
            let id = key[COMPOSER.len()..].to_owned();
            let mut bubbles = list(composer.get_mut("conversation"));
            let headers = list(composer.get_mut("fullConversationHeadersOnly"));
            let map = composer.get_mut("conversationMap").map(Value::take).unwrap_or_default();
            for header in headers {
                let Some(bubble) = str_of(&header, "bubbleId") else { continue };
                match self.value("cursorDiskKV", &format!("{BUBBLE}{id}:{bubble}"))? {
                    Some(value) => bubbles.push(value),
                    None => bubbles.extend(map.get(bubble).cloned()),
                }
            }
            if !bubbles.is_empty() && !self.conversation(&id, composer, bubbles, "lastUpdatedAt") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Prompts that are in no conversation any more.
    fn prompts(&mut self) -> rusqlite::Result<()> {
        let (mut prompts, mut generations) = (self.value("ItemTable", PROMPTS)?, self.value("ItemTable", GENERATIONS)?);
        let times: BTreeMap<String, i64> = list(generations.as_mut())
            .iter()
            .filter_map(|made| Some((str_of(made, "textDescription")?.to_owned(), made.get("unixMs")?.as_i64()?)))
            .collect();
        let folder = self.path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
        let mut left = Vec::new();
        for prompt in list(prompts.as_mut()) {
            let Some(text) = str_of(&prompt, "text").filter(|text| !text.trim().is_empty()) else { continue };
            if self.said.insert(text.trim().to_owned()) {
                let at = times.get(text).copied();
                left.push(json!({ "type": 1, "text": text, "unixMs": at, "prompt": prompt }));
            }
        }
        if !left.is_empty() {
            let header = json!({ "name": "Prompts without a conversation" });
            self.conversation(&format!("prompts-{folder}"), header, left, "");
        }
        Ok(())
    }

    /// Gives a conversation; false when the taker has enough.
    fn conversation(&mut self, id: &str, mut about: Value, bubbles: Vec<Value>, written: &str) -> bool {
        for bubble in &bubbles {
            self.said.insert(said(bubble, &["text"]).trim().to_owned());
        }
        if id.is_empty() {
            return (self.give)(Found::Skipped("a conversation".to_owned(), "it has no id".to_owned()));
        }
        if let Some(about) = about.as_object_mut() {
            without_secrets(about);
            about.retain(|key, value| {
                !(value.is_null()
                    && ["conversation", "bubbles", "fullConversationHeadersOnly", "conversationMap"]
                        .contains(&key.as_str()))
            });
            // What tells it from a bubble.
            about.remove("type");
        }
        let written = millis(about.get(written)).or_else(|| millis(about.get("createdAt")));
        let document = Value::Object(Map::from_iter([
            ("conversation".to_owned(), about),
            ("bubbles".to_owned(), Value::Array(bubbles)),
        ]));
        let bytes = document.to_string();
        let stamp = stamp(&[bytes.as_bytes()], written, self.stamp);
        if self.known.contains(&stamp.size) {
            return (self.give)(Found::Unchanged(bytes.len() as u64));
        }
        let parser = Conversation::open(id, &document, self.folders.of(id), written);
        (self.give)(Found::Conversation(Box::new(Entry {
            id: id.to_owned(),
            stamp,
            head: head(id),
            parser,
            document,
            problems: Vec::new(),
            bytes: bytes.len() as u64,
        })))
    }
}

/// A list, taken out of where it stands.
fn list(value: Option<&mut Value>) -> Vec<Value> {
    match value.map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Which folders conversations are about.
struct Folders {
    /// The workspace's, for a workspace's database.
    own: Option<String>,
    /// By conversation, for the one of all workspaces: each workspace's says which are its own.
    by_id: BTreeMap<String, String>,
}

impl Folders {
    fn of(&self, id: &str) -> Option<String> {
        self.by_id.get(id).or(self.own.as_ref()).cloned()
    }
}

/// `workspaceStorage/<hash>/workspace.json` beside a workspace's database; `../workspaceStorage/*/` of the one of all.
fn folders(path: &Path) -> Folders {
    let mut folders = Folders { own: path.parent().and_then(workspace), by_id: BTreeMap::new() };
    let Some(all) = path.parent().filter(|dir| dir.ends_with("globalStorage")).and_then(Path::parent) else {
        return folders;
    };
    for entry in fs::read_dir(all.join("workspaceStorage")).into_iter().flatten().flatten() {
        let Some(folder) = workspace(&entry.path()) else { continue };
        // What is wrong with one workspace costs the folders of its conversations.
        for id in composers_of(&entry.path().join("state.vscdb")).unwrap_or_default() {
            folders.by_id.insert(id, folder.clone());
        }
    }
    folders
}

fn composers_of(path: &Path) -> io::Result<Vec<String>> {
    let opened = Opened::open_in_place(path)?;
    let bytes: Option<Vec<u8>> = opened
        .conn()
        .query_row("SELECT CAST(value AS BLOB) FROM ItemTable WHERE key = ?1", [COMPOSERS], |row| row.get(0))
        .optional()
        .map_err(failed)?
        .flatten();
    let data: Value = serde_json::from_slice(&bytes.unwrap_or_default()).unwrap_or_default();
    let composers = data.get("allComposers").and_then(Value::as_array).into_iter().flatten();
    Ok(composers.filter_map(|composer| str_of(composer, "composerId").map(str::to_owned)).collect())
}

/// The folder of a workspace. Of one on another machine, the path there.
fn workspace(dir: &Path) -> Option<String> {
    let about: Value = serde_json::from_slice(&fs::read(dir.join("workspace.json")).ok()?).ok()?;
    let address = url::Url::parse(str_of(&about, "folder").or_else(|| str_of(&about, "workspace"))?).ok()?;
    let path: Vec<u8> = unescaped(address.path());
    let path = String::from_utf8(path).ok()?;
    // `/c:/Users/...`
    let drive = path.as_bytes().get(1..3).is_some_and(|two| two[0].is_ascii_alphabetic() && two[1] == b':');
    Some(if drive { path[1..].to_owned() } else { path }).filter(|path| path.len() > 1)
}

/// `%20` and the like.
fn unescaped(path: &str) -> Vec<u8> {
    let bytes = path.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}
