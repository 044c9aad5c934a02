//! What holds once all is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cogfs::cloud::wire::Kind;
use cogfs::curation::Entity;
use cogfs::model::Id;
use cogfs::store::commits::{self, curated};
use cogfs::store::{gone, outbox, projects, refused, sessions};
use cogfs::sync::contents::Stored;
use cogfs::sync::fields::record;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::common::ClaudeLog;
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
        for table in ["awaited", "parked", "gone", "conflicts", "cognitive_commits", "projects"] {
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

/// All that a machine's database says.
pub fn everything(machine: &Machine) -> String {
    let conn = machine.writer.conn();
    let mut query = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let tables: Vec<String> = query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
    let mut told = String::new();
    for table in tables {
        let mut query = conn.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
        let columns = query.column_count();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<rusqlite::types::Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
            told.push_str(&format!("{table}: {cells:?}\n"));
        }
    }
    told
}

pub fn all(world: &mut World) {
    for machine in &world.machines {
        nothing_is_left(machine);
    }
    let mut states: Vec<_> = world.machines.iter().map(state).collect();
    let in_cloud: BTreeSet<Id> = world.cloud.rows().iter().map(|row| row.id).collect();
    for state in &mut states {
        when_deleted_is_not_told(state, &in_cloud);
    }
    let mut differing = Vec::new();
    for (machine, state) in world.machines.iter().zip(&states).skip(1) {
        for (id, value) in state {
            let of_first = states[0].get(id).unwrap_or(&Value::Null);
            let of_id =
                differences(value, of_first).into_iter().map(|what| format!("{id} on {}: {what}", machine.name));
            differing.extend(of_id);
        }
        let missing: Vec<_> = states[0].keys().filter(|id| !state.contains_key(*id)).collect();
        assert_eq!(missing, Vec::<&String>::new(), "what {} does not have", machine.name);
    }
    assert_eq!(differing, Vec::<String>::new(), "beside machine a");
    the_cloud_says_the_same(world, &states[0]);
    no_edit_is_lost_unseen(world, &states[0]);
    what_was_deleted_alone_is_deleted(world, &states[0]);
    what_was_forgotten_is_nowhere(world);
    a_cycle_more_asks_once_and_changes_nothing(world);
    contents_are_the_logs(world);
}

/// What two values say differently.
fn differences(a: &Value, b: &Value) -> Vec<String> {
    let (Some(of_a), Some(of_b)) = (a.as_object(), b.as_object()) else {
        return if a == b { Vec::new() } else { vec![format!("{a} and {b}")] };
    };
    let keys: BTreeSet<&String> = of_a.keys().chain(of_b.keys()).collect();
    let of = |key: &String| {
        let inner = differences(of_a.get(key).unwrap_or(&Value::Null), of_b.get(key).unwrap_or(&Value::Null));
        inner.into_iter().map(|inner| format!("{key}: {inner}")).collect::<Vec<_>>()
    };
    keys.into_iter().flat_map(of).collect()
}

/// What was deleted and the cloud has removed since is known where it was known, each with a time of its own: it is no difference
/// that it is deleted on one machine and unknown to another. Where it is not deleted it stays, and is missed elsewhere.
fn when_deleted_is_not_told(state: &mut BTreeMap<String, Value>, in_cloud: &BTreeSet<Id>) {
    let is_removed = |name: &str, value: &Value| {
        let id = name.split_once(' ').and_then(|(_, id)| Id::parse(id)).unwrap();
        !in_cloud.contains(&id) && value["deleted_at"].is_number()
    };
    let removed: BTreeSet<String> =
        state.iter().filter(|(name, value)| is_removed(name, value)).map(|(name, _)| name.clone()).collect();
    state.retain(|name, value| {
        let commit = value["commit"].as_str().map(|id| format!("commit {id}"));
        !removed.contains(name) && commit.is_none_or(|commit| !removed.contains(&commit))
    });
    // Nor is the project that only such ones are in.
    let told: BTreeSet<String> =
        state.values().filter_map(|value| value["project"].as_str().map(|id| format!("project {id}"))).collect();
    state.retain(|name, _| !name.starts_with("project ") || told.contains(name));
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
        let mut value = json!(record::values(conn, entity).unwrap().unwrap());
        value["facts"] = commit_facts(conn, row);
        state.insert(format!("commit {id}"), value);
    }
    for row in rows("SELECT row FROM sessions WHERE forgotten = 0 AND commit_row IS NOT NULL") {
        let entity = Entity::session(row);
        let session = sessions::get(conn, row).unwrap().unwrap();
        let commit = record::id(conn, Entity::commit(session.commit_row.unwrap())).unwrap().unwrap();
        let mut value = json!(record::values(conn, entity).unwrap().unwrap());
        value["commit"] = json!(commit.to_string());
        let index = sessions::turn_index(conn, row).unwrap().unwrap();
        value["deleted_turns"] = json!((1..=index.len()).filter(|n| index.is_deleted(*n)).collect::<Vec<_>>());
        value["facts"] = session_facts(conn, row);
        state.insert(format!("session {}", session.id), value);
    }
    // One that only holds what was forgotten, or nothing, is known where it was seen.
    for row in rows("SELECT DISTINCT project_row FROM cognitive_commits") {
        let project = projects::get(conn, row).unwrap().unwrap();
        let mut paths = projects::paths(conn, row).unwrap();
        paths.sort();
        let mut value = columns(conn, "projects", row, &["identity", "name", "remote"]);
        value["paths"] = json!(paths);
        state.insert(format!("project {}", project.id), value);
    }
    state
}

/// Columns of a row, as JSON.
fn columns(conn: &Connection, table: &str, row: i64, names: &[&str]) -> Value {
    let read = |r: &rusqlite::Row<'_>| {
        let mut value = json!({});
        for (nth, name) in names.iter().enumerate() {
            value[*name] = match r.get(nth)? {
                rusqlite::types::Value::Null => Value::Null,
                rusqlite::types::Value::Integer(number) => json!(number),
                rusqlite::types::Value::Real(number) => json!(number),
                rusqlite::types::Value::Text(text) => json!(text),
                rusqlite::types::Value::Blob(bytes) => {
                    json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>())
                }
            };
        }
        Ok(value)
    };
    let sql = format!("SELECT {} FROM {table} WHERE row = ?1", names.join(", "));
    conn.prepare_cached(&sql).unwrap().query_row([row], read).unwrap()
}

fn commit_facts(conn: &Connection, row: i64) -> Value {
    let names = ["git_hash", "git_subject", "closed_by", "started_at", "closed_at", "parallel"];
    let mut facts = columns(conn, "cognitive_commits", row, &names);
    let commit = commits::get(conn, row).unwrap().unwrap();
    facts["title"] = json!(curated::found_title(conn, &commit).unwrap());
    let sql = "SELECT lower(hex(p.id)) FROM cognitive_commits c JOIN projects p ON p.row = coalesce(c.found_project, c.project_row)
         WHERE c.row = ?1";
    facts["found_in"] = conn.prepare_cached(sql).unwrap().query_row([row], |r| r.get::<_, String>(0)).unwrap().into();
    let sql = "SELECT group_concat(hash || ' ' || subject || ' ' || at, ', ') FROM
        (SELECT * FROM git_commits WHERE commit_row = ?1 ORDER BY hash)";
    let made: Option<String> = conn.prepare_cached(sql).unwrap().query_row([row], |r| r.get(0)).unwrap();
    facts["made"] = json!(made);
    facts
}

fn session_facts(conn: &Connection, row: i64) -> Value {
    let names = "agent native_id part subagent_kind ordinal dir_name title title_rank cwd git_branch git_remote agent_version models
        closed started_at ended_at turns prompts tool_calls images tokens_input tokens_output tokens_cache_read tokens_cache_write
        section_bytes page_bytes raw_bytes raw_records render_version turn_index tool_names";
    columns(conn, "sessions", row, &names.split_whitespace().collect::<Vec<_>>())
}

/// Every machine can have every conversation, and has the same of it: what the longest log says that any of them read.
fn contents_are_the_logs(world: &mut World) {
    let forgotten = world.forgotten_sessions.clone();
    let mut told: BTreeMap<(String, i64, i64), Vec<Value>> = BTreeMap::new();
    for machine in &mut world.machines {
        for id in ids_elsewhere(machine) {
            let became = machine.fetch(id, false);
            assert_eq!(became, Some(Stored::Done), "session {id} on {}", machine.name);
        }
        let sql =
            "SELECT s.native_id, s.part, t.row & 65535, t.row, s.id FROM sessions s JOIN turns t ON t.row >> 16 = s.row
             JOIN cognitive_commits c ON c.row = s.commit_row
             WHERE s.forgotten = 0 AND s.deleted_at IS NULL AND c.deleted_at IS NULL AND t.deleted_at IS NULL";
        let conn = machine.writer.conn();
        let mut query = conn.prepare_cached(sql).unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(r) = rows.next().unwrap() {
            let key = (r.get(0).unwrap(), r.get(1).unwrap(), r.get(2).unwrap());
            let turn =
                columns(conn, "turns", r.get(3).unwrap(), &["id", "role", "at", "text", "tool_input", "tool_output"]);
            told.entry(key).or_default().push(turn);
        }
    }
    let number = world.machines.len();
    for (key, turns) in &told {
        assert!(turns.len() == number && turns.iter().all(|turn| turn == &turns[0]), "{key:?}: {turns:#?}");
    }
    if !forgotten.is_empty() {
        return;
    }
    for (log, length) in &world.imported {
        let native = ClaudeLog::new("", log + 1).session().to_owned();
        let of_log = || {
            world.machines[0].number(&format!(
                "SELECT count(*) FROM turns t JOIN sessions s ON s.row = t.row >> 16
            WHERE s.native_id = '{native}' AND (t.role <> 0 OR t.deleted_at IS NOT NULL)"
            ))
        };
        // What was deleted is not fetched, and where it was removed from the cloud a machine may never have heard of it.
        let deleted = format!(
            "SELECT count(*) FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row
            WHERE s.native_id = '{native}' AND (s.deleted_at IS NOT NULL OR c.deleted_at IS NOT NULL)"
        );
        let is_whole = world.machines.iter().all(|machine| machine.number(&deleted) == 0);
        assert!(!is_whole || of_log() == [2, 4, 5, 7][*length], "{} turns of log {log}-{length}", of_log());
    }
}

fn ids_elsewhere(machine: &Machine) -> Vec<Id> {
    let sql = "SELECT s.id FROM sessions s JOIN cognitive_commits c ON c.row = s.commit_row
         WHERE s.contents = 1 AND s.forgotten = 0 AND s.deleted_at IS NULL AND c.deleted_at IS NULL";
    let mut query = machine.writer.conn().prepare_cached(sql).unwrap();
    query.query_map([], |r| r.get(0).map(Id)).unwrap().map(Result::unwrap).collect()
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
    let mut kept: BTreeMap<(Id, String), Vec<Value>> = BTreeMap::new();
    for machine in &world.machines {
        let mut query = machine.writer.conn().prepare("SELECT entity_id, field, local, cloud FROM conflicts").unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(r) = rows.next().unwrap() {
            let of = kept.entry((Id(r.get(0).unwrap()), r.get(1).unwrap())).or_default();
            let value = |at| serde_json::from_str(&r.get::<_, String>(at).unwrap()).unwrap();
            of.extend([value(2), value(3)]);
        }
    }
    let now_of = |field: &str, value: &Value| match field {
        "project" => json!(value.as_str().and_then(Id::parse).map(|id| project_now(world, id).to_string())),
        _ => value.clone(),
    };
    let says = |field: &str, value: &Value, other: &Value| says(&now_of(field, value), &now_of(field, other));
    let now_id = |id: Id| world.cloud.row(Kind::Commit, id).and_then(|row| row.merged_into).unwrap_or(id);
    for event in &world.events {
        let Did::Edited { field: field @ ("title" | "note" | "project"), after, .. } = &event.did else { continue };
        let Some(now) = state.get(&format!("commit {}", now_id(event.commit))) else { continue };
        let overwritten = world.events.iter().any(|other| {
            // Also on the one that it became a part of, which said so by then.
            (other.commit == event.commit || other.commit == now_id(event.commit))
                && matches!(&other.did, Did::Edited { field: f, before, .. } if f == field && says(field, before, after))
        });
        let is_kept = [event.commit, now_id(event.commit)]
            .iter()
            .filter_map(|id| kept.get(&(*id, (*field).to_owned())))
            .any(|values| values.iter().any(|value| says(field, value, after)));
        assert!(
            says(field, &now[*field], after) || overwritten || is_kept,
            "{field} {after} of {} by {} is lost: it says {}",
            event.commit,
            event.machine,
            now[*field]
        );
    }
}

/// The project that one is a part of by now, or itself.
fn project_now(world: &World, id: Id) -> Id {
    let in_cloud = world.cloud.row(Kind::Project, id).and_then(|row| row.merged_into);
    let here = || {
        world.machines.iter().find_map(|machine| match gone::fate(machine.writer.conn(), &id).unwrap() {
            Some(gone::Fate::Merged(into)) => Some(into),
            _ => None,
        })
    };
    in_cloud.or_else(here).unwrap_or(id)
}

/// Whether a value is another, or has all of it: of two commits that became one both notes are kept, one below the other.
fn says(value: &Value, other: &Value) -> bool {
    let of_value = || value.as_str().unwrap_or_default().split("\n\n");
    value == other
        || other.as_str().is_some_and(|text| text.split("\n\n").all(|part| of_value().any(|own| own == part)))
}

/// Deleted by one, touched by nobody else at all.
fn what_was_deleted_alone_is_deleted(world: &World, state: &BTreeMap<String, Value>) {
    let mut events: BTreeMap<Id, Vec<&Did>> = BTreeMap::new();
    // The cloud knows of no part that a machine never told it of.
    let mut parts: BTreeSet<Id> = world.cloud.rows().iter().filter_map(|row| row.merged_into).collect();
    for machine in &world.machines {
        let mut query = machine.writer.conn().prepare("SELECT into_id FROM gone WHERE into_id IS NOT NULL").unwrap();
        parts.extend(query.query_map([], |r| r.get(0).map(Id)).unwrap().map(Result::unwrap));
    }
    for event in &world.events {
        events.entry(event.commit).or_default().push(&event.did);
    }
    // Of two that became one, one was not deleted.
    events.retain(|id, _| !parts.contains(id));
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
