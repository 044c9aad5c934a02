//! What the names in a query's filters stand for here: words of the index, and the sessions to look in.
//!
//! A name stands for what is called so; if nothing is, for everything that has it as a part of its name. Case does not count.

use std::collections::HashSet;

use rusqlite::Connection;

use super::query::{Filters, Names};
use crate::store::Result;
use crate::store::facets::FacetKind;
use crate::store::search::marks::{self, Mark};

/// A filter that the index answers, as FTS5 expressions, and one that says in which sessions to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meant {
    /// All have to fit.
    pub fit: Vec<String>,
    /// None may.
    pub unfit: Vec<String>,
    /// Rows of sessions, in order; `None`: all.
    pub sessions: Option<Vec<i64>>,
    /// What no name here fits: `project "plantshp"`.
    pub unknown: Vec<String>,
}

/// Looks up what filters mean.
///
/// # Errors
/// When the database cannot be read.
pub fn meant(conn: &Connection, filters: &Filters) -> Result<Meant> {
    let mut meant = Meant::default();
    for (mark, kind, names) in [
        (Mark::Agent, FacetKind::Agent, &filters.agent),
        (Mark::Model, FacetKind::Model, &filters.model),
        (Mark::Tool, FacetKind::Tool, &filters.tool),
    ] {
        marked(conn, mark, kind, names, &mut meant)?;
    }
    if !filters.roles.is_empty() {
        meant.fit.push(any_of(filters.roles.iter().map(|role| marks::role(*role))));
    }
    meant.unfit.extend(filters.not_roles.iter().map(|role| any_of([marks::role(*role)])));
    meant.sessions = sessions(conn, filters, &mut meant.unknown)?;
    Ok(meant)
}

/// An expression of words, none of which is the user's.
fn any_of(words: impl IntoIterator<Item = String>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    format!("({})", words.join(" OR "))
}

fn marked(conn: &Connection, mark: Mark, kind: FacetKind, names: &Names, meant: &mut Meant) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut query = conn.prepare_cached("SELECT name FROM facets WHERE kind = ?1 AND parent = 0")?;
    let known: Vec<String> = query.query_map([kind as i64], |r| r.get(0))?.collect::<rusqlite::Result<_>>()?;
    let words = |name: &String| -> Vec<String> {
        fitting(name, known.iter().map(|known| (known.as_str(), known.as_str())))
            .into_iter()
            .map(|n| mark.word(n))
            .collect()
    };
    let mut wanted = Vec::new();
    for name in &names.any {
        let found = words(name);
        if found.is_empty() {
            meant.unknown.push(format!("{} {name:?}", kind.as_str()));
        }
        wanted.extend(found);
    }
    if !names.any.is_empty() {
        // Nothing fits a word that no turn has.
        meant.fit.push(if wanted.is_empty() { any_of([mark.word("")]) } else { any_of(wanted) });
    }
    let unwanted: Vec<String> = names.none.iter().flat_map(words).collect();
    if !unwanted.is_empty() {
        meant.unfit.push(any_of(unwanted));
    }
    Ok(())
}

/// What is called so, without regard to case and punctuation; else what has it as a part of its name.
fn fitting<'a, T>(name: &str, known: impl Iterator<Item = (&'a str, T)>) -> Vec<T> {
    let plain =
        |text: &str| text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    let wanted = plain(name);
    let (mut same, mut part) = (Vec::new(), Vec::new());
    for (known, value) in known {
        let known = plain(known);
        if known == wanted {
            same.push(value);
        } else if !wanted.is_empty() && known.contains(&wanted) {
            part.push(value);
        }
    }
    if same.is_empty() { part } else { same }
}

/// The sessions of the commits that projects, files and times leave.
fn sessions(conn: &Connection, filters: &Filters, unknown: &mut Vec<String>) -> Result<Option<Vec<i64>>> {
    let mut conditions = Vec::new();
    if let Some(since) = filters.since {
        // What closed before has no turn since.
        conditions.push(format!("c.closed_at >= {}", since.0));
    }
    if !filters.project.any.is_empty() {
        let rows = projects(conn, &filters.project.any, Some(&mut *unknown))?;
        conditions.push(format!("c.project_row IN ({})", list(&rows)));
    }
    if !filters.project.none.is_empty() {
        let rows = projects(conn, &filters.project.none, None)?;
        conditions.push(format!("c.project_row NOT IN ({})", list(&rows)));
    }
    let wanted = match filters.file.any.as_slice() {
        [] => None,
        files => Some(commits_of_files(conn, files, Some(unknown))?),
    };
    let unwanted = commits_of_files(conn, &filters.file.none, None)?;
    if conditions.is_empty() && filters.file.is_empty() {
        return Ok(None);
    }
    conditions.push("c.deleted_at IS NULL".to_owned());
    // Numbers alone are in it. Rows of sessions come from the index sessions_by_commit, which is narrow.
    let sql = format!(
        "SELECT s.row, c.row FROM cognitive_commits c CROSS JOIN sessions s ON s.commit_row = c.row WHERE {}",
        conditions.join(" AND ")
    );
    let mut query = conn.prepare(&sql)?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let commit: i64 = row.get(1)?;
        if wanted.as_ref().is_none_or(|wanted| wanted.contains(&commit)) && !unwanted.contains(&commit) {
            found.push(row.get(0)?);
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(Some(found))
}

fn list(rows: &[i64]) -> String {
    rows.iter().map(i64::to_string).collect::<Vec<_>>().join(",")
}

fn projects(conn: &Connection, names: &[String], mut unknown: Option<&mut Vec<String>>) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached("SELECT row, name, dir_name FROM projects")?;
    let known: Vec<(i64, String, String)> =
        query.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut rows = Vec::new();
    for name in names {
        let mut found = fitting(name, known.iter().map(|(row, _, dir)| (dir.as_str(), *row)));
        if found.is_empty() {
            found = fitting(name, known.iter().map(|(row, name, _)| (name.as_str(), *row)));
        }
        if let (true, Some(unknown)) = (found.is_empty(), unknown.as_deref_mut()) {
            unknown.push(format!("project {name:?}"));
        }
        rows.extend(found);
    }
    Ok(rows)
}

/// The commits that changed files: of this name, of a path that ends so, or below a directory of it. `*` at an end of the first
/// or last part stands for anything.
fn commits_of_files(
    conn: &Connection,
    paths: &[String],
    mut unknown: Option<&mut Vec<String>>,
) -> Result<HashSet<i64>> {
    let mut commits = HashSet::new();
    for path in paths {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let facets = facets_of_path(conn, &parts)?;
        if let (true, Some(unknown)) = (facets.is_empty(), unknown.as_deref_mut()) {
            unknown.push(format!("file {path:?}"));
        }
        for facet in facets {
            let mut below = conn.prepare_cached(
                "WITH RECURSIVE below(row) AS (
                     SELECT ?1 UNION SELECT f.row FROM below JOIN facets f ON f.kind = 6 AND f.parent = below.row)
                 SELECT DISTINCT l.commit_row FROM below JOIN facet_links l ON l.facet_row = below.row",
            )?;
            for row in below.query_map([facet], |r| r.get::<_, i64>(0))? {
                commits.insert(row?);
            }
        }
    }
    Ok(commits)
}

fn facets_of_path(conn: &Connection, parts: &[&str]) -> Result<Vec<i64>> {
    let Some((last, front)) = parts.split_last() else { return Ok(Vec::new()) };
    // Names of files are few beside turns: they are all looked at.
    let mut query = conn.prepare_cached("SELECT row, parent, name FROM facets WHERE kind = 6")?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        if glob(last, name) {
            found.push((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        }
    }
    let mut named = conn.prepare_cached("SELECT parent, name FROM facets WHERE row = ?1")?;
    let mut fitting = Vec::new();
    'found: for (row, mut parent) in found {
        for part in front.iter().rev() {
            if parent <= 0 {
                continue 'found;
            }
            let (above, name): (i64, String) = named.query_row([parent], |r| Ok((r.get(0)?, r.get(1)?)))?;
            if !glob(part, &name) {
                continue 'found;
            }
            parent = above;
        }
        fitting.push(row);
    }
    Ok(fitting)
}

/// Whether a name fits a pattern with stars at its ends.
fn glob(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(_), Some(_)) => name.contains(pattern.trim_matches('*')),
        (Some(end), None) => name.ends_with(end),
        (None, Some(start)) => name.starts_with(start),
        (None, None) => name == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_meant_whole_where_there_is_one_and_as_a_part_where_there_is_none() {
        let known = || ["plantshop", "plantshop-api", "shop"].map(|name| (name, name)).into_iter();
        assert_eq!(fitting("Shop", known()), ["shop"]);
        assert_eq!(fitting("plant", known()), ["plantshop", "plantshop-api"]);
        assert!(fitting("", known()).is_empty() && fitting("-", known()).is_empty());
    }

    #[test]
    fn stars_stand_at_the_ends_of_a_file_name() {
        assert!(glob("*.rs", "main.rs") && glob("Main*", "main.rs") && glob("*ain*", "main.rs") && glob("*", "x"));
        assert!(!glob("main", "main.rs") && !glob("*.rs", "main.r"));
    }
}
