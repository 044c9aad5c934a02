use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn fields(value: Value) -> Fields {
    value.as_object().unwrap().clone()
}

fn stamp(version: i64, at: i64, machine: u8) -> Stamp {
    Stamp { version, at: Millis(at), machine: Some(Id([machine; 16])) }
}

/// What holds of a record that said `base`, and was changed here and in the cloud.
fn merged(base: Value, local: Value, ours: Stamp, cloud: Value, theirs: Stamp) -> Merged {
    let (base, local, cloud) = (fields(base), fields(local), fields(cloud));
    let mut now = base.clone();
    now.extend(local.clone());
    let of_local: Fields =
        base.iter().filter(|(f, _)| local.contains_key(*f)).map(|(f, v)| (f.clone(), v.clone())).collect();
    let waiting = Local { fields: &local, base: &of_local, stamp: ours };
    merge(&waiting, &Cloud { fields: &cloud, stamp: theirs }, &now)
}

const ALL: &str = r#"{"title": null, "note": "", "tags": [], "hidden": false, "deleted_at": null}"#;

fn base() -> Value {
    serde_json::from_str(ALL).unwrap()
}

#[test]
fn a_field_that_one_side_changed_takes_that_side() {
    let m = merged(base(), json!({"title": "a"}), stamp(1, 1, 1), json!({"note": "b"}), stamp(2, 2, 2));
    assert_eq!(m.take, fields(json!({"note": "b"})));
    assert_eq!((m.send, m.base), (fields(json!({"title": "a"})), fields(json!({"title": null}))));
    assert_eq!((m.lost, m.restored), (vec![], None));
}

#[test]
fn the_higher_version_then_the_later_then_the_higher_machine_holds_and_the_loser_is_kept() {
    for (ours, theirs, kept) in [
        (stamp(3, 1, 1), stamp(2, 9, 9), Side::Local),
        (stamp(2, 9, 9), stamp(3, 1, 1), Side::Cloud),
        (stamp(2, 5, 1), stamp(2, 4, 9), Side::Local),
        (stamp(2, 4, 9), stamp(2, 5, 1), Side::Cloud),
        (stamp(2, 4, 2), stamp(2, 4, 1), Side::Local),
        (stamp(2, 4, 1), stamp(2, 4, 2), Side::Cloud),
    ] {
        let m = merged(base(), json!({"title": "a"}), ours, json!({"title": "b"}), theirs);
        let lost = Lost { field: "title".into(), base: Value::Null, local: json!("a"), cloud: json!("b"), kept };
        assert_eq!(m.lost, vec![lost], "{ours:?} {theirs:?}");
        assert_eq!(m.take.get("title").is_some(), kept == Side::Cloud);
        assert_eq!(m.send.get("title").is_some(), kept == Side::Local);
        assert!(m.base.get("title").is_none_or(|base| *base == json!("b")), "it is sent in place of the other's");
    }
}

#[test]
fn the_same_change_on_both_sides_is_no_conflict() {
    let m = merged(base(), json!({"title": "a"}), stamp(1, 1, 1), json!({"title": "a"}), stamp(1, 2, 2));
    assert_eq!(m, Merged::default());
}

#[test]
fn what_this_machine_sent_before_is_no_conflict_with_what_it_says_now() {
    let m = merged(base(), json!({"title": "b"}), stamp(1, 1, 1), json!({"title": "a"}), stamp(9, 9, 1));
    assert_eq!((m.send, m.base), (fields(json!({"title": "b"})), fields(json!({"title": "a"}))));
    assert_eq!((m.take, m.lost), (Fields::new(), vec![]));
    let back = merged(base(), json!({"title": null}), stamp(1, 1, 1), json!({"title": "a"}), stamp(9, 9, 1));
    assert_eq!(back.send, fields(json!({"title": null})), "an edit that was taken back is taken back in the cloud too");
}

#[test]
fn tags_of_both_are_kept_and_what_either_removed_is_gone() {
    let mut base = base();
    base["tags"] = json!(["old", "stays"]);
    let local = json!({"tags": ["stays", "mine"]});
    let m = merged(base, local, stamp(1, 1, 1), json!({"tags": ["old", "stays", "theirs"]}), stamp(5, 5, 2));
    assert_eq!(m.take, fields(json!({"tags": ["stays", "theirs", "mine"]})));
    assert_eq!(m.send, m.take);
    assert_eq!(m.lost, vec![]);
}

#[test]
fn an_edit_beats_a_delete_whichever_side_made_it() {
    let here = merged(base(), json!({"note": "x"}), stamp(1, 1, 1), json!({"deleted_at": 7}), stamp(9, 9, 2));
    assert_eq!(here.take, Fields::new(), "it is not deleted here");
    assert_eq!(here.send, fields(json!({"note": "x", "deleted_at": null})));
    assert_eq!((here.base["deleted_at"].clone(), here.restored), (json!(7), Some(Side::Local)));

    let there = merged(base(), json!({"deleted_at": 7}), stamp(9, 9, 1), json!({"note": "x"}), stamp(1, 1, 2));
    assert_eq!(there.take, fields(json!({"note": "x", "deleted_at": null})));
    assert_eq!((there.send, there.restored), (Fields::new(), Some(Side::Cloud)));
}

#[test]
fn a_delete_that_nobody_edited_against_holds() {
    let pulled = merged(base(), json!({}), stamp(1, 1, 1), json!({"deleted_at": 7}), stamp(2, 2, 2));
    assert_eq!((pulled.take, pulled.restored), (fields(json!({"deleted_at": 7})), None));
    let twice = merged(base(), json!({"deleted_at": 5}), stamp(1, 1, 1), json!({"deleted_at": 7}), stamp(2, 2, 2));
    assert_eq!((twice.take, twice.send, twice.restored), (fields(json!({"deleted_at": 7})), Fields::new(), None));
    // The cloud's other fields are those that this machine knew when it deleted.
    let mut known = base();
    known["note"] = json!("n");
    let m = merged(known, json!({"deleted_at": 5}), stamp(3, 1, 1), json!({"note": "n"}), stamp(2, 2, 2));
    assert_eq!((m.send, m.restored), (fields(json!({"deleted_at": 5})), None));
}

#[test]
fn a_restore_beats_another_delete() {
    let mut deleted = base();
    deleted["deleted_at"] = json!(3);
    let m = merged(deleted, json!({"deleted_at": null}), stamp(1, 1, 1), json!({"deleted_at": 7}), stamp(9, 9, 2));
    assert_eq!((m.send, m.restored), (fields(json!({"deleted_at": null})), Some(Side::Local)));
}

#[test]
fn fields_of_a_newer_program_are_left_alone() {
    let m = merged(base(), json!({}), stamp(1, 1, 1), json!({"colour": "red"}), stamp(2, 2, 2));
    assert_eq!(m, Merged::default());
}

/// A change of some of the fields.
fn change() -> impl Strategy<Value = Fields> {
    let word = || prop::sample::select(vec!["a", "b", "c"]);
    let title = prop_oneof![Just(Value::Null), word().prop_map(Value::from)];
    let tags = prop::collection::btree_set(word(), 0..3).prop_map(|set| json!(set));
    let deleted = prop_oneof![Just(Value::Null), (1..4i64).prop_map(Value::from)];
    (prop::option::of(title), prop::option::of(word()), prop::option::of(tags), prop::option::of(deleted)).prop_map(
        |(title, note, tags, deleted)| {
            let mut fields = Fields::new();
            fields.extend(title.map(|v| ("title".to_owned(), v)));
            fields.extend(note.map(|v| ("note".to_owned(), json!(v))));
            fields.extend(tags.map(|v| ("tags".to_owned(), v)));
            fields.extend(deleted.map(|v| ("deleted_at".to_owned(), v)));
            fields
        },
    )
}

fn any_stamp() -> impl Strategy<Value = Stamp> {
    (0..3i64, 0..3i64, 0..3u8).prop_map(|(version, at, machine)| stamp(version, at, machine))
}

/// A machine with a record, as it is to the rules.
struct Replica {
    machine: u8,
    now: Fields,
    waiting: Fields,
    base: Fields,
    base_version: i64,
    edits: i64,
    clock: i64,
    lost: Vec<Lost>,
}

/// The cloud's record.
struct Server {
    fields: Fields,
    version: i64,
    at: i64,
    by: Option<u8>,
}

impl Replica {
    fn edit(&mut self, change: &Fields) {
        for (field, value) in change {
            let before = self.now.insert(field.clone(), value.clone()).unwrap();
            if before != *value {
                self.base.entry(field.clone()).or_insert(before);
                self.waiting.insert(field.clone(), value.clone());
                self.edits += 1;
            }
        }
    }

    fn pull(&mut self, server: &Server) {
        let stamp =
            |version, at, machine: Option<u8>| Stamp { version, at: Millis(at), machine: machine.map(|m| Id([m; 16])) };
        let ours = stamp(self.base_version + self.edits, self.clock, Some(self.machine));
        let local = Local { fields: &self.waiting, base: &self.base, stamp: ours };
        let cloud = Cloud { fields: &server.fields, stamp: stamp(server.version, server.at, server.by) };
        let merged = merge(&local, &cloud, &self.now);
        self.now.extend(merged.take);
        if merged.send.contains_key(DELETED_AT) {
            self.now.insert(DELETED_AT.to_owned(), merged.send[DELETED_AT].clone());
        }
        (self.waiting, self.base, self.base_version) = (merged.send, merged.base, server.version);
        self.lost.extend(merged.lost);
    }

    /// Sends what waits; what a stale version is answered with is merged and sent again by a later call.
    fn push(&mut self, server: &mut Server) {
        if self.waiting.is_empty() {
            return;
        }
        if self.base_version != server.version {
            return self.pull(server);
        }
        server.fields.extend(std::mem::take(&mut self.waiting));
        self.base.clear();
        (server.version, server.at, server.by) = (server.version + 1, self.clock, Some(self.machine));
        (self.base_version, self.edits) = (server.version, 0);
    }
}

proptest! {
    #[test]
    fn which_side_is_called_local_changes_nothing(
        base in change(), a in change(), b in change(), ours in any_stamp(), theirs in any_stamp()
    ) {
        for (field, x) in &a {
            let (Some(y), base) = (b.get(field), base.get(field).unwrap_or(&Value::Null)) else { continue };
            let value = |resolved: Resolved, local: &Value, cloud: &Value| match resolved {
                Resolved::Same | Resolved::One(Side::Local, _) => local.clone(),
                Resolved::One(Side::Cloud, _) => cloud.clone(),
                Resolved::Both(value) => value,
            };
            let one = value(resolve(field, base, (x, ours), (y, theirs)), x, y);
            let other = value(resolve(field, base, (y, theirs), (x, ours)), y, x);
            match field.as_str() {
                // The order of tags, and which of two times of a deletion is told, is the cloud's.
                TAGS => {
                    let set = |v: &Value| words(v).unwrap().into_iter().collect::<BTreeSet<_>>();
                    prop_assert_eq!(set(&one), set(&other));
                }
                DELETED_AT => prop_assert_eq!(one.is_null(), other.is_null()),
                _ => prop_assert_eq!(one, other),
            }
        }
    }

    #[test]
    fn three_machines_come_to_the_same_whatever_the_order_and_no_edit_is_lost_unseen(
        steps in prop::collection::vec((0..3usize, 0..3u8, change(), 0..5i64), 1..30)
    ) {
        let start: Fields = serde_json::from_str(ALL).unwrap();
        let mut server = Server { fields: Fields::new(), version: 0, at: 0, by: None };
        let replica = |machine| Replica {
            machine, now: start.clone(), waiting: Fields::new(), base: Fields::new(), base_version: 0, edits: 0, clock: 0,
            lost: Vec::new(),
        };
        let mut machines = [replica(1), replica(2), replica(3)];
        for (who, what, change, later) in &steps {
            let machine = &mut machines[*who];
            machine.clock += later;
            match what {
                0 => machine.edit(change),
                1 => machine.push(&mut server),
                _ => machine.pull(&server),
            }
        }
        for _ in 0..4 {
            for machine in &mut machines {
                machine.pull(&server);
                machine.push(&mut server);
            }
        }
        for machine in &machines {
            prop_assert!(machine.waiting.is_empty(), "it never comes to rest: {:?}", machine.waiting);
            prop_assert_eq!(&machine.now, &machines[0].now);
            for (field, value) in &server.fields {
                prop_assert_eq!(&machine.now[field], value);
            }
        }
        // A note that somebody wrote last, before all was quiet, is there or in a conflict.
        for (who, machine) in machines.iter().enumerate() {
            let last = steps.iter().rev().find(|(w, what, change, _)| *w == who && *what == 0 && change.contains_key("note"));
            let Some((_, _, change, _)) = last else { continue };
            let note = &change["note"];
            let elsewhere = machines.iter().any(|m| m.lost.iter().any(|l| l.local == *note || l.cloud == *note));
            let overwritten = steps.iter().any(|(w, what, change, _)| *w != who && *what == 0 && change.contains_key("note"));
            prop_assert!(machine.now["note"] == *note || elsewhere || overwritten);
        }
    }
}
