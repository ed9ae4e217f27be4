//! What became of each instance, and how it is told (PS3.18 §10.5.3, Annex F; PS3.19 §A.1 for XML).

use super::media::Form;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use leadglass_engine::IngestError;
use leadglass_model::{Acknowledged, Fault, SeriesUid, SopClassUid, SopInstanceUid, StudyUid};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The names of an instance, as far as they were understood.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) class: Option<SopClassUid>,
    pub(super) instance: Option<SopInstanceUid>,
    pub(super) study: Option<StudyUid>,
    pub(super) series: Option<SeriesUid>,
}

/// What became of one instance.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is durable.
    Stored { names: Names, receipt: Acknowledged },
    /// It is not stored.
    Failed { names: Names, failure: Failure },
}

/// Why an instance was not stored: a Failure Reason (0008,1197) of PS3.18 §10.5.3.2 and PS3.4 Table B.2-1, with what it
/// means for the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    reason: u16,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sent again later, it may be stored.
    Busy,
    /// Longer than this node takes.
    TooLong,
    /// Sent again, it fails again.
    Refused,
}

impl Failure {
    /// The part, or what it should be, is not a DICOM instance.
    pub(super) const NOT_UNDERSTOOD: Self = Self { reason: CANNOT_UNDERSTAND, kind: Kind::Refused };
    /// The instance is of another study than the address.
    pub(super) const OTHER_STUDY: Self = Self { reason: MISMATCH, kind: Kind::Refused };
    /// It is longer than what is taken.
    pub(super) const TOO_LONG: Self = Self { reason: OUT_OF_RESOURCES, kind: Kind::TooLong };
    /// It was not tried any more.
    pub(super) const NOT_TRIED: Self = Self { reason: OUT_OF_RESOURCES, kind: Kind::Busy };
    /// The work on it ended without an answer: it may be stored, and can be sent again.
    pub(super) const LOST: Self = Self { reason: OUT_OF_RESOURCES, kind: Kind::Busy };
    /// The transfer syntax of its bulk data is none that its media type can have.
    pub(super) const BULK_SYNTAX: Self = Self { reason: SYNTAX_NOT_SUPPORTED, kind: Kind::Refused };

    /// Whether sending again later may help.
    pub(super) fn is_busy(self) -> bool {
        self.kind == Kind::Busy
    }
}

impl From<&IngestError> for Failure {
    fn from(error: &IngestError) -> Self {
        if matches!(error, IngestError::TooLong { .. }) {
            return Self::TOO_LONG;
        }
        let (reason, kind) = match error.fault() {
            Fault::BadInput => (CANNOT_UNDERSTAND, Kind::Refused),
            Fault::Denied => (NOT_AUTHORISED, Kind::Refused),
            Fault::Conflict => (MISMATCH, Kind::Refused),
            Fault::Busy => (OUT_OF_RESOURCES, Kind::Busy),
            Fault::Missing | Fault::Corrupt | Fault::Broken => (PROCESSING_FAILURE, Kind::Refused),
        };
        Self { reason, kind }
    }
}

/// All outcomes of a request, in the order in which the instances were sent.
#[derive(Debug, Default)]
pub(super) struct Report {
    outcomes: Vec<Outcome>,
}

impl Report {
    pub(super) fn push(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    /// Whether nothing was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.outcomes.is_empty()
    }

    /// Whether something was stored.
    pub(super) fn has_stored(&self) -> bool {
        self.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Stored { .. }))
    }

    /// 200 when all is stored, 202 when some is, else 503, 413 or 409 by what kept it out (PS3.18 §10.5.3.1).
    fn status(&self) -> StatusCode {
        let mut kinds = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Stored { .. } => None,
            Outcome::Failed { failure, .. } => Some(failure.kind),
        });
        match (self.has_stored(), kinds.next()) {
            (true, None) => StatusCode::OK,
            (true, Some(_)) => StatusCode::ACCEPTED,
            (false, Some(Kind::Busy)) if kinds.all(|kind| kind == Kind::Busy) => StatusCode::SERVICE_UNAVAILABLE,
            (false, Some(Kind::TooLong)) if kinds.all(|kind| kind == Kind::TooLong) => StatusCode::PAYLOAD_TOO_LARGE,
            (false, _) => StatusCode::CONFLICT,
        }
    }

    /// The answer. `root` is the address of the DICOMweb service, without a slash at its end.
    pub(super) fn answer(&self, root: &str, form: Form) -> Response {
        let status = self.status();
        let data_set = self.data_set(root);
        let (content_type, body) = match form {
            Form::Json => ("application/dicom+json", Value::Object(data_set).to_string()),
            Form::Xml => ("application/dicom+xml", xml(&data_set)),
        };
        let mut answer = (status, body).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        answer
    }

    /// The Store Instances Response Module (PS3.18 Table 10.5.3-1 and following), as DICOM JSON.
    fn data_set(&self, root: &str) -> Map<String, Value> {
        let (mut stored, mut failed, mut other) = (Vec::new(), Vec::new(), Vec::new());
        let mut studies: Vec<&StudyUid> = Vec::new();
        for outcome in &self.outcomes {
            match outcome {
                // Where it was stored it cannot be retrieved, and its UIDs may lead to another: an address is type 2.
                Outcome::Stored { names, receipt } if receipt.is_set_aside() => {
                    let mut item = reference(names);
                    item.insert(RETRIEVE_URL.0.to_owned(), json!({ "vr": "UR" }));
                    stored.push(Value::Object(item));
                }
                Outcome::Stored { names, .. } => {
                    let mut item = reference(names);
                    if let (Some(study), Some(series), Some(instance)) = (&names.study, &names.series, &names.instance)
                    {
                        let (of_study, series) = (study_url(root, study), series.expose());
                        let url = format!("{of_study}/series/{series}/instances/{}", instance.expose());
                        put(&mut item, RETRIEVE_URL, "UR", json!(url));
                        if !studies.contains(&study) && studies.len() < 2 {
                            studies.push(study);
                        }
                    }
                    stored.push(Value::Object(item));
                }
                Outcome::Failed { names, failure } => {
                    let named = names.class.is_some() && names.instance.is_some();
                    let mut item = if named { reference(names) } else { Map::new() };
                    put(&mut item, FAILURE_REASON, "US", json!(failure.reason));
                    if named { failed.push(Value::Object(item)) } else { other.push(Value::Object(item)) }
                }
            }
        }
        let mut data_set = Map::new();
        // One study has one address; of several, none can be told.
        match studies.as_slice() {
            [study] => put(&mut data_set, RETRIEVE_URL, "UR", json!(study_url(root, study))),
            _ => {
                data_set.insert(RETRIEVE_URL.0.to_owned(), json!({ "vr": "UR" }));
            }
        }
        for (tag, items) in [(FAILED, failed), (REFERENCED, stored), (OTHER_FAILURES, other)] {
            if !items.is_empty() {
                data_set.insert(tag.0.to_owned(), json!({ "vr": "SQ", "Value": items }));
            }
        }
        data_set
    }
}

fn study_url(root: &str, study: &StudyUid) -> String {
    format!("{root}/studies/{}", study.expose())
}

fn reference(names: &Names) -> Map<String, Value> {
    let mut item = Map::new();
    if let Some(class) = &names.class {
        put(&mut item, REFERENCED_CLASS, "UI", json!(class.as_str()));
    }
    if let Some(instance) = &names.instance {
        put(&mut item, REFERENCED_INSTANCE, "UI", json!(instance.expose()));
    }
    item
}

fn put(item: &mut Map<String, Value>, (tag, _): (&str, &str), vr: &str, value: Value) {
    item.insert(tag.to_owned(), json!({ "vr": vr, "Value": [value] }));
}

/// The same data set in the native DICOM model (PS3.19 §A.1.5).
fn xml(data_set: &Map<String, Value>) -> String {
    let mut out = String::from(r#"<?xml version="1.0" encoding="UTF-8"?>"#);
    out.push_str(r#"<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">"#);
    attributes(&mut out, data_set);
    out.push_str("</NativeDicomModel>");
    out
}

fn attributes(out: &mut String, data_set: &Map<String, Value>) {
    for (tag, attribute) in data_set {
        let vr = attribute["vr"].as_str().unwrap_or_default();
        let keyword = KEYWORDS.iter().find(|(known, _)| known == tag).map_or("", |(_, keyword)| keyword);
        let _ = write!(out, r#"<DicomAttribute tag="{tag}" vr="{vr}" keyword="{keyword}">"#);
        for (number, value) in (1..).zip(attribute["Value"].as_array().into_iter().flatten()) {
            match value {
                Value::Object(item) => {
                    let _ = write!(out, r#"<Item number="{number}">"#);
                    attributes(out, item);
                    out.push_str("</Item>");
                }
                Value::String(text) => {
                    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                    let _ = write!(out, r#"<Value number="{number}">{text}</Value>"#);
                }
                other => {
                    let _ = write!(out, r#"<Value number="{number}">{other}</Value>"#);
                }
            }
        }
        out.push_str("</DicomAttribute>");
    }
}

const REFERENCED_CLASS: (&str, &str) = ("00081150", "ReferencedSOPClassUID");
const REFERENCED_INSTANCE: (&str, &str) = ("00081155", "ReferencedSOPInstanceUID");
const RETRIEVE_URL: (&str, &str) = ("00081190", "RetrieveURL");
const FAILURE_REASON: (&str, &str) = ("00081197", "FailureReason");
const FAILED: (&str, &str) = ("00081198", "FailedSOPSequence");
const REFERENCED: (&str, &str) = ("00081199", "ReferencedSOPSequence");
const OTHER_FAILURES: (&str, &str) = ("0008119A", "OtherFailuresSequence");
const KEYWORDS: [(&str, &str); 7] =
    [REFERENCED_CLASS, REFERENCED_INSTANCE, RETRIEVE_URL, FAILURE_REASON, FAILED, REFERENCED, OTHER_FAILURES];

/// Processing failure (PS3.7 §C.5.19).
const PROCESSING_FAILURE: u16 = 0x0110;
/// Not authorised (PS3.7 §C.5.14).
const NOT_AUTHORISED: u16 = 0x0124;
/// Refused: out of resources (A7xx).
const OUT_OF_RESOURCES: u16 = 0xA700;
/// Error: data set does not match (A9xx).
const MISMATCH: u16 = 0xA900;
/// Error: cannot understand (Cxxx).
const CANNOT_UNDERSTAND: u16 = 0xC000;
/// Referenced transfer syntax not supported (C122).
const SYNTAX_NOT_SUPPORTED: u16 = 0xC122;

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failure: Failure, named: bool) -> Outcome {
        let mut names = Names::default();
        if named {
            names.class = SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").ok();
            names.instance = SopInstanceUid::parse("1.2.3").ok();
        }
        Outcome::Failed { names, failure }
    }

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        Report { outcomes: outcomes.into_iter().collect() }
    }

    #[test]
    fn the_status_says_what_kept_everything_out() {
        let long = Failure::from(&IngestError::TooLong { limit: 1 });
        let (busy, bad) = (Failure::NOT_TRIED, Failure::NOT_UNDERSTOOD);
        for (failures, status) in [
            (vec![busy, busy], StatusCode::SERVICE_UNAVAILABLE),
            (vec![long], StatusCode::PAYLOAD_TOO_LARGE),
            (vec![bad], StatusCode::CONFLICT),
            (vec![busy, bad], StatusCode::CONFLICT),
        ] {
            let report = report(failures.into_iter().map(|f| failed(f, true)));
            assert_eq!(report.status(), status);
        }
        let busy = report([failed(busy, true)]).answer("", Form::Json);
        assert_eq!(busy.headers()[header::RETRY_AFTER], "5");
    }

    #[test]
    fn what_is_set_aside_is_told_as_stored_and_without_an_address() {
        let stored = |receipt| {
            let names = Names {
                class: SopClassUid::parse("1.2.840.10008.5.1.4.1.1.2").ok(),
                instance: SopInstanceUid::parse("1.2.3").ok(),
                study: StudyUid::parse("1.2.3.4").ok(),
                series: SeriesUid::parse("1.2.3.5").ok(),
            };
            Outcome::Stored { names, receipt }
        };
        let receipt = Acknowledged::attest(1);
        let both = report([stored(receipt), stored(receipt.set_aside())]);
        assert_eq!(both.status(), StatusCode::OK);
        let data_set = both.data_set("https://pacs/dicomweb");
        let items = data_set["00081199"]["Value"].as_array().unwrap();
        let url = "https://pacs/dicomweb/studies/1.2.3.4/series/1.2.3.5/instances/1.2.3";
        assert_eq!(items[0]["00081190"], json!({ "vr": "UR", "Value": [url] }));
        assert_eq!(items[1]["00081190"], json!({ "vr": "UR" }));
        let alone = report([stored(receipt.set_aside())]).data_set("https://pacs/dicomweb");
        assert_eq!(alone["00081190"], json!({ "vr": "UR" }), "nor is the study's address told");
    }

    #[test]
    fn what_has_no_name_is_told_as_another_failure() {
        let report = report([failed(Failure::OTHER_STUDY, true), failed(Failure::NOT_UNDERSTOOD, false)]);
        let data_set = report.data_set("https://pacs/dicomweb");
        let expected = json!({
            "00081190": { "vr": "UR" },
            "00081198": { "vr": "SQ", "Value": [{
                "00081150": { "vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.2"] },
                "00081155": { "vr": "UI", "Value": ["1.2.3"] },
                "00081197": { "vr": "US", "Value": [0xA900] },
            }] },
            "0008119A": { "vr": "SQ", "Value": [{ "00081197": { "vr": "US", "Value": [0xC000] } }] },
        });
        assert_eq!(Value::Object(data_set.clone()), expected);
        let xml = xml(&data_set);
        let item = r#"<DicomAttribute tag="0008119A" vr="SQ" keyword="OtherFailuresSequence"><Item number="1"><DicomAttribute tag="00081197" vr="US" keyword="FailureReason"><Value number="1">49152</Value></DicomAttribute></Item></DicomAttribute>"#;
        assert!(xml.contains(item), "{xml}");
    }
}
