//! A cycle: what others pushed is pulled, what waits is pushed, and what came of that is pulled.
//!
//! Each page and each batch is one transaction with its cursor and its marks, and none waits for the cloud:
//! whatever moment the process dies at, the next cycle asks again for what it does not have and sends again what it does not know
//! to have arrived, and neither changes anything twice.

mod pictures;
mod pull;
mod push;

pub use pictures::Pictures;
pub use push::{Unsent, project_of, unsent};

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::cloud::wire::{Limits, PROTOCOL, Protocol, Status, Usage};
use crate::cloud::{Cloud, CloudError};
use crate::ingest;
use crate::model::{Id, Millis};
use crate::store::account::{self, Account, OtherAccount};
use crate::store::lock::{Lock, Purpose};
use crate::store::{
    self, StoreError, Transaction, Writer, conflicts, fetched, machines, outbox, parked, refused, told,
};
use crate::sync::facts::Redact;
use crate::sync::fields::Here;

/// Records of a page that is pulled.
const PAGE: u32 = 1000;

/// The key in `state` of the last number that was pulled.
const CURSOR: &str = "sync_cursor";
/// The key in `state` of the time of the last cycle that ended well, as far as it was written: see [`Engine::last_sync`].
pub const LAST_SYNC: &str = "last_sync";
/// The key in `state` of what the account holds: JSON.
const USAGE: &str = "account_usage";
/// The key in `state` that says that everything is pulled anew, and what does not come is gone: the number up to which tombstones were
/// removed when that began.
const RESYNC: &str = "sync_anew";

/// The key in `state` that says that what people made of records is compared with the cloud, once all was pulled.
const COMPARE: &str = "sync_compare";

/// Why a cycle ended before its end. What it did until then is done.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    #[error(transparent)]
    Cloud(#[from] CloudError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("another cogfs process is syncing: wait for it to end")]
    Running,
    #[error(transparent)]
    OtherAccount(#[from] OtherAccount),
    #[error(
        "the cloud has lost what it had: `cogfs sync reset` compares everything anew and sends what is missing there"
    )]
    CloudLost,
}

impl From<rusqlite::Error> for SyncError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A shorthand for this module's results.
pub type Result<T> = std::result::Result<T, SyncError>;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    #[default]
    Both,
    Push,
    Pull,
}

/// What a cycle is to do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub way: Way,
    /// Sends what belongs to these projects alone, by their rows.
    pub projects: Option<BTreeSet<i64>>,
    /// The file among the settings that says what stays here, beside the `.cogfsignore` files; `None`: nobody says so.
    pub ignored: Option<PathBuf>,
}

/// How far a cycle is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Records that were pulled.
    Pulled { records: u64 },
    /// Records that were sent, and their bytes.
    Pushed { records: u64, bytes: u64 },
    /// Pictures that were sent, and their bytes.
    Pictures { sent: u64, bytes: u64 },
    /// A step is about to be made: where a cycle can be ended.
    Step,
}

/// What a cycle did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Records that came and said something new.
    pub pulled: u64,
    /// Records of which something was sent and taken.
    pub pushed: u64,
    /// Values and records that came and could not be taken.
    pub skipped: u64,
    /// The first of them, and why.
    pub reasons: Vec<String>,
    /// Records that the cloud refused: set aside.
    pub refused: u64,
    /// Values that lost against another machine's: `cogfs sync conflicts`.
    pub conflicts: u64,
    /// Records that were deleted on one machine and edited on another, and are not deleted.
    pub restored: u64,
    /// Records that were forgotten elsewhere, and are forgotten here.
    pub forgotten: u64,
    /// Of what was sent.
    pub bytes: u64,
    /// Those for pictures not counted.
    pub requests: u64,
    pub pictures: Pictures,
    pub seconds: f64,
    /// It was ended before its end; the next one goes on.
    pub interrupted: bool,
}

/// Reasons that are kept.
const REASONS: usize = 20;

impl Summary {
    fn skip(&mut self, reason: String) {
        self.skipped += 1;
        if self.reasons.len() < REASONS {
            self.reasons.push(reason);
        }
    }
}

/// Does cycles of one database with one cloud, and remembers between them what need not be asked again.
#[derive(Debug, Default)]
pub struct Engine {
    /// The account was compared with the database's.
    checked: bool,
    /// When a cycle ended well last.
    last_sync: Option<Millis>,
    /// When that was written.
    written: Option<Instant>,
}

/// A cycle that changed nothing is noted in the database no more often than this: a machine at rest does not write.
const NOTED_AGAIN: Duration = Duration::from_secs(60 * 60);

impl Engine {
    /// A new one, which begins with comparing accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Does a cycle. `stop` ends it at the next step.
    ///
    /// # Errors
    /// When the cloud or the database cannot be used, or they do not belong together. What was done until then stays.
    pub fn cycle(
        &mut self,
        writer: &mut Writer,
        cloud: &dyn Cloud,
        redact: &dyn Redact,
        options: &Options,
        (stop, progress): (&AtomicBool, &mut dyn FnMut(Progress)),
    ) -> Result<Summary> {
        let _lock = Lock::try_take(writer.layout(), &Purpose::Sync)?.ok_or(SyncError::Running)?;
        let began = clock::steady();
        let machine = this_machine(writer)?;
        let here = Here { machine, ahead: 0 };
        let before = writer.conn().total_changes();
        let (unbound, heard, summary) = (None, None, Summary::default());
        let ignored_at = None;
        let mut cycle =
            Cycle { writer, cloud, redact, options, stop, progress, here, ignored_at, unbound, heard, summary };
        let done = cycle.run(&mut self.checked);
        if done.is_err() {
            self.checked = false;
        }
        let interrupted = done?.is_none();
        let mut summary = cycle.summary;
        if !interrupted {
            self.note(writer, before)?;
        }
        summary.interrupted = interrupted;
        summary.seconds = passed_since(began).as_secs_f64();
        Ok(summary)
    }

    /// When a cycle of this engine ended well last. The database has it of the last one that changed something, or of an hour ago.
    #[must_use]
    pub fn last_sync(&self) -> Option<Millis> {
        self.last_sync
    }

    /// Notes that a cycle ended well; in the database if it was written anyway, or not for long. `before`: what was changed before it.
    fn note(&mut self, writer: &mut Writer, before: u64) -> Result<()> {
        let now = Millis::now();
        self.last_sync = Some(now);
        let is_idle = writer.conn().total_changes() == before;
        if is_idle && self.written.is_some_and(|at| passed_since(at) < NOTED_AGAIN) {
            return Ok(());
        }
        let tx = writer.begin()?;
        store::set_state(&tx, LAST_SYNC, &now.0.to_string())?;
        tx.commit()?;
        self.written = Some(clock::steady());
        Ok(())
    }
}

fn passed_since(moment: Instant) -> Duration {
    clock::steady().saturating_duration_since(moment)
}

/// The id of this machine, which is made known if it is not.
fn this_machine(writer: &mut Writer) -> Result<Id> {
    if let Some(id) = machines::local_id(writer.conn())? {
        return Ok(id);
    }
    let tx = writer.begin()?;
    ingest::this_machine(&tx)?;
    tx.commit()?;
    machines::local_id(writer.conn())?.ok_or(SyncError::Store(StoreError::Damaged { what: "this machine".to_owned() }))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Ended by its user; `Some` otherwise.
type Step = Result<Option<()>>;

struct Cycle<'a> {
    writer: &'a mut Writer,
    cloud: &'a dyn Cloud,
    redact: &'a dyn Redact,
    options: &'a Options,
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress),
    here: Here,
    /// What SQLite counted other connections' changes by when it was last read what stays here.
    ignored_at: Option<i64>,
    /// The account that the database is to belong to once a server answered, where it belongs to none.
    unbound: Option<Account>,
    /// What the server's clock said, and when.
    heard: Option<(Millis, Instant)>,
    summary: Summary,
}

impl Cycle<'_> {
    fn run(&mut self, checked: &mut bool) -> Step {
        if !*checked && self.check()?.is_none() {
            return Ok(None);
        }
        *checked = true;
        if self.pull()?.is_none() {
            return Ok(None);
        }
        if self.options.way != Way::Pull {
            let before = self.summary.requests;
            if self.push()?.is_none() {
                return Ok(None);
            }
            if self.summary.requests > before && self.pull()?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// What the server's clock says, as the last pull told it: a request is of a later time than all that this machine sent before that
    /// pull, whatever its own clock does.
    fn now_there(&self) -> Millis {
        self.heard.map_or_else(Millis::now, |(now, at)| Millis(now.0 + millis(passed_since(at))))
    }

    /// Says that a step is about to be made; true when it is not to be.
    fn is_over(&mut self) -> bool {
        (self.progress)(Progress::Step);
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether both sides speak the same language and belong together: before anything is sent.
    fn check(&mut self) -> Step {
        if self.is_over() {
            return Ok(None);
        }
        // What the server speaks is told by the pull, too, which is before everything that is sent.
        let user = match self.cloud.user() {
            Some(user) => user,
            None => self.ask_whose_it_is()?,
        };
        let account = Account { user, url: self.cloud.url().to_owned() };
        if let Some(other) = account::other_than(self.writer.conn(), &account)? {
            return Err(other.into());
        }
        if account::bound(self.writer.conn())?.is_none() {
            self.unbound = Some(account);
        }
        Ok(Some(()))
    }

    fn ask_whose_it_is(&mut self) -> Result<Id> {
        self.summary.requests += 1;
        let status = self.cloud.status()?;
        check_protocol(status.protocol)?;
        Ok(Id::parse(&status.user).ok_or_else(|| CloudError::Garbled("the user in its answer has no id".to_owned()))?)
    }

    /// The account's server answered: the database is the account's from here on.
    fn bind(&mut self) -> Result<()> {
        if let Some(account) = &self.unbound {
            let tx = self.writer.begin()?;
            account::bind(&tx, account)?;
            tx.commit()?;
            self.unbound = None;
        }
        Ok(())
    }
}

/// The number of the last change that was pulled.
///
/// # Errors
/// When the database cannot be read.
pub fn cursor(conn: &rusqlite::Connection) -> store::Result<i64> {
    pull::number(conn, CURSOR)
}

fn check_protocol(spoken: Protocol) -> Result<()> {
    if (spoken.min..=spoken.max).contains(&PROTOCOL) {
        return Ok(());
    }
    let what = if PROTOCOL < spoken.min {
        "this cogfs is too old for the cloud: install a newer one"
    } else {
        "the cloud is too old for this cogfs: its functions (migrations/cloud) are to be brought up to date"
    };
    Err(CloudError::Protocol(what.to_owned()).into())
}

/// Begins anew: everything is compared with the cloud, and what is missing there is sent. `adopt`: with whatever account the login
/// is of. What was edited and waits stays.
///
/// # Errors
/// When the database cannot be written.
pub fn reset(tx: &Transaction<'_>, adopt: bool) -> store::Result<()> {
    for key in [CURSOR, RESYNC, pull::LOOKED_AGAIN, told::AGAIN] {
        tx.execute("DELETE FROM state WHERE key = ?1", [key])?;
    }
    if adopt {
        account::unbind(tx)?;
    }
    tx.execute_batch(
        "DELETE FROM parked; DELETE FROM pulled_anew; DELETE FROM turn_versions;
         UPDATE projects SET cloud_version = 0; UPDATE cognitive_commits SET cloud_version = 0;
         UPDATE sessions SET cloud_version = 0; UPDATE sync_queue SET base_version = 0, sent = 0;",
    )?;
    store::set_state(tx, COMPARE, "1")?;
    // What was fetched from there may be nowhere else now.
    fetched::keep_all(tx)?;
    refused::clear_all(tx)?;
    told::nothing(tx)
}

/// What an account holds and may hold, as it was told last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub plan: String,
    pub usage: Usage,
    pub limits: Limits,
}

/// What the account holds and may hold, as the server said last.
///
/// # Errors
/// When the database cannot be read.
pub fn kept_usage(conn: &rusqlite::Connection) -> store::Result<Option<Kept>> {
    Ok(store::state(conn, USAGE)?.and_then(|json| serde_json::from_str(&json).ok()))
}

/// Asks what the account holds, and keeps the answer if it is another.
///
/// # Errors
/// When there is no answer, or the database cannot be written.
pub fn refresh_usage(writer: &mut Writer, cloud: &dyn Cloud) -> Result<()> {
    let Status { plan, usage, limits, .. } = cloud.status()?;
    let kept = Kept { plan, usage, limits };
    if kept_usage(writer.conn())?.as_ref() == Some(&kept) {
        return Ok(());
    }
    let json = serde_json::to_string(&kept).map_err(|error| StoreError::Source(error.into()))?;
    let tx = writer.begin()?;
    store::set_state(&tx, USAGE, &json)?;
    Ok(tx.commit()?)
}

/// How things stand with the cloud, as far as this machine knows without asking.
#[derive(Debug, Clone, Serialize)]
pub struct State {
    pub account: Option<String>,
    pub last_sync: Option<String>,
    pub waiting_edits: u64,
    pub conflicts: u64,
    pub refused: u64,
    /// Records that came and wait for another one.
    pub parked: u64,
}

/// Reads how things stand.
///
/// # Errors
/// When the database cannot be read.
pub fn state(conn: &rusqlite::Connection) -> store::Result<State> {
    let last = store::state(conn, LAST_SYNC)?.and_then(|at| at.parse().ok()).map(Millis);
    Ok(State {
        account: account::bound(conn)?.map(|account| account.to_string()),
        last_sync: last.map(Millis::iso),
        waiting_edits: outbox::count(conn)?,
        conflicts: conflicts::count(conn)?,
        refused: refused::all(conn)?.iter().filter(|refused| refused.code != refused::UNKNOWN_PARENT).count() as u64,
        parked: parked::count(conn)?,
    })
}
