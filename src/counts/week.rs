//! Weeks as ISO 8601 has them, in UTC: from Monday to Sunday.

use chrono::{DateTime, Datelike, NaiveDate};

use crate::model::Millis;

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The first day of the epoch is the fourth of its week.
const DAYS_BEFORE: i64 = 3;

/// A week, counted from the one that the epoch began in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week(i64);

impl Week {
    /// The week of a moment.
    #[must_use]
    pub fn of(at: Millis) -> Self {
        Self((at.0.div_euclid(DAY) + DAYS_BEFORE).div_euclid(7))
    }

    /// So many weeks earlier.
    #[must_use]
    pub fn before(self, weeks: u32) -> Self {
        Self(self.0.saturating_sub(i64::from(weeks)))
    }

    /// The week behind this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The first moment of its Monday.
    #[must_use]
    pub fn start(self) -> Millis {
        Millis(self.0.saturating_mul(7).saturating_sub(DAYS_BEFORE).saturating_mul(DAY))
    }

    fn monday(self) -> NaiveDate {
        DateTime::from_timestamp_millis(self.start().0).map(|at| at.date_naive()).unwrap_or_default()
    }

    /// `2026-11-09`: its Monday.
    #[must_use]
    pub fn date(self) -> String {
        self.monday().format("%Y-%m-%d").to_string()
    }

    /// `2026-W46`.
    #[must_use]
    pub fn name(self) -> String {
        let week = self.monday().iso_week();
        format!("{}-W{:02}", week.year(), week.week())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis::parse(text).unwrap()
    }

    #[test]
    fn a_week_begins_on_monday_and_belongs_to_the_year_of_its_thursday() {
        for (moment, name, monday) in [
            ("2026-11-15T23:59:59.999Z", "2026-W46", "2026-11-09"),
            ("2026-11-16T00:00:00Z", "2026-W47", "2026-11-16"),
            ("2027-01-03T12:00:00Z", "2026-W53", "2026-12-28"),
            ("2024-12-30T00:00:00Z", "2025-W01", "2024-12-30"),
            ("1970-01-01T00:00:00Z", "1970-W01", "1969-12-29"),
            ("1969-12-28T23:59:59Z", "1969-W52", "1969-12-22"),
        ] {
            let week = Week::of(at(moment));
            assert_eq!((week.name().as_str(), week.date().as_str()), (name, monday), "{moment}");
            assert_eq!(Week::of(week.start()), week);
            assert_eq!(Week::of(Millis(week.next().start().0 - 1)), week);
            assert_eq!(week.next().before(1), week);
        }
    }

    #[test]
    fn no_moment_is_too_far() {
        for far in [i64::MIN, i64::MAX] {
            assert!(!Week::of(Millis(far)).name().is_empty());
        }
    }
}
