//! The one thread that writes: takes all that wait, one redb transaction, one commit, one mirror fsync, then the answers.

use super::{Record, StoreError, Table};
use crate::disk::DiskError;
use redb::{Database, Durability, ReadableTable, WriteTransaction};
use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A write under way.
pub struct Tx<'a> {
    transaction: &'a WriteTransaction,
    changes: &'a mut Vec<Change>,
}

/// One row put, or deleted (`value: None`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// The row's name.
    pub key: Vec<u8>,
    /// Its new value.
    pub value: Option<Vec<u8>>,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tx({} changes)", self.changes.len())
    }
}

impl Tx<'_> {
    /// One row, with what this commit has written so far.
    pub fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let table = self.transaction.open_table(table.definition()).map_err(StoreError::engine)?;
        Ok(table.get(key).map_err(StoreError::engine)?.map(|value| value.value().to_vec()))
    }

    /// One row, decoded.
    pub fn row<T>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError>
    where
        T: for<'b> minicbor::Decode<'b, ()>,
    {
        self.read(table, key)?.map(|bytes| super::decode(table, &bytes)).transpose()
    }

    /// Names of at most `limit` rows that start with `prefix`, after `after`.
    pub fn names(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        use std::ops::Bound;
        let opened = self.transaction.open_table(table.definition()).map_err(StoreError::engine)?;
        let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut names = Vec::new();
        for row in opened.range::<&[u8]>((from, Bound::Unbounded)).map_err(StoreError::engine)? {
            let (name, _) = row.map_err(StoreError::engine)?;
            if names.len() == limit || !name.value().starts_with(prefix) {
                break;
            }
            names.push(name.value().to_vec());
        }
        Ok(names)
    }

    /// The last row's name.
    pub fn last_name(&self, table: Table) -> Result<Option<Vec<u8>>, StoreError> {
        let opened = self.transaction.open_table(table.definition()).map_err(StoreError::engine)?;
        Ok(opened.last().map_err(StoreError::engine)?.map(|(name, _)| name.value().to_vec()))
    }

    /// Writes a row.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let mut opened = self.transaction.open_table(table.definition()).map_err(StoreError::engine)?;
        opened.insert(key, value).map_err(StoreError::engine)?;
        self.changes.push(Change { table, key: key.to_vec(), value: Some(value.to_vec()) });
        Ok(())
    }

    /// Writes a row from its type.
    pub fn put_row<T: minicbor::Encode<()>>(&mut self, table: Table, key: &[u8], row: &T) -> Result<(), StoreError> {
        let bytes = minicbor::to_vec(row).map_err(|_| StoreError::Damaged { table })?;
        self.put(table, key, &bytes)
    }

    /// Deletes a row; one that is not there is fine.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        let mut opened = self.transaction.open_table(table.definition()).map_err(StoreError::engine)?;
        opened.remove(key).map_err(StoreError::engine)?;
        self.changes.push(Change { table, key: key.to_vec(), value: None });
        Ok(())
    }
}

/// A second disk that hears of every change before its caller does.
///
/// A change that could not be written is kept and goes in front of the next one, so that the mirror may be late and never
/// has a hole. Bytes that a failed write left behind are cut off first.
#[derive(Debug)]
pub struct Mirror {
    file: File,
    path: PathBuf,
    good_len: u64,
    pending: Vec<u8>,
}

impl Mirror {
    /// Starts a change log that was not there before; `head` is written first.
    pub fn start(path: &Path, head: &[u8]) -> Result<Self, DiskError> {
        crate::disk::replace(path, head)?;
        let failed = |source| DiskError::new("open the mirror", path, source);
        let file = File::options().append(true).open(path).map_err(failed)?;
        Ok(Self { file, path: path.to_owned(), good_len: head.len() as u64, pending: Vec::new() })
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), DiskError> {
        let late = !self.pending.is_empty();
        if self.pending.len() < MAX_PENDING_BYTES {
            Record::encode_changes(changes, &mut self.pending);
        } else {
            // Too much is missing: the next start makes the mirror anew, and nothing is answered until then.
            return Err(DiskError::new("catch up with the mirror", &self.path, std::io::ErrorKind::StorageFull.into()));
        }
        let written = (|| {
            if late {
                self.file.set_len(self.good_len)?;
            }
            self.file.write_all(&self.pending)?;
            self.file.sync_data()
        })();
        written.map_err(|source| DiskError::new("write the mirror", &self.path, source))?;
        self.good_len += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
pub(super) type Work = Box<dyn FnOnce(&mut Tx<'_>) -> Finish + Send>;

/// A write, the place in the queue that it takes, and whether somebody waits for it.
struct Waiting {
    work: Work,
    permit: Option<OwnedSemaphorePermit>,
    urgency: Urgency,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// Somebody waits.
    Now,
    /// Nobody waits: it goes with the next commit, within [`SOON`].
    Soon,
}

pub(super) struct Writer {
    queue: Option<mpsc::SyncSender<Waiting>>,
    room: Arc<Semaphore>,
    mirror: Arc<Mutex<Option<Mirror>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(database: Arc<Database>, mirror: Option<Mirror>) -> Self {
        let (queue, jobs) = mpsc::sync_channel(MAX_WAITING * 2);
        let mirror = Arc::new(Mutex::new(mirror));
        let written = Arc::clone(&mirror);
        let thread = std::thread::Builder::new()
            .name("key-database".to_owned())
            .spawn(move || run(&database, &written, &jobs))
            .expect("a process that cannot start its first threads cannot run");
        Self {
            queue: Some(queue),
            room: Arc::new(Semaphore::new(MAX_WAITING)),
            mirror,
            thread: Mutex::new(Some(thread)),
        }
    }

    /// Begins the mirror anew; no commit happens meanwhile.
    pub(super) fn remirror<E>(&self, start: impl FnOnce() -> Result<Mirror, E>) -> Result<(), E> {
        let mut mirror = self.mirror.lock().unwrap_or_else(PoisonError::into_inner);
        *mirror = Some(start()?);
        Ok(())
    }

    pub(super) async fn submit(&self, work: Work) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        self.send(work, Some(permit), Urgency::Now)
    }

    pub(super) fn submit_blocking(&self, work: Work) -> Result<(), StoreError> {
        self.send(work, None, Urgency::Now)
    }

    pub(super) fn submit_soon(&self, work: Work) {
        if self.send(work, None, Urgency::Soon).is_err() {
            tracing::warn!("A deferred write found no room");
        }
    }

    fn send(&self, work: Work, permit: Option<OwnedSemaphorePermit>, urgency: Urgency) -> Result<(), StoreError> {
        let queue = self.queue.as_ref().ok_or(StoreError::Stopped)?;
        queue.try_send(Waiting { work, permit, urgency }).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => StoreError::Full,
            mpsc::TrySendError::Disconnected(_) => StoreError::Stopped,
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there was already reported by the panic hook.
            let _ended = thread.join();
        }
    }
}

fn run(database: &Database, mirror: &Mutex<Option<Mirror>>, jobs: &mpsc::Receiver<Waiting>) {
    while let Ok(first) = jobs.recv() {
        let latest = Instant::now() + SOON;
        let mut urgent = false;
        let mut batch = Vec::with_capacity(MAX_BATCH);
        let mut next = Some(first);
        while let Some(waiting) = next.take() {
            urgent |= waiting.urgency == Urgency::Now;
            batch.push(waiting);
            if batch.len() < MAX_BATCH {
                next = if urgent {
                    jobs.try_recv().ok()
                } else {
                    jobs.recv_timeout(latest.saturating_duration_since(Instant::now())).ok()
                };
            }
        }
        commit(database, mirror.lock().unwrap_or_else(PoisonError::into_inner).as_mut(), batch);
    }
}

fn commit(database: &Database, mirror: Option<&mut Mirror>, batch: Vec<Waiting>) {
    if batch.is_empty() {
        return;
    }
    let mut finishes: Vec<Finish> = Vec::with_capacity(batch.len());
    let mut permits = Vec::new();
    let outcome = (|| {
        let mut transaction = database.begin_write().map_err(StoreError::engine)?;
        transaction.set_durability(Durability::Immediate).map_err(StoreError::engine)?;
        let mut changes = Vec::new();
        for Waiting { work, permit, .. } in batch {
            finishes.push(work(&mut Tx { transaction: &transaction, changes: &mut changes }));
            permits.push(permit);
        }
        if changes.is_empty() {
            return transaction.abort().map_err(StoreError::engine);
        }
        transaction.commit().map_err(StoreError::engine)?;
        // If we die here the change stands in the database and not in the mirror, and nobody was told.
        match mirror {
            Some(mirror) => mirror.append(&changes).map_err(|error| StoreError::Mirror(Arc::new(error))),
            None => Ok(()),
        }
    })();
    for finish in finishes {
        finish(outcome.clone());
    }
    drop(permits);
}

/// Changes that a mirror may be behind before it is given up until the next start.
const MAX_PENDING_BYTES: usize = 64 * 1024 * 1024;
/// Writes that may wait, each holding at most a few hundred rows.
const MAX_WAITING: usize = 512;
/// A write that nobody waits for is durable within this time.
const SOON: Duration = Duration::from_secs(1);
/// Writes that share one commit.
const MAX_BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Dump;

    fn change(key: u8) -> Change {
        Change { table: Table::Keys, key: vec![key], value: Some(vec![key]) }
    }

    #[test]
    fn a_mirror_that_failed_once_has_neither_a_hole_nor_a_torn_frame() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("changes.log");
        let mut mirror = Mirror::start(&path, b"head").unwrap();
        mirror.append(&[change(1)]).unwrap();
        let writable = std::mem::replace(&mut mirror.file, File::open(&path).unwrap());
        assert!(mirror.append(&[change(2)]).is_err());
        mirror.file = writable;
        // What a write that broke off would have left.
        mirror.file.write_all(b"torn").unwrap();
        mirror.append(&[change(3)]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let frames = Dump::decode_frames(bytes.strip_prefix(b"head").unwrap()).unwrap();
        assert_eq!(frames, [change(1), change(2), change(3)]);
    }
}
