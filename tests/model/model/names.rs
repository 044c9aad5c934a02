//! What is called what: the directories of the model, and what has a name in them.

use libc::{ENAMETOOLONG, ENOENT, ENOTDIR};

use super::{Commit, Made, MadeKind, Model, Node, Place, Result, Scratch};

impl Model {
    pub(super) fn is_deleted(&self, commit: usize) -> bool {
        self.made[self.commits[commit].root].deleted
    }

    /// Whether a thing, or what it is a part of, is in the trash.
    pub(super) fn in_trash(&self, made: usize) -> bool {
        self.made[made].deleted || self.made[made].parent.is_some_and(|parent| self.in_trash(parent))
    }

    pub(super) fn is_listed(&self, made: usize) -> bool {
        let it = &self.made[made];
        let emptied = matches!(it.name.as_str(), "subagents") && {
            let below = |m: &&Made| m.parent == Some(made) && !m.deleted;
            !self.made.iter().any(|m| below(&m))
        };
        !it.gone && !it.deleted && !emptied
    }

    pub(super) fn children(&self, node: &Node) -> Vec<(String, Node)> {
        let fixed =
            |names: &[&'static str]| names.iter().map(|n| ((*n).to_owned(), Node::Fixed(n))).collect::<Vec<_>>();
        match node {
            Node::Fixed("") => {
                let mut all = fixed(&[".cogfs", "projects"]);
                all.extend(["README.md", ".ignore"].map(|n| (n.to_owned(), Node::Other(false))));
                all.push(("by".to_owned(), Node::Fixed("by")));
                all
            }
            Node::Fixed(".cogfs") => {
                let mut all = fixed(&["trash", "drafts", "conflicts"]);
                all.extend(["status.json", "errors.jsonl", "queue.jsonl"].map(|n| (n.to_owned(), Node::Other(false))));
                all.push(("ctl".to_owned(), Node::Fixed("ctl")));
                all
            }
            Node::Fixed("manager") => {
                ["files", "info", "expunged"].map(|name| (name.to_owned(), Node::Fixed(name))).to_vec()
            }
            Node::Fixed("info") => self.scratch_in(None, ""),
            Node::Fixed(name @ ("trash" | "files")) => {
                let listed = self.trash.iter().filter(|t| t.listed && (*name == "trash" || t.by_manager));
                let there = listed.filter(|t| !self.made[t.made].gone);
                there.map(|t| (t.name.clone(), Node::Made(t.made))).collect()
            }
            Node::Fixed("drafts") => {
                let drafts = self.commits.iter().enumerate().filter(|(_, c)| c.draft.is_some());
                drafts.map(|(at, c)| (format!("{}.md", c.id), Node::Draft(at))).collect()
            }
            Node::Fixed("projects") => {
                self.projects.iter().enumerate().map(|(at, name)| (name.clone(), Node::Project(at))).collect()
            }
            Node::Project(project) => {
                let mut all = vec![("project.json".to_owned(), Node::Other(false))];
                all.extend(self.in_project(*project, false));
                if self
                    .commits
                    .iter()
                    .enumerate()
                    .any(|(at, c)| c.project == *project && !c.hidden && !self.is_deleted(at))
                {
                    all.push(("latest".to_owned(), Node::Other(true)));
                }
                if self
                    .commits
                    .iter()
                    .enumerate()
                    .any(|(at, c)| c.project == *project && c.hidden && !self.is_deleted(at))
                {
                    all.push(("hidden".to_owned(), Node::Hidden(*project)));
                }
                all
            }
            Node::Hidden(project) => self.in_project(*project, true),
            Node::Made(made) => {
                let listed = |(at, m): &(usize, &Made)| m.parent == Some(*made) && self.is_listed(*at);
                let there = self.made.iter().enumerate().filter(listed);
                let mut all: Vec<_> = there.map(|(at, m)| (m.name.clone(), Node::Made(at))).collect();
                if self.made[*made].kind == MadeKind::Commit {
                    let commit = self.made[*made].commit;
                    if self.commits[commit].holder.is_some() {
                        all.push(("meta.md".to_owned(), Node::Meta(commit)));
                    }
                    all.extend(self.scratch_in(Some(commit), ""));
                }
                all
            }
            Node::Scratch(place, path) if self.scratch.get(&(*place, path.clone())) == Some(&Scratch::Dir) => {
                self.scratch_in(*place, &format!("{path}/"))
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn in_project(&self, project: usize, hidden: bool) -> Vec<(String, Node)> {
        let lies = |(at, c): &(usize, &Commit)| c.project == project && c.hidden == hidden && !self.is_deleted(*at);
        self.commits.iter().enumerate().filter(lies).map(|(_, c)| (c.name.clone(), Node::Made(c.root))).collect()
    }

    pub(super) fn scratch_in(&self, place: Place, front: &str) -> Vec<(String, Node)> {
        let of_place = self.scratch.keys().filter(|(p, _)| *p == place);
        let direct = of_place.filter_map(|(_, path)| path.strip_prefix(front).filter(|rest| !rest.contains('/')));
        direct.map(|name| (name.to_owned(), Node::Scratch(place, format!("{front}{name}")))).collect()
    }

    pub(super) fn is_dir(&self, node: &Node) -> bool {
        match node {
            Node::Fixed(name) => *name != "ctl",
            Node::Project(_) | Node::Hidden(_) => true,
            Node::Made(made) => !matches!(self.made[*made].kind, MadeKind::File | MadeKind::Turn),
            Node::Scratch(place, path) => self.scratch[&(*place, path.clone())] == Scratch::Dir,
            Node::Meta(_) | Node::Former(..) | Node::Draft(_) | Node::Other(_) => false,
        }
    }

    pub(super) fn child(&self, dir: &Node, name: &str) -> Option<Node> {
        match (dir, name) {
            (Node::Fixed(""), name) if name == self.manager_dir => return Some(Node::Fixed("manager")),
            (Node::Project(project), "hidden") => return Some(Node::Hidden(*project)),
            _ => {}
        }
        if let Some((_, node)) = self.children(dir).into_iter().find(|(n, _)| n == name) {
            return Some(node);
        }
        let Node::Project(project) = dir else { return None };
        let commit = *self.former.get(&(*project, name.to_owned()))?;
        let leads = self.commits[commit].project == *project && !self.is_deleted(commit);
        leads.then(|| Node::Former(*project, name.to_owned()))
    }

    pub(super) fn resolve(&self, path: &str) -> Result<Node> {
        let mut at = Node::Fixed("");
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !self.is_dir(&at) {
                return Err(ENOTDIR);
            }
            if name.len() > 255 {
                return Err(ENAMETOOLONG);
            }
            at = self.child(&at, name).ok_or(ENOENT)?;
        }
        Ok(at)
    }

    /// The directories that a path leads through: what lies in both trashes is one, by either name.
    pub(super) fn above(&self, path: &str) -> Vec<Node> {
        let ends = path.match_indices('/').map(|(end, _)| &path[..end]);
        ends.filter_map(|dir| self.resolve(dir).ok()).collect()
    }

    /// The directory of a path, its name, and what has that name.
    pub(super) fn end<'a>(&self, path: &'a str) -> Result<(Node, &'a str, Option<Node>)> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = self.resolve(dir)?;
        if !self.is_dir(&dir) {
            return Err(ENOTDIR);
        }
        if name.len() > 255 {
            return Err(ENAMETOOLONG);
        }
        let there = self.child(&dir, name);
        Ok((dir, name, there))
    }

    /// Where scratch files of a directory lie.
    pub(super) fn scratch_dir(&self, dir: &Node) -> Option<(Place, String)> {
        match dir {
            Node::Made(made) if self.made[*made].kind == MadeKind::Commit => {
                Some((Some(self.made[*made].commit), String::new()))
            }
            Node::Fixed("info") => Some((None, String::new())),
            Node::Scratch(place, path) if self.is_dir(dir) => Some((*place, format!("{path}/"))),
            _ => None,
        }
    }

    /// Whether a name is one that the tree makes in a directory, though it is not there at the moment.
    pub(super) fn is_made_name(&self, dir: &Node, name: &str) -> bool {
        let Node::Made(made) = dir else { return false };
        self.made.iter().any(|m| m.parent == Some(*made) && m.name == name && m.gone)
    }
}
