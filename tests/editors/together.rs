//! Several edit one commit at once: editors, another process of cogfs, an import. Nobody's change is lost, and no field is put
//! back that its editor did not touch.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::process::{Command, Stdio};

use cogfs::curation::{Edit, Editor, Origin, Title};
use cogfs::store::{Layout, Survives, Writer};

use crate::common::mount::PATIENCE;
use crate::common::{ClaudeLog, wait_until};
use crate::desk::{Desk, world};
use crate::terminal::Terminal;

/// Makes edits as another process of cogfs does, beside the mount.
fn edit_beside(desk: &Desk<'_>, edits: &[Edit]) {
    let mut writer = Writer::open(&Layout::new(desk.world.home().join("data"))).unwrap();
    let mut tx = writer.begin_urgent(Survives::Machine).unwrap();
    assert_eq!(Editor::new(&mut tx, Origin::Command).apply_all(edits).unwrap().len(), edits.len());
    tx.commit().unwrap();
}

fn with_tag(text: &str, tag: &str) -> String {
    text.replace("tags: []", &format!("tags: [{tag}]"))
}

/// A process that reads the document, says so, and writes it back with something replaced when it is told to.
struct Slow {
    child: std::process::Child,
}

impl Slow {
    fn open(desk: &Desk<'_>, replace: &str) -> Self {
        // `read` takes the second line of its input as the word to go on.
        let script = format!(
            "text=$(cat meta.md; echo .); echo ready; read go; printf %s \"${{text%.}}\" | sed '{replace}' > $OUTSIDE/slow.$$; \
             cat $OUTSIDE/slow.$$ > meta.md"
        );
        let mut child = desk.shell(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0; 6];
        child.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Self { child }
    }

    fn save(mut self) {
        self.child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_field_that_changed_while_an_editor_had_the_document_open_is_not_undone_by_its_save() {
    needs!("sh", "sed", "cat");
    let world = world();
    let desk = Desk::new(&world);
    let slow = Slow::open(&desk, "s/^title: .*/title: Storm/");
    edit_beside(
        &desk,
        &[
            Edit::SetTags { commit: 1, tags: vec!["red".to_owned()] },
            Edit::SetNote { commit: 1, note: "From elsewhere.".to_owned() },
        ],
    );
    wait_until(PATIENCE, "the mount shows it", || desk.read().contains("red"));
    slow.save();
    desk.rest();
    let text = desk.read();
    for part in ["title: \"Storm\"\n", "\"red\"", "From elsewhere."] {
        assert!(text.contains(part), "{part} is not in what is shown of it:\n{text}");
    }
    desk.is_clean(&["tags", "note", "retitle"], &[]);
}

#[test]
fn vim_with_a_document_open_undoes_no_field_that_was_changed_meanwhile() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut vim = Terminal::start(&desk, "vim -u DEFAULTS -i NONE --cmd 'set backupskip= autoread' meta.md");
    vim.wait_for("meta.md\"");
    vim.type_keys(":%s/^tags: .*/tags: [mine]/\r:w\r");
    wait_until(PATIENCE, "saved", || desk.edits() == ["tags"]);
    desk.rest();
    edit_beside(&desk, &[Edit::Retitle { commit: 1, title: Title::User("Storm".to_owned()), name: None }]);
    wait_until(PATIENCE, "the mount shows it", || desk.read().contains("Storm"));
    // vim asks, as the file is another one now; its user insists on it.
    vim.type_keys(":%s/^tags: .*/tags: [mine, too]/\r:w\r");
    vim.wait_for("really want to write");
    vim.type_keys("y\r");
    wait_until(PATIENCE, "saved", || desk.edits().len() == 3);
    vim.type_keys("\r:q!\r");
    vim.ends();
    desk.rest();
    assert_eq!(desk.record_title(), "Storm");
    let text = desk.read();
    assert!(text.contains("Storm") && text.contains("too"), "{text}");
    desk.is_clean(&["tags", "retitle", "tags"], &[]);
}

#[test]
fn two_editors_that_save_one_after_the_other_both_count() {
    needs!("sh", "sed", "cat");
    let world = world();
    let desk = Desk::new(&world);
    let first = Slow::open(&desk, "s/^title: .*/title: Storm/");
    let second = Slow::open(&desk, "s/^tags: .*/tags: [red]/");
    // Without a moment between them.
    first.save();
    second.save();
    desk.rest();
    let text = desk.read();
    assert!(text.contains("Storm") && text.contains("red"), "{text}");
    desk.is_clean(&["retitle", "tags"], &[]);
}

#[test]
fn one_that_writes_in_place_and_one_that_renames_over_it_both_count() {
    needs!("sh", "sed", "cat");
    let world = world();
    let desk = Desk::new(&world);
    let first = Slow::open(&desk, "s/^title: .*/title: Storm/");
    let text = with_tag(&desk.read(), "red");
    fs::write(desk.dir().join("new"), text).unwrap();
    first.save();
    fs::rename(desk.dir().join("new"), desk.meta()).unwrap();
    desk.rest();
    let text = desk.read();
    assert!(text.contains("Storm") && text.contains("red"), "{text}");
    desk.is_clean(&["retitle", "tags"], &[]);
}

#[test]
fn an_open_file_that_another_took_the_place_of_goes_on_being_read_and_written() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let mut old = OpenOptions::new().read(true).write(true).open(desk.meta()).unwrap();
    let text = with_tag(&before, "red");
    fs::write(desk.dir().join("new"), &text).unwrap();
    fs::rename(desk.dir().join("new"), desk.meta()).unwrap();
    let mut seen = String::new();
    old.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, before);
    old.rewind().unwrap();
    old.write_all(b"nobody's").unwrap();
    old.sync_all().unwrap();
    desk.holds(&text, &["tags"], &[]);
}

#[test]
fn an_import_that_comes_during_an_edit_costs_neither() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let mut file = File::create(desk.meta()).unwrap();
    file.write_all(b"---\ntitle: Storm\n").unwrap();
    // The same session goes on, and another begins.
    let mut log = ClaudeLog::new("boats", 3);
    log.user("Build boat 3.").assistant("Built.");
    log.write(&world.logs());
    let summary = world.import(&[&world.logs()]);
    assert_eq!(summary["new_turns"], 2, "{summary}");
    file.write_all(b"---\n\nDuring an import.\n").unwrap();
    file.sync_all().unwrap();
    desk.holds("---\ntitle: Storm\n---\n\nDuring an import.\n", &["retitle", "note"], &[]);
    // An import while several imports and saves go on: each is waited for.
    let mut imports: Vec<_> = (4..8)
        .map(|number| {
            let mut log = ClaudeLog::new("boats", number);
            log.user("More.").assistant("Done.");
            log.write(&world.logs());
            let mut command: Command = world.cogfs(&["import", "--quiet"]);
            command.arg(world.logs()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for n in 0..20 {
        let mut file = File::create(desk.meta()).unwrap();
        file.write_all(format!("---\ntitle: Storm {n}\n---\n\nDuring an import.\n").as_bytes()).unwrap();
        file.sync_all().unwrap();
        assert_eq!(desk.record_title(), format!("Storm {n}"));
    }
    for import in &mut imports {
        assert!(import.wait().unwrap().success());
    }
    desk.rest();
    let mut edits = vec!["retitle", "note"];
    edits.extend(["retitle"; 20]);
    desk.is_clean(&edits, &[]);
    assert_eq!(crate::desk::names_in(&desk.mount.path("projects/boats")).len(), 2 + 7, "commits, project.json, latest");
}

#[test]
fn saves_of_many_processes_at_once_leave_one_of_them_whole() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    let texts: Vec<String> =
        (0..4).map(|n| format!("---\ntitle: Boat {n}\n---\n\n{}\n", format!("{n}").repeat(30_000))).collect();
    std::thread::scope(|threads| {
        for (n, text) in texts.iter().enumerate() {
            let dir = desk.dir();
            threads.spawn(move || {
                for round in 0..8 {
                    let own = dir.join(format!("own-{n}-{round}"));
                    fs::write(&own, text).unwrap();
                    fs::rename(&own, dir.join("meta.md")).unwrap();
                }
            });
        }
    });
    desk.rest();
    let text = desk.read();
    assert!(texts.contains(&text), "{}", &text[..100]);
    assert!(text.contains(&format!("title: {}\n", desk.record_title())));
    assert!(desk.errors().is_empty() && desk.drafts().is_empty());
    desk.holds_names(&[]);
}

#[test]
fn a_commit_that_was_moved_while_an_editor_had_it_open_stays_where_it_is() {
    needs!("sh", "sed", "cat");
    let world = world();
    let mut log = ClaudeLog::new("ships", 9);
    log.user("Build a ship.").assistant("Built.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let desk = Desk::new(&world);
    // It reads what the kernel has in its cache: who read what is not known then.
    desk.read();
    let slow = Slow::open(&desk, "s/^tags: .*/tags: [red]/");
    let place = fs::canonicalize(desk.dir()).unwrap();
    fs::rename(&place, desk.mount.path("projects/ships").join(place.file_name().unwrap())).unwrap();
    slow.save();
    desk.rest();
    let text = desk.read();
    assert!(text.contains("\"ships\"") && text.contains("red"), "{text}");
    desk.is_clean(&["move", "tags"], &[]);
}

/// The text that was saved names no project, so that elsewhere the record is shown, and back there the text again.
#[test]
fn a_document_that_says_again_what_was_saved_is_read_as_that() {
    needs!("sh");
    let world = world();
    let mut log = ClaudeLog::new("ships", 9);
    log.user("Build a ship.").assistant("Built.");
    log.write(&world.logs());
    world.import(&[&world.logs()]);
    let desk = Desk::new(&world);
    let saved = "---\ntitle: Boat\n---\nA note.\n";
    fs::write(desk.meta(), saved).unwrap();
    desk.rest();
    assert_eq!(desk.read(), saved);
    let move_to = |project: &str| {
        let place = fs::canonicalize(desk.dir()).unwrap();
        let moved = desk.mount.path("projects").join(project).join(place.file_name().unwrap());
        fs::rename(&place, &moved).unwrap();
        desk.rest();
        fs::read_to_string(moved.join("meta.md")).unwrap()
    };
    let elsewhere = move_to("ships");
    assert!(elsewhere.contains("project: \"ships\""), "{elsewhere}");
    assert_eq!(move_to("boats"), saved);
}

#[test]
fn a_process_that_takes_back_its_own_save_is_understood() {
    needs!("python3");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    // Another process read it before; this one finds it in the cache.
    desk.run(
        "python3 -c '
import os
before = open(\"meta.md\").read()
def save(text):
    with open(\"meta.md\", \"w\") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
save(before.replace(\"Build boat 1\", \"Storm\"))
save(before)
'",
    );
    desk.holds(&before, &["retitle", "retitle"], &[]);
    assert_eq!(desk.record_title(), "Build boat 1");
}
