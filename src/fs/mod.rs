//! The filesystem, free of FUSE: every operation returns its result or an error that carries its errno.
//!
//! Reads the store through `tree`; must not know of `fuser`.

mod attributes;
mod control;
mod documents;
mod error;
pub mod errors;
mod fetch;
mod gate;
mod next_page;
mod overlay;
mod piece;
mod readers;
mod remove;
mod rename;
mod save;
pub mod scratch;
mod searches;
mod trash_info;
mod write;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use crate::model::Millis;
use crate::render::{Following, SyncStatus};
use crate::store::raw::Chunk;
use crate::store::{self, ChangeKind, Layout, StoreError, changes, raw};
use crate::tree::{self, Contents, Facts, Found, Kind, Node, Stale, View};
use documents::Documents;
pub use error::FsError;
pub use fetch::{FetchError, Fetcher, Missing, Outcome, Used};
use gate::Gate;
pub use gate::RequestGuard;
use next_page::{NextPage, Page};
pub use piece::Piece;
use readers::Readers;
pub use scratch::RenameMode;
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

/// A file made before it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyFile<'a> {
    pub ino: u64,
    pub bytes: &'a [u8],
}

/// Where a reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// In the turns of a session.
    Turn { session_row: i64, number: u32 },
    /// At a document beside others, in the directory of this number.
    Document { dir: u64 },
}

/// A directory may be listed and entered, a file read, by its owner alone.
const DIRECTORY_MODE: u16 = 0o500;
const FILE_MODE: u16 = 0o400;
/// A script may be run too.
const SCRIPT_MODE: u16 = 0o500;
/// The owner's right to write, where something can be changed.
const WRITABLE: u16 = 0o200;
const LINK_MODE: u16 = 0o777;

/// Offsets of a listing behind it are scratch files'.
const SCRATCH_PLACE: u64 = 1 << 60;

/// The longest name, in bytes: what `statfs` says, and what every generated name keeps to.
pub const NAME_MAX: usize = 255;

/// Changes of one batch beyond which everything is forgotten instead: telling the kernel one by one would take longer.
const MOST_CHANGES: usize = 50_000;

/// The same for what they make stale: a commit may stand in hundreds of directories.
const MOST_STALE: usize = 500_000;

/// How long [`CogFs::changes`] waits for the requests that saw the old state.
const PATIENCE: Duration = Duration::from_secs(30);

/// That a picture was used is noted once in this time.
const USED_AGAIN: Duration = Duration::from_secs(3600);

/// A read transaction nobody used for this long is ended, so that the database's log can be folded in.
const IDLE: Duration = Duration::from_millis(100);

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

/// What the notifier knows of the database.
struct Watcher {
    conn: Connection,
    data_version: i64,
    seen: i64,
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
        let data_version = data_version(&conn)?;
        let seen = changes::head(&conn)?;
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
            watcher: Mutex::new(Watcher { conn, data_version, seen }),
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

    /// Finds a name in a directory.
    ///
    /// # Errors
    /// When `parent` is no directory, the name is too long for any, or the database cannot be read.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Lookup> {
        self.lookup_for(0, parent, name)
    }

    /// The same for a thread: who is about to make a directory finds no search that is not kept.
    ///
    /// # Errors
    /// As [`Self::lookup`]; when a search cannot be read.
    pub fn lookup_for(&self, thread: u32, parent: u64, name: &OsStr) -> Result<Lookup> {
        // Kernels let longer names through: before 6.14 up to 1,024 bytes, since then up to 4,095.
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        if self.writing.is_some()
            && let Some(found) = self.overlay_lookup(parent, name)?
        {
            return Ok(found);
        }
        let dir = Node::from_ino(parent).ok_or(FsError::NotFound)?;
        // All names are UTF-8: another one is never there.
        let Some(name) = name.to_str() else { return Ok(Lookup::Absent { for_good: true }) };
        let view = self.view();
        let found = match dir {
            Node::Search(_) => match self.find(dir, name)? {
                Found::Node(node) => Ok((node, self.query(|conn| tree::facts(conn, &view, node))?)),
                other => Err(other),
            },
            // The name and what it stands for are of one state.
            _ => self.query(|conn| {
                Ok(match tree::lookup(conn, &view, dir, name)? {
                    Found::Node(node) => Ok((node, tree::facts(conn, &view, node)?)),
                    other => Err(other),
                })
            })?,
        };
        match found {
            Ok((node, Some(facts))) => Ok(Lookup::Found(self.attr(node, &facts))),
            Ok((_, None)) => Ok(Lookup::Absent { for_good: false }),
            Err(_) if dir == Node::SearchDir => self.look_up_search(name, thread),
            Err(Found::Never) => Ok(Lookup::Absent { for_good: true }),
            Err(_) => Ok(Lookup::Absent { for_good: false }),
        }
    }

    /// Whether a name that was found is to be asked for again each time, as it may be another's, or nobody's.
    #[must_use]
    pub fn is_passing(ino: u64) -> bool {
        matches!(Node::from_ino(ino), Some(Node::Search(Node::FIRST_PASSING_SEARCH..)))
    }

    /// What a name of the tree stands for, or of what a search found.
    fn find(&self, dir: Node, name: &str) -> Result<Found> {
        if let Node::Search(row) = dir {
            if name.starts_with('.') {
                return Ok(Found::Never);
            }
            // The place in the list is in front: who looks for another name makes no search run.
            if !name.starts_with(|c: char| c.is_ascii_digit()) {
                return Ok(Found::Absent);
            }
            let links = self.found(row)?;
            let link = links.iter().find(|link| link.name == name);
            return Ok(link.map_or(Found::Absent, |link| Found::Node(Node::Hit(link.turn_row))));
        }
        let view = self.view();
        self.query(|conn| tree::lookup(conn, &view, dir, name))
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
    /// When the node is no link or the database cannot be read.
    pub fn readlink(&self, ino: u64) -> Result<Vec<u8>> {
        if let (Some(writing), Ok(overlay::Role::Scratch(id))) = (&self.writing, self.role(ino)) {
            return Ok(writing.scratch.readlink(id)?);
        }
        let node = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        let target = self.query(|conn| tree::link_target(conn, node))?;
        target.map(String::into_bytes).ok_or(FsError::NotASymlink)
    }

    /// Lists a directory from `offset` on ("." and ".." included), giving each entry to `sink` until that returns false.
    ///
    /// # Errors
    /// When the node is no directory or the database cannot be read.
    pub fn readdir(
        &self,
        ino: u64,
        offset: u64,
        with_attr: bool,
        sink: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        for (place, name) in [(1, "."), (2, "..")] {
            // The kernel knows both and takes neither's number from here.
            let entry = DirEntry { ino, kind: NodeKind::Directory, name: name.into(), next_offset: place, attr: None };
            if offset < place && !sink(entry) {
                return Ok(());
            }
        }
        if self.writing.is_some() {
            return self.overlay_readdir(ino, offset, with_attr, sink);
        }
        let dir = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        self.list_tree(dir, offset, with_attr, sink)
    }

    fn list_tree(&self, dir: Node, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        if let Node::Search(row) = dir {
            return self.list_found(row, offset, with_attr, sink);
        }
        if let (true, false) = (is_read_ahead(dir), with_attr)
            && let Some(entries) = self.next_page.take(dir.ino(), offset, self.gate.epoch())
        {
            for entry in entries {
                if !sink(entry) {
                    break;
                }
            }
            return Ok(());
        }
        self.list_here(dir, offset, with_attr, sink)
    }

    /// Sends a page of names that is full, and reads the next one while it is taken in. `behind` is the place behind the last of its
    /// `count` entries. To be called within the request.
    pub fn send_and_list_ahead(&self, ino: u64, behind: u64, count: usize, send: impl FnOnce()) {
        let Some(dir) = Node::from_ino(ino).filter(|dir| is_read_ahead(*dir)) else { return send() };
        // Taken before it is sent: the next request is to find that there will be a page.
        let mut page = self.next_page.begin();
        send();
        // Some more, for their names may be shorter: what is too much is read again.
        let (epoch, most) = (self.gate.epoch(), count + count / 16 + 8);
        let mut entries = Vec::with_capacity(most);
        let read = self.list_here(dir, behind, false, &mut |entry| {
            entries.push(entry);
            entries.len() < most
        });
        let is_of_use = read.is_ok() && !entries.is_empty();
        *page = is_of_use.then_some(Page { dir: ino, behind, epoch, entries });
    }

    fn list_here(&self, dir: Node, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let view = self.view();
        let is_directory = self.query(|conn| {
            let mut failure = None;
            let listed = tree::list(conn, &view, dir, offset.saturating_sub(2), with_attr, &mut |entry| {
                let facts = match (with_attr, entry.facts) {
                    (true, None) => tree::facts(conn, &view, entry.node),
                    (_, facts) => Ok(facts),
                };
                match facts {
                    // Listed a moment ago and gone: cannot be within one read transaction, and is left out.
                    Ok(None) if with_attr => true,
                    Ok(facts) => sink(DirEntry {
                        ino: entry.node.ino(),
                        kind: kind(entry.kind),
                        name: entry.name.into(),
                        next_offset: entry.next + 2,
                        attr: facts.filter(|_| with_attr).map(|f| self.attr(entry.node, &f)),
                    }),
                    Err(e) => {
                        failure = Some(e);
                        false
                    }
                }
            })?;
            failure.map_or(Ok(listed), Err)
        })?;
        if is_directory { Ok(()) } else { Err(FsError::NotADirectory) }
    }

    fn list_found(&self, row: i64, offset: u64, with_attr: bool, sink: &mut dyn FnMut(DirEntry) -> bool) -> Result<()> {
        let links = self.found(row)?;
        let behind = usize::try_from(offset.saturating_sub(2)).unwrap_or(usize::MAX);
        for (link, next_offset) in links.iter().zip(3..).skip(behind) {
            let (node, kind) = (Node::Hit(link.turn_row), NodeKind::Symlink);
            let attr = with_attr.then(|| self.attr(node, &link.facts));
            if !sink(DirEntry { ino: node.ino(), kind, name: link.name.clone().into(), next_offset, attr }) {
                break;
            }
        }
        Ok(())
    }

    /// Reads a part of a file; less than asked for, or nothing, at its end. Waits for what is elsewhere.
    ///
    /// # Errors
    /// When the node is no file or its contents cannot be had.
    pub fn read(&self, ino: u64, offset: u64, size: u32) -> Result<Vec<u8>> {
        let read = match self.read_for(0, ino, offset, size) {
            Err(FsError::Elsewhere { missing }) => {
                self.fetch(ino, 0, &missing)?;
                self.read_here(0, ino, offset, size)
            }
            read => read,
        };
        read.map(Piece::into_vec)
    }

    /// The same behind [`Self::fetch`]. Never waits.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_here(&self, thread: u32, ino: u64, offset: u64, size: u32) -> Result<Piece> {
        match self.read_for(thread, ino, offset, size) {
            // It went away again, or there was more of it than was told of.
            Err(FsError::Elsewhere { .. }) => {
                Err(FsError::Unreachable { reason: "it was fetched, and is not here".to_owned() })
            }
            read => read,
        }
    }

    /// The same for a thread: what an editor was shown is what its save is compared with. Never waits.
    ///
    /// # Errors
    /// As [`Self::read`]; [`FsError::Elsewhere`] for contents that are to be fetched first.
    pub fn read_for(&self, thread: u32, ino: u64, offset: u64, size: u32) -> Result<Piece> {
        if let Some(bytes) = self.overlay_read(ino, offset, size, thread)? {
            return Ok(bytes.into());
        }
        let node = Node::from_ino(ino).ok_or(FsError::NotFound)?;
        let epoch = self.gate.epoch();
        if let Some(used) = Used::by_reading(node) {
            self.fetching.used(used);
        }
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Piece::of(document, offset, size));
        }
        // The kernel reads a large document in pieces, the next before it has the last: it is made by who comes first.
        let _claim = self.documents.claim(ino);
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Piece::of(document, offset, size));
        }
        let found = self.query(|conn| {
            let elsewhere = tree::elsewhere(conn, node)?;
            if elsewhere.is_empty() { tree::contents(conn, &self.view(), node).map(Ok) } else { Ok(Err(elsewhere)) }
        })?;
        let contents = found.map_err(|sessions| {
            let missing = sessions.into_iter().map(Missing::Session).collect();
            FsError::Elsewhere { missing }
        })?;
        match contents {
            None => Err(FsError::NotFound),
            Some(Contents::Bytes(bytes)) => {
                let is_all = range(bytes.len(), offset, size).len() == bytes.len();
                let document = Arc::new(bytes);
                if !is_all {
                    self.documents.keep(ino, epoch, Arc::clone(&document));
                }
                Ok(Piece::of(document, offset, size))
            }
            Some(Contents::Raw { session_row }) => self.read_raw(session_row, offset, size),
            Some(Contents::Blob { sha256, from_elsewhere }) => {
                self.read_blob(sha256, from_elsewhere, offset, size).map(Piece::from)
            }
        }
    }

    /// Where the reader of a file is; `None` when nothing can be said of what is read next.
    #[must_use]
    pub fn read_at(ino: u64) -> Option<ReadAt> {
        let node = Node::from_ino(ino)?;
        if let Node::Turn(row) = node {
            let (session_row, number) = store::turns::parts_of(row);
            return Some(ReadAt::Turn { session_row, number });
        }
        tree::directory_of_document(node).map(|dir| ReadAt::Document { dir: dir.ino() })
    }

    /// The session whose turns a directory holds, with the session's own directory.
    #[must_use]
    pub fn turns_listed(ino: u64) -> Option<(i64, u64)> {
        let Node::TurnsDir(row) = Node::from_ino(ino)? else { return None };
        Some((row, Node::Session(row).ino()))
    }

    /// Gives some of a session's turn files to `each` with their numbers, from one number on: what is likely to be read next.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn turns(
        &self,
        session_row: i64,
        from: u32,
        count: u32,
        each: &mut dyn FnMut(u32, ReadyFile<'_>),
    ) -> Result<()> {
        let view = self.view();
        self.query(|conn| {
            tree::turn_files(conn, &view.kept, session_row, from, count, &mut |number, bytes| {
                let ino = Node::Turn(store::turns::row_of(session_row, number)).ino();
                each(number, ReadyFile { ino, bytes });
            })
        })
    }

    /// The number of a session's last turn; `None` when it has none.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_turn(&self, session_row: i64) -> Result<Option<u32>> {
        self.query(|conn| store::turns::last(conn, session_row))
    }

    /// Gives the other documents of a document's directory to `each`, those of at most `largest` bytes that are wanted when it
    /// is their turn. No `meta.md` that can be written to: its number may be a backup's by now, and what the kernel is given
    /// would lie over what a program writes meanwhile.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn beside(
        &self,
        ino: u64,
        largest: u64,
        is_wanted: &dyn Fn(u64) -> bool,
        each: &mut dyn FnMut(ReadyFile<'_>),
    ) -> Result<()> {
        let Some(node) = Node::from_ino(ino) else { return Ok(()) };
        let is_fixed = |node: Node| self.writing.is_none() || !matches!(node, Node::CommitMetaMd(_));
        let found = self.query(|conn| tree::documents_beside(conn, &self.view(), node, largest))?;
        for other in found.into_iter().filter(|other| is_fixed(*other)) {
            if is_wanted(other.ino())
                && let Some(document) = self.made_ahead(other)?
            {
                each(ReadyFile { ino: other.ino(), bytes: &document });
            }
        }
        Ok(())
    }

    /// A document that may be asked for at this very moment: it is kept before it is given away, so that who asks does not make it
    /// once more, and waits for no page that this one fills. `None` where that takes more than the database.
    fn made_ahead(&self, node: Node) -> Result<Option<Arc<Vec<u8>>>> {
        let (ino, epoch) = (node.ino(), self.gate.epoch());
        let _claim = self.documents.claim(ino);
        if let Some(document) = self.documents.get(ino, epoch) {
            return Ok(Some(document));
        }
        let made = self.query(|conn| {
            if !tree::elsewhere(conn, node)?.is_empty() {
                return Ok(None);
            }
            Ok(match tree::contents(conn, &self.view(), node)? {
                Some(Contents::Bytes(bytes)) => Some(bytes),
                Some(Contents::Raw { session_row }) => Some(raw::whole(conn, session_row)?),
                Some(Contents::Blob { .. }) | None => None,
            })
        })?;
        Ok(made.map(|bytes| {
            let document = Arc::new(bytes);
            self.documents.keep(ino, epoch, Arc::clone(&document));
            document
        }))
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

    /// What a stale thing of the tree is to the kernel: a document may be known under several numbers. Of one that was written here
    /// the kernel has the bytes. To have it drop them it would wait for a write that is under way; were this process killed then,
    /// neither would ever end.
    fn invalidations(&self, conn: &Connection, stale: Stale) -> Vec<Invalidation> {
        if let (Some(writing), Stale::Node(ino)) = (&self.writing, &stale)
            && let Some(Node::CommitMetaMd(row)) = Node::from_ino(*ino)
        {
            let text = tree::meta_md(conn, row).ok().flatten().map(|meta| meta.text);
            let overlay = lock(&writing.overlay);
            let is_known = overlay.is_being_written(row) || text.is_some_and(|text| overlay.was_saved(row, &text));
            let what = if is_known { Invalidation::Attributes } else { Invalidation::Node };
            return overlay.others_of(row).into_iter().chain([*ino]).map(what).collect();
        }
        vec![invalidation(stale)]
    }

    /// Finds a name that is not simply the tree's; `None` where the tree is to be asked.
    fn overlay_lookup(&self, parent: u64, name: &OsStr) -> Result<Option<Lookup>> {
        let Some(writing) = &self.writing else { return Ok(None) };
        let role = self.role(parent)?;
        let special = match role {
            overlay::Role::Tree(Node::Commit(_) | Node::ManagerTrashInfo) | overlay::Role::Scratch(_) => true,
            overlay::Role::Tree(Node::SearchDir) => false,
            overlay::Role::Tree(_) => !lock(&writing.overlay).removed.is_empty(),
            _ => return Err(FsError::NotADirectory),
        };
        if !special {
            return Ok(None);
        }
        let Some(ino) = self.child(parent, name)? else {
            // Names with a dot in front appear by the kernel's own doing alone, which it knows of.
            let dotted = name.to_str().is_some_and(|name| name.starts_with('.'));
            let for_good = dotted && matches!(role, overlay::Role::Tree(Node::Commit(_)));
            return Ok(Some(Lookup::Absent { for_good }));
        };
        match self.getattr(ino) {
            Ok(attr) => {
                self.remember(ino);
                Ok(Some(Lookup::Found(attr)))
            }
            Err(FsError::NotFound) => Ok(Some(Lookup::Absent { for_good: false })),
            Err(error) => Err(error),
        }
    }

    fn overlay_readdir(
        &self,
        ino: u64,
        offset: u64,
        with_attr: bool,
        sink: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let role = self.role(ino)?;
        let mut more = true;
        if let (overlay::Role::Tree(dir), true) = (role, offset < SCRATCH_PLACE) {
            let (is_commit, some_removed) = match dir {
                Node::Commit(row) => (Some(row), !lock(&writing.overlay).removed.is_empty()),
                _ => (None, !lock(&writing.overlay).removed.is_empty()),
            };
            self.list_tree(dir, offset, with_attr, &mut |mut entry| {
                if let (Some(row), true) = (is_commit, entry.name == "meta.md") {
                    let Some(holder) = lock(&writing.overlay).holder(row) else { return true };
                    entry.ino = holder;
                    if with_attr {
                        match self.overlay_attr(holder) {
                            Ok(attr) => entry.attr = attr.or(entry.attr),
                            Err(_) => return true,
                        }
                    }
                }
                if some_removed && lock(&writing.overlay).removed.contains_key(&entry.ino) {
                    return true;
                }
                more = sink(entry);
                more
            })?;
        }
        if !more || writing.scratch.used().files == 0 {
            return Ok(());
        }
        let Some(dir) = self.scratch_dir(role)? else { return Ok(()) };
        let behind = scratch::ScratchId(offset.saturating_sub(SCRATCH_PLACE));
        for entry in writing.scratch.list(&dir, behind)? {
            let ino = lock(&writing.overlay).ino_of_scratch(entry.id);
            let attr = if with_attr {
                match writing.scratch.attr(entry.id) {
                    Ok(attr) => Some(write::scratch_attr(ino, &attr)),
                    Err(_) => continue,
                }
            } else {
                None
            };
            let next_offset = SCRATCH_PLACE + entry.id.0;
            if !sink(DirEntry { ino, kind: entry.kind, name: entry.name, next_offset, attr }) {
                break;
            }
            if with_attr {
                writing.scratch.remember(entry.id);
            }
        }
        Ok(())
    }

    fn read_raw(&self, session_row: i64, offset: u64, size: u32) -> Result<Piece> {
        let mut out = Vec::new();
        while out.len() < size as usize {
            let at = offset + out.len() as u64;
            let Some(chunk) = self.chunk(session_row, at)? else { break };
            let left = u32::try_from(size as usize - out.len()).unwrap_or(u32::MAX);
            let piece = Piece::of_chunk(chunk, at, left);
            // Nearly always one chunk has all of it.
            if out.is_empty() && piece.len() == size as usize {
                return Ok(piece);
            }
            out.extend_from_slice(&piece);
        }
        Ok(out.into())
    }

    /// The chunk of a session's records that holds an offset; `None` past the end.
    fn chunk(&self, session_row: i64, offset: u64) -> Result<Option<Arc<Chunk>>> {
        let epoch = self.gate.epoch();
        if let Some(chunk) = self.documents.chunk(session_row, offset, epoch) {
            return Ok(Some(chunk));
        }
        let read = self.query(|conn| raw::chunk_at(conn, session_row, offset))?;
        Ok(read.map(|chunk| self.documents.keep_chunk(session_row, epoch, chunk)))
    }

    fn read_blob(&self, sha256: String, from_elsewhere: Option<String>, offset: u64, size: u32) -> Result<Vec<u8>> {
        let path = self.layout.blob(&sha256);
        let read = || {
            let file = File::open(path)?;
            if offset == 0 && from_elsewhere.is_some() {
                note_use(&file);
            }
            let mut out = vec![0; size as usize];
            let mut filled = 0;
            while filled < out.len() {
                match file.read_at(&mut out[filled..], offset + filled as u64)? {
                    0 => break,
                    n => filled += n,
                }
            }
            out.truncate(filled);
            Ok(out)
        };
        read().map_err(|source: std::io::Error| match (source.kind(), from_elsewhere) {
            (std::io::ErrorKind::NotFound, Some(mime)) => {
                FsError::Elsewhere { missing: vec![Missing::Blob { sha256, mime }] }
            }
            _ => FsError::Blob { sha256, source },
        })
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

    /// What changed since the last call, by whatever process. To be called from the notifier thread alone, without a guard:
    /// it publishes the new state, waits for the requests that still saw the old one, and returns what the kernel must forget.
    /// Cheap when nothing changed; ends read transactions that have been idle for 100 ms.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn changes(&self) -> Result<Vec<Invalidation>> {
        self.readers.end_idle(IDLE);
        let mut watcher = lock(&self.watcher);
        let version = data_version(&watcher.conn)?;
        let following = self.told_is_news();
        let is_told = self.writing.as_ref().is_some_and(|writing| !lock(&writing.told).is_empty());
        // Another mount of the database may have logged a refusal.
        let logged = self.errors() != self.view().errors;
        let indexed = self.index_is_news();
        if version == watcher.data_version && !following && !logged && !indexed && !is_told {
            return Ok(Vec::new());
        }
        // The feed is read before the new state is published: a commit that comes in between is in the next round.
        let since = changes::since(&watcher.conn, watcher.seen)?;
        let mut stale = Vec::new();
        let next = match since {
            changes::Since::Changes { changes, next } if changes.len() <= MOST_CHANGES => {
                if changes.iter().any(|change| change.kind == ChangeKind::Trash) {
                    self.trash_changed();
                }
                for change in &changes {
                    tree::stale(&watcher.conn, change, &mut stale)?;
                    if stale.len() > MOST_STALE {
                        stale.clear();
                        tree::everything(&watcher.conn, &mut stale)?;
                        break;
                    }
                }
                next
            }
            changes::Since::Changes { next, .. } | changes::Since::Lost { next } => {
                tree::everything(&watcher.conn, &mut stale)?;
                next
            }
        };
        if version != watcher.data_version {
            tree::fixed(&mut stale);
        }
        if following {
            tree::following(&mut stale);
        }
        if logged {
            tree::errors(&mut stale);
        }
        if following || logged || is_told {
            self.show();
        }
        // Not before all that can fail: what is taken here is told, or nobody tells it.
        let told = self.writing.as_ref().map(|writing| std::mem::take(&mut *lock(&writing.told))).unwrap_or_default();
        self.gate.publish(PATIENCE);
        self.readers.end_idle(Duration::ZERO);
        if indexed || version != watcher.data_version {
            self.forget_found(&mut stale);
        }
        if watcher.seen != next {
            // Of what was forgotten nothing stays here either.
            self.view().kept.clear();
        }
        (watcher.data_version, watcher.seen) = (version, next);
        stale.sort();
        stale.dedup();
        let conn = &watcher.conn;
        let mut all: Vec<Invalidation> = stale.into_iter().flat_map(|stale| self.invalidations(conn, stale)).collect();
        all.extend(told);
        Ok(all)
    }
}

fn data_version(conn: &Connection) -> std::result::Result<i64, StoreError> {
    Ok(conn.pragma_query_value(None, "data_version", |r| r.get(0))?)
}

fn invalidation(stale: Stale) -> Invalidation {
    match stale {
        Stale::Node(ino) => Invalidation::Node(ino),
        Stale::Name { parent, name } => Invalidation::Name { parent, name: name.into() },
    }
}

fn kind(kind: Kind) -> NodeKind {
    match kind {
        Kind::Directory => NodeKind::Directory,
        Kind::File => NodeKind::File,
        Kind::Symlink => NodeKind::Symlink,
    }
}

/// Whether a directory holds links, of which there may be as many as there are commits.
fn is_read_ahead(dir: Node) -> bool {
    matches!(dir, Node::Facet(_) | Node::ByGitDir | Node::ByIdDir)
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

/// A file's time says when it was used, to within an hour: which of the pictures that were fetched give way follows from it. The time of
/// the last access is not kept by most disks.
fn note_use(file: &File) {
    let now = std::time::SystemTime::now();
    let used = file.metadata().and_then(|metadata| metadata.modified());
    if used.is_ok_and(|used| now.duration_since(used).is_ok_and(|since| since > USED_AGAIN)) {
        // A picture that gives way too early comes again.
        let _ = file.set_modified(now);
    }
}

fn slice(bytes: &[u8], offset: u64, size: u32) -> &[u8] {
    &bytes[range(bytes.len(), offset, size)]
}

/// Which of so many bytes a read gets.
fn range(length: usize, offset: u64, size: u32) -> Range<usize> {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(length);
    start..start.saturating_add(size as usize).min(length)
}

/// A thread that panicked with the lock held left data that is still whole: everything under these locks is replaced at once.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
