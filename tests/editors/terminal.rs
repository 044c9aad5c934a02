//! A program in a terminal of its own, typed to. `script` of util-linux is the terminal.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::common::mount::{PATIENCE, kill};
use crate::common::wait_until;
use crate::desk::Desk;

pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: PathBuf,
    pid: PathBuf,
}

impl Terminal {
    /// Starts a command line of the shell in the commit's directory.
    pub fn start(desk: &Desk<'_>, command: &str) -> Self {
        let (screen, pid) = (desk.world.root().join("screen"), desk.world.root().join("pid"));
        let file = File::create(&screen).unwrap();
        let line = format!("stty rows 24 cols 80; echo $$ > {}; exec {command}", pid.display());
        let shell = desk.shell("");
        let mut script = Command::new("script");
        script.args(["-qfec", &line, "/dev/null"]).current_dir(desk.dir());
        for (name, value) in shell.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = script.spawn().unwrap();
        let keys = child.stdin.take().unwrap();
        Self { child, keys, screen, pid }
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.screen).unwrap()).into_owned()
    }

    /// Waits until something is shown.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let shown = std::cell::RefCell::new(String::new());
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            *shown.borrow_mut() = self.screen();
            if shown.borrow().contains(text) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("{text:?} was not shown:\n{}", shown.borrow());
    }

    pub fn type_keys(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits until the program ends by itself.
    #[track_caller]
    pub fn ends(mut self) {
        let mut status = None;
        let screen = self.screen.clone();
        let start = std::time::Instant::now();
        while status.is_none() {
            if start.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("the editor does not end:\n{}", fs::read_to_string(&screen).unwrap_or_default());
            }
            status = self.child.try_wait().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(status.unwrap().success(), "{}", self.screen());
    }

    /// Kills the program as a crash would.
    pub fn crashes(mut self) {
        let pid = fs::read_to_string(&self.pid).unwrap().trim().parse().unwrap();
        kill(pid);
        wait_until(PATIENCE, "the editor is gone", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("The screen:\n{}", self.screen());
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let pid = fs::read_to_string(&self.pid).ok().and_then(|pid| pid.trim().parse().ok());
            pid.into_iter().for_each(kill);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
