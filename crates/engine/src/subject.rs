//! Patients as the audit log knows them: by a keyed token.

use crate::{Shared, ingest::PatientKey};
use hmac::{Hmac, KeyInit, Mac};
use leadglass_audit::SubjectToken;
use leadglass_index::StudyEntry;
use leadglass_keys::Secret;
use leadglass_model::{Phi, TenantId};
use sha2::Sha256;
use std::sync::Arc;

/// The tenant's secret for audit details.
pub(crate) struct SubjectKeys(pub(crate) Arc<Secret>);

impl Shared {
    /// The patient's token; `None` for an instance without a Patient ID, which is nobody's.
    pub(crate) fn subject_token(&self, tenant: TenantId, patient: &PatientKey) -> Option<SubjectToken> {
        let id = patient.id.expose();
        if id.is_empty() {
            return None;
        }
        let secret = self.subjects.get(&tenant)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.0.expose()).expect("HMAC takes keys of any length");
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
}

/// The patient that a study's row names.
pub(crate) fn patient_key(study: &StudyEntry) -> PatientKey {
    PatientKey {
        id: study.row.patient_id.clone().unwrap_or_else(|| Phi::new(String::new())),
        issuer: study.row.issuer.clone(),
    }
}
