//! Tags and value representations.

use std::fmt;

/// A data element tag: group and element number (PS3.5 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(pub u16, pub u16);

/// A value representation: its two letters (PS3.5 §6.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vr(pub [u8; 2]);

impl Tag {
    /// Specific Character Set.
    pub const SPECIFIC_CHARACTER_SET: Self = Self(0x0008, 0x0005);
    /// Pixel Representation.
    pub const PIXEL_REPRESENTATION: Self = Self(0x0028, 0x0103);
    /// Extended Offset Table.
    pub const EXTENDED_OFFSET_TABLE: Self = Self(0x7FE0, 0x0001);
    /// Pixel Data.
    pub const PIXEL_DATA: Self = Self(0x7FE0, 0x0010);
    /// Item.
    pub const ITEM: Self = Self(0xFFFE, 0xE000);
    /// Item Delimitation.
    pub const ITEM_END: Self = Self(0xFFFE, 0xE00D);
    /// Sequence Delimitation.
    pub const SEQUENCE_END: Self = Self(0xFFFE, 0xE0DD);
    /// Data Set Trailing Padding.
    pub const TRAILING_PADDING: Self = Self(0xFFFC, 0xFFFC);

    /// Of a private group.
    pub const fn is_private(self) -> bool {
        self.0 & 1 == 1
    }

    /// Float Pixel Data, Double Float Pixel Data or Pixel Data.
    pub const fn is_pixels(self) -> bool {
        self.0 == 0x7FE0 && matches!(self.1, 0x0008..=0x0010)
    }

    /// Group length (gggg,0000), retired outside of command sets and file meta.
    pub const fn is_group_length(self) -> bool {
        self.1 == 0
    }

    /// Both numbers in one, group first.
    pub const fn number(self) -> u32 {
        (self.0 as u32) << 16 | self.1 as u32
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({:04X},{:04X})", self.0, self.1)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Vr {
    /// Other Byte.
    pub const OB: Self = Self(*b"OB");
    /// Other Word.
    pub const OW: Self = Self(*b"OW");
    /// Sequence of items.
    pub const SQ: Self = Self(*b"SQ");
    /// Unknown.
    pub const UN: Self = Self(*b"UN");
    /// Signed short.
    pub const SS: Self = Self(*b"SS");
    /// Unsigned short.
    pub const US: Self = Self(*b"US");

    /// Has an explicit header of 12 bytes. Every VR not known here has one too: PS3.5 §6.2 promises it for new ones.
    pub const fn is_wide(self) -> bool {
        !matches!(
            &self.0,
            b"AE"
                | b"AS"
                | b"AT"
                | b"CS"
                | b"DA"
                | b"DS"
                | b"DT"
                | b"FD"
                | b"FL"
                | b"IS"
                | b"LO"
                | b"LT"
                | b"PN"
                | b"SH"
                | b"SL"
                | b"SS"
                | b"ST"
                | b"TM"
                | b"UI"
                | b"UL"
                | b"US"
        )
    }

    /// One of the standard's value representations.
    pub const fn is_known(self) -> bool {
        !self.is_wide()
            || matches!(
                &self.0,
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV"
            )
    }

    /// Two capital letters, so that it can be a VR at all.
    pub const fn is_letters(self) -> bool {
        self.0[0].is_ascii_uppercase() && self.0[1].is_ascii_uppercase()
    }

    /// Raw bytes: `InlineBinary` in DICOM JSON.
    pub const fn is_binary(self) -> bool {
        matches!(&self.0, b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"UN")
    }

    /// Bytes of one binary number, 1 where there is none: what big endian swaps.
    pub const fn width(self) -> usize {
        match &self.0 {
            b"AT" | b"OW" | b"SS" | b"US" => 2,
            b"FL" | b"OF" | b"OL" | b"SL" | b"UL" => 4,
            b"FD" | b"OD" | b"OV" | b"SV" | b"UV" => 8,
            _ => 1,
        }
    }

    /// The two letters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("UN")
    }
}

impl fmt::Display for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Vr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
