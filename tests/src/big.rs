//! A multi-frame object of any size that is never held: it is made while it is sent and made again while it is compared.

use crate::scu::padded;
use rand::RngCore as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use std::io::{self, Read};

/// Multi-frame Grayscale Byte Secondary Capture.
pub const SOP_CLASS: &str = "1.2.840.10008.5.1.4.1.1.7.2";
/// Rows and columns of a frame: 1 MiB each.
const SIDE: u16 = 1024;
/// Noise made at a time, in bytes.
const BLOCK: u64 = 65_536;

/// The data set of one big object, explicit VR little endian; reads as a stream, the same every time for one seed.
#[derive(Debug)]
pub struct BigObject {
    /// Study Instance UID.
    pub study: String,
    /// Series Instance UID.
    pub series: String,
    /// SOP Instance UID.
    pub instance: String,
    /// Patient ID.
    pub patient: String,
    len: u64,
    block: Vec<u8>,
    used: usize,
    pixels_left: u64,
    noise: ChaCha8Rng,
}

impl BigObject {
    /// `mib` frames of 1 MiB of noise.
    #[must_use]
    pub fn new(seed: u64, mib: u32) -> Self {
        Self::of(&format!("FX-BIG-{seed}"), seed, mib)
    }

    /// The same of the patient with this number.
    #[must_use]
    pub fn of(patient: &str, seed: u64, mib: u32) -> Self {
        let uid = |role: u64| format!("2.25.9{seed:010}{mib:05}{role}");
        let (study, series, instance) = (uid(1), uid(2), uid(3));
        let frames = mib.to_string();
        let us = |v: u16| v.to_le_bytes().to_vec();
        let text = |s: &str| s.as_bytes().to_vec();
        let fields: Vec<(u16, u16, &[u8; 2], Vec<u8>)> = vec![
            (0x0008, 0x0016, b"UI", padded(SOP_CLASS)),
            (0x0008, 0x0018, b"UI", padded(&instance)),
            (0x0008, 0x0020, b"DA", text("20240102")),
            (0x0008, 0x0060, b"CS", text("OT")),
            (0x0010, 0x0010, b"PN", text("FIXTURE^BIG")),
            (0x0010, 0x0020, b"LO", text(patient)),
            (0x0020, 0x000D, b"UI", padded(&study)),
            (0x0020, 0x000E, b"UI", padded(&series)),
            (0x0028, 0x0002, b"US", us(1)),
            (0x0028, 0x0004, b"CS", text("MONOCHROME2")),
            (0x0028, 0x0008, b"IS", text(&frames)),
            (0x0028, 0x0010, b"US", us(SIDE)),
            (0x0028, 0x0011, b"US", us(SIDE)),
            (0x0028, 0x0100, b"US", us(8)),
            (0x0028, 0x0101, b"US", us(8)),
            (0x0028, 0x0102, b"US", us(7)),
            (0x0028, 0x0103, b"US", us(0)),
        ];
        let mut head = Vec::new();
        for (group, number, vr, mut value) in fields {
            if value.len() % 2 == 1 {
                value.push(b' ');
            }
            head.extend(group.to_le_bytes());
            head.extend(number.to_le_bytes());
            head.extend_from_slice(vr);
            head.extend(u16::try_from(value.len()).expect("a short value").to_le_bytes());
            head.extend(value);
        }
        let pixels = u64::from(SIDE) * u64::from(SIDE) * u64::from(mib);
        head.extend([0xE0, 0x7F, 0x10, 0x00, b'O', b'B', 0, 0]);
        head.extend(u32::try_from(pixels).expect("below 4 GiB").to_le_bytes());
        let len = head.len() as u64 + pixels;
        // The header is the first block.
        Self {
            study,
            series,
            instance,
            patient: patient.to_owned(),
            len,
            block: head,
            used: 0,
            pixels_left: pixels,
            noise: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Length of the data set in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Never: it has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Read for BigObject {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() {
            // The next block of noise; its length is a multiple of the generator's word, whatever the reader asks for.
            self.used = 0;
            self.block.resize(usize::try_from(self.pixels_left.min(BLOCK)).expect("at most a block"), 0);
            self.pixels_left -= self.block.len() as u64;
            self.noise.fill_bytes(&mut self.block);
        }
        let n = buffer.len().min(self.block.len() - self.used);
        buffer[..n].copy_from_slice(&self.block[self.used..self.used + n]);
        self.used += n;
        Ok(n)
    }
}

/// Compares a stream with a big object as it comes.
#[derive(Debug)]
pub struct Comparison {
    expected: BigObject,
    made: Vec<u8>,
    seen: u64,
    equal: bool,
}

impl Comparison {
    /// Expects this object from its first byte.
    #[must_use]
    pub fn with(expected: BigObject) -> Self {
        Self { expected, made: Vec::new(), seen: 0, equal: true }
    }

    /// The next bytes that came.
    ///
    /// # Panics
    /// Never: the generator does not fail.
    pub fn feed(&mut self, mut came: &[u8]) {
        while self.equal && !came.is_empty() {
            if self.made.is_empty() {
                let mut block = vec![0; 1 << 20];
                let n = self.expected.read(&mut block).expect("the generator reads");
                block.truncate(n);
                self.made = block;
                if n == 0 {
                    self.equal = false; // more came than was sent
                    return;
                }
            }
            let n = came.len().min(self.made.len());
            self.equal = came[..n] == self.made[..n];
            self.made.drain(..n);
            came = &came[n..];
            self.seen += n as u64;
        }
    }

    /// Whether all of it came and nothing else.
    #[must_use]
    pub fn is_complete_and_equal(&self) -> bool {
        self.equal && self.seen == self.expected.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_the_same_in_any_pieces_and_a_flip_is_noticed() {
        let mut whole = Vec::new();
        BigObject::new(7, 1).read_to_end(&mut whole).unwrap();
        assert_eq!(whole.len() as u64, BigObject::new(7, 1).len());
        for piece in [1000, 16_378, 131_066] {
            let (mut again, mut object) = (Vec::new(), BigObject::new(7, 1));
            let mut buffer = vec![0; piece];
            loop {
                let n = object.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                again.extend_from_slice(&buffer[..n]);
            }
            assert!(again == whole, "in pieces of {piece}");
        }
        for flip in [None, Some(3), Some(whole.len() - 1)] {
            let mut came = whole.clone();
            if let Some(at) = flip {
                came[at] ^= 1;
            }
            let mut comparison = Comparison::with(BigObject::new(7, 1));
            came.chunks(4096).for_each(|c| comparison.feed(c));
            assert_eq!(comparison.is_complete_and_equal(), flip.is_none());
        }
    }
}
