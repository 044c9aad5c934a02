//! Everything that follows from what is kept, compared with what is stored, and put right.
//!
//! What is kept (turns, raw records, pictures, what messages cost) is never changed here. Each step is safe to end anywhere,
//! and every change is announced in the feed: a mount may show the database meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde::Serialize;

use super::STEP_BYTES;
use super::pictures::{self, Look, Missing};
use crate::model::{ContentsAt, Role, Session};
use crate::store::forget::erase;
use crate::store::index::TurnIndex;
use crate::store::search::SearchIndex;
use crate::store::{ChangeKind, Layout, Result, Transaction, Writer, commits, gathered, raw, sessions, turns, visuals};
use crate::{derived, render};

/// What to do about what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only say it.
    Look,
    /// Put it right.
    Mend,
}

/// Where the work is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    pub step: &'static str,
    pub done: u64,
    pub total: u64,
}

/// What was found. In [`Mode::Mend`] it was put right, `pictures_missing` and `unreadable` aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Sessions whose lengths another version of the renderer made. Not wrong: a mount computes them where it needs them.
    pub outdated: u64,
    /// Sessions whose stored lengths or packed index are wrong.
    pub lengths: u64,
    /// Sessions whose counts, times or models are wrong.
    pub counters: u64,
    /// Turns that are not found by their id, or ids of turns that are not there.
    pub ids: u64,
    /// Sessions whose tokens are not the sum of what their messages cost.
    pub tokens: u64,
    /// Sessions whose raw records are not where their place says.
    pub raw: u64,
    /// Turns whose number of pictures is wrong.
    pub turn_images: u64,
    /// Commits whose times are not those of their sessions.
    pub commits: u64,
    /// Turns that the search index lacks or has too many.
    pub search_turns: u64,
    /// The search index holds other words than the turns, or is damaged in itself.
    pub search_damaged: bool,
    pub pictures_restored: u64,
    pub pictures_missing: Vec<Missing>,
    /// Files that no picture refers to. They harm nobody and are left alone.
    pub unreferenced: Vec<String>,
    /// What could not be read, and why.
    pub unreadable: Vec<String>,
    /// Something forgotten is still in the files.
    pub to_erase: bool,
    pub interrupted: bool,
}

impl Report {
    /// Whether something is, or was, wrong that can be computed anew.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        let counts = [
            self.lengths,
            self.counters,
            self.ids,
            self.tokens,
            self.raw,
            self.turn_images,
            self.commits,
            self.search_turns,
        ];
        self.search_damaged || counts.iter().any(|n| *n > 0)
    }

    /// Whether something is wrong that no repair can put right.
    #[must_use]
    pub fn is_beyond_repair(&self) -> bool {
        !self.pictures_missing.is_empty() || !self.unreadable.is_empty()
    }
}

/// What can be told without reading a text: for every run of `cogfs doctor`.
///
/// # Errors
/// When the database cannot be read.
pub fn glance(conn: &Connection, layout: &Layout) -> Result<Report> {
    let (missing, unreferenced) = pictures::compare(conn, layout, Look::Sizes)?;
    Ok(Report {
        outdated: sessions::outdated_count(conn, render::VERSION)?,
        // Sessions whose number of turns is not that of their index or counter.
        counters: turns::miscounted(conn)?,
        tokens: sessions::wrong_tokens(conn)?.len() as u64,
        raw: raw::misplaced(conn)?.len() as u64,
        commits: commits::out_of_step(conn)?.len() as u64,
        search_turns: missing_words(conn, layout)?,
        to_erase: erase::is_due(conn)?,
        pictures_missing: missing,
        unreferenced,
        ..Report::default()
    })
}

/// Compares everything and, in [`Mode::Mend`], puts it right. No import may run meanwhile.
///
/// # Errors
/// When the database cannot be read or written.
pub fn run(writer: &mut Writer, mode: Mode, stop: &AtomicBool, progress: &mut dyn FnMut(Progress)) -> Result<Report> {
    let mut report =
        Report { outdated: sessions::outdated_count(writer.conn(), render::VERSION)?, ..Report::default() };
    report.to_erase = erase::is_due(writer.conn())?;
    all_sessions(writer, mode, stop, progress, &mut report)?;
    if !stop.load(Ordering::Relaxed) {
        ids(writer, mode, &mut report)?;
        tokens(writer, mode, &mut report)?;
        all_commits(writer, mode, &mut report)?;
    }
    if !stop.load(Ordering::Relaxed) {
        search_index(writer, mode, stop, progress, &mut report)?;
    }
    if !stop.load(Ordering::Relaxed) {
        progress(Progress { step: "pictures", done: 0, total: 0 });
        files(writer, mode, &mut report)?;
    }
    report.interrupted = stop.load(Ordering::Relaxed);
    Ok(report)
}

fn ids(writer: &mut Writer, mode: Mode, report: &mut Report) -> Result<()> {
    report.ids = gathered::wrong_ids(writer.conn())?;
    if mode == Mode::Mend && report.ids > 0 {
        let tx = writer.begin()?;
        gathered::mend_ids(&tx)?;
        tx.commit()?;
    }
    Ok(())
}

fn all_sessions(
    writer: &mut Writer,
    mode: Mode,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
    report: &mut Report,
) -> Result<()> {
    let mut rows = sessions::rows(writer.conn())?;
    let (total, mut done) = (rows.len() as u64, 0);
    rows.reverse();
    while !rows.is_empty() && !stop.load(Ordering::Relaxed) {
        let mut tx = writer.begin()?;
        let mut bytes = 0;
        while let Some(row) = rows.pop_if(|_| bytes < STEP_BYTES && !stop.load(Ordering::Relaxed)) {
            match session(&mut tx, mode, row, report) {
                Ok(read) => bytes += read,
                Err(error) => report.unreadable.push(format!("session {row}: {error}")),
            }
            done += 1;
        }
        if mode == Mode::Mend {
            tx.commit()?;
        }
        progress(Progress { step: "sessions", done, total });
    }
    Ok(())
}

/// Compares one session; how many bytes it has.
fn session(tx: &mut Transaction<'_>, mode: Mode, row: i64, report: &mut Report) -> Result<u64> {
    let mend = mode == Mode::Mend;
    let Some(stored) = sessions::get(tx, row)? else { return Ok(0) };
    if stored.contents == ContentsAt::Elsewhere {
        return Ok(0);
    }
    // What the rest is computed of comes first.
    let images = visuals::miscounted_turns(tx, row)?;
    report.turn_images += images.len() as u64;
    if raw::misplaced_in(tx, row)? {
        report.raw += 1;
        if mend {
            raw::put_in_place(tx, row)?;
            tx.changes.add(ChangeKind::Session, row);
        }
    }
    if mend && !images.is_empty() {
        visuals::recount(tx, row)?;
        images.iter().for_each(|turn| tx.changes.add(ChangeKind::Turn, *turn));
    }
    let index = sessions::turn_index(tx, row)?.unwrap_or_default();
    let (right, right_index) = derived::session(tx, &stored)?;
    let same_renderer = derived::is_current(stored.render_version);
    let lengths_differ = (stored.sections, &index) != (right.sections, &right_index);
    report.lengths += u64::from(lengths_differ && same_renderer);
    let husks = u32::try_from(turns::forgotten(tx, row)?.len()).unwrap_or(u32::MAX);
    let husks_differ = sessions::hidden(tx, row)?.forgotten_turns != husks;
    let counters_differ = counters(&stored) != counters(&right) || husks_differ;
    report.counters += u64::from(counters_differ);
    if mend && lengths_differ {
        sessions::save_lengths(tx, row, &right.sections, &right_index)?;
        announce(tx, row, &index, &right_index);
    }
    if mend && counters_differ {
        sessions::save_counters(tx, &right)?;
        sessions::save_forgotten_turns(tx, row, husks)?;
        tx.changes.add(ChangeKind::Session, row);
    }
    Ok(right.sections.bytes + right.raw_bytes)
}

pub(crate) type Counters<'a> = ([u32; 4], [u64; 2], (i64, i64), &'a [String]);

pub(crate) fn counters(session: &Session) -> Counters<'_> {
    (
        [session.turns, session.prompts, session.tool_calls, session.images],
        [session.raw_bytes, session.raw_records],
        (session.started_at.0, session.ended_at.0),
        &session.models,
    )
}

/// Tells of the turn files that were shown with another size or name.
pub fn announce(tx: &mut Transaction<'_>, row: i64, before: &TurnIndex, after: &TurnIndex) {
    tx.changes.add(ChangeKind::Session, row);
    for number in 1..=before.len().max(after.len()) {
        if before.get(number) != after.get(number) || name(before, number) != name(after, number) {
            tx.changes.add(ChangeKind::Turn, turns::row_of(row, number));
        }
        if name(before, number) != name(after, number) {
            tx.changes.add_full(ChangeKind::TurnName, row, 0, name(before, number));
        }
    }
}

fn name(index: &TurnIndex, number: u32) -> Option<String> {
    let entry = index.get(number)?;
    let tool = index.tool_name(&entry).filter(|_| entry.role == Role::Tool).map(render::tool_slug);
    Some(render::turn_file_name(number, entry.role, tool.as_deref()))
}

fn tokens(writer: &mut Writer, mode: Mode, report: &mut Report) -> Result<()> {
    let wrong = sessions::wrong_tokens(writer.conn())?;
    report.tokens = wrong.len() as u64;
    if mode == Mode::Mend && !wrong.is_empty() {
        let mut tx = writer.begin()?;
        for (row, tokens) in wrong {
            sessions::save_tokens(&tx, row, &tokens)?;
            tx.changes.add(ChangeKind::Session, row);
        }
        tx.commit()?;
    }
    Ok(())
}

fn all_commits(writer: &mut Writer, mode: Mode, report: &mut Report) -> Result<()> {
    let wrong = commits::out_of_step(writer.conn())?;
    report.commits = wrong.len() as u64;
    if mode == Mode::Mend && !wrong.is_empty() {
        let mut tx = writer.begin()?;
        for row in wrong {
            commits::refresh(&mut tx, row)?;
        }
        tx.commit()?;
    }
    Ok(())
}

fn search_index(
    writer: &mut Writer,
    mode: Mode,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
    report: &mut Report,
) -> Result<()> {
    progress(Progress { step: "search index", done: 0, total: 0 });
    let turns = writer.conn();
    let mut index = SearchIndex::open(writer.layout(), turns)?;
    report.search_turns = index.difference(turns, false)?;
    report.search_damaged = !index.is_sound()?;
    if mode == Mode::Mend {
        if report.search_damaged || report.search_turns > 0 {
            index.reset(turns)?;
        }
        index.catch_up(turns, stop, &mut |done, total| progress(Progress { step: "search index", done, total }))?;
    }
    Ok(())
}

/// Turns that the search index lacks. Where there is no index the next import makes one.
fn missing_words(turns: &Connection, layout: &Layout) -> Result<u64> {
    if !layout.search_index().exists() {
        return Ok(0);
    }
    SearchIndex::open(layout, turns)?.difference(turns, true)
}

fn files(writer: &Writer, mode: Mode, report: &mut Report) -> Result<()> {
    let (missing, unreferenced) = pictures::compare(writer.conn(), writer.layout(), Look::Bytes)?;
    report.unreferenced = unreferenced;
    let lost = missing.len();
    report.pictures_missing = match mode {
        Mode::Look => missing,
        Mode::Mend => pictures::restore(writer.conn(), writer.layout(), missing)?,
    };
    report.pictures_restored = (lost - report.pictures_missing.len()) as u64;
    Ok(())
}
