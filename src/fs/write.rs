//! What changes the tree: which operation on which kind of node does what, or why it is refused.
//!
//! A document's bytes are `save`'s, names that go are `remove`'s, names that move `rename`'s. Every refusal is logged where the
//! user can read it: an errno cannot say why.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use super::errors::{ErrorLog, Refused};
use super::overlay::{Buffer, Holder, Overlay, Role};
use super::scratch::{self, Dir, Limits, Scratch, ScratchError, ScratchId};
use super::{Attr, CogFs, FsError, Invalidation, NAME_MAX, NodeKind, Result, lock};
use crate::curation;
use crate::model::{Id, Millis};
use crate::store::{StoreError, Survives, Transaction, Writer, commits, drafts, former_names};
use crate::tree::{self, Node};

/// Where a mount that can be written to keeps what is not the database's.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of the files that programs make beside a writable one.
    pub scratch: std::path::PathBuf,
    /// The log of refused writes.
    pub errors: std::path::PathBuf,
}

/// What a mount that can be written to has beside one that cannot.
pub(super) struct Writing {
    pub scratch: Scratch,
    pub errors: ErrorLog,
    pub overlay: Mutex<Overlay>,
    /// Held from taking what was written to its being the record. Before all other locks.
    pub publishing: Mutex<()>,
    /// Opened with the first edit.
    writer: Mutex<Option<Writer>>,
    /// What the kernel must forget that no change of the database tells.
    pub told: Mutex<Vec<Invalidation>>,
    /// When the notes of the trash are to be looked through next.
    pub trash_info_at: Mutex<Option<Instant>>,
}

impl Writing {
    pub fn open(places: &Places) -> std::result::Result<Self, StoreError> {
        let limits = Limits { kept: Some(trash_info_place()), ..Limits::default() };
        let scratch = Scratch::open(places.scratch.clone(), limits)
            .map_err(|source| StoreError::Io { path: places.scratch.clone(), source })?;
        Ok(Self {
            scratch,
            errors: ErrorLog::open(places.errors.clone()),
            overlay: Mutex::default(),
            publishing: Mutex::default(),
            writer: Mutex::new(None),
            told: Mutex::default(),
            trash_info_at: Mutex::new(Some(Instant::now())),
        })
    }
}

/// Attributes to be set; `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    pub size: Option<u64>,
    /// Permission bits.
    pub mode: Option<u16>,
    pub mtime: Option<SystemTime>,
    /// The thread that asks.
    pub thread: u32,
}

impl CogFs {
    /// What a writable mount has; an error on one that is not.
    pub(super) fn writing(&self) -> Result<&Writing> {
        self.writing.as_ref().ok_or(FsError::ReadOnly)
    }

    /// Makes edits in a transaction of their own, which is on the disk when this returns.
    pub(super) fn edit<T>(&self, work: impl FnOnce(&mut Transaction<'_>) -> curation::Result<T>) -> Result<T> {
        let value = self.write_down(Survives::Machine, work)?;
        self.has_news();
        Ok(value)
    }

    /// The same for what changes nothing that is seen elsewhere.
    pub(super) fn write_down<T>(
        &self,
        survives: Survives,
        work: impl FnOnce(&mut Transaction<'_>) -> curation::Result<T>,
    ) -> Result<T> {
        let mut writer = lock(&self.writing()?.writer);
        if writer.is_none() {
            *writer = Some(Writer::open(&self.layout)?);
        }
        let Some(writer) = writer.as_mut() else { return Err(FsError::ReadOnly) };
        let mut tx = writer.begin_urgent(survives)?;
        let value = work(&mut tx)?;
        tx.commit()?;
        // Requests from now on see it.
        self.gate.advance();
        Ok(value)
    }

    /// What a node is at the moment.
    pub(super) fn role(&self, ino: u64) -> Result<Role> {
        match &self.writing {
            Some(writing) => lock(&writing.overlay).role(ino).ok_or(FsError::NotFound),
            None => Node::from_ino(ino).map(Role::Tree).ok_or(FsError::NotFound),
        }
    }

    /// The directory of scratch files that a node is, or has.
    pub(super) fn scratch_dir(&self, role: Role) -> Result<Option<Dir>> {
        Ok(match role {
            Role::Scratch(id) => Some(Dir::Node(id)),
            Role::Tree(Node::Commit(row)) => self.query(|conn| commits::get(conn, row))?.map(|c| Dir::Place(c.id)),
            Role::Tree(Node::ManagerTrashInfo) => Some(Dir::Place(trash_info_place())),
            _ => None,
        })
    }

    /// The node of a name, whatever it is; `None` when there is none.
    pub(super) fn child(&self, parent: u64, name: &OsStr) -> Result<Option<u64>> {
        if name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let writing = self.writing()?;
        let role = self.role(parent)?;
        if let (Role::Tree(dir), Some(text)) = (role, name.to_str()) {
            if let (Node::Commit(row), "meta.md") = (dir, text) {
                return Ok(lock(&writing.overlay).holder(row));
            }
            if let tree::Found::Node(node) = self.find(dir, text)? {
                let removed = lock(&writing.overlay).removed.contains_key(&node.ino());
                return Ok((!removed).then(|| node.ino()));
            }
        }
        let Some(dir) = self.scratch_dir(role)? else { return Ok(None) };
        let found = writing.scratch.lookup(&dir, name)?;
        Ok(found.map(|id| lock(&writing.overlay).ino_of_scratch(id)))
    }

    /// The attributes of a node that is not simply the tree's; `None` for one that is.
    pub(super) fn overlay_attr(&self, ino: u64) -> Result<Option<Attr>> {
        let Some(writing) = &self.writing else { return Ok(None) };
        let role = self.role(ino)?;
        let written = |size: usize, mtime: Millis, nlink: u32| {
            let (kind, mode) = (NodeKind::File, 0o600);
            Attr { ino, kind, size: size as u64, mtime, ctime: mtime, mode, nlink, generation: 0 }
        };
        match role {
            Role::Tree(_) => Ok(None),
            Role::Scratch(id) => {
                writing.scratch.attr(id).map(|attr| Some(scratch_attr(ino, &attr))).map_err(Into::into)
            }
            Role::Orphan => {
                let mut overlay = lock(&writing.overlay);
                Ok(Some(written(overlay.orphan_bytes(ino).map_or(0, |bytes| bytes.len()), Millis::now(), 0)))
            }
            Role::Meta(row) => {
                let buffer = lock(&writing.overlay)
                    .documents
                    .get(&row)
                    .and_then(|d| d.buffer.as_ref())
                    .map(|buffer| (buffer.bytes.len(), buffer.mtime));
                if let Some((size, mtime)) = buffer {
                    return Ok(Some(written(size, mtime, 1)));
                }
                let meta = self.query(|conn| tree::meta_md(conn, row))?.ok_or(FsError::NotFound)?;
                let mut attr = written(meta.text.len(), meta.mtime, 1);
                attr.ctime = meta.ctime;
                Ok(Some(attr))
            }
        }
    }

    /// Notes that the kernel was told a node's number.
    pub(super) fn remember(&self, ino: u64) {
        if let Some(writing) = &self.writing
            && let Ok(Role::Scratch(id)) = self.role(ino)
        {
            writing.scratch.remember(id);
        }
    }

    /// Notes that the kernel forgot a node.
    pub fn forget(&self, ino: u64, times: u64) {
        let Some(writing) = &self.writing else { return };
        match self.role(ino) {
            Ok(Role::Scratch(id)) => {
                if writing.scratch.forget(id, times) {
                    lock(&writing.overlay).forget_scratch(id);
                }
            }
            _ => lock(&writing.overlay).forget(ino),
        }
    }

    /// Logs why something was refused and passes the error on.
    pub(super) fn refuse(&self, operation: &'static str, path: String, error: FsError, text: Option<&[u8]>) -> FsError {
        let (reason, what_to_do) = match &error {
            FsError::NotPermitted { reason } => {
                (reason.clone(), "see the README.md of the mount for what can be changed")
            }
            FsError::Refused { reason } => (reason.clone(), "correct the document and save it again"),
            FsError::BadCommand { reason } => (reason.clone(), "read the file for its commands"),
            _ => return error,
        };
        self.log_refusal(operation, path, error.errno_name(), reason, what_to_do, text);
        error
    }

    pub(super) fn log_refusal(
        &self,
        operation: &'static str,
        path: String,
        errno: &str,
        reason: String,
        what_to_do: &str,
        text: Option<&[u8]>,
    ) {
        let Some(writing) = &self.writing else { return };
        writing.errors.append(&Refused {
            at: Millis::now(),
            path,
            operation,
            errno,
            reason,
            what_to_do: what_to_do.to_owned(),
            text: text.map(|text| String::from_utf8_lossy(text).into_owned()),
        });
        self.tell(Invalidation::Node(Node::Errors.ino()));
    }

    /// Has the kernel told to forget something.
    pub(super) fn tell(&self, what: Invalidation) {
        if let Some(writing) = &self.writing {
            lock(&writing.told).push(what);
            self.has_news();
        }
    }

    /// A name in a directory as the user knows it, for messages.
    pub(super) fn path(&self, parent: u64, name: &OsStr) -> String {
        let name = name.to_string_lossy();
        let dir = match self.role(parent) {
            Ok(Role::Tree(node)) => self.query(|conn| tree::path(conn, node)).ok().flatten(),
            _ => None,
        };
        match dir.as_deref() {
            Some("") => name.into_owned(),
            Some(dir) => format!("{dir}/{name}"),
            None => format!("…/{name}"),
        }
    }

    pub(super) fn path_of(&self, ino: u64) -> String {
        match self.role(ino) {
            Ok(Role::Tree(node)) => self.path_of_node(node),
            Ok(Role::Meta(row)) => self.path_of_document(row),
            _ => "…".to_owned(),
        }
    }

    /// Whatever its own number stands for at the moment.
    pub(super) fn path_of_document(&self, row: i64) -> String {
        self.path_of_node(Node::CommitMetaMd(row))
    }

    fn path_of_node(&self, node: Node) -> String {
        self.query(|conn| tree::path(conn, node)).ok().flatten().unwrap_or_else(|| "…".to_owned())
    }

    fn not_permitted(&self, operation: &'static str, parent: u64, name: &OsStr, reason: &str) -> FsError {
        let error = FsError::NotPermitted { reason: reason.to_owned() };
        self.refuse(operation, self.path(parent, name), error, None)
    }

    /// Makes a file. In a commit's directory it is a scratch file, unless it takes the place of a `meta.md` that was moved away.
    ///
    /// # Errors
    /// When nothing can be made there, or the name is taken.
    pub fn create(&self, parent: u64, name: &OsStr, mode: u16, exclusive: bool, thread: u32) -> Result<Attr> {
        let writing = self.writing()?;
        if let Some(ino) = self.child(parent, name)?
            && !matches!(self.role(ino)?, Role::Scratch(_))
        {
            return if exclusive { Err(FsError::Exists) } else { self.getattr(ino) };
        }
        let role = self.role(parent)?;
        if let (Role::Tree(Node::Commit(row)), Some("meta.md")) = (role, name.to_str()) {
            let ino = self.begin_document(row, thread);
            return self.getattr(ino);
        }
        self.check_not_made("create", parent, name)?;
        let Some(dir) = self.scratch_dir(role)? else {
            return Err(self.not_permitted("create", parent, name, "files can be made beside a meta.md alone"));
        };
        let (id, _) = writing.scratch.create(&dir, name, mode, exclusive)?;
        self.made(id)
    }

    /// Holds that a name is not one of the tree's own, which is only gone for a moment: `meta.md` that an editor moved away, what
    /// `rm` unlinked and will be back.
    pub(super) fn check_not_made(&self, operation: &'static str, parent: u64, name: &OsStr) -> Result<()> {
        let (Role::Tree(dir), Some(text)) = (self.role(parent)?, name.to_str()) else { return Ok(()) };
        let view = self.view();
        match self.query(|conn| tree::lookup(conn, &view, dir, text))? {
            tree::Found::Node(_) => {
                let reason = "the name is that of a file made from the conversation";
                Err(self.not_permitted(operation, parent, name, reason))
            }
            tree::Found::Absent | tree::Found::Never => Ok(()),
        }
    }

    fn made(&self, id: ScratchId) -> Result<Attr> {
        let writing = self.writing()?;
        writing.scratch.remember(id);
        let ino = lock(&writing.overlay).ino_of_scratch(id);
        self.getattr(ino)
    }

    /// Makes a directory, for scratch files; in `search/`, keeps a search.
    ///
    /// # Errors
    /// When none can be made there, or the name is taken.
    pub fn mkdir(&self, parent: u64, name: &OsStr, mode: u16) -> Result<Attr> {
        self.writing()?;
        if self.role(parent)? == Role::Tree(Node::SearchDir) {
            return self.keep_search(parent, name);
        }
        if self.child(parent, name)?.is_some() {
            return Err(FsError::Exists);
        }
        self.check_not_made("mkdir", parent, name)?;
        let Some(dir) = self.scratch_dir(self.role(parent)?)? else {
            return Err(self.not_permitted("mkdir", parent, name, "directories can be made beside a meta.md alone"));
        };
        let id = self.writing()?.scratch.mkdir(&dir, name, mode)?;
        self.made(id)
    }

    /// Makes a symbolic link among scratch files: emacs locks with them.
    ///
    /// # Errors
    /// When none can be made there, or the name is taken.
    pub fn symlink(&self, parent: u64, name: &OsStr, target: &Path) -> Result<Attr> {
        if self.child(parent, name)?.is_some() {
            return Err(FsError::Exists);
        }
        self.check_not_made("symlink", parent, name)?;
        let Some(dir) = self.scratch_dir(self.role(parent)?)? else {
            return Err(self.not_permitted("symlink", parent, name, "links can be made beside a meta.md alone"));
        };
        let id = self.writing()?.scratch.symlink(&dir, name, target.as_os_str())?;
        self.made(id)
    }

    /// Writes to a file. A whole document is kept as a draft when this returns.
    ///
    /// # Errors
    /// When the file cannot be written to, or there is no room.
    pub fn write(&self, ino: u64, offset: u64, bytes: &[u8], thread: u32) -> Result<u32> {
        let writing = self.writing()?;
        let length = u32::try_from(bytes.len()).map_err(|_| FsError::TooLarge)?;
        match self.role(ino)? {
            Role::Scratch(id) => writing.scratch.write(id, offset, bytes)?,
            Role::Meta(row) => self.write_document(row, offset, bytes, thread)?,
            Role::Orphan => {
                let mut overlay = lock(&writing.overlay);
                if let Some(old) = overlay.orphan_bytes(ino) {
                    super::save::splice(old, offset, bytes)?;
                }
            }
            Role::Tree(Node::Control) => self.command(bytes)?,
            Role::Tree(_) => {
                let reason =
                    "it is made from the conversation and cannot be written to; a commit's meta.md can".to_owned();
                return Err(self.refuse("write", self.path_of(ino), FsError::NotPermitted { reason }, None));
            }
        }
        Ok(length)
    }

    /// Sets attributes: lengths of what can be written to, and of scratch files everything.
    ///
    /// # Errors
    /// When they cannot be set.
    pub fn setattr(&self, ino: u64, set: &SetAttr) -> Result<Attr> {
        let writing = self.writing()?;
        match self.role(ino)? {
            Role::Scratch(id) => set_scratch(&writing.scratch, id, set)?,
            Role::Meta(row) => {
                if let Some(size) = set.size {
                    self.truncate_document(row, size, set.thread)?;
                }
                // Its owner and mode are the mount's; a time is that of the save. Editors set both after a save and mean nothing
                // by it.
            }
            Role::Orphan => {
                if let (Some(size), Some(bytes)) = (set.size, lock(&writing.overlay).orphan_bytes(ino)) {
                    super::save::resize(bytes, size)?;
                }
            }
            Role::Tree(Node::Control) => {}
            Role::Tree(_) => {
                let attr = self.getattr(ino)?;
                let same = set.size.is_none_or(|size| size == attr.size)
                    && set.mode.is_none_or(|mode| mode & 0o7777 == attr.mode)
                    && set.mtime.is_none();
                if !same {
                    let reason =
                        "it is made from the conversation: its size, mode and times are not to be set".to_owned();
                    return Err(self.refuse("setattr", self.path_of(ino), FsError::NotPermitted { reason }, None));
                }
            }
        }
        self.getattr(ino)
    }

    /// Makes room in a file, as glibc's `posix_fallocate` wants it before it writes. A document is not lengthened by it: glibc
    /// would fill it with NUL bytes if this were refused.
    ///
    /// # Errors
    /// When the file cannot be written to.
    pub fn fallocate(&self, ino: u64, end: u64) -> Result<()> {
        match self.role(ino)? {
            Role::Scratch(id) => {
                let scratch = &self.writing()?.scratch;
                if scratch.attr(id)?.size < end {
                    scratch.set_len(id, end)?;
                }
                Ok(())
            }
            Role::Meta(_) | Role::Orphan => Ok(()),
            Role::Tree(_) => Err(FsError::NotPermitted { reason: "it cannot be written to".to_owned() }),
        }
    }

    /// Has what was written to a file on the disk when this returns. A document becomes the record.
    ///
    /// # Errors
    /// When the document is refused, or the disk does not take it.
    pub fn fsync(&self, ino: u64) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        match self.role(ino)? {
            Role::Scratch(id) => Ok(writing.scratch.sync(id)?),
            Role::Meta(row) => self.publish(row, "fsync"),
            Role::Orphan | Role::Tree(_) => Ok(()),
        }
    }

    /// Has what was made and removed in a directory on the disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn fsyncdir(&self, ino: u64) -> Result<()> {
        let Some(writing) = &self.writing else { return Ok(()) };
        let role = self.role(ino)?;
        self.settle_removals()?;
        match self.scratch_dir(role)? {
            Some(dir) => match writing.scratch.sync_dir(&dir) {
                Ok(()) | Err(ScratchError::NotFound) => Ok(()),
                Err(error) => Err(error.into()),
            },
            None => Ok(()),
        }
    }

    /// Reads a file that is not simply the tree's; `None` for one that is.
    pub(super) fn overlay_read(&self, ino: u64, offset: u64, size: u32, thread: u32) -> Result<Option<Vec<u8>>> {
        let Some(writing) = &self.writing else { return Ok(None) };
        match self.role(ino)? {
            Role::Scratch(id) => Ok(Some(writing.scratch.read(id, offset, size)?)),
            Role::Orphan => {
                let mut overlay = lock(&writing.overlay);
                Ok(overlay.orphan_bytes(ino).map(|bytes| super::reading::slice(bytes, offset, size).to_vec()))
            }
            Role::Meta(row) => self.read_document(row, offset, size, thread).map(Some),
            Role::Tree(Node::Errors) => writing.errors.read(offset, size).map(Some).map_err(FsError::Log),
            Role::Tree(_) => Ok(None),
        }
    }

    /// Removes a draft, or a former name, that its user does not want any more.
    pub(super) fn remove_kept(&self, parent: u64, name: &OsStr, node: Node) -> Result<()> {
        match node {
            Node::Draft(row) => self.edit(|tx| Ok(drafts::remove(tx, row)?)),
            Node::Former(_) => {
                let (Ok(Role::Tree(Node::Project(project))), Some(name)) = (self.role(parent), name.to_str()) else {
                    return Err(FsError::NotFound);
                };
                self.edit(|tx| Ok(former_names::remove(tx, project, name)?))
            }
            _ => Err(FsError::NotFound),
        }
    }

    /// Does what is due: documents that nobody has written to for a moment become the record, names that are gone are settled.
    /// To be called from a thread of its own, now and then; how soon at the latest is what it returns.
    pub fn settle(&self, now: Instant) -> Option<Duration> {
        let writing = self.writing.as_ref()?;
        self.settle_documents(now);
        if let Err(error) = self.settle_removals_if_due(now) {
            tracing::warn!(%error, "what was removed could not be settled; trying again");
        }
        let notes = self.settle_trash_info(now);
        let overlay = lock(&writing.overlay);
        let is_written = |buffer: &Buffer| buffer.refused.is_none();
        let mut documents = overlay.documents.values();
        let is_soon = notes
            || overlay.removed_at.is_some()
            || documents.any(|d| d.holder == Holder::Nothing || d.buffer.as_ref().is_some_and(is_written));
        let is_later = overlay.documents.values().any(|d| d.buffer.is_some());
        is_soon.then_some(SETTLE_TICK).or(is_later.then_some(REFUSED_TICK))
    }

    /// Settles everything, at the end of a mount.
    pub fn finish(&self) {
        self.finish_documents();
        if let Err(error) = self.settle_removals() {
            tracing::error!(%error, "what was removed last could not be settled: it is still there");
        }
    }

    /// Removes scratch files that nobody has changed for a week.
    pub fn sweep(&self) {
        let Some(writing) = &self.writing else { return };
        match writing.scratch.sweep(SystemTime::now()) {
            Ok(swept) => {
                for gone in swept.removed.into_iter().chain(swept.held) {
                    if let Ok(Some(parent)) = self.ino_of_place(gone.place) {
                        self.tell(Invalidation::Name { parent, name: gone.name });
                        self.tell(Invalidation::Node(parent));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "old scratch files could not be removed"),
        }
    }

    fn ino_of_place(&self, place: Id) -> Result<Option<u64>> {
        let found = self.query(|conn| commits::by_id_range(conn, &place.0, &place.0))?;
        Ok(found.first().map(|(_, row)| Node::Commit(*row).ino()))
    }
}

/// Where the files lie that say where something in a file manager's Trash was.
#[must_use]
pub fn trash_info_place() -> Id {
    Id::derive(&[b"scratch", b"trash info"])
}

/// How soon what is not settled is looked at again, and a document that was refused, which is shown for minutes.
const SETTLE_TICK: Duration = Duration::from_millis(50);
const REFUSED_TICK: Duration = Duration::from_secs(1);

fn set_scratch(scratch: &Scratch, id: ScratchId, set: &SetAttr) -> Result<()> {
    if let Some(size) = set.size {
        scratch.set_len(id, size)?;
    }
    if let Some(mode) = set.mode {
        scratch.set_mode(id, mode & 0o7777)?;
    }
    if let Some(mtime) = set.mtime {
        scratch.set_mtime(id, mtime)?;
    }
    Ok(())
}

pub(super) fn scratch_attr(ino: u64, attr: &scratch::Attr) -> Attr {
    Attr {
        ino,
        kind: attr.kind,
        size: attr.size,
        mtime: attr.mtime,
        ctime: attr.ctime,
        mode: attr.mode,
        nlink: attr.nlink,
        generation: 0,
    }
}
