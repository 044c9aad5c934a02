//! Contents that leave and contents that come: turns, raw records, costs.
//!
//! Owns the translation between the store and the wire's contents, and the state of a session whose contents are elsewhere. Knows no
//! network.

mod export;
mod keep;

use rusqlite::Connection;

use super::facts::Receipt;
use crate::cloud::wire::Change;
use crate::store::{Result, commits, sessions};

pub(crate) use export::pending_part;
pub use export::{is_pending, pending};
pub use keep::{Stored, elsewhere, give_back, give_up, set_turn_deleted, store, take_over};
pub(crate) use keep::{deleted_there, leave_out_deleted, superseded};

/// A change with contents, and what is to be marked once the cloud has it.
#[derive(Debug, Clone)]
pub struct Batch {
    pub change: Change,
    pub receipt: Receipt,
}

/// Makes a session known to the cloud, so that its contents can be sent: it is given to nobody until its facts come.
///
/// # Errors
/// When the database cannot be read.
pub fn stub(conn: &Connection, session_row: i64) -> Result<Option<Change>> {
    let Some(session) = sessions::get(conn, session_row)? else { return Ok(None) };
    let commit = session.commit_row.map(|row| commits::get(conn, row)).transpose()?.flatten();
    let last = sessions::turn_index(conn, session_row)?.map_or(0, |index| index.len());
    let rank = super::facts::rank(last, session.raw_records);
    Ok(commit.map(|commit| super::facts::stub(&session, commit.id, rank)))
}
