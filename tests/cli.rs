//! The command line: exit statuses, what is printed where, and what an interruption leaves.

#[path = "cli/analytics.rs"]
mod analytics;
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use common::world::{assert_integrity, databases};
use common::{ClaudeLog, World, wait_until};
use serde_json::Value;

fn small_log() -> ClaudeLog {
    ClaudeLog::new("boats", 1).user("Count the boats.").assistant("Seven boats.").clone()
}

#[test]
fn an_import_that_goes_well_exits_0_and_counts() {
    let world = World::new();
    small_log().git_commit("1a1a1a1", "Count the boats").write(&world.logs());
    let summary = world.import(&[&world.logs()]);
    let wanted = [
        ("files", 1),
        ("sessions", 1),
        ("subagents", 0),
        ("turns", 3),
        ("tool_calls", 1),
        ("images", 0),
        ("projects", 1),
        ("new_turns", 3),
        ("records", 4),
        ("unfinished", 0),
    ];
    for (key, count) in wanted {
        assert_eq!(summary[key], count, "{key} in {summary}");
    }
    assert_eq!(summary["skipped"], Value::Array(Vec::new()), "{summary}");
    assert!(
        summary["seconds"].is_number() && summary["unknown"].is_object() && summary["ignored"].is_object(),
        "{summary}"
    );
}

#[test]
fn an_import_prints_a_summary_for_people() {
    let world = World::new();
    small_log().write(&world.logs());
    let ran = world.run(&["import".as_ref(), world.logs().as_os_str()]).exits(0);
    assert!(ran.all().contains("session"), "{ran:?}");
}

#[test]
fn a_quiet_import_prints_nothing() {
    let world = World::new();
    small_log().write(&world.logs());
    let ran = world.run(&["import".as_ref(), "--quiet".as_ref(), world.logs().as_os_str()]).exits(0);
    assert_eq!(ran.all().trim(), "");
}

#[test]
fn an_import_that_skips_records_exits_3_and_names_them() {
    let world = World::new();
    let path = small_log().line("this is no JSON").user("Still here?").write(&world.logs());
    let summary = world.try_import(&[&world.logs()]).exits(3).json();
    let skipped = summary["skipped"].as_array().unwrap();
    assert_eq!(skipped.len(), 1, "{summary}");
    assert_eq!(skipped[0]["file"], path.to_str().unwrap());
    assert_eq!(skipped[0]["line"], 3);
    assert!(!skipped[0]["reason"].as_str().unwrap().is_empty());
    assert_eq!(summary["turns"], 3, "{summary}");
}

#[test]
fn an_import_of_a_missing_path_exits_1_and_names_it() {
    let world = World::new();
    let missing = world.root().join("nowhere");
    let ran = world.try_import(&[&missing]).exits(1);
    assert!(ran.stderr.contains(missing.to_str().unwrap()), "{}", ran.stderr);
}

#[test]
fn an_import_without_paths_takes_the_agents_own_folders() {
    let world = World::new();
    small_log().write(&world.root().join("user/.claude"));
    let summary = world.run(&["import", "--json"]).exits(0).json();
    assert_eq!(summary["sessions"], 1, "{summary}");
}

#[test]
fn a_single_file_can_be_imported() {
    let world = World::new();
    let path = small_log().write(&world.logs());
    assert_eq!(world.import(&[&path])["sessions"], 1);
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    let world = World::new();
    small_log().write(&world.logs());
    let dry = world.run(&["import".as_ref(), "--json".as_ref(), "--dry-run".as_ref(), world.logs().as_os_str()]);
    let dry = dry.exits(0).json();
    assert_eq!(dry["sessions"], 1, "{dry}");
    assert!(world.dump().iter().all(|row| !row.contains("Seven boats.")), "the dry run wrote turns");
    assert_eq!(world.import(&[&world.logs()])["new_turns"], 2, "the import after it has still everything to do");
}

#[test]
fn a_dry_run_on_a_filled_database_leaves_it_as_it_is() {
    let world = World::with_samples();
    let before = world.dump();
    small_log().write(&world.logs());
    world.run(&["import".as_ref(), "--dry-run".as_ref(), world.logs().as_os_str()]).exits(0);
    assert_eq!(world.dump(), before);
}

#[test]
fn the_demo_logs_and_the_fixtures_import_without_a_complaint() {
    let world = World::new();
    let summary = world.import(&[&common::demo_logs(), &common::fixtures()]);
    // The fixtures hold these to see what becomes of the unknown; anything else means that a parser forgot a kind.
    let expected = serde_json::json!({
        "content/novelty": 1, "content_type/novelty": 1, "event_msg/something_new": 1, "new_kind": 1,
    });
    assert_eq!(summary["unknown"], expected, "kinds of records that no parser knows: {summary}");
    assert!(summary["images"].as_u64().unwrap() >= 2, "{summary}");
    assert!(summary["subagents"].as_u64().unwrap() >= 2, "{summary}");
}

#[test]
fn stats_print_a_table_and_json() {
    let world = World::with_samples();
    let stats = world.stats();
    assert!(stats.is_object(), "{stats}");
    let table = world.run(&["stats"]).exits(0).stdout;
    assert!(table.to_lowercase().contains("sessions"), "{table}");
}

#[test]
fn stats_of_an_empty_database_are_zero() {
    let world = World::new();
    assert_eq!(world.stats()["sessions"], 0);
}

#[test]
fn doctor_answers_for_people_and_in_json() {
    let world = World::with_samples();
    assert!(world.run(&["doctor", "--json"]).json().is_object());
    assert!(!world.run(&["doctor"]).stdout.trim().is_empty());
}

#[test]
fn the_demo_fills_a_database_of_its_own_and_says_how_to_mount_it() {
    let world = World::new();
    let ran = world.run(&["demo"]).exits(0);
    let demo = world.home().join("demo");
    assert!(ran.stdout.contains("cogfs mount"), "{}", ran.stdout);
    assert!(ran.stdout.contains(demo.to_str().unwrap()), "{}", ran.stdout);
    assert!(!databases(&demo).is_empty(), "no database in {}", demo.display());
    assert_eq!(world.stats()["sessions"], 0, "the demo went into the database of the user");
    let stats = world.cogfs_at(&demo, &["stats", "--json"]).output().unwrap();
    let stats: Value = serde_json::from_slice(&stats.stdout).unwrap();
    assert!(stats["sessions"].as_u64().unwrap() >= 4, "{stats}");
    world.run(&["demo"]).exits(0);
}

#[test]
fn the_demo_can_be_mounted_at_once() {
    needs_fuse!();
    let world = World::new();
    let dir = world.root().join("demo-mount");
    world.run(&["demo".as_ref(), "--mount".as_ref(), dir.as_os_str()]).exits(0);
    let shown = common::mount::is_mounted(&dir) && dir.join("README.md").is_file();
    let unmounted = world.run(&["unmount".as_ref(), dir.as_os_str()]);
    common::mount::clear(&dir);
    assert!(shown, "nothing is shown on {}", dir.display());
    unmounted.exits(0);
}

#[test]
fn completions_name_the_commands() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = world.run(&["completions", shell]).exits(0).stdout;
        assert!(script.contains("unmount"), "{shell}: {script}");
    }
}

#[test]
fn help_names_every_command() {
    let world = World::new();
    let help = world.run(&["--help"]).exits(0).stdout;
    for command in ["import", "mount", "unmount", "watch", "stats", "doctor", "demo", "completions"] {
        assert!(help.contains(command), "{command} is missing:\n{help}");
        world.run(&[command, "--help"]).exits(0);
    }
    world.run(&["--version"]).exits(0);
}

#[test]
fn an_unknown_command_exits_2() {
    World::new().run(&["fly"]).exits(2);
}

#[test]
fn the_data_folder_is_the_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let world = World::with_samples();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&world.home()), 0o700);
    for path in databases(&world.home()) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// Writes logs that take seconds to import.
fn write_much(logs: &Path) {
    for number in 1..=12 {
        let mut log = ClaudeLog::new("boats", number);
        let output = (0..40).map(|n| format!("line {n} of what the shell printed\n")).collect::<String>();
        for step in 0..800 {
            log.user(&format!("Step {step} of {number}."));
            log.assistant(&format!("Step {step}: {}", "on we go, over the sea. ".repeat(20)));
            log.bash("make", &output);
            if step % 100 == 99 {
                log.git_commit(&format!("{:07x}", number * 0x10_000 + step), &format!("Step {step}"));
            }
        }
        log.write(logs);
    }
}

/// The totals an import and the statistics tell, whatever else they say.
fn totals(world: &World, home: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let commands = [
        vec!["stats".to_owned(), "--json".to_owned()],
        vec!["import".to_owned(), "--json".to_owned(), world.logs().display().to_string()],
    ];
    for args in commands {
        let output = world.cogfs_at(home, &args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        for key in ["projects", "commits", "sessions", "subagents", "turns", "tool_calls", "images", "new_turns"] {
            if let Some(count) = value[key].as_u64() {
                found.insert(format!("{} {key}", args[0]), count);
            }
        }
    }
    assert!(found.len() >= 8, "the totals are not told: {found:?}");
    found
}

#[test]
fn an_interrupted_import_leaves_a_sound_database_that_a_second_one_completes() {
    let world = World::new();
    write_much(&world.logs());
    let whole = world.root().join("whole");
    let import = |home: &Path| {
        let mut command = world.cogfs_at(home, &["import", "--quiet"]);
        command.arg(world.logs()).stdout(Stdio::null());
        command
    };
    assert!(import(&whole).status().unwrap().success());

    let mut child = import(&world.home()).spawn().unwrap();
    let begun = || common::files_of(&world.home()).any(|path| fs::metadata(path).is_ok_and(|m| m.len() > 1 << 20));
    wait_until(Duration::from_secs(60), "the import has written something", || {
        assert!(child.try_wait().unwrap().is_none(), "the import ended before it could be interrupted");
        begun()
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success(), "the interruption came too late, or was not told by the exit status");
    assert_integrity(&world.home());

    assert!(import(&world.home()).status().unwrap().success());
    assert_integrity(&world.home());
    assert_eq!(totals(&world, &world.home()), totals(&world, &whole));
}

#[test]
fn a_killed_import_is_completed_by_a_second_one() {
    let world = World::new();
    write_much(&world.logs());
    let mut child = world.cogfs(&["import", "--quiet"]).arg(world.logs()).spawn().unwrap();
    wait_until(Duration::from_secs(60), "the import has written something", || {
        common::files_of(&world.home()).any(|path| fs::metadata(path).is_ok_and(|m| m.len() > 1 << 20))
            || child.try_wait().unwrap().is_some()
    });
    child.kill().unwrap();
    child.wait().unwrap();
    assert_integrity(&world.home());
    let summary = world.import(&[&world.logs()]);
    assert_eq!(summary["sessions"], 12, "{summary}");
    assert_eq!(summary["turns"], 12 * (3 * 800 + 8), "{summary}");
}

#[test]
fn the_usual_place_of_opencode_is_looked_at() {
    let world = World::new();
    let place = world.root().join("user/.local/share/opencode");
    std::fs::create_dir_all(&place).unwrap();
    let nothing = world.run(&["import"]).exits(1);
    assert!(nothing.stderr.contains("OpenCode (~/.local/share/opencode)"), "{}", nothing.stderr);
    for file in common::files(&common::fixtures().join("opencode/data")) {
        let to = place.join(file.strip_prefix(common::fixtures().join("opencode/data")).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let summary = world.run(&["import", "--json"]).exits(0).json();
    assert_eq!((&summary["sessions"], &summary["subagents"]), (&1.into(), &1.into()), "{summary}");
    assert_eq!(summary["other_files"], 0, "messages and parts are no logs: {summary}");
}
