//! `docs/SEMANTICS.md` is true: its examples are run on a mount of the demo and its table of operations is gone through.

mod common;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{ClaudeLog, Mount, World};
use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, SeekFrom, XattrFlags};
use rustix::io::Errno;

const DOCUMENT: &str = include_str!("../docs/SEMANTICS.md");

/// Programs that an example may need and a machine may lack.
const OPTIONAL: [&str; 3] = ["rg", "python3", "cmp"];

/// A command of the document and what it is to print; lines are counted from 1.
struct Example {
    line: usize,
    command: String,
    expected: Vec<String>,
}

/// The examples in the fenced blocks marked `console`.
fn examples(document: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    // The marks that close a block, and whether it is one of examples: one that shows marks has longer ones.
    let mut fence: Option<(&str, bool)> = None;
    let mut fresh = true;
    for (line, text) in (1..).zip(document.lines()) {
        let info = text.trim_start_matches('`');
        let marks = &text[..text.len() - info.len()];
        match fence {
            None if marks.len() >= 3 => (fence, fresh) = (Some((marks, info == "console")), true),
            Some((open, _)) if open == text => fence = None,
            Some((_, true)) => take(&mut found, line, text, &mut fresh),
            _ => {}
        }
    }
    assert!(fence.is_none(), "a block is not closed");
    found
}

/// Takes a line of an example: a command, or a line that the last one prints.
fn take(found: &mut Vec<Example>, line: usize, text: &str, fresh: &mut bool) {
    if let Some(command) = text.strip_prefix("$ ") {
        found.push(Example { line, command: command.to_owned(), expected: Vec::new() });
        *fresh = false;
    } else {
        assert!(!*fresh, "line {line}: a block begins with a command");
        found.last_mut().unwrap().expected.push(text.to_owned());
    }
}

/// Whether lines are as expected: `...` stands for any lines.
fn lines_match(expected: &[String], printed: &[&str]) -> bool {
    match (expected.split_first(), printed.split_first()) {
        (None, None) => true,
        (Some((any, rest)), _) if any == "..." => (0..=printed.len()).any(|skip| lines_match(rest, &printed[skip..])),
        (Some((pattern, expected)), Some((line, printed))) => {
            line_matches(pattern, line) && lines_match(expected, printed)
        }
        _ => false,
    }
}

/// Whether a line is as expected: `…` stands for any text.
fn line_matches(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('…') else { return pattern == line };
    let Some(line) = line.strip_prefix(start) else { return false };
    let mut ends = line.char_indices().map(|(at, _)| at).chain([line.len()]);
    ends.any(|at| line_matches(rest, &line[at..]))
}

/// What an example prints on both outputs, run in the mount.
fn run(example: &Example, world: &World, mount: &Path) -> String {
    let bin = Path::new(env!("CARGO_BIN_EXE_cogfs")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([bin.to_owned()].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let script = format!("exec 2>&1\n{}", example.command);
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).current_dir(mount).env("MOUNT", mount).env("PATH", path).env("TZ", "UTC");
    command.env("LC_ALL", "C.UTF-8").env("COGFS_HOME", world.home()).env("HOME", world.root().join("user"));
    command.env("LOGS", common::demo_logs());
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

fn demo() -> World {
    let world = World::new();
    world.import(&[&common::demo_logs()]);
    world
}

#[test]
fn the_examples_print_what_the_document_says() {
    needs_fuse!();
    let world = demo();
    let mount = Mount::new(&world);
    let examples = examples(DOCUMENT);
    assert!(examples.len() >= 20, "only {} examples found", examples.len());
    let mut wrong = String::new();
    for example in &examples {
        let mut words = example.command.split(|c: char| !c.is_alphanumeric());
        if let Some(missing) = words.find(|word| OPTIONAL.contains(word) && !common::has_program(word)) {
            common::skipped(&format!("no {missing} for the example in line {}", example.line));
            continue;
        }
        let printed = run(example, &world, mount.dir());
        let printed: Vec<&str> = printed.lines().collect();
        if !lines_match(&example.expected, &printed) {
            writeln!(wrong, "\ndocs/SEMANTICS.md:{}: $ {}", example.line, example.command).unwrap();
            for line in &example.expected {
                writeln!(wrong, "  expected  {line}").unwrap();
            }
            for line in printed {
                writeln!(wrong, "  printed   {line}").unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn dots_in_an_expectation_stand_for_anything_and_nothing_else_does() {
    let owned = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    assert!(line_matches("a…c…", "abbc") && line_matches("…", "") && line_matches("2026-…_x", "2026-08_x"));
    assert!(!line_matches("a…c", "abcd") && !line_matches("abc", "abcd") && !line_matches("a", ""));
    assert!(lines_match(&owned(&["a", "...", "d"]), &["a", "b", "c", "d"]));
    assert!(lines_match(&owned(&["...", "d"]), &["d"]) && lines_match(&[], &[]));
    assert!(!lines_match(&owned(&["a", "...", "d"]), &["a", "b"]) && !lines_match(&[], &["a"]));
}

// --- the table of operations ---------------------------------------------------------------------------------------------

/// The rows of the table whose first column is headed "operation": what it says, where, and the promised result.
fn promised(document: &str) -> BTreeMap<String, (usize, String)> {
    let mut rows = BTreeMap::new();
    let mut inside = false;
    for (line, text) in (1..).zip(document.lines()) {
        let cells: Vec<&str> = text.trim_matches('|').split('|').map(str::trim).collect();
        inside = text.starts_with('|') && (inside || cells[0] == "operation");
        if inside && cells[0] != "operation" && !cells[0].starts_with("---") {
            let result = cells[1].trim_matches('`').to_owned();
            assert!(rows.insert(cells[0].to_owned(), (line, result)).is_none(), "line {line}: named twice");
        }
    }
    rows
}

fn name(error: &io::Error) -> String {
    let names = [
        ("EACCES", Errno::ACCESS),
        ("EBADF", Errno::BADF),
        ("EEXIST", Errno::EXIST),
        ("EINVAL", Errno::INVAL),
        ("EIO", Errno::IO),
        ("EISDIR", Errno::ISDIR),
        ("ENAMETOOLONG", Errno::NAMETOOLONG),
        ("ENODATA", Errno::NODATA),
        ("ENOENT", Errno::NOENT),
        ("ENOTCONN", Errno::NOTCONN),
        ("ENOTDIR", Errno::NOTDIR),
        ("ENOTSUP", Errno::NOTSUP),
        ("ENOTTY", Errno::NOTTY),
        ("ENOTEMPTY", Errno::NOTEMPTY),
        ("EBUSY", Errno::BUSY),
        ("ELOOP", Errno::LOOP),
        ("ENXIO", Errno::NXIO),
        ("EPERM", Errno::PERM),
        ("EROFS", Errno::ROFS),
        ("EXDEV", Errno::XDEV),
    ];
    let code = error.raw_os_error();
    names
        .iter()
        .find(|(_, errno)| Some(errno.raw_os_error()) == code)
        .map_or(error.to_string(), |(n, _)| (*n).to_owned())
}

type Outcome = io::Result<()>;

/// What the operations are tried on.
struct Subject {
    /// A regular file, opened for reading.
    path: PathBuf,
    file: File,
    dir: PathBuf,
    link: PathBuf,
    outside: PathBuf,
}

impl Subject {
    fn new(world: &World, mount: &Mount<'_>) -> Self {
        let path = mount.path("README.md");
        Self {
            file: File::open(&path).unwrap(),
            path,
            dir: mount.path("projects"),
            link: mount.path("projects/plantshop/latest"),
            outside: world.root().join("outside"),
        }
    }

    fn absent(&self) -> PathBuf {
        self.dir.join("no-such-name")
    }

    /// Everything that can be tried, by the name the document has for it.
    fn operations(&self) -> Vec<(&'static str, Outcome)> {
        let mut all = self.reading();
        all.extend(self.opening());
        all.extend(self.changing_names());
        all.extend(self.changing_attributes());
        all.extend(self.on_descriptors());
        all
    }

    fn reading(&self) -> Vec<(&'static str, Outcome)> {
        let long = self.dir.join("x".repeat(256));
        let mut byte = [0];
        vec![
            ("lookup, stat", fs::symlink_metadata(&self.path).map(drop)),
            ("lookup of a name that is not there", fs::symlink_metadata(self.absent()).map(drop)),
            ("lookup of a name over 255 bytes", fs::symlink_metadata(long).map(drop)),
            ("lookup below a file", fs::symlink_metadata(self.path.join("x")).map(drop)),
            ("getattr of an open file", self.file.metadata().map(drop)),
            ("readlink", fs::read_link(&self.link).map(drop)),
            ("readlink of what is no link", fs::read_link(&self.path).map(drop)),
            ("readdir", fs::read_dir(&self.dir).map(drop)),
            ("readdir of a file", fs::read_dir(&self.path).map(drop)),
            ("read", (&self.file).read(&mut byte).map(drop)),
            ("read of a directory", File::open(&self.dir).and_then(|mut d| d.read(&mut byte)).map(drop)),
            ("statfs", rustix::fs::statvfs(&self.path).map(drop).map_err(Into::into)),
            ("access for reading", access(&self.path, Access::READ_OK)),
            ("access for writing", access(&self.path, Access::WRITE_OK)),
            ("access for executing a file", access(&self.path, Access::EXEC_OK)),
            ("access for entering a directory", access(&self.dir, Access::EXEC_OK)),
            ("exec", Command::new(&self.path).output().map(drop)),
        ]
    }

    fn opening(&self) -> Vec<(&'static str, Outcome)> {
        let open = |options: &OpenOptions| options.open(&self.path).map(drop);
        let flagged = |flags: i32| OpenOptions::new().read(true).custom_flags(flags).open(&self.path).map(drop);
        vec![
            ("open for reading", open(OpenOptions::new().read(true))),
            ("open for reading, `O_DIRECT`", flagged(libc::O_DIRECT)),
            ("open for writing", open(OpenOptions::new().write(true))),
            ("open for appending", open(OpenOptions::new().append(true))),
            ("open with `O_TRUNC`", open(OpenOptions::new().write(true).truncate(true))),
            ("open of a directory for writing", OpenOptions::new().write(true).open(&self.dir).map(drop)),
            ("create", File::create(self.absent()).map(drop)),
            ("create of a name that is there, `O_EXCL`", File::create_new(&self.path).map(drop)),
            (
                "create without a name, `O_TMPFILE`",
                OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE).open(&self.dir).map(drop),
            ),
        ]
    }

    fn changing_names(&self) -> Vec<(&'static str, Outcome)> {
        let absent = self.absent();
        let fifo = rustix::fs::mknodat(CWD, &absent, rustix::fs::FileType::Fifo, Mode::RUSR, 0);
        vec![
            ("mkdir", fs::create_dir(&absent)),
            ("mkdir of a name that is there", fs::create_dir(&self.dir)),
            ("mknod", fifo.map_err(Into::into)),
            ("unlink", fs::remove_file(&self.path)),
            ("rmdir", fs::remove_dir(&self.dir)),
            ("rename", fs::rename(&self.path, &absent)),
            ("rename to another filesystem", fs::rename(&self.path, &self.outside)),
            ("symlink", std::os::unix::fs::symlink("README.md", &absent)),
            ("link", fs::hard_link(&self.path, &absent)),
            ("link to another filesystem", fs::hard_link(&self.path, &self.outside)),
        ]
    }

    fn changing_attributes(&self) -> Vec<(&'static str, Outcome)> {
        let path = self.path.as_path();
        let owner = rustix::process::geteuid().as_raw();
        let now = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        let c_path = CString::new(path.as_os_str().as_bytes()).unwrap();
        // SAFETY: a string that ends in a NUL and lives until the call is over.
        let truncated = unsafe { libc::truncate(c_path.as_ptr(), 0) };
        let mut value = [0u8; 64];
        vec![
            ("truncate", if truncated == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }),
            ("chmod", fs::set_permissions(path, fs::Permissions::from_mode(0o600))),
            ("chown", std::os::unix::fs::chown(path, Some(owner), None)),
            ("utimens", rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).map_err(Into::into)),
            ("setxattr", rustix::fs::setxattr(path, "user.x", b"1", XattrFlags::empty()).map_err(Into::into)),
            ("removexattr", rustix::fs::removexattr(path, "user.x").map_err(Into::into)),
            ("getxattr", rustix::fs::getxattr(path, "user.x", &mut value[..]).map(drop).map_err(Into::into)),
            ("listxattr", rustix::fs::listxattr(path, &mut value[..]).map(drop).map_err(Into::into)),
        ]
    }

    fn on_descriptors(&self) -> Vec<(&'static str, Outcome)> {
        let fd = self.file.as_fd();
        let size = self.file.metadata().unwrap().len();
        let lock = |how| rustix::fs::flock(fd, how).map_err(Into::into);
        let seek = |to| rustix::fs::seek(fd, to).map(drop).map_err(Into::into);
        let dir = File::open(&self.dir).unwrap();
        vec![
            ("fsync", self.file.sync_all()),
            ("fsync of a directory", dir.sync_all()),
            ("flock, shared", lock(FlockOperation::NonBlockingLockShared)),
            ("flock, exclusive", lock(FlockOperation::NonBlockingLockExclusive)),
            ("ioctl", terminal_settings(&self.file)),
            ("lseek with `SEEK_DATA`", seek(SeekFrom::Data(0))),
            ("lseek with `SEEK_HOLE`", seek(SeekFrom::Hole(0))),
            ("lseek with `SEEK_HOLE` behind the end", seek(SeekFrom::Hole(size))),
            ("mmap, private", map(&self.file, libc::MAP_PRIVATE, libc::PROT_READ | libc::PROT_WRITE)),
            ("mmap, shared, for reading", map(&self.file, libc::MAP_SHARED, libc::PROT_READ)),
            ("mmap, shared, for writing", map(&self.file, libc::MAP_SHARED, libc::PROT_READ | libc::PROT_WRITE)),
        ]
    }
}

fn access(path: &Path, how: Access) -> Outcome {
    Ok(rustix::fs::accessat(CWD, path, how, AtFlags::empty())?)
}

fn last_error_unless(done: bool) -> Outcome {
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A request that no file answers: what `isatty` asks.
fn terminal_settings(file: &File) -> Outcome {
    let mut settings = std::mem::MaybeUninit::<libc::termios>::uninit();
    // SAFETY: the kernel writes at most one `termios` there, and nothing reads it.
    last_error_unless(unsafe { libc::ioctl(file.as_raw_fd(), libc::TCGETS, settings.as_mut_ptr()) } == 0)
}

/// Maps a page of a file and gives it back.
fn map(file: &File, how: i32, rights: i32) -> Outcome {
    const PAGE: usize = 4096;
    // SAFETY: a new mapping at a place of the kernel's choice, which nothing but this function knows of.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), PAGE, rights, how, file.as_raw_fd(), 0);
        last_error_unless(at != libc::MAP_FAILED)?;
        last_error_unless(libc::munmap(at, PAGE) == 0)
    }
}

#[test]
fn every_operation_ends_as_the_table_says_on_a_mount_for_reading() {
    needs_fuse!();
    let world = demo();
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--read-only"]);
    let before = fs::read(mount.path("README.md")).unwrap();
    let mut promised = promised(DOCUMENT);
    let mut wrong = String::new();
    for (operation, outcome) in Subject::new(&world, &mount).operations() {
        let result = outcome.map_or_else(|error| name(&error), |()| "ok".to_owned());
        match promised.remove(operation) {
            Some((_, wanted)) if wanted == result => {}
            Some((line, wanted)) => {
                writeln!(wrong, "docs/SEMANTICS.md:{line}: {operation}: {wanted} is promised, it is {result}").unwrap();
            }
            None => writeln!(wrong, "{operation} ({result}) is not in the table").unwrap(),
        }
    }
    for (operation, (line, _)) in promised {
        writeln!(wrong, "docs/SEMANTICS.md:{line}: no test knows how to do: {operation}").unwrap();
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert_eq!(fs::read(mount.path("README.md")).unwrap(), before, "something was changed after all");
}

// --- the table of roles --------------------------------------------------------------------------------------------------

/// The results of a row, with its line.
type Row = (usize, Vec<String>);

/// The rows of the table headed "change", each with its line and a result for every role.
fn promised_by_role(document: &str) -> (Vec<String>, BTreeMap<String, Row>) {
    let (mut roles, mut rows, mut inside) = (Vec::new(), BTreeMap::new(), false);
    for (line, text) in (1..).zip(document.lines()) {
        let cells: Vec<String> =
            text.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect();
        if cells[0] == "change" {
            (roles, inside) = (cells[1..].to_vec(), true);
        } else if inside && text.starts_with('|') && !cells[0].starts_with("---") {
            rows.insert(cells[0].clone(), (line, cells[1..].to_vec()));
        } else {
            inside &= text.starts_with('|');
        }
    }
    (roles, rows)
}

/// One node of each role, by the name that the document has for it.
fn roles(mount: &Mount<'_>) -> Vec<(&'static str, PathBuf)> {
    let find = |id: &str| {
        let path = fs::read_link(mount.path(&format!("by/id/{id}"))).unwrap();
        mount.path("by/id").join(path).canonicalize().unwrap()
    };
    let (commit, moved) = (find("d630c8"), find("d4c4c1"));
    fs::write(commit.join("scratch"), "made beside it").unwrap();
    vec![
        ("made file", commit.join("transcript.md")),
        ("meta.md", commit.join("meta.md")),
        ("scratch file", commit.join("scratch")),
        ("made directory", commit.join("sessions")),
        ("commit", moved),
        ("project", mount.path("projects/plantshop")),
        ("link", mount.path("projects/plantshop/latest")),
        ("ctl", mount.path(".cogfs/ctl")),
    ]
}

type Change = (&'static str, fn(&Path, &Path) -> Outcome);

/// What can be tried on a node; the second path is on another filesystem. Those that take it away are last.
const CHANGES: [Change; 24] = [
    ("open for writing", |path, _| OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path).map(drop)),
    ("write what is there", |path, _| {
        let bytes = fs::read(path)?;
        let file = OpenOptions::new().write(true).open(path)?;
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0)
    }),
    ("fsync", |path, _| OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?.sync_all()),
    ("truncate", |path, _| OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path)?.set_len(7)),
    ("create in it", |path, _| File::create_new(path.join("made")).map(drop)),
    ("create without a name in it", |path, _| {
        OpenOptions::new().write(true).custom_flags(libc::O_TMPFILE | libc::O_NOFOLLOW).open(path).map(drop)
    }),
    ("mkdir in it", |path, _| fs::create_dir(path.join("dir"))),
    ("symlink in it", |path, _| std::os::unix::fs::symlink("x", path.join("link"))),
    ("mknod of a pipe in it", |path, _| {
        Ok(rustix::fs::mknodat(CWD, path.join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0)?)
    }),
    ("create where it is, with O_EXCL", |path, _| File::create_new(path).map(drop)),
    ("mkdir where it is", |path, _| fs::create_dir(path)),
    ("link to it", |path, _| fs::hard_link(path, path.with_file_name("hard"))),
    ("rename onto itself", |path, _| fs::rename(path, path)),
    ("rename into itself", |path, _| fs::rename(path, path.join("x"))),
    ("rename to another filesystem", |path, outside| fs::rename(path, outside)),
    ("rename to the root", |path, _| {
        let root = path.ancestors().find(|dir| dir.ends_with("mnt")).unwrap();
        fs::rename(path, root.join("x"))
    }),
    ("chmod to another mode", |path, _| {
        let mode = rustix::fs::Mode::from_raw_mode(0o640);
        Ok(rustix::fs::chmodat(CWD, path, mode, AtFlags::empty())?)
    }),
    ("chown to its owner", |path, _| {
        let owner = rustix::process::geteuid().as_raw();
        std::os::unix::fs::lchown(path, Some(owner), None)
    }),
    ("chown to another", |path, _| std::os::unix::fs::lchown(path, Some(12_345), None)),
    ("utimens", |path, _| {
        let time = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }),
    ("setxattr", |path, _| Ok(rustix::fs::lsetxattr(path, "user.x", b"1", XattrFlags::empty())?)),
    ("rename beside it", |path, _| fs::rename(path, path.with_file_name("renamed"))),
    ("rmdir", |path, _| fs::remove_dir(path)),
    ("unlink", |path, _| fs::remove_file(path)),
];

#[test]
fn every_change_ends_as_the_table_says_for_every_role() {
    needs_fuse!();
    skip_unless!(common::is_root(), "another owner's rights end in EACCES before a mount is asked");
    let (roles_promised, mut rows) = promised_by_role(DOCUMENT);
    let mut wrong = String::new();
    // A world of its own for each role: what one does to its node changes those below.
    for (at, role) in roles_promised.iter().enumerate() {
        let world = demo();
        let mount = Mount::new(&world);
        let outside = world.root().join("outside");
        let path = roles(&mount).into_iter().find(|(name, _)| name == role).map(|(_, path)| path);
        let mut path = path.unwrap_or_else(|| panic!("{role} is no role"));
        for (change, attempt) in CHANGES {
            let result = attempt(&path, &outside).map_or_else(|error| name(&error), |()| "ok".to_owned());
            if change == "rename beside it" && result == "ok" {
                path = path.with_file_name("renamed");
            }
            match rows.get(change) {
                Some((_, wanted)) if wanted.get(at) == Some(&result) => {}
                Some((line, wanted)) => {
                    let wanted = wanted.get(at).map_or("nothing", String::as_str);
                    writeln!(wrong, "docs/SEMANTICS.md:{line}: {change}: {role}: {wanted} is promised, it is {result}")
                        .unwrap();
                }
                None => writeln!(wrong, "{change}: {role}: ({result}) is not in the table").unwrap(),
            }
        }
    }
    CHANGES.iter().for_each(|(change, _)| drop(rows.remove(*change)));
    rows.into_iter().for_each(|(row, _)| writeln!(wrong, "no test knows how to do: {row}").unwrap());
    assert!(wrong.is_empty() && !roles_promised.is_empty(), "\n{wrong}");
}

// --- what takes more than a command --------------------------------------------------------------------------------------

/// The inode number of every path.
fn numbers(mount: &Mount<'_>) -> BTreeMap<PathBuf, u64> {
    let number = |e: &walkdir::DirEntry| e.path().symlink_metadata().unwrap().ino();
    common::walk(mount.dir()).iter().map(|e| (e.path().to_owned(), number(e))).collect()
}

#[test]
fn inode_numbers_are_each_files_own_and_the_same_after_a_remount() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let before = numbers(&mount);
    let mut own: Vec<&u64> = before.values().collect();
    own.sort_unstable();
    own.dedup();
    assert_eq!(own.len(), before.len(), "two paths share an inode number");
    mount.unmount();
    assert_eq!(numbers(&Mount::new(&world)), before);
}

#[test]
fn a_directory_lists_each_name_once() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let entries = common::walk(mount.dir());
    for pair in entries.windows(2) {
        assert_ne!(pair[0].path(), pair[1].path(), "listed twice");
    }
}

/// The raw records of a world's only session.
fn raw(mount: &Mount<'_>) -> Vec<u8> {
    let dirs = common::session_dirs(mount.dir());
    assert_eq!(dirs.len(), 1);
    fs::read(dirs[0].join("raw.jsonl")).unwrap()
}

#[test]
fn raw_records_stand_byte_for_byte_and_one_a_line() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("plain", 1);
    log.user("One.").assistant("Two.").user("Three.").assistant("Four.").user("Five.");
    let l: Vec<&str> = log.lines.iter().map(String::as_str).collect();
    // A blank line, a line that white space fills, a carriage return, two records on a line, a broken one, no last newline.
    let bytes = format!("{}\r\n\n  \n{}{}\n{}\n{{\"broken\": \n{}", l[0], l[1], l[2], l[3], l[4]);
    let path = log.write_bytes(&world.logs(), bytes.as_bytes());
    world.try_import(&[&path]).exits(3);
    let wanted = format!("{}\r\n{}\n{}\n{}\n{{\"broken\": \n{}\n", l[0], l[1], l[2], l[3], l[4]);
    let mount = Mount::new(&world);
    assert_eq!(String::from_utf8(raw(&mount)).unwrap(), wanted);
}

#[test]
fn a_line_over_128_mib_makes_no_turn_and_is_kept_and_told() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("long", 1);
    log.user("Before.").assistant("After.");
    let path = log.write_bytes(&world.logs(), format!("{}\n", log.lines[0]).as_bytes());
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let start = file.metadata().unwrap().len();
    // A hole in the file, which takes no room on the disk, reads as one long line of zeros.
    let end = start + 128 * 1024 * 1024 + 1;
    file.set_len(end).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, format!("\n{}\n", log.lines[1]).as_bytes(), end).unwrap();
    let skipped = world.try_import(&[&path]).exits(3).json()["skipped"].to_string();
    assert!(skipped.contains("128 MiB"), "{skipped}");
    let mount = Mount::new(&world);
    assert!(raw(&mount) == fs::read(&path).unwrap(), "raw.jsonl is not the log");
    assert_eq!(common::turn_files(mount.dir()).len(), 2);
}

#[test]
fn a_turns_text_keeps_the_newlines_it_ends_in() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("ends", 1);
    log.user("None at the end").user("One\n").user("Three\n\n\n");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let mount = Mount::new(&world);
    let files = common::turn_files(mount.dir());
    let texts: Vec<String> = files.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let bodies: Vec<&str> = texts.iter().map(|text| text.split_once("\n\n").unwrap().1).collect();
    assert_eq!(bodies, ["None at the end\n", "One\n", "Three\n\n\n"]);
}

#[test]
fn a_fork_shows_its_own_turns_and_its_whole_log_and_a_mere_copy_is_not_shown() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("forked", 1);
    log.user("First question.").assistant("First answer.");
    let copy = |number: u32| {
        let mut copy = ClaudeLog::new("forked", number);
        copy.lines = log.lines.iter().map(|line| line.replace(log.session(), copy.session())).collect();
        copy
    };
    let mut fork = copy(2);
    fork.user("Second question.");
    for log in [&log, &fork, &copy(3)] {
        world.import(&[&log.write(&world.logs())]);
    }
    let mount = Mount::new(&world);
    let names = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        common::turn_files(mount.dir()).iter().map(names).collect::<Vec<_>>(),
        ["0001-user.md", "0002-assistant.md", "0001-user.md"]
    );
    let dirs = common::session_dirs(mount.dir());
    let logs: Vec<String> = dirs.iter().map(|dir| fs::read_to_string(dir.join("raw.jsonl")).unwrap()).collect();
    assert_eq!(logs, [log.lines.join("\n") + "\n", fork.lines.join("\n") + "\n"]);
}
