//! The documents themselves: the renderer's, of records that are cleaned first.

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::{ExportError, Exporter, Format, Result, What};
use crate::model::{Commit, Project, Session, Visual};
use crate::render::{self, Out, PageLinks};
use crate::store::commits::Home;
use crate::store::{commits, projects, raw, sessions, turns, visuals};
use crate::tree;

/// A commit with what lies in it.
pub(super) struct Loaded {
    pub commit: Commit,
    pub project: Project,
    pub sessions: Vec<Session>,
}

impl Loaded {
    /// The sessions as pages call them.
    fn titled(&self) -> Vec<Session> {
        self.sessions.iter().map(|session| titled(session, &self.commit)).collect()
    }
}

/// A session without a title of its own is called after its commit, on its pages.
fn titled(session: &Session, commit: &Commit) -> Session {
    let title = session.title.clone().or_else(|| Some(commit.title.clone()));
    Session { title: title.filter(|title| !title.is_empty()), ..session.clone() }
}

impl Exporter<'_> {
    /// Where something lies in a mount, below `projects/`.
    pub(super) fn place(&mut self, what: What) -> Result<PathBuf> {
        let (commit_row, below) = match what {
            What::Commit(row) => (row, PathBuf::new()),
            What::Session(row) => {
                let mut session = self.session(row)?;
                let mut below = PathBuf::new();
                // A damaged database must not make a loop of it.
                for _ in 0..64 {
                    let Some(parent) = session.parent_row else { break };
                    below = Path::new("subagents").join(&session.dir_name).join(below);
                    session = self.session(parent)?;
                }
                let below = Path::new("sessions").join(&session.dir_name).join(below);
                (session.commit_row.ok_or(ExportError::Gone)?, below)
            }
        };
        let Loaded { commit, project, .. } = self.load(commit_row)?;
        let hidden = if commit.hidden { "hidden" } else { "" };
        Ok(Path::new(&project.dir_name).join(hidden).join(&commit.dir_name).join(below))
    }

    pub(super) fn load(&mut self, row: i64) -> Result<Loaded> {
        let mut commit = commits::get(self.conn, row)?.ok_or(ExportError::Gone)?;
        if commit.home() == Home::Trash {
            return Err(ExportError::Gone);
        }
        let mut project = projects::get(self.conn, commit.project_row)?.ok_or(ExportError::Gone)?;
        let mut sessions = sessions::of_commit(self.conn, row)?;
        self.clean.commit(&mut commit);
        self.clean.project(&mut project);
        for session in &mut sessions {
            self.clean.session(session);
        }
        Ok(Loaded { commit, project, sessions })
    }

    pub(super) fn session(&mut self, row: i64) -> Result<Session> {
        if sessions::deleted_at(self.conn, row)?.is_some() {
            return Err(ExportError::Gone);
        }
        let mut session = sessions::get(self.conn, row)?.ok_or(ExportError::Gone)?;
        self.clean.session(&mut session);
        Ok(session)
    }

    fn subagents(&mut self, session: &Session) -> Result<Vec<Session>> {
        let mut found = sessions::subagents(self.conn, session.row)?;
        found.iter_mut().for_each(|session| self.clean.session(session));
        Ok(found)
    }

    /// The commit that a session lies in, with this session alone.
    fn load_around(&mut self, row: i64) -> Result<Loaded> {
        let session = self.session(row)?;
        let mut loaded = self.load(session.commit_row.ok_or(ExportError::Gone)?)?;
        loaded.sessions = match loaded.sessions.into_iter().find(|other| other.row == row) {
            Some(titled) => vec![titled],
            None => vec![session],
        };
        Ok(loaded)
    }

    /// Writes the one document of something.
    pub(super) fn document(&mut self, what: What, out: &mut dyn Write) -> Result<()> {
        let loaded = match what {
            What::Commit(row) => self.load(row)?,
            What::Session(row) => self.load_around(row)?,
        };
        match (self.format, what) {
            (Format::Html, _) => self.page(&loaded, out),
            (Format::Markdown, What::Commit(_)) => self.transcript(&loaded, out),
            (Format::Markdown, What::Session(row)) => {
                let depth = tree::depth_of_session(self.conn, row)?;
                match loaded.titled().first() {
                    Some(session) => self.session_transcript(session, &loaded.project, depth, out),
                    None => Err(ExportError::Gone),
                }
            }
            (Format::Json, What::Commit(_)) => {
                let visuals = visuals::of_commit(self.conn, loaded.commit.row)?;
                let meta = render::commit_meta_json(&loaded.commit, &loaded.project, &loaded.sessions, &visuals);
                let mut told = Vec::new();
                for session in &loaded.sessions {
                    told.push(self.session_json(session, &loaded)?);
                }
                write_all(out, &render::json_document(&json!({ "commit": parsed(&meta), "sessions": told })))
            }
            (Format::Json, What::Session(_)) => match loaded.sessions.first() {
                Some(session) => {
                    let document = self.session_json(session, &loaded)?;
                    write_all(out, &render::json_document(&document))
                }
                None => Err(ExportError::Gone),
            },
            (Format::Jsonl, _) => {
                for session in &loaded.sessions {
                    self.records(session, out)?;
                }
                Ok(())
            }
        }
    }

    fn page(&mut self, loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
        let known: HashMap<String, Visual> = visuals::of_commit(self.conn, loaded.commit.row)?
            .into_iter()
            .map(|visual| (visual.file_name.clone(), visual))
            .collect();
        let (layout, missing) = (self.layout, std::cell::RefCell::new(Vec::new()));
        let picture = |name: &str| {
            let visual = known.get(name)?;
            let Ok(bytes) = std::fs::read(layout.blob(&visual.sha256)) else {
                missing.borrow_mut().push(name.to_owned());
                return None;
            };
            Some(format!("data:{};base64,{}", visual.mime, BASE64_STANDARD.encode(bytes)))
        };
        let (mut page, mut main) = (String::new(), String::new());
        render::page_start(&mut page, &loaded.commit, &loaded.project);
        let of = u32::try_from(loaded.sessions.len()).unwrap_or(u32::MAX);
        for (session, ordinal) in loaded.titled().iter().zip(1..) {
            self.here(session)?;
            let key = render::page_key(session);
            render::page_index_session(&mut page, session, ordinal, of);
            render::page_session(&mut main, session, ordinal, of);
            let (clean, links) = (&mut self.clean, PageLinks::alone(&key, &picture));
            turns::for_each(self.conn, session.row, |mut turn| {
                clean.turn(&mut turn);
                render::page_index_entry(&mut page, &turn, &key);
                render::page_turn(&mut main, &turn, &links);
            })?;
            page.put(render::PAGE_INDEX_SESSION_END);
            main.put(render::PAGE_SESSION_END);
            self.written.sessions += 1;
        }
        page.put(render::PAGE_INDEX_END);
        main.put(render::PAGE_END);
        self.written.missing_pictures.append(&mut missing.into_inner());
        write_all(out, &page)?;
        write_all(out, &main)
    }

    fn transcript(&mut self, loaded: &Loaded, out: &mut dyn Write) -> Result<()> {
        let mut text = String::new();
        let sessions = loaded.titled();
        render::commit_header(&mut text, &loaded.commit, &sessions, &loaded.project);
        for (session, ordinal) in sessions.iter().zip(1..) {
            render::commit_session_heading(&mut text, session, ordinal);
            let prefix = tree::turns_from_commit(session);
            self.sections(session, &prefix, tree::VISUALS_FROM_COMMIT, &mut text)?;
            self.written.sessions += 1;
        }
        write_all(out, &text)
    }

    fn session_transcript(
        &mut self,
        session: &Session,
        project: &Project,
        depth: usize,
        out: &mut dyn Write,
    ) -> Result<()> {
        let mut text = String::new();
        render::session_header(&mut text, session, &project.name);
        self.sections(session, tree::TURN_PREFIX, &tree::visual_prefix(depth), &mut text)?;
        write_all(out, &text)
    }

    fn sections(&mut self, session: &Session, turn_prefix: &str, visual_prefix: &str, out: &mut String) -> Result<()> {
        self.here(session)?;
        let clean = &mut self.clean;
        turns::for_each(self.conn, session.row, |mut turn| {
            clean.turn(&mut turn);
            render::section(out, &turn, turn_prefix, visual_prefix);
        })?;
        Ok(())
    }

    fn session_json(&mut self, session: &Session, loaded: &Loaded) -> Result<Value> {
        self.here(session)?;
        let subagents = self.subagents(session)?;
        let names: Vec<String> = subagents.iter().map(|session| session.dir_name.clone()).collect();
        let meta = render::session_meta_json(session, &loaded.project, Some(&loaded.commit), &names);
        let (mut told, clean) = (Vec::new(), &mut self.clean);
        turns::for_each(self.conn, session.row, |mut turn| {
            clean.turn(&mut turn);
            told.push(render::turn_json(&turn));
        })?;
        self.written.sessions += 1;
        let mut below = Vec::new();
        for subagent in &subagents {
            below.push(self.session_json(subagent, loaded)?);
        }
        Ok(json!({ "session": parsed(&meta), "turns": told, "subagents": below }))
    }

    /// Writes the records of a session and its subagents.
    fn records(&mut self, session: &Session, out: &mut dyn Write) -> Result<()> {
        self.own_records(session, out)?;
        for subagent in self.subagents(session)? {
            self.records(&subagent, out)?;
        }
        Ok(())
    }

    fn own_records(&mut self, session: &Session, out: &mut dyn Write) -> Result<()> {
        self.here(session)?;
        let (mut failure, clean) = (None, &mut self.clean);
        if clean.redacts() {
            raw::for_each_record(self.conn, session.row, |record| {
                let mut line = || out.write_all(&clean.record(record)).and_then(|()| out.write_all(b"\n"));
                if failure.is_none() {
                    failure = line().err();
                }
            })?;
        } else {
            // Byte for byte, as `raw.jsonl` has them.
            raw::for_each_chunk(self.conn, session.row, |chunk| {
                if failure.is_none() {
                    failure = out.write_all(chunk).err();
                }
            })?;
        }
        self.written.sessions += 1;
        failure.map_or(Ok(()), |source| Err(unwritable(source)))
    }

    pub(super) fn records_of_session(&mut self, session: &Session, dir: &Path) -> Result<()> {
        self.put(&dir.join(Format::Jsonl.file_name()), |this, out| this.own_records(session, out))?;
        for subagent in self.subagents(session)? {
            self.records_of_session(&subagent, &dir.join("subagents").join(&subagent.dir_name))?;
        }
        Ok(())
    }

    pub(super) fn markdown_of_commit(&mut self, row: i64, dir: &Path) -> Result<()> {
        let loaded = self.load(row)?;
        for session in &loaded.sessions {
            self.here(session)?;
        }
        let visuals = visuals::of_commit(self.conn, row)?;
        let meta = match tree::meta_md(self.conn, row)? {
            Some(meta) if !self.clean.redacts() => meta.text,
            _ => render::meta_md(&loaded.commit, &loaded.project.dir_name).into_bytes(),
        };
        let json = render::commit_meta_json(&loaded.commit, &loaded.project, &loaded.sessions, &visuals);
        let before = self.written.sessions;
        self.put(&dir.join("transcript.md"), |this, out| this.transcript(&loaded, out))?;
        // They are counted with their own files.
        self.written.sessions = before;
        self.put(&dir.join("meta.md"), |_, out| out.write_all(&meta).map_err(unwritable))?;
        self.put(&dir.join("meta.json"), |_, out| write_all(out, &json))?;
        for session in &loaded.sessions {
            self.markdown_of_session(session, &dir.join("sessions").join(&session.dir_name), 0)?;
        }
        for visual in visuals {
            match std::fs::read(self.layout.blob(&visual.sha256)) {
                Ok(bytes) => self.put(&dir.join("visuals").join(&visual.file_name), |_, out| {
                    out.write_all(&bytes).map_err(unwritable)
                })?,
                Err(_) => self.written.missing_pictures.push(visual.file_name),
            }
        }
        Ok(())
    }

    pub(super) fn markdown_of_session(&mut self, session: &Session, dir: &Path, depth: usize) -> Result<()> {
        self.here(session)?;
        let loaded = self.load(session.commit_row.ok_or(ExportError::Gone)?)?;
        let subagents = self.subagents(session)?;
        let names: Vec<String> = subagents.iter().map(|session| session.dir_name.clone()).collect();
        let meta = render::session_meta_json(session, &loaded.project, Some(&loaded.commit), &names);
        self.put(&dir.join("transcript.md"), |this, out| {
            this.session_transcript(&titled(session, &loaded.commit), &loaded.project, depth, out)
        })?;
        self.put(&dir.join("meta.json"), |_, out| write_all(out, &meta))?;
        self.turn_files(session, &dir.join("turns"), depth)?;
        self.written.sessions += 1;
        for subagent in &subagents {
            self.markdown_of_session(subagent, &dir.join("subagents").join(&subagent.dir_name), depth + 1)?;
        }
        Ok(())
    }

    fn turn_files(&mut self, session: &Session, dir: &Path, depth: usize) -> Result<()> {
        const AT_ONCE: u32 = 256;
        let (prefix, mut from) = (tree::turn_visual_prefix(depth), 0);
        loop {
            let mut some = Vec::new();
            turns::for_some(self.conn, session.row, from, AT_ONCE, |turn| some.push(turn))?;
            let Some(last) = some.last() else { return Ok(()) };
            from = last.number + 1;
            for mut turn in some {
                self.clean.turn(&mut turn);
                let slug = turn.tool.as_ref().map(|tool| render::tool_slug(&tool.name));
                let name = render::turn_file_name(turn.number, turn.role, slug.as_deref());
                let mut text = String::new();
                render::turn_file(&mut text, &turn, &prefix);
                self.put(&dir.join(name), |_, out| write_all(out, &text))?;
            }
        }
    }
}

/// A document of the renderer's as a value again.
fn parsed(document: &str) -> Value {
    serde_json::from_str(document).unwrap_or(Value::Null)
}

fn write_all(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(unwritable)
}

fn unwritable(source: std::io::Error) -> ExportError {
    ExportError::Io { path: PathBuf::from("the output"), source }
}
