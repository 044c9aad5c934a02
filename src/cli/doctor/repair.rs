//! `cogfs doctor --repair` and `--full`, and what a report says in words.

use std::process::ExitCode;

use super::{Finding, Level, integrity, print};
use crate::cli::import::{self, INTERRUPTED};
use crate::cli::mount::BoxError;
use crate::cli::output::{self, count, printable};
use crate::store::forget::erase;
use crate::store::{Layout, StoreError, Writer};
use crate::upkeep::repair::{self, Mode, Report};

const CHECK: &str = "stored";
const PICTURES: &str = "pictures";

/// Findings of one kind that are told one by one; `--json` has all.
const SHOWN: usize = 10;

/// Compares everything; puts it right when that is wanted.
///
/// # Errors
/// When there is no database, or it cannot be read or written.
pub fn run(layout: &Layout, mode: Mode, json: bool) -> Result<ExitCode, BoxError> {
    if !layout.database().exists() {
        return Err(format!("{} does not exist: there is nothing to check", layout.database().display()).into());
    }
    let stop = import::stop_on_signals()?;
    // What is compared must not be written meanwhile by an import; a mount only reads.
    let _lock = import::lock(layout)?;
    if let Some(damage) = sqlite_damage(layout)? {
        return tell(&[damage], None, json);
    }
    let mut writer = Writer::open(layout)?;
    let bar = import::count_bar(json);
    let mut report = repair::run(&mut writer, mode, &stop, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        bar.set_message(progress.step);
    })?;
    bar.finish_and_clear();
    if mode == Mode::Mend && !report.interrupted {
        crate::cli::forget::warn(&crate::cli::forget::erase_rest(&mut writer)?)?;
        report.to_erase = erase::is_due(writer.conn())?;
    }
    tell(&findings(&report, mode), Some(&report), json)
}

/// Damage of the file itself: nothing computed from it can be trusted. The search index is another matter, as all of it is
/// computed anew.
fn sqlite_damage(layout: &Layout) -> Result<Option<Finding>, BoxError> {
    let mut problems = match integrity(layout) {
        Ok(problems) => problems,
        Err(StoreError::Sqlite(e)) => vec![e.to_string()],
        Err(e) => return Err(e.into()),
    };
    problems.retain(|problem| problem != "ok" && !is_of_search_index(problem));
    let what = problems.join("; ");
    Ok((!what.is_empty()).then(|| Finding::wrong("database", Level::Problem, what, super::RESTORE)))
}

/// Whether a line of SQLite's check is about the search index alone.
pub fn is_of_search_index(problem: &str) -> bool {
    problem.contains("turns_fts")
}

fn tell(findings: &[Finding], report: Option<&Report>, json: bool) -> Result<ExitCode, BoxError> {
    let sick = findings.iter().any(|f| f.level == Level::Problem);
    let interrupted = report.is_some_and(|r| r.interrupted);
    if json {
        output::json(&serde_json::json!({ "ok": !sick, "findings": findings, "report": report }))?;
    } else {
        print(findings)?;
    }
    Ok(match (interrupted, sick) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, true) => ExitCode::FAILURE,
        (false, false) => ExitCode::SUCCESS,
    })
}

/// A report in words. What was put right is no problem any more.
pub fn findings(report: &Report, mode: Mode) -> Vec<Finding> {
    let mut out: Vec<Finding> = wrong(report)
        .into_iter()
        .map(|what| match mode {
            Mode::Mend => Finding::ok(CHECK, format!("repaired: {what}")),
            Mode::Look => Finding::wrong(CHECK, Level::Problem, what, "Run `cogfs doctor --repair`."),
        })
        .collect();
    if report.outdated > 0 {
        let sessions = count(report.outdated, "session");
        let done = if mode == Mode::Mend { "were measured" } else { "will be measured by the next mount or import" };
        out.push(Finding::ok(CHECK, format!("{sessions} of another version of cogfs {done}")));
    }
    if report.interrupted {
        let fix = "What was repaired stays. Run it again for the rest.";
        out.push(Finding::wrong(CHECK, Level::Advice, "interrupted", fix));
    } else if !report.is_wrong() {
        out.push(Finding::ok(CHECK, "what is computed agrees with what is kept"));
    }
    if report.to_erase {
        let fix = "Run `cogfs doctor --repair`: it goes on.";
        out.push(Finding::wrong(CHECK, Level::Advice, "what was forgotten is not erased from the files yet", fix));
    }
    out.extend(unreadable(report));
    out.extend(files(report, mode));
    out
}

fn wrong(report: &Report) -> Vec<String> {
    let counted = [
        (report.lengths, "session", "with wrong lengths"),
        (report.counters, "session", "with wrong counts or times"),
        (report.ids, "turn", "that its id does not lead to"),
        (report.tokens, "session", "with wrong sums of tokens"),
        (report.raw, "session", "with misplaced raw records"),
        (report.turn_images, "turn", "with a wrong number of pictures"),
        (report.commits, "commit", "with wrong times"),
        (report.search_turns, "turn", "missing in the search index, or there too often"),
    ];
    let mut out: Vec<String> = counted
        .into_iter()
        .filter(|(n, ..)| *n > 0)
        .map(|(n, one, what)| format!("{} {what}", count(n, one)))
        .collect();
    if report.search_damaged {
        out.push("the search index is damaged or was not built to its end".to_owned());
    }
    out
}

fn unreadable(report: &Report) -> Vec<Finding> {
    let fix = "What is damaged stays as it is. Import the logs again into a new folder (COGFS_HOME=NEW cogfs import).";
    let told = report.unreadable.iter().take(SHOWN);
    told.map(|what| Finding::wrong(CHECK, Level::Problem, printable(what), fix)).collect()
}

fn files(report: &Report, mode: Mode) -> Vec<Finding> {
    let mut out = Vec::new();
    if report.pictures_restored > 0 {
        let n = count(report.pictures_restored, "picture");
        out.push(Finding::ok(PICTURES, format!("restored from the raw records: {n}")));
    }
    if !report.pictures_missing.is_empty() {
        let names: Vec<String> = report.pictures_missing.iter().take(SHOWN).map(|p| printable(&p.file_name)).collect();
        let n = count(report.pictures_missing.len() as u64, "picture");
        let fix = match mode {
            Mode::Look => "Run `cogfs doctor --repair`: the raw records may hold them.",
            Mode::Mend => "The raw records do not hold them. A backup of the folder's blobs/ may.",
        };
        out.push(Finding::wrong(
            PICTURES,
            Level::Problem,
            format!("missing or damaged: {n}: {}", names.join(", ")),
            fix,
        ));
    }
    if !report.unreferenced.is_empty() {
        let n = count(report.unreferenced.len() as u64, "file");
        let first = report.unreferenced.first().map(|p| printable(p)).unwrap_or_default();
        let fix = "They harm nobody, and cogfs deletes none. `--json` lists them all.";
        out.push(Finding::wrong(
            PICTURES,
            Level::Advice,
            format!("{n} that no picture refers to, such as {first}"),
            fix,
        ));
    }
    out
}
