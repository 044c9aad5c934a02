//! Writes logs as Claude Code does, for tests that need one of a certain shape or size.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A session's log under construction: one record a line, each a second after the one before.
#[derive(Clone)]
pub struct ClaudeLog {
    session: String,
    cwd: String,
    seconds: i64,
    parent: Option<String>,
    pub lines: Vec<String>,
}

impl ClaudeLog {
    /// A session with this number, in the project `/w/<project>`.
    pub fn new(project: &str, number: u32) -> Self {
        Self {
            session: format!("{number:08x}-0000-4000-8000-{number:012x}"),
            cwd: format!("/w/{project}"),
            // Sessions start an hour after each other, so that their order is told by their times.
            seconds: i64::from(number) * 3600,
            parent: None,
            lines: Vec::new(),
        }
    }

    /// What follows is said at another time, in seconds of the epoch.
    pub fn at(&mut self, seconds: i64) -> &mut Self {
        self.seconds = seconds - 1_780_000_000;
        self
    }

    pub fn session(&self) -> &str {
        &self.session
    }

    /// A record with what all records have.
    pub fn record(&mut self, kind: &str, extra: &Value) -> &mut Self {
        self.seconds += 1;
        let time = chrono::DateTime::from_timestamp(1_780_000_000 + self.seconds, 0).unwrap();
        let uuid = format!("{}-{:012x}", &self.session[..23], self.lines.len() + 1);
        let mut record = json!({
            "parentUuid": self.parent, "isSidechain": false, "userType": "external", "cwd": self.cwd,
            "sessionId": self.session, "version": "2.1.37", "gitBranch": "main", "type": kind, "uuid": uuid,
            "timestamp": time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
        });
        let object = record.as_object_mut().unwrap();
        object.extend(extra.as_object().unwrap().clone());
        self.parent = Some(uuid);
        self.lines.push(record.to_string());
        self
    }

    /// A line as it is.
    pub fn line(&mut self, line: &str) -> &mut Self {
        self.lines.push(line.to_owned());
        self
    }

    pub fn user(&mut self, text: &str) -> &mut Self {
        self.record("user", &json!({"message": {"role": "user", "content": text}}))
    }

    pub fn assistant(&mut self, text: &str) -> &mut Self {
        self.block(&json!({"type": "text", "text": text}))
    }

    fn block(&mut self, block: &Value) -> &mut Self {
        let id = format!("msg_{}_{}", &self.session[..8], self.lines.len());
        let usage = json!({"input_tokens": 5, "output_tokens": 7});
        self.record(
            "assistant",
            &json!({"requestId": format!("req_{id}"), "message": {"id": id, "type": "message", "role": "assistant",
                "model": "claude-opus-4-5-20251101", "content": [block], "stop_reason": null, "usage": usage}}),
        )
    }

    /// A call of a tool that ends well or badly.
    pub fn tool(&mut self, name: &str, input: &Value, failed: bool) -> &mut Self {
        let id = format!("toolu_{}_{}", &self.session[..8], self.lines.len());
        self.block(&json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        let result = json!({"type": "tool_result", "tool_use_id": id, "content": "Done.", "is_error": failed});
        self.record("user", &json!({"message": {"role": "user", "content": [result]}}))
    }

    /// A file written.
    pub fn write_file(&mut self, path: &str) -> &mut Self {
        self.tool("Write", &json!({"file_path": path, "content": "x"}), false)
    }

    /// A shell command with its output.
    pub fn bash(&mut self, command: &str, output: &str) -> &mut Self {
        let id = format!("toolu_{}_{}", &self.session[..8], self.lines.len());
        self.block(&json!({"type": "tool_use", "id": id, "name": "Bash", "input": {"command": command}}));
        let result = json!({"type": "tool_result", "tool_use_id": id, "content": output, "is_error": false});
        self.record(
            "user",
            &json!({"message": {"role": "user", "content": [result]},
                "toolUseResult": {"stdout": output, "stderr": "", "interrupted": false, "isImage": false}}),
        )
    }

    /// A git commit that succeeded.
    pub fn git_commit(&mut self, hash: &str, subject: &str) -> &mut Self {
        let output = format!("[main {hash}] {subject}\n 1 file changed, 1 insertion(+)");
        self.bash(&format!("git commit -am '{subject}'"), &output)
    }

    /// Where the log lies under `logs`.
    pub fn path(&self, logs: &Path) -> PathBuf {
        logs.join("projects").join(self.cwd.replace('/', "-")).join(format!("{}.jsonl", self.session))
    }

    /// Writes the whole log.
    pub fn write(&self, logs: &Path) -> PathBuf {
        self.write_bytes(logs, (self.lines.join("\n") + "\n").as_bytes())
    }

    /// Writes a log with these bytes in place of the lines.
    pub fn write_bytes(&self, logs: &Path, bytes: &[u8]) -> PathBuf {
        let path = self.path(logs);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Appends the lines from `first` on, as an agent does.
    pub fn append(&self, logs: &Path, first: usize) -> PathBuf {
        let path = self.path(logs);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all((self.lines[first..].join("\n") + "\n").as_bytes()).unwrap();
        path
    }
}
