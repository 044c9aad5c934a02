//! The exit status of what speaks with the cloud: the same for every command, wherever in it the cloud's word came.

use std::fs;

use serde_json::json;

use crate::common::cloud::Answer;
use crate::stage::{Stage, session_file};

const COMMANDS: [&[&str]; 5] = [&["push"], &["pull"], &["sync"], &["fetch", "--all"], &["whoami"]];

/// Each command, with something to do for it.
fn each(stage: &mut Stage, state: &str, code: i32, says: &str) {
    for command in COMMANDS {
        let ran = stage.b.run(command);
        assert_eq!(ran.code, Some(code), "{state}: {command:?}: {}", ran.all());
        let ran = ran.exits(code);
        assert!(ran.stderr.contains(says), "{state}: {command:?}: {}", ran.stderr);
    }
}

#[test]
fn every_command_that_speaks_with_the_cloud_tells_by_its_exit_status_why_it_could_not() {
    let mut stage = Stage::with(1);
    // What is waited for in earnest is a second here.
    stage.b.set_variable("COGFS_RETRY_MS", "1");
    stage.is_gone();
    each(&mut stage, "offline", 5, "cannot be reached");
    stage.double.answers(|_| Some(Answer::Json(503, json!({"message": "later"}))));
    each(&mut stage, "a broken server", 5, "");
    stage.double.answers(|_| Some(Answer::Raw(200, Vec::new(), b"<html>Welcome!</html>".to_vec())));
    each(&mut stage, "a server that is another", 5, "");
    stage.double.answers(|_| Some(Answer::Json(429, json!({"message": "slower"}))));
    each(&mut stage, "too many requests", 5, "wait");
    stage.double.answers(|_| Some(Answer::Json(426, json!({"code": "PT426", "message": "too old for this server"}))));
    each(&mut stage, "another protocol", 1, "");
    stage.double.answers(|_| Some(Answer::Json(403, json!({"code": "42501", "message": "no"}))));
    each(&mut stage, "refused", 1, "refused");

    // The server ended the session; then the program knows it; then nobody was ever logged in.
    stage.double.answers(|asked| {
        let over = if asked.path.starts_with("/auth/") {
            (400, json!({"code": "session_not_found", "message": "over"}))
        } else {
            (401, json!({"code": "PGRST301", "message": "JWT expired"}))
        };
        Some(Answer::Json(over.0, over.1))
    });
    let kept = fs::read(session_file(&stage.b)).unwrap();
    for command in COMMANDS {
        fs::write(session_file(&stage.b), &kept).unwrap();
        assert!(stage.b.run(command).exits(4).stderr.contains("cogfs login"), "{command:?}");
    }
    each(&mut stage, "ended", 4, "cogfs login");
    fs::remove_file(session_file(&stage.b)).unwrap();
    each(&mut stage, "nobody is logged in", 4, "cogfs login");
}
