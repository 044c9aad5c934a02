use std::sync::atomic::AtomicBool;

use rusqlite::Connection;

use super::*;
use crate::ingest::record::{Call, Image};
use crate::store::changes::{self, Since};
use crate::store::search::SearchIndex;
use crate::store::{Layout, Writer, raw};

/// A database of a test's own, into which records of one session are written.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path().join("home"))
    }

    /// Reads a file of these records from its beginning.
    fn import(&self, records: &[(&str, Vec<Item>)]) {
        self.go_on(records, None);
    }

    fn go_on(&self, records: &[(&str, Vec<Item>)], state: Option<&State>) -> State {
        let mut writer = Writer::open(&self.layout()).unwrap();
        let mut tx = writer.begin().unwrap();
        let head = SessionHead {
            agent: Agent::Gemini,
            native_id: "boats".to_owned(),
            parent: None,
            subagent_kind: None,
            description: None,
        };
        let mut projects = Resolver::default();
        let mut assembler = Assembler::new(&mut tx, head, "boats.jsonl", Millis(5), state).unwrap();
        for (raw, items) in records {
            assembler
                .record(&mut tx, &mut projects, &RawRecord::Bytes(raw.as_bytes().to_vec()), 1, items.clone())
                .unwrap();
        }
        let state = assembler.save(&mut tx, &mut projects).unwrap();
        tx.commit().unwrap();
        state
    }

    fn conn(&self) -> Connection {
        Connection::open(self.layout().database()).unwrap()
    }

    /// All turns, after a look at whether sizes, the index and the search agree with them.
    fn turns(&self) -> Vec<Turn> {
        let conn = self.conn();
        let (mut found, mut sections) = (Vec::new(), crate::model::SectionSize::default());
        turns::for_each(&conn, 1, |turn| found.push(turn)).unwrap();
        let index = sessions::turn_index(&conn, 1).unwrap().unwrap();
        for turn in &found {
            sections += render::section_size(turn);
            let entry = index.get(turn.number).unwrap();
            let stored = (u64::from(entry.bytes), u64::from(entry.visual_links));
            assert_eq!(stored, render::turn_len(turn), "the length of turn {}", turn.number);
        }
        let session = sessions::get(&conn, 1).unwrap().unwrap();
        assert_eq!((session.sections, session.turns), (sections, u32::try_from(found.len()).unwrap()));
        found
    }

    fn finds(&self, word: &str) -> bool {
        let sql = "SELECT count(*) FROM turns_fts WHERE turns_fts MATCH ?1";
        let turns = self.conn();
        let mut index = SearchIndex::open(&self.layout(), &turns).unwrap();
        index.catch_up(&turns, &AtomicBool::new(false), &mut |_, _| {}).unwrap();
        assert!(index.is_sound().unwrap());
        index.conn().query_row(sql, [word], |r| r.get::<_, i64>(0)).unwrap() > 0
    }

    fn raw(&self) -> String {
        let mut bytes = Vec::new();
        raw::for_each_chunk(&self.conn(), 1, |chunk| bytes.extend_from_slice(chunk)).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// Where the change feed ends.
    fn feed(&self) -> i64 {
        self.conn().query_row("SELECT coalesce(max(seq), 0) FROM changes", [], |r| r.get(0)).unwrap()
    }

    fn told_since(&self, seq: i64) -> Vec<ChangeKind> {
        match changes::since(&self.conn(), seq).unwrap() {
            Since::Changes { changes, .. } => changes.into_iter().map(|c| c.kind).collect(),
            _ => panic!("the feed was cut"),
        }
    }
}

fn says(role: Role, text: &str) -> NewTurn {
    NewTurn {
        native: Some("m1".to_owned()),
        message_key: None,
        stream: Stream::Main,
        role,
        at: Some(Millis(1000)),
        model: None,
        text: text.to_owned(),
        label: None,
        images: Vec::new(),
        call: None,
        revises: true,
    }
}

fn calls(name: &str, input: &str) -> Item {
    let call = Call { call_id: "c1".to_owned(), name: name.to_owned(), input: input.to_owned(), shell: None };
    Item::Turn(NewTurn { native: Some("m1#c1".to_owned()), call: Some(call), ..says(Role::Tool, "") })
}

fn returns(output: &str) -> Item {
    Item::Result(ToolResult {
        call_id: "c1".to_owned(),
        stream: Stream::Main,
        at: None,
        output: output.to_owned(),
        status: ToolStatus::Ok,
        images: Vec::new(),
        subagent: None,
    })
}

fn turn(text: &str) -> Vec<Item> {
    vec![Item::Turn(says(Role::Assistant, text))]
}

fn texts(turns: &[Turn]) -> Vec<&str> {
    turns.iter().map(|t| t.text.as_str()).collect()
}

#[test]
fn a_turn_takes_the_new_contents_in_place() {
    let world = World::new();
    let other = Item::Turn(NewTurn { native: Some("m2".to_owned()), ..says(Role::User, "thanks") });
    world.import(&[("1", turn("a sloop")), ("2", vec![other])]);
    let (id, feed) = (turns::ids(&world.conn(), 1).unwrap(), world.feed());
    let revised =
        NewTurn { model: Some("gemini-3-pro".to_owned()), ..says(Role::Assistant, "a schooner, to be exact") };
    world.import(&[("3", vec![Item::Turn(revised)])]);
    assert_eq!(texts(&world.turns()), ["a schooner, to be exact", "thanks"]);
    assert_eq!(turns::ids(&world.conn(), 1).unwrap(), id);
    assert_eq!(sessions::get(&world.conn(), 1).unwrap().unwrap().models, ["gemini-3-pro"]);
    assert_eq!((world.finds("sloop"), world.finds("schooner")), (false, true));
    assert_eq!(world.raw(), "1\n2\n3\n", "old and new records stay");
    let told = world.told_since(feed);
    assert!(told.contains(&ChangeKind::Turn) && told.contains(&ChangeKind::Session), "{told:?}");
}

#[test]
fn a_revision_in_the_same_file_is_one_in_a_later_import() {
    let records = [
        ("1", vec![calls("read", "{}")]),
        ("2", vec![calls("read", r#"{"path":"a"}"#), returns("1 boat")]),
        ("3", vec![calls("read", r#"{"path":"a"}"#), returns("2 boats")]),
    ];
    let (at_once, grown) = (World::new(), World::new());
    at_once.import(&records);
    let mut state = None;
    for record in &records {
        state = Some(grown.go_on(std::slice::from_ref(record), state.as_ref()));
    }
    assert_eq!(at_once.turns(), grown.turns());
    let tool = at_once.turns()[0].tool.clone().unwrap();
    assert_eq!((tool.input.as_str(), tool.output.as_str()), (r#"{"path":"a"}"#, "2 boats"));
    assert_eq!(at_once.turns().len(), 1);
}

#[test]
fn a_second_import_of_old_and_new_changes_nothing() {
    let world = World::new();
    let records = [
        ("1", turn("a sloop")),
        ("2", vec![calls("read", "{}"), returns("1 boat")]),
        ("3", turn("a schooner")),
        ("4", vec![calls("read", "{}"), returns("2 boats")]),
    ];
    world.import(&records);
    let (before, feed) = (world.turns(), world.feed());
    world.import(&records);
    world.import(&records[..2]);
    // The same, in another spelling.
    world.import(&[("3 ", turn("a schooner"))]);
    assert_eq!(world.turns(), before);
    assert_eq!(texts(&before), ["a schooner", ""]);
    assert_eq!(world.raw(), "1\n2\n3\n4\n3 \n");
    assert!(!world.told_since(feed).contains(&ChangeKind::Turn));
}

#[test]
fn another_role_or_tool_is_another_turn() {
    let world = World::new();
    world.import(&[("1", turn("a sloop")), ("2", vec![calls("read", "{}")])]);
    world.import(&[("3", vec![Item::Turn(says(Role::User, "a schooner"))]), ("4", vec![calls("write", "{}")])]);
    let found = world.turns();
    assert_eq!(texts(&found), ["a sloop", "", "a schooner", ""]);
    let names: Vec<_> = found.iter().filter_map(|t| t.tool.as_ref()).map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["read", "write"]);
}

#[test]
fn a_turn_that_does_not_revise_is_another_turn() {
    let world = World::new();
    for (raw, text) in [("1", "a sloop"), ("2", "a schooner")] {
        let plain = NewTurn { revises: false, ..says(Role::Assistant, text) };
        world.import(&[(raw, vec![Item::Turn(plain)])]);
    }
    assert_eq!(texts(&world.turns()), ["a sloop", "a schooner"]);
}

#[test]
fn a_revision_brings_the_pictures_that_are_new() {
    let world = World::new();
    let image = |bytes: &[u8]| Image { mime: "image/png".to_owned(), bytes: bytes.to_vec() };
    let seen = |images| vec![Item::Turn(NewTurn { images, ..says(Role::User, "look") })];
    world.import(&[("1", seen(vec![image(b"mast")]))]);
    world.import(&[("2", seen(vec![image(b"mast"), image(b"sail")]))]);
    assert_eq!(world.turns()[0].visuals.len(), 2);
    assert_eq!(sessions::get(&world.conn(), 1).unwrap().unwrap().images, 2);
    let sums: i64 = world.conn().query_row("SELECT count(DISTINCT sha256) FROM visuals", [], |r| r.get(0)).unwrap();
    assert_eq!(sums, 2);
}
