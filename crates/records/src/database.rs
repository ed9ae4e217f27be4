//! The file under records, tokens and sessions.
//!
//! An engine killed while it makes its first file leaves one that does not open; so the file is made under another name,
//! synced and then renamed. Every commit is durable when it returns.
//!
//! After one failed write, a full disk for example, the engine refuses everything until its file is opened anew. [`Store`]
//! does that, so that records come back with the space.

use crate::OpenError;
use parking_lot::RwLock;
use redb::{Database, ReadTransaction, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// tenant (16) ‖ table (1) ‖ key → sealed value.
pub(crate) const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
/// Hash of a token (32) → its row.
pub(crate) const TOKENS: TableDefinition<'static, &[u8; 32], &[u8]> = TableDefinition::new("tokens");
/// Hash of a session's reference (32) → its row.
pub(crate) const SESSIONS: TableDefinition<'static, &[u8; 32], &[u8]> = TableDefinition::new("sessions");

/// The open file; opened anew after a failure.
pub(crate) struct Store {
    opener: Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>,
    pub(crate) path: PathBuf,
    /// `None` while it could not be opened anew.
    pub(crate) database: RwLock<Option<Database>>,
    /// An operation failed in the file.
    suspect: AtomicBool,
}

impl Store {
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let database = open(path)?;
        let of = path.to_owned();
        let opener = move || Ok(redb::Builder::new().set_cache_size(CACHE_BYTES).open(&of)?);
        Ok(Self::over(path, database, Box::new(opener)))
    }

    fn over(
        path: &Path,
        database: Database,
        opener: Box<dyn Fn() -> Result<Database, redb::Error> + Send + Sync>,
    ) -> Self {
        Self { opener, path: path.to_owned(), database: RwLock::new(Some(database)), suspect: AtomicBool::new(false) }
    }

    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, redb::Error> {
        self.begin(|database| Ok(database.begin_read()?))
    }

    pub(crate) fn begin_write(&self) -> Result<WriteTransaction, redb::Error> {
        self.begin(|database| Ok(database.begin_write()?))
    }

    /// To be called when an operation failed in the file: the next one opens it anew.
    pub(crate) fn suspect(&self) {
        self.suspect.store(true, Ordering::Release);
    }

    fn begin<T>(&self, begin: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, redb::Error> {
        if self.suspect.load(Ordering::Acquire) {
            let mut database = self.database.write();
            if self.suspect.load(Ordering::Acquire) {
                // The old one goes first: it holds the file's lock.
                *database = None;
                *database = Some((self.opener)()?);
                self.suspect.store(false, Ordering::Release);
            }
        }
        match &*self.database.read() {
            Some(database) => begin(database),
            // Somebody else found it broken just now.
            None => Err(redb::Error::PreviousIo),
        }
    }
}

/// Opens the file at `path`; makes it if there is none.
fn open(path: &Path) -> Result<Database, OpenError> {
    if !path.try_exists()? {
        make(path)?;
    }
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).open(path).map_err(redb::Error::from)?;
    // A file from before there were sessions lacks their table.
    match database.begin_read().map_err(redb::Error::from)?.open_table(SESSIONS) {
        Err(TableError::TableDoesNotExist(_)) => prepare(&database)?,
        found => drop(found.map_err(redb::Error::from)?),
    }
    Ok(database)
}

pub(crate) fn make(path: &Path) -> Result<(), OpenError> {
    let half_made = path.with_extension("new");
    match std::fs::remove_file(&half_made) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
        _ => {}
    }
    // Made empty first, so that it is never readable for others.
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&half_made)?;
    let database = Database::create(&half_made).map_err(redb::Error::from)?;
    prepare(&database)?;
    drop(database);
    file.sync_all()?;
    std::fs::rename(&half_made, path)?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => File::open(dir)?.sync_all()?,
        _ => {}
    }
    Ok(())
}

pub(crate) fn prepare(database: &Database) -> Result<(), redb::Error> {
    let write = database.begin_write()?;
    write.open_table(RECORDS)?;
    write.open_table(TOKENS)?;
    write.open_table(SESSIONS)?;
    Ok(write.commit()?)
}

pub(crate) const CACHE_BYTES: usize = 32 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{StorageBackend, backends::FileBackend};
    use std::sync::Arc;

    /// A file on a disk that can be full.
    #[derive(Debug)]
    struct Full {
        file: FileBackend,
        is_full: Arc<AtomicBool>,
    }

    impl Full {
        fn open(path: &Path, is_full: &Arc<AtomicBool>) -> Result<Database, redb::Error> {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
            let file = FileBackend::new(file)?;
            Ok(redb::Builder::new().create_with_backend(Self { file, is_full: is_full.clone() })?)
        }

        fn check(&self) -> io::Result<()> {
            if self.is_full.load(Ordering::Acquire) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl StorageBackend for Full {
        fn len(&self) -> io::Result<u64> {
            self.file.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.file.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.file.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.file.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.file.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.file.close()
        }
    }

    fn write(store: &Store, key: &[u8]) -> Result<(), redb::Error> {
        let write = store.begin_write()?;
        write.open_table(RECORDS)?.insert(key, vec![7; 100_000].as_slice())?;
        Ok(write.commit()?)
    }

    fn has(store: &Store, key: &[u8]) -> Result<bool, redb::Error> {
        Ok(store.begin_read()?.open_table(RECORDS)?.get(key)?.is_some())
    }

    #[test]
    fn records_come_back_once_a_full_disk_has_space_again() {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("records.redb");
        let is_full = Arc::new(AtomicBool::new(false));
        let database = Full::open(&path, &is_full).unwrap();
        prepare(&database).unwrap();
        let (again, of) = (is_full.clone(), path.clone());
        let store = Store::over(&path, database, Box::new(move || Full::open(&of, &again)));
        write(&store, b"before").unwrap();
        is_full.store(true, Ordering::Release);
        assert!(write(&store, b"meanwhile").is_err());
        is_full.store(false, Ordering::Release);
        assert!(write(&store, b"still").is_err(), "the engine itself does not come back");
        store.suspect();
        write(&store, b"after").unwrap();
        assert!(has(&store, b"before").unwrap() && has(&store, b"after").unwrap());
        assert!(!has(&store, b"meanwhile").unwrap());
    }
}
