//! A data folder that damaged logs are imported into, and what must hold of it whatever they say.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cogfs::fs::{CogFs, NodeKind};
use cogfs::ingest::{self, Options, Summary};
use cogfs::store::{Layout, Writer, open_reader};
use cogfs::upkeep::repair::{self, Mode};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

/// Rows that must not be there, by what they would be.
const WRONG: [(&str, &str); 3] = [
    ("references that lead nowhere", "PRAGMA foreign_key_check"),
    (
        "commits without sessions",
        "SELECT c.row FROM cognitive_commits c
            WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.commit_row = c.row AND s.parent_row IS NULL)",
    ),
    ("sessions that are shown nowhere", "SELECT row FROM sessions WHERE turns > 0 AND commit_row IS NULL"),
];

/// Tables that say where something was read and when: another path of the same log changes them alone.
const OF_PLACES: [&str; 4] = ["sources", "changes", "state", "sqlite_sequence"];

pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("cogfs-fuzz-").tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir }
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Keeps the folder, for a look at what made a test fail.
    pub fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }

    fn layout(&self) -> Layout {
        Layout::new(self.dir.path().join("home"))
    }

    pub fn import(&self, place: &Path) -> Summary {
        let options = Options { places: vec![place.to_owned()], dry_run: false };
        ingest::import(&self.layout(), &options, &AtomicBool::new(false), &mut |_| {})
            .unwrap_or_else(|e| panic!("one bad input costs more than itself: {e}"))
    }

    /// Every row of every table; of those that tell of a log's contents alone, if wanted.
    pub fn dump(&self, of_places: bool) -> Vec<String> {
        let conn = open_reader(&self.layout()).unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'";
        let names: Vec<String> =
            conn.prepare(tables).unwrap().query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        let wanted = names.iter().filter(|name| of_places || !OF_PLACES.contains(&name.as_str()));
        let mut lines: Vec<String> = wanted
            .flat_map(|name| {
                rows(&conn, &format!("SELECT * FROM {name}")).into_iter().map(move |r| format!("{name}: {r}"))
            })
            .collect();
        lines.sort();
        lines
    }

    /// What is computed agrees with what is kept, and every file has the length that is said of it.
    pub fn check(&self) {
        let mut writer = Writer::open(&self.layout()).unwrap();
        let report = repair::run(&mut writer, Mode::Look, &AtomicBool::new(false), &mut |_| {}).unwrap();
        assert!(!report.is_wrong() && !report.is_beyond_repair(), "what is computed is wrong: {report:?}");
        for (what, sql) in WRONG {
            assert_eq!(rows(writer.conn(), sql), [""; 0], "{what}");
        }
        drop(writer);
        let fs = CogFs::open(&self.layout(), "/mnt").unwrap();
        let mut dirs = vec![(1, String::new())];
        while let Some((dir, path)) = dirs.pop() {
            let mut seen = std::collections::HashSet::new();
            let mut entries = Vec::new();
            fs.readdir(dir, 0, true, &mut |entry| {
                entries.push(entry);
                true
            })
            .unwrap_or_else(|e| panic!("{path}: {e}"));
            for entry in entries.into_iter().skip(2) {
                let name = entry.name.to_str().expect("names are text").to_owned();
                let path = format!("{path}/{name}");
                let odd = |c: char| c == '/' || c.is_control();
                assert!(!name.is_empty() && name.len() <= 255 && !name.contains(odd), "{path:?}: no name of a file");
                assert!(
                    name != "." && name != ".." && seen.insert(name),
                    "{path:?}: there is one of that name already"
                );
                let attr = entry.attr.expect("attributes were asked for");
                assert_eq!(fs.getattr(entry.ino).unwrap(), attr, "{path}");
                match entry.kind {
                    NodeKind::Directory => dirs.push((entry.ino, path)),
                    NodeKind::Symlink => assert_eq!(fs.readlink(entry.ino).unwrap().len() as u64, attr.size, "{path}"),
                    NodeKind::File => assert_eq!(length(&fs, entry.ino, &path), attr.size, "{path}"),
                }
            }
        }
    }
}

fn length(fs: &CogFs, ino: u64, path: &str) -> u64 {
    let mut at = 0;
    loop {
        // An odd size: pieces end in the middle of everything.
        let piece = fs.read(ino, at, 300_007).unwrap_or_else(|e| panic!("{path}: {e}"));
        if piece.is_empty() {
            return at;
        }
        at += piece.len() as u64;
    }
}

fn rows(conn: &Connection, sql: &str) -> Vec<String> {
    let mut statement = conn.prepare(sql).unwrap();
    let columns = statement.column_count();
    let found = statement.query_map([], |row| {
        let cells = (0..columns).map(|i| row.get::<_, Cell>(i)).collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(format!("{cells:?}"))
    });
    found.unwrap().map(Result::unwrap).collect()
}
