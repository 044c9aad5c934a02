//! Broken and unheard-of input: nothing fails, nothing readable is lost.

use serde_json::{Value, json};

use super::{fixture, items_of, open, read, records};
use crate::model::Role;

const DAMAGED: &str = "../../damaged_logs/claude_code/d0000000-0000-4000-8000-00000000000d.jsonl";

#[test]
fn whole_records_of_a_damaged_file_are_read() {
    let read = read(DAMAGED);
    let prompts = read.said(Role::User);
    assert_eq!(
        prompts[..4],
        ["Start.", "\u{1b}[31mred\u{1b}[0m and \0 nul", "First of two with one uuid.", "Second of two with one uuid.",]
    );
    assert_eq!(prompts[4], "My parent is nowhere.");
    assert_eq!(read.said(Role::Assistant), ["Started.", "The last whole line."]);
    assert_eq!(read.titles()[0].text, "Two on a line", "the second record of a line");
}

#[test]
fn what_is_not_understood_is_named() {
    let read = read(DAMAGED);
    assert_eq!(
        read.ignored(false),
        [
            "not an object",
            "hologram",
            "assistant/hum",
            "assistant/no message",
            "attachment/novelty",
            "system/novelty",
            "user/tool_result",
        ]
    );
    assert_eq!(read.ignored(true), ["user/empty"]);
}

#[test]
fn a_uuid_used_twice_gives_two_turns_with_one_native_id() {
    let read = read(DAMAGED);
    let twice: Vec<_> = read.turns().into_iter().filter(|t| t.text.ends_with("one uuid.")).collect();
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].native, twice[1].native);
}

#[test]
fn an_empty_file_is_no_transcript_and_a_last_line_needs_no_newline() {
    let empty = fixture("../../damaged_logs/claude_code/empty.jsonl");
    assert!(open(&empty, &records(&empty)).is_none());
    let read = read("../../damaged_logs/claude_code/no-final-newline.jsonl");
    assert_eq!(read.said(Role::User), ["No newline after me."]);
    assert_eq!(read.head.native_id, "session-n");
}

#[test]
fn any_json_in_any_place_is_survived() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!("x"),
        json!([]),
        json!([1, null, {}]),
        json!({}),
        json!({"type": 7}),
    ];
    let base = json!({"type":"user","uuid":"u","sessionId":"s","message":{"content":"x"}});
    let mut all: Vec<Value> = vec![base.clone()];
    for kind in ["user", "assistant", "system", "attachment", "summary", "ai-title", "progress", "new"] {
        for odd in &odd {
            for field in
                ["message", "attachment", "uuid", "timestamp", "content", "toolUseResult", "isSidechain", "cwd"]
            {
                let mut record = base.clone();
                record["type"] = json!(kind);
                record[field] = odd.clone();
                all.push(record);
            }
            all.push(
                json!({"type": kind, "uuid": "u", "message": {"id": odd, "content": odd, "usage": odd, "model": odd}}),
            );
            let block =
                json!({"type":"tool_result","tool_use_id":"t","content":odd,"source":odd,"input":odd,"is_error":odd});
            all.push(
                json!({"type": kind, "uuid": "u", "message": {"content": [block]}, "toolUseResult": {"agentId": odd}}),
            );
        }
    }
    all.extend(odd);
    let items = items_of(&all);
    assert!(items.len() >= all.len(), "each record says something: {} of {}", items.len(), all.len());
}
