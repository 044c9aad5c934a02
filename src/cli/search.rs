//! `cogfs search`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use super::mount::BoxError;
use super::open_current;
use super::output::{self, printable, thousands};
use crate::config::Folders;
use crate::fuse;
use crate::model::{Millis, Turn};
use crate::search::snippet::{Piece, snippet};
use crate::search::{self, Found, Hit, Key, Query, QueryError, SearchError, Words, filter_text};
use crate::store::search::{Completeness, SearchReader};
use crate::store::{self, Survives, Writer, commits, projects, searches, sessions, turns};
use crate::tree;

/// The exit status of a search that finds nothing, as `grep` has it, and of one that cannot be read.
const NOTHING: u8 = 1;
const USAGE: u8 = 2;

/// Find turns by their words
///
/// Words have to stand in a turn together, in any order; case and accents do not count. "in quotes": next to each other.
/// word*: any word that begins so. OR, NOT and parentheses combine them: login (redirect OR cookie) NOT test.
///
/// The options --project to --role can be written in the search as well, where NOT turns them round:
/// login project:plantshop NOT tool:bash since:2w. What is given twice may be either.
///
/// The best comes first: where the words stand often, in a short turn, in what was said rather than in what a tool printed,
/// and lately. On a mount, `ls search/'QUERY'` lists the same.
///
/// Exit status: 0 something was found, 1 nothing was found or it failed, 2 the search cannot be read.
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// What to search for
    #[arg(value_name = "QUERY")]
    query: Vec<String>,
    /// In projects of this name, or with it as a part of their name
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    project: Vec<String>,
    /// Of this agent: claude-code, codex, ...
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    agent: Vec<String>,
    /// By this model: a name or a part of one, as opus
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    model: Vec<String>,
    /// In commits that changed this file: its name, the end of its path, or a directory; *.rs and test_* too
    #[arg(long, value_name = "PATH", help_heading = "Filters")]
    file: Vec<String>,
    /// Calls of this tool: bash, edit, ...
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    tool: Vec<String>,
    /// Not older than this: 2026-08-19, 2026-08, 12h, 30d, 2w, 1y
    #[arg(long, value_name = "TIME", help_heading = "Filters")]
    since: Option<String>,
    /// Said by this one
    #[arg(long, value_name = "ROLE", help_heading = "Filters",
        value_parser = ["user", "assistant", "thinking", "tool", "system"])]
    role: Vec<String>,
    /// Turns to print
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
    /// Print the paths alone, one a line
    #[arg(long, short = 'l', conflicts_with = "json")]
    paths: bool,
    /// Keep the search: mounts list it in search/, with what is new in it
    #[arg(long)]
    keep: bool,
    /// Keep it no longer
    #[arg(long, conflicts_with_all = ["keep", "limit", "paths"])]
    drop: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    query: String,
    results: Vec<Shown>,
    /// There are more than `--limit`.
    more: bool,
    /// How much of the turns the index has.
    index: Completeness,
    /// Names in filters that nothing is called.
    unknown: Vec<String>,
    /// The mount that the paths are of; without one they are relative to where one would be.
    mount: Option<PathBuf>,
}

/// One turn that was found.
#[derive(Debug, Serialize)]
struct Shown {
    path: String,
    turn: u32,
    role: &'static str,
    tool: Option<String>,
    at: String,
    agent: &'static str,
    model: Option<String>,
    project: String,
    title: String,
    commit_id: String,
    session_id: String,
    turn_id: String,
    score: f64,
    snippet: String,
    /// Where in the snippet what was searched for stands: first character and the one behind the last.
    matches: Vec<(usize, usize)>,
    #[serde(skip)]
    pieces: Vec<Piece>,
}

/// Runs `cogfs search`.
///
/// # Errors
/// When the database cannot be read.
pub fn run(folders: &Folders, args: &SearchArgs) -> Result<ExitCode, BoxError> {
    let text = whole_text(args);
    let now = Millis::now();
    let query = match search::parse(&text, now) {
        Ok(query) => query,
        Err(error) => {
            say_what_is_wrong(&text, &error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    if args.keep || args.drop {
        let changed = keep_or_drop(folders, &text, args.keep)?;
        if args.drop {
            let said = if changed { "It is kept no longer." } else { "It was not kept." };
            eprintln!("{said}");
            return Ok(if changed { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
    let report = find(folders, args, text, &query, now)?;
    if args.json {
        output::json(&report)?;
    } else {
        tell(&report);
        print(&report, args.paths)?;
    }
    Ok(if report.results.is_empty() { ExitCode::from(NOTHING) } else { ExitCode::SUCCESS })
}

/// The query with what the options say, as one text.
fn whole_text(args: &SearchArgs) -> String {
    let several = [
        (Key::Project, &args.project),
        (Key::Agent, &args.agent),
        (Key::Model, &args.model),
        (Key::File, &args.file),
        (Key::Tool, &args.tool),
        (Key::Role, &args.role),
    ];
    let mut parts = args.query.clone();
    parts.extend(several.iter().flat_map(|(key, values)| values.iter().map(|value| filter_text(*key, value))));
    parts.extend(args.since.iter().map(|since| filter_text(Key::Since, since)));
    parts.join(" ")
}

/// The search, with a mark below the place.
fn say_what_is_wrong(text: &str, error: &QueryError) {
    eprintln!("cogfs: {error}");
    if !text.is_empty() && text.len() <= 200 && !text.contains(char::is_control) {
        eprintln!("  {}\n  {}^", printable(text), " ".repeat(error.at.saturating_sub(1)));
    }
    eprintln!("`cogfs search --help` tells what a search can say.");
}

fn keep_or_drop(folders: &Folders, text: &str, keep: bool) -> Result<bool, BoxError> {
    if keep && (text.contains('/') || text.len() > crate::fs::NAME_MAX || text.starts_with('.')) {
        return Err("this search cannot be a directory's name: it may not have a / in it, begin with a dot, or be \
            longer than 255 bytes. `file:login.py` finds a file without its folders"
            .into());
    }
    let mut writer = Writer::open(&folders.layout())?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    let changed = if keep { searches::keep(&mut tx, text, Millis::now())? } else { searches::drop(&mut tx, text)? };
    tx.commit()?;
    Ok(changed)
}

fn find(folders: &Folders, args: &SearchArgs, text: String, query: &Query, now: Millis) -> Result<Report, BoxError> {
    let layout = folders.layout();
    let conn = open_current(&layout)?;
    let index = SearchReader::open(&layout, &conn)?;
    let found: Found = search::run(&conn, index.as_ref(), query, args.limit as usize, now).map_err(|e| match e {
        SearchError::Query(error) => BoxError::from(error),
        SearchError::Store(error) => error.into(),
    })?;
    let mut results = Vec::with_capacity(found.hits.len());
    for hit in &found.hits {
        results.extend(shown(&conn, query.words.as_ref(), hit)?);
    }
    let mount = mount_of(&conn, results.first().map(|shown| shown.path.as_str()))?;
    if let Some(mount) = &mount {
        for shown in &mut results {
            shown.path = mount.join(&shown.path).to_string_lossy().into_owned();
        }
    }
    let (more, index, unknown) = (found.more, found.completeness, found.unknown);
    Ok(Report { query: text, results, more, index, unknown, mount })
}

/// A mount of this database, which has what was found; not yet, if that was imported a moment ago.
fn mount_of(conn: &Connection, path: Option<&str>) -> io::Result<Option<PathBuf>> {
    let (Some(path), Some(database)) = (path, conn.path()) else { return Ok(None) };
    let is_ours = |dir: &Path| {
        let status = std::fs::read(dir.join(".cogfs/status.json")).unwrap_or_default();
        serde_json::from_slice::<MountStatus>(&status).is_ok_and(|status| status.database == database)
    };
    let fits = |dir: &Path| dir.join(path).symlink_metadata().is_ok() && is_ours(dir);
    Ok(fuse::mounts()?.into_iter().find(|mount| mount.alive && fits(&mount.dir)).map(|mount| mount.dir))
}

/// What a mount says of itself.
#[derive(Deserialize)]
struct MountStatus {
    database: String,
}

fn shown(conn: &Connection, words: Option<&Words>, hit: &Hit) -> store::Result<Option<Shown>> {
    let (session_row, number) = turns::parts_of(hit.row);
    let (Some(turn), Some(session)) = (turns::get(conn, hit.row)?, sessions::get(conn, session_row)?) else {
        return Ok(None);
    };
    let Some(commit) = session.commit_row.map(|row| commits::get(conn, row)).transpose()?.flatten() else {
        return Ok(None);
    };
    let Some(path) = tree::path_of_turn(conn, hit.row)? else { return Ok(None) };
    let project = projects::get(conn, commit.project_row)?.map(|project| project.dir_name).unwrap_or_default();
    let pieces = pieces(words, &turn);
    let (snippet, matches) = joined(&pieces);
    Ok(Some(Shown {
        path,
        turn: number,
        role: hit.role.as_str(),
        tool: turn.tool.map(|tool| tool.name),
        at: hit.at.iso(),
        agent: session.agent.slug(),
        model: turn.model,
        project,
        title: commit.title,
        commit_id: commit.id.to_string(),
        session_id: session.id.to_string(),
        turn_id: turns::id(conn, hit.row)?.map(|id| id.to_string()).unwrap_or_default(),
        score: (hit.score * 1000.0).round() / 1000.0,
        snippet,
        matches,
        pieces,
    }))
}

fn pieces(words: Option<&Words>, turn: &Turn) -> Vec<Piece> {
    let phrases = words.map(Words::wanted).unwrap_or_default();
    let (input, output) = turn.tool.as_ref().map_or(("", ""), |tool| (tool.input.as_str(), tool.output.as_str()));
    snippet([&turn.text, input, output], &phrases)
}

/// The text of a snippet, and where what was searched for stands in it.
fn joined(pieces: &[Piece]) -> (String, Vec<(usize, usize)>) {
    let (mut text, mut matches, mut at) = (String::new(), Vec::new(), 0);
    for piece in pieces {
        let end = at + piece.text.chars().count();
        if piece.is_match {
            matches.push((at, end));
        }
        text.push_str(&piece.text);
        at = end;
    }
    (text, matches)
}

/// What a person should know of the result, on stderr.
fn tell(report: &Report) {
    let behind = match report.index {
        Completeness::Complete => None,
        Completeness::Behind => Some("the newest turns are not in the search index yet"),
        Completeness::Unfinished => Some("the search index is still being made: more may be found when it is done"),
        Completeness::Missing => Some("there is no search index yet"),
    };
    if let Some(behind) = behind {
        eprintln!("cogfs: {behind}; a mount brings it up to date, and so does `cogfs import`");
    }
    for name in &report.unknown {
        eprintln!("cogfs: there is no {}", printable(name));
    }
    if report.results.is_empty() {
        eprintln!("Nothing found.");
    } else if report.mount.is_none() && io::stdout().is_terminal() {
        eprintln!("Not mounted: the paths are those in a mount (`cogfs mount DIR`).");
    }
}

fn print(report: &Report, paths_alone: bool) -> io::Result<()> {
    let stdout = io::stdout();
    let colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = |style: Style| if colours { style } else { Style::new() };
    let (path, mark) = (style(AnsiColor::Magenta.on_default()), style(AnsiColor::Red.on_default().bold()));
    let faint = style(Style::new().dimmed());
    let mut out = stdout.lock();
    for (number, shown) in report.results.iter().enumerate() {
        if paths_alone {
            writeln!(out, "{}", shown.path)?;
            continue;
        }
        if number > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{path}{}{path:#}", printable(&shown.path))?;
        let who = shown.tool.as_ref().map_or_else(|| shown.role.to_owned(), |tool| format!("{} {tool}", shown.role));
        let at = shown.at.get(..16).unwrap_or(&shown.at).replace('T', " ");
        let about = format!("{at}  {}  {}: {}", who, shown.project, shown.title);
        writeln!(out, "  {faint}{}{faint:#}", printable(&about))?;
        write!(out, "  ")?;
        for piece in &shown.pieces {
            let mark = if piece.is_match { mark } else { Style::new() };
            write!(out, "{mark}{}{mark:#}", printable(&piece.text))?;
        }
        writeln!(out)?;
    }
    if report.more && !paths_alone {
        let first = thousands(report.results.len() as u64);
        eprintln!("\nThese are the first {first}; --limit N prints more.");
    }
    Ok(())
}
