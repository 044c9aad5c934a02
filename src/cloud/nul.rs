//! The character NUL, which PostgreSQL has in no text: a tool's output may hold it, so it goes over the wire as two characters.
//!
//! U+10FFFD, for private use, stands in front of `0` for NUL and in front of `1` for itself.

use std::borrow::Cow;

/// U+10FFFD as UTF-8.
const MARK: &[u8] = "\u{10FFFD}".as_bytes();

/// NUL as JSON has it.
const NUL: &[u8] = br"\u0000";

/// A JSON text without NULs in its strings.
pub fn escape(json: &[u8]) -> Cow<'_, [u8]> {
    replace(json, &mut |rest| {
        if rest.starts_with(NUL) {
            return Some((NUL.len(), [MARK, b"0"].concat()));
        }
        if rest.starts_with(MARK) {
            return Some((MARK.len(), [MARK, b"1"].concat()));
        }
        None
    })
}

/// The JSON text that [`escape`] was given.
pub fn unescape(json: &[u8]) -> Cow<'_, [u8]> {
    replace(json, &mut |rest| {
        let behind = rest.strip_prefix(MARK)?;
        match behind.first()? {
            b'0' => Some((MARK.len() + 1, NUL.to_vec())),
            b'1' => Some((MARK.len() + 1, MARK.to_vec())),
            _ => None,
        }
    })
}

/// A change of a text, where there is one: how many bytes go, and what comes in their place.
type Change = Option<(usize, Vec<u8>)>;

fn replace<'t>(json: &'t [u8], change: &mut dyn FnMut(&[u8]) -> Change) -> Cow<'t, [u8]> {
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = json[at..].iter().position(|b| matches!(b, b'\\' | 0xF4)) {
        at += found;
        if let Some((length, new)) = change(&json[at..]) {
            out.extend_from_slice(&json[copied..at]);
            out.extend_from_slice(&new);
            at += length;
            copied = at;
        } else {
            // A backslash and what it escapes: `\\u0000` is a backslash and a text.
            at += if json[at] == b'\\' { 2 } else { 1 };
            at = at.min(json.len());
        }
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    out.extend_from_slice(&json[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_nul_is_sent_and_a_backslash_before_one_is_none() {
        let text = "a\0b\\u0000c\u{10FFFD}d\\\0";
        let json = serde_json::to_vec(text).unwrap();
        let sent = escape(&json);
        let heard: String = serde_json::from_slice(&sent).unwrap();
        assert_eq!(heard, "a\u{10FFFD}0b\\u0000c\u{10FFFD}1d\\\u{10FFFD}0");
        assert_eq!(unescape(&sent), json);
        assert!(matches!(escape(b"{\"a\": \"b\\n\"}"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn every_text_comes_back(parts in prop::collection::vec(prop::sample::select(vec!["\0", "\\", "\u{10FFFD}", "0", "1", "u0000", "\"", "ü", "\u{10FFFC}"]), 0..12)) {
            let json = serde_json::to_vec(&parts.concat()).unwrap();
            let sent = escape(&json).into_owned();
            prop_assert!(!serde_json::from_slice::<String>(&sent).unwrap().contains('\0'));
            prop_assert_eq!(unescape(&sent), json);
        }
    }
}
