//! `cogfs status`.

mod health;

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use super::mount::BoxError;
use super::output::{self, bytes, count, printable, thousands};
use super::whoami::{SHARED, used};
use super::{resolve, sync};
use crate::cloud::open;
use crate::config::Folders;
use crate::config::settings::Settings;
use crate::curation::Entity;
use crate::fuse;
use crate::model::Millis;
use crate::render::{SyncState, SyncStatus};
use crate::store::lock::{Lock, Purpose};
use crate::store::stats::{self, Totals};
use crate::store::{self, Layout, Writer, conflicts, drafts, fetched, outbox, trash};
use crate::sync::continuous::socket;
use crate::sync::engine::{self, Kept};
use crate::sync::secrets;
use health::Health;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Tell what the database holds, what waits, and where it is mounted
///
/// The first line says in a word how it is: `ok`, `attention` (it will come right by itself, or is worth a look) or `trouble`
/// (something has to be done); in green, yellow and red on a terminal.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Tell it again whenever it changes, until interrupted
    #[arg(long)]
    watch: bool,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// How often it is looked whether something changed.
const LOOKS: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Status {
    health: Health,
    /// What a person should look at.
    warnings: Vec<String>,
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
    /// Counts of weeks are shared: the user said so.
    shares_analytics: bool,
    /// What the engine that runs says of itself; `None`: none runs.
    sync: Option<Value>,
    #[serde(skip)]
    engine: Option<SyncStatus>,
    last_sync: Option<String>,
    /// What the account holds and may hold, as the server said last.
    usage: Option<Kept>,
    /// Values that lost against another machine's in the last 24 hours.
    conflicts_24h: u64,
    /// Copies of other machines' contents.
    cache_bytes: u64,
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
    /// How long its token still holds. It changes all the time: `--watch` would tell of nothing else.
    #[serde(skip)]
    token_left: Duration,
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
    let mut before = None;
    loop {
        let status = status(&conn, folders)?;
        let told = serde_json::to_value(&status)?;
        if before.as_ref() != Some(&told) {
            if args.json {
                output::json(&status)?;
            } else {
                if args.watch && io::stdout().is_terminal() {
                    // The screen is cleared, and written from its top on.
                    print!("\x1b[2J\x1b[H");
                }
                print(&status)?;
            }
            before = Some(told);
        }
        if !args.watch {
            return Ok(ExitCode::SUCCESS);
        }
        thread::sleep(LOOKS);
    }
}

fn status(conn: &Connection, folders: &Folders) -> Result<Status, BoxError> {
    let (layout, account) = (&folders.layout(), account(folders)?);
    let engine = socket::status(&folders.engine_socket());
    let waiting = outbox::all(conn)?;
    let mounts = fuse::mounts()?.into_iter().map(|mount| Mounted { dir: mount.dir, answers: mount.alive });
    let last_import = store::state(conn, "last_import")?.and_then(|at| at.parse().ok()).map(Millis);
    let mut status = Status {
        health: Health::Ok,
        warnings: Vec::new(),
        sync: engine.as_ref().map(SyncStatus::to_json),
        engine,
        last_sync: engine::state(conn)?.last_sync,
        usage: engine::kept_usage(conn)?,
        conflicts_24h: conflicts::since(conn, Millis(Millis::now().0 - DAY_MS))?,
        cache_bytes: fetched::bytes(conn)?,
        version: env!("CARGO_PKG_VERSION"),
        database: layout.database().display().to_string(),
        database_bytes: std::fs::metadata(layout.database())?.len(),
        totals: stats::totals(conn)?,
        deleted: trash::all(conn)?.len() as u64,
        last_import: last_import.map(Millis::iso),
        following: Lock::try_take(layout, &Purpose::Follow)?.is_none(),
        account,
        // Settings that cannot be read share nothing, and keep nobody from seeing the rest.
        shares_analytics: Settings::load(folders).is_ok_and(|settings| settings.shares_counts()),
        redacted: secrets::last_found(conn)?,
        refused: engine::state(conn)?.refused,
        waiting_edits: waiting.len() as u64,
        oldest_waiting: waiting.iter().map(|w| w.first_at).min().map(Millis::iso),
        drafts: drafts(conn)?,
        mounts: mounts.collect(),
    };
    (status.health, status.warnings) = health::of(&status, free_bytes(layout));
    Ok(status)
}

fn free_bytes(layout: &Layout) -> u64 {
    rustix::fs::statvfs(layout.dir()).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Who is logged in, as this machine knows: nothing is sent.
fn account(folders: &Folders) -> io::Result<Option<Account>> {
    let session = open::sessions(folders).load()?;
    Ok(session.map(|session| Account {
        user: session.user.to_string(),
        name: session.who(),
        login_needed: session.ended.is_some(),
        token_left: session.left(Millis::now()),
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

/// How things stand with the cloud, in a line.
pub(super) fn words(sync: &SyncStatus) -> String {
    let time = |at: Millis| at.iso().get(11..19).map(str::to_owned).unwrap_or_default();
    let mut text = sync.state.as_str().replace('_', " ");
    if let Some(progress) = sync.progress {
        let done =
            [(progress.pulled, "record pulled"), (progress.pushed, "record sent"), (progress.pictures, "picture sent")];
        let done = done.into_iter().filter(|(number, _)| *number > 0);
        let done: Vec<String> = done.map(|(number, what)| counted(number, what)).collect();
        text.push_str(&format!(": {}", done.join(", ")));
    }
    if let Some(reason) = &sync.reason {
        text.push_str(&format!(": {}", printable(reason)));
    }
    if let Some(next) = sync.next_try {
        text.push_str(&format!("; trying again at {} UTC", time(next)));
    }
    if let (true, Some(ms)) = (sync.state == SyncState::Synced, sync.latency_ms) {
        text.push_str(&format!(", changes are in the cloud after {}.{} s", ms / 1000, ms % 1000 / 100));
    }
    if sync.state == SyncState::Synced && !sync.doorbell {
        text.push_str(" (asking regularly: the server does not tell of changes)");
    }
    text
}

fn counted(number: u64, what: &str) -> String {
    let (noun, verb) = what.split_once(' ').unwrap_or((what, ""));
    format!("{} {verb}", count(number, noun))
}

fn print(status: &Status) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<10}{}", "state", health::painted(status.health, io::stdout().is_terminal()))?;
    for warning in &status.warnings {
        writeln!(out, "{:<10}{}", "", printable(warning))?;
    }
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
    let following = format!("the agents' logs ({} known)", count(totals.sources, "file"));
    let following = if status.following { &following } else { "nothing: `cogfs mount` or `cogfs watch` does" };
    line("follows", following.to_owned())?;
    let account = status.account.as_ref().map(|account| {
        let again = if account.login_needed { ": log in again with `cogfs login`" } else { "" };
        format!("{} at {}{again}", printable(&account.name), printable(&account.url))
    });
    line("account", account.unwrap_or_else(|| "none (local only)".to_owned()))?;
    if status.shares_analytics {
        line("analytics", SHARED.to_owned())?;
    }
    match &status.engine {
        Some(sync) => line("sync", words(sync))?,
        None if status.account.is_some() => {
            line("sync", "by hand (`cogfs sync`); a mount and `cogfs watch` do it by themselves".to_owned())?;
        }
        None => {}
    }
    if let Some(last) = &status.last_sync {
        line("synced", format!("{} UTC", short(last)))?;
    }
    if let Some(kept) = &status.usage {
        line("commits", used(kept.usage.commits, kept.limits.commits, thousands))?;
        line("size", used(kept.usage.bytes, kept.limits.bytes, bytes))?;
    }
    if status.cache_bytes > 0 {
        line("cache", format!("{} of other machines' contents", bytes(status.cache_bytes)))?;
    }
    if status.conflicts_24h > 0 {
        let lost = count(status.conflicts_24h, "value");
        line("conflicts", format!("{lost} in the last 24 hours (`cogfs sync conflicts` lists them)"))?;
    }
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
