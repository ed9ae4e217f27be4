//! What is searched for.

use crate::{NamePattern, Pattern, QueryError, StudyRow};
use leadglass_model::{Phi, StudyRef, StudyUid};

/// A search among the studies of one tenant. Every field that is set must fit; a default query finds all.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Study Instance UID, one of these; empty: any.
    pub study_uids: Vec<StudyUid>,
    /// Patient ID.
    pub patient_id: Option<Pattern>,
    /// Issuer of Patient ID.
    pub issuer: Option<Pattern>,
    /// Patient's Name.
    pub patient_name: Option<NamePattern>,
    /// Patient's Birth Date.
    pub birth_date: Option<DateRange>,
    /// Patient's Sex.
    pub sex: Option<Pattern>,
    /// Study Date.
    pub study_date: Option<DateRange>,
    /// Accession Number.
    pub accession_number: Option<Pattern>,
    /// Study ID.
    pub study_id: Option<Pattern>,
    /// Study Description; compared without case.
    pub description: Option<NamePattern>,
    /// Referring Physician's Name.
    pub referring_physician: Option<NamePattern>,
    /// Modalities in Study, one of these; empty: any.
    pub modalities: Vec<String>,
    /// How many hits are left out, newest first.
    pub offset: usize,
    /// How many hits are wanted at most; `None`: all.
    pub limit: Option<usize>,
}

/// From a day to a day, both included; days as the number YYYYMMDD.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateRange {
    from: u32,
    to: u32,
}

/// A study that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyHit {
    /// Its random name.
    pub study_ref: StudyRef,
    /// Its row.
    pub row: StudyRow,
    /// The modalities of its series, sorted, each once.
    pub modalities: Vec<String>,
    /// How many series.
    pub series: u32,
    /// How many instances.
    pub instances: u64,
}

impl DateRange {
    /// Reads `YYYYMMDD`, `A-B`, `A-` or `-B`; `None` for an empty value, which everything matches.
    pub fn parse(text: &str) -> Result<Option<Self>, QueryError> {
        let text = text.trim_matches([' ', '\0']);
        if text.is_empty() || text == "*" {
            return Ok(None);
        }
        let day = |text: &str, open: u32| match text.trim_matches(' ') {
            "" => Ok(open),
            text => day_number(text).ok_or(QueryError::NotADate),
        };
        match text.split_once('-') {
            Some(("", "")) => Err(QueryError::NotADate),
            Some((from, to)) => Ok(Some(Self { from: day(from, 0)?, to: day(to, u32::MAX)? })),
            None => {
                let only = day_number(text).ok_or(QueryError::NotADate)?;
                Ok(Some(Self { from: only, to: only }))
            }
        }
    }

    /// Whether a date as written in a data set lies within.
    pub fn matches(&self, date: &str) -> bool {
        day_number(date).is_some_and(|day| (self.from..=self.to).contains(&day))
    }
}

// A date of birth is as telling as a name.
impl std::fmt::Debug for DateRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DateRange(‹phi›)")
    }
}

/// The names that a study is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyEntry {
    /// Its random name.
    pub study_ref: StudyRef,
    /// Its row.
    pub row: StudyRow,
}

/// `YYYYMMDD`, or `YYYY.MM.DD` as before 1993 (PS3.5 §6.2 DA), as a number.
pub(crate) fn day_number(text: &str) -> Option<u32> {
    let text = text.trim_matches([' ', '\0']);
    let digits = match text.as_bytes() {
        [y @ .., b'.', m1, m2, b'.', d1, d2] if y.len() == 4 => [y, &[*m1, *m2, *d1, *d2]].concat(),
        plain if plain.len() == 8 => plain.to_vec(),
        _ => return None,
    };
    let mut number = 0;
    for digit in digits {
        number = number * 10 + u32::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    let (month, day) = (number / 100 % 100, number % 100);
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(number)
}

/// A query's texts, given by a name: shorthand for edges that read them one by one.
impl Query {
    /// Reads a Patient ID that may hold wildcards.
    pub fn with_patient_id(mut self, value: &Phi<String>) -> Result<Self, QueryError> {
        self.patient_id = Pattern::parse(value.expose())?;
        Ok(self)
    }

    /// Reads a Patient's Name that may hold wildcards.
    pub fn with_patient_name(mut self, value: &Phi<String>) -> Result<Self, QueryError> {
        self.patient_name = NamePattern::parse(value.expose())?;
        Ok(self)
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
            ("20240101-20240131", "20240115", true),
            ("20240101-20240131", "20240101", true),
            ("20240101-20240131", "20240131", true),
            ("20240101-20240131", "20240201", false),
            ("-20240131", "19991231", true),
            ("-20240131", "20240201", false),
            ("20240101-", "20991231", true),
            ("20240101-", "20231231", false),
            ("20240101-", "", false),
            ("20240101-", "garbage", false),
        ];
        for (range, date, fits) in table {
            assert_eq!(DateRange::parse(range).unwrap().unwrap().matches(date), *fits, "{range} on {date}");
        }
        assert_eq!(DateRange::parse(" "), Ok(None));
        for bad in ["2024", "20241301", "20240132", "-", "2024013a", "20240101-x"] {
            assert_eq!(DateRange::parse(bad), Err(QueryError::NotADate), "{bad}");
        }
    }
}
