//! What a rename means: by what moves, and where to.
//!
//! | what | where to | |
//! |---|---|---|
//! | a commit | its project | another title |
//! | a commit | another project, `hidden/` | is moved there, marked as hidden |
//! | a commit, session, turn | the trash | is deleted |
//! | the same | out of the trash, where it was | is restored |
//! | a project | `projects/` | another name |
//! | a scratch file | `meta.md` beside it | is saved |
//! | `meta.md` | a name beside it | an editor's backup: the document is back if nothing takes its place |
//!
//! EXDEV is for scratch files alone, as `mv` copies then: a copied commit would be none.

use std::ffi::OsStr;
use std::time::{Duration, SystemTime};

use super::overlay::Role;
use super::remove::entity_of;
use super::scratch::{Dir, RenameMode, ScratchId};
use super::{CogFs, FsError, Invalidation, NAME_MAX, NodeKind, Result, lock};
use crate::curation::{self, CurationError, Edit, Editor, Entity, EntityKind, Origin, TrashName, names};
use crate::store::commits::{self, Home, curated};
use crate::store::{Transaction, trash};
use crate::tree::{self, Node};

/// One end of a rename.
struct End<'a> {
    parent: u64,
    dir: Role,
    name: &'a OsStr,
    /// What has the name now.
    there: Option<(u64, Role)>,
}

/// Where a commit or what is in the trash goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Project(i64),
    Hidden(i64),
    Trash {
        by_manager: bool,
    },
    /// Where a file manager moves what it empties out of its Trash.
    Expunged,
    /// The sessions of a commit, the subagents or the turns of a session.
    Parts,
}

fn target(dir: Role) -> Option<Target> {
    match dir {
        Role::Tree(Node::Project(row)) => Some(Target::Project(row)),
        Role::Tree(Node::HiddenDir(row)) => Some(Target::Hidden(row)),
        Role::Tree(Node::TrashDir) => Some(Target::Trash { by_manager: false }),
        Role::Tree(Node::ManagerTrashFiles) => Some(Target::Trash { by_manager: true }),
        Role::Tree(Node::ManagerTrashExpunged) => Some(Target::Expunged),
        Role::Tree(Node::SessionsDir(_) | Node::SubagentsDir(_) | Node::TurnsDir(_)) => Some(Target::Parts),
        _ => None,
    }
}

impl CogFs {
    /// Renames.
    ///
    /// # Errors
    /// Those of rename(2), and when what moves cannot go there; [`FsError::Elsewhere`] as [`Self::unlink`].
    pub fn rename(
        &self,
        (parent, name): (u64, &OsStr),
        (new_parent, new_name): (u64, &OsStr),
        mode: RenameMode,
        thread: u32,
    ) -> Result<()> {
        self.writing()?;
        if new_name.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        let search = Role::Tree(Node::SearchDir);
        if self.role(parent)? == search && self.role(new_parent)? == search {
            return self.rename_search(new_parent, name, new_name, mode);
        }
        let from = self.end(parent, name)?;
        let to = self.end(new_parent, new_name)?;
        let (ino, role) = from.there.ok_or(FsError::NotFound)?;
        match (mode, to.there) {
            (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists),
            (RenameMode::Exchange, None) => return Err(FsError::NotFound),
            (_, Some((other, _))) if other == ino => return Ok(()),
            _ => {}
        }
        match role {
            Role::Scratch(id) => self.rename_scratch(id, ino, &from, &to, mode, thread),
            Role::Meta(row) => self.rename_document(row, ino, &from, &to, mode, thread),
            Role::Orphan => Err(FsError::NotFound),
            Role::Tree(node) => self.rename_entity(node, &from, &to, mode),
        }
    }

    fn end<'a>(&self, parent: u64, name: &'a OsStr) -> Result<End<'a>> {
        let there = match self.child(parent, name)? {
            Some(ino) => Some((ino, self.role(ino)?)),
            None => None,
        };
        Ok(End { parent, dir: self.role(parent)?, name, there })
    }

    fn refuse_rename(&self, from: &End<'_>, reason: &str) -> FsError {
        let error = FsError::NotPermitted { reason: reason.to_owned() };
        self.refuse("rename", self.path(from.parent, from.name), error, None)
    }

    /// A scratch file moves among its like, or becomes the document.
    fn rename_scratch(
        &self,
        id: ScratchId,
        ino: u64,
        from: &End<'_>,
        to: &End<'_>,
        mode: RenameMode,
        thread: u32,
    ) -> Result<()> {
        let writing = self.writing()?;
        if let (Role::Tree(Node::Commit(row)), "meta.md") = (to.dir, to.name.to_str().unwrap_or_default()) {
            return self.save_by_rename(row, id, ino, from, mode, thread);
        }
        match to.there {
            None | Some((_, Role::Scratch(_))) => {}
            Some(_) => return Err(self.refuse_rename(from, "what it would replace is made from the conversation")),
        }
        let source = self.scratch_dir(from.dir)?.ok_or(FsError::NotFound)?;
        let Some(target) = self.scratch_dir(to.dir)? else {
            return Err(self.refuse_rename(from, "files can be put beside a meta.md alone"));
        };
        if to.there.is_none() {
            self.check_not_made("rename", to.parent, to.name)?;
        }
        Ok(writing.scratch.rename(&source, from.name, &target, to.name, mode)?)
    }

    /// An editor's file takes the place of `meta.md`: it is valid and saved, or nothing changes.
    fn save_by_rename(
        &self,
        row: i64,
        id: ScratchId,
        ino: u64,
        from: &End<'_>,
        mode: RenameMode,
        thread: u32,
    ) -> Result<()> {
        let writing = self.writing()?;
        let source = self.scratch_dir(from.dir)?.ok_or(FsError::NotFound)?;
        let attr = writing.scratch.attr(id)?;
        if attr.kind != NodeKind::File {
            return Err(self.refuse_rename(from, "meta.md is a file: what is no file cannot take its place"));
        }
        if !self.lies_beside(row, source)? {
            return Err(FsError::OtherDevice);
        }
        let size = attr.size;
        if size > super::save::MOST_BYTES {
            return Err(FsError::TooLarge);
        }
        let bytes = writing.scratch.read(id, 0, u32::try_from(size).unwrap_or(u32::MAX))?;
        // While a former document is away this is its successor; otherwise what it says now goes to a backup or nowhere.
        let former = self.document_bytes(row)?;
        let saved = self.save_whole(row, &bytes, thread, || {
            let holder = lock(&writing.overlay).holder(row);
            if let (RenameMode::Exchange, Some(holder)) = (mode, holder) {
                // In its place: where that fails the editor's file is still there.
                let backup = writing.scratch.adopt(&source, from.name, &former, 0o600, SystemTime::now())?;
                self.take_over(row, ino, Vec::new());
                lock(&writing.overlay).set_role(holder, Role::Scratch(backup));
            } else {
                self.take_over(row, ino, former);
                writing.scratch.release(id)?;
            }
            Ok(())
        });
        saved.map_err(|error| self.refuse("rename", self.path(from.parent, from.name), error, Some(&bytes)))
    }

    /// Whether scratch files of a directory are beside a commit's document, or below.
    fn lies_beside(&self, row: i64, dir: Dir) -> Result<bool> {
        let commit = self.query(|conn| commits::get(conn, row))?.ok_or(FsError::NotFound)?;
        Ok(match dir {
            Dir::Place(place) => place == commit.id,
            Dir::Node(id) => self.writing()?.scratch.place_of(id)? == commit.id,
        })
    }

    /// `meta.md` moves: an editor makes its backup of it.
    fn rename_document(
        &self,
        row: i64,
        ino: u64,
        from: &End<'_>,
        to: &End<'_>,
        mode: RenameMode,
        thread: u32,
    ) -> Result<()> {
        let writing = self.writing()?;
        let beside = match self.scratch_dir(to.dir)? {
            Some(dir) if self.lies_beside(row, dir)? => dir,
            _ => return Err(self.refuse_rename(from, "meta.md belongs to its commit; move the commit's directory")),
        };
        match (mode, to.there) {
            (RenameMode::Exchange, Some((other, Role::Scratch(id)))) => {
                return self.save_by_rename(row, id, other, to, mode, thread);
            }
            (_, None | Some((_, Role::Scratch(_)))) => {}
            _ => return Err(self.refuse_rename(from, "what it would replace is made from the conversation")),
        }
        if to.there.is_none() {
            self.check_not_made("rename", to.parent, to.name)?;
        }
        let (former, mtime) = (self.document_bytes(row)?, self.getattr(ino)?.mtime);
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_millis(mtime.0.max(0).unsigned_abs());
        let backup = writing.scratch.adopt(&beside, to.name, &former, 0o600, mtime)?;
        let ino = self.detach(row)?;
        lock(&writing.overlay).set_role(ino, Role::Scratch(backup));
        writing.scratch.remember(backup);
        Ok(())
    }

    fn rename_entity(&self, node: Node, from: &End<'_>, to: &End<'_>, mode: RenameMode) -> Result<()> {
        if let (Node::Project(row), Role::Tree(Node::ProjectsDir)) = (node, to.dir) {
            return self.rename_project(row, from, to, mode);
        }
        let (Some(entity), Some(target)) = (entity_of(node), target(to.dir)) else {
            return Err(self.refuse_rename(from, "it is made from the conversation and stays where it is"));
        };
        let name = to.name.to_str().ok_or_else(|| self.refuse_rename(from, "names are UTF-8"))?;
        let was_in_trash = self.is_trash(from.parent)?;
        if !was_in_trash && self.lies_in_trash(node)? {
            return Err(self.refuse_rename(from, "it is a part of what was deleted: restore the whole first"));
        }
        let is_permitted = match (entity.kind, target) {
            (_, Target::Trash { .. }) | (EntityKind::Commit, Target::Project(_) | Target::Hidden(_)) => true,
            (_, Target::Expunged) => was_in_trash,
            (EntityKind::Session | EntityKind::Turn, Target::Parts) => was_in_trash && self.is_home(node, to.dir)?,
            _ => false,
        };
        if !is_permitted {
            let reason = match entity.kind {
                EntityKind::Commit => "a commit lies in a project's directory",
                _ => "sessions and turns stay where they were said",
            };
            return Err(self.refuse_rename(from, reason));
        }
        if mode == RenameMode::Exchange {
            return self.exchange(entity, to, from);
        }
        if !was_in_trash {
            self.turn_is_here(node)?;
        }
        match to.there {
            None => {}
            // What one directory may replace is an empty one: no commit is.
            Some((_, Role::Tree(Node::Commit(_) | Node::Session(_)))) if entity.kind != EntityKind::Turn => {
                return Err(FsError::NotEmpty);
            }
            Some((_, Role::Tree(Node::HiddenDir(_)))) => return Err(FsError::NotEmpty),
            Some(_) if entity.kind == EntityKind::Turn => return Err(FsError::Exists),
            Some(_) => return Err(FsError::NotADirectory),
        }
        let moved = match (entity.kind, target, was_in_trash) {
            (_, Target::Trash { by_manager }, true) => self.rename_in_trash(entity, name, by_manager),
            (_, Target::Trash { by_manager }, false) => {
                let name = match by_manager {
                    true => TrashName::ByManager(name.to_owned()),
                    false => TrashName::Typed(name.to_owned()),
                };
                self.edit(|tx| Editor::new(tx, Origin::Mount).apply(&Edit::Delete { entity, name }).map(drop))
            }
            (_, Target::Expunged, true) => {
                // The kernel has it under its new name, where nothing is.
                self.tell(Invalidation::Name { parent: to.parent, name: to.name.to_owned() });
                self.empty(node)
            }
            (EntityKind::Commit, Target::Project(_) | Target::Hidden(_), _) => {
                self.edit(|tx| place_commit(tx, entity.row, target, name, was_in_trash))
            }
            (EntityKind::Session | EntityKind::Turn, Target::Parts, true) => {
                // It is called as it was, whatever was typed.
                self.tell(Invalidation::Name { parent: to.parent, name: to.name.to_owned() });
                self.tell(Invalidation::Node(to.parent));
                self.edit(|tx| Editor::new(tx, Origin::Mount).apply(&Edit::Restore { entity }).map(drop))
            }
            _ => Err(FsError::NotPermitted { reason: "it stays where it is".to_owned() }),
        };
        moved.map_err(|error| self.refuse("rename", self.path(from.parent, from.name), error, None))
    }

    /// Whether a directory is the one that a session or turn was deleted from.
    fn is_home(&self, node: Node, dir: Role) -> Result<bool> {
        let Role::Tree(dir) = dir else { return Ok(false) };
        Ok(self.query(|conn| tree::home(conn, node))? == Some(dir))
    }

    fn rename_in_trash(&self, entity: Entity, name: &str, by_manager: bool) -> Result<()> {
        self.edit(|tx| {
            if let Some(trashed) = trash::find(tx, entity.kind, entity.row)? {
                trash::rename(tx, &trashed, trash::Name { wanted: name, by_manager })?;
            }
            Ok(())
        })
    }

    fn rename_project(&self, row: i64, from: &End<'_>, to: &End<'_>, mode: RenameMode) -> Result<()> {
        let name = to.name.to_str().ok_or_else(|| self.refuse_rename(from, "names are UTF-8"))?;
        let other = match (mode, to.there) {
            (RenameMode::Exchange, Some((_, Role::Tree(Node::Project(other))))) => Some(other),
            (_, None) => None,
            _ => return Err(FsError::NotEmpty),
        };
        let (from_name, to_name) = (from.name.to_string_lossy().into_owned(), name.to_owned());
        let renamed = self.edit(|tx| {
            let mut editor = Editor::new(tx, Origin::Mount);
            let Some(other) = other else {
                return editor.apply(&Edit::RenameProject { project: row, name: to_name.clone() }).map(drop);
            };
            let aside = format!("{from_name} (exchanged)");
            for (project, name) in [(row, aside), (other, from_name.clone()), (row, to_name.clone())] {
                editor.apply(&Edit::RenameProject { project, name })?;
            }
            Ok(())
        });
        renamed.map_err(|error| self.refuse("rename", self.path(from.parent, from.name), error, None))
    }

    /// Two commits change their names, and their projects.
    fn exchange(&self, entity: Entity, to: &End<'_>, from: &End<'_>) -> Result<()> {
        let (Some((_, Role::Tree(Node::Commit(other)))), EntityKind::Commit) = (to.there, entity.kind) else {
            return Err(self.refuse_rename(from, "only commits can be exchanged"));
        };
        let in_projects = |dir| target(dir).filter(|t| matches!(t, Target::Project(_) | Target::Hidden(_)));
        let (Some(here), Some(there)) = (in_projects(from.dir), in_projects(to.dir)) else {
            return Err(self.refuse_rename(from, "only commits that are not deleted can be exchanged"));
        };
        let (Some(from_name), Some(to_name)) = (from.name.to_str(), to.name.to_str()) else {
            return Err(self.refuse_rename(from, "names are UTF-8"));
        };
        let aside = format!("{}_exchanged", &from_name[..from_name.floor_char_boundary(200)]);
        self.edit(|tx| {
            // Out of the way for the moment: that name says nothing of the title.
            let commit = commits::get(tx, entity.row)?.ok_or(CurationError::NotFound { kind: EntityKind::Commit })?;
            let title = curated::title(tx, &commit)?;
            Editor::new(tx, Origin::Mount).apply(&Edit::Retitle { commit: entity.row, title, name: Some(aside) })?;
            place_commit(tx, other, here, from_name, false)?;
            place_commit(tx, entity.row, there, to_name, false)
        })
    }
}

/// Puts a commit where it was moved, under the name that was typed.
fn place_commit(
    tx: &mut Transaction<'_>,
    row: i64,
    target: Target,
    name: &str,
    was_in_trash: bool,
) -> curation::Result<()> {
    let not_found = || CurationError::NotFound { kind: EntityKind::Commit };
    let (project, hidden) = match target {
        Target::Project(project) => (project, false),
        Target::Hidden(project) => (project, true),
        Target::Trash { .. } | Target::Expunged | Target::Parts => return Err(not_found()),
    };
    let mut editor = Editor::new(tx, Origin::Mount);
    if was_in_trash {
        editor.apply(&Edit::Restore { entity: Entity::commit(row) })?;
    }
    let commit = commits::get(tx, row)?.ok_or_else(not_found)?;
    let kept = curated::title(tx, &commit)?;
    // A name that is not changed says nothing of the title.
    let title = if name == commit.dir_name { kept } else { names::title(&commit, name).unwrap_or(kept) };
    let mut edits = Vec::new();
    if commit.project_row != project {
        edits.push(Edit::MoveToProject { commit: row, project, name: Some(name.to_owned()) });
    }
    edits.push(Edit::Retitle { commit: row, title, name: Some(name.to_owned()) });
    if (commit.home() == Home::Hidden) != hidden {
        edits.push(Edit::SetHidden { commit: row, hidden });
    }
    Editor::new(tx, Origin::Mount).apply_all(&edits).map(drop)
}
