//! The mount against a model of what it promises: random sequences of operations give the same results, errnos, listings and
//! contents in both, whatever is done in between (quiet, remounts, crashes, imports).
//!
//! A failure prints its seed and the shortest sequence found that still fails. `COGFS_MODEL_SEED` and `COGFS_MODEL_STEPS` run one again,
//! `COGFS_MODEL_SHRINK` gives it more seconds to be made shorter. On a real mount it is `COGFS_MODEL_MOUNT_STEPS`, and the last operations.

#[path = "../common/mod.rs"]
mod common;
mod direct;
mod kernel;
mod looker;
mod model;
mod mounted;
mod ops;
mod record;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cogfs::fs::CogFs;
use cogfs::store::Layout;
use direct::Direct;
use kernel::Own;
use model::{Look, Model, Seen, Start};
use ops::{Can, Dice, Op};
use record::Record;

/// Everything is compared after so many steps; what a step may have changed, after each.
const WHOLE_EVERY: usize = 25;

/// When fewer commits than this are left, the rest having been emptied out of the trash, another world is begun.
const LEAST_COMMITS: usize = 4;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What a model is one of: a tree that is asked directly, or a mount.
trait Real {
    fn apply(&mut self, op: &Op) -> model::Result<()>;
    /// What is below paths, as [`Model::dump`] has it.
    fn dumps(&mut self, paths: &[String], look: &Look) -> Vec<BTreeMap<String, Seen>>;
    fn read_open(&mut self, handle: usize) -> Option<Vec<u8>>;
    fn size_of(&mut self, path: &str) -> Option<u64>;
    /// Its `COGFS_HOME`, and the folder of the logs that grow.
    fn home(&self) -> PathBuf;
    fn logs(&self) -> PathBuf;
}

/// A model and the mount it is a model of.
struct Pair<R> {
    model: Model,
    real: R,
    record: Record,
    /// Edits before the last step.
    edits: u64,
    steps: usize,
    /// Something fell due since everything was looked at.
    due_since: bool,
}

fn database_in(home: &Path) -> PathBuf {
    Layout::new(home.join("data")).database()
}

impl Pair<Direct> {
    fn new() -> Self {
        let mut real = Direct::new();
        let starts = real.starts();
        Self::of(real, starts)
    }
}

impl<R: Real> Pair<R> {
    fn of(real: R, starts: Vec<Start>) -> Self {
        let record = Record::open(&database_in(&real.home()));
        Self { model: Model::new(starts), real, record, edits: 0, steps: 0, due_since: false }
    }

    /// Does an operation in both and looks at what it may have changed; what differs.
    fn step(&mut self, op: &Op) -> Result<(), String> {
        let touched = self.model.commits_in(op);
        let done = words(self.act(op)?);
        let touched = touched.map(|commits| self.model.paths_of(&commits));
        let look = match touched {
            _ if self.steps.is_multiple_of(WHOLE_EVERY) => Look::Deep,
            Some(dirs) => Look::Into(dirs),
            None => Look::IntoAll,
        };
        self.compare(&look).map_err(|e| format!("after {op:?} ({done}):\n{e}"))
    }

    /// Does an operation in both; the result, or that they differ.
    fn act(&mut self, op: &Op) -> Result<model::Result<()>, String> {
        self.steps += 1;
        if let Op::Quiet { for_ms } = op {
            // Nothing is due at about that moment, or it depends on the machine which of both sees it.
            let then = Instant::now() + Duration::from_millis(*for_ms);
            let near = |at: &Instant| at.max(&then).duration_since(*at.min(&then)) < Duration::from_millis(90);
            if self.model.due().iter().any(near) {
                return Ok(Ok(()));
            }
        }
        self.edits = self.model.edits();
        let wanted = match op {
            // The lengths of what is made from the conversation are not modelled: that it has this one already changes nothing.
            Op::Truncate { path, size }
                if self.model.is_made(path) && self.real.size_of(path) == Some(*size as u64) =>
            {
                Ok(())
            }
            _ => self.model.apply(op, Instant::now()),
        };
        let real = self.real.apply(op);
        if wanted != real {
            return Err(format!("{op:?}: {} is promised, it is {}", words(wanted), words(real)));
        }
        Ok(real)
    }

    fn compare(&mut self, look: &Look) -> Result<(), String> {
        let mut wrong = String::new();
        let roots = self.model.roots();
        let dumps = self.real.dumps(&roots, look);
        for (root, real) in roots.iter().zip(dumps) {
            let wanted = self.model.dump(root, look);
            for (path, seen) in &wanted {
                match real.get(path) {
                    Some(other) if other == seen => {}
                    Some(other) => {
                        wrong.push_str(&format!("  {path}: {} is promised, it is {}\n", show(seen), show(other)))
                    }
                    None => wrong.push_str(&format!("  {path} is not there\n")),
                }
            }
            for path in real.keys().filter(|path| !wanted.contains_key(*path)) {
                wrong.push_str(&format!("  {path} is there\n"));
            }
        }
        for handle in 0..self.model.handles.len() {
            if let (Some(wanted), real) = (self.model.read_open(handle), self.real.read_open(handle))
                && real.as_ref() != Some(&wanted)
            {
                let real = real.map_or("nothing".to_owned(), |bytes| show(&Seen::Bytes(bytes)));
                wrong.push_str(&format!(
                    "  open file {handle}: {} is promised, it is {real}\n",
                    show(&Seen::Bytes(wanted))
                ));
            }
        }
        wrong.push_str(&self.compare_record());
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// What the log has more since the last step, and what waits for the cloud.
    fn compare_record(&self) -> String {
        let mut wrong = String::new();
        let (wanted, real) = (self.model.log_since(self.edits), self.record.log_since(self.edits));
        if wanted != real {
            wrong.push_str(&format!("  the log: {wanted:?} is promised, it is {real:?}\n"));
        }
        let (wanted, real) = (self.model.waiting(), self.record.waiting());
        for line in wanted.iter().filter(|line| !real.contains(line)) {
            wrong.push_str(&format!("  does not wait for the cloud: {line}\n"));
        }
        for line in real.iter().filter(|line| !wanted.contains(line)) {
            wrong.push_str(&format!("  waits for the cloud: {line}\n"));
        }
        if wrong.is_empty() && wanted != real {
            wrong = format!("  {wanted:?} waits as promised, {real:?} does\n");
        }
        wrong
    }

    /// What holds at the end of a world.
    fn ends(&mut self) -> Result<(), String> {
        self.compare(&Look::Deep)?;
        self.replay_queue()
    }

    /// What waits for the cloud, done to the database as it was before, makes the records what they are.
    fn replay_queue(&self) -> Result<(), String> {
        let before = tempfile::tempdir().unwrap();
        direct::copy(direct::template(), before.path());
        let layout = Layout::new(before.path().join("data"));
        direct::import_places(&layout, &common::files(&self.real.logs()));
        let replayed = self.record.replay_onto(&layout.database()).curated();
        let real = self.record.curated();
        let differ: Vec<&String> = real.iter().filter(|line| !replayed.contains(line)).collect();
        let as_many = replayed.len() == real.len();
        if differ.is_empty() && as_many { Ok(()) } else { Err(format!("the queue does not lead here: {differ:#?}")) }
    }
}

fn words(result: model::Result<()>) -> String {
    result.map_or_else(|errno| std::io::Error::from_raw_os_error(errno).to_string(), |()| "success".to_owned())
}

fn show(seen: &Seen) -> String {
    match seen {
        Seen::Bytes(bytes) if bytes.len() > 300 => format!("{} bytes", bytes.len()),
        Seen::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        other => format!("{other:?}"),
    }
}

/// Runs a sequence from the start and looks at everything behind it, which is sooner done than after each step; the step that
/// fails, with what is wrong.
fn replay(ops: &[Op]) -> Result<(), (usize, String)> {
    let mut pair = Pair::new();
    for (at, op) in ops.iter().enumerate() {
        let step = catch_unwind(AssertUnwindSafe(|| pair.act(op).map(drop)));
        step.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))).map_err(|e| (at, e))?;
    }
    pair.compare(&Look::Deep).map_err(|e| (ops.len().saturating_sub(1), e))
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("?"))
}

type Replay = fn(&[Op]) -> Result<(), (usize, String)>;

/// Leaves out what a failure does not need.
fn shrink(mut ops: Vec<Op>, mut failure: String, replay: Replay) -> (Vec<Op>, String) {
    let began = Instant::now();
    let most = Duration::from_secs(number("COGFS_MODEL_SHRINK").unwrap_or(20));
    let mut size = ops.len().div_ceil(2);
    while size > 0 && began.elapsed() < most {
        let mut at = 0;
        while at < ops.len() {
            let end = (at + size).min(ops.len());
            let without: Vec<Op> = ops[..at].iter().chain(&ops[end..]).cloned().collect();
            match replay(&without) {
                Err((last, error)) => {
                    (ops, failure) = (without, error);
                    ops.truncate(last + 1);
                }
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (ops, failure)
}

fn fail(seed: u64, (ops, error): (Vec<Op>, String)) -> ! {
    let ops: Vec<String> = ops.iter().map(|op| format!("  {op:?}")).collect();
    panic!("seed {seed}: {error}\nsequence:\n{}", ops.join("\n"))
}

fn run(seed: u64, steps: usize) {
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new();
    let mut done = Vec::new();
    for _ in 0..steps {
        if pair.model.commit_dirs().len() < LEAST_COMMITS {
            end(&mut pair, seed);
            pair = Pair::new();
            done.clear();
        }
        let op = ops::next(&mut dice, &pair.model, Can { wait: true, logs: 3 });
        done.push(op.clone());
        let step = catch_unwind(AssertUnwindSafe(|| pair.step(&op)));
        if let Err(error) = step.unwrap_or_else(|panic| Err(panicked(panic.as_ref()))) {
            fail(seed, shrink(done, error, replay));
        }
    }
    end(&mut pair, seed);
}

fn end(pair: &mut Pair<Direct>, seed: u64) {
    pair.ends().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    pair.real.check();
}

/// Does a step, and looks whether the kernels of this mount and of another of the same database know all that it changed.
fn step_told(pair: &mut Pair<Direct>, other: &CogFs, op: &Op) -> Result<(), String> {
    let former = pair.real.former_names(&pair.model);
    let (before, there) = (pair.real.remember(&former), kernel::remember(other, &former));
    let mut own = pair.real.own_before(op);
    pair.step(op)?;
    pair.real.own_after(op, &mut own);
    let told = pair.real.changes();
    let after = pair.real.remember(&former);
    // Another kernel is asked then, or one that has forgotten everything.
    let is_new = matches!(op, Op::Remount | Op::Kill | Op::Forget);
    let untold = if is_new { Vec::new() } else { kernel::untold(&before, &after, &told, &own) };
    if !untold.is_empty() {
        return Err(format!("after {op:?} the kernel has stale: {untold:#?}"));
    }
    let told = other.changes().unwrap();
    let untold = kernel::untold(&there, &kernel::remember(other, &former), &told, &Own::default());
    if untold.is_empty() { Ok(()) } else { Err(format!("after {op:?} another mount has stale: {untold:#?}")) }
}

fn replay_told(ops: &[Op]) -> Result<(), (usize, String)> {
    let mut pair = Pair::new();
    let other = pair.real.other();
    for (at, op) in ops.iter().enumerate() {
        step_told(&mut pair, &other, op).map_err(|e| (at, e))?;
    }
    Ok(())
}

#[test]
fn whatever_an_edit_changes_is_told_here_and_to_another_mount() {
    let steps = number("COGFS_MODEL_STEPS").unwrap_or(150) as usize;
    let seed = number("COGFS_MODEL_SEED").unwrap_or(1);
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new();
    let other = pair.real.other();
    let mut done = Vec::new();
    for _ in 0..steps {
        let op = ops::next(&mut dice, &pair.model, Can { wait: true, logs: 3 });
        done.push(op.clone());
        if let Err(error) = step_told(&mut pair, &other, &op) {
            fail(seed, shrink(done, error, replay_told));
        }
    }
}

#[test]
fn everything_that_was_edited_can_be_taken_back_and_then_nothing_waits_for_the_cloud() {
    let steps = number("COGFS_MODEL_STEPS").unwrap_or(150) as usize;
    let seed = number("COGFS_MODEL_SEED").unwrap_or(1);
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new();
    let before = pair.real.record();
    for _ in 0..steps {
        let op = ops::next(&mut dice, &pair.model, Can { wait: true, logs: 0 });
        if let Err(error) = pair.step(&op) {
            panic!("seed {seed}: {error}");
        }
    }
    pair.real.undo_all();
    let after = pair.real.record();
    let differ: Vec<_> = after.iter().filter(|row| !before.contains(row)).collect();
    assert!(differ.is_empty() && after.len() == before.len(), "seed {seed}: not as it was: {differ:#?}");
    pair.real.check();
}

/// Four tests, which run side by side: 10,000 steps. `COGFS_MODEL_STEPS` runs longer sequences.
fn random_operations(seed: u64) {
    let steps = number("COGFS_MODEL_STEPS").unwrap_or(2_500) as usize;
    run(number("COGFS_MODEL_SEED").unwrap_or(seed), steps);
}

#[test]
fn random_operations_do_what_the_model_says_1() {
    random_operations(1);
}

#[test]
fn random_operations_do_what_the_model_says_2() {
    random_operations(2);
}

#[test]
fn random_operations_do_what_the_model_says_5() {
    random_operations(5);
}

#[test]
fn random_operations_do_what_the_model_says_4() {
    random_operations(4);
}

/// Two tests: 2,000 steps. `COGFS_MODEL_MOUNT_STEPS` runs longer sequences.
fn random_operations_on_a_mount(seed: u64) {
    needs_fuse!();
    let steps = number("COGFS_MODEL_MOUNT_STEPS").unwrap_or(1_000) as usize;
    mounted::run(number("COGFS_MODEL_SEED").unwrap_or(seed), steps);
}

#[test]
fn random_operations_on_a_mount_do_what_the_model_says_1() {
    random_operations_on_a_mount(1);
}

#[test]
fn random_operations_on_a_mount_do_what_the_model_says_2() {
    random_operations_on_a_mount(2);
}
