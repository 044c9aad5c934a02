//! The JSON records on one line, however damaged: what is whole is found, what is not is said.

use std::borrow::Cow;

use serde_json::Value;

/// What a line holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Records {
    /// The objects, in order. More than one where two writes met on one line.
    pub values: Vec<Value>,
    /// What could not be read, each with its column (in bytes, from 1).
    pub errors: Vec<String>,
    /// Something was replaced so that the rest could be read: bytes that are no UTF-8, halves of surrogate pairs.
    pub repaired: bool,
}

/// Reads the records on a line. An empty line holds none, and no error.
#[must_use]
pub fn records(bytes: &[u8]) -> Records {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value @ Value::Object(_)) => Records { values: vec![value], ..Records::default() },
        _ => slow(bytes),
    }
}

/// The bytes of each record on a line, as they stand there; the whole line when it holds one record, or any damage.
#[must_use]
pub fn split<'a>(bytes: &'a [u8], found: &Records) -> Vec<&'a [u8]> {
    if found.values.len() < 2 || !found.errors.is_empty() || found.repaired {
        return vec![bytes];
    }
    let parts = serde_json::Deserializer::from_slice(bytes).into_iter::<&serde_json::value::RawValue>();
    match parts.map(|part| part.map(|part| part.get().as_bytes())).collect::<Result<Vec<_>, _>>() {
        Ok(parts) if parts.len() == found.values.len() => parts,
        _ => vec![bytes],
    }
}

fn slow(bytes: &[u8]) -> Records {
    let mut found = Records::default();
    let mut text = String::from_utf8_lossy(bytes);
    found.repaired = matches!(text, Cow::Owned(_));
    let mut at = 0;
    let mut halves_replaced = false;
    // Failed looks inside a damaged object may read as much as this again: keeps a line's cost linear.
    // What is added is for short lines, of which a file may hold any number.
    let mut budget = 8 * text.len() + 4 * 1024;
    loop {
        at += blank(&text[at..]);
        if at >= text.len() {
            return found;
        }
        let error = match first_value(&text[at..]) {
            Ok((value, length)) => {
                take(value, at, &mut found);
                at += length;
                continue;
            }
            Err(error) => error,
        };
        if !halves_replaced {
            halves_replaced = true;
            if let Some(whole) = without_lone_surrogates(&text[at..]) {
                text = Cow::Owned(text[..at].to_owned() + &whole);
                found.repaired = true;
                continue;
            }
        }
        let stopped = at + offset(&text[at..], &error);
        found.errors.push(format!("column {}: {}", stopped.max(at + 1), bare_message(&error)));
        at = next_start(&text, at, stopped, &error, &mut budget);
    }
}

/// Bytes that mean nothing: white space, byte order marks, and the NULs that a crash leaves.
fn blank(text: &str) -> usize {
    text.len() - text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\0' || c == '\u{feff}').len()
}

fn first_value(text: &str) -> Result<(Value, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    match values.next() {
        Some(Ok(value)) => Ok((value, values.byte_offset().max(1))),
        Some(Err(error)) => Err(error),
        // Only blank text has no value, and blank text was passed before.
        None => Ok((Value::Null, text.len())),
    }
}

fn take(value: Value, at: usize, found: &mut Records) {
    let what = match value {
        Value::Object(_) => return found.values.push(value),
        Value::Array(_) => "an array",
        Value::String(_) => "a string",
        Value::Number(_) => "a number",
        Value::Bool(_) | Value::Null => "a word",
    };
    found.errors.push(format!("column {}: {what} where a record was expected", at + 1));
}

/// Where the parser stopped, in bytes; one off at times, as its columns are.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let line_start: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    (line_start + error.column()).min(text.len())
}

fn bare_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message.rsplit_once(" at line ").map_or(message.clone(), |(what, _)| what.to_owned())
}

/// Where the next record may start, after the one at `at` was found damaged at `stopped`.
///
/// Not simply the next `{"`: that would give the inner objects of a record cut short as records.
fn next_start(text: &str, at: usize, stopped: usize, error: &serde_json::Error, budget: &mut usize) -> usize {
    if error.to_string().contains("recursion limit") {
        return at + value_length(&text[at..]);
    }
    if let Some(glued) = object_ending_at(text, at, stopped, budget) {
        return glued;
    }
    // The parser stops up to two bytes after the brace that it could not take: `"cut off{"type"` fails at the `t`.
    let mut from = stopped.saturating_sub(3).max(at + 1);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text[from..].find("{\"").map_or(text.len(), |found| from + found)
}

/// A whole object inside the damaged one that ends where reading failed: a record written after one cut off before a value.
fn object_ending_at(text: &str, at: usize, stopped: usize, budget: &mut usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        while !text.is_char_boundary(from) {
            from += 1;
        }
        let start = from + text.get(from..stopped)?.find("{\"")?;
        match first_value(&text[start..]) {
            Ok((_, length)) if ends_the_reading(text, start + length, stopped) => return Some(start),
            Ok((_, length)) => {
                *budget = budget.checked_sub(length)?;
                // A whole object inside a damaged one is a part of it.
                from = start + length;
            }
            Err(_) => {
                *budget = budget.checked_sub(stopped - start)?;
                from = start + 1;
            }
        }
    }
}

/// Whether what follows `end` is what the parser could not take, rather than the rest of an enclosing object.
fn ends_the_reading(text: &str, end: usize, stopped: usize) -> bool {
    let next = end + blank(&text[end..]);
    next + 2 >= stopped && !text[next..].starts_with([',', '}', ']'])
}

/// The length of the object or array that the text starts with, by its brackets alone: for one nested too deeply to be read.
fn value_length(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
    }
    text.len()
}

/// The text with every escaped half of a surrogate pair replaced; `None` when there is none. JavaScript writes them where it
/// cuts a string inside an emoji, and JSON readers refuse them.
fn without_lone_surrogates(text: &str) -> Option<String> {
    let mut whole = String::new();
    let mut copied = 0;
    let mut i = 0;
    let bytes = text.as_bytes();
    while i < bytes.len() {
        if bytes[i] != b'\\' {
            i += 1;
            continue;
        }
        match escaped_unit(bytes, i) {
            Some(0xd800..=0xdbff) if matches!(escaped_unit(bytes, i + 6), Some(0xdc00..=0xdfff)) => i += 12,
            Some(0xd800..=0xdfff) => {
                whole.push_str(&text[copied..i]);
                whole.push_str("\\ufffd");
                i += 6;
                copied = i;
            }
            Some(_) => i += 6,
            // A backslash and what it escapes: `\\u` is no escape of a character.
            None => i += 2,
        }
    }
    (copied > 0).then(|| whole + &text[copied..])
}

/// The UTF-16 unit written as `\uXXXX` at `i`.
fn escaped_unit(bytes: &[u8], i: usize) -> Option<u16> {
    let digits = bytes.get(i..i + 6)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn values(bytes: &[u8]) -> Vec<Value> {
        records(bytes).values
    }

    #[test]
    fn a_whole_record_is_read_as_it_is() {
        let found = records(br#" {"a":"\ud83d\ude00"} "#);
        assert_eq!(found, Records { values: vec![json!({"a": "😀"})], ..Records::default() });
    }

    #[test]
    fn an_empty_line_holds_nothing_and_is_no_error() {
        assert_eq!(records(b"  \r"), Records::default());
        assert_eq!(records(b"\0\0\0"), Records::default());
    }

    #[test]
    fn several_records_on_a_line_are_all_read() {
        let found = records(br#"{"a":1}{"b":2} {"c":3}"#);
        assert_eq!(found.values, vec![json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]);
        assert_eq!(found.errors, Vec::<String>::new());
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        let found = records(b"{\"a\":\"x\xff\"}");
        assert_eq!((found.values, found.repaired), (vec![json!({"a": "x\u{fffd}"})], true));
    }

    #[test]
    fn half_a_surrogate_pair_is_replaced_and_whole_pairs_stay() {
        let found = records(br#"{"a":"\ud83d!","b":"\ude00","c":"\ud83d\ude00","d":"\\ud83d","e":"\ud83d\u0041"}"#);
        let expected = json!({"a": "\u{fffd}!", "b": "\u{fffd}", "c": "😀", "d": "\\ud83d", "e": "\u{fffd}A"});
        assert_eq!((found.values, found.errors.len(), found.repaired), (vec![expected], 0, true));
    }

    #[test]
    fn nuls_and_a_byte_order_mark_in_front_cost_nothing() {
        assert_eq!(
            records(b"\0\0\xef\xbb\xbf{\"a\":1}"),
            Records { values: vec![json!({"a": 1})], ..Records::default() }
        );
    }

    #[test]
    fn garbage_around_a_record_costs_only_itself() {
        for line in [&br#"garbage {"a":1}"#[..], br#"{"a":1} garbage"#, br#"}]," {"a":1}"#, b"\xfe\xfe{\"a\":1}\xfe"] {
            let found = records(line);
            assert_eq!(found.values, vec![json!({"a": 1})], "{}", String::from_utf8_lossy(line));
            assert!(!found.errors.is_empty(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_record_written_after_one_cut_off_is_found() {
        for cut in [
            r#"{"x":"cut o"#,
            r#"{"x":{"y":1},"#,
            r#"{"x":{"y":1},"z":"#,
            r#"{"x":[{"y":1},"#,
            r#"{"x"#,
            r#"{"x":tr"#,
            r#"{"#,
        ] {
            for tail in ["", "  ", "???"] {
                let line = format!(r#"{cut}{{"type":"whole","n":{{"m":1}}}}{tail}"#);
                let found = records(line.as_bytes());
                assert_eq!(found.values, vec![json!({"type": "whole", "n": {"m": 1}})], "{line}: {:?}", found.errors);
                assert!(!found.errors.is_empty(), "{line}");
            }
        }
    }

    #[test]
    fn the_parts_of_a_record_cut_short_are_no_records() {
        let found = records(br#"{"type":"a","message":{"role":"user"},"list":[{"x":1}],"text":"cut sho"#);
        assert_eq!(found.values, Vec::<Value>::new());
        assert_eq!(found.errors.len(), 1);
    }

    #[test]
    fn a_value_that_is_no_object_is_an_error_with_its_column() {
        let found = records(br#"12 "text" [1] {"a":1} null"#);
        assert_eq!(found.values, vec![json!({"a": 1})]);
        let columns: Vec<_> = found.errors.iter().map(|e| e.split(':').next().unwrap_or_default()).collect();
        assert_eq!(columns, ["column 1", "column 4", "column 11", "column 23"]);
    }

    #[test]
    fn nesting_without_end_is_an_error_and_the_record_after_it_is_read() {
        let deep = format!("{}1{}{{\"a\":1}}", "{\"x\":".repeat(100_000), "}".repeat(100_000));
        let found = records(deep.as_bytes());
        assert_eq!((found.values, found.errors.len()), (vec![json!({"a": 1})], 1));
    }

    #[test]
    fn a_long_damaged_line_is_read_in_linear_time() {
        let line = format!("{{\"a\":[{}", "{\"b\":[".repeat(100)).repeat(2_000);
        let found = records(line.as_bytes());
        assert!(!found.errors.is_empty());
        let line = format!("{{\"a\":[{}", "{\"b\":1},".repeat(200_000));
        assert_eq!((values(line.as_bytes()), records(line.as_bytes()).errors.len()), (vec![], 1));
    }

    /// Garbage as crashes and disks make it: rich in the characters that matter to the reader.
    fn garbage() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"{\"".to_vec()),
            Just(b"\"".to_vec()),
            Just(b"\\ud83d".to_vec()),
            Just(b"}".to_vec()),
            Just(b":[".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..8),
        ];
        proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in garbage()) {
            let _ = records(&bytes);
        }

        #[test]
        fn a_record_between_lines_of_garbage_is_found(before in garbage(), after in garbage(), text in ".*") {
            let line = |bytes: Vec<u8>| bytes.into_iter().filter(|b| *b != b'\n').collect::<Vec<_>>();
            let record = json!({"type": "whole", "text": text});
            let file = [line(before), record.to_string().into_bytes(), line(after)].join(&b'\n');
            let mut lines = crate::ingest::lines::Lines::new(&file[..], 0, 1);
            let mut found = Vec::new();
            while let Some(line) = lines.next().expect("memory is readable") {
                found.extend(records(line.bytes).values);
            }
            prop_assert!(found.contains(&record));
        }

        #[test]
        fn a_record_after_plain_garbage_on_its_line_is_found(before in "[^{}\"\\\\\n\\[\\]]*", text in "[a-z{}\" ]*") {
            let record = json!({"type": "whole", "text": text});
            let found = records(format!("{before}{record}").as_bytes());
            prop_assert_eq!(found.values.last(), Some(&record));
        }
    }
}
