//! `resume.sh`: takes a session up again in the agent it was had with.
//!
//! A script for any POSIX shell. What comes from a log stands in it as a quoted word that the shell reads as nothing but text.

use super::markdown::one_line;
use super::out::Out;
use crate::model::{Agent, Session};

/// What a script takes up.
#[derive(Debug, Clone, Copy)]
pub struct Resumed<'a> {
    /// The session itself, or the one that started the subagent.
    pub session: &'a Session,
    /// The name of the machine that it was had on; empty where it is not known.
    pub machine: &'a str,
    /// The script is a subagent's, which no agent takes up by itself.
    pub is_subagents: bool,
}

/// How an agent is told which session to take up. Sources: `claude --help` (2.1), `codex resume --help` (0.142), opencode.ai/docs/cli,
/// geminicli.com/docs/cli/session-management, docs.github.com/copilot (CLI, `--resume`).
struct Command {
    program: &'static str,
    arguments: &'static str,
}

/// `Err`: it has no such command, and why.
fn command(agent: Agent) -> Result<Command, &'static str> {
    let (program, arguments) = match agent {
        Agent::ClaudeCode => ("claude", "--resume \"$session\""),
        Agent::Codex => ("codex", "resume \"$session\""),
        Agent::OpenCode => ("opencode", "--session \"$session\""),
        Agent::Gemini => ("gemini", "--resume \"$session\""),
        Agent::Copilot => ("copilot", "--resume \"$session\""),
        Agent::ChatGpt => return Err("it was had in a browser: https://chatgpt.com/c/$session"),
        Agent::ClaudeAi => return Err("it was had in a browser: https://claude.ai/chat/$session"),
        Agent::Cursor | Agent::Antigravity => {
            return Err("the editor has no command that takes a session up: open it there");
        }
    };
    Ok(Command { program, arguments })
}

/// Writes a session's `resume.sh`.
pub fn resume_sh<O: Out>(out: &mut O, resumed: Resumed<'_>) {
    let session = resumed.session;
    let agent = session.agent.title();
    out.put("#!/bin/sh\n# Takes this session up again in ");
    out.put(agent);
    if resumed.is_subagents {
        out.put(".\n# A subagent is not taken up by itself: this is the session that started it");
    }
    if session.part > 1 {
        out.put(".\n# The session goes on to its end, beyond what this commit has of it");
    }
    out.put(".\n\nfail() {\n    printf 'resume.sh: %s\\n' \"$*\" >&2\n    exit 1\n}\n\n");
    if !is_plain(&session.native_id) {
        out.put("fail ");
        put_quoted(out, &format!("the log says of this session no id that {agent} could find it by"));
        out.put("\n");
        return;
    }
    put_assignment(out, "session", &session.native_id);
    let Command { program, arguments } = match command(session.agent) {
        Ok(command) => command,
        Err(why) => {
            out.put("fail \"");
            out.put(why);
            out.put("\"\n");
            return;
        }
    };
    put_assignment(out, "machine", &one_line(resumed.machine));
    put_assignment(out, "folder", session.cwd.as_deref().unwrap_or_default());
    out.put("here=$(uname -n)\n\ncommand -v ");
    out.put(program);
    out.put(" >/dev/null 2>&1 || fail ");
    put_quoted(out, &format!("{agent} is not on this machine: there is no program {program}"));
    out.put("\n");
    out.put(
        "elsewhere=\n[ -z \"$machine\" ] || [ \"$machine\" = \"$here\" ] || elsewhere=\" (it was had on $machine, and this is $here)\"\n",
    );
    if session.cwd.is_some() {
        out.put("[ -d \"$folder\" ] || fail \"the folder of this session is not here: $folder$elsewhere\"\n");
        // `CDPATH` would have it search, and print.
        out.put("CDPATH= cd -- \"$folder\" || exit 1\n");
    } else {
        out.put("# The log does not say in which folder it was: begin this script in that one.\n");
    }
    if session.agent == Agent::ClaudeCode {
        // It removes logs after 30 days, by itself (`cleanupPeriodDays`).
        out.put(
            "found=\nfor log in \"${CLAUDE_CONFIG_DIR:-$HOME/.claude}\"/projects/*/\"$session\".jsonl; do\n    \
             [ ! -e \"$log\" ] || found=yes\ndone\n\
             [ -n \"$found\" ] || fail \"Claude Code has no log of this session here (any more)$elsewhere; transcript.md beside \
             this script has what was said\"\n",
        );
    } else {
        out.put("[ -z \"$elsewhere\" ] || printf 'resume.sh: ");
        out.put(agent);
        out.put(" may not find the session%s\\n' \"$elsewhere\" >&2\n");
    }
    out.put("exec ");
    out.put(program);
    out.put(" ");
    out.put(arguments);
    out.put(" \"$@\"\n");
}

/// Whether a program takes it for an id: nothing in front that begins an option, nothing that no id has.
fn is_plain(id: &str) -> bool {
    let begins = id.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
    begins && id.len() <= 200 && !id.chars().any(|c| c.is_control() || c == '/')
}

fn put_assignment<O: Out>(out: &mut O, name: &str, value: &str) {
    out.put(name);
    out.put("=");
    put_quoted(out, value);
    out.put("\n");
}

/// Writes a word as a shell reads it: within single quotes only a single quote means something (POSIX, 2.2.2). A NUL cannot be
/// in a path, and a shell may end at one.
fn put_quoted<O: Out>(out: &mut O, word: &str) {
    out.put("'");
    let word = word.replace('\0', "");
    for (number, piece) in word.split('\'').enumerate() {
        if number > 0 {
            out.put("'\\''");
        }
        out.put(piece);
    }
    out.put("'");
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;
    use std::process::{Command, Output};

    use super::super::testing;
    use super::*;

    fn script(session: &Session, machine: &str) -> String {
        let mut out = String::new();
        resume_sh(&mut out, Resumed { session, machine, is_subagents: false });
        out
    }

    /// Runs a script where the agent's program prints where it is and what it was given.
    fn run(dir: &Path, session: &Session, machine: &str) -> Output {
        let bin = dir.join("bin");
        std::fs::create_dir_all(&bin).unwrap();
        let program = bin.join(command(session.agent).map_or("none", |command| command.program));
        std::fs::write(&program, "#!/bin/sh\npwd\nprintf '<%s>' \"$@\"\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = dir.join("resume.sh");
        std::fs::write(&path, script(session, machine)).unwrap();
        let path_list = format!("{}:/usr/bin:/bin", bin.display());
        Command::new("sh").arg(path).arg("more").env("PATH", path_list).env("HOME", dir).output().unwrap()
    }

    #[test]
    fn a_script_reads_well() {
        insta::assert_snapshot!(script(&testing::session(), "laptop"));
    }

    #[test]
    fn each_agent_is_told_the_session_in_its_folder_whatever_that_is_called() {
        let dir = tempfile::tempdir().unwrap();
        for name in
            ["plain", "with 'quotes' \"and\" spaces", "$(touch pwned) `touch pwned` ; & | \\", "-n", "line\nbreak"]
        {
            let folder = dir.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for agent in Agent::ALL.into_iter().filter(|agent| command(*agent).is_ok()) {
                let session = Session {
                    agent,
                    native_id: "se's $(touch pwned)".to_owned(),
                    cwd: Some(folder.to_string_lossy().into_owned()),
                    ..testing::session()
                };
                let logs = dir.path().join(".claude/projects/x");
                std::fs::create_dir_all(&logs).unwrap();
                std::fs::write(logs.join(format!("{}.jsonl", session.native_id)), "").unwrap();
                let ran = run(dir.path(), &session, "");
                let said = String::from_utf8(ran.stdout).unwrap();
                let given = match agent {
                    Agent::Codex => "<resume><se's $(touch pwned)><more>",
                    Agent::OpenCode => "<--session><se's $(touch pwned)><more>",
                    _ => "<--resume><se's $(touch pwned)><more>",
                };
                assert_eq!(
                    said,
                    format!("{}\n{given}", folder.display()),
                    "{agent:?}: {:?}",
                    String::from_utf8(ran.stderr)
                );
                assert!(!folder.join("pwned").exists() && !dir.path().join("pwned").exists());
            }
        }
    }

    #[test]
    fn what_no_command_takes_up_says_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for (agent, words) in [
            (Agent::ChatGpt, "https://chatgpt.com/c/67ab'$(touch pwned)\n"),
            (Agent::ClaudeAi, "https://claude.ai/chat/67ab'$(touch pwned)\n"),
            (Agent::Cursor, "open it there\n"),
            (Agent::Antigravity, "open it there\n"),
        ] {
            let session = Session { agent, native_id: "67ab'$(touch pwned)".to_owned(), ..testing::session() };
            let ran = run(dir.path(), &session, "");
            let said = String::from_utf8(ran.stderr).unwrap();
            assert!(ran.status.code() == Some(1) && said.ends_with(words), "{said}");
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let said = |session: &Session, machine: &str| {
            let ran = run(dir.path(), session, machine);
            assert_eq!(ran.status.code(), Some(1));
            assert!(ran.stdout.is_empty(), "nothing was begun");
            String::from_utf8(ran.stderr).unwrap()
        };
        let gone = Session { cwd: Some("/no/such/folder".to_owned()), ..testing::session() };
        let words = said(&gone, "laptop");
        assert!(
            words.starts_with(
                "resume.sh: the folder of this session is not here: /no/such/folder (it was had on laptop"
            )
        );
        let cleaned = Session { cwd: Some("/tmp".to_owned()), ..testing::session() };
        assert!(said(&cleaned, "").contains("has no log of this session here (any more); transcript.md"));
        for id in ["", "-rf", "a\nb", "../x"] {
            let odd = Session { native_id: id.to_owned(), ..cleaned.clone() };
            assert!(said(&odd, "").contains("no id that Claude Code could find it by"), "{id:?}");
        }
        let path = dir.path().join("alone.sh");
        std::fs::write(&path, script(&cleaned, "")).unwrap();
        let ran = Command::new("/bin/sh").arg(path).env("PATH", "/nowhere").output().unwrap();
        assert!(String::from_utf8_lossy(&ran.stderr).contains("there is no program claude"), "{ran:?}");
    }
}
