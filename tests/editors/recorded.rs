//! Programs that are not called here, by the system calls that were recorded of them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};

use rustix::fs::{FlockOperation, RenameFlags};

use crate::desk::{ALL, Desk, long_document, world};

/// LibreOffice (sal/osl/unx/file.cxx, sfx2's docfile.cxx; traces in rclone #3006, #4044): a lock file `.~lock.NAME#`, a copy
/// of the new contents in `luXXXX.tmp` beside the document, moved over it (`MoveFile`); the lock is removed at the end.
#[test]
fn libreoffice_moves_its_temporary_file_over_it() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let text = long_document("Regatta");
    let dir = desk.dir();
    let lock = dir.join(".~lock.meta.md#");
    fs::write(&lock, ",mira,boat,20.08.2026 09:15,file:///home/mira/.config/libreoffice/4;").unwrap();
    for (round, name) in ["lu1a2b.tmp", "lu1a2c.tmp"].iter().enumerate() {
        let text = if round == 0 { text.replace("Regatta", "Trial") } else { text.clone() };
        let temporary = dir.join(name);
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&temporary).unwrap();
        for piece in text.as_bytes().chunks(32 * 1024) {
            file.write_all(piece).unwrap();
        }
        file.set_permissions(fs::Permissions::from_mode(0o644)).unwrap();
        file.sync_all().unwrap();
        drop(file);
        fs::rename(&temporary, desk.meta()).unwrap();
    }
    fs::remove_file(&lock).unwrap();
    desk.holds(&text, &["retitle", "tags", "note", "retitle", "tags"], &[]);
}

/// The same with `UseSystemFileLocking`, and where it copies over the document that it holds open: `ftruncate`, `pwrite`.
#[test]
fn libreoffice_writes_over_a_document_that_it_has_locked() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let text = long_document("Regatta");
    let file = OpenOptions::new().read(true).write(true).open(desk.meta()).unwrap();
    rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    file.set_len(0).unwrap();
    let mut at = 0;
    for piece in text.as_bytes().chunks(32 * 1024) {
        file.write_all_at(piece, at).unwrap();
        at += piece.len() as u64;
    }
    drop(file);
    desk.holds(&text, &ALL, &[]);
}

/// VS Code (src/vs/platform/files/node/diskFileSystemProvider.ts): an existing file is opened `r+` and truncated, so that its
/// alternate streams and its inode stay, then written in one piece; `fdatasync` follows only while that never failed.
#[test]
fn vs_code_truncates_it_and_writes_it_in_place() {
    needs_fuse!();
    for sync in [true, false] {
        let world = world();
        let desk = Desk::new(&world);
        let text = long_document("Regatta");
        let file = OpenOptions::new().read(true).write(true).open(desk.meta()).unwrap();
        file.set_len(0).unwrap();
        file.write_all_at(text.as_bytes(), 0).unwrap();
        if sync {
            file.sync_data().unwrap();
        }
        drop(file);
        // It compares time and size of the file afterwards: what it did not do itself it shows as a conflict.
        desk.holds(&text, &ALL, &[]);
    }
}

/// VS Code with `files.experimentalAtomicWrite` and for its settings: `meta.md.vsctmp` beside it, synced, renamed over it.
#[test]
fn vs_code_renames_a_whole_file_over_it() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let text = long_document("Regatta");
    let temporary = desk.dir().join("meta.md.vsctmp");
    let mut file = File::create(&temporary).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.sync_data().unwrap();
    drop(file);
    fs::rename(&temporary, desk.meta()).unwrap();
    desk.holds(&text, &ALL, &[]);
}

/// What exchanges two files, as `mv --exchange` and some editors do: the old document is then under the other name.
#[test]
fn a_file_that_is_exchanged_with_it_is_saved() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let (text, before) = (long_document("Regatta"), desk.read());
    fs::write(desk.dir().join("other.md"), &text).unwrap();
    let dir = File::open(desk.dir()).unwrap();
    rustix::fs::renameat_with(&dir, "other.md", &dir, "meta.md", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(desk.dir().join("other.md")).unwrap(), before);
    fs::remove_file(desk.dir().join("other.md")).unwrap();
    desk.holds(&text, &ALL, &[]);
}
