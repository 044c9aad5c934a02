//! The filesystem without FUSE: what its operations say of one tree agrees, and whatever an import changes is told.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cogfs::curation::{Edit, Editor, Entity, Origin, Title, TrashName};
use cogfs::forget::{self, Target};
use cogfs::fs::{Attr, CogFs, DirEntry, FsError, Invalidation, Lookup, NodeKind};
use cogfs::ingest::{Options, import, index_words};
use cogfs::model::Millis;
use cogfs::store::conflicts::{self, Conflict, Side};
use cogfs::store::{self, EntityKind, Layout, Survives, Transaction, Writer};
use cogfs::tree::Node;
use cogfs::upkeep::repair::{self, Mode};
use common::ClaudeLog;
use serde_json::{Value, json};

const ROOT: u64 = 1;

/// A database with a tree over it.
struct Tree {
    _dir: tempfile::TempDir,
    layout: Layout,
    fs: CogFs,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        drop(Writer::open(&layout).unwrap());
        let fs = CogFs::open(&layout, "/mnt").unwrap();
        Self { _dir: dir, layout, fs }
    }

    fn with_samples() -> Self {
        let tree = Self::new();
        tree.import(&[common::demo_logs(), common::fixtures()]);
        tree.fs.changes().unwrap();
        tree
    }

    fn import(&self, places: &[PathBuf]) {
        let options = Options { places: places.to_vec(), dry_run: false };
        import(&self.layout, &options, &AtomicBool::new(false), &mut |_| ()).unwrap();
    }

    fn list(&self, dir: u64, offset: u64, with_attr: bool) -> Vec<DirEntry> {
        let mut entries = Vec::new();
        self.fs
            .readdir(dir, offset, with_attr, &mut |entry| {
                entries.push(entry);
                true
            })
            .unwrap();
        entries
    }

    /// Makes all stored lengths wrong, and those of another version of the renderer.
    fn outdate(&self) {
        let conn = rusqlite::Connection::open(self.layout.database()).unwrap();
        let rows = "UPDATE sessions SET render_version = render_version + 1, section_bytes = 1, section_turn_links = 5,
            turn_index = CAST(? AS BLOB) WHERE row = ?";
        let mut query = conn.prepare("SELECT row, turn_index FROM sessions").unwrap();
        let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        let indexes: Vec<(i64, Vec<u8>)> = found.map(Result::unwrap).collect();
        for (row, mut index) in indexes {
            // The length of a turn's file: bytes 4 to 7 of its entry.
            index.chunks_mut(16).for_each(|entry| entry[4] = !entry[4]);
            conn.execute(rows, rusqlite::params![index, row]).unwrap();
        }
    }

    /// The entries of a directory but "." and "..".
    fn entries(&self, dir: u64) -> Vec<DirEntry> {
        self.list(dir, 0, true).into_iter().skip(2).collect()
    }

    fn read(&self, ino: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            // An odd size: pieces end in the middle of everything.
            let piece = self.fs.read(ino, bytes.len() as u64, 70_001).unwrap();
            if piece.is_empty() {
                return bytes;
            }
            bytes.extend(piece);
        }
    }

    /// Calls `each` with every node below the root and its path.
    fn walk(&self, each: &mut dyn FnMut(&str, u64, &DirEntry)) {
        let mut dirs = vec![(String::new(), ROOT)];
        while let Some((path, dir)) = dirs.pop() {
            for entry in self.entries(dir) {
                let path = format!("{path}/{}", entry.name.to_str().unwrap());
                each(&path, dir, &entry);
                if entry.kind == NodeKind::Directory {
                    dirs.push((path, entry.ino));
                }
            }
        }
    }
}

#[test]
fn listing_lookup_attributes_and_contents_agree_on_every_node() {
    let tree = Tree::with_samples();
    let (mut nodes, mut inodes) = (0, BTreeSet::new());
    tree.walk(&mut |path, parent, entry| {
        nodes += 1;
        let attr = entry.attr.unwrap_or_else(|| panic!("{path}: listed without attributes"));
        assert_eq!((attr.ino, attr.kind), (entry.ino, entry.kind), "{path}");
        assert_eq!(tree.fs.getattr(entry.ino).unwrap(), attr, "{path}: getattr");
        assert_eq!(tree.fs.lookup(parent, &entry.name).unwrap(), Lookup::Found(attr), "{path}: lookup");
        assert!(entry.name.len() <= 255, "{path}: the name is too long");
        match attr.kind {
            NodeKind::File => assert_eq!(tree.read(entry.ino).len() as u64, attr.size, "{path}: size"),
            NodeKind::Symlink => {
                assert_eq!(tree.fs.readlink(entry.ino).unwrap().len() as u64, attr.size, "{path}: target");
            }
            NodeKind::Directory => assert!(inodes.insert(entry.ino), "{path}: a second name of a directory"),
        }
    });
    assert!(nodes > 500, "only {nodes} nodes: the samples are not there");
}

#[test]
fn no_directory_lists_a_name_twice() {
    let tree = Tree::with_samples();
    let mut seen = BTreeSet::new();
    tree.walk(&mut |path, _, _| assert!(seen.insert(path.to_owned()), "{path} is listed twice"));
}

#[test]
fn a_listing_goes_on_behind_any_entry() {
    let tree = Tree::with_samples();
    let mut dirs = vec![ROOT];
    tree.walk(&mut |_, _, entry| {
        if entry.kind == NodeKind::Directory {
            dirs.push(entry.ino);
        }
    });
    for dir in dirs {
        let all = tree.list(dir, 0, false);
        for (at, entry) in all.iter().enumerate() {
            let rest: Vec<_> = tree.list(dir, entry.next_offset, false);
            assert_eq!(rest, all[at + 1..], "behind {:?} in {dir:#x}", entry.name);
        }
    }
}

#[test]
fn what_is_not_there_is_said_with_the_right_error() {
    let tree = Tree::with_samples();
    let readme = tree.entries(ROOT).into_iter().find(|e| e.name == "README.md").unwrap().ino;
    assert_eq!(tree.fs.getattr(u64::MAX).unwrap_err().errno(), libc::ENOENT);
    assert_eq!(tree.fs.readlink(readme).unwrap_err().errno(), libc::EINVAL);
    let listed = tree.fs.readdir(readme, 2, false, &mut |_| true);
    assert!(matches!(listed, Err(FsError::NotADirectory)), "{listed:?}");
    assert_eq!(tree.fs.lookup(ROOT, "nothing".as_ref()).unwrap(), Lookup::Absent { for_good: false });
    assert_eq!(tree.fs.lookup(ROOT, ".gitignore".as_ref()).unwrap(), Lookup::Absent { for_good: true });
    assert!(tree.fs.read(readme, 1 << 40, 10).unwrap().is_empty(), "reading past the end");
}

/// Everything a kernel could remember of a tree.
#[derive(Default)]
struct Remembered {
    names: BTreeMap<(u64, OsString), u64>,
    attrs: BTreeMap<u64, Attr>,
    contents: BTreeMap<u64, Vec<u8>>,
    listings: BTreeMap<u64, Vec<(OsString, u64)>>,
    paths: BTreeMap<u64, String>,
}

fn remember(tree: &Tree) -> Remembered {
    let mut all = Remembered::default();
    tree.walk(&mut |path, parent, entry| {
        all.names.insert((parent, entry.name.clone()), entry.ino);
        all.attrs.insert(entry.ino, entry.attr.unwrap());
        all.listings.entry(parent).or_default().push((entry.name.clone(), entry.ino));
        all.paths.insert(entry.ino, path.to_owned());
        let is_directory = Node::from_ino(entry.ino).is_some_and(Node::is_directory);
        assert_eq!(is_directory, entry.kind == NodeKind::Directory, "{path}");
        match entry.kind {
            NodeKind::File => drop(all.contents.insert(entry.ino, tree.read(entry.ino))),
            NodeKind::Symlink => drop(all.contents.insert(entry.ino, tree.fs.readlink(entry.ino).unwrap())),
            NodeKind::Directory => drop(all.listings.entry(entry.ino).or_default()),
        }
    });
    all
}

/// What is kept for who reads on is that of this very state: a tree that has read nothing yet shows the same.
fn assert_as_seen_anew(tree: &Tree, seen: &Remembered, when: &str) {
    let anew = CogFs::open(&tree.layout, "/mnt").unwrap();
    for (ino, bytes) in &seen.contents {
        let path = &seen.paths[ino];
        assert_eq!(anew.getattr(*ino).unwrap(), seen.attrs[ino], "{when}: {path}");
        if seen.attrs[ino].kind == NodeKind::File {
            let size = u32::try_from(bytes.len()).unwrap() + 1;
            assert!(anew.read(*ino, 0, size).unwrap() == *bytes, "{when}: {path} is read as it was before");
        }
    }
}

/// What of `before` is no longer true and was not told.
fn untold(before: &Remembered, after: &Remembered, told: &[Invalidation]) -> Vec<String> {
    let nodes: BTreeSet<u64> =
        told.iter().filter_map(|t| if let Invalidation::Node(ino) = t { Some(*ino) } else { None }).collect();
    let named =
        |parent: u64, name: &OsString| told.iter().any(|t| *t == Invalidation::Name { parent, name: name.clone() });
    let mut untold = Vec::new();
    let path = |ino: &u64| before.paths.get(ino).map_or("/", String::as_str).to_owned();
    for ((parent, name), ino) in &before.names {
        let now = after.names.get(&(*parent, name.clone()));
        // A parent that is gone took its names with it: its own name was told.
        let parent_there = *parent == ROOT || after.paths.contains_key(parent);
        if now != Some(ino) && parent_there && !named(*parent, name) {
            untold.push(format!("name {}", path(ino)));
        }
    }
    for (ino, attr) in &before.attrs {
        let changed = after.attrs.get(ino).is_some_and(|now| now != attr);
        if changed && !nodes.contains(ino) {
            untold.push(format!("attributes of {}", path(ino)));
        }
    }
    for (ino, bytes) in &before.contents {
        let changed = after.contents.get(ino).is_some_and(|now| now != bytes);
        let link = before.attrs[ino].kind == NodeKind::Symlink;
        if changed && !nodes.contains(ino) && !link {
            untold.push(format!("contents of {}", path(ino)));
        }
    }
    for (ino, names) in &before.listings {
        let changed = after.listings.get(ino).is_some_and(|now| now != names);
        if changed && !nodes.contains(ino) {
            untold.push(format!("listing of {}", path(ino)));
        }
    }
    untold
}

#[test]
fn everything_an_import_changes_is_told_and_nothing_is_seen_before() {
    let tree = Tree::new();
    let mut logs: Vec<PathBuf> = [common::demo_logs(), common::fixtures()]
        .iter()
        .flat_map(|dir| common::walk(dir))
        .filter(|entry| entry.file_type().is_file())
        .map(walkdir::DirEntry::into_path)
        .collect();
    // Subagents before their sessions, copies before originals: the hardest order.
    logs.sort_by(|a, b| b.cmp(a));
    let mut before = remember(&tree);
    for log in logs {
        tree.import(std::slice::from_ref(&log));
        let told = tree.fs.changes().unwrap();
        let after = remember(&tree);
        let untold = untold(&before, &after, &told);
        assert!(untold.is_empty(), "after {}: stale: {untold:#?}", log.display());
        before = after;
    }
    assert_as_seen_anew(&tree, &before, "after all logs");
    assert!(before.attrs.len() > 500, "only {} nodes: the samples are not there", before.attrs.len());
}

/// A Codex log that writes a file and makes a git commit, in a folder of a remote.
fn codex(logs: &Path, number: u32, cwd: &str, hash: &str) -> PathBuf {
    let id = format!("019ed000-0000-7000-8000-{number:012x}");
    let record = |second: u32, kind: &str, payload: Value| {
        json!({"timestamp": format!("2026-06-18T05:00:{second:02}.000Z"), "type": kind, "payload": payload}).to_string()
    };
    let call = |second, name: &str, input: Value| {
        let call = json!({"type": "function_call", "name": name, "arguments": input.to_string(), "call_id": name});
        record(second, "response_item", call)
    };
    let answer = |second, name: &str, output: &str| {
        let output = json!({"type": "function_call_output", "call_id": name, "output": output});
        record(second, "response_item", output)
    };
    let patch =
        format!("*** Begin Patch\n*** Add File: src/{number}.rs\n+x\n*** Update File: src/deep/a.rs\n*** End Patch");
    let text = json!([{"type": "input_text", "text": format!("Do it {number}.")}]);
    let lines = [
        record(
            0,
            "session_meta",
            json!({"id": id, "timestamp": "2026-06-18T05:00:00.000Z", "cwd": cwd,
            "originator": "codex-tui", "cli_version": "0.142.3", "source": "cli",
            "git": {"branch": "main", "repository_url": "git@github.com:ada/boats.git"}}),
        ),
        record(1, "response_item", json!({"type": "message", "role": "user", "content": text})),
        call(2, "apply_patch", json!({ "input": patch })),
        answer(3, "apply_patch", "Done."),
        call(4, "exec_command", json!({"cmd": "git commit -m x"})),
        answer(5, "exec_command", &format!("[main {hash}] x\n 1 file changed")),
    ];
    let path = logs.join(format!("rollout-2026-06-18T05-00-00-{id}.jsonl"));
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    path
}

#[test]
fn what_moves_in_the_views_is_told() {
    let tree = Tree::new();
    let dir = tempfile::tempdir().unwrap();
    let claude = |number, hash: &str| {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("Do {number}.")).write_file("/w/boats/src/deep/a.rs").write_file("/w/boats/.hidden/b");
        log.git_commit(hash, "Add it");
        log
    };
    let (mut first, second, third) = (claude(1, "4be91d7"), claude(30, "4be91d7"), claude(60, "5be91d7"));
    let session = first.session().to_owned();
    let logs = dir.path();
    let mut before = remember(&tree);
    let mut step = |what: &str, log: PathBuf| {
        tree.import(&[log]);
        let told = tree.fs.changes().unwrap();
        let after = remember(&tree);
        let untold = untold(&before, &after, &told);
        assert!(untold.is_empty(), "after {what}: stale: {untold:#?}");
        before = after;
    };
    step("a later session", second.write(logs));
    step("an earlier one of the same git commit", first.write(logs));
    step("another git commit", third.write(logs));
    first.line(&json!({"type": "custom-title", "customTitle": "Barges", "sessionId": session}).to_string());
    step("a new title", first.write(logs));
    step("a folder elsewhere, with a remote", codex(logs, 1, "/w/elsewhere", "4be91d7"));
    step("the same folder with that remote", codex(logs, 2, "/w/boats", "6be91d7"));
    let folded = |path: &String| path.starts_with("/by/file/boats_") && path.ends_with("/src/deep/a.rs");
    assert!(before.paths.values().any(folded), "no files");
    assert!(!before.paths.values().any(|path| path == "/by/file/boats"), "the project is another now");
    assert!(!before.paths.values().any(|path| path.starts_with("/by/git/4be91d7-")), "one commit, one link");
}

/// Former names are not listed: a kernel knows those that somebody looked up.
fn remember_former(tree: &Tree, known: &mut Remembered, paths: &BTreeSet<(u64, OsString)>) {
    for (parent, name) in paths {
        if let Ok(Lookup::Found(attr)) = tree.fs.lookup(*parent, name) {
            known.names.insert((*parent, name.clone()), attr.ino);
            known.attrs.insert(attr.ino, attr);
            known.paths.insert(attr.ino, format!("former name {name:?}"));
        }
    }
}

#[test]
fn everything_an_edit_changes_is_told() {
    let tree = Tree::new();
    let dir = tempfile::tempdir().unwrap();
    for (project, number) in [("boats", 1), ("boats", 2), ("cars", 3)] {
        let mut log = ClaudeLog::new(project, number);
        log.user(&format!("Do {number}.")).write_file(&format!("/w/{project}/a.rs")).git_commit("4be91d7", "Add it");
        log.user("And then?").assistant("That is all.");
        log.write(dir.path());
    }
    tree.import(&[dir.path().to_owned(), common::demo_logs()]);
    tree.fs.changes().unwrap();
    let rows = |sql: &str| -> Vec<i64> {
        let conn = rusqlite::Connection::open(tree.layout.database()).unwrap();
        let mut query = conn.prepare(sql).unwrap();
        query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let commits = rows(
        "SELECT c.row FROM cognitive_commits c ORDER BY (SELECT count(*) FROM sessions s
        WHERE s.commit_row = c.row AND s.parent_row IS NOT NULL) DESC, c.row",
    );
    let commit = commits[0];
    let parent = rows("SELECT parent_row FROM sessions WHERE parent_row IS NOT NULL")[0];
    let cars = rows("SELECT row FROM projects WHERE dir_name = 'cars'")[0];
    let title = |text: &str| Title::User(text.to_owned());
    let retitle = |text: &str| Edit::Retitle { commit, title: title(text), name: None };
    let delete = |entity| Edit::Delete { entity, name: TrashName::Own };
    let restore = |entity| Edit::Restore { entity };
    let (whole, session, turn) = (Entity::commit(commit), Entity::session(parent), Entity::turn(parent << 16 | 2));
    let steps = vec![
        retitle("One"),
        retitle("Two"),
        Edit::Retitle { commit, title: title("Three"), name: Some("Three".to_owned()) },
        Edit::Retitle { commit: commits[1], title: title("Two"), name: Some("three".to_owned()) },
        Edit::SetTags { commit, tags: vec!["a".to_owned(), "b".to_owned()] },
        Edit::SetTags { commit, tags: vec!["b".to_owned()] },
        Edit::SetNote { commit, note: "Because.".to_owned() },
        Edit::SetPublished { commit, published: true },
        Edit::Reorder { commit, order: 2 },
        Edit::SetHidden { commit, hidden: true },
        retitle("Four"),
        Edit::SetHidden { commit, hidden: false },
        Edit::MoveToProject { commit, project: cars, name: None },
        Edit::RenameProject { project: cars, name: "Cars and boats".to_owned() },
        delete(turn),
        restore(turn),
        delete(turn),
        delete(session),
        delete(whole),
        retitle("Five"),
        restore(whole),
        Edit::Retitle { commit, title: Title::Found, name: None },
        delete(session),
        restore(session),
    ];
    let mut former: BTreeSet<(u64, OsString)> = BTreeSet::new();
    let mut before = remember(&tree);
    let mut writer = Writer::open(&tree.layout).unwrap();
    for step in steps {
        let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
        assert!(Editor::new(&mut tx, Origin::Command).apply(&step).unwrap().is_some(), "{step:?} changes nothing");
        tx.commit().unwrap();
        let told = tree.fs.changes().unwrap();
        let mut after = remember(&tree);
        assert_as_seen_anew(&tree, &after, &format!("after {step:?}"));
        former.extend(before.names.keys().filter(|key| !after.names.contains_key(*key)).cloned());
        remember_former(&tree, &mut after, &former);
        let untold = untold(&before, &after, &told);
        assert!(untold.is_empty(), "after {step:?}: stale: {untold:#?}");
        // Where a link leads is kept by the kernel with the link's name.
        for ((parent, name), ino) in &before.names {
            let is_link = before.attrs[ino].kind == NodeKind::Symlink;
            let led = |all: &Remembered| all.contents.get(ino).cloned();
            if is_link && after.contents.contains_key(ino) && led(&before) != led(&after) {
                let told = told.contains(&Invalidation::Node(*ino));
                assert!(told, "after {step:?}: {parent:#x}/{name:?} leads elsewhere");
            }
        }
        before = after;
    }
    assert!(former.len() > 10, "nothing was called otherwise");
}

#[test]
fn everything_a_conflict_changes_is_told() {
    let tree = Tree::new();
    let dir = tempfile::tempdir().unwrap();
    ClaudeLog::new("boats", 1).user("Question").assistant("Answer.").write(dir.path());
    tree.import(&[dir.path().to_owned()]);
    tree.fs.changes().unwrap();
    let mut writer = Writer::open(&tree.layout).unwrap();
    let commit = store::commits::rows_of_project(writer.conn(), 1).unwrap()[0];
    let entity_id = store::commits::get(writer.conn(), commit).unwrap().unwrap().id;
    let conflict = |name: &str, local: &str| Conflict {
        row: 0,
        kind: EntityKind::Commit,
        entity_row: commit,
        entity_id,
        field: "title".to_owned(),
        base: Value::Null,
        local: json!(local),
        cloud: json!("There"),
        kept: Side::Cloud,
        machine: "laptop".to_owned(),
        name: name.to_owned(),
        at: Millis(1_787_148_202_000),
    };
    let dir_of = |tree: &Tree| match tree.fs.lookup(ROOT, ".cogfs".as_ref()).unwrap() {
        Lookup::Found(control) => match tree.fs.lookup(control.ino, "conflicts".as_ref()).unwrap() {
            Lookup::Found(attr) => attr.ino,
            Lookup::Absent { .. } => panic!("it is always there"),
        },
        Lookup::Absent { .. } => panic!("it is always there"),
    };
    let names = |tree: &Tree| -> Vec<String> {
        tree.entries(dir_of(tree)).into_iter().map(|entry| entry.name.into_string().unwrap()).collect()
    };
    assert!(names(&tree).is_empty());
    let mut before = remember(&tree);
    let mut step = |tree: &Tree, make: &dyn Fn(&mut Transaction<'_>)| {
        let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
        make(&mut tx);
        tx.commit().unwrap();
        let told = tree.fs.changes().unwrap();
        let after = remember(tree);
        let untold = untold(&before, &after, &told);
        assert!(untold.is_empty(), "stale: {untold:#?}");
        before = after;
        names(tree)
    };
    let long = "é".repeat(127);
    assert_eq!(step(&tree, &|tx| conflicts::add(tx, &conflict("fix_7f3a9c", "Here")).unwrap()), ["1_fix_7f3a9c.md"]);
    let same = step(&tree, &|tx| conflicts::add(tx, &conflict("renamed", "Here")).unwrap());
    assert_eq!(same, ["1_fix_7f3a9c.md"], "the same one is kept once");
    let two = step(&tree, &|tx| conflicts::add(tx, &conflict(&long, "Also here")).unwrap());
    assert!(two.len() == 2 && two[1].len() <= 255 && two[1].starts_with("2_é"), "{two:?}");
    let page = tree.entries(dir_of(&tree)).remove(0);
    let text = String::from_utf8(tree.read(page.ino)).unwrap();
    assert_eq!(text.len() as u64, page.attr.unwrap().size);
    assert!(text.contains("    Here\n") && text.contains("changed on laptop\n\n    There\n"), "{text}");
    assert_eq!(step(&tree, &|tx| conflicts::resolve(tx, 1, Side::Local).unwrap()).len(), 1);
    let forgotten =
        forget::run(&mut Writer::open(&tree.layout).unwrap(), &Target::Id(entity_id.to_string()), false).unwrap();
    assert!(!forgotten.removed.is_nothing());
    assert!(step(&tree, &|_| ()).is_empty(), "what is forgotten is in no conflict");
}

#[test]
fn a_state_is_seen_only_once_it_is_published() {
    let tree = Tree::new();
    assert_eq!(tree.list(ROOT, 0, false).len(), 2 + 6);
    let projects = tree.entries(ROOT).into_iter().find(|e| e.name == "projects").unwrap().ino;
    assert!(tree.entries(projects).is_empty());
    tree.import(&[common::demo_logs()]);
    assert!(tree.entries(projects).is_empty(), "a held read transaction sees the state it began with");
    assert!(tree.fs.changes().unwrap().contains(&Invalidation::Node(projects)));
    assert_eq!(tree.entries(projects).len(), 1);
    assert!(tree.fs.changes().unwrap().is_empty(), "nothing changed since");
}

#[test]
fn sizes_are_exact_also_of_sessions_that_another_version_of_the_renderer_measured() {
    let tree = Tree::with_samples();
    tree.outdate();
    let fs = CogFs::open(&tree.layout, "/mnt").unwrap();
    let tree = Tree { fs, ..tree };
    let mut files = 0;
    tree.walk(&mut |path, dir, entry| {
        if entry.kind == NodeKind::File {
            files += 1;
            let size = tree.read(entry.ino).len() as u64;
            assert_eq!(entry.attr.expect("attributes were asked for").size, size, "{path} as it is listed");
            assert_eq!(tree.fs.getattr(entry.ino).unwrap().size, size, "{path}");
            let found = tree.fs.lookup(dir, &entry.name).unwrap();
            assert!(matches!(found, Lookup::Found(attr) if attr.size == size), "{path} as it is looked up");
        }
    });
    assert!(files > 100, "only {files} files");
}

/// What a full look at the stored finds.
fn assert_sound(tree: &Tree, what: &str) {
    let mut writer = Writer::open(&tree.layout).unwrap();
    let stop = AtomicBool::new(false);
    index_words(&writer, &stop, &mut |_| {}).unwrap();
    let report = repair::run(&mut writer, Mode::Look, &stop, &mut |_| {}).unwrap();
    assert!(!report.is_wrong() && !report.is_beyond_repair(), "after {what}: {report:?}");
}

#[test]
fn everything_that_is_forgotten_is_told() {
    let tree = Tree::with_samples();
    let dir = tempfile::tempdir().unwrap();
    let claude = |number, hash: &str| {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("Do {number}.")).write_file(&format!("/w/boats/src/{number}/a.rs"));
        log.git_commit(hash, "Add it");
        log.write(dir.path());
        log.path(dir.path())
    };
    // Two sessions that share a commit, and one beside them.
    tree.import(&[claude(1, "4be91d7"), claude(30, "4be91d7"), claude(60, "5be91d7")]);
    tree.fs.changes().unwrap();
    let mut before = remember(&tree);
    let mut step = |what: &str, target: &Target| {
        let mut writer = Writer::open(&tree.layout).unwrap();
        let report = forget::run(&mut writer, target, false).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(!report.removed.is_nothing(), "{what}");
        let told = tree.fs.changes().unwrap();
        let after = remember(&tree);
        let untold = untold(&before, &after, &told);
        assert!(untold.is_empty(), "after {what}: stale: {untold:#?}");
        let gone = before.paths.keys().filter(|ino| !after.paths.contains_key(ino)).count();
        before = after;
        assert_sound(&tree, what);
        gone
    };
    let ids = |sql: &str| -> Vec<Target> {
        let conn = rusqlite::Connection::open(tree.layout.database()).unwrap();
        let mut query = conn.prepare(sql).unwrap();
        let found = query.query_map([], |r| r.get(0)).unwrap();
        found.map(|id| Target::Id(id.unwrap())).collect()
    };
    let shared = "SELECT lower(hex(s.id)) FROM sessions s WHERE commit_row = (SELECT commit_row FROM sessions
        WHERE commit_row IS NOT NULL AND parent_row IS NULL GROUP BY 1 HAVING count(*) > 1 ORDER BY count(*) DESC) LIMIT 1";
    assert!(step("the first session of a shared commit", &ids(shared)[0]) > 3);
    let with_picture = "SELECT lower(hex(id)) FROM turns WHERE images > 0 LIMIT 1";
    assert!(step("a turn with a picture", &ids(with_picture)[0]) > 1);
    let subagent = "SELECT lower(hex(id)) FROM sessions WHERE parent_row IS NOT NULL AND commit_row IS NOT NULL";
    assert!(step("a subagent", &ids(subagent)[0]) > 3);
    step("a word", &Target::Match("login".to_owned()));
    let parts = "SELECT lower(hex(id)) FROM sessions WHERE part > 1 AND commit_row IS NOT NULL";
    assert!(step("a later part", &ids(parts)[0]) > 3);
    let commits = ids("SELECT lower(hex(id)) FROM cognitive_commits ORDER BY row DESC LIMIT 3");
    for commit in commits {
        assert!(step("a commit", &commit) > 3);
    }
    let projects =
        "SELECT dir_name FROM projects p WHERE EXISTS (SELECT 1 FROM cognitive_commits c WHERE project_row = p.row)";
    let names: Vec<Target> = ids(projects)
        .into_iter()
        .map(|id| if let Target::Id(name) = id { Target::Project(name) } else { id })
        .collect();
    for project in names {
        step("a project", &project);
    }
    assert!(!before.paths.values().any(|path| path.starts_with("/projects/")), "{:?}", before.paths.values());
    let views = before.paths.values().filter(|path| path.starts_with("/by/") && path.matches('/').count() > 2);
    assert_eq!(views.collect::<Vec<_>>(), Vec::<&String>::new());
    tree.import(&[common::demo_logs(), common::fixtures(), dir.path().to_owned()]);
    tree.fs.changes().unwrap();
    let after = remember(&tree);
    let back: Vec<&String> = after.paths.values().filter(|path| path.starts_with("/projects/")).collect();
    assert!(back.is_empty(), "an import brings back {back:#?}");
    assert_sound(&tree, "an import");
}
