//! The help of every command, as a user sees it: a change of it is seen in review.

use std::process::Command;

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cogfs"))
        .args(command)
        .arg("--help")
        // The width of the help is the terminal's, where there is one.
        .env("COLUMNS", "100")
        .output()
        .expect("cogfs runs");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let mut pages = vec![format!("# cogfs\n\n{}", help(&[]))];
    for command in [
        "import",
        "mount",
        "unmount",
        "watch",
        "status",
        "edit",
        "trash",
        "restore",
        "log",
        "undo",
        "push",
        "pull",
        "sync",
        "fetch",
        "export",
        "project",
        "stats",
        "analytics",
        "doctor",
        "forget",
        "login",
        "logout",
        "whoami",
        "config",
        "demo",
        "completions",
    ] {
        pages.push(format!("# cogfs {command}\n\n{}", help(&[command])));
    }
    insta::assert_snapshot!(pages.join("\n"));
}
