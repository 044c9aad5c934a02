//! Exports of web services: `conversations.json` and what lies beside it, in a folder or in the archive it came in.
//!
//! Owns how an export is told from other JSON, how it is read (a conversation at a time, however large it is), and where its
//! pictures are. Names in an archive are compared, and never used as paths. What a conversation means is its service's.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use zip::ZipArchive;

use self::assets::Assets;
use self::elements::{Element, Elements};
use super::collection::{Collection, Entry, Format, Found, is_zip, stamp};
use super::lines;
use super::source::Stamp;
use super::{chatgpt, claude_ai};
use crate::model::Millis;

pub mod assets;
pub mod elements;

/// Bytes read at once.
const BUFFER: usize = 256 * 1024;

/// Elements of a list that are looked at to tell whose it is: conversations without a message are common.
const LOOKED_AT: usize = 20;

/// What an element of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    ChatGpt,
    ClaudeAi,
    /// A project of Claude.ai, with its documents.
    ClaudeAiProject,
}

impl What {
    fn of(element: &Value) -> Option<Self> {
        if chatgpt::is_conversation(element) {
            Some(Self::ChatGpt)
        } else if claude_ai::is_conversation(element) {
            Some(Self::ClaudeAi)
        } else {
            claude_ai::is_project(element).then_some(Self::ClaudeAiProject)
        }
    }

    fn format(self) -> Format {
        match self {
            Self::ChatGpt => Format::ChatGpt,
            Self::ClaudeAi | Self::ClaudeAiProject => Format::ClaudeAi,
        }
    }
}

/// What the conversations of an export share.
pub struct Shared {
    /// Names of Claude.ai's projects, by their ids.
    pub projects: BTreeMap<String, String>,
    pub assets: Arc<Assets>,
    /// The stamp of the export.
    pub stamp: Stamp,
}

/// An export.
struct Export {
    path: PathBuf,
    format: Format,
    /// The lists in an archive by their places; of a plain file none.
    members: Vec<(usize, String)>,
}

/// Opens an export; `None` when it is none.
///
/// # Errors
/// When it cannot be read.
pub fn open(path: &Path) -> io::Result<Option<Box<dyn Collection>>> {
    let members = if is_zip(path) { members(&mut archive(path)?) } else { Vec::new() };
    let format = if is_zip(path) {
        let mut format = None;
        for (place, _) in &members {
            let mut archive = archive(path)?;
            let member = archive.by_index(*place).map_err(unzipped)?;
            format = format.or(recognise(BufReader::with_capacity(BUFFER, member))?);
        }
        format
    } else {
        recognise(BufReader::with_capacity(BUFFER, File::open(path)?))?
    };
    Ok(format.map(|format| Box::new(Export { path: path.to_owned(), format, members }) as Box<dyn Collection>))
}

/// The lists in an archive, by their places and names: projects first, so that conversations find their names.
fn members(archive: &mut ZipArchive<File>) -> Vec<(usize, String)> {
    let names: Vec<String> = archive.file_names().flatten().map(std::borrow::Cow::into_owned).collect();
    let mut found: Vec<(usize, String)> = names
        .into_iter()
        .filter(|name| is_list(name))
        .filter_map(|name| archive.index_for_name(&name).map(|place| (place, name)))
        .collect();
    found.sort_by_key(|(_, name)| (!is_projects(name), name.clone()));
    found
}

/// `conversations.json`, `conversations-003.json`, `projects.json`, `projects/<id>.json`.
fn is_list(name: &str) -> bool {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    let is_json = file.strip_suffix(".json");
    is_json.is_some_and(|stem| stem == "projects" || stem == "conversations" || stem.starts_with("conversations-"))
        || is_json.is_some() && (folder == "projects" || folder.ends_with("/projects"))
}

fn is_projects(name: &str) -> bool {
    !name.rsplit('/').next().unwrap_or_default().starts_with("conversations")
}

fn archive(path: &Path) -> io::Result<ZipArchive<File>> {
    ZipArchive::new(File::open(path)?).map_err(unzipped)
}

pub(super) fn unzipped(e: zip::result::ZipError) -> io::Error {
    io::Error::other(format!("the archive is damaged or of an unknown kind: {e}"))
}

/// Whose list it is, by its first elements.
fn recognise(reader: impl BufRead) -> io::Result<Option<Format>> {
    let mut elements = Elements::new(reader);
    for _ in 0..LOOKED_AT {
        match elements.next()? {
            Some(Element::Bytes(bytes, _)) if bytes.starts_with(b"{") => {
                if let Some(what) = parse(&bytes).ok().as_ref().and_then(What::of) {
                    return Ok(Some(what.format()));
                }
            }
            Some(Element::TooLong(_)) => {}
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// One value; where the text is damaged, as far as that can be repaired.
fn parse(bytes: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(e) => {
            let found = lines::records(bytes);
            // A repair that leaves nothing of it is none.
            let whole = found.values.into_iter().find(|value| What::of(value).is_some());
            whole.ok_or_else(|| e.to_string())
        }
    }
}

impl Collection for Export {
    fn format(&self) -> Format {
        self.format
    }

    fn read(&mut self, known: &HashSet<u64>, give: &mut dyn FnMut(Found) -> bool) -> io::Result<()> {
        let stamp = Stamp::of(&std::fs::metadata(&self.path)?);
        let mut shared = Shared { projects: BTreeMap::new(), assets: Arc::new(Assets::beside(&self.path)), stamp };
        if self.members.is_empty() {
            if self.format == Format::ClaudeAi {
                shared.projects = projects_beside(&self.path);
            }
            let file = BufReader::with_capacity(BUFFER, File::open(&self.path)?);
            List { shared: &mut shared, format: self.format, name: "", known }.read(file, give)?;
            return Ok(());
        }
        let mut archive = archive(&self.path)?;
        for (place, name) in &self.members {
            let mut more = true;
            let outcome = archive.by_index(*place).map_err(unzipped).and_then(|member| {
                let list = List { shared: &mut shared, format: self.format, name, known };
                more = list.read(BufReader::with_capacity(BUFFER, member), give)?;
                Ok(())
            });
            // A damaged member costs its rest.
            if let Err(e) = outcome {
                more = give(Found::Skipped(name.clone(), e.to_string()));
            }
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// The names of the projects that an export tells of in the file beside its conversations.
fn projects_beside(path: &Path) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Ok(file) = File::open(path.with_file_name("projects.json")) else { return names };
    let mut elements = Elements::new(BufReader::with_capacity(BUFFER, file));
    // What is wrong with it is told when it is imported itself.
    while let Ok(Some(element)) = elements.next() {
        if let Element::Bytes(bytes, _) = element
            && let Ok(project) = parse(&bytes)
        {
            names.extend(claude_ai::project_name(&project));
        }
    }
    names
}

/// One list of an export.
struct List<'a> {
    shared: &'a mut Shared,
    format: Format,
    /// In an archive.
    name: &'a str,
    known: &'a HashSet<u64>,
}

impl List<'_> {
    /// Reads it; false when the taker has enough.
    fn read(self, reader: impl BufRead, give: &mut dyn FnMut(Found) -> bool) -> io::Result<bool> {
        let mut elements = Elements::new(reader);
        let mut nth: u64 = 0;
        while let Some(element) = elements.next()? {
            nth += 1;
            let found = match element {
                Element::Bytes(bytes, begins) => self.element(&bytes, &self.place(nth, begins)),
                Element::TooLong(begins) => Some(Found::Skipped(
                    self.place(nth, begins),
                    format!("longer than {} MiB", elements::LONGEST >> 20),
                )),
                Element::CutOff(begins) => Some(Found::Skipped(
                    self.place(nth, begins),
                    "the file ends here: it is not whole (was the download cut off?)".to_owned(),
                )),
            };
            if found.is_some_and(|found| !give(found)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn place(&self, nth: u64, begins: u64) -> String {
        let name = if self.name.is_empty() { String::new() } else { format!("{}, ", self.name) };
        format!("{name}conversation {nth} (at byte {begins})")
    }

    fn element(&self, bytes: &[u8], place: &str) -> Option<Found> {
        let length = bytes.len() as u64;
        // What it is called and where its pictures are is of it too, but neither changes alone.
        if self.known.contains(&stamp(&[bytes], None, self.shared.stamp).size) {
            return Some(Found::Unchanged(length));
        }
        let value = match parse(bytes) {
            Ok(value) => value,
            Err(e) => return Some(Found::Skipped(place.to_owned(), e)),
        };
        let skipped = |reason: &str| Some(Found::Skipped(place.to_owned(), reason.to_owned()));
        let Some(what) = What::of(&value) else {
            return skipped("neither a conversation nor a project");
        };
        if what.format() != self.format {
            return skipped(&format!("of {}, in an export of {}", what.format().title(), self.format.title()));
        }
        let opened = match what {
            What::ChatGpt => chatgpt::open(&value, self.shared),
            What::ClaudeAi => claude_ai::open(&value, self.shared),
            What::ClaudeAiProject => claude_ai::open_project(&value),
        };
        let Some(Opened { id, written, head, parser }) = opened else { return skipped("it has no id") };
        let stamp = stamp(&[bytes], written, self.shared.stamp);
        Some(Found::Conversation(Box::new(Entry {
            id,
            stamp,
            head,
            parser,
            document: value,
            problems: Vec::new(),
            bytes: length,
        })))
    }
}

/// A conversation of an export, with what reads it.
pub struct Opened {
    pub id: String,
    pub written: Option<Millis>,
    pub head: super::record::SessionHead,
    pub parser: Box<dyn super::record::Parser>,
}
