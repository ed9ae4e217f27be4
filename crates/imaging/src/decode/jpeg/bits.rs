//! Entropy-coded data as bits (T.81 §B.1.1.5, §F.2.2.5).

use crate::decode::DecodeError;

/// A reader that stops at a marker: what lies behind it is never taken for data.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, left-aligned.
    held: u64,
    /// How many of them there are.
    count: u32,
    /// How many of them are made up, because the data ended.
    made_up: u32,
}

impl<'a> Bits<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, held: 0, count: 0, made_up: 0 }
    }

    /// Bytes of entropy-coded data that were read. A marker that ended it is not among them.
    pub(super) const fn used(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 2;
                    0xff
                }
                (Some(0xff), _) | (None, _) => {
                    self.made_up += 8;
                    0
                }
                (Some(byte), _) => {
                    self.at += 1;
                    *byte
                }
            };
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, without taking them.
    pub(super) fn peek(&mut self) -> u16 {
        if self.count < 16 {
            self.fill();
        }
        let [a, b, ..] = self.held.to_be_bytes();
        u16::from_be_bytes([a, b])
    }

    /// Takes `n` of the bits that were peeked at.
    pub(super) fn take(&mut self, n: u32) -> Result<(), DecodeError> {
        self.held <<= n;
        self.count -= n;
        if self.count < self.made_up {
            return Err(DecodeError::Truncated);
        }
        Ok(())
    }

    /// The next `n` bits, at most 16, as a number.
    pub(super) fn number(&mut self, n: u32) -> Result<i32, DecodeError> {
        if n == 0 {
            return Ok(0);
        }
        let bits = self.peek() >> (16 - n);
        self.take(n)?;
        Ok(i32::from(bits))
    }

    /// EXTEND (T.81 §F.2.2.1): a difference of `n` bits, negative where the first bit is 0.
    pub(super) fn signed(&mut self, n: u32) -> Result<i32, DecodeError> {
        let value = self.number(n)?;
        if n > 0 && value < 1 << (n - 1) { Ok(value - (1 << n) + 1) } else { Ok(value) }
    }

    /// Goes on behind the restart marker, which must be there and have the number `expected`.
    pub(super) fn restart(&mut self, expected: u8) -> Result<(), DecodeError> {
        (self.held, self.count, self.made_up) = (0, 0, 0);
        // Whatever stands between the last code and the marker was padding.
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let found = rest.windows(2).position(|pair| matches!(pair, [0xff, code] if !matches!(code, 0 | 0xff)));
        let at = found.ok_or(DecodeError::Truncated)?;
        if rest.get(at + 1) != Some(&(0xd0 | expected & 7)) {
            return Err(DecodeError::Damaged { what: "a restart marker of JPEG" });
        }
        self.at += at + 2;
        Ok(())
    }
}
