//! Subagents inside their parent's file, going on in the middle of a file, and copied histories.

use super::{fixture, open, read, records};
use crate::ingest::record::{Item, Stream};
use crate::model::Role;

const INLINE: &str = "inline/10000000-0000-4000-8000-000000000001.jsonl";

fn inline(key: &str) -> Stream {
    Stream::Inline(format!("11111111-0000-4000-8000-0000000000{key}"))
}

#[test]
fn subagents_side_by_side_in_one_file_are_told_apart() {
    let read = read(INLINE);
    let of = |stream: &Stream| -> Vec<String> {
        let turns = read.turns().into_iter().filter(|t| t.stream == *stream);
        turns.map(|t| t.call.as_ref().map_or_else(|| t.text.clone(), |c| c.shell.clone().unwrap_or_default())).collect()
    };
    let left = ["Look at the left sensor.", "cat left", "Left reads 12 cm.", "That is all on the left."];
    assert_eq!(of(&inline("04")), left, "a parent that is not in the file: the chain of the record before");
    assert_eq!(of(&inline("05")), ["Look at the right sensor.", "cat right", "Right reads 15 cm."]);
    assert_eq!(of(&Stream::Main), ["Look at both sensors.", "", "", "12 and 15 cm."]);
    let results: Vec<_> = read.results().iter().map(|r| (r.call_id.as_str(), r.stream.clone())).collect();
    assert_eq!(
        results,
        [
            ("toolu_13", inline("04")),
            ("toolu_14", inline("05")),
            ("toolu_11", Stream::Main),
            ("toolu_12", Stream::Main),
        ]
    );
}

#[test]
fn a_subagents_own_file_is_the_main_stream() {
    for name in ["flat/agent-e1f2a3b4.jsonl", "flat/agent-e9.jsonl"] {
        assert!(read(name).turns().iter().all(|t| t.stream == Stream::Main), "{name}");
    }
}

#[test]
fn going_on_at_any_record_says_the_same_as_reading_at_once() {
    let names = [
        INLINE,
        "basic/a0000000-0000-4000-8000-00000000000a.jsonl",
        "notices/b0000000-0000-4000-8000-00000000000b.jsonl",
    ];
    for name in names {
        let path = fixture(name);
        let records = records(&path);
        let whole = read(name).items;
        for stop in 0..=records.len() {
            let mut items = Vec::new();
            let (_, mut parser) = open(&path, &records).expect("recognised");
            records[..stop].iter().for_each(|r| parser.record(r, &mut items));
            let state = serde_json::from_str(&parser.state().to_string()).expect("the state survives being stored");
            let (_, mut parser) = open(&path, &records).expect("recognised");
            parser.restore(&state);
            records[stop..].iter().for_each(|r| parser.record(r, &mut items));
            assert_eq!(items, whole, "{name} stopped after {stop} records");
        }
    }
}

#[test]
fn a_state_of_another_shape_is_forgotten() {
    let path = fixture(INLINE);
    let (_, mut parser) = open(&path, &records(&path)).expect("recognised");
    parser.restore(&serde_json::json!({"sidechains": 7}));
    parser.restore(&serde_json::Value::Null);
    let mut items = Vec::new();
    parser.record(&records(&path)[0], &mut items);
    assert!(matches!(items[..], [Item::Context(_), Item::Turn(_)]));
}

#[test]
fn what_is_remembered_of_sidechains_is_bounded() {
    let mut chains = super::super::sidechain::Sidechains::default();
    chains.follow(Some("root"), None);
    for i in 0..5000_u32 {
        let parent = if i == 0 { "root".to_owned() } else { (i - 1).to_string() };
        assert_eq!(chains.follow(Some(&i.to_string()), Some(&parent)), "root");
    }
    let size = serde_json::to_string(&chains).expect("serialises").len();
    assert!(size < 32 * 1024, "{size} bytes");
}

#[test]
fn a_fork_repeats_the_native_ids_of_its_parent() {
    let natives = |name: &str| -> Vec<_> { read(name).turns().iter().map(|t| t.native.clone()).collect() };
    let parent = natives("fork/20000000-0000-4000-8000-000000000002.jsonl");
    let fork = natives("fork/21000000-0000-4000-8000-000000000002.jsonl");
    assert_eq!(parent[..5], fork[..5]);
    assert!(parent[5..].iter().all(|id| !fork.contains(id)));
}

#[test]
fn a_resumed_copy_with_new_ids_repeats_the_message_keys() {
    let keys = |name: &str| -> Vec<_> { read(name).turns().iter().filter_map(|t| t.message_key.clone()).collect() };
    let old = read("resume-new-uuids/40000000-0000-4000-8000-000000000004.jsonl");
    let new = read("resume-new-uuids/41000000-0000-4000-8000-000000000004.jsonl");
    assert!(old.turns().iter().all(|t| new.turns().iter().all(|n| n.native != t.native)));
    assert_eq!(old.said(Role::User), ["Draw the dial."]);
    assert_eq!(keys("resume-new-uuids/40000000-0000-4000-8000-000000000004.jsonl"), ["msg_dial", "msg_ls"]);
    assert_eq!(
        keys("resume-new-uuids/41000000-0000-4000-8000-000000000004.jsonl"),
        ["msg_dial", "msg_ls", "msg_round"]
    );
}
