//! `cogfs doctor`: looks at what cogfs stands on, and says what to do about what is wrong.

mod formats;
mod repair;

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use super::mount::BoxError;
use super::output;
use crate::config::Folders;
use crate::fuse;
use crate::store::{self, Layout, unknown};
use crate::upkeep::{self, repair::Mode};

/// Days after which Claude Code deletes its logs, unless its settings say otherwise.
const CLAUDE_DEFAULT_DAYS: u64 = 30;

/// Check what cogfs needs, and say what to do about what is wrong
///
/// Exit status: 0 nothing is wrong (there may be advice), 1 something is, 130 interrupted. Records of unknown kinds are news
/// of an agent's format, not damage: they are kept, and change no exit status.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// List the kinds of records that this version does not know, and the logs with damaged lines
    #[arg(long)]
    formats: bool,
    /// Compute everything that follows from what is kept, and compare: takes as long as --repair, changes nothing
    #[arg(long, conflicts_with_all = ["formats", "repair"])]
    full: bool,
    /// Put right what can be computed anew: search index, lengths, counters, times, missing pictures
    ///
    /// Conversations and raw records are never changed, and nothing is deleted but what a killed `cogfs forget` left. Mounts may stay; imports wait. Interrupted, what
    /// was repaired stays, and the next run goes on.
    #[arg(long, conflicts_with = "formats")]
    repair: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// What to do about damage of the file itself.
const RESTORE: &str = "Nothing was changed. Keep the folder as it is (some of it can be read still), and import the logs again into a new one \
    (COGFS_HOME=NEW cogfs import). A backup of the folder is the way back to what the agents have deleted since.";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    Ok,
    Advice,
    Problem,
}

#[derive(Debug, Clone, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, what: what.into(), fix: None }
    }

    fn wrong(check: &'static str, level: Level, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, level, what: what.into(), fix: Some(fix.into()) }
    }
}

/// Runs `cogfs doctor`.
///
/// # Errors
/// When stdout cannot be written.
pub fn run(folders: &Folders, args: &DoctorArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    if args.formats {
        return formats::run(&layout, args.json);
    }
    if args.repair || args.full {
        let mode = if args.repair { Mode::Mend } else { Mode::Look };
        return repair::run(&layout, mode, args.json);
    }
    let findings: Vec<Finding> =
        [fuse_device(), fusermount(), database(&layout), mounts(), claude_cleanup(), updatedb()].concat();
    let sick = findings.iter().any(|f| f.level == Level::Problem);
    if args.json {
        output::json(&serde_json::json!({ "ok": !sick, "findings": findings }))?;
    } else {
        print(&findings)?;
    }
    Ok(if sick { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(findings: &[Finding]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for finding in findings {
        let word = match finding.level {
            Level::Ok => "ok     ",
            Level::Advice => "advice ",
            Level::Problem => "PROBLEM",
        };
        writeln!(out, "{word}  {}: {}", finding.check, finding.what)?;
        if let Some(fix) = &finding.fix {
            writeln!(out, "         {fix}")?;
        }
    }
    Ok(())
}

fn fuse_device() -> Vec<Finding> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    vec![match opened {
        Ok(_) => Finding::ok("fuse", "/dev/fuse can be opened"),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Finding::wrong(
            "fuse",
            Level::Problem,
            "/dev/fuse does not exist",
            "Run `modprobe fuse` as root; in a container start it with --device /dev/fuse --cap-add SYS_ADMIN.",
        ),
        Err(e) => Finding::wrong(
            "fuse",
            Level::Problem,
            format!("/dev/fuse cannot be opened: {e}"),
            "Its mode is 0666 where udev runs: `chmod 666 /dev/fuse` as root.",
        ),
    }]
}

fn fusermount() -> Vec<Finding> {
    let found = env::var_os("PATH")
        .map(|path| env::split_paths(&path).map(|dir| dir.join("fusermount3")).find(|p| p.exists()))
        .unwrap_or_default();
    vec![match found {
        Some(path) => Finding::ok("fusermount3", path.display().to_string()),
        None if rustix::process::geteuid().is_root() => {
            Finding::ok("fusermount3", "not installed, and not needed by root")
        }
        None => Finding::wrong(
            "fusermount3",
            Level::Problem,
            "not found: only root can mount without it",
            "Install it: `apt install fuse3` (Debian, Ubuntu), `dnf install fuse3` (Fedora).",
        ),
    }]
}

fn database(layout: &Layout) -> Vec<Finding> {
    let path = layout.database();
    if !path.exists() {
        return vec![Finding::wrong(
            "database",
            Level::Advice,
            format!("{} does not exist yet", path.display()),
            "Fill it: `cogfs import`, or `cogfs demo` to look around.",
        )];
    }
    let mut findings = vec![match integrity(layout) {
        Ok(problems) if problems == ["ok"] => Finding::ok("database", format!("{} is sound", path.display())),
        Ok(problems) if problems.iter().all(|p| repair::is_of_search_index(p)) => {
            Finding::wrong("database", Level::Problem, problems.join("; "), "Run `cogfs doctor --repair`.")
        }
        Ok(problems) => Finding::wrong("database", Level::Problem, problems.join("; "), RESTORE),
        Err(e) => Finding::wrong("database", Level::Problem, e.to_string(), RESTORE),
    }];
    findings.extend(too_open(layout));
    let computed = derived_values(layout, &findings);
    findings.extend(computed);
    findings.extend(unknown_kinds(layout));
    findings
}

/// What follows from what is kept, as far as it is told without reading all of it.
fn derived_values(layout: &Layout, told: &[Finding]) -> Vec<Finding> {
    match store::open_reader(layout).and_then(|conn| upkeep::repair::glance(&conn, layout)) {
        Ok(report) => repair::findings(&report, Mode::Look),
        Err(_) if told.iter().any(|f| f.level == Level::Problem) => Vec::new(),
        Err(e) => vec![Finding::wrong("database", Level::Problem, e.to_string(), RESTORE)],
    }
}

/// Kinds of records that nobody here knew when they were imported.
fn unknown_kinds(layout: &Layout) -> Option<Finding> {
    // A database that cannot be read was told of already.
    let (records, kinds) = store::open_reader(layout).and_then(|conn| unknown::totals(&conn)).ok()?;
    (records > 0).then(|| {
        Finding::wrong(
            "formats",
            Level::Advice,
            format!(
                "{} of {} that this cogfs does not know",
                output::count(records, "record"),
                output::count(kinds, "kind")
            ),
            "They are kept in raw.jsonl. `cogfs doctor --formats` lists them.",
        )
    })
}

/// The lines of SQLite's own check; `ok` alone when nothing is wrong.
fn integrity(layout: &Layout) -> store::Result<Vec<String>> {
    let conn = store::open_reader(layout)?;
    let mut query = conn.prepare("PRAGMA quick_check")?;
    let rows = query.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Conversations hold secrets: the folder is the owner's alone.
fn too_open(layout: &Layout) -> Option<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(layout.dir()).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then(|| {
        Finding::wrong(
            "database",
            Level::Problem,
            format!("others can look into {} (mode {mode:o})", layout.dir().display()),
            format!("chmod 700 {}", layout.dir().display()),
        )
    })
}

fn mounts() -> Vec<Finding> {
    match fuse::mounts() {
        Err(e) => vec![Finding::wrong("mounts", Level::Problem, e.to_string(), "Is /proc mounted?")],
        Ok(mounts) if mounts.is_empty() => vec![Finding::ok("mounts", "none")],
        Ok(mounts) => mounts
            .into_iter()
            .map(|mount| {
                let dir = mount.dir.display();
                if mount.alive {
                    Finding::ok("mounts", format!("{dir} answers"))
                } else {
                    let fix = format!("cogfs unmount {dir}");
                    Finding::wrong("mounts", Level::Problem, format!("{dir} does not answer: its process died"), fix)
                }
            })
            .collect(),
    }
}

/// Claude Code deletes logs that were not touched for a month: what was not imported by then is gone.
fn claude_cleanup() -> Vec<Finding> {
    let Some(dir) = env::var_os("CLAUDE_CONFIG_DIR")
        .filter(|d| !d.is_empty())
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".claude")))
        .filter(|d| d.is_dir())
    else {
        return Vec::new();
    };
    let path = dir.join("settings.json");
    let days = match fs::read(&path).map(|text| serde_json::from_slice::<Value>(&text)) {
        Ok(Ok(settings)) => settings["cleanupPeriodDays"].as_u64(),
        Ok(Err(e)) => {
            return vec![Finding::wrong(
                "claude",
                Level::Advice,
                format!("{} is not valid JSON: {e}", path.display()),
                "Claude Code then uses its defaults, which delete logs after 30 days.",
            )];
        }
        Err(_) => None,
    };
    vec![match days {
        Some(days) if days > CLAUDE_DEFAULT_DAYS => {
            Finding::ok("claude", format!("Claude Code keeps its logs for {days} days"))
        }
        days => Finding::wrong(
            "claude",
            Level::Advice,
            format!("Claude Code deletes its logs after {} days", days.unwrap_or(CLAUDE_DEFAULT_DAYS)),
            format!(
                "Import more often than that, or put \"cleanupPeriodDays\": 99999 into {} (cogfs keeps what it imported).",
                path.display()
            ),
        ),
    }]
}

/// `locate`'s nightly crawl reads whole mounts of types it does not know.
fn updatedb() -> Vec<Finding> {
    const PATH: &str = "/etc/updatedb.conf";
    let Ok(text) = fs::read_to_string(PATH) else { return Vec::new() };
    let pruned = text
        .lines()
        .filter(|line| line.trim_start().starts_with("PRUNEFS"))
        .any(|line| line.split(|c: char| c.is_whitespace() || "\"=".contains(c)).any(|word| word == "fuse.cogfs"));
    vec![if pruned {
        Finding::ok("updatedb", "locate leaves mounts alone")
    } else {
        let fix = format!("Add fuse.cogfs to PRUNEFS in {PATH}.");
        Finding::wrong("updatedb", Level::Advice, "the nightly run of locate crawls mounts", fix)
    }]
}
