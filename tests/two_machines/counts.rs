//! Counts of a week that a user may share: nothing unless he says so, what was shown when he does, gone when he takes it back.

use serde_json::{Value, json};

use super::{Pair, World, sync};
use crate::common::stack::Stack;
use crate::needs_stack;

/// What `cogfs analytics` says of sharing.
fn share(world: &World) -> Value {
    world.run(&["analytics", "--json"]).exits(0).json()["share"].clone()
}

/// What the server has of the user's, a line a week.
fn there(pair: &Pair) -> String {
    pair.stack.sql(&format!("select counts from public.shared_counts where user_id = '{}' order by week", pair.user.id))
}

/// How often the server was asked to take counts, and to delete them.
fn asked(pair: &Pair) -> (u64, u64) {
    let requests = pair.stack.requests();
    (requests.of("share_counts"), requests.of("unshare_counts"))
}

#[test]
fn nothing_is_sent_without_an_opt_in_and_with_one_what_was_shown_once() {
    let pair = Pair::with(needs_stack!(), 3);
    let shown = share(&pair.a);
    sync(&pair.a);
    assert_eq!((asked(&pair), there(&pair).as_str()), ((0, 0), ""));
    sync(&pair.a);
    let idle = pair.stack.requests().total();
    let opted = pair.a.run(&["analytics", "--opt-in"]).exits(0).stdout;
    let text = shown["text"].as_str().unwrap();
    assert!(opted.contains(text) && opted.contains("with the next sync"), "{opted}");
    assert_eq!((asked(&pair), there(&pair).as_str()), ((0, 0), ""), "to opt in sends nothing yet");
    // A pull sends nothing.
    pair.a.run(&["pull"]).exits(0);
    assert_eq!(asked(&pair), (0, 0));
    sync(&pair.a);
    assert_eq!(asked(&pair), (1, 0));
    let kept: Value = serde_json::from_str(&there(&pair)).unwrap();
    assert_eq!(kept, shown["document"]["counts"]);
    assert_eq!(text, share(&pair.a)["text"].as_str().unwrap(), "the noise is made once");
    assert_eq!(share(&pair.a)["sent"], "yes");
    sync(&pair.a);
    assert_eq!(pair.stack.requests().total(), idle, "a week is sent once");
    // Another machine has noise of its own: the first document stays.
    pair.b.run(&["analytics", "--opt-in"]).exits(0);
    sync(&pair.b);
    assert_eq!(asked(&pair), (1, 0));
    assert_eq!(serde_json::from_str::<Value>(&there(&pair)).unwrap(), kept);
}

#[test]
fn a_server_that_fails_at_it_spoils_no_sync_and_is_told_later() {
    let pair = Pair::with(needs_stack!(), 1);
    assert_eq!(pair.a.run(&["whoami", "--json"]).exits(0).json()["shares_analytics"], false);
    pair.a.run(&["analytics", "--opt-in"]).exits(0);
    assert_eq!(pair.a.run(&["whoami", "--json"]).exits(0).json()["shares_analytics"], true);
    assert!(pair.a.run(&["whoami"]).exits(0).stdout.contains("counts are shared"));
    let failing =
        |call: &str| pair.stack.faults(&json!([Stack::fault(call, "status", &json!({"status": 503, "count": 0}))]));
    failing("share_counts");
    pair.stack.requests();
    let ran = pair.a.run(&["sync"]).exits(0);
    assert_eq!((ran.stderr.as_str(), asked(&pair)), ("", (1, 0)));
    assert_eq!(share(&pair.a)["sent"], "maybe");
    pair.stack.faults(&json!([]));
    sync(&pair.a);
    assert_eq!(share(&pair.a)["sent"], "yes");
    assert!(!there(&pair).is_empty());
    // The same when it is to be deleted.
    failing("unshare_counts");
    let ran = pair.a.run(&["analytics", "--opt-out"]).exits(5);
    assert!(
        ran.stdout.contains("No counts are sent") && ran.stderr.contains("asked for again with the next sync"),
        "{}",
        ran.all()
    );
    pair.a.run(&["sync"]).exits(0);
    assert!(!there(&pair).is_empty());
    assert!(pair.a.run(&["analytics"]).exits(0).stdout.contains("what was is deleted with the next"));
    pair.stack.faults(&json!([]));
    sync(&pair.a);
    assert_eq!(there(&pair), "");
    pair.stack.requests();
    sync(&pair.a);
    assert_eq!(asked(&pair), (0, 0));
}

#[test]
fn opting_out_deletes_at_once_whatever_way_it_is_said() {
    let pair = Pair::with(needs_stack!(), 1);
    for way in [&["analytics", "--opt-out", "--json"][..], &["config", "set", "analytics.share", "false"]] {
        pair.a.run(&["analytics", "--opt-in"]).exits(0);
        sync(&pair.a);
        assert!(!there(&pair).is_empty());
        let ran = pair.a.run(way).exits(0);
        if way[0] == "analytics" {
            assert_eq!(ran.json(), json!({"share": {"on": false}, "deleted_weeks": 1, "is_pending": false}));
        } else {
            sync(&pair.a);
        }
        assert_eq!(there(&pair), "");
    }
    assert!(pair.a.run(&["analytics", "--opt-out"]).exits(0).stdout.contains("None were"));
    // Nothing of it is another account's: who is logged in now is not asked.
    pair.a.run(&["analytics", "--opt-in"]).exits(0);
    sync(&pair.a);
    let theirs = pair.stack.machine(&pair.stack.user());
    let session = |world: &World| world.home().join("state/session.json");
    std::fs::copy(session(&theirs), session(&pair.a)).unwrap();
    pair.stack.requests();
    let refused = pair.a.run(&["analytics", "--opt-out"]).exits(1);
    assert!(refused.stderr.contains("is not deleted yet"), "{}", refused.stderr);
    assert_eq!(asked(&pair), (0, 0));
}
