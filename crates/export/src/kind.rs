//! What an instance is in a DICOMDIR: its record's type by SOP class (PS3.3 Table F.4-1 and F.6-1), and which of its attributes
//! stand in the record (PS3.3 F.5).

/// A directory record's type, for what is no patient, study or series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// IMAGE (F.5.4), and whatever no other type is for: readers show what they know and list the rest.
    Image,
    /// SR DOCUMENT (F.5.25).
    SrDocument,
    /// KEY OBJECT DOC (F.5.26).
    KeyObject,
    /// PRESENTATION (F.5.23).
    Presentation,
    /// WAVEFORM (F.5.24).
    Waveform,
    /// ENCAP DOC (F.5.33).
    Document,
    /// RT DOSE (F.5.19).
    RtDose,
    /// RT STRUCTURE SET (F.5.20).
    RtStructureSet,
    /// RT PLAN (F.5.21).
    RtPlan,
    /// RT TREAT RECORD (F.5.22).
    RtTreatment,
    /// REGISTRATION (F.5.28).
    Registration,
    /// FIDUCIAL (F.5.29).
    Fiducial,
    /// RAW DATA (F.5.30).
    RawData,
    /// SPECTROSCOPY (F.5.27).
    Spectroscopy,
}

/// An attribute of a record.
pub(crate) struct Key {
    pub(crate) tag: u32,
    pub(crate) vr: &'static [u8; 2],
    /// What stands there when the instance says nothing: `None` leaves the attribute out.
    pub(crate) otherwise: Option<&'static str>,
}

impl Kind {
    /// Of instances of this SOP class.
    pub fn of(sop_class: &str) -> Self {
        let Some(storage) = sop_class.strip_prefix("1.2.840.10008.5.1.4.1.1.") else { return Self::Image };
        match storage {
            "88.59" => Self::KeyObject,
            "104.1" | "104.2" | "104.3" | "104.4" | "104.5" => Self::Document,
            "481.2" => Self::RtDose,
            "481.3" => Self::RtStructureSet,
            "481.5" | "481.8" => Self::RtPlan,
            "481.4" | "481.6" | "481.7" | "481.9" => Self::RtTreatment,
            "66" => Self::RawData,
            "66.1" | "66.3" => Self::Registration,
            "66.2" => Self::Fiducial,
            "4.2" => Self::Spectroscopy,
            _ if storage.starts_with("88.") => Self::SrDocument,
            _ if storage.starts_with("9.") => Self::Waveform,
            _ if storage.starts_with("11.") => Self::Presentation,
            _ => Self::Image,
        }
    }

    /// Directory Record Type (0004,1430).
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Image => "IMAGE",
            Self::SrDocument => "SR DOCUMENT",
            Self::KeyObject => "KEY OBJECT DOC",
            Self::Presentation => "PRESENTATION",
            Self::Waveform => "WAVEFORM",
            Self::Document => "ENCAP DOC",
            Self::RtDose => "RT DOSE",
            Self::RtStructureSet => "RT STRUCTURE SET",
            Self::RtPlan => "RT PLAN",
            Self::RtTreatment => "RT TREAT RECORD",
            Self::Registration => "REGISTRATION",
            Self::Fiducial => "FIDUCIAL",
            Self::RawData => "RAW DATA",
            Self::Spectroscopy => "SPECTROSCOPY",
        }
    }

    /// Whether its record says more than its number, so that its metadata are needed.
    pub const fn needs_metadata(self) -> bool {
        !matches!(self, Self::Image)
    }

    /// What its record says beside Instance Number, ascending.
    pub(crate) const fn keys(self) -> &'static [Key] {
        match self {
            Self::Image => &[],
            Self::SrDocument => &SR,
            Self::KeyObject => &KEY_OBJECT,
            Self::Presentation => &PRESENTATION,
            Self::Waveform => &CONTENT_TIME,
            Self::Document => &DOCUMENT,
            Self::RtDose => &RT_DOSE,
            Self::RtStructureSet => &RT_STRUCTURES,
            Self::RtPlan => &RT_PLAN,
            Self::RtTreatment => &RT_TREATMENT,
            Self::Registration | Self::Fiducial => &IDENTIFIED,
            Self::RawData => &CONTENT_TIME,
            Self::Spectroscopy => &SPECTROSCOPY,
        }
    }
}

const fn key(tag: u32, vr: &'static [u8; 2], otherwise: Option<&'static str>) -> Key {
    Key { tag, vr, otherwise }
}

/// Dates and times that are demanded and that nobody gave: a reader must find something, and this is clearly none.
pub(crate) const NO_DATE: &str = "19000101";
pub(crate) const NO_TIME: &str = "000000";

const CONTENT_DATE: Key = key(0x0008_0023, b"DA", Some(NO_DATE));
const CONTENT_CLOCK: Key = key(0x0008_0033, b"TM", Some(NO_TIME));
const CONCEPT: Key = key(0x0040_A043, b"SQ", None);
const LABEL: Key = key(0x0070_0080, b"CS", Some("UNNAMED"));
const DESCRIPTION: Key = key(0x0070_0081, b"LO", Some(""));
const CREATOR: Key = key(0x0070_0084, b"PN", Some(""));

const CONTENT_TIME: [Key; 2] = [CONTENT_DATE, CONTENT_CLOCK];
const SR: [Key; 6] = [
    CONTENT_DATE,
    CONTENT_CLOCK,
    key(0x0040_A030, b"DT", None),
    CONCEPT,
    key(0x0040_A491, b"CS", Some("PARTIAL")),
    key(0x0040_A493, b"CS", Some("UNVERIFIED")),
];
const KEY_OBJECT: [Key; 3] = [CONTENT_DATE, CONTENT_CLOCK, CONCEPT];
const PRESENTATION: [Key; 6] = [
    key(0x0008_1115, b"SQ", None),
    LABEL,
    DESCRIPTION,
    key(0x0070_0082, b"DA", Some(NO_DATE)),
    key(0x0070_0083, b"TM", Some(NO_TIME)),
    CREATOR,
];
const DOCUMENT: [Key; 5] = [
    key(0x0008_0023, b"DA", Some("")),
    key(0x0008_0033, b"TM", Some("")),
    CONCEPT,
    key(0x0042_0010, b"ST", Some("")),
    key(0x0042_0012, b"LO", Some("application/octet-stream")),
];
const RT_DOSE: [Key; 1] = [key(0x3004_000A, b"CS", Some("PLAN"))];
const RT_STRUCTURES: [Key; 3] =
    [key(0x3006_0002, b"SH", Some("UNNAMED")), key(0x3006_0008, b"DA", Some("")), key(0x3006_0009, b"TM", Some(""))];
const RT_PLAN: [Key; 3] =
    [key(0x300A_0002, b"SH", Some("UNNAMED")), key(0x300A_0006, b"DA", Some("")), key(0x300A_0007, b"TM", Some(""))];
const RT_TREATMENT: [Key; 2] = [key(0x3008_0250, b"DA", Some("")), key(0x3008_0251, b"TM", Some(""))];
const IDENTIFIED: [Key; 5] = [CONTENT_DATE, CONTENT_CLOCK, LABEL, DESCRIPTION, CREATOR];
const SPECTROSCOPY: [Key; 8] = [
    key(0x0008_0008, b"CS", Some("ORIGINAL\\PRIMARY\\SPECTROSCOPY\\NONE")),
    CONTENT_DATE,
    CONTENT_CLOCK,
    key(0x0028_0008, b"IS", Some("1")),
    key(0x0028_0010, b"US", Some("1")),
    key(0x0028_0011, b"US", Some("1")),
    key(0x0028_9001, b"UL", Some("1")),
    key(0x0028_9002, b"UL", Some("1")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_the_types_of_the_standard() {
        for (class, kind) in [
            ("2", Kind::Image),
            ("1.1", Kind::Image),
            ("7", Kind::Image),
            ("88.11", Kind::SrDocument),
            ("88.59", Kind::KeyObject),
            ("11.1", Kind::Presentation),
            ("9.1.1", Kind::Waveform),
            ("104.1", Kind::Document),
            ("481.1", Kind::Image),
            ("481.3", Kind::RtStructureSet),
            ("77.1.5.1", Kind::Image),
        ] {
            assert_eq!(Kind::of(&format!("1.2.840.10008.5.1.4.1.1.{class}")), kind, "{class}");
        }
        assert_eq!(Kind::of("1.3.6.1.4.1"), Kind::Image);
    }

    #[test]
    fn keys_ascend() {
        for kind in [Kind::SrDocument, Kind::Presentation, Kind::Document, Kind::Spectroscopy, Kind::Registration] {
            assert!(kind.keys().is_sorted_by(|a, b| a.tag < b.tag), "{kind:?}");
        }
    }
}
