//! The fixtures made nameless, as others see them: judged by dciodvfy, read by pydicom, and looked through for what
//! named anybody.

#![allow(clippy::unwrap_used, reason = "the helpers of a test end where they fail, as the test does")]

mod common;

use common::{holds, job};
use leadglass_deidentify::{Deidentifier, DeidentifyError, Job, Plan, Preset};
use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};
use leadglass_tap::part10::write_head;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path, process::Command, sync::Arc};

fn fixtures() -> Vec<Value> {
    let text = fs::read(Path::new(FOLDER).join("manifest.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures");

/// A fixture as a file without names; `None` where it is refused.
fn nameless(job: &Arc<Job>, fixture: &Value) -> Option<Vec<u8>> {
    let text = |field: &str| fixture[field].as_str().unwrap();
    let bytes = fs::read(Path::new(FOLDER).join(text("file"))).unwrap();
    let data_set = &bytes[usize::try_from(fixture["data_set_offset"].as_u64().unwrap()).unwrap()..];
    let syntax = TransferSyntaxUid::parse(text("transfer_syntax")).unwrap();
    let mut deidentifier = Deidentifier::new(job.clone(), &syntax, text("patient_id"), Plan::default());
    let mut out = write_head(
        &SopClassUid::parse(text("sop_class")).unwrap(),
        &SopInstanceUid::parse(&job.uid(text("instance"))).unwrap(),
        &Deidentifier::syntax_of(&syntax),
        None,
    );
    for piece in data_set.chunks(4096) {
        match deidentifier.feed(piece, &mut out) {
            Ok(()) => {}
            Err(DeidentifyError::Refused(_)) => return None,
            Err(error) => panic!("{}: {error}", text("file")),
        }
    }
    deidentifier.finish(&mut out).unwrap();
    Some(out)
}

/// Kinds of errors that `dciodvfy` finds, without the places where.
fn errors(path: &Path) -> BTreeSet<String> {
    let said = Command::new("dciodvfy").arg("-new").arg(path).output().expect("dciodvfy: install dicom3tools");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    text.lines()
        .filter(|line| line.starts_with("Error"))
        .map(|line| line.split(" = <").next().unwrap_or(line).to_owned())
        .collect()
}

#[test]
fn nothing_that_named_a_patient_is_in_any_fixture_afterwards() {
    let job = job(Preset::Research);
    let mut refused = Vec::new();
    for fixture in fixtures() {
        let file = fixture["file"].as_str().unwrap();
        let Some(out) = nameless(&job, &fixture) else {
            refused.push(file.to_owned());
            continue;
        };
        // Beside the names: UIDs of its own, and what the recipe writes into values of every kind.
        for field in ["patient_id", "patient_name", "study", "series", "instance"] {
            let word = fixture[field].as_str().unwrap().trim_end_matches(['=', '^']);
            assert!(word.is_empty() || !holds(&out, word.as_bytes()), "{file}: its {field}");
        }
        for word in ["FIXTURE^", "CANARYACC", "CANARY LANE", "CANARYREF", "CANARY CLINIC", "CANARYSTUDY"] {
            assert!(!holds(&out, word.as_bytes()), "{file}: {word}");
        }
    }
    assert_eq!(refused, ["pdf.dcm"]);
}

#[test]
fn dciodvfy_finds_no_error_that_was_not_there_before() {
    let dir = tempfile::tempdir().unwrap();
    for preset in [Preset::Research, Preset::Teaching] {
        let job = job(preset);
        let mut found = String::new();
        for fixture in fixtures() {
            let file = fixture["file"].as_str().unwrap();
            // dciodvfy does not inflate, so it finds nothing in this one before.
            let Some(out) = nameless(&job, &fixture).filter(|_| file != "sc-deflated.dcm") else { continue };
            let path = dir.path().join(file);
            fs::write(&path, out).unwrap();
            let before = errors(&Path::new(FOLDER).join(file));
            for error in errors(&path).difference(&before) {
                found.push_str(&format!("{file}: {error}\n"));
            }
        }
        assert!(found.is_empty(), "{preset:?}\n{found}");
    }
}

/// Compares every pair of files in two folders: references resolve as before, days lie as far apart, pixels are the
/// same.
const COMPARE: &str = r#"
import sys, os, datetime, pydicom
before, after = sys.argv[1:3]
def uids(ds, found):
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                uids(item, found)
        elif element.VR == "UI" and element.value:
            values = [element.value] if isinstance(element.value, str) else element.value
            found += [(element.tag, str(value)) for value in values]
    return found
known, shifts = {}, {}
for name in sorted(os.listdir(after)):
    old, new = pydicom.dcmread(os.path.join(before, name)), pydicom.dcmread(os.path.join(after, name))
    assert new.file_meta.MediaStorageSOPInstanceUID == new.SOPInstanceUID, name
    assert new.PatientIdentityRemoved == "YES" and new.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
    if old.get("PatientID"):
        assert new.PatientID == str(new.PatientName) != old.PatientID, (name, new.PatientID, new.PatientName)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        if old.get(keyword):
            assert known.setdefault(old[keyword].value, new[keyword].value) == new[keyword].value, (name, keyword)
    made = {value for _, value in uids(new, [])}
    for tag, value in uids(old, []):
        if not value.startswith("1.2.840.10008.") and value in known:
            assert value not in made, (name, tag, value, known[value])
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        if old.get(keyword) and new.get(keyword):
            day = lambda text: datetime.datetime.strptime(text, "%Y%m%d")
            shift = (day(new[keyword].value) - day(old[keyword].value)).days
            assert shift < 0 and shifts.setdefault(old.get("PatientID"), shift) == shift, (name, keyword)
    if "PixelData" in old and old.file_meta.TransferSyntaxUID == new.file_meta.TransferSyntaxUID:
        assert len(old.PixelData) == len(new.PixelData), name
    if "PixelData" in old and "Rows" in old:
        try:
            expected = old.pixel_array
        except Exception:
            continue
        assert (expected == new.pixel_array).all(), name
references = 0
for name in sorted(os.listdir(after)):
    old, new = pydicom.dcmread(os.path.join(before, name)), pydicom.dcmread(os.path.join(after, name))
    made = {value for _, value in uids(new, [])}
    for tag, value in uids(old, []):
        if tag in (0x00081155, 0x0020000E, 0x00200052) and value in known and known[value] in made:
            references += 1
assert references > 10, references
assert not any(tag.is_private for name in os.listdir(after) for tag in pydicom.dcmread(os.path.join(after, name)).keys())
print(len(known), references)
"#;

#[test]
fn references_and_days_hold_together_and_the_pixels_are_what_they_were() {
    let (dir, job) = (tempfile::tempdir().unwrap(), job(Preset::Research));
    for fixture in fixtures() {
        let file = fixture["file"].as_str().unwrap();
        if let Some(out) = nameless(&job, &fixture) {
            fs::write(dir.path().join(file), out).unwrap();
        }
    }
    let said = Command::new(python()).args(["-W", "ignore", "-c", COMPARE, FOLDER]).arg(dir.path()).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}

/// The Python that has pydicom: `LEADGLASS_PYTHON`, this checkout's `.venv`, or `python3`.
#[allow(clippy::disallowed_methods, reason = "tests/all says which Python has the packages")]
fn python() -> std::ffi::OsString {
    if let Some(given) = std::env::var_os("LEADGLASS_PYTHON") {
        return given;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    if own.exists() { own.into() } else { "python3".into() }
}
