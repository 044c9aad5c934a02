//! Random operations give what a model in memory gives: the same results, the same errnos, the same tree.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq)]
enum Thing {
    File(Vec<u8>),
    Directory(Tree),
    Link(String),
}

type Tree = BTreeMap<&'static str, Thing>;

/// A directory: its place, and the names on the way from it.
type Way = (usize, Vec<&'static str>);

#[derive(Debug, Clone)]
enum Op {
    Create(Way, &'static str, bool),
    Mkdir(Way, &'static str),
    Symlink(Way, &'static str),
    Unlink(Way, &'static str),
    Rmdir(Way, &'static str),
    Rename(Way, &'static str, Way, &'static str, RenameMode),
    Write(Way, &'static str, u64, Vec<u8>),
    SetLen(Way, &'static str, u64),
    Read(Way, &'static str, u64, u32),
    Adopt(Way, &'static str, Vec<u8>),
    Release(Way, &'static str),
    Reopen,
}

const LIMITS: Limits = Limits { file_bytes: 40, total_bytes: 100, files: 7, age: Duration::from_secs(1), kept: None };

#[derive(Default)]
struct Model([Tree; 2]);

/// What an operation gives: bytes, or an errno.
type Outcome = std::result::Result<Vec<u8>, i32>;

fn measure(tree: &Tree) -> (u64, u64) {
    tree.values().fold((0, 0), |(files, bytes), thing| match thing {
        Thing::File(contents) => (files + 1, bytes + contents.len() as u64),
        Thing::Link(_) => (files + 1, bytes),
        Thing::Directory(inner) => {
            let (inner_files, inner_bytes) = measure(inner);
            (files + 1 + inner_files, bytes + inner_bytes)
        }
    })
}

impl Model {
    fn dir(&mut self, way: &Way) -> std::result::Result<&mut Tree, i32> {
        way.1.iter().try_fold(&mut self.0[way.0], |tree, name| match tree.get_mut(name) {
            Some(Thing::Directory(inner)) => Ok(inner),
            Some(_) => Err(libc::ENOTDIR),
            None => Err(libc::ENOENT),
        })
    }

    fn used(&self) -> (u64, u64) {
        let [(a, b), (c, d)] = [measure(&self.0[0]), measure(&self.0[1])];
        (a + c, b + d)
    }

    fn add(&mut self, way: &Way, name: &'static str, thing: Thing) -> Outcome {
        if self.dir(way)?.contains_key(name) {
            return Err(libc::EEXIST);
        }
        if self.used().0 >= LIMITS.files {
            return Err(libc::ENOSPC);
        }
        self.dir(way)?.insert(name, thing);
        Ok(vec![])
    }

    fn contents(&mut self, way: &Way, name: &str) -> std::result::Result<&mut Vec<u8>, i32> {
        match self.dir(way)?.get_mut(name) {
            Some(Thing::File(contents)) => Ok(contents),
            Some(Thing::Directory(_)) => Err(libc::EISDIR),
            Some(Thing::Link(_)) => Err(libc::EINVAL),
            None => Err(libc::ENOENT),
        }
    }

    fn resize(&mut self, way: &Way, name: &str, size: u64) -> Outcome {
        let length = self.contents(way, name)?.len() as u64;
        if size > length && size > LIMITS.file_bytes {
            return Err(libc::EFBIG);
        }
        if size > length && self.used().1 + size - length > LIMITS.total_bytes {
            return Err(libc::ENOSPC);
        }
        self.contents(way, name)?.resize(size as usize, 0);
        Ok(vec![])
    }

    fn rename(
        &mut self,
        from: &Way,
        name: &'static str,
        to: &Way,
        new_name: &'static str,
        mode: RenameMode,
    ) -> Outcome {
        self.dir(from)?;
        self.dir(to)?;
        if from.0 != to.0 {
            return Err(libc::EXDEV);
        }
        let source = self.dir(from)?.get(name).cloned().ok_or(libc::ENOENT)?;
        let target = self.dir(to)?.get(new_name).cloned();
        match (mode, &target) {
            (RenameMode::NoReplace, Some(_)) => return Err(libc::EEXIST),
            (RenameMode::Exchange, None) => return Err(libc::ENOENT),
            _ => {}
        }
        let join = |way: &Way, name| way.1.iter().copied().chain([name]).collect::<Vec<_>>();
        let (source_path, target_path) = (join(from, name), join(to, new_name));
        if target_path.starts_with(&source_path) && target_path != source_path {
            return Err(libc::EINVAL);
        }
        if source_path.starts_with(&target_path) && target_path != source_path {
            return Err(if mode == RenameMode::Exchange { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        if source_path == target_path {
            return Ok(vec![]);
        }
        if mode == RenameMode::Exchange {
            self.dir(from)?.insert(name, target.unwrap());
            self.dir(to)?.insert(new_name, source);
            return Ok(vec![]);
        }
        match (&source, &target) {
            (Thing::Directory(_), Some(Thing::Directory(inner))) if !inner.is_empty() => return Err(libc::ENOTEMPTY),
            (Thing::Directory(_), Some(Thing::File(_) | Thing::Link(_))) => return Err(libc::ENOTDIR),
            (Thing::File(_) | Thing::Link(_), Some(Thing::Directory(_))) => return Err(libc::EISDIR),
            _ => {}
        }
        self.dir(from)?.remove(name);
        self.dir(to)?.insert(new_name, source);
        Ok(vec![])
    }

    fn apply(&mut self, op: &Op) -> Outcome {
        match op {
            Op::Create(way, name, exclusive) => match self.dir(way)?.get(name) {
                Some(_) if *exclusive => Err(libc::EEXIST),
                Some(Thing::File(_)) => Ok(vec![1]),
                Some(Thing::Directory(_)) => Err(libc::EISDIR),
                Some(Thing::Link(_)) => Err(libc::EEXIST),
                None => self.add(way, name, Thing::File(vec![])).map(|_| vec![0]),
            },
            Op::Mkdir(way, name) => self.add(way, name, Thing::Directory(Tree::new())),
            Op::Symlink(way, name) => self.add(way, name, Thing::Link((*name).to_owned())),
            Op::Unlink(way, name) => match self.dir(way)?.get(name) {
                None => Err(libc::ENOENT),
                Some(Thing::Directory(_)) => Err(libc::EISDIR),
                Some(_) => Ok(self.dir(way)?.remove(name).map(|_| vec![]).unwrap()),
            },
            Op::Rmdir(way, name) => match self.dir(way)?.get(name) {
                None => Err(libc::ENOENT),
                Some(Thing::Directory(inner)) if inner.is_empty() => {
                    Ok(self.dir(way)?.remove(name).map(|_| vec![]).unwrap())
                }
                Some(Thing::Directory(_)) => Err(libc::ENOTEMPTY),
                Some(_) => Err(libc::ENOTDIR),
            },
            Op::Rename(from, name, to, new_name, mode) => self.rename(from, name, to, new_name, *mode),
            Op::Write(way, name, offset, bytes) => {
                let length = self.contents(way, name)?.len() as u64;
                let end = offset + bytes.len() as u64;
                if bytes.is_empty() {
                    return Ok(vec![]);
                }
                self.resize(way, name, end.max(length))?;
                self.contents(way, name)?[*offset as usize..end as usize].copy_from_slice(bytes);
                Ok(vec![])
            }
            Op::SetLen(way, name, size) => self.resize(way, name, *size),
            Op::Read(way, name, offset, size) => {
                let contents = self.contents(way, name)?;
                Ok(contents.iter().skip(*offset as usize).take(*size as usize).copied().collect())
            }
            Op::Adopt(way, name, bytes) => {
                if let Some(Thing::Directory(_)) = self.dir(way)?.get(name) {
                    return Err(libc::EISDIR);
                }
                let (files, used) = self.used();
                if bytes.len() as u64 > LIMITS.file_bytes {
                    return Err(libc::EFBIG);
                }
                if used + bytes.len() as u64 > LIMITS.total_bytes || files >= LIMITS.files {
                    return Err(libc::ENOSPC);
                }
                self.dir(way)?.insert(name, Thing::File(bytes.clone()));
                Ok(vec![])
            }
            Op::Release(way, name) => {
                let bytes = self.contents(way, name)?.clone();
                self.dir(way)?.remove(name);
                Ok(bytes)
            }
            Op::Reopen => Ok(vec![]),
        }
    }
}

const PLACES: [Dir; 2] = [HERE, THERE];

impl World {
    fn walk(&self, way: &Way) -> Result<Dir> {
        way.1.iter().try_fold(PLACES[way.0], |dir, name| {
            let id = self.scratch.lookup(&dir, OsStr::new(name))?.ok_or(ScratchError::NotFound)?;
            match self.scratch.attr(id)?.kind {
                NodeKind::Directory => Ok(Dir::Node(id)),
                _ => Err(ScratchError::NotADirectory),
            }
        })
    }

    fn node(&self, way: &Way, name: &str) -> Result<ScratchId> {
        self.scratch.lookup(&self.walk(way)?, OsStr::new(name))?.ok_or(ScratchError::NotFound)
    }

    fn apply(&self, op: &Op) -> Result<Vec<u8>> {
        let (scratch, name) = (&self.scratch, OsStr::new);
        match op {
            Op::Create(way, n, exclusive) => {
                scratch.create(&self.walk(way)?, name(n), 0o600, *exclusive).map(|(_, there)| vec![u8::from(there)])
            }
            Op::Mkdir(way, n) => scratch.mkdir(&self.walk(way)?, name(n), 0o700).map(|_| vec![]),
            Op::Symlink(way, n) => scratch.symlink(&self.walk(way)?, name(n), name(n)).map(|_| vec![]),
            Op::Unlink(way, n) => scratch.unlink(&self.walk(way)?, name(n)).map(|()| vec![]),
            Op::Rmdir(way, n) => scratch.rmdir(&self.walk(way)?, name(n)).map(|()| vec![]),
            Op::Rename(from, n, to, m, mode) => {
                scratch.rename(&self.walk(from)?, name(n), &self.walk(to)?, name(m), *mode).map(|()| vec![])
            }
            Op::Write(way, n, offset, bytes) => scratch.write(self.node(way, n)?, *offset, bytes).map(|()| vec![]),
            Op::SetLen(way, n, size) => scratch.set_len(self.node(way, n)?, *size).map(|()| vec![]),
            Op::Read(way, n, offset, size) => scratch.read(self.node(way, n)?, *offset, *size),
            Op::Adopt(way, n, bytes) => {
                scratch.adopt(&self.walk(way)?, name(n), bytes, 0o600, SystemTime::now()).map(|_| vec![])
            }
            Op::Release(way, n) => scratch.release(self.node(way, n)?),
            Op::Reopen => Ok(vec![]),
        }
    }

    fn tree(&self, dir: Dir) -> Tree {
        let list = self.scratch.list(&dir, ScratchId(0)).unwrap();
        list.into_iter()
            .map(|entry| {
                let name = NAMES.into_iter().find(|name| entry.name == *name).unwrap();
                assert_eq!(self.find(dir, name), Some(entry.id));
                let attr = self.scratch.attr(entry.id).unwrap();
                let thing = match entry.kind {
                    NodeKind::Directory => Thing::Directory(self.tree(Dir::Node(entry.id))),
                    NodeKind::File => Thing::File(self.bytes(entry.id)),
                    NodeKind::Symlink => {
                        Thing::Link(String::from_utf8(self.scratch.readlink(entry.id).unwrap()).unwrap())
                    }
                };
                if let Thing::File(contents) = &thing {
                    assert_eq!(attr.size, contents.len() as u64);
                }
                (name, thing)
            })
            .collect()
    }
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn a_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&NAMES[..])
}

fn a_way() -> impl Strategy<Value = Way> {
    // Mostly the first place, or most moves would be refused.
    (prop::sample::select(&[0, 0, 0, 1][..]), prop::collection::vec(a_name(), 0..3))
}

fn an_op() -> impl Strategy<Value = Op> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..45);
    let mode = prop::sample::select(&[RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange][..]);
    prop_oneof![
        4 => (a_way(), a_name(), any::<bool>()).prop_map(|(w, n, x)| Op::Create(w, n, x)),
        4 => (a_way(), a_name()).prop_map(|(w, n)| Op::Mkdir(w, n)),
        1 => (a_way(), a_name()).prop_map(|(w, n)| Op::Symlink(w, n)),
        2 => (a_way(), a_name()).prop_map(|(w, n)| Op::Unlink(w, n)),
        2 => (a_way(), a_name()).prop_map(|(w, n)| Op::Rmdir(w, n)),
        8 => (a_way(), a_name(), a_way(), a_name(), mode).prop_map(|(w, n, x, m, mode)| Op::Rename(w, n, x, m, mode)),
        4 => (a_way(), a_name(), 0..20u64, bytes()).prop_map(|(w, n, at, bytes)| Op::Write(w, n, at, bytes)),
        2 => (a_way(), a_name(), 0..45u64).prop_map(|(w, n, size)| Op::SetLen(w, n, size)),
        2 => (a_way(), a_name(), 0..20u64, 0..50u32).prop_map(|(w, n, at, size)| Op::Read(w, n, at, size)),
        2 => (a_way(), a_name(), bytes()).prop_map(|(w, n, bytes)| Op::Adopt(w, n, bytes)),
        1 => (a_way(), a_name()).prop_map(|(w, n)| Op::Release(w, n)),
        1 => Just(Op::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn scratch_files_behave_as_a_model_of_them(ops in prop::collection::vec(an_op(), 1..60)) {
        let (mut world, mut model) = (World::with(LIMITS), Model::default());
        // Something to begin with, or most operations would find nothing.
        let mut all = vec![Op::Mkdir((0, vec![]), "a"), Op::Mkdir((0, vec!["a"]), "b"), Op::Create((0, vec!["a"]), "c", true)];
        all.extend(ops);
        for (step, op) in all.iter().enumerate() {
            if matches!(op, Op::Reopen) {
                world = world.reopened();
            }
            let outcome = world.apply(op).map_err(|error| error.errno());
            prop_assert_eq!(&outcome, &model.apply(op), "step {}: {:?}", step, op);
            for (i, place) in PLACES.into_iter().enumerate() {
                prop_assert_eq!(&world.tree(place), &model.0[i], "after step {}: {:?}", step, op);
            }
            let (files, bytes) = model.used();
            prop_assert_eq!(world.scratch.used(), Used { bytes, files });
        }
    }
}
