//! Tells when the network came, went or changed (routes and addresses, by netlink), and when the machine slept.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often it is looked whether to end.
static LOOKS: libc::timeval = libc::timeval { tv_sec: 1, tv_usec: 0 };

/// Listens until it is dropped.
pub struct Network {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Begins to listen.
    ///
    /// # Errors
    /// When there is no netlink (a sandbox), or no further thread.
    pub fn listen(changed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let socket = open()?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::Builder::new().name("cogfs-network".to_owned()).spawn(move || {
            let mut buffer = [0_u8; 8192];
            while !seen.load(Ordering::Relaxed) {
                // SAFETY: the buffer is writable and as long as is said; the descriptor is open for as long as this thread runs.
                let got = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                // What changed is not of interest. Messages that were lost (ENOBUFS) were changes too.
                let is_news = got > 0 || io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
                if is_news {
                    changed();
                }
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A netlink socket for changes of routes and addresses (rtnetlink(7)).
fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just opened, and nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zeros is a valid address of that kind.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    let groups = libc::RTMGRP_LINK
        | libc::RTMGRP_IPV4_IFADDR
        | libc::RTMGRP_IPV4_ROUTE
        | libc::RTMGRP_IPV6_IFADDR
        | libc::RTMGRP_IPV6_ROUTE;
    address.nl_groups = groups.cast_unsigned();
    let size = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
    // SAFETY: the address lives until the call returns, and its size is right.
    if unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let size = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: as above.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, (&raw const LOOKS).cast(), size)
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

/// How long the machine has slept in all since it started.
#[must_use]
pub fn slept() -> Duration {
    let since_boot = |clock| {
        let at = clock_gettime(clock);
        Duration::new(at.tv_sec.unsigned_abs(), u32::try_from(at.tv_nsec).unwrap_or(0))
    };
    // This order: the second is read later, and may be more by that.
    since_boot(ClockId::Boottime).saturating_sub(since_boot(ClockId::Monotonic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_ends_when_it_is_dropped_and_a_machine_that_runs_does_not_sleep() {
        drop(Network::listen(|| ()).unwrap());
        assert!(slept().abs_diff(slept()) < Duration::from_millis(100));
    }

    /// In a network of its own, which is for root alone to have.
    #[test]
    fn a_network_that_comes_is_told() {
        let told = thread::spawn(|| {
            // SAFETY: of this thread alone, which ends with it.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
                eprintln!("skipped: no network of its own: {}", io::Error::last_os_error());
                return None;
            }
            let (tell, heard) = std::sync::mpsc::channel();
            let listening = Network::listen(move || tell.send(()).unwrap_or_default()).unwrap();
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            if !up.is_ok_and(|status| status.success()) {
                eprintln!("skipped: no ip");
                return None;
            }
            let is_told = heard.recv_timeout(Duration::from_secs(20)).is_ok();
            drop(listening);
            Some(is_told)
        });
        assert_ne!(told.join().unwrap(), Some(false));
    }
}
