//! SVK1 with the bindings that this service uses.

use crate::keyring::Secret32;
use leadglass_model::{Entropy, KeyGen, KeyId, TenantId};
use leadglass_seal::{WRAP_LEN, WrapBinding, WrapPurpose};
use zeroize::Zeroizing;

/// What a wrap is bound to.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// What is wrapped.
    pub purpose: WrapPurpose,
    /// Whose.
    pub tenant: TenantId,
    /// The key it hangs on, and that key's version.
    pub wrapping: (KeyId, KeyGen),
    /// The key inside, and that key's generation.
    pub wrapped: (KeyId, KeyGen),
}

/// The wrap is not this key's wrap: changed, swapped, or under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wrapped key did not open under the key it should hang on")]
pub struct UnwrapError;

/// Wraps 32 bytes.
pub fn wrap(bound: &Bound, under: &Secret32, bytes: &[u8; 32], entropy: &dyn Entropy) -> [u8; WRAP_LEN] {
    leadglass_seal::wrap(&under.wrapping(), &binding(bound), bytes, entropy)
}

/// Opens a wrap that is bound to exactly this.
pub fn unwrap(bound: &Bound, under: &Secret32, wrap: &[u8; WRAP_LEN]) -> Result<Zeroizing<[u8; 32]>, UnwrapError> {
    let secret = leadglass_seal::unwrap(&under.wrapping(), &binding(bound), wrap).map_err(|_| UnwrapError)?;
    Ok(Zeroizing::new(*secret.reveal()))
}

/// The same binding in the words of `seal`.
pub(crate) fn binding(bound: &Bound) -> WrapBinding {
    WrapBinding {
        tenant: bound.tenant,
        purpose: bound.purpose,
        wrapping_key_id: bound.wrapping.0,
        wrapping_key_version: bound.wrapping.1.get(),
        key_id: bound.wrapped.0,
        key_gen: bound.wrapped.1,
    }
}
