//! A cloud of real parts on this machine (`scripts/cloud-stack`), one for all tests that need it at the same time; each with a
//! gateway of its own, so that faults and counts are its own, and with users of its own.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use super::{Ran, World, must, stdout_of};

/// The stack, by a gateway of a test's own.
pub struct Stack {
    dir: PathBuf,
    shown: Value,
    pub url: String,
    gateway: Child,
    // The stack ends some time after the last of these.
    _used: File,
}

/// A user of the stack.
pub struct User {
    pub id: String,
    pub email: String,
    pub password: String,
}

impl Stack {
    fn scripts() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
    }

    /// The stack, started if it does not run; `Err`: why there is none.
    pub fn up() -> Result<Self, String> {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stack-{:016x}", Self::version()));
        fs::create_dir_all(&dir).unwrap();
        let used = File::create(dir.with_extension("used")).unwrap();
        used.lock_shared().unwrap();
        let starts = File::create(dir.with_extension("starts")).unwrap();
        starts.lock().unwrap();
        let program = Self::scripts().join("cloud-stack");
        let up = Command::new(&program)
            .args(["up".as_ref(), "--dir".as_ref(), dir.as_os_str()])
            .args(["--while".as_ref(), dir.with_extension("used").as_os_str()])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        drop(starts);
        if !up.status.success() {
            return Err(String::from_utf8_lossy(&up.stderr).into_owned());
        }
        let shown = stdout_of(Command::new(&program).arg("status").arg("--dir").arg(&dir));
        let mut gateway = Command::new("python3")
            .arg(Self::scripts().join("cloud_gateway.py"))
            .arg(dir.join("stack.json"))
            .arg("--own")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let (url, shown) = (url.trim().to_owned(), serde_json::from_str(&shown).unwrap());
        Ok(Self { dir, shown, url, gateway, _used: used })
    }

    /// Another state of the server's files is another stack.
    fn version() -> u64 {
        let mut files: Vec<PathBuf> =
            fs::read_dir(Self::scripts()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with("cloud"));
        files.extend(super::files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/cloud")));
        files.sort();
        let mut hasher = DefaultHasher::new();
        for path in files.iter().filter(|path| path.is_file()) {
            fs::read(path).unwrap().hash(&mut hasher);
        }
        hasher.finish()
    }

    /// A new user.
    pub fn user(&self) -> User {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("user-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut command = Command::new(Self::scripts().join("cloud-stack"));
        let made: Value =
            serde_json::from_str(&stdout_of(command.args(["user", &name, "--dir"]).arg(&self.dir))).unwrap();
        let text = |key: &str| made[key].as_str().unwrap().to_owned();
        User { id: text("id"), email: text("email"), password: text("password") }
    }

    /// Another machine, where a user is logged in; its settings are in its file.
    pub fn machine(&self, user: &User) -> World {
        let world = self.newcomer();
        self.login(&world, user).exits(0);
        world
    }

    /// Another machine, where nobody is logged in yet.
    pub fn newcomer(&self) -> World {
        let mut world = World::new();
        // What is waited for in earnest is a second here.
        world.set_variable("COGFS_RETRY_MS", "20");
        for (name, value) in [("sync.url", self.url.as_str()), ("sync.key", self.shown["anon_key"].as_str().unwrap())] {
            world.run(&["config", "set", name, value]).exits(0);
        }
        world
    }

    /// `cogfs login` with a password.
    pub fn login(&self, world: &World, user: &User) -> Ran {
        let mut command = world.cogfs(&["login", "--email", &user.email, "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", user.password).unwrap();
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// A statement as the database's owner; its answer as text, a line a row.
    pub fn sql(&self, statement: &str) -> String {
        let mut command = Command::new("psql");
        command.args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d"]);
        let out = must(command.arg(self.shown["database"].as_str().unwrap()).args(["-c", statement]));
        String::from_utf8(out.stdout).unwrap().trim_end().to_owned()
    }

    /// Everything that a user has in the cloud, as rows and sums of them: equal before and after what is to change nothing. When it
    /// was read last, by whoever sent it, is not of it.
    pub fn contents(&self, user: &User) -> String {
        let tables = [
            "machines",
            "projects",
            "cognitive_commits",
            "sessions",
            "turns",
            "raw_chunks",
            "message_usage",
            "visuals",
        ];
        let id = &user.id;
        let parts = tables.map(|table| {
            format!(
                "select '{table}', count(*), md5(string_agg(row, '' order by row))
                 from (select user_id, md5((to_jsonb(t) - 'as_of')::text) as row from public.{table} t) r where user_id = '{id}'"
            )
        });
        // Parallel plans give them in whatever order.
        self.sql(&format!("{} order by 1", parts.join(" union all ")))
    }

    /// The rows of a user in a table, with a condition.
    pub fn count(&self, user: &User, table: &str, condition: &str) -> u64 {
        let id = &user.id;
        self.sql(&format!("select count(*) from public.{table} where user_id = '{id}' and ({condition})"))
            .parse()
            .unwrap()
    }

    /// Faults of this gateway from now on: `scripts/cloud_gateway.py` says which there are.
    pub fn faults(&self, rules: &Value) {
        self.control("POST", "/__faults", &rules.to_string());
    }

    /// How many requests came since it was asked last, by kind.
    pub fn requests(&self) -> Requests {
        let said: Value = serde_json::from_str(&self.control("GET", "/__requests", "")).unwrap();
        self.control("DELETE", "/__requests", "");
        Requests(said)
    }

    /// The key of the gateway.
    pub fn key(&self) -> &str {
        self.shown["anon_key"].as_str().unwrap()
    }

    /// A token of a user's, without a login, that holds so many seconds.
    pub fn token(&self, user: &User, expires: i64) -> String {
        let mut command = Command::new(Self::scripts().join("cloud-stack"));
        command.args(["token", &user.id, "--expires", &expires.to_string(), "--dir"]).arg(&self.dir);
        stdout_of(&mut command).trim().to_owned()
    }

    /// Does something to the sockets that are open at this gateway: `scripts/cloud_realtime.py` says what there is.
    pub fn sockets(&self, fault: &Value) {
        self.control("POST", "/__realtime", &fault.to_string());
    }

    /// How many connections, joins, heartbeats, tokens and events of Realtime there were (`open`: sockets there are).
    pub fn realtime(&self, what: &str) -> u64 {
        let said: Value = serde_json::from_str(&self.control("GET", "/__requests", "")).unwrap();
        said["realtime"][what].as_u64().unwrap_or(0)
    }

    fn control(&self, method: &str, path: &str, body: &str) -> String {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains(" 200 "), "{answer}");
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// A rule of the gateway's.
    pub fn fault(call: &str, fault: &str, more: &Value) -> Value {
        let mut rule = json!({ "path": format!("/rest/v1/rpc/{call}"), "fault": fault });
        for (key, value) in more.as_object().unwrap() {
            rule[key] = value.clone();
        }
        rule
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.gateway.stdin.take());
        let _ = self.gateway.wait();
    }
}

/// What came to a gateway.
pub struct Requests(Value);

impl Requests {
    pub fn total(&self) -> u64 {
        self.0["total"].as_u64().unwrap()
    }

    /// How many of a function.
    pub fn of(&self, call: &str) -> u64 {
        self.0["by"][format!("POST /rest/v1/rpc/{call}")].as_u64().unwrap_or(0)
    }
}

/// The stack, or the test is left, loudly.
#[macro_export]
macro_rules! needs_stack {
    () => {
        match $crate::common::stack::Stack::up() {
            Ok(stack) => stack,
            Err(why) => return $crate::common::skipped(&format!("no cloud on this machine: {why}")),
        }
    };
}
