//! What the machines of a run may import, and where it lies: ids follow from folders, so a seed has a folder of its own that is
//! called the same wherever it is run.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use cogfs::store::{Layout, Writer};

use crate::common::ClaudeLog;

/// Sessions that the machines may have the logs of, each in several lengths.
pub const SESSIONS: u32 = 4;
pub const LENGTHS: usize = 4;

/// Where their work was done. Two are clones of one repository; one becomes a repository when a run says so.
const FOLDERS: [&str; SESSIONS as usize] = ["one/boats", "late/trains", "two/boats", "plain/cars"];

/// An empty database in a folder.
pub fn template(dir: &Path) -> PathBuf {
    let layout = Layout::new(dir.join("template"));
    drop(Writer::open(&layout).unwrap());
    layout.database()
}

/// The texts of the logs, and an empty database to begin with: made once.
pub struct Logs {
    dir: tempfile::TempDir,
    texts: Vec<(u32, usize, String)>,
}

impl Logs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        template(dir.path());
        let all = (0..SESSIONS).flat_map(|number| (0..LENGTHS).map(move |length| (number, length)));
        Self { dir, texts: all.map(|(number, length)| (number, length, text(number, length))).collect() }
    }

    pub fn template(&self) -> PathBuf {
        Layout::new(self.dir.path().join("template")).database()
    }
}

fn text(number: u32, length: usize) -> String {
    let mut log = ClaudeLog::new("folder", number + 1);
    log.user(&format!("Question {number}")).assistant("An answer.");
    if length > 0 {
        log.user("More").assistant("Another answer.");
    }
    // Both sessions in the boats end with one git commit, and what they are in is one cognitive commit then.
    if length > 1 {
        log.git_commit(if number.is_multiple_of(2) { "b0a7b0a7" } else { "7ea17ea1" }, "Set sail");
    }
    if length > 2 {
        log.user("What next?").assistant("The harbour.");
    }
    log.lines.join("\n") + "\n"
}

/// The folder of a seed; one run at a time has it.
pub struct Place {
    dir: PathBuf,
    _lock: File,
}

impl Place {
    pub fn of(seed: u64, logs: &Logs) -> Self {
        // In memory, where there is such a place.
        let root = if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" };
        let dir = PathBuf::from(format!("{root}/cogfs-simulation-{seed}"));
        let lock = Self::take(&dir);
        let place = Self { dir, _lock: lock };
        place.clear();
        for clone in ["one/boats", "two/boats"] {
            place.clone_at(clone, "boats");
        }
        for (number, length, text) in &logs.texts {
            let folder = place.dir.join(FOLDERS[*number as usize]);
            let log = ClaudeLog::new("folder", number + 1).path(&place.log(*number, *length));
            fs::create_dir_all(log.parent().unwrap()).unwrap();
            fs::write(&log, text.replace("/w/folder", folder.to_str().unwrap())).unwrap();
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + *length as u64);
            File::options().append(true).open(&log).unwrap().set_modified(written).unwrap();
        }
        place
    }

    /// Waits until nobody else has the folder.
    fn take(dir: &Path) -> File {
        loop {
            fs::create_dir_all(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
            let lock = File::open(dir).unwrap();
            lock.lock().unwrap();
            // Whoever had it removed it, and another one may have it by now.
            let is_it = |here: fs::Metadata| lock.metadata().is_ok_and(|own| own.ino() == here.ino());
            if fs::metadata(dir).is_ok_and(is_it) {
                return lock;
            }
        }
    }

    /// A run that was killed left its files.
    fn clear(&self) {
        for left in fs::read_dir(&self.dir).unwrap() {
            fs::remove_dir_all(left.unwrap().path()).unwrap();
        }
    }

    fn clone_at(&self, folder: &str, name: &str) {
        let git = self.dir.join(folder).join(".git");
        fs::create_dir_all(&git).unwrap();
        let config = format!("[remote \"origin\"]\n\turl = https://git.example/harbour/{name}.git\n");
        fs::write(git.join("config"), config).unwrap();
    }

    /// The folder that becomes a repository does.
    pub fn trains_are_cloned(&self) {
        self.clone_at(FOLDERS[1], "trains");
    }

    /// The folder that has the log of a session in this length.
    pub fn log(&self, number: u32, length: usize) -> PathBuf {
        self.dir.join(format!("{number}-{length}"))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}
