//! The pictures' files beside the database: which are missing or damaged, which nothing refers to, and bringing back from the
//! raw records what is missing. Never deletes one.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::ingest::record::decode_base64;
use crate::store::{Layout, Result, raw, sessions, visuals};

/// A picture whose file is not there as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    pub sha256: String,
    pub file_name: String,
    #[serde(skip)]
    session_row: i64,
}

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// They are there, with the right number of bytes.
    Sizes,
    /// Their bytes are the right ones.
    Bytes,
}

/// The pictures whose files are missing or damaged, and the files that no picture refers to.
///
/// # Errors
/// When the database cannot be read.
pub fn compare(conn: &Connection, layout: &Layout, look: Look) -> Result<(Vec<Missing>, Vec<String>)> {
    let mut query = conn.prepare(
        "SELECT sha256, min(bytes), min(turn_row) >> 16, min(file_name),
                 EXISTS (SELECT 1 FROM visuals o JOIN sessions s ON s.row = o.turn_row >> 16
                         WHERE o.sha256 = v.sha256 AND s.contents = 0)
             FROM visuals v GROUP BY sha256",
    )?;
    let mut rows = query.query([])?;
    let (mut missing, mut known) = (Vec::new(), HashSet::new());
    while let Some(row) = rows.next()? {
        let (sha256, bytes): (String, u64) = (row.get(0)?, row.get(1)?);
        // One of another machine is fetched when it is looked at.
        let may_be_elsewhere = !row.get::<_, bool>(4)?;
        let is_absent = visuals::is_digest(&sha256) && !layout.blob(&sha256).exists();
        let is_elsewhere = may_be_elsewhere && is_absent;
        if !is_elsewhere && !is_there(layout, &sha256, bytes, look) {
            missing.push(Missing { sha256: sha256.clone(), file_name: row.get(3)?, session_row: row.get(2)? });
        }
        known.insert(sha256);
    }
    Ok((missing, unreferenced(layout, &known)))
}

fn is_there(layout: &Layout, sha256: &str, bytes: u64, look: Look) -> bool {
    if !visuals::is_digest(sha256) {
        return false;
    }
    let path = layout.blob(sha256);
    match look {
        Look::Sizes => fs::metadata(path).is_ok_and(|m| m.len() == bytes),
        Look::Bytes => fs::read(path).is_ok_and(|found| visuals::digest(&found) == sha256),
    }
}

/// A damaged row must not become a path.
/// Paths below the blobs' folder that no row names, sorted.
fn unreferenced(layout: &Layout, known: &HashSet<String>) -> Vec<String> {
    let folders = fs::read_dir(layout.blobs()).into_iter().flatten().filter_map(std::result::Result::ok);
    let mut found: Vec<String> = folders
        .flat_map(|folder| fs::read_dir(folder.path()).into_iter().flatten())
        .filter_map(std::result::Result::ok)
        .filter(|file| !known.contains(&*file.file_name().to_string_lossy()))
        .map(|file| file.path().to_string_lossy().into_owned())
        .collect();
    found.sort();
    found
}

/// Brings pictures back out of the raw records of the sessions they are in; those that stay missing.
///
/// # Errors
/// When the database cannot be read or a file not written.
pub fn restore(conn: &Connection, layout: &Layout, missing: Vec<Missing>) -> Result<Vec<Missing>> {
    let mut by_session: HashMap<i64, BTreeSet<String>> = HashMap::new();
    for picture in missing.iter().filter(|p| visuals::is_digest(&p.sha256)) {
        by_session.entry(picture.session_row).or_default().insert(picture.sha256.clone());
    }
    let mut restored = HashSet::new();
    for (row, mut wanted) in by_session {
        let Some(session) = sessions::get(conn, row)? else { continue };
        // A part's records may lie with the part before or behind it.
        let others = sessions::parts(conn, session.agent, &session.native_id)?.into_iter().map(|s| s.row);
        for part in std::iter::once(row).chain(others.filter(|other| *other != row)) {
            if wanted.is_empty() {
                break;
            }
            restore_from(conn, layout, part, &mut wanted, &mut restored)?;
        }
    }
    Ok(missing.into_iter().filter(|p| !restored.contains(&p.sha256)).collect())
}

fn restore_from(
    conn: &Connection,
    layout: &Layout,
    session_row: i64,
    wanted: &mut BTreeSet<String>,
    restored: &mut HashSet<String>,
) -> Result<()> {
    let mut outcome = Ok(());
    raw::for_each_chunk(conn, session_row, |chunk| {
        // Chunks end where records end.
        for record in chunk.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            if wanted.is_empty() || outcome.is_err() {
                return;
            }
            let Ok(record) = serde_json::from_slice::<Value>(record) else { continue };
            for_each_text(&record, &mut |text| {
                if let Some((sha256, bytes)) = picture(text).filter(|(sha256, _)| wanted.contains(sha256)) {
                    outcome = visuals::replace_blob(layout, &sha256, &bytes);
                    if outcome.is_ok() {
                        wanted.remove(&sha256);
                        restored.insert(sha256);
                    }
                }
            });
        }
    })?;
    outcome
}

/// A text as a picture: base64, maybe behind the head of a data URL.
fn picture(text: &str) -> Option<(String, Vec<u8>)> {
    let data = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")).map_or(text, |(_, data)| data);
    let bytes = decode_base64(data)?;
    Some((visuals::digest(&bytes), bytes))
}

fn for_each_text(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(values) => values.iter().for_each(|v| for_each_text(v, each)),
        Value::Object(fields) => fields.values().for_each(|v| for_each_text(v, each)),
        _ => {}
    }
}
