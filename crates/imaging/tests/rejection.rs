//! A rejection note as others read it: judged by dciodvfy, read by pydicom.

#![allow(clippy::unwrap_used, reason = "tests may fail loudly")]

mod common;

use common::{part10, python, record, validate};
use leadglass_imaging::{MAX_REJECTED, Moment, Offset, Rejected, Rejection, rejection_note};
use leadglass_model::{SeriesUid, SopClassUid, SopInstanceUid, UnixMillis};
use std::process::Command;

/// Prints title, study, and what evidence and content refer to. Argument: the file.
const READ: &str = r#"
import sys, pydicom
note = pydicom.dcmread(sys.argv[1])
[evidence] = note.CurrentRequestedProcedureEvidenceSequence
proof = [(series.SeriesInstanceUID, item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID)
         for series in evidence.ReferencedSeriesSequence for item in series.ReferencedSOPSequence]
content = [(item.ValueType, item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in note.ContentSequence]
assert evidence.StudyInstanceUID == note.StudyInstanceUID
assert sorted(uid for _, uid in content) == sorted(uid for _, _, uid in proof)
[title] = note.ConceptNameCodeSequence
print(title.CodeValue, title.CodingSchemeDesignator, note.Modality, len(evidence.ReferencedSeriesSequence),
      *(kind for kind, _ in content))
"#;

fn rejected(series: u32, class: &str, instance: u32) -> Rejected {
    Rejected {
        series: SeriesUid::parse(&format!("1.2.3.{series}")).unwrap(),
        sop_class: SopClassUid::parse(&format!("1.2.840.10008.5.1.4.1.1.{class}")).unwrap(),
        instance: SopInstanceUid::parse(&format!("1.2.3.{series}.{instance}")).unwrap(),
    }
}

fn at() -> Moment {
    Moment::at(UnixMillis(1_795_356_000_000), Offset::UTC)
}

#[test]
fn a_note_is_a_valid_key_object_selection_and_says_what_is_rejected_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let all = [rejected(1, "1.1", 1), rejected(2, "9.1.1", 1), rejected(1, "1.1", 2), rejected(2, "104.1", 2)];
    for (why, code) in [
        (Rejection::PatientSafety, "113037"),
        (Rejection::WrongWorklistEntry, "113038"),
        (Rejection::RetentionExpired, "113039"),
    ] {
        let path = folder.path().join(code);
        std::fs::write(&path, part10(&rejection_note(&record(), why, &all, at()).unwrap())).unwrap();
        validate(&path);
        let said = Command::new(python()).arg("-c").arg(READ).arg(&path).output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said = String::from_utf8(said.stdout).unwrap();
        assert_eq!(said.trim(), format!("{code} DCM KO 2 IMAGE WAVEFORM IMAGE COMPOSITE"));
    }
}

#[test]
fn a_note_about_nothing_or_too_much_is_none() {
    assert!(rejection_note(&record(), Rejection::RetentionExpired, &[], at()).is_none());
    let many: Vec<_> = (0..=u32::try_from(MAX_REJECTED).unwrap()).map(|n| rejected(1, "2", n)).collect();
    assert!(rejection_note(&record(), Rejection::RetentionExpired, &many, at()).is_none());
    let most = rejection_note(&record(), Rejection::RetentionExpired, &many[1..], at()).unwrap();
    assert!(most.pieces.concat().len() < 5 << 20);
}
