//! Runs a query: the newest turns that fit are the candidates, and these are ranked.
//!
//! A word may stand in half of all turns. The index is walked from its newest end and no further than there are candidates, and
//! a candidate costs one look at its turn, so the time does not grow with the number of turns that fit.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension};

use super::names::{self, Meant};
use super::query::{Phrase, Query};
use super::score::{self, Weighed};
use crate::model::{Millis, Role};
use crate::store::search::{Completeness, SearchReader, marks};
use crate::store::{StoreError, turns};

/// Turns that are ranked together, at the least.
const CANDIDATES: usize = 1_000;

/// Text looked at in ranking, of all candidates and of one. What is beyond counts as any turn that fits.
const MOST_BYTES: usize = 16 * 1024 * 1024;
const MOST_BYTES_OF_TURN: usize = 256 * 1024;

/// Ranges of sessions that are searched one by one. Where there are more, everything is walked through.
const MOST_RANGES: usize = 256;

/// Why a search could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Query(#[from] super::QueryError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<rusqlite::Error> for SearchError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

type Result<T> = std::result::Result<T, SearchError>;

/// A turn that fits.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    pub row: i64,
    pub role: Role,
    pub at: Millis,
    pub score: f64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The best first.
    pub hits: Vec<Hit>,
    /// There are more than these.
    pub more: bool,
    pub completeness: Completeness,
    /// Names in filters that nothing here is called.
    pub unknown: Vec<String>,
}

/// Searches for the best `limit` turns. Without an index nothing is found.
///
/// # Errors
/// When the database or the index cannot be read.
pub fn run(conn: &Connection, index: Option<&SearchReader>, query: &Query, limit: usize, now: Millis) -> Result<Found> {
    let meant = names::meant(conn, &query.filters)?;
    let unknown = meant.unknown.clone();
    let Some(index) = index else {
        return Ok(Found { hits: Vec::new(), more: false, completeness: Completeness::Missing, unknown });
    };
    let completeness = index.completeness(conn)?;
    let phrases = query.words.as_ref().map(super::Words::wanted).unwrap_or_default();
    let mut search = Search {
        conn,
        index,
        expression: expression(query, &meant),
        sessions: meant.sessions,
        since: query.filters.since,
        phrases,
        now,
        shown: HashMap::new(),
    };
    let (mut hits, mut below) = (Vec::new(), Some(i64::MAX));
    while let Some(last) = below.filter(|_| hits.len() < limit) {
        let (rows, next) = search.candidates(last, limit.max(CANDIDATES))?;
        let ranked = search.rank(&rows)?;
        hits.extend(ranked);
        below = next;
    }
    let more = below.is_some() || hits.len() > limit;
    hits.truncate(limit);
    Ok(Found { hits, more, completeness, unknown })
}

/// FTS5's expression for a query. What a user typed is in quotes in it.
fn expression(query: &Query, meant: &Meant) -> String {
    let everything = marks::everything();
    let mut parts: Vec<String> = query.words.iter().map(|words| words.to_match(&everything)).collect();
    parts.extend(meant.fit.iter().cloned());
    if parts.is_empty() {
        parts.push(everything);
    }
    let mut out = parts.join(" AND ");
    for unfit in &meant.unfit {
        out = format!("({out}) NOT {unfit}");
    }
    out
}

struct Search<'a> {
    conn: &'a Connection,
    index: &'a SearchReader,
    expression: String,
    sessions: Option<Vec<i64>>,
    since: Option<Millis>,
    phrases: Vec<&'a Phrase>,
    now: Millis,
    /// Sessions that were looked at, and whether they have a place in the tree.
    shown: HashMap<i64, bool>,
}

impl Search<'_> {
    /// The newest rows up to one that fit, and where to go on; `None`: there are no more.
    fn candidates(&mut self, last: i64, most: usize) -> Result<(Vec<i64>, Option<i64>)> {
        let ranges = self.sessions.as_deref().map(ranges).filter(|ranges| ranges.len() <= MOST_RANGES);
        let everywhere = vec![0..=i64::MAX];
        let mut rows = Vec::new();
        let among = self.sessions.as_ref().filter(|_| ranges.is_none());
        for range in ranges.as_ref().unwrap_or(&everywhere).iter().rev() {
            let range = *range.start()..=*range.end().min(&last);
            if range.is_empty() {
                continue;
            }
            let ended = self.index.matching(&self.expression, range, &mut |row| {
                if among.is_none_or(|among| among.binary_search(&turns::parts_of(row).0).is_ok()) {
                    rows.push(row);
                }
                rows.len() < most
            })?;
            if !ended {
                let next = rows.last().map(|row| row - 1);
                return Ok((rows, next));
            }
        }
        Ok((rows, None))
    }

    /// Candidates in their order, without those that are deleted.
    fn rank(&mut self, rows: &[i64]) -> Result<Vec<Hit>> {
        let mut weighed = Vec::with_capacity(rows.len());
        let (mut kept, mut bytes) = (Vec::with_capacity(rows.len()), 0);
        for row in rows {
            if !self.is_shown(turns::parts_of(*row).0)? {
                continue;
            }
            if let Some(turn) = self.weigh(*row, &mut bytes)? {
                kept.push(*row);
                weighed.push(turn);
            }
        }
        let scores = score::scores(&weighed, self.now);
        let mut hits: Vec<Hit> = kept
            .into_iter()
            .zip(weighed)
            .zip(scores)
            .map(|((row, turn), score)| Hit { row, role: turn.role, at: turn.at, score })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.at.cmp(&a.at)).then(b.row.cmp(&a.row)));
        Ok(hits)
    }

    /// `None` of a turn that is deleted, forgotten, or older than wanted.
    fn weigh(&self, row: i64, bytes: &mut usize) -> Result<Option<Weighed>> {
        let wants_text = !self.phrases.is_empty() && *bytes < MOST_BYTES;
        let mut query = self.conn.prepare_cached(if wants_text {
            "SELECT role, at, deleted_at, text, tool_input, tool_output FROM turns WHERE row = ?1"
        } else {
            "SELECT role, at, deleted_at FROM turns WHERE row = ?1"
        })?;
        let mut found = query.query([row])?;
        let Some(found) = found.next()? else { return Ok(None) };
        let (role, at) = (Role::from_u8(found.get(0)?), Millis(found.get(1)?));
        let deleted: Option<i64> = found.get(2)?;
        let (Some(role), None) = (role, deleted) else { return Ok(None) };
        if self.since.is_some_and(|since| at < since) {
            return Ok(None);
        }
        if !wants_text {
            return Ok(Some(Weighed { counts: vec![1.0; self.phrases.len()], words: 200, role, at }));
        }
        let mut texts = [""; 3];
        for (n, text) in (3..).zip(&mut texts) {
            let whole = found.get_ref(n)?.as_str_or_null().map_err(rusqlite::Error::from)?.unwrap_or_default();
            *bytes += whole.len();
            *text = &whole[..whole.floor_char_boundary(MOST_BYTES_OF_TURN)];
        }
        Ok(Some(score::weigh(texts, &self.phrases, role, at)))
    }

    /// Whether a session has a place in the tree, outside the trash.
    fn is_shown(&mut self, session: i64) -> Result<bool> {
        if let Some(shown) = self.shown.get(&session) {
            return Ok(*shown);
        }
        let shown = self.looks_shown(session)?;
        self.shown.insert(session, shown);
        Ok(shown)
    }

    fn looks_shown(&self, session: i64) -> Result<bool> {
        let mut query = self.conn.prepare_cached(
            "SELECT s.parent_row, s.deleted_at IS NULL AND c.deleted_at IS NULL
             FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row WHERE s.row = ?1",
        )?;
        let mut at = Some(session);
        // A damaged database must not make a loop of it.
        for _ in 0..64 {
            let Some(session) = at else { return Ok(true) };
            let found: Option<(Option<i64>, bool)> =
                query.query_row([session], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            let Some((parent, true)) = found else { return Ok(false) };
            at = parent;
        }
        Ok(false)
    }
}

/// Rows of turns of sessions, those that follow each other as one.
fn ranges(sessions: &[i64]) -> Vec<RangeInclusive<i64>> {
    sessions
        .chunk_by(|a, b| *b == *a + 1)
        .filter_map(|run| Some(turns::row_of(*run.first()?, 0)..=turns::row_of(*run.last()?, 0xffff)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_that_follow_each_other_are_one_range() {
        assert_eq!(ranges(&[1, 2, 3, 7]), [(1 << 16)..=(3 << 16 | 0xffff), (7 << 16)..=(7 << 16 | 0xffff)]);
        assert!(ranges(&[]).is_empty());
    }
}
