//! `POST /v1/keys/create`: fresh study keys.

use super::{KeyBytes, Record, WireError, record::Fields};
use leadglass_model::{KeyGen, KeyId, StudyRef, TenantId};
use serde::{Deserialize, Serialize};

/// Asks for fresh study keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateRequest {
    /// Whose keys.
    pub tenant: TenantId,
    /// The study they are for; without it each key gets a fresh StudyRef of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub study_ref: Option<StudyRef>,
    /// How many, 1 to [`super::MAX_BATCH`]; the service refuses other numbers.
    pub count: u16,
}

/// A fresh study key with what is derived from it. 136 bytes:
/// `key_id[16] gen[4] study_ref[16] key[32] index_key[32] meta_key[32] lease_s[4]`.
#[derive(Debug)]
pub struct NewKey {
    /// Its name.
    pub key_id: KeyId,
    /// Its generation.
    pub key_gen: KeyGen,
    /// The study it is for.
    pub study_ref: StudyRef,
    /// The study key.
    pub key: KeyBytes,
    /// Opens study, series and instance rows.
    pub index_key: KeyBytes,
    /// Opens the DICOM-JSON of instances.
    pub meta_key: KeyBytes,
    /// How long the caller may read with it, in seconds. Sealing under it follows the reserve's rules instead.
    pub lease_s: u32,
}

impl Record for NewKey {
    const LEN: usize = 16 + 4 + 16 + 3 * 32 + 4;

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key_id.as_bytes());
        out.extend_from_slice(&self.key_gen.get().to_be_bytes());
        out.extend_from_slice(self.study_ref.as_bytes());
        for key in [&self.key, &self.index_key, &self.meta_key] {
            out.extend_from_slice(key.expose());
        }
        out.extend_from_slice(&self.lease_s.to_be_bytes());
    }

    fn take(from: &mut Fields<'_>) -> Result<Self, WireError> {
        Ok(Self {
            key_id: KeyId::from_bytes(from.array("key_id")?),
            key_gen: from.key_gen("gen")?,
            study_ref: StudyRef::from_bytes(from.array("study_ref")?),
            key: from.real_key("key")?,
            index_key: from.real_key("index_key")?,
            meta_key: from.real_key("meta_key")?,
            lease_s: from.u32("lease_s")?,
        })
    }
}
