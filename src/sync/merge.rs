//! Two changes of one record: what holds, field by field. Pure.
//!
//! Three-way against the value that both started from. A field that one side changed takes that side. A field that both changed
//! takes the change of the higher version, then the later one, then that of the higher machine id; the other value is returned as
//! lost. Two fields have rules of their own: tags are merged as sets, so that nobody's tag is lost to another's; and of a deletion
//! and any other change made without knowledge of it, the deletion yields.

use serde_json::{Map, Value};

use crate::model::{Id, Millis};
pub use crate::store::conflicts::Side;

/// The field that says when a record was deleted.
pub const DELETED_AT: &str = "deleted_at";
/// The field that is a set of words.
pub const TAGS: &str = "tags";

/// Values of fields by their names.
pub type Fields = Map<String, Value>;

/// What tells which of two changes holds: compared in this order, the higher one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// The record's version with the change.
    pub version: i64,
    /// When, by the server's clock.
    pub at: Millis,
    pub machine: Option<Id>,
}

/// What waits here.
#[derive(Debug, Clone)]
pub struct Local<'a> {
    /// The values that were set. A field in it counts as changed, also if it is back at its base.
    pub fields: &'a Fields,
    /// Their values before.
    pub base: &'a Fields,
    pub stamp: Stamp,
}

/// What the cloud has.
#[derive(Debug, Clone)]
pub struct Cloud<'a> {
    /// Fields that were ever set.
    pub fields: &'a Fields,
    pub stamp: Stamp,
}

/// A value that yielded to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    pub field: String,
    pub base: Value,
    pub local: Value,
    pub cloud: Value,
    /// Whose value holds.
    pub kept: Side,
}

/// What comes of the two.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Merged {
    /// What the record here is to be set to.
    pub take: Fields,
    /// What is still to be sent, and what the cloud has in its place.
    pub send: Fields,
    pub base: Fields,
    pub lost: Vec<Lost>,
    /// A deletion yielded to a change of this side.
    pub restored: Option<Side>,
}

/// What becomes of a field that both sides changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolved {
    /// Both have it so.
    Same,
    /// One of the values; whether the other one is worth keeping.
    One(Side, Loser),
    /// Something of both.
    Both(Value),
}

/// What is done with the value that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loser {
    Kept,
    Dropped,
}

/// Decides a field that both sides changed. Which side is called local changes nothing.
#[must_use]
pub fn resolve(
    field: &str,
    base: &Value,
    (local, ours): (&Value, Stamp),
    (cloud, theirs): (&Value, Stamp),
) -> Resolved {
    if local == cloud {
        return Resolved::Same;
    }
    if field == DELETED_AT {
        return match (local.is_null(), cloud.is_null()) {
            // Deleted twice: when first is all there is to tell, and one of the times has to be the record's.
            (false, false) => Resolved::One(Side::Cloud, Loser::Dropped),
            (true, _) => Resolved::One(Side::Local, Loser::Dropped),
            (_, true) => Resolved::One(Side::Cloud, Loser::Dropped),
        };
    }
    if field == TAGS
        && let (Some(base), Some(local), Some(cloud)) = (words(base), words(local), words(cloud))
    {
        let merged = Value::from(merge_sets(&base, &local, &cloud));
        return if merged == Value::from(local) {
            Resolved::One(Side::Local, Loser::Dropped)
        } else {
            Resolved::Both(merged)
        };
    }
    let side = if (ours, local.to_string()) > (theirs, cloud.to_string()) { Side::Local } else { Side::Cloud };
    Resolved::One(side, Loser::Kept)
}

/// A list of words; the null of a field that was cleared is the empty one.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// What both have or one added, without what one removed: in the order of the cloud, what is new here behind.
fn merge_sets(base: &[String], local: &[String], cloud: &[String]) -> Vec<String> {
    let removed = |word: &String| base.contains(word) && !local.contains(word);
    let mut merged: Vec<String> = cloud.iter().filter(|word| !removed(word)).cloned().collect();
    merged.extend(local.iter().filter(|word| !base.contains(word) && !cloud.contains(word)).cloned());
    merged
}

/// Merges what waits here with what the cloud has. `now`: what the record here says of each field it has; others are passed
/// over, they belong to a newer program.
#[must_use]
pub fn merge(local: &Local<'_>, cloud: &Cloud<'_>, now: &Fields) -> Merged {
    let mut merged = Merged::default();
    // What this machine sent itself is no change of another's: what waits here came after it.
    let own = cloud.stamp.machine.is_some() && cloud.stamp.machine == local.stamp.machine;
    for (field, theirs) in cloud.fields {
        let Some(here) = now.get(field) else { continue };
        match local.fields.get(field) {
            None => take(&mut merged, field, here, theirs),
            Some(ours) if own && ours == theirs => {}
            Some(ours) if own => merged.send(field, ours, theirs),
            Some(ours) => {
                let base = local.base.get(field).unwrap_or(&Value::Null);
                both(&mut merged, field, base, (ours, local.stamp), (theirs, cloud.stamp), here);
            }
        }
    }
    for (field, ours) in local.fields {
        if !cloud.fields.contains_key(field) {
            merged.send(field, ours, local.base.get(field).unwrap_or(&Value::Null));
        }
    }
    if !own {
        edit_beats_delete(&mut merged, local, cloud, now);
    }
    merged
}

impl Merged {
    fn send(&mut self, field: &str, value: &Value, base: &Value) {
        self.send.insert(field.to_owned(), value.clone());
        self.base.insert(field.to_owned(), base.clone());
    }

    /// A deletion yielded. It is kept as any value that did.
    fn restored(&mut self, kept: Side, base: &Value, local: &Value, cloud: &Value) {
        let (base, local, cloud) = (base.clone(), local.clone(), cloud.clone());
        self.lost.push(Lost { field: DELETED_AT.to_owned(), base, local, cloud, kept });
        self.restored = Some(kept);
    }
}

fn take(merged: &mut Merged, field: &str, here: &Value, value: &Value) {
    if here != value {
        merged.take.insert(field.to_owned(), value.clone());
    }
}

/// A field that waits here and that the cloud has a value of.
fn both(
    merged: &mut Merged,
    field: &str,
    base: &Value,
    (ours, our_stamp): (&Value, Stamp),
    (theirs, their_stamp): (&Value, Stamp),
    here: &Value,
) {
    if theirs == base {
        // Also where it is back at that: a request with what it was in between may be on its way, and is made stale by this.
        merged.send(field, ours, theirs);
        return;
    }
    match resolve(field, base, (ours, our_stamp), (theirs, their_stamp)) {
        Resolved::Same => {}
        Resolved::Both(value) => {
            take(merged, field, here, &value);
            merged.send(field, &value, theirs);
        }
        Resolved::One(kept, loser) => {
            match kept {
                Side::Local => merged.send(field, ours, theirs),
                Side::Cloud => take(merged, field, here, theirs),
            }
            if loser == Loser::Kept {
                let (local, cloud) = (ours.clone(), theirs.clone());
                merged.lost.push(Lost { field: field.to_owned(), base: base.clone(), local, cloud, kept });
            }
            if field == DELETED_AT && (ours.is_null() || theirs.is_null()) {
                merged.restored(kept, base, ours, theirs);
            }
        }
    }
}

/// Takes a deletion back that one side made while the other changed something else of the record.
fn edit_beats_delete(merged: &mut Merged, local: &Local<'_>, cloud: &Cloud<'_>, now: &Fields) {
    let is_set = |fields: &Fields| fields.get(DELETED_AT).filter(|at| !at.is_null()).cloned();
    let is_other = |field: &str, a: &Value, b: &Value| field != DELETED_AT && a != b;
    if let Some(at) = is_set(&merged.take) {
        let edited = local.fields.iter().any(|(field, ours)| {
            is_other(field, ours, cloud.fields.get(field).or(local.base.get(field)).unwrap_or(&Value::Null))
        });
        if edited && !local.fields.contains_key(DELETED_AT) {
            merged.take.remove(DELETED_AT);
            merged.send(DELETED_AT, &Value::Null, &at);
            merged.restored(Side::Local, &Value::Null, &Value::Null, &at);
        }
    } else if let (Some(at), Some(_)) = (is_set(local.fields), is_set(&merged.send)) {
        let edited = cloud.fields.iter().any(|(field, theirs)| match (local.base.get(field), now.get(field)) {
            (Some(base), _) => is_other(field, theirs, base),
            (None, Some(here)) => is_other(field, theirs, here),
            (None, None) => false,
        });
        if edited {
            merged.send.remove(DELETED_AT);
            merged.base.remove(DELETED_AT);
            merged.take.insert(DELETED_AT.to_owned(), Value::Null);
            merged.restored(Side::Cloud, &Value::Null, &at, &Value::Null);
        }
    }
}

#[cfg(test)]
mod tests;
