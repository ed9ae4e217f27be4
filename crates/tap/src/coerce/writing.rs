//! How elements are written.

use crate::{Encoding, Tag, Vr};

/// How headers are written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    pub(super) encoding: Encoding,
    /// The first element shows it, whatever was declared.
    pub(super) begun: bool,
}

impl Writing {
    /// An element with its value, padded to an even length.
    pub(super) fn element(self, tag: Tag, vr: Vr, value: &[u8]) -> Vec<u8> {
        let odd = value.len() % 2;
        // Nothing here is longer than an attribute may be, or an item of a few of them.
        let len = u32::try_from(value.len().saturating_add(odd)).unwrap_or_default();
        let mut out = self.header(tag, vr, len);
        out.extend_from_slice(value);
        // PS3.5 §6.2: texts are padded with a space, UIDs with a zero.
        out.extend(std::iter::repeat_n(if vr.0 == *b"UI" { 0 } else { b' ' }, odd));
        out
    }

    pub(super) fn item(self, content: &[u8]) -> Vec<u8> {
        let len = u32::try_from(content.len()).unwrap_or_default();
        [&self.tag(Tag::ITEM)[..], &self.u32(len), content].concat()
    }

    pub(super) fn header(self, tag: Tag, vr: Vr, len: u32) -> Vec<u8> {
        let tag = self.tag(tag);
        match u16::try_from(len) {
            _ if self.encoding == Encoding::ImplicitLe => [&tag[..], &self.u32(len)].concat(),
            Ok(short) if !vr.is_wide() => [&tag[..], &vr.0, &self.u16(short)].concat(),
            _ => [&tag[..], &vr.0, &[0, 0], &self.u32(len)].concat(),
        }
    }

    fn tag(self, tag: Tag) -> [u8; 4] {
        let ([a, b], [c, d]) = (self.u16(tag.0), self.u16(tag.1));
        [a, b, c, d]
    }

    fn u16(self, number: u16) -> [u8; 2] {
        if self.encoding == Encoding::ExplicitBe { number.to_be_bytes() } else { number.to_le_bytes() }
    }

    fn u32(self, number: u32) -> [u8; 4] {
        if self.encoding == Encoding::ExplicitBe { number.to_be_bytes() } else { number.to_le_bytes() }
    }
}
