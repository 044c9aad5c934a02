//! What is mounted where, from `/proc/self/mountinfo`, and whether a mount still answers.
//!
//! Never touches a mount on the calling thread: one whose server hangs would hang the caller too.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use std::{fs, io, thread};

use rustix::io::Errno;

/// The type of our mounts, as the kernel lists it.
pub(super) const TYPE: &str = "fuse.cogfs";
/// How long a mount may take to answer before it counts as silent.
const PATIENCE: Duration = Duration::from_secs(2);

/// A mounted cogfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    pub dir: PathBuf,
    /// Its server answers.
    pub alive: bool,
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mountpoint {
    /// The kernel's number of this mount; not given again while it exists.
    pub(super) id: u64,
    pub(super) dir: PathBuf,
    pub(super) fs_type: String,
    /// The number of the FUSE connection: the minor one of its device.
    pub(super) connection: u64,
}

/// Whether a mount's server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    Alive,
    /// The server is gone: every access is ENOTCONN.
    Dead,
    /// The server is there (or its host is overloaded), but did not answer in time.
    Silent,
}

/// Every cogfs mount, with whether it answers.
///
/// # Errors
/// When `/proc/self/mountinfo` cannot be read.
pub fn mounts() -> io::Result<Vec<MountEntry>> {
    let ours = all()?.into_iter().filter(|mount| mount.fs_type == TYPE);
    Ok(ours.map(|mount| MountEntry { alive: health(&mount.dir) == Health::Alive, dir: mount.dir }).collect())
}

/// Every mount, in the order they were made.
pub(super) fn all() -> io::Result<Vec<Mountpoint>> {
    Ok(parse(&fs::read("/proc/self/mountinfo")?))
}

/// What is mounted on `dir`: the topmost, should several be stacked.
pub(super) fn at(dir: &Path) -> io::Result<Option<Mountpoint>> {
    Ok(all()?.into_iter().rfind(|mount| mount.dir == dir))
}

/// Asks the mount for its totals, on a thread that may hang in its place.
pub(super) fn health(dir: &Path) -> Health {
    let (answer, answered) = mpsc::channel();
    let asked = dir.to_path_buf();
    let helper = thread::Builder::new().name("cogfs-probe".to_owned()).spawn(move || {
        // Too late an answer finds nobody listening.
        let _ = answer.send(rustix::fs::statfs(&asked).map(drop));
    });
    if helper.is_err() {
        return Health::Silent;
    }
    match answered.recv_timeout(PATIENCE) {
        // ECONNABORTED: the server died while it owed this answer.
        Ok(Err(Errno::NOTCONN | Errno::CONNABORTED)) => Health::Dead,
        // Someone else's mount refuses us (EACCES), which only a living kernel connection does.
        Ok(_) => Health::Alive,
        Err(_) => Health::Silent,
    }
}

fn parse(mountinfo: &[u8]) -> Vec<Mountpoint> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

/// `id parent major:minor root MOUNTPOINT options [tag...] - TYPE source super-options`, see proc_pid_mountinfo(5).
fn parse_line(line: &[u8]) -> Option<Mountpoint> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = std::str::from_utf8(fields.nth(1)?).ok()?;
    let connection = device.split_once(':')?.1.parse().ok()?;
    let dir = PathBuf::from(OsString::from_vec(unescape(fields.nth(1)?)));
    let fs_type = fields.skip_while(|field| *field != b"-").nth(1)?;
    let fs_type = String::from_utf8_lossy(fs_type).into_owned();
    Some(Mountpoint { id, dir, fs_type, connection })
}

/// Undoes the kernel's `\040` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
90 22 0:51 / /home/a/chats rw,nosuid,nodev shared:7 master:2 - fuse.cogfs cogfs rw,user_id=1000,group_id=1000
91 22 0:52 / /home/a/my\\040notes\\134x\\011\\012 ro,nosuid - fuse.cogfs cogfs ro,user_id=1000
92 90 0:53 / /home/a/chats rw - tmpfs none rw
93 22 0:54 / /home/a/ssh rw - fuse.sshfs host: rw
";

    #[test]
    fn a_line_gives_its_id_directory_and_type_whatever_the_number_of_tags() {
        let dirs: Vec<_> = parse(SAMPLE.as_bytes()).into_iter().map(|m| (m.id, m.dir, m.fs_type)).collect();
        let expected = [
            (22, "/", "ext4"),
            (90, "/home/a/chats", "fuse.cogfs"),
            (91, "/home/a/my notes\\x\t\n", "fuse.cogfs"),
            (92, "/home/a/chats", "tmpfs"),
            (93, "/home/a/ssh", "fuse.sshfs"),
        ];
        let expected: Vec<_> = expected.map(|(id, dir, fs_type)| (id, PathBuf::from(dir), fs_type.to_owned())).into();
        assert_eq!(dirs, expected);
    }

    #[test]
    fn what_is_no_octal_escape_stays_as_it_is() {
        assert_eq!(unescape(b"a\\09b\\"), b"a\\09b\\");
        assert_eq!(unescape(b"\\777"), b"\\777");
        assert_eq!(unescape(b"\\303\\244"), "ä".as_bytes());
    }

    #[test]
    fn lines_that_are_cut_short_are_left_out() {
        assert_eq!(parse(b"22 1 8:1 / /x rw - \n90 22 0:51 /\n\nx 1 8:1 / /x rw - ext4 a b\n").len(), 1);
        assert_eq!(parse(b"22 1 8:1 / /x rw\n"), []);
    }

    #[test]
    fn a_directory_that_is_no_mount_has_none_and_the_root_has_one() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(at(dir.path()).unwrap(), None);
        assert!(at(Path::new("/")).unwrap().is_some());
        assert_eq!(health(Path::new("/")), Health::Alive);
    }
}
