//! `cogfs export`: the same documents as in a mount, whole, over nothing that is there.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{ClaudeLog, Mount, World};
use serde_json::{Value, json};

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ456789";

/// The paths below a folder with what is in them.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    common::files(dir)
        .into_iter()
        .map(|file| (file.strip_prefix(dir).unwrap().to_owned(), fs::read(file).unwrap()))
        .collect()
}

fn export(world: &World, args: &[&str]) -> common::Ran {
    world.run(&[&["export"], args].concat())
}

fn commit_ids(world: &World) -> Vec<String> {
    let conn = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut query =
        conn.prepare("SELECT lower(hex(id)) FROM cognitive_commits WHERE deleted_at IS NULL ORDER BY row").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_folder_of_markdown_is_what_a_mount_shows() {
    needs_fuse!();
    let world = World::with_samples();
    let folder = world.root().join("out");
    let told = export(&world, &["--all", "--output", folder.to_str().unwrap(), "--json"]).exits(0).json();
    let exported = tree(&folder);
    assert_eq!(told["files"].as_u64(), Some(exported.len() as u64), "{told}");
    assert_eq!(told["failed"], json!([]));
    let mount = Mount::with(&world, &world.root().join("m"), &["--no-watch"]);
    let only_in_a_mount = |path: &Path| {
        let name = path.file_name().unwrap();
        ["raw.jsonl", "resume.sh", "transcript.html", "project.json"].iter().any(|other| name == *other)
    };
    let mut shown = tree(&mount.path("projects"));
    shown.retain(|path, _| !only_in_a_mount(path));
    assert!(exported.len() > 50);
    assert_eq!(exported.keys().collect::<Vec<_>>(), shown.keys().collect::<Vec<_>>());
    for (path, bytes) in &exported {
        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&shown[path]), "{}", path.display());
    }
    // The records are those of the mount too.
    let folder = world.root().join("records");
    export(&world, &["--all", "--format", "jsonl", "--output", folder.to_str().unwrap()]).exits(0);
    let records = tree(&folder);
    let raw: BTreeMap<PathBuf, Vec<u8>> =
        tree(&mount.path("projects")).into_iter().filter(|(path, _)| path.ends_with("raw.jsonl")).collect();
    assert!(!raw.is_empty() && records == raw, "{:?}", records.keys());
}

#[test]
fn one_commit_goes_to_the_standard_output_or_a_file() {
    let world = World::with_samples();
    for id in commit_ids(&world) {
        let markdown = export(&world, &[&id]).exits(0).stdout;
        assert!(markdown.starts_with("# ") && markdown.contains("\n# Session 1 · "), "{markdown}");
        let document = export(&world, &[&id, "--format", "json"]).exits(0).json();
        assert_eq!(document["commit"]["id"].as_str().unwrap().replace('-', ""), id);
        let sessions = document["sessions"].as_array().unwrap();
        assert!(sessions.iter().all(|session| {
            session["turns"].as_array().unwrap().len() as u64 == session["session"]["counts"]["turns"].as_u64().unwrap()
        }));
        for session in sessions {
            let session_id = session["session"]["id"].as_str().unwrap();
            let alone = export(&world, &[session_id, "--format", "json"]).exits(0).json();
            assert_eq!(&alone, session);
        }
        let records = export(&world, &[&id, "--format", "jsonl"]).exits(0).stdout;
        assert!(records.lines().count() > 1 || document["sessions"][0]["session"]["raw"]["records"] == 1);
        let file = world.root().join(format!("{id}.html"));
        let said = export(&world, &[&id, "--format", "html", "--output", file.to_str().unwrap()]).exits(0);
        assert!(said.stdout.starts_with("Exported "), "{said:?}");
        let page = fs::read_to_string(&file).unwrap();
        assert_eq!(page, export(&world, &[&id, "--format", "html", "--output", "-"]).exits(0).stdout);
        // It needs nothing beside it.
        assert!(page.ends_with("</html>\n") && !page.contains("src=\"visuals/") && !page.contains("href=\"sessions/"));
    }
    let all: String = common::files_named(world.root(), |name| name.ends_with(".html"))
        .iter()
        .map(|page| fs::read_to_string(page).unwrap())
        .collect();
    assert!(all.contains("src=\"data:image/png;base64,"), "the demo has a picture");
}

#[test]
fn nothing_that_is_there_is_written_over_and_nothing_half_written_stays() {
    let world = World::with_samples();
    let id = &commit_ids(&world)[0];
    let file = world.root().join("mine.md");
    fs::write(&file, "mine").unwrap();
    let path = file.to_str().unwrap();
    let refused = export(&world, &[id, "--output", path]).exits(1);
    assert!(refused.stderr.contains("is there already; --force"), "{refused:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    export(&world, &[id, "--output", path, "--force"]).exits(0);
    assert!(fs::read_to_string(&file).unwrap().starts_with("# "));
    // A link that leads nowhere is there too.
    let link = world.root().join("link.md");
    symlink(world.root().join("nowhere"), &link).unwrap();
    export(&world, &[id, "--output", link.to_str().unwrap()]).exits(1);
    assert!(!world.root().join("nowhere").exists());

    let folder = world.root().join("out");
    export(&world, &["--all", "--format", "json", "--output", folder.to_str().unwrap()]).exits(0);
    let before = tree(&folder);
    fs::remove_file(folder.join(before.keys().next().unwrap())).unwrap();
    let refused = export(&world, &["--all", "--format", "json", "--output", folder.to_str().unwrap()]).exits(1);
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert_eq!(tree(&folder).len(), before.len() - 1, "nothing was written");
    export(&world, &["--all", "--format", "json", "--output", folder.to_str().unwrap(), "--force"]).exits(0);
    assert_eq!(tree(&folder), before);
    assert!(common::files(world.root()).iter().all(|path| !path.to_string_lossy().contains(".cogfs-export-")));
}

#[test]
fn secrets_are_taken_out_of_every_format_when_that_is_wanted() {
    let world = World::new();
    let mut log = ClaudeLog::new("keys", 1);
    log.user(&format!("My token is {TOKEN}, why does it fail?")).assistant(&format!("`{TOKEN}` has expired."));
    log.bash(&format!("curl -H 'Authorization: token {TOKEN}' https://example.org"), &format!("bad token {TOKEN}"));
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    for format in ["markdown", "json", "html", "jsonl"] {
        let kept = world.root().join(format!("kept-{format}"));
        export(&world, &["keys", "--format", format, "--output", kept.to_str().unwrap()]).exits(0);
        assert!(common::stands_in(&common::files(&kept), TOKEN), "{format}: without --redact nothing is taken out");
        let clean = world.root().join(format!("clean-{format}"));
        let told =
            export(&world, &["keys", "--format", format, "--redact", "--output", clean.to_str().unwrap(), "--json"]);
        let told = told.exits(0).json();
        assert!(told["redacted"].as_object().unwrap().values().any(|n| n == 1), "{format}: {told}");
        let files = common::files(&clean);
        assert!(!files.is_empty() && !common::stands_in(&files, TOKEN), "{format}");
        assert!(common::stands_in(&files, "[redacted:"), "{format}");
        assert!(files.iter().all(|file| !file.to_string_lossy().contains(&TOKEN.to_lowercase())), "{files:?}");
    }
    for line in export(&world, &[&commit_ids(&world)[0], "--format", "jsonl", "--redact"]).exits(0).stdout.lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn what_cannot_be_exported_is_said() {
    let world = World::with_samples();
    let id = &commit_ids(&world)[0];
    for (args, code, words) in [
        (vec![], 2, "ID|PROJECT"),
        (vec!["nothing-like-it"], 1, "nothing-like-it"),
        (vec!["--all"], 1, "give --output a folder"),
        (vec!["plantshop"], 1, "give --output a folder"),
        (vec![id.as_str(), "--json"], 2, "--output"),
        (vec![id.as_str(), "--json", "--output", "-"], 1, "--output a file or a folder"),
        (vec![id.as_str(), "--format", "pdf"], 2, "pdf"),
        (vec![id.as_str(), "--output", "/proc/none/x.md"], 1, "/proc/none/x.md"),
    ] {
        let ran = export(&world, &args).exits(code);
        assert!(ran.stderr.contains(words) && ran.stdout.is_empty(), "{args:?}: {ran:?}");
    }
    world.run(&["edit", id, "--title", "Kept"]).exits(0);
    let folder = world.root().join("one/");
    export(&world, &[id, "--output", folder.to_str().unwrap()]).exits(0);
    assert!(common::files_named(&folder, |name| name == "transcript.md").len() > 1);
    let empty = World::new();
    let ran = export(&empty, &["--all", "--output", "x"]).exits(1);
    assert!(ran.stderr.contains("nothing is imported yet"), "{ran:?}");
}
