//! nano, in a terminal.

use crate::desk::{Desk, document, world};
use crate::terminal::Terminal;

#[test]
fn nano_saves_twice_and_leaves_nothing() {
    needs!("nano", "script");
    let world = world();
    let desk = Desk::new(&world);
    std::fs::write(desk.meta(), document("Regatta")).unwrap();
    desk.rest();
    let mut nano = Terminal::start(&desk, "nano --ignorercfiles meta.md");
    nano.wait_for("Regatta");
    // To the end of the second line; a word; ^O ENTER; another; ^O ENTER ^X.
    nano.type_keys("\u{1b}[B\u{5} One\u{f}");
    nano.wait_for("File Name to Write");
    nano.type_keys("\r");
    nano.wait_for("Wrote");
    desk.rest();
    assert_eq!(desk.record_title(), "Regatta One");
    nano.type_keys(" Two\u{13}");
    crate::common::wait_until(crate::common::mount::PATIENCE, "saved", || desk.record_title() == "Regatta One Two");
    nano.type_keys("\u{18}");
    nano.ends();
    let text = document("Regatta").replace("title: Regatta\n", "title: Regatta One Two\n");
    desk.holds(&text, &["retitle", "tags", "note", "retitle", "retitle"], &[]);
}

#[test]
fn nano_tells_of_a_save_that_is_refused_and_keeps_its_text() {
    needs!("nano", "script");
    let world = world();
    let desk = Desk::new(&world);
    let mut nano = Terminal::start(&desk, "nano --ignorercfiles meta.md");
    nano.wait_for("title");
    nano.type_keys("oops ");
    nano.type_keys("\u{13}");
    nano.wait_for("Error writing");
    desk.refusal();
    assert!(desk.edits().is_empty());
    // Corrected it is saved; nano notices that its own failed save changed the file.
    nano.type_keys("\u{8}\u{8}\u{8}\u{8}\u{8}\u{13}");
    nano.wait_for("continue saving?");
    nano.type_keys("y");
    nano.wait_for("Wrote");
    nano.type_keys("\u{18}");
    nano.ends();
    desk.rest();
    assert!(desk.drafts().is_empty() && desk.edits().is_empty());
    desk.holds_names(&[]);
}
