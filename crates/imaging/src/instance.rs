//! An instance that was made, and the modules that photo and document share.

use crate::{Record, dataset::DataSet};
use bytes::Bytes;
use leadglass_model::{SopClassUid, SopInstanceUid, TransferSyntaxUid};

/// VL Photographic Image Storage (PS3.4 Table B.5-1).
pub const VL_PHOTOGRAPHIC_IMAGE_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.77.1.4";
/// Encapsulated PDF Storage (PS3.4 Table B.5-1).
pub const ENCAPSULATED_PDF_STORAGE: &str = "1.2.840.10008.5.1.4.1.1.104.1";

/// A data set without file meta, as C-STORE sends one.
#[derive(Clone)]
pub struct Instance {
    /// (0008,0016).
    pub sop_class: SopClassUid,
    /// (0008,0018).
    pub sop_instance: SopInstanceUid,
    /// How the data set is encoded.
    pub transfer_syntax: TransferSyntaxUid,
    /// The data set.
    pub pieces: Vec<Bytes>,
}

// It holds a patient.
impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance")
            .field("sop_class", &self.sop_class)
            .field("transfer_syntax", &self.transfer_syntax)
            .finish_non_exhaustive()
    }
}

/// Patient, General Study, General Series, General Equipment and SOP Common.
pub(crate) fn common(record: &Record, class: &str, modality: &str) -> DataSet {
    let Record { patient, study, series, instance, number, received, place, .. } = record;
    let mut set = DataSet::default();
    set.text(0x0008_0005, *b"CS", "ISO_IR 192");
    if let Some(place) = place {
        if let Some(received) = received {
            set.text(0x0008_0012, *b"DA", &received.date());
            set.text(0x0008_0013, *b"TM", &received.time());
        }
        set.text(0x0008_0201, *b"SH", &place.dicom());
    }
    set.uid(0x0008_0016, class);
    set.uid(0x0008_0018, instance.expose());
    set.text(0x0008_0020, *b"DA", study.date.expose());
    set.text(0x0008_0030, *b"TM", study.time.expose());
    set.text(0x0008_0050, *b"SH", study.accession_number.expose());
    set.text(0x0008_0060, *b"CS", modality);
    set.text(0x0008_0070, *b"LO", "Leadglass");
    set.text(0x0008_0090, *b"PN", study.referring_physician.expose());
    set.text_if_any(0x0008_1030, *b"LO", study.description.expose());
    set.text_if_any(0x0008_103E, *b"LO", series.description.expose());
    set.text(0x0008_1090, *b"LO", "Upload");
    set.text(0x0010_0010, *b"PN", patient.name.expose());
    set.text(0x0010_0020, *b"LO", patient.id.expose());
    set.text_if_any(0x0010_0021, *b"LO", patient.issuer.expose());
    set.text(0x0010_0030, *b"DA", patient.birth_date.expose());
    set.text(0x0010_0040, *b"CS", patient.sex.dicom());
    if received.is_some() {
        set.text(0x0018_1020, *b"LO", env!("CARGO_PKG_VERSION"));
    }
    set.uid(0x0020_000D, study.uid.expose());
    set.uid(0x0020_000E, series.uid.expose());
    set.text(0x0020_0010, *b"SH", study.id.expose());
    set.text(0x0020_0011, *b"IS", &series.number.to_string());
    set.text(0x0020_0013, *b"IS", &number.to_string());
    set
}
