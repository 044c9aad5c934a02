//! The views: directories of links to commits, by what the commits have in common, and which commit stands in which.
//!
//! A facet is such a directory (a day, a model, a part of a file's path); a link is a commit in one. Written beside the parts
//! of a session, a row for each thing that is new. A commit's links go with it into the commit it is merged with.

mod bulk;
pub use bulk::Bulk;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::commits::{LISTED_COLUMNS, LISTED_WIDTH, Listed};
use super::{ChangeKind, Result, Transaction};
use crate::model::{Commit, Millis};

/// What commits are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FacetKind {
    /// The day on which it started.
    Date = 1,
    Agent = 2,
    Model = 3,
    Machine = 4,
    Tool = 5,
    /// A part of the path of a file that was written.
    File = 6,
    /// A user's word for it.
    Tag = 7,
    /// What a user made of it, and what waits for the cloud.
    Status = 8,
}

impl FacetKind {
    pub const ALL: [Self; 8] =
        [Self::Date, Self::Agent, Self::Model, Self::Machine, Self::Tool, Self::File, Self::Tag, Self::Status];

    /// The directory's name in `by/`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Date => "date",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Machine => "machine",
            Self::Tool => "tool",
            Self::File => "file",
            Self::Tag => "tag",
            Self::Status => "status",
        }
    }

    /// Reads the number back.
    #[must_use]
    pub fn from_i64(value: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as i64 == value)
    }
}

/// The parent of what lies at the top of a project's files.
#[must_use]
pub fn files_of_project(project_row: i64) -> i64 {
    -project_row
}

/// The project whose files have this parent at their top.
#[must_use]
pub fn project_of_files(parent: i64) -> i64 {
    -parent
}

/// A directory of a view that has something in it, with the times of the commit that was linked last in it or below.
#[derive(Debug, Clone)]
pub struct Facet {
    pub row: i64,
    pub kind: FacetKind,
    pub name: String,
    /// Directories between `by/KIND/NAME` and its links.
    pub depth: u32,
    pub mtime: Millis,
    pub updated_at: Millis,
}

const SHOWN: &str = "SELECT f.row, f.kind, f.name, f.depth, coalesce(c.curated_at, c.closed_at), c.updated_at
    FROM facets f JOIN cognitive_commits c ON c.row = f.latest";

fn read(row: &Row<'_>) -> rusqlite::Result<Facet> {
    Ok(Facet {
        row: row.get(0)?,
        kind: FacetKind::from_i64(row.get(1)?).ok_or(rusqlite::Error::InvalidQuery)?,
        name: row.get(2)?,
        depth: row.get(3)?,
        mtime: Millis(row.get(4)?),
        updated_at: Millis(row.get(5)?),
    })
}

/// A facet that has something in it.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Facet>> {
    Ok(conn.prepare_cached(&format!("{SHOWN} WHERE f.row = ?1"))?.query_row([row], read).optional()?)
}

/// A facet by its name.
///
/// # Errors
/// When SQLite cannot read.
pub fn child(conn: &Connection, kind: FacetKind, parent: i64, name: &str) -> Result<Option<Facet>> {
    let mut query = conn.prepare_cached(&format!("{SHOWN} WHERE f.kind = ?1 AND f.parent = ?2 AND f.name = ?3"))?;
    Ok(query.query_row(params![kind as i64, parent, name], read).optional()?)
}

/// The kind, parent and name of a facet that has nothing in it any more.
///
/// # Errors
/// When SQLite cannot read.
pub fn emptied(conn: &Connection, row: i64) -> Result<Option<(FacetKind, i64, String)>> {
    let mut query = conn.prepare_cached("SELECT kind, parent, name FROM facets WHERE row = ?1 AND latest IS NULL")?;
    let found: Option<(i64, i64, String)> =
        query.query_row([row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?))).optional()?;
    Ok(found.and_then(|(kind, parent, name)| Some((FacetKind::from_i64(kind)?, parent, name))))
}

/// Whether a project has files to show.
///
/// # Errors
/// When SQLite cannot read.
pub fn any_file(conn: &Connection, project_row: i64) -> Result<bool> {
    any_child(conn, FacetKind::File, files_of_project(project_row))
}

/// Whether a directory of a view has directories below it.
///
/// # Errors
/// When SQLite cannot read.
pub fn any_child(conn: &Connection, kind: FacetKind, parent: i64) -> Result<bool> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM facets WHERE kind = ?1 AND parent = ?2 AND latest IS NOT NULL LIMIT 1")?;
    Ok(query.exists(params![kind as i64, parent])?)
}

/// Gives the facets of a directory behind a row to `each`, in the order of their rows, until that returns false. False when
/// it did.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_child(
    conn: &Connection,
    kind: FacetKind,
    parent: i64,
    after: i64,
    each: &mut dyn FnMut(Facet) -> bool,
) -> Result<bool> {
    // The joins keep their order (CROSS): the rows come as the index has them, and no more of them than are taken.
    let mut query = conn.prepare_cached(
        "SELECT f.row, f.kind, f.name, f.depth, coalesce(c.curated_at, c.closed_at), c.updated_at
         FROM facets f INDEXED BY facets_by_parent CROSS JOIN cognitive_commits c ON c.row = f.latest
         WHERE f.kind = ?1 AND f.parent = ?2 AND f.row > ?3 ORDER BY f.row",
    )?;
    let mut rows = query.query(params![kind as i64, parent, after])?;
    while let Some(row) = rows.next()? {
        if !each(read(row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives the links of a facet behind a commit's row to `each`, with their rows, in the order of the commits' rows, until that
/// returns false.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_link(
    conn: &Connection,
    facet_row: i64,
    after: i64,
    each: &mut dyn FnMut(i64, Listed) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}, l.row
         FROM facet_links l CROSS JOIN cognitive_commits c ON c.row = l.commit_row AND c.home < 2
             CROSS JOIN projects p ON p.row = c.project_row
         WHERE l.facet_row = ?1 AND l.commit_row > ?2 ORDER BY l.commit_row"
    ))?;
    let mut rows = query.query([facet_row, after])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(LISTED_WIDTH)?, super::commits::read_listed(row)?) {
            break;
        }
    }
    Ok(())
}

/// The same with the commits' rows and the names of the links alone: half the work where nothing else is asked for.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_link_name(
    conn: &Connection,
    facet_row: i64,
    after: i64,
    each: &mut dyn FnMut(i64, i64, String) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(
        "SELECT l.row, l.commit_row, c.link_name
         FROM facet_links l CROSS JOIN cognitive_commits c ON c.row = l.commit_row AND c.deleted_at IS NULL
         WHERE l.facet_row = ?1 AND l.commit_row > ?2 ORDER BY l.commit_row",
    )?;
    let mut rows = query.query([facet_row, after])?;
    while let Some(row) = rows.next()? {
        if !each(row.get(0)?, row.get(1)?, row.get(2)?) {
            break;
        }
    }
    Ok(())
}

/// The link in a facet to the commit of this name.
///
/// # Errors
/// When SQLite cannot read.
pub fn link_by_name(conn: &Connection, facet_row: i64, name: &str) -> Result<Option<i64>> {
    let mut query = conn.prepare_cached(
        "SELECT l.row FROM cognitive_commits c
             CROSS JOIN facet_links l ON l.facet_row = ?1 AND l.commit_row = c.row
         WHERE c.link_name = ?2 AND c.home < 2",
    )?;
    Ok(query.query_row(params![facet_row, name], |r| r.get(0)).optional()?)
}

/// The facet that a link stands in and the commit it leads to.
///
/// # Errors
/// When SQLite cannot read.
pub fn link(conn: &Connection, row: i64) -> Result<Option<(i64, i64)>> {
    let mut query = conn.prepare_cached("SELECT facet_row, commit_row FROM facet_links WHERE row = ?1")?;
    Ok(query.query_row([row], |r| Ok((r.get(0)?, r.get(1)?))).optional()?)
}

/// The links to a commit: facet and link.
///
/// # Errors
/// When SQLite cannot read.
pub fn links_to(conn: &Connection, commit_row: i64) -> Result<Vec<(i64, i64)>> {
    let mut query = conn.prepare_cached("SELECT facet_row, row FROM facet_links WHERE commit_row = ?1")?;
    Ok(query.query_map([commit_row], |r| Ok((r.get(0)?, r.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
}

/// The names of the directories of `by/status/` that a commit stands in.
///
/// # Errors
/// When SQLite cannot read.
pub fn statuses_of(conn: &Connection, commit_row: i64) -> Result<Vec<String>> {
    let mut query = conn.prepare_cached(
        "SELECT f.name FROM facet_links l JOIN facets f ON f.row = l.facet_row WHERE l.commit_row = ?1 AND f.kind = ?2",
    )?;
    let names = query.query_map([commit_row, FacetKind::Status as i64], |r| r.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

/// The facets a commit stands in, with those they lie in.
const AROUND: &str = "WITH RECURSIVE around(row) AS (
        SELECT facet_row FROM facet_links WHERE commit_row = ?1
        UNION SELECT f.parent FROM around JOIN facets f ON f.row = around.row WHERE f.parent > 0)";

/// The facets a commit stands in and the directories they lie in.
///
/// # Errors
/// When SQLite cannot read.
pub fn around(conn: &Connection, commit_row: i64) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached(&format!("{AROUND} SELECT row FROM around"))?;
    Ok(query.query_map([commit_row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Where a commit is to be found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    kind: FacetKind,
    parent: i64,
    names: Vec<String>,
}

impl Place {
    /// In a view of one level.
    #[must_use]
    pub fn of(kind: FacetKind, name: String) -> Self {
        Self { kind, parent: 0, names: vec![name] }
    }

    /// A file of a project, by the parts of its path.
    #[must_use]
    pub fn file(project_row: i64, path: Vec<String>) -> Self {
        Self { kind: FacetKind::File, parent: files_of_project(project_row), names: path }
    }
}

/// Puts a commit where it is to be found; what is there already changes nothing.
///
/// # Errors
/// When SQLite cannot write.
pub fn add(tx: &mut Transaction<'_>, commit_row: i64, places: &[Place]) -> Result<()> {
    let mut touched = std::collections::BTreeSet::new();
    for place in places {
        let (mut rows, mut parent) = (Vec::with_capacity(place.names.len()), place.parent);
        for (name, depth) in place.names.iter().zip(u32::from(place.kind == FacetKind::File)..) {
            parent = ensure(tx, place.kind, parent, name, depth)?;
            rows.push(parent);
        }
        let Some(leaf) = rows.last() else { continue };
        if insert_link(tx, *leaf, commit_row)? {
            touched.extend(rows);
        }
    }
    // A deleted commit is in no view until it is restored.
    for row in &touched {
        tx.prepare_cached(
            "UPDATE facets SET latest = ?2
             WHERE row = ?1 AND EXISTS (SELECT 1 FROM cognitive_commits WHERE row = ?2 AND deleted_at IS NULL)",
        )?
        .execute([*row, commit_row])?;
    }
    if !touched.is_empty() {
        tx.changes.add(ChangeKind::Views, commit_row);
    }
    Ok(())
}

fn ensure(tx: &Transaction<'_>, kind: FacetKind, parent: i64, name: &str, depth: u32) -> Result<i64> {
    let mut known = tx.prepare_cached("SELECT row FROM facets WHERE kind = ?1 AND parent = ?2 AND name = ?3")?;
    if let Some(row) = known.query_row(params![kind as i64, parent, name], |r| r.get(0)).optional()? {
        return Ok(row);
    }
    tx.prepare_cached("INSERT INTO facets(kind, parent, name, depth) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        kind as i64,
        parent,
        name,
        depth
    ])?;
    Ok(tx.last_insert_rowid())
}

fn insert_link(tx: &Transaction<'_>, facet_row: i64, commit_row: i64) -> Result<bool> {
    let mut known = tx.prepare_cached("SELECT 1 FROM facet_links WHERE facet_row = ?1 AND commit_row = ?2")?;
    if known.exists([facet_row, commit_row])? {
        return Ok(false);
    }
    tx.prepare_cached("INSERT INTO facet_links(facet_row, commit_row) VALUES (?1, ?2)")?
        .execute([facet_row, commit_row])?;
    Ok(true)
}

/// Puts a commit on the day on which it started, and on no other. `name` is its directory's.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_day(tx: &mut Transaction<'_>, commit_row: i64, name: &str, started_at: Millis) -> Result<()> {
    let day = started_at.date();
    if leave_days(tx, commit_row, name, Some(&day))? {
        return Ok(());
    }
    add(tx, commit_row, &[Place::of(FacetKind::Date, day)])
}

/// Takes a commit from all days but one; true when it is on that.
fn leave_days(tx: &mut Transaction<'_>, commit_row: i64, name: &str, but: Option<&str>) -> Result<bool> {
    let days: Vec<(i64, i64, String)> = tx
        .prepare_cached(
            "SELECT l.row, f.row, f.name FROM facet_links l JOIN facets f ON f.row = l.facet_row
             WHERE l.commit_row = ?1 AND f.kind = ?2",
        )?
        .query_map([commit_row, FacetKind::Date as i64], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut stays = false;
    for (link_row, facet_row, day) in days {
        if Some(day.as_str()) == but {
            stays = true;
            continue;
        }
        tx.prepare_cached("DELETE FROM facet_links WHERE row = ?1")?.execute([link_row])?;
        recount(tx, facet_row)?;
        tx.changes.add_full(ChangeKind::Facet, facet_row, 0, Some(name.to_owned()));
    }
    Ok(stays)
}

/// Finds the commit that was linked last in a facet or below it: a link of it is gone or back.
fn recount(tx: &Transaction<'_>, facet_row: i64) -> Result<()> {
    tx.prepare_cached(
        "UPDATE facets SET latest = max(
             coalesce((SELECT max(l.commit_row) FROM facet_links l JOIN cognitive_commits c ON c.row = l.commit_row
                       WHERE l.facet_row = ?1 AND c.deleted_at IS NULL), 0),
             coalesce((SELECT max(latest) FROM facets WHERE kind = 6 AND parent = ?1), 0))
         WHERE row = ?1",
    )?
    .execute([facet_row])?;
    tx.prepare_cached("UPDATE facets SET latest = NULL WHERE row = ?1 AND latest = 0")?.execute([facet_row])?;
    Ok(())
}

/// Brings the views up to date with a commit that was deleted or restored.
///
/// # Errors
/// When SQLite cannot write.
pub fn refresh(tx: &mut Transaction<'_>, commit_row: i64, link_name: &str) -> Result<()> {
    // A directory's latest commit follows from those below it: the deepest first.
    let mut rows: Vec<(u32, i64)> = tx
        .prepare_cached(&format!("{AROUND} SELECT f.depth, f.row FROM around JOIN facets f ON f.row = around.row"))?
        .query_map([commit_row], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    rows.sort_unstable();
    for (_, row) in rows.into_iter().rev() {
        recount(tx, row)?;
        tx.changes.add_full(ChangeKind::Facet, row, 0, Some(link_name.to_owned()));
    }
    tx.changes.add_full(ChangeKind::Views, commit_row, 0, Some(link_name.to_owned()));
    Ok(())
}

/// Puts a commit in these directories of a view, and in no other of it. `link_name` is what its links are called.
///
/// # Errors
/// When SQLite cannot write.
pub fn set(
    tx: &mut Transaction<'_>,
    commit_row: i64,
    link_name: &str,
    kind: FacetKind,
    names: &[String],
) -> Result<()> {
    let stands_in: Vec<(i64, i64, String)> = tx
        .prepare_cached(
            "SELECT l.row, f.row, f.name FROM facet_links l JOIN facets f ON f.row = l.facet_row
             WHERE l.commit_row = ?1 AND f.kind = ?2",
        )?
        .query_map([commit_row, kind as i64], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (link_row, facet_row, name) in stands_in {
        if !names.contains(&name) {
            tx.prepare_cached("DELETE FROM facet_links WHERE row = ?1")?.execute([link_row])?;
            recount(tx, facet_row)?;
            tx.changes.add_full(ChangeKind::Facet, facet_row, 0, Some(link_name.to_owned()));
        }
    }
    let places: Vec<Place> = names.iter().map(|name| Place::of(kind, name.clone())).collect();
    add(tx, commit_row, &places)
}

/// Moves the links of one commit from a project's files to another's.
///
/// # Errors
/// When SQLite cannot write.
pub fn move_files(tx: &mut Transaction<'_>, commit_row: i64, link_name: &str, from: i64, into: i64) -> Result<()> {
    let links: Vec<(i64, i64)> = tx
        .prepare_cached(
            "SELECT l.row, l.facet_row FROM facet_links l JOIN facets f ON f.row = l.facet_row
             WHERE l.commit_row = ?1 AND f.kind = ?2",
        )?
        .query_map([commit_row, FacetKind::File as i64], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut places = Vec::new();
    for (link_row, facet_row) in links {
        let path = path_of(tx, facet_row)?;
        tx.prepare_cached("DELETE FROM facet_links WHERE row = ?1")?.execute([link_row])?;
        for (row, _) in path.iter().rev() {
            recount(tx, *row)?;
            tx.changes.add_full(ChangeKind::Facet, *row, 0, Some(link_name.to_owned()));
        }
        places.push(Place::file(into, path.into_iter().map(|(_, name)| name).collect()));
    }
    if !places.is_empty() {
        tx.changes.add(ChangeKind::Project, from);
        tx.changes.add(ChangeKind::Project, into);
    }
    add(tx, commit_row, &places)
}

/// The directories from the top of a project's files down to one, with their names.
fn path_of(conn: &Connection, facet_row: i64) -> Result<Vec<(i64, String)>> {
    let (mut path, mut row) = (Vec::new(), facet_row);
    while row > 0 {
        let mut query = conn.prepare_cached("SELECT parent, name FROM facets WHERE row = ?1")?;
        let (parent, name): (i64, String) = query.query_row([row], |r| Ok((r.get(0)?, r.get(1)?)))?;
        path.push((row, name));
        row = parent;
    }
    path.reverse();
    Ok(path)
}

/// Takes a commit from wherever it stands but these places and its day; from everywhere without places. Directories that
/// nothing stands in any more are removed, for their names may tell what was forgotten.
///
/// # Errors
/// When SQLite cannot write.
pub fn keep(tx: &mut Transaction<'_>, commit: &Commit, places: &[Place]) -> Result<()> {
    let mut kept = Vec::new();
    for place in places {
        kept.extend(known(tx, place)?);
    }
    let mut files = false;
    for (facet_row, link_row) in links_to(tx, commit.row)? {
        let (kind, _, _) = whereabouts(tx, facet_row)?;
        if kept.contains(&facet_row) || (!places.is_empty() && kind == FacetKind::Date as i64) {
            continue;
        }
        files |= kind == FacetKind::File as i64;
        tx.prepare_cached("DELETE FROM facet_links WHERE row = ?1")?.execute([link_row])?;
        tx.changes.add_full(ChangeKind::Facet, facet_row, 0, Some(commit.link_name.clone()));
        let mut next = facet_row;
        while next > 0 {
            next = lost(tx, next, commit.row)?;
        }
    }
    if files && let Some(project) = super::projects::get(tx, commit.project_row)? {
        // Its directory in by/file may be gone.
        tx.changes.add_full(ChangeKind::Projects, project.row, 0, Some(project.dir_name));
        tx.changes.add(ChangeKind::Project, project.row);
    }
    Ok(())
}

/// The facet of a place, where there is one.
fn known(conn: &Connection, place: &Place) -> Result<Option<i64>> {
    let mut find = conn.prepare_cached("SELECT row FROM facets WHERE kind = ?1 AND parent = ?2 AND name = ?3")?;
    let mut row = place.parent;
    for name in &place.names {
        match find.query_row(params![place.kind as i64, row, name], |r| r.get(0)).optional()? {
            Some(found) => row = found,
            None => return Ok(None),
        }
    }
    Ok((row != place.parent).then_some(row))
}

fn whereabouts(conn: &Connection, row: i64) -> Result<(i64, i64, String)> {
    let mut query = conn.prepare_cached("SELECT kind, parent, name FROM facets WHERE row = ?1")?;
    Ok(query.query_row([row], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?)
}

/// Notes that a facet lost a commit, in it or below, and removes it when it was the last; the row of what it lies in.
fn lost(tx: &mut Transaction<'_>, row: i64, commit_row: i64) -> Result<i64> {
    let (kind, parent, name) = whereabouts(tx, row)?;
    let latest: Option<i64> = tx
        .prepare_cached(
            "SELECT max(latest) FROM (SELECT max(commit_row) AS latest FROM facet_links WHERE facet_row = ?1
                 UNION ALL SELECT max(latest) FROM facets WHERE kind = ?2 AND parent = ?1)",
        )?
        .query_row([row, kind], |r| r.get(0))?;
    if latest.is_some() {
        tx.prepare_cached("UPDATE facets SET latest = ?2 WHERE row = ?1 AND (latest = ?3 OR latest IS NULL)")?
            .execute(params![row, latest, commit_row])?;
        tx.changes.add(ChangeKind::Facet, row);
    } else {
        tx.prepare_cached("DELETE FROM facets WHERE row = ?1")?.execute([row])?;
        tx.changes.add_full(ChangeKind::FacetGone, parent, kind, Some(name));
    }
    Ok(parent)
}

/// Gives the links of a commit to the one it is merged with; the day on which it started is the other's to know.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: i64, from_name: &str, into: i64) -> Result<()> {
    leave_days(tx, from, from_name, None)?;
    tx.prepare_cached(&format!("{AROUND} UPDATE facets SET latest = ?2 WHERE latest = ?1 AND row IN around"))?
        .execute([from, into])?;
    tx.prepare_cached("UPDATE OR IGNORE facet_links SET commit_row = ?2 WHERE commit_row = ?1")?
        .execute([from, into])?;
    tx.prepare_cached("DELETE FROM facet_links WHERE commit_row = ?1")?.execute([from])?;
    tx.changes.add_full(ChangeKind::Views, into, 0, Some(from_name.to_owned()));
    Ok(())
}

/// Moves the files of a project into another's. That their commits are the other's now is told by who moves those.
///
/// # Errors
/// When SQLite cannot write.
pub fn fold_files(tx: &mut Transaction<'_>, from_project: i64, into_project: i64) -> Result<()> {
    fold(tx, files_of_project(from_project), files_of_project(into_project))
}

/// Moves what lies below one directory of files below another, joining what has one name.
fn fold(tx: &mut Transaction<'_>, from: i64, into: i64) -> Result<()> {
    let children: Vec<(i64, String)> = tx
        .prepare_cached("SELECT row, name FROM facets WHERE kind = ?1 AND parent = ?2 ORDER BY row")?
        .query_map([FacetKind::File as i64, from], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, name) in children {
        let other: Option<i64> = tx
            .prepare_cached("SELECT row FROM facets WHERE kind = ?1 AND parent = ?2 AND name = ?3")?
            .query_row(params![FacetKind::File as i64, into, name], |r| r.get(0))
            .optional()?;
        let Some(other) = other else {
            tx.prepare_cached("UPDATE facets SET parent = ?2 WHERE row = ?1")?.execute([row, into])?;
            continue;
        };
        fold(tx, row, other)?;
        tx.prepare_cached("UPDATE OR IGNORE facet_links SET facet_row = ?2 WHERE facet_row = ?1")?
            .execute([row, other])?;
        tx.prepare_cached("DELETE FROM facet_links WHERE facet_row = ?1")?.execute([row])?;
        tx.prepare_cached(
            "UPDATE facets SET latest = (SELECT max(latest) FROM facets WHERE row IN (?1, ?2)) WHERE row = ?2",
        )?
        .execute([row, other])?;
        tx.prepare_cached("DELETE FROM facets WHERE row = ?1")?.execute([row])?;
    }
    Ok(())
}
