//! Memory that starts at a multiple of [`BLOCK_BYTES`].

use crate::BLOCK_BYTES;

/// Aligned memory for [`crate::BlockFile`].
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// So many bytes, rounded up to whole blocks, at least one.
    pub fn new(bytes: usize) -> Self {
        let len = bytes.max(1).next_multiple_of(BLOCK_BYTES);
        let memory = vec![0; len + BLOCK_BYTES];
        // A vector that is never grown keeps its place.
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { memory, start, len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_whole_blocks_at_a_multiple_of_a_block() {
        for bytes in [0, 1, 4095, 4096, 4097, 1 << 20] {
            let mut buffer = Buffer::new(bytes);
            assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
            assert_eq!(buffer.bytes_mut().len(), bytes.max(1).next_multiple_of(BLOCK_BYTES));
        }
    }
}
