//! What the journal holds and nobody has trimmed.

use crate::{JournalError, Position, disk::DiskFile, frame::SegmentHeader, walk::Walk};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};

/// One record, as it was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Where it lies.
    pub position: Position,
    /// Its pieces in one.
    pub record: Bytes,
}

/// The records not yet trimmed, oldest first; each is read when it is asked for, so one record at a time is in memory.
/// Trimming beyond what was asked for ends it with an error. After an error it is over.
pub struct Replay {
    segments: VecDeque<Segment>,
    current: Option<(Walk, Segment)>,
    after: u64,
    remaining: u64,
}

/// A segment's file and the sequences that count in it.
pub(crate) struct Segment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
    pub(crate) end: u64,
}

impl Replay {
    pub(crate) fn new(segments: VecDeque<Segment>, trimmed: u64, next: u64) -> Self {
        Self { segments, current: None, after: trimmed, remaining: next - 1 - trimmed }
    }

    /// How many records are still to come.
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    fn step(&mut self) -> Result<Option<Replayed>, JournalError> {
        loop {
            if self.current.as_ref().is_none_or(|(walk, segment)| walk.expected() >= segment.end) {
                let Some(segment) = self.segments.pop_front() else { return Ok(None) };
                self.current = Some((Walk::new(segment.file.clone(), &segment.header), segment));
                continue;
            }
            let Some((walk, segment)) = &mut self.current else { return Ok(None) };
            let (position, offset) = (walk.expected(), walk.offset());
            let found = walk.next().map_err(|source| JournalError::Io { doing: "read", source })?;
            let Some(record) = found else {
                return Err(JournalError::Damaged { position, generation: segment.header.generation, offset });
            };
            if position > self.after {
                self.remaining -= 1;
                return Ok(Some(Replayed { position: Position(position), record }));
            }
        }
    }
}

impl Iterator for Replay {
    type Item = Result<Replayed, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step().transpose();
        if matches!(step, Some(Err(_))) {
            self.segments.clear();
            self.current = None;
            self.remaining = 0;
        }
        step
    }
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("remaining", &self.remaining).finish_non_exhaustive()
    }
}
