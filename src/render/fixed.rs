//! The files at the root that do not come from a record.

use super::markdown::{code, count, one_line};

/// Whether there is anything to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootState {
    Empty,
    Filled { projects: u64 },
}

/// The root's `.ignore`, which ripgrep and fd read: every conversation is found in one place, as text.
pub const IGNORE_FILE: &str = "\
# Read by rg and fd. These lead to the same conversations again, or hold them as raw JSON or HTML.
# To search them too: rg --no-ignore, fd --no-ignore.
/.cogfs/
/by/
/search/
raw.jsonl
transcript.html
";

/// The root's `README.md`. `mount_hint` is where the tree is mounted, as its user would type it.
#[must_use]
pub fn root_readme(state: RootState, mount_hint: &str) -> String {
    let mount = one_line(mount_hint);
    let state = match state {
        RootState::Empty => EMPTY.to_owned(),
        RootState::Filled { projects } => {
            format!(
                "The conversations of {} are here; `cogfs stats` counts them.\n",
                count(projects, "project", "projects")
            )
        }
    };
    format!("{INTRODUCTION}\n{state}\nIt is mounted at {}; the examples start there.\n\n{TREE}", code(&mount))
}

const INTRODUCTION: &str = "\
# Your AI coding conversations, as files

This folder shows the conversations you had with coding agents (Claude Code, Codex, OpenCode, Gemini CLI, Copilot CLI) as
ordinary files. Every tool you have works on them: your editor, your file manager, `grep`, `less`, a Markdown viewer. They are
made when they are read, from a database that keeps them even after an agent has deleted its logs.
";

const EMPTY: &str = "\
**Nothing is here yet.** What your agents write to their logs is imported while this is mounted and shows here by itself. From
another terminal:

    cogfs import        # copies the logs that your agents keep, now
    cogfs demo          # or a small made-up project, to look around
";

const TREE: &str = "\
## What is where

```text
projects/
└── <project>/
    ├── project.json
    └── 2026-08-19T14-03-22Z_fix-login-redirect_7f3a9c/     the work between two git commits
        ├── transcript.md                                   all of it, to read: open this first
        ├── transcript.html                                 the same as a page for a browser
        ├── meta.md                                         title, tags, marks and your note: edit it
        ├── meta.json                                       everything known of it
        ├── sessions/01_claude-code_c41d20/
        │   ├── transcript.md  meta.json  raw.jsonl         one session; its log as the agent wrote it
        │   ├── resume.sh                                   takes it up again in its agent
        │   ├── turns/0001-user.md  0003-tool-bash.md       one file for each thing said or done, in full
        │   └── subagents/01_explore_a2271d/                the same again for each subagent
        └── visuals/0001_2026-08-19T14-05-10Z.png           the pictures that were in it
by/                                                         links to the same commits, by what they have in common
├── date/2026-08-19/  agent/codex/  model/gpt-5.1-codex/  machine/laptop/  tool/bash/
├── file/<project>/src/login.py/                            the commits that changed a file
├── git/4be91d7                                             the commit in which a git commit was made
├── tag/login/  status/hidden/                              your tags and marks
└── id/<id>                                                 commits and sessions by their ids
search/<what you look for>/                                 links to the turns that fit, the best first
.cogfs/
├── status.json  queue.jsonl                                what the database holds, what waits for the cloud
├── trash/                                                  what you deleted in the last 30 days: `mv` it back
├── conflicts/                                              what another machine and you changed both, and how to take it back
└── errors.jsonl  drafts/                                   what could not be saved, and why
```

Times are UTC. A name ends with the first digits of the id, which never changes. `transcript.md` holds prompts and answers in
full and long tool output in short, with a link to the turn's own file.

## Try

```sh
ls projects                                            # your projects
ls projects/*/ | tail                                  # what was worked on last
less projects/*/*fix-login*/transcript.md              # read one
xdg-open projects/my-project/latest/transcript.html    # or in a browser
projects/my-project/latest/sessions/01_*/resume.sh     # go on with it
grep -rl --include='*-user.md' 'rate limit' projects   # where did I ask about that?
rg -g '*-tool-bash.md' 'cargo publish'                 # every shell command that did that
find projects -name '*.png' -newermt 2026-08-01        # recent screenshots
ls by/file/my-project/src/login.py                     # why is this file as it is?
less by/git/4be91d7/transcript.md                      # what led to this git commit; a whole hash will do too
ls search/'rate limit NOT role:tool since:30d'         # the best turns; so does `cogfs search`, with a line of each
mkdir search/'redirect* project:my-project'            # keep a search: `ls search` lists it; rmdir drops it
```

## Change

```sh
mv 2026-08-19T14-03-22Z_fix-login-redirect_7f3a9c 'Login, at last'    # in projects/<project>/: another title
mv 'Login, at last' hidden/                                           # or ../<another project>/
vim 'Login, at last'/meta.md                                          # title, tags, note; any editor
rm -r 'Login, at last'                                                # or a session, or a turn: into .cogfs/trash/
mv .cogfs/trash/'Login, at last' projects/<project>/                  # and back
```

Every change is logged (`cogfs log`) and can be taken back (`cogfs undo`). What was said cannot be changed. When a save is
refused, the last line of `.cogfs/errors.jsonl` says why.

`rg` and `fd` skip `raw.jsonl` (see `.ignore`); `grep -r` does not.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_of_an_empty_tree_says_how_to_fill_it() {
        insta::assert_snapshot!(root_readme(RootState::Empty, "~/cogfs"));
    }

    #[test]
    fn the_readme_of_a_filled_tree_says_what_is_there_and_nothing_of_filling() {
        let text = root_readme(RootState::Filled { projects: 1_234 }, "/mnt/ai");
        assert!(text.contains("The conversations of 1,234 projects are here;"), "{text}");
        assert!(text.contains("mounted at `/mnt/ai`;"), "{text}");
        assert!(!text.contains("cogfs import"), "{text}");
    }

    #[test]
    fn the_ignore_file_hides_what_would_be_found_twice() {
        for line in ["/by/", "/search/", "raw.jsonl", "/.cogfs/"] {
            assert!(IGNORE_FILE.lines().any(|l| l == line), "{line}");
        }
    }
}
