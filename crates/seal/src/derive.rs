//! Keys that follow from keys.
//!
//! Source: FORMAT.md §3. Each derivation has a label that no other shares and every context field has a fixed length,
//! so no two of them can meet.

use crate::{
    header::{PREFIX_LEN, field},
    key::{IndexKey, MetaKey, StudyKey},
    suite::{Backend, Cipher, Suite, hkdf_sha512},
};
use leadglass_model::{KeyGen, KeyId, ObjectId, TenantId};
use zeroize::Zeroizing;

/// Key, base nonce and commitment of one object or wrap.
pub(crate) struct Derived(Zeroizing<[u8; OKM_LEN]>);

impl Derived {
    pub(crate) fn cipher(&self, suite: Suite, backend: Backend) -> Cipher {
        Cipher::new(suite, backend, &Zeroizing::new(field(&self.0, 0)))
    }
    pub(crate) fn base_nonce(&self) -> [u8; 12] {
        field(&self.0, 32)
    }
    pub(crate) fn commitment(&self) -> &[u8] {
        &self.0[44..]
    }
}

/// The object's key: bound to every header byte in front of the commitment, and to the tenant.
pub(crate) fn derive_object(
    backend: Backend,
    root: &[u8; 32],
    prefix: &[u8; PREFIX_LEN],
    tenant: &TenantId,
) -> Derived {
    Derived(hkdf_sha512(backend, &prefix[56..88], root, &[OBJECT_LABEL, prefix, tenant.as_bytes()]))
}

/// The wrap's key: bound to every byte in front of the commitment, and to the tenant.
pub(crate) fn derive_wrap(backend: Backend, root: &[u8; 32], prefix: &[u8; 80], tenant: &TenantId) -> Derived {
    Derived(hkdf_sha512(backend, &prefix[48..80], root, &[WRAP_LABEL, prefix, tenant.as_bytes()]))
}

impl StudyKey {
    /// The key of this study key's rows. The key service hands it out under scope `index`, so that listing patients
    /// never needs the key that opens pictures.
    pub fn index_key(&self, tenant: &TenantId, key_id: &KeyId, key_gen: KeyGen) -> IndexKey {
        IndexKey::from_bytes(*row_key(INDEX_LABEL, self, tenant, key_id, key_gen))
    }

    /// The key of this study key's DICOM-JSON rows; handed out with scope `object`.
    pub fn meta_key(&self, tenant: &TenantId, key_id: &KeyId, key_gen: KeyGen) -> MetaKey {
        MetaKey::from_bytes(*row_key(META_LABEL, self, tenant, key_id, key_gen))
    }

    /// The name of what is made from the object `source` in the form `form` (FORMAT §3). Whoever has no key cannot tell what
    /// was made from what.
    pub fn derived_object(&self, tenant: &TenantId, source: &ObjectId, form: u8) -> ObjectId {
        let info = [DERIVED_LABEL, tenant.as_bytes(), source.as_bytes(), &[form]];
        ObjectId::from_bytes(*hkdf_sha512(Backend::default(), b"", self.reveal(), &info))
    }
}

fn row_key(label: &[u8], key: &StudyKey, tenant: &TenantId, key_id: &KeyId, key_gen: KeyGen) -> Zeroizing<[u8; 32]> {
    let info = [label, tenant.as_bytes(), key_id.as_bytes(), &key_gen.get().to_be_bytes()];
    hkdf_sha512(Backend::default(), b"", key.reveal(), &info)
}

/// Key 32, base nonce 12, commitment 32.
const OKM_LEN: usize = 76;
const OBJECT_LABEL: &[u8] = b"svo1 object\0";
const WRAP_LABEL: &[u8] = b"svk1 wrap\0";
const INDEX_LABEL: &[u8] = b"leadglass index v1\0";
const META_LABEL: &[u8] = b"leadglass meta v1\0";
const DERIVED_LABEL: &[u8] = b"leadglass derived v1\0";
