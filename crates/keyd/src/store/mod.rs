//! The key database: redb, one writer, group commit, an optional mirror.
//!
//! All writes go through one thread. Whoever waits for a write shares one durable commit with all others that wait: redb's
//! commit, then the mirror's fsync, and only then the answers. A write that is refused (a key that is already bound) does
//! not spoil its neighbours: it decides before it writes. After a failed commit or mirror write nobody is answered "done".
//!
//! redb is not trusted to forget: a deleted wrap may stay in the file. What makes destruction real is the shard key that
//! the keyring drops (KEYS.md "Erase").

mod dump;
mod person;
mod row;
mod table;
mod writer;

pub use dump::{Dump, DumpError, Record};
pub use person::{Credential, PersonRole, PersonRow};
pub use row::{
    Binding, CountedRow, KeyRow, KeyState, Restriction, Tombstone, by_shard, by_study, by_tenant, study_name,
};
pub use table::Table;
pub use writer::{Change, Mirror, Tx};

use crate::disk::{self, DiskError};
use leadglass_model::Fault;
use redb::{Database, ReadableDatabase, ReadableTable};
use std::{path::Path, sync::Arc};
use tokio::sync::oneshot;
use writer::{Work, Writer};

/// Why the key database could not read or write.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// redb or the disk under it failed; said once, shared by all that waited for the same commit.
    #[error("the key database failed")]
    Engine(#[source] Arc<redb::Error>),
    /// The mirror could not be written: what waits for it is not durable where it must be.
    #[error("the mirror of the key database could not be written")]
    Mirror(#[source] Arc<DiskError>),
    /// A row does not decode.
    #[error("a row of table {table:?} is damaged")]
    Damaged {
        /// Where.
        table: Table,
    },
    /// Too many writes wait already.
    #[error("too many writes are waiting")]
    Full,
    /// The writer has ended: the service is stopping, or an earlier write failed for good.
    #[error("the key database takes no more writes")]
    Stopped,
}

impl StoreError {
    /// What kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Engine(_) | Self::Stopped => Fault::Broken,
            Self::Mirror(source) => source.fault(),
            Self::Damaged { .. } => Fault::Corrupt,
            Self::Full => Fault::Busy,
        }
    }

    pub(crate) fn engine(source: impl Into<redb::Error>) -> Self {
        Self::Engine(Arc::new(source.into()))
    }
}

/// The key database, open. Dropping it waits for the writes under way.
pub struct Store {
    database: Arc<Database>,
    writer: Writer,
}

/// A row's name and value.
pub type NamedValue = (Vec<u8>, Vec<u8>);

/// A consistent view: what was committed when it was taken.
pub struct Snapshot(redb::ReadTransaction);

impl Store {
    /// Makes an empty database. It appears under its name only when it is whole: redb does not survive being killed during
    /// its very first commit, so that commit happens under a temporary name.
    pub fn create(path: &Path, dump: &[Record]) -> Result<(), StoreError> {
        let disk_failed = |source: DiskError| StoreError::Mirror(Arc::new(source));
        let temporary = disk::temporary_name(path);
        disk::remove(&temporary).map_err(disk_failed)?;
        {
            let database = builder().create(&temporary).map_err(StoreError::engine)?;
            let transaction = database.begin_write().map_err(StoreError::engine)?;
            for table in Table::ALL {
                transaction.open_table(table.definition()).map_err(StoreError::engine)?;
            }
            for record in dump {
                let mut table = transaction.open_table(record.table.definition()).map_err(StoreError::engine)?;
                table.insert(record.key.as_slice(), record.value.as_slice()).map_err(StoreError::engine)?;
            }
            transaction.commit().map_err(StoreError::engine)?;
        }
        let io = |source| DiskError::new("make the key database", path, source);
        let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&temporary, owner_only).map_err(io).map_err(disk_failed)?;
        std::fs::File::open(&temporary).and_then(|f| f.sync_all()).map_err(io).map_err(disk_failed)?;
        std::fs::rename(&temporary, path).map_err(io).map_err(disk_failed)?;
        disk::sync_parent(path).map_err(disk_failed)
    }

    /// Opens a database that [`Store::create`] made and starts its writer.
    pub fn open(path: &Path, mirror: Option<Mirror>) -> Result<Self, StoreError> {
        let database = Arc::new(builder().open(path).map_err(StoreError::engine)?);
        complete(&database)?;
        let writer = Writer::start(Arc::clone(&database), mirror);
        Ok(Self { database, writer })
    }

    /// What is committed now.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.database.begin_read().map(Snapshot).map_err(StoreError::engine)
    }

    /// Begins the mirror anew over what is committed; writes wait meanwhile.
    pub fn remirror<E: From<StoreError>>(&self, start: impl FnOnce(&Snapshot) -> Result<Mirror, E>) -> Result<(), E> {
        self.writer.remirror(|| start(&self.snapshot()?))
    }

    /// Runs a write and answers when it is durable. `change` must decide before it writes: an error it returns after a
    /// write would leave that write in the shared commit.
    ///
    /// Cancel safety: a caller that goes away does not take its write back.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.writer.submit(job(change, answer)).await?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }

    /// As [`Store::write`], for callers that may block.
    pub fn write_blocking<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.writer.submit_blocking(job(change, answer))?;
        answered.blocking_recv().map_err(|_| StoreError::Stopped)?
    }

    /// Runs a write that nobody waits for; it is durable with the next commit. Dropped when too many wait.
    pub fn write_soon<F>(&self, change: F)
    where
        F: FnOnce(&mut Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    {
        self.writer.submit_soon(Box::new(move |tx| {
            let outcome = change(tx);
            Box::new(move |_| {
                if let Err(error) = outcome {
                    tracing::warn!(error = %error, "A deferred write was refused");
                }
            })
        }));
    }
}

impl Snapshot {
    /// One row.
    pub fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.0.open_table(table.definition()).map_err(StoreError::engine)?;
        Ok(table.get(key).map_err(StoreError::engine)?.map(|value| value.value().to_vec()))
    }

    /// One row, decoded.
    pub fn row<T>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        self.read(table, key)?.map(|bytes| decode(table, &bytes)).transpose()
    }

    /// At most `limit` rows whose names start with `prefix`, after `after`, in order of name.
    pub fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<NamedValue>, StoreError> {
        use std::ops::Bound;
        let opened = self.0.open_table(table.definition()).map_err(StoreError::engine)?;
        let from = match after {
            Some(name) => Bound::Excluded(name),
            None => Bound::Included(prefix),
        };
        let mut rows = Vec::new();
        for row in opened.range::<&[u8]>((from, Bound::Unbounded)).map_err(StoreError::engine)? {
            let (name, value) = row.map_err(StoreError::engine)?;
            if rows.len() == limit || !name.value().starts_with(prefix) {
                break;
            }
            rows.push((name.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows)
    }

    /// The last row of a table.
    pub fn last(&self, table: Table) -> Result<Option<NamedValue>, StoreError> {
        let opened = self.0.open_table(table.definition()).map_err(StoreError::engine)?;
        let last = opened.last().map_err(StoreError::engine)?;
        Ok(last.map(|(name, value)| (name.value().to_vec(), value.value().to_vec())))
    }

    /// Rows of a table.
    pub fn count(&self, table: Table) -> Result<u64, StoreError> {
        use redb::ReadableTableMetadata;
        self.0.open_table(table.definition()).map_err(StoreError::engine)?.len().map_err(StoreError::engine)
    }

    /// Calls `each` for every row of every table.
    pub fn each<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(Table, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for table in Table::ALL {
            let opened = self.0.open_table(table.definition()).map_err(StoreError::engine)?;
            for row in opened.iter().map_err(StoreError::engine)? {
                let (name, value) = row.map_err(StoreError::engine)?;
                each(table, name.value(), value.value())?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

pub(crate) fn decode<T>(table: Table, bytes: &[u8]) -> Result<T, StoreError>
where
    T: for<'b> minicbor::Decode<'b, ()>,
{
    minicbor::decode(bytes).map_err(|_| StoreError::Damaged { table })
}

fn job<T, E, F>(change: F, answer: oneshot::Sender<Result<T, E>>) -> Work
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
{
    Box::new(move |tx| {
        let outcome = change(tx);
        Box::new(move |committed| {
            // Whoever asked may be gone; the write stands all the same.
            let _gone = answer.send(match committed {
                Ok(()) => outcome,
                Err(error) => Err(E::from(error)),
            });
        })
    })
}

/// Adds the tables that came after the database was made.
fn complete(database: &Database) -> Result<(), StoreError> {
    use redb::TableHandle;
    let reading = database.begin_read().map_err(StoreError::engine)?;
    let there: Vec<String> =
        reading.list_tables().map_err(StoreError::engine)?.map(|table| table.name().to_owned()).collect();
    drop(reading);
    let missing = |table: &Table| !there.iter().any(|name| name == table.definition().name());
    let missing: Vec<Table> = Table::ALL.into_iter().filter(missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let transaction = database.begin_write().map_err(StoreError::engine)?;
    for table in missing {
        transaction.open_table(table.definition()).map_err(StoreError::engine)?;
    }
    transaction.commit().map_err(StoreError::engine)
}

fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// A million key rows are about 300 MB; the hot ones are the newest.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path) -> Store {
        let path = dir.join("keys.redb");
        if !path.exists() {
            Store::create(&path, &[]).unwrap();
        }
        Store::open(&path, None).unwrap()
    }

    #[test]
    fn a_refused_write_leaves_its_neighbours_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let refused: Result<(), StoreError> = store.write_blocking(|_| Err(StoreError::Full));
        assert!(matches!(refused, Err(StoreError::Full)));
        store.write_blocking::<_, StoreError, _>(|tx| tx.put(Table::Meta, b"a", b"1")).unwrap();
        assert_eq!(store.snapshot().unwrap().read(Table::Meta, b"a").unwrap().unwrap(), b"1");
    }

    #[test]
    fn what_was_answered_is_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = open(dir.path());
            store.write_blocking::<_, StoreError, _>(|tx| tx.put(Table::Keys, b"k", b"v")).unwrap();
        }
        let store = open(dir.path());
        assert_eq!(store.snapshot().unwrap().count(Table::Keys).unwrap(), 1);
    }

    #[test]
    fn a_database_from_before_a_table_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.redb");
        drop(open(dir.path()));
        {
            let database = builder().open(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            assert!(transaction.delete_table(Table::People.definition()).unwrap());
            transaction.commit().unwrap();
        }
        assert_eq!(open(dir.path()).snapshot().unwrap().count(Table::People).unwrap(), 0);
    }

    #[test]
    fn a_scan_stays_inside_its_prefix_and_goes_on_after_its_cursor() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        store
            .write_blocking::<_, StoreError, _>(|tx| {
                for name in [b"a1", b"a2", b"a3", b"b1"] {
                    tx.put(Table::ByStudy, name, b"")?;
                }
                Ok(())
            })
            .unwrap();
        let names = |after: Option<&[u8]>, limit| {
            let rows = store.snapshot().unwrap().scan(Table::ByStudy, b"a", after, limit).unwrap();
            rows.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(None, 2), [b"a1", b"a2"]);
        assert_eq!(names(Some(b"a2"), 9), [b"a3"]);
    }
}
