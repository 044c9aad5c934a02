//! Two machines that import the same logs come to the same ids and names, whoever the user is, wherever the logs lie and
//! whatever is read first. What is of a machine alone stays out: its name, paths of logs, times of the import.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::common::{self, World, has_program};
use super::{assert_same, fixture, rows};

/// What is equal on all machines: ids and names.
const EQUAL: [&str; 5] = [
    // Not its directory: of folders of one name the first to be read has it, the others something behind it.
    "SELECT 'project', hex(id), identity, name FROM projects",
    "SELECT 'commit', hex(c.id), hex(p.id), c.dir_name, title, git_hash FROM cognitive_commits c
         JOIN projects p ON p.row = c.project_row",
    "SELECT 'session', hex(s.id), s.native_id, s.part, hex(c.id), hex(p.id), s.dir_name, s.title
         FROM sessions s LEFT JOIN cognitive_commits c ON c.row = s.commit_row LEFT JOIN sessions p ON p.row = s.parent_row",
    "SELECT 'turn', hex(t.id), t.role, t.at, t.tool_name, t.text FROM turns t",
    "SELECT 'visual', hex(v.id), v.file_name, v.sha256 FROM visuals v",
];

/// The logs of each agent, by whose they are: fixtures, and real ones where they are.
fn logs() -> Vec<(String, PathBuf)> {
    let data = std::env::var_os("COGFS_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let fixtures = [
        "claude-code",
        "claude_code",
        "codex",
        "gemini",
        "copilot",
        "opencode/data",
        "opencode/export",
        "chatgpt",
        "claude-ai",
    ];
    let real = ["claude-code", "codex", "opencode", "gemini-cli", "copilot-cli", "chatgpt", "claude-ai"];
    let mut found: Vec<_> = fixtures.map(|name| (format!("fixture {name}"), fixture(name))).into();
    found.push(("demo".to_owned(), common::demo_logs()));
    found
        .extend(real.map(|name| (format!("real {name}"), data.join(name))).into_iter().filter(|(_, dir)| dir.is_dir()));
    found
}

/// Copies logs as another machine has them, with their times; the folder.
fn copied(place: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    common::must(Command::new("cp").arg("-a").arg(place).arg(to));
    to.join(place.file_name().unwrap())
}

/// Imports, on a machine of this name where the system lets us have one.
fn import(world: &World, place: &Path, host: &str) {
    let program = world.cogfs(&["import", "--quiet"]);
    let mut command = Command::new("sh");
    let renamed = common::is_root() && has_program("unshare") && has_program("hostname");
    let script = r#"if [ "$1" = unshare ]; then exec unshare --uts sh -c 'hostname "$0" && exec "$@"' "$2" "$3" import --quiet "$4"; fi
        exec "$3" import --quiet "$4""#;
    command.args(["-c", script, "sh", if renamed { "unshare" } else { "" }, host]);
    command.arg(program.get_program()).arg(place);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // Real logs hold damaged lines: "some records skipped" is as good as "all well".
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {}: {said}", place.display(), output.status);
}

fn known(world: &World) -> Vec<String> {
    let conn = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut lines: Vec<String> = EQUAL.iter().flat_map(|sql| rows(&conn, sql)).collect();
    lines.sort();
    lines
}

#[test]
fn two_machines_that_import_the_same_logs_have_the_same_ids_and_names() {
    for (name, place) in logs() {
        let one = World::new();
        import(&one, &copied(&place, &one.logs()), "anchor");
        let other = World::new();
        let elsewhere = copied(&place, &other.root().join("moved here/ü"));
        let mut entries: Vec<PathBuf> = fs::read_dir(&elsewhere).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        // Last first; but logs in several files that belong together, and Codex's forks behind what they were forked from.
        let whole = ["opencode/data", "gemini", "fixture codex"].iter().any(|one| name.contains(one));
        for entry in if whole { vec![elsewhere] } else { entries.into_iter().rev().collect() } {
            import(&other, &entry, "buoy");
        }
        let (here, there) = (known(&one), known(&other));
        assert!(here.len() > 3, "{name}: nothing was imported");
        assert_same(&here, &there, &name);
    }
}
