//! Secrets in what people typed and in what was found stay on the machine, and what others make of the rest does not replace them.

use super::{Pair, commit_ids, local, sync};
use crate::common::{ClaudeLog, World};
use crate::needs_stack;

const KEY: &str = "AKIAIOSFODNN7EXAMPLQ";
const OTHER: &str = "AKIAIOSFODNN7EXAMPLR";
const MARK: &str = "[redacted:aws-access-key]";

fn in_the_cloud(pair: &Pair, text: &str) -> u64 {
    let of = |table: &str| {
        let like = format!("facts::text like '%{text}%' or fields::text like '%{text}%'");
        pair.stack.count(&pair.user, table, &like)
    };
    let turns = pair.stack.count(&pair.user, "turns", &format!("text like '%{text}%'"));
    of("cognitive_commits") + of("projects") + of("sessions") + turns
}

fn fields(world: &World) -> [String; 3] {
    ["title", "note", "tags"].map(|field| local(world, &format!("SELECT {field} FROM cognitive_commits")))
}

fn edit(world: &World, id: &str, what: &[&str]) {
    world.run(&[&["edit", id], what].concat()).exits(0);
}

#[track_caller]
fn assert_at_rest(pair: &Pair) {
    for world in pair.both() {
        let done = sync(world);
        assert_eq!((&done["pushed"], &done["pulled"], &done["conflicts"]), (&0.into(), &0.into(), &0.into()), "{done}");
    }
}

#[test]
fn what_was_typed_leaves_without_its_secrets_and_stays_here_with_them() {
    let pair = Pair::with(needs_stack!(), 1);
    let id = &commit_ids(&pair.a)[0];
    let (title, note) = (format!("Use {KEY} for boats"), format!("First {KEY}\nSecond {OTHER}"));
    edit(&pair.a, id, &["--title", &title, "--note", &note, "--tag", KEY, "--tag", "ops"]);
    pair.sync();
    assert_eq!(in_the_cloud(&pair, "AKIA"), 0);
    let here = fields(&pair.a);
    assert_eq!((&here[0], &here[1], here[2].contains(KEY)), (&title, &note, true));
    let there = fields(&pair.b);
    assert_eq!((&there[0], &there[1]), (&format!("Use {MARK} for boats"), &format!("First {MARK}\nSecond {MARK}")));
    assert_at_rest(&pair);
    // What the other machine makes of it.
    edit(&pair.b, id, &["--note", &format!("Zeroth\nFirst {MARK}\nSecond {MARK}"), "--add-tag", "more"]);
    pair.sync();
    let here = fields(&pair.a);
    assert_eq!(here[0], title);
    assert_eq!(here[1], format!("Zeroth\nFirst {KEY}\nSecond {OTHER}"));
    assert!(here[2].contains(KEY) && here[2].contains("more") && !here[2].contains("redacted"), "{}", here[2]);
    assert_eq!(in_the_cloud(&pair, "AKIA"), 0);
    assert_at_rest(&pair);
    // Edited at once: the title by both, of which one wins; the secret is in none but the first machine's.
    edit(&pair.a, id, &["--title", &format!("Here {KEY}"), "--note", &format!("First {KEY}\nLast")]);
    edit(&pair.b, id, &["--title", "There"]);
    sync(&pair.b);
    assert_eq!(sync(&pair.a)["conflicts"], 1);
    pair.sync();
    assert_eq!(in_the_cloud(&pair, "AKIA"), 0);
    assert_eq!(fields(&pair.a)[1], format!("First {KEY}\nLast"));
    assert_eq!(fields(&pair.b)[1], format!("First {MARK}\nLast"));
    assert_at_rest(&pair);
    edit(&pair.b, id, &["--title", "Without"]);
    sync(&pair.b);
    sync(&pair.a);
    assert_eq!(fields(&pair.a)[0], "Without");
}

#[test]
fn a_title_that_was_found_leaves_without_its_secret_and_stays_as_it_is_here() {
    let pair = Pair::new(needs_stack!());
    ClaudeLog::new("boats", 1).user(&format!("Log in with {KEY}")).assistant("Done.").write(&pair.a.logs());
    pair.a.import(&[&pair.a.logs()]);
    let found = local(&pair.a, "SELECT title FROM cognitive_commits");
    assert!(found.contains(KEY), "{found}");
    pair.sync();
    assert_eq!(in_the_cloud(&pair, "AKIA"), 0);
    assert_eq!(in_the_cloud(&pair, "akia"), 0, "names are made of titles");
    assert_eq!(local(&pair.a, "SELECT title FROM cognitive_commits"), found);
    assert!(local(&pair.b, "SELECT title FROM cognitive_commits").contains(MARK));
    // A title of a user's, and back to the one that was found.
    let id = &commit_ids(&pair.a)[0];
    edit(&pair.b, id, &["--title", "Typed"]);
    sync(&pair.b);
    sync(&pair.a);
    edit(&pair.b, id, &["--no-title"]);
    sync(&pair.b);
    sync(&pair.a);
    assert_eq!(local(&pair.a, "SELECT title FROM cognitive_commits"), found);
    assert_at_rest(&pair);
}

#[test]
fn the_setting_holds_for_what_is_in_the_cloud_already() {
    let pair = Pair::with(needs_stack!(), 1);
    let id = &commit_ids(&pair.a)[0];
    let (title, note) = (format!("Use {KEY}"), "Nothing to hide".to_owned());
    let set = |value: &str| pair.a.run(&["config", "set", "sync.redact", value]).exits(0);
    set("false");
    edit(&pair.a, id, &["--title", &title, "--note", &note]);
    pair.sync();
    assert!(in_the_cloud(&pair, KEY) > 0);
    assert_eq!(fields(&pair.b)[0], title);
    for (value, is_there) in [("true", false), ("false", true), ("true", false)] {
        set(value);
        pair.sync();
        assert_eq!(in_the_cloud(&pair, KEY) > 0, is_there, "redact: {value}");
        for world in pair.both() {
            assert_eq!(fields(world)[..2], [title.clone(), note.clone()], "redact: {value}");
        }
        assert_eq!(pair.b.run(&["sync", "conflicts", "--json"]).exits(0).json(), serde_json::json!([]));
    }
    assert_at_rest(&pair);
}
