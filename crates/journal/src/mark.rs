//! The trim mark: up to which sequence nobody needs a replay.

use crate::{
    disk::{Disk, DiskFile},
    frame::{BLOCK_BYTES, u64_at},
};
use std::{io, sync::Arc};

/// The open mark file.
pub(crate) struct MarkFile {
    file: Arc<dyn DiskFile>,
    counter: u64,
    trimmed: u64,
    next_slot: u64,
}

impl MarkFile {
    /// Reads the mark; makes the file if there is none.
    pub(crate) fn open(disk: &dyn Disk) -> io::Result<Self> {
        if !disk.list()?.iter().any(|name| name == NAME) {
            let file = disk.create(HALF_MADE)?;
            file.allocate(2 * BLOCK_BYTES)?;
            file.sync()?;
            disk.rename(HALF_MADE, NAME)?;
            disk.sync_dir()?;
        }
        let file = disk.open(NAME)?;
        let mut mark = Self { counter: 0, trimmed: 0, next_slot: 0, file };
        for slot in 0..2 {
            let mut bytes = [0; SLOT_BYTES];
            mark.file.read_at(&mut bytes, slot * BLOCK_BYTES)?;
            let (counter, trimmed) = (u64_at(&bytes, 8), u64_at(&bytes, 16));
            let valid = &bytes[..8] == MAGIC && blake3::hash(&bytes[..24]).as_bytes()[..] == bytes[24..];
            if valid && counter > mark.counter {
                mark = Self { counter, trimmed, next_slot: 1 - slot, file: mark.file };
            }
        }
        Ok(mark)
    }

    /// The newest durable mark.
    pub(crate) fn trimmed(&self) -> u64 {
        self.trimmed
    }

    /// Makes durable what opening saw: the page cache may show a mark whose sync failed. It goes over itself, so that the
    /// other slot, perhaps the only one on disk, stays. `trimmed` may be newer, from a segment's header.
    pub(crate) fn settle(&mut self, trimmed: u64) -> io::Result<()> {
        if self.counter > 0 {
            self.put(1 - self.next_slot, self.counter, self.trimmed)?;
        }
        if trimmed > self.trimmed { self.write(trimmed) } else { Ok(()) }
    }

    /// Writes a mark over the older slot. On an error the newer slot stands, and the next attempt takes the same slot again.
    pub(crate) fn write(&mut self, trimmed: u64) -> io::Result<()> {
        self.put(self.next_slot, self.counter + 1, trimmed)?;
        self.counter += 1;
        self.trimmed = trimmed;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }

    fn put(&self, slot: u64, counter: u64, trimmed: u64) -> io::Result<()> {
        let mut bytes = [0; SLOT_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&counter.to_le_bytes());
        bytes[16..24].copy_from_slice(&trimmed.to_le_bytes());
        let digest = blake3::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(digest.as_bytes());
        self.file.write_at(&[&bytes], slot * BLOCK_BYTES)?;
        self.file.sync()
    }
}

pub(crate) const HALF_MADE: &str = "mark.new";
const NAME: &str = "mark.lgj";
const MAGIC: &[u8; 8] = b"LGJMRK01";
const SLOT_BYTES: usize = 56;
