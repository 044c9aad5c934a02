//! The counts of whole weeks that a user may share: once a week the document of the last one, if he chose to; and that nothing stays
//! there once he does not. What is sent is what `cogfs analytics` shows, byte for byte. Never a reason for a cycle to fail.

use std::io;

use rusqlite::Connection;

use crate::cloud::{Cloud, CloudError};
use crate::counts::document::Document;
use crate::counts::noise::{OfTheSystem, Random};
use crate::counts::{Week, gather};
use crate::model::Millis;
use crate::store::account::{self, Account, OtherAccount};
use crate::store::weeks::{self, Kept, Sent};
use crate::store::{self, StoreError, Writer};

/// Why counts were not sent, or not deleted.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    #[error(transparent)]
    Cloud(#[from] CloudError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    OtherAccount(#[from] OtherAccount),
    #[error("there is no randomness for the noise: {0}")]
    Random(#[from] io::Error),
}

/// A shorthand for this module's results.
pub type Result<T> = std::result::Result<T, ShareError>;

/// The week whose counts are shared now: the last one that is over.
#[must_use]
pub fn week(now: Millis) -> Week {
    Week::of(now).before(1)
}

/// The document of a week: made and kept, if it was not yet. `None`: there is nothing in the database.
///
/// # Errors
/// When the database cannot be used, or there is no randomness.
pub fn document(writer: &mut Writer, week: Week) -> Result<Option<Kept>> {
    document_with(writer, week, &mut OfTheSystem)
}

fn document_with(writer: &mut Writer, week: Week, random: &mut dyn Random) -> Result<Option<Kept>> {
    let date = week.date();
    if let Some(kept) = weeks::kept(writer.conn(), &date)? {
        return Ok(Some(kept));
    }
    if !weeks::is_something_here(writer.conn())? {
        return Ok(None);
    }
    let bits = gather::gather(writer.conn(), week, week)?.bits;
    let text = Document::new(week, &bits, random)?.text().map_err(io::Error::from)?;
    let tx = writer.begin()?;
    weeks::keep(&tx, &date, &text)?;
    tx.commit()?;
    // Another process may have been before this one.
    Ok(weeks::kept(writer.conn(), &date)?)
}

/// Whether the cloud is to be told something. Cheap, and asks nobody.
///
/// # Errors
/// When the database cannot be read.
pub fn is_due(conn: &Connection, shares: bool, now: Millis) -> store::Result<bool> {
    if !shares {
        return Ok(weeks::there(conn)? > 0);
    }
    match weeks::kept(conn, &week(now).date())? {
        Some(kept) => Ok(kept.sent != Sent::Yes),
        None => weeks::is_something_here(conn),
    }
}

/// Sends what is due, or has it deleted. True: something was asked of the cloud.
///
/// # Errors
/// When the cloud does not do it, or the database cannot be used. Nothing is lost: it is due again.
pub fn settle(writer: &mut Writer, cloud: &dyn Cloud, shares: bool, now: Millis) -> Result<bool> {
    if !is_due(writer.conn(), shares, now)? {
        return Ok(false);
    }
    if shares { send(writer, cloud, week(now)) } else { withdraw(writer, cloud).map(|_| true) }
}

fn send(writer: &mut Writer, cloud: &dyn Cloud, week: Week) -> Result<bool> {
    let Some(kept) = document(writer, week)? else { return Ok(false) };
    let date = week.date();
    // From here on it may be there, whatever becomes of the request.
    note(writer, &date, Sent::Maybe)?;
    cloud.share_counts(&kept.text)?;
    note(writer, &date, Sent::Yes)?;
    Ok(true)
}

fn note(writer: &mut Writer, week: &str, sent: Sent) -> Result<()> {
    let tx = writer.begin()?;
    weeks::set_sent(&tx, week, sent)?;
    Ok(tx.commit()?)
}

/// Has everything deleted that the account shared; how many weeks that was.
///
/// # Errors
/// When the cloud does not do it, the login is of another account, or the database cannot be used.
pub fn withdraw(writer: &mut Writer, cloud: &dyn Cloud) -> Result<u64> {
    if let Some(user) = cloud.user() {
        let account = Account { user, url: cloud.url().to_owned() };
        if let Some(other) = account::other_than(writer.conn(), &account)? {
            return Err(other.into());
        }
    }
    let removed = cloud.unshare_counts()?;
    let tx = writer.begin()?;
    weeks::none_is_there(&tx)?;
    tx.commit()?;
    Ok(removed)
}
