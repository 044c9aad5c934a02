//! `cogfs fetch`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use rusqlite::Connection;
use serde::Serialize;

use super::import::{count_bar, stop_on_signals};
use super::mount::BoxError;
use super::output::{self, bytes, count, printable};
use super::remote::FromSettings;
use super::{open_current, project, resolve};
use crate::cloud::CloudError;
use crate::config::Folders;
use crate::curation::EntityKind;
use crate::model::Id;
use crate::store::objects::Object;
use crate::store::{Layout, commits, projects, sessions, turns, visuals};
use crate::sync::fetch::{FromCloud, Trouble};

/// The exit status of an interrupted fetch, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit status where something could not be had.
const SOME_LEFT: u8 = 3;

/// Sessions that are asked for at once.
const AT_ONCE: usize = 20;

/// How long one answer may take: nobody waits in a `read`.
const PATIENCE: Duration = Duration::from_secs(300);

/// Reasons that are printed.
const SHOWN: usize = 10;

/// Get contents of other machines before they are read
///
/// They come of themselves when they are read; this is for before a flight, or for `grep`. What is here already is not fetched again.
/// Copies that nobody reads give way after a while: `cogfs config get cache.ttl`.
///
/// Exit status: 0 all is here, 1 failed, 3 something could not be had, 4 nobody is logged in, 5 the cloud cannot be reached,
/// 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Commits and sessions (an id, its beginning, or a path in a mount), and projects (the names of their directories)
    #[arg(value_name = "ID|PROJECT", required_unless_present = "all", conflicts_with = "all")]
    what: Vec<String>,
    /// Everything
    #[arg(long)]
    all: bool,
    /// Pictures too
    #[arg(long)]
    images: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a fetch did.
#[derive(Debug, Default, Serialize)]
struct Summary {
    sessions: u64,
    pictures: u64,
    bytes: u64,
    /// What could not be had, and why.
    failed: Vec<Failed>,
    seconds: f64,
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: String,
    reason: String,
}

/// What is to be here.
#[derive(Default)]
struct Meant {
    /// All sessions that are meant, by their rows.
    rows: Vec<i64>,
    /// Those that are elsewhere.
    sessions: Vec<Id>,
}

/// Runs `cogfs fetch`.
///
/// # Errors
/// When there is nothing of that name, or the cloud or the database cannot be used.
pub fn run(folders: &Folders, args: &FetchArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let conn = open_current(&layout)?;
    let meant = meant(&conn, args)?;
    let stop = stop_on_signals()?;
    let fetch = Fetch {
        from: FromCloud::new(layout.clone(), Box::new(FromSettings::new(folders))),
        layout,
        stop: &stop,
        bar: count_bar(args.json),
    };
    let mut summary = Summary::default();
    let began = Instant::now();
    let mut done = fetch.sessions(&meant.sessions, &mut summary);
    if done.is_ok() && args.images && !summary.interrupted {
        done = fetch.pictures(&conn, &meant.rows, &mut summary);
    }
    fetch.bar.finish_and_clear();
    summary.seconds = began.elapsed().as_secs_f64();
    // What came stays, whatever happened then.
    fetch.from.make_room()?;
    done?;
    if args.json {
        output::json(&summary)?;
    } else {
        print(&summary, meant.rows.len() as u64)?;
    }
    Ok(match (summary.interrupted, summary.failed.is_empty()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, false) => ExitCode::from(SOME_LEFT),
        (false, true) => ExitCode::SUCCESS,
    })
}

/// Brings what is to be exported and is elsewhere. What does not come is told by the export.
pub(super) fn before_export(
    folders: &Folders,
    conn: &Connection,
    rows: &[i64],
    images: bool,
    quiet: bool,
    stop: &AtomicBool,
) -> Result<(), BoxError> {
    let layout = folders.layout();
    let mut meant = Meant::default();
    for row in rows {
        meant.session(conn, *row)?;
    }
    let mut has_pictures = false;
    for row in rows.iter().filter(|_| images) {
        has_pictures |= visuals::all_of_session(conn, *row)?.iter().any(|(.., v)| !layout.blob(&v.sha256).exists());
    }
    if meant.sessions.is_empty() && !has_pictures {
        return Ok(());
    }
    let fetch = Fetch {
        from: FromCloud::new(layout.clone(), Box::new(FromSettings::new(folders))),
        layout,
        stop,
        bar: count_bar(quiet),
    };
    let mut summary = Summary::default();
    let mut done = fetch.sessions(&meant.sessions, &mut summary);
    if done.is_ok() && images && !summary.interrupted {
        done = fetch.pictures(conn, &meant.rows, &mut summary);
    }
    fetch.bar.finish_and_clear();
    done
}

/// Brings what is to be changed and is elsewhere.
///
/// # Errors
/// When something of it cannot be had.
pub(super) fn before_change(folders: &Folders, conn: &Connection, rows: &[i64]) -> Result<(), BoxError> {
    let mut meant = Meant::default();
    for row in rows {
        meant.session(conn, *row)?;
    }
    meant.sessions.dedup();
    if meant.sessions.is_empty() {
        return Ok(());
    }
    let layout = folders.layout();
    let stop = stop_on_signals()?;
    let from = FromCloud::new(layout.clone(), Box::new(FromSettings::new(folders)));
    let fetch = Fetch { from, layout, stop: &stop, bar: count_bar(true) };
    let mut summary = Summary::default();
    fetch.sessions(&meant.sessions, &mut summary)?;
    match summary.failed.first() {
        Some(Failed { id, reason }) => Err(format!("the contents of session {id} are not here: {reason}").into()),
        None if summary.interrupted => Err("interrupted: nothing is changed".into()),
        None => Ok(()),
    }
}

fn meant(conn: &Connection, args: &FetchArgs) -> Result<Meant, BoxError> {
    let mut meant = Meant::default();
    if args.all {
        for project in projects::all(conn)? {
            meant.project(conn, project.row)?;
        }
    }
    for text in &args.what {
        match resolve::entity(conn, text) {
            Ok(entity) => match entity.kind {
                EntityKind::Commit => meant.commit(conn, entity.row)?,
                EntityKind::Session => meant.session(conn, entity.row)?,
                EntityKind::Turn => meant.session(conn, turns::parts_of(entity.row).0)?,
                EntityKind::Project => meant.project(conn, entity.row)?,
            },
            Err(unknown @ (resolve::ResolveError::Unknown { .. } | resolve::ResolveError::TooShort { .. })) => {
                let project = project::find(conn, text).map_err(|_| unknown)?;
                meant.project(conn, project.row)?;
            }
            Err(other) => return Err(other.into()),
        }
    }
    meant.sessions.dedup();
    Ok(meant)
}

impl Meant {
    fn project(&mut self, conn: &Connection, row: i64) -> Result<(), BoxError> {
        for commit in commits::rows_of_project(conn, row)? {
            self.commit(conn, commit)?;
        }
        Ok(())
    }

    fn commit(&mut self, conn: &Connection, row: i64) -> Result<(), BoxError> {
        for session in sessions::rows_of_commit(conn, row)? {
            self.session(conn, session)?;
        }
        Ok(())
    }

    fn session(&mut self, conn: &Connection, row: i64) -> Result<(), BoxError> {
        self.rows.push(row);
        self.sessions.extend(sessions::id_elsewhere(conn, row)?);
        Ok(())
    }
}

struct Fetch<'a> {
    from: FromCloud,
    layout: Layout,
    stop: &'a AtomicBool,
    bar: ProgressBar,
}

impl Fetch<'_> {
    fn is_over(&self, summary: &mut Summary) -> bool {
        summary.interrupted |= self.stop.load(Ordering::Relaxed);
        summary.interrupted
    }

    fn sessions(&self, ids: &[Id], summary: &mut Summary) -> Result<(), BoxError> {
        self.bar.set_length(ids.len() as u64);
        self.bar.set_message("sessions");
        for some in ids.chunks(AT_ONCE) {
            if self.is_over(summary) {
                return Ok(());
            }
            let mut left: Vec<Id> = some.to_vec();
            let deadline = Instant::now() + PATIENCE;
            self.from
                .bring(some, deadline, &mut |id, kept| {
                    left.retain(|other| *other != id);
                    summary.take(id.to_string(), kept, |summary| &mut summary.sessions);
                    self.bar.inc(1);
                    !self.stop.load(Ordering::Relaxed)
                })
                .map_err(boxed)?;
            if self.is_over(summary) {
                return Ok(());
            }
            for id in left {
                let none = Trouble::Unusable("the cloud does not have it (any more)".to_owned());
                summary.take(id.to_string(), Err(none), |summary| &mut summary.sessions);
            }
        }
        Ok(())
    }

    fn pictures(&self, conn: &Connection, rows: &[i64], summary: &mut Summary) -> Result<(), BoxError> {
        let mut missing = std::collections::BTreeSet::new();
        for row in rows {
            for (.., visual) in visuals::all_of_session(conn, *row)? {
                if !self.layout.blob(&visual.sha256).exists() {
                    missing.insert(Object { sha256: visual.sha256, mime: visual.mime });
                }
            }
        }
        self.bar.set_position(0);
        self.bar.set_length(missing.len() as u64);
        self.bar.set_message("pictures");
        for object in missing {
            if self.is_over(summary) {
                return Ok(());
            }
            match self.from.picture(&object, Instant::now() + PATIENCE) {
                Err(trouble @ (Trouble::Cloud(_) | Trouble::Store(_) | Trouble::NotSetUp(_)))
                    if !is_of_one(&trouble) =>
                {
                    return Err(boxed(trouble));
                }
                came => summary.take(object.sha256, came, |summary| &mut summary.pictures),
            }
            self.bar.inc(1);
        }
        Ok(())
    }
}

/// Whether a failure is of this thing alone.
fn is_of_one(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Unusable(_) | Trouble::Cloud(CloudError::Refused { .. } | CloudError::Gone))
}

/// An error whose exit status is known where it is the cloud's.
fn boxed(trouble: Trouble) -> BoxError {
    match trouble {
        Trouble::Cloud(error) => error.into(),
        Trouble::TimedOut => CloudError::Unreachable("it did not answer in time".to_owned()).into(),
        other => other.into(),
    }
}

impl Summary {
    fn take(&mut self, id: String, came: Result<u64, Trouble>, counted: fn(&mut Self) -> &mut u64) {
        match came {
            Ok(bytes) => {
                *counted(self) += 1;
                self.bytes += bytes;
            }
            Err(trouble) => self.failed.push(Failed { id, reason: trouble.to_string() }),
        }
    }
}

fn print(summary: &Summary, meant: u64) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if summary.interrupted {
        writeln!(out, "Interrupted. What came stays; run it again for the rest.")?;
    }
    if meant == 0 {
        return writeln!(out, "There is nothing to fetch.");
    }
    let (sessions, pictures) = (count(summary.sessions, "session"), count(summary.pictures, "picture"));
    let of = count(meant, "session");
    writeln!(out, "Fetched {sessions} of {of} and {pictures} ({}) in {:.1} s.", bytes(summary.bytes), summary.seconds)?;
    if !summary.failed.is_empty() {
        writeln!(out, "Not to be had: {}:", summary.failed.len())?;
        for failed in summary.failed.iter().take(SHOWN) {
            writeln!(out, "  {}  {}", failed.id, printable(&failed.reason))?;
        }
    }
    Ok(())
}
