//! Patients as the audit log knows them: by a keyed token, with a key of their own for what names them.
//!
//! The entry's leaf holds the token and a hash; who, where from and which UIDs are sealed under the subject's key, whose
//! wrap lies with the vault's records. Without the wrap the details are dead and the log still verifies.

use crate::{Shared, ingest::PatientKey};
use hmac::{Hmac, KeyInit, Mac};
use leadglass_audit::{DetailMaster, SubjectKey, SubjectToken};
use leadglass_index::StudyEntry;
use leadglass_keys::Secret;
use leadglass_model::{EntryId, Phi, TenantId};
use leadglass_records::{Expected, RecordError, Table, TenantRecords};
use lru::LruCache;
use parking_lot::Mutex;
use serde::Serialize;
use sha2::Sha256;
use std::{num::NonZeroUsize, sync::Arc};
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
        Self { tenant, secret: port.detail, master, records: port.records, keys }
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
        let digest = mac.finalize().into_bytes();
        let mut token = [0; 16];
        token.copy_from_slice(&digest[..16]);
        Some(SubjectToken(token))
    }

    /// The subject's key: held, read, or made. A new one is durable before it is used.
    async fn key(&self, shared: &Shared, subject: SubjectToken) -> Result<Arc<SubjectKey>, RecordError> {
        if let Some(key) = self.keys.lock().get(&subject) {
            return Ok(key.clone());
        }
        let found = match self.read(subject).await? {
            Some(key) => key,
            None => {
                let fresh = SubjectKey::generate(self.tenant, &*shared.entropy);
                let wrapped = Zeroizing::new(self.master.wrap(&fresh, &*shared.entropy).to_vec());
                match self.records.put(Table::Subjects, &subject.0, wrapped, Expected::Absent).await {
                    Ok(_) => fresh,
                    // Somebody else wrote about the same patient for the first time.
                    Err(RecordError::Changed) => self.read(subject).await?.ok_or(RecordError::Changed)?,
                    Err(error) => return Err(error),
                }
            }
        };
        let key = Arc::new(found);
        self.keys.lock().put(subject, key.clone());
        Ok(key)
    }

    async fn read(&self, subject: SubjectToken) -> Result<Option<SubjectKey>, RecordError> {
        let found = self.records.get(Table::Subjects, &subject.0).await?;
        let open = |wrapped: &[u8]| self.master.unwrap(wrapped).map_err(|_| RecordError::NotAuthentic);
        found.map(|record| open(record.value.expose())).transpose()
    }
}

impl Shared {
    /// The patient's token; `None` for an instance without a Patient ID, which is nobody's.
    pub(crate) fn subject_token(&self, tenant: TenantId, patient: &PatientKey) -> Option<SubjectToken> {
        self.subjects.get(&tenant)?.token(patient)
    }

    /// The sealed details of an entry about a subject.
    ///
    /// Cancel safety: a fresh subject key may have been made; the next entry uses it.
    pub(crate) async fn detail(
        &self,
        tenant: TenantId,
        subject: Option<SubjectToken>,
        entry: EntryId,
        detail: &Detail<'_>,
    ) -> Result<Option<Vec<u8>>, RecordError> {
        let (Some(subjects), Some(subject)) = (self.subjects.get(&tenant), subject) else { return Ok(None) };
        let key = subjects.key(self, subject).await?;
        let plain = Zeroizing::new(serde_json::to_vec(&detail.clipped()).expect("texts write as JSON"));
        Ok(Some(key.seal(subject, entry, &plain, &*self.entropy)))
    }
}

/// The patient that a study's row names.
pub(crate) fn patient_key(study: &StudyEntry) -> PatientKey {
    PatientKey {
        id: study.row.patient_id.clone().unwrap_or_else(|| Phi::new(String::new())),
        issuer: study.row.issuer.clone(),
    }
}

/// Bytes kept of each text. Seven of them, escaped as JSON at their worst, stay far under what the log takes.
const MAX_TEXT_BYTES: usize = 512;

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
        };
        assert!(serde_json::to_vec(&all.clipped()).unwrap().len() < leadglass_audit::MAX_DETAIL_BYTES - 1_024);
    }
}
