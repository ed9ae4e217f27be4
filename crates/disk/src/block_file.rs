//! A file written in whole blocks.

use crate::{BLOCK_BYTES, Buffer};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

/// A file with two descriptors: one past the page cache for writing, one through it for everything else.
#[derive(Debug)]
pub struct BlockFile {
    plain: File,
    /// `None` where the file system has no such thing.
    direct: Option<File>,
    /// The file system took the flag and refuses the writes.
    refused: AtomicBool,
}

impl BlockFile {
    /// `plain`, open for reading and writing, which is the file at `path`.
    pub fn over(plain: File, path: &Path) -> Self {
        let direct = rustix::fs::open(path, OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty());
        Self { plain, direct: direct.ok().map(File::from), refused: AtomicBool::new(false) }
    }

    /// The descriptor through the page cache.
    pub const fn plain(&self) -> &File {
        &self.plain
    }

    /// Begins to write at `offset`, a multiple of [`BLOCK_BYTES`].
    ///
    /// # Panics
    /// When `offset` is none.
    pub fn write_from<'a>(&'a self, offset: u64, buffer: &'a mut Buffer) -> Blocks<'a> {
        assert!(offset.is_multiple_of(BLOCK_BYTES as u64), "writes begin at a block");
        Blocks { file: self, buffer, offset, filled: 0 }
    }

    /// Makes content, and what it takes to find it, durable.
    pub fn sync(&self) -> io::Result<()> {
        self.plain.sync_data()
    }

    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Some(direct) = self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed)) {
            match direct.write_all_at(bytes, offset) {
                // Alignment, or the whole thing, is not to this file system's liking.
                Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::INVAL | Errno::OPNOTSUPP)) => {
                    self.refused.store(true, Ordering::Relaxed);
                }
                written => return written,
            }
        }
        self.plain.write_all_at(bytes, offset)
    }
}

/// Writing under way, through a buffer.
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a BlockFile,
    buffer: &'a mut Buffer,
    offset: u64,
    filled: usize,
}

impl Blocks<'_> {
    /// Takes the next bytes; writes when the buffer is full. Bytes that lie at a multiple of [`BLOCK_BYTES`] and are next in
    /// the file are written from where they are.
    pub fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.filled == 0 && bytes.as_ptr().align_offset(BLOCK_BYTES) == 0 {
            let (whole, tail) = bytes.split_at(bytes.len() - bytes.len() % BLOCK_BYTES);
            if !whole.is_empty() {
                self.file.write(whole, self.offset)?;
                self.offset += whole.len() as u64;
            }
            bytes = tail;
        }
        while !bytes.is_empty() {
            let room = &mut self.buffer.bytes_mut()[self.filled..];
            let some = room.len().min(bytes.len());
            room[..some].copy_from_slice(&bytes[..some]);
            self.filled += some;
            bytes = &bytes[some..];
            if self.filled == self.buffer.bytes().len() {
                self.file.write(self.buffer.bytes(), self.offset)?;
                self.offset += self.filled as u64;
                self.filled = 0;
            }
        }
        Ok(())
    }

    /// Writes what is left and nothing behind it: whole blocks past the page cache, what does not fill one through it.
    /// Answers where the bytes ended, which is the end of a file that was empty before. (Writing the whole block and cutting
    /// the file would make the file system read that block again.)
    pub fn finish_exactly(self) -> io::Result<u64> {
        let end = self.offset + self.filled as u64;
        let (whole, tail) = self.buffer.bytes()[..self.filled].split_at(self.filled - self.filled % BLOCK_BYTES);
        if !whole.is_empty() {
            self.file.write(whole, self.offset)?;
        }
        self.file.plain.write_all_at(tail, self.offset + whole.len() as u64)?;
        Ok(end)
    }

    /// Writes what is left; the rest of its last block becomes zeros. Answers where the bytes ended.
    pub fn finish(self) -> io::Result<u64> {
        let end = self.offset + self.filled as u64;
        let whole = self.filled.next_multiple_of(BLOCK_BYTES);
        self.buffer.bytes_mut()[self.filled..whole].fill(0);
        if whole > 0 {
            self.file.write(&self.buffer.bytes()[..whole], self.offset)?;
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs::OpenOptions;

    fn open(path: &Path) -> BlockFile {
        let plain = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        BlockFile::over(plain, path)
    }

    #[test]
    fn a_file_system_without_it_is_written_through_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = BlockFile { direct: None, ..open(&path) };
        let mut buffer = Buffer::new(1);
        let mut blocks = file.write_from(0, &mut buffer);
        blocks.push(b"abc").unwrap();
        assert_eq!(blocks.finish().unwrap(), 3);
        assert_eq!(&std::fs::read(&path).unwrap()[..4], b"abc\0");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn slices_of_any_size_come_back_and_the_last_block_ends_in_zeros(
            sizes in prop::collection::vec(0_usize..9_000, 0..6), block in 0_u64..3, room in 1_usize..20_000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("f");
            let file = open(&path);
            let offset = block * BLOCK_BYTES as u64;
            let mut buffer = Buffer::new(room);
            buffer.bytes_mut().fill(0xAA);
            let mut blocks = file.write_from(offset, &mut buffer);
            let mut all = vec![0; usize::try_from(offset).unwrap()];
            let trays = crate::Trays::new(0);
            for (n, size) in sizes.iter().enumerate() {
                let piece = vec![u8::try_from(n + 1).unwrap(); *size];
                // Every other one at a block.
                let mut tray = trays.take(*size);
                tray.room(*size).copy_from_slice(&piece);
                let aligned = tray.into_bytes();
                blocks.push(if n % 2 == 0 { &aligned } else { &piece }).unwrap();
                all.extend(piece);
            }
            prop_assert_eq!(blocks.finish().unwrap(), all.len() as u64);
            file.sync().unwrap();
            let exact = dir.path().join("exact");
            let file = open(&exact);
            let mut blocks = file.write_from(0, &mut buffer);
            blocks.push(&all).unwrap();
            prop_assert_eq!(blocks.finish_exactly().unwrap(), all.len() as u64);
            prop_assert_eq!(&std::fs::read(&exact).unwrap(), &all);
            if sizes.iter().any(|size| *size > 0) {
                all.resize(all.len().next_multiple_of(BLOCK_BYTES), 0);
                prop_assert_eq!(std::fs::read(&path).unwrap(), all);
            }
        }
    }
}
