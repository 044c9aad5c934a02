//! Conversations as files outside a mount: what `cogfs export` writes.
//!
//! Owns which documents a commit or a session becomes in each format, and how they come to a disk: whole or not at all, over
//! nothing that is there. Reads the store and renders; knows no network: what is elsewhere is refused, never left empty.

mod clean;
mod documents;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::model::{Id, Session};
use crate::store::{Layout, StoreError, sessions};
pub use clean::Clean;

/// What an export is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The documents and turns of a mount.
    Markdown,
    /// One document with every turn.
    Json,
    /// One page that needs no other file.
    Html,
    /// The agent's own records.
    Jsonl,
}

impl Format {
    /// What the one document of a commit or a session is called.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Markdown => "transcript.md",
            Self::Json => "transcript.json",
            Self::Html => "transcript.html",
            Self::Jsonl => "raw.jsonl",
        }
    }

    /// Whether the one document has the subagents in it.
    fn holds_subagents(self) -> bool {
        matches!(self, Self::Json | Self::Jsonl)
    }
}

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum What {
    Commit(i64),
    Session(i64),
}

/// Why something could not be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is there already; --force writes over it", .0.display())]
    Exists(PathBuf),
    #[error("it is not here: its contents are on another machine and in the cloud")]
    Elsewhere(Id),
    #[error("it is no more, or lies in the trash (`cogfs restore` brings it back)")]
    Gone,
}

type Result<T> = std::result::Result<T, ExportError>;

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    pub files: u64,
    pub bytes: u64,
    pub sessions: u64,
    /// Pictures that are not on this machine, by their names.
    pub missing_pictures: Vec<String>,
}

/// Writes exports of one format.
pub struct Exporter<'a> {
    conn: &'a Connection,
    layout: &'a Layout,
    format: Format,
    force: bool,
    pub clean: Clean,
    pub written: Written,
}

impl<'a> Exporter<'a> {
    /// Of a database. `force`: files that are there are written over.
    #[must_use]
    pub fn new(conn: &'a Connection, layout: &'a Layout, format: Format, clean: Clean, force: bool) -> Self {
        Self { conn, layout, format, force, clean, written: Written::default() }
    }

    /// Writes the one document of something into a stream.
    ///
    /// # Errors
    /// When its contents are elsewhere, or the database cannot be read.
    pub fn stream(&mut self, what: What, out: &mut dyn Write) -> Result<()> {
        self.all_here(what, self.format.holds_subagents())?;
        self.document(what, out)
    }

    /// Writes the one document of something into a file.
    ///
    /// # Errors
    /// When its contents are elsewhere, the file is there, or it cannot be written.
    pub fn file(&mut self, what: What, path: &Path) -> Result<()> {
        self.all_here(what, self.format.holds_subagents())?;
        self.put(path, |this, out| this.document(what, out))
    }

    /// The file that something is exported to below a folder, first of all: where it is, so is the rest.
    ///
    /// # Errors
    /// When it is no more, or the database cannot be read.
    pub fn first_file(&mut self, what: What, folder: &Path) -> Result<PathBuf> {
        let dir = folder.join(self.place(what)?);
        Ok(match (self.format, what) {
            (Format::Jsonl, What::Commit(row)) => match self.load(row)?.sessions.first() {
                Some(session) => dir.join("sessions").join(&session.dir_name).join(self.format.file_name()),
                None => dir,
            },
            _ => dir.join(self.format.file_name()),
        })
    }

    /// Writes all that something has in this format below a folder, under the names it has in a mount.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn folder(&mut self, what: What, folder: &Path) -> Result<()> {
        self.all_here(what, self.format != Format::Html)?;
        let dir = folder.join(self.place(what)?);
        match (self.format, what) {
            (Format::Markdown, What::Commit(row)) => self.markdown_of_commit(row, &dir),
            (Format::Markdown, What::Session(row)) => {
                let session = self.session(row)?;
                self.markdown_of_session(&session, &dir, 0)
            }
            (Format::Jsonl, What::Commit(row)) => {
                for session in self.load(row)?.sessions {
                    self.records_of_session(&session, &dir.join("sessions").join(&session.dir_name))?;
                }
                Ok(())
            }
            (Format::Jsonl, What::Session(row)) => {
                let session = self.session(row)?;
                self.records_of_session(&session, &dir)
            }
            (Format::Json | Format::Html, _) => self.file(what, &dir.join(self.format.file_name())),
        }
    }

    /// Refuses what is not here, before a file or a folder is made for it.
    fn all_here(&self, what: What, with_subagents: bool) -> Result<()> {
        let rows = match what {
            What::Commit(row) => sessions::rows_of_commit(self.conn, row)?,
            What::Session(row) => std::iter::once(row).chain(sessions::descendants(self.conn, row)?).collect(),
        };
        for row in rows {
            let is_meant = with_subagents || what == What::Session(row) || sessions::parent(self.conn, row)?.is_none();
            if let (true, Some(id)) = (is_meant, sessions::id_elsewhere(self.conn, row)?)
                && sessions::deleted_at(self.conn, row)?.is_none()
            {
                return Err(ExportError::Elsewhere(id));
            }
        }
        Ok(())
    }

    /// Refuses what is not here.
    fn here(&self, session: &Session) -> Result<()> {
        match session.contents {
            crate::model::ContentsAt::Elsewhere => Err(ExportError::Elsewhere(session.id)),
            _ => Ok(()),
        }
    }

    /// Writes a file under another name and gives it its own when it is whole.
    fn put(&mut self, path: &Path, write: impl FnOnce(&mut Self, &mut dyn Write) -> Result<()>) -> Result<()> {
        let failed = |source| ExportError::Io { path: path.to_owned(), source };
        if !self.force && path.symlink_metadata().is_ok() {
            return Err(ExportError::Exists(path.to_owned()));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let file = tempfile::Builder::new().prefix(".cogfs-export-").tempfile_in(dir).map_err(failed)?;
        let mut out = io::BufWriter::new(file);
        write(self, &mut out)?;
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        let length = file.as_file().metadata().map_err(failed)?.len();
        let named = if self.force { file.persist(path) } else { file.persist_noclobber(path) };
        named.map_err(|error| match error.error.kind() {
            io::ErrorKind::AlreadyExists => ExportError::Exists(path.to_owned()),
            _ => failed(error.error),
        })?;
        self.written.files += 1;
        self.written.bytes += length;
        Ok(())
    }
}
