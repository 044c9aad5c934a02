//! `cogfs edit`.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::mount::BoxError;
use super::output::{self, printable};
use super::{log, resolve};
use crate::config::Folders;
use crate::curation::front_matter::{self, Document, Field};
use crate::curation::{self, Editor, Entity, Origin, Outcome, Shown};
use crate::store::{Survives, Writer, edits};

/// The longest note, in bytes.
const MOST_NOTE: u64 = 1024 * 1024;

/// Change a commit's title, tags, marks, order, note or project
///
/// All changes of one call are made, or none is. A new title gives the commit's directory a new name; the former one leads to it.
/// Every edit is logged (`cogfs log`) and can be taken back (`cogfs undo`).
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true)))]
pub struct EditArgs {
    /// The commit: its id or the beginning of it (six digits), its directory's name, or its path in a mount
    #[arg(value_name = "ID")]
    id: String,
    /// Call it so
    #[arg(long, value_name = "TITLE", group = "what")]
    title: Option<String>,
    /// Call it as it was found in the log again
    #[arg(long, group = "what", conflicts_with = "title")]
    no_title: bool,
    /// Give it this tag, and no others but those given by more of these; --tag '' takes all away
    #[arg(long, value_name = "TAG", group = "what", conflicts_with_all = ["add_tag", "remove_tag"])]
    tag: Vec<String>,
    /// Give it one more tag
    #[arg(long, value_name = "TAG", group = "what")]
    add_tag: Vec<String>,
    /// Take a tag away
    #[arg(long, value_name = "TAG", group = "what")]
    remove_tag: Vec<String>,
    /// Move it to its project's `hidden` directory, or back
    #[arg(long, value_name = "BOOL", group = "what", action = clap::ArgAction::Set)]
    hidden: Option<bool>,
    /// Mark it as published
    #[arg(long, value_name = "BOOL", group = "what", action = clap::ArgAction::Set)]
    published: Option<bool>,
    /// Its place in lists that are ordered by hand
    #[arg(long, value_name = "N", group = "what", allow_negative_numbers = true)]
    order: Option<i64>,
    /// Its note
    #[arg(long, value_name = "TEXT", group = "what")]
    note: Option<String>,
    /// Its note, from a file; `-` is the standard input
    #[arg(long, value_name = "FILE", group = "what", conflicts_with = "note")]
    note_file: Option<PathBuf>,
    /// Move it to this project
    #[arg(long, value_name = "PROJECT", group = "what")]
    project: Option<String>,
    /// Print what was changed as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Edited {
    id: String,
    /// Below `projects/`.
    path: String,
    edits: Vec<log::Entry>,
}

/// Runs `cogfs edit`.
///
/// # Errors
/// When there is no such commit, an edit is refused, or the database cannot be written.
pub fn run(folders: &Folders, args: &EditArgs) -> Result<ExitCode, BoxError> {
    // Read before the database is locked: it may come from a program that waits.
    let note = note(args)?;
    let mut writer = Writer::open(&folders.layout())?;
    let mut tx = writer.begin_urgent(Survives::Machine)?;
    resolve::not_empty(&tx)?;
    let commit = resolve::commit(&tx, &args.id)?;
    if commit.deleted_at.is_some() {
        return Err(format!("{} is deleted: `cogfs restore {}` brings it back", args.id, commit.id).into());
    }
    let shown = Shown::now(&tx, commit.row)?.ok_or("the commit is in no project: run `cogfs doctor`")?;
    let document = document(args, note, &shown)?;
    let edits = match curation::plan(&tx, commit.row, &document, &[shown])? {
        Outcome::Edits(edits) => edits,
        Outcome::Refused(refusal) => return Err(refusal.reason.into()),
    };
    let made = Editor::new(&mut tx, Origin::Command).apply_all(&edits)?;
    let mut entries = Vec::new();
    for seq in made {
        if let Some(logged) = edits::get(&tx, seq)? {
            entries.push(log::Entry::of(&tx, &logged)?);
        }
    }
    let path = resolve::place(&tx, Entity::commit(commit.row))?;
    tx.commit()?;
    let edited = Edited { id: commit.id.to_string(), path, edits: entries };
    if args.json {
        output::json(&edited)?;
        return Ok(ExitCode::SUCCESS);
    }
    if edited.edits.is_empty() {
        println!("Nothing to change: it is so already.");
    }
    for entry in &edited.edits {
        println!("{}", entry.short());
    }
    println!("{}", printable(&edited.path));
    Ok(ExitCode::SUCCESS)
}

/// The note that is wanted, without line ends behind it.
fn note(args: &EditArgs) -> Result<Option<String>, BoxError> {
    let bytes = match (&args.note, &args.note_file) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(path)) => {
            let name = path.display();
            let mut bytes = Vec::new();
            let read = if path.as_os_str() == "-" {
                std::io::stdin().lock().take(MOST_NOTE + 1).read_to_end(&mut bytes)
            } else {
                fs::File::open(path).and_then(|file| file.take(MOST_NOTE + 1).read_to_end(&mut bytes))
            };
            read.map_err(|e| format!("{name}: {e}"))?;
            bytes
        }
        (None, None) => return Ok(None),
    };
    if bytes.len() as u64 > MOST_NOTE {
        return Err("the note is longer than 1 MiB: shorten it".into());
    }
    let text = String::from_utf8(bytes).map_err(|_| "the note is not UTF-8: save it in that encoding")?;
    if text.contains('\0') {
        return Err("there is a NUL byte in the note: take it out".into());
    }
    Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
}

/// What is wanted as the `meta.md` that says it.
fn document(args: &EditArgs, note: Option<String>, shown: &Shown) -> Result<Document, BoxError> {
    let mut document = Document { note: note.unwrap_or_else(|| shown.note.clone()), ..Document::default() };
    if let Some(title) = &args.title {
        document.title = checked("title", &serde_json::Value::from(title.as_str()))?.title;
        if document.title == Field::Cleared {
            return Err("the title is empty: --no-title gives back the one that was found".into());
        }
    }
    if args.no_title {
        document.title = Field::Cleared;
    }
    let tags = if args.tag.is_empty() {
        let taken: Vec<&str> = args.remove_tag.iter().map(|tag| tag.trim()).collect();
        let kept = shown.tags.iter().filter(|tag| !taken.contains(&tag.as_str()));
        kept.chain(&args.add_tag).map(String::as_str).collect()
    } else {
        args.tag.iter().map(String::as_str).collect::<Vec<_>>()
    };
    if !(args.tag.is_empty() && args.add_tag.is_empty() && args.remove_tag.is_empty()) {
        document.tags = checked("tags", &serde_json::Value::from(tags))?.tags;
    }
    let field = |value: Option<bool>| value.map_or(Field::Absent, Field::Set);
    (document.hidden, document.published) = (field(args.hidden), field(args.published));
    document.order = args.order.map_or(Field::Absent, Field::Set);
    document.project = args.project.clone();
    Ok(document)
}

/// A field under the rules of `meta.md`. JSON is YAML.
fn checked(key: &str, value: &serde_json::Value) -> Result<Document, BoxError> {
    let text = format!("---\n{key}: {value}\n---\n");
    front_matter::parse(text.as_bytes()).map_err(|refusal| refusal.reason.into())
}
