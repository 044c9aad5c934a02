//! The help of every command, as a user sees it: a change of it is seen in review.

use std::process::Command;

fn help(command: &[String]) -> String {
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

/// The commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What goes on over a line is indented further.
    let names = listed.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

fn pages(command: &[String], pages: &mut Vec<String>) {
    let help = help(command);
    pages.push(format!("# {}\n\n{help}", [&["cogfs".to_owned()], command].concat().join(" ")));
    for name in commands(&help) {
        self::pages(&[command, &[name]].concat(), pages);
    }
}

#[test]
fn the_help_of_every_command_is_as_reviewed() {
    let mut all = Vec::new();
    pages(&[], &mut all);
    assert!(all.len() > 40, "{} commands", all.len());
    insta::assert_snapshot!(all.join("\n"));
}
