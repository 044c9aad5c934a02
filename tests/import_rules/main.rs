//! What an import makes of logs that are copied, cut, moved, read twice or read in another order: always the same.
//!
//! Uses the library, so that ids and stored sizes can be compared; the program only where it must be killed.

#[path = "../common/mod.rs"]
mod common;

mod agents;
mod cogcommit;
mod contents;
mod copies;
mod exports;
mod growth;
mod large;
mod machines;
mod opencode;
mod places;
mod subagents;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use cogfs::derived;
use cogfs::ingest::{self, Format, Options, Summary};
use cogfs::model::SectionSize;
use cogfs::render;
use cogfs::store::search::SearchIndex;
use cogfs::store::{Layout, commits, index::ENTRY_BYTES, open_reader, raw, sessions, turns};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;

/// Every table by what is the same on every machine: ids in place of rows, without the times of the import.
const TABLES: [&str; 11] = [
    "SELECT 'project', hex(id), identity, name, dir_name, remote FROM projects",
    "SELECT 'path', path, hex(p.id) FROM project_paths JOIN projects p ON p.row = project_row",
    "SELECT 'commit', hex(c.id), hex(p.id), c.dir_name, title, title_rank, git_hash, git_subject, closed_by, started_at,
         closed_at, parallel FROM cognitive_commits c JOIN projects p ON p.row = c.project_row",
    "WITH RECURSIVE path(row, kind, names) AS (
         SELECT row, kind, coalesce((SELECT hex(id) FROM projects p WHERE p.row = -parent), '') || '/' || name FROM facets
         WHERE parent <= 0
         UNION ALL SELECT f.row, f.kind, p.names || '/' || f.name FROM path p JOIN facets f ON f.parent = p.row)
         SELECT 'view', p.kind, p.names, hex(c.id) FROM path p JOIN facet_links l ON l.facet_row = p.row
         JOIN cognitive_commits c ON c.row = l.commit_row",
    "SELECT 'git', hex(c.id), g.hash, g.branch, g.subject, g.at FROM git_commits g
         JOIN cognitive_commits c ON c.row = g.commit_row",
    "SELECT 'session', hex(s.id), s.native_id, s.part, hex(c.id), hex(p.id), s.parent_native, s.subagent_kind, s.ordinal,
         s.dir_name, s.title, s.cwd, s.git_branch, s.git_remote, s.agent_version, s.models, s.closed, s.started_at,
         s.ended_at, s.turns, s.prompts, s.tool_calls, s.images, s.tokens_input, s.tokens_output, s.tokens_cache_read,
         s.tokens_cache_write, s.section_bytes, s.section_turn_links, s.section_visual_links, s.page_bytes, s.page_links, s.raw_bytes,
         s.raw_records, s.tool_names, hex(s.turn_index)
         FROM sessions s LEFT JOIN cognitive_commits c ON c.row = s.commit_row LEFT JOIN sessions p ON p.row = s.parent_row",
    "SELECT 'turn', hex(s.id), t.row & 65535, hex(t.id), t.role, t.at, t.model, t.label, t.images, t.tool_name,
         t.tool_call_id, t.tool_status, t.text, t.tool_input, t.tool_output
         FROM turns t JOIN sessions s ON s.row = t.row >> 16",
    "SELECT 'visual', hex(v.id), hex(c.id), hex(s.id), v.turn_row & 65535, v.ordinal, v.file_name, v.sha256, v.mime,
         v.bytes, v.captured_at FROM visuals v JOIN sessions s ON s.row = v.turn_row >> 16
         LEFT JOIN cognitive_commits c ON c.row = v.commit_row",
    "SELECT 'usage', hex(u.key), hex(s.id), u.model, u.input, u.output, u.cache_read, u.cache_write
         FROM message_usage u JOIN sessions s ON s.row = u.session_row",
    "SELECT 'title', agent, leaf, title FROM pending_titles",
    "SELECT 'link', l.agent, l.native_id, hex(s.id) FROM subagent_links l JOIN sessions s ON s.row = l.parent_row",
];

/// A data folder of its own, and a folder for logs.
struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("logs")).unwrap();
        Self { dir }
    }

    /// A home into which places are imported, one after the other.
    #[track_caller]
    pub fn with(places: &[&Path]) -> Self {
        let home = Self::new();
        for place in places {
            home.import(place);
        }
        home
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    pub fn layout(&self) -> Layout {
        Layout::new(self.dir.path().join("home"))
    }

    /// Imports a file or folder, and checks that what is stored agrees with itself.
    #[track_caller]
    pub fn import(&self, place: &Path) -> Summary {
        let options = Options { places: vec![place.to_owned()], dry_run: false };
        let summary = ingest::import(&self.layout(), &options, &AtomicBool::new(false), &mut |_| {}).unwrap();
        self.check();
        summary
    }

    /// Imports what is of one format alone, and checks the same.
    #[track_caller]
    pub fn import_from(&self, format: Format, place: &Path) -> Summary {
        let options = Options { places: vec![place.to_owned()], dry_run: false };
        let never = AtomicBool::new(false);
        let summary = ingest::import_from(&self.layout(), &options, Some(format), &never, &mut |_| {}).unwrap();
        self.check();
        summary
    }

    pub fn reader(&self) -> Connection {
        open_reader(&self.layout()).unwrap()
    }

    /// One line a row of what was imported, and one a session's raw records.
    pub fn dump(&self) -> Vec<String> {
        let conn = self.reader();
        let mut lines: Vec<String> = TABLES.iter().flat_map(|sql| rows(&conn, sql)).collect();
        lines.sort();
        let all = session_rows(&conn);
        lines.extend(all.into_iter().map(|(id, row)| format!("raw {id} {:?}", raw_of(&conn, row))));
        lines
    }

    /// How many turns a search finds.
    #[track_caller]
    pub fn found(&self, query: &str) -> i64 {
        let index = SearchIndex::open(&self.layout(), &self.reader()).unwrap();
        let count = "SELECT count(*) FROM turns_fts WHERE turns_fts MATCH ?1";
        index.conn().query_row(count, [query], |r| r.get(0)).unwrap()
    }

    /// The single value of a query.
    #[track_caller]
    pub fn count(&self, sql: &str) -> i64 {
        self.reader().query_row(sql, [], |r| r.get(0)).unwrap()
    }

    /// The first column of all rows, as text.
    #[track_caller]
    pub fn texts(&self, sql: &str) -> Vec<String> {
        let conn = self.reader();
        let mut query = conn.prepare(sql).unwrap();
        let found = query.query_map([], |r| r.get(0)).unwrap();
        found.map(Result::unwrap).collect()
    }

    /// The raw records of all parts of a session, in order.
    pub fn raw(&self, native_id: &str) -> String {
        let conn = self.reader();
        let mut query = conn.prepare("SELECT row FROM sessions WHERE native_id = ?1 ORDER BY part").unwrap();
        let parts: Vec<i64> = query.query_map([native_id], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        parts.into_iter().map(|row| raw_of(&conn, row)).collect()
    }

    /// Stored sizes are those of freshly rendered text, every word is found, and references lead somewhere.
    #[track_caller]
    fn check(&self) {
        let conn = self.reader();
        for (_, row) in session_rows(&conn) {
            let session = sessions::get(&conn, row).unwrap().unwrap();
            let index = sessions::turn_index(&conn, row).unwrap().unwrap();
            let (mut size, mut count) = (SectionSize::default(), 0);
            turns::for_each(&conn, row, |turn| {
                size += render::section_size(&turn);
                count += 1;
                let entry = index.get(turn.number).expect("an entry for each turn");
                let (bytes, links) = render::turn_len(&turn);
                let stored = (u64::from(entry.bytes), u64::from(entry.visual_links));
                assert_eq!(stored, (bytes, links), "turn {} of {}", turn.number, session.native_id);
                assert_eq!(
                    (entry.role, entry.at),
                    (turn.role, turn.at),
                    "turn {} of {}",
                    turn.number,
                    session.native_id
                );
            })
            .unwrap();
            let (right, right_index) = derived::session(&conn, &session).unwrap();
            assert_eq!(index, right_index, "the index of {} part {}", session.native_id, session.part);
            assert_eq!(
                format!("{session:?}"),
                format!("{right:?}"),
                "what is computed of {} part {}",
                session.native_id,
                session.part
            );
            assert_eq!(session.sections, size, "the sections of {} part {}", session.native_id, session.part);
            assert_eq!(
                (session.turns, index.packed.len()),
                (count, count as usize * ENTRY_BYTES),
                "{}",
                session.native_id
            );
            assert_eq!(session.raw_bytes, raw_of(&conn, row).len() as u64, "the raw records of {}", session.native_id);
            assert!(session.turns == 0 || session.commit_row.is_some(), "{} is shown nowhere", session.native_id);
        }
        assert_eq!(sessions::wrong_tokens(&conn).unwrap(), [], "sums of tokens");
        assert_eq!(commits::out_of_step(&conn).unwrap(), [0; 0], "times of commits");
        assert_eq!(raw::misplaced(&conn).unwrap(), [0; 0], "places of raw records");
        drop(conn);
        let conn = Connection::open(self.layout().database()).unwrap();
        let index = SearchIndex::open(&self.layout(), &conn).unwrap();
        assert!(index.is_sound().unwrap());
        assert!(!index.is_behind(&conn).unwrap(), "words are missing in the search index");
        assert_eq!(
            rows(index.conn(), "SELECT rowid FROM turns_fts ORDER BY rowid"),
            rows(&conn, "SELECT row FROM turns ORDER BY row"),
            "the turns in the search index"
        );
        let lost = "SELECT count(*) FROM cognitive_commits c
            WHERE NOT EXISTS (SELECT 1 FROM sessions s WHERE s.commit_row = c.row AND s.parent_row IS NULL)";
        assert_eq!(conn.query_row(lost, [], |r| r.get::<_, i64>(0)).unwrap(), 0, "commits without sessions");
        assert!(rows(&conn, "PRAGMA foreign_key_check").is_empty(), "references that lead nowhere");
        let views = "SELECT l.row FROM facet_links l LEFT JOIN cognitive_commits c ON c.row = l.commit_row
                LEFT JOIN facets f ON f.row = l.facet_row WHERE c.row IS NULL OR f.row IS NULL
            UNION ALL SELECT f.row FROM facets f LEFT JOIN cognitive_commits c ON c.row = f.latest
                LEFT JOIN facets d ON d.row = f.parent
                WHERE f.latest IS NOT NULL AND c.row IS NULL OR f.parent > 0 AND d.row IS NULL
            UNION ALL SELECT c.row FROM cognitive_commits c WHERE 1 <> (SELECT count(*) FROM facet_links l
                JOIN facets f ON f.row = l.facet_row WHERE l.commit_row = c.row AND f.kind = 1)";
        assert!(rows(&conn, views).is_empty(), "links in views that lead nowhere, or a commit without its day");
    }
}

/// The two differ in nothing; else the test fails with the first lines that do.
#[track_caller]
fn assert_same(left: &[String], right: &[String], what: &str) {
    let short = |line: &String| line.chars().take(600).collect::<String>();
    let only = |a: &[String], b: &[String]| a.iter().filter(|l| !b.contains(l)).take(4).map(short).collect::<Vec<_>>();
    assert!(left == right, "{what}\nhere: {:#?}\nthere: {:#?}", only(left, right), only(right, left));
}

/// A fixture.
fn fixture(path: &str) -> PathBuf {
    common::fixtures().join(path)
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

/// All sessions, in the order of their ids.
fn session_rows(conn: &Connection) -> Vec<(String, i64)> {
    let mut query = conn.prepare("SELECT hex(id), row FROM sessions ORDER BY id").unwrap();
    let found = query.query_map([], |r| Ok((r.get(0)?, r.get(1)?)));
    found.unwrap().map(Result::unwrap).collect()
}

fn raw_of(conn: &Connection, row: i64) -> String {
    let mut bytes = Vec::new();
    raw::for_each_chunk(conn, row, |chunk| bytes.extend_from_slice(chunk)).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}
