//! `cogfs analytics`: what is counted in which week, and what is shown of what would be sent.

use cogfs::counts::Week;
use cogfs::counts::gather::gather;
use cogfs::model::Millis;
use serde_json::{Value, json};

use super::common::{ClaudeLog, World};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The Monday of so many weeks ago, in seconds.
fn monday(weeks: u32) -> i64 {
    Week::of(Millis::now()).before(weeks).start().0 / 1000
}

/// Two sessions of three weeks ago, the second of which goes on in the night to the next week.
fn world() -> World {
    let world = World::new();
    let mut early = ClaudeLog::new("boats", 1);
    early.at(monday(3) + 2 * DAY).user("Count them.").bash("ls", "seven").tool(
        "Read",
        &json!({"file_path": "/x"}),
        true,
    );
    early.assistant("Seven.").write(&world.logs());
    let mut late = ClaudeLog::new("trains", 2);
    late.at(monday(2) - 2).user("And trains?").at(monday(2) + HOUR).assistant("None.").write(&world.logs());
    world.import(&[&world.logs()]);
    world
}

fn told(world: &World, args: &[&str]) -> Value {
    world.run(&[&["analytics", "--json"], args].concat()).exits(0).json()
}

#[test]
fn weeks_are_counted_by_agent_and_a_session_in_each_week_that_it_was_in() {
    let world = world();
    let told = told(&world, &["--weeks", "4"]);
    let weeks = told["weeks"].as_array().unwrap();
    let names: Vec<&str> = weeks.iter().map(|week| week["week"].as_str().unwrap()).collect();
    let this = Week::of(Millis::now());
    assert_eq!(names, [3, 2, 1, 0].map(|weeks| this.before(weeks).name()));
    assert_eq!(weeks[0]["from"], this.before(3).date());
    let of = |week: &Value| week["agents"].as_array().unwrap().clone();
    let wanted = json!({"agent": "claude_code", "commits": 2, "sessions": 2, "prompts": 2, "turns": 5, "tool_calls": 2,
        "failed_calls": 1, "tokens_input": 20, "tokens_output": 28});
    assert_eq!(of(&weeks[0]), [wanted]);
    let wanted = json!({"agent": "claude_code", "commits": 1, "sessions": 1, "prompts": 0, "turns": 1, "tool_calls": 0,
        "failed_calls": 0, "tokens_input": 0, "tokens_output": 0});
    assert_eq!(of(&weeks[1]), [wanted]);
    assert_eq!((of(&weeks[2]).len(), of(&weeks[3]).len()), (0, 0));
    let total = &told["total"];
    assert_eq!((&total["sessions"], &total["commits"], &total["turns"]), (&json!(2), &json!(2), &json!(6)));
    let tools = json!([{"name": "Bash", "calls": 1, "failed": 0}, {"name": "Read", "calls": 1, "failed": 1}]);
    assert_eq!((&told["tools"], &told["elsewhere"]), (&tools, &json!(0)));
    assert_eq!(told["models"], json!([{"name": "claude-opus-4-5-20251101", "turns": 4}]));
}

#[test]
fn the_table_reads_well_and_what_would_be_sent_stands_below_it() {
    let world = world();
    let text = world.run(&["analytics", "--weeks", "4"]).exits(0).stdout;
    let this = Week::of(Millis::now());
    let line =
        |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default().to_owned();
    let words = |start: &str| line(start).split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words("week"), "week agent commits sessions prompts turns tool calls failed input output");
    assert_eq!(words(&this.before(3).name()), format!("{} Claude Code 2 2 2 5 2 1 20 28", this.before(3).name()));
    assert_eq!(words(&this.name()), format!("{} –", this.name()));
    assert_eq!(words("all"), "all 2 2 2 6 2 1 20 28");
    let document = told(&world, &[])["share"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains(&format!("\n\n{document}\n\n")), "{text}");
    assert!(text.contains("Nothing of this is sent anywhere") && text.contains("It never holds text"), "{text}");
    assert!(text.contains(&format!("would be sent for the last whole week ({})", this.before(1).name())), "{text}");
}

#[test]
fn the_document_is_made_once_and_holds_numbers_alone() {
    let world = world();
    let first = told(&world, &[])["share"].clone();
    assert_eq!(told(&world, &["--weeks", "1"])["share"], first, "asked twice, the noise is the same");
    assert_eq!(first["document"]["week"], Week::of(Millis::now()).before(1).date());
    assert_eq!(serde_json::from_str::<Value>(first["text"].as_str().unwrap()).unwrap(), first["document"]);
    let counts = first["document"]["counts"].as_object().unwrap();
    assert_eq!((counts.len(), counts.values().all(Value::is_u64)), (16, true), "{counts:?}");
    let other = self::world();
    assert_ne!(told(&other, &[])["share"]["document"], first["document"], "noise of another database");
}

#[test]
fn all_weeks_together_are_what_stats_say() {
    let world = World::with_samples();
    let (total, stats) = (told(&world, &["--weeks", "1000"])["total"].clone(), world.stats());
    for key in ["commits", "sessions", "prompts", "turns", "tool_calls", "tokens_input", "tokens_output"] {
        let agents = stats["by_agent"].as_array().unwrap();
        let sum: u64 = agents.iter().map(|agent| agent[key].as_u64().unwrap()).sum();
        if key == "commits" {
            // One may be of two agents.
            assert_eq!(total[key], stats[key]);
        } else {
            assert_eq!(total[key], sum, "{key}");
        }
    }
}

#[test]
fn what_is_deleted_is_not_counted() {
    let world = world();
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let id: String = db
        .query_row("SELECT lower(hex(id)) FROM cognitive_commits ORDER BY started_at LIMIT 1", [], |r| r.get(0))
        .unwrap();
    drop(db);
    world.run(&["trash", &id]).exits(0);
    let total = told(&world, &[])["total"].clone();
    assert_eq!((&total["sessions"], &total["turns"]), (&json!(1), &json!(2)));
}

/// Of each project's turns, whether they count in what is shared.
fn shared(world: &World) -> Vec<(String, bool)> {
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let this = Week::of(Millis::now());
    let bits = gather(&db, this.before(3), this).unwrap().bits;
    let project = |row: i64| {
        let name = "SELECT p.name FROM projects p JOIN cognitive_commits c ON c.project_row = p.row WHERE c.row = ?1";
        db.query_row(name, [row], |r| r.get(0)).unwrap()
    };
    let mut found: Vec<(String, bool)> = bits.iter().map(|bit| (project(bit.commit_row), bit.may_leave)).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn what_is_kept_on_this_machine_does_not_count_in_what_is_shared() {
    let world = world();
    let (boats, trains) = ("boats".to_owned(), "trains".to_owned());
    assert_eq!(shared(&world), [(boats.clone(), true), (trains.clone(), true)]);
    world.run(&["project", "disable", "boats"]).exits(0);
    assert_eq!(shared(&world), [(boats.clone(), false), (trains.clone(), true)]);
    // A file that was written since the last sync holds, too.
    let settings = world.home().join("config/cogfsignore");
    std::fs::create_dir_all(settings.parent().unwrap()).unwrap();
    std::fs::write(settings, ClaudeLog::new("trains", 2).path(&world.logs()).to_str().unwrap()).unwrap();
    assert_eq!(told(&world, &["--weeks", "4"])["total"]["sessions"], 2, "it is counted here");
    assert_eq!(shared(&world), [(boats, false), (trains, false)]);
}

#[test]
fn an_empty_database_says_so_and_shares_nothing() {
    let world = World::new();
    assert!(world.run(&["analytics"]).exits(0).stdout.contains("Nothing is imported yet"));
    let told = told(&world, &[]);
    assert_eq!((&told["share"]["document"], &told["total"]["turns"]), (&json!(null), &json!(0)));
    let early = self::world();
    let text = early.run(&["analytics", "--weeks", "1"]).exits(0).stdout;
    assert!(text.contains("Nothing was said in the last 1 week: `--weeks N` looks further back."), "{text}");
}

#[test]
fn sharing_is_a_setting_that_is_told_plainly() {
    let mut world = world();
    world.run(&["config", "get", "analytics.share"]).exits(1);
    let status = |world: &World| {
        let text = world.run(&["status"]).exits(0).stdout;
        (
            world.run(&["status", "--json"]).exits(0).json()["shares_analytics"].clone(),
            text.contains("counts are shared"),
        )
    };
    assert_eq!(status(&world), (json!(false), false));
    let text = world.run(&["analytics", "--opt-in"]).exits(0).stdout;
    assert_eq!(status(&world), (json!(true), true));
    assert!(
        text.contains("analytics.share is true") && text.contains("nothing is sent before `cogfs login`"),
        "{text}"
    );
    assert_eq!(world.run(&["config", "get", "analytics.share"]).exits(0).stdout, "true\n");
    assert!(world.run(&["analytics"]).exits(0).stdout.contains("Counts are sent weekly. For the last whole week"));
    let out = world.run(&["analytics", "--opt-out"]).exits(0).stdout;
    assert!(out.contains("analytics.share is false") && out.contains("None were"), "{out}");
    assert_eq!(status(&world), (json!(false), false));
    assert_eq!(world.run(&["config", "get", "analytics.share"]).exits(0).stdout, "false\n");
    for wrong in
        [&["--opt-in", "--opt-out"][..], &["--opt-out", "--weeks", "2"], &["--weeks", "0"], &["--weeks", "1001"]]
    {
        world.run(&[&["analytics"], wrong].concat()).exits(2);
    }
    let bad = world.run(&["config", "set", "analytics.share", "perhaps"]).exits(1);
    assert!(bad.stderr.contains("true, false"), "{}", bad.stderr);
    world.set_variable("COGFS_ANALYTICS_SHARE", "true");
    let told = world.run(&["analytics", "--opt-out"]).exits(0);
    assert!(told.stderr.contains("COGFS_ANALYTICS_SHARE is set in the environment"), "{}", told.all());
    assert!(!told.stdout.contains("No counts are sent"), "{}", told.stdout);
}
