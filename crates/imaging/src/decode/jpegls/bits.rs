//! Bits of a JPEG-LS scan: after a byte 0xFF the next byte carries seven (T.87 §A.1).

use crate::decode::DecodeError;

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    held: u64,
    count: u32,
    /// Bits of `count` that the data did not have.
    made_up: u32,
    after_ff: bool,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0, made_up: 0, after_ff: false }
    }

    /// Bytes read; a marker at the end is not among them.
    pub(super) const fn used(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let (byte, width) = match self.bytes.get(self.at) {
                Some(byte) if self.after_ff => {
                    // A marker: 0xFF itself was no data, but seven or eight ones before it harm nobody.
                    if *byte & 0x80 != 0 { self.nothing() } else { self.eat(*byte, 7) }
                }
                Some(0xff) if self.bytes.get(self.at + 1).is_none_or(|next| next & 0x80 != 0) => self.nothing(),
                Some(byte) => self.eat(*byte, 8),
                None => self.nothing(),
            };
            self.held |= u64::from(byte) << (64 - width - self.count);
            self.count += width;
        }
    }

    const fn eat(&mut self, byte: u8, width: u32) -> (u8, u32) {
        self.at += 1;
        self.after_ff = byte == 0xff;
        (byte, width)
    }

    const fn nothing(&mut self) -> (u8, u32) {
        self.made_up += 8;
        (0, 8)
    }

    fn take(&mut self, n: u32) -> Result<(), DecodeError> {
        self.held <<= n;
        self.count -= n;
        if self.count < self.made_up { Err(DecodeError::Truncated) } else { Ok(()) }
    }

    pub(super) fn bit(&mut self) -> Result<bool, DecodeError> {
        if self.count == 0 {
            self.fill();
        }
        let bit = self.held >> 63 != 0;
        self.take(1)?;
        Ok(bit)
    }

    /// A number of `n` bits, at most 24.
    pub(super) fn number(&mut self, n: u32) -> Result<i32, DecodeError> {
        if n == 0 {
            return Ok(0);
        }
        if self.count < n {
            self.fill();
        }
        let [a, b, c, d, ..] = (self.held >> (64 - n) << 32).to_be_bytes();
        self.take(n)?;
        Ok(i32::from_be_bytes([a, b, c, d]))
    }

    /// Zeros up to the next one, which is taken too; an error when there are more than `most`.
    pub(super) fn zeros(&mut self, most: u32) -> Result<u32, DecodeError> {
        let mut zeros = 0;
        loop {
            if self.count < 32 {
                self.fill();
            }
            let here = self.held.leading_zeros().min(self.count);
            zeros += here;
            if zeros > most {
                return Err(DecodeError::Damaged { what: "a code of JPEG-LS" });
            }
            if here < self.count {
                // `held` has 64 bits at most, so shifting in two steps keeps the shift in range.
                self.take(here)?;
                self.take(1)?;
                return Ok(zeros);
            }
            (self.held, self.count) = (0, 0);
            if self.made_up > 0 {
                return Err(DecodeError::Truncated);
            }
        }
    }
}
