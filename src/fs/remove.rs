//! Names that are removed. `rm -r` of a commit unlinks every file in it, then removes the directories from below, and nothing
//! says beforehand that it will: so a removed name is gone at once and settled later. When its directory is removed too, the
//! whole entity is deleted, in one edit, durable when the call returns. When nothing more is removed for a moment, each turn is
//! deleted for itself, and what is made from the conversation is back: it cannot be removed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::time::{Duration, Instant};

use super::fetch::Missing;
use super::overlay::{Removed, Role};
use super::{CogFs, FsError, Invalidation, Result, lock};
use crate::curation::{CurationError, Edit, Editor, Entity, EntityKind, Origin, TrashName};
use crate::store::{self, sessions, trash, turns};
use crate::tree::{self, Node};

/// When nothing was removed for so long, what was is settled.
const QUIET: Duration = Duration::from_millis(300);

/// What a name stands for when it is removed.
enum Removable {
    /// It is gone until its directory goes, or it comes back.
    Generated,
    Entity(Entity),
}

fn removable_file(node: Node) -> Option<Removable> {
    match node {
        Node::Turn(row) => Some(Removable::Entity(Entity::turn(row))),
        Node::CommitMetaJson(_)
        | Node::CommitTranscript(_)
        | Node::CommitPage(_)
        | Node::Visual(_)
        | Node::SessionTranscript(_)
        | Node::SessionMetaJson(_)
        | Node::SessionRaw(_)
        | Node::SessionResume(_)
        | Node::Hit(_) => Some(Removable::Generated),
        _ => None,
    }
}

fn removable_directory(node: Node) -> Option<Removable> {
    match node {
        Node::Commit(row) => Some(Removable::Entity(Entity::commit(row))),
        Node::Session(row) => Some(Removable::Entity(Entity::session(row))),
        Node::SessionsDir(_) | Node::VisualsDir(_) | Node::TurnsDir(_) | Node::SubagentsDir(_) => {
            Some(Removable::Generated)
        }
        _ => None,
    }
}

impl CogFs {
    /// Removes a name that is no directory's. Never waits.
    ///
    /// # Errors
    /// When there is none, or it cannot be removed; [`FsError::Elsewhere`] for a turn of contents that are to be fetched first.
    pub fn unlink(&self, parent: u64, name: &OsStr) -> Result<()> {
        let writing = self.writing()?;
        let ino = self.child(parent, name)?.ok_or(FsError::NotFound)?;
        match self.role(ino)? {
            Role::Scratch(_) | Role::Orphan => {
                let dir = self.scratch_dir(self.role(parent)?)?.ok_or(FsError::NotFound)?;
                Ok(writing.scratch.unlink(&dir, name)?)
            }
            Role::Meta(row) => {
                let former = self.document_bytes(row)?;
                let ino = self.detach(row)?;
                lock(&writing.overlay).orphan(ino, former);
                self.note_removal(parent, name, None);
                Ok(())
            }
            Role::Tree(node @ (Node::Draft(_) | Node::Former(_))) => self.remove_kept(parent, name, node),
            Role::Tree(node) if self.is_trash(parent)? => self.empty(node),
            Role::Tree(node) => match removable_file(node) {
                Some(_) => {
                    self.turn_is_here(node)?;
                    self.note_removal(parent, name, Some(ino));
                    Ok(())
                }
                None if removable_directory(node).is_some() => Err(FsError::IsADirectory),
                None => Err(self.not_removable("unlink", parent, name)),
            },
        }
    }

    /// A turn's id, by which its deletion is told, is known with its contents alone: they come first. Where the whole goes nothing is
    /// fetched for it: who removes that has removed the transcript a moment before, which is listed before the turns.
    pub(super) fn turn_is_here(&self, node: Node) -> Result<()> {
        let Node::Turn(row) = node else { return Ok(()) };
        let session = turns::parts_of(row).0;
        let is_swept = lock(&self.writing()?.overlay).removed.contains_key(&Node::SessionTranscript(session).ino());
        if is_swept || self.lies_in_trash(node)? {
            return Ok(());
        }
        match self.query(|conn| sessions::id_elsewhere(conn, session))? {
            Some(id) => Err(FsError::Elsewhere { missing: vec![Missing::Session(id)] }),
            None => Ok(()),
        }
    }

    /// Removes an empty directory. That of a commit or session is deleted with it.
    ///
    /// # Errors
    /// When there is none, it is not empty, or it cannot be removed.
    pub fn rmdir(&self, parent: u64, name: &OsStr) -> Result<()> {
        let writing = self.writing()?;
        if self.role(parent)? == Role::Tree(Node::SearchDir) {
            return self.drop_search(name);
        }
        let ino = self.child(parent, name)?.ok_or(FsError::NotFound)?;
        let node = match self.role(ino)? {
            Role::Scratch(_) => {
                let dir = self.scratch_dir(self.role(parent)?)?.ok_or(FsError::NotFound)?;
                return Ok(writing.scratch.rmdir(&dir, name)?);
            }
            Role::Meta(_) | Role::Orphan => return Err(FsError::NotADirectory),
            Role::Tree(node) => node,
        };
        let Some(what) = removable_directory(node) else {
            return Err(match removable_file(node) {
                Some(_) => FsError::NotADirectory,
                None => self.not_removable("rmdir", parent, name),
            });
        };
        if !self.is_empty(ino)? {
            return Err(FsError::NotEmpty);
        }
        match what {
            Removable::Generated => self.note_removal(parent, name, Some(ino)),
            Removable::Entity(_) if self.is_trash(parent)? => self.empty(node)?,
            // The trash is emptied by `rm -r` too: what is below goes with the whole, or is back.
            Removable::Entity(_) if self.lies_in_trash(node)? => self.note_removal(parent, name, Some(ino)),
            Removable::Entity(entity) => {
                self.edit(|tx| {
                    Editor::new(tx, Origin::Mount).apply(&Edit::Delete { entity, name: TrashName::Own }).map(drop)
                })?;
                self.forget_removals_of(entity)?;
            }
        }
        lock(&writing.overlay).removed_directory(ino);
        Ok(())
    }

    fn not_removable(&self, operation: &'static str, parent: u64, name: &OsStr) -> FsError {
        let reason = "commits, sessions and turns can be removed, nothing else".to_owned();
        self.refuse(operation, self.path(parent, name), FsError::NotPermitted { reason }, None)
    }

    fn note_removal(&self, parent: u64, name: &OsStr, ino: Option<u64>) {
        let Ok(writing) = self.writing() else { return };
        let mut overlay = lock(&writing.overlay);
        if let Some(ino) = ino {
            overlay.removed.insert(ino, Removed { parent, name: name.to_string_lossy().into_owned() });
        }
        overlay.removed_at = Some(Instant::now());
        drop(overlay);
        self.wake();
    }

    /// Whether all that a directory holds is removed.
    fn is_empty(&self, ino: u64) -> Result<bool> {
        let mut empty = true;
        self.readdir(ino, 2, false, &mut |_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    pub(super) fn is_trash(&self, ino: u64) -> Result<bool> {
        Ok(matches!(self.role(ino)?, Role::Tree(Node::TrashDir | Node::ManagerTrashFiles)))
    }

    /// Whether something was deleted, or is a part of what was.
    pub(super) fn lies_in_trash(&self, node: Node) -> Result<bool> {
        self.query(|conn| tree::lies_in_trash(conn, node))
    }

    /// Takes something out of the trash's lists for good.
    pub(super) fn empty(&self, node: Node) -> Result<()> {
        let entity = entity_of(node).ok_or(FsError::NotFound)?;
        self.edit(|tx| {
            let trashed = trash::find(tx, entity.kind, entity.row)?;
            if let Some(trashed) = trashed {
                trash::empty(tx, &trashed)?;
            }
            Ok(())
        })?;
        self.forget_removals_of(entity)
    }

    /// What was removed below an entity went with it.
    fn forget_removals_of(&self, entity: Entity) -> Result<()> {
        let writing = self.writing()?;
        let removed: Vec<u64> = lock(&writing.overlay).removed.keys().copied().collect();
        let gone: Vec<u64> = self.query(|conn| {
            let lies_in = |node| tree::lies_in(conn, node, entity.kind, entity.row);
            let mut sessions = HashMap::new();
            let mut gone = Vec::new();
            for ino in removed {
                let is_gone = match Node::from_ino(ino) {
                    Some(Node::Turn(row)) if entity.kind != EntityKind::Turn => {
                        of_session(&mut sessions, row, lies_in)?
                    }
                    Some(node) => lies_in(node)?,
                    None => false,
                };
                gone.extend(is_gone.then_some(ino));
            }
            Ok(gone)
        })?;
        let mut overlay = lock(&writing.overlay);
        for ino in gone {
            overlay.removed.remove(&ino);
        }
        if let EntityKind::Commit = entity.kind {
            overlay.come_to_rest(entity.row);
        }
        if overlay.removed.is_empty() {
            overlay.removed_at = None;
        }
        Ok(())
    }

    pub(super) fn settle_removals_if_due(&self, now: Instant) -> Result<()> {
        let removed_at = lock(&self.writing()?.overlay).removed_at;
        if removed_at.is_some_and(|at| now.saturating_duration_since(at) >= QUIET) {
            self.settle_removals()
        } else {
            Ok(())
        }
    }

    /// Deletes the turns that were removed for themselves, and brings back what cannot be removed.
    pub(super) fn settle_removals(&self) -> Result<()> {
        let writing = self.writing()?;
        let mut removed: Vec<(u64, Removed)> =
            lock(&writing.overlay).removed.iter().map(|(ino, removed)| (*ino, removed.clone())).collect();
        let turns: Vec<i64> = self.query(|conn| {
            let mut sessions = HashMap::new();
            let mut turns = Vec::new();
            for (ino, _) in &removed {
                if let Some(Node::Turn(row)) = Node::from_ino(*ino)
                    && !turns::is_deleted(conn, row)?
                    && !of_session(&mut sessions, row, |session| tree::lies_in_trash(conn, session))?
                {
                    turns.push(row);
                }
            }
            Ok(turns)
        })?;
        let mut left = Vec::new();
        if !turns.is_empty() {
            self.edit(|tx| {
                let mut editor = Editor::new(tx, Origin::Mount);
                for row in turns.iter().copied() {
                    match editor.apply(&Edit::Delete { entity: Entity::turn(row), name: TrashName::Own }) {
                        Ok(_) | Err(CurationError::Deleted { .. }) => {}
                        // Its contents are elsewhere: the whole was about to be removed, and is not.
                        Err(CurationError::NotFound { .. }) => left.push(row),
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            })?;
        }
        let mut overlay = lock(&writing.overlay);
        for (ino, _) in &removed {
            overlay.removed.remove(ino);
        }
        if overlay.removed.is_empty() {
            overlay.removed_at = None;
        }
        drop(overlay);
        removed.retain(|(ino, _)| match Node::from_ino(*ino) {
            Some(Node::Turn(row)) => left.contains(&row) || !turns.contains(&row),
            // Its subagents are deleted: nothing of it is back.
            Some(Node::SubagentsDir(_)) => !self.is_empty(*ino).unwrap_or(false),
            _ => true,
        });
        self.tell_of_returns(removed);
        Ok(())
    }

    /// What is made from the conversation is back.
    fn tell_of_returns(&self, removed: Vec<(u64, Removed)>) {
        for (_, Removed { parent, name }) in removed {
            let name = OsStr::new(&name);
            let reason =
                "it is made from the conversation and is there again; a commit, a session or a turn can be removed";
            let error = FsError::NotPermitted { reason: reason.to_owned() };
            // Logged; there is nobody left to answer.
            let _ = self.refuse("unlink", self.path(parent, name), error, None);
            self.tell(Invalidation::Name { parent, name: name.to_owned() });
            self.tell(Invalidation::Node(parent));
        }
    }
}

/// What holds for a turn because it does for its session: asked once for a thousand turns of one.
fn of_session(
    known: &mut HashMap<i64, bool>,
    turn_row: i64,
    ask: impl FnOnce(Node) -> store::Result<bool>,
) -> store::Result<bool> {
    let session = turns::parts_of(turn_row).0;
    if let Some(answer) = known.get(&session) {
        return Ok(*answer);
    }
    let answer = ask(Node::Session(session))?;
    known.insert(session, answer);
    Ok(answer)
}

/// What can be deleted and restored.
pub(super) fn entity_of(node: Node) -> Option<Entity> {
    match node {
        Node::Commit(row) => Some(Entity::commit(row)),
        Node::Session(row) => Some(Entity::session(row)),
        Node::Turn(row) => Some(Entity::turn(row)),
        _ => None,
    }
}
