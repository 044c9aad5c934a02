//! The same parser on a collection of real logs, where there is one (`COGFS_TEST_DATA`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Read, read_path, records};
use crate::ingest::record::Item;
use crate::ingest::record::NewTurn;
use crate::model::Role;

/// Kinds that the collection holds and the parser does not know; empty while it knows all.
const EXPECTED_UNKNOWN: [&str; 0] = [];

fn data() -> Option<PathBuf> {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("COGFS_TEST_DATA").map_or_else(default, PathBuf::from).join("claude-code");
    folder.is_dir().then_some(folder)
}

/// Every log of the collection that has a record.
fn logs() -> Vec<(PathBuf, Vec<Value>)> {
    let Some(folder) = data() else {
        eprintln!("SKIPPED: no real logs; set COGFS_TEST_DATA to a folder that has claude-code/ in it");
        return Vec::new();
    };
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    let logs = files.map(walkdir::DirEntry::into_path).filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
    logs.map(|path| (path.clone(), records(&path))).filter(|(_, records)| !records.is_empty()).collect()
}

/// What a file holds, counted without the parser.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    prompts_and_notices: usize,
    assistant: usize,
    thinking: usize,
    calls: usize,
    results: usize,
    images: usize,
}

fn counted(records: &[Value]) -> Counts {
    let mut counts = Counts::default();
    for record in records {
        let blocks = match &record["message"]["content"] {
            Value::String(text) => vec![serde_json::json!({"type":"text","text":text})],
            Value::Array(blocks) => blocks.clone(),
            _ => Vec::new(),
        };
        let is = |block: &Value, kind: &str| block["type"] == kind;
        let full = |block: &Value, key: &str| !block[key].as_str().unwrap_or_default().trim().is_empty();
        let count = |test: &dyn Fn(&Value) -> bool| blocks.iter().filter(|b| test(b)).count();
        match record["type"].as_str() {
            Some("user") => {
                let said = count(&|b| is(b, "text") && full(b, "text")) + count(&|b| is(b, "image"));
                counts.prompts_and_notices += usize::from(said > 0);
                counts.results += count(&|b| is(b, "tool_result"));
                let inner = blocks.iter().filter_map(|b| b["content"].as_array()).flatten().filter(|b| is(b, "image"));
                counts.images += count(&|b| is(b, "image")) + inner.count();
            }
            Some("assistant") => {
                counts.assistant += count(&|b| is(b, "text") && full(b, "text"));
                counts.thinking += count(&|b| is(b, "thinking") && full(b, "thinking"));
                counts.calls += count(&|b| is(b, "tool_use"));
            }
            _ => {}
        }
    }
    counts
}

fn said(read: &Read) -> Counts {
    // Notices that are not from `user` records.
    const OTHERS: [&str; 6] = ["notice", "compact_boundary", "api_error", "local_command", "away_summary", "hook"];
    // Prompts that only the queue's records hold are counted where the queue is tested.
    let queued = |t: &&NewTurn| t.native.as_deref().is_some_and(|native| native.starts_with("queue/"));
    let of = |role| read.turns().into_iter().filter(move |t| t.role == role && !queued(t));
    let system = of(Role::System).filter(|t| !t.label.as_deref().is_some_and(|l| OTHERS.contains(&l)));
    let shown: usize = read.turns().iter().map(|t| t.images.len()).sum();
    let returned: usize = read.results().iter().map(|r| r.images.len()).sum();
    Counts {
        prompts_and_notices: of(Role::User).count() + system.count(),
        assistant: of(Role::Assistant).count(),
        thinking: of(Role::Thinking).count(),
        calls: of(Role::Tool).count(),
        results: read.results().len(),
        images: shown + returned,
    }
}

#[test]
fn real_logs_lose_nothing_on_the_way_to_turns() {
    for (path, records) in logs() {
        let read = read_path(&path);
        assert_eq!(said(&read), counted(&records), "{}", path.display());
    }
}

#[test]
fn real_logs_hold_nothing_unheard_of() {
    let mut unknown = BTreeMap::new();
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for (path, _) in logs() {
        let read = read_path(&path);
        for item in &read.items {
            *kinds.entry(kind(item)).or_default() += 1;
        }
        for kind in read.ignored(false) {
            unknown.entry(kind.to_owned()).or_insert_with(|| path.clone());
        }
    }
    eprintln!("{kinds:#?}");
    unknown.retain(|kind, _| !EXPECTED_UNKNOWN.contains(&kind.as_str()));
    assert!(unknown.is_empty(), "kinds never seen before: {unknown:#?}");
}

fn kind(item: &Item) -> String {
    match item {
        Item::Context(_) => "context".to_owned(),
        Item::Turn(turn) => format!("turn/{}/{}", turn.role.as_str(), turn.label.as_deref().unwrap_or("-")),
        Item::Result(_) => "result".to_owned(),
        Item::Usage { .. } => "usage".to_owned(),
        Item::Title(_) => "title".to_owned(),
        Item::Committed { .. } => "committed".to_owned(),
        Item::Ignored { kind, known } => format!("ignored/{kind}/{known}"),
    }
}

#[test]
fn real_subagents_are_linked_to_the_calls_that_started_them() {
    let reads: Vec<_> = logs().iter().map(|(path, _)| read_path(path)).collect();
    let started: Vec<_> =
        reads.iter().flat_map(|r| r.results().into_iter().filter_map(|r| r.subagent.clone())).collect();
    let subagents: Vec<_> = reads.iter().filter(|r| r.head.parent.is_some()).map(|r| &r.head).collect();
    // Only what was called is linked: warm-ups are started by the program.
    for head in subagents.iter().filter(|head| head.parent.as_deref().is_some_and(|p| is_read(&reads, p))) {
        let warm_up = reads.iter().any(|r| r.head == **head && r.turns().len() <= 2);
        assert!(warm_up || started.contains(&head.native_id), "nothing started {}", head.native_id);
    }
}

fn is_read(reads: &[Read], session: &str) -> bool {
    reads.iter().any(|r| r.head.native_id == session)
}
