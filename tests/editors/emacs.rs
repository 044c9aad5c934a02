//! Emacs, in a terminal and as a batch.

use std::fs;

use crate::desk::{ALL, Desk, document, names_in, world};
use crate::terminal::Terminal;

const REPLACE: &str =
    r#"(progn (erase-buffer) (insert "---\ntitle: Storm\ntags: [sails]\n---\n\nA note on Storm.\n"))"#;

#[test]
fn emacs_as_a_batch_saves_once_and_leaves_its_backup() {
    needs!("emacs");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    desk.run(&format!("emacs -Q --batch meta.md --eval '{REPLACE}' -f save-buffer"));
    assert_eq!(fs::read_to_string(desk.dir().join("meta.md~")).unwrap(), before);
    desk.holds(&document("Storm"), &ALL, &["meta.md~"]);
}

#[test]
fn emacs_locks_with_a_link_saves_twice_and_leaves_its_backup() {
    needs!("emacs", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut emacs = Terminal::start(&desk, "emacs -Q -nw meta.md");
    emacs.wait_for("title");
    // M-: evaluates.
    emacs.type_keys(&format!("\u{1b}:{REPLACE}\r"));
    crate::common::wait_until(crate::common::mount::PATIENCE, "the lock", || {
        names_in(desk.dir()).contains(".#meta.md")
    });
    emacs.type_keys("\u{18}\u{13}");
    emacs.wait_for("Wrote");
    desk.rest();
    assert_eq!(desk.record_title(), "Storm");
    emacs.type_keys(
        "\u{1b}:(progn (goto-char (point-min)) (replace-regexp \"title: Storm\" \"title: Gale\") (save-buffer))\r",
    );
    crate::common::wait_until(crate::common::mount::PATIENCE, "saved", || desk.record_title() == "Gale");
    emacs.type_keys("\u{18}\u{3}");
    emacs.ends();
    let text = document("Storm").replace("title: Storm", "title: Gale");
    desk.holds(&text, &["retitle", "tags", "note", "retitle"], &["meta.md~"]);
}

#[test]
fn emacs_tells_of_a_save_that_is_refused_and_puts_the_document_back() {
    needs!("emacs");
    let world = world();
    let desk = Desk::new(&world);
    let before = desk.read();
    let script = "emacs -Q --batch meta.md --eval '(progn (erase-buffer) (insert \"oops\\n\"))' -f save-buffer";
    let output = desk.shell(script).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && message.contains("Input/output error"), "{message}");
    desk.rest();
    assert_eq!(desk.read(), before);
    assert_eq!((desk.errors().len(), desk.edits().len()), (1, 0), "{:#?}", desk.errors());
    assert_eq!(desk.drafts(), ["oops\n"]);
    desk.holds_names(&[]);
}
