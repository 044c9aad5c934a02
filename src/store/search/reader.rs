//! The index, open for searching: which turns an expression fits, the newest rows first.

use std::ops::RangeInclusive;

use rusqlite::{Connection, OpenFlags, params};

use super::{VERSION, database_id, last_noted, place};
use crate::store::{BUSY_TIMEOUT, Layout, Result};

/// How much of the turns the index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    Complete,
    /// The newest turns are missing.
    Behind,
    /// It is being made: any turn may be missing.
    Unfinished,
    /// There is none.
    Missing,
}

/// A connection that searches.
pub struct SearchReader {
    conn: Connection,
}

impl SearchReader {
    /// Opens the index; `None` where there is none of this version and this database yet. `turns` is the main database.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(layout: &Layout, turns: &Connection) -> Result<Option<Self>> {
        let path = layout.search_index();
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&path, flags)
            .map_err(|source| crate::store::StoreError::Open { path: path.clone(), source })?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        let reader = Self { conn };
        Ok(reader.is_of(turns)?.then_some(reader))
    }

    /// Whether the index is of this version and of this database.
    fn is_of(&self, turns: &Connection) -> Result<bool> {
        let version: i64 = self.conn.pragma_query_value(None, "user_version", |r| r.get(0))?;
        if version != VERSION {
            return Ok(false);
        }
        let database: String = self.conn.query_row("SELECT database FROM progress", [], |r| r.get(0))?;
        Ok(database == database_id(turns)?)
    }

    /// How much of the turns it has.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn completeness(&self, turns: &Connection) -> Result<Completeness> {
        let place = place(&self.conn)?;
        Ok(match place.swept {
            Some(_) => Completeness::Unfinished,
            None if last_noted(turns)? > place.followed => Completeness::Behind,
            None => Completeness::Complete,
        })
    }

    /// Changes whenever another connection writes to the index.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn version(&self) -> Result<i64> {
        Ok(self.conn.pragma_query_value(None, "data_version", |r| r.get(0))?)
    }

    /// Gives the rows of the turns in a range that fit an expression to `each`, the newest first, until that returns false. False
    /// when it did. FTS5 walks its lists from their ends, so that what is not taken is not read.
    ///
    /// # Errors
    /// When SQLite cannot read.
    pub fn matching(
        &self,
        expression: &str,
        rows: RangeInclusive<i64>,
        each: &mut dyn FnMut(i64) -> bool,
    ) -> Result<bool> {
        let mut query = self.conn.prepare_cached(
            "SELECT rowid FROM turns_fts WHERE turns_fts MATCH ?1 AND rowid BETWEEN ?2 AND ?3 ORDER BY rowid DESC",
        )?;
        let mut found = query.query(params![expression, rows.start(), rows.end()])?;
        while let Some(row) = found.next()? {
            if !each(row.get(0)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
