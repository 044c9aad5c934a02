//! Lengths that another version of the renderer made are computed anew. Until a session's turn comes, a mount computes what
//! it says of it (`tree`, by `derived`): sizes are exact at every moment. That is also why nothing is announced in the change
//! feed: what was said before is what the new lengths say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::STEP_BYTES;
use crate::store::{Layout, Result, StoreError, Transaction, Writer, sessions};
use crate::{derived, render};

/// Brings all sessions up to date, the newest first; how many there were. A session that cannot be read stays as it is.
///
/// # Errors
/// When the database cannot be written.
pub fn update(writer: &mut Writer, stop: &AtomicBool, progress: &mut dyn FnMut(u64, u64)) -> Result<u64> {
    let mut rows = sessions::outdated(writer.conn(), render::VERSION)?;
    let (total, mut done) = (rows.len() as u64, 0);
    if total > 0 {
        tracing::info!("the lengths of {total} sessions are by another version of cogfs and are computed anew");
    }
    while !rows.is_empty() && !stop.load(Ordering::Relaxed) {
        let tx = match writer.begin() {
            // A long import: there is time.
            Err(StoreError::Locked { .. }) => continue,
            begun => begun?,
        };
        let mut bytes = 0;
        while let Some(row) = rows.pop_if(|_| bytes < STEP_BYTES && !stop.load(Ordering::Relaxed)) {
            match session(&tx, row) {
                Ok(read) => bytes += read,
                Err(error) => tracing::warn!(row, %error, "the lengths of a session could not be computed"),
            }
            done += 1;
        }
        tx.commit()?;
        progress(done, total);
        tracing::info!("lengths of {done} of {total} sessions");
    }
    Ok(total)
}

fn session(tx: &Transaction<'_>, row: i64) -> Result<u64> {
    // Meanwhile an import may have done it.
    let outdated = sessions::get(tx, row)?.is_some_and(|s| !derived::is_current(s.render_version));
    if !outdated {
        return Ok(0);
    }
    let lengths = derived::lengths(tx, row)?;
    sessions::save_lengths(tx, row, &lengths.sections, &lengths.index)?;
    let files = (1..=lengths.index.len()).filter_map(|n| lengths.index.get(n)).map(|e| u64::from(e.bytes));
    Ok(files.sum::<u64>() + lengths.sections.bytes)
}

/// Does the same in a thread of its own, which ends with the process at the latest: what is committed stays.
pub fn update_in_background(layout: &Layout) {
    let layout = layout.clone();
    let work = move || {
        let updated =
            Writer::open(&layout).and_then(|mut writer| update(&mut writer, &AtomicBool::new(false), &mut |_, _| ()));
        if let Err(error) = updated {
            tracing::warn!(%error, "outdated lengths stay for now, and are computed when they are asked for");
        }
    };
    if let Err(error) = thread::Builder::new().name("cogfs-lengths".to_owned()).spawn(work) {
        tracing::warn!(%error, "outdated lengths stay for now, and are computed when they are asked for");
    }
}
