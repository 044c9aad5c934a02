//! Connections that read, each with a transaction held open: beginning one for every request would cost more than the query.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::lock;
use crate::store::{self, Layout, Result};

/// More than there are request threads: a connection that finds no room is closed.
const KEPT: usize = 8;

/// A connection that sees one state of the database.
pub struct Reader {
    conn: Connection,
    epoch: u64,
    used: Instant,
    in_transaction: bool,
}

impl Reader {
    /// The connection.
    pub fn conn(&self) -> &Connection {
        &self.conn
    }

    fn begin(&mut self, epoch: u64) -> Result<()> {
        if self.in_transaction && self.epoch == epoch {
            return Ok(());
        }
        self.end()?;
        // The state it sees is taken at its first read, which comes after the epoch was read.
        self.conn.execute_batch("BEGIN")?;
        (self.in_transaction, self.epoch) = (true, epoch);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.in_transaction {
            self.in_transaction = false;
            self.conn.execute_batch("COMMIT")?;
        }
        Ok(())
    }
}

/// The readers that no request uses at the moment.
pub struct Readers {
    layout: Layout,
    idle: Mutex<Vec<Reader>>,
}

impl Readers {
    pub fn new(layout: Layout) -> Self {
        Self { layout, idle: Mutex::new(Vec::new()) }
    }

    /// A reader that sees the state of an epoch, or a newer one.
    pub fn take(&self, epoch: u64) -> Result<Reader> {
        let idle = lock(&self.idle).pop();
        let mut reader = match idle {
            Some(reader) => reader,
            None => {
                Reader { conn: store::open_reader(&self.layout)?, epoch, used: Instant::now(), in_transaction: false }
            }
        };
        reader.begin(epoch)?;
        Ok(reader)
    }

    /// Takes a reader back.
    pub fn give_back(&self, mut reader: Reader) {
        reader.used = Instant::now();
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT {
            idle.push(reader);
        }
    }

    /// Ends the transactions that were not used for some time, so that the write-ahead log can be folded in.
    pub fn end_idle(&self, idle_for: Duration) {
        lock(&self.idle).retain_mut(|reader| {
            // A connection that cannot end its transaction is of no more use.
            reader.used.elapsed() < idle_for || reader.end().is_ok()
        });
    }
}
