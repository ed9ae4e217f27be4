//! Flow out: a study, a series or an instance, opened chunk by chunk as it is read.
//!
//! The index row pins header and length, so a cut, swapped or rolled-back object is found before a byte is given out.
//! No byte leaves before its chunk authenticated. Whatever does not authenticate raises an alarm.

use crate::{
    Shared,
    access::{Access, AccessError},
    alarm::AlarmKind,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_index::{IndexError, InstanceRow, InstanceState};
use leadglass_keys::{KeyRefusal, KeysError, ObjectLease, wire::ProblemCode};
use leadglass_model::{
    ActorRef, EntryId, Fault, KeyId, ObjectId, Permit, Purpose, Read, SeriesUid, SopInstanceUid, StudyUid,
    TransferSyntaxUid,
};
use leadglass_seal::{OpenError, Opener, RangePlan, SealedName};
use leadglass_store::StoreError;
use parking_lot::Mutex;
use std::{collections::HashMap, ops::Range, sync::Arc};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// All instances of a study.
    Study(StudyUid),
    /// All instances of a series.
    Series(StudyUid, SeriesUid),
    /// One instance.
    Instance(StudyUid, SeriesUid, SopInstanceUid),
}

/// Why something cannot be given out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrieveError {
    /// Not there, or not for this caller.
    #[error("there is no such study, series or instance for this caller")]
    Missing,
    /// The key service does not open the study.
    #[error("the key service refuses the study")]
    Refused(KeyRefusal),
    /// The key service cannot be asked.
    #[error("the key service gave no key")]
    Keys(#[source] KeysError),
    /// The access could not be recorded, so it is not served.
    #[error("the access could not be recorded")]
    Audit(#[source] AccessError),
    /// The index failed.
    #[error("the index could not be asked")]
    Index(#[source] IndexError),
    /// The store failed.
    #[error("the object could not be read")]
    Store(#[source] StoreError),
    /// What lies in the store is not what was sealed.
    #[error("object {object} is damaged")]
    Damaged {
        /// Which.
        object: ObjectId,
        /// How it shows.
        #[source]
        source: OpenError,
    },
}

impl RetrieveError {
    /// The kind of failure.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::Refused(refusal) => refusal.fault(),
            Self::Keys(error) => error.fault(),
            Self::Audit(error) => error.fault(),
            Self::Index(error) => error.fault(),
            Self::Store(error) => error.fault(),
            Self::Damaged { .. } => Fault::Corrupt,
        }
    }

    /// A stable word for machines and manuals.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Keys(error) if error.code() == Some(ProblemCode::OverBudget) => "over-budget",
            Self::Missing => "not-found",
            Self::Refused(_) => "key-refused",
            Self::Keys(_) => "no-key",
            Self::Audit(_) => "not-audited",
            Self::Index(_) => "index",
            Self::Store(_) => "store",
            Self::Damaged { .. } => "damaged",
        }
    }

    /// A sentence that helps the caller.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Keys(error) if error.code() == Some(ProblemCode::OverBudget) => {
                "So many studies were opened that the budget is used up; the limit moves on with time."
            }
            Self::Missing => "There is nothing here that you may see.",
            Self::Refused(_) => "This study may not be opened now: it is restricted, or a budget is used up.",
            Self::Keys(_) => "The key service does not answer; try again in a moment.",
            Self::Audit(_) => "The access cannot be recorded, so it is not served; try again in a moment.",
            Self::Index(_) | Self::Store(_) => "The image cannot be read now; try again in a moment.",
            Self::Damaged { .. } => "The stored image is damaged. An alarm was raised.",
        }
    }
}

/// An instance that the caller may read.
#[derive(Debug)]
pub struct Instance {
    access: Arc<Access>,
    row: InstanceRow,
    reader: Reader,
}

/// Opens an object for as long as the key service lets it: a lease that ends in the middle of a long download is asked
/// for again, and a study that was erased or restricted meanwhile stops there.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    name: SealedName,
    opener: Arc<Opener>,
    purpose: Purpose,
    actor: ActorRef,
    entry: EntryId,
    lease: Arc<Mutex<Arc<ObjectLease>>>,
}

impl Shared {
    /// Finds what is asked for, records the access, and takes the keys. Instances come in the order of their numbers.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub(crate) async fn locate(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
    ) -> Result<Vec<Instance>, RetrieveError> {
        let tenant = permit.tenant();
        let (Target::Study(uid) | Target::Series(uid, _) | Target::Instance(uid, ..)) = target;
        let study = self.catalog.study(tenant, uid).ok_or(RetrieveError::Missing)?;
        let mut rows = match target {
            Target::Instance(_, _, sop) => {
                self.catalog.instance(tenant, study.study_ref, sop).await.map(|row| row.into_iter().collect())
            }
            Target::Study(_) | Target::Series(..) => self.catalog.instances(tenant, study.study_ref).await,
        }
        .map_err(|e| self.index_failed(e))?;
        rows.retain(|row| {
            let in_series = match target {
                Target::Study(_) => true,
                Target::Series(_, series) | Target::Instance(_, series, _) => row.series_uid == *series,
            };
            in_series && row.state == InstanceState::Current
        });
        if rows.is_empty() {
            return Err(RetrieveError::Missing);
        }
        rows.sort_by(|a, b| {
            (&a.series_uid, a.instance_number, &a.sop_uid).cmp(&(&b.series_uid, b.instance_number, &b.sop_uid))
        });

        let access = self.access(permit, session, &study).await.map_err(RetrieveError::Audit)?;
        let leases = self.leases(permit, &access, rows.iter().map(|row| row.key_id)).await?;
        rows.into_iter()
            .map(|row| {
                let lease = leases.get(&row.key_id).ok_or(RetrieveError::Missing)?;
                let reader = self.reader(lease.clone(), &row, permit.purpose(), permit.actor(), access.entry)?;
                Ok(Instance { access: access.clone(), row, reader })
            })
            .collect()
    }

    async fn leases(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        access: &Access,
        keys: impl Iterator<Item = KeyId>,
    ) -> Result<HashMap<KeyId, Arc<ObjectLease>>, RetrieveError> {
        let mut ids: Vec<KeyId> = keys.collect();
        ids.sort_unstable();
        ids.dedup();
        let opened = self
            .keys
            .open(permit.tenant(), &ids, permit.purpose(), permit.actor(), access.entry)
            .await
            .map_err(RetrieveError::Keys)?;
        let mut leases = HashMap::with_capacity(opened.len());
        for (id, lease) in opened {
            leases.insert(id, lease.map_err(RetrieveError::Refused)?);
        }
        Ok(leases)
    }

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

    pub(crate) fn index_failed(self: &Arc<Self>, error: IndexError) -> RetrieveError {
        self.index_alarm(&error);
        RetrieveError::Index(error)
    }
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
    pub(crate) fn plain(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
        let runs: Vec<RangePlan> = match self.opener.geometry().plan(range) {
            Ok(plan) => self.opener.geometry().runs(&plan, RUN_CHUNKS).collect(),
            Err(_) => Vec::new(),
        };
        stream::iter(runs)
            .map(move |run| {
                let reader = self.clone();
                async move { reader.open(&run).await }
            })
            .buffered(RUNS_AHEAD)
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

impl Instance {
    /// Bytes of the PS3.10 file.
    pub const fn len(&self) -> u64 {
        self.row.body_len
    }

    /// Never: a file has at least its preamble.
    pub const fn is_empty(&self) -> bool {
        self.row.body_len == 0
    }

    /// How its data set is encoded, which is how it was sent.
    pub const fn transfer_syntax(&self) -> &TransferSyntaxUid {
        &self.row.transfer_syntax
    }

    /// The file's bytes `range`, as they came in. An error ends the stream: what was given out until then is right, and
    /// less than was asked for.
    pub fn read(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
        let Self { access, row, reader } = self;
        let end = range.end.min(row.body_len);
        let clock = reader.shared.clock.clone();
        access.count(clock.now(), 1, 0);
        reader.plain(range.start.min(end)..end).inspect_ok(move |piece| {
            access.count(clock.now(), 0, piece.len() as u64);
        })
    }
}

/// Chunks opened at a time: 1 MiB of the default chunk.
const RUN_CHUNKS: u64 = 16;
/// Runs in work for one reader; bounds its memory to so many MiB, twice.
const RUNS_AHEAD: usize = 2;
