//! What a file is, by its first bytes; never by its name.
//!
//! Source: PS3.10 §7.1 (DICM after 128 free bytes), JFIF/EXIF start of image, PNG §5.2, RFC 9649 §2.4, PDF 32000-1 §7.5.2, APPNOTE.TXT §4.3.7.

use leadglass_model::SopInstanceUid;
use leadglass_tap::part10::{HeadReader, HeadStep, PREAMBLE};
use serde::Serialize;

/// What the first bytes show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A PS3.10 file with an instance.
    Dicom,
    /// No preamble, but file meta or a data set that begins as one does. Whoever takes it looks closer.
    Headless,
    /// A DICOMDIR: a table of contents, not an instance (PS3.10 §8.6).
    Directory,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// PDF.
    Pdf,
    /// A ZIP archive.
    Archive,
    /// Anything else.
    Other,
}

impl Kind {
    /// Of a file that begins with `first`: at least [`SNIFF_BYTES`] of it, or all.
    pub fn of(first: &[u8]) -> Self {
        if first.get(128..PREAMBLE) == Some(b"DICM") {
            return if is_directory(first) { Self::Directory } else { Self::Dicom };
        }
        match first {
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            [b'%', b'P', b'D', b'F', b'-', ..] => Self::Pdf,
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Self::Archive,
            _ if begins_as_data_set(first) => Self::Headless,
            _ => Self::Other,
        }
    }

    /// Goes in by STOW-RS.
    pub const fn is_dicom(self) -> bool {
        matches!(self, Self::Dicom | Self::Headless)
    }

    /// Goes in as an upload, once it is known whose it is.
    pub const fn needs_patient(self) -> bool {
        matches!(self, Self::Jpeg | Self::Png | Self::Webp | Self::Pdf)
    }

    /// The instance that file meta in these first bytes announces (Media Storage SOP Instance UID, PS3.10 §7.1).
    pub fn announces(self, first: &[u8]) -> Option<SopInstanceUid> {
        if !self.is_dicom() {
            return None;
        }
        match HeadReader::new().feed(first) {
            Ok(HeadStep::Done { head, .. }) => head.meta.sop_instance_uid,
            _ => None,
        }
    }

    /// Its media type (RFC 9110 §8.3.1).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Dicom | Self::Headless | Self::Directory => "application/dicom",
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Pdf => "application/pdf",
            Self::Archive | Self::Other => "application/octet-stream",
        }
    }

    /// A file name for a form: the true one may name a patient.
    pub const fn form_name(self) -> &'static str {
        match self {
            Self::Jpeg => "upload.jpg",
            Self::Png => "upload.png",
            Self::Webp => "upload.webp",
            Self::Pdf => "upload.pdf",
            _ => "upload",
        }
    }
}

/// Enough of a file to say what it is: file meta is far shorter.
pub const SNIFF_BYTES: usize = 64 * 1024;

fn is_directory(first: &[u8]) -> bool {
    match HeadReader::new().feed(first) {
        Ok(HeadStep::Done { head, .. }) => {
            head.meta.sop_class.is_some_and(|class| class.as_str() == MEDIA_STORAGE_DIRECTORY)
        }
        _ => false,
    }
}

/// File meta, or an element of group 0008 whose length a first element can have.
fn begins_as_data_set(first: &[u8]) -> bool {
    let explicit = |a: &u8, b: &u8| KNOWN_FIRST_VRS.contains(&[*a, *b]);
    match first {
        [0x02, 0x00, _, 0x00, a, b, ..] | [0x08, 0x00, _, 0x00, a, b, ..] | [0x00, 0x08, 0x00, _, a, b, ..]
            if explicit(a, b) =>
        {
            true
        }
        [0x08, 0x00, element, 0x00, length, high, 0, 0, ..] => {
            *element <= 0x18 && length % 2 == 0 && (*high == 0 || *length == 0)
        }
        _ => false,
    }
}

/// The VRs of what a data set or file meta can begin with.
const KNOWN_FIRST_VRS: [[u8; 2]; 9] = [*b"UL", *b"CS", *b"UI", *b"DA", *b"TM", *b"OB", *b"SH", *b"LO", *b"DT"];
/// PS3.10 §8.6.
const MEDIA_STORAGE_DIRECTORY: &str = "1.2.840.10008.1.3.10";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_announces_its_instance() {
        let dx = include_bytes!("../../../../fixtures/dx.dcm");
        assert!(Kind::Dicom.announces(dx).is_some());
        assert!(Kind::Jpeg.announces(dx).is_none() && Kind::Headless.announces(b"\x08\x00\x05\x00CS").is_none());
    }

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        let dx = include_bytes!("../../../../fixtures/dx.dcm");
        assert_eq!(Kind::of(dx), Kind::Dicom);
        assert_eq!(Kind::of(&dx[132..]), Kind::Headless, "file meta without a preamble");
        assert_eq!(Kind::of(b"\x08\x00\x05\x00CS\x0A\x00ISO_IR 100"), Kind::Headless);
        assert_eq!(Kind::of(b"\x08\x00\x05\x00\x0A\x00\x00\x00ISO_IR 100"), Kind::Headless);
        assert_eq!(Kind::of(&[0xFF, 0xD8, 0xFF, 0xE0, 0, 16]), Kind::Jpeg);
        assert_eq!(Kind::of(b"\x89PNG\r\n\x1a\n...."), Kind::Png);
        assert_eq!(Kind::of(b"RIFF\x1a\0\0\0WEBPVP8 "), Kind::Webp);
        assert!(Kind::Webp.needs_patient() && Kind::Webp.media_type() == "image/webp");
        assert_eq!(Kind::of(b"RIFF\x1a\0\0\0WAVEfmt "), Kind::Other);
        assert_eq!(Kind::of(b"%PDF-1.7\n"), Kind::Pdf);
        assert_eq!(Kind::of(b"PK\x03\x04...."), Kind::Archive);
        for other in [&b""[..], b"DICM", b"{\\rtf1", b"8000\r\n", &[0; 4096], b"\x08\x00\x05\x00xx\x0A\x09text"] {
            assert_eq!(Kind::of(other), Kind::Other, "{other:?}");
        }
    }
}
