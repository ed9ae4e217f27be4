//! Days that are moved (PS3.15 §E.3.6, Retain Longitudinal Temporal Information with Modified Dates).
//!
//! Only what is written as the standard writes it comes through: any other text in a date's place could be anything.

use time::{Date, Duration, Month};

/// DA: each value moved; `None` where one is no date.
pub(crate) fn moved_date(value: &str, by: Duration) -> Option<String> {
    let moved: Option<Vec<String>> = value
        .split('\\')
        .map(|one| {
            let one = one.trim_matches([' ', '\0']);
            if one.is_empty() { Some(String::new()) } else { moved_day(&one.replace('.', ""), by) }
        })
        .collect();
    moved.map(|all| all.join("\\"))
}

/// DT: the day of each value moved, its time as it was; `None` where one is none, or less than a day is said.
pub(crate) fn moved_date_time(value: &str, by: Duration) -> Option<String> {
    let moved: Option<Vec<String>> = value
        .split('\\')
        .map(|one| {
            let one = one.trim_matches([' ', '\0']);
            if one.is_empty() {
                return Some(String::new());
            }
            let (day, time) = one.split_at_checked(8)?;
            is_time(time).then_some(())?;
            Some(moved_day(day, by)? + time)
        })
        .collect();
    moved.map(|all| all.join("\\"))
}

/// TM, as it is: `None` where it is none.
pub(crate) fn time(value: &str) -> Option<String> {
    let value = value.trim_matches([' ', '\0']);
    value.split('\\').all(|one| is_time(one.trim())).then(|| value.to_owned())
}

fn moved_day(day: &str, by: Duration) -> Option<String> {
    if day.len() != 8 || !day.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = |range| day.get(range).and_then(|text: &str| text.parse::<u16>().ok());
    let month = Month::try_from(u8::try_from(number(4..6)?).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0..4)?), month, u8::try_from(number(6..8)?).ok()?).ok()?;
    let moved = date.checked_add(by)?;
    let year = moved.year();
    (0..=9999).contains(&year).then(|| format!("{year:04}{:02}{:02}", u8::from(moved.month()), moved.day()))
}

/// Digits, a fraction, an offset from UTC.
fn is_time(text: &str) -> bool {
    text.len() <= LONGEST_TIME && text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b':' | b'+' | b'-'))
}

/// `HHMMSS.FFFFFF&ZZXX`.
const LONGEST_TIME: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: Duration = Duration::days(-3);

    #[test]
    fn a_day_is_moved_across_months_and_leap_years() {
        assert_eq!(moved_date("20240302", BACK).unwrap(), "20240228");
        assert_eq!(moved_date("20230302 ", BACK).unwrap(), "20230227");
        assert_eq!(moved_date("2024.01.01", BACK).unwrap(), "20231229");
        assert_eq!(moved_date("20240104\\20240105", BACK).unwrap(), "20240101\\20240102");
        assert_eq!(moved_date("", BACK).unwrap(), "");
    }

    #[test]
    fn the_time_of_day_stays() {
        assert_eq!(moved_date_time("20240104123456.789+0100", BACK).unwrap(), "20240101123456.789+0100");
        assert_eq!(moved_date_time("20240104", BACK).unwrap(), "20240101");
        assert_eq!(time("101112.5 ").unwrap(), "101112.5");
    }

    #[test]
    fn what_is_no_date_does_not_come_through() {
        for text in ["MEIER", "20241301", "20240230", "2024", "2024010", "20240101X", "００００"] {
            assert_eq!(moved_date(text, BACK), None, "{text}");
        }
        for text in ["202401", "20240101MEIER", "2024"] {
            assert_eq!(moved_date_time(text, BACK), None, "{text}");
        }
        assert_eq!(time("MEIER"), None);
        assert_eq!(moved_date("00000101", Duration::days(-400)), None, "no year before 0");
    }
}
