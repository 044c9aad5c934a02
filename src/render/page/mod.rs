//! `transcript.html`: a commit's conversation as one page for a browser. It runs nothing and loads nothing but the pictures beside
//! it: no script, one style, and a policy that forbids all else, should a text ever become markup.
//!
//! Written in pieces, as `transcript.md` is: what a turn takes ([`page_turn_size`]) is summed up and stored, and so the page's
//! length is known without it.

mod escape;
mod prose;
mod turn;

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use super::header::{closed_by, counts, span, tokens};
use super::markdown::{one_line, plain_or};
use super::out::{Out, length};
use crate::model::{Commit, Project, Session};
use escape::put_text;

#[cfg(test)]
use turn::page_turn_size;
pub(super) use turn::size_of_page_turn;
pub use turn::{PageLinks, page_index_entry, page_turn};

const STYLE: &str = include_str!("style.css");

/// All before the title. The style is named by its hash: what a text might smuggle in is another one.
static HEAD: LazyLock<String> = LazyLock::new(|| {
    let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
    // `file:` is what `'self'` does not reach when the page is opened from a disk.
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         img-src 'self' file: data:; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    )
});

/// What anchors of a session's turns begin with: it differs from that of any other session of the page, and has one length for all.
#[must_use]
pub fn page_key(session: &Session) -> String {
    session.id.to_string().chars().filter(char::is_ascii_hexdigit).take(KEY_DIGITS).collect()
}

const KEY_DIGITS: usize = 8;

/// Writes all that stands before the index of prompts.
pub fn page_start<O: Out>(out: &mut O, commit: &Commit, project: &Project) {
    let title = plain_or(&commit.title, "Untitled");
    out.put(&HEAD);
    out.put("<title>");
    put_text(out, &title);
    out.put(" · ");
    put_text(out, &one_line(&project.name));
    out.put("</title>\n<style>");
    out.put(STYLE);
    out.put("</style>\n</head>\n<body>\n<div class=\"page\">\n<header>\n<p class=\"project\">");
    put_text(out, &one_line(&project.name));
    out.put("</p>\n<h1>");
    put_text(out, &title);
    out.put("</h1>\n<dl>\n");
    let git = [commit.git_hash.as_deref(), commit.git_subject.as_deref()];
    let git = git.into_iter().flatten().map(one_line).collect::<Vec<_>>().join(" ");
    put_fact(out, "Git commit", &git);
    put_fact(out, "Closed by", closed_by(commit.closed_by));
    put_fact(out, "Time", &span(commit.started_at, commit.closed_at));
    if commit.parallel {
        put_fact(out, "Parallel", "its sessions overlap in time");
    }
    if !commit.tags.is_empty() {
        out.put("<dt>Tags</dt><dd>");
        for tag in &commit.tags {
            out.put("<span class=\"tag\">");
            put_text(out, &one_line(tag));
            out.put("</span>");
        }
        out.put("</dd>\n");
    }
    out.put("</dl>\n");
    if !commit.note.trim().is_empty() {
        out.put("<p class=\"note\">");
        put_text(out, commit.note.trim());
        out.put("</p>\n");
    }
    out.put("</header>\n<nav aria-label=\"Prompts\">\n<h2>Prompts</h2>\n");
}

/// Writes what stands before a session's prompts in the index. `ordinal` counts from 1, up to `sessions`.
pub fn page_index_session<O: Out>(out: &mut O, session: &Session, ordinal: u32, sessions: u32) {
    if sessions > 1 {
        out.put("<h3><a href=\"#");
        out.put(&page_key(session));
        out.put("\">");
        put_text(out, &session_title(session, ordinal));
        out.put("</a></h3>\n");
    }
    out.put(if session.prompts == 0 { "<p class=\"none\">none</p>\n<ol>\n" } else { "<ol>\n" });
}

/// Ends a session's prompts in the index.
pub const PAGE_INDEX_SESSION_END: &str = "</ol>\n";

/// Stands between the index and the first session.
pub const PAGE_INDEX_END: &str = "</nav>\n<main>\n";

/// Writes what stands before a session's turns.
pub fn page_session<O: Out>(out: &mut O, session: &Session, ordinal: u32, sessions: u32) {
    out.put("<section class=\"session\" id=\"");
    out.put(&page_key(session));
    out.put("\">\n");
    // The title of the only one is mostly the commit's, which stands above.
    if sessions > 1 {
        out.put("<h2>");
        put_text(out, &session_title(session, ordinal));
        out.put("</h2>\n");
    }
    out.put("<p class=\"about\">");
    let agent = session.agent.title();
    let version = session.agent_version.as_deref().map(|version| format!("{agent} {}", one_line(version)));
    let models: Vec<String> = session.models.iter().map(|model| one_line(model)).collect();
    let place = session.cwd.as_deref().map(|cwd| match session.git_branch.as_deref() {
        Some(branch) => format!("{} ({})", one_line(cwd), one_line(branch)),
        None => one_line(cwd),
    });
    let facts = [
        Some(version.unwrap_or_else(|| agent.to_owned())),
        (!models.is_empty()).then(|| models.join(", ")),
        place,
        (session.part > 1).then(|| format!("part {}", session.part)),
        Some(span(session.started_at, session.ended_at)),
        Some(counts(session)),
        tokens(session.tokens).map(|tokens| format!("tokens: {tokens}")),
    ];
    put_text(out, &facts.into_iter().flatten().collect::<Vec<_>>().join(" · "));
    out.put("</p>\n");
}

/// Ends a session's turns.
pub const PAGE_SESSION_END: &str = "</section>\n";

/// Ends the page.
pub const PAGE_END: &str = "</main>\n<footer>Written by cogfs. Nothing on this page runs or loads from the network.</footer>\n</div>\n</body>\n</html>\n";

/// The length of a page: of its frame, and of the turns of its sessions, with what leads from it to their turn files.
#[must_use]
pub fn page_len(commit: &Commit, project: &Project, sessions: &[(&Session, u64)]) -> u64 {
    let frame = length(|out| {
        page_start(out, commit, project);
        let of = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
        for ((session, _), ordinal) in sessions.iter().zip(1..) {
            page_index_session(out, session, ordinal, of);
            out.put(PAGE_INDEX_SESSION_END);
            page_session(out, session, ordinal, of);
            out.put(PAGE_SESSION_END);
        }
        out.put(PAGE_INDEX_END);
        out.put(PAGE_END);
    });
    frame + sessions.iter().map(|(_, turns)| turns).sum::<u64>()
}

fn session_title(session: &Session, ordinal: u32) -> String {
    format!("{ordinal}. {}", plain_or(session.title.as_deref().unwrap_or_default(), "Untitled session"))
}

fn put_fact<O: Out>(out: &mut O, name: &str, value: &str) {
    if !value.is_empty() {
        out.put("<dt>");
        out.put(name);
        out.put("</dt><dd>");
        put_text(out, value);
        out.put("</dd>\n");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;
    use crate::model::{Role, ToolStatus, Turn};

    fn page(commit: &Commit, sessions: &[Session], turns: &[Turn]) -> String {
        let (mut index, mut main) = (String::new(), String::new());
        let mut sizes = Vec::new();
        let of = u32::try_from(sessions.len()).unwrap();
        for (session, ordinal) in sessions.iter().zip(1..) {
            let key = page_key(session);
            let prefix = format!("sessions/{}/turns/", session.dir_name);
            page_index_session(&mut index, session, ordinal, of);
            page_session(&mut main, session, ordinal, of);
            let mut size = crate::model::SectionSize::default();
            for turn in turns {
                page_index_entry(&mut index, turn, &key);
                page_turn(&mut main, turn, &PageLinks::beside(&key, &prefix));
                size += page_turn_size(turn);
            }
            index.push_str(PAGE_INDEX_SESSION_END);
            main.push_str(PAGE_SESSION_END);
            sizes.push((session, size.page_total(&prefix)));
        }
        let mut page = String::new();
        page_start(&mut page, commit, &testing::project());
        for part in [&index, PAGE_INDEX_END, &main, PAGE_END] {
            page.push_str(part);
        }
        assert_eq!(page.len() as u64, page_len(commit, &testing::project(), &sizes));
        page
    }

    #[test]
    fn a_page_is_whole_and_names_the_hash_of_its_style() {
        let turns = [
            testing::turn(1, Role::User, "Why <b>?\nsecond line"),
            testing::turn(2, Role::Thinking, "Hm."),
            testing::turn(3, Role::Assistant, "*Because.*"),
            testing::tool_turn(4, "Bash", r#"{"command":"ls"}"#, &"a line\n".repeat(900), ToolStatus::Error),
        ];
        let page = page(&testing::commit(), &[testing::session(), testing::bare_session()], &turns);
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        assert!(
            page.contains(&format!("style-src 'sha256-{hash}'")) && page.contains(&format!("<style>{STYLE}</style>"))
        );
        assert_eq!((page.matches("<details").count(), page.matches("</details>").count()), (4, 4));
        assert!(page.contains("Why &lt;b&gt;?") && page.contains("<em>Because.</em>"));
        assert!(page.contains("href=\"sessions/01_claude-code_c41d20/turns/0004-tool-bash.md\""), "{page}");
    }

    #[test]
    fn the_style_holds_nothing_that_ends_it() {
        assert!(!STYLE.contains("</") && !STYLE.contains("url(") && !STYLE.contains("@import"));
    }

    #[test]
    fn a_hostile_record_is_text() {
        let evil = "</title></style><script>alert(1)</script><img src=x onerror=alert(1)>\" onload=\"x";
        let commit = Commit {
            title: evil.to_owned(),
            tags: vec![evil.to_owned()],
            note: evil.to_owned(),
            git_subject: Some(evil.to_owned()),
            ..testing::commit()
        };
        let session = Session {
            title: Some(evil.to_owned()),
            cwd: Some(evil.to_owned()),
            models: vec![evil.to_owned()],
            agent_version: Some(evil.to_owned()),
            ..testing::session()
        };
        let input = serde_json::json!({ "command": evil, "description": evil }).to_string();
        let turns = [
            testing::turn(1, Role::User, evil),
            testing::turn(2, Role::Assistant, evil),
            testing::turn(3, Role::Thinking, evil),
            testing::system_turn(4, evil, evil),
            testing::tool_turn(5, evil, &input, evil, ToolStatus::Ok),
            testing::tool_turn(
                6,
                "Edit",
                &serde_json::json!({"file_path": evil, "old_string": "a", "new_string": evil}).to_string(),
                evil,
                ToolStatus::Ok,
            ),
        ];
        let page = page(&commit, &[session], &turns);
        assert!(!page.contains("<script") && !page.contains("<img"), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
        assert_eq!(page.matches("</title>").count(), 1);
        let mut tags = page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default());
        assert!(!tags.any(|tag| tag.contains("onload") || tag.contains("onerror")), "{page}");
    }

    proptest! {
        #[test]
        fn the_length_is_known_without_the_page(turns in proptest::collection::vec(testing::any_turn(), 0..4)) {
            page(&testing::commit(), &[testing::session()], &turns);
        }

        #[test]
        fn no_text_makes_a_tag_of_its_own(text in testing::text()) {
            let turns = [testing::turn(1, Role::User, &text), testing::tool_turn(2, "Bash", "{}", &text, ToolStatus::Ok)];
            let page = page(&testing::commit(), &[testing::session()], &turns);
            for tag in ["<script", "<img", "<iframe", "<style>"] {
                prop_assert!(page.matches(tag).count() == usize::from(tag == "<style>"), "{}", page);
            }
        }
    }
}
