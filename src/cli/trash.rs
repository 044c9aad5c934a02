//! `cogfs trash`.

use std::io::{self, Write};
use std::process::ExitCode;

use rusqlite::Connection;
use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, printable};
use super::{fetch, resolve};
use crate::config::Folders;
use crate::curation::{Edit, Editor, Entity, Origin, TrashName};
use crate::store::trash::{self, Trashed};
use crate::store::{self, Survives, Writer};

/// List what is deleted, or delete commits, sessions and turns
///
/// Without ID it lists. Nothing deleted is lost: it is in `.cogfs/trash/` of a mount for 30 days, and `cogfs restore` brings it
/// back at any time. What agents' logs still say of it does not bring it back.
#[derive(Debug, clap::Args)]
pub struct TrashArgs {
    /// What to delete: ids or their beginnings (six digits), or paths in a mount
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

/// Something deleted, as it is printed.
#[derive(Debug, Serialize)]
pub struct Deleted {
    pub name: String,
    pub kind: &'static str,
    pub id: String,
    /// Where it lay, below `projects/`.
    pub path: String,
    pub deleted_at: String,
    /// It is in `.cogfs/trash/`: not emptied, and not older than 30 days.
    pub listed: bool,
    pub restore: String,
}

impl Deleted {
    fn of(conn: &Connection, trashed: Trashed) -> store::Result<Self> {
        let entity = Entity { kind: trashed.kind, row: trashed.entity_row };
        let id = resolve::id(conn, entity)?;
        Ok(Self {
            listed: trash::by_name(conn, &trashed.name)?.is_some(),
            kind: trashed.kind.as_str(),
            path: resolve::place(conn, entity)?,
            deleted_at: trashed.deleted_at.iso(),
            restore: format!("cogfs restore {id}"),
            name: trashed.name,
            id,
        })
    }
}

/// Runs `cogfs trash`.
///
/// # Errors
/// When there is no such record, or the database cannot be read or written.
pub fn run(folders: &Folders, args: &TrashArgs) -> Result<ExitCode, BoxError> {
    let deleted = if args.ids.is_empty() { list(folders)? } else { delete(folders, &args.ids)? };
    if args.json {
        output::json(&deleted)?;
    } else {
        print(&deleted, args.ids.is_empty())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn list(folders: &Folders) -> Result<Vec<Deleted>, BoxError> {
    let layout = folders.layout();
    drop(Writer::open(&layout)?);
    let conn = store::open_reader(&layout)?;
    let all = trash::all(&conn)?.into_iter();
    Ok(all.map(|trashed| Deleted::of(&conn, trashed)).collect::<store::Result<_>>()?)
}

/// Deletes all of them, or none.
fn delete(folders: &Folders, ids: &[String]) -> Result<Vec<Deleted>, BoxError> {
    let mut writer = Writer::open(&folders.layout())?;
    let elsewhere = ids.iter().filter_map(|id| resolve::elsewhere(writer.conn(), id).transpose());
    fetch::before_change(folders, writer.conn(), &elsewhere.collect::<Result<Vec<_>, _>>()?)?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    resolve::not_empty(&tx)?;
    let mut deleted = Vec::new();
    for id in ids {
        let entity = resolve::entity(&tx, id)?;
        let edit = Edit::Delete { entity, name: TrashName::Own };
        Editor::new(&mut tx, Origin::Command).apply(&edit).map_err(|e| format!("{id}: {e}"))?;
        deleted.push(entity);
    }
    let mut shown = Vec::new();
    for entity in deleted {
        // A part of something that was named too is deleted with that.
        if let Some(trashed) = trash::find(&tx, entity.kind, entity.row)? {
            shown.push(Deleted::of(&tx, trashed)?);
        }
    }
    tx.commit()?;
    Ok(shown)
}

fn print(deleted: &[Deleted], is_list: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if deleted.is_empty() {
        return writeln!(out, "Nothing is deleted.");
    }
    for one in deleted {
        let at = one.deleted_at.get(..19).unwrap_or(&one.deleted_at).replace('T', " ");
        let short = one.id.get(..13).unwrap_or(&one.id);
        let mark = if one.listed { "" } else { "  (no longer in .cogfs/trash)" };
        writeln!(out, "{short}  {at}  {:<7}  {}{mark}", one.kind, printable(&one.name))?;
    }
    let first = deleted.first().map_or("ID", |one| one.id.get(..13).unwrap_or(&one.id));
    let example = if is_list { "ID" } else { first };
    writeln!(out, "\n`cogfs restore {example}` brings it back.")
}
