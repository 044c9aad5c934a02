//! How the records that hold a text, or say a turn, are found: in every form in which a log may write it. Pure.

use serde_json::Value;

use crate::model::Turn;

/// Characters of the text that a cut title must end with to be taken for it.
const CUT: usize = 4;

/// A text to be found.
pub struct Needle {
    /// As it is, as JSON escapes it, and as JSON within JSON (a tool's arguments in a record) does.
    forms: Vec<String>,
    /// With single spaces, as titles have it.
    words: String,
}

impl Needle {
    pub fn new(text: &str) -> Self {
        let once = escaped(text);
        let mut forms = vec![text.to_owned(), once.clone(), escaped(&once)];
        forms.dedup();
        Self { forms, words: text.split_whitespace().collect::<Vec<_>>().join(" ") }
    }

    /// Whether it is in a turn's text.
    pub fn is_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form.as_str()))
    }

    /// Whether it is in a record.
    pub fn is_in_record(&self, record: &[u8]) -> bool {
        let text = String::from_utf8_lossy(record);
        if self.is_in(&text) {
            return true;
        }
        // Some writers escape what need not be: only reading the record tells.
        let unusual = text.contains("\\u") || text.contains("\\/");
        unusual && serde_json::from_slice::<Value>(record).is_ok_and(|value| self.is_in_value(&value))
    }

    fn is_in_value(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.is_in(text),
            Value::Array(values) => values.iter().any(|v| self.is_in_value(v)),
            Value::Object(fields) => fields.iter().any(|(name, v)| self.is_in(name) || self.is_in_value(v)),
            _ => false,
        }
    }

    /// Whether it is in a title, which may be cut in the middle of it.
    pub fn is_in_title(&self, title: &str) -> bool {
        if self.is_in(title) || (!self.words.is_empty() && title.contains(&self.words)) {
            return true;
        }
        let Some(rest) = title.strip_suffix('…') else { return false };
        let ends = self.words.char_indices().skip(CUT).map(|(end, _)| self.words[..end].trim_end());
        ends.into_iter().any(|beginning| rest.ends_with(beginning))
    }
}

/// What the records of one turn are known by: formats differ in what they call it.
pub struct Traces {
    call_id: Option<String>,
    /// As the formats write it: a date, or milliseconds.
    times: [String; 2],
    texts: Vec<(Needle, bool)>,
}

/// Characters of a text that is nobody else's.
const OWN: usize = 40;

impl Traces {
    pub fn of(turn: &Turn, call_id: Option<String>) -> Self {
        let tool = turn.tool.as_ref();
        let texts = [Some(&turn.text), tool.map(|t| &t.input), tool.map(|t| &t.output)];
        let texts = texts.into_iter().flatten().map(|text| text.trim()).filter(|text| !text.is_empty());
        Self {
            call_id: call_id.filter(|id| id.len() >= CUT),
            times: [turn.at.iso(), turn.at.0.to_string()],
            texts: texts.map(|text| (Needle::new(text), text.chars().count() >= OWN)).collect(),
        }
    }

    /// Whether a record says the turn: it names its call, or says what it says, at its time where that may be said by others.
    pub fn are_in(&self, record: &[u8]) -> bool {
        let text = String::from_utf8_lossy(record);
        if self.call_id.as_ref().is_some_and(|id| text.contains(id.as_str())) {
            return true;
        }
        let at_its_time = self.times.iter().any(|time| text.contains(time.as_str()));
        self.texts.iter().any(|(needle, own)| (*own || at_its_time) && needle.is_in_record(record))
    }
}

/// As JSON writes it between quotes.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_however_a_record_escapes_it() {
        let needle = Needle::new("key=\"ä/b\"\n");
        assert!(needle.is_in("the key=\"ä/b\"\n is"));
        for record in [
            r#"{"a": "key=\"ä/b\"\n"}"#,
            r#"{"a": ["x", {"b": "key=\"\u00e4\/b\"\u000a"}]}"#,
            r#"{"arguments": "{\"cmd\": \"echo key=\\\"ä/b\\\"\\n\"}"}"#,
            r#"{"key=\"\u00E4/b\"\n": 1}"#,
        ] {
            assert!(needle.is_in_record(record.as_bytes()), "{record}");
        }
        assert!(!needle.is_in_record(br#"{"a": "key=\"\u00e4/c\"\n"}"#));
        assert!(!needle.is_in("KEY=\"ä/b\"\n"));
    }

    #[test]
    fn a_title_that_is_cut_within_it_holds_it() {
        let needle = Needle::new("a pass  word of mine");
        assert!(needle.is_in_title("Why a pass word of mine fails"));
        assert!(needle.is_in_title("Why a pass…"));
        assert!(!needle.is_in_title("Why a pass"), "not cut: it ends so by itself");
        assert!(!needle.is_in_title("Why a…"));
    }
}
