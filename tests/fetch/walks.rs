//! Who reads many conversations makes few requests.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{Mount, files_named};
use crate::needs_fuse;
use crate::stage::Stage;

const SESSIONS: u32 = 50;

/// Those that stand directly in commits.
fn transcripts(mount: &Mount<'_>) -> Vec<PathBuf> {
    let mut found = files_named(&mount.path("projects"), |name| name == "transcript.md");
    found.retain(|file| !file.to_str().unwrap().contains("/sessions/"));
    found.sort();
    found
}

#[test]
fn transcripts_that_are_read_one_after_the_other_come_several_at_once_upwards_and_downwards() {
    needs_fuse!();
    for downwards in [false, true] {
        let stage = Stage::with(SESSIONS);
        let mount = Mount::new(&stage.b);
        let mut files = transcripts(&mount);
        assert_eq!(files.len(), SESSIONS as usize);
        if downwards {
            files.reverse();
        }
        let ran = Command::new("cat").args(&files).stdout(Stdio::null()).status().unwrap();
        assert!(ran.success());
        let fetches = stage.fetches();
        // 1, 4, 8, 16 and 20, where nothing else happens on the machine.
        assert!(fetches <= 15, "{fetches} requests for {SESSIONS} sessions, downwards: {downwards}");
    }
}

#[test]
fn who_opens_one_here_and_one_there_is_given_those_alone() {
    needs_fuse!();
    let stage = Stage::with(20);
    let mount = Mount::new(&stage.b);
    let files = transcripts(&mount);
    for at in [0, 10, 19, 5] {
        assert!(!fs::read(&files[at]).unwrap().is_empty());
    }
    let ids: usize = stage
        .double
        .asked()
        .iter()
        .filter(|asked| asked.path == crate::stage::FETCH)
        .map(|asked| asked.json()["ids"].as_array().unwrap().len())
        .sum();
    assert_eq!((stage.fetches(), ids), (4, 4));
}

#[test]
fn many_readers_at_once_ask_for_each_session_once() {
    needs_fuse!();
    let stage = Stage::with(30);
    let mount = Mount::new(&stage.b);
    let files = transcripts(&mount);
    std::thread::scope(|scope| {
        for offset in 0..6 {
            let files = &files;
            scope.spawn(move || {
                for at in 0..files.len() {
                    let file = &files[(at + 5 * offset) % files.len()];
                    assert_eq!(fs::read(file).unwrap().len() as u64, fs::metadata(file).unwrap().len());
                }
            });
        }
    });
    let mut ids: Vec<String> = Vec::new();
    for asked in stage.double.asked().iter().filter(|asked| asked.path == crate::stage::FETCH) {
        ids.extend(asked.json()["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()));
    }
    let asked = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!((asked, ids.len()), (30, 30));
}
