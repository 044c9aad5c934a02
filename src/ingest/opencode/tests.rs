//! The parser by itself: what each record says.

use serde_json::{Value, json};

use super::*;
use crate::model::ToolStatus;

fn session() -> Value {
    json!({"id": "ses_1", "projectID": "p", "directory": "/w/app", "title": "Fix the app", "version": "1.2.24",
        "time": {"created": 1000, "updated": 9000}})
}

fn message(id: &str, role: &str) -> Value {
    json!({"id": id, "sessionID": "ses_1", "role": role, "time": {"created": 2000, "completed": 3000}, "modelID": "m-1",
        "providerID": "p"})
}

fn part(id: &str, mut fields: Value) -> Value {
    for (key, value) in [("id", id), ("messageID", "msg_1"), ("sessionID", "ses_1")] {
        fields[key] = json!(value);
    }
    fields
}

/// What records say, after those of a session and a message with this role.
fn items(role: &str, parts: &[Value]) -> Vec<Item> {
    let (_, mut parser) = open_session(&session(), None);
    let mut out = Vec::new();
    parser.record(&session(), &mut out);
    parser.record(&message("msg_1", role), &mut out);
    out.clear();
    for part in parts {
        parser.record(part, &mut out);
    }
    parser.finish(&mut out);
    out
}

fn turns(items: Vec<Item>) -> Vec<NewTurn> {
    items.into_iter().filter_map(|item| if let Item::Turn(turn) = item { Some(turn) } else { None }).collect()
}

#[test]
fn who_speaks_is_told_by_the_message_and_the_marks_of_the_part() {
    let text = |more: Value| {
        let mut part = part("prt_1", json!({"type": "text", "text": "Hello."}));
        part.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        part
    };
    for (role, more, wanted) in [
        ("user", json!({}), (Role::User, None)),
        ("user", json!({"synthetic": true}), (Role::System, Some("meta"))),
        ("user", json!({"ignored": true}), (Role::System, Some("notice"))),
        ("assistant", json!({}), (Role::Assistant, None)),
        ("assistant", json!({"type": "reasoning"}), (Role::Thinking, None)),
    ] {
        let [turn] = &turns(items(role, &[text(more)]))[..] else { panic!("one turn of {role}") };
        assert_eq!((turn.role, turn.label.as_deref()), wanted);
        assert_eq!(turn.native.as_deref(), Some("ses_1/prt_1"));
        assert!(turn.revises);
    }
}

#[test]
fn a_tool_part_is_a_call_and_once_it_ended_a_result() {
    let state = |status: &str, more: Value| {
        let mut state = json!({"status": status, "input": {"command": "ls"}, "time": {"start": 5, "end": 6}});
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        part("prt_1", json!({"type": "tool", "tool": "bash", "callID": "call_0", "state": state}))
    };
    for (part, wanted) in [
        (state("pending", json!({})), None),
        (state("running", json!({})), None),
        (state("completed", json!({"output": "a", "metadata": {"exit": 0}})), Some((ToolStatus::Ok, "a"))),
        (state("completed", json!({"output": "b", "metadata": {"exit": 2}})), Some((ToolStatus::Error, "b"))),
        (state("error", json!({"error": "no"})), Some((ToolStatus::Error, "no"))),
    ] {
        let found = items("assistant", &[part]);
        let Some(Item::Turn(turn)) = found.first() else { panic!("no call: {found:?}") };
        let call = turn.call.as_ref().expect("a call");
        assert_eq!((call.name.as_str(), call.shell.as_deref()), ("bash", Some("ls")));
        let result = found.iter().find_map(|item| if let Item::Result(result) = item { Some(result) } else { None });
        assert_eq!(result.map(|r| (r.status, r.output.as_str())), wanted);
        assert!(result.is_none_or(|r| r.call_id == call.call_id));
    }
}

#[test]
fn ids_taken_out_as_secrets_name_nothing() {
    let text = |text: &str| json!({"id": "REDACTED", "messageID": "msg_1", "sessionID": "ses_1", "type": "text", "text": text});
    let document = json!({"info": session(), "messages": [
        {"info": message("msg_1", "user"), "parts": [text("One."), text("Two.")]}]});
    let (_, mut parser) = open(Path::new("x.json"), std::slice::from_ref(&document)).expect("an export");
    let mut out = Vec::new();
    for record in parser.split(document) {
        parser.record(&record, &mut out);
    }
    let natives: Vec<_> = turns(out).into_iter().map(|turn| (turn.native, turn.revises)).collect();
    assert_eq!(natives, [(None, false), (None, false)]);
}

#[test]
fn what_a_message_cost_is_said_behind_its_parts() {
    let (_, mut parser) = open_session(&session(), None);
    let mut out = Vec::new();
    let mut told = message("msg_1", "assistant");
    // This version leaves reasoning out of the output.
    told["tokens"] =
        json!({"total": 118, "input": 10, "output": 5, "reasoning": 3, "cache": {"read": 100, "write": 0}});
    parser.record(&told, &mut out);
    parser.record(&part("prt_1", json!({"type": "text", "text": "Hello."})), &mut out);
    assert!(!out.iter().any(|item| matches!(item, Item::Usage { .. })));
    let state = parser.state();
    let (_, mut parser) = open_session(&session(), None);
    parser.restore(&state);
    parser.record(&message("msg_2", "user"), &mut out);
    let usage = out
        .iter()
        .find_map(|item| if let Item::Usage { model, tokens, .. } = item { Some((model, tokens)) } else { None });
    let tokens = Tokens { input: 10, output: 8, cache_read: 100, cache_write: 0 };
    assert_eq!(usage, Some((&Some("m-1".to_owned()), &tokens)));
}

#[test]
fn the_title_that_every_session_has_is_none() {
    for (title, wanted) in [
        ("New session - 2026-03-01T10:00:00.000Z", None),
        ("Child session - 2026-03-01T10:00:00.000Z", None),
        ("New session - for the harbour", Some("New session - for the harbour")),
        ("Fix the app", Some("Fix the app")),
    ] {
        assert_eq!(record::title(&json!({ "title": title })), wanted);
    }
}

#[test]
fn a_row_is_the_record_that_an_export_has() {
    let columns = json!({"id": "ses_1", "project_id": "p", "parent_id": null, "summary_additions": 3, "share_url": "u",
        "tokens_input": 1, "tokens_cache_read": 2, "time_created": 5, "time_updated": 6, "time_archived": null});
    let Value::Object(columns) = columns else { panic!("an object") };
    let wanted = json!({"id": "ses_1", "projectID": "p", "summary": {"additions": 3}, "share": {"url": "u"},
        "tokens": {"input": 1, "cache": {"read": 2}}, "time": {"created": 5, "updated": 6}});
    assert_eq!(record::session_of_columns(columns), wanted);
}

#[test]
fn unknown_parts_and_records_are_told_and_known_ones_are_not() {
    for (fields, known) in [(json!({"type": "patch"}), true), (json!({"type": "hologram"}), false)] {
        let found = items("assistant", &[part("prt_1", fields)]);
        assert!(matches!(found[..], [Item::Ignored { known: k, .. }] if k == known), "{found:?}");
    }
}

#[test]
fn a_path_named_by_a_part_is_not_a_picture() {
    for url in ["file:///etc/passwd", "https://example.org/a.png", "data:image/png;base64,!!"] {
        let file = part("prt_1", json!({"type": "file", "mime": "image/png", "url": url}));
        assert!(turns(items("user", &[file])).is_empty(), "{url}");
    }
}
