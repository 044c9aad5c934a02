//! Damaged logs, of every kind seen in the wild: one bad line costs one line, is named, and never more.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{ClaudeLog, Mount, World};
use serde_json::{Value, json};

/// A damaged log and what must come of it.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    /// Texts that stand in undamaged records.
    good: Vec<String>,
    /// The lines that must be named as skipped.
    skipped: Vec<u64>,
    /// Records that may be read or skipped, as long as nothing else suffers.
    lenient: bool,
    /// Whether the file ends within a record that is still being written.
    unfinished: bool,
}

impl Case {
    fn new(name: &'static str, number: u32, damage: impl FnOnce(&mut ClaudeLog)) -> (ClaudeLog, Self) {
        let mut log = ClaudeLog::new("damaged", number);
        let mark = |place: &str| format!("{place} the damage in case {number}");
        log.user(&mark("A prompt before")).assistant(&mark("An answer before"));
        damage(&mut log);
        log.user(&mark("A prompt after")).assistant(&mark("An answer after"));
        let good = ["A prompt before", "An answer before", "A prompt after", "An answer after"].map(mark).to_vec();
        let bytes = (log.lines.join("\n") + "\n").into_bytes();
        (log, Self { name, bytes, good, skipped: Vec::new(), lenient: false, unfinished: false })
    }

    fn skips(mut self, lines: &[u64]) -> Self {
        self.skipped = lines.to_vec();
        self
    }
}

/// One line in the middle that is wrong.
fn one_line(name: &'static str, number: u32, line: &str) -> (ClaudeLog, Case) {
    let (log, case) = Case::new(name, number, |log| {
        log.line(line);
    });
    (log, case.skips(&[3]))
}

/// The good log of a case, its bytes changed as a whole.
fn whole(name: &'static str, number: u32, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (ClaudeLog, Case) {
    let (log, mut case) = Case::new(name, number, |_| {});
    case.bytes = change(case.bytes);
    (log, case)
}

fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    String::from_utf8(bytes.to_vec()).unwrap().replacen(from, to, 1).into_bytes()
}

/// Cases whose damage can be told: exit status 3.
fn told() -> Vec<(ClaudeLog, Case)> {
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    vec![
        one_line("garbage", 1, "%%% not JSON at all"),
        one_line("a record cut in the middle", 2, r#"{"type":"user","message":{"role":"user","content":"cut he"#),
        one_line("a bare number", 3, "42"),
        one_line("a bare string", 4, "\"hello\""),
        one_line("an array", 5, "[1,2,3]"),
        one_line("null", 6, "null"),
        one_line("nesting without end", 7, &format!("{{\"type\":\"user\",\"deep\":{deep}}}")),
        one_line("zero bytes, as a crash leaves them", 8, "\0\0\0\0\0\0\0\0"),
        {
            let (log, mut case) = one_line("bytes that are not UTF-8", 9, "@@");
            let at = memchr::memmem::find(&case.bytes, b"@@").unwrap();
            case.bytes.splice(at..at + 2, *b"\"\xff\xfe\xc3\"");
            (log, case)
        },
        {
            let (log, case) = Case::new("garbage behind a record", 10, |log| {
                let line = log.lines.pop().unwrap();
                log.line(&format!("{line} trailing garbage"));
            });
            (log, case.skips(&[2]))
        },
        {
            let (log, case) = Case::new("three bad lines", 11, |log| {
                log.line("one").user("A prompt between the damage").line("two").line("{");
            });
            (log, case.skips(&[3, 5, 6]))
        },
    ]
}

/// Oddities that lose nothing: exit status 0.
fn harmless() -> Vec<(ClaudeLog, Case)> {
    let strange = |number: u32, name: &'static str, record: Value| {
        Case::new(name, number, |log| {
            log.record(record["type"].as_str().unwrap_or("user"), &record);
        })
    };
    let mut cases = vec![
        Case::new("two records on one line", 21, |log| {
            let line = log.lines.pop().unwrap();
            log.line(&format!("{line}{}", json!({"type": "summary", "summary": "Two in one", "leafUuid": "x"})));
        }),
        whole("no newline at the end", 22, |mut bytes| {
            bytes.pop();
            bytes
        }),
        Case::new("blank lines", 23, |log| {
            log.line("").line("   ").line("\t");
        }),
        whole("Windows line ends", 24, |bytes| String::from_utf8(bytes).unwrap().replace('\n', "\r\n").into_bytes()),
        whole("a byte order mark", 25, |bytes| [b"\xef\xbb\xbf".as_slice(), &bytes].concat()),
        Case::new("a zero character in a text", 26, |log| {
            log.user("zero \0 in case 26");
        }),
        Case::new("terminal colours", 27, |log| {
            log.bash("ls", "\u{1b}[31mred\u{1b}[0m in case 27");
        }),
        whole("a beginning in the middle of the session", 28, |bytes| {
            replaced(&bytes, "\"parentUuid\":null", "\"parentUuid\":\"00000000-gone\"")
        }),
        Case::new("one uuid twice", 29, |log| {
            let line = log.lines.last().unwrap().clone();
            log.line(&line);
        }),
        Case::new("a parent that is nowhere", 30, |log| {
            log.record("user", &json!({"parentUuid": "nowhere", "message": {"role": "user", "content": "An orphan"}}));
        }),
        strange(31, "a kind never seen", json!({"type": "hologram", "beam": 7})),
        strange(32, "no message", json!({"type": "user"})),
        strange(33, "a message that is a number", json!({"type": "user", "message": 5})),
        strange(34, "contents that are null", json!({"type": "user", "message": {"role": "user", "content": null}})),
        strange(
            35,
            "blocks that are no objects",
            json!({"type": "user", "message": {"role": "user", "content": [1, null]}}),
        ),
        strange(
            36,
            "a block never seen",
            json!({"type": "assistant", "message": {"content": [{"type": "song", "la": 1}]}}),
        ),
        strange(
            37,
            "a time that is none",
            json!({"type": "user", "timestamp": "soon", "message": {"content": "When?"}}),
        ),
        strange(
            38,
            "a time before time",
            json!({"type": "user", "timestamp": "0000-01-01T00:00:00Z", "message": {"content": "Old"}}),
        ),
        strange(
            39,
            "a picture that is damaged",
            json!({"type": "user", "message": {"content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!!!"}}]}}),
        ),
        strange(
            40,
            "a tool result without its call",
            json!({"type": "user", "message": {"content": [
            {"type": "tool_result", "tool_use_id": "toolu_none", "content": "lost"}]}}),
        ),
        strange(
            41,
            "a usage that is a text",
            json!({"type": "assistant", "message": {"id": "m", "usage": "much",
            "content": [{"type": "text", "text": "Fine."}]}}),
        ),
        Case::new("a record of five megabytes", 42, |log| {
            log.assistant(&"a long line ".repeat(450_000));
        }),
        strange(
            43,
            "a cwd with everything in it",
            json!({"type": "user", "cwd": "/w/../\u{202e}:*?\"<>|\n/ü ", "message":
            {"content": "Where am I?"}}),
        ),
    ];
    let (log, mut case) = Case::new("a lone surrogate", 44, |log| {
        log.line(r#"{"type":"user","uuid":"s","message":{"role":"user","content":"half \ud83d of a sign"}}"#);
    });
    case.lenient = true;
    cases.push((log, case));
    let (log, mut case) = whole("a last line still being written", 45, |mut bytes| {
        bytes.extend(br#"{"type":"user","message":{"role":"user","content":"to be conti"#);
        bytes
    });
    case.unfinished = true;
    cases.push((log, case));
    cases
}

/// The lines an import named, for one file.
fn named(summary: &Value, file: &str) -> Vec<u64> {
    let entries = summary["skipped"].as_array().unwrap_or_else(|| panic!("skipped is no list: {summary}"));
    let of_file = entries.iter().filter(|entry| entry["file"] == file);
    let mut lines: Vec<u64> = of_file
        .map(|entry| {
            assert!(entry["reason"].as_str().is_some_and(|r| !r.is_empty()), "no reason: {entry}");
            entry["line"].as_u64().unwrap_or_else(|| panic!("no line: {entry}"))
        })
        .collect();
    lines.dedup();
    lines
}

#[test]
fn each_damage_that_costs_a_line_is_told_by_status_file_line_and_reason() {
    for (log, case) in told() {
        let world = World::new();
        let path = log.write_bytes(&world.logs(), &case.bytes);
        let summary = world.try_import(&[&world.logs()]).exits(3).json();
        assert_eq!(named(&summary, path.to_str().unwrap()), case.skipped, "{}: {summary}", case.name);
        assert_eq!(summary["sessions"], 1, "{}: {summary}", case.name);
        assert!(summary["turns"].as_u64().unwrap() >= 4, "{}: {summary}", case.name);
    }
}

#[test]
fn each_oddity_that_costs_nothing_is_no_complaint() {
    for (log, case) in harmless() {
        let world = World::new();
        log.write_bytes(&world.logs(), &case.bytes);
        let ran = world.try_import(&[&world.logs()]);
        let code = if case.lenient && ran.code == Some(3) { 3 } else { 0 };
        assert_eq!(ran.code, Some(code), "{}: {}", case.name, ran.all());
        let summary = ran.exits(code).json();
        assert_eq!(summary["unfinished"], u64::from(case.unfinished), "{}: {summary}", case.name);
        assert!(summary["turns"].as_u64().unwrap() >= 4, "{}: {summary}", case.name);
    }
}

#[test]
fn every_good_record_beside_a_damaged_one_is_in_the_mount() {
    needs_fuse!();
    let world = World::new();
    let cases: Vec<(ClaudeLog, Case)> = told().into_iter().chain(harmless()).collect();
    for (log, case) in &cases {
        log.write_bytes(&world.logs(), &case.bytes);
    }
    world.try_import(&[&world.logs()]).exits(3);
    let mount = Mount::new(&world);
    let turns = common::turn_files(mount.dir());
    let bytes: Vec<u8> = turns.iter().flat_map(|path| fs::read(path).unwrap()).collect();
    for (_, case) in &cases {
        for text in &case.good {
            assert!(memchr::memmem::find(&bytes, text.as_bytes()).is_some(), "{}: {text:?} is lost", case.name);
        }
    }
    for path in common::files(&mount.path("projects")) {
        assert_eq!(fs::metadata(&path).unwrap().len(), fs::read(&path).unwrap().len() as u64, "{}", path.display());
    }
}

#[test]
fn an_unfinished_line_is_read_once_it_is_finished() {
    let world = World::new();
    let mut log = ClaudeLog::new("damaged", 1);
    log.user("Begin.").assistant("Begun.").assistant("The end of it all.");
    let bytes = (log.lines.join("\n") + "\n").into_bytes();
    let cut = bytes.len() - 30;
    log.write_bytes(&world.logs(), &bytes[..cut]);
    let first = world.import(&[&world.logs()]);
    assert_eq!((&first["new_turns"], &first["unfinished"]), (&json!(2), &json!(1)), "{first}");
    log.write_bytes(&world.logs(), &bytes);
    let second = world.import(&[&world.logs()]);
    assert_eq!((&second["new_turns"], &second["unfinished"]), (&json!(1), &json!(0)), "{second}");
}

#[test]
fn a_source_that_shrinks_or_vanishes_takes_nothing_away() {
    let world = World::new();
    let mut log = ClaudeLog::new("damaged", 1);
    log.user("Begin.").assistant("Begun.").user("Go on.").assistant("Gone on.");
    let path = log.write(&world.logs());
    world.import(&[&world.logs()]);
    let turns = world.stats()["turns"].clone();
    log.write_bytes(&world.logs(), (log.lines[..2].join("\n") + "\n").as_bytes());
    world.import(&[&world.logs()]);
    assert_eq!(world.stats()["turns"], turns, "a shorter source took turns away");
    fs::remove_file(path).unwrap();
    world.import(&[&world.logs()]);
    assert_eq!(world.stats()["turns"], turns, "a vanished source took turns away");
}

#[test]
fn what_is_no_log_is_passed_by() {
    let world = World::new();
    let mut log = ClaudeLog::new("damaged", 1);
    log.user("Only this is a log.").assistant("So it is.");
    let dir = log.write(&world.logs()).parent().unwrap().to_owned();
    fs::write(dir.join("empty.jsonl"), "").unwrap();
    fs::write(dir.join("newline.jsonl"), "\n").unwrap();
    fs::write(dir.join("summary.jsonl"), "{\"type\":\"summary\",\"summary\":\"Nothing\",\"leafUuid\":\"x\"}\n")
        .unwrap();
    fs::write(dir.join("notes.txt"), "not a log").unwrap();
    fs::create_dir(dir.join("directory.jsonl")).unwrap();
    symlink("nowhere", dir.join("dangling.jsonl")).unwrap();
    symlink("..", dir.join("loop")).unwrap();
    let summary = world.import(&[&world.logs()]);
    assert_eq!(summary["turns"], 2, "{summary}");
    assert_eq!(summary["projects"], 1, "{summary}");
}

#[test]
fn a_folder_without_logs_is_no_failure() {
    let world = World::new();
    let summary = world.import(&[&world.logs()]);
    assert_eq!(summary["files"], 0, "{summary}");
}
