//! What the parser says of the logs under `tests/fixtures/codex`, and of real ones where they are at hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::content::digest;
use super::*;
use crate::ingest::lines::{Lines, Source, records};
use crate::model::ToolStatus;

const LOG_034: &str = "rollout-2025-10-31T19-02-58-11111111-aaaa-4aaa-8aaa-000000000034.jsonl";
const LOG_142: &str = "rollout-2026-06-18T05-00-00-019ed000-0000-7000-8000-000000000142.jsonl";
const FORK: &str = "rollout-2026-06-18T06-00-00-019ed100-0000-7000-8000-0000000000f0.jsonl";
const SUBAGENT: &str = "rollout-2026-06-18T05-10-00-019ed003-0000-7000-8000-00000000000a.jsonl";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codex").join(name)
}

fn values(path: &Path) -> Vec<Value> {
    let mut lines = Lines::open(path, 0, 1).expect("the log opens");
    let mut found = Vec::new();
    while let Some(line) = lines.next().expect("the log reads") {
        found.extend(records(line.bytes).values);
    }
    found
}

fn parse(path: &Path, values: &[Value]) -> (SessionHead, Vec<Item>) {
    let (head, mut parser) = open(path, &values[..values.len().min(50)]).expect("a Codex log");
    let mut items = Vec::new();
    for value in values {
        parser.record(value, &mut items);
    }
    (head, items)
}

fn read(name: &str) -> (SessionHead, Vec<Item>) {
    parse(&fixture(name), &values(&fixture(name)))
}

fn turns(items: &[Item]) -> Vec<&NewTurn> {
    items.iter().filter_map(|item| if let Item::Turn(turn) = item { Some(turn) } else { None }).collect()
}

fn results(items: &[Item]) -> Vec<&ToolResult> {
    items.iter().filter_map(|item| if let Item::Result(result) = item { Some(result) } else { None }).collect()
}

fn said(items: &[Item], role: Role) -> Vec<&str> {
    turns(items).into_iter().filter(|turn| turn.role == role).map(|turn| turn.text.as_str()).collect()
}

fn call<'a>(items: &'a [Item], name: &str) -> &'a Call {
    let mut calls = turns(items).into_iter().filter_map(|turn| turn.call.as_ref());
    calls.find(|call| call.name == name).unwrap_or_else(|| panic!("no call of {name}"))
}

fn usage(items: &[Item]) -> Vec<(&str, Tokens)> {
    let one = |item| if let &Item::Usage { ref key, tokens, .. } = item { Some((key.as_str(), tokens)) } else { None };
    items.iter().filter_map(one).collect()
}

#[test]
fn an_old_log_with_wrapped_shell_outputs_reads_in_order_and_without_doubles() {
    let (head, items) = read(LOG_034);
    assert_eq!((head.native_id.as_str(), head.parent), ("11111111-aaaa-4aaa-8aaa-000000000034", None));
    assert_eq!(said(&items, Role::User), ["Which files are there?", "go on", "go on"]);
    assert_eq!(said(&items, Role::Assistant), ["One file: `tides.py`.", "Done.", "Done."]);
    assert_eq!(said(&items, Role::Thinking), ["**Listing files**"]);
    let system = turns(&items).into_iter().find(|t| t.role == Role::System).expect("the environment");
    assert_eq!(system.label.as_deref(), Some("environment_context"));
    let shells: Vec<_> = turns(&items).iter().filter_map(|t| t.call.as_ref()?.shell.clone()).collect();
    assert_eq!(shells, ["ls", "cat 'no such file'"]);
    let outputs: Vec<_> = results(&items).iter().map(|r| (r.output.as_str(), r.status)).collect();
    assert_eq!(outputs, [("tides.py\n", ToolStatus::Ok), ("cat: 'no such file'\n", ToolStatus::Error)]);
    let tokens = Tokens { input: 600, output: 50, cache_read: 400, cache_write: 0 };
    assert_eq!(usage(&items), [("11111111-aaaa-4aaa-8aaa-000000000034:total", tokens)]);
}

#[test]
fn what_was_never_seen_is_told_from_what_is_only_left_out() {
    let (_, items) = read(LOG_034);
    let ignored = |wanted| {
        items
            .iter()
            .filter_map(|i| if let Item::Ignored { kind, known } = i { Some((kind.as_str(), *known)) } else { None })
            .filter(move |(_, known)| *known == wanted)
    };
    assert_eq!(ignored(false).map(|i| i.0).collect::<Vec<_>>(), ["event_msg/something_new", "new_kind"]);
    assert!(ignored(true).any(|i| i.0 == "event_msg/token_count"), "a count without numbers is known");
}

#[test]
fn facts_of_the_session_come_from_its_first_meta_and_from_each_turn() {
    let (_, items) = read(LOG_142);
    let contexts: Vec<_> = items.iter().filter_map(|i| if let Item::Context(c) = i { Some(c) } else { None }).collect();
    assert_eq!(contexts[0].git_branch.as_deref(), Some("moon"));
    assert_eq!(contexts[0].git_remote.as_deref(), Some("https://github.com/ada/tides.git"));
    assert_eq!(contexts[0].agent_version.as_deref(), Some("0.142.3"));
    assert!(contexts[0].started_at.is_some());
    assert_eq!(contexts.last().and_then(|c| c.cwd.as_deref()), Some("/home/ada/tides/sub"));
    let models: Vec<_> = turns(&items).iter().filter(|t| t.role == Role::Tool).map(|t| t.model.as_deref()).collect();
    assert_eq!((models[0], models[1]), (Some("gpt-5.5"), Some("gpt-5.6")));
}

#[test]
fn a_git_commit_and_its_result_are_read() {
    let (_, items) = read(LOG_142);
    assert_eq!(call(&items, "exec_command").shell.as_deref(), Some("git commit -m 'Add moon table'"));
    let result = results(&items)[0];
    assert!(result.output.ends_with("[moon 4d5e6f7] Add moon table\n 1 file changed, 3 insertions(+)\n"));
    assert_eq!((result.call_id.as_str(), result.status), ("call_BBBBBBBBBBBBBBBBBBBBBB01", ToolStatus::Ok));
    let shell = call(&items, "local_shell").shell.as_deref();
    assert_eq!(shell, Some(r"git commit -m 'it'\''s'"));
}

#[test]
fn every_kind_of_call_is_a_tool_turn() {
    let (_, items) = read(LOG_142);
    assert_eq!(call(&items, "apply_patch").input, "*** Begin Patch\n*** End Patch");
    assert_eq!(call(&items, "mcp__forge_fetch_pr").input, r#"{"pr":1}"#);
    let search = call(&items, "web_search");
    assert!(results(&items).iter().any(|r| r.call_id == search.call_id && r.status == ToolStatus::Ok));
    let patch = results(&items).into_iter().find(|r| r.call_id == "call_BBBBBBBBBBBBBBBBBBBBBB02").expect("a result");
    assert_eq!(patch.status, ToolStatus::Error, "the code in front of the output counts, not one inside it");
    let spawn = results(&items).into_iter().find(|r| r.subagent.is_some()).expect("a subagent");
    assert_eq!(spawn.subagent.as_deref(), Some("019ed003-0000-7000-8000-00000000000a"));
}

#[test]
fn notices_are_system_turns_and_the_thread_name_is_the_title() {
    let (_, items) = read(LOG_142);
    let notices: Vec<_> = turns(&items)
        .into_iter()
        .filter(|t| t.role == Role::System)
        .map(|t| (t.label.as_deref().unwrap_or(""), t.text.lines().next().unwrap_or("")))
        .collect();
    assert_eq!(
        notices,
        [
            ("developer", "<permissions instructions>"),
            ("instructions", "# AGENTS.md instructions for /home/ada/tides"),
            ("compaction", "The sign was fixed."),
            ("turn_aborted", "interrupted"),
            ("error", "the stream ended early"),
        ]
    );
    assert!(items.contains(&Item::Title(Title { text: "Moon table".to_owned(), leaf: None })));
}

#[test]
fn a_fork_is_a_session_of_its_own_whose_copied_turns_keep_their_natives() {
    let (parent, original) = read(LOG_142);
    let (fork, copy) = read(FORK);
    assert_eq!((fork.parent, fork.subagent_kind), (None, None));
    assert_ne!(fork.native_id, parent.native_id);
    let natives = |items| turns(items).iter().map(|t| t.native.clone().expect("a native")).collect::<Vec<_>>();
    let (original, copy) = (natives(&original), natives(&copy));
    assert_eq!(copy[..5], original[..5], "developer, instructions, prompt, answer, call");
    assert_eq!(copy.len(), 6);
    assert!(!original.contains(&copy[5]));
}

#[test]
fn a_fork_is_not_charged_for_the_history_it_copied() {
    let tokens = Tokens { input: 400, output: 40, cache_read: 200, cache_write: 0 };
    assert_eq!(usage(&read(FORK).1), [("019ed100-0000-7000-8000-0000000000f0:total", tokens)]);
}

#[test]
fn a_subagent_names_its_parent_and_its_partial_copy_of_the_history_is_recognised() {
    let (head, items) = read(SUBAGENT);
    assert_eq!(head.parent.as_deref(), Some("019ed000-0000-7000-8000-000000000142"));
    assert_eq!(head.subagent_kind.as_deref(), Some("explorer"));
    let (_, original) = read(LOG_142);
    let find = |items: &[Item], text: &str| {
        let turn = turns(items).into_iter().find(|t| t.text == text).cloned();
        turn.and_then(|t| t.native).unwrap_or_else(|| panic!("no native for {text}"))
    };
    for text in ["Commit the moon table.", "I commit it now."] {
        assert_eq!(find(&items, text), find(&original, text), "{text}");
    }
    assert_eq!(said(&items, Role::Assistant), ["I commit it now.", "None."]);
}

#[test]
fn a_subagent_is_told_by_any_of_the_marks_that_versions_write() {
    let marks = [
        (json!({"source": {"subagent": "review"}}), None, "review"),
        (json!({"source": {"subagent": {"other": "guardian"}}, "forked_from_id": "p"}), Some("p"), "guardian"),
        (json!({"source": {"subagent": {"thread_spawn": {"parent_thread_id": "p"}}}}), Some("p"), "subagent"),
        (json!({"thread_source": "subagent", "forked_from_id": "p"}), Some("p"), "subagent"),
        (json!({"agent_role": "tester", "forked_from_id": "p"}), Some("p"), "tester"),
    ];
    for (mut meta, parent, kind) in marks {
        meta["id"] = json!("child");
        let record = json!({"timestamp": "2026-01-01T00:00:00Z", "type": "session_meta", "payload": meta});
        let (head, _) = open(Path::new("a.jsonl"), std::slice::from_ref(&record)).expect("a Codex log");
        assert_eq!((head.parent.as_deref(), head.subagent_kind.as_deref()), (parent, Some(kind)), "{record}");
    }
}

#[test]
fn pictures_are_decoded_wherever_they_stand() {
    let (_, items) = read("images.jsonl");
    assert_eq!(said(&items, Role::User), ["What is this?", "And this?"]);
    let prompt = turns(&items)[0];
    assert_eq!(prompt.images.iter().map(|i| i.mime.as_str()).collect::<Vec<_>>(), ["image/png"]);
    assert!(prompt.images[0].bytes.starts_with(b"\x89PNG"));
    let viewed = results(&items)[0];
    assert_eq!((viewed.output.as_str(), viewed.images.len()), ("a.png", 1));
    assert_eq!(results(&items)[1].images.len(), 1, "the generated picture");
    let late = turns(&items).into_iter().find(|t| t.label.as_deref() == Some("attachment")).expect("the late picture");
    assert_eq!((late.role, late.text.as_str(), late.images.len()), (Role::System, "", 1));
}

#[test]
fn what_only_the_events_say_is_kept_and_parts_find_their_twins() {
    let (head, items) = read("events-only.jsonl");
    assert_eq!(head.native_id, "events-only");
    assert_eq!(said(&items, Role::User), ["## My request for Codex:\nhello"]);
    assert_eq!(said(&items, Role::Assistant), ["one", "two", "threefour", "the last"]);
}

#[test]
fn the_formats_before_the_envelope_are_read() {
    let (head, items) = read("bare.jsonl");
    assert_eq!(head.native_id, "22222222-aaaa-4aaa-8aaa-000000000020");
    assert_eq!((said(&items, Role::User), said(&items, Role::Assistant)), (vec!["hi"], vec!["hello"]));
    let answer = turns(&items).into_iter().find(|t| t.role == Role::Assistant).expect("an answer");
    assert_eq!(answer.native.as_deref(), Some("msg_9"));
    assert_eq!(turns(&items)[0].at, Millis::parse("2025-05-20T10:00:00.000Z"));
    assert_eq!(results(&items)[0].status, ToolStatus::Error);
    let cwd = items.iter().find_map(|i| if let Item::Context(c) = i { c.cwd.as_deref() } else { None });
    assert_eq!(cwd, Some("/home/ada/old"), "the folder stands in the injected context alone");
    let (head, items) = read("document.json");
    assert_eq!(head.native_id, "33333333-aaaa-4aaa-8aaa-000000000010");
    assert_eq!((said(&items, Role::User), said(&items, Role::Assistant)), (vec!["hi"], vec!["hello"]));
}

#[test]
fn damage_costs_no_more_than_itself() {
    let (_, items) = read("../../damaged_logs/codex.jsonl");
    assert_eq!(said(&items, Role::User), ["still here"]);
    assert_eq!(said(&items, Role::Assistant), ["half \u{fffd}"]);
    assert_eq!(call(&items, "function").input, "not json");
}

#[test]
fn a_compressed_log_reads_like_the_plain_one() {
    let plain = std::fs::read(fixture(LOG_142)).expect("the fixture");
    let folder = tempfile::tempdir().expect("a folder");
    let packed = folder.path().join(format!("{LOG_142}.zst"));
    std::fs::write(&packed, zstd::encode_all(&plain[..], 0).expect("packed")).expect("written");
    assert_eq!(parse(&packed, &values(&packed)), read(LOG_142));
}

#[test]
fn other_agents_logs_are_not_claimed() {
    let path = Path::new("a.jsonl");
    let others = [
        json!({"type": "user", "uuid": "u", "sessionId": "s", "timestamp": "2026-01-01T00:00:00Z", "message": {}}),
        json!({"type": "summary", "summary": "x", "leafUuid": "y"}),
        json!({"type": "session_meta", "timestamp": "2026-01-01T00:00:00Z"}),
        json!({"id": "x", "timestamp": "2026-01-01T00:00:00Z"}),
        json!({"session": "x", "items": 1}),
        json!(7),
    ];
    for other in others {
        assert!(open(path, std::slice::from_ref(&other)).is_none(), "{other}");
    }
}

#[test]
fn a_log_without_meta_takes_its_id_from_its_name() {
    let record = json!({"timestamp": "2026-01-01T00:00:00Z", "type": "event_msg", "payload": {"type": "task_started"}});
    let id = |name: &str| open(Path::new(name), std::slice::from_ref(&record)).map(|(head, _)| head.native_id);
    let uuid = "019ed000-0000-7000-8000-000000000142";
    assert_eq!(id(&format!("d/rollout-2026-01-01T00-00-00-{uuid}.jsonl.zst")).as_deref(), Some(uuid));
    assert_eq!(id("d/notes.jsonl").as_deref(), Some("notes"));
}

#[test]
fn reading_may_stop_and_go_on_after_any_record() {
    for name in [LOG_034, LOG_142, FORK, "images.jsonl", "events-only.jsonl", "bare.jsonl"] {
        let path = fixture(name);
        let values = values(&path);
        let (_, whole) = parse(&path, &values);
        for stop in 0..=values.len() {
            let mut items = Vec::new();
            let (_, mut before) = open(&path, &values).expect("a Codex log");
            values[..stop].iter().for_each(|v| before.record(v, &mut items));
            let state = before.state().to_string();
            let (_, mut after) = open(&path, &values).expect("a Codex log");
            after.restore(&serde_json::from_str(&state).expect("JSON"));
            values[stop..].iter().for_each(|v| after.record(v, &mut items));
            assert_eq!(items, whole, "{name} stopped after {stop}");
        }
    }
}

#[test]
fn every_record_is_answered_by_an_item() {
    for name in [
        LOG_034,
        LOG_142,
        FORK,
        SUBAGENT,
        "images.jsonl",
        "events-only.jsonl",
        "bare.jsonl",
        "../../damaged_logs/codex.jsonl",
    ] {
        let values = values(&fixture(name));
        let (_, mut parser) = open(&fixture(name), &values).expect("a Codex log");
        for value in &values {
            let mut items = Vec::new();
            parser.record(value, &mut items);
            assert!(!items.is_empty(), "{name}: {value}");
        }
    }
}

/// Real logs, where they are at hand.
fn real_logs() -> Vec<PathBuf> {
    let data = std::env::var_os("COGFS_TEST_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let files = walkdir::WalkDir::new(data.join("codex")).into_iter().filter_map(Result::ok);
    files.map(walkdir::DirEntry::into_path).filter(|p| p.extension().is_some_and(|e| e == "jsonl")).collect()
}

/// Texts of one stream, with how often each occurs.
fn texts_of(values: &[Value], kind: &str, text: impl Fn(&Value) -> Option<String>) -> HashMap<u64, (usize, String)> {
    let mut found = HashMap::new();
    for payload in values.iter().filter(|v| str_of(v, "type") == Some(kind)).filter_map(|v| v.get("payload")) {
        if let Some(text) = text(payload).filter(|t| !t.trim().is_empty()) {
            found.entry(digest(&text)).or_insert((0, text)).0 += 1;
        }
    }
    found
}

#[test]
fn in_real_logs_nothing_said_is_lost_and_nothing_is_said_too_often() {
    let logs = real_logs();
    if logs.is_empty() {
        eprintln!("SKIPPED: no real logs; set COGFS_TEST_DATA to a folder that holds codex/");
        return;
    }
    for path in logs {
        let values = values(&path);
        let (_, items) = parse(&path, &values);
        for (role, name, event) in
            [(Role::Assistant, "assistant", "agent_message"), (Role::User, "user", "user_message")]
        {
            let in_items = texts_of(&values, "response_item", |p| {
                (str_of(p, "role") == Some(name)).then(|| content::message(p).texts.concat())
            });
            let in_events = texts_of(&values, "event_msg", |p| {
                (str_of(p, "type") == Some(event)).then(|| str_of(p, "message").map(str::to_owned))?
            });
            let mut emitted: HashMap<u64, usize> = HashMap::new();
            for turn in
                turns(&items).iter().filter(|t| t.role == role || (role == Role::User && t.role == Role::System))
            {
                *emitted.entry(digest(&turn.text)).or_default() += 1;
            }
            for (key, (_, text)) in in_items.iter().chain(&in_events) {
                let wanted = in_items.get(key).map_or(0, |f| f.0).max(in_events.get(key).map_or(0, |f| f.0));
                let found = emitted.get(key).copied().unwrap_or_default();
                assert_eq!(found, wanted, "{}: {name} said {text:.80}", path.display());
            }
        }
        let unknown: Vec<_> = items.iter().filter(|i| matches!(i, Item::Ignored { known: false, .. })).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}

#[test]
fn a_reader_of_any_kind_can_hold_a_log() {
    let bytes = zstd::encode_all(&b"{\"a\":1}\n"[..], 0).expect("packed");
    let mut lines = Lines::new(Source::new(&bytes[..]).expect("opens"), 0, 1);
    assert_eq!(lines.next().expect("reads").map(|l| l.bytes.to_vec()), Some(b"{\"a\":1}".to_vec()));
}

#[test]
fn tokens_beyond_all_numbers_are_as_many_as_can_be_counted() {
    let path = fixture(LOG_034);
    let mut records = values(&path);
    let total = json!({"input_tokens": u64::MAX, "output_tokens": u64::MAX, "cached_input_tokens": u64::MAX});
    let info = json!({"total_token_usage": total});
    records.push(json!({"timestamp": "2025-10-31T19:10:00.000Z", "type": "event_msg",
        "payload": {"type": "token_count", "info": info}}));
    let (_, items) = parse(&path, &records);
    assert!(usage(&items).iter().any(|(_, tokens)| tokens.output == u64::MAX), "{:?}", usage(&items));
}
