//! Plaintext of one object, run by run.
//!
//! The index row pins header and length. No byte leaves before its chunk authenticated; what does not authenticate raises
//! an alarm.

use super::{RetrieveError, cache::CacheKey, pool::Pool, stretch::stretch};
use crate::{
    Shared,
    alarm::AlarmKind,
    rooms::{Room, Share},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_index::InstanceRow;
use leadglass_keys::{Acting, ObjectLease};
use leadglass_model::{ActorRef, EntryId, Fault, ObjectId, Purpose};
use leadglass_seal::{ChunkSize, HEADER_LEN, OpenError, Opener, RangePlan, SealedName, Tail, TailStep};
use leadglass_store::StoreError;
use parking_lot::Mutex;
use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Opens an object for as long as the key service lets it: a lease that ends in the middle of a long download is asked
/// for again, and a study that was erased or restricted meanwhile stops there.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(super) shared: Arc<Shared>,
    name: SealedName,
    opener: Arc<Opener>,
    by: ReadBy,
    share: Share,
    over: Arc<AtomicBool>,
    lease: Arc<Mutex<Arc<ObjectLease>>>,
}

/// Who reads, what for, and the entry that says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadBy {
    pub(crate) session: [u8; 16],
    pub(crate) actor: ActorRef,
    pub(crate) purpose: Purpose,
    pub(crate) entry: EntryId,
}

/// What opens a run of chunks in the memory that it was read into.
pub(super) struct Opening {
    opener: Arc<Opener>,
    pool: Pool,
    room: Room,
    first_chunk: u64,
    /// Sealed bytes of the run.
    pub(super) len: usize,
}

/// Whether the same is likely to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Unlikely,
    Likely,
}

impl Shared {
    /// A reader of the object that a row pins. It stops once `over` is set.
    pub(crate) fn reader(
        self: &Arc<Self>,
        lease: Arc<ObjectLease>,
        row: &InstanceRow,
        by: ReadBy,
        over: Arc<AtomicBool>,
    ) -> Result<Reader, RetrieveError> {
        self.reader_of(lease, (row.object_id, &row.header, row.sealed_len), by, over)
    }

    /// As [`Self::reader`], of an object by its name, header and length, under the lease's key.
    pub(crate) fn reader_of(
        self: &Arc<Self>,
        lease: Arc<ObjectLease>,
        (object_id, header, sealed_len): (ObjectId, &[u8; HEADER_LEN], u64),
        by: ReadBy,
        over: Arc<AtomicBool>,
    ) -> Result<Reader, RetrieveError> {
        let name = SealedName { tenant: lease.tenant(), object_id, key_id: lease.key_id(), key_gen: lease.key_gen() };
        let opener =
            Opener::pinned(lease.study_key(), &name, header, sealed_len).map_err(|e| self.damaged(object_id, e))?;
        let (lease, share) = (Arc::new(Mutex::new(lease)), self.pool.share(by.actor));
        Ok(Reader { shared: self.clone(), name, opener: Arc::new(opener), by, share, over, lease })
    }
}

impl Reader {
    /// Plaintext of the object, chunk by authenticated chunk; a few runs are in work at a time. Each piece is a part of one
    /// chunk, where it was opened.
    pub(crate) fn plain(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + use<> {
        self.runs(range, Again::Unlikely)
    }

    /// As [`plain`](Self::plain), for what a viewer comes back to: see [`Cache`](super::cache::Cache).
    pub(crate) fn viewed(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + use<> {
        self.runs(range, Again::Likely)
    }

    fn runs(&self, range: Range<u64>, again: Again) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + use<> {
        let geometry = self.opener.geometry();
        let chunks = (RUN_BYTES >> geometry.chunk_size().log2()).max(1);
        let runs: Vec<RangePlan> = match geometry.plan(range) {
            Ok(plan) => geometry.runs(&plan, chunks).collect(),
            Err(_) => Vec::new(),
        };
        let reader = self.clone();
        let opened = if runs.len() > 1 && self.is_far() {
            stretch(reader, runs, again).left_stream()
        } else {
            let run = move |run| {
                let reader = reader.clone();
                async move { reader.run(run, again).await }
            };
            stream::iter(runs).map(run).buffered(RUNS_AHEAD).right_stream()
        };
        opened.map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok))).try_flatten()
    }

    /// FOOTER and INDEX: one read, and one more for a long frame table.
    pub(crate) async fn tail(&self) -> Result<Tail, RetrieveError> {
        self.hold_lease().await?;
        let (object, geometry) = (self.name.object_id, self.opener.geometry());
        let sealed_len = geometry.sealed_len();
        let start = sealed_len - geometry.chunk_size().suffix_len(sealed_len);
        let suffix = self.shared.sealed_range(object, &self.opener, start..sealed_len).await?;
        let damaged = |error| self.shared.damaged(object, error);
        match self.opener.read_tail(&suffix).map_err(damaged)? {
            TailStep::Complete(tail) => Ok(*tail),
            TailStep::NeedsIndex { footer, index } => {
                let sealed = self.shared.sealed_range(object, &self.opener, index.sealed()).await?;
                self.opener.read_index(&footer, &index, &sealed).map_err(damaged)
            }
        }
    }

    /// The key that it reads with now.
    pub(super) fn lease(&self) -> Arc<ObjectLease> {
        self.lease.lock().clone()
    }

    /// The object's name, random.
    pub(crate) const fn object(&self) -> ObjectId {
        self.name.object_id
    }

    /// What every chunk said was not what the object says of itself.
    pub(crate) fn damaged(&self, error: OpenError) -> RetrieveError {
        self.shared.damaged(self.name.object_id, error)
    }

    /// Whether reading it is a request over a network: what waits for the store lies in memory.
    fn is_far(&self) -> bool {
        self.shared.objects.is_far() && self.shared.backlog.object(self.name.object_id).is_none()
    }

    /// A run of chunks, from what is remembered or opened.
    async fn run(&self, run: RangePlan, again: Again) -> Result<Vec<Bytes>, RetrieveError> {
        self.hold_lease().await?;
        if let Some(pieces) = self.remembered(&run, again) {
            return Ok(pieces);
        }
        let (opened, memory) = self.open(&run).await?;
        Ok(self.remember(&run, again, &opened, memory))
    }

    /// A run that was opened before and is kept.
    pub(super) fn remembered(&self, run: &RangePlan, again: Again) -> Option<Vec<Bytes>> {
        let opened = self.shared.cache.get(&self.cache_key(run, again)?)?;
        Some(self.pieces(&opened, run))
    }

    /// What was asked for of a run that was opened; it is kept where it is likely to be asked for again. `memory`: how much
    /// it lies in.
    pub(super) fn remember(&self, run: &RangePlan, again: Again, opened: &Bytes, memory: usize) -> Vec<Bytes> {
        if let Some(key) = self.cache_key(run, again) {
            self.shared.cache.put(key, opened, memory, || (!self.is_over()).then(|| self.lease.lock().watch()));
        }
        self.pieces(opened, run)
    }

    fn cache_key(&self, run: &RangePlan, again: Again) -> Option<CacheKey> {
        let ReadBy { session, purpose, .. } = self.by;
        let (tenant, object) = (self.name.tenant, self.name.object_id);
        (again == Again::Likely && self.shared.objects.is_far()).then(|| CacheKey {
            session,
            tenant,
            purpose,
            object,
            sealed: run.sealed(),
        })
    }

    fn pieces(&self, opened: &Bytes, run: &RangePlan) -> Vec<Bytes> {
        pieces(opened, sealed_len(run), run, self.opener.geometry().chunk_size())
    }

    /// Memory for a run, and what opens it there once it is filled; beside what was opened, how much memory that is.
    pub(super) async fn opening(&self, run: &RangePlan) -> Result<(Vec<u8>, Opening), RetrieveError> {
        let (len, pool) = (sealed_len(run), self.shared.pool.clone());
        let room = pool.room(&self.share, len).await.ok_or(RetrieveError::NoRoom)?;
        let memory = pool.take(len);
        Ok((memory, Opening { opener: self.opener.clone(), pool, room, first_chunk: run.first_chunk(), len }))
    }

    /// Reads a run of chunks and opens it where it was read. Beside it, how much memory that is.
    async fn open(&self, run: &RangePlan) -> Result<(Bytes, usize), RetrieveError> {
        let (shared, object, sealed) = (&self.shared, self.name.object_id, run.sealed());
        let (mut memory, opening) = self.opening(run).await?;
        let opened: Result<(Bytes, usize), OpenError> = match shared.backlog.object(object) {
            Some(whole) => {
                let len = opening.len;
                let range = usize::try_from(sealed.start).ok().and_then(|at| whole.get(at..at.checked_add(len)?));
                if let Some(sealed) = range {
                    memory[..len].copy_from_slice(sealed);
                }
                // Where it is too short for the range, its length is not the pinned one.
                opening.open(memory, whole.len() as u64)
            }
            None => {
                let open = move |memory, total| opening.open(memory, total);
                let read = shared.objects.range_then(object, sealed, memory, open).await;
                read.map_err(|e| shared.store_failed(object, e))?
            }
        };
        opened.map_err(|e| shared.damaged(object, e))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) async fn hold_lease(&self) -> Result<(), RetrieveError> {
        if self.is_over() {
            return Err(RetrieveError::SignedOut);
        }
        if !self.lease.lock().is_ended() {
            return Ok(());
        }
        let id = self.name.key_id;
        let ReadBy { actor, purpose, entry, session } = self.by;
        let acting = Acting { actor, session: Some(session) };
        let opened = self.shared.keys.open(self.name.tenant, &[id], purpose, acting, entry).await;
        let mut opened = opened.map_err(RetrieveError::Keys)?;
        let fresh = opened.remove(&id).ok_or(RetrieveError::Missing)?.map_err(RetrieveError::Refused)?;
        *self.lease.lock() = fresh;
        Ok(())
    }
}

impl Shared {
    /// A sealed range of an object: from memory while it waits for the store, else from the store, whose idea of the
    /// object's length must be the pinned one.
    pub(crate) async fn sealed_range(
        self: &Arc<Self>,
        object: ObjectId,
        opener: &Opener,
        sealed: Range<u64>,
    ) -> Result<Bytes, RetrieveError> {
        let (bytes, total) = match self.backlog.object(object) {
            Some(whole) => {
                let total = whole.len() as u64;
                let end = usize::try_from(sealed.end.min(total)).unwrap_or(usize::MAX);
                let start = usize::try_from(sealed.start).unwrap_or(usize::MAX).min(end);
                (whole.slice(start..end), total)
            }
            None => self.objects.range(object, sealed).await.map_err(|e| self.store_failed(object, e))?,
        };
        opener.check_total(total).map_err(|e| self.damaged(object, e))?;
        Ok(bytes)
    }

    /// An object that the index names is missing, or the store cannot be read.
    pub(super) fn store_failed(self: &Arc<Self>, object: ObjectId, error: StoreError) -> RetrieveError {
        if matches!(error.fault(), Fault::Missing | Fault::Corrupt) {
            self.alarm(AlarmKind::Integrity, Some(object));
        }
        match error.fault() {
            // The index says that it is there, and how long: to the caller it is damage, not absence.
            Fault::Missing | Fault::Corrupt => RetrieveError::Damaged { object, source: OpenError::Truncated },
            _ => RetrieveError::Store(error),
        }
    }

    pub(crate) fn damaged(self: &Arc<Self>, object: ObjectId, source: OpenError) -> RetrieveError {
        self.alarm(AlarmKind::Integrity, Some(object));
        RetrieveError::Damaged { object, source }
    }
}

impl Opening {
    /// `total`: the store's idea of the object's length, which must be the pinned one.
    pub(super) fn open(self, mut memory: Vec<u8>, total: u64) -> Result<(Bytes, usize), OpenError> {
        self.opener.check_total(total)?;
        self.opener.open_run(self.first_chunk, &mut memory[..self.len])?;
        let weight = memory.len();
        Ok((self.pool.lend(memory, self.room), weight))
    }
}

/// Sealed bytes of a run.
fn sealed_len(run: &RangePlan) -> usize {
    let sealed = run.sealed();
    usize::try_from(sealed.end - sealed.start).unwrap_or(usize::MAX)
}

/// The plaintext that a run was asked for, out of its opened chunks: behind each lies its tag.
fn pieces(opened: &Bytes, len: usize, run: &RangePlan, size: ChunkSize) -> Vec<Bytes> {
    let tag_len = size.sealed_len() - size.plain_len();
    let mut left = usize::try_from(run.plain().end - run.plain().start).unwrap_or(usize::MAX);
    let mut skip = run.skip();
    let mut pieces = Vec::with_capacity(len.div_ceil(size.sealed_len()));
    for start in (0..len).step_by(size.sealed_len()) {
        let end = (start + size.sealed_len()).min(len).saturating_sub(tag_len);
        let from = (start + std::mem::take(&mut skip)).min(end);
        let to = end.min(from.saturating_add(left));
        left -= to - from;
        if from < to {
            pieces.push(opened.slice(from..to));
        }
    }
    pieces
}

/// Sealed bytes read at a time, without the tags: 16 chunks of the default size.
const RUN_BYTES: u64 = 1 << 20;
/// Runs in work for one reader. With what waits to be sent it bounds the reader's memory to a few MiB.
const RUNS_AHEAD: usize = 2;
