//! Memory that is filled once, read by several, and used again.
//!
//! A sealed object of half a megabyte lives for half a second: in the journal's record, in memory for readers, on its way
//! to the store. Fresh memory for each costs a page fault every 4 KiB, which came to more than the cipher. A tray goes back
//! to its shelf when the last reader is gone, and starts at a multiple of [`BLOCK_BYTES`], so that [`crate::Blocks`] writes
//! it without a copy.

use crate::BLOCK_BYTES;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// Where trays come from and go back to. Clones share the shelf.
#[derive(Clone)]
pub struct Trays(Arc<Shelf>);

/// Memory to be filled. For ciphertext: what lies in it is not wiped.
pub struct Tray {
    /// As long as it was ever filled.
    memory: Vec<u8>,
    start: usize,
    end: usize,
    size: usize,
    shelf: Arc<Shelf>,
}

struct Shelf {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    by_size: BTreeMap<usize, Vec<Vec<u8>>>,
    bytes: usize,
}

impl Trays {
    /// Keeps up to `most` bytes that nobody uses.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Shelf { kept: Mutex::default(), most }))
    }

    /// An empty tray with room for so many bytes.
    pub fn take(&self, room: usize) -> Tray {
        let size = (room + BLOCK_BYTES).next_multiple_of(SIZE_STEP);
        let mut memory = self.0.kept.lock().take(size).unwrap_or_else(|| Vec::with_capacity(size));
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        memory.resize(memory.len().max(start), 0);
        Tray { memory, start, end: start, size, shelf: self.0.clone() }
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.0.kept.lock().bytes == 0
    }

    /// Gives back to the system what nobody uses.
    pub fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.kept.lock());
        drop(kept);
    }
}

impl Tray {
    /// The next `len` bytes, to be written in full: they hold what was in them before. More than the room that was asked
    /// for is given as well, at the price of a copy.
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let begin = self.end;
        self.end += len;
        if self.memory.len() < self.end {
            self.memory.resize(self.end, 0);
        }
        &mut self.memory[begin..self.end]
    }

    /// What was filled in. The memory goes back when the last clone is dropped.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Tray {
    fn as_ref(&self) -> &[u8] {
        &self.memory[self.start..self.end]
    }
}

impl Drop for Tray {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        self.shelf.keep(self.size, memory);
    }
}

impl Shelf {
    fn keep(&self, size: usize, memory: Vec<u8>) {
        // One that grew is another size.
        if memory.capacity() < size || memory.capacity() >= size + SIZE_STEP || size > self.most {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.bytes + size > self.most {
            // Another size is wanted now than was before.
            kept.by_size.retain(|kept, _| *kept == size);
            kept.bytes = kept.by_size.get(&size).map_or(0, |trays| trays.len() * size);
        }
        if kept.bytes + size <= self.most {
            kept.by_size.entry(size).or_default().push(memory);
            kept.bytes += size;
        }
    }
}

impl Kept {
    fn take(&mut self, size: usize) -> Option<Vec<u8>> {
        let memory = self.by_size.get_mut(&size)?.pop()?;
        self.bytes -= size;
        Some(memory)
    }
}

impl std::fmt::Debug for Trays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trays({} bytes kept)", self.0.kept.lock().bytes)
    }
}

impl std::fmt::Debug for Tray {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tray({} bytes)", self.end - self.start)
    }
}

/// Sizes are multiples of it, so that objects of about one length share trays.
const SIZE_STEP: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(trays: &Trays, room: usize, with: u8) -> Bytes {
        let mut tray = trays.take(room);
        tray.room(room).fill(with);
        tray.into_bytes()
    }

    fn kept(trays: &Trays) -> usize {
        trays.0.kept.lock().bytes
    }

    #[test]
    fn a_tray_holds_what_was_filled_in_and_starts_at_a_block() {
        let trays = Trays::new(1 << 20);
        for room in [0, 1, 4096, 100_000] {
            let bytes = filled(&trays, room, 7);
            assert_eq!(bytes, vec![7; room]);
            assert_eq!(bytes.as_ptr().align_offset(BLOCK_BYTES), 0, "{room}");
        }
    }

    #[test]
    fn memory_comes_back_when_the_last_reader_is_gone_and_without_what_it_held() {
        let trays = Trays::new(1 << 20);
        let first = filled(&trays, 100_000, 1);
        let (place, reader) = (first.as_ptr(), first.slice(5..10));
        drop(first);
        assert_eq!((kept(&trays), &reader[..]), (0, &[1; 5][..]));
        drop(reader);
        assert_eq!(kept(&trays), 112 << 10);
        let second = filled(&trays, 99_000, 2);
        assert_eq!((second.as_ptr(), &second[..]), (place, &vec![2; 99_000][..]));
    }

    #[test]
    fn no_more_is_kept_than_was_said_and_the_size_in_use_counts() {
        let trays = Trays::new(64 << 10);
        let (a, b, c) = (filled(&trays, 1, 1), filled(&trays, 1, 1), filled(&trays, 40_000, 1));
        drop((a, b));
        assert_eq!(kept(&trays), 32 << 10);
        drop(c);
        assert_eq!(kept(&trays), 48 << 10);
        drop(filled(&trays, 70_000, 1));
        assert_eq!(kept(&trays), 48 << 10, "longer than all that is kept");
        trays.clear();
        assert!(trays.is_empty());
    }

    #[test]
    fn a_tray_that_grew_is_right_and_not_kept() {
        let trays = Trays::new(1 << 20);
        let mut tray = trays.take(10);
        tray.room(200_000).fill(3);
        let bytes = tray.into_bytes();
        assert_eq!(bytes, vec![3; 200_000]);
        drop(bytes);
        assert_eq!(kept(&trays), 0);
    }
}
