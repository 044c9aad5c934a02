//! The JSON documents: pretty-printed, sorted keys, a newline at the end.

use serde_json::{Value, json};

use super::SyncStatus;
use crate::model::{Commit, ContentsAt, Millis, Project, Session, Turn, Visual};

/// A session's `meta.json`. `subagents` are the names of its directories under `subagents/`.
#[must_use]
pub fn session_meta_json(
    session: &Session,
    project: &Project,
    commit: Option<&Commit>,
    subagents: &[String],
) -> String {
    let tokens = &session.tokens;
    document(&json!({
        "id": session.id.to_string(),
        "agent": session.agent.as_str(),
        "agent_version": session.agent_version,
        "native_id": session.native_id,
        "part": session.part,
        "title": session.title,
        "subagent_type": session.subagent_kind,
        "is_subagent": session.parent_row.is_some(),
        "subagents": subagents,
        "contents": session.contents.as_str(),
        "project": { "id": project.id.to_string(), "name": project.name },
        "commit": commit.map(|c| json!({ "id": c.id.to_string(), "title": c.title, "git_hash": c.git_hash })),
        "cwd": session.cwd,
        "git_branch": session.git_branch,
        "models": session.models,
        "started_at": session.started_at.iso(),
        "ended_at": session.ended_at.iso(),
        "updated_at": session.updated_at.iso(),
        "counts": {
            "turns": session.turns,
            "prompts": session.prompts,
            "tool_calls": session.tool_calls,
            "images": session.images,
        },
        "tokens": {
            "input": tokens.input,
            "output": tokens.output,
            "cache_read": tokens.cache_read,
            "cache_write": tokens.cache_write,
        },
        "raw": { "bytes": session.raw_bytes, "records": session.raw_records },
    }))
}

/// A commit's `meta.json`. `sessions` are those under `sessions/`, in order.
#[must_use]
pub fn commit_meta_json(commit: &Commit, project: &Project, sessions: &[Session], visuals: &[Visual]) -> String {
    document(&json!({
        "id": commit.id.to_string(),
        "title": commit.title,
        "project": { "id": project.id.to_string(), "name": project.name },
        "git": { "hash": commit.git_hash, "subject": commit.git_subject },
        "contents": contents_of(sessions).as_str(),
        "closed_by": commit.closed_by.as_str(),
        "started_at": commit.started_at.iso(),
        "closed_at": commit.closed_at.iso(),
        "updated_at": commit.updated_at.iso(),
        "parallel": commit.parallel,
        "hidden": commit.hidden,
        "published": commit.published,
        "order": commit.display_order,
        "tags": commit.tags,
        "note": commit.note,
        "sessions": sessions.iter().map(session_entry).collect::<Value>(),
        "visuals": visuals.iter().map(visual_entry).collect::<Value>(),
    }))
}

/// Elsewhere as long as one of them is.
fn contents_of(sessions: &[Session]) -> ContentsAt {
    let elsewhere = sessions.iter().any(|session| session.contents == ContentsAt::Elsewhere);
    if elsewhere { ContentsAt::Elsewhere } else { ContentsAt::Here }
}

fn session_entry(session: &Session) -> Value {
    json!({
        "id": session.id.to_string(),
        "dir": session.dir_name,
        "agent": session.agent.as_str(),
        "title": session.title,
        "started_at": session.started_at.iso(),
        "ended_at": session.ended_at.iso(),
        "turns": session.turns,
    })
}

fn visual_entry(visual: &Visual) -> Value {
    json!({
        "file": visual.file_name,
        "sha256": visual.sha256,
        "mime": visual.mime,
        "bytes": visual.bytes,
        "captured_at": visual.captured_at.iso(),
    })
}

/// What a project holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectCounts {
    pub commits: u64,
    pub sessions: u64,
    pub subagents: u64,
    pub turns: u64,
    pub visuals: u64,
}

/// A project's `project.json`.
#[must_use]
pub fn project_json(project: &Project, counts: &ProjectCounts) -> String {
    document(&json!({
        "id": project.id.to_string(),
        "name": project.name,
        "remote": project.remote,
        "paths": project.paths,
        "created_at": project.created_at.iso(),
        "updated_at": project.updated_at.iso(),
        "counts": {
            "commits": counts.commits,
            "sessions": counts.sessions,
            "subagents": counts.subagents,
            "turns": counts.turns,
            "visuals": counts.visuals,
        },
    }))
}

/// How a mount follows the agents' logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Following {
    pub state: FollowState,
    /// What keeps it from doing so, in words; it is tried again.
    pub problem: Option<String>,
}

/// What a mount does about the agents' logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowState {
    /// It was told not to follow them, or follows none.
    #[default]
    Off,
    /// What is written to them shows a moment later.
    Following,
    /// A longer import is under way, and this much of it is done.
    Importing { percent: u8 },
    /// Another process does it, and this one takes over when that ends.
    Waiting,
}

/// What the database holds and how it fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The program's version.
    pub version: String,
    pub schema_version: u32,
    /// Its file.
    pub database: String,
    pub database_bytes: u64,
    pub projects: u64,
    pub commits: u64,
    pub sessions: u64,
    pub subagents: u64,
    pub turns: u64,
    pub visuals: u64,
    /// Log files known.
    pub sources: u64,
    pub last_import: Option<Millis>,
    /// Sessions whose stored lengths another version of the renderer made: still to be computed anew.
    pub outdated_sessions: u64,
    pub following: Following,
    pub sync: SyncStatus,
    /// Records with edits that wait for the cloud.
    pub waiting: u64,
    /// Documents that were written and have not become the record: see `.cogfs/drafts/`.
    pub drafts: u64,
    /// What a person should look at, in words.
    pub problems: Vec<String>,
}

/// `.cogfs/status.json`, and what `cogfs status --json` prints.
#[must_use]
pub fn status_json(status: &Status) -> String {
    document(&json!({
        "version": status.version,
        "schema_version": status.schema_version,
        "database": status.database,
        "database_bytes": status.database_bytes,
        "projects": status.projects,
        "commits": status.commits,
        "sessions": status.sessions,
        "subagents": status.subagents,
        "turns": status.turns,
        "visuals": status.visuals,
        "sources": status.sources,
        "last_import": status.last_import.map(Millis::iso),
        "outdated_sessions": status.outdated_sessions,
        "following": following(&status.following),
        "sync": status.sync.to_json(),
        "waiting_edits": status.waiting,
        "drafts": status.drafts,
        "problems": status.problems,
    }))
}

fn following(following: &Following) -> Value {
    let (state, percent) = match following.state {
        FollowState::Off => ("off", None),
        FollowState::Following => ("following", None),
        FollowState::Importing { percent } => ("importing", Some(percent)),
        FollowState::Waiting => ("waiting", None),
    };
    json!({ "state": state, "percent": percent, "problem": following.problem })
}

/// A file of JSON lines, the keys of each sorted.
#[must_use]
pub fn json_lines(values: &[Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

/// A turn with all it holds, for exports.
#[must_use]
pub fn turn_json(turn: &Turn) -> Value {
    json!({
        "number": turn.number,
        "role": turn.role.as_str(),
        "at": turn.at.iso(),
        "model": turn.model,
        "label": turn.label,
        "text": turn.text,
        "tool": turn.tool.as_ref().map(|tool| json!({
            "name": tool.name,
            // As the value it is, where it is one: agents log what a tool was given as JSON.
            "input": serde_json::from_str(&tool.input).unwrap_or_else(|_| Value::String(tool.input.clone())),
            "output": tool.output,
            "status": tool.status.as_str(),
        })),
        "visuals": turn.visuals,
    })
}

/// A document of any value.
#[must_use]
pub fn json_document(value: &Value) -> String {
    document(value)
}

/// `serde_json` keeps an object sorted by key unless its feature `preserve_order` is on; a test below holds that it is not.
fn document(value: &Value) -> String {
    // A `Value` always serializes; printed through a formatter it takes half as long again.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::{super::testing, *};

    fn assert_sorted(value: &Value) {
        if let Value::Object(fields) = value {
            let keys: Vec<_> = fields.keys().collect();
            assert!(keys.is_sorted(), "{keys:?}");
            fields.values().for_each(assert_sorted);
        }
    }

    fn documents() -> [String; 4] {
        let (project, commit, session) = (testing::project(), testing::commit(), testing::session());
        let counts = ProjectCounts { commits: 3, sessions: 4, subagents: 1, turns: 1_234, visuals: 2 };
        let status = Status {
            version: "0.1.0".to_owned(),
            last_import: Some(commit.closed_at),
            waiting: 0,
            drafts: 0,
            following: Following { state: FollowState::Importing { percent: 7 }, problem: None },
            problems: vec!["1 line of \"a.jsonl\" is no JSON".to_owned()],
            ..Status::default()
        };
        [
            session_meta_json(&session, &project, Some(&commit), &["01_explore_a2271d".to_owned()]),
            commit_meta_json(&commit, &project, &[session], &[testing::visual()]),
            project_json(&project, &counts),
            status_json(&status),
        ]
    }

    #[test]
    fn documents_read_well() {
        insta::assert_snapshot!(documents().join("\n"));
    }

    #[test]
    fn documents_are_valid_sorted_and_end_in_one_newline() {
        for document in documents() {
            let value: Value = serde_json::from_str(&document).expect("valid JSON");
            assert_sorted(&value);
            assert!(document.ends_with("}\n") && !document.ends_with("\n\n"));
        }
    }

    #[test]
    fn any_title_survives() {
        let title = "a \"b\" \\ \u{1}\u{2028} é 🎉\nc";
        let commit = Commit { title: title.to_owned(), ..testing::commit() };
        let json: Value =
            serde_json::from_str(&commit_meta_json(&commit, &testing::project(), &[], &[])).expect("valid JSON");
        assert_eq!(json["title"], title);
    }
}
