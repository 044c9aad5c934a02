//! The least an import can do, to measure `cogfs import` against: every line of a Claude Code log parsed as JSON, and what it
//! says inserted into one plain table. No turns, no commits, no sizes, no search, no raw records.
//!
//! `bare_import DATABASE LOG...` prints one JSON object. Used by `scripts/bench`; must not use the library.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Instant;

use rusqlite::{Connection, params};
use serde_json::Value;

/// Bytes of log in one transaction, as in `cogfs import`.
const BATCH_BYTES: usize = 16 << 20;

const INSERT: &str = "INSERT INTO turns(session, number, role, text, input, output) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

/// A row waiting for the result of its tool call.
#[derive(Default)]
struct Row {
    role: &'static str,
    text: String,
    input: Option<String>,
    output: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1);
    let database = args.next().ok_or("usage: bare_import DATABASE LOG...")?;
    let start = Instant::now();
    let conn = Connection::open(database)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    conn.execute_batch(
        "CREATE TABLE turns(session INTEGER, number INTEGER, role TEXT, text TEXT, input TEXT, output TEXT); BEGIN",
    )?;
    let (mut bytes, mut records, mut rows, mut pending) = (0, 0_u64, 0_u64, 0);
    for (session, log) in args.enumerate() {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(log)?);
        let mut line = Vec::new();
        let mut turns = Vec::new();
        let mut calls = HashMap::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            add(&serde_json::from_slice(&line)?, &mut turns, &mut calls);
            records += 1;
            bytes += line.len();
            pending += line.len();
            line.clear();
        }
        let mut insert = conn.prepare_cached(INSERT)?;
        for (number, row) in turns.iter().enumerate() {
            insert.execute(params![session as i64, number as i64, row.role, row.text, row.input, row.output])?;
            rows += 1;
        }
        if pending >= BATCH_BYTES {
            conn.execute_batch("COMMIT; BEGIN")?;
            pending = 0;
        }
    }
    conn.execute_batch("COMMIT")?;
    conn.close().map_err(|(_, error)| error)?;
    let seconds = start.elapsed().as_secs_f64();
    println!(r#"{{"seconds": {seconds}, "records": {records}, "rows": {rows}, "bytes": {bytes}}}"#);
    Ok(())
}

/// Adds the turns of one record; a tool's result goes to its call.
fn add(record: &Value, turns: &mut Vec<Row>, calls: &mut HashMap<String, usize>) {
    let role = if record["type"] == "assistant" { "assistant" } else { "user" };
    match &record["message"]["content"] {
        Value::String(text) => turns.push(Row { role, text: text.clone(), ..Row::default() }),
        Value::Array(blocks) => {
            for block in blocks {
                add_block(block, role, turns, calls);
            }
        }
        _ => {}
    }
}

fn add_block(block: &Value, role: &'static str, turns: &mut Vec<Row>, calls: &mut HashMap<String, usize>) {
    let text = |key: &str| block[key].as_str().unwrap_or_default().to_owned();
    match block["type"].as_str() {
        Some("text") => turns.push(Row { role, text: text("text"), ..Row::default() }),
        Some("thinking") => turns.push(Row { role: "thinking", text: text("thinking"), ..Row::default() }),
        Some("tool_use") => {
            calls.insert(text("id"), turns.len());
            turns.push(Row { role: "tool", input: Some(block["input"].to_string()), ..Row::default() });
        }
        Some("tool_result") => {
            let call = calls.get(block["tool_use_id"].as_str().unwrap_or_default());
            if let Some(row) = call.and_then(|call| turns.get_mut(*call)) {
                row.output = Some(text("content"));
            }
        }
        _ => {}
    }
}
