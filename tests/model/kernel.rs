//! What a kernel may remember of a mount, and whether it was told of everything that is no longer so.
//!
//! It remembers every name, attribute and content it was ever given. What it does itself it knows: the names that it makes, moves
//! and removes, and the attributes of the directories they are in.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use cogfs::fs::{Attr, CogFs, Invalidation, Lookup, NodeKind};

use super::direct::{list, read};

const ROOT: u64 = 1;

/// Everything a kernel could remember of a tree.
#[derive(Default)]
pub struct Remembered {
    names: BTreeMap<(u64, OsString), u64>,
    attrs: BTreeMap<u64, Attr>,
    contents: BTreeMap<u64, Vec<u8>>,
    listings: BTreeMap<u64, Vec<(OsString, u64)>>,
    paths: BTreeMap<u64, String>,
}

/// What an operation changed that came by the kernel itself.
#[derive(Default)]
pub struct Own {
    /// Names that it made, moved or removed.
    pub names: BTreeSet<(u64, OsString)>,
    /// Directories that they are in, files that were written to.
    pub nodes: BTreeSet<u64>,
    /// What it renames.
    pub moving: Option<u64>,
    /// Names that it has now, for numbers it knows.
    pub now: BTreeMap<(u64, OsString), u64>,
}

/// Remembers all that is listed, and names that are found without.
pub fn remember(fs: &CogFs, unlisted: &[(u64, OsString)]) -> Remembered {
    let mut all = Remembered::default();
    let mut dirs = vec![(String::new(), ROOT)];
    while let Some((path, dir)) = dirs.pop() {
        all.listings.insert(dir, Vec::new());
        let hidden = unlisted.iter().filter(|(parent, _)| *parent == dir);
        for (_, name) in hidden {
            if let Ok(Lookup::Found(attr)) = fs.lookup(dir, name) {
                note(&mut all, fs, (dir, name.clone(), attr), &format!("{path}/{}", name.display()));
            }
        }
        for entry in list(fs, dir).unwrap() {
            let path = format!("{path}/{}", entry.name.display());
            all.listings.entry(dir).or_default().push((entry.name.clone(), entry.ino));
            note(&mut all, fs, (dir, entry.name, entry.attr.unwrap()), &path);
            if entry.kind == NodeKind::Directory {
                dirs.push((path, entry.ino));
            }
        }
    }
    all
}

fn note(all: &mut Remembered, fs: &CogFs, (dir, name, attr): (u64, OsString, Attr), path: &str) {
    all.names.insert((dir, name), attr.ino);
    all.attrs.insert(attr.ino, attr);
    all.paths.insert(attr.ino, path.to_owned());
    match attr.kind {
        NodeKind::File => drop(all.contents.insert(attr.ino, read(fs, attr.ino))),
        NodeKind::Symlink => drop(all.contents.insert(attr.ino, fs.readlink(attr.ino).unwrap())),
        NodeKind::Directory => {}
    }
}

/// What of `before` is no longer true, was not told, and did not come by the kernel itself.
pub fn untold(before: &Remembered, after: &Remembered, told: &[Invalidation], own: &Own) -> Vec<String> {
    let node = |t: &Invalidation| match t {
        Invalidation::Node(ino) | Invalidation::Attributes(ino) => Some(*ino),
        Invalidation::Name { .. } => None,
    };
    let mut nodes: BTreeSet<u64> = told.iter().filter_map(node).collect();
    nodes.extend(&own.nodes);
    let named = |key: &(u64, OsString)| {
        let name = Invalidation::Name { parent: key.0, name: key.1.clone() };
        told.contains(&name)
    };
    let mut untold = Vec::new();
    let path =
        |ino: &u64| before.paths.get(ino).or_else(|| after.paths.get(ino)).map_or("/", String::as_str).to_owned();
    let there = |ino: &u64| *ino == ROOT || after.paths.contains_key(ino);
    for (key, ino) in before.names.iter().filter(|(key, _)| !own.names.contains(key)).chain(&own.now) {
        // A parent that is gone took its names with it: its own name was told.
        if after.names.get(key) != Some(ino) && there(&key.0) && !named(key) {
            untold.push(format!("the name {:?} of {}", key.1, path(ino)));
        }
    }
    for (ino, attr) in &before.attrs {
        if after.attrs.get(ino).is_some_and(|now| now != attr) && !nodes.contains(ino) {
            untold.push(format!("attributes of {}", path(ino)));
        }
    }
    for (ino, bytes) in &before.contents {
        if after.contents.get(ino).is_some_and(|now| now != bytes) && !nodes.contains(ino) {
            untold.push(format!("contents of {}", path(ino)));
        }
    }
    for (ino, names) in &before.listings {
        let now = after.listings.get(ino).map(|names| names.iter().collect::<BTreeSet<_>>());
        if now.is_some_and(|now| now != names.iter().collect()) && !nodes.contains(ino) {
            untold.push(format!("what {} lists", path(ino)));
        }
    }
    untold
}
