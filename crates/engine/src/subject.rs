//! Patients as the audit log knows them: by a keyed token, with a key of their own for what names them.
//!
//! The entry's leaf holds the token and a hash; who, where from and which UIDs are sealed under the subject's key, whose
//! wrap lies with the vault's records. Without the wrap the details are dead and the log still verifies.
//!
//! A fresh subject key does not wait for those records: its wrap travels in the journal's record beside the entry that
//! needs it, and in every later one until the drain has written it down.

use crate::{Shared, SubjectWrap, ingest::PatientKey};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use leadglass_audit::{DetailMaster, SubjectKey, SubjectToken};
use leadglass_index::StudyEntry;
use leadglass_keys::Secret;
use leadglass_model::{EntryId, Phi, TenantId};
use leadglass_records::{RecordError, Table, TenantRecords};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;
use sha2::Sha256;
use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};
use zeroize::Zeroizing;

/// What the engine needs of a tenant to write about its patients.
pub struct SubjectPort {
    /// The secret `audit-detail`.
    pub detail: Arc<Secret>,
    /// The tenant's records: wrapped subject keys lie there.
    pub records: TenantRecords,
}

impl std::fmt::Debug for SubjectPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SubjectPort").finish_non_exhaustive()
    }
}

/// The subjects of one tenant.
pub(crate) struct Subjects {
    tenant: TenantId,
    secret: Arc<Secret>,
    master: DetailMaster,
    records: TenantRecords,
    keys: Mutex<LruCache<SubjectToken, Arc<SubjectKey>>>,
    /// Made by this process and not yet in the records.
    fresh: Mutex<HashMap<SubjectToken, Fresh>>,
}

#[derive(Clone)]
struct Fresh {
    key: Arc<SubjectKey>,
    wrapped: Bytes,
}

/// The sealed details of an entry, and what must become durable together with it.
#[derive(Default)]
pub(crate) struct SealedDetail {
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) wrap: Option<SubjectWrap>,
}

/// What names people in an entry. Absent parts are left out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) calling: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) address: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) patient_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) patient_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) study: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) series: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) instance: &'a str,
    /// What the device had to show: [`leadglass_model::EnrolmentLevel`].
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) level: &'a str,
    /// Why somebody who was not known to treat the patient wanted to see the study, in his words.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(crate) reason: &'a str,
}

impl<'a> Detail<'a> {
    /// Whom and what a study's row names.
    pub(crate) fn of(study: &'a StudyEntry) -> Self {
        let text = |text: &'a Option<Phi<String>>| text.as_ref().map_or("", |text| text.expose().as_str());
        Self {
            patient_id: text(&study.row.patient_id),
            patient_name: text(&study.row.patient_name),
            study: study.row.uid.expose(),
            ..Self::default()
        }
    }
}

impl Detail<'_> {
    /// Every text cut to what an entry has room for: a sender decides how long its texts are, and an entry that the log
    /// refuses would hold up everything behind it.
    fn clipped(&self) -> Detail<'_> {
        let clip = |text| clip(text, MAX_TEXT_BYTES);
        Detail {
            calling: clip(self.calling),
            address: clip(self.address),
            patient_id: clip(self.patient_id),
            patient_name: clip(self.patient_name),
            study: clip(self.study),
            series: clip(self.series),
            instance: clip(self.instance),
            level: clip(self.level),
            reason: clip(self.reason),
        }
    }
}

/// The longest start of `text` that is whole characters and no longer than `max` bytes.
fn clip(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

impl Subjects {
    pub(crate) fn new(tenant: TenantId, port: SubjectPort) -> Self {
        let secret = leadglass_seal::Secret::from_bytes(*port.detail.expose());
        let master = DetailMaster::new(tenant, port.detail.version(), &secret);
        let keys = Mutex::new(LruCache::new(KEYS_HELD));
        Self { tenant, secret: port.detail, master, records: port.records, keys, fresh: Mutex::default() }
    }

    /// The tenant's records.
    pub(crate) const fn records(&self) -> &TenantRecords {
        &self.records
    }

    fn token(&self, patient: &PatientKey) -> Option<SubjectToken> {
        let id = patient.id.expose();
        if id.is_empty() {
            return None;
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose()).expect("HMAC takes keys of any length");
        mac.update(b"leadglass subject v1\0");
        mac.update(&(id.len() as u64).to_be_bytes());
        mac.update(id.as_bytes());
        if let Some(issuer) = &patient.issuer {
            mac.update(issuer.expose().as_bytes());
        }
        Some(token_of(mac))
    }

    /// The tenant itself: whom entries are about that concern no patient. No Patient ID has this token.
    fn site(&self) -> SubjectToken {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.secret.expose()).expect("HMAC takes keys of any length");
        mac.update(b"leadglass site v1\0");
        token_of(mac)
    }

    /// The subject's key: held, read, or made; with its wrap as long as the records do not hold that.
    async fn key(
        &self,
        shared: &Shared,
        subject: SubjectToken,
    ) -> Result<(Arc<SubjectKey>, Option<SubjectWrap>), RecordError> {
        if let Some(key) = self.keys.lock().get(&subject) {
            return Ok((key.clone(), None));
        }
        let wrapped = {
            // Under the lock, so that nobody makes a second key for the same patient: what is not here any more is in the
            // records already.
            let mut fresh = self.fresh.lock();
            if let Some(fresh) = fresh.get(&subject) {
                return Ok((fresh.key.clone(), Some(self.travels(subject, &fresh.wrapped))));
            }
            if let Some(found) = self.read(subject)? {
                let key = Arc::new(found);
                self.keys.lock().put(subject, key.clone());
                return Ok((key, None));
            }
            let key = Arc::new(SubjectKey::generate(self.tenant, &*shared.entropy));
            let wrapped = Bytes::copy_from_slice(&self.master.wrap(&key, &*shared.entropy));
            if fresh.len() < FRESH_HELD {
                let wrap = self.travels(subject, &wrapped);
                fresh.insert(subject, Fresh { key: key.clone(), wrapped });
                return Ok((key, Some(wrap)));
            }
            wrapped
        };
        // The drain is stuck and strangers keep coming: the records take this one at once.
        let value = Zeroizing::new(wrapped.to_vec());
        self.records.put_absent(Table::Subjects, vec![(subject.0.to_vec(), value)]).await?;
        let key = Arc::new(self.read(subject)?.ok_or(RecordError::Changed)?);
        self.keys.lock().put(subject, key.clone());
        Ok((key, None))
    }

    fn travels(&self, subject: SubjectToken, wrapped: &Bytes) -> SubjectWrap {
        SubjectWrap { tenant: self.tenant, subject, wrapped: wrapped.clone() }
    }

    /// Writes wraps that came with records of the journal down, in one step.
    async fn keep(&self, wraps: Vec<&SubjectWrap>) -> Result<(), RecordError> {
        let records = wraps.iter().map(|w| (w.subject.0.to_vec(), Zeroizing::new(w.wrapped.to_vec()))).collect();
        self.records.put_absent(Table::Subjects, records).await?;
        for wrap in wraps {
            // What the records hold counts, whoever was first.
            let held = self.read(wrap.subject)?.ok_or(RecordError::Changed)?;
            let mut fresh = self.fresh.lock();
            if fresh.remove(&wrap.subject).is_some() {
                self.keys.lock().put(wrap.subject, Arc::new(held));
            }
        }
        Ok(())
    }

    fn read(&self, subject: SubjectToken) -> Result<Option<SubjectKey>, RecordError> {
        let found = self.records.get_now(Table::Subjects, &subject.0)?;
        let open = |wrapped: &[u8]| self.master.unwrap(wrapped).map_err(|_| RecordError::NotAuthentic);
        found.map(|record| open(record.value.expose())).transpose()
    }
}

impl Shared {
    /// The patient's token; `None` for an instance without a Patient ID, which is nobody's.
    pub(crate) fn subject_token(&self, tenant: TenantId, patient: &PatientKey) -> Option<SubjectToken> {
        self.subjects.get(&tenant)?.token(patient)
    }

    /// The token under which a tenant's entries stand that concern no patient: refusals, devices.
    pub(crate) fn site_token(&self, tenant: TenantId) -> Option<SubjectToken> {
        Some(self.subjects.get(&tenant)?.site())
    }

    /// The sealed details of an entry about a subject. The wrap goes into the record that carries the entry.
    ///
    /// Cancel safety: a fresh subject key may have been made; the next entry uses it.
    pub(crate) async fn detail(
        &self,
        tenant: TenantId,
        subject: Option<SubjectToken>,
        entry: EntryId,
        detail: &Detail<'_>,
    ) -> Result<SealedDetail, RecordError> {
        let (Some(subjects), Some(subject)) = (self.subjects.get(&tenant), subject) else {
            return Ok(SealedDetail::default());
        };
        let (key, wrap) = subjects.key(self, subject).await?;
        let plain = Zeroizing::new(serde_json::to_vec(&detail.clipped()).expect("texts write as JSON"));
        Ok(SealedDetail { bytes: Some(key.seal(subject, entry, &plain, &*self.entropy)), wrap })
    }

    /// The details of an entry again; `None` where the subject's key is gone, or they are not what was sealed.
    pub(crate) async fn open_detail(
        &self,
        tenant: TenantId,
        subject: SubjectToken,
        entry: EntryId,
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let (key, _) = self.subjects.get(&tenant)?.key(self, subject).await.ok()?;
        key.open(subject, entry, sealed).ok()
    }

    /// Seals something about a subject, as the details of an entry are; without a subject, about the tenant itself.
    ///
    /// Cancel safety: a fresh subject key may have been written down; the next entry uses it.
    pub(crate) async fn seal_about(
        &self,
        tenant: TenantId,
        subject: Option<SubjectToken>,
        place: EntryId,
        plain: &[u8],
    ) -> Result<Vec<u8>, RecordError> {
        let subjects = self.subjects.get(&tenant).ok_or(RecordError::Changed)?;
        let subject = subject.unwrap_or_else(|| subjects.site());
        let (key, wrap) = subjects.key(self, subject).await?;
        if let Some(wrap) = wrap {
            subjects.keep(vec![&wrap]).await?;
        }
        Ok(key.seal(subject, place, plain, &*self.entropy))
    }

    /// What [`seal_about`](Self::seal_about) sealed; `None` where the subject's key is gone, or it is not what was sealed.
    pub(crate) async fn open_about(
        &self,
        tenant: TenantId,
        subject: Option<SubjectToken>,
        place: EntryId,
        sealed: &[u8],
    ) -> Option<Vec<u8>> {
        let subject = subject.or_else(|| self.site_token(tenant))?;
        self.open_detail(tenant, subject, place, sealed).await
    }

    /// Closes a patient's audit details for good: the only copy of the wrapped key goes, here and in the records.
    ///
    /// Cancel safety: closing them again is harmless.
    pub(crate) async fn forget_subject(&self, tenant: TenantId, subject: SubjectToken) -> Result<(), RecordError> {
        let Some(subjects) = self.subjects.get(&tenant) else { return Ok(()) };
        subjects.fresh.lock().remove(&subject);
        subjects.records.delete(Table::Subjects, &subject.0).await?;
        subjects.keys.lock().pop(&subject);
        Ok(())
    }

    /// Writes down the subject keys that came with these records. One that is there already stays.
    pub(crate) async fn keep_subjects<'a>(
        &self,
        wraps: impl Iterator<Item = &'a SubjectWrap>,
    ) -> Result<(), RecordError> {
        let mut tenants: HashMap<TenantId, Vec<&SubjectWrap>> = HashMap::new();
        for wrap in wraps {
            tenants.entry(wrap.tenant).or_default().push(wrap);
        }
        for (tenant, wraps) in tenants {
            match self.subjects.get(&tenant) {
                Some(subjects) => subjects.keep(wraps).await?,
                None => {
                    tracing::warn!(%tenant, "subject keys of a tenant that this node no longer serves are given up")
                }
            }
        }
        Ok(())
    }
}

fn token_of(mac: Hmac<Sha256>) -> SubjectToken {
    let digest = mac.finalize().into_bytes();
    let mut token = [0; 16];
    token.copy_from_slice(&digest[..16]);
    SubjectToken(token)
}

/// The patient that a study's row names.
pub(crate) fn patient_key(study: &StudyEntry) -> PatientKey {
    PatientKey {
        id: study.row.patient_id.clone().unwrap_or_else(|| Phi::new(String::new())),
        issuer: study.row.issuer.clone(),
    }
}

/// Bytes kept of each text. Nine of them, escaped as JSON at their worst, stay far under what the log takes.
const MAX_TEXT_BYTES: usize = 512;

/// Subject keys that wait for the drain, of a tenant; more than that are written down before they are used.
const FRESH_HELD: usize = 16_384;

/// Subject keys in memory, of a tenant.
const KEYS_HELD: NonZeroUsize = NonZeroUsize::new(4_096).expect("not zero");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_clipped_at_whole_characters_and_fit_an_entry() {
        assert_eq!((clip("aä", 2), clip("aä", 3), clip("", 0)), ("a", "aä", ""));
        let long = "\u{1}".repeat(100_000);
        let all = Detail {
            calling: &long,
            address: &long,
            patient_id: &long,
            patient_name: &long,
            study: &long,
            series: &long,
            instance: &long,
            level: &long,
            reason: &long,
        };
        assert!(serde_json::to_vec(&all.clipped()).unwrap().len() < leadglass_audit::MAX_DETAIL_BYTES - 1_024);
    }
}
