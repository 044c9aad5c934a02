//! Emacs, in a terminal and as a batch.

use std::fs;

use crate::common::mount::PATIENCE;
use crate::common::wait_until;
use crate::desk::{ALL, Desk, document, names_in, world};
use crate::terminal::Terminal;

/// Emacs makes no backups below `/tmp`, where the test's mount lies: elsewhere it does.
const EMACS: &str = "emacs -Q --eval '(setq backup-enable-predicate (lambda (_) t))'";

const REPLACE: &str =
    r#"(progn (erase-buffer) (insert "---\ntitle: Storm\ntags: [sails]\n---\n\nA note on Storm.\n"))"#;

#[test]
fn emacs_as_a_batch_saves_once_and_leaves_its_backup() {
    needs!("emacs");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    desk.run(&format!("{EMACS} --batch meta.md --eval '{REPLACE}' -f save-buffer"));
    assert_eq!(fs::read_to_string(desk.dir().join("meta.md~")).unwrap(), before);
    desk.holds(&document("Storm"), &ALL, &["meta.md~"]);
}

#[test]
fn emacs_locks_with_a_link_saves_twice_and_leaves_its_backup() {
    needs!("emacs", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut emacs = Terminal::start(&desk, &format!("{EMACS} -nw meta.md"));
    emacs.wait_for("title");
    // M-: evaluates.
    emacs.type_keys(&format!("\u{1b}:{REPLACE}\r"));
    wait_until(PATIENCE, "the lock", || names_in(desk.dir()).contains(".#meta.md"));
    emacs.type_keys("\u{18}\u{13}");
    emacs.wait_for("Wrote");
    desk.rest();
    assert_eq!(desk.record_title(), "Storm");
    emacs.type_keys(
        "\u{1b}:(progn (goto-char (point-min)) (replace-regexp \"title: Storm\" \"title: Gale\") (save-buffer))\r",
    );
    wait_until(PATIENCE, "saved", || desk.record_title() == "Gale");
    emacs.type_keys("\u{18}\u{3}");
    emacs.ends();
    let text = document("Storm").replace("title: Storm", "title: Gale");
    desk.holds(&text, &["retitle", "tags", "note", "retitle"], &["meta.md~"]);
}

#[test]
fn emacs_tells_of_a_save_that_is_refused_and_puts_the_document_back() {
    needs!("emacs", "script");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let mut emacs = Terminal::start(&desk, &format!("{EMACS} -nw meta.md"));
    emacs.wait_for("title");
    emacs.type_keys("\u{1b}:(progn (erase-buffer) (insert \"oops\\n\"))\r\u{18}\u{13}");
    emacs.wait_for("Input/output error");
    let refusal = desk.refusal();
    assert!(refusal["reason"].as_str().unwrap().contains("no front matter"), "{refusal:#}");
    assert!(refusal["path"].as_str().unwrap().ends_with("/meta.md"), "{refusal:#}");
    desk.rest();
    assert_eq!(desk.read(), before);
    assert!(desk.edits().is_empty());
    assert_eq!(desk.drafts(), ["oops\n"]);
    emacs.type_keys(&format!("\u{1b}:(with-current-buffer \"meta.md\" {REPLACE})\r\u{18}\u{13}"));
    // It remembers the time of the file that it has just taken away again, on every filesystem.
    emacs.wait_for("Save anyway?");
    emacs.type_keys("yes\r");
    wait_until(PATIENCE, "the corrected document is saved", || desk.record_title() == "Storm");
    emacs.type_keys("\u{18}\u{3}");
    emacs.ends();
    desk.rest();
    assert_eq!(
        (desk.read(), desk.drafts(), desk.edits()),
        (document("Storm"), Vec::new(), ALL.map(str::to_owned).to_vec())
    );
    desk.holds_names(&["meta.md~"]);
}
