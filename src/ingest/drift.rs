//! Kinds of records that a parser did not know, gathered while a file is read and stored with what was read.

use std::collections::{BTreeMap, BTreeSet};

use super::record::Item;
use crate::model::Agent;
use crate::store::{Result, Transaction, unknown};

/// What is not stored yet of one file: by version of the agent and kind, how many records, and the line of the first.
#[derive(Default)]
pub struct Drift(BTreeMap<(String, String), (u64, u64)>);

/// The kinds of a record's items that the parser does not know, each once.
pub fn unknown_kinds(items: &[Item]) -> BTreeSet<String> {
    items
        .iter()
        .filter_map(|item| match item {
            Item::Ignored { kind, known: false } => Some(kind.clone()),
            _ => None,
        })
        .collect()
}

impl Drift {
    /// Notes the kinds of a record that was not stored before.
    pub fn note(&mut self, version: Option<&str>, kinds: BTreeSet<String>, line: u64) {
        for kind in kinds {
            self.0.entry((version.unwrap_or_default().to_owned(), kind)).or_insert((0, line)).0 += 1;
        }
    }

    /// Stores what was noted since the last time.
    pub fn store(&mut self, tx: &Transaction<'_>, agent: Agent, file: &str) -> Result<()> {
        for ((version, kind), (count, line)) in std::mem::take(&mut self.0) {
            unknown::add(tx, agent, &version, &kind, count, &format!("{file}:{line}"))?;
        }
        Ok(())
    }
}
