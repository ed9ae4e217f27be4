//! A rejection note: a Key Object Selection Document (PS3.3 A.35.4) that says which instances of a study are not to be used any
//! more, and why (PS3.16 TID 2010, CID 7010; IHE RAD TF, Imaging Object Change Management). Whoever holds copies reads it.

use crate::{
    Moment, Record,
    dataset::DataSet,
    instance::{Instance, common},
    photo::EXPLICIT_LITTLE_ENDIAN,
};
use leadglass_model::{SeriesUid, SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// Key Object Selection Document Storage (PS3.4 Table B.5-1).
pub const KEY_OBJECT_SELECTION_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.88.59";

/// Why instances are rejected: the document's title.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// They must not be seen by whoever treats the patient: they show somebody else, or never should have been made.
    PatientSafety,
    /// They were filed under the wrong order or patient, and come again under the right one.
    WrongWorklistEntry,
    /// They are no longer to be kept.
    RetentionExpired,
}

/// An instance that is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// (0020,000E).
    pub series: SeriesUid,
    /// (0008,0016).
    pub sop_class: SopClassUid,
    /// (0008,0018).
    pub instance: SopInstanceUid,
}

impl Rejection {
    /// Code value of DCM, and what it means (PS3.16 CID 7010).
    pub const fn title(self) -> (&'static str, &'static str) {
        match self {
            Self::PatientSafety => ("113037", "Rejected for Patient Safety Reasons"),
            Self::WrongWorklistEntry => ("113038", "Incorrect Modality Worklist Entry"),
            Self::RetentionExpired => ("113039", "Data Retention Policy Expired"),
        }
    }
}

/// The note, made `at` that time. `record` says whose study it is, which series and which instance the note itself becomes: a
/// fresh series, and [`Record::series`] without a body part. All that is rejected is of that study. `None` where nothing is
/// rejected, or more than [`MAX_REJECTED`] instances are.
pub fn rejection_note(record: &Record, why: Rejection, rejected: &[Rejected], at: Moment) -> Option<Instance> {
    if rejected.is_empty() || rejected.len() > MAX_REJECTED {
        return None;
    }
    let mut set = common(record, KEY_OBJECT_SELECTION_STORAGE, "KO");
    set.text(0x0008_1090, *b"LO", "Rejection note");
    // Key Object Document Series and Key Object Document (PS3.3 C.17.6).
    set.no_items(0x0008_1111);
    set.text(0x0008_0023, *b"DA", &at.date());
    set.text(0x0008_0033, *b"TM", &at.time());
    let mut evidence = DataSet::default();
    evidence.uid(0x0020_000D, record.study.uid.expose());
    evidence.items(0x0008_1115, series_of(rejected));
    set.items(0x0040_A375, [evidence]);
    // SR Document Content (PS3.3 C.17.3).
    let (code, meaning) = why.title();
    set.text(0x0040_A040, *b"CS", "CONTAINER");
    set.items(0x0040_A043, [coded(code, meaning)]);
    set.text(0x0040_A050, *b"CS", "SEPARATE");
    let mut template = DataSet::default();
    template.text(0x0008_0105, *b"CS", "DCMR");
    template.text(0x0040_DB00, *b"CS", "2010");
    set.items(0x0040_A504, [template]);
    set.items(0x0040_A730, rejected.iter().map(content));
    Some(Instance {
        sop_class: SopClassUid::parse(KEY_OBJECT_SELECTION_STORAGE).expect("a UID of the standard"),
        sop_instance: record.instance.clone(),
        transfer_syntax: TransferSyntaxUid::parse(EXPLICIT_LITTLE_ENDIAN).expect("a UID of the standard"),
        pieces: set.into_pieces(),
    })
}

/// Items of the Referenced Series Sequence: each series once, in the order in which it first comes.
fn series_of(rejected: &[Rejected]) -> Vec<DataSet> {
    let mut series: Vec<(&SeriesUid, Vec<DataSet>)> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for one in rejected {
        let place = *places.entry(one.series.expose()).or_insert(series.len());
        if place == series.len() {
            series.push((&one.series, Vec::new()));
        }
        if let Some((_, instances)) = series.get_mut(place) {
            instances.push(reference(one));
        }
    }
    let item = |(uid, instances): (&SeriesUid, Vec<DataSet>)| {
        let mut item = DataSet::default();
        item.uid(0x0020_000E, uid.expose());
        item.items(0x0008_1199, instances);
        item
    };
    series.into_iter().map(item).collect()
}

/// A content item that refers to an instance.
fn content(one: &Rejected) -> DataSet {
    let mut item = DataSet::default();
    item.text(0x0040_A010, *b"CS", "CONTAINS");
    item.text(0x0040_A040, *b"CS", value_type(one.sop_class.as_str()));
    item.items(0x0008_1199, [reference(one)]);
    item
}

fn reference(one: &Rejected) -> DataSet {
    let mut item = DataSet::default();
    item.uid(0x0008_1150, one.sop_class.as_str());
    item.uid(0x0008_1155, one.instance.expose());
    item
}

fn coded(value: &str, meaning: &str) -> DataSet {
    let mut code = DataSet::default();
    code.text(0x0008_0100, *b"SH", value);
    code.text(0x0008_0102, *b"SH", "DCM");
    code.text(0x0008_0104, *b"LO", meaning);
    code
}

/// What TID 2010 calls a reference to an instance of this class. A class that is not the standard's may be anything.
fn value_type(sop_class: &str) -> &'static str {
    let Some(storage) = sop_class.strip_prefix(STORAGE) else { return "COMPOSITE" };
    if storage.starts_with(WAVEFORMS) {
        "WAVEFORM"
    } else if FAMILIES_WITHOUT_PIXELS.iter().any(|family| storage.starts_with(family))
        || WITHOUT_PIXELS.contains(&storage)
    {
        "COMPOSITE"
    } else {
        "IMAGE"
    }
}

/// Instances of one note: some four megabytes.
pub const MAX_REJECTED: usize = 10_000;
/// Standard storage classes begin so.
const STORAGE: &str = "1.2.840.10008.5.1.4.1.1.";
const WAVEFORMS: &str = "9.";
/// Surfaces, measurements of eyes, structured documents, assessments, encapsulated documents, presentation states, protocols.
const FAMILIES_WITHOUT_PIXELS: [&str; 10] = ["68.", "78.", "79.", "80.", "81.", "88.", "90.", "104.", "11.", "200."];
/// Other classes without pixels.
const WITHOUT_PIXELS: [&str; 15] = [
    "4.2", "66", "66.1", "66.2", "66.3", "66.5", "66.6", "67", "77.1.5.3", "481.3", "481.4", "481.5", "481.6", "481.7",
    "481.8",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_says_what_it_refers_to() {
        for (class, kind) in [
            ("1.2.840.10008.5.1.4.1.1.1.1", "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.9.1.1", "WAVEFORM"),
            ("1.2.840.10008.5.1.4.1.1.104.1", "COMPOSITE"),
            ("1.2.840.10008.5.1.4.1.1.66.4", "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.481.2", "IMAGE"),
            ("1.2.840.10008.5.1.4.1.1.481.3", "COMPOSITE"),
            ("1.2.3.4", "COMPOSITE"),
        ] {
            assert_eq!(value_type(class), kind, "{class}");
        }
    }
}
