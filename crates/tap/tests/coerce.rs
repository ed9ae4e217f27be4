//! What a coercer makes of every fixture, as pydicom reads it: the named attributes say the new, what they said is
//! kept, and nothing else differs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail loudly")]

use leadglass_model::Phi;
use leadglass_tap::{
    CoerceError, Coerced, CoercedBy, Coercer, Tag,
    part10::{HeadReader, HeadStep},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// ASCII, which every character set can say: longer, shorter and odder than what most fixtures have.
const NEW: &[(Tag, &str, &str)] = &[
    (Tag(0x0008, 0x0050), "AccessionNumber", "ACC-000000000123"),
    (Tag(0x0008, 0x1030), "StudyDescription", "Knee"),
    (Tag(0x0010, 0x0010), "PatientName", "Right^Name^Very^Much^"),
    (Tag(0x0010, 0x0020), "PatientID", "RIGHT-1"),
    (Tag(0x0010, 0x0021), "IssuerOfPatientID", "LEADGLASS"),
    (Tag(0x0010, 0x0030), "PatientBirthDate", "19700102"),
    (Tag(0x0010, 0x0040), "PatientSex", "O"),
];

/// Fewer fixtures than this, and the test proves too little.
const ENOUGH: usize = 30;

#[test]
fn pydicom_finds_only_what_was_named_changed() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("coerce");
    fs::create_dir_all(&out).unwrap();
    let new: serde_json::Map<_, _> =
        NEW.iter().map(|(_, keyword, value)| ((*keyword).into(), (*value).into())).collect();
    let says = out.join("new.json");
    fs::write(&says, serde_json::to_vec(&new).unwrap()).unwrap();

    let mut pairs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(fixtures).unwrap() {
        let before = entry.unwrap().path();
        if before.extension().is_none_or(|ext| ext != "dcm") {
            continue;
        }
        let file = fs::read(&before).unwrap();
        let made = coerced(&file, file.len());
        for piece in [1, 4096] {
            assert_eq!(coerced(&file, piece), made, "{} in pieces of {piece}", before.display());
        }
        match made {
            Ok(made) => {
                let after = out.join(before.file_name().unwrap());
                fs::write(&after, &made).unwrap();
                pairs.extend([before, after]);
            }
            Err(error) => assert!(
                error == CoerceError::Deflated && before.ends_with("sc-deflated.dcm"),
                "{} is refused: {error}",
                before.display()
            ),
        }
    }
    assert!(pairs.len() >= ENOUGH * 2, "only {} fixtures were compared", pairs.len() / 2);

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pydicom_coerce.py");
    let python = std::env::var_os("LEADGLASS_PYTHON").unwrap_or_else(|| "python3".into());
    let run = Command::new(python).arg(&script).arg(&says).args(&pairs).output().expect("python3 is needed");
    assert!(run.status.success(), "pydicom is needed: {}", String::from_utf8_lossy(&run.stderr));
    assert_eq!(String::from_utf8_lossy(&run.stdout), "");
}

/// A file with its data set coerced.
fn coerced(file: &[u8], piece: usize) -> Result<Vec<u8>, CoerceError> {
    let HeadStep::Done { head, .. } = HeadReader::new().feed(file).unwrap() else { panic!("no head") };
    let by = CoercedBy { at: "20260102030405+0000".into(), system: "Leadglass".into() };
    let new = NEW
        .iter()
        .map(|(tag, _, value)| Coerced::new(*tag, Phi::new((*value).to_owned())))
        .collect::<Result<_, _>>()?;
    let mut coercer = Coercer::new(head.syntax, new, by)?;
    let (head, data_set) = file.split_at(usize::try_from(head.dataset_start).unwrap());
    let mut out = head.to_vec();
    for piece in data_set.chunks(piece) {
        coercer.feed(piece, &mut out)?;
    }
    coercer.finish(&mut out)?;
    Ok(out)
}
