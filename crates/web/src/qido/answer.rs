//! What was found, as the caller wants it: objects with the attributes of their level and above (PS3.18 §10.6.3.3).

use super::media::Form;
use crate::{
    coding::Coding,
    dicom_json::Object,
    qido::{place::Place, xml},
    wado,
};
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use leadglass_index::{InstanceHit, SeriesHit, SeriesRow, StudyHit, StudyRow};

/// The answer with its objects. `more`: there are further results, which another page holds.
pub(crate) fn answer(form: &Asking, objects: Vec<Object>, more: bool) -> Response {
    let (kind, body) = match form.form {
        Form::Json(kind) => {
            let list: Vec<serde_json::Value> = objects.iter().map(Object::to_json).collect();
            (HeaderValue::from_static(kind), serde_json::Value::Array(list).to_string())
        }
        Form::Xml => multipart(&objects),
    };
    let packed = match form.coding {
        Some(coding) => coding.whole(body.into_bytes()).map(|body| (body, coding)),
        None => Err(body.into_bytes()),
    };
    let (mut answer, coding) = match packed {
        Ok((body, coding)) => (body.into_response(), Some(coding)),
        Err(body) => (body.into_response(), None),
    };
    let out = answer.headers_mut();
    out.insert(header::CONTENT_TYPE, kind);
    out.insert(header::VARY, HeaderValue::from_static(wado::VARY));
    if let Some(coding) = coding {
        out.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
    for warning in form.warnings.iter().chain(more.then_some(&MORE)) {
        out.append(header::WARNING, HeaderValue::from_static(warning));
    }
    answer
}

/// How an answer is wanted.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) form: Form,
    pub(crate) coding: Option<Coding>,
    /// What was not done as it was asked for (PS3.18 §8.5.2).
    pub(crate) warnings: Vec<&'static str>,
}

/// A study.
pub(crate) fn study(hit: &StudyHit, place: &Place) -> Object {
    let mut object = of_study(&hit.row);
    object.words(0x0008_0061, "CS", &hit.modalities);
    object.word(0x0008_1190, "UR", &place.study(&hit.row.uid));
    object.number(0x0020_1206, "IS", Some(hit.series));
    object.number(0x0020_1208, "IS", i64::try_from(hit.instances).ok());
    object
}

/// A series, with its study's attributes.
pub(crate) fn series(hit: &SeriesHit, place: &Place) -> Object {
    let mut object = of_series(&hit.study, &hit.row);
    object.word(0x0008_1190, "UR", &place.series(&hit.study.uid, &hit.row.uid));
    object.number(0x0020_1209, "IS", Some(hit.row.instances));
    object
}

/// An instance, with its series' and study's attributes.
pub(crate) fn instance(hit: &InstanceHit, place: &Place) -> Object {
    let row = &hit.row;
    let mut object = of_series(&hit.study, &hit.series);
    object.word(0x0008_0016, "UI", row.sop_class.as_str());
    object.word(0x0008_0018, "UI", row.sop_uid.expose());
    object.word(0x0008_1190, "UR", &place.instance(&hit.study.uid, &row.series_uid, &row.sop_uid));
    object.word(0x0008_3002, "UI", row.transfer_syntax.as_str());
    object.number(0x0020_0013, "IS", row.instance_number);
    if let Some(frames) = row.number_of_frames {
        object.number(0x0028_0008, "IS", Some(frames));
    }
    for (tag, value) in [(0x0028_0010, row.rows), (0x0028_0011, row.columns), (0x0028_0100, row.bits_allocated)] {
        if value.is_some() {
            object.number(tag, "US", value);
        }
    }
    object
}

fn of_study(row: &StudyRow) -> Object {
    let mut object = Object::default();
    object.word(0x0008_0005, "CS", "ISO_IR 192");
    object.text(0x0008_0020, "DA", row.date.as_ref());
    object.text(0x0008_0030, "TM", row.time.as_ref());
    object.text(0x0008_0050, "SH", row.accession_number.as_ref());
    object.word(0x0008_0056, "CS", "ONLINE");
    object.name(0x0008_0090, row.referring_physician.as_ref());
    if let Some(offset) = &row.timezone_offset {
        object.word(0x0008_0201, "SH", offset);
    }
    if row.description.is_some() {
        object.text(0x0008_1030, "LO", row.description.as_ref());
    }
    object.name(0x0010_0010, row.patient_name.as_ref());
    object.text(0x0010_0020, "LO", row.patient_id.as_ref());
    if row.issuer.is_some() {
        object.text(0x0010_0021, "LO", row.issuer.as_ref());
    }
    object.text(0x0010_0030, "DA", row.birth_date.as_ref());
    object.text(0x0010_0040, "CS", row.sex.as_ref());
    object.word(0x0020_000D, "UI", row.uid.expose());
    object.text(0x0020_0010, "SH", row.id.as_ref());
    object
}

fn of_series(study: &StudyRow, row: &SeriesRow) -> Object {
    let mut object = of_study(study);
    if let Some(modality) = &row.modality {
        object.word(0x0008_0060, "CS", modality);
    }
    for (tag, vr, value) in
        [(0x0008_0021, "DA", &row.date), (0x0008_0031, "TM", &row.time), (0x0008_103E, "LO", &row.description)]
    {
        if value.is_some() {
            object.text(tag, vr, value.as_ref());
        }
    }
    if let Some(part) = &row.body_part {
        object.word(0x0018_0015, "CS", part);
    }
    object.word(0x0020_000E, "UI", row.uid.expose());
    for (tag, vr, value) in [(0x0040_0244, "DA", &row.performed_date), (0x0040_0245, "TM", &row.performed_time)] {
        if value.is_some() {
            object.text(tag, vr, value.as_ref());
        }
    }
    if !row.requests.is_empty() {
        object.items(
            0x0040_0275,
            row.requests.iter().map(|request| {
                let mut item = Object::default();
                item.text(0x0040_0009, "SH", request.scheduled_step.as_ref());
                item.text(0x0040_1001, "SH", request.procedure.as_ref());
                item
            }),
        );
    }
    object.number(0x0020_0011, "IS", row.number);
    if let Some(laterality) = &row.laterality {
        object.word(0x0020_0060, "CS", laterality);
    }
    object
}

/// One part a result (RFC 2387).
fn multipart(objects: &[Object]) -> (HeaderValue, String) {
    let boundary = wado::boundary();
    let mut body = String::new();
    for object in objects {
        body.push_str(&format!("--{boundary}\r\nContent-Type: application/dicom+xml\r\n\r\n"));
        body.push_str(&xml::document(object));
        body.push_str("\r\n");
    }
    body.push_str(&format!("--{boundary}--\r\n"));
    let kind = format!("multipart/related; type=\"application/dicom+xml\"; boundary={boundary}");
    (HeaderValue::from_str(&kind).expect("made of words and digits"), body)
}

/// PS3.18 §8.3.4.4.
const MORE: &str = "299 leadglass \"There are further results: ask again with an offset, or more narrowly.\"";
