//! Logging in at a stack of real parts on this machine (`scripts/cloud-stack`): PostgREST, and a login that is GoTrue's in its
//! flows, with a stand-in for GitHub. The double of the other tests is built from what is known of these; here it is asked.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::browser::Browser;
use common::{Ran, World, must, stdout_of};
use serde_json::{Value, json};

/// A stack of a test's own.
struct Stack {
    dir: tempfile::TempDir,
}

impl Stack {
    fn program() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cloud-stack")
    }

    /// Starts one; `Err`: why there is none.
    fn up() -> Result<Self, String> {
        if !Self::program().exists() {
            return Err("there is no scripts/cloud-stack".to_owned());
        }
        let stack = Self { dir: tempfile::tempdir().unwrap() };
        let up = stack.command("up").output().unwrap();
        if up.status.success() { Ok(stack) } else { Err(String::from_utf8_lossy(&up.stderr).into_owned()) }
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(Self::program());
        command.arg(what).arg("--dir").arg(self.dir.path()).stdin(Stdio::null());
        command
    }

    fn ask(&self, what: &str, name: &str) -> Value {
        let mut command = self.command(what);
        if !name.is_empty() {
            command.arg(name);
        }
        serde_json::from_str(&stdout_of(&mut command)).unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.command("down").output());
    }
}

fn session_file(world: &World) -> PathBuf {
    world.home().join("state/session.json")
}

/// Makes the kept token one of an hour ago.
fn age(world: &World) -> Value {
    let mut session = common::json(&session_file(world));
    session["received_at"] = json!(session["received_at"].as_i64().unwrap() - 3_590_000);
    fs::write(session_file(world), session.to_string()).unwrap();
    session
}

#[test]
fn a_login_is_one_at_a_real_stack_too() {
    let stack = match Stack::up() {
        Ok(stack) => stack,
        Err(why) => return common::skipped(&format!("no cloud on this machine: {why}")),
    };
    let (world, shown) = (World::new(), stack.ask("status", ""));
    for (name, key) in [("sync.url", "url"), ("sync.key", "anon_key")] {
        world.run(&["config", "set", name, shown[key].as_str().unwrap()]).exits(0);
    }

    // With a password.
    let user = stack.ask("user", "mira");
    let mut login = world.cogfs(&["login", "--email", user["email"].as_str().unwrap(), "--password-stdin", "--json"]);
    let mut child = login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", user["password"].as_str().unwrap()).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap()).exits(0);
    assert_eq!(ran.json()["user"], user["id"]);
    let told = world.run(&["whoami", "--json"]).exits(0).json();
    assert_eq!((&told["user"], &told["usage"]["commits"]), (&user["id"], &json!(0)), "{told}");

    // The server takes a refresh token once: the new one is kept, by one of several processes that need it.
    let before = age(&world);
    let all: Vec<_> = (0..4)
        .map(|_| world.cogfs(&["whoami"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for child in all {
        Ran::of(&child.wait_with_output().unwrap()).exits(0);
    }
    let after = common::json(&session_file(&world));
    assert_ne!(before["refresh_token"], after["refresh_token"]);
    assert_eq!(before["user"], after["user"]);

    // Through the browser: the server, GitHub, the server again, and back to the program.
    let browser = Browser::start(&mut world.cogfs(&["login", "--no-browser"]));
    let page = browser.visit(browser.address.as_str());
    assert!(page.contains("logged in as octocat"), "{page}");
    assert!(browser.end().exits(0).stdout.contains("Logged in as octocat"));
    assert_eq!(world.run(&["whoami", "--json"]).exits(0).json()["provider"], "github");

    // A code that is none.
    let mut browser = Browser::start(&mut world.cogfs(&["login", "--no-browser"]));
    browser.paste("00000000-0000-4000-8000-000000000000");
    assert!(browser.end().exits(1).stderr.contains("used already"));

    // What was logged out is over: its tokens give no new ones.
    let session = fs::read(session_file(&world)).unwrap();
    assert_eq!(world.run(&["logout"]).exits(0).stdout, "octocat is logged out on this machine.\n");
    world.run(&["whoami"]).exits(4);
    fs::write(session_file(&world), session).unwrap();
    age(&world);
    world.run(&["whoami"]).exits(4);
    assert!(common::json(&session_file(&world))["ended"].is_string());
    must(&mut stack.command("down"));
}
