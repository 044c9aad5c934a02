//! What outlives its name, and what goes when.

use super::*;

#[test]
fn an_unlinked_file_is_there_until_it_is_forgotten() {
    let world = World::new();
    let id = world.file(HERE, ".swx", b"one");
    assert!(world.scratch.remember(id) && world.scratch.remember(id));
    world.scratch.unlink(&HERE, OsStr::new(".swx")).unwrap();
    assert_eq!(world.find(HERE, ".swx"), None);
    world.scratch.write(id, 3, b" two").unwrap();
    assert_eq!(world.bytes(id), b"one two");
    world.scratch.set_len(id, 5).unwrap();
    world.scratch.set_mode(id, 0o400).unwrap();
    world.scratch.set_mtime(id, SystemTime::UNIX_EPOCH).unwrap();
    world.scratch.sync(id).unwrap();
    let attr = world.scratch.attr(id).unwrap();
    assert_eq!((attr.size, attr.mode, attr.mtime, attr.nlink), (5, 0o400, Millis(0), 0));
    assert_eq!(world.scratch.used(), Used { bytes: 5, files: 1 });
    assert!(!world.scratch.forget(id, 1));
    assert!(world.scratch.forget(id, 1));
    assert_eq!(errno(world.scratch.read(id, 0, 1)), libc::ENOENT);
    assert_eq!(world.scratch.used(), Used { bytes: 0, files: 0 });
    assert!(!world.scratch.remember(id));
}

#[test]
fn what_a_rename_replaces_is_there_until_it_is_forgotten() {
    let world = World::new();
    let (old, new) = (world.file(HERE, "a", b"old"), world.file(HERE, "b", b"new"));
    world.scratch.remember(old);
    world.rename((HERE, "b"), (HERE, "a"), RenameMode::Replace).unwrap();
    world.scratch.adopt(&HERE, OsStr::new("a"), b"document", 0o600, SystemTime::now()).unwrap();
    assert_eq!(world.bytes(old), b"old");
    assert_eq!(errno(world.scratch.attr(new)), libc::ENOENT);
    assert!(world.scratch.forget(old, 1));
    assert_eq!(world.scratch.used(), Used { bytes: 8, files: 1 });
}

#[test]
fn a_released_file_that_is_held_can_be_written_on() {
    let world = World::new();
    let id = world.file(HERE, "sedAbCdEf", b"bytes");
    world.scratch.remember(id);
    assert_eq!(world.scratch.release(id).unwrap(), b"bytes");
    world.scratch.write(id, 5, b"!").unwrap();
    assert_eq!(world.bytes(id), b"bytes!");
    assert_eq!(world.scratch.release(id).unwrap(), b"bytes!");
    assert!(world.scratch.forget(id, 1));
}

#[test]
fn unlinked_links_and_directories_that_are_held_answer_as_on_linux() {
    let world = World::new();
    let dir = world.mkdir(HERE, "d");
    let link = world.scratch.symlink(&HERE, OsStr::new("l"), OsStr::new("to")).unwrap();
    world.scratch.remember(dir);
    world.scratch.remember(link);
    world.scratch.rmdir(&HERE, OsStr::new("d")).unwrap();
    world.scratch.unlink(&HERE, OsStr::new("l")).unwrap();
    assert_eq!(world.scratch.readlink(link).unwrap(), b"to");
    assert!(world.names(Dir::Node(dir)).is_empty());
    assert_eq!(world.find(Dir::Node(dir), "x"), None);
    assert_eq!(errno(world.scratch.create(&Dir::Node(dir), OsStr::new("x"), 0o600, true)), libc::ENOENT);
    world.scratch.set_mode(dir, 0o700).unwrap();
    assert!(world.scratch.forget(dir, 1) && world.scratch.forget(link, 1));
}

#[test]
fn a_forgotten_file_that_has_a_name_keeps_its_number() {
    let world = World::new();
    let id = world.file(HERE, "meta.md~", b"x");
    world.scratch.remember(id);
    assert!(!world.scratch.forget(id, 5));
    assert_eq!(world.find(HERE, "meta.md~"), Some(id));
    assert!(world.scratch.forget(ScratchId(77), 1), "there is nothing under a number that never was");
}

#[test]
fn names_and_attributes_are_answered_while_a_file_is_being_written() {
    let world = World::new();
    let (slow, other) = (world.file(HERE, "slow", b"s"), world.file(HERE, "other", b"o"));
    // What a write holds while the disk is at it.
    let gate = world.scratch.gate(slow).unwrap();
    let _writing = lock(&gate);
    assert_eq!(world.find(HERE, "slow"), Some(slow));
    assert_eq!(world.scratch.attr(slow).unwrap().size, 1);
    assert_eq!(world.bytes(slow), b"s");
    world.scratch.write(other, 0, b"O").unwrap();
    world.rename((HERE, "slow"), (HERE, "s"), RenameMode::Replace).unwrap();
    world.scratch.unlink(&HERE, OsStr::new("s")).unwrap();
}

#[test]
fn contents_are_changed_by_one_at_a_time() {
    let world = World::new();
    let id = world.file(HERE, "f", b"before");
    let gate = world.scratch.gate(id).unwrap();
    let writing = lock(&gate);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| world.scratch.write(id, 0, b"behind").unwrap());
        // The table has one, this test one, and the writer one when it waits.
        while std::sync::Arc::strong_count(&gate) < 3 && !writer.is_finished() {
            std::thread::yield_now();
        }
        for _ in 0..500 {
            assert_eq!(world.bytes(id), b"before");
        }
        drop(writing);
    });
    assert_eq!(world.bytes(id), b"behind");
}

#[test]
fn writers_of_one_file_and_of_its_name_lose_no_byte_of_the_count() {
    let world = World::new();
    for _ in 0..200 {
        let id = world.file(HERE, "f", b"");
        world.scratch.remember(id);
        let start = std::sync::Barrier::new(4);
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let (world, start) = (&world, &start);
                threads.spawn(move || {
                    start.wait();
                    for n in 0..3 {
                        world.scratch.write(id, (n * 4 + thread) * 10, b"0123456789").unwrap();
                    }
                });
            }
            world.rename((HERE, "f"), (HERE, "g"), RenameMode::Replace).unwrap();
            world.scratch.unlink(&HERE, OsStr::new("g")).unwrap();
        });
        assert_eq!(world.bytes(id), b"0123456789".repeat(12));
        assert_eq!(world.scratch.used().bytes, 120);
        world.scratch.forget(id, 1);
        assert_eq!(world.scratch.used().bytes, 0);
    }
}

#[test]
fn what_was_not_changed_for_a_week_is_swept_and_its_mtime_does_not_matter() {
    let world = World::new();
    let id = world.file(HERE, "meta.md~", b"12345");
    // vim gives its backup the times of the file it saves.
    world.scratch.set_mtime(id, SystemTime::now() - days(400)).unwrap();
    let now = SystemTime::now();
    assert_eq!(world.scratch.sweep(now + days(6)).unwrap(), Swept::default());
    let swept = world.scratch.sweep(now + days(8)).unwrap();
    let name = SweptName { place: place(1), name: "meta.md~".into(), id: Some(id) };
    assert_eq!(swept, Swept { removed: vec![name], held: vec![] });
    assert_eq!(world.find(HERE, "meta.md~"), None);
    assert_eq!(world.scratch.used(), Used { bytes: 0, files: 0 });
    assert!(disk::names(&world.scratch.disk.root().unwrap()).unwrap().is_empty(), "the empty place went too");
    world.file(HERE, "meta.md~", b"again");
}

#[test]
fn a_tree_goes_as_a_whole_or_not_at_all() {
    let world = World::with(Limits { age: Duration::ZERO, ..Limits::default() });
    let git = world.mkdir(HERE, ".git");
    let (head, index) = (world.file(Dir::Node(git), "HEAD", b"ref"), world.file(Dir::Node(git), "index", b"1"));
    let changed = |id| u64::try_from(world.scratch.attr(id).unwrap().ctime.0).map(Duration::from_millis).unwrap();
    // The disk's clock is coarse.
    while changed(index) <= changed(head) {
        world.scratch.write(index, 0, b"2").unwrap();
    }
    let head_is_old = SystemTime::UNIX_EPOCH + changed(head);
    assert!(world.scratch.sweep(head_is_old).unwrap().removed.is_empty());
    assert_eq!(world.names(Dir::Node(git)), ["HEAD", "index"]);
    let swept = world.scratch.sweep(head_is_old + days(1)).unwrap();
    assert_eq!(swept.removed.len(), 1);
    assert!(!world.path(".git").exists());
    assert_eq!(world.scratch.used(), Used { bytes: 0, files: 0 });
}

#[test]
fn a_sweep_leaves_what_the_kernel_holds_and_says_so() {
    let world = World::new();
    let dir = world.mkdir(HERE, "d");
    let inner = world.file(Dir::Node(dir), "open", b"held");
    let unlinked = world.file(HERE, "gone", b"unlinked");
    world.scratch.remember(inner);
    world.scratch.remember(unlinked);
    world.scratch.unlink(&HERE, OsStr::new("gone")).unwrap();
    let later = SystemTime::now() + days(30);
    let swept = world.scratch.sweep(later).unwrap();
    assert_eq!(swept.held, [SweptName { place: place(1), name: "d".into(), id: Some(dir) }]);
    assert!(swept.removed.is_empty());
    assert_eq!((world.bytes(inner), world.bytes(unlinked)), (b"held".to_vec(), b"unlinked".to_vec()));
    world.scratch.forget(inner, 1);
    assert_eq!(world.scratch.sweep(later).unwrap().removed.len(), 1);
    assert_eq!(world.bytes(unlinked), b"unlinked");
}

#[test]
fn a_forgotten_place_has_nothing_left_and_the_others_all() {
    let world = World::new();
    let (id, other) = (world.file(HERE, "a", b"secret"), world.file(THERE, "a", b"kept"));
    let unlinked = world.file(HERE, "b", b"secret too");
    for id in [id, unlinked] {
        world.scratch.remember(id);
    }
    world.scratch.unlink(&HERE, OsStr::new("b")).unwrap();
    world.scratch.forget_place(place(1)).unwrap();
    for id in [id, unlinked] {
        assert_eq!(errno(world.scratch.read(id, 0, 9)), libc::ENOENT);
        assert!(world.scratch.forget(id, 1));
    }
    assert_eq!(world.bytes(other), b"kept");
    assert_eq!(disk::names(&world.scratch.disk.root().unwrap()).unwrap(), [disk::folder(place(2)).as_str()]);
    assert_eq!(world.scratch.used(), Used { bytes: 4, files: 1 });
}
