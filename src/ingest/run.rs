//! The import: file after file, a reader thread that parses and the caller's thread that writes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::assemble::{Assembler, State};
use super::collection::Format;
use super::discover::{self, Candidate};
use super::link;
use super::project::Resolver;
use super::record::SessionHead;
use super::source::{self, Recognised, Stamp};
use super::summary::{FileRead, Summary};
use crate::model::Millis;
use crate::store::search::SearchIndex;
use crate::store::sources::{self, Source};
use crate::store::{self, Layout, StoreError, Transaction, Writer, sessions, stats};
use crate::sync::fields;

mod ahead;
mod collection;
mod database;
mod read;

use self::ahead::{Ahead, Found};
use self::database::is_older_copy;
use self::read::{Batch, Input};

/// Bytes of log after which a transaction is committed: what a crash or Ctrl-C can lose of an import, which the next one
/// reads again.
const COMMIT_BYTES: u64 = 16 * 1024 * 1024;

/// Batches that may wait for the writer.
const BATCHES: usize = 4;

const NOT_A_LOG: &str = "not a log of a known format (Claude Code, Codex, OpenCode, Gemini CLI, Copilot CLI, Cursor, \
                         Antigravity), nor an export of ChatGPT or Claude.ai, nor a database of CogCommit";

/// A log whose last line is cut off is being written, unless nobody wrote to it for this long.
const STILL_WRITTEN: Duration = Duration::from_secs(600);

/// What to import, and how.
#[derive(Debug, Default)]
pub struct Options {
    /// Files and folders; empty for the agents' usual places.
    pub places: Vec<PathBuf>,
    /// Read everything, write nothing.
    pub dry_run: bool,
}

/// How far an import is.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// The logs are read and stored: bytes of them.
    Reading { done: u64, total: u64, file: &'a Path },
    /// Everything is stored and can be seen; words are brought into the search index: sessions done, of how many.
    Indexing { done: u64, total: u64 },
}

/// Why an import could not be done at all. What is wrong with single files and records stands in the summary.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "no logs found: none of Claude Code (~/.claude/projects), Codex (~/.codex/sessions), OpenCode \
         (~/.local/share/opencode), Gemini CLI (~/.gemini/tmp) and Copilot CLI (~/.copilot/session-state) left any here; name a \
         file or folder (`cogfs import PATH`), or try `cogfs demo`"
    )]
    NothingToImport,
    #[error("{}", nothing_of(*.0))]
    NothingOf(Format),
    #[error("{}: {reason}", path.display())]
    NoSuchPlace { path: PathBuf, reason: String },
    #[error("a temporary folder could not be made: {0}")]
    Temporary(io::Error),
}

/// What to do when nothing of a format is found.
fn nothing_of(format: Format) -> String {
    let (name, hint) = (format.title(), "name a file or folder");
    match format {
        Format::CogCommit => format!(
            "no database of CogCommit found (~/.tuhnr, ~/.cogcommit, ~/.agentlogs, ~/.shipchronicle): {hint} \
             (`cogfs import --from cogcommit PATH`)"
        ),
        Format::ChatGpt | Format::ClaudeAi => format!(
            "no export of {name} found: ask {name} for one (Settings, Data controls or Privacy, Export data), and name the \
             archive or its unpacked folder (`cogfs import --from {} PATH`)",
            if format == Format::ChatGpt { "chatgpt" } else { "claude-ai" }
        ),
        Format::Cursor => format!(
            "no database of Cursor found (~/.config/Cursor/User): {hint} (`cogfs import --from cursor PATH/state.vscdb`)"
        ),
        Format::Antigravity => format!(
            "no conversations of Antigravity found (~/.gemini/antigravity, ~/.gemini/antigravity-cli): {hint} \
             (`cogfs import --from antigravity PATH`)"
        ),
    }
}

/// Imports logs. `stop` ends it after the record at hand, with everything so far committed.
///
/// # Errors
/// When the database cannot be used, or there is nothing to import.
pub fn import(
    layout: &Layout,
    options: &Options,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, ImportError> {
    import_from(layout, options, None, stop, progress)
}

/// Imports what is of one format alone, where one is named.
///
/// # Errors
/// As [`import`].
pub fn import_from(
    layout: &Layout,
    options: &Options,
    from: Option<Format>,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Summary, ImportError> {
    let began = Instant::now();
    let usual = || from.map_or_else(discover::usual_places, discover::places_of);
    let places = if options.places.is_empty() { usual() } else { options.places.clone() };
    let (candidates, unreadable) = match from {
        Some(format) => discover::candidates_of(format, &places),
        None => discover::candidates(&places),
    };
    if candidates.is_empty() && (options.places.is_empty() || from.is_some() && unreadable.is_empty()) {
        return Err(from.map_or(ImportError::NothingToImport, ImportError::NothingOf));
    }
    if let Some(missing) = unreadable.iter().find(|u| options.places.contains(&u.path) && candidates.is_empty()) {
        return Err(ImportError::NoSuchPlace { path: missing.path.clone(), reason: missing.reason.clone() });
    }
    let mut summary = Summary { dry_run: options.dry_run, ..Summary::default() };
    for place in unreadable {
        summary.skip(&place.path.to_string_lossy(), 0, place.reason);
    }
    let trial = if options.dry_run { Some(tempfile::tempdir().map_err(ImportError::Temporary)?) } else { None };
    let mut writer = Writer::open(&trial_layout(layout, trial.as_ref().map(tempfile::TempDir::path)))?;
    let mut run = Run {
        stop,
        progress,
        summary,
        projects: Resolver::default(),
        next: None,
        ahead: None,
        from,
        done: 0,
        total: 0,
    };
    run.total = candidates.iter().map(|c| c.size).sum();
    match &trial {
        Some(dir) => run.all_in_one(&mut writer, &candidates, dir.path())?,
        None => run.all(&mut writer, &candidates)?,
    }
    let mut summary = run.summary;
    if !options.dry_run {
        add_totals(writer.conn(), &mut summary)?;
    }
    summary.seconds = began.elapsed().as_secs_f64();
    if !options.dry_run && !summary.interrupted {
        let began = Instant::now();
        summary.index_unfinished = !index_words(&writer, stop, progress)?;
        summary.index_seconds = began.elapsed().as_secs_f64();
    }
    Ok(summary)
}

/// Brings what was imported into the search index: behind the import, so that nobody waits for words to see the pages. False
/// when it was stopped.
///
/// # Errors
/// When a database cannot be used.
pub fn index_words(writer: &Writer, stop: &AtomicBool, progress: &mut dyn FnMut(Progress<'_>)) -> store::Result<bool> {
    let mut index = SearchIndex::open(writer.layout(), writer.conn())?;
    index.catch_up(writer.conn(), stop, &mut |done, total| progress(Progress::Indexing { done, total }))
}

/// Imports these files alone, given in the order they are to be read. The caller holds the lock of imports
/// ([`crate::store::lock`]) and keeps the writer, which nothing is locked by in between. Totals are not counted.
///
/// # Errors
/// When the database cannot be used.
pub fn import_files(
    writer: &mut Writer,
    candidates: &[Candidate],
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> store::Result<Summary> {
    let began = Instant::now();
    let mut run = Run {
        stop,
        progress,
        summary: Summary::default(),
        projects: Resolver::default(),
        next: None,
        ahead: None,
        from: None,
        done: 0,
        total: 0,
    };
    run.total = candidates.iter().map(|c| c.size).sum();
    run.all(writer, candidates)?;
    run.summary.seconds = began.elapsed().as_secs_f64();
    Ok(run.summary)
}

/// A trial works on the database that is there, if there is one, else on a temporary one.
fn trial_layout(layout: &Layout, trial: Option<&Path>) -> Layout {
    match trial {
        Some(dir) if !layout.database().exists() => Layout::new(dir),
        _ => layout.clone(),
    }
}

fn add_totals(conn: &rusqlite::Connection, summary: &mut Summary) -> store::Result<()> {
    let totals = stats::totals(conn)?;
    summary.projects = totals.projects;
    summary.commits = totals.commits;
    summary.sessions = totals.sessions;
    summary.subagents = totals.subagents;
    summary.turns = totals.turns;
    summary.images = totals.visuals;
    summary.tool_calls = stats::grouped(conn, stats::By::Agent)?.iter().map(|g| g.tool_calls).sum();
    Ok(())
}

struct Run<'a> {
    stop: &'a AtomicBool,
    progress: &'a mut dyn FnMut(Progress<'_>),
    summary: Summary,
    projects: Resolver,
    /// The log behind the one at hand, and what was read of it.
    next: Option<Candidate>,
    ahead: Option<Ahead>,
    /// What alone is taken.
    from: Option<Format>,
    done: u64,
    total: u64,
}

impl Run<'_> {
    fn all(&mut self, writer: &mut Writer, candidates: &[Candidate]) -> store::Result<()> {
        let mut rest = candidates.iter();
        let mut next = rest.next();
        while next.is_some() {
            let mut tx = writer.begin()?;
            let mut bytes = 0;
            // Small files share a transaction; a large one has several (see `Run::write`).
            while let Some(candidate) = next.filter(|_| bytes < COMMIT_BYTES && !self.stopped()) {
                if bytes > 0 && tx.is_wanted() {
                    break;
                }
                bytes += candidate.size;
                next = rest.next();
                self.next = next.cloned();
                tx = self.file(tx, candidate, true)?;
            }
            if next.is_none() || self.stopped() {
                link::link_all(&mut tx, &mut self.projects)?;
                fields::delete_what_came(&mut tx)?;
                if self.summary.files_read > 0 {
                    store::set_state(&tx, "last_import", &Millis::now().0.to_string())?;
                }
                tx.commit()?;
                break;
            }
            tx.commit()?;
        }
        self.summary.interrupted = self.stopped();
        Ok(())
    }

    /// A trial: one transaction, which is rolled back; blobs go to a temporary folder.
    fn all_in_one(&mut self, writer: &mut Writer, candidates: &[Candidate], blobs: &Path) -> store::Result<()> {
        let mut tx = writer.begin()?;
        tx.set_layout(Layout::new(blobs));
        for candidate in candidates {
            if self.stopped() {
                break;
            }
            tx = self.file(tx, candidate, false)?;
        }
        link::link_all(&mut tx, &mut self.projects)?;
        add_totals(&tx, &mut self.summary)?;
        self.summary.interrupted = self.stopped();
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn file<'c>(
        &mut self,
        tx: Transaction<'c>,
        candidate: &Candidate,
        may_commit: bool,
    ) -> store::Result<Transaction<'c>> {
        (self.progress)(Progress::Reading { done: self.done, total: self.total, file: &candidate.path });
        let done = self.done + candidate.size;
        let name = candidate.path.to_string_lossy().into_owned();
        let tx = match self.read(tx, candidate, &name, may_commit)? {
            (tx, Ok(())) => tx,
            (tx, Err(e)) => {
                self.summary.failed.push(candidate.path.clone());
                self.summary.skip(&name, 0, e.to_string());
                tx
            }
        };
        self.done = done;
        Ok(tx)
    }

    /// Reads one file. What is wrong with the file is the inner result; it never ends the import.
    fn read<'c>(
        &mut self,
        tx: Transaction<'c>,
        candidate: &Candidate,
        name: &str,
        may_commit: bool,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        if database::is_taken_over(&tx, &candidate.path)? {
            self.summary.files += 1;
            return Ok((tx, Ok(())));
        }
        let stamp = match source::stamp(&candidate.path) {
            Ok(stamp) => stamp,
            Err(e) => return Ok((tx, Err(e))),
        };
        let known = sources::find(&tx, name)?;
        if known.as_ref().is_some_and(|k| (k.size, k.mtime_ns) == (stamp.size, stamp.mtime_ns)) {
            self.summary.files += 1;
            return Ok((tx, Ok(())));
        }
        let ahead = self.ahead.take().filter(|ahead| known.is_none() && ahead.is_of(candidate, stamp));
        let found = ahead.map_or_else(|| Found::Other(source::recognise(&candidate.path)), Ahead::found);
        let (head, input) = match found {
            Found::Begun(head, begun) => (head, Input::Begun(begun)),
            Found::Other(Err(e)) => return Ok((tx, Err(e))),
            Found::Other(Ok(Recognised::Lines(head, parser))) => (head, Input::Lines(parser)),
            Found::Other(Ok(Recognised::Document(head, parser, value))) => (head, Input::Document(parser, value)),
            Found::Other(Ok(Recognised::Tree(head, parser, value, problems))) => {
                for problem in problems {
                    self.summary.skip(name, 0, problem);
                }
                (head, Input::Document(parser, value))
            }
            Found::Other(Ok(Recognised::Collection(collection))) => {
                return self.collection(tx, candidate, name, stamp, collection, may_commit);
            }
            Found::Other(Ok(Recognised::Database)) if self.from.is_none() => {
                return self.database(tx, candidate, name, stamp, may_commit);
            }
            Found::Other(Ok(Recognised::Empty)) => {
                self.summary.files += 1;
                return Ok((tx, Ok(())));
            }
            Found::Other(Ok(Recognised::Other | Recognised::Database)) if candidate.named => {
                self.summary.skip(name, 0, NOT_A_LOG);
                return Ok((tx, Ok(())));
            }
            Found::Other(Ok(Recognised::Other | Recognised::Database)) => {
                self.summary.other_files += 1;
                return Ok((tx, Ok(())));
            }
        };
        if !self.takes(head.agent, candidate, name) {
            return Ok((tx, Ok(())));
        }
        self.summary.files += 1;
        self.summary.files_read += 1;
        let grown = match grown_from(&candidate.path, known, stamp) {
            Ok(grown) => grown.filter(|g| matches!(input, Input::Lines(_)) && g.native_id == head.native_id),
            Err(e) => return Ok((tx, Err(e))),
        };
        // Two copies of a session that grow: only reading all of it tells which records the other one brought.
        let grown = match grown {
            Some(g) if sources::has_other(&tx, g.agent, &g.native_id, name)? => None,
            // What another machine told of is read anew: it may have had more of it.
            Some(g) if !sessions::parts_of_others(&tx, g.agent, &g.native_id)?.is_empty() => None,
            grown => grown,
        };
        let (path, size, modified) = (&candidate.path, stamp.size, candidate.modified);
        let job = Job { path, name, head, stamp, size, modified, grown, may_commit };
        self.take(tx, job, input)
    }

    /// Whether what was found is what was asked for; says so when it is not and was named.
    fn takes(&mut self, agent: crate::model::Agent, candidate: &Candidate, name: &str) -> bool {
        let Some(from) = self.from.filter(|from| from.agent() != agent || *from == Format::CogCommit) else {
            return true;
        };
        if candidate.named {
            let reason = format!("it is of {}: nothing of {} is in it", agent.title(), from.title());
            self.summary.skip(name, 0, reason);
        } else {
            self.summary.other_files += 1;
        }
        false
    }

    /// Starts the reader and writes what it sends.
    fn take<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        job: Job<'_>,
        mut input: Input<'_>,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        let (offset, line) = job.grown.as_ref().map_or((0, 1), |g| (g.offset, g.line));
        let state = job.grown.as_ref().and_then(|g| serde_json::from_str::<Value>(&g.state).ok());
        if let Some(state) = &state {
            input.restore(&state["parser"]);
        }
        let assembler_state: Option<State> = state.and_then(|s| serde_json::from_value(s["assembler"].clone()).ok());
        let mut assembler =
            Assembler::new(&mut tx, job.head.clone(), job.name, job.written_at(), assembler_state.as_ref())?;
        if job.grown.is_none() && is_older_copy(&tx, &job, &input.parser_state())? {
            assembler.is_older_copy();
        }
        // What a large log takes is enough in memory.
        if let Some(next) = self.next.take().filter(|_| job.size <= ahead::LARGEST) {
            self.ahead = Ahead::begin(&tx, &next)?;
        }
        let path = job.path.to_owned();
        thread::scope(|scope| {
            let (send, receive) = sync_channel(BATCHES);
            match input {
                Input::Begun(begun) => return self.write(tx, &job, assembler, || begun.next()),
                Input::Lines(parser) => scope.spawn(move || read::lines(&path, offset, line, parser, &send)),
                Input::Document(parser, document) => scope.spawn(move || read::document(document, parser, &send)),
                Input::Session(parser, session) => scope.spawn(move || database::read_session(session, parser, &send)),
            };
            self.write(tx, &job, assembler, || receive.recv().ok())
        })
    }

    fn write<'c>(
        &mut self,
        mut tx: Transaction<'c>,
        job: &Job<'_>,
        mut assembler: Assembler,
        mut next: impl FnMut() -> Option<Batch>,
    ) -> store::Result<(Transaction<'c>, io::Result<()>)> {
        let began = self.done;
        let (mut bytes, mut committed) = (0, 0);
        let mut outcome = Ok(());
        let mut skipped = job.grown.as_ref().map_or(0, |g| g.skipped);
        while let Some(batch) = next() {
            for record in batch.records {
                bytes += record.raw.len();
                self.summary.records += u64::from(record.raw.len() > 0);
                skipped += u64::from(!record.problems.is_empty());
                for problem in record.problems {
                    self.summary.skip(job.name, record.line, problem);
                }
                assembler.record(&mut tx, &mut self.projects, &record.raw, record.line, record.items)?;
            }
            if let Some((line, reason)) = batch.unfinished {
                // Nothing is lost: the line is read again when the file grows.
                if job.modified.elapsed().is_ok_and(|age| age > STILL_WRITTEN) {
                    self.summary.skip(job.name, line, format!("the last line is cut off ({reason})"));
                } else {
                    self.summary.unfinished += 1;
                }
            }
            if !batch.may_save {
                continue;
            }
            outcome = batch.error.map_or(Ok(()), Err);
            let state = assembler.save(&mut tx, &mut self.projects)?;
            let place =
                Place { offset: batch.offset, line: batch.line, parser: batch.parser, reader: batch.reader, skipped };
            let remembered = (!assembler.has_lost(&tx)?).then_some(&state);
            job.save(&tx, place, remembered, batch.last && outcome.is_ok())?;
            if (bytes - committed >= COMMIT_BYTES || tx.is_wanted()) && job.may_commit {
                tx = tx.commit_and_go_on()?;
                committed = bytes;
            }
            self.done = began + bytes.min(job.size);
            (self.progress)(Progress::Reading { done: self.done, total: self.total, file: job.path });
            if self.stopped() {
                break;
            }
        }
        self.summary.bytes += bytes;
        self.summary.read.push(FileRead {
            path: job.path.to_owned(),
            agent: job.head.agent,
            session: job.head.native_id.clone(),
            new_turns: assembler.counts.new_turns,
            git_commits: assembler.counts.git_commits,
        });
        self.summary.add(assembler.counts);
        Ok((tx, outcome))
    }
}

/// A file being read.
struct Job<'a> {
    path: &'a Path,
    name: &'a str,
    head: SessionHead,
    stamp: Stamp,
    /// What it counts for in the progress, at most.
    size: u64,
    modified: SystemTime,
    /// What is known of it, when it only grew since.
    grown: Option<Source>,
    may_commit: bool,
}

struct Place {
    offset: u64,
    line: u64,
    parser: Value,
    reader: Value,
    skipped: u64,
}

impl Job<'_> {
    fn written_at(&self) -> Millis {
        Millis(self.stamp.mtime_ns / 1_000_000)
    }

    /// Without a state nothing is remembered but that the file was read: if it grows, it is read from its start.
    fn save(&self, tx: &Transaction<'_>, place: Place, state: Option<&State>, whole: bool) -> store::Result<()> {
        let (offset, line) = if state.is_some() { (place.offset, place.line) } else { (0, 1) };
        let prefix_hash = source::fingerprint(self.path, offset).unwrap_or_default();
        let state = state
            .map_or(Value::Null, |state| json!({ "parser": place.parser, "reader": place.reader, "assembler": state }));
        // Until the whole file is read its size is noted as unknown, so that the next import looks at it again.
        let (size, mtime_ns) = if whole { (self.stamp.size, self.stamp.mtime_ns) } else { (0, 0) };
        sources::save(
            tx,
            &Source {
                path: self.name.to_owned(),
                agent: self.head.agent,
                native_id: self.head.native_id.clone(),
                size,
                mtime_ns,
                offset,
                line,
                prefix_hash,
                state: state.to_string(),
                skipped: place.skipped,
            },
        )
    }
}

/// What is known of a file that only grew since; `None` when it is new, or another file took its name.
fn grown_from(path: &Path, known: Option<Source>, stamp: Stamp) -> io::Result<Option<Source>> {
    let compressed = path.extension().is_some_and(|e| e == "zst");
    match known {
        Some(known) if !compressed && known.offset > 0 && known.offset <= stamp.size => {
            let same = source::fingerprint(path, known.offset)? == known.prefix_hash;
            Ok(same.then_some(known))
        }
        _ => Ok(None),
    }
}
