//! Two machines, and more, with the real program and the real server (`scripts/cloud-stack`): what one has the other gets, whatever
//! happens in between.

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod changes;
mod counts;
mod faults;
mod kills;
mod many;
mod prune;
mod secrets;
mod whole;

use std::path::Path;

use common::stack::{Stack, User};
use common::{ClaudeLog, Ran, World};
use serde_json::Value;

/// A user with two machines, the first of which has imported and pushed some conversations.
struct Pair {
    stack: Stack,
    user: User,
    a: World,
    b: World,
}

impl Pair {
    fn new(stack: Stack) -> Self {
        let user = stack.user();
        let (a, b) = (stack.machine(&user), stack.machine(&user));
        Self { stack, user, a, b }
    }

    /// With so many sessions, each a commit, that both machines have.
    fn with(stack: Stack, sessions: u32) -> Self {
        let pair = Self::new(stack);
        write_sessions(&pair.a.logs(), 1..=sessions);
        pair.a.import(&[&pair.a.logs()]);
        pair.sync();
        pair
    }

    /// Both have what the other has.
    fn sync(&self) {
        for world in [&self.a, &self.b, &self.a] {
            sync(world);
        }
    }

    fn both(&self) -> [&World; 2] {
        [&self.a, &self.b]
    }
}

fn write_sessions(logs: &Path, numbers: impl IntoIterator<Item = u32>) {
    for number in numbers {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("How many boats are in harbour {number}?")).bash("ls", "seven boats").assistant("Seven.");
        log.write(logs);
    }
}

#[track_caller]
fn sync(world: &World) -> Value {
    world.run(&["sync", "--json"]).exits(0).json()
}

#[track_caller]
fn push(world: &World) -> Value {
    world.run(&["push", "--json"]).exits(0).json()
}

#[track_caller]
fn pull(world: &World) -> Value {
    world.run(&["pull", "--json"]).exits(0).json()
}

/// The one value that a statement finds in a machine's database.
fn local(world: &World, statement: &str) -> String {
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let value: rusqlite::types::Value = db.query_row(statement, [], |row| row.get(0)).unwrap();
    match value {
        rusqlite::types::Value::Null => String::new(),
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    }
}

/// The ids of a machine's commits, the oldest first.
fn commit_ids(world: &World) -> Vec<String> {
    let db = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    let mut query = db.prepare("SELECT lower(hex(id)) FROM cognitive_commits ORDER BY started_at, row").unwrap();
    query.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}
