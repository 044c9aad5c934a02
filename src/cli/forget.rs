//! `cogfs forget`: asks, removes for good, and says what.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;
use serde::Serialize;

use super::import;
use super::mount::BoxError;
use super::output::{self, count};
use crate::config::Folders;
use crate::forget::{self, Report, Target};
use crate::fuse;
use crate::store::forget::{Removed, erase};
use crate::store::{Layout, Writer, commits};
use crate::{fs as tree_fs, tree};

/// How long a mount may take to read the change feed: it looks ten times a second.
const MOUNTS_READ_WITHIN: Duration = Duration::from_secs(1);

/// Remove conversations from the database for good
///
/// Removes turns, records, pictures, words of the search index and names, and overwrites what was there. A marker stays, so that
/// no import brings it back: not from the same log, not from a copy or a fork of it, and not what the log still adds to a
/// forgotten part. What follows behind the next git commit, and other sessions of a project, are new and are kept.
///
/// What an agent still has in its own logs is not touched: delete it there. Copies and backups on other disks and machines are
/// theirs.
///
/// Asks first; without a terminal it does nothing unless --yes is given. Imports wait meanwhile, mounts stay.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["id", "project", "text"]))]
pub struct ForgetArgs {
    /// A commit, a session, a subagent or a turn: its id as in by/id/, or the first six or more of its digits
    ///
    /// A commit goes with its sessions, a session with the subagents it started. What is left of a commit stays.
    #[arg(value_name = "ID")]
    id: Option<String>,
    /// All of a project: the name of its directory
    #[arg(long, value_name = "P")]
    project: Option<String>,
    /// Every turn that holds TEXT, verbatim, in what was said or in a tool's input or output, and every record that does
    ///
    /// The rest of their sessions stays. Titles that hold it are made anew. Reads all turns and records.
    #[arg(long = "match", value_name = "TEXT")]
    text: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Say what would be removed; remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl ForgetArgs {
    fn target(&self) -> Target {
        match (&self.id, &self.project, &self.text) {
            (Some(id), ..) => Target::Id(id.to_lowercase()),
            (_, Some(project), _) => Target::Project(project.clone()),
            (_, _, text) => Target::Match(text.clone().unwrap_or_default()),
        }
    }
}

/// What `--json` prints.
#[derive(Serialize)]
struct Outcome<'a> {
    dry_run: bool,
    #[serde(flatten)]
    report: &'a Report,
    /// What is not erased from the files yet, and why.
    not_erased: &'a [String],
}

/// Runs `cogfs forget`.
///
/// # Errors
/// When there is nothing of that name, nobody can be asked, or the database cannot be written.
pub fn run(folders: &Folders, args: &ForgetArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    if !layout.database().exists() {
        return Err(format!("{} does not exist: there is nothing to forget", layout.database().display()).into());
    }
    let target = args.target();
    if !args.yes {
        let Some(seen) = look(&layout, &target, args)? else { return Ok(ExitCode::SUCCESS) };
        if !io::stdin().is_terminal() {
            return Err(
                "nothing was removed: there is no terminal to ask on; add --yes to do it, --dry-run to see what".into(),
            );
        }
        if !is_confirmed(&seen)? {
            return Err("nothing was removed".into());
        }
    } else if args.dry_run {
        look(&layout, &target, args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let lock = import::lock(&layout)?;
    let mut writer = Writer::open(&layout)?;
    let report = forget::run(&mut writer, &target, false);
    // Also where there is no such thing: a run that was killed may have left something.
    let not_erased = erase_rest(&mut writer)?;
    drop(lock);
    let report = report?;
    forget_beside(folders, writer.conn())?;
    tell(&report, &not_erased, args)?;
    Ok(if not_erased.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What lies beside the database and may hold words of what was forgotten: the log of refused writes, and the files that
/// programs made beside documents that are no more.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn forget_beside(folders: &Folders, conn: &Connection) -> Result<(), BoxError> {
    let or_missing = |done: io::Result<()>| match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    };
    or_missing(std::fs::remove_file(folders.errors_log()))?;
    or_missing(std::fs::remove_file(folders.conflicts_log()))?;
    let Ok(places) = std::fs::read_dir(folders.scratch()) else { return Ok(()) };
    for place in places {
        let place = place?;
        let range = place.file_name().to_str().filter(|name| name.len() == 32).and_then(tree::id_range);
        let Some((low, high)) = range else { continue };
        let is_commits = !commits::all_by_id_range(conn, &low, &high, 1)?.is_empty();
        if !is_commits && low != tree_fs::trash_info_place().0 {
            or_missing(std::fs::remove_dir_all(place.path()))?;
        }
    }
    Ok(())
}

/// What would be forgotten; `None` when there is nothing to ask: it was told.
fn look(layout: &Layout, target: &Target, args: &ForgetArgs) -> Result<Option<Report>, BoxError> {
    // Not held while a person thinks: imports go on.
    let _lock = import::lock(layout)?;
    let mut writer = Writer::open(layout)?;
    let report = forget::run(&mut writer, target, true)?;
    if args.dry_run || report.removed.is_nothing() {
        let not_erased = if args.dry_run { Vec::new() } else { erase_rest(&mut writer)? };
        tell(&report, &not_erased, args)?;
        return Ok(None);
    }
    Ok(Some(report))
}

/// Erases what is due; what could not be erased.
///
/// # Errors
/// When the database cannot be read or written.
pub(super) fn erase_rest(writer: &mut Writer) -> Result<Vec<String>, BoxError> {
    if !erase::is_due(writer.conn())? {
        return Ok(Vec::new());
    }
    writer.conn().pragma_update(None, "secure_delete", true)?;
    Ok(erase::finish(writer, &mut || {
        if fuse::mounts().map_or(true, |mounts| mounts.iter().any(|mount| mount.alive)) {
            thread::sleep(MOUNTS_READ_WITHIN);
        }
    })?)
}

fn is_confirmed(report: &Report) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    for path in &report.paths {
        writeln!(err, "  {}", output::printable(path))?;
    }
    write!(err, "Forget {} for good? [y/N] ", words(&report.removed))?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

pub(super) fn words(removed: &Removed) -> String {
    let counted = [
        (removed.projects, "project"),
        (removed.commits, "commit"),
        (removed.sessions, "session"),
        (removed.turns, "turn"),
        (removed.records, "record"),
        (removed.pictures, "picture"),
    ];
    let parts: Vec<String> = counted.into_iter().filter(|(n, _)| *n > 0).map(|(n, one)| count(n, one)).collect();
    format!("{} ({})", parts.join(", "), output::bytes(removed.bytes))
}

fn tell(report: &Report, not_erased: &[String], args: &ForgetArgs) -> io::Result<()> {
    if args.json {
        return output::json(&Outcome { dry_run: args.dry_run, report, not_erased });
    }
    let mut out = io::stdout().lock();
    match (report.removed.is_nothing(), args.dry_run) {
        (true, _) if report.already => writeln!(out, "It is forgotten already.")?,
        (true, _) => writeln!(out, "Nothing holds it: nothing was removed.")?,
        (false, true) => {
            writeln!(out, "Nothing was removed (--dry-run). It would be {}:", words(&report.removed))?;
            for path in &report.paths {
                writeln!(out, "  {}", output::printable(path))?;
            }
        }
        (false, false) => writeln!(out, "Forgot {}.", words(&report.removed))?,
    }
    warn(not_erased)
}

/// What is gone from every page and listing, and still in the files.
pub(super) fn warn(not_erased: &[String]) -> io::Result<()> {
    let mut err = io::stderr().lock();
    for reason in not_erased {
        writeln!(err, "cogfs: not erased from the files yet: {reason}")?;
    }
    if !not_erased.is_empty() {
        writeln!(err, "The next `cogfs import`, `cogfs forget` or `cogfs doctor --repair` goes on with it.")?;
    }
    Ok(())
}
