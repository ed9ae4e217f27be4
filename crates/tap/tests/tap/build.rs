//! Data sets as bytes, for tests.

use leadglass_model::TransferSyntaxUid;
use leadglass_tap::{Encoding, Limits, Tag, Tap, TapError, Tapped};

pub(crate) const IMPLICIT: &str = "1.2.840.10008.1.2";
pub(crate) const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub(crate) const BIG: &str = "1.2.840.10008.1.2.2";
pub(crate) const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub(crate) const JPEG: &str = "1.2.840.10008.1.2.4.50";
pub(crate) const J2K: &str = "1.2.840.10008.1.2.4.90";
pub(crate) const MPEG: &str = "1.2.840.10008.1.2.4.102";

/// Writes elements in one encoding. Values are given as they lie in the file.
#[derive(Clone)]
pub(crate) struct Build {
    encoding: Encoding,
    pub(crate) bytes: Vec<u8>,
}

impl Build {
    pub(crate) fn new(encoding: Encoding) -> Self {
        Self { encoding, bytes: Vec::new() }
    }

    pub(crate) fn explicit() -> Self {
        Self::new(Encoding::ExplicitLe)
    }

    fn u16(&mut self, n: u16) {
        self.bytes.extend(if self.encoding == Encoding::ExplicitBe { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    fn u32(&mut self, n: u32) {
        self.bytes.extend(if self.encoding == Encoding::ExplicitBe { n.to_be_bytes() } else { n.to_le_bytes() });
    }

    /// A header alone, with any length.
    pub(crate) fn head(mut self, tag: Tag, vr: &str, len: u32) -> Self {
        self.u16(tag.0);
        self.u16(tag.1);
        if tag.0 == 0xFFFE || self.encoding == Encoding::ImplicitLe {
            self.u32(len);
            return self;
        }
        self.bytes.extend(vr.as_bytes());
        if matches!(vr, "OB" | "OD" | "OF" | "OL" | "OV" | "OW" | "SQ" | "SV" | "UC" | "UN" | "UR" | "UT" | "UV") {
            self.u16(0);
            self.u32(len);
        } else {
            self.u16(len as u16);
        }
        self
    }

    pub(crate) fn put(self, tag: Tag, vr: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let mut this = self.head(tag, vr, value.len() as u32);
        this.bytes.extend(value);
        this
    }

    pub(crate) fn us(self, tag: Tag, n: u16) -> Self {
        let value = if self.encoding == Encoding::ExplicitBe { n.to_be_bytes() } else { n.to_le_bytes() };
        self.put(tag, "US", value)
    }

    /// A sequence of undefined length with items of undefined length.
    pub(crate) fn sequence(self, tag: Tag, vr: &str, items: &[Build]) -> Self {
        let mut this = self.head(tag, vr, u32::MAX);
        for item in items {
            this = this.head(Tag::ITEM, "", u32::MAX).raw(&item.bytes).head(Tag::ITEM_END, "", 0);
        }
        this.head(Tag::SEQUENCE_END, "", 0)
    }

    /// A sequence and items of defined length.
    pub(crate) fn measured(self, tag: Tag, items: &[Build]) -> Self {
        let mut inner = Self::new(self.encoding);
        for item in items {
            inner = inner.put(Tag::ITEM, "", &item.bytes);
        }
        self.put(tag, "SQ", inner.bytes)
    }

    /// Encapsulated pixel data: the first is the basic offset table.
    pub(crate) fn fragments(self, fragments: &[&[u8]]) -> Self {
        let mut this = self.head(Tag::PIXEL_DATA, "OB", u32::MAX);
        for fragment in fragments {
            this = this.put(Tag::ITEM, "", fragment);
        }
        this.head(Tag::SEQUENCE_END, "", 0)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    /// The identifying attributes that each test can do with.
    pub(crate) fn identity(self) -> Self {
        self.put(Tag(0x0008, 0x0016), "UI", "1.2.840.10008.5.1.4.1.1.2\0")
            .put(Tag(0x0008, 0x0018), "UI", "1.2.3.4\0")
            .put(Tag(0x0010, 0x0010), "PN", "CANARY^NEVER")
            .put(Tag(0x0010, 0x0020), "LO", "ID 1")
            .put(Tag(0x0020, 0x000D), "UI", "1.2.3\0")
            .put(Tag(0x0020, 0x000E), "UI", "1.2.3.9\0")
    }
}

pub(crate) fn uid(text: &str) -> TransferSyntaxUid {
    TransferSyntaxUid::parse(text).unwrap()
}

/// Taps a data set in pieces.
pub(crate) fn tap_in(syntax: &str, data: &[u8], piece: usize, limits: Limits) -> Result<Tapped, TapError> {
    let mut tap = Tap::new(&uid(syntax), limits);
    for piece in data.chunks(piece) {
        tap.feed(piece)?;
    }
    tap.finish()
}

pub(crate) fn tap(syntax: &str, data: &[u8]) -> Result<Tapped, TapError> {
    tap_in(syntax, data, usize::MAX, Limits::default())
}

pub(crate) fn json_text(tapped: &Tapped) -> String {
    String::from_utf8(tapped.metadata_json.as_ref().expect("within the limits").expose().clone()).unwrap()
}

pub(crate) fn deflate(data: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut out = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}
