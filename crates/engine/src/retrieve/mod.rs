//! Flow out: a study, a series, an instance, frames, metadata.
//!
//! [`Engine::locate`](crate::Engine::locate) finds whole instances, [`Engine::pixels`](crate::Engine::pixels) the frames of
//! one, [`Engine::metadata`](crate::Engine::metadata) what was prepared at ingest. All go the same way: permit · study in
//! the index · access recorded · keys leased · ranged reads, opened as they come.
//!
//! The index row pins header and length, so a cut, swapped or rolled-back object is found before a byte is given out.
//! No byte leaves before its chunk authenticated. Whatever does not authenticate raises an alarm.

mod bulk;
mod cache;
mod cut;
mod error;
mod explicit;
mod frame_map;
mod frames;
mod gunzip;
mod inflate;
mod metadata;
mod pool;
mod reader;
mod stretch;
mod tables;
mod thumbnail;

pub use bulk::{Bulk, BulkPath};
pub(crate) use cache::Cache;
pub use error::RetrieveError;
pub use explicit::Explicit;
pub use frames::{Frame, FrameStream, Pixels};
pub use metadata::{Document, Metadata};
pub(crate) use pool::Pool;
pub(crate) use reader::{ReadBy, Reader};
pub(crate) use tables::Tables;
pub use thumbnail::Thumbnail;
pub(crate) use thumbnail::name as thumbnail_name;

use crate::{
    Shared,
    access::{Access, Given},
    alarm::AlarmKind,
};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use leadglass_index::{IndexError, InstanceRow, InstanceState, StudyEntry};
use leadglass_keys::{Acting, ObjectLease};
use leadglass_model::{
    KeyId, ObjectId, Permit, Read, SeriesUid, SopInstanceUid, StudyRef, StudyUid, TransferSyntaxUid,
};
use leadglass_policy::Use;
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

/// An instance that the caller may read.
#[derive(Debug, Clone)]
pub struct Instance {
    access: Arc<Access>,
    row: InstanceRow,
    reader: Reader,
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
        self.locate_as(permit, session, target, Use::Seen).await
    }

    /// As [`Self::locate`], for what is not only looked at.
    pub(crate) async fn locate_as(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
        used: Use,
    ) -> Result<Vec<Instance>, RetrieveError> {
        let (study, rows, permit) = self.find(permit, target, used).await?;
        let access = self.access(&permit, session, &study).await.map_err(RetrieveError::Audit)?;
        let leases = self.leases(&permit, &access, rows.iter().map(|row| row.key_id)).await?;
        rows.into_iter()
            .map(|row| {
                let lease = leases.get(&row.key_id).ok_or(RetrieveError::Missing)?;
                let by = ReadBy { session, actor: permit.actor(), purpose: permit.purpose(), entry: access.entry };
                let reader = self.reader(lease.clone(), &row, by, access.over.clone())?;
                Ok(Instance { access: access.clone(), row, reader })
            })
            .collect()
    }

    /// The study and the rows of what is asked for, in order of series, number and UID; at least one row. And the permit that
    /// they open under.
    pub(crate) async fn find(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        target: &Target,
        used: Use,
    ) -> Result<(StudyEntry, Vec<InstanceRow>, Permit<Read>), RetrieveError> {
        let tenant = permit.tenant();
        let study = self.study_of(permit, target)?;
        // Before the rows: what is stored meanwhile is more than was counted.
        let counted = self.catalog.counted(tenant, study.study_ref);
        let mut rows = match target {
            Target::Instance(_, _, sop) => {
                self.catalog.instance(tenant, study.study_ref, sop).await.map(|row| row.into_iter().collect())
            }
            Target::Study(_) | Target::Series(..) => self.catalog.instances(tenant, study.study_ref).await,
        }
        .map_err(|e| self.index_failed(e))?;
        if !matches!(target, Target::Instance(..)) {
            self.notice_missing(study.study_ref, counted.saturating_sub(rows.len() as u64));
        }
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
        let permit = self.may_open(permit, &study, &rows, used).await?;
        Ok((study, rows, permit))
    }

    /// Rows that the index once had and has no more are an alarm, once for so many of a study. What is left is given out.
    fn notice_missing(self: &Arc<Self>, study: StudyRef, missing: u64) {
        if self.tables.lacking.notice(study, missing) {
            tracing::error!(%study, missing, "the index lacks {missing} rows of study {study}");
            self.alarm(AlarmKind::Index, None);
        }
    }

    fn study_of(&self, permit: &Permit<Read>, target: &Target) -> Result<StudyEntry, RetrieveError> {
        let (Target::Study(uid) | Target::Series(uid, _) | Target::Instance(uid, ..)) = target;
        self.catalog.study(permit.tenant(), uid).ok_or(RetrieveError::Missing)
    }

    /// One instance.
    async fn locate_one(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
    ) -> Result<Instance, RetrieveError> {
        self.locate(permit, session, target).await?.pop().ok_or(RetrieveError::Missing)
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
        let acting = Acting { actor: permit.actor(), session: Some(access.session) };
        let opened = self
            .keys
            .open(permit.tenant(), &ids, permit.purpose(), acting, access.entry)
            .await
            .map_err(RetrieveError::Keys)?;
        let mut leases = HashMap::with_capacity(opened.len());
        for (id, lease) in opened {
            leases.insert(id, lease.map_err(RetrieveError::Refused)?);
        }
        Ok(leases)
    }

    /// The lease of one key, for whoever may open the target.
    ///
    /// Cancel safety: dropping the future may leave an access recorded that nobody used.
    pub(crate) async fn lease_of(
        self: &Arc<Self>,
        permit: &Permit<Read>,
        session: [u8; 16],
        target: &Target,
        key: KeyId,
        used: Use,
    ) -> Result<Arc<ObjectLease>, RetrieveError> {
        let (study, _, permit) = self.find(permit, target, used).await?;
        let access = self.access(&permit, session, &study).await.map_err(RetrieveError::Audit)?;
        self.leases(&permit, &access, std::iter::once(key)).await?.remove(&key).ok_or(RetrieveError::Missing)
    }

    pub(crate) fn index_failed(self: &Arc<Self>, error: IndexError) -> RetrieveError {
        self.index_alarm(&error);
        RetrieveError::Index(error)
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

    /// Of which series, and which it is.
    pub const fn uids(&self) -> (&SeriesUid, &SopInstanceUid) {
        (&self.row.series_uid, &self.row.sop_uid)
    }

    /// Number of Frames (0028,0008): 1 where the data set says nothing.
    pub fn frames(&self) -> u32 {
        self.row.number_of_frames.unwrap_or(1)
    }

    /// How its data set is encoded, which is how it was sent.
    pub const fn transfer_syntax(&self) -> &TransferSyntaxUid {
        &self.row.transfer_syntax
    }

    /// Changes whenever the bytes do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        stamp([self.row.object_id].iter())
    }

    /// Where its data set lies in the file.
    pub(crate) const fn data_set(&self) -> Range<u64> {
        self.row.dataset_start..self.row.body_len
    }

    /// The file's bytes `range`, as they came in. An error ends the stream: what was given out until then is right, and
    /// less than was asked for.
    pub fn read(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, RetrieveError>> + Send + 'static {
        let Self { access, row, reader } = self;
        let end = range.end.min(row.body_len);
        let clock = reader.shared.clock.clone();
        access.count(clock.now(), Given { instances: 1, ..Given::default() });
        reader.plain(range.start.min(end)..end).inspect_ok(move |piece| {
            access.count(clock.now(), Given { bytes: piece.len() as u64, ..Given::default() });
        })
    }
}

/// What [`Instance::stamp`] says of the instance of a row.
pub(crate) fn stamp_of(row: &InstanceRow) -> [u8; 16] {
    stamp([row.object_id].iter())
}

/// A name for these objects in this order. Objects never change and their names are random; the hash keeps even those in.
fn stamp<'a>(objects: impl Iterator<Item = &'a ObjectId>) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key("leadglass 2026 what was given out, by object names");
    for object in objects {
        hasher.update(object.as_bytes());
    }
    let mut stamp = [0; 16];
    stamp.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    stamp
}
