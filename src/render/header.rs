//! What a transcript begins with: the facts about a session or a commit, for people.

use super::{
    markdown::{code, count, one_line, plain, thousands},
    out::{Out, length},
};
use crate::model::{ClosedBy, Commit, Millis, Project, Session, Tokens};

/// Writes the head of a session's transcript.
pub fn session_header<O: Out>(out: &mut O, session: &Session, project_name: &str) {
    put_line(out, "# ", &session_title(session));
    out.put("\n");
    put_fact(out, "Agent", Some(agent(session)));
    put_fact(out, "Models", list(&session.models));
    put_fact(out, "Project", some(plain(project_name)));
    put_fact(out, "Folder", session.cwd.as_deref().map(|cwd| code(&one_line(cwd))));
    put_fact(out, "Branch", session.git_branch.as_deref().map(|branch| code(&one_line(branch))));
    put_fact(out, "Subagent", session.subagent_kind.as_deref().map(plain));
    put_fact(out, "Part", (session.part > 1).then(|| session.part.to_string()));
    put_fact(out, "Time", Some(span(session.started_at, session.ended_at)));
    put_fact(out, "Holds", Some(counts(session)));
    put_fact(out, "Tokens", tokens(session.tokens));
    out.put("\n");
}

/// The length of [`session_header`].
#[must_use]
pub fn session_header_len(session: &Session, project_name: &str) -> u64 {
    length(|out| session_header(out, session, project_name))
}

/// The length of a session's transcript: its header and the sections whose size the record holds.
#[must_use]
pub fn session_transcript_len(session: &Session, project_name: &str, turn_prefix: &str, visual_prefix: &str) -> u64 {
    session_header_len(session, project_name) + session.sections.total(turn_prefix, visual_prefix)
}

/// Writes the head of a commit's transcript. `sessions` are those under `sessions/`, in order.
pub fn commit_header<O: Out>(out: &mut O, commit: &Commit, sessions: &[Session], project: &Project) {
    put_line(out, "# ", &or(plain(&commit.title), "Untitled"));
    out.put("\n");
    put_fact(out, "Project", some(plain(&project.name)));
    put_fact(out, "Git commit", git_commit(commit));
    put_fact(out, "Closed by", Some(closed_by(commit.closed_by).to_owned()));
    put_fact(out, "Time", Some(span(commit.started_at, commit.closed_at)));
    put_fact(out, "Tags", list(&commit.tags));
    put_fact(out, "Parallel", commit.parallel.then(|| "its sessions overlap in time".to_owned()));
    out.put("\n");
    for session in sessions {
        put_session_link(out, session);
    }
    if !sessions.is_empty() {
        out.put("\n");
    }
}

/// The length of [`commit_header`].
#[must_use]
pub fn commit_header_len(commit: &Commit, sessions: &[Session], project: &Project) -> u64 {
    length(|out| commit_header(out, commit, sessions, project))
}

/// Writes what stands before a session's sections in its commit's transcript. `ordinal` counts from 1.
pub fn commit_session_heading<O: Out>(out: &mut O, session: &Session, ordinal: u32) {
    put_line(out, "# ", &format!("Session {ordinal} · {}", session_title(session)));
    put_line(out, "\n", &[agent(session), span(session.started_at, session.ended_at), counts(session)].join(" · "));
    out.put("\n");
}

/// The length of [`commit_session_heading`].
#[must_use]
pub fn commit_session_heading_len(session: &Session, ordinal: u32) -> u64 {
    length(|out| commit_session_heading(out, session, ordinal))
}

fn put_line<O: Out>(out: &mut O, start: &str, text: &str) {
    out.put(start);
    out.put(text);
    out.put("\n");
}

fn put_fact<O: Out>(out: &mut O, name: &str, value: Option<String>) {
    if let Some(value) = value {
        put_line(out, "- ", &format!("**{name}:** {value}"));
    }
}

fn put_session_link<O: Out>(out: &mut O, session: &Session) {
    let dir = &session.dir_name;
    let facts = [agent(session), counts(session), session_title(session)].join(" · ");
    put_line(out, "- ", &format!("[{dir}](sessions/{dir}/transcript.md) · {facts}"));
}

fn session_title(session: &Session) -> String {
    or(plain(session.title.as_deref().unwrap_or_default()), "Untitled session")
}

fn agent(session: &Session) -> String {
    let title = session.agent.title();
    session.agent_version.as_deref().map_or_else(|| title.to_owned(), |version| format!("{title} {}", plain(version)))
}

fn git_commit(commit: &Commit) -> Option<String> {
    let hash = commit.git_hash.as_deref().map(|hash| code(&one_line(hash)));
    let subject = commit.git_subject.as_deref().map(plain);
    some([hash, subject].into_iter().flatten().collect::<Vec<_>>().join(" "))
}

pub(super) fn closed_by(closed_by: ClosedBy) -> &'static str {
    match closed_by {
        ClosedBy::GitCommit => "a git commit",
        ClosedBy::SessionEnd => "the end of the session",
        ClosedBy::Explicit => "hand",
    }
}

/// `2026-08-19 14:03:22 – 15:26:22 UTC (1 h 23 min)`; the second date only where it differs.
pub(super) fn span(from: Millis, to: Millis) -> String {
    let end = to.readable();
    let end = if from.date() == to.date() { end.split(' ').nth(1).unwrap_or(&end) } else { &end };
    format!("{} – {end} UTC ({})", from.readable(), duration(to.0.saturating_sub(from.0)))
}

fn duration(millis: i64) -> String {
    let seconds = millis.max(0) / 1_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

pub(super) fn counts(session: &Session) -> String {
    let mut parts = vec![count(session.turns.into(), "turn", "turns")];
    for (number, one, many) in [
        (session.prompts, "prompt", "prompts"),
        (session.tool_calls, "tool call", "tool calls"),
        (session.images, "image", "images"),
    ] {
        if number > 0 {
            parts.push(count(number.into(), one, many));
        }
    }
    parts.join(", ")
}

pub(super) fn tokens(tokens: Tokens) -> Option<String> {
    let parts = [
        (tokens.input, "in"),
        (tokens.output, "out"),
        (tokens.cache_read, "read from cache"),
        (tokens.cache_write, "written to cache"),
    ];
    let known = parts.into_iter().filter(|(number, _)| *number > 0);
    some(known.map(|(number, what)| format!("{} {what}", thousands(number))).collect::<Vec<_>>().join(", "))
}

fn list(texts: &[String]) -> Option<String> {
    some(texts.iter().map(|text| plain(text)).collect::<Vec<_>>().join(", "))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn or(text: String, default: &str) -> String {
    some(text).unwrap_or_else(|| default.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    #[test]
    fn a_sessions_header_reads_well() {
        let mut out = String::new();
        session_header(&mut out, &testing::session(), "shop");
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_session_of_which_little_is_known_has_a_short_header() {
        let mut out = String::new();
        let session = testing::bare_session();
        session_header(&mut out, &session, "");
        insta::assert_snapshot!(out);
    }

    #[test]
    fn a_commits_header_and_session_headings_read_well() {
        let mut out = String::new();
        let (session, commit) = (testing::session(), testing::commit());
        commit_header(&mut out, &commit, &[session.clone(), testing::bare_session()], &testing::project());
        commit_session_heading(&mut out, &session, 1);
        insta::assert_snapshot!(out);
    }

    #[test]
    fn counted_lengths_are_the_lengths() {
        let (session, commit, project) = (testing::session(), testing::commit(), testing::project());
        let mut out = Vec::new();
        session_header(&mut out, &session, "shop");
        assert_eq!(out.len() as u64, session_header_len(&session, "shop"));
        assert_eq!(
            session_transcript_len(&session, "shop", "turns/", "../../visuals/"),
            out.len() as u64 + session.sections.total("turns/", "../../visuals/")
        );
        out.clear();
        commit_header(&mut out, &commit, std::slice::from_ref(&session), &project);
        assert_eq!(out.len() as u64, commit_header_len(&commit, std::slice::from_ref(&session), &project));
        out.clear();
        commit_session_heading(&mut out, &session, 3);
        assert_eq!(out.len() as u64, commit_session_heading_len(&session, 3));
    }

    #[test]
    fn durations_and_spans_are_short() {
        assert_eq!(duration(59_999), "59 s");
        assert_eq!(duration(61_000), "1 min");
        assert_eq!(duration(4_980_000), "1 h 23 min");
        assert_eq!(duration(90_000_000), "1 d 1 h");
        assert_eq!(duration(-5), "0 s");
        let (from, to) = (Millis(1_787_148_202_000), Millis(1_787_248_202_000));
        assert_eq!(span(from, to), "2026-08-19 14:03:22 – 2026-08-20 17:50:02 UTC (1 d 3 h)");
    }

    #[test]
    fn a_title_stays_on_one_line_and_makes_no_tag() {
        let mut out = String::new();
        let session = Session { title: Some("<b>\n# two".to_owned()), ..testing::session() };
        session_header(&mut out, &session, "shop");
        assert!(out.starts_with("# \\<b> # two\n\n- **Agent:**"), "{out}");
    }
}
