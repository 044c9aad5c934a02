//! `cogfs project`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use rusqlite::Connection;
use serde::Serialize;

use super::mount::BoxError;
use super::open_current;
use super::output::{self, count, printable};
use crate::config::Folders;
use crate::model::Project;
use crate::store::{self, Survives, Writer, commits, projects};

/// Say which projects may leave this machine
///
/// Nothing of a disabled project is sent to the cloud from here on; what was sent stays there (`cogfs forget` removes it).
#[derive(Debug, clap::Args)]
pub struct ProjectArgs {
    #[command(subcommand)]
    what: What,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let a project be synced
    Enable {
        /// The name of its directory
        #[arg(value_name = "PROJECT")]
        project: String,
    },
    /// Keep a project on this machine
    Disable {
        /// The name of its directory
        #[arg(value_name = "PROJECT")]
        project: String,
    },
    /// List the projects
    List,
}

#[derive(Debug, Serialize)]
struct Entry {
    id: String,
    name: String,
    /// Below `projects/`.
    directory: String,
    commits: u64,
    /// It may be synced.
    enabled: bool,
}

impl Entry {
    fn of(conn: &Connection, project: Project) -> store::Result<Self> {
        Ok(Self {
            commits: commits::rows_of_project(conn, project.row)?.len() as u64,
            enabled: projects::syncs(conn, project.row)?,
            id: project.id.to_string(),
            name: project.name,
            directory: project.dir_name,
        })
    }
}

/// A project by its directory's name, or its path in a mount.
///
/// # Errors
/// When there is none.
pub fn find(conn: &Connection, name: &str) -> Result<Project, BoxError> {
    let dir = name.trim_end_matches('/').rsplit('/').next().unwrap_or(name);
    let none = || format!("there is no project {name} (`cogfs project list` names them)");
    Ok(projects::by_dir_name(conn, dir)?.ok_or_else(none)?)
}

/// Runs `cogfs project`.
///
/// # Errors
/// When there is no such project, or the database cannot be used.
pub fn run(folders: &Folders, args: &ProjectArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    let (name, syncs) = match &args.what {
        What::Enable { project } => (project, true),
        What::Disable { project } => (project, false),
        What::List => {
            let conn = open_current(&layout)?;
            let all = projects::all(&conn)?.into_iter().map(|project| Entry::of(&conn, project));
            let entries = all.collect::<store::Result<Vec<_>>>()?;
            if args.json {
                output::json(&entries)?
            } else {
                print(&entries)?
            }
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut writer = Writer::open(&layout)?;
    let tx = writer.begin_urgent(Survives::Machine)?;
    let project = find(&tx, name)?;
    projects::set_syncs(&tx, project.row, syncs)?;
    let entry = Entry::of(&tx, project)?;
    tx.commit()?;
    if args.json {
        output::json(&entry)?;
    } else {
        let what = if syncs { "is synced" } else { "stays on this machine" };
        println!("{} {what}.", printable(&entry.directory));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(entries: &[Entry]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if entries.is_empty() {
        return writeln!(out, "No projects: nothing is imported yet.");
    }
    let width = entries.iter().map(|entry| entry.directory.chars().count()).max().unwrap_or(0);
    for entry in entries {
        let mark = if entry.enabled { "" } else { "  not synced" };
        writeln!(out, "{:<width$}  {}{mark}", printable(&entry.directory), count(entry.commits, "commit"))?;
    }
    Ok(())
}
