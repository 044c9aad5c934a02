//! What is deleted: what goes with it, what it is called in the trash, and how it comes back.

use std::collections::BTreeSet;

use super::{Commit, Held, MadeKind, Model, Node, Trashed};

impl Model {
    pub(super) fn below(&self, made: usize) -> Vec<usize> {
        let mut all = vec![made];
        let mut at = 0;
        while at < all.len() {
            let parent = all[at];
            all.extend((0..self.made.len()).filter(|m| self.made[*m].parent == Some(parent)));
            at += 1;
        }
        all
    }

    /// Into the trash, with what of it went there a moment ago.
    pub(super) fn delete(&mut self, made: usize, typed: Option<&str>, by_manager: bool) {
        let below = self.below(made);
        for part in &below {
            // Whoever removes a directory removed first what was in it.
            if typed.is_none() {
                self.made[*part].gone = false;
            }
            if *part != made && self.made[*part].deleted {
                self.made[*part].deleted = false;
                self.trash.retain(|t| t.made != *part);
                self.forget_deletion(*part);
            }
        }
        let name = typed.map_or_else(|| self.trash_name(made), str::to_owned);
        if by_manager {
            self.give_way(&name);
        }
        let name = self.free_trash_name(&name, made);
        self.deletions += 1;
        self.trash.push(Trashed { number: self.deletions, made, name, listed: true, by_manager });
        self.made[made].deleted = true;
        self.note(self.subject(made), "delete");
        if self.made[made].kind == MadeKind::Commit && typed.is_none() {
            self.come_to_rest(self.made[made].commit);
        }
        self.rest_removed();
    }

    /// The document of a commit that is gone is what the record says.
    pub(super) fn come_to_rest(&mut self, commit: usize) {
        if self.commits[commit].holder.is_none() {
            self.held.push(Held::Meta(commit));
            self.commits[commit].holder = Some(self.held.len() - 1);
        }
        (self.commits[commit].buffer, self.commits[commit].detached) = (None, None);
    }

    pub(super) fn rest_removed(&mut self) {
        if !self.made.iter().any(|m| m.gone) {
            self.removed_at = None;
        }
    }

    pub(super) fn trash_name(&self, made: usize) -> String {
        let it = &self.made[made];
        let commit = &self.commits[it.commit];
        match it.kind {
            MadeKind::Commit => commit.name.clone(),
            MadeKind::Session => format!("{}__{}", commit.name, it.name),
            _ => {
                let turns = it.parent.and_then(|turns| self.made[turns].parent).unwrap();
                format!("{}__{}", self.made[turns].name, it.name)
            }
        }
    }

    pub(super) fn free_trash_name(&self, wanted: &str, made: usize) -> String {
        let taken = |name: &str| self.trash.iter().any(|t| t.listed && t.made != made && t.name == name);
        if !taken(wanted) {
            return wanted.to_owned();
        }
        // The digits of sessions' and turns' ids are not modelled: such names are taken from the mount.
        format!("{wanted}_{}", self.commits[self.made[made].commit].id.replace('-', "").get(..6).unwrap())
    }

    /// A file manager notes the name that it gives: what has it in `.cogfs/trash/` alone gets a number behind.
    pub(super) fn give_way(&mut self, name: &str) {
        let Some(unseen) = self.trash.iter().position(|t| t.listed && !t.by_manager && t.name == name) else { return };
        let (number, mut more) = (self.trash[unseen].number, 0);
        let mut free = format!("{name}_{number}");
        while self.trash.iter().any(|t| t.listed && t.name == free) {
            more += 1;
            free = format!("{name}_{number}.{more}");
        }
        self.trash[unseen].name = free;
    }

    /// Whether removing what is at a path could give a turn a name in the trash that another one has: it then has digits behind
    /// that are not modelled.
    pub fn would_collide(&self, path: &str) -> bool {
        let Ok(Node::Made(made)) = self.resolve(path) else { return false };
        let turns =
            |of: Vec<usize>| of.into_iter().filter(|m| self.made[*m].kind == MadeKind::Turn).collect::<Vec<_>>();
        let new = turns(self.below(made));
        let pending = (0..self.made.len()).filter(|m| self.made[*m].gone && !new.contains(m)).collect();
        let mut names: BTreeSet<String> = self.trash.iter().filter(|t| t.listed).map(|t| t.name.clone()).collect();
        names.extend(turns(pending).into_iter().map(|turn| self.trash_name(turn)));
        new.into_iter().any(|turn| !names.insert(self.trash_name(turn)))
    }

    pub(super) fn empty(&mut self, made: usize) {
        for part in self.below(made) {
            self.made[part].gone = false;
        }
        if let Some(trashed) = self.trash.iter_mut().find(|t| t.made == made) {
            trashed.listed = false;
        }
        if self.made[made].kind == MadeKind::Commit {
            self.come_to_rest(self.made[made].commit);
        }
        self.rest_removed();
    }

    pub(super) fn undelete(&mut self, made: usize) {
        self.made[made].deleted = false;
        self.trash.retain(|t| t.made != made);
        self.note(self.subject(made), "restore");
    }

    /// Out of the trash, under the name it had, or one made anew where another has it.
    pub(super) fn bring_back(&mut self, commit: usize) {
        let (project, name) = (self.commits[commit].project, self.commits[commit].name.clone());
        let taken =
            |(at, c): (usize, &Commit)| at != commit && c.project == project && c.name == name && !self.is_deleted(at);
        if self.commits.iter().enumerate().any(taken) {
            let title = self.shown(commit).title;
            let name = self.free_name(commit, &title);
            self.place(commit, project, &name);
        }
        self.undelete(self.commits[commit].root);
    }
}
