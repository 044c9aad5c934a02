//! The cloud on the wire. Nothing else speaks HTTP; must not know of the store.

pub mod auth;
pub mod http;
mod nul;
pub mod open;
pub mod patient;
pub mod realtime;
pub mod retry;
pub mod secret;
pub mod wire;

use std::time::Duration;

use crate::model::{Id, Millis};
use wire::{Change, Fetched, Mark, Outcome, Pulled, Status};

/// Why the cloud did not do it, as far as a caller has to act differently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloudError {
    /// The network, or the server for the moment: try again later.
    #[error("the cloud cannot be reached: {0}")]
    Unreachable(String),
    /// Too many requests; the server may say for how long.
    #[error("the cloud asks to wait")]
    Busy { wait: Option<Duration> },
    /// No session, or it was ended: only the user can help.
    #[error("not logged in: run `cogfs login`")]
    LoginNeeded,
    /// The server understood and will not.
    #[error("the cloud refused: {message} ({code})")]
    Refused { code: String, message: String },
    /// It is not there (any more).
    #[error("the cloud does not have it")]
    Gone,
    /// One of both sides is too old for the other.
    #[error("{0}")]
    Protocol(String),
    /// An answer that is none.
    #[error("the cloud's answer cannot be read: {0}")]
    Garbled(String),
}

/// What an operation gives.
pub type Result<T> = std::result::Result<T, CloudError>;

/// The cloud, as a machine of a user sees it. Every call may block; none is made while a transaction is open.
pub trait Cloud: Send + Sync {
    /// Where it is: its address, by which accounts of different servers are told apart.
    fn url(&self) -> &str;

    /// Whose calls these are, as far as that is known without asking.
    fn user(&self) -> Option<Id> {
        None
    }

    /// The account's state.
    ///
    /// # Errors
    /// See [`CloudError`]; the same for all that follow.
    fn status(&self) -> Result<Status>;

    /// Makes changes, in their order, in one transaction; an outcome for each. Doing it twice changes nothing. `as_of`: when they were
    /// read here, by the server's clock: of a machine's requests one that comes behind a later one is not made.
    ///
    /// # Errors
    /// When nothing was made, or it is not known whether it was.
    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>>;

    /// The records behind a cursor, in the order of their numbers.
    ///
    /// # Errors
    /// When there is no answer.
    fn pull(&self, since: i64, max: u32) -> Result<Pulled>;

    /// The contents of sessions; from `after` on.
    ///
    /// # Errors
    /// When there is no answer.
    fn fetch(&self, sessions: &[Id], after: Option<&Mark>) -> Result<Fetched>;

    /// Stores a picture; one that is there already stays.
    ///
    /// # Errors
    /// When it is not known to be stored.
    fn upload(&self, sha256: &str, mime: &str, bytes: &[u8]) -> Result<()>;

    /// The bytes of a picture, whose hash the caller checks.
    ///
    /// # Errors
    /// When there is no answer.
    fn download(&self, sha256: &str, mime: &str) -> Result<Vec<u8>>;

    /// Removes pictures by the names that [`Outcome::Applied`] gave.
    ///
    /// # Errors
    /// When it is not known whether they are gone.
    fn remove(&self, objects: &[String]) -> Result<()>;

    /// Keeps the counts of a week: a document of [`crate::counts`], sent as it is. A week that is there already stays as it is.
    ///
    /// # Errors
    /// When it is not known to be kept.
    fn share_counts(&self, document: &str) -> Result<()>;

    /// Deletes all counts that the user shared; how many weeks that was.
    ///
    /// # Errors
    /// When it is not known whether they are gone.
    fn unshare_counts(&self) -> Result<u64>;
}
