//! `cogfs watch`: follows the agents' logs in the foreground, for those who mount nothing.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::mount::BoxError;
use super::output::count;
use super::{continuous, status};
use crate::config::Folders;
use crate::follow::{Follower, News, Options};
use crate::ingest::FileRead;
use crate::model::Millis;
use crate::render::{SyncState, SyncStatus};
use crate::store::Writer;

/// Import what the agents write, as they write it, until interrupted
///
/// Without PATH: the usual places of all agents, those that are made later too. With PATH: these files and folders in place of
/// them. Imports what is new at first, and then each change a moment later; one line is printed for each log that changed. A
/// mount does the same by itself. With an account, what is imported and edited is synced with the cloud meanwhile. One process does it for a database at a time: a second one waits, and takes over when the
/// first ends.
///
/// Where inotify does not work (logs on another machine's disk), COGFS_WATCH=poll looks for changes every second. Ctrl-C ends
/// it, with exit status 0.
#[derive(Debug, clap::Args)]
pub struct WatchArgs {
    /// Log files, or folders to look for them in
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Do not sync with the cloud
    #[arg(long)]
    no_sync: bool,
    /// Print each event as one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Why it ends.
enum End {
    Signal,
    /// Nobody reads what is printed.
    Output(io::Error),
}

/// Runs `cogfs watch`.
///
/// # Errors
/// When the database cannot be used, or a place that was named is not there.
pub fn run(folders: &Folders, args: WatchArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    // What is wrong with it for good is told at once.
    drop(Writer::open(&layout)?);
    let mut places = Vec::new();
    for path in args.paths {
        // A name that leads nowhere is rather a slip of the hand than a place to come.
        path.metadata().map_err(|error| format!("{}: {error}", path.display()))?;
        places.push(std::path::absolute(path)?);
    }
    let (send, ends) = mpsc::channel();
    let (ends_by_output, json) = (Arc::new(Mutex::new(send.clone())), args.json);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new().name("cogfs-signals".to_owned()).spawn(move || {
        // The receiver is gone only when the program is about to end.
        for _ in signals.forever() {
            let _ = send.send(End::Signal);
        }
    })?;
    let told = move |printed: io::Result<()>| {
        if let Err(error) = printed {
            let _ = ends_by_output.lock().unwrap_or_else(PoisonError::into_inner).send(End::Output(error));
        }
    };
    let told_of_sync = told.clone();
    let follower = Follower::start(Options::new(layout, places), Arc::new(move |news| told(print(&news, json))))?;
    let shown = Mutex::new(SyncState::Off);
    let told_of_sync = move |status: &SyncStatus| {
        let before = std::mem::replace(&mut *shown.lock().unwrap_or_else(PoisonError::into_inner), status.state);
        if before != status.state {
            told_of_sync(print_sync(status, json));
        }
    };
    let sync = match args.no_sync {
        true => None,
        false => Some(continuous::start(folders, Duration::ZERO, Arc::new(told_of_sync))?),
    };
    let end = wait(&ends);
    drop((follower, sync));
    match end {
        End::Signal => Ok(ExitCode::SUCCESS),
        End::Output(error) => Err(error.into()),
    }
}

fn wait(ends: &Receiver<End>) -> End {
    ends.recv().unwrap_or(End::Signal)
}

fn print_sync(status: &SyncStatus, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let at = Millis::now().iso();
    if json {
        writeln!(out, "{}", json!({ "event": "sync", "at": at, "sync": status.to_json() }))?;
    } else {
        writeln!(out, "{at}  sync  {}", status::words(status))?;
    }
    out.flush()
}

fn print(news: &News, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        for event in events(news) {
            writeln!(out, "{event}")?;
        }
    } else {
        for line in lines(news) {
            writeln!(out, "{line}")?;
        }
    }
    out.flush()
}

fn lines(news: &News) -> Vec<String> {
    match news {
        News::Waiting => {
            vec!["Another cogfs follows these logs; waiting for it to end (Ctrl-C ends this one)".to_owned()]
        }
        News::Following { places, .. } if places.is_empty() => {
            vec!["Waiting for an agent to write its first log (Ctrl-C ends it)".to_owned()]
        }
        News::Following { places, files } => {
            let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
            vec![format!("Following {} in {} (Ctrl-C ends it)", count(*files, "file"), places.join(", "))]
        }
        // The lines of the files follow.
        News::Importing { .. } => Vec::new(),
        News::Imported(files) => files.iter().map(line).collect(),
        News::Problem(problem) => vec![format!("Trying again: {problem}")],
    }
}

fn line(file: &FileRead) -> String {
    let mut parts = vec![count(file.new_turns, "new turn")];
    if file.git_commits > 0 {
        parts.push(count(file.git_commits, "git commit"));
    }
    format!("{}  {}  {}  {}", Millis::now().iso(), file.agent.slug(), parts.join(", "), file.path.display())
}

fn events(news: &News) -> Vec<Value> {
    let at = Millis::now().iso();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    match news {
        News::Waiting => vec![json!({ "event": "waiting", "at": at })],
        News::Following { places, files } => {
            let places: Vec<String> = places.iter().map(|place| text(place)).collect();
            vec![json!({ "event": "following", "at": at, "places": places, "files": files })]
        }
        News::Importing { done_bytes, total_bytes } => {
            vec![json!({ "event": "importing", "at": at, "done_bytes": done_bytes, "total_bytes": total_bytes })]
        }
        News::Imported(files) => files
            .iter()
            .map(|file| {
                json!({
                    "event": "imported", "at": at, "file": text(&file.path), "agent": file.agent.as_str(),
                    "session": file.session, "new_turns": file.new_turns, "git_commits": file.git_commits,
                })
            })
            .collect(),
        News::Problem(problem) => vec![json!({ "event": "problem", "at": at, "problem": problem })],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Agent;

    fn imported() -> News {
        News::Imported(vec![FileRead {
            path: "/l/a.jsonl".into(),
            agent: Agent::Codex,
            session: "s".to_owned(),
            new_turns: 2,
            git_commits: 1,
        }])
    }

    #[test]
    fn a_change_is_one_line_for_people_and_one_object_for_programs() {
        let lines = lines(&imported());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("codex  2 new turns, 1 git commit  /l/a.jsonl"), "{}", lines[0]);
        let events = events(&imported());
        assert_eq!((events.len(), &events[0]["event"], &events[0]["new_turns"]), (1, &json!("imported"), &json!(2)));
    }
}
