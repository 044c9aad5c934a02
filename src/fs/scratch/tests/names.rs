//! Names, numbers and their errnos.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn nothing_is_made_on_the_disk_before_the_first_scratch_file_and_the_folder_is_the_owners_alone() {
    let world = World::new();
    assert_eq!(world.find(HERE, "meta.md~"), None);
    assert!(world.names(HERE).is_empty());
    world.scratch.sync_dir(&HERE).unwrap();
    assert!(world.scratch.sweep(SystemTime::now()).unwrap().removed.is_empty());
    world.scratch.forget_place(place(1)).unwrap();
    assert!(!world.dir.path().join("cache").exists());
    world.file(HERE, "4913", b"");
    for dir in [world.root(), world.root().join(disk::folder(place(1)))] {
        assert_eq!(std::fs::metadata(dir).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_file_is_seen_only_in_the_directory_where_it_was_made() {
    let world = World::new();
    let id = world.file(HERE, ".meta.md.swp", b"b0VIM");
    assert_eq!(world.find(HERE, ".meta.md.swp"), Some(id));
    assert_eq!(world.find(THERE, ".meta.md.swp"), None);
    assert!(world.names(THERE).is_empty());
    assert_eq!(std::fs::read(world.path(".meta.md.swp")).unwrap(), b"b0VIM");
}

#[test]
fn the_names_that_no_file_can_have_are_refused_everywhere() {
    let world = World::new();
    let long = "x".repeat(256);
    let names: [(&[u8], i32); 6] = [
        (b"", libc::EINVAL),
        (b".", libc::EINVAL),
        (b"..", libc::EINVAL),
        (b"a/b", libc::EINVAL),
        (b"a\0b", libc::EINVAL),
        (long.as_bytes(), libc::ENAMETOOLONG),
    ];
    world.file(HERE, "a", b"");
    for (name, expected) in names {
        let name = OsStr::from_bytes(name);
        let (scratch, a) = (&world.scratch, OsStr::new("a"));
        assert_eq!(errno(scratch.lookup(&HERE, name)), expected);
        assert_eq!(errno(scratch.create(&HERE, name, 0o600, true)), expected);
        assert_eq!(errno(scratch.mkdir(&HERE, name, 0o700)), expected);
        assert_eq!(errno(scratch.symlink(&HERE, name, a)), expected);
        assert_eq!(errno(scratch.unlink(&HERE, name)), expected);
        assert_eq!(errno(scratch.rmdir(&HERE, name)), expected);
        assert_eq!(errno(scratch.adopt(&HERE, name, b"x", 0o600, SystemTime::now())), expected);
        assert_eq!(errno(scratch.rename(&HERE, name, &HERE, a, RenameMode::Replace)), expected);
        assert_eq!(errno(scratch.rename(&HERE, a, &HERE, name, RenameMode::Replace)), expected);
    }
    assert_eq!(world.names(HERE), ["a"]);
}

#[test]
fn a_name_of_255_bytes_and_one_that_is_no_text_are_names() {
    let world = World::new();
    let long = world.file(HERE, &"x".repeat(255), b"long");
    let odd = OsStr::from_bytes(b"\xff\xfe~");
    let (id, _) = world.scratch.create(&HERE, odd, 0o600, true).unwrap();
    assert_eq!(world.scratch.lookup(&HERE, odd).unwrap(), Some(id));
    assert_eq!(world.bytes(long), b"long");
    let world = world.reopened();
    assert!(world.scratch.lookup(&HERE, odd).unwrap().is_some());
}

#[test]
fn every_wrong_kind_has_its_errno() {
    let world = World::new();
    let scratch = &world.scratch;
    let (file, dir) = (world.file(HERE, "f", b"1"), world.mkdir(HERE, "d"));
    let link = scratch.symlink(&HERE, OsStr::new("l"), OsStr::new("user@host.1")).unwrap();
    let name = OsStr::new;
    assert_eq!(errno(scratch.create(&HERE, name("f"), 0o600, true)), libc::EEXIST);
    assert_eq!(errno(scratch.create(&HERE, name("l"), 0o600, false)), libc::EEXIST);
    assert_eq!(errno(scratch.create(&HERE, name("d"), 0o600, false)), libc::EISDIR);
    assert_eq!(errno(scratch.mkdir(&HERE, name("f"), 0o700)), libc::EEXIST);
    assert_eq!(errno(scratch.symlink(&HERE, name("d"), name("x"))), libc::EEXIST);
    assert_eq!(errno(scratch.unlink(&HERE, name("d"))), libc::EISDIR);
    assert_eq!(errno(scratch.unlink(&HERE, name("no"))), libc::ENOENT);
    assert_eq!(errno(scratch.rmdir(&HERE, name("f"))), libc::ENOTDIR);
    assert_eq!(errno(scratch.rmdir(&HERE, name("l"))), libc::ENOTDIR);
    assert_eq!(errno(scratch.rmdir(&HERE, name("no"))), libc::ENOENT);
    assert_eq!(errno(scratch.lookup(&Dir::Node(file), name("x"))), libc::ENOTDIR);
    assert_eq!(errno(scratch.list(&Dir::Node(link), ScratchId(0))), libc::ENOTDIR);
    assert_eq!(errno(scratch.create(&Dir::Node(file), name("x"), 0o600, true)), libc::ENOTDIR);
    assert_eq!(errno(scratch.lookup(&Dir::Node(ScratchId(99)), name("x"))), libc::ENOENT);
    assert_eq!(errno(scratch.readlink(file)), libc::EINVAL);
    assert_eq!(errno(scratch.read(dir, 0, 1)), libc::EISDIR);
    assert_eq!(errno(scratch.write(dir, 0, b"x")), libc::EISDIR);
    assert_eq!(errno(scratch.write(dir, 0, b"")), libc::EISDIR);
    assert_eq!(errno(scratch.set_len(link, 0)), libc::EINVAL);
    assert_eq!(errno(scratch.release(dir)), libc::EISDIR);
    assert_eq!(errno(scratch.set_mode(link, 0o600)), libc::EOPNOTSUPP);
    assert_eq!(errno(scratch.attr(ScratchId(99))), libc::ENOENT);
    assert_eq!(errno(scratch.adopt(&HERE, name("d"), b"x", 0o600, SystemTime::now())), libc::EISDIR);
    assert_eq!(scratch.readlink(link).unwrap(), b"user@host.1");
    let attr = scratch.attr(link).unwrap();
    assert_eq!((attr.kind, attr.size, attr.mode, attr.nlink), (NodeKind::Symlink, 11, 0o777, 1));
}

#[test]
fn a_rename_that_rename_2_refuses_changes_nothing() {
    let world = World::new();
    let (_, d) = (world.file(HERE, "f", b"f"), world.mkdir(HERE, "d"));
    world.file(Dir::Node(d), "inner", b"i");
    let deeper = world.mkdir(Dir::Node(d), "deeper");
    world.mkdir(HERE, "empty");
    let (inside, below) = (Dir::Node(d), Dir::Node(deeper));
    use RenameMode::{Exchange, NoReplace, Replace};
    let refused = [
        ((HERE, "no"), (HERE, "x"), Replace, libc::ENOENT),
        ((HERE, "f"), (HERE, "no"), Exchange, libc::ENOENT),
        ((HERE, "f"), (HERE, "empty"), NoReplace, libc::EEXIST),
        ((HERE, "f"), (HERE, "f"), NoReplace, libc::EEXIST),
        ((HERE, "f"), (HERE, "empty"), Replace, libc::EISDIR),
        ((HERE, "empty"), (HERE, "f"), Replace, libc::ENOTDIR),
        ((HERE, "empty"), (HERE, "d"), Replace, libc::ENOTEMPTY),
        ((inside, "inner"), (HERE, "d"), Replace, libc::ENOTEMPTY),
        ((HERE, "d"), (inside, "x"), Replace, libc::EINVAL),
        ((HERE, "d"), (below, "x"), Replace, libc::EINVAL),
        ((HERE, "d"), (inside, "inner"), Exchange, libc::EINVAL),
        ((inside, "inner"), (HERE, "d"), Exchange, libc::EINVAL),
        ((HERE, "f"), (THERE, "f"), Replace, libc::EXDEV),
        ((inside, "inner"), (THERE, "f"), Exchange, libc::EXDEV),
    ];
    for (from, to, mode, expected) in refused {
        assert_eq!(errno(world.rename(from, to, mode)), expected, "{} to {} ({mode:?})", from.1, to.1);
    }
    assert_eq!(world.names(HERE), ["f", "d", "empty"]);
    assert_eq!(world.names(inside), ["inner", "deeper"]);
    world.rename((HERE, "f"), (HERE, "f"), Replace).unwrap();
    world.rename((HERE, "empty"), (below, "e"), NoReplace).unwrap();
    assert_eq!(world.names(below), ["e"]);
}

#[test]
fn numbers_follow_what_they_stand_for() {
    let world = World::new();
    let (git, file) = (world.mkdir(HERE, ".git"), world.file(HERE, "a", b"a"));
    let objects = world.mkdir(Dir::Node(git), "objects");
    let object = world.file(Dir::Node(objects), "0f", b"blob");
    world.rename((HERE, ".git"), (HERE, "moved"), RenameMode::NoReplace).unwrap();
    assert_eq!(world.find(HERE, ".git"), None);
    assert_eq!(world.find(HERE, "moved"), Some(git));
    assert_eq!(world.find(Dir::Node(objects), "0f"), Some(object));
    assert_eq!(world.bytes(object), b"blob");
    world.rename((HERE, "moved"), (HERE, "a"), RenameMode::Exchange).unwrap();
    assert_eq!((world.find(HERE, "a"), world.find(HERE, "moved")), (Some(git), Some(file)));
    assert_eq!((world.bytes(file), world.bytes(object)), (b"a".to_vec(), b"blob".to_vec()));
    world.rename((HERE, "moved"), (Dir::Node(objects), "0f"), RenameMode::Replace).unwrap();
    assert_eq!(world.find(Dir::Node(objects), "0f"), Some(file));
    assert_eq!(errno(world.scratch.attr(object)), libc::ENOENT);
    assert_eq!(std::fs::read(world.path("a/objects/0f")).unwrap(), b"a");
}

#[test]
fn a_listing_goes_on_where_it_stopped_whatever_happened_meanwhile() {
    let world = World::new();
    let ids: Vec<_> = ["c", "a", "b"].into_iter().map(|name| world.file(HERE, name, b"")).collect();
    world.scratch.unlink(&HERE, OsStr::new("c")).unwrap();
    let later = world.file(HERE, "0", b"");
    let rest = world.scratch.list(&HERE, ids[1]).unwrap();
    assert_eq!(rest.iter().map(|entry| entry.id).collect::<Vec<_>>(), [ids[2], later]);
    assert_eq!(rest[0], Entry { id: ids[2], name: "b".into(), kind: NodeKind::File });
}

#[test]
fn of_those_who_make_one_name_exclusively_exactly_one_wins() {
    let world = World::new();
    for round in 0..50 {
        let name = format!("4913.{round}");
        let start = std::sync::Barrier::new(4);
        let won = std::thread::scope(|threads| {
            let create = || {
                start.wait();
                world.scratch.create(&HERE, OsStr::new(&name), 0o600, true)
            };
            let all: Vec<_> = (0..4).map(|_| threads.spawn(create)).collect();
            all.into_iter().map(|thread| thread.join().unwrap()).filter(std::result::Result::is_ok).count()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn a_file_that_is_there_is_not_emptied_by_making_it_again() {
    let world = World::new();
    let id = world.file(HERE, "meta.md~", b"old");
    assert_eq!(world.scratch.create(&HERE, OsStr::new("meta.md~"), 0o600, false).unwrap(), (id, true));
    assert_eq!(world.bytes(id), b"old");
}

#[test]
fn a_document_moved_here_replaces_the_file_of_that_name_and_keeps_its_time() {
    let world = World::new();
    let old = world.file(HERE, "meta.md~", b"older");
    let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let id = world.scratch.adopt(&HERE, OsStr::new("meta.md~"), b"---\n", 0o640, time).unwrap();
    assert_ne!(id, old);
    assert_eq!(world.find(HERE, "meta.md~"), Some(id));
    assert_eq!(world.bytes(id), b"---\n");
    let attr = world.scratch.attr(id).unwrap();
    assert_eq!((attr.size, attr.mtime, attr.mode), (4, Millis(1_700_000_000_123), 0o640));
    assert_eq!(errno(world.scratch.attr(old)), libc::ENOENT);
    assert_eq!(world.scratch.used(), Used { bytes: 4, files: 1 });
    assert_eq!(disk::names(&world.scratch.disk.root().unwrap()).unwrap().len(), 1, "nothing is left beside the place");
}

#[test]
fn a_released_file_gives_its_bytes_and_its_name_is_free() {
    let world = World::new();
    let id = world.file(HERE, "sedAbCdEf", b"---\ntitle: x\n---\n");
    assert_eq!(world.scratch.release(id).unwrap(), b"---\ntitle: x\n---\n");
    assert_eq!(world.find(HERE, "sedAbCdEf"), None);
    assert!(!world.path("sedAbCdEf").exists());
    assert_eq!(world.scratch.used(), Used { bytes: 0, files: 0 });
}

#[test]
fn a_restart_finds_the_same_files_with_the_same_times() {
    let world = World::new();
    let dir = world.mkdir(HERE, "d");
    world.file(HERE, ".meta.md.swp", b"b0VIM");
    let inner = world.file(Dir::Node(dir), "inner", b"i");
    let mtime = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_500);
    world.scratch.set_mtime(inner, mtime).unwrap();
    world.scratch.symlink(&THERE, OsStr::new(".#meta.md"), OsStr::new("user@host.1:2")).unwrap();
    let world = world.reopened();
    assert_eq!(world.names(HERE), [".meta.md.swp", "d"]);
    let dir = Dir::Node(world.find(HERE, "d").unwrap());
    let inner = world.find(dir, "inner").unwrap();
    assert_eq!(world.bytes(inner), b"i");
    assert_eq!(world.scratch.attr(inner).unwrap().mtime, Millis(1_600_000_000_500));
    let link = world.find(THERE, ".#meta.md").unwrap();
    assert_eq!(world.scratch.readlink(link).unwrap(), b"user@host.1:2");
    assert_eq!(world.scratch.used(), Used { bytes: 6, files: 4 });
}

#[test]
fn stat_says_the_mode_that_was_set_and_cogfs_is_not_locked_out() {
    let world = World::new();
    let (file, dir) = (world.file(HERE, "f", b"12"), world.mkdir(HERE, "d"));
    world.scratch.set_mode(file, 0o6200).unwrap();
    world.scratch.set_mode(dir, 0o1000).unwrap();
    assert_eq!(world.scratch.attr(file).unwrap().mode, 0o200);
    assert_eq!(world.scratch.attr(dir).unwrap().mode, 0);
    let on_disk = |name: &str| std::fs::metadata(world.path(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((on_disk("f"), on_disk("d")), (0o600, 0o700));
    assert_eq!(world.bytes(file), b"12");
    let (read_only, _) = world.scratch.create(&Dir::Node(dir), OsStr::new("x"), 0o4444, true).unwrap();
    assert_eq!(world.scratch.attr(read_only).unwrap().mode, 0o444);
    assert_eq!(on_disk("d/x"), 0o644);
    world.scratch.write(read_only, 0, b"git writes its objects like this").unwrap();
    let long_ago = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    for id in [file, dir] {
        world.scratch.set_mtime(id, long_ago).unwrap();
        assert_eq!(world.scratch.attr(id).unwrap().mtime, Millis(-1500));
    }
}
