//! What the parser says of the recordings under `tests/fixtures/gemini`.

use std::path::PathBuf;

use serde_json::json;

use super::*;

const SESSION: &str = "b0a70001-0000-4000-8000-000000000001";
const LINES: &str = "tmp/harbour/chats/session-2026-09-01T09-00-b0a70001.jsonl";
const SUBAGENT: &str = "tmp/harbour/chats/b0a70001-0000-4000-8000-000000000001/mast-1.jsonl";
const DOCUMENT: &str =
    "tmp/d1e282a7f09333262ef7ebf4c3cffc61d7fce7597b74e242e77c1dbd284853f6/chats/session-2026-01-02T10-00-c0ffee01.json";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gemini").join(name)
}

fn read(name: &str) -> (SessionHead, Vec<Item>) {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    let mut records: Vec<Value> =
        serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().unwrap();
    let (head, mut parser) = open(&fixture(name), &records).expect("a recording of Gemini CLI");
    if records.len() == 1 {
        records = parser.split(records.remove(0));
    }
    let mut items = Vec::new();
    records.iter().for_each(|record| parser.record(record, &mut items));
    (head, items)
}

fn turns(items: &[Item]) -> Vec<&NewTurn> {
    items.iter().filter_map(|item| if let Item::Turn(turn) = item { Some(turn) } else { None }).collect()
}

fn said(items: &[Item], role: Role) -> Vec<&str> {
    turns(items).into_iter().filter(|turn| turn.role == role).map(|turn| turn.text.as_str()).collect()
}

fn result<'a>(items: &'a [Item], call_id: &str) -> &'a ToolResult {
    let of_call = |item: &&Item| matches!(item, Item::Result(result) if result.call_id == call_id);
    match items.iter().find(of_call) {
        Some(Item::Result(result)) => result,
        _ => panic!("no result of {call_id}"),
    }
}

#[test]
fn a_prompt_is_what_was_typed() {
    let (head, items) = read(LINES);
    assert_eq!((head.native_id.as_str(), head.parent), (SESSION, None));
    let prompts = said(&items, Role::User);
    assert_eq!(prompts[..2], ["How many boats lie in @moorings?", "And what does this show?"]);
    let labels: Vec<_> = turns(&items).into_iter().filter_map(|turn| turn.label.as_deref()).collect();
    assert_eq!(labels, ["info", "error", "rewind", "compaction"]);
}

#[test]
fn every_line_of_a_message_has_the_same_ids() {
    let (_, items) = read(LINES);
    let looks: Vec<_> = turns(&items).into_iter().filter(|turn| turn.text == "I will look at the moorings.").collect();
    assert_eq!(looks.len(), 4);
    for turn in looks {
        assert_eq!(turn.native.as_deref(), Some(format!("{SESSION}/m2#text").as_str()));
        assert!(turn.revises);
    }
}

#[test]
fn a_result_is_its_output_else_json_else_what_was_shown() {
    let (_, items) = read(LINES);
    let output = |call_id| (result(&items, call_id).output.as_str(), result(&items, call_id).status);
    assert_eq!(output("list-1"), ("sloop\nketch\nyawl", ToolStatus::Ok));
    assert_eq!(output("read-9"), ("File not found: tides.txt", ToolStatus::Error));
    assert_eq!(output("shell-2"), ("Cancelled by the harbour master.", ToolStatus::Error));
    assert_eq!(output("tide-1"), ("{\n  \"high\": \"12:04\",\n  \"low\": \"18:20\"\n}", ToolStatus::Ok));
    assert_eq!(result(&items, "shot-1").images.len(), 1);
    assert_eq!(result(&items, "ask-1").subagent.as_deref(), Some(format!("{SESSION}/agent-mast-1").as_str()));
}

#[test]
fn a_call_that_runs_has_no_result() {
    let mut parser = Gemini { session: String::new(), folders: head::Folders::default(), state: State::default() };
    let call = json!({"id": "c", "name": "read_file", "args": {}, "status": "executing"});
    let mut items = Vec::new();
    parser.record(&json!({"id": "m", "type": "gemini", "content": "", "toolCalls": [call]}), &mut items);
    assert!(matches!(&items[..], [Item::Turn(_)]), "{items:?}");
}

#[test]
fn what_the_cache_gave_is_no_input_and_thoughts_are_output() {
    let tokens = tokens_of(
        &json!({"input": 11_998, "output": 12, "cached": 11_868, "thoughts": 105, "tool": 7, "total": 12_122}),
    );
    assert_eq!(tokens, Tokens { input: 137, output: 117, cache_read: 11_868, cache_write: 0 });
}

#[test]
fn a_history_made_shorter_says_nothing_anew() {
    let (_, items) = read(LINES);
    let outputs: Vec<_> =
        items.iter().filter_map(|i| if let Item::Result(r) = i { Some(r.output.as_str()) } else { None }).collect();
    assert!(!outputs.iter().any(|output| output.contains("masked")), "{outputs:?}");
}

#[test]
fn the_folder_stands_beside_the_recording_or_among_the_workspace_folders() {
    let cwd = |items: &[Item]| {
        items
            .iter()
            .find_map(|i| if let Item::Context(c) = i { Some((c.cwd.clone(), c.project_hash.clone())) } else { None })
    };
    assert_eq!(cwd(&read(LINES).1), Some((Some("/w/harbour".to_owned()), None)));
    let mut parser = Gemini { session: String::new(), folders: head::Folders::default(), state: State::default() };
    let mut header = json!({"sessionId": "s", "projectHash": folder_hash("/w/app"), "directories": ["/w/x", "/w/app"]});
    let mut items = Vec::new();
    parser.record(&header, &mut items);
    header["directories"] = json!(["/w/x"]);
    parser.record(&header, &mut items);
    assert_eq!(cwd(&items), Some((Some("/w/app".to_owned()), None)));
    assert_eq!(cwd(&items[1..]), Some((None, Some(folder_hash("/w/app")))));
}

#[test]
fn a_subagent_has_its_session_from_its_folder() {
    let (head, items) = read(SUBAGENT);
    assert_eq!(head.parent.as_deref(), Some(SESSION));
    assert_eq!(head.native_id, format!("{SESSION}/agent-mast-1"));
    assert_eq!(said(&items, Role::Assistant), ["Twelve metres."]);
}

#[test]
fn a_document_is_taken_apart_into_a_header_and_its_messages() {
    let (head, items) = read(DOCUMENT);
    assert_eq!(head.native_id, "c0ffee01-0000-4000-8000-000000000002");
    assert_eq!(said(&items, Role::Assistant), ["I look.", "It is lit."]);
    let parser = Gemini { session: String::new(), folders: head::Folders::default(), state: State::default() };
    let records = parser.split(json!({"sessionId": "s", "messages": [{"id": "a"}, {"id": "b"}]}));
    assert_eq!(records, [json!({"sessionId": "s"}), json!({"id": "a"}), json!({"id": "b"})]);
}

#[test]
fn every_kind_in_the_fixtures_is_known() {
    for name in [LINES, SUBAGENT, DOCUMENT] {
        let unknown = read(name).1.into_iter().filter(|i| matches!(i, Item::Ignored { known: false, .. })).count();
        assert_eq!(unknown, 0, "{name}");
    }
}

#[test]
fn other_files_of_gemini_are_no_recordings() {
    let prompts = json!([{"sessionId": "s", "messageId": 0, "type": "user", "message": "hi"}]);
    let checkpoint = json!({"history": [{"role": "user", "parts": [{"text": "hi"}]}]});
    let claude = json!({"type": "user", "sessionId": "s", "uuid": "u", "message": {"role": "user", "content": "hi"}});
    for other in [prompts, checkpoint, claude] {
        assert!(open(Path::new("logs.json"), std::slice::from_ref(&other)).is_none(), "{other}");
    }
}
