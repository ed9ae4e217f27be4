//! The few things a journal asks of a disk, so that tests can put a failing one underneath.

use leadglass_disk::{BlockFile, Buffer};
use parking_lot::Mutex;
use std::{
    fs::{DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// One directory.
pub(crate) trait Disk: Send + Sync {
    /// Names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a file that must not exist.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that exists.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Renames; durable after `sync_dir`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes; durable after `sync_dir`.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One file.
pub(crate) trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Gives it blocks for `bytes` bytes and makes it that long. What it held stays.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Fills `out` from `offset` on.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all pieces, one behind the other, from `offset`, which begins a block; durable after `sync`. What the file
    /// held in the rest of the last block is lost.
    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Makes content durable.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the operating system.
pub(crate) struct RealDisk {
    dir: PathBuf,
    /// For whoever writes: one at a time.
    buffer: Arc<Mutex<Buffer>>,
}

/// A file of the operating system.
struct RealFile {
    blocks: BlockFile,
    buffer: Arc<Mutex<Buffer>>,
}

impl RealDisk {
    /// Opens `dir`; makes it, for its owner only, if it is not there.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        if !dir.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
                File::open(parent)?.sync_all()?;
            }
        }
        Ok(Self { dir: dir.to_owned(), buffer: Arc::new(Mutex::new(Buffer::new(WRITE_BYTES))) })
    }

    fn file(&self, plain: File, path: &Path) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { blocks: BlockFile::over(plain, path), buffer: self.buffer.clone() })
    }

    /// The lock file, created if need be.
    pub(crate) fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.dir.join("lock"))
    }
}

impl Disk for RealDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        Ok(self.file(file, &path))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.dir.join(name);
        Ok(self.file(OpenOptions::new().read(true).write(true).open(&path)?, &path))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.dir.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.blocks.plain().metadata()?.len())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        use rustix::{fs::FallocateFlags, io::Errno};
        match rustix::fs::fallocate(self.blocks.plain(), FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill_with_zeros(self.blocks.plain(), bytes),
            other => other.map_err(Into::into),
        }
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.blocks.plain().read_exact_at(out, offset)
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let mut buffer = self.buffer.lock();
        let mut blocks = self.blocks.write_from(offset, &mut buffer);
        for piece in pieces {
            blocks.push(piece)?;
        }
        blocks.finish().map(drop)
    }

    fn sync(&self) -> io::Result<()> {
        self.blocks.sync()
    }
}

/// For file systems that cannot allocate. Only the part beyond the end: what the file holds stays.
fn fill_with_zeros(file: &File, bytes: u64) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 64 << 10];
    let mut at = file.metadata()?.len();
    while at < bytes {
        let some = usize::try_from(bytes - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..some], at)?;
        at += some as u64;
    }
    Ok(())
}

/// Bytes written at a time.
const WRITE_BYTES: usize = 1 << 20;
