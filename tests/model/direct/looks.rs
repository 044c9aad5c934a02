//! What is looked at of a tree without a mount: what is there, what its kernel is told, what the database says of it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use cogfs::curation::{self, Origin};
use cogfs::fs::{DirEntry, Invalidation, NodeKind};
use cogfs::store::{Survives, Writer};

use super::{Direct, is_made, is_part, list, read};
use crate::common;
use crate::kernel::{self, Own, Remembered};
use crate::model::{Look, Model, Result, Seen, Start};
use crate::ops::{Mode, Op};

impl Direct {
    pub fn list(&mut self, dir: u64) -> Result<Vec<DirEntry>> {
        let entries = list(&self.fs, dir)?;
        for entry in &entries {
            *self.told.entry(entry.ino).or_default() += 1;
        }
        Ok(entries)
    }

    /// What is below a path, as [`super::model::Model::dump`] has it.
    pub fn dump(&mut self, path: &str, look: &Look) -> BTreeMap<String, Seen> {
        let mut out = BTreeMap::new();
        if let Ok(attr) = self.resolve(path) {
            self.dump_into(path, attr.ino, look, &mut out);
        }
        out
    }

    fn dump_into(&mut self, path: &str, dir: u64, look: &Look, out: &mut BTreeMap<String, Seen>) {
        let deep = matches!(look, Look::Deep);
        for entry in self.list(dir).unwrap() {
            let path = format!("{path}/{}", entry.name.to_str().unwrap());
            let attr = entry.attr.unwrap_or_else(|| panic!("{path}: no attributes"));
            assert_eq!(attr.ino, entry.ino, "{path}");
            if deep || !is_made(entry.ino) || entry.kind == NodeKind::Directory {
                let found =
                    self.child(dir, entry.name.to_str().unwrap()).unwrap_or_else(|e| panic!("{path}: errno {e}"));
                assert_eq!(found, Some(attr), "{path}: listing and lookup differ");
            }
            let seen = match entry.kind {
                NodeKind::Directory => Seen::Dir,
                NodeKind::Symlink => Seen::Link,
                NodeKind::File if is_made(entry.ino) => Seen::Made,
                NodeKind::File => Seen::Bytes(read(&self.fs, entry.ino)),
            };
            if deep && entry.kind == NodeKind::File && !path.ends_with(".png") {
                assert_eq!(read(&self.fs, entry.ino).len() as u64, attr.size, "{path}: size");
            }
            assert!(out.insert(path.clone(), seen).is_none(), "{path} is listed twice");
            if entry.kind == NodeKind::Directory && look.enters(&path, entry.ino >> 56 == 4, is_part(entry.ino)) {
                self.dump_into(&path, entry.ino, look, out);
            }
        }
    }

    /// What the kernel was told since the last call.
    pub fn changes(&mut self) -> Vec<Invalidation> {
        let mut news = std::mem::take(&mut self.news);
        news.extend(self.fs.changes().unwrap());
        news
    }

    pub fn remember(&self, unlisted: &[(u64, OsString)]) -> Remembered {
        kernel::remember(&self.fs, unlisted)
    }

    /// Names that are found and not listed.
    pub fn former_names(&mut self, model: &Model) -> Vec<(u64, OsString)> {
        let hidden = model.projects.iter().map(|project| (project.clone(), "hidden".to_owned()));
        let names = model.former_names().into_iter().chain(hidden);
        names.map(|(project, name)| (self.resolve(&format!("projects/{project}")).unwrap().ino, name.into())).collect()
    }

    /// What the kernel knows of an operation that it asks for: the names in it, and where they are.
    pub fn own_before(&mut self, op: &Op) -> Own {
        let mut own = Own::default();
        let paths: Vec<String> = match op {
            Op::Rename { from, to, .. } => {
                own.moving = self.resolve(from).ok().map(|attr| attr.ino);
                vec![from.clone(), to.clone()]
            }
            Op::Save { dir, .. } => ["meta.md", "meta.md~", "meta.md.new"].map(|name| format!("{dir}/{name}")).to_vec(),
            Op::Create { path, .. }
            | Op::Mkdir { path }
            | Op::Symlink { path }
            | Op::Unlink { path }
            | Op::Rmdir { path }
            | Op::Write { path, .. }
            | Op::Truncate { path, .. } => vec![path.clone()],
            Op::RemoveTree { path } => {
                let below = self.dump(path, &Look::Deep).into_keys();
                below.chain([path.clone()]).collect()
            }
            Op::WriteOpen { handle, .. } => {
                own.nodes.extend(self.handles.get(*handle).copied().flatten());
                Vec::new()
            }
            _ => Vec::new(),
        };
        for path in paths {
            if let Ok((dir, name, there)) = self.end(&path) {
                own.names.insert((dir, name.to_owned()));
                own.nodes.insert(dir);
                own.nodes.extend(there.map(|attr| attr.ino));
            }
        }
        own
    }

    /// The names that it has afterwards. A new mount's kernel knows nothing.
    pub fn own_after(&mut self, op: &Op, own: &mut Own) {
        if let Op::Rename { from, to, mode } = op
            && let (Ok((_, _, from)), Ok((dir, name, _))) = (self.end(from), self.end(to))
            && from.is_none()
            && *mode != Mode::Exchange
            && let Some(ino) = own.moving
        {
            own.now.insert((dir, name.to_owned()), ino);
        }
    }

    /// What users can change of every commit and project, and what waits for the cloud.
    pub fn record(&self) -> Vec<String> {
        let conn = rusqlite::Connection::open(self.layout.database()).unwrap();
        let mut rows = Vec::new();
        for sql in [
            "SELECT row, title || '|' || project_row || '|' || tags || '|' || hidden || published || display_order || note
                 || coalesce(deleted_at, '') FROM cognitive_commits ORDER BY row",
            "SELECT row, name FROM projects ORDER BY row",
            "SELECT row, coalesce(deleted_at, '') || '' FROM sessions ORDER BY row",
            "SELECT seq, fields FROM sync_queue ORDER BY seq",
        ] {
            let mut query = conn.prepare(sql).unwrap();
            let found = query.query_map([], |r| Ok(format!("{}: {}", r.get::<_, i64>(0)?, r.get::<_, String>(1)?))).unwrap();
            rows.extend(found.map(std::result::Result::unwrap));
        }
        rows
    }

    /// Takes every edit back, the latest first.
    pub fn undo_all(&mut self) {
        self.fs.finish();
        let mut writer = Writer::open(&self.layout).unwrap();
        let conn = rusqlite::Connection::open(self.layout.database()).unwrap();
        let mut query = conn.prepare("SELECT seq FROM edits ORDER BY seq DESC").unwrap();
        let all: Vec<i64> = query.query_map([], |r| r.get(0)).unwrap().map(std::result::Result::unwrap).collect();
        for seq in all {
            let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
            curation::undo(&mut tx, Origin::Command, seq)
                .unwrap_or_else(|e| panic!("edit {seq} is not taken back: {e}"));
            tx.commit().unwrap();
        }
    }

    /// What is computed agrees with what it is computed from.
    pub fn check(&self) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_cogfs"));
        common::must(command.args(["doctor", "--full", "--json"]).env("COGFS_HOME", self.dir.path()));
    }

    /// What the model begins with.
    pub fn starts(&mut self) -> Vec<Start> {
        let all = self.dump("projects", &Look::Deep);
        let commits: Vec<&String> =
            all.keys().filter(|p| p.ends_with("/meta.json") && p.matches('/').count() == 3).collect();
        let mut starts = Vec::new();
        for page in commits {
            let dir = page.strip_suffix("/meta.json").unwrap();
            let ino = self.resolve(page).unwrap().ino;
            let json: serde_json::Value = serde_json::from_slice(&read(&self.fs, ino)).unwrap();
            let below = |(path, seen): (&String, &Seen)| {
                Some((path.strip_prefix(dir)?.strip_prefix('/')?.to_owned(), *seen == Seen::Dir))
            };
            let (front, name) = dir.rsplit_once('/').unwrap();
            starts.push(Start {
                id: json["id"].as_str().unwrap().to_owned(),
                title: json["title"].as_str().unwrap().to_owned(),
                project: front.strip_prefix("projects/").unwrap().to_owned(),
                name: name.to_owned(),
                paths: all.iter().filter_map(below).collect(),
            });
        }
        starts
    }
}
