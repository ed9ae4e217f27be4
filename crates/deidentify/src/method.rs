//! What was done, in the words of the standard (PS3.15 §E.1, PS3.16 CID 7050).

use crate::{Choice, Options};
use leadglass_tap::{Tag, Vr};
use serde::Serialize;

/// A method code of CID 7050, coding scheme DCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Code Value.
    pub code: &'static str,
    /// Code Meaning.
    pub meaning: &'static str,
}

impl Method {
    /// The profile and the options; `pixels` says whether regions of this instance's pixels were blanked.
    pub fn of(options: &Options, pixels: bool) -> Vec<Self> {
        let method = |code, meaning| Self { code, meaning };
        let mut all = vec![method("113100", "Basic Application Confidentiality Profile")];
        if pixels || options.has(Choice::CleanPixels) {
            all.push(method("113101", "Clean Pixel Data Option"));
        }
        all.extend(options.choices().iter().filter_map(|choice| match choice {
            Choice::CleanPixels => None,
            Choice::CleanDescriptors => Some(method("113105", "Clean Descriptors Option")),
            Choice::FullDates => Some(method("113106", "Retain Longitudinal Temporal Information Full Dates Option")),
            Choice::ModifiedDates => {
                Some(method("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
            }
            Choice::PatientCharacteristics => Some(method("113108", "Retain Patient Characteristics Option")),
            Choice::DeviceIdentity => Some(method("113109", "Retain Device Identity Option")),
            Choice::Uids => Some(method("113110", "Retain UIDs Option")),
            Choice::InstitutionIdentity => Some(method("113112", "Retain Institution Identity Option")),
        }));
        all
    }
}

/// An element that is put in, or stands instead of one that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Put {
    pub(crate) tag: Tag,
    pub(crate) bytes: Vec<u8>,
}

/// The elements that say that, and how, this was de-identified; by tag.
pub(crate) fn marks(options: &Options, pixels: bool, burned_in: Option<&'static str>) -> Vec<Put> {
    let methods = Method::of(options, pixels);
    let mut sequence = Vec::new();
    sequence.extend_from_slice(&[0x12, 0, 0x64, 0, b'S', b'Q', 0, 0, 0xFF, 0xFF, 0xFF, 0xFF]);
    for method in &methods {
        sequence.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF]);
        short(&mut sequence, Tag(0x0008, 0x0100), Vr(*b"SH"), method.code);
        short(&mut sequence, Tag(0x0008, 0x0102), Vr(*b"SH"), "DCM");
        short(&mut sequence, Tag(0x0008, 0x0104), Vr(*b"LO"), method.meaning);
        sequence.extend_from_slice(&[0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0]);
    }
    sequence.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
    let dates = match () {
        () if options.has(Choice::FullDates) => "UNMODIFIED",
        () if options.has(Choice::ModifiedDates) => "MODIFIED",
        () => "REMOVED",
    };
    let put = |tag: Tag, vr: &[u8; 2], text: &str| {
        let mut bytes = Vec::new();
        short(&mut bytes, tag, Vr(*vr), text);
        Put { tag, bytes }
    };
    let mut all = vec![
        put(Tag(0x0012, 0x0062), b"CS", "YES"),
        put(Tag(0x0012, 0x0063), b"LO", METHOD),
        Put { tag: Tag(0x0012, 0x0064), bytes: sequence },
    ];
    all.extend(burned_in.map(|said| put(Tag(0x0028, 0x0301), b"CS", said)));
    all.push(put(Tag(0x0028, 0x0303), b"CS", dates));
    all
}

/// An element of Explicit VR Little Endian with a short length; the texts here are far shorter than that.
fn short(out: &mut Vec<u8>, tag: Tag, vr: Vr, text: &str) {
    let pad = text.len() % 2;
    out.extend_from_slice(&tag.0.to_le_bytes());
    out.extend_from_slice(&tag.1.to_le_bytes());
    out.extend_from_slice(&vr.0);
    out.extend_from_slice(&u16::try_from(text.len().saturating_add(pad)).unwrap_or_default().to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().saturating_add(pad), b' ');
}

/// De-identification Method.
const METHOD: &str = "LEADGLASS: DICOM PS3.15 Annex E, table 2026c";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Preset;

    #[test]
    fn each_option_has_its_code() {
        let codes = |options: &Options, pixels| Method::of(options, pixels).iter().map(|m| m.code).collect::<Vec<_>>();
        assert_eq!(codes(&Preset::Research.options(), false), ["113100", "113105", "113107"]);
        assert_eq!(codes(&Preset::Teaching.options(), true), ["113100", "113101", "113108"]);
        assert_eq!(codes(&Preset::VendorSupport.options(), false), ["113100"]);
        for method in Method::of(&Preset::Research.options(), true) {
            assert!(method.meaning.len() <= 64, "{}", method.meaning);
        }
        assert!(METHOD.len() <= 64);
    }
}
