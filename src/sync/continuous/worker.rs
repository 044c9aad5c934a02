//! The engine's thread.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::network::{Network, slept};
use super::schedule::{Ended, Outlook, Schedule};
use super::socket::{self, Answer, Ask, Done, Failure, Server};
use super::{Account, Bell, Connection, Event, Options, Shared, Surroundings, Told};
use crate::cloud::patient::Patient;
use crate::cloud::realtime::Ring;
use crate::cloud::retry::dice;
use crate::cloud::{Cloud, CloudError};
use crate::model::Millis;
use crate::render::{SyncProgress, SyncState, SyncStatus};
use crate::store::lock::{Lock, Purpose};
use crate::store::{self, Writer};
use crate::sync::engine::{self, Engine, Progress, Summary, SyncError, Way};
use crate::sync::shared_counts;

/// How often it is looked whether something changed here: by a number in shared memory, without the disk. A part of
/// [`ACCOUNT_LOOKS`], so that one waking serves both.
const LOOKS: Duration = Duration::from_millis(500);
/// How often the settings and the login are looked at.
const ACCOUNT_LOOKS: Duration = Duration::from_secs(1);
/// How often another process is asked for the engine's role.
const ROLE_LOOKS: Duration = Duration::from_secs(1);
/// A database that cannot be opened is tried again so late.
const AFTER_NO_DATABASE: Duration = Duration::from_secs(10);
/// How often progress is told at the most.
const PROGRESS: Duration = Duration::from_millis(200);
/// A machine that slept for so long finds another network.
const NAP: Duration = Duration::from_secs(2);
/// How often it is asked how full the account is.
const USAGE_LOOKS: Duration = Duration::from_secs(60 * 60);
/// How often everything is looked through for what is to be sent, where nothing changed.
const PUSH_LOOKS: Duration = Duration::from_secs(10 * 60);
/// How soon counts that could not be shared, or deleted, are tried again.
const COUNTS_AGAIN: Duration = Duration::from_secs(60 * 60);
/// Latencies that are remembered.
const LATENCIES: usize = 20;

/// A cloud that is spoken with.
struct Connected {
    name: String,
    login: String,
    cloud: Arc<dyn Cloud>,
    bell: Option<Box<dyn Bell>>,
    engine: Engine,
    schedule: Schedule,
    /// Something may wait here to be sent: what changed since the last push that went well.
    unsent: bool,
    /// When everything was last looked through for what is to be sent.
    pushed_at: Duration,
    /// When it was last asked how full the account is.
    usage_at: Option<Duration>,
    /// When counts that are shared could not be sent, or deleted.
    counts_failed_at: Option<Duration>,
    /// When the first change was made here that the cloud does not have.
    changed_at: Option<Duration>,
}

pub(super) struct Worker {
    options: Options,
    surroundings: Box<dyn Surroundings>,
    told: Told,
    inbox: Sender<Event>,
    events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    shared: Arc<Shared>,
    status: SyncStatus,
    latencies: Vec<Duration>,
    began: Instant,
}

/// The end of a wait.
enum Woken {
    Due,
    Event(Event),
    Stop,
}

impl Worker {
    pub(super) fn new(
        options: Options,
        surroundings: Box<dyn Surroundings>,
        told: Told,
        (inbox, events): (Sender<Event>, Receiver<Event>),
        stop: Arc<AtomicBool>,
    ) -> Self {
        let status = SyncStatus { pid: Some(process::id()), ..SyncStatus::default() };
        let (shared, began) = (Arc::default(), Instant::now());
        Self { options, surroundings, told, inbox, events, stop, shared, status, latencies: Vec::new(), began }
    }

    /// Runs until it is to stop.
    pub(super) fn run(&mut self) {
        if self.rests(self.options.begin_after) {
            return;
        }
        while !self.stop.load(Ordering::Relaxed) {
            match Lock::try_take(&self.options.layout, &Purpose::Engine) {
                Ok(Some(role)) => {
                    self.lead();
                    drop(role);
                }
                Ok(None) => self.mirror(),
                Err(error) => {
                    self.tell_fault(&error.to_string());
                    self.rests(AFTER_NO_DATABASE);
                }
            }
        }
    }

    /// After a panic; true when it is to stop.
    pub(super) fn rests_after_panic(&mut self, pause: Duration) -> bool {
        self.tell_fault(&format!("syncing failed (a fault in cogfs); it begins anew in {} s", pause.as_secs()));
        self.rests(pause)
    }

    /// Another process syncs: what it says is said here, until it ends.
    fn mirror(&mut self) {
        let path = self.options.socket.clone();
        if let Ok(answers) = socket::mirror(&path) {
            for answer in answers {
                let Ok(Answer::Status(status)) = answer else { break };
                if self.stop.load(Ordering::Relaxed) {
                    return;
                }
                if self.shared.set(&status) {
                    (self.told)(&status);
                }
                // Nobody else asks this one meanwhile but the mount that it is part of.
                while let Ok(event) = self.events.try_recv() {
                    match event {
                        Event::Ask(ask, _) => drop(socket::cycle(&path, ask)),
                        Event::Look => socket::look(&path),
                        Event::Stop => return,
                        Event::Ring(_) | Event::Network => {}
                    }
                }
            }
        }
        self.rests(ROLE_LOOKS);
    }

    /// This process syncs.
    fn lead(&mut self) {
        let server = Server::start(&self.options.socket, self.inbox.clone(), Arc::clone(&self.shared));
        if let Err(error) = &server {
            // Commands sync by themselves then, one at a time with this.
            tracing::warn!(%error, socket = %self.options.socket.display(), "commands cannot ask the engine");
        }
        let inbox = self.inbox.clone();
        let network = Network::listen(move || drop(inbox.send(Event::Network)));
        if let Err(error) = &network {
            tracing::info!(%error, "nobody tells when the network changes");
        }
        while !self.stop.load(Ordering::Relaxed) {
            match Writer::open(&self.options.layout) {
                Ok(writer) => Lead { worker: self, writer, connected: None, version: None, slept: slept() }.run(),
                Err(error) => {
                    self.tell_fault(&error.to_string());
                    if self.rests(AFTER_NO_DATABASE) {
                        return;
                    }
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Waits, whatever happens meanwhile; true when it is to stop.
    fn rests(&mut self, pause: Duration) -> bool {
        let until = self.now() + pause;
        loop {
            match self.wait(until.saturating_sub(self.now())) {
                Woken::Stop => return true,
                Woken::Due => return false,
                Woken::Event(Event::Ask(_, answers)) => drop(answers.send(Answer::Failed(Failure::NotHere))),
                Woken::Event(_) => {}
            }
        }
    }

    fn wait(&mut self, pause: Duration) -> Woken {
        if self.stop.load(Ordering::Relaxed) {
            return Woken::Stop;
        }
        match self.events.recv_timeout(pause) {
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => Woken::Stop,
            Ok(event) => Woken::Event(event),
            Err(RecvTimeoutError::Timeout) => Woken::Due,
        }
    }

    fn tell(&mut self) {
        if self.shared.set(&self.status) {
            (self.told)(&self.status);
        }
    }

    fn set(&mut self, state: SyncState, reason: Option<String>) {
        if self.status.state != state || self.status.reason != reason {
            tracing::info!(state = state.as_str(), reason, "sync");
        }
        (self.status.state, self.status.reason, self.status.progress) = (state, reason, None);
        self.tell();
    }

    fn tell_fault(&mut self, reason: &str) {
        self.set(SyncState::Error, Some(reason.to_owned()));
    }

    /// Notes how long a change waited.
    fn waited(&mut self, latency: Duration) {
        if self.latencies.len() == LATENCIES {
            self.latencies.remove(0);
        }
        self.latencies.push(latency);
        let number = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        let mean = self.latencies.iter().sum::<Duration>() / number;
        self.status.latency_ms = Some(u64::try_from(mean.as_millis()).unwrap_or(u64::MAX));
    }
}

/// The engine, in the process that has its role.
struct Lead<'a> {
    worker: &'a mut Worker,
    writer: Writer,
    connected: Option<Connected>,
    /// What SQLite counts changes of other connections by, when it was last looked at.
    version: Option<i64>,
    slept: Duration,
}

impl Lead<'_> {
    /// Runs until it is to stop, or the database has to be opened anew.
    fn run(&mut self) {
        let (mut look_at, mut account_at) = (Duration::ZERO, Duration::ZERO);
        loop {
            let now = self.worker.now();
            if now >= account_at {
                self.look_at_account(now);
                account_at = now + ACCOUNT_LOOKS;
            }
            if now >= look_at {
                if let Err(error) = self.look_for_changes(now) {
                    self.worker.tell_fault(&error.to_string());
                    self.worker.rests(AFTER_NO_DATABASE);
                    return;
                }
                look_at = now + LOOKS;
            }
            let due = self.connected.as_ref().and_then(|connected| connected.schedule.next());
            if due.is_some_and(|due| due <= now) {
                self.cycle(None);
                continue;
            }
            // Nothing is looked for while there is no account.
            let soonest = if self.connected.is_some() { look_at.min(account_at) } else { account_at };
            let until = due.map_or(soonest, |due| due.min(soonest));
            match self.worker.wait(until.saturating_sub(now)) {
                Woken::Stop => return,
                Woken::Due => {}
                Woken::Event(Event::Look) => account_at = Duration::ZERO,
                Woken::Event(Event::Network) => self.network_changed(),
                Woken::Event(Event::Ring(ring)) => self.rang(ring),
                Woken::Event(Event::Ask(ask, answers)) => {
                    // Who logged in a moment ago is not told that nobody is.
                    self.look_at_account(self.worker.now());
                    if self.connected.is_some() {
                        self.cycle(Some((ask, &answers)));
                    } else {
                        // Whoever asked may be gone.
                        let _ = answers.send(Answer::Failed(Failure::NotHere));
                    }
                }
                Woken::Event(Event::Stop) => return,
            }
        }
    }

    fn look_at_account(&mut self, now: Duration) {
        match self.worker.surroundings.account() {
            Account::Off(reason) => {
                self.connected = None;
                self.worker.status.doorbell = false;
                self.worker.set(SyncState::Off, Some(reason));
            }
            Account::LoginNeeded => self.ended(),
            Account::Ready { connection, login } => {
                let is_same = self.connected.as_ref().is_some_and(|connected| {
                    let is_again = connected.schedule.outlook() == Outlook::LoginNeeded && connected.login != login;
                    connected.name == connection && !is_again
                });
                if !is_same {
                    self.connect(connection, login, now);
                }
            }
        }
        let slept = slept();
        if slept.saturating_sub(self.slept) > NAP {
            self.network_changed();
        }
        self.slept = slept;
    }

    fn ended(&mut self) {
        self.connected = None;
        self.worker.status.doorbell = false;
        self.worker.set(SyncState::LoginNeeded, Some(CloudError::LoginNeeded.to_string()));
    }

    fn connect(&mut self, name: String, login: String, now: Duration) {
        // The former one's doorbell is silent before the new one's rings.
        self.connected = None;
        self.worker.status.doorbell = false;
        let Connection { cloud, listen, interval } = match self.worker.surroundings.connect() {
            Ok(connection) => connection,
            Err(reason) => return self.worker.set(SyncState::Error, Some(reason)),
        };
        let inbox = self.worker.inbox.clone();
        let bell = listen.and_then(|listen| {
            // The engine may be gone when it rings.
            listen(Arc::new(move |ring| drop(inbox.send(Event::Ring(ring)))))
                .inspect_err(|error| tracing::warn!(%error, "no doorbell"))
                .ok()
        });
        self.worker.set(SyncState::Connecting, None);
        let (engine, schedule) = (Engine::new(), Schedule::new(interval, now));
        self.connected = Some(Connected {
            name,
            login,
            cloud,
            bell,
            engine,
            schedule,
            unsent: true,
            pushed_at: now,
            usage_at: None,
            counts_failed_at: None,
            changed_at: None,
        });
    }

    fn look_for_changes(&mut self, now: Duration) -> store::Result<()> {
        let version = self.writer.conn().pragma_query_value(None, "data_version", |r| r.get(0))?;
        let is_news = self.version.replace(version).is_some_and(|before| before != version);
        if let (true, Some(connected)) = (is_news, &mut self.connected) {
            connected.schedule.changed(now);
            connected.unsent = true;
            connected.changed_at.get_or_insert(now);
        }
        Ok(())
    }

    fn network_changed(&mut self) {
        let now = self.worker.now();
        if let Some(connected) = &mut self.connected {
            connected.schedule.network_changed(now);
            if let Some(bell) = &connected.bell {
                bell.retry_now();
            }
        }
    }

    fn rang(&mut self, ring: Ring) {
        let Some(connected) = &mut self.connected else { return };
        let is_joined = match ring {
            Ring::Joined => {
                connected.schedule.rang();
                true
            }
            // What this machine pushed itself, or what was pulled since.
            Ring::Rang { seq: Some(seq) } if engine::cursor(self.writer.conn()).is_ok_and(|cursor| seq <= cursor) => {
                true
            }
            Ring::Rang { .. } => {
                connected.schedule.rang();
                true
            }
            Ring::Lost { why } => {
                tracing::info!(why, "the doorbell is not heard; the cloud is asked regularly");
                false
            }
        };
        if self.worker.status.doorbell != is_joined {
            self.worker.status.doorbell = is_joined;
            self.worker.tell();
        }
    }

    /// Does a cycle, for somebody or because it is due.
    fn cycle(&mut self, asked: Option<(Ask, &Sender<Answer>)>) {
        let now = self.worker.now();
        let Some(connected) = &mut self.connected else { return };
        connected.schedule.began(now);
        let changed_at = connected.changed_at.take();
        // Where nothing changed, looking for what is to be sent costs more than all the rest of an idle hour.
        let is_idle = !connected.unsent && now.saturating_sub(connected.pushed_at) < PUSH_LOOKS;
        let idle = Ask { way: if is_idle { Way::Pull } else { Way::Both }, projects: None };
        let ask = asked.as_ref().map_or(&idle, |(ask, _)| ask);
        let is_whole = ask.way == Way::Both && ask.projects.is_none();
        let done = self.do_cycle(ask, asked.as_ref().map(|(_, answers)| *answers));
        let ended_at = self.worker.now();
        let Some(connected) = &mut self.connected else { return };
        let ended = match &done {
            Ok(_) => Ended::Well,
            Err(Failed::Sync(SyncError::Cloud(error))) => Ended::Cloud(error.clone()),
            Err(Failed::Sync(SyncError::Running)) => Ended::Running,
            Err(_) => Ended::Fault,
        };
        connected.schedule.ended(ended_at, &ended, dice());
        match &done {
            Err(_) => {
                connected.changed_at = changed_at.or(connected.changed_at);
                connected.unsent = true;
            }
            Ok(_) if is_whole => (connected.unsent, connected.pushed_at) = (false, now),
            // A merge may have left something to be sent.
            Ok(done) if done.summary.pulled > 0 => {
                connected.unsent = true;
                connected.schedule.changed(ended_at);
            }
            Ok(_) => {}
        }
        let (outlook, next) = (connected.schedule.outlook(), connected.schedule.next());
        if done.is_ok() && connected.usage_at.is_none_or(|at| ended_at.saturating_sub(at) >= USAGE_LOOKS) {
            connected.usage_at = Some(ended_at);
            if let Err(error) = engine::refresh_usage(&mut self.writer, &*connected.cloud) {
                tracing::info!(%error, "it is not known how full the account is");
            }
        }
        let is_pull = asked.as_ref().is_some_and(|(ask, _)| ask.way == Way::Pull);
        if done.is_ok() && !is_pull {
            self.settle_counts(ended_at, asked.is_some());
        }
        self.note(&done, ended_at, changed_at, outlook, next);
        if let Some((_, answers)) = asked {
            // Whoever asked may be gone.
            let _ = answers.send(match done {
                Ok(done) => Answer::Done(Box::new(done)),
                Err(Failed::Sync(error)) => Answer::Failed(Failure::from(&error)),
                Err(Failed::Around(why)) => Answer::Failed(Failure::Other(why)),
            });
        }
    }

    /// Behind a cycle that went well: counts of the last week are shared, or those that were are deleted, as the settings say. Nearly
    /// always there is nothing to do, and nobody is asked.
    fn settle_counts(&mut self, now: Duration, is_asked: bool) {
        let Some(connected) = &mut self.connected else { return };
        let rests = connected.counts_failed_at.is_some_and(|at| now.saturating_sub(at) < COUNTS_AGAIN);
        if rests && !is_asked {
            return;
        }
        let Some(shares) = self.worker.surroundings.shares_counts() else { return };
        let settled = shared_counts::settle(&mut self.writer, &*connected.cloud, shares, Millis::now());
        connected.counts_failed_at = settled.is_err().then_some(now);
        if let Err(error) = settled {
            tracing::info!(%error, "counts are not shared, or not deleted, yet");
        }
    }

    /// What a cycle came to is told.
    fn note(
        &mut self,
        done: &Result<Done, Failed>,
        now: Duration,
        changed_at: Option<Duration>,
        outlook: Outlook,
        next: Option<Duration>,
    ) {
        let worker = &mut *self.worker;
        worker.status.cycles += 1;
        let reason = match done {
            Ok(done) => {
                worker.status.last_sync = Some(Millis::now());
                if let (true, Some(at)) = (done.summary.pushed > 0, changed_at) {
                    worker.waited(now.saturating_sub(at));
                }
                None
            }
            Err(Failed::Sync(SyncError::Running)) => None,
            Err(error) => {
                worker.status.failures += 1;
                Some(error.to_string())
            }
        };
        let state = match outlook {
            Outlook::Synced => SyncState::Synced,
            Outlook::Again => SyncState::Retrying,
            Outlook::Offline => SyncState::Offline,
            Outlook::LoginNeeded => SyncState::LoginNeeded,
            Outlook::Failed => SyncState::Error,
        };
        let in_ms = next.map(|next| i64::try_from(next.saturating_sub(now).as_millis()).unwrap_or(i64::MAX));
        let is_well = outlook == Outlook::Synced;
        worker.status.next_try = in_ms.filter(|_| !is_well).map(|ms| Millis(Millis::now().0.saturating_add(ms)));
        worker.set(state, reason);
    }

    fn do_cycle(&mut self, ask: &Ask, answers: Option<&Sender<Answer>>) -> Result<Done, Failed> {
        let Some(connected) = &mut self.connected else { return Err(Failed::Around("nobody is logged in".to_owned())) };
        let worker = &mut *self.worker;
        let (secrets, complaints) = worker.surroundings.prepare(&mut self.writer).map_err(Failed::Around)?;
        let projects = ask.projects.as_ref().map(|rows| rows.iter().copied().collect());
        let options = engine::Options { way: ask.way, projects, ignored: worker.options.ignored.clone() };
        let mut shown = Shown { answers, progress: SyncProgress::default(), at: None };
        let stop = Arc::clone(&worker.stop);
        let done = {
            let (status, shared, told) = (&mut worker.status, &worker.shared, &worker.told);
            let mut progress = |progress: Progress| {
                if shown.took(progress) {
                    (status.state, status.progress) = (SyncState::Syncing, Some(shown.progress));
                    if shared.set(status) {
                        told(status);
                    }
                }
            };
            let waits = |error: &CloudError, pause: Duration| {
                if let Some(answers) = answers {
                    let _ = answers.send(Answer::Waits(error.to_string(), pause.as_secs_f64()));
                }
            };
            let patient = Patient::new(&*connected.cloud, &stop, &waits);
            // Somebody waits for what was asked for. Otherwise the schedule has the patience.
            let cloud: &dyn Cloud = if answers.is_some() { &patient } else { &*connected.cloud };
            connected.engine.cycle(&mut self.writer, cloud, &secrets, &options, (&stop, &mut progress))
        };
        // Kept whatever became of the cycle: it was taken out of what was sent.
        secrets.keep(&mut self.writer).map_err(|error| Failed::Sync(error.into()))?;
        let summary: Summary = done.map_err(Failed::Sync)?;
        worker.surroundings.finish(&mut self.writer, &summary).map_err(Failed::Around)?;
        for complaint in &complaints {
            tracing::warn!("{complaint}");
        }
        let secrets = secrets.counts().into_iter().map(|(kind, number)| (kind.to_owned(), number)).collect();
        Ok(Done { summary, secrets, complaints })
    }
}

/// Why a cycle did not go well.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Sync(SyncError),
    /// What is around the engine.
    #[error("{0}")]
    Around(String),
}

/// What is shown of a cycle that is under way: nothing of one that has nothing to do.
struct Shown<'a> {
    answers: Option<&'a Sender<Answer>>,
    progress: SyncProgress,
    at: Option<Instant>,
}

impl Shown<'_> {
    /// True when it is to be told.
    fn took(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Pulled { records } => self.progress.pulled = records,
            Progress::Pushed { records, bytes } => (self.progress.pushed, self.progress.bytes) = (records, bytes),
            Progress::Pictures { sent, bytes: _ } => self.progress.pictures = sent,
            Progress::Step => return false,
        }
        let is_due = self.at.is_none_or(|at| at.elapsed() >= PROGRESS);
        if self.progress == SyncProgress::default() || !is_due {
            return false;
        }
        self.at = Some(Instant::now());
        if let Some(answers) = self.answers {
            // Whoever asked may be gone.
            let _ = answers.send(Answer::Progress(self.progress));
        }
        true
    }
}
