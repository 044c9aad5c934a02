//! A GTK editor on a display of its own.

use std::process::{Child, Command, Stdio};

use crate::common::mount::PATIENCE;
use crate::common::{stdout_of, wait_until};
use crate::desk::{Desk, document, world};

/// Ended with the test, whatever becomes of that.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A virtual display; its number.
fn display() -> (Running, String) {
    let mut server = Command::new("Xvfb");
    server.args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"]);
    let mut child = server.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    (Running(child), format!(":{}", line.trim()))
}

#[test]
fn mousepad_saves_once_and_leaves_nothing() {
    needs!("mousepad", "Xvfb", "xdotool", "dbus-run-session");
    let world = world();
    let desk = Desk::new(&world);
    std::fs::write(desk.meta(), document("Regatta")).unwrap();
    desk.rest();
    let (_server, display) = display();
    let mut editor = desk.shell("");
    let envs: Vec<_> = editor.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    editor = Command::new("dbus-run-session");
    for (name, value) in envs {
        match value {
            Some(value) => editor.env(name, value),
            None => editor.env_remove(name),
        };
    }
    editor.args(["--", "mousepad", "meta.md"]).current_dir(desk.dir()).env("DISPLAY", &display);
    editor.env("GSETTINGS_BACKEND", "memory").env("GIO_USE_VFS", "local").env("NO_AT_BRIDGE", "1");
    let _editor = Running(editor.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let tool = |args: &[&str]| Command::new("xdotool").args(args).env("DISPLAY", &display).output().unwrap();
    let mut window = String::new();
    wait_until(PATIENCE, "the editor shows the document", || {
        let found = tool(&["search", "--onlyvisible", "--name", "meta.md"]);
        String::from_utf8_lossy(&found.stdout).lines().last().unwrap_or_default().clone_into(&mut window);
        !window.is_empty()
    });
    let _ = stdout_of(Command::new("xdotool").args(["windowfocus", &window]).env("DISPLAY", &display));
    // Down, to the end of the line, a word.
    for keys in [&["key", "Down", "End"][..], &["type", " Two"], &["key", "ctrl+s"]] {
        assert!(tool(keys).status.success());
    }
    wait_until(PATIENCE, "it is saved", || desk.record_title() == "Regatta Two");
    desk.rest();
    // A second time.
    for keys in [&["type", " Three"][..], &["key", "ctrl+s"]] {
        assert!(tool(keys).status.success());
    }
    wait_until(PATIENCE, "it is saved again", || desk.record_title() == "Regatta Two Three");
    let text = document("Regatta").replace("title: Regatta\n", "title: Regatta Two Three\n");
    desk.holds(&text, &["retitle", "tags", "note", "retitle", "retitle"], &[]);
}
