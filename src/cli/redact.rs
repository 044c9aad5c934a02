//! `cogfs redact`: what would be taken out of what is sent.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use rusqlite::Connection;
use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, count, printable};
use super::{open_current, project, resolve, sync};
use crate::config::Folders;
use crate::curation::Entity;
use crate::model::Turn;
use crate::redact::Redactor;
use crate::store::{commits, projects, sessions, turns};

/// Show which secrets are taken out of what is sent to the cloud
///
/// Keys, tokens, passwords and the like are known by their shapes, or by the word beside them, and replaced by [redacted:KIND] in
/// what leaves this machine. What is stored here is never altered. `cogfs config set sync.redact false` turns it off.
#[derive(Debug, clap::Args)]
pub struct RedactArgs {
    /// Only these projects: the names of their directories
    #[arg(value_name = "PROJECT")]
    projects: Vec<String>,
    /// List them (there is nothing else to do: sending redacts by itself)
    #[arg(long)]
    preview: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A secret and its place.
#[derive(Debug, Serialize)]
struct Line {
    /// Below `projects/` of a mount.
    path: String,
    /// What of the turn it stands in.
    part: &'static str,
    line: usize,
    kind: &'static str,
    /// Its beginning.
    secret: String,
}

/// Runs `cogfs redact`.
///
/// # Errors
/// When there is no such project, or the database cannot be read.
pub fn run(folders: &Folders, args: &RedactArgs) -> Result<ExitCode, BoxError> {
    let conn = open_current(&folders.layout())?;
    let meant = if args.projects.is_empty() {
        projects::all(&conn)?
    } else {
        args.projects.iter().map(|name| project::find(&conn, name)).collect::<Result<_, _>>()?
    };
    let mut found = Vec::new();
    for project in meant {
        for commit in commits::rows_of_project(&conn, project.row)? {
            look_through(&conn, commit, &mut found)?;
        }
    }
    if args.json {
        output::json(&found)?;
    } else {
        print(&found)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The secrets in the turns of a commit.
fn look_through(conn: &Connection, commit: i64, found: &mut Vec<Line>) -> Result<(), BoxError> {
    for session in sessions::all_of_commit(conn, commit)? {
        let mut with_secrets = Vec::new();
        turns::for_each(conn, session.row, |turn| {
            let lines = secrets_of(&turn);
            if !lines.is_empty() {
                with_secrets.push((turn.number, lines));
            }
        })?;
        for (number, lines) in with_secrets {
            let path = resolve::place(conn, Entity::turn(turns::row_of(session.row, number)))?;
            found.extend(lines.into_iter().map(|line| Line { path: path.clone(), ..line }));
        }
    }
    Ok(())
}

fn secrets_of(turn: &Turn) -> Vec<Line> {
    let mut parts = vec![("text", turn.text.as_str())];
    if let Some(tool) = &turn.tool {
        parts.extend([("input", tool.input.as_str()), ("output", tool.output.as_str())]);
    }
    let mut lines = Vec::new();
    for (part, text) in parts {
        lines.extend(Redactor.secrets(text).into_iter().map(|secret| Line {
            path: String::new(),
            part,
            line: secret.line,
            kind: secret.kind,
            secret: secret.masked,
        }));
    }
    lines
}

fn print(found: &[Line]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let mut last = None;
    for line in found {
        if last != Some(&line.path) {
            writeln!(out, "{}", printable(&line.path))?;
            last = Some(&line.path);
        }
        writeln!(out, "  {} line {}: {}  {}", line.part, line.line, line.kind, printable(&line.secret))?;
        *kinds.entry(line.kind).or_default() += 1;
    }
    if found.is_empty() {
        return writeln!(out, "Nothing that looks like a secret.");
    }
    writeln!(
        out,
        "\nIn {} something is taken out of what is sent: {}.",
        count(found.len() as u64, "place"),
        sync::kinds(&kinds)
    )
}
