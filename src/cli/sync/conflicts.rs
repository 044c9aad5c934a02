//! `cogfs sync conflicts`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::cli::mount::BoxError;
use crate::cli::output::{self, printable};
use crate::cli::{open_current, resolve};
use crate::curation::{Entity, Origin};
use crate::store::conflicts::{self, Conflict, Side};
use crate::store::{self, Layout, Survives, Writer};
use crate::sync::fields;

#[derive(Debug, clap::Args)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Give the record the value of one side, as an edit that is synced like any other
    Take {
        /// The conflict's number
        #[arg(value_name = "ID")]
        id: i64,
        /// Whose value
        side: Whose,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Whose {
    /// That of this machine
    Local,
    /// That of the other one
    Cloud,
}

/// A conflict, as it is printed.
#[derive(Debug, Serialize)]
struct Entry {
    conflict: i64,
    at: String,
    kind: &'static str,
    id: String,
    /// Where the record lies, below `projects/`.
    path: String,
    field: String,
    base: Value,
    local: Value,
    cloud: Value,
    kept: &'static str,
    /// The name of the other machine; empty: not known.
    machine: String,
}

impl Entry {
    fn of(conn: &Connection, conflict: Conflict) -> store::Result<Self> {
        let entity = Entity { kind: conflict.kind, row: conflict.entity_row };
        Ok(Self {
            conflict: conflict.row,
            at: conflict.at.iso(),
            kind: conflict.kind.as_str(),
            id: conflict.entity_id.to_string(),
            path: resolve::place(conn, entity)?,
            field: conflict.field,
            base: conflict.base,
            local: conflict.local,
            cloud: conflict.cloud,
            kept: conflict.kept.as_str(),
            machine: conflict.machine,
        })
    }
}

/// Runs `cogfs sync conflicts`.
///
/// # Errors
/// When there is no such conflict, its record does not take the value, or the database cannot be used.
pub fn run(layout: &Layout, args: &ConflictsArgs, json: bool) -> Result<ExitCode, BoxError> {
    match &args.what {
        None => list(layout, json)?,
        Some(What::Take { id, side }) => take(layout, *id, *side, json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn list(layout: &Layout, json: bool) -> Result<(), BoxError> {
    let conn = open_current(layout)?;
    let open = conflicts::open(&conn)?.into_iter().map(|conflict| Entry::of(&conn, conflict));
    let entries = open.collect::<store::Result<Vec<_>>>()?;
    if json {
        output::json(&entries)?;
        return Ok(());
    }
    Ok(print(&entries)?)
}

fn print(entries: &[Entry]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if entries.is_empty() {
        return writeln!(out, "No conflicts.");
    }
    for entry in entries {
        let mark = |side| if entry.kept == side { "  (it says this)" } else { "" };
        writeln!(out, "{}  {}  {}", entry.conflict, printable(&entry.path), printable(&entry.field))?;
        writeln!(out, "   local  {}{}", shown(&entry.local), mark("local"))?;
        let by = if entry.machine.is_empty() { String::new() } else { format!("  on {}", printable(&entry.machine)) };
        writeln!(out, "   cloud  {}{by}{}", shown(&entry.cloud), mark("cloud"))?;
    }
    writeln!(out, "\n`cogfs sync conflicts take N local|cloud` gives the record that value.")
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut: String = text.chars().take(80).collect();
    let rest = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{rest}", printable(&cut))
}

fn take(layout: &Layout, id: i64, side: Whose, json: bool) -> Result<(), BoxError> {
    let side = match side {
        Whose::Local => Side::Local,
        Whose::Cloud => Side::Cloud,
    };
    let mut writer = Writer::open(layout)?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    let conflict = conflicts::get(&tx, id)?
        .ok_or_else(|| format!("there is no open conflict {id}: `cogfs sync conflicts` lists them"))?;
    let changed = fields::take_side(&mut tx, Origin::Command, &conflict, side)?;
    tx.commit()?;
    if json {
        output::json(&serde_json::json!({ "conflict": id, "taken": side.as_str(), "changed": changed }))?;
    } else if changed {
        println!("The {} has the {} value now.", conflict.kind.as_str(), side.as_str());
    } else {
        println!("Nothing to change: it is so already. The conflict is closed.");
    }
    Ok(())
}
