//! `cogfs import`.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::mount::BoxError;
use super::output::{self, count};
use crate::config::Folders;
use crate::ingest::{self, Options, Summary};
use crate::store::Layout;
use crate::store::lock::{Lock, Purpose};

/// Skipped records shown one by one; `--json` has all.
const SHOWN: usize = 20;

/// How long to wait for another import without saying so.
const WORTH_A_WORD: Duration = Duration::from_millis(500);

/// Exit status when some records were skipped.
const SOME_SKIPPED: u8 = 3;

/// Exit status of a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// Copy conversations out of the agents' logs into the database
///
/// Without PATH: the usual places of Claude Code (CLAUDE_CONFIG_DIR or ~/.claude) and Codex (CODEX_HOME or ~/.codex). With
/// PATH: files or folders, whose format is recognised by content. Importing again changes nothing but what is new, and nothing
/// is ever deleted because a log is gone.
///
/// Exit status: 0 all well, 3 some records were skipped, 1 failed.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Log files, or folders to look for them in
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Read everything and say what would be imported; write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Runs `cogfs import`.
///
/// # Errors
/// When nothing could be imported.
pub fn run(folders: &Folders, args: &ImportArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let _lock = if args.dry_run { None } else { Some(lock(&layout)?) };
    let summary =
        import(&layout, Options { places: args.paths.clone(), dry_run: args.dry_run }, args.quiet || args.json)?;
    if args.json {
        output::json(&summary)?;
    } else if !args.quiet {
        print(&summary)?;
    }
    Ok(exit_code(&summary))
}

/// Imports with a progress bar (on a terminal) and Ctrl-C.
pub(super) fn import(layout: &Layout, options: Options, quiet: bool) -> Result<Summary, BoxError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second Ctrl-C ends the program at once; the database is in a transaction then, and rolls back.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let bar = progress_bar(quiet);
    let summary = ingest::import(layout, &options, &stop, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        bar.set_message(progress.file.file_name().unwrap_or_default().to_string_lossy().into_owned());
    });
    bar.finish_and_clear();
    Ok(summary?)
}

fn progress_bar(quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let style = ProgressStyle::with_template(
        "{bar:24} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg:.dim}",
    );
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// One import at a time in a data folder: the second waits and says so.
fn lock(layout: &Layout) -> Result<Lock, BoxError> {
    let began = Instant::now();
    // What a mount imports of a running session takes a moment, which is not worth a word.
    while began.elapsed() < WORTH_A_WORD {
        if let Some(lock) = Lock::try_take(layout, &Purpose::Import)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    eprintln!("cogfs: another import is running; waiting for it");
    Ok(Lock::take(layout, &Purpose::Import)?)
}

fn exit_code(summary: &Summary) -> ExitCode {
    if summary.interrupted {
        ExitCode::from(INTERRUPTED)
    } else if summary.skipped.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(SOME_SKIPPED)
    }
}

fn print(summary: &Summary) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if summary.dry_run {
        writeln!(out, "Nothing was written (--dry-run). It would become:")?;
    }
    if summary.interrupted {
        writeln!(out, "Interrupted. What was read is kept; run it again for the rest.")?;
    }
    writeln!(
        out,
        "Read {} of {} ({}, {}) in {:.1} s: {} and {} found.",
        output::thousands(summary.files_read),
        count(summary.files, "log file"),
        count(summary.records, "record"),
        output::bytes(summary.bytes),
        summary.seconds,
        count(summary.new_turns, "new turn"),
        count(summary.git_commits, "git commit"),
    )?;
    writeln!(
        out,
        "In the database: {}, {}, {}, {}, {}, {}, {}.",
        count(summary.projects, "project"),
        count(summary.commits, "commit"),
        count(summary.sessions, "session"),
        count(summary.subagents, "subagent"),
        count(summary.turns, "turn"),
        count(summary.tool_calls, "tool call"),
        count(summary.images, "image"),
    )?;
    if summary.unfinished > 0 {
        writeln!(
            out,
            "{} still being written: a last line is not complete and is read when it is.",
            count(summary.unfinished, "log")
        )?;
    }
    if !summary.unknown.is_empty() {
        writeln!(out, "Records of unknown kinds (kept in raw.jsonl, shown in no turn):")?;
        for (kind, n) in &summary.unknown {
            writeln!(out, "  {n:>8}  {kind}")?;
        }
    }
    print_skipped(&mut out, summary)
}

fn print_skipped(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let total = summary.skipped.len() as u64 + summary.skipped_more;
    if total == 0 {
        return Ok(());
    }
    writeln!(out, "Skipped {}:", count(total, "damaged record"))?;
    for skipped in summary.skipped.iter().take(SHOWN) {
        let line = if skipped.line > 0 { format!(":{}", skipped.line) } else { String::new() };
        writeln!(out, "  {}{line}: {}", skipped.file, skipped.reason)?;
    }
    if total > SHOWN as u64 {
        writeln!(out, "  … and {} more (--json lists them)", output::thousands(total - SHOWN as u64))?;
    }
    Ok(())
}
