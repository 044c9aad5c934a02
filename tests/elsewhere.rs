//! What one machine has shows on another: facts and contents leave a store as the wire has them, and come into another one. No
//! network: a map stands for the cloud.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use cogfs::cloud::wire::{Change, FetchedSession, Kind, RawChunk, Row, TurnContents, UsageContents};
use cogfs::fs::{CogFs, DirEntry, FetchError, Fetcher, FsError, NodeKind, Outcome};
use cogfs::ingest::{Options, import};
use cogfs::model::Id;
use cogfs::store::{Layout, Writer, visuals};
use cogfs::sync::contents::{self, Stored};
use cogfs::sync::facts::{self, Applied, Cursor, Nothing, Redact};
use cogfs::upkeep::repair::{self, Mode};
use common::ClaudeLog;
use serde_json::json;

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
                let row = Row { facts, rank, seq: self.seq, ..Row::bare(kind, id) };
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
                let moved = Row { merged_into: Some(into), seq: self.seq, ..Row::bare(kind, id) };
                self.rows.insert(id, moved);
            }
            Change::Forget { kind, id } => {
                self.seq += 1;
                let gone = Row { forgotten: true, seq: self.seq, ..Row::bare(kind, id) };
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
        self.push_through(cloud, &Nothing)
    }

    fn push_through(&self, cloud: &mut Cloud, redact: &dyn Redact) -> usize {
        let mut writer = self.writer();
        let (mut after, mut sent) = (Cursor::default(), 0);
        loop {
            let page = facts::pending(writer.conn(), &after, 7, redact).unwrap();
            let Some(last) = page.last() else { return sent };
            after = last.cursor;
            for mut pending in page {
                if let Some(row) = pending.session_row {
                    cloud.take(&contents::stub(writer.conn(), row).unwrap().unwrap());
                    loop {
                        let batches = contents::pending(writer.conn(), row, 100_000, redact).unwrap();
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
                    pending = facts::session(writer.conn(), row, redact).unwrap().expect("all contents are sent");
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
        let mut apply = |row: &Row| {
            let applied = facts::apply(&mut tx, row).unwrap();
            facts::unite(&mut tx, row).unwrap();
            applied
        };
        let applied = rows.iter().map(&mut apply).collect();
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
        self.files_through(&CogFs::open(&self.layout, "/mnt").unwrap())
    }

    fn files_through(&self, fs: &CogFs) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        walk(fs, &mut |path, entry| {
            if entry.kind == NodeKind::File {
                found.insert(path.to_owned(), read(fs, entry.ino));
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

/// Fetches from the map.
struct FromMap {
    layout: Layout,
    cloud: Arc<Mutex<Cloud>>,
    pictures: Layout,
    fetches: AtomicU32,
}

impl Fetcher for FromMap {
    fn fetch(&self, sessions: &[Id], _: Instant, came: &mut dyn FnMut(Id, Outcome)) -> Outcome {
        for session in sessions {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let mut writer = Writer::open(&self.layout).unwrap();
            let mut tx = writer.begin().unwrap();
            let stored = contents::store(&mut tx, &self.cloud.lock().unwrap().fetch(session)).unwrap();
            tx.commit().unwrap();
            came(
                *session,
                match stored {
                    Stored::Done => Ok(()),
                    other => Err(FetchError::Unreachable(format!("{other:?}"))),
                },
            );
        }
        Ok(())
    }

    fn blob(&self, sha256: &str, _: &str, _: Instant) -> Result<(), FetchError> {
        let bytes = std::fs::read(self.pictures.blob(sha256)).unwrap();
        assert!(!visuals::write_fetched_blob(&self.layout, sha256, b"something else").unwrap());
        assert!(visuals::write_fetched_blob(&self.layout, sha256, &bytes).unwrap());
        Ok(())
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
    let fs = CogFs::open(&b.layout, "/mnt").unwrap();
    let sessions = cloud.sessions();
    let fetcher = Arc::new(FromMap {
        layout: b.layout.clone(),
        cloud: Arc::new(Mutex::new(cloud)),
        pictures: a.layout.clone(),
        fetches: AtomicU32::new(0),
    });
    assert_eq!(remote(&fs), remote_of(&b), "commits that are elsewhere are listed");
    assert!(remote(&fs) > 0);
    nothing_is_empty(&fs);
    fs.fetch_with(fetcher.clone());
    b.files_through(&fs);
    assert_eq!(fetcher.fetches.load(Ordering::SeqCst) as usize, sessions.len(), "each is fetched once");
    // Made before the fetch, documents say where the contents are.
    same(&a.files(), &b.files());
    same(&a.listing(), &b.listing());
    assert_eq!(remote(&CogFs::open(&b.layout, "/mnt").unwrap()), 0);
    b.is_sound();
    assert_eq!(b.unsent(), 0);
}

/// Commits in `by/status/remote/`.
fn remote(fs: &CogFs) -> usize {
    let find = |dir, name: &str| match fs.lookup(dir, name.as_ref()).unwrap() {
        cogfs::fs::Lookup::Found(attr) => Some(attr.ino),
        cogfs::fs::Lookup::Absent { .. } => None,
    };
    let dir = find(1, "by").and_then(|by| find(by, "status")).and_then(|status| find(status, "remote"));
    let mut count = 0;
    if let Some(dir) = dir {
        fs.readdir(dir, 2, true, &mut |_| {
            count += 1;
            true
        })
        .unwrap();
    }
    count
}

fn remote_of(machine: &Machine) -> usize {
    let sql = "SELECT count(DISTINCT commit_row) FROM sessions WHERE contents = 1";
    machine.writer().conn().query_row(sql, [], |r| r.get(0)).unwrap()
}

/// Without a way to the cloud, what is elsewhere cannot be read, and says so.
fn nothing_is_empty(fs: &CogFs) {
    let mut unreachable = 0;
    walk(fs, &mut |path, entry| {
        if entry.kind != NodeKind::File {
            return;
        }
        match fs.read(entry.ino, 0, 100) {
            Ok(bytes) => assert!(!bytes.is_empty() || entry.attr.unwrap().size == 0, "{path} reads as empty"),
            Err(error @ FsError::Unreachable { .. }) => {
                assert_eq!(error.errno(), libc::ENETUNREACH);
                unreachable += 1;
            }
            Err(error) => panic!("{path}: {error}"),
        }
    });
    assert!(unreachable > 0);
}

#[test]
fn a_machines_tree_shows_on_another_and_reads_the_same() {
    moves_to_another_machine(false);
}

#[test]
fn rows_that_come_before_their_parents_wait_for_them() {
    moves_to_another_machine(true);
}

/// Two machines, and the log of a session that the first one has.
fn two_machines_and_a_log() -> (Machine, Machine, Cloud, tempfile::TempDir, ClaudeLog) {
    let mut log = ClaudeLog::new("boats", 7);
    log.user("Build a boat").assistant("Here is a boat").write_file("/w/boats/hull.txt");
    (Machine::new(), Machine::new(), Cloud::default(), tempfile::tempdir().unwrap(), log)
}

#[test]
fn a_log_that_grows_shows_on_the_other_machine_and_only_what_is_new_is_sent() {
    let (a, b, mut cloud, logs, mut log) = two_machines_and_a_log();
    for number in 0..700 {
        log.user(&format!("Plank {number}"));
    }
    a.import(&[log.write(logs.path())]);
    assert!(a.push(&mut cloud) > 5, "in several pieces");
    b.apply(&cloud.rows());
    for id in cloud.sessions() {
        assert_eq!(b.fetch(&cloud, &id), Stored::Done);
    }
    same(&a.files(), &b.files());
    let before = log.lines.len();
    log.user("Make it float").assistant("It floats").git_commit("4be91d7", "Float").user("And now a mast");
    a.import(&[log.append(logs.path(), before)]);
    let sent = a.push(&mut cloud);
    assert!(sent <= 10, "{sent} changes");
    b.apply(&cloud.rows());
    same(&a.listing(), &b.listing());
    b.is_sound();
    for id in cloud.sessions() {
        assert!(matches!(b.fetch(&cloud, &id), Stored::Done));
    }
    same(&a.files(), &b.files());
    b.is_sound();
    assert_eq!((a.push(&mut cloud), b.unsent()), (0, 0));
}

#[test]
fn a_log_that_is_imported_here_too_takes_the_session_over() {
    for is_fetched in [false, true] {
        let (a, b, mut cloud, logs, mut log) = two_machines_and_a_log();
        log.git_commit("4be91d7", "Float").user("And now a mast").assistant("A mast");
        let path = log.write(logs.path());
        a.import(std::slice::from_ref(&path));
        a.push(&mut cloud);
        b.apply(&cloud.rows());
        if is_fetched {
            for id in cloud.sessions() {
                assert_eq!(b.fetch(&cloud, &id), Stored::Done);
            }
        }
        b.import(std::slice::from_ref(&path));
        b.is_sound();
        assert_eq!(remote_of(&b), 0);
        let contents = |machine: &Machine| {
            let mut files = machine.files();
            files.retain(|path, _| path.ends_with(".md") || path.ends_with("raw.jsonl"));
            files
        };
        same(&contents(&a), &contents(&b));
        let tokens = |machine: &Machine| -> i64 {
            let sql = "SELECT sum(tokens_input + tokens_output) FROM sessions";
            machine.writer().conn().query_row(sql, [], |r| r.get(0)).unwrap()
        };
        assert_eq!(tokens(&a), tokens(&b), "no token is counted twice");
        for applied in b.apply(&cloud.rows()) {
            assert!(!matches!(applied, Applied::Refused { .. }), "{applied:?}");
        }
        assert_eq!(remote_of(&b), 0, "what is here stays here");
        // Part of it, as a log that was cut off: what it does not bring stays elsewhere.
        let c = Machine::new();
        c.apply(&cloud.rows());
        let mut begun = log.clone();
        begun.lines.truncate(3);
        c.import(&[begun.write(logs.path())]);
        c.is_sound();
        assert_eq!(remote_of(&c), 1);
    }
}

#[test]
fn what_is_forgotten_goes_from_the_other_machine_and_its_log_does_not_bring_it_back() {
    let (a, b, mut cloud, logs, log) = two_machines_and_a_log();
    let path = log.write(logs.path());
    a.import(std::slice::from_ref(&path));
    a.push(&mut cloud);
    b.apply(&cloud.rows());
    let id = cloud.rows.values().find(|row| row.kind == Kind::Commit).unwrap().id;
    cogfs::forget::run(&mut a.writer(), &cogfs::forget::Target::Id(id.to_string()), false).unwrap();
    assert!(a.push(&mut cloud) >= 2, "the commit and its session");
    b.apply(&cloud.rows());
    let commits = |machine: &Machine| -> i64 {
        machine.writer().conn().query_row("SELECT count(*) FROM cognitive_commits", [], |r| r.get(0)).unwrap()
    };
    assert_eq!(commits(&b), 0);
    b.import(&[path]);
    assert_eq!(commits(&b), 0);
    b.is_sound();
    // A machine that never had it does not get it.
    let c = Machine::new();
    c.apply(&cloud.rows());
    assert_eq!(commits(&c), 0);
}

#[test]
fn commits_of_two_machines_that_one_git_commit_closed_become_one_on_both() {
    let (a, b, mut cloud, logs, mut log) = two_machines_and_a_log();
    log.git_commit("4be91d7", "Float");
    let mut other = ClaudeLog::new("boats", 9);
    other.user("Paint it").assistant("It is red").git_commit("4be91d7", "Float");
    a.import(&[log.write(logs.path())]);
    b.import(&[other.write(logs.path())]);
    a.push(&mut cloud);
    b.push(&mut cloud);
    for _ in 0..3 {
        for machine in [&a, &b] {
            machine.apply(&cloud.rows());
            machine.push(&mut cloud);
        }
    }
    let ids = |machine: &Machine| -> Vec<[u8; 16]> {
        let writer = machine.writer();
        let mut query = writer.conn().prepare("SELECT id FROM cognitive_commits").unwrap();
        query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(ids(&a).len(), 1);
    assert_eq!(ids(&a), ids(&b));
    let c = Machine::new();
    c.apply(&shuffled(cloud.rows()));
    assert_eq!(ids(&a), ids(&c));
    let names = |machine: &Machine| {
        let mut paths: Vec<String> = machine.listing().into_keys().collect();
        paths.retain(|path| path.starts_with("/projects/"));
        paths
    };
    assert_eq!(names(&a), names(&b));
    for machine in [&a, &b, &c] {
        machine.is_sound();
        assert_eq!(machine.push(&mut cloud), 0, "they have come to an end");
    }
}

#[test]
fn a_record_that_cannot_be_costs_itself_alone_and_names_no_file_outside() {
    let (a, b, mut cloud, logs, log) = two_machines_and_a_log();
    a.import(&[log.write(logs.path())]);
    a.push(&mut cloud);
    for mut row in cloud.rows() {
        let facts = row.facts.as_mut().unwrap();
        match row.kind {
            Kind::Commit => facts["dir_name"] = json!("../../../etc"),
            Kind::Project => facts["dir_name"] = json!(".cogfs"),
            Kind::Machine => facts["dir_name"] = json!("a/b"),
            _ => facts["dir_name"] = json!("x\u{0}y"),
        }
        cloud.rows.insert(row.id, row);
    }
    b.apply(&cloud.rows());
    for path in b.listing().keys() {
        assert!(!path.contains("..") && !path.contains("/a/b") && !path.contains('\0'), "{path}");
    }
    assert_eq!(b.listing().len(), a.listing().len());
    let wrong = [
        (Kind::Session, "last_turn", json!(70_000)),
        (Kind::Session, "raw_bytes", json!(u64::MAX)),
        (Kind::Session, "agent", json!("somebody")),
        (Kind::Session, "native_id", json!("another")),
        (Kind::Commit, "started_at", json!(i64::MAX)),
        (Kind::Commit, "git_hash", json!("../x")),
        (Kind::Project, "identity", json!("path:/elsewhere")),
        (Kind::Project, "paths", json!(7)),
    ];
    for (kind, field, value) in wrong {
        let c = Machine::new();
        let rows = cloud.rows().into_iter().map(|mut row| {
            if row.kind == kind {
                row.facts.as_mut().unwrap()[field] = value.clone();
            }
            row
        });
        let applied = c.apply(&rows.collect::<Vec<_>>());
        let refused = applied.iter().filter(|applied| matches!(applied, Applied::Refused { .. })).count();
        assert_eq!(refused, 1, "{field}: {applied:?}");
        c.is_sound();
    }
}

#[test]
fn contents_that_are_not_whole_or_damaged_are_not_stored() {
    let (a, b, mut cloud, logs, log) = two_machines_and_a_log();
    a.import(&[log.write(logs.path())]);
    a.push(&mut cloud);
    b.apply(&cloud.rows());
    let id = cloud.sessions()[0];
    let whole = cloud.fetch(&id);
    let mut lacks = whole.clone();
    lacks.turns.pop();
    let mut damaged = whole.clone();
    damaged.raw[0].data.0.truncate(10);
    let mut unknown = whole.clone();
    unknown.turns[0].role = 99;
    for fetched in [lacks, damaged, unknown] {
        let mut writer = b.writer();
        let mut tx = writer.begin().unwrap();
        assert!(matches!(contents::store(&mut tx, &fetched).unwrap(), Stored::Refused { .. }));
        tx.commit().unwrap();
        assert_eq!(remote_of(&b), 1);
    }
    assert_eq!(b.fetch(&cloud, &id), Stored::Done);
}

/// Takes one word out.
struct Boats;

impl Redact for Boats {
    fn text<'a>(&self, _: &Id, text: &'a str) -> std::borrow::Cow<'a, str> {
        match text.contains("boat") {
            true => text.replace("a boat", "[secret]").into(),
            false => text.into(),
        }
    }
}

#[test]
fn what_is_taken_out_does_not_leave_and_lengths_are_those_of_what_does() {
    let (a, b, mut cloud, logs, mut log) = two_machines_and_a_log();
    a.import(&[log.write(logs.path())]);
    a.push_through(&mut cloud, &Boats);
    let before = log.lines.len();
    log.user("Is it a boat?").assistant("It is a boat");
    a.import(&[log.append(logs.path(), before)]);
    a.push_through(&mut cloud, &Boats);
    b.apply(&cloud.rows());
    let sizes = b.listing();
    for id in cloud.sessions() {
        assert_eq!(b.fetch(&cloud, &id), Stored::Done);
    }
    same(&sizes, &b.listing());
    for (path, bytes) in b.files() {
        assert!(!String::from_utf8_lossy(&bytes).contains("a boat"), "{path}");
    }
    b.is_sound();
}

#[test]
fn a_project_that_may_not_leave_does_not_with_all_that_is_in_it() {
    let (a, _, mut cloud, logs, log) = two_machines_and_a_log();
    a.import(&[log.write(logs.path()), ClaudeLog::new("ships", 8).user("Build a ship").write(logs.path())]);
    a.writer().conn().execute("UPDATE projects SET sync = 0 WHERE name = 'boats'", []).unwrap();
    a.push(&mut cloud);
    let text = format!("{:?}{:?}", cloud.rows, cloud.turns);
    assert!(text.contains("ship") && !text.contains("boat"), "{text}");
}
