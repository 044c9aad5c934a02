//! A whole archive goes to another machine; and what that costs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Pair, commit_ids, common, pull, push, sync, write_sessions};
use crate::common::{Mount, World, stdout_of};
use crate::{needs_fuse, needs_stack};

/// Every path of a mount with its size, as `find` sees it. Left out, because it is each machine's own: its state
/// (`.cogfs/status.json`), `by/status/remote` (what is not on this machine), and the name of the machine in `by/machine`, which
/// has its id behind it where two machines have one name (one does not see the other when it takes its name).
fn tree(mount: &Path) -> BTreeSet<String> {
    let out = stdout_of(Command::new("find").arg(".").args(["-printf", "%P %s\n"]).current_dir(mount));
    let is_own = |line: &&str| line.starts_with(".cogfs/status.json ") || line.starts_with("by/status/remote");
    let named = |line: &str| match line.strip_prefix("by/machine/") {
        Some(rest) => match rest.split_once('/') {
            Some((_, rest)) => format!("by/machine/NAME/{rest}"),
            None => "by/machine/NAME".to_owned(),
        },
        None => line.to_owned(),
    };
    out.lines().filter(|line| !is_own(line)).map(named).collect()
}

fn assert_same_tree(a: &World, b: &World) {
    let (mount_a, mount_b) = (Mount::new(a), Mount::new(b));
    let (a, b) = (tree(mount_a.dir()), tree(mount_b.dir()));
    assert!(a.len() > 100, "{} files", a.len());
    let differing: Vec<_> = a.symmetric_difference(&b).take(20).collect();
    assert!(differing.is_empty(), "of {} and {} paths differ, among others: {differing:#?}", a.len(), b.len());
}

#[test]
fn the_other_machine_shows_the_same_tree_before_anything_was_fetched() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!());
    pair.a.import(&[&common::demo_logs(), &common::fixtures()]);
    let sent = push(&pair.a);
    assert!(sent["pushed"].as_u64().unwrap() > 100, "{sent}");
    assert_eq!(sent["pulled"], 0, "nothing of it is news: {sent}");
    pair.stack.requests();
    assert_eq!(pull(&pair.b)["pulled"], sent["pushed"]);
    assert_eq!(pair.stack.requests().of("fetch_contents"), 0);
    assert_same_tree(&pair.a, &pair.b);
}

/// Real transcripts, where they are.
fn transcripts() -> Vec<PathBuf> {
    let data = std::env::var_os("COGFS_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let agents = ["claude-code", "codex", "opencode", "gemini-cli", "copilot-cli"];
    agents.map(|agent| data.join(agent)).into_iter().filter(|path| path.is_dir()).collect()
}

#[test]
fn the_other_machine_shows_the_same_tree_of_real_transcripts() {
    needs_fuse!();
    let paths = transcripts();
    crate::skip_unless!(!paths.is_empty(), "no real transcripts (COGFS_TEST_DATA)");
    let mut pair = Pair::new(needs_stack!());
    // A text without its secrets is not as long as it was.
    pair.a.set_variable("COGFS_SYNC_REDACT", "false");
    let ran = pair.a.try_import(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let code = if ran.code == Some(3) { 3 } else { 0 };
    ran.exits(code);
    push(&pair.a);
    pull(&pair.b);
    assert_same_tree(&pair.a, &pair.b);
    let before = pair.stack.contents(&pair.user);
    assert_eq!(push(&pair.a)["pushed"], 0);
    pair.a.run(&["push", "--force"]).exits(0);
    assert_eq!(pair.stack.contents(&pair.user), before, "what the cloud has already changes nothing in it");
}

#[test]
fn a_push_costs_a_request_for_a_hundred_records_and_three_more_and_an_idle_cycle_one() {
    let pair = Pair::new(needs_stack!());
    write_sessions(&pair.a.logs(), 1..=230);
    pair.a.import(&[&pair.a.logs()]);
    pair.stack.requests();
    let sent = push(&pair.a)["pushed"].as_u64().unwrap();
    // A machine, a project, commits and sessions.
    assert_eq!(sent, 462);
    let requests = pair.stack.requests();
    assert!(requests.total() <= sent.div_ceil(100) + 3, "{} requests for {sent} records", requests.total());
    assert_eq!(push(&pair.a)["pushed"], 0);
    assert_eq!(pair.stack.requests().total(), 1);
    sync(&pair.b);
    pair.stack.requests();
    assert_eq!(sync(&pair.b)["pulled"], 0);
    assert_eq!(pair.stack.requests().total(), 1);
    for id in commit_ids(&pair.b).iter().take(150) {
        pair.b.run(&["edit", id, "--hidden", "true"]).exits(0);
    }
    pair.stack.requests();
    assert_eq!(push(&pair.b)["pushed"], 150);
    assert!(pair.stack.requests().total() <= 150_u64.div_ceil(100) + 3);
}

#[test]
fn what_was_sent_is_sent_once_and_sending_it_again_changes_nothing() {
    let pair = Pair::with(needs_stack!(), 30);
    let id = &commit_ids(&pair.a)[3];
    pair.a.run(&["edit", id, "--title", "Seven boats", "--tag", "harbour", "--note", "Counted twice."]).exits(0);
    pair.a.run(&["trash", &commit_ids(&pair.a)[4]]).exits(0);
    pair.sync();
    let before = pair.stack.contents(&pair.user);
    for again in [&["push"][..], &["sync"], &["push", "--force"]] {
        pair.a.run(again).exits(0);
        assert_eq!(pair.stack.contents(&pair.user), before, "{again:?}");
    }
    pair.a.run(&["sync", "reset"]).exits(0);
    let replayed = sync(&pair.a);
    assert_eq!(pair.stack.contents(&pair.user), before, "{replayed}");
    assert_eq!(replayed["conflicts"], 0, "{replayed}");
    // The other machine hears of nothing.
    let heard = sync(&pair.b);
    assert_eq!((&heard["pulled"], &heard["requests"]), (&0.into(), &1.into()), "{heard}");
}

#[test]
fn a_dry_run_asks_nobody_and_what_is_disabled_stays_here() {
    let pair = Pair::new(needs_stack!());
    write_sessions(&pair.a.logs(), 1..=3);
    common::ClaudeLog::new("trains", 9).user("Question").assistant("Answer.").write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    pair.stack.requests();
    let told = pair.a.run(&["push", "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&told["records"], pair.stack.requests().total()), (&11.into(), 0));
    pair.a.run(&["project", "disable", "trains"]).exits(0);
    assert_eq!(push(&pair.a)["pushed"], 8);
    let count = |table| pair.stack.count(&pair.user, table, "true");
    assert_eq!((count("projects"), count("cognitive_commits"), count("sessions")), (1, 3, 3));
    pair.a.run(&["project", "enable", "trains"]).exits(0);
    assert_eq!(push(&pair.a)["pushed"], 3);
    assert_eq!((count("projects"), count("cognitive_commits"), count("sessions")), (2, 4, 4));
    pull(&pair.b);
    assert_eq!(commit_ids(&pair.b).len(), 4);
}

/// Every file of a mount's projects, by its path; but for the line of `meta.json` that says whether the contents are here.
fn files(mount: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = mount.join("projects");
    let read = |path: PathBuf| {
        let mut bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if path.file_name().unwrap() == "meta.json" {
            let text = String::from_utf8(bytes).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with("  \"contents\": "));
            bytes = lines.collect::<Vec<_>>().join("\n").into_bytes();
        }
        (path.strip_prefix(&dir).unwrap().to_owned(), bytes)
    };
    common::files(&dir).into_iter().map(read).collect()
}

fn assert_same_files(a: &World, b: &World) {
    let (mount_a, mount_b) = (Mount::new(a), Mount::new(b));
    let (a, b) = (files(mount_a.dir()), files(mount_b.dir()));
    assert!(a.keys().eq(b.keys()));
    for (path, bytes) in &a {
        if *bytes == b[path] {
            continue;
        }
        let texts = [bytes, &b[path]].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let of = |text: &str, other: &str| -> Vec<String> {
            text.lines().filter(|line| !other.lines().any(|o| o == *line)).take(5).map(str::to_owned).collect()
        };
        panic!("{}: {:#?} and {:#?}", path.display(), of(&texts[0], &texts[1]), of(&texts[1], &texts[0]));
    }
}

#[test]
fn every_file_reads_the_same_on_the_other_machine_pictures_too() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!());
    pair.a.import(&[&common::demo_logs(), &common::fixtures()]);
    let sent = push(&pair.a);
    assert!(sent["pictures"]["sent"].as_u64() >= Some(3), "{sent}");
    assert_eq!(sent["pictures"]["missing"], 0, "{sent}");
    pull(&pair.b);
    assert_same_files(&pair.a, &pair.b);
    // What was read is here: without the server, too.
    pair.stack.faults(&serde_json::json!([{ "path": "/", "fault": "status", "status": 503, "count": 0 }]));
    assert_same_files(&pair.a, &pair.b);
}

#[test]
fn every_file_of_real_transcripts_reads_the_same_on_the_other_machine() {
    needs_fuse!();
    let paths = transcripts();
    crate::skip_unless!(!paths.is_empty(), "no real transcripts (COGFS_TEST_DATA)");
    let mut pair = Pair::new(needs_stack!());
    // What was taken out does not come.
    pair.a.set_variable("COGFS_SYNC_REDACT", "false");
    pair.a.try_import(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    push(&pair.a);
    pull(&pair.b);
    assert_same_files(&pair.a, &pair.b);
}
