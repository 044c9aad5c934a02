//! Edits of users: what each does to the record, the log and the queue, how it is taken back, and what imports make of it.

#[path = "../common/mod.rs"]
mod common;

mod deletions;
mod edits;
mod imports;
mod random;
mod writes;

use std::collections::BTreeMap;

use cogfs::curation::{self, CurationError, Edit, Editor, Origin, Title};
use cogfs::fs::{CogFs, Lookup, NodeKind};
use cogfs::model::Commit;
use cogfs::store::edits::Logged;
use cogfs::store::outbox::Waiting;
use cogfs::store::{EntityKind, Layout, Survives, Writer, commits, outbox, projects, sessions};
use common::{ClaudeLog, World};

const ROOT: u64 = 1;

/// A database to be edited.
pub struct Lab {
    pub world: World,
    pub layout: Layout,
}

impl Lab {
    /// With these logs imported.
    pub fn with(logs: &[ClaudeLog]) -> Self {
        let world = World::new();
        let layout = Layout::new(world.home().join("data"));
        let lab = Self { world, layout };
        lab.import(logs);
        assert!(lab.layout.database().exists(), "the database is elsewhere");
        lab
    }

    /// With one session: a prompt, an answer, a file written.
    pub fn boats() -> Self {
        Self::with(&[session("boats", 1)])
    }

    pub fn import(&self, logs: &[ClaudeLog]) {
        for log in logs {
            log.write(&self.world.logs());
        }
        self.world.import(&[&self.world.logs()]);
    }

    pub fn writer(&self) -> Writer {
        Writer::open(&self.layout).unwrap()
    }

    /// Makes edits in one transaction; their numbers.
    pub fn try_edit(&self, edits: &[Edit]) -> Result<Vec<i64>, CurationError> {
        let mut writer = self.writer();
        let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
        let made = Editor::new(&mut tx, Origin::Command).apply_all(edits)?;
        tx.commit().unwrap();
        Ok(made)
    }

    /// Makes an edit that changes something; its number.
    #[track_caller]
    pub fn edit(&self, edit: Edit) -> i64 {
        let made = self.try_edit(std::slice::from_ref(&edit)).unwrap();
        assert_eq!(made.len(), 1, "nothing was changed by {edit:?}");
        made[0]
    }

    pub fn try_undo(&self, seq: i64) -> Result<Option<i64>, CurationError> {
        let mut writer = self.writer();
        let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
        let by = curation::undo(&mut tx, Origin::Command, seq)?;
        tx.commit().unwrap();
        Ok(by)
    }

    #[track_caller]
    pub fn undo(&self, seq: i64) -> i64 {
        self.try_undo(seq).unwrap().expect("the undo changed something")
    }

    /// The only commit whose row is the n-th.
    pub fn commit(&self, row: i64) -> Commit {
        commits::get(self.writer().conn(), row).unwrap().unwrap()
    }

    /// The commits by the order of their beginnings.
    pub fn commits(&self) -> Vec<Commit> {
        let writer = self.writer();
        let mut query = writer.conn().prepare("SELECT row FROM cognitive_commits ORDER BY started_at").unwrap();
        let rows: Vec<i64> = query.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect();
        rows.into_iter().map(|row| commits::get(writer.conn(), row).unwrap().unwrap()).collect()
    }

    pub fn project(&self, name: &str) -> i64 {
        projects::by_dir_name(self.writer().conn(), name).unwrap().unwrap_or_else(|| panic!("no project {name}")).row
    }

    /// The rows of a commit's sessions, the deleted ones too.
    pub fn sessions(&self, commit: i64) -> Vec<i64> {
        sessions::all_of_commit(self.writer().conn(), commit).unwrap().into_iter().map(|s| s.row).collect()
    }

    pub fn waiting(&self, kind: EntityKind, row: i64) -> Option<Waiting> {
        outbox::find(self.writer().conn(), kind, row).unwrap()
    }

    pub fn logged(&self, seq: i64) -> Logged {
        cogfs::store::edits::get(self.writer().conn(), seq).unwrap().unwrap_or_else(|| panic!("no edit {seq}"))
    }

    /// Everything that is seen, by its path: contents of files and where links lead; times of records and counts of the whole
    /// aside. Holds that every size is exact and that every link leads somewhere.
    pub fn seen(&self) -> BTreeMap<String, String> {
        let fs = CogFs::open(&self.layout, "/mnt").unwrap();
        let (mut seen, mut dirs) = (BTreeMap::new(), vec![(String::new(), ROOT)]);
        while let Some((path, dir)) = dirs.pop() {
            let mut entries = Vec::new();
            fs.readdir(dir, 2, true, &mut |entry| {
                entries.push(entry);
                true
            })
            .unwrap();
            for entry in entries {
                let path = format!("{path}/{}", entry.name.to_str().unwrap());
                let attr = entry.attr.unwrap();
                assert_eq!(fs.lookup(dir, &entry.name).unwrap(), Lookup::Found(attr), "{path}");
                assert_eq!(fs.getattr(entry.ino).unwrap(), attr, "{path}");
                let text = match entry.kind {
                    NodeKind::Directory => {
                        dirs.push((path.clone(), entry.ino));
                        String::new()
                    }
                    NodeKind::Symlink => {
                        let target = String::from_utf8(fs.readlink(entry.ino).unwrap()).unwrap();
                        assert!(leads_somewhere(&fs, &path, &target), "{path} leads nowhere: {target}");
                        target
                    }
                    NodeKind::File => {
                        let bytes = read(&fs, entry.ino);
                        assert_eq!(bytes.len() as u64, attr.size, "{path}: size");
                        String::from_utf8_lossy(&bytes).into_owned()
                    }
                };
                let times = |line: &&str| !line.contains("\"updated_at\"");
                seen.insert(path, text.lines().filter(times).collect::<Vec<_>>().join("\n"));
            }
        }
        for counted in ["/README.md", "/.cogfs/status.json"] {
            seen.remove(counted);
        }
        seen
    }

    /// The paths of what is seen that end so.
    pub fn paths(&self, end: &str) -> Vec<String> {
        self.seen().into_keys().filter(|path| path.ends_with(end)).collect()
    }
}

/// A session of a project: a prompt, an answer, a file written, thanks.
pub fn session(project: &str, number: u32) -> ClaudeLog {
    let mut log = ClaudeLog::new(project, number);
    log.user(&format!("Build part {number}.")).assistant("On it.");
    log.write_file(&format!("/w/{project}/src/{number}.rs")).assistant("It is built.");
    log
}

pub fn retitle(commit: i64, text: &str) -> Edit {
    Edit::Retitle { commit, title: Title::User(text.to_owned()), name: None }
}

/// What `mv` makes: the name as typed, and the title that it says.
pub fn rename(commit: &Commit, name: &str) -> Edit {
    let title = curation::names::title(commit, name).unwrap_or(Title::Found);
    Edit::Retitle { commit: commit.row, title, name: Some(name.to_owned()) }
}

fn read(fs: &CogFs, ino: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let piece = fs.read(ino, bytes.len() as u64, 100_003).unwrap();
        if piece.is_empty() {
            return bytes;
        }
        bytes.extend(piece);
    }
}

fn leads_somewhere(fs: &CogFs, link: &str, target: &str) -> bool {
    let mut at: Vec<&str> = link.split('/').filter(|part| !part.is_empty()).collect();
    at.pop();
    for part in target.split('/') {
        if part == ".." {
            at.pop();
        } else {
            at.push(part);
        }
    }
    find(fs, &at.join("/")).is_some()
}

/// The node of a path; links are not followed.
pub fn find(fs: &CogFs, path: &str) -> Option<u64> {
    path.split('/').try_fold(ROOT, |dir, name| match fs.lookup(dir, name.as_ref()).unwrap() {
        Lookup::Found(attr) => Some(attr.ino),
        Lookup::Absent { .. } => None,
    })
}
