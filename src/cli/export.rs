//! `cogfs export`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use clap::ValueEnum;
use rusqlite::Connection;
use serde::Serialize;

use super::import::{count_bar, stop_on_signals};
use super::mount::BoxError;
use super::output::{self, bytes, count, printable};
use super::{fetch, open_current, project, resolve};
use crate::config::Folders;
use crate::curation::{Entity, EntityKind};
use crate::export::{Clean, ExportError, Exporter, Format, What};
use crate::store::commits::Home;
use crate::store::{commits, projects, sessions};

/// The exit status of an interrupted export, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit status where something could not be exported.
const SOME_LEFT: u8 = 3;

/// Reasons that are printed.
const SHOWN: usize = 10;

/// Write conversations to files of their own
///
/// Of one commit or session the document itself, to the standard output or a file; of a project, of several, or into a folder the
/// files that a mount shows, under the same names. A page (html) has its pictures in it and needs no other file. What another
/// machine has is fetched first. Nothing that is there is written over without --force, and no file is there before it is whole.
///
/// Exit status: 0 all was exported, 1 failed, 3 something could not be had, 4 nobody is logged in and something would have to be
/// fetched, 5 the cloud cannot be reached, 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// Commits and sessions (an id, its beginning, or a path in a mount), and projects (the names of their directories)
    #[arg(value_name = "ID|PROJECT", required_unless_present = "all", conflicts_with = "all")]
    what: Vec<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// What to write
    #[arg(long, short, value_enum, default_value_t = Kind::Markdown)]
    format: Kind,
    /// A file, a folder (one that is there, or a name with a slash behind), or - for the standard output
    #[arg(long, short, value_name = "FILE|FOLDER")]
    output: Option<PathBuf>,
    /// Take keys, tokens and passwords out of texts (not out of pictures): see `cogfs redact`
    #[arg(long)]
    redact: bool,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
    /// Print a summary as JSON; needs --output
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Transcripts and turns, with pictures beside them
    Markdown,
    /// One document with every turn
    Json,
    /// One page for a browser
    Html,
    /// The agents' own records, a line each
    Jsonl,
}

impl From<Kind> for Format {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Markdown => Self::Markdown,
            Kind::Json => Self::Json,
            Kind::Html => Self::Html,
            Kind::Jsonl => Self::Jsonl,
        }
    }
}

/// Where an export goes.
enum Place {
    Stdout,
    File(PathBuf),
    Folder(PathBuf),
}

#[derive(Debug, Default, Serialize)]
struct Summary {
    exported: u64,
    sessions: u64,
    files: u64,
    bytes: u64,
    /// Kinds of secrets that were taken out, and how many.
    redacted: BTreeMap<&'static str, usize>,
    /// What could not be exported, and why.
    failed: Vec<Failed>,
    seconds: f64,
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: String,
    reason: String,
}

/// Runs `cogfs export`.
///
/// # Errors
/// When there is nothing of that name, a file is there, or the database or the output cannot be used.
pub fn run(folders: &Folders, args: &ExportArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let conn = open_current(&layout)?;
    let meant = meant(&conn, args)?;
    let place = place(args, &meant)?;
    let meant = meant.what;
    if args.json && matches!(place, Place::Stdout) {
        return Err("--json prints a summary where the export would go: give --output a file or a folder".into());
    }
    let stop = stop_on_signals()?;
    let began = Instant::now();
    let mut exporter = Exporter::new(&conn, &layout, args.format.into(), Clean::new(args.redact), args.force);
    if let (Place::Folder(folder), false) = (&place, args.force) {
        nothing_is_there(&mut exporter, &meant, folder)?;
    }
    let wants_pictures =
        matches!(args.format, Kind::Html) || matches!((&place, args.format), (Place::Folder(_), Kind::Markdown));
    let quiet = args.json || matches!(place, Place::Stdout);
    let fetched = fetch::before_export(folders, &conn, &rows_of(&conn, &meant)?, wants_pictures, quiet, &stop);
    let mut summary = Summary::default();
    export(&conn, &mut exporter, &meant, &place, &mut summary, (quiet, &stop))?;
    for name in &exporter.written.missing_pictures {
        summary.failed.push(Failed { id: name.clone(), reason: "the picture is not on this machine".to_owned() });
    }
    summary.redacted = exporter.clean.counts();
    (summary.sessions, summary.files, summary.bytes) =
        (exporter.written.sessions, exporter.written.files, exporter.written.bytes);
    summary.seconds = began.elapsed().as_secs_f64();
    tell(args, &place, &summary)?;
    match (summary.interrupted, summary.failed.is_empty(), fetched) {
        (true, ..) => Ok(ExitCode::from(INTERRUPTED)),
        (false, true, _) => Ok(ExitCode::SUCCESS),
        // Why it could not be fetched is why it could not be exported.
        (false, false, Err(error)) => Err(error),
        (false, false, Ok(())) => Ok(ExitCode::from(SOME_LEFT)),
    }
}

fn export(
    conn: &Connection,
    exporter: &mut Exporter<'_>,
    meant: &[What],
    place: &Place,
    summary: &mut Summary,
    (quiet, stop): (bool, &AtomicBool),
) -> Result<(), BoxError> {
    let bar = count_bar(quiet);
    bar.set_length(meant.len() as u64);
    bar.set_message("exported");
    for what in meant {
        if stop.load(Ordering::Relaxed) {
            summary.interrupted = true;
            break;
        }
        let done = match place {
            Place::Stdout => to_stdout(exporter, *what),
            Place::File(path) => exporter.file(*what, path),
            Place::Folder(folder) => exporter.folder(*what, folder),
        };
        match done {
            Ok(()) => summary.exported += 1,
            Err(error @ (ExportError::Elsewhere(_) | ExportError::Gone)) => {
                summary.failed.push(Failed { id: resolve::id(conn, entity(*what))?, reason: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(())
}

/// A document that turns out to be elsewhere has printed nothing.
fn to_stdout(exporter: &mut Exporter<'_>, what: What) -> Result<(), ExportError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    exporter.stream(what, &mut out)?;
    out.flush().map_err(|source| ExportError::Io { path: PathBuf::from("the standard output"), source })
}

fn entity(what: What) -> Entity {
    match what {
        What::Commit(row) => Entity::commit(row),
        What::Session(row) => Entity::session(row),
    }
}

/// Says before anything is written that something is there.
fn nothing_is_there(exporter: &mut Exporter<'_>, meant: &[What], folder: &Path) -> Result<(), BoxError> {
    for what in meant {
        let first = match exporter.first_file(*what, folder) {
            Err(ExportError::Gone) => continue,
            first => first?,
        };
        if first.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(first).into());
        }
    }
    Ok(())
}

fn place(args: &ExportArgs, meant: &Meant) -> Result<Place, BoxError> {
    let is_one = meant.is_one();
    match &args.output {
        Some(path) if path.as_os_str() != "-" => {
            let ends_in_slash = path.as_os_str().as_encoded_bytes().ends_with(b"/");
            if path.is_dir() || ends_in_slash {
                return Ok(Place::Folder(path.clone()));
            }
            if is_one {
                return Ok(Place::File(path.clone()));
            }
            if path.symlink_metadata().is_ok() {
                return Err(format!("{} is a file, and there is more than one thing to export", path.display()).into());
            }
            Ok(Place::Folder(path.clone()))
        }
        _ if is_one => Ok(Place::Stdout),
        _ => Err("there is more than one thing to export: give --output a folder".into()),
    }
}

/// What is to be exported.
#[derive(Default)]
struct Meant {
    what: Vec<What>,
    /// A project is many things, even if there is one commit in it now.
    has_projects: bool,
}

impl Meant {
    fn is_one(&self) -> bool {
        self.what.len() == 1 && !self.has_projects
    }

    fn project(&mut self, conn: &Connection, row: i64) -> Result<(), BoxError> {
        self.has_projects = true;
        for commit in commits::rows_of_project(conn, row)? {
            if commits::listed(conn, commit)?.is_some_and(|commit| commit.home != Home::Trash) {
                self.what.push(What::Commit(commit));
            }
        }
        Ok(())
    }
}

fn meant(conn: &Connection, args: &ExportArgs) -> Result<Meant, BoxError> {
    let mut meant = Meant::default();
    if args.all {
        for project in projects::all(conn)? {
            meant.project(conn, project.row)?;
        }
    }
    for text in &args.what {
        match resolve::entity(conn, text) {
            Ok(entity) => match entity.kind {
                EntityKind::Commit => meant.what.push(What::Commit(entity.row)),
                EntityKind::Session => meant.what.push(What::Session(entity.row)),
                EntityKind::Project => meant.project(conn, entity.row)?,
                EntityKind::Turn => return Err(format!("{text} is a turn: give its session or its commit").into()),
            },
            Err(unknown @ (resolve::ResolveError::Unknown { .. } | resolve::ResolveError::TooShort { .. })) => {
                let project = project::find(conn, text).map_err(|_| unknown)?;
                meant.project(conn, project.row)?;
            }
            Err(other) => return Err(other.into()),
        }
    }
    let mut seen = std::collections::HashSet::new();
    meant.what.retain(|what| seen.insert(*what));
    if meant.what.is_empty() {
        resolve::not_empty(conn)?;
        return Err("there is nothing in it to export".into());
    }
    Ok(meant)
}

/// The rows of all sessions that are meant, subagents too.
fn rows_of(conn: &Connection, meant: &[What]) -> Result<Vec<i64>, BoxError> {
    let mut rows = Vec::new();
    for what in meant {
        match what {
            What::Commit(row) => rows.extend(sessions::rows_of_commit(conn, *row)?),
            What::Session(row) => rows.extend(std::iter::once(*row).chain(sessions::descendants(conn, *row)?)),
        }
    }
    Ok(rows)
}

fn tell(args: &ExportArgs, place: &Place, summary: &Summary) -> Result<(), BoxError> {
    if args.json {
        return Ok(output::json(summary)?);
    }
    let mut out = io::stderr().lock();
    if summary.interrupted {
        writeln!(out, "Interrupted. What was written is whole.")?;
    }
    if let Place::File(path) | Place::Folder(path) = place {
        let mut out = io::stdout().lock();
        let (files, size) = (count(summary.files, "file"), bytes(summary.bytes));
        let sessions = count(summary.sessions, "session");
        writeln!(out, "Exported {sessions} to {} ({files}, {size}).", path.display())?;
    }
    if args.redact {
        let found = summary.redacted.iter().map(|(kind, n)| format!("{n} {kind}")).collect::<Vec<_>>().join(", ");
        let found = if found.is_empty() { "none was found".to_owned() } else { found };
        writeln!(out, "Secrets taken out: {found}. Pictures are as they were.")?;
    }
    if !summary.failed.is_empty() {
        writeln!(out, "Not exported: {}:", summary.failed.len())?;
        for failed in summary.failed.iter().take(SHOWN) {
            writeln!(out, "  {}  {}", failed.id, printable(&failed.reason))?;
        }
    }
    Ok(())
}
