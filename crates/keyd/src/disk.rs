//! Files that survive power loss, and the one lock that says who runs the key service here.
//!
//! A file is replaced whole: written under a temporary name beside it, fsynced, renamed, and its folder fsynced. Whoever
//! reads afterwards sees the old bytes or the new ones. Everything is readable by its owner alone.

use leadglass_model::Fault;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// A file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {step} {}", path.display())]
pub struct DiskError {
    step: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl DiskError {
    pub(crate) fn new(step: &'static str, path: &Path, source: io::Error) -> Self {
        Self { step, path: path.to_owned(), source }
    }

    /// Missing and full disks can be helped by the operator; the rest is a broken machine.
    pub fn fault(&self) -> Fault {
        match self.source.kind() {
            io::ErrorKind::NotFound => Fault::Missing,
            io::ErrorKind::AlreadyExists => Fault::Conflict,
            io::ErrorKind::StorageFull | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::QuotaExceeded => {
                Fault::Busy
            }
            _ => Fault::Broken,
        }
    }
}

/// Makes a folder that only its owner can enter, with its parents; one that is there stays as it is.
pub fn private_dir(path: &Path) -> Result<(), DiskError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| DiskError::new("make the folder", path, source))
}

/// Replaces a file whole and durably. The file's mode is 0600.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = temporary_name(path);
    write_new(&temporary, bytes)?;
    fs::rename(&temporary, path).map_err(|source| DiskError::new("rename to", path, source))?;
    sync_parent(path)
}

/// Writes a file that must not be there yet, durably. The file's mode is 0600.
pub fn create(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    if path.exists() {
        return Err(DiskError::new("create", path, io::ErrorKind::AlreadyExists.into()));
    }
    replace(path, bytes)
}

/// Reads a file of at most `limit` bytes; a longer one is an error, so that a stray path costs no memory.
pub fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, DiskError> {
    let failed = |source| DiskError::new("read", path, source);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "longer than such a file can be")));
    }
    Ok(bytes)
}

/// Removes a file durably; one that is not there is fine.
pub fn remove(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DiskError::new("remove", path, source)),
    }
}

/// Makes the names inside a folder durable.
pub fn sync_dir(path: &Path) -> Result<(), DiskError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| DiskError::new("fsync the folder", path, source))
}

/// Makes a file's own name durable.
pub fn sync_parent(path: &Path) -> Result<(), DiskError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// The name under which the next bytes of `path` are written. A leftover of a crash is overwritten by the next try.
pub fn temporary_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Held by the one process that works on a data directory; the kernel lets go when that process ends, however it ends.
#[derive(Debug)]
pub struct DirLock(#[expect(dead_code, reason = "held for its lock, never read")] File);

/// Whether a data directory could be taken.
#[derive(Debug)]
pub enum Taken {
    /// It is ours until the lock is dropped.
    Mine(DirLock),
    /// A running service has it.
    Elsewhere,
}

impl DirLock {
    /// Tries to take the data directory; never waits.
    pub fn take(dir: &Path) -> Result<Taken, DiskError> {
        let path = dir.join("lock");
        let failed = |source| DiskError::new("lock", &path, source);
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Taken::Mine(Self(file))),
            Err(fs::TryLockError::WouldBlock) => Ok(Taken::Elsewhere),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let failed = |source| DiskError::new("write", path, source);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_replaced_file_has_the_new_bytes_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_bounded(&path, 3).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!temporary_name(&path).exists());
    }

    #[test]
    fn a_file_past_its_limit_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        replace(&path, b"four").unwrap();
        assert!(read_bounded(&path, 3).is_err());
    }

    #[test]
    fn the_second_to_ask_for_a_directory_hears_that_it_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        assert!(matches!(first, Taken::Mine(_)));
        assert!(matches!(DirLock::take(dir.path()).unwrap(), Taken::Elsewhere));
        drop(first);
        assert!(matches!(DirLock::take(dir.path()).unwrap(), Taken::Mine(_)));
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        create(&path, b"one").unwrap();
        assert_eq!(create(&path, b"two").unwrap_err().fault(), Fault::Conflict);
        assert_eq!(read_bounded(&path, 3).unwrap(), b"one");
    }
}
