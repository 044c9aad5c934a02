//! Many rows by few statements: a statement for each costs more than the row, and looks up the table's counter of rows each time.

use rusqlite::{Connection, ToSql};

use super::Result;

/// Rows of one statement. SQLite takes 32,766 parameters (SQLITE_MAX_VARIABLE_NUMBER), and the text is made for each call.
const AT_ONCE: usize = 64;

/// Runs `INSERT INTO … VALUES (…), (…)`: `into` is what stands before VALUES, `behind` what stands behind the rows, of which each
/// has `width` values.
///
/// # Errors
/// When SQLite cannot write.
pub(super) fn insert(conn: &Connection, into: &str, behind: &str, width: usize, values: &[&dyn ToSql]) -> Result<()> {
    for some in values.chunks(AT_ONCE * width) {
        let row = format!("({})", vec!["?"; width].join(","));
        let rows = vec![row.as_str(); some.len() / width].join(",");
        conn.prepare_cached(&format!("{into} VALUES {rows} {behind}"))?.execute(some)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_written_whatever_their_number() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT)").unwrap();
        for count in [0, 1, AT_ONCE, 3 * AT_ONCE + 7] {
            conn.execute_batch("DELETE FROM t").unwrap();
            let numbers: Vec<usize> = (0..count).collect();
            let values: Vec<&dyn ToSql> = numbers.iter().flat_map(|n| [n as &dyn ToSql, &"x"]).collect();
            insert(&conn, "INSERT INTO t(a, b)", "ON CONFLICT(a) DO NOTHING", 2, &values).unwrap();
            let found: usize = conn.query_row("SELECT count(*) FROM t WHERE b = 'x'", [], |r| r.get(0)).unwrap();
            assert_eq!(found, count);
        }
    }
}
