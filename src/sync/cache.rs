//! Copies of what is in the cloud give way when they take too much room, or nobody used them for long.
//!
//! Gives back what was fetched, and nothing else: what a log of this machine brought may be nowhere else.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::model::{ContentsAt, Millis};
use crate::store::fetched::{self, Fetched};
use crate::store::{Result, StoreError, Transaction, Writer, objects, sessions};
use crate::sync::contents;

/// What was used within this time stays, however much room it takes: somebody may be reading it.
const IN_USE: Duration = Duration::from_secs(60);

/// Which pictures of other machines are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Images {
    /// When they are opened.
    #[default]
    OnOpen,
    Never,
    /// With the contents of their sessions.
    Always,
}

/// What is kept of what was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub max_bytes: u64,
    /// Since it was used; `None`: for ever.
    pub ttl: Option<Duration>,
    pub images: Images,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 1 << 30, ttl: Some(Duration::from_secs(30 * 86_400)), images: Images::default() }
    }
}

/// What gave way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Given {
    pub sessions: u64,
    pub pictures: u64,
    pub bytes: u64,
}

enum What {
    Session(Fetched),
    Picture(String),
}

struct Copy {
    what: What,
    bytes: u64,
    used_at: i64,
}

/// Gives back copies that nobody used for long, then those used least recently, until the rest has room.
///
/// # Errors
/// When the database cannot be written.
pub fn make_room(writer: &mut Writer, limits: &Limits, now: Millis) -> Result<Given> {
    let mut copies = copies(writer)?;
    copies.sort_by_key(|copy| copy.used_at);
    let mut taken: u64 = copies.iter().map(|copy| copy.bytes).sum();
    let before = |span: Duration| now.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX));
    let (old, in_use) = (limits.ttl.map(before), before(IN_USE));
    let mut given = Given::default();
    for copy in copies {
        let is_old = old.is_some_and(|old| copy.used_at < old);
        let is_too_much = taken > limits.max_bytes && copy.used_at < in_use;
        if !(is_old || is_too_much) {
            continue;
        }
        if give_back(writer, &copy.what)? {
            taken = taken.saturating_sub(copy.bytes);
            given.bytes += copy.bytes;
            match copy.what {
                What::Session(_) => given.sessions += 1,
                What::Picture(_) => given.pictures += 1,
            }
        }
    }
    Ok(given)
}

fn copies(writer: &Writer) -> Result<Vec<Copy>> {
    let fetched = fetched::all(writer.conn())?.into_iter();
    let mut copies: Vec<Copy> = fetched
        .map(|fetched| Copy { bytes: fetched.bytes, used_at: fetched.used_at.0, what: What::Session(fetched) })
        .collect();
    for sha256 in objects::fetched(writer.conn())? {
        // Its time is that of its last use: see `fs`.
        let Ok(file) = fs::metadata(writer.layout().blob(&sha256)) else { continue };
        let used = file.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap_or_default();
        let used_at = i64::try_from(used.as_millis()).unwrap_or(i64::MAX);
        copies.push(Copy { what: What::Picture(sha256), bytes: file.len(), used_at });
    }
    Ok(copies)
}

/// Gives one copy back, if it still is one. In one transaction: an import may be about to make it its own.
fn give_back(writer: &mut Writer, what: &What) -> Result<bool> {
    let mut tx = writer.begin()?;
    match what {
        What::Session(fetched) => {
            let session = sessions::get(&tx, fetched.session_row)?;
            let Some(session) = session.filter(|session| session.contents == ContentsAt::Fetched) else {
                return Ok(false);
            };
            contents::give_back(&mut tx, &session)?;
        }
        What::Picture(sha256) => return give_back_picture(tx, sha256).map(|given| given.is_some()),
    }
    tx.commit()?;
    Ok(true)
}

/// Gives a picture back that the cloud has, unless a log of this machine brought it: how many bytes that were.
///
/// # Errors
/// When the file cannot be removed, or SQLite cannot write.
pub(super) fn give_back_picture(tx: Transaction<'_>, sha256: &str) -> Result<Option<u64>> {
    if objects::is_own(&tx, sha256)? {
        return Ok(None);
    }
    let path = tx.layout().blob(sha256);
    let bytes = fs::metadata(&path).map_or(0, |file| file.len());
    if let Err(source) = fs::remove_file(&path)
        && source.kind() != std::io::ErrorKind::NotFound
    {
        return Err(StoreError::Io { path, source });
    }
    objects::remove(&tx, sha256)?;
    tx.commit()?;
    Ok(Some(bytes))
}
