//! `cogfs config`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::json;

use super::mount::BoxError;
use super::output;
use crate::config::Folders;
use crate::config::settings::{self, Origin, Setting, Settings};
use crate::sync::continuous::socket;

/// Read and change settings
///
/// They are kept in config.toml, in the folder COGFS_HOME/config, or in ~/.config/cogfs; its comments stay. The environment comes
/// first: COGFS_SYNC_URL, COGFS_SYNC_KEY, COGFS_SYNC_REDACT and so on.
///
/// Settings: sync.url, the server that conversations are synced with; sync.key, its publishable (anon) key; sync.redact, whether
/// secrets are taken out of what is sent (true); sync.continuous, whether a mount and `cogfs watch` sync by themselves (true), and
/// sync.interval, how often they ask the server when nothing happens (10s); fetch.images, when pictures of other machines are fetched (on-open, never or
/// always); fetch.timeout, how long a program that reads waits for another machine's
/// contents (10s); cache.max_bytes and cache.ttl, what copies of those may take (1GiB) and how long they stay unused (30d); analytics.share,
/// whether counts of each week are sent to the server, with noise (false: see `cogfs analytics`).
#[derive(Debug, clap::Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    what: What,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the value of a setting; exit status 1 when it is not set
    Get {
        /// The setting's name
        #[arg(value_name = "NAME", value_parser = names())]
        name: String,
    },
    /// Change a setting
    Set {
        /// The setting's name
        #[arg(value_name = "NAME", value_parser = names())]
        name: String,
        /// Its new value
        value: String,
    },
    /// Print every setting, with its value and where it comes from
    List,
}

/// Names that are none are refused with those that are, and shells complete them.
fn names() -> clap::builder::PossibleValuesParser {
    clap::builder::PossibleValuesParser::new(Setting::ALL.map(Setting::name))
}

/// Runs `cogfs config`.
///
/// # Errors
/// When a setting is not set or cannot be what it is to be, or the file cannot be read or written.
pub fn run(folders: &Folders, args: &ConfigArgs) -> Result<ExitCode, BoxError> {
    match &args.what {
        What::Get { name } => get(folders, Setting::of(name)?, args.json)?,
        What::Set { name, value } => {
            set(folders, Setting::of(name)?, value, args.json)?;
            socket::look(&folders.engine_socket());
        }
        What::List => list(folders, args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn get(folders: &Folders, setting: Setting, json: bool) -> Result<(), BoxError> {
    let settings = Settings::load(folders)?;
    let name = setting.name();
    let Some((value, origin)) = settings.get(setting) else {
        return Err(
            format!("{name} is not set: `cogfs config set {name} VALUE` does, it is {}", setting.about()).into()
        );
    };
    if json {
        output::json(&json!({"name": name, "value": value, "origin": origin}))?;
    } else {
        writeln!(io::stdout(), "{value}")?;
    }
    Ok(())
}

fn set(folders: &Folders, setting: Setting, value: &str, json: bool) -> Result<(), BoxError> {
    let value = settings::set(folders, setting, value)?;
    if json {
        output::json(&json!({"name": setting.name(), "value": value, "file": folders.settings()}))?;
    }
    if std::env::var_os(setting.variable()).is_some_and(|v| !v.is_empty()) {
        writeln!(io::stderr(), "cogfs: {} is set in the environment, and comes first", setting.variable())?;
    }
    Ok(())
}

fn list(folders: &Folders, json: bool) -> Result<(), BoxError> {
    let settings = Settings::load(folders)?;
    let found = Setting::ALL.map(|setting| (setting, settings.get(setting)));
    if json {
        let all = found.map(|(setting, found)| {
            let (value, origin) = found.unzip();
            json!({"name": setting.name(), "value": value, "origin": origin, "about": setting.about()})
        });
        output::json(&json!({"file": folders.settings(), "settings": all}))?;
        return Ok(());
    }
    let mut out = io::stdout().lock();
    for (setting, found) in found {
        let value = match found {
            Some((value, Origin::File)) => value.to_owned(),
            Some((value, Origin::Environment)) => format!("{value} ({})", setting.variable()),
            None => format!("(not set) {}", setting.about()),
        };
        writeln!(out, "{:<17}{value}", setting.name())?;
    }
    Ok(())
}
