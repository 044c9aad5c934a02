//! What a log brings of what is forgotten: recognised, and dropped for good.
//!
//! A turn is known by its id. A record goes with its turns; one that makes no turn goes with the turn before it, where that is a
//! forgotten session's: a fork repeats such records under a name of its own. Nothing here costs anything in a database in which
//! nothing was ever forgotten.

use super::{Assembler, Resolver};
use crate::ingest::raw_record::RawRecord;
use crate::ingest::record::{SessionHead, Stream};
use crate::ingest::replay::Admitted;
use crate::model::Id;
use crate::store::{Result, Transaction, forget, sessions, turns};

/// What the turns of a record turned out to be.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Met {
    pub(super) forgotten: bool,
    pub(super) live: bool,
    /// A forgotten one is of a session that is forgotten as a whole.
    of_session: bool,
}

impl Met {
    fn add(&mut self, other: Self) {
        self.forgotten |= other.forgotten;
        self.live |= other.live;
        self.of_session |= other.of_session;
    }
}

/// What must be known of this while a file is read.
#[derive(Default)]
pub(super) struct Forgetting {
    /// Something was forgotten in this database at some time.
    any: bool,
    /// The last turn was a forgotten session's.
    pub(super) behind: bool,
    /// Ids of the turns of the record at hand of which the replay has not said whose they are.
    unresolved: Vec<Id>,
    /// Records behind such a turn, in order.
    waiting: Vec<Waiting>,
}

struct Waiting {
    /// `None` when it is stored already.
    raw: Option<RawRecord>,
    stream: Stream,
    turns: Vec<Id>,
    met: Met,
}

impl Forgetting {
    pub(super) fn load(tx: &Transaction<'_>) -> Result<Self> {
        Ok(Self { any: forget::any(tx)?, ..Self::default() })
    }

    /// The replay was given a turn.
    pub(super) fn given(&mut self, id: Id) {
        if self.any {
            self.unresolved.push(id);
        }
    }

    /// A new record is looked at.
    pub(super) fn next_record(&mut self) {
        self.unresolved.clear();
    }
}

impl Assembler {
    /// Says that a forgotten turn was met.
    pub(super) fn meet_forgotten(&mut self, tx: &Transaction<'_>, row: i64) -> Result<()> {
        self.met.forgotten = true;
        if let Some(session) = sessions::get(tx, turns::parts_of(row).0)? {
            self.met.of_session |= sessions::is_forgotten(tx, &session)?;
        }
        Ok(())
    }

    /// Takes a turn of which the replay has said whose it is, and notes what it is with its record.
    pub(super) fn resolved(
        &mut self,
        tx: &mut Transaction<'_>,
        projects: &mut Resolver,
        admitted: Admitted,
    ) -> Result<()> {
        let id = *admitted.id();
        let of_record = std::mem::take(&mut self.met);
        self.admitted(tx, projects, admitted)?;
        let met = std::mem::replace(&mut self.met, of_record);
        self.forgetting.unresolved.retain(|other| *other != id);
        match self.forgetting.waiting.iter_mut().find(|w| w.turns.contains(&id)) {
            Some(waiting) => waiting.met.add(met),
            None => self.met.add(met),
        }
        Ok(())
    }

    /// Stores a record, or drops it, once it is known what its turns are.
    pub(super) fn keep_or_drop(
        &mut self,
        tx: &mut Transaction<'_>,
        raw: &RawRecord,
        stream: Stream,
        stored: bool,
    ) -> Result<()> {
        if !self.forgetting.any {
            return if stored { Ok(()) } else { self.raw(tx, raw, &stream, false) };
        }
        let turns = std::mem::take(&mut self.forgetting.unresolved);
        let undecided = !turns.is_empty() || !self.forgetting.waiting.is_empty();
        let met = self.met;
        if !undecided {
            let forgotten = self.goes(met);
            return if stored { Ok(()) } else { self.raw(tx, raw, &stream, forgotten) };
        }
        self.forgetting.waiting.push(Waiting { raw: (!stored).then(|| raw.clone()), stream, turns, met });
        if self.replay.is_holding() { Ok(()) } else { self.decide(tx) }
    }

    /// Stores, or drops, the records that waited.
    pub(super) fn decide(&mut self, tx: &mut Transaction<'_>) -> Result<()> {
        for Waiting { raw, stream, met, .. } in std::mem::take(&mut self.forgetting.waiting) {
            let forgotten = self.goes(met);
            if let Some(raw) = raw {
                self.raw(tx, &raw, &stream, forgotten)?;
            }
        }
        Ok(())
    }

    fn goes(&mut self, met: Met) -> bool {
        if met.forgotten || met.live {
            self.forgetting.behind = met.of_session && !met.live;
        }
        met.forgotten || self.forgetting.behind
    }

    /// Whether something of the session is forgotten: what its parser knows may be of that, and is not to be stored.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn has_lost(&self, tx: &Transaction<'_>) -> Result<bool> {
        let SessionHead { agent, native_id, .. } = &self.head;
        Ok(self.forgetting.any && forget::has_lost(tx, *agent, native_id)?)
    }

    /// Whether the session goes on in a part that is forgotten.
    pub(super) fn goes_on_forgotten(&self, tx: &Transaction<'_>) -> Result<bool> {
        let SessionHead { agent, native_id, .. } = &self.head;
        Ok(self.forgetting.any && forget::goes_on_forgotten(tx, *agent, native_id)?)
    }
}
