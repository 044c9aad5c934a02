//! The views in `by/`: which commits stand where, under which names, and that a large directory is read as far as it is
//! shown.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use cogfs::fs::{Attr, CogFs, DirEntry, Lookup, NodeKind};
use cogfs::store::{Layout, Writer};
use common::{ClaudeLog, Mount, World};
use serde_json::json;

const ROOT: u64 = 1;

/// The tree of a world, wherever the program put its database.
fn open(world: &World) -> CogFs {
    let found = common::world::databases(&world.home());
    CogFs::open(&Layout::new(found[0].parent().unwrap()), "/mnt").unwrap()
}

fn child(fs: &CogFs, dir: u64, name: &str) -> Option<u64> {
    match fs.lookup(dir, name.as_ref()).unwrap() {
        Lookup::Found(attr) => Some(attr.ino),
        Lookup::Absent { .. } => None,
    }
}

fn at(fs: &CogFs, path: &str) -> Option<u64> {
    path.split('/').try_fold(ROOT, |dir, name| child(fs, dir, name))
}

/// Every path below a directory; of links, where they lead.
fn below(fs: &CogFs, path: &str) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![(String::new(), at(fs, path).unwrap())];
    while let Some((prefix, dir)) = dirs.pop() {
        fs.readdir(dir, 2, true, &mut |entry| {
            let name = format!("{prefix}{}", entry.name.to_str().unwrap());
            match entry.kind {
                NodeKind::Directory => {
                    dirs.push((format!("{name}/"), entry.ino));
                    found.insert(name, None);
                }
                _ => {
                    let target = String::from_utf8(fs.readlink(entry.ino).unwrap()).unwrap();
                    found.insert(name, Some(target));
                }
            }
            true
        })
        .unwrap();
    }
    found
}

/// The directories below one that hold links, and how many.
fn filled(fs: &CogFs, path: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (name, target) in below(fs, path) {
        if target.is_some() {
            *counts.entry(name.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned()).or_default() += 1;
        }
    }
    counts
}

fn counts(of: &[(&str, usize)]) -> BTreeMap<String, usize> {
    of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn import(world: &World, logs: &[&ClaudeLog]) {
    for log in logs {
        log.write(&world.logs());
    }
    world.import(&[&world.logs()]);
}

#[test]
fn a_commit_stands_under_its_models_tools_machine_and_files() {
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Build a boat.").assistant("A boat it is.").write_file("/w/boats/src/hull.rs");
    log.tool("Edit", &json!({"file_path": "/w/boats/src/mast.rs"}), true);
    log.tool("MultiEdit", &json!({"file_path": "/w/boats/.github/workflows/größe 1.yml"}), false);
    log.tool("Write", &json!({"file_path": "/etc/boats"}), false);
    log.tool("Read", &json!({"file_path": "/w/boats/README.md"}), false);
    let mut second = ClaudeLog::new("boats", 2);
    second.user("Another one.").assistant("Here it is.").write_file("/w/boats/src/hull.rs");
    import(&world, &[&log, &second]);
    let fs = open(&world);
    assert_eq!(filled(&fs, "by/model"), counts(&[("claude-opus-4-5-20251101", 2)]));
    assert_eq!(filled(&fs, "by/agent"), counts(&[("claude-code", 2)]));
    assert_eq!(filled(&fs, "by/tool"), counts(&[("edit", 1), ("multiedit", 1), ("read", 1), ("write", 2)]));
    assert_eq!(filled(&fs, "by/machine").into_values().collect::<Vec<_>>(), [2], "one machine");
    let files = [("boats/src/hull.rs", 2), ("boats/.github/workflows/größe 1.yml", 1), ("boats/_outside/etc/boats", 1)];
    assert_eq!(filled(&fs, "by/file"), counts(&files), "a failed edit and a read change nothing");
    assert!(at(&fs, "by/file/boats/.github/workflows").is_some());
    // A name with a dot in front may appear there later: the kernel must ask again.
    let files = at(&fs, "by/file/boats").unwrap();
    assert_eq!(fs.lookup(files, ".gitignore".as_ref()).unwrap(), Lookup::Absent { for_good: false });
}

#[test]
fn every_view_has_the_commit_under_what_it_is_and_leads_to_it() {
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Build a boat.").write_file("/w/boats/src/hull.rs").git_commit("4be91d7", "A boat");
    import(&world, &[&log]);
    let id = world.run(&["search", "--json", "boat"]).exits(0).json()["results"][0]["commit_id"].clone();
    let id = id.as_str().unwrap();
    world.run(&["edit", id, "--tag", "needs review", "--published", "true"]).exits(0);
    let tree = open(&world);
    let path = String::from_utf8(tree.readlink(at(&tree, &format!("by/id/{id}")).unwrap()).unwrap()).unwrap();
    let commit = path.strip_prefix("../../projects/boats/").unwrap();
    let machine = filled(&tree, "by/machine").into_keys().next().unwrap();
    for (view, up) in [
        ("by/date/2026-05-28", 3),
        ("by/agent/claude-code", 3),
        ("by/model/claude-opus-4-5-20251101", 3),
        (&format!("by/machine/{machine}"), 3),
        ("by/tool/write", 3),
        ("by/file/boats/src/hull.rs", 5),
        ("by/tag/needs-review", 3),
        ("by/status/published", 3),
        ("by/status/unsynced", 3),
    ] {
        let links = below(&tree, view);
        assert_eq!(links.len(), 1, "{view}: {links:?}");
        assert_eq!(links[commit], Some(format!("{}projects/boats/{commit}", "../".repeat(up))), "{view}");
    }
    assert_eq!(below(&tree, "by/git")["4be91d7"], Some(format!("../../projects/boats/{commit}")));
    assert_eq!(below(&tree, "by/id")[id], Some(format!("../../projects/boats/{commit}")));
}

#[test]
fn a_path_in_a_log_leads_nowhere_else() {
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Hello.").write_file("/w/boats/../../../etc/passwd").write_file("/w/boats/a\0b/\u{1b}c");
    log.write_file(&format!("/w/boats/{}", "é".repeat(300)))
        .write_file(&"/x".repeat(2000))
        .write_file("")
        .write_file("/");
    import(&world, &[&log]);
    let fs = open(&world);
    for (path, target) in below(&fs, "by/file") {
        for part in path.split('/') {
            assert!(part.len() <= 255 && !["", ".", ".."].contains(&part), "{path:?}");
            assert!(!part.contains(char::is_control), "{path:?}");
        }
        if let Some(target) = target {
            assert_eq!(target.matches("../").count(), path.matches('/').count() + 2, "{path}: {target}");
        }
    }
    assert!(at(&fs, "by/file/boats/_outside/etc/passwd").is_some());
    assert!(at(&fs, "by/file/boats/a_b/_c").is_some());
}

#[test]
fn links_follow_a_new_title() {
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    log.user("Build a boat.").write_file("/w/boats/hull.rs").git_commit("4be91d7", "Add a hull");
    import(&world, &[&log]);
    let before = open(&world);
    let hull = before_and_after(&before, "by/file/boats/hull.rs");
    let session = log.session().to_owned();
    log.line(&json!({"type": "custom-title", "customTitle": "Barges", "sessionId": session}).to_string());
    import(&world, &[&log]);
    before.changes().unwrap();
    let after = before_and_after(&before, "by/file/boats/hull.rs");
    assert!(hull.0.contains("build-a-boat") && after.0.contains("barges"), "{hull:?} {after:?}");
    assert_eq!(hull.1, after.1, "the same inode number");
    for path in ["by/git", "by/model/claude-opus-4-5-20251101", "by/tool/write", "by/file/boats/hull.rs"] {
        let targets: Vec<String> = below(&before, path).into_values().flatten().collect();
        assert!(!targets.is_empty() && targets.iter().all(|t| t.ends_with(&after.0)), "{path}: {targets:?}");
    }
    assert_eq!(at(&before, &format!("by/file/boats/hull.rs/{}", hull.0)), None, "the old name");
}

/// The only link of a directory and its inode number.
fn before_and_after(fs: &CogFs, dir: &str) -> (String, u64) {
    let links = below(fs, dir);
    assert_eq!(links.len(), 1, "{links:?}");
    let name = links.into_keys().next().unwrap();
    let ino = at(fs, &format!("{dir}/{name}")).unwrap();
    (name, ino)
}

#[test]
fn sessions_that_one_git_commit_closed_are_one_link_everywhere() {
    let world = World::new();
    let mut logs = Vec::new();
    for (number, file) in [(1, "hull.rs"), (30, "mast.rs")] {
        let mut log = ClaudeLog::new("boats", number);
        log.user("Build it.").write_file(&format!("/w/boats/{file}")).write_file("/w/boats/both.rs");
        logs.push(log.git_commit("4be91d7", "Add a boat").clone());
    }
    import(&world, &[&logs[0]]);
    import(&world, &[&logs[0], &logs[1]]);
    let fs = open(&world);
    assert_eq!(filled(&fs, "by/date").into_values().collect::<Vec<_>>(), [1], "the later day is gone");
    assert_eq!(filled(&fs, "by/model"), counts(&[("claude-opus-4-5-20251101", 1)]));
    assert_eq!(filled(&fs, "by/file"), counts(&[("boats/both.rs", 1), ("boats/hull.rs", 1), ("boats/mast.rs", 1)]));
    assert_eq!(below(&fs, "by/git").into_keys().collect::<Vec<_>>(), ["4be91d7"]);
    assert_all_lead_somewhere(&fs);
}

fn assert_all_lead_somewhere(fs: &CogFs) {
    let mut links = 0;
    for (path, target) in below(fs, "by") {
        let Some(target) = target else { continue };
        links += 1;
        let up = target.matches("../").count();
        assert_eq!(up, path.matches('/').count() + 1, "{path}: {target}");
        assert!(at(fs, &target[3 * up..]).is_some(), "{path} leads nowhere: {target}");
    }
    assert!(links > 0);
}

#[test]
fn a_hash_names_the_first_commit_that_has_it_and_is_found_by_its_beginning() {
    let world = World::new();
    let logs: Vec<ClaudeLog> = ["boats", "boats-copy"]
        .iter()
        .zip(1..)
        .map(|(project, number)| ClaudeLog::new(project, number).user("Go.").git_commit("4be91d7", "Add it").clone())
        .collect();
    import(&world, &[&logs[0]]);
    import(&world, &[&logs[0], &logs[1]]);
    let fs = open(&world);
    let links = below(&fs, "by/git");
    let names: Vec<&String> = links.keys().collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "4be91d7");
    assert!(names[1].starts_with("4be91d7-") && names[1].len() == 7 + 1 + 6, "{names:?}");
    let first = at(&fs, "by/git/4be91d7");
    for name in ["4be9", "4be91d", "4be91d70000000000000000000000000000000aa"] {
        assert_eq!(at(&fs, &format!("by/git/{name}")), first, "{name}");
    }
    for name in ["4be", "4BE91D7", "4be91d8", "4be9zz"] {
        assert_eq!(at(&fs, &format!("by/git/{name}")), None, "{name}");
    }
    assert_all_lead_somewhere(&fs);
}

#[test]
fn the_samples_views_lead_somewhere_and_hold_no_loop() {
    needs_fuse!();
    let world = World::with_samples();
    assert_all_lead_somewhere(&open(&world));
    let mount = Mount::new(&world);
    let by = mount.path("by");
    let mut links = 0;
    for entry in walkdir::WalkDir::new(&by) {
        let entry = entry.unwrap();
        if entry.path_is_symlink() {
            links += 1;
            let target = fs::canonicalize(entry.path()).unwrap();
            assert!(target.starts_with(mount.path("projects")), "{}", entry.path().display());
        }
    }
    assert!(links > 50, "only {links} links");
    let find = std::process::Command::new("find").args(["-L"]).arg(&by).args(["-maxdepth", "12"]).output().unwrap();
    assert!(find.status.success() && find.stderr.is_empty(), "{}", String::from_utf8_lossy(&find.stderr));
}

/// What a directory lists from a place on, at most so many: number, kind, name and place of each, and its attributes.
fn listed(fs: &CogFs, dir: u64, offset: u64, most: usize, with_attr: bool) -> Vec<(DirEntry, Option<Attr>)> {
    let mut entries = Vec::new();
    fs.readdir(dir, offset, with_attr, &mut |mut entry| {
        let attr = entry.attr.take();
        entries.push((entry, attr));
        entries.len() < most
    })
    .unwrap();
    entries
}

#[test]
fn a_listing_of_names_alone_shows_what_one_with_attributes_shows_and_lookups_find() {
    let world = World::with_samples();
    let ids: Vec<String> = below(&open(&world), "by/id").into_keys().collect();
    let commits: Vec<&String> =
        ids.iter().filter(|id| world.run(&["edit", id, "--tag", "seen"]).code == Some(0)).take(4).collect();
    assert_eq!(commits.len(), 4);
    world.run(&["edit", commits[0], "--hidden", "true"]).exits(0);
    world.run(&["trash", commits[1]]).exits(0);
    let fs = open(&world);
    let (mut dirs, mut links) = (vec![at(&fs, "by").unwrap()], 0);
    while let Some(dir) = dirs.pop() {
        let whole = listed(&fs, dir, 2, usize::MAX, true);
        let names: Vec<DirEntry> = whole.iter().map(|(entry, _)| entry.clone()).collect();
        let bare = listed(&fs, dir, 2, usize::MAX, false);
        assert!(bare.iter().all(|(_, attr)| attr.is_none()));
        assert_eq!(bare.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>(), names);
        for page in names.chunks(3) {
            let after =
                names.iter().rfind(|entry| entry.next_offset < page[0].next_offset).map_or(2, |e| e.next_offset);
            let read = listed(&fs, dir, after, 3, false);
            assert_eq!(read.into_iter().map(|(entry, _)| entry).collect::<Vec<_>>(), page);
        }
        for (entry, attr) in whole {
            let attr = attr.unwrap();
            assert_eq!(fs.lookup(dir, &entry.name).unwrap(), Lookup::Found(attr), "{:?}", entry.name);
            match entry.kind {
                NodeKind::Directory => dirs.push(entry.ino),
                _ => {
                    links += 1;
                    assert_eq!(fs.readlink(entry.ino).unwrap().len() as u64, attr.size, "{:?}", entry.name);
                }
            }
        }
    }
    assert!(links > 50, "only {links} links");
}

#[test]
fn a_machine_is_known_once_and_stays_the_same() {
    let world = World::new();
    import(&world, &[ClaudeLog::new("boats", 1).user("Hello.")]);
    let first = machines(&world);
    import(&world, &[ClaudeLog::new("boats", 2).user("Hello again.")]);
    assert_eq!(machines(&world), first);
    assert_eq!(first.len(), 1);
    let other = World::new();
    import(&other, &[ClaudeLog::new("boats", 1).user("Hello.")]);
    assert_ne!(machines(&other), first, "an id is nobody else's");
}

fn machines(world: &World) -> BTreeSet<String> {
    world.dump().into_iter().filter(|line| line.starts_with("machines: ")).collect()
}

/// A database with this many commits in one project, all with one model, all of which wrote one file.
fn large(dir: &Path, commits: u32) -> CogFs {
    let layout = Layout::new(dir.join("data"));
    let writer = Writer::open(&layout).unwrap();
    writer
        .conn()
        .execute_batch(&format!(
            "BEGIN;
             INSERT INTO projects(row, id, identity, name, dir_name, created_at, updated_at)
             VALUES (1, randomblob(16), 'path:/w', 'w', 'w', 0, 0);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {commits})
             INSERT INTO cognitive_commits(row, id, project_row, dir_name, link_name, title, title_rank, closed_by,
                 started_at, closed_at, updated_at)
             SELECT i, randomblob(16), 1, printf('2026-08-19T14-03-22Z_commit_%06x', i),
                 printf('2026-08-19T14-03-22Z_commit_%06x', i), 'x', 3, 'session_end', i, i, i FROM n;
             INSERT INTO facets VALUES (1, 3, 0, 'm', 0, {commits}), (2, 6, -1, 'a.rs', 1, {commits});
             INSERT INTO facet_links(facet_row, commit_row)
             SELECT f.row, c.row FROM facets f CROSS JOIN cognitive_commits c;
             INSERT INTO facets(kind, parent, name, depth, latest)
             SELECT 5, 0, printf('tool-%06x', row), 0, row FROM cognitive_commits;
             INSERT INTO git_commits(commit_row, hash, name, subject, at)
             SELECT row, printf('%040x', row), printf('%040x', row), 'x', row FROM cognitive_commits;
             COMMIT;"
        ))
        .unwrap();
    CogFs::open(&layout, "/mnt").unwrap()
}

/// The shortest of some runs: other work on the machine only ever makes it longer.
fn shortest(runs: u32, mut work: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..runs {
        let began = Instant::now();
        work();
        best = best.min(began.elapsed());
    }
    best
}

#[test]
fn a_page_and_a_name_of_a_large_directory_cost_what_they_show() {
    const COMMITS: u32 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let fs = large(dir.path(), COMMITS);
    for path in ["by/model/m", "by/file/w/a.rs", "by/git", "by/id", "by/tool", "projects/w"] {
        let ino = at(&fs, path).unwrap();
        let (mut places, mut last) = (Vec::new(), String::new());
        let whole = shortest(2, || {
            places.clear();
            fs.readdir(ino, 2, true, &mut |entry| {
                places.push(entry.next_offset);
                last = entry.name.into_string().unwrap();
                true
            })
            .unwrap();
        });
        assert!(places.len() >= COMMITS as usize, "{path}: {}", places.len());
        // Thirty entries from anywhere, as the kernel asks for them.
        for at in [0, places.len() / 2, places.len() - 31] {
            let page = shortest(5, || {
                let mut count = 0;
                fs.readdir(ino, places[at], true, &mut |_| {
                    count += 1;
                    count < 30
                })
                .unwrap();
                assert_eq!(count, 30);
            });
            assert!(page < whole / 100, "{path}: {page:?} for a page at {at}, {whole:?} for all");
        }
        let name = shortest(5, || assert!(child(&fs, ino, &last).is_some()));
        assert!(name < whole / 100, "{path}: {name:?} for a name, {whole:?} for all");
    }
}
