//! The log of refused writes, shown as `.cogfs/errors.jsonl`: what an errno cannot say, for the user who asks why.
//!
//! Owns that file. Several mounts of one database write to it. Must not fail a request: what cannot be logged is traced.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::Serialize;

use crate::model::Millis;

/// A write that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<'a> {
    pub at: Millis,
    /// Below the mountpoint.
    pub path: String,
    /// What was done: `fsync`, `rename`, ...
    pub operation: &'a str,
    /// The errno's name: `EIO`.
    pub errno: &'a str,
    pub reason: String,
    pub what_to_do: String,
    /// The document that was refused. The first 64 KiB are kept.
    pub text: Option<String>,
}

/// A line. The fields stand in the order of their names, which is the order they are written in.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    errno: &'a str,
    operation: &'a str,
    path: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// The document's whole length, when `text` is not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text_bytes: Option<usize>,
    what_to_do: &'a str,
}

/// What a line keeps of a document.
const MOST_TEXT: usize = 64 << 10;

/// Above this length the older half goes.
const MOST_BYTES: u64 = 1 << 20;

/// The log.
#[derive(Debug, Clone)]
pub struct ErrorLog {
    path: PathBuf,
}

impl ErrorLog {
    /// The log at `path`. The file is made with its first line.
    #[must_use]
    pub fn open(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line. One that cannot be written is told in the program's own log, without the document.
    pub fn append(&self, refused: &Refused<'_>) {
        if let Err(error) = self.try_append(refused) {
            let (path, reason) = (&refused.path, &refused.reason);
            tracing::error!(log = %self.path.display(), %error, path, reason, "a refused write could not be logged");
        }
    }

    fn try_append(&self, refused: &Refused<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(&line(refused))?;
        line.push(b'\n');
        let (mut file, length) = self.locked()?;
        // A line that a crash cut off costs itself, not this one too.
        if length > 0 && byte_before(&file, length)? != b'\n' {
            line.insert(0, b'\n');
        }
        // One system call, whole: O_APPEND. What a full disk took of it is taken back.
        let written = file.write(&line);
        if !matches!(written, Ok(n) if n == line.len()) {
            file.set_len(length)?;
            return written.and(Err(io::ErrorKind::StorageFull.into()));
        }
        if length + line.len() as u64 > MOST_BYTES { self.rotate(&file) } else { Ok(()) }
    }

    /// The file, locked until it is dropped, and its length. The lock is of the file, not of the name: who waited for it while
    /// the file was replaced has the old one, and begins again.
    fn locked(&self) -> io::Result<(File, u64)> {
        if let Some(dir) = self.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        loop {
            let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
            lock_file(&file)?;
            let held = file.metadata()?;
            match std::fs::metadata(&self.path) {
                Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => return Ok((file, held.len())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Keeps the newer half, by whole lines. The file is replaced at once, so that a crash leaves the old or the new one.
    fn rotate(&self, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        let mut newer = vec![0; usize::try_from(MOST_BYTES / 2).unwrap_or(0)];
        let from = length.saturating_sub(newer.len() as u64);
        file.read_exact_at(&mut newer, from)?;
        // The line that the middle lies in goes with the older half, unless it is the last: that one was just written.
        let first = newer.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let kept = if first < newer.len() { newer.split_off(first) } else { last_line(file, length)? };
        let mut new = tempfile::NamedTempFile::new_in(self.path.parent().unwrap_or(Path::new(".")))?;
        new.write_all(&kept)?;
        new.as_file().sync_all()?;
        new.persist(&self.path).map(drop).map_err(|error| error.error)
    }

    /// How long it is. 0 when nothing was refused yet, or it cannot be read.
    #[must_use]
    pub fn len(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |file| file.len())
    }

    /// How long it is, and when something was refused last.
    #[must_use]
    pub fn len_and_time(&self) -> (u64, Millis) {
        std::fs::metadata(&self.path).map_or((0, Millis(0)), |file| {
            (file.len(), Millis(file.mtime().saturating_mul(1000).saturating_add(file.mtime_nsec() / 1_000_000)))
        })
    }

    /// Whether nothing was refused yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a part of it; nothing at its end.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn read(&self, offset: u64, size: u32) -> io::Result<Vec<u8>> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let there = file.metadata()?.len().saturating_sub(offset).min(u64::from(size));
        let mut bytes = vec![0; usize::try_from(there).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

fn line<'a>(refused: &'a Refused<'_>) -> Line<'a> {
    let text = refused.text.as_deref();
    let kept = text.map(|text| &text[..text.floor_char_boundary(MOST_TEXT)]);
    Line {
        at: refused.at.iso(),
        errno: refused.errno,
        operation: refused.operation,
        path: &refused.path,
        reason: &refused.reason,
        text: kept,
        text_bytes: text.map(str::len).filter(|length| Some(*length) != kept.map(str::len)),
        what_to_do: &refused.what_to_do,
    }
}

fn lock_file(file: &File) -> io::Result<()> {
    loop {
        match flock(file, FlockOperation::LockExclusive) {
            Err(Errno::INTR) => {}
            locked => return Ok(locked?),
        }
    }
}

fn byte_before(file: &File, end: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, end - 1)?;
    Ok(byte[0])
}

/// The last line of a file that ends in one.
fn last_line(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut all = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut all, 0)?;
    let before = all.strip_suffix(b"\n").unwrap_or(&all);
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(all.split_off(start))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn log() -> (TempDir, ErrorLog) {
        let dir = TempDir::new().unwrap();
        let log = ErrorLog::open(dir.path().join("state/errors.jsonl"));
        (dir, log)
    }

    fn refused(reason: &str, text: Option<String>) -> Refused<'static> {
        Refused {
            at: Millis(1_700_000_000_123),
            path: "projects/shop/x/meta.md".into(),
            operation: "fsync",
            errno: "EIO",
            reason: reason.into(),
            what_to_do: "correct line 2 and save again".into(),
            text,
        }
    }

    fn lines(log: &ErrorLog) -> Vec<serde_json::Value> {
        let text = String::from_utf8(log.read(0, u32::MAX).unwrap()).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_refused_write_is_one_line_with_sorted_keys_in_a_private_file() {
        let (_dir, log) = log();
        assert!(log.is_empty() && log.read(0, 100).unwrap().is_empty() && !log.path.exists());
        log.append(&refused("no front matter", Some("---\noops".into())));
        let expected = concat!(
            r#"{"at":"2023-11-14T22:13:20.123Z","errno":"EIO","operation":"fsync","path":"projects/shop/x/meta.md","#,
            r#""reason":"no front matter","text":"---\noops","what_to_do":"correct line 2 and save again"}"#,
            "\n"
        );
        assert_eq!(log.read(0, u32::MAX).unwrap(), expected.as_bytes());
        assert_eq!(log.len(), expected.len() as u64);
        assert_eq!(log.read(2, 2).unwrap(), b"at");
        assert!(log.read(log.len(), 10).unwrap().is_empty() && log.read(u64::MAX, 10).unwrap().is_empty());
        assert_eq!(std::fs::metadata(&log.path).unwrap().permissions().mode() & 0o777, 0o600);
        log.append(&refused("again", None));
        assert_eq!(lines(&log).len(), 2);
        assert!(lines(&log)[1].get("text").is_none());
    }

    #[test]
    fn a_long_document_is_cut_between_characters_and_its_length_is_told() {
        let (_dir, log) = log();
        let text = format!("x{}", "é".repeat(40_000));
        log.append(&refused("too long", Some(text.clone())));
        let line = &lines(&log)[0];
        let kept = line["text"].as_str().unwrap();
        assert!(text.starts_with(kept) && kept.len() == MOST_TEXT - 1);
        assert_eq!(line["text_bytes"], text.len());
    }

    #[test]
    fn above_its_limit_the_older_half_goes_by_whole_lines() {
        let (dir, log) = log();
        for n in 0..40 {
            log.append(&refused(&n.to_string(), Some("x".repeat(60_000))));
            assert!(log.len() <= MOST_BYTES);
        }
        let kept: Vec<u32> = lines(&log).iter().map(|line| line["reason"].as_str().unwrap().parse().unwrap()).collect();
        assert!(kept.len() >= 8);
        assert!(kept.is_sorted() && kept.last() == Some(&39) && kept[0] == 40 - u32::try_from(kept.len()).unwrap());
        assert_eq!(std::fs::metadata(&log.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path().join("state")).unwrap().count(), 1);
    }

    #[test]
    fn a_line_longer_than_half_the_log_is_kept() {
        let (_dir, log) = log();
        for n in 0..5 {
            log.append(&refused(&format!("{n}{}", "y".repeat(600_000)), None));
            assert!(lines(&log).last().unwrap()["reason"].as_str().unwrap().starts_with(&n.to_string()));
        }
    }

    #[test]
    fn writers_at_the_same_time_mix_no_lines_and_lose_none() {
        let (dir, log) = log();
        // Each opens the file for itself, as processes do; long lines, so that it is replaced meanwhile.
        std::thread::scope(|threads| {
            for writer in 0..4 {
                let own = ErrorLog::open(log.path.clone());
                threads.spawn(move || {
                    for n in 0..60 {
                        own.append(&refused(&format!("{writer}:{n}"), Some("z".repeat(9_000))));
                    }
                });
            }
        });
        let mut of_writer: [Vec<u32>; 4] = Default::default();
        for line in lines(&log) {
            let (writer, n) = line["reason"].as_str().unwrap().split_once(':').unwrap();
            of_writer[writer.parse::<usize>().unwrap()].push(n.parse().unwrap());
        }
        // The older half went; of what was written since, nothing is missing.
        for numbers in of_writer.iter().filter(|numbers| !numbers.is_empty()) {
            let first = numbers[0];
            assert!(numbers.iter().copied().eq(first..60), "{numbers:?}");
        }
        assert!(log.len() > MOST_BYTES / 4);
        drop(dir);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_costs_itself_alone() {
        let (_dir, log) = log();
        log.append(&refused("first", None));
        let file = OpenOptions::new().append(true).open(&log.path).unwrap();
        (&file).write_all(b"{\"at\":\"20").unwrap();
        log.append(&refused("third", None));
        let text = String::from_utf8(log.read(0, u32::MAX).unwrap()).unwrap();
        let whole: Vec<_> = text.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()).collect();
        assert_eq!(whole.len(), 2);
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn a_log_that_cannot_be_written_fails_no_request() {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("state"), "a file, not a folder").unwrap();
        let log = ErrorLog::open(dir.path().join("state/errors.jsonl"));
        log.append(&refused("told elsewhere", None));
        assert_eq!(log.len(), 0);
    }
}
