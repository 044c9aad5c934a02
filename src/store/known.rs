//! Which ids of turns the database may have: an import asks this of each turn it meets, and nearly all are new.
//!
//! A Bloom filter in memory, of a database that had no turn when it was begun: the first import, which is the long one. It is
//! given up once another connection writes; from then on the tables are asked, as for any other database. What it says is
//! never wrong about an id that is not there.

use rusqlite::Connection;

use super::Result;
use crate::model::Id;

/// Blocks of a filter, each of 512 bits, of which an id sets four. A full one is followed by a larger one: the first takes
/// 256 KiB, since memory that is touched for the first time costs more than a filter spares a small import.
const BLOCKS: [usize; 3] = [1 << 12, 1 << 15, 1 << 18];

/// Bits of a filter for each of its ids: it mistakes one new id in a thousand. The last one is never full: 7,000,000 ids fill it
/// as far as that, and more make it mistake more.
const BITS_AN_ID: usize = 20;

/// The ids of a database, as far as it is known that there are no others.
#[derive(Default)]
pub(super) enum Known {
    /// Nobody asked yet.
    #[default]
    NotBegun,
    /// Every id there is is in it. `version` tells whether another connection wrote.
    All { filters: Vec<Filter>, version: i64 },
    /// The tables are to be asked.
    NotAll,
}

impl Known {
    /// To be called when a write transaction has begun.
    pub(super) fn begin(&mut self, conn: &Connection) -> Result<()> {
        if let Self::All { version, .. } = self
            && *version != data_version(conn)?
        {
            *self = Self::NotAll;
        }
        Ok(())
    }

    /// Whether there may be a turn of this id. To be called in a write transaction.
    pub(super) fn may_have(&mut self, conn: &Connection, id: &Id) -> Result<bool> {
        if matches!(self, Self::NotBegun) {
            let any = conn.prepare_cached("SELECT 1 FROM turn_ids LIMIT 1")?.exists([])?;
            *self = match any {
                true => Self::NotAll,
                false => Self::All { filters: Vec::new(), version: data_version(conn)? },
            };
        }
        let Self::All { filters, .. } = self else { return Ok(true) };
        Ok(filters.iter().any(|filter| filter.may_have(id)))
    }

    /// To be called with every id that is written.
    pub(super) fn add(&mut self, id: &Id) {
        let Self::All { filters, .. } = self else { return };
        if filters.last().is_none_or(|filter| filter.room == 0)
            && let Some(blocks) = BLOCKS.get(filters.len())
        {
            filters.push(Filter { blocks: vec![[0; 8]; *blocks], room: blocks * 512 / BITS_AN_ID });
        }
        if let Some(filter) = filters.last_mut() {
            filter.add(id);
        }
    }
}

/// Some of the ids.
pub(super) struct Filter {
    blocks: Vec<[u64; 8]>,
    /// Ids that it can still take.
    room: usize,
}

impl Filter {
    fn may_have(&self, id: &Id) -> bool {
        let (block, bits) = self.place(id);
        self.blocks.get(block).is_none_or(|block| bits.iter().all(|(word, bit)| block[*word] & bit != 0))
    }

    fn add(&mut self, id: &Id) {
        let (block, bits) = self.place(id);
        if let Some(block) = self.blocks.get_mut(block) {
            bits.iter().for_each(|(word, bit)| block[*word] |= bit);
        }
        self.room = self.room.saturating_sub(1);
    }

    /// The block of an id, and its bits there: words and masks. Ids are hashes: their own bits are as good as any others.
    fn place(&self, id: &Id) -> (usize, [(usize, u64); 4]) {
        let whole = u128::from_le_bytes(id.0);
        // Behind the bits that say which kind of UUID it is.
        let bits = (whole >> 72) as u64;
        let nth = |n: u32| {
            let at = (bits >> (9 * n)) & 511;
            ((at >> 6) as usize, 1 << (at & 63))
        };
        (whole as usize & (self.blocks.len() - 1), [nth(0), nth(1), nth(2), nth(3)])
    }
}

/// Changes when another connection has committed something (SQLite, `PRAGMA data_version`).
fn data_version(conn: &Connection) -> Result<i64> {
    Ok(conn.prepare_cached("PRAGMA data_version")?.query_row([], |r| r.get(0))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Millis, Role, Turn};
    use crate::store::{Layout, Transaction, Writer, turns};

    fn id(n: u64) -> Id {
        Id::derive(&[&n.to_le_bytes()])
    }

    fn put(tx: &mut Transaction<'_>, n: u64) {
        let turn = Turn {
            number: 1,
            role: Role::User,
            at: Millis(1),
            model: None,
            text: String::new(),
            label: None,
            tool: None,
            visuals: Vec::new(),
        };
        turns::create(tx, n as i64, &id(n), &turn, None, 0).unwrap();
    }

    fn asks_the_tables(writer: &Writer) -> bool {
        matches!(*writer.known.borrow(), Known::NotAll)
    }

    #[test]
    fn what_is_written_is_found_and_nearly_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(&Layout::new(dir.path())).unwrap();
        let mut tx = writer.begin().unwrap();
        // Into the second filter.
        let many = BLOCKS[0] as u64 * 512 / BITS_AN_ID as u64 + 2_000;
        for n in 3_000..many {
            tx.known.borrow_mut().may_have(&tx, &id(n)).unwrap();
            tx.known.borrow_mut().add(&id(n));
        }
        for n in 1..=300 {
            assert_eq!(turns::row_by_id_in(&tx, &id(n)).unwrap(), None);
            put(&mut tx, n);
            assert_eq!(turns::row_by_id_in(&tx, &id(n)).unwrap(), Some(n as i64));
        }
        let mut mistaken = 0;
        for n in many..many + 10_000 {
            mistaken += u32::from(tx.known.borrow_mut().may_have(&tx, &id(n)).unwrap());
        }
        assert!(mistaken < 100, "{mistaken} of 10,000");
        assert!((3_000..many).all(|n| tx.known.borrow_mut().may_have(&tx, &id(n)).unwrap()));
        tx.commit().unwrap();
        assert!(!asks_the_tables(&writer));
    }

    #[test]
    fn what_another_connection_writes_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(&Layout::new(dir.path())).unwrap();
        let mut tx = writer.begin().unwrap();
        assert_eq!(turns::row_by_id_in(&tx, &id(7)).unwrap(), None);
        put(&mut tx, 1);
        tx.commit().unwrap();
        let mut other = Writer::open(&Layout::new(dir.path())).unwrap();
        let mut tx = other.begin().unwrap();
        put(&mut tx, 7);
        tx.commit().unwrap();
        let tx = writer.begin().unwrap();
        assert_eq!(turns::row_by_id_in(&tx, &id(7)).unwrap(), Some(7));
        drop(tx);
        assert!(asks_the_tables(&writer));
    }

    #[test]
    fn a_database_with_turns_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        for n in [1, 2] {
            let mut writer = Writer::open(&Layout::new(dir.path())).unwrap();
            let mut tx = writer.begin().unwrap();
            assert_eq!(turns::row_by_id_in(&tx, &id(1)).unwrap(), (n == 2).then_some(1));
            put(&mut tx, n);
            tx.commit().unwrap();
            assert_eq!(asks_the_tables(&writer), n == 2);
        }
    }
}
