//! `cogfs logout`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;

use super::mount::BoxError;
use super::output::{self, printable};
use crate::cloud::auth::LoggedOut;
use crate::cloud::open;
use crate::config::Folders;
use crate::sync::continuous::socket;

/// Log out on this machine; other machines stay logged in
///
/// Conversations and edits stay, and so do those in the cloud: what is edited waits for the next login. Works without a network
/// too: then the server is not told, and the tokens are nobody's any more.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `cogfs logout`.
///
/// # Errors
/// When the session cannot be removed.
pub fn run(folders: &Folders, args: &LogoutArgs) -> Result<ExitCode, BoxError> {
    let sessions = open::sessions(folders);
    let done = match sessions.load()? {
        Some(session) => open::auth_of_session(folders, &session).log_out()?,
        None => {
            // What is there may be damaged.
            sessions.clear()?;
            LoggedOut::Already
        }
    };
    socket::look(&folders.engine_socket());
    let (who, reason) = match &done {
        LoggedOut::Already => (None, None),
        LoggedOut::Everywhere(session) => (Some(session.who()), None),
        LoggedOut::Here(session, error) => (Some(session.who()), Some(error.to_string())),
    };
    if args.json {
        let told = matches!(done, LoggedOut::Everywhere(_));
        output::json(&json!({"was_logged_in": who.is_some(), "server_told": told, "reason": reason}))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    match (who, reason) {
        (None, _) => writeln!(out, "Nobody was logged in.")?,
        (Some(who), None) => writeln!(out, "{} is logged out on this machine.", printable(&who))?,
        (Some(who), Some(reason)) => {
            writeln!(
                out,
                "{} is logged out on this machine. The server was not told: {}",
                printable(&who),
                printable(&reason)
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
