//! What the standard's dictionary says of a tag (PS3.6).

use dicom_core::dictionary::{DataDictionary as _, DataDictionaryEntry as _, VirtualVr};
use dicom_dictionary_std::StandardDataDictionary;
use leadglass_tap::{Tag, Vr};

/// How an attribute is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    /// The usual value representation.
    pub(crate) vr: Vr,
    /// US or SS, by Pixel Representation.
    pub(crate) signed_or_not: bool,
}

/// Looks a standard attribute up.
pub(crate) fn lookup(tag: Tag) -> Option<Known> {
    let vr = match StandardDataDictionary.by_tag(dicom_core::Tag(tag.0, tag.1))?.vr() {
        VirtualVr::Exact(vr) => Vr(vr.to_bytes()),
        VirtualVr::Xs => return Some(Known { vr: Vr::US, signed_or_not: true }),
        _ => Vr::OW,
    };
    Some(Known { vr, signed_or_not: false })
}

/// Kinds of values that readers do not take for one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Numbers,
    Items,
}

/// Whether a value written like this can be what the dictionary says. What cannot be is read otherwise by others than
/// here.
pub(crate) fn is_plausible(written: Vr, known: Vr) -> bool {
    match kind(written) {
        // Unknown: a value of any kind but items, which would go by unseen.
        None => kind(known) != Some(Kind::Items),
        kind_written => kind_written == kind(known) || kind(known).is_none(),
    }
}

fn kind(vr: Vr) -> Option<Kind> {
    match &vr.0 {
        b"UN" => None,
        b"SQ" => Some(Kind::Items),
        b"AT" | b"FD" | b"FL" | b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SL" | b"SS" | b"SV" | b"UL"
        | b"US" | b"UV" => Some(Kind::Numbers),
        _ => Some(Kind::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_kind_is_not_plausible() {
        let vr = |text: &[u8; 2]| Vr(*text);
        assert!(
            is_plausible(vr(b"LO"), vr(b"SH")) && is_plausible(vr(b"OW"), vr(b"US")) && is_plausible(Vr::UN, vr(b"PN"))
        );
        assert!(!is_plausible(vr(b"LT"), vr(b"US")) && !is_plausible(vr(b"OB"), vr(b"SQ")));
        assert!(!is_plausible(Vr::UN, Vr::SQ) && !is_plausible(vr(b"SQ"), vr(b"LO")));
    }
}
