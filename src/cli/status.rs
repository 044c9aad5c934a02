//! `cogfs status`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use rusqlite::Connection;
use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, bytes, count, printable, thousands};
use super::{resolve, sync};
use crate::cloud::open;
use crate::config::Folders;
use crate::curation::Entity;
use crate::fuse;
use crate::model::Millis;
use crate::store::lock::{Lock, Purpose};
use crate::store::stats::{self, Totals};
use crate::store::{self, Layout, Writer, drafts, outbox, trash};
use crate::sync::{engine, secrets};

/// Tell what the database holds, what waits, and where it is mounted
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Status {
    version: &'static str,
    database: String,
    database_bytes: u64,
    #[serde(flatten)]
    totals: Totals,
    deleted: u64,
    last_import: Option<String>,
    /// A process imports what the agents write.
    following: bool,
    /// Who is logged in, and where.
    account: Option<Account>,
    /// Secrets that were taken out of what was last sent, by kind.
    redacted: BTreeMap<String, u64>,
    /// Records that the cloud did not take, as those above what the account holds.
    refused: u64,
    waiting_edits: u64,
    oldest_waiting: Option<String>,
    drafts: Vec<Draft>,
    mounts: Vec<Mounted>,
}

#[derive(Debug, Serialize)]
struct Account {
    user: String,
    name: String,
    url: String,
    /// The server ended the session.
    login_needed: bool,
}

#[derive(Debug, Serialize)]
struct Draft {
    id: String,
    /// The commit's directory, below `projects/`.
    path: String,
    written_at: String,
    /// Why it cannot be taken as it is; `None`: it is whole.
    refusal: Option<String>,
    /// In each mount.
    file: String,
}

#[derive(Debug, Serialize)]
struct Mounted {
    dir: PathBuf,
    answers: bool,
}

/// Runs `cogfs status`.
///
/// # Errors
/// When the database cannot be read.
pub fn run(folders: &Folders, args: &StatusArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    drop(Writer::open(&layout)?);
    let conn = store::open_reader(&layout)?;
    let status = status(&conn, &layout, account(folders)?)?;
    if args.json {
        output::json(&status)?;
    } else {
        print(&status)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(conn: &Connection, layout: &Layout, account: Option<Account>) -> Result<Status, BoxError> {
    let waiting = outbox::all(conn)?;
    let mounts = fuse::mounts()?.into_iter().map(|mount| Mounted { dir: mount.dir, answers: mount.alive });
    let last_import = store::state(conn, "last_import")?.and_then(|at| at.parse().ok()).map(Millis);
    Ok(Status {
        version: env!("CARGO_PKG_VERSION"),
        database: layout.database().display().to_string(),
        database_bytes: std::fs::metadata(layout.database())?.len(),
        totals: stats::totals(conn)?,
        deleted: trash::all(conn)?.len() as u64,
        last_import: last_import.map(Millis::iso),
        following: Lock::try_take(layout, &Purpose::Follow)?.is_none(),
        account,
        redacted: secrets::last_found(conn)?,
        refused: engine::state(conn)?.refused,
        waiting_edits: waiting.len() as u64,
        oldest_waiting: waiting.iter().map(|w| w.first_at).min().map(Millis::iso),
        drafts: drafts(conn)?,
        mounts: mounts.collect(),
    })
}

/// Who is logged in, as this machine knows: nothing is sent.
fn account(folders: &Folders) -> io::Result<Option<Account>> {
    let session = open::sessions(folders).load()?;
    Ok(session.map(|session| Account {
        user: session.user.to_string(),
        name: session.who(),
        login_needed: session.ended.is_some(),
        url: session.url,
    }))
}

fn drafts(conn: &Connection) -> Result<Vec<Draft>, BoxError> {
    let mut found = Vec::new();
    for draft in drafts::all(conn)? {
        let entity = Entity::commit(draft.commit_row);
        let id = resolve::id(conn, entity)?;
        found.push(Draft {
            path: resolve::place(conn, entity)?,
            written_at: draft.written_at.iso(),
            refusal: draft.refusal,
            file: format!(".cogfs/drafts/{id}.md"),
            id,
        });
    }
    Ok(found)
}

fn print(status: &Status) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut line = |what: &str, text: String| writeln!(out, "{what:<10}{text}");
    let totals = &status.totals;
    line("database", format!("{} ({})", status.database, bytes(status.database_bytes)))?;
    line(
        "holds",
        format!(
            "{}, {}, {}, {}",
            count(totals.projects, "project"),
            count(totals.commits, "commit"),
            count(totals.sessions, "session"),
            count(totals.turns, "turn")
        ),
    )?;
    if status.deleted > 0 {
        line("deleted", format!("{} (`cogfs trash` lists it)", thousands(status.deleted)))?;
    }
    let short = |at: &str| at.get(..19).unwrap_or(at).replace('T', " ");
    line(
        "imported",
        status.last_import.as_ref().map_or_else(|| "never".to_owned(), |at| format!("{} UTC", short(at))),
    )?;
    let following = if status.following { "the agents' logs" } else { "nothing: `cogfs mount` or `cogfs watch` does" };
    line("follows", following.to_owned())?;
    let account = status.account.as_ref().map(|account| {
        let again = if account.login_needed { ": log in again with `cogfs login`" } else { "" };
        format!("{} at {}{again}", printable(&account.name), printable(&account.url))
    });
    line("account", account.unwrap_or_else(|| "none (local only)".to_owned()))?;
    if !status.redacted.is_empty() {
        line("redacted", format!("{} in what was last sent", sync::kinds(&status.redacted)))?;
    }
    let oldest = status.oldest_waiting.as_ref().map(|at| format!(", since {} UTC", short(at))).unwrap_or_default();
    line("edits", format!("{} waiting for the cloud{oldest}", count(status.waiting_edits, "record")))?;
    if status.refused > 0 {
        let refused = count(status.refused, "record");
        line("refused", format!("{refused} by the cloud (`cogfs sync status` lists them)"))?;
    }
    for mount in &status.mounts {
        let state = if mount.answers { "" } else { " does not answer: `cogfs unmount` clears it" };
        line("mounted", format!("{}{state}", printable(&mount.dir.display().to_string())))?;
    }
    if status.mounts.is_empty() {
        line("mounted", "nowhere".to_owned())?;
    }
    for draft in &status.drafts {
        let why = draft.refusal.as_ref().map(|why| format!(": {}", printable(why))).unwrap_or_default();
        line("draft", format!("{} ({} UTC{why})", printable(&draft.path), short(&draft.written_at)))?;
        line("", format!("it is {} of a mount: copy it over meta.md to use it, or remove it", draft.file))?;
    }
    Ok(())
}
