//! Two machines with mounts, the real program and the real server (`scripts/cloud-stack`): nobody types push.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::common::mount::{clear, kill};
use super::common::stack::{Stack, User};
use super::common::{ClaudeLog, Mount, World, json, wait_until};
use crate::{needs_fuse, needs_stack};

/// From one machine to the other, where the doorbell rings.
const AT_ONCE: Duration = Duration::from_secs(2);

struct Pair {
    stack: Stack,
    user: User,
    a: World,
    b: World,
}

impl Pair {
    fn new(stack: Stack, interval: &'static str) -> Self {
        let user = stack.user();
        let [a, b] = [0, 1].map(|_| machine(&stack, &user, interval));
        Self { stack, user, a, b }
    }
}

fn machine(stack: &Stack, user: &User, interval: &'static str) -> World {
    let mut world = stack.machine(user);
    world.set_variable("COGFS_SYNC_CONTINUOUS", "true");
    world.set_variable("COGFS_SYNC_INTERVAL", interval);
    world
}

fn sync_state(mount: &Mount) -> Value {
    json(&mount.path(".cogfs/status.json"))["sync"].clone()
}

#[track_caller]
fn waits_for(mount: &Mount, state: &str, doorbell: bool) {
    wait_until(PATIENCE, &format!("{state}, the doorbell {doorbell}"), || {
        let sync = sync_state(mount);
        sync["state"] == state && sync["doorbell"] == doorbell
    });
}

/// Whether a text is in some transcript, which is read.
fn shows(mount: &Mount, text: &str) -> bool {
    super::common::files_named(&mount.path("projects"), |name| name == "transcript.md")
        .iter()
        .any(|path| fs::read_to_string(path).is_ok_and(|transcript| transcript.contains(text)))
}

/// The directories of commits.
fn commits(mount: &Mount) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = super::common::walk(&mount.path("projects"))
        .into_iter()
        .filter(|entry| entry.file_type().is_dir() && entry.path().join("sessions").is_dir())
        .map(|entry| entry.path().to_owned())
        .collect();
    found.sort();
    found
}

/// The titles of its commits: a name that was typed is shown where it was typed.
fn titles(mount: &Mount) -> Vec<String> {
    let title = |dir: PathBuf| {
        let text = fs::read_to_string(dir.join("meta.json")).ok()?;
        let meta: Value = serde_json::from_str(&text).ok()?;
        Some(meta["title"].as_str()?.to_owned())
    };
    let mut found: Vec<String> = commits(mount).into_iter().filter_map(title).collect();
    found.sort();
    found
}

fn has_title(mount: &Mount, title: &str) -> bool {
    titles(mount).iter().any(|found| found == title)
}

/// Does something again and again, until it was once as fast as it is on a machine that nothing else is on.
fn once_within(limit: Duration, mut round: impl FnMut(u32) -> Duration) {
    let mut took = Vec::new();
    for number in 0..8 {
        took.push(round(number));
        if took.last().is_some_and(|took| *took <= limit) {
            return;
        }
    }
    panic!("never within {limit:?}: {took:?}");
}

fn session(world: &World) -> ClaudeLog {
    let log = ClaudeLog::new("boats", 1).user("Count the boats.").assistant("Seven.").clone();
    log.write(&world.claude());
    log
}

#[test]
fn what_an_agent_writes_and_what_is_renamed_is_on_the_other_machine_at_once() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!(), "1h");
    let mut log = session(&pair.a);
    let (a, b) = (Mount::new(&pair.a), Mount::new(&pair.b));
    waits_for(&a, "synced", true);
    waits_for(&b, "synced", true);
    wait_until(PATIENCE, "the session is on b", || shows(&b, "Seven."));
    once_within(AT_ONCE, |round| {
        let text = format!("Answer {round}.");
        let first = log.lines.len();
        log.assistant(&text);
        let began = Instant::now();
        log.append(&pair.a.claude(), first);
        wait_until(PATIENCE, "the line is on b", || shows(&b, &text));
        began.elapsed()
    });
    once_within(AT_ONCE, |round| {
        let commit = &commits(&b)[0];
        let name = format!("Harbour {round}");
        let began = Instant::now();
        fs::rename(commit, commit.with_file_name(&name)).unwrap();
        wait_until(PATIENCE, "the title is on a", || has_title(&a, &name));
        began.elapsed()
    });
    assert!(sync_state(&b)["latency_ms"].as_u64().is_some(), "{}", sync_state(&b));
    let told = pair.a.run(&["status", "--json"]).exits(0).json();
    assert_eq!((&told["sync"]["state"], &told["health"]), (&json!("synced"), &json!("ok")), "{told}");
    let text = pair.a.run(&["status"]).exits(0).stdout;
    assert!(text.contains("sync      synced") && !text.contains('\x1b'), "{text}");
}

#[test]
fn without_a_doorbell_it_is_there_within_an_interval() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!(), "1s");
    pair.stack.faults(&json!([{ "path": "/realtime/v1/websocket", "fault": "status", "status": 503, "count": 0 }]));
    let mut log = session(&pair.a);
    let (a, b) = (Mount::new(&pair.a), Mount::new(&pair.b));
    waits_for(&a, "synced", false);
    wait_until(PATIENCE, "the session is on b", || shows(&b, "Seven."));
    once_within(Duration::from_secs(1) + AT_ONCE, |round| {
        let text = format!("Answer {round}.");
        let first = log.lines.len();
        log.assistant(&text);
        let began = Instant::now();
        log.append(&pair.a.claude(), first);
        wait_until(PATIENCE, "the line is on b", || shows(&b, &text));
        began.elapsed()
    });
    assert_eq!(sync_state(&b)["doorbell"], false);
}

#[test]
fn a_socket_that_is_cut_flooded_and_delayed_costs_few_requests_and_loses_nothing() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!(), "2s");
    session(&pair.a);
    let (a, b) = (Mount::new(&pair.a), Mount::new(&pair.b));
    waits_for(&a, "synced", true);
    wait_until(PATIENCE, "the session is on b", || !commits(&b).is_empty());
    pair.stack.requests();
    let seconds: u64 = std::env::var("COGFS_FLOOD_SECONDS").map_or(8, |text| text.parse().unwrap());
    let began = Instant::now();
    let (mut round, mut name) = (0_u64, String::new());
    while began.elapsed() < Duration::from_secs(seconds) {
        round += 1;
        let fault = match round % 4 {
            0 => json!({ "fault": "flood", "count": 500, "rate": 1000 }),
            1 => json!({ "fault": "cut" }),
            2 => json!({ "fault": "garbage" }),
            _ => json!({ "fault": "close" }),
        };
        pair.stack.sockets(&fault);
        name = format!("Boat {round}");
        let commit = &commits(&a)[0];
        fs::rename(commit, commit.with_file_name(&name)).unwrap();
        wait_until(PATIENCE, "the title is on b", || has_title(&b, &name));
    }
    let took = began.elapsed().as_secs() + 1;
    let asked = pair.stack.requests();
    // Two machines: a cycle each second because of the doorbell, one each 2 s because of time, one each change; two pulls and a push.
    let most = took * 2 * 3 + round * 6;
    assert!(asked.total() <= most, "{} requests in {took} s and {round} changes", asked.total());
    assert!(commits(&a)[0].ends_with(&name));
}

#[test]
fn a_thousand_edits_made_offline_arrive_once_whatever_is_cut_off_meanwhile() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!(), "1s");
    for number in 1..=20 {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("How many boats are in harbour {number}?")).assistant("Seven.");
        log.write(&pair.a.claude());
    }
    let a = Mount::new(&pair.a);
    let is_there = |count: u64| pair.stack.count(&pair.user, "cognitive_commits", "facts is not null") == count;
    wait_until(PATIENCE, "all commits are in the cloud", || is_there(20));
    waits_for(&a, "synced", true);

    pair.stack.faults(&json!([{ "path": "/", "fault": "reset", "count": 0 }]));
    pair.stack.sockets(&json!({ "fault": "cut" }));
    for round in 0..50 {
        for (number, commit) in commits(&a).iter().enumerate() {
            fs::rename(commit, commit.with_file_name(format!("{number:02} round {round}"))).unwrap();
        }
    }
    let waiting = pair.a.run(&["status", "--json"]).exits(0).json();
    assert_eq!(waiting["waiting_edits"], 20, "a record waits once: {waiting}");
    let edits = pair.a.run(&["log", "--json"]).exits(0).json();
    assert!(edits.as_array().is_some_and(|edits| edits.len() >= 1_000) || edits.is_object(), "{edits}");
    wait_until(PATIENCE, "it is known that the cloud is not reached", || {
        let state = sync_state(&a)["state"].clone();
        state == "retrying" || state == "offline"
    });
    // The network is back, and goes again as the first push is under way: its answer is lost.
    pair.stack.faults(&json!([
        Stack::fault("sync_push", "drop", &json!({})),
        Stack::fault("sync_pull", "reset", &json!({ "nth": 2, "count": 3 })),
    ]));
    pair.a.run(&["sync"]).exits(0);
    pair.stack.faults(&json!([]));
    pair.a.run(&["sync"]).exits(0);
    let arrived = |condition: &str| pair.stack.count(&pair.user, "cognitive_commits", condition);
    wait_until(PATIENCE, "all titles are in the cloud", || arrived("title like '% round 49'") == 20);
    let b = Mount::new(&pair.b);
    wait_until(PATIENCE, "all titles are on b", || {
        let found = titles(&b);
        found.len() == 20 && found.iter().all(|title| title.ends_with(" round 49"))
    });
    assert_eq!(pair.a.run(&["status", "--json"]).exits(0).json()["waiting_edits"], 0);
    assert_eq!(pair.a.run(&["sync", "conflicts", "--json"]).exits(0).json(), json!([]));
}

/// `COGFS_KILLS=100` makes it a hundred.
#[test]
fn an_engine_that_is_killed_under_edits_sends_everything_that_had_returned() {
    needs_fuse!();
    let pair = Pair::new(needs_stack!(), "1s");
    for number in 1..=4 {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("How many boats are in harbour {number}?")).assistant("Seven.");
        log.write(&pair.a.claude());
    }
    let dir = pair.a.root().join("mnt");
    let kills: u32 = std::env::var("COGFS_KILLS").map_or(6, |text| text.parse().unwrap());
    let mut titles = Vec::new();
    for round in 0..kills {
        let a = Mount::with(&pair.a, &dir, &[]);
        wait_until(PATIENCE, "the commits are there", || commits(&a).len() == 4);
        // Later by some moments each time: before, in and behind the push of the edit before.
        let until = Instant::now() + Duration::from_millis(u64::from(round * 137 % 1_200));
        titles.clear();
        for (number, commit) in commits(&a).iter().enumerate() {
            let title = format!("{number} killed {round}");
            fs::rename(commit, commit.with_file_name(&title)).unwrap();
            titles.push(title);
        }
        wait_until(PATIENCE, "a moment passes", || Instant::now() >= until);
        a.pids().into_iter().for_each(kill);
        wait_until(PATIENCE, "it is dead", || super::common::mount::server_pids(&dir).is_empty());
        clear(&dir);
        std::mem::forget(a);
    }
    let a = Mount::with(&pair.a, &dir, &[]);
    let b = Mount::new(&pair.b);
    wait_until(PATIENCE, "the last titles are on b", || self::titles(&b) == titles);
    waits_for(&a, "synced", true);
}

#[test]
fn a_login_turns_it_on_a_logout_off_and_commands_ask_the_mount() {
    needs_fuse!();
    let stack = needs_stack!();
    let user = stack.user();
    let mut world = stack.newcomer();
    world.set_variable("COGFS_SYNC_CONTINUOUS", "true");
    world.set_variable("COGFS_SYNC_INTERVAL", "1h");
    session(&world);
    let mount = Mount::new(&world);
    wait_until(PATIENCE, "it says why not", || sync_state(&mount)["reason"] == "not logged in");
    stack.login(&world, &user).exits(0);
    waits_for(&mount, "synced", true);
    wait_until(PATIENCE, "the session is in the cloud", || stack.count(&user, "sessions", "facts is not null") == 1);
    stack.requests();
    world.run(&["sync", "--json"]).exits(0);
    assert_eq!(stack.requests().total(), 1, "by the connection that the mount has");
    world.run(&["logout"]).exits(0);
    wait_until(PATIENCE, "it is off", || sync_state(&mount)["state"] == "off");
    world.run(&["sync"]).exits(4);
}

#[test]
fn watch_syncs_without_a_mount_and_ends_at_a_signal() {
    let pair = Pair::new(needs_stack!(), "1h");
    session(&pair.a);
    let child = pair.a.cogfs(&["watch", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let arrived = || pair.stack.count(&pair.user, "sessions", "facts is not null");
    wait_until(PATIENCE, "the session is in the cloud", || arrived() == 1);
    let told = pair.a.run(&["status", "--json"]).exits(0).json();
    assert_eq!(told["sync"]["pid"], child.id(), "{told}");
    let began = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("\"event\":\"sync\"") && said.contains("\"state\":\"synced\""), "{said}");
}
