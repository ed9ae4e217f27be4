//! Plaintext of one object, run by run.
//!
//! The index row pins header and length. No byte leaves before its chunk authenticated; what does not authenticate raises
//! an alarm.

use super::RetrieveError;
use crate::{Shared, alarm::AlarmKind};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use leadglass_index::InstanceRow;
use leadglass_keys::ObjectLease;
use leadglass_model::{ActorRef, EntryId, Fault, ObjectId, Purpose};
use leadglass_seal::{OpenError, Opener, RangePlan, SealedName, Tail, TailStep};
use leadglass_store::StoreError;
use parking_lot::Mutex;
use std::{ops::Range, sync::Arc};

/// Opens an object for as long as the key service lets it: a lease that ends in the middle of a long download is asked
/// for again, and a study that was erased or restricted meanwhile stops there.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    pub(super) shared: Arc<Shared>,
    name: SealedName,
    opener: Arc<Opener>,
    purpose: Purpose,
    actor: ActorRef,
    entry: EntryId,
    lease: Arc<Mutex<Arc<ObjectLease>>>,
}

impl Shared {
    /// A reader of the object that a row pins.
    pub(crate) fn reader(
        self: &Arc<Self>,
        lease: Arc<ObjectLease>,
        row: &InstanceRow,
        purpose: Purpose,
        actor: ActorRef,
        entry: EntryId,
    ) -> Result<Reader, RetrieveError> {
        let name =
            SealedName { tenant: lease.tenant(), object_id: row.object_id, key_id: row.key_id, key_gen: row.key_gen };
        let opener = Opener::pinned(lease.study_key(), &name, &row.header, row.sealed_len)
            .map_err(|e| self.damaged(row.object_id, e))?;
        let lease = Arc::new(Mutex::new(lease));
        Ok(Reader { shared: self.clone(), name, opener: Arc::new(opener), purpose, actor, entry, lease })
    }
}

impl Reader {
    /// Plaintext of the object, chunk by authenticated chunk; a few runs are in work at a time.
    pub(crate) fn plain(&self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + use<> {
        let runs: Vec<RangePlan> = match self.opener.geometry().plan(range) {
            Ok(plan) => self.opener.geometry().runs(&plan, RUN_CHUNKS).collect(),
            Err(_) => Vec::new(),
        };
        let reader = self.clone();
        stream::iter(runs)
            .map(move |run| {
                let reader = reader.clone();
                async move { reader.open(&run).await }
            })
            .buffered(RUNS_AHEAD)
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

    /// The object's name, random.
    pub(crate) const fn object(&self) -> ObjectId {
        self.name.object_id
    }

    /// What every chunk said was not what the object says of itself.
    pub(crate) fn damaged(&self, error: OpenError) -> RetrieveError {
        self.shared.damaged(self.name.object_id, error)
    }

    async fn open(&self, run: &RangePlan) -> Result<Bytes, RetrieveError> {
        self.hold_lease().await?;
        let object = self.name.object_id;
        let sealed = self.shared.sealed_range(object, &self.opener, run.sealed()).await?;
        let mut plain = Vec::with_capacity(sealed.len());
        let opened = self.opener.open_range(run, &sealed, &mut plain);
        let asked = opened.map_err(|e| self.shared.damaged(object, e))?;
        Ok(Bytes::from(plain).slice(asked))
    }

    async fn hold_lease(&self) -> Result<(), RetrieveError> {
        if !self.lease.lock().is_ended() {
            return Ok(());
        }
        let id = self.name.key_id;
        let opened = self.shared.keys.open(self.name.tenant, &[id], self.purpose, self.actor, self.entry).await;
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
    fn store_failed(self: &Arc<Self>, object: ObjectId, error: StoreError) -> RetrieveError {
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

/// Chunks opened at a time: 1 MiB of the default chunk.
const RUN_CHUNKS: u64 = 16;
/// Runs in work for one reader; bounds its memory to so many MiB, twice.
const RUNS_AHEAD: usize = 2;
