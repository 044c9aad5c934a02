//! Turns: `row = session row << 16 | number`, so that a session's turns lie side by side in the file.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params};

use super::{Result, Transaction, id_column, visuals};
use crate::model::{Id, Millis, Role, Tool, ToolStatus, Turn};

const COLUMNS: &str = "row, role, at, model, label, images, tool_name, tool_status, text, tool_input, tool_output";

/// The row of a turn.
#[must_use]
pub fn row_of(session_row: i64, number: u32) -> i64 {
    session_row << 16 | i64::from(number & 0xffff)
}

/// The session and number of a turn's row.
#[must_use]
pub fn parts_of(row: i64) -> (i64, u32) {
    (row >> 16, (row & 0xffff) as u32)
}

fn read(conn: &Connection, row: &Row<'_>) -> Result<Turn> {
    let turn_row: i64 = row.get(0)?;
    let images: u32 = row.get(5)?;
    let role = Role::from_u8(row.get(1)?).unwrap_or(Role::System);
    let tool = match role {
        Role::Tool => Some(Tool {
            name: row.get::<_, Option<String>>(6)?.unwrap_or_default(),
            status: ToolStatus::from_u8(row.get(7)?).unwrap_or_default(),
            input: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
            output: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Turn {
        number: parts_of(turn_row).1,
        role,
        at: Millis(row.get(2)?),
        model: row.get(3)?,
        label: row.get(4)?,
        text: row.get(8)?,
        tool,
        visuals: if images > 0 { visuals::names_of_turn(conn, turn_row)? } else { Vec::new() },
    })
}

/// A turn by its row; `None` of one that is forgotten too.
///
/// # Errors
/// When SQLite cannot read.
pub fn get(conn: &Connection, row: i64) -> Result<Option<Turn>> {
    let mut query = conn.prepare_cached(&format!("SELECT {COLUMNS} FROM turns WHERE row = ?1 AND role <> 0"))?;
    let mut rows = query.query([row])?;
    rows.next()?.map(|r| read(conn, r)).transpose()
}

/// Gives every turn of a session that is not deleted to `each`, in order.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each(conn: &Connection, session_row: i64, each: impl FnMut(Turn)) -> Result<()> {
    for_some(conn, session_row, 0, u32::from(u16::MAX) + 1, each)
}

/// Gives every turn of a session to `each`, in order, with whether it is deleted.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_stored(conn: &Connection, session_row: i64, mut each: impl FnMut(Turn, bool)) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS}, deleted_at IS NOT NULL FROM turns WHERE row BETWEEN ?1 AND ?2 AND role <> 0 ORDER BY row"
    ))?;
    let mut rows = query.query([session_row << 16, (session_row << 16) + 65_535])?;
    while let Some(row) = rows.next()? {
        each(read(conn, row)?, row.get(11)?);
    }
    Ok(())
}

/// Gives at most `count` turns of a session that are not deleted to `each`, in order, from one number on.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_some(conn: &Connection, session_row: i64, from: u32, count: u32, mut each: impl FnMut(Turn)) -> Result<()> {
    let mut query = conn.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM turns WHERE row BETWEEN ?1 AND ?2 AND role <> 0 AND deleted_at IS NULL ORDER BY row LIMIT ?3"
    ))?;
    let first = (session_row << 16) + i64::from(from.min(u32::from(u16::MAX) + 1));
    let mut rows = query.query([first, (session_row << 16) + 65_535, i64::from(count)])?;
    while let Some(row) = rows.next()? {
        each(read(conn, row)?);
    }
    Ok(())
}

/// Whether a turn is deleted.
///
/// # Errors
/// When SQLite cannot read.
pub fn is_deleted(conn: &Connection, row: i64) -> Result<bool> {
    let mut query = conn.prepare_cached("SELECT 1 FROM turns WHERE row = ?1 AND deleted_at IS NOT NULL")?;
    Ok(query.exists([row])?)
}

/// The deleted turns of a session: row, and when.
///
/// # Errors
/// When SQLite cannot read.
pub fn deleted(conn: &Connection, session_row: i64) -> Result<Vec<(i64, Millis)>> {
    let mut query = conn.prepare_cached(
        "SELECT row, deleted_at FROM turns WHERE row BETWEEN ?1 AND ?2 AND deleted_at IS NOT NULL AND role <> 0
         ORDER BY row",
    )?;
    let rows =
        query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| Ok((r.get(0)?, Millis(r.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The deleted turns of a session with their ids, whether or not its contents are here.
///
/// # Errors
/// When SQLite cannot read.
pub fn deleted_anywhere(conn: &Connection, session_row: i64) -> Result<Vec<(i64, Id, Millis)>> {
    let mut query = conn.prepare_cached(
        "SELECT row, id, deleted_at FROM turns WHERE row BETWEEN ?1 AND ?2 AND deleted_at IS NOT NULL AND role <> 0
         UNION SELECT turn_row, turn_id, deleted_at FROM deleted_elsewhere WHERE turn_row BETWEEN ?1 AND ?2
         ORDER BY 1",
    )?;
    let rows = query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| {
        Ok((r.get(0)?, id_column(r, 1)?, Millis(r.get(2)?)))
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Marks a turn as deleted, or takes that back.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_deleted(tx: &Transaction<'_>, row: i64, at: Option<Millis>) -> Result<()> {
    tx.prepare_cached("UPDATE turns SET deleted_at = ?2 WHERE row = ?1")?.execute(params![row, at.map(|at| at.0)])?;
    Ok(())
}

/// The time of a turn.
///
/// # Errors
/// When SQLite cannot read.
pub fn at(conn: &Connection, row: i64) -> Result<Option<Millis>> {
    let mut query = conn.prepare_cached("SELECT at FROM turns WHERE row = ?1 AND role <> 0")?;
    Ok(query.query_row([row], |r| Ok(Millis(r.get(0)?))).optional()?)
}

/// The id of a turn.
///
/// # Errors
/// When SQLite cannot read.
pub fn id(conn: &Connection, row: i64) -> Result<Option<Id>> {
    let mut query = conn.prepare_cached("SELECT id FROM turns WHERE row = ?1")?;
    Ok(query.query_row([row], |r| id_column(r, 0)).optional()?)
}

/// The number of a session's last turn, forgotten ones included.
///
/// # Errors
/// When SQLite cannot read.
pub fn last(conn: &Connection, session_row: i64) -> Result<Option<u32>> {
    let mut query = conn.prepare_cached("SELECT max(row) FROM turns WHERE row BETWEEN ?1 AND ?2")?;
    let row: Option<i64> = query.query_row([session_row << 16, (session_row << 16) + 65_535], |r| r.get(0))?;
    Ok(row.map(|row| parts_of(row).1))
}

/// The row of a turn by its id.
///
/// # Errors
/// When SQLite cannot read.
pub fn row_by_id(conn: &Connection, id: &Id) -> Result<Option<i64>> {
    Ok(conn.prepare_cached("SELECT row FROM turn_ids WHERE id = ?1")?.query_row([id.0], |r| r.get(0)).optional()?)
}

/// As [`row_by_id`], where ids are nearly all new.
///
/// # Errors
/// When SQLite cannot read.
pub fn row_by_id_in(tx: &Transaction<'_>, id: &Id) -> Result<Option<i64>> {
    if tx.known.borrow_mut().may_have(tx.conn, id)? { row_by_id(tx, id) } else { Ok(None) }
}

/// The turns of a session part whose call has this id. Reads the part's rows: for the few results whose call is not at hand.
///
/// # Errors
/// When SQLite cannot read.
pub fn rows_of_call(conn: &Connection, session_row: i64, call_id: &str) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM turns WHERE row BETWEEN ?1 AND ?2 AND tool_call_id = ?3")?;
    let rows = query.query_map(params![session_row << 16, (session_row << 16) + 65_535, call_id], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The id of a turn's call, where it is one.
///
/// # Errors
/// When SQLite cannot read.
pub fn call_id(conn: &Connection, row: i64) -> Result<Option<String>> {
    let mut query = conn.prepare_cached("SELECT tool_call_id FROM turns WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.flatten())
}

/// The models of a session part's turns, with the number of each.
///
/// # Errors
/// When SQLite cannot read.
pub fn models(conn: &Connection, session_row: i64) -> Result<Vec<(u32, String)>> {
    let mut query = conn.prepare_cached(
        "SELECT row & 65535, model FROM turns WHERE row BETWEEN ?1 AND ?2 AND model IS NOT NULL ORDER BY row",
    )?;
    let rows = query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Gives every text, tool input and tool output to `each`, with the row of its turn, in the order of the rows.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_text(conn: &Connection, each: &mut dyn FnMut(i64, &str)) -> Result<()> {
    let mut query =
        conn.prepare("SELECT row, text, tool_input, tool_output FROM turns WHERE role <> 0 ORDER BY row")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        for column in 1..=3 {
            if let ValueRef::Text(text) = row.get_ref(column)? {
                each(row.get(0)?, &String::from_utf8_lossy(text));
            }
        }
    }
    Ok(())
}

/// A turn as it is stored. Role 0: it is forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    pub number: u32,
    pub id: Id,
    pub role: u8,
    pub at: Millis,
    pub model: Option<String>,
    pub label: Option<String>,
    pub images: u32,
    pub tool_name: Option<String>,
    pub tool_call_id: Option<String>,
    pub tool_status: u8,
    pub text: String,
    pub tool_input: Option<String>,
    pub tool_output: Option<String>,
}

/// Gives the turns of a session from a number on to `each`, deleted and forgotten ones too, in order, until that returns false.
///
/// # Errors
/// When SQLite cannot read.
pub fn for_each_whole(
    conn: &Connection,
    session_row: i64,
    from: u32,
    mut each: impl FnMut(Whole) -> bool,
) -> Result<()> {
    let mut query = conn.prepare_cached(
        "SELECT row & 65535, id, role, at, model, label, images, tool_name, tool_call_id, tool_status, text, tool_input,
             tool_output FROM turns WHERE row BETWEEN ?1 AND ?2 ORDER BY row",
    )?;
    let mut rows = query.query([(session_row << 16) + i64::from(from), (session_row << 16) + 65_535])?;
    while let Some(row) = rows.next()? {
        let turn = Whole {
            number: row.get(0)?,
            id: id_column(row, 1)?,
            role: row.get(2)?,
            at: Millis(row.get(3)?),
            model: row.get(4)?,
            label: row.get(5)?,
            images: row.get(6)?,
            tool_name: row.get(7)?,
            tool_call_id: row.get(8)?,
            tool_status: row.get(9)?,
            text: row.get(10)?,
            tool_input: row.get(11)?,
            tool_output: row.get(12)?,
        };
        if !each(turn) {
            break;
        }
    }
    Ok(())
}

/// Writes a turn that came from elsewhere, in the place of one of its number. Where another session has its id it gets one of
/// its own, as an import gives it.
///
/// # Errors
/// When SQLite cannot write.
pub fn put(tx: &mut Transaction<'_>, session_row: i64, turn: &Whole) -> Result<()> {
    let row = row_of(session_row, turn.number);
    if let Some(old) = id(tx, row)? {
        for table in ["turn_ids_new", "turn_ids_sorted"] {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1 AND row = ?2"))?
                .execute(params![old.0, row])?;
        }
    }
    let mut own = turn.id;
    let mut tries = 0_u8;
    while row_by_id(tx, &own)?.is_some() {
        own = Id::derive(&[&turn.id.0, &session_row.to_le_bytes(), &[tries]]);
        tries = tries.wrapping_add(1);
    }
    tx.prepare_cached(
        "INSERT OR REPLACE INTO turns(row, id, role, at, model, label, images, tool_name, tool_call_id, tool_status, text,
             tool_input, tool_output, deleted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, (SELECT deleted_at FROM turns WHERE row = ?1))",
    )?
    .execute(params![
        row,
        own.0,
        turn.role,
        turn.at.0,
        turn.model,
        turn.label,
        turn.images,
        turn.tool_name,
        turn.tool_call_id,
        turn.tool_status,
        turn.text,
        turn.tool_input,
        turn.tool_output,
    ])?;
    tx.prepare_cached("INSERT INTO turn_ids_new(id, row) VALUES (?1, ?2)")?.execute(params![own.0, row])?;
    tx.known.borrow_mut().add(&own);
    tx.written_turns.push(row);
    Ok(())
}

/// Removes the turns of a session whose contents are elsewhere again, with their ids; of those that are deleted it is kept that they
/// are. The only removal beside forgetting: what is elsewhere is not lost.
///
/// # Errors
/// When SQLite cannot write.
pub fn give_away(tx: &mut Transaction<'_>, session_row: i64) -> Result<()> {
    let range = [session_row << 16, (session_row << 16) + 65_535];
    tx.prepare_cached(
        "INSERT OR REPLACE INTO deleted_elsewhere(turn_row, deleted_at, turn_id)
         SELECT row, deleted_at, id FROM turns WHERE row BETWEEN ?1 AND ?2 AND deleted_at IS NOT NULL",
    )?
    .execute(range)?;
    let rows: Vec<(i64, Id)> = tx
        .prepare_cached("SELECT row, id FROM turns WHERE row BETWEEN ?1 AND ?2")?
        .query_map(range, |r| Ok((r.get(0)?, id_column(r, 1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (row, id) in rows {
        for table in ["turn_ids_new", "turn_ids_sorted"] {
            tx.prepare_cached(&format!("DELETE FROM {table} WHERE id = ?1 AND row = ?2"))?
                .execute(params![id.0, row])?;
        }
        tx.written_turns.push(row);
    }
    tx.prepare_cached("DELETE FROM turns WHERE row BETWEEN ?1 AND ?2")?.execute(range)?;
    Ok(())
}

/// The statements of [`create`], kept for the length of a transaction: to find them by their text, each time, took a twelfth of
/// what a turn takes.
#[derive(Default)]
pub(super) struct Insert<'conn>(Option<(CachedStatement<'conn>, CachedStatement<'conn>)>);

impl<'conn> Insert<'conn> {
    fn statements(&mut self, conn: &'conn Connection) -> Result<&mut (CachedStatement<'conn>, CachedStatement<'conn>)> {
        match &mut self.0 {
            Some(statements) => Ok(statements),
            none => Ok(none.insert((conn.prepare_cached(INSERT_TURN)?, conn.prepare_cached(INSERT_ID)?))),
        }
    }
}

const INSERT_TURN: &str =
    "INSERT INTO turns(row, id, role, at, model, label, images, tool_name, tool_call_id, tool_status, text,
             tool_input, tool_output)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
const INSERT_ID: &str = "INSERT INTO turn_ids_new(id, row) VALUES (?1, ?2)";

/// Writes a new turn.
///
/// # Errors
/// When SQLite cannot write.
pub fn create(
    tx: &mut Transaction<'_>,
    row: i64,
    id: &Id,
    turn: &Turn,
    call_id: Option<&str>,
    images: u32,
) -> Result<()> {
    let tool = turn.tool.as_ref();
    let (insert, insert_id) = tx.insert_turn.statements(tx.conn)?;
    insert.execute(params![
        row,
        id.0,
        turn.role as u8,
        turn.at.0,
        turn.model,
        turn.label,
        images,
        tool.map(|t| &t.name),
        call_id,
        tool.map_or(0, |t| t.status as u8),
        turn.text,
        tool.map(|t| &t.input),
        tool.map(|t| &t.output),
    ])?;
    insert_id.execute(params![id.0, row])?;
    tx.known.borrow_mut().add(id);
    tx.written_turns.push(row);
    Ok(())
}

/// Writes a turn as forgotten from the start: its id is known, so that no other log brings it.
///
/// # Errors
/// When SQLite cannot write.
pub fn create_forgotten(tx: &Transaction<'_>, row: i64, id: &Id, at: Millis) -> Result<()> {
    tx.prepare_cached("INSERT INTO turns(row, id, role, at) VALUES (?1, ?2, 0, ?3)")?
        .execute(params![row, id.0, at.0])?;
    tx.prepare_cached("INSERT INTO turn_ids_new(id, row) VALUES (?1, ?2)")?.execute(params![id.0, row])?;
    tx.known.borrow_mut().add(id);
    Ok(())
}

/// The forgotten turns of a session part, with their times.
///
/// # Errors
/// When SQLite cannot read.
pub fn forgotten(conn: &Connection, session_row: i64) -> Result<Vec<(i64, Millis)>> {
    let mut query =
        conn.prepare_cached("SELECT row, at FROM turns WHERE row BETWEEN ?1 AND ?2 AND role = 0 ORDER BY row")?;
    let rows =
        query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| Ok((r.get(0)?, Millis(r.get(1)?))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Turns whose ids lie in a range: at most two, which tells an ambiguous one.
///
/// # Errors
/// When SQLite cannot read.
pub fn by_id_range(conn: &Connection, low: &[u8; 16], high: &[u8; 16]) -> Result<Vec<i64>> {
    let mut query = conn.prepare_cached("SELECT row FROM turn_ids WHERE id >= ?1 AND id <= ?2 LIMIT 2")?;
    let rows = query.query_map(params![low, high], |r| r.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Writes the result of a call that was stored without one.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_result(tx: &mut Transaction<'_>, row: i64, output: &str, status: ToolStatus, images: u32) -> Result<()> {
    tx.prepare_cached("UPDATE turns SET tool_output = ?2, tool_status = ?3, images = images + ?4 WHERE row = ?1")?
        .execute(params![row, output, status as u8, images])?;
    tx.written_turns.push(row);
    Ok(())
}

/// Writes what a turn says anew. Its time, role, tool name and result stay.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_contents(tx: &mut Transaction<'_>, row: i64, turn: &Turn, images: u32) -> Result<()> {
    tx.prepare_cached(
        "UPDATE turns SET model = ?2, label = ?3, text = ?4, tool_input = ?5, images = images + ?6 WHERE row = ?1",
    )?
    .execute(params![row, turn.model, turn.label, turn.text, turn.tool.as_ref().map(|t| &t.input), images])?;
    tx.written_turns.push(row);
    Ok(())
}

/// How many sessions have another number of turns than their row and their index say.
///
/// # Errors
/// When SQLite cannot read.
pub fn miscounted(conn: &Connection) -> Result<u64> {
    // The rows come with the ids, and what is deleted with the trash: no text is read.
    let mut query = conn.prepare(
        "SELECT count(*) FROM sessions s LEFT JOIN (
             SELECT row >> 16 AS session_row, count(*) AS n FROM turn_ids GROUP BY 1) t
             ON t.session_row = s.row LEFT JOIN (
             SELECT entity_row >> 16 AS session_row, count(*) AS n FROM trash WHERE kind = 4 GROUP BY 1) d
             ON d.session_row = s.row
         WHERE s.contents <> 1 AND (s.turns + s.forgotten_turns <> coalesce(t.n, 0) - coalesce(d.n, 0) OR length(s.turn_index) <> 16 * coalesce(t.n, 0))",
    )?;
    Ok(query.query_row([], |r| r.get(0))?)
}

/// Ids of the turns of a session, for a check of what is there.
///
/// # Errors
/// When SQLite cannot read.
pub fn ids(conn: &Connection, session_row: i64) -> Result<Vec<Id>> {
    let mut query = conn.prepare_cached("SELECT id FROM turns WHERE row BETWEEN ?1 AND ?2 ORDER BY row")?;
    let rows = query.query_map([session_row << 16, (session_row << 16) + 65_535], |r| id_column(r, 0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A turn's version in the cloud.
///
/// # Errors
/// When SQLite cannot read.
pub fn cloud_version(conn: &Connection, row: i64) -> Result<i64> {
    let mut query = conn.prepare_cached("SELECT cloud_version FROM turn_versions WHERE turn_row = ?1")?;
    Ok(query.query_row([row], |r| r.get(0)).optional()?.unwrap_or(0))
}

/// Notes a turn's version in the cloud.
///
/// # Errors
/// When SQLite cannot write.
pub fn set_cloud_version(tx: &Transaction<'_>, row: i64, version: i64) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO turn_versions(turn_row, cloud_version) VALUES (?1, ?2)
         ON CONFLICT(turn_row) DO UPDATE SET cloud_version = ?2",
    )?
    .execute(params![row, version])?;
    Ok(())
}

/// When a turn was deleted.
///
/// # Errors
/// When SQLite cannot read.
pub fn deleted_at(conn: &Connection, row: i64) -> Result<Option<Millis>> {
    let mut query = conn.prepare_cached("SELECT deleted_at FROM turns WHERE row = ?1")?;
    Ok(query.query_row([row], |r| r.get::<_, Option<i64>>(0)).optional()?.flatten().map(Millis))
}
