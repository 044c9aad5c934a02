//! What other machines told the cloud, written here.
//!
//! Each record is taken or refused for itself. What is written marks nothing as unsent, but for what only this machine can find:
//! that two commits are one.

mod bulk;
mod commit;
mod others;
mod session;

use rusqlite::Connection;
use serde::de::DeserializeOwned;

use super::checks::named;
use super::export::hash;
use crate::cloud::wire::{Kind, Row};
use crate::model::Id;
use crate::store::gone::{self, Fate};
use crate::store::told::{self, Facts};
use crate::store::{Result, StoreError, Transaction, awaited, commits};

pub use bulk::{Bulk, Ready};

/// What became of a record.
#[derive(Debug, Clone, PartialEq)]
pub enum Applied {
    /// Written, with the records that had waited for it: their fields are to be written now, too.
    Done { waited: Vec<Row> },
    /// It says what is known, or what is known better here.
    Unchanged,
    /// Kept until this one comes.
    Waits { parent: Id },
    /// It is not what a record can be: nothing of it is taken.
    Refused { reason: String },
}

/// Writes what the cloud has of a record: its facts, or that it is a part of another, or forgotten. What waited for it is written
/// behind it. Its fields are left to the caller, and [`unite`] behind them.
///
/// # Errors
/// When the database cannot be written; the transaction is not to be committed then.
pub fn apply(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    told::pause(tx)?;
    let applied = with_children(tx, row);
    told::resume(tx)?;
    applied
}

/// Makes one of a commit that came and another one that the same git commit closed. Behind its fields: what becomes of the two
/// depends on what users made of both.
///
/// # Errors
/// When the database cannot be written.
pub fn unite(tx: &mut Transaction<'_>, row: &Row) -> Result<()> {
    let known = if row.kind == Kind::Commit { commits::by_id(tx, &row.id)? } else { None };
    let Some(known) = known else { return Ok(()) };
    told::pause(tx)?;
    let united = commit::unite(tx, known.row);
    told::resume(tx)?;
    united
}

fn with_children(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    awaited::remove(tx, &row.id)?;
    let applied = one(tx, row)?;
    let is_here = |applied: &Applied| matches!(applied, Applied::Done { .. } | Applied::Unchanged);
    let mut came = if is_here(&applied) { vec![row.id] } else { Vec::new() };
    let mut waited = Vec::new();
    while let Some(parent) = came.pop() {
        for record in awaited::take(tx, &parent)? {
            let Ok(child) = serde_json::from_str::<Row>(&record) else { continue };
            match one(tx, &child)? {
                Applied::Done { .. } | Applied::Unchanged => {
                    came.push(child.id);
                    waited.push(child);
                }
                Applied::Waits { .. } => {}
                Applied::Refused { reason } => tracing::warn!("{reason}"),
            }
        }
    }
    match applied {
        Applied::Unchanged if waited.is_empty() => Ok(applied),
        Applied::Done { .. } | Applied::Unchanged => Ok(Applied::Done { waited }),
        applied => Ok(applied),
    }
}

/// Written, as far as one record goes.
const WRITTEN: Applied = Applied::Done { waited: Vec::new() };

fn one(tx: &mut Transaction<'_>, row: &Row) -> Result<Applied> {
    if row.kind == Kind::Turn {
        return Ok(Applied::Unchanged);
    }
    if row.forgotten {
        return others::forgotten(tx, row);
    }
    if let Some(into) = row.merged_into {
        return others::merged(tx, row, into);
    }
    match gone::fate(tx, &row.id)? {
        // It comes from a machine that does not know: the cloud is told (again).
        Some(Fate::Forgotten) if row.facts.is_some() => {
            gone::forget(tx, of_kind(row.kind), &row.id, true)?;
            return Ok(Applied::Unchanged);
        }
        // Here it became a part of another before the cloud was known to have it.
        Some(Fate::Merged(into)) if row.facts.is_some() => {
            gone::merge(tx, of_kind(row.kind), &row.id, &into, true)?;
            return Ok(Applied::Unchanged);
        }
        Some(_) => return Ok(Applied::Unchanged),
        None => {}
    }
    if row.facts.is_none() {
        return Ok(Applied::Unchanged);
    }
    match row.kind {
        Kind::Machine => others::machine(tx, row),
        Kind::Project => others::project(tx, row),
        Kind::Commit => commit::apply(tx, row),
        Kind::Session => session::apply(tx, row),
        Kind::Turn => Ok(Applied::Unchanged),
    }
}

fn of_kind(kind: Kind) -> Facts {
    match kind {
        Kind::Machine => Facts::Machine,
        Kind::Project => Facts::Project,
        Kind::Commit => Facts::Commit,
        Kind::Session | Kind::Turn => Facts::Session,
    }
}

/// Facts as they should be, with their hash.
fn read<T: DeserializeOwned>(row: &Row) -> std::result::Result<(T, Id), Applied> {
    let facts = row.facts.as_ref().unwrap_or(&serde_json::Value::Null);
    let hash = hash(facts);
    T::deserialize(facts).map(|facts| (facts, hash)).map_err(|error| refused(row, &error.to_string()))
}

fn refused(row: &Row, why: &str) -> Applied {
    Applied::Refused { reason: format!("{} is not taken: {why}", named(row.kind, &row.id)) }
}

fn waits(conn: &Connection, row: &Row, parent: Id) -> Result<Applied> {
    let record = serde_json::to_string(row).map_err(|e| StoreError::Source(e.into()))?;
    awaited::keep(conn, &row.id, &parent, &record)?;
    Ok(Applied::Waits { parent })
}
