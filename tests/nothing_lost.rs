//! What the agents logged is in the mount: every prompt, every message, every record, once imported and twice.

mod common;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::reader::{self, Source};
use common::{ClaudeLog, Mount, World};

/// The logs to check with: real ones where they are, else the fixtures.
fn sources() -> Vec<PathBuf> {
    let data = std::env::var_os("COGFS_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let logs = ["claude-code", "codex", "opencode", "gemini-cli", "copilot-cli", "chatgpt", "claude-ai", "antigravity"];
    let mut found: Vec<PathBuf> = logs.map(|agent| data.join(agent)).into_iter().filter(|p| p.is_dir()).collect();
    // Databases are read where they are named.
    if data.join("cursor").is_dir() {
        found.extend(common::files_named(&data.join("cursor"), |name| name == "state.vscdb"));
    }
    if found.is_empty() {
        common::skipped(&format!(
            "no real transcripts in {} (COGFS_TEST_DATA): fixtures in their place",
            data.display()
        ));
        return vec![common::demo_logs(), common::fixtures()];
    }
    found
}

/// Imports everything; real logs hold damaged lines, so that "some records skipped" is as good as "all well".
fn import(world: &World, paths: &[PathBuf]) -> serde_json::Value {
    let ran = world.try_import(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let code = if ran.code == Some(3) { 3 } else { 0 };
    ran.exits(code).json()
}

/// The turn files as one text, found by any of its lines: a search of each text in all of it would take hours.
struct Haystack {
    bytes: Vec<u8>,
    lines: HashMap<u64, Vec<usize>>,
}

impl Haystack {
    fn of(files: &[PathBuf]) -> Self {
        let mut bytes = Vec::new();
        for path in files {
            bytes.extend(fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
            bytes.push(0);
        }
        let mut lines: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut start = 0;
        for end in memchr::memchr2_iter(b'\n', 0, &bytes) {
            lines.entry(hash(&bytes[start..end])).or_default().push(start);
            start = end + 1;
        }
        Self { bytes, lines }
    }

    /// Whether the text stands in a turn file, byte for byte.
    fn holds(&self, text: &str) -> bool {
        // Every file ends in one newline, whatever the text ended in.
        let text = text.trim_end_matches('\n').as_bytes();
        let longest = text.split(|b| *b == b'\n').max_by_key(|line| line.len()).unwrap_or_default();
        let before = longest.as_ptr() as usize - text.as_ptr() as usize;
        let starts = self.lines.get(&hash(longest)).map_or(&[][..], Vec::as_slice);
        starts.iter().filter_map(|at| at.checked_sub(before)).any(|at| self.bytes[at..].starts_with(text))
            // Its longest line does not stand alone on a line: look everywhere.
            || memchr::memmem::find(&self.bytes, text).is_some()
    }
}

fn hash(line: &[u8]) -> u64 {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    BuildHasherDefault::<DefaultHasher>::default().hash_one(line)
}

#[test]
fn the_reader_itself_finds_what_was_said_and_nothing_else() {
    let said: Vec<String> = [common::demo_logs(), common::fixtures()]
        .iter()
        .flat_map(|dir| reader::read_all(dir))
        .flat_map(|source| source.texts)
        .collect();
    let wanted = [
        "and the link below should not be red, red is for errors",
        "[Image #1] The green button sticks out of its card on the login page. Can you make it fit?",
        "And off at dawn?",
        "It goes off by itself at dawn.",
        "There are seven boats.",
        "Thirsty it is. Danke schön! 🪴",
        "Committed: they burn until dawn now.",
        "There are five: one is behind the crane.",
        "Any knot will do.",
        "[main 5c6d7e8] Lanterns burn until dawn\n 1 file changed, 3 insertions(+), 1 deletion(-)\n",
    ];
    for text in wanted {
        assert!(said.iter().any(|s| s == text), "the reader does not find {text:?}");
    }
    for text in
        ["<command-name>", "<environment_context>", "This session is being continued", "Warmup", "Called the Read"]
    {
        assert!(!said.iter().any(|s| s.starts_with(text)), "the reader takes {text:?} for a prompt");
    }
}

#[test]
fn every_prompt_and_every_message_stands_verbatim_in_a_turn_file() {
    needs_fuse!();
    let world = World::new();
    let paths = sources();
    import(&world, &paths);
    let mount = Mount::new(&world);
    let haystack = Haystack::of(&common::turn_files(mount.dir()));
    let mut compared = 0;
    let mut missing = Vec::new();
    for source in paths.iter().flat_map(|path| reader::read_all(path)) {
        for text in &source.texts {
            compared += 1;
            if !haystack.holds(text) {
                missing.push(format!("{}: {:?}", source.path.display(), text.chars().take(200).collect::<String>()));
            }
        }
    }
    println!("compared {compared} texts with {} bytes of turn files", haystack.bytes.len());
    assert!(compared > 0, "the reader found no text in {paths:?}");
    assert!(missing.is_empty(), "{} of {compared} texts are lost, among them:\n{}", missing.len(), head(&missing));
}

fn head(lines: &[String]) -> String {
    lines.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
}

/// How often each record stands in the `raw.jsonl` of one session: its parts in order, and its subagents.
fn raw_by_session(mount: &Path) -> HashMap<String, HashMap<String, usize>> {
    let mut dirs: Vec<(String, u64, PathBuf)> = common::session_dirs(mount)
        .into_iter()
        .map(|dir| {
            let meta = common::json(&dir.join("meta.json"));
            let native = meta["native_id"].as_str().unwrap_or_else(|| panic!("{}: no native_id", dir.display()));
            (native.to_owned(), meta["part"].as_u64().expect("part"), dir)
        })
        .collect();
    dirs.sort();
    let mut sessions: HashMap<String, HashMap<String, usize>> = HashMap::new();
    for (native, _, dir) in dirs {
        let counts = sessions.entry(native).or_default();
        for path in common::files_named(&dir, |name| name == "raw.jsonl") {
            for line in fs::read(&path).unwrap().split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                *counts.entry(String::from_utf8_lossy(line).trim().to_owned()).or_default() += 1;
            }
        }
    }
    sessions
}

/// The records of a source that a session's raw records lack.
fn lacking<'s>(source: &'s Source, session: &HashMap<String, usize>) -> Vec<&'s str> {
    let mut left = session.clone();
    let mut lacking = Vec::new();
    for record in &source.records {
        match left.get_mut(record.as_str()) {
            Some(count) if *count > 0 => *count -= 1,
            _ => lacking.push(record.as_str()),
        }
    }
    lacking
}

#[test]
fn every_record_of_a_log_stands_in_the_raw_files_of_its_session() {
    needs_fuse!();
    let world = World::new();
    let paths = sources();
    import(&world, &paths);
    let mount = Mount::new(&world);
    let sessions = raw_by_session(mount.dir());
    let mut compared = 0;
    let mut lost = Vec::new();
    // A log in which nobody speaks is no session.
    for source in paths.iter().flat_map(|path| reader::read_all(path)).filter(|source| !source.texts.is_empty()) {
        compared += source.records.len();
        let first = &source.records[source.records.len() / 2];
        let best = sessions
            .values()
            .filter(|session| session.contains_key(first))
            .map(|session| lacking(&source, session))
            .min_by_key(Vec::len)
            .unwrap_or_else(|| source.records.iter().map(String::as_str).collect());
        if let Some(one) = best.first() {
            let shown: String = one.chars().take(200).collect();
            lost.push(format!("{}: {} of {}: {shown}", source.path.display(), best.len(), source.records.len()));
        }
    }
    println!("compared {compared} records with those of {} sessions", sessions.len());
    assert!(compared > 0, "the reader found no record in {paths:?}");
    assert!(lost.is_empty(), "records are lost from {} logs:\n{}", lost.len(), head(&lost));
}

#[test]
fn the_parts_of_a_session_hold_its_records_in_order() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    for (hash, subject) in [("1a1a1a1", "first"), ("2b2b2b2", "second")] {
        log.user(&format!("Do the {subject} thing.")).assistant("Doing it.").git_commit(hash, subject);
    }
    log.user("And the rest.").assistant("Rest.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let mount = Mount::new(&world);
    let mut parts: Vec<(u64, PathBuf)> = common::session_dirs(mount.dir())
        .into_iter()
        .map(|dir| (common::json(&dir.join("meta.json"))["part"].as_u64().unwrap(), dir))
        .collect();
    parts.sort();
    let raw: Vec<u8> = parts.iter().flat_map(|(_, dir)| fs::read(dir.join("raw.jsonl")).unwrap()).collect();
    assert_eq!(String::from_utf8(raw).unwrap().lines().collect::<Vec<_>>(), log.lines);
}

#[test]
fn importing_twice_changes_nothing() {
    let world = World::new();
    let paths = sources();
    let first = import(&world, &paths);
    assert!(first["new_turns"].as_u64().unwrap() > 0, "nothing was imported: {first}");
    let before = world.dump();
    let second = import(&world, &paths);
    assert_eq!(second["new_turns"], 0, "the second import added turns: {second}");
    let after = world.dump();
    let changed: Vec<String> = after.iter().filter(|line| before.binary_search(line).is_err()).cloned().collect();
    let shown: Vec<String> = changed.iter().map(|line| line.chars().take(300).collect()).collect();
    assert!(changed.is_empty(), "{} rows changed:\n{}", changed.len(), head(&shown));
    assert_eq!(before.len(), after.len(), "rows vanished");
}

#[test]
fn a_session_with_three_git_commits_makes_three_commits_with_their_turns() {
    needs_fuse!();
    let world = World::new();
    let mut log = ClaudeLog::new("boats", 1);
    let commits = [("1a1a1a1", "count"), ("2b2b2b2", "sort"), ("3c3c3c3", "paint")];
    for (hash, subject) in commits {
        log.user(&format!("Please {subject} the boats.")).assistant(&format!("I will {subject} them."));
        log.git_commit(hash, subject).assistant(&format!("The {subject} is done."));
    }
    log.write(&world.logs());
    let summary = world.import(&[&world.logs()]);
    assert_eq!(summary["sessions"], 1, "{summary}");
    let mount = Mount::new(&world);
    let dirs: Vec<PathBuf> = common::files_named(&mount.path("projects"), |name| name == "meta.json")
        .into_iter()
        .map(|path| path.parent().unwrap().to_owned())
        .filter(|dir| dir.join("sessions").is_dir())
        .collect();
    for (hash, subject) in commits {
        let of_hash: Vec<&PathBuf> =
            dirs.iter().filter(|dir| common::json(&dir.join("meta.json")).to_string().contains(hash)).collect();
        let [dir] = of_hash[..] else { panic!("{} commits for {hash} in {dirs:?}", of_hash.len()) };
        let turns = common::files(&dir.join("sessions"));
        assert!(common::stands_in(&turns, &format!("Please {subject} the boats.")), "the prompt of {hash}");
        for (_, other) in commits.iter().filter(|(other, _)| *other != hash) {
            assert!(!common::stands_in(&turns, &format!("Please {other} the boats.")), "{other} stands in {hash} too");
        }
    }
}
