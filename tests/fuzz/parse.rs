//! A log through its parser alone: recognised, read line by line, translated, and once more in two halves.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use cogfs::ingest::collection::Found;
use cogfs::ingest::lines::{self, Lines};
use cogfs::ingest::record::{Item, Parser, SessionHead};
use cogfs::ingest::{Recognised, recognise};
use serde_json::Value;

use crate::mutate::Random;

/// Reads a log of this name with these bytes, in a folder of its own.
pub fn check(name: &Path, bytes: &[u8], random: &mut Random) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    let Some((_, parser, records)) = read(&path, bytes) else { return };
    let whole = translated(parser, &records);
    // What an import remembers when it stops in the middle is all it needs to go on.
    let (Some((_, mut first, _)), Some((_, mut second, _))) = (read(&path, bytes), read(&path, bytes)) else { return };
    let at = random.below(records.len() + 1);
    let mut halves = Vec::new();
    records[..at].iter().for_each(|record| first.record(record, &mut halves));
    let state: Value = serde_json::from_str(&first.state().to_string()).unwrap();
    second.restore(&state);
    records[at..].iter().for_each(|record| second.record(record, &mut halves));
    second.finish(&mut halves);
    if let Some(n) = (0..whole.len().max(halves.len())).find(|n| whole.get(*n) != halves.get(*n)) {
        panic!("stopped behind record {at}, item {n} is {:?}, else {:?}", halves.get(n), whole.get(n));
    }
}

type Read = (SessionHead, Box<dyn Parser>, Vec<Value>);

fn read(path: &Path, bytes: &[u8]) -> Option<Read> {
    match recognise(path).unwrap() {
        Recognised::Lines(head, parser) => Some((head, parser, records(bytes))),
        Recognised::Document(head, parser, document) | Recognised::Tree(head, parser, document, _) => {
            let records = parser.split(document);
            Some((head, parser, records))
        }
        Recognised::Collection(mut collection) => {
            let mut first = None;
            let give = &mut |found| match found {
                Found::Conversation(entry) => {
                    first = Some(entry);
                    false
                }
                _ => true,
            };
            // What is wrong with its rest is told.
            let _ = collection.read(&HashSet::new(), give);
            first.map(|entry| (entry.head, entry.parser.split(entry.document), entry.parser)).map(|(h, r, p)| (h, p, r))
        }
        Recognised::Database | Recognised::Empty | Recognised::Other => None,
    }
}

fn records(bytes: &[u8]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut lines = Lines::new(bytes, 0, 1);
    while let Some(line) = lines.next().unwrap() {
        let found = lines::records(line.bytes);
        let parts = lines::split(line.bytes, &found);
        assert!(!parts.is_empty(), "a line's bytes are kept nowhere");
        all.extend(found.values);
    }
    all
}

fn translated(mut parser: Box<dyn Parser>, records: &[Value]) -> Vec<Item> {
    let mut items = Vec::new();
    records.iter().for_each(|record| parser.record(record, &mut items));
    parser.finish(&mut items);
    items.iter_mut().for_each(Item::bound);
    items
}
