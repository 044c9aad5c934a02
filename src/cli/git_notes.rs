//! `cogfs git-notes`: which conversations belong to a repository's commits, as notes of them or on the terminal.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use rusqlite::Connection;
use serde::Serialize;

use super::import::stop_on_signals;
use super::mount::BoxError;
use super::output::{self, bytes, count, printable};
use super::{fetch, open_current, resolve};
use crate::config::Folders;
use crate::curation::Entity;
use crate::export::{Clean, ExportError, Exporter, Format, What};
use crate::git_notes::{Found, REF, Repo, Told};
use crate::store::commits::Home;
use crate::store::{Layout, commits, git, sessions};

/// A note that is longer ends with a line that says so.
const LONGEST: usize = 1 << 20;

/// The exit status where something could not be had.
const SOME_LEFT: u8 = 3;

/// Keep conversations beside the git commits that they led to
///
/// Notes are of a repository (`refs/notes/cogfs`): `git log --notes=cogfs` and `git notes --ref=cogfs show HASH` show them, without
/// cogfs, too. Nothing of it is pushed unless you push that ref yourself. A commit is found by its hash and its subject; one that
/// a rebase or an amended message replaced, by its changes (`git patch-id`), as long as the repository still has the old one.
#[derive(Debug, clap::Args)]
pub struct GitNotesArgs {
    #[command(subcommand)]
    what: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the conversation of each commit that is known as a note of it
    ///
    /// Without keys, tokens and passwords. A conversation of more than 1 MiB is cut, and says so. What a note says already is not
    /// written again.
    Write {
        /// A folder in the repository; without it, the one you are in
        #[arg(value_name = "REPO", default_value = ".")]
        repo: PathBuf,
        /// Leave keys, tokens and passwords in
        #[arg(long)]
        keep_secrets: bool,
        /// Say which commits would have a note; write nothing
        #[arg(long)]
        dry_run: bool,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the conversation of a commit; exit status 1 when none is known
    Show {
        /// A folder in the repository; without it, the one you are in
        #[arg(value_name = "REPO", default_value = ".")]
        repo: PathBuf,
        /// Which commit: a hash, a branch, HEAD~2
        #[arg(long, value_name = "REV", default_value = "HEAD")]
        commit: String,
    },
}

#[derive(Debug, Default, Serialize)]
struct Outcome {
    dry_run: bool,
    /// Commits of the repository that have, or would have, a note.
    commits: Vec<Noted>,
    /// Notes that were not there, or said something else.
    written: usize,
    bytes: u64,
    /// Kinds of secrets that were taken out, and how many.
    redacted: BTreeMap<&'static str, usize>,
    failed: Vec<Failed>,
}

#[derive(Debug, Serialize)]
struct Noted {
    hash: String,
    /// The commit with the same changes that the log tells of.
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<String>,
    subject: String,
    /// The conversations, by their ids.
    ids: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Failed {
    id: String,
    reason: String,
}

/// What is known of a commit of the repository.
struct Known {
    replaces: Option<String>,
    subject: String,
    /// The conversations that led to it.
    rows: Vec<i64>,
}

/// By their hashes.
type AllKnown = BTreeMap<String, Known>;

/// Runs `cogfs git-notes`.
///
/// # Errors
/// When it is no repository, or it or the database cannot be used.
pub fn run(folders: &Folders, args: &GitNotesArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let conn = open_current(&layout)?;
    match &args.what {
        Action::Write { repo, keep_secrets, dry_run, json } => {
            let repo = Repo::open(repo)?;
            let known = known(&conn, &repo)?;
            let outcome = match dry_run {
                true => Outcome { dry_run: true, commits: noted(&conn, &known)?, ..Outcome::default() },
                false => write(folders, &conn, &repo, &known, Clean::new(!keep_secrets))?,
            };
            tell(&outcome, *json)?;
            Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(SOME_LEFT) })
        }
        Action::Show { repo, commit } => show(folders, &conn, &layout, repo, commit),
    }
}

/// What is known of the repository's commits. Deleted conversations are of none.
fn known(conn: &Connection, repo: &Repo) -> Result<AllKnown, BoxError> {
    let told = git::all_told(conn)?;
    let asked: Vec<Told> =
        told.iter().map(|git| Told { hash: git.hash.clone(), subject: git.subject.clone(), at: git.at }).collect();
    let mut known = AllKnown::new();
    for (git, found) in told.into_iter().zip(repo.find(&asked)?) {
        let Some(Found { hash, replaces }) = found else { continue };
        if commits::listed(conn, git.commit_row)?.is_none_or(|commit| commit.home == Home::Trash) {
            continue;
        }
        let entry = known.entry(hash).or_insert_with(|| Known { replaces, subject: git.subject, rows: Vec::new() });
        // An amended commit is told of twice, by one conversation.
        if !entry.rows.contains(&git.commit_row) {
            entry.rows.push(git.commit_row);
        }
    }
    Ok(known)
}

fn noted(conn: &Connection, known: &AllKnown) -> Result<Vec<Noted>, BoxError> {
    let noted = |(hash, known): (&String, &Known)| {
        let ids = known.rows.iter().map(|row| Ok(resolve::id(conn, Entity::commit(*row))?));
        let ids = ids.collect::<Result<_, BoxError>>()?;
        Ok(Noted { hash: hash.clone(), replaces: known.replaces.clone(), subject: known.subject.clone(), ids })
    };
    known.iter().map(noted).collect()
}

fn write(
    folders: &Folders,
    conn: &Connection,
    repo: &Repo,
    known: &AllKnown,
    clean: Clean,
) -> Result<Outcome, BoxError> {
    let layout = folders.layout();
    let meant: Vec<i64> = known.values().flat_map(|known| &known.rows).copied().collect();
    // What does not come is told of each.
    let _ = bring(folders, conn, &meant);
    let mut exporter = Exporter::new(conn, &layout, Format::Markdown, clean, false);
    let (mut notes, mut outcome) = (BTreeMap::<String, Vec<u8>>::new(), Outcome::default());
    for (hash, known) in known {
        for row in &known.rows {
            match transcript(&mut exporter, conn, *row) {
                Ok(text) => {
                    let note = notes.entry(hash.clone()).or_default();
                    if !note.is_empty() {
                        note.extend_from_slice(b"\n---\n\n");
                    }
                    note.extend_from_slice(&text);
                }
                Err(error) => outcome
                    .failed
                    .push(Failed { id: resolve::id(conn, Entity::commit(*row))?, reason: error.to_string() }),
            }
        }
    }
    outcome.commits = noted(conn, known)?;
    outcome.commits.retain(|commit| notes.contains_key(&commit.hash));
    outcome.bytes = notes.values().map(|note| note.len() as u64).sum();
    outcome.written = repo.write(&notes)?;
    outcome.redacted = exporter.clean.counts();
    Ok(outcome)
}

/// Fetches what is elsewhere.
fn bring(folders: &Folders, conn: &Connection, rows: &[i64]) -> Result<(), BoxError> {
    let mut wanted = Vec::new();
    for row in rows {
        wanted.extend(sessions::rows_of_commit(conn, *row)?);
    }
    fetch::before_export(folders, conn, &wanted, false, true, &*stop_on_signals()?)
}

/// A commit's transcript, not too long for a note.
fn transcript(exporter: &mut Exporter<'_>, conn: &Connection, row: i64) -> Result<Vec<u8>, BoxError> {
    let mut text = Vec::new();
    exporter.stream(What::Commit(row), &mut text)?;
    if text.len() > LONGEST {
        let left = text.len() - LONGEST;
        let end = text[..LONGEST].iter().rposition(|b| *b == b'\n').map_or(LONGEST, |at| at + 1);
        text.truncate(end);
        let id = resolve::id(conn, Entity::commit(row))?;
        text.extend_from_slice(format!("\n… {} more: `cogfs export {id}`\n", bytes(left as u64)).as_bytes());
    }
    Ok(text)
}

/// The conversation as it is here; where it is not, the note that somebody wrote.
fn show(
    folders: &Folders,
    conn: &Connection,
    layout: &Layout,
    repo: &Path,
    commit: &str,
) -> Result<ExitCode, BoxError> {
    let repo = Repo::open(repo)?;
    let hash = repo.commit(commit)?;
    let rows = known(conn, &repo)?.remove(&hash).map(|known| known.rows).unwrap_or_default();
    let mut out = io::stdout().lock();
    if rows.is_empty() {
        return match repo.note(&hash)? {
            Some(note) => {
                out.write_all(&note)?;
                Ok(ExitCode::SUCCESS)
            }
            None => Err(format!("no conversation is known of {hash}").into()),
        };
    }
    let fetched = bring(folders, conn, &rows);
    let mut exporter = Exporter::new(conn, layout, Format::Markdown, Clean::new(false), false);
    for (number, row) in rows.into_iter().enumerate() {
        if number > 0 {
            out.write_all(b"\n---\n\n")?;
        }
        match (exporter.stream(What::Commit(row), &mut out), fetched.as_ref()) {
            // Why it did not come says more than that it is not here.
            (Err(ExportError::Elsewhere(_)), Err(_)) => return fetched.map(|()| ExitCode::FAILURE),
            (done, _) => done?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(outcome: &Outcome, json: bool) -> io::Result<()> {
    if json {
        return output::json(outcome);
    }
    let mut out = io::stdout().lock();
    let commits = count(outcome.commits.len() as u64, "commit");
    if outcome.commits.is_empty() && outcome.failed.is_empty() {
        writeln!(out, "No conversation is known of this repository's commits.")?;
    } else if outcome.dry_run {
        writeln!(out, "Nothing was written (--dry-run). {commits} would have a note:")?;
        for commit in &outcome.commits {
            writeln!(out, "  {:.12}  {}", commit.hash, printable(&commit.subject))?;
        }
    } else {
        let written = count(outcome.written as u64, "note");
        writeln!(
            out,
            "{commits} of this repository with a conversation ({}), {written} written.",
            bytes(outcome.bytes)
        )?;
        writeln!(out, "`git log --notes={}` shows them.", REF.trim_start_matches("refs/notes/"))?;
        let secrets = outcome.redacted.values().sum::<usize>() as u64;
        if secrets > 0 {
            writeln!(out, "{} taken out.", count(secrets, "secret"))?;
        }
    }
    for failed in &outcome.failed {
        eprintln!("cogfs: {}: {}", failed.id, printable(&failed.reason));
    }
    Ok(())
}
