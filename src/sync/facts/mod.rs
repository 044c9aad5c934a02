//! Facts that leave and facts that come: what the cloud was not told, in the order it must be told, and what other machines
//! told it, written here.
//!
//! Owns the translation between the store and the wire's facts. Fields (what people change) are not its business, nor is the
//! network.

mod apply;
mod checks;
mod export;
mod redact;

use rusqlite::{Connection, params};

use crate::cloud::wire::{Change, Kind};
use crate::model::Id;
use crate::store::told::{self, Facts};
use crate::store::{Result, Transaction, gone};

pub use apply::{Applied, Bulk, Ready, apply, unite};
pub(crate) use export::{project_of, rank, stub};
pub use redact::{Nothing, Redact};

/// Something the cloud is to be told.
#[derive(Debug, Clone)]
pub struct Pending {
    pub change: Change,
    pub receipt: Receipt,
    /// Of a session: its row. Its contents ([`crate::sync::contents::pending`]) go between [`crate::sync::contents::stub`] and
    /// this, which is to be read again then: [`session`].
    pub session_row: Option<i64>,
    /// Where the next page begins.
    pub cursor: Cursor,
}

/// What is to be marked as sent once the cloud has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt(What);

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Facts {
        kind: Facts,
        row: i64,
        version: i64,
    },
    Gone {
        id: Id,
        into: Option<Id>,
    },
    Turns {
        session_row: i64,
        after: u32,
        last: u32,
    },
    Chunks {
        session_row: i64,
        after: u32,
        count: u32,
        bytes: u64,
    },
    /// Fewer chunks than were sent once: the rest is emptied.
    Cut {
        session_row: i64,
        chunks: u32,
    },
    Usage {
        session_row: i64,
        costs: Vec<told::Cost>,
    },
}

impl Receipt {
    pub(crate) fn turns(session_row: i64, after: u32, last: u32) -> Self {
        Self(What::Turns { session_row, after, last })
    }

    pub(crate) fn chunks(session_row: i64, after: u32, count: u32, bytes: u64) -> Self {
        Self(What::Chunks { session_row, after, count, bytes })
    }

    pub(crate) fn cut(session_row: i64, chunks: u32) -> Self {
        Self(What::Cut { session_row, chunks })
    }

    pub(crate) fn usage(session_row: i64, costs: Vec<told::Cost>) -> Self {
        Self(What::Usage { session_row, costs })
    }
}

/// A place in what is pending: what was given and not marked as sent is not given again behind it. The default is the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    kind: u8,
    key: [i64; 4],
}

impl Default for Cursor {
    fn default() -> Self {
        Self { kind: 0, key: [i64::MIN; 4] }
    }
}

impl Cursor {
    /// Whether it is a place among what is gone, which is counted: what was sent of that is no more on the list.
    pub(crate) fn is_of_gone(&self) -> bool {
        self.kind == GONE
    }
}

/// Kinds behind those of [`Facts`]: what is gone comes when what it is a part of was told.
const GONE: u8 = 4;

/// What the cloud was not told, behind a place: machines, projects, commits, sessions, and what is gone; of one kind the newest
/// first, so that a limit keeps the newest, and subagents behind those that started them. What must not leave is left out.
///
/// # Errors
/// When the database cannot be read.
pub fn pending(conn: &Connection, after: &Cursor, limit: usize, redact: &dyn Redact) -> Result<Vec<Pending>> {
    let read = |unsent| read(conn, unsent, redact).transpose();
    unsent(conn, after, limit)?.into_iter().filter_map(read).collect()
}

/// Something the cloud was not told, as it was found in the list: to be [`read`] when it is sent.
#[derive(Debug, Clone)]
pub(crate) enum Unsent {
    Facts { cursor: Cursor, row: i64 },
    Gone(Pending),
}

impl Unsent {
    pub(crate) fn cursor(&self) -> Cursor {
        match self {
            Self::Facts { cursor, .. } => *cursor,
            Self::Gone(pending) => pending.cursor,
        }
    }
}

/// The list of [`pending`], without what is to be sent. All that waits is sorted for each call: ask for many.
pub(crate) fn unsent(conn: &Connection, after: &Cursor, limit: usize) -> Result<Vec<Unsent>> {
    let mut all = Vec::new();
    for kind in after.kind..=GONE {
        let key = if kind == after.kind { after.key } else { [i64::MIN; 4] };
        let left = limit.saturating_sub(all.len());
        if left == 0 {
            break;
        }
        if kind == GONE {
            all.extend(pending_gone(conn, key[0], left)?.into_iter().map(Unsent::Gone));
        } else {
            all.extend(unsent_facts(conn, kind, key, left)?);
        }
    }
    Ok(all)
}

/// What is to be sent, as it is now; `None`: nothing any more.
pub(crate) fn read(conn: &Connection, unsent: Unsent, redact: &dyn Redact) -> Result<Option<Pending>> {
    let (cursor, row) = match unsent {
        Unsent::Facts { cursor, row } => (cursor, row),
        Unsent::Gone(pending) => return Ok(Some(pending)),
    };
    let kind = match cursor.kind {
        0 => Facts::Machine,
        1 => Facts::Project,
        2 => Facts::Commit,
        _ => Facts::Session,
    };
    let (version, sent) = told::version(conn, kind, row)?;
    if version == sent {
        return Ok(None);
    }
    let change = match kind {
        Facts::Machine => export::machine(conn, row)?,
        Facts::Project => export::project(conn, row)?,
        Facts::Commit => export::commit(conn, row, redact)?,
        Facts::Session => export::session(conn, row, redact)?,
    };
    let receipt = Receipt(What::Facts { kind, row, version });
    let session_row = (kind == Facts::Session).then_some(row);
    Ok(change.map(|change| Pending { change, receipt, session_row, cursor }))
}

/// The four columns of a cursor's key, then the row, of what is unsent of a kind.
const UNSENT: [&str; 4] = [
    "SELECT row, 0, 0, 0, f.entity_row FROM sent_facts f INDEXED BY unsent_facts JOIN machines m ON m.row = f.entity_row
     WHERE f.kind = 0 AND f.version <> f.sent",
    // A project without a commit of this machine says nothing.
    "SELECT p.row, 0, 0, 0, f.entity_row FROM sent_facts f INDEXED BY unsent_facts JOIN projects p ON p.row = f.entity_row
     WHERE f.kind = 1 AND f.version <> f.sent AND p.sync > p.ignored",
    // Found and lying in projects that may leave, with a session of this machine that has turns.
    "SELECT -c.closed_at, -c.row, 0, 0, f.entity_row
     FROM sent_facts f INDEXED BY unsent_facts JOIN cognitive_commits c ON c.row = f.entity_row
         JOIN projects p ON p.row = c.project_row JOIN projects o ON o.row = coalesce(c.found_project, c.project_row)
     WHERE f.kind = 2 AND f.version <> f.sent AND p.sync > p.ignored AND o.sync > o.ignored
       AND (f.sent < 0 OR EXISTS (SELECT 1 FROM sessions s WHERE s.commit_row = c.row AND s.contents = 0
           AND length(s.turn_index) > 0 AND NOT EXISTS (SELECT 1 FROM kept_sessions k WHERE k.session_row = s.row)))",
    "SELECT -c.closed_at, -c.row, CASE WHEN s.parent_row IS NULL THEN 0 ELSE (
             WITH RECURSIVE above(row, n) AS (SELECT s.parent_row, 1 UNION
                 SELECT a.parent_row, above.n + 1 FROM above JOIN sessions a ON a.row = above.row
                 WHERE a.parent_row IS NOT NULL AND above.n < 64)
             SELECT max(n) FROM above) END, s.row, f.entity_row
     FROM sent_facts f INDEXED BY unsent_facts JOIN sessions s ON s.row = f.entity_row
         JOIN cognitive_commits c ON c.row = s.commit_row
         JOIN projects p ON p.row = c.project_row JOIN projects o ON o.row = coalesce(c.found_project, c.project_row)
     WHERE f.kind = 3 AND f.version <> f.sent AND p.sync > p.ignored AND o.sync > o.ignored AND s.contents = 0 AND s.forgotten = 0
       AND length(s.turn_index) > 0 AND NOT EXISTS (SELECT 1 FROM kept_sessions k WHERE k.session_row = s.row)",
];

fn unsent_facts(conn: &Connection, kind: u8, after: [i64; 4], limit: usize) -> Result<Vec<Unsent>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT * FROM (SELECT 0 AS a, 0 AS b, 0 AS c, 0 AS d, 0 AS e WHERE 0 UNION ALL {})
         WHERE (a, b, c, d) > (?1, ?2, ?3, ?4) ORDER BY a, b, c, d LIMIT ?5",
        UNSENT[usize::from(kind)]
    ))?;
    let rows = query.query_map(params![after[0], after[1], after[2], after[3], limit], |r| {
        let cursor = Cursor { kind, key: [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?] };
        Ok(Unsent::Facts { cursor, row: r.get(4)? })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn pending_gone(conn: &Connection, after: i64, limit: usize) -> Result<Vec<Pending>> {
    let skip = usize::try_from(after.max(0)).unwrap_or(0);
    let found = gone::unsent(conn, skip.saturating_add(limit))?;
    let kinds = [Kind::Machine, Kind::Project, Kind::Commit, Kind::Session];
    let pending = (0_i64..).zip(found).skip(skip).filter_map(|(at, (kind, id, into))| {
        let kind = *kinds.get(usize::from(kind))?;
        let change = into.map_or(Change::Forget { kind, id }, |into| Change::Merged { kind, id, into });
        let receipt = Receipt(What::Gone { id, into });
        Some(Pending { change, receipt, session_row: None, cursor: Cursor { kind: GONE, key: [at + 1, 0, 0, 0] } })
    });
    Ok(pending.collect())
}

/// A session's facts as they are now, once its contents were sent; `None` while more of them is to be sent. To be read in one
/// transaction with nothing in between, so that they tell of what was sent and no more.
///
/// # Errors
/// When the database cannot be read.
pub fn session(conn: &Connection, row: i64, redact: &dyn Redact) -> Result<Option<Pending>> {
    if crate::sync::contents::is_pending(conn, row)? {
        return Ok(None);
    }
    let (version, _) = told::version(conn, Facts::Session, row)?;
    let receipt = Receipt(What::Facts { kind: Facts::Session, row, version });
    let cursor = Cursor { kind: Facts::Session as u8, key: [i64::MIN; 4] };
    let change = export::session(conn, row, redact)?;
    Ok(change.map(|change| Pending { change, receipt, session_row: Some(row), cursor }))
}

/// A session's facts as they may follow all of its contents in one request: the records have so many bytes there. `None`: the
/// session changed since they were read.
///
/// # Errors
/// When the database cannot be read.
pub(crate) fn behind_contents(conn: &Connection, mut pending: Pending, raw_bytes: u64) -> Result<Option<Pending>> {
    let What::Facts { kind, row, version } = pending.receipt.0 else { return Ok(None) };
    if told::version(conn, kind, row)?.0 != version {
        return Ok(None);
    }
    if let Change::Facts { facts: Some(facts), .. } = &mut pending.change {
        facts["raw_bytes"] = raw_bytes.into();
    }
    Ok(Some(pending))
}

/// Marks as sent what a receipt is for. What changed since it was read stays unsent.
///
/// # Errors
/// When SQLite cannot write.
pub fn sent(tx: &Transaction<'_>, receipt: &Receipt) -> Result<()> {
    match &receipt.0 {
        What::Facts { kind, row, version } => told::sent(tx, *kind, *row, *version),
        What::Gone { id, into } => gone::sent(tx, id, into.as_ref()),
        What::Turns { session_row, after, last } => told::sent_turns(tx, *session_row, *after, *last),
        What::Chunks { session_row, after, count, bytes } => {
            told::sent_chunks(tx, *session_row, *after, *count, *bytes)
        }
        What::Cut { session_row, chunks } => told::cut_chunks(tx, *session_row, *chunks),
        What::Usage { session_row, costs } => told::sent_usage(tx, *session_row, costs),
    }
}
