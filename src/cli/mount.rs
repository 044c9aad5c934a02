//! `cogfs mount`: in the foreground, or in a background process that outlives the terminal.
//!
//! The background process is this program run again with the same arguments and a pipe to say "ok" or why not: a fork without
//! exec would leave threads, locks and database connections in an unknown state.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, PipeWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::io::FdFlags;
use serde::Serialize;

use crate::follow::{self, Follower, News};
use crate::fs::CogFs;
use crate::fuse::{self, Ended, MountOptions, Mounted, Prepared, StopSignals, Unmounted};
use crate::render::{FollowState, Following};

/// What a command fails with: its text is for the user.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What the background process writes when the mount stands.
const READY: &str = "ok\n";
/// What it writes in front of the reason when it does not.
const FAILED: &str = "error: ";
const READY_FD: &str = "--ready-fd";
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
    /// Refuse every change (the tree of this version is always read-only)
    #[arg(long)]
    pub read_only: bool,
    /// Let other users of this machine in; needs `user_allow_other` in /etc/fuse.conf
    #[arg(long)]
    pub allow_other: bool,
    /// Do not follow the agents' logs: show what is imported otherwise
    #[arg(long)]
    pub no_watch: bool,
    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
    /// The pipe on which the process that started this one in the background waits.
    #[arg(long, hide = true, value_name = "FD")]
    pub ready_fd: Option<RawFd>,
    /// Where the background process writes its messages.
    #[arg(long, hide = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

impl MountArgs {
    fn options(&self) -> MountOptions {
        MountOptions { read_only: self.read_only, allow_other: self.allow_other }
    }
}

/// The filesystem to be mounted, and what to follow meanwhile.
pub struct Serving {
    pub fs: Arc<CogFs>,
    pub follow: Option<follow::Options>,
}

/// Makes the filesystem to be mounted; called in the process that serves it.
pub type MakeFs<'a> = &'a dyn Fn() -> Result<Serving, BoxError>;

/// Runs `cogfs mount`. `log_file` is where a background process writes, unless the arguments say otherwise.
///
/// # Errors
/// When it could not be mounted; the text says why and what to do.
pub fn run(args: &MountArgs, log_file: &Path, make_fs: MakeFs<'_>) -> Result<(), BoxError> {
    match args.ready_fd {
        Some(fd) => serve_in_background(args, fd, make_fs),
        None if args.foreground => serve_in_foreground(args, make_fs),
        None => start_background(args, args.log_file.as_deref().unwrap_or(log_file)),
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
    mounted: Mounted,
    signals: StopSignals,
}

impl Served {
    fn start(args: &MountArgs, make_fs: MakeFs<'_>) -> Result<Self, BoxError> {
        let serving = make_fs()?;
        let signals = StopSignals::install()?;
        let follower =
            serving.follow.filter(|_| !args.no_watch).and_then(|options| start_follower(&serving.fs, options));
        serving.fs.show();
        let mounted = fuse::mount(serving.fs, &args.dir, args.options())?;
        Ok(Self { follower, mounted, signals })
    }

    fn wait(self) -> Result<Ended, BoxError> {
        let ended = self.mounted.wait(self.signals);
        drop(self.follower);
        Ok(ended?)
    }
}

/// A mount without a follower is worth having: it shows what is imported otherwise.
fn start_follower(fs: &Arc<CogFs>, options: follow::Options) -> Option<Follower> {
    fs.set_following(Following { state: FollowState::Following, problem: None });
    let told = Arc::clone(fs);
    let follower = Follower::start(options, Arc::new(move |news| told.set_following(following(news, &told))));
    if let Err(error) = &follower {
        tracing::error!(%error, "the logs are not followed");
        fs.set_following(Following { state: FollowState::Off, problem: Some(error.to_string()) });
    }
    follower.ok()
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
    // Before anything is opened: what is wrong with the directory is found at once.
    let prepared = fuse::prepare(&args.dir, args.options())?;
    let served = Served::start(args, make_fs)?;
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
fn serve_in_background(args: &MountArgs, fd: RawFd, make_fs: MakeFs<'_>) -> Result<(), BoxError> {
    let mut starter = take_pipe(fd)?;
    match Served::start(args, make_fs) {
        Ok(served) => {
            // The starter may have been interrupted; the mount is wanted all the same.
            let _ = starter.write_all(READY.as_bytes());
            drop(starter);
            // Not to keep whatever filesystem this was started in from being unmounted.
            std::env::set_current_dir("/")?;
            served.wait()?;
            Ok(())
        }
        Err(error) => {
            let _ = write!(starter, "{FAILED}{error}");
            Err(error)
        }
    }
}

fn take_pipe(fd: RawFd) -> Result<File, BoxError> {
    if fd <= libc::STDERR_FILENO {
        return Err(format!("{READY_FD} {fd} is not a pipe to report on").into());
    }
    // SAFETY: only looked at; a number that is no open descriptor is refused by the kernel (EBADF).
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    // Also keeps fusermount3, started later, from holding the pipe open.
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC).map_err(|error| format!("{READY_FD} {fd}: {error}"))?;
    // SAFETY: it is open, was passed for this use alone by the process that started this one, and nothing else closes it.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Starts the background process and waits until its mount answers.
fn start_background(args: &MountArgs, log_path: &Path) -> Result<(), BoxError> {
    let prepared = fuse::prepare(&args.dir, args.options())?;
    let mut log = open_log(log_path)?;
    let log_start = log.seek(SeekFrom::End(0))?;
    let (mut reader, writer) = io::pipe()?;
    let mut command = background_command(writer, &log)?;
    let mut child = command.spawn().map_err(|error| format!("the background process could not be started: {error}"))?;
    // The command holds this process's end of the pipe, which would keep it open.
    drop(command);
    let mut message = Vec::new();
    reader.read_to_end(&mut message)?;
    let message = String::from_utf8_lossy(&message);
    if message == READY {
        check_answers(&prepared.dir)?;
        Report::new(&prepared, child.id(), Some(log_path)).print(args.json, "")?;
        return Ok(());
    }
    let status = child.wait()?;
    match message.strip_prefix(FAILED) {
        Some(reason) => Err(reason.to_owned().into()),
        None => Err(death_notice(&status.to_string(), log_path, log_start).into()),
    }
}

fn open_log(path: &Path) -> Result<File, BoxError> {
    if let Some(dir) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut options = OpenOptions::new();
    // Titles and paths of private conversations may be in it.
    options.append(true).create(true).read(true).mode(0o600);
    options.open(path).map_err(|error| format!("the log {} could not be opened: {error}", path.display()).into())
}

fn background_command(writer: PipeWriter, log: &File) -> Result<Command, BoxError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(with_ready_fd(std::env::args_os().skip(1).collect(), writer.as_raw_fd()));
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let detach = move || {
        rustix::process::setsid()?;
        rustix::io::fcntl_setfd(&writer, FdFlags::empty())?;
        Ok(())
    };
    // SAFETY: between fork and exec only two system calls are made, nothing is allocated and no lock is taken.
    unsafe { command.pre_exec(detach) };
    Ok(command)
}

/// The arguments this process was given, with the pipe in front of a `--`, after which it would be taken for a path.
fn with_ready_fd(mut args: Vec<OsString>, fd: RawFd) -> Vec<OsString> {
    let end = args.iter().position(|arg| arg == OsStr::new("--")).unwrap_or(args.len());
    args.splice(end..end, [OsString::from(READY_FD), OsString::from(fd.to_string())]);
    args
}

fn check_answers(dir: &Path) -> Result<(), BoxError> {
    fs::metadata(dir.join("README.md")).map(drop).map_err(|error| {
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

    fn os(args: &[&str]) -> Vec<OsString> {
        args.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_inner_flags_are_not_in_the_help_but_are_understood() {
        let help = Program::command().render_long_help().to_string();
        assert!(help.contains("--allow-other") && help.contains("--foreground"), "{help}");
        assert!(!help.contains("ready-fd") && !help.contains("log-file"), "{help}");
        let args = Program::parse_from(["mount", "/m", "--ready-fd", "7", "--log-file", "/l"]).mount;
        assert_eq!((args.ready_fd, args.log_file), (Some(7), Some(PathBuf::from("/l"))));
    }

    #[test]
    fn the_pipe_is_passed_in_front_of_a_double_dash() {
        assert_eq!(with_ready_fd(os(&["mount", "/m"]), 5), os(&["mount", "/m", "--ready-fd", "5"]));
        assert_eq!(with_ready_fd(os(&["mount", "--", "-m"]), 5), os(&["mount", "--ready-fd", "5", "--", "-m"]));
    }

    #[test]
    fn a_descriptor_that_is_no_pipe_is_refused() {
        assert!(take_pipe(1).is_err());
        assert!(take_pipe(987_654).unwrap_err().to_string().contains("987654"));
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
    fn an_end_while_in_use_names_the_users() {
        let how = Unmounted::Lazy { users: vec!["bash (12)".to_owned()] };
        let text = farewell(Path::new("/m"), &Ended::Signal { signal: 15, how });
        assert_eq!(text, "Unmounted /m, which was still used by bash (12)");
    }
}
