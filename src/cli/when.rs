//! Points in time as people type them.

use chrono::{DateTime, Local, NaiveDate, NaiveTime, TimeZone};

use crate::model::Millis;

const HOUR: i64 = 60 * 60 * 1000;

/// `2026-11-21` (its beginning here), `2026-11-21T10:30:00Z`, or so long ago: `12h`, `30d`, `4w`, `6m` (of 30 days), `1y` (of 365).
pub fn parse(text: &str, now: Millis) -> Result<Millis, String> {
    let wrong = || format!("{text} is no date: give one as 2026-11-21, or how long ago as 12h, 30d, 4w, 6m or 1y");
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Millis(at.timestamp_millis()));
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        // A day that begins with a skipped hour begins behind it.
        let begin = Local.from_local_datetime(&day.and_time(NaiveTime::MIN)).earliest();
        return Ok(Millis(
            begin.map_or_else(|| day.and_time(NaiveTime::MIN).and_utc().timestamp_millis(), |at| at.timestamp_millis()),
        ));
    }
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let hours = match unit {
        'h' => 1,
        'd' => 24,
        'w' => 24 * 7,
        'm' => 24 * 30,
        'y' => 24 * 365,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    Ok(Millis(now.0.saturating_sub(i64::from(number) * hours * HOUR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_here_and_a_span_ends_now() {
        let now = Millis(1_800_000_000_000);
        assert_eq!(parse("2026-11-21T10:30:00Z", now), Ok(Millis(1_795_257_000_000)));
        let day = parse("2026-11-21", now).unwrap();
        assert!((day.0 - 1_795_219_200_000).abs() <= 14 * HOUR, "{day:?}");
        assert_eq!(parse("30d", now), Ok(Millis(now.0 - 720 * HOUR)));
        assert_eq!(parse("2w", now), Ok(Millis(now.0 - 336 * HOUR)));
    }

    #[test]
    fn what_is_no_date_is_told() {
        for text in ["", "d", "30", "-3d", "2026-02-30", "yesterday", "3ö", "99999999999d"] {
            let error = parse(text, Millis(0)).unwrap_err();
            assert!(error.contains("is no date"), "{error}");
        }
    }
}
