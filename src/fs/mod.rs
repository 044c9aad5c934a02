//! The filesystem, free of FUSE: every operation returns its result or an error that carries its errno.
//!
//! Reads the store through `tree`; must not know of `fuser`.

mod ahead;
mod attributes;
mod control;
mod documents;
mod error;
pub mod errors;
mod fetch;
mod gate;
mod listing;
mod lookup;
mod next_page;
mod overlay;
mod piece;
mod readers;
mod reading;
mod remove;
mod rename;
mod save;
pub mod scratch;
mod searches;
mod trash_info;
mod watcher;
mod write;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::model::Millis;
use crate::render::{Following, SyncStatus};
use crate::store::{self, Layout, StoreError};
use crate::tree::{self, Facts, Kind, Node, View};
pub use ahead::{ReadAt, ReadyFile};
use documents::Documents;
pub use error::FsError;
pub use fetch::{FetchError, Fetcher, Missing, Outcome, Used};
use gate::Gate;
pub use gate::RequestGuard;
use next_page::NextPage;
pub use piece::Piece;
use readers::Readers;
pub use scratch::RenameMode;
use watcher::Watcher;
use write::Writing;
pub use write::{Places, SetAttr, trash_info_place};

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    Directory,
    File,
    Symlink,
}

/// A node's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    pub ino: u64,
    pub kind: NodeKind,
    pub size: u64,
    pub mtime: Millis,
    pub ctime: Millis,
    /// Permission bits.
    pub mode: u16,
    pub nlink: u32,
    /// Tells a directory that was removed from the same one seen again.
    pub generation: u64,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    Found(Attr),
    /// There is no such name. `for_good`: no such name will ever appear, so the kernel may remember it.
    Absent {
        for_good: bool,
    },
}

/// One name of a directory. `attr` is there when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub ino: u64,
    pub kind: NodeKind,
    pub name: OsString,
    /// Where a listing that stops here goes on.
    pub next_offset: u64,
    pub attr: Option<Attr>,
}

/// Something the kernel remembers and must forget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invalidation {
    /// Attributes and contents of a node; for a directory, its listing.
    Node(u64),
    /// Attributes of a file whose contents the kernel has as they are: it was it who brought them.
    Attributes(u64),
    /// A name that means something else now, or nothing.
    Name { parent: u64, name: OsString },
}

/// Totals for `statfs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub files: u64,
    pub bytes: u64,
    pub free_bytes: u64,
}

/// A directory may be listed and entered, a file read, by its owner alone.
const DIRECTORY_MODE: u16 = 0o500;
const FILE_MODE: u16 = 0o400;
/// A script may be run too.
const SCRIPT_MODE: u16 = 0o500;
/// The owner's right to write, where something can be changed.
const WRITABLE: u16 = 0o200;
const LINK_MODE: u16 = 0o777;

/// The longest name, in bytes: what `statfs` says, and what every generated name keeps to.
pub const NAME_MAX: usize = 255;

/// The mounted tree.
pub struct CogFs {
    layout: Layout,
    /// As it is published: what is made of it is cached.
    view: Mutex<Arc<View>>,
    /// How the logs are followed; published with the next changes.
    following: Mutex<Following>,
    sync: Mutex<SyncStatus>,
    gate: Arc<Gate>,
    readers: Readers,
    documents: Documents,
    next_page: NextPage,
    searches: searches::Searches,
    watcher: Mutex<Watcher>,
    fetching: fetch::Fetching,
    told_of: fetch::Told,
    syncer: OnceLock<control::Syncer>,
    /// `None`: a mount that cannot be written to.
    writing: Option<Writing>,
    /// Called when there is something to tell the kernel that was done here: an edit has traces all over the tree.
    on_news: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Wakes who settles what was written.
    woken: (Mutex<bool>, Condvar),
    /// Bytes of all files, as `df` shows them: counted when asked for and kept for one state of the database.
    totals: Mutex<Option<(u64, Totals)>>,
}

type Result<T> = std::result::Result<T, FsError>;

impl CogFs {
    /// Opens the tree of a database, which must be there and up to date. `mountpoint` is what its README calls it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn open(layout: &Layout, mountpoint: &str) -> std::result::Result<Self, StoreError> {
        Self::with_connection(store::open_reader(layout)?, layout, mountpoint)
    }

    /// The same with a connection of [`store::open_reader`] that is there already.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn with_connection(
        conn: Connection,
        layout: &Layout,
        mountpoint: &str,
    ) -> std::result::Result<Self, StoreError> {
        let watcher = Mutex::new(Watcher::new(conn)?);
        let gate = Arc::<Gate>::default();
        Ok(Self {
            layout: layout.clone(),
            view: Mutex::new(Arc::new(View {
                mountpoint: mountpoint.to_owned(),
                following: Following::default(),
                sync: SyncStatus::default(),
                uid: rustix::process::geteuid().as_raw(),
                errors: (0, Millis(0)),
                kept: Arc::default(),
            })),
            following: Mutex::default(),
            sync: Mutex::default(),
            gate: Arc::clone(&gate),
            readers: Readers::new(layout.clone()),
            documents: Documents::default(),
            next_page: NextPage::default(),
            searches: searches::Searches::default(),
            watcher,
            totals: Mutex::new(None),
            writing: None,
            fetching: fetch::Fetching::new(gate),
            told_of: fetch::Told::default(),
            syncer: OnceLock::new(),
            on_news: OnceLock::new(),
            woken: (Mutex::default(), Condvar::new()),
        })
    }

    /// Opens the tree of a database for reading and writing.
    ///
    /// # Errors
    /// When the database or the folder of scratch files cannot be read.
    pub fn open_writable(layout: &Layout, mountpoint: &str, places: &Places) -> std::result::Result<Self, StoreError> {
        let mut fs = Self::open(layout, mountpoint)?;
        fs.make_writable(places)?;
        Ok(fs)
    }

    /// Makes a tree that was opened for reading one that can be written to.
    ///
    /// # Errors
    /// When the folder of scratch files cannot be read.
    pub fn make_writable(&mut self, places: &Places) -> std::result::Result<(), StoreError> {
        self.writing = Some(Writing::open(places)?);
        self.tell_of_drafts();
        self.trash_changed();
        self.show();
        Ok(())
    }

    /// Whether it can be written to.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writing.is_some()
    }

    /// Waits until something is to be settled, at most so long.
    pub fn wait_for_work(&self, at_most: Duration) {
        let (woken, condvar) = (lock(&self.woken.0), &self.woken.1);
        let waited = condvar.wait_timeout_while(woken, at_most, |woken| !*woken);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Has `then` called when there is something to tell the kernel that was done here. It must return at once. The first caller
    /// holds.
    pub fn on_news(&self, then: Box<dyn Fn() + Send + Sync>) {
        let _ = self.on_news.set(then);
    }

    /// The files that are written to when [`Self::changes`] has something to tell that was not done here.
    #[must_use]
    pub fn files_of_changes(&self) -> Vec<PathBuf> {
        let databases = [self.layout.database(), self.layout.search_index()];
        let mut files: Vec<PathBuf> = databases.iter().map(|database| store::log_of(database)).collect();
        files.extend(self.writing.as_ref().map(|writing| writing.errors.path().to_owned()));
        files
    }

    /// Has the kernel told soon of what was done here.
    fn has_news(&self) {
        if let Some(tell) = self.on_news.get() {
            tell();
        }
    }

    /// Has what was written settled soon.
    pub fn wake(&self) {
        *lock(&self.woken.0) = true;
        self.woken.1.notify_all();
    }

    /// To be called first by every request; the guard is dropped after the reply was sent.
    pub fn begin(&self) -> RequestGuard<'_> {
        self.gate.enter()
    }

    /// Runs a query on a reader that sees the newest published state.
    fn query<T>(&self, query: impl FnOnce(&Connection) -> std::result::Result<T, StoreError>) -> Result<T> {
        let reader = self.readers.take(self.gate.epoch())?;
        let found = query(reader.conn());
        self.readers.give_back(reader);
        Ok(found?)
    }

    /// Says how the agents' logs are followed, for `.cogfs/status.json`.
    pub fn set_following(&self, following: Following) {
        *lock(&self.following) = following;
        self.has_news();
    }

    /// What was said last of how the agents' logs are followed.
    pub fn following(&self) -> Following {
        lock(&self.following).clone()
    }

    /// Says how things stand with the cloud, for `.cogfs/status.json`.
    pub fn set_sync(&self, status: SyncStatus) {
        *lock(&self.sync) = status;
        self.has_news();
    }

    fn view(&self) -> Arc<View> {
        Arc::clone(&lock(&self.view))
    }

    fn told_is_news(&self) -> bool {
        let view = self.view();
        view.following != *lock(&self.following) || view.sync != *lock(&self.sync)
    }

    /// Shows what [`Self::set_following`] and [`Self::set_sync`] said last, and how long the log of refused writes is. For the notifier, and before the
    /// first request.
    pub fn show(&self) {
        let (following, sync) = (lock(&self.following).clone(), lock(&self.sync).clone());
        let errors = self.errors();
        let mut view = lock(&self.view);
        *view = Arc::new(View { following, sync, errors, ..View::clone(&view) });
    }

    fn errors(&self) -> (u64, Millis) {
        let Some(writing) = &self.writing else { return (0, Millis(0)) };
        writing.errors.len_and_time()
    }

    /// The attributes of a node.
    ///
    /// # Errors
    /// When there is no such node or the database cannot be read.
    pub fn getattr(&self, ino: u64) -> Result<Attr> {
        if let Some(attr) = self.overlay_attr(ino)? {
            return Ok(attr);
        }
        let node = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        if let Node::Search(row @ Node::FIRST_PASSING_SEARCH..) = node {
            return self.search_attr(row);
        }
        let facts = self.query(|conn| tree::facts(conn, &self.view(), node))?;
        facts.map(|facts| self.attr(node, &facts)).ok_or(FsError::NotFound)
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// When the node is no link, or one that is gone, or the database cannot be read.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        if let (Some(writing), Ok(overlay::Role::Scratch(id))) = (&self.writing, self.role(ino)) {
            return Ok(writing.scratch.readlink(id)?);
        }
        let node = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        let target = self.query(|conn| tree::link_target(conn, node))?;
        // A former name that was given back: what it led to has the name again.
        let missing = if tree::is_link(node) { FsError::Gone } else { FsError::NotASymlink };
        target.map(String::into_bytes).ok_or(missing)
    }

    fn attr(&self, node: Node, facts: &Facts) -> Attr {
        let writable = if self.writing.is_some() && can_be_changed(node) { WRITABLE } else { 0 };
        let mode = match facts.kind {
            Kind::Directory => DIRECTORY_MODE | writable,
            Kind::File if matches!(node, Node::SessionResume(_)) => SCRIPT_MODE,
            Kind::File => FILE_MODE | writable,
            Kind::Symlink => LINK_MODE,
        };
        let generation = match (&self.writing, facts.kind) {
            (Some(writing), Kind::Directory) => lock(&writing.overlay).generation(node.ino()),
            _ => 0,
        };
        // One link says nothing of the number of subdirectories, as on btrfs; two would say that there are none.
        Attr {
            ino: node.ino(),
            kind: kind(facts.kind),
            size: facts.size,
            mtime: facts.mtime,
            ctime: facts.ctime,
            mode,
            nlink: 1,
            generation,
        }
    }

    /// Totals of the filesystem. Free space is that of the disk the database lies on.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn statfs(&self) -> Result<Totals> {
        let epoch = self.gate.epoch();
        let known = lock(&self.totals).filter(|(at, _)| *at == epoch).map(|(_, totals)| totals);
        let mut totals = match known {
            Some(totals) => totals,
            None => self.count(epoch)?,
        };
        totals.free_bytes =
            rustix::fs::statvfs(self.layout.dir()).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Ok(totals)
    }

    fn count(&self, epoch: u64) -> Result<Totals> {
        let rows = self.query(tree::totals)?;
        let bytes = std::fs::metadata(self.layout.database()).map_or(0, |m| m.len());
        let totals = Totals { files: rows.turns + rows.visuals, bytes, free_bytes: 0 };
        *lock(&self.totals) = Some((epoch, totals));
        Ok(totals)
    }
}

fn kind(kind: Kind) -> NodeKind {
    match kind {
        Kind::Directory => NodeKind::Directory,
        Kind::File => NodeKind::File,
        Kind::Symlink => NodeKind::Symlink,
    }
}

/// Whether something in a directory, or a file itself, can be changed.
fn can_be_changed(node: Node) -> bool {
    matches!(
        node,
        Node::ProjectsDir
            | Node::Project(_)
            | Node::HiddenDir(_)
            | Node::Commit(_)
            | Node::SessionsDir(_)
            | Node::Session(_)
            | Node::TurnsDir(_)
            | Node::SubagentsDir(_)
            | Node::VisualsDir(_)
            | Node::CommitMetaMd(_)
            | Node::Control
            | Node::TrashDir
            | Node::DraftsDir
            | Node::SearchDir
            | Node::Search(_)
            | Node::ManagerTrash
            | Node::ManagerTrashFiles
            | Node::ManagerTrashInfo
            | Node::ManagerTrashExpunged
    )
}

/// A thread that panicked with the lock held left data that is still whole: everything under these locks is replaced at once.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
