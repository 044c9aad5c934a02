//! What is damaged: the logs of the demo, the fixtures and the damaged ones, folder by folder, and a database of OpenCode.

use std::fs;
use std::path::Path;

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params};
use serde_json::Value;

use crate::common;
use crate::mutate::{self, Random};

/// Logs that belong together, by their paths in their folder.
#[derive(Clone)]
pub struct Set {
    pub files: Vec<(String, Vec<u8>)>,
}

impl Set {
    /// One a folder.
    pub fn all() -> Vec<Self> {
        let fixtures = common::fixtures();
        let damaged = fixtures.join("../damaged_logs");
        let mut places: Vec<_> =
            fs::read_dir(fixtures.join("claude_code")).unwrap().map(|e| e.unwrap().path()).collect();
        places.extend(
            ["claude-code", "codex", "gemini", "copilot", "opencode/data", "opencode/export", "chatgpt", "claude-ai"]
                .map(|p| fixtures.join(p)),
        );
        places.extend([common::demo_logs().join("claude"), common::demo_logs().join("codex"), damaged]);
        places.sort();
        places.iter().map(|place| Self::read(place)).collect()
    }

    /// Those that can be compressed.
    pub fn of_lines() -> Vec<Self> {
        Self::all().into_iter().filter(|set| set.files.iter().any(|(name, _)| name.ends_with(".jsonl"))).collect()
    }

    fn read(place: &Path) -> Self {
        let name = |path: &Path| path.strip_prefix(place).unwrap().to_str().unwrap().to_owned();
        let files = common::files(place).into_iter().map(|path| (name(&path), fs::read(&path).unwrap()));
        Self { files: files.collect() }
    }

    /// The same with some of the logs damaged, one at least.
    pub fn damaged(&self, random: &mut Random, most: usize) -> Self {
        let mut set = self.clone();
        let one = random.below(set.files.len());
        let often = 1 + set.files.len() / 4;
        for (n, (_, bytes)) in set.files.iter_mut().enumerate() {
            if n == one || random.one_in(often) {
                *bytes = mutate::log(bytes, random, most);
            }
        }
        set
    }

    /// The same with a change made to every value of every record.
    pub fn with(&self, change: impl Fn(&mut Value)) -> Self {
        let record = |text: &[u8]| match serde_json::from_slice(text) {
            Ok(mut value) => {
                everywhere(&mut value, &change);
                value.to_string().into_bytes()
            }
            Err(_) => text.to_vec(),
        };
        let log = |bytes: &Vec<u8>| match serde_json::from_slice::<Value>(bytes) {
            Ok(_) => record(bytes),
            Err(_) => bytes.split(|b| *b == b'\n').map(record).collect::<Vec<_>>().join(&b'\n'),
        };
        Self { files: self.files.iter().map(|(name, bytes)| (name.clone(), log(bytes))).collect() }
    }

    pub fn write(&self, dir: &Path) {
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

fn everywhere(value: &mut Value, change: &impl Fn(&mut Value)) {
    match value {
        Value::Object(fields) => fields.values_mut().for_each(|value| everywhere(value, change)),
        Value::Array(items) => items.iter_mut().for_each(|value| everywhere(value, change)),
        other => change(other),
    }
}

/// The layout of 1.2 without its constraints, which another version may not have.
const SCHEMA: &str = "
    CREATE TABLE project (id, worktree, time_created, time_updated);
    CREATE TABLE session (id, project_id, parent_id, slug, directory, title, version, share_url, summary_additions,
        summary_deletions, summary_files, summary_diffs, revert, permission, time_created, time_updated,
        time_compacting, time_archived);
    CREATE TABLE message (id, session_id, time_created, time_updated, data);
    CREATE TABLE part (id, message_id, session_id, time_created, time_updated, data);";

/// Writes a database with the sessions of the fixture, damaged in some places.
pub fn opencode_database(path: &Path, random: &mut Random) {
    let conn = Connection::open(path).unwrap();
    conn.pragma_update(None, "journal_mode", if random.one_in(2) { "wal" } else { "delete" }).unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    for name in ["lanterns.json", "timer.json"] {
        let bytes = fs::read(common::fixtures().join("opencode/export").join(name)).unwrap();
        put(&conn, &serde_json::from_slice(&bytes).unwrap(), random);
    }
    for _ in 0..=random.below(6) {
        damage(&conn, random);
    }
    conn.close().unwrap();
    if random.one_in(4) {
        let mut bytes = fs::read(path).unwrap();
        mutate::bytes_of(&mut bytes, random);
        fs::write(path, bytes).unwrap();
    }
}

fn put(conn: &Connection, document: &Value, random: &mut Random) {
    let info = &document["info"];
    let at = |path: &str| info.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let time = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_i64).unwrap_or(1_772_000_000_000);
    conn.execute(
        "INSERT INTO session(id, project_id, parent_id, slug, directory, title, version, time_created, time_updated)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            at("/id"),
            at("/projectID"),
            at("/parentID"),
            at("/slug"),
            at("/directory"),
            at("/title"),
            at("/version"),
            time(info, "/time/created"),
            time(info, "/time/updated"),
        ],
    )
    .unwrap();
    for message in document["messages"].as_array().unwrap() {
        let info = &message["info"];
        let values = (info["id"].as_str(), info["sessionID"].as_str(), time(info, "/time/created"), data(info, random));
        conn.execute("INSERT INTO message VALUES (?1, ?2, ?3, ?3, ?4)", values).unwrap();
        for part in message["parts"].as_array().unwrap() {
            let ids = [&part["id"], &part["messageID"], &part["sessionID"]].map(Value::as_str);
            let sql = "INSERT INTO part VALUES (?1, ?2, ?3, ?4, ?4, ?5)";
            conn.execute(sql, params![ids[0], ids[1], ids[2], time(info, "/time/created"), data(part, random)])
                .unwrap();
        }
    }
}

/// What stands in the column `data`, damaged at times.
fn data(record: &Value, random: &mut Random) -> String {
    let mut data = record.clone();
    for key in ["id", "messageID", "sessionID"] {
        data.as_object_mut().unwrap().remove(key);
    }
    if random.one_in(6) {
        mutate::change(&mut data, &Value::Null, random);
    }
    let mut text = data.to_string().into_bytes();
    if random.one_in(20) {
        mutate::bytes_of(&mut text, random);
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn damage(conn: &Connection, random: &mut Random) {
    let tables = ["session", "message", "part", "project"];
    let table = *random.pick(&tables);
    let columns =
        ["id", "session_id", "message_id", "time_created", "time_updated", "data", "parent_id", "directory", "title"];
    let column = *random.pick(&columns);
    let sql = match random.below(10) {
        0 if random.one_in(3) => format!("DROP TABLE {table}"),
        1 => format!("ALTER TABLE {table} DROP COLUMN {column}"),
        2 => format!("INSERT INTO {table} SELECT * FROM {table} ORDER BY random() LIMIT 2"),
        3 => format!("ALTER TABLE {table} RENAME COLUMN {column} TO other"),
        4 => format!("DELETE FROM {table} WHERE rowid % 3 = {}", random.below(3)),
        5 => format!("UPDATE {table} SET {column} = (SELECT {column} FROM {table} LIMIT 1) WHERE rowid % 2 = 0"),
        _ => {
            let value = match random.below(7) {
                0 => Cell::Null,
                1 => Cell::Blob(vec![0xff, 0, 0xfe, b'{']),
                2 => Cell::Real(*random.pick(&[1e308, -0.0, f64::INFINITY, 1.5])),
                3 => Cell::Integer(*random.pick(&[i64::MIN, i64::MAX, -1, 0])),
                4 => Cell::Blob(b"{\"type\":\"text\",\"text\":\"blob\"}".to_vec()),
                _ => Cell::Text(mutate::odd(random).to_string()),
            };
            let sql = format!("UPDATE {table} SET {column} = ?1 WHERE rowid % ?2 = 0");
            // A column that is gone already has nothing to damage.
            let _ = conn.execute(&sql, params![value, 1 + random.below(4)]);
            return;
        }
    };
    let _ = conn.execute_batch(&sql);
}
