//! Who waits for another machine's contents can be interrupted.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Mount, turn_files};
use crate::needs_fuse;
use crate::stage::Stage;

/// Far below what a reader waits otherwise.
const AT_ONCE: Duration = Duration::from_secs(4);

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn python(program: &str, file: &Path) -> Child {
    let mut command = Command::new("python3");
    command.args(["-c", program]).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A mount whose reads of another machine's contents wait.
fn waiting() -> Stage {
    let mut stage = Stage::with(2);
    stage.b.set_variable("COGFS_FETCH_TIMEOUT", "60s");
    stage.hold();
    stage
}

#[test]
fn a_program_without_a_handler_ends_at_once() {
    needs_fuse!();
    for what in [Signal::INT, Signal::TERM, Signal::KILL] {
        let stage = waiting();
        let mount = Mount::new(&stage.b);
        let file = turn_files(mount.dir()).remove(0);
        let mut reader = Command::new("cat").arg(&file).stdout(Stdio::null()).spawn().unwrap();
        stage.wait_for_fetches(1);
        let began = Instant::now();
        signal(&reader, what);
        assert!(!reader.wait().unwrap().success());
        assert!(began.elapsed() < AT_ONCE, "{what:?}: {:?}", began.elapsed());
        stage.let_go();
        assert!(!std::fs::read(&file).unwrap().is_empty());
        assert_eq!(stage.fetches(), 1, "what was asked for comes all the same");
    }
}

#[test]
fn a_program_with_a_handler_has_its_signal_at_once_and_may_read_again() {
    needs_fuse!();
    let stage = waiting();
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    let program = "import os, sys\n\
        fd = os.open(sys.argv[1], os.O_RDONLY)\n\
        try:\n    os.read(fd, 4096)\n\
        except KeyboardInterrupt:\n    print('interrupted', flush=True)\n\
        print(len(os.read(fd, 4096)), flush=True)\n";
    let mut reader = python(program, &file);
    stage.wait_for_fetches(1);
    let began = Instant::now();
    signal(&reader, Signal::INT);
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "interrupted");
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    stage.let_go();
    assert!(lines.next().unwrap().unwrap().parse::<usize>().unwrap() > 0);
    assert!(reader.wait().unwrap().success());
    assert!(!mount.path(".cogfs/errors.jsonl").metadata().is_ok_and(|log| log.len() > 0), "it is no refusal");
}

#[test]
fn a_signal_that_ends_nothing_interrupts_nothing() {
    needs_fuse!();
    let stage = waiting();
    let mount = Mount::new(&stage.b);
    let file = turn_files(mount.dir()).remove(0);
    // One has a handler for a signal that comes all the time, one has SIGINT blocked until it has read.
    let handled = "import os, signal, sys\n\
        signal.signal(signal.SIGURG, lambda *_: None)\n\
        print(len(os.read(os.open(sys.argv[1], os.O_RDONLY), 4096)), flush=True)\n";
    let blocked = "import os, signal, sys\n\
        signal.signal(signal.SIGINT, lambda *_: None)\n\
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])\n\
        print(len(os.read(os.open(sys.argv[1], os.O_RDONLY), 4096)), flush=True)\n";
    let mut readers = [(python(handled, &file), Signal::URG), (python(blocked, &file), Signal::INT)];
    stage.wait_for_fetches(1);
    let is_reading = |child: &Child| {
        std::fs::read_to_string(format!("/proc/{}/wchan", child.id()))
            .is_ok_and(|at| at.contains("folio") || at.contains("fuse"))
            || std::fs::read_to_string(format!("/proc/{}/status", child.id()))
                .is_ok_and(|status| status.contains("State:\tD"))
    };
    for (reader, what) in &readers {
        crate::common::wait_until(AT_ONCE * 3, "it reads", || is_reading(reader));
        signal(reader, *what);
    }
    // Several looks at who was sent a signal.
    let until = Instant::now() + Duration::from_millis(300);
    crate::common::wait_until(AT_ONCE, "a while", || Instant::now() > until);
    stage.let_go();
    for (reader, what) in &mut readers {
        let mut said = String::new();
        BufReader::new(reader.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert!(said.trim().parse::<usize>().is_ok_and(|bytes| bytes > 0), "{what:?}: {said}");
        assert!(reader.wait().unwrap().success());
    }
}
