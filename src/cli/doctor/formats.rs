//! `cogfs doctor --formats`: what the agents log that this version does not understand.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::mount::BoxError;
use crate::cli::output::{self, count, printable};
use crate::model::Agent;
use crate::store::unknown::{self, DamagedFile, UnknownKind};
use crate::store::{self, Layout};

/// Prints both lists. Neither is damage of the database: the exit status is 0.
///
/// # Errors
/// When the database cannot be read, or stdout not written.
pub fn run(layout: &Layout, json: bool) -> Result<ExitCode, BoxError> {
    let (kinds, damaged) = if layout.database().exists() {
        let conn = store::open_reader(layout)?;
        (unknown::all(&conn)?, unknown::damaged_files(&conn)?)
    } else {
        Default::default()
    };
    if json {
        output::json(&serde_json::json!({ "unknown_kinds": kinds, "damaged_files": damaged }))?;
    } else {
        print(&kinds, &damaged)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(kinds: &[UnknownKind], damaged: &[DamagedFile]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if kinds.is_empty() {
        writeln!(out, "Every record that was imported is of a kind this cogfs knows.")?;
    } else {
        print_kinds(&mut out, kinds)?;
    }
    if !damaged.is_empty() {
        writeln!(out, "\nLogs with lines that could not be read (an import names each line and the reason):")?;
        for file in damaged {
            writeln!(out, "  {:>8}  {}", output::thousands(file.skipped), printable(&file.path))?;
        }
    }
    Ok(())
}

fn print_kinds(out: &mut impl Write, kinds: &[UnknownKind]) -> io::Result<()> {
    let records = kinds.iter().map(|k| k.count).sum();
    writeln!(out, "{} of kinds that cogfs {} does not know:", count(records, "record"), env!("CARGO_PKG_VERSION"))?;
    for group in kinds.chunk_by(|a, b| (&a.agent, &a.agent_version) == (&b.agent, &b.agent_version)) {
        let Some(first) = group.first() else { continue };
        let agent = Agent::parse(&first.agent).map_or(first.agent.as_str(), |agent| agent.title());
        let version = if first.agent_version.is_empty() { "(no version)" } else { &first.agent_version };
        writeln!(out, "\n{} {}", printable(agent), printable(version))?;
        for kind in group {
            let (n, place) = (output::thousands(kind.count), printable(&kind.example));
            writeln!(out, "  {n:>8}  {}, first in {place}", printable(&kind.kind))?;
        }
    }
    writeln!(
        out,
        "\nNothing is lost: each record stands in its session's raw.jsonl, byte for byte; it is shown in no turn. Look for a newer\n\
         cogfs; if there is none, report the kinds above, with the agent's version. A version that knows them shows them in\n\
         what it imports from then on, and in all of the logs that are still there when it imports them into a new\n\
         folder (COGFS_HOME=NEW cogfs import)."
    )
}
