//! Records for the tests, and texts that Markdown stumbles over.

use proptest::prelude::*;

use crate::model::{
    Agent, ClosedBy, Commit, Id, Millis, Project, Role, SectionSize, Session, Tokens, Tool, ToolStatus, Turn, Visual,
};

/// 2026-08-19 14:03:22 UTC.
pub const START: Millis = Millis(1_787_148_202_000);

pub fn turn(number: u32, role: Role, text: &str) -> Turn {
    Turn {
        number,
        role,
        at: Millis(START.0 + i64::from(number - 1) * 7_000),
        model: (role != Role::User).then(|| "claude-opus-4-6".to_owned()),
        text: text.to_owned(),
        label: None,
        tool: None,
        visuals: Vec::new(),
    }
}

pub fn tool_turn(number: u32, name: &str, input: &str, output: &str, status: ToolStatus) -> Turn {
    let tool = Tool { name: name.to_owned(), input: input.to_owned(), output: output.to_owned(), status };
    Turn { tool: Some(tool), ..turn(number, Role::Tool, "") }
}

pub fn system_turn(number: u32, label: &str, text: &str) -> Turn {
    Turn { label: Some(label.to_owned()), ..turn(number, Role::System, text) }
}

pub fn project() -> Project {
    Project {
        row: 1,
        id: Id::derive(&[b"project"]),
        name: "shop".to_owned(),
        dir_name: "shop".to_owned(),
        remote: Some("github.com/acme/shop".to_owned()),
        paths: vec!["/home/ada/shop".to_owned()],
        created_at: START,
        updated_at: START,
    }
}

pub fn commit() -> Commit {
    Commit {
        row: 1,
        id: Id::derive(&[b"commit"]),
        project_row: 1,
        link_name: String::new(),
        curated_at: None,
        deleted_at: None,
        dir_name: "2026-08-19T14-03-22Z_fix-login-redirect_7f3a9c".to_owned(),
        title: "Fix: \"login\" redirect".to_owned(),
        git_hash: Some("4be1f02".to_owned()),
        git_subject: Some("Keep the query when login redirects".to_owned()),
        closed_by: ClosedBy::GitCommit,
        started_at: START,
        closed_at: Millis(START.0 + 4_980_000),
        parallel: true,
        hidden: false,
        published: false,
        display_order: 0,
        tags: vec!["login".to_owned(), "needs: review".to_owned()],
        note: "The cookie was the culprit.".to_owned(),
        updated_at: START,
    }
}

pub fn session() -> Session {
    Session {
        row: 1,
        id: Id::derive(&[b"session"]),
        agent: Agent::ClaudeCode,
        native_id: "5d2c6d3e-0000-4000-8000-000000000001".to_owned(),
        part: 2,
        dir_name: "01_claude-code_c41d20".to_owned(),
        commit_row: Some(1),
        parent_row: None,
        subagent_kind: None,
        title: Some("Login loses the query".to_owned()),
        cwd: Some("/home/ada/shop".to_owned()),
        git_branch: Some("fix/login".to_owned()),
        agent_version: Some("2.1.14".to_owned()),
        models: vec!["claude-opus-4-6".to_owned(), "<synthetic>".to_owned()],
        started_at: START,
        ended_at: Millis(START.0 + 4_980_000),
        turns: 1_042,
        prompts: 12,
        tool_calls: 512,
        images: 1,
        tokens: Tokens { input: 1_234, output: 56_789, cache_read: 12_345_678, cache_write: 0 },
        sections: SectionSize { bytes: 1_000, turn_links: 3, visual_links: 1, page_bytes: 2_000, page_links: 3 },
        render_version: super::VERSION,
        raw_bytes: 2_345_678,
        raw_records: 2_001,
        contents: crate::model::ContentsAt::Here,
        updated_at: START,
    }
}

pub fn bare_session() -> Session {
    Session {
        agent: Agent::Codex,
        part: 1,
        dir_name: "02_codex_9a0b1c".to_owned(),
        title: None,
        cwd: None,
        git_branch: None,
        agent_version: None,
        models: Vec::new(),
        ended_at: START,
        turns: 1,
        prompts: 0,
        tool_calls: 0,
        images: 0,
        tokens: Tokens::default(),
        ..session()
    }
}

pub fn visual() -> Visual {
    Visual {
        row: 1,
        commit_row: 1,
        file_name: "0001_2026-08-19T14-05-10Z.png".to_owned(),
        sha256: "ab".repeat(32),
        mime: "image/png".to_owned(),
        bytes: 81_234,
        captured_at: START,
    }
}

/// Text made of what Markdown, HTML and excerpts stumble over.
pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[ -~]{0,30}",
        "\\PC{0,10}",
        prop::sample::select(vec![
            "\n",
            "\r\n",
            "\r",
            "\t",
            "```",
            "````",
            "~~~",
            "- ",
            "1. ",
            "> ",
            "    ",
            "<!--",
            "-->",
            "<pre>",
            "</details>",
            "\u{0}",
            "\u{2028}",
            "é",
            "🎉",
        ])
        .prop_map(str::to_owned),
        (1usize..60, "[a-z`é]{0,80}").prop_map(|(lines, line)| format!("{line}\n").repeat(lines)),
        (1usize..5_000).prop_map(|n| "x".repeat(n)),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn tool() -> impl Strategy<Value = Tool> {
    let name = prop_oneof![
        prop::sample::select(vec![
            "Bash",
            "shell",
            "exec_command",
            "Edit",
            "MultiEdit",
            "Write",
            "apply_patch",
            "Read"
        ])
        .prop_map(str::to_owned),
        "\\PC{0,20}",
    ];
    let fields = prop::collection::btree_map(
        prop::sample::select(vec![
            "command",
            "cmd",
            "file_path",
            "old_string",
            "new_string",
            "content",
            "input",
            "prompt",
            "description",
        ]),
        text(),
        0..5,
    );
    let input = prop_oneof![
        fields.prop_map(|fields| serde_json::to_string(&fields).expect("a map of strings is JSON")),
        text(),
    ];
    let status = prop::sample::select(vec![ToolStatus::Pending, ToolStatus::Ok, ToolStatus::Error]);
    (name, input, text(), status).prop_map(|(name, input, output, status)| Tool { name, input, output, status })
}

/// Any turn.
pub fn any_turn() -> impl Strategy<Value = Turn> {
    let role = (1u8..=5).prop_map(|value| Role::from_u8(value).expect("1 to 5 are roles"));
    let visuals = prop::collection::vec("[0-9]{4}_[0-9T-]{10}Z\\.png", 0..3);
    let at = prop_oneof![Just(Millis(0)), any::<i64>().prop_map(Millis)];
    let parts = (1u32..200_000, role, at, prop::option::of("\\PC{0,20}"), text());
    (parts, prop::option::of("\\PC{0,12}"), tool(), visuals).prop_map(|(parts, label, tool, visuals)| {
        let (number, role, at, model, text) = parts;
        let tool = (role == Role::Tool).then_some(tool);
        Turn { number, role, at, model, text, label, tool, visuals }
    })
}

/// Any characters, those that YAML treats differently among them often.
pub fn any_chars() -> impl Strategy<Value = String> {
    let odd = "\u{0}\t\n\r\u{1b}\u{7f}\u{85}\u{a0}\u{2028}\u{2029}\u{feff}\u{fffe}\u{1fffe}\"'\\#:,[]{}&*!|>%@`-? é🎉";
    let piece =
        prop_oneof![any::<char>(), prop::sample::select(odd.chars().collect::<Vec<_>>()), prop::char::range('a', 'z')];
    prop::collection::vec(piece, 0..40).prop_map(|chars| chars.into_iter().collect())
}

/// Any commit, with a title and tags as imports and `curation::front_matter` let them through, and the name of its project's
/// directory.
pub fn any_commit() -> impl Strategy<Value = (Commit, String)> {
    let title = any_chars().prop_map(|text| text.replace(['\n', '\r'], "").trim().to_owned());
    let tag = any_chars().prop_map(|text| text.replace(char::is_control, "").trim().to_owned());
    let tags = prop::collection::vec(tag, 0..5).prop_map(|tags| {
        let mut kept: Vec<String> = Vec::new();
        for tag in tags {
            if !tag.is_empty() && !kept.contains(&tag) {
                kept.push(tag);
            }
        }
        kept
    });
    let dir_name = any_chars().prop_map(|text| format!("p{}", text.replace(['/', '\0'], "")));
    let flags = (any::<bool>(), any::<bool>(), any::<i64>());
    (title, tags, text(), flags, dir_name).prop_map(
        |(title, tags, note, (hidden, published, display_order), dir_name)| {
            (Commit { title, tags, note, hidden, published, display_order, ..commit() }, dir_name)
        },
    )
}
