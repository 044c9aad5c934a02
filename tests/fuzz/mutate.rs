//! Damages logs as crashes, disks, other versions and odd programs do. Knows JSON and lines, and no format of an agent: what
//! it puts in one place it takes from another of the same log, so that what comes out is nearly right.
//!
//! Shared with the targets of `fuzz/`: must use nothing but the standard library and serde_json.

use serde_json::{Map, Value, json};

/// Random numbers that are the same for the same seed on every machine (SplitMix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Stands in a text for what serde_json would not write; put in its place once the record is text.
const RAW: [(&str, &[u8]); 9] = [
    ("@@huge@@", b"1e999"),
    ("@@long@@", b"123456789012345678901234567890"),
    ("@@zero@@", b"-0.0"),
    ("@@tiny@@", b"1e-400"),
    ("@@high@@", b"\"a\\ud83d\""),
    ("@@low@@", b"\"\\ude00 b\""),
    ("@@byte@@", b"\"\xff\xfe\xc3\""),
    ("@@nul@@", b"\"\\u0000x\\u0000\""),
    ("@@bare@@", b"NaN"),
];

/// Texts that are not what they should be.
const TEXTS: [&str; 34] = [
    "",
    " ",
    "\0",
    "\n\n\n",
    "\r\n# ---\n```\n",
    "/",
    "..",
    "../../../../etc/passwd",
    "/w/../..//./w/harbour/",
    "C:\\w\\boat",
    "a/b",
    "-",
    "\u{202e}\u{feff}\u{200b}",
    "ÅÅ e\u{301} 🪴👩‍👩‍👧",
    "2026-13-45T99:99:99Z",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999+14:00",
    "-262143-01-01T00:00:00Z",
    "1970-01-01",
    "1e308",
    "true",
    "{\"a\":",
    "[main 1a1a1a1] x\n 1 file changed",
    "[detached HEAD (root-commit) abcdef1234567890abcdef1234567890abcdef12] y",
    "git commit -m \"$(cat <<'EOF'\nx\nEOF\n)\" && git commit --amend; git log",
    "*** Begin Patch\n*** Update File: ../../x\n*** Move to: /\n*** End Patch",
    "data:image/png;base64,AAAA",
    "%%%%not base64%%%%",
    "<system-reminder>\n</system-reminder><command-name>/clear</command-name>",
    "<local-command-stdout></local-command-stdout>",
    "This session is being continued from a previous conversation",
    "[Request interrupted by user]",
    "https://user:secret@example.com:99999/a/b.git?x#y",
    "ssh://[::1]/~/x.git/",
];

/// A value that is another than expected.
pub fn odd(random: &mut Random) -> Value {
    match random.below(16) {
        0 => Value::Null,
        1 => json!(random.one_in(2)),
        2 => json!(-1),
        3 => json!(u64::MAX),
        4 => json!(i64::MIN),
        5 => json!(1e308),
        6 => json!(random.next()),
        7 => json!([]),
        8 => json!({}),
        9 => nested(random),
        10 => json!(random.pick(&RAW).0),
        11 => json!("x".repeat(1 << random.below(12))),
        12 => json!([odd_text(random), null, {"type": odd_text(random)}]),
        _ => json!(odd_text(random)),
    }
}

fn odd_text(random: &mut Random) -> &'static str {
    TEXTS[random.below(TEXTS.len())]
}

fn nested(random: &mut Random) -> Value {
    let mut value = json!("deep");
    for _ in 0..*random.pick(&[3, 60, 126, 127]) {
        value = if random.one_in(2) { json!([value]) } else { json!({ "content": value }) };
    }
    value
}

/// A log damaged in some places; `most` bytes of it at most.
pub fn log(bytes: &[u8], random: &mut Random, most: usize) -> Vec<u8> {
    let mut log = match serde_json::from_slice::<Value>(bytes) {
        // A document over many lines.
        Ok(mut document) if bytes.trim_ascii().contains(&b'\n') => {
            for _ in 0..=random.below(8) {
                change(&mut document, &Value::Null, random);
            }
            let text = if random.one_in(4) { document.to_string() } else { format!("{document:#}\n") };
            raw(text.into_bytes())
        }
        _ => lines(bytes, random),
    };
    if random.one_in(6) {
        bytes_of(&mut log, random);
    }
    if random.one_in(8) {
        grow(&mut log, random, most);
    }
    log.truncate(most);
    log
}

fn lines(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    for _ in 0..=random.below(8) {
        let (at, other) = (random.below(lines.len()), random.below(lines.len()));
        match random.below(16) {
            0 if lines.len() > 1 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[other].clone()),
            2 => lines.swap(at, other),
            3 => lines[at].truncate(other * 37),
            4 if at + 1 < lines.len() => {
                let next = lines.remove(at + 1);
                lines[at].extend(next);
            }
            5 => lines.insert(at, random.pick(&[&b""[..], b"\0\0\0\0", b"\xef\xbb\xbf", b"{}", b"[]", b"\r"]).to_vec()),
            _ => {
                let Ok(mut record) = serde_json::from_slice::<Value>(&lines[at]) else { continue };
                let giver = serde_json::from_slice(&lines[other]).unwrap_or_default();
                for _ in 0..=random.below(3) {
                    change(&mut record, &giver, random);
                }
                lines[at] = raw(record.to_string().into_bytes());
            }
        }
    }
    lines.join(&b'\n')
}

fn raw(mut text: Vec<u8>) -> Vec<u8> {
    for (name, bytes) in RAW {
        let quoted = format!("\"{name}\"").into_bytes();
        while let Some(at) = text.windows(quoted.len()).position(|w| w == quoted) {
            text.splice(at..at + quoted.len(), bytes.iter().copied());
        }
    }
    text
}

/// Changes one place of a record. `giver` is another record, whose parts may be taken.
pub fn change(record: &mut Value, giver: &Value, random: &mut Random) {
    let mut paths = Vec::new();
    collect(record, &mut String::new(), &mut paths);
    let path = random.pick(&paths).clone();
    // What another record, or another place of this one, has under the same name.
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut given = Vec::new();
    let from = if giver.is_null() { record.clone() } else { giver.clone() };
    named(&from, name, &mut given);
    let Some(value) = record.pointer_mut(&path) else { return };
    match (random.below(8), value) {
        (0..=2, value) if !given.is_empty() => *value = (*random.pick(&given)).clone(),
        (3, Value::Object(fields)) if !fields.is_empty() => {
            let key = fields.keys().nth(random.below(fields.len())).cloned().unwrap_or_default();
            fields.remove(&key);
        }
        (4, Value::Object(fields)) => merge(fields, &from, random),
        (3 | 4, Value::Array(items)) if !items.is_empty() => {
            let (at, other) = (random.below(items.len()), random.below(items.len()));
            if random.one_in(2) { items.swap(at, other) } else { items.insert(at, items[other].clone()) }
        }
        (5, value) => *value = json!([value.take()]),
        (6, value) if value.is_array() || value.is_object() => *value = json!(value.to_string()),
        (_, value) => *value = odd(random),
    }
}

fn merge(fields: &mut Map<String, Value>, from: &Value, random: &mut Random) {
    let Some(more) = from.as_object().filter(|more| !more.is_empty()) else { return };
    let Some((key, value)) = more.iter().nth(random.below(more.len())) else { return };
    fields.insert(key.clone(), if random.one_in(3) { odd(random) } else { value.clone() });
}

/// The JSON pointers of everything in a value but itself; of an empty one, itself.
fn collect(value: &Value, at: &mut String, out: &mut Vec<String>) {
    let mut step = |name: &str, value: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        collect(value, at, out);
        at.truncate(length);
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| step(name, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| step(&n.to_string(), value)),
        _ => {}
    }
    out.push(at.clone());
}

fn named<'a>(value: &'a Value, name: &str, out: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == name {
                    out.push(value);
                }
                named(value, name, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|value| named(value, name, out)),
        _ => {}
    }
}

/// Damages bytes wherever they stand.
pub fn bytes_of(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes.truncate(at),
            1 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            2 => {
                let piece = *random.pick(&[&b"\0"[..], b"\xff", b"\"", b"{\"", b"}", b"\\", b"\n"]);
                bytes.splice(at..at, piece.iter().copied());
            }
            3 if !bytes.is_empty() => drop(bytes.remove(at)),
            4 => {
                let end = (at + random.below(4096)).min(bytes.len());
                bytes[at..end].fill(0);
            }
            _ => {
                let end = (at + random.below(64)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, piece);
            }
        }
    }
}

/// Repeats a piece of a log until it is large: a line, something inside one, or everything.
pub fn grow(log: &mut Vec<u8>, random: &mut Random, most: usize) {
    let mut lines: Vec<Vec<u8>> = log.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let at = random.below(lines.len());
    let room = most.saturating_sub(log.len());
    let new_ids = random.one_in(2);
    if let (true, Ok(mut record)) = (random.one_in(2), serde_json::from_slice::<Value>(&lines[at])) {
        let mut paths = Vec::new();
        collect(&record, &mut String::new(), &mut paths);
        let path = random.pick(&paths).clone();
        if let Some(value) = record.pointer_mut(&path) {
            multiply(value, room, new_ids, random);
        }
        lines[at] = record.to_string().into_bytes();
    } else {
        let end = if random.one_in(3) { lines.len() } else { (at + 1 + random.below(3)).min(lines.len()) };
        let piece = lines[at..end].to_vec();
        let length: usize = piece.iter().map(|line| line.len() + 1).sum();
        let times = (room / length.max(1)).min(20_000);
        let copy = |n, line: &Vec<u8>| if new_ids { renumbered(line, n) } else { line.clone() };
        let copies: Vec<_> = (0..times).flat_map(|n| piece.iter().map(move |line| copy(n, line))).collect();
        lines.splice(end..end, copies);
    }
    *log = lines.join(&b'\n');
}

fn multiply(value: &mut Value, room: usize, new_ids: bool, random: &mut Random) {
    let times = (room / value.to_string().len().max(1)).min(50_000);
    match value {
        Value::Array(items) if !items.is_empty() => {
            let all = items.clone();
            let copies = (0..times).flat_map(|n| all.iter().map(move |item| (n, item)));
            items.extend(copies.map(|(n, item)| {
                match serde_json::from_slice(&renumbered(item.to_string().as_bytes(), n)) {
                    Ok(new) if new_ids => new,
                    _ => item.clone(),
                }
            }));
        }
        Value::Object(fields) if !fields.is_empty() => {
            let (key, value) =
                fields.iter().nth(random.below(fields.len())).map(|(k, v)| (k.clone(), v.clone())).unwrap_or_default();
            fields.extend((0..times).map(|n| (format!("{key}{n}"), value.clone())));
        }
        Value::String(text) if !text.is_empty() => *text = text.repeat(times.max(1)),
        other => *other = json!("{[\"\\<`*_#\n".repeat(room / 20)),
    }
}

/// A line whose ids are others: some of its runs of hexadecimal digits get other last digits.
fn renumbered(line: &[u8], n: usize) -> Vec<u8> {
    let mut new = line.to_vec();
    let mut run = 0;
    for at in 0..=new.len() {
        if new.get(at).is_some_and(u8::is_ascii_hexdigit) {
            run += 1;
            continue;
        }
        if run >= 7 {
            let digits = format!("{n:05x}");
            new[at - 5..at].copy_from_slice(digits.as_bytes()[digits.len() - 5..].as_ref());
        }
        run = 0;
    }
    new
}
