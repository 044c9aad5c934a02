//! The change feed: every transaction leaves the entities it touched, so that a mount in another process can tell the
//! kernel. Coalesced within a transaction: an import of ten thousand turns into one session is one row.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, ToSql};

use super::{Result, many};

/// Rows of the feed that are kept. A mount that falls further behind forgets everything it told the kernel.
const KEPT: i64 = 200_000;

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ChangeKind {
    /// `projects/` lists something else. `name`: a name that is gone or means something else now.
    Projects = 1,
    /// The project's facts changed. `row`: project.
    Project = 2,
    /// The project lists other commits. `parent`: project, `name`: a name that is gone, `row`: the commit or 0.
    ProjectCommits = 3,
    /// The commit's facts or contents changed. `row`: commit.
    Commit = 4,
    /// The commit lists other sessions. `row`: commit, `name`: a name that is gone.
    CommitSessions = 5,
    /// The session's facts or contents changed, turns were added. `row`: session.
    Session = 6,
    /// The session lists other subagents. `row`: session, `name`: a name that is gone.
    SessionSubagents = 7,
    /// A turn that was there before has other contents. `row`: turn.
    Turn = 8,
    /// The commit lists other visuals. `row`: commit; of one that is gone, `parent`: the visual, `name`: its name.
    CommitVisuals = 9,
    /// The commit's links in the views are others, or lead elsewhere. Which they are is looked up when the feed is read.
    /// `row`: the commit, `name`: a name of its links that is gone or means something else now.
    Views = 10,
    /// An id that names nothing any more. `name`: the id.
    Id = 11,
    /// A turn's file is called something else. `row`: session, `name`: the name that is gone.
    TurnName = 12,
    /// A directory of a view lost a link. `row`: the facet, `name`: the link's name.
    Facet = 13,
    /// A link in `by/git/` is gone. `row`: the git commit, `name`: the link's name.
    Git = 14,
    /// The trash lists something else. `name`: a name that is gone.
    Trash = 15,
    /// A draft was kept, or is gone. `row`: the commit whose draft is gone, or 0.
    Drafts = 16,
    /// A conflict was kept, or is closed. `row`: the conflict, `name`: the file that is gone.
    Conflicts = 17,
    /// A directory of a view is gone. `row`: the facet it lay in, 0 at the view's top, minus the project's row at the top of its
    /// files; `parent`: the kind of the view, `name`: its name.
    FacetGone = 20,
    /// `search/` lists something else. `row`: the search that is gone, or 0; `name`: what it is called.
    Searches = 21,
}

impl ChangeKind {
    const ALL: [Self; 19] = [
        Self::Projects,
        Self::Project,
        Self::ProjectCommits,
        Self::Commit,
        Self::CommitSessions,
        Self::Session,
        Self::SessionSubagents,
        Self::Turn,
        Self::CommitVisuals,
        Self::Views,
        Self::Id,
        Self::TurnName,
        Self::Facet,
        Self::Git,
        Self::Trash,
        Self::Drafts,
        Self::Conflicts,
        Self::FacetGone,
        Self::Searches,
    ];

    fn from_i64(value: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as i64 == value)
    }
}

/// One row of the feed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    pub kind: ChangeKind,
    pub row: i64,
    pub parent: i64,
    pub name: Option<String>,
}

/// What a transaction changed, each thing once.
#[derive(Debug, Default)]
pub struct ChangeSet {
    changes: BTreeSet<Change>,
}

impl ChangeSet {
    /// Notes a change of an entity.
    pub fn add(&mut self, kind: ChangeKind, row: i64) {
        self.changes.insert(Change { kind, row, parent: 0, name: None });
    }

    /// Notes a change with everything it needs to be told.
    pub fn add_full(&mut self, kind: ChangeKind, row: i64, parent: i64, name: Option<String>) {
        self.changes.insert(Change { kind, row, parent, name });
    }

    /// True when nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub(super) fn write(&mut self, conn: &Connection) -> Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let changes = std::mem::take(&mut self.changes);
        let kinds: Vec<i64> = changes.iter().map(|change| change.kind as i64).collect();
        let values: Vec<&dyn ToSql> = changes
            .iter()
            .zip(&kinds)
            .flat_map(|(change, kind)| [kind as &dyn ToSql, &change.row, &change.parent, &change.name])
            .collect();
        many::insert(conn, "INSERT INTO changes(kind, row, parent, name)", "", 4, &values)?;
        conn.prepare_cached("DELETE FROM changes WHERE seq <= (SELECT max(seq) FROM changes) - ?1")?.execute([KEPT])?;
        Ok(())
    }
}

/// What came after a place in the feed.
#[derive(Debug)]
pub enum Since {
    /// The changes, and the place after them.
    Changes { changes: Vec<Change>, next: i64 },
    /// The feed no longer reaches back that far.
    Lost { next: i64 },
}

/// The newest place of the feed.
///
/// # Errors
/// When SQLite cannot read.
pub fn head(conn: &Connection) -> Result<i64> {
    let mut query = conn.prepare_cached("SELECT seq FROM changes ORDER BY seq DESC LIMIT 1")?;
    Ok(query.query_row([], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// The changes after `since`.
///
/// # Errors
/// When SQLite cannot read.
pub fn since(conn: &Connection, since: i64) -> Result<Since> {
    let oldest: Option<i64> =
        conn.prepare_cached("SELECT seq FROM changes ORDER BY seq LIMIT 1")?.query_row([], |r| r.get(0)).optional()?;
    if oldest.is_some_and(|oldest| oldest > since + 1) {
        return Ok(Since::Lost { next: head(conn)? });
    }
    let mut query =
        conn.prepare_cached("SELECT seq, kind, row, parent, name FROM changes WHERE seq > ?1 ORDER BY seq")?;
    let mut rows = query.query([since])?;
    let (mut changes, mut next) = (Vec::new(), since);
    while let Some(row) = rows.next()? {
        next = row.get(0)?;
        // A kind that this version does not know belongs to a newer program's entity, which it does not show.
        if let Some(kind) = ChangeKind::from_i64(row.get(1)?) {
            changes.push(Change { kind, row: row.get(2)?, parent: row.get(3)?, name: row.get(4)? });
        }
    }
    Ok(Since::Changes { changes, next })
}
