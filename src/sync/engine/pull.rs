//! Pulling: page after page, each in one transaction with the cursor behind it. While one is written the next is read, and the one
//! behind that is asked for.

use std::thread;
use std::time::Instant;

use rusqlite::params;

use super::{
    COMPARE, CURSOR, Cycle, PAGE, Progress, RESYNC, Result, Step, SyncError, check_protocol, millis, passed_since,
};
use crate::clock;
use crate::cloud::wire::{Kind, Pulled, Row};
use crate::cloud::{self, Cloud};
use crate::curation::{Edit, Editor, Elsewhere, Entity, TrashName};
use crate::model::{Id, Millis};
use crate::store::{
    self, EntityKind, StoreError, Transaction, Writer, commits, outbox, parked, refused, sessions, told, trash,
};
use crate::sync::facts::{self, Bulk, Ready};
use crate::sync::fields::{self, Here};

use super::Summary;

/// The key in `state` of the latest record that waited when everything was pulled again for it.
pub(super) const LOOKED_AGAIN: &str = "sync_looked_again";

pub(super) fn number(conn: &rusqlite::Connection, key: &str) -> store::Result<i64> {
    Ok(store::state(conn, key)?.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The answer to a question for a page, and when it came.
struct Answer<T = Page> {
    since: i64,
    page: cloud::Result<T>,
    at: Instant,
}

impl Answer<Pulled> {
    fn ask(cloud: &dyn Cloud, since: i64) -> Self {
        let page = cloud.pull(since, PAGE);
        Self { since, page, at: clock::steady() }
    }

    /// Where there is more.
    fn next(&self) -> Option<i64> {
        self.page.as_ref().ok().filter(|page| page.next < page.head).map(|page| page.next)
    }

    fn read(self) -> Answer {
        Answer { since: self.since, page: self.page.map(Page::of), at: self.at }
    }
}

/// What was asked for while another page is written: the page behind that one, read, and the one behind it, as it came.
#[derive(Default)]
struct Ahead {
    next: Option<Answer>,
    later: Option<Answer<Pulled>>,
    /// Requests that it took.
    requests: u64,
}

impl Ahead {
    /// Looks ahead from a place, or goes on with what came already. A page is read while the server makes the next one.
    fn look(cloud: &dyn Cloud, since: i64, known: Option<Answer<Pulled>>) -> Self {
        let mut requests = 0;
        let first = known.filter(|answer| answer.since == since).unwrap_or_else(|| {
            requests += 1;
            Answer::ask(cloud, since)
        });
        let Some(behind) = first.next() else { return Self { next: Some(first.read()), later: None, requests } };
        thread::scope(|scope| {
            let asked = scope.spawn(move || Answer::ask(cloud, behind));
            let next = Some(first.read());
            // Without an answer it is asked for again.
            Self { next, later: asked.join().ok(), requests: requests + 1 }
        })
    }
}

/// What came, with each record's facts as they were read.
struct Page {
    pulled: Pulled,
    ready: Vec<Ready>,
}

impl Page {
    fn of(mut pulled: Pulled) -> Self {
        // Parents first, in as far as they are on the page.
        pulled.rows.sort_by_key(|row| (row.kind, row.seq));
        let ready = pulled.rows.iter().map(Ready::read).collect();
        Self { pulled, ready }
    }
}

/// How records of which nothing is known here are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taking {
    /// Many together.
    Bulk,
    /// As any other: what comes of it is the same.
    #[cfg(test)]
    OneByOne,
}

/// What is written of a page.
pub(super) struct Pen<'a> {
    pub here: Here,
    pub summary: &'a mut Summary,
}

impl Cycle<'_> {
    /// Pulls until there is nothing more.
    pub(super) fn pull(&mut self) -> Step {
        // What a statement changed of a page of the database is kept until it ends, in a file once that is much: here it never is.
        self.writer.conn().pragma_update(None, "temp_store", "MEMORY")?;
        let pulled = self.pages();
        self.writer.conn().pragma_update(None, "temp_store", "DEFAULT")?;
        pulled
    }

    fn pages(&mut self) -> Step {
        let (mut ahead, mut bulk, mut spent) = (Ahead::default(), Bulk::default(), None);
        loop {
            if self.is_over() {
                return Ok(None);
            }
            let since = number(self.writer.conn(), CURSOR)?;
            let answer = ahead.next.take().filter(|answer| answer.since == since).unwrap_or_else(|| {
                self.summary.requests += 1;
                Answer::ask(self.cloud, since).read()
            });
            let whole = answer.page?;
            let page = &whole.pulled;
            check_protocol(page.protocol)?;
            self.here.ahead = page.now.0 - (Millis::now().0 - millis(passed_since(answer.at)));
            self.heard = Some((page.now, answer.at));
            if self.is_over() {
                return Ok(None);
            }
            self.bind()?;
            if since > page.head {
                return Err(SyncError::CloudLost);
            }
            // From when on everything comes that there is. While it does, another purge may come.
            let anew_since = number(self.writer.conn(), RESYNC)?;
            if since < page.min_seq && page.min_seq > anew_since {
                self.begin_anew(page.min_seq)?;
                if since > 0 {
                    continue;
                }
            }
            let is_last = page.next >= page.head;
            ahead = self.write_and_ask((whole, is_last), (ahead.later, &mut spent), &mut bulk)?;
            (self.progress)(Progress::Pulled { records: self.summary.pulled });
            if is_last && !self.looks_again()? {
                self.compare()?;
                return Ok(Some(()));
            }
        }
    }

    /// A record may wait for one that came before and was removed here since, as a project is with the last of its commits: once
    /// for each record that waits, everything is pulled again. So it is where something that came is to be taken once more.
    fn looks_again(&mut self) -> Result<bool> {
        let latest: i64 = self
            .writer
            .conn()
            .prepare_cached(
                "SELECT max(coalesce((SELECT max(json_extract(record, '$.seq')) FROM awaited), 0),
                     coalesce((SELECT max(seq) FROM parked), 0))",
            )?
            .query_row([], |r| r.get(0))?;
        let is_wanted = store::state(self.writer.conn(), told::AGAIN)?.is_some();
        if latest <= number(self.writer.conn(), LOOKED_AGAIN)? && !is_wanted {
            return Ok(false);
        }
        let tx = self.writer.begin()?;
        tx.execute("DELETE FROM state WHERE key = ?1", [told::AGAIN]).map_err(StoreError::from)?;
        store::set_state(&tx, LOOKED_AGAIN, &latest.to_string())?;
        store::set_state(&tx, CURSOR, "0")?;
        tx.commit()?;
        Ok(true)
    }

    /// After a reset: what people made of records and the cloud does not have is sent as if it were new.
    fn compare(&mut self) -> Result<()> {
        if store::state(self.writer.conn(), COMPARE)?.is_none() {
            return Ok(());
        }
        let mut tx = self.writer.begin()?;
        fields::tell_what_was_lost(&mut tx)?;
        tx.execute("DELETE FROM state WHERE key = ?1", [COMPARE]).map_err(StoreError::from)?;
        Ok(tx.commit()?)
    }

    /// Tombstones were removed that this machine has not seen: all is pulled again, and what does not come is deleted.
    fn begin_anew(&mut self, min_seq: i64) -> Result<()> {
        let tx = self.writer.begin()?;
        tx.execute("DELETE FROM pulled_anew", []).map_err(StoreError::from)?;
        store::set_state(&tx, RESYNC, &min_seq.to_string())?;
        store::set_state(&tx, CURSOR, "0")?;
        Ok(tx.commit()?)
    }

    /// Writes a page, and has the next ones asked for meanwhile, if there are any, and the memory of the former one given back.
    fn write_and_ask(
        &mut self,
        (page, is_last): (Page, bool),
        (later, spent): (Option<Answer<Pulled>>, &mut Option<Page>),
        bulk: &mut Bulk,
    ) -> Result<Ahead> {
        let pen = Pen { here: self.here, summary: &mut self.summary };
        if is_last {
            write(self.writer, pen, (&page, is_last), (bulk, Taking::Bulk))?;
            return Ok(Ahead::default());
        }
        let (cloud, next, former) = (self.cloud, page.pulled.next, spent.take());
        let ahead = thread::scope(|scope| {
            let ahead = scope.spawn(move || {
                let ahead = Ahead::look(cloud, next, later);
                drop(former);
                ahead
            });
            write(self.writer, pen, (&page, is_last), (bulk, Taking::Bulk))?;
            // Without an answer it is asked for again.
            Ok::<_, SyncError>(ahead.join().unwrap_or_default())
        })?;
        self.summary.requests += ahead.requests;
        *spent = Some(page);
        Ok(ahead)
    }
}

/// Writes a page, and the cursor behind it.
fn write(
    writer: &mut Writer,
    mut pen: Pen<'_>,
    (page, is_last): (&Page, bool),
    (bulk, taking): (&mut Bulk, Taking),
) -> Result<()> {
    let Page { pulled: page, ready } = page;
    let is_anew = store::state(writer.conn(), RESYNC)?.is_some();
    let since = number(writer.conn(), CURSOR)?;
    if page.rows.is_empty() && page.next == since && !is_anew {
        return Ok(());
    }
    let mut tx = writer.begin()?;
    bulk.begin(&tx)?;
    for (row, ready) in page.rows.iter().zip(ready) {
        let is_new = match taking {
            Taking::Bulk => pen.take_new(&mut tx, bulk, (row, ready))?,
            #[cfg(test)]
            Taking::OneByOne => pen.take(&mut tx, row)?,
        };
        pen.summary.pulled += u64::from(is_new);
        if is_anew {
            tx.execute(
                "INSERT OR IGNORE INTO pulled_anew(kind, id) VALUES (?1, ?2)",
                params![row.kind as i64, row.id.0],
            )
            .map_err(StoreError::from)?;
        }
    }
    let is_parked = !page.rows.is_empty() && parked::count(&tx)? > 0;
    if is_parked || (is_anew && is_last) {
        bulk.end(&mut tx)?;
    } else {
        bulk.write(&mut tx)?;
    }
    if is_parked {
        pen.unpark(&mut tx)?;
    }
    if is_anew && is_last {
        pen.delete_what_did_not_come(&mut tx)?;
    }
    store::set_state(&tx, CURSOR, &page.next.to_string())?;
    Ok(tx.commit()?)
}

impl Pen<'_> {
    /// As [`Self::take`]; a record of which nothing is known here, with others of its like.
    fn take_new(
        &mut self,
        tx: &mut Transaction<'_>,
        bulk: &mut Bulk,
        (row, ready): (&Row, &Ready),
    ) -> store::Result<bool> {
        if !bulk.add(tx, row, ready)? {
            bulk.end(tx)?;
            return self.take(tx, row);
        }
        let is_twice = bulk.is_twice(tx, row)?;
        if !row.fields.is_empty() || is_twice {
            bulk.end(tx)?;
            self.fields(tx, row)?;
            facts::unite(tx, row)?;
        }
        Ok(true)
    }

    /// Writes a record that came: its facts, then its fields. Whether it said something new.
    pub(super) fn take(&mut self, tx: &mut Transaction<'_>, row: &Row) -> store::Result<bool> {
        let mut is_new = true;
        let waited = match facts::apply(tx, row)? {
            facts::Applied::Refused { reason } => {
                self.summary.skip(reason);
                return Ok(true);
            }
            facts::Applied::Done { waited } => {
                self.summary.forgotten += u64::from(row.forgotten);
                waited
            }
            // With its fields: it is given back when it is written.
            facts::Applied::Waits { .. } => return Ok(true),
            facts::Applied::Unchanged => {
                is_new = false;
                Vec::new()
            }
        };
        if row.forgotten || row.merged_into.is_some() {
            parked::remove(tx, row.kind as i64, &row.id)?;
            refused::clear(tx, row.kind as i64, &row.id)?;
        } else {
            is_new |= self.fields(tx, row)?;
            facts::unite(tx, row)?;
        }
        for row in &waited {
            self.fields(tx, row)?;
            facts::unite(tx, row)?;
        }
        Ok(is_new)
    }

    fn fields(&mut self, tx: &mut Transaction<'_>, row: &Row) -> store::Result<bool> {
        match fields::apply(tx, self.here, row)? {
            fields::Applied::Later => {
                let json = serde_json::to_string(row).map_err(|e| StoreError::Source(e.into()))?;
                parked::add(tx, row.kind as i64, &row.id, row.seq, &json)?;
                Ok(true)
            }
            fields::Applied::Done(taken) => {
                let is_new = taken.changed;
                self.count(taken);
                parked::remove(tx, row.kind as i64, &row.id)?;
                Ok(is_new)
            }
        }
    }

    pub(super) fn count(&mut self, taken: fields::Taken) {
        self.summary.conflicts += taken.conflicts;
        self.summary.restored += u64::from(taken.restored);
        for reason in taken.skipped {
            self.summary.skip(reason);
        }
    }

    /// Places the fields of records that came before their facts could be.
    fn unpark(&mut self, tx: &mut Transaction<'_>) -> store::Result<()> {
        for json in parked::all(tx)? {
            if let Ok(row) = serde_json::from_str::<Row>(&json) {
                self.fields(tx, &row)?;
            }
        }
        Ok(())
    }

    /// What the cloud had once and has no more was deleted long ago: it is deleted here, unless it was edited since.
    fn delete_what_did_not_come(&mut self, tx: &mut Transaction<'_>) -> store::Result<()> {
        for (kind, table) in [(EntityKind::Commit, "cognitive_commits"), (EntityKind::Session, "sessions")] {
            let rows: Vec<(i64, Id)> = tx
                .prepare(&format!(
                    "SELECT e.row, e.id FROM {table} e JOIN sent_facts f ON f.kind = ?1 AND f.entity_row = e.row AND f.sent > 0
                     WHERE e.deleted_at IS NULL AND NOT EXISTS (SELECT 1 FROM pulled_anew p WHERE p.kind = ?1 AND p.id = e.id)"
                ))?
                .query_map([kind as i64], |r| Ok((r.get(0)?, Id(r.get(1)?))))?
                .collect::<rusqlite::Result<_>>()?;
            for (row, id) in rows {
                let entity = Entity { kind, row };
                told::removed_there(tx, &id)?;
                let is_in_deleted = kind == EntityKind::Session && is_in_deleted(tx, row)?;
                if is_in_deleted || outbox::waits(tx, kind, row)? || trash::find(tx, kind, row)?.is_some() {
                    continue;
                }
                let mut editor = Editor::of_cloud(tx, Elsewhere { machine: String::new() });
                if let Err(error) = editor.apply(&Edit::Delete { entity, name: TrashName::Own }) {
                    self.summary.skip(format!("{} {row}: {error}", kind.as_str()));
                }
            }
        }
        tx.execute("DELETE FROM pulled_anew", [])?;
        tx.execute("DELETE FROM state WHERE key = ?1", [RESYNC])?;
        Ok(())
    }

    /// Tells the store what an answer told of a record that is no more.
    pub(super) fn ended(
        &mut self,
        tx: &mut Transaction<'_>,
        kind: Kind,
        id: Id,
        into: Option<Id>,
    ) -> store::Result<()> {
        let row = Row { merged_into: into, forgotten: into.is_none(), ..Row::bare(kind, id) };
        self.take(tx, &row).map(drop)
    }
}

/// Whether the whole that a session is in is deleted: of its parts nobody said so.
fn is_in_deleted(tx: &Transaction<'_>, session: i64) -> store::Result<bool> {
    let commit = sessions::get(tx, session)?.and_then(|session| session.commit_row);
    let commit = commit.map(|row| commits::get(tx, row)).transpose()?.flatten();
    Ok(commit.is_some_and(|commit| commit.deleted_at.is_some()))
}

#[cfg(test)]
mod tests;
