//! A push reads what it sends next while the server takes what it sent: what is found out meanwhile holds for that, too.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use cogfs::cloud::wire::{Change, Fetched, Kind, Mark, Outcome, Pulled, Status};
use cogfs::cloud::{Cloud, Result};
use cogfs::model::{Id, Millis};
use cogfs::store::{Writer, projects, sessions};
use cogfs::sync::engine::{Engine, Options, Summary};
use cogfs::sync::facts::Redact;

use crate::common::wait_until;
use crate::engine::Lab;
use crate::memory_cloud::MemoryCloud;

/// Commits that fill a request, and their sessions, which fill the next.
const SESSIONS: u32 = 99;

/// Counts the records that were read to be sent.
#[derive(Default)]
struct Counts(AtomicUsize);

impl Redact for Counts {
    fn text<'a>(&self, _: &Id, text: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(text)
    }
    fn record<'a>(&self, _: &Id, line: &'a str) -> Cow<'a, str> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Cow::Borrowed(line)
    }
}

/// A cloud in which something happens while it takes the first request, once records of the next are being read.
struct Meanwhile<'a> {
    cloud: MemoryCloud,
    read: &'a Counts,
    happens: Box<dyn Fn() + Send + Sync + 'a>,
    sent: Mutex<Vec<Vec<Change>>>,
}

impl Cloud for Meanwhile<'_> {
    fn url(&self) -> &str {
        self.cloud.url()
    }
    fn user(&self) -> Option<Id> {
        self.cloud.user()
    }
    fn status(&self) -> Result<Status> {
        self.cloud.status()
    }
    fn push(&self, machine: Id, as_of: Millis, changes: &[Change]) -> Result<Vec<Outcome>> {
        self.sent.lock().unwrap().push(changes.to_vec());
        if self.sent.lock().unwrap().len() == 1 {
            wait_until(Duration::from_secs(20), "the next request", || self.read.0.load(Ordering::SeqCst) > 0);
            (self.happens)();
        }
        self.cloud.push(machine, as_of, changes)
    }
    fn pull(&self, since: i64, max: u32) -> Result<Pulled> {
        self.cloud.pull(since, max)
    }
    fn fetch(&self, sessions: &[Id], after: Option<&Mark>) -> Result<Fetched> {
        self.cloud.fetch(sessions, after)
    }
    fn upload(&self, sha256: &str, mime: &str, bytes: &[u8]) -> Result<()> {
        self.cloud.upload(sha256, mime, bytes)
    }
    fn download(&self, sha256: &str, mime: &str) -> Result<Vec<u8>> {
        self.cloud.download(sha256, mime)
    }
    fn remove(&self, objects: &[String]) -> Result<()> {
        self.cloud.remove(objects)
    }
    fn share_counts(&self, document: &str) -> Result<()> {
        self.cloud.share_counts(document)
    }
    fn unshare_counts(&self) -> Result<u64> {
        self.cloud.unshare_counts()
    }
}

/// A push of all that there is; what it sent in each request.
fn pushed(lab: &mut Lab, happens: impl Fn() + Send + Sync) -> (Summary, Vec<Vec<Change>>) {
    let read = Counts::default();
    let cloud = Meanwhile { cloud: lab.cloud.clone(), read: &read, happens: Box::new(happens), sent: Mutex::default() };
    let stop = AtomicBool::new(false);
    let done =
        Engine::new().cycle(&mut lab.a.writer, &cloud, &read, &Options::default(), (&stop, &mut |_| {})).unwrap();
    (done, cloud.sent.into_inner().unwrap())
}

/// Whether a change is of a session.
fn is_of(change: &Change, id: &Id) -> bool {
    match change {
        Change::Facts { kind: Kind::Session, id: of, .. } => of == id,
        Change::Turns { session, .. } | Change::Raw { session, .. } | Change::Usage { session, .. } => session == id,
        _ => false,
    }
}

#[test]
fn what_was_read_while_a_request_was_under_way_is_sent_in_the_next_one() {
    let mut lab = Lab::with(SESSIONS);
    let (done, sent) = pushed(&mut lab, || {});
    assert_eq!((done.pushed, done.refused, sent.len()), (2 + 2 * u64::from(SESSIONS), 0, 2));
    lab.b.sync(None).unwrap();
    assert_eq!(lab.b.number("SELECT count(*) FROM sessions"), i64::from(SESSIONS));
}

#[test]
fn what_is_to_stay_here_since_it_was_read_is_not_sent() {
    let mut lab = Lab::with(SESSIONS);
    let layout = lab.a.layout();
    let project = projects::all(lab.a.writer.conn()).unwrap().pop().unwrap();
    let (_, sent) = pushed(&mut lab, || {
        let mut writer = Writer::open(&layout).unwrap();
        let tx = writer.begin().unwrap();
        projects::set_syncs(&tx, project.row, false).unwrap();
        tx.commit().unwrap();
    });
    let is_of_session = |change: &Change| !matches!(change, Change::Facts { kind, .. } if *kind != Kind::Session);
    assert!(!sent[1..].iter().flatten().any(is_of_session), "{} requests", sent.len());
    assert!(!lab.cloud.rows().iter().any(|row| row.kind == Kind::Session));
}

#[test]
fn what_lies_in_a_record_that_was_refused_since_it_was_read_is_not_sent() {
    let mut lab = Lab::with(SESSIONS);
    let session = sessions::get(lab.a.writer.conn(), i64::from(SESSIONS)).unwrap().unwrap();
    let commit = cogfs::store::commits::get(lab.a.writer.conn(), session.commit_row.unwrap()).unwrap().unwrap();
    lab.cloud.refuse(commit.id, "quota_commits", "no room");
    let (done, sent) = pushed(&mut lab, || {});
    assert_eq!((done.refused, done.pushed), (1, 2 * u64::from(SESSIONS)));
    assert!(!sent.iter().flatten().any(|change| is_of(change, &session.id)));
}
