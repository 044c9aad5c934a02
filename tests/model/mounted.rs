//! The operations done through a real mount, by system calls, and its remounts and deaths. Time is the clock's: what is due soon is
//! waited for, or done at once by an operation, before it can fall into another.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{Error, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libc::{EACCES, EBADF, EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, ESTALE};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::common::mount::{PATIENCE, clear, kill, server_pids};
use super::common::{ClaudeLog, LOOKS, World, wait_until};
use super::direct::{copy, growing_logs, template};
use super::looker::Looker;
use super::model::{Look, Result, Seen, Start};
use super::ops::{self, Can, Dice, How, Mode, Op};
use super::{Direct, LEAST_COMMITS, Pair, Real, words};

/// What is due sooner than this is not left to fall into the next step.
const SOON: Duration = Duration::from_millis(140);
/// What is due sooner than this may fall into whatever is done about it: it is waited for.
const TOO_SOON: Duration = Duration::from_millis(60);
/// How long after a thing is due the mount has done it, on a machine that is not slow.
const LATE: Duration = Duration::from_millis(120);

/// A mount, the process that looks at it, and the logs that grow.
pub struct Mounted {
    dir: PathBuf,
    looker: Looker,
    logs: Vec<ClaudeLog>,
    handles: Vec<Option<File>>,
    // The last: it looks at its database when it is dropped.
    world: World,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.handles.clear();
        if !std::thread::panicking() {
            self.world.run(&["unmount".as_ref(), self.dir.as_os_str()]);
        }
        clear(&self.dir);
    }
}

/// The errno of a failure. Who is not root is told by the mode of what is made from the conversation that it is not to be written.
fn errno(error: Error) -> i32 {
    match error.raw_os_error() {
        Some(EACCES | EBADF) => EPERM,
        Some(errno) => errno,
        None => panic!("{error}"),
    }
}

impl Mounted {
    fn new() -> Self {
        let world = World::new();
        copy(&template().join("data"), &world.home().join("data"));
        copy(&template().join("logs"), &world.logs());
        let (dir, looker, logs, handles) = (world.root().join("mnt"), Looker::start(), growing_logs(), Vec::new());
        let mounted = Self { dir, looker, logs, handles, world };
        mounted.mount();
        mounted
    }

    fn mount(&self) {
        self.world.run(&["mount".as_ref(), "--no-watch".as_ref(), self.dir.as_os_str()]).exits(0);
        self.read_all();
    }

    /// The editor reads every document: what its saves are compared with is known.
    fn read_all(&self) {
        let projects = below(&self.path("projects"));
        let dirs =
            projects.iter().chain([self.path(".cogfs/trash")].iter()).flat_map(|dir| below(dir)).collect::<Vec<_>>();
        let hidden = dirs.iter().filter(|dir| dir.file_name() == Some(OsStr::new("hidden"))).flat_map(|dir| below(dir));
        for dir in dirs.iter().cloned().chain(hidden) {
            match read_past_the_cache(&dir.join("meta.md")) {
                Ok(()) => {}
                Err(error) => {
                    assert!(matches!(error.raw_os_error(), Some(ENOENT | ENOTDIR)), "{}: {error}", dir.display())
                }
            }
        }
    }

    /// The end of what the mount logged.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.world.home().join("state/mount.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn path(&self, path: &str) -> PathBuf {
        // A slash in front would lead out of the mount.
        self.dir.join(path.trim_start_matches('/'))
    }

    /// What lies in both trashes is one directory to the kernel, which moves it to the name that it is looked up by. While it is told
    /// of names beside either it cannot, and says ESTALE: the next look succeeds.
    fn attr(&self, path: &str) -> Result<Metadata> {
        let look = || fs::symlink_metadata(self.path(path)).map_err(errno);
        let again = (0..100).map(|_| look()).find(|found| !matches!(found, Err(ESTALE)));
        again.unwrap_or(Err(ESTALE))
    }

    fn is_file(&self, path: &str) -> Result<bool> {
        self.attr(path).map(|attr| attr.is_file())
    }

    /// Opens a file for writing.
    fn file(&self, path: &str) -> Result<File> {
        if !self.is_file(path)? {
            return Err(EISDIR);
        }
        OpenOptions::new().write(true).open(self.path(path)).map_err(errno)
    }

    /// Makes a file; `None`: it was there.
    fn create(&self, path: &str, exclusive: bool) -> Result<Option<File>> {
        let there = match self.attr(path) {
            Ok(attr) => Some(attr),
            Err(ENOENT) => None,
            Err(errno) => return Err(errno),
        };
        if there.as_ref().is_some_and(|attr| attr.is_symlink() && !exclusive) {
            return Ok(None);
        }
        let mut open = OpenOptions::new();
        open.custom_flags(libc::O_CREAT | if exclusive { libc::O_EXCL } else { 0 }).mode(0o600);
        let opened = open.read(true).write(there.is_none()).open(self.path(path)).map_err(errno)?;
        Ok(there.is_none().then_some(opened))
    }

    fn remove_tree(&self, path: &str) -> Result<()> {
        if !self.attr(path)?.is_dir() {
            return fs::remove_file(self.path(path)).map_err(errno);
        }
        for name in below(&self.path(path)) {
            let name = name.file_name().unwrap().to_str().unwrap().to_owned();
            match self.remove_tree(&format!("{path}/{name}")) {
                Err(ENOENT) => {}
                other => other?,
            }
        }
        match fs::remove_dir(self.path(path)).map_err(errno) {
            Err(ENOENT) => Ok(()),
            other => other,
        }
    }

    /// What a rename answers that names one directory twice, which the kernel cannot: what lies in both trashes is one directory,
    /// and it has that under the name that it looked up last. Within a rename it cannot look up the other (ESTALE).
    fn rename_by_two_names(&self, from: &str, to: &str, mode: Mode) -> Option<Result<()>> {
        // As `mv` does, which looks at both: the source last, so that it is there.
        let (target, source) = (self.attr(to).ok(), self.attr(from).ok()?);
        let leads_through = |path: &str, ino: u64| {
            let mut ends = path.match_indices('/').map(|(end, _)| &path[..end]);
            ends.any(|dir| self.attr(dir).is_ok_and(|attr| attr.ino() == ino))
        };
        let ino_of_target = target.as_ref().filter(|attr| attr.is_dir()).map(MetadataExt::ino);
        let refusal = if source.is_dir() && ino_of_target == Some(source.ino()) {
            Ok(())
        } else if source.is_dir() && leads_through(to, source.ino()) {
            Err(EINVAL)
        } else if ino_of_target.is_some_and(|ino| leads_through(from, ino)) {
            Err(if mode == Mode::Exchange { EINVAL } else { ENOTEMPTY })
        } else {
            // The source again, as a look at a path may have taken it away.
            return self.attr(from).err().map(Err);
        };
        Some(match (mode, target) {
            (Mode::NoReplace, Some(_)) => Err(EEXIST),
            (Mode::Exchange, None) => Err(ENOENT),
            _ => refusal,
        })
    }

    fn rename(&self, from: &str, to: &str, mode: Mode) -> Result<()> {
        let flags = match mode {
            Mode::Replace => RenameFlags::empty(),
            Mode::NoReplace => RenameFlags::NOREPLACE,
            Mode::Exchange => RenameFlags::EXCHANGE,
        };
        if let Some(result) = self.rename_by_two_names(from, to, mode) {
            return result;
        }
        renameat_with(CWD, self.path(from), CWD, self.path(to), flags).map_err(|e| errno(e.into()))
    }

    fn save(&self, dir: &str, how: How, text: &[u8], fresh: bool, sync: bool) -> Result<()> {
        let path = format!("{dir}/meta.md");
        if fresh {
            if !self.is_file(&path)? {
                return Err(EISDIR);
            }
            read_past_the_cache(&self.path(&path)).map_err(errno)?;
        }
        let half = text.len() / 2;
        let new = format!("{dir}/meta.md.new");
        let file = match how {
            How::InPlace => {
                let file = self.file(&path)?;
                file.set_len(0).map_err(errno)?;
                write(&file, 0, &text[..half])?;
                write(&file, half, &text[half..])?;
                file
            }
            How::WithoutTruncating => {
                let file = self.file(&path)?;
                write(&file, 0, text)?;
                file.set_len(text.len() as u64).map_err(errno)?;
                file
            }
            How::Rename => {
                self.create(&new, false)?;
                let file = self.file(&new)?;
                file.set_len(0).map_err(errno)?;
                write(&file, 0, text)?;
                return self.rename(&new, &path, Mode::Replace);
            }
            How::Backup => {
                self.rename(&path, &format!("{path}~"), Mode::Replace)?;
                let file = self.create(&path, false)?.unwrap();
                write(&file, 0, text)?;
                file
            }
            How::Remove => {
                fs::remove_file(self.path(&path)).map_err(errno)?;
                let file = self.create(&path, true)?.unwrap();
                write(&file, 0, text)?;
                file
            }
        };
        if sync { file.sync_all().map_err(errno) } else { Ok(()) }
    }

    fn open(&mut self, path: &str) -> Result<()> {
        if !self.is_file(path)? {
            return Err(EINVAL);
        }
        let (path, both) = (self.path(path), OpenOptions::new().read(true).write(true).clone());
        let file = both.open(&path).or_else(|_| File::open(&path)).map_err(errno)?;
        self.handles.push(Some(file));
        Ok(())
    }

    fn fsync_dir(&self, path: &str) -> Result<()> {
        if !self.attr(path)?.is_dir() {
            return Err(ENOTDIR);
        }
        File::open(self.path(path)).and_then(|dir| dir.sync_all()).map_err(errno)
    }

    fn kill(&mut self) {
        for pid in server_pids(&self.dir) {
            kill(pid);
        }
        self.handles.clear();
        wait_until(PATIENCE, "the killed process is gone", || server_pids(&self.dir).is_empty());
        clear(&self.dir);
        self.mount();
    }

    fn remount(&mut self) {
        self.handles.clear();
        self.world.run(&["unmount".as_ref(), self.dir.as_os_str()]).exits(0);
        self.mount();
    }

    fn grow(&mut self, log: usize) {
        let log = &mut self.logs[log];
        let first = log.lines.len();
        log.user("And the oars.");
        let path = log.append(&self.world.logs(), first);
        self.world.import(&[&path]);
    }
}

/// What a directory lists, sorted by name.
fn below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn write(file: &File, offset: usize, bytes: &[u8]) -> Result<()> {
    file.write_all_at(bytes, offset as u64).map_err(errno)
}

/// Reads a file so that the mount is asked, and knows who has read it.
fn read_past_the_cache(path: &Path) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_NOFOLLOW).open(path)?;
    file.read_to_end(&mut Vec::with_capacity(1 << 20)).map(drop)
}

impl Real for Mounted {
    fn apply(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Create { path, exclusive } => self.create(path, *exclusive).map(drop),
            Op::Mkdir { path } => fs::create_dir(self.path(path)).map_err(errno),
            Op::Symlink { path } => std::os::unix::fs::symlink("target", self.path(path)).map_err(errno),
            Op::Unlink { path } => fs::remove_file(self.path(path)).map_err(errno),
            Op::Rmdir { path } => fs::remove_dir(self.path(path)).map_err(errno),
            Op::RemoveTree { path } => self.remove_tree(path),
            Op::Rename { from, to, mode } => self.rename(from, to, *mode),
            Op::Write { path, offset, bytes } => self.file(path).and_then(|file| write(&file, *offset, &bytes.0)),
            Op::Truncate { path, size } => self.file(path)?.set_len(*size as u64).map_err(errno),
            Op::Fsync { path } => match self.is_file(path)? {
                true => File::open(self.path(path)).and_then(|file| file.sync_all()).map_err(errno),
                false => Ok(()),
            },
            Op::FsyncDir { path } => self.fsync_dir(path),
            Op::Save { dir, how, text, fresh, sync } => self.save(dir, *how, &text.0, *fresh, *sync),
            Op::Open { path } => self.open(path),
            Op::WriteOpen { handle, offset, bytes } => match self.handles.get(*handle).and_then(Option::as_ref) {
                Some(file) => write(file, *offset, &bytes.0),
                None => Err(EINVAL),
            },
            Op::Close { handle } => self.handles.get_mut(*handle).ok_or(EINVAL)?.take().map(drop).ok_or(EINVAL),
            Op::Quiet { for_ms } => {
                let until = Instant::now() + Duration::from_millis(*for_ms);
                wait_until(PATIENCE, "time passes", || Instant::now() >= until);
                Ok(())
            }
            Op::Remount => {
                self.remount();
                Ok(())
            }
            Op::Kill => {
                self.kill();
                Ok(())
            }
            Op::Control { line } => {
                let ctl = OpenOptions::new().write(true).open(self.path(".cogfs/ctl")).map_err(errno)?;
                write(&ctl, 0, format!("{line}\n").as_bytes())
            }
            Op::Import { log } => {
                self.grow(*log);
                Ok(())
            }
            Op::Forget => Ok(()),
        }
    }

    fn dumps(&mut self, paths: &[String], look: &Look) -> Vec<BTreeMap<String, Seen>> {
        self.looker.dumps(&self.dir, paths, look)
    }

    /// By another process: who edits must not be taken for having read it.
    fn read_open(&mut self, handle: usize) -> Option<Vec<u8>> {
        let fd = self.handles.get(handle)?.as_ref()?.as_raw_fd();
        self.looker.read(Path::new(&format!("/proc/{}/fd/{fd}", std::process::id())))
    }

    fn size_of(&mut self, path: &str) -> Option<u64> {
        self.attr(path).ok().map(|attr| attr.len())
    }

    fn home(&self) -> PathBuf {
        self.world.home()
    }

    fn logs(&self) -> PathBuf {
        self.world.logs()
    }
}

/// What came of a step.
enum Step {
    Same,
    Differs(String),
    /// What was due fell into the step, or may have: it differs, which need not be wrong.
    Unsure,
}

impl Pair<Mounted> {
    fn mounted(starts: &[Start]) -> Self {
        Self::of(Mounted::new(), starts.to_vec())
    }

    fn step_mounted(&mut self, op: &Op) -> Step {
        if let Err(error) = self.catch_up() {
            return Step::Differs(format!("before {op:?}, what was due is not done:\n{error}"));
        }
        self.steps += 1;
        let touched = self.model.commits_in(op);
        let due = self.model.first_due().map(|(at, _)| at);
        let began = Instant::now();
        let result = self.act(op);
        let ended = Instant::now();
        let lies_in = |at: Instant| began < at + LATE && at < ended;
        let unsure = due.is_some_and(lies_in) || ended - began > SOON;
        self.due_since |= due.is_some_and(|at| at < ended);
        let done = match result {
            Ok(result) => words(result),
            Err(_) if unsure => return Step::Unsure,
            Err(error) => return Step::Differs(error),
        };
        let touched = touched.map(|commits| self.model.paths_of(&commits));
        let look = match touched {
            _ if self.steps.is_multiple_of(super::WHOLE_EVERY) => Look::Deep,
            Some(dirs) => Look::Into(dirs),
            None => Look::IntoAll,
        };
        // What an edit changes elsewhere is told to the kernel a moment later, and what was due may be done now.
        match self.compare_until_same(&look, ended + if unsure { Duration::from_secs(2) } else { PATIENCE }) {
            Ok(()) => Step::Same,
            Err(_) if unsure => Step::Unsure,
            Err(error) => Step::Differs(format!("after {op:?} ({done}):\n{error}")),
        }
    }

    /// What was due and was not looked at everywhere is waited for: on a busy machine the mount does it much later than the model.
    fn catch_up(&mut self) -> std::result::Result<(), String> {
        self.settle();
        if !std::mem::take(&mut self.due_since) {
            return Ok(());
        }
        self.compare_until_same(&Look::Deep, Instant::now() + PATIENCE)?;
        self.due_since = false;
        Ok(())
    }

    fn settle(&mut self) {
        let now = Instant::now();
        self.due_since |= self.model.first_due().is_some_and(|(at, _)| at <= now);
        self.model.settle(now);
    }

    fn compare_until_same(&mut self, look: &Look, until: Instant) -> std::result::Result<(), String> {
        let mut looks = 1;
        loop {
            match self.compare(look) {
                Err(_) if looks < LOOKS || Instant::now() < until => self.settle(),
                compared => return compared,
            }
            looks += 1;
        }
    }
}

/// What has what is due soon: an operation that forces it, or waiting for it.
fn about_what_is_due(pair: &Pair<Mounted>, dice: &mut Dice) -> Option<Op> {
    let (due, forces) = pair.model.first_due()?;
    let left = due.saturating_duration_since(Instant::now());
    if left > SOON {
        return None;
    }
    match forces {
        Some(op) if left > TOO_SOON && !dice.one_in(4) => Some(op),
        _ => Some(Op::Quiet { for_ms: u64::try_from((left + LATE).as_millis()).unwrap() }),
    }
}

/// Random operations on a mount, and with those that what is due makes necessary.
pub fn run(seed: u64, steps: usize) {
    let starts = Direct::new().starts();
    let mut dice = Dice::new(seed);
    let mut pair = Pair::mounted(&starts);
    let (mut done, mut anew) = (Vec::new(), 0);
    for _ in 0..steps {
        if pair.model.commit_dirs().len() < LEAST_COMMITS {
            end(&mut pair, done, seed);
            (pair, done) = (Pair::mounted(&starts), Vec::new());
        }
        loop {
            let due = about_what_is_due(&pair, &mut dice);
            let is_last = due.is_none();
            done.push(due.unwrap_or_else(|| ops::next(&mut dice, &pair.model, Can { wait: false, logs: 3 })));
            if !goes_on(&mut pair, &done, seed) {
                (pair, anew) = (Pair::mounted(&starts), anew + 1);
                done.clear();
            }
            if is_last {
                break;
            }
        }
    }
    end(&mut pair, done, seed);
    eprintln!("seed {seed}: {steps} steps; this machine was too slow for {anew} of them");
    assert!(anew <= 2 + steps / 50, "this machine was too slow for {anew} of {steps} steps: little was compared");
}

/// Nothing is left to be done by time behind a remount: then all of it is compared.
fn end(pair: &mut Pair<Mounted>, mut done: Vec<Op>, seed: u64) {
    done.push(Op::Remount);
    if goes_on(pair, &done, seed) {
        pair.ends().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// Does the last of some operations. Whether the mount and the model say the same.
fn goes_on(pair: &mut Pair<Mounted>, done: &[Op], seed: u64) -> bool {
    match pair.step_mounted(&done[done.len() - 1]) {
        Step::Same => true,
        Step::Unsure => false,
        Step::Differs(error) => {
            let last: Vec<String> = done.iter().rev().take(120).rev().map(|op| format!("  {op:?}")).collect();
            panic!(
                "seed {seed}, step {}: {error}\nthe mount says:\n{}\nthe last operations:\n{}",
                done.len(),
                pair.real.log(),
                last.join("\n")
            )
        }
    }
}
