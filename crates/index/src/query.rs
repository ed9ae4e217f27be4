//! What is searched for, and what was found.

use crate::{DateRange, InstanceRow, NamePattern, Pattern, RequestRow, SeriesRow, StudyRow, TextPattern, TimeRange};
use leadglass_model::{Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyRef, StudyUid};
use std::{collections::HashSet, sync::Arc};

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
    /// Study Date. With a range of times it is one range of moments.
    pub study_date: Option<DateRange>,
    /// Study Time.
    pub study_time: Option<TimeRange>,
    /// Accession Number.
    pub accession_number: Option<Pattern>,
    /// Study ID.
    pub study_id: Option<Pattern>,
    /// Study Description; compared without case.
    pub description: Option<TextPattern>,
    /// Referring Physician's Name.
    pub referring_physician: Option<NamePattern>,
    /// Modalities in Study, one of these; empty: any.
    pub modalities: Vec<Pattern>,
    /// Studies that this caller must not find.
    pub hidden: Arc<HashSet<StudyRef>>,
    /// How many hits are left out, newest first.
    pub offset: usize,
    /// How many hits are wanted at most; `None`: all.
    pub limit: Option<usize>,
}

/// What is asked of a series, beside its study.
#[derive(Debug, Clone, Default)]
pub struct SeriesKeys {
    /// Series Instance UID, one of these; empty: any.
    pub uids: Vec<SeriesUid>,
    /// Modality, one of these; empty: any.
    pub modality: Vec<Pattern>,
    /// Series Number.
    pub number: Option<i64>,
    /// Series Description; compared without case.
    pub description: Option<TextPattern>,
    /// Series Date. With a range of times it is one range of moments.
    pub date: Option<DateRange>,
    /// Series Time.
    pub time: Option<TimeRange>,
    /// Body Part Examined.
    pub body_part: Option<Pattern>,
    /// Laterality.
    pub laterality: Option<Pattern>,
    /// Performed Procedure Step Start Date. With a range of times it is one range of moments.
    pub performed_date: Option<DateRange>,
    /// Performed Procedure Step Start Time.
    pub performed_time: Option<TimeRange>,
    /// Scheduled Procedure Step ID of a request.
    pub scheduled_step: Option<Pattern>,
    /// Requested Procedure ID, of the same request.
    pub procedure: Option<Pattern>,
}

/// What is asked of an instance, beside its series and study.
#[derive(Debug, Clone, Default)]
pub struct InstanceKeys {
    /// SOP Instance UID, one of these; empty: any.
    pub uids: Vec<SopInstanceUid>,
    /// SOP Class UID, one of these; empty: any.
    pub sop_classes: Vec<SopClassUid>,
    /// Instance Number.
    pub number: Option<i64>,
    /// Rows.
    pub rows: Option<u16>,
    /// Columns.
    pub columns: Option<u16>,
    /// Bits Allocated.
    pub bits_allocated: Option<u16>,
    /// Number of Frames.
    pub number_of_frames: Option<u32>,
}

/// A search for series or instances; offset and limit of the study part count these.
#[derive(Debug, Clone, Default)]
pub struct DeepQuery {
    /// What their study must be.
    pub study: Query,
    /// What their series must be.
    pub series: SeriesKeys,
    /// What instances must be; not asked of series.
    pub instance: InstanceKeys,
}

/// What was found, and whether more would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    /// In order.
    pub hits: Vec<T>,
    /// The limit cut it.
    pub more: bool,
}

/// Why a search ended without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the search was stopped before it was through")]
pub struct Stopped;

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

/// A series that was found, with its study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeriesHit {
    /// Its study's random name.
    pub study_ref: StudyRef,
    /// Its study.
    pub study: Arc<StudyRow>,
    /// Its row.
    pub row: SeriesRow,
}

/// An instance that was found, with its series and study.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceHit {
    /// Its study.
    pub study: Arc<StudyRow>,
    /// Its series.
    pub series: Arc<SeriesRow>,
    /// Its row.
    pub row: InstanceRow,
}

/// The names that a study is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StudyEntry {
    /// Its random name.
    pub study_ref: StudyRef,
    /// Its row.
    pub row: StudyRow,
}

impl SeriesKeys {
    /// Whether a series fits.
    pub fn fits(&self, row: &SeriesRow) -> bool {
        let text = |value: Option<&str>, pattern: &Option<Pattern>| {
            pattern.as_ref().is_none_or(|p| p.matches(value.unwrap_or("")))
        };
        fn phi(value: &Option<Phi<String>>) -> Option<&str> {
            value.as_ref().map(|v| v.expose().as_str())
        }
        (self.uids.is_empty() || self.uids.contains(&row.uid))
            && self.number.is_none_or(|number| row.number == Some(number))
            && (self.modality.is_empty()
                || self.modality.iter().any(|p| p.matches(row.modality.as_deref().unwrap_or(""))))
            && text(row.body_part.as_deref(), &self.body_part)
            && text(row.laterality.as_deref(), &self.laterality)
            && crate::range::moment_fits(self.date, self.time, phi(&row.date), phi(&row.time))
            && crate::range::moment_fits(
                self.performed_date,
                self.performed_time,
                phi(&row.performed_date),
                phi(&row.performed_time),
            )
            && self.description.as_ref().is_none_or(|p| p.matches(phi(&row.description).unwrap_or("")))
            && self.requests_fit(row)
    }

    /// Whether one request fits all that is asked of requests (PS3.4 §C.2.2.2.6).
    fn requests_fit(&self, row: &SeriesRow) -> bool {
        if self.scheduled_step.is_none() && self.procedure.is_none() {
            return true;
        }
        let text = |value: &Option<Phi<String>>, pattern: &Option<Pattern>| {
            pattern.as_ref().is_none_or(|p| p.matches(value.as_ref().map_or("", |v| v.expose())))
        };
        let fits =
            |one: &RequestRow| text(&one.scheduled_step, &self.scheduled_step) && text(&one.procedure, &self.procedure);
        row.requests.iter().any(fits)
    }
}

impl InstanceKeys {
    /// Whether an instance fits.
    pub fn fits(&self, row: &InstanceRow) -> bool {
        fn same<T: PartialEq>(wanted: Option<T>, value: Option<T>) -> bool {
            wanted.is_none() || wanted == value
        }
        (self.uids.is_empty() || self.uids.contains(&row.sop_uid))
            && (self.sop_classes.is_empty() || self.sop_classes.contains(&row.sop_class))
            && same(self.number, row.instance_number)
            && same(self.rows, row.rows)
            && same(self.columns, row.columns)
            && same(self.bits_allocated, row.bits_allocated)
            && same(self.number_of_frames, row.number_of_frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_requests_must_fit_one_of_them() {
        let text = |text: &str| Some(Phi::new(text.to_owned())).filter(|text| !text.expose().is_empty());
        let request =
            |step: &str, procedure: &str| RequestRow { scheduled_step: text(step), procedure: text(procedure) };
        let row = SeriesRow {
            uid: SeriesUid::parse("1").unwrap(),
            modality: None,
            number: None,
            description: None,
            date: None,
            time: None,
            body_part: None,
            laterality: None,
            instances: 1,
            performed_date: text("20240102"),
            performed_time: text("1030"),
            requests: vec![request("S1", "P1"), request("S2", "")],
        };
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        for (step, procedure, fits) in [
            ("", "", true),
            ("S1", "", true),
            ("S1", "P1", true),
            ("S2", "P1", false),
            ("S?", "P*", true),
            ("S3", "", false),
        ] {
            let keys =
                SeriesKeys { scheduled_step: pattern(step), procedure: pattern(procedure), ..SeriesKeys::default() };
            assert_eq!(keys.fits(&row), fits, "{step} {procedure}");
        }
        for (date, time, fits) in
            [("20240102", "10", true), ("-20240102", "-1030", true), ("20240103-", "", false), ("", "1031-", false)]
        {
            let (performed_date, performed_time) = (DateRange::parse(date).unwrap(), TimeRange::parse(time).unwrap());
            let keys = SeriesKeys { performed_date, performed_time, ..SeriesKeys::default() };
            assert_eq!(keys.fits(&row), fits, "{date} {time}");
        }
    }
}
