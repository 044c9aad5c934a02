//! A real browser: Chromium without a display, opened as a desktop opens it (`xdg-open ADDRESS`), and led over WebDriver.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

use super::{World, has_program, wait_until};

/// How long a page may take, on a machine that is busy.
const PAGE: Duration = Duration::from_secs(60);

/// A desktop whose `xdg-open` is Chromium.
pub struct Desktop {
    dir: PathBuf,
}

impl Desktop {
    /// `None`: there is no Chromium here.
    pub fn new(world: &World) -> Option<Self> {
        if !(has_program("chromium") && has_program("chromedriver")) {
            return None;
        }
        let dir = world.root().join("desktop");
        fs::create_dir(&dir).unwrap();
        let desktop = Self { dir };
        let (opened, pid, profile) = (desktop.path("opened"), desktop.path("pid"), desktop.path("profile"));
        let script = format!(
            "#!/bin/sh\nprintf %s \"$1\" >'{opened}'\necho $$ >'{pid}'\nexport HOME='{profile}'\n\
             exec /usr/bin/env chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
             --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage \
             --no-default-browser-check --window-size=900,600 --remote-debugging-port=0 \
             --user-data-dir='{profile}' \"$1\"\n",
            opened = opened.display(),
            pid = pid.display(),
            profile = profile.display()
        );
        fs::create_dir(&profile).unwrap();
        let program = desktop.path("xdg-open");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        Some(desktop)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A program that finds this desktop's `xdg-open` first.
    pub fn around(&self, mut command: Command) -> Command {
        command.env("PATH", format!("{}:/usr/bin:/bin", self.dir.display()));
        command
    }

    /// The argument that the browser was opened with.
    pub fn opened(&self) -> String {
        fs::read_to_string(self.path("opened")).unwrap()
    }

    /// Opens an address, as a program does that has something to show.
    pub fn open(&self, address: &str) {
        let mut shell = self.around(Command::new("sh"));
        // It runs on by itself, as behind a desktop.
        shell.args(["-c", "\"$0\" \"$1\" </dev/null >/dev/null 2>&1 &"]).arg(self.path("xdg-open")).arg(address);
        super::must(&mut shell);
    }

    /// Waits for the browser that was opened, and takes the lead.
    pub fn chromium(&self) -> Chromium {
        let port = self.path("profile").join("DevToolsActivePort");
        wait_until(PAGE, "Chromium is there", || fs::read_to_string(&port).is_ok_and(|text| text.lines().count() > 1));
        let port: u16 = fs::read_to_string(&port).unwrap().lines().next().unwrap().parse().unwrap();
        let pid = fs::read_to_string(self.path("pid")).unwrap().trim().parse().unwrap();
        Chromium::lead(port, pid)
    }
}

/// A browser that runs; it ends with this.
pub struct Chromium {
    driver: Child,
    port: u16,
    session: String,
    pid: i32,
}

impl Chromium {
    fn lead(browser: u16, pid: i32) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap());
        let mut line = String::new();
        // "ChromeDriver was started successfully on port 41234."
        while !line.contains("successfully on port") {
            line.clear();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "chromedriver ended");
        }
        let port = line.trim().trim_end_matches('.').rsplit(' ').next().unwrap().parse().unwrap();
        // What it says later is taken from it, so that it does not stop for that.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        let mut chromium = Self { driver, port, session: String::new(), pid };
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"debuggerAddress": format!("127.0.0.1:{browser}")},
        }}});
        let made = chromium.call("POST", "/session", &wanted).unwrap();
        chromium.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        chromium
    }

    /// Goes to an address, as if it were typed.
    pub fn visit(&self, address: &str) {
        self.must("POST", "/url", &json!({ "url": address }));
    }

    /// Clicks, as the mouse does, on what has this identifier, when it is there.
    pub fn click(&self, id: &str) {
        self.click_on(&format!("#{id}"));
    }

    /// Clicks on the first element that a selector means, when it is there.
    pub fn click_on(&self, selector: &str) {
        let mut element = String::new();
        wait_until(PAGE, &format!("there is {selector} to click on"), || {
            let wanted = json!({"using": "css selector", "value": selector});
            let found = self.call("POST", &format!("{}/element", self.session), &wanted);
            // The key is a constant of the WebDriver standard.
            let found = found.ok().and_then(|e| e["element-6066-11e4-a52e-4f735466cecf"].as_str().map(str::to_owned));
            found.is_some_and(|found| {
                element = found;
                true
            })
        });
        self.must("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// The title of the page.
    pub fn title(&self) -> String {
        self.must("GET", "/title", &Value::Null).as_str().unwrap().to_owned()
    }

    /// The address that the browser shows.
    pub fn address(&self) -> String {
        self.must("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Waits for the page of this title; the text that a person sees on it.
    pub fn page(&self, title: &str) -> String {
        wait_until(PAGE, &format!("the page {title:?}; it is {:?}", self.title()), || self.title() == title);
        let script = json!({"script": "return document.body.innerText", "args": []});
        self.must("POST", "/execute/sync", &script).as_str().unwrap().to_owned()
    }

    /// What a script on the page returns.
    pub fn evaluate(&self, script: &str) -> Value {
        self.must("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// Waits until an expression holds on the page.
    pub fn wait_for(&self, expression: &str) {
        wait_until(PAGE, expression, || self.evaluate(&format!("return {expression}")) == true);
    }

    /// Keeps a picture of the page, for people to look at.
    pub fn picture(&self, name: &str) {
        let png = self.must("GET", "/screenshot", &Value::Null);
        let png = base64::engine::general_purpose::STANDARD.decode(png.as_str().unwrap()).unwrap();
        fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name), png).unwrap();
    }

    fn must(&self, method: &str, what: &str, body: &Value) -> Value {
        self.call(method, &format!("{}{what}", self.session), body).unwrap_or_else(|e| panic!("{method} {what}: {e}"))
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            body.len()
        )
        .unwrap();
        stream.set_read_timeout(Some(PAGE)).unwrap();
        let mut answer = BufReader::new(stream);
        let mut head = String::new();
        // It may leave the connection open, whatever is asked of it: what belongs to the answer is told.
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(answer.read_line(&mut head).unwrap(), 0, "chromedriver hung up: {head}");
        }
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let mut body = vec![0; length.unwrap()];
        answer.read_exact(&mut body).unwrap();
        let value = serde_json::from_slice::<Value>(&body).unwrap()["value"].clone();
        if head.starts_with("HTTP/1.1 200") { Ok(value) } else { Err(value) }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // Ours, by the number that it wrote itself while it was being opened: it has not ended since, as nobody closes it.
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let stat = PathBuf::from(format!("/proc/{}/stat", self.pid));
            let runs = || fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z"));
            if !std::thread::panicking() {
                wait_until(Duration::from_secs(20), "Chromium ends", || !runs());
            }
        }
    }
}
