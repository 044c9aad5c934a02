//! Tables whose keys come in no order: the rows of turns by id, and what messages cost.
//!
//! A key at random written into a large tree dirties a page of its own: with 5,000,000 turns, twenty times what an import
//! writes otherwise. So new rows are gathered in a small table, and moved into the large one many at a time, in the order of
//! their keys. Readers use the views `turn_ids` and `message_usage`, which are both tables together.

use std::cell::Cell;

use rusqlite::Connection;

use super::Result;

/// Turns whose ids are gathered before they are moved: a tree of some 10 MB.
const GATHERED: u64 = 300_000;

/// To be called before a commit, with the number of turns written: moves what was gathered, when it is enough. `gathered`
/// remembers how many there are from commit to commit.
pub(super) fn move_when_many(conn: &Connection, written: u64, gathered: &Cell<Option<u64>>) -> Result<()> {
    if written == 0 {
        return Ok(());
    }
    let counted = match gathered.get() {
        Some(before) => before + written,
        None => conn.query_row("SELECT count(*) FROM turn_ids_new", [], |r| r.get(0))?,
    };
    gathered.set(Some(counted));
    if counted > GATHERED {
        move_all(conn)?;
        gathered.set(Some(0));
    }
    Ok(())
}

fn move_all(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "INSERT INTO turn_ids_sorted SELECT * FROM turn_ids_new ORDER BY id;
         DELETE FROM turn_ids_new;
         INSERT INTO usage_sorted SELECT * FROM usage_new ORDER BY key;
         DELETE FROM usage_new;",
    )?;
    Ok(())
}

/// Turns that are not found by their id, or ids of turns that are not there.
///
/// # Errors
/// When SQLite cannot read.
pub fn wrong_ids(conn: &Connection) -> Result<u64> {
    Ok(conn.query_row(
        "SELECT (SELECT count(*) FROM turns t WHERE NOT EXISTS (SELECT 1 FROM turn_ids i WHERE i.id = t.id AND i.row = t.row))
              + (SELECT count(*) FROM turn_ids i WHERE NOT EXISTS (SELECT 1 FROM turns t WHERE t.row = i.row AND t.id = i.id))",
        [],
        |r| r.get(0),
    )?)
}

/// Writes all ids anew.
///
/// # Errors
/// When SQLite cannot write.
pub fn mend_ids(conn: &Connection) -> Result<()> {
    conn.execute_batch(
        "DELETE FROM turn_ids_new;
         DELETE FROM turn_ids_sorted;
         INSERT OR IGNORE INTO turn_ids_sorted SELECT id, row FROM turns ORDER BY id;",
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Id;
    use crate::store::{Layout, Writer, turns};

    #[test]
    fn a_turn_is_found_by_its_id_before_and_after_it_is_moved() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(&Layout::new(dir.path())).unwrap();
        let tx = writer.begin().unwrap();
        let ids: Vec<Id> = (0..50u8).map(|n| Id::derive(&[&[n]])).collect();
        for (row, id) in (1..).zip(&ids) {
            tx.execute("INSERT INTO turns(row, id, role, at) VALUES (?1, ?2, 1, 1)", rusqlite::params![row, id.0])
                .unwrap();
            tx.execute("INSERT INTO turn_ids_new VALUES (?1, ?2)", rusqlite::params![id.0, row]).unwrap();
            if row == 30 {
                move_all(&tx).unwrap();
            }
        }
        for (row, id) in (1..).zip(&ids) {
            assert_eq!(turns::row_by_id(&tx, id).unwrap(), Some(row));
        }
        assert_eq!(turns::row_by_id(&tx, &Id::derive(&[b"none"])).unwrap(), None);
        assert_eq!(wrong_ids(&tx).unwrap(), 0);
        tx.execute("DELETE FROM turn_ids_sorted WHERE row = 3", []).unwrap();
        tx.execute("UPDATE turn_ids_new SET row = 99 WHERE row = 40", []).unwrap();
        assert_eq!(wrong_ids(&tx).unwrap(), 3, "one is missing, one is another's and missing");
        mend_ids(&tx).unwrap();
        assert_eq!(wrong_ids(&tx).unwrap(), 0);
    }

    #[test]
    fn what_was_gathered_is_moved_when_it_is_much_whoever_gathered_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(&Layout::new(dir.path())).unwrap();
        let tx = writer.begin().unwrap();
        let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
             INSERT INTO turn_ids_new SELECT randomblob(16), i FROM n";
        let left = |conn: &Connection| conn.query_row("SELECT count(*) FROM turn_ids_new", [], |r| r.get::<_, u64>(0));
        tx.execute(many, [GATHERED]).unwrap();
        let gathered = Cell::new(None);
        move_when_many(&tx, 0, &gathered).unwrap();
        move_when_many(&tx, 1, &gathered).unwrap();
        assert_eq!(left(&tx).unwrap(), GATHERED);
        move_when_many(&tx, 1, &gathered).unwrap();
        assert_eq!(left(&tx).unwrap(), 0);
    }
}
