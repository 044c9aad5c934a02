//! `cogfs man`: manual pages, from the same definition as the help and the completions.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Command, CommandFactory};

use super::mount::BoxError;

/// Print a manual page, or write all of them
///
/// To read one at once: cogfs man mount | man -l -
///
/// To install them all: cogfs man --dir ~/.local/share/man/man1
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The command whose page is meant, as `sync conflicts`; without it, that of the program
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Runs `cogfs man`.
///
/// # Errors
/// When there is no such command, or the pages cannot be written.
pub fn run(args: &ManArgs) -> Result<ExitCode, BoxError> {
    let mut program = super::Cli::command().disable_help_subcommand(true);
    program.build();
    let Some(dir) = &args.dir else {
        let mut meant = &program;
        for name in &args.command {
            let there = meant.find_subcommand(name);
            meant = there.ok_or_else(|| format!("there is no command `{}`", args.command.join(" ")))?;
        }
        io::stdout().write_all(&page(meant)?)?;
        return Ok(ExitCode::SUCCESS);
    };
    fs::create_dir_all(dir)?;
    let mut left = vec![&program];
    while let Some(command) = left.pop() {
        let path = dir.join(format!("{}.1", name(command)));
        fs::write(&path, page(command)?).map_err(|error| format!("{}: {error}", path.display()))?;
        left.extend(command.get_subcommands());
    }
    Ok(ExitCode::SUCCESS)
}

/// `cogfs-sync-conflicts`.
fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name(command).to_uppercase()).render(&mut text)?;
    Ok(text)
}
