//! Sizes and spans of time as people write them.

use std::time::Duration;

/// A number and the letters behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// Bytes: `500MB`, `1GiB`, `1048576`.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// A span of time: `250ms`, `10s`, `5min`, `12h`, `30d`.
#[must_use]
pub fn span(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_read_as_they_are_written() {
        assert_eq!(bytes("1GiB"), Some(1 << 30));
        assert_eq!(bytes("500 MB"), Some(500_000_000));
        assert_eq!(bytes("0"), Some(0));
        assert_eq!(span("30d"), Some(Duration::from_secs(30 * 86_400)));
        assert_eq!(span("250ms"), Some(Duration::from_millis(250)));
        for bad in ["", "x", "1", "-1s", "1.5h", "1w", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(span(bad), None, "{bad}");
        }
        for bad in ["", "GB", "1TB", "-5", "18446744073709551615GiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
