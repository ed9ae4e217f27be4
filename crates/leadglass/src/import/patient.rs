//! Whose image a file is that does not say so itself: by a rule about file names, or by a GDT file beside it.
//!
//! **Invariant:** nothing is guessed. Two answers that differ are no answer.

use super::{
    gdt::{self, Gdt},
    pattern::Pattern,
};
use leadglass_model::Phi;
use std::{
    ffi::OsStr,
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

/// What an upload says about its patient.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patient {
    /// Patient ID.
    pub id: Phi<String>,
    /// `last^first` (PS3.5 §6.2.1).
    pub name: Option<Phi<String>>,
    /// YYYYMMDD.
    pub birth_date: Option<Phi<String>>,
    /// As DICOM has it.
    pub sex: Option<Sex>,
    /// What the image shows.
    pub description: Option<Phi<String>>,
    /// When it was taken, YYYYMMDD.
    pub taken_at: Option<Phi<String>>,
}

/// Patient's Sex (0010,0040).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sex {
    /// M
    Male,
    /// F
    Female,
    /// O
    Other,
}

impl Sex {
    /// The DICOM letter.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Male => "M",
            Self::Female => "F",
            Self::Other => "O",
        }
    }
}

/// Why it is not known whose image a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoPatient {
    /// Neither a rule that matches nor a GDT file.
    #[error("no file-name rule matches and no GDT file says whose it is")]
    Unknown,
    /// Two rules, rule and GDT file, or two GDT files, name different patients.
    #[error("two sources name different patients")]
    Ambiguous,
    /// A GDT file claims the image, or may do so, and cannot be read without doubt.
    #[error("a GDT file beside it cannot be read without doubt")]
    BadGdt,
    /// More GDT files than are looked through, or a folder that cannot be listed: one of them may name the image.
    #[error("the folder holds more GDT files than are looked through, or cannot be listed")]
    Crowded,
}

impl NoPatient {
    /// For reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "no-patient",
            Self::Ambiguous => "ambiguous-patient",
            Self::BadGdt => "bad-gdt",
            Self::Crowded => "crowded-folder",
        }
    }
}

/// How to find it out.
#[derive(Debug, Clone, Default)]
pub struct Finder {
    /// Rules about file names; all are asked.
    pub patterns: Vec<Pattern>,
}

impl Finder {
    /// By the name alone: an entry of an archive.
    pub fn by_name(&self, name: &str) -> Result<Patient, NoPatient> {
        let mut answers = self.patterns.iter().filter_map(|pattern| pattern.patient(name));
        let first = answers.next().ok_or(NoPatient::Unknown)?;
        answers.try_fold(first, Patient::and).ok_or(NoPatient::Ambiguous)
    }

    /// By the name and the GDT files beside it.
    ///
    /// A GDT file belongs to the images that share its name without extension, and to those that it names (6305).
    pub fn by_file(&self, path: &Path) -> Result<Patient, NoPatient> {
        let name = path.file_name().and_then(OsStr::to_str);
        let mut found = match name.map_or(Err(NoPatient::Unknown), |name| self.by_name(name)) {
            Ok(patient) => Some(patient),
            Err(NoPatient::Unknown) => None,
            Err(why) => return Err(why),
        };
        for gdt in companions(path)? {
            match &found {
                None => found = Some(gdt.patient),
                Some(known) if same(known, &gdt.patient) => {
                    // What the GDT file says comes from the practice's register.
                    let taken_at = known.taken_at.clone();
                    let description = known.description.clone();
                    found = Some(Patient { taken_at, description, ..gdt.patient });
                }
                Some(_) => return Err(NoPatient::Ambiguous),
            }
        }
        found.ok_or(NoPatient::Unknown)
    }
}

impl Patient {
    /// What two answers say together; nothing where they contradict each other.
    fn and(self, other: Self) -> Option<Self> {
        let agree = |a: &Option<Phi<String>>, b: &Option<Phi<String>>| a.is_none() || b.is_none() || a == b;
        let sex = self.sex.is_none() || other.sex.is_none() || self.sex == other.sex;
        let rest = agree(&self.description, &other.description) && agree(&self.taken_at, &other.taken_at);
        (same(&self, &other) && sex && rest).then(|| Self {
            id: self.id,
            name: self.name.or(other.name),
            birth_date: self.birth_date.or(other.birth_date),
            sex: self.sex.or(other.sex),
            description: self.description.or(other.description),
            taken_at: self.taken_at.or(other.taken_at),
        })
    }
}

/// The same id, and nothing that contradicts it.
fn same(a: &Patient, b: &Patient) -> bool {
    let agree = |a: &Option<Phi<String>>, b: &Option<Phi<String>>| match (a, b) {
        (Some(a), Some(b)) => a.expose().to_lowercase() == b.expose().to_lowercase(),
        _ => true,
    };
    a.id == b.id && agree(&a.name, &b.name) && agree(&a.birth_date, &b.birth_date)
}

/// What the GDT files say that belong to this image.
fn companions(image: &Path) -> Result<Vec<Gdt>, NoPatient> {
    let mut found = Vec::new();
    let name = image.file_name().and_then(OsStr::to_str);
    for path in gdt_files(image)? {
        let stem = same_stem(&path, image);
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            // It went away with the image that it belonged to.
            Err(error) if error.kind() == ErrorKind::NotFound && !stem => continue,
            Err(_) => return Err(NoPatient::BadGdt),
        };
        match Gdt::parse(&bytes) {
            Ok(gdt) if stem || names(&gdt, image) => found.push(gdt),
            Ok(_) => {}
            Err(_) if stem || gdt::may_name(&bytes, name) => return Err(NoPatient::BadGdt),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// The GDT file that shares the image's name: it goes where the image goes.
pub fn companion(image: &Path) -> Option<PathBuf> {
    gdt_files(image).ok()?.into_iter().find(|path| same_stem(path, image))
}

/// Whether a path is that of a GDT file.
pub fn is_gdt(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gdt"))
}

/// GDT files in the image's folder, by name: all of them, or none.
fn gdt_files(image: &Path) -> Result<Vec<PathBuf>, NoPatient> {
    let Some(dir) = image.parent() else { return Ok(Vec::new()) };
    let mut paths = Vec::new();
    for (entry, seen) in std::fs::read_dir(dir).map_err(|_| NoPatient::Crowded)?.zip(1..) {
        let path = entry.map_err(|_| NoPatient::Crowded)?.path();
        // A link is not followed, and a folder of this name is none.
        if is_gdt(&path) && path.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            paths.push(path);
        }
        if paths.len() > MAX_GDT_FILES || seen > MAX_ENTRIES {
            return Err(NoPatient::Crowded);
        }
    }
    paths.sort();
    Ok(paths)
}

fn same_stem(gdt: &Path, image: &Path) -> bool {
    match (gdt.file_stem(), image.file_stem()) {
        (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
        _ => false,
    }
}

fn names(gdt: &Gdt, image: &Path) -> bool {
    let Some(name) = image.file_name().and_then(OsStr::to_str) else { return false };
    gdt.files.iter().any(|file| file.expose().eq_ignore_ascii_case(name))
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    super::item::open_file(path)?.take(gdt::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// GDT files of one folder that are opened for one image.
const MAX_GDT_FILES: usize = 1_000;
/// Entries of one folder that are looked through for them.
const MAX_ENTRIES: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    const ANNA: &str = "0133000A-17\r\n0143101Adler\r\n0133102Anna\r\n";
    const BERT: &str = "0133000B-18\r\n0133101Berg\r\n";

    fn finder(pattern: &str) -> Finder {
        Finder { patterns: vec![pattern.parse().unwrap()] }
    }

    #[test]
    fn a_gdt_file_of_the_same_name_or_that_names_the_image_says_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("scan1.JPG");
        assert_eq!(Finder::default().by_file(&image), Err(NoPatient::Unknown));
        std::fs::write(dir.path().join("other.gdt"), ANNA).unwrap();
        assert_eq!(Finder::default().by_file(&image), Err(NoPatient::Unknown), "one beside it is not one of its own");
        std::fs::write(dir.path().join("Scan1.GDT"), ANNA).unwrap();
        assert_eq!(Finder::default().by_file(&image).unwrap().name.unwrap().expose(), "Adler^Anna");
        assert_eq!(companion(&image).unwrap(), dir.path().join("Scan1.GDT"));
        std::fs::remove_file(dir.path().join("Scan1.GDT")).unwrap();
        std::fs::write(dir.path().join("other.gdt"), format!("{ANNA}0186305scan1.jpg\r\n")).unwrap();
        assert_eq!(Finder::default().by_file(&image).unwrap().id.expose(), "A-17");
    }

    #[test]
    fn two_answers_that_differ_are_no_answer() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("B-18_x.jpg");
        std::fs::write(dir.path().join("B-18_x.gdt"), ANNA).unwrap();
        assert_eq!(finder("{patient_id}_*.jpg").by_file(&image), Err(NoPatient::Ambiguous));
        std::fs::write(dir.path().join("B-18_x.gdt"), BERT).unwrap();
        assert_eq!(finder("{patient_id}_*.jpg").by_file(&image).unwrap().name.unwrap().expose(), "Berg");
        std::fs::write(dir.path().join("B-18_x.gdt"), "garbage").unwrap();
        assert_eq!(finder("{patient_id}_*.jpg").by_file(&image), Err(NoPatient::BadGdt));
        std::fs::remove_file(dir.path().join("B-18_x.gdt")).unwrap();
        assert_eq!(finder("{patient_id}_*.jpg").by_file(&image).unwrap().id.expose(), "B-18");
    }

    #[test]
    fn all_rules_are_asked_and_those_that_differ_are_no_answer() {
        let rules = |rules: &[&str]| Finder { patterns: rules.iter().map(|rule| rule.parse().unwrap()).collect() };
        let both = rules(&["{patient_id}_*.jpg", "{patient_id}_{last}^{first}.jpg"]).by_name("B-18_Berg^Bert.jpg");
        assert_eq!(both.unwrap().name.unwrap().expose(), "Berg^Bert", "they complete each other");
        let differ = rules(&["{patient_id}_*.jpg", "*_{patient_id}.jpg"]);
        assert_eq!(differ.by_name("A-17_B-18.jpg"), Err(NoPatient::Ambiguous));
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("A-17_B-18.gdt"), ANNA).unwrap();
        let image = dir.path().join("A-17_B-18.jpg");
        assert_eq!(differ.by_file(&image), Err(NoPatient::Ambiguous), "whatever a GDT file says");
    }

    #[test]
    fn a_gdt_file_that_may_name_the_image_and_cannot_be_read_lets_it_wait() {
        let dir = tempfile::tempdir().unwrap();
        let (image, other) = (dir.path().join("B-18_x.jpg"), dir.path().join("other.gdt"));
        let ruled = || finder("{patient_id}_*.jpg").by_file(&image);
        // Readable lines without a patient: what they name is known.
        std::fs::write(&other, "0146305y.jpg\r\n").unwrap();
        assert_eq!(ruled().unwrap().id.expose(), "B-18");
        std::fs::write(&other, "0196305B-18_X.jpg\r\n").unwrap();
        assert_eq!(ruled(), Err(NoPatient::BadGdt));
        for broken in [&b"garbage"[..], &[b'\n'; gdt::MAX_BYTES + 1], b"0133000A-1"] {
            std::fs::write(&other, broken).unwrap();
            assert_eq!(ruled(), Err(NoPatient::BadGdt));
        }
    }

    #[test]
    fn more_gdt_files_than_are_opened_let_an_image_wait() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("B-18_x.jpg");
        for n in 0..=MAX_GDT_FILES {
            if n == MAX_GDT_FILES {
                assert_eq!(finder("{patient_id}_*.jpg").by_file(&image).unwrap().id.expose(), "B-18");
            }
            std::fs::write(dir.path().join(format!("{n}.gdt")), ANNA).unwrap();
        }
        assert_eq!(finder("{patient_id}_*.jpg").by_file(&image), Err(NoPatient::Crowded));
    }
}
