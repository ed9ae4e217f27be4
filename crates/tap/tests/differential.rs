//! The tap against pydicom, over every test file of pydicom's wheel and of `pydicom-data`: identifying attributes,
//! element counts, DICOM JSON.
//!
//! Needs `pip install pydicom pydicom-data`. Where the two differ on purpose, the reason stands in [`EXPECTED`] or beside
//! the comparison.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests may fail loudly"
)]

use base64::Engine as _;
use leadglass_tap::{BulkForm, Encoding, InstanceHeader, Limits, Part10Tap, Tapped, part10::TappedFile};
use serde_json::{Map, Value};
use std::{path::Path, process::Command};

/// Fewer files than this, and the test proves too little.
const ENOUGH: usize = 100;

/// Files that are not compared: (end of the path, why).
const EXPECTED: &[(&str, &str)] = &[
    ("MR_truncated.dcm", "breaks off; pydicom gives what there is, the tap says that it is not whole"),
    ("rtplan_truncated.dcm", "as above"),
    ("emri_small_jpeg_2k_lossless_too_short.dcm", "as above"),
    ("DICOMDIR-nooffset", "an item reaches past the end of its sequence; pydicom does not look"),
    ("no_meta.dcm", "begins with a stray byte, so that it is no DICOM; pydicom was forced"),
];

/// Attributes that are not compared: (end of the path, keyword, why).
const EXPECTED_ATTRIBUTES: &[(&str, &str, &str)] = &[
    ("badVR.dcm", "NumberOfFrames", "1A is no number"),
    ("bad_sequence.dcm", "SOPInstanceUID", "a hash with letters is no UID"),
    ("bad_sequence.dcm", "SeriesInstanceUID", "a hash with letters is no UID"),
    ("bad_sequence.dcm", "StudyInstanceUID", "a hash with letters is no UID"),
];

#[test]
fn pydicom_sees_the_same() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pydicom_walk.py");
    let python = std::env::var_os("LEADGLASS_PYTHON").unwrap_or_else(|| "python3".into());
    let run = Command::new(python).arg(&script).output().expect("python3 is needed: install Python 3");
    assert!(
        run.status.success(),
        "pydicom and pydicom-data are needed: pip install pydicom pydicom-data\n{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let mut compared = 0;
    let mut exceptions = 0;
    let mut faults = Vec::new();
    for line in String::from_utf8(run.stdout).unwrap().lines() {
        let theirs: Value = serde_json::from_str(line).unwrap();
        let path = theirs["path"].as_str().unwrap();
        let excepted = EXPECTED.iter().any(|(end, _)| path.ends_with(end));
        assert!(theirs.get("cannot").is_none(), "pydicom cannot read {path}: say why in EXPECTED");
        if excepted {
            exceptions += 1;
            continue;
        }
        compared += 1;
        let name = Path::new(path).file_name().unwrap().to_string_lossy().into_owned();
        let file = std::fs::read(path).unwrap();
        match tapped(&file, file.len()) {
            Err(error) => faults.push(format!("{name}: the tap refuses it: {error}")),
            Ok(ours) => {
                for fault in compare(&file, &ours, &theirs) {
                    faults.push(format!("{name}: {fault}"));
                }
                for piece in [1, 7, 4096] {
                    assert_eq!(tapped(&file, piece).as_ref(), Ok(&ours), "{name} in pieces of {piece}");
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} differences in {compared} files:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(exceptions, EXPECTED.len(), "an exception that no file needs hides the next fault");
    assert!(compared >= ENOUGH, "only {compared} files were compared");
}

fn tapped(file: &[u8], piece: usize) -> Result<TappedFile, leadglass_tap::part10::Part10Error> {
    let mut tap = Part10Tap::new(Limits::default());
    for piece in file.chunks(piece) {
        tap.feed(piece)?;
    }
    tap.finish()
}

fn compare(file: &[u8], ours: &TappedFile, theirs: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let path = theirs["path"].as_str().unwrap();
    let count = theirs["count"].as_u64().unwrap();
    // Of two elements with one tag pydicom counts one.
    let repeated = ours.instance.marks.repeated_elements && ours.instance.elements > count;
    if ours.instance.elements != count && !repeated {
        faults.push(format!("elements: ours {}, theirs {count}", ours.instance.elements));
    }
    for (keyword, theirs) in theirs["header"].as_object().unwrap() {
        if EXPECTED_ATTRIBUTES.iter().any(|(end, k, _)| path.ends_with(end) && k == keyword) {
            continue;
        }
        let ours = attribute(&ours.instance.header, keyword);
        let theirs = theirs.as_str().unwrap().trim_matches([' ', '\0']);
        let same = match (ours.parse::<f64>(), theirs.parse::<f64>()) {
            (Ok(a), Ok(b)) if keyword.ends_with("Number") || keyword.starts_with("NumberOf") => a == b,
            _ => ours == theirs,
        };
        if !same {
            faults.push(format!("{keyword}: ours {ours:?}, theirs {theirs:?}"));
        }
    }
    let json = ours.instance.metadata_json.as_ref().expect("the files are small");
    let json: Map<String, Value> = serde_json::from_slice(json.expose()).expect("it is JSON");
    let mut theirs = theirs["json"].clone();
    if ours.syntax.encoding == Encoding::ExplicitBe {
        little_endian(&mut theirs);
    }
    let dataset = &file[usize::try_from(ours.dataset_start).unwrap()..];
    objects(Seen { instance: &ours.instance, dataset }, &json, theirs.as_object().unwrap(), "", &mut faults);
    faults
}

/// DICOM JSON is little endian (PS3.18 §F.2.7); pydicom leaves words as they were.
fn little_endian(model: &mut Value) {
    let base64 = &base64::engine::general_purpose::STANDARD;
    for element in model.as_object_mut().unwrap().values_mut() {
        let width = match element["vr"].as_str().unwrap() {
            "OW" => 2,
            "OL" | "OF" => 4,
            "OD" | "OV" => 8,
            _ => 1,
        };
        if let Some(inline) = element.get_mut("InlineBinary") {
            let mut bytes = base64.decode(inline.as_str().unwrap()).unwrap();
            bytes.chunks_mut(width).for_each(<[u8]>::reverse);
            *inline = Value::from(base64.encode(bytes));
        }
        if element["vr"] == "SQ" {
            element["Value"].as_array_mut().into_iter().flatten().for_each(little_endian);
        }
    }
}

fn attribute(header: &InstanceHeader, keyword: &str) -> String {
    let phi = |v: &Option<leadglass_model::Phi<String>>| v.as_ref().map(|p| p.expose().clone()).unwrap_or_default();
    let number = |v: Option<u16>| v.map(|n| n.to_string()).unwrap_or_default();
    match keyword {
        "SpecificCharacterSet" => header.specific_character_set.clone().unwrap_or_default(),
        "SOPClassUID" => header.sop_class.as_ref().map(ToString::to_string).unwrap_or_default(),
        "SOPInstanceUID" => header.sop_instance_uid.as_ref().map(|u| u.expose().to_owned()).unwrap_or_default(),
        "StudyInstanceUID" => header.study_uid.as_ref().map(|u| u.expose().to_owned()).unwrap_or_default(),
        "SeriesInstanceUID" => header.series_uid.as_ref().map(|u| u.expose().to_owned()).unwrap_or_default(),
        "AccessionNumber" => phi(&header.accession_number),
        "Modality" => header.modality.clone().unwrap_or_default(),
        "InstitutionName" => phi(&header.institution_name),
        "ReferringPhysicianName" => phi(&header.referring_physician),
        "StationName" => phi(&header.station_name),
        "PatientName" => phi(&header.patient_name),
        "PatientID" => phi(&header.patient_id),
        "IssuerOfPatientID" => phi(&header.issuer_of_patient_id),
        "PatientBirthDate" => phi(&header.birth_date),
        "PatientSex" => phi(&header.sex),
        "StudyID" => phi(&header.study_id),
        "StudyDate" => phi(&header.study_date),
        "StudyTime" => phi(&header.study_time),
        "StudyDescription" => phi(&header.study_description),
        "SeriesNumber" => header.series_number.map(|n| n.to_string()).unwrap_or_default(),
        "SeriesDate" => phi(&header.series_date),
        "SeriesDescription" => phi(&header.series_description),
        "BodyPartExamined" => header.body_part.clone().unwrap_or_default(),
        "InstanceNumber" => header.instance_number.map(|n| n.to_string()).unwrap_or_default(),
        "Rows" => number(header.rows),
        "Columns" => number(header.columns),
        "SamplesPerPixel" => number(header.samples_per_pixel),
        "PhotometricInterpretation" => header.photometric_interpretation.clone().unwrap_or_default(),
        "NumberOfFrames" => header.number_of_frames.map(|n| n.to_string()).unwrap_or_default(),
        "BitsAllocated" => number(header.bits_allocated),
        other => panic!("the script says {other}, this test does not know it"),
    }
}

/// A file as the tap saw it.
#[derive(Clone, Copy)]
struct Seen<'a> {
    instance: &'a Tapped,
    dataset: &'a [u8],
}

fn objects(seen: Seen<'_>, ours: &Map<String, Value>, theirs: &Map<String, Value>, at: &str, faults: &mut Vec<String>) {
    for (tag, theirs) in theirs {
        // Group lengths and trailing padding do not belong into the model (PS3.18 Annex F); pydicom writes them.
        if tag.ends_with("0000") || tag == "FFFCFFFC" {
            continue;
        }
        match ours.get(tag) {
            Some(ours) => element(seen, ours, theirs, &format!("{at}/{tag}"), faults),
            None => faults.push(format!("{at}/{tag} is missing")),
        }
    }
    for tag in ours.keys().filter(|t| !theirs.contains_key(*t)) {
        faults.push(format!("{at}/{tag} is ours only"));
    }
}

fn element(seen: Seen<'_>, ours: &Value, theirs: &Value, at: &str, faults: &mut Vec<String>) {
    let Seen { instance, dataset } = seen;
    let (our_vr, their_vr) = (ours["vr"].as_str().unwrap(), theirs["vr"].as_str().unwrap());
    if our_vr != their_vr {
        faults.push(format!("{at}: VR {our_vr}, theirs {their_vr}"));
        return;
    }
    // pydicom could not convert the value; that the tap could is fine.
    if theirs.get("cannot").is_some() {
        return;
    }
    if our_vr == "SQ" {
        let items = |v: &Value| v.get("Value").and_then(Value::as_array).cloned().unwrap_or_default();
        let (ours, theirs) = (items(ours), items(theirs));
        if ours.len() != theirs.len() {
            faults.push(format!("{at}: {} items, theirs {}", ours.len(), theirs.len()));
        }
        for (i, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
            objects(seen, ours.as_object().unwrap(), theirs.as_object().unwrap(), &format!("{at}/{i}"), faults);
        }
        return;
    }
    // The text is UTF-8 now, and says so.
    if at.ends_with("/00080005") {
        return;
    }
    if let Some(uri) = ours.get("BulkDataURI") {
        let long = our_vr.starts_with('O') || our_vr == "UN";
        if theirs.get("BulkDataURI").is_some() {
            let value = instance.bulk.iter().find(|b| uri == b.path.as_str()).expect("each URI has its place");
            // The walk over a deflated file counts in bytes that the file does not hold.
            if value.form == BulkForm::Fragments || instance.marks.deflated {
                return;
            }
            let start = usize::try_from(value.offset).unwrap();
            let bytes = &dataset[start..start + usize::try_from(value.len).unwrap()];
            let sum: u64 = bytes.iter().map(|b| u64::from(*b)).sum();
            if theirs["BulkDataURI"] != bytes.len() || theirs["sum"] != sum {
                faults.push(format!("{at}: the bulk value lies elsewhere"));
            }
        } else if long && !at.ends_with("/7FE00010") {
            faults.push(format!("{at}: bulk, theirs is not"));
        }
        return;
    }
    if ours.get("InlineBinary") != theirs.get("InlineBinary") {
        faults.push(format!("{at}: {:?}, theirs {:?}", ours.get("InlineBinary"), theirs.get("InlineBinary")));
    }
    let values = |v: &Value| v.get("Value").and_then(Value::as_array).cloned().unwrap_or_default();
    let (ours, theirs) = (values(ours), values(theirs));
    if ours.len() != theirs.len() || !ours.iter().zip(&theirs).all(|(a, b)| same(a, b)) {
        faults.push(format!("{at} {our_vr}: {ours:?}, theirs {theirs:?}"));
    }
}

fn same(ours: &Value, theirs: &Value) -> bool {
    let float = |v: &Value| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok());
    // pydicom keeps the padding of some values, and writes an empty one as "" where Annex F wants null.
    let trimmed =
        |v: &Value| v.as_str().or(v.is_null().then_some("")).map(|s| s.trim_end_matches([' ', '\0']).to_owned());
    let text = trimmed(ours).zip(trimmed(theirs)).is_some_and(|(a, b)| a == b);
    ours == theirs || text || matches!((float(ours), float(theirs)), (Some(a), Some(b)) if a == b)
}
