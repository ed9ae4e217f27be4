//! Metadata: the DICOM JSON that was prepared at ingest, a sealed row an instance. No object is read.
//!
//! Rows are fetched, opened and inflated a batch at a time, in the order of the instances' numbers. Only what is current has
//! a part in it; an instance that came late or in a newer version is there as soon as it is stored.

use super::{RetrieveError, Target, gunzip::gunzip};
use crate::{
    Engine, Shared,
    access::{Access, Given},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use leadglass_index::{IndexError, InstanceRow, SealedMeta, Table};
use leadglass_keys::{Acting, ObjectLease};
use leadglass_model::{
    ActorRef, KeyId, Permit, Phi, Purpose, Read, ReceiverId, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId,
    TransferSyntaxUid,
};
use leadglass_policy::Use;
use serde_json::json;
use std::{
    collections::BTreeMap,
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, atomic::Ordering},
};

/// The metadata of a study, a series or an instance, which the caller may read; nothing is read yet.
#[derive(Debug)]
pub struct Metadata {
    shared: Arc<Shared>,
    access: Arc<Access>,
    asker: Asker,
    study: StudyUid,
    study_ref: StudyRef,
    /// One instance was asked for, not a study or series.
    alone: bool,
    rows: Vec<InstanceRow>,
}

/// The metadata of one instance.
#[derive(Debug)]
pub struct Document {
    /// Of which series.
    pub series: SeriesUid,
    /// Of which instance.
    pub instance: SopInstanceUid,
    /// How its data set is stored.
    pub syntax: TransferSyntaxUid,
    /// One DICOM JSON object (PS3.18 Annex F). Its `BulkDataURI`s are paths below the instance (`bulkdata/7FE00010`).
    pub json: Phi<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Asker {
    tenant: TenantId,
    purpose: Purpose,
    actor: ActorRef,
}

impl Asker {
    pub(super) fn of(permit: &Permit<Read>) -> Self {
        Self { tenant: permit.tenant(), purpose: permit.purpose(), actor: permit.actor() }
    }

    /// The same, for the purpose that an access was opened for.
    pub(super) fn within(permit: &Permit<Read>, access: &Access) -> Self {
        Self { purpose: access.purpose, ..Self::of(permit) }
    }
}

impl Engine {
    /// The metadata of what is asked for: found and recorded.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub async fn metadata(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
    ) -> Result<Metadata, RetrieveError> {
        self.shared.metadata(permit, session, target, Use::Seen).await
    }

    /// The DICOM JSON of one instance; its `BulkDataURI`s are paths below the instance.
    ///
    /// Cancel safety: as [`metadata`](Self::metadata).
    pub async fn instance_metadata(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Phi<Vec<u8>>, RetrieveError> {
        let target = Target::Instance(study.clone(), series.clone(), instance.clone());
        let mut documents = std::pin::pin!(self.metadata(permit, session, &target).await?.documents());
        let batch = documents.next().await.ok_or(RetrieveError::Missing)??;
        batch.into_iter().next().map(|document| document.json).ok_or(RetrieveError::Missing)
    }
}

impl Metadata {
    /// How many instances.
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Never: what has no instance is absent.
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The instances, in the order in which their metadata come.
    pub(crate) fn rows(&self) -> &[InstanceRow] {
        &self.rows
    }

    /// Who or what brought in how many instances of each series, in the order of the series.
    pub fn receivers(&self) -> Vec<(SeriesUid, BTreeMap<ReceiverId, u64>)> {
        let mut all: Vec<(SeriesUid, BTreeMap<ReceiverId, u64>)> = Vec::new();
        for row in &self.rows {
            if all.last().is_none_or(|(series, _)| *series != row.series_uid) {
                all.push((row.series_uid.clone(), BTreeMap::new()));
            }
            if let Some((_, receivers)) = all.last_mut() {
                *receivers.entry(row.receiver).or_default() += 1;
            }
        }
        all
    }

    /// Of which study.
    pub const fn study(&self) -> &StudyUid {
        &self.study
    }

    /// Changes whenever the metadata do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        super::stamp(self.rows.iter().map(|row| &row.object_id))
    }

    /// The metadata, some instances at a time, in order of series, number and UID. An instance whose metadata were too long
    /// to be kept stands among the others of its study or series with what names it; asked for alone it is an error. An error ends the stream: less came than
    /// was asked for.
    pub fn documents(self) -> impl Stream<Item = Result<Vec<Document>, RetrieveError>> + Send + 'static {
        let Self { shared, access, asker, study, study_ref, alone, rows } = self;
        access.count(shared.clock.now(), Given { instances: rows.len() as u64, ..Given::default() });
        let mut batches = Vec::with_capacity(rows.len() / BATCH + 1);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            batches.push(Batch::new(rows.by_ref().take(BATCH)));
        }
        let named = (!alone).then_some(study);
        let from = Arc::new(From { shared, access, asker, study_ref, named });
        let ahead = from.clone();
        stream::iter(batches)
            .map(move |mut batch| {
                let from = ahead.clone();
                async move { from.next(&mut batch).await.map(|documents| (documents, batch)) }
            })
            .buffered(BATCHES_AHEAD)
            .map_ok(move |(first, batch)| {
                // Large documents come a few at a time, and only when the ones before them were taken.
                let rest = stream::try_unfold((from.clone(), batch), |(from, mut batch)| async move {
                    if batch.is_empty() {
                        return Ok(None);
                    }
                    let documents = from.next(&mut batch).await?;
                    Ok(Some((documents, (from, batch))))
                });
                stream::once(async { Ok(first) }).chain(rest)
            })
            .try_flatten()
    }
}

/// Whose metadata, for whom.
struct From {
    shared: Arc<Shared>,
    access: Arc<Access>,
    asker: Asker,
    study_ref: StudyRef,
    /// The study's name, where an instance without metadata is told by what names it.
    named: Option<StudyUid>,
}

/// Some instances whose metadata are being read.
struct Batch {
    rows: VecDeque<InstanceRow>,
    /// Fetched, not opened yet.
    found: VecDeque<(InstanceRow, Kept)>,
    leases: Arc<HashMap<KeyId, Arc<ObjectLease>>>,
}

/// What is kept of an instance's metadata.
enum Kept {
    All(SealedMeta),
    /// They were too long: what names it.
    Name(Vec<u8>),
}

impl Kept {
    const fn key_id(&self) -> Option<KeyId> {
        match self {
            Self::All(meta) => Some(meta.key_id()),
            Self::Name(_) => None,
        }
    }

    const fn len(&self) -> usize {
        match self {
            Self::All(meta) => meta.len(),
            Self::Name(json) => json.len(),
        }
    }
}

impl Batch {
    fn new(rows: impl IntoIterator<Item = InstanceRow>) -> Self {
        Self { rows: rows.into_iter().collect(), found: VecDeque::new(), leases: Arc::default() }
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.found.is_empty()
    }
}

impl Shared {
    /// The metadata of what is asked for: found and recorded.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub(crate) async fn metadata(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
        used: Use,
    ) -> Result<Metadata, RetrieveError> {
        let (study, rows, permit) = self.find(permit, target, used).await?;
        let access = self.access(&permit, session, &study).await.map_err(RetrieveError::Audit)?;
        let asker = Asker::of(&permit);
        let (uid, study_ref) = (study.row.uid.clone(), study.study_ref);
        let alone = matches!(target, Target::Instance(..));
        Ok(Metadata { shared: self.clone(), access, asker, study: uid, study_ref, alone, rows })
    }

    /// The metadata of one instance.
    pub(super) async fn document(
        self: &Arc<Self>,
        access: &Arc<Access>,
        asker: Asker,
        study_ref: StudyRef,
        row: InstanceRow,
    ) -> Result<Option<Document>, RetrieveError> {
        let from = From { shared: self.clone(), access: access.clone(), asker, study_ref, named: None };
        Ok(from.next(&mut Batch::new([row])).await?.pop())
    }
}

impl From {
    /// The next documents of a batch, [`GROUP_BYTES`] of them, or one.
    async fn next(&self, batch: &mut Batch) -> Result<Vec<Document>, RetrieveError> {
        if self.access.over.load(Ordering::Relaxed) {
            return Err(RetrieveError::SignedOut);
        }
        if batch.found.is_empty() {
            self.fetch(batch).await?;
        }
        let (found, leases) = (mem::take(&mut batch.found), batch.leases.clone());
        let opened = if found.len() <= INLINE && found.iter().map(|(_, kept)| kept.len()).sum::<usize>() <= INLINE_BYTES
        {
            open(found, &leases)
        } else {
            let work = tokio::task::spawn_blocking(move || open(found, &leases));
            work.await.unwrap_or(Err(IndexError::Corrupt { table: Table::Meta }))
        };
        let (documents, rest) = opened.map_err(|e| self.shared.index_failed(e))?;
        batch.found = rest;
        let bytes = documents.iter().map(|document| document.json.expose().len() as u64).sum();
        self.access.count(self.shared.clock.now(), Given { bytes, ..Given::default() });
        Ok(documents)
    }

    /// Sealed metadata of the batch's next instances, and the keys for them.
    async fn fetch(&self, batch: &mut Batch) -> Result<(), RetrieveError> {
        let Self { shared, access, asker, study_ref, named } = self;
        let damage = || shared.index_failed(IndexError::Corrupt { table: Table::Meta });
        let uids: Vec<&SopInstanceUid> = batch.rows.iter().map(|row| &row.sop_uid).collect();
        let sealed = shared.catalog.metas(asker.tenant, *study_ref, &uids, FETCH_BYTES).await;
        for meta in sealed.map_err(|e| shared.index_failed(e))? {
            let Some(row) = batch.rows.pop_front() else { break };
            let Some(meta) = meta.filter(|meta| meta.is_since(row.received_at)) else {
                // Metadata that were too long leave no row, or that of the version before; others were taken away, or set back.
                if row.has_metadata == Some(true) {
                    return Err(damage());
                }
                let json = name(named.as_ref().ok_or(RetrieveError::NoMetadata)?, &row);
                batch.found.push_back((row, Kept::Name(json)));
                continue;
            };
            batch.found.push_back((row, Kept::All(meta)));
        }
        let mut ids: Vec<KeyId> = batch.found.iter().filter_map(|(_, kept)| kept.key_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        // Leases that stand cost nothing; one that ended in the middle of a long answer is asked for again.
        let acting = Acting { actor: asker.actor, session: Some(access.session) };
        let opened = shared.keys.open(asker.tenant, &ids, asker.purpose, acting, access.entry).await;
        let mut leases = HashMap::with_capacity(ids.len());
        for (id, lease) in opened.map_err(RetrieveError::Keys)? {
            let lease = lease.map_err(|refusal| {
                // A name that is not the instance's own, and that nobody knows, was never written here.
                let own = batch.found.iter().all(|(row, kept)| kept.key_id() != Some(id) || row.key_id == id);
                if own { RetrieveError::Refused(refusal) } else { damage() }
            })?;
            leases.insert(id, lease);
        }
        batch.leases = Arc::new(leases);
        Ok(())
    }
}

type Opened = (Vec<Document>, VecDeque<(InstanceRow, Kept)>);

/// Opens until [`GROUP_BYTES`] of text are there; the rest is given back.
fn open(
    mut found: VecDeque<(InstanceRow, Kept)>,
    leases: &HashMap<KeyId, Arc<ObjectLease>>,
) -> Result<Opened, IndexError> {
    let (mut documents, mut bytes) = (Vec::with_capacity(found.len()), 0);
    while let Some((row, kept)) = found.pop_front() {
        let json = match kept {
            Kept::All(meta) => {
                let lease = leases.get(&meta.key_id()).ok_or(IndexError::NoKey { table: Table::Meta })?;
                gunzip(&meta.open(lease.meta_key())?, MAX_BYTES).ok_or(IndexError::Corrupt { table: Table::Meta })?
            }
            Kept::Name(json) => json,
        };
        bytes += json.len();
        documents.push(Document {
            series: row.series_uid,
            instance: row.sop_uid,
            syntax: row.transfer_syntax,
            json: Phi::new(json),
        });
        if bytes >= GROUP_BYTES {
            break;
        }
    }
    Ok((documents, found))
}

/// What the index knows of an instance whose metadata were too long, as DICOM JSON: enough to be listed and retrieved.
fn name(study: &StudyUid, row: &InstanceRow) -> Vec<u8> {
    let uid = |uid: &str| json!({ "vr": "UI", "Value": [uid] });
    let mut attributes = json!({
        "00080016": uid(row.sop_class.as_str()),
        "00080018": uid(row.sop_uid.expose()),
        "0020000D": uid(study.expose()),
        "0020000E": uid(row.series_uid.expose()),
    });
    let numbers = [
        ("00200013", "IS", row.instance_number),
        ("00280008", "IS", row.number_of_frames.map(i64::from)),
        ("00280010", "US", row.rows.map(i64::from)),
        ("00280011", "US", row.columns.map(i64::from)),
        ("00280100", "US", row.bits_allocated.map(i64::from)),
    ];
    for (tag, vr, number) in numbers {
        if let Some(number) = number {
            attributes[tag] = json!({ "vr": vr, "Value": [number] });
        }
    }
    attributes.to_string().into_bytes()
}

/// Instances a batch: a few hundred KiB.
const BATCH: usize = 64;
/// Batches in work for one reader.
const BATCHES_AHEAD: usize = 2;
/// So many documents are opened where they are asked for, if they are short; more go to another thread.
const INLINE: usize = 4;
const INLINE_BYTES: usize = 64 << 10;
/// Sealed bytes fetched at a time, but for one fetch that may pass it.
const FETCH_BYTES: usize = 4 << 20;
/// Text opened at a time, but for one document that may pass it.
const GROUP_BYTES: usize = 4 << 20;
/// More than the tap keeps of one instance.
const MAX_BYTES: usize = 16 << 20;
