//! Metadata: the DICOM JSON that was prepared at ingest, a sealed row an instance. No object is read.
//!
//! Rows are fetched, opened and inflated a batch at a time, in the order of the instances' numbers. Only what is current has
//! a part in it; an instance that came late or in a newer version is there as soon as it is stored.

use super::{RetrieveError, Target};
use crate::{
    Engine, Shared,
    access::{Access, Given},
};
use flate2::read::GzDecoder;
use futures::{Stream, StreamExt, stream};
use leadglass_index::{IndexError, InstanceRow, SealedMeta, Table};
use leadglass_keys::ObjectLease;
use leadglass_model::{
    ActorRef, KeyId, Permit, Phi, Purpose, Read, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TenantId,
};
use std::{collections::HashMap, io::Read as _, sync::Arc};

/// The metadata of a study, a series or an instance, which the caller may read; nothing is read yet.
#[derive(Debug)]
pub struct Metadata {
    shared: Arc<Shared>,
    access: Arc<Access>,
    asker: Asker,
    study: StudyUid,
    study_ref: StudyRef,
    rows: Vec<InstanceRow>,
}

/// The metadata of one instance.
#[derive(Debug)]
pub struct Document {
    /// Of which series.
    pub series: SeriesUid,
    /// Of which instance.
    pub instance: SopInstanceUid,
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
        let shared = &self.shared;
        let (study, rows) = shared.find(permit, target).await?;
        let access = shared.access(permit, session, &study).await.map_err(RetrieveError::Audit)?;
        let asker = Asker::of(permit);
        let (uid, study_ref) = (study.row.uid.clone(), study.study_ref);
        Ok(Metadata { shared: shared.clone(), access, asker, study: uid, study_ref, rows })
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

    /// Of which study.
    pub const fn study(&self) -> &StudyUid {
        &self.study
    }

    /// Changes whenever the metadata do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        super::stamp(self.rows.iter().map(|row| &row.object_id))
    }

    /// The metadata, some instances at a time, in order of series, number and UID. An error ends the stream: less came than
    /// was asked for.
    pub fn documents(self) -> impl Stream<Item = Result<Vec<Document>, RetrieveError>> + Send + 'static {
        let Self { shared, access, asker, study_ref, rows, .. } = self;
        access.count(shared.clock.now(), Given { instances: rows.len() as u64, ..Given::default() });
        let mut batches = Vec::with_capacity(rows.len() / BATCH + 1);
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            batches.push(rows.by_ref().take(BATCH).collect::<Vec<_>>());
        }
        stream::iter(batches)
            .map(move |rows| {
                let (shared, access) = (shared.clone(), access.clone());
                async move { shared.documents(&access, asker, study_ref, rows).await }
            })
            .buffered(BATCHES_AHEAD)
    }
}

impl Shared {
    pub(super) async fn documents(
        self: &Arc<Self>,
        access: &Access,
        asker: Asker,
        study_ref: StudyRef,
        rows: Vec<InstanceRow>,
    ) -> Result<Vec<Document>, RetrieveError> {
        let uids: Vec<&SopInstanceUid> = rows.iter().map(|row| &row.sop_uid).collect();
        let sealed = self.catalog.metas(asker.tenant, study_ref, &uids).await.map_err(|e| self.index_failed(e))?;
        let mut found = Vec::with_capacity(rows.len());
        for (row, meta) in rows.into_iter().zip(sealed) {
            let Some(meta) = meta.filter(|meta| meta.is_since(row.received_at)) else {
                // Metadata that were too long leave no row, or that of the version before; others were taken away, or set back.
                let lost = row.has_metadata == Some(true);
                let damage = || self.index_failed(IndexError::Corrupt { table: Table::Meta });
                return Err(if lost { damage() } else { RetrieveError::NoMetadata });
            };
            found.push((row, meta));
        }
        let mut ids: Vec<KeyId> = found.iter().map(|(_, meta)| meta.key_id()).collect();
        ids.sort_unstable();
        ids.dedup();
        // Leases that stand cost nothing; one that ended in the middle of a long answer is asked for again.
        let opened = self.keys.open(asker.tenant, &ids, asker.purpose, asker.actor, access.entry).await;
        let mut leases = HashMap::with_capacity(ids.len());
        for (id, lease) in opened.map_err(RetrieveError::Keys)? {
            let lease = lease.map_err(|refusal| {
                // A name that is not the instance's own, and that nobody knows, was never written here.
                let own = found.iter().all(|(row, meta)| meta.key_id() != id || row.key_id == id);
                let damage = || self.index_failed(IndexError::Corrupt { table: Table::Meta });
                if own { RetrieveError::Refused(refusal) } else { damage() }
            })?;
            leases.insert(id, lease);
        }
        let opened = if found.len() <= INLINE {
            open(found, &leases)
        } else {
            let work = tokio::task::spawn_blocking(move || open(found, &leases));
            work.await.unwrap_or(Err(IndexError::Corrupt { table: Table::Meta }))
        };
        let documents = opened.map_err(|e| self.index_failed(e))?;
        let bytes = documents.iter().map(|document| document.json.expose().len() as u64).sum();
        access.count(self.clock.now(), Given { bytes, ..Given::default() });
        Ok(documents)
    }
}

fn open(
    found: Vec<(InstanceRow, SealedMeta)>,
    leases: &HashMap<KeyId, Arc<ObjectLease>>,
) -> Result<Vec<Document>, IndexError> {
    let one = |(row, meta): (InstanceRow, SealedMeta)| {
        let lease = leases.get(&meta.key_id()).ok_or(IndexError::NoKey { table: Table::Meta })?;
        let json = gunzip(&meta.open(lease.meta_key())?).ok_or(IndexError::Corrupt { table: Table::Meta })?;
        Ok(Document { series: row.series_uid, instance: row.sop_uid, json: Phi::new(json) })
    };
    found.into_iter().map(one).collect()
}

/// One gzip member, which says its length at its end.
fn gunzip(packed: &[u8]) -> Option<Vec<u8>> {
    let len = u32::from_le_bytes(*packed.last_chunk::<4>()?) as usize;
    let mut plain = Vec::with_capacity(len.min(MAX_BYTES) + 1);
    GzDecoder::new(packed).take(MAX_BYTES as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() == len).then_some(plain)
}

/// Instances a batch: a few hundred KiB.
const BATCH: usize = 64;
/// Batches in work for one reader.
const BATCHES_AHEAD: usize = 2;
/// So many documents are opened where they are asked for; more go to another thread.
const INLINE: usize = 4;
/// More than the tap keeps of one instance.
const MAX_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;

    #[test]
    fn a_member_comes_out_whole_or_not_at_all() {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[b'x'; 70_000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(gunzip(&packed), Some(vec![b'x'; 70_000]));
        assert_eq!(gunzip(&packed[..packed.len() - 9]), None);
        assert_eq!(gunzip(b""), None);
    }
}
