//! A push that dies at any moment.

use std::process::Stdio;

use super::{commit_ids, pull, push, write_sessions};
use crate::common::stack::{Stack, User};
use crate::common::{World, wait_until};
use crate::needs_stack;

/// What a user has in the cloud, without what tells when and by whom it was sent.
fn essence(stack: &Stack, user: &User) -> String {
    let id = &user.id;
    let facts = ["machines", "projects", "cognitive_commits", "sessions"].map(|table| {
        format!("select '{table}' t, id || ' ' || rank || ' ' || coalesce(facts::text, '-') || fields::text || version from public.{table} where user_id = '{id}'")
    });
    let contents = [
        "select 'turns', session_id || ' ' || number || ' ' || id || text || coalesce(tool_output, '') from public.turns",
        "select 'raw', session_id || ' ' || number || ' ' || start || md5(data) from public.raw_chunks",
        "select 'usage', session_id || ' ' || key || ' ' || output from public.message_usage",
    ]
    .map(|select| format!("{select} where user_id = '{id}'"));
    let all = facts.iter().chain(&contents).cloned().collect::<Vec<_>>().join(" union all ");
    stack.sql(&format!(
        "select t, count(*), md5(string_agg(x, '' order by x)) from ({all}) as rows(t, x) group by t order by t"
    ))
}

fn copy_data(from: &World, to: &World) {
    let data = to.home().join("data");
    std::fs::create_dir_all(&data).unwrap();
    for entry in std::fs::read_dir(from.home().join("data")).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), data.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_push_that_is_killed_at_any_moment_is_completed_by_the_next_one() {
    let stack = needs_stack!();
    let (user, other) = (stack.user(), stack.user());
    let (killed, whole) = (stack.machine(&user), stack.machine(&other));
    write_sessions(&killed.logs(), 1..=240);
    killed.import(&[&killed.logs()]);
    copy_data(&killed, &whole);
    push(&whole);
    stack.requests();
    // From the first request to the last: while it is on its way, or while its answer is taken.
    for moment in 1..=6 {
        let mut child = killed.cogfs(&["push", "--json"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut seen = 0;
        wait_until(std::time::Duration::from_secs(60), "the push is where it is to die", || {
            seen += stack.requests().total();
            seen >= moment || child.try_wait().unwrap().is_some()
        });
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().unwrap();
    }
    push(&killed);
    assert_eq!(essence(&stack, &user), essence(&stack, &other), "nothing twice, nothing missing");
    assert_eq!(push(&killed)["pushed"], 0);
    assert_eq!(stack.count(&user, "sessions", "facts is not null"), 240);
    let reader = stack.machine(&user);
    pull(&reader);
    assert_eq!(commit_ids(&reader), commit_ids(&killed));
}

#[test]
fn an_interrupted_push_says_so_and_goes_on_the_next_time() {
    let stack = needs_stack!();
    let user = stack.user();
    let mut world = stack.machine(&user);
    // It waits for the server, for long.
    world.set_variable("COGFS_RETRY_MS", "100000");
    write_sessions(&world.logs(), 1..=3);
    world.import(&[&world.logs()]);
    stack.faults(&serde_json::json!([Stack::fault("sync_push", "status", &serde_json::json!({ "status": 503 }))]));
    let mut child = world.cogfs(&["push"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stderr.take().unwrap()), &mut line).unwrap();
    assert!(line.contains("HTTP 503") && line.contains("trying again"), "{line}");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = crate::Ran::of(&child.wait_with_output().unwrap()).exits(130);
    assert!(ran.stdout.contains("Interrupted"), "{}", ran.stdout);
    assert_eq!(push(&world)["pushed"], 8);
}
