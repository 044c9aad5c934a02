//! What goes over the wire, for who looks into a seed.

use cogfs::cloud::Result;
use cogfs::cloud::wire::{Change, Outcome, Pulled, Row};

fn is_told() -> bool {
    std::env::var_os("COGFS_WIRE").is_some()
}

pub fn tell_pushed(changes: &[Change], answer: &Result<Vec<Outcome>>) {
    if !is_told() {
        return;
    }
    for (nth, change) in changes.iter().enumerate() {
        let change = match change {
            Change::Facts { kind, id, rank, facts: Some(facts), .. } => format!("{kind:?} {id}, rank {rank}: {facts}"),
            Change::Facts { kind, id, .. } => format!("{kind:?} {id}: a stub"),
            Change::Turns { session, turns } => format!("{} turns of {session}", turns.len()),
            Change::Raw { session, chunks } => format!("{} chunks of {session}", chunks.len()),
            Change::Usage { session, usage } => format!("{} costs of {session}", usage.len()),
            other => format!("{other:?}"),
        };
        let outcome = match answer {
            Ok(outcomes) => match &outcomes[nth] {
                Outcome::Conflict { row } => format!("conflict: {}", row_of(row)),
                other => format!("{other:?}"),
            },
            Err(error) => error.to_string(),
        };
        eprintln!("        > {change}\n          {outcome}");
    }
}

pub fn tell_pulled(page: &Result<Pulled>) {
    if !is_told() {
        return;
    }
    for row in page.iter().flat_map(|page| &page.rows) {
        eprintln!("        < {}", row_of(row));
    }
}

fn row_of(row: &Row) -> String {
    let Row { kind, id, seq, version, rank, fields, facts, merged_into, forgotten, .. } = row;
    let facts = facts.as_ref().map(ToString::to_string).unwrap_or_default();
    let fields = serde_json::Value::from(fields.clone());
    let ended = match merged_into {
        Some(into) => format!(" is a part of {into}"),
        None if *forgotten => " is forgotten".to_owned(),
        None => String::new(),
    };
    format!("{seq} {kind:?} {id}{ended} version {version} {fields} rank {rank} {facts}")
}
