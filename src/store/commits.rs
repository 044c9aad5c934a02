//! Cognitive commits: as imports make them. What users make of them is in [`curated`].

pub mod curated;
pub mod found;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::told::{self, Facts};
use super::{ChangeKind, Result, Transaction, facets, former_names, git, gone, id_column, json_list};
use crate::model::{ClosedBy, Commit, Id, Millis};

/// Where a commit's title comes from; the higher one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum TitleRank {
    None = 0,
    /// The first sentence of the model's first words: where nobody asked and nothing was committed.
    Answer = 1,
    GitSubject = 2,
    Prompt = 3,
    Agent = 4,
    /// A user's: no import takes it back.
    User = 5,
}

impl TitleRank {
    /// The rank of a number, as the database and the wire have it; of any other one: none.
    #[must_use]
    pub fn from_u8(rank: u8) -> Self {
        [Self::Answer, Self::GitSubject, Self::Prompt, Self::Agent]
            .into_iter()
            .find(|known| *known as u8 == rank)
            .unwrap_or(Self::None)
    }
}

/// The directory a commit lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Home {
    /// That of its project.
    Project = 0,
    /// `hidden/` in that of its project.
    Hidden = 1,
    /// `.cogfs/trash/`.
    Trash = 2,
}

impl Home {
    /// Of the column of this name.
    fn from_column(value: u8) -> Self {
        match value {
            0 => Self::Project,
            1 => Self::Hidden,
            _ => Self::Trash,
        }
    }
}

const COLUMNS: &str = "row, id, project_row, dir_name, title, git_hash, git_subject, closed_by, started_at, closed_at,
    parallel, hidden, published, display_order, tags, note, updated_at, curated_at, deleted_at, link_name";

fn read(row: &Row<'_>) -> rusqlite::Result<Commit> {
    let closed_by: String = row.get(7)?;
    let tags: String = row.get(14)?;
    Ok(Commit {
        row: row.get(0)?,
        id: id_column(row, 1)?,
        project_row: row.get(2)?,
        dir_name: row.get(3)?,
        title: row.get(4)?,
        git_hash: row.get(5)?,
        git_subject: row.get(6)?,
        closed_by: ClosedBy::parse(&closed_by).unwrap_or(ClosedBy::SessionEnd),
        started_at: Millis(row.get(8)?),
        closed_at: Millis(row.get(9)?),
        parallel: row.get(10)?,
        hidden: row.get(11)?,
        published: row.get(12)?,
        display_order: row.get(13)?,
        tags: json_list(&tags),
        note: row.get(15)?,
        updated_at: Millis(row.get(16)?),
        curated_at: row.get::<_, Option<i64>>(17)?.map(Millis),
        deleted_at: row.get::<_, Option<i64>>(18)?.map(Millis),
        link_name: row.get(19)?,
    })
}

impl Commit {
    /// The directory it lies in.
    #[must_use]
    pub fn home(&self) -> Home {
        match (self.deleted_at, self.hidden) {
            (Some(_), _) => Home::Trash,
            (None, true) => Home::Hidden,
            (None, false) => Home::Project,
        }
    }
}

/// A commit by its row.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Commit>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM cognitive_commits WHERE row = ?1"))?;
    Ok(query.query_row([row], read).optional()?)
}

/// A commit by its id, deleted or not.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id(conn: &Connection, id: &Id) -> Result<Option<Commit>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM cognitive_commits WHERE id = ?1"))?;
    Ok(query.query_row([id.0], read).optional()?)
}

/// Whether a commit has sessions that were imported on this machine.
///
/// # Errors
/// When SQLite cannot read.
pub fn has_own_sessions(conn: &Connection, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM sessions WHERE commit_row = ?1 AND contents = 0 LIMIT 1")?;
    Ok(query.exists([row])?)
}

/// Whether a commit has sessions whose contents are elsewhere.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_elsewhere(conn: &Connection, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM sessions WHERE commit_row = ?1 AND contents = 1 LIMIT 1")?;
    Ok(query.exists([row])?)
}

/// Whether a user moved a commit from where it was found.
///
/// # Errors
/// When SQLite cannot read.
pub fn was_moved(conn: &Connection, row: i64) -> Result<bool> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM cognitive_commits WHERE row = ?1 AND found_project IS NOT NULL")?;
    Ok(query.exists([row])?)
}

/// A commit that is not deleted by its directory's name.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_dir_name(conn: &Connection, project_row: i64, name: &str) -> Result<Option<Commit>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM cognitive_commits WHERE project_row = ?1 AND dir_name = ?2 AND deleted_at IS NULL"
    ))?;
    Ok(query.query_row(params![project_row, name], read).optional()?)
}

/// What a listing shows of a commit.
#[derive(Debug, Clone)]
pub struct Listed {
    pub row: i64,
    pub dir_name: String,
    /// What links to it are called.
    pub link_name: String,
    pub project_dir: String,
    pub home: Home,
    /// When it closed, or was curated.
    pub mtime: Millis,
    pub updated_at: Millis,
}

/// The columns of [`Listed`]; `c` is the commit, `p` its project.
pub(super) const LISTED_COLUMNS: &str =
    "c.row, c.dir_name, c.link_name, p.dir_name, c.home, coalesce(c.curated_at, c.closed_at), c.updated_at";

/// How many [`LISTED_COLUMNS`] there are.
pub(super) const LISTED_WIDTH: usize = 7;

pub(super) fn read_listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    Ok(Listed {
        row: row.get(0)?,
        dir_name: row.get(1)?,
        link_name: row.get(2)?,
        project_dir: row.get(3)?,
        home: Home::from_column(row.get(4)?),
        mtime: Millis(row.get(5)?),
        updated_at: Millis(row.get(6)?),
    })
}

/// Gives the commits after a row that lie in one of a project's directories to `each`, in the order of their rows, until that
/// returns false: a listing goes on where it stopped whatever came meanwhile.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_of_project(
    conn: &Connection,
    project_row: i64,
    home: Home,
    after: i64,
    each: &mut dyn FnMut(Listed) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}
         FROM cognitive_commits c INDEXED BY commits_by_home CROSS JOIN projects p ON p.row = c.project_row
         WHERE c.project_row = ?1 AND c.home = ?2 AND c.row > ?3 ORDER BY c.row"
    ))?;
    let mut rows = query.query(params![project_row, home as u8, after])?;
    while let Some(row) = rows.next()? {
        if !each(read_listed(row)?) {
            break;
        }
    }
    Ok(())
}

/// Whether a project has commits in one of its directories.
///
/// # Errors
/// When SQLite cannot read.
pub fn any_of_project(conn: &Connection, project_row: i64, home: Home) -> Result<bool> {
    let mut query =
        conn.prepare_cached("SELECT 1 FROM cognitive_commits WHERE project_row = ?1 AND home = ?2 LIMIT 1")?;
    Ok(query.exists(params![project_row, home as u8])?)
}

/// The commit that closed last, of those in a project's directory.
///
/// # Errors
/// When SQLite cannot read.
pub fn latest(conn: &Connection, project_row: i64) -> Result<Option<Listed>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}
         FROM cognitive_commits c INDEXED BY commits_by_closing CROSS JOIN projects p ON p.row = c.project_row
         WHERE c.project_row = ?1 AND c.home = 0 ORDER BY c.closed_at DESC, c.row DESC LIMIT 1"
    ))?;
    Ok(query.query_row([project_row], read_listed).optional()?)
}

/// One commit as listings show it.
///
/// # Errors
/// When SQLite cannot read.
pub fn listed(conn: &Connection, row: i64) -> Result<Option<Listed>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS} FROM cognitive_commits c JOIN projects p ON p.row = c.project_row WHERE c.row = ?1"
    ))?;
    Ok(query.query_row([row], read_listed).optional()?)
}

/// Commits that are not deleted whose ids lie in a range: at most two, which tells an ambiguous one.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16]) -> Result<Vec<(Id, i64)>> {
    let mut query = conn.prepare_cached(
        "SELECT id, row FROM cognitive_commits WHERE id >= ?1 AND id <= ?2 AND home < 2 ORDER BY id LIMIT 2",
    )?;
    let rows = query.query_map(params![low, high], |r| Ok((id_column(r, 0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Commits whose ids lie in a range, deleted ones too.
///
/// # Errors
/// When SQLite cannot read.
pub fn all_by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16], limit: usize) -> Result<Vec<Commit>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM cognitive_commits WHERE id >= ?1 AND id <= ?2 ORDER BY id LIMIT ?3"
    ))?;
    Ok(query.query_map(params![low, high, limit], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Commits of a directory name or of a name of links, in whatever project. For a command: it reads all of them.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_any_name(conn: &Connection, name: &str) -> Result<Vec<Commit>> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM cognitive_commits WHERE dir_name = ?1 OR link_name = ?1 ORDER BY row"
    ))?;
    Ok(query.query_map([name], read)?.collect::<rusqlite::Result<_>>()?)
}

/// The rows of a project's commits, hidden and deleted ones included.
///
/// # Errors
/// When SQLite cannot read.
pub fn rows_of_project(conn: &Connection, project_row: i64) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM cognitive_commits WHERE project_row = ?1 ORDER BY row")?;
    Ok(query.query_map([project_row], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?)
}

/// Gives the commits after a row that are not deleted to `each`, with their ids, in the order of their rows, until that returns
/// false. False when it did.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_id(conn: &Connection, after: i64, each: &mut dyn FnMut(Id, Listed) -> bool) -> Result<bool> {
    // CROSS keeps the order of the join: rows come as they lie, and no more of them than are taken.
    let mut query = conn.prepare_cached(&format!(
        "SELECT {LISTED_COLUMNS}, c.id FROM cognitive_commits c CROSS JOIN projects p ON p.row = c.project_row
         WHERE c.row > ?1 AND c.home < 2 ORDER BY c.row"
    ))?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(id_column(row, LISTED_WIDTH)?, read_listed(row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same with the rows and ids alone.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_bare_id(conn: &Connection, after: i64, each: &mut dyn FnMut(Id, i64) -> bool) -> Result<bool> {
    let mut query = conn
        .prepare_cached("SELECT id, row FROM cognitive_commits WHERE row > ?1 AND deleted_at IS NULL ORDER BY row")?;
    let mut rows = query.query([after])?;
    while let Some(row) = rows.next()? {
        if !each(id_column(row, 0)?, row.get(1)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The id of the commit that a session's part begins.
#[must_use]
pub fn id_of_first(session: &Id) -> Id {
    Id::derive(&[b"commit", &session.0])
}

/// A commit to be.
pub struct NewCommit<'a> {
    pub id: Id,
    pub project_row: i64,
    pub dir_name: &'a str,
    pub title: &'a str,
    pub title_rank: TitleRank,
    pub started_at: Millis,
}

/// Makes an open commit, closed by the session's end until something else closes it.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(tx: &mut Transaction<'_>, new: &NewCommit<'_>) -> Result<i64> {
    let open = found::Found {
        git_hash: None,
        git_subject: None,
        closed_by: ClosedBy::SessionEnd,
        closed_at: new.started_at,
        parallel: false,
        updated_at: Millis::now(),
    };
    let row = found::insert(tx, new, &open)?;
    tx.changes.add_full(ChangeKind::ProjectCommits, row, new.project_row, None);
    facets::set_day(tx, row, new.dir_name, new.started_at)?;
    Ok(row)
}

/// Gives a commit the better title that an import found, and the directory name that goes with it, unless its user typed the
/// name; a title of a lower rank changes nothing. While the title is a user's it waits, for when the user's is taken away.
///
/// # Errors
/// When SQLite cannot write.
pub fn retitle(tx: &mut Transaction<'_>, commit: &Commit, title: &str, rank: TitleRank, dir_name: &str) -> Result<()> {
    let (dir_name, link_name) = match curated::is_made(&commit.dir_name, &commit.id) {
        true => (dir_name, dir_name),
        false => (commit.dir_name.as_str(), commit.link_name.as_str()),
    };
    let changed = tx
        .prepare_cached(
            "UPDATE cognitive_commits SET title = ?2, title_rank = ?3, dir_name = ?4, link_name = ?6, updated_at = ?5
             WHERE row = ?1 AND title_rank <= ?3 AND (title <> ?2 OR title_rank <> ?3 OR dir_name <> ?4)",
        )?
        .execute(params![commit.row, title, rank as i64, dir_name, Millis::now().0, link_name])?;
    if changed > 0 {
        renamed(tx, commit, dir_name)?;
    } else {
        tx.prepare_cached(
            "UPDATE cognitive_commits SET found_title = ?2, found_rank = ?3
             WHERE row = ?1 AND title_rank = 5 AND coalesce(found_rank, 0) <= ?3",
        )?
        .execute(params![commit.row, title, rank as i64])?;
    }
    Ok(())
}

/// Announces a commit's new title and, where it has one, its new directory name; the former one leads on.
fn renamed(tx: &mut Transaction<'_>, commit: &Commit, dir_name: &str) -> Result<()> {
    let gone = (dir_name != commit.dir_name).then(|| commit.dir_name.clone());
    if let Some(former) = &gone {
        former_names::add(tx, commit.project_row, former, commit.row)?;
    }
    let gone_link = gone.is_some().then(|| commit.link_name.clone());
    tx.changes.add_full(ChangeKind::ProjectCommits, commit.row, commit.project_row, gone);
    tx.changes.add_full(ChangeKind::Views, commit.row, 0, gone_link);
    tx.changes.add(ChangeKind::Commit, commit.row);
    Ok(())
}

/// Gives a commit the title that is left to it when the one it has told of something forgotten.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_title(
    tx: &mut Transaction<'_>,
    commit: &Commit,
    title: &str,
    rank: TitleRank,
    dir_name: &str,
) -> Result<()> {
    if title_rank(tx, commit.row)? == TitleRank::User as u8 {
        // What was found goes, and what the user wrote stays.
        tx.prepare_cached("UPDATE cognitive_commits SET found_title = ?2, found_rank = ?3 WHERE row = ?1")?
            .execute(params![commit.row, title, rank as i64])?;
        return Ok(());
    }
    tx.prepare_cached(
        "UPDATE cognitive_commits SET title = ?2, title_rank = ?3, dir_name = ?4, link_name = ?4, updated_at = ?5 WHERE row = ?1",
    )?
    .execute(params![commit.row, title, rank as i64, dir_name, Millis::now().0])?;
    renamed(tx, commit, dir_name)?;
    // The former name told of it.
    former_names::remove(tx, commit.project_row, &commit.dir_name)?;
    Ok(())
}

/// The rank of a commit's title.
///
/// # Errors
/// When SQLite cannot read.
pub fn title_rank(conn: &Connection, row: i64) -> Result<u8> {
    Ok(conn
        .prepare_cached("SELECT title_rank FROM cognitive_commits WHERE row = ?1")?
        .query_row([row], |r| r.get(0))?)
}

/// A git commit, as the tool's result told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitCommit {
    pub hash: String,
    pub branch: Option<String>,
    pub subject: String,
}

/// Another commit of a project that the same git commit closed. Hashes are abbreviated by whoever printed them, so one may be the
/// beginning of the other.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_git_hash_but(conn: &Connection, project_row: i64, hash: &str, but: i64) -> Result<Option<i64>> {
    // Every abbreviation has at least four digits (git's core.abbrev minimum): the range over them uses commits_by_hash.
    let stem = hash.get(..4).unwrap_or(hash);
    let mut query = conn.prepare_cached(
        "SELECT row, git_hash FROM cognitive_commits
         WHERE project_row = ?1 AND git_hash >= ?2 AND git_hash < ?2 || 'g' AND git_hash IS NOT NULL
           AND row <> ?3",
    )?;
    let mut rows = query.query(params![project_row, stem, but])?;
    while let Some(row) = rows.next()? {
        let known: String = row.get(1)?;
        if known.starts_with(hash) || hash.starts_with(&known) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Says that a git commit closed it.
///
/// # Errors
/// When SQLite cannot write.
pub fn close(tx: &mut Transaction<'_>, row: i64, git: &GitCommit) -> Result<()> {
    tx.prepare_cached(
        "UPDATE cognitive_commits SET git_hash = ?2, git_subject = ?3, closed_by = 'git_commit', updated_at = ?4
         WHERE row = ?1",
    )?
    .execute(params![row, git.hash, git.subject, Millis::now().0])?;
    tx.changes.add(ChangeKind::Commit, row);
    Ok(())
}

/// When the sessions of a commit began and ended, and whether they overlap; `None` without sessions.
fn span(conn: &Connection, row: i64) -> Result<Option<(i64, i64, bool)>> {
    let spans: Vec<(i64, i64)> = conn
        .prepare_cached(
            "SELECT started_at, ended_at FROM sessions WHERE commit_row = ?1 AND parent_row IS NULL ORDER BY started_at",
        )?
        .query_map([row], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let (Some(started), Some(ended)) = (spans.iter().map(|s| s.0).min(), spans.iter().map(|s| s.1).max()) else {
        return Ok(None);
    };
    Ok(Some((started, ended, spans.windows(2).any(|w| w[1].0 < w[0].1))))
}

/// The commits whose times, or whose mark of overlapping sessions, are not those of their sessions.
///
/// # Errors
/// When SQLite cannot read.
pub fn out_of_step(conn: &Connection) -> Result<Vec<i64>> {
    let stored: Vec<(i64, i64, i64, bool)> = conn
        .prepare("SELECT row, started_at, closed_at, parallel FROM cognitive_commits ORDER BY row")?
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut found = Vec::new();
    for (row, started, closed, parallel) in stored {
        if span(conn, row)?.is_some_and(|now| now != (started, closed, parallel)) {
            found.push(row);
        }
    }
    Ok(found)
}

/// Takes the times, and whether sessions overlap, from the sessions of a commit.
///
/// # Errors
/// When SQLite cannot write.
pub fn refresh(tx: &mut Transaction<'_>, row: i64) -> Result<()> {
    let Some(before) = get(tx, row)? else { return Ok(()) };
    let Some((started, ended, parallel)) = span(tx, row)? else { return Ok(()) };
    let changed = tx
        .prepare_cached(
            "UPDATE cognitive_commits SET closed_at = ?3, started_at = ?2, parallel = ?4, updated_at = ?5
             WHERE row = ?1 AND (started_at <> ?2 OR closed_at <> ?3 OR parallel <> ?4)",
        )?
        .execute(params![row, started, ended, parallel, Millis::now().0])?;
    if changed > 0 {
        facets::set_day(tx, row, &before.link_name, Millis(started))?;
    }
    tx.changes.add(ChangeKind::Commit, row);
    Ok(())
}

/// Moves the sessions, visuals and git commits of one commit into another and removes it: two sessions of one project
/// whose work ended in the same git commit. The id of the earlier one holds, so that every machine comes to the same.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge(tx: &mut Transaction<'_>, from: &Commit, into: &Commit) -> Result<()> {
    merge_under(tx, from, into, (from.started_at, from.id) < (into.started_at, into.id))
}

/// As [`merge`]; under the id of the second one, or of the first.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge_under(tx: &mut Transaction<'_>, from: &Commit, into: &Commit, id_of_from: bool) -> Result<()> {
    let (title, rank) = curated::found_title(tx, from)?;
    let known = curated::merged::Known::of(tx, if id_of_from { from } else { into })?;
    curated::merged::merge(tx, from, into, id_of_from)?;
    for session in super::sessions::all_of_commit(tx, from.row)? {
        let ordinal = super::sessions::next_ordinal(tx, into.row, None)?;
        let name = session.dir_name.split_once('_').map_or(session.dir_name.as_str(), |(_, rest)| rest);
        tx.prepare_cached("UPDATE sessions SET commit_row = ?2, ordinal = ?3, dir_name = ?4 WHERE row = ?1")?
            .execute(params![session.row, into.row, ordinal, format!("{ordinal:02}_{name}")])?;
        tx.changes.add(ChangeKind::Session, session.row);
    }
    tx.prepare_cached("UPDATE sessions SET commit_row = ?2 WHERE commit_row = ?1")?.execute([from.row, into.row])?;
    super::visuals::move_to_commit(tx, from.row, into.row)?;
    facets::merge(tx, from.row, &from.link_name, into.row)?;
    git::merge(tx, from.row, into.row)?;
    let (is_from_known, is_into_known) =
        (told::is_known(tx, Facts::Commit, from.row)?, told::is_known(tx, Facts::Commit, into.row)?);
    remove(tx, from)?;
    if id_of_from {
        gone::merge(tx, Facts::Commit, &into.id, &from.id, is_into_known)?;
        tx.prepare_cached("UPDATE cognitive_commits SET id = ?2 WHERE row = ?1")?
            .execute(params![into.row, from.id.0])?;
        tx.changes.add_full(ChangeKind::Id, 0, 0, Some(into.id.to_string()));
        tx.changes.add(ChangeKind::Commit, into.row);
        // So does its title, on whichever machine they meet.
        if let Some(known) = get(tx, into.row)?.filter(|_| !title.is_empty())
            && rank >= curated::found_title(tx, &known)?.1
        {
            let name = known.dir_name.clone();
            retitle(tx, &known, &title, TitleRank::from_u8(rank), &name)?;
        }
    } else {
        gone::merge(tx, Facts::Commit, &from.id, &into.id, is_from_known)?;
    }
    super::sessions::number_by_time(tx, into.row)?;
    tx.changes.add(ChangeKind::CommitSessions, into.row);
    curated::merged::settle(tx, into.row)?;
    curated::merged::tell(tx, into.row, &known)?;
    refresh(tx, into.row)
}

/// The cloud knows nothing under a commit's id of what users made of it: it is told all of it, and these fields whatever they say.
///
/// # Errors
/// When SQLite cannot write.
pub fn tell_all(tx: &mut Transaction<'_>, row: i64, id: Id, fields: Vec<String>) -> Result<()> {
    curated::merged::tell(tx, row, &curated::merged::Known::nothing(id, fields))
}

/// Merges the commits of a project that one git commit closed: two projects turned out to be one.
///
/// # Errors
/// When SQLite cannot write.
pub fn merge_equal(tx: &mut Transaction<'_>, project_row: i64) -> Result<()> {
    let closed: Vec<(i64, String)> = tx
        .prepare_cached(
            "SELECT row, git_hash FROM cognitive_commits WHERE project_row = ?1 AND git_hash IS NOT NULL ORDER BY row DESC",
        )?
        .query_map([project_row], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, hash) in closed {
        let Some(other) = by_git_hash_but(tx, project_row, &hash, row)? else { continue };
        if let (Some(from), Some(into)) = (get(tx, row)?, get(tx, other)?) {
            merge(tx, &from, &into)?;
        }
    }
    Ok(())
}

/// Moves what is left in the commit of a subagent that found its parent - the git commits it made, the subagents it started -
/// into the parent's, and removes it.
///
/// # Errors
/// When SQLite cannot write.
pub fn dissolve(tx: &mut Transaction<'_>, from: &Commit, into: i64) -> Result<()> {
    curated::merged::dissolve(tx, from, into)?;
    tx.execute("UPDATE sessions SET commit_row = ?2 WHERE commit_row = ?1", [from.row, into])?;
    super::visuals::move_to_commit(tx, from.row, into)?;
    facets::merge(tx, from.row, &from.link_name, into)?;
    git::merge(tx, from.row, into)?;
    tx.changes.add(ChangeKind::Commit, into);
    if let Some(target) = get(tx, into)? {
        let is_known = told::is_known(tx, Facts::Commit, from.row)?;
        gone::merge(tx, Facts::Commit, &from.id, &target.id, is_known)?;
    }
    remove(tx, from)?;
    curated::merged::settle(tx, into)
}

/// Removes a commit that nothing refers to any more.
pub(super) fn remove(tx: &mut Transaction<'_>, commit: &Commit) -> Result<()> {
    curated::merged::remove(tx, commit.row)?;
    tx.prepare_cached("DELETE FROM cognitive_commits WHERE row = ?1")?.execute([commit.row])?;
    tx.changes.add_full(ChangeKind::ProjectCommits, commit.row, commit.project_row, Some(commit.dir_name.clone()));
    tx.changes.add_full(ChangeKind::Id, 0, 0, Some(commit.id.to_string()));
    Ok(())
}

/// A directory name that no other commit has, of whatever project, since they meet in the views: with more of the id behind
/// where two would meet.
///
/// # Errors
/// When SQLite cannot read.
pub fn free_dir_name(conn: &Connection, wanted: &str, id: &Id) -> Result<String> {
    let taken = conn
        .prepare_cached("SELECT 1 FROM cognitive_commits WHERE link_name = ?1 AND id <> ?2")?
        .exists(params![wanted, id.0])?;
    if !taken {
        return Ok(wanted.to_owned());
    }
    Ok(with_whole_id(wanted, id))
}

/// A name made with the beginning of an id, with all of it.
fn with_whole_id(name: &str, id: &Id) -> String {
    let stem = name.strip_suffix(&id.short()).unwrap_or(name);
    format!("{stem}{}", id.to_string().replace('-', ""))
}
