//! What the mount promises, as plain data in memory: written from docs/SEMANTICS.md, "Writing", and from rename(2) and its like,
//! not from the program. Every operation answers with the errno that is promised, and [`Model::dump`] says what is then there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use cogfs::curation::front_matter::{self, Document as Parsed, Field};
use libc::{EEXIST, EFBIG, EINVAL, EIO, EISDIR, ENAMETOOLONG, ENOENT, ENOTDIR, ENOTEMPTY, EPERM, EXDEV};

use super::ops::{How, Mode, Op};

pub type Result<T> = std::result::Result<T, i32>;

/// After so long without another the names that were removed are settled, and a valid document is the record.
pub const QUIET_REMOVED: Duration = Duration::from_millis(300);
pub const QUIET_VALID: Duration = Duration::from_millis(200);
/// After so long what is not valid is told; what was moved away is back; the record is shown again.
pub const QUIET_INVALID: Duration = Duration::from_secs(2);
pub const DETACHED: Duration = Duration::from_secs(5);
pub const SHOWN_INVALID: Duration = Duration::from_secs(600);

const MOST_BYTES: usize = 1024 * 1024;

/// What the mount says is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Dir,
    Link,
    /// Made from the conversation: its length is that of its contents.
    Made,
    Bytes(Vec<u8>),
}

/// How much is looked at.
#[derive(Debug, Clone)]
pub enum Look {
    /// Names of commits, and what is directly in these of their directories.
    Into(Vec<String>),
    /// The same of all of them.
    IntoAll,
    Deep,
}

impl Look {
    /// Whether to go into a directory.
    pub fn enters(&self, path: &str, is_commit: bool, is_part: bool) -> bool {
        match self {
            Look::Into(dirs) => !is_part && (!is_commit || dirs.iter().any(|dir| dir == path)),
            Look::IntoAll => !is_part,
            Look::Deep => true,
        }
    }
}

/// A thing made from the conversation: a directory or a file of a commit.
#[derive(Debug, Clone)]
pub struct Made {
    pub name: String,
    pub parent: Option<usize>,
    pub commit: usize,
    pub kind: MadeKind,
    /// Removed a moment ago.
    pub gone: bool,
    pub deleted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeKind {
    Commit,
    Dir,
    Session,
    File,
    Turn,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub title: String,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: i64,
    pub project: String,
    pub note: String,
}

#[derive(Debug, Clone)]
struct Buffer {
    bytes: Vec<u8>,
    written: Instant,
    refused: bool,
}

#[derive(Debug, Clone)]
pub struct Commit {
    pub id: String,
    /// The time in front of its name.
    pub start: String,
    pub found: String,
    pub title: Option<String>,
    pub project: usize,
    pub name: String,
    link: String,
    pub tags: Vec<String>,
    pub hidden: bool,
    pub published: bool,
    pub order: i64,
    pub note: String,
    root: usize,
    holder: Option<usize>,
    buffer: Option<Buffer>,
    detached: Option<Instant>,
    /// The bytes of the last save, and what the record was rendered as then.
    saved: Option<(Vec<u8>, String)>,
    draft: Option<Vec<u8>>,
    /// The draft is of a document that was refused: it stays when its editor puts the former one back.
    is_refused: bool,
}

#[derive(Debug, Clone)]
struct Trashed {
    /// Counts all that was ever deleted.
    number: usize,
    made: usize,
    name: String,
    listed: bool,
    by_manager: bool,
}

/// What a program made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Scratch {
    Dir,
    Link,
    File(usize),
}

/// What the kernel knows by a number of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Held {
    Bytes(Vec<u8>),
    Meta(usize),
}

/// The place of scratch files: a commit, or the info directory of a file manager's trash.
type Place = Option<usize>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Fixed(&'static str),
    Project(usize),
    Hidden(usize),
    Made(usize),
    Meta(usize),
    Scratch(Place, String),
    Former(usize, String),
    Draft(usize),
    /// A link or file of the tree that nothing is done with.
    Other(bool),
}

#[derive(Debug, Clone)]
pub struct Model {
    pub projects: Vec<String>,
    pub commits: Vec<Commit>,
    pub made: Vec<Made>,
    trash: Vec<Trashed>,
    deletions: usize,
    scratch: BTreeMap<(Place, String), Scratch>,
    held: Vec<Held>,
    pub handles: Vec<Option<Handle>>,
    former: BTreeMap<(usize, String), usize>,
    removed_at: Option<Instant>,
    /// What the editor was shown of a document last.
    readings: BTreeMap<usize, Shown>,
    manager_dir: String,
}

#[derive(Debug, Clone)]
pub enum Handle {
    Held(usize),
    Made,
}

/// A commit as a new world has it.
pub struct Start {
    pub id: String,
    pub title: String,
    pub project: String,
    pub name: String,
    /// Paths below its directory, directories before what is in them.
    pub paths: Vec<(String, bool)>,
}

fn is_turn(path: &[&str]) -> bool {
    path.len() > 1 && path[path.len() - 2] == "turns"
}

fn is_session(path: &[&str]) -> bool {
    path.len() > 1 && matches!(path[path.len() - 2], "sessions" | "subagents")
}

fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    out.trim_end_matches('-').to_owned()
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn splice(bytes: &mut Vec<u8>, offset: usize, new: &[u8]) {
    let end = offset + new.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(new);
}

impl Model {
    pub fn new(starts: Vec<Start>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let mut model = Self {
            projects: Vec::new(),
            commits: Vec::new(),
            made: Vec::new(),
            trash: Vec::new(),
            deletions: 0,
            scratch: BTreeMap::new(),
            held: Vec::new(),
            handles: Vec::new(),
            former: BTreeMap::new(),
            removed_at: None,
            readings: BTreeMap::new(),
            manager_dir: format!(".Trash-{uid}"),
        };
        for start in starts {
            model.add(start);
        }
        model.reopened();
        model
    }

    fn add(&mut self, start: Start) {
        let project = match self.projects.iter().position(|name| *name == start.project) {
            Some(at) => at,
            None => {
                self.projects.push(start.project);
                self.projects.len() - 1
            }
        };
        let (commit, root) = (self.commits.len(), self.made.len());
        let made = |name: &str, parent, kind| Made {
            name: name.to_owned(),
            parent,
            commit,
            kind,
            gone: false,
            deleted: false,
        };
        self.made.push(made("", None, MadeKind::Commit));
        let mut known = BTreeMap::from([(String::new(), root)]);
        for (path, is_dir) in start.paths.iter().filter(|(path, _)| path != "meta.md") {
            let parts: Vec<&str> = path.split('/').collect();
            let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
            let kind = match (*is_dir, is_turn(&parts), is_session(&parts)) {
                (true, _, true) => MadeKind::Session,
                (true, ..) => MadeKind::Dir,
                (false, true, _) => MadeKind::Turn,
                (false, ..) => MadeKind::File,
            };
            known.insert(path.clone(), self.made.len());
            self.made.push(made(name, Some(known[above]), kind));
        }
        self.held.push(Held::Meta(commit));
        self.commits.push(Commit {
            start: start.name[..21].to_owned(),
            id: start.id,
            found: start.title,
            title: None,
            project,
            link: start.name.clone(),
            name: start.name,
            tags: Vec::new(),
            hidden: false,
            published: false,
            order: 0,
            note: String::new(),
            root,
            holder: Some(self.held.len() - 1),
            buffer: None,
            detached: None,
            saved: None,
            draft: None,
            is_refused: false,
        });
    }

    // --- names ---------------------------------------------------------------------------------------------------------------

    fn is_deleted(&self, commit: usize) -> bool {
        self.made[self.commits[commit].root].deleted
    }

    /// Whether a thing, or what it is a part of, is in the trash.
    fn in_trash(&self, made: usize) -> bool {
        self.made[made].deleted || self.made[made].parent.is_some_and(|parent| self.in_trash(parent))
    }

    fn is_listed(&self, made: usize) -> bool {
        let it = &self.made[made];
        let emptied = matches!(it.name.as_str(), "subagents") && {
            let below = |m: &&Made| m.parent == Some(made) && !m.deleted;
            !self.made.iter().any(|m| below(&m))
        };
        !it.gone && !it.deleted && !emptied
    }

    fn children(&self, node: &Node) -> Vec<(String, Node)> {
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
                let mut all = fixed(&["trash", "drafts"]);
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

    fn in_project(&self, project: usize, hidden: bool) -> Vec<(String, Node)> {
        let lies = |(at, c): &(usize, &Commit)| c.project == project && c.hidden == hidden && !self.is_deleted(*at);
        self.commits.iter().enumerate().filter(lies).map(|(_, c)| (c.name.clone(), Node::Made(c.root))).collect()
    }

    fn scratch_in(&self, place: Place, front: &str) -> Vec<(String, Node)> {
        let of_place = self.scratch.keys().filter(|(p, _)| *p == place);
        let direct = of_place.filter_map(|(_, path)| path.strip_prefix(front).filter(|rest| !rest.contains('/')));
        direct.map(|name| (name.to_owned(), Node::Scratch(place, format!("{front}{name}")))).collect()
    }

    fn is_dir(&self, node: &Node) -> bool {
        match node {
            Node::Fixed(name) => *name != "ctl",
            Node::Project(_) | Node::Hidden(_) => true,
            Node::Made(made) => !matches!(self.made[*made].kind, MadeKind::File | MadeKind::Turn),
            Node::Scratch(place, path) => self.scratch[&(*place, path.clone())] == Scratch::Dir,
            Node::Meta(_) | Node::Former(..) | Node::Draft(_) | Node::Other(_) => false,
        }
    }

    fn child(&self, dir: &Node, name: &str) -> Option<Node> {
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

    fn resolve(&self, path: &str) -> Result<Node> {
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

    /// The directory of a path, its name, and what has that name.
    fn end<'a>(&self, path: &'a str) -> Result<(Node, &'a str, Option<Node>)> {
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
    fn scratch_dir(&self, dir: &Node) -> Option<(Place, String)> {
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
    fn is_made_name(&self, dir: &Node, name: &str) -> bool {
        let Node::Made(made) = dir else { return false };
        self.made.iter().any(|m| m.parent == Some(*made) && m.name == name && m.gone)
    }

    // --- what is seen --------------------------------------------------------------------------------------------------------

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

    fn rendering(&self, commit: usize) -> String {
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

    fn text(&self, commit: usize) -> Vec<u8> {
        if let Some(buffer) = &self.commits[commit].buffer {
            return buffer.bytes.clone();
        }
        let rendering = self.rendering(commit);
        match &self.commits[commit].saved {
            Some((bytes, then)) if *then == rendering => bytes.clone(),
            _ => rendering.into_bytes(),
        }
    }

    fn bytes_of(&self, held: usize) -> Vec<u8> {
        match &self.held[held] {
            Held::Bytes(bytes) => bytes.clone(),
            Held::Meta(commit) => self.text(*commit),
        }
    }

    fn seen(&self, node: &Node) -> Seen {
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

    fn dump_into(&self, path: &str, node: &Node, look: &Look, out: &mut BTreeMap<String, Seen>) {
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
            Op::Import { .. } | Op::Close { .. } | Op::Forget => Vec::new(),
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

    pub fn commit_at(&self, dir: &str) -> Option<usize> {
        match self.resolve(dir) {
            Ok(Node::Made(made)) if self.made[made].kind == MadeKind::Commit => Some(self.made[made].commit),
            _ => None,
        }
    }

    // --- operations ----------------------------------------------------------------------------------------------------------

    pub fn apply(&mut self, op: &Op, now: Instant) -> Result<()> {
        match op {
            Op::Create { path, exclusive } => self.create(path, *exclusive, now).map(drop),
            Op::Mkdir { path } => self.make(path, Scratch::Dir),
            Op::Symlink { path } => self.make(path, Scratch::Link),
            Op::Unlink { path } => self.unlink(path, now),
            Op::Rmdir { path } => self.rmdir(path, now),
            Op::RemoveTree { path } => self.remove_tree(path, now),
            Op::Rename { from, to, mode } => self.rename(from, to, *mode, now),
            Op::Write { path, offset, bytes } => {
                let held = self.open(path)?;
                self.write(held, *offset, &bytes.0, now)
            }
            Op::Truncate { path, size } => {
                let held = self.open(path)?;
                self.truncate(held, *size, now)
            }
            Op::Fsync { path } => match self.resolve(path)? {
                Node::Meta(commit) => self.publish(commit),
                _ => Ok(()),
            },
            Op::FsyncDir { path } => {
                let node = self.resolve(path)?;
                if !self.is_dir(&node) {
                    return Err(ENOTDIR);
                }
                self.settle_removed();
                Ok(())
            }
            Op::Save { dir, how, text, fresh, sync } => self.save_as(dir, *how, &text.0, *fresh, *sync, now),
            Op::Open { path } => {
                let node = self.resolve(path)?;
                if self.is_dir(&node) || self.seen(&node) == Seen::Link {
                    return Err(EINVAL);
                }
                let handle = match self.open(path) {
                    Ok(Handle::Held(held)) => Handle::Held(held),
                    _ => Handle::Made,
                };
                self.handles.push(Some(handle));
                Ok(())
            }
            Op::WriteOpen { handle, offset, bytes } => match self.handles.get(*handle).cloned().flatten() {
                Some(held) => self.write(held, *offset, &bytes.0, now),
                None => Err(EINVAL),
            },
            Op::Close { handle } => self.handles.get_mut(*handle).ok_or(EINVAL)?.take().map(drop).ok_or(EINVAL),
            Op::Quiet { for_ms } => {
                self.settle(now + Duration::from_millis(*for_ms));
                Ok(())
            }
            Op::Remount => {
                self.finish();
                self.reopened();
                Ok(())
            }
            Op::Kill => {
                self.lose();
                self.reopened();
                Ok(())
            }
            Op::Control { line } => self.control(line),
            Op::Import { log } => {
                self.grow_log(*log);
                Ok(())
            }
            Op::Forget => Ok(()),
        }
    }

    /// What a handle reads; `None` for what is made from the conversation.
    pub fn read_open(&self, handle: usize) -> Option<Vec<u8>> {
        match self.handles.get(handle)?.as_ref()? {
            Handle::Held(held) => Some(self.bytes_of(*held)),
            Handle::Made => None,
        }
    }

    fn open(&self, path: &str) -> Result<Handle> {
        let node = self.resolve(path)?;
        match node {
            Node::Meta(commit) => Ok(Handle::Held(self.commits[commit].holder.ok_or(ENOENT)?)),
            Node::Scratch(place, path) => match self.scratch[&(place, path)] {
                Scratch::File(held) => Ok(Handle::Held(held)),
                _ => Err(EISDIR),
            },
            // Links of the tree lead to directories.
            node if self.is_dir(&node) || self.seen(&node) == Seen::Link => Err(EISDIR),
            _ => Err(EPERM),
        }
    }

    fn create(&mut self, path: &str, exclusive: bool, now: Instant) -> Result<Option<usize>> {
        let (dir, name, there) = self.end(path)?;
        if let Some(node) = there {
            return match (exclusive, self.is_dir(&node)) {
                (true, _) => Err(EEXIST),
                (false, true) => Err(EISDIR),
                (false, false) => Ok(None),
            };
        }
        let (place, front) = self.scratch_dir(&dir).ok_or(EPERM)?;
        if let (Some(commit), "", "meta.md") = (place, front.as_str(), name) {
            self.held.push(Held::Meta(commit));
            let c = &mut self.commits[commit];
            (c.holder, c.detached) = (Some(self.held.len() - 1), None);
            c.buffer = Some(Buffer { bytes: Vec::new(), written: now, refused: false });
            return Ok(c.holder);
        }
        if self.is_made_name(&dir, name) {
            return Err(EPERM);
        }
        self.held.push(Held::Bytes(Vec::new()));
        let held = self.held.len() - 1;
        self.scratch.insert((place, format!("{front}{name}")), Scratch::File(held));
        Ok(Some(held))
    }

    fn make(&mut self, path: &str, what: Scratch) -> Result<()> {
        let (dir, name, there) = self.end(path)?;
        if there.is_some() {
            return Err(EEXIST);
        }
        let (place, front) = self.scratch_dir(&dir).ok_or(EPERM)?;
        let is_document = place.is_some() && front.is_empty() && name == "meta.md";
        if is_document || self.is_made_name(&dir, name) {
            return Err(EPERM);
        }
        if what == Scratch::Dir && front.matches('/').count() >= 64 {
            return Err(ENAMETOOLONG);
        }
        self.scratch.insert((place, format!("{front}{name}")), what);
        Ok(())
    }

    fn unlink(&mut self, path: &str, now: Instant) -> Result<()> {
        let (dir, _, there) = self.end(path)?;
        let node = there.ok_or(ENOENT)?;
        if self.is_dir(&node) {
            return Err(EISDIR);
        }
        match node {
            Node::Scratch(place, path) => {
                self.scratch.remove(&(place, path));
                Ok(())
            }
            Node::Meta(commit) => {
                let former = self.text(commit);
                let held = self.detach(commit, now)?;
                self.held[held] = Held::Bytes(former);
                self.removed_at = Some(now);
                Ok(())
            }
            Node::Draft(commit) => {
                self.commits[commit].draft = None;
                Ok(())
            }
            Node::Former(project, name) => {
                self.former.remove(&(project, name));
                Ok(())
            }
            Node::Made(made) if matches!(dir, Node::Fixed("trash" | "files")) => {
                self.empty(made);
                Ok(())
            }
            Node::Made(made) => {
                self.made[made].gone = true;
                self.removed_at = Some(now);
                Ok(())
            }
            _ => Err(EPERM),
        }
    }

    fn rmdir(&mut self, path: &str, now: Instant) -> Result<()> {
        let (dir, _, there) = self.end(path)?;
        let node = there.ok_or(ENOENT)?;
        if !self.is_dir(&node) {
            return Err(ENOTDIR);
        }
        let empty = self.children(&node).is_empty();
        match node {
            Node::Scratch(..) | Node::Made(_) if !empty => Err(ENOTEMPTY),
            Node::Scratch(place, path) => {
                self.scratch.remove(&(place, path));
                Ok(())
            }
            Node::Made(made) if matches!(dir, Node::Fixed("trash" | "files")) => {
                self.empty(made);
                Ok(())
            }
            Node::Made(made) => {
                match self.made[made].kind {
                    MadeKind::Commit | MadeKind::Session if !self.in_trash(made) => self.delete(made, None, false),
                    _ => {
                        self.made[made].gone = true;
                        self.removed_at = Some(now);
                    }
                }
                Ok(())
            }
            _ => Err(EPERM),
        }
    }

    /// `rm -r`: everything that can go goes; the first refusal ends it.
    fn remove_tree(&mut self, path: &str, now: Instant) -> Result<()> {
        let node = self.resolve(path)?;
        if !self.is_dir(&node) {
            return self.unlink(path, now);
        }
        let mut names: Vec<String> = self.children(&node).into_iter().map(|(name, _)| name).collect();
        names.sort();
        for name in names {
            match self.remove_tree(&format!("{path}/{name}"), now) {
                // A directory that went with the last thing in it.
                Err(ENOENT) => {}
                other => other?,
            }
        }
        match self.rmdir(path, now) {
            Err(ENOENT) => Ok(()),
            other => other,
        }
    }

    fn below(&self, made: usize) -> Vec<usize> {
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
    fn delete(&mut self, made: usize, typed: Option<&str>, by_manager: bool) {
        let below = self.below(made);
        for part in &below {
            // Whoever removes a directory removed first what was in it.
            if typed.is_none() {
                self.made[*part].gone = false;
            }
            if *part != made && self.made[*part].deleted {
                self.made[*part].deleted = false;
                self.trash.retain(|t| t.made != *part);
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
        if self.made[made].kind == MadeKind::Commit && typed.is_none() {
            self.come_to_rest(self.made[made].commit);
        }
        self.rest_removed();
    }

    /// The document of a commit that is gone is what the record says.
    fn come_to_rest(&mut self, commit: usize) {
        if self.commits[commit].holder.is_none() {
            self.held.push(Held::Meta(commit));
            self.commits[commit].holder = Some(self.held.len() - 1);
        }
        (self.commits[commit].buffer, self.commits[commit].detached) = (None, None);
    }

    fn rest_removed(&mut self) {
        if !self.made.iter().any(|m| m.gone) {
            self.removed_at = None;
        }
    }

    fn trash_name(&self, made: usize) -> String {
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

    fn free_trash_name(&self, wanted: &str, made: usize) -> String {
        let taken = |name: &str| self.trash.iter().any(|t| t.listed && t.made != made && t.name == name);
        if !taken(wanted) {
            return wanted.to_owned();
        }
        // The digits of sessions' and turns' ids are not modelled: such names are taken from the mount.
        format!("{wanted}_{}", self.commits[self.made[made].commit].id.replace('-', "").get(..6).unwrap())
    }

    /// A file manager notes the name that it gives: what has it in `.cogfs/trash/` alone gets a number behind.
    fn give_way(&mut self, name: &str) {
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

    fn empty(&mut self, made: usize) {
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

    fn rename(&mut self, from: &str, to: &str, mode: Mode, now: Instant) -> Result<()> {
        let (from_dir, from_name, source) = self.end(from)?;
        let (to_dir, to_name, target) = self.end(to)?;
        let source = source.ok_or(ENOENT)?;
        match (mode, &target) {
            (Mode::NoReplace, Some(_)) => return Err(EEXIST),
            (Mode::Exchange, None) => return Err(ENOENT),
            _ => {}
        }
        let inside = |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/'));
        if inside(to, from) {
            return Err(EINVAL);
        }
        if inside(from, to) {
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

    fn rename_scratch(
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

    fn save_by_rename(&mut self, from: (Place, String), commit: usize, mode: Mode) -> Result<()> {
        let Scratch::File(held) = self.scratch[&from] else { return Err(EPERM) };
        if from.0 != Some(commit) {
            return Err(EXDEV);
        }
        let bytes = self.bytes_of(held);
        if bytes.len() > MOST_BYTES {
            return Err(EFBIG);
        }
        // What was written before is a save of its own.
        let _ = self.publish(commit);
        let former = self.text(commit);
        self.save(commit, &bytes)?;
        let holder = self.commits[commit].holder;
        self.held[held] = Held::Meta(commit);
        if let Some(holder) = holder {
            self.held[holder] = Held::Bytes(former);
        }
        match (mode, holder) {
            (Mode::Exchange, Some(holder)) => drop(self.scratch.insert(from, Scratch::File(holder))),
            _ => drop(self.scratch.remove(&from)),
        }
        let c = &mut self.commits[commit];
        (c.holder, c.buffer, c.detached) = (Some(held), None, None);
        Ok(())
    }

    fn rename_document(
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

    fn rename_project(
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
            (Some(Node::Project(other)), Mode::Exchange) => self.projects.swap(project, other),
            (None, _) => {
                Self::check_name(name)?;
                name.clone_into(&mut self.projects[project]);
            }
            _ => return Err(ENOTEMPTY),
        }
        Ok(())
    }

    fn check_name(name: &str) -> Result<()> {
        let reserved = ["project.json", "latest", "hidden"].contains(&name);
        if name.starts_with('.') || name.chars().any(char::is_control) || reserved { Err(EPERM) } else { Ok(()) }
    }

    fn rename_made(
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

    fn undelete(&mut self, made: usize) {
        self.made[made].deleted = false;
        self.trash.retain(|t| t.made != made);
    }

    /// Out of the trash, under the name it had, or one made anew where another has it.
    fn bring_back(&mut self, commit: usize) {
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

    /// Where it was moved, under the name that was typed, with the title that the name says.
    fn put(&mut self, commit: usize, (project, hidden): (usize, bool), name: &str) {
        if name != self.commits[commit].name
            && let Some(title) = self.title_of(commit, name)
        {
            self.commits[commit].title = Some(title);
        }
        self.place(commit, project, name);
        self.commits[commit].hidden = hidden;
    }

    /// `None`: the name says no other title.
    fn title_of(&self, commit: usize, name: &str) -> Option<String> {
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

    fn place(&mut self, commit: usize, project: usize, name: &str) {
        self.former.remove(&(project, name.to_owned()));
        (self.commits[commit].project, self.commits[commit].name) = (project, name.to_owned());
        self.relink(commit);
    }

    fn relink(&mut self, commit: usize) {
        let (name, id) = (self.commits[commit].name.clone(), self.commits[commit].id.replace('-', ""));
        let mut free = [name.clone(), format!("{name}_{}", &id[..6]), format!("{name}_{id}")].into_iter();
        let others: BTreeSet<&String> =
            self.commits.iter().enumerate().filter(|(at, _)| *at != commit).map(|(_, c)| &c.link).collect();
        self.commits[commit].link = free.find(|name| !others.contains(name)).unwrap();
    }

    fn free_name(&self, commit: usize, title: &str) -> String {
        let c = &self.commits[commit];
        let (id, slug) = (c.id.replace('-', ""), slug(title));
        let stem = format!("{}{}_", c.start, if slug.is_empty() { "untitled" } else { &slug });
        let wanted = format!("{stem}{}", &id[..6]);
        let taken = self.commits.iter().enumerate().any(|(at, other)| at != commit && other.link == wanted);
        if taken { format!("{stem}{id}") } else { wanted }
    }

    // --- the document --------------------------------------------------------------------------------------------------------

    fn write(&mut self, handle: Handle, offset: usize, new: &[u8], now: Instant) -> Result<()> {
        let Handle::Held(held) = handle else { return Err(EPERM) };
        match &mut self.held[held] {
            Held::Bytes(bytes) => splice(bytes, offset, new),
            Held::Meta(commit) => {
                let commit = *commit;
                if offset + new.len() > MOST_BYTES {
                    return Err(EFBIG);
                }
                let mut bytes = self.text(commit);
                splice(&mut bytes, offset, new);
                self.buffer(commit, bytes, now);
            }
        }
        Ok(())
    }

    fn truncate(&mut self, handle: Handle, size: usize, now: Instant) -> Result<()> {
        let Handle::Held(held) = handle else { return Err(EPERM) };
        match &mut self.held[held] {
            Held::Bytes(bytes) => bytes.resize(size, 0),
            Held::Meta(commit) => {
                let commit = *commit;
                if size > MOST_BYTES {
                    return Err(EFBIG);
                }
                let mut bytes = self.text(commit);
                bytes.resize(size, 0);
                self.buffer(commit, bytes, now);
            }
        }
        Ok(())
    }

    fn buffer(&mut self, commit: usize, bytes: Vec<u8>, now: Instant) {
        if front_matter::parse(&bytes).is_ok() {
            (self.commits[commit].draft, self.commits[commit].is_refused) = (Some(bytes.clone()), false);
        }
        self.commits[commit].buffer = Some(Buffer { bytes, written: now, refused: false });
    }

    fn publish(&mut self, commit: usize) -> Result<()> {
        let Some(buffer) = self.commits[commit].buffer.clone() else { return Ok(()) };
        match self.save(commit, &buffer.bytes) {
            Ok(()) => {
                self.commits[commit].buffer = None;
                Ok(())
            }
            Err(errno) => {
                let c = &mut self.commits[commit];
                if let Some(buffer) = &mut c.buffer {
                    buffer.refused = true;
                }
                if !buffer.bytes.is_empty() {
                    (c.draft, c.is_refused) = (Some(buffer.bytes), true);
                }
                Err(errno)
            }
        }
    }

    fn detach(&mut self, commit: usize, now: Instant) -> Result<usize> {
        let _ = self.publish(commit);
        let c = &mut self.commits[commit];
        (c.buffer, c.detached) = (None, Some(now));
        c.holder.take().ok_or(ENOENT)
    }

    fn save(&mut self, commit: usize, bytes: &[u8]) -> Result<()> {
        let parsed = front_matter::parse(bytes).map_err(|_| EIO)?;
        let base = self.readings[&commit].clone();
        let mut next = self.commits[commit].clone();
        let project = match &parsed.project {
            Some(name) if *name != base.project => self.projects.iter().position(|p| p == name).ok_or(EIO)?,
            _ => next.project,
        };
        // What is typed is compared with what was shown: what differs from it is an edit.
        let mut named = None;
        if let Some(title) = edited(&parsed.title, &base.title) {
            let title = (!matches!(parsed.title, Field::Cleared)).then_some(title);
            if title != next.title {
                named = Some(title.clone().unwrap_or_else(|| next.found.clone()));
                next.title = title;
            }
        }
        next.tags = edited(&parsed.tags, &base.tags).unwrap_or(next.tags);
        next.hidden = edited(&parsed.hidden, &base.hidden).unwrap_or(next.hidden);
        next.published = edited(&parsed.published, &base.published).unwrap_or(next.published);
        next.order = edited(&parsed.order, &base.order).unwrap_or(next.order);
        if parsed.note != base.note {
            next.note = parsed.note.clone();
        }
        let name = named.map_or_else(|| next.name.clone(), |title| self.free_name(commit, &title));
        let taken =
            |(at, c): (usize, &Commit)| at != commit && c.project == project && c.name == name && !self.is_deleted(at);
        if project != next.project && self.commits.iter().enumerate().any(taken) {
            return Err(EIO);
        }
        let (old_project, old_name) = (next.project, next.name.clone());
        let fields = |c: &Commit| (c.title.clone(), c.tags.clone(), c.hidden, c.published, c.order, c.note.clone());
        let changes = fields(&next) != fields(&self.commits[commit]) || project != old_project;
        self.commits[commit] = next;
        if name != old_name {
            self.former.insert((old_project, old_name), commit);
            self.place(commit, old_project, &name);
        }
        if project != old_project {
            self.place(commit, project, &name);
        }
        let rendering = self.rendering(commit);
        // A field that was changed meanwhile is to be seen: then the record is shown, not what was written.
        let now = self.shown(commit);
        let agrees = (edited(&parsed.title, &now.title).is_none()
            || parsed.title == Field::Cleared && self.commits[commit].title.is_none())
            && edited(&parsed.tags, &now.tags).is_none()
            && edited(&parsed.hidden, &now.hidden).is_none()
            && edited(&parsed.published, &now.published).is_none()
            && edited(&parsed.order, &now.order).is_none()
            && parsed.project.as_ref().is_none_or(|project| *project == now.project)
            && parsed.note == now.note;
        self.commits[commit].saved = agrees.then(|| (bytes.to_vec(), rendering));
        if changes || !self.commits[commit].is_refused {
            self.commits[commit].draft = None;
        }
        // Who saved knows what the document says now.
        let said = said(&parsed, now);
        self.readings.insert(commit, said);
        Ok(())
    }

    /// The bytes of a save are read as they were typed, and may say less than the record.
    fn read_by_editor(&mut self, commit: usize) {
        let shown = self.shown(commit);
        let read = front_matter::parse(&self.text(commit)).map(|parsed| said(&parsed, shown.clone()));
        self.readings.insert(commit, read.unwrap_or(shown));
    }

    fn save_as(&mut self, dir: &str, how: How, text: &[u8], fresh: bool, sync: bool, now: Instant) -> Result<()> {
        let path = format!("{dir}/meta.md");
        if fresh {
            match self.resolve(&path)? {
                Node::Meta(commit) if self.commits[commit].buffer.is_none() => self.read_by_editor(commit),
                Node::Meta(_) => {}
                _ => return Err(ENOENT),
            }
        }
        let half = text.len() / 2;
        let new = format!("{dir}/meta.md.new");
        let held = match how {
            How::InPlace => {
                let held = self.open(&path)?;
                self.truncate(held.clone(), 0, now)?;
                self.write(held.clone(), 0, &text[..half], now)?;
                self.write(held.clone(), half, &text[half..], now)?;
                held
            }
            How::WithoutTruncating => {
                let held = self.open(&path)?;
                self.write(held.clone(), 0, text, now)?;
                self.truncate(held.clone(), text.len(), now)?;
                held
            }
            How::Rename => {
                self.create(&new, false, now)?;
                let held = self.open(&new)?;
                self.truncate(held.clone(), 0, now)?;
                self.write(held, 0, text, now)?;
                return self.rename(&new, &path, Mode::Replace, now);
            }
            How::Backup => {
                self.rename(&path, &format!("{path}~"), Mode::Replace, now)?;
                let held = self.create(&path, false, now)?.map(Handle::Held).ok_or(EEXIST)?;
                self.write(held.clone(), 0, text, now)?;
                held
            }
            How::Remove => {
                self.unlink(&path, now)?;
                let held = self.create(&path, true, now)?.map(Handle::Held).ok_or(EEXIST)?;
                self.write(held.clone(), 0, text, now)?;
                held
            }
        };
        match held {
            Handle::Held(held) if sync => match self.held[held] {
                Held::Meta(commit) => self.publish(commit),
                Held::Bytes(_) => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn control(&mut self, line: &str) -> Result<()> {
        match line.split_once(' ') {
            None if line == "refresh" => Ok(()),
            Some(("restore", name)) => {
                let found = self.trash.iter().find(|t| t.listed && t.name == name).ok_or(EINVAL)?.made;
                match self.made[found].kind {
                    MadeKind::Commit => self.bring_back(self.made[found].commit),
                    _ => self.undelete(found),
                }
                Ok(())
            }
            _ => Err(EINVAL),
        }
    }

    // --- time ----------------------------------------------------------------------------------------------------------------

    /// The instants at which something is due, for a driver that must not settle just then.
    pub fn due(&self) -> Vec<Instant> {
        let mut all: Vec<Instant> = self.removed_at.iter().map(|at| *at + QUIET_REMOVED).collect();
        for c in &self.commits {
            let written = c.buffer.iter().map(|b| b.written);
            all.extend(written.flat_map(|at| [QUIET_VALID, QUIET_INVALID, SHOWN_INVALID].map(|quiet| at + quiet)));
            all.extend(c.detached.map(|at| at + DETACHED));
        }
        all
    }

    pub fn settle(&mut self, now: Instant) {
        for commit in 0..self.commits.len() {
            let c = &self.commits[commit];
            if let Some(buffer) = &c.buffer {
                let quiet = now.saturating_duration_since(buffer.written);
                let valid = front_matter::parse(&buffer.bytes).is_ok();
                match buffer.refused {
                    true if quiet >= SHOWN_INVALID => self.commits[commit].buffer = None,
                    false if quiet >= QUIET_INVALID || (valid && quiet >= QUIET_VALID) => drop(self.publish(commit)),
                    _ => {}
                }
            } else if c.detached.is_some_and(|at| now.saturating_duration_since(at) >= DETACHED) {
                self.come_to_rest(commit);
            }
        }
        if self.removed_at.is_some_and(|at| now.saturating_duration_since(at) >= QUIET_REMOVED) {
            self.settle_removed();
        }
    }

    fn settle_removed(&mut self) {
        let gone: Vec<usize> = (0..self.made.len()).filter(|made| self.made[*made].gone).collect();
        for made in gone {
            self.made[made].gone = false;
            if self.made[made].kind == MadeKind::Turn && !self.in_trash(made) {
                self.delete(made, None, false);
            }
        }
        self.removed_at = None;
    }

    fn finish(&mut self) {
        for commit in 0..self.commits.len() {
            let _ = self.publish(commit);
        }
        self.settle_removed();
    }

    fn lose(&mut self) {
        self.made.iter_mut().for_each(|made| made.gone = false);
        self.removed_at = None;
    }

    fn reopened(&mut self) {
        self.handles.clear();
        for commit in 0..self.commits.len() {
            self.come_to_rest(commit);
            self.read_by_editor(commit);
        }
    }

    /// A log has a prompt more. The logs that grow are told by their first prompts, which are their commits' titles.
    fn grow_log(&mut self, log: usize) {
        let found = format!("Paint the boat {}", log + 1);
        let commit = self.commits.iter().position(|c| c.found == found).unwrap();
        let parent = self.made.iter().position(|m| m.commit == commit && m.name == "turns").unwrap();
        let number = 1 + self.made.iter().filter(|m| m.parent == Some(parent)).count();
        let (name, kind, parent) = (format!("{number:04}-user.md"), MadeKind::Turn, Some(parent));
        self.made.push(Made { name, parent, commit, kind, gone: false, deleted: false });
    }
}

/// The value that a field is set to, when it says something else than was shown.
fn edited<T: Clone + Default + PartialEq>(field: &Field<T>, shown: &T) -> Option<T> {
    let value = match field {
        Field::Absent => return None,
        Field::Cleared => T::default(),
        Field::Set(value) => value.clone(),
    };
    (value != *shown).then_some(value)
}

/// What who saved a document takes its fields to be.
fn said(parsed: &Parsed, now: Shown) -> Shown {
    fn or<T: Clone + Default>(field: &Field<T>, now: T) -> T {
        match field {
            Field::Absent => now,
            Field::Cleared => T::default(),
            Field::Set(value) => value.clone(),
        }
    }
    Shown {
        title: or(&parsed.title, now.title),
        tags: or(&parsed.tags, now.tags),
        hidden: or(&parsed.hidden, now.hidden),
        published: or(&parsed.published, now.published),
        order: or(&parsed.order, now.order),
        project: parsed.project.clone().unwrap_or(now.project),
        note: parsed.note.clone(),
    }
}
