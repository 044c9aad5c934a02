//! `cogfs stats`.

use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, thousands};
use crate::config::Folders;
use crate::model::Agent;
use crate::store::stats::{self, By, Group, ModelGroup, Totals};
use crate::store::{self, Writer};

/// Count sessions, turns, tool calls and tokens by project, agent and model
///
/// Subagents count with the session that started them. Tokens are as the agents logged them: input that was neither read from
/// nor written to a cache, output, and the cache's two counts.
#[derive(Debug, clap::Args)]
pub struct StatsArgs {
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Stats {
    #[serde(flatten)]
    totals: Totals,
    tool_calls: u64,
    by_project: Vec<Group>,
    by_agent: Vec<Group>,
    by_model: Vec<ModelGroup>,
}

/// Runs `cogfs stats`.
///
/// # Errors
/// When the database cannot be read.
pub fn run(folders: &Folders, args: &StatsArgs) -> Result<ExitCode, BoxError> {
    let layout = folders.layout();
    drop(Writer::open(&layout)?);
    let conn = store::open_reader(&layout)?;
    let by_agent = stats::grouped(&conn, By::Agent)?;
    let stats = Stats {
        totals: stats::totals(&conn)?,
        tool_calls: by_agent.iter().map(|g| g.tool_calls).sum(),
        by_project: stats::grouped(&conn, By::Project)?,
        by_agent,
        by_model: stats::by_model(&conn)?,
    };
    if args.json {
        output::json(&stats)?;
    } else {
        print(&stats)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(stats: &Stats) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if stats.totals.turns == 0 {
        return writeln!(out, "Nothing is imported yet: `cogfs import`, or `cogfs demo` to look around.");
    }
    writeln!(out, "{}", groups("project", &stats.by_project, str::to_owned))?;
    let agent = |name: &str| Agent::parse(name).map_or_else(|| name.to_owned(), |a| a.title().to_owned());
    writeln!(out, "\n{}", groups("agent", &stats.by_agent, agent))?;
    writeln!(out, "\n{}", models(&stats.by_model))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn groups(what: &str, groups: &[Group], name: impl Fn(&str) -> String) -> Table {
    let mut table = table(&[
        what,
        "commits",
        "sessions",
        "prompts",
        "turns",
        "tool calls",
        "input",
        "output",
        "cache read",
        "cache write",
    ]);
    for g in groups {
        let counts = [
            g.commits,
            g.sessions,
            g.prompts,
            g.turns,
            g.tool_calls,
            g.tokens_input,
            g.tokens_output,
            g.tokens_cache_read,
            g.tokens_cache_write,
        ];
        table.add_row(std::iter::once(name(&g.name)).chain(counts.map(thousands)));
    }
    table
}

fn models(models: &[ModelGroup]) -> Table {
    let mut table =
        table(&["model", "sessions", "turns", "tool calls", "input", "output", "cache read", "cache write"]);
    for m in models {
        let counts = [
            m.sessions,
            m.turns,
            m.tool_calls,
            m.tokens_input,
            m.tokens_output,
            m.tokens_cache_read,
            m.tokens_cache_write,
        ];
        table.add_row(std::iter::once(m.name.clone()).chain(counts.map(thousands)));
    }
    table
}
