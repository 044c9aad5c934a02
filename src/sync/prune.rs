//! Gives back the room of old conversations: of what the cloud has, the copies on this machine.
//!
//! A session that was pruned stays in every listing, and is fetched when it is read. What exists nowhere else is left alone: it is for
//! the caller to ask about.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::facts::Redact;
use super::secrets::Secrets;
use super::{cache, contents, facts};
use crate::cloud::wire::{Change, Row};
use crate::model::{ContentsAt, Id, Millis, Session};
use crate::store::objects::{self, Object, State};
use crate::store::told::{self, Facts};
use crate::store::{Result, Transaction, Writer, fetched, raw, sessions, visuals};

/// What is to be pruned.
#[derive(Debug, Clone, Copy)]
pub struct Chosen {
    /// Of commits that ended before this.
    pub before: Millis,
    /// A project's row; `None`: all.
    pub project: Option<i64>,
    /// Also sessions that the cloud has without their secrets: those are nowhere then.
    pub redacted: bool,
}

/// Why a session stays here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The cloud does not have it, or not all of it.
    OnlyHere,
    /// The cloud has it without what was taken out as secret.
    Redacted,
    /// An edit of it waits to be sent.
    EditWaits,
}

/// What was pruned, or would be.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub sessions: u64,
    pub pictures: u64,
    /// Of the logs that the sessions were read from, and of the pictures.
    pub bytes: u64,
    pub kept: BTreeMap<Kept, u64>,
    /// The sessions that the cloud does not have.
    #[serde(skip)]
    pub only_here: Vec<Id>,
}

/// Prunes session by session, each in a transaction of its own. `redacts`: whether secrets are taken out of what is sent.
///
/// # Errors
/// When the database cannot be written. What was pruned until then is.
pub fn run(writer: &mut Writer, chosen: &Chosen, redacts: bool, dry_run: bool) -> Result<Report> {
    let mut report = Report::default();
    for row in rows(writer, chosen)? {
        session(writer, row, (chosen, redacts, dry_run), &mut report)?;
    }
    Ok(report)
}

fn rows(writer: &Writer, chosen: &Chosen) -> Result<Vec<i64>> {
    let mut query = writer.conn().prepare(
        "SELECT s.row FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row
         WHERE c.closed_at < ?1 AND (?2 IS NULL OR c.project_row = ?2) AND s.contents <> ?3 AND length(s.turn_index) > 0
         ORDER BY c.closed_at, s.row",
    )?;
    let elsewhere = ContentsAt::Elsewhere as u8;
    let rows = query.query_map((chosen.before.0, chosen.project, elsewhere), |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn session(
    writer: &mut Writer,
    row: i64,
    (chosen, redacts, dry_run): (&Chosen, bool, bool),
    report: &mut Report,
) -> Result<()> {
    let mut tx = writer.begin()?;
    let Some(session) = sessions::get(&tx, row)?.filter(|s| s.contents != ContentsAt::Elsewhere) else { return Ok(()) };
    let secrets = Secrets::new(redacts);
    let there = if fetched::edit_waits(&tx, row)? {
        Err(Kept::EditWaits)
    } else if session.contents == ContentsAt::Fetched {
        Ok(None)
    } else {
        as_sent(&tx, &session, &secrets)?.map_or(Err(Kept::OnlyHere), |row| Ok(Some(row)))
    };
    let there = match there {
        Ok(_) if !chosen.redacted && !secrets.counts().is_empty() => Err(Kept::Redacted),
        there => there,
    };
    let there = match there {
        Ok(there) => there,
        Err(why) => {
            *report.kept.entry(why).or_default() += 1;
            report.only_here.extend((why == Kept::OnlyHere).then_some(session.id));
            return Ok(());
        }
    };
    let pictures: BTreeSet<String> =
        visuals::all_of_session(&tx, row)?.into_iter().map(|(_, _, _, visual)| visual.sha256).collect();
    report.sessions += 1;
    report.bytes += session.raw_bytes;
    if dry_run {
        return Ok(());
    }
    match there {
        None => contents::give_back(&mut tx, &session)?,
        Some(row) => {
            contents::give_up(&mut tx, &session)?;
            // The lengths that are shown from here on are those of what was sent, which this machine may have heard of already.
            told::forget_pulled(&tx, Facts::Session, session.row)?;
            facts::apply(&mut tx, &row)?;
        }
    }
    tx.commit()?;
    for sha256 in pictures {
        if let Some(bytes) = cache::give_back_picture(writer.begin()?, &sha256)? {
            report.pictures += 1;
            report.bytes += bytes;
        }
    }
    Ok(())
}

/// The record that the cloud has of a session from a log of this machine; `None` if it does not have all of it.
fn as_sent(tx: &Transaction<'_>, session: &Session, secrets: &Secrets) -> Result<Option<Row>> {
    let (version, sent) = told::version(tx, Facts::Session, session.row)?;
    if version != sent || sent <= 0 {
        return Ok(None);
    }
    for (.., visual) in visuals::all_of_session(tx, session.row)? {
        let state = objects::state(tx, &Object { sha256: visual.sha256, mime: visual.mime })?;
        if !matches!(state, Some(State::Uploaded | State::Fetched)) {
            return Ok(None);
        }
    }
    let Some(pending) = facts::session(tx, session.row, secrets)? else { return Ok(None) };
    let Some(project) = facts::project_of(tx, session)? else { return Ok(None) };
    raw::for_each_record(tx, session.row, |record| {
        // What is taken out is counted.
        let _ = secrets.record(&project, &String::from_utf8_lossy(record));
    })?;
    let Change::Facts { kind, id, rank, facts: Some(facts), .. } = pending.change else { return Ok(None) };
    // By rules of another time something else was taken out.
    if secrets.counts().is_empty() && told::contents(tx, session.row)?.raw_bytes != session.raw_bytes {
        return Ok(None);
    }
    Ok(Some(Row { facts: Some(facts), rank, ..Row::bare(kind, id) }))
}
