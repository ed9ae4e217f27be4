//! What a data set said of itself before it was written anew, and what was done.

use leadglass_tap::Tag;
use serde::Serialize;

/// How often each was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Attributes that the table removes, with all that was in them.
    pub removed: u64,
    /// Private attributes, curves, overlays, and what no dictionary has.
    pub unknown: u64,
    /// Emptied.
    pub emptied: u64,
    /// Made up.
    pub replaced: u64,
    /// UIDs that became other ones.
    pub uids: u64,
    /// Dates that were moved.
    pub moved: u64,
    /// Descriptions that were cleaned.
    pub cleaned: u64,
    /// Segments of compressed pixels that can hold text, blanked.
    pub segments: u64,
}

/// How the pixels lie.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// Rows (0028,0010).
    pub rows: u32,
    /// Columns (0028,0011).
    pub columns: u32,
    /// Samples per Pixel (0028,0002).
    pub samples: u32,
    /// Bits Allocated (0028,0100).
    pub bits: u32,
    /// Planar Configuration (0028,0006) says that colours lie one after the other.
    pub planar: bool,
    /// Two pixels share their colours.
    pub halved: bool,
}

/// What a data set said; values are cut to 64 bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// What was done.
    pub counts: Counts,
    /// Pixel data are there.
    pub pixels: bool,
    /// They lie in fragments.
    pub compressed: bool,
    /// How they lie.
    pub shape: Shape,
    pub(crate) said: Vec<(Tag, String)>,
}

impl Findings {
    /// SOP Class UID (0008,0016).
    pub fn sop_class(&self) -> &str {
        self.text(Tag(0x0008, 0x0016))
    }

    /// Modality (0008,0060).
    pub fn modality(&self) -> &str {
        self.text(Tag(0x0008, 0x0060))
    }

    /// Manufacturer (0008,0070).
    pub fn manufacturer(&self) -> &str {
        self.text(Tag(0x0008, 0x0070))
    }

    /// Manufacturer's Model Name (0008,1090).
    pub fn model(&self) -> &str {
        self.text(Tag(0x0008, 0x1090))
    }

    /// Image Type (0008,0008).
    pub fn image_type(&self) -> &str {
        self.text(Tag(0x0008, 0x0008))
    }

    /// Burned In Annotation (0028,0301).
    pub fn burned_in(&self) -> &str {
        self.text(Tag(0x0028, 0x0301))
    }

    /// Body Part Examined (0018,0015).
    pub fn body_part(&self) -> &str {
        self.text(Tag(0x0018, 0x0015))
    }

    /// Recognizable Visual Features (0028,0302).
    pub fn recognizable(&self) -> &str {
        self.text(Tag(0x0028, 0x0302))
    }

    fn text(&self, tag: Tag) -> &str {
        self.said.iter().find(|(said, _)| *said == tag).map_or("", |(_, text)| text)
    }

    /// Whether a value is noted.
    pub(crate) const fn notes(tag: Tag) -> bool {
        matches!(
            (tag.0, tag.1),
            (0x0008, 0x0008 | 0x0016 | 0x0060 | 0x0070 | 0x1090)
                | (0x0018, 0x0015)
                | (0x0028, 0x0002 | 0x0004 | 0x0006 | 0x0010 | 0x0011 | 0x0100 | 0x0301 | 0x0302)
        )
    }

    /// Notes a value, as it was written.
    pub(crate) fn note(&mut self, tag: Tag, value: &[u8], big_endian: bool) {
        let number = || {
            let bytes = value.first_chunk().copied().unwrap_or_default();
            u32::from(if big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
        };
        let text = || String::from_utf8_lossy(value).trim_matches([' ', '\0']).to_owned();
        match (tag.0, tag.1) {
            (0x0028, 0x0002) => self.shape.samples = number(),
            (0x0028, 0x0004) => {
                self.shape.halved = matches!(text().as_str(), "YBR_FULL_422" | "YBR_PARTIAL_422" | "YBR_PARTIAL_420")
            }
            (0x0028, 0x0006) => self.shape.planar = number() == 1,
            (0x0028, 0x0010) => self.shape.rows = number(),
            (0x0028, 0x0011) => self.shape.columns = number(),
            (0x0028, 0x0100) => self.shape.bits = number(),
            _ if self.said.iter().any(|(said, _)| *said == tag) => {}
            _ => self.said.push((tag, text())),
        }
    }
}
