//! The one durable step, and what becomes visible through it.
//!
//! A commit goes to the journal; once it is durable its rows are staged in the catalog, its sealed object can be read
//! from memory, and the drain is told. Nothing is visible before it is durable.

use crate::{Record, Shared};
use bytes::Bytes;
use leadglass_journal::CommitError;
use leadglass_model::{Acknowledged, ObjectId};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Commits that are durable but have not been drained yet.
#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Mutex<Queue>,
    objects: Mutex<HashMap<ObjectId, Bytes>>,
    room: Arc<Semaphore>,
    /// Something waits.
    pub(crate) arrived: Notify,
    /// A batch's worth waits.
    pub(crate) plenty: Notify,
    /// The last attempt to drain failed: a disk is full, or the store is away.
    pub(crate) stuck: AtomicBool,
}

/// Records by position, and the bytes of their objects.
#[derive(Debug, Default)]
struct Queue {
    records: BTreeMap<u64, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) record: Record,
    /// Gives the bytes back to `room` when the drain is done with them.
    _room: Option<OwnedSemaphorePermit>,
}

impl Backlog {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            objects: Mutex::default(),
            room: Arc::new(Semaphore::new(MAX_BACKLOG_KIB)),
            arrived: Notify::new(),
            plenty: Notify::new(),
            stuck: AtomicBool::new(false),
        }
    }

    /// A sealed object that is durable in the journal and not yet in the store.
    pub(crate) fn object(&self, id: ObjectId) -> Option<Bytes> {
        self.objects.lock().get(&id).cloned()
    }

    /// The next records in order, starting at `next`, without a gap, up to a batch's bounds.
    pub(crate) fn batch(&self, next: u64) -> Vec<(u64, Waiting)> {
        let mut waiting = self.waiting.lock();
        let (mut batch, mut bytes, mut entries) = (Vec::new(), 0, 0);
        while let Some(entry) = waiting.records.first_entry().filter(|e| *e.key() == next + batch.len() as u64) {
            bytes += entry.get().object_bytes();
            entries += entry.get().record.entries.iter().map(Bytes::len).sum::<usize>();
            let full = batch.len() == MAX_BATCH || bytes > MAX_BATCH_BYTES || entries > MAX_BATCH_ENTRY_BYTES;
            if !batch.is_empty() && full {
                break;
            }
            batch.push(entry.remove_entry());
        }
        waiting.bytes -= batch.iter().map(|(_, waiting)| waiting.object_bytes()).sum::<usize>();
        batch
    }

    /// A batch that could not be drained waits again.
    pub(crate) fn put_back(&self, batch: Vec<(u64, Waiting)>) {
        self.waiting.lock().extend(batch);
    }

    /// Whether a batch's worth waits, so that waiting for more saves nothing.
    pub(crate) fn has_plenty(&self) -> bool {
        self.waiting.lock().is_plenty()
    }

    /// These objects are in the store now.
    pub(crate) fn forget_objects(&self, batch: &[(u64, Waiting)]) {
        let mut objects = self.objects.lock();
        for (_, waiting) in batch {
            if let Some((id, _)) = &waiting.record.object {
                objects.remove(id);
            }
        }
    }

    /// Sealed objects that wait for the store, and their bytes.
    pub(crate) fn pending(&self) -> (usize, usize) {
        let objects = self.objects.lock();
        (objects.len(), objects.values().map(Bytes::len).sum())
    }

    fn hold(&self, record: &Record) {
        if let Some((id, sealed)) = &record.object {
            self.objects.lock().insert(*id, sealed.clone());
        }
    }

    fn put(&self, position: u64, waiting: Waiting) {
        let plenty = {
            let mut queue = self.waiting.lock();
            queue.extend([(position, waiting)]);
            queue.is_plenty()
        };
        self.arrived.notify_one();
        if plenty {
            self.plenty.notify_one();
        }
    }
}

impl Queue {
    fn extend(&mut self, records: impl IntoIterator<Item = (u64, Waiting)>) {
        for (position, waiting) in records {
            self.bytes += waiting.object_bytes();
            self.records.insert(position, waiting);
        }
    }

    fn is_plenty(&self) -> bool {
        self.bytes >= PLENTY_BYTES || self.records.len() >= MAX_BATCH
    }
}

impl Waiting {
    fn object_bytes(&self) -> usize {
        self.record.object.as_ref().map_or(0, |(_, sealed)| sealed.len())
    }
}

impl Shared {
    /// Makes a record durable and then visible.
    ///
    /// Cancel safety: none. Every caller runs in a tracked task, because a record that is durable must reach the drain.
    pub(crate) async fn commit(&self, record: Record) -> Result<Acknowledged, CommitError> {
        let pieces = record.encode();
        let kib = pieces.iter().map(Bytes::len).sum::<usize>().div_ceil(1024).clamp(1, MAX_BACKLOG_KIB);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        // A drain that is stuck (its disk is full) must not keep senders waiting for ever.
        let room = tokio::time::timeout(ROOM_WAIT, self.backlog.room.clone().acquire_many_owned(kib)).await;
        let room = room.map_err(|_| CommitError::Full)?.map_err(|_| CommitError::Closed)?;
        let receipt = self.journal.commit(pieces).await?;
        self.show(receipt.position(), Waiting { record, _room: Some(room) });
        Ok(receipt)
    }

    /// A record that the journal replays at start: durable already.
    pub(crate) fn replay(&self, position: u64, record: Record) {
        self.show(position, Waiting { record, _room: None });
    }

    /// The object can be read before the row that names it can be found, and both before the drain takes them away.
    fn show(&self, position: u64, waiting: Waiting) {
        self.backlog.hold(&waiting.record);
        self.stage(position, &waiting.record);
        self.backlog.put(position, waiting);
    }

    /// A row that does not open (its study was erased meanwhile) is not visible, and goes its way all the same.
    fn stage(&self, position: u64, record: &Record) {
        let rows = record.rows.iter().map(|row| (row.tenant, row.key, row.bytes.clone()));
        if let Err(error) = self.catalog.stage(position, rows) {
            metrics::counter!("leadglass_rows_unreadable_total").increment(1);
            tracing::warn!(position, %error, "a journalled row does not open");
        }
    }
}

/// Durable bytes that may wait for the drain: they lie in memory too. Senders wait beyond that.
const MAX_BACKLOG_KIB: usize = 48 * 1024;

/// So long a commit waits for the drain before its sender is told to come back.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// Records and object bytes that the drain takes at a time.
const MAX_BATCH: usize = 512;
const MAX_BATCH_BYTES: usize = 24 << 20;
/// Object bytes that do not wait for more.
const PLENTY_BYTES: usize = 16 << 20;
/// The audit log takes 8 MiB of entries at a time.
const MAX_BATCH_ENTRY_BYTES: usize = 4 << 20;
