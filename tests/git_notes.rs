//! `cogfs git-notes`: conversations of a real repository's commits.

mod common;

use std::path::Path;
use std::process::Command;

use common::{ClaudeLog, World};
use serde_json::json;

const KEY: &str = "AKIAIOSFODNN7EXAMPLQ";

fn git(dir: &Path, args: &[&str]) -> String {
    let mut command = Command::new("git");
    command.arg("-C").arg(dir).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "Mira").env(format!("GIT_{name}_EMAIL"), "mira@example.test");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn commit(dir: &Path, subject: &str) -> String {
    git(dir, &["commit", "-q", "--allow-empty", "-m", subject]);
    git(dir, &["rev-parse", "HEAD"])
}

/// A repository with two commits, of which a conversation led to the second.
fn repository(world: &World) -> (tempfile::TempDir, [String; 2]) {
    let repo = tempfile::tempdir().unwrap();
    git(repo.path(), &["init", "-q", "-b", "main"]);
    let hashes = ["Begin", "Count the boats"].map(|subject| commit(repo.path(), subject));
    let mut log = ClaudeLog::new("boats", 1);
    log.user(&format!("How many boats? {KEY}")).assistant("Seven.").git_commit(&hashes[1][..7], "Count the boats");
    // Of another repository that has a commit of that hash.
    let mut other = ClaudeLog::new("ships", 2);
    other.user("Elsewhere").assistant("Yes.").git_commit(&hashes[0][..7], "Something else");
    log.write(&world.logs());
    other.write(&world.logs());
    world.import(&[&world.logs()]);
    (repo, hashes)
}

#[test]
fn a_repositorys_commits_get_the_conversations_that_led_to_them() {
    let world = World::new();
    let (repo, [first, second]) = repository(&world);
    let dir = repo.path().to_str().unwrap();
    let seen = world.run(&["git-notes", "write", dir, "--dry-run", "--json"]).exits(0).json();
    assert_eq!(seen["commits"][0]["hash"], second, "{seen}");
    assert_eq!(seen["commits"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(git(repo.path(), &["notes", "--ref=cogfs", "list"]), "", "a dry run writes nothing");

    let done = world.run(&["git-notes", "write", dir, "--json"]).exits(0).json();
    assert_eq!((&done["written"], &done["redacted"]), (&json!(1), &json!({ "aws-access-key": 1 })), "{done}");
    let note = git(repo.path(), &["notes", "--ref=cogfs", "show", &second]);
    assert!(note.contains("How many boats?") && note.contains("Seven."), "{note}");
    assert!(!note.contains(KEY) && !git(repo.path(), &["log", "--notes=cogfs", "-1", &first]).contains("Yes."));
    let text = world.run(&["git-notes", "write", dir]).exits(0).stdout;
    assert!(text.contains("0 notes written") && text.contains("`git log --notes=cogfs`"), "{text}");

    let shown = world.run(&["git-notes", "show", dir]).exits(0).stdout;
    assert!(shown.contains(KEY), "what is shown here has not left");
    let none = world.run(&["git-notes", "show", dir, "--commit", "HEAD~1"]).exits(1);
    assert!(none.stderr.contains(&format!("no conversation is known of {first}")), "{}", none.stderr);
}

#[test]
fn a_note_is_shown_where_the_conversation_is_not_known() {
    let (world, stranger) = (World::new(), World::new());
    let (repo, [_, second]) = repository(&world);
    let dir = repo.path().to_str().unwrap();
    world.run(&["git-notes", "write", dir]).exits(0);
    stranger.import(&[&common::demo_logs()]);
    let note = stranger.run(&["git-notes", "show", dir]).exits(0).stdout;
    assert_eq!(note.trim(), git(repo.path(), &["notes", "--ref=cogfs", "show", &second]));
    let nothing = stranger.run(&["git-notes", "write", dir]).exits(0).stdout;
    assert_eq!(nothing, "No conversation is known of this repository's commits.\n");
}

#[test]
fn an_amended_commit_is_found_by_its_changes_and_what_is_no_repository_is_told() {
    let world = World::new();
    let (repo, _) = repository(&world);
    let dir = repo.path().to_str().unwrap();
    std::fs::write(repo.path().join("oars"), "two\n").unwrap();
    git(repo.path(), &["add", "oars"]);
    let old = commit(repo.path(), "Add oars");
    let mut log = ClaudeLog::new("boats", 3);
    log.user("Oars, please").assistant("Two.").git_commit(&old[..7], "Add oars");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    git(repo.path(), &["commit", "-q", "--amend", "-m", "Add two oars"]);
    let done = world.run(&["git-notes", "write", dir, "--json"]).exits(0).json();
    let new = git(repo.path(), &["rev-parse", "HEAD"]);
    let noted = done["commits"].as_array().unwrap().iter().find(|commit| commit["hash"] == new);
    assert_eq!(noted.map(|commit| &commit["replaces"]), Some(&json!(old)), "{done}");
    assert!(world.run(&["git-notes", "show", dir]).exits(0).stdout.contains("Oars, please"));

    let empty = tempfile::tempdir().unwrap();
    let told = world.run(&["git-notes", "write", empty.path().to_str().unwrap()]).exits(1);
    assert!(told.stderr.contains("is in no git repository"), "{}", told.stderr);
}
