//! What the parser says of the log under `tests/fixtures/copilot`.

use serde_json::json;

use super::*;
use crate::model::ToolStatus;

const SESSION: &str = "0c0a0001-0000-4000-8000-000000000001";

fn read() -> (SessionHead, Vec<Item>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/copilot/session-state")
        .join(SESSION)
        .join("events.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (head, mut parser) = open(&path, &records).expect("a log of Copilot CLI");
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
fn a_prompt_is_what_was_typed_with_its_pictures() {
    let (head, items) = read();
    assert_eq!(head.native_id, SESSION);
    let prompts = said(&items, Role::User);
    assert_eq!(prompts, ["Add rye bread to the list.", "Who bakes it?", "Find the baker.", "Thank you."]);
    let first = turns(&items).into_iter().find(|turn| turn.role == Role::User).unwrap();
    assert_eq!(first.images.len(), 1);
}

#[test]
fn a_call_is_told_once_though_it_is_logged_twice() {
    let (_, items) = read();
    let calls: Vec<_> = turns(&items).into_iter().filter_map(|t| t.call.as_ref()).map(|c| c.call_id.as_str()).collect();
    assert_eq!(calls, ["tooluse_edit", "tooluse_commit", "tooluse_task", "tooluse_view", "call_1", "user_1"]);
    let unasked = json!({"id": "e", "type": "tool.execution_start",
        "data": {"toolCallId": "c", "toolName": "bash", "arguments": {"command": "ls"}}});
    let mut alone = Vec::new();
    Copilot { session: String::new(), state: State::default() }.record(&unasked, &mut alone);
    assert_eq!(turns(&alone)[0].call.as_ref().unwrap().shell.as_deref(), Some("ls"));
}

#[test]
fn a_result_is_what_the_model_was_given() {
    let (_, items) = read();
    let output = |call_id| (result(&items, call_id).output.as_str(), result(&items, call_id).status);
    assert_eq!(output("tooluse_edit"), ("File /w/bakery/list.md updated.", ToolStatus::Ok));
    assert_eq!(output("tooluse_view"), ("Path does not exist", ToolStatus::Error));
    assert_eq!(output("user_1"), ("<shellId: 3 completed with exit code 1>", ToolStatus::Error));
    assert_eq!(result(&items, "user_1").images.len(), 1);
}

#[test]
fn a_subagent_is_a_stream_of_its_own_under_the_call_that_started_it() {
    let (_, items) = read();
    let inner: Vec<_> =
        turns(&items).into_iter().filter(|t| t.stream == Stream::Inline("agent-7".to_owned())).collect();
    assert_eq!(inner.len(), 3);
    let started = result(&items, "tooluse_task").subagent.as_deref();
    assert_eq!(started, Some(format!("{SESSION}/inline-agent-7").as_str()));
}

#[test]
fn instructions_that_are_repeated_are_told_once() {
    let (_, items) = read();
    let labels: Vec<_> = turns(&items).into_iter().filter_map(|turn| turn.label.as_deref()).collect();
    assert_eq!(labels, ["info", "instructions", "abort", "compaction", "model"]);
}

#[test]
fn the_parts_of_the_cost_add_up_to_what_the_session_says() {
    let (_, items) = read();
    let mut by_key: BTreeMap<&str, Tokens> = BTreeMap::new();
    for item in &items {
        if let Item::Usage { key, model, tokens } = item
            && model.as_deref() == Some("claude-sonnet-4.5")
        {
            by_key.insert(key, *tokens);
        }
    }
    let sum = by_key.values().fold((0, 0, 0), |sum, t| (sum.0 + t.input, sum.1 + t.output, sum.2 + t.cache_read));
    assert_eq!(sum, (9900 - 7600 - 500, 210, 7600));
}

#[test]
fn folder_branch_remote_and_title_are_told() {
    let (_, items) = read();
    let contexts: Vec<_> = items.iter().filter_map(|i| if let Item::Context(c) = i { Some(c) } else { None }).collect();
    assert_eq!(contexts[0].git_remote.as_deref(), Some("https://github.com/baker/bakery"));
    assert_eq!(contexts[0].agent_version.as_deref(), Some("1.0.68"));
    assert_eq!(contexts[1].git_branch.as_deref(), Some("rye"));
    assert!(items.contains(&Item::Title(Title { text: "Rye bread".to_owned(), leaf: None })));
}

#[test]
fn every_kind_in_the_fixture_is_known() {
    let unknown: Vec<_> = read().1.into_iter().filter(|i| matches!(i, Item::Ignored { known: false, .. })).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
