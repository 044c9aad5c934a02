//! Whose database it is: once it was synced it belongs to one account, so that no conversation gets into another one.

use std::fmt;

use rusqlite::Connection;

use super::{Result, set_state, state};
use crate::model::Id;

/// The keys in `state`.
const USER: &str = "account_user";
const URL: &str = "account_url";

/// A user of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub user: Id,
    /// As `sync.url` has it.
    pub url: String,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the user {} of {}", self.user, self.url)
    }
}

/// The database is another account's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this database is synced with {0}: for another account set COGFS_HOME to another folder, or hand everything in it to the \
     other account with `cogfs sync reset --adopt`"
)]
pub struct OtherAccount(pub Account);

/// The account that the database belongs to; `None`: it was never synced.
///
/// # Errors
/// When SQLite cannot read.
pub fn bound(conn: &Connection) -> Result<Option<Account>> {
    let user = state(conn, USER)?.and_then(|user| Id::parse(&user));
    Ok(user.zip(state(conn, URL)?).map(|(user, url)| Account { user, url }))
}

/// Whether the database may be synced with an account: `None`, or whose it is.
///
/// # Errors
/// When SQLite cannot read.
pub fn other_than(conn: &Connection, account: &Account) -> Result<Option<OtherAccount>> {
    Ok(bound(conn)?.filter(|bound| bound != account).map(OtherAccount))
}

/// Binds the database to an account. The caller has asked [`other_than`] in the same transaction.
///
/// # Errors
/// When SQLite cannot write.
pub fn bind(conn: &Connection, account: &Account) -> Result<()> {
    set_state(conn, USER, &account.user.to_string())?;
    set_state(conn, URL, &account.url)
}

/// Takes the database out of its account's hands.
///
/// # Errors
/// When SQLite cannot write.
pub fn unbind(conn: &Connection) -> Result<()> {
    conn.execute("DELETE FROM state WHERE key IN (?1, ?2)", [USER, URL])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_bound_to_one_account_until_it_is_unbound() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE state(key TEXT PRIMARY KEY, value TEXT)").unwrap();
        let mine = Account { user: Id([1; 16]), url: "https://a.example".to_owned() };
        assert_eq!(bound(&conn).unwrap(), None);
        assert_eq!(other_than(&conn, &mine).unwrap(), None);
        bind(&conn, &mine).unwrap();
        assert_eq!(bound(&conn).unwrap(), Some(mine.clone()));
        assert_eq!(other_than(&conn, &mine).unwrap(), None);
        for other in [
            Account { user: Id([2; 16]), ..mine.clone() },
            Account { url: "https://b.example".to_owned(), ..mine.clone() },
        ] {
            let refusal = other_than(&conn, &other).unwrap().unwrap().to_string();
            assert!(
                refusal.contains("COGFS_HOME") && refusal.contains("--adopt") && refusal.contains("a.example"),
                "{refusal}"
            );
        }
        unbind(&conn).unwrap();
        assert_eq!(bound(&conn).unwrap(), None);
    }
}
