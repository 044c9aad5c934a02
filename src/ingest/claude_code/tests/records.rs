//! What each record type says.

use serde_json::{Value, json};

use super::{items_of, read, turns};
use crate::ingest::record::{Item, Stream};
use crate::model::{Millis, Role, Tokens, ToolStatus};

const BASIC: &str = "basic/a0000000-0000-4000-8000-00000000000a.jsonl";
const NOTICES: &str = "notices/b0000000-0000-4000-8000-00000000000b.jsonl";
const SUBAGENTS: &str = "subagents/c0000000-0000-4000-8000-00000000000c.jsonl";
const IMAGES: &str = "images/70000000-0000-4000-8000-000000000007.jsonl";
const QUEUED: &str = "queued/80000000-0000-4000-8000-000000000008.jsonl";

fn user(content: &Value) -> Value {
    json!({"type":"user","uuid":"u","sessionId":"s","message":{"role":"user","content":content}})
}

#[test]
fn prompts_are_verbatim_and_tell_where_they_come_from() {
    let read = read(BASIC);
    let prompt = read.turns()[0];
    assert_eq!(prompt.role, Role::User);
    assert_eq!(prompt.text, "Add a high-water alarm to the tide clock.\n\nKeep it  quiet at night — größer als 2 m.");
    assert_eq!(prompt.native.as_deref(), Some("aaaaaaaa-0000-4000-8000-000000000001#0"));
    assert_eq!(prompt.at, Millis::parse("2026-03-02T09:00:07.259Z"));
    assert_eq!(prompt.stream, Stream::Main);
    assert_eq!(read.said(Role::User).len(), 3);
}

#[test]
fn text_blocks_of_a_prompt_are_joined_by_an_empty_line() {
    let items = items_of(&[user(&json!([{"type":"text","text":"one "},{"type":"text","text":" two"}]))]);
    assert_eq!(turns(&items)[0].text, "one \n\n two");
}

#[test]
fn the_model_speaks_thinks_and_calls_in_the_order_of_the_file() {
    let read = read(BASIC);
    let roles: Vec<_> = read.turns().iter().map(|t| t.role.as_str()).collect();
    assert_eq!(
        roles,
        [
            "user",
            "thinking",
            "assistant",
            "tool",
            "tool",
            "assistant",
            "user",
            "tool",
            "tool",
            "user",
            "assistant",
            "tool",
            "assistant"
        ]
    );
    let said = read.turns()[2];
    assert_eq!(said.message_key.as_deref(), Some("msg_a01"));
    assert_eq!(said.model.as_deref(), Some("claude-opus-4-6"));
    assert!(read.ignored(true).contains(&"assistant/thinking"), "thinking without text makes no turn");
    assert!(read.ignored(false).is_empty());
}

#[test]
fn blocks_of_one_record_are_numbered() {
    let items = items_of(&[json!({"type":"assistant","uuid":"u","sessionId":"s","message":{"id":"m","content":[
        {"type":"redacted_thinking","data":"x"}, {"type":"text","text":" \n"}, {"type":"text","text":"a"},
        {"type":"server_hum"}, {"type":"tool_use","id":"c","name":"Read","input":{"b":1,"command":"x"}}
    ]}})]);
    let natives: Vec<_> = turns(&items).iter().filter_map(|t| t.native.clone()).collect();
    assert_eq!(natives, ["u#2", "u#4"]);
    assert_eq!(super::ignored(&items, false), ["assistant/server_hum"]);
    let call = turns(&items)[1].call.clone().expect("a call");
    assert_eq!((call.call_id.as_str(), call.name.as_str(), call.shell), ("c", "Read", None));
    assert_eq!(call.input, r#"{"b":1,"command":"x"}"#);
}

#[test]
fn content_may_be_a_string() {
    let items =
        items_of(&[json!({"type":"assistant","uuid":"u","sessionId":"s","message":{"id":"m","content":"hello"}})]);
    assert_eq!((turns(&items)[0].role, turns(&items)[0].text.as_str()), (Role::Assistant, "hello"));
}

#[test]
fn shell_calls_carry_their_command_line_and_results_their_output() {
    let read = read(BASIC);
    let shells: Vec<_> = read.turns().iter().filter_map(|t| t.call.as_ref()).filter_map(|c| c.shell.clone()).collect();
    assert_eq!(shells.len(), 3);
    assert_eq!(shells[1], "cd src && git commit -am \"$(cat <<'EOF'\nSilence the alarm at night\nEOF\n)\"");
    let results: Vec<_> = read.results().iter().map(|r| (r.call_id.as_str(), r.status)).collect();
    assert_eq!(
        results,
        [
            ("toolu_a1", ToolStatus::Ok),
            ("toolu_a2", ToolStatus::Ok),
            ("toolu_a3", ToolStatus::Error),
            ("toolu_a4", ToolStatus::Ok),
            ("toolu_a5", ToolStatus::Ok),
        ]
    );
    assert_eq!(read.results()[1].output, "[main 1a2b3c4] Add high-water alarm\n 1 file changed, 1 insertion(+)");
}

#[test]
fn output_of_many_kinds_becomes_text() {
    let read = read(SUBAGENTS);
    let outputs: Vec<_> = read.results().iter().map(|r| r.output.as_str()).collect();
    assert_eq!(
        outputs,
        [
            "Two readers: table.rs and alarm.rs.",
            "WebFetch\nWebSearch",
            "one\n{\"type\":\"resource\",\"uri\":\"tides://1\"}",
        ]
    );
}

#[test]
fn the_cost_is_said_once_a_record_under_the_key_of_its_message() {
    let read = read(BASIC);
    let usage: Vec<_> = read
        .items
        .iter()
        .filter_map(|i| if let Item::Usage { key, tokens, .. } = i { Some((key.as_str(), *tokens)) } else { None })
        .collect();
    let tokens = |output| Tokens { input: 3, output, cache_read: 900, cache_write: 100 };
    assert_eq!(usage[..2], [("msg_a01:req_a01", tokens(1)), ("msg_a01:req_a01", tokens(40))]);
}

#[test]
fn the_surroundings_are_said_when_they_change() {
    let read = read(BASIC);
    let contexts = read.contexts();
    assert_eq!(contexts.len(), 2);
    assert_eq!(contexts[0].cwd.as_deref(), Some("/home/ada/tide-clock"));
    assert_eq!(contexts[0].started_at, Millis::parse("2026-03-02T09:00:07.259Z"));
    let second = contexts[1];
    assert_eq!(second.cwd.as_deref(), Some("/home/ada/tide-clock/src"));
    assert_eq!((second.git_branch.as_deref(), second.agent_version.as_deref()), (Some("night"), Some("2.1.64")));
    assert_eq!(second.started_at, None);
}

#[test]
fn what_no_human_typed_is_labelled_and_kept_whole() {
    let read = read(NOTICES);
    assert_eq!(
        read.said(Role::User),
        ["<ide_opened_file>The user opened main.rs in the IDE.</ide_opened_file>\n\nRename ring to chime."]
    );
    let labels: Vec<_> = read.labels().iter().map(|(label, _)| *label).collect();
    assert_eq!(
        labels,
        [
            "caveat",
            "command",
            "command-output",
            "meta",
            "ide",
            "bash-input",
            "bash-output",
            "notification",
            "interrupted",
            "notice",
            "local_command",
            "away_summary",
            "hook",
            "hook"
        ]
    );
    let text = |label: &str| read.labels().into_iter().find(|(l, _)| *l == label).map(|(_, text)| text);
    assert_eq!(text("bash-output"), Some("<bash-stdout>ok</bash-stdout><bash-stderr></bash-stderr>"));
    assert_eq!(text("hook"), Some("tide is high\nwind is low"));
    assert_eq!(read.labels()[13].1, "lint failed");
    assert!(read.ignored(false).is_empty(), "{:?}", read.ignored(false));
}

#[test]
fn a_prompt_that_follows_a_notice_or_quotes_one_is_a_prompt() {
    for text in [
        "[Request interrupted by user]\n\nUse the other file.",
        "What does <command-name> mean?",
        "<ide_selection>unclosed, typed by a human",
        "<system-reminder>be kind</system-reminder>Go on.",
    ] {
        assert_eq!(turns(&items_of(&[user(&json!(text))]))[0].role, Role::User, "{text}");
    }
    for (text, label) in [
        ("<system-reminder>be kind</system-reminder>", "reminder"),
        ("<ide_opened_file>a</ide_opened_file>\n<command-name>/x</command-name>", "command"),
        ("<teammate-message teammate_id=\"a\">done</teammate-message>", "teammate"),
        ("This session is being continued from a previous conversation that ran out", "compaction"),
    ] {
        assert_eq!(turns(&items_of(&[user(&json!(text))]))[0].label.as_deref(), Some(label));
    }
}

#[test]
fn a_placeholder_of_the_program_has_no_model_and_no_cost() {
    let read = read(NOTICES);
    let placeholder = read.turns().into_iter().find(|t| t.role == Role::Assistant).expect("the error is shown");
    assert_eq!((placeholder.text.as_str(), &placeholder.model), ("API Error: Connection lost", &None));
    assert!(!read.items.iter().any(|i| matches!(i, Item::Usage { .. })));
}

#[test]
fn the_users_title_is_not_replaced_by_one_the_agent_finds_later() {
    let titles: Vec<_> = read(NOTICES).titles().iter().map(|t| t.text.clone()).collect();
    assert_eq!(titles, ["Chime instead of ring"]);
}

#[test]
fn a_compaction_is_a_notice_and_a_summary_and_nothing_before_it_is_lost() {
    let read = read("compaction/60000000-0000-4000-8000-000000000006.jsonl");
    let labels: Vec<_> = read.labels().iter().map(|(label, _)| *label).collect();
    assert_eq!(labels, ["compact_boundary", "compaction"]);
    assert_eq!(read.said(Role::User), ["Port the clock to the new board.", "Good."]);
    assert!(read.ignored(true).contains(&"system/microcompact_boundary"));
}

#[test]
fn pictures_are_decoded_wherever_they_are() {
    let read = read(IMAGES);
    let prompts: Vec<_> = read.turns().into_iter().filter(|t| t.role == Role::User).collect();
    let counts: Vec<_> = prompts.iter().map(|t| (t.text.as_str(), t.images.len())).collect();
    assert_eq!(
        counts,
        [
            ("[Image #1] What is wrong with this dial?", 1),
            ("", 1),
            ("Use this picture instead:", 1),
            ("A broken one:", 0),
        ]
    );
    assert_eq!(prompts[0].images[0].mime, "image/png");
    assert!(prompts[0].images[0].bytes.starts_with(b"\x89PNG\r\n"));
    assert_eq!(prompts[1].native.as_deref().map(|n| n.ends_with("#0")), Some(true));
    let results: Vec<_> = read.results().iter().map(|r| (r.output.as_str(), r.images.len())).collect();
    assert_eq!(results, [("", 1), ("Took a screenshot", 1), ("refused", 0)]);
    assert_eq!(read.results()[0].images[0], prompts[0].images[0], "not once more from toolUseResult");
    assert_eq!(read.ignored(true), ["user/image", "user/document"]);
}

#[test]
fn a_prompt_typed_during_a_call_is_a_prompt() {
    let read = read(QUEUED);
    assert_eq!(read.said(Role::User), ["Run all tests.", "also the slow ones", "like here"]);
    let queued: Vec<_> = read.turns().into_iter().filter(|t| t.role == Role::User).skip(1).collect();
    assert!(queued[0].native.is_some());
    assert_eq!((&queued[1].native, queued[1].images.len()), (&None, 1));
    assert_eq!(read.labels(), [("notification", "build finished")]);
    assert_eq!(read.ignored(true), ["queue-operation", "queue-operation"]);
}

#[test]
fn a_subagents_warm_up_is_a_prompt_of_its_own() {
    assert_eq!(read("flat/agent-e9.jsonl").said(Role::User), ["Warmup"]);
}
