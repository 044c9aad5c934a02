//! What the kernel asks of the mount: few things in a first pass over the tree, nothing in a second one.
//!
//! Request counts are exact where times are not: see `COGFS_REQUEST_LOG`.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{ClaudeLog, Mount, World};

/// The samples, and enough more that a request too many a file or a directory stands out.
fn world() -> World {
    let world = World::with_samples();
    for number in 1..=8 {
        let mut log = ClaudeLog::new("busy", number);
        for step in 0..60 {
            log.user(&format!("Step {step}, please.")).assistant(&format!("Step {step} of {number} needs a shell."));
            log.bash("seq 1 200", &(1..=200).map(|n| format!("{n}\n")).collect::<String>());
        }
        // One file larger than the largest single read.
        log.assistant(&"A long answer, line by line.\n".repeat(20_000));
        log.write(&world.logs());
    }
    world.import(&[&world.logs()]);
    world
}

/// Runs a program over the tree; what it finds does not matter here.
fn over(program: &str, args: &[&str], dir: &Path) {
    let mut command = Command::new(program);
    command.args(args).arg(dir).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().unwrap_or_else(|e| panic!("{program}: {e}"));
}

fn stat_all(dir: &Path) {
    for entry in common::walk(dir) {
        fs::symlink_metadata(entry.path()).unwrap();
    }
}

/// A walk over the tree by some program.
type Pass<'a> = Box<dyn Fn() + 'a>;

#[test]
fn a_second_pass_over_the_tree_asks_nothing() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let dir = mount.path("projects");
    let archive = world.root().join("all.tar");
    let archive = archive.to_str().unwrap();
    // tar writes to /dev/null without reading, so it gets a real file.
    let passes: [(&str, Pass<'_>); 5] = [
        ("grep -r", Box::new(|| over("grep", &["-r", "no such words"], &dir))),
        ("find", Box::new(|| over("find", &[], &dir))),
        ("stat of all", Box::new(|| stat_all(&dir))),
        ("tar", Box::new(|| over("tar", &["-cf", archive], &dir))),
        ("rg", Box::new(|| over("rg", &["no such words"], &dir))),
    ];
    for (name, pass) in passes {
        if name == "rg" && !common::has_program("rg") {
            common::skipped("no rg");
            continue;
        }
        pass();
        // The kernel drops pages at any time when memory is wanted elsewhere, or somebody has it drop them all: of ten passes one
        // must be silent.
        let mut asked = mount.requests_of(&pass);
        for _ in 0..9 {
            if asked.is_empty() {
                break;
            }
            asked = mount.requests_of(&pass);
        }
        assert!(asked.is_empty(), "a repeated pass of {name} asked {asked:?}");
    }
}

fn count(asked: &BTreeMap<String, u64>, kinds: &[&str]) -> u64 {
    kinds.iter().filter_map(|kind| asked.get(*kind)).sum()
}

#[test]
fn a_first_grep_asks_once_for_each_piece_and_twice_for_each_directory() {
    needs_fuse!();
    const PIECE: u64 = 128 * 1024;
    let world = world();
    let mount = Mount::new(&world);
    let dir = mount.path("projects");
    let asked = mount.requests_of(|| over("grep", &["-r", "no such words"], &dir));
    let entries = common::walk(&dir);
    let sizes: Vec<u64> = entries
        .iter()
        .filter(|e| e.file_type().is_file())
        .map(|e| e.path().symlink_metadata().unwrap().len())
        .collect();
    let pieces: u64 = sizes.iter().map(|size| size.div_ceil(PIECE)).sum();
    // The first reads of a file ask for less than a whole piece (the kernel's readahead grows up to it).
    let long: u64 = sizes.iter().filter(|size| **size > PIECE / 4).count() as u64;
    let directories = entries.iter().filter(|e| e.file_type().is_dir()).count() as u64 + 1;
    let reads = count(&asked, &["read"]);
    assert!(reads <= pieces + 2 * long + 16, "{reads} READs for {pieces} pieces in {} files: {asked:?}", sizes.len());
    // A long listing takes more than one answer: some 25 entries with attributes fill the 4 KiB that older kernels offer.
    let lists = count(&asked, &["readdir", "readdirplus"]);
    let bound = 2 * directories + entries.len() as u64 / 20 + 16;
    assert!(lists <= bound, "{lists} READDIRs for {directories} directories: {asked:?}");
    let opens = count(&asked, &["open", "opendir", "release", "releasedir", "flush", "getxattr"]);
    assert!(opens <= 12, "the kernel was not told to stop asking: {asked:?}");
    let others = count(&asked, &["lookup", "getattr"]);
    assert!(
        others <= entries.len() as u64 + 16,
        "{others} LOOKUPs and GETATTRs for {} entries: {asked:?}",
        entries.len()
    );
}

#[test]
fn a_first_grep_reads_few_of_the_files_itself() {
    needs_fuse!();
    let world = world();
    let mount = Mount::new(&world);
    let dir = mount.path("projects");
    let asked = mount.requests_of(|| over("grep", &["-r", "no such words"], &dir));
    let files = common::walk(&dir).iter().filter(|e| e.file_type().is_file()).count() as u64;
    assert!(count(&asked, &["read"]) <= files / 4, "of {files} files: {asked:?}");
}

/// A world of one session of so many steps, and how many turns it has.
fn long_session(steps: usize) -> (World, usize) {
    let world = World::new();
    let mut log = ClaudeLog::new("long", 1);
    for step in 0..steps {
        log.user(&format!("Step {step}, please.")).assistant(&format!("Step {step} is done."));
    }
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    (world, 2 * steps)
}

#[test]
fn who_reads_from_the_end_is_given_the_turns_before() {
    needs_fuse!();
    let (world, count) = long_session(150);
    let mount = Mount::new(&world);
    let turns = common::turn_files(mount.dir());
    assert_eq!(turns.len(), count);
    stat_all(&mount.path("projects"));
    let asked = mount.requests_of(|| turns.iter().rev().for_each(|t| drop(fs::read(t).unwrap())));
    let reads = asked.get("read").copied().unwrap_or_default();
    assert!(reads <= 5, "{reads} reads for {count} files, most of which were stored ahead");
}

#[test]
fn who_walks_on_is_given_the_documents_beside_the_one_it_reads() {
    needs_fuse!();
    let (world, count) = long_session(40);
    let mount = Mount::new(&world);
    stat_all(&mount.path("projects"));
    let turns = common::turn_files(mount.dir());
    fs::read(&turns[0]).unwrap();
    fs::read(&turns[1]).unwrap();
    assert_eq!(mount.requests()["stored"], count as u64 - 2, "the turns behind the second");
    let session = turns[0].parent().and_then(Path::parent).unwrap();
    fs::read(session.join("transcript.md")).unwrap();
    let asked = mount.requests_of(|| {
        let json = fs::read_to_string(session.join("meta.json")).unwrap();
        assert!(json.starts_with('{') && json.ends_with("}\n"), "{json}");
        assert!(fs::read_to_string(session.join("raw.jsonl")).unwrap().contains("Step 39, please."));
    });
    assert_eq!(asked.get("read"), None, "{asked:?}");
}

#[test]
fn who_reads_two_turns_in_a_row_is_given_the_rest_before_asking() {
    needs_fuse!();
    let (world, count) = long_session(150);
    let mount = Mount::new(&world);
    let turns = common::turn_files(mount.dir());
    assert_eq!(turns.len(), count);
    // Listed with attributes, as every program that walks a tree does: the kernel knows the files.
    stat_all(&mount.path("projects"));
    let mut contents = Vec::new();
    let asked = mount.requests_of(|| contents = turns.iter().map(|t| fs::read_to_string(t).unwrap()).collect());
    let reads = asked.get("read").copied().unwrap_or_default();
    assert!(reads <= 5, "{reads} reads for {count} files, most of which were stored ahead");
    for (step, pair) in contents.chunks(2).enumerate() {
        assert!(pair[0].contains(&format!("Step {step}, please.")), "{}", pair[0]);
        assert!(pair[1].contains(&format!("Step {step} is done.")), "{}", pair[1]);
    }
}
