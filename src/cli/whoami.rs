//! `cogfs whoami`.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, bytes, printable, thousands};
use crate::cloud::auth::session::Session;
use crate::cloud::wire::{Limits, Status, Usage};
use crate::cloud::{Cloud, CloudError, open};
use crate::config::Folders;
use crate::config::settings::Settings;
use crate::model::Millis;
use crate::store::{self, machines};

/// Tell who is logged in, and how much of the account is used
///
/// Exit status: 0 all is told, 1 failed, 4 nobody is logged in, 5 the cloud cannot be reached: only what is known here is told.
#[derive(Debug, clap::Args)]
pub struct WhoamiArgs {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Whoami {
    user: String,
    name: Option<String>,
    email: Option<String>,
    provider: Option<String>,
    url: String,
    machine: Option<String>,
    /// Until when the token holds, which is renewed by itself; by this machine's clock.
    session_expires: String,
    plan: Option<String>,
    usage: Option<Usage>,
    limits: Option<Limits>,
    /// Counts of weeks are shared: the user said so.
    shares_analytics: bool,
}

/// What is said where counts of weeks are shared.
pub(super) const SHARED: &str = "each week's counts are shared: `cogfs analytics` shows them, --opt-out ends it";

/// Runs `cogfs whoami`.
///
/// # Errors
/// When nobody is logged in, or the session cannot be read.
pub fn run(folders: &Folders, args: &WhoamiArgs) -> Result<ExitCode, BoxError> {
    let kept = open::sessions(folders).load()?;
    let Some(kept) = kept else { return Err(CloudError::LoginNeeded.into()) };
    if let Some(code) = &kept.ended {
        tracing::info!(%code, "the server ended the session");
        return Err(CloudError::LoginNeeded.into());
    }
    let cloud = open::cloud(folders)?;
    if cloud.auth().server_url() != kept.url {
        let (there, here) = (&kept.url, cloud.auth().server_url());
        return Err(format!("logged in at {there}, but sync.url is {here}: run `cogfs login`, or set it back").into());
    }
    let (status, failure) = match cloud.status() {
        Ok(status) => (Some(status), None),
        Err(CloudError::LoginNeeded) => return Err(CloudError::LoginNeeded.into()),
        Err(error) => (None, Some(error)),
    };
    // It may be another now.
    let session = cloud.auth().kept()?.unwrap_or(kept);
    let shares = Settings::load(folders)?.shares_counts();
    let whoami = whoami(&session, status, machine(folders)?, shares);
    if args.json {
        output::json(&whoami)?
    } else {
        print(&whoami)?
    }
    failure.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

/// The name of this machine; `None` until something was imported on it.
fn machine(folders: &Folders) -> Result<Option<String>, BoxError> {
    let layout = folders.layout();
    if !layout.database().exists() {
        return Ok(None);
    }
    Ok(Some(machines::local_name(&store::open_reader(&layout)?)?).filter(|name| !name.is_empty()))
}

fn whoami(session: &Session, status: Option<Status>, machine: Option<String>, shares_analytics: bool) -> Whoami {
    let Session { user, name, email, provider, url, expires_in, received_at, .. } = session.clone();
    let (plan, usage, limits) = status.map_or((None, None, None), |s| (Some(s.plan), Some(s.usage), Some(s.limits)));
    let lasts = i64::try_from(expires_in.saturating_mul(1000)).unwrap_or(0);
    Whoami {
        user: user.to_string(),
        name,
        email,
        provider,
        url,
        machine,
        session_expires: Millis(received_at.0.saturating_add(lasts)).iso(),
        plan,
        usage,
        limits,
        shares_analytics,
    }
}

fn print(whoami: &Whoami) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut line = |what: &str, text: &str| writeln!(out, "{what:<10}{}", printable(text));
    let name = whoami.name.as_ref().or(whoami.email.as_ref()).unwrap_or(&whoami.user);
    let more = [whoami.email.as_ref().filter(|e| *e != name), whoami.provider.as_ref()];
    let more: Vec<&str> = more.into_iter().flatten().map(String::as_str).collect();
    line("user", &if more.is_empty() { name.clone() } else { format!("{name} ({})", more.join(", ")) })?;
    line("server", &whoami.url)?;
    line("machine", whoami.machine.as_deref().unwrap_or("(has no name until something is imported)"))?;
    let until = whoami.session_expires.get(..19).unwrap_or_default().replace('T', " ");
    line("session", &format!("until {until} UTC, renewed by itself"))?;
    if whoami.shares_analytics {
        line("analytics", SHARED)?;
    }
    let (Some(plan), Some(usage), Some(limits)) = (&whoami.plan, whoami.usage, whoami.limits) else {
        return line("plan", "unknown");
    };
    line("plan", plan)?;
    line("commits", &used(usage.commits, limits.commits, thousands))?;
    line("size", &used(usage.bytes, limits.bytes, bytes))
}

/// `[#####---------------]  27 %  68 of 250`.
pub(super) fn used(used: u64, limit: Option<u64>, words: fn(u64) -> String) -> String {
    let Some(limit) = limit else { return format!("{} (no limit)", words(used)) };
    let of = |whole: u128| if limit == 0 { whole } else { (u128::from(used) * whole).div_ceil(u128::from(limit)) };
    let filled = usize::try_from(of(20).min(20)).unwrap_or(20);
    format!("[{}{}] {:>3} %  {} of {}", "#".repeat(filled), "-".repeat(20 - filled), of(100), words(used), words(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_account() {
        assert_eq!(used(0, Some(250), thousands), "[--------------------]   0 %  0 of 250");
        assert_eq!(used(68, Some(250), thousands), "[######--------------]  28 %  68 of 250");
        assert_eq!(used(250, Some(250), thousands), "[####################] 100 %  250 of 250");
        assert_eq!(used(500, Some(250), thousands), "[####################] 200 %  500 of 250");
        assert_eq!(used(1, Some(0), thousands), "[####################] 100 %  1 of 0");
        assert_eq!(used(12_300_000, None, bytes), "12.3 MB (no limit)");
    }
}
