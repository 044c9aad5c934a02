//! Another process that looks at a mount. The one that edits must read nothing on the way: what its saves are compared with is
//! what it read. So what is on the mount is looked at by this program run again, which answers on a pipe.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::direct::{is_made, is_part};
use super::model::{Look, Seen};

/// In front of each answer: a test's output has other lines.
const ANSWER: &str = "looked: ";

/// The process, while the test runs.
pub struct Looker {
    child: Child,
    asks: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Looker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Looker {
    pub fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "looker::looks_for_another_process", "--ignored", "--nocapture"]);
        command.env("COGFS_MODEL_LOOKS", "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (asks, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, asks, answers }
    }

    fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.asks, "{question}").unwrap();
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.answers.read_line(&mut line).unwrap() > 0, "the process that looks has ended");
            // The first answer may stand behind what the test's runner says of it.
            if let Some(at) = line.find(ANSWER) {
                return serde_json::from_str(&line[at + ANSWER.len()..]).unwrap();
            }
        }
    }

    /// What is below paths of a mount.
    pub fn dumps(&mut self, mount: &Path, paths: &[String], look: &Look) -> Vec<BTreeMap<String, Seen>> {
        let look = match look {
            Look::Into(dirs) => json!(dirs),
            Look::IntoAll => json!("all"),
            Look::Deep => json!("deep"),
        };
        let answer = self.ask(&json!({ "mount": mount, "paths": paths, "look": look }));
        let dump = |dump: &Value| {
            let entries = dump.as_object().unwrap().iter();
            entries.map(|(path, seen)| (path.clone(), seen_of(seen))).collect()
        };
        answer.as_array().unwrap().iter().map(dump).collect()
    }

    /// What is read of a file, whatever it is called.
    pub fn read(&mut self, path: &Path) -> Option<Vec<u8>> {
        self.ask(&json!({ "read": path })).as_str().map(bytes_of)
    }
}

/// Bytes as a text that JSON can hold: each the character of that number.
fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

fn seen_of(value: &Value) -> Seen {
    match (value.as_str(), value["bytes"].as_str()) {
        (Some("dir"), _) => Seen::Dir,
        (Some("link"), _) => Seen::Link,
        (Some("made"), _) => Seen::Made,
        (_, Some(bytes)) => Seen::Bytes(bytes_of(bytes)),
        // What went wrong is seen by nothing that is promised.
        _ => Seen::Bytes(value.to_string().into_bytes()),
    }
}

#[test]
#[ignore = "run by the tests of a mount, as another process"]
fn looks_for_another_process() {
    if std::env::var_os("COGFS_MODEL_LOOKS").is_none() {
        return;
    }
    for question in std::io::stdin().lines() {
        let question: Value = serde_json::from_str(&question.unwrap()).unwrap();
        let answer = match question["read"].as_str() {
            Some(path) => fs::read(path).map_or(Value::Null, |bytes| json!(text_of(&bytes))),
            None => look_at(&question),
        };
        println!("{ANSWER}{answer}");
    }
}

fn look_at(question: &Value) -> Value {
    let mount = PathBuf::from(question["mount"].as_str().unwrap());
    let look = match &question["look"] {
        Value::Array(dirs) => Look::Into(dirs.iter().map(|dir| dir.as_str().unwrap().to_owned()).collect()),
        Value::String(word) if word == "deep" => Look::Deep,
        _ => Look::IntoAll,
    };
    let dump = |path: &Value| {
        let mut out = serde_json::Map::new();
        let path = path.as_str().unwrap();
        if mount.join(path).is_dir() {
            dump_into(&mount, path, &look, &mut out);
        }
        Value::Object(out)
    };
    question["paths"].as_array().unwrap().iter().map(dump).collect()
}

fn dump_into(mount: &Path, dir: &str, look: &Look, out: &mut serde_json::Map<String, Value>) {
    let entries = match fs::read_dir(mount.join(dir)) {
        Ok(entries) => entries,
        Err(error) => {
            out.insert(format!("{dir}: {error}"), Value::Null);
            return;
        }
    };
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                out.insert(format!("{dir}: {error}"), Value::Null);
                return;
            }
        };
        let path = format!("{dir}/{}", entry.file_name().to_str().unwrap());
        let seen = see(&entry.path(), look).unwrap_or_else(|error| json!({ "error": error.to_string() }));
        let (is_dir, ino) = (seen == "dir", std::os::unix::fs::DirEntryExt::ino(&entry));
        assert!(out.insert(path.clone(), seen).is_none(), "{path} is listed twice");
        if is_dir && look.enters(&path, ino >> 56 == 4, is_part(ino)) {
            dump_into(mount, &path, look, out);
        }
    }
}

fn see(path: &Path, look: &Look) -> std::io::Result<Value> {
    let attr = fs::symlink_metadata(path)?;
    if attr.is_dir() {
        return Ok(json!("dir"));
    }
    if attr.is_symlink() {
        fs::read_link(path)?;
        return Ok(json!("link"));
    }
    let made = is_made(attr.ino());
    if made && !matches!(look, Look::Deep) {
        return Ok(json!("made"));
    }
    let bytes = fs::read(path)?;
    if bytes.len() as u64 != attr.len() {
        return Ok(json!({ "error": format!("{} bytes long, {} are read", attr.len(), bytes.len()) }));
    }
    Ok(if made { json!("made") } else { json!({ "bytes": text_of(&bytes) }) })
}
