//! Local copies go when they are old, and come back when they are read. What is nowhere else does not go by itself.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::{Pair, local, push, sync};
use crate::common::{ClaudeLog, Mount, World};
use crate::{needs_fuse, needs_stack};

const EVER: &str = "2100-01-01";
const KEY: &str = "AKIAIOSFODNN7EXAMPLQ";

#[track_caller]
fn prune(world: &World, more: &[&str]) -> Value {
    world.run(&[&["prune", "--before", EVER, "--json"], more].concat()).exits(0).json()
}

fn turns(world: &World) -> String {
    local(world, "SELECT count(*) FROM turns WHERE role > 0")
}

/// Every file below `projects/` with its bytes.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let found = walkdir::WalkDir::new(dir.join("projects")).sort_by_file_name().into_iter().map(Result::unwrap);
    let file = |entry: walkdir::DirEntry| {
        // It tells where contents are.
        let is_read = entry.file_type().is_file() && !entry.file_name().to_string_lossy().ends_with(".json");
        let path = entry.path().strip_prefix(dir).unwrap().to_string_lossy().into_owned();
        is_read.then(|| (path, std::fs::read(entry.path()).unwrap()))
    };
    found.filter_map(file).collect()
}

#[test]
fn what_is_pruned_is_listed_as_before_and_comes_back_when_it_is_read() {
    needs_fuse!();
    let pair = Pair::with(needs_stack!(), 3);
    let before = files(Mount::new(&pair.a).dir());
    let seen = prune(&pair.a, &["--dry-run"]);
    assert_eq!((&seen["sessions"], &seen["kept"]), (&json!(3), &json!({})), "{seen}");
    assert_ne!(turns(&pair.a), "0", "a dry run removes nothing");
    let done = prune(&pair.a, &[]);
    assert_eq!((&done["sessions"], &done["bytes"]), (&json!(3), &seen["bytes"]), "{done}");
    assert_eq!(turns(&pair.a), "0");
    assert_eq!(prune(&pair.a, &[])["sessions"], 0, "once");
    let done = sync(&pair.a);
    assert_eq!((&done["pushed"], &done["pulled"]), (&json!(0), &json!(0)), "it is no news: {done}");
    pair.a.import(&[&pair.a.logs()]);
    assert_eq!(turns(&pair.a), "0", "the logs say nothing new");
    let mount = Mount::new(&pair.a);
    let after = files(mount.dir());
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for (path, bytes) in &before {
        assert!(after[path] == *bytes, "{path}");
    }
    assert_ne!(turns(&pair.a), "0");
    drop(mount);
    // A copy that was fetched is pruned like any other.
    assert_eq!(prune(&pair.a, &[])["sessions"], 3);
    assert_eq!(turns(&pair.a), "0");
    pair.a.run(&["doctor", "--full"]).exits(0);
}

#[test]
fn a_pruned_session_whose_log_grows_is_here_as_a_whole() {
    let pair = Pair::new(needs_stack!());
    let mut log = ClaudeLog::new("boats", 1);
    log.user("How many boats?").assistant("Seven.");
    log.write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    push(&pair.a);
    assert_eq!(prune(&pair.a, &[])["sessions"], 1);
    log.user("And now?").assistant("Eight.");
    log.write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    assert_eq!(turns(&pair.a), "4");
    assert_eq!(local(&pair.a, "SELECT count(*) FROM sessions WHERE contents = 0"), "1");
    pair.sync();
    assert_eq!(local(&pair.b, "SELECT turns FROM sessions"), "4");
    pair.a.run(&["doctor", "--full"]).exits(0);
}

#[test]
fn what_exists_nowhere_else_goes_only_when_it_is_said() {
    let pair = Pair::with(needs_stack!(), 1);
    let mut log = ClaudeLog::new("ships", 7);
    log.user("Only here").assistant("Yes.");
    log.write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    let done = prune(&pair.a, &[]);
    assert_eq!((&done["sessions"], &done["kept"]), (&json!(1), &json!({ "only_here": 1 })), "{done}");
    assert_eq!(turns(&pair.a), "2");
    let text = pair.a.run(&["prune", "--before", EVER]).exits(0).stdout;
    assert!(text.contains("Kept 1 session: the cloud does not have them"), "{text}");
    let refused = pair.a.run(&["prune", "--before", EVER, "--all"]).exits(1);
    assert!(refused.stderr.contains("--yes"), "{}", refused.stderr);
    assert_eq!(turns(&pair.a), "2");
    let done = prune(&pair.a, &["--all", "--yes"]);
    assert_eq!(done["forgotten"]["sessions"], 1, "{done}");
    assert_eq!(turns(&pair.a), "0");
    pair.a.import(&[&pair.a.logs()]);
    assert_eq!(turns(&pair.a), "0", "a marker stays");
}

#[test]
fn what_the_cloud_has_without_its_secrets_stays_here_with_them() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!());
    let mut log = ClaudeLog::new("boats", 1);
    log.user(&format!("Use {KEY}")).assistant("Done.");
    log.write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    push(&pair.a);
    let done = prune(&pair.a, &[]);
    assert_eq!((&done["sessions"], &done["kept"]), (&json!(0), &json!({ "redacted": 1 })), "{done}");
    let done = prune(&pair.a, &["--all", "--yes"]);
    assert_eq!(done["sessions"], 1, "{done}");
    let mount = Mount::new(&pair.a);
    for (path, bytes) in files(mount.dir()) {
        let text = String::from_utf8_lossy(&bytes);
        if path.ends_with("raw.jsonl") {
            assert!(text.contains("Use [redacted:aws-access-key]") && !text.contains(KEY), "{text}");
        }
        if path.ends_with("transcript.md") {
            assert!(text.contains("Use [redacted:aws-access-key]") && text.trim_end().ends_with("Done."), "{text}");
        }
    }
}

#[test]
fn nothing_is_pruned_by_a_date_that_is_none_or_when_nobody_can_be_asked() {
    let pair = Pair::with(needs_stack!(), 1);
    let wrong = pair.a.run(&["prune", "--before", "yesterday"]).exits(1);
    assert!(wrong.stderr.contains("yesterday is no date"), "{}", wrong.stderr);
    assert_eq!(prune(&pair.a, &["--project", "boats", "--dry-run"])["sessions"], 1);
    let none = pair.a.run(&["prune", "--before", EVER, "--project", "ships"]).exits(1);
    assert!(none.stderr.contains("no project ships"), "{}", none.stderr);
    let old = pair.a.run(&["prune", "--before", "1999-12-31"]).exits(0).stdout;
    assert_eq!(old, "Nothing that the cloud has is older and still here.\n");
    pair.a.run(&["logout"]).exits(0);
    pair.a.run(&["prune", "--before", EVER]).exits(4);
    assert_ne!(turns(&pair.a), "0");
}
