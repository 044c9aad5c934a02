//! Writes through the filesystem, without a mount: what a save and a rename leave.

use std::ffi::OsStr;
use std::path::PathBuf;

use cogfs::curation::{Edit, Entity, Title, TrashName};
use cogfs::fs::{CogFs, Lookup, Places, RenameMode, SetAttr};

use super::{Lab, ROOT, session};

/// A thread that no process has.
const EDITOR: u32 = 4_000_000_000;

struct Writable {
    fs: CogFs,
    errors: PathBuf,
}

impl Writable {
    fn new(lab: &Lab) -> Self {
        let errors = lab.world.root().join("errors.jsonl");
        let places = Places { scratch: lab.world.root().join("scratch"), errors: errors.clone() };
        Self { fs: CogFs::open_writable(&lab.layout, "/mnt", &places).unwrap(), errors }
    }

    fn ino(&self, path: &str) -> u64 {
        path.split('/').fold(ROOT, |dir, name| match self.fs.lookup(dir, OsStr::new(name)).unwrap() {
            Lookup::Found(attr) => attr.ino,
            Lookup::Absent { .. } => panic!("{path}: {name} is not there"),
        })
    }

    fn exists(&self, dir: &str, name: &str) -> bool {
        matches!(self.fs.lookup(self.ino(dir), OsStr::new(name)).unwrap(), Lookup::Found(_))
    }

    fn read(&self, path: &str) -> String {
        String::from_utf8(self.fs.read(self.ino(path), 0, 1 << 20).unwrap()).unwrap()
    }

    /// Writes a whole `meta.md` in place, and neither syncs nor closes it.
    fn write(&self, path: &str, text: &str) {
        let ino = self.ino(path);
        self.fs.setattr(ino, &SetAttr { size: Some(0), thread: EDITOR, ..SetAttr::default() }).unwrap();
        self.fs.write(ino, 0, text.as_bytes(), EDITOR).unwrap();
    }

    /// Makes a file beside it and renames that onto it.
    fn replace(&self, dir: &str, text: &str) -> Result<(), i32> {
        let (parent, new) = (self.ino(dir), OsStr::new("new"));
        let ino = self.fs.create(parent, new, 0o600, true, EDITOR).unwrap().ino;
        self.fs.write(ino, 0, text.as_bytes(), EDITOR).unwrap();
        let onto = (parent, OsStr::new("meta.md"));
        self.fs.rename((parent, new), onto, RenameMode::Replace, EDITOR).map_err(|error| error.errno())
    }
}

fn dir_of(lab: &Lab) -> String {
    format!("projects/boats/{}", lab.commit(1).dir_name)
}

#[test]
fn what_was_written_in_place_is_a_draft_before_a_file_takes_its_place_whether_that_is_taken_or_not() {
    for (text, result) in [("no document either\n", Err(libc::EIO)), ("---\n---\n", Ok(()))] {
        let lab = Lab::boats();
        let (fs, dir) = (Writable::new(&lab), dir_of(&lab));
        fs.fs.read_for(EDITOR, fs.ino(&format!("{dir}/meta.md")), 0, 1 << 20).unwrap();
        fs.write(&format!("{dir}/meta.md"), "half of a docu");
        assert_eq!(fs.replace(&dir, text), result);
        let draft = format!(".cogfs/drafts/{}.md", lab.commit(1).id);
        assert_eq!(fs.read(&draft), "half of a docu", "when {text:?} is renamed onto it");
        let log = std::fs::read_to_string(&fs.errors).unwrap();
        assert!(log.contains("half of a docu"), "the log says what was refused: {log}");
    }
}

#[test]
fn a_file_that_was_only_truncated_leaves_no_draft() {
    let lab = Lab::boats();
    let (fs, dir) = (Writable::new(&lab), dir_of(&lab));
    fs.write(&format!("{dir}/meta.md"), "");
    assert_eq!(fs.replace(&dir, "---\ntitle: New\n---\n"), Ok(()));
    assert!(!fs.exists(".cogfs/drafts", &format!("{}.md", lab.commit(1).id)));
}

#[test]
fn commits_that_exchange_their_names_keep_a_title_that_the_name_says_already() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    let (one, two) = (lab.commit(1), lab.commit(2));
    // The second is called just what the first's title says.
    let words = cogfs::render::slug(&one.title, 80);
    lab.edit(Edit::Retitle { commit: 2, title: Title::User(two.title), name: Some(words.clone()) });
    let fs = Writable::new(&lab);
    let dir = fs.ino("projects/boats");
    let (from, to) = (OsStr::new(&one.dir_name), OsStr::new(&words));
    fs.fs.rename((dir, from), (dir, to), RenameMode::Exchange, EDITOR).unwrap();
    let after = lab.commit(1);
    assert_eq!((after.dir_name, after.title), (words, one.title));
    assert_eq!(lab.commit(2).dir_name, one.dir_name);
}

#[test]
fn what_is_restored_by_its_name_is_what_has_it_and_not_what_ends_in_it() {
    let lab = Lab::with(&[session("boats", 1), session("boats", 2)]);
    for (row, name) in [(1, "old_oars"), (2, "oars")] {
        let (entity, name) = (Entity::commit(row), TrashName::Typed(name.to_owned()));
        lab.edit(Edit::Delete { entity, name });
    }
    let fs = Writable::new(&lab);
    fs.fs.write(fs.ino(".cogfs/ctl"), 0, b"restore oars\n", EDITOR).unwrap();
    assert!(fs.exists(".cogfs/trash", "old_oars"));
    assert!(!fs.exists(".cogfs/trash", "oars"));
}

#[test]
fn a_document_that_can_be_written_to_is_not_stored_ahead() {
    let lab = Lab::boats();
    let writable = Writable::new(&lab);
    let dir = dir_of(&lab);
    let (page, document) = (writable.ino(&format!("{dir}/meta.json")), writable.ino(&format!("{dir}/meta.md")));
    let stored = |fs: &CogFs| {
        let mut stored = Vec::new();
        fs.beside(page, 1 << 20, &|_| true, &mut |file| stored.push(file.ino)).unwrap();
        stored
    };
    let read_only = CogFs::open(&lab.layout, "/mnt").unwrap();
    assert!(stored(&read_only).contains(&document));
    let stored = stored(&writable.fs);
    assert!(!stored.is_empty() && !stored.contains(&document), "{stored:x?}");
}
