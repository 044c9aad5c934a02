//! A small set of logs for `cogfs demo`: three Claude Code sessions and one of Codex, about a web shop called plantshop.
//!
//! Written for this purpose; nobody's real conversation. Owns the files under `logs/`, byte for byte as an agent would have
//! left them; must not know how they are imported.

/// The logs: path relative to the folder they are to be written to, and contents.
pub const FILES: &[(&str, &[u8])] = &[
    (
        "claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3.jsonl",
        include_bytes!("logs/claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3.jsonl"),
    ),
    (
        "claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3/subagents/agent-a7c31f0.jsonl",
        include_bytes!(
            "logs/claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3/subagents/agent-a7c31f0.jsonl"
        ),
    ),
    (
        "claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3/subagents/agent-a7c31f0.meta.json",
        include_bytes!(
            "logs/claude/projects/-home-mira-code-plantshop/1a8f2882-ee9a-4ec9-a967-44554b6d2ad3/subagents/agent-a7c31f0.meta.json"
        ),
    ),
    (
        "claude/projects/-home-mira-code-plantshop/5d0fb469-56b6-46b5-a370-0374f7fbd77a.jsonl",
        include_bytes!("logs/claude/projects/-home-mira-code-plantshop/5d0fb469-56b6-46b5-a370-0374f7fbd77a.jsonl"),
    ),
    (
        "claude/projects/-home-mira-code-plantshop/c8d01ee3-c0e0-49bf-af83-fcf968b5bbb1.jsonl",
        include_bytes!("logs/claude/projects/-home-mira-code-plantshop/c8d01ee3-c0e0-49bf-af83-fcf968b5bbb1.jsonl"),
    ),
    (
        "codex/sessions/2026/08/22/rollout-2026-08-22T08-30-11-01a02d4c-7f10-7c83-9b1e-5d2f60c48a97.jsonl",
        include_bytes!(
            "logs/codex/sessions/2026/08/22/rollout-2026-08-22T08-30-11-01a02d4c-7f10-7c83-9b1e-5d2f60c48a97.jsonl"
        ),
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Component, Path};

    use super::FILES;

    #[test]
    fn every_line_is_a_json_object() {
        for (path, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap();
            for (number, line) in text.lines().enumerate() {
                let value: serde_json::Value =
                    serde_json::from_str(line).unwrap_or_else(|e| panic!("{path}:{}: {e}", number + 1));
                assert!(value.is_object(), "{path}:{}: not an object", number + 1);
            }
        }
    }

    #[test]
    fn paths_are_relative_and_told_once() {
        let paths: BTreeSet<&str> = FILES.iter().map(|(path, _)| *path).collect();
        assert_eq!(paths.len(), FILES.len());
        for path in paths {
            let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            assert!(inside, "{path} would leave the folder it is written to");
        }
    }

    #[test]
    fn the_screenshot_is_a_small_png() {
        let pasted = FILES
            .iter()
            .flat_map(|(_, bytes)| bytes.split(|b| *b == b'\n'))
            .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
            .filter_map(|record| {
                let blocks = record.pointer("/message/content")?.as_array()?.clone();
                let image = blocks.into_iter().find(|b| b["type"] == "image")?;
                crate::ingest::record::decode_base64(image.pointer("/source/data")?.as_str()?)
            })
            .next()
            .expect("one of the sessions holds a screenshot");
        assert!(pasted.starts_with(b"\x89PNG\r\n\x1a\n"));
        assert!(pasted.len() < 6 * 1024, "the screenshot has {} bytes", pasted.len());
    }
}
