//! The operations done through [`CogFs`], with what a kernel does before it asks: it walks paths, refuses what makes no sense
//! whatever the filesystem, and counts the numbers it was told.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cogfs::curation::{self, Origin};
use cogfs::fs::{Attr, CogFs, DirEntry, FsError, Invalidation, Lookup, NodeKind, Places, RenameMode, SetAttr};
use cogfs::ingest::{Options, import};
use cogfs::store::{Layout, Survives, Writer};
use libc::{EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY};

use super::Real;
use super::common::{self, ClaudeLog};
use super::kernel::{self, Own, Remembered};
use super::model::{Look, Model, Result, Seen, Start};
use super::ops::{How, Mode, Op};

const ROOT: u64 = 1;
/// The thread that edits; nothing runs under this number.
const EDITOR: u32 = 4_000_000_000;

/// A database, with a tree over it and logs that grow.
pub struct Direct {
    pub dir: tempfile::TempDir,
    pub layout: Layout,
    places: Places,
    pub fs: CogFs,
    logs: Vec<ClaudeLog>,
    /// How often the kernel was told a number.
    told: HashMap<u64, u64>,
    handles: Vec<Option<u64>>,
    news: Vec<Invalidation>,
}

fn errno(error: FsError) -> i32 {
    error.errno()
}

/// The logs that grow while a sequence runs.
pub fn growing_logs() -> Vec<ClaudeLog> {
    let log = |project: &str, number: u32| {
        let mut log = ClaudeLog::new(project, number);
        log.user(&format!("Paint the boat {number}.")).assistant("Which colour?").bash("ls", "hull");
        log
    };
    vec![log("boats", 1), log("boats", 2), log("shop", 3)]
}

pub fn import_places(layout: &Layout, places: &[PathBuf]) {
    let options = Options { places: places.to_vec(), dry_run: false };
    import(layout, &options, &AtomicBool::new(false), &mut |_| ()).unwrap();
}

pub fn places(dir: &Path, scratch: &str) -> Places {
    Places { scratch: dir.join(scratch), errors: dir.join("state/errors.jsonl") }
}

/// A database with everything imported: made once, as a failing sequence is done many times.
pub fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        drop(Writer::open(&layout).unwrap());
        let written: Vec<PathBuf> = growing_logs().iter().map(|log| log.write(&dir.path().join("logs"))).collect();
        import_places(&layout, &[written, vec![common::demo_logs()]].concat());
        dir
    });
    made.path()
}

pub fn copy(from: &Path, to: &Path) {
    for entry in common::walk(from) {
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Direct {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        copy(template(), dir.path());
        let logs = growing_logs();
        let places = places(dir.path(), "scratch");
        let fs = CogFs::open_writable(&layout, "/mnt", &places).unwrap();
        let (told, handles, news) = Default::default();
        let real = Self { dir, layout, places, fs, logs, told, handles, news };
        real.read_all();
        real
    }

    /// The editor reads every document: what its saves are compared with is known.
    fn read_all(&self) {
        let conn = rusqlite::Connection::open(self.layout.database()).unwrap();
        let mut query = conn.prepare("SELECT row FROM cognitive_commits").unwrap();
        let rows: Vec<u64> = query.query_map([], |r| r.get(0)).unwrap().map(std::result::Result::unwrap).collect();
        for row in rows {
            self.fs.read_for(EDITOR, 5 << 56 | row, 0, 1 << 20).unwrap();
        }
    }

    /// Another mount of the same database.
    pub fn other(&self) -> CogFs {
        CogFs::open_writable(&self.layout, "/other", &places(self.dir.path(), "other")).unwrap()
    }

    fn tell(&mut self, attr: &Attr) -> u64 {
        *self.told.entry(attr.ino).or_default() += 1;
        attr.ino
    }

    fn child(&mut self, dir: u64, name: &str) -> Result<Option<Attr>> {
        match self.fs.lookup(dir, OsStr::new(name)).map_err(errno)? {
            Lookup::Found(attr) => {
                self.tell(&attr);
                Ok(Some(attr))
            }
            Lookup::Absent { .. } => Ok(None),
        }
    }

    pub fn resolve(&mut self, path: &str) -> Result<Attr> {
        let mut at = self.fs.getattr(ROOT).map_err(errno)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if at.kind != NodeKind::Directory {
                return Err(ENOTDIR);
            }
            at = self.child(at.ino, name)?.ok_or(ENOENT)?;
        }
        Ok(at)
    }

    /// The numbers of the directories that a path leads through.
    fn above(&mut self, path: &str) -> Vec<u64> {
        let ends: Vec<&str> = path.match_indices('/').map(|(end, _)| &path[..end]).collect();
        ends.into_iter().filter_map(|dir| self.resolve(dir).ok()).map(|attr| attr.ino).collect()
    }

    fn end<'a>(&mut self, path: &'a str) -> Result<(u64, &'a OsStr, Option<Attr>)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.resolve(dir)?;
        if dir.kind != NodeKind::Directory {
            return Err(ENOTDIR);
        }
        if name.len() > 255 {
            return Err(ENAMETOOLONG);
        }
        let there = self.child(dir.ino, name)?;
        Ok((dir.ino, OsStr::new(name), there))
    }

    fn file(&mut self, path: &str) -> Result<u64> {
        let attr = self.resolve(path)?;
        if attr.kind == NodeKind::File { Ok(attr.ino) } else { Err(EISDIR) }
    }

    fn act(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Create { path, exclusive } => self.create(path, *exclusive).map(drop),
            Op::Mkdir { path } => self.make(path, |fs, dir, name| fs.mkdir(dir, name, 0o700)),
            Op::Symlink { path } => self.make(path, |fs, dir, name| fs.symlink(dir, name, Path::new("target"))),
            Op::Unlink { path } => self.unlink(path),
            Op::Rmdir { path } => self.rmdir(path),
            Op::RemoveTree { path } => self.remove_tree(path),
            Op::Rename { from, to, mode } => self.rename(from, to, *mode),
            Op::Write { path, offset, bytes } => {
                let ino = self.file(path)?;
                self.write(ino, *offset, &bytes.0)
            }
            Op::Truncate { path, size } => {
                let ino = self.file(path)?;
                self.truncate(ino, *size)
            }
            Op::Fsync { path } => {
                let attr = self.resolve(path)?;
                if attr.kind == NodeKind::File { self.fs.fsync(attr.ino).map_err(errno) } else { Ok(()) }
            }
            Op::FsyncDir { path } => {
                let attr = self.resolve(path)?;
                if attr.kind != NodeKind::Directory {
                    return Err(ENOTDIR);
                }
                self.fs.fsyncdir(attr.ino).map_err(errno)
            }
            Op::Save { dir, how, text, fresh, sync } => self.save(dir, *how, &text.0, *fresh, *sync),
            Op::Open { path } => {
                let attr = self.resolve(path)?;
                if attr.kind != NodeKind::File {
                    return Err(EINVAL);
                }
                self.handles.push(Some(attr.ino));
                Ok(())
            }
            Op::WriteOpen { handle, offset, bytes } => match self.handles.get(*handle).copied().flatten() {
                Some(ino) => self.write(ino, *offset, &bytes.0),
                None => Err(EINVAL),
            },
            Op::Close { handle } => self.handles.get_mut(*handle).ok_or(EINVAL)?.take().map(drop).ok_or(EINVAL),
            Op::Quiet { for_ms } => {
                self.fs.settle(Instant::now() + Duration::from_millis(*for_ms));
                Ok(())
            }
            Op::Remount => {
                self.fs.finish();
                self.reopen();
                Ok(())
            }
            Op::Kill => {
                self.reopen();
                Ok(())
            }
            Op::Control { line } => {
                let ino = self.file(".cogfs/ctl")?;
                self.write(ino, 0, format!("{line}\n").as_bytes())
            }
            Op::Import { log } => {
                self.grow(*log);
                Ok(())
            }
            Op::Forget => {
                self.forget();
                Ok(())
            }
        }
    }

    fn reopen(&mut self) {
        self.fs = CogFs::open_writable(&self.layout, "/mnt", &self.places).unwrap();
        self.read_all();
        self.told.clear();
        self.handles.clear();
    }

    fn grow(&mut self, log: usize) {
        let log = &mut self.logs[log];
        let first = log.lines.len();
        log.user("And the oars.");
        let path = log.append(&self.dir.path().join("logs"), first);
        import_places(&self.layout, &[path]);
        self.news.extend(self.fs.changes().unwrap());
    }

    /// The kernel forgets the numbers that nothing is open under.
    fn forget(&mut self) {
        let held: Vec<u64> = self.handles.iter().flatten().copied().collect();
        let forgotten: Vec<u64> = self.told.keys().copied().filter(|ino| !held.contains(ino)).collect();
        for ino in forgotten {
            if let Some(times) = self.told.remove(&ino) {
                self.fs.forget(ino, times);
            }
        }
    }

    fn create(&mut self, path: &str, exclusive: bool) -> Result<u64> {
        let (dir, name, there) = self.end(path)?;
        match there {
            Some(_) if exclusive => Err(EEXIST),
            Some(attr) if attr.kind == NodeKind::Directory => Err(EISDIR),
            Some(attr) => Ok(attr.ino),
            None => {
                let attr = self.fs.create(dir, name, 0o600, exclusive, EDITOR).map_err(errno)?;
                Ok(self.tell(&attr))
            }
        }
    }

    fn make(
        &mut self,
        path: &str,
        make: impl Fn(&CogFs, u64, &OsStr) -> std::result::Result<Attr, FsError>,
    ) -> Result<()> {
        let (dir, name, there) = self.end(path)?;
        if there.is_some() {
            return Err(EEXIST);
        }
        let attr = make(&self.fs, dir, name).map_err(errno)?;
        self.tell(&attr);
        Ok(())
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        let (dir, name, there) = self.end(path)?;
        match there.ok_or(ENOENT)?.kind {
            NodeKind::Directory => Err(EISDIR),
            _ => self.fs.unlink(dir, name).map_err(errno),
        }
    }

    fn rmdir(&mut self, path: &str) -> Result<()> {
        let (dir, name, there) = self.end(path)?;
        match there.ok_or(ENOENT)?.kind {
            NodeKind::Directory => self.fs.rmdir(dir, name).map_err(errno),
            _ => Err(ENOTDIR),
        }
    }

    fn remove_tree(&mut self, path: &str) -> Result<()> {
        let attr = self.resolve(path)?;
        if attr.kind != NodeKind::Directory {
            return self.unlink(path);
        }
        let mut names: Vec<String> = self.list(attr.ino)?.into_iter().map(|e| e.name.into_string().unwrap()).collect();
        names.sort();
        for name in names {
            match self.remove_tree(&format!("{path}/{name}")) {
                Err(ENOENT) => {}
                other => other?,
            }
        }
        match self.rmdir(path) {
            Err(ENOENT) => Ok(()),
            other => other,
        }
    }

    fn rename(&mut self, from: &str, to: &str, mode: Mode) -> Result<()> {
        let (from_dir, from_name, source) = self.end(from)?;
        let (to_dir, to_name, target) = self.end(to)?;
        let source = source.ok_or(ENOENT)?;
        match (mode, target) {
            (Mode::NoReplace, Some(_)) => return Err(EEXIST),
            (Mode::Exchange, None) => return Err(ENOENT),
            _ => {}
        }
        if self.above(to).contains(&source.ino) {
            return Err(EINVAL);
        }
        if target.is_some_and(|target| self.above(from).contains(&target.ino)) {
            return Err(if mode == Mode::Exchange { EINVAL } else { ENOTEMPTY });
        }
        if let Some(target) = target {
            let dir = NodeKind::Directory;
            match (source.kind == dir, target.kind == dir) {
                _ if target.ino == source.ino => return Ok(()),
                (true, false) if mode != Mode::Exchange => return Err(ENOTDIR),
                (false, true) if mode != Mode::Exchange => return Err(EISDIR),
                _ => {}
            }
        }
        let mode = match mode {
            Mode::Replace => RenameMode::Replace,
            Mode::NoReplace => RenameMode::NoReplace,
            Mode::Exchange => RenameMode::Exchange,
        };
        self.fs.rename((from_dir, from_name), (to_dir, to_name), mode, EDITOR).map_err(errno)
    }

    fn write(&mut self, ino: u64, offset: usize, bytes: &[u8]) -> Result<()> {
        self.fs.write(ino, offset as u64, bytes, EDITOR).map(drop).map_err(errno)
    }

    fn truncate(&mut self, ino: u64, size: usize) -> Result<()> {
        let set = SetAttr { size: Some(size as u64), thread: EDITOR, ..SetAttr::default() };
        self.fs.setattr(ino, &set).map(drop).map_err(errno)
    }

    fn save(&mut self, dir: &str, how: How, text: &[u8], fresh: bool, sync: bool) -> Result<()> {
        let path = format!("{dir}/meta.md");
        if fresh {
            let ino = self.file(&path)?;
            self.fs.read_for(EDITOR, ino, 0, 1 << 20).map_err(errno)?;
        }
        let half = text.len() / 2;
        let new = format!("{dir}/meta.md.new");
        let ino = match how {
            How::InPlace => {
                let ino = self.file(&path)?;
                self.truncate(ino, 0)?;
                self.write(ino, 0, &text[..half])?;
                self.write(ino, half, &text[half..])?;
                ino
            }
            How::WithoutTruncating => {
                let ino = self.file(&path)?;
                self.write(ino, 0, text)?;
                self.truncate(ino, text.len())?;
                ino
            }
            How::Rename => {
                self.create(&new, false)?;
                let ino = self.file(&new)?;
                self.truncate(ino, 0)?;
                self.write(ino, 0, text)?;
                return self.rename(&new, &path, Mode::Replace);
            }
            How::Backup => {
                self.rename(&path, &format!("{path}~"), Mode::Replace)?;
                let ino = self.create(&path, false)?;
                self.write(ino, 0, text)?;
                ino
            }
            How::Remove => {
                self.unlink(&path)?;
                let ino = self.create(&path, true)?;
                self.write(ino, 0, text)?;
                ino
            }
        };
        if sync { self.fs.fsync(ino).map_err(errno) } else { Ok(()) }
    }

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

impl Real for Direct {
    fn apply(&mut self, op: &Op) -> Result<()> {
        self.act(op)
    }

    fn dumps(&mut self, paths: &[String], look: &Look) -> Vec<BTreeMap<String, Seen>> {
        paths.iter().map(|path| self.dump(path, look)).collect()
    }

    fn read_open(&mut self, handle: usize) -> Option<Vec<u8>> {
        let ino = self.handles.get(handle).copied().flatten()?;
        Some(read(&self.fs, ino))
    }

    fn size_of(&mut self, path: &str) -> Option<u64> {
        self.resolve(path).ok().map(|attr| attr.size)
    }

    fn home(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }
}

/// Whether a number is that of a file made from the conversation: all but a `meta.md` (5), scratch (26), a draft (27).
pub fn is_made(ino: u64) -> bool {
    !matches!(ino >> 56, 5 | 26 | 27)
}

/// Whether a number is that of a directory of a commit: its sessions (8), its pictures (9), a session (11).
pub fn is_part(ino: u64) -> bool {
    matches!(ino >> 56, 8 | 9 | 11)
}

pub fn list(fs: &CogFs, dir: u64) -> Result<Vec<DirEntry>> {
    let mut entries = Vec::new();
    let listed = fs.readdir(dir, 2, true, &mut |entry| {
        entries.push(entry);
        true
    });
    listed.map(|()| entries).map_err(errno)
}

pub fn read(fs: &CogFs, ino: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let piece = fs.read(ino, bytes.len() as u64, 70_001).unwrap_or_else(|e| panic!("{ino:#x}: {e}"));
        if piece.is_empty() {
            return bytes;
        }
        bytes.extend(piece);
    }
}
