//! Sync without anybody typing it: an engine that runs as long as a mount or `cogfs watch` does.
//!
//! One process does it for a database at a time; others that would mirror what it says of itself and take over when it ends
//! (`role`). It waits for what makes a cycle due (`schedule`), does it (`sync::engine`), and tells how things stand. Commands ask it
//! by a socket (`socket`). Must hold no lock between cycles but that of its role, and must never end its process: whatever goes
//! wrong is told, logged and tried again.

mod network;
pub mod schedule;
pub mod socket;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::cloud::Cloud;
use crate::cloud::realtime::Ring;
use crate::render::SyncStatus;
use crate::store::{Layout, Writer};
use crate::sync::engine::Summary;
use crate::sync::secrets::Secrets;
use socket::{Answer, Ask};
use worker::Worker;

/// How long an engine that panicked rests before it begins anew.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// How long the end of a process waits for a request that is under way. What it would have brought is asked for again.
const PARTING: Duration = Duration::from_secs(3);

/// What the settings and the login say at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// Nothing is to be synced, and why.
    Off(String),
    /// The session has ended.
    LoginNeeded,
    /// Somebody is logged in.
    Ready {
        /// The server, the account and the settings that matter: another one is another connection.
        connection: String,
        /// Which login it is.
        login: String,
    },
}

/// Whom the doorbell tells.
pub type OnRing = Arc<dyn Fn(Ring) + Send + Sync>;

/// A doorbell that is listened to until it is dropped.
pub trait Bell: Send {
    /// The network changed: what waits for a while is tried at once.
    fn retry_now(&self);
}

/// Begins to listen.
pub type Listen = Box<dyn FnOnce(OnRing) -> io::Result<Box<dyn Bell>>>;

/// A cloud to speak with.
pub struct Connection {
    pub cloud: Arc<dyn Cloud>,
    /// `None`: there is no doorbell, and the cloud is asked regularly.
    pub listen: Option<Listen>,
    /// Between two cycles when nothing happens.
    pub interval: Duration,
}

/// What an engine needs of what is around it.
pub trait Surroundings: Send {
    /// What the settings and the login say now. Asked every second: cheap, and without the network.
    fn account(&mut self) -> Account;

    /// The cloud that [`Account::Ready`] speaks of.
    ///
    /// # Errors
    /// When the settings changed meanwhile; the text says how.
    fn connect(&mut self) -> Result<Connection, String>;

    /// Before a cycle: what is not to be sent. What a person should know of it is returned.
    ///
    /// # Errors
    /// When the settings or the database cannot be read.
    fn prepare(&mut self, writer: &mut Writer) -> Result<(Secrets, Vec<String>), String>;

    /// Behind a cycle: what was forgotten is erased, and what lost is written to a log.
    ///
    /// # Errors
    /// When the database cannot be written.
    fn finish(&mut self, writer: &mut Writer, summary: &Summary) -> Result<(), String>;

    /// Whether counts of weeks are shared, as the settings say now; `None`: they cannot be read.
    fn shares_counts(&mut self) -> Option<bool>;
}

/// What is to be kept in step.
#[derive(Debug, Clone)]
pub struct Options {
    pub layout: Layout,
    /// The socket at which commands ask.
    pub socket: PathBuf,
    /// The file among the settings that says what stays here; `None`: nobody says so.
    pub ignored: Option<PathBuf>,
    /// How long the first cycle waits.
    pub begin_after: Duration,
}

/// Is told how things stand, whenever that changes.
pub type Told = Arc<dyn Fn(&SyncStatus) + Send + Sync>;

/// What an engine is woken by.
enum Event {
    Ring(Ring),
    Network,
    Ask(Ask, Sender<Answer>),
    /// The settings or the login may have changed.
    Look,
    Stop,
}

/// How things stand, and whoever waits for that to change.
#[derive(Default)]
struct Shared {
    status: Mutex<(u64, SyncStatus)>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, (u64, SyncStatus)> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self) -> (u64, SyncStatus) {
        self.lock().clone()
    }

    /// True when that is news.
    fn set(&self, status: &SyncStatus) -> bool {
        let mut known = self.lock();
        if known.1 == *status {
            return false;
        }
        *known = (known.0 + 1, status.clone());
        self.changed.notify_all();
        true
    }

    /// What is said after `seen`, or the same after a while.
    fn wait(&self, seen: u64, most: Duration) -> (u64, SyncStatus) {
        let known = self.lock();
        let waited = self.changed.wait_timeout_while(known, most, |known| known.0 == seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.clone()
    }
}

/// A running engine; dropping it ends it.
pub struct Continuous {
    inbox: Sender<Event>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl fmt::Debug for Continuous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Continuous").finish_non_exhaustive()
    }
}

impl Continuous {
    /// Begins to sync.
    ///
    /// # Errors
    /// When there can be no further thread.
    pub fn start(options: Options, surroundings: Box<dyn Surroundings>, told: Told) -> io::Result<Self> {
        let (inbox, events) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (inbox_of_thread, stop_of_thread) = (inbox.clone(), Arc::clone(&stop));
        let thread = thread::Builder::new().name("cogfs-sync".to_owned()).spawn(move || {
            let mut worker = Worker::new(options, surroundings, told, (inbox_of_thread, events), stop_of_thread);
            while catch_unwind(AssertUnwindSafe(|| worker.run())).is_err() {
                tracing::error!("syncing panicked; it begins anew in {} s", AFTER_PANIC.as_secs());
                if worker.rests_after_panic(AFTER_PANIC) {
                    break;
                }
            }
        })?;
        Ok(Self { inbox, stop, thread: Some(thread) })
    }

    /// Asks for a cycle now. Whoever wants to know what came of it looks at what is told.
    pub fn ask(&self) {
        let (answers, _) = mpsc::channel();
        // The thread is there until this is dropped.
        let _ = self.inbox.send(Event::Ask(Ask::default(), answers));
    }
}

impl Drop for Continuous {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.inbox.send(Event::Stop);
        let Some(thread) = self.thread.take() else { return };
        let until = Instant::now() + PARTING;
        while !thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        if thread.is_finished() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        } else {
            tracing::warn!("a request is still under way; it is left to its fate, and made again by the next engine");
        }
    }
}
