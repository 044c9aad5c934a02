//! `cogfs unmount`: also when the mount is busy or its server has died.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::mount::BoxError;
use crate::fuse::{self, Unmounted};

/// Arguments of `cogfs unmount`.
#[derive(Debug, Clone, clap::Args)]
pub struct UnmountArgs {
    /// Where cogfs is mounted
    pub dir: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs `cogfs unmount`.
///
/// # Errors
/// When no cogfs is mounted there or it could not be unmounted; the text says what to do.
pub fn run(args: &UnmountArgs) -> Result<(), BoxError> {
    let how = fuse::unmount(&args.dir)?;
    let text = if args.json { report(&args.dir, &how)? } else { describe(&args.dir, &how) };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}

#[derive(Serialize)]
struct Report<'a> {
    unmounted: String,
    how: &'static str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    users: &'a [String],
}

fn report(dir: &Path, how: &Unmounted) -> serde_json::Result<String> {
    let (how, users): (_, &[String]) = match how {
        Unmounted::Clean => ("clean", &[]),
        Unmounted::Lazy { users } => ("lazy", users),
        Unmounted::DeadCleared => ("dead_cleared", &[]),
    };
    serde_json::to_string(&Report { unmounted: dir.to_string_lossy().into_owned(), how, users })
}

fn describe(dir: &Path, how: &Unmounted) -> String {
    let dir = dir.display();
    match how {
        Unmounted::Clean => format!("Unmounted {dir}"),
        Unmounted::Lazy { users } => {
            let by = if users.is_empty() { String::new() } else { format!(" (used by {})", users.join(", ")) };
            format!("{dir} was busy{by}: detached; it goes away when the last program using it leaves")
        }
        Unmounted::DeadCleared => format!("Cleared a dead mount from {dir}: its server had died"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_unmount_is_told_apart() {
        let dir = Path::new("/m");
        let busy = Unmounted::Lazy { users: vec!["vim (7)".to_owned(), "bash (8)".to_owned()] };
        assert_eq!(describe(dir, &Unmounted::Clean), "Unmounted /m");
        assert!(describe(dir, &busy).contains("busy (used by vim (7), bash (8)): detached"));
        assert!(describe(dir, &Unmounted::Lazy { users: vec![] }).starts_with("/m was busy: detached"));
        assert!(describe(dir, &Unmounted::DeadCleared).starts_with("Cleared a dead mount from /m"));
        assert_eq!(report(dir, &busy).unwrap(), r#"{"unmounted":"/m","how":"lazy","users":["vim (7)","bash (8)"]}"#);
        assert_eq!(report(dir, &Unmounted::Clean).unwrap(), r#"{"unmounted":"/m","how":"clean"}"#);
    }
}
