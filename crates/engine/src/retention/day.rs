//! Days of the calendar: retention counts in years, and birthdays do not fall into milliseconds.

use leadglass_model::UnixMillis;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A day, `2026-02-28`. Ordered as days are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Day {
    year: i32,
    month: u8,
    day: u8,
}

/// Not a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is written 2026-02-28")]
pub struct NoDay;

impl Day {
    /// A day of the years 1 to 9999.
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let last = match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            _ => return None,
        };
        ((1..=9999).contains(&year) && (1..=last).contains(&day)).then_some(Self { year, month, day })
    }

    /// A DICOM date (DA), `YYYYMMDD`, or `YYYY.MM.DD` of old (PS3.5 §6.2).
    pub fn of_dicom(text: &str) -> Option<Self> {
        let text = text.trim();
        let digits: String = match text.len() {
            8 => text.to_owned(),
            10 => text.replace('.', ""),
            _ => return None,
        };
        if digits.len() != 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Self::new(digits[..4].parse().ok()?, digits[4..6].parse().ok()?, digits[6..].parse().ok()?)
    }

    /// The day of a moment, in UTC.
    pub fn of(time: UnixMillis) -> Self {
        // Days since 1 March of the year 0: so the leap day is a year's last.
        let days = i64::try_from(time.0 / DAY_MILLIS).unwrap_or(0) + TO_1970;
        let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
        let of_era_year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
        let march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * march + 2) / 5 + 1;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = era * 400 + of_era_year + i64::from(month <= 2);
        let small = |n: i64| u8::try_from(n).unwrap_or(1);
        Self { year: i32::try_from(year).unwrap_or(9999).min(9999), month: small(month), day: small(day) }
    }

    /// The end of the day, in UTC.
    pub fn end(self) -> UnixMillis {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let (era, of_era_year) = (year.div_euclid(400), year.rem_euclid(400));
        let march = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * march + 2) / 5 + i64::from(self.day) - 1;
        let of_era = of_era_year * 365 + of_era_year / 4 - of_era_year / 100 + of_year;
        let days = era * ERA + of_era - TO_1970;
        UnixMillis(u64::try_from(days + 1).unwrap_or(0).saturating_mul(DAY_MILLIS))
    }

    /// The same day so many years later; of 29 February, where there is none, 1 March.
    #[must_use]
    pub fn plus_years(self, years: u16) -> Self {
        let year = (self.year + i32::from(years)).min(9999);
        Self::new(year, self.month, self.day).unwrap_or(Self { year, month: 3, day: 1 })
    }

    /// The same day so many months later, else the last day of that month (Regulation 1182/71 Art. 3(2)(c)).
    #[must_use]
    pub fn plus_months(self, months: u8) -> Self {
        let count = i32::from(self.month) - 1 + i32::from(months);
        let (year, month) = ((self.year + count / 12).min(9999), u8::try_from(count % 12 + 1).unwrap_or(12));
        let last = (28..=self.day).rev().find_map(|day| Self::new(year, month, day));
        last.unwrap_or(Self { year, month, day: self.day })
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl FromStr for Day {
    type Err = NoDay;

    fn from_str(text: &str) -> Result<Self, NoDay> {
        let bytes = text.as_bytes();
        if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
            return Err(NoDay);
        }
        Self::of_dicom(&text.replace('-', "")).ok_or(NoDay)
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl TryFrom<String> for Day {
    type Error = NoDay;

    fn try_from(text: String) -> Result<Self, NoDay> {
        text.parse()
    }
}

const DAY_MILLIS: u64 = 24 * 3600 * 1000;
/// Days of 400 years.
const ERA: i64 = 146_097;
/// From 1 March of the year 0 to 1 January 1970.
const TO_1970: i64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn moments_are_days_and_back() {
        for (millis, text) in [
            (0, "1970-01-01"),
            (951_782_399_999, "2000-02-28"),
            (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (1_795_392_000_000, "2026-11-23"),
            (4_107_542_400_000, "2100-03-01"),
        ] {
            assert_eq!(Day::of(UnixMillis(millis)).to_string(), text);
            let end = day(text).end();
            assert_eq!(Day::of(UnixMillis(end.0 - 1)), day(text));
            assert!(Day::of(end) > day(text));
        }
        for n in 0..40_000 {
            let time = UnixMillis(n * DAY_MILLIS);
            assert_eq!(Day::of(time).end().0, time.0 + DAY_MILLIS, "day {n}");
        }
    }

    #[test]
    fn years_later_is_the_same_day_or_the_one_after_a_leap_day() {
        assert_eq!(day("2024-02-29").plus_years(10), day("2034-03-01"));
        assert_eq!(day("2024-02-29").plus_years(4), day("2028-02-29"));
        assert_eq!(day("2026-11-23").plus_years(10), day("2036-11-23"));
        assert_eq!(day("9990-01-01").plus_years(500), day("9999-01-01"));
    }

    #[test]
    fn months_later_is_the_same_day_or_the_last_of_a_shorter_month() {
        for (from, months, to) in [
            ("2026-11-23", 1, "2026-12-23"),
            ("2026-12-23", 1, "2027-01-23"),
            ("2026-12-31", 2, "2027-02-28"),
            ("2026-01-31", 1, "2026-02-28"),
            ("2028-01-31", 1, "2028-02-29"),
            ("2026-01-31", 2, "2026-03-31"),
            ("2026-01-31", 3, "2026-04-30"),
            ("2028-02-29", 1, "2028-03-29"),
            ("2026-02-28", 1, "2026-03-28"),
            ("2026-08-31", 1, "2026-09-30"),
            ("2027-11-30", 3, "2028-02-29"),
            ("2026-05-07", 25, "2028-06-07"),
        ] {
            assert_eq!(day(from).plus_months(months), day(to), "{from} and {months}");
        }
    }

    #[test]
    fn what_is_no_day_is_none() {
        for text in ["", "2026-13-01", "2026-02-29", "2026-2-03", "20260203", "2026-02-0x", "０026-02-03", "0000-01-01"]
        {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
        assert_eq!(Day::of_dicom("20260203 "), Some(day("2026-02-03")));
        assert_eq!(Day::of_dicom("2026.02.03"), Some(day("2026-02-03")));
        for text in ["2026020", "20261301", "2026.02.3.", "+2026020"] {
            assert_eq!(Day::of_dicom(text), None, "{text}");
        }
    }
}
