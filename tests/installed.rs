//! What is installed beside the program: manual pages, the helper of mount(8), the service of systemd.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use common::mount::{clear, is_mounted};
use common::{Ran, World, files, has_program, must};

#[test]
fn every_command_has_a_manual_page_that_man_can_show() {
    let world = World::new();
    let dir = world.root().join("man1");
    world.run(&["man".as_ref(), "--dir".as_ref(), dir.as_os_str()]).exits(0);
    let pages = files(&dir);
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["cogfs.1", "cogfs-mount.1", "cogfs-sync-conflicts-take.1", "cogfs-service-install.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let page = world.run(&["man", "sync", "conflicts"]).exits(0).stdout;
    assert_eq!(page, fs::read_to_string(dir.join("cogfs-sync-conflicts.1")).unwrap());
    let unknown = world.run(&["man", "sink"]).exits(1);
    assert!(unknown.stderr.contains("there is no command `sink`"), "{}", unknown.stderr);
    skip_unless!(has_program("man"), "no man");
    for page in pages {
        let shown = must(Command::new("man").arg("-l").arg(&page).env("MANPAGER", "cat"));
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(text.contains("SYNOPSIS"), "{}: {text}", page.display());
    }
}

#[test]
fn mount_finds_its_helper_under_the_name_of_the_type() {
    needs_fuse!();
    let world = World::with_samples();
    let helper = world.root().join("mount.cogfs");
    symlink(env!("CARGO_BIN_EXE_cogfs"), &helper).unwrap();
    let dir = world.root().join("mnt");
    let run = |options: &str| {
        let mut command = Command::new(&helper);
        // As mount(8) calls it, for a line with `home=`.
        command.arg("cogfs").arg(&dir).args(["-o", options]).env_remove("COGFS_HOME");
        command.env("HOME", world.user()).env("COGFS_SYNC_CONTINUOUS", "false");
        Ran::of(&command.output().unwrap())
    };
    let home = format!("home={}", world.home().display());
    run(&format!("rw,noauto,user=ada,x-systemd.automount,ro,no-watch,{home}")).exits(0);
    assert!(is_mounted(&dir));
    let refused = fs::create_dir(dir.join("projects/new")).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    assert!(dir.join("projects").read_dir().unwrap().count() > 0, "the database that was named");
    world.run(&["unmount".as_ref(), dir.as_os_str()]).exits(0);
    let refused = run("readonly").exits(1);
    assert!(refused.stderr.contains("no option `readonly`"), "{}", refused.stderr);
    assert!(!is_mounted(&dir));
    clear(&dir);
}

#[test]
fn the_service_is_a_unit_that_systemd_understands() {
    let world = World::new();
    let dir = world.root().join("my 100% conversations");
    // No systemd for a user runs here: the unit is written, and what is to be done is said.
    let mut command = world.cogfs(&["service".as_ref(), "install".as_ref(), dir.as_os_str()]);
    command.env_remove("XDG_RUNTIME_DIR").env_remove("DBUS_SESSION_BUS_ADDRESS");
    let installed = Ran::of(&command.output().unwrap()).exits(1);
    let unit = world.user().join(".config/systemd/user/cogfs.service");
    assert!(
        installed.stderr.contains(&format!("{} is written, but could not be started", unit.display())),
        "{installed:?}"
    );
    let text = fs::read_to_string(&unit).unwrap();
    assert!(text.contains("mount --foreground") && text.contains("my 100%% conversations"), "{text}");
    if has_program("systemd-analyze") {
        let verified =
            Command::new("systemd-analyze").args(["verify", "--user", "--man=no"]).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr).into_owned();
        assert!(!said.contains("cogfs.service"), "{said}");
    }
    world.run(&["service", "remove"]).exits(0);
    assert!(!unit.exists());
    let nothing = world.run(&["service", "remove"]).exits(1);
    assert!(nothing.stderr.contains("nothing to remove"), "{}", nothing.stderr);
}
