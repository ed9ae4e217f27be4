//! SVK1: a 32-byte key, sealed under another key, in 160 bytes.
//!
//! Source: FORMAT.md §9.

use crate::{
    derive::derive_wrap,
    header::field,
    key::{Secret, WrappingKey},
    suite::{Backend, Suite},
};
use leadglass_model::{Entropy, Fault, KeyGen, KeyId, TenantId};
use subtle::ConstantTimeEq;

/// What a wrap is for and bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WrapBinding {
    /// The controller; enters the derivation, stands nowhere in the wrap.
    pub tenant: TenantId,
    /// What the wrapped key is.
    pub purpose: WrapPurpose,
    /// The key around it.
    pub wrapping_key_id: KeyId,
    /// Version of the key around it.
    pub wrapping_key_version: u32,
    /// The key inside.
    pub key_id: KeyId,
    /// Generation of the key inside.
    pub key_gen: KeyGen,
}

/// What a wrapped key is. 02 is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WrapPurpose {
    /// 01: a study key.
    Study,
    /// 03: a subject's key, for audit details and records that name a person.
    Subject,
    /// 04: a tenant's key-encryption key.
    TenantKek,
    /// 05: a secret.
    Secret,
    /// 06: half of a share's key.
    ShareHalf,
}

/// What a wrap says about itself. Nothing of it is authenticated before [`unwrap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrapHeader {
    /// Cipher suite.
    pub suite: Suite,
    /// What the wrapped key is.
    pub purpose: WrapPurpose,
    /// The key around it.
    pub wrapping_key_id: KeyId,
    /// Version of the key around it.
    pub wrapping_key_version: u32,
    /// The key inside.
    pub key_id: KeyId,
    /// Generation of the key inside.
    pub key_gen: KeyGen,
}

/// A wrap did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnwrapError {
    /// Not 160 bytes of ours.
    #[error("this is no wrapped key")]
    NotAWrap,
    /// For another purpose, under another key, or of another key than was asked for.
    #[error("the wrapped key is another one than was asked for")]
    WrongWrap,
    /// The commitment does not fit: other key, other tenant, or a changed wrap.
    #[error("the key does not fit the wrap")]
    KeyMismatch,
    /// The tag does not fit.
    #[error("the wrapped key did not authenticate")]
    NotAuthentic,
}

impl UnwrapError {
    /// The kind of failure.
    pub const fn fault(&self) -> Fault {
        Fault::Corrupt
    }
}

impl WrapPurpose {
    /// The number in the wrap.
    pub const fn number(self) -> u8 {
        match self {
            Self::Study => 1,
            Self::Subject => 3,
            Self::TenantKek => 4,
            Self::Secret => 5,
            Self::ShareHalf => 6,
        }
    }

    /// The purpose with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Study),
            3 => Some(Self::Subject),
            4 => Some(Self::TenantKek),
            5 => Some(Self::Secret),
            6 => Some(Self::ShareHalf),
            _ => None,
        }
    }
}

impl WrapHeader {
    /// Parses a wrap, so that the right wrapping key can be looked for.
    pub fn parse(wrap: &[u8]) -> Result<Self, UnwrapError> {
        let wrap: &[u8; WRAP_LEN] = wrap.try_into().map_err(|_| UnwrapError::NotAWrap)?;
        if wrap[..4] != MAGIC || wrap[6..8] != [0; 2] {
            return Err(UnwrapError::NotAWrap);
        }
        let number = |at| u32::from_be_bytes(field(wrap, at));
        Ok(Self {
            suite: Suite::from_number(wrap[4]).ok_or(UnwrapError::NotAWrap)?,
            purpose: WrapPurpose::from_number(wrap[5]).ok_or(UnwrapError::NotAWrap)?,
            wrapping_key_id: KeyId::from_bytes(field(wrap, 8)),
            wrapping_key_version: number(24),
            key_id: KeyId::from_bytes(field(wrap, 28)),
            key_gen: KeyGen::new(number(44)).ok_or(UnwrapError::NotAWrap)?,
        })
    }

    /// The binding that this header names, for a tenant that is known from elsewhere.
    pub const fn bound_to(&self, tenant: TenantId) -> WrapBinding {
        WrapBinding {
            tenant,
            purpose: self.purpose,
            wrapping_key_id: self.wrapping_key_id,
            wrapping_key_version: self.wrapping_key_version,
            key_id: self.key_id,
            key_gen: self.key_gen,
        }
    }
}

/// Wraps `key` with AES-256-GCM and a fresh salt.
pub fn wrap(around: &WrappingKey, binding: &WrapBinding, key: &[u8; 32], entropy: &dyn Entropy) -> [u8; WRAP_LEN] {
    wrap_on(Backend::default(), Suite::default(), around, binding, key, entropy)
}

/// As [`wrap`], with backend and suite told.
pub fn wrap_on(
    backend: Backend,
    suite: Suite,
    around: &WrappingKey,
    binding: &WrapBinding,
    key: &[u8; 32],
    entropy: &dyn Entropy,
) -> [u8; WRAP_LEN] {
    let mut wrap = [0; WRAP_LEN];
    wrap[..4].copy_from_slice(&MAGIC);
    wrap[4] = suite.number();
    wrap[5] = binding.purpose.number();
    wrap[8..24].copy_from_slice(binding.wrapping_key_id.as_bytes());
    wrap[24..28].copy_from_slice(&binding.wrapping_key_version.to_be_bytes());
    wrap[28..44].copy_from_slice(binding.key_id.as_bytes());
    wrap[44..48].copy_from_slice(&binding.key_gen.get().to_be_bytes());
    entropy.fill(&mut wrap[48..80]);
    let derived = derive_wrap(backend, around.reveal(), &field(&wrap, 0), &binding.tenant);
    wrap[80..112].copy_from_slice(derived.commitment());
    derived.cipher(suite, backend).seal(derived.base_nonce(), b"", key, &mut wrap[112..]);
    wrap
}

/// Opens a wrap that must be exactly the one that `binding` describes.
pub fn unwrap(around: &WrappingKey, binding: &WrapBinding, wrap: &[u8]) -> Result<Secret, UnwrapError> {
    unwrap_on(Backend::default(), around, binding, wrap)
}

/// As [`unwrap`], with the backend told.
pub fn unwrap_on(
    backend: Backend,
    around: &WrappingKey,
    binding: &WrapBinding,
    wrap: &[u8],
) -> Result<Secret, UnwrapError> {
    let header = WrapHeader::parse(wrap)?;
    let wrap: &[u8; WRAP_LEN] = wrap.try_into().map_err(|_| UnwrapError::NotAWrap)?;
    if header.bound_to(binding.tenant) != *binding {
        return Err(UnwrapError::WrongWrap);
    }
    let derived = derive_wrap(backend, around.reveal(), &field(wrap, 0), &binding.tenant);
    if !bool::from(derived.commitment().ct_eq(&wrap[80..112])) {
        return Err(UnwrapError::KeyMismatch);
    }
    let mut key = zeroize::Zeroizing::new([0; 32]);
    derived
        .cipher(header.suite, backend)
        .open(derived.base_nonce(), b"", &wrap[112..], key.as_mut())
        .map_err(|_| UnwrapError::NotAuthentic)?;
    Ok(Secret::from_bytes(*key))
}

/// Length of a wrap, bytes.
pub const WRAP_LEN: usize = 160;
const MAGIC: [u8; 4] = *b"SVK1";
