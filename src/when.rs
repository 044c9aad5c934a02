//! Points in time as people type them: `--before`, `since:`.

use chrono::NaiveDate;

use crate::model::Millis;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// A date (its beginning, UTC: `2026-11-21`, `2026-11`, `2026`), a time (`2026-11-21T10:30:00Z`), or how long ago: `12h`, `30d`, `4w`,
/// `1y` (of 365 days).
#[must_use]
pub fn past(text: &str, now: Millis) -> Option<Millis> {
    if let Some(at) = Millis::parse(text) {
        return Some(at);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "h" => DAY / 24,
        "d" => DAY,
        "w" => 7 * DAY,
        "y" => 365 * DAY,
        _ => return date(text),
    };
    let ago = number.parse::<i64>().ok()?.checked_mul(unit)?;
    Some(Millis(now.0.saturating_sub(ago)))
}

fn date(text: &str) -> Option<Millis> {
    let mut parts = text.split('-');
    let year = parts.next().filter(|year| year.len() == 4)?.parse().ok()?;
    let mut next = || parts.next().map_or(Some(1), |part| part.parse::<u32>().ok());
    let (month, day) = (next()?, next()?);
    if parts.next().is_some() {
        return None;
    }
    let midnight = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(0, 0, 0)?;
    Some(Millis(midnight.and_utc().timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = Millis(1_800_000_000_000);

    #[test]
    fn a_date_begins_and_an_age_ends_now() {
        assert_eq!(past("2026-11-21T10:30:00Z", NOW), Some(Millis(1_795_257_000_000)));
        assert_eq!(past("2026-11-21", NOW), Some(Millis(1_795_219_200_000)));
        assert_eq!(past("2026", NOW), past("2026-01-01", NOW));
        assert_eq!(past("30d", NOW), Some(Millis(NOW.0 - 30 * DAY)));
        assert_eq!(past("2w", NOW), past("14d", NOW));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "d", "30", "-3d", "2026-02-30", "yesterday", "3\u{f6}", "99999999999999999999d", "2026-1-1-1"]
        {
            assert_eq!(past(text, NOW), None, "{text:?}");
        }
    }
}
