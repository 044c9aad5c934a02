//! `cogfs log`.

use std::io::{self, Write};
use std::process::ExitCode;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use super::mount::BoxError;
use super::output::{self, printable};
use super::resolve;
use crate::config::Folders;
use crate::curation::Entity;
use crate::model::Millis;
use crate::store::edits::{self, Logged, Origin};
use crate::store::{self, Writer};

const DAY: i64 = 24 * 60 * 60 * 1000;

/// Characters of a value that are shown.
const SHOWN: usize = 60;

/// List what was edited, the latest first: when, from where, what it was before and after
#[derive(Debug, clap::Args)]
pub struct LogArgs {
    /// Only of this commit, session or turn: its id or the beginning of it, or its path in a mount
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// How many days back
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// One edit, as it is printed.
#[derive(Debug, Serialize)]
pub struct Entry {
    pub edit: i64,
    at: String,
    origin: String,
    machine: String,
    kind: &'static str,
    id: String,
    /// Where it lies now, below `projects/`.
    pub path: String,
    action: String,
    before: Value,
    after: Value,
    undoes: Option<i64>,
    undone_by: Option<i64>,
}

impl Entry {
    /// Of an edit of the log.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn of(conn: &Connection, logged: &Logged) -> store::Result<Self> {
        let entity = Entity { kind: logged.kind, row: logged.entity_row };
        Ok(Self {
            edit: logged.seq,
            at: logged.at.iso(),
            origin: logged.origin.clone(),
            machine: logged.machine.clone(),
            kind: logged.kind.as_str(),
            id: logged.entity_id.to_string(),
            path: resolve::place(conn, entity)?,
            action: logged.action.clone(),
            before: logged.before.clone(),
            after: logged.after.clone(),
            undoes: logged.undoes,
            undone_by: logged.undone_by,
        })
    }

    /// `12  title: "a" → "b"`.
    #[must_use]
    pub fn short(&self) -> String {
        format!("{}  {}", self.edit, self.what())
    }

    /// By what way it came; of another machine's, from which.
    fn way(&self) -> String {
        if self.origin == Origin::Sync.as_str() && !self.machine.is_empty() {
            return format!("{} ({})", self.origin, printable(&self.machine));
        }
        self.origin.clone()
    }

    fn what(&self) -> String {
        let both = |what: &str, key: &str| {
            let part = |value: &Value| show(if key.is_empty() { value } else { &value[key] });
            format!("{what}: {} → {}", part(&self.before), part(&self.after))
        };
        match self.action.as_str() {
            "retitle" if self.before["title"] == self.after["title"] => both("name", "name"),
            "retitle" => {
                let title = |value: &Value| match &value["title"] {
                    Value::Null => format!("{} (found)", show(&value["found"])),
                    title => show(title),
                };
                format!("title: {} → {}", title(&self.before), title(&self.after))
            }
            "move" if self.before["project"] == self.after["project"] => both("name", "name"),
            "move" => both("project", "project_name"),
            "rename" => both("name", "name"),
            "delete" => "deleted".to_owned(),
            "restore" => "restored".to_owned(),
            field => both(field, ""),
        }
    }
}

/// A value in a line.
fn show(value: &Value) -> String {
    let cut = |text: &str| match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    };
    // Cut inside the quotes.
    printable(&match value {
        Value::String(text) => Value::from(cut(text)).to_string(),
        other => cut(&other.to_string()),
    })
}

/// Runs `cogfs log`.
///
/// # Errors
/// When there is no such record, or the database cannot be read.
pub fn run(folders: &Folders, args: &LogArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    drop(Writer::open(&layout)?);
    let conn = store::open_reader(&layout)?;
    let of = args.id.as_ref().map(|id| resolve::entity(&conn, id)).transpose()?;
    let since = Millis(Millis::now().0 - i64::from(args.days) * DAY);
    let mut entries = Vec::new();
    for logged in edits::since(&conn, since, of.map(|entity| (entity.kind, entity.row)))? {
        entries.push(Entry::of(&conn, &logged)?);
    }
    if args.json {
        output::json(&entries)?;
    } else {
        print(&entries, args.days)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(entries: &[Entry], days: u32) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if entries.is_empty() {
        let days = output::count(u64::from(days), "day");
        return writeln!(out, "No edits in the last {days}: --days N looks further back.");
    }
    let width = entries.iter().map(|entry| entry.edit.to_string().len()).max().unwrap_or(0);
    let origins = entries.iter().map(|entry| entry.way().chars().count()).max().unwrap_or(0);
    for entry in entries {
        let at = entry.at.get(..19).unwrap_or(&entry.at).replace('T', " ");
        let mark = match (entry.undoes, entry.undone_by) {
            (_, Some(by)) => format!("  (undone by {by})"),
            (Some(undoes), None) => format!("  (undoes {undoes})"),
            (None, None) => String::new(),
        };
        writeln!(out, "{:>width$}  {at}  {:<origins$}  {}{mark}", entry.edit, entry.way(), entry.what())?;
        writeln!(out, "{:width$}  {}", "", printable(&entry.path))?;
    }
    writeln!(out, "\nTimes are UTC. `cogfs undo N` takes an edit back.")
}
