//! `cogfs undo`.

use std::process::ExitCode;

use super::log::Entry;
use super::mount::BoxError;
use super::output::{self, printable};
use crate::config::Folders;
use crate::curation::{self, Origin};
use crate::store::{Survives, Writer, edits};

/// Take an edit back
///
/// What was edited again since is not taken back before that is. The undo is an edit itself: `cogfs undo` of its number makes
/// the first one again.
#[derive(Debug, clap::Args)]
pub struct UndoArgs {
    /// The edit's number, as `cogfs log` has it
    #[arg(value_name = "N")]
    edit: i64,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `cogfs undo`.
///
/// # Errors
/// When there is no such edit, it cannot be taken back, or the database cannot be written.
pub fn run(folders: &Folders, args: &UndoArgs) -> Result<ExitCode, BoxError> {
    let mut writer = Writer::open(&folders.layout())?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    let made = curation::undo(&mut tx, Origin::Command, args.edit)?;
    let logged = made.map(|seq| edits::get(&tx, seq)).transpose()?.flatten();
    let entry = logged.map(|logged| Entry::of(&tx, &logged)).transpose()?;
    tx.commit()?;
    match entry {
        _ if args.json => output::json(&entry)?,
        Some(entry) => println!("{}\n{}", entry.short(), printable(&entry.path)),
        None => println!("Nothing to change: it is so already."),
    }
    Ok(ExitCode::SUCCESS)
}
