//! The least an import can do, to measure `cogfs import` against: every line of a Claude Code log parsed as JSON, and the rows that
//! are kept of it inserted: turns, the turn of each id, what each message cost, and the lines themselves, compressed. No commits, no
//! sizes, no views, no search, and nothing is looked up.
//!
//! `bare_import [--turns-alone] DATABASE LOG...` prints one JSON object; with `--turns-alone` the turns' texts are all that is kept.
//! Used by `scripts/bench`; must not use the library.

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::time::Instant;

use rusqlite::{Connection, params};
use serde_json::Value;

/// Bytes of log in one transaction, as in `cogfs import`.
const BATCH_BYTES: usize = 16 << 20;

/// Bytes of lines that are compressed together, and how, as in `cogfs import`.
const CHUNK_BYTES: usize = 256 << 10;
const LEVEL: i32 = 1;

const TABLES: &str = "
    CREATE TABLE turns(row INTEGER PRIMARY KEY, id BLOB, role TEXT, at TEXT, text TEXT, input TEXT, output TEXT);
    CREATE TABLE turn_ids(id BLOB PRIMARY KEY, row INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE usage(key BLOB PRIMARY KEY, model TEXT, t1 INTEGER, t2 INTEGER, t3 INTEGER, t4 INTEGER) WITHOUT ROWID;
    CREATE TABLE raw_chunks(session INTEGER, number INTEGER, bytes BLOB, PRIMARY KEY (session, number));";

const INSERT: &str = "INSERT INTO turns(row, id, role, at, text, input, output) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// A row waiting for the result of its tool call.
#[derive(Default)]
struct Row {
    id: [u8; 16],
    at: String,
    role: &'static str,
    text: String,
    input: Option<String>,
    output: Option<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).peekable();
    let turns_alone = args.next_if(|arg| arg == "--turns-alone").is_some();
    let database = args.next().ok_or("usage: bare_import DATABASE LOG...")?;
    let start = Instant::now();
    let conn = Connection::open(database)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "NORMAL")?;
    conn.pragma_update(None, "cache_size", -32_768)?;
    conn.execute_batch(TABLES)?;
    conn.execute_batch("BEGIN")?;
    let (mut bytes, mut records, mut rows, mut pending) = (0, 0_u64, 0_u64, 0);
    for (session, log) in args.enumerate() {
        let mut reader = BufReader::with_capacity(1 << 20, File::open(log)?);
        let mut line = Vec::new();
        let mut turns = Vec::new();
        let mut calls = HashMap::new();
        let (mut raw, mut chunks) = (Vec::new(), 0_i64);
        while reader.read_until(b'\n', &mut line)? > 0 {
            let record: Value = serde_json::from_slice(&line)?;
            add(&record, records, &mut turns, &mut calls);
            if !turns_alone {
                keep_cost(&conn, &record)?;
                raw.extend_from_slice(&line);
                if raw.len() >= CHUNK_BYTES {
                    keep_raw(&conn, session, &mut chunks, &mut raw)?;
                }
            }
            records += 1;
            bytes += line.len();
            pending += line.len();
            line.clear();
        }
        if !raw.is_empty() {
            keep_raw(&conn, session, &mut chunks, &mut raw)?;
        }
        let mut insert = conn.prepare_cached(INSERT)?;
        let mut name = conn.prepare_cached("INSERT OR IGNORE INTO turn_ids(id, row) VALUES (?1, ?2)")?;
        for (number, row) in turns.iter().enumerate() {
            let place = ((session as i64) << 16) + number as i64;
            insert.execute(params![place, row.id, row.role, row.at, row.text, row.input, row.output])?;
            if !turns_alone {
                name.execute(params![row.id, place])?;
            }
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

/// Keeps lines, compressed.
fn keep_raw(conn: &Connection, session: usize, chunks: &mut i64, raw: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
    let bytes = zstd::bulk::compress(raw, LEVEL)?;
    conn.prepare_cached("INSERT INTO raw_chunks(session, number, bytes) VALUES (?1, ?2, ?3)")?.execute(params![
        session as i64,
        *chunks,
        bytes
    ])?;
    *chunks += 1;
    raw.clear();
    Ok(())
}

/// Keeps what a message cost.
fn keep_cost(conn: &Connection, record: &Value) -> Result<(), Box<dyn Error>> {
    let message = &record["message"];
    let (Some(id), Some(usage)) = (message["id"].as_str(), message["usage"].as_object()) else { return Ok(()) };
    let tokens = |key: &str| usage.get(key).and_then(Value::as_i64).unwrap_or(0);
    conn.prepare_cached("INSERT OR REPLACE INTO usage(key, model, t1, t2, t3, t4) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            id.as_bytes(),
            message["model"].as_str(),
            tokens("input_tokens"),
            tokens("output_tokens"),
            tokens("cache_creation_input_tokens"),
            tokens("cache_read_input_tokens")
        ])?;
    Ok(())
}

/// A number for a turn that comes in no order, as ids do.
fn id(record: u64, place: usize) -> [u8; 16] {
    let number = (u128::from(record) << 16 | place as u128) + 1;
    number.wrapping_mul(0xda94_2042_e4dd_58b5_9e37_79b9_7f4a_7c15).to_le_bytes()
}

/// Adds the turns of one record; a tool's result goes to its call.
fn add(record: &Value, number: u64, turns: &mut Vec<Row>, calls: &mut HashMap<String, usize>) {
    let first = turns.len();
    add_turns(record, turns, calls);
    for (place, row) in turns.iter_mut().enumerate().skip(first) {
        row.id = id(number, place);
        record["timestamp"].as_str().unwrap_or_default().clone_into(&mut row.at);
    }
}

fn add_turns(record: &Value, turns: &mut Vec<Row>, calls: &mut HashMap<String, usize>) {
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
