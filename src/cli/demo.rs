//! `cogfs demo`: a database of its own with a small sample.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use super::mount::BoxError;
use super::output;
use crate::config::Folders;
use crate::demo::FILES;
use crate::follow;
use crate::ingest::Options;
use crate::store::{Writer, private_dir};

/// Fill a database of its own with a small sample, to look around in
///
/// Your own conversations are not touched: the demo lives in a folder of its own, and removing that folder removes it.
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Mount it there at once
    #[arg(long, value_name = "DIR")]
    mount: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(long, conflicts_with = "mount")]
    json: bool,
}

/// Runs `cogfs demo`.
///
/// # Errors
/// When its folder cannot be written, or the mount fails.
pub fn run(folders: &Folders, args: &DemoArgs) -> Result<ExitCode, BoxError> {
    let home = folders.demo_home();
    let demo = Folders::below(&home);
    let logs = home.join("logs");
    for (path, bytes) in FILES {
        let path = logs.join(path);
        if let Some(dir) = path.parent() {
            private_dir(dir)?;
        }
        // An unchanged file keeps its time: a second demo imports nothing.
        if fs::read(&path).ok().as_deref() != Some(*bytes) {
            fs::write(&path, bytes)?;
        }
    }
    // A mount of the demo shows the demo, not what its user's agents write.
    follow::set_unwanted(Writer::open(&demo.layout())?.conn())?;
    let summary = super::import::import(&demo.layout(), Options { places: vec![logs], dry_run: false }, true)?;
    if args.json {
        output::json(&json!({ "home": home, "import": summary }))?;
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "The demo holds {} in {}: {}",
        output::count(summary.sessions, "session"),
        output::count(summary.projects, "project"),
        home.display()
    );
    match &args.mount {
        None => println!("Mount it: COGFS_HOME={} cogfs mount DIR", shell_quoted(&home.to_string_lossy())),
        Some(dir) => mount_demo(&home, dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Mounts it by the ordinary command, so that the background process finds the demo's home in its environment.
fn mount_demo(home: &std::path::Path, dir: &std::path::Path) -> Result<(), BoxError> {
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg("mount")
        .arg("--")
        .arg(dir)
        .env("COGFS_HOME", home)
        .status()?;
    if status.success() { Ok(()) } else { Err("the demo is there, but could not be mounted (see above)".into()) }
}

fn shell_quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+".contains(c));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}
