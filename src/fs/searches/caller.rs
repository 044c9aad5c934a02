//! Whether a lookup comes from a program that is about to make a directory of that name.
//!
//! mkdir(2) looks the name up first and ends in EEXIST where that is found; the kernel does not say what a lookup is for. `/proc`
//! says which system call the thread is in, to who may trace it: where the system restricts that (Yama), the program's name has
//! to do.

use std::fs;
use std::thread;
use std::time::Duration;

/// The thread that asks sleeps when the kernel has handed its request over; until then it is "running".
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_micros(100);

#[cfg(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm"))]
const CALLS: [libc::c_long; 2] = [libc::SYS_mkdir, libc::SYS_mkdirat];
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "arm")))]
const CALLS: [libc::c_long; 1] = [libc::SYS_mkdirat];

/// Whether a thread is in mkdir(2).
pub fn is_making_a_directory(thread: u32) -> bool {
    if thread == 0 {
        return false;
    }
    for _ in 0..TRIES {
        match fs::read_to_string(format!("/proc/{thread}/syscall")) {
            Ok(call) if call.starts_with("running") => thread::sleep(PAUSE),
            Ok(call) => return is_mkdir(&call),
            Err(_) => break,
        }
    }
    fs::read_to_string(format!("/proc/{thread}/comm")).is_ok_and(|comm| comm.trim() == "mkdir")
}

fn is_mkdir(call: &str) -> bool {
    let number = call.split(' ').next().and_then(|number| number.trim().parse().ok());
    number.is_some_and(|number: libc::c_long| CALLS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_number() {
        assert!(is_mkdir(&format!("{} 0xffffff9c 0x7ffd 0x1ff 0x0 0x0 0x0 0x7ffd 0x7f00\n", libc::SYS_mkdirat)));
        assert!(!is_mkdir(&format!("{} 0xffffff9c\n", libc::SYS_statx)));
        assert!(!is_mkdir("-1 0x7ffd 0x7f00\n") && !is_mkdir(""));
        assert!(!is_making_a_directory(0) && !is_making_a_directory(std::process::id()));
    }
}
