//! `cogfs push`, `cogfs pull`, `cogfs sync`: one cycle, or a part of one.

mod conflicts;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Subcommand;
use indicatif::ProgressBar;
use rusqlite::Connection;
use serde::Serialize;

use super::import::{spinner, stop_on_signals};
use super::mount::BoxError;
use super::output::{self, count, printable};
use super::{forget, open_current};
use crate::cloud::patient::Patient;
use crate::cloud::{Cloud, CloudError, open};
use crate::config::Folders;
use crate::config::settings::{Setting, Settings};
use crate::model::Millis;
use crate::render::SyncProgress;
use crate::store::refused::{self, Refused};
use crate::store::{Layout, Writer, conflicts as stored_conflicts, objects, told};
use crate::sync::continuous::socket::{self, Answer, Ask, Done, Failure};
use crate::sync::engine::{self, Engine, Options, Pictures, Progress, State, Summary, SyncError, Unsent, Way};
use crate::sync::ignored;
use crate::sync::secrets::Secrets;
use crate::sync::shared_counts;

/// The exit status of an interrupted cycle, as shells have it for SIGINT.
const INTERRUPTED: u8 = 130;

/// The exit status where the cloud refused a record, or something that came could not be taken.
const SOME_SKIPPED: u8 = 3;

/// Reasons that are printed.
const SHOWN: usize = 10;

/// Send what is new here to the cloud
///
/// Sends what was imported and edited and the cloud does not have, in requests of a hundred records; what others sent is pulled
/// before, so that their changes and yours are merged. Interrupted, or without a network, the next push goes on where it ended:
/// nothing is sent twice or left out.
///
/// What the cloud refuses is set aside and does not hold up the rest; `cogfs sync status` lists it.
///
/// Exit status: 0 all sent, 1 failed, 3 something was refused, 4 nobody is logged in, 5 the cloud cannot be reached, 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// Only these projects: the names of their directories
    #[arg(value_name = "PROJECT")]
    projects: Vec<String>,
    /// Say what would be sent; ask nobody and send nothing
    #[arg(long, conflicts_with_all = ["force", "retry"])]
    dry_run: bool,
    /// Send everything, also what the cloud is known to have
    #[arg(long)]
    force: bool,
    /// Try again what the cloud refused
    #[arg(long)]
    retry: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Get what your other machines sent to the cloud
///
/// Conversations of other machines are listed at once; their contents come when they are opened.
///
/// Exit status: 0 all came, 1 failed, 3 something could not be taken, 4 nobody is logged in, 5 the cloud cannot be reached, 130
/// interrupted.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Bring this machine and the cloud in step, and tell how they stand
///
/// Without a word behind it: `now`. Where a mount or `cogfs watch` syncs by itself, it is that one which does it.
///
/// Exit status: 0 all went, 1 failed, 3 something was refused or could not be taken, 4 nobody is logged in, 5 the cloud cannot be
/// reached, 130 interrupted.
#[derive(Debug, clap::Args)]
pub struct SyncArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Pull, push, and pull what came of that
    Now,
    /// Tell what waits, what the cloud refused, and when it was spoken with last; asks nobody
    Status,
    /// List what lost where two machines changed the same, or take it back
    Conflicts(conflicts::ConflictsArgs),
    /// Compare everything with the cloud anew, with the next sync
    ///
    /// For a cloud that lost what it had, or that is another one. Nothing is removed here, and edits that wait stay.
    Reset {
        /// Make the conversations of this machine those of whatever account is logged in
        #[arg(long)]
        adopt: bool,
    },
}

/// Runs `cogfs push`.
///
/// # Errors
/// When there is no such project, the cloud cannot be used, or the database.
pub fn push(folders: &Folders, args: &PushArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let meant = meant(&layout, &args.projects)?;
    if args.dry_run {
        let mut writer = Writer::open(&layout)?;
        for complaint in ignored::refresh(&mut writer, &folders.ignored())? {
            eprintln!("cogfs: {}", printable(&complaint));
        }
        let unsent = engine::unsent(writer.conn(), &Secrets::new(redacts(folders)?), meant.as_ref())?;
        return tell_unsent(&unsent, args.json);
    }
    if args.force || args.retry {
        let mut writer = Writer::open(&layout)?;
        let tx = writer.begin()?;
        refused::clear_all(&tx)?;
        objects::retry(&tx)?;
        if args.force {
            told::nothing(&tx)?;
        }
        tx.commit()?;
    }
    cycle(folders, &Options { way: Way::Push, projects: meant, ..Options::default() }, args.json)
}

/// Runs `cogfs pull`.
///
/// # Errors
/// When the cloud or the database cannot be used.
pub fn pull(folders: &Folders, args: &PullArgs) -> Result<ExitCode, BoxError> {
    cycle(folders, &Options { way: Way::Pull, ..Options::default() }, args.json)
}

/// Runs `cogfs sync`.
///
/// # Errors
/// When the cloud or the database cannot be used, or there is no such conflict.
pub fn sync(folders: &Folders, args: &SyncArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    match &args.what {
        None | Some(What::Now) => cycle(folders, &Options::default(), args.json),
        Some(What::Status) => status(&layout, args.json),
        Some(What::Conflicts(conflicts)) => conflicts::run(&layout, conflicts, args.json),
        Some(What::Reset { adopt }) => reset(&layout, *adopt, args.json),
    }
}

/// The rows of the projects that are named; `None`: all are meant.
fn meant(layout: &Layout, names: &[String]) -> Result<Option<BTreeSet<i64>>, BoxError> {
    if names.is_empty() {
        return Ok(None);
    }
    let conn = open_current(layout)?;
    let mut rows = BTreeSet::new();
    for name in names {
        rows.insert(super::project::find(&conn, name)?.row);
    }
    Ok(Some(rows))
}

/// Whether secrets are taken out of what is sent, as the settings have it.
///
/// # Errors
/// When the settings cannot be read.
pub(super) fn redacts(folders: &Folders) -> Result<bool, BoxError> {
    let settings = Settings::load(folders)?;
    Ok(settings.get(Setting::SyncRedact).is_none_or(|(value, _)| value == "true"))
}

/// Kinds and counts, in a line.
pub fn kinds<K: Display, N: Display>(counts: &BTreeMap<K, N>) -> String {
    counts.iter().map(|(kind, number)| format!("{kind} {number}")).collect::<Vec<_>>().join(", ")
}

/// What takes the secrets out, ready for a cycle.
///
/// # Errors
/// When the settings or the database cannot be used.
pub(super) fn ready(folders: &Folders, writer: &mut Writer) -> Result<Secrets, BoxError> {
    let secrets = Secrets::new(redacts(folders)?);
    if !secrets.are_as_told(writer.conn())? {
        let mut tx = writer.begin()?;
        secrets.begin(&mut tx)?;
        tx.commit()?;
    }
    Ok(secrets)
}

/// Sync by the engine that runs, or by this process if there is none; with a line of progress (on a terminal) and Ctrl-C.
fn cycle(folders: &Folders, options: &Options, json: bool) -> Result<ExitCode, BoxError> {
    // What is wrong with the settings is told before anybody is asked.
    let cloud = open::cloud(folders)?.of_one_user();
    let line = spinner(json);
    let ask = Ask { way: options.way, projects: options.projects.as_ref().map(|rows| rows.iter().copied().collect()) };
    let done = match by_engine(folders, ask, &line)? {
        Some(done) => done,
        None => by_this_process(folders, &cloud, options, (&line, &*stop_on_signals()?))?,
    };
    line.finish_and_clear();
    for complaint in &done.complaints {
        eprintln!("cogfs: {}", printable(complaint));
    }
    let refused = refused::all(&open_current(&folders.layout())?)?;
    if json {
        output::json(&done.summary)?;
    } else {
        print(&done, &refused)?;
    }
    Ok(exit_code(&done.summary))
}

/// Has the engine that runs do it; `None`: there is none, or it does not sync.
fn by_engine(folders: &Folders, ask: Ask, line: &ProgressBar) -> Result<Option<Done>, BoxError> {
    let Some(answers) = socket::cycle(&folders.engine_socket(), ask) else { return Ok(None) };
    for answer in answers {
        match answer {
            Ok(Answer::Progress(progress)) => line.set_message(words(progress, line)),
            Ok(Answer::Waits(why, seconds)) => tell_wait(line, &why, seconds),
            Ok(Answer::Done(done)) => return Ok(Some(*done)),
            Ok(Answer::Failed(failure)) => return failed(failure),
            Ok(Answer::Status(_)) => {}
            Err(_) => break,
        }
    }
    // The engine ended meanwhile: what it did stays, and the rest is done here.
    Ok(None)
}

fn failed(failure: Failure) -> Result<Option<Done>, BoxError> {
    Err(match failure {
        Failure::NotHere => return Ok(None),
        Failure::LoginNeeded => CloudError::LoginNeeded.into(),
        Failure::Unreachable(why) => CloudError::Unreachable(why).into(),
        Failure::Busy => CloudError::Busy { wait: None }.into(),
        Failure::Other(why) => why.into(),
    })
}

fn by_this_process(
    folders: &Folders,
    cloud: &dyn Cloud,
    options: &Options,
    (line, stop): (&ProgressBar, &AtomicBool),
) -> Result<Done, BoxError> {
    let mut writer = Writer::open(&folders.layout())?;
    let complaints = ignored::refresh(&mut writer, &folders.ignored())?;
    let secrets = ready(folders, &mut writer)?;
    let last_conflict = stored_conflicts::last(writer.conn())?;
    let waits = |error: &CloudError, pause: Duration| tell_wait(line, &error.to_string(), pause.as_secs_f64());
    let at_once = cloud;
    let cloud = Patient::new(cloud, stop, &waits);
    let options = Options { ignored: Some(folders.ignored()), ..options.clone() };
    let done =
        Engine::new().cycle(&mut writer, &cloud, &secrets, &options, (stop, &mut |progress| show(line, progress)));
    secrets.keep(&mut writer)?;
    let summary = match done {
        // Ended while it waited for the cloud.
        Err(SyncError::Cloud(_)) if stop.load(Ordering::Relaxed) => Summary { interrupted: true, ..Summary::default() },
        done => done?,
    };
    if summary.conflicts > 0 {
        log_conflicts(folders, writer.conn(), last_conflict)?;
    }
    if summary.forgotten > 0 {
        forget::warn(&forget::erase_rest(&mut writer)?)?;
        forget::forget_beside(folders, writer.conn())?;
    }
    if options.way != Way::Pull && !summary.interrupted {
        settle_counts(folders, &mut writer, at_once);
    }
    Ok(Done { summary, secrets: named(secrets.counts()), complaints })
}

/// Counts of the last week are shared, or those that were are deleted, as the settings say. Not waited for where that fails: it is due
/// again with the next sync.
fn settle_counts(folders: &Folders, writer: &mut Writer, cloud: &dyn Cloud) {
    let Ok(settings) = Settings::load(folders) else { return };
    if let Err(error) = shared_counts::settle(writer, cloud, settings.shares_counts(), Millis::now()) {
        tracing::info!(%error, "counts are not shared, or not deleted, yet");
    }
}

/// Writes what lost behind a conflict to `conflicts.log` in the state folder, a line of JSON each: the database keeps them too, and
/// shows those that are open.
///
/// # Errors
/// When the database cannot be read, or the log not written.
pub(super) fn log_conflicts(folders: &Folders, conn: &Connection, behind: i64) -> Result<(), BoxError> {
    let mut lines = String::new();
    for conflict in stored_conflicts::behind(conn, behind)? {
        let line = serde_json::json!({
            "at": conflict.at.iso(),
            "number": conflict.row,
            "kind": conflict.kind.as_str(),
            "id": conflict.entity_id.to_string(),
            "field": conflict.field,
            "here": conflict.local,
            "there": conflict.cloud,
            "kept": conflict.kept.as_str(),
            "machine": conflict.machine,
        });
        lines.push_str(&format!("{line}\n"));
    }
    let path = folders.conflicts_log();
    let mut log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
    Ok(log.write_all(lines.as_bytes())?)
}

/// A cycle that nobody looks at.
///
/// # Errors
/// When the cloud or the database cannot be used.
pub(super) fn silently(folders: &Folders, way: Way) -> Result<(), BoxError> {
    let cloud = open::cloud(folders)?.of_one_user();
    let (line, stop) = (ProgressBar::hidden(), AtomicBool::new(false));
    if by_engine(folders, Ask { way, ..Ask::default() }, &line)?.is_none() {
        by_this_process(folders, &cloud, &Options { way, ..Options::default() }, (&line, &stop))?;
    }
    Ok(())
}

fn named(counts: BTreeMap<&'static str, usize>) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(kind, number)| (kind.to_owned(), number)).collect()
}

fn tell_wait(line: &ProgressBar, why: &str, seconds: f64) {
    line.suspend(|| eprintln!("cogfs: {}; trying again in {seconds:.0} s", printable(why)));
}

/// How far the engine is.
fn words(progress: SyncProgress, line: &ProgressBar) -> String {
    if progress.pictures > 0 {
        return format!("{} sent", count(progress.pictures, "picture"));
    }
    if progress.pushed > 0 {
        return sent(progress.pushed, progress.bytes, line);
    }
    format!("{} pulled", count(progress.pulled, "record"))
}

fn sent(records: u64, bytes: u64, line: &ProgressBar) -> String {
    #[allow(clippy::cast_precision_loss)] // Two digits are shown.
    let rate = bytes as f64 / line.elapsed().as_secs_f64().max(0.001);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let rate = rate as u64;
    let (records, bytes) = (count(records, "record"), output::bytes(bytes));
    format!("{records} sent, {bytes}, {}/s", output::bytes(rate))
}

fn show(line: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Pulled { records } => line.set_message(format!("{} pulled", count(records, "record"))),
        Progress::Pushed { records, bytes } => line.set_message(sent(records, bytes, line)),
        Progress::Pictures { sent: pictures, bytes } => {
            line.set_message(format!("{} sent, {}", count(pictures, "picture"), output::bytes(bytes)));
        }
        Progress::Step => line.tick(),
    }
}

fn exit_code(summary: &Summary) -> ExitCode {
    if summary.interrupted {
        ExitCode::from(INTERRUPTED)
    } else if summary.refused + summary.skipped + summary.pictures.refused > 0 {
        ExitCode::from(SOME_SKIPPED)
    } else {
        ExitCode::SUCCESS
    }
}

fn print(done: &Done, refused: &[Refused]) -> io::Result<()> {
    let (mut out, summary, secrets) = (io::stdout().lock(), &done.summary, &done.secrets);
    if summary.interrupted {
        writeln!(out, "Interrupted. What was sent and pulled stays; run it again for the rest.")?;
    }
    writeln!(
        out,
        "Sent {} ({}), pulled {}, in {:.1} s.",
        count(summary.pushed, "record"),
        output::bytes(summary.bytes),
        count(summary.pulled, "record"),
        summary.seconds,
    )?;
    print_pictures(&mut out, &summary.pictures)?;
    if !secrets.is_empty() {
        let number = secrets.values().sum::<usize>() as u64;
        writeln!(out, "{} taken out of what was sent: {}.", count(number, "secret"), kinds(secrets))?;
    }
    if summary.conflicts > 0 {
        let lost = count(summary.conflicts, "value");
        writeln!(
            out,
            "{lost} yielded to another machine's or the other way round: `cogfs sync conflicts` lists them."
        )?;
    }
    if summary.restored > 0 {
        let restored = count(summary.restored, "record");
        writeln!(out, "{restored} deleted on one machine and edited on another: not deleted.")?;
    }
    if summary.forgotten > 0 {
        writeln!(out, "{} forgotten on another machine: forgotten here too.", count(summary.forgotten, "record"))?;
    }
    if summary.skipped > 0 {
        writeln!(
            out,
            "Not taken: {}:",
            count(summary.skipped, "value or record").replace("value or records", "values or records")
        )?;
        for reason in summary.reasons.iter().take(SHOWN) {
            writeln!(out, "  {}", printable(reason))?;
        }
    }
    print_refused(&mut out, refused)
}

fn print_pictures(out: &mut impl Write, pictures: &Pictures) -> io::Result<()> {
    if pictures.sent > 0 {
        writeln!(out, "Sent {} ({}).", count(pictures.sent, "picture"), output::bytes(pictures.bytes))?;
    }
    if pictures.missing > 0 {
        let missing = count(pictures.missing, "picture");
        writeln!(
            out,
            "{missing} not sent, whose files are gone or damaged: `cogfs doctor --repair` reads them from the logs."
        )?;
    }
    if pictures.refused > 0 {
        let refused = count(pictures.refused, "picture");
        writeln!(out, "The cloud does not take {refused}: {}", printable(pictures.reason.as_deref().unwrap_or("")))?;
    }
    Ok(())
}

fn print_refused(out: &mut impl Write, refused: &[Refused]) -> io::Result<()> {
    // What belongs to a refused record follows from that.
    let told: Vec<&Refused> = refused.iter().filter(|refused| refused.code != refused::UNKNOWN_PARENT).collect();
    if told.is_empty() {
        return Ok(());
    }
    writeln!(out, "The cloud refused {} (`cogfs push --retry` tries again):", count(told.len() as u64, "record"))?;
    for refused in told.iter().take(SHOWN) {
        writeln!(out, "  {}  {} ({})", refused.id, printable(&refused.message), printable(&refused.code))?;
    }
    if told.len() > SHOWN {
        writeln!(out, "  … and {} more (`cogfs sync status --json` lists them)", told.len() - SHOWN)?;
    }
    Ok(())
}

fn tell_unsent(unsent: &Unsent, json: bool) -> Result<ExitCode, BoxError> {
    if json {
        output::json(unsent)?;
    } else {
        println!(
            "Nothing was sent (--dry-run). It would be {} (contents not counted: {}) and edits of {}.",
            count(unsent.records, "record"),
            output::bytes(unsent.bytes),
            count(unsent.edits, "record"),
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What `sync status --json` prints.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    state: State,
    refused_records: Vec<ToldRefused>,
}

#[derive(Serialize)]
struct ToldRefused {
    id: String,
    code: String,
    message: String,
    at: String,
}

fn status(layout: &Layout, json: bool) -> Result<ExitCode, BoxError> {
    let conn = open_current(layout)?;
    let (state, refused) = (engine::state(&conn)?, refused::all(&conn)?);
    if json {
        let refused = refused.into_iter().map(|refused| ToldRefused {
            id: refused.id.to_string(),
            code: refused.code,
            message: refused.message,
            at: refused.at.iso(),
        });
        output::json(&Told { state, refused_records: refused.collect() })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    let mut line = |what: &str, text: &str| writeln!(out, "{what:<10}{text}");
    line("account", state.account.as_deref().unwrap_or("none yet"))?;
    let last = state.last_sync.as_deref().and_then(|at| at.get(..19)).map(|at| format!("{} UTC", at.replace('T', " ")));
    line("synced", last.as_deref().unwrap_or("never"))?;
    line("edits", &format!("{} waiting", count(state.waiting_edits, "record")))?;
    if state.conflicts > 0 {
        line("conflicts", &format!("{} (`cogfs sync conflicts` lists them)", state.conflicts))?;
    }
    print_refused(&mut out, &refused)?;
    Ok(ExitCode::SUCCESS)
}

fn reset(layout: &Layout, adopt: bool, json: bool) -> Result<ExitCode, BoxError> {
    let mut writer = Writer::open(layout)?;
    let tx = writer.begin()?;
    engine::reset(&tx, adopt)?;
    tx.commit()?;
    if json {
        output::json(&serde_json::json!({ "reset": true, "adopt": adopt }))?;
    } else {
        println!("The next sync compares everything with the cloud anew.");
    }
    Ok(ExitCode::SUCCESS)
}
