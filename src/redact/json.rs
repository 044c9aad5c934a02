//! Redaction of JSON records: the strings alone, everything else byte for byte as it was.

use std::borrow::Cow;

use super::{Redactor, Report};

/// Redacts the strings of a JSON text. A record that is no JSON is taken for a text.
pub(super) fn redact<'t>(redactor: &Redactor, record: &'t str, report: &mut Report) -> Cow<'t, str> {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(start) = record[at..].find('"').map(|i| at + i) {
        let Some(end) = end_of_string(record, start) else { break };
        at = end;
        let literal = &record[start..end];
        // The string itself: a secret that holds an escaped character would not be known by its shape.
        let Ok(text) = serde_json::from_str::<Cow<'_, str>>(literal) else { continue };
        if let Cow::Owned(clean) = redactor.text(&text, report)
            && let Ok(clean) = serde_json::to_string(&clean)
        {
            out.push_str(&record[copied..start]);
            out.push_str(&clean);
            copied = end;
        }
    }
    if copied == 0 && at == 0 {
        return redactor.text(record, report);
    }
    if copied == 0 {
        return Cow::Borrowed(record);
    }
    out.push_str(&record[copied..]);
    Cow::Owned(out)
}

/// Where a string that begins at a quotation mark ends, behind its last one.
fn end_of_string(record: &str, start: usize) -> Option<usize> {
    let bytes = record.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
