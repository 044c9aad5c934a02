//! What was written to a `meta.md`: drafts, which are kept through crashes until they become the record, and the bytes of the
//! last save, which are served back while the record says what it said then.

use rusqlite::{Connection, OptionalExtension, params};

use super::{ChangeKind, Result, Transaction};
use crate::model::{Id, Millis};

/// A document that has not become the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    pub commit_row: i64,
    pub text: Vec<u8>,
    pub written_at: Millis,
    /// Why it cannot; `None`: it is whole.
    pub refusal: Option<String>,
}

/// Keeps a draft in place of the one before.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep(tx: &mut Transaction<'_>, draft: &Draft) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO drafts(commit_row, text, written_at, refusal) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(commit_row) DO UPDATE SET text = ?2, written_at = ?3, refusal = ?4",
    )?
    .execute(params![draft.commit_row, draft.text, draft.written_at.0, draft.refusal])?;
    tx.changes.add(ChangeKind::Drafts, draft.commit_row);
    Ok(())
}

/// Removes a commit's draft, if there is one.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let removed = tx.prepare_cached("DELETE FROM drafts WHERE commit_row = ?1")?.execute([commit_row])?;
    if removed > 0 {
        tx.changes.add(ChangeKind::Drafts, commit_row);
    }
    Ok(())
}

/// Which drafts a save leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    None,
    /// What was refused.
    Refused,
}

/// Removes a commit's draft once it is saved, if nothing was written after that.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove_written_until(tx: &mut Transaction<'_>, commit_row: i64, until: Millis, kept: Kept) -> Result<()> {
    let removed = tx
        .prepare_cached("DELETE FROM drafts WHERE commit_row = ?1 AND written_at <= ?2 AND (?3 OR refusal IS NULL)")?
        .execute(params![commit_row, until.0, kept == Kept::None])?;
    if removed > 0 {
        tx.changes.add(ChangeKind::Drafts, commit_row);
    }
    Ok(())
}

/// A commit's draft.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, commit_row: i64) -> Result<Option<Draft>> {
    let mut query =
        conn.prepare_cached("SELECT commit_row, text, written_at, refusal FROM drafts WHERE commit_row = ?1")?;
    Ok(query.query_row([commit_row], read).optional()?)
}

/// All drafts, by their commits' rows.
///
/// # Errors
/// When SQLite cannot read.
pub fn all(conn: &Connection) -> Result<Vec<Draft>> {
    let mut query =
        conn.prepare_cached("SELECT commit_row, text, written_at, refusal FROM drafts ORDER BY commit_row")?;
    Ok(query.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Draft> {
    Ok(Draft { commit_row: row.get(0)?, text: row.get(1)?, written_at: Millis(row.get(2)?), refusal: row.get(3)? })
}

/// A document as it was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub text: Vec<u8>,
    pub saved_at: Millis,
    /// The hash of what the record was rendered as when it was saved.
    pub rendering: Id,
}

/// The hash of a rendering.
#[must_use]
pub fn rendering_hash(rendering: &str) -> Id {
    Id::derive(&[b"rendering", rendering.as_bytes()])
}

/// Keeps the bytes of a save.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_saved(tx: &mut Transaction<'_>, commit_row: i64, saved: &Saved) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO saved_documents(commit_row, text, rendering, saved_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT(commit_row) DO UPDATE SET text = ?2, rendering = ?3, saved_at = ?4",
    )?
    .execute(params![commit_row, saved.text, saved.rendering.0, saved.saved_at.0])?;
    tx.changes.add(ChangeKind::Commit, commit_row);
    Ok(())
}

/// Forgets the bytes of a save: the record says something else.
///
/// # Errors
/// When SQLite cannot write.
pub fn remove_saved(tx: &mut Transaction<'_>, commit_row: i64) -> Result<()> {
    let removed = tx.prepare_cached("DELETE FROM saved_documents WHERE commit_row = ?1")?.execute([commit_row])?;
    if removed > 0 {
        tx.changes.add(ChangeKind::Commit, commit_row);
    }
    Ok(())
}

/// The bytes of the last save.
///
/// # Errors
/// When SQLite cannot read.
pub fn saved(conn: &Connection, commit_row: i64) -> Result<Option<Saved>> {
    let mut query =
        conn.prepare_cached("SELECT text, rendering, saved_at FROM saved_documents WHERE commit_row = ?1")?;
    let row = query.query_row([commit_row], |r| {
        Ok(Saved { text: r.get(0)?, rendering: super::id_column(r, 1)?, saved_at: Millis(r.get(2)?) })
    });
    Ok(row.optional()?)
}
