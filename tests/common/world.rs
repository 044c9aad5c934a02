//! A data folder, a home and a folder for logs of a test's own, and the program run inside them.

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::types::Value as Cell;
use serde_json::Value;

/// What a run of the program left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless the program ended with this exit status and without a panic.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(!self.stderr.contains("panicked"), "the program panicked:\n{}", self.stderr);
        assert_eq!(self.code, Some(code), "exit status\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The standard output as one JSON value.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("not one JSON value ({e}):\n{}\nstderr: {}", self.stdout, self.stderr))
    }

    /// Both outputs, for messages whose channel does not matter.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }
}

/// A test's own surroundings, removed at its end.
///
/// At its end everything that is computed is computed anew and compared (`doctor --full`), whatever the test did.
pub struct World {
    root: tempfile::TempDir,
    variables: Vec<(&'static str, &'static str)>,
    damaged: std::cell::Cell<bool>,
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.damaged.get() && self.home().join("data/cogfs.db").exists() {
            self.assert_consistent();
        }
    }
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("cogfs-test-").tempdir().unwrap();
        for dir in ["user", "logs"] {
            fs::create_dir(root.path().join(dir)).unwrap();
        }
        Self { root, variables: Vec::new(), damaged: std::cell::Cell::new(false) }
    }

    /// Says that the test leaves a database that is wrong on purpose.
    pub fn is_left_damaged(&self) {
        self.damaged.set(true);
    }

    /// What is stored of lengths, counters, tokens, times and words agrees with what it is computed from.
    #[track_caller]
    pub fn assert_consistent(&self) {
        self.run(&["doctor", "--full", "--json"]).exits(0);
    }

    /// Every run of the program from now on has this variable.
    pub fn set_variable(&mut self, name: &'static str, value: &'static str) {
        self.variables.push((name, value));
    }

    /// The home of the user whose agents write logs: what a mount follows.
    pub fn user(&self) -> PathBuf {
        self.root().join("user")
    }

    /// Where Claude Code's logs of that user lie.
    pub fn claude(&self) -> PathBuf {
        self.user().join(".claude")
    }

    /// A world with the demo's logs and the fixtures imported.
    pub fn with_samples() -> Self {
        let world = Self::new();
        world.import(&[&super::demo_logs(), &super::fixtures()]);
        world
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// `COGFS_HOME`. Not created here: that is the program's business.
    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Where the test writes logs to be imported.
    pub fn logs(&self) -> PathBuf {
        self.root().join("logs")
    }

    /// The program, with this world as its surroundings.
    pub fn cogfs<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        self.cogfs_at(&self.home(), args)
    }

    /// The program with another `COGFS_HOME`.
    pub fn cogfs_at<S: AsRef<OsStr>>(&self, home: &Path, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cogfs"));
        command.args(args).env("COGFS_HOME", home).env("HOME", self.root().join("user")).env("TZ", "UTC");
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "CLAUDE_CONFIG_DIR"] {
            command.env_remove(name);
        }
        for name in ["CODEX_HOME", "GEMINI_CLI_HOME", "COPILOT_HOME", "COGFS_REQUEST_LOG", "COGFS_WATCH", "RUST_LOG"] {
            command.env_remove(name);
        }
        for name in ["COGFS_SYNC_URL", "COGFS_SYNC_KEY", "COGFS_SYNC_REDACT", "COGFS_SYNC_INTERVAL", "COGFS_LOG"] {
            command.env_remove(name);
        }
        // A test says when something is sent, unless this is what it is about.
        command.env("COGFS_SYNC_CONTINUOUS", "false");
        command.envs(self.variables.iter().copied());
        command
    }

    /// Runs the program to its end.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ran {
        Ran::of(&self.cogfs(args).output().unwrap())
    }

    /// Imports paths; whatever the exit status.
    pub fn try_import(&self, paths: &[&Path]) -> Ran {
        let mut command = self.cogfs(&["import", "--json"]);
        Ran::of(&command.args(paths).output().unwrap())
    }

    /// Imports paths that hold nothing damaged; the summary.
    #[track_caller]
    pub fn import(&self, paths: &[&Path]) -> Value {
        self.try_import(paths).exits(0).json()
    }

    /// `stats --json`.
    #[track_caller]
    pub fn stats(&self) -> Value {
        self.run(&["stats", "--json"]).exits(0).json()
    }

    /// Everything that stands in every table of the databases.
    pub fn dump(&self) -> Vec<String> {
        let mut lines: Vec<String> = databases(&self.home()).iter().flat_map(|path| dump(path)).collect();
        lines.sort();
        lines
    }
}

/// The SQLite databases under a folder, found by their first bytes.
pub fn databases(dir: &Path) -> Vec<PathBuf> {
    if !dir.is_dir() {
        return Vec::new();
    }
    let is_database = |path: &PathBuf| {
        let mut head = [0u8; 16];
        fs::File::open(path).and_then(|mut f| f.read_exact(&mut head)).is_ok() && &head == b"SQLite format 3\0"
    };
    super::files(dir).into_iter().filter(is_database).collect()
}

/// One line a row of every table, those of the full-text index left out (they hold no more than the others).
fn dump(path: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut tables = db
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' ORDER BY name")
        .unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let mut lines = Vec::new();
    for name in names {
        let mut statement = db.prepare(&format!("SELECT * FROM \"{name}\"")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let cells: Vec<Cell> = (0..columns).map(|i| row.get(i).unwrap()).collect();
            lines.push(format!("{name}: {cells:?}"));
        }
    }
    lines
}

/// `PRAGMA integrity_check` of every database under a folder.
pub fn assert_integrity(dir: &Path) {
    let found = databases(dir);
    assert!(!found.is_empty(), "no database under {}", dir.display());
    for path in found {
        let db = rusqlite::Connection::open(&path).unwrap();
        let answer: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(answer, "ok", "{}", path.display());
    }
}
