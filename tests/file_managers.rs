//! Real file managers on a real mount, under a display of their own: what a user does there is what the store then says.
//!
//! Each step leaves a picture in `target/file-managers/` (`COGFS_PICTURES` names another folder), to be looked at.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use cogfs::fs::{CogFs, Lookup, Places, RenameMode};
use cogfs::store::Layout;
use common::{Mount, World, has_program, json, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);

/// A desktop session whose programs see the home of the world's user and no other mount of cogfs: the Trash looks at every
/// mount of the machine, and those of other tests come and go.
struct Desktop<'w> {
    world: &'w World,
    mount: &'w Mount<'w>,
    pictures: PathBuf,
}

/// What every script starts with. `picture NAME` photographs the display; `open PROGRAM ARGS` starts one and waits for its
/// window; `front` gives the newest window the keyboard, as there is no window manager.
const HELPERS: &str = r##"
set -u
export NO_AT_BRIDGE=1 GTK_A11Y=none
picture() { import -window root "$PICTURES/$1.png"; }
windows() { xdotool search --onlyvisible --class "$PROGRAM" 2>/dev/null; }
until_true() { for _ in $(seq 150); do "$@" && return 0; sleep 0.1; done; echo "not within 15 s: $*" >&2; cat "$XDG_RUNTIME_DIR/said" >&2; exit 1; }
more_windows_than() { [ "$(windows | wc -l)" -gt "$1" ]; }
windows_are() { [ "$(windows | wc -l)" -eq "$1" ]; }
front() { xdotool windowfocus --sync "$(windows | tail -1)"; }
open() {
    PROGRAM=$1
    "$@" >"$XDG_RUNTIME_DIR/said" 2>&1 &
    PID=$!
    until_true more_windows_than 0
    MAIN=$(windows | tail -1)
    xdotool windowsize "$MAIN" 1000 560 windowmove "$MAIN" 0 0 windowfocus --sync "$MAIN"
    # Until the same is shown twice: its contents are loaded.
    until_true at_rest
}
# Waits for its end: one that is started meanwhile would hand its window to the one that goes.
close() { kill "$PID"; wait "$PID" 2>/dev/null; until_true windows_are 0; }
at_rest() {
    local now; now=$(import -window root rgba:- | md5sum)
    [ "${LAST:-}" = "$now" ] && return 0
    LAST=$now; sleep 0.4; return 1
}
"##;

/// Leaves the mounts of others, in a namespace of its own, then runs the script with a display and a bus.
const SESSION: &str = r#"
awk -v keep="$KEEP" '/ - fuse/ && $5 != keep { print $5 }' /proc/self/mountinfo | while read -r m; do umount -l "$m"; done
# It finds a free display itself, and does not start anew when its last window goes, as a program that comes then is refused.
Xvfb -noreset -displayfd 3 -nolisten tcp -screen 0 1000x560x24 3>"$XDG_RUNTIME_DIR/display" 2>/dev/null &
server=$!
until [ -s "$XDG_RUNTIME_DIR/display" ]; do sleep 0.05; done
DISPLAY=:$(cat "$XDG_RUNTIME_DIR/display") dbus-run-session -- bash "$1"
status=$?
kill "$server"
exit "$status"
"#;

impl<'w> Desktop<'w> {
    fn new(world: &'w World, mount: &'w Mount<'w>) -> Self {
        let pictures = std::env::var_os("COGFS_PICTURES")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("../file-managers"), PathBuf::from);
        fs::create_dir_all(&pictures).unwrap();
        Self { world, mount, pictures }
    }

    /// Runs a script to its end and returns what it printed. Whatever hangs is killed, and the test fails.
    #[track_caller]
    fn run(&self, script: &str) -> String {
        let at = |name: &str| self.world.root().join(name);
        fs::write(at("session"), SESSION).unwrap();
        fs::write(at("script"), format!("{HELPERS}\ncd {}\n{script}\n", self.mount.dir().display())).unwrap();
        // A session's own: what the one before left there is of programs that are about to end.
        let run = tempfile::Builder::new().prefix("run-").tempdir_in(self.world.root()).unwrap();
        let (out, err) = (at("script.out"), at("script.err"));
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "40", "unshare", "--mount", "--propagation", "private", "bash"]);
        command.args([at("session"), at("script")]).env("KEEP", self.mount.dir()).env("PICTURES", &self.pictures);
        command.env("HOME", self.world.user()).env("XDG_RUNTIME_DIR", run.path()).env("TZ", "UTC");
        for name in ["XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "DISPLAY", "DBUS_SESSION_BUS_ADDRESS"] {
            command.env_remove(name);
        }
        // Into files: what stays behind of the session for a moment would keep a pipe open.
        command.stdin(Stdio::null()).stdout(fs::File::create(&out).unwrap()).stderr(fs::File::create(&err).unwrap());
        let status = command.status().unwrap();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        assert!(status.success(), "{status}\n{}\n{}", read(&out), read(&err));
        read(&out)
    }
}

/// What is missing to run programs on a display of their own.
fn missing(programs: &[&str]) -> Option<String> {
    let needed = ["Xvfb", "xdotool", "import", "dbus-run-session", "unshare", "timeout"];
    let absent = needed.iter().chain(programs).find(|name| !has_program(name)).map(|name| format!("no {name}"));
    let no_trash = || {
        let there = ["/usr/libexec/gvfsd-trash", "/usr/lib/gvfs/gvfsd-trash"].iter().any(|p| Path::new(p).is_file());
        (!there).then(|| "no gvfsd-trash".to_owned())
    };
    let not_root = || (!common::is_root()).then(|| "only root can hide the mounts of other tests".to_owned());
    absent.or_else(no_trash).or_else(not_root)
}

macro_rules! needs_desktop {
    ($($program:expr),*) => {
        needs_fuse!();
        if let Some(why) = missing(&[$($program),*]) {
            common::skipped(&why);
            return;
        }
    };
}

fn world() -> World {
    let world = World::new();
    world.import(&[&common::demo_logs()]);
    world
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

/// The commit whose directory's name holds a text, and its id.
fn commit(mount: &Mount<'_>, text: &str) -> (String, String) {
    let dir = mount.path("projects/plantshop");
    let name = names(&dir).into_iter().find(|name| name.contains(text)).unwrap_or_else(|| panic!("no {text}"));
    let id = json(&dir.join(&name).join("meta.json"))["id"].as_str().unwrap().to_owned();
    (name, id)
}

fn trash(mount: &Mount<'_>) -> PathBuf {
    mount.path(&format!(".Trash-{}", rustix::process::geteuid().as_raw()))
}

fn actions(world: &World) -> Vec<String> {
    let conn = rusqlite::Connection::open(&common::world::databases(&world.home())[0]).unwrap();
    let mut query = conn.prepare("SELECT action FROM edits ORDER BY seq").unwrap();
    let actions = query.query_map([], |row| row.get(0)).unwrap();
    actions.map(Result::unwrap).collect()
}

#[test]
fn gio_deletes_lists_restores_and_empties() {
    needs_desktop!("gio");
    let world = world();
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--no-watch"]);
    let (one, one_id) = commit(&mount, "yes-please");
    let (other, other_id) = commit(&mount, "watering-reminder_");
    let desktop = Desktop::new(&world, &mount);
    let said = desktop.run(&format!(
        r#"
        gio trash "projects/plantshop/{one}" || exit 1
        echo "first: $(gio trash --list | wc -l)"
        # Its list was read: the second is listed as well only if the directory's time has moved.
        gio trash "projects/plantshop/{other}" || exit 1
        echo "second: $(gio trash --list | wc -l)"
        gio trash --restore "$(gio trash --list | grep yes-please | cut -f1)" || exit 1
        echo "restored: $(gio trash --list | wc -l)"
        for refused in README.md projects/plantshop projects/plantshop/project.json "projects/plantshop/{one}/transcript.md"; do
            gio trash "$refused" 2>&1 | sed 's/^/refused: /'
        done
        gio trash --empty
        echo "emptied: $(gio trash --list | wc -l)"
        "#
    ));
    for line in ["first: 1", "second: 2", "restored: 1", "emptied: 0"] {
        assert!(said.lines().any(|said| said == line), "{line} is not in:\n{said}");
    }
    let refused = said.lines().filter(|line| line.starts_with("refused") && line.ends_with("Operation not permitted"));
    assert_eq!(refused.count(), 4, "{said}");
    assert!(mount.path("by/id").join(&one_id).join("meta.md").exists(), "it is back");
    assert!(!mount.path("by/id").join(&other_id).exists(), "it is gone");
    for place in ["files", "info", "expunged"] {
        assert_eq!(names(&trash(&mount).join(place)), Vec::<String>::new(), "{place}");
    }
    assert_eq!(actions(&world), ["delete", "delete", "restore"]);
    let log = fs::read_to_string(mount.path(".cogfs/errors.jsonl")).unwrap();
    assert_eq!(log.lines().count(), 4, "each refusal is told with its reason:\n{log}");
}

/// Renames a commit with F2, then deletes it with the Delete key, in a manager that asks (or does not) before it does.
fn rename_and_delete(manager: &str) {
    let world = world();
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--no-watch"]);
    let (_, id) = commit(&mount, "name-for-the-watering");
    let desktop = Desktop::new(&world, &mount);
    let tree = || (names(mount.dir()), common::walk(&mount.path("projects")).len());
    let before = tree();
    desktop.run(&format!(
        r#"
        open {manager} "$PWD/projects/plantshop"
        picture {manager}-1-project
        # Typing the beginning of a name selects it.
        xdotool type --delay 30 2026-08-21; sleep 0.5; xdotool key Escape
        xdotool key F2; until_true more_windows_than 1; front
        xdotool key ctrl+a; xdotool type --delay 20 "Names of reminders"
        picture {manager}-2-rename
        xdotool key Return; until_true windows_are 1
        until_true test -e "projects/plantshop/Names of reminders/meta.md"
        front; until_true at_rest
        picture {manager}-3-renamed
        "#
    ));
    let meta = json(&mount.path("by/id").join(&id).join("meta.json"));
    assert_eq!(meta["title"], "Names of reminders");
    assert_eq!(tree(), before, "nothing was left beside");

    desktop.run(&format!(
        r#"
        open {manager} "$PWD/projects/plantshop"
        xdotool type --delay 30 Names; sleep 0.5; xdotool key Escape
        xdotool key Delete; sleep 0.7
        if more_windows_than 1; then front; picture {manager}-4-asks; xdotool key Return; fi
        until_true test ! -e "projects/plantshop/Names of reminders/meta.md"
        until_true at_rest
        picture {manager}-5-deleted
        close
        open {manager} trash:///
        picture {manager}-6-trash
        "#
    ));
    assert!(!mount.path("by/id").join(&id).exists(), "it is deleted");
    assert_eq!(names(&mount.path(".cogfs/trash")), ["Names of reminders"]);
    assert_eq!(names(&trash(&mount).join("files")), ["Names of reminders"]);
    assert_eq!(names(&trash(&mount).join("info")), ["Names of reminders.trashinfo"]);
    let log = fs::read_to_string(mount.path(".cogfs/errors.jsonl")).unwrap();
    assert_eq!(log, "", "a file manager asks for nothing that is refused, merely by looking");

    // Dragged back, as all managers do it.
    let back = mount.path("projects/plantshop/Names of reminders");
    fs::rename(trash(&mount).join("files/Names of reminders"), &back).unwrap();
    assert_eq!(json(&back.join("meta.json"))["title"], "Names of reminders");
    assert!(mount.path("by/id").join(&id).exists());
}

#[test]
fn thunar_renames_and_deletes() {
    needs_desktop!("thunar");
    rename_and_delete("thunar");
}

#[test]
fn pcmanfm_renames_and_deletes() {
    needs_desktop!("pcmanfm");
    rename_and_delete("pcmanfm");
}

/// It asks for a name in its window, and takes its last step back with ctrl+z.
#[test]
fn nautilus_renames_deletes_and_restores() {
    needs_desktop!("nautilus");
    let world = world();
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--no-watch"]);
    let (name, id) = commit(&mount, "name-for-the-watering");
    let before = common::walk(&mount.path("projects")).len();
    Desktop::new(&world, &mount).run(&format!(
        r#"
        # It draws without a graphics card.
        export GSK_RENDERER=cairo GDK_BACKEND=x11
        shown() {{ until_true at_rest; picture "nautilus-$1"; }}
        trashed() {{ test -e ".cogfs/trash/Names of reminders"; }}
        open nautilus --select "$PWD/projects/plantshop/{name}"
        shown 1-project
        xdotool key F2; shown 2-rename
        xdotool key ctrl+a; xdotool type --delay 20 "Names of reminders"; sleep 0.5; xdotool key Return
        until_true test -e "projects/plantshop/Names of reminders/meta.md"
        shown 3-renamed
        xdotool key Delete; until_true trashed
        shown 4-deleted
        xdotool key ctrl+z; until_true test -e "projects/plantshop/Names of reminders/meta.md"
        shown 5-restored
        "#
    ));
    let meta = json(&mount.path("by/id").join(&id).join("meta.json"));
    assert_eq!(meta["title"], "Names of reminders");
    assert_eq!(common::walk(&mount.path("projects")).len(), before, "nothing was left beside");
    assert_eq!(names(&mount.path(".cogfs/trash")), Vec::<String>::new());
    assert_eq!(actions(&world), ["retitle", "delete", "restore"]);
    let log = fs::read_to_string(mount.path(".cogfs/errors.jsonl")).unwrap();
    assert_eq!(log, "", "it asks for nothing that is refused");
}

#[test]
fn a_screenshot_has_a_thumbnail_and_it_lies_in_the_users_cache() {
    needs_desktop!("thunar");
    let tumbler = fs::read_dir("/usr/share/dbus-1/services")
        .is_ok_and(|mut dir| dir.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().contains("Thumbnailer1"))));
    skip_unless!(tumbler, "no tumbler");
    let world = world();
    let mount = Mount::with(&world, &world.root().join("mnt"), &["--no-watch"]);
    let before = common::walk(mount.dir()).len();
    let (name, _) = commit(&mount, "login-button");
    Desktop::new(&world, &mount).run(&format!(
        r#"
        open thunar "$PWD/projects/plantshop/{name}"
        picture thunar-7-commit
        close
        open thunar "$PWD/projects/plantshop/{name}/visuals"
        any_thumbnail() {{ find "$HOME/.cache/thumbnails" -name '*.png' -not -path '*/fail/*' 2>/dev/null | grep -q .; }}
        until_true any_thumbnail
        until_true at_rest
        picture thunar-8-visuals
        close
        # A directory of many links, and one that cannot be written to.
        open thunar "$PWD/by/id"
        picture thunar-9-links
        "#
    ));
    assert_eq!(common::walk(mount.dir()).len(), before, "nothing was written to the mount");
}

/// A tree that can be written to, without a mount: what its threads would do, the test does.
fn open(world: &World) -> CogFs {
    let found = common::world::databases(&world.home());
    let places = Places { scratch: world.root().join("scratch"), errors: world.root().join("errors.jsonl") };
    CogFs::open_writable(&Layout::new(found[0].parent().unwrap()), "/mnt", &places).unwrap()
}

fn at(fs: &CogFs, path: &str) -> u64 {
    path.split('/').fold(1, |dir, name| match fs.lookup(dir, name.as_ref()).unwrap() {
        Lookup::Found(attr) => attr.ino,
        Lookup::Absent { .. } => panic!("no {name} of {path}"),
    })
}

fn listed(fs: &CogFs, dir: u64) -> Vec<String> {
    let mut names = Vec::new();
    fs.readdir(dir, 2, false, &mut |entry| {
        names.push(entry.name.into_string().unwrap());
        true
    })
    .unwrap();
    names
}

#[test]
fn the_notes_of_the_trash_follow_it_whoever_changes_it() {
    let world = world();
    let fs = open(&world);
    let now = std::time::Instant::now;
    let manager = format!(".Trash-{}", rustix::process::geteuid().as_raw());
    let (project, files, info) =
        (at(&fs, "projects/plantshop"), at(&fs, &format!("{manager}/files")), at(&fs, &format!("{manager}/info")));
    let name = listed(&fs, project).into_iter().find(|name| name.contains("yes-please")).unwrap();
    let (from, to) = ((project, name.as_ref()), (files, "Läuft + läuft".as_ref()));

    // A program that moves it there and writes no note: one is written for it.
    fs.rename(from, to, RenameMode::NoReplace, 0).unwrap();
    fs.changes().unwrap();
    fs.settle(now());
    assert_eq!(listed(&fs, info), ["Läuft + läuft.trashinfo"]);
    let note = fs.read(at(&fs, &format!("{manager}/info/Läuft + läuft.trashinfo")), 0, 4096).unwrap();
    let note = String::from_utf8(note).unwrap();
    let path = format!("[Trash Info]\nPath=projects/plantshop/{name}\nDeletionDate=2");
    assert!(note.starts_with(&path), "{note}");

    // However long ago that was.
    fs.sweep();
    drop(fs);
    let fs = open(&world);
    fs.settle(now());
    assert_eq!(listed(&fs, info), ["Läuft + läuft.trashinfo"]);

    // Another way back than the manager's: the note of nothing stays for a moment, as if of something about to come.
    fs.write(at(&fs, ".cogfs/ctl"), 0, "restore Läuft + läuft\n".as_bytes(), 0).unwrap();
    fs.changes().unwrap();
    fs.settle(now());
    assert_eq!(listed(&fs, info), ["Läuft + läuft.trashinfo"]);
    fs.settle(now() + Duration::from_secs(60));
    assert_eq!(listed(&fs, info), Vec::<String>::new());
}

#[test]
fn a_name_that_a_file_manager_gives_holds_though_something_it_cannot_see_has_it() {
    let world = world();
    let fs = open(&world);
    let uid = rustix::process::geteuid().as_raw();
    let (project, trash) = (at(&fs, "projects/plantshop"), at(&fs, ".cogfs/trash"));
    let files = at(&fs, &format!(".Trash-{uid}/files"));
    let names: Vec<String> = listed(&fs, project).into_iter().filter(|name| name.starts_with("2026")).collect();
    let to = |dir, from: &str| fs.rename((project, from.as_ref()), (dir, "same".as_ref()), RenameMode::NoReplace, 0);
    to(trash, &names[0]).unwrap();
    to(files, &names[1]).unwrap();
    assert_eq!(listed(&fs, files), ["same"]);
    let all = listed(&fs, trash);
    assert_eq!(all.len(), 2, "{all:?}");
    assert!(all.contains(&"same".to_owned()) && all.iter().any(|name| name.starts_with("same_")), "{all:?}");
}

#[test]
fn the_time_of_the_trash_moves_with_each_deletion() {
    let world = world();
    let fs = open(&world);
    let uid = rustix::process::geteuid().as_raw();
    let (project, files) = (at(&fs, "projects/plantshop"), at(&fs, &format!(".Trash-{uid}/files")));
    let mtime = || fs.getattr(files).unwrap().mtime;
    let mut last = mtime();
    for name in listed(&fs, project).into_iter().filter(|name| name.starts_with("2026")) {
        wait_until(PATIENCE, "the clock goes on", || cogfs::model::Millis::now() > last);
        fs.rename((project, name.as_ref()), (files, name.as_ref()), RenameMode::NoReplace, 0).unwrap();
        fs.changes().unwrap();
        assert!(mtime() > last, "{name}");
        last = mtime();
    }
}
