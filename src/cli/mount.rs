//! `cogfs mount`: in the foreground, or in a background process that outlives the terminal.
//!
//! The background process is a fork of this one with a pipe to say "ok" or why not. It is made before anything else is: there is
//! one thread, no lock and no database connection that it could find in an unknown state. To run the program again would take
//! a third of the time until the mount answers.

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Serialize;

use crate::follow::{self, Follower, News};
use crate::fs::CogFs;
use crate::fuse::{self, Ended, MountOptions, Mounted, Prepared, StopSignals, Unmounted};
use crate::render::{FollowState, Following};
use crate::sync::continuous::{Continuous, Told};

/// What a command fails with: its text is for the user.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What the background process writes when the mount stands, in front of what was done for it (see [`ready_message`]).
const READY: &[u8] = b"ok";
/// What it writes in front of the reason when it does not.
const FAILED: &[u8] = b"error: ";
/// Following begins so long after the mount answers: who mounted looks first, and the logs are not where they look.
const FOLLOW_AFTER: Duration = Duration::from_millis(100);
/// The first cycle begins so long after the mount answers.
const SYNC_AFTER: Duration = Duration::from_millis(200);
/// A log that is longer is put aside, when a mount begins and each hour of it; so many are kept.
const LONG_LOG: u64 = 1 << 20;
const OLD_LOGS: usize = 3;
const LOOKED_AT_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Lines of the log that are shown when the background process died without a word.
const LOG_LINES: usize = 10;

/// Arguments of `cogfs mount`.
#[derive(Debug, Clone, clap::Args)]
pub struct MountArgs {
    /// Where to show the conversations: an empty directory, made if it does not exist
    pub dir: PathBuf,
    /// Stay in the foreground until interrupted or unmounted
    #[arg(short, long)]
    pub foreground: bool,
    /// Refuse every change
    #[arg(long)]
    pub read_only: bool,
    /// Let other users of this machine in; needs `user_allow_other` in /etc/fuse.conf
    #[arg(long)]
    pub allow_other: bool,
    /// Show extended attributes (`getfattr -d`): the id, agent, model, tokens, ... Each file of an `ls -l` takes a request more
    #[arg(long)]
    pub xattr: bool,
    /// Do not follow the agents' logs: show what is imported otherwise
    #[arg(long)]
    pub no_watch: bool,
    /// Do not sync with the cloud by itself
    #[arg(long)]
    pub no_sync: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// Where the background process writes its messages.
    #[arg(long, hide = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl MountArgs {
    fn options(&self) -> MountOptions {
        MountOptions { read_only: self.read_only, allow_other: self.allow_other, xattr: self.xattr }
    }
}

/// Begins to sync, so long from now; whoever is given is told how it goes.
pub type StartSync = Box<dyn FnOnce(Duration, Told) -> io::Result<Continuous>>;

/// The filesystem to be mounted, and what to do meanwhile.
pub struct Serving {
    pub fs: Arc<CogFs>,
    pub follow: Option<follow::Options>,
    pub sync: StartSync,
}

/// Makes the filesystem to be mounted; called in the process that serves it.
pub type MakeFs<'a> = &'a dyn Fn() -> Result<Serving, BoxError>;

/// Runs `cogfs mount`. `log_file` is where a background process writes, unless the arguments say otherwise.
///
/// # Errors
/// When it could not be mounted; the text says why and what to do.
pub fn run(args: &MountArgs, log_file: &Path, make_fs: MakeFs<'_>) -> Result<(), BoxError> {
    if args.foreground {
        serve_in_foreground(args, make_fs)
    } else {
        start_background(args, args.log_file.as_deref().unwrap_or(log_file), make_fs)
    }
}

#[derive(Serialize)]
struct Report {
    mounted: String,
    created: bool,
    cleared_dead_mount: bool,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

impl Report {
    fn new(prepared: &Prepared, pid: u32, log: Option<&Path>) -> Self {
        Self {
            mounted: prepared.dir.to_string_lossy().into_owned(),
            created: prepared.created,
            cleared_dead_mount: prepared.cleared_dead,
            pid,
            log: log.map(|path| path.to_string_lossy().into_owned()),
        }
    }

    fn print(&self, json: bool, hint: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            return writeln!(out, "{}", serde_json::to_string(self)?);
        }
        if self.created {
            writeln!(out, "Created {}", self.mounted)?;
        }
        if self.cleared_dead_mount {
            writeln!(out, "Cleared a dead mount from {}", self.mounted)?;
        }
        writeln!(out, "Mounted on {}{hint}", self.mounted)
    }
}

/// A mount that is being served, and what it follows meanwhile.
struct Served {
    follower: Option<Follower>,
    sync: Option<Continuous>,
    mounted: Mounted,
    signals: StopSignals,
}

impl Served {
    fn start(args: &MountArgs, make_fs: MakeFs<'_>) -> Result<Self, BoxError> {
        // Before anything is opened: what is wrong with the directory is found at once.
        let prepared = fuse::prepare(&args.dir, args.options())?;
        let serving = make_fs()?;
        let signals = StopSignals::install()?;
        let follower =
            serving.follow.filter(|_| !args.no_watch).and_then(|options| start_follower(&serving.fs, options));
        let sync = (!args.no_sync).then(|| start_sync(&serving.fs, serving.sync)).flatten();
        serving.fs.show();
        let mounted = fuse::mount(serving.fs, prepared, args.options())?;
        Ok(Self { follower, sync, mounted, signals })
    }

    fn wait(self) -> Result<Ended, BoxError> {
        let ended = self.mounted.wait(self.signals);
        drop(self.follower);
        // The last: what was settled at the end of the mount waits for the next one, as everything that was not sent.
        drop(self.sync);
        Ok(ended?)
    }
}

/// A mount without a follower is worth having: it shows what is imported otherwise.
fn start_follower(fs: &Arc<CogFs>, mut options: follow::Options) -> Option<Follower> {
    options.begin_after = FOLLOW_AFTER;
    fs.set_following(Following { state: FollowState::Following, problem: None });
    let told = Arc::clone(fs);
    let follower = Follower::start(options, Arc::new(move |news| told.set_following(following(news, &told))));
    if let Err(error) = &follower {
        tracing::error!(%error, "the logs are not followed");
        fs.set_following(Following { state: FollowState::Off, problem: Some(error.to_string()) });
    }
    follower.ok()
}

/// A mount that does not sync is worth having, too.
fn start_sync(fs: &Arc<CogFs>, start: StartSync) -> Option<Continuous> {
    let told = Arc::clone(fs);
    let sync = start(SYNC_AFTER, Arc::new(move |status| told.set_sync(status.clone())));
    sync.inspect_err(|error| tracing::error!(%error, "nothing is synced")).ok()
}

/// What `.cogfs/status.json` says after some news.
fn following(news: News, fs: &CogFs) -> Following {
    match news {
        News::Waiting => Following { state: FollowState::Waiting, problem: None },
        News::Following { .. } => Following { state: FollowState::Following, problem: None },
        News::Importing { done_bytes, total_bytes } => {
            let percent = u8::try_from(done_bytes.saturating_mul(100) / total_bytes.max(1)).unwrap_or(100).min(100);
            Following { state: FollowState::Importing { percent }, problem: None }
        }
        News::Imported(_) => fs.following(),
        News::Problem(problem) => Following { problem: Some(problem), ..fs.following() },
    }
}

fn serve_in_foreground(args: &MountArgs, make_fs: MakeFs<'_>) -> Result<(), BoxError> {
    let served = Served::start(args, make_fs)?;
    let prepared = served.mounted.prepared().clone();
    Report::new(&prepared, std::process::id(), None).print(args.json, " (Ctrl-C unmounts it)")?;
    let ended = served.wait()?;
    if !args.json {
        writeln!(io::stdout(), "{}", farewell(&prepared.dir, &ended))?;
    }
    Ok(())
}

fn farewell(dir: &Path, ended: &Ended) -> String {
    let dir = dir.display();
    match ended {
        Ended::Signal { how: Unmounted::Lazy { users }, .. } if !users.is_empty() => {
            format!("Unmounted {dir}, which was still used by {}", users.join(", "))
        }
        Ended::Signal { how: Unmounted::Lazy { .. }, .. } => format!("Unmounted {dir}, which was still in use"),
        Ended::Signal { .. } | Ended::Unmounted => format!("Unmounted {dir}"),
    }
}

/// The background process itself.
fn serve_in_background(
    args: &MountArgs,
    mut starter: PipeWriter,
    make_fs: MakeFs<'_>,
    log_path: &Path,
) -> Result<(), BoxError> {
    match Served::start(args, make_fs) {
        Ok(served) => {
            // The starter may have been interrupted; the mount is wanted all the same.
            let _ = starter.write_all(&ready_message(served.mounted.prepared()));
            drop(starter);
            keep_short(std::path::absolute(log_path)?)?;
            // Not to keep whatever filesystem this was started in from being unmounted.
            std::env::set_current_dir("/")?;
            served.wait()?;
            Ok(())
        }
        Err(error) => {
            let _ = starter.write_all(&[FAILED, error.to_string().as_bytes()].concat());
            Err(error)
        }
    }
}

/// What was done for a mount that stands, for the process that waits for it: two digits and the directory.
fn ready_message(prepared: &Prepared) -> Vec<u8> {
    let digit = |done| if done { b'1' } else { b'0' };
    let mut message = READY.to_vec();
    message.extend([digit(prepared.created), digit(prepared.cleared_dead)]);
    message.extend(prepared.dir.as_os_str().as_bytes());
    message
}

fn read_ready_message(message: &[u8]) -> Option<Prepared> {
    match message.strip_prefix(READY)? {
        [created, cleared_dead, dir @ ..] => Some(Prepared {
            dir: OsString::from_vec(dir.to_vec()).into(),
            created: *created == b'1',
            cleared_dead: *cleared_dead == b'1',
        }),
        _ => None,
    }
}

/// Starts the background process and waits until its mount answers. Returns in both processes.
fn start_background(args: &MountArgs, log_path: &Path, make_fs: MakeFs<'_>) -> Result<(), BoxError> {
    let mut log = open_log(log_path)?;
    let log_start = log.seek(SeekFrom::End(0))?;
    let (mut reader, writer) = io::pipe()?;
    let Some(child) = fork()? else {
        drop(reader);
        detach(&log)?;
        return serve_in_background(args, writer, make_fs, log_path);
    };
    drop(writer);
    let mut message = Vec::new();
    reader.read_to_end(&mut message)?;
    if let Some(prepared) = read_ready_message(&message) {
        check_answers(&prepared.dir)?;
        let pid = child.as_raw_nonzero().get().unsigned_abs();
        Report::new(&prepared, pid, Some(log_path)).print(args.json, "")?;
        return Ok(());
    }
    let status = waitpid(Some(child), WaitOptions::empty())?;
    match message.strip_prefix(FAILED) {
        Some(reason) => Err(String::from_utf8_lossy(reason).into()),
        None => {
            let status = status.map_or(0, |(_, status)| status.as_raw());
            Err(death_notice(&ExitStatus::from_raw(status).to_string(), log_path, log_start).into())
        }
    }
}

/// Makes a second process of this one; `None` in that.
fn fork() -> Result<Option<Pid>, BoxError> {
    let failed = |error: io::Error| format!("the background process could not be started: {error}");
    if fs::read_dir("/proc/self/task").map_err(failed)?.count() != 1 {
        return Err("the background process cannot be started by a process of several threads".into());
    }
    // It would be printed twice.
    io::stdout().flush()?;
    // SAFETY: this process has one thread, as was just seen: the child is a whole copy of it, with no lock held by a thread that
    // is not there, and may do whatever this one may (fork(2)).
    match unsafe { libc::fork() } {
        -1 => Err(failed(io::Error::last_os_error()).into()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// Frees the background process of the terminal that it was started at, and of its output.
fn detach(log: &File) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    log_to(log)
}

fn log_to(log: &File) -> io::Result<()> {
    rustix::stdio::dup2_stdout(log)?;
    rustix::stdio::dup2_stderr(log)?;
    Ok(())
}

/// A mount that lives for months keeps its log short, and follows when another mount of the same folders put it aside.
fn keep_short(path: PathBuf) -> io::Result<()> {
    let look = move || {
        loop {
            thread::sleep(LOOKED_AT_AGAIN);
            if let Err(error) = renew(&path, io::stderr(), log_to) {
                tracing::warn!(%error, "the log could not be put aside");
            }
        }
    };
    thread::Builder::new().name("cogfs-log".to_owned()).spawn(look).map(drop)
}

/// Puts a long log aside, and has its successor written where the present one is not that.
fn renew(path: &Path, present: impl AsFd, write_to: impl Fn(&File) -> io::Result<()>) -> Result<(), BoxError> {
    let log = open_log(path)?;
    let (new, old) = (rustix::fs::fstat(&log)?, rustix::fs::fstat(present)?);
    if (new.st_dev, new.st_ino) != (old.st_dev, old.st_ino) {
        write_to(&log)?;
    }
    Ok(())
}

fn open_log(path: &Path) -> Result<File, BoxError> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    rotate(path)?;
    let mut options = OpenOptions::new();
    // Titles and paths of private conversations may be in it.
    options.append(true).create(true).read(true).mode(0o600);
    options.open(path).map_err(|error| format!("the log {} could not be opened: {error}", path.display()).into())
}

/// A log that has become long is put aside, under numbers that grow with age; the oldest is removed.
fn rotate(path: &Path) -> io::Result<()> {
    if fs::metadata(path).map_or(0, |meta| meta.len()) < LONG_LOG {
        return Ok(());
    }
    let numbered = |number: usize| PathBuf::from(format!("{}.{number}", path.display()));
    for number in (1..OLD_LOGS).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

/// The kernel asks for the root's attributes once; whoever comes next asks for nothing else before.
fn check_answers(dir: &Path) -> Result<(), BoxError> {
    fs::metadata(dir).map(drop).map_err(|error| {
        format!("mounted on {0}, but it does not answer as it should ({error}): `cogfs unmount {0}`", dir.display())
            .into()
    })
}

fn death_notice(status: &str, log_path: &Path, log_start: u64) -> String {
    let log = read_from(log_path, log_start).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
    let told = if tail.is_empty() { "; it logged nothing".to_owned() } else { format!(":\n  {tail}") };
    format!("the background process died ({status}), see {}{told}", log_path.display())
}

fn read_from(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        mount: MountArgs,
    }

    #[test]
    fn the_inner_flag_is_not_in_the_help_but_is_understood() {
        let help = Program::command().render_long_help().to_string();
        assert!(help.contains("--allow-other") && help.contains("--foreground"), "{help}");
        assert!(!help.contains("log-file"), "{help}");
        let args = Program::parse_from(["mount", "/m", "--log-file", "/l"]).mount;
        assert_eq!(args.log_file, Some(PathBuf::from("/l")));
    }

    #[test]
    fn the_starter_is_told_what_was_done_for_the_mount() {
        for (created, cleared_dead) in [(true, false), (false, true)] {
            let dir = OsString::from_vec(b"/m/not \xff UTF-8\n".to_vec()).into();
            let prepared = Prepared { dir, created, cleared_dead };
            assert_eq!(read_ready_message(&ready_message(&prepared)), Some(prepared));
        }
        assert_eq!(read_ready_message(b"error: ok00/m"), None);
        assert_eq!(read_ready_message(b""), None);
    }

    #[test]
    fn a_process_of_several_threads_does_not_fork() {
        let (stay, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv());
        assert!(fork().unwrap_err().to_string().contains("several threads"));
        drop(stay);
        let _ = other.join();
    }

    #[test]
    fn a_death_is_told_with_the_last_new_lines_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let old = "old\n";
        let new: String = (1..=12).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, format!("{old}{new}")).unwrap();
        let text = death_notice("signal: 9", &path, old.len() as u64);
        assert!(text.contains("signal: 9") && text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("line 3\n") && text.ends_with("line 12"), "{text}");
        assert!(!text.contains("old") && !text.contains("line 2\n"), "{text}");
        assert!(death_notice("exit", &path, 1_000).ends_with("it logged nothing"));
    }

    #[test]
    fn a_long_log_is_put_aside_and_three_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mount.log");
        rotate(&path).unwrap();
        for round in 0..5_u8 {
            fs::write(&path, vec![b'a' + round; usize::try_from(LONG_LOG).unwrap()]).unwrap();
            rotate(&path).unwrap();
            assert!(!path.exists());
        }
        let first = |number| fs::read(dir.path().join(format!("mount.log.{number}"))).unwrap()[0];
        assert_eq!([1, 2, 3].map(first), [b'e', b'd', b'c']);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_log_that_was_put_aside_is_followed_by_every_mount_that_writes_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mount.log");
        let written = std::cell::RefCell::new([open_log(&path).unwrap(), open_log(&path).unwrap()]);
        let look = |mount: usize| {
            let present = written.borrow()[mount].try_clone().unwrap();
            let changed = std::cell::Cell::new(false);
            renew(&path, present, |log| {
                changed.set(true);
                written.borrow_mut()[mount] = log.try_clone()?;
                Ok(())
            })
            .unwrap();
            changed.get()
        };
        assert!(!look(0) && !look(1), "it is short");
        written.borrow_mut()[0].write_all(&vec![b'a'; usize::try_from(LONG_LOG).unwrap()]).unwrap();
        assert!(look(0) && look(1), "one puts it aside, the other follows");
        written.borrow_mut()[1].write_all(b"new").unwrap();
        assert!(!look(0) && !look(1));
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn an_end_while_in_use_names_the_users() {
        let how = Unmounted::Lazy { users: vec!["bash (12)".to_owned()] };
        let text = farewell(Path::new("/m"), &Ended::Signal { signal: 15, how });
        assert_eq!(text, "Unmounted /m, which was still used by bash (12)");
    }
}
