//! A time as a clock on a wall shows it, with that wall's distance from UTC.

use leadglass_model::{Fault, UnixMillis};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// A point in time with the offset of the place where it was told. It tells when a patient was seen, so `Debug` is mute.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment(OffsetDateTime);

/// A place's distance from UTC, whole minutes, within ±14 hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset(UtcOffset);

/// A text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a time; write YYYY-MM-DDTHH:MM, with Z or an offset such as +01:00 behind it")]
pub struct MomentError;

impl MomentError {
    /// Always [`Fault::BadInput`].
    pub const fn fault(&self) -> Fault {
        Fault::BadInput
    }
}

impl Offset {
    /// No distance.
    pub const UTC: Self = Self(UtcOffset::UTC);

    /// Reads `Z`, `+HH:MM` or `+HHMM`.
    pub fn parse(text: &str) -> Result<Self, MomentError> {
        let (sign, digits) = match text.as_bytes() {
            [b'Z' | b'z'] => return Ok(Self::UTC),
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
                (*sign, [*h1, *h2, *m1, *m2])
            }
            _ => return Err(MomentError),
        };
        let [h1, h2, m1, m2] = digits.map(|d| d.wrapping_sub(b'0'));
        if [h1, h2, m1, m2].iter().any(|d| *d > 9) || m1 > 5 {
            return Err(MomentError);
        }
        let minutes = (i32::from(h1) * 10 + i32::from(h2)) * 60 + i32::from(m1) * 10 + i32::from(m2);
        if minutes > 14 * 60 {
            return Err(MomentError);
        }
        let signed = if sign == b'-' { -minutes } else { minutes };
        UtcOffset::from_whole_seconds(signed * 60).map(Self).map_err(|_| MomentError)
    }

    /// As Timezone Offset From UTC (0008,0201) has it: `+HHMM`.
    pub(crate) fn dicom(self) -> String {
        let (hours, minutes, _) = self.0.as_hms();
        let sign = if self.0.is_negative() { '-' } else { '+' };
        format!("{sign}{:02}{:02}", hours.unsigned_abs(), minutes.unsigned_abs())
    }
}

impl Moment {
    /// A time of the machine's clock, at a place.
    pub fn at(millis: UnixMillis, offset: Offset) -> Self {
        let seconds = i64::try_from(millis.0 / 1000).unwrap_or(i64::MAX);
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self(moment.checked_to_offset(offset.0).unwrap_or(moment))
    }

    /// Reads `YYYY-MM-DDTHH:MM[:SS]`, with `Z` or an offset behind it; without one it is told at `place`.
    pub fn parse(text: &str, place: Offset) -> Result<Self, MomentError> {
        let (date, clock) = text.trim().split_once(['T', ' ']).ok_or(MomentError)?;
        let (clock, offset) = match clock.find(['Z', 'z', '+', '-']) {
            Some(at) => (clock.get(..at), clock.get(at..).map(Offset::parse)),
            None => (Some(clock), None),
        };
        let offset = offset.transpose()?.unwrap_or(place);
        let (year, month, day) = match split(date, '-')?[..] {
            [year, month, day] if date.len() == 10 => (year, month, day),
            _ => return Err(MomentError),
        };
        let clock = clock.ok_or(MomentError)?;
        // Browsers write a fraction now and then; nobody needs it.
        let clock = clock.split_once('.').map_or(clock, |(whole, _)| whole);
        let (hour, minute, second) = match split(clock, ':')?[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return Err(MomentError),
        };
        let small = |n: u16| u8::try_from(n).map_err(|_| MomentError);
        let month = Month::try_from(small(month)?).map_err(|_| MomentError)?;
        let date = Date::from_calendar_date(i32::from(year), month, small(day)?).map_err(|_| MomentError)?;
        let time = Time::from_hms(small(hour)?, small(minute)?, small(second)?).map_err(|_| MomentError)?;
        if !(1850..=9999).contains(&year) {
            return Err(MomentError);
        }
        Ok(Self(PrimitiveDateTime::new(date, time).assume_offset(offset.0)))
    }

    /// The offset that stands in a text which [`parse`](Self::parse) reads, if one does.
    pub fn told_offset(text: &str) -> Option<Offset> {
        let (_, clock) = text.split_once(['T', ' '])?;
        let at = clock.find(['Z', 'z', '+', '-'])?;
        clock.get(at..).and_then(|offset| Offset::parse(offset.trim_end()).ok())
    }

    /// Where it is told.
    pub fn offset(self) -> Offset {
        Offset(self.0.offset())
    }

    /// DA, `YYYYMMDD`.
    pub fn date(self) -> String {
        format!("{:04}{:02}{:02}", self.0.year(), u8::from(self.0.month()), self.0.day())
    }

    /// TM, `HHMMSS`.
    pub fn time(self) -> String {
        let (hour, minute, second) = self.0.to_hms();
        format!("{hour:02}{minute:02}{second:02}")
    }

    /// DT, `YYYYMMDDHHMMSS+HHMM`.
    pub(crate) fn date_time(self) -> String {
        format!("{}{}{}", self.date(), self.time(), self.offset().dicom())
    }
}

impl std::fmt::Debug for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Moment(‹phi›)")
    }
}

/// Numbers of one to four ASCII digits.
fn split(text: &str, by: char) -> Result<Vec<u16>, MomentError> {
    let digits = |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    text.split(by).map(|part| part.parse().ok().filter(|_| digits(part)).ok_or(MomentError)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_where_it_was_taken() {
        let place = Offset::parse("+01:00").unwrap();
        let told = |text| Moment::parse(text, place).unwrap().date_time();
        assert_eq!(told("2026-11-22T14:05"), "20261122140500+0100");
        assert_eq!(told("2026-11-22T14:05:09Z"), "20261122140509+0000");
        assert_eq!(told("2026-11-22T14:05:09.123-05:30"), "20261122140509-0530");
        let received = Moment::at(UnixMillis(1_795_386_600_000), place);
        assert_eq!((received.date(), received.time()), ("20261122".to_owned(), "233000".to_owned()));
        let told = |text| Moment::told_offset(text).map(Offset::dicom);
        assert_eq!(told("2026-11-22T14:05-05:30").as_deref(), Some("-0530"));
        assert_eq!(told("2026-11-22T14:05"), None);
        let next_day = Moment::at(UnixMillis(1_795_386_600_000), Offset::parse("+0200").unwrap());
        assert_eq!((next_day.date(), next_day.time()), ("20261123".to_owned(), "003000".to_owned()));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "yesterday",
            "2026-11-22",
            "2026-13-22T10:00",
            "2026-11-22T24:00",
            "26-11-22T10:00",
            "2026-11-22T10:00+99:00",
            "2026-11-22T1:2:3:4",
            "2026-11-22T10:00+1",
        ] {
            assert!(Moment::parse(bad, Offset::UTC).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_moment_is_mute() {
        assert_eq!(format!("{:?}", Moment::at(UnixMillis(0), Offset::UTC)), "Moment(‹phi›)");
    }
}
