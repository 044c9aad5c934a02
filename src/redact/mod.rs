//! Secrets are taken out of what leaves the machine: keys, tokens, passwords. Pure; what is stored here is never altered.
//!
//! What is taken out is replaced by `[redacted:KIND]`. Pictures (`data:` addresses and base64), hashes of git and UUIDs stay.

mod json;
mod rules;

use std::borrow::Cow;
use std::collections::BTreeMap;

use regex::Captures;

/// A text of base64 that is longer is a picture or a file: no secret is that long, and to look through it takes long.
const LONGEST_BASE64: usize = 4096;

/// How many secrets of which kind were found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct Report(pub BTreeMap<&'static str, u64>);

impl Report {
    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Adds what another found.
    pub fn add(&mut self, other: &Self) {
        for (kind, count) in &other.0 {
            *self.0.entry(kind).or_default() += count;
        }
    }
}

/// Takes secrets out of texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redactor;

impl Redactor {
    /// Takes secrets out of a text; borrowed when there are none.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str, report: &mut Report) -> Cow<'t, str> {
        if is_picture(text) {
            return Cow::Borrowed(text);
        }
        let mut clean = Cow::Borrowed(text);
        for number in rules::ANY.matches(text) {
            let rule = &rules::RULES[number];
            let mut found = 0;
            let replaced = rules::PATTERNS[number].replace_all(&clean, |secret: &Captures<'_>| {
                let whole = &secret[0];
                if !rule.holds(secret) {
                    return whole.to_owned();
                }
                found += 1;
                let mark = format!("[redacted:{}]", rule.name);
                match (secret.get(0), secret.name("secret")) {
                    (Some(all), Some(part)) => {
                        let (start, end) = (part.start() - all.start(), part.end() - all.start());
                        format!("{}{mark}{}", &whole[..start], &whole[end..])
                    }
                    _ => mark,
                }
            });
            if found > 0 {
                *report.0.entry(rule.name).or_default() += found;
                clean = Cow::Owned(replaced.into_owned());
            }
        }
        clean
    }

    /// Takes secrets out of the strings of a JSON record; everything else stays as it is, byte for byte.
    #[must_use]
    pub fn record<'t>(&self, record: &'t str, report: &mut Report) -> Cow<'t, str> {
        json::redact(self, record, report)
    }
}

/// A picture's address, or a long text of nothing but base64.
fn is_picture(text: &str) -> bool {
    let is_address = text.starts_with("data:image/") && !text.contains(char::is_whitespace);
    let base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-' | b'_' | b'\n' | b'\r');
    is_address || text.len() > LONGEST_BASE64 && text.bytes().all(base64)
}

#[cfg(test)]
mod tests;
