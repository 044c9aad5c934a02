//! Logging in as a user does it: `cogfs login` opens a real browser, somebody clicks, and the browser ends on the page of the program.
//! The login is that of `scripts/cloud-stack`, with stand-ins for GitHub and Google.

mod common;

use common::browser::Browser;
use common::chromium::Desktop;
use common::{Ran, World};
use serde_json::Value;

/// A world whose settings name the stack, and a desktop, or the test is left, loudly.
macro_rules! needs_desktop {
    ($stack:expr) => {{
        let world = $stack.newcomer();
        match Desktop::new(&world) {
            Some(desktop) => (world, desktop),
            None => return common::skipped("no chromium, or no chromium-driver"),
        }
    }};
}

fn start(world: &World, desktop: &Desktop, provider: &str) -> Browser {
    Browser::start(&mut desktop.around(world.cogfs(&["login", "--json", "--provider", provider])))
}

fn whoami(world: &World) -> Value {
    world.run(&["whoami", "--json"]).exits(0).json()
}

#[test]
fn somebody_clicks_on_authorize_and_is_logged_in() {
    let stack = needs_stack!();
    for (provider, page, name, email) in
        [("github", "GitHub", "octocat", "octocat@example.test"), ("google", "Google", "Ada", "ada@example.test")]
    {
        let (world, desktop) = needs_desktop!(stack);
        let login = start(&world, &desktop, provider);
        let chromium = desktop.chromium();
        // What stands in the command line of the browser: the address that is printed too, and in it nothing that ends the login.
        assert_eq!(desktop.opened(), login.address.as_str());
        let names: Vec<_> = login.address.query_pairs().map(|(name, _)| name.into_owned()).collect();
        assert_eq!(names, ["provider", "redirect_to", "code_challenge", "code_challenge_method"]);

        chromium.page(page);
        chromium.click("authorize");
        let text = chromium.page("cogfs: Logged in");
        assert_eq!(text.trim(), format!("Logged in\n\ncogfs is logged in as {name}. You can close this page."));
        assert!(chromium.address().starts_with(&login.query("redirect_to")), "{}", chromium.address());
        chromium.picture(&format!("login-{provider}.png"));
        let ran = login.end().exits(0);
        assert_eq!((&ran.json()["name"], &ran.json()["provider"]), (&name.into(), &provider.into()));
        let told = whoami(&world);
        assert_eq!((&told["email"], &told["provider"]), (&email.into(), &provider.into()), "{told}");
    }
}

#[test]
fn somebody_clicks_on_cancel_and_both_sides_say_so() {
    let stack = needs_stack!();
    let (world, desktop) = needs_desktop!(stack);
    let login = start(&world, &desktop, "github");
    let chromium = desktop.chromium();
    chromium.click("cancel");
    let text = chromium.page("cogfs: Not logged in");
    assert!(text.contains("denied"), "{text}");
    chromium.picture("login-cancelled.png");
    let ran = login.end().exits(1);
    assert!(ran.stderr.contains("the login was refused: ") && ran.stderr.contains("denied"), "{ran:?}");
    world.run(&["whoami"]).exits(4);
}

#[test]
fn what_belongs_to_another_login_ends_none() {
    let stack = needs_stack!();
    let (world, desktop) = needs_desktop!(stack);
    let login = start(&world, &desktop, "github");
    let chromium = desktop.chromium();
    chromium.page("GitHub");

    // A page of somebody else's sends the browser here with a code of theirs: the state is not ours, and the login goes on.
    let (callback, state) = {
        let redirect = login.query("redirect_to");
        let (callback, state) = redirect.split_once("?state=").unwrap();
        (callback.to_owned(), state.to_owned())
    };
    chromium.visit(&format!("{callback}?state={}x&code=0d1c2b3a-0000-4000-8000-00000000000c", &state[1..]));
    assert!(chromium.page("cogfs: Not logged in").contains("it belongs to another login"));
    chromium.picture("login-other-state.png");

    // Who knows the state, from the browser's command line, begins a login with a challenge of their own and lets it end here: the
    // code that comes is for their verifier, and the server does not take it for ours.
    let foreign = Browser::start(&mut world.cogfs(&["login", "--no-browser"]));
    let mut grafted = foreign.address.clone();
    let pairs: Vec<(String, String)> = foreign.address.query_pairs().into_owned().collect();
    grafted.query_pairs_mut().clear().extend_pairs(pairs.iter().map(|(name, value)| {
        (name.as_str(), if name == "redirect_to" { login.query("redirect_to") } else { value.clone() })
    }));
    chromium.visit(grafted.as_str());
    chromium.click("authorize");
    let text = chromium.page("cogfs: Not logged in");
    assert!(text.contains("the code was used already, is too old or another login's"), "{text}");
    let ran = login.end().exits(1);
    assert!(ran.stderr.contains("another login's"), "{ran:?}");
    world.run(&["whoami"]).exits(4);

    // The other login was not touched by that.
    chromium.visit(foreign.address.as_str());
    chromium.click("authorize");
    chromium.page("cogfs: Logged in");
    let ran: Ran = foreign.end().exits(0);
    assert!(ran.stdout.contains("Logged in as octocat"), "{ran:?}");
}
