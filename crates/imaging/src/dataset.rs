//! Writes a data set, explicit VR little endian (PS3.5 §7.1.2). Text is UTF-8 (ISO_IR 192).
//!
//! Values are given in any order and written in ascending order of tags. Large values go through as they are, without a
//! copy.

use bytes::Bytes;
use std::collections::BTreeMap;

/// Elements, by tag as `0xGGGGEEEE`.
#[derive(Default)]
pub(crate) struct DataSet(BTreeMap<u32, Value>);

enum Value {
    /// A value with a 16-bit length.
    Short([u8; 2], Vec<u8>),
    /// A sequence: its items, written.
    Items(Vec<Vec<u8>>),
    /// Bytes of a 32-bit length.
    Bytes(Bytes),
    /// One frame, as one fragment behind an offset table (PS3.5 §A.4): its pieces.
    Frame(Vec<Bytes>),
}

impl DataSet {
    /// A text, padded with a space.
    pub(crate) fn text(&mut self, tag: u32, vr: [u8; 2], value: &str) {
        let mut value = value.as_bytes().to_vec();
        value.truncate(MAX_SHORT);
        if value.len() % 2 == 1 {
            value.push(b' ');
        }
        self.0.insert(tag, Value::Short(vr, value));
    }

    /// A text that is left out when there is none.
    pub(crate) fn text_if_any(&mut self, tag: u32, vr: [u8; 2], value: &str) {
        if !value.is_empty() {
            self.text(tag, vr, value);
        }
    }

    /// A UID, padded with NUL.
    pub(crate) fn uid(&mut self, tag: u32, value: &str) {
        let mut value = value.as_bytes().to_vec();
        if value.len() % 2 == 1 {
            value.push(0);
        }
        self.0.insert(tag, Value::Short(*b"UI", value));
    }

    /// US.
    pub(crate) fn number(&mut self, tag: u32, value: u16) {
        self.0.insert(tag, Value::Short(*b"US", value.to_le_bytes().to_vec()));
    }

    /// UL.
    pub(crate) fn long_number(&mut self, tag: u32, value: u32) {
        self.0.insert(tag, Value::Short(*b"UL", value.to_le_bytes().to_vec()));
    }

    /// A sequence without items.
    pub(crate) fn no_items(&mut self, tag: u32) {
        self.items(tag, []);
    }

    /// A sequence of these data sets.
    pub(crate) fn items(&mut self, tag: u32, items: impl IntoIterator<Item = DataSet>) {
        self.0.insert(tag, Value::Items(items.into_iter().map(|item| item.into_pieces().concat()).collect()));
    }

    /// OB, padded with NUL.
    pub(crate) fn bytes(&mut self, tag: u32, value: Bytes) {
        self.0.insert(tag, Value::Bytes(value));
    }

    /// Pixel data of one coded frame.
    pub(crate) fn frame(&mut self, pieces: Vec<Bytes>) {
        self.0.insert(PIXEL_DATA, Value::Frame(pieces));
    }

    /// The data set, in pieces.
    pub(crate) fn into_pieces(self) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        let mut small = Vec::with_capacity(1024);
        for (tag, value) in self.0 {
            let [e0, e1, g0, g1] = tag.to_le_bytes();
            small.extend_from_slice(&[g0, g1, e0, e1]);
            match value {
                Value::Short(vr, value) => {
                    small.extend_from_slice(&vr);
                    small.extend_from_slice(&u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
                    small.extend_from_slice(&value);
                }
                Value::Items(items) => {
                    let len = items.iter().map(|item| ITEM_HEAD + item.len()).sum();
                    small.extend_from_slice(b"SQ\0\0");
                    small.extend_from_slice(&length(len));
                    for item in items {
                        small.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
                        small.extend_from_slice(&length(item.len()));
                        small.extend_from_slice(&item);
                    }
                }
                Value::Bytes(value) => {
                    let odd = value.len() % 2;
                    small.extend_from_slice(b"OB\0\0");
                    small.extend_from_slice(&length(value.len().saturating_add(odd)));
                    flush(&mut pieces, &mut small, [value]);
                    small.extend(std::iter::repeat_n(0, odd));
                }
                Value::Frame(frame) => {
                    let len: usize = frame.iter().map(Bytes::len).sum();
                    let odd = len % 2;
                    small.extend_from_slice(b"OB\0\0\xFF\xFF\xFF\xFF");
                    // The offset table: the first frame begins with the first fragment.
                    small.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0, 4, 0, 0, 0, 0, 0, 0, 0]);
                    small.extend_from_slice(&[0xFE, 0xFF, 0x00, 0xE0]);
                    small.extend_from_slice(&length(len.saturating_add(odd)));
                    flush(&mut pieces, &mut small, frame);
                    small.extend(std::iter::repeat_n(0, odd));
                    small.extend_from_slice(&[0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0]);
                }
            }
        }
        flush(&mut pieces, &mut small, []);
        pieces
    }
}

fn flush(pieces: &mut Vec<Bytes>, small: &mut Vec<u8>, large: impl IntoIterator<Item = Bytes>) {
    if !small.is_empty() {
        pieces.push(Bytes::from(std::mem::take(small)));
    }
    pieces.extend(large.into_iter().filter(|piece| !piece.is_empty()));
}

/// Nothing that is uploaded or decoded here comes near 4 GiB.
fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).expect("uploads and decoded pictures are bounded far below 4 GiB").to_le_bytes()
}

/// (7FE0,0010).
pub(crate) const PIXEL_DATA: u32 = 0x7FE0_0010;
/// Tag and length of an item.
const ITEM_HEAD: usize = 8;
/// An even length of 16 bits.
const MAX_SHORT: usize = 0xFFFE;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_in_order_and_even() {
        let mut set = DataSet::default();
        set.frame(vec![Bytes::from_static(b"\xFF\xD8"), Bytes::from_static(b"\xFF")]);
        set.uid(0x0008_0018, "1.2.3");
        set.text(0x0008_0005, *b"CS", "ISO_IR 192");
        set.no_items(0x0040_0555);
        let mut item = DataSet::default();
        item.text(0x0008_0100, *b"SH", "1");
        set.items(0x0008_1111, [item, DataSet::default()]);
        set.number(0x0028_0010, 258);
        set.bytes(0x0042_0011, Bytes::from_static(b"%"));
        let expected: &[u8] =
            b"\x08\0\x05\0CS\x0A\0ISO_IR 192\x08\0\x18\0UI\x06\x001.2.3\0\
            \x08\0\x11\x11SQ\0\0\x1A\0\0\0\xFE\xFF\0\xE0\x0A\0\0\0\x08\0\0\x01SH\x02\x001 \xFE\xFF\0\xE0\0\0\0\0\x28\0\x10\0US\x02\0\x02\x01\
            \x40\0\x55\x05SQ\0\0\0\0\0\0\x42\0\x11\0OB\0\0\x02\0\0\0%\0\
            \xE0\x7F\x10\0OB\0\0\xFF\xFF\xFF\xFF\xFE\xFF\0\xE0\x04\0\0\0\0\0\0\0\xFE\xFF\0\xE0\x04\0\0\0\xFF\xD8\xFF\0\
            \xFE\xFF\xDD\xE0\0\0\0\0";
        assert_eq!(set.into_pieces().concat(), expected);
    }
}
