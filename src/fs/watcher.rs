//! What changed, by whatever process, and what the kernel must forget of it.

use std::time::Duration;

use rusqlite::Connection;

use super::{CogFs, Invalidation, Result, lock};
use crate::store::{ChangeKind, StoreError, changes};
use crate::tree::{self, Node, Stale};

/// Changes of one batch beyond which everything is forgotten instead: telling the kernel one by one would take longer.
const MOST_CHANGES: usize = 50_000;

/// The same for what they make stale: a commit may stand in hundreds of directories.
const MOST_STALE: usize = 500_000;

/// How long [`CogFs::changes`] waits for the requests that saw the old state.
const PATIENCE: Duration = Duration::from_secs(30);

/// A read transaction nobody used for this long is ended, so that the database's log can be folded in.
const IDLE: Duration = Duration::from_millis(100);

/// What the notifier knows of the database.
pub(super) struct Watcher {
    conn: Connection,
    data_version: i64,
    seen: i64,
}

impl Watcher {
    /// From the state that the database is in now.
    pub(super) fn new(conn: Connection) -> std::result::Result<Self, StoreError> {
        let (data_version, seen) = (data_version(&conn)?, changes::head(&conn)?);
        Ok(Self { conn, data_version, seen })
    }
}

impl CogFs {
    /// What changed since the last call, by whatever process. To be called from the notifier thread alone, without a guard:
    /// it publishes the new state, waits for the requests that still saw the old one, and returns what the kernel must forget.
    /// Cheap when nothing changed; ends read transactions that have been idle for 100 ms.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn changes(&self) -> Result<Vec<Invalidation>> {
        self.readers.end_idle(IDLE);
        let mut watcher = lock(&self.watcher);
        let version = data_version(&watcher.conn)?;
        let following = self.told_is_news();
        let is_told = self.writing.as_ref().is_some_and(|writing| !lock(&writing.told).is_empty());
        // Another mount of the database may have logged a refusal.
        let logged = self.errors() != self.view().errors;
        let indexed = self.index_is_news();
        if version == watcher.data_version && !following && !logged && !indexed && !is_told {
            return Ok(Vec::new());
        }
        // The feed is read before the new state is published: a commit that comes in between is in the next round.
        let since = changes::since(&watcher.conn, watcher.seen)?;
        let mut stale = Vec::new();
        let next = match since {
            changes::Since::Changes { changes, next } if changes.len() <= MOST_CHANGES => {
                if changes.iter().any(|change| change.kind == ChangeKind::Trash) {
                    self.trash_changed();
                }
                for change in &changes {
                    tree::stale(&watcher.conn, change, &mut stale)?;
                    if stale.len() > MOST_STALE {
                        stale.clear();
                        tree::everything(&watcher.conn, &mut stale)?;
                        break;
                    }
                }
                next
            }
            changes::Since::Changes { next, .. } | changes::Since::Lost { next } => {
                tree::everything(&watcher.conn, &mut stale)?;
                next
            }
        };
        if version != watcher.data_version {
            tree::fixed(&mut stale);
        }
        if following {
            tree::following(&mut stale);
        }
        if logged {
            tree::errors(&mut stale);
        }
        if following || logged || is_told {
            self.show();
        }
        // Not before all that can fail: what is taken here is told, or nobody tells it.
        let told = self.writing.as_ref().map(|writing| std::mem::take(&mut *lock(&writing.told))).unwrap_or_default();
        self.gate.publish(PATIENCE);
        self.readers.end_idle(Duration::ZERO);
        if indexed || version != watcher.data_version {
            self.forget_found(&mut stale);
        }
        if watcher.seen != next {
            // Of what was forgotten nothing stays here either.
            self.view().kept.clear();
        }
        (watcher.data_version, watcher.seen) = (version, next);
        stale.sort();
        stale.dedup();
        let conn = &watcher.conn;
        let mut all: Vec<Invalidation> = stale.into_iter().flat_map(|stale| self.invalidations(conn, stale)).collect();
        all.extend(told);
        Ok(all)
    }

    /// What a stale thing of the tree is to the kernel: a document may be known under several numbers. Of one that was written here
    /// the kernel has the bytes. To have it drop them it would wait for a write that is under way; were this process killed then,
    /// neither would ever end.
    fn invalidations(&self, conn: &Connection, stale: Stale) -> Vec<Invalidation> {
        if let (Some(writing), Stale::Node(ino)) = (&self.writing, &stale)
            && let Some(Node::CommitMetaMd(row)) = Node::from_ino(*ino)
        {
            let text = tree::meta_md(conn, row).ok().flatten().map(|meta| meta.text);
            let overlay = lock(&writing.overlay);
            let is_known = overlay.is_being_written(row) || text.is_some_and(|text| overlay.was_saved(row, &text));
            let what = if is_known { Invalidation::Attributes } else { Invalidation::Node };
            return overlay.others_of(row).into_iter().chain([*ino]).map(what).collect();
        }
        vec![invalidation(stale)]
    }
}

fn data_version(conn: &Connection) -> std::result::Result<i64, StoreError> {
    Ok(conn.pragma_query_value(None, "data_version", |r| r.get(0))?)
}

fn invalidation(stale: Stale) -> Invalidation {
    match stale {
        Stale::Node(ino) => Invalidation::Node(ino),
        Stale::Name { parent, name } => Invalidation::Name { parent, name: name.into() },
    }
}
