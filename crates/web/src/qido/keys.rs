//! The query string: matching keys by keyword or tag, paging, and what else a search may say (PS3.18 §8.3.4).
//!
//! What cannot be matched is refused, not ignored: an ignored key would answer with patients that nobody asked for. An
//! empty value matches everything, so it may stand with any attribute.

use super::attributes::{self, Level};
use crate::Problem;
use axum::http::StatusCode;
use dicom_core::dictionary::DataDictionary as _;
use dicom_dictionary_std::StandardDataDictionary;
use leadglass_index::{DateRange, DeepQuery, NamePattern, Pattern, QueryError, TextPattern, TimeRange};
use leadglass_model::{Fault, Phi, SeriesUid, SopClassUid, SopInstanceUid, StudyUid, UidError};

/// What a request asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// What must fit, and which page of it.
    pub(crate) query: DeepQuery,
    /// The media type, for those who cannot set a header (PS3.18 §8.3.3.1).
    pub(crate) accept: Option<String>,
    /// Attributes were asked for that the index does not keep for this level.
    pub(crate) left_out: bool,
    /// Matching was asked for that is not done here: of empty values, or of several values of a key that takes one.
    pub(crate) literal: bool,
}

/// Reads a query string for a search at this level.
pub(crate) fn read(level: Level, query: &str) -> Result<Asked, Problem> {
    let mut out = Asked::default();
    out.query.study.limit = Some(MAX_RESULTS);
    let (mut seen, mut universal) = (Vec::new(), Vec::new());
    let (mut limited, mut begun) = (false, false);
    let names = names(query)?;
    for (count, (name, value)) in url::form_urlencoded::parse(query.as_bytes()).enumerate() {
        if count == MAX_KEYS {
            return Err(Problem::new(Fault::BadInput, "query", "The query has too many keys."));
        }
        let value = Phi::new(value.into_owned());
        match &*name {
            "limit" if !std::mem::replace(&mut limited, true) => {
                out.query.study.limit = Some(number(&name, &value)?.min(MAX_RESULTS));
            }
            "offset" if !std::mem::replace(&mut begun, true) => out.query.study.offset = number(&name, &value)?,
            "limit" | "offset" => return Err(bad_key(&name, "it is there twice")),
            "emptyvaluematching" | "multiplevaluematching" => match value.expose().as_str() {
                "true" => out.literal = true,
                "false" | "" => {}
                _ => return Err(bad_key(&name, "it is true or false")),
            },
            // Every attribute of the level is answered; one that is kept nowhere here is left out.
            "includefield" => out.left_out |= fields(level, value.expose()).map_err(|why| bad_key(&name, why))?,
            // Read beforehand.
            "fuzzymatching" => {}
            // A plus sign that was not encoded is a blank by now.
            "accept" => out.accept = Some(value.expose().replace(' ', "+")),
            "charset" => {
                if !value.expose().eq_ignore_ascii_case("utf-8") {
                    let sentence = "Answers are in UTF-8.";
                    return Err(Problem::with_status(StatusCode::NOT_ACCEPTABLE, "not-acceptable", sentence));
                }
            }
            _ => {
                let Some(tag) = key(level, &name, &value)? else { continue };
                if seen.contains(&tag) && !MANY.contains(&tag) {
                    return Err(bad_key(&name, "it is there twice"));
                }
                seen.push(tag);
                set(&mut out.query, tag, value.expose(), names, &mut universal).map_err(|why| bad_key(&name, &why))?;
            }
        }
    }
    Ok(out)
}

/// How names are matched, wherever the query says so (PS3.18 §8.3.4.2). Case and accents never count.
fn names(query: &str) -> Result<Names, Problem> {
    let mut names: Names = NamePattern::parse;
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match (&*name, &*value) {
            ("fuzzymatching", "true") => names = NamePattern::parse_nearly,
            ("fuzzymatching", "false" | "") => names = NamePattern::parse,
            ("fuzzymatching", _) => return Err(bad_key("fuzzymatching", "it is true or false")),
            _ => {}
        }
    }
    Ok(names)
}

type Names = fn(&str) -> Result<Option<NamePattern>, QueryError>;

/// The tag of a matching key; `None` when its value matches everything.
fn key(level: Level, name: &str, value: &Phi<String>) -> Result<Option<u32>, Problem> {
    let empty = value.expose().trim().is_empty();
    if name.contains('.') {
        return match attributes::find_inside(name) {
            Some(_) if empty => Ok(None),
            Some(tag) if level >= Level::Series => Ok(Some(tag)),
            Some(_) => Err(bad_key(name, "it belongs to series: ask /series or /instances")),
            None => Err(bad_key(name, "this attribute of a sequence is not matched here")),
        };
    }
    if name.contains(',') {
        return Err(bad_key(name, "a tag is eight hexadecimal digits without a comma"));
    }
    let known = attributes::find(name);
    match known.map(|known| (known.tag, known.key)) {
        _ if empty && (known.is_some() || attributes::tag(name).is_some() || is_keyword(name)) => Ok(None),
        Some((tag, Some(at))) if at <= level => Ok(Some(tag)),
        Some((_, Some(Level::Series))) => Err(bad_key(name, "it belongs to series: ask /series or /instances")),
        Some((_, Some(_))) => Err(bad_key(name, "it belongs to instances: ask /instances")),
        Some((_, None)) => Err(bad_key(name, "it is not matched here")),
        None => Err(bad_key(name, "it is not a matching key here")),
    }
}

/// Sets one condition. The error says what is wrong and never repeats the value. `universal` are the keys of which one
/// piece matches everything, so that all of it does.
fn set(query: &mut DeepQuery, tag: u32, value: &str, names: Names, universal: &mut Vec<u32>) -> Result<(), String> {
    let bad = |error: QueryError| error.to_string();
    let (study, series, instance) = (&mut query.study, &mut query.series, &mut query.instance);
    match tag {
        0x0020_000D => uids(value, StudyUid::parse, &mut study.study_uids)?,
        0x0010_0010 => study.patient_name = names(value).map_err(bad)?,
        0x0010_0020 => study.patient_id = Pattern::parse(value).map_err(bad)?,
        0x0010_0021 => study.issuer = Pattern::parse(value).map_err(bad)?,
        0x0010_0030 => study.birth_date = DateRange::parse(value).map_err(bad)?,
        0x0010_0040 => study.sex = Pattern::parse(value).map_err(bad)?,
        0x0008_0020 => study.study_date = DateRange::parse(value).map_err(bad)?,
        0x0008_0030 => study.study_time = TimeRange::parse(value).map_err(bad)?,
        0x0008_0050 => study.accession_number = Pattern::parse(value).map_err(bad)?,
        0x0020_0010 => study.study_id = Pattern::parse(value).map_err(bad)?,
        0x0008_1030 => study.description = TextPattern::parse(value).map_err(bad)?,
        0x0008_0090 => study.referring_physician = names(value).map_err(bad)?,
        0x0008_0061 => codes(value, &mut study.modalities, tag, universal)?,
        0x0020_000E => uids(value, SeriesUid::parse, &mut series.uids)?,
        0x0008_0060 => codes(value, &mut series.modality, tag, universal)?,
        0x0020_0011 => series.number = Some(integer(value)?),
        0x0008_103E => series.description = TextPattern::parse(value).map_err(bad)?,
        0x0008_0021 => series.date = DateRange::parse(value).map_err(bad)?,
        0x0008_0031 => series.time = TimeRange::parse(value).map_err(bad)?,
        0x0018_0015 => series.body_part = Pattern::parse(value).map_err(bad)?,
        0x0020_0060 => series.laterality = Pattern::parse(value).map_err(bad)?,
        0x0040_0244 => series.performed_date = DateRange::parse(value).map_err(bad)?,
        0x0040_0245 => series.performed_time = TimeRange::parse(value).map_err(bad)?,
        0x0040_0009 => series.scheduled_step = Pattern::parse(value).map_err(bad)?,
        0x0040_1001 => series.procedure = Pattern::parse(value).map_err(bad)?,
        0x0008_0018 => uids(value, SopInstanceUid::parse, &mut instance.uids)?,
        0x0008_0016 => uids(value, SopClassUid::parse, &mut instance.sop_classes)?,
        0x0020_0013 => instance.number = Some(integer(value)?),
        0x0028_0008 => instance.number_of_frames = Some(integer(value)?),
        0x0028_0010 => instance.rows = Some(integer(value)?),
        0x0028_0011 => instance.columns = Some(integer(value)?),
        0x0028_0100 => instance.bits_allocated = Some(integer(value)?),
        _ => return Err("it is not matched here".to_owned()),
    }
    Ok(())
}

/// A list, separated by commas or backslashes (PS3.18 §8.3.4.1).
fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', '\\']).map(str::trim).filter(|one| !one.is_empty())
}

fn uids<T>(value: &str, parse: fn(&str) -> Result<T, UidError>, out: &mut Vec<T>) -> Result<(), String> {
    for uid in list(value) {
        if out.len() == MAX_UIDS {
            return Err(format!("it names more than {MAX_UIDS} UIDs"));
        }
        out.push(parse(uid).map_err(|error| error.to_string())?);
    }
    if out.is_empty() { Err("it names no UID".to_owned()) } else { Ok(()) }
}

/// A list of which each piece adds more matches: one that matches everything makes the others idle, before and after it.
fn codes(value: &str, out: &mut Vec<Pattern>, tag: u32, universal: &mut Vec<u32>) -> Result<(), String> {
    let mut is_empty = true;
    for code in list(value) {
        is_empty = false;
        match Pattern::parse(code).map_err(|error: QueryError| error.to_string())? {
            Some(_) if out.len() == MAX_CODES => return Err(format!("it names more than {MAX_CODES} codes")),
            Some(pattern) => out.push(pattern),
            None => universal.push(tag),
        }
    }
    if universal.contains(&tag) {
        out.clear();
    }
    if is_empty { Err("it names no code".to_owned()) } else { Ok(()) }
}

/// Attributes that are asked for beside the rows: each by a tag, a keyword of the standard, or a path of those through
/// sequences (PS3.18 §8.3.4.3). Whether one of them is not answered.
fn fields(level: Level, value: &str) -> Result<bool, &'static str> {
    let is_attribute = |name: &str| attributes::tag(name).is_some() || StandardDataDictionary.by_name(name).is_some();
    let mut left_out = false;
    for field in list(value).filter(|field| *field != "all") {
        if !field.split('.').all(is_attribute) {
            return Err("it names an attribute that the standard does not have");
        }
        let first = field.split('.').next().unwrap_or_default();
        left_out |= !attributes::find(first).is_some_and(|known| known.is_told(level));
    }
    Ok(left_out)
}

fn integer<T: std::str::FromStr>(value: &str) -> Result<T, String> {
    value.trim().parse().map_err(|_| "it wants a number".to_owned())
}

fn number(name: &str, value: &Phi<String>) -> Result<usize, Problem> {
    value.expose().parse().map_err(|_| bad_key(name, "it wants a number"))
}

fn is_keyword(name: &str) -> bool {
    name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn bad_key(name: &str, why: &str) -> Problem {
    // The key's name came from the caller: only a known shape is repeated.
    let known = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let which = if known { format!("The query's {name}") } else { "A key of the query".to_owned() };
    Problem::new(Fault::BadInput, "query", format!("{which} cannot be used: {why}."))
}

/// Results of one answer at most; the others are on the next pages.
pub(crate) const MAX_RESULTS: usize = 5_000;
const MAX_KEYS: usize = 64;
const MAX_UIDS: usize = 1_000;
const MAX_CODES: usize = 64;
/// Lists that may be given in pieces.
const MANY: [u32; 6] = [0x0020_000D, 0x0020_000E, 0x0008_0018, 0x0008_0016, 0x0008_0061, 0x0008_0060];

#[cfg(test)]
mod tests {
    use super::*;

    fn study(query: &str) -> leadglass_index::Query {
        read(Level::Study, query).unwrap().query.study
    }

    #[test]
    fn keys_are_read_by_keyword_and_by_tag() {
        let query = study("StudyInstanceUID=1.2,1.3%5C1.4&00100020=A*&PatientName=M%C3%BCller&limit=5&offset=2");
        assert_eq!(query.study_uids.len(), 3);
        assert!(query.patient_id.is_some() && query.patient_name.is_some());
        assert_eq!((query.limit, query.offset), (Some(5), 2));
        assert_eq!(study("0020000D=1.2&0020000d=1.3").study_uids.len(), 2);
        let deep = read(Level::Instance, "Modality=CT,MR&SOPInstanceUID=1.5&Rows=512&00200011=-1").unwrap().query;
        assert_eq!((deep.series.modality.len(), deep.instance.uids.len()), (2, 1));
        assert_eq!((deep.instance.rows, deep.series.number), (Some(512), Some(-1)));
    }

    #[test]
    fn what_viewers_ask_is_understood() {
        for query in [
            "limit=101&offset=0&fuzzymatching=false&includefield=00081030%2C00080060",
            "PatientName=*KIM*&limit=101&offset=0&fuzzymatching=true&includefield=00081030",
            "00100020=*PCT1*&limit=101",
            "StudyDescription=*CT%20st*&AccessionNumber=*Act1*",
            "ModalitiesInStudy=CT%2CDX&StudyDate=20200101-20251231",
            "includefield=all",
            "emptyvaluematching=false&multiplevaluematching=true&limit=5&offset=5",
            "includefield=StudyDescription&includefield=00081030&includefield=00400275.00400009",
            "StudyDate=20200101-&StudyTime=0800-1200&PatientBirthDate=-19700101",
            "includefield=&includefield=all,00091001,0040A730.0040A168.CodeValue,PixelSpacing",
            "PatientComments=&SomethingElse=&00091001=",
        ] {
            assert!(read(Level::Study, query).is_ok(), "{query}");
        }
    }

    #[test]
    fn an_empty_value_or_a_star_asks_for_nothing() {
        let query =
            study("PatientName=&PatientID=*&StudyDate=&ModalitiesInStudy=*&StudyInstanceUID=&AccessionNumber=%20");
        assert!(query.patient_name.is_none() && query.patient_id.is_none() && query.study_date.is_none());
        assert!(query.modalities.is_empty() && query.study_uids.is_empty() && query.accession_number.is_none());
    }

    #[test]
    fn a_key_that_would_be_ignored_is_refused() {
        for bad in [
            "Foo=1",
            "foo=",
            "limit=x",
            "limit=-1",
            "offset=1e3",
            "StudyInstanceUID=abc",
            "StudyInstanceUID=,",
            "ModalitiesInStudy=,",
            "ModalitiesInStudy=CT&ModalitiesInStudy=%5C,",
            "includefield=NoSuchAttribute",
            "includefield=StudyDescription,patientname",
            "includefield=0008103",
            "includefield=0008,1030",
            "includefield=RequestAttributesSequence.Nothing",
            "includefield=RequestAttributesSequence.",
            "includefield=<script>",
            "StudyDate=yesterday",
            "StudyTime=25",
            "<script>=1",
            "Modality=CT",
            "SeriesInstanceUID=1.2",
            "SOPInstanceUID=1.2",
            "0020,000D=1.2",
            "0020%2C000D=1.2",
            "RequestAttributesSequence.ScheduledProcedureStepID=1",
            "00400275.00400009=1",
            "SOPClassesInStudy=1.2",
            "PatientID=A&PatientID=B",
            "PatientID=A&00100020=B",
            "PatientName=a*b*c*d*e*f*g*h*i*",
            "fuzzymatching=maybe",
            "emptyvaluematching=1",
            "limit=5&limit=6",
            "offset=5&offset=5",
            "charset=latin1",
        ] {
            assert!(read(Level::Study, bad).is_err(), "{bad}");
        }
        assert!(read(Level::Series, "Modality=CT").is_ok());
        assert!(read(Level::Series, "00400275.00080050=1").is_err());
        assert!(read(Level::Series, "ScheduledProcedureStepID=1").is_err());
        let series = read(
            Level::Series,
            "RequestAttributesSequence.ScheduledProcedureStepID=S1&00400275.00401001=P*&PerformedProcedureStepStartDate=20240101-\
             &00400245=10",
        );
        let series = series.unwrap().query.series;
        assert!(series.scheduled_step.is_some() && series.procedure.is_some());
        assert!(series.performed_date.is_some() && series.performed_time.is_some());
        assert!(read(Level::Study, "00400275.00400009=").is_ok(), "an empty value may stand with any attribute");
        assert!(read(Level::Series, "Rows=512").is_err());
        assert!(read(Level::Instance, "Rows=70000").is_err());
        assert!(read(Level::Study, &"PatientID=&".repeat(65)).is_err());
        assert!(read(Level::Study, &format!("StudyInstanceUID={}", "1.2,".repeat(1001))).is_err());
    }

    #[test]
    fn more_codes_than_are_matched_are_refused_and_none_is_dropped() {
        let codes = |count: usize| format!("ModalitiesInStudy={}", vec!["CT"; count].join(","));
        assert_eq!(study(&codes(MAX_CODES)).modalities.len(), MAX_CODES);
        assert!(read(Level::Study, &codes(MAX_CODES + 1)).is_err());
        assert!(read(Level::Study, &format!("{}&{}", codes(MAX_CODES), codes(1))).is_err(), "in pieces");
    }

    #[test]
    fn a_list_of_which_one_piece_matches_everything_matches_everything() {
        for query in
            ["Modality=CT&Modality=*", "Modality=*&Modality=CT", "Modality=CT,*", "Modality=CT&00080060=MR%5C*"]
        {
            assert!(read(Level::Series, query).unwrap().query.series.modality.is_empty(), "{query}");
        }
        let both = read(Level::Series, "Modality=*&ModalitiesInStudy=CT").unwrap().query;
        assert_eq!((both.series.modality.len(), both.study.modalities.len()), (0, 1), "the one key and not the other");
    }

    #[test]
    fn what_is_asked_for_and_not_kept_is_said_to_be_left_out() {
        for (level, query, left_out) in [
            (Level::Study, "includefield=all", false),
            (Level::Study, "includefield=StudyDescription,00080061", false),
            (Level::Study, "includefield=Modality", true),
            (Level::Series, "includefield=Modality,NumberOfSeriesRelatedInstances", false),
            (Level::Series, "includefield=PixelSpacing", true),
            (Level::Instance, "includefield=AvailableTransferSyntaxUID&includefield=00280010", false),
            (Level::Instance, "includefield=00091001", true),
            (Level::Instance, "includefield=0040A730.0040A168.CodeValue", true),
        ] {
            assert_eq!(read(level, query).unwrap().left_out, left_out, "{query}");
        }
    }

    #[test]
    fn names_are_matched_nearly_wherever_the_query_says_so() {
        for (query, fits) in [
            ("PatientName=Jane+Do&fuzzymatching=true", true),
            ("fuzzymatching=true&00100010=jane", true),
            ("PatientName=Jane+Do", false),
            ("PatientName=Jane+Do&fuzzymatching=false", false),
        ] {
            assert_eq!(study(query).patient_name.unwrap().matches("Doe^Jane"), fits, "{query}");
        }
    }

    #[test]
    fn the_limit_is_never_above_ours() {
        assert_eq!(study("limit=1000000").limit, Some(MAX_RESULTS));
        assert_eq!(study("").limit, Some(MAX_RESULTS));
    }
}
