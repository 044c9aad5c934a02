//! What holds once all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cogfs::cloud::wire::Kind;
use cogfs::curation::Entity;
use cogfs::model::Id;
use cogfs::store::{conflicts, outbox, refused, sessions};
use cogfs::sync::fields::record;
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::run::{Did, World};

/// What the machines and the cloud have of turns, for who looks into a seed.
pub fn tell(world: &World) {
    for row in world.cloud.rows().iter().filter(|row| row.kind == Kind::Turn) {
        eprintln!(
            "cloud: turn {} {:?} version {} {:?} by {:?}",
            row.id, row.turn, row.version, row.fields, row.fields_by
        );
    }
    for machine in &world.machines {
        let conn = machine.writer.conn();
        for table in ["awaited", "parked", "gone", "cognitive_commits", "projects"] {
            let mut query = conn.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = query.column_count();
            let mut rows = query.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells: Vec<rusqlite::types::Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
                let cells = cells.iter().map(|cell| match cell {
                    rusqlite::types::Value::Blob(bytes) => bytes.iter().take(4).map(|b| format!("{b:02x}")).collect(),
                    rusqlite::types::Value::Text(text) => text.chars().take(300).collect(),
                    other => format!("{other:?}"),
                });
                eprintln!("{} {table}: {}", machine.name, cells.collect::<Vec<String>>().join(" | "));
            }
        }
        let sql = "SELECT s.id, s.contents, s.row, (SELECT group_concat(row & 65535) FROM turns t WHERE t.row >> 16 = s.row AND deleted_at IS NOT NULL),
            (SELECT group_concat(turn_row & 65535) FROM deleted_elsewhere d WHERE d.turn_row >> 16 = s.row), hex(s.turn_index) FROM sessions s";
        let mut query = conn.prepare(sql).unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let (here, elsewhere): (Option<String>, Option<String>) = (row.get(3).unwrap(), row.get(4).unwrap());
            let (contents, number, index): (i64, i64, String) =
                (row.get(1).unwrap(), row.get(2).unwrap(), row.get(5).unwrap());
            let id = Id(row.get(0).unwrap());
            eprintln!(
                "{} session {id} row {number} contents {contents}, deleted {here:?}, elsewhere {elsewhere:?}, {} turns",
                machine.name,
                index.len() / 32
            );
        }
    }
}

pub fn all(world: &mut World) {
    for machine in &world.machines {
        nothing_is_left(machine);
    }
    let states: Vec<_> = world.machines.iter().map(state).collect();
    for (machine, state) in world.machines.iter().zip(&states).skip(1) {
        for (id, value) in state {
            assert_eq!(Some(value), states[0].get(id), "{id} on {}, and on {}", machine.name, world.machines[0].name);
        }
        let missing: Vec<_> = states[0].keys().filter(|id| !state.contains_key(*id)).collect();
        assert_eq!(missing, Vec::<&String>::new(), "what {} does not have", machine.name);
    }
    the_cloud_says_the_same(world, &states[0]);
    no_edit_is_lost_unseen(world, &states[0]);
    what_was_deleted_alone_is_deleted(world, &states[0]);
    what_was_forgotten_is_nowhere(world);
    a_cycle_more_asks_once_and_changes_nothing(world);
}

fn nothing_is_left(machine: &Machine) {
    let conn = machine.writer.conn();
    assert_eq!(outbox::all(conn).unwrap(), vec![], "waits on {}", machine.name);
    assert_eq!(refused::all(conn).unwrap(), vec![], "refused on {}", machine.name);
    assert_eq!(machine.number("SELECT count(*) FROM parked"), 0, "parked on {}", machine.name);
    assert_eq!(machine.number("SELECT count(*) FROM awaited"), 0, "awaited on {}", machine.name);
}

/// Every record with its fields, by kind and id.
fn state(machine: &Machine) -> BTreeMap<String, Value> {
    let conn = machine.writer.conn();
    let mut state = BTreeMap::new();
    let rows = |sql: &str| -> Vec<i64> {
        conn.prepare(sql).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for row in rows("SELECT row FROM cognitive_commits") {
        let entity = Entity::commit(row);
        let id = record::id(conn, entity).unwrap().unwrap();
        state.insert(format!("commit {id}"), json!(record::values(conn, entity).unwrap().unwrap()));
    }
    for row in rows("SELECT row FROM sessions WHERE forgotten = 0 AND commit_row IS NOT NULL") {
        let entity = Entity::session(row);
        let session = sessions::get(conn, row).unwrap().unwrap();
        let commit = record::id(conn, Entity::commit(session.commit_row.unwrap())).unwrap().unwrap();
        let mut value = json!(record::values(conn, entity).unwrap().unwrap());
        value["commit"] = json!(commit.to_string());
        let index = sessions::turn_index(conn, row).unwrap().unwrap();
        // The same log may be longer on another machine; every one has these turns.
        value["deleted_turns"] = json!((1..=2).filter(|n| index.is_deleted(*n)).collect::<Vec<_>>());
        state.insert(format!("session {}", session.id), value);
    }
    state
}

fn the_cloud_says_the_same(world: &World, state: &BTreeMap<String, Value>) {
    for row in world.cloud.rows() {
        if row.kind == Kind::Commit && !row.forgotten && row.merged_into.is_none() {
            let Some(here) = state.get(&format!("commit {}", row.id)) else {
                panic!("the machines do not have commit {} of the cloud", row.id)
            };
            for (field, value) in &row.fields {
                assert_eq!(value, &here[field], "{field} of {}", row.id);
            }
        }
    }
}

fn no_edit_is_lost_unseen(world: &World, state: &BTreeMap<String, Value>) {
    let mut kept: BTreeSet<(Id, String, String)> = BTreeSet::new();
    for machine in &world.machines {
        let mut query = machine.writer.conn().prepare("SELECT entity_id, field, local, cloud FROM conflicts").unwrap();
        let found = query.query_map([], |r| {
            Ok((Id(r.get(0)?), r.get::<_, String>(1)?, r.get::<_, String>(2)?, r.get::<_, String>(3)?))
        });
        for (id, field, local, cloud) in found.unwrap().map(Result::unwrap) {
            kept.insert((id, field.clone(), local));
            kept.insert((id, field, cloud));
        }
        drop(conflicts::open(machine.writer.conn()).unwrap());
    }
    for event in &world.events {
        let Did::Edited { field: field @ ("title" | "note"), after, .. } = &event.did else { continue };
        let Some(now) = state.get(&format!("commit {}", event.commit)) else { continue };
        let overwritten = world.events.iter().any(|other| {
            other.commit == event.commit
                && matches!(&other.did, Did::Edited { field: f, before, .. } if f == field && before == after)
        });
        let is_kept = kept.contains(&(event.commit, (*field).to_owned(), after.to_string()));
        assert!(
            now[*field] == *after || overwritten || is_kept,
            "{field} {after} of {} by {} is lost: it says {}",
            event.commit,
            event.machine,
            now[*field]
        );
    }
}

/// Deleted by one, touched by nobody else at all.
fn what_was_deleted_alone_is_deleted(world: &World, state: &BTreeMap<String, Value>) {
    let mut events: BTreeMap<Id, Vec<&Did>> = BTreeMap::new();
    for event in &world.events {
        events.entry(event.commit).or_default().push(&event.did);
    }
    for (id, did) in events {
        let Some(now) = state.get(&format!("commit {id}")) else { continue };
        if did.iter().all(|did| **did == Did::Deleted) {
            assert!(!now["deleted_at"].is_null(), "{id} was deleted, and is back");
        }
    }
}

fn what_was_forgotten_is_nowhere(world: &World) {
    for event in world.events.iter().filter(|event| event.did == Did::Forgot) {
        for machine in &world.machines {
            let here = record::by_id(machine.writer.conn(), cogfs::store::EntityKind::Commit, &event.commit).unwrap();
            assert_eq!(here, None, "commit {} was forgotten, and is on {}", event.commit, machine.name);
        }
        if let Some(row) = world.cloud.row(Kind::Commit, event.commit) {
            assert!(row.forgotten && row.facts.is_none(), "commit {} is in the cloud: {row:?}", event.commit);
        }
    }
    for id in &world.forgotten_sessions {
        if let Some(row) = world.cloud.row(Kind::Session, *id) {
            assert!(row.forgotten, "session {id} is in the cloud");
        }
    }
}

fn a_cycle_more_asks_once_and_changes_nothing(world: &mut World) {
    let head = world.cloud.head();
    for machine in &mut world.machines {
        world.cloud.requests();
        let summary = machine.sync(None).unwrap();
        assert_eq!((summary.pulled, summary.pushed), (0, 0), "{} still has something to say", machine.name);
        assert_eq!(world.cloud.requests(), ["pull"], "an idle cycle of {}", machine.name);
    }
    assert_eq!(world.cloud.head(), head);
}
