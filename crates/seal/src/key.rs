//! Keys: 32 bytes that are wiped when dropped, cannot be cloned, and are mute in `Debug`.
//!
//! One type a use, so that an index key cannot open pixels by mistake. [`reveal`](StudyKey::reveal) is the one way to
//! the bytes and easy to search for. Six plain newtypes: written by one macro they would not be found by search.

use leadglass_model::Entropy;
use std::fmt;
use zeroize::Zeroizing;

/// The key that one study's objects are sealed under. Whoever holds it reads those objects, and derives [`IndexKey`] and [`MetaKey`].
pub struct StudyKey(Zeroizing<[u8; 32]>);

/// Opens study, series and instance rows of one study key, and no pixels.
pub struct IndexKey(Zeroizing<[u8; 32]>);

/// Opens the DICOM-JSON rows of one study key.
pub struct MetaKey(Zeroizing<[u8; 32]>);

/// Wraps other keys as SVK1: a shard key or a tenant's key-encryption key.
pub struct WrappingKey(Zeroizing<[u8; 32]>);

/// Seals the keyring file of one erasure epoch. Destroying it makes every earlier backup unreadable.
pub struct EpochKey(Zeroizing<[u8; 32]>);

/// A 32-byte secret whose use this crate does not know: what an SVK1 wrap holds.
pub struct Secret(Zeroizing<[u8; 32]>);

impl StudyKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(fresh(entropy))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl IndexKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl MetaKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl WrappingKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(fresh(entropy))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl EpochKey {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(fresh(entropy))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Secret {
    /// The key with these bytes. The caller wipes its own copy.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self(fresh(entropy))
    }

    /// The bytes. Each caller answers for where they go.
    pub fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for StudyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StudyKey(‹secret›)")
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IndexKey(‹secret›)")
    }
}

impl fmt::Debug for MetaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetaKey(‹secret›)")
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WrappingKey(‹secret›)")
    }
}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochKey(‹secret›)")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(‹secret›)")
    }
}

impl From<Secret> for StudyKey {
    fn from(secret: Secret) -> Self {
        Self(secret.0)
    }
}

impl From<Secret> for WrappingKey {
    fn from(secret: Secret) -> Self {
        Self(secret.0)
    }
}

/// Keys that sealed objects are made under: [`StudyKey`] for what lies in the bucket, [`EpochKey`] for the keyring file.
pub trait ObjectRoot: private::Bytes {}

/// Keys that rows are sealed under: [`IndexKey`] and [`MetaKey`].
pub trait RowKey: private::Bytes {}

impl ObjectRoot for StudyKey {}
impl ObjectRoot for EpochKey {}
impl RowKey for IndexKey {}
impl RowKey for MetaKey {}

pub(crate) mod private {
    /// Keeps the two traits closed to this crate.
    pub trait Bytes {
        /// The key's bytes.
        fn bytes(&self) -> &[u8; 32];
    }
}

impl private::Bytes for StudyKey {
    fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl private::Bytes for EpochKey {
    fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl private::Bytes for IndexKey {
    fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl private::Bytes for MetaKey {
    fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn fresh(entropy: &dyn Entropy) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    entropy.fill(bytes.as_mut());
    bytes
}

/// Overwrites plaintext that must not be seen again. (`zeroize` goes byte by byte; a buffer of 64 KiB wants `fill`.)
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    zeroize::optimization_barrier(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_shows_itself() {
        let shown = [
            format!("{:?}", StudyKey::from_bytes([0xab; 32])),
            format!("{:?}", IndexKey::from_bytes([0xab; 32])),
            format!("{:?}", MetaKey::from_bytes([0xab; 32])),
            format!("{:?}", WrappingKey::from_bytes([0xab; 32])),
            format!("{:?}", EpochKey::from_bytes([0xab; 32])),
            format!("{:?}", Secret::from_bytes([0xab; 32])),
        ];
        for text in shown {
            assert!(text.ends_with("(‹secret›)"), "{text}");
        }
    }
}
