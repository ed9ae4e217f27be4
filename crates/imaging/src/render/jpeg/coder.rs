//! The entropy coder (T.81 §F.1.2): quantized blocks become bits.

#![allow(clippy::indexing_slicing, reason = "every index is below the constant length of its array")]

use super::dct::Levels;

/// A Huffman table as it is written down: how many codes there are of each length, and what they stand for (T.81 §B.2.4.2).
pub(super) type Table = ([u8; 16], &'static [u8]);

/// Writes blocks, each after the one before.
pub(super) struct Coder {
    out: Vec<u8>,
    /// Bits that wait, in the low end; what stands above them has left already.
    bits: u64,
    /// How many more there is room for.
    free: u32,
    /// The DC coefficient of the block before.
    before: i16,
    dc: [Code; 256],
    ac: [Code; 256],
}

#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    len: u32,
}

impl Coder {
    pub(super) fn new(out: Vec<u8>) -> Self {
        Self { out, bits: 0, free: 64, before: 0, dc: codes(&DC_LUMINANCE), ac: codes(&AC_LUMINANCE) }
    }

    /// Writes the block in this lane.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    pub(super) fn block(&mut self, levels: &Levels, lane: usize) {
        let dc = levels.levels[0][lane];
        // Both have eleven bits.
        let (size, extra) = magnitude(dc - self.before);
        self.before = dc;
        self.put(self.dc[size as usize], size, extra);
        let [a, b, c, d] = levels.present.map(|present| u64::from(present[lane]));
        let mut present = (a | b << 16 | c << 32 | d << 48) & !1;
        let mut last = 0;
        while present != 0 {
            let at = present.trailing_zeros();
            present &= present - 1;
            let mut run = at - last - 1;
            last = at;
            while run >= 16 {
                self.put(self.ac[SIXTEEN_ZEROS], 0, 0);
                run -= 16;
            }
            let (size, extra) = magnitude(levels.levels[at as usize & 63][lane]);
            self.put(self.ac[(run << 4 | size) as usize & 255], size, extra);
        }
        if last != 63 {
            self.put(self.ac[0], 0, 0);
        }
    }

    /// The bits that are left, filled up with ones.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let used = 64 - self.free;
        let missing = used.wrapping_neg() % 8;
        let bits = self.bits << missing | ((1 << missing) - 1);
        let whole = (used + missing) / 8;
        bits.to_be_bytes()[8 - whole as usize..].iter().for_each(|byte| self.byte(*byte));
        self.out
    }

    /// A code and `size` bits behind it: at most 26 together.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    fn put(&mut self, code: Code, size: u32, extra: u32) {
        let (bits, len) = (u64::from(code.bits << size | extra), code.len + size);
        if len <= self.free {
            self.free -= len;
            self.bits = self.bits << len | bits;
            return;
        }
        let behind = len - self.free;
        self.word(self.bits << self.free | bits >> behind);
        // What has left already is shifted out by what comes.
        self.bits = bits;
        self.free = 64 - behind;
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
    fn word(&mut self, word: u64) {
        // Whether a byte of it may be all ones: none that is not is missed by a carry out of the byte below.
        let ones = word & !word.wrapping_add(0x0101_0101_0101_0101) & 0x8080_8080_8080_8080;
        if ones == 0 {
            self.out.extend_from_slice(&word.to_be_bytes());
        } else {
            word.to_be_bytes().into_iter().for_each(|byte| self.byte(byte));
        }
    }

    /// A byte of all ones would begin a marker: a zero goes behind it.
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
        if byte == 0xff {
            self.out.push(0);
        }
    }
}

/// How many bits a level takes, and which (T.81 §F.1.2.1).
#[inline(always)]
#[allow(clippy::inline_always, reason = "the caller's vector instructions are for what is inlined into it")]
fn magnitude(level: i16) -> (u32, u32) {
    let size = 16 - level.unsigned_abs().leading_zeros();
    let bits = i32::from(level) + (i32::from(level) >> 31);
    (size, bits.cast_unsigned() & ((1 << size) - 1))
}

/// The codes of a table by what they stand for (T.81 Annex C).
fn codes((lengths, values): &Table) -> [Code; 256] {
    let mut codes = [Code { bits: 0, len: 0 }; 256];
    let (mut bits, mut values) = (0, values.iter());
    for (len, count) in (1..).zip(lengths) {
        for value in values.by_ref().take(usize::from(*count)) {
            codes[usize::from(*value)] = Code { bits, len };
            bits += 1;
        }
        bits <<= 1;
    }
    codes
}

const SIXTEEN_ZEROS: usize = 0xf0;

/// T.81 Table K.3.
pub(super) const DC_LUMINANCE: Table =
    ([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);

/// T.81 Table K.5.
pub(super) const AC_LUMINANCE: Table = (
    [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
    &[
        0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07, 0x22, 0x71,
        0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72,
        0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37,
        0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59,
        0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83,
        0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3,
        0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
        0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
        0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
    ],
);
