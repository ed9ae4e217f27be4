//! Lengths and ranges of a sealed object, without any I/O.
//!
//! A viewer asks for bytes `a..b` of the *plaintext*. This module says which sealed bytes to fetch and which chunks
//! they are, so that the store, the opener and the fuzzer share one arithmetic.
//!
//! Units: bytes, unless a name says chunks. Chunk `k` starts at sealed offset `120 + k * (C + 16)`.
//! Law: for all `a <= b <= plain_len`, opening `plan(a..b)` gives `plain[a..b]` (`tests::laws`).
//! Source: FORMAT.md §4.

use crate::{
    error::{OpenError, RangeError},
    header::HEADER_LEN,
    suite::TAG_LEN,
};
use std::ops::Range;

/// Plaintext bytes of a full chunk, always a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChunkSize(u8);

/// How a sealed object of a certain length is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    chunk_size: ChunkSize,
    sealed_len: u64,
    chunks: u64,
    last_sealed_len: usize,
}

/// What to fetch for a range of the plaintext, and how to cut what comes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangePlan {
    plain: Range<u64>,
    sealed: Range<u64>,
    first_chunk: u64,
    chunks: u64,
    skip: usize,
}

impl ChunkSize {
    /// 64 KiB: one range GET costs the same whatever the chunk, and a smaller chunk wastes less around a frame.
    pub const DEFAULT: Self = Self(16);

    /// The size that a writer may choose: 2^14 (16 KiB) to 2^20 (1 MiB).
    pub const fn writer(log2: u8) -> Option<Self> {
        match log2 {
            14..=20 => Some(Self(log2)),
            _ => None,
        }
    }

    /// The size that a reader accepts: 2^12 (4 KiB) to 2^22 (4 MiB).
    pub(crate) const fn read(log2: u8) -> Option<Self> {
        match log2 {
            12..=22 => Some(Self(log2)),
            _ => None,
        }
    }

    /// Its binary logarithm, as in the header.
    pub const fn log2(self) -> u8 {
        self.0
    }

    /// Plaintext bytes of a full chunk.
    pub const fn plain_len(self) -> usize {
        1 << self.0
    }

    /// Sealed bytes of a full chunk.
    pub const fn sealed_len(self) -> usize {
        self.plain_len() + TAG_LEN
    }

    /// Length of the whole sealed object for a plaintext of `plain_len` bytes, known before a byte is sealed.
    /// `None` above 2^63.
    pub fn object_len(self, plain_len: u64) -> Option<u64> {
        let chunks = (plain_len >> self.0) + 1;
        let tags = chunks.checked_mul(TAG_LEN as u64)?;
        plain_len.checked_add(tags)?.checked_add(HEADER_LEN as u64).filter(|len| *len < 1 << 63)
    }

    /// How many bytes to fetch from the end of a sealed object to prove its length: enough for the last chunk and the
    /// one in front of it, so that it always holds the FOOTER.
    pub fn suffix_len(self, sealed_len: u64) -> u64 {
        sealed_len.min(2 * self.sealed_len() as u64)
    }
}

impl Default for ChunkSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Geometry {
    /// Divides a sealed object of `sealed_len` bytes; refuses the lengths that no plaintext has.
    pub fn new(chunk_size: ChunkSize, sealed_len: u64) -> Result<Self, OpenError> {
        let header = HEADER_LEN as u64;
        let body = sealed_len.checked_sub(header).filter(|b| *b >= TAG_LEN as u64).ok_or(OpenError::NotSealed)?;
        let full = chunk_size.sealed_len() as u64;
        let last_sealed_len = usize::try_from(body % full).map_err(|_| OpenError::NotSealed)?;
        match last_sealed_len {
            0 => return Err(OpenError::Truncated),
            1..TAG_LEN => return Err(OpenError::NotSealed),
            _ => {}
        }
        let chunks = body / full + 1;
        if chunks > MAX_CHUNKS {
            return Err(OpenError::NotSealed);
        }
        Ok(Self { chunk_size, sealed_len, chunks, last_sealed_len })
    }

    /// Plaintext bytes of a full chunk.
    pub const fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }
    /// Bytes of the whole sealed object.
    pub const fn sealed_len(&self) -> u64 {
        self.sealed_len
    }
    /// Number of chunks, at least one.
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }
    /// Bytes of the plaintext.
    pub const fn plain_len(&self) -> u64 {
        ((self.chunks - 1) << self.chunk_size.0) + (self.last_sealed_len - TAG_LEN) as u64
    }

    /// What to fetch for `plain` bytes of the plaintext. An empty range fetches nothing.
    pub fn plan(&self, plain: Range<u64>) -> Result<RangePlan, RangeError> {
        let plain_len = self.plain_len();
        if plain.start > plain.end || plain.end > plain_len {
            return Err(RangeError::Outside { start: plain.start, end: plain.end, plain_len });
        }
        let log2 = self.chunk_size.0;
        let first_chunk = plain.start >> log2;
        if plain.is_empty() {
            return Ok(RangePlan { plain, sealed: 0..0, first_chunk, chunks: 0, skip: 0 });
        }
        let end_chunk = ((plain.end - 1) >> log2) + 1;
        let sealed = self.chunk_offset(first_chunk)..self.chunk_offset(end_chunk).min(self.sealed_len);
        let skip = usize::try_from(plain.start & ((1 << log2) - 1)).expect("below 4 MiB");
        Ok(RangePlan { plain, sealed, first_chunk, chunks: end_chunk - first_chunk, skip })
    }

    /// Cuts a plan into plans of at most `chunks` chunks each, in order: bounded buffers, or work for several threads.
    pub fn runs(&self, plan: &RangePlan, chunks: u64) -> impl Iterator<Item = RangePlan> + use<> {
        let (geometry, end, log2) = (*self, plan.plain.end, self.chunk_size.0);
        let mut start = plan.plain.start;
        std::iter::from_fn(move || {
            if start >= end {
                return None;
            }
            let border = ((start >> log2) + chunks.max(1)) << log2;
            let run = geometry.plan(start..border.min(end)).ok()?;
            start = run.plain.end;
            Some(run)
        })
    }

    /// Sealed bytes of one chunk.
    pub(crate) const fn chunk_sealed_len(&self, chunk: u64) -> usize {
        if chunk + 1 == self.chunks { self.last_sealed_len } else { self.chunk_size.sealed_len() }
    }

    /// Where a chunk starts; for the number after the last chunk, at or after the end.
    pub(crate) const fn chunk_offset(&self, chunk: u64) -> u64 {
        HEADER_LEN as u64 + chunk * self.chunk_size.sealed_len() as u64
    }
}

impl RangePlan {
    /// The plaintext bytes asked for.
    pub fn plain(&self) -> Range<u64> {
        self.plain.clone()
    }
    /// The bytes of the sealed object to fetch: whole chunks.
    pub fn sealed(&self) -> Range<u64> {
        self.sealed.clone()
    }
    /// The first chunk fetched.
    pub const fn first_chunk(&self) -> u64 {
        self.first_chunk
    }
    /// Number of chunks fetched.
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }
    /// Plaintext bytes of the first chunk in front of the range.
    pub const fn skip(&self) -> usize {
        self.skip
    }
}

/// A chunk's number is XORed into 96 bits of nonce; 2^32 keeps every object far below the cipher's limits.
const MAX_CHUNKS: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;

    const C: u64 = 4096;

    fn geometry(sealed_len: u64) -> Result<Geometry, OpenError> {
        Geometry::new(ChunkSize::read(12).unwrap(), sealed_len)
    }

    #[test]
    fn lengths_that_no_plaintext_has_are_refused() {
        for len in [0, 1, 119, 120, 135] {
            assert_eq!(geometry(len), Err(OpenError::NotSealed), "{len}");
        }
        for chunks in 1..4 {
            let border = 120 + chunks * (C + 16);
            assert_eq!(geometry(border), Err(OpenError::Truncated));
            for extra in 1..16 {
                assert_eq!(geometry(border + extra), Err(OpenError::NotSealed), "{extra}");
            }
            assert_eq!(geometry(border + 16).unwrap().plain_len(), chunks * C);
        }
        assert_eq!(geometry(u64::MAX), Err(OpenError::NotSealed));
    }

    #[test]
    fn length_before_sealing_and_geometry_after_it_agree() {
        let size = ChunkSize::read(12).unwrap();
        for plain in [0, 1, C - 1, C, C + 1, 5 * C - 1, 5 * C, 64 << 30] {
            let sealed = size.object_len(plain).unwrap();
            assert_eq!(geometry(sealed).unwrap().plain_len(), plain);
        }
        assert_eq!(size.object_len(u64::MAX), None);
    }

    #[test]
    fn an_empty_range_fetches_nothing_and_one_outside_is_refused() {
        let g = geometry(120 + 16 + 100).unwrap();
        let plan = g.plan(100..100).unwrap();
        assert_eq!((plan.sealed(), plan.chunks()), (0..0, 0));
        assert!(g.plan(0..101).is_err());
        let backwards = Range { start: 3, end: 2 };
        assert!(g.plan(backwards).is_err());
    }

    #[test]
    fn runs_cover_the_plan_without_gap_or_overlap() {
        let g = geometry(120 + 9 * (C + 16) + 20).unwrap();
        let plan = g.plan(5000..g.plain_len() - 1).unwrap();
        let runs: Vec<_> = g.runs(&plan, 2).collect();
        assert_eq!(runs.first().unwrap().plain().start, 5000);
        assert_eq!(runs.last().unwrap().plain().end, g.plain_len() - 1);
        assert!(
            runs.windows(2).all(|w| w[0].plain().end == w[1].plain().start && w[0].sealed().end == w[1].sealed().start)
        );
        assert!(runs.iter().all(|r| r.chunks() <= 2));
    }
}
