//! Sealed details: what names people, outside the tree.
//!
//! Each subject has a key of its own, wrapped as SVK1 purpose 03 under the tenant's `audit-detail` secret. The wraps live
//! with the vault's records, not here: when a subject's wrap is destroyed its details are dead, and the log, which holds
//! only their hashes, still verifies. Bytes: AUDIT.md §6.

use crate::{SubjectToken, hash::sha256};
use aws_lc_rs::hmac;
use leadglass_model::{Entropy, EntryId, Fault, KeyGen, KeyId, StudyRef, TenantId};
use leadglass_seal::{
    MetaKey, RowBinding, Secret, UnwrapError, WRAP_LEN, WrapBinding, WrapHeader, WrapPurpose, WrappingKey, open_row,
    row_header, seal_row, unwrap, wrap,
};
use std::fmt;
use zeroize::Zeroizing;

/// The tenant's `audit-detail` secret in one of its versions: wraps the keys of subjects.
pub struct DetailMaster {
    tenant: TenantId,
    version: u32,
    key: WrappingKey,
}

/// The key of one subject's details.
pub struct SubjectKey {
    tenant: TenantId,
    id: KeyId,
    detail: MetaKey,
    root: Zeroizing<[u8; 32]>,
}

/// Why details do not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetailError {
    /// The subject's key does not unwrap.
    #[error("the subject's key does not open")]
    Key(#[source] UnwrapError),
    /// Not sealed details, or those of another entry, subject or tenant, or changed.
    #[error("the details do not open")]
    NotAuthentic,
}

impl DetailError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::Corrupt
    }
}

impl DetailMaster {
    /// The tenant's secret and its version.
    pub fn new(tenant: TenantId, version: u32, secret: &Secret) -> Self {
        Self { tenant, version, key: WrappingKey::from_bytes(*secret.reveal()) }
    }

    /// The version that a wrap needs, so that the right secret can be asked for; `None` for what is no wrap.
    pub fn version_of(wrapped: &[u8]) -> Option<u32> {
        WrapHeader::parse(wrapped).ok().map(|header| header.wrapping_key_version)
    }

    /// Wraps a subject's key, to be kept with the vault's records.
    pub fn wrap(&self, key: &SubjectKey, entropy: &dyn Entropy) -> [u8; WRAP_LEN] {
        wrap(&self.key, &self.binding(key.id), &key.root, entropy)
    }

    /// Opens a wrapped key.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<SubjectKey, DetailError> {
        let id = WrapHeader::parse(wrapped).map_err(DetailError::Key)?.key_id;
        let root = unwrap(&self.key, &self.binding(id), wrapped).map_err(DetailError::Key)?;
        Ok(SubjectKey::with(self.tenant, id, Zeroizing::new(*root.reveal())))
    }

    fn binding(&self, key_id: KeyId) -> WrapBinding {
        // The secret has no random name of its own; one made from its tenant keeps the field from being a constant.
        let hash = sha256(&[b"leadglass audit-detail", self.tenant.as_bytes()]).0;
        let (name, _) = hash.split_at(16);
        WrapBinding {
            tenant: self.tenant,
            purpose: WrapPurpose::Subject,
            wrapping_key_id: KeyId::from_bytes(name.try_into().expect("half of 32 bytes")),
            wrapping_key_version: self.version,
            key_id,
            key_gen: KeyGen::FIRST,
        }
    }
}

impl SubjectKey {
    /// A fresh key.
    pub fn generate(tenant: TenantId, entropy: &dyn Entropy) -> Self {
        let mut root = Zeroizing::new([0; 32]);
        entropy.fill(&mut *root);
        Self::with(tenant, KeyId::random(entropy), root)
    }

    /// Its random name; sealed details carry it.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The key that sealed details need; `None` for what is no sealed detail.
    pub fn needed_for(sealed: &[u8]) -> Option<KeyId> {
        row_header(sealed).ok().map(|header| header.key_id)
    }

    /// Seals the details of one entry about one subject. Their length is rounded up to 256 bytes.
    pub fn seal(&self, subject: SubjectToken, entry: EntryId, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let len = u32::try_from(plain.len()).unwrap_or(u32::MAX);
        let mut padded = Zeroizing::new(Vec::with_capacity((plain.len() + 4).next_multiple_of(PAD)));
        padded.extend_from_slice(&len.to_be_bytes());
        padded.extend_from_slice(plain);
        let whole = padded.len().next_multiple_of(PAD);
        padded.resize(whole, 0);
        seal_row(&self.detail, &self.place(subject, entry.as_bytes()), entropy, &padded)
    }

    /// Opens the details of one entry about one subject.
    pub fn open(&self, subject: SubjectToken, entry: EntryId, sealed: &[u8]) -> Result<Vec<u8>, DetailError> {
        let refused = DetailError::NotAuthentic;
        let padded = open_row(&self.detail, &self.place(subject, entry.as_bytes()), sealed).map_err(|_| refused)?;
        let (len, rest) = padded.split_first_chunk::<4>().ok_or(refused)?;
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| refused)?;
        rest.get(..len).map(<[u8]>::to_vec).ok_or(refused)
    }

    fn with(tenant: TenantId, id: KeyId, root: Zeroizing<[u8; 32]>) -> Self {
        // The subject's key also opens records: details get a key of their own.
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*root);
        let tag = hmac::sign(&key, &[&b"leadglass audit detail v1\0"[..], tenant.as_bytes()].concat());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        Self { tenant, id, detail: MetaKey::from_bytes(bytes), root }
    }

    const fn place<'a>(&self, subject: SubjectToken, entry: &'a [u8; 16]) -> RowBinding<'a> {
        RowBinding {
            table: TABLE,
            tenant: self.tenant,
            study_ref: StudyRef::from_bytes(subject.0),
            row_key: entry,
            key_id: self.id,
            key_gen: KeyGen::FIRST,
            row_version: 1,
        }
    }
}

impl fmt::Debug for DetailMaster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DetailMaster")
            .field("tenant", &self.tenant)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubjectKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Table number of audit details in the sealed-row format; the index has 1 to 4.
const TABLE: u8 = 0x80;
const PAD: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use leadglass_model::SystemEntropy;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);
    const SUBJECT: SubjectToken = SubjectToken([2; 16]);
    const ENTRY: EntryId = EntryId::from_bytes([3; 16]);

    fn master(tenant: TenantId, version: u32) -> DetailMaster {
        DetailMaster::new(tenant, version, &Secret::from_bytes([9; 32]))
    }

    #[test]
    fn details_open_with_the_subjects_unwrapped_key() {
        let key = SubjectKey::generate(TENANT, &SystemEntropy);
        let wrapped = master(TENANT, 4).wrap(&key, &SystemEntropy);
        assert_eq!(DetailMaster::version_of(&wrapped), Some(4));
        let again = master(TENANT, 4).unwrap(&wrapped).unwrap();
        for len in [0, 1, 251, 252, 253, 5000] {
            let plain = vec![7; len];
            let sealed = key.seal(SUBJECT, ENTRY, &plain, &SystemEntropy);
            assert_eq!(SubjectKey::needed_for(&sealed), Some(again.id()));
            assert_eq!(again.open(SUBJECT, ENTRY, &sealed).unwrap(), plain);
        }
        let short = key.seal(SUBJECT, ENTRY, b"LI^NA", &SystemEntropy);
        let long = key.seal(SUBJECT, ENTRY, b"VAN DEN BERGH-SCHMIDT^MARIA", &SystemEntropy);
        assert_eq!(short.len(), long.len());
    }

    #[test]
    fn details_of_another_entry_subject_tenant_or_key_do_not_open() {
        let key = SubjectKey::generate(TENANT, &SystemEntropy);
        let sealed = key.seal(SUBJECT, ENTRY, b"who", &SystemEntropy);
        let refused = Err(DetailError::NotAuthentic);
        assert_eq!(key.open(SUBJECT, EntryId::from_bytes([4; 16]), &sealed), refused);
        assert_eq!(key.open(SubjectToken([4; 16]), ENTRY, &sealed), refused);
        assert_eq!(SubjectKey::generate(TENANT, &SystemEntropy).open(SUBJECT, ENTRY, &sealed), refused);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(SUBJECT, ENTRY, &changed), refused, "byte {at}");
        }
        let wrapped = master(TENANT, 1).wrap(&key, &SystemEntropy);
        let other = TenantId::from_bytes([5; 16]);
        assert!(master(other, 1).unwrap(&wrapped).is_err());
        assert!(master(TENANT, 2).unwrap(&wrapped).is_err());
    }
}
