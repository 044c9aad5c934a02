//! What a rename means.

use std::collections::BTreeSet;
use std::time::Instant;

use libc::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV};

use super::{Commit, Held, MadeKind, Model, Node, Place, Result, Scratch, Subject, slug};
use crate::ops::Mode;

impl Model {
    pub(super) fn rename(&mut self, from: &str, to: &str, mode: Mode, now: Instant) -> Result<()> {
        let (from_dir, from_name, source) = self.end(from)?;
        let (to_dir, to_name, target) = self.end(to)?;
        let source = source.ok_or(ENOENT)?;
        match (mode, &target) {
            (Mode::NoReplace, Some(_)) => return Err(EEXIST),
            (Mode::Exchange, None) => return Err(ENOENT),
            _ => {}
        }
        if self.above(to).contains(&source) {
            return Err(EINVAL);
        }
        if target.as_ref().is_some_and(|target| self.above(from).contains(target)) {
            return Err(if mode == Mode::Exchange { EINVAL } else { ENOTEMPTY });
        }
        let is_itself = match &source {
            // Nothing says which one it is but its path.
            Node::Other(_) => target.is_some() && (&from_dir, from_name) == (&to_dir, to_name),
            source => target.as_ref() == Some(source),
        };
        if is_itself {
            return Ok(());
        }
        if let (Some(target), true) = (&target, mode != Mode::Exchange) {
            match (self.is_dir(&source), self.is_dir(target)) {
                (true, false) => return Err(ENOTDIR),
                (false, true) => return Err(EISDIR),
                _ => {}
            }
        }
        match source {
            Node::Scratch(place, path) => self.rename_scratch((place, path), &to_dir, to_name, target, mode),
            Node::Meta(commit) => self.rename_document(commit, &to_dir, to_name, target, mode, now),
            Node::Made(made) => self.rename_made(made, (&from_dir, from_name), (&to_dir, to_name), target, mode),
            Node::Project(project) => self.rename_project(project, &to_dir, to_name, target, mode),
            _ => Err(EPERM),
        }
    }

    pub(super) fn rename_scratch(
        &mut self,
        from: (Place, String),
        to_dir: &Node,
        to_name: &str,
        target: Option<Node>,
        mode: Mode,
    ) -> Result<()> {
        let place = self.scratch_dir(to_dir);
        if let (Some((Some(commit), front)), "meta.md") = (&place, to_name)
            && front.is_empty()
        {
            return self.save_by_rename(from, *commit, mode);
        }
        if target.as_ref().is_some_and(|t| !matches!(t, Node::Scratch(..))) {
            return Err(EPERM);
        }
        let (place, front) = place.ok_or(EPERM)?;
        if self.is_made_name(to_dir, to_name) {
            return Err(EPERM);
        }
        if place != from.0 {
            return Err(EXDEV);
        }
        let to = (place, format!("{front}{to_name}"));
        let moved = |path: &str, a: &str, b: &str| path.strip_prefix(a).map(|rest| format!("{b}{rest}"));
        let under = |path: &str, dir: &str| path == dir || path.starts_with(&format!("{dir}/"));
        if mode == Mode::Exchange {
            let keys: Vec<_> = self.scratch.keys().filter(|(p, _)| *p == place).cloned().collect();
            let mut new = Vec::new();
            for key in keys {
                let path = if under(&key.1, &from.1) {
                    moved(&key.1, &from.1, &to.1)
                } else if under(&key.1, &to.1) {
                    moved(&key.1, &to.1, &from.1)
                } else {
                    continue;
                };
                new.push(((place, path.unwrap()), self.scratch.remove(&key).unwrap()));
            }
            self.scratch.extend(new);
            return Ok(());
        }
        if let Some(target) = &target
            && self.is_dir(target)
            && !self.children(target).is_empty()
        {
            return Err(ENOTEMPTY);
        }
        let keys: Vec<_> =
            self.scratch.keys().filter(|(p, path)| *p == place && under(path, &from.1)).cloned().collect();
        self.scratch.remove(&to);
        for key in keys {
            let what = self.scratch.remove(&key).unwrap();
            self.scratch.insert((place, moved(&key.1, &from.1, &to.1).unwrap()), what);
        }
        Ok(())
    }

    pub(super) fn rename_document(
        &mut self,
        commit: usize,
        to_dir: &Node,
        to_name: &str,
        target: Option<Node>,
        mode: Mode,
        now: Instant,
    ) -> Result<()> {
        let Some((place, front)) = self.scratch_dir(to_dir).filter(|(place, _)| *place == Some(commit)) else {
            return Err(EPERM);
        };
        match (&target, mode) {
            (Some(Node::Scratch(place, path)), Mode::Exchange) => {
                return self.save_by_rename((*place, path.clone()), commit, mode);
            }
            (None | Some(Node::Scratch(..)), _) => {}
            _ => return Err(EPERM),
        }
        if self.is_made_name(to_dir, to_name) {
            return Err(EPERM);
        }
        let former = self.text(commit);
        let held = self.detach(commit, now)?;
        self.held[held] = Held::Bytes(former);
        self.scratch.insert((place, format!("{front}{to_name}")), Scratch::File(held));
        Ok(())
    }

    pub(super) fn rename_project(
        &mut self,
        project: usize,
        to_dir: &Node,
        name: &str,
        target: Option<Node>,
        mode: Mode,
    ) -> Result<()> {
        if *to_dir != Node::Fixed("projects") {
            return Err(EPERM);
        }
        match (target, mode) {
            (Some(Node::Project(other)), Mode::Exchange) => {
                self.projects.swap(project, other);
                // Out of the way, for the other, and to where it goes.
                for of in [project, other, project] {
                    self.note(Subject::Project(of), "rename");
                }
            }
            (None, _) => {
                Self::check_name(name)?;
                self.note(Subject::Project(project), "rename");
                name.clone_into(&mut self.projects[project]);
            }
            _ => return Err(ENOTEMPTY),
        }
        Ok(())
    }

    pub(super) fn check_name(name: &str) -> Result<()> {
        let reserved = ["project.json", "latest", "hidden"].contains(&name);
        if name.starts_with('.') || name.chars().any(char::is_control) || reserved { Err(EPERM) } else { Ok(()) }
    }

    pub(super) fn rename_made(
        &mut self,
        made: usize,
        (from_dir, from_name): (&Node, &str),
        (to_dir, name): (&Node, &str),
        target: Option<Node>,
        mode: Mode,
    ) -> Result<()> {
        let kind = self.made[made].kind;
        let was_in_trash = matches!(from_dir, Node::Fixed("trash" | "files"));
        let to_trash = matches!(to_dir, Node::Fixed("trash" | "files"));
        let by_manager = *to_dir == Node::Fixed("files");
        if !matches!(kind, MadeKind::Commit | MadeKind::Session | MadeKind::Turn) {
            return Err(EPERM);
        }
        // What lies in the trash goes as a whole.
        if self.in_trash(made) && !was_in_trash {
            return Err(EPERM);
        }
        let home = self.made[made].parent;
        let is_home = matches!((to_dir, home), (Node::Made(dir), Some(home)) if *dir == home);
        let to_project = match to_dir {
            Node::Project(project) => Some((*project, false)),
            Node::Hidden(project) => Some((*project, true)),
            _ => None,
        };
        let expunges = *to_dir == Node::Fixed("expunged");
        let fits = match kind {
            _ if to_trash => true,
            _ if expunges => was_in_trash,
            MadeKind::Commit => to_project.is_some(),
            _ => was_in_trash && is_home,
        };
        if !fits {
            return Err(EPERM);
        }
        if mode == Mode::Exchange {
            let (Some(Node::Made(other)), Some(there)) = (&target, to_project) else { return Err(EPERM) };
            let here = match from_dir {
                Node::Project(project) => (*project, false),
                Node::Hidden(project) => (*project, true),
                _ => return Err(EPERM),
            };
            if kind != MadeKind::Commit || self.made[*other].kind != MadeKind::Commit {
                return Err(EPERM);
            }
            let (one, two) = (self.made[made].commit, self.made[*other].commit);
            // Out of the way.
            self.note(Subject::Commit(one), "retitle");
            self.put(one, there, name);
            self.put(two, here, from_name);
            // The links of the second were given while the first had its name.
            self.relink(one);
            self.relink(two);
            return Ok(());
        }
        match target {
            None => {}
            Some(target) if self.is_dir(&target) => return Err(ENOTEMPTY),
            Some(_) => return Err(EEXIST),
        }
        if expunges {
            self.empty(made);
            return Ok(());
        }
        if to_trash && was_in_trash {
            let own = self.trash.iter().any(|t| t.made == made && t.name == name);
            if by_manager && !own {
                self.give_way(name);
            }
            let name = self.free_trash_name(name, made);
            let trashed = self.trash.iter_mut().find(|t| t.made == made).unwrap();
            (trashed.name, trashed.by_manager) = (name, by_manager);
            return Ok(());
        }
        if to_trash {
            self.delete(made, Some(name), by_manager);
            return Ok(());
        }
        let Some(place) = to_project else {
            // It is called as it was, whatever was typed.
            self.undelete(made);
            return Ok(());
        };
        let commit = self.made[made].commit;
        Self::check_name(name)?;
        let taken =
            |(at, c): (usize, &Commit)| at != commit && c.project == place.0 && c.name == name && !self.is_deleted(at);
        if self.commits.iter().enumerate().any(taken) {
            return Err(ENOTEMPTY);
        }
        if was_in_trash {
            self.bring_back(commit);
        }
        self.put(commit, place, name);
        Ok(())
    }

    /// Where it was moved, under the name that was typed, with the title that the name says.
    pub(super) fn put(&mut self, commit: usize, (project, hidden): (usize, bool), name: &str) {
        let (moves, other_name) = (project != self.commits[commit].project, name != self.commits[commit].name);
        let title = self.title_of(commit, name).filter(|_| other_name);
        if moves {
            self.note(Subject::Commit(commit), "move");
        }
        if title.is_some() || other_name && !moves {
            self.note(Subject::Commit(commit), "retitle");
        }
        if hidden != self.commits[commit].hidden {
            self.note(Subject::Commit(commit), "hidden");
        }
        if title.is_some() {
            self.commits[commit].title = title;
        }
        self.place(commit, project, name);
        self.commits[commit].hidden = hidden;
    }

    /// `None`: the name says no other title.
    pub(super) fn title_of(&self, commit: usize, name: &str) -> Option<String> {
        let c = &self.commits[commit];
        let time = name.as_bytes().get(..21).is_some_and(|front| {
            front
                .iter()
                .zip(b"0000-00-00T00-00-00Z_")
                .all(|(b, p)| if *p == b'0' { b.is_ascii_digit() } else { b == p })
        });
        let text = if time { &name[21..] } else { name };
        let text = match text.rsplit_once('_') {
            Some((front, digits)) if digits.len() >= 6 && c.id.replace('-', "").starts_with(digits) => front,
            _ => text,
        };
        let (text, now) = (text.trim(), c.title.as_ref().unwrap_or(&c.found));
        let same = text.is_empty() || text == now || text == slug(now) || (slug(now).is_empty() && text == "untitled");
        (!same).then(|| text.to_owned())
    }

    pub(super) fn place(&mut self, commit: usize, project: usize, name: &str) {
        self.former.remove(&(project, name.to_owned()));
        (self.commits[commit].project, self.commits[commit].name) = (project, name.to_owned());
        self.relink(commit);
    }

    pub(super) fn relink(&mut self, commit: usize) {
        let (name, id) = (self.commits[commit].name.clone(), self.commits[commit].id.replace('-', ""));
        let mut free = [name.clone(), format!("{name}_{}", &id[..6]), format!("{name}_{id}")].into_iter();
        let others: BTreeSet<&String> =
            self.commits.iter().enumerate().filter(|(at, _)| *at != commit).map(|(_, c)| &c.link).collect();
        self.commits[commit].link = free.find(|name| !others.contains(name)).unwrap();
    }

    pub(super) fn free_name(&self, commit: usize, title: &str) -> String {
        let c = &self.commits[commit];
        let (id, slug) = (c.id.replace('-', ""), slug(title));
        let stem = format!("{}{}_", c.start, if slug.is_empty() { "untitled" } else { &slug });
        let wanted = format!("{stem}{}", &id[..6]);
        let taken = self.commits.iter().enumerate().any(|(at, other)| at != commit && other.link == wanted);
        if taken { format!("{stem}{id}") } else { wanted }
    }
}
