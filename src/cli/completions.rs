//! `cogfs completions`: from the same definition as the help.

use std::io;
use std::process::ExitCode;

use clap::CommandFactory;

use super::mount::BoxError;

/// Print the completions of a shell
///
/// For bash: cogfs completions bash > ~/.local/share/bash-completion/completions/cogfs
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell to complete in
    shell: clap_complete::Shell,
}

/// Runs `cogfs completions`.
///
/// # Errors
/// Never; its signature is that of all commands.
pub fn run(args: &CompletionsArgs) -> Result<ExitCode, BoxError> {
    clap_complete::generate(args.shell, &mut super::Cli::command(), "cogfs", &mut io::stdout());
    Ok(ExitCode::SUCCESS)
}
