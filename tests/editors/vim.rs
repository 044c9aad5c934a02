//! vim, in a terminal, with the settings that a user without a `.vimrc` has.

use std::fs;

use crate::desk::{ALL, Desk, document, names_in, world};
use crate::terminal::Terminal;

/// `backupskip` names `/tmp`, where the test's mount lies: elsewhere vim makes a backup while it saves.
fn vim(desk: &Desk<'_>, settings: &str, arguments: &str) -> Terminal {
    let terminal = Terminal::start(
        desk,
        &format!("vim -u DEFAULTS -i NONE --cmd 'set backupskip= {settings}' {arguments} meta.md"),
    );
    terminal.wait_for("meta.md\"");
    terminal
}

/// Replaces everything by a text that the tests know.
fn type_document(terminal: &mut Terminal, title: &str) {
    // Pasted, so that nothing is indented or completed.
    let text = document(title);
    terminal.type_keys(":set paste\r:%d\ri");
    terminal.type_keys(text.trim_end_matches('\n'));
    terminal.type_keys("\u{1b}");
}

fn title(desk: &Desk<'_>, title: &str) {
    crate::common::wait_until(crate::common::mount::PATIENCE, title, || desk.record_title() == title);
}

#[test]
fn vim_saves_once_and_leaves_nothing() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut vim = vim(&desk, "", "");
    assert!(names_in(desk.dir()).contains(".meta.md.swp"), "vim works with a swap file");
    type_document(&mut vim, "Storm");
    vim.type_keys(":wq\r");
    vim.ends();
    desk.holds(&document("Storm"), &ALL, &[]);
}

#[test]
fn vim_saves_twice_and_follows_a_directory_that_its_own_save_renamed() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    // By the directory's own name, which the first save changes.
    let name =
        names_in(&desk.mount.path("projects/boats")).into_iter().find(|name| name.contains("build-boat-1")).unwrap();
    let path = desk.mount.path(&format!("projects/boats/{name}/meta.md"));
    let line = format!("vim -u DEFAULTS -i NONE --cmd 'set backupskip=' {}", path.display());
    let mut vim = Terminal::start(&desk, &line);
    vim.wait_for("meta.md\"");
    type_document(&mut vim, "Storm");
    vim.type_keys(":w\r");
    title(&desk, "Storm");
    desk.rest();
    assert!(!names_in(&desk.mount.path("projects/boats")).iter().any(|now| *now == name && !path.is_symlink()));
    assert_eq!(fs::read_to_string(&path).unwrap(), document("Storm"), "the former name leads there");
    vim.type_keys(":%s/title: Storm/title: Gale/\r:w\r");
    title(&desk, "Gale");
    desk.rest();
    vim.type_keys(":%s/title: Gale/title: Squall/\r:wq\r");
    let screen = vim.screen();
    vim.ends();
    assert!(!screen.contains("W11") && !screen.contains("WARNING") && !screen.contains("E212"), "{screen}");
    let text = document("Storm").replace("title: Storm", "title: Squall");
    desk.holds(&text, &["retitle", "tags", "note", "retitle", "retitle"], &[]);
}

#[test]
fn vim_that_writes_in_place_saves_once_and_leaves_nothing() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut vim = vim(&desk, "backupcopy=yes", "");
    type_document(&mut vim, "Storm");
    vim.type_keys(":w\r");
    title(&desk, "Storm");
    vim.type_keys(":%s/title: Storm/title: Gale/\r:wq\r");
    vim.ends();
    let text = document("Storm").replace("title: Storm", "title: Gale");
    desk.holds(&text, &["retitle", "tags", "note", "retitle"], &[]);
}

#[test]
fn vim_that_keeps_backups_leaves_the_backup_alone() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let mut vim = vim(&desk, "backup", "");
    type_document(&mut vim, "Storm");
    vim.type_keys(":wq\r");
    vim.ends();
    assert_eq!(fs::read_to_string(desk.dir().join("meta.md~")).unwrap(), before);
    desk.holds(&document("Storm"), &ALL, &["meta.md~"]);
}

/// A save that is refused is told, the document is as it was, and the next save goes through without a question.
fn refused_and_corrected(settings: &str) {
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let mut vim = vim(&desk, settings, "");
    type_document(&mut vim, "Storm");
    vim.type_keys(":%s/^title:/titel:/\r:w\r");
    vim.wait_for("E667");
    // "Press ENTER"
    vim.type_keys("\r");
    desk.rest();
    assert_eq!(desk.read(), before, "the document is as it was");
    assert!(desk.edits().is_empty());
    assert_eq!(desk.errors().len(), 1, "{:#?}", desk.errors());
    let refused = document("Storm").replace("title:", "titel:");
    assert_eq!(desk.drafts(), [refused], "what was refused is kept");
    vim.type_keys(":%s/^titel:/title:/\r:wq\r");
    let screen = vim.screen();
    vim.ends();
    assert!(!screen.contains("WARNING"), "{screen}");
    desk.rest();
    assert_eq!((desk.read(), desk.drafts()), (document("Storm"), Vec::new()));
    assert_eq!(desk.edits(), ALL);
}

#[test]
fn vim_tells_of_a_save_that_is_refused_and_the_corrected_one_is_saved() {
    needs!("vim", "script");
    refused_and_corrected("");
}

#[test]
fn vim_that_writes_in_place_tells_of_a_save_that_is_refused() {
    needs!("vim", "script");
    refused_and_corrected("backupcopy=yes");
}

#[test]
fn what_a_killed_vim_had_in_its_swap_file_is_recovered() {
    needs!("vim", "script");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let mut vim = vim(&desk, "", "");
    type_document(&mut vim, "Storm");
    vim.type_keys(":preserve\r");
    vim.wait_for("File preserved");
    vim.crashes();
    assert_eq!(desk.read(), before);
    // The mount may go meanwhile, too.
    let desk = desk.crash();
    assert!(names_in(desk.dir()).contains(".meta.md.swp"), "{:?}", names_in(desk.dir()));
    let mut vim = self::vim(&desk, "", "-r");
    vim.wait_for("ecover");
    vim.type_keys("\r\r:w\r");
    title(&desk, "Storm");
    vim.type_keys(":q\r");
    vim.ends();
    desk.rest();
    assert_eq!(desk.read(), document("Storm"));
    // vim asks its user to delete it.
    desk.holds_names(&[".meta.md.swp"]);
    fs::remove_file(desk.dir().join(".meta.md.swp")).unwrap();
    assert_eq!(desk.edits(), ALL);
}
