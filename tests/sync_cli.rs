//! The commands of the cloud, as far as they need none.

mod common;

use common::{ClaudeLog, World};
use serde_json::json;

fn world() -> World {
    let world = World::new();
    for number in 1..=2 {
        ClaudeLog::new("boats", number).user("Question").assistant("Answer.").write(&world.logs());
    }
    ClaudeLog::new("trains", 3).user("Question").assistant("Answer.").write(&world.logs());
    world.import(&[&world.logs()]);
    world
}

#[test]
fn without_a_cloud_a_cycle_says_what_to_do() {
    let world = world();
    for command in [&["push"][..], &["pull"], &["sync"], &["sync", "now", "--json"]] {
        let ran = world.run(command).exits(1);
        assert!(ran.stderr.contains("cogfs config set sync.url"), "{command:?}: {}", ran.stderr);
    }
}

#[test]
fn a_dry_run_counts_what_would_be_sent_and_leaves_out_what_stays_here() {
    let world = world();
    // A machine, two projects, three commits, three sessions.
    let all = world.run(&["push", "--dry-run", "--json"]).exits(0).json();
    assert_eq!((&all["records"], &all["edits"]), (&json!(9), &json!(0)));
    let one = world.run(&["push", "trains", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(one["records"], 3);
    world.run(&["project", "disable", "boats"]).exits(0);
    let left = world.run(&["push", "--dry-run", "--json"]).exits(0).json();
    assert_eq!(left["records"], 4);
    let ran = world.run(&["push", "ships", "--dry-run"]).exits(1);
    assert!(ran.stderr.contains("there is no project ships"), "{}", ran.stderr);
}

#[test]
fn conversations_that_a_cogfsignore_names_stay_here() {
    let world = world();
    let mut parent = ClaudeLog::new("boats", 7);
    parent.user("A secret question").assistant("Yes.").write(&world.logs());
    world.import(&[&world.logs()]);
    let records = || world.run(&["push", "--dry-run", "--json"]).exits(0).json()["records"].as_u64().unwrap();
    let all = records();
    let log = parent.path(&world.logs());
    let settings = world.home().join("config/cogfsignore");
    std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
    std::fs::write(&settings, format!("{}\n", log.display())).unwrap();
    assert_eq!(records(), all - 2, "a commit and its session");
    // By the folder that it was in, as for all of the project.
    std::fs::write(&settings, format!("{}\n", "/w/boats")).unwrap();
    assert!(records() < all - 2);
    std::fs::write(&settings, "*.pem\n").unwrap();
    assert_eq!(records(), all);
}

#[test]
fn projects_are_listed_with_whether_they_are_synced() {
    let world = world();
    let disabled = world.run(&["project", "disable", "boats", "--json"]).exits(0).json();
    assert_eq!((&disabled["directory"], &disabled["enabled"]), (&json!("boats"), &json!(false)));
    let listed = world.run(&["project", "list", "--json"]).exits(0).json();
    let enabled: Vec<_> =
        listed.as_array().unwrap().iter().map(|p| (p["directory"].clone(), p["enabled"].clone())).collect();
    assert_eq!(enabled, [(json!("boats"), json!(false)), (json!("trains"), json!(true))]);
    assert!(world.run(&["project", "list"]).exits(0).stdout.contains("boats   2 commits  not synced"));
    world.run(&["project", "enable", "boats"]).exits(0);
    assert!(!world.run(&["project", "list"]).exits(0).stdout.contains("not synced"));
}

#[test]
fn the_state_is_told_without_asking_anybody() {
    let world = world();
    let state = world.run(&["sync", "status", "--json"]).exits(0).json();
    assert_eq!((&state["account"], &state["waiting_edits"], &state["conflicts"]), (&json!(null), &json!(0), &json!(0)));
    assert_eq!(world.run(&["sync", "conflicts", "--json"]).exits(0).json(), json!([]));
    let ran = world.run(&["sync", "conflicts", "take", "7", "local"]).exits(1);
    assert!(ran.stderr.contains("no open conflict 7"), "{}", ran.stderr);
    world.run(&["sync", "reset", "--adopt"]).exits(0);
}
