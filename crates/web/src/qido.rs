//! QIDO-RS, first floor: studies by UID, Patient ID, name, date, accession number and modality; series and instances of a
//! study (PS3.18 §10.6). Answers are DICOM JSON.

use crate::{App, Problem, app::Caller, dicom_json::Object};
use axum::{
    extract::{Path, RawQuery, State},
    http::header,
    response::{IntoResponse, Response},
};
use leadglass_engine::SearchError;
use leadglass_index::{
    DateRange, InstanceRow, NamePattern, Pattern, Query, QueryError, SeriesRow, StudyHit, StudyRow, TextPattern,
};
use leadglass_model::{Fault, Phi, SeriesUid, StudyUid};

/// `GET /studies`
pub(crate) async fn studies(
    State(app): State<App>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let query = read(query.as_deref().unwrap_or(""))?;
    let hits = app.engine.search(&permit, query).await.map_err(|e| problem(&e))?;
    Ok(answer(hits.iter().map(|hit| study_object(&hit.row, Some(hit)))))
}

/// `GET /studies/{study}/series`
pub(crate) async fn series(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let (entry, rows) = app.engine.search_series(&permit, &study).await.map_err(|e| problem(&e))?;
    Ok(answer(rows.iter().map(|row| series_object(&entry.row, row))))
}

/// `GET /studies/{study}/instances`
pub(crate) async fn instances(
    State(app): State<App>,
    caller: Caller,
    Path(study): Path<String>,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    list_instances(&app, &caller, &study, None).await
}

/// `GET /studies/{study}/series/{series}/instances`
pub(crate) async fn instances_of_series(
    State(app): State<App>,
    caller: Caller,
    Path((study, series)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let study = StudyUid::parse(&study).map_err(|_| Problem::not_found())?;
    let series = SeriesUid::parse(&series).map_err(|_| Problem::not_found())?;
    list_instances(&app, &caller, &study, Some(&series)).await
}

async fn list_instances(
    app: &App,
    caller: &Caller,
    study: &StudyUid,
    series: Option<&SeriesUid>,
) -> Result<Response, Problem> {
    let permit = caller.search()?;
    let (entry, mut rows) = app.engine.search_instances(&permit, study).await.map_err(|e| problem(&e))?;
    rows.retain(|row| series.is_none_or(|uid| row.series_uid == *uid));
    rows.sort_by(|a, b| {
        (&a.series_uid, a.instance_number, &a.sop_uid).cmp(&(&b.series_uid, b.instance_number, &b.sop_uid))
    });
    Ok(answer(rows.iter().map(|row| instance_object(&entry.row, row))))
}

/// Reads matching keys, by keyword or by tag. What QIDO knows and we do not match on yet is refused, not ignored: an
/// ignored key would answer with patients that nobody asked for.
fn read(query: &str) -> Result<Query, Problem> {
    let mut out = Query { limit: Some(MAX_RESULTS), ..Query::default() };
    for (name, value) in form_urlencoded(query).take(MAX_KEYS) {
        let refused = |error: QueryError| bad_key(&name, &error.to_string());
        match name.as_str() {
            "StudyInstanceUID" | "0020000D" => {
                for uid in value.expose().split([',', '\\']).filter(|uid| !uid.trim().is_empty()) {
                    out.study_uids.push(StudyUid::parse(uid).map_err(|e| bad_key(&name, &e.to_string()))?);
                }
            }
            "PatientID" | "00100020" => out.patient_id = Pattern::parse(value.expose()).map_err(refused)?,
            "IssuerOfPatientID" | "00100021" => out.issuer = Pattern::parse(value.expose()).map_err(refused)?,
            "PatientName" | "00100010" => out.patient_name = NamePattern::parse(value.expose()).map_err(refused)?,
            "PatientBirthDate" | "00100030" => out.birth_date = DateRange::parse(value.expose()).map_err(refused)?,
            "PatientSex" | "00100040" => out.sex = Pattern::parse(value.expose()).map_err(refused)?,
            "StudyDate" | "00080020" => out.study_date = DateRange::parse(value.expose()).map_err(refused)?,
            "AccessionNumber" | "00080050" => {
                out.accession_number = Pattern::parse(value.expose()).map_err(refused)?;
            }
            "StudyID" | "00200010" => out.study_id = Pattern::parse(value.expose()).map_err(refused)?,
            "StudyDescription" | "00081030" => out.description = TextPattern::parse(value.expose()).map_err(refused)?,
            "ReferringPhysicianName" | "00080090" => {
                out.referring_physician = NamePattern::parse(value.expose()).map_err(refused)?;
            }
            "ModalitiesInStudy" | "00080061" => {
                for modality in value.expose().split([',', '\\']) {
                    out.modalities.extend(Pattern::parse(modality).map_err(refused)?);
                }
            }
            "limit" => out.limit = Some(number(&name, &value)?.min(MAX_RESULTS)),
            "offset" => out.offset = number(&name, &value)?,
            // We give every attribute we have; names fold case and accents always.
            "includefield" | "fuzzymatching" => {}
            _ => return Err(bad_key(&name, "it is not a matching key of studies here")),
        }
    }
    Ok(out)
}

fn number(name: &str, value: &Phi<String>) -> Result<usize, Problem> {
    value.expose().parse().map_err(|_| bad_key(name, "it wants a number"))
}

fn bad_key(name: &str, why: &str) -> Problem {
    // The key's name came from the caller: only a known shape is repeated.
    let known = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_alphanumeric());
    let name = if known { name } else { "a key" };
    Problem::new(Fault::BadInput, "query", format!("The query's {name} cannot be used: {why}."))
}

/// Names and values of a query string, percent-decoded.
fn form_urlencoded(query: &str) -> impl Iterator<Item = (String, Phi<String>)> {
    url::form_urlencoded::parse(query.as_bytes()).map(|(name, value)| (name.into_owned(), Phi::new(value.into_owned())))
}

fn study_object(row: &StudyRow, hit: Option<&StudyHit>) -> Object {
    let mut object = Object::default();
    object.text(0x0008_0020, "DA", row.date.as_ref());
    object.text(0x0008_0030, "TM", row.time.as_ref());
    object.text(0x0008_0050, "SH", row.accession_number.as_ref());
    object.word(0x0008_0056, "CS", "ONLINE");
    if let Some(hit) = hit {
        object.words(0x0008_0061, "CS", &hit.modalities);
    }
    object.name(0x0008_0090, row.referring_physician.as_ref());
    if let Some(offset) = &row.timezone_offset {
        object.word(0x0008_0201, "SH", offset);
    }
    object.text(0x0008_1030, "LO", row.description.as_ref());
    object.name(0x0010_0010, row.patient_name.as_ref());
    object.text(0x0010_0020, "LO", row.patient_id.as_ref());
    object.text(0x0010_0021, "LO", row.issuer.as_ref());
    object.text(0x0010_0030, "DA", row.birth_date.as_ref());
    object.text(0x0010_0040, "CS", row.sex.as_ref());
    object.word(0x0020_000D, "UI", row.uid.expose());
    object.text(0x0020_0010, "SH", row.id.as_ref());
    if let Some(hit) = hit {
        object.number(0x0020_1206, "IS", hit.series);
        object.number(0x0020_1208, "IS", hit.instances);
    }
    object
}

fn series_object(study: &StudyRow, row: &SeriesRow) -> Object {
    let mut object = study_object(study, None);
    if let Some(modality) = &row.modality {
        object.word(0x0008_0060, "CS", modality);
    }
    object.text(0x0008_0021, "DA", row.date.as_ref());
    object.text(0x0008_0031, "TM", row.time.as_ref());
    object.text(0x0008_103E, "LO", row.description.as_ref());
    if let Some(part) = &row.body_part {
        object.word(0x0018_0015, "CS", part);
    }
    object.word(0x0020_000E, "UI", row.uid.expose());
    if let Some(number) = row.number {
        object.number(0x0020_0011, "IS", number);
    }
    if let Some(laterality) = &row.laterality {
        object.word(0x0020_0060, "CS", laterality);
    }
    object.number(0x0020_1209, "IS", row.instances);
    object
}

fn instance_object(study: &StudyRow, row: &InstanceRow) -> Object {
    let mut object = study_object(study, None);
    object.word(0x0008_0016, "UI", row.sop_class.as_str());
    object.word(0x0008_0018, "UI", row.sop_uid.expose());
    object.word(0x0008_3002, "UI", row.transfer_syntax.as_str());
    object.word(0x0020_000E, "UI", row.series_uid.expose());
    if let Some(number) = row.instance_number {
        object.number(0x0020_0013, "IS", number);
    }
    if let Some(frames) = row.number_of_frames {
        object.number(0x0028_0008, "IS", frames);
    }
    for (tag, value) in [(0x0028_0010, row.rows), (0x0028_0011, row.columns), (0x0028_0100, row.bits_allocated)] {
        if let Some(value) = value {
            object.number(tag, "US", value);
        }
    }
    object
}

fn answer(objects: impl Iterator<Item = Object>) -> Response {
    let list: Vec<serde_json::Value> = objects.map(Object::into_json).collect();
    let body = serde_json::Value::Array(list).to_string();
    ([(header::CONTENT_TYPE, "application/dicom+json")], body).into_response()
}

fn problem(error: &SearchError) -> Problem {
    match error.fault() {
        Fault::Missing => Problem::not_found(),
        fault => Problem::new(fault, "search", "The index cannot be asked now; try again in a moment."),
    }
}

/// SECURITY limits: 5,000 results.
const MAX_RESULTS: usize = 5_000;
const MAX_KEYS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_by_keyword_and_by_tag() {
        let query = read("StudyInstanceUID=1.2,1.3&00100020=A*&PatientName=M%C3%BCller&limit=5&offset=2").unwrap();
        assert_eq!(query.study_uids.len(), 2);
        assert!(query.patient_id.is_some() && query.patient_name.is_some());
        assert_eq!((query.limit, query.offset), (Some(5), 2));
    }

    #[test]
    fn a_key_that_would_be_ignored_is_refused() {
        for bad in ["Foo=1", "limit=x", "StudyInstanceUID=abc", "StudyDate=yesterday", "<script>=1"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_limit_is_never_above_ours() {
        assert_eq!(read("limit=1000000").unwrap().limit, Some(MAX_RESULTS));
        assert_eq!(read("").unwrap().limit, Some(MAX_RESULTS));
    }
}
