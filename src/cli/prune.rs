//! `cogfs prune`: says what would go, asks where that is for good, and says what went.

use std::collections::HashSet;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, count};
use super::{forget, import, open_current, project, sync};
use crate::config::Folders;
use crate::forget::{self as forgetting, Target};
use crate::model::{Id, Millis};
use crate::store::forget::{Removed, erase};
use crate::store::{Layout, Writer, account};
use crate::sync::engine::Way;
use crate::sync::prune::{self, Chosen, Kept, Report};
use crate::when;

/// Remove local copies of old conversations that the cloud has
///
/// What is pruned stays in every listing, and is fetched when it is opened. Nothing is removed that exists nowhere else: not what
/// was never sent, and not what was sent without its secrets (`sync.redact`), unless --all is given. The server is asked first
/// whether it still has what it was sent.
///
/// The agents' own logs are not touched. A pruned session whose log grows is imported again.
#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    /// Of commits that ended before this: 2026-11-21, or so long ago: 30d, 12w, 1y
    #[arg(long, value_name = "DATE")]
    before: String,
    /// Of this project only: the name of its directory
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Also what the cloud does not have: that is forgotten, for good, as by `cogfs forget`
    ///
    /// Of sessions that the cloud has without their secrets the rest stays, there. Asks first, unless --yes is given.
    #[arg(long)]
    all: bool,
    /// Say what would be removed; remove nothing, ask nobody
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Outcome<'a> {
    dry_run: bool,
    #[serde(flatten)]
    report: &'a Report,
    /// What was nowhere else and is forgotten.
    forgotten: Option<&'a Removed>,
    /// How much smaller the database is, in bytes.
    freed: u64,
    /// What is not erased from the files yet, and why.
    not_erased: &'a [String],
}

/// Runs `cogfs prune`.
///
/// # Errors
/// When the date is none, the cloud cannot be asked, nobody can be asked, or the database cannot be written.
pub fn run(folders: &Folders, args: &PruneArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let before = when::past(&args.before, Millis::now()).ok_or_else(|| {
        format!(
            "{} is no date: give one (2026-11-21, UTC), or how long ago: 12h, 30d, 12w, 1y",
            output::printable(&args.before)
        )
    })?;
    let conn = open_current(&layout)?;
    let project =
        args.project.as_deref().map(|name| project::find(&conn, name)).transpose()?.map(|project| project.row);
    let is_synced = account::bound(&conn)?.is_some();
    drop(conn);
    let chosen = Chosen { before, project, redacted: args.all };
    let redacts = sync::redacts(folders)?;
    let seen = prune::run(&mut Writer::open(&layout)?, &chosen, redacts, true)?;
    if args.dry_run {
        tell(&Outcome { dry_run: true, report: &seen, forgotten: None, freed: 0, not_erased: &[] }, args)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.all && (seen.sessions > 0 || !seen.only_here.is_empty()) {
        confirm(seen.only_here.len() as u64, args)?;
    }
    // That a server which lost everything, or another account, is found out before anything goes.
    if is_synced || !args.all {
        sync::silently(folders, Way::Pull)?;
    }
    let lock = import::lock(&layout)?;
    let mut writer = Writer::open(&layout)?;
    let size = size(&layout);
    let report = prune::run(&mut writer, &chosen, redacts, false)?;
    // What was imported since it was asked about was not meant.
    let asked: HashSet<Id> = seen.only_here.iter().copied().collect();
    let meant: Vec<Id> = report.only_here.iter().filter(|id| asked.contains(id)).copied().collect();
    let forgotten = args.all.then(|| forget_all(&mut writer, &meant)).transpose()?;
    let not_erased = match forgotten {
        Some(_) => forget::erase_rest(&mut writer)?,
        None => Vec::new(),
    };
    if report.sessions > 0 && !erase::shrink(&writer)? {
        tracing::info!("a program reads the database: it becomes smaller when that ends");
    }
    drop(lock);
    let freed = size.saturating_sub(self::size(&layout));
    let outcome =
        Outcome { dry_run: false, report: &report, forgotten: forgotten.as_ref(), freed, not_erased: &not_erased };
    tell(&outcome, args)?;
    Ok(if not_erased.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn size(layout: &Layout) -> u64 {
    std::fs::metadata(layout.database()).map_or(0, |file| file.len())
}

fn forget_all(writer: &mut Writer, sessions: &[Id]) -> Result<Removed, BoxError> {
    let mut removed = Removed::default();
    for id in sessions {
        removed += forgetting::run(writer, &Target::Id(id.to_string()), false)?.removed;
    }
    Ok(removed)
}

fn confirm(lost: u64, args: &PruneArgs) -> Result<(), BoxError> {
    if args.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(
            "nothing was removed: with --all something is lost for good, and there is no terminal to ask on; add --yes to do \
             it, --dry-run to see what"
                .into(),
        );
    }
    let mut err = io::stderr().lock();
    match lost {
        0 => write!(err, "What was sent without its secrets loses them for good. Go on? [y/N] ")?,
        _ => write!(err, "{} exist nowhere else. Remove them for good? [y/N] ", count(lost, "session"))?,
    }
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err("nothing was removed".into()),
    }
}

fn tell(outcome: &Outcome<'_>, args: &PruneArgs) -> io::Result<()> {
    if args.json {
        return output::json(outcome);
    }
    let (mut out, report) = (io::stdout().lock(), outcome.report);
    let what = format!(
        "{} and {} ({} of logs and pictures)",
        count(report.sessions, "session"),
        count(report.pictures, "picture"),
        output::bytes(report.bytes)
    );
    match (outcome.dry_run, report.sessions) {
        (_, 0) => writeln!(out, "Nothing that the cloud has is older and still here.")?,
        (true, _) => writeln!(out, "Nothing was removed (--dry-run). It would be {what}.")?,
        (false, _) => writeln!(
            out,
            "Pruned {what}; the database is {} smaller. They are fetched when they are opened.",
            output::bytes(outcome.freed)
        )?,
    }
    if let Some(forgotten) = outcome.forgotten.filter(|removed| !removed.is_nothing()) {
        writeln!(out, "Forgot {}, which existed nowhere else.", forget::words(forgotten))?;
    } else {
        for (why, number) in &report.kept {
            writeln!(out, "Kept {}: {}.", count(*number, "session"), reason(*why, args))?;
        }
    }
    forget::warn(outcome.not_erased)
}

fn reason(why: Kept, args: &PruneArgs) -> &'static str {
    match why {
        Kept::OnlyHere if args.all => "the cloud does not have them; --all forgets them",
        Kept::OnlyHere => "the cloud does not have them (`cogfs push`, `cogfs project enable`)",
        Kept::Redacted => "the cloud has them without their secrets",
        Kept::EditWaits => "an edit waits to be sent (`cogfs sync`)",
    }
}
