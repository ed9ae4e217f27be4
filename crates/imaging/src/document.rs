//! A PDF as an Encapsulated PDF (PS3.3 A.45.1): the document as it is, up to its last end-of-file mark. What the document
//! contains is not judged; no part of it is opened.

use crate::{
    Record, UploadError,
    instance::{ENCAPSULATED_PDF_STORAGE, Instance, common},
    photo::EXPLICIT_LITTLE_ENDIAN,
};
use bytes::Bytes;
use leadglass_model::{SopClassUid, TransferSyntaxUid};

/// A PDF with a beginning and an end.
#[derive(Debug, Clone)]
pub(crate) struct Document(Bytes);

impl Document {
    /// ISO 32000-1 §7.5.2 and §7.5.5: `%PDF-` at the beginning, `%%EOF` at the end. What follows is left behind.
    pub(crate) fn parse(bytes: &Bytes) -> Result<Self, UploadError> {
        let last = bytes.windows(END.len()).rposition(|window| window == END).ok_or(UploadError::Truncated)?;
        let mut end = last + END.len();
        let line_end = bytes.get(end..).unwrap_or_default();
        end += if line_end.starts_with(b"\r\n") { 2 } else { usize::from(line_end.starts_with(b"\n")) };
        Ok(Self(bytes.slice(..end)))
    }

    pub(crate) fn into_instance(self, record: &Record) -> Instance {
        let mut set = common(record, ENCAPSULATED_PDF_STORAGE, "DOC");
        // SC Equipment: it came from a work station.
        set.text(0x0008_0064, *b"CS", "WSD");
        // Encapsulated Document: the day it was made is the sender's to say.
        set.text(0x0008_0023, *b"DA", &record.taken.map_or_else(String::new, |taken| taken.date()));
        set.text(0x0008_0033, *b"TM", &record.taken.map_or_else(String::new, |taken| taken.time()));
        set.text(0x0008_002A, *b"DT", &record.taken.map_or_else(String::new, |taken| taken.date_time()));
        set.text(0x0028_0301, *b"CS", "YES");
        set.no_items(0x0040_A043);
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        set.text(0x0042_0010, *b"ST", record.series.description.expose());
        set.bytes(0x0042_0011, self.0);
        set.text(0x0042_0012, *b"LO", "application/pdf");
        set.long_number(0x0042_0015, len);
        Instance {
            sop_class: SopClassUid::parse(ENCAPSULATED_PDF_STORAGE).expect("a UID of the standard"),
            sop_instance: record.instance.clone(),
            transfer_syntax: TransferSyntaxUid::parse(EXPLICIT_LITTLE_ENDIAN).expect("a UID of the standard"),
            pieces: set.into_pieces(),
        }
    }
}

/// The first bytes of every PDF.
pub(crate) const SIGNATURE: &[u8] = b"%PDF-";
const END: &[u8] = b"%%EOF";
