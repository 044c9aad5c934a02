//! The command line: one file a command. Prints, shows progress, and turns results into exit codes; everything else is the
//! library's.

mod analytics;
mod completions;
mod config;
mod continuous;
mod demo;
mod doctor;
mod edit;
mod export;
mod fetch;
mod forget;
mod fstab;
mod git_notes;
mod import;
mod log;
mod login;
mod logout;
mod man;
pub mod mount;
mod output;
mod project;
mod prune;
mod redact;
mod remote;
mod resolve;
mod restore;
mod search;
mod service;
mod stats;
mod status;
mod sync;
mod trash;
mod undo;
pub mod unmount;
mod watch;
mod whoami;

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, io, process};

use clap::{Parser, Subcommand};
use rusqlite::Connection;
use tracing_subscriber::EnvFilter;

use crate::cloud::CloudError;
use crate::config::Folders;
use crate::follow;
use crate::fs::{CogFs, Places};
use crate::store::{self, Layout, StoreError, Writer, sessions};
use crate::sync::engine::SyncError;
use crate::{render, upkeep};
use mount::BoxError;

/// Your AI coding conversations as ordinary files
///
/// cogfs keeps the conversations you had with coding agents (Claude Code, Codex, OpenCode, Gemini CLI, Copilot CLI) in a
/// database of its own, which the agents' clean-up does not touch, and shows them as directories and Markdown files.
///
/// Everything is kept in the folder COGFS_HOME, if that is set, else in ~/.local/share/cogfs and ~/.local/state/cogfs.
/// COGFS_LOG sets what is logged (error, warn, info, debug).
///
/// Exit status: 0 all well, 1 failed, 2 wrong usage, 3 some records were skipped (import), refused (push) or could not be had
/// (fetch, export), 4 nobody is logged in, 5 the cloud cannot be reached, 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "cogfs", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::ImportArgs),
    /// Show the conversations as files in a directory
    ///
    /// Returns when the mount answers; it runs on in the background, imports what the agents have written and write, and shows
    /// it within two seconds. Where inotify does not work (logs on another machine's disk), COGFS_WATCH=poll looks for changes
    /// every second.
    Mount(mount::MountArgs),
    /// Take a mount away
    ///
    /// A busy mount is detached: it goes away when the last program that uses it leaves. A mount whose process died is cleared.
    Unmount(unmount::UnmountArgs),
    Watch(watch::WatchArgs),
    Search(search::SearchArgs),
    Status(status::StatusArgs),
    Edit(edit::EditArgs),
    Trash(trash::TrashArgs),
    Restore(restore::RestoreArgs),
    Log(log::LogArgs),
    Undo(undo::UndoArgs),
    Push(sync::PushArgs),
    Pull(sync::PullArgs),
    Sync(sync::SyncArgs),
    Fetch(fetch::FetchArgs),
    Export(export::ExportArgs),
    Project(project::ProjectArgs),
    Redact(redact::RedactArgs),
    Stats(stats::StatsArgs),
    Analytics(analytics::AnalyticsArgs),
    Doctor(doctor::DoctorArgs),
    Prune(prune::PruneArgs),
    GitNotes(git_notes::GitNotesArgs),
    Forget(forget::ForgetArgs),
    Login(login::LoginArgs),
    Logout(logout::LogoutArgs),
    Whoami(whoami::WhoamiArgs),
    Config(config::ConfigArgs),
    Demo(demo::DemoArgs),
    Service(service::ServiceArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    // Output into `head` ends quietly, as with any other tool.
    output::end_quietly_on_closed_pipe();
    output::give_large_memory_back();
    if let Some(code) = as_helper() {
        return code;
    }
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("COGFS_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("cogfs: {error}");
            exit_code(&error)
        }
    }
}

/// Runs as mount(8)'s helper: as the command that is meant. `None`: it is not run as that.
fn as_helper() -> Option<ExitCode> {
    let name = env::args_os().next()?;
    if Path::new(&name).file_name()? != fstab::NAME {
        return None;
    }
    // What mount(8) takes for "incorrect invocation", and for any other failure.
    let (usage, failure) = (ExitCode::from(1), ExitCode::from(32));
    let meant = match fstab::command_line(env::args_os()) {
        Ok(meant) if meant.is_fake => return Some(ExitCode::SUCCESS),
        Ok(meant) => meant,
        Err(error) => {
            eprintln!("{error}");
            return Some(usage);
        }
    };
    let program = env::current_exe().unwrap_or_else(|_| "cogfs".into());
    let mut command = process::Command::new(program);
    command.arg0("cogfs").args(meant.args()).envs(meant.home.map(|home| ("COGFS_HOME", home)));
    eprintln!("{}: {}", fstab::NAME, command.exec());
    Some(failure)
}

/// The exit status of an error: what a script can act on has its own.
fn exit_code(error: &BoxError) -> ExitCode {
    let of_sync = error.downcast_ref().and_then(|error| match error {
        SyncError::Cloud(error) => Some(error),
        _ => None,
    });
    match of_sync.or_else(|| error.downcast_ref()) {
        Some(CloudError::LoginNeeded) => ExitCode::from(4),
        Some(CloudError::Unreachable(_) | CloudError::Busy { .. } | CloudError::Garbled(_)) => ExitCode::from(5),
        _ => ExitCode::FAILURE,
    }
}

fn run(command: Command) -> Result<ExitCode, BoxError> {
    let folders = Folders::from_env()?;
    match command {
        Command::Import(args) => import::run(&folders, &args),
        Command::Mount(args) => {
            let open = || open_tree(&folders, &args.dir, args.read_only);
            mount::run(&args, &folders.mount_log(), &open).map(|()| ExitCode::SUCCESS)
        }
        Command::Unmount(args) => unmount::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Watch(args) => watch::run(&folders, args),
        Command::Search(args) => search::run(&folders, &args),
        Command::Status(args) => status::run(&folders, &args),
        Command::Edit(args) => edit::run(&folders, &args),
        Command::Trash(args) => trash::run(&folders, &args),
        Command::Restore(args) => restore::run(&folders, &args),
        Command::Log(args) => log::run(&folders, &args),
        Command::Undo(args) => undo::run(&folders, &args),
        Command::Push(args) => sync::push(&folders, &args),
        Command::Pull(args) => sync::pull(&folders, &args),
        Command::Sync(args) => sync::sync(&folders, &args),
        Command::Fetch(args) => fetch::run(&folders, &args),
        Command::Export(args) => export::run(&folders, &args),
        Command::Project(args) => project::run(&folders, &args),
        Command::Redact(args) => redact::run(&folders, &args),
        Command::Stats(args) => stats::run(&folders, &args),
        Command::Analytics(args) => analytics::run(&folders, &args),
        Command::Doctor(args) => doctor::run(&folders, &args),
        Command::GitNotes(args) => git_notes::run(&folders, &args),
        Command::Prune(args) => prune::run(&folders, &args),
        Command::Forget(args) => forget::run(&folders, &args),
        Command::Login(args) => login::run(&folders, &args),
        Command::Logout(args) => logout::run(&folders, &args),
        Command::Whoami(args) => whoami::run(&folders, &args),
        Command::Config(args) => config::run(&folders, &args),
        Command::Demo(args) => demo::run(&folders, &args),
        Command::Service(args) => service::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Opens the tree to be mounted; an empty database is made where there is none.
fn open_tree(folders: &Folders, dir: &std::path::Path, read_only: bool) -> Result<mount::Serving, BoxError> {
    let layout = folders.layout();
    let conn = open_current(&layout)?;
    let unwanted = follow::is_unwanted(&conn)?;
    if sessions::outdated_count(&conn, render::VERSION)? > 0 {
        // The mount does not wait for it: what is not measured again yet is measured when it is asked for.
        upkeep::lengths::update_in_background(&layout);
    }
    let dir = std::path::absolute(dir)?;
    let dir = dir.to_string_lossy();
    let mut fs = CogFs::with_connection(conn, &layout, &dir)?;
    if !read_only {
        fs.make_writable(&Places { scratch: folders.scratch(), errors: folders.errors_log() })?;
    }
    let fs = Arc::new(fs);
    remote::connect(&fs, folders);
    let folders = folders.clone();
    let sync: mount::StartSync = Box::new(move |begin_after, told| continuous::start(&folders, begin_after, told));
    Ok(mount::Serving { fs, follow: (!unwanted).then(|| follow::Options::new(layout, Vec::new())), sync })
}

/// A reader of the database. One that is not there or not up to date is made so first, which takes a writer.
fn open_current(layout: &Layout) -> Result<Connection, StoreError> {
    match store::open_reader(layout) {
        Ok(conn) if store::is_current(&conn)? => Ok(conn),
        // A writer makes the database, or says better what is wrong with it.
        _ => {
            drop(Writer::open(layout)?);
            store::open_reader(layout)
        }
    }
}
