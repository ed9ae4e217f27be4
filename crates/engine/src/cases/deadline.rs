//! Until when a case has to be answered.
//!
//! A day ends at midnight UTC, as everywhere in a vault: in Central Europe that is one or two hours into the next day,
//! further west before the day is over. Sundays and holidays are not waited for: the law would give a day more then,
//! never less.

use crate::Day;
use leadglass_model::UnixMillis;
use std::fmt;

/// The last day, or the last moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// A patient's right: this day is the last (Art. 12(3)).
    Day(Day),
    /// A breach: 72 hours after it was known (Art. 33(1)).
    Moment(UnixMillis),
}

impl Deadline {
    /// Of what came on a day, with so many more months; or of a breach.
    pub(super) fn of(received: Day, more_months: Option<u8>, known_at: Option<UnixMillis>) -> Self {
        match known_at {
            Some(known) => Self::Moment(known.plus_secs(BREACH_SECS)),
            None => Self::Day(received.plus_months(FIRST_MONTHS + more_months.unwrap_or(0))),
        }
    }

    /// From this moment on it is too late.
    pub fn end(self) -> UnixMillis {
        match self {
            Self::Day(day) => day.end(),
            Self::Moment(moment) => moment,
        }
    }

    /// Whether it is too late.
    pub fn is_over(self, now: UnixMillis) -> bool {
        self.end() <= now
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => day.fmt(f),
            Self::Moment(moment) => write!(f, "{}", Minute(*moment)),
        }
    }
}

/// A moment to the minute: `2026-11-23 14:05 UTC`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Minute(pub(super) UnixMillis);

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minutes = self.0.0 / 60_000 % (24 * 60);
        write!(f, "{} {:02}:{:02} UTC", Day::of(self.0), minutes / 60, minutes % 60)
    }
}

/// One month to answer.
pub(super) const FIRST_MONTHS: u8 = 1;
/// So long a house has to tell the authority of a breach after it was known (GDPR Art. 33(1)).
pub const BREACH_SECS: u64 = 72 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_is_one_of_the_calendar_and_more_months_count_from_the_first_day() {
        for (received, more, last) in [
            ("2026-11-23", None, "2026-12-23"),
            ("2026-01-31", None, "2026-02-28"),
            ("2028-01-31", None, "2028-02-29"),
            ("2028-02-29", None, "2028-03-29"),
            ("2026-12-31", None, "2027-01-31"),
            // Not the 28th of March: the short February does not count twice.
            ("2026-01-31", Some(1), "2026-03-31"),
            ("2026-01-31", Some(2), "2026-04-30"),
            ("2026-11-30", Some(2), "2027-02-28"),
            ("2027-11-30", Some(2), "2028-02-29"),
        ] {
            assert_eq!(Deadline::of(day(received), more, None), Deadline::Day(day(last)), "{received} {more:?}");
        }
    }

    #[test]
    fn the_last_day_counts_to_its_end_in_utc() {
        let deadline = Deadline::of(day("2026-01-31"), None, None);
        let midnight = day("2026-02-28").end();
        assert!(!deadline.is_over(UnixMillis(midnight.0 - 1)) && deadline.is_over(midnight));
        assert_eq!(Day::of(midnight), day("2026-03-01"));
    }

    #[test]
    fn a_breach_has_72_hours_to_the_millisecond() {
        let known = UnixMillis(1_798_671_900_000);
        assert_eq!(Minute(known).to_string(), "2026-12-30 23:05 UTC");
        let deadline = Deadline::of(Day::of(known), None, Some(known));
        assert_eq!(deadline.to_string(), "2027-01-02 23:05 UTC");
        assert!(!deadline.is_over(UnixMillis(known.0 + 72 * 3_600_000 - 1)));
        assert!(deadline.is_over(UnixMillis(known.0 + 72 * 3_600_000)));
    }
}
