//! Whose file it is.

use std::path::Path;

use serde_json::{Value, json};

use super::{items_of, open, read};
use crate::ingest::record::Item;
use crate::model::Agent;

const SESSION: &str = "a0000000-0000-4000-8000-00000000000a";

fn user(session: &str) -> Value {
    json!({"type":"user","uuid":"u1","sessionId":session,"isSidechain":false,"message":{"role":"user","content":"hi"}})
}

fn id_of(path: &str, head: &[Value]) -> Option<String> {
    open(Path::new(path), head).map(|(head, _)| head.native_id)
}

#[test]
fn a_file_named_by_a_uuid_has_that_id_whatever_its_records_say() {
    assert_eq!(id_of(&format!("/p/{SESSION}.jsonl"), &[user("other")]).as_deref(), Some(SESSION));
}

#[test]
fn other_names_yield_to_the_session_id_of_the_records() {
    assert_eq!(id_of("/p/00.jsonl", &[json!({"type":"mode","uuid":"m"}), user(SESSION)]).as_deref(), Some(SESSION));
    let dated = format!("/p/2026-01-05-{SESSION}.jsonl");
    assert_eq!(id_of(&dated, &[user(SESSION)]).as_deref(), Some(SESSION));
    assert_eq!(id_of(&dated, &[user("other"), user(SESSION)]).as_deref(), Some(SESSION), "a fork starts with copies");
    assert_eq!(id_of(&dated, &[user("other")]).as_deref(), Some("other"));
    let summary = json!({"type":"summary","summary":"t","leafUuid":"l"});
    assert_eq!(id_of("/p/notes.jsonl", &[summary]).as_deref(), Some("notes"));
}

#[test]
fn a_name_that_is_no_ascii_is_no_trouble() {
    assert_eq!(id_of("/p/ééééééééééééééééééééééééééééé.jsonl", &[user("s")]).as_deref(), Some("s"));
}

#[test]
fn records_of_other_programs_are_not_claimed() {
    let foreign = [
        json!({"timestamp":"2026-01-01T00:00:00Z","type":"session_meta","payload":{"id":"x"}}),
        json!({"timestamp":"2026-01-01T00:00:00Z","type":"response_item","payload":{"type":"message"}}),
        json!({"id":"m1","timestamp":"2026-01-01T00:00:00Z","type":"user","content":[{"text":"hi"}]}),
        json!({"display":"hi","timestamp":1,"project":"/p","sessionId":"s"}),
        json!({"type":"assistant","message":{"content":[]},"session_id":"s","uuid":"u"}),
        json!({"type":"system","subtype":"init","session_id":"s","uuid":"u"}),
        json!("user"),
    ];
    assert_eq!(id_of(&format!("/p/{SESSION}.jsonl"), &foreign), None);
    assert_eq!(id_of("/p/a.jsonl", &[]), None);
}

#[test]
fn a_subagent_in_the_session_folder_is_named_after_it_and_described_by_its_meta_file() {
    let session = "c0000000-0000-4000-8000-00000000000c";
    let head = read(&format!("subagents/{session}/subagents/agent-c1a2b3c.jsonl")).head;
    assert_eq!(head.agent, Agent::ClaudeCode);
    assert_eq!(head.native_id, format!("{session}/agent-c1a2b3c"));
    assert_eq!(head.parent.as_deref(), Some(session));
    assert_eq!(head.subagent_kind.as_deref(), Some("Explore"));
    assert_eq!(head.description.as_deref(), Some("Find readers"));
}

#[test]
fn a_subagent_of_a_workflow_belongs_to_the_session_above_its_folders() {
    let record = json!({"type":"user","uuid":"u","sessionId":"inner","isSidechain":true,"agentId":"w1","message":{}});
    let path = format!("/p/{SESSION}/subagents/workflows/wf/agent-w1.jsonl");
    assert_eq!(id_of(&path, &[record]).as_deref(), Some(format!("{SESSION}/agent-w1").as_str()));
}

#[test]
fn a_subagent_beside_its_parent_is_linked_by_the_inner_session_id() {
    let head = read("flat/agent-e1f2a3b4.jsonl").head;
    assert_eq!(head.native_id, "e0000000-0000-4000-8000-00000000000e/agent-e1f2a3b4");
    assert_eq!(head.parent.as_deref(), Some("e0000000-0000-4000-8000-00000000000e"));
    assert_eq!((head.subagent_kind, head.description), (None, None));
}

#[test]
fn a_call_names_the_subagent_as_the_subagents_own_file_does() {
    for (file, agent) in [
        (
            "subagents/c0000000-0000-4000-8000-00000000000c",
            "c0000000-0000-4000-8000-00000000000c/subagents/agent-c1a2b3c",
        ),
        ("flat/e0000000-0000-4000-8000-00000000000e", "agent-e1f2a3b4"),
    ] {
        let folder = file.split('/').next().unwrap_or_default();
        let named: Vec<_> =
            read(&format!("{file}.jsonl")).results().iter().filter_map(|r| r.subagent.clone()).collect();
        assert_eq!(named, [read(&format!("{folder}/{agent}.jsonl")).head.native_id]);
    }
}

#[test]
fn a_subagent_that_only_the_text_of_a_result_names_is_linked() {
    let result = |content: Value| {
        let block = json!({"type":"tool_result","tool_use_id":"t","content":content});
        items_of(&[json!({"type":"user","uuid":"u","sessionId":"s","message":{"content":[block]}})])
    };
    let named =
        |items: Vec<Item>| items.into_iter().find_map(|i| if let Item::Result(r) = i { r.subagent } else { None });
    let text = "agentId: b2 (use SendMessage to continue)";
    let blocks = json!([{"type":"text","text":"Done."},{"type":"text","text":text}]);
    assert_eq!(named(result(blocks)).as_deref(), Some("s/agent-b2"));
    assert_eq!(named(result(json!(text))), None, "a printed transcript starts nothing");
}

#[test]
fn a_subagents_subagent_lies_in_the_root_sessions_folder() {
    let read = read("subagents/c0000000-0000-4000-8000-00000000000c/subagents/agent-c1a2b3c.jsonl");
    let named: Vec<_> = read.results().iter().filter_map(|r| r.subagent.clone()).collect();
    assert_eq!(named, ["c0000000-0000-4000-8000-00000000000c/agent-d4e5f60"]);
}

#[test]
fn a_title_may_be_about_a_record_of_another_file() {
    let read = read("summary/90000000-0000-4000-8000-000000000009.jsonl");
    assert_eq!(read.head.native_id, "90000000-0000-4000-8000-000000000009");
    let titles: Vec<_> = read.titles().iter().map(|t| (t.text.as_str(), t.leaf.as_deref())).collect();
    assert_eq!(
        titles,
        [
            ("High-water alarm", Some("aaaaaaaa-0000-4000-8000-000000000002")),
            ("Choice of a dial colour", Some("22222222-0000-4000-8000-000000000005")),
        ]
    );
}
