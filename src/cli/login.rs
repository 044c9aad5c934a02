//! `cogfs login`: through the browser, or with email and password.

mod browser;
mod password;

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, printable};
use crate::cloud::auth::Auth;
use crate::cloud::auth::gotrue::Grant;
use crate::cloud::auth::session::Session;
use crate::cloud::http::errors::Failure;
use crate::cloud::{CloudError, open};
use crate::config::Folders;
use crate::store::{self, account};
use crate::sync::continuous::socket;

/// Log in to the cloud that conversations are synced with
///
/// Opens the browser at the server's login (GitHub, or --provider google), and waits for it for five minutes. On a machine
/// without a browser: --no-browser prints the address to open elsewhere; what the browser ends on there does not load, and its
/// address is to be pasted here. With --email: asks for the password, or reads it from standard input.
///
/// There is no server but yours: `cogfs config set sync.url` and `cogfs config set sync.key` name it. Logging in sends nothing of
/// your conversations. A database that was synced belongs to its account: another one is refused.
///
/// Exit status: 0 logged in, 1 refused, 5 the server cannot be reached.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// Whose account to log in with
    #[arg(long, value_enum, default_value_t = Provider::Github)]
    provider: Provider,
    /// Log in with an email address and a password instead
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["provider", "no_browser"])]
    email: Option<String>,
    /// Read the password from standard input, one line, in place of asking
    #[arg(long, requires = "email")]
    password_stdin: bool,
    /// Open no browser: print the address, and take the pasted code or the address that the browser ended on
    #[arg(long)]
    no_browser: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Where the browser's login goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Provider {
    Github,
    Google,
}

impl Provider {
    const fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Google => "google",
        }
    }
}

/// Runs `cogfs login`.
///
/// # Errors
/// When nobody is logged in at the end; the text says what to do.
pub fn run(folders: &Folders, args: &LoginArgs) -> Result<ExitCode, BoxError> {
    let cloud = open::cloud(folders)?;
    let login = Login { folders, auth: cloud.auth() };
    login.refuse_other_server(&open::server(folders)?.url)?;
    let session = if let Some(email) = &args.email {
        let password = if args.password_stdin { password::read() } else { password::ask(email) }?;
        login.finish(Grant::Password { email, password: &password })?
    } else {
        browser::log_in(&login, args.provider.name(), !args.no_browser)?
    };
    // What runs begins to sync at once, not a second later.
    socket::look(&folders.engine_socket());
    tell(&session, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// A login that is going on.
struct Login<'a> {
    folders: &'a Folders,
    auth: &'a Auth,
}

impl Login<'_> {
    /// What can be known before anybody logs in.
    fn refuse_other_server(&self, url: &str) -> Result<(), BoxError> {
        match self.bound()? {
            Some(bound) if bound.url != url => Err(account::OtherAccount(bound).into()),
            _ => Ok(()),
        }
    }

    fn bound(&self) -> Result<Option<account::Account>, BoxError> {
        let layout = self.folders.layout();
        // Nothing is made here for a login.
        if !layout.database().exists() {
            return Ok(None);
        }
        Ok(account::bound(&store::open_reader(&layout)?)?)
    }

    /// Gets a session, looks whose it is, and keeps it.
    fn finish(&self, grant: Grant<'_>) -> Result<Session, BoxError> {
        let session = self.auth.log_in(grant).map_err(words)?;
        let account = account::Account { user: session.user, url: session.url.clone() };
        if let Some(bound) = self.bound()?.filter(|bound| *bound != account) {
            self.auth.give_up(&session);
            let who = printable(&session.who());
            return Err(format!("not logged in as {who}: {}", account::OtherAccount(bound)).into());
        }
        self.auth.keep(&session)?;
        Ok(session)
    }
}

/// What a refused login means for who tried it.
fn words(failure: Failure) -> BoxError {
    let (code, message) = match failure {
        Failure::Auth { code, message } => (code, message),
        Failure::Cloud(error) => return error.into(),
        Failure::Expired | Failure::Duplicate => {
            return CloudError::Garbled("it answers another question".to_owned()).into();
        }
    };
    match code.as_str() {
        "invalid_credentials" | "invalid_grant" => "wrong email address or password".into(),
        "email_not_confirmed" => {
            "the address is not confirmed yet: open the link in the server's mail, then log in".into()
        }
        "email_provider_disabled" => "the server has no login with email and password: leave out --email".into(),
        "flow_state_not_found" | "flow_state_expired" | "bad_code_verifier" => {
            "the code was used already, is too old or another login's: run `cogfs login` again".into()
        }
        _ => CloudError::Refused { code: printable(&code), message: printable(&message) }.into(),
    }
}

fn tell(session: &Session, json: bool) -> io::Result<()> {
    #[derive(Serialize)]
    struct LoggedIn<'a> {
        user: String,
        name: &'a Option<String>,
        email: &'a Option<String>,
        provider: &'a Option<String>,
        url: &'a str,
    }
    if json {
        let Session { user, name, email, provider, url, .. } = session;
        return output::json(&LoggedIn { user: user.to_string(), name, email, provider, url });
    }
    writeln!(io::stdout(), "Logged in as {} at {}.", printable(&session.who()), session.url)
}
