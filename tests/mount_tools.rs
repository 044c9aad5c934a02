//! The programs people have see the same files: each one's result is compared with plain reads of the mount.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Mount, World, must, stdout_of};

/// The contents of every file by its path below `dir`, without the control directory (its status may change at any time).
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    common::files(dir)
        .into_iter()
        .map(|path| (path.strip_prefix(dir).unwrap().to_owned(), path))
        .filter(|(relative, _)| !relative.starts_with(".cogfs"))
        .map(|(relative, path)| (relative, fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))))
        .collect()
}

/// The paths below `dir`, in the form `find -printf '%P\n'` prints them.
fn names(dir: &Path) -> BTreeSet<String> {
    common::walk(dir).iter().map(|e| e.path().strip_prefix(dir).unwrap().to_str().unwrap().to_owned()).collect()
}

fn assert_same(what: &str, found: &BTreeMap<PathBuf, Vec<u8>>, wanted: &BTreeMap<PathBuf, Vec<u8>>) {
    let paths = |map: &BTreeMap<PathBuf, Vec<u8>>| map.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(paths(found), paths(wanted), "{what}: the files");
    for (path, bytes) in wanted {
        assert!(found[path] == *bytes, "{what}: {} differs", path.display());
    }
}

/// Declares a test that runs on a mount of the samples, where the named program is installed.
macro_rules! on_samples {
    ($name:ident, $program:literal, $body:expr) => {
        #[test]
        fn $name() {
            needs_fuse!();
            skip_unless!(common::has_program($program), concat!("no ", $program));
            let world = World::with_samples();
            let mount = Mount::new(&world);
            let body: fn(&World, &Mount) = $body;
            body(&world, &mount);
        }
    };
}

#[test]
fn sizes_in_stat_are_the_bytes_that_reading_gives() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    let files = contents(mount.dir());
    assert!(files.len() > 100, "only {} files in the mount", files.len());
    for (path, bytes) in files {
        let meta = fs::symlink_metadata(mount.dir().join(&path)).unwrap();
        assert_eq!(meta.len(), bytes.len() as u64, "{}", path.display());
        assert!(bytes.is_empty() || meta.blocks() > 0, "{} has no blocks: du would count nothing", path.display());
    }
}

#[test]
fn everything_is_the_owners_alone_and_writable_where_something_can_be_changed() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::new(&world);
    for entry in common::walk(mount.dir()) {
        let meta = entry.path().symlink_metadata().unwrap();
        let mode = meta.permissions().mode() & 0o7777;
        let path = entry.path().strip_prefix(mount.dir()).unwrap();
        let wanted = match (meta.is_dir(), path.to_str().unwrap()) {
            (true, ".cogfs/drafts" | ".cogfs/trash" | "search") => 0o700,
            (true, path) => {
                if path.starts_with("projects") {
                    0o700
                } else {
                    0o500
                }
            }
            (false, ".cogfs/ctl") => 0o600,
            (false, path) => {
                if path.ends_with("/meta.md") {
                    0o600
                } else if path.ends_with("/resume.sh") {
                    0o500
                } else {
                    0o400
                }
            }
        };
        assert!(meta.is_symlink() || mode == wanted, "{}: {mode:o}", entry.path().display());
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "owner of {}", entry.path().display());
        assert_eq!(meta.gid(), rustix::process::getegid().as_raw(), "group of {}", entry.path().display());
    }
}

#[test]
fn times_are_those_of_the_record_and_never_now() {
    needs_fuse!();
    let world = World::new();
    world.import(&[&common::demo_logs()]);
    let mount = Mount::new(&world);
    // The demo's records are all of the time before it was written, and each has a time.
    for path in common::turn_files(mount.dir()) {
        let modified = chrono::DateTime::from_timestamp(fs::metadata(&path).unwrap().mtime(), 0).unwrap();
        let date = modified.format("%Y-%m-%d").to_string();
        assert!(("2025-07-01".."2026-09-01").contains(&date.as_str()), "{}: {date}", path.display());
    }
}

#[test]
fn a_mount_for_reading_refuses_writes_as_a_read_only_filesystem() {
    needs_fuse!();
    let world = World::with_samples();
    let dir = world.root().join("mnt-ro");
    let mount = Mount::with(&world, &dir, &["--read-only"]);
    let readme = mount.path("README.md");
    let before = fs::read(&readme).unwrap();
    let refusals = [
        ("open for writing", fs::OpenOptions::new().write(true).open(&readme).map(drop)),
        ("truncate", fs::OpenOptions::new().write(true).truncate(true).open(&readme).map(drop)),
        ("create", fs::File::create(mount.path("new.txt")).map(drop)),
        ("create deep inside", fs::File::create(mount.path("projects/new.txt")).map(drop)),
        ("mkdir", fs::create_dir(mount.path("projects/new"))),
        ("unlink", fs::remove_file(&readme)),
        ("rmdir", fs::remove_dir(mount.path("projects"))),
        ("rename", fs::rename(&readme, mount.path("OTHER.md"))),
        ("symlink", std::os::unix::fs::symlink("README.md", mount.path("link"))),
        ("link", fs::hard_link(&readme, mount.path("hard"))),
        ("chmod", fs::set_permissions(&readme, fs::Permissions::from_mode(0o600))),
    ];
    for (what, refused) in refusals {
        let error = refused.expect_err(what);
        assert_eq!(error.raw_os_error(), Some(libc::EROFS), "{what}: {error}");
    }
    assert_eq!(fs::read(&readme).unwrap(), before);
}

on_samples!(find_sees_every_name, "find", |_, mount| {
    let listed = stdout_of(Command::new("find").arg(mount.dir()).args(["-mindepth", "1", "-printf", "%P\n"]));
    assert_eq!(listed.lines().map(str::to_owned).collect::<BTreeSet<_>>(), names(mount.dir()));
    let empty = stdout_of(Command::new("find").arg(mount.path("projects")).args(["-type", "f", "-empty"]));
    assert_eq!(empty, "", "files that look empty");
});

on_samples!(ls_lists_every_size, "ls", |_, mount| {
    let listed = stdout_of(Command::new("ls").args(["-lR", "--time-style=full-iso"]).arg(mount.path("projects")));
    let sizes: u64 = listed
        .lines()
        .filter(|line| line.starts_with('-'))
        .map(|line| line.split_whitespace().nth(4).unwrap().parse::<u64>().unwrap())
        .sum();
    let read: usize = contents(&mount.path("projects")).values().map(Vec::len).sum();
    assert_eq!(sizes, read as u64);
});

on_samples!(tree_draws_every_name, "tree", |_, mount| {
    let drawn = stdout_of(Command::new("tree").args(["-a", "-J"]).arg(mount.path("projects")));
    let report: serde_json::Value = serde_json::from_str(&drawn).unwrap();
    let report = report.as_array().unwrap().last().unwrap();
    let kinds: Vec<bool> = common::walk(&mount.path("projects")).iter().map(|e| e.path().is_dir()).collect();
    assert_eq!(report["files"].as_u64().unwrap() as usize, kinds.iter().filter(|dir| !**dir).count());
    // Some versions of tree count the directory it was given, some do not.
    let directories = report["directories"].as_u64().unwrap() as usize;
    let counted = kinds.iter().filter(|dir| **dir).count();
    assert!((counted..=counted + 1).contains(&directories), "{directories} directories, not {counted}");
});

/// The files below `dir` that hold the text, by plain reads.
fn holding(dir: &Path, text: &str) -> BTreeSet<PathBuf> {
    let held = contents(dir).into_iter().filter(|(_, bytes)| memchr::memmem::find(bytes, text.as_bytes()).is_some());
    held.map(|(path, _)| dir.join(path)).collect()
}

fn paths(listed: &str) -> BTreeSet<PathBuf> {
    listed.lines().map(PathBuf::from).collect()
}

// The sample has subagents and pictures: directories that are there only while they hold something.
on_samples!(rm_r_removes_every_commit_and_mv_brings_it_back_whole, "rm", |world, mount| {
    let (projects, trash) = (mount.path("projects"), mount.path(".cogfs/trash"));
    // What was deleted and restored is another record to json: when it was edited.
    let shown = || contents(&projects).into_iter().filter(|(path, _)| !path.ends_with("meta.json")).collect();
    let before: BTreeMap<PathBuf, Vec<u8>> = shown();
    assert!(before.keys().any(|path| path.iter().any(|part| part == "subagents")), "no subagents in the sample");
    assert!(before.keys().any(|path| path.iter().any(|part| part == "visuals")), "no pictures in the sample");
    let dirs = common::walk(&projects).into_iter().filter(|e| e.file_type().is_dir()).map(|e| e.path().to_owned());
    let commits: Vec<PathBuf> = dirs.filter(|path| path.join("sessions").is_dir()).collect();
    for commit in &commits {
        must(Command::new("rm").arg("-r").arg(commit));
    }
    assert_eq!(contents(&projects).keys().filter(|path| !path.ends_with("project.json")).count(), 0);
    for commit in &commits {
        must(Command::new("mv").arg(trash.join(commit.file_name().unwrap())).arg(commit.parent().unwrap()));
    }
    assert_same("restored", &shown(), &before);
    assert_eq!(fs::read_to_string(mount.path(".cogfs/errors.jsonl")).unwrap(), "");
    world.run(&["doctor", "--full"]).exits(0);
});

const WORD: &str = "safe_next";

on_samples!(grep_finds_what_reading_finds, "grep", |_, mount| {
    let dir = mount.path("projects");
    let found = stdout_of(Command::new("grep").args(["-r", "-l", "-F", WORD]).arg(&dir));
    assert_eq!(paths(&found), holding(&dir, WORD));
    assert!(!found.is_empty());
});

on_samples!(rg_finds_what_reading_finds_but_keeps_out_of_views_and_raw_files, "rg", |_, mount| {
    let found = paths(&stdout_of(Command::new("rg").args(["-l", "-F", WORD]).arg(mount.dir())));
    let views = mount.path("by");
    let shown = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        !path.starts_with(&views) && name != "raw.jsonl" && name != "transcript.html"
    };
    assert_eq!(found, holding(mount.dir(), WORD).into_iter().filter(shown).collect());
    let followed = paths(&stdout_of(Command::new("rg").args(["-L", "-l", "-F", WORD]).arg(mount.dir())));
    assert!(followed.iter().all(shown), "rg -L goes where .ignore should keep it out");
});

on_samples!(less_shows_a_transcript, "less", |_, mount| {
    for path in common::files_named(&mount.path("projects"), |name| name == "transcript.md") {
        let shown = must(Command::new("less").arg(&path).env("LESSOPEN", "")).stdout;
        assert!(shown == fs::read(&path).unwrap(), "{}", path.display());
    }
});

on_samples!(vim_opens_a_transcript, "vim", |world, mount| {
    let path = common::files_named(&mount.path("projects"), |name| name == "transcript.md").remove(0);
    let copy = world.root().join("copy.md");
    let write = format!("write! {}", copy.display());
    must(Command::new("vim").args(["-u", "NONE", "-i", "NONE", "-R", "-es", "-c", &write, "-c", "qa!"]).arg(&path));
    assert!(fs::read(&copy).unwrap() == fs::read(&path).unwrap(), "{}", path.display());
});

/// Makes what was copied with its modes removable again.
fn make_writable(dir: &Path) {
    must(Command::new("chmod").args(["-R", "u+w"]).arg(dir));
}

on_samples!(cp_copies_everything, "cp", |world, mount| {
    let copy = world.root().join("copy");
    must(Command::new("cp").arg("-a").arg(mount.path("projects")).arg(&copy));
    make_writable(&copy);
    assert_same("cp -a", &contents(&copy), &contents(&mount.path("projects")));
    assert_eq!(names(&copy), names(&mount.path("projects")));
});

on_samples!(tar_archives_everything, "tar", |world, mount| {
    let copy = world.root().join("copy");
    fs::create_dir(&copy).unwrap();
    let archive = world.root().join("all.tar");
    must(Command::new("tar").arg("-C").arg(mount.dir()).arg("-cf").arg(&archive).args(["projects", "by"]));
    must(Command::new("tar").arg("-C").arg(&copy).args(["--no-same-permissions", "-xf"]).arg(&archive));
    make_writable(&copy);
    for dir in ["projects", "by"] {
        assert_same("tar", &contents(&copy.join(dir)), &contents(&mount.path(dir)));
        assert_eq!(names(&copy.join(dir)), names(&mount.path(dir)));
    }
});

on_samples!(rsync_copies_everything_and_then_nothing, "rsync", |world, mount| {
    let copy = world.root().join("copy");
    let source = format!("{}/", mount.path("projects").display());
    let sync = |more: &str| stdout_of(Command::new("rsync").args(["-a", more, &source]).arg(&copy));
    sync("--chmod=u+w");
    assert_same("rsync -a", &contents(&copy), &contents(&mount.path("projects")));
    let again = stdout_of(Command::new("rsync").args(["-a", "--chmod=u+w", "-i", &source]).arg(&copy));
    assert_eq!(again, "", "a second rsync finds something to do");
});

on_samples!(git_hashes_what_is_read, "git", |_, mount| {
    for (path, bytes) in contents(&mount.path("projects")).into_iter().step_by(5) {
        let path = mount.path("projects").join(path);
        let by_name = stdout_of(Command::new("git").args(["hash-object", "--no-filters"]).arg(&path));
        let mut by_pipe = Command::new("git")
            .args(["hash-object", "--stdin"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut by_pipe.stdin.take().unwrap(), &bytes).unwrap();
        let by_pipe = by_pipe.wait_with_output().unwrap().stdout;
        assert_eq!(by_name, String::from_utf8(by_pipe).unwrap(), "{}", path.display());
    }
});

on_samples!(file_tells_what_they_are, "file", |_, mount| {
    let tell = |path: &Path| stdout_of(Command::new("file").args(["-b", "--mime-type"]).arg(path));
    let pictures = common::files_named(&mount.path("projects"), |name| name.ends_with(".png"));
    assert!(!pictures.is_empty(), "the samples hold screenshots");
    for path in pictures {
        assert_eq!(tell(&path).trim(), "image/png", "{}", path.display());
    }
    for path in common::files_named(&mount.path("projects"), |name| name == "transcript.md") {
        assert!(tell(&path).starts_with("text/"), "{}: {}", path.display(), tell(&path));
    }
});

on_samples!(du_counts_the_bytes, "du", |_, mount| {
    let dir = mount.path("projects");
    let counted = stdout_of(Command::new("du").args(["-s", "--bytes"]).arg(&dir));
    let counted: u64 = counted.split_whitespace().next().unwrap().parse().unwrap();
    let sizes = |e: &walkdir::DirEntry| e.path().symlink_metadata().unwrap().len();
    let all: u64 = common::walk(&dir).iter().map(sizes).sum::<u64>() + dir.symlink_metadata().unwrap().len();
    // From coreutils 9.2 on, `--apparent-size` leaves the sizes of directories out.
    let of_files: u64 = common::walk(&dir).iter().filter(|e| !e.file_type().is_dir()).map(sizes).sum();
    assert!((of_files..=all).contains(&counted), "du counts {counted}, the files have {of_files}, all has {all}");
    let blocks = stdout_of(Command::new("du").args(["-s", "-B1"]).arg(&dir));
    assert!(!blocks.starts_with("0\t"), "du counts no blocks");
});

on_samples!(mapped_memory_shows_what_is_read, "python3", |_, mount| {
    let script = "import mmap,os,sys\n\
        for p in sys.argv[1:]:\n\
        \x20   for kind in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):\n\
        \x20       with open(p,'rb') as f:\n\
        \x20           m = mmap.mmap(f.fileno(), 0, flags=kind, prot=mmap.PROT_READ)\n\
        \x20           assert m[:] == f.read(), p\n";
    let paths: Vec<PathBuf> = common::files(&mount.path("projects"))
        .into_iter()
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    must(Command::new("python3").args(["-c", script]).args(paths));
});

/// The value of an attribute, read as `getfattr` does it: asked for its length first.
fn attribute(path: &Path, name: &str) -> Result<String, rustix::io::Errno> {
    let length = rustix::fs::getxattr_query(path, name)?;
    let mut value = vec![0_u8; length];
    assert_eq!(rustix::fs::getxattr(path, name, &mut value[..])?, length);
    if length > 1 {
        assert_eq!(rustix::fs::getxattr(path, name, &mut value[..length - 1]), Err(rustix::io::Errno::RANGE));
    }
    Ok(String::from_utf8(value).unwrap())
}

fn attributes(path: &Path) -> Vec<String> {
    let length = rustix::fs::listxattr_query(path).unwrap();
    if length == 0 {
        return Vec::new();
    }
    let mut names = vec![0_u8; length];
    assert_eq!(rustix::fs::listxattr(path, &mut names[..]).unwrap(), length);
    if length > 1 {
        assert_eq!(rustix::fs::listxattr(path, &mut names[..length - 1]), Err(rustix::io::Errno::RANGE));
    }
    let names = String::from_utf8(names).unwrap();
    names.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn extended_attributes_say_what_meta_json_says_where_they_are_wanted() {
    needs_fuse!();
    let world = World::with_samples();
    let mount = Mount::with(&world, &world.root().join("x"), &["--no-watch", "--xattr"]);
    for dir in common::session_dirs(mount.dir()) {
        let meta = common::json(&dir.join("meta.json"));
        for path in [dir.clone(), dir.join("transcript.md"), dir.join("raw.jsonl"), dir.join("resume.sh")] {
            let said = |name: &str| attribute(&path, &format!("user.cogfs.{name}"));
            for name in ["id", "agent", "native_id"] {
                assert_eq!(said(name).as_deref(), Ok(meta[name].as_str().unwrap()), "{name} of {}", path.display());
            }
            assert_eq!(said("state").as_deref(), Ok("local"));
            assert_eq!(said("tokens_output").unwrap(), meta["tokens"]["output"].to_string());
            assert_eq!(said("nothing"), Err(rustix::io::Errno::NODATA));
            assert_eq!(attribute(&path, "user.other"), Err(rustix::io::Errno::NODATA));
            let names = attributes(&path);
            assert!(names.contains(&"user.cogfs.machine".to_owned()), "{names:?}");
            for name in names {
                assert!(!attribute(&path, &name).unwrap().is_empty(), "{name}");
            }
        }
    }
    for path in common::turn_files(mount.dir()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(name.contains(&attribute(&path, "user.cogfs.role").unwrap()), "{name}");
    }
    let commit = mount.path("projects/plantshop/latest").canonicalize().unwrap();
    let meta = common::json(&commit.join("meta.json"));
    for path in [commit.clone(), commit.join("meta.md"), commit.join("transcript.html")] {
        assert_eq!(attribute(&path, "user.cogfs.id").as_deref(), Ok(meta["id"].as_str().unwrap()));
        assert_eq!(attribute(&path, "user.cogfs.git_hash").as_deref(), Ok(meta["git"]["hash"].as_str().unwrap()));
    }
    assert_eq!(attribute(&mount.path("projects/plantshop"), "user.cogfs.kind").as_deref(), Ok("project"));
    if common::has_program("getfattr") {
        let listed = std::process::Command::new("getfattr").arg("-d").arg(&commit).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let line = format!("user.cogfs.id={}", meta["id"]);
        assert!(listed.lines().any(|l| l == line) && listed.contains("user.cogfs.tokens_output="), "{listed}");
    } else {
        common::skipped("no getfattr");
    }
    // What is no entity's has none, and scratch files have none.
    fs::write(commit.join("meta.md~"), "x").unwrap();
    for path in [mount.path("README.md"), mount.path("by"), commit.join("meta.md~")] {
        assert_eq!(attributes(&path), Vec::<String>::new(), "{}", path.display());
    }
    mount.unmount();
    // They cost a request a file, so they are not there unless somebody asks for them.
    let mount = Mount::with(&world, &world.root().join("y"), &["--no-watch"]);
    let path = mount.path("projects/plantshop");
    assert_eq!(attribute(&path, "user.cogfs.id"), Err(rustix::io::Errno::NOTSUP));
}

#[test]
fn a_session_is_taken_up_by_the_script_beside_it() {
    needs_fuse!();
    let world = World::new();
    world.import(&[&common::demo_logs()]);
    let mount = Mount::with(&world, &world.root().join("m"), &["--no-watch"]);
    let scripts = common::files_named(&mount.path("projects"), |name| name == "resume.sh");
    assert!(scripts.len() > 4);
    for script in scripts {
        let text = fs::read_to_string(&script).unwrap();
        assert_eq!(text.len() as u64, fs::metadata(&script).unwrap().len());
        // The demo's folders are on nobody's machine, nor may the agents be.
        let ran = std::process::Command::new(&script).output().unwrap();
        assert_eq!(ran.status.code(), Some(1), "{ran:?}");
        let said = String::from_utf8(ran.stderr).unwrap();
        assert!(said.contains("is not on this machine") || said.contains("is not here: /home/mira"), "{said}");
    }
}
