//! What the tests share: pictures made by Pillow, a record, a file head, and the validator.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use leadglass_imaging::{Instance, Laterality, Moment, Offset, Patient, Record, Series, Sex, Study, Text, fresh_uid};
use leadglass_model::{SeriesUid, SopInstanceUid, StudyUid, SystemEntropy, UnixMillis};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// Pictures in a folder that goes away.
pub struct Pictures(tempfile::TempDir);

impl Pictures {
    pub fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Command::new(python()).arg(script("make.py")).arg(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.0.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.0.path().join(name)).unwrap()
    }
}

/// The Python that has Pillow and pydicom: `LEADGLASS_PYTHON`, this checkout's `.venv`, or `python3`.
#[allow(clippy::disallowed_methods, reason = "tests/all says which Python has the packages")]
pub fn python() -> OsString {
    if let Some(given) = std::env::var_os("LEADGLASS_PYTHON") {
        return given;
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    if own.exists() { own.into() } else { "python3".into() }
}

pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(name)
}

pub fn record() -> Record {
    let offset = Offset::parse("+01:00").unwrap();
    let received = Moment::at(UnixMillis(1_795_356_000_000), offset);
    let uid = || fresh_uid(&SystemEntropy);
    Record {
        patient: Patient {
            id: Text::long("PHOTO-1").unwrap(),
            issuer: Text::default(),
            name: Text::name("Müller^Zoë").unwrap(),
            birth_date: Text::day("1984-02-29").unwrap(),
            sex: Sex::Female,
        },
        study: Study {
            uid: StudyUid::parse(&uid()).unwrap(),
            date: Text::day(&received.date()).unwrap(),
            time: Text::long(&received.time()).unwrap(),
            id: Text::default(),
            accession_number: Text::default(),
            referring_physician: Text::default(),
            description: Text::long("Rash").unwrap(),
        },
        series: Series {
            uid: SeriesUid::parse(&uid()).unwrap(),
            number: 1,
            description: Text::long("Rash").unwrap(),
            body_part: Text::code("HAND").unwrap(),
            laterality: Some(Laterality::Left),
        },
        instance: SopInstanceUid::parse(&uid()).unwrap(),
        number: 1,
        received: Some(received),
        place: Some(offset),
        taken: Some(Moment::parse("2026-11-22T14:05", offset).unwrap()),
    }
}

/// The instance as a PS3.10 file.
pub fn part10(made: &Instance) -> Vec<u8> {
    let mut meta = b"\x02\0\x01\0OB\0\0\x02\0\0\0\0\x01".to_vec();
    let uids = [
        (2, made.sop_class.as_str()),
        (3, made.sop_instance.expose()),
        (0x10, made.transfer_syntax.as_str()),
        (0x12, "2.25.1"),
    ];
    for (element, uid) in uids {
        let padded = if uid.len() % 2 == 1 { format!("{uid}\0") } else { uid.to_owned() };
        meta.extend([2, 0, element, 0]);
        meta.extend(b"UI");
        meta.extend(u16::try_from(padded.len()).unwrap().to_le_bytes());
        meta.extend(padded.bytes());
    }
    let mut file = vec![0; 128];
    file.extend(b"DICM\x02\0\0\0UL\x04\0");
    file.extend(u32::try_from(meta.len()).unwrap().to_le_bytes());
    file.extend(meta);
    file.extend(made.pieces.concat());
    file
}

/// `dciodvfy` finds no error in the file.
pub fn validate(path: &Path) {
    assert_eq!(complaints(path), Vec::<String>::new(), "{}", path.display());
}

/// The errors that `dciodvfy` finds.
pub fn complaints(path: &Path) -> Vec<String> {
    let mut validator = Command::new("dciodvfy");
    let said = validator.arg("-new").arg(path).output().expect("dciodvfy: run tests/all once, or install dicom3tools");
    let words = String::from_utf8_lossy(&said.stderr);
    assert!(KINDS.iter().any(|kind| words.contains(kind)), "{words}");
    words.lines().filter(|line| line.starts_with("Error")).map(str::to_owned).collect()
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// What `dciodvfy` calls what is made here.
const KINDS: [&str; 3] = ["VLPhotographicImage", "EncapsulatedPDF", "KeyObjectSelectionDocument"];
