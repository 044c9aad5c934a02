//! How much may lie there.

use super::*;

fn small() -> World {
    World::with(Limits { file_bytes: 10, total_bytes: 25, files: 4, ..Limits::default() })
}

#[test]
fn a_file_over_its_limit_is_efbig_and_stays_as_it_was() {
    let world = small();
    let id = world.file(HERE, "f", b"0123456789");
    assert_eq!(errno(world.scratch.write(id, 5, b"012345")), libc::EFBIG);
    assert_eq!(errno(world.scratch.write(id, u64::MAX, b"0")), libc::EFBIG);
    assert_eq!(errno(world.scratch.set_len(id, 11)), libc::EFBIG);
    let now = SystemTime::now();
    assert_eq!(errno(world.scratch.adopt(&HERE, OsStr::new("g"), b"01234567890", 0o600, now)), libc::EFBIG);
    assert_eq!(world.bytes(id), b"0123456789");
    assert_eq!(world.names(HERE), ["f"]);
    assert_eq!(world.scratch.used(), Used { bytes: 10, files: 1 });
}

#[test]
fn what_all_files_may_take_together_is_enospc_and_free_again_with_what_is_removed() {
    let world = small();
    world.file(HERE, "a", b"0123456789");
    world.file(THERE, "b", b"0123456789");
    let id = world.file(HERE, "c", b"01234");
    assert_eq!(errno(world.scratch.write(id, 5, b"5")), libc::ENOSPC);
    assert_eq!(errno(world.scratch.set_len(id, 6)), libc::ENOSPC);
    let now = SystemTime::now();
    assert_eq!(errno(world.scratch.adopt(&HERE, OsStr::new("a"), b"x", 0o600, now)), libc::ENOSPC);
    world.scratch.write(id, 0, b"43210").unwrap();
    world.scratch.set_len(id, 2).unwrap();
    assert_eq!(world.scratch.used().bytes, 22);
    let world = world.reopened();
    let id = world.find(HERE, "c").unwrap();
    assert_eq!(errno(world.scratch.set_len(id, 6)), libc::ENOSPC);
    world.scratch.unlink(&HERE, OsStr::new("a")).unwrap();
    world.scratch.set_len(id, 6).unwrap();
    assert_eq!(world.bytes(id), b"43\0\0\0\0");
}

#[test]
fn one_file_more_than_allowed_is_enospc_of_whatever_kind() {
    let world = small();
    for name in ["a", "b", "c"] {
        world.mkdir(HERE, name);
    }
    world.file(THERE, "d", b"");
    let (scratch, name) = (&world.scratch, OsStr::new("e"));
    assert_eq!(errno(scratch.create(&HERE, name, 0o600, true)), libc::ENOSPC);
    assert_eq!(errno(scratch.mkdir(&HERE, name, 0o700)), libc::ENOSPC);
    assert_eq!(errno(scratch.symlink(&HERE, name, name)), libc::ENOSPC);
    assert_eq!(errno(scratch.adopt(&HERE, name, b"", 0o600, SystemTime::now())), libc::ENOSPC);
    assert!(!world.path("e").exists());
    scratch.rmdir(&HERE, OsStr::new("a")).unwrap();
    world.file(HERE, "e", b"");
}

#[test]
fn directories_too_deep_within_each_other_are_refused_made_or_moved() {
    let world = World::new();
    let mut dir = HERE;
    for _ in 0..MOST_DEEP {
        dir = Dir::Node(world.mkdir(dir, "d"));
    }
    assert_eq!(errno(world.scratch.mkdir(&dir, OsStr::new("d"), 0o700)), libc::ENAMETOOLONG);
    world.mkdir(HERE, "top");
    assert_eq!(errno(world.rename((HERE, "top"), (dir, "top"), RenameMode::Replace)), libc::ENAMETOOLONG);
    let file = world.file(dir, "file", b"deep");
    assert_eq!(world.bytes(file), b"deep");
    let used = world.scratch.used();
    let world = world.reopened();
    assert_eq!(world.scratch.used(), used);
}
