//! Where a session is cut: which git commits a shell command made. Pure.
//!
//! A command tells that a commit was meant, its output that it succeeded: git prints `[branch hash] subject`, with
//! `(root-commit)` behind the branch for a first commit and `detached HEAD` instead of one.

use crate::store::commits::GitCommit;

/// The git commits that a shell command made, in order.
#[must_use]
pub fn git_commits(command: &str, output: &str) -> Vec<GitCommit> {
    if !commits(command) {
        return Vec::new();
    }
    output.lines().filter_map(parse_line).collect()
}

/// Whether a command line runs `git commit`, with whatever options between the two words.
fn commits(command: &str) -> bool {
    // A cheap look first: nearly all commands hold neither word.
    if !command.contains("git") || !command.contains("commit") {
        return false;
    }
    // With quotes kept together (`git -C "a b" commit`), and with quotes taken away (`bash -c "git commit"`).
    runs_git_commit(&words(command, true)) || runs_git_commit(&words(command, false))
}

fn runs_git_commit(words: &[String]) -> bool {
    words.iter().enumerate().filter(|(_, w)| *w == "git" || w.ends_with("/git")).any(|(at, _)| {
        let mut rest = words[at + 1..].iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "commit" => return true,
                "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" | "--exec-path" => {
                    rest.next();
                }
                option if option.starts_with('-') => {}
                _ => return false,
            }
        }
        false
    })
}

/// Splits a command line at white space and at the shell's operators.
fn words(command: &str, keep_quotes: bool) -> Vec<String> {
    let (mut out, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.push(c),
            (None, '"' | '\'') if keep_quotes => quote = Some(c),
            (None, '"' | '\'') => {}
            (None, c) if c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '`' | '{' | '}') => {
                if !word.is_empty() {
                    out.push(std::mem::take(&mut word));
                }
            }
            (None, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        out.push(word);
    }
    out
}

fn parse_line(line: &str) -> Option<GitCommit> {
    // Gemini CLI puts a word before a shell's output: `Output: [main 1a2b3c4] subject`, `Stdout:` before 0.9.
    let line = ["Output: ", "Stdout: "].into_iter().find_map(|word| line.strip_prefix(word)).unwrap_or(line);
    let inner = line.trim_start().strip_prefix('[')?;
    let (inner, subject) = inner.split_once(']')?;
    let (branch, hash) = inner.rsplit_once(' ')?;
    let is_hash = (4..=64).contains(&hash.len()) && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let branch = branch.trim_end_matches("(root-commit)").trim();
    if !is_hash || branch.is_empty() || !subject.starts_with(' ') {
        return None;
    }
    let branch = (branch != "detached HEAD").then(|| branch.to_owned());
    Some(GitCommit { hash: hash.to_owned(), branch, subject: subject.trim().to_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hashes(command: &str, output: &str) -> Vec<String> {
        git_commits(command, output).into_iter().map(|c| c.hash).collect()
    }

    #[test]
    fn every_way_to_write_a_commit_is_found() {
        for command in [
            "git commit -m x",
            "git  commit --amend --no-edit",
            "git add -A && git commit -m 'two words'",
            "git -C /tmp/app commit -m x",
            "git -C \"/tmp/my app\" commit -m x",
            "git -c user.name=me --no-pager commit -m x",
            "cd app; /usr/bin/git commit -F - <<'EOF'\nsubject\nEOF",
            "bash -lc \"git commit -m x\"",
            "(git commit -m x)",
        ] {
            assert_eq!(hashes(command, "[main 1a2b3c4] x\n 1 file changed"), ["1a2b3c4"], "{command}");
        }
    }

    #[test]
    fn every_shape_of_a_branch_is_read() {
        for (line, branch) in [
            ("[main 1a2b3c4] s", Some("main")),
            ("[feature/foo-bar 1a2b3c4] s", Some("feature/foo-bar")),
            ("[release/1.0 1a2b3c4] s", Some("release/1.0")),
            ("[main (root-commit) 1a2b3c4] s", Some("main")),
            ("[detached HEAD 1a2b3c4] s", None),
            ("[fix#12@ünï 1a2b3c4] s", Some("fix#12@ünï")),
        ] {
            let found = git_commits("git commit", line);
            assert_eq!(found.len(), 1, "{line}");
            assert_eq!(found[0].branch.as_deref(), branch, "{line}");
            assert_eq!(found[0].subject, "s");
        }
    }

    #[test]
    fn what_is_no_commit_is_not_found() {
        assert!(hashes("git commit-tree abc", "[main 1a2b3c4] x").is_empty(), "another command");
        assert!(hashes("git log --grep commit", "[main 1a2b3c4] x").is_empty(), "a log");
        assert!(hashes("cat notes", "[main 1a2b3c4] x").is_empty(), "not git");
        assert!(hashes("git commit -m x", "nothing to commit, working tree clean").is_empty(), "nothing happened");
        assert!(hashes("git commit -m x", "[INFO] hook\n[main nothex] x").is_empty(), "no hash");
    }

    #[test]
    fn two_commits_of_one_command_are_both_found() {
        assert_eq!(
            hashes("git commit -m a; git commit -m b", "[m 1111111] a\n[m 2222222] b\n"),
            ["1111111", "2222222"]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(command in ".{0,200}", output in ".{0,200}") {
            let _ = git_commits(&format!("git commit {command}"), &output);
        }

        #[test]
        fn a_commit_line_is_found_wherever_it_stands(before in "[^\\[\\]]{0,80}", hash in "[0-9a-f]{7,40}", branch in "[a-zA-Z0-9._/-]{1,30}") {
            let output = format!("{before}\n[{branch} {hash}] subject\n 1 file changed");
            prop_assert_eq!(hashes("git commit -m x", &output), [hash]);
        }
    }
}
