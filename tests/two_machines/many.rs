//! Many machines at once.

use std::process::Stdio;

use super::{commit_ids, sync, write_sessions};
use crate::Ran;
use crate::needs_stack;

#[test]
fn eight_machines_that_push_at_once_all_get_everything() {
    let stack = needs_stack!();
    let user = stack.user();
    let worlds: Vec<_> = (0..8).map(|_| stack.machine(&user)).collect();
    for (number, world) in (0..).zip(&worlds) {
        // Of its own, and of others: the same logs lie on several machines.
        write_sessions(&world.logs(), number * 20 + 1..=number * 20 + 25);
        world.import(&[&world.logs()]);
    }
    for _ in 0..2 {
        let children: Vec<_> = worlds
            .iter()
            .map(|world| world.cogfs(&["sync"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
            .collect();
        for child in children {
            Ran::of(&child.wait_with_output().unwrap()).exits(0);
        }
    }
    for world in &worlds {
        sync(world);
    }
    let all = commit_ids(&worlds[0]);
    assert_eq!(all.len(), 165);
    for world in &worlds {
        assert_eq!(commit_ids(world), all);
        let idle = sync(world);
        assert_eq!((&idle["pulled"], &idle["pushed"]), (&0.into(), &0.into()), "{idle}");
    }
    assert_eq!(stack.count(&user, "sessions", "facts is not null"), 165);
    assert_eq!(stack.count(&user, "cognitive_commits", "facts is not null"), 165);
    assert_eq!(stack.count(&user, "machines", "facts is not null"), 8);
}
