//! The files of `fixtures/` and what `manifest.json` says of them.

use crate::workspace_root;
use serde::Deserialize;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;

/// One synthetic DICOM file.
#[derive(Clone, Debug, Deserialize)]
pub struct Fixture {
    /// File name inside `fixtures/`.
    pub file: String,
    /// SOP Class UID.
    pub sop_class: String,
    /// Transfer Syntax UID the data set is encoded in.
    pub transfer_syntax: String,
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// SOP Instance UID.
    pub instance: String,
    /// Patient ID, empty when the file has none.
    pub patient_id: String,
    /// The patient's name as a person reads it, all component groups.
    pub patient_name: String,
    /// Modality.
    pub modality: String,
    /// Frames; 0 without an image.
    pub frames: u32,
    /// Where the data set starts, in bytes of the file.
    pub data_set_offset: usize,
}

impl Fixture {
    /// Every committed fixture that dcmtk and Orthanc of these days can read as well, by name: all but what is in HTJ2K.
    ///
    /// # Panics
    /// When the manifest is missing or broken.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Self::every();
        all.retain(|f| !HTJ2K.contains(&f.transfer_syntax.as_str()));
        all
    }

    /// Every committed fixture, by name.
    ///
    /// # Panics
    /// When the manifest is missing or broken.
    #[must_use]
    pub fn every() -> Vec<Self> {
        let text = fs::read_to_string(workspace_root().join("fixtures/manifest.json")).expect("the manifest is there");
        serde_json::from_str(&text).expect("the manifest is JSON of fixtures")
    }

    /// The fixture in this file.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn named(file: &str) -> Self {
        Self::every().into_iter().find(|f| f.file == file).unwrap_or_else(|| panic!("no fixture {file}"))
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        workspace_root().join("fixtures").join(&self.file)
    }

    /// The whole file.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).expect("a committed fixture is readable")
    }

    /// The data set: what a C-STORE carries.
    #[must_use]
    pub fn data_set(&self) -> Vec<u8> {
        self.bytes().split_off(self.data_set_offset)
    }

    /// A copy under other UIDs and another patient, of the same length unless it is deflated: `salt` names it.
    ///
    /// # Panics
    /// When there is nothing to rename in it.
    #[must_use]
    pub fn renamed(&self, salt: u64) -> (Self, Vec<u8>) {
        let is_deflated = self.transfer_syntax == DEFLATED;
        let mut body = if is_deflated { inflated(&self.data_set()) } else { self.data_set() };
        let mut copy = self.clone();
        let fields = [(&mut copy.study, 1u64), (&mut copy.series, 2), (&mut copy.instance, 3)];
        for (uid, role) in fields {
            let digits = uid.len() - "2.25.1".len();
            let number = format!("{:020}{:020}", salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ role, salt);
            let made = format!("2.25.1{number:0>digits$}");
            let made = format!("2.25.1{}", &made[made.len() - digits..]);
            assert_eq!(made.len(), uid.len());
            body = replaced(&body, uid.as_bytes(), made.as_bytes());
            *uid = made;
        }
        if !copy.patient_id.is_empty() {
            let made = format!("{:0>width$}", salt % 100_000, width = copy.patient_id.len());
            let made = format!("S{}", &made[made.len() + 1 - copy.patient_id.len()..]);
            body = replaced(&body, copy.patient_id.as_bytes(), made.as_bytes());
            copy.patient_id = made;
        }
        (copy, if is_deflated { deflated(&body) } else { body })
    }

    /// The same patient, another study: `Visit 0007` is its description. Of a fixture that says `Fixture ct` there.
    ///
    /// # Panics
    /// As [`Fixture::renamed`], and for one that says anything else.
    #[must_use]
    pub fn visit(&self, number: u64) -> (Self, Vec<u8>) {
        let (mut copy, body) = self.renamed(number);
        let body = replaced(&body, copy.patient_id.as_bytes(), self.patient_id.as_bytes());
        copy.patient_id.clone_from(&self.patient_id);
        let description = |text: &str| [b"\x08\x00\x30\x10LO\x0a\x00", text.as_bytes()].concat();
        let said = format!("Visit {:04}", number % 10_000);
        (copy, replaced(&body, &description("Fixture ct"), &description(&said)))
    }

    /// [`Fixture::renamed`], as a file under the fixture's own head.
    ///
    /// # Panics
    /// As [`Fixture::renamed`].
    #[must_use]
    pub fn renamed_file(&self, salt: u64) -> (Self, Vec<u8>) {
        let (copy, body) = self.renamed(salt);
        let mut head = self.bytes();
        head.truncate(self.data_set_offset);
        let head = replaced(&head, self.instance.as_bytes(), copy.instance.as_bytes());
        (copy, [head, body].concat())
    }
}

/// High-Throughput JPEG 2000: lossless, lossless with the RPCL option, and the rest (PS3.5 §A.4.4).
pub const HTJ2K: [&str; 3] = ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"];

/// Deflated Explicit VR Little Endian.
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";

fn inflated(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::DeflateDecoder::new(body).read_to_end(&mut out).expect("a deflated fixture");
    out
}

/// Of even length (PS3.5 §A.5).
fn deflated(body: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    out.write_all(body).expect("it is made in memory");
    let mut out = out.finish().expect("it is made in memory");
    out.resize(out.len().next_multiple_of(2), 0);
    out
}

/// `body` with every `old` replaced by as many bytes.
fn replaced(body: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len(), "lengths in the file must stay true");
    let mut out = body.to_vec();
    let mut at = 0;
    let mut hits = 0;
    while at + old.len() <= out.len() {
        if &out[at..at + old.len()] == old {
            out[at..at + old.len()].copy_from_slice(new);
            at += old.len();
            hits += 1;
        } else {
            at += 1;
        }
    }
    assert!(hits > 0, "nothing to replace");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_tells_where_each_data_set_starts() {
        for f in Fixture::every() {
            let bytes = f.bytes();
            assert_eq!(&bytes[128..132], b"DICM", "{}", f.file);
            assert_eq!(crate::part10::data_set(&bytes), f.data_set(), "{}", f.file);
        }
    }

    #[test]
    fn a_renamed_copy_differs_in_its_names_only() {
        let f = Fixture::named("ct-3.dcm");
        let (a, a_body) = f.renamed(1);
        let (b, b_body) = f.renamed(2);
        assert_eq!(a_body.len(), f.data_set().len());
        assert_ne!(a.instance, b.instance);
        assert_ne!(a.study, a.series);
        assert_ne!(a_body, b_body);
    }
}
