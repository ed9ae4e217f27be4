//! Tag → VR, from the standard's table (PS3.6). The table comes from `dicom-dictionary-std`; nothing of it parses.

use crate::{Tag, Vr};
use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;

/// What the standard says of a tag's VR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// This one.
    Exact(Vr),
    /// US or SS, by Pixel Representation.
    UsOrSs,
    /// US or OW: LUT Data, by its descriptor.
    UsOrOw,
    /// OB or OW.
    ObOrOw,
}

impl Known {
    /// The VR to go by when nothing else decides.
    pub(crate) const fn usual(self) -> Vr {
        match self {
            Self::Exact(vr) => vr,
            Self::UsOrSs => Vr::US,
            Self::UsOrOw | Self::ObOrOw => Vr::OW,
        }
    }
}

/// Looks a tag up. A private tag is known only where it reserves a block (PS3.5 §7.8.1).
pub(crate) fn lookup(tag: Tag) -> Option<Known> {
    if tag.is_group_length() {
        return Some(Known::Exact(Vr(*b"UL")));
    }
    if tag.is_private() {
        return matches!(tag.1, 0x0010..=0x00FF).then_some(Known::Exact(Vr(*b"LO")));
    }
    let entry = StandardDataDictionary.by_tag(dicom_core::Tag(tag.0, tag.1))?;
    Some(match entry.vr() {
        VirtualVr::Xs => Known::UsOrSs,
        VirtualVr::Lt => Known::UsOrOw,
        VirtualVr::Ox | VirtualVr::Px => Known::ObOrOw,
        VirtualVr::Exact(vr) => Known::Exact(Vr(vr.to_bytes())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_answers() {
        assert_eq!(lookup(Tag(0x0010, 0x0010)), Some(Known::Exact(Vr(*b"PN"))));
        assert_eq!(lookup(Tag(0x0008, 0x1140)), Some(Known::Exact(Vr::SQ)));
        assert_eq!(lookup(Tag(0x0028, 0x0106)), Some(Known::UsOrSs));
        assert_eq!(lookup(Tag(0x7FE0, 0x0010)), Some(Known::ObOrOw));
        assert_eq!(lookup(Tag(0x6002, 0x3000)), Some(Known::ObOrOw));
        assert_eq!(lookup(Tag(0x0029, 0x0010)), Some(Known::Exact(Vr(*b"LO"))));
        assert_eq!(lookup(Tag(0x0029, 0x1010)), None);
        assert_eq!(lookup(Tag(0x5001, 0x3000)), None, "private, though it looks like a repeating group");
    }
}
