//! What the model says is there: bytes, listings, and the paths that an operation may be given.

use std::collections::BTreeMap;

use super::{Held, Look, MadeKind, Model, Node, Scratch, Seen, Shown, quoted};
use crate::ops::Op;

impl Model {
    pub fn shown(&self, commit: usize) -> Shown {
        let c = &self.commits[commit];
        Shown {
            title: c.title.clone().unwrap_or_else(|| c.found.clone()).trim().to_owned(),
            tags: c.tags.clone(),
            hidden: c.hidden,
            published: c.published,
            order: c.order,
            project: self.projects[c.project].clone(),
            note: c.note.clone(),
        }
    }

    pub(super) fn rendering(&self, commit: usize) -> String {
        let c = &self.commits[commit];
        let tags: Vec<String> = c.tags.iter().map(|tag| quoted(tag)).collect();
        let title = c.title.as_ref().unwrap_or(&c.found);
        let mut text = format!(
            "---\ntitle: {}\ntags: [{}]\nhidden: {}\npublished: {}\norder: {}\nproject: {}\n---\n",
            quoted(title),
            tags.join(", "),
            c.hidden,
            c.published,
            c.order,
            quoted(&self.projects[c.project]),
        );
        if !c.note.is_empty() {
            text.push_str(&format!("\n{}\n", c.note));
        }
        text
    }

    pub(super) fn text(&self, commit: usize) -> Vec<u8> {
        if let Some(buffer) = &self.commits[commit].buffer {
            return buffer.bytes.clone();
        }
        let rendering = self.rendering(commit);
        match &self.commits[commit].saved {
            Some((bytes, then)) if *then == rendering => bytes.clone(),
            _ => rendering.into_bytes(),
        }
    }

    pub(super) fn bytes_of(&self, held: usize) -> Vec<u8> {
        match &self.held[held] {
            Held::Bytes(bytes) => bytes.clone(),
            Held::Meta(commit) => self.text(*commit),
        }
    }

    pub(super) fn seen(&self, node: &Node) -> Seen {
        match node {
            Node::Meta(commit) => Seen::Bytes(self.text(*commit)),
            Node::Draft(commit) => Seen::Bytes(self.commits[*commit].draft.clone().unwrap_or_default()),
            Node::Scratch(place, path) => match &self.scratch[&(*place, path.clone())] {
                Scratch::Dir => Seen::Dir,
                Scratch::Link => Seen::Link,
                Scratch::File(held) => Seen::Bytes(self.bytes_of(*held)),
            },
            Node::Former(..) | Node::Other(true) => Seen::Link,
            node if self.is_dir(node) => Seen::Dir,
            _ => Seen::Made,
        }
    }

    /// Everything below a path; as much of it as is looked at.
    pub fn dump(&self, path: &str, look: &Look) -> BTreeMap<String, Seen> {
        let mut out = BTreeMap::new();
        if let Ok(node) = self.resolve(path) {
            self.dump_into(path, &node, look, &mut out);
        }
        out
    }

    pub(super) fn dump_into(&self, path: &str, node: &Node, look: &Look, out: &mut BTreeMap<String, Seen>) {
        for (name, child) in self.children(node) {
            let path = format!("{path}/{name}");
            let kind = if let Node::Made(made) = &child { Some(self.made[*made].kind) } else { None };
            let is_commit = kind == Some(MadeKind::Commit);
            out.insert(path.clone(), self.seen(&child));
            if self.is_dir(&child) && look.enters(&path, is_commit, kind.is_some() && !is_commit) {
                self.dump_into(&path, &child, look, out);
            }
        }
    }

    pub fn dirs_and_files(&self) -> (Vec<String>, Vec<String>) {
        let (mut dirs, mut files) = (Vec::new(), Vec::new());
        for root in ["projects".to_owned(), ".cogfs/trash".to_owned(), format!("{}/files", self.manager_dir)] {
            dirs.push(root.clone());
            for (path, seen) in self.dump(&root, &Look::Deep) {
                if seen == Seen::Dir { dirs.push(path) } else { files.push(path) }
            }
        }
        (dirs, files)
    }

    pub fn commit_dirs(&self) -> Vec<String> {
        let mut dirs = Vec::new();
        for (_, c) in self.commits.iter().enumerate().filter(|(at, _)| !self.is_deleted(*at)) {
            let hidden = if c.hidden { "hidden/" } else { "" };
            dirs.push(format!("projects/{}/{hidden}{}", self.projects[c.project], c.name));
        }
        let commits = self.trash.iter().filter(|t| t.listed && self.made[t.made].kind == MadeKind::Commit);
        dirs.extend(commits.map(|t| format!(".cogfs/trash/{}", t.name)));
        dirs
    }

    /// The commits that an operation names; `None`: any may change.
    pub fn commits_in(&self, op: &Op) -> Option<Vec<usize>> {
        let mut paths: Vec<&str> = match op {
            Op::Create { path, .. } | Op::Write { path, .. } | Op::Truncate { path, .. } => vec![path],
            Op::Mkdir { path } | Op::Symlink { path } | Op::Unlink { path } | Op::Rmdir { path } => vec![path],
            Op::RemoveTree { path } | Op::Fsync { path } | Op::Open { path } => vec![path],
            Op::Rename { from, to, .. } => vec![from, to],
            Op::Save { dir, .. } => vec![dir],
            Op::Close { .. } | Op::Forget => Vec::new(),
            // What an import brings shows a moment later, in whatever commit: it is waited for.
            _ => return None,
        };
        let mut found = Vec::new();
        while let Some(path) = paths.pop() {
            found.extend(self.commit_at(path));
            paths.extend(path.rsplit_once('/').map(|(above, _)| above));
        }
        Some(found)
    }

    /// Where commits lie.
    pub fn paths_of(&self, commits: &[usize]) -> Vec<String> {
        let paths = self.commit_dirs();
        paths.into_iter().filter(|path| self.commit_at(path).is_some_and(|at| commits.contains(&at))).collect()
    }

    /// The notes in a file manager's `info/` follow by themselves, a while later: they are not looked at here.
    pub fn roots(&self) -> [String; 4] {
        ["projects".into(), ".cogfs/trash".into(), ".cogfs/drafts".into(), format!("{}/files", self.manager_dir)]
    }

    /// Names that are found and not listed.
    pub fn former_names(&self) -> Vec<(String, String)> {
        self.former.iter().map(|((project, name), _)| (self.projects[*project].clone(), name.clone())).collect()
    }

    /// Whether a path is that of a file made from the conversation.
    pub fn is_made(&self, path: &str) -> bool {
        self.resolve(path).is_ok_and(|node| self.seen(&node) == Seen::Made)
    }

    pub fn commit_at(&self, dir: &str) -> Option<usize> {
        match self.resolve(dir) {
            Ok(Node::Made(made)) if self.made[made].kind == MadeKind::Commit => Some(self.made[made].commit),
            _ => None,
        }
    }
}
