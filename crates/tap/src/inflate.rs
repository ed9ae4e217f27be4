//! The deflated transfer syntax (PS3.5 §A.5): raw RFC 1951, in pieces, under a ratio and an absolute cap.

use crate::{Limits, TapError};
use flate2::{Decompress, FlushDecompress, Status};

#[derive(Debug)]
pub(crate) struct Inflater {
    stream: Decompress,
    buffer: Box<[u8]>,
    ended: bool,
    /// Bytes after the end of the stream.
    pub(crate) trailing: u64,
}

const BUFFER: usize = 32 << 10;

/// Bytes after the end of the stream that may be anything: one pads an odd length (PS3.5 §A.5), and some senders leave
/// gzip's eight bytes of checksum and length there. Zeros may follow without end.
const TRAILER: u64 = 9;

impl Inflater {
    pub(crate) fn new() -> Self {
        Self { stream: Decompress::new(false), buffer: vec![0; BUFFER].into(), ended: false, trailing: 0 }
    }

    /// Inflates the next bytes and hands what comes out to `sink`, 32 KiB at most at a time.
    pub(crate) fn feed(
        &mut self,
        mut data: &[u8],
        limits: &Limits,
        mut sink: impl FnMut(&[u8]) -> Result<(), TapError>,
    ) -> Result<(), TapError> {
        loop {
            if self.ended {
                let free = usize::try_from(TRAILER.saturating_sub(self.trailing)).unwrap_or_default();
                self.trailing = self.trailing.saturating_add(data.len() as u64);
                let rest = data.get(free..).unwrap_or_default();
                return if rest.iter().all(|b| *b == 0) { Ok(()) } else { Err(TapError::NotDeflate) };
            }
            let (before_in, before_out) = (self.stream.total_in(), self.stream.total_out());
            let status = self
                .stream
                .decompress(data, &mut self.buffer, FlushDecompress::None)
                .map_err(|_| TapError::NotDeflate)?;
            let taken = usize::try_from(self.stream.total_in().saturating_sub(before_in)).unwrap_or(usize::MAX);
            let made = usize::try_from(self.stream.total_out().saturating_sub(before_out)).unwrap_or(usize::MAX);
            data = data.get(taken..).unwrap_or_default();
            let (total_in, total_out) = (self.stream.total_in(), self.stream.total_out());
            let allowed = total_in.saturating_mul(Limits::INFLATE_RATIO).saturating_add(Limits::INFLATE_SLACK);
            if total_out > allowed.min(limits.inflated_bytes) {
                return Err(TapError::InflatesTooFar);
            }
            sink(self.buffer.get(..made).unwrap_or_default())?;
            self.ended = status == Status::StreamEnd;
            // A full buffer may leave more inside of the stream, even when all input is taken.
            if !self.ended && data.is_empty() && made < self.buffer.len() {
                return Ok(());
            }
            if !self.ended && taken == 0 && made == 0 {
                return Err(TapError::NotDeflate);
            }
        }
    }

    pub(crate) const fn is_complete(&self) -> bool {
        self.ended
    }
}
