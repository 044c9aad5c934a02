//! What others do to the folder: nothing outside it is touched, and what they remove is gone.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_scratch_link_is_text_and_never_followed() {
    let world = World::new();
    let secret = world.dir.path().join("secret");
    std::fs::write(&secret, "outside").unwrap();
    let link = world.scratch.symlink(&HERE, OsStr::new("l"), secret.as_os_str()).unwrap();
    assert_eq!(errno(world.scratch.read(link, 0, 10)), libc::EINVAL);
    assert_eq!(errno(world.scratch.write(link, 0, b"x")), libc::EINVAL);
    assert_eq!(errno(world.scratch.release(link)), libc::EINVAL);
    world.scratch.set_mtime(link, SystemTime::UNIX_EPOCH).unwrap();
    assert!(std::fs::metadata(&secret).unwrap().modified().unwrap() > SystemTime::UNIX_EPOCH);
    assert_eq!(world.scratch.readlink(link).unwrap(), secret.as_os_str().as_encoded_bytes());
    world.scratch.adopt(&HERE, OsStr::new("l"), b"document", 0o600, SystemTime::now()).unwrap();
    assert_eq!(std::fs::read(&secret).unwrap(), b"outside");
}

#[test]
fn a_link_put_in_the_place_of_a_file_or_folder_does_not_lead_outside() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f"), "outside").unwrap();
    let dir = world.mkdir(HERE, "d");
    let (file, inner) = (world.file(HERE, "f", b"in"), world.file(Dir::Node(dir), "f", b"in"));
    std::fs::remove_file(world.path("f")).unwrap();
    symlink(outside.join("f"), world.path("f")).unwrap();
    std::fs::remove_dir_all(world.path("d")).unwrap();
    symlink(&outside, world.path("d")).unwrap();

    for id in [file, inner] {
        world.scratch.read(id, 0, 10).unwrap_err();
        world.scratch.write(id, 0, b"x").unwrap_err();
        world.scratch.set_mode(id, 0o777).unwrap_err();
    }
    world.scratch.create(&Dir::Node(dir), OsStr::new("new"), 0o600, true).unwrap_err();
    world.scratch.create(&HERE, OsStr::new("f"), 0o600, false).unwrap_err();
    assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"outside");
    assert!(!outside.join("new").exists());

    let world = world.reopened();
    let d = world.find(HERE, "d").unwrap();
    assert_eq!(world.scratch.attr(d).unwrap().kind, NodeKind::Symlink);
    world.scratch.sweep(SystemTime::now() + days(30)).unwrap();
    assert!(outside.join("f").exists());
}

#[test]
fn a_place_that_is_a_link_is_not_entered() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("f"), "outside").unwrap();
    std::fs::create_dir_all(world.root()).unwrap();
    symlink(&outside, world.root().join(disk::folder(place(1)))).unwrap();
    let world = world.reopened();
    assert!(world.names(HERE).is_empty());
    world.scratch.create(&HERE, OsStr::new("x"), 0o600, true).unwrap_err();
    world.scratch.sweep(SystemTime::now() + days(30)).unwrap();
    world.scratch.forget_place(place(1)).unwrap();
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn a_cache_that_was_emptied_is_empty_and_can_be_used_again() {
    let world = World::new();
    let dir = world.mkdir(HERE, "d");
    let (file, inner) = (world.file(HERE, "f", b"1"), world.file(Dir::Node(dir), "i", b"2"));
    let other = world.file(THERE, "o", b"3");
    std::fs::remove_dir_all(world.dir.path().join("cache")).unwrap();
    assert_eq!(errno(world.scratch.read(inner, 0, 1)), libc::ENOENT);
    assert_eq!(world.find(HERE, "f"), None);
    assert_eq!(errno(world.scratch.write(file, 0, b"x")), libc::ENOENT);
    assert_eq!(errno(world.scratch.write(other, 0, b"x")), libc::ENOENT);
    assert_eq!(world.scratch.used(), Used { bytes: 0, files: 0 });
    let again = world.file(HERE, "f", b"again");
    assert_eq!(world.bytes(again), b"again");
}

#[test]
fn a_name_that_another_mount_made_is_taken_in() {
    let world = World::new();
    world.file(HERE, "a", b"");
    let other = Scratch::open(world.root(), Limits::default()).unwrap();
    let (theirs, _) = other.create(&HERE, OsStr::new(".swp"), 0o600, true).unwrap();
    other.write(theirs, 0, b"theirs").unwrap();
    assert_eq!(errno(world.scratch.create(&HERE, OsStr::new(".swp"), 0o600, true)), libc::EEXIST);
    let (id, was_there) = world.scratch.create(&HERE, OsStr::new(".swp"), 0o600, false).unwrap();
    assert!(was_there);
    assert_eq!(world.bytes(id), b"theirs");
    other.mkdir(&HERE, OsStr::new("d"), 0o700).unwrap();
    assert_eq!(errno(world.scratch.mkdir(&HERE, OsStr::new("d"), 0o700)), libc::EEXIST);
    assert!(world.find(HERE, "d").is_some());
}

#[test]
fn what_is_no_scratch_file_is_left_out_and_what_an_interrupted_run_left_is_removed() {
    let world = World::new();
    world.file(HERE, "f", b"1");
    let root = world.root();
    std::fs::write(root.join("notes.txt"), "someone's").unwrap();
    std::fs::create_dir(root.join(".gone-1-2-3")).unwrap();
    std::fs::write(root.join(".gone-1-2-3/x"), "half removed").unwrap();
    std::fs::write(root.join(".new-1-2-3"), "half written").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(world.path("socket")).unwrap();
    let world = world.reopened();
    assert_eq!(world.names(HERE), ["f"]);
    assert!(!root.join(".gone-1-2-3").exists());
    assert!(root.join(".new-1-2-3").exists(), "another mount may be writing it");
    world.scratch.sweep(SystemTime::now() + days(8)).unwrap();
    assert!(!root.join(".new-1-2-3").exists());
    assert!(root.join("notes.txt").exists());
}

#[test]
fn a_folder_name_is_a_place_only_as_cogfs_writes_it() {
    let hex = "00112233445566778899aabbccddeeff";
    assert_eq!(disk::place(OsStr::new(hex)).map(disk::folder).as_deref(), Some(hex));
    for other in
        [&hex.to_uppercase(), &hex[..30], "+0112233445566778899aabbccddeeff", "", "é0112233445566778899aabbccddeef"]
    {
        assert_eq!(disk::place(OsStr::new(other)), None, "{other}");
    }
}
