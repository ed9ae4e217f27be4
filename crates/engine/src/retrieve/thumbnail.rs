//! The small picture that stands for an instance, kept sealed beside it (FORMAT §7, kind 03, form 01).
//!
//! Its name follows from the instance's object and key, and so does its own key: a thumbnail of another instance, version or
//! study does not open under it. Permit, access and lease are those of any read. It is made by whoever asks first and stored
//! after the answer; one that is missing, damaged or foreign is made again. No row names it: a rebuild needs none, and whoever
//! removes an instance removes what [`Thumbnail`] names.

use super::{Instance, RetrieveError, Target};
use crate::{Engine, Shared, access::Given, alarm::AlarmKind};
use bytes::Bytes;
use futures::TryStreamExt;
use leadglass_keys::ObjectLease;
use leadglass_model::{ObjectId, Permit, Read, SeriesUid, SopInstanceUid, StudyUid};
use leadglass_seal::{
    ContentStart, Frames, Lineage, ObjectKind, ObjectRecords, ObjectSealer, SealOptions, SealedName, open_object,
};
use leadglass_store::StoreError;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Where the thumbnail of an instance lies, or would.
pub struct Thumbnail {
    shared: Arc<Shared>,
    instance: Instance,
    lease: Arc<ObjectLease>,
    name: SealedName,
    lineage: Lineage,
    /// What lies there is no thumbnail: it makes room for one.
    replace: bool,
}

impl std::fmt::Debug for Thumbnail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thumbnail").field("object", &self.name.object_id).finish_non_exhaustive()
    }
}

impl Engine {
    /// The place of an instance's thumbnail: recorded, unlocked.
    ///
    /// Cancel safety: as [`pixels`](Self::pixels).
    pub async fn thumbnail(
        &self,
        permit: &Permit<Read>,
        session: [u8; 16],
        study: &StudyUid,
        series: &SeriesUid,
        instance: &SopInstanceUid,
    ) -> Result<Thumbnail, RetrieveError> {
        let target = Target::Instance(study.clone(), series.clone(), instance.clone());
        let instance = self.shared.locate_one(permit, session, &target).await?;
        let lease = instance.reader.lease();
        let object_id = name(&lease, instance.row.object_id);
        Ok(Thumbnail {
            shared: self.shared.clone(),
            name: SealedName { tenant: lease.tenant(), object_id, key_id: lease.key_id(), key_gen: lease.key_gen() },
            lineage: Lineage { study_ref: lease.study_ref(), version: instance.row.version, supersedes: None },
            instance,
            lease,
            replace: false,
        })
    }
}

/// The object of the thumbnail of `source`, which is sealed under the lease's key.
pub(crate) fn name(lease: &ObjectLease, source: ObjectId) -> ObjectId {
    lease.study_key().derived_object(&lease.tenant(), &source, FORM)
}

impl Thumbnail {
    /// Changes whenever the instance's bytes do, and says nothing about them: for `ETag`.
    pub fn stamp(&self) -> [u8; 16] {
        self.instance.stamp()
    }

    /// The thumbnail, if there is one. What lies there and is none raises an alarm and counts as none.
    ///
    /// Cancel safety: reads only.
    pub async fn read(&mut self) -> Result<Option<Bytes>, RetrieveError> {
        let object = self.name.object_id;
        let sealed = match self.sealed().await {
            Ok(Some(sealed)) => sealed,
            Err(StoreError::Missing) => return Ok(None),
            Ok(None) => return Ok(self.is_none(object)),
            Err(error) => return Err(RetrieveError::Store(error)),
        };
        let opened = open_object(self.lease.study_key(), &self.name, &sealed);
        let Ok((tail, body)) = opened else { return Ok(self.is_none(object)) };
        let records = &tail.opened.records;
        let expected = records.kind == ObjectKind::Derived
            && records.lineage == self.lineage
            && records.media_type.as_deref() == Some(MEDIA_TYPE);
        if !expected {
            return Ok(self.is_none(object));
        }
        let given = Given { frames: 1, bytes: body.len() as u64, ..Given::default() };
        self.instance.access.count(self.shared.clock.now(), given);
        counted("found");
        Ok(Some(body.into()))
    }

    /// `None` for what is too long to be one.
    async fn sealed(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let (mut stream, len) = self.shared.objects.stream(self.name.object_id, 0).await?;
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= MAX_SEALED_BYTES) else { return Ok(None) };
        let mut sealed = Vec::with_capacity(len);
        while let Some(piece) = stream.try_next().await? {
            if piece.len() > MAX_SEALED_BYTES - sealed.len() {
                return Ok(None);
            }
            sealed.extend_from_slice(&piece);
        }
        Ok(Some(sealed))
    }

    fn is_none(&mut self, object: ObjectId) -> Option<Bytes> {
        self.shared.alarm(AlarmKind::Integrity, Some(object));
        counted("damaged");
        self.replace = true;
        None
    }

    /// Stores what was made, while nobody waits. That it cannot be stored, or not now, harms nothing: the next one who asks
    /// makes it again.
    pub fn keep(self, picture: Bytes) {
        let Ok(flying) = FLYING.try_acquire() else { return counted("skipped") };
        let tasks = self.shared.tasks.clone();
        drop(tasks.spawn(async move {
            let _flying = flying;
            counted(if self.store(&picture).await { "stored" } else { "failed" });
        }));
    }

    async fn store(&self, picture: &[u8]) -> bool {
        // Erased or restricted since it was asked for.
        if self.lease.is_ended() || picture.len() > MAX_SEALED_BYTES / 2 {
            return false;
        }
        let Some(sealed) = self.seal(picture) else { return false };
        let object = self.name.object_id;
        match self.shared.objects.put(object, vec![sealed.clone()]).await {
            Ok(_) => true,
            // By another one who asked first.
            Err(StoreError::Conflict) if !self.replace => true,
            Err(StoreError::Conflict) => {
                let removed = self.shared.objects.delete(object).await;
                removed.is_ok() && self.shared.objects.put(object, vec![sealed]).await.is_ok()
            }
            Err(_) => false,
        }
    }

    fn seal(&self, picture: &[u8]) -> Option<Bytes> {
        let (key, entropy) = (self.lease.study_key(), &*self.shared.entropy);
        let mut out = Vec::new();
        let mut sealer =
            ObjectSealer::begin(key, &self.name, SealOptions::default(), ContentStart::Body, entropy, &mut out);
        let records = ObjectRecords {
            kind: ObjectKind::Derived,
            lineage: self.lineage,
            layout: None,
            frames: Frames::None,
            transfer_syntax: None,
            media_type: Some(MEDIA_TYPE.to_owned()),
            provenance: None,
        };
        sealer.body(picture, &mut out).ok()?;
        // No row pins it: its name does.
        let _pinned_by_nobody = sealer.finish(&records, &mut out).ok()?;
        Some(out.into())
    }
}

fn counted(outcome: &'static str) {
    metrics::counter!("leadglass_thumbnails_total", "outcome" => outcome).increment(1);
}

/// FORMAT §7.
const FORM: u8 = 1;
const MEDIA_TYPE: &str = "image/jpeg";
/// A thumbnail has some KiB.
const MAX_SEALED_BYTES: usize = 1 << 20;
/// Thumbnails that are being stored at a time, each with its bytes.
static FLYING: Semaphore = Semaphore::const_new(8);
