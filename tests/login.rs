//! Logging in and out, and settings, as a user does it; the cloud is a double on this machine.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::browser::Browser;
use common::cloud::{Answer, CODE, Double, KEY, PASSWORD, USER};
use common::{ClaudeLog, Ran, World, wait_until};
use serde_json::{Value, json};

/// A world whose settings name a double.
fn world() -> (World, Double) {
    let (world, double) = (World::new(), Double::start());
    world.run(&["config", "set", "sync.url", &double.url]).exits(0);
    world.run(&["config", "set", "sync.key", KEY]).exits(0);
    (world, double)
}

/// The program, whose log says everything it can: so every test sees what is logged.
fn cogfs(world: &World, args: &[&str]) -> Command {
    let mut command = world.cogfs(args);
    command.env("COGFS_LOG", "trace").env_remove("DISPLAY");
    command
}

fn with_input(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ran::of(&child.wait_with_output().unwrap())
}

fn log_in(world: &World) -> Ran {
    let mut command = cogfs(world, &["login", "--email", "mira@example.org", "--password-stdin"]);
    with_input(&mut command, &format!("{PASSWORD}\n"))
}

fn session_file(world: &World) -> PathBuf {
    world.home().join("state/session.json")
}

fn kept(world: &World) -> Value {
    common::json(&session_file(world))
}

#[track_caller]
fn assert_tells_no_secret(double: &Double, ran: &Ran) {
    for secret in double.secrets() {
        assert!(!ran.all().contains(&secret), "{secret} is in {}", ran.all());
    }
}

/// The arguments and the environment's values are what other users and programs of this one see of a process.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn settings_are_set_read_and_listed() {
    let world = World::new();
    let refused = world.run(&["config", "get", "sync.url"]).exits(1);
    assert!(refused.stderr.contains("cogfs config set sync.url"), "{}", refused.stderr);
    world.run(&["config", "set", "sync.url", "https://Abc.supabase.co/"]).exits(0);
    assert_eq!(world.run(&["config", "get", "sync.url"]).exits(0).stdout, "https://abc.supabase.co\n");
    let list = world.run(&["config", "list", "--json"]).exits(0).json();
    assert_eq!(list["settings"][0]["value"], "https://abc.supabase.co");
    assert_eq!(list["settings"][0]["origin"], "file");
    assert_eq!(list["settings"][1]["value"], Value::Null);
    let mut with_environment = world.cogfs(&["config", "get", "sync.url", "--json"]);
    let output = with_environment.env("COGFS_SYNC_URL", "https://other.example").output().unwrap();
    let got = Ran::of(&output).exits(0).json();
    assert_eq!((&got["value"], &got["origin"]), (&json!("https://other.example"), &json!("environment")));
    let unknown = world.run(&["config", "set", "sync.ulr", "x"]).exits(2);
    assert!(unknown.stderr.contains("sync.url") && unknown.stderr.contains("sync.key"), "{}", unknown.stderr);
    let bad = world.run(&["config", "set", "sync.url", "http://db.example"]).exits(1);
    assert!(bad.stderr.contains("https"), "{}", bad.stderr);
    assert!(world.run(&["config", "list"]).exits(0).stdout.contains("https://abc.supabase.co"));
}

#[test]
fn a_login_without_a_server_says_how_to_name_one() {
    let world = World::new();
    for command in [["login", "--no-browser"], ["login", "--json"]] {
        let ran = world.run(&command).exits(1);
        assert!(ran.stderr.contains("cogfs config set sync.url"), "{}", ran.stderr);
    }
    let double = Double::start();
    world.run(&["config", "set", "sync.url", &double.url]).exits(0);
    assert!(world.run(&["login"]).exits(1).stderr.contains("cogfs config set sync.key"));
    world.run(&["config", "set", "sync.key", "sb_publishable_of_another"]).exits(0);
    let ran = world.run(&["login", "--no-browser"]).exits(1);
    assert!(ran.stderr.contains("does not take the key"), "{}", ran.stderr);
}

#[test]
fn a_password_is_read_from_standard_input_and_stands_in_no_command_line() {
    let (world, double) = world();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let lines = std::sync::Arc::clone(&seen);
    double.answers(move |_| {
        lines.lock().unwrap().extend(command_lines());
        None
    });
    let ran = log_in(&world).exits(0);
    assert_eq!(ran.stdout, format!("Logged in as mira at {}.\n", double.url));
    assert_tells_no_secret(&double, &ran);
    assert_eq!(kept(&world)["user"], USER);
    assert_eq!(fs::metadata(session_file(&world)).unwrap().permissions().mode() & 0o777, 0o600);
    let ran = Ran::of(&cogfs(&world, &["whoami"]).output().unwrap()).exits(0);
    assert_tells_no_secret(&double, &ran);
    let seen = seen.lock().unwrap();
    assert!(
        seen.iter().any(|line| line.contains("--password-stdin")) && seen.iter().any(|line| line.contains("whoami"))
    );
    for secret in double.secrets() {
        assert!(!seen.iter().any(|line| line.contains(&secret)), "{secret} is an argument of a process");
    }
}

#[test]
fn a_wrong_password_changes_nothing() {
    let (world, double) = world();
    let ran = with_input(&mut cogfs(&world, &["login", "--email", "m@x.org", "--password-stdin"]), "wrong\n").exits(1);
    assert!(ran.stderr.contains("wrong email address or password"), "{}", ran.stderr);
    assert!(!session_file(&world).exists());
    let ran = with_input(&mut cogfs(&world, &["login", "--email", "m@x.org", "--password-stdin"]), "").exits(1);
    assert!(ran.stderr.contains("no password"), "{}", ran.stderr);
    assert_eq!(double.count("/auth/v1/token"), 1);
}

#[test]
fn the_browser_is_opened_and_comes_back() {
    let (world, double) = world();
    // Every launcher that is looked for, in place of the system's.
    let bin = world.root().join("bin");
    let opened = world.root().join("opened");
    fs::create_dir(&bin).unwrap();
    let script = format!("#!/bin/sh\nprintf %s \"$1\" > '{0}.new' && mv '{0}.new' '{0}'\n", opened.display());
    fs::write(bin.join("xdg-open"), script).unwrap();
    fs::set_permissions(bin.join("xdg-open"), fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let browser = Browser::start(cogfs(&world, &["login", "--json"]).env("PATH", path));
    wait_until(Duration::from_secs(10), "the browser is opened", || opened.exists());
    assert_eq!(fs::read_to_string(&opened).unwrap(), browser.address.as_str());
    assert!(browser.address.as_str().starts_with(&format!("{}/auth/v1/authorize?provider=github&", double.url)));
    assert_eq!(browser.query("code_challenge_method"), "s256");
    assert_eq!(browser.query("code_challenge").len(), 43);
    // Neither a page elsewhere nor another login ends this one.
    let redirect = browser.query("redirect_to");
    assert!(redirect.starts_with("http://127.0.0.1:"), "{redirect}");
    let foreign = redirect.split_once('?').unwrap().0.to_owned() + "?state=other&code=" + CODE;
    assert!(browser.visit(&foreign).contains("Not logged in"));
    let page = browser.visit(&browser.callback(&format!("code={CODE}")));
    assert!(page.contains("logged in as mira"), "{page}");
    let ran = browser.end().exits(0);
    assert_eq!(ran.json()["name"], "mira");
    assert_tells_no_secret(&double, &ran);
    let exchange = double.asked().into_iter().find(|asked| asked.path.contains("pkce")).unwrap();
    assert_eq!(exchange.json()["auth_code"], CODE);
    assert!(exchange.json()["code_verifier"].as_str().unwrap().len() >= 43);
}

#[test]
fn without_a_browser_the_address_or_the_code_is_pasted() {
    for whole in [true, false] {
        let (world, double) = world();
        let mut browser = Browser::start(&mut cogfs(&world, &["login", "--no-browser"]));
        browser.paste("");
        browser.paste("what is this");
        let pasted = if whole { browser.callback(&format!("code={CODE}")) } else { CODE.to_owned() };
        browser.paste(&pasted);
        let ran = browser.end().exits(0);
        assert!(ran.stdout.contains("Logged in as mira"), "{ran:?}");
        assert!(ran.stderr.contains("there is no code in it"), "{ran:?}");
        assert_tells_no_secret(&double, &ran);
        assert_eq!(kept(&world)["user"], USER);
    }
}

#[test]
fn a_login_that_was_denied_says_why() {
    let (world, _double) = world();
    let browser = Browser::start(&mut cogfs(&world, &["login", "--no-browser"]));
    let denied = "error=access_denied&error_code=signup_disabled&error_description=No+new+users%1b%5b31m";
    assert!(browser.visit(&browser.callback(denied)).contains("No new users"));
    let ran = browser.end().exits(1);
    assert!(ran.stderr.contains("No new users") && !ran.stderr.contains('\u{1b}'), "{ran:?}");
    let browser = Browser::start(&mut cogfs(&world, &["login", "--no-browser"]));
    assert!(browser.visit(&browser.callback("code=00000000-0000-0000-0000-000000000000")).contains("used already"));
    assert!(browser.end().exits(1).stderr.contains("used already"));
    let disabled = world.run(&["login", "--provider", "google", "--no-browser"]).exits(1);
    assert!(disabled.stderr.contains("no login with google"), "{}", disabled.stderr);
    assert!(!session_file(&world).exists());
}

#[test]
fn who_is_logged_in_is_told_with_what_the_account_holds() {
    let (world, double) = world();
    let ran = world.run(&["whoami"]).exits(4);
    assert!(ran.stderr.contains("cogfs login"), "{}", ran.stderr);
    log_in(&world).exits(0);
    ClaudeLog::new("boats", 1).user("Count the boats.").assistant("Seven boats.").clone().write(&world.logs());
    world.import(&[&world.logs()]);
    let text = world.run(&["whoami"]).exits(0).stdout;
    for line in ["mira (mira@example.org, github)", "plan      free", "28 %  68 of 250", "6.1 MB of 50.0 MB"] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    let told = world.run(&["whoami", "--json"]).exits(0).json();
    assert_eq!(
        (&told["user"], &told["usage"]["commits"], &told["limits"]["bytes"]),
        (&json!(USER), &json!(68), &json!(50_000_000))
    );
    assert!(told["machine"].is_string(), "{told}");
    assert_eq!(world.run(&["status", "--json"]).exits(0).json()["account"]["name"], "mira");
    double.answers(|asked| asked.path.starts_with("/rest/").then_some(Answer::Hangup));
    let offline = world.run(&["whoami", "--json"]).exits(5);
    assert_eq!((&offline.json()["name"], &offline.json()["plan"]), (&json!("mira"), &Value::Null));
    assert!(offline.stderr.contains("cannot be reached"), "{}", offline.stderr);
}

#[test]
fn many_processes_whose_token_is_over_get_one_new_one() {
    let (world, double) = world();
    log_in(&world).exits(0);
    double.expire();
    let all: Vec<Child> = (0..6)
        .map(|_| world.cogfs(&["whoami"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in all {
        Ran::of(&child.wait_with_output().unwrap()).exits(0);
    }
    assert_eq!(double.count("/auth/v1/token?grant_type=refresh_token"), 1);
}

#[test]
fn a_session_that_the_server_ended_is_told_and_a_login_mends_it() {
    let (world, double) = world();
    log_in(&world).exits(0);
    double.answers(|asked| {
        asked
            .path
            .contains("refresh_token")
            .then(|| Answer::Json(400, json!({"code": "session_not_found", "message": "x"})))
    });
    double.expire();
    for _ in 0..2 {
        assert!(world.run(&["whoami"]).exits(4).stderr.contains("cogfs login"));
    }
    assert_eq!(double.count("/auth/v1/token?grant_type=refresh_token"), 1);
    assert!(world.run(&["status"]).exits(0).stdout.contains("log in again"));
    log_in(&world).exits(0);
    world.run(&["whoami"]).exits(0);
}

#[test]
fn a_logout_ends_the_session_of_this_machine_alone() {
    let (world, double) = world();
    assert!(world.run(&["logout"]).exits(0).stdout.contains("Nobody was logged in"));
    log_in(&world).exits(0);
    let ran = world.run(&["logout"]).exits(0);
    assert_eq!(ran.stdout, "mira is logged out on this machine.\n");
    let logouts: Vec<_> = double.asked().into_iter().filter(|a| a.path.contains("logout")).collect();
    assert_eq!(logouts.iter().map(|a| a.path.as_str()).collect::<Vec<_>>(), ["/auth/v1/logout?scope=local"]);
    assert!(logouts[0].token().is_some());
    assert!(!session_file(&world).exists());
    world.run(&["whoami"]).exits(4);
}

#[test]
fn a_logout_without_a_network_is_one_all_the_same() {
    let (world, double) = world();
    log_in(&world).exits(0);
    double.answers(|_| Some(Answer::Hangup));
    let told = world.run(&["logout", "--json"]).exits(0).json();
    assert_eq!((&told["was_logged_in"], &told["server_told"]), (&json!(true), &json!(false)));
    assert!(told["reason"].as_str().unwrap().contains("cannot be reached"), "{told}");
    assert!(!session_file(&world).exists());
    // With the settings gone too.
    double.answers(|_| None);
    log_in(&world).exits(0);
    fs::remove_file(world.home().join("config/config.toml")).unwrap();
    world.run(&["logout"]).exits(0);
    assert!(!session_file(&world).exists());
}

#[test]
fn a_damaged_session_is_none_and_neither_a_logout_nor_a_login_minds() {
    let (world, _double) = world();
    log_in(&world).exits(0);
    fs::write(session_file(&world), "{\"url\": ").unwrap();
    world.run(&["whoami"]).exits(4);
    world.run(&["logout"]).exits(0);
    assert!(!session_file(&world).exists());
    fs::write(session_file(&world), "").unwrap();
    log_in(&world).exits(0);
    world.run(&["whoami"]).exits(0);
}

#[test]
fn a_database_that_is_another_accounts_is_not_logged_in_for() {
    let (world, double) = world();
    ClaudeLog::new("boats", 1).user("Count the boats.").assistant("Seven boats.").clone().write(&world.logs());
    world.import(&[&world.logs()]);
    let bind = |user: &str, url: &str| {
        let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
        for (key, value) in [("account_user", user), ("account_url", url)] {
            db.execute("INSERT OR REPLACE INTO state(key, value) VALUES (?1, ?2)", [key, value]).unwrap();
        }
    };
    bind("11111111-1111-4111-8111-111111111111", &double.url);
    let ran = log_in(&world).exits(1);
    for way_out in ["not logged in as mira", "COGFS_HOME", "cogfs sync reset --adopt"] {
        assert!(ran.stderr.contains(way_out), "{way_out}: {}", ran.stderr);
    }
    assert!(!session_file(&world).exists());
    assert_eq!(double.count("/auth/v1/logout?scope=local"), 1, "the session that nobody uses is ended");
    let asked = double.asked().len();
    bind(USER, "https://elsewhere.example");
    assert!(log_in(&world).exits(1).stderr.contains("elsewhere.example"));
    assert_eq!(double.asked().len(), asked, "it is known before anybody logs in");
    bind(USER, &double.url);
    log_in(&world).exits(0);
}

#[test]
fn a_session_of_another_server_is_told_and_not_shown_to_this_one() {
    let (world, _double) = world();
    log_in(&world).exits(0);
    let other = Double::start();
    world.run(&["config", "set", "sync.url", &other.url]).exits(0);
    let ran = world.run(&["whoami"]).exits(1);
    assert!(ran.stderr.contains(&other.url) && ran.stderr.contains("cogfs login"), "{}", ran.stderr);
    assert_eq!(other.asked().len(), 0);
}
