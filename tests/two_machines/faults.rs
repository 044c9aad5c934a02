//! Everything that goes wrong between a machine and the server: the right exit status, the right words, and nothing lost. Some
//! faults are got over; with those that are not, the next push completes what the first could not.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{Pair, commit_ids, local, pull, push, sync, write_sessions};
use crate::common::stack::Stack;
use crate::common::{Ran, World, is_root, must};
use crate::needs_stack;

/// Pairs of machines in step, with an edit and a new session that wait on the first.
struct Waiting {
    pair: Pair,
    number: u32,
}

impl Waiting {
    fn new(stack: Stack) -> Self {
        let pair = Pair::with(stack, 2);
        Self { pair, number: 2 }
    }

    /// Something new to send: a commit with its session, and an edit.
    fn renew(&mut self) -> String {
        self.number += 1;
        let pair = &self.pair;
        write_sessions(&pair.a.logs(), self.number..=self.number);
        pair.a.import(&[&pair.a.logs()]);
        let title = format!("Title {}", self.number);
        pair.a.run(&["edit", &commit_ids(&pair.a)[0], "--title", &title]).exits(0);
        title
    }

    /// With these faults a push ends with this status and these words; everything still waits, and the next push sends it.
    fn fails(&mut self, faults: &Value, code: i32, words: &str) {
        let title = self.renew();
        self.pair.stack.faults(faults);
        let ran = self.pair.a.run(&["push"]).exits(code);
        assert!(ran.stderr.contains(words), "{faults}: {}", ran.stderr);
        assert_eq!(local(&self.pair.a, "SELECT count(*) FROM sync_queue"), "1", "{faults}: the edit waits");
        self.pair.stack.faults(&json!([]));
        let sent = push(&self.pair.a);
        assert!(sent["pushed"].as_u64() >= Some(1), "{faults}: {sent}");
        self.is_complete(&title);
    }

    /// With these faults a push does what it should.
    fn is_got_over(&mut self, faults: &Value) -> Ran {
        let title = self.renew();
        self.pair.stack.faults(faults);
        let ran = self.pair.a.run(&["push"]).exits(0);
        self.pair.stack.faults(&json!([]));
        self.is_complete(&title);
        ran
    }

    /// The cloud and the other machine have everything, once.
    fn is_complete(&self, title: &str) {
        let pair = &self.pair;
        assert_eq!(local(&pair.a, "SELECT count(*) FROM sync_queue"), "0");
        assert_eq!(push(&pair.a)["pushed"], 0);
        pull(&pair.b);
        assert_eq!(commit_ids(&pair.b), commit_ids(&pair.a));
        assert_eq!(local(&pair.b, &format!("SELECT count(*) FROM cognitive_commits WHERE title = '{title}'")), "1");
        let sessions = pair.stack.count(&pair.user, "sessions", "facts is not null");
        assert_eq!(sessions, u64::from(self.number));
        assert_eq!(pair.stack.count(&pair.user, "turns", "true"), 3 * sessions);
    }
}

fn every(call: &str, fault: &str, more: &Value) -> Value {
    let mut rule = Stack::fault(call, fault, more);
    rule["count"] = json!(0);
    rule
}

fn once(call: &str, fault: &str, more: &Value) -> Value {
    Stack::fault(call, fault, more)
}

#[test]
fn a_fault_that_passes_is_got_over() {
    let mut waiting = Waiting::new(needs_stack!());
    for call in ["sync_pull", "sync_push"] {
        for status in [429, 500, 502, 503, 504, 540] {
            waiting.is_got_over(&json!([once(call, "status", &json!({ "status": status }))]));
        }
        waiting.is_got_over(&json!([once(call, "status", &json!({ "status": 429, "retry_after": 1 }))]));
        for fault in ["reset", "truncate", "content_type", "drop"] {
            let ran = waiting.is_got_over(&json!([once(call, fault, &json!({}))]));
            assert!(ran.stderr.contains("trying again"), "{fault}: {}", ran.stderr);
        }
        // Five pauses, and the sixth time it works.
        waiting.is_got_over(&json!([once(call, "status", &json!({ "status": 503, "count": 5 }))]));
    }
}

#[test]
fn a_fault_that_stays_is_told_and_everything_waits() {
    let mut waiting = Waiting::new(needs_stack!());
    for call in ["sync_pull", "sync_push"] {
        for (status, code, words) in [
            (429, 5, "asks to wait"),
            (500, 5, "HTTP 500"),
            (503, 5, "HTTP 503"),
            (540, 5, "paused"),
            (403, 1, "the cloud refused"),
            (409, 1, "the cloud refused"),
            (413, 1, "the cloud refused"),
        ] {
            waiting.fails(&json!([every(call, "status", &json!({ "status": status }))]), code, words);
        }
        // Longer than anybody waits at a command.
        let told = json!([every(call, "status", &json!({ "status": 429, "retry_after": 86400 }))]);
        waiting.fails(&told, 5, "asks to wait");
        waiting.fails(&json!([every(call, "reset", &json!({}))]), 5, "cannot be reached");
        waiting.fails(&json!([every(call, "drop", &json!({}))]), 5, "cannot be reached");
        waiting.fails(&json!([every(call, "truncate", &json!({}))]), 5, "cut off");
        waiting.fails(&json!([every(call, "content_type", &json!({}))]), 5, "text/html");
    }
}

#[test]
fn an_answer_that_takes_for_ever_is_not_waited_for() {
    let mut waiting = Waiting::new(needs_stack!());
    // An account that is not known yet is asked for its state; here, a pull: 30 s are given to it.
    let began = std::time::Instant::now();
    let ran = waiting.is_got_over(&json!([once("sync_pull", "drip", &json!({ "seconds": 300 }))]));
    assert!(ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

fn session_file(world: &World) -> std::path::PathBuf {
    world.home().join("state/session.json")
}

fn change_session(world: &World, change: impl Fn(&mut Value)) {
    let mut session = crate::common::json(&session_file(world));
    change(&mut session);
    std::fs::write(session_file(world), session.to_string()).unwrap();
}

#[test]
fn a_token_that_is_over_is_renewed_and_a_login_that_is_over_is_told() {
    let mut waiting = Waiting::new(needs_stack!());
    let expired = json!({ "status": 401, "body": { "code": "PGRST301", "message": "JWT expired" } });
    // Not taken once: another token is, at once.
    let before = crate::common::json(&session_file(&waiting.pair.a));
    for call in ["sync_pull", "sync_push"] {
        let ran = waiting.is_got_over(&json!([once(call, "status", &expired)]));
        assert!(!ran.stderr.contains("trying again"), "{}", ran.stderr);
    }
    let after = crate::common::json(&session_file(&waiting.pair.a));
    // Access tokens of one second are the same bytes; a refresh token is used once.
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    // Old by this machine's clock.
    change_session(&waiting.pair.a, |session| {
        session["received_at"] = json!(session["received_at"].as_i64().unwrap() - 7_200_000)
    });
    waiting.is_got_over(&json!([]));
    // A new one is not taken either: only the user can help.
    waiting.fails(&json!([every("sync_push", "status", &expired)]), 4, "cogfs login");
    // The server is away when a token is to be renewed: the login stays.
    change_session(&waiting.pair.a, |session| {
        session["received_at"] = json!(session["received_at"].as_i64().unwrap() - 7_200_000)
    });
    let away = json!([{ "path": "/auth/v1/token", "fault": "status", "status": 503, "count": 0 }]);
    waiting.fails(&away, 5, "HTTP 503");
    // A refresh token that was used already: GoTrue takes the session for stolen, and ends it.
    let title = waiting.renew();
    let pair = &waiting.pair;
    let used = json!({ "status": 400, "count": 0, "path": "/auth/v1/token", "fault": "status",
        "body": { "code": "refresh_token_already_used", "message": "Invalid Refresh Token: Already Used" } });
    change_session(&pair.a, |session| {
        session["received_at"] = json!(session["received_at"].as_i64().unwrap() - 7_200_000)
    });
    pair.stack.faults(&json!([used]));
    for _ in 0..2 {
        assert!(pair.a.run(&["push"]).exits(4).stderr.contains("cogfs login"));
    }
    assert_eq!(local(&pair.a, "SELECT count(*) FROM sync_queue"), "1");
    pair.stack.faults(&json!([]));
    pair.stack.login(&pair.a, &pair.user).exits(0);
    push(&pair.a);
    waiting.is_complete(&title);
}

#[test]
fn a_clock_that_is_two_hours_off_changes_nothing() {
    let pair = Pair::with(needs_stack!(), 2);
    crate::skip_unless!(crate::common::has_program("faketime"), "no faketime");
    let id = &commit_ids(&pair.a)[0];
    let at = |offset: &str, args: &[&str]| {
        let plain = pair.a.cogfs(args);
        let mut command = Command::new("faketime");
        command.arg("-f").arg(offset).arg(plain.get_program()).args(plain.get_args());
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Ran::of(&command.output().unwrap())
    };
    for (offset, title) in [("-2h", "Two hours ago"), ("+2h", "In two hours")] {
        at(offset, &["edit", id, "--title", title]).exits(0);
        at(offset, &["push"]).exits(0);
        pull(&pair.b);
        assert_eq!(local(&pair.b, "SELECT count(*) FROM cognitive_commits WHERE title LIKE '% hours%'"), "1");
        // Of two edits the later one wins, whatever the clocks say: here first, there later, and the other way round.
        at(offset, &["edit", id, "--note", &format!("at {offset}")]).exits(0);
        pair.b.run(&["edit", id, "--note", &format!("later than {offset}")]).exits(0);
        push(&pair.b);
        at(offset, &["sync"]).exits(0);
        sync(&pair.b);
        let notes = || pair.both().map(|world| local(world, "SELECT note FROM cognitive_commits WHERE note <> ''"));
        assert_eq!(notes(), [format!("later than {offset}"), format!("later than {offset}")]);
        pair.b.run(&["edit", id, "--note", &format!("before {offset}")]).exits(0);
        push(&pair.b);
        at(offset, &["edit", id, "--note", &format!("last, at {offset}")]).exits(0);
        at(offset, &["sync"]).exits(0);
        sync(&pair.b);
        assert_eq!(notes(), [format!("last, at {offset}"), format!("last, at {offset}")]);
    }
}

#[test]
fn a_name_that_nobody_knows_is_told_and_everything_waits() {
    let mut waiting = Waiting::new(needs_stack!());
    let title = waiting.renew();
    let a = &waiting.pair.a;
    change_session(a, |session| session["url"] = json!("https://nowhere.invalid"));
    let mut command = a.cogfs(&["push"]);
    let ran = Ran::of(&command.env("COGFS_SYNC_URL", "https://nowhere.invalid").output().unwrap());
    // It is another server, first of all.
    assert!(ran.exits(1).stderr.contains("sync reset --adopt"));
    let fresh = waiting.pair.stack.machine(&waiting.pair.user);
    change_session(&fresh, |session| session["url"] = json!("https://nowhere.invalid"));
    let mut command = fresh.cogfs(&["pull"]);
    let ran = Ran::of(&command.env("COGFS_SYNC_URL", "https://nowhere.invalid").output().unwrap()).exits(5);
    assert!(ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    let url = waiting.pair.stack.url.clone();
    change_session(a, |session| session["url"] = json!(url));
    push(a);
    waiting.is_complete(&title);
}

/// A small filesystem of memory.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn new(dir: &'a Path, size: &str) -> Self {
        must(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "cogfs-test"]).arg(dir));
        Self(dir)
    }

    fn grow(&self, size: &str) {
        must(Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(self.0));
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_and_the_next_pull_completes() {
    crate::skip_unless!(is_root(), "only root can make a small filesystem");
    let pair = Pair::with(needs_stack!(), 200);
    let world = pair.stack.machine(&pair.user);
    let data = world.home().join("data");
    std::fs::create_dir_all(&data).unwrap();
    let _ = std::fs::remove_dir_all(&data);
    std::fs::create_dir_all(&data).unwrap();
    let small = Small::new(&data, "640k");
    let ran = world.run(&["pull"]).exits(1);
    let words = ran.stderr.to_lowercase();
    assert!(words.contains("full") || words.contains("no space"), "{}", ran.stderr);
    small.grow("200m");
    pull(&world);
    assert_eq!(commit_ids(&world), commit_ids(&pair.a));
    world.assert_consistent();
    world.is_left_damaged();
}
