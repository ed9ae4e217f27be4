//! A file written in whole blocks.

use crate::{BLOCK_BYTES, Buffer};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, IoSlice},
    ops::Range,
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
        Blocks { file: self, buffer, offset, runs: Vec::new(), from: 0, filled: 0 }
    }

    /// Makes content, and what it takes to find it, durable.
    pub fn sync(&self) -> io::Result<()> {
        self.plain.sync_data()
    }

    /// Writes slices of whole blocks, one behind the other, as one request where the system takes them so.
    fn write(&self, mut slices: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let direct = self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed));
            match rustix::io::pwritev(direct.unwrap_or(&self.plain), slices, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut slices, written);
                    offset += written as u64;
                }
                Err(Errno::INTR) => {}
                // Alignment, or the whole thing, is not to this file system's liking.
                Err(Errno::INVAL | Errno::OPNOTSUPP) if direct.is_some() => self.refused.store(true, Ordering::Relaxed),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Writing under way: what lies well is written from where it lies, the rest through a buffer.
#[derive(Debug)]
pub struct Blocks<'a> {
    file: &'a BlockFile,
    buffer: &'a mut Buffer,
    /// Where in the file what waits begins.
    offset: u64,
    /// What waits, but for the buffer's last part.
    runs: Vec<Run<'a>>,
    /// Where the buffer's last part begins and ends.
    from: usize,
    filled: usize,
}

/// Bytes that wait.
#[derive(Debug)]
enum Run<'a> {
    Copied(Range<usize>),
    Lent(&'a [u8]),
}

impl<'a> Blocks<'a> {
    /// Takes the next bytes; writes when the buffer is full. Bytes that lie at a multiple of [`BLOCK_BYTES`] and are to stand at
    /// one in the file are written from where they are.
    pub fn push(&mut self, mut bytes: &'a [u8]) -> io::Result<()> {
        let is_at_a_block = self.filled.is_multiple_of(BLOCK_BYTES) && bytes.as_ptr().align_offset(BLOCK_BYTES) == 0;
        if is_at_a_block && bytes.len() >= BLOCK_BYTES {
            let (whole, tail) = bytes.split_at(bytes.len() - bytes.len() % BLOCK_BYTES);
            self.close_run();
            self.runs.push(Run::Lent(whole));
            if self.runs.len() >= MOST_RUNS {
                self.flush()?;
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
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is left and nothing behind it: whole blocks past the page cache, what does not fill one through it.
    /// Answers where the bytes ended, which is the end of a file that was empty before. (Writing the whole block and cutting
    /// the file would make the file system read that block again.)
    pub fn finish_exactly(mut self) -> io::Result<u64> {
        let tail = self.filled - self.filled % BLOCK_BYTES..self.filled;
        self.filled = tail.start;
        self.flush()?;
        self.file.plain.write_all_at(&self.buffer.bytes()[tail.clone()], self.offset)?;
        Ok(self.offset + tail.len() as u64)
    }

    /// Writes what is left; the rest of its last block becomes zeros. Answers where the bytes ended.
    pub fn finish(mut self) -> io::Result<u64> {
        let (end, whole) = (self.filled, self.filled.next_multiple_of(BLOCK_BYTES));
        self.buffer.bytes_mut()[end..whole].fill(0);
        self.filled = whole;
        self.flush()?;
        Ok(self.offset - (whole - end) as u64)
    }

    fn close_run(&mut self) {
        if self.from < self.filled {
            self.runs.push(Run::Copied(self.from..self.filled));
            self.from = self.filled;
        }
    }

    /// Writes what waits, which is whole blocks.
    fn flush(&mut self) -> io::Result<()> {
        self.close_run();
        let copied = self.buffer.bytes();
        let bytes = self.runs.iter().map(|run| match run {
            Run::Copied(range) => &copied[range.clone()],
            Run::Lent(bytes) => *bytes,
        });
        let mut slices: Vec<IoSlice<'_>> = bytes.map(IoSlice::new).collect();
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        self.file.write(&mut slices, self.offset)?;
        self.offset += len as u64;
        self.runs.clear();
        (self.from, self.filled) = (0, 0);
        Ok(())
    }
}

/// Slices of one request; the system takes 1,024.
const MOST_RUNS: usize = 256;

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
            let mut all = vec![0; usize::try_from(offset).unwrap()];
            let trays = crate::Trays::new(0);
            let pieces: Vec<bytes::Bytes> = sizes.iter().zip(1..).map(|(size, n)| {
                // Every other one at a block.
                let mut tray = trays.take(size + 1);
                tray.room(size + 1).fill(n);
                let bytes = tray.into_bytes();
                if n % 2 == 0 { bytes.slice(..*size) } else { bytes.slice(1..) }
            }).collect();
            let mut blocks = file.write_from(offset, &mut buffer);
            for piece in &pieces {
                blocks.push(piece).unwrap();
                all.extend(&piece[..]);
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
