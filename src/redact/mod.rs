//! Secrets are taken out of what leaves the machine: keys, tokens, passwords. Pure; what is stored here is never altered.
//!
//! What is taken out is replaced by `[redacted:KIND]`. Pictures (`data:` addresses and base64), hashes of git and UUIDs stay.

mod json;
mod rules;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use regex::Captures;

/// A text of base64 that is longer is a picture or a file: no secret is that long, and to look through it takes long.
const LONGEST_BASE64: usize = 4096;

/// Which secrets were found. The same one in several places counts once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report(BTreeMap<&'static str, BTreeSet<u64>>);

impl Report {
    fn note(&mut self, kind: &'static str, secret: &str) {
        let mut hash = DefaultHasher::new();
        secret.hash(&mut hash);
        self.0.entry(kind).or_default().insert(hash.finish());
    }

    /// How many of each kind.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&'static str, usize> {
        self.0.iter().map(|(kind, secrets)| (*kind, secrets.len())).collect()
    }

    /// Adds what another found.
    pub fn add(&mut self, other: Self) {
        for (kind, secrets) in other.0 {
            self.0.entry(kind).or_default().extend(secrets);
        }
    }
}

/// A secret in a text, as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub kind: &'static str,
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its beginning, and its length.
    pub masked: String,
}

/// What of a secret is shown: enough to know which one it is.
fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let shown: String = secret.lines().next().unwrap_or_default().chars().take((length / 4).min(6)).collect();
    format!("{shown}… ({length} characters)")
}

/// Takes secrets out of texts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Redactor;

impl Redactor {
    /// Takes secrets out of a text; borrowed when there are none.
    #[must_use]
    pub fn text<'t>(&self, text: &'t str, report: &mut Report) -> Cow<'t, str> {
        Self::replace(text, &mut |kind, secret| report.note(kind, secret))
    }

    /// The secrets of a text.
    #[must_use]
    pub fn secrets(&self, text: &str) -> Vec<Found> {
        let mut found = Vec::new();
        let _ = Self::replace(text, &mut |kind, secret| {
            // Not in the text as it was: a part of it was replaced before.
            let before = text.find(secret).map_or("", |at| &text[..at]);
            found.push(Found { kind, line: before.matches('\n').count() + 1, masked: masked(secret) });
        });
        found
    }

    fn replace<'t>(text: &'t str, found: &mut dyn FnMut(&'static str, &str)) -> Cow<'t, str> {
        if is_picture(text) {
            return Cow::Borrowed(text);
        }
        let mut clean = Cow::Borrowed(text);
        for number in rules::ANY.matches(text) {
            let rule = &rules::RULES[number];
            let mut any = false;
            let replaced = rules::PATTERNS[number].replace_all(&clean, |secret: &Captures<'_>| {
                let whole = &secret[0];
                if !rule.holds(secret) {
                    return whole.to_owned();
                }
                any = true;
                found(rule.name, secret.name("secret").map_or(whole, |part| part.as_str()));
                let mark = format!("[redacted:{}]", rule.name);
                match (secret.get(0), secret.name("secret")) {
                    (Some(all), Some(part)) => {
                        let (start, end) = (part.start() - all.start(), part.end() - all.start());
                        format!("{}{mark}{}", &whole[..start], &whole[end..])
                    }
                    _ => mark,
                }
            });
            if any {
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
