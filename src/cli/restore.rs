//! `cogfs restore`.

use std::process::ExitCode;

use rusqlite::Connection;
use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, printable};
use super::resolve;
use crate::config::Folders;
use crate::curation::{CurationError, Edit, Editor, Entity, EntityKind, Origin};
use crate::store::{self, Survives, Writer, sessions, trash, turns};

/// Bring back what was deleted
///
/// However long ago: also what `.cogfs/trash/` of a mount lists no more. A name that something else has by now gets the id
/// behind.
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// What to restore: its name in `cogfs trash`, its id or the beginning of it, or its path in a mount's trash
    #[arg(value_name = "ID|NAME", required = true)]
    names: Vec<String>,
    /// Print what was restored as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Restored {
    kind: &'static str,
    id: String,
    /// Where it lies, below `projects/`.
    path: String,
    edit: Option<i64>,
    /// What it lies in that is deleted itself.
    inside_deleted: Option<String>,
}

/// Runs `cogfs restore`.
///
/// # Errors
/// When nothing of the kind is deleted, or the database cannot be written.
pub fn run(folders: &Folders, args: &RestoreArgs) -> Result<ExitCode, BoxError> {
    let mut writer = Writer::open(&folders.layout())?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    let mut restored = Vec::new();
    for name in &args.names {
        let entity = resolve::deleted(&tx, name)?;
        let made = Editor::new(&mut tx, Origin::Command).apply(&Edit::Restore { entity });
        let edit = made.map_err(|error| match error {
            CurationError::NotDeleted => format!("{name} is not deleted: `cogfs trash` lists what is"),
            other => format!("{name}: {other}"),
        })?;
        restored.push((entity, edit));
    }
    let mut shown = Vec::new();
    for (entity, edit) in restored {
        let (path, id) = (resolve::place(&tx, entity)?, resolve::id(&tx, entity)?);
        let inside_deleted = above(&tx, entity)?;
        shown.push(Restored { kind: entity.kind.as_str(), id, path, edit, inside_deleted });
    }
    tx.commit()?;
    if args.json {
        output::json(&shown)?;
        return Ok(ExitCode::SUCCESS);
    }
    for one in shown {
        println!("{}", printable(&one.path));
        if let Some(above) = one.inside_deleted {
            println!("  It lies in what is deleted itself: `cogfs restore {above}`.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The id of the nearest session or commit around something that is deleted.
fn above(conn: &Connection, entity: Entity) -> store::Result<Option<String>> {
    let mut at = entity;
    loop {
        at = match at.kind {
            EntityKind::Turn => Entity::session(turns::parts_of(at.row).0),
            EntityKind::Session => match sessions::get(conn, at.row)? {
                Some(session) => match (session.parent_row, session.commit_row) {
                    (Some(parent), _) => Entity::session(parent),
                    (None, Some(commit)) => Entity::commit(commit),
                    (None, None) => return Ok(None),
                },
                None => return Ok(None),
            },
            EntityKind::Commit | EntityKind::Project => return Ok(None),
        };
        if trash::find(conn, at.kind, at.row)?.is_some() {
            return resolve::id(conn, at).map(Some);
        }
    }
}
