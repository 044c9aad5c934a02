//! The independent reader's part for OpenCode: exports, folder trees and databases, read the plain way.
//!
//! Must not use the library, like all of the reader.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use super::reader::Source;

/// Reads every session under a folder, from whatever holds it.
pub fn read_all(dir: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for path in super::files_named(dir, |name| name.ends_with(".json")) {
        let Ok(value) = serde_json::from_slice::<Value>(&fs::read(&path).unwrap()) else { continue };
        if value["info"]["id"].is_string() && value["messages"].is_array() {
            let mut source = source(&path);
            source.records.push(value["info"].to_string());
            for message in value["messages"].as_array().unwrap() {
                add(&mut source, &message["info"], message["parts"].as_array().unwrap());
            }
            found.push(source);
        }
        let above: Vec<_> = path.ancestors().skip(1).take(3).collect();
        if above.len() == 3 && above[1].ends_with("session") && above[2].join("part").is_dir() {
            found.push(tree(&path, above[2]));
        }
    }
    for path in super::files_named(dir, |name| name.starts_with("opencode") && name.ends_with(".db")) {
        found.extend(database(&path));
    }
    found
}

fn source(path: &Path) -> Source {
    Source { path: path.to_owned(), records: Vec::new(), texts: Vec::new() }
}

/// A message, its parts, and what they say.
fn add(source: &mut Source, info: &Value, parts: &[Value]) {
    source.records.push(info.to_string());
    for part in parts {
        source.records.push(part.to_string());
        let text = match part["type"].as_str() {
            Some("text") if part["synthetic"] != true => part["text"].as_str(),
            Some("reasoning") => part["text"].as_str(),
            Some("tool") => {
                source.texts.extend(part["state"]["input"]["command"].as_str().map(str::to_owned));
                part["state"]["output"].as_str().or(part["state"]["error"].as_str())
            }
            _ => None,
        };
        source.texts.extend(text.map(str::to_owned));
    }
    source.texts.retain(|text| !text.trim().is_empty());
}

fn tree(session: &Path, storage: &Path) -> Source {
    let id = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    let read = |path: &Path, ids: Value| {
        let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        value.as_object_mut().unwrap().extend(ids.as_object().unwrap().clone());
        value
    };
    let json_files = |dir: &Path| if dir.is_dir() { super::files(dir) } else { Vec::new() };
    let session_id = id(session);
    let mut source = source(session);
    for message in json_files(&storage.join("message").join(&session_id)) {
        let message_id = id(&message);
        let parts: Vec<Value> = json_files(&storage.join("part").join(&message_id))
            .iter()
            .map(|path| read(path, json!({"id": id(path), "messageID": message_id, "sessionID": session_id})))
            .collect();
        let info = read(&message, json!({"id": message_id, "sessionID": session_id}));
        add(&mut source, &info, &parts);
    }
    source
}

fn database(path: &Path) -> Vec<Source> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut sessions: BTreeMap<String, Source> = BTreeMap::new();
    let mut messages = db.prepare("SELECT id, session_id, data FROM message").unwrap();
    let mut parts = db.prepare("SELECT id, data FROM part WHERE message_id = ?1").unwrap();
    let mut rows = messages.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (id, session, data): (String, String, String) =
            (row.get(0).unwrap(), row.get(1).unwrap(), row.get(2).unwrap());
        let with = |data: &str, ids: Value| {
            let mut value: Value = serde_json::from_str(data).unwrap();
            value.as_object_mut().unwrap().extend(ids.as_object().unwrap().clone());
            value
        };
        let found: Vec<Value> = parts
            .query_map([&id], |r| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?)))
            .unwrap()
            .map(Result::unwrap)
            .map(|(part, data)| with(&data, json!({"id": part, "messageID": id, "sessionID": session})))
            .collect();
        let info = with(&data, json!({"id": id, "sessionID": session}));
        add(sessions.entry(session).or_insert_with(|| source(path)), &info, &found);
    }
    sessions.into_values().collect()
}
