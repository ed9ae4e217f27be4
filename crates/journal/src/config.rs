//! How large a journal may grow.

use crate::{
    JournalError,
    frame::{BLOCK_BYTES, RECORD_HEADER_BYTES},
};

/// Sizes of a journal. They may change between two openings: segments keep the length they were made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JournalConfig {
    /// Length of a segment file in bytes; a multiple of 4096, at least [`MIN_SEGMENT_BYTES`].
    pub segment_bytes: u64,
    /// All segment files together, in bytes; at least two segments. Commits beyond it answer `Full`.
    pub max_bytes: u64,
}

impl Default for JournalConfig {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_bytes: 2 << 30 }
    }
}

impl JournalConfig {
    /// The longest record that fits a segment, in bytes.
    pub fn max_record_bytes(&self) -> u64 {
        let room = self.segment_bytes.saturating_sub(BLOCK_BYTES + RECORD_HEADER_BYTES);
        room.min(MAX_RECORD_BYTES)
    }

    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let fits = self.segment_bytes >= MIN_SEGMENT_BYTES
            && self.segment_bytes.is_multiple_of(BLOCK_BYTES)
            && self.max_bytes / 2 >= self.segment_bytes;
        if fits { Ok(()) } else { Err(JournalError::Config) }
    }
}

/// The longest record there can be.
pub const MAX_RECORD_BYTES: u64 = 24 << 20;
/// The shortest segment there can be.
pub const MIN_SEGMENT_BYTES: u64 = 64 << 10;
