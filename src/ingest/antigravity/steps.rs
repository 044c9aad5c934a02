//! What looks like text in a step of a conversation's database, which is a protobuf message of an unpublished schema.
//!
//! Known of it: field 1 is the kind of step (14 a prompt, 15 an answer), and times are messages of seconds and nanoseconds. Pure.

use base64::Engine as _;
use serde_json::Value;

use crate::model::Millis;

/// Kinds of steps: `CORTEX_STEP_TYPE_USER_INPUT`, `CORTEX_STEP_TYPE_PLANNER_RESPONSE`.
pub(super) const USER_INPUT: u64 = 14;
pub(super) const PLANNER_RESPONSE: u64 = 15;

/// Messages in messages; what is deeper is none.
const DEEPEST: usize = 24;

/// A text of an answer has blanks in it; a shorter one is a name of something.
const SHORTEST: usize = 12;

/// Seconds of the years 2000 to 2100: what else is in a message of that shape is a time by chance.
const SECONDS: std::ops::Range<u64> = 946_684_800..4_102_444_800;

/// A step, as far as it is understood.
pub(super) struct Step {
    pub number: i64,
    pub kind: u64,
    pub at: Option<Millis>,
    strings: Vec<String>,
}

impl Step {
    /// Reads the record of a step; `None` when it is none.
    pub fn of(record: &Value) -> Option<Self> {
        let number = record.get("step")?.as_i64()?;
        let payload = record.get("step_payload")?.as_str()?;
        let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap_or_default();
        let fields = message(&payload).unwrap_or_default();
        let told = record.get("step_type").and_then(Value::as_u64).unwrap_or_default();
        let kind = fields.iter().find_map(|field| match field {
            (1, Wire::Number(kind)) => Some(*kind),
            _ => None,
        });
        let mut found = Walk::default();
        found.message(&fields, 0);
        Some(Self { number, kind: kind.unwrap_or(told), at: found.earliest, strings: found.strings })
    }

    /// The prompt of a step that is one: the longest text that reads like one.
    pub fn prompt(&self) -> Option<&str> {
        let score = |text: &&String| {
            let opaque =
                !text.contains(char::is_whitespace) || text.starts_with(['{', '[', '/']) || text.starts_with("file:");
            (!opaque, text.len())
        };
        self.strings.iter().filter(|text| text.chars().any(char::is_alphabetic)).max_by_key(score).map(String::as_str)
    }

    /// What a step says: texts, each once.
    pub fn texts(&self) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        for text in &self.strings {
            let reads = text.len() >= SHORTEST && text.trim().contains(char::is_whitespace);
            if reads && !found.contains(&text.as_str()) {
                found.push(text);
            }
        }
        found
    }
}

enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

#[derive(Default)]
struct Walk {
    strings: Vec<String>,
    earliest: Option<Millis>,
}

impl Walk {
    fn message(&mut self, fields: &[(u64, Wire<'_>)], depth: usize) {
        for (_, value) in fields {
            let Wire::Bytes(bytes) = value else { continue };
            if let Some(text) = printable(bytes) {
                self.strings.push(text.to_owned());
            } else if let Some(inner) = message(bytes).filter(|_| depth < DEEPEST) {
                if let Some(at) = time(&inner) {
                    self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
                }
                self.message(&inner, depth + 1);
            }
        }
    }
}

/// A text that somebody could have written.
fn printable(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.trim().is_empty())?;
    let odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t' | '\r' | '\u{1b}');
    (!text.chars().any(odd)).then_some(text)
}

/// A message of seconds, and nanoseconds where they are not 0.
fn time(fields: &[(u64, Wire<'_>)]) -> Option<Millis> {
    let (seconds, nanos) = match fields {
        [(1, Wire::Number(seconds))] => (*seconds, 0),
        [(1, Wire::Number(seconds)), (2, Wire::Number(nanos))] => (*seconds, *nanos),
        _ => return None,
    };
    if !SECONDS.contains(&seconds) || nanos >= 1_000_000_000 {
        return None;
    }
    i64::try_from(seconds * 1000 + nanos / 1_000_000).ok().map(Millis)
}

/// The fields of a message; `None` when the bytes are none.
fn message(bytes: &[u8]) -> Option<Vec<(u64, Wire<'_>)>> {
    let mut rest = bytes;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Wire::Number(varint(&mut rest)?),
            1 => Wire::Bytes(take(&mut rest, 8)?),
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                Wire::Bytes(take(&mut rest, length)?)
            }
            5 => Wire::Bytes(take(&mut rest, 4)?),
            _ => return None,
        };
        if tag >> 3 == 0 {
            return None;
        }
        // Numbers of a fixed width are no texts.
        if matches!(tag & 7, 0 | 2) {
            fields.push((tag >> 3, value));
        }
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for nth in 0..10 {
        let (byte, left) = rest.split_first()?;
        *rest = left;
        value |= u64::from(byte & 0x7f).checked_shl(7 * nth)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
