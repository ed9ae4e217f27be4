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
    io::Read,
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
    /// Rule and GDT file, or two GDT files, name different patients.
    #[error("two sources name different patients")]
    Ambiguous,
    /// A GDT file claims the image and cannot be read without doubt.
    #[error("the GDT file beside it cannot be read without doubt")]
    BadGdt,
}

impl NoPatient {
    /// For reports.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "no-patient",
            Self::Ambiguous => "ambiguous-patient",
            Self::BadGdt => "bad-gdt",
        }
    }
}

/// How to find it out.
#[derive(Debug, Clone, Default)]
pub struct Finder {
    /// Rules about file names; the first that matches counts.
    pub patterns: Vec<Pattern>,
}

impl Finder {
    /// By the name alone: an entry of an archive.
    pub fn by_name(&self, name: &str) -> Result<Patient, NoPatient> {
        self.patterns.iter().find_map(|pattern| pattern.patient(name)).ok_or(NoPatient::Unknown)
    }

    /// By the name and the GDT files beside it.
    ///
    /// A GDT file belongs to the images that share its name without extension, and to those that it names (6305).
    pub fn by_file(&self, path: &Path) -> Result<Patient, NoPatient> {
        let name = path.file_name().and_then(OsStr::to_str);
        let ruled = name.map_or(Err(NoPatient::Unknown), |name| self.by_name(name)).ok();
        let mut found = ruled;
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
    for path in gdt_files(image) {
        let stem = same_stem(&path, image);
        match read(&path) {
            Some(Ok(gdt)) if stem || names(&gdt, image) => found.push(gdt),
            Some(Err(_)) | None if stem => return Err(NoPatient::BadGdt),
            _ => {}
        }
    }
    Ok(found)
}

/// The GDT file that shares the image's name: it goes where the image goes.
pub fn companion(image: &Path) -> Option<PathBuf> {
    gdt_files(image).into_iter().find(|path| same_stem(path, image))
}

/// Whether a path is that of a GDT file.
pub fn is_gdt(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gdt"))
}

/// GDT files in the image's folder, by name.
fn gdt_files(image: &Path) -> Vec<PathBuf> {
    let Some(dir) = image.parent() else { return Vec::new() };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries
        .filter(|entry| entry.file_type().is_ok_and(|t| t.is_file()))
        .map(|entry| entry.path())
        .filter(|path| is_gdt(path))
        .take(MAX_GDT_FILES)
        .collect();
    paths.sort();
    paths
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

fn read(path: &Path) -> Option<Result<Gdt, gdt::GdtError>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(gdt::MAX_BYTES as u64 + 1).read_to_end(&mut bytes).ok()?;
    Some(Gdt::parse(&bytes))
}

/// GDT files of one folder that are looked at.
const MAX_GDT_FILES: usize = 1000;

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
}
