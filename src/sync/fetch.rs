//! Contents come from the cloud: sessions that a reader waits for, or that a command asks for, and pictures.
//!
//! Owns the way from the cloud's pages into the store, and what is remembered of a cloud that cannot be reached. No transaction is
//! open while the cloud is asked.

mod pages;
mod walk;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::cloud::wire::FetchedSession;
use crate::cloud::{Cloud, CloudError};
use crate::fs::{FetchError, Fetcher, Outcome, Used};
use crate::model::{ContentsAt, Id, Millis};
use crate::store::fetched::{self, Fetched};
use crate::store::objects::{self, Object};
use crate::store::{self, Layout, StoreError, Survives, Writer, sessions, visuals};
use crate::sync::cache::{self, Images, Limits};
use crate::sync::contents::{self, Stored};
use walk::Walk;

/// After two failures of different things the cloud counts as out of reach for so long: a program that reads a thousand files is
/// answered at once each time. One failure may be the fault of what was asked for.
const OFFLINE: Duration = Duration::from_secs(5);

/// Room is made no more often than this, unless much came.
const TIDIED_AGAIN: Duration = Duration::from_secs(60);

/// Pictures that wait to be fetched with their sessions.
const PICTURES: usize = 10_000;

/// Where contents come from, and what is set about them: asked anew each time, for both may change while a mount lives.
pub trait Source: Send + Sync {
    /// The cloud, whose answers come within a time.
    ///
    /// # Errors
    /// When there is none; the text says what to do.
    fn cloud(&self, within: Duration) -> Result<Arc<dyn Cloud>, String>;

    /// What is fetched of itself, and what is kept.
    fn limits(&self) -> Limits;
}

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    #[error("{0}")]
    NotSetUp(String),
    #[error(transparent)]
    Cloud(#[from] CloudError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This session or picture, and no other.
    #[error("{0}")]
    Unusable(String),
    #[error("it did not come in time")]
    TimedOut,
}

/// What is remembered of failures.
#[derive(Default)]
struct Reach {
    /// What failed last.
    failed: Option<String>,
    offline: Option<(Instant, String)>,
}

/// What came since room was made last.
struct Since {
    tidied: Option<Instant>,
    bytes: u64,
    pictures: Vec<Object>,
}

/// Fetches from the cloud into a store.
pub struct FromCloud {
    layout: Layout,
    source: Box<dyn Source>,
    /// Opened by the first fetch.
    writer: Mutex<Option<Writer>>,
    reach: Mutex<Reach>,
    since: Mutex<Since>,
    walk: Mutex<Walk>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is guarded is replaced at once.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FromCloud {
    /// Into the store of a data folder. Nothing is opened or asked yet.
    #[must_use]
    pub fn new(layout: Layout, source: Box<dyn Source>) -> Self {
        Self {
            layout,
            source,
            writer: Mutex::default(),
            reach: Mutex::default(),
            since: Mutex::new(Since { tidied: None, bytes: 0, pictures: Vec::new() }),
            walk: Mutex::default(),
        }
    }

    /// Brings sessions here, in as few requests as hold them; `each` is told what became of one that came, with the bytes it takes, and
    /// says whether to go on. Of those that the cloud does not have it is told nothing.
    ///
    /// # Errors
    /// When the cloud or the database cannot be used. Sessions that came stay.
    pub fn bring(
        &self,
        ids: &[Id],
        deadline: Instant,
        each: &mut dyn FnMut(Id, Result<u64, Trouble>) -> bool,
    ) -> Result<(), Trouble> {
        let mut cloud = || {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(Trouble::TimedOut) } else { self.source.cloud(left).map_err(Trouble::NotSetUp) }
        };
        let done = pages::sessions(ids, &mut cloud, &mut |fetched| {
            let id = fetched.row.id;
            match self.keep(&fetched) {
                Err(Trouble::Store(error)) => Err(error.into()),
                kept => Ok(each(id, kept)),
            }
        });
        done.map_err(|trouble| if Instant::now() >= deadline { late(trouble) } else { trouble })
    }

    /// Stores a session that came; the bytes it takes.
    fn keep(&self, session: &FetchedSession) -> Result<u64, Trouble> {
        let mut writer = lock(&self.writer);
        let writer = open(&mut writer, &self.layout)?;
        // It can be fetched again.
        let mut tx = writer.begin_urgent(Survives::Process)?;
        let stored = contents::store(&mut tx, session)?;
        let bytes = size(session);
        let row = sessions::by_id(&tx, &session.row.id)?;
        match (stored, row) {
            (Stored::Refused { reason }, _) => return Err(Trouble::Unusable(reason)),
            (Stored::Done, Some(known)) => {
                fetched::add(&tx, &Fetched { session_row: known.row, bytes, used_at: Millis::now() })?;
                if self.source.limits().images == Images::Always {
                    self.want_pictures(&visuals::all_of_session(&tx, known.row)?);
                }
            }
            // A log of this machine brought it meanwhile.
            (_, Some(known)) if known.contents != ContentsAt::Elsewhere => {}
            _ => return Err(Trouble::Unusable("its commit is not here any more".to_owned())),
        }
        tx.commit()?;
        lock(&self.since).bytes += bytes;
        Ok(bytes)
    }

    fn want_pictures(&self, found: &[(Id, i64, u32, crate::model::Visual)]) {
        let mut since = lock(&self.since);
        for (.., visual) in found {
            if since.pictures.len() < PICTURES {
                since.pictures.push(Object { sha256: visual.sha256.clone(), mime: visual.mime.clone() });
            }
        }
    }

    /// Brings a picture here, unless it is; the bytes that came.
    ///
    /// # Errors
    /// When it cannot be had.
    pub fn picture(&self, object: &Object, deadline: Instant) -> Result<u64, Trouble> {
        let known = visuals::is_digest(&object.sha256);
        if !known {
            return Err(Trouble::Unusable("a picture is named by no hash".to_owned()));
        }
        if self.layout.blob(&object.sha256).exists() {
            return Ok(0);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let cloud = self.source.cloud(left).map_err(Trouble::NotSetUp)?;
        let bytes = match cloud.download(&object.sha256, &object.mime) {
            Ok(bytes) => bytes,
            Err(CloudError::Gone) => {
                return Err(Trouble::Unusable("the cloud does not have this picture (yet)".to_owned()));
            }
            Err(error) if Instant::now() >= deadline => return Err(late(error.into())),
            Err(error) => return Err(error.into()),
        };
        let mut writer = lock(&self.writer);
        let writer = open(&mut writer, &self.layout)?;
        let tx = writer.begin_urgent(Survives::Process)?;
        if !visuals::write_fetched_blob(&self.layout, &object.sha256, &bytes)? {
            return Err(Trouble::Unusable("the cloud has other bytes under the picture's name".to_owned()));
        }
        // What a log of this machine brought too is no copy.
        if !objects::is_own(&tx, &object.sha256)? {
            objects::set(&tx, object, objects::State::Fetched)?;
        }
        tx.commit()?;
        lock(&self.since).bytes += bytes.len() as u64;
        Ok(bytes.len() as u64)
    }

    /// Makes room for what came.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn make_room(&self) -> store::Result<cache::Given> {
        let mut writer = Writer::open(&self.layout)?;
        cache::make_room(&mut writer, &self.source.limits(), Millis::now())
    }

    /// Does what a reader waits for, unless the cloud counts as out of reach.
    fn within_reach(&self, what: &str, work: impl FnOnce() -> Result<(), Trouble>) -> Result<(), FetchError> {
        if let Some((until, why)) = &lock(&self.reach).offline
            && Instant::now() < *until
        {
            return Err(FetchError::Unreachable(why.clone()));
        }
        let done = work();
        let mut reach = lock(&self.reach);
        match &done {
            Err(Trouble::Cloud(error @ (CloudError::Unreachable(_) | CloudError::Busy { .. }))) => {
                let wait =
                    if let CloudError::Busy { wait: Some(wait) } = error { (*wait).min(OFFLINE) } else { OFFLINE };
                if reach.failed.as_deref().is_some_and(|failed| failed != what) {
                    reach.offline = Some((Instant::now() + wait, error.to_string()));
                }
                reach.failed.get_or_insert_with(|| what.to_owned());
            }
            Ok(()) => *reach = Reach::default(),
            Err(_) => {}
        }
        done.map_err(told)
    }

    fn note_use(&self, used: &[Used]) -> store::Result<()> {
        let mut writer = lock(&self.writer);
        let Some(writer) = writer.as_mut() else { return Ok(()) };
        let mut rows = Vec::new();
        for used in used {
            match used {
                Used::Session(row) => rows.push(*row),
                Used::Commit(row) => {
                    rows.extend(sessions::of_commit(writer.conn(), *row)?.into_iter().map(|session| session.row));
                }
            }
        }
        let tx = writer.begin()?;
        fetched::used(&tx, &rows, Millis::now())?;
        tx.commit()
    }

    /// Whether it is time to make room: now and then, and when much came.
    fn is_time_to_tidy(&self) -> bool {
        let much = self.source.limits().max_bytes / 16;
        let mut since = lock(&self.since);
        let is_time = since.bytes >= much || since.tidied.is_none_or(|at| at.elapsed() >= TIDIED_AGAIN);
        if is_time {
            (since.tidied, since.bytes) = (Some(Instant::now()), 0);
        }
        is_time
    }
}

/// What a reader is told of a failure.
fn told(trouble: Trouble) -> FetchError {
    match trouble {
        Trouble::TimedOut => FetchError::TimedOut,
        other => FetchError::Unreachable(other.to_string()),
    }
}

/// What a failure is that the time ran out at.
fn late(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Cloud(CloudError::Unreachable(_)) => Trouble::TimedOut,
        other => other,
    }
}

fn open<'a>(writer: &'a mut Option<Writer>, layout: &Layout) -> Result<&'a mut Writer, Trouble> {
    match writer {
        Some(writer) => Ok(writer),
        None => Ok(writer.insert(Writer::open(layout)?)),
    }
}

/// About what a session's contents take in the database.
fn size(session: &FetchedSession) -> u64 {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let turns =
        session.turns.iter().map(|turn| 150 + turn.text.len() + text(&turn.tool_input) + text(&turn.tool_output));
    let raw = session.raw.iter().map(|chunk| chunk.data.0.len());
    turns.chain(raw).sum::<usize>() as u64
}

impl Fetcher for FromCloud {
    fn fetch(&self, ids: &[Id], deadline: Instant, came: &mut dyn FnMut(Id, Outcome)) -> Outcome {
        let Some(first) = ids.first() else { return Ok(()) };
        self.within_reach(&first.to_string(), || {
            let mut left = Vec::new();
            for id in ids {
                // Who asked may have seen the database as it was before another fetch ended.
                if contents::elsewhere(open(&mut lock(&self.writer), &self.layout)?.conn(), id)?.is_none() {
                    came(*id, Ok(()));
                } else {
                    left.push(*id);
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            self.bring(&left.clone(), deadline, &mut |id, kept| {
                left.retain(|other| *other != id);
                came(id, kept.map(drop).map_err(told));
                true
            })?;
            for id in left {
                let none = Trouble::Unusable("the cloud does not have it (any more)".to_owned());
                came(id, Err(told(none)));
            }
            Ok(())
        })
    }

    fn together(&self, session: Id, waiting: &[Id]) -> Vec<Id> {
        let mut writer = lock(&self.writer);
        let Ok(writer) = open(&mut writer, &self.layout) else { return Vec::new() };
        let chosen = lock(&self.walk).together(writer.conn(), session, waiting);
        chosen.unwrap_or_else(|error| {
            tracing::warn!(%error, "what is read next could not be looked up");
            Vec::new()
        })
    }

    fn blob(&self, sha256: &str, mime: &str, deadline: Instant) -> Outcome {
        if self.source.limits().images == Images::Never {
            let why = "pictures of other machines are not fetched: `cogfs config get fetch.images`".to_owned();
            return Err(FetchError::Unreachable(why));
        }
        let object = Object { sha256: sha256.to_owned(), mime: mime.to_owned() };
        self.within_reach(sha256, || self.picture(&object, deadline).map(drop))
    }

    fn behind(&self, used: &[Used]) {
        if !used.is_empty()
            && let Err(error) = self.note_use(used)
        {
            tracing::warn!(%error, "what was read of other machines' conversations could not be noted");
        }
        let pictures = std::mem::take(&mut lock(&self.since).pictures);
        for object in pictures {
            let deadline = Instant::now() + Duration::from_secs(60);
            if let Err(error) = self.within_reach(&object.sha256, || self.picture(&object, deadline).map(drop)) {
                tracing::info!(%error, "a picture is not fetched yet");
                break;
            }
        }
        if !self.is_time_to_tidy() {
            return;
        }
        match self.make_room() {
            Ok(given) if given == cache::Given::default() => {}
            Ok(given) => tracing::info!(?given, "copies of what is in the cloud gave way"),
            Err(error) => tracing::warn!(%error, "no room could be made for what is fetched"),
        }
    }
}
