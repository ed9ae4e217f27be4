//! Dates and times, and ranges of them (PS3.4 §C.2.2.2.5).
//!
//! A range is `A-B`, `A-` or `-B`, both ends included. An unknown date fits no range. Dates and times are local, as the
//! device wrote them.

use crate::QueryError;

/// From a day to a day, both included; days as the number YYYYMMDD.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateRange {
    from: u32,
    to: u32,
    /// Written as two ends, not as one day.
    is_range: bool,
}

/// From a time of day to a time of day, both included; microseconds since midnight.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TimeRange {
    from: u64,
    to: u64,
    is_range: bool,
}

impl DateRange {
    /// Reads `YYYYMMDD`, `A-B`, `A-` or `-B`; `None` for an empty value, which everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        let Some((from, to)) = ends(text, QueryError::NotADate)? else { return Ok(None) };
        let day = |text: &str, open: u32| match text {
            "" => Ok(open),
            text => day_number(text).ok_or(QueryError::NotADate),
        };
        Ok(Some(match to {
            Some(to) => Self { from: day(from, 1)?, to: day(to, u32::MAX)?, is_range: true },
            None => Self { from: day(from, 1)?, to: day(from, 1)?, is_range: false },
        }))
    }

    /// Whether a date as written in a data set lies within.
    pub fn matches(&self, date: &str) -> bool {
        day_number(date).is_some_and(|day| self.holds(day))
    }

    /// Whether a day lies within; zero, which stands for an unknown one, never does.
    pub(crate) fn holds(&self, day: u32) -> bool {
        (self.from..=self.to).contains(&day)
    }

    pub(crate) const fn bounds(&self) -> (u32, u32) {
        (self.from, self.to)
    }
}

impl TimeRange {
    /// Reads `HHMMSS.FFFFFF` or the start of it, `A-B`, `A-` or `-B`; `None` for an empty value. An end that stops at
    /// minutes or hours includes the whole minute or hour.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        let Some((from, to)) = ends(text, QueryError::NotATime)? else { return Ok(None) };
        let time = |text: &str, open: (u64, u64)| match text {
            "" => Ok(open),
            text => micros(text).ok_or(QueryError::NotATime),
        };
        let last = to.unwrap_or(from);
        Ok(Some(Self { from: time(from, (0, 0))?.0, to: time(last, (u64::MAX, u64::MAX))?.1, is_range: to.is_some() }))
    }

    /// Whether a time as written in a data set lies within.
    pub fn matches(&self, time: &str) -> bool {
        micros(time).is_some_and(|(at, _)| (self.from..=self.to).contains(&at))
    }
}

/// Whether a date and a time fit what is asked of them. Two ranges are one range of moments: from the first day at the
/// first time to the last day at the last time. Else each is asked for itself.
pub(crate) fn moment_fits(
    dates: Option<DateRange>,
    times: Option<TimeRange>,
    date: Option<&str>,
    time: Option<&str>,
) -> bool {
    match (dates, times) {
        (Some(dates), Some(times)) if dates.is_range && times.is_range => {
            let (Some(day), Some((at, _))) = (day_number(date.unwrap_or("")), micros(time.unwrap_or(""))) else {
                return false;
            };
            ((dates.from, times.from)..=(dates.to, times.to)).contains(&(day, at))
        }
        _ => {
            dates.is_none_or(|dates| dates.matches(date.unwrap_or("")))
                && times.is_none_or(|times| times.matches(time.unwrap_or("")))
        }
    }
}

/// The ends of a range, or one value; `None` for what everything matches.
#[allow(clippy::type_complexity, reason = "both ends, of which the second may not be there, read once above")]
fn ends(text: &str, error: QueryError) -> Result<Option<(&str, Option<&str>)>, QueryError> {
    let text = text.trim_matches([' ', '\0']);
    if text.is_empty() || text == "*" {
        return Ok(None);
    }
    match text.split_once('-').map(|(from, to)| (from.trim_matches(' '), to.trim_matches(' '))) {
        Some(("", "")) => Err(error),
        Some((from, to)) => Ok(Some((from, Some(to)))),
        None => Ok(Some((text, None))),
    }
}

/// `YYYYMMDD`, or `YYYY.MM.DD` as before 1993 (PS3.5 §6.2 DA), as a number.
pub(crate) fn day_number(text: &str) -> Option<u32> {
    let number = match text.trim_matches([' ', '\0']).as_bytes() {
        [y1, y2, y3, y4, b'.', m1, m2, b'.', d1, d2] => digits([*y1, *y2, *y3, *y4, *m1, *m2, *d1, *d2])?,
        plain => digits(<[u8; 8]>::try_from(plain).ok()?)?,
    };
    let (month, day) = (number / 100 % 100, number % 100);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(number)
}

/// `HH`, `HHMM`, `HHMMSS` or `HHMMSS.F` (PS3.5 §6.2 TM; colons as before 1993): the first and the last microsecond meant.
fn micros(text: &str) -> Option<(u64, u64)> {
    let text = text.trim_matches([' ', '\0']);
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut digits = [0u8; 6];
    let mut len = 0;
    for byte in whole.bytes().filter(|b| *b != b':') {
        *digits.get_mut(len)? = byte.is_ascii_digit().then(|| byte - b'0')?;
        len += 1;
    }
    let pair = |at: usize| u64::from(digits[at]) * 10 + u64::from(digits[at + 1]);
    let unit: u64 = match len {
        2 => 3_600_000_000,
        4 => 60_000_000,
        6 => 1_000_000,
        _ => return None,
    };
    // 60 is a leap second.
    if pair(0) > 23 || pair(2) > 59 || pair(4) > 60 || (!fraction.is_empty() && len != 6) || fraction.len() > 6 {
        return None;
    }
    let start = (pair(0) * 3600 + pair(2) * 60 + pair(4)) * 1_000_000;
    if fraction.is_empty() {
        return Some((start, start + unit - 1));
    }
    let mut scale = 1_000_000;
    let mut more = 0;
    for byte in fraction.bytes() {
        scale /= 10;
        more += u64::from(byte.is_ascii_digit().then(|| byte - b'0')?) * scale;
    }
    Some((start + more, start + more + scale - 1))
}

fn digits<const N: usize>(bytes: [u8; N]) -> Option<u32> {
    bytes.into_iter().try_fold(0u32, |n, b| b.is_ascii_digit().then(|| n * 10 + u32::from(b - b'0')))
}

// A date of birth is as telling as a name.
impl std::fmt::Debug for DateRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DateRange(‹phi›)")
    }
}

impl std::fmt::Debug for TimeRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TimeRange(‹phi›)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_match_as_the_table_says() {
        let table: &[(&str, &str, bool)] = &[
            ("20240131", "20240131", true),
            ("20240131", "2024.01.31", true),
            ("2024.01.31", "20240131", true),
            ("20240131", " 20240131", true),
            ("20240101-20240131", "20240115", true),
            ("20240101-20240131", "20240101", true),
            ("20240101-20240131", "20240131", true),
            ("20240101-20240131", "20240201", false),
            ("20240101 - 20240131", "20240131", true),
            ("-20240131", "19991231", true),
            ("-20240131", "20240201", false),
            ("-20240131", "", false),
            ("20240101-", "20991231", true),
            ("20240101-", "20231231", false),
            ("20240101-", "", false),
            ("20240101-", "garbage", false),
        ];
        for (range, date, fits) in table {
            assert_eq!(DateRange::parse(range).unwrap().unwrap().matches(date), *fits, "{range} on {date}");
        }
        assert_eq!(DateRange::parse(" "), Ok(None));
        for bad in ["2024", "20241301", "20240132", "-", "2024013a", "20240101-x", "20240101-20240102-20240103"] {
            assert_eq!(DateRange::parse(bad), Err(QueryError::NotADate), "{bad}");
        }
    }

    #[test]
    fn times_match_as_the_table_says() {
        let table: &[(&str, &str, bool)] = &[
            ("101500", "101500", true),
            ("101500", "101500.123", true),
            ("101500", "10:15:00", true),
            ("1015", "101559", true),
            ("1015", "101600", false),
            ("10", "105959.999999", true),
            ("101500.5", "101500.57", true),
            ("101500.5", "101500.6", false),
            ("0800-1200", "120059", true),
            ("0800-1200", "1201", false),
            ("-0800", "000000", true),
            ("1800-", "235960", true),
            ("1800-", "1759", false),
            ("1800-", "", false),
            ("1800-", "x", false),
        ];
        for (range, time, fits) in table {
            assert_eq!(TimeRange::parse(range).unwrap().unwrap().matches(time), *fits, "{range} on {time}");
        }
        assert_eq!(TimeRange::parse(""), Ok(None));
        for bad in ["1", "101", "2400", "1060", "10x0", "-", "1015.5", "101500.1234567", "10150000"] {
            assert_eq!(TimeRange::parse(bad), Err(QueryError::NotATime), "{bad}");
        }
    }

    #[test]
    fn a_range_of_days_and_a_range_of_times_are_one_range_of_moments() {
        let table: &[(&str, &str, &str, &str, bool)] = &[
            ("20240105-20240107", "1000-1800", "20240105", "0959", false),
            ("20240105-20240107", "1000-1800", "20240105", "1000", true),
            ("20240105-20240107", "1000-1800", "20240106", "0300", true),
            ("20240105-20240107", "1000-1800", "20240107", "1800", true),
            ("20240105-20240107", "1000-1800", "20240107", "1801", false),
            ("20240105-", "1000-", "20240105", "0959", false),
            ("20240105-", "1000-", "20250101", "0000", true),
            ("-20240107", "-1800", "20240107", "1801", false),
            ("-20240107", "-1800", "20240106", "2300", true),
            // One day, or one time: each for itself.
            ("20240105", "1000-1800", "20240105", "1200", true),
            ("20240105", "1000-1800", "20240105", "0900", false),
            ("20240105-20240107", "10", "20240106", "1030", true),
            ("20240105-20240107", "10", "20240106", "1130", false),
            ("20240105-20240107", "1000-1800", "20240106", "", false),
            ("", "1000-1800", "", "1200", true),
        ];
        for (dates, times, date, time, fits) in table {
            let (dates, times) = (DateRange::parse(dates).unwrap(), TimeRange::parse(times).unwrap());
            assert_eq!(moment_fits(dates, times, Some(date), Some(time)), *fits, "{date} {time}");
        }
    }
}
