//! What the log asks of a file system, small enough to be failed at every step in tests.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

/// A directory of small files. Paths are relative, made by the log alone.
pub trait Disk: Send + Sync + 'static {
    /// The whole file; `None` when there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// Puts the file there whole, in place of any other; survives power loss once it returns.
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Adds to the end of the file, which is made if need be; survives power loss once it returns.
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Takes the file away; no error when there is none.
    fn remove(&self, path: &str) -> io::Result<()>;
}

/// A local directory, locked while this value lives. Files 0600, directories 0700.
#[derive(Debug)]
pub struct LocalDisk {
    root: PathBuf,
    /// The file appended to last, kept open: one commit is one write and one fdatasync.
    appending: Mutex<Option<(String, File)>>,
    /// Holds the lock.
    _lock: File,
}

impl LocalDisk {
    /// Opens the directory, makes it if need be. Fails with `WouldBlock` when another process has it.
    pub fn open(root: &Path) -> io::Result<Self> {
        make_dir(root)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(root.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { root: root.to_owned(), appending: Mutex::new(None), _lock: lock })
    }
}

impl Disk for LocalDisk {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match File::open(self.root.join(path)) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut appending = self.appending.lock();
        if appending.as_ref().is_some_and(|(open, _)| open == path) {
            *appending = None;
        }
        let path = self.root.join(path);
        let parent = path.parent().unwrap_or(&self.root);
        make_dir(parent)?;
        let mut temporary = path.clone().into_os_string();
        temporary.push(".new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_dir(parent)
    }

    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut appending = self.appending.lock();
        let (mut file, fresh) = match appending.take() {
            Some((open, file)) if open == path => (file, false),
            _ => {
                let full = self.root.join(path);
                let parent = full.parent().unwrap_or(&self.root);
                make_dir(parent)?;
                let fresh = !full.exists();
                (OpenOptions::new().create(true).append(true).mode(0o600).open(&full)?, fresh)
            }
        };
        file.write_all(bytes)?;
        file.sync_data()?;
        if fresh {
            sync_dir(self.root.join(path).parent().unwrap_or(&self.root))?;
        }
        // Kept only after success: what a failed fsync left behind is not trusted (the log writes the file anew).
        *appending = Some((path.to_owned(), file));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.root.join(path);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        if let Some(parent) = path.parent().filter(|p| p.extension().is_some_and(|e| e == "p")) {
            // Fails while other widths stand there: they go at their own time.
            fs::remove_dir(parent).ok();
        }
        Ok(())
    }
}

/// A directory that somebody else may be using: it is read and neither locked nor written.
#[derive(Debug)]
pub struct ReadOnlyDisk {
    root: PathBuf,
}

impl ReadOnlyDisk {
    /// The log in this directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Disk for ReadOnlyDisk {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn replace(&self, _path: &str, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn append(&self, _path: &str, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn remove(&self, _path: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_dir(parent)?;
        match DirBuilder::new().mode(0o700).create(dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        return sync_dir(parent);
    }
    DirBuilder::new().mode(0o700).recursive(true).create(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// A directory in memory, for tests. Clones share the files, so a log can be opened again on what another left.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl MemoryDisk {
    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.files.lock().keys().cloned().collect()
    }

    /// A directory of its own with equal content.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { files: Arc::new(Mutex::new(self.files.lock().clone())) }
    }
}

impl Disk for MemoryDisk {
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.lock().get(path).cloned())
    }
    fn replace(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.lock().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
    fn append(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files.lock().entry(path.to_owned()).or_default().extend_from_slice(bytes);
        Ok(())
    }
    fn remove(&self, path: &str) -> io::Result<()> {
        self.files.lock().remove(path);
        Ok(())
    }
}
