//! Searching: `cogfs search`, and `search/` on a mount.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cogfs::fs::{CogFs, FsError, Lookup};
use cogfs::store::{Layout, Writer};
use common::{ClaudeLog, Mount, World, wait_until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// Two projects: a boat is built in one, and painted in another.
fn boats() -> World {
    let world = World::new();
    let mut hull = ClaudeLog::new("boats", 1);
    hull.user("Build a wooden hull, please.").assistant("The hull is built of Größe planks.");
    hull.write_file("/w/boats/src/hull.rs").bash("make hull", "hull hull hull warped");
    hull.write(&world.logs());
    let mut paint = ClaudeLog::new("paint", 2);
    paint.user("Paint the hull red. \"Two coats\" of paint.").assistant("Red it is; the second coat dries.");
    paint.write(&world.logs());
    world.import(&[&world.logs()]);
    world
}

/// The turns that a search prints, as `project/NNNN-role`.
#[track_caller]
fn found(world: &World, args: &[&str]) -> Vec<String> {
    let ran = world.run(&[&["search", "--json"], args].concat());
    let code = if ran.json()["results"].as_array().unwrap().is_empty() { 1 } else { 0 };
    let report = ran.exits(code).json();
    assert_eq!(report["index"], "complete");
    let name = |shown: &Value| {
        let path = shown["path"].as_str().unwrap();
        format!("{}/{}", shown["project"].as_str().unwrap(), path.rsplit('/').next().unwrap().trim_end_matches(".md"))
    };
    report["results"].as_array().unwrap().iter().map(name).collect()
}

fn set(of: Vec<String>) -> BTreeSet<String> {
    of.into_iter().collect()
}

fn named(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn words_phrases_and_filters_find_the_turns_they_should() {
    let world = boats();
    let hull = ["boats/0001-user", "boats/0002-assistant", "boats/0003-tool-write", "boats/0004-tool-bash"];
    let all: Vec<&str> = hull.into_iter().chain(["paint/0001-user"]).collect();
    for (query, expected) in [
        ("hull", all.as_slice()),
        ("hull NOT role:tool", &["boats/0001-user", "boats/0002-assistant", "paint/0001-user"]),
        ("GROSSE OR größe OR Grosse", &["boats/0002-assistant"]),
        ("grÖSSe OR grose* OR große", &["boats/0002-assistant"]),
        ("\"hull please\"", &["boats/0001-user"]),
        ("please hull", &["boats/0001-user"]),
        ("\"please hull\"", &[]),
        ("wood*", &["boats/0001-user"]),
        ("(wood* OR red) NOT dries", &["boats/0001-user", "paint/0001-user"]),
        ("hull project:paint", &["paint/0001-user"]),
        ("hull NOT project:paint", &hull),
        ("hull tool:bash", &["boats/0004-tool-bash"]),
        ("hull tool:bash tool:write", &["boats/0003-tool-write", "boats/0004-tool-bash"]),
        ("model:opus role:assistant", &["boats/0002-assistant", "paint/0002-assistant"]),
        ("hull agent:claude role:user", &["boats/0001-user", "paint/0001-user"]),
        ("agent:codex", &[]),
        ("hull file:hull.rs", &hull),
        ("hull file:src/hull.rs NOT role:tool", &["boats/0001-user", "boats/0002-assistant"]),
        ("file:src role:user", &["boats/0001-user"]),
        ("file:*.py", &[]),
        ("hull since:2020", &all),
        ("hull since:2100-01-01", &[]),
        ("file_path hull.rs", &["boats/0003-tool-write"]),
        ("warped", &["boats/0004-tool-bash"]),
    ] {
        assert_eq!(set(found(&world, &[query])), named(expected), "{query}");
    }
    let flags = ["hull", "--project", "boats", "--tool", "bash", "--since", "2020-01-01", "--file", "src"];
    assert_eq!(found(&world, &flags), ["boats/0004-tool-bash"]);
    assert_eq!(found(&world, &["--role", "user", "--agent", "claude-code", "--model", "opus"]), [""; 0]);
    assert_eq!(found(&world, &["hull", "-n", "1"]).len(), 1);
}

#[test]
fn what_was_said_comes_before_what_a_tool_printed() {
    let world = boats();
    let found = found(&world, &["hull"]);
    let place = |name: &str| found.iter().position(|found| found == name).unwrap();
    assert!(place("paint/0001-user") < place("boats/0002-assistant"), "{found:?}");
    assert!(place("boats/0002-assistant") < place("boats/0003-tool-write"), "{found:?}");
}

#[test]
fn results_are_printed_for_people_and_programs_with_statuses_to_act_on() {
    let world = boats();
    let ran = world.run(&["search", "warped"]).exits(0);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{}", ran.stdout);
    assert!(lines[0].starts_with("projects/boats/") && lines[0].ends_with("/turns/0004-tool-bash.md"), "{}", lines[0]);
    assert!(lines[1].contains("tool Bash  boats: Build a wooden hull"), "{}", lines[1]);
    assert_eq!(lines[2].trim(), "hull hull hull warped");
    assert!(!ran.stdout.contains('\u{1b}'), "colour is for terminals");
    let ran = world.run(&["search", "-l", "warped"]).exits(0);
    assert_eq!(ran.stdout.trim_end(), lines[0]);
    let report = world.run(&["search", "--json", "second coat"]).exits(0).json();
    let shown = &report["results"][0];
    assert_eq!(shown["snippet"], "Red it is; the second coat dries.");
    assert_eq!(shown["matches"], json!([[15, 21], [22, 26]]));
    assert_eq!((&shown["role"], &shown["turn"], &report["mount"]), (&json!("assistant"), &json!(2), &Value::Null));
    assert!(world.run(&["search", "unheard"]).exits(1).stderr.contains("Nothing found"));
    let ran = world.run(&["search", "hull", "--project", "canoes"]).exits(1);
    assert!(ran.stderr.contains("there is no project \"canoes\""), "{}", ran.stderr);
    let ran = world.run(&["search", "hull (mast OR"]).exits(2);
    assert!(ran.stderr.contains("at character 12") && ran.stderr.contains("\n             ^"), "{}", ran.stderr);
    assert!(world.run(&["search"]).exits(2).stderr.contains("nothing to search for"));
    assert_eq!(world.run(&["search", "hull", "-n", "2"]).exits(0).stdout.lines().count(), 2 * 3 + 1);
}

#[test]
fn an_index_that_is_behind_or_missing_is_told() {
    let world = boats();
    let index = common::files_named(&world.home(), |name| name == "search.db").remove(0);
    let turns = rusqlite::Connection::open(index.with_file_name("cogfs.db")).unwrap();
    turns.execute("INSERT INTO unsearched(first_row, last_row) VALUES (65537, 65537)", []).unwrap();
    let ran = world.run(&["search", "hull"]).exits(0);
    assert!(ran.stderr.contains("newest turns are not in the search index yet"), "{}", ran.stderr);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(index.with_file_name(format!("search.db{suffix}")));
    }
    let ran = world.run(&["search", "--json", "hull"]).exits(1);
    assert_eq!(ran.json()["index"], "missing");
    assert!(world.run(&["search", "hull"]).exits(1).stderr.contains("no search index yet"));
    world.import(&[&world.logs()]);
    assert_eq!(found(&world, &["warped"]).len(), 1, "an import makes it again");
}

#[test]
fn what_is_deleted_is_not_found_until_it_is_restored() {
    let world = boats();
    let commit = |query: &str| {
        world.run(&["search", "--json", query]).json()["results"][0]["commit_id"].as_str().map(str::to_owned)
    };
    let id = commit("dries").unwrap();
    world.run(&["trash", &id]).exits(0);
    assert_eq!(found(&world, &["dries"]), [""; 0]);
    assert_eq!(found(&world, &["hull role:user"]), ["boats/0001-user"]);
    world.run(&["restore", &id]).exits(0);
    assert_eq!(found(&world, &["dries"]), ["paint/0002-assistant"]);
    world.run(&["edit", &id, "--hidden", "true"]).exits(0);
    assert_eq!(found(&world, &["dries"]), ["paint/0002-assistant"], "what is hidden is found");
}

/// The names that a directory lists.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_name_in_search_is_a_search_whose_links_lead_to_the_turns() {
    needs_fuse!();
    let world = boats();
    let mount = Mount::new(&world);
    let search = mount.path("search");
    assert_eq!(names(&search), [""; 0]);
    let dir = search.join("hull NOT role:tool");
    let listed = names(&dir);
    assert_eq!(listed.len(), 3, "{listed:?}");
    assert!(listed[1].starts_with("002_2026-") && listed[1].contains("_paint_paint-the-hull-red_"), "{listed:?}");
    assert!(listed[1].ends_with("_turn-0001"), "{listed:?}");
    for name in &listed {
        let link = dir.join(name);
        let target = fs::read_link(&link).unwrap();
        assert!(target.starts_with("../../projects"), "{}", target.display());
        assert_eq!(fs::symlink_metadata(&link).unwrap().len(), target.as_os_str().len() as u64);
        assert!(fs::read_to_string(&link).unwrap().to_lowercase().contains("hull"));
        assert!(fs::canonicalize(&link).unwrap().starts_with(mount.path("projects")));
    }
    assert_eq!(names(&search.join("unheard of")), [""; 0], "a search that finds nothing is an empty directory");
    assert_eq!(names(&search), [""; 0], "what was only asked for is not listed");
    let report = world.run(&["search", "--json", "warped"]).exits(0).json();
    assert_eq!(report["mount"], mount.dir().to_str().unwrap());
    let path = PathBuf::from(report["results"][0]["path"].as_str().unwrap());
    assert!(fs::read_to_string(path).unwrap().contains("warped"));
}

#[test]
fn a_search_that_cannot_be_read_is_refused_with_a_line_and_what_programs_look_for_is_none() {
    needs_fuse!();
    let world = boats();
    let mount = Mount::new(&world);
    let search = mount.path("search");
    for bad in ["hull AND", "(hull", "role:captain"] {
        let error = fs::metadata(search.join(bad)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{bad}");
        assert_eq!(fs::create_dir(search.join(bad)).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{bad}");
    }
    wait_until(PATIENCE, "the reasons are logged", || {
        let log = fs::read_to_string(mount.path(".cogfs/errors.jsonl")).unwrap();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.len() == 3
            && lines[0]["path"] == "search/hull AND"
            && lines[0]["reason"].as_str().unwrap().contains("at character 6")
            && lines[2]["reason"].as_str().unwrap().contains("user, assistant")
    });
    for probed in [".git", ".Trash", ".hidden", ".directory", "autorun.inf", "Desktop.ini"] {
        assert_eq!(fs::metadata(search.join(probed)).unwrap_err().kind(), ErrorKind::NotFound, "{probed}");
    }
    assert_eq!(fs::metadata(search.join("hull/.git")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::metadata(search.join("hull/nothing")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_search_is_kept_by_mkdir_across_mounts_and_dropped_by_rmdir() {
    needs_fuse!();
    let world = boats();
    let mount = Mount::new(&world);
    let search = mount.path("search");
    // Known to the kernel before it is kept.
    assert_eq!(names(&search.join("red paint")).len(), 1);
    fs::create_dir(search.join("red paint")).unwrap();
    common::must(std::process::Command::new("mkdir").arg(search.join("hull since:2020")));
    assert_eq!(fs::create_dir(search.join("red paint")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(names(&search), ["hull since:2020", "red paint"]);
    assert_eq!(names(&search.join("red paint")).len(), 1);
    world.run(&["search", "--keep", "coat"]).exits(0);
    wait_until(PATIENCE, "what a command keeps is listed", || names(&search).contains(&"coat".to_owned()));
    drop(mount);
    let mount = Mount::new(&world);
    let search = mount.path("search");
    assert_eq!(names(&search), ["coat", "hull since:2020", "red paint"]);
    fs::remove_dir(search.join("red paint")).unwrap();
    common::must(std::process::Command::new("rm").arg("-r").arg(search.join("hull since:2020")));
    assert_eq!(names(&search), ["coat"]);
    world.run(&["search", "--drop", "coat"]).exits(0);
    wait_until(PATIENCE, "what a command drops is gone", || names(&search).is_empty());
    assert_eq!(names(&search.join("red paint")).len(), 1, "it can be asked for all the same");
    fs::create_dir(search.join("Untitled Folder")).unwrap();
    fs::rename(search.join("Untitled Folder"), search.join("dries OR warped")).unwrap();
    assert_eq!(names(&search), ["dries OR warped"], "what a file manager makes and renames is the search it is called");
    assert_eq!(names(&search.join("dries OR warped")).len(), 2);
    let out = fs::rename(search.join("dries OR warped"), mount.path("projects/x")).unwrap_err();
    assert_eq!(out.raw_os_error(), Some(libc::EPERM));
    world.run(&["search", "--keep", "a/b"]).exits(1);
}

#[test]
fn searches_show_what_is_imported_renamed_and_deleted_meanwhile() {
    needs_fuse!();
    let world = boats();
    let mount = Mount::new(&world);
    let search = mount.path("search");
    fs::create_dir(search.join("hull role:user")).unwrap();
    let (kept, passing) = (search.join("hull role:user"), search.join("mast OR hull role:user"));
    assert_eq!((names(&kept).len(), names(&passing).len()), (2, 2));
    let mut mast = ClaudeLog::new("boats", 3);
    mast.user("A mast for the hull.").assistant("It stands.");
    mast.write(&world.logs());
    world.import(&[&world.logs()]);
    wait_until(PATIENCE, "new turns are found", || names(&kept).len() == 3 && names(&passing).len() == 3);
    let old = names(&kept).into_iter().find(|name| name.contains("mast")).unwrap();
    let commit = fs::canonicalize(kept.join(&old)).unwrap().ancestors().nth(4).unwrap().to_owned();
    fs::rename(&commit, commit.with_file_name("Masts and sails")).unwrap();
    wait_until(PATIENCE, "links lead to the new place", || {
        names(&kept).iter().any(|name| name.contains("_Masts and sails_"))
            && names(&kept).iter().all(|name| fs::read(kept.join(name)).is_ok())
    });
    wait_until(PATIENCE, "the old name is gone", || fs::symlink_metadata(kept.join(&old)).is_err());
    fs::remove_dir_all(commit.with_file_name("Masts and sails")).unwrap();
    wait_until(PATIENCE, "what is deleted is found no more", || names(&kept).len() == 2);
}

fn child(fs: &CogFs, dir: u64, name: &str) -> Result<Option<u64>, FsError> {
    Ok(match fs.lookup(dir, name.as_ref())? {
        Lookup::Found(attr) => Some(attr.ino),
        Lookup::Absent { .. } => None,
    })
}

#[test]
fn the_number_of_remembered_searches_is_bounded() {
    let world = boats();
    let data = common::world::databases(&world.home())[0].parent().unwrap().to_owned();
    drop(Writer::open(&Layout::new(&data)).unwrap());
    let fs = CogFs::open(&Layout::new(&data), "/mnt").unwrap();
    let search = child(&fs, 1, "search").unwrap().unwrap();
    let first = child(&fs, search, "hull").unwrap().unwrap();
    assert_eq!(child(&fs, search, "hull").unwrap(), Some(first), "the same search has the same number");
    let mut seen = BTreeSet::from([first]);
    for n in 0..1_000 {
        seen.insert(child(&fs, search, &format!("word{n}")).unwrap().unwrap());
    }
    assert_eq!(seen.len(), 1_001, "no number is given twice");
    let alive = seen.iter().filter(|ino| fs.getattr(**ino).is_ok()).count();
    assert!(alive <= 64, "{alive} are remembered");
    assert!(matches!(fs.readdir(first, 0, false, &mut |_| true), Err(FsError::NotFound)));
}
