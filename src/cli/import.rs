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
use crate::ingest::{self, Format, Options, Progress, Summary};
use crate::store::lock::{Lock, Purpose};
use crate::store::{Layout, Writer};
use crate::upkeep;

/// Skipped records shown one by one; `--json` has all.
const SHOWN: usize = 20;

/// How long to wait for another import without saying so.
const WORTH_A_WORD: Duration = Duration::from_millis(500);

/// Exit status when some records were skipped.
const SOME_SKIPPED: u8 = 3;

/// Exit status of a program ended by Ctrl-C.
pub(super) const INTERRUPTED: u8 = 130;

/// Copy conversations out of the agents' logs into the database
///
/// Without PATH: the usual places of Claude Code (CLAUDE_CONFIG_DIR or ~/.claude), Codex (CODEX_HOME or ~/.codex), OpenCode
/// (XDG_DATA_HOME or ~/.local/share, there `opencode`), Gemini CLI (~/.gemini, below GEMINI_CLI_HOME where that is set) and
/// Copilot CLI (COPILOT_HOME or ~/.copilot). With PATH: files or folders, whose format is recognised by content. Importing
/// again changes nothing but what is new, and nothing is ever deleted because a log is gone.
///
/// With --from: what is of one of these alone. CogCommit, Cursor and Antigravity are looked for where they keep their data; exports
/// of ChatGPT and Claude.ai are archives to be downloaded there, and named here, unpacked or not. Of CogCommit, titles and marks are kept.
///
/// Exit status: 0 all well, 3 some records were skipped, 1 failed.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Log files, exports or databases, or folders to look for them in
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,
    /// Import what is of this program or service alone
    #[arg(long, value_name = "FORMAT")]
    from: Option<From>,
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

/// What to import from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum From {
    /// Databases of CogCommit, and of Tuhnr, Agentlogs and Shipchronicle, as it was called
    Cogcommit,
    /// An export of ChatGPT: its archive, the folder that was in it, or conversations.json
    Chatgpt,
    /// An export of Claude.ai, likewise
    ClaudeAi,
    /// Cursor's editor: state.vscdb, of all workspaces or of one
    Cursor,
    /// Antigravity, as far as it can be read
    Antigravity,
}

impl From {
    fn format(self) -> Format {
        match self {
            Self::Cogcommit => Format::CogCommit,
            Self::Chatgpt => Format::ChatGpt,
            Self::ClaudeAi => Format::ClaudeAi,
            Self::Cursor => Format::Cursor,
            Self::Antigravity => Format::Antigravity,
        }
    }
}

/// Runs `cogfs import`.
///
/// # Errors
/// When nothing could be imported.
pub fn run(folders: &Folders, args: &ImportArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let _lock = if args.dry_run { None } else { Some(lock(&layout)?) };
    let summary = import_from(
        &layout,
        Options { places: args.paths.clone(), dry_run: args.dry_run },
        args.from,
        args.quiet || args.json,
    )?;
    if !args.dry_run {
        // What a killed `cogfs forget` left.
        super::forget::warn(&super::forget::erase_rest(&mut Writer::open(&layout)?)?)?;
    }
    if args.json {
        output::json(&summary)?;
    } else if !args.quiet {
        print(&summary)?;
    }
    Ok(exit_code(&summary))
}

/// Imports with a progress bar (on a terminal) and Ctrl-C.
pub(super) fn import(layout: &Layout, options: Options, quiet: bool) -> Result<Summary, BoxError> {
    import_from(layout, options, None, quiet)
}

fn import_from(layout: &Layout, options: Options, from: Option<From>, quiet: bool) -> Result<Summary, BoxError> {
    let stop = stop_on_signals()?;
    let (reading, indexing) = (bar_like(quiet, READING), bar_like(quiet, INDEXING));
    let summary =
        ingest::import_from(layout, &options, from.map(From::format), &stop, &mut |progress| match progress {
            Progress::Reading { done, total, file } => {
                reading.set_length(total);
                reading.set_position(done);
                reading.set_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
            Progress::Indexing { done, total } => {
                reading.finish_and_clear();
                indexing.set_length(total);
                indexing.set_position(done);
            }
        });
    reading.finish_and_clear();
    indexing.finish_and_clear();
    if !options.dry_run {
        update_lengths(layout, &stop, quiet)?;
    }
    Ok(summary?)
}

/// What another version of the program measured is measured again. Interrupted, the next import or mount goes on.
fn update_lengths(layout: &Layout, stop: &AtomicBool, quiet: bool) -> Result<(), BoxError> {
    let bar = count_bar(quiet);
    upkeep::lengths::update(&mut Writer::open(layout)?, stop, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message("sessions measured for this version of cogfs");
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Set by Ctrl-C and SIGTERM.
pub(super) fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // A second Ctrl-C ends the program at once; the database is in a transaction then, and rolls back.
        signal_hook::flag::register_conditional_shutdown(signal, i32::from(INTERRUPTED), Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// A bar of work that is counted in things.
pub(super) fn count_bar(quiet: bool) -> ProgressBar {
    bar_like(quiet, "{bar:24} {human_pos}/{human_len}  {eta} left  {wide_msg:.dim}")
}

/// A line of work whose end is not known.
pub(super) fn spinner(quiet: bool) -> ProgressBar {
    bar_like(quiet, "{spinner} {wide_msg}")
}

const READING: &str = "{bar:24} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {wide_msg:.dim}";
const INDEXING: &str = "{bar:24} {human_pos}/{human_len} sessions in the search index  {eta} left";

fn bar_like(quiet: bool, template: &str) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
    }
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// One import at a time in a data folder: the second waits and says so.
pub(super) fn lock(layout: &Layout) -> Result<Lock, BoxError> {
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
    if summary.interrupted || summary.index_unfinished {
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
    } else if summary.index_unfinished {
        writeln!(out, "Interrupted. Everything is stored; the next import completes the search index.")?;
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
    if summary.edits > 0 {
        writeln!(
            out,
            "{} kept as you had made them there: titles, marks, order (`cogfs log` lists them).",
            count(summary.edits, "edit")
        )?;
    }
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
            writeln!(out, "  {n:>8}  {}", output::printable(kind))?;
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
