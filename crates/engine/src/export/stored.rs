//! Lists in the records: table `Jobs`, `export:` and the id for what names nobody (JSON), `export-list:`, id and number for
//! the list (CBOR, sealed once more, cut into pieces).
//!
//! The list's key is BLAKE3 over the metadata keys of one object of each study, in the order of the head. AES-256-GCM, the
//! nonce drawn at random and in front; the head's id is bound in.

use super::{
    ExportBy, ExportError, ExportId, ExportView,
    job::{FORM, Head, Job, List},
};
use crate::{Shared, retrieve::Target, subject::Subjects};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use leadglass_model::{KeyId, StudyRef, StudyUid, TenantId, UnixMillis};
use leadglass_policy::Use;
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use std::sync::Arc;
use zeroize::Zeroizing;

impl Shared {
    fn job_records(&self, tenant: TenantId) -> Result<&TenantRecords, ExportError> {
        self.subjects.get(&tenant).map(Subjects::records).ok_or(ExportError::Missing)
    }

    /// Writes a list down: a head that says it is unfinished, the pieces, the head. Dead in between: it cannot be had, and goes
    /// when its time is over.
    pub(super) async fn keep_job(
        self: &Arc<Self>,
        by: &ExportBy,
        mut head: Head,
        list: List,
    ) -> Result<Arc<Job>, ExportError> {
        let tenant = by.permit.tenant();
        let id: ExportId = head.view.id.parse().map_err(|_| ExportError::Missing)?;
        let mut sealed = minicbor::to_vec(&list).map_err(|_| ExportError::Sealing)?;
        let key = self.list_key(by, &head).await?;
        let mut nonce = [0; NONCE_LEN];
        self.entropy.fill(&mut nonce);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id.0), &mut sealed)
            .map_err(|_| ExportError::Sealing)?;
        let whole = [&nonce, sealed.as_slice()].concat();
        head.pieces = whole.len().div_ceil(PIECE);
        let records = self.job_records(tenant)?;
        let unfinished = Head { form: UNFINISHED, ..head.clone() };
        let value = Zeroizing::new(serde_json::to_vec(&unfinished).map_err(|_| ExportError::Sealing)?);
        records.put(Table::Jobs, &head_name(id), value, Expected::Absent).await?;
        for (n, piece) in whole.chunks(PIECE).enumerate() {
            let value = Zeroizing::new(piece.to_vec());
            records.put(Table::Jobs, &piece_name(id, n), value, Expected::Absent).await?;
        }
        let job = Arc::new(Job::new(head, list)?);
        // The view with the length that only the layout knows.
        let head = Head { view: job.view(), ..job.head.clone() };
        let value = Zeroizing::new(serde_json::to_vec(&head).map_err(|_| ExportError::Sealing)?);
        records.put(Table::Jobs, &head_name(id), value, Expected::Anything).await?;
        self.exports.jobs.lock().put(id, job.clone());
        Ok(job)
    }

    /// An export, from memory or from the records.
    pub(super) async fn job(self: &Arc<Self>, by: &ExportBy, id: ExportId) -> Result<Arc<Job>, ExportError> {
        let tenant = by.permit.tenant();
        let records = self.job_records(tenant)?;
        // The record decides, whatever lies in memory: it is of this tenant, and was not taken back.
        let record = records.get(Table::Jobs, &head_name(id)).await?.ok_or(ExportError::Missing)?;
        let head: Head = serde_json::from_slice(record.value.expose()).map_err(|_| RecordError::NotAuthentic)?;
        if head.view.until_ms <= self.clock.now().0 || !by.may_have(&head.view) {
            return Err(ExportError::Missing);
        }
        if head.form != FORM {
            return Err(ExportError::Changed);
        }
        // Also for a list in memory: it is given out only while every study opens.
        let key = self.list_key(by, &head).await?;
        if let Some(job) = self.exports.jobs.lock().get(&id).cloned() {
            return Ok(job);
        }
        let mut whole = Zeroizing::new(Vec::with_capacity(head.pieces.min(MAX_PIECES) * PIECE));
        for n in 0..head.pieces.min(MAX_PIECES) {
            let piece = records.get(Table::Jobs, &piece_name(id, n)).await?.ok_or(ExportError::Missing)?;
            whole.extend_from_slice(piece.value.expose());
        }
        let (nonce, sealed) = whole.split_at_mut_checked(NONCE_LEN).ok_or(RecordError::NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| RecordError::NotAuthentic)?;
        let plain = key.open_in_place(nonce, Aad::from(id.0), sealed).map_err(|_| RecordError::NotAuthentic)?;
        let list = minicbor::decode(plain).map_err(|_| RecordError::NotAuthentic)?;
        let job = Arc::new(Job::new(head, list)?);
        self.exports.jobs.lock().put(id, job.clone());
        Ok(job)
    }

    /// The key of a list: it is there while the keys of all its studies are.
    async fn list_key(self: &Arc<Self>, by: &ExportBy, head: &Head) -> Result<LessSafeKey, ExportError> {
        let tenant = by.permit.tenant();
        let mut hasher = blake3::Hasher::new_derive_key("leadglass 2026 the list of an export");
        for (study, key) in &head.studies {
            let entry = self.catalog.study_by_ref(tenant, *study).ok_or(ExportError::Missing)?;
            let key: KeyId = key.parse().map_err(|_| ExportError::Missing)?;
            let target = Target::Study(entry.row.uid.clone());
            let lease = self.lease_of(&by.permit, by.session, &target, key, Use::Taken).await?;
            hasher.update(lease.meta_key().reveal());
        }
        let key = Zeroizing::new(*hasher.finalize().as_bytes());
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| ExportError::Sealing)?;
        Ok(LessSafeKey::new(key))
    }

    /// Those that the caller may have, each with its studies, newest last.
    pub(super) async fn exports_of(&self, by: &ExportBy) -> Result<Vec<(ExportView, Vec<StudyUid>)>, ExportError> {
        let (now, tenant) = (self.clock.now(), by.permit.tenant());
        let uid = |study: &StudyRef| Some(self.catalog.study_by_ref(tenant, *study)?.row.uid);
        let mut found = Vec::new();
        for head in self.heads(tenant).await? {
            if head.can_be_had(now) && by.may_have(&head.view) {
                let uids = head.studies.iter().filter_map(|(study, _)| uid(study)).collect();
                found.push((head.view, uids));
            }
        }
        found.sort_by_key(|(view, _)| view.made_ms);
        Ok(found)
    }

    /// Whether somebody ordered that a package with this study be handed out.
    pub(crate) async fn is_ordered(&self, tenant: TenantId, study: StudyRef) -> Result<bool, RecordError> {
        let now = self.clock.now();
        let holds = |head: &Head| {
            head.view.hand_out && head.can_be_had(now) && head.studies.iter().any(|(listed, _)| *listed == study)
        };
        Ok(self.heads(tenant).await?.iter().any(holds))
    }

    /// The studies of one; `None` where there is none that can be had.
    pub(crate) async fn studies_of_export(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<Vec<StudyRef>>, ExportError> {
        let now = self.clock.now();
        let is_it = |head: &Head| head.view.id == id && head.can_be_had(now);
        let head = self.heads(tenant).await?.into_iter().find(is_it);
        Ok(head.map(|head| head.studies.into_iter().map(|(study, _)| study).collect()))
    }

    /// Takes one back.
    pub(super) async fn take_back(&self, by: &ExportBy, id: ExportId) -> Result<(), ExportError> {
        let tenant = by.permit.tenant();
        let record = self.job_records(tenant)?.get(Table::Jobs, &head_name(id)).await?.ok_or(ExportError::Missing)?;
        let head: Head = serde_json::from_slice(record.value.expose()).map_err(|_| RecordError::NotAuthentic)?;
        if !by.decides(&head.view) {
            return Err(ExportError::Missing);
        }
        self.drop_job(tenant, id).await
    }

    /// Removes one.
    async fn drop_job(&self, tenant: TenantId, id: ExportId) -> Result<(), ExportError> {
        let records = self.job_records(tenant)?;
        if !records.delete(Table::Jobs, &head_name(id)).await? {
            return Err(ExportError::Missing);
        }
        self.exports.jobs.lock().pop(&id);
        for n in 0..MAX_PIECES {
            if !records.delete(Table::Jobs, &piece_name(id, n)).await? {
                break;
            }
        }
        Ok(())
    }

    /// Removes what is over, and what any of `studies` is in.
    pub(crate) async fn drop_exports(&self, tenant: TenantId, studies: &[StudyRef]) -> Result<(), RecordError> {
        let now = self.clock.now();
        for head in self.heads(tenant).await? {
            let meant = head.studies.iter().any(|(study, _)| studies.contains(study));
            let Ok(id) = head.view.id.parse() else { continue };
            if !meant && now.0 < head.view.until_ms {
                continue;
            }
            // One that is not there any more was removed by somebody else.
            if let Err(ExportError::Records(error)) = self.drop_job(tenant, id).await {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn heads(&self, tenant: TenantId) -> Result<Vec<Head>, RecordError> {
        let Some(records) = self.subjects.get(&tenant).map(Subjects::records) else { return Ok(Vec::new()) };
        let (mut heads, mut after) = (Vec::new(), PREFIX.to_vec());
        loop {
            let page = records.scan(Table::Jobs, Some(&after), PAGE).await?;
            let Some(last) = page.last() else { return Ok(heads) };
            after.clone_from(&last.key);
            for record in page {
                if !record.key.starts_with(PREFIX) {
                    return Ok(heads);
                }
                heads.push(serde_json::from_slice(record.value.expose()).map_err(|_| RecordError::NotAuthentic)?);
            }
        }
    }
}

impl Head {
    /// Its list is whole and of today's form, and its time is not over.
    fn can_be_had(&self, now: UnixMillis) -> bool {
        self.form == FORM && now.0 < self.view.until_ms
    }
}

fn head_name(id: ExportId) -> Vec<u8> {
    [PREFIX, &id.0].concat()
}

fn piece_name(id: ExportId, piece: usize) -> Vec<u8> {
    [LIST_PREFIX, &id.0[..], &(piece as u64).to_be_bytes()].concat()
}

/// Stands in the place of [`FORM`] until all of a list is written.
const UNFINISHED: u32 = 0;
const PREFIX: &[u8] = b"export:";
const LIST_PREFIX: &[u8] = b"export-list:";
const PAGE: usize = 64;
/// Bytes of a list in one record.
const PIECE: usize = 512 * 1024;
/// A list of 200,000 instances takes some hundred MiB at the very most.
const MAX_PIECES: usize = 512;
