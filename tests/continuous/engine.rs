//! The engine alone: when it does what, and what it says of itself.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cogfs::cloud::realtime::Ring;
use cogfs::cloud::wire::Kind;
use cogfs::model::Id;
use cogfs::render::SyncState;
use cogfs::sync::continuous::Account;
use cogfs::sync::continuous::socket::{self, Answer, Ask, Failure};
use cogfs::sync::engine::Way;

use super::memory_cloud::{Fault, MemoryCloud};
use super::{Machine, PATIENCE, ready, wait_until, write_sessions, written};

/// So long that nothing happens by itself.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

fn in_the_cloud(cloud: &MemoryCloud, commit: &str) -> Option<String> {
    let row = cloud.row(Kind::Commit, Id::parse(commit)?)?;
    row.fields.get("title").and_then(|title| title.as_str()).map(str::to_owned)
}

#[test]
fn what_is_imported_and_edited_arrives_on_the_other_machine_by_itself() {
    let cloud = MemoryCloud::new();
    let (a, b) = (Machine::new(&cloud, 2, NEVER), Machine::new(&cloud, 0, NEVER));
    a.waits_for(SyncState::Synced);
    b.bell.ring(Ring::Rang { seq: None });
    wait_until(PATIENCE, "both commits are on b", || b.commits().len() == 2);
    let commit = &a.commits()[0];
    let began = Instant::now();
    a.edit(commit, "The harbour");
    wait_until(PATIENCE, "the title is in the cloud", || in_the_cloud(&cloud, commit).is_some());
    assert!(began.elapsed() < Duration::from_secs(15), "an edit waited for {:?}", began.elapsed());
    b.bell.ring(Ring::Rang { seq: Some(cloud.head()) });
    wait_until(PATIENCE, "the title is on b", || b.title(commit) == "The harbour");
    write_sessions(&a.world, 3..=3);
    a.world.import(&[&a.world.logs()]);
    wait_until(PATIENCE, "the new session is in the cloud", || cloud.rows().len() >= 3 + 3 + 2);
    assert!(a.status().latency_ms.is_some(), "{:?}", a.status());
}

#[test]
fn a_ring_that_says_nothing_new_asks_nothing_and_a_flood_asks_once_a_second() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 1, NEVER);
    a.waits_for(SyncState::Synced);
    wait_until(PATIENCE, "it comes to rest", || {
        let before = cloud.requests().len();
        before == 0
    });
    for _ in 0..1_000 {
        a.bell.ring(Ring::Rang { seq: Some(cloud.head()) });
    }
    a.bell.ring(Ring::Lost { why: "cut".to_owned() });
    wait_until(PATIENCE, "it has heard all of them", || !a.status().doorbell && a.status().cycles > 0);
    assert_eq!(cloud.requests(), [""; 0], "its own echo was asked for");
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        a.bell.ring(Ring::Rang { seq: None });
        std::thread::yield_now();
    }
    let cycles = 1 + began.elapsed().as_secs() as usize;
    let asked = cloud.requests().len();
    assert!((1..=cycles + 1).contains(&asked), "{asked} requests in {:?}", began.elapsed());
}

#[test]
fn a_cloud_that_does_not_answer_loses_no_edit_and_is_not_asked_more_often() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 3, Duration::from_millis(1_000));
    a.waits_for(SyncState::Synced);
    cloud.fail_next(&[Fault::LostRequest; 1_000]);
    a.waits_for(SyncState::Retrying);
    cloud.requests();
    let (began, commits) = (Instant::now(), a.commits());
    for (number, commit) in commits.iter().enumerate() {
        a.edit(commit, &format!("Boat {number}"));
        a.bell.ring(Ring::Rang { seq: None });
    }
    let reason = a.status().reason.unwrap_or_default();
    assert!(reason.contains("cannot be reached") && a.status().next_try.is_some(), "{:?}", a.status());
    // 1, 2, 4 s and so on, a quarter less at the least.
    let most = 2 + (began.elapsed().as_secs_f64() / 0.75).log2().max(0.0).ceil() as usize;
    assert!(cloud.requests().len() <= most, "more than {most} requests in {:?}", began.elapsed());
    cloud.heal();
    a.engine.as_ref().unwrap().ask();
    for (number, commit) in commits.iter().enumerate() {
        let title = format!("Boat {number}");
        wait_until(PATIENCE, "the edit is in the cloud", || in_the_cloud(&cloud, commit).as_ref() == Some(&title));
    }
    a.waits_for(SyncState::Synced);
    assert_eq!((a.status().reason, a.status().next_try), (None, None));
}

#[test]
fn without_an_account_nothing_is_asked_and_a_login_begins_it_at_once() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 1, NEVER);
    a.waits_for(SyncState::Synced);
    for (account, state) in
        [(Account::LoginNeeded, SyncState::LoginNeeded), (Account::Off("not logged in".to_owned()), SyncState::Off)]
    {
        *a.account.lock().unwrap() = account;
        a.waits_for(state);
        cloud.requests();
        let commit = &a.commits()[0];
        a.edit(commit, &format!("While {}", state.as_str()));
        let failures: Vec<Answer> = socket::cycle(&a.socket(), Ask::default()).unwrap().map(Result::unwrap).collect();
        assert!(matches!(failures[..], [Answer::Failed(Failure::NotHere)]), "{failures:?}");
        assert_eq!(cloud.requests(), [""; 0]);
        *a.account.lock().unwrap() = ready(state.as_str());
        socket::look(&a.socket());
        a.waits_for(SyncState::Synced);
        let title = format!("While {}", state.as_str());
        wait_until(PATIENCE, "the edit is in the cloud", || in_the_cloud(&cloud, commit).as_ref() == Some(&title));
    }
}

#[test]
fn commands_ask_at_a_socket_for_the_owner_alone() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 2, NEVER);
    a.waits_for(SyncState::Synced);
    let meta = fs::metadata(a.socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(a.socket().parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(socket::status(&a.socket()).unwrap().state, SyncState::Synced);
    write_sessions(&a.world, 3..=3);
    a.world.import(&[&a.world.logs()]);
    let ask = Ask { way: Way::Push, projects: None };
    let answers: Vec<Answer> = socket::cycle(&a.socket(), ask).unwrap().map(Result::unwrap).collect();
    assert!(matches!(answers.last(), Some(Answer::Done(_))), "{answers:?}");
    assert_eq!(cloud.rows().iter().filter(|row| row.kind == Kind::Commit).count(), 3);
    cloud.fail_next(&[Fault::LostRequest; 2]);
    let answers: Vec<Answer> = socket::cycle(&a.socket(), Ask::default()).unwrap().map(Result::unwrap).collect();
    let waited = answers.iter().filter(|answer| matches!(answer, Answer::Waits(..))).count();
    assert!(waited >= 1 && matches!(answers.last(), Some(Answer::Done(_))), "who asks has patience: {answers:?}");
}

#[test]
fn one_process_syncs_and_the_next_one_takes_over() {
    let cloud = MemoryCloud::new();
    let mut a = Machine::new(&cloud, 1, NEVER);
    a.waits_for(SyncState::Synced);
    let first = a.engine.take();
    a.said.lock().unwrap().clear();
    cloud.requests();
    a.start(&cloud, NEVER);
    a.waits_for(SyncState::Synced);
    assert_eq!(cloud.requests(), [""; 0], "the second one has it from the first");
    drop(first);
    wait_until(PATIENCE, "the second one asks the cloud", || !cloud.requests().is_empty());
    a.waits_for(SyncState::Synced);
    assert!(a.socket().exists());
    drop(a.engine.take());
    assert!(!a.socket().exists(), "it is taken away");
}

#[test]
fn a_socket_that_a_dead_engine_left_is_replaced() {
    let cloud = MemoryCloud::new();
    let mut a = Machine::new(&cloud, 1, NEVER);
    a.waits_for(SyncState::Synced);
    drop(a.engine.take());
    drop(UnixListener::bind(a.socket()).unwrap());
    assert!(a.socket().exists() && socket::status(&a.socket()).is_none(), "nobody answers");
    assert!(socket::cycle(&a.socket(), Ask::default()).is_none());
    a.start(&cloud, NEVER);
    wait_until(PATIENCE, "it answers", || socket::status(&a.socket()).is_some());
}

#[test]
fn a_cycle_that_has_nothing_to_do_costs_a_request_and_no_write() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 2, Duration::from_millis(1_000));
    a.waits_for(SyncState::Synced);
    let cycles = a.status().cycles;
    wait_until(PATIENCE, "it comes to rest", || a.status().cycles > cycles + 1);
    let (before, requests) = (written(&a.world.home()), cloud.requests().len());
    assert!(requests > 0);
    let cycles = a.status().cycles;
    wait_until(PATIENCE, "three more cycles", || a.status().cycles >= cycles + 3);
    let asked = cloud.requests();
    assert_eq!(written(&a.world.home()), before);
    let more = (a.status().cycles - cycles) as usize;
    assert!(asked.len() <= more + 1, "{asked:?} in {more} cycles");
}

/// The document that `cogfs analytics` shows.
fn shown(a: &Machine) -> String {
    let told = a.world.run(&["analytics", "--json"]).exits(0).json();
    told["share"]["text"].as_str().unwrap().to_owned()
}

fn asked_for_counts(cloud: &MemoryCloud) -> usize {
    cloud.requests().iter().filter(|request| request.contains("share_counts")).count()
}

#[test]
fn counts_of_the_last_week_are_shared_once_as_shown_and_go_when_that_is_over() {
    let cloud = MemoryCloud::new();
    let a = Machine::new(&cloud, 2, Duration::from_millis(1_000));
    let cycles = |number: u64| {
        let before = a.status().cycles;
        wait_until(PATIENCE, "some cycles", || a.status().cycles >= before + number);
    };
    a.waits_for(SyncState::Synced);
    let text = shown(&a);
    cycles(2);
    assert_eq!((asked_for_counts(&cloud), cloud.shared().len()), (0, 0), "nobody opted in");
    a.shares.store(true, Ordering::Relaxed);
    wait_until(PATIENCE, "they are shared", || !cloud.shared().is_empty());
    assert_eq!(cloud.shared().into_values().collect::<Vec<_>>(), [text]);
    wait_until(PATIENCE, "that is noted", || {
        a.world.run(&["analytics", "--json"]).exits(0).json()["share"]["sent"] == "yes"
    });
    cloud.requests();
    cycles(3);
    assert_eq!(asked_for_counts(&cloud), 0, "once a week");
    a.shares.store(false, Ordering::Relaxed);
    wait_until(PATIENCE, "they are gone", || cloud.shared().is_empty());
    cloud.requests();
    cycles(2);
    assert_eq!(asked_for_counts(&cloud), 0);
}

#[test]
fn a_cloud_that_takes_no_counts_is_in_step_all_the_same_and_not_asked_again_and_again() {
    let cloud = MemoryCloud::new();
    cloud.refuse_counts(true);
    let a = Machine::new(&cloud, 1, Duration::from_millis(1_000));
    a.shares.store(true, Ordering::Relaxed);
    wait_until(PATIENCE, "some cycles", || a.status().cycles >= 4);
    assert_eq!((a.status().failures, a.status().reason), (0, None));
    assert_eq!(asked_for_counts(&cloud), 1);
    // Who asks for a cycle has it tried.
    cloud.refuse_counts(false);
    a.engine.as_ref().unwrap().ask();
    wait_until(PATIENCE, "they are shared", || !cloud.shared().is_empty());
}
