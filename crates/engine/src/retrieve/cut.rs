//! Frames out of the bytes that cover them, piece by piece as they come.
//!
//! Native frames lie as DICOMweb wants them, but for two rarities: big endian numbers are swapped, for DICOMweb knows little
//! endian only (PS3.18 §8.7.3), and 1-bit frames that begin inside of a byte are moved to its start. Of encapsulated frames
//! the item headers are left out (PS3.18 §8.7.3.3.2).

use bytes::{Buf, Bytes, BytesMut};

/// What is done with the bytes.
#[derive(Debug, Clone)]
pub(super) enum Cut {
    /// Nothing.
    Plain,
    /// Items are unwrapped.
    Items(Items),
    /// Numbers are turned.
    Swap(Swap),
    /// Bits are moved.
    Bits(Bits),
}

/// The bytes are not what the tables say. Chunks were authentic, so whoever wrote them was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Misfit;

/// Unwraps `FFFE,E000` items (PS3.5 §A.4).
#[derive(Debug, Clone, Default)]
pub(super) struct Items {
    head: [u8; 8],
    filled: usize,
    left: u32,
    /// Bytes in front of the first item that are left out.
    skip: u64,
    /// Whether the first item is left out: the basic offset table.
    table: bool,
    /// Whether the delimiter ends them, and not the bytes.
    delimited: bool,
    over: bool,
}

/// Turns big endian numbers of `width` bytes.
#[derive(Debug, Clone)]
pub(super) struct Swap {
    width: usize,
    carry: BytesMut,
    /// Bytes that are left out before those that are wanted, and how many those are.
    skip: usize,
    left: u64,
}

/// Moves bits down: pixels are packed from the lowest bit of a byte up (PS3.5 §8.1.1).
#[derive(Debug, Clone)]
pub(super) struct Bits {
    shift: u32,
    /// Bits still to come out.
    left: u64,
    carry: Option<u8>,
}

impl Cut {
    /// Takes the next bytes; appends what comes out.
    pub(super) fn feed(&mut self, piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), Misfit> {
        match self {
            Self::Plain => out.push(piece),
            Self::Items(items) => items.feed(piece, out)?,
            Self::Swap(swap) => out.push(swap.feed(&piece)),
            Self::Bits(bits) => out.push(bits.feed(&piece)),
        }
        Ok(())
    }

    /// Whether nothing more comes out, however many bytes follow.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Items(items) if items.is_over())
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, out: &mut Vec<Bytes>) -> Result<(), Misfit> {
        match self {
            Self::Plain => Ok(()),
            Self::Items(items) if items.is_whole() => Ok(()),
            Self::Items(_) => Err(Misfit),
            Self::Swap(swap) if swap.carry.is_empty() => Ok(()),
            Self::Swap(_) => Err(Misfit),
            Self::Bits(bits) => {
                out.push(bits.rest());
                if bits.left == 0 { Ok(()) } else { Err(Misfit) }
            }
        }
    }
}

impl Items {
    /// All fragments of encapsulated pixel data: behind `skip` bytes the table's item, then the fragments, then the delimiter.
    pub(super) fn all(skip: u64) -> Self {
        Self { skip, table: true, delimited: true, ..Self::default() }
    }

    fn feed(&mut self, mut piece: Bytes, out: &mut Vec<Bytes>) -> Result<(), Misfit> {
        while !piece.is_empty() && !self.over {
            if self.skip > 0 {
                let some = piece.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
                self.skip -= some as u64;
                let _in_front = piece.split_to(some);
                continue;
            }
            if self.left > 0 {
                let some = piece.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= u32::try_from(some).map_err(|_| Misfit)?;
                out.push(piece.split_to(some));
                continue;
            }
            let some = piece.len().min(self.head.len() - self.filled);
            self.head[self.filled..self.filled + some].copy_from_slice(&piece.split_to(some));
            self.filled += some;
            if self.filled == self.head.len() {
                self.filled = 0;
                if self.delimited && self.head[..4] == DELIMITER {
                    self.over = true;
                    continue;
                }
                self.left = item_len(self.head).ok_or(Misfit)?;
                if std::mem::take(&mut self.table) {
                    self.skip = u64::from(std::mem::take(&mut self.left));
                }
            }
        }
        Ok(())
    }
}

impl Items {
    const fn is_whole(&self) -> bool {
        self.left == 0 && self.filled == 0 && self.skip == 0 && self.over == self.delimited
    }

    /// Whether every item is the frame's, so that one item that fills its place is all of it.
    pub(super) const fn is_one_frame(&self) -> bool {
        !self.delimited && !self.table && self.skip == 0
    }

    /// Whether nothing more comes out, however many bytes follow.
    const fn is_over(&self) -> bool {
        self.over
    }
}

/// `FFFE,E0DD`, Sequence Delimitation.
const DELIMITER: [u8; 4] = [0xFE, 0xFF, 0xDD, 0xE0];

/// Bytes of the item that begins with this header; always little endian.
pub(super) fn item_len(head: [u8; 8]) -> Option<u32> {
    let [0xFE, 0xFF, 0x00, 0xE0, a, b, c, d] = head else { return None };
    Some(u32::from_le_bytes([a, b, c, d])).filter(|len| *len != u32::MAX)
}

impl Swap {
    pub(super) fn new(width: usize) -> Self {
        Self::part(width, 0, u64::MAX)
    }

    /// Of numbers that lie around them, `len` bytes from byte `skip` on.
    pub(super) fn part(width: usize, skip: usize, len: u64) -> Self {
        Self { width: width.max(1), carry: BytesMut::new(), skip, left: len }
    }

    fn feed(&mut self, piece: &[u8]) -> Bytes {
        let mut all = std::mem::take(&mut self.carry);
        all.extend_from_slice(piece);
        self.carry = all.split_off(all.len() - all.len() % self.width);
        for number in all.chunks_exact_mut(self.width) {
            number.reverse();
        }
        let mut out = all.freeze();
        let skipped = self.skip.min(out.len());
        out.advance(skipped);
        self.skip -= skipped;
        out.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= out.len() as u64;
        out
    }
}

impl Bits {
    /// `bits` of them, from bit `shift` (below 8) of the first byte on.
    pub(super) const fn new(shift: u32, bits: u64) -> Self {
        Self { shift: shift % 8, left: bits, carry: None }
    }

    fn feed(&mut self, piece: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(piece.len());
        for next in piece {
            if let Some(byte) = self.carry.replace(*next) {
                self.put(&mut out, u16::from_le_bytes([byte, *next]));
            }
        }
        out.into()
    }

    fn rest(&mut self) -> Bytes {
        let mut out = Vec::new();
        if let Some(byte) = self.carry.take() {
            self.put(&mut out, u16::from(byte));
        }
        out.into()
    }

    fn put(&mut self, out: &mut Vec<u8>, pair: u16) {
        let [byte, _] = (pair >> self.shift).to_le_bytes();
        match self.left {
            0 => {}
            left @ 1..8 => {
                out.push(byte & ((1 << left) - 1));
                self.left = 0;
            }
            _ => {
                out.push(byte);
                self.left -= 8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What comes out when the bytes come in pieces of `step`.
    fn run(mut cut: Cut, bytes: &[u8], step: usize) -> Result<Vec<u8>, Misfit> {
        let mut out = Vec::new();
        for piece in bytes.chunks(step) {
            cut.feed(Bytes::copy_from_slice(piece), &mut out)?;
        }
        cut.finish(&mut out)?;
        Ok(out.concat())
    }

    fn item(bytes: &[u8]) -> Vec<u8> {
        let len = u32::try_from(bytes.len()).unwrap();
        [&[0xFE, 0xFF, 0x00, 0xE0], &len.to_le_bytes()[..], bytes].concat()
    }

    #[test]
    fn items_are_unwrapped_however_they_are_cut() {
        let bytes = [item(b"one"), item(b""), item(b"two, longer than a header")].concat();
        for step in 1..=bytes.len() {
            assert_eq!(run(Cut::Items(Items::default()), &bytes, step).unwrap(), b"onetwo, longer than a header");
        }
    }

    #[test]
    fn what_is_no_item_is_a_misfit() {
        let good = item(b"one");
        let delimiter = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
        let endless = [0xFE, 0xFF, 0x00, 0xE0, 0xFF, 0xFF, 0xFF, 0xFF];
        for bad in [&good[..9], &good[..4], &delimiter[..], &endless[..]] {
            assert_eq!(run(Cut::Items(Items::default()), bad, 5), Err(Misfit));
        }
    }

    #[test]
    fn all_fragments_end_at_the_delimiter() {
        let delimiter = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
        let bytes = [b"head", &item(b"table")[..], &item(b"one"), &item(b"two"), &delimiter, b"what follows"].concat();
        for step in 1..=bytes.len() {
            assert_eq!(run(Cut::Items(Items::all(4)), &bytes, step).unwrap(), b"onetwo");
        }
        assert_eq!(run(Cut::Items(Items::all(4)), &bytes[..34], 7), Err(Misfit));
    }

    #[test]
    fn numbers_are_turned_across_pieces() {
        for step in 1..=8 {
            let swapped = run(Cut::Swap(Swap::new(4)), &[1, 2, 3, 4, 5, 6, 7, 8], step).unwrap();
            assert_eq!(swapped, [4, 3, 2, 1, 8, 7, 6, 5]);
        }
        assert_eq!(run(Cut::Swap(Swap::new(2)), &[1, 2, 3], 2), Err(Misfit));
        for step in 1..=8 {
            let part = run(Cut::Swap(Swap::part(2, 1, 3)), &[2, 1, 4, 3, 6, 5], step).unwrap();
            assert_eq!(part, [2, 3, 4]);
        }
    }

    proptest! {
        #[test]
        fn moved_bits_are_the_same_bits(
            bytes in prop::collection::vec(any::<u8>(), 1..40),
            from in 0_usize..300,
            len in 1_usize..300,
            step in 1_usize..9,
        ) {
            let total = bytes.len() * 8;
            let from = from % total;
            let len = 1 + len % (total - from);
            let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (at % 8) & 1;
            let covering = &bytes[from / 8..(from + len).div_ceil(8)];
            let cut = Cut::Bits(Bits::new(u32::try_from(from % 8).unwrap(), len as u64));
            let out = run(cut, covering, step).unwrap();
            prop_assert_eq!(out.len(), len.div_ceil(8));
            for at in 0..out.len() * 8 {
                let expected = if at < len { bit(&bytes, from + at) } else { 0 };
                prop_assert_eq!(bit(&out, at), expected);
            }
        }
    }
}
