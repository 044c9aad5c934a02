//! What is left of forgotten things in the files when their rows are gone: pictures, words in the search index, names in the
//! change feed, and old bytes in pages that SQLite does not use.
//!
//! Done behind the transaction that forgets, with the lock of imports held. Killed in the middle, or kept from it by a full disk
//! or a reader, it is due still, and the next import, forget or repair does it: each step may be done again.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::Connection;

use crate::store::search::SearchIndex;
use crate::store::{ChangeKind, Result, StoreError, Transaction, Writer, set_state, state};

/// The key in `state` that says that this is to be done.
const DUE: &str = "erase";

/// How long readers are waited for: a mount ends its read transactions when nobody used them for 100 ms.
const PATIENCE: Duration = Duration::from_secs(5);

/// Says that something is to be erased.
pub(super) fn demand(tx: &Transaction<'_>) -> Result<()> {
    set_state(tx, DUE, "1")
}

/// Whether something is to be erased.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_due(conn: &Connection) -> Result<bool> {
    Ok(state(conn, DUE)?.is_some())
}

/// Erases what is left. `told` waits until the mounts have read the change feed, whose names go with it; one that has not forgets
/// everything it knows. What could not be done, in words; without any it is done for good.
///
/// # Errors
/// When a database cannot be read or written.
pub fn finish(writer: &mut Writer, told: &mut dyn FnMut()) -> Result<Vec<String>> {
    let mut left = Vec::new();
    blobs(writer, &mut left)?;
    search_index(writer, &mut left)?;
    told();
    forget_feed(writer)?;
    if let Err(error) = rewritten(writer.conn()) {
        left.push(format!("the database could not be rewritten, old bytes may be in its free pages: {error}"));
    } else if !emptied_log(writer.conn())? {
        left.push("a program that reads the database keeps its log (cogfs.db-wal) from being emptied".to_owned());
    }
    if left.is_empty() {
        let tx = writer.begin()?;
        tx.execute("DELETE FROM state WHERE key = ?1", [DUE])?;
        tx.commit()?;
    }
    Ok(left)
}

fn blobs(writer: &mut Writer, left: &mut Vec<String>) -> Result<()> {
    let tx = writer.begin()?;
    let found: Vec<(String, bool)> = tx
        .prepare("SELECT sha256, EXISTS (SELECT 1 FROM visuals v WHERE v.sha256 = b.sha256) FROM forgotten_blobs b")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (sha256, used) in found {
        let path = tx.layout().blob(&sha256);
        match if used { Ok(()) } else { remove(&path) } {
            Ok(()) => drop(tx.execute("DELETE FROM forgotten_blobs WHERE sha256 = ?1", [&sha256])?),
            Err(error) => left.push(error.to_string()),
        }
    }
    tx.commit()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StoreError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn search_index(writer: &Writer, left: &mut Vec<String>) -> Result<()> {
    if !writer.layout().search_index().exists() {
        return Ok(());
    }
    let mut index = SearchIndex::open(writer.layout(), writer.conn())?;
    index.catch_up(writer.conn(), &AtomicBool::new(false), &mut |_, _| {})?;
    let conn = index.conn();
    conn.pragma_update(None, "secure_delete", true)?;
    // A deleted turn is marked as such; its words leave when the sorted runs that hold them are merged.
    let merged = conn.execute_batch("INSERT INTO turns_fts(turns_fts) VALUES ('optimize')").map_err(StoreError::from);
    if let Err(error) = merged.and_then(|()| rewritten(conn)) {
        left.push(format!("the search index could not be rewritten: {error}"));
    } else if !emptied_log(conn)? {
        left.push("a program that searches keeps the index's log (search.db-wal) from being emptied".to_owned());
    }
    Ok(())
}

fn forget_feed(writer: &mut Writer) -> Result<()> {
    let mut tx = writer.begin()?;
    tx.execute("DELETE FROM changes", [])?;
    // The feed must not be empty: that would look to a mount as if nothing had happened.
    tx.changes.add(ChangeKind::Projects, 0);
    tx.commit()
}

/// Writes the file anew: pages that are free, and the free space of others, hold bytes of whatever was there before.
/// Writes the database anew without its free pages, and empties its log; false when a reader kept the log from that.
///
/// # Errors
/// When SQLite cannot: nothing is lost.
pub fn shrink(writer: &Writer) -> Result<bool> {
    rewritten(writer.conn())?;
    emptied_log(writer.conn())
}

fn rewritten(conn: &Connection) -> Result<()> {
    Ok(conn.execute_batch("VACUUM")?)
}

/// Copies the write-ahead log into the file and empties it; false when a reader kept it from that.
fn emptied_log(conn: &Connection) -> Result<bool> {
    let before: u64 = conn.pragma_query_value(None, "busy_timeout", |r| r.get(0))?;
    conn.busy_timeout(PATIENCE)?;
    let busy: rusqlite::Result<bool> = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |r| r.get(0));
    conn.busy_timeout(Duration::from_millis(before))?;
    Ok(!busy?)
}
