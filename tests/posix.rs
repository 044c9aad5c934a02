//! What POSIX promises of files, held by the directories of a mount that can be written to: scratch files beside a `meta.md`, and
//! `meta.md` itself. What does not apply is listed in docs/SEMANTICS.md, "Writing".

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::{Mount, World};
use rustix::fs::{CWD, RenameFlags, renameat_with};

fn world() -> World {
    let world = World::new();
    world.import(&[&common::demo_logs()]);
    world
}

/// The directory of a commit, and that of another one.
fn dirs(mount: &Mount<'_>) -> (PathBuf, PathBuf) {
    let find = |id: &str| mount.path(&format!("by/id/{id}")).canonicalize().unwrap();
    (find("d630c8"), find("d4c4c1"))
}

#[track_caller]
fn fails<T>(result: io::Result<T>, errno: i32) {
    let error = result.err().and_then(|error| error.raw_os_error());
    assert_eq!(error, Some(errno), "not {}", io::Error::from_raw_os_error(errno));
}

fn flags(flags: i32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags).mode(0o600);
    options
}

#[test]
fn open_creates_truncates_appends_and_refuses_as_its_flags_say() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let path = dir.join("file");
    fails(flags(0).open(&path), libc::ENOENT);
    flags(libc::O_CREAT).open(&path).unwrap().write_all(b"abc").unwrap();
    fails(flags(libc::O_CREAT | libc::O_EXCL).open(&path), libc::EEXIST);
    assert_eq!(fs::read(&path).unwrap(), b"abc", "O_CREAT leaves what is there");
    let mut appending = OpenOptions::new().append(true).open(&path).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"de").unwrap();
    appending.write_all(b"f").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"abcdef", "each append goes behind the end as it is then");
    flags(libc::O_TRUNC).open(&path).unwrap();
    assert_eq!(path.metadata().unwrap().len(), 0);
    fails(flags(libc::O_DIRECTORY | libc::O_CREAT).open(&path), libc::EINVAL);
    fails(OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(&path), libc::ENOTDIR);
    fails(flags(0).open(&dir), libc::EISDIR);
    symlink("file", dir.join("link")).unwrap();
    fails(flags(libc::O_NOFOLLOW).open(dir.join("link")), libc::ELOOP);
    fails(flags(libc::O_CREAT | libc::O_EXCL).open(dir.join("link")), libc::EEXIST);
    symlink("loop", dir.join("loop")).unwrap();
    fails(File::open(dir.join("loop")), libc::ELOOP);
}

#[test]
fn names_have_255_bytes_at_the_most() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let (longest, longer) = (dir.join("x".repeat(255)), dir.join("x".repeat(256)));
    File::create(&longest).unwrap();
    fs::rename(&longest, dir.join("short")).unwrap();
    fs::rename(dir.join("short"), &longest).unwrap();
    fails(File::create(&longer), libc::ENAMETOOLONG);
    fails(fs::create_dir(&longer), libc::ENAMETOOLONG);
    fails(symlink("x", &longer), libc::ENAMETOOLONG);
    fails(fs::rename(&longest, &longer), libc::ENAMETOOLONG);
    fails(fs::remove_file(&longer), libc::ENAMETOOLONG);
    fs::remove_file(&longest).unwrap();
}

#[test]
fn rename_replaces_and_refuses_as_rename_2_says() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, other) = dirs(&mount);
    let at = |name: &str| dir.join(name);
    fs::write(at("a"), "a").unwrap();
    fs::write(at("b"), "b").unwrap();
    fs::create_dir_all(at("d/e")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::rename(at("a"), at("a")).unwrap();
    fs::rename(at("a"), at("b")).unwrap();
    assert_eq!(fs::read(at("b")).unwrap(), b"a");
    fails(fs::rename(at("a"), at("c")), libc::ENOENT);
    fails(fs::rename(at("b"), at("no/c")), libc::ENOENT);
    fails(fs::rename(at("b"), at("b/c")), libc::ENOTDIR);
    fails(fs::rename(at("b"), at("empty")), libc::EISDIR);
    fails(fs::rename(at("d"), at("b")), libc::ENOTDIR);
    fails(fs::rename(at("d"), at("d/e/f")), libc::EINVAL);
    fails(fs::rename(at("empty"), at("d")), libc::ENOTEMPTY);
    fails(fs::rename(at("d/e"), at("d")), libc::ENOTEMPTY);
    fs::rename(at("d"), at("empty")).unwrap();
    assert!(at("empty/e").is_dir() && !at("d").exists(), "an empty directory is replaced");
    fails(fs::rename(at("b"), other.join("b")), libc::EXDEV);
    fails(fs::rename(at("b"), world.root().join("b")), libc::EXDEV);
    fails(fs::rename(at("b"), at("transcript.md")), libc::EPERM);
    let flagged = |from, to, flags| renameat_with(CWD, at(from), CWD, at(to), flags).map_err(io::Error::from);
    fails(flagged("b", "empty", RenameFlags::NOREPLACE), libc::EEXIST);
    fails(flagged("b", "c", RenameFlags::EXCHANGE), libc::ENOENT);
    flagged("b", "empty", RenameFlags::EXCHANGE).unwrap();
    assert!(at("b/e").is_dir() && at("empty").is_file());
    fails(flagged("empty", "c", RenameFlags::WHITEOUT), libc::EINVAL);
}

#[test]
fn directories_links_and_special_files_are_made_and_removed() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let at = |name: &str| dir.join(name);
    fs::create_dir(at("d")).unwrap();
    fails(fs::create_dir(at("d")), libc::EEXIST);
    fails(fs::create_dir(at("no/d")), libc::ENOENT);
    File::create(at("d/f")).unwrap();
    fails(fs::remove_dir(at("d")), libc::ENOTEMPTY);
    fails(fs::remove_dir(at("d/f")), libc::ENOTDIR);
    fails(fs::remove_file(at("d")), libc::EISDIR);
    fails(fs::create_dir(at("d/f/x")), libc::ENOTDIR);
    fails(fs::hard_link(at("d/f"), at("hard")), libc::EPERM);
    symlink("somewhere/else", at("link")).unwrap();
    assert_eq!(fs::read_link(at("link")).unwrap(), Path::new("somewhere/else"));
    assert_eq!(fs::symlink_metadata(at("link")).unwrap().len(), 14);
    fails(fs::read_link(at("d/f")), libc::EINVAL);
    let pipe = rustix::fs::mknodat(CWD, at("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0);
    fails(pipe.map_err(io::Error::from), libc::EPERM);
    fs::remove_file(at("d/f")).unwrap();
    fs::remove_dir(at("d")).unwrap();
    fails(fs::metadata(at("d")), libc::ENOENT);
}

#[test]
fn a_file_that_is_open_outlives_its_name() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let path = dir.join("open");
    let mut file = flags(libc::O_CREAT).open(&path).unwrap();
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    file.write_all(b" after").unwrap();
    file.sync_all().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before after");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    fs::write(&path, "another").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 12, "another file of the name is another");
    let document = File::open(dir.join("meta.md")).unwrap();
    let before = fs::read(dir.join("meta.md")).unwrap();
    fs::rename(dir.join("meta.md"), dir.join("meta.md~")).unwrap();
    fs::write(dir.join("meta.md"), &before).unwrap();
    let mut bytes = vec![0; before.len()];
    document.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, before);
}

#[test]
fn sizes_holes_and_mappings_are_those_of_a_file() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let path = dir.join("sizes");
    let file = flags(libc::O_CREAT).open(&path).unwrap();
    file.write_all_at(b"end", 100_000).unwrap();
    assert_eq!(path.metadata().unwrap().len(), 100_003);
    let mut bytes = fs::read(&path).unwrap();
    assert!(bytes[..100_000].iter().all(|byte| *byte == 0) && bytes.ends_with(b"end"));
    file.set_len(5).unwrap();
    file.set_len(10).unwrap();
    bytes = fs::read(&path).unwrap();
    assert_eq!(bytes, [0; 10], "what was cut off does not come back");
    fails(file.set_len(u64::MAX >> 1), libc::EFBIG);
    // SAFETY: a mapping of this test's own of a page that the file has bytes of, given back before it ends.
    unsafe {
        let how = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let at = libc::mmap(std::ptr::null_mut(), 10, how.0, how.1, file.as_raw_fd(), 0);
        assert_ne!(at, libc::MAP_FAILED);
        at.cast::<u8>().copy_from(b"mapped".as_ptr(), 6);
        assert_eq!(libc::msync(at, 10, libc::MS_SYNC), 0);
        assert_eq!(libc::munmap(at, 10), 0);
    }
    assert_eq!(fs::read(&path).unwrap(), b"mapped\0\0\0\0");
    File::open(&dir).unwrap().sync_all().unwrap();
}

#[test]
fn modes_owners_and_times_are_set_and_writes_move_the_time() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let path = dir.join("times");
    fs::write(&path, "x").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), long_ago);
    assert!(path.metadata().unwrap().ctime() > 1_000_000, "no program sets the time of a change");
    fs::write(&path, "y").unwrap();
    assert!(path.metadata().unwrap().modified().unwrap() > long_ago);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o640);
    let own = path.metadata().unwrap().uid();
    std::os::unix::fs::chown(&path, Some(own), None).unwrap();
    if common::is_root() {
        fails(std::os::unix::fs::chown(&path, Some(own + 1), None), libc::EPERM);
    }
}

#[test]
fn a_listing_shows_each_name_that_stays_once_while_others_come_and_go() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let (dir, _) = dirs(&mount);
    let scratch = dir.join("many");
    fs::create_dir(&scratch).unwrap();
    (0..400).for_each(|n| drop(File::create(scratch.join(format!("stays-{n:03}"))).unwrap()));
    let mut seen = Vec::new();
    for (n, entry) in fs::read_dir(&scratch).unwrap().enumerate() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with("stays") {
            seen.push(name);
        }
        let passing = scratch.join(format!("passes-{n}"));
        File::create(&passing).unwrap();
        if n % 2 == 0 {
            fs::remove_file(passing).unwrap();
        }
        assert!(n < 5_000, "the listing has no end");
    }
    seen.sort();
    assert_eq!(seen, (0..400).map(|n| format!("stays-{n:03}")).collect::<Vec<_>>());
}
