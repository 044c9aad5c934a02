//! What the database says of edits: the log, what waits for the cloud, and what that makes of a database as it was before.

use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Map, Value};

/// Looks into a database beside the mount.
pub struct Record {
    conn: Connection,
}

/// Something that waits.
struct Waiting {
    kind: i64,
    id: Vec<u8>,
    fields: Map<String, Value>,
}

const PROJECT: i64 = 1;
const COMMIT: i64 = 2;
const SESSION: i64 = 3;

fn hex(id: &[u8]) -> String {
    let text: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| text[part].to_owned()).join("-")
}

fn name(kind: i64, id: &[u8]) -> String {
    match kind {
        COMMIT => format!("commit {}", hex(id)),
        PROJECT => "project".to_owned(),
        SESSION => "session".to_owned(),
        _ => "turn".to_owned(),
    }
}

impl Record {
    pub fn open(database: &Path) -> Self {
        let conn = Connection::open(database).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
        Self { conn }
    }

    /// How many lines the log has, and those behind one, sorted.
    pub fn log_since(&self, number: u64) -> (usize, Vec<String>) {
        let count: usize =
            self.conn.prepare_cached("SELECT count(*) FROM edits").unwrap().query_row([], |r| r.get(0)).unwrap();
        let mut query =
            self.conn.prepare_cached("SELECT kind, entity_id, action FROM edits WHERE seq > ?1 ORDER BY seq").unwrap();
        let line = |r: &rusqlite::Row<'_>| {
            let (kind, id, action): (i64, Vec<u8>, String) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(format!("{} {action}", name(kind, &id)))
        };
        let mut lines: Vec<String> =
            query.query_map([i64::try_from(number).unwrap()], line).unwrap().map(Result::unwrap).collect();
        lines.sort();
        (count, lines)
    }

    fn queue(&self) -> Vec<Waiting> {
        let mut query =
            self.conn.prepare_cached("SELECT kind, entity_id, fields FROM sync_queue ORDER BY seq").unwrap();
        let waiting = |r: &rusqlite::Row<'_>| {
            let fields = serde_json::from_str(&r.get::<_, String>(2)?).unwrap();
            Ok(Waiting { kind: r.get(0)?, id: r.get(1)?, fields })
        };
        query.query_map([], waiting).unwrap().map(Result::unwrap).collect()
    }

    /// What waits, as [`super::model::Model::waiting`] has it.
    pub fn waiting(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for mut waiting in self.queue() {
            for field in ["deleted_at", "project"] {
                if let Some(value) = waiting.fields.get_mut(field) {
                    *value = Value::Bool(true);
                }
            }
            lines.push(format!("{} {}", name(waiting.kind, &waiting.id), Value::Object(waiting.fields)));
        }
        lines.sort();
        lines
    }

    /// What users can change of every record.
    pub fn curated(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (kind, sql) in [
            (
                "commit",
                "SELECT c.id, c.title || '|' || c.tags || '|' || c.hidden || '|' || c.published || '|' || c.display_order
                     || '|' || c.note || '|' || hex(p.id) || '|' || coalesce(c.deleted_at, '')
                 FROM cognitive_commits c JOIN projects p ON p.row = c.project_row",
            ),
            ("project", "SELECT id, name FROM projects"),
            ("session", "SELECT id, coalesce(deleted_at, '') || '' FROM sessions"),
            ("turn", "SELECT id, deleted_at || '' FROM turns WHERE deleted_at IS NOT NULL"),
        ] {
            let mut query = self.conn.prepare(sql).unwrap_or_else(|e| panic!("{kind}: {e}"));
            let line = |r: &rusqlite::Row<'_>| Ok(format!("{kind} {}: {}", hex(&r.get::<_, Vec<u8>>(0)?), r.get::<_, String>(1)?));
            lines.extend(query.query_map([], line).unwrap().map(Result::unwrap));
        }
        lines.sort();
        lines
    }

    /// Does to `before`, a copy of the database from before the edits, what waits.
    pub fn replay_onto(&self, before: &Path) -> Self {
        let onto = Self::open(before);
        for Waiting { kind, id, fields } in self.queue() {
            for (field, value) in fields {
                onto.set(kind, &id, &field, &value);
            }
        }
        onto
    }

    fn set(&self, kind: i64, id: &[u8], field: &str, value: &Value) {
        let sql = match (kind, field) {
            (PROJECT, "name") => "UPDATE projects SET name = ?2 WHERE id = ?1",
            (COMMIT, "title") => "UPDATE cognitive_commits SET title = ?2 WHERE id = ?1",
            (COMMIT, "tags") => "UPDATE cognitive_commits SET tags = ?2 WHERE id = ?1",
            (COMMIT, "hidden") => "UPDATE cognitive_commits SET hidden = ?2 WHERE id = ?1",
            (COMMIT, "published") => "UPDATE cognitive_commits SET published = ?2 WHERE id = ?1",
            (COMMIT, "order") => "UPDATE cognitive_commits SET display_order = ?2 WHERE id = ?1",
            (COMMIT, "note") => "UPDATE cognitive_commits SET note = ?2 WHERE id = ?1",
            (COMMIT, "project") => {
                "UPDATE cognitive_commits SET project_row = (SELECT row FROM projects WHERE id = unhex(replace(?2, '-', '')))
                 WHERE id = ?1"
            }
            (COMMIT, "deleted_at") => "UPDATE cognitive_commits SET deleted_at = ?2 WHERE id = ?1",
            (SESSION, "deleted_at") => "UPDATE sessions SET deleted_at = ?2 WHERE id = ?1",
            (_, "deleted_at") => "UPDATE turns SET deleted_at = ?2 WHERE id = ?1",
            _ => panic!("{} has no field {field}", name(kind, id)),
        };
        let done = match value {
            Value::Null => self.conn.execute(sql, params![id, rusqlite::types::Null]),
            Value::Bool(yes) => self.conn.execute(sql, params![id, yes]),
            Value::Number(number) => self.conn.execute(sql, params![id, number.as_i64().unwrap()]),
            Value::String(text) => self.conn.execute(sql, params![id, text]),
            list => self.conn.execute(sql, params![id, list.to_string()]),
        };
        assert_eq!(done.unwrap(), 1, "{} {field}", name(kind, id));
    }
}
