//! What a search's directory lists: a link to each turn that was found, in their order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::Connection;

use super::{Facts, UP_FROM_HIT, session_path, shown};
use crate::render;
use crate::search::Hit;
use crate::store::index::TurnIndex;
use crate::store::{Result, commits, sessions, turns};

/// Bytes of a project's and of a commit's name in a link's: with the rest they are a name.
const PROJECT_BYTES: usize = 60;
const COMMIT_BYTES: usize = 120;

/// `2026-08-19T14-03-22Z_`, in front of a commit's name that was not typed.
const TIME_BYTES: usize = 21;

/// A link to a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HitLink {
    pub name: String,
    pub turn_row: i64,
    pub facts: Facts,
}

/// What is known of a session while its turns are listed.
struct Around {
    path: String,
    index: TurnIndex,
    /// Project and commit, as links are called.
    names: String,
}

/// The links to turns, the best first.
///
/// # Errors
/// When the database cannot be read.
pub fn hit_links(conn: &Connection, hits: &[Hit]) -> Result<Vec<HitLink>> {
    let mut known: HashMap<i64, Option<Around>> = HashMap::new();
    let mut links = Vec::with_capacity(hits.len());
    for hit in hits {
        let (session, number) = turns::parts_of(hit.row);
        let around = match known.entry(session) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(around(conn, session)?),
        };
        let Some(around) = around else { continue };
        let Some(entry) = around.index.get(number) else { continue };
        let slug = around.index.tool_name(&entry).map(render::tool_slug);
        let file = render::turn_file_name(number, entry.role, slug.as_deref());
        let target = format!("{UP_FROM_HIT}{}/turns/{file}", around.path);
        let name = format!("{:03}_{}_{}_turn-{number:04}", links.len() + 1, hit.at.date(), around.names);
        links.push(HitLink { name, turn_row: hit.row, facts: Facts::link(&target, hit.at, hit.at) });
    }
    Ok(links)
}

fn around(conn: &Connection, session_row: i64) -> Result<Option<Around>> {
    let Some(session) = shown(conn, session_row)? else { return Ok(None) };
    let Some(commit) = session.commit_row.map(|row| commits::listed(conn, row)).transpose()?.flatten() else {
        return Ok(None);
    };
    let (Some(path), Some(index)) = (session_path(conn, &session)?, sessions::turn_index(conn, session_row)?) else {
        return Ok(None);
    };
    let names = format!("{}_{}", cut(&commit.project_dir, PROJECT_BYTES), cut(untimed(&commit.dir_name), COMMIT_BYTES));
    Ok(Some(Around { path, index, names }))
}

/// A commit's name without the time in front of it: a link has the turn's.
fn untimed(name: &str) -> &str {
    let is_time = name.get(..TIME_BYTES).is_some_and(|time| {
        time.bytes().zip(*b"0000-00-00T00-00-00Z_").all(|(byte, of)| match of {
            b'0' => byte.is_ascii_digit(),
            of => byte == of,
        })
    });
    if is_time && name.len() > TIME_BYTES { &name[TIME_BYTES..] } else { name }
}

fn cut(name: &str, bytes: usize) -> &str {
    &name[..name.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commits_time_is_left_out_and_a_typed_name_stays() {
        assert_eq!(untimed("2026-08-19T14-03-22Z_fix-login_7f3a9c"), "fix-login_7f3a9c");
        for typed in ["2026-08-19T14-03-22Z_", "Login, at last", "2026-08-19T14-03-22X_a", "ééééééééééééééé"]
        {
            assert_eq!(untimed(typed), typed);
        }
        assert_eq!(cut("größe", 3), "gr");
    }
}
