//! Who reads: what `/proc` says of the thread that a read is for. Programs that read whatever they find, and threads that were sent a
//! signal meanwhile.
//!
//! The kernel withdraws no read: of one that a signal is to interrupt it says so in a request of its own, which `fuser` 0.18 answers
//! "not supported" by itself, and of a readahead, which the first read of a file is, it says nothing.

use std::fs;

/// Programs that read whatever they find, by their names as `/proc` has them: cut after 15 bytes.
const INDEXERS: [&str; 8] = [
    "tracker-",
    "localsearch",
    "baloo",
    "tumblerd",
    "updatedb",
    "ffmpegthumbnail",
    "gnome-desktop-t",
    "plocate-updated",
];

/// Signals by which people and programs end something. Others come all the time, as those of timers and of the runtime of Go.
const ENDING: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn status(thread: u32) -> String {
    fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default()
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Whether a thread belongs to a program that reads whatever it finds.
pub fn is_indexer(thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    let name = |id: u32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    // A thread may have a name of its own.
    let process = field(&status(thread), "Tgid").and_then(|id| id.parse().ok());
    [Some(thread), process].into_iter().flatten().any(|id| names_indexer(name(id).trim()))
}

fn names_indexer(comm: &str) -> bool {
    INDEXERS.iter().any(|name| comm.starts_with(name))
}

/// Whether a thread was sent a signal that is to end what it does, and will have it once its read is answered.
pub fn is_interrupted(thread: u32) -> bool {
    thread != 0 && is_to_be_interrupted(&status(thread))
}

fn is_to_be_interrupted(status: &str) -> bool {
    let mask = |name| field(status, name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).unwrap_or(0);
    // One that would kill it is turned into a SIGKILL of each of its threads (signal(7), `complete_signal` of the kernel).
    if mask("SigPnd") & bit(libc::SIGKILL) != 0 {
        return true;
    }
    let pending = (mask("SigPnd") | mask("ShdPnd")) & !mask("SigBlk") & mask("SigCgt");
    ENDING.iter().any(|signal| pending & bit(*signal) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_read_everything_are_known_by_the_names_that_proc_has() {
        for comm in
            ["tracker-extract", "tracker-miner-f", "localsearch-3", "baloo_file_extr", "tumblerd", "gnome-desktop-t"]
        {
            assert!(names_indexer(comm), "{comm}");
        }
        for comm in ["cat", "grep", "vim", "Thunar", "nautilus", ""] {
            assert!(!names_indexer(comm), "{comm}");
        }
    }

    #[test]
    fn a_signal_interrupts_that_ends_something_and_is_neither_blocked_nor_left_to_nobody() {
        let status = |own: u64, shared: u64, blocked: u64, caught: u64| {
            format!(
                "Name:\tpython3\nSigPnd:\t{own:016x}\nShdPnd:\t{shared:016x}\nSigBlk:\t{blocked:016x}\nSigCgt:\t{caught:016x}\n"
            )
        };
        let (int, kill, urg) = (bit(libc::SIGINT), bit(libc::SIGKILL), bit(libc::SIGURG));
        assert!(is_to_be_interrupted(&status(int, 0, 0, int)));
        assert!(is_to_be_interrupted(&status(0, int, 0, int | urg)));
        assert!(is_to_be_interrupted(&status(kill, 0, 0, 0)));
        assert!(!is_to_be_interrupted(&status(0, int, int, int)), "blocked");
        assert!(!is_to_be_interrupted(&status(0, urg, 0, urg)), "a timer");
        assert!(!is_to_be_interrupted(&status(0, 0, 0, int)));
        assert!(!is_to_be_interrupted(""), "it has ended");
        assert!(!is_interrupted(std::process::id()));
    }
}
