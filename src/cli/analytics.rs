//! `cogfs analytics`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::{Value, json};

use super::mount::BoxError;
use super::output::{self, count, printable, thousands};
use crate::cloud::open;
use crate::config::Folders;
use crate::config::settings::{self, Setting, Settings};
use crate::counts::gather::{self, Calls, Gathered};
use crate::counts::{self, Counts, Week};
use crate::model::{Agent, Millis};
use crate::store::Writer;
use crate::store::weeks::{self, Sent};
use crate::sync::continuous::socket;
use crate::sync::ignored;
use crate::sync::shared_counts::{self, ShareError};

/// Tools and models that are listed.
const LISTED: usize = 10;

/// What the document never holds, whatever was said.
const NEVER: &str =
    "It never holds text, names of projects, files, tools or models, paths or ids. Every agent is in it, used or not.";

/// Count what was done in each week; share counts, or do not
///
/// Everything is computed on this machine. Weeks are those of ISO 8601, from Monday, in UTC. A session or commit counts in each week
/// in which something was said in it, subagents with who started them; tokens count in the week in which their part of the session
/// began, and are input that was neither read from nor written to a cache, and output, as in `cogfs stats`.
///
/// Nothing of it is sent anywhere unless you opt in (the setting analytics.share). Then each week the counts of the week before are
/// sent to the server that you sync with, once, by `cogfs sync`, `cogfs push` or a mount: the document that is printed here, byte for byte.
/// Each number has random noise, so that it does not tell whether any one conversation was there (differential privacy, epsilon 1).
/// Projects and conversations that are kept on this machine are not counted in it. To opt out deletes what was sent.
///
/// Exit status: 0 all well, 1 failed; of --opt-out: 4 nobody is logged in, 5 the cloud cannot be reached: it is not deleted yet.
#[derive(Debug, clap::Args)]
pub struct AnalyticsArgs {
    /// How many weeks, with this one
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    weeks: u32,
    /// Share counts of each week from now on
    #[arg(long, conflicts_with_all = ["opt_out", "weeks"])]
    opt_in: bool,
    /// Share none, and have those deleted that were
    #[arg(long, conflicts_with = "weeks")]
    opt_out: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Runs `cogfs analytics`.
///
/// # Errors
/// When the database or the settings cannot be used, or what was sent could not be deleted.
pub fn run(folders: &Folders, args: &AnalyticsArgs) -> Result<ExitCode, BoxError> {
    if args.opt_out {
        return opt_out(folders, args.json);
    }
    if args.opt_in {
        return opt_in(folders, args.json);
    }
    let mut writer = Writer::open(&folders.layout())?;
    let this = Week::of(Millis::now());
    let first = this.before(args.weeks - 1);
    let gathered = gather::gather(writer.conn(), first, this)?;
    let share = Share::now(folders, &mut writer)?;
    let report = Report::new(first, this, &gathered);
    if args.json {
        output::json(&json!({
            "weeks": report.weeks, "total": report.total, "tools": report.tools, "models": report.models,
            "elsewhere": gathered.elsewhere, "share": share,
        }))?;
    } else {
        let is_empty = !weeks::is_something_here(writer.conn())?;
        print(&report, &gathered, &share, is_empty)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What would be, or is, sent.
#[derive(Debug, Serialize)]
struct Share {
    on: bool,
    week: String,
    sent: Sent,
    /// `None`: nothing is imported.
    document: Option<Value>,
    /// The bytes of the document, as they are sent.
    text: Option<String>,
}

impl Share {
    fn now(folders: &Folders, writer: &mut Writer) -> Result<Self, BoxError> {
        let on = Settings::load(folders)?.shares_counts();
        let week = shared_counts::week(Millis::now());
        if weeks::kept(writer.conn(), &week.date())?.is_none() {
            // A `.cogfsignore` that was written since the last sync holds for what is counted now.
            for complaint in ignored::refresh(writer, &folders.ignored())? {
                eprintln!("cogfs: {}", printable(&complaint));
            }
        }
        let kept = shared_counts::document(writer, week)?;
        let (text, sent) = kept.map_or((None, Sent::No), |kept| (Some(kept.text), kept.sent));
        let document = text.as_deref().map(serde_json::from_str).transpose()?;
        Ok(Self { on, week: week.name(), sent, document, text })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(text) = &self.text else { return Ok(()) };
        let week = &self.week;
        let what = match (self.on, self.sent) {
            (false, Sent::No) => format!(
                "Nothing of this is sent anywhere. With `cogfs analytics --opt-in`, this would be sent for the last whole week ({week}):"
            ),
            (false, Sent::Maybe | Sent::Yes) => format!(
                "Nothing of this is sent any more; what was is deleted with the next `cogfs sync`. For the last whole week ({week}) it \
                 would be:"
            ),
            (true, Sent::No) => {
                format!("Counts are sent weekly. For the last whole week ({week}) this is sent with the next sync:")
            }
            (true, Sent::Maybe) => format!(
                "Counts are sent weekly. For the last whole week ({week}) this may have arrived, and is sent again with the next sync:"
            ),
            (true, Sent::Yes) => format!("Counts are sent weekly. For the last whole week ({week}) this was sent:"),
        };
        writeln!(out, "{what}\n\n{text}\n\n{NEVER}")?;
        writeln!(out, "Each number has random noise, put on it once: that is why they are not those of the table.")
    }
}

#[derive(Debug, Serialize)]
struct InWeek {
    week: String,
    from: String,
    agents: Vec<OfAgent>,
}

#[derive(Debug, Serialize)]
struct OfAgent {
    agent: Agent,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct Tool {
    name: String,
    calls: u64,
    failed: u64,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    turns: u64,
}

struct Report {
    weeks: Vec<InWeek>,
    total: Counts,
    tools: Vec<Tool>,
    models: Vec<Model>,
}

impl Report {
    fn new(first: Week, last: Week, gathered: &Gathered) -> Self {
        let (by_week, total) = counts::by_week(&gathered.bits);
        let mut weeks = Vec::new();
        let mut week = first;
        while week <= last {
            let agents = by_week.iter().filter(|((of, _), _)| *of == week);
            let agents = agents.map(|((_, agent), counts)| OfAgent { agent: *agent, counts: *counts }).collect();
            weeks.push(InWeek { week: week.name(), from: week.date(), agents });
            week = week.next();
        }
        let of =
            |(name, calls): (&String, &Calls)| Tool { name: name.clone(), calls: calls.calls, failed: calls.failed };
        let mut tools: Vec<Tool> = gathered.tools.iter().map(of).collect();
        tools.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.name.cmp(&b.name)));
        Self { weeks, total, tools, models: models(&gathered.models) }
    }
}

fn models(found: &BTreeMap<String, u64>) -> Vec<Model> {
    let mut models: Vec<Model> =
        found.iter().map(|(name, turns)| Model { name: name.clone(), turns: *turns }).collect();
    models.sort_by(|a, b| b.turns.cmp(&a.turns).then_with(|| a.name.cmp(&b.name)));
    models
}

fn print(report: &Report, gathered: &Gathered, share: &Share, is_empty: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if is_empty {
        return writeln!(out, "Nothing is imported yet: `cogfs import`, or `cogfs demo` to look around.");
    }
    if gathered.bits.is_empty() {
        let weeks = count(report.weeks.len() as u64, "week");
        writeln!(out, "Nothing was said in the last {weeks}: `--weeks N` looks further back.")?;
    } else {
        writeln!(out, "{}", weeks_table(report))?;
        if !report.tools.is_empty() {
            writeln!(out, "\n{}", tools_table(&report.tools))?;
        }
        if !report.models.is_empty() {
            writeln!(out, "\n{}", models_table(&report.models))?;
        }
    }
    if gathered.elsewhere > 0 {
        let parts = count(gathered.elsewhere, "conversation");
        writeln!(out, "\nFailed calls and models of {parts} are not known here: the contents are on other machines.")?;
    }
    writeln!(out)?;
    share.print(&mut out)
}

fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn weeks_table(report: &Report) -> Table {
    let mut table = table(
        &["week", "agent", "commits", "sessions", "prompts", "turns", "tool calls", "failed", "input", "output"],
        2,
    );
    for week in &report.weeks {
        if week.agents.is_empty() {
            table.add_row([week.week.as_str(), "–"]);
        }
        for (at, of) in week.agents.iter().enumerate() {
            // Its name stands once.
            let name = if at == 0 { week.week.clone() } else { String::new() };
            table.add_row([name, of.agent.title().to_owned()].into_iter().chain(numbers(&of.counts)));
        }
    }
    table.add_row(["all".to_owned(), String::new()].into_iter().chain(numbers(&report.total)));
    table
}

fn numbers(c: &Counts) -> impl Iterator<Item = String> {
    [c.commits, c.sessions, c.prompts, c.turns, c.tool_calls, c.failed_calls, c.tokens_input, c.tokens_output]
        .map(thousands)
        .into_iter()
}

fn tools_table(tools: &[Tool]) -> Table {
    let mut table = table(&["tool", "calls", "failed"], 1);
    for tool in tools.iter().take(LISTED) {
        table.add_row([printable(&tool.name), thousands(tool.calls), thousands(tool.failed)]);
    }
    more(&mut table, tools.len());
    table
}

fn models_table(models: &[Model]) -> Table {
    let mut table = table(&["model", "turns"], 1);
    for model in models.iter().take(LISTED) {
        table.add_row([printable(&model.name), thousands(model.turns)]);
    }
    more(&mut table, models.len());
    table
}

fn more(table: &mut Table, all: usize) {
    if all > LISTED {
        table.add_row([format!("… and {} more (--json)", all - LISTED)]);
    }
}

/// Sets it, and gives what holds now: the environment comes first.
fn set(folders: &Folders, on: bool) -> Result<bool, BoxError> {
    settings::set(folders, Setting::AnalyticsShare, if on { "true" } else { "false" })?;
    let holds = Settings::load(folders)?.shares_counts();
    if holds != on {
        let variable = Setting::AnalyticsShare.variable();
        writeln!(io::stderr(), "cogfs: {variable} is set in the environment, and comes first")?;
    }
    socket::look(&folders.engine_socket());
    Ok(holds)
}

fn opt_in(folders: &Folders, json: bool) -> Result<ExitCode, BoxError> {
    let on = set(folders, true)?;
    let mut writer = Writer::open(&folders.layout())?;
    let share = Share::now(folders, &mut writer)?;
    if json {
        output::json(&json!({ "share": share }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = io::stdout().lock();
    if on {
        writeln!(
            out,
            "Thank you. From now on the counts of each week are sent once it is over, with the next sync (analytics.share is true)."
        )?;
    }
    if open::cloud(folders).is_err() || open::sessions(folders).load().ok().flatten().is_none() {
        writeln!(out, "Nobody is logged in: nothing is sent before `cogfs login`.")?;
    }
    writeln!(out, "`cogfs analytics --opt-out` ends it and deletes what was sent.\n")?;
    share.print(&mut out)?;
    Ok(ExitCode::SUCCESS)
}

fn opt_out(folders: &Folders, json: bool) -> Result<ExitCode, BoxError> {
    let on = set(folders, false)?;
    let mut writer = Writer::open(&folders.layout())?;
    let there = weeks::there(writer.conn())?;
    let withdrawn = if there == 0 { Ok(None) } else { withdraw(folders, &mut writer).map(Some) };
    let is_pending = withdrawn.is_err();
    if json {
        let deleted = withdrawn.as_ref().ok().copied().flatten().unwrap_or(0);
        output::json(&json!({ "share": { "on": on }, "deleted_weeks": deleted, "is_pending": is_pending }))?;
    } else {
        let mut out = io::stdout().lock();
        if !on {
            writeln!(out, "No counts are sent from this machine (analytics.share is false).")?;
        }
        match &withdrawn {
            Ok(None) => writeln!(out, "None were, since it was set up or they were last deleted.")?,
            Ok(Some(weeks)) => writeln!(out, "Those that were are deleted at the server: {}.", count(*weeks, "week"))?,
            Err(_) => {}
        }
    }
    match withdrawn {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            writeln!(
                io::stderr(),
                "cogfs: what was sent ({}) is not deleted yet: it is asked for again with the next sync",
                count(there, "week")
            )?;
            Err(error)
        }
    }
}

fn withdraw(folders: &Folders, writer: &mut Writer) -> Result<u64, BoxError> {
    let cloud = open::cloud(folders)?.of_one_user();
    shared_counts::withdraw(writer, &cloud).map_err(|error| match error {
        // For the exit status.
        ShareError::Cloud(error) => error.into(),
        other => other.into(),
    })
}
