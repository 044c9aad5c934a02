//! `cogfs service`: a mount at each login, by systemd.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Subcommand;
use serde_json::json;

use super::mount::BoxError;
use super::output;

/// The unit's name.
const UNIT: &str = "cogfs.service";

/// Mount at each login, by systemd
#[derive(Debug, clap::Args)]
pub struct ServiceArgs {
    #[command(subcommand)]
    what: What,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Install the service and start it: the conversations are mounted at each login
    ///
    /// It writes ~/.config/systemd/user/cogfs.service, which restarts the mount should it die, and enables it. To have it run
    /// also while you are not logged in: `loginctl enable-linger`.
    Install {
        /// Where to show the conversations: an empty directory, made if it does not exist
        dir: PathBuf,
    },
    /// Stop the service and take it away; the conversations stay
    Remove,
}

/// Runs `cogfs service`.
///
/// # Errors
/// When there is no systemd for this user, or the unit cannot be written or started.
pub fn run(args: &ServiceArgs) -> Result<ExitCode, BoxError> {
    let path = unit_path()?;
    match &args.what {
        What::Install { dir } => {
            let dir = std::path::absolute(dir)?;
            let program = env::current_exe()?;
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, unit(&program, &dir, env::var("COGFS_HOME").ok().as_deref())?)?;
            let started = systemctl(&["daemon-reload"]).and_then(|()| systemctl(&["enable", "--now", UNIT]));
            if let Err(why) = started {
                let path = path.display();
                return Err(format!("{path} is written, but could not be started: {why}").into());
            }
            if args.json {
                output::json(&json!({ "unit": path, "mounted": dir }))?;
            } else {
                println!("Installed {}: mounted on {} now and at each login", path.display(), dir.display());
            }
        }
        What::Remove => {
            if !path.exists() {
                return Err(format!("{} is not there: nothing to remove", path.display()).into());
            }
            // A service that does not run can be removed too.
            let stopped = systemctl(&["disable", "--now", UNIT]);
            fs::remove_file(&path)?;
            let _ = systemctl(&["daemon-reload"]);
            if args.json {
                output::json(&json!({ "removed": path }))?;
            } else {
                println!("Removed {}", path.display());
            }
            if let Err(why) = stopped {
                eprintln!("cogfs: it was not stopped: {why}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unit_path() -> Result<PathBuf, BoxError> {
    let config = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    Ok(config.ok_or("HOME is not set")?.join("systemd/user").join(UNIT))
}

fn systemctl(args: &[&str]) -> Result<(), String> {
    let ran = Command::new("systemctl").arg("--user").args(args).output();
    match ran {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Err(format!("systemctl cannot be run: {error}")),
    }
}

/// The unit. The mount tells systemd nothing: it is up when the process runs, and answers a moment later.
fn unit(program: &Path, dir: &Path, home: Option<&str>) -> Result<String, BoxError> {
    let (program, dir) = (quoted(program)?, quoted(dir)?);
    let home = match home {
        Some(home) => format!("Environment={}\n", quoted(Path::new(&format!("COGFS_HOME={home}")))?),
        None => String::new(),
    };
    Ok(format!(
        "[Unit]\n\
         Description=AI coding conversations as files\n\
         Documentation=man:cogfs(1)\n\
         \n\
         [Service]\n\
         {home}\
         ExecStart={program} mount --foreground {dir}\n\
         ExecStop={program} unmount {dir}\n\
         Restart=on-failure\n\
         RestartSec=5\n\
         TimeoutStopSec=20\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    ))
}

/// A word of a unit's command line: in quotes, with what systemd would replace in it doubled (systemd.service(5), systemd.unit(5)).
fn quoted(path: &Path) -> Result<String, BoxError> {
    let text =
        path.to_str().filter(|text| !text.contains(['\n', '\r'])).ok_or("a path in a unit is text of one line")?;
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(format!("\"{escaped}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_mounts_in_the_foreground_and_paths_are_taken_as_they_are() {
        let text = unit(Path::new("/usr/bin/cogfs"), Path::new("/home/u/100% \"mine\" $HOME"), Some("/x")).unwrap();
        assert!(
            text.contains("ExecStart=\"/usr/bin/cogfs\" mount --foreground \"/home/u/100%% \\\"mine\\\" $$HOME\"\n")
        );
        assert!(text.contains("Environment=\"COGFS_HOME=/x\"\n"), "{text}");
        assert!(unit(Path::new("/a\nb"), Path::new("/m"), None).is_err());
    }
}
