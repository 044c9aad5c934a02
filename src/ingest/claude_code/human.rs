//! Who speaks in a `user` record: of 14 of them, 13 are not a human's. Pure.

use serde_json::Value;

use super::head::is_meta;
use super::str_at;

/// What a text that no human typed begins with, and the label it gets.
const ENVELOPES: [(&str, &str); 15] = [
    ("<command-name>", "command"),
    ("<command-message>", "command"),
    ("<command-args>", "command"),
    ("<local-command-stdout>", "command-output"),
    ("<local-command-stderr>", "command-output"),
    ("<local-command-caveat>", "caveat"),
    ("Caveat: The messages below were generated", "caveat"),
    ("<bash-input>", "bash-input"),
    ("<bash-stdout>", "bash-output"),
    ("<bash-stderr>", "bash-output"),
    ("<task-notification>", "notification"),
    // Another agent of the same team speaks.
    ("<teammate-message", "teammate"),
    ("This session is being continued from a previous conversation", "compaction"),
    ("[Request interrupted by user]", "interrupted"),
    ("[Request interrupted by user for tool use]", "interrupted"),
];

/// What the program puts in front of a prompt, in the same record.
const PREFIXES: [(&str, &str, &str); 4] = [
    ("<ide_opened_file>", "</ide_opened_file>", "ide"),
    ("<ide_selection>", "</ide_selection>", "ide"),
    ("<ide_diagnostics>", "</ide_diagnostics>", "ide"),
    ("<system-reminder>", "</system-reminder>", "reminder"),
];

/// The label of a text that is not a human's prompt; `None` for a prompt.
pub fn label(record: &Value, text: &str) -> Option<&'static str> {
    if record.get("isCompactSummary").and_then(Value::as_bool) == Some(true) {
        return Some("compaction");
    }
    let (rest, prefix) = without_prefixes(text);
    let envelope = envelope(rest);
    if is_meta(record) {
        return Some(envelope.or(prefix.filter(|_| rest.is_empty())).unwrap_or("meta"));
    }
    let notified = origin(record) == Some("task-notification");
    envelope.or(notified.then_some("notification")).or(prefix.filter(|_| rest.is_empty()))
}

/// Where the record says it comes from (`human`, `task-notification`, `peer`, ...), since about 2.1.114.
pub fn origin(record: &Value) -> Option<&str> {
    str_at(record.get("origin")?, "kind")
}

fn envelope(text: &str) -> Option<&'static str> {
    let (start, label) = ENVELOPES.iter().find(|(start, _)| text.starts_with(start))?;
    // A human may go on after the notice, in the same record: then it is a prompt.
    let goes_on = *label == "interrupted" && text.len() > start.len() && !text[start.len()..].trim().is_empty();
    (!goes_on).then_some(*label)
}

/// The text behind what the program put in front, and the label of that.
fn without_prefixes(text: &str) -> (&str, Option<&'static str>) {
    let mut rest = text.trim();
    let mut label = None;
    while let Some((start, end, name)) = PREFIXES.iter().find(|(start, ..)| rest.starts_with(start)) {
        // An unclosed tag is a text like any other.
        let Some(close) = rest[start.len()..].find(end) else { break };
        rest = rest[start.len() + close + end.len()..].trim_start();
        label = label.or(Some(*name));
    }
    (rest, label)
}
