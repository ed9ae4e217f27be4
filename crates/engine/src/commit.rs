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
    /// More than entries waits.
    pub(crate) heavy: Notify,
    /// The last attempt to drain failed: a disk is full, or the store is away.
    pub(crate) stuck: AtomicBool,
}

/// Records by position, and the bytes of their objects.
#[derive(Debug, Default)]
struct Queue {
    records: BTreeMap<u64, Waiting>,
    bytes: usize,
    /// Records that are more than entries.
    heavy: usize,
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
            heavy: Notify::new(),
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
        let (mut batch, mut bytes, mut entries, mut heavy) = (Vec::new(), 0, 0, 0);
        while let Some(entry) = waiting.records.first_entry().filter(|e| *e.key() == next + batch.len() as u64) {
            bytes += entry.get().object_bytes();
            entries += entry.get().record.entries.iter().map(Bytes::len).sum::<usize>();
            heavy += usize::from(entry.get().is_heavy());
            let many = heavy > MAX_BATCH || batch.len() == MAX_ENTRIES_BATCH;
            if !batch.is_empty() && (many || bytes > MAX_BATCH_BYTES || entries > MAX_BATCH_ENTRY_BYTES) {
                break;
            }
            batch.push(entry.remove_entry());
        }
        waiting.bytes -= batch.iter().map(|(_, waiting)| waiting.object_bytes()).sum::<usize>();
        waiting.heavy -= batch.iter().filter(|(_, waiting)| waiting.is_heavy()).count();
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

    /// Whether nothing waits but entries, and many of them: of a busy node that is only read.
    pub(crate) fn has_many_entries_alone(&self) -> bool {
        let queue = self.waiting.lock();
        queue.heavy == 0 && queue.records.len() >= MANY_ENTRIES
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
        let heavy = waiting.is_heavy();
        let plenty = {
            let mut queue = self.waiting.lock();
            queue.extend([(position, waiting)]);
            queue.is_plenty()
        };
        self.arrived.notify_one();
        if heavy {
            self.heavy.notify_one();
        }
        if plenty {
            self.plenty.notify_one();
        }
    }
}

impl Queue {
    fn extend(&mut self, records: impl IntoIterator<Item = (u64, Waiting)>) {
        for (position, waiting) in records {
            self.bytes += waiting.object_bytes();
            self.heavy += usize::from(waiting.is_heavy());
            self.records.insert(position, waiting);
        }
    }

    fn is_plenty(&self) -> bool {
        self.bytes >= PLENTY_BYTES || self.heavy >= MAX_BATCH || self.records.len() >= MAX_ENTRIES_BATCH
    }
}

impl Waiting {
    /// Whether it is more than entries: something that is to be found, or stored.
    fn is_heavy(&self) -> bool {
        self.record.object.is_some() || !self.record.rows.is_empty()
    }

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

/// Records and object bytes that the drain takes at a time; of records that are entries alone, more.
const MAX_BATCH: usize = 512;
const MAX_ENTRIES_BATCH: usize = 8 * MAX_BATCH;
/// Entries after which a node counts as busy.
const MANY_ENTRIES: usize = 128;
const MAX_BATCH_BYTES: usize = 24 << 20;
/// Object bytes that do not wait for more.
const PLENTY_BYTES: usize = 16 << 20;
/// Entries that the drain holds at a time.
const MAX_BATCH_ENTRY_BYTES: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Record {
        Record { entries: vec![Bytes::from_static(b"entry")], ..Record::default() }
    }

    fn object() -> Record {
        Record { object: Some((ObjectId::from_bytes([7; 16]), Bytes::from_static(b"sealed"))), ..entry() }
    }

    fn backlog(records: impl IntoIterator<Item = Record>) -> Backlog {
        let backlog = Backlog::new();
        for (position, record) in (1..).zip(records) {
            backlog.put(position, Waiting { record, _room: None });
        }
        backlog
    }

    #[test]
    fn entries_alone_wait_for_many_more_of_them_and_objects_do_not() {
        let entries = backlog((0..MAX_ENTRIES_BATCH - 1).map(|_| entry()));
        assert!(entries.has_many_entries_alone() && !entries.has_plenty());
        assert_eq!(entries.batch(1).len(), MAX_ENTRIES_BATCH - 1);
        let objects = backlog((0..MAX_BATCH).map(|_| object()));
        assert!(objects.has_plenty() && !objects.has_many_entries_alone());
        assert!(!backlog([entry()]).has_many_entries_alone(), "a few are drained soon");
    }

    #[test]
    fn a_batch_has_so_many_objects_whatever_stands_between_them() {
        let mixed = backlog((0..3 * MAX_BATCH).flat_map(|_| [entry(), object()]));
        let batch = mixed.batch(1);
        assert_eq!(batch.len(), 2 * MAX_BATCH + 1, "and the entry behind the last of them");
        mixed.put_back(batch);
        let mut next = 1;
        for left in [2, 1] {
            let batch = mixed.batch(next);
            next += batch.len() as u64;
            assert!(mixed.has_plenty() && !mixed.has_many_entries_alone(), "{left} more");
        }
        assert_eq!(mixed.batch(next).len(), 2 * MAX_BATCH - 1);
        assert!(!mixed.has_plenty());
    }
}
