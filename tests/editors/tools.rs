//! Programs that take no keys: the shell, stream editors, copies, interpreters.

use std::fs;

use crate::desk::{ALL, Desk, document, long_document, world};

/// Replaces the long document by itself with another title and another line at its end, in whatever way.
fn saves_a_long_document(script: &str, left: &[&str]) {
    let world = world();
    let desk = Desk::new(&world);
    let text = long_document("Regatta");
    desk.outside("new", &text);
    desk.run(script);
    desk.holds(&text, &ALL, left);
}

/// Changes a word of a document that is saved already.
fn changes_a_word(script: &str, left: &[&str]) {
    let world = world();
    let desk = Desk::new(&world);
    fs::write(desk.meta(), long_document("Regatta")).unwrap();
    desk.rest();
    desk.run(script);
    let text = long_document("Regatta").replace("title: Regatta\n", "title: Storm\n");
    desk.holds(&text, &["retitle", "tags", "note", "retitle"], left);
}

#[test]
fn cp_over_it_saves_once_and_leaves_nothing() {
    needs!("cp");
    saves_a_long_document("cp $OUTSIDE/new meta.md", &[]);
}

#[test]
fn cp_that_keeps_times_and_owner_saves_once_and_leaves_nothing() {
    needs!("cp");
    saves_a_long_document("cp -a $OUTSIDE/new meta.md", &[]);
}

#[test]
fn install_removes_and_makes_it_anew_and_saves_once() {
    needs!("install");
    saves_a_long_document("install -m 644 $OUTSIDE/new meta.md", &[]);
}

#[test]
fn mv_from_another_filesystem_saves_once() {
    needs!("mv");
    let script = if crate::common::mount::mount_line("/dev/shm".as_ref()).is_some() {
        "t=$(mktemp -p /dev/shm) && cat $OUTSIDE/new > $t && mv $t meta.md"
    } else {
        "mv $OUTSIDE/new meta.md"
    };
    saves_a_long_document(script, &[]);
}

#[test]
fn mv_of_a_file_beside_it_saves_once_and_leaves_nothing() {
    needs!("mv");
    saves_a_long_document("cp $OUTSIDE/new draft.md && mv draft.md meta.md", &[]);
}

#[test]
fn mv_of_a_file_in_a_directory_beside_it_saves_once() {
    needs!("mv");
    saves_a_long_document("mkdir tmp && cp $OUTSIDE/new tmp/x && mv tmp/x meta.md && rmdir tmp", &[]);
}

#[test]
fn tee_saves_once_and_leaves_nothing() {
    needs!("tee");
    saves_a_long_document("tee meta.md < $OUTSIDE/new > /dev/null", &[]);
}

#[test]
fn dd_that_syncs_saves_once_and_leaves_nothing() {
    needs!("dd");
    saves_a_long_document("dd if=$OUTSIDE/new of=meta.md bs=512 conv=fsync status=none", &[]);
}

#[test]
fn dd_that_passes_the_cache_by_saves_once() {
    needs!("dd");
    saves_a_long_document("dd if=$OUTSIDE/new of=meta.md bs=8k oflag=direct conv=fsync status=none", &[]);
}

#[test]
fn rsync_renames_its_file_over_it_and_saves_once() {
    needs!("rsync");
    saves_a_long_document("rsync -a $OUTSIDE/new meta.md", &[]);
}

#[test]
fn rsync_in_place_saves_once_and_never_a_mix_of_old_and_new() {
    needs!("rsync");
    let world = world();
    let desk = Desk::new(&world);
    // Longer than what comes: the old end stays behind the new beginning until the length is set.
    fs::write(desk.meta(), long_document("Regatta")).unwrap();
    desk.rest();
    let text = document("Storm");
    desk.outside("new", &text);
    desk.run("rsync -a --inplace --no-whole-file $OUTSIDE/new meta.md");
    desk.holds(&text, &["retitle", "tags", "note", "retitle", "tags", "note"], &[]);
}

#[test]
fn a_shell_that_writes_line_by_line_saves_once() {
    needs!("sh");
    let world = world();
    let desk = Desk::new(&world);
    desk.run(
        "{ echo ---; echo 'title: Regatta'; echo 'tags: [sails]'; echo ---; echo; cat $OUTSIDE/note; } > meta.md || :",
    );
    desk.rest();
    let text = "---\ntitle: Regatta\ntags: [sails]\n---\n\n";
    desk.holds(text, &["retitle", "tags"], &[]);
}

#[test]
fn several_programs_that_write_one_after_the_other_save_once() {
    needs!("sh", "cat");
    let world = world();
    let desk = Desk::new(&world);
    desk.outside("note", "The note.\n");
    desk.run("{ printf -- '---\\ntitle: Regatta\\n---\\n\\n'; cat $OUTSIDE/note; } > meta.md");
    desk.holds("---\ntitle: Regatta\n---\n\nThe note.\n", &["retitle", "note"], &[]);
}

#[test]
fn what_is_appended_is_added_to_the_note() {
    needs!("sh");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    desk.run("echo 'One more line.' >> meta.md");
    desk.holds(&format!("{before}One more line.\n"), &["note"], &[]);
}

#[test]
fn ed_saves_twice_in_a_row() {
    needs!("ed");
    let world = world();
    let desk = Desk::new(&world);
    fs::write(desk.meta(), long_document("Regatta")).unwrap();
    desk.rest();
    desk.run("printf ',s/title: Regatta$/title: Gale/\\nw\\n,s/title: Gale$/title: Storm/\\nw\\nq\\n' | ed -s meta.md");
    let text = long_document("Regatta").replace("title: Regatta\n", "title: Storm\n");
    desk.rest();
    // The second may follow the first within the time in which both are one.
    let edits = desk.edits();
    assert!(edits[3..].iter().all(|edit| edit == "retitle") && (4..=5).contains(&edits.len()), "{edits:?}");
    desk.holds(&text, &edits.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
}

#[test]
fn sed_in_place_saves_once_and_leaves_nothing() {
    needs!("sed");
    changes_a_word("sed -i 's/^title: Regatta$/title: Storm/' meta.md", &[]);
}

#[test]
fn sed_in_place_with_a_backup_saves_once_and_leaves_the_backup() {
    needs!("sed");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    desk.run("sed -i.bak 's/^title: .*$/title: Storm/' meta.md");
    assert_eq!(fs::read_to_string(desk.dir().join("meta.md.bak")).unwrap(), before);
    let title = before.lines().find(|line| line.starts_with("title:")).unwrap();
    desk.holds(&before.replace(title, "title: Storm"), &["retitle"], &["meta.md.bak"]);
}

#[test]
fn sed_that_is_refused_says_so_and_changes_nothing() {
    needs!("sed");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let output = desk.shell("sed -i 's/^title:/titel:/' meta.md").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("Input/output error"), "{message}");
    assert_eq!(desk.read(), before);
    let refusal = desk.refusal();
    assert!(refusal["reason"].as_str().unwrap().contains("titel"), "{refusal:#}");
    assert!(refusal["text"].as_str().unwrap().contains("titel:"), "{refusal:#}");
    desk.holds_names(&[]);
    assert!(desk.edits().is_empty());
}

#[test]
fn perl_in_place_saves_once_and_leaves_nothing() {
    needs!("perl");
    changes_a_word("perl -i -pe 's/^title: Regatta$/title: Storm/' meta.md", &[]);
}

#[test]
fn python_that_syncs_saves_once() {
    needs!("python3");
    let script = "python3 -c '
import os, sys
text = open(os.environ[\"OUTSIDE\"] + \"/new\").read()
with open(\"meta.md\", \"w\") as f:
    for line in text.splitlines(True):
        f.write(line)
    f.flush()
    os.fsync(f.fileno())
'";
    saves_a_long_document(script, &[]);
}

#[test]
fn python_that_replaces_the_file_at_once_saves_once() {
    needs!("python3");
    let script = "python3 -c '
import os, tempfile
text = open(os.environ[\"OUTSIDE\"] + \"/new\").read()
with tempfile.NamedTemporaryFile(\"w\", dir=\".\", delete=False) as f:
    f.write(text)
    f.flush()
    os.fsync(f.fileno())
os.replace(f.name, \"meta.md\")
d = os.open(\".\", os.O_RDONLY)
os.fsync(d)
'";
    saves_a_long_document(script, &[]);
}

#[test]
fn what_is_written_through_a_mapping_is_saved_once() {
    needs!("python3");
    let script = "python3 -c '
import mmap, os
text = open(os.environ[\"OUTSIDE\"] + \"/new\", \"rb\").read()
f = open(\"meta.md\", \"r+b\")
f.truncate(len(text))
m = mmap.mmap(f.fileno(), len(text))
m[:] = text
m.flush()
os.fsync(f.fileno())
'";
    saves_a_long_document(script, &[]);
}

#[test]
fn a_document_that_is_emptied_first_and_written_later_is_saved_once() {
    needs!("truncate");
    saves_a_long_document("truncate -s 0 meta.md && cat $OUTSIDE/new >> meta.md", &[]);
}

#[test]
fn git_works_in_a_commits_directory_and_its_files_are_nobodys_business() {
    needs!("git");
    let world = world();
    let desk = Desk::new(&world);
    let name = "-c user.name=Mira -c user.email=mira@example.org -c init.defaultBranch=main";
    desk.run(&format!("git {name} init -q && git {name} add . && git {name} commit -qm First && git fsck --strict"));
    desk.run("test \"$(git log --format=%s)\" = First && git status --porcelain | cmp - /dev/null");
    desk.is_clean(&[], &[".git"]);
    // A checkout of what the document once said is an edit like any other.
    let before = desk.read();
    fs::write(desk.meta(), document("Storm")).unwrap();
    desk.rest();
    desk.run("git checkout -q -- meta.md");
    desk.rest();
    assert_eq!(desk.read(), before);
    assert_eq!(desk.record_title(), "Build boat 1");
    desk.run("rm -rf .git");
    desk.holds_names(&[]);
}

#[test]
fn gio_replaces_it_as_gtk_programs_do_and_saves_once() {
    needs!("gio");
    saves_a_long_document("gio save meta.md < $OUTSIDE/new", &[]);
}

#[test]
fn a_save_that_takes_back_the_one_before_it_counts() {
    needs_fuse!();
    let world = world();
    let desk = Desk::new(&world);
    // One process, which knows what it wrote.
    let before = desk.read();
    fs::write(desk.meta(), document("Storm")).unwrap();
    desk.rest();
    assert_eq!(desk.record_title(), "Storm");
    fs::write(desk.meta(), &before).unwrap();
    desk.holds(&before, &["retitle", "tags", "note", "retitle", "tags", "note"], &[]);
    assert_eq!(desk.record_title(), "Build boat 1");
}

#[test]
fn who_writes_in_place_and_is_refused_finds_it_in_the_log_and_in_the_drafts() {
    needs!("ed");
    let world = world();
    let desk = Desk::new(&world);
    let title = desk.record_title();
    desk.run("printf ',s/^title:/titel:/\\nw\\nq\\n' | ed -s meta.md");
    let written = desk.read();
    assert!(written.contains("titel:"), "what was written is shown");
    desk.refusal();
    desk.rest();
    assert_eq!(desk.drafts(), std::slice::from_ref(&written));
    assert_eq!(desk.read(), written);
    assert_eq!((desk.record_title(), desk.edits().len()), (title, 0));
    // Corrected, it is saved, and the draft is gone.
    desk.run("printf ',s/^titel: .*/title: Storm/\\nw\\nq\\n' | ed -s meta.md");
    desk.rest();
    assert_eq!((desk.record_title(), desk.drafts()), ("Storm".to_owned(), Vec::new()));
}

#[test]
fn a_document_that_is_too_long_is_refused_and_its_beginning_is_not_saved() {
    needs!("cp", "sed");
    let world = world();
    let desk = Desk::new(&world);
    let (before, title) = (desk.read(), desk.record_title());
    desk.outside("new", &(document("Storm") + &"A line of a very long note.\n".repeat(80_000)));
    let output = desk.shell("cp $OUTSIDE/new meta.md").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("File too large"), "{message}");
    let refusal = desk.refusal();
    assert!(refusal["reason"].as_str().unwrap().contains("could not be written"), "{refusal:#}");
    desk.rest();
    assert_eq!((desk.record_title(), desk.edits().len()), (title, 0));
    // Written anew, it is saved.
    fs::write(desk.meta(), before.replace("tags: []", "tags: [red]")).unwrap();
    desk.rest();
    assert_eq!((desk.edits(), desk.drafts()), (vec!["tags".to_owned()], Vec::new()));
    // A file that is moved there whole is not taken, and stays.
    let output = desk.shell("cp $OUTSIDE/new long.md && mv long.md meta.md").output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("File too large"), "{message}");
    desk.holds_names(&["long.md"]);
    assert_eq!(desk.edits(), ["tags"]);
}

#[test]
fn a_document_that_is_removed_alone_is_back_after_a_moment() {
    needs!("rm");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    desk.run("rm meta.md && test ! -e meta.md");
    crate::common::wait_until(crate::common::mount::PATIENCE, "it is back", || desk.meta().exists());
    desk.holds(&before, &[], &[]);
}
