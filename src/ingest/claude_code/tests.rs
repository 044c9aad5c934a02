//! What holds of the Claude Code parser, on the fixtures in `tests/fixtures/claude_code` and, where present, on real logs.

mod damaged;
mod identity;
mod real;
mod records;
mod streams;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::open;
use crate::ingest::record::{Context, Item, NewTurn, SessionHead, Title, ToolResult};
use crate::model::Role;

/// What a parser said of a file.
struct Read {
    head: SessionHead,
    items: Vec<Item>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/claude_code").join(name)
}

/// The records of a file; what is no JSON is left out, as the reader of files does.
fn records(path: &Path) -> Vec<Value> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let text = String::from_utf8_lossy(&bytes);
    text.lines().flat_map(|line| serde_json::Deserializer::from_str(line).into_iter().map_while(Result::ok)).collect()
}

fn read_path(path: &Path) -> Read {
    let records = records(path);
    let (head, mut parser) =
        open(path, &records[..records.len().min(50)]).unwrap_or_else(|| panic!("{} is not recognised", path.display()));
    let mut items = Vec::new();
    records.iter().for_each(|record| parser.record(record, &mut items));
    Read { head, items }
}

fn read(name: &str) -> Read {
    read_path(&fixture(name))
}

/// The items of single records, in a session's own file.
fn items_of(records: &[Value]) -> Vec<Item> {
    let (_, mut parser) = open(Path::new("session.jsonl"), records).expect("the records are recognised");
    let mut items = Vec::new();
    records.iter().for_each(|record| parser.record(record, &mut items));
    items
}

impl Read {
    fn turns(&self) -> Vec<&NewTurn> {
        turns(&self.items)
    }

    fn said(&self, role: Role) -> Vec<&str> {
        self.turns().into_iter().filter(|t| t.role == role).map(|t| t.text.as_str()).collect()
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        let system = self.turns().into_iter().filter(|t| t.role == Role::System);
        system.map(|t| (t.label.as_deref().unwrap_or("none"), t.text.as_str())).collect()
    }

    fn results(&self) -> Vec<&ToolResult> {
        self.items.iter().filter_map(|i| if let Item::Result(r) = i { Some(r) } else { None }).collect()
    }

    fn titles(&self) -> Vec<&Title> {
        self.items.iter().filter_map(|i| if let Item::Title(t) = i { Some(t) } else { None }).collect()
    }

    fn contexts(&self) -> Vec<&Context> {
        self.items.iter().filter_map(|i| if let Item::Context(c) = i { Some(c) } else { None }).collect()
    }

    fn ignored(&self, wanted: bool) -> Vec<&str> {
        ignored(&self.items, wanted)
    }
}

fn turns(items: &[Item]) -> Vec<&NewTurn> {
    items.iter().filter_map(|i| if let Item::Turn(t) = i { Some(t) } else { None }).collect()
}

fn ignored(items: &[Item], wanted: bool) -> Vec<&str> {
    let kind = |i| match i {
        &Item::Ignored { ref kind, known } if known == wanted => Some(kind.as_str()),
        _ => None,
    };
    items.iter().filter_map(kind).collect()
}
