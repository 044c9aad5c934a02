//! Accounts: how much they hold, and that one's conversations do not get into another's.

use serde_json::json;

use super::{Pair, commit_ids, local, pull, push, sync, write_sessions};
use crate::common::stack::Stack;
use crate::needs_stack;

#[test]
fn a_full_account_takes_the_newest_and_the_rest_stays_and_is_told() {
    let stack = needs_stack!();
    let user = stack.user();
    let world = stack.machine(&user);
    write_sessions(&world.logs(), 1..=255);
    world.import(&[&world.logs()]);
    let ran = world.run(&["push"]).exits(3);
    assert!(
        ran.stdout.contains("The cloud refused 5 records") && ran.stdout.contains("quota_commits"),
        "{}",
        ran.stdout
    );
    assert_eq!(stack.count(&user, "cognitive_commits", "facts is not null"), 250);
    let ids = commit_ids(&world);
    let old: Vec<String> = ids[..5].iter().map(|id| format!("'{id}'")).collect();
    assert_eq!(
        stack.count(&user, "cognitive_commits", &format!("replace(id::text, '-', '') in ({})", old.join(", "))),
        0
    );
    assert_eq!(stack.count(&user, "sessions", "facts is not null"), 250, "no session without its commit");
    let told = world.run(&["sync", "status", "--json"]).exits(0).json();
    assert_eq!(told["refused"], 5, "{told}");
    assert!(world.run(&["sync", "status"]).exits(0).stdout.contains("250 commits"));
    assert!(world.run(&["status"]).exits(0).stdout.contains("5 records by the cloud"));
    // What is refused is not asked about again and again.
    stack.requests();
    let idle = world.run(&["push", "--json"]);
    assert_eq!((idle.json()["pushed"].as_u64(), stack.requests().of("sync_push")), (Some(0), 0));
    // Room is made, here or by another plan.
    world.run(&["trash", &ids[254], &ids[253]]);
    world.run(&["push"]).exits(0);
    let id = &user.id;
    stack.sql(&format!("update public.accounts set plan = 'unlimited' where user_id = '{id}'"));
    world.run(&["push", "--retry"]).exits(0);
    assert_eq!(stack.count(&user, "cognitive_commits", "facts is not null"), 255);
    assert_eq!(stack.count(&user, "sessions", "facts is not null"), 255);
    let reader = stack.machine(&user);
    pull(&reader);
    assert_eq!(commit_ids(&reader), ids);
}

#[test]
fn another_account_gets_nothing_until_it_is_told_to() {
    let pair = Pair::with(needs_stack!(), 2);
    let other = pair.stack.user();
    pair.a.run(&["edit", &commit_ids(&pair.a)[0], "--title", "Mine"]).exits(0);
    let refused = pair.stack.login(&pair.a, &other).exits(1);
    assert!(refused.stderr.contains("sync reset --adopt"), "{}", refused.stderr);
    // The same by a session that comes from elsewhere.
    let session = |world: &crate::World| world.home().join("state/session.json");
    let theirs = pair.stack.machine(&other);
    std::fs::copy(session(&theirs), session(&pair.a)).unwrap();
    for command in ["push", "pull", "sync"] {
        let refused = pair.a.run(&[command]).exits(1);
        assert!(refused.stderr.contains("sync reset --adopt"), "{}", refused.stderr);
    }
    assert_eq!(pair.stack.count(&other, "sessions", "true"), 0);
    pair.a.run(&["sync", "reset", "--adopt"]).exits(0);
    sync(&pair.a);
    pull(&theirs);
    assert_eq!(commit_ids(&theirs), commit_ids(&pair.a));
    assert_eq!(local(&theirs, "SELECT count(*) FROM cognitive_commits WHERE title = 'Mine'"), "1");
}

#[test]
fn a_server_of_another_protocol_is_sent_nothing() {
    let pair = Pair::with(needs_stack!(), 1);
    write_sessions(&pair.a.logs(), 2..=2);
    pair.a.import(&[&pair.a.logs()]);
    // What PostgREST makes of the functions' PT426.
    let body =
        json!({ "code": "PT426", "message": "this server speaks protocol 2 to 3", "details": null, "hint": null });
    let rule = |call| Stack::fault(call, "status", &json!({ "status": 426, "body": body, "count": 0 }));
    pair.stack.faults(&json!([rule("sync_status"), rule("sync_pull"), rule("sync_push")]));
    pair.stack.requests();
    for command in ["push", "pull", "sync"] {
        let refused = pair.a.run(&[command]).exits(1);
        assert!(refused.stderr.contains("update cogfs"), "{}", refused.stderr);
    }
    assert_eq!(pair.stack.requests().of("sync_push"), 0);
    pair.stack.faults(&json!([]));
    assert_eq!(push(&pair.a)["pushed"], 2);
}
