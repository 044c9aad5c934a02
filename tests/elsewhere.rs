//! What one machine has shows on another: facts and contents leave a store as the wire has them, and come into another one. No
//! network: a map stands for the cloud.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use cogfs::cloud::wire::{Change, FetchedSession, Kind, RawChunk, Row, TurnContents, UsageContents};
use cogfs::fs::{CogFs, DirEntry, NodeKind};
use cogfs::ingest::{Options, import};
use cogfs::model::Id;
use cogfs::store::{Layout, Writer};
use cogfs::sync::contents::{self, Stored};
use cogfs::sync::facts::{self, Applied, Cursor, Nothing};
use cogfs::upkeep::repair::{self, Mode};

/// What the cloud would hold.
#[derive(Default)]
struct Cloud {
    seq: i64,
    rows: BTreeMap<Id, Row>,
    turns: BTreeMap<Id, BTreeMap<u32, TurnContents>>,
    raw: BTreeMap<Id, BTreeMap<u32, RawChunk>>,
    usage: BTreeMap<Id, BTreeMap<Id, UsageContents>>,
}

impl Cloud {
    /// Takes a change, as it comes over the wire.
    fn take(&mut self, change: &Change) {
        let text = serde_json::to_string(change).unwrap();
        match serde_json::from_str(&text).unwrap() {
            Change::Facts { kind, id, rank, facts, .. } => {
                let known = self.rows.get(&id);
                if facts.is_none() || known.is_some_and(|row| row.rank > rank || row.facts == facts) {
                    return;
                }
                self.seq += 1;
                let row = Row { facts, rank, seq: self.seq, ..row(kind, id) };
                self.rows.insert(id, row);
            }
            Change::Turns { session, turns } => {
                self.turns.entry(session).or_default().extend(turns.into_iter().map(|turn| (turn.number, turn)));
            }
            Change::Raw { session, chunks } => {
                self.raw.entry(session).or_default().extend(chunks.into_iter().map(|chunk| (chunk.number, chunk)));
            }
            Change::Usage { session, usage } => {
                self.usage.entry(session).or_default().extend(usage.into_iter().map(|usage| (usage.key, usage)));
            }
            Change::Merged { kind, id, into } => {
                self.seq += 1;
                let moved = Row { merged_into: Some(into), seq: self.seq, ..row(kind, id) };
                self.rows.insert(id, moved);
            }
            Change::Forget { kind, id } => {
                self.seq += 1;
                let gone = Row { forgotten: true, seq: self.seq, ..row(kind, id) };
                self.rows.insert(id, gone);
                for contents in [self.turns.remove(&id).is_some(), self.raw.remove(&id).is_some()] {
                    let _ = contents;
                }
            }
            Change::Fields { .. } => panic!("fields are not pushed here"),
        }
    }

    /// All rows, in the order of their numbers, as they come over the wire.
    fn rows(&self) -> Vec<Row> {
        let text = serde_json::to_string(&self.rows.values().collect::<Vec<_>>()).unwrap();
        let mut rows: Vec<Row> = serde_json::from_str(&text).unwrap();
        rows.sort_by_key(|row| row.seq);
        rows
    }

    fn fetch(&self, id: &Id) -> FetchedSession {
        let fetched = FetchedSession {
            row: self.rows[id].clone(),
            turns: self.turns.get(id).map(|turns| turns.values().cloned().collect()).unwrap_or_default(),
            raw: self.raw.get(id).map(|raw| raw.values().cloned().collect()).unwrap_or_default(),
            usage: self.usage.get(id).map(|usage| usage.values().cloned().collect()).unwrap_or_default(),
        };
        serde_json::from_str(&serde_json::to_string(&fetched).unwrap()).unwrap()
    }

    fn sessions(&self) -> Vec<Id> {
        self.rows.values().filter(|row| row.kind == Kind::Session && !row.forgotten).map(|row| row.id).collect()
    }
}

fn row(kind: Kind, id: Id) -> Row {
    Row {
        kind,
        id,
        seq: 0,
        version: 0,
        fields_at: None,
        fields_by: None,
        facts_by: None,
        rank: 0,
        facts: None,
        fields: serde_json::Map::new(),
        turn: None,
        merged_into: None,
        forgotten: false,
    }
}

/// A machine's store.
struct Machine {
    _dir: tempfile::TempDir,
    layout: Layout,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("data"));
        drop(Writer::open(&layout).unwrap());
        Self { _dir: dir, layout }
    }

    fn import(&self, places: &[PathBuf]) {
        let options = Options { places: places.to_vec(), dry_run: false };
        import(&self.layout, &options, &AtomicBool::new(false), &mut |_| ()).unwrap();
    }

    fn writer(&self) -> Writer {
        Writer::open(&self.layout).unwrap()
    }

    /// Sends all that is unsent, as the engine does; how many changes that were.
    fn push(&self, cloud: &mut Cloud) -> usize {
        let mut writer = self.writer();
        let (mut after, mut sent) = (Cursor::default(), 0);
        loop {
            let page = facts::pending(writer.conn(), &after, 7, &Nothing).unwrap();
            let Some(last) = page.last() else { return sent };
            after = last.cursor;
            for mut pending in page {
                if let Some(row) = pending.session_row {
                    cloud.take(&contents::stub(writer.conn(), row).unwrap().unwrap());
                    loop {
                        let batches = contents::pending(writer.conn(), row, 100_000, &Nothing).unwrap();
                        if batches.is_empty() {
                            break;
                        }
                        for batch in batches {
                            cloud.take(&batch.change);
                            sent += 1;
                            let tx = writer.begin().unwrap();
                            facts::sent(&tx, &batch.receipt).unwrap();
                            tx.commit().unwrap();
                        }
                    }
                    pending = facts::session(writer.conn(), row, &Nothing).unwrap().expect("all contents are sent");
                }
                cloud.take(&pending.change);
                sent += 1;
                let tx = writer.begin().unwrap();
                facts::sent(&tx, &pending.receipt).unwrap();
                tx.commit().unwrap();
            }
        }
    }

    /// Writes rows of the cloud; what became of each.
    fn apply(&self, rows: &[Row]) -> Vec<Applied> {
        let mut writer = self.writer();
        let mut tx = writer.begin().unwrap();
        let applied = rows.iter().map(|row| facts::apply(&mut tx, row).unwrap()).collect();
        tx.commit().unwrap();
        applied
    }

    fn fetch(&self, cloud: &Cloud, id: &Id) -> Stored {
        let mut writer = self.writer();
        let mut tx = writer.begin().unwrap();
        let stored = contents::store(&mut tx, &cloud.fetch(id)).unwrap();
        tx.commit().unwrap();
        stored
    }

    fn unsent(&self) -> usize {
        facts::pending(self.writer().conn(), &Cursor::default(), 1000, &Nothing).unwrap().len()
    }

    /// Every path with its size or target, what belongs to the machine and the moment left out.
    fn listing(&self) -> BTreeMap<String, u64> {
        let fs = CogFs::open(&self.layout, "/mnt").unwrap();
        let mut found = BTreeMap::new();
        walk(&fs, &mut |path, entry| {
            found.insert(path.to_owned(), entry.attr.unwrap().size);
        });
        found
    }

    /// Every file with its bytes.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let fs = CogFs::open(&self.layout, "/mnt").unwrap();
        let mut found = BTreeMap::new();
        walk(&fs, &mut |path, entry| {
            if entry.kind == NodeKind::File {
                found.insert(path.to_owned(), read(&fs, entry.ino));
            }
        });
        found
    }

    #[track_caller]
    fn is_sound(&self) {
        let mut writer = self.writer();
        cogfs::ingest::index_words(&writer, &AtomicBool::new(false), &mut |_| ()).unwrap();
        let report = repair::run(&mut writer, Mode::Look, &AtomicBool::new(false), &mut |_| ()).unwrap();
        assert!(!report.is_wrong() && !report.is_beyond_repair(), "{report:?}");
        let glance = repair::glance(writer.conn(), &self.layout).unwrap();
        assert!(!glance.is_wrong() && !glance.is_beyond_repair(), "{glance:?}");
    }
}

fn read(fs: &CogFs, ino: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let piece = fs.read(ino, bytes.len() as u64, 1 << 20).unwrap();
        if piece.is_empty() {
            return bytes;
        }
        bytes.extend(piece);
    }
}

/// Calls `each` with everything that is the same on every machine.
fn walk(fs: &CogFs, each: &mut dyn FnMut(&str, &DirEntry)) {
    let mut dirs = vec![(String::new(), 1)];
    while let Some((path, dir)) = dirs.pop() {
        let mut entries = Vec::new();
        fs.readdir(dir, 0, true, &mut |entry| {
            entries.push(entry);
            true
        })
        .unwrap();
        for entry in entries.into_iter().skip(2) {
            let path = format!("{path}/{}", entry.name.to_str().unwrap());
            if matches!(path.as_str(), "/.cogfs" | "/README.md" | "/by/status") {
                continue;
            }
            each(&path, &entry);
            if entry.kind == NodeKind::Directory {
                dirs.push((path, entry.ino));
            }
        }
    }
}

#[track_caller]
fn same<T: PartialEq + std::fmt::Debug>(a: &BTreeMap<String, T>, b: &BTreeMap<String, T>) {
    let lacks: Vec<_> = a.keys().filter(|path| !b.contains_key(*path)).take(10).collect();
    let more: Vec<_> = b.keys().filter(|path| !a.contains_key(*path)).take(10).collect();
    assert!(lacks.is_empty() && more.is_empty(), "lacks {lacks:?}\nhas too many {more:?}");
    for (path, value) in a {
        assert_eq!(&b[path], value, "{path}");
    }
}

/// The same order every time, and not that of the rows.
fn shuffled(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|row| Id::derive(&[b"shuffle", &row.id.0]));
    rows
}

fn samples() -> Vec<PathBuf> {
    let mut places = vec![common::demo_logs(), common::fixtures()];
    // Real transcripts, where they are.
    let data = std::env::var_os("COGFS_TEST_DATA").map(PathBuf::from);
    places.extend(data.filter(|dir| dir.is_dir()));
    places
}

fn moves_to_another_machine(shuffle: bool) {
    let (a, b, mut cloud) = (Machine::new(), Machine::new(), Cloud::default());
    a.import(&samples());
    assert!(a.push(&mut cloud) > 0);
    assert_eq!(a.unsent(), 0, "all is sent");
    let rows = if shuffle { shuffled(cloud.rows()) } else { cloud.rows() };
    for applied in b.apply(&rows) {
        assert!(matches!(applied, Applied::Done { .. } | Applied::Waits { .. }), "{applied:?}");
    }
    same(&a.listing(), &b.listing());
    assert_eq!(b.unsent(), 0, "what was pulled is not sent");
    b.is_sound();
    for applied in b.apply(&rows) {
        assert_eq!(applied, Applied::Unchanged);
    }
    for applied in a.apply(&rows) {
        assert_eq!(applied, Applied::Unchanged, "its own facts change nothing");
    }
    for id in cloud.sessions() {
        assert_eq!(b.fetch(&cloud, &id), Stored::Done);
    }
    same(&a.listing(), &b.listing());
    copy_blobs(&a, &b);
    same(&a.files(), &b.files());
    b.is_sound();
    assert_eq!(b.unsent(), 0);
}

fn copy_blobs(from: &Machine, into: &Machine) {
    for path in common::files(&from.layout.blobs()) {
        let to = into.layout.blobs().join(path.strip_prefix(from.layout.blobs()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(path, to).unwrap();
    }
}

#[test]
fn a_machines_tree_shows_on_another_and_reads_the_same() {
    moves_to_another_machine(false);
}

#[test]
fn rows_that_come_before_their_parents_wait_for_them() {
    moves_to_another_machine(true);
}
