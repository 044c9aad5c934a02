//! The operations done through [`CogFs`], with what a kernel does before it asks: it walks paths, refuses what makes no sense
//! whatever the filesystem, and counts the numbers it was told.

mod looks;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use cogfs::fs::{Attr, CogFs, DirEntry, FsError, Invalidation, Lookup, NodeKind, Places, RenameMode, SetAttr};
use cogfs::ingest::{Options, import};
use cogfs::store::{Layout, Writer};
use libc::{EEXIST, EINVAL, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY};

use super::Real;
use super::common::{self, ClaudeLog};
use super::model::{Look, Result, Seen};
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
