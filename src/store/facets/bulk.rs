//! The places of many commits, found with what is known of the directories already and written at once.
//!
//! What comes of it is what [`super::add`] makes of the same places in the same order, row for row.

use std::collections::{BTreeMap, HashMap, HashSet};

use rusqlite::ToSql;

use super::{FacetKind, Place, ensure};
use crate::store::{ChangeKind, Result, Transaction, many};

/// Links that are to be written, and the rows of directories as far as they were looked up.
#[derive(Debug, Default)]
pub struct Bulk {
    rows: HashMap<(FacetKind, i64), HashMap<String, i64>>,
    links: Vec<(i64, i64)>,
    /// Directories, and the commit that was linked last in them or below.
    latest: BTreeMap<i64, i64>,
}

impl Bulk {
    /// Puts a commit that is not deleted where it is to be found. `stands_in`: the directories that it stands in.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn add(
        &mut self,
        tx: &mut Transaction<'_>,
        commit_row: i64,
        stands_in: &mut HashSet<i64>,
        place: &Place,
    ) -> Result<()> {
        let (mut rows, mut parent) = (Vec::with_capacity(place.names.len()), place.parent);
        for (name, depth) in place.names.iter().zip(u32::from(place.kind == FacetKind::File)..) {
            parent = self.row(tx, place.kind, parent, name, depth)?;
            rows.push(parent);
        }
        let Some(leaf) = rows.last() else { return Ok(()) };
        if !stands_in.insert(*leaf) {
            return Ok(());
        }
        self.links.push((*leaf, commit_row));
        self.latest.extend(rows.into_iter().map(|row| (row, commit_row)));
        tx.changes.add(ChangeKind::Views, commit_row);
        Ok(())
    }

    fn row(&mut self, tx: &Transaction<'_>, kind: FacetKind, parent: i64, name: &str, depth: u32) -> Result<i64> {
        let known = self.rows.entry((kind, parent)).or_default();
        if let Some(row) = known.get(name) {
            return Ok(*row);
        }
        let row = ensure(tx, kind, parent, name, depth)?;
        known.insert(name.to_owned(), row);
        Ok(row)
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// When SQLite cannot write.
    pub fn write(&mut self, tx: &Transaction<'_>) -> Result<()> {
        let values: Vec<&dyn ToSql> =
            self.links.iter().flat_map(|(facet, commit)| [facet as &dyn ToSql, commit]).collect();
        many::insert(tx, "INSERT INTO facet_links(facet_row, commit_row)", "", 2, &values)?;
        drop(values);
        self.links.clear();
        let mut update = tx.prepare_cached("UPDATE facets SET latest = ?2 WHERE row = ?1")?;
        for (facet, commit) in std::mem::take(&mut self.latest) {
            update.execute([facet, commit])?;
        }
        Ok(())
    }
}
