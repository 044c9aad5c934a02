//! A mounted commit to be edited, and what must hold when it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::common::mount::PATIENCE;
use crate::common::{ClaudeLog, Mount, World, json, must, wait_until};

/// A document that says something else in each field that an editor is likely to change, longer than any program's buffer.
pub fn long_document(title: &str) -> String {
    let note: String = (0..900).map(|n| format!("Line {n} of a note that comes in pieces, é.\n")).collect();
    format!("---\ntitle: {title}\ntags: [sails, {title}]\n---\n\n{note}")
}

/// A short one.
pub fn document(title: &str) -> String {
    format!("---\ntitle: {title}\ntags: [sails]\n---\n\nA note on {title}.\n")
}

/// A world with the commits of one project.
pub fn world() -> World {
    let world = World::new();
    for number in [1, 2] {
        let mut log = ClaudeLog::new("boats", number);
        log.user(&format!("Build boat {number}.")).assistant("Built.").git_commit(&format!("abc000{number}"), "Build");
        log.write(&world.logs());
    }
    world.import(&[&world.logs()]);
    world
}

/// The first commit's directory, mounted.
pub struct Desk<'w> {
    pub world: &'w World,
    pub mount: Mount<'w>,
    /// By its id, which leads there whatever it is called.
    dir: PathBuf,
    names: BTreeSet<String>,
}

impl<'w> Desk<'w> {
    pub fn new(world: &'w World) -> Self {
        Self::on(world, Mount::with(world, &world.root().join("mnt"), &["--no-watch"]))
    }

    fn on(world: &'w World, mount: Mount<'w>) -> Self {
        let id: String =
            column(world, "SELECT substr(lower(hex(id)), 1, 12) FROM cognitive_commits WHERE row = 1").remove(0);
        let dir = mount.path(&format!("by/id/{id}"));
        let names = names_in(&dir);
        assert!(names.contains("meta.md"), "{names:?}");
        Self { world, mount, dir, names }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn meta(&self) -> PathBuf {
        self.dir.join("meta.md")
    }

    pub fn read(&self) -> String {
        fs::read_to_string(self.meta()).unwrap()
    }

    /// A shell in the commit's directory, with the worlds's home for what programs keep there.
    pub fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "20", "sh", "-c", script]).current_dir(&self.dir);
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "VIMINIT", "EDITOR"] {
            command.env_remove(name);
        }
        command.env("HOME", self.world.user()).env("TERM", "xterm").env("LC_ALL", "C.UTF-8");
        command.env("XDG_CONFIG_HOME", self.world.user().join("config"));
        command.env("XDG_DATA_HOME", self.world.user().join("data"));
        command.env("XDG_RUNTIME_DIR", self.world.user());
        command.env("OUTSIDE", self.world.logs());
        command
    }

    /// Runs what must succeed.
    #[track_caller]
    pub fn run(&self, script: &str) {
        must(&mut self.shell(script));
    }

    /// A file outside of the mount; `$OUTSIDE/name` for scripts.
    pub fn outside(&self, name: &str, text: &str) -> PathBuf {
        let path = self.world.logs().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A field of `meta.json`.
    pub fn field(&self, name: &str) -> Value {
        json(&self.dir.join("meta.json"))[name].clone()
    }

    pub fn record_title(&self) -> String {
        column(self.world, "SELECT title FROM cognitive_commits WHERE row = 1").remove(0)
    }

    /// What was edited so far, in order.
    pub fn edits(&self) -> Vec<String> {
        column(self.world, "SELECT action FROM edits ORDER BY seq")
    }

    /// The lines of the log of refused writes.
    pub fn errors(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.mount.path(".cogfs/errors.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The line of the only write that was refused.
    #[track_caller]
    pub fn refusal(&self) -> Value {
        wait_until(PATIENCE, "the refused write is in the log", || !self.errors().is_empty());
        let mut errors = self.errors();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors.remove(0)
    }

    /// The texts of the drafts.
    pub fn drafts(&self) -> Vec<String> {
        let mut paths: Vec<_> =
            fs::read_dir(self.mount.path(".cogfs/drafts")).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    fn mtime(&self) -> SystemTime {
        fs::metadata(self.meta()).unwrap().modified().unwrap()
    }

    /// Waits until nothing is being written any more: what was is the record, or was refused.
    pub fn rest(&self) {
        // A link that leads to it may lead nowhere for a moment: the kernel is told a little later.
        let seen = || fs::read_to_string(self.meta()).ok();
        let state = || (self.edits().len(), kept_drafts(self.world), self.errors().len(), seen());
        let (mut last, mut since) = (state(), Instant::now());
        wait_until(PATIENCE, "writing comes to rest", || {
            let now = state();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            // Twice the time after which a document that nobody writes to is the record.
            since.elapsed() > Duration::from_millis(500)
        });
    }

    /// Holds that this was saved, in these edits and no more, and that nothing but these files was left beside it.
    #[track_caller]
    pub fn holds(&self, text: &str, edits: &[&str], left: &[&str]) {
        let (read, mtime) = (self.read(), self.mtime());
        assert!(read == text, "reads back:\n{}\nwas written:\n{}", short(&read), short(text));
        self.rest();
        assert!(self.read() == text, "later it reads:\n{}", short(&self.read()));
        assert_eq!(self.mtime(), mtime, "the time of the file moved after the save");
        self.is_clean(edits, left);
        let title = self.record_title();
        assert!(
            text.contains(&format!("title: {title}\n")) || text.contains(&format!("title: {title:?}\n")),
            "{title}"
        );
        assert_eq!(self.field("title"), Value::from(self.record_title()));
    }

    /// The same where what is read back is not what one program wrote.
    #[track_caller]
    pub fn is_clean(&self, edits: &[&str], left: &[&str]) {
        let errors = self.errors();
        assert!(errors.is_empty(), "refused: {errors:#?}");
        let drafts = self.drafts();
        assert!(drafts.is_empty(), "drafts are left: {drafts:#?}");
        assert_eq!(self.edits(), edits, "edits");
        self.holds_names(left);
    }

    /// Holds that these files alone were left beside what is always there.
    #[track_caller]
    pub fn holds_names(&self, left: &[&str]) {
        let now = names_in(&self.dir);
        let new: Vec<&str> = now.difference(&self.names).map(String::as_str).collect();
        assert_eq!(new, left, "left in the directory");
        assert!(now.is_superset(&self.names), "{now:?} lacks some of {:?}", self.names);
    }

    /// Kills the mount as a crash would, and mounts again.
    pub fn crash(self) -> Self {
        let (world, dir, names) = (self.world, self.mount.dir().to_owned(), self.names.clone());
        crate::common::mount::clear(&dir);
        wait_until(PATIENCE, "the killed process is gone", || self.mount.pids().is_empty());
        drop(self);
        Self { names, ..Self::new(world) }
    }
}

/// The three edits of a document that changes all that [`document`] does.
pub const ALL: [&str; 3] = ["retitle", "tags", "note"];

pub fn column(world: &World, sql: &str) -> Vec<String> {
    let conn = rusqlite::Connection::open(world.home().join("data/cogfs.db")).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    let mut query = conn.prepare(sql).unwrap();
    let rows = query.query_map([], |r| r.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn kept_drafts(world: &World) -> Vec<String> {
    column(world, "SELECT hex(text) || ifnull(refusal, '') FROM drafts")
}

pub fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn short(text: &str) -> String {
    if text.len() < 400 { text.to_owned() } else { format!("{}… ({} bytes)", &text[..300], text.len()) }
}

/// Leaves a test where a program is missing.
#[macro_export]
macro_rules! needs {
    ($($program:literal),+) => {
        $crate::needs_fuse!();
        $($crate::skip_unless!($crate::common::has_program($program), concat!("no ", $program));)+
    };
}
